"""gdb commands for programs that use Belay: the task tree, also of a core.

    (gdb) source belay-gdb.py
    (gdb) belay tasks          every task of every runtime, as
                               belay_runtime_dump() prints it
    (gdb) belay task 7         one task; with a runtime's address behind the
                               number, that runtime's

Only memory is read, nothing is called, so that core files will do. Needed is
the debug information of libbelay. Times are as of the loop's last turn, since
a core has no clock.
"""
import gdb

INT64_MAX = 2**63 - 1
BLOCK_STEP = 16  # BELAY__BLOCK_STEP
LIMIT = 1000000  # of steps along any list: memory may be damaged


def const(name):
    return int(gdb.parse_and_eval(name))


def text(value):
    return value.string(errors="replace") if int(value) != 0 else ""


def address(value):
    return int(value.address)


class Constants:
    """Enumerators by their C names, read once."""

    def __init__(self):
        for name in ("CANCELLED", "VISIBLE", "CUT", "SHIELD", "IN_EXIT",
                     "GRACE", "HELD", "PIERCED", "LIMITED", "BASE",
                     "NAMED"):
            setattr(self, name, const(f"BELAY__SCOPE_{name}"))
        for name in ("MANAGER", "ENTERED", "EXITING"):
            setattr(self, "FRAME_" + name, const(f"BELAY__FRAME_{name}"))
        self.marks = self.VISIBLE | self.CUT
        self.sources = {
            const(f"BELAY_CANCEL_{name.upper()}"): name
            for name in ("none", "explicit", "deadline", "sibling", "parent",
                         "shutdown", "grace")}
        self.states = {
            const(f"BELAY__TASK_{name}"): shown for name, shown in (
                ("NEW", "not started"), ("READY", "ready"),
                ("STARTED", "running"), ("PARKED", "waiting"),
                ("NOTICED", "waiting"), ("ASKED", "waiting"),
                ("ENDED", "ended"))}


# ---- cancels: what cancel.c finds out, from the same fields ----

class Scope:
    """A struct belay__scope."""

    def __init__(self, value, constants):
        self.value = value
        self.constants = constants
        self.flags = int(value["flags"])
        self.depth = int(value["depth"])

    def has(self, flag):
        return self.flags & getattr(self.constants, flag) != 0

    @property
    def parent(self):
        parent = self.value["parent"]
        return Scope(parent.dereference(), self.constants) if parent else None

    def chain(self):
        """Itself and the scopes around it."""
        scope = self
        for _ in range(LIMIT):
            if scope is None:
                return
            yield scope
            scope = scope.parent

    def limits(self):
        kind = gdb.lookup_type("struct belay__limits").pointer()
        return self.value.address.cast(kind).dereference()

    def name(self):
        kind = gdb.lookup_type("struct belay__opened_scope").pointer()
        return text(self.value.address.cast(kind)["name"])

    def deadline(self):
        return int(self.limits()["deadline_ns"]) if self.has("LIMITED") \
            else INT64_MAX

    def cut(self, runtime):
        """When its grace ends, if nothing else happens."""
        if self.has("GRACE"):
            return int(runtime.cancel(self)["grace_ns"])
        if not self.has("LIMITED"):
            return INT64_MAX
        return self.deadline() + int(self.limits()["grace_ns"])

    def shields(self):
        return self.has("SHIELD") and not self.has("PIERCED")

    def inherited(self):
        if self.shields() or self.parent is None:
            return 0
        above = self.parent.flags & self.constants.marks
        if self.has("IN_EXIT"):
            return self.constants.marks if above & self.constants.CUT else 0
        return above


def cancelled_by(task, start):
    """The outermost cancelled scope that reaches `start`; by a grace's end?"""
    found, by_grace = None, False
    in_exit = start.depth <= task.floor
    for scope in start.chain():
        if scope.has("CANCELLED"):
            found, by_grace = scope, in_exit
        if scope.inherited() == 0:
            break
        in_exit = in_exit or scope.has("IN_EXIT")
    return found, by_grace


