#!/usr/bin/env python3
"""`belay batch` as a user runs it: exit codes, messages, signals, secrets.

usage: batch.py BELAY [NAME...]

Runs the functions below whose names begin with test_, or those named. Every
process has a time limit, a bound that is never reached; nothing leaves
loopback. What the server of a test answers is decided line by line.
"""
import contextlib
import http.server
import json
import os
import pathlib
import pty
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import runner

LIMIT_S = 120
CHAT = "/v1/chat/completions"
CANARY = "canary-93ad-key"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
OK = (200, json.dumps({"id": "c", "usage": USAGE}))
TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools")

belay = None  # the command


class Server:
    """Answers each request with what `answer` says: (status, body, headers),
    None to close the connection. `answer` gets the body as read from JSON.
    """

    def __init__(self, answer=lambda body: OK, port=0):
        outer = self
        self.bodies = []
        self.headers = []
        self.connections = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                outer.connections.append(self.connection)

            def do_POST(self):
                size = int(self.headers["Content-Length"])
                body = json.loads(self.rfile.read(size))
                outer.bodies.append(body)
                outer.headers.append(dict(self.headers))
                reply = answer(body)
                if reply is None:
                    self.close_connection = True
                    return
                status, text, *more = reply
                data = text if isinstance(text, bytes) else text.encode()
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    for name, value in more[0] if more else ():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *args):
                pass

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *args):
                pass

        self.listener = Listener(("127.0.0.1", port), Handler)
        self.port = self.listener.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.thread = threading.Thread(
            target=self.listener.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def stop(self):
        self.listener.shutdown()
        self.thread.join()
        self.listener.server_close()

    def cut(self):
        """Stops, and resets what is connected."""
        self.stop()
        for one in list(self.connections):
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                               struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.stop()


class Run:
    """How a command has ended, or how it runs."""

    def __init__(self, arguments, env=None, stdin=b"", limit_file=None,
                 limit_fds=None, stderr=subprocess.PIPE):
        whole = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH"):
            if name in os.environ:
                whole[name] = os.environ[name]
        whole.update(env or {})

        def limit():
            if limit_file is not None:
                resource.setrlimit(
                    resource.RLIMIT_FSIZE, (limit_file, limit_file))
            if limit_fds is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, limit_fds)

        self.process = subprocess.Popen(
            [belay] + [str(a) for a in arguments], env=whole,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
            preexec_fn=limit if limit_file or limit_fds else None)
        self.stdin = stdin
        self.code = None
        self.out = self.err = ""

    def end(self):
        try:
            out, err = self.process.communicate(self.stdin, timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("it does not end") from None
        self.code = self.process.returncode
        self.out = out.decode("utf-8", "surrogateescape")
        self.err = (err or b"").decode("utf-8", "surrogateescape")
        return self


def run(*arguments, **how):
    return Run(arguments, **how).end()


def batch(where, url, *more, **how):
    return run("batch", where / "in", "-o", where / "out.jsonl", "--base-url",
               url, *more, **how)


class Place:
    """A folder with the files of a batch."""

    def __init__(self, path):
        self.path = path

    def __truediv__(self, name):
        return os.path.join(self.path, name)

    def give(self, count=10, text=None, path=CHAT):
        with open(self / "in", "w", encoding="utf-8") as file:
            file.write(text if text is not None else "".join(
                request(str(n), {"n": n}, path) for n in range(count)))

    def read(self, name):
        try:
            with open(self / name, encoding="utf-8", newline="\n") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def lines(self, name):
        text = self.read(name)
        assert text == "" or text.endswith("\n"), f"{name} has a torn end"
        return [json.loads(line) for line in text.splitlines()]

    def names(self):
        return sorted(os.listdir(self.path))

    def check(self):
        """Every custom_id exactly once, says somebody who knows nothing of
        us."""
        done = subprocess.run(
            [sys.executable, os.path.join(TOOLS, "check_batch"), self / "in",
             self / "out.jsonl", self / "out.errors.jsonl"],
            capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr


def request(custom_id, body, path=CHAT):
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": path,
                       "body": body}) + "\n"


def expect(got, wanted, what=""):
    assert got == wanted, f"{what}: {got!r}, not {wanted!r}"


def expect_in(part, text):
    assert part in text, f"{part!r} is not in {text!r}"


def expect_code(done, code):
    expect(done.code, code, f"exit code; it said {done.err!r}")
    assert "Sanitizer" not in done.err, done.err
    assert "runtime error" not in done.err, done.err


def wait_until(condition, what):
    for _ in range(LIMIT_S * 100):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError(f"never: {what}")


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


class Gate:
    """A server that answers nobody, or only some, until it is opened."""

    def __init__(self, open_to=lambda body: False):
        self.opened = threading.Event()
        self.open_to = open_to
        self.server = Server(self.answer)

    def answer(self, body):
        if not self.open_to(body):
            self.opened.wait(LIMIT_S)
        return OK

    def stop(self):
        self.opened.set()
        self.server.stop()


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


# ---- security ----


def everything(where, done):
    texts = {"standard output": done.out, "standard error": done.err}
    for name in where.names():
        if name != "in":
            texts[name] = where.read(name)
    return texts


def test_x1_a_key_comes_from_the_environment_only(where):
    where.give(1)
    for option in ("--api-key", "--api-k", "--key"):
        done = run("batch", where / "in", "-o", where / "out.jsonl", option,
                   CANARY)
        expect_code(done, 2)
        assert CANARY not in done.err, done.err


