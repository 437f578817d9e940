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
        self.suppressed = False


class Stack:
    """Entries are not yet run, newest last."""

    def __init__(self, task):
        self.task = task
        self.inside = task.scope
        self.entries = []
        self.running = None  # the one whose exit is
        self.unwinding = False
        self.closed = False

    def scope(self):
        scopes = [entry.scope for entry in self.entries if entry.scope]
        return scopes[-1] if scopes else None

    def would_misnest(self, entries):
        """Scopes exit innermost first: these must lie inside of its own."""
        inner = self.scope()
        if inner is not None and any(
                entry.scope in inner.parent.outward() for entry in entries):
            return True
        return self.has_block_between(
            [entry.scope for entry in entries if entry.scope])

    def has_block_between(self, scopes):
        """A block that it lies in, inside of these, ends behind them."""
        around = list(self.inside.outward())
        for scope in self.task.scope.outward():
            scopes = [other for other in scopes if other is not scope]
            if not scopes:
                return False
            if scope.keeper is None and scope in around:
                return True
        return False


class Entry:
    """ident: None once it has moved, or what forget() calls it; bound: so many
    blocks inside of it are, but for those that are entries themselves.
    """

    def __init__(self, leave, ident, scope=None, bound=0):
        self.leave = leave
        self.ident = ident
        self.scope = scope
        self.bound = bound

    def is_pinned(self):
        return self.scope is not None or self.bound > 0
