# shellcheck shell=bash
# How image builds what runs in a guest of another architecture than amd64: with Debian's
# cross compilers, which are installed in the root in which everything else is built too.
# image sources this file.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

# cross_prefix ARCHITECTURE: how the names of its compiler's programs begin
cross_prefix() {
    case $1 in
    arm64)   echo aarch64-linux-gnu- ;;
    i386)    echo i686-linux-gnu- ;;
    ppc64el) echo powerpc64le-linux-gnu- ;;
    s390x)   echo s390x-linux-gnu- ;;
    *)       die "tests/guest/foreign.sh names no cross compiler for $1" ;;
    esac
}

# kernel_architecture ARCHITECTURE: the kernel's name of it, as in ARCH=NAME
kernel_architecture() {
    case $1 in
    i386)    echo x86 ;;
    ppc64el) echo powerpc ;;
    s390x)   echo s390 ;;
    *)       echo "$1" ;;
    esac
}

# cross_file ARCHITECTURE: what meson has to know of the cross compiler
cross_file() {
    local prefix cpu endian=little
    prefix=$(cross_prefix "$1")
    cpu=${prefix%%-*}
    [ "$1" != s390x ] || endian=big
    printf '%s\n' "[binaries]" "c = '${prefix}gcc'" "strip = '${prefix}strip'" \
        "pkg-config = 'pkg-config'" "[host_machine]" "system = 'linux'" \
        "cpu_family = '${cpu/#i686/x86}'" "cpu = '$cpu'" "endian = '$endian'"
}

# have_cross_compiler ARCHITECTURE: install it in $BUILD_ROOT, unless it is there
have_cross_compiler() {
    # shellcheck disable=SC2034 # dir: for one_at_a_time
    local prefix conf lists debs packages got='' dir=$BUILD/guest
    prefix=$(cross_prefix "$1")
    packages=("gcc-${prefix%-}" "libc6-dev-$1-cross")
    (
        one_at_a_time
        [ ! -e "$BUILD_ROOT/usr/bin/${prefix}gcc" ] || exit 0
        debs=$BUILD_ROOT/cross-debs
        for lists in kept again; do
            conf=$(release_apt bookworm "$lists")
            as_root rm -rf "$debs"
            mkdir -p "$debs/partial"
            # What is installed in the root counts, and nothing there is locked
            if (run_logged "guest-cross-$1-download" apt-get -q -y -c "$conf" \
                    -o Dir::State::status="$BUILD_ROOT/var/lib/dpkg/status" \
                    -o Dir::Cache::archives="$debs" -o Debug::NoLocking=true \
                    -o APT::Install-Recommends=false \
                    install --download-only "${packages[@]}"); then
                got=yes
                break
            fi
        done
        [ "$got" ] || exit 1
        run_logged "guest-cross-$1" in_bare_root "$BUILD_ROOT" \
            sh -c 'dpkg -i /cross-debs/*.deb && rm -r /cross-debs'
    )
}
