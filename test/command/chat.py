#!/usr/bin/env python3
"""belay chat: chat.py BELAY.

One question and a conversation, through pipes and on a terminal, against a
server in this program that streams, stalls, refuses and sends what terminals
obey. What the server was asked shows what a turn has left behind; Ctrl-C comes
in the middle of an answer.
"""
import fcntl
import http.server
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

LIMIT = 60  # seconds, for whatever is waited for; nothing takes so long
KEY = "canary-5d1e77-key"

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


def environment():
    return {**os.environ, "OPENAI_API_KEY": KEY, "TERM": "dumb"}


def command(*arguments):
    return [BELAY, "chat", "--model", "m", "--base-url", server.url,
            *arguments]


def run(*arguments, stdin="", **options):
    return subprocess.run(
        command(*arguments), input=stdin, capture_output=True, text=True,
        timeout=LIMIT, check=False, env=environment(), **options)


# ---- one question

def one_question():
    done = run("hello")
    expect((done.returncode, done.stdout) == (0, "You said: hello\n"), done)
    expect(done.stderr == "", done.stderr)
    expect("stream" not in server.asked[-1], server.asked[-1])
    expect(server.keys[-1] == f"Bearer {KEY}", server.keys[-1])
    done = run("--stream", "--system", "be", "hello")
    expect((done.returncode, done.stdout) == (0, "You said: hello\n"), done)
    expect(server.asked[-1]["stream"] is True, server.asked[-1])
    expect(server.said() == ["be", "hello"], server.said())
    done = run("--max-tokens", "7", "--temperature", "0.5", "hello")
    expect(server.asked[-1]["max_completion_tokens"] == 7, server.asked[-1])
    expect(server.asked[-1]["temperature"] == 0.5, server.asked[-1])
    done = run("--sim", "hello")  # two servers
    expect(done.returncode == 2 and "--sim" in done.stderr, done)


def piped():
    done = run(stdin="two\nlines\n")
    expect((done.returncode, done.stdout) == (0, "You said: two\nlines\n"),
           done)
    done = run("-", stdin="dash")
    expect((done.returncode, done.stdout) == (0, "You said: dash\n"), done)
    done = run(stdin="")
    expect(done.returncode == 2 and "empty" in done.stderr, done)
    # A prompt is all: what else comes in is not waited for.
    reader, writer = os.pipe()
    done = subprocess.run(command("alone"), stdin=reader, capture_output=True,
                          text=True, timeout=LIMIT, check=False,
                          env=environment())
    os.close(reader)
    os.close(writer)
    expect((done.returncode, done.stdout) == (0, "You said: alone\n"), done)


def exit_codes():
    for text, code in (("401", 4), ("400", 1), ("500", 1)):
        done = run(text)
        expect(done.returncode == code and done.stdout == "", done)
        expect("\x1b" not in done.stderr and "no [31m" in done.stderr, done)
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(command("hello"), stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=LIMIT,
                              check=False, env=environment())
        expect(done.returncode == 5 and "no space" in done.stderr, done)
        done = subprocess.run(command("--stream", "hello"), stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=LIMIT,
                              check=False, env=environment())
        expect(done.returncode == 5 and "no space" in done.stderr, done)
    for wrong in (["--no-such"], ["a", "b"], ["--format", "x", "a"],
                  ["--max-tokens", "0", "a"], ["--temperature", "hot", "a"],
                  ["--timeout", "0", "a"], ["--budget", "1", "a"],
                  ["-i", "a"], ["--api-key", "x", "a"]):
        done = run(*wrong)
        expect(done.returncode == 2 and "chat: " in done.stderr, done)
    done = run("--prices", "/nowhere", "a")
    expect(done.returncode == 5 and "/nowhere" in done.stderr, done)
    for options in ([], ["-i"]):
        folder = os.open("/", os.O_RDONLY)  # no file to read from
        done = subprocess.run(command(*options), stdin=folder, text=True,
                              capture_output=True, timeout=LIMIT,
                              check=False, env=environment())
        os.close(folder)
        expect(done.returncode == 5 and done.stderr.count("belay chat:") == 1,
               done)
    done = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh"] + command(),
                          text=True, capture_output=True, timeout=LIMIT,
                          check=False, env=environment())
    expect(done.returncode == 2 and "empty" in done.stderr, done)
    done = run("--timeout", "1ms", "--stream", "slow")
    expect(done.returncode == 1 and "timed out" in done.stderr, done)


