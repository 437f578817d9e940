#!/usr/bin/env python3
"""`belay batch` and the lines that it leaves, and what it warns of.

usage: batch_left.py BELAY [NAME...]
"""
import os
import signal
import sys

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import batch_command
from batch_command import (OK, Gate, Run, Server, batch, expect, expect_code,
                           expect_in, request, run, wait_until)

BUSY = (503, "{}")


def codes(where):
    return [e["error"] and e["error"]["code"]
            for e in where.lines("out.errors.jsonl")]


def test_b5_b31_1_what_has_no_answer_in_time_has_expired(where):
    where.give(30)
    with Server(lambda body: OK if body["n"] < 5 else BUSY) as server:
        done = batch(where, server.url, "--expire", "300ms")
        expect_code(done, 1)
        where.check()
        expect(codes(where), ["batch_expired"] * 25)
        expect_in("the time was over (--expire)", done.err)
        expect_in("batch_expired", done.err)
    command = done.err.rsplit("to go on:  belay ", 1)[1].split()
    expect(command[:2], ["batch", "--retry-failed"])
    with Server() as server:
        command[command.index("--base-url") + 1] = server.url
        command[command.index("--expire") + 1] = "1h"
        expect_code(run(*command), 0)
        expect(len(server.bodies), 25)
    expect(len(where.lines("out.jsonl")), 30)
    expect(where.lines("out.errors.jsonl"), [])


def test_b8_b23_b31_4_skipped_lines_have_an_error_line_if_wanted(where):
    where.give(30)
    for more, left in ((), 0), (("--emit-skipped", "--overwrite"), None):
        with Server(lambda body: (401, "{}")) as server:
            done = batch(where, server.url, "-c", "2", *more)
            tried = len(server.bodies)
        expect_code(done, 4)
        expect(codes(where).count("skipped"),
               30 - tried if left is None else left)
    where.check()
    expect_in("--retry-failed", done.err)


def test_b8_b29_b31_130_skipped_lines_of_an_interrupt(where):
    where.give(200)
    gate = Gate()
    try:
        started = Run(["batch", where / "in", "-o", where / "out.jsonl",
                       "--base-url", gate.server.url, "-c", "4",
                       "--emit-skipped"])
        wait_until(lambda: len(gate.server.bodies) == 4, "four in flight")
        started.process.send_signal(signal.SIGINT)
        wait_until(lambda: "skipped" in where.read("out.errors.jsonl"),
                   "it has stopped")
        gate.opened.set()
        expect_code(started.end(), 130)
    finally:
        gate.stop()
    where.check()
    expect(len(where.lines("out.jsonl")), 4)
    expect(codes(where), ["skipped"] * 196)


def test_b8_a_pipe_is_left_to_its_end(where):
    with Server(lambda body: (401, "{}")) as server:
        done = run("batch", "-", "-o", where / "out.jsonl", "--base-url",
                   server.url, "-c", "1", "--emit-skipped",
                   stdin="".join(request(str(n), {"n": n})
                                 for n in range(5000)).encode())
    expect_code(done, 4)
    expect(len(codes(where)), 5000)
    expect(codes(where).count("skipped"), 4999)


def test_b1_b2_check_hosted_warns_and_stops_nothing(where):
    where.give(text=request("a", {"model": "m"})
               + request("b", {"model": "\x1b[31mn"})
               + request("c", {"model": "m"}, "/v1/messages"))
    with Server() as server:
        done = batch(where, server.url, "--check-hosted")
        expect_code(done, 0)
        expect(len(server.bodies), 3)
    warned = [line for line in done.err.splitlines() if "warning" in line]
    expect([line.rsplit("(", 1)[1] for line in warned],
           ["unsupported_url)", "url_mismatch)", "model_mismatch)"])
    expect("\x1b" in done.err, False)
    done = run("batch", where / "in", "--dry-run", "--check-hosted")
    expect_code(done, 0)
    expect_in("model_mismatch", done.err)
    done = run("batch", "-", "-o", "-", "--sim", "--check-hosted")
    expect_code(done, 2)
    expect_in("cannot check '-' first", done.err)


def test_b1_a_file_that_openai_takes_is_not_warned_of(where):
    where.give(text=request("a", {"model": "m"}) + request("b", {"model": "m"}))
    with Server() as server:
        done = batch(where, server.url, "--check-hosted")
    expect_code(done, 0)
    expect("warning" in done.err, False)


if __name__ == "__main__":
    sys.exit(batch_command.main(globals()))
