#!/usr/bin/env python3
"""`belay sim` in its four formats, by raw bytes, so that no client of ours says
what is right; and its scripts.

usage: sim.py BELAY ASK [NAME...]

Runs the functions below whose names begin with test_, or those named. Every
read has a limit; nothing leaves loopback. sim_faults.py and sim_client.py
stand on this.
"""
import base64
import contextlib
import json
import math
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import runner

LIMIT_S = 60
QUIET_S = 0.3  # after which nothing more is expected of a server that stalls
FORMATS = ("chat", "responses", "messages")
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses",
         "messages": "/v1/messages", "embeddings": "/v1/embeddings"}
VERSION = {"anthropic-version": "2023-06-01"}
TOOL = {"type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"},
                       "unit": {"enum": ["C", "F"]},
                       "near": {"type": "array",
                                "items": {"type": "number"}}}}
LAST = {"chat": b"data: [DONE]\n\n",
        "responses": b"event: response.completed\n",
        "messages": b'data: {"type":"message_stop"}\n\n'}

belay = ask = None  # the command, and a program with our client


@contextlib.contextmanager
def simulator(*options, env=None):
    """Started; gives its port."""
    with runner.simulator(belay, *options, env=env) as url:
        yield int(re.search(r":(\d+)/v1$", url).group(1))


@contextlib.contextmanager
def scripted(script, *options):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl",
                                     encoding="utf-8") as file:
        file.write(script)
        file.flush()
        with simulator("--script", file.name, *options) as port:
            yield port


def body_of(name, text="what is it", stream=False, tools=False, **more):
    body = {"model": "m"}
    if name == "responses":
        body["input"] = text
    elif name == "embeddings":
        body["input"] = text
    else:
        body["messages"] = [{"role": "user", "content": text}]
    if name == "messages":
        body["max_tokens"] = 99
    if stream:
        body["stream"] = True
        if name == "chat":
            body["stream_options"] = {"include_usage": True}
    if tools:
        flat = {"type": "function", "name": "weather", "parameters": TOOL}
        body["tools"] = [{
            "chat": {"type": "function",
                     "function": {"name": "weather", "parameters": TOOL}},
            "responses": flat,
            "messages": {"name": "weather", "input_schema": TOOL}}[name]]
    return {**body, **more}


class Reply:
    """What a server has sent to one request, byte by byte."""

    def __init__(self, raw, end):
        self.raw, self.end = raw, end  # end: "closed", "reset", "silent"
        head, _, rest = raw.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n") if head else []
        self.status = int(lines[0].split()[1]) if lines else None
        self.headers = {}
        for line in lines[1:]:
            key, _, value = line.partition(": ")
            self.headers[key.lower()] = value
        self.whole = False
        self.chunks = []
        if self.headers.get("transfer-encoding") == "chunked":
            self.body = self.unchunk(rest)
        else:
            self.body = rest
            self.whole = len(rest) == int(
                self.headers.get("content-length", -1))

    def unchunk(self, rest):
        while True:
            size, found, after = rest.partition(b"\r\n")
            if not found:
                break
            size = int(size, 16)
            if size == 0:
                self.whole = after == b"\r\n"
                break
            self.chunks.append(after[:size])
            rest = after[size + 2:]
        return b"".join(self.chunks)

    def json(self):
        return json.loads(self.body)

    def events(self):
        """(name or None, data) of a stream that is as it should be."""
        found = []
        for block in self.body.decode().split("\n\n")[:-1]:
            name = None
            for line in block.split("\n"):
                key, _, value = line.partition(": ")
                if key == "event":
                    name = value
                else:
                    assert key == "data", line
                    found.append((name, value))
        return found

    def data(self):
        return [json.loads(data) for _, data in self.events()
                if data != "[DONE]"]


def post(port, name, body, headers=None, close=True, limit=LIMIT_S,
         path=None):
    fields = {"Host": "x", **(VERSION if name == "messages" else {}),
              **(headers or {})}
    if close:
        fields["Connection"] = "close"
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path or PATHS[name]} HTTP/1.1\r\n" + "".join(
        f"{key}: {value}\r\n" for key, value in fields.items()
        if value is not None)
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as sock:
        sock.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode()
                     + data)
        raw, end, until = b"", "closed", time.monotonic() + limit
        try:
            while True:
                sock.settimeout(max(until - time.monotonic(), 1e-3))
                got = sock.recv(1 << 16)
                if not got:
                    break
                raw += got
        except ConnectionResetError:
            end = "reset"
        except socket.timeout:
            end = "silent"
    return Reply(raw, end)


