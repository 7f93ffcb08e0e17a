# shellcheck shell=bash
# What the scripts share: where things are, how a script begins, progress, how a
# test's outcome is said. Source it; it changes nothing by itself.
#
# A script begins with its arguments, and then with
#
#     begin NEED [ARGUMENT...]
#
# which says what stands in the way before anything long is done: a path that
# QEMU can't be built in, packages (scripts/needs), disk space; and has build/
# for this script alone until it ends.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

set -euo pipefail

# What a shell or a git that we are started from may have told its children, and
# would be taken for meant for us: where "cd" looks, which repository "git" is in
set +o noclobber
unset CDPATH
# shellcheck disable=SC2046 # one word a variable
unset $(git rev-parse --local-env-vars 2>/dev/null)

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BUILD=$TOP/build
JOBS=$(nproc)
export LC_ALL=C.UTF-8
# What is made here is read by others: a guest, the user as whom libvirtd runs
umask 022
# Not in an ordinary user's: mkfs.ext4, chroot, depmod
PATH=$PATH:/usr/sbin:/sbin

say()  { printf '%s\n' "$*" >&2; }
die()  { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# shellcheck source=packages.sh
. "$TOP/scripts/packages.sh"
# shellcheck source=roots.sh
. "$TOP/scripts/roots.sh"
# shellcheck source=qemu.sh
. "$TOP/scripts/qemu.sh"

# begin NEED...: what scripts/needs has of these is there, or is named; build/
# is ours. A script that another one has started has all that from it, but for
# packages.
begin() {
    if [ "${VIRTIO_SERIAL_DESC_BUILD:-}" != "$BUILD" ]; then
        close_inherited
        check_path "$TOP"
        [ ! -L "$BUILD" ] ||
            die "'$BUILD' is a symbolic link, which a guest's root can't follow: make it a" \
                "directory, on which another disk may be mounted"
        { mkdir -p "$BUILD/log" 2>/dev/null && [ -w "$BUILD/log" ]; } ||
            die "'$BUILD' can't be written to by user $(id -un)"
        lock_build
        check_space "$@"
        export VIRTIO_SERIAL_DESC_BUILD=$BUILD
    fi
    need "$@"
}

# close_inherited: close the file descriptors above 2 that whoever started us
# has left open. With many of them the next ones have two digits, which dash
# can't redirect to. One is bash's own: from it the script is read.
close_inherited() {
    local fd
    for fd in /proc/self/fd/*; do
        [ "${fd##*/}" -le 2 ] || [ "$fd" -ef "$0" ] || eval "exec ${fd##*/}>&-"
    done
}

# check_path PATH: QEMU's configure refuses a path with a space or a colon, its
# options take a comma for their end, make and ninja a $ for a variable's
# beginning. What is accepted is what is tested.
check_path() {
    local bad=${1//[[:alnum:]\/._+@~^=-]/}
    [ -z "$bad" ] ||
        die "the path '$1' has '${bad:0:1}' in it, and QEMU can't be built below such a" \
            "path: move this to one of letters, digits and / . _ + - @ = ~ ^"
}

# lock_build: wait until no other script uses build/, and have it until we end.
# The lock is descriptor 8, which what we start inherits: so it is held until the
# last of that has ended, however we end. What is to go on without it closes
# $VIRTIO_SERIAL_DESC_LOCK.
lock_build() {
    exec 8>>"$BUILD/lock"
    if ! flock -n 8; then
        say "- waiting: $(tail -n 1 "$BUILD/lock") is using build/"
        flock 8
    fi
    echo "${0#"$TOP"/} (process $$, since $(date +%H:%M))" >"$BUILD/lock"
    export VIRTIO_SERIAL_DESC_LOCK=8
}

# check_space NEED...: is there room for what has not been made yet?
check_space() {
    local free want
    want=$(megabytes disk --missing "$@")
    free=$(df -m --output=avail "$BUILD" | awk 'NR == 2 { print $1 }')
    [ "$want" -le "$free" ] ||
        die "'$BUILD' needs $want MB more on disk, and there are $free MB: free some," \
            "or move this clone"
}

# run_logged NAME CMD...: run CMD with its output in build/log/NAME.log and a
# line of progress every 15 s; where it fails, show the end of the log. If we are
# ended, so is CMD with all that it started; but with LET_FINISH=yes it is not what
# can be ended at any time, and we wait for it.
run_logged() {
    local name=$1 log=$BUILD/log/$1.log start=$SECONDS pid rc=0
    shift
    say "- $name ..."
    rm -f "$log"
    # A process group of its own
    set -m
    "$@" >"$log" 2>&1 </dev/null 9>&- &
    set +m
    pid=$!
    trap 'stop_logged "$name" "$pid"' INT TERM HUP
    while kill -0 "$pid" 2>/dev/null; do
        for _ in $(seq 75); do
            kill -0 "$pid" 2>/dev/null || break 2
            sleep 0.2
        done
        say "  $name: $((SECONDS - start)) s: $(tail -n 1 "$log" | tr '\r' '\n' |
            tail -n 1 | cut -c 1-70)"
    done
    wait "$pid" || rc=$?
    trap - INT TERM HUP
    if [ "$rc" != 0 ]; then
        tail -n 25 "$log" >&2
        die "$name failed (exit status $rc); the whole log is ${log#"$TOP"/}"
    fi
}

# stop_logged NAME PID: we are to end, with exit status 130, which nobody takes for a
# failure of NAME
stop_logged() {
    trap '' INT TERM HUP
    if [ "${LET_FINISH:-}" ]; then
        say "- interrupted: $1 must come to its end first ..."
    else
        kill -- -"$2" 2>/dev/null || true
    fi
    wait "$2" || true
    exit 130
}

# or_interrupted STATUS: end here if that is the status of what was interrupted
or_interrupted() {
    [ "$1" != 130 ] || exit 130
}

# run_child CMD...: run another script of ours, which is ended if we are
run_child() {
    local pid rc=0
    "$@" &
    pid=$!
    trap 'kill "$pid" 2>/dev/null || true; wait "$pid" || true; exit 130' INT TERM HUP
    wait "$pid" || rc=$?
    trap - INT TERM HUP
    return "$rc"
}

# show_failure LOG: what may tell why, from the end of the log of a test program
show_failure() {
    grep -v '^ok \|^# Start\|^# End\|^# starting' "$1" | tail -n 25 |
        cut -c 1-1000 | sed 's/^/  | /'
}

# case_of NAME CMD...: one test that is a command. Say how it went and count it in
# $passed or $failed; its output is in build/log/, by its name. Returns whether
# it passed.
case_of() {
    local name=$1 log=$BUILD/log/${1//\//-}.log
    shift
    rm -f "$log"
    # In braces, so that the shell's word on a signal goes to the log too
    if { "$@"; } >"$log" 2>&1 </dev/null; then
        echo "ok $name"
        passed=$((passed + 1))
    else
        echo "not ok $name: the whole log is ${log#"$TOP"/}"
        failed=$((failed + 1))
        show_failure "$log"
        return 1
    fi
}
