"""What tasks of the reference model wait for."""
from failures import AGAIN, CLOSED, DEADLK, Error, Failure
from scopes import INFINITY


def turn():
    """Of a task that goes on when the others have had theirs."""
    return Wait(begin=lambda: True, aborts=False, checked=False)


def bare(code):
    return Failure(Error.bare(code))


class Wait:
    """begin(): done at once? due: or then; aborts: a cancel ends it, gone():
    and then. hook: or its abort hook is called; moves: or it waits on, for a
    lock. Of these two the log tells. checked: a cancel keeps it from
    beginning; then comes refused().
    """

    def __init__(self, begin=lambda: False, due=INFINITY, aborts=True,
                 gone=lambda: None, hook=None, moves=None, checked=True,
                 refused=lambda: None):
        self.begin = begin
        self.due = due
        self.aborts = aborts
        self.gone = gone
        self.hook = hook
        self.moves = moves
        self.checked = checked
        self.refused = refused
        self.ident = 0
        self.joins = None  # the task whose end it is for
        self.done = False
        self.result = None

    def finish(self, result=None):
        self.done = True
        self.result = result


class Queue:
    """Waits, longest waiting first."""

    def __init__(self):
        self.waits = []

    def wait(self, begin):
        """begin(wait) as Wait.begin(); else it waits here."""
        wait = Wait(begin=lambda: begin(wait) or self.waits.append(wait),
                    gone=lambda: self.waits.remove(wait))
        return wait

    def wake(self, result=None):
        """The first one goes on; gives its wait, or None."""
        if not self.waits:
            return None
        wait = self.waits.pop(0)
        wait.finish(result)
        return wait


class Event:
    def __init__(self):
        self.is_set = False
        self.queue = Queue()

    def set(self):
        self.is_set = True
        while self.queue.wake():
            pass

    def wait(self):
        return self.queue.wait(lambda _: self.is_set)


class Permits:
    def __init__(self, count):
        self.count = count
        self.queue = Queue()

    def take(self):
        if self.count == 0:
            return False
        self.count -= 1
        return True

    def acquire(self):
        return self.queue.wait(lambda _: self.take())

    def release(self):
        if not self.queue.wake():
            self.count += 1


class Lock:
    """The waits in its queue know their tasks, and how they will end."""

    def __init__(self):
        self.owner = None
        self.queue = []

    def open(self, task):
        def begin():
            if self.owner is task:
                wait.finish(bare(DEADLK))
            elif self.owner is None:
                self.owner = task
                wait.finish()
            else:
                self.queue.append((task, wait, None))

        def gone():
            self.queue = [entry for entry in self.queue if entry[1] is not wait]

        wait = Wait(begin, gone=gone)
        return wait

    def try_open(self, task):
        if self.owner is not None:
            raise bare(DEADLK if self.owner is task else AGAIN)
        self.owner = task

    def hand_over(self):
        self.owner = None
        if self.queue:
            self.owner, wait, result = self.queue.pop(0)
            wait.finish(result)


class Condition:
    """A wait leaves the lock, and ends when its task has it again."""

    def __init__(self, lock):
        self.lock = lock
        self.waits = []  # with their tasks

    def wait(self, task):
        def begin():
            self.waits.append((task, wait))
            self.lock.hand_over()

        wait = Wait(begin, aborts=False,
                    moves=lambda: self.move((task, wait), Failure()))
        return wait

    def move(self, entry, result):
        """S11: it waits for the lock, whatever happens now."""
        task, wait = entry
        wait.moves = None
        self.waits.remove(entry)
        self.lock.queue.append((task, wait, result))
        if self.lock.owner is None:
            self.lock.hand_over()

    def notify(self, count):
        for entry in self.waits[:None if count < 0 else count]:
            self.move(entry, None)


class Limiter:
    def __init__(self, total):
        self.total = total
        self.borrowed = 0
        self.borrowers = set()  # those that wait included
        self.queue = Queue()

    def give(self):
        while self.borrowed < self.total and self.queue.wake():
            self.borrowed += 1

    def try_open(self, borrower):
        if borrower in self.borrowers:
            raise bare(DEADLK)
        if self.borrowed >= self.total:
            raise bare(AGAIN)
        self.borrowers.add(borrower)
        self.borrowed += 1

    def open(self, borrower):
        def begin(wait):
            if borrower in self.borrowers:
                wait.finish(bare(DEADLK))
                return True
            self.borrowers.add(borrower)
            if self.borrowed >= self.total:
                return False
            self.borrowed += 1
            return True

        wait = self.queue.wait(begin)
        leave_queue = wait.gone

        def gone():
            leave_queue()
            self.borrowers.remove(borrower)

        wait.gone = gone
        return wait

    def close(self, borrower):
        self.borrowers.remove(borrower)
        self.borrowed -= 1
        self.give()


class Channel:
    """Waits of senders and receivers have an `item`."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.items = []
        self.closed = False
        self.senders = Queue()
        self.receivers = Queue()

    def send(self, item):
        def begin(wait):
            if self.closed:
                wait.finish(bare(CLOSED))
                return True
            receiver = self.receivers.wake()
            if receiver is not None:
                receiver.item = item
            elif len(self.items) < self.capacity:
                self.items.append(item)
            else:
                return False
            return True

        wait = self.senders.wait(begin)
        wait.item = item
        return wait

    def receive(self):
        def begin(wait):
            sender = None
            if self.items or self.senders.waits:
                sender = self.senders.wake()
            if sender is not None:
                self.items.append(sender.item)
            if self.items:
                wait.item = self.items.pop(0)
            elif self.closed:
                wait.finish(bare(CLOSED))
            else:
                return False
            return True

        return self.receivers.wait(begin)

    def close(self):
        self.closed = True
        while self.senders.wake(bare(CLOSED)):
            pass
        while self.receivers.wake(bare(CLOSED)):
            pass
