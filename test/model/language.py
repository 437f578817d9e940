"""The language of the model test: programs as trees, made from a seed.

A program is {"grace", "permits", "main"}; main is a list of statements. A
statement is a dict: "op" says what, "id" names it in the log, the lists below
"body", "enter", "exit" and "task" are what it contains. flatten() turns it
into the numbers that interpret.c reads.
"""
import copy
import random

FOREVER = 1000000000

# As in interpret.c.
KINDS = ("sleep", "check", "wait", "set", "clear", "acquire", "release",
         "call", "spawn", "cancel", "shield", "move", "mark", "scope", "group",
         "class", "gen", "permit", "leave", "yield", "return", "suppress",
         "same", "fail", "join", "stack", "put", "push", "close", "hand")
NUMBER = {name: number for number, name in enumerate(KINDS)}
SLOT = {"scope": 1, "group": 2, "task": 3, "stack": 4}
NO_SLOT = 63  # of what nobody can aim at
LISTS = ("body", "enter", "exit", "task")
BLOCKS = ("scope", "group", "class", "gen", "permit", "stack")
PUT = ("class", "gen", "scope", "permit")  # on a stack
MARKED = ("scope", "group", "permit", "stack")
ARGS = 6

FIRST_CODE = -7000
JANITOR_MS = 10000
SEMAPHORES = 3
EVENTS = 4


# ---- programs as numbers

class Flat:
    def __init__(self):
        self.ops = []
        self.queue = []

    def add(self, kind, *args):
        args = list(args) + [0] * (ARGS - len(args))
        self.ops.append([NUMBER[kind]] + args)
        return self.ops[-1]

    def later(self, op, place, statements):
        """The list becomes an entry of its own; its index goes into op."""
        self.queue.append((op, place, statements))

    def statements(self, statements):
        for statement in statements:
            self.statement(statement)

    def statement(self, s):
        op = s["op"]
        if op in BLOCKS:
            self.block(s)
        elif op in ("sleep",):
            self.add(op, s["id"], s["catch"], s["ms"])
        elif op in ("check", "yield"):
            self.add(op, s["id"], s["catch"])
        elif op in ("wait", "acquire", "join"):
            self.add(op, s["id"], s["catch"], s["slot"])
        elif op in ("set", "clear", "release"):
            self.add(op, s["slot"], JANITOR_MS)
        elif op == "call":
            self.later(self.add(op, s["id"], s["catch"]), 3, s["body"])
        elif op == "spawn":
            self.later(self.add(op, s["id"], s["slot"], 0, s["name"]),
                       3, s["task"])
        elif op == "cancel":
            self.add(op, s["id"], SLOT[s["what"]], s["slot"])
        elif op == "shield":
            self.add(op, s["id"], s["slot"], s["on"])
        elif op == "move":
            self.add(op, s["id"], s["slot"], s["ms"])
        elif op == "put":
            self.later(self.add(op, s["id"], s["catch"], s["slot"]), 4,
                       s["body"])
        elif op == "push":
            self.later(self.add(op, s["id"], s["slot"]), 3, s["exit"])
        elif op == "close":
            self.add(op, s["id"], s["catch"], s["slot"])
        elif op == "hand":
            self.add(op, s["id"], s["slot"], s["to"])
        elif op == "fail":
            self.add(op, s["code"])
        elif op == "break":
            self.add("leave")
        else:
            self.add(op)

    def block(self, s):
        marked = s["op"] in MARKED
        if marked:
            mark = self.add("mark", s["id"], 0, SLOT.get(s["op"], 0),
                            s["slot"])
        opener = self.opener(s)
        self.statements(s["body"])
        opener[2] = len(self.ops)
        self.add("leave")
        if marked:
            mark[2] = len(self.ops)
            self.add("leave")

    def opener(self, s):
        kind = s["op"]
        if kind == "scope":
            return self.add(kind, s["id"], 0, s["slot"], s["timeout"],
                            s["shield"] + 2 * s["fail"], s["grace"])
        if kind == "group":
            return self.add(kind, s["id"], 0, s["slot"], s["max"], s["policy"])
        if kind in ("permit", "stack"):
            return self.add(kind, s["id"], 0, s["slot"])
        op = self.add(kind, s["id"], 0)
        self.later(op, 3, s["enter"])
        if kind == "class":
            self.later(op, 4, s["exit"])
        return op

    def entry(self, statements):
        start = len(self.ops)
        self.statements(statements)
        self.add("return")
        return start


