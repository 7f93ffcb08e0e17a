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
    done <<<"$PLATFORMS" | tr ' ' '\n' | sort -u
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
BUILD_PACKAGES=(build-essential debhelper kmod libudev-dev libusb-1.0-0-dev meson
    patch pkgconf sparse systemd udev)

# have_build_root [RELEASE]: make this root, or a root of RELEASE for a kernel of RELEASE,
# unless there is a root with these packages already
have_build_root() {
    local release=${1:-${BUILD_ROOT##*/}}
    (
        dir=$BUILD/guest
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
