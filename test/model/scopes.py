"""Cancel scopes of the reference model.

Nothing is marked in advance: whether a cancel is seen is found by walking
outwards, each time anew. Where the contract is silent it reads: with several
graces the one that ends first cuts.
"""
INFINITY = float("inf")
EXPLICIT, DEADLINE, SIBLING, PARENT, SHUTDOWN, GRACE = range(1, 7)


class Scope:
    def __init__(self, parent, task, grace):
        self.parent = parent
        self.task = task
        self.keeper = None  # the entry of an exit stack that has opened it
        self.grace = grace
        self.deadline = INFINITY
        self.source = None
        self.by = None  # the task that has cancelled it
        self.cancelled_at = None
        self.expired = False
        self.caught = False
        self.shield = False
        self.shield_grace = INFINITY
        self.held_at = None

    def soft(self):
        """Does the border of a running exit lie just outside of it?"""
        return self.task is not None and any(
            self.parent in mask and self not in mask
            for mask in self.task.masks)

    def cancel(self, now, source, by=None):
        if self.cancelled_at is None:
            self.cancelled_at = now
            self.source = source
            self.by = by

    def move(self, deadline):
        if self.cancelled_at is not None:
            return False
        self.deadline = deadline
        return True

    def set_shield(self, on):
        self.shield = on

    def status(self):
        return (f"{int(self.caught)}{int(self.cancelled_at is not None)}"
                f"{int(self.expired)}")

    def expire(self, now):
        if self.cancelled_at is None and self.deadline <= now:
            self.cancel(now, DEADLINE)
            self.expired = True

    def in_force(self, soft, now):
        """Behind the border of an exit: once its grace is over only."""
        return self.cancelled_at is not None and (
            not soft or now >= self.cancelled_at + self.grace)

    def outward(self):
        scope = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def pierced(self, now):
        return (self.held_at is not None
                and now >= self.held_at + self.shield_grace)

    def shields(self, now):
        return self.shield and not self.pierced(now)

    def enclosing(self, now):
        """Is there a cancel around the scope that comes in?"""
        if self.shields(now):
            return False
        return visible(self.parent, self.soft(), now)

    def note_shield(self, now):
        """Its time counts from the first cancel that waits behind it, and no
        more when that is gone. Has that changed?
        """
        before = self.held_at
        if not self.shield and before is None:
            return False
        if not visible(self.parent, self.soft(), now):
            self.held_at = None
        elif self.shield and self.held_at is None:
            self.held_at = now
        return self.held_at != before

    def dues(self):
        if self.cancelled_at is None:
            yield self.deadline
        else:
            yield self.cancelled_at + self.grace
        if self.held_at is not None and self.shield:
            yield self.held_at + self.shield_grace


def reached(scope, soft, now):
    """What a cancel may come from: outwards to the first shield, with whether
    the border of an exit lies between.
    """
    for scope in scope.outward():
        yield scope, soft
        if scope.shields(now):
            return
        soft = soft or scope.soft()


def visible(scope, soft, now):
    """S24, S99-S101"""
    return any(scope.in_force(soft, now)
               for scope, soft in reached(scope, soft, now))


def reason(scope, soft, now):
    """S23: of the outermost cancel; source and task."""
    found = None
    for outer, behind in reached(scope, soft, now):
        if outer.in_force(behind, now):
            found = (GRACE if behind else outer.source), outer.by
    return found


def effective_deadline(scope, soft, now):
    """S44: the first that arrives, of the cancels of each scope around."""
    due = INFINITY
    inside = []
    for outer in scope.outward():
        due = min(due, arrival(outer, inside, soft, now))
        inside.insert(0, outer)
    return due


def arrival(outer, inside, soft, now):
    """When a scope's cancel will be seen, if nothing else happens: what is
    inside, outermost first, may keep it off.
    """
    seen = outer.deadline if outer.cancelled_at is None else outer.cancelled_at
    cut = seen + outer.grace
    for scope in inside:
        if scope.soft():
            seen = cut
        if scope.shields(now):
            held_at = seen if scope.held_at is None else scope.held_at
            seen = max(seen, held_at + scope.shield_grace)
            cut = max(seen, cut)
    return cut if soft else seen
