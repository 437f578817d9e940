#!/usr/bin/env python3
"""`belay batch` and what must not come out: keys, and what terminals obey.

usage: batch_secrets.py BELAY [NAME...]
"""
import contextlib
import os
import pathlib
import pty
import re
import socket
import subprocess
import sys
import threading

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import batch_command
from batch_command import (LIMIT_S, OK, Run, Server, batch, expect,
                           expect_code, expect_in, request, run)

CANARY = "canary-93ad-key"


def everything(where, done):
    texts = {"standard output": done.out, "standard error": done.err}
    for name in where.names():
        if name != "in":
            texts[name] = where.read(name)
    return texts


def test_x1_a_key_comes_from_the_environment_only(where):
    where.give(1)
    for option in ("--api-key", "--api-k", "--key"):
        done = run("batch", where / "in", "-o", where / "out.jsonl", option,
                   CANARY)
        expect_code(done, 2)
        assert CANARY not in done.err, done.err


def test_x1_a_key_comes_from_a_file_that_nobody_else_reads(where):
    where.give(1)
    key = pathlib.Path(where / "key")
    key.write_text(CANARY + "\n")
    with Server(lambda body: OK) as server:
        for mode, code in ((0o644, 2), (0o620, 2), (0o600, 0)):
            os.chmod(where / "key", mode)
            done = batch(where, server.url, "--overwrite", "--api-key-file",
                         where / "key")
            expect_code(done, code)
            assert CANARY not in done.err, done.err
        expect(server.headers[0]["Authorization"], "Bearer " + CANARY)
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" 3<&0 </dev/null', "sh",
             batch_command.belay, "batch", str(where / "in"), "-o",
             str(where / "out.jsonl"), "--overwrite", "--base-url", server.url,
             "--api-key-file", "/dev/fd/3"],
            input=CANARY.encode(), capture_output=True, timeout=60)
        expect(done.returncode, 0)
        expect(server.headers[-1]["Authorization"], "Bearer " + CANARY)
        for text in ("", "\n"):
            key.write_text(text)
            done = batch(where, server.url, "--overwrite", "--api-key-file",
                         where / "key")
            expect_code(done, 2)
        expect(len(server.headers), 2)


def test_x3_insecure_says_so(where):
    where.give(1)
    with Server(lambda body: OK) as server:
        done = batch(where, server.url, "--insecure", "--progress", "none")
        expect_code(done, 0)
        expect(done.err.count("warning: --insecure"), 1)
        done = batch(where, server.url, "--overwrite", "--progress", "none")
        expect_code(done, 0)
        assert "insecure" not in done.err, done.err


def test_x2_the_key_is_in_no_output(where):
    """With replies of all kinds, a refusal and a broken connection."""
    def answer(body):
        kind = body["n"] % 5
        return (OK, (400, '{"error":{"message":"no"}}'), None,
                (200, "<html>"), (500, ""))[kind]

    where.give(20)
    with Server(answer) as server:
        done = batch(where, server.url, "--max-retries", "1", "--progress",
                     "json", env={"OPENAI_API_KEY": CANARY})
        expect(server.headers[0]["Authorization"], "Bearer " + CANARY)
        expect_code(done, 1)
        for name, text in everything(where, done).items():
            assert CANARY not in text, name
        done = batch(where, server.url, "--overwrite", "--api-key-env",
                     "OTHER", env={"OTHER": CANARY + "\r\nX-Evil: 1"})
        expect_code(done, 2)
        assert CANARY not in done.err, done.err
    with Server(lambda body: (401, '{"error":"who"}')) as server:
        done = batch(where, server.url, "--overwrite",
                     env={"OPENAI_API_KEY": CANARY})
        expect_code(done, 4)
        for name, text in everything(where, done).items():
            assert CANARY not in text, name


def test_x2_secrets_in_the_url_are_in_no_output(where):
    where.give(2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: refused
        port = free.getsockname()[1]
        done = batch(where, f"http://user:{CANARY}@127.0.0.1:{port}/v1",
                     "--max-retries", "0")
        for name, text in everything(where, done).items():
            assert CANARY not in text, (name, text)
        done = batch(where, f"http://127.0.0.1:{port}/v1?key={CANARY}",
                     "--max-retries", "0", "--overwrite")
        for name, text in everything(where, done).items():
            assert CANARY not in text, (name, text)


NASTY = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"


def test_x8_no_control_characters_from_outside(where):
    """In a server's texts and in the input's; on a terminal and in files."""
    where.give(text=request("a" + NASTY, {"n": 1}) + request("a" + NASTY, {})
               + request("b", {"n": 2}, "/v1/" + NASTY)
               + request("c", {"n": 3}) + NASTY + "\n")

    def answer(body):
        text = NASTY.encode("utf-8")
        return (400 if body["n"] == 1 else 200), text, \
            [("X-Request-Id", "\x1b[31mred")]

    leader, follower = pty.openpty()
    seen = bytearray()

    def drain():
        with contextlib.suppress(OSError):
            while chunk := os.read(leader, 65536):
                seen.extend(chunk)

    reader = threading.Thread(target=drain)
    reader.start()
    with Server(answer) as server:
        done = Run(["batch", where / "in", "-o", where / "out.jsonl",
                    "--base-url", server.url], stderr=follower).end()
    os.close(follower)
    reader.join(LIMIT_S)
    os.close(leader)
    expect(done.code, 1)
    shown = seen.decode("utf-8")
    expect_in("succeeded", shown)
    # Our own: back to the start of the line, clear to its end.
    rest = shown.replace("\x1b[K", "")
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", rest), \
        repr(rest)
    expect(len(where.lines("out.errors.jsonl")), 5)
    text = where.read("out.errors.jsonl")
    assert not re.search("[\x00-\x09\x0b-\x1f]", text), repr(text)
    for line in where.lines("out.errors.jsonl"):
        if line["error"]:
            message = line["error"]["message"]
            assert not re.search("[\x00-\x1f\x7f-\x9f]", message), message


if __name__ == "__main__":
    sys.exit(batch_command.main(globals()))
