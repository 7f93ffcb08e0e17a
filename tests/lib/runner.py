# Run unittest's cases, and print a line for each as all suites here do
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the cases of a directory. As a program:

    runner.py [--jobs N] [--list] [--but CASE] DIRECTORY [CASE...]

or in a program that has arguments of its own:

    parser = argparse.ArgumentParser(...)
    runner.add_arguments(parser)
    args = parser.parse_args()
    sys.exit(runner.run('tests/guest', args))

One line for each test, "ok", "not ok" or "skip" first, then what went wrong;
the last line counts them.
"""

import argparse
import concurrent.futures
import fnmatch
import signal
import subprocess
import sys
import time
import unittest


class Result(unittest.TestResult):
    """Prints a line when a test ends."""

    def __init__(self):
        super().__init__()
        self.passed = self.failed = self.skipped_count = 0

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()
        self.ok = True

    def stopTest(self, test):
        super().stopTest(test)
        if self.ok:
            self.passed += 1
            self.say('ok', test, f' ({time.monotonic() - self.started:.1f} s)')

    def say(self, verdict, test, more=''):
        print(f'{verdict} {test}{more}', flush=True)

    def bad(self, test, err):
        self.ok = False
        self.failed += 1
        self.say('not ok', test)
        for line in self._exc_info_to_string(err, test).splitlines():
            print(f'#   {line}', flush=True)

    addError = bad
    addFailure = bad

    def addSubTest(self, test, subtest, err):
        if err:
            self.bad(subtest, err)

    def addSkip(self, test, reason):
        self.ok = False
        self.skipped_count += 1
        self.say('skip', test, f' # {reason}')


def tests_in(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_in(test)
        else:
            yield test


def matches(test, patterns):
    """Is this test, or the class it is in, one of these?"""
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns
               for name in (str(test), str(test).partition('.')[0]))


def find(directory, cases=(), but=()):
    """The tests of the directory's test_*.py that are asked for, or all of them,
    but for some."""
    found = unittest.defaultTestLoader.discover(str(directory), 'test_*.py')
    # What several classes have in common is no case of its own
    return [test for test in tests_in(found)
            if 'abstract' not in vars(type(test)) and
            (not cases or matches(test, cases)) and not matches(test, but)]


def run_here(tests):
    """Run them one after the other; how many passed, failed and were skipped"""
    result = Result()
    unittest.TestSuite(tests).run(result)
    return result.passed, result.failed, result.skipped_count


def run_in_jobs(jobs, command, tests):
    """Run each class in a process of its own, several at a time: a guest keeps
    one core busy. Returns what run_here() does."""
    # What takes long first, so that it is not the last one, alone on a core
    classes = sorted({type(test) for test in tests},
                     key=lambda cls: (not getattr(cls, 'long', False),
                                      cls.__name__))
    children = []

    def run(cls):
        # What is started after an interruption would not be ended.
        child = subprocess.Popen(
            [sys.executable, '-B', *command,
             *(str(t) for t in tests if type(t) is cls)],
            stdout=subprocess.PIPE, text=True)
        children.append(child)
        out = child.communicate()[0].splitlines()
        print('\n'.join(out[:-1]), flush=True)
        words = (out or [''])[-1].split()
        if len(words) == 6 and words[1] == 'passed,':
            return [int(words[i]) for i in (0, 2, 4)]
        print(f'not ok {cls.__name__}: exit status {child.returncode}', flush=True)
        return [0, 1, 0]

    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    try:
        return [sum(n) for n in zip(*pool.map(run, classes))]
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.terminate()
        raise


def add_arguments(parser):
    """What run() wants to find among the arguments of a program"""
    parser.add_argument('--jobs', type=int, default=1, metavar='N',
                        help='this many classes at a time (default: 1)')
    parser.add_argument('--list', action='store_true',
                        help='say which cases there are')
    parser.add_argument('--but', action='append', default=[], metavar='CASE',
                        help='not these')
    parser.add_argument('case', nargs='*', metavar='CASE',
                        help='Class or Class.test, * and ? as in a shell')


def run(directory, args, command=None, interrupted=lambda: None):
    """Run the cases of a directory; the exit status.

    args         of a parser that add_arguments() has had
    command      the program and the arguments with which --jobs starts the
                 processes; their cases follow
    interrupted  is called to end what an interruption has left running
    """
    tests = find(directory, args.case, args.but)
    if args.list:
        for test in tests:
            print(test)
        return 0
    if not tests:
        sys.exit(f'no such case: {" ".join(args.case)}; see --list')

    # Asked to end, we end as after Ctrl-C: with all that we started.
    def ended(number, frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, ended)
    signal.signal(signal.SIGHUP, ended)
    try:
        if args.jobs > 1 and command:
            passed, failed, skipped = run_in_jobs(args.jobs, command, tests)
        else:
            passed, failed, skipped = run_here(tests)
    except KeyboardInterrupt:
        unittest.case.doModuleCleanups()
        interrupted()
        print('interrupted')
        return 130
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(
        description='Run the test cases of a directory.')
    parser.add_argument('directory', metavar='DIRECTORY')
    add_arguments(parser)
    args = parser.parse_args()
    return run(args.directory, args, [__file__, args.directory])


if __name__ == '__main__':
    sys.exit(main())
