# shellcheck shell=bash
# Roots of Debian releases: directories in which a program finds that release
# and nothing of this machine's. What a guest of a release runs is built in one,
# so that it is the release's, whatever this machine is. lib.sh has it.
#
# As root they are made as root. Anybody else makes them in a user namespace, in
# which that user is root and 65536 more users are the user's subordinate ids:
# what belongs to root there belongs to the user here, and what belongs to others
# can only be removed from within (as_root rm).
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

# as_root CMD...: run CMD as root, or as what is root in a user namespace. What
# it mounts nobody else sees.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        unshare --mount --propagation private -- "$@"
    else
        unshare --map-root-user --map-auto --mount --propagation private -- "$@"
    fi
}

# check_as_root: does that work? If not, say what root has to do.
check_as_root() {
    local user said
    user=$(id -un)
    said=$(as_root true 2>&1) && return 0
    [ "$(id -u)" != 0 ] ||
        die "root can't mount anything here ($said): a container without CAP_SYS_ADMIN?"
    grep -q "^\($user\|$(id -u)\):" /etc/subuid 2>/dev/null ||
        die "the guest's root is made in a user namespace, and /etc/subuid and /etc/subgid" \
            "have no line for $user: root has to run
    usermod --add-subuids 1000000-1065535 --add-subgids 1000000-1065535 $user"
    die "the guest's root is made in a user namespace, and the kernel does not let $user" \
        "have one ($said): root has to allow it, as with
    sysctl -w kernel.unprivileged_userns_clone=1     # Debian
    sysctl -w kernel.apparmor_restrict_unprivileged_userns=0     # Ubuntu
or run this script; in a chroot only root can"
}

# What is not needed of a root that programs are built in, or of a guest's
ROOT_OPTIONS=(--aptopt='Apt::Install-Recommends "false"' --dpkgopt=force-unsafe-io
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
    --dpkgopt='path-exclude=/usr/share/locale/*')

# make_root RELEASE DIR VARIANT PKG...: have DIR be a root of that release, as
# mmdebstrap's variant of that name, these packages and $ROOT_OPTIONS make it
make_root() {
    local release=$1 dir=$2 variant=$3 packages conf
    shift 3
    packages=$(IFS=,; echo "$*")
    conf=$(release_apt "$release")
    as_root rm -rf "$dir" "$dir.new"
    apt-config dump --no-empty Acquire | grep -i proxy >"$dir.apt" || true
    run_logged "root-$(basename "$dir")" as_root mmdebstrap --mode=root \
        --variant="$variant" ${packages:+--include="$packages"} \
        --aptopt="$dir.apt" --aptopt='Acquire::Check-Valid-Until "false"' \
        "${ROOT_OPTIONS[@]}" \
        "$release" "$dir.new" "$(dirname "$conf")/sources.list"
    rm "$dir.apt"
    # The one directory with files that is not root's: who is not root could not
    # remove it with the others.
    as_root rm -rf "$dir.new/var/cache/man"
    as_root mv "$dir.new" "$dir"
}

# in_root ROOT CMD...: run CMD in ROOT, in the directory that is the current one
# here. This clone is there as well, at its own path; of this machine's
# environment, nothing.
in_root() { enter_root "$1" "$TOP" "$PWD" "${@:2}"; }

# in_bare_root ROOT CMD...: the same in ROOT's own /, without this clone
in_bare_root() { enter_root "$1" "" / "${@:2}"; }

enter_root() {
    # shellcheck disable=SC2016 # for the shell in there
    as_root sh -c '
        set -e
        root=$1 top=$2 dir=$3
        shift 3
        mount --rbind /dev "$root/dev"
        mount --rbind /proc "$root/proc"
        if [ "$top" ]; then
            mkdir -p "$root$top"
            mount --rbind "$top" "$root$top"
        fi
        exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
            LC_ALL=C.UTF-8 sh -c "cd \"\$1\" && shift && exec \"\$@\"" sh "$dir" "$@"
    ' sh "$@"
}
