#!/usr/bin/env python3
"""belay chat and an output that takes little: chat_output.py BELAY.

Nobody reads, or slowly, or the other end is closed: the server is held back,
and Ctrl-C still comes through.
"""
import fcntl
import os
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import chat_command
from chat_command import LIMIT, command, environment, expect, report, server


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
    output_that_takes_nothing()
    output_that_holds_the_server_back()
    output_that_is_slow()
    output_that_is_closed()
    return report()


if __name__ == "__main__":
    chat_command.belay = sys.argv[1]
    sys.exit(main())
