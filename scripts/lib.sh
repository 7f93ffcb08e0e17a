# shellcheck shell=bash
# Functions and variables that all scripts share: paths, the begin of a script,
# progress, results of tests. Sourcing this file does no work.
#
# A script first checks its arguments, and then calls
#
#     begin NEED [ARGUMENT...]
#
# begin checks what a long run needs: a path in which QEMU can be built, packages
# (scripts/needs), disk space. It also locks build/ for this script until the script
# ends.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

set -euo pipefail

# A shell or git that starts us may have set these for itself: where "cd" looks, and
# which repository "git" uses. They must not count for us.
set +o noclobber
unset CDPATH
# shellcheck disable=SC2046 # one word a variable
unset $(git rev-parse --local-env-vars 2>/dev/null)

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BUILD=$TOP/build
JOBS=$(nproc)
export LC_ALL=C.UTF-8
# A guest, and the user as whom libvirtd runs, must be able to read our files
umask 022
# mkfs.ext4, chroot and depmod, which are not in the PATH of an ordinary user
PATH=$PATH:/usr/sbin:/sbin

say()  { printf '%s\n' "$*" >&2; }
die()  { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# shellcheck source=packages.sh
. "$TOP/scripts/packages.sh"
# shellcheck source=roots.sh
. "$TOP/scripts/roots.sh"
# shellcheck source=qemu.sh
. "$TOP/scripts/qemu.sh"

# begin NEED...: check or install what scripts/needs has for these names, and lock
# build/. A script that another script has started only checks the packages: the other
# script has done the rest.
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

# close_inherited: close the file descriptors above 2 that the process that started us
# has left open. dash can't redirect to a file descriptor of two digits, as the next
# ones could be. One file descriptor is bash's own: bash reads the script from it.
close_inherited() {
    local fd
    for fd in /proc/self/fd/*; do
        [ "${fd##*/}" -le 2 ] || [ "$fd" -ef "$0" ] || eval "exec ${fd##*/}>&-"
    done
}

# check_path PATH: QEMU's configure refuses a path with a space or a colon, a comma
# ends an option, and a $ begins a variable for make and ninja. Only the characters
# that are tested are accepted.
check_path() {
    local bad=${1//[[:alnum:]\/._+@~^=-]/}
    [ -z "$bad" ] ||
        die "the path '$1' has '${bad:0:1}' in it, and QEMU can't be built below such a" \
            "path: move this to one of letters, digits and / . _ + - @ = ~ ^"
}

# lock_build: wait until no other script uses build/, and lock build/ until we end.
# The lock is file descriptor 8, and programs that we start inherit it: so the lock is
# held until the last of them has ended, however we end. A program that should run
# without the lock closes $VIRTIO_SERIAL_DESC_LOCK.
lock_build() {
    exec 8>>"$BUILD/lock"
    if ! flock -n 8; then
        say "- waiting: $(tail -n 1 "$BUILD/lock") is using build/"
        flock 8
    fi
    echo "${0#"$TOP"/} (process $$, since $(date +%H:%M))" >"$BUILD/lock"
    export VIRTIO_SERIAL_DESC_LOCK=8
}

# check_space NEED...: is there disk space for everything that is not made yet?
check_space() {
    local free want
    want=$(megabytes disk --missing "$@")
    free=$(df -m --output=avail "$BUILD" | awk 'NR == 2 { print $1 }')
    [ "$want" -le "$free" ] ||
        die "'$BUILD' needs $want MB more on disk, and there are $free MB: free some," \
            "or move this clone"
}

# run_logged NAME CMD...: run CMD with its output in build/log/NAME.log and a line of
# progress every 15 s; if CMD fails, show the end of the log. If we are interrupted, CMD
# is ended too, with all processes that it started. With LET_FINISH=yes we wait for CMD
# instead: it must not be ended in the middle.
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

# stop_logged NAME PID: we are interrupted: end with exit status 130, which does not
# count as a failure of NAME
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

# or_interrupted STATUS: end if STATUS is the exit status of an interrupted command
or_interrupted() {
    [ "$1" != 130 ] || exit 130
}

# run_child CMD...: run another script of ours; if we are interrupted, end it
run_child() {
    local pid rc=0
    "$@" &
    pid=$!
    trap 'kill "$pid" 2>/dev/null || true; wait "$pid" || true; exit 130' INT TERM HUP
    wait "$pid" || rc=$?
    trap - INT TERM HUP
    return "$rc"
}

# show_failure LOG: print the end of a test program's log, which may tell why it failed
show_failure() {
    grep -v '^ok \|^# Start\|^# End\|^# starting' "$1" | tail -n 25 |
        cut -c 1-1000 | sed 's/^/  | /'
}

# in_subshell CMD...: where CMD is a case's function, its die() or cd ends with it
in_subshell() { ("$@"); }

# case_of NAME CMD...: run a command as one test. Print the result and count it in
# $passed or $failed; the output is in build/log/, under NAME. Returns whether the test
# passed.
case_of() {
    local name=$1 log=$BUILD/log/${1//\//-}.log
    shift
    rm -f "$log"
    # In braces, so that the shell's message about a signal goes to the log too
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
