# What scripts/demo shows
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import select
import shlex
import signal
import sys
import termios
import tty

sys.dont_write_bytecode = True
from guestlib import Guest, GuestError, Port, option            # noqa: E402

LINKS = '/dev/virtio-ports'
SENSOR = {'desc': '1209:0001', 'desc_manufacturer': 'Example Ltd',
          'desc_product': 'Sensor hub'}

# What lsvser is going to do: one line for a port with descriptors
LIST = '''
cd /sys/class/virtio-ports
for port in vport0p*; do
    [ -e $port/idVendor ] || { echo "/dev/$port: no descriptor"; continue; }
    read -r vendor <$port/idVendor
    read -r product <$port/idProduct
    read -r class <$port/bInterfaceClass
    text=
    for file in manufacturer product serial; do
        [ ! -e $port/$file ] || text="$text $(cat $port/$file)"
    done
    echo "/dev/$port: ID $vendor:$product class $class$text"
done'''

# The product's software in the guest: it knows vendor, product and serial
# number, opens that port, and answers a line with another.
APPLICATION = '''
rm -f /run/answered
( exec 3<>{link}
  read -r line <&3
  echo "$line" >/run/heard
  echo "serial number {serial} heard: $line" >&3
  touch /run/answered ) >/dev/null 2>&1 &'''


class Demo:
    def __init__(self, guest):
        self.guest = guest
        self.done = []

    def step(self, text):
        print(f'\n=== {text}\n', flush=True)

    def show(self, script):
        """Run a script in the guest, and show its output."""
        for line in self.guest.sh(script).splitlines():
            print(f'    {line}', flush=True)

    def happened(self, text):
        self.done.append(text)
        print(f'  * {text}', flush=True)

    def expect(self, condition, what):
        if not condition:
            raise GuestError(what)

    def talk(self, id, serial):
        """The guest opens 1209:0001 by its serial number, both sides say
        something, then a lot."""
        port = self.guest.ports[id]
        link = f'{LINKS}/by-usb-id/1209:0001:{serial}'
        question = f'how warm is it at {id}?'
        print(f'    guest opens  {link}')
        self.guest.sh(APPLICATION.format(link=shlex.quote(link), serial=serial))
        print(f'    host says    {question}')
        port.socket.sendall(question.encode() + b'\n')
        answer = f'serial number {serial} heard: {question}'
        heard = port.receive(len(answer) + 1).decode()
        print(f'    guest says   {heard}', end='')
        self.expect(heard == answer + '\n', f'the answer was to be: {answer}')
        self.guest.wait_until('[ -e /run/answered ]')
        self.guest.exchange(port, link, 1 << 18)
        self.happened(f'the guest opened 1209:0001 by serial number {serial}: a '
                      'question, an answer, then 256 KiB each way, all unchanged')

    def run(self):
        guest = self.guest
        self.step('the guest is up; its ports')
        self.show(LIST)
        count = guest.sh('cat /sys/class/virtio-ports/vport0p*/idVendor | '
                         'grep -c 1209').strip()
        self.expect(count == '3', '3 ports were to have a descriptor')
        self.happened('the guest\'s driver got the descriptors of 3 ports, and '
                      'none for the one that has none')

        self.step('the links that udev made')
        self.show(f'cd {LINKS} && find by-id by-usb-id -type l | sort | while '
                  'read -r l; do echo "$PWD/$l -> $(readlink -f "$l")"; done')
        for link in ('by-usb-id/1209:0001:S1', 'by-usb-id/1209:0001:S2',
                     'by-id/Example_Ltd_Sensor_hub_S1',
                     'by-id/Example_Ltd_Sensor_hub_S2', 'by-usb-id/1209:000a:M1'):
            self.expect(guest.sh(f'readlink -f {LINKS}/{link}').strip() ==
                        f'/dev/{self.node(link)}', f'there is no {link}')
        self.happened('udev named each port by vendor, product and serial number')

        self.step('two instances of one product, told apart by serial number')
        self.talk('first', 'S1')
        self.talk('second', 'S2')

        self.step('a port is plugged while the guest runs')
        port = Port('third', **SENSOR, desc_serial='S3')
        print(f'    (qemu) device_add {option(port.device())}')
        guest.plug(port)
        guest.wait_for(f'{LINKS}/by-usb-id/1209:0001:S3')
        self.show(LIST + ' | grep S3')
        self.talk('third', 'S3')
        print(f'    (qemu) device_del {port.id}')
        guest.unplug(port)
        guest.wait_for(f'{LINKS}/by-usb-id/1209:0001:S3', removed=True)
        self.happened('a port was plugged, found, used and unplugged, and its '
                      'links are gone')

    def node(self, link):
        """The node that must be behind a link: that of the port with the serial
        number at its end, asked from the kernel."""
        serial = link.replace('_', ':').rpartition(':')[2]
        return self.guest.sh('cd /sys/class/virtio-ports && dirname '
                             f'$(grep -lx {serial} */serial)').strip()


def print_command(command):
    """A command line that can be pasted, an option on a line."""
    words = [shlex.quote(word) for word in command]
    lines, line = [], words[0]
    for word in words[1:]:
        if word.startswith('-'):
            lines.append(line)
            line = '  ' + word
        else:
            line += ' ' + word
    print(' \\\n'.join(f'    {line}' for line in [*lines, line]), flush=True)


def interact(guest):
    """Connect this terminal with the guest's console until the guest ends."""
    console = guest.connect('console')
    console.settimeout(None)
    guest.sh('( setsid cttyhack sh -l; poweroff -f ) </dev/ttyS0 >/dev/ttyS0 2>&1 &')
    print('\n=== the guest\'s shell; "exit" ends it\n', flush=True)
    console.sendall(b'\n')
    stdin = sys.stdin.fileno()
    saved = termios.tcgetattr(stdin) if os.isatty(stdin) else None
    try:
        if saved:
            tty.setraw(stdin)
        sources = [stdin, console]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if console in ready:
                data = console.recv(4096)
                if not data:
                    break
                os.write(1, data)
            if stdin in ready:
                data = os.read(stdin, 4096)
                if data:
                    console.sendall(data)
                else:
                    sources.remove(stdin)   # nobody there: watch till the end
    finally:
        if saved:
            termios.tcsetattr(stdin, termios.TCSADRAIN, saved)


def main():
    qemu, *options = sys.argv[1:]

    def ended(number, frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, ended)
    signal.signal(signal.SIGHUP, ended)

    guest = Guest(qemu, ports=[
        Port('first', **SENSOR, desc_serial='S1'),
        Port('second', **SENSOR, desc_serial='S2'),
        Port('modem', desc='1209:000a', desc_class='cdc-acm',
             desc_product='Modem', desc_serial='M1'),
        Port('plain', name='org.example.plain'),
    ])
    demo = Demo(guest)
    failed = None
    demo.step('the command line (what follows the first -device is the demo)')
    try:
        with guest:
            try:
                print_command(guest.process.args)
                demo.run()
            except (GuestError, OSError) as e:
                failed = e
            demo.step('summary')
            for line in demo.done:
                print(f'  * {line}')
            if failed:
                print(f'  * FAILED: {failed}', flush=True)
            else:
                print('  all of it happened', flush=True)
            if '--interactive' in options:
                interact(guest)
    except GuestError as e:
        print(f'\nFAILED: {e}', flush=True)
        return 1
    except KeyboardInterrupt:
        print('\ninterrupted', flush=True)
        return 130
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
