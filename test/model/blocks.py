"""Blocks in the reference model.

open_X() enters a manager and gives leave(task, outcome), a generator whose
result is what the exit makes of the outcome. Where the contract is silent it
reads: a failing body cancels a supervising group too.
"""
from failures import (
    CANCELED, GROUP, PROTO, STATE, TIMEDOUT, Beyond, Break, Error, Failure,
    Mismatch, Return, Suppress, merged)
from language import MARKED, NO_SLOT
from scopes import DEADLINE, EXPLICIT, INFINITY, PARENT, Scope
from tasks import YIELD, Frame, Group
from waits import Wait


class Prepared:
    """A scope that is there before its block is, and after."""

    def __init__(self, s):
        self.settings = dict(s, deadline=INFINITY)
        self.cancelled_by = None
        self.scope = None
        self.left = False

    def cancel(self, now, source, by):
        if self.scope is not None and not self.left:
            self.scope.cancel(now, source, by)
        elif self.scope is None and self.cancelled_by is None:
            self.cancelled_by = by

    def move(self, deadline):
        if self.scope is not None:
            return not self.left and self.scope.move(deadline)
        if self.cancelled_by is not None:
            return False
        self.settings.update(timeout=-1, deadline=deadline)
        return True

    def set_shield(self, on):
        if self.scope is None:
            self.settings["raised"] = int(on)
        elif not self.left:
            self.scope.set_shield(on)

    def status(self):
        if self.scope is not None:
            return self.scope.status()
        return "010" if self.cancelled_by is not None else "000"


