# fish completion for lsvser, which is "vser list"
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

functions -q __vser_list_options
or source (status dirname)/vser.fish

complete -c lsvser -f
__vser_list_options -c lsvser
