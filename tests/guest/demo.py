# What scripts/demo shows
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import pathlib
import select
import shlex
import signal
import sys
import termios
import tty

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from guestlib import Guest, GuestError, Port, option            # noqa: E402

LINKS = '/dev/virtio-ports'
STATS = {'desc': '1209:0001', 'desc_manufacturer': 'Acme',
         'desc_product': 'Kernel stats'}
SENSOR = {'desc': '1209:0050', 'desc_manufacturer': 'Example Ltd',
          'desc_product': 'Sensor hub'}

# The software of a product that has no unit. The program knows vendor, product and
# serial number, and answers each line with a line.
APPLICATION = """#!/bin/sh
read -r line
echo "$line" >/run/heard
echo "serial number $1 heard: $line"
"""


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
        """Connect a program in the guest to 1209:0050 by its serial number; both
        sides send a few bytes, then many."""
        port = self.guest.ports[id]
        command = f'vser connect 1209:0050:{serial} --exec /run/application {serial}'
        question = f'how warm is it at {id}?'
        print(f'    guest runs   {command}')
        self.guest.sh('rm -f /run/answered\n'
                      f'( {command}; echo $? >/run/answered ) >/dev/null 2>&1 &')
        print(f'    host says    {question}')
        port.socket.sendall(question.encode() + b'\n')
        answer = f'serial number {serial} heard: {question}'
        heard = port.receive(len(answer) + 1).decode()
        print(f'    guest says   {heard}', end='')
        self.expect(heard == answer + '\n', f'the answer was to be: {answer}')
        self.guest.wait_until('[ -s /run/answered ]')
        self.guest.exchange(port, f'{LINKS}/by-usb-id/1209:0050:{serial}', 1 << 18)
        self.happened(f'the guest found 1209:0050 with serial number {serial}: a '
                      'question, an answer, then 256 KiB each way, all unchanged')

    def ask(self, port, *words):
        """Show Acme's agent, which udev has started, and its answers, line by line."""
        for word in words:
            port.socket.sendall(word.encode() + b'\n')
            answer = b''
            while not answer.endswith(b'.\n'):
                answer += port.receive(1)
            answer = answer.decode()[:-3]
            print(f'    host asks    {word}\n    guest says   {answer}')
            yield answer

    def agent(self, port):
        """The port's serial number names a user, and udev has started an agent of that
        user, which has the open port. The node belongs to root only."""
        user = port.props['desc-serial']
        unit = f'acme-kernel-stats@{user}.service'
        self.guest.wait_until(f'systemctl -q is-active {unit}')
        self.show(f'systemctl --no-pager status {unit} | head -n 3\n'
                  f'ls -lL {LINKS}/by-usb-id/1209:0001:{user}')
        who, version = self.ask(port, 'user', 'version')
        self.expect(who == user, f'the agent was to be {user}, not {who}')
        self.expect(version.startswith('Linux'), 'it was to know its kernel')
        self.happened(f'udev started the agent of 1209:0001:{user} as {user}, with '
                      'the open port, and it answered')
        again = self.guest.run(
            f'su {user} -c "exec 3<>{LINKS}/by-usb-id/1209:0001:{user}"', check=False)
        self.expect(again.status, f'{user} opened the port a second time')

    def run(self):
        guest = self.guest
        self.step('the guest is up: Debian 12 with its own kernel and driver, the '
                  'package virtio-serial-desc\n    and that of a product, Acme '
                  'kernel stats')
        self.show('systemctl is-system-running --wait; uname -sr\n'
                  'dpkg-query -W virtio-serial-desc acme-kernel-stats\n'
                  'cat /usr/lib/udev/hwdb.d/70-acme-kernel-stats.hwdb')

        self.step('its ports, by lsvser')
        for link in ('1209:0001:alice', '1209:0050:S1', '1209:0050:S2',
                     '1209:000a:M1'):
            guest.wait_for(f'{LINKS}/by-usb-id/{link}')
        # The link comes with the port's name, the strings come with its record
        guest.wait_until('! lsvser | grep -q "name only"')
        self.show('lsvser; echo; lsvser -t')
        count = len(guest.sh('lsvser').splitlines())
        self.expect(count == 4, f'4 ports were to have a descriptor, not {count}')
        self.happened('the guest knows the descriptors of 4 ports, and none of '
                      'the one that has none')

        self.step('the links that udev made')
        self.show(f'cd {LINKS} && find by-id by-usb-id -type l | sort | while '
                  'read -r l; do echo "$PWD/$l -> $(readlink -f "$l")"; done')
        for link, id in (('by-id/Example_Ltd_Sensor_hub_S1', 'first'),
                         ('by-id/Example_Ltd_Sensor_hub_S2', 'second'),
                         ('by-usb-id/1209:000a:M1', 'modem'),
                         ('by-usb-id/1209:0001:alice', 'alice')):
            number = guest.qmp('qom-get', path=f'/machine/peripheral/{id}',
                               property='nr')
            self.expect(guest.node(f'{LINKS}/{link}') == f'vport0p{number}',
                        f'{link} was to lead to vport0p{number}')
        self.happened('udev named each port by vendor, product and serial number')

        self.step('two instances of one product, told apart by serial number')
        guest.sh(f'cat >/run/application <<"E"\n{APPLICATION}E\n'
                 'chmod +x /run/application')
        self.talk('first', 'S1')
        self.talk('second', 'S2')

        self.step('a product whose package has a line for udev and a unit')
        self.agent(guest.ports['alice'])

        self.step('a port is plugged while the guest runs')
        port = Port('bob', **STATS, desc_serial='bob')
        print(f'    (qemu) device_add {option(port.device())}')
        guest.plug(port)
        self.agent(port)
        self.expect(guest.run(f'su alice -c "exec 3<>{LINKS}/by-usb-id/1209:0001:'
                              'bob"', check=False).status, 'alice opened bob\'s port')
        self.happened('no user may open a port: it is open for the agent, and for '
                      'nobody else')
        print(f'    (qemu) device_del {port.id}')
        guest.unplug(port)
        guest.wait_for(f'{LINKS}/by-usb-id/1209:0001:bob', removed=True)
        guest.wait_until('! systemctl -q is-active acme-kernel-stats@bob.service')
        self.happened('the port was unplugged: its agent has ended, its links are '
                      'gone')

        self.step('a port that the guest\'s own USB stack has taken')
        link = '/dev/serial/by-id/usb-Example_Ltd_Modem_M1-if00'
        guest.wait_for(link)
        self.show(f'ls -l {link}; lsusb -d 1209:')
        guest.sh(f'stty -F {link} raw -echo')
        guest.exchange(guest.ports['modem'], link, 1 << 14)
        self.happened('the guest\'s ACM driver made the port a ttyACM: 16 KiB '
                      'each way')


