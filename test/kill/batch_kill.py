#!/usr/bin/env python3
"""Kills batches with SIGKILL, again and again, and counts what is left.

usage: batch_kill.py BELAY [--rounds N] [--seed N] [--lines N]

A round is one kill, at a moment drawn by lot: at the start, or after some
more output. A batch that was killed is run again until it comes to its end;
then the next batch begins, until all rounds are used. A kill tears a line of
some kilobytes too rarely to count on, so some files are given torn ends by
hand. The server is `belay sim`, which refuses and cuts off some requests. What
is checked:

covers: B14, B15, B16, B17, B26

- a kill leaves no more lines in doubt than were in flight, or had broken off
  and were about to be tried again, of which there are as many at most (in
  input order: or were waiting for their turn);
- in the end every custom_id of the input is in the files exactly once;
- the server has answered at most as many requests too many as lines were
  left in doubt;
- the last report equals a recount of the files;
- every other batch has a budget, which is raised each time it is used up: what
  the server has charged is never above it, nor above what the reports tell,
  lines that were in doubt included.
"""
import argparse
import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import runner

CONCURRENCY = 32
WINDOW = 48
BUDGET = 1.5  # dollars, and as many more each time
TOKEN = 1e-6  # dollars for one
RUN_MAX_S = 300  # of one run; only a run that hangs needs as long
CHECK_BATCH = os.path.join(
    os.path.dirname(__file__), "..", "..", "tools", "check_batch")
SIM = ["--latency", "4ms", "--spread", "lognormal", "--tokens", "1-6000",
       "--fail-429", "0.02", "--fail-5xx", "0.02", "--cut", "0.02"]


class Sim:
    def __init__(self, url):
        self.url = url

    def stats(self):
        address = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(
            address.hostname, address.port, timeout=60)
        connection.request("GET", "/__sim/stats")
        stats = json.load(connection.getresponse())
        connection.close()
        return stats

    def charged(self):
        """Requests that it has answered, also to clients that were gone."""
        limit = time.monotonic() + RUN_MAX_S
        stats = self.stats()
        while stats["in_flight"] > 0 and time.monotonic() < limit:
            time.sleep(0.005)
            stats = self.stats()
        return stats["hits"] - stats["refused"] - stats["cut"]

    def cost(self):
        """What it asks for, answered to the end or not."""
        self.charged()
        stats = self.stats()
        return TOKEN * (stats["prompt_tokens"] + stats["completion_tokens"])