def effective_deadline(task):
    """As belay_effective_deadline(), of a task that sees no cancel now."""
    due, not_before = INT64_MAX, -INT64_MAX - 1
    visible, cut = (None, 0) if task.scope.depth <= task.floor else (0, None)
    for scope in task.scope.chain():
        marks = [not_before]
        if visible is not None and not scope.has("CANCELLED"):
            marks.append(scope.deadline() + visible)
        if cut is not None:
            marks.append(scope.cut(task.runtime) + cut)
        due = min(due, max(marks))
        both = max(0 if span is None else span for span in (visible, cut))
        if scope.shields() and scope.has("HELD"):
            not_before = max(
                not_before, int(scope.limits()["pierced_ns"]) + both)
        elif scope.shields():
            visible = int(scope.limits()["shield_ns"]) + both
        if scope.has("IN_EXIT"):
            spans = [span for span in (visible, cut) if span is not None]
            visible, cut = None, max(spans)
    return due


# ---- tasks ----

def at_address(place, name, stars=1):
    """What lies there, as this type; with two stars the pointer there."""
    kind = gdb.lookup_type(name)
    for _ in range(stars):
        kind = kind.pointer()
    return gdb.Value(place).cast(kind).dereference()


def base_task(scope):
    """The task whose base scope this value is."""
    fields = gdb.lookup_type("struct belay_task").fields()
    offset = next(field.bitpos // 8 for field in fields
                  if field.name == "base")
    return at_address(int(scope.address) - offset, "struct belay_task")


def block_size(code):
    """As belay__block_size() in block.h."""
    if code & 0x8000:
        return (code & 0x7fff) * 4096
    return code * BLOCK_STEP


class Task:
    """A belay_task, and its line."""

    def __init__(self, value, runtime):
        self.value = value
        self.runtime = runtime
        self.constants = runtime.constants
        self.floor = int(value["floor"])
        self.id = int(value["id"])
        self.scope = Scope(value["scope"].dereference(), self.constants)

    @property
    def name(self):
        """As belay_task_name() in task.c."""
        at = address(self.value)
        if int(self.value["base"]["flags"]) & self.constants.NAMED:
            end = at + block_size(int(self.value["block_size"]))
            return text(at_address(end - BLOCK_STEP, "char", 2))
        size = (self.value.type.sizeof + 15) // 16 * 16
        first = at_address(at + size, "struct belay__frame")
        return text(first["function"]["name"])

    def awaits(self):
        waiting = self.value["waiting"]
        name = text(waiting["name"])
        if int(waiting) == self.runtime.wait_op:
            op = self.value["wait"]["data"].cast(
                gdb.lookup_type("struct belay_op").pointer())
            name = text(op["name"]) or name
        return name

    def frames(self):
        frame = self.value["top"]
        parts = []
        for _ in range(LIMIT):
            if not frame:
                break
            parts.append(self.frame(frame))
            frame = frame["caller"]
        return " in " + " < ".join(parts) if parts else ""

    def frame(self, frame):
        constants = self.constants
        flags = int(frame["resume"]["flags"])
        line = abs(int(frame["resume"]["line"]))
        file = text(frame["function"]["file"])
        shown = text(frame["function"]["name"])
        if flags & constants.FRAME_EXITING:
            shown += " exit"
        elif flags & (constants.FRAME_MANAGER | constants.FRAME_ENTERED) \
                == constants.FRAME_MANAGER:
            shown += " enter"
        if file and line:
            shown += f" ({file}:{line})"
        scope = frame["scopes"]
        for _ in range(LIMIT):
            # One whose exit runs is among the calls already (evict.c).
            if not scope or int(scope["resume"]["flags"]) \
                    & constants.FRAME_EXITING:
                break
            age = self.runtime.age("scopes", int(scope))
            shown += f" [{text(scope['function']['name'])}" + (
                f" {age:.3f} s]" if age is not None else "]")
            scope = scope["outer"]
        return shown

    def scopes(self):
        base = address(self.value["base"])
        names = []
        for scope in self.scope.chain():
            if address(scope.value) == base:
                break
            names.append(scope.name())
        return ", inside " + " < ".join(names) if names else ""

    def reason(self, what, scope, by_grace=False):
        reason = self.runtime.cancel(scope)["reason"]
        source = "grace" if by_grace \
            else self.constants.sources.get(int(reason["source"]), "?")
        shown = f", {what} ({source}"
        if text(reason["text"]):
            shown += ": " + text(reason["text"])
        if int(reason["task_id"]):
            shown += f", by {text(reason['task_name'])}" \
                     f" #{int(reason['task_id'])}"
        return shown + ")"

    def cancel(self):
        """As dump_cancel() in dump.c."""
        constants = self.constants
        visible = self.scope.flags & constants.marks and (
            self.scope.has("CUT") or self.scope.depth > self.floor)
        if visible:
            scope, by_grace = cancelled_by(self, self.scope)
            return self.reason("cancelled", scope, by_grace) if scope else ""
        shown = ""
        due = effective_deadline(self)
        if due != INT64_MAX:
            shown = f", deadline in {(due - self.runtime.now) / 1e9:.3f} s"
        base = address(self.value["base"])
        for scope in self.scope.chain():
            if scope.flags & constants.marks:
                found, by_grace = cancelled_by(self, scope)
                if found:
                    shown += self.reason("shielded from a cancel", found,
                                         by_grace and scope.has("CUT"))
                break
            if address(scope.value) == base:
                break
        return shown

    def line(self):
        state = self.constants.states.get(int(self.value["state"]), "?")
        if address(self.value) == int(self.runtime.value["current"]):
            state = "running"
        shown = f"{self.name} #{self.id} {state}"
        if self.value["waiting"]:
            shown += f" for {self.awaits()}"
        shown += self.frames() + self.scopes() + self.cancel()
        age = self.runtime.age("tasks", address(self.value))
        return shown + (f", age {age:.3f} s" if age is not None else "")


