#!/usr/bin/env python3
"""`belay sim` in its four formats, by raw bytes, so that no client of ours says
what is right; and its scripts.

usage: sim.py BELAY ASK [NAME...]

Runs the functions below whose names begin with test_, or those named.
"""
import base64
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import sim_command
from sim_command import (FORMATS, JOIN, LAST, LIMIT_S, PATHS, VERSION, body_of,
                         calls_of, end_and_usage, fault, get, post, scripted,
                         simulator, text_of)


# ---- good answers ----

def test_a_stream_says_what_a_plain_answer_says():
    ends = {"chat": "stop", "responses": "completed", "messages": "end_turn"}
    with simulator("--tokens", "5-30", "--seed", "3") as port:
        for name in FORMATS:
            plain = post(port, name, body_of(name)).json()
            stream = post(port, name, body_of(name, stream=True))
            assert stream.whole and stream.end == "closed"
            assert stream.headers["content-type"] == "text/event-stream"
            assert stream.body.endswith(LAST[name]) or name == "responses"
            text, calls, end, usage = JOIN[name](stream.data())
            assert text and text == text_of(name, plain), (name, text)
            assert not calls
            assert (end, usage) == end_and_usage(name, plain), (end, usage)
            assert end == ends[name]


def test_events_of_responses_and_messages_have_their_names():
    with simulator() as port:
        for name in ("responses", "messages"):
            reply = post(port, name, body_of(name, stream=True))
            for event, data in reply.events():
                assert event == json.loads(data)["type"], (event, data)
        kinds = [e for e, _ in reply.events()]
        assert kinds[:3] == ["message_start", "content_block_start", "ping"]
        assert kinds[-3:] == ["content_block_stop", "message_delta",
                              "message_stop"]


def test_ids_are_where_clients_look_for_them():
    headers = {"chat": "x-request-id", "responses": "x-request-id",
               "messages": "request-id", "embeddings": "x-request-id"}
    with simulator() as port:
        for name, header in headers.items():
            reply = post(port, name, body_of(name))
            assert reply.headers[header].startswith("req_"), reply.headers


def test_tools_are_called_with_arguments_of_their_schema():
    ends = {"chat": "tool_calls", "responses": "completed",
            "messages": "tool_use"}
    with simulator() as port:
        for name in FORMATS:
            plain = post(port, name, body_of(name, tools=True)).json()
            (identity, tool, arguments), = calls_of(name, plain)
            assert identity and tool == "weather"
            assert isinstance(arguments["city"], str), arguments
            assert isinstance(arguments["days"], int), arguments
            assert arguments["unit"] in ("C", "F"), arguments
            assert len(arguments["near"]) == 1, arguments
            assert end_and_usage(name, plain)[0] == ends[name]
            stream = post(port, name, body_of(name, tools=True, stream=True))
            text, calls, end, _ = JOIN[name](stream.data())
            assert not text and end == ends[name]
            assert calls[0][1] == "weather"
            assert set(calls[0][2]) == set(arguments)


def test_results_of_tools_are_answered_in_words():
    last = {
        "chat": [{"role": "tool", "tool_call_id": "c", "content": "sun"}],
        "responses": [{"type": "function_call_output", "call_id": "c",
                       "output": "sun"}],
        "messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c", "content": "sun"}]}]}
    with simulator() as port:
        for name in FORMATS:
            body = body_of(name, tools=True)
            key = "input" if name == "responses" else "messages"
            body[key] = [{"role": "user", "content": "hi"}, *last[name]]
            assert text_of(name, post(port, name, body).json()), name


def test_the_choice_of_tools_is_the_callers():
    def said(name, choice, *options):
        with simulator(*options) as port:
            return text_of(name, post(port, name, body_of(
                name, tools=True, tool_choice=choice)).json())
    assert said("chat", "none") and said("responses", "none")
    assert said("messages", {"type": "none"})
    never = ("--tool-calls", "0")
    assert said("chat", "auto", *never)
    assert not said("chat", "required", *never)
    assert not said("chat", {"type": "function",
                             "function": {"name": "weather"}}, *never)
    assert not said("responses", {"type": "function", "name": "weather"},
                    *never)
    assert not said("messages", {"type": "tool", "name": "weather"}, *never)


