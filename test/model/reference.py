"""The reference model: what the contract says that a program does.

A recursive interpreter, slow and plain. Blocks are try blocks, failures are
exceptions, and nothing is marked in advance: whether a task sees a cancel is
found by walking outwards from its innermost scope, each time anew. Which of
several tasks goes on first is not the contract's business. So the model reads
the log as it goes: a line says which task was next; that it could be, and all
that it then does until it waits again, is the model's to say.

Where the contract is silent it reads: with several graces the one that ends
first cuts; a failing body cancels a supervising group too; two equal codes
without an object are the same error; an outcome that is in the chain of the
exit's error already is not hung into it again.
"""
from language import FOREVER, JANITOR_MS, MARKED, NO_SLOT

INFINITY = float("inf")
CANCELED, TIMEDOUT, PROTO, DEADLK = -125, -110, -71, -35
STATE, OWNER, MISNEST, PINNED, GROUP = -5001, -5002, -5003, -5004, -5005
BUSY = -16


class Mismatch(Exception):
    """The log is not one that the contract allows."""


# ---- failures

class Error:
    """An error object: immutable, so one with a longer chain is a new object,
    but still the same error.
    """

    def __init__(self, code, cause=None, children=(), context=None,
                 same_as=None):
        self.code = code
        self.cause = cause
        self.children = children
        self.context = context
        self.identity = same_as.identity if same_as else self

    @classmethod
    def bare(cls, code):
        """A code without an object: two that are equal are the same."""
        error = cls(code)
        error.identity = code
        return error

    def __str__(self):
        text = str(self.code)
        if self.cause is not None:
            text += f"~{self.cause}"
        if self.children:
            text += "[" + ",".join(map(str, self.children)) + "]"
        if self.context is not None:
            text += f"<{self.context}"
        return text

    def chain(self):
        error = self
        while error is not None:
            yield error
            error = error.context

    def with_context(self, context):
        """S77, S79: the other chain at the end of this one, no error twice."""
        if (context.is_in(self) or self.is_in(context)):
            return self
        return self.extended(context)

    def is_in(self, other):
        return any(error.identity == self.identity for error in other.chain())

    def extended(self, context):
        inner = context
        if self.context is not None:
            inner = self.context.extended(context)
        return Error(self.code, self.cause, self.children, inner, self)


class Failure(Exception):
    def __init__(self, error=None):
        super().__init__()
        self.error = error  # None: a cancel
        self.replaced = None

    @property
    def cancelled(self):
        return self.error is None

    def __str__(self):
        return "cancel" if self.cancelled else str(self.error)

    def same(self, other):
        if self.cancelled or other.cancelled:
            return self.cancelled and other.cancelled
        return self.error.identity == other.error.identity

    def comes_from(self, other):
        """It is the other one, or has replaced it (and so on)."""
        failure = self
        while failure is not None:
            if failure.same(other):
                return True
            failure = failure.replaced
        return False


class Return(Exception):
    pass


class Break(Exception):
    pass


class Suppress(Exception):
    pass


def merged(outcome, answer, suppress):
    """S76-S84: what an exit's answer makes of the outcome; None is success."""
    if answer is None:
        return None if suppress else outcome
    if outcome is None or suppress:
        return answer
    if answer.cancelled:
        return outcome
    if answer.same(outcome):
        return answer  # perhaps with more in its context
    new = Failure(answer.error)
    if not outcome.cancelled:
        new = Failure(answer.error.with_context(outcome.error))
    new.replaced = outcome
    return new


# ---- scopes

class Scope:
    def __init__(self, parent, task, grace):
        self.parent = parent
        self.task = task
        self.grace = grace
        self.deadline = INFINITY
        self.source = None
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

    def cancel(self, now, source):
        if self.cancelled_at is None:
            self.cancelled_at = now
            self.source = source

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

    def behind_shield(self, now):
        return self.shields(now) and visible(self.parent, self.soft(), now)

    def dues(self):
        if self.cancelled_at is None:
            yield self.deadline
        else:
            yield self.cancelled_at + self.grace
        if self.held_at is not None and self.shield:
            yield self.held_at + self.shield_grace


