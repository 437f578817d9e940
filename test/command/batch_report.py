#!/usr/bin/env python3
"""What `belay batch` leaves: the command that goes on, the page, the counts.

usage: batch_report.py BELAY [NAME...]
"""
import contextlib
import os
import shlex
import sys

import batch
from batch import OK, Server, expect, expect_code, expect_in, run
import runner

REFUSED = (401, "{}")


def way_on(done):
    """The command that is printed, in the words that a shell makes of it."""
    return shlex.split(done.err.rsplit("to go on:  belay ", 1)[1])


def test_b27_the_command_that_goes_on_never_begins_anew(where):
    for word in ("--overwrite", "--overwrit", "--over", "--ov"):
        where.give(10)
        with Server(lambda b: OK if b["n"] < 3 else REFUSED) as server:
            done = batch.batch(where, server.url, "-c", "1", word, "--ov")
        expect_code(done, 4)
        command = way_on(done)
        expect([w for w in command if w.startswith("--ov")], [], word)
        with Server() as server:
            command[command.index("--base-url") + 1] = server.url
            expect_code(run(*command), 1)  # the line that was refused
            expect(len(server.bodies), 6, "those not tried")
        where.check()


def test_b27_the_command_that_goes_on_keeps_what_looks_like_it(where):
    """A value is no option, nor is a name behind "--"."""
    where.give(3)
    os.rename(where / "in", where / "--overwrite")
    with Server(lambda body: REFUSED) as server, contextlib.chdir(where.path):
        words = ["-o", "out.jsonl", "-c", "1", "--model", "--retry-failed",
                 "--base-url", server.url, "--", "--overwrite"]
        done = run("batch", "--retry", *words)
    expect_code(done, 4)
    expect(way_on(done), ["batch", *words])


def test_b18_to_begin_anew_and_to_retry_exclude_each_other(where):
    where.give(3)
    with open(where / "out.jsonl", "w", encoding="utf-8") as file:
        file.write("mine\n")
    with Server() as server:
        done = batch.batch(where, server.url, "--over", "--retry-failed")
        expect(server.bodies, [])
    expect_code(done, 2)
    expect_in("--overwrite and --retry-failed", done.err)
    expect(where.read("out.jsonl"), "mine\n")


def main():
    batch.belay = os.path.abspath(sys.argv[1])
    return runner.run(globals(), sys.argv[2:], batch.in_place)


if __name__ == "__main__":
    sys.exit(main())
