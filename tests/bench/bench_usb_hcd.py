#!/usr/bin/python3 -B
# What USB costs QEMU: virtio-usb beside qemu-xhci, in the same guest
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Compare USB host controllers, all in one guest.

    bench_usb_hcd.py [--kernel SERIES] [--rounds N] [--mib N] [--profile]
                     EMULATOR [CONTROLLER...]

A CONTROLLER is a device of QEMU with its properties, as virtio-usb-pci,ioeventfd=off.
Without one: virtio-usb-pci without and with ioeventfd, and qemu-xhci. Each has
a disk that is a null-co of QEMU, at high speed. A line for each figure:

  accesses   to registers of the controller that QEMU handles, for each URB, by the
             traces memory_region_ops_read and _write; and doorbells that are eventfds
  cpu        seconds of QEMU for each GiB that the guest reads: of all threads, and of
             the main loop alone. The least of N rounds, the controllers in turn;
             and the ratio to the last controller in each round
  wakeups    a second of QEMU's main loop, with an idle tablet

With --profile, instead of these: where QEMU's CPU time goes, by samples of perf.
"""

import argparse
import collections
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/lib'))
from guestlib import Guest                                  # noqa: E402

IDLE = 20
ACCESS = re.compile(r"memory_region_ops_(read|write) .* name '?([^']*)'?$")
# The regions of a controller's registers, as QEMU calls them
REGISTERS = re.compile(r'capabilities|operational|runtime|doorbell|usb[23] port|'
                       r'virtio-pci-(common|isr|device|notify)-virtio-usb')
EVENTS = ['memory_region_ops_read', 'memory_region_ops_write', 'virtio_queue_notify']
URBS = {'virtio-usb': 'virtio_usb_request', 'qemu-xhci': 'usb_xhci_xfer_start'}

# What calls the device's side: an access to a register, a bottom half, an eventfd, and
# the block layer, whose coroutines have stacks of their own
DEVICE_SIDE = {'memory_region_dispatch_read', 'memory_region_dispatch_write',
               'aio_bh_call', 'virtio_queue_host_notifier_read', 'coroutine_trampoline'}
OTHER_THREADS = {'call_rcu_thread', 'worker_thread'}


class Controller:
    """One controller of the guest, with a disk"""

    def __init__(self, words, number):
        self.name = words
        self.id = f'usb{number}'
        # Disks are plugged in one after the other
        self.node = f'/dev/sd{chr(ord("a") + number)}'
        self.driver, *props = words.split(',')
        self.device = {'driver': self.driver, 'id': self.id,
                       **dict(prop.split('=') for prop in props)}
        if self.driver == 'qemu-xhci':
            # Without ports for SuperSpeed, the disk is a high speed one as well
            self.device = {'p2': 8, 'p3': 0, **self.device}
        self.urb = next(event for driver, event in URBS.items()
                        if self.driver.startswith(driver))
        self.cpu = []

    def plug_disk(self, guest):
        guest.qmp('blockdev-add', **{'driver': 'null-co', 'node-name': self.id,
                                     'size': 1 << 30, 'read-zeroes': True})
        guest.qmp('device_add', driver='usb-storage', drive=self.id,
                  bus=f'{self.id}.0', id=f'disk-{self.id}')
        guest.wait_for(self.node)


def read(guest, controller, size, count):
    guest.sh(f'dd if={controller.node} of=/dev/null bs={size} count={count} '
             'iflag=direct 2>/dev/null')


def traced(guest, events, do):
    """The trace's lines of these events while do() runs"""
    for event in events:
        guest.qmp('trace-event-set-state', name=event, enable=True)
    before = len(guest.errors())
    do()
    for event in events:
        guest.qmp('trace-event-set-state', name=event, enable=False)
    return guest.errors()[before:].splitlines()


def count_accesses(guest, controller, size, count):
    lines = traced(guest, [*EVENTS, controller.urb],
                   lambda: read(guest, controller, size, count))
    urbs = sum(line.partition(' ')[0].endswith(controller.urb) or
               f'{controller.urb} ' in line for line in lines)
    found = collections.Counter()
    for line in lines:
        if (match := ACCESS.search(line)) and REGISTERS.search(match[2]):
            found[f'{match[1]} {match[2]}'] += 1
    # Other devices of the guest are idle, so a notification is the controller's
    eventfds = sum('virtio_queue_notify ' in line for line in lines) - \
        found['write virtio-pci-notify-virtio-usb']
    total = sum(found.values())
    if controller.driver.startswith('virtio'):
        total += max(eventfds, 0)
    print(f'{controller.name}: {count} reads of {size >> 10} KiB: {urbs} URBs, '
          f'{total / max(urbs, 1):.2f} accesses each: {dict(found)}, '
          f'{max(eventfds, 0)} eventfds', flush=True)


