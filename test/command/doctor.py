#!/usr/bin/env python3
"""`belay doctor` as a user runs it.

usage: doctor.py BELAY [NAME...]

Runs the functions below whose names begin with test_, or those named. Servers
are on this machine; a host that cannot be found is one that no resolver is
asked for.
"""
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import runner

LIMIT_S = 60
CANARY = "canary-93ad-secret-key-0123456789"

belay = None  # the command


class Run:
    def __init__(self, *options, env=None, limit=None):
        def narrow():
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        clean = {key: value for key, value in os.environ.items()
                 if not key.endswith("_API_KEY") and "proxy" not in
                 key.lower()}
        done = subprocess.run(
            [belay, "doctor", *options], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=LIMIT_S, check=False,
            env={**clean, **(env or {})}, preexec_fn=narrow if limit else None)
        self.code, self.out, self.err = \
            done.returncode, done.stdout, done.stderr
        assert CANARY not in self.out + self.err
        self.lines = {}
        for line in self.out.split("\n"):
            if line and not line.startswith("{"):
                state, name = line[:4].strip(), line[6:24].strip()
                self.lines.setdefault(name, []).append((state, line[25:]))

    def one(self, name):
        line, = self.lines[name]
        return line


def simulator(*options, key=""):
    return runner.simulator(belay, *options, env={"SIM_KEY": key})


@contextlib.contextmanager
def listener(answer):
    """Reads what comes, sends `answer` (None: nothing, ever) and closes."""
    server = socket.create_server(("127.0.0.1", 0))
    held = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                sock, _ = server.accept()
                held.append(sock)
                sock.recv(65536)
                if answer is not None:
                    sock.sendall(answer)
                    sock.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for sock in held:
            sock.close()
        thread.join(LIMIT_S)


def response(status, body=b"{}", *fields):
    head = "".join(f"{field}\r\n" for field in fields)
    return (f"HTTP/1.1 {status} x\r\n{head}Content-Length: {len(body)}\r\n"
            "\r\n").encode() + body


def test_tells_the_libraries():
    run = Run()
    assert run.code == 0, run.err
    for name in ("belay", "libuv", "libcurl", "cJSON", "http-parser"):
        state, text = run.one(name)
        assert state == "ok" and text[0].isdigit(), (name, text)
    assert "HTTP/2" in run.one("libcurl")[1]
    assert run.one("sqlite3")[0] in ("ok", "note")
    assert run.lines["GPU"], run.out


def test_json_says_the_same():
    run, plain = Run("--json"), Run()
    found = json.loads(run.out)
    assert found["good"] is True and run.code == 0
    assert [row["name"] for row in found["findings"]] == [
        name for line in plain.out.strip().split("\n")
        for name in [line[6:24].strip()]]


def test_s2_keys_are_named_and_no_more():
    run = Run(env={"OPENAI_API_KEY": CANARY, "ANTHROPIC_API_KEY": "short",
                   "MISTRAL_API_KEY": CANARY + "\n", "GROQ_API_KEY": "",
                   "MY_KEY": CANARY * 9},
              *("--api-key-env", "MY_KEY"))
    assert run.one("OPENAI_API_KEY") == ("ok", "set, of a usual length")
    assert run.one("ANTHROPIC_API_KEY") == ("note", "set, short for a key")
    assert run.one("MISTRAL_API_KEY")[0] == "warn"
    assert "GROQ_API_KEY" not in run.lines
    assert run.one("MY_KEY") == ("ok", "set, long for a key")
    assert "short\n" not in run.out.replace("short for", "")
    run = Run("--api-key-env", "NOT_THERE")
    assert run.one("NOT_THERE") == ("warn", "not set") and run.code == 0
    run = Run(env={"https_proxy": "http://user:" + CANARY + "@127.0.0.1:1"})
    assert run.one("https_proxy")[0] == "note"


def test_few_descriptors_are_a_warning():
    assert Run(limit=200).one("open files")[0] == "warn"


def test_a_server_that_answers():
    with simulator() as url:
        run = Run("--base-url", url)
        assert run.code == 0, run.out
        state, text = run.one("endpoint")
        assert state == "ok" and "status 200" in text, text
        assert text.endswith("2 models"), text
        for base in (url, url.removesuffix("/v1")):
            run = Run("--base-url", base, "--messages")
            assert run.one("endpoint")[1].endswith("2 models"), run.out


