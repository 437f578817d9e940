#!/usr/bin/env python3
"""`belay batch` and the LLM client against aimock, a mock of model servers by
other people.

usage: aimock.py BELAY ASK FOLDER [NAME...]

Installs the package that package.json names into FOLDER, once, runs none of
its install scripts, and starts it on a free port of this machine. Exits with
77, which means skipped, where there is no Node.js or the package cannot be
had.
"""
import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import runner

HERE = os.path.dirname(os.path.abspath(__file__))
CHECK_BATCH = os.path.join(HERE, "../../tools/check_batch")
LIMIT_S = 120
NODE_MIN = (20, 15)
SKIPPED = 77
ANSWER = "a fixed answer: \u00e9, \U0001f30d and \u2028."
FIXTURES = {"fixtures": [
    {"match": {"userMessage": "broken"},
     "response": {"error": {"message": "not this one",
                            "type": "invalid_request_error"},
                  "status": 400}},
    {"match": {"userMessage": "say"}, "response": {"content": ANSWER}},
    {"match": {"userMessage": "weather"},
     "response": {"toolCalls": [{"name": "weather",
                                 "arguments": "{\"city\":\"Bern\"}"}]}},
    {"match": {"userMessage": "cut"}, "response": {"content": ANSWER * 4},
     "latency": 40, "truncateAfterChunks": 8},
    {"match": {"userMessage": "overloaded", "sequenceIndex": 0},
     "response": {"error": {"message": "busy", "type": "overloaded_error"},
                  "status": 529}},
    {"match": {"userMessage": "overloaded"},
     "response": {"content": ANSWER}},
    {"match": {"userMessage": "two tools"},
     "response": {"toolCalls": [
         {"name": "weather", "arguments": "{\"city\":\"Z\u00fcrich\"}"},
         {"name": "time", "arguments": "{}"}]}},
    {"match": {"userMessage": "both"},
     "response": {"content": "let me see", "toolCalls": [
         {"name": "weather", "arguments": "{}"}]}},
    {"match": {"userMessage": "counted"},
     "response": {"content": ANSWER, "usage": {
         "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
         "input_tokens": 11, "output_tokens": 7}}},
    {"match": {"userMessage": "long"},
     "response": {"content": ANSWER, "finishReason": "length"}},
    {"match": {"userMessage": "limited", "sequenceIndex": 0},
     "response": {"error": {"message": "slow down",
                            "type": "rate_limit_error"},
                  "status": 429, "retryAfter": 1}},
    {"match": {"userMessage": "limited"},
     "response": {"content": ANSWER}},
    {"match": {"userMessage": "turns", "hasToolResult": True},
     "response": {"content": "it is sunny"}},
    {"match": {"userMessage": "turns", "hasToolResult": False},
     "response": {"toolCalls": [{"name": "weather", "arguments": "{}"}]}},
    {"match": {"userMessage": "slow"}, "response": {"content": ANSWER},
     "streamingProfile": {"ttft": 50, "tps": 200, "jitter": 0.2}},
]}
FORMATS = ("chat", "responses", "messages")


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def find_node():
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        skip("there is no Node.js here")
    version = subprocess.run([node, "--version"], capture_output=True,
                             text=True, timeout=LIMIT_S, check=True).stdout
    if tuple(int(n) for n in re.findall(r"\d+", version)[:2]) < NODE_MIN:
        skip(f"Node.js {version.strip()} is too old")
    return node, npm


