"""What comes from other threads, in the reference model: posts and work.

Of neither does the contract say when it comes, but that a post comes after
those before it. So the log says when, and the model whether it can be.
"""
from failures import Failure, Mismatch
from scopes import EXPLICIT, INFINITY
from waits import Wait, bare

THREADS = 1  # of the pool; as in others.c
SET, RELEASE, CANCEL = range(3)  # what posts do; as in others.c


class Nobody:
    name = "-"


NOBODY = Nobody()


class Job:
    """due: once a thread has it, or it is cancelled."""

    def __init__(self, s, task, value):
        self.ident = s["id"]
        self.ms = s["ms"]
        self.code = s["code"]
        self.is_freed = bool(s["abandon"])
        self.task = task
        self.value = value  # of the variable that it looks at
        self.due = INFINITY
        self.cancelled = False
        self.wait = None


class Others:
    """A part of Model."""

    def do_post(self, task, s, _):
        target = None
        if s["what"] == CANCEL:
            target = self.slots["task"].get(s["slot"])
        self.posts.append((s, target))
        self.say(task, "post", s["id"], 0)
        yield from ()

    def do_work(self, task, s, _):
        job = Job(s, task, self.value_of(task, 0))

        def hook():
            """S129: what runs cannot be cancelled, but be left to itself."""
            job.wait.hook = None
            if job in self.queue:
                self.queue.remove(job)
                job.cancelled = True
                job.due = self.now + 1
                self.running.append(job)
            if job.is_freed:
                job.wait.finish(Failure())

        job.wait = Wait(begin=lambda: self.queue_job(job), aborts=False,
                        hook=hook, refused=lambda: self.release_job(job, task))
        job.wait.ident = s["id"]
        yield from self.turn(task)
        yield from self.wait(task, s, job.wait)

    def queue_job(self, job):
        self.queue.append(job)
        self.begin_jobs()

    def begin_jobs(self):
        busy = [job for job in self.running if not job.cancelled]
        while self.queue and len(busy) < THREADS:
            job = self.queue.pop(0)
            job.due = self.now + job.ms
            self.running.append(job)
            busy.append(job)

    def release_job(self, job, by):
        if job.is_freed:
            self.say(by, "released", job.ident)

    # -- what happens now, as the log says

    def others(self):
        """What is to come before time goes on, one word each. Without tasks
        posts come at the close at the latest.
        """
        posts = [] if self.root.ended else self.posts
        return ["a post" for _ in posts] + [
            f"job {job.ident}" for job in self.running if job.due <= self.now]

    def other(self, what, ident):
        if what == "posted" and self.posts:
            self.post(*self.posts.pop(0))
            return
        for job in self.running:
            if str(job.ident) == ident and job.due <= self.now:
                self.end_job(job)
                return
        raise Mismatch(f"{what} {ident} cannot be now")

    def post(self, s, target):
        if target is not None:
            target.base.cancel(self.now, EXPLICIT)
        self.say(NOBODY, "posted", s["id"])
        if s["what"] == SET:
            self.events[s["slot"]].set()
        elif s["what"] == RELEASE:
            self.permits[s["slot"]].release()
        self.refresh()

    def end_job(self, job):
        self.running.remove(job)
        if job.cancelled:
            self.say(NOBODY, "dropped", job.ident)
        else:
            self.say(NOBODY, "worked", job.ident, job.value)
        self.release_job(job, NOBODY)
        if not job.wait.done:
            result = bare(job.code) if job.code else None
            job.wait.finish(Failure() if job.cancelled else result)
        self.begin_jobs()