def cpu_time(guest):
    """CPU seconds of QEMU so far: of all threads, of the main one"""
    pid = guest.process.pid

    def seconds(path):
        fields = pathlib.Path(path).read_text().rpartition(') ')[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    return seconds(f'/proc/{pid}/stat'), seconds(f'/proc/{pid}/task/{pid}/stat')


def measure_cpu(guest, controller, mib):
    before = cpu_time(guest)
    read(guest, controller, 128 << 10, mib * 8)
    after = cpu_time(guest)
    controller.cpu.append([(b - a) * 1024 / mib for a, b in zip(before, after)])


def kind_of(is_main, functions):
    """Where a sample of the main or another thread is. functions: those on the stack, the
    innermost one first. A stack ends where the guest's code begins."""
    names = set(functions)
    if names & DEVICE_SIDE:
        return "the device's side"
    if is_main:
        return 'the rest of the main loop'
    if names & OTHER_THREADS:
        return 'other threads'
    return "the guest's code" if functions[0] == '[unknown]' else "the emulated CPU's"


def profile(guest, controller, size, count):
    with tempfile.NamedTemporaryFile() as file:
        # virtqueue_pop() has 24 KiB on the stack
        with subprocess.Popen(['perf', 'record', '--quiet', '-e', 'cpu-clock', '-F', '499',
                               '--call-graph', 'dwarf,32768', '-p', str(guest.process.pid),
                               '-o', file.name], stdin=subprocess.DEVNULL) as perf:
            try:
                time.sleep(1)
                read(guest, controller, size, count)
            finally:
                perf.send_signal(signal.SIGINT)
        text = subprocess.run(['perf', 'script', '--no-inline', '-F', 'tid,ip,sym',
                               '-i', file.name], check=True, capture_output=True,
                              text=True).stdout
    kinds = collections.Counter()
    for sample in text.strip().split('\n\n'):
        tid, *stack = sample.splitlines()
        functions = [line.split()[1] for line in stack if len(line.split()) > 1]
        if functions:
            kinds[kind_of(int(tid) == guest.process.pid, functions)] += 1
    whole = sum(kinds.values())
    print(f'{controller.name}: {count} reads of {size >> 10} KiB: {whole} samples: ' +
          ', '.join(f'{100 * n / whole:.0f} % {kind}' for kind, n in kinds.most_common()),
          flush=True)


def count_wakeups(guest, controller):
    guest.qmp('device_add', driver='usb-tablet', bus=f'{controller.id}.0', id='tablet')
    guest.wait_until('cat /sys/class/input/event*/device/name | grep -q Tablet')
    guest.sh('udevadm settle\n'
             'for e in /dev/input/event*; do cat $e </dev/null >/dev/null 2>&1 & done')
    status = pathlib.Path(f'/proc/{guest.process.pid}/status')

    def switches():
        return int(re.search(r'(?m)^voluntary_ctxt_switches:\s*(\d+)',
                             status.read_text())[1])

    before, start = switches(), time.monotonic()
    time.sleep(IDLE)
    rate = (switches() - before) / (time.monotonic() - start)
    guest.qmp('device_del', id='tablet')
    guest.wait_event('DEVICE_DELETED', device='tablet')
    guest.wait_until('! cat /sys/class/input/event*/device/name | grep -q Tablet')
    print(f'{controller.name}: {rate:.1f} wake-ups a second of the main loop, idle, '
          'with a tablet', flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kernel', default='6.1', choices=['6.1', '6.12', 'newest'])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--mib', type=int, default=64)
    parser.add_argument('--profile', action='store_true')
    parser.add_argument('qemu', metavar='EMULATOR')
    parser.add_argument('controllers', nargs='*', metavar='CONTROLLER', default=[
        'virtio-usb-pci,ioeventfd=off', 'virtio-usb-pci,ioeventfd=on', 'qemu-xhci'])
    args = parser.parse_args()
    if args.profile and not shutil.which('perf'):
        parser.error('--profile needs perf: the package linux-perf')

    controllers = [Controller(words, n) for n, words in enumerate(args.controllers)]
    with Guest(args.qemu, usb=True, kernel=args.kernel,
               devices=[controller.device for controller in controllers]) as guest:
        guest.sh('modprobe xhci_pci; modprobe virtio_usb')
        for controller in controllers:
            controller.plug_disk(guest)
        if args.profile:
            for controller in controllers:
                profile(guest, controller, 128 << 10, args.mib * 8)
                profile(guest, controller, 4 << 10, args.mib * 64)
            return
        for controller in controllers:
            count_accesses(guest, controller, 128 << 10, args.mib * 8)
            count_accesses(guest, controller, 4 << 10, 512)
        for _ in range(args.rounds):
            for controller in controllers:
                measure_cpu(guest, controller, args.mib)
        for controller in controllers:
            whole, main_loop = map(min, zip(*controller.cpu))
            pairs = [ours[0] / last[0]
                     for ours, last in zip(controller.cpu, controllers[-1].cpu)]
            print(f'{controller.name}: {whole:.2f} CPU s for each GiB, '
                  f'{main_loop:.2f} in the main loop; rounds: '
                  f'{", ".join(f"{c[0]:.2f}" for c in controller.cpu)}; against '
                  f'{controllers[-1].name}, round by round: '
                  f'{", ".join(f"{pair:.2f}" for pair in pairs)}', flush=True)
        for controller in controllers:
            count_wakeups(guest, controller)


if __name__ == '__main__':
    main()
