"""Run tasks in processes of their own, some at a time, and take their results.

Copyright (c) 2026 the virtio-serial-desc authors
SPDX-License-Identifier: GPL-2.0-or-later
"""

import ctypes
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback

from driver import Wrong
from qemu import Gone, Library, Qemu

LIMIT = 120         # seconds for a task

LOG_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int,
                               ctypes.c_char_p, ctypes.c_void_p)


def of_status(status):
    """A wait status in words; None if QEMU has ended well"""
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return status and f"exit status {os.WEXITSTATUS(status)}"


def how_it_ended(otherwise):
    """A message after a QEMU has gone, which is a child of this process"""
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid and status:
            return f"QEMU: {of_status(status)}"
        time.sleep(0.01)
    return otherwise


def end_all():
    """End each QEMU. Returns "well", or how a QEMU has ended."""
    said = "well"
    for pid in Qemu.pids:
        os.kill(pid, signal.SIGTERM)
    for pid in Qemu.pids:
        _, status = os.waitpid(pid, 0)
        if status:
            said = f"QEMU, in the end: {of_status(status)}"
    return said


class Task:
    """
    @play: the function that the process runs, with the library, a directory of its
           own and a dictionary for the result, in which "end" says how it ended
    """

    def __init__(self, key, library, log, play):
        self.key, self.log = key, log
        self.directory = tempfile.mkdtemp(prefix="vser-")
        self.start = time.monotonic()
        self.data = b""
        self.answer, theirs = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.answer)
            with open(log, "w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            self.run(library, play, theirs)
        os.close(theirs)

    def run(self, library, play, answer):
        """Run in the process, and end the process"""
        facts = {}

        def tell(end):
            facts["end"] = end
            sys.stdout.flush()
            os.write(answer, json.dumps(facts).encode())
            os._exit(0)

        # The library ends the process if QEMU does not answer
        @LOG_HANDLER
        def handler(domain, level, message, data):
            os.write(2, message + b"\n")
            tell(how_it_ended(message.decode()))

        try:
            lib = Library(library)
            ctypes.CDLL(library).g_log_set_default_handler(handler, None)
            play(lib, self.directory, facts)
            tell(end_all())
        except Wrong as error:
            traceback.print_exc()
            tell(str(error))
        except (Gone, BrokenPipeError, ConnectionResetError) as error:
            traceback.print_exc()
            tell(how_it_ended(str(error)))
        except BaseException:
            traceback.print_exc()
            tell("a fault of the test")

    def late(self):
        return time.monotonic() > self.start + LIMIT

    def end(self, killed=False):
        """The task's result"""
        if killed:
            os.kill(self.pid, signal.SIGKILL)       # QEMU ends with it
        os.waitpid(self.pid, 0)
        os.close(self.answer)
        shutil.rmtree(self.directory, ignore_errors=True)
        try:
            return json.loads(self.data)
        except ValueError:
            return {"end": f"nothing after {LIMIT} s" if killed else
                    "the driver has given up; its log says why"}


def run_tasks(makers, jobs):
    """
    Call each of @makers, which makes a Task, @jobs at a time. Yields (key,
    result) when a task has ended.
    """
    todo, running = iter(makers), {}
    more = True
    try:
        while more or running:
            while more and len(running) < jobs:
                make = next(todo, None)
                more = make is not None
                if more:
                    task = make()
                    running[task.answer] = task
            ready, _, _ = select.select(list(running), [], [], 1)
            for fd, task in list(running.items()):
                if fd in ready:
                    data = os.read(fd, 1 << 16)
                    task.data += data
                    if not data:
                        del running[fd]
                        yield task.key, task.end()
                elif task.late():
                    del running[fd]
                    yield task.key, task.end(True)
    finally:
        for task in running.values():
            task.end(True)
