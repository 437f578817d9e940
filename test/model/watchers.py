"""Observers in the reference model: who is told what, in which order.

Each is told of the end of what it was told of the beginning of, and of nothing
else's end.
"""
SCOPES, TASKS, GROUPS = 1, 2, 8  # as in observe.h


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

    def tell(self, kind, span, task, what, ident, *more):
        for observer in list(self.observers):
            if observer.kinds & kind and (
                    span is None or observer in span.observers):
                self.say(task, f"{observer.name}:{what}", ident, *more)

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
        self.tell(SCOPES, span, task, "scope.open", ident)
        return span

    def entered(self, span, task, ident):
        span.entered = self.now
        self.tell(SCOPES, span, task, "scope.enter", ident,
                  self.now - span.began)

    def not_entered(self, span, task, ident, failure):
        self.tell(SCOPES, span, task, "scope.error", ident, 0, failure)

    def leaving(self, span, task, ident, outcome):
        span.leaving = self.now
        span.outcome = code_of(outcome)
        self.tell(SCOPES, span, task, "scope.leave", ident, span.outcome,
                  self.now - span.entered)

    def gone(self, span, task, ident, result):
        if result is not None and not result.cancelled:
            self.tell(SCOPES, span, task, "scope.error", ident, 1, result)
        self.tell(SCOPES, span, task, "scope.exit", ident, span.outcome,
                  "ok" if result is None else result,
                  self.now - span.entered, self.now - span.leaving)

    def forgotten(self, span, task, ident):
        self.tell(SCOPES, span, task, "scope.exit", ident, "ok", "none",
                  self.now - span.entered, 0)

    # -- tasks and groups

    def spawned(self, task, by):
        task.span = Span(self.observers, self.now)
        self.tell(TASKS, task.span, task, "task.spawn", 0, by.name)

    def over(self, task, result):
        """result: "none" if it has never run."""
        self.tell(TASKS, task.span, task, "task.end", 0, result,
                  self.now - task.span.began)

    def joining(self, group):
        self.tell(GROUPS, None, group.host, "group.join", 0, group.alive)

    def failing(self, group, task, failure):
        self.tell(GROUPS, None, group.host, "group.fail", 0, task.name,
                  failure.error.code, len(group.failures))
