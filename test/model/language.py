"""The language of the model test: programs as trees.

A program is {"grace", "permits", ..., "main"}; main is a list of statements. A
statement is a dict: "op" says what, "id" names it in the log, the lists below
"body", "enter", "exit" and "task" are what it contains. flatten() turns it
into the numbers that interpret.c reads.

There are no streams and processes in it: to the runtime they are operations
whose abort is done at once, or later, or refused, and that is "op"; what else
there is to them is libuv, which a program on a virtual clock cannot have.
"""
import copy

FOREVER = 1000000000
JANITOR_MS = 10000  # when what is left is set free; as in interpret.h
TOKENS_MANY = 1000  # are there from then on
MANY = 1000000  # steps a turn: as many as there are
NO_SLOT = 63  # of what nobody can aim at
ARGS = 6

# The arguments of each operation, in the order of the numbers in interpret.h.
# "name": that of the statement; ">name": where that list begins; "<name": the
# operation that opens the one block in that list; "-": where the block ends.
FIELDS = {
    # what is awaited
    "sleep": "id catch ms",
    "check": "id catch",
    "wait": "id catch slot",
    "acquire": "id catch slot",
    "call": "id catch >body",
    "join": "id catch slot",
    "yield": "id catch",
    "put": "id catch slot <body",
    "close": "id catch slot code",
    "start": "id catch slot >task name",
    "hold": "id catch slot <body hold name",
    "shut": "id catch hold",
    "cond": "id catch slot",
    "cond_for": "id catch slot event",
    "send": "id catch slot",
    "receive": "id catch slot",
    "op": "id catch ms how",
    "refuse": "id catch code",
    "work": "id catch ms code abandon",
    "close_entry": "id catch entry",
    # what completes at once
    "set": "slot",
    "clear": "slot",
    "release": "slot",
    "spawn": "id slot >task name context",
    "cancel": "id kind slot",
    "shield": "id slot on",
    "move": "id slot ms",
    "push": "id slot >exit",
    "hand": "id slot to",
    "started": "id",
    "ask": "id hold",
    "drop": "id hold",
    "notify": "id slot count",
    "total": "id slot total",
    "end_channel": "id slot",
    "try_acquire": "id slot",
    "set_var": "id slot",
    "reset_var": "id slot token",
    "capture": "id slot",
    "peek": "id",
    "look": "id",
    "prepare": "id slot timeout flags grace",
    "status": "id slot",
    "count": "id slot",
    "result": "id slot",
    "forget": "id entry",
    "defer_on": "id slot",
    "stats": "id slot",
    "observe": "id slot kinds",
    "post": "id what slot thread",
    # blocks
    "mark": "id - kind slot",
    "scope": "id - slot timeout flags grace",
    "group": "id - slot max policy kept",
    "class": "id - >enter >exit",
    "gen": "id - >enter",
    "permit": "id - slot",
    "stack": "id - slot",
    "lock": "id - slot try",
    "token": "id - slot object try",
    "var": "id - slot",
    "setting": "id - slot",
    "quiet": "id - first second third",
    "watch": "id -",
    "null": "id -",
    "defer": "id -",
    "closing": "id - >exit",
    "use": "id - slot",
    # what ends a block or a frame
    "leave": "",
    "return": "",
    "suppress": "",
    "same": "",
    "fail": "code",
    "alone": "code",
}
NUMBER = {name: number for number, name in enumerate(FIELDS)}
BLOCKS = tuple(name for name, fields in FIELDS.items()
               if " -" in fields and name != "mark")
# Round each of these stands a mark, which tells what it has ended with.
MARKED = ("scope", "group", "permit", "stack", "lock", "token", "use", "quiet",
          "watch")
FRAMES = ("class", "gen")  # managers of the program
PUT = FRAMES + ("scope", "permit", "lock", "token", "var", "closing", "null",
                "stack")
KIND = {"permit": 0, "lock": 0, "token": 0, "quiet": 0, "scope": 1, "group": 2,
        "task": 3, "stack": 4, "use": 5, "watch": 6, "self": 7}