def test_l45_l47_l48_tokens_that_were_cached():
    with simulator("--cached", "0.5", "--reasoning", "7",
                   "--tokens", "10") as port:
        text = "one two three four"
        for stream in (False, True):
            used = {}
            for name in FORMATS:
                reply = post(port, name, body_of(name, text, stream))
                used[name] = JOIN[name](reply.data())[3] if stream else \
                    reply.json()["usage"]
            chat, responses, messages = (used[name] for name in FORMATS)
            assert chat["prompt_tokens"] == 4, chat
            assert chat["prompt_tokens_details"]["cached_tokens"] == 2, chat
            assert chat["completion_tokens"] == 17, chat
            assert chat["completion_tokens_details"][
                "reasoning_tokens"] == 7, chat
            assert responses["input_tokens"] == 4, responses
            assert responses["input_tokens_details"]["cached_tokens"] == 2
            assert responses["output_tokens_details"]["reasoning_tokens"] == 7
            assert messages["input_tokens"] == 2, messages
            assert messages["cache_read_input_tokens"] == 2, messages


def test_limits_cut_answers_short():
    names = {"chat": "max_tokens", "responses": "max_output_tokens",
             "messages": "max_tokens"}
    with simulator() as port:
        for name in FORMATS:
            body = body_of(name)
            body[names[name]] = 3
            whole = post(port, name, body).json()
            assert len(text_of(name, whole).split()) == 3
            assert end_and_usage(name, whole)[0] in (
                "length", "incomplete", "max_tokens")
            if name == "responses":
                assert whole["incomplete_details"] == {
                    "reason": "max_output_tokens"}


