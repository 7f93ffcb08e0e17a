#!/bin/bash
# Links of virtio-serial ports in an initramfs of dracut: the static vser, the rules, the
# kernel's driver (DKMS's, if there is one), and the daemon.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck disable=SC2154 # variables of dracut

vser=/usr/libexec/virtio-serial-desc/vser

check() {
    require_binaries "$vser" || return 1
}

depends() {
    echo udev-rules
}

installkernel() {
    hostonly='' instmods virtio_console
}

install() {
    inst_simple "$vser" /usr/bin/vser
    ln -sf vser "$initdir/usr/bin/lsvser"
    inst_rules 00-virtio-serial-desc.rules 60-virtio-serial-desc.rules \
        90-virtio-serial-desc.rules
    # udev looks there for programs that rules name without a path
    ln -sf ../../bin/vser "$initdir/usr/lib/udev/vser"
    if dracut_module_included systemd; then
        # udev starts the unit. systemd ends it before it changes to the real root, and
        # starts the system's own one.
        inst_simple "${systemdsystemunitdir:-/usr/lib/systemd/system}/vser-daemon.service"
    else
        inst_hook pre-trigger 90 "$moddir/start-daemon.sh"
        inst_hook cleanup 10 "$moddir/stop-daemon.sh"
    fi
}