LISTS = ("body", "enter", "exit", "task")


# ---- programs as numbers

class Flat:
    def __init__(self):
        self.ops = []
        self.queue = []  # lists that are still to come

    def add(self, kind, s):
        op = [NUMBER[kind]] + [0] * ARGS
        self.ops.append(op)
        for place, field in enumerate(FIELDS[kind].split(), 1):
            if field[0] in "<>":
                self.queue.append((op, place, s[field[1:]], field[0]))
            elif field == "flags":
                op[place] = s["shield"] + 2 * s["fail"]
            elif field == "kind":
                op[place] = KIND[s["what"]]
            elif field != "-":
                op[place] = s[field]
        return op

    def statements(self, statements):
        for s in statements:
            if s["op"] in BLOCKS:
                self.block(s)
            else:
                self.add("leave" if s["op"] == "break" else s["op"], s)

    def block(self, s):
        marked = s["op"] in MARKED
        if marked:
            mark = self.add("mark", {"id": s["id"], "what": s["op"],
                                     "slot": s.get("slot", 0)})
        opener = self.add(s["op"], s)
        self.statements(s["body"])
        opener[2] = len(self.ops)
        self.add("leave", s)
        if marked:
            mark[2] = len(self.ops)
            self.add("leave", s)

    def entry(self, statements):
        start = len(self.ops)
        self.statements(statements)
        self.add("return", {})
        return start


def flatten(program):
    """The text that interpret.c reads."""
    flat = Flat()
    entry = flat.entry(program["main"])
    while flat.queue:
        op, place, statements, how = flat.queue.pop()
        if how == "<":
            op[place] = len(flat.ops)
            flat.add(statements[0]["op"], statements[0])
        else:
            op[place] = flat.entry(statements)
    lines = [f"{len(flat.ops)} {program['grace']} {entry}"
             f" {program['permits']} {program['tokens']}"
             f" {program['capacity']} {program['budget']}"]
    lines += [" ".join(map(str, op)) for op in flat.ops]
    return "\n".join(lines) + "\n"


# ---- programs as text

def show(program):
    lines = [" ".join(f"{name} {value}" for name, value in program.items()
                      if name != "main")]

    def show_list(statements, indent):
        for s in statements:
            words = [s["op"]] + [f"{key}={value}" for key, value in s.items()
                                 if key != "op" and key not in LISTS]
            lines.append("  " * indent + " ".join(words))
            for name in LISTS:
                if name in s:
                    if len(lists_of(s)) > 1 or name != "body":
                        lines.append("  " * indent + " " + name + ":")
                    show_list(s[name], indent + 1)

    show_list(program["main"], 0)
    return "\n".join(lines)


def lists_of(s):
    return [s[name] for name in LISTS if name in s]


def every_list(program):
    """Each list of statements, outer ones first."""
    found = [program["main"]]
    for statements in found:
        for s in statements:
            found.extend(lists_of(s))
    return found


def opens_one(s):
    """Is there exactly the one block that is put somewhere else?"""
    allowed = PUT if s["op"] == "put" else FRAMES
    return len(s["body"]) == 1 and s["body"][0]["op"] in allowed


def valid(program):
    """No break outside a block of its frame, no yield but in a manager."""
    def check(statements, depth, generator, put=False):
        for s in statements:
            if s["op"] == "break" and depth == 0:
                return False
            if s["op"] == "yield" and not generator:
                return False
            if s["op"] in ("put", "hold") and not opens_one(s):
                return False
            if s["op"] == "scope" and s["slot"] == NO_SLOT and not put:
                return False
            for name in LISTS:
                inner = name == "body" and s["op"] in BLOCKS
                if name in s and not check(
                        s[name], depth + 1 if inner else 0,
                        generator if inner else s["op"] == "gen",
                        s["op"] == "put"):
                    return False
        return True

    return check(program["main"], 0, False)


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
