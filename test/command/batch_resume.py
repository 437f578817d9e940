#!/usr/bin/env python3
"""Batches that are interrupted go on: the command and a server, both real.

usage: batch_resume.py BELAY [NAME...]

The server answers, refuses or holds a line as the test says, and counts how
often each was sent. Nothing is timed: a test waits until so many lines are
held. Rules B8, B11, B12, B16, B19, B29, B31.
"""
import collections
import http.server
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import runner

LINES = 20
HANG_S = 120  # only a hang takes as long


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.changed = threading.Condition()
        self.fate = {}  # by line: "hold", or a status; else it is answered
        self.hits = collections.Counter()
        self.held = 0
        threading.Thread(
            target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request, client_address):
        """Clients that are killed do not say goodbye."""

    def wait_held(self, count):
        with self.changed:
            if not self.changed.wait_for(lambda: self.held >= count, HANG_S):
                raise AssertionError(
                    f"{self.held} lines held, {count} expected")

    def wait_hit(self, line):
        """Until a line is there: its fate is then decided."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.hits[line], HANG_S):
                raise AssertionError(f"line {line} was never sent")

    def release(self):
        with self.changed:
            self.fate = {}
            self.changed.notify_all()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Quiet."""

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        line = int(body["messages"][0]["content"])
        with server.changed:
            server.hits[line] += 1
            server.changed.notify_all()
            fate = server.fate.get(line)
            if fate == "hold":
                server.held += 1
                server.changed.wait_for(
                    lambda: server.fate.get(line) != "hold", HANG_S)
                server.held -= 1
                fate = None
        self.answer(fate or 200)

    def answer(self, status):
        reply = {"error": {"message": "no"}}
        if status == 200:
            reply = {"choices": [{"index": 0, "finish_reason": "stop",
                                  "message": {"role": "assistant",
                                              "content": "yes"}}],
                     "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        if status == 429:
            self.send_header("retry-after", "9")
        self.end_headers()
        self.wfile.write(data)


class Batch:
    """A folder with an input, and runs of the command on it."""

    def __init__(self, belay):
        self.belay = belay
        self.server = Server()
        self.folder = tempfile.TemporaryDirectory(prefix="belay-resume-")
        self.input = self.path("in.jsonl")
        self.output = self.path("out.jsonl")
        self.errors = self.path("out.errors.jsonl")
        self.state = self.path("out.jsonl.state")
        self.process = None
        self.write_input(LINES)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def write_input(self, lines):
        with open(self.input, "w", encoding="utf-8") as out:
            for i in range(1, lines + 1):
                out.write(json.dumps({
                    "custom_id": f"c{i}", "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": {"model": "m", "messages": [
                        {"role": "user", "content": str(i)}]}}) + "\n")

    def start(self, *args, output=None, before=None):
        self.stderr = self.path("stderr")
        with open(self.stderr, "wb") as stderr:
            self.process = subprocess.Popen(
                [self.belay, "batch", self.input, "-o", output or self.output,
                 "--base-url", self.server.url, "--no-proxy", "-c", "4",
                 "--api-key-env", "BELAY_NO_KEY", "--progress", "none", *args],
                stderr=stderr, stdout=subprocess.PIPE, preexec_fn=before)

    def end(self):
        try:
            self.process.communicate(timeout=HANG_S)
        finally:
            self.process.kill()
        return self.process.returncode

    def run(self, *args, **more):
        self.start(*args, **more)
        return self.end()

    def said(self):
        with open(self.stderr, encoding="utf-8") as stderr:
            return stderr.read()

    def wait_said(self, text):
        limit = time.monotonic() + HANG_S
        while text not in self.said():
            if time.monotonic() > limit:
                raise AssertionError(f"never said: {text}")
            time.sleep(0.01)

    def wait_written(self, path, wanted):
        """Until these lines are in the file, in which the last may grow."""
        limit = time.monotonic() + HANG_S
        found = set()
        while not wanted <= found:
            if time.monotonic() > limit:
                raise AssertionError(f"only {found} in {path}")
            time.sleep(0.01)
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    found = {int(json.loads(line)["custom_id"][1:])
                             for line in file if line.endswith("\n")}

    def lines(self, path):
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def ids(self, path):
        return [int(line["custom_id"][1:]) for line in self.lines(path)]

    def check(self, in_doubt=0, not_tried=None):
        """The report equals a recount of the files."""
        with open(self.output + ".stats.json", encoding="utf-8") as file:
            stats = json.load(file)
        good, bad = self.ids(self.output), self.ids(self.errors)
        assert len(set(good + bad)) == len(good + bad), (good, bad)
        told = stats["done_before"] + stats["ok"] + stats["failed"]
        assert told == len(good + bad), (stats, good, bad)
        told = stats["done_before_failed"] + stats["failed"]
        assert told == len(bad), (stats, bad)
        assert stats["in_doubt"] == in_doubt, stats
        assert not_tried is None or stats["not_tried"] == not_tried, stats

    def forget_stats(self):
        """A run that finds all done leaves those that are there."""
        os.remove(self.output + ".stats.json")

    def check_all_once(self):
        assert sorted(self.ids(self.output) + self.ids(self.errors)) \
            == list(range(1, LINES + 1)), self.ids(self.output)

    def hold_all(self):
        self.server.fate = dict.fromkeys(range(1, LINES + 1), "hold")

    def snapshot(self):
        return {name: open(self.path(name), "rb").read()
                for name in os.listdir(self.folder.name) if name != "stderr"}


def drain(batch, number):
    batch.hold_all()
    batch.start()
    batch.server.wait_held(4)
    batch.process.send_signal(number)
    batch.wait_said("no more lines are started")
    batch.server.release()
    assert batch.end() == 128 + number, batch.said()
    assert sorted(batch.ids(batch.output)) == [1, 2, 3, 4]
    batch.check()
    assert batch.run() == 0, batch.said()
    batch.check(in_doubt=0, not_tried=0)
    batch.check_all_once()
    assert set(batch.server.hits.values()) == {1}, batch.server.hits


def test_b29_after_sigint_the_next_run_goes_on(batch):
    drain(batch, signal.SIGINT)


def test_b29_after_sigterm_the_next_run_goes_on(batch):
    drain(batch, signal.SIGTERM)


def drop_four(batch):
    """Ends with four lines in doubt, and nothing in the files."""
    batch.hold_all()
    batch.start()
    batch.server.wait_held(4)
    batch.process.send_signal(signal.SIGINT)
    batch.wait_said("no more lines are started")
    batch.process.send_signal(signal.SIGINT)
    assert batch.end() == 130, batch.said()
    batch.check()
    assert batch.ids(batch.output) == []
    batch.server.release()


def test_b16_b29_after_the_second_signal_lines_are_in_doubt(batch):
    drop_four(batch)
    assert batch.run() == 0, batch.said()
    batch.check(in_doubt=4, not_tried=0)
    batch.check_all_once()
    assert sum(batch.server.hits.values()) == LINES + 4


def test_b16_lines_in_doubt_are_skipped_until_wanted(batch):
    drop_four(batch)
    for _ in range(2):
        assert batch.run("--in-doubt", "skip") == 1, batch.said()
        batch.check(in_doubt=4)
        assert sorted(batch.ids(batch.output)) == list(range(5, LINES + 1))
    assert sum(batch.server.hits.values()) == LINES
    assert batch.run("--in-doubt", "retry") == 0, batch.said()
    batch.check(in_doubt=4)
    batch.check_all_once()


def test_b16_lines_in_doubt_fail(batch):
    drop_four(batch)
    assert batch.run("--in-doubt", "fail") == 1, batch.said()
    batch.check(in_doubt=4)
    batch.check_all_once()
    assert sorted(batch.ids(batch.errors)) == [1, 2, 3, 4]
    assert {line["error"]["code"] for line in batch.lines(batch.errors)} \
        == {"in_doubt"}
    batch.forget_stats()
    assert batch.run() == 1, "they have failed for good"
    batch.check(in_doubt=0)
    assert sum(batch.server.hits.values()) == LINES


def test_b16_b29_a_refused_line_that_was_dropped_is_not_in_doubt(batch):
    batch.server.fate = {1: 429, 2: "hold"}
    batch.start("--max-retries", "1000")
    batch.server.wait_hit(1)
    batch.server.wait_held(1)
    batch.process.send_signal(signal.SIGINT)
    batch.wait_said("no more lines are started")
    batch.server.release()
    assert batch.end() == 130, batch.said()
    assert 1 not in batch.ids(batch.output) and 2 in batch.ids(batch.output)
    assert batch.run("--in-doubt", "fail") == 0, batch.said()
    batch.check(in_doubt=0)
    batch.check_all_once()


def test_b31_failures_of_earlier_runs_count(batch):
    for inline in (False, True):
        args = ["--errors", "inline", "--overwrite"] if inline else []
        batch.server.fate = {1: 400, 2: 404, 5: "hold", 6: "hold"}
        batch.start(*args)
        batch.server.wait_held(2)
        batch.wait_written(batch.output if inline else batch.errors, {1, 2})
        batch.process.kill()
        batch.end()
        batch.server.release()
        hits = collections.Counter(batch.server.hits)
        assert batch.run(*args[:2]) == 1, batch.said()
        batch.server.hits.subtract(hits)
        assert not batch.server.hits[1] and not batch.server.hits[2]
        batch.forget_stats()
        assert batch.run(*args[:2]) == 1, "there is nothing left to do"
        if not inline:
            batch.check(in_doubt=0, not_tried=0)
            assert sorted(batch.ids(batch.errors)) == [1, 2]
            batch.check_all_once()


def test_b9_in_order_the_file_is_in_order_after_a_kill(batch):
    batch.server.fate = {3: "hold"}
    args = ["--order", "input", "--window", "8"]
    batch.start(*args)
    batch.server.wait_held(1)
    batch.wait_written(batch.output, {1, 2})
    limit = time.monotonic() + HANG_S
    while len(batch.server.hits) < 10 and time.monotonic() < limit:
        time.sleep(0.01)
    batch.process.kill()
    batch.end()
    assert batch.ids(batch.output) == [1, 2]
    assert sorted(batch.server.hits) == list(range(1, 11)), "3 to 10"
    batch.server.release()
    assert batch.run(*args) == 0, batch.said()
    assert batch.ids(batch.output) == list(range(1, LINES + 1))
    batch.check(in_doubt=8)


def test_b12_one_run_at_a_time(batch):
    batch.server.fate = {4: "hold"}
    batch.start()
    batch.server.wait_held(1)
    first = batch.process
    for args in ([], ["--overwrite"], ["--force"]):
        assert batch.run(*args) == 2
        assert "another run" in batch.said(), batch.said()
    batch.process = first
    batch.server.release()
    assert batch.end() == 0
    batch.check_all_once()


def test_b12_a_changed_input_is_refused(batch):
    batch.write_input(LINES - 1)
    assert batch.run() == 0
    batch.write_input(LINES)
    before = batch.snapshot()
    assert batch.run() == 2
    assert "--force" in batch.said(), batch.said()
    assert batch.snapshot() == before, "nothing has changed"
    assert batch.run("--force") == 0, batch.said()
    batch.check_all_once()
    assert set(batch.server.hits.values()) == {1}


def test_b12_an_output_of_somebody_else_is_refused(batch):
    with open(batch.output, "w", encoding="utf-8") as file:
        file.write("precious")
    before = batch.snapshot()
    for args in ([], ["--force"]):
        assert batch.run(*args) == 2
        assert "--overwrite" in batch.said(), batch.said()
        assert batch.snapshot() == before
    assert batch.run("--overwrite") == 0, batch.said()
    batch.check_all_once()


def test_b15_b19_without_room_in_the_journal_nothing_is_sent(batch):
    batch.server.fate = {1: "hold"}
    batch.start("-c", "1")
    batch.server.wait_held(1)
    batch.process.kill()
    batch.end()
    batch.server.release()
    with open(batch.state, "ab") as state:
        state.write(b"\n" * 200000)
    room = os.path.getsize(batch.state) + 20

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    assert batch.run(before=limit) == 5, batch.said()
    batch.check(in_doubt=1)
    with open(batch.state, encoding="utf-8") as state:
        noted = {int(record.split()[1]) for record in state
                 if record.startswith("s ") and record.endswith("\n")}
    assert set(batch.server.hits) <= noted, (batch.server.hits, noted)
    assert len(noted) < LINES
    assert batch.run() == 0, batch.said()
    batch.check_all_once()


def test_b18_failed_lines_are_tried_again(batch):
    """Twice, the second time with failures left; the others are not sent."""
    batch.server.fate = {3: 400, 7: 400, 9: 404}
    assert batch.run() == 1, batch.said()
    assert sorted(batch.ids(batch.errors)) == [3, 7, 9]
    first = batch.lines(batch.errors)
    batch.server.fate = {7: 400}
    assert batch.run() == 1, "failed lines count as done"
    assert sum(batch.server.hits.values()) == LINES
    assert batch.run("--retry-failed") == 1, batch.said()
    assert batch.ids(batch.errors) == [7]
    assert batch.lines(batch.errors + ".1") == first
    batch.check(in_doubt=0, not_tried=0)
    batch.server.fate = {}
    assert batch.run("--retry-failed") == 0, batch.said()
    assert batch.lines(batch.errors) == []
    batch.check(in_doubt=0, not_tried=0)
    batch.check_all_once()
    assert batch.server.hits[7] == 3 and batch.server.hits[1] == 1
    assert sum(batch.server.hits.values()) == LINES + 4
    assert batch.run("--retry-failed") == 0, "there are none any more"


def test_b18_a_kill_while_failed_lines_are_tried_again(batch):
    batch.server.fate = dict.fromkeys(range(1, LINES + 1), 400)
    assert batch.run("--errors", "inline") == 1, batch.said()
    batch.server.fate = dict.fromkeys(range(1, LINES + 1), "hold")
    batch.start("--errors", "inline", "--retry-failed")
    batch.server.wait_held(4)
    batch.process.kill()
    batch.end()
    assert batch.lines(batch.output) == []
    batch.server.release()
    assert batch.run("--errors", "inline") == 0, batch.said()
    batch.check(in_doubt=4, not_tried=0)
    batch.check_all_once()


def test_b11_what_cannot_go_on_has_no_state(batch):
    assert batch.run(output="-") == 0, batch.said()
    assert set(os.listdir(batch.folder.name)) == {"in.jsonl", "stderr"}
    os.symlink("/dev/null", batch.path("null"))
    assert batch.run(output=batch.path("null")) == 0, batch.said()
    assert not os.path.exists(batch.path("null.state"))
    assert not os.path.exists(batch.path("null.stats.json"))


def test_b12_a_batch_that_is_done_sends_nothing(batch):
    assert batch.run() == 0
    assert batch.run() == 0
    batch.check(in_doubt=0, not_tried=0)
    assert set(batch.server.hits.values()) == {1}
    os.remove(batch.output)
    assert batch.run() == 0, "without its output it begins anew"
    batch.check(in_doubt=0)
    assert set(batch.server.hits.values()) == {2}


def in_batch(_, test):
    batch = Batch(os.path.abspath(sys.argv[1]))
    try:
        test(batch)
    finally:
        if batch.process is not None:
            batch.process.kill()
            batch.process.wait()
        batch.server.release()
        batch.server.shutdown()
        batch.server.server_close()
        batch.folder.cleanup()


if __name__ == "__main__":
    sys.exit(runner.run(globals(), sys.argv[2:], in_batch))