def print_command(command):
    """A command line that can be pasted, with one option on each line."""
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
    # While somebody uses the guest, other scripts may use build/.
    lock = os.environ.pop('VIRTIO_SERIAL_DESC_LOCK', None)
    if lock:
        os.close(int(lock))
    stdin = sys.stdin.fileno()
    terminal = os.isatty(stdin)
    console_in_guest = f'/dev/{guest.platform.terminal}'
    console = guest.connect('console')
    console.settimeout(None)
    if terminal:
        columns, rows = os.get_terminal_size(stdin)
        guest.sh(f'stty -F {console_in_guest} rows {rows} cols {columns}')
    guest.sh('systemd-run -q --service-type=exec -p StandardInput=tty '
             '-p StandardOutput=tty -p StandardError=tty -p TTYPath=' +
             console_in_guest + ' '
             '-p WorkingDirectory=/root -p "ExecStopPost=/bin/systemctl -ff '
             'poweroff" -E TERM=linux -E HOME=/root /bin/bash -l')
    print('\n=== the guest\'s shell; "exit" ends it' +
          (', and Ctrl-] the guest' if terminal else '') + '\n', flush=True)
    console.sendall(b'\n')
    saved = termios.tcgetattr(stdin) if terminal else None
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
                if terminal and b'\x1d' in data:
                    break
                if not data:
                    sources.remove(stdin)
                console.sendall(data or b'\nexit\n')
    finally:
        if saved:
            termios.tcsetattr(stdin, termios.TCSADRAIN, saved)


def main():
    qemu, *options = sys.argv[1:]

    def ended(number, frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, ended)
    signal.signal(signal.SIGHUP, ended)

    guest = Guest(qemu, disk='installed', driver='stock', ports=[
        Port('alice', **STATS, desc_serial='alice'),
        Port('first', **SENSOR, desc_serial='S1'),
        Port('second', **SENSOR, desc_serial='S2'),
        Port('modem', desc='1209:000a', desc_class='cdc-acm',
             desc_manufacturer='Example Ltd', desc_product='Modem',
             desc_serial='M1'),
        Port('plain', name='org.example.plain'),
    ], devices=[{'driver': 'virtserialdesc', 'bus': 'vs.0'}])
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