def install(npm, folder):
    """The packages in FOLDER/node_modules, there already if nothing changed.
    Two tests may want them at once."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, ".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install_alone(npm, folder)


def install_alone(npm, folder):
    mark = os.path.join(folder, "node_modules", ".installed")
    with open(os.path.join(HERE, "package-lock.json"),
              encoding="utf-8") as file:
        lock = file.read()
    with contextlib.suppress(FileNotFoundError):
        with open(mark, encoding="utf-8") as file:
            if file.read() == lock:
                return
    for name in ("package.json", "package-lock.json"):
        shutil.copy(os.path.join(HERE, name), folder)
    try:
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        skip("the package could not be had in time")
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["npm failed"]
        skip(f"the package cannot be had: {lines[0]}")
    with open(mark, "w", encoding="utf-8") as file:
        file.write(lock)


@contextlib.contextmanager
def aimock(node, folder, place, *options, keys=None):
    """The server, started; gives its URL."""
    fixtures = os.path.join(place, "fixtures")
    os.makedirs(fixtures, exist_ok=True)
    with open(os.path.join(fixtures, "all.json"), "w",
              encoding="utf-8") as file:
        json.dump(FIXTURES, file)
    server = subprocess.Popen(
        [node, os.path.join(folder, "node_modules/.bin/llmock"), "-p", "0",
         "-f", fixtures, "--log-level", "info", "--journal-max", "10",
         *options],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
        env=dict(os.environ, **({"AIMOCK_API_KEYS": keys} if keys else {})))
    drain = None
    try:
        for line in server.stdout:
            found = re.search(r"listening on (http://127\.0\.0\.1:\d+)", line)
            if found:
                break
        else:
            raise AssertionError("aimock does not start")
        # What it logs from here on must not fill the pipe.
        drain = subprocess.Popen(["cat"], stdin=server.stdout,
                                 stdout=subprocess.DEVNULL)
        yield found.group(1) + "/v1"
    finally:
        server.terminate()
        server.wait(LIMIT_S)
        server.stdout.close()
        if drain is not None:
            drain.wait(LIMIT_S)


def chat(custom_id, text):
    return {"custom_id": custom_id, "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m",
                     "messages": [{"role": "user", "content": text}]}}


class Batch:
    """One run of the command and what it has left."""

    def __init__(self, belay, place, url, requests, *options):
        self.place = place
        with open(self.path("in.jsonl"), "w", encoding="utf-8") as file:
            for request in requests:
                file.write(json.dumps(request) + "\n")
        done = subprocess.run(
            [belay, "batch", self.path("in.jsonl"), "-o",
             self.path("out.jsonl"), "--base-url", url, *options],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=LIMIT_S, check=False)
        self.code, self.err = done.returncode, done.stderr
        self.good = self.read("out.jsonl")
        self.bad = self.read("out.errors.jsonl")

    def path(self, name):
        return os.path.join(self.place, name)

    def read(self, name):
        with contextlib.suppress(FileNotFoundError):
            with open(self.path(name), encoding="utf-8", newline="\n") as file:
                lines = [json.loads(line) for line in file]
                return {line["custom_id"]: line for line in lines}
        return {}

    def check(self, code):
        assert self.code == code, f"exit code {self.code}: {self.err}"
        done = subprocess.run(
            [sys.executable, CHECK_BATCH, self.path("in.jsonl"),
             self.path("out.jsonl"), self.path("out.errors.jsonl")],
            capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr


def content(line):
    return line["response"]["body"]["choices"][0]["message"]["content"]


def test_b1_b4_b8_every_request_has_its_reply(belay, start, place):
    requests = [chat(f"r-{n}", f"say {n}") for n in range(500)]
    requests.append(chat("bad", "broken"))
    with start() as url:
        batch = Batch(belay, place, url, requests, "-c", "32")
    batch.check(1)
    assert len(batch.good) == 500
    for line in batch.good.values():
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        assert content(line) == ANSWER, content(line)
    assert list(batch.bad) == ["bad"]
    response = batch.bad["bad"]["response"]
    assert response["status_code"] == 400, response
    assert response["body"]["error"]["message"] == "not this one"
    with open(batch.path("out.jsonl.stats.json"), encoding="utf-8") as file:
        stats = json.load(file)
    used = [line["response"]["body"]["usage"] for line in batch.good.values()]
    assert stats["tokens_in"] == sum(u["prompt_tokens"] for u in used)
    assert stats["tokens_out"] == sum(u["completion_tokens"] for u in used)


def test_b8_b20_twenty_thousand_requests(belay, start, place):
    requests = [chat(f"r-{n}", f"say {n}") for n in range(20000)]
    with start() as url:
        batch = Batch(belay, place, url, requests, "-c", "256")
    batch.check(0)
    assert len(batch.good) == 20000


def test_b1_every_endpoint_in_one_batch(belay, start, place):
    requests = [
        chat("chat", "say it"),
        {"custom_id": "responses", "method": "POST", "url": "/v1/responses",
         "body": {"model": "m", "input": "say it"}},
        {"custom_id": "embeddings", "method": "POST", "url": "/v1/embeddings",
         "body": {"model": "m", "input": "say it"}},
        {"custom_id": "messages", "method": "POST", "url": "/v1/messages",
         "body": {"model": "m", "max_tokens": 9,
                  "messages": [{"role": "user", "content": "say it"}]}},
        {"custom_id": "params",
         "params": {"model": "m", "max_tokens": 9,
                    "messages": [{"role": "user", "content": "say it"}]}},
    ]
    with start() as url:
        batch = Batch(belay, place, url, requests)
    batch.check(0)
    bodies = {name: line["response"]["body"]
              for name, line in batch.good.items()}
    assert bodies["responses"]["object"] == "response"
    assert bodies["embeddings"]["data"][0]["embedding"]
    assert bodies["messages"]["content"][0]["text"] == ANSWER
    assert bodies["params"]["content"][0]["text"] == ANSWER


def test_b22_retries_bring_every_line_through(belay, start, place):
    # Its refusals tell of a limit of 60 requests a minute, which is obeyed.
    requests = [chat(f"r-{n}", f"say {n}") for n in range(20)]
    with start("--chaos-ratelimit", "0.3") as url:
        batch = Batch(belay, place, url, requests, "-c", "64",
                      "--max-retries", "30")
    batch.check(0)
    assert len(batch.good) == 20
    with open(batch.path("out.jsonl.stats.json"), encoding="utf-8") as file:
        assert json.load(file)["retries"] > 0


def test_b5_b8_broken_replies_and_connections(belay, start, place):
    requests = [chat(f"r-{n}", f"say {n}") for n in range(200)]
    with start("--chaos-malformed", "0.2", "--chaos-disconnect", "0.2") as url:
        batch = Batch(belay, place, url, requests, "-c", "64",
                      "--max-retries", "2")
    batch.check(1 if batch.bad else 0)
    for line in batch.good.values():
        assert content(line) == ANSWER
    for line in batch.bad.values():
        assert line["error"]["code"] in ("connection_error",
                                         "invalid_response"), line


# ---- the client, by a small program ----

class Answer:
    """What the program has printed: the last value of each name."""

    def __init__(self, ask, url, *words):
        done = subprocess.run([ask, url, *words], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=LIMIT_S,
                              check=False)
        self.err = done.stderr
        self.values = {}
        for line in done.stdout.split("\n"):
            name, _, value = line.partition(" ")
            self.values.setdefault(name, []).append(value)

    def check(self, **expected):
        for name, value in expected.items():
            got = self.values.get(name, [None])[0]
            assert got == value, f"{name}: {got!r}: {self.err}"


def test_l1_the_same_answer_in_every_format(ask, start, _):
    with start() as url:
        for name in FORMATS:
            for mode in ("plain", "stream"):
                answer = Answer(ask, url, name, mode, "say it")
                answer.check(code="OK", text=ANSWER, end="1")


def test_l27_streams_come_in_many_pieces(ask, start, _):
    with start("-c", "1") as url:
        for name in FORMATS:
            answer = Answer(ask, url, name, "stream", "say it")
            answer.check(code="OK", text=ANSWER)
            assert int(answer.values["events"][0]) > 10, answer.values


def test_l7_calls_of_tools(ask, start, _):
    with start() as url:
        for name in FORMATS:
            for mode in ("plain", "stream"):
                answer = Answer(ask, url, name, mode, "weather in Bern")
                answer.check(code="OK", tool="weather", end="3")
                arguments = json.loads(answer.values["arguments"][0])
                assert arguments == {"city": "Bern"}, arguments


def test_l24_a_stream_that_is_cut(ask, start, _):
    with start() as url:
        for name in FORMATS:
            answer = Answer(ask, url, name, "stream", "cut it")
            code = answer.values["code"][0]
            assert code in ("ETRUNCATED", "ERESET"), (name, code, answer.err)
            text = answer.values["text"][0]
            assert text and (ANSWER * 4).startswith(text), text


def test_l30_an_overloaded_server(ask, start, _):
    for name in FORMATS:
        with start() as url:
            answer = Answer(ask, url, name, "stream", "overloaded")
            answer.check(code="OK", text=ANSWER)


def test_l5_errors_of_requests(ask, start, _):
    with start() as url:
        for name in FORMATS:
            for mode in ("plain", "stream"):
                answer = Answer(ask, url, name, mode, "broken")
                answer.check(code="EHTTP")
                assert "not this one" in answer.err, answer.err


def test_l4_vectors(ask, start, _):
    with start() as url:
        answer = Answer(ask, url, "embeddings", "plain", "say it")
        answer.check(code="OK")
        vectors = answer.values["vector"]
        assert len(vectors) == 2 and int(vectors[0]) > 0, vectors


def journal(url):
    with urllib.request.urlopen(
            url.removesuffix("/v1") + "/__aimock/journal",
            timeout=LIMIT_S) as reply:
        return json.load(reply)


def test_l7_several_calls_and_a_text_before_one(ask, start, _):
    with start() as url:
        for name in FORMATS:
            for mode in ("plain", "stream"):
                answer = Answer(ask, url, name, mode, "two tools")
                answer.check(code="OK", end="3")
                assert answer.values["tool"] == ["weather", "time"], name
                assert [json.loads(a) for a in answer.values["arguments"]] \
                    == [{"city": "Z\u00fcrich"}, {}], answer.values
                answer = Answer(ask, url, name, mode, "both")
                answer.check(code="OK", text="let me see", tool="weather")


def test_l45_the_servers_counts(ask, start, _):
    with start() as url:
        for name in FORMATS:
            for mode in ("plain", "stream"):
                answer = Answer(ask, url, name, mode, "counted")
                answer.check(code="OK", usage="1 11 7")


def test_l1_an_end_for_the_length(ask, start, _):
    with start() as url:
        for name in FORMATS:
            for mode in ("plain", "stream"):
                answer = Answer(ask, url, name, mode, "long")
                # Of Responses it does not say what is incomplete.
                answer.check(code="OK", text=ANSWER,
                             end="0" if name == "responses" else "2")


def test_l33_retry_after(ask, start, _):
    for name in FORMATS:
        with start() as url:
            began = time.monotonic()
            answer = Answer(ask, url, name, "plain", "limited")
            answer.check(code="OK", text=ANSWER)
            assert time.monotonic() - began >= 1, name


def test_l41_an_answer_that_takes_its_time(ask, start, _):
    with start() as url:
        for name in FORMATS:
            answer = Answer(ask, url, name, "stream", "slow")
            answer.check(code="OK", text=ANSWER)


def test_s1_keys_and_versions_as_the_server_saw_them(ask, start, _):
    with start(keys="a-key") as url:
        for name in FORMATS:
            answer = Answer(ask, url, name, "plain", "say it")
            answer.check(code="OK", text=ANSWER)
    with start(keys="another") as url:
        for name in FORMATS:
            answer = Answer(ask, url, name, "plain", "say it")
            answer.check(code="EAUTH")
            assert "a-key" not in answer.err, answer.err


def test_l8_what_the_server_has_read(ask, start, _):
    paths = {"chat": "/v1/chat/completions", "responses": "/v1/responses",
             "messages": "/v1/messages"}
    with start() as url:
        for name in FORMATS:
            Answer(ask, url, name, "stream", "say it")
        entries = {entry["path"]: entry for entry in journal(url)}
    for name, path in paths.items():
        body = entries[path]["body"]
        assert body["model"] == "m" and body["stream"] is True, body
        assert len(body["tools"]) == 1, body
    assert entries[paths["messages"]]["headers"]["anthropic-version"] == \
        "2023-06-01"


def test_l9_l30_chaos(ask, start, _):
    for option, codes in (("--chaos-malformed", ("EREPLY", "EPROTO")),
                          ("--chaos-drop", ("EHTTP",)),
                          ("--chaos-disconnect", ("ERESET", "ETRUNCATED"))):
        with start(option, "1") as url:
            for name in FORMATS:
                for mode in ("plain", "stream"):
                    answer = Answer(ask, url, name, mode, "say it")
                    assert answer.values["code"][0] in codes, (
                        option, name, mode, answer.values, answer.err)


def test_b1_results_of_tools_in_every_format(belay, start, place):
    first = {"role": "user", "content": "turns"}
    call = {"id": "c1", "type": "function",
            "function": {"name": "weather", "arguments": "{}"}}
    bodies = {
        "/v1/chat/completions": {"messages": [
            first, {"role": "assistant", "content": None,
                    "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "sun"}]},
        "/v1/responses": {"input": [
            first, {"type": "function_call", "call_id": "c1",
                    "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1",
             "output": "sun"}]},
        "/v1/messages": {"max_tokens": 9, "messages": [
            first, {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c1", "name": "weather",
                 "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1",
                 "content": "sun"}]}]}}
    with start() as url:
        batch = Batch(belay, place, url, [
            {"custom_id": path, "method": "POST", "url": path,
             "body": {"model": "m", **body}} for path, body in bodies.items()])
    batch.check(0)
    for path, line in batch.good.items():
        assert "it is sunny" in json.dumps(line["response"]["body"]), path


def main():
    belay, ask, folder = (os.path.abspath(name) for name in sys.argv[1:4])
    node, npm = find_node()
    install(npm, folder)

    def call(name, test):
        program = belay if name.startswith("test_b") else ask
        with tempfile.TemporaryDirectory(prefix="belay-") as place:
            test(program, lambda *options, at=place, **more: aimock(
                node, folder, at, *options, **more), place)

    return runner.run(globals(), sys.argv[4:], call)


if __name__ == "__main__":
    sys.exit(main())
