#!/usr/bin/env python3
"""`belay batch` as a user runs it: exit codes, signals, what is around it.

usage: batch.py BELAY [NAME...]

Runs the functions below whose names begin with test_, or those named. Every
process has a time limit, a bound that is never reached; nothing leaves
loopback. What the server of a test answers is decided line by line.
"""
import json
import os
import signal
import sys
import time

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import batch_command
from batch_command import (OK, Gate, Run, Server, batch, expect, expect_code,
                           expect_in, request, run, wait_until)


# ---- what is around it ----


def test_b29_sigusr1_prints_the_counts_and_ends_nothing(where):
    where.give(4)
    gate = Gate()
    try:
        with open(where / "err", "wb") as err:
            started = Run(["batch", where / "in", "-o", where / "out.jsonl",
                           "--base-url", gate.server.url, "-q"], stderr=err)
        wait_until(lambda: len(gate.server.bodies) == 4, "four in flight")
        started.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "requests/s" in where.read("err"), "a report")
        gate.opened.set()
        expect_code(started.end(), 0)
    finally:
        gate.stop()
    expect_in("belay batch: so far\n", where.read("err"))
    expect_in("lines read                            4\n", where.read("err"))
    expect(len(where.lines("out.jsonl")), 4)


def test_soft_limit_of_descriptors_is_raised(where):
    where.give(400)
    done = run("batch", where / "in", "-o", where / "out.jsonl", "--sim",
               "--sim-latency", "100ms", "-c", "400", limit_fds=(64, 4096))
    expect_code(done, 1)  # the bodies are none that the simulator takes
    expect(done.err.count("ulimit"), 0, done.err)
    statuses = {line["response"]["status_code"]
                for line in where.lines("out.errors.jsonl")}
    expect(statuses, {400})
    where.check()


def test_hard_limit_of_descriptors_makes_fewer_requests_at_once(where):
    where.give(400)
    done = run("batch", where / "in", "-o", where / "out.jsonl", "--sim",
               "-c", "400", limit_fds=(64, 100))
    expect_code(done, 1)
    expect_in("requests at once: the system allows 100 open files", done.err)
    expect(len(where.lines("out.errors.jsonl")), 400)
    expect("connection_error" in where.read("out.errors.jsonl"), False)
    where.check()


def test_proxies_are_not_asked_about_this_machine(where):
    where.give(3)
    with Server() as server:
        done = batch(where, server.url, env={
            "http_proxy": "http://127.0.0.1:1",
            "all_proxy": "http://127.0.0.1:1"})
    expect_code(done, 0)


def test_simulator_is_the_only_server_and_sees_no_key(where):
    where.give(1)
    done = run("batch", where / "in", "-o", where / "out.jsonl", "--sim",
               "--base-url", "http://127.0.0.1:1/v1")
    expect_code(done, 2)
    expect_in("--base-url", done.err)
    expect(where.names(), ["in"])
    done = run("batch", where / "in", "-o", where / "out.jsonl", "--sim",
               env={"OPENAI_API_KEY": "not\na header"})
    expect_code(done, 1)  # or it would not even begin


# ---- exit codes ----


def test_b31_0_when_every_line_has_succeeded(where):
    where.give(20)
    with Server() as server:
        done = batch(where, server.url)
    expect_code(done, 0)
    expect(done.out, "", "standard output")
    expect(len(where.lines("out.jsonl")), 20)
    where.check()
    assert "out.errors.jsonl" not in where.names()
    expect_in("succeeded", done.err)


def test_b31_1_when_some_lines_have_failed(where):
    where.give(text=request("a", {}) + "nonsense\n"
               + request("b", {"fail": 1}))
    with Server(lambda body: (400, '{"error":"no"}') if body else OK) as server:
        done = batch(where, server.url)
    expect_code(done, 1)
    errors = where.lines("out.errors.jsonl")
    expect(sorted(str(e["custom_id"]) for e in errors), ["None", "b"])
    bad = [e for e in errors if e["error"]][0]
    expect(bad["error"]["code"], "invalid_json_line")
    expect_in("line 2: not valid JSON at byte", bad["error"]["message"])
    expect_in("out.errors.jsonl", done.err)