class Job:
    """One input and what the runs make of it."""

    def __init__(self, belay, folder, sim, number, lines):
        self.sim = sim
        self.folder = folder
        self.lines = lines
        self.in_order = number % 3 == 1
        self.inline = number % 4 == 2
        self.input = os.path.join(folder, "in.jsonl")
        self.output = os.path.join(folder, "out.jsonl")
        self.errors = os.path.join(folder, "out.errors.jsonl")
        self.command = [
            belay, "batch", self.input, "-o", self.output, "--base-url",
            sim.url, "-c", str(CONCURRENCY), "-q", "--no-proxy",
            "--api-key-env", "BELAY_NO_KEY", "--max-retries", "20"]
        if self.in_order:
            self.command += ["--order", "input", "--window", str(WINDOW)]
        if self.inline:
            self.command += ["--errors", "inline"]
        self.budget = 0
        if number % 2 == 0:
            self.add_budget()
        self.bad = 0
        self.make_input(number)
        self.journal_end = 0
        self.doubt = set()
        self.lost = 0
        self.kills = 0
        self.raised = 0
        self.torn = 0
        self.tears = 0
        self.charged_before = sim.charged()
        self.cost_before = sim.cost()

    def add_budget(self):
        prices = os.path.join(self.folder, "prices")
        with open(prices, "w", encoding="utf-8") as file:
            json.dump({"m": {"input_cost_per_token": TOKEN,
                             "output_cost_per_token": TOKEN,
                             "max_output_tokens": 6000}}, file)
        self.command += ["--prices", prices, "--budget", ""]
        self.raise_budget()

    def raise_budget(self):
        self.budget += BUDGET
        self.command[-1] = f"{self.budget:.2f}"

    def check_budget(self, told=None):
        cost = self.sim.cost() - self.cost_before
        most = self.budget if told is None else min(told, self.budget)
        if self.budget and cost > most + TOKEN / 2:
            self.fail(f"${cost:.6f} charged, {told} told, at most "
                      f"${self.budget:.2f} allowed")

    def make_input(self, number):
        with open(self.input, "w", encoding="utf-8") as out:
            for i in range(1, self.lines + 1):
                url = "/v1/chat/completions"
                if i % 53 == 0:
                    url = "/v1/nothing"
                    self.bad += 1
                out.write(json.dumps({
                    "custom_id": f"line-{i}", "method": "POST", "url": url,
                    "body": {"model": "m", "messages": [{
                        "role": "user",
                        "content": f"job {number}, question {i}"}]}}) + "\n")

    def files(self):
        return [self.output] if self.inline else [self.output, self.errors]

    def size(self):
        return sum(os.path.getsize(path) for path in self.files()
                   if os.path.exists(path))

    def start(self):
        with open(os.path.join(self.folder, "stderr"), "wb") as stderr:
            return subprocess.Popen(self.command, stderr=stderr)

    def fail(self, text):
        with open(os.path.join(self.folder, "stderr"), "rb") as stderr:
            sys.stderr.buffer.write(stderr.read())
        sys.exit(f"batch_kill: {text}\n  {' '.join(self.command)}\n"
                 f"  after {self.kills} kills; files kept in {self.folder}")

    def recount(self):
        """Line numbers in the files, whole lines only, and failed ones."""
        done = set()
        failed = 0
        for path in self.files():
            if not os.path.exists(path):
                continue
            with open(path, "rb") as lines:
                for line in lines:
                    try:
                        reply = json.loads(line)
                    except ValueError:
                        reply = None
                    if reply is None or not line.endswith(b"\n"):
                        self.torn += 1
                        continue
                    number = int(reply["id"].rsplit("_", 1)[1])
                    if number in done:
                        self.fail(f"line {number} is there twice")
                    done.add(number)
                    failed += path == self.errors or reply["error"] is not None
        return done, failed

    def sent(self):
        """Lines that the run that has just ended sent and did not take back."""
        sent = set()
        if not os.path.exists(self.output + ".state"):
            return sent
        with open(self.output + ".state", "rb") as journal:
            journal.seek(self.journal_end)
            for record in journal:
                words = record.split()
                if not record.endswith(b"\n") or len(words) < 2:
                    continue
                if words[0] == b"s":
                    sent.add(int(words[1]))
                elif words[0] == b"u":
                    sent.discard(int(words[1]))
            self.journal_end = journal.tell()
        return sent

    def after_kill(self, rng):
        self.kills += 1
        self.check_budget()
        done, _ = self.recount()
        sent = self.sent()
        lost = sent - done
        room = 2 * CONCURRENCY + (WINDOW if self.in_order else 0)
        if len(lost) > room:
            self.fail(f"{len(lost)} lines in doubt, at most {room} expected")
        self.lost += len(lost)
        self.doubt = (self.doubt - done) | lost
        if lost and rng.random() < 0.5:
            self.tear(rng, min(lost))

    def tear(self, rng, number):
        """As if the kill had come within the write of a line, or a record."""
        self.tears += 1
        record = f"s {number}\n".encode()
        with open(self.output + ".state", "r+b") as journal:
            job = json.loads(journal.readline())["job"]
            journal.seek(0, os.SEEK_END)
            journal.write(record[:rng.randrange(len(record))])
        line = json.dumps({"id": f"batch_req_{job}_{number}", "custom_id": "",
                           "response": "x" * 9000, "error": None},
                          separators=(",", ":")).encode()
        torn = [line[:rng.randrange(len(line))], line[:80] + b"\0" * 4096,
                line[:80] + b"\n", line]
        with open(rng.choice(self.files()), "ab") as file:
            file.write(rng.choice(torn))

    def after_budget(self):
        """The next run may spend more. What waited for another attempt was
        dropped, and is in doubt if the server may have charged for it."""
        self.check_budget(self.told())
        done, _ = self.recount()
        lost = self.sent() - done
        self.lost += len(lost)
        self.doubt = (self.doubt - done) | lost
        self.raised += 1
        self.raise_budget()

    def after_end(self, code):
        before = len(self.doubt)
        if code != (1 if self.bad else 0):
            self.fail(f"exit code {code}")
        done, failed = self.recount()
        if len(done) != self.lines or failed != self.bad:
            self.fail(f"{len(done)} lines, {failed} failed")
        check = subprocess.run(
            [sys.executable, CHECK_BATCH, self.input] + self.files(),
            capture_output=True, text=True, check=False)
        if check.returncode != 0:
            self.fail(check.stderr)
        self.check_report(before)
        extra = self.sim.charged() - self.charged_before \
            - (self.lines - self.bad)
        if not 0 <= extra <= self.lost:
            self.fail(f"{extra} requests too many, {self.lost} lines lost")
        return extra

    def told(self):
        """What it has cost at most, says the last report."""
        with open(self.output + ".stats.json", encoding="utf-8") as file:
            stats = json.load(file)
        return sum(stats[name] for name in (
            "spent_usd", "spent_before_usd", "uncertain_usd",
            "uncertain_before_usd"))

    def check_report(self, in_doubt):
        if self.budget:
            self.check_budget(self.told())
        with open(self.output + ".stats.json", encoding="utf-8") as file:
            stats = json.load(file)
        sums = {
            "lines": (stats["lines"], self.lines),
            "results": (stats["done_before"] + stats["ok"] + stats["failed"],
                        self.lines),
            "failed": (stats["done_before_failed"] + stats["failed"],
                       self.bad),
            "in doubt": (stats["in_doubt"], in_doubt),
            "not tried": (stats["not_tried"], 0),
        }
        for name, (told, counted) in sums.items():
            if told != counted:
                self.fail(f"{name}: {told} in the report, {counted} counted")