def get(port, path, headers=None):
    fields = "".join(f"{k}: {v}\r\n" for k, v in (headers or {}).items())
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{fields}"
                     "Connection: close\r\n\r\n".encode())
        sock.settimeout(LIMIT_S)
        raw = b""
        while got := sock.recv(1 << 16):
            raw += got
    return Reply(raw, "closed")


def fault(port, name, faults, stream=True, **more):
    stalls = {"stall", "stall-head", "drip"} & set(faults.split(","))
    return post(port, name, body_of(name, stream=stream, **more),
                {"x-sim-fault": faults}, limit=QUIET_S if stalls else LIMIT_S)


def text_of(name, whole):
    if name == "chat":
        return whole["choices"][0]["message"]["content"]
    if name == "responses":
        return "".join(part["text"] for item in whole["output"]
                       if item["type"] == "message"
                       for part in item["content"])
    return "".join(block["text"] for block in whole["content"]
                   if block["type"] == "text")


def calls_of(name, whole):
    if name == "chat":
        return [(call["id"], call["function"]["name"],
                 json.loads(call["function"]["arguments"]))
                for call in whole["choices"][0]["message"]["tool_calls"]]
    if name == "responses":
        return [(item["call_id"], item["name"], json.loads(item["arguments"]))
                for item in whole["output"] if item["type"] == "function_call"]
    return [(block["id"], block["name"], block["input"])
            for block in whole["content"] if block["type"] == "tool_use"]


def join_chat(data):
    text, calls, end, usage = "", {}, None, None
    for chunk in data:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            delta = choice["delta"]
            text += delta.get("content") or ""
            end = choice["finish_reason"] or end
            for call in delta.get("tool_calls", ()):
                entry = calls.setdefault(call["index"], ["", "", ""])
                entry[0] = call.get("id", entry[0])
                entry[1] = call["function"].get("name", entry[1])
                entry[2] += call["function"]["arguments"]
    return text, [(i, n, json.loads(a)) for i, n, a in calls.values()], end, \
        usage


def join_responses(data):
    text, arguments = "", {}
    assert [event["sequence_number"] for event in data] == \
        list(range(len(data)))
    for event in data:
        if event["type"] == "response.output_text.delta":
            text += event["delta"]
        elif event["type"] == "response.function_call_arguments.delta":
            place = event["output_index"]
            arguments[place] = arguments.get(place, "") + event["delta"]
    whole = data[-1]["response"]
    for place, joined in arguments.items():
        assert whole["output"][place]["arguments"] == joined
    assert text == text_of("responses", whole)
    return text, calls_of("responses", whole), whole["status"], whole["usage"]


def join_messages(data):
    text, blocks, end, usage = "", {}, None, None
    for event in data:
        if event["type"] == "message_start":
            usage = dict(event["message"]["usage"])
        elif event["type"] == "content_block_start":
            blocks[event["index"]] = [event["content_block"], ""]
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            text += delta.get("text", "")
            blocks[event["index"]][1] += delta.get("partial_json", "")
        elif event["type"] == "message_delta":
            end = event["delta"]["stop_reason"]
            usage.update(event["usage"])
    calls = [(b["id"], b["name"], json.loads(a)) for b, a in blocks.values()
             if b["type"] == "tool_use"]
    return text, calls, end, usage


JOIN = {"chat": join_chat, "responses": join_responses,
        "messages": join_messages}


def end_and_usage(name, whole):
    if name == "chat":
        return whole["choices"][0]["finish_reason"], whole["usage"]
    if name == "responses":
        return whole["status"], whole["usage"]
    return whole["stop_reason"], whole["usage"]


def run(tests):
    global belay, ask
    belay, ask = (os.path.abspath(name) for name in sys.argv[1:3])
    return runner.run(tests, sys.argv[3:], lambda _, test: test())


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
    wrong = subprocess.run([belay, "sim", "--api-key", "sk-secret"],
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
                [belay, "sim", "--script", file.name], text=True,
                capture_output=True, timeout=LIMIT_S, check=False,
                stdin=subprocess.DEVNULL)
        assert done.returncode == 2, (script, done)
        assert cause in done.stderr, (cause, done.stderr)
        assert os.path.basename(file.name) in done.stderr, done.stderr
    done = subprocess.run(
        [belay, "sim", "--script", "/nonexistent/script"], text=True,
        capture_output=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 2 and "No such file" in done.stderr


if __name__ == "__main__":
    sys.exit(run(globals()))
