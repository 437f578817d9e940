"""`belay sim`, asked in its four formats by raw bytes; what the tests in
test/command/sim*.py share.

A program of tests ends with sys.exit(sim_command.run(globals())): it takes the
command, the program with our client, and names of tests or none. Every read
has a limit; nothing leaves loopback.
"""
import contextlib
import json
import os
import re
import socket
import sys
import tempfile
import time

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
