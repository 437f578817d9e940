"""Tasks, groups and frames of the reference model."""
from scopes import Scope

YIELD = object()


class Task:
    def __init__(self, name, group, parent, grace, run):
        self.name = name
        self.group = group
        self.start = None  # who waits for it to say that it is ready
        self.base = Scope(parent, self, grace)
        self.scope = self.base
        self.masks = []  # for each exit that runs: what was open before it
        self.wanted = None  # the prepared scope that it enters
        self.bound = 0  # blocks that are open and bound to it
        self.entering = []  # entries of exit stacks, outer ones first
        self.bindings = None  # the newest: (variable, value, older ones)
        self.run = run
        self.routine = None
        self.wait = None
        self.started = False
        self.ended = False
        self.result = None
        self.joiners = []
        self.steps = 0  # in this turn, at least
        self.passed_by = set()  # who had a turn while it waited for its own

    def scopes(self):
        scope = self.scope
        while scope is not self.base.parent:
            yield scope
            scope = scope.parent

    def soft(self):
        return any(self.scope in mask for mask in self.masks)

    def joins(self):
        """Whom it waits for in a join."""
        return None if self.wait is None or self.wait.done else self.wait.joins

    def is_below(self, other):
        """S71: the other one waits for it, or is the same."""
        return any(scope.task is other for scope in self.base.outward())


class Group:
    def __init__(self, host, scope, s):
        self.host = host
        self.scope = scope
        self.limit = s["max"]
        self.supervise = s["policy"] == 1
        self.kept = s["kept"] or 64
        self.alive = 0
        self.running = 0
        self.queue = []
        self.failures = []
        self.outer_seen = False
        self.join = None
        self.finished = False

    def has_room(self):
        return not self.limit or self.running < self.limit


class Start:
    """Of a child that has not yet said that it is ready."""

    def __init__(self, group, scope, wait):
        self.group = group
        self.scope = scope
        self.wait = wait
        self.was_called = False
        self.is_ready = False
        self.value = 0
        self.name = None
        self.ended = None
        self.child_alone = False


class Hold:
    def __init__(self, asked):
        self.asked = asked
        self.task = None
        self.is_open = False


class Frame:
    """yielded: None, or how far a generator manager is."""

    def __init__(self):
        self.yields = 0
        self.delivered = None
        self.replaced = False  # what was delivered, by the last exit
        self.suppressed = False

    def left(self, outcome, result):
        """A block round the yield: such blocks are as managers nested there.
        What the yield has delivered, or a block inside has made of it, leaves
        them.
        """
        goes_on = (outcome is not None and self.delivered is not None
                   and (self.replaced or outcome.same(self.delivered)))
        self.replaced = goes_on and result is not None
        if goes_on and result is None:
            self.suppressed = True


class Stack:
    """Entries are not yet run, newest last."""

    def __init__(self, task):
        self.task = task
        self.entry = None  # that it lies in
        self.inside = task.scope
        self.entries = []
        self.busy = 0  # enters and closes that run
        self.entering = 0  # the enters among them
        self.running = None  # the one whose exit is
        self.unwinding = False
        self.closed = False

    def owner(self):
        """Whose step runs the exits."""
        if self.entry is None:
            return self.task
        return self.entry.task or self.entry.stack.owner()

    def is_held(self):
        """It must stay where it is, for what happens further in."""
        return any(entry.is_busy() for entry in self.entries)

    def is_pinned(self):
        return any(entry.is_pinned() for entry in self.entries)

    def lies_in(self, entry):
        """Or in an entry of a stack that does."""
        inside = self.entry
        while inside is not None and inside.task is None:
            if inside is entry:
                return True
            inside = inside.stack.entry
        return False

    def around(self):
        """The scopes that end behind it, if nobody can undo them before; those
        of entries that it lies in, which may end it, are not among them.
        """
        inside = set(self.inside.outward())
        entry = self.entry
        if entry is None:
            around = {scope for scope in inside if is_fixed(scope)}
        elif entry.task is None:
            around = entry.stack.around()
        elif entry.mask is None:  # it is being entered
            around = inside
        else:
            around = inside | {scope for scope in entry.mask
                               if scope.keeper is not entry}
        return around | self.inside_of_all()

    def inside_of_all(self):
        """While it is unwound: what was there when the exit began that runs."""
        if not self.unwinding:
            return set()
        if self.running is None:
            return set(self.owner().scopes())
        return self.running.mask


class Entry:
    """bound: so many blocks inside of it are, but for those that are entries
    themselves.
    """

    def __init__(self, ident, stack, task):
        self.ident = ident
        self.stack = stack  # that it is on, or was
        self.task = task  # which runs its enter or exit
        self.stacks = []  # that lie in it
        self.leave = None
        self.mask = None  # once it is left: what was open then
        self.keeps_scopes = False
        self.bound = 0

    def is_pinned(self):
        return self.keeps_scopes or self.bound > 0 or any(
            stack.is_pinned() for stack in self.stacks)

    def is_busy(self):
        return any(stack.busy or stack.is_held() for stack in self.stacks)

    def holds_entries(self):
        return any(stack.entries for stack in self.stacks)


def is_fixed(scope):
    entry = scope.keeper
    return entry is None or entry.task is not None or entry.is_busy()


def is_part(scope, of):
    """Of a stack, or of one entry: is it in there, however deep?"""
    entry = scope.keeper
    while entry is not None and entry.task is None:
        if of in (entry, entry.stack):
            return True
        entry = entry.stack.entry
    return False