def flatten(program):
    """The text that interpret.c reads."""
    flat = Flat()
    entry = flat.entry(program["main"])
    while flat.queue:
        op, place, statements = flat.queue.pop()
        if op[0] == NUMBER["put"]:
            op[place] = len(flat.ops)
            flat.opener(statements[0])
        else:
            op[place] = flat.entry(statements)
    lines = [f"{len(flat.ops)} {program['grace']} {entry}"
             f" {program['permits']} 1000000"]
    lines += [" ".join(map(str, op)) for op in flat.ops]
    return "\n".join(lines) + "\n"


# ---- programs as text

def show(program):
    lines = [f"grace {program['grace']} permits {program['permits']}"]

    def show_list(statements, indent):
        for s in statements:
            words = [s["op"]] + [f"{key}={value}" for key, value in s.items()
                                 if key != "op" and key not in LISTS]
            lines.append("  " * indent + " ".join(words))
            for name in LISTS:
                if name in s:
                    if s["op"] not in ("scope", "group", "permit"):
                        lines.append("  " * indent + " " + name + ":")
                    show_list(s[name], indent + 1)

    show_list(program["main"], 0)
    return "\n".join(lines)


def every_list(program):
    """Each list of statements, outer ones first."""
    found = [program["main"]]
    for statements in found:
        for s in statements:
            found.extend(s[name] for name in LISTS if name in s)
    return found


def valid(program):
    """No break outside a block of its frame, no yield but in a manager."""
    def check(statements, depth, generator):
        for s in statements:
            if s["op"] == "break" and depth == 0:
                return False
            if s["op"] == "yield" and not generator:
                return False
            if s["op"] == "put" and (
                    len(s["body"]) != 1 or s["body"][0]["op"] not in PUT):
                return False
            for name in LISTS:
                inner = name == "body" and s["op"] in BLOCKS
                if name in s and not check(
                        s[name], depth + 1 if inner else 0,
                        generator if inner else s["op"] == "gen"):
                    return False
        return True

    return check(program["main"], 0, False)


def size(program):
    return sum(len(statements) for statements in every_list(program))


# ---- making programs

