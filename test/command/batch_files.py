#!/usr/bin/env python3
"""What `belay batch` reads, writes and reports, and when it sends nothing.

usage: batch_files.py BELAY [NAME...]
"""
import array
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import termios
import threading
import time

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import batch_command
from batch_command import (LIMIT_S, OK, Gate, Run, Server, batch, expect,
                           expect_code, expect_in, request, run, wait_until)
import runner


# ---- what sends nothing ----


def test_b28_a_dry_run_counts_and_estimates(where):
    where.give(text=request("a", {"model": "m", "max_tokens": 100})
               + request("b", {"model": "m", "max_tokens": 100})
               + request("c", {"model": "free"}))
    with open(where / "prices", "w", encoding="utf-8") as file:
        json.dump({"m": {"input_cost_per_token": 1e-6,
                         "output_cost_per_token": 1e-3}}, file)
    done = run("batch", where / "in", "--dry-run", "--prices",
               where / "prices", "--budget", "0.10", "--rpm", "1")
    expect_code(done, 0)
    expect_in("lines                                       3\n", done.out)
    assert re.search(r"\n  m +2 lines\n", done.out), done.out
    assert re.search(r"cost +\$0.00\S+ +\$0.100 +\$0.200\n", done.out), done.out
    expect_in("no price in the file: these lines will not be sent", done.out)
    expect_in("nothing limits the answer of 1 lines", done.out)
    expect_in("the budget of $0.100 is ", done.out)
    expect_in("it takes at least 2:00", done.out)
    expect(where.names(), ["in", "prices"], "it leaves nothing")


def test_b28_a_dry_run_calls_the_rest_of_many_models_that(where):
    where.give(text="".join(
        request(str(i), {"model": f"name-{i}", "max_tokens": 100})
        for i in range(70)) + request("m", {"model": "m", "max_tokens": 100}))
    with open(where / "prices", "w", encoding="utf-8") as file:
        json.dump({"m": {"input_cost_per_token": 1e-6,
                         "output_cost_per_token": 1e-3}}, file)
    done = run("batch", where / "in", "--dry-run", "--prices",
               where / "prices")
    expect_code(done, 0)
    assert re.search(r"\n  name-62 +1 lines\n", done.out), done.out
    assert "name-63" not in done.out, done.out
    assert re.search(r"\n  \(others\) +8 lines\n", done.out), done.out
    others = done.out[done.out.index("(others)"):]
    assert re.search(r"cost +\$0.00\S+ +\$\S+ +\$0.100\n", others), others
    expect_in("no price in the file for 7 of them: ", others)


def test_b28_a_dry_run_takes_a_line_as_a_run_does(where):
    where.give(text=request("\u00e9" * 5000, {"model": "m"}))
    done = run("batch", where / "in", "--dry-run")
    expect_code(done, 0)
    expect_in("not valid                                   0\n", done.out)


def test_b28_a_dry_run_tells_of_bad_lines(where):
    where.give(text=request("a", {}) + request("a", {}) + "nonsense\n")
    done = run("batch", where / "in", "--dry-run")
    expect_code(done, 2)
    assert re.search(r"not valid +2\n", done.out), done.out
    assert re.search(r"duplicate_custom_id +1\n", done.out), done.out
    expect_in("the first: line 2: custom_id 'a' was used before", done.out)


def test_status_of_a_job_that_runs_and_of_one_that_is_dead(where):
    where.give(10)
    gate = Gate(lambda body: body["n"] < 6)
    try:
        started = Run(["batch", where / "in", "-o", where / "out.jsonl",
                       "--base-url", gate.server.url, "-c", "4", "-q"])
        wait_until(lambda: len(where.read("out.jsonl").splitlines()) == 6,
                   "six are done")
        wait_until(lambda: len(gate.server.bodies) == 10, "four in flight")
        before = where.read("out.jsonl.state")
        done = run("batch", "--status", where / "out.jsonl")
        expect_code(done, 0)
        expect_in("a run is at work\n", done.out)
        assert re.search(r"succeeded +6\n", done.out), done.out
        assert re.search(r"without a result yet +4\n", done.out), done.out
        started.process.kill()
        started.end()
        done = run("batch", "--status", where / "out.jsonl")
        expect_in("nobody is at work\n", done.out)
        assert re.search(r"in doubt +4\n", done.out), done.out
        expect_in("the last run did not come to its end", done.out)
        expect(where.read("out.jsonl.state"), before, "it only looks")
    finally:
        gate.stop()
    expect_code(run("batch", "--status", where / "nothing"), 2)


