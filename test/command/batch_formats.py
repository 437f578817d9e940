#!/usr/bin/env python3
"""`belay batch` and the four formats in one input, against `belay sim`: what
is sent and what is written, byte for byte, in all three conventions for
failed lines.

usage: batch_formats.py BELAY [NAME...]

Between the two is a relay that keeps what passes.
"""
import contextlib
import http.client
import http.server
import json
import os
import sys
import threading
import urllib.parse

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import batch_command
from batch_command import batch, expect, expect_code, run
import runner

# Bodies as nobody writes them: spaces, order, numbers, escapes, repetitions.
BODIES = {
    "/v1/chat/completions":
        '{ "seed":9007199254740993,"model": "m" , "messages":[{"role":"user",'
        '"content":"\\u00e9\\ud83c\\udf0d \\/ é"}],"x":1.0,"x":1e400}',
    "/v1/responses":
        '{"input":"say   1","model":"m","metadata":{"b":1,"a":[ ]},"n":-0.0}',
    "/v1/embeddings":
        '{"model":"m","input":["one","two \\t three"],'
        '"encoding_format":"base64","dimensions":8}',
    "/v1/messages":
        '{"max_tokens":16,"model":"m","messages":[{"content":"hello",'
        '"role":"user"}],"system":"\\u0041"}',
}
PARAMS = BODIES["/v1/messages"].replace("hello", "good  bye")
# What each format answers with, and where its text or vectors are.
PLACES = {
    "/v1/chat/completions": ("choices", "usage"),
    "/v1/responses": ("output", "usage"),
    "/v1/embeddings": ("data", "usage"),
    "/v1/messages": ("content", "usage"),
}


class Relay(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, url):
        super().__init__(("127.0.0.1", 0), Passing)
        self.target = urllib.parse.urlsplit(url)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.asked = []  # (path, headers, body)
        self.said = {}   # body of the request: body of the answer
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    def __exit__(self, *args):
        self.shutdown()
        self.thread.join()
        super().__exit__(*args)


class Passing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, dict(self.headers), body))
        target = self.server.target
        with contextlib.closing(http.client.HTTPConnection(
                target.hostname, target.port, timeout=60)) as there:
            there.request("POST", self.path, body, {
                name: value for name, value in self.headers.items()
                if name.lower() not in ("host", "content-length")})
            answer = there.getresponse()
            text = answer.read()
        self.server.said[body] = text
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type"))
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


def line_of(custom_id, path, body):
    if path == "/v1/messages" and custom_id.endswith("params"):
        return f'{{"custom_id":"{custom_id}","params":{body}}}\n'
    return (f'{{"custom_id":"{custom_id}","method":"POST","url":"{path}",'
            f'"body":{body}}}\n')


def give(where, more=""):
    """Each format, Anthropic's in both forms, and a line that fails: a request
    that the simulator refuses.
    """
    text = "".join(line_of(path, path, body) for path, body in BODIES.items())
    text += line_of("params", "/v1/messages", PARAMS)
    text += line_of("bad", "/v1/chat/completions", '{"model":"m"}')
    where.give(text=text + more)


def raw(text, custom_id):
    """The body of the line with this id, as it stands in the file."""
    for line in text.encode().split(b"\n"):
        if line and json.loads(line)["custom_id"] == custom_id:
            start = line.index(b'"body":') + len(b'"body":')
            stop = line.rindex(b'},"error":')
            return line[start:stop]
    raise AssertionError(f"no line {custom_id}")


def as_line(text):
    """A body without the line breaks between its tokens."""
    return text.replace(b"\r", b"").replace(b"\n", b"")


def check_good(relay, text):
    sent = [(path, body) for path, _, body in relay.asked]
    assert ("/v1/messages", PARAMS.encode()) in sent, sent
    for path, body in BODIES.items():
        assert (path, body.encode()) in sent, (path, sent)
        expect(raw(text, path), as_line(relay.said[body.encode()]), path)
        for name in PLACES[path]:
            assert name in json.loads(raw(text, path)), (path, name)
    expect(raw(text, "params"),
           as_line(relay.said[PARAMS.encode()]))
    versions = [h.get("anthropic-version") for p, h, _ in relay.asked
                if p == "/v1/messages"]
    expect(versions, ["2023-06-01"] * 2)


@contextlib.contextmanager
def relayed():
    with runner.simulator(batch_command.belay) as url, Relay(url) as relay:
        yield relay


def test_b1_b3_b4_b5_four_formats_and_a_file_for_what_fails(where):
    give(where)
    with relayed() as relay:
        done = batch(where, relay.url)
        expect_code(done, 1)
        check_good(relay, where.read("out.jsonl"))
        bad = where.lines("out.errors.jsonl")[0]
        expect(raw(where.read("out.errors.jsonl"), "bad"),
               as_line(relay.said[b'{"model":"m"}']))
    expect((bad["error"], bad["response"]["status_code"]), (None, 400))
    where.check()


def test_b3_b4_b6_four_formats_and_errors_inline(where):
    give(where)
    with relayed() as relay:
        done = batch(where, relay.url, "--errors", "inline")
        expect_code(done, 1)
        check_good(relay, where.read("out.jsonl"))
    lines = {line["custom_id"]: line for line in where.lines("out.jsonl")}
    expect(len(lines), 6)
    expect((lines["bad"]["error"]["code"],
            lines["bad"]["response"]["status_code"]), ("http_error", 400))
    assert "out.errors.jsonl" not in where.names()


def test_b3_b4_b11_four_formats_through_pipes(where):
    give(where)
    with relayed() as relay:
        done = run("batch", "-", "-o", "-", "--base-url", relay.url,
                   stdin=where.read("in").encode())
        expect_code(done, 1)
        check_good(relay, done.out)
    expect(len(done.out.splitlines()), 6)
    expect(where.names(), ["in"])


def test_b9_four_formats_in_the_order_of_the_input(where):
    give(where)
    with relayed() as relay:
        done = batch(where, relay.url, "--errors", "inline", "--order",
                     "input")
        expect_code(done, 1)
    expect([line["custom_id"] for line in where.lines("out.jsonl")],
           [*BODIES, "params", "bad"])


def test_b26_b27_each_format_tells_its_usage(where):
    give(where)
    with open(where / "prices", "w", encoding="utf-8") as file:
        json.dump({"m": {"input_cost_per_token": 1e-6,
                         "output_cost_per_token": 1e-6,
                         "max_output_tokens": 1000}}, file)
    with relayed() as relay:
        done = batch(where, relay.url, "--prices", where / "prices",
                     "--budget", "1")
        expect_code(done, 1)
        said = [json.loads(text) for text in relay.said.values()]
    tokens = 0
    for answer in said:
        usage = answer.get("usage", {})
        tokens += sum(usage.get(name, 0) for name in (
            "prompt_tokens", "completion_tokens", "input_tokens",
            "output_tokens"))
    stats = json.loads(where.read("out.jsonl.stats.json"))
    expect(stats["replies_without_usage"], 0)
    expect(stats["tokens_in"] + stats["tokens_out"], tokens)
    assert tokens > 0


if __name__ == "__main__":
    sys.exit(batch_command.main(globals()))