def test_b31_2_usage(where):
    where.give(1)
    for arguments, word in (
            ([], "no INPUT"), ([where / "in"], "no OUTPUT"),
            ([where / "in", "-o"], "requires an argument"), (["a", "b", "-o", "c"], "INPUT"),
            (["a", "-o", "c", "--what"], "--what"),
            (["a", "-o", "c", "-c", "0"], "--concurrency"),
            (["a", "-o", "c", "-c", "many"], "'many'"),
            (["a", "-o", "c", "--max-retries", "-1"], "--max-retries"),
            (["a", "-o", "c", "--timeout", "0x10"], "--timeout"),
            (["a", "-o", "c", "--timeout", "0"], "--timeout"),
            (["a", "-o", "c", "--order", "random"], "'random'"),
            (["a", "-o", "c", "--window", "0"], "--window"),
            (["a", "-o", "c", "--expire", "0"], "--expire"),
            (["a", "-o", "c", "--sync", "often"], "'often'"),
            (["a", "-o", "c", "--max-line", "2T"], "--max-line"),
            (["a", "-o", "c", "--max-reply", "0"], "--max-reply"),
            (["a", "-o", "c", "--seed", "x"], "--seed"),
            (["a", "-o", "c", "--progress", "loud"], "'loud'"),
            (["a", "-o", "c", "--in-doubt", "ask"], "'ask'"),
            (["a", "-o", "c", "--errors", "c"], "same")):
        done = run("batch", *arguments)
        expect_code(done, 2)
        expect_in(word, done.err)
        expect(done.out, "")
    assert "c" not in where.names()


def test_b31_help_goes_to_standard_output(where):
    del where
    done = run("batch", "--help")
    expect_code(done, 0)
    expect_in("--concurrency", done.out)
    expect(done.err, "")


def test_b31_2_input_or_output_that_cannot_be_opened(where):
    done = batch(where, "http://127.0.0.1:9/v1")
    expect_code(done, 2)
    expect_in(where / "in", done.err)
    expect_in("not found", done.err)
    expect(where.names(), [], "nothing was made")
    where.give(1)
    for output, word in ((where / "no/out", "not found"),
                         (where.path, "directory")):
        done = run("batch", where / "in", "-o", output, "--base-url",
                   "http://127.0.0.1:9/v1")
        expect_code(done, 2)
        expect_in(output, done.err)
        expect_in(word, done.err)
    with open(where / "out.jsonl", "w", encoding="utf-8") as file:
        file.write("precious\n")
    done = batch(where, "http://127.0.0.1:9/v1")
    expect_code(done, 2)
    expect_in("--overwrite", done.err)
    expect(where.read("out.jsonl"), "precious\n")


def test_b31_2_a_server_that_may_not_be_asked(where):
    where.give(1)
    done = batch(where, "http://192.0.2.1/v1")
    expect_code(done, 2)
    done = batch(where, "nonsense", "--overwrite")
    expect_code(done, 2)


def test_b1_bare_bodies_are_sent_and_numbered(where):
    bodies = ['{"n": 1, "metadata": {"k": 1e400}}', '{"n":2}', "[]"]
    where.give(text="\n".join(bodies))
    with Server() as server:
        done = batch(where, server.url, "--input-format", "body")
        expect_code(done, 1)
        expect(len(server.bodies), 2)
    expect({line["custom_id"] for line in where.lines("out.jsonl")},
           {"1", "2"})
    expect([line["custom_id"] for line in where.lines("out.errors.jsonl")],
           ["3"])


def test_b1_b12_lines_read_in_another_form_are_not_taken_as_done(where):
    where.give(text='{"n": 1}\n')
    with Server() as server:
        expect_code(batch(where, server.url), 1)
        done = batch(where, server.url, "--input-format", "body")
        expect_code(done, 2)
        expect_in("--input-format", done.err)
        expect(server.bodies, [])
        done = batch(
            where, server.url, "--input-format", "body", "--overwrite")
        expect_code(done, 0)


def test_b2_b31_strict_sends_nothing_if_a_line_is_bad(where):
    where.give(text=request("a", {"n": 1}) + "no json\n"
               + request("a", {"n": 2}) + request("b", {"n": 3}))
    with Server() as server:
        done = batch(where, server.url, "--strict")
        expect_code(done, 2)
        expect_in("2 of 4 lines are not valid; the first: line 2", done.err)
        expect(server.bodies, [])
        expect(where.names(), ["in"])
        where.give(3)
        expect_code(batch(where, server.url, "--strict"), 0)
    where.check()


