# shellcheck shell=bash
# Roots of Debian releases: directories in which a program finds only files of that
# release, and no file of this machine. Programs of a guest are built in a root of the
# guest's release, whatever release this machine has. lib.sh sources this file.
#
# Root makes a root as root. Any other user makes a root in a user namespace: there the
# user is root, and the user's subordinate ids are 65536 more users. Files of root in
# the namespace belong to the user outside; files of the other users can only be removed
# from within the namespace (as_root rm).
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

# as_root CMD...: run CMD as root, or as root of a user namespace. Only CMD sees what
# CMD mounts.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        unshare --mount --propagation private -- "$@"
    else
        unshare --map-root-user --map-auto --mount --propagation private -- "$@"
    fi
}

# check_as_root: does as_root work? If not, print what root has to do, and stop.
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

# These files are needed neither in a root for building programs nor in a guest's root
ROOT_OPTIONS=(--aptopt='Apt::Install-Recommends "false"' --dpkgopt=force-unsafe-io
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
    --dpkgopt='path-exclude=/usr/share/locale/*')

# make_root RELEASE DIR VARIANT PKG...: make DIR a root of that release, by mmdebstrap
# with that variant, these packages and $ROOT_OPTIONS. RELEASE:ARCHITECTURE is one of
# another architecture, whose programs this machine can run.
make_root() {
    local release=$1 dir=$2 variant=$3 packages conf architecture=''
    [[ $release != *:* ]] || architecture=${release#*:}
    shift 3
    packages=$(IFS=,; echo "$*")
    conf=$(release_apt "$release")
    as_root rm -rf "$dir" "$dir.new"
    apt-config dump --no-empty Acquire | grep -i proxy >"$dir.apt" || true
    run_logged "root-$(basename "$dir")" as_root mmdebstrap --mode=root \
        --variant="$variant" ${packages:+--include="$packages"} \
        --aptopt="$dir.apt" --aptopt='Acquire::Check-Valid-Until "false"' \
        "${ROOT_OPTIONS[@]}" ${architecture:+--architectures="$architecture"} \
        "${release%:*}" "$dir.new" "$(dirname "$conf")/sources.list"
    rm "$dir.apt"
    # This is the only directory with files that does not belong to root: an ordinary
    # user could not remove it.
    as_root rm -rf "$dir.new/var/cache/man"
    as_root mv "$dir.new" "$dir"
}

# in_root ROOT CMD...: run CMD in ROOT, in the same current directory as here: this
# clone is visible in ROOT at the same path. No variable of our environment is passed.
in_root() { enter_root "$1" "$TOP" "$PWD" "${@:2}"; }

# in_bare_root ROOT CMD...: run CMD in ROOT, in the directory /, without this clone
in_bare_root() { enter_root "$1" "" / "${@:2}"; }

enter_root() {
    # shellcheck disable=SC2016 # for the shell in ROOT
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