def test_s2_keys_that_fit_and_do_not():
    with simulator("--api-key-env", "SIM_KEY", key=CANARY) as url:
        for extra in ((), ("--messages",)):
            options = ("--base-url", url, "--api-key-env", "K", *extra)
            run = Run(*options, env={"K": CANARY})
            assert run.code == 0 and run.one("endpoint")[0] == "ok", run.out
            run = Run(*options, env={"K": CANARY + "x"})
            assert run.code == 1, run.out
            assert "key is not accepted" in run.one("endpoint")[1]
            run = Run("--base-url", url, *extra)
            assert run.code == 0 and "wants a key" in run.one("endpoint")[1]


def test_the_step_that_fails():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    cases = [
        ("https://" + "x" * 64 + ".example/v1", "fails at DNS"),
        (f"http://127.0.0.1:{port}/v1", "fails at TCP"),
    ]
    for url, text in cases:
        run = Run("--base-url", url, "--timeout", "20")
        assert run.code == 1, run.out
        assert run.one("endpoint")[0] == "FAIL"
        assert text in run.one("endpoint")[1], run.out
    with simulator() as url:
        run = Run("--base-url", url.replace("http:", "https:"))
        assert "fails at TLS" in run.one("endpoint")[1], run.out
    for answer, text in ((b"", "fails at HTTP"), (b"nonsense\r\n\r\n",
                                                  "fails at HTTP")):
        with listener(answer) as url:
            run = Run("--base-url", url)
            assert run.code == 1 and text in run.one("endpoint")[1], run.out
    with listener(None) as url:
        run = Run("--base-url", url, "--timeout", "200ms")
        assert run.code == 1, run.out
        assert "fails at HTTP" in run.one("endpoint")[1], run.out


def test_answers_that_are_not_good():
    cases = [(response(500), 1, "does not want"),
             (response(302, b"", "Location: /elsewhere"), 1, "elsewhere"),
             (response(404), 0, "no list of models"),
             (response(200, b"<html>"), 0, "no list of models"),
             (response(200, b'{"data":[{}]}'), 0, "1 models")]
    for answer, code, text in cases:
        with listener(answer) as url:
            run = Run("--base-url", url)
        assert run.code == code, run.out
        assert text in run.one("endpoint")[1], run.out


def test_s3_s8_what_cannot_be_asked():
    for url in ("http://example.com/v1", "ftp://127.0.0.1/", "nonsense"):
        run = Run("--base-url", url)
        assert run.code == 1, run.out
        assert "cannot be asked" in run.one("endpoint")[1], run.out
    run = Run("--base-url", f"https://u:{CANARY}@{'x' * 64}.example/v1"
              f"?key={CANARY}")
    assert run.code == 1, run.out
    run = Run("--prices", "/no\x1b[31mfile")
    assert "\x1b" not in run.out, repr(run.out)


def test_l49_price_files():
    cases = [('{"m": {"input_cost_per_token": 1e-06}, "n": {}}', 0,
              "2 entries"),
             ('{"m":\n {"input_cost_per_token": "x"}}', 1, "line 2"),
             ("{", 1, "line 1")]
    for text, code, told in cases:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            run = Run("--prices", file.name)
        assert run.code == code, run.out
        assert told in run.one("prices")[1], run.out
    run = Run("--prices", "/nonexistent/prices.json")
    assert run.code == 1 and "not found" in run.one("prices")[1], run.out


def test_x3_insecure_says_so():
    for options in ((), ("--json",)):
        run = Run("--insecure", *options)
        assert run.err.count("\n") == 1, run.err
        assert run.err.startswith("belay doctor: warning: --insecure"), run.err
        assert not Run(*options).err


def test_wrong_usage():
    for options in (("--timeout", "0"), ("--timeout", "1h"), ("--nothing",),
                    ("more",), ("--base-url",)):
        run = Run(*options)
        assert run.code == 2 and run.err and not run.out, (options, run.err)
    assert Run("--help").code == 0


def main():
    global belay
    belay = os.path.abspath(sys.argv[1])
    return runner.run(globals(), sys.argv[2:], lambda _, test: test())


if __name__ == "__main__":
    sys.exit(main())
