# bash completion for vser and lsvser                          -*- shell-script -*-
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

# The names of udev's links are ports as vser takes them: 1209:0001:A1.
_vser_ports() {
    local link
    for link in /dev/virtio-ports/by-usb-id/*; do
        [[ ! -L $link ]] || printf '%s\n' "${link##*/}"
    done
}

# _vser_words WORD...: complete one of these words, which may have colons
_vser_words() {
    local IFS=$'\n'
    # shellcheck disable=SC2207 # one word a line
    COMPREPLY=($(compgen -W "$*" -- "$cur"))
    __ltrim_colon_completions "$cur"
}

_vser() {
    local cur prev words cword command i
    _init_completion -n : || return
    command=list i=1
    if [[ ${words[0]##*/} != lsvser ]]; then
        command=${words[1]} i=2
        if ((cword == 1)); then
            _vser_words list connect monitor usb daemon udev-id udev-acl --help --version
            return
        fi
    fi
    # The command of --exec has completions of its own.
    for (( ; i < cword; i++)); do
        if [[ $command == connect && ${words[i]} == @(--exec|-e) ]]; then
            _command_offset "$((i + 1))"
            return
        fi
    done
    case $command:$prev in
    list:-d)
        _vser_words "$(_vser_ports | cut -d : -f 1-2 | sort -u)"
        return
        ;;
    list:-s)
        _vser_words "$(_vser_ports | cut -s -d : -f 3-)"
        return
        ;;
    connect:-u | connect:--user)
        _vser_words "$(compgen -u)"
        return
        ;;
    connect:-f | connect:--fd)
        return
        ;;
    esac
    case $command:$cur in
    list:-*) _vser_words --verbose --tree --json --help --version -d -s -t -v ;;
    connect:--user=*)
        cur=${cur#*=}
        _vser_words "$(compgen -u)"
        ;;
    connect:-*)
        _vser_words --wait --quit --exec --user= --fd= --help
        [[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace
        ;;
    *:-*) _vser_words --help ;;
    connect:*/* | usb:*/* | udev-acl:*) _filedir ;;
    connect:* | monitor:* | usb:*) _vser_words "$(_vser_ports)" ;;
    udev-id:*) _vser_words "$(printf '%s\n' /sys/class/virtio-ports/*)" ;;
    esac
} && complete -F _vser vser lsvser