def visible(scope, soft, now):
    """S24, S99-S101: walk outwards. Behind the border of an exit a cancel is
    seen once its grace is over only; behind a shield none is.
    """
    while scope is not None:
        if scope.cancelled_at is not None and (
                not soft or now >= scope.cancelled_at + scope.grace):
            return True
        if scope.shields(now):
            return False
        soft = soft or scope.soft()
        scope = scope.parent
    return False


# ---- tasks, groups, waits

class Wait:
    """begin(): done at once? due: or then; aborts: a cancel ends it."""

    def __init__(self, begin=lambda: False, due=INFINITY, aborts=True,
                 gone=lambda: None):
        self.begin = begin
        self.due = due
        self.aborts = aborts
        self.gone = gone
        self.done = False
        self.result = None

    def finish(self, result=None):
        self.done = True
        self.result = result


YIELD = object()


class Task:
    def __init__(self, name, group, parent, grace, statements):
        self.name = name
        self.group = group
        self.base = Scope(parent, self, grace)
        self.scope = self.base
        self.masks = []  # for each exit that runs: what was open before it
        self.statements = statements
        self.routine = None
        self.wait = None
        self.started = False
        self.ended = False
        self.joiners = []

    def scopes(self):
        scope = self.scope
        while scope is not self.base.parent:
            yield scope
            scope = scope.parent

    def soft(self):
        return any(self.scope in mask for mask in self.masks)


class Group:
    def __init__(self, host, scope, limit, supervise):
        self.host = host
        self.scope = scope
        self.limit = limit
        self.supervise = supervise
        self.alive = 0
        self.running = 0
        self.queue = []
        self.failures = []
        self.outer_seen = False
        self.join = None
        self.finished = False


class Frame:
    """yielded: None, or how far a generator manager is."""

    def __init__(self):
        self.yields = 0
        self.delivered = None
        self.suppressed = False


class Stack:
    """entries: leave() of each, and its innermost scope or None."""

    def __init__(self, task):
        self.task = task
        self.entries = []
        self.unwinding = False
        self.closed = False

    def scope(self):
        scopes = [scope for _, scope in self.entries if scope is not None]
        return scopes[-1] if scopes else None


class Permits:
    def __init__(self, count):
        self.count = count
        self.waits = []

    def acquire(self):
        if self.count > 0:
            self.count -= 1
            return True
        return False

    def release(self):
        if self.waits:
            self.waits.pop(0).finish()
        else:
            self.count += 1


