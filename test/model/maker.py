"""Random programs in the language of the model test, made from a seed.

Every program ends. Either a janitor, a task of its own, sets free in the end
what is still waited for; or nothing waits for ever in an exit or behind a
shield, so that the cancel of the root ends all when nothing else can happen.
"""
import random

from kinds import CHANNELS, DEPTH, EVENTS, LIMITERS, SEMAPHORES, Kinds
from language import (
    BLOCKS, FOREVER, JANITOR_MS, MANY, NO_SLOT, TOKENS_MANY, every_list)
from others import CANCEL

FIRST_CODE = -7000

NESTING = BLOCKS + ("call", "spawn", "join", "start", "hold", "shut")
# What may be done with a monitor's lock in hand. A cancelled wait for a
# condition waits for the lock, whatever happens; so its owner must not wait
# for other tasks.
LEAVES = ("sleep", "check", "wait", "set", "clear", "acquire", "release", "op",
          "send", "receive", "cancel", "post", "work", "shield", "move",
          "notify", "cond", "cond_for", "look", "peek", "stats", "observe",
          "return", "break", "fail",
          "scope", "class", "defer", "lock")


class Maker(Kinds):
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.next_id = 0
        self.counts = {"scope": 0, "group": 0, "task": 1, "stack": 0,
                       "hold": 0, "context": 0}
        self.left = self.random.choice((8, 15, 25, 40))
        # Each program has its own taste, and few different times. What it has
        # of the rest it has often: things meet more in small programs.
        self.weights = [
            weight * self.random.choice(
                (0.2, 0.5, 1, 1, 2, 4) if kind in self.COMMON
                else (0, 0, 0, 0.5, 1, 2, 5))
            for kind, weight in self.WEIGHTS]
        self.times = self.random.choices(
            (1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 15), k=self.random.randint(1, 6))
        self.catches = self.random.choice((0, 0.1, 0.25, 0.5))
        self.groups = []  # slots of those that are open, lexically
        self.stacks = []  # the same
        self.prepared = []  # slots of scopes that were, not yet used
        self.toggled = []
        self.free = None  # the stack that may take a scope
        self.monitor = None  # the lock in hand
        self.crowded = False  # the first of everything is meant
        self.nesting = False  # exit stacks are meant, on each other …
        self.handing = False  # … by several tasks
        self.entries = []  # of stacks: their ids
        self.tokens = []  # ids of sets of variables
        self.program = {
            "grace": self.random.choice((-1, 3, 7, 20, 5000, FOREVER)),
            "permits": self.random.choice((0, 1, 1, 2)),
            "tokens": self.random.choice((0, 1, 1, 2)),
            "capacity": self.random.choice((0, 1, 2)),
            "budget": self.random.choice((MANY, MANY, MANY, 1, 2, 3, 5)),
        }
        # Left alone, without a janitor?
        self.is_cut = self.program["grace"] != FOREVER and self.chance(0.4)

    def chance(self, p):
        return self.random.random() < p

    def new_id(self):
        self.next_id += 1
        return self.next_id

    def slot(self, what):
        self.counts[what] += 1
        return self.counts[what] - 1

    def ms(self):
        return self.random.choice(self.times)

    def code(self):
        return FIRST_CODE - self.new_id()

    def few(self, count):
        """Of so many, mostly the first ones."""
        if self.crowded and self.chance(0.8):
            return 0
        return min(self.random.randrange(count), self.random.randrange(count))

    def catch(self):
        return int(self.chance(self.catches))

    # Which statements there are, and how often.
    WEIGHTS = (
        ("sleep", 30), ("check", 6), ("wait", 5), ("set", 4), ("clear", 1),
        ("acquire", 3), ("release", 3), ("scope", 22), ("group", 12),
        ("class", 14), ("gen", 9), ("permit", 3), ("call", 6), ("spawn", 22),
        ("cancel", 12), ("move", 3), ("shield", 3), ("join", 2), ("return", 2),
        ("break", 2), ("fail", 4), ("stack", 8), ("put", 8), ("push", 5),
        ("close", 2), ("hand", 2), ("start", 8), ("started", 4), ("hold", 6),
        ("ask", 3), ("shut", 5), ("drop", 2), ("lock", 12), ("cond", 1),
        ("cond_for", 1), ("notify", 1), ("token", 6), ("total", 2),
        ("send", 4), ("receive", 4), ("end_channel", 1), ("op", 9),
        ("refuse", 1), ("try_acquire", 1), ("set_var", 2), ("reset_var", 2),
        ("capture", 1), ("peek", 3), ("look", 4), ("prepare", 2), ("use", 8),
        ("status", 1), ("count", 1), ("result", 1), ("forget", 2),
        ("close_entry", 1),
        ("defer_on", 2), ("stats", 2), ("var", 2), ("setting", 2),
        ("quiet", 4), ("watch", 1), ("null", 1), ("defer", 2), ("closing", 2),
        ("alone", 1), ("crowd", 3), ("nest", 3), ("observe", 4), ("post", 4),
        ("work", 5))
    COMMON = ("sleep", "scope", "group", "spawn", "class", "cancel", "call")
    # With a monitor's lock in hand these come oftener.
    MONITOR_WEIGHTS = {"cond": 12, "cond_for": 4, "notify": 8}

    # And with an open stack about these.
    STACK_KINDS = ("put", "put", "put", "put", "push", "hand", "close",
                   "forget", "close_entry", "defer_on", "stack")

    NEST_KINDS = ("put", "put", "put", "put", "put", "put", "push", "hand",
                  "hand", "hand", "close", "forget", "forget", "close_entry",
                  "close_entry", "defer_on", "sleep", "sleep", "check",
                  "scope", "call", "gen", "stack")

    def pick(self):
        if self.nesting and self.monitor is None and self.chance(0.85):
            return self.random.choice(self.NEST_KINDS)
        if self.monitor is None and self.stacks and self.chance(0.3):
            return self.random.choice(self.STACK_KINDS)
        if self.monitor is None:
            return self.random.choices(
                [name for name, _ in self.WEIGHTS], self.weights)[0]
        return self.random.choices(
            LEAVES, [self.MONITOR_WEIGHTS.get(name, 2) for name in LEAVES])[0]

    def statements(self, depth, length, in_block):
        made = []
        for _ in range(length):
            if self.left <= 0:
                break
            self.left -= 1
            kind = self.pick()
            if depth >= DEPTH and kind in NESTING:
                kind = "sleep"
            if kind == "break" and not in_block:
                kind = "return"
            if kind in ("crowd", "nest") and (
                    depth >= DEPTH - 2 or self.crowded or self.nesting):
                kind = "sleep"
            if kind in ("spawn", "start", "hold") and not self.groups:
                kind = "group"
            if kind in ("put", "push", "defer_on") and (
                    depth >= DEPTH or not self.stacks and self.chance(0.8)):
                kind = "stack" if depth < DEPTH else "sleep"
            if kind == "use" and not self.prepared:
                kind = "prepare"
            if kind in ("ask", "shut", "drop") and self.counts["hold"] == 0:
                kind = "hold" if self.groups and depth < DEPTH else "sleep"
            made.append(self.statement(kind, depth))
            made += self.after(made[-1], depth)
        return made

    def after(self, s, depth):
        """What often shows more if it comes next."""
        aimed = {"what": "scope", "slot": s.get("slot")}
        kind, more = {
            "notify": ("sleep", {}),
            "reset_var": ("reset_var", {"slot": s.get("slot"),
                                        "token": s.get("token")}),
            "started": ("started", {}),
            "set_var": ("reset_var", {"slot": s.get("slot"),
                                      "token": s["id"]}),
            "push": (self.random.choice(("forget", "close_entry")),
                     {"entry": s["id"]}),
            "prepare": self.random.choice((
                ("cancel", aimed), ("move", {**aimed, "ms": self.ms()}))),
            "use": ("move", {**aimed, "ms": self.ms()}),
            "cancel": ("move", {**aimed, "ms": self.ms()})
            if s.get("what") == "scope" else (None, {}),
        }.get(s["op"], (None, {}))
        if kind is None or self.chance(0.6):
            return []
        made = {**self.statement(kind, depth), **more}
        return [made] + self.after(made, depth)

    def some(self, depth, in_block):
        return self.statements(depth + 1, self.random.randint(0, 4), in_block)

    def statement(self, kind, depth):
        make = getattr(self, "make_" + kind, None)
        s = {"op": kind, "id": self.new_id()}
        free = self.free
        if kind in ("scope", "group", "gen", "spawn", "start", "hold", "use",
                    "crowd", "nest", "lock"):
            self.free = None
        if make is not None:
            made = make(s, depth)
            s = made if made is not None else s
        elif kind in ("null", "watch", "defer"):
            s["body"] = self.some(depth, True)
        self.free = free
        return s

    def in_time(self, s):
        """Two may wait for each other: not without a time limit."""
        return {"op": "scope", "id": self.new_id(), "slot": self.slot("scope"),
                "timeout": self.ms(), "shield": 0, "grace": 0, "fail": 0,
                "body": [s]}

    # -- the whole program

    def fill_in(self):
        """What is aimed at may stand anywhere in the program."""
        codes = [s["code"] for statements in every_list(self.program)
                 for s in statements if s.get("code")]
        codes += [-71, -110, -125, -5001, -5005]
        for statements in every_list(self.program):
            for s in list(statements):
                if s["op"] == "cancel" and "slot" not in s:
                    self.aim(s)
                elif s["op"] in ("shield", "move") and "slot" not in s:
                    self.aim_at_scope(s)
                elif s["op"] == "join":
                    s["slot"] = self.random.randrange(self.counts["task"])
                elif s["op"] == "post" and s["what"] == CANCEL:
                    s["slot"] = self.random.randrange(self.counts["task"])
                elif s["op"] == "quiet":
                    s["first"], s["second"], s["third"] = (
                        self.random.choices(codes, k=3))

    def aim(self, s):
        known = [what for what in ("scope", "group", "task", "task")
                 if self.counts[what] > 0]
        s["what"] = self.random.choice(known)
        s["slot"] = self.random.randrange(self.counts[s["what"]])
        if self.chance(0.05):
            s["what"] = "self"

    def aim_at_scope(self, s):
        slots = self.toggled if s["op"] == "shield" else range(
            self.counts["scope"])
        s["slot"] = self.random.choice(slots) if slots else NO_SLOT
        if s["op"] == "shield":
            s["on"] = int(self.chance(0.5) and not self.is_cut)
        else:
            s["ms"] = self.ms()

    def make(self):
        """The statements, and perhaps a janitor beside them."""
        outer = self.slot("group")
        self.groups = [outer]
        inner = []
        while self.left > 0:
            inner += self.statements(1, self.left, False)
        if self.chance(0.2):
            inner.insert(0, self.statement("nest", 1))
        main = {"op": "call", "id": self.new_id(), "catch": 0, "body": inner}
        outside = [main]
        if not self.is_cut:
            outside.insert(0, self.janitor(outer))
        if self.chance(0.3):
            inner.insert(0, self.statement("observe", 1))
        self.program["main"] = [{
            "op": "group", "id": self.new_id(), "slot": outer, "policy": 0,
            "max": 0, "kept": 0, "body": outside}]
        self.fill_in()
        return self.program

    def janitor(self, group):
        shield = self.slot("scope")
        self.counts["scope"] -= 1  # nobody aims at it
        return {"op": "spawn", "id": self.new_id(), "slot": group, "name": 0,
                "context": 0, "task": [{
                    "op": "scope", "id": self.new_id(), "slot": shield,
                    "timeout": -1, "shield": 1, "grace": FOREVER, "fail": 0,
                    "body": self.sweep()}]}

    def sweep(self):
        """What is held is asked for several times: a hold may just open."""
        made = self.pause()
        made += [{"op": "set", "id": 0, "slot": slot}
                 for slot in range(EVENTS)]
        made += [{"op": "release", "id": 0, "slot": slot}
                 for slot in range(SEMAPHORES) for _ in range(40)]
        made += [{"op": "total", "id": self.new_id(), "slot": slot,
                  "total": TOKENS_MANY} for slot in range(LIMITERS)]
        made += [{"op": "end_channel", "id": self.new_id(), "slot": slot}
                 for slot in range(CHANNELS)]
        for lock, conditions in ((0, (0, 1)), (1, (2,))):
            made.append({
                "op": "lock", "id": self.new_id(), "slot": lock, "try": 0,
                "body": [{"op": "notify", "id": self.new_id(), "slot": slot,
                          "count": -1} for slot in conditions]})
        for _ in range(3 if self.counts["hold"] > 0 else 0):
            made += [{"op": "ask", "id": self.new_id(), "hold": slot}
                     for slot in range(self.counts["hold"])]
            made += self.pause()
        return made

    def pause(self):
        return [{"op": "sleep", "id": self.new_id(), "catch": 1,
                 "ms": JANITOR_MS}]


def make(seed):
    return Maker(seed).make()
