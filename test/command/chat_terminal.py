#!/usr/bin/env python3
"""belay chat on a terminal: chat_terminal.py BELAY.

Ctrl-C comes in the middle of an answer, at the prompt, and while what has come
is printed.
"""
import os
import pty
import select
import signal
import sys
import tempfile
import time

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import chat_command
from chat_command import (KEY, LIMIT, command, environment, expect, report,
                          server, wait_for)


class Terminal:
    def __init__(self, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(chat_command.belay, command(*arguments), environment())
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


def main():
    with tempfile.TemporaryDirectory() as folder:
        conversation(folder)
        endings()
        kept_though_not_printed(folder)
    return report()


if __name__ == "__main__":
    chat_command.belay = sys.argv[1]
    sys.exit(main())