def test_x1_a_key_comes_from_a_file_that_nobody_else_reads(where):
    where.give(1)
    key = pathlib.Path(where / "key")
    key.write_text(CANARY + "\n")
    with Server(lambda body: OK) as server:
        for mode, code in ((0o644, 2), (0o620, 2), (0o600, 0)):
            os.chmod(where / "key", mode)
            done = batch(where, server.url, "--overwrite", "--api-key-file",
                         where / "key")
            expect_code(done, code)
            assert CANARY not in done.err, done.err
        expect(server.headers[0]["Authorization"], "Bearer " + CANARY)
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" 3<&0 </dev/null', "sh", belay, "batch",
             str(where / "in"), "-o", str(where / "out.jsonl"), "--overwrite",
             "--base-url", server.url, "--api-key-file", "/dev/fd/3"],
            input=CANARY.encode(), capture_output=True, timeout=60)
        expect(done.returncode, 0)
        expect(server.headers[-1]["Authorization"], "Bearer " + CANARY)
        for text in ("", "\n"):
            key.write_text(text)
            done = batch(where, server.url, "--overwrite", "--api-key-file",
                         where / "key")
            expect_code(done, 2)
        expect(len(server.headers), 2)


def test_x2_the_key_is_in_no_output(where):
    """With replies of all kinds, a refusal and a broken connection."""
    def answer(body):
        kind = body["n"] % 5
        return (OK, (400, '{"error":{"message":"no"}}'), None,
                (200, "<html>"), (500, ""))[kind]

    where.give(20)
    with Server(answer) as server:
        done = batch(where, server.url, "--max-retries", "1", "--progress",
                     "json", env={"OPENAI_API_KEY": CANARY})
        expect(server.headers[0]["Authorization"], "Bearer " + CANARY)
        expect_code(done, 1)
        for name, text in everything(where, done).items():
            assert CANARY not in text, name
        done = batch(where, server.url, "--overwrite", "--api-key-env",
                     "OTHER", env={"OTHER": CANARY + "\r\nX-Evil: 1"})
        expect_code(done, 2)
        assert CANARY not in done.err, done.err
    with Server(lambda body: (401, '{"error":"who"}')) as server:
        done = batch(where, server.url, "--overwrite",
                     env={"OPENAI_API_KEY": CANARY})
        expect_code(done, 4)
        for name, text in everything(where, done).items():
            assert CANARY not in text, name


def test_x2_secrets_in_the_url_are_in_no_output(where):
    where.give(2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: refused
        port = free.getsockname()[1]
        done = batch(where, f"http://user:{CANARY}@127.0.0.1:{port}/v1",
                     "--max-retries", "0")
        for name, text in everything(where, done).items():
            assert CANARY not in text, (name, text)
        done = batch(where, f"http://127.0.0.1:{port}/v1?key={CANARY}",
                     "--max-retries", "0", "--overwrite")
        for name, text in everything(where, done).items():
            assert CANARY not in text, (name, text)


NASTY = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"


def test_x8_no_control_characters_from_outside(where):
    """In a server's texts and in the input's; on a terminal and in files."""
    where.give(text=request("a" + NASTY, {"n": 1}) + request("a" + NASTY, {})
               + request("b", {"n": 2}, "/v1/" + NASTY)
               + request("c", {"n": 3}) + NASTY + "\n")

    def answer(body):
        text = NASTY.encode("utf-8")
        return (400 if body["n"] == 1 else 200), text, \
            [("X-Request-Id", "\x1b[31mred")]

    leader, follower = pty.openpty()
    seen = bytearray()

    def drain():
        with contextlib.suppress(OSError):
            while chunk := os.read(leader, 65536):
                seen.extend(chunk)

    reader = threading.Thread(target=drain)
    reader.start()
    with Server(answer) as server:
        done = Run(["batch", where / "in", "-o", where / "out.jsonl",
                    "--base-url", server.url], stderr=follower).end()
    os.close(follower)
    reader.join(LIMIT_S)
    os.close(leader)
    expect(done.code, 1)
    shown = seen.decode("utf-8")
    expect_in("succeeded", shown)
    # Our own: back to the start of the line, clear to its end.
    rest = shown.replace("\x1b[K", "")
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", rest), \
        repr(rest)
    expect(len(where.lines("out.errors.jsonl")), 5)
    text = where.read("out.errors.jsonl")
    assert not re.search("[\x00-\x09\x0b-\x1f]", text), repr(text)
    for line in where.lines("out.errors.jsonl"):
        if line["error"]:
            message = line["error"]["message"]
            assert not re.search("[\x00-\x1f\x7f-\x9f]", message), message


# ---- many ----


def test_b8_b20_twenty_thousand_requests(where):
    count = 20000
    where.give(text="".join(request(str(n), {
        "model": "m", "messages": [{"role": "user", "content": f"say {n}"}]})
        for n in range(count)))
    with runner.simulator(belay) as url:
        done = batch(where, url, "-c", "256")
        expect_code(done, 0)
    where.check()
    lines = where.lines("out.jsonl")
    expect(len(lines), count)
    numbers = sorted(int(line["id"].rsplit("_", 1)[1]) for line in lines)
    expect(numbers, list(range(1, count + 1)), "line numbers in the ids")


def in_place(_, test):
    with tempfile.TemporaryDirectory(prefix="belay-") as path:
        test(Place(path))


def main():
    global belay
    belay = os.path.abspath(sys.argv[1])
    return runner.run(globals(), sys.argv[2:], in_place)


if __name__ == "__main__":
    sys.exit(main())
