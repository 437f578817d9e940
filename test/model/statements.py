"""What each statement of a program does, in the reference model."""
from failures import (
    AGAIN, DEADLK, INVAL, OWNER, PROTO, STATE, CANCELED, Break, Error, Failure,
    Return, Suppress)
from language import JANITOR_MS, TOKENS_MANY
from scopes import EXPLICIT, INFINITY, effective_deadline, reason
from tasks import YIELD, Frame, Hold, Start, Task
from waits import Event, Wait, bare


def answering(result):
    """A wait that is over at once, with this result; cancels come first."""
    wait = Wait(begin=lambda: wait.finish(result))
    return wait


class Statements:
    """A part of Model."""

    def wait(self, task, s, wait):
        result = yield wait
        yield from self.done(task, s, result)

    def done(self, task, s, result, value=None):
        yield from self.turn(task)
        words = ["ok" if result is None else result]
        if result is None and value is not None:
            words.append(f"={value}")
        self.say(task, "done", s["id"], *words)
        if result is not None and not s["catch"]:
            raise result

    # -- waits

    def do_sleep(self, task, s, _):
        yield from self.wait(task, s, Wait(due=self.now + s["ms"]))

    def do_check(self, task, s, _):
        yield from self.wait(task, s, answering(None))

    def do_wait(self, task, s, _):
        yield from self.wait(task, s, self.events[s["slot"]].wait())

    def do_set(self, _task, s, _):
        self.events[s["slot"]].set()
        yield from ()

    def do_clear(self, _task, s, _):
        if self.now < JANITOR_MS:
            self.events[s["slot"]].is_set = False
        yield from ()

    def do_acquire(self, task, s, _):
        yield from self.wait(task, s, self.permits[s["slot"]].acquire())

    def do_release(self, _task, s, _):
        self.permits[s["slot"]].release()
        yield from ()

    def do_try_acquire(self, task, s, _):
        taken = self.permits[s["slot"]].take()
        self.say(task, "try", s["id"], 0 if taken else AGAIN)
        yield from ()

    def do_refuse(self, task, s, _):
        yield from self.wait(task, s, answering(bare(s["code"])))

    def do_op(self, task, s, _):
        """What its abort does: it is done; it comes later, cancelled or after
        all; it is refused; there is no hook; no cancel comes near it; it is
        refused, and ends with the code of a cancel that is none (S21).
        """
        how = ("done", "cancelled", "late", "refused", None, None,
               "refused")[s["how"]]

        def hook():
            wait.hook = None
            if how == "done":
                wait.finish(Failure())
            elif how in ("cancelled", "late"):
                wait.due = min(wait.due, self.now + 1)
                wait.result = Failure() if how == "cancelled" else None

        wait = Wait(due=self.now + s["ms"], aborts=False, hook=how and hook,
                    checked=s["how"] != 5)
        wait.ident = s["id"]
        if s["how"] == 6:
            wait.result = bare(CANCELED)
        yield from self.wait(task, s, wait)

    def do_send(self, task, s, _):
        channel = self.channels[s["slot"]]
        yield from self.wait(task, s, channel.send(s["id"]))

    def do_receive(self, task, s, _):
        wait = self.channels[s["slot"]].receive()
        result = yield wait
        yield from self.done(task, s, result, getattr(wait, "item", None))

    def do_end_channel(self, task, s, _):
        channel = self.channels[s["slot"]]
        self.say(task, "end", s["id"], len(channel.items))
        channel.close()
        yield from ()

    # -- locks and tokens

    def do_cond(self, task, s, _):
        wait = self.condition_wait(task, self.conditions[s["slot"]])
        wait.ident = s["id"]
        yield from self.wait(task, s, wait)

    def condition_wait(self, task, condition):
        if self.now >= JANITOR_MS:
            return answering(None)
        if condition.lock.owner is not task:
            return answering(bare(OWNER))
        return condition.wait(task)

    def do_cond_for(self, task, s, _):
        condition = self.conditions[s["slot"]]
        event = self.events[s["event"]]
        is_owner = condition.lock.owner is task
        yield from self.turn(task)
        result = yield answering(None if is_owner else bare(OWNER))
        while result is None:
            self.say(task, "ready", s["id"], int(event.is_set))
            if event.is_set:
                break
            wait = condition.wait(task)
            wait.ident = s["id"]
            result = yield wait
        yield from self.done(task, s, result)

    def do_notify(self, task, s, _):
        condition = self.conditions[s["slot"]]
        code = 0 if condition.lock.owner is task else OWNER
        self.say(task, "notify", s["id"], len(condition.waits), code)
        if code == 0:
            condition.notify(s["count"])
        yield from ()

    def do_stats(self, task, s, _):
        lock = self.locks[s["slot"]]
        self.say(task, "stats", s["id"],
                 lock.owner.name if lock.owner else "-", len(lock.queue))
        yield from ()

    def do_total(self, task, s, _):
        limiter = self.limiters[s["slot"]]
        limiter.total = s["total"] if self.now < JANITOR_MS else TOKENS_MANY
        limiter.give()
        self.say(task, "total", s["id"], limiter.borrowed,
                 max(limiter.total - limiter.borrowed, 0),
                 len(limiter.queue.waits))
        yield from ()

    # -- context variables

    @staticmethod
    def value_of(task, slot):
        binding = task.bindings
        while binding is not None:
            if binding[0] == slot:
                return binding[1]
            binding = binding[2]
        return 0

    @staticmethod
    def bind(task, slot, value):
        task.bindings = [slot, value, task.bindings]
        return task.bindings

    def do_set_var(self, task, s, _):
        self.tokens[s["id"]] = (task, self.bind(task, s["slot"], s["id"]))
        self.say(task, "set_var", s["id"], 0)
        yield from ()

    def do_reset_var(self, task, s, _):
        """S118, S119"""
        owner, binding = self.tokens.get(s["token"], (None, None))
        code = 0
        if binding is None:
            code = STATE
        elif owner is not task:
            code = OWNER
        elif task.bindings is not binding:
            code = STATE
        elif binding[0] != s["slot"]:
            code = INVAL
        else:
            task.bindings = binding[2]
            del self.tokens[s["token"]]
        self.say(task, "reset_var", s["id"], code)
        yield from ()

    def do_capture(self, task, s, _):
        self.contexts[s["slot"]] = task.bindings
        self.say(task, "capture", s["id"], 0)
        yield from ()

    def do_peek(self, task, s, _):
        values = [self.value_of(task, slot) for slot in range(3)]
        self.say(task, "peek", s["id"], *values, *self.cells)
        yield from ()

    # -- tasks

    def do_call(self, task, s, _):
        result = None
        yield from self.turn(task)
        self.say(task, "frame", s["id"])
        try:
            yield from self.frame(task, s["body"], Frame())
        except Failure as failure:
            result = failure
        yield from self.done(task, s, result)

    def new_task(self, group, parent, s, run, spawner):
        task = Task(f"t{s['name']}", group, parent, self.grace, run)
        task.bindings = spawner.bindings
        if s.get("context"):
            task.bindings = self.contexts.get(s["context"] - 1, task.bindings)
        self.spawned(task, spawner)
        self.tasks.append(task)
        self.open_scopes.append(task.base)
        return task

    def forget_task(self, task):
        self.open_scopes.remove(task.base)
        self.tasks.remove(task)

    def body_of(self, s):
        return lambda task: self.body(task, s["task"])

    def do_spawn(self, task, s, _):
        group = self.slots["group"].get(s["slot"])
        code = 0
        if group is None:
            code = 1
        elif group.finished:
            code = STATE
        else:
            child = self.new_task(group, group.scope, s, self.body_of(s), task)
            self.slots["task"][s["name"]] = child
            group.alive += 1
            if group.has_room():
                group.running += 1
                self.start(child)
            else:
                group.queue.append(child)
        self.say(task, "spawn", s["id"], code)
        yield from ()

    def do_start(self, task, s, _):
        group = self.slots["group"].get(s["slot"])
        if group is None:
            self.say(task, "start", s["id"], 1)
            return
        result, value = yield from self.start_child(
            task, group, s, self.body_of(s), s["name"])
        yield from self.done(task, s, result, value)

    def start_child(self, task, group, s, run, name=None, held=False):
        """S65-S68: until it is ready it is in a scope of its starter."""
        if group.finished:
            return bare(STATE), None
        if not held:
            group.alive += 1
        scope = self.push(task, self.grace)
        child = self.new_task(None, scope, s, run, task)
        yield from self.turn(task)
        if self.visible(task):
            self.over(child, "none", task)
            self.forget_task(child)
            self.pop(task, scope)
            self.drop(group)
            return Failure(), None
        start = child.start = Start(group, scope, Wait(aborts=False, checked=False))
        start.name = name
        self.start(child)
        yield start.wait
        cancelled = self.visible(task)
        self.pop(task, scope)
        if start.is_ready:
            return None, start.value
        ended = start.ended
        if ended is not None and not ended.cancelled:
            return ended, None
        if cancelled or ended is not None and not start.child_alone:
            return Failure(), None
        return Failure(Error(PROTO if ended is None else CANCELED)), None

    def started(self, task, value):
        start = task.start
        if start is None or start.was_called:
            return STATE
        start.was_called = True
        if self.sees(start.scope):
            return 0
        start.is_ready = True
        start.value = value
        if start.name is not None:
            self.slots["task"][start.name] = task
        task.start = None
        task.group = start.group
        task.group.running += 1
        task.base.parent = start.group.scope
        start.wait.finish()
        self.refresh()
        return 0

    def do_started(self, task, s, _):
        self.say(task, "started", s["id"], self.started(task, s["id"]))
        yield from ()

    def do_join(self, task, s, _):
        target = self.slots["task"].get(s["slot"])
        yield from self.wait(task, s, self.join(task, target))

    @staticmethod
    def join(task, target):
        if target is None or target.ended:
            return answering(None)
        joined = target
        while joined is not None:  # by itself or over others
            if task.is_below(joined):
                return answering(bare(DEADLK))
            joined = joined.joins()
        wait = Wait(begin=lambda: target.joiners.append(wait),
                    gone=lambda: target.joiners.remove(wait))
        wait.joins = target
        return wait

    def do_result(self, task, s, _):
        target = self.slots["task"].get(s["slot"])
        word = "none"
        if target is not None:
            word = "alive"
        if target is not None and target.ended:
            word = "ok" if target.result is None else target.result
        self.say(task, "result", s["id"], word)
        yield from ()

    def do_count(self, task, s, _):
        group = self.slots["group"].get(s["slot"])
        self.say(task, "count", s["id"], -1 if group is None else group.alive)
        yield from ()

    # -- holds

    def do_hold(self, task, s, _):
        group = self.slots["group"].get(s["slot"])
        if group is None or self.now >= JANITOR_MS:
            self.say(task, "hold", s["id"], 1)
            return
        hold = Hold(Event())

        def keep(child):
            hold.task = child
            return self.keep(child, hold, s["body"][0])

        if group.finished:
            yield from self.done(task, s, bare(STATE), None)
            return
        group.alive += 1  # from here on the group waits for it
        yield from self.turn(task)
        result, value = yield from self.start_child(
            task, group, s, keep, held=True)
        yield from self.turn(task)
        if result is None:
            self.slots["hold"][s["hold"]] = hold
        yield from self.done(task, s, result, value)

    def keep(self, task, hold, opener):
        """Its task: open until it is asked for the close, or cancelled."""
        yield from self.turn(task)
        try:
            leave = yield from self.open(task, opener)
            hold.is_open = True
            self.started(task, opener["id"])
            if task.start is not None:  # too late: nobody will have it
                hold.asked.set()
            result = yield hold.asked.wait()
            hold.is_open = False
            task.masks.append(set(task.scopes()))
            result = yield from leave(task, result)
            task.masks.pop()
        except Failure as failure:
            result = failure
        yield from self.turn(task)
        self.ended(task, result)

    @staticmethod
    def ask_for_close(hold):
        hold.is_open = False
        hold.asked.set()

    def do_ask(self, task, s, _):
        hold = self.slots["hold"].get(s["hold"])
        word = 1
        if hold is not None:
            word = "open" if hold.is_open else "shut"
            self.ask_for_close(hold)
        self.say(task, "ask", s["id"], word)
        yield from ()

    def do_drop(self, task, s, _):
        hold = self.slots["hold"].pop(s["hold"], None)
        if hold is not None:
            self.ask_for_close(hold)
        self.say(task, "drop", s["id"], 1 if hold is None else 0)
        yield from ()

    def do_shut(self, task, s, _):
        hold = self.slots["hold"].get(s["hold"])
        if hold is None:
            self.say(task, "shut", s["id"], 1)
            return
        self.ask_for_close(hold)
        yield from self.wait(task, s, self.join(task, hold.task))

    # -- cancels

    def do_cancel(self, task, s, _):
        target = task if s["what"] == "self" else (
            self.slots[s["what"]].get(s["slot"]))
        if target is not None:
            scope = target
            if s["what"] == "group":
                scope = target.scope
            elif s["what"] in ("task", "self"):
                scope = target.base
            scope.cancel(self.now, EXPLICIT, task)
            self.refresh()
        self.say(task, "cancel", s["id"], 1 if target is None else 0)
        yield from ()

    def do_shield(self, task, s, _):
        scope = self.slots["scope"].get(s["slot"])
        if scope is not None:
            scope.set_shield(bool(s["on"]))
            self.refresh()
        self.say(task, "shield", s["id"], 1 if scope is None else 0)
        yield from ()

    def do_move(self, task, s, _):
        scope = self.slots["scope"].get(s["slot"])
        code = 1
        if scope is not None:
            code = 0 if scope.move(self.now + s["ms"]) else STATE
        self.say(task, "move", s["id"], code)
        yield from ()

    def do_status(self, task, s, _):
        scope = self.slots["scope"].get(s["slot"])
        self.say(task, "status", s["id"],
                 "none" if scope is None else scope.status())
        yield from ()

    def do_look(self, task, s, _):
        found = reason(task.scope, task.soft(), self.now)
        if found is not None:
            source, by = found
            self.say(task, "look", s["id"], source, by.name if by else "-",
                     "now")
            return
        due = effective_deadline(task.scope, task.soft(), self.now)
        self.say(task, "look", s["id"], 0, "-",
                 "never" if due == INFINITY else due)
        yield from ()

    # -- what ends a block or a frame

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
    def do_alone(_task, s, _):
        yield from ()
        raise Failure(Error(s["code"], alone=True))

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
        yield from self.done(task, s, result)
