#!/usr/bin/env python3
"""OpenAI's own client for Node.js against `belay sim`: Chat Completions,
Responses, Embeddings.

usage: openai.py BELAY FOLDER [NAME...]

The simulator has to look like the real thing to a client that nobody here
wrote. Installs it as aimock.py does its server, and is skipped likewise.
"""
import json
import math
import os
import shutil
import subprocess
import sys

import aimock
import runner

CALLS = os.path.join(aimock.HERE, "openai_calls.mjs")


def simulator(belay, *options, key=None):
    keys = ["--api-key-env", "SIM_KEY"] if key else []
    return runner.simulator(belay, *keys, *options, env={"SIM_KEY": key or ""})


def run_calls(node, calls, folder, url, key, names):
    """What the client says of its calls; it looks for its packages next to
    the script, so that is put there."""
    script = shutil.copy(calls, folder)
    done = subprocess.run([node, script, url, key, *names],
                          capture_output=True,
                          stdin=subprocess.DEVNULL, text=True, cwd=folder,
                          timeout=aimock.LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Client:
    def __init__(self, node, folder, belay, calls=CALLS):
        self.node, self.folder, self.belay = node, folder, belay
        self.calls = calls

    def seen(self, *names, options=(), key=None, given="a-key", base=""):
        with simulator(self.belay, *options, key=key) as url:
            if base == "root":
                url = url.removesuffix("/v1")
            return run_calls(self.node, self.calls, self.folder, url, given,
                             names)

    def one(self, name, *options, **more):
        return self.seen(name, options=options, **more)[name]


def test_plain_and_streamed_say_the_same(client):
    seen = client.seen("plain", "stream", "models", "model",
                       options=("--tokens", "30"))
    plain, stream = seen["plain"], seen["stream"]
    assert plain["id"].startswith("req_"), plain
    assert len(plain["text"].split()) == 30, plain
    assert stream["text"] == plain["text"], stream
    assert plain["end"] == stream["end"] == "stop"
    assert plain["usage"]["completion_tokens"] == 30, plain
    assert stream["usage"] == plain["usage"], stream
    assert stream["chunks"] == 30 + 3, stream
    assert seen["models"] == 2 and seen["model"]["id"] == "sim-small", seen


def test_calls_of_tools(client):
    seen = client.seen("tools", "runner", "result")
    for name in ("tools", "runner"):
        assert seen[name]["finish_reason"] == "tool_calls", seen[name]
        call, = seen[name]["message"]["tool_calls"]
        assert call["id"] and call["function"]["name"] == "weather", call
        arguments = json.loads(call["function"]["arguments"])
        assert isinstance(arguments["city"], str), arguments
        assert isinstance(arguments["days"], int), arguments
    assert seen["result"]["finish_reason"] == "stop", seen["result"]
    assert seen["result"]["message"]["content"], seen["result"]


def test_responses_plain_and_streamed(client):
    seen = client.seen("response", "responseStream",
                       options=("--tokens", "30", "--cached", "0.5",
                                "--reasoning", "4"))
    plain, stream = seen["response"], seen["responseStream"]
    assert plain["id"].startswith("req_"), plain
    assert len(plain["text"].split()) == 30, plain
    assert stream["text"] == plain["text"], stream
    assert plain["status"] == stream["status"] == "completed"
    assert stream["usage"] == plain["usage"] == {
        "input_tokens": 4, "input_tokens_details": {"cached_tokens": 2},
        "output_tokens": 34, "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 38}, plain
    kinds = stream["kinds"]
    assert kinds[:4] == ["response.created", "response.in_progress",
                         "response.output_item.added",
                         "response.content_part.added"], kinds
    assert kinds[-4:] == ["response.output_text.done",
                          "response.content_part.done",
                          "response.output_item.done",
                          "response.completed"], kinds


def test_responses_and_calls_of_tools(client):
    seen = client.seen("responseTools", "responseRunner")
    for name in ("responseTools", "responseRunner"):
        item, = seen[name]["output"]
        assert item["type"] == "function_call", item
        assert item["name"] == "weather" and item["call_id"], item
        assert isinstance(json.loads(item["arguments"])["days"], int), item


def test_l4_vectors_are_the_same_in_both_encodings(client):
    seen = client.seen("embeddings", "floats")
    packed, floats = seen["embeddings"]["data"], seen["floats"]["data"]
    assert [row["index"] for row in packed] == [0, 1]
    for one, other in zip(packed, floats):
        assert len(one["embedding"]) == 8, one
        assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(
            one["embedding"], other["embedding"])), (one, other)


def test_errors_have_their_classes(client):
    bad = client.one("bad")
    assert (bad["error"], bad["status"]) == ("BadRequestError", 400), bad
    assert "messages" in bad["message"], bad
    wrong = client.one("plain", key="right", given="wrong")
    assert wrong["error"] == "AuthenticationError", wrong
    assert client.one("response", key="right", given="right")["text"]
    for status, name in ((403, "PermissionDeniedError"),
                         (404, "NotFoundError"), (409, "ConflictError"),
                         (422, "UnprocessableEntityError"),
                         (429, "RateLimitError"),
                         (500, "InternalServerError"),
                         (503, "InternalServerError")):
        for call in ("plain", "stream", "response", "responseStream",
                     "embeddings") if status == 429 else ("response",):
            seen = client.one(call, "--fault", str(status),
                              "--retry-after", "7s")
            assert (seen["error"], seen["status"]) == (name, status), seen
            if status in (429, 503):
                assert seen["retryAfter"] == "7", seen
    quota = client.one("plain", "--fault", "quota")
    assert quota["code"] == "insufficient_quota", quota


def test_errors_within_streams(client):
    options = ("--fault", "error-event", "--tokens", "30")
    seen = client.one("stream", *options)
    assert "error" in seen, seen
    # Of Responses it is an event like any other, with its code within.
    seen = client.one("responseStream", *options)
    assert seen["kinds"][-1] == "error", seen
    assert seen["status"] == "in_progress", seen


def test_what_breaks_off_is_an_error(client):
    for fault in ("cut", "reset"):
        for call in ("plain", "response", "embeddings"):
            seen = client.one(call, "--fault", fault)
            assert "error" in seen, (fault, call, seen)
    seen = client.one("plain", "--fault", "stall-head")
    assert seen["error"] == "APIConnectionTimeoutError", seen


def test_odd_streams_are_read_as_any_other(client):
    good = client.seen("stream", "responseStream")
    for fault in ("crlf", "cr", "bom", "split", "comments", "no-blank",
                  "lines", "gzip"):
        seen = client.seen("stream", "responseStream",
                           options=("--fault", fault))
        for name, one in good.items():
            assert seen[name].get("text") == one["text"], (fault, seen[name])


def run(tests, client):
    return runner.run(tests, sys.argv[3:], lambda _, test: test(client))


def start(calls):
    belay, folder = (os.path.abspath(name) for name in sys.argv[1:3])
    node, npm = aimock.find_node()
    aimock.install(npm, folder)
    return Client(node, folder, belay, calls)


if __name__ == "__main__":
    sys.exit(run(globals(), start(CALLS)))
