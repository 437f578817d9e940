"""Observers in the reference model: who is told what, in which order.

Each is told of the end of what it was told of the beginning of, and of nothing
else's end.
"""
from others import NOBODY

SCOPES, TASKS, GROUPS, STEPS = 1, 2, 8, 32  # as in observe.h


class Observer:
    def __init__(self, name, kinds):
        self.name = name
        self.kinds = kinds


class Span:
    """Of a scope or a task: who was there when it began."""

    def __init__(self, observers, now):
        self.observers = list(observers)
        self.began = now
        self.entered = now
        self.leaving = now
        self.outcome = None


def code_of(result):
    """An outcome as far as events have it."""
    if result is None:
        return "ok"
    return "cancel" if result.cancelled else result.error.code


class Watchers:
    """A part of Model: self.observers is in the order in which they came."""

    def tell(self, kind, span, by, what, ident, about, *more):
        """by: whose step runs; about: the task that it concerns."""
        for observer in list(self.observers):
            if observer.kinds & kind and (
                    span is None or observer in span.observers):
                self.say(by, f"{observer.name}:{what}", ident, about.name,
                         *more)

    def do_observe(self, task, s, _):
        name = f"o{s['slot']}"
        here = [one for one in self.observers if one.name == name]
        if here:
            self.observers.remove(here[0])
        else:
            self.observers.append(Observer(name, s["kinds"]))
        self.say(task, "observe", s["id"], 0 if here else 1)
        yield from ()

    # -- scopes

    def opening(self, task, ident):
        span = Span(self.observers, self.now)
        self.tell(SCOPES, span, task, "scope.open", ident, task)
        return span

    def entered(self, span, task, ident):
        span.entered = self.now
        self.tell(SCOPES, span, task, "scope.enter", ident, task,
                  self.now - span.began)

    def not_entered(self, span, task, ident, failure):
        self.tell(SCOPES, span, task, "scope.error", ident, task, 0, failure)

    def leaving(self, span, task, ident, outcome):
        span.leaving = self.now
        span.outcome = code_of(outcome)
        self.tell(SCOPES, span, task, "scope.leave", ident, task, span.outcome,
                  self.now - span.entered)

    def gone(self, span, task, ident, result):
        if result is not None and not result.cancelled:
            self.tell(SCOPES, span, task, "scope.error", ident, task, 1,
                      result)
        self.tell(SCOPES, span, task, "scope.exit", ident, task, span.outcome,
                  "ok" if result is None else result,
                  self.now - span.entered, self.now - span.leaving)

    def forgotten(self, span, task, ident):
        self.tell(SCOPES, span, task, "scope.exit", ident, task, "ok", "none",
                  self.now - span.entered, 0)

    # -- tasks and groups

    def parks(self, task):
        """Does the log say that its turn is over?"""
        words = self.line().split()
        return words[1:3] == [task.name, "o0:task.park"]

    def parked(self, task):
        self.tell(STEPS, None, task, "task.park", 0, task)

    def resumed(self, task):
        self.tell(STEPS, None, task, "task.resume", 0, task)

    def spawned(self, task, by):
        task.span = Span(self.observers, self.now)
        self.tell(TASKS, task.span, by, "task.spawn", 0, task, by.name)

    def over(self, task, result, by):
        """result: "none" if it has never run."""
        self.tell(TASKS, task.span, by, "task.end", 0, task, result,
                  self.now - task.span.began)

    def joining(self, group):
        self.tell(GROUPS, None, group.host, "group.join", 0, group.host,
                  group.alive)

    def failing(self, group, task, failure):
        by = task if task is group.host else NOBODY
        self.tell(GROUPS, None, by, "group.fail", 0, group.host, task.name,
                  failure.error.code, len(group.failures))
