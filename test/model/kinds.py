"""How each kind of statement of a random program is made."""
from language import BLOCKS, FOREVER, FRAMES, MANY, NO_SLOT

SEMAPHORES = 3
EVENTS = 4
LIMITERS = 2
CHANNELS = 2
VARS = 3
MONITORS = 2  # the first locks, which have conditions
LOCKS = 4
OBSERVERS = 2
CONDITIONS = 3  # of locks 0, 0, 1; as in interpret.h
DEPTH = 7


class Kinds:
    """A part of Maker."""

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
                 how=self.random.randrange(7), catch=self.catch())

    def make_refuse(self, s, _):
        s.update(code=self.code(), catch=self.catch())

    def make_work(self, s, _):
        s.update(ms=self.ms() * self.random.choice((1, 3)),
                 code=self.code() if self.chance(0.2) else 0,
                 abandon=int(self.chance(0.4)), catch=self.catch())
        return self.in_time(s) if self.chance(0.3) else s

    def make_post(self, s, _):
        """What it cancels is filled in when all tasks are known."""
        s.update(what=self.random.randrange(3), thread=int(self.chance(0.1)))
        s.update(slot=self.few((EVENTS, SEMAPHORES, 1)[s["what"]]))

    def make_send(self, s, _):
        s.update(slot=self.few(CHANNELS), catch=self.catch())

    make_receive = make_send

    def make_end_channel(self, s, _):
        s.update(slot=self.few(CHANNELS))

    # -- locks, conditions, tokens

    def make_lock(self, s, depth):
        s.update(slot=self.few(LOCKS), **{"try": int(self.chance(0.2))})
        if self.monitor is not None:
            s.update(slot=self.monitor, body=[])  # which it has already
            return s
        if s["slot"] < MONITORS:
            self.monitor = s["slot"]
            s["body"] = self.statements(
                depth + 1, self.random.randint(1, 5), True)
            self.monitor = None
            return s
        s["body"] = self.inside(depth)
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
                 body=self.inside(depth),
                 **{"try": int(self.chance(0.2))})
        if self.chance(0.3):  # for the same one again
            s["body"].append({**s, "id": self.new_id(), "body": []})

    def inside(self, depth):
        """The body of what others want too: they shall have to wait."""
        first = [self.statement("sleep", depth)] if self.crowded else []
        return first + self.some(depth, True)

    def make_total(self, s, _):
        s.update(slot=self.few(LIMITERS),
                 total=self.random.randrange(4))

    def make_stats(self, s, _):
        s.update(slot=self.few(LOCKS))

    def make_observe(self, s, _):
        """kinds: scopes, tasks, groups added up, as in observe.h."""
        first = 0 if self.program["budget"] == MANY else 1
        s.update(slot=self.random.randrange(first, OBSERVERS),
                 kinds=self.random.choice((1, 2, 8, 11, 11, 11)))

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
        if self.chance(0.1):
            s["task"].insert(self.random.randint(0, len(s["task"])),
                             {"op": "cancel", "id": self.new_id(),
                              "what": "self", "slot": 0})

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
              "start", "hold", "op", "acquire", "use", "work", "work", "post")

    def make_gathering(self, s, depth):
        """Tasks that wait for a condition, and those that notify them."""
        s.update(op="group", slot=self.slot("group"), policy=0, kept=0, max=0,
                 body=[])
        self.groups.append(s["slot"])
        self.crowded = True
        self.monitor = 0
        waiters = []
        for kind in self.random.choice((
                ("cond", "cond", "notify"),
                ("cond", "cond", "cond_for", "notify", "notify"),
                ("cond_for", "cond", "notify", "notify"))):
            name = self.slot("task")
            inside = [self.statement(kind, depth)]
            if kind == "notify":
                inside += self.after(inside[0], depth)
                if self.chance(0.5):
                    inside.insert(self.random.randint(0, 1), {
                        "op": "cancel", "id": self.new_id(), "what": "task",
                        "slot": self.random.choice(waiters)})
                inside.append(self.statement("sleep", depth))
            waiters.append(name)
            inside += self.statements(depth + 2, 1, True)
            lock = {"op": "lock", "id": self.new_id(), "slot": 0, "try": 0,
                    "body": inside}
            s["body"].append({
                "op": "spawn", "id": self.new_id(), "slot": s["slot"],
                "name": name, "context": 0, "task": [lock]})
            if self.chance(0.3):
                s["body"].append(self.statement("sleep", depth))
        self.monitor = None
        self.crowded = False
        self.groups.pop()

    def make_crowd(self, s, depth):
        """Tasks that want the same, each a little later than the others."""
        if self.chance(0.3):
            self.make_gathering(s, depth)
            return
        kinds = self.random.choices(self.CROWDS, k=2)
        if "send" in kinds or "receive" in kinds:
            kinds = ("send", "send", "receive")
        self.crowded = True
        s.update(op="group", slot=self.slot("group"), policy=0, kept=0,
                 max=self.random.choice((0, 0, 0, 1, 2)), body=[])
        self.groups.append(s["slot"])
        for _ in range(self.random.randint(2, 5)):
            child = {"op": "spawn", "id": self.new_id(), "slot": s["slot"],
                     "name": self.slot("task"), "context": 0, "task": []}
            if self.chance(0.6):
                child["task"].append(self.statement("sleep", depth))
            for _ in range(self.random.randint(1, 3)):
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
        s.update(slot=self.few(SEMAPHORES), body=self.inside(depth))

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
                ("class", "class", "scope", "group", "lock", "token", "quiet",
                 "stack", "stack"))
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
        """Those that are put on it are open as long."""
        s.update(slot=self.slot("stack"))
        self.free = s["slot"]
        before = len(self.stacks)
        self.stacks.append(s["slot"])
        s["body"] = self.statements(
            depth + 1, self.random.randint(1, 5), True)
        del self.stacks[before:]

    def make_nest(self, s, depth):
        """Stacks on stacks in a block of one more. In one task, or in several
        that hand things to each other: no generators there, since the model
        resumes one in the task that has entered it.
        """
        s.update(op="stack", slot=self.slot("stack"), body=[])
        outside, self.stacks = self.stacks, [s["slot"]]
        self.nesting = True
        self.left += 10
        if self.chance(0.4):
            s["body"] = [self.nested(depth)
                         for _ in range(self.random.randint(1, 2))]
        else:
            self.handing = True
            s["body"] = [self.make_handing(depth)]
            self.handing = False
        if self.chance(0.5):
            s["body"].append(self.statement("sleep", depth))
        self.nesting = False
        self.stacks = outside

    def make_handing(self, depth):
        group = {"op": "group", "id": self.new_id(), "policy": 0, "max": 0,
                 "kept": 0, "slot": self.slot("group"), "body": []}
        self.groups.append(group["slot"])
        for _ in range(self.random.choice((1, 2, 2, 3))):
            group["body"].append({
                "op": "spawn", "id": self.new_id(), "slot": group["slot"],
                "name": self.slot("task"), "context": 0,
                "task": [self.nested(depth)]})
            if self.chance(0.3):
                group["body"].append(self.statement("sleep", depth))
        self.groups.pop()
        return group

    def nested(self, depth):
        """Those behind it know it too."""
        stack = {"op": "stack", "id": self.new_id(),
                 "slot": self.slot("stack")}
        self.stacks.append(stack["slot"])
        self.free = stack["slot"]
        self.entries.clear()
        stack["body"] = [
            self.statement(kind, depth + 2) for kind in ["put", "put"]
            + self.random.choices(self.NEST_KINDS, k=self.random.randint(3, 8))]
        return stack

    def any_stack(self):
        """Nearly always one that is open."""
        if self.nesting:  # mostly one of the last ones
            return self.random.choice(self.stacks[-3:] + self.stacks)
        if self.stacks and self.chance(0.9):
            return self.random.choice(self.stacks)
        return self.random.randrange(max(self.counts["stack"], 1))

    def make_put(self, s, depth):
        """A scope only where no other lies between it and the stack."""
        kind = self.random.choice(
            ("class", "class", "permit", "lock", "token", "var", "closing",
             "null", "stack", "stack"))
        slot = self.any_stack()
        if self.free is not None and self.chance(
                0.2 if self.nesting else 0.5):
            kind, slot = self.random.choice(("gen", "scope")), self.free
        elif self.nesting and self.chance(0.4):
            kind = "stack"
        elif self.chance(0.25):  # other scopes may lie in between: evictions
            kind = self.random.choice(("gen", "scope", "scope"))
        if kind == "gen" and self.handing:
            kind = "class"
        if kind == "stack":
            inner = {"op": "stack", "id": self.new_id(),
                     "slot": self.slot("stack")}
            self.stacks.append(inner["slot"])
            if self.free == slot and self.chance(0.5):
                self.free = inner["slot"]
        elif kind == "lock":
            inner = {"op": "lock", "id": self.new_id(), "try": 1, "slot":
                     self.random.randrange(MONITORS, LOCKS)}
        else:
            inner = self.statement(kind, depth)
        self.emptied(inner)
        if kind == "scope":
            if inner["slot"] in self.toggled:
                self.toggled.remove(inner["slot"])
            inner["slot"] = NO_SLOT
        if self.nesting and kind == "class" and self.chance(0.3):
            inner["enter"].append(self.statement("sleep", depth))
        if kind in ("class", "stack"):
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
            s["entry"] = self.random.choice(
                self.entries[-8 if self.nesting else -2:])

    def make_close_entry(self, s, _):
        self.make_forget(s, None)
        s.update(catch=self.catch())

    def make_close(self, s, _):
        s.update(slot=self.any_stack(), catch=self.catch(),
                 code=self.code() if self.chance(0.3) else 0)

    def make_hand(self, s, _):
        s.update(slot=self.any_stack(), to=self.any_stack())
