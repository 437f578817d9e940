#!/usr/bin/env python3
"""`belay batch` when the world around it misbehaves: a network that is gone and
comes back, a clock that jumps, a process that is stopped and continued.

usage: batch_faults.py BELAY CLOCK [NAME...]

CLOCK is a library that makes the wall clock jump; see jumping_clock.c. Nothing
is judged by how long it took, but for what cannot have been faster.
"""
import json
import os
import signal
import socket
import sys
import threading
import time

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import batch_command
from batch_command import (OK, Gate, Run, Server, batch, expect, expect_code,
                           expect_in, run, wait_until)
import runner

clock = None  # the library


# ---- the network ----


class Hole:
    """Takes connections and says nothing, or does not even take them, until
    it is closed.
    """

    def __init__(self, port, accepts):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(128 if accepts else 0)
        self.held = []
        self.taken = 0
        self.closing = False
        self.thread = None
        if accepts:
            self.thread = threading.Thread(target=self.take)
            self.thread.start()
        else:  # the queue of those that wait is full from now on
            for _ in range(2):
                waiting = socket.socket()
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", port))
                self.held.append(waiting)

    def take(self):
        self.listener.settimeout(0.02)
        while not self.closing:
            try:
                self.held.append(self.listener.accept()[0])
                self.taken += 1
            except TimeoutError:
                pass

    def close(self):
        self.closing = True
        if self.thread is not None:
            self.thread.join()
        for one in self.held + [self.listener]:
            one.close()


def lose_network(where, accepts, *more):
    """A server that is gone in the middle of a batch: all its connections are
    cut, then new ones hang, then it is back. Gives how the batch has ended,
    and how many requests the two servers had.
    """
    where.give(60)
    gate = Gate(lambda body: body["n"] < 20)
    port = gate.server.port
    started = Run(["batch", where / "in", "-o", where / "out.jsonl",
                   "--base-url", gate.server.url, "-c", "8", "-q", *more])
    hole = None
    try:
        wait_until(lambda: len(where.read("out.jsonl").splitlines()) == 20,
                   "twenty are done")
        wait_until(lambda: len(gate.server.bodies) == 28, "eight in flight")
        gate.server.cut()
        hole = Hole(port, accepts)
        if accepts:
            wait_until(lambda: hole.taken >= 4, "connections hang")
        else:
            time.sleep(0.3)
    finally:
        gate.opened.set()
        if hole is not None:
            hole.close()
    with Server(port=port) as server:
        done = started.end()
        return done, len(gate.server.bodies), server.bodies


def test_b5_b8_b22_a_network_that_is_gone_and_comes_back_costs_no_line(where):
    for accepts in True, False:
        done, first, second = lose_network(where, accepts, "--max-retries",
                                           "30", "--overwrite")
        expect_code(done, 0)
        where.check()
        expect(len(where.lines("out.jsonl")), 60)
        expect(first + len(second), 68, "only what was in flight is sent twice")
        expect(len({body["n"] for body in second}), len(second))


def test_b5_b16_a_network_that_does_not_come_back(where):
    """Lines fail in bounded time, and those are what --retry-failed sends."""
    where.give(6)
    hole = Hole(0, True)
    try:
        done = batch(
            where, f"http://127.0.0.1:{hole.listener.getsockname()[1]}/v1",
            "--timeout", "300ms", "-c", "2")
        expect_code(done, 1)
        expect([e["error"]["code"] for e in where.lines("out.errors.jsonl")],
               ["timeout"] * 6)
    finally:
        hole.close()
    with Server() as server:
        expect_code(batch(where, server.url, "--retry-failed"), 0)
        expect(len(server.bodies), 6)
    expect(len(where.lines("out.jsonl")), 6)


# ---- the clock ----


def with_jumping_clock(where, step):
    """The environment in which the wall clock jumps by so many seconds at each
    look at it, and whether anybody looked.
    """
    log = where / "clock"
    return {"LD_PRELOAD": clock, "BELAY_CLOCK_STEP": str(step),
            "BELAY_CLOCK_LOG": log, "ASAN_OPTIONS": "verify_asan_link_order=0"}


def test_b15_b16_b22_a_wall_clock_that_jumps_changes_nothing(where):
    """Times of lines, waits that a server asks for, rates, the journal."""
    for step in 86400 * 30, -86400 * 30:
        where.give(400)
        refused = set()

        def answer(body):
            if body["n"] % 200 == 7 and body["n"] not in refused:
                refused.add(body["n"])
                return 429, "{}", [("Retry-After", "1")]
            if body["n"] % 200 == 9 and body["n"] not in refused:
                refused.add(body["n"])
                return None
            return OK

        with Server(answer) as server:
            began = time.monotonic()
            done = batch(where, server.url, "--timeout", "1m", "--rpm",
                         "15000", "--overwrite", "-c", "16",
                         env=with_jumping_clock(where, step))
            took = time.monotonic() - began
            bodies = [body["n"] for body in server.bodies]
        expect_code(done, 0)
        where.check()
        expect(len(bodies), 404)
        looks = int(where.read("clock"))
        assert looks > 400, looks
        # 250 a second, of which those of one second may come at once.
        assert took >= 0.5, took
        stats = json.loads(where.read("out.jsonl.stats.json"))
        assert 0 < stats["elapsed_s"] <= took, (stats["elapsed_s"], took)
        expect_code(batch(where, "http://127.0.0.1:9/v1",
                          env=with_jumping_clock(where, step)), 0)


def test_b12_status_and_page_of_a_clock_that_has_gone_back(where):
    where.give(3)
    with Server() as server:
        done = batch(where, server.url, "--report", where / "page",
                     env=with_jumping_clock(where, -1000000))
        expect_code(done, 0)
    done = run("batch", "--status", where / "out.jsonl",
               env=with_jumping_clock(where, -1000000))
    expect_code(done, 0)
    expect_in("0:00 ago", done.out)


# ---- a process that stands still ----


def test_b5_b16_b29_a_batch_that_was_stopped_for_longer_than_its_times(where):
    """What was answered meanwhile is read before any time is found over: each
    line is sent once, and has its answer.
    """
    where.give(40)
    gate = Gate(lambda body: body["n"] < 8)
    try:
        started = Run(["batch", where / "in", "-o", where / "out.jsonl",
                       "--base-url", gate.server.url, "-c", "8", "-q",
                       "--timeout", "1500ms"])
        wait_until(lambda: len(gate.server.bodies) == 16, "eight in flight")
        started.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: state_of(started.process.pid) == "T", "it stands")
        gate.opened.set()
        time.sleep(3)
        expect(len(gate.server.bodies), 16)
        started.process.send_signal(signal.SIGCONT)
        done = started.end()
        expect_code(done, 0)
        expect(len(gate.server.bodies), 40, "each once")
    finally:
        gate.stop()
    where.check()
    expect(len(where.lines("out.jsonl")), 40)


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


def main():
    global clock
    batch_command.belay = os.path.abspath(sys.argv[1])
    clock = os.path.abspath(sys.argv[2])
    return runner.run(globals(), sys.argv[3:], batch_command.in_place)


if __name__ == "__main__":
    sys.exit(main())
