"""Failures of the reference model, and what exits make of them.

Where the contract is silent it reads: two equal codes without an object are
the same error; an outcome that is in the chain of the exit's error already is
not hung into it again.
"""
import copy

CANCELED, TIMEDOUT, PROTO, DEADLK, BUSY = -125, -110, -71, -35, -16
AGAIN, INVAL = -11, -22
STATE, OWNER, MISNEST, PINNED, GROUP = -5001, -5002, -5003, -5004, -5005
CLOSED = -5006


class Mismatch(Exception):
    """The log is not one that the contract allows."""


class Beyond(Exception):
    """What the program does from here on the model does not know."""


class Error:
    """An error object: immutable, so one with a longer chain is a new object,
    but still the same error.
    """

    def __init__(self, code, cause=None, children=(), more=0, alone=False):
        self.code = code
        self.cause = cause
        self.children = children
        self.more = more  # failures of a group that were not kept whole
        self.alone = alone  # S80
        self.context = None
        self.identity = self

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
        if self.children or self.more:
            kept = [f"+{self.more}"] if self.more else []
            text += "[" + ",".join([*map(str, self.children), *kept]) + "]"
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
        *_, last = self.chain()
        if last.alone or context.is_in(self):
            return self
        if isinstance(self.identity, Error) and self.is_in(context):
            return self
        return self.extended(context)

    def is_in(self, other):
        return any(error.identity == self.identity for error in other.chain())

    def extended(self, context):
        longer = copy.copy(self)
        longer.context = context
        if self.context is not None:
            longer.context = self.context.extended(context)
        return longer

    def without(self, codes):
        """S107: what is left if these are suppressed; None if nothing is."""
        if self.code in codes:
            return None
        if not self.children:
            return self
        left = [child.without(codes) for child in self.children]
        if left == list(self.children):
            return self
        rest = copy.copy(self)
        rest.identity = rest
        rest.children = tuple(child for child in left if child is not None)
        return rest if rest.children or rest.more else None


class Failure(Exception):
    def __init__(self, error=None):
        super().__init__()
        self.error = error  # None: a cancel

    @property
    def cancelled(self):
        return self.error is None

    def __str__(self):
        return "cancel" if self.cancelled else str(self.error)

    def same(self, other):
        if self.cancelled or other.cancelled:
            return self.cancelled and other.cancelled
        return self.error.identity == other.error.identity


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
    if outcome.cancelled:
        return Failure(answer.error)
    return Failure(answer.error.with_context(outcome.error))
