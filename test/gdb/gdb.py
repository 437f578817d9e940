#!/usr/bin/env python3
"""The commands for gdb say what the program says: gdb.py STOPPED SCRIPT.

Runs STOPPED under gdb up to its breakpoint and compares `belay tasks` with the
dump that it has printed, line for line; then the same from a core file.
Skipped, with the reason, where there is no gdb or it may not trace.
"""
import os
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77


def gdb(*words, cwd=None):
    return subprocess.run(
        ["gdb", "-batch", "-nx", *words], check=False, capture_output=True,
        text=True, timeout=100, cwd=cwd,
        env={**os.environ, "DEBUGINFOD_URLS": ""})


def commands(*lines):
    return [word for line in lines for word in ("-ex", line)]


def cannot_trace(stopped):
    """A reason, or "". """
    if not shutil.which("gdb"):
        return "there is no gdb"
    done = gdb(*commands("python print('py')", "break main", "run", "kill"),
               stopped)
    if "py\n" not in done.stdout:
        return "gdb has no Python"
    if "Breakpoint 1, main" not in done.stdout:
        return f"gdb cannot trace: {done.stderr.strip()[-300:]}"
    return ""


def between(text, first, last):
    lines = text.splitlines()
    begin = lines.index(first)
    return lines[begin + 1:lines.index(last, begin)]


def trees(lines):
    """The lists of lines that begin with `runtime:`."""
    found = []
    for line in lines:
        if line.startswith("runtime:"):
            found.append([])
        if found and (line.startswith("runtime:") or line.startswith("  ")):
            found[-1].append(line)
    return found


def check_stopped(stopped, script, word, core):
    done = gdb(*commands(
        f"source {script}", "set breakpoint pending off", "break stop_here",
        f"run {word}", "echo <tasks>\\n", "belay tasks", "echo <one>\\n",
        "belay task 1", "belay task 99", "belay task x",
        f"generate-core-file {core}", "kill"), stopped)
    dump = trees(done.stdout.split("<tasks>")[0].splitlines())
    faults = []
    if len(dump) != 1 or len(dump[0]) < 8:
        return [f"no dump: {done.stdout} {done.stderr}"]
    seen = between(done.stdout + "<one>\n", "<tasks>", "<one>")
    if seen != dump[0]:
        faults.append("\n".join(["gdb says", *seen, "the program", *dump[0]]))
    one = done.stdout.split("<one>\n")[1].splitlines()
    if one[0] != dump[0][1].strip():
        faults.append(f"one task: {one[0]}, not {dump[0][1]}")
    for told in ("no task 99", "usage: belay task"):
        if told not in done.stderr:
            faults.append(f"no {told!r}: {done.stderr}")
    again = gdb(*commands(f"source {script}", "belay tasks"), stopped, core)
    if trees(again.stdout.splitlines()) != dump:
        faults.append(f"the core says {again.stdout} {again.stderr}")
    return faults


def check_before(stopped, script):
    """There is no runtime yet, and no program without debug information."""
    done = gdb(*commands(f"source {script}", "break main", "run",
                         "belay tasks"), stopped)
    faults = [] if done.stdout.endswith("no runtime\n") else [
        f"before the first runtime: {done.stdout} {done.stderr}"]
    done = gdb(*commands(f"source {script}", "belay tasks"), "/bin/true")
    if "no debug information of libbelay" not in done.stderr:
        faults.append(f"of a stranger: {done.stderr}")
    return faults


def main():
    stopped, script = map(os.path.abspath, sys.argv[1:3])
    reason = cannot_trace(stopped)
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    faults = check_before(stopped, script)
    with tempfile.TemporaryDirectory() as folder:
        for word in ("plain", "observed"):
            faults += check_stopped(
                stopped, script, word, os.path.join(folder, word))
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
