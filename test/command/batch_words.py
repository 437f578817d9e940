#!/usr/bin/env python3
"""What `belay batch` says to people: how a run has ended, and what to do next.

usage: batch_words.py BELAY [NAME...]
"""
import json
import os
import re
import signal
import sys

import batch
from batch import (OK, Gate, Run, Server, expect, expect_code, expect_in,
                   request, run, wait_until)
import runner

REFUSED = (401, "{}")
MAN = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                   "../../docs/man/belay-batch.1")


def expect_not_in(part, text):
    assert part not in text, f"{part!r} is in {text!r}"


def many(count):
    return "".join(request(str(n), {"n": n}) for n in range(count))


# ---- going on ----


def test_b27_a_job_from_standard_input_cannot_go_on(where):
    with Server(lambda body: REFUSED) as server:
        done = run("batch", "-o", where / "out.jsonl", "-c", "1", "--report",
                   where / "page", "--base-url", server.url, "-",
                   stdin=many(30).encode())
    expect_code(done, 4)
    expect_not_in("to go on:", done.err)
    expect_in("a job from standard input cannot go on", done.err)
    expect_not_in("To go on", where.read("page"))
    expect_in("standard input", run("batch", "--help").out)
    with open(MAN, encoding="utf-8") as file:
        expect_in("A job from standard input cannot go on", file.read())


def test_b27_a_job_into_a_pipe_cannot_go_on(where):
    where.give(30)
    with Server(lambda body: REFUSED) as server:
        done = run("batch", where / "in", "-o", "-", "-c", "1", "--base-url",
                   server.url)
    expect_code(done, 4)
    expect_not_in("to go on:", done.err)
    expect_in("cannot go on", done.err)


def test_b27_what_was_not_read_is_told(where):
    where.give(400)
    for more in (), ("--emit-skipped", "--overwrite"):
        with Server(lambda body: OK if body["n"] < 5 else REFUSED) as server:
            done = batch.batch(where, server.url, "-c", "2", *more)
        expect_code(done, 4)
        stats = json.loads(where.read("out.jsonl.stats.json"))
        expect(stats["lines"] + stats["not_read"], 400)
        if more:
            expect(stats["lines"], 400)
            expect_not_in("not read", done.err)
        else:
            assert re.search(rf"\n  not read +{stats['not_read']}\n", done.err)
            assert stats["not_read"] > 300, stats
            left = 400 - stats["ok"] - stats["failed"]
            expect(stats["not_tried"] + stats["not_read"], left)


def test_b27_blank_lines_are_not_lines_that_were_not_read(where):
    where.give(text="\n".join(many(200).splitlines(keepends=True)) + "\n\n ")
    with Server(lambda body: REFUSED) as server:
        expect_code(batch.batch(where, server.url, "-c", "1"), 4)
    stats = json.loads(where.read("out.jsonl.stats.json"))
    expect(stats["lines"] + stats["not_read"], 200)


def test_b27_of_a_pipe_nobody_knows_what_was_not_read(where):
    with Server(lambda body: REFUSED) as server:
        done = run("batch", "-", "-o", where / "out.jsonl", "-c", "1",
                   "--base-url", server.url, stdin=many(3000).encode())
    expect_code(done, 4)
    expect_in("may not have been read to its end", done.err)


def main():
    batch.belay = os.path.abspath(sys.argv[1])
    return runner.run(globals(), sys.argv[2:], batch.in_place)


if __name__ == "__main__":
    sys.exit(main())