class Model:
    def __init__(self, program, log):
        self.program = program
        self.log = log
        self.at = 0
        self.now = 0
        self.grace = self.span(program["grace"], 5000)
        self.root_scope = Scope(None, None, self.grace)
        self.open_scopes = [self.root_scope]
        self.events = {}
        self.permits = {}
        self.slots = {"scope": {}, "group": {}, "task": {}, "stack": {}}
        self.tasks = []
        self.new = []  # started, but not yet run, in the order of the starts
        self.stuck = False
        self.result = None

    @staticmethod
    def span(ms, default):
        if ms == 0:
            return default
        if ms == FOREVER:
            return INFINITY
        return max(ms, 0)

    # -- the log

    def line(self):
        if self.at == len(self.log):
            raise Mismatch("the log ends too early")
        return self.log[self.at]

    def say(self, task, what, ident, *more):
        words = [str(self.now), task.name, what, str(ident)]
        expected = " ".join(words + [str(word) for word in more])
        if self.line() != expected:
            raise Mismatch(f"expected: {expected}")
        self.at += 1

    # -- the scheduler

    def run(self):
        root = self.spawn(None, self.root_scope, "root", self.program["main"])
        while not root.ended:
            words = self.line().split()
            if words[0] == "=":
                raise Mismatch("the root should not have ended")
            self.go_on(int(words[0]), words[1])
        result = self.result
        if self.stuck and result is not None and result.cancelled:
            result = DEADLK
        expected = f"= {'ok' if result is None else result}"
        if self.line() != expected:
            raise Mismatch(f"expected: {expected}")

    def go_on(self, time, name):
        ready = [task for task in self.tasks if self.ready(task)]
        if time != self.now:
            if ready:
                raise Mismatch(f"{ready[0].name} should have gone on first")
            self.advance()
            if time < self.now:
                raise Mismatch(f"nothing can happen before {self.now}")
            return
        for task in ready:
            if task.name == name:
                self.step(task)
                return
        if ready or not self.advance_if_stuck():
            raise Mismatch(f"{name} cannot go on now")

    def ready(self, task):
        if task.ended or not task.started:
            return False
        wait = task.wait
        return (wait is None or wait.done
                or wait.aborts and self.visible(task))

    def visible(self, task):
        return visible(task.scope, task.soft(), self.now)

    def step(self, task):
        at = self.at
        value = None
        if task.routine is None:
            if self.new.pop(0) is not task:
                raise Mismatch("S61: not the order of the spawns")
            task.routine = self.body(task)
        else:
            wait = task.wait
            if not wait.done:
                wait.gone()
                wait.finish(Failure())
            value = wait.result
        try:
            task.wait = task.routine.send(value)
        except StopIteration:
            self.refresh()
            return
        self.begin(task, task.wait)
        self.refresh()
        if self.at == at:
            raise Mismatch("the model has a step without a line")

    def begin(self, task, wait):
        """S12: in a cancelled scope an operation does not begin."""
        if wait.aborts and self.visible(task):
            wait.finish(Failure())
        elif wait.begin():
            wait.finish()

    def advance(self):
        dues = [due for scope in self.open_scopes for due in scope.dues()]
        dues += [task.wait.due for task in self.tasks
                 if not task.ended and task.wait is not None
                 and not task.wait.done]
        dues = [due for due in dues if self.now < due < INFINITY]
        if not dues:
            if not self.advance_if_stuck():
                raise Mismatch("nothing can happen any more")
            return
        self.now = min(dues)
        for scope in self.open_scopes:
            if scope.cancelled_at is None and scope.deadline <= self.now:
                scope.cancel(self.now, "deadline")
                scope.expired = True
        for task in self.tasks:
            if task.wait is not None and task.wait.due <= self.now:
                task.wait.finish()
                task.wait.due = INFINITY
        self.refresh()

    def advance_if_stuck(self):
        if self.stuck:
            return False
        self.stuck = True
        self.root_scope.cancel(self.now, "shutdown")
        self.refresh()
        return True

    def refresh(self):
        """The time of a shield counts from the first cancel it keeps away."""
        changed = True
        while changed:
            changed = False
            for scope in self.open_scopes:
                if scope.held_at is None and scope.behind_shield(self.now):
                    scope.held_at = self.now
                    changed = True

    # -- tasks

    def spawn(self, group, parent, name, statements):
        task = Task(name, group, parent, self.grace, statements)
        self.tasks.append(task)
        self.open_scopes.append(task.base)
        if group is not None:
            group.alive += 1
        if group is None or not group.limit or group.running < group.limit:
            self.start(task)
        else:
            group.queue.append(task)
        return task

    def start(self, task):
        task.started = True
        self.new.append(task)
        if task.group is not None:
            task.group.running += 1

    def body(self, task):
        result = None
        self.say(task, "begin", 0)
        try:
            yield from self.frame(task, task.statements, Frame())
        except Failure as failure:
            result = failure
        self.say(task, "end", 0, "ok" if result is None else result)
        self.ended(task, result)

    def ended(self, task, result):
        task.ended = True
        if task.group is not None:
            self.child_ended(task.group, result)
        else:
            self.result = result
        self.open_scopes.remove(task.base)
        self.tasks.remove(task)
        for wait in task.joiners:
            wait.finish()

    def child_ended(self, group, result):
        if result is not None and not result.cancelled:
            if not group.supervise:
                group.failures.append(result.error)
                group.scope.cancel(self.now, "sibling")
        elif result is not None and group.scope.enclosing(self.now):
            group.outer_seen = True
        group.alive -= 1
        group.running -= 1
        if group.queue:
            self.start(group.queue.pop(0))
        if group.alive == 0 and group.join is not None:
            group.finished = True
            group.join.finish()

    # -- frames and statements

    def frame(self, task, statements, frame):
        try:
            yield from self.list(task, statements, frame)
        except Return:
            pass

    def list(self, task, statements, frame):
        for s in statements:
            yield from getattr(self, "do_" + s["op"])(task, s, frame)

    def wait(self, task, s, wait):
        result = yield wait
        self.done(task, s, result)

    def done(self, task, s, result):
        self.say(task, "done", s["id"], "ok" if result is None else result)
        if result is not None and not s["catch"]:
            raise result

    def do_sleep(self, task, s, _):
        yield from self.wait(task, s, Wait(due=self.now + s["ms"]))

    def do_check(self, task, s, _):
        yield from self.wait(task, s, Wait(begin=lambda: True))

    def do_wait(self, task, s, _):
        event = self.events.setdefault(s["slot"], [False, []])
        wait = Wait(begin=lambda: event[0] or event[1].append(wait))
        wait.gone = lambda: event[1].remove(wait)
        yield from self.wait(task, s, wait)

    def do_set(self, _task, s, _):
        event = self.events.setdefault(s["slot"], [False, []])
        event[0] = True
        for wait in event[1]:
            wait.finish()
        event[1].clear()
        yield from ()

    def do_clear(self, _task, s, _):
        if self.now < JANITOR_MS:
            self.events.setdefault(s["slot"], [False, []])[0] = False
        yield from ()

    def semaphore(self, slot):
        return self.permits.setdefault(
            slot, Permits(self.program["permits"]))

    def acquire(self, slot):
        semaphore = self.semaphore(slot)
        wait = Wait(begin=lambda: semaphore.acquire()
                    or semaphore.waits.append(wait))
        wait.gone = lambda: semaphore.waits.remove(wait)
        return wait

    def do_acquire(self, task, s, _):
        yield from self.wait(task, s, self.acquire(s["slot"]))

    def do_release(self, _task, s, _):
        self.semaphore(s["slot"]).release()
        yield from ()

    def do_call(self, task, s, _):
        result = None
        try:
            yield from self.frame(task, s["body"], Frame())
        except Failure as failure:
            result = failure
        self.done(task, s, result)

    def do_spawn(self, task, s, _):
        group = self.slots["group"].get(s["slot"])
        code = 0
        if group is None:
            code = 1
        elif group.finished:
            code = STATE
        else:
            self.slots["task"][s["name"]] = self.spawn(
                group, group.scope, f"t{s['name']}", s["task"])
        self.say(task, "spawn", s["id"], code)
        yield from ()

    def do_cancel(self, task, s, _):
        target = self.slots[s["what"]].get(s["slot"])
        if target is not None:
            scope = target
            if s["what"] == "group":
                scope = target.scope
            elif s["what"] == "task":
                scope = target.base
            scope.cancel(self.now, "explicit")
            self.refresh()
        self.say(task, "cancel", s["id"], 1 if target is None else 0)
        yield from ()

    def do_shield(self, task, s, _):
        scope = self.slots["scope"].get(s["slot"])
        if scope is not None:
            scope.shield = bool(s["on"])
            self.refresh()
        self.say(task, "shield", s["id"], 1 if scope is None else 0)
        yield from ()

    def do_move(self, task, s, _):
        scope = self.slots["scope"].get(s["slot"])
        code = 1
        if scope is not None and scope.cancelled_at is not None:
            code = STATE
        elif scope is not None:
            code = 0
            scope.deadline = self.now + s["ms"]
        self.say(task, "move", s["id"], code)
        yield from ()

    def do_join(self, task, s, _):
        target = self.slots["task"].get(s["slot"])
        wait = Wait(begin=lambda: True)
        if target is not None and not target.ended:
            if self.waits_for(target, task):
                wait = Wait(begin=lambda: wait.finish(
                    Failure(Error.bare(DEADLK))))
            else:
                wait = Wait(begin=lambda: target.joiners.append(wait),
                            gone=lambda: target.joiners.remove(wait))
        yield from self.wait(task, s, wait)

    @staticmethod
    def waits_for(target, task):
        """S71: it is the task itself, or hosts a group that the task is in."""
        while task is not target and task.group is not None:
            task = task.group.host
        return task is target

    @staticmethod
    def do_return(_task, _s, _):
        yield from ()
        raise Return

    @staticmethod
    def do_break(_task, _s, _):
        yield from ()
        raise Break

    @staticmethod
    def do_suppress(_task, _s, _):
        yield from ()
        raise Suppress

    @staticmethod
    def do_fail(_task, s, _):
        yield from ()
        raise Failure(Error(s["code"]))

    @staticmethod
    def do_same(_task, _s, frame):
        yield from ()
        if frame.delivered is not None and not frame.delivered.cancelled:
            raise frame.delivered
        raise Return

    def do_yield(self, task, s, frame):
        frame.yields += 1
        if frame.yields > 1:
            result = Failure(Error(PROTO))
        else:
            result = yield YIELD
            frame.delivered = result
        self.done(task, s, result)

    # -- blocks

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
        delivered = frame.delivered
        if (result is None and outcome is not None and around
                and delivered is not None and outcome.comes_from(delivered)):
            frame.suppressed = True
        if result is None and control is None:
            self.say(task, "behind", s["id"])
        if marked:
            self.left(task, s, result)
        if result is not None:
            raise result
        if control is not None:
            raise control

    def left(self, task, s, result):
        words = ["ok" if result is None else result]
        if s["op"] != "permit":
            target = self.slots[s["op"]].pop(s["slot"])
        if s["op"] == "scope":
            words.append(f"{int(target.caught)}"
                         f"{int(target.cancelled_at is not None)}"
                         f"{int(target.expired)}")
        self.say(task, "left", s["id"], *words)

    def push(self, task, grace):
        scope = Scope(task.scope, task, grace)
        self.open_scopes.append(scope)
        task.scope = scope
        return scope

    def pop(self, task, scope):
        if task.scope is not scope:
            raise Mismatch("the model pops the wrong scope")
        task.scope = scope.parent
        self.open_scopes.remove(scope)

    def absorbs(self, scope, outcome):
        """S19, S20"""
        if (outcome is None or not outcome.cancelled
                or scope.cancelled_at is None or scope.enclosing(self.now)):
            return False
        scope.caught = True
        return True

    def do_block(self, task, s, frame):
        leave = yield from self.open(task, s)
        yield from self.block(task, s, frame, leave, marked=s["op"] in MARKED)

    do_scope = do_group = do_class = do_gen = do_stack = do_block

    def open(self, task, s):
        return (yield from getattr(self, "open_" + s["op"])(task, s))

    def open_scope(self, task, s):
        yield from ()
        grace = self.grace if s["shield"] else self.span(s["grace"],
                                                         self.grace)
        scope = self.push(task, grace)
        scope.shield = bool(s["shield"])
        if s["shield"]:
            scope.shield_grace = self.span(s["grace"], INFINITY)
        if s["timeout"] >= 0:
            scope.deadline = self.now + s["timeout"]
        if scope.deadline <= self.now:
            scope.cancel(self.now, "deadline")
            scope.expired = True
        if s["slot"] != NO_SLOT:
            self.slots["scope"][s["slot"]] = scope
        self.refresh()

        def leave(task, outcome):
            yield from ()
            absorbed = self.absorbs(scope, outcome)
            self.pop(task, scope)
            if not s["fail"] or scope.source != "deadline":
                return None if absorbed else outcome
            timeout = Error(TIMEDOUT, cause=Error(CANCELED))
            if absorbed:  # S30
                return merged(outcome, Failure(timeout), False)
            if outcome is None or outcome.cancelled:
                return outcome
            noted = Failure(outcome.error.with_context(timeout))  # S33
            noted.replaced = outcome
            return noted

        return leave

    def open_group(self, task, s):
        yield from ()
        scope = self.push(task, self.grace)
        group = Group(task, scope, s["max"], s["policy"] == 1)
        self.slots["group"][s["slot"]] = group

        def leave(task, outcome):
            if outcome is not None and not outcome.cancelled:  # S47
                group.failures.append(outcome.error)
                scope.cancel(self.now, "parent")
                self.refresh()
            group.join = Wait(aborts=False)
            if group.alive > 0:
                yield group.join
            group.finished = True
            absorbed = self.absorbs(scope, outcome)
            cut_short = group.outer_seen and scope.enclosing(self.now)
            self.pop(task, scope)
            if group.failures:  # S49, S52, S54
                new = Failure(Error(GROUP, children=tuple(group.failures)))
                new.replaced = outcome
                return new
            if cut_short:  # S53, S55
                return merged(outcome, Failure(), False)
            return None if absorbed else outcome

        return leave

    def open_class(self, task, s):
        yield from self.frame(task, s["enter"], Frame())
        return self.class_leave(s)

    def class_leave(self, s):
        def leave(task, outcome):
            inner = Frame()
            inner.delivered = outcome
            answer, suppress = None, False
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
        inner = Frame()
        routine = self.frame(task, s["enter"], inner)
        if not (yield from self.drive(routine, None)):
            raise Failure(Error(PROTO))  # S109

        def leave(task, outcome):
            answer = None
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

    def do_permit(self, task, s, frame):
        try:
            leave = yield from self.open(task, s)
        except Failure as failure:
            self.left(task, s, failure)
            raise
        yield from self.block(task, s, frame, leave, marked=True)

    def open_permit(self, _task, s):
        result = yield self.acquire(s["slot"])
        if result is not None:
            raise result

        def leave(_task, outcome):
            yield from ()
            self.semaphore(s["slot"]).release()
            return outcome

        return leave

    # -- exit stacks

    def open_stack(self, task, s):
        yield from ()
        stack = Stack(task)
        self.slots["stack"][s["slot"]] = stack

        def leave(task, outcome):
            return (yield from self.unwind(task, stack, outcome))

        return leave

    @staticmethod
    def unwind(task, stack, outcome):
        """S73-S78: one after the other, each removed before it runs."""
        stack.unwinding = True
        while stack.entries:
            leave, _ = stack.entries.pop()
            task.masks.append(set(task.scopes()))
            outcome = yield from leave(task, outcome)
            task.masks.pop()
        stack.unwinding = False
        stack.closed = True
        return outcome

    def do_put(self, task, s, _):
        stack = self.slots["stack"].get(s["slot"])
        result = None
        if stack is None:
            self.say(task, "put", s["id"], 1)
            return
        if stack.closed:
            result = Failure(Error.bare(STATE))
        elif stack.task is not task:
            result = Failure(Error.bare(OWNER))
        else:
            before = task.scope
            try:
                leave = yield from self.open(task, s["body"][0])
                stack.entries.append(
                    (leave, task.scope if task.scope is not before else None))
            except Failure as failure:
                result = failure
        self.done(task, s, result)

    def do_push(self, task, s, _):
        stack = self.slots["stack"].get(s["slot"])
        code = 1
        if stack is not None:
            code = STATE if stack.closed else 0
        if code == 0:
            stack.entries.append((self.class_leave(s), None))
        self.say(task, "push", s["id"], code)
        yield from ()

    def do_close(self, task, s, _):
        stack = self.slots["stack"].get(s["slot"])
        result = None
        if stack is None:
            self.say(task, "close", s["id"], 1)
            return
        if stack.task is not task:
            result = Failure(Error.bare(OWNER))
        elif stack.unwinding:
            result = Failure(Error.bare(BUSY))
        elif stack.scope() not in (None, task.scope):
            result = Failure(Error.bare(MISNEST))
        else:
            result = yield from self.unwind(task, stack, None)
        self.done(task, s, result)

    def do_hand(self, task, s, _):
        source = self.slots["stack"].get(s["slot"])
        target = self.slots["stack"].get(s["to"])
        code = 0
        if source is None or target is None:
            code = 1
        elif source.unwinding:
            code = BUSY
        elif target.closed:
            code = STATE
        elif source.scope() is not None and source.task is not target.task:
            code = PINNED
        elif source is not target:
            target.entries += source.entries
            source.entries = []
        self.say(task, "hand", s["id"], code)
        yield from ()


def check(program, log):
    """None, or why the log is not what the program has to do, and where."""
    model = Model(program, log)
    try:
        model.run()
    except Mismatch as mismatch:
        return f"{mismatch}", model.at
    return None
