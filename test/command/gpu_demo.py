#!/usr/bin/env python3
"""belay gpu: gpu_demo.py BELAY [--opencl].

On simulated devices: the report, the picture and the trace against each other;
the same seed twice; tasks that are cancelled or fail; an interrupt in the
middle, on a terminal and without one. With --opencl the same on a real device,
if there is one; else it is skipped (77).
"""
import collections
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml

SKIPPED = 77
LIMIT = 120  # seconds, for a run; none takes so long
SVG = "{http://www.w3.org/2000/svg}"

faults = []


def expect(condition, text):
    if not condition:
        faults.append(text)


def run(*arguments):
    return subprocess.run([BELAY, "gpu", *arguments], capture_output=True,
                          text=True, timeout=LIMIT, check=False)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def number(text, pattern):
    found = re.search(pattern, text)
    expect(found, f"no '{pattern}' in: {text}")
    return float(found.group(1)) if found else -1


def boxes_of(svg):
    """How many rectangles there are of each class."""
    root = xml.fromstring(svg)
    for path in root.iter(SVG + "path"):
        expect("nan" not in path.get("d"), "a path with no number")
    return collections.Counter(
        box.get("class") for box in root.iter(SVG + "rect"))


def leases_of(trace):
    """Slices that are leases; each B has its E, on the same track, and no two
    tracks or times are mixed up."""
    stacks = collections.defaultdict(list)
    last = collections.defaultdict(float)
    leases = []
    for event in json.loads(trace)["traceEvents"]:
        if event["ph"] not in "BE":
            continue
        stack = stacks[event["tid"]]
        expect(event["ts"] >= last[event["tid"]], f"backwards: {event}")
        last[event["tid"]] = event["ts"]
        if event["ph"] == "B":
            stack.append(event)
            if "args" in event:
                expect(len(stack) == 1, f"a lease in another: {event}")
                leases.append(event)
        else:
            expect(stack, f"an E without its B: {event}")
            stack.pop() if stack else None
    expect(not any(stacks.values()), "a B without its E")
    return leases


def check_pictures(report, folder):
    granted = number(report, r"(\d+) granted")
    boxes = boxes_of(read(f"{folder}/t.svg"))
    leases = leases_of(read(f"{folder}/t.json"))
    expect(boxes["lease"] == granted == len(leases),
           f"{granted} leases, {boxes['lease']} boxes, {len(leases)} slices")
    return boxes, leases


def demo(folder, *arguments):
    run_ = run("demo", *arguments, "--timeline", f"{folder}/t.svg",
               "--trace", f"{folder}/t.json")
    expect("\x1b" not in run_.stdout + run_.stderr, "escapes in a pipe")
    return run_


def nothing_fails(folder, seed):
    shown = []
    for _ in range(2):
        run_ = demo(folder, "--backend", "sim", "--once", "--tasks", "120",
                    "--seed", seed)
        expect(run_.returncode == 0 and run_.stderr == "", f"{run_}")
        check_pictures(run_.stdout, folder)
        shown.append(run_.stdout + read(f"{folder}/t.svg")
                     + read(f"{folder}/t.json"))
    expect(shown[0] == shown[1], f"seed {seed}: two runs are not the same")
    expect(number(run_.stdout, r"which is ([\d.]+)%") >= 97,
           f"seed {seed}: {run_.stdout}")
    expect("120 of 120 done, 0 cancelled, 0 failed" in run_.stdout,
           run_.stdout)
    expect("120 checked on the CPU, 0 wrong" in run_.stdout, run_.stdout)
    return shown[0]


def some_end_early(folder):
    run_ = demo(folder, "--backend", "sim", "--once", "--tasks", "160",
                "--cancel", "0.3", "--fail", "0.4", "--seed", "5")
    report = run_.stdout
    boxes, leases = check_pictures(report, folder)
    done = number(report, r"(\d+) of 160 done")
    cancelled = number(report, r"(\d+) cancelled")
    failed = number(report, r"(\d+) failed")
    expect(run_.returncode == 0, f"{run_}")
    expect(done + cancelled + failed == 160, report)
    expect(cancelled > 10 and failed > 10, report)
    expect(number(report, r"(\d+) checked") == done, report)
    expect(0 < boxes["draining"] <= cancelled, f"{boxes}")
    expect(boxes["failed"] >= failed and boxes["out"] > 0, f"{boxes}")
    expect(sum(lease["args"]["failed"] for lease in leases)
           == boxes["failed"], f"{boxes}")
    expect(re.search(r"(?m)^  +\w+-\d+: the GPU operation failed on", report)
           or "is lost" in report, report)