class Runtime:
    """A belay_runtime."""

    def __init__(self, value):
        self.value = value
        self.constants = Constants()
        self.wait_op = int(gdb.parse_and_eval("&belay__wait_op"))
        clock = value["clock"]
        self.now = int(clock["now_ns"]) if clock \
            else int(value["loop"]["time"]) * 1000000
        self.spans = {kind: self.read_spans(value["observers"][kind])
                      for kind in ("scopes", "tasks")}

    @staticmethod
    def read_spans(spans):
        """{address: when it began}; empty while nobody observes."""
        slots = spans["slots"]
        return {int(slots[i]["key"]): int(slots[i]["began_ns"])
                for i in range(min(int(spans["room"]), LIMIT))
                if int(slots[i]["key"]) != 0}

    def age(self, kind, key):
        began = self.spans[kind].get(key)
        return None if began is None else (self.now - began) / 1e9

    def tasks(self):
        """(depth, task), owners first."""
        scope, depth = self.value["root"]["scope"], 0
        for _ in range(LIMIT):
            if int(scope["flags"]) & self.constants.BASE:
                # Each root task has a scope of its own above it.
                yield depth - 1, Task(base_task(scope), self)
            if scope["child"]:
                scope, depth = scope["child"].dereference(), depth + 1
                continue
            while not scope["next"]:
                if not scope["parent"]:
                    return
                scope, depth = scope["parent"].dereference(), depth - 1
            scope = scope["next"].dereference()

    def cancel(self, scope):
        """What is told of the cancel of a scope."""
        return self.value["cancels"]["slots"][int(scope.value["cancel"])]

    def head(self):
        started = int(self.value["last_id"]) \
            - int(self.value["tasks_discarded"])
        return (f"runtime: {int(self.value['tasks_alive'])} tasks alive, "
                f"{started} started"
                + (", closing" if self.value["closing"] else ""))


def runtimes():
    try:
        first = gdb.parse_and_eval("belay__runtimes")
    except gdb.error as error:
        raise gdb.GdbError(
            f"no debug information of libbelay here: {error}")
    for _ in range(LIMIT):
        if not first:
            return
        yield Runtime(first.dereference())
        first = first["next_runtime"]


class BelayCommand(gdb.Command):
    """The tasks of a program that uses Belay."""

    def __init__(self):
        super().__init__("belay", gdb.COMMAND_STATUS, prefix=True)


class TasksCommand(gdb.Command):
    """belay tasks: the task tree of every runtime."""

    def __init__(self):
        super().__init__("belay tasks", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        found = False
        for runtime in runtimes():
            found = True
            print(runtime.head())
            for depth, task in runtime.tasks():
                print("  " * depth + task.line())
        if not found:
            print("no runtime")


class TaskCommand(gdb.Command):
    """belay task ID [RUNTIME]: one task."""

    def __init__(self):
        super().__init__("belay task", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        if not 1 <= len(words) <= 2 or not words[0].isdigit():
            raise gdb.GdbError("usage: belay task ID [RUNTIME]")
        which = int(gdb.parse_and_eval(words[1])) if len(words) > 1 else None
        for runtime in runtimes():
            if which not in (None, address(runtime.value)):
                continue
            for _, task in runtime.tasks():
                if task.id == int(words[0]):
                    print(task.line())
                    print(f"  (belay_task *) {address(task.value):#x}")
                    return
        raise gdb.GdbError(f"no task {words[0]}")


BelayCommand()
TasksCommand()
TaskCommand()