def shown():
    """What terminals obey is shown, not sent."""
    for options in ([], ["--stream"]):
        done = run(*options, "evil")
        expect(done.stdout
               == "a^[[2Jbc\ufffd31m\ufffddef^G\n\ttab\n",
               repr(done.stdout))
        done = subprocess.run(command(*options, "--raw", "evil"),
                              capture_output=True, timeout=LIMIT, check=False,
                              env=environment())
        expect(done.stdout == (EVIL + "\n").encode(), done.stdout)


def budgets(folder):
    prices = os.path.join(folder, "prices.json")
    with open(prices, "w", encoding="utf-8") as file:
        json.dump({"m": {"input_cost_per_token": 1e-4,
                         "output_cost_per_token": 1e-3}}, file)
    options = ["--prices", prices, "--max-tokens", "5"]
    before = len(server.asked)
    done = run(*options, "--budget", "0.01", "hello")
    expect(done.returncode == 3 and "budget" in done.stderr, done)
    expect(len(server.asked) == before, "it was sent")
    done = run(*options, "--budget", "1", "-i", stdin="hello\n/cost\n")
    expect(done.returncode == 0, done)
    expect("1 requests, 10 tokens in" in done.stderr
           and "$0.004\n" in done.stderr, done.stderr)


def scripts(folder):
    done = run("-i", stdin="a\n\nb\n")
    expect((done.returncode, done.stdout)
           == (0, "You said: a\nYou said: b\n"), done)
    expect(server.said() == ["a", "You said: a", "b"], server.said())
    done = run("-i", stdin="a\n//b\n/reset\nc")  # no line break at the end
    expect(server.said() == ["c"], server.said())
    expect(done.stdout.splitlines()[1] == "You said: /b", done)
    done = run("-i", stdin="a\\\nb\\\n\nc\\d\\\\\ne\n")
    expect(server.said() == ["a\nb\n", "You said: a\nb\n", "c\\d\\\ne"],
           server.said())
    for stdin, code in (("a\n400\nb\n", 1), ("a\n/nope\nb\n", 2),
                        ("a\n/load /nowhere\nb\n", 5), ("a\n/quit\nb\n", 0)):
        done = run("-i", stdin=stdin)
        expect((done.returncode, done.stdout) == (code, "You said: a\n"), done)
    saved = os.path.join(folder, "saved.json")
    done = run("-i", stdin=f"a\n/save {saved}\n/reset\n/system s\n/load {saved}"
                           "\n/model n\nb\n")
    expect(done.returncode == 0, done)
    expect("saved: 2 messages\n" in done.stderr, done.stderr)
    expect("loaded: 2 messages\n" in done.stderr, done.stderr)
    expect("model: n\n" in done.stderr, done.stderr)
    expect(server.said() == ["a", "You said: a", "b"], server.said())
    expect(server.asked[-1]["model"] == "n", server.asked[-1])
    expect(os.stat(saved).st_mode & 0o777 == 0o600, "others can read it")


