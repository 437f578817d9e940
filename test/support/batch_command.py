"""`belay batch` as a user runs it, in front of a server that answers as a test
says; what the tests in test/command/batch*.py share.

A program of tests ends with sys.exit(batch_command.main(globals())): it takes
the command, and names of tests or none. Each test gets a Place of its own.
"""
import contextlib
import http.server
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import runner

LIMIT_S = 120
CHAT = "/v1/chat/completions"
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


def in_place(_, test):
    with tempfile.TemporaryDirectory(prefix="belay-") as path:
        test(Place(path))


def main(tests):
    global belay
    belay = os.path.abspath(sys.argv[1])
    return runner.run(tests, sys.argv[2:], in_place)