class Blocks:
    """A part of Model."""

    def block(self, task, s, frame, leave, marked=False):
        """The body, then leave(task, outcome), which gives what is left."""
        around = frame.yields == 0  # perhaps of a generator manager's yield
        control = outcome = None
        self.say(task, "in", s["id"])
        try:
            yield from self.list(task, s["body"], frame)
        except Failure as failure:
            outcome = failure
        except (Return, Suppress) as exception:
            control = exception
        except Break:
            pass
        task.masks.append(set(task.scopes()))
        result = yield from leave(task, outcome)
        task.masks.pop()
        yield from self.turn(task)
        if around:
            frame.left(outcome, result)
        if result is None and control is None:
            self.say(task, "behind", s["id"])
        if marked:
            yield from self.turn(task)
            self.left(task, s, result)
            yield from self.turn(task)
        if result is not None:
            raise result
        if control is not None:
            raise control

    def left(self, task, s, result):
        """What the mark says that is round it."""
        words = ["ok" if result is None else result]
        kind, slot = s["op"], s.get("slot")
        if kind == "scope":
            words.append(self.was[s["id"]])
        if kind == "use":
            scope = self.slots["scope"].get(slot)
            words += [scope.status()] if scope is not None else []
        if kind == "watch":
            words.append(self.taken_ms)
        self.say(task, "left", s["id"], *words)

    def push(self, task, grace):
        scope = Scope(task.scope, task, grace)
        self.open_scopes.append(scope)
        task.scope = scope
        return scope

    def pop(self, task, scope):
        if task.scope is scope:
            task.scope = scope.parent
        else:  # from between others
            inner = next((inner for inner in task.scopes()
                          if inner.parent is scope), None)
            if inner is None or task.scope.keeper is None:
                raise Mismatch("the model pops the wrong scope")
            inner.parent = scope.parent
        self.open_scopes.remove(scope)

    def absorbs(self, scope, outcome):
        """S19, S20"""
        if (outcome is None or not outcome.cancelled
                or scope.cancelled_at is None or scope.enclosing(self.now)):
            return False
        scope.caught = True
        return True

    def do_block(self, task, s, frame):
        marked = s["op"] in MARKED
        try:
            leave = yield from self.open(task, s)
        except Failure as failure:
            if marked:
                yield from self.turn(task)
                self.left(task, s, failure)
            raise
        yield from self.block(task, s, frame, leave, marked)

    do_scope = do_use = do_group = do_stack = do_class = do_gen = do_block
    do_permit = do_lock = do_token = do_var = do_setting = do_quiet = do_block
    do_watch = do_null = do_defer = do_closing = do_block

    def open(self, task, s):
        yield from self.turn(task)
        if s["op"] == "use":  # what is there when it is asked for
            task.wanted = self.slots["scope"].get(s["slot"])
        span = self.opening(task, s["id"])
        try:
            yield from self.turn(task)
            leave = yield from getattr(self, "open_" + s["op"])(task, s)
        except Failure as failure:
            self.not_entered(span, task, s["id"], failure)
            raise
        self.entered(span, task, s["id"])
        yield from self.turn(task)
        return self.observed(span, s, leave)

    def observed(self, span, s, leave):
        def leave_observed(task, outcome):
            self.leaving(span, task, s["id"], outcome)
            yield from self.turn(task)
            result = yield from leave(task, outcome)
            self.gone(span, task, s["id"], result)
            self.forget_block(s)
            return result

        leave_observed.span = span
        return leave_observed

    def forget_block(self, s):
        """Nobody can reach for it any more."""
        if s["op"] in ("scope", "group", "stack") and s["slot"] != NO_SLOT:
            thing = self.slots[s["op"]].pop(s["slot"])
            self.entries.pop(s["id"], None)  # a stack may be one itself
            if s["op"] == "scope":
                self.was[s["id"]] = thing.status()

    # -- cancel scopes

    def open_scope(self, task, s):
        yield from ()
        scope = self.enter_scope(task, s)
        if s["slot"] != NO_SLOT:
            self.slots["scope"][s["slot"]] = scope
        self.refresh()
        return self.scope_leave(scope, s)

    def enter_scope(self, task, s, cancelled_by=None):
        grace = self.grace if s["shield"] else self.span(s["grace"],
                                                         self.grace)
        scope = self.push(task, grace)
        scope.shield = bool(s.get("raised", s["shield"]))
        if s["shield"]:
            scope.shield_grace = self.span(s["grace"], INFINITY)
        if s["timeout"] >= 0:
            scope.deadline = self.now + s["timeout"]
        if "deadline" in s:
            scope.deadline = min(scope.deadline, s["deadline"])
        if cancelled_by is not None:
            scope.cancel(self.now, EXPLICIT, cancelled_by)
        scope.expire(self.now)
        return scope

    def scope_leave(self, scope, s):
        def leave(task, outcome):
            outcome = yield from self.evict(task, scope, outcome)
            absorbed = self.absorbs(scope, outcome)
            self.pop(task, scope)
            if not s["fail"] or scope.source != DEADLINE:
                return None if absorbed else outcome
            timeout = Error(TIMEDOUT, cause=Error(CANCELED))
            if absorbed:  # S30
                return merged(outcome, Failure(timeout), False)
            if outcome is None or outcome.cancelled:
                return outcome
            return Failure(outcome.error.with_context(timeout))

        return leave

    def do_prepare(self, task, s, _):
        self.slots["scope"][s["slot"]] = Prepared(s)
        self.say(task, "prepare", s["id"], 0)
        yield from ()

    def open_use(self, task, s):
        """S17, S18: what came before counts from the entry."""
        prepared = task.wanted
        if prepared is None:
            return (yield from self.open_null(task, s))
        if prepared.scope is not None:
            raise Failure(Error(STATE))
        scope = prepared.scope = self.enter_scope(
            task, prepared.settings, prepared.cancelled_by)
        self.refresh()
        leave_scope = self.scope_leave(scope, prepared.settings)

        def leave(task, outcome):
            prepared.left = True
            return (yield from leave_scope(task, outcome))

        return leave

    # -- groups

    def open_group(self, task, s):
        yield from ()
        scope = self.push(task, self.grace)
        group = Group(task, scope, s)
        self.slots["group"][s["slot"]] = group

        def leave(task, outcome):
            outcome = yield from self.evict(task, scope, outcome)
            if outcome is not None and not outcome.cancelled:  # S47
                self.group_failure(group, task, outcome)
                scope.cancel(self.now, PARENT, task)
                self.refresh()
            group.join = Wait(aborts=False, checked=False)
            if group.alive > 0:
                self.joining(group)
                yield group.join
            group.finished = True
            absorbed = self.absorbs(scope, outcome)
            cut_short = group.outer_seen and scope.enclosing(self.now)
            self.pop(task, scope)
            if group.failures:  # S49, S52, S54
                kept = tuple(group.failures[:group.kept])
                more = len(group.failures) - len(kept)
                return Failure(Error(GROUP, None, kept, more))
            if cut_short:  # S53, S55
                return merged(outcome, Failure(), False)
            return None if absorbed else outcome

        return leave

    # -- managers of the program

    def open_class(self, task, s):
        self.say(task, "enter", s["id"])
        yield from self.frame(task, s["enter"], Frame())
        return self.class_leave(s)

    def class_leave(self, s):
        def leave(task, outcome):
            inner = Frame()
            inner.delivered = outcome
            answer, suppress = None, False
            self.entries.pop(s["id"], None)
            self.say(task, "exit", s["id"],
                     "ok" if outcome is None else outcome)
            try:
                yield from self.frame(task, s["exit"], inner)
            except Suppress:
                suppress = True
            except Failure as failure:
                answer = failure
            return merged(outcome, answer, suppress)

        return leave

    def open_gen(self, task, s):
        self.say(task, "enter", s["id"])
        inner = Frame()
        routine = self.frame(task, s["enter"], inner)
        if not (yield from self.drive(routine, None)):
            raise Failure(Error(PROTO))  # S109

        enterer = task

        def leave(task, outcome):
            answer = None
            if task is not enterer:  # whose steps the routine runs
                raise Beyond
            try:
                yield from self.drive(routine, outcome)
            except Failure as failure:
                answer = failure
            if answer is None and inner.yields > 1:  # S110
                answer = Failure(Error(PROTO))
            return merged(outcome, answer, inner.suppressed)

        return leave

    @staticmethod
    def drive(routine, value):
        """Runs a generator manager to its yield, or to its end: False."""
        while True:
            try:
                wait = routine.send(value)
            except StopIteration:
                return False
            if wait is YIELD:
                return True
            value = yield wait

    # -- managers of the library

    def held(self, task, give_back):
        """It belongs to the task while it is open."""
        task.bound += 1

        def leave(task, outcome):
            yield from ()
            task.bound -= 1
            give_back()
            return outcome

        return leave

    @staticmethod
    def need(wait):
        result = yield wait
        if result is not None:
            raise result

    def open_permit(self, _task, s):
        permits = self.permits[s["slot"]]
        yield from self.need(permits.acquire())

        def leave(_task, outcome):
            yield from ()
            permits.release()
            return outcome

        return leave

    def open_lock(self, task, s):
        lock = self.locks[s["slot"]]
        if s["try"]:
            lock.try_open(task)
        else:
            yield from self.need(lock.open(task))
        return self.held(task, lock.hand_over)

    def open_token(self, task, s):
        limiter = self.limiters[s["slot"]]
        borrower = s["object"] or task
        if s["try"]:
            limiter.try_open(borrower)
        else:
            yield from self.need(limiter.open(borrower))
        return self.held(task, lambda: limiter.close(borrower))

    def open_var(self, task, s):
        yield from ()
        binding = self.bind(task, s["slot"], s["id"])
        task.bound += 1

        def leave(task, outcome):
            yield from ()
            task.bound -= 1
            if task.bindings is not binding:  # S119
                return merged(outcome, Failure(Error(STATE)), False)
            task.bindings = binding[2]
            return outcome

        return leave

    def open_setting(self, _task, s):
        yield from ()
        before = self.cells[s["slot"]]
        self.cells[s["slot"]] = s["id"]

        def leave(_task, outcome):
            yield from ()
            self.cells[s["slot"]] = before
            return outcome

        return leave

    def open_quiet(self, _task, s):
        yield from ()
        codes = (s["first"], s["second"], s["third"])

        def leave(_task, outcome):
            yield from ()
            if outcome is None or outcome.cancelled:
                return outcome
            rest = outcome.error.without(codes)
            if rest is outcome.error:
                return outcome
            return None if rest is None else Failure(rest)

        return leave

    def open_watch(self, _task, s):
        yield from ()
        start = self.now

        def leave(_task, outcome):
            yield from ()
            self.taken_ms = self.now - start
            return outcome

        return leave

    def open_null(self, _task, _s):
        yield from ()

        def leave(_task, outcome):
            yield from ()
            return outcome

        return leave

    def open_defer(self, _task, s):
        yield from ()
        return self.deferred(s)

    def deferred(self, s):
        def leave(task, outcome):
            yield from ()
            self.say(task, "deferred", s["id"])
            return outcome

        return leave

    def open_closing(self, _task, s):
        yield from ()

        def leave(task, outcome):
            answer = None
            try:
                self.say(task, "frame", s["id"])
                yield from self.frame(task, s["exit"], Frame())
            except Failure as failure:
                answer = failure
            yield from self.turn(task)
            return merged(outcome, answer, False)

        return leave