def sessions(folder):
    path = os.path.join(folder, "talk.json")
    for text in ("one", "two"):
        done = run("--session", path, "--system", "be", text)
        expect(done.returncode == 0, done)
    expect(server.said() == ["be", "one", "You said: one", "two"],
           server.said())
    before = open(path, encoding="utf-8").read()
    done = run("--session", path, "400")
    expect(done.returncode == 1, done)
    expect(open(path, encoding="utf-8").read() == before, "it has changed")
    # The file knows model and system text.
    done = subprocess.run(
        [BELAY, "chat", "--base-url", server.url, "--session", path, "three"],
        capture_output=True, text=True, timeout=LIMIT, check=False,
        env=environment())
    expect(done.returncode == 0 and server.said()[0] == "be", done)
    expect(len(server.said()) == 6, server.said())
    with open(path, "w", encoding="utf-8") as file:
        file.write("{}")
    done = run("--session", path, "four")
    expect(done.returncode == 5 and "not a session" in done.stderr, done)
    expect(open(path, encoding="utf-8").read() == "{}", "it was written over")
    done = subprocess.run(
        [BELAY, "chat", "--base-url", server.url, "--session",
         os.path.join(folder, "none"), "a"], capture_output=True, text=True,
        timeout=LIMIT, check=False, env=environment())
    expect(done.returncode == 2 and "no model" in done.stderr, done)
    # A stranger's file: what it names is shown, and no terminal obeys it.
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"belay_session": 1, "model": "m\x1b[2J",
                   "system": "s\x1b[2J\ntwo", "messages": []}, file)
    done = subprocess.run(
        [BELAY, "chat", "--base-url", server.url, "--session", path, "-i"],
        input="/model\n/system\n", capture_output=True, text=True,
        timeout=LIMIT, check=False, env=environment())
    expect(done.stderr == "model: m [2J\nsystem: s^[[2J\ntwo\n", done)


def records(folder):
    path = os.path.join(folder, "log.jsonl")
    done = run("-i", "--record", path, stdin="a\nb\n")
    expect(done.returncode == 0, done)
    log = subprocess.run([BELAY, "log", path], capture_output=True, text=True,
                         timeout=LIMIT, check=False, env=environment())
    expect(log.returncode == 0 and log.stdout.count(" m ") >= 2, log)
    lines = [json.loads(line) for line in open(path, encoding="utf-8")]
    expect(len({line["session"] for line in lines if "session" in line}) == 1,
           "two turns of one session")
    expect(KEY not in open(path, encoding="utf-8").read(), "the key")
    done = run("--record", "/nowhere/log.jsonl", "a")
    expect(done.returncode == 5 and "recorder" in done.stderr, done)


def signals():
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        for options, stdin in ((["--stream", "slow"], None),
                               ([], subprocess.PIPE),
                               (["-i"], subprocess.PIPE)):
            before = len(server.left)
            process = subprocess.Popen(
                command(*options), stdin=stdin, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True, env=environment(),
                bufsize=0)
            if stdin is None:
                expect(process.stdout.read(7) == "one two", "no answer")
            elif options:
                process.stdin.write("a\n")
                process.stdin.flush()
                expect(process.stdout.readline() == "You said: a\n", "none")
            else:
                wait_for(lambda: catches(process.pid, number), "no handler")
            process.send_signal(number)
            expect(process.wait(LIMIT) == code,
                   f"{options} {number}: {process.returncode}")
            if stdin is None:
                wait_for(lambda: len(server.left) > before, "still connected")
            process.stdout.close()
            process.stderr.close()
            if process.stdin:
                process.stdin.close()


def catches(pid, number):
    """Has the process a handler for the signal?"""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        caught = int(re.search(r"SigCgt:\s*(\w+)", file.read()).group(1), 16)
    return caught >> (number - 1) & 1 == 1


def wait_for(condition, text):
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            expect(False, text)
            return
        time.sleep(0.01)


# ---- on a terminal

