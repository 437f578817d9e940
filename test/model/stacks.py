"""Exit stacks in the reference model."""
from failures import (
    BUSY, MISNEST, OWNER, PINNED, STATE, Error, Failure, merged)
from scopes import PARENT
from tasks import Entry, Stack
from waits import bare


class Stacks:
    """A part of Model."""

    def open_stack(self, task, s):
        yield from ()
        stack = Stack(task)
        self.slots["stack"][s["slot"]] = stack

        def leave(task, outcome):
            return (yield from self.unwind(task, stack, outcome))

        return leave

    def unwind(self, task, stack, outcome):
        """S73-S78: one after the other, each removed before it runs."""
        stack.unwinding = True
        while stack.entries:
            entry = stack.running = stack.entries.pop()
            self.exits_begun.discard(entry.ident)
            task.bound += entry.bound
            task.masks.append(set(task.scopes()))
            outcome = yield from entry.leave(task, outcome)
            task.masks.pop()
            stack.running = None
            yield from self.turn(task)
        stack.unwinding = False
        stack.closed = True
        return outcome

    def evict(self, task, scope, outcome):
        """Scopes inside of this one, which is left, are on exit stacks: their
        entries are undone, wherever they are.
        """
        while task.scope is not scope:
            entry = task.scope.keeper
            for inner in task.scopes():
                if inner.keeper is not entry:
                    break
                inner.cancel(self.now, PARENT, task)
            self.refresh()
            for stack in self.slots["stack"].values():
                if entry in stack.entries:
                    stack.entries.remove(entry)
            task.bound += entry.bound
            task.masks.append(set(task.scopes()))
            outcome = yield from entry.leave(task, outcome)
            task.masks.pop()
            yield from self.turn(task)
            outcome = merged(outcome, Failure(Error(MISNEST)), False)
        return outcome

    def do_put(self, task, s, _):
        stack = self.slots["stack"].get(s["slot"])
        result = None
        if stack is None:
            self.say(task, "put", s["id"], 1)
            return
        if stack.closed:
            result = bare(STATE)
        elif stack.task is not task:
            result = bare(OWNER)
        else:
            before, bound = task.scope, task.bound
            try:
                opener = s["body"][0]
                leave = yield from self.open(task, opener)
                entry = Entry(
                    leave, opener["id"] if opener["op"] == "class" else None,
                    task.scope if task.scope is not before else None,
                    task.bound - bound)
                task.bound = bound  # they are the entry's now
                for scope in task.scopes():
                    if scope is before:
                        break
                    scope.keeper = scope.keeper or entry
                stack.entries.append(entry)
            except Failure as failure:
                result = failure
        yield from self.done(task, s, result)

    def do_push(self, task, s, _):
        stack = self.slots["stack"].get(s["slot"])
        code = 1
        if stack is not None:
            code = STATE if stack.closed else 0
        if code == 0:
            span = self.opening(task, s["id"])
            self.entered(span, task, s["id"])
            stack.entries.append(Entry(
                self.observed(span, s, self.class_leave(s)), s["id"]))
        self.say(task, "push", s["id"], code)
        yield from ()

    def do_defer_on(self, task, s, _):
        stack = self.slots["stack"].get(s["slot"])
        code = 1
        if stack is not None:
            code = STATE if stack.closed else 0
        if code == 0:
            stack.entries.append(Entry(self.deferred(s), None))
        self.say(task, "defer", s["id"], code)
        yield from ()

    def do_forget(self, task, s, _):
        code = 1
        for stack in self.slots["stack"].values():
            if (stack.running is not None and s["entry"] != 0
                    and stack.running.ident == s["entry"]
                    and s["entry"] not in self.exits_begun):
                code = BUSY  # it is being left
            for entry in list(stack.entries):
                if entry.ident != s["entry"] or entry.ident == 0:
                    continue
                code = PINNED if entry.is_pinned() else 0
                if code == 0:
                    stack.entries.remove(entry)
                    self.forgotten(entry.leave.span, task, s["entry"])
        self.say(task, "forget", s["id"], code)
        yield from ()

    @staticmethod
    def has_block_inside(task, stack):
        """S27: it would still be open when that scope's turn comes."""
        scopes = [entry.scope for entry in stack.entries if entry.scope]
        for scope in task.scopes() if scopes else ():
            if scope is scopes[0]:
                break
            if scope.keeper is None:
                return True
        return False

    def do_close(self, task, s, _):
        stack = self.slots["stack"].get(s["slot"])
        result = None
        if stack is None:
            self.say(task, "close", s["id"], 1)
            return
        if stack.task is not task:
            result = bare(OWNER)
        elif stack.unwinding:
            result = bare(BUSY)
        elif stack.scope() not in (None, task.scope) or self.has_block_inside(
                task, stack):
            result = bare(MISNEST)
        else:
            outcome = bare(s["code"]) if s["code"] else None
            stack.unwinding = bool(stack.entries)
            yield from self.turn(task)
            result = yield from self.unwind(task, stack, outcome)
        yield from self.done(task, s, result)

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
        elif source.task is not target.task and any(
                entry.is_pinned() for entry in source.entries):
            code = PINNED
        elif source is target or not source.entries:
            code = 0
        elif target.would_misnest(source.entries):
            code = MISNEST
        else:
            for entry in source.entries:
                entry.ident = None
            target.entries += source.entries
            source.entries = []
        self.say(task, "hand", s["id"], code)
        yield from ()
