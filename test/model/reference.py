"""The reference model: what the contract says that a program does.

A recursive interpreter, slow and plain. Blocks are try blocks, failures are
exceptions, and nothing is marked in advance. Which of several tasks goes on
first is not the contract's business. So the model reads the log as it goes: a
line says which task was next; that it could be, and all that it then does
until it waits again, is the model's to say. With a small budget of steps a
task may also have to stop where the contract does not say; then the model
tries.
"""
from blocks import Blocks
from failures import DEADLK, Failure, Mismatch, Return
from kinds import CHANNELS, EVENTS, LIMITERS, LOCKS, SEMAPHORES
from language import FOREVER, MANY
from others import Others
from scopes import INFINITY, SHUTDOWN, SIBLING, Scope, visible
from stacks import Stacks
from statements import Statements
from tasks import Frame, Task
from waits import Channel, Condition, Event, Limiter, Lock, Permits, turn
from watchers import (
    GROUPS, SCOPES, STEPS, TASKS, Observer, Span, Watchers)

TRIES = 20000  # to find out who has waited where


class Model(Statements, Blocks, Stacks, Others, Watchers):
    def __init__(self, program, log, choices=()):
        self.program = program
        self.choices = list(choices)
        self.log = log
        self.at = 0
        self.chosen = 0  # so many of the choices
        self.now = 0
        self.grace = self.span(program["grace"], 5000)
        self.root_scope = Scope(None, None, self.grace)
        self.open_scopes = [self.root_scope]
        self.entries = {}  # of exit stacks, by ident
        self.slots = {"scope": {}, "group": {}, "task": {}, "stack": {},
                      "hold": {}}
        self.events = [Event() for _ in range(EVENTS)]
        self.permits = [Permits(program["permits"]) for _ in range(SEMAPHORES)]
        self.locks = [Lock() for _ in range(LOCKS)]
        self.conditions = [Condition(self.locks[lock]) for lock in (0, 0, 1)]
        self.limiters = [Limiter(program["tokens"]) for _ in range(LIMITERS)]
        self.channels = [Channel(program["capacity"])
                         for _ in range(CHANNELS)]
        self.tokens = {}  # of sets of variables
        self.contexts = {}
        self.cells = [0, 0, 0]
        self.was = {}  # the status of scopes that are left
        self.taken_ms = 0  # by the last stopwatch
        self.observers = []
        if program["budget"] != MANY:  # it shows most of who has gone on
            self.observers.append(
                Observer("o0", SCOPES + TASKS + GROUPS + STEPS))
        self.posts = []  # made, not yet run
        self.queue = []  # of work that waits for a thread
        self.running = []  # work that a thread has, or that is cancelled
        self.tasks = []
        self.new = []  # started, but not yet run, in the order of the starts
        self.root_runs = False
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
        self.expect(" ".join(words + [str(word) for word in more]))

    def expect(self, expected):
        if self.line() != expected:
            raise Mismatch(f"expected: {expected}")
        self.at += 1

    # -- the scheduler

    def run(self):
        root = Task("root", None, self.root_scope, self.grace,
                    lambda task: self.body(task, self.program["main"]))
        self.root = root
        self.tasks.append(root)
        self.open_scopes.append(root.base)
        root.span = Span((), 0)
        self.start(root)
        while not root.ended:
            words = self.line().split()
            if words[0] == "=":
                raise Mismatch("the root should not have ended")
            time = None if words[0] == "-" else int(words[0])
            self.go_on(time, *words[1:4])
        self.finish_others()
        result = self.result
        if self.stuck and result is not None and result.cancelled:
            result = DEADLK
        self.expect(f"= {'ok' if result is None else result}")

    def go_on(self, time, name, what, ident):
        """time: None if the line does not tell."""
        waiting = self.others() + [
            task.name for task in self.tasks
            if self.ready(task) or self.is_asked(task)]
        if time == self.now and name == "-":
            self.other(what, ident)
            return
        if time == self.now or time is None and name in waiting:
            step = self.ask if what in ("hook", "moved") else self.step_of
            if not step(name) and (waiting or not self.advance_if_stuck()):
                raise Mismatch(f"{name} cannot go on now")
            return
        if waiting:
            raise Mismatch(f"{waiting[0]} should have gone on first")
        self.advance()
        if time is not None and time < self.now:
            raise Mismatch(f"nothing can happen before {self.now}")

    def step_of(self, name):
        """False: it cannot go on."""
        for task in self.tasks:
            if task.name == name and self.ready(task):
                self.step(task)
                return True
        return False

    # -- turns (S125): the log shows that a task stops, but not where

    def turn(self, task):
        """Here a task may have to wait for its turn, also more than once. If
        it does before its next line, it is open whether that is here or
        further on: one is tried after the other, see check().
        """
        while self.program["budget"] != MANY and self.parks(task):
            if len(self.choices) == self.chosen:
                self.choices.append(True)
            self.chosen += 1
            if not self.choices[self.chosen - 1]:
                return
            yield turn()

    def ready(self, task):
        if task.ended or not task.started:
            return False
        wait = task.wait
        return (wait is None or wait.done
                or wait.aborts and self.visible(task))

    def is_asked(self, task):
        """S7-S9: the abort hook of its wait has to be called."""
        wait = task.wait
        return (not task.ended and wait is not None and not wait.done
                and (wait.hook or wait.moves) is not None
                and self.visible(task))

    def ask(self, name):
        """The log tells of abort hooks, but of when tasks move on not when."""
        for task in self.tasks:
            if task.name == name and self.is_asked(task):
                wait = task.wait
                if wait.moves:
                    self.expect(f"- {name} moved {wait.ident}")
                    wait.moves()
                else:
                    self.say(task, "hook", wait.ident)
                    wait.hook()
                return True
        return False

    def sees(self, scope):
        """Would a checkpoint just inside of the scope be cancelled?"""
        return visible(scope, False, self.now)

    def visible(self, task):
        return visible(task.scope, task.soft(), self.now)

    def step(self, task):
        at = self.at
        self.take_turn(task)
        if task.routine is None:
            if self.new.pop(0) is not task:
                raise Mismatch("S61: not the order of the spawns")
            task.routine = task.run(task)
        elif not task.wait.done:
            task.wait.gone()
            task.wait.finish(Failure())
        while self.go(task):
            pass
        if self.at == at:
            raise Mismatch("the model has a step without a line")

    def go(self, task):
        """To the next wait. False: there it is to be seen who goes on."""
        value = task.wait.result if task.wait is not None else None
        try:
            task.wait = task.routine.send(value)
        except StopIteration:
            self.refresh()
            return False
        self.begin(task, task.wait)
        self.refresh()
        if self.program["budget"] == MANY:
            return False
        task.steps += 1
        # One step may be two of these: a wait that is over at once, as for a
        # free lock, and the border of the step behind it.
        if task.steps > 2 * self.program["budget"]:
            raise Mismatch("S125: a longer turn than the budget allows")
        if task.wait.done and not self.parks(task):
            return True
        self.parked(task)
        return False

    def take_turn(self, task):
        """S125: nobody has two turns while another one waits for its own, and
        none is longer than the budget.
        """
        if self.program["budget"] == MANY:
            return  # where turns begin is not to be seen
        if self.root_runs:  # else nobody observes it yet
            self.resumed(task)
        self.root_runs = True
        task.steps = 0
        task.passed_by = set()
        for other in self.tasks:
            if other is not task and self.ready(other):
                if task in other.passed_by:
                    raise Mismatch(f"{other.name} has waited for its turn")
                other.passed_by.add(task)

    def begin(self, task, wait):
        """S12: in a cancelled scope an operation does not begin."""
        if wait.checked and self.visible(task):
            wait.finish(Failure())
            wait.refused()
        elif wait.begin() and not wait.done:
            wait.finish()

    def advance(self):
        dues = [due for scope in self.open_scopes for due in scope.dues()]
        dues += [task.wait.due for task in self.tasks
                 if not task.ended and task.wait is not None
                 and not task.wait.done]
        dues += [job.due for job in self.running]
        dues = [due for due in dues if self.now < due < INFINITY]
        if not dues:
            if not self.advance_if_stuck():
                raise Mismatch("nothing can happen any more")
            return
        self.now = min(dues)
        for scope in self.open_scopes:
            scope.expire(self.now)
        for task in self.tasks:
            if task.wait is not None and task.wait.due <= self.now:
                task.wait.finish(task.wait.result)
                task.wait.due = INFINITY
        self.refresh()

    def finish_others(self):
        """Nothing that has begun is forgotten, also when the root has ended."""
        while self.line()[0] != "=":
            words = self.line().split()
            self.go_on(int(words[0]), *words[1:4])
        if self.posts or self.queue or self.running:
            raise Mismatch("something is still to come")

    def advance_if_stuck(self):
        if self.stuck:
            return False
        self.stuck = True
        self.root_scope.cancel(self.now, SHUTDOWN)
        self.refresh()
        return True

    def refresh(self):
        """The time of a shield counts from the first cancel it keeps away."""
        changed = True
        while changed:
            changed = any([
                scope.note_shield(self.now) for scope in self.open_scopes])

    # -- tasks

    def start(self, task):
        task.started = True
        self.new.append(task)

    def body(self, task, statements):
        result = None
        self.say(task, "begin", 0)
        yield from self.turn(task)
        self.say(task, "frame", 0)
        try:
            yield from self.frame(task, statements, Frame())
        except Failure as failure:
            result = failure
        yield from self.turn(task)
        self.say(task, "end", 0, "ok" if result is None else result)
        self.ended(task, result)

    def ended(self, task, result):
        task.ended = True
        task.result = result
        self.over(task, "ok" if result is None else result, task)
        if task.start is not None:
            task.start.ended = result
            task.start.child_alone = task.base.cancelled_at is not None
            task.start.wait.finish()
            self.drop(task.start.group)
        elif task.group is not None:
            self.child_ended(task, task.group, result)
        else:
            self.result = result
        self.forget_task(task)
        for wait in task.joiners:
            wait.finish()

    def child_ended(self, task, group, result):
        if group.supervise:
            self.say(task, "child", 0, "ok" if result is None else result)
        if result is not None and not result.cancelled:
            if not group.supervise:
                self.group_failure(group, task, result)
                group.scope.cancel(self.now, SIBLING, task)
        elif result is not None and group.scope.enclosing(self.now):
            group.outer_seen = True
        group.running -= 1
        if group.queue and group.has_room():
            group.running += 1
            self.start(group.queue.pop(0))
        self.drop(group)

    def group_failure(self, group, task, failure):
        group.failures.append(failure.error)
        self.failing(group, task, failure)

    @staticmethod
    def drop(group):
        group.alive -= 1
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


def check(program, log):
    """None, or why the log is not what the program has to do, and where."""
    choices = []
    furthest = None
    for _ in range(TRIES):
        model = Model(program, log, choices)
        try:
            model.run()
            return None
        except Mismatch as mismatch:
            if furthest is None or model.at > furthest[1]:
                furthest = f"{mismatch}", model.at
        choices = model.choices
        while choices and not choices[-1]:
            choices.pop()  # both ways were tried
        if not choices:
            break
        choices[-1] = False
    return furthest

