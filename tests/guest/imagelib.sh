# shellcheck shell=bash
# Functions for image, image-systemd and tests/newcomer. Source this file; set $dir before
# a call.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=../../scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

# platform_column NAME COLUMN: a column of the row NAME of tests/guest/platforms; dies if
# there is no such row
PLATFORMS=$(grep '^[^#]' "$TOP/tests/guest/platforms")
platform_column() {
    cell "$PLATFORMS" "$1" "$2" || die "'$1' is no platform of tests/guest/platforms"
}

# transport_modules FLAVOUR: the transport's modules, of all platforms with that kernel
transport_modules() {
    local name
    while read -r name _; do
        [ "$(platform_column "$name" 3)" != "$1" ] || platform_column "$name" 10
    done <<<"$PLATFORMS" | tr ' ' '\n' | sed '/^$/d' | sort -u
}

# one_at_a_time: wait until no other such script runs
one_at_a_time() {
    mkdir -p "$dir"
    exec 9>"$dir/lock"
    flock -n 9 || { say "- waiting for another $(basename "$0") ..."; flock 9; }
}

# stamped NAME TEXT [INPUT...]: is $dir/NAME.stamp the checksum of TEXT and of these files
# and directories? If not, NAME has to be made again: the stamp is removed, and the right
# checksum is in $stamp.
stamped() {
    local name=$1 text=$2
    shift 2
    stamp=$({ echo "$text"
              [ $# = 0 ] || find "$@" -type f | sort | xargs sha256sum | sed "s|$TOP/||"
            } | sha256sum)
    [ "$(cat "$dir/$name.stamp" 2>/dev/null)" = "$stamp" ] || {
        rm -f "$dir/$name.stamp"
        return 1
    }
}

# Programs for guests of Debian 12 are built in a root of Debian 12: the driver, vser, the
# helpers, the package.
BUILD_ROOT=$BUILD/guest/bookworm
BUILD_PACKAGES=(build-essential debhelper kmod libsystemd-dev libudev-dev libusb-1.0-0-dev
    meson patch pkgconf sparse systemd udev)

# have_build_root [RELEASE]: make this root, or a root of RELEASE for a kernel of RELEASE,
# unless there is a root with these packages already
have_build_root() {
    local release=${1:-${BUILD_ROOT##*/}} dir=$BUILD/guest
    (
        one_at_a_time
        [ -e "$dir/$release/etc/debian_version" ] || rm -f "$dir/$release.stamp"
        stamped "$release" "$(declare -f make_root) ${ROOT_OPTIONS[*]} ${BUILD_PACKAGES[*]}" || {
            make_root "$release" "$dir/$release" essential "${BUILD_PACKAGES[@]}"
            echo "$stamp" >"$dir/$release.stamp"
        }
    )
}

# The modules of a kernel that tests need, besides the transport's modules; modules that
# these depend on are added
# shellcheck disable=SC2034 # for scripts that source this file
guest_modules=(virtio_console virtio_blk ext4 crc32c_generic autofs4
         xhci_pci cdc_acm ftdi_sio vhci_hcd
         dummy_hcd usb_f_acm usb_f_ecm usb_f_ss_lb usb_f_mass_storage)

# kernel_packages RELEASE IMAGE: that package, and the packages that have its files
kernel_packages() {
    release_show "$1" "$2" | sed -n 's/^Depends: //p' | tr ', ' '\n' |
        grep -x "linux-[a-z]*-${2#linux-image-}" || true
    echo "$2"
}

# download_kernel RELEASE FLAVOUR SERIES: get the newest kernel of RELEASE into $dir/debs,
# and set $kver to its version. SERIES: a part of the version as in 6.12, or newest. If
# the archive does not have a kernel of its index any more, the next kernel is tried.
# Returns 1 if there is no kernel.
download_kernel() {
    local image log=$BUILD/log/guest-kernel-${1/:/-}-$3-download.log
    for image in $(apt-cache -c "$(release_apt "$1")" pkgnames linux-image- |
                   grep -x "linux-image-[0-9][^-]*\(-[0-9]*\)\?-$2" | sort -rV); do
        [[ $3 = newest || $image = "linux-image-$3".* ]] || continue
        say "- $image of $1 ..."
        # shellcheck disable=SC2046 # one word a package
        if release_download "$1" "$dir/debs" $(kernel_packages "$1" "$image") \
                >"$log" 2>&1; then
            kver=${image#linux-image-}
            return
        fi
        say "  it can't be had; ${log#"$TOP"/} says why"
    done
    return 1
}

# unpack_kernel: make $dir/kernel, with modprobe's lists, and $dir/vmlinuz of the kernel
# that download_kernel has got
unpack_kernel() {
    rm -rf "$dir/kernel"
    mkdir -p "$dir/kernel/usr/lib"
    ln -s usr/lib "$dir/kernel/lib"
    run_logged guest-kernel-unpack unpack "$dir"/debs/*.deb "$dir/kernel"
    rm -rf "$dir/debs"
    run_logged guest-kernel-depmod depmod -b "$dir/kernel" "$kver"
    # A kernel that unpacks itself is vmlinuz; ppc64el's is vmlinux
    cp "$dir/kernel/usr/lib/modules/$kver/vmlinuz" "$dir/vmlinuz" 2>/dev/null ||
        cp "$dir/kernel/boot/vmlinu"[xz]"-$kver" "$dir/vmlinuz"
    echo "$kver" >"$dir/kver"
}

# unpack DEB... DIR: unpack as on a system where /bin, /sbin and /lib are links
unpack() {
    local to=${!#} deb
    mkdir -p "$to"
    for deb in "${@:1:$#-1}"; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$to"
    done
}

# pack DIR FILE: make an archive of DIR that the kernel unpacks. All files in it belong to
# root, whoever runs this script.
pack() {
    (cd "$1" && find . -mindepth 1 | LC_ALL=C sort |
        cpio -o -H newc -R 0:0 --quiet --reproducible) >"$2.new"
    mv "$2.new" "$2"
}
