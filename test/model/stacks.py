"""Exit stacks in the reference model."""
from failures import (
    BUSY, MISNEST, OWNER, PINNED, STATE, Error, Failure, merged)
from scopes import PARENT
from tasks import Entry, Stack, is_fixed, is_part
from waits import bare


class Stacks:
    """A part of Model."""

    def open_stack(self, task, s):
        """What is open when an enter has ended lies in that entry."""
        yield from ()
        stack = Stack(task)
        self.slots["stack"][s["slot"]] = stack
        if task.entering:
            stack.entry = task.entering[-1]
            stack.entry.stacks.append(stack)

        def leave(task, outcome):
            outcome = yield from self.unwind(task, stack, outcome)
            if stack.entry is not None:
                stack.entry.stacks.remove(stack)
            return outcome

        return leave

    def unwind(self, task, stack, outcome):
        """S73-S78: one after the other, each removed before it runs."""
        stack.unwinding = True
        while stack.entries:
            entry = stack.running = stack.entries[-1]
            self.take_off(task, entry)
            outcome = yield from self.run_exit(task, entry, outcome)
            stack.running = None
            yield from self.turn(task)
        stack.unwinding = False
        stack.closed = True
        return outcome

    @staticmethod
    def take_off(task, entry):
        entry.stack.entries.remove(entry)
        entry.task = task
        entry.mask = set(task.scopes())

    @staticmethod
    def run_exit(task, entry, outcome):
        task.bound += entry.bound
        task.masks.append(entry.mask)
        outcome = yield from entry.leave(task, outcome)
        task.masks.pop()
        return outcome

    def evict(self, task, scope, outcome):
        """Scopes inside of this one, which is left, are on exit stacks: their
        entries are undone, wherever they are. Not one whose exit runs already,
        or one in it: this is part of that.
        """
        while task.scope is not scope and not is_fixed(task.scope):
            entry = task.scope.keeper
            for inner in task.scopes():
                if is_part(inner, entry):
                    inner.cancel(self.now, PARENT, task)
            self.refresh()
            self.take_off(task, entry)
            outcome = yield from self.run_exit(task, entry, outcome)
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
        elif stack.owner() is not task:
            result = bare(OWNER)
        else:
            stack.busy += 1
            stack.entering += 1
            try:
                yield from self.put(task, stack, s["body"][0])
            except Failure as failure:
                result = failure
                yield from self.turn(task)
            stack.entering -= 1
            stack.busy -= 1
        yield from self.done(task, s, result)

    def put(self, task, stack, opener):
        entry = Entry(opener["id"], stack, task)
        before = set(task.scopes())
        bound, bindings = task.bound, task.bindings
        task.entering.append(entry)
        try:
            entry.leave = yield from self.open(task, opener)
        finally:
            task.entering.pop()
        entry.bound = task.bound - bound + (task.bindings is not bindings)
        task.bound = bound  # they are the entry's now
        for scope in task.scopes():
            if scope.keeper is None and scope not in before:
                scope.keeper = entry
                entry.keeps_scopes = True
        self.link(entry, opener["op"] in ("class", "stack"))

    def link(self, entry, is_known):
        entry.task = None
        entry.stack.entries.append(entry)
        if is_known:
            self.entries[entry.ident] = entry

    def do_push(self, task, s, _):
        stack = self.slots["stack"].get(s["slot"])
        code = 1
        if stack is not None:
            code = STATE if stack.closed else 0
        if code == 0:
            span = self.opening(task, s["id"])
            self.entered(span, task, s["id"])
            entry = Entry(s["id"], stack, task)
            entry.leave = self.observed(span, s, self.class_leave(s))
            self.link(entry, True)
        self.say(task, "push", s["id"], code)
        yield from ()

    def do_defer_on(self, task, s, _):
        stack = self.slots["stack"].get(s["slot"])
        code = 1
        if stack is not None:
            code = STATE if stack.closed else 0
        if code == 0:
            entry = Entry(None, stack, task)
            entry.leave = self.deferred(s)
            self.link(entry, False)
        self.say(task, "defer", s["id"], code)
        yield from ()

    def known_entry(self, ident):
        """None: it has moved, or begun to exit, or its stack is gone."""
        entry = self.entries.get(ident)
        stacks = self.slots["stack"].values()
        return entry if entry and entry.stack in stacks else None

    def do_forget(self, task, s, _):
        entry = self.known_entry(s["entry"])
        code = 0
        if entry is None:
            code = 1
        elif entry.task is not None or entry.is_busy():
            code = BUSY
        elif entry.is_pinned():
            code = PINNED
        elif entry.holds_entries():
            code = BUSY
        else:
            entry.stack.entries.remove(entry)
            del self.entries[s["entry"]]
            self.forgotten(entry.leave.span, task, s["entry"])
            for slot, stack in list(self.slots["stack"].items()):
                if stack in entry.stacks:
                    del self.slots["stack"][slot]
        self.say(task, "forget", s["id"], code)
        yield from ()

    @staticmethod
    def can_exit(task, of):
        """S27: the innermost scope is part of it, if any is, and no block's is
        inside of one, nor one of an entry that it lies in.
        """
        blocked = False
        stack = of.stack if isinstance(of, Entry) else of
        for scope in task.scopes():
            if is_part(scope, of):
                if blocked:
                    return False
            elif (scope is task.scope or is_fixed(scope)
                  or stack.lies_in(scope.keeper)):
                blocked = True
        return True

    @staticmethod
    def can_move(source, target):
        """S27, S87: its scopes lie inside of those that exit later."""
        blocked = False
        around = target.around()
        for scope in source.owner().scopes() if source.is_pinned() else ():
            if is_part(scope, source):
                if blocked:
                    return False
            elif (is_part(scope, target) or scope in around
                  or target.lies_in(scope.keeper)):
                blocked = True
        return True

    def do_close(self, task, s, _):
        stack = self.slots["stack"].get(s["slot"])
        result = None
        if stack is None:
            self.say(task, "close", s["id"], 1)
            return
        if stack.owner() is not task:
            result = bare(OWNER)
        elif stack.unwinding or stack.entering or stack.is_held():
            result = bare(BUSY)
        elif not self.can_exit(task, stack):
            result = bare(MISNEST)
        else:
            outcome = bare(s["code"]) if s["code"] else None
            has_entries = bool(stack.entries)
            stack.unwinding = has_entries
            stack.busy += has_entries
            yield from self.turn(task)
            result = yield from self.unwind(task, stack, outcome)
            stack.busy -= has_entries
        yield from self.done(task, s, result)

    def do_close_entry(self, task, s, _):
        """S91"""
        entry = self.known_entry(s["entry"])
        if entry is None:
            self.say(task, "close_entry", s["id"], 1)
            return
        if entry.task is not None or entry.is_busy():
            result = bare(BUSY)
        elif entry.stack.owner() is not task:
            result = bare(OWNER)
        elif not self.can_exit(task, entry):
            result = bare(MISNEST)
        else:
            entry.stack.busy += 1
            self.take_off(task, entry)
            yield from self.turn(task)
            result = yield from self.run_exit(task, entry, None)
            yield from self.turn(task)
            entry.stack.busy -= 1
        yield from self.done(task, s, result)

    @staticmethod
    def lies_on(stack, other):
        entry = stack.entry
        while entry is not None and entry.task is None:
            if entry.stack is other:
                return True
            entry = entry.stack.entry
        return False

    def do_hand(self, task, s, _):
        source = self.slots["stack"].get(s["slot"])
        target = self.slots["stack"].get(s["to"])
        code = 0
        if source is None or target is None:
            code = 1
        elif source.unwinding or source.is_held():
            code = BUSY
        elif target.closed:
            code = STATE
        elif source.is_pinned() and source.owner() is not target.owner():
            code = PINNED
        elif source is target:
            code = 0
        elif source.entries and (
                self.lies_on(target, source)
                or not self.can_move(source, target)):
            code = MISNEST
        else:  # also one whose exit runs is not known any more
            self.entries = {ident: entry
                            for ident, entry in self.entries.items()
                            if entry.stack is not source}
            for entry in source.entries:
                entry.stack = target
            target.entries += source.entries
            source.entries = []
        self.say(task, "hand", s["id"], code)
        yield from ()
