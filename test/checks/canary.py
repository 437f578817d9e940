#!/usr/bin/env python3
"""Is a key in the environment ever seen again? (S2)

usage: canary.py BELAY CANARY
       canary.py --self-test

Runs the command and a program of the library's (canary.c) with a key, against
a server that quotes it, with all that can be turned on: traces, recorders,
progress, dumps of tasks, error trees. Then looks for the key in everything
that they have written: output, files of any name, the environment of the
process while it runs, and the core that it would leave when it is killed.
"""
import http.server
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

KEY = "canary-5b1f07c3-never-to-be-seen"
TOKEN = "canary-e0a29d44-in-the-address"
LIMIT_S = 120


class Handler(http.server.BaseHTTPRequestHandler):
    """Does what the model's name says; see canary.c."""
    protocol_version = "HTTP/1.1"
    seen = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model = body.get("model", "plain")
        Handler.seen.append((model, self.headers.get("Authorization", "")))
        quote = self.headers.get("Authorization", "")
        if model == "reset":
            self.close_connection = True
            return
        if model in ("silent", "hold"):
            Handler.stop.wait(LIMIT_S)
            self.close_connection = True
            return
        status, kind, text = self.answer(model, quote, self.path)
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if model.startswith("!"):
            self.send_header("X-Request-Id", quote)
        self.end_headers()
        self.wfile.write(data)

    @staticmethod
    def answer(model, quote, path):
        said = quote if model.startswith("!") else "hello"
        error = json.dumps({"error": {
            "message": f"wrong key: {quote}", "type": quote, "code": quote}})
        whole = json.dumps({
            "model": model, "choices": [{"index": 0, "finish_reason": "stop",
                                         "message": {"content": said}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
        chunk = "data: " + json.dumps({"choices": [{
            "index": 0, "delta": {"content": said}}]}) + "\n\n"
        end = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":' \
            '"stop"}]}\n\ndata: [DONE]\n\n'
        return {
            "stream": (200, "text/event-stream", chunk + end),
            "busy": (503, "application/json", '{"error":{"message":"no"}}'),
            "!401": (401, "application/json", error),
            "!400": (400, "application/json", error),
            "!escaped": (401, "application/json",
                         '{"said":"' + quote.replace("-", "\\u002D") + '"}'),
            "!address": (404, "text/html", f"<html>no {path} here</html>"),
            "!html": (200, "text/html", f"<html>{quote}</html>"),
            "!stream-error": (200, "text/event-stream",
                              f"event: error\ndata: {error}\n\n"),
        }.get(model, (200, "application/json", whole))

    def log_message(self, *args):
        pass


class Server:
    def __enter__(self):
        Handler.stop = threading.Event()
        Handler.seen = []
        self.listener = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), Handler)
        self.listener.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.listener.server_address[1]}/v1"
        threading.Thread(target=self.listener.serve_forever,
                         kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *args):
        Handler.stop.set()
        self.listener.shutdown()
        self.listener.server_close()


def environment(**more):
    """Nothing of ours but what is asked for."""
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH"):
        if name in os.environ:
            env[name] = os.environ[name]
    return env | more


def found_in(place, data):
    """Where a secret stands, in plain or as JSON or a URL might write it."""
    forms = [form for secret in (KEY, TOKEN) for form in (
        secret, secret[7:], secret.replace("-", "%2D"),
        secret.replace("-", "\\u002d"), secret.replace("-", "\\u002D"))]
    return [f"{place}: {form}" for form in forms if form.encode() in data]


def look(folder, outputs):
    found = []
    for name, data in outputs.items():
        found += found_in(name, data)
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            found += found_in(path, name.encode())
            with open(path, "rb") as file:
                found += found_in(path, file.read())
    return found


def run(arguments, folder, **env):
    done = subprocess.run(arguments, cwd=folder, env=environment(**env),
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=LIMIT_S, check=False)
    return done.returncode, {"stdout": done.stdout, "stderr": done.stderr}


def expect(got, wanted, what):
    if got != wanted:
        raise AssertionError(f"{what}: {got!r}, not {wanted!r}")


# ---- what is looked at ----

def check_library(belay, canary, folder):
    """Every kind of call, recorded twice and traced twice."""
    for trace in ("trace.jsonl", "trace.perfetto.json"):
        with Server() as server:
            code, outputs = run(
                [canary, f"{server.url}?token={TOKEN}", folder], folder,
                CANARY=KEY, BELAY_TRACE=os.path.join(folder, trace))
            expect(code, 0, f"exit code; it said {outputs['stderr']!r}")
            sent = {model for model, auth in Handler.seen
                    if auth == f"Bearer {KEY}"}
            expect("!stream-error" in sent and "plain" in sent, True,
                   "the server was sent the key")
        expect(b"CANARY-FREED" in outputs["stdout"], False,
               "memory with the key was given back")
        expect(b"wrong key" in outputs["stdout"], True,
               "the error of the server is told")
        expect(os.path.getsize(os.path.join(folder, trace)) > 0, True,
               "there is a trace")
        expect(os.path.getsize(os.path.join(folder, "record.db")) > 0
               and os.path.getsize(os.path.join(folder, "record.jsonl")) > 0,
               True, "there are records")
        yield outputs


def batch_input(folder, models):
    path = os.path.join(folder, "in.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        for n, model in enumerate(models):
            file.write(json.dumps({
                "custom_id": str(n), "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": model, "messages": [
                    {"role": "user", "content": "hi"}]}}) + "\n")
    return path


def check_batch(belay, canary, folder):
    """A batch whose lines meet everything but a server that quotes: what a
    server answers goes into the output byte for byte."""
    lines = batch_input(folder, ["plain", "busy", "reset", "plain"])
    with Server() as server:
        code, outputs = run(
            [belay, "batch", lines, "-o", "out.jsonl", "--base-url",
             server.url, "--max-retries", "1", "--patience", "1s",
             "--progress", "json"], folder,
            OPENAI_API_KEY=KEY, BELAY_TRACE=os.path.join(folder, "b.jsonl"))
        expect(code, 1, f"exit code; it said {outputs['stderr']!r}")
        expect(Handler.seen[0][1], f"Bearer {KEY}", "the server has the key")
    yield outputs


def check_batch_killed(belay, canary, folder):
    """While it runs its environment holds no key; killed, it leaves no core."""
    lines = batch_input(folder, ["hold"] * 3)

    def allow_cores():
        resource.setrlimit(resource.RLIMIT_CORE, (
            resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    try:
        allow_cores()
    except (OSError, ValueError):
        pass  # then there is none in any case
    with Server() as server:
        process = subprocess.Popen(
            [belay, "batch", lines, "-o", "out.jsonl", "--base-url",
             server.url], cwd=folder, env=environment(OPENAI_API_KEY=KEY),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        deadline = time.monotonic() + LIMIT_S
        while not Handler.seen and time.monotonic() < deadline:
            time.sleep(0.01)
        outputs = {}
        for name in ("environ", "cmdline"):
            try:
                with open(f"/proc/{process.pid}/{name}", "rb") as file:
                    outputs[name] = file.read()
            except PermissionError:
                pass  # nor can anybody else
        process.send_signal(signal.SIGABRT)
        outputs["stdout"], outputs["stderr"] = process.communicate(
            timeout=LIMIT_S)
        expect(process.returncode, -signal.SIGABRT, "it was killed")
        expect(len(Handler.seen) > 0, True, "it has sent something")
    yield outputs
    cores = [name for name in os.listdir(folder) if name.startswith("core")]
    expect(cores, [], "cores")


def check_chat(belay, canary, folder):
    """A conversation that is kept in a file, and errors that quote the key."""
    with Server() as server:
        command = [belay, "chat", "--base-url", server.url, "--session",
                   "talk.json"]
        more = {"OPENAI_API_KEY": KEY,
                "BELAY_TRACE": os.path.join(folder, "c.jsonl")}
        for model, wanted in (("plain", 0), ("!401", 4), ("!400", 1),
                              ("!html", 1), ("!stream-error", 1)):
            for option in ("--stream", "--raw"):
                code, outputs = run([*command, "-m", model, option, "hello"],
                                    folder, **more)
                expect(code, wanted,
                       f"exit code; it said {outputs['stderr']!r}")
                yield outputs
        expect(Handler.seen[0][1], f"Bearer {KEY}", "the server has the key")


def check_sim(belay, canary, folder):
    """The simulator wants a key, from clients with the right and a wrong one.
    """
    process = subprocess.Popen(
        [belay, "sim", "--port", "0", "--api-key-env", "SIM_KEY"], cwd=folder,
        env=environment(SIM_KEY=KEY, BELAY_TRACE=os.path.join(folder, "s.jsonl")),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    try:
        line = process.stdout.readline().decode()
        url = next(word for word in line.split() if word.startswith("http"))
        lines = batch_input(folder, ["m"])
        code, first = run([belay, "batch", lines, "-o", "good.jsonl",
                           "--base-url", url], folder, OPENAI_API_KEY=KEY)
        expect(code, 0, f"exit code; it said {first['stderr']!r}")
        code, second = run([belay, "batch", lines, "-o", "bad.jsonl",
                            "--base-url", url], folder,
                           OPENAI_API_KEY="x" + KEY[:-9])
        expect(code, 4, f"exit code; it said {second['stderr']!r}")
    finally:
        process.send_signal(signal.SIGTERM)
        rest, said = process.communicate(timeout=LIMIT_S)
    yield {"stdout": line.encode() + rest, "stderr": said}
    yield first
    yield second


def main(belay, canary):
    failed = 0
    for check in (check_library, check_batch, check_batch_killed, check_chat,
                  check_sim):
        folder = tempfile.mkdtemp(prefix="belay-canary-")
        found = []
        try:
            for outputs in check(belay, canary, folder):
                found += look(folder, outputs)
        except (AssertionError, StopIteration) as error:
            found.append(str(error))
        finally:
            shutil.rmtree(folder)
        print(f"{check.__name__}: {'ok' if not found else 'FAILED'}")
        for line in found:
            print(f"  {line}")
        failed += bool(found)
    return 1 if failed else 0


def self_test():
    """The search finds what there is to find."""
    with tempfile.TemporaryDirectory() as folder:
        expect(look(folder, {"stdout": b"nothing"}), [], "a clean run")
        expect(len(look(folder, {"stderr": f"Bearer {KEY}".encode()})) > 0,
               True, "in output")
        os.mkdir(os.path.join(folder, "deep"))
        with open(os.path.join(folder, "deep", "r.db"), "wb") as file:
            file.write(b"\0\xff" + KEY.encode() + b"\0")
        expect(len(look(folder, {})) > 0, True, "in a binary file")
    code, outputs = run([sys.executable, "-c",
                         "import os; print(os.environ['K'])"], "/", K=KEY)
    expect(code == 0 and len(look("/nonexistent", outputs)) > 0, True,
           "in what a program prints")
    print("ok")
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*(os.path.abspath(path) for path in sys.argv[1:])))