class Terminal:
    def __init__(self, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(BELAY, command(*arguments), environment())
        self.text = ""
        self.at = 0

    def expect(self, part):
        """Reads until `part` has come, behind what was expected before."""
        end = time.monotonic() + LIMIT
        while part not in self.text[self.at:]:
            ready = select.select([self.fd], [], [], end - time.monotonic())[0]
            try:
                data = os.read(self.fd, 4096) if ready else b""
            except OSError:
                data = b""
            if not data:
                expect(False, f"no {part!r} in {self.text[self.at:]!r}")
                return
            self.text += data.decode()
        self.at = self.text.index(part, self.at) + len(part)

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """The exit code, once nothing more comes."""
        end = time.monotonic() + LIMIT
        while select.select([self.fd], [], [], end - time.monotonic())[0]:
            try:
                data = os.read(self.fd, 4096)
            except OSError:
                break
            if not data:
                break
            self.text += data.decode()
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def conversation(folder):
    terminal = Terminal("--system", "be")
    terminal.expect("model m; 0 messages; /help for help")
    terminal.expect("> ")
    terminal.type("hello\n")
    terminal.expect("You said: hello\r\n")
    terminal.expect("> ")
    # In the middle of an answer: the turn is undone, the next one works.
    terminal.type("slow\n")
    terminal.expect("one two")
    terminal.type("\x03")
    terminal.expect("(cut off; nothing of this turn is kept)")
    wait_for(lambda: server.left, "the server still has the connection")
    terminal.expect("> ")
    terminal.type("again\n")
    terminal.expect("You said: again\r\n")
    expect(server.said() == ["be", "hello", "You said: hello", "again"],
           server.said())
    terminal.expect("> ")
    terminal.type("/cost\n")
    terminal.expect("3 requests")
    terminal.expect("cost not known: no prices")
    terminal.expect("> ")
    terminal.type("400\n")  # an error is no end
    terminal.expect("belay chat: ")
    terminal.expect("> ")
    terminal.type("evil\n")
    terminal.expect("a^[[2Jbc")
    terminal.expect("> ")
    path = os.path.join(folder, "typed.json")
    terminal.type(f"/save {path}\n")
    terminal.expect("saved: 6 messages")
    terminal.type("/reset\n")
    terminal.expect("> ")
    terminal.type("/help\n")
    terminal.expect("/quit")
    terminal.type("/system\n")
    terminal.expect("system: be")
    terminal.type("/system -\n")
    terminal.expect("system: \r\n")
    terminal.type(f"/load {path}\n")
    terminal.expect("loaded: 6 messages")
    terminal.type("/model other\n")
    terminal.expect("model: other")
    terminal.type("more\n")
    terminal.expect("You said: more")
    expect(server.asked[-1]["model"] == "other", server.asked[-1])
    expect(len(server.said()) == 8, server.said())
    # Ctrl-C at the prompt twice, with something in between once.
    terminal.expect("> ")
    terminal.type("half a line\x03")
    terminal.expect("(Ctrl-C once more leaves; so does Ctrl-D)")
    terminal.expect("> ")
    terminal.type("still\n")
    terminal.expect("You said: still")
    terminal.expect("> ")
    terminal.type("\x03")
    terminal.expect("(Ctrl-C once more leaves; so does Ctrl-D)")
    terminal.expect("> ")
    terminal.type("\x03")
    expect(terminal.end() == 130, "another exit code")
    expect("\x1b" not in terminal.text, "an escape sequence")
    expect(KEY not in terminal.text, "the key")


def endings():
    terminal = Terminal()
    terminal.expect("> ")
    terminal.type("401\n")
    terminal.expect("belay chat: ")
    terminal.expect("> ")
    terminal.type("\x04")
    expect(terminal.end() == 0, "Ctrl-D")
    terminal = Terminal()
    terminal.expect("> ")
    terminal.type("/quit\n")
    expect(terminal.end() == 0, "/quit")
    terminal = Terminal()
    terminal.expect("> ")
    os.kill(terminal.pid, signal.SIGTERM)
    expect(terminal.end() == 143, "SIGTERM at the prompt")
    terminal = Terminal()
    terminal.expect("> ")
    terminal.type("slow\n")
    terminal.expect("two")
    os.kill(terminal.pid, signal.SIGTERM)
    expect(terminal.end() == 143, "SIGTERM in an answer")
    terminal = Terminal("one question")
    terminal.expect("You said: one question")
    expect(terminal.end() == 0, "a prompt, on a terminal")


def simulated():
    done = subprocess.run([BELAY, "chat", "--sim", "What is a scope?"],
                          capture_output=True, text=True, timeout=LIMIT,
                          check=False, env=environment())
    expect(done.returncode == 0 and len(done.stdout.split()) == 16, done)
    same = subprocess.run([BELAY, "chat", "--sim", "--stream", "-i"],
                          input="What is a scope?\n", capture_output=True,
                          text=True, timeout=LIMIT, check=False,
                          env=environment())
    expect(same.stdout == done.stdout, same)


def full(pipe):
    """Waits until nobody could write into it any more: what is in it stays the
    same, and it is much."""
    until = time.monotonic() + LIMIT
    before = -1
    while time.monotonic() < until:
        time.sleep(0.05)
        now = struct.unpack("i", fcntl.ioctl(
            pipe, termios.FIONREAD, struct.pack("i", 0)))[0]
        if now == before and now >= 32768:
            return True
        before = now
    return False


def output_that_takes_nothing():
    for arguments, code in ((["long"], 130), (["--stream", "long"], 130)):
        with subprocess.Popen(
                command(*arguments), stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env=environment()) as chat:
            expect(full(chat.stdout), "the pipe is not full")
            chat.send_signal(signal.SIGINT)
            try:
                chat.wait(LIMIT)
            except subprocess.TimeoutExpired:
                chat.kill()
            expect(chat.returncode == code, (arguments, chat.returncode))


def kept_though_not_printed(folder):
    """Ctrl-C while an answer is printed that has come: the turn is kept."""
    path = os.path.join(folder, "kept.json")
    log = os.path.join(folder, "kept.jsonl")
    terminal = Terminal("--session", path, "--record", log)
    terminal.expect("> ")
    terminal.type("half long\n")  # more than a terminal takes unread
    wait_for(lambda: os.path.exists(log) and '"row":"end"' in open(
        log, encoding="utf-8").read(), "no end of the answer")
    expect(not os.path.exists(path), "it was all printed")
    terminal.type("\x03")
    terminal.expect("> ")
    wait_for(lambda: os.path.exists(path), "the turn was not saved")
    terminal.type("again\n")
    terminal.expect("You said: again")
    expect(len(server.said()) == 3, len(server.said()))
    terminal.type("\x04")
    expect(terminal.end() == 0, "Ctrl-D")


def stands_still(number):
    """What the number is once it has stayed the same for a while."""
    until = time.monotonic() + LIMIT
    before, since = -1, 0
    while time.monotonic() < until and (number() != before or since < 10):
        since = since + 1 if number() == before else 0
        before = number()
        time.sleep(0.05)
    return before


def output_that_holds_the_server_back():
    """32 MiB that nobody reads: what the sockets do not hold is not sent."""
    server.sent = 0
    with subprocess.Popen(command("--stream", "longest"),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=environment()) as chat:
        expect(full(chat.stdout), "the pipe is not full")
        sent = stands_still(lambda: server.sent)
        expect(16 <= sent < 320, sent)
        text = chat.stdout.read()
        expect(chat.wait(LIMIT) == 0, chat.returncode)
        expect(text == b"0123456789abcdef" * 2097152 + b"\n", len(text))


def output_that_is_slow():
    for arguments in (["long"], ["--stream", "long"]):
        with subprocess.Popen(
                command(*arguments), stdout=subprocess.PIPE,
                env=environment()) as chat:
            expect(full(chat.stdout), "the pipe is not full")
            text = chat.stdout.read()
            expect(chat.wait(LIMIT) == 0, chat.returncode)
            expect(text == b"0123456789abcdef" * 65536 + b"\n", len(text))
    with tempfile.TemporaryFile() as file:
        file.write(b"before\n")
        file.flush()
        done = subprocess.run(command("hello"), stdout=file, check=False,
                              timeout=LIMIT, env=environment())
        file.seek(0)
        expect((done.returncode, file.read()) ==
               (0, b"before\nYou said: hello\n"), done)


def output_that_is_closed():
    for arguments in (["long"], ["--stream", "long"]):
        with subprocess.Popen(
                command(*arguments), stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env=environment()) as chat:
            expect(full(chat.stdout), "the pipe is not full")
            chat.stdout.close()
            expect(chat.wait(LIMIT) == 5, chat.returncode)
            expect(b"cannot be written" in chat.stderr.read(), "no reason")


def main():
    with tempfile.TemporaryDirectory() as folder:
        one_question()
        piped()
        exit_codes()
        shown()
        budgets(folder)
        scripts(folder)
        sessions(folder)
        records(folder)
        signals()
        conversation(folder)
        endings()
        simulated()
        output_that_takes_nothing()
        kept_though_not_printed(folder)
        output_that_holds_the_server_back()
        output_that_is_slow()
        output_that_is_closed()
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    BELAY = sys.argv[1]
    server = Server()
    sys.exit(main())