def wait_for(job, process, rng):
    """Until the moment of the kill; False if the batch has ended before."""
    more = rng.random() < 0.8
    goal = job.size() + (rng.randrange(1, 9000 * job.lines // 4) if more else 0)
    pause = rng.random() * (0.01 if more else 0.08)
    limit = time.monotonic() + RUN_MAX_S
    while process.poll() is None and time.monotonic() < limit:
        if job.size() >= goal:
            break
        time.sleep(0.0005)
    try:
        process.wait(pause)
        return False
    except subprocess.TimeoutExpired:
        return True


def run_job(job, rng, kills_left):
    """Kills and begins again until the batch is done; gives its exit code."""
    while True:
        process = job.start()
        try:
            if job.kills < kills_left and wait_for(job, process, rng):
                process.kill()
                if process.wait() == -9:
                    job.after_kill(rng)
                    continue
            code = process.wait(RUN_MAX_S)
            if code != 3 or not job.budget:
                return code
            job.after_budget()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("belay")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lines", type=int, default=2000)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    total = dict.fromkeys(("jobs", "kills", "lines", "lost", "extra", "torn",
                           "tears", "raised"), 0)
    with runner.simulator(
            args.belay, "--seed", str(args.seed), *SIM) as url:
        sim = Sim(url)
        while total["kills"] < args.rounds:
            folder = tempfile.mkdtemp(prefix="belay-kill-")
            job = Job(args.belay, folder, sim, total["jobs"], args.lines)
            code = run_job(job, rng, args.rounds - total["kills"])
            total["extra"] += job.after_end(code)
            total["jobs"] += 1
            total["kills"] += job.kills
            total["lines"] += job.lines
            total["lost"] += job.lost
            total["torn"] += job.torn
            total["tears"] += job.tears
            total["raised"] += job.raised
            shutil.rmtree(folder)
    print("{jobs} batches, {lines} lines, {kills} kills: {lost} lines left in "
          "doubt, {extra} answered twice, {torn} torn ends seen, {tears} "
          "made; every custom_id once; no budget passed, {raised} raised"
          .format(**total))


main()
