#!/usr/bin/env python3
"""Anthropic's own client for Node.js against `belay sim`: Messages.

usage: anthropic.py BELAY FOLDER [NAME...]

As openai.py is for OpenAI's.
"""
import os
import sys

import aimock
from openai import run, start

CALLS = os.path.join(aimock.HERE, "anthropic_calls.mjs")


def one(client, name, *options, **more):
    return client.one(name, *options, base="root", **more)


def texts(message):
    return "".join(block["text"] for block in message["content"]
                   if block["type"] == "text")


def test_plain_and_streamed_say_the_same(client):
    seen = client.seen("plain", "stream", "runner", base="root",
                       options=("--tokens", "30", "--cached", "0.5"))
    plain, stream, runner = seen["plain"], seen["stream"], seen["runner"]
    assert plain["id"].startswith("req_"), plain
    assert len(texts(plain).split()) == 30, plain
    assert stream["text"] == texts(runner) == texts(plain), stream
    assert plain["stop_reason"] == runner["stop_reason"] == "end_turn"
    for message in (plain, runner):
        usage = message["usage"]
        assert (usage["input_tokens"], usage["cache_read_input_tokens"],
                usage["output_tokens"]) == (2, 2, 30), usage
    assert stream["kinds"][0] == "message_start", stream
    assert stream["kinds"][-1] == "message_stop", stream


def test_calls_of_tools(client):
    seen = client.seen("tools", "toolsRunner", "result", base="root")
    for name in ("tools", "toolsRunner"):
        assert seen[name]["stop_reason"] == "tool_use", seen[name]
        block, = seen[name]["content"]
        assert block["name"] == "weather" and block["id"], block
        assert isinstance(block["input"]["city"], str), block
        assert isinstance(block["input"]["days"], int), block
    assert seen["result"]["stop_reason"] == "end_turn", seen["result"]
    assert texts(seen["result"]), seen["result"]


def test_models_and_counts(client):
    seen = client.seen("models", "count", base="root")
    assert seen["models"] == ["sim-small", "sim-large"], seen
    assert seen["count"] == {"input_tokens": 2}, seen


def test_errors_have_their_classes(client):
    bad = one(client, "bad")
    assert (bad["error"], bad["type"]) == (
        "BadRequestError", "invalid_request_error"), bad
    assert "max_tokens" in bad["message"], bad
    wrong = one(client, "plain", key="right", given="wrong")
    assert (wrong["error"], wrong["type"]) == (
        "AuthenticationError", "authentication_error"), wrong
    assert texts(one(client, "plain", key="right", given="right"))
    for status, name, kind in (
            (403, "PermissionDeniedError", "permission_error"),
            (404, "NotFoundError", "not_found_error"),
            (429, "RateLimitError", "rate_limit_error"),
            (500, "InternalServerError", "api_error"),
            (529, "OverloadedError", "overloaded_error")):
        for call in ("plain", "stream"):
            seen = one(client, call, "--fault", str(status),
                       "--retry-after", "7s")
            assert (seen["error"], seen["status"], seen["type"]) == (
                name, status, kind), seen
            if status in (429, 529):
                assert seen["retryAfter"] == "7", seen
    quota = one(client, "plain", "--fault", "quota")
    assert (quota["status"], quota["type"]) == (402, "billing_error"), quota


def test_errors_within_streams(client):
    for call in ("stream", "runner"):
        seen = one(client, call, "--fault", "error-event", "--tokens", "30")
        assert seen["type"] == "overloaded_error", seen


def test_what_breaks_off_is_an_error(client):
    for fault in ("cut", "reset"):
        seen = one(client, "plain", "--fault", fault)
        assert "error" in seen, (fault, seen)
    # Its accumulator notes a stream that has no end.
    for fault in ("no-end", "no-done", "cut"):
        seen = one(client, "runner", "--fault", fault)
        assert "error" in seen, (fault, seen)


def test_odd_streams_are_read_as_any_other(client):
    good = client.seen("stream", "runner", base="root")
    for fault in ("crlf", "cr", "bom", "split", "comments", "no-blank",
                  "lines", "gzip"):
        seen = client.seen("stream", "runner", base="root",
                           options=("--fault", fault))
        assert seen["stream"].get("text") == good["stream"]["text"], (
            fault, seen["stream"])
        assert "error" not in seen["runner"], (fault, seen["runner"])
        assert texts(seen["runner"]) == texts(good["runner"]), fault


if __name__ == "__main__":
    sys.exit(run(globals(), start(CALLS)))
