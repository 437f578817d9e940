#!/usr/bin/env python3
"""belay chat: chat.py BELAY.

One question and a conversation, through pipes: what is said and kept, exit
codes, signals in the middle of an answer.
"""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import chat_command
from chat_command import (EVIL, KEY, LIMIT, command, environment, expect,
                          report, run, server, wait_for)


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


def insecure():
    done = run("--insecure", "hello")
    expect((done.returncode, done.stdout) == (0, "You said: hello\n"), done)
    expect(done.stderr.count("\n") == 1
           and done.stderr.startswith("belay chat: warning: --insecure"), done)


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
        [chat_command.belay, "chat", "--base-url", server.url, "--session",
         path, "three"], capture_output=True, text=True, timeout=LIMIT,
        check=False, env=environment())
    expect(done.returncode == 0 and server.said()[0] == "be", done)
    expect(len(server.said()) == 6, server.said())
    with open(path, "w", encoding="utf-8") as file:
        file.write("{}")
    done = run("--session", path, "four")
    expect(done.returncode == 5 and "not a session" in done.stderr, done)
    expect(open(path, encoding="utf-8").read() == "{}", "it was written over")
    done = subprocess.run(
        [chat_command.belay, "chat", "--base-url", server.url, "--session",
         os.path.join(folder, "none"), "a"], capture_output=True, text=True,
        timeout=LIMIT, check=False, env=environment())
    expect(done.returncode == 2 and "no model" in done.stderr, done)
    # A stranger's file: what it names is shown, and no terminal obeys it.
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"belay_session": 1, "model": "m\x1b[2J",
                   "system": "s\x1b[2J\ntwo", "messages": []}, file)
    done = subprocess.run(
        [chat_command.belay, "chat", "--base-url", server.url, "--session",
         path, "-i"], input="/model\n/system\n", capture_output=True,
        text=True, timeout=LIMIT, check=False, env=environment())
    expect(done.stderr == "model: m [2J\nsystem: s^[[2J\ntwo\n", done)


def records(folder):
    path = os.path.join(folder, "log.jsonl")
    done = run("-i", "--record", path, stdin="a\nb\n")
    expect(done.returncode == 0, done)
    log = subprocess.run([chat_command.belay, "log", path], text=True,
                         capture_output=True, timeout=LIMIT, check=False,
                         env=environment())
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


def simulated():
    done = subprocess.run(
        [chat_command.belay, "chat", "--sim", "What is a scope?"],
        capture_output=True, text=True, timeout=LIMIT, check=False,
        env=environment())
    expect(done.returncode == 0 and len(done.stdout.split()) == 16, done)
    same = subprocess.run(
        [chat_command.belay, "chat", "--sim", "--stream", "-i"],
        input="What is a scope?\n", capture_output=True, text=True,
        timeout=LIMIT, check=False, env=environment())
    expect(same.stdout == done.stdout, same)


def main():
    with tempfile.TemporaryDirectory() as folder:
        one_question()
        insecure()
        piped()
        exit_codes()
        shown()
        budgets(folder)
        scripts(folder)
        sessions(folder)
        records(folder)
        signals()
        simulated()
    return report()


if __name__ == "__main__":
    chat_command.belay = sys.argv[1]
    sys.exit(main())
