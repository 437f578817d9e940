"""Random programs in the language of the model test, made from a seed.

Every program ends. Either a janitor, a task of its own, sets free in the end
what is still waited for; or nothing waits for ever in an exit or behind a
shield, so that the cancel of the root ends all when nothing else can happen.
"""
import random

from language import BLOCKS, FOREVER, FRAMES, JANITOR_MS, NO_SLOT, every_list

FIRST_CODE = -7000
SEMAPHORES = 3
EVENTS = 4
LIMITERS = 2
CHANNELS = 2
VARS = 3
MONITORS = 2  # the first locks, which have conditions
LOCKS = 4
CONDITIONS = 3  # of locks 0, 0, 1; as in interpret.h
DEPTH = 7

NESTING = BLOCKS + ("call", "spawn", "join", "start", "hold", "shut")
# What may be done with a monitor's lock in hand. A cancelled wait for a
# condition waits for the lock, whatever happens; so its owner must not wait
# for other tasks.
LEAVES = ("sleep", "check", "wait", "set", "clear", "acquire", "release", "op",
          "send", "receive", "cancel", "shield", "move", "notify", "cond",
          "cond_for", "look", "peek", "stats", "return", "break", "fail",
          "scope", "class", "defer")


class Maker:
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
        self.pinned = set()  # those that have taken one
        self.monitor = None  # the lock in hand
        self.crowded = False  # the first of everything is meant
        self.entries = []  # of stacks: their ids
        self.tokens = []  # ids of sets of variables
        self.program = {
            "grace": self.random.choice((-1, 3, 7, 20, 5000, FOREVER)),
            "permits": self.random.choice((0, 1, 1, 2)),
            "tokens": self.random.choice((0, 1, 1, 2)),
            "capacity": self.random.choice((0, 1, 2)),
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
        ("break", 2), ("fail", 4), ("stack", 6), ("put", 8), ("push", 5),
        ("close", 2), ("hand", 2), ("start", 8), ("started", 4), ("hold", 6),
        ("ask", 3), ("shut", 5), ("drop", 2), ("lock", 12), ("cond", 1),
        ("cond_for", 1), ("notify", 1), ("token", 6), ("total", 2),
        ("send", 4), ("receive", 4), ("end_channel", 1), ("op", 9),
        ("refuse", 1), ("try_acquire", 1), ("set_var", 2), ("reset_var", 2),
        ("capture", 1), ("peek", 3), ("look", 4), ("prepare", 2), ("use", 8),
        ("status", 1), ("count", 1), ("result", 1), ("forget", 2),
        ("defer_on", 2), ("stats", 2), ("var", 2), ("setting", 2),
        ("quiet", 4), ("watch", 1), ("null", 1), ("defer", 2), ("closing", 2),
        ("alone", 1), ("crowd", 3))
    COMMON = ("sleep", "scope", "group", "spawn", "class", "cancel", "call")
    # With a monitor's lock in hand these come oftener.
    MONITOR_WEIGHTS = {"cond": 8, "cond_for": 4, "notify": 8}

    def pick(self):
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
            if kind == "crowd" and (depth >= DEPTH - 2 or self.crowded):
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
            if kind == "notify" and self.chance(0.5):
                made.append(self.statement("sleep", depth))
        return made

    def some(self, depth, in_block):
        return self.statements(depth + 1, self.random.randint(0, 4), in_block)

    def statement(self, kind, depth):
        make = getattr(self, "make_" + kind, None)
        s = {"op": kind, "id": self.new_id()}
        free = self.free
        if kind in ("scope", "group", "gen", "spawn", "start", "hold", "use",
                    "crowd", "lock"):
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

    # -- waits

    def make_sleep(self, s, _):
        s.update(ms=self.ms(), catch=self.catch())

    def make_check(self, s, _):
        s.update(catch=self.catch())

    def make_wait(self, s, _):
        s.update(slot=self.few(EVENTS), catch=self.catch())

    def make_set(self, s, _):
        s.update(slot=self.few(EVENTS))

    make_clear = make_set

    def make_acquire(self, s, _):
        s.update(slot=self.few(SEMAPHORES), catch=self.catch())

    def make_release(self, s, _):
        s.update(slot=self.few(SEMAPHORES))

    make_try_acquire = make_release

    def make_call(self, s, depth):
        s.update(catch=self.catch(), body=self.some(depth, False))

    def make_join(self, s, _):
        s.update(slot=None, catch=self.catch())
        return self.in_time(s)

    def make_op(self, s, _):
        """how: what its abort does; see interpret.h."""
        s.update(ms=self.ms() * self.random.choice((1, 3)),
                 how=self.random.randrange(6), catch=self.catch())

    def make_refuse(self, s, _):
        s.update(code=self.code(), catch=self.catch())

    def make_send(self, s, _):
        s.update(slot=self.few(CHANNELS), catch=self.catch())

    make_receive = make_send

    def make_end_channel(self, s, _):
        s.update(slot=self.few(CHANNELS))

    # -- locks, conditions, tokens

    def make_lock(self, s, depth):
        s.update(slot=self.few(LOCKS),
                 **{"try": int(self.chance(0.2))})
        if s["slot"] < MONITORS:
            self.monitor = s["slot"]
            s["body"] = self.statements(
                depth + 1, self.random.randint(1, 5), True)
            self.monitor = None
            return s
        s["body"] = self.some(depth, True)
        if s["try"] or self.is_cut and self.chance(0.5):
            return s
        return self.in_time(s)

    def make_cond(self, s, _):
        self.aim_at_condition(s)
        return self.in_time(s) if self.chance(0.4) else s

    def aim_at_condition(self, s):
        slot = self.few(CONDITIONS)
        if self.monitor is not None and self.chance(0.9):
            slot = self.few(2) if self.monitor == 0 else 2
        s.update(slot=slot, catch=self.catch())

    def make_cond_for(self, s, _):
        s.update(event=self.few(EVENTS))
        return self.make_cond(s, None)

    def make_notify(self, s, _):
        self.aim_at_condition(s)
        s.update(count=self.random.choice((1, 1, 2, -1)))

    def make_token(self, s, depth):
        """object: 0 is the task."""
        s.update(slot=self.few(LIMITERS),
                 object=self.random.choice((0, 0, 0, 1, 2)),
                 body=self.some(depth, True),
                 **{"try": int(self.chance(0.2))})

    def make_total(self, s, _):
        s.update(slot=self.few(LIMITERS),
                 total=self.random.randrange(4))

    def make_stats(self, s, _):
        s.update(slot=self.few(LOCKS))

    # -- cancel scopes

    def settings(self, s):
        s.update(timeout=-1, shield=0, grace=0, fail=0)
        kind = self.random.choice(("timeout", "timeout", "move_on", "move_on",
                                   "shield", "mixed", "bare"))
        if kind in ("timeout", "move_on", "mixed"):
            s["timeout"] = 0 if self.chance(0.05) else self.ms()
        if kind == "timeout" or kind == "mixed" and self.chance(0.5):
            s["fail"] = 1
        if kind == "shield" or kind == "mixed" and self.chance(0.5):
            s["shield"] = 1
        if s["shield"] or self.chance(0.2):
            s["grace"] = self.random.choice((-1, 1, 3, 6, 10, FOREVER))
        if s["shield"] and self.is_cut and s["grace"] in (0, FOREVER):
            s["grace"] = 10
        if s["grace"] in (0, FOREVER) or not s["shield"]:
            self.toggled.append(s["slot"])

    def make_scope(self, s, depth):
        s.update(slot=self.slot("scope"))
        self.settings(s)
        s["body"] = self.some(depth, True)

    def make_prepare(self, s, _):
        s.update(slot=self.slot("scope"))
        self.settings(s)
        self.prepared.append(s["slot"])

    def make_use(self, s, depth):
        """Now and then a second time."""
        s.update(slot=self.random.choice(self.prepared),
                 body=self.some(depth, True))

    def make_status(self, s, _):
        s.update(slot=self.random.randrange(max(self.counts["scope"], 1)))

    # -- groups and tasks

    def make_group(self, s, depth):
        s.update(slot=self.slot("group"), policy=int(self.chance(0.15)),
                 max=self.random.choice((0, 0, 0, 1, 2)),
                 kept=self.random.choice((0, 0, 0, 1, 2)))
        self.groups.append(s["slot"])
        s["body"] = self.statements(
            depth + 1, self.random.randint(1, 5), True)
        self.groups.pop()

    def make_spawn(self, s, depth):
        context = 0
        if self.counts["context"] > 0 and self.chance(0.5):
            context = 1 + self.random.randrange(self.counts["context"])
        s.update(slot=self.random.choice(self.groups), name=self.slot("task"),
                 context=context)
        s["task"] = self.statements(
            depth + 1, self.random.randint(1, 4), False)

    def make_start(self, s, depth):
        s.update(slot=self.random.choice(self.groups), name=self.slot("task"),
                 catch=self.catch())
        s["task"] = self.statements(
            depth + 1, self.random.randint(1, 4), False)
        if self.chance(0.85):
            s["task"].insert(self.random.randint(0, len(s["task"])),
                             {"op": "started", "id": self.new_id()})

    def make_hold(self, s, depth):
        kind = self.random.choice(FRAMES)
        s.update(slot=self.random.choice(self.groups), name=self.slot("task"),
                 hold=self.slot("hold"), catch=self.catch())
        s["body"] = [self.emptied(self.statement(kind, depth))]

    @staticmethod
    def emptied(s):
        s["body"] = []
        return s

    def any_hold(self, s, _):
        """Nearly always one of those before it."""
        known = range(self.counts["hold"])
        s.update(hold=self.random.choice(known[-3:] or [0]))

    make_ask = make_drop = any_hold

    def make_shut(self, s, _):
        self.any_hold(s, None)
        s.update(catch=self.catch())
        return self.in_time(s)

    def make_count(self, s, _):
        s.update(slot=self.random.randrange(max(self.counts["group"], 1)))

    def make_result(self, s, _):
        s.update(slot=self.random.randrange(self.counts["task"]))

    CROWDS = ("lock", "lock", "lock", "token", "permit", "send", "receive",
              "start", "hold", "op", "acquire", "use")

    def make_crowd(self, s, depth):
        """Tasks that want the same, each a little later than the others."""
        kinds = self.random.choices(self.CROWDS, k=2)
        self.crowded = True
        s.update(op="group", slot=self.slot("group"), policy=0, max=0, kept=0,
                 body=[])
        self.groups.append(s["slot"])
        for _ in range(self.random.randint(2, 5)):
            child = {"op": "spawn", "id": self.new_id(), "slot": s["slot"],
                     "name": self.slot("task"), "context": 0, "task": []}
            if self.chance(0.6):
                child["task"].append(self.statement("sleep", depth))
            for _ in range(self.random.randint(1, 2)):
                kind = self.random.choice(kinds)
                if kind == "use" and not self.prepared:
                    kind = "prepare"
                child["task"].append(self.statement(kind, depth + 2))
            s["body"].append(child)
            if self.chance(0.3):
                s["body"].append(self.statement("sleep", depth))
            if self.chance(0.3):
                s["body"].append({"op": "cancel", "id": self.new_id(),
                                  "what": "task", "slot": child["name"]})
        self.groups.pop()
        self.crowded = False

    # -- managers

    def make_permit(self, s, depth):
        s.update(slot=self.few(SEMAPHORES),
                 body=self.some(depth, True))

    def make_class(self, s, depth):
        s["enter"] = self.some(depth, False) if self.chance(0.3) else []
        s["exit"] = self.some(depth, False) if self.chance(0.7) else []
        answer = self.random.choice(("pass", "suppress", "fail", "same"))
        if answer != "pass":
            place = s["exit"]
            if self.chance(0.3):
                place = self.random.choice(self.places(place))
            place.append({"op": answer, "id": self.new_id(),
                          "code": self.code()})
        s["body"] = self.some(depth, True)

    @staticmethod
    def places(statements):
        """The lists of the same frame: its own and those of its blocks."""
        found = [statements]
        for place in found:
            found.extend(
                s["body"] for s in place if s["op"] in BLOCKS
                and (s["op"] != "lock" or s["slot"] >= MONITORS))
        return found

    def make_gen(self, s, depth):
        """Somewhere among a manager's own blocks stands its yield."""
        s["enter"] = self.some(depth, False)
        for _ in range(self.random.choice((0, 0, 0, 1, 1, 2, 3))):
            kind = self.random.choice(
                ("class", "class", "scope", "group", "lock", "token", "quiet"))
            place = self.random.choice(self.places(s["enter"]))
            if depth < DEPTH - 2:
                place.append(self.statement(kind, depth + 1))
        for _ in range(self.random.choice((1, 1, 1, 1, 1, 1, 1, 1, 0, 2))):
            place = self.random.choice(self.places(s["enter"])[-3:])
            place.insert(self.random.randint(0, len(place)), {
                "op": "yield", "id": self.new_id(), "catch": self.catch()})
        s["body"] = self.some(depth, True)

    def make_closing(self, s, depth):
        s["exit"] = self.some(depth, False)
        s["body"] = self.some(depth, True)

    def make_quiet(self, s, depth):
        """Its codes are filled in when all are known."""
        s.update(first=0, second=0, third=0, body=self.some(depth, True))

    def make_var(self, s, depth):
        s.update(slot=self.random.randrange(VARS), body=self.some(depth, True))

    make_setting = make_var

    def make_set_var(self, s, _):
        s.update(slot=self.random.randrange(VARS))
        self.tokens.append(s["id"])

    def make_reset_var(self, s, _):
        s.update(slot=self.random.randrange(VARS), token=0)
        if self.tokens:
            s["token"] = self.random.choice(self.tokens[-3:])

    def make_capture(self, s, _):
        s.update(slot=self.slot("context"))

    def make_fail(self, s, _):
        s.update(code=self.code())

    make_alone = make_fail

    # -- exit stacks

    def make_stack(self, s, depth):
        s.update(slot=self.slot("stack"))
        self.free = s["slot"]
        self.stacks.append(s["slot"])
        s["body"] = self.statements(
            depth + 1, self.random.randint(1, 5), True)
        self.stacks.pop()

    def any_stack(self):
        """Nearly always one that is open."""
        if self.stacks and self.chance(0.9):
            return self.random.choice(self.stacks)
        return self.random.randrange(max(self.counts["stack"], 1))

    def make_put(self, s, depth):
        """A scope only where no other lies between it and the stack."""
        kind = self.random.choice(
            ("class", "class", "permit", "lock", "token", "var", "closing",
             "null"))
        slot = self.any_stack()
        if self.free is not None and self.chance(0.5):
            kind, slot = self.random.choice(("gen", "scope")), self.free
            self.pinned.add(slot)
        if kind == "lock":
            inner = {"op": "lock", "id": self.new_id(), "try": 1, "slot":
                     self.random.randrange(MONITORS, LOCKS)}
        else:
            inner = self.statement(kind, depth)
        self.emptied(inner)
        if kind == "scope":
            if inner["slot"] in self.toggled:
                self.toggled.remove(inner["slot"])
            inner["slot"] = NO_SLOT
        if kind == "class":
            self.entries.append(inner["id"])
        s.update(slot=slot, catch=self.catch(), body=[inner])

    def make_push(self, s, depth):
        made = self.statement("class", depth)
        s.update(slot=self.any_stack(), exit=made["exit"])
        self.entries.append(s["id"])

    def make_defer_on(self, s, _):
        s.update(slot=self.any_stack())

    def make_forget(self, s, _):
        s.update(entry=0)
        if self.entries:
            s["entry"] = self.random.choice(self.entries[-2:])

    def make_close(self, s, _):
        s.update(slot=self.any_stack(), catch=self.catch(),
                 code=self.code() if self.chance(0.3) else 0)

    def make_hand(self, s, _):
        s.update(slot=self.any_stack(), to=self.any_stack())

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
                elif s["op"] in ("shield", "move"):
                    self.aim_at_scope(s)
                elif s["op"] == "hand" and s["slot"] in self.pinned:
                    s["slot"] = s["to"] = NO_SLOT
                elif s["op"] == "join":
                    s["slot"] = self.random.randrange(self.counts["task"])
                elif s["op"] == "quiet":
                    s["first"], s["second"], s["third"] = (
                        self.random.choices(codes, k=3))

    def aim(self, s):
        known = [what for what in ("scope", "group", "task", "task")
                 if self.counts[what] > 0]
        s["what"] = self.random.choice(known)
        s["slot"] = self.random.randrange(self.counts[s["what"]])

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
        main = {"op": "call", "id": self.new_id(), "catch": 0, "body": inner}
        outside = [main]
        if not self.is_cut:
            outside.insert(0, self.janitor(outer))
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
                  "total": 1000} for slot in range(LIMITERS)]
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