def what_is_wrong_is_told(folder):
    # Buffers of no bytes: what is read of them is no product.
    run_ = demo(folder, "--backend", "sim:real=1", "--once", "--tasks", "20")
    expect("20 checked on the CPU, 20 wrong" in run_.stdout
           and run_.returncode == 1, f"{run_}")
    run_ = demo(folder, "--backend", "sim:fault=op@0:5", "--once")
    expect("1 failed" in run_.stdout and run_.returncode == 1, f"{run_}")
    for arguments in (["--backend", "vulkan"], ["--cancel", "2"],
                      ["--tasks", "0"], ["--tasks", "x"], ["more"],
                      ["--progress", "?"], ["--seed", "-1"],
                      ["--backend", "cuda", "--devices", "2"]):
        run_ = run("demo", *arguments)
        expect(run_.returncode == 2 and arguments[-1] in
               run_.stderr + ("2" if "--devices" in arguments else ""),
               f"{run_}")
    run_ = run("demo", "--backend", "sim:nothing=1", "--once")
    expect(run_.returncode == 1 and "nothing" in run_.stderr, f"{run_}")
    run_ = run("demo", "--backend", "sim", "--once", "--timeline",
               f"{folder}/none/t.svg")
    expect(run_.returncode == 1 and "cannot write" in run_.stderr, f"{run_}")


def interrupted(folder):
    """Without a terminal: a line a second; at the second one, Ctrl-C."""
    process = subprocess.Popen(
        [BELAY, "gpu", "demo", "--backend", "sim", "--tasks", "4000",
         "--timeline", f"{folder}/t.svg", "--trace", f"{folder}/t.json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [process.stderr.readline() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    report, rest = process.communicate(timeout=LIMIT)
    for line in lines + rest.splitlines():
        expect(re.match(r"belay gpu demo: \d+ s, \d+ of 4000 tasks ended, "
                        r"\d of 8 slots run, \d+ wait, [\d.]+ leases a second",
                        line), f"line: {line}")
    expect(process.returncode == 130, f"{process.returncode}: {report}{rest}")
    expect(report.startswith("belay gpu demo: interrupted,"), report)
    boxes, _ = check_pictures(report, folder)
    expect(0 < boxes["draining"] <= 8, f"{boxes}")
    expect(number(report, r"(\d+) wrong") == 0, report)
    expect("interrupted" in read(f"{folder}/t.svg"), "nothing in the picture")


def read_terminal(terminal, until):
    """What comes, until it has `until`, or its end."""
    shown = b""
    end = time.monotonic() + LIMIT
    while until not in shown and time.monotonic() < end:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            more = os.read(terminal, 65536)
        except OSError:  # Linux's way to say that nobody writes any more
            break
        if not more:
            break
        shown += more
    return shown


def on_a_terminal(folder):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [BELAY, "gpu", "demo", "--backend", "sim", "--tasks", "4000",
         "--timeline", f"{folder}/t.svg", "--trace", f"{folder}/t.json"],
        stdout=subprocess.PIPE, stderr=theirs, text=True,
        env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"})
    os.close(theirs)
    shown = read_terminal(ours, b"kernel 3 of")
    process.send_signal(signal.SIGINT)
    shown += read_terminal(ours, b"no such text")
    report = process.stdout.read()
    process.stdout.close()
    expect(process.wait(timeout=LIMIT) == 130, f"{process.returncode}")
    os.close(ours)
    text = shown.decode()
    expect(text.startswith("\x1b[?25l"), "the cursor is not hidden")
    expect(text.endswith("\x1b[?25h"), f"... nor shown again: {text[-60:]!r}")
    expect(text.count("\x1b[?25h") == 1, "shown before the end")
    for word in ("running", "draining", "queue", "leases", "unwinding"):
        expect(word in text, f"no {word} on the terminal")
    check_pictures(report, folder)


def lists():
    run_ = run("list", "--json")
    listed = json.loads(run_.stdout)
    kinds = [device["backend"] for device in listed["devices"]]
    expect(run_.returncode == 0 and kinds[-1] == "sim", f"{run_}")
    for kind in ("cuda", "opencl"):
        expect(kind in kinds or any(note.startswith(kind)
                                    for note in listed["notes"]), f"{run_}")
    plain = run("list")
    expect(plain.returncode == 0 and "sim 0" in plain.stdout, f"{plain}")
    expect(run("list", "more").returncode == 2, "list more")
    expect(run().returncode == 2 and run("no").returncode == 2, "no word")
    return kinds


def on_opencl(folder):
    run_ = demo(folder, "--backend", "opencl:type=cpu,parts=2", "--tasks",
                "24", "--cancel", "0.1", "--fail", "0.1", "--seed", "2")
    report = run_.stdout
    expect(run_.returncode == 0, f"{run_}")
    check_pictures(report, folder)
    done = number(report, r"(\d+) of 24 done")
    expect(number(report, r"(\d+) failed") > 0, report)
    expect(0 < done == number(report, r"(\d+) checked"), report)
    expect(", 0 wrong" in report, report)


def main():
    with tempfile.TemporaryDirectory() as folder:
        if "--opencl" in sys.argv:
            listed = json.loads(run("list", "--json").stdout)
            if not any("Portable" in device["uid"]
                       for device in listed["devices"]):
                print("skipped: PoCL is not here:", *listed["notes"])
                return SKIPPED
            on_opencl(folder)
        else:
            shown = [nothing_fails(folder, seed) for seed in "014"]
            expect(len(set(shown)) == 3, "a seed changes nothing")
            some_end_early(folder)
            what_is_wrong_is_told(folder)
            interrupted(folder)
            on_a_terminal(folder)
            lists()
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    BELAY = sys.argv[1]
    sys.exit(main())