class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.next_id = 0
        self.counts = {"scope": 0, "group": 0, "task": 1, "stack": 0}
        self.left = self.random.choice((8, 15, 25, 40))
        # Each program has its own taste, and few different times.
        self.weights = [weight * self.random.choice((0.2, 0.5, 1, 1, 2, 4))
                        for _, weight in self.WEIGHTS]
        self.times = self.random.choices(
            (1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 15), k=self.random.randint(1, 6))
        self.catches = self.random.choice((0, 0.1, 0.25, 0.5))
        self.groups = []  # slots of those that are open, lexically
        self.toggled = []
        self.endless = 0  # shields
        self.stacks = []  # the same
        self.free = None  # the one that may take a scope
        self.pinned = set()  # those that have taken one
        self.program = {
            "grace": self.random.choice((-1, 3, 7, 20, 5000, FOREVER)),
            "permits": self.random.choice((0, 1, 1, 2)),
        }

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

    def catch(self):
        return int(self.chance(self.catches))

    # Which statements there are, and how often.
    WEIGHTS = (
        ("sleep", 30), ("check", 6), ("wait", 5), ("set", 4), ("clear", 1),
        ("acquire", 3), ("release", 3), ("scope", 22), ("group", 12),
        ("class", 14), ("gen", 9), ("permit", 3), ("call", 6), ("spawn", 22),
        ("cancel", 12), ("move", 3), ("shield", 3), ("join", 2), ("return", 2),
        ("break", 2), ("fail", 4), ("stack", 6), ("put", 8), ("push", 5),
        ("close", 2), ("hand", 2))

    def statements(self, depth, length, in_block):
        made = []
        for _ in range(length):
            if self.left <= 0:
                break
            self.left -= 1
            kind = self.random.choices(
                [name for name, _ in self.WEIGHTS], self.weights)[0]
            if depth >= 7 and (kind in BLOCKS or kind in ("call", "spawn",
                                                         "join")):
                kind = "sleep"
            if kind == "break" and not in_block:
                kind = "return"
            if kind == "spawn" and not self.groups:
                kind = "group"
            if kind in ("put", "push") and (
                    depth >= 7 or not self.stacks and self.chance(0.8)):
                kind = "stack" if depth < 7 else "sleep"
            made.append(self.statement(kind, depth))
        return made

    def some(self, depth, in_block):
        return self.statements(depth + 1, self.random.randint(0, 4), in_block)

    def statement(self, kind, depth):
        make = getattr(self, "make_" + kind, None)
        s = {"op": kind, "id": self.new_id()}
        free = self.free
        if kind in ("scope", "group", "gen", "spawn"):
            self.free = None
        if make is not None:
            made = make(s, depth)
            s = made if made is not None else s
        self.free = free
        return s

    def make_sleep(self, s, _):
        s.update(ms=self.ms(), catch=self.catch())

    def make_check(self, s, _):
        s.update(catch=self.catch())

    def make_wait(self, s, _):
        s.update(slot=self.random.randrange(EVENTS), catch=self.catch())

    def make_set(self, s, _):
        s.update(slot=self.random.randrange(EVENTS))

    def make_clear(self, s, _):
        s.update(slot=self.random.randrange(EVENTS))

    def make_acquire(self, s, _):
        s.update(slot=self.random.randrange(SEMAPHORES), catch=self.catch())

    def make_release(self, s, _):
        s.update(slot=self.random.randrange(SEMAPHORES))

    def make_call(self, s, depth):
        s.update(catch=self.catch(), body=self.some(depth, False))

    def make_fail(self, s, _):
        s.update(code=self.code())

    def make_scope(self, s, depth):
        s.update(slot=self.slot("scope"), timeout=-1, shield=0, grace=0,
                 fail=0)
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
        if s["shield"] and s["grace"] in (0, FOREVER):
            self.endless += 1
        if s["grace"] in (0, FOREVER) or not s["shield"]:
            self.toggled.append(s["slot"])
        s["body"] = self.some(depth, True)

    def make_group(self, s, depth):
        s.update(slot=self.slot("group"), policy=int(self.chance(0.15)),
                 max=self.random.choice((0, 0, 0, 1, 2)))
        self.groups.append(s["slot"])
        s["body"] = self.statements(
            depth + 1, self.random.randint(1, 5), True)
        self.groups.pop()

    def make_spawn(self, s, depth):
        self.counts["task"] += 1
        name = self.counts["task"] - 1
        s.update(slot=self.random.choice(self.groups), name=name)
        s["task"] = self.statements(
            depth + 1, self.random.randint(1, 4), False)

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
            found.extend(s["body"] for s in place if s["op"] in BLOCKS)
        return found

    def make_gen(self, s, depth):
        """Somewhere among a manager's own blocks stands its yield."""
        s["enter"] = self.some(depth, False)
        for _ in range(self.random.choice((0, 0, 0, 1, 1, 2, 3))):
            kind = self.random.choice(("class", "class", "scope", "group"))
            place = self.random.choice(self.places(s["enter"]))
            if depth < 5:
                place.append(self.statement(kind, depth + 1))
        for _ in range(self.random.choice((1, 1, 1, 1, 1, 1, 1, 1, 0, 2))):
            place = self.random.choice(self.places(s["enter"])[-3:])
            place.insert(self.random.randint(0, len(place)), {
                "op": "yield", "id": self.new_id(), "catch": self.catch()})
        s["body"] = self.some(depth, True)

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
        kind = self.random.choice(("class", "class", "permit"))
        slot = self.any_stack()
        if self.free is not None and self.chance(0.5):
            kind, slot = self.random.choice(("gen", "scope")), self.free
            self.pinned.add(slot)
        inner = self.statement(kind, depth)
        inner["body"] = []
        if kind == "scope":
            if inner["slot"] in self.toggled:
                self.toggled.remove(inner["slot"])
            inner["slot"] = NO_SLOT
        s.update(slot=slot, catch=self.catch(), body=[inner])

    def make_push(self, s, depth):
        made = self.statement("class", depth)
        s.update(slot=self.any_stack(), exit=made["exit"])

    def make_close(self, s, _):
        s.update(slot=self.any_stack(), catch=self.catch())

    def make_hand(self, s, _):
        s.update(slot=self.any_stack(), to=self.any_stack())

    def make_permit(self, s, depth):
        s.update(slot=self.random.randrange(SEMAPHORES),
                 body=self.some(depth, True))

    def make_join(self, s, _):
        """Two may join each other: none without a time limit."""
        s.update(slot=None, catch=self.catch())
        return {"op": "scope", "id": self.new_id(), "slot": self.slot("scope"),
                "timeout": self.ms(), "shield": 0, "grace": 0, "fail": 0,
                "body": [s]}

    def fill_in(self):
        """What is aimed at may stand anywhere in the program."""
        for statements in every_list(self.program):
            for s in list(statements):
                if s["op"] == "cancel":
                    self.aim(s)
                elif s["op"] in ("shield", "move"):
                    self.aim_at_scope(s)
                elif s["op"] == "hand" and s["slot"] in self.pinned:
                    s["slot"] = s["to"] = NO_SLOT
                elif s["op"] == "join":
                    s["slot"] = self.random.randrange(self.counts["task"])

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
            s["on"] = int(self.chance(0.5) and self.shields_may_rise)
        else:
            s["ms"] = self.ms()

    def make(self):
        """The statements, and beside them a janitor: in the end it sets what
        is still waited for, so that no program hangs.
        """
        outer = self.slot("group")
        self.groups = [outer]
        inner = []
        while self.left > 0:
            inner += self.statements(1, self.left, False)
        main = {"op": "call", "id": self.new_id(), "catch": 0, "body": inner}
        janitor = {"op": "spawn", "id": self.new_id(), "slot": outer,
                   "name": 0, "task": [{
                       "op": "scope", "id": self.new_id(),
                       "slot": self.slot("scope"), "timeout": -1, "shield": 1,
                       "grace": FOREVER, "fail": 0, "body": self.sweep()}]}
        outside = [main] if self.ends_when_cut() else [janitor, main]
        self.shields_may_rise = outside[0] is janitor
        self.counts["scope"] -= 1  # nobody aims at the janitor's shield
        self.program["main"] = [{
            "op": "group", "id": self.new_id(), "slot": outer, "policy": 0,
            "max": 0, "body": outside}]
        self.fill_in()
        return self.program

    def ends_when_cut(self):
        """Some programs are left alone: when nothing can happen any more, the
        root is cancelled. They end only if nothing waits for ever in an exit
        or behind a shield.
        """
        if self.program["grace"] == FOREVER or self.chance(0.6):
            return False
        return self.endless == 0

    def sweep(self):
        made = [{"op": "sleep", "id": self.new_id(), "catch": 1,
                 "ms": JANITOR_MS}]
        made += [{"op": "set", "id": 0, "slot": slot}
                 for slot in range(EVENTS)]
        made += [{"op": "release", "id": 0, "slot": slot}
                 for slot in range(SEMAPHORES) for _ in range(40)]
        return made


def make(seed):
    return Maker(seed).make()


# ---- smaller programs

def smaller(program):
    """Programs with a statement less, or with a block's body in its place."""
    count = len(every_list(program))
    for which in range(count):
        statements = every_list(program)[which]
        for at in range(len(statements)):
            yield edited(program, which, at, [])
        for at, s in enumerate(statements):
            for name in LISTS:
                if s.get(name):
                    yield edited(program, which, at, s[name])
        for at, s in enumerate(statements):
            yield from plainer(program, which, at, s)


def plainer(program, which, at, s):
    for key, value in (("catch", 0), ("max", 0), ("grace", 0), ("fail", 0)):
        if s.get(key, value) != value:
            yield edited(program, which, at, [{**s, key: value}])


def edited(program, which, at, instead):
    new = copy.deepcopy(program)
    every_list(new)[which][at:at + 1] = copy.deepcopy(instead)
    return new