def test_l4_embeddings_in_both_encodings():
    with simulator() as port:
        inputs = ["a", "b", "a"]
        floats = post(port, "embeddings", body_of(
            "embeddings", inputs, dimensions=8)).json()
        packed = post(port, "embeddings", body_of(
            "embeddings", inputs, dimensions=8,
            encoding_format="base64")).json()
        vectors = [row["embedding"] for row in floats["data"]]
        assert [row["index"] for row in floats["data"]] == [0, 1, 2]
        assert vectors[0] == vectors[2] != vectors[1]
        for row, vector in zip(packed["data"], vectors):
            read = struct.unpack("<8f", base64.b64decode(row["embedding"]))
            assert all(abs(a - b) < 1e-6 for a, b in zip(read, vector))
            assert abs(math.hypot(*read) - 1) < 1e-5
        assert floats["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        one = post(port, "embeddings", body_of("embeddings", [1, 2, 3]))
        assert len(one.json()["data"]) == 1
        assert one.json()["usage"]["prompt_tokens"] == 3
        for wrong in ({}, "", [], [{}], 7):
            assert post(port, "embeddings",
                        body_of("embeddings", wrong)).status == 400, wrong


def test_the_families_list_their_models():
    with simulator() as port:
        ours = get(port, "/v1/models").json()
        assert ours["object"] == "list" and ours["data"][0]["object"] == \
            "model"
        theirs = get(port, "/v1/models", VERSION).json()
        assert theirs["has_more"] is False
        assert theirs["data"][0]["type"] == "model"
        assert theirs["first_id"] == ours["data"][0]["id"]
        one = get(port, "/v1/models/" + theirs["last_id"], VERSION).json()
        assert one["display_name"] == theirs["last_id"]
        assert get(port, "/v1/models/none").status == 404
        count = post(port, "messages", body_of("messages", "one two"),
                     path="/v1/messages/count_tokens")
        assert count.json() == {"input_tokens": 2}


def test_requests_that_are_wrong():
    with simulator() as port:
        for name, wrong in [
                ("responses", {"model": "m"}), ("responses", {"input": "x"}),
                ("responses", body_of("responses", input=7)),
                ("messages", {"model": "m", "messages": [], "max_tokens": 1}),
                ("messages", {"model": "m", "messages": [
                    {"role": "user", "content": "x"}]}),
                ("chat", {**body_of("chat"), "tools": 7}),
                ("chat", b"{")]:
            reply = post(port, name, wrong)
            assert reply.status == 400, (name, wrong)
            error = reply.json()["error"]
            assert error["type"] == "invalid_request_error", error
            assert ("type" in reply.json()) == (name == "messages")
        reply = post(port, "messages", body_of("messages"),
                     {"anthropic-version": None})
        assert reply.status == 400
        assert "anthropic-version" in reply.json()["error"]["message"]
        reply = post(port, "chat", body_of("messages"), path="/v1/messages")
        assert reply.status == 400
        assert "anthropic-version" in reply.json()["error"]["message"]
        reply = post(port, "chat", body_of("chat"), {"x-sim-fault": "none"})
        assert reply.status == 400


def test_keys_are_where_the_family_has_them():
    wrong = subprocess.run(
        [sim_command.belay, "sim", "--api-key", "sk-secret"],
        capture_output=True, text=True, timeout=LIMIT_S)
    assert wrong.returncode == 2 and "--api-key-env" in wrong.stderr, wrong
    assert "secret" not in wrong.stderr, wrong
    with simulator("--api-key-env", "KEY", env={"KEY": "k"}) as port:
        bearer, x_key = {"Authorization": "Bearer k"}, {"x-api-key": "k"}
        for name in PATHS:
            assert post(port, name, body_of(name), bearer).status == 200
            for wrong in ({}, {"Authorization": "Bearer K"},
                          {"Authorization": "k"}, {"x-api-key": "K"}):
                reply = post(port, name, body_of(name), wrong)
                assert reply.status == 401, (name, wrong)
                if name == "messages":
                    assert reply.json()["error"]["type"] == \
                        "authentication_error"
            reply = post(port, name, body_of(name), x_key)
            assert reply.status == (200 if name == "messages" else 401), name
        assert get(port, "/v1/models", {**VERSION, **x_key}).status == 200
        assert get(port, "/v1/models", {**VERSION, **bearer}).status == 200
        assert get(port, "/v1/models", VERSION).status == 401


# ---- scripts ----

def test_scripts_decide_by_the_first_rule_that_matches():
    script = """
{"match": {"prompt": "weather"}, "times": 1, "status": 529, "error": {"message": "not \\"now\\"", "type": "t"}}
{"match": {"prompt": "weather"}, "tool_calls": [{"name": "w", "id": "c-1", "arguments": {"city": "Z\\u00fcrich"}}, {"name": "v"}]}
{"match": {"model": "big"}, "text": "two words", "end": "because", "usage": {"prompt_tokens": 5}, "headers": {"x-one": "1"}}
{"match": {"path": "/v1/responses", "stream": true}, "text": ["a\\ud83c", "\\udf0d"]}
{"match": {"attempt": 1}, "body": {"again": true}, "status": 201}
"""
    with scripted(script) as port:
        first = post(port, "chat", body_of("chat", "the weather"))
        assert first.status == 529
        assert first.json()["error"] == {
            "message": "not \"now\"", "type": "t", "param": None, "code": None}
        for name in ("chat", "messages"):
            for stream in (False, True):
                reply = post(port, name, body_of(name, "weather", stream))
                calls = JOIN[name](reply.data())[1] if stream else \
                    calls_of(name, reply.json())
                if (name, stream) == ("messages", False):
                    continue
                assert calls[0] == ("c-1", "w", {"city": "Z\u00fcrich"})
                assert calls[1][1:] == ("v", {})
        big = post(port, "chat", body_of("chat", model="big"))
        assert text_of("chat", big.json()) == "two words"
        assert big.json()["choices"][0]["finish_reason"] == "because"
        assert big.json()["usage"] == {"prompt_tokens": 5}
        assert big.headers["x-one"] == "1"
        stream = post(port, "responses", body_of("responses", stream=True))
        assert b'"delta":"a\\ud83c"' in stream.body
        assert b'"text":"a\\ud83c\\udf0d"' in stream.body
        post(port, "chat", body_of("chat", "twice"))
        twice = post(port, "chat", body_of("chat", "twice"))
        assert (twice.status, twice.json()) == (201, {"again": True})
    with scripted('[{"match": {"nth": 1}, "body": "\\u00e9 as it is",\n'
                  ' "headers": {"Content-Type": "text/odd"}}]') as port:
        odd = post(port, "chat", body_of("chat", stream=True))
        assert odd.body == "\u00e9 as it is".encode()
        assert odd.headers["content-type"] == "text/odd"


def test_scripts_have_faults_and_places():
    script = """
{"match": {"prompt": "early"}, "fault": "cut", "at": 0}
{"match": {"prompt": "late"}, "fault": ["cut-event", "crlf"], "at": 1}
{"match": {"prompt": "slow"}, "delay_ms": 50, "text": ""}
{"match": {"prompt": "refused"}, "delay_ms": 50, "status": 503}
{"match": {"prompt": "limit"}, "fault": "error-event", "at": 0.5, "error": {"type": "rate_limit_error", "message": "no"}}
"""
    with scripted(script, "--tokens", "20", "--log") as port:
        early = post(port, "chat", body_of("chat", "early", True))
        assert not early.whole and early.body == b""
        late = post(port, "chat", body_of("chat", "late", True))
        assert not late.whole and late.body.count(b"\r\n\r\n") > 5
        for text, status in (("slow", 200), ("refused", 503)):
            began = time.monotonic()
            assert post(port, "chat", body_of("chat", text)).status == status
            assert time.monotonic() - began >= 0.05
        assert text_of("chat", post(port, "chat", body_of(
            "chat", "slow")).json()) == ""
        limit = post(port, "messages", body_of("messages", "limit", True))
        assert limit.data()[-1]["error"] == {
            "type": "rate_limit_error", "message": "no"}
        assert 5 < len(limit.data()) < 20


def test_members_that_come_twice_count_once():
    script = (
        '{"headers": {"a": "1", "b": "2", "c": "3"}, "headers": {"d": "4"},'
        ' "tool_calls": [{"name": "p"}, {"name": "q"}],'
        ' "tool_calls": [{"name": "r"}],'
        ' "text": ["a", "b", "c"], "text": ["d"]}')
    with scripted(script) as port:
        reply = post(port, "chat", body_of("chat"))
        assert reply.headers["d"] == "4" and "a" not in reply.headers
        message = reply.json()["choices"][0]["message"]
        assert [call["function"]["name"]
                for call in message["tool_calls"]] == ["r"]
        assert message["content"] == "d"


def test_errors_in_scripts_name_the_line_and_the_cause():
    cases = [
        ('{"text": "a"}\n\n{"falt": "cut"}\n', "line 3: falt: not a member"),
        ('{"fault": "cutt"}', "line 1: cutt: no such fault"),
        ('{}\n{"text": 7}', "line 2: text: not a string"),
        ('[\n{},\n{"match": {"nth": 0}}\n]', "line 3: nth: not a whole"),
        ('{"match": {"modl": "m"}}', "line 1: modl: not a condition"),
        ('{"at": 1.5}', "line 1: at: out of its range"),
        ('{"status": 99}', "line 1: status: not a whole number"),
        ('{"tool_calls": [{"id": "x"}]}', "a call without a name"),
        ('{"tool_calls": [{"name": "x", "arguments": "{}"}]}',
         "arguments: not an object"),
        ('{"headers": {"a": "b\\nc"}}', "headers: a control character"),
        ('{"body": "x", "text": "y"}', "body: together with"),
        ('{\n"text"', "line 1: not JSON"), ('[1]', "rule: not an object"),
        ('{"text": "a"} x', "line 1: not JSON")]
    for script, cause in cases:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write(script)
            file.flush()
            done = subprocess.run(
                [sim_command.belay, "sim", "--script", file.name], text=True,
                capture_output=True, timeout=LIMIT_S, check=False,
                stdin=subprocess.DEVNULL)
        assert done.returncode == 2, (script, done)
        assert cause in done.stderr, (cause, done.stderr)
        assert os.path.basename(file.name) in done.stderr, done.stderr
    done = subprocess.run(
        [sim_command.belay, "sim", "--script", "/nonexistent/script"],
        text=True, capture_output=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 2 and "No such file" in done.stderr


if __name__ == "__main__":
    sys.exit(sim_command.run(globals()))
