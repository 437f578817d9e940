"""`belay log` and who writes the records that it shows; what the tests in
test/command/log*.py share.

A program of tests ends with sys.exit(main(globals())).
"""
import contextlib
import json
import os
import subprocess
import sys
import tempfile

import runner

LIMIT_S = 60
KINDS = ("calls.db", "calls.jsonl")

belay = recorded = cut_writes = None  # as main() is told


def simulator(*options):
    return runner.simulator(belay, "--tool-calls", "0", *options)


@contextlib.contextmanager
def writing(url, path, form="chat", turns=3):
    """A process that has made its calls and holds the record open."""
    with subprocess.Popen(
            [recorded, url, path, form, str(turns)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == "done\n"
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(LIMIT_S)


def record(url, path, form="chat", turns=3):
    with writing(url, path, form, turns):
        pass


class Log:
    def __init__(self, *arguments, **environment):
        done = subprocess.run([belay, "log", *arguments], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=LIMIT_S,
                              env={**os.environ, **environment})
        self.code = done.returncode
        self.out, self.err = done.stdout.decode(), done.stderr.decode()
        self.lines = self.out.splitlines()

    def json(self):
        return [json.loads(line) for line in self.lines]

    def good(self):
        assert self.code == 0, (self.code, self.out, self.err)
        return self


@contextlib.contextmanager
def places():
    """A path for each kind of record."""
    with tempfile.TemporaryDirectory(prefix="belay-") as folder:
        yield [os.path.join(folder, kind) for kind in KINDS]


def holds(path, text):
    """In the record, or in what SQLite has beside it."""
    for name in (path, path + "-wal"):
        if os.path.exists(name):
            with open(name, "rb") as file:
                if text.encode() in file.read():
                    return True
    return False


def main(tests):
    """The tests in a program's globals, for its arguments."""
    global belay, recorded, cut_writes
    belay, recorded, cut_writes = (
        os.path.abspath(name) for name in sys.argv[1:4])
    return runner.run(tests, sys.argv[4:], lambda _, test: test())
