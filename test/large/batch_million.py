#!/usr/bin/env python3
"""A million requests through `belay batch`: each answered once, in little
memory.

usage: batch_million.py BELAY [--lines N] [--concurrency N] [--pipe]
                        [--order input] [--bytes N]

The input is written beforehand, or piped in as it is made; its lines are as
long as they come out, or at least as long as --bytes says. The server is
`belay sim` in a process of its own. The most memory that the command had in
use at once (its resident set, as the system counts) must stay below 64 MiB
and what the replies in flight, the window and the set of ids take (B21).
Rules B8, B20, B21.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import runner

CHUNK = 10000
MIB = 1 << 20
REPLY_BYTES = 4096  # a generous guess at what the simulator answers
ID_BYTES = 12
BASE_BYTES = 64 * MIB


def lines(count, least):
    def line(n):
        text = ('{"custom_id":"request-%d","method":"POST","url":'
                '"/v1/chat/completions","body":{"model":"m","messages":['
                '{"role":"user","content":"say %d, and nothing else' % (n, n))
        end = '"}]}}\n'
        return text.ljust(least - len(end), ".") + end

    for start in range(0, count, CHUNK):
        yield "".join(line(n) for n in range(
            start, min(start + CHUNK, count))).encode()


def check(paths, count):
    """Every line whole, every number of the input in one of them once."""
    seen = bytearray(count)
    total = 0
    for path in paths:
        if not os.path.exists(path):
            continue
        with open(path, "rb") as file:
            for line in file:
                assert line.endswith(b"\n"), f"{path} has a torn end"
                number = int(json.loads(line)["custom_id"][len("request-"):])
                assert not seen[number], f"request-{number} is there twice"
                seen[number] = 1
                total += 1
    assert total == count, f"{count - total} ids are missing"


def run(belay, url, args, place):
    source = os.path.join(place, "in")
    if not args.pipe:
        with open(source, "wb") as file:
            file.writelines(lines(args.lines, args.bytes))
    started = time.monotonic()
    batch = subprocess.Popen(
        [belay, "batch", "-" if args.pipe else source, "-o",
         os.path.join(place, "out"), "--base-url", url, "-c",
         str(args.concurrency), "--order", args.order, "--progress", "none",
         "--sync", "never"],
        stdin=subprocess.PIPE if args.pipe else subprocess.DEVNULL)
    if args.pipe:
        with batch.stdin:
            for chunk in lines(args.lines, args.bytes):
                batch.stdin.write(chunk)
    _, status, usage = os.wait4(batch.pid, 0)
    batch.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    return batch.returncode, usage.ru_maxrss * 1024, seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("belay")
    parser.add_argument("--lines", type=int, default=1000000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--pipe", action="store_true")
    parser.add_argument("--order", default="completion")
    parser.add_argument("--bytes", type=int, default=0)
    args = parser.parse_args()
    window = 4 * args.concurrency if args.order == "input" else 0
    most = (BASE_BYTES + (args.concurrency + window) * REPLY_BYTES
            + args.lines * ID_BYTES)
    belay = os.path.abspath(args.belay)
    with tempfile.TemporaryDirectory(prefix="belay-") as place:
        with runner.simulator(belay) as url:
            code, used, seconds = run(belay, url, args, place)
        assert code == 0, f"exit code {code}"
        check([os.path.join(place, name) for name in ("out", "out.errors")],
              args.lines)
    print(f"{args.lines} lines, each answered once, in {seconds:.1f} s "
          f"({args.lines / seconds:.0f} a second), "
          f"{used / MIB:.1f} MiB of at most {most / MIB:.1f}")
    return 0 if used < most else 1


if __name__ == "__main__":
    sys.exit(main())
