# fish completion for vser; lsvser.fish has the command list
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

# The names of udev's links are ports as vser takes them: 1209:0001:A1.
function __vser_ports
    for link in /dev/virtio-ports/by-usb-id/*
        test -L $link; and string replace -r '.*/' '' -- $link
    end
end

function __vser_ids
    __vser_ports | string replace -r '^([^:]*:[^:]*).*' '$1' | sort -u
end

function __vser_serials
    __vser_ports | string replace -rf '^[^:]*:[^:]*:(.*)' '$1'
end

# The options of lsvser and "vser list": as arguments, what else "complete" needs
function __vser_list_options
    complete $argv -s v -l verbose -d 'Show every descriptor'
    complete $argv -s t -l tree -d 'Show the ports by controller'
    complete $argv -l json -d 'Show everything, for programs'
    complete $argv -s d -x -a '(__vser_ids)' -d 'Show only ports with these numbers'
    complete $argv -s s -x -a '(__vser_serials)' -d 'Show only ports with that serial number'
    complete $argv -s h -l help -d 'Say how to use the command'
    complete $argv -s V -l version -d 'Say the version'
end

set -l commands list connect monitor usb daemon udev-id udev-acl
set -l no_command "not __fish_seen_subcommand_from $commands"
complete -c vser -f
complete -c vser -n $no_command -a list -d 'Show the ports that have descriptors'
complete -c vser -n $no_command -a connect -d 'Connect standard input and output to a port'
complete -c vser -n $no_command -a monitor -d 'Print a line for each port that comes and goes'
complete -c vser -n $no_command -a usb -d 'Plug a port into the USB stack'
complete -c vser -n $no_command -a daemon -d 'Learn descriptors for the driver'
complete -c vser -n $no_command -a udev-id -d 'Print the properties of a port'
complete -c vser -n $no_command -a udev-acl -d 'Take away the access list of a node'
complete -c vser -n $no_command -s h -l help -d 'Say how to use vser'
complete -c vser -n $no_command -s V -l version -d 'Say the version'

__vser_list_options -c vser -n '__fish_seen_subcommand_from list'

set -l connect '__fish_seen_subcommand_from connect'
complete -c vser -n $connect -s w -l wait -d 'Wait for the port and for the host'
complete -c vser -n $connect -s q -l quit -d 'End when standard input has ended'
complete -c vser -n $connect -s e -l exec -x -a '(__fish_complete_subcommand)' -d 'Run a command with the port'
complete -c vser -n $connect -s u -l user -x -a '(__fish_complete_users)' -d 'Run the command as that user'
complete -c vser -n $connect -s f -l fd -x -d 'The port is open already'
complete -c vser -n '__fish_seen_subcommand_from connect monitor usb' -a '(__vser_ports)' -d Port
complete -c vser -n '__fish_seen_subcommand_from connect monitor usb daemon udev-id udev-acl' -s h -l help -d 'Say how to use the command'
complete -c vser -n '__fish_seen_subcommand_from udev-id' -a '/sys/class/virtio-ports/*'
complete -c vser -n '__fish_seen_subcommand_from udev-acl' -F