def test_b27_a_page_and_the_command_that_goes_on(where):
    where.give(10)
    with Server(lambda body: (401, "{}")) as server:
        done = batch(where, server.url, "--report", where / "page it's.html",
                     "-c", "1")
    expect_code(done, 4)
    expect_in("  to go on:  belay batch ", done.err)
    expect_in("it'\\''s.html'", done.err)
    page = where.read("page it's.html")
    assert page.startswith("<!doctype html>") and "</html>" in page, page
    expect_in("the key or the account was refused", page)
    expect_in("HTTP 401", page)


# ---- files, streams, reports ----


def test_b11_standard_input_and_output(where):
    text = "".join(request(str(n), {}) for n in range(30))
    with Server() as server:
        done = run("batch", "-", "-o", "-", "--base-url", server.url,
                   stdin=text.encode())
    expect_code(done, 0)
    lines = [json.loads(line) for line in done.out.splitlines()]
    expect(sorted(int(line["custom_id"]) for line in lines), list(range(30)))
    expect(where.names(), [], "no sidecar")


def test_b11_standard_output_that_others_write_to_as_well(where):
    """`belay batch IN -o - > all.log 2>&1`: what is not ours stays, and what is."""
    where.give(6)
    gate = Gate(lambda body: body["n"] < 3)
    noise = "somebody else's words\n" * 20
    try:
        with open(where / "all.log", "ab") as log:
            process = subprocess.Popen(
                [batch_command.belay, "batch", where / "in", "-o", "-", "-c",
                 "6", "--base-url", gate.server.url, "-q"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            wait_until(lambda: len(where.read("all.log").splitlines()) == 3,
                       "three are done")
            with open(where / "all.log", "a", encoding="utf-8") as other:
                other.write(noise)
            gate.opened.set()
            expect(process.wait(LIMIT_S), 0)
    finally:
        gate.stop()
    text = where.read("all.log")
    expect(text.count("somebody else's words\n"), 20)
    lines = [json.loads(line) for line in text.splitlines()
             if line.startswith("{")]
    expect(sorted(line["custom_id"] for line in lines),
           [str(n) for n in range(6)])


def test_b29_two_signals_end_a_run_whose_reader_stands_still(where):
    """The loop waits for the pipe, and sees no signal."""
    where.give(200)
    large = (200, json.dumps({"text": "x" * 4000}))
    with Server(lambda body: large) as server:
        process = subprocess.Popen(
            [batch_command.belay, "batch", where / "in", "-o", "-", "-c", "8",
             "--base-url", server.url, "-q"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            wait_until(lambda: is_full(process.stdout), "it is full")
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            expect(process.wait(LIMIT_S), 130)
        finally:
            process.kill()
            process.stdout.close()
            process.wait()


def is_full(pipe):
    """Half of it is, and no more comes."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    before = count[0]
    time.sleep(0.3)
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return before > 30000 and count[0] == before


def test_b31_5_standard_output_that_is_closed(where):
    where.give(20)
    with Server() as server:
        started = Run(["batch", where / "in", "-o", "-", "--base-url",
                       server.url, "-q"])
        started.process.stdout.close()
        started.process.stdin.close()
        code = started.process.wait(LIMIT_S)
        error = started.process.stderr.read().decode()
        started.process.stderr.close()
    expect(code, 5, error)
    expect_in("cannot write '-'", error)


def test_b9_order_of_the_input(where):
    where.give(200)

    def slow(body):
        time.sleep(body["n"] * 7 % 5 / 1000)
        return OK

    with Server(slow) as server:
        done = batch(where, server.url, "--order", "input", "-c", "16")
    expect_code(done, 0)
    expect([line["custom_id"] for line in where.lines("out.jsonl")],
           [str(n) for n in range(200)])


def test_b11_b27_report_equals_a_recount(where):
    where.give(text="".join(request(str(n), {"n": n}) for n in range(50))
               + "bad\n")
    tries = {}

    def answer(body):
        n = body["n"]
        tries[n] = tries.get(n, 0) + 1
        if n == 7 and tries[n] == 1:
            return None
        return (400, "{}") if n % 10 == 3 else OK

    with Server(answer) as server:
        done = batch(where, server.url)
        expect(len(server.bodies), 51)
    expect_code(done, 1)
    stats = json.loads(where.read("out.jsonl.stats.json"))
    expect(stats["lines"], 51)
    expect(stats["ok"], len(where.lines("out.jsonl")))
    expect(stats["failed"], len(where.lines("out.errors.jsonl")))
    expect(stats["status"], {"200": 45, "400": 5})
    expect(stats["errors"], {"invalid_json_line": 1})
    expect(stats["tokens_in"], 45 * 3)
    expect(stats["tokens_out"], 45 * 2)
    expect(stats["retries"], 1)
    for name in os.listdir(where.path):
        if name != "in":
            mode = os.stat(where / name).st_mode & 0o777
            expect(mode, 0o600, name)


def test_b30_progress_as_json(where):
    where.give(20)
    with Server() as server:
        done = batch(where, server.url, "--progress", "json")
    expect_code(done, 0)
    lines = [json.loads(line) for line in done.err.splitlines()
             if line.startswith("{")]
    assert len(lines) >= 2, done.err
    expect(lines[-1]["ok"], 20)
    expect(lines[-1]["in_flight"], 0)


def test_b30_quiet_says_nothing(where):
    where.give(20)
    with Server() as server:
        done = batch(where, server.url, "-q")
    expect_code(done, 0)
    expect(done.err, "")
    expect(done.out, "")


def test_b2_a_line_above_the_limit(where):
    where.give(text=request("a", {}) + request("big", {"x": "y" * 5000})
               + request("b", {}))
    with Server() as server:
        done = batch(where, server.url, "--max-line", "4k")
    expect_code(done, 1)
    expect(len(where.lines("out.jsonl")), 2)
    error = where.lines("out.errors.jsonl")[0]
    expect(error["custom_id"], "big")
    expect(error["error"]["code"], "line_too_large")
    expect_in("line 2", error["error"]["message"])


def test_b2_lines_of_60_mib(where):
    """Below the limit of 64; they are sent as they are."""
    texts = [letter * (60 << 20) for letter in "xy"]
    where.give(text="".join(request(text[0], {"n": 1, "text": text})
                            for text in texts) + request("small", {"n": 2}))
    with Server() as server:
        done = batch(where, server.url, "--timeout", "50s")
        sent = sorted(body.get("text", "") for body in server.bodies)
    expect_code(done, 0)
    assert sent == ["", *texts], [len(text) for text in sent]
    expect(len(where.lines("out.jsonl")), 3)


def test_b5_b22_a_server_that_goes_away_and_comes_back(where):
    """It is stopped in the middle: connections are refused for a while."""
    where.give(120)
    half = threading.Event()

    def answer(body):
        if body["n"] == 40:
            half.set()
        time.sleep(0.002)
        return OK

    first = Server(answer)
    try:
        started = Run(["batch", where / "in", "-o", where / "out.jsonl",
                       "--base-url", first.url, "-c", "8", "--max-retries",
                       "20"])
        assert half.wait(LIMIT_S)
    finally:
        first.stop()
    time.sleep(0.3)
    with Server(port=first.port):
        done = started.end()
    expect_code(done, 0)
    expect(len(where.lines("out.jsonl")), 120)
    where.check()


# ---- many ----


def test_b8_b20_twenty_thousand_requests(where):
    count = 20000
    where.give(text="".join(request(str(n), {
        "model": "m", "messages": [{"role": "user", "content": f"say {n}"}]})
        for n in range(count)))
    with runner.simulator(batch_command.belay) as url:
        done = batch(where, url, "-c", "256")
        expect_code(done, 0)
    where.check()
    lines = where.lines("out.jsonl")
    expect(len(lines), count)
    numbers = sorted(int(line["id"].rsplit("_", 1)[1]) for line in lines)
    expect(numbers, list(range(1, count + 1)), "line numbers in the ids")


if __name__ == "__main__":
    sys.exit(batch_command.main(globals()))
