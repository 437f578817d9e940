"""`belay chat` and a server that streams, stalls, refuses and sends what
terminals obey; what the tests in test/command/chat*.py share.

What the server was asked shows what a turn has left behind. A program of tests
sets `belay`, says what is wrong by expect(), and ends with sys.exit(report()).
"""
import http.server
import json
import os
import select
import subprocess
import sys
import threading
import time

LIMIT = 60  # seconds, for whatever is waited for; nothing takes so long
KEY = "canary-5d1e77-key"

belay = None  # the command
faults = []


def expect(condition, text):
    if not condition:
        line = sys._getframe(1).f_lineno
        faults.append(f"line {line}: {text}")


# ---- the server

EVIL = "a\x1b[2Jb\rc\x9b31m\u202edef\x07\n\ttab"


def words_for(body):
    """What is answered, by the last thing that was said."""
    text = body["messages"][-1]["content"]
    if text == "evil":
        return [EVIL[:4], EVIL[4:]]
    if text == "long":
        return ["0123456789abcdef" * 4096] * 16
    if text == "half long":
        return ["0123456789abcdef" * 4096] * 8
    if text == "longest":
        return ["0123456789abcdef" * 4096] * 512
    if text.startswith("slow"):
        return ["one ", "two ", None]  # and then nothing more
    return ["You ", "said: ", text]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.keys.append(self.headers.get("Authorization"))
        self.close_connection = True
        try:
            self.reply(body)
        except OSError:
            pass  # the client is gone, as some of them are to be

    def reply(self, body):
        text = body["messages"][-1]["content"]
        if text in ("401", "400", "500"):
            self.answer(int(text), {"error": {"message": "no\x1b[31m"}})
        elif body.get("stream"):
            self.stream(body)
        else:
            message = {"role": "assistant",
                       "content": "".join(filter(None, words_for(body)))}
            self.answer(200, {
                "model": "m", "choices": [
                    {"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 3}})

    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def event(self, value):
        data = value if isinstance(value, str) else json.dumps(value)
        self.wfile.write(f"data: {data}\n\n".encode())
        self.wfile.flush()

    def stream(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for word in words_for(body):
            if word is None:
                self.hang()
                return
            self.event({"choices": [{"index": 0, "delta": {"content": word}}]})
            self.server.sent += 1
        self.event({"choices": [
            {"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.event({"choices": [], "usage": {
            "prompt_tokens": 10, "completion_tokens": 3}})
        self.event("[DONE]")

    def hang(self):
        """Until the client is gone."""
        ready = select.select([self.connection], [], [], LIMIT)[0]
        if ready and self.connection.recv(1) == b"":
            self.server.left.append(True)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.keys = []
        self.left = []
        self.sent = 0  # bits of answers
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def said(self):
        """What the last request was made of."""
        return [m["content"] for m in self.asked[-1]["messages"]]


server = Server()


def environment():
    return {**os.environ, "OPENAI_API_KEY": KEY, "TERM": "dumb"}


def command(*arguments):
    return [belay, "chat", "--model", "m", "--base-url", server.url,
            *arguments]


def run(*arguments, stdin="", **options):
    return subprocess.run(
        command(*arguments), input=stdin, capture_output=True, text=True,
        timeout=LIMIT, check=False, env=environment(), **options)


def wait_for(condition, text):
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            expect(False, text)
            return
        time.sleep(0.01)


def report():
    """Prints what was wrong; gives the exit code."""
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0
