#!/usr/bin/env python3
"""Traces are what their readers expect: check.py SCENES, check.py --self-test,
or check.py --file TRACE to look at one.

The Chrome trace against the Trace Event Format ("JSON Array Format"): strict
JSON; slices begin and end nested on each track, with the same name; nestable
async slices and flows have both ends; times never go back. The lines: each
one is an object with its fields, each scope and task has both ends.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

PHASES = {
    # phase: fields beside ph, pid, tid and ts
    "B": {"name", "cat"}, "E": {"name", "cat"}, "b": {"name", "cat", "id"},
    "e": {"name", "cat", "id"}, "i": {"name", "s"}, "M": {"name", "args"},
    "s": {"name", "cat", "id"}, "f": {"name", "cat", "id", "bp"},
}
METADATA = {"process_name", "thread_name"}


class Chrome:
    """The events of one trace, and what is wrong with them."""

    def __init__(self, events):
        self.faults = []
        self.stacks = {}  # (pid, tid): names and categories of open slices
        self.spans = {}   # (cat, id): open nestable async slices
        self.flows = {}   # (cat, name, id): where it began
        self.named = set()
        self.last_ts = 0.0
        for number, event in enumerate(events, 1):
            try:
                self.take(event)
            except (KeyError, TypeError, AttributeError) as error:
                self.fault(number, f"{error!r} in {event}")
                continue

    def fault(self, where, text):
        self.faults.append(f"event {where}: {text}")

    def take(self, event):
        phase = event["ph"]
        missing = PHASES[phase] - set(event)
        if missing:
            self.fault(event, f"lacks {sorted(missing)}")
            return
        if not isinstance(event["ts"], (int, float)) \
                or event["ts"] < self.last_ts:
            self.fault(event, "time goes back")
        if not 0 < event["pid"] < 2 ** 31 or not 0 <= event["tid"] < 2 ** 32:
            self.fault(event, "no number of a process or thread")
        if not isinstance(event.get("args", {}), dict):
            self.fault(event, "arguments that are no object")
        self.last_ts = max(self.last_ts, event["ts"])
        track = (event["pid"], event["tid"])
        if phase == "M":
            if event["name"] not in METADATA \
                    or not isinstance(event["args"]["name"], str):
                self.fault(event, "not metadata")
            if event["name"] == "thread_name" and track in self.named:
                self.fault(event, "a second name")
            if event["name"] == "thread_name":
                self.named.add(track)
            return
        if track not in self.named and phase != "s":
            self.fault(event, "on a track without a name")
        getattr(self, {"B": "begin", "E": "end", "b": "begin_span",
                       "e": "end_span", "s": "begin_flow", "f": "end_flow",
                       "i": "instant"}[phase])(event, track)

    def begin(self, event, track):
        self.stacks.setdefault(track, []).append(self.kind(event))

    @staticmethod
    def kind(event):
        """Viewers look for the beginning by both."""
        return event["name"], event["cat"]

    def end(self, event, track):
        stack = self.stacks.get(track, [])
        if not stack:
            self.fault(event, "ends what has not begun")
        elif self.kind(event) != stack[-1]:
            self.fault(event, f"ends {stack[-1]}")
        else:
            stack.pop()

    def begin_span(self, event, track):
        key = (event["cat"], event["id"])
        if key in self.spans:
            self.fault(event, "has begun already")
        self.spans[key] = event["name"]

    def end_span(self, event, track):
        if self.spans.pop((event["cat"], event["id"]), None) != event["name"]:
            self.fault(event, "ends what has not begun")

    def begin_flow(self, event, track):
        if not self.stacks.get(track):
            self.fault(event, "a flow leaves from no slice")
        key = (event["cat"], event["name"], event["id"])
        if key in self.flows:
            self.fault(event, "a flow that has begun already")
        self.flows[key] = track

    def end_flow(self, event, track):
        key = (event["cat"], event["name"], event["id"])
        if event["bp"] != "e" or self.flows.pop(key, track) == track:
            self.fault(event, "a flow from nowhere")
        if not self.stacks.get(track):
            self.fault(event, "a flow arrives at no slice")

    def instant(self, event, track):
        if event["s"] not in ("g", "p", "t"):
            self.fault(event, "no such scope of an instant")

    def left_open(self):
        faults = [f"{track}: {stack} has no end"
                  for track, stack in self.stacks.items() if stack]
        faults += [f"{key} has no end" for key in (*self.spans, *self.flows)]
        return faults


def check_chrome(text, whole=True):
    """whole: the program has come to its end."""
    if not whole:
        text += "]"  # "the ] at the end is optional"
    try:
        events = json.loads(text)
    except ValueError as error:
        return [f"not JSON: {error}"], []
    chrome = Chrome(events)
    return chrome.faults + (chrome.left_open() if whole else []), events


def check_lines(text, whole=True):
    faults = []
    events = []
    open_scopes = {}
    open_tasks = {}
    last = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            event = json.loads(line)
        except ValueError as error:
            faults.append(f"line {number}: {error}")
            continue
        events.append(event)
        run, kind = event["run"], event["event"]
        if event["ns"] < last.get(run, 0):
            faults.append(f"line {number}: time goes back")
        last[run] = event["ns"]
        if kind == "scope.open":
            open_scopes[run, event["scope"]] = number
        elif kind == "scope.exit" or (
                kind == "scope.error" and not event.get("entered")):
            if open_scopes.pop((run, event["scope"]), None) is None:
                faults.append(f"line {number}: ends what was not opened")
        elif kind == "task.spawn":
            open_tasks[run, event["id"]] = number
        elif kind == "task.end":
            if open_tasks.pop((run, event["id"]), None) is None:
                faults.append(f"line {number}: ends what was not spawned")
    if whole and events[-1:] and events[-1]["event"] != "trace.end":
        faults.append("no end")
    if not text.endswith("\n"):
        faults.append("the last line has no end")
    if whole:
        faults += [f"line {n}: has no end"
                   for n in (*open_scopes.values(), *open_tasks.values())]
    return faults, events


def run(scenes, word, **env):
    return subprocess.run(
        [scenes, word], check=False, capture_output=True, text=True,
        timeout=60, env={**os.environ, **env})


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def expect(faults, condition, text):
    if not condition:
        faults.append(text)


def try_chrome(scenes, folder, steps):
    path = os.path.join(folder, "s.perfetto.json")
    done = run(scenes, "once", BELAY_TRACE=path, BELAY_TRACE_STEPS=steps)
    faults, events = check_chrome(read(path))
    expect(faults, done.returncode == 0 and not done.stderr, done.stderr)
    labels = {(event["name"], event["args"].get("label")) for event in events
              if event["ph"] == "E" and event.get("cat") == "scope"
              and "args" in event}
    expect(faults, labels >= {("slow", None), ("cancel scope", None),
                              ("group", 'team \\ "a"')}
           and ("slow", "cancel scope") not in labels, labels)
    names = {(event["ph"], event.get("name")) for event in events}
    wanted = [("B", "slow"), ("E", "slow"), ("b", "slow"), ("e", "slow"),
              ("B", "enter"), ("B", "exit"), ("i", "scope.cancel"),
              ("i", "deadline.expire"), ("i", "group.fail"), ("s", "spawn"),
              ("b", "lease.wait"), ("i", "scenes.end"), ("B", "third\n")]
    for one in wanted + ([("B", "sleep")] if steps == "1" else []):
        expect(faults, one in names, f"no {one}")
    expect(faults, (("B", "sleep") in names) == (steps == "1"),
           "waits only with BELAY_TRACE_STEPS")
    reasons = [event["args"] for event in events
               if event.get("name") == "scope.cancel"]
    expect(faults, any(
        args["source"] == "sibling" and args["by"] == "worker"
        and args["name"] == 'team \\ "a"' for args in reasons), reasons)
    return faults


def try_lines(scenes, folder):
    """Two runs of one process, then another process: lines are added."""
    path = os.path.join(folder, "s.jsonl")
    faults = []
    for word in ("twice", "once"):
        done = run(scenes, word, BELAY_TRACE=path)
        expect(faults, done.returncode == 0 and not done.stderr, done.stderr)
    more, events = check_lines(read(path))
    faults += more
    runs = {event["run"] for event in events}
    expect(faults, len(runs) == 3, f"three runs, not {runs}")
    expect(faults, sum(e["event"] == "trace.begin" for e in events) == 3,
           "three beginnings")
    notes = [e for e in events if e["event"] == "lease.wait"
             and e["phase"] == "begin"]
    expect(faults, notes and notes[0]["te\"xt"] == "tab\tand \ufffd", notes)
    return faults


def try_twice(scenes, folder):
    """A Chrome trace is one array: each run has a file."""
    path = os.path.join(folder, "%p.chrome.json")
    faults = []
    done = run(scenes, "twice", BELAY_TRACE=path)
    expect(faults, done.returncode == 0, done.stderr)
    found = sorted(name for name in os.listdir(folder) if "chrome" in name)
    expect(faults, len(found) == 2 and found[1] == found[0] + ".2"
           and re.fullmatch(r"\d+\.chrome\.json", found[0]), found)
    for name in found:
        faults += check_chrome(read(os.path.join(folder, name)))[0]
    return faults


def try_crash(scenes, folder):
    """What had happened is there, in whole lines."""
    faults = []
    for name, check in (("c.jsonl", check_lines),
                        ("c.perfetto.json", check_chrome)):
        path = os.path.join(folder, name)
        done = run(scenes, "crash", BELAY_TRACE=path)
        expect(faults, done.returncode == -6, f"not aborted: {done}")
        text = read(path)
        more, events = check(text, whole=False)
        faults += more
        expect(faults, "scenes.end" in text.splitlines()[-1],
               f"the last event: {text[-300:]}")
    return faults


def try_faults(scenes, folder):
    """What cannot be done is said, once, and the program runs."""
    faults = []
    cases = [
        ({"BELAY_TRACE": folder + "/no/such/file"},
         r"belay: no trace: '.*/no/such/file': no such file or directory\n"
         r"|belay: no trace: '.*/no/such/file': not found\n"),
        ({"BELAY_TRACE": folder + "/x", "BELAY_TRACE_FORMAT": "xml"},
         r"belay: no trace: 'BELAY_TRACE_FORMAT': invalid argument\n"),
        ({"BELAY_TRACE": "/dev/full"},
         r"belay: trace [\d.]+: [1-9]\d* events dropped, .*: no space left"
         r" on device\n"),
        ({"BELAY_TRACE": "0"}, ""),
        ({"BELAY_TRACE": ""}, ""),
    ]
    for env, told in cases:
        done = run(scenes, "once", **env)
        expect(faults, done.returncode == 0
               and re.fullmatch(told, done.stderr),
               f"{env}: {done.returncode} {done.stderr}")
    return faults


GOOD = """[
{"ph":"M","pid":1,"tid":1,"ts":0.000,"name":"thread_name","args":{"name":"a"}},
{"ph":"B","pid":1,"tid":1,"ts":1.000,"name":"a","cat":"c"},
{"ph":"s","pid":1,"tid":1,"ts":1.000,"name":"spawn","cat":"spawn","id":2},
{"ph":"M","pid":1,"tid":2,"ts":1.000,"name":"thread_name","args":{"name":"b"}},
{"ph":"B","pid":1,"tid":2,"ts":1.000,"name":"b","cat":"c"},
{"ph":"f","pid":1,"tid":2,"ts":1.000,"name":"spawn","cat":"spawn","id":2,"bp":"e"},
{"ph":"b","pid":1,"tid":2,"ts":1.500,"name":"n","cat":"note","id":"0x1"},
{"ph":"i","pid":1,"tid":2,"ts":1.500,"name":"i","s":"t"},
{"ph":"e","pid":1,"tid":2,"ts":2.000,"name":"n","cat":"note","id":"0x1"},
{"ph":"E","pid":1,"tid":2,"ts":2.000,"name":"b","cat":"c"},
{"ph":"E","pid":1,"tid":1,"ts":3.000,"name":"a","cat":"c"}
]
"""
BAD = [
    ('"ts":3.000', '"ts":1.900', "goes back"),
    ('"ts":3.000,"name":"a"', '"ts":3.000,"name":"b"', "ends ('a'"),
    ('3.000,"name":"a","cat":"c"', '3.000,"name":"a","cat":"d"', "ends ('a'"),
    ('3.000,"name":"a",', '3.000,', "lacks"),
    ('"b","cat":"c"},\n{"ph":"E"', '"b","cat":"c"}\n{"ph":"E"', "not JSON"),
    ('{"ph":"E","pid":1,"tid":2,"ts":2.000,"name":"b","cat":"c"},\n', "",
     "has no end"),
    ('"f","pid":1,"tid":2,"ts":1.000,"name":"spawn"',
     '"f","pid":1,"tid":2,"ts":1.000,"name":"start"', "from nowhere"),
    ('"id":2,"bp":"e"', '"id":2,"bp":"x"', "from nowhere"),
    ('"tid":2,"ts":1.000,"name":"thread_name"',
     '"tid":1,"ts":1.000,"name":"thread_name"', "a second name"),
    ('"tid":1,"ts":3.000', '"tid":-1,"ts":3.000', "no number"),
    ('"E","pid":1,"tid":2', '"E","pid":1,"tid":3', "without a name"),
    ('"e","pid":1,"tid":2,"ts":2.000,"name":"n"',
     '"e","pid":1,"tid":2,"ts":2.000,"name":"m"', "not begun"),
    ('"s":"t"', '"s":"x"', "no such scope"),
    ('"id":2,"bp"', '"id":3,"bp"', "from nowhere"),
    ('"name":"i","s":"t"', '"name":"i"', "lacks"),
    ('"ph":"i"', '"ph":"?"', "KeyError"),
]


def self_test():
    faults = check_chrome(GOOD)[0]
    for old, new, told in BAD:
        assert old in GOOD, old
        found = check_chrome(GOOD.replace(old, new))[0]
        expect(faults, any(told in fault for fault in found),
               f"{told!r} is not seen: {found}")
    for text, told in (
            ('{"run":"1","ns":2,"event":"a"}\n{"run":"1","ns":1', "line 2"),
            ('{"run":"1","ns":2,"event":"a"}\n', "no end"),
            ('{"run":"1","ns":2,"event":"scope.open","scope":1}\n'
             '{"run":"1","ns":3,"event":"trace.end"}\n', "line 1"),
            ('{"run":"1","ns":2,"event":"task.end","id":1}\n', "not spawned"),
            ('{"run":"1","ns":2,"event":"scope.exit","scope":1}\n',
             "not opened")):
        found = check_lines(text)[0]
        expect(faults, any(told in fault for fault in found),
               f"{told!r} is not seen in lines: {found}")
    return faults


def main():
    if sys.argv[1] == "--self-test":
        faults = self_test()
    elif sys.argv[1] == "--file":
        text = read(sys.argv[2])
        check = check_chrome if text.startswith("[") else check_lines
        faults, events = check(text)
        print(f"{len(events)} events")
    else:
        scenes = os.path.abspath(sys.argv[1])
        faults = []
        for steps in ("0", "1"):
            with tempfile.TemporaryDirectory() as folder:
                faults += try_chrome(scenes, folder, steps)
        for attempt in (try_lines, try_twice, try_crash, try_faults):
            with tempfile.TemporaryDirectory() as folder:
                faults += attempt(scenes, folder)
    print("\n".join(map(str, faults)), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