def test_b23_b31_4_when_the_key_is_refused(where):
    where.give(50)
    with Server(lambda body: (401, '{"error":{}}')) as server:
        done = batch(where, server.url, "-c", "2")
        assert len(server.bodies) <= 4, len(server.bodies)
    expect_code(done, 4)
    expect_in("refused", done.err)
    expect_in("401", done.err)


def test_b10_b19_b31_5_a_full_disk_and_going_on_after_it(where):
    where.give(60)
    with Server() as server:
        done = batch(where, server.url, "-c", "4", limit_file=3000)
        expect_code(done, 5)
        expect_in("cannot write", done.err)
        expect_in("out.jsonl", done.err)
        some = len(where.lines("out.jsonl"))
        assert 0 < some < 60, some
        done = batch(where, server.url, "-c", "4")
    expect_code(done, 0)
    where.check()


def test_b31_5_a_device_that_is_full(where):
    where.give(5)
    with Server() as server:
        done = run("batch", where / "in", "-o", "/dev/full", "--errors",
                   where / "err", "--base-url", server.url)
    expect_code(done, 5)
    expect_in("/dev/full", done.err)
    expect_in("no space", done.err)


def test_b31_5_input_that_cannot_be_read(where):
    done = run("batch", "/proc/self/mem", "-o", where / "out.jsonl",
               "--base-url", "http://127.0.0.1:9/v1")
    expect_code(done, 5)
    expect_in("cannot read '/proc/self/mem'", done.err)


# ---- signals ----


def interrupted(where, numbers, code, opened):
    """Starts a batch of 40, four in flight; signals; gives how it ended."""
    gate = Gate()
    try:
        started = Run(["batch", where / "in", "-o", where / "out.jsonl",
                       "--base-url", gate.server.url, "-c", "4"])
        wait_until(lambda: len(gate.server.bodies) == 4, "four in flight")
        for number in numbers:
            started.process.send_signal(number)
            time.sleep(0.05)  # two signals at once may come as one
        if opened:
            gate.opened.set()
        done = started.end()
        expect_code(done, code)
        expect(len(gate.server.bodies), 4, "no line is started any more")
    finally:
        gate.stop()
    return done


def goes_on(where):
    with Server() as server:
        done = batch(where, server.url)
    expect_code(done, 0)
    where.check()
    expect(len(where.lines("out.jsonl")), 40)


def test_b29_b31_130_after_one_interrupt_what_is_in_flight_ends(where):
    where.give(40)
    done = interrupted(where, [signal.SIGINT], 130, opened=True)
    expect_in("no more lines are started", done.err)
    expect(len(where.lines("out.jsonl")), 4)
    goes_on(where)


def test_b29_b31_130_after_two_everything_ends(where):
    where.give(40)
    interrupted(where, [signal.SIGINT, signal.SIGINT], 130, opened=False)
    expect(where.lines("out.jsonl"), [])
    stats = json.loads(where.read("out.jsonl.stats.json"))
    expect(stats["cut_off"], 4, "what was sent was tried")
    expect(stats["not_tried"], stats["lines"] - 4)
    goes_on(where)


def test_b29_b31_143_when_terminated(where):
    where.give(40)
    interrupted(where, [signal.SIGTERM, signal.SIGINT], 143, opened=False)
    goes_on(where)


def test_b29_what_is_in_flight_has_its_time(where):
    where.give(40)
    gate = Gate()
    try:
        started = Run(["batch", where / "in", "-o", where / "out.jsonl",
                       "--base-url", gate.server.url, "-c", "4",
                       "--drain-timeout", "100ms"])
        wait_until(lambda: len(gate.server.bodies) == 4, "four in flight")
        started.process.send_signal(signal.SIGINT)
        expect_code(started.end(), 130)
    finally:
        gate.stop()
    goes_on(where)


def test_b29_an_interrupt_does_not_wait_for_retries(where):
    where.give(3)
    with Server(lambda body: (503, "{}", [("Retry-After", "500")])) as server:
        started = Run(["batch", where / "in", "-o", where / "out.jsonl",
                       "--base-url", server.url])
        wait_until(lambda: len(server.bodies) == 3, "three tried")
        time.sleep(0.1)  # until their answers have been read
        started.process.send_signal(signal.SIGINT)
        expect_code(started.end(), 130)
    expect(where.lines("out.jsonl"), [])
    expect(where.lines("out.errors.jsonl"), [])


if __name__ == "__main__":
    sys.exit(batch_command.main(globals()))
