/* test_observe_who.c - observers that come and go, and whom notes reach. */
#include "test/support/observer.h"

#include <belay/uv.h>

TestSuite(observe_who, .fini = check_clean, .timeout = 30);

/* ---- who is told ---- */

struct several {
    belay_observer *first;
    belay_observer *second;
};

BELAY_ASYNC(several)
{
    BELAY_BEGIN;
    attach(task, "1", NULL, &self->first);
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        attach(
            task, "2", BELAY_OBSERVER_OPTS(.manager = "slow"), &self->second);
        BELAY_WITH (BELAY_ENTER(slow, .enter_ms = 1)) {
            belay_observer_detach(self->first);
        }
        attach(task, "3", NULL, NULL);
    }
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        belay_observer_detach(self->second);
        belay_observer_detach(NULL);
    }
    BELAY_END;
}

Test(observe_who, each_is_told_the_end_of_what_it_was_told_the_beginning_of)
{
    cr_expect(eq(int, RUN(several, .first = NULL), 0));
    expect_trace("1+plain 0; 1+slow 1; 2+slow 1; 2-slow ok>ok 0/0; "
                 "3+plain 0; 3-plain ok>ok 0/0");
}

/* One that comes while the others are told, one that goes. */
struct turncoat {
    belay_observer *self;
    belay_observer *other;
    int calls;
};

static void
turn(belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    struct turncoat *coat = arg;

    if (seen->event != BELAY_OBSERVED_SCOPE_ENTER) {
        return;
    }
    trace("turn");
    coat->calls++;
    belay_observer_detach(coat->self);
    belay_observer_detach(coat->other);
    cr_expect(eq(int,
        belay_observer_attach(
            runtime, tell, (void *)(uintptr_t) "new", NULL, NULL),
        0));
}

struct turns {
    struct turncoat coat;
};

BELAY_ASYNC(turns)
{
    BELAY_BEGIN;
    attach(task, "a", NULL, NULL);
    cr_assert(eq(int,
        belay_observer_attach(belay_task_runtime(task), turn, &self->coat, NULL,
            &self->coat.self),
        0));
    attach(task, "b", NULL, &self->coat.other);
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        trace("body");
    }
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        trace("body");
    }
    BELAY_END;
}

Test(observe_who, one_may_detach_itself_and_others_and_attach_in_its_call)
{
    cr_expect(eq(int, RUN(turns, .coat = {.calls = 0}), 0));
    expect_trace("a+plain 0; turn; body; a-plain ok>ok 0/0; "
                 "a+plain 0; new+plain 0; body; a-plain ok>ok 0/0; "
                 "new-plain ok>ok 0/0");
}

/* ---- notes ---- */

struct notes {
    int unused;
};

BELAY_ASYNC(notes)
{
    static const struct belay_note_field fields[] = {
        {.key = "slot", .number = 3}, {.key = "model", .text = "m"}};
    belay_runtime *runtime = belay_task_runtime(task);
    belay_observer *observer = NULL;

    BELAY_BEGIN;
    cr_expect(not(belay_observed_by(runtime, BELAY_OBSERVE_NOTES)));
    belay_note(runtime, task, BELAY_NOTE_MOMENT, "unheard", 0, NULL, 0);
    attach(task, NULL, BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_NOTES),
        &observer);
    if (observer == NULL) {
        BELAY_FAIL(BELAY_ENOMEM, "nobody listens");
    }
    cr_expect(belay_observed_by(runtime, BELAY_OBSERVE_NOTES));
    belay_note(runtime, task, BELAY_NOTE_BEGIN, "lease.wait", 7, fields, 2);
    belay_note(runtime, NULL, BELAY_NOTE_END, "lease.wait", 7, NULL, 0);
    belay_observer_detach(observer);
    cr_expect(not(belay_observed_by(runtime, BELAY_OBSERVE_NOTES)));
    BELAY_END;
}

Test(observe_who, notes_of_modules_reach_observers)
{
    cr_expect(eq(int, RUN(notes, .unused = 0), 0));
    expect_trace("note lease.wait 7 2; note lease.wait 7 0");
}

struct newcomer {
    belay_observer *observer;
};

static void
count_note(belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    (void)runtime;
    trace("%s hears %s", (const char *)arg, seen->event_name);
}

static void
bring_another(
    belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    struct newcomer *self = arg;

    trace("first hears %s", seen->event_name);
    if (self->observer == NULL) {
        (void)belay_observer_attach(runtime, count_note,
            (void *)(uintptr_t) "second",
            BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_NOTES), &self->observer);
    }
}

BELAY_ASYNC(newcomer)
{
    belay_runtime *runtime = belay_task_runtime(task);

    BELAY_BEGIN;
    BELAY_CHECK(belay_observer_attach(runtime, bring_another, self,
        BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_NOTES), NULL));
    belay_note(runtime, task, BELAY_NOTE_MOMENT, "one", 0, NULL, 0);
    belay_note(runtime, task, BELAY_NOTE_MOMENT, "two", 0, NULL, 0);
    BELAY_END;
}

Test(observe_who, who_comes_while_a_note_is_told_hears_the_next_one)
{
    cr_expect(eq(int, RUN(newcomer, .observer = NULL), 0));
    expect_trace("first hears one; first hears two; second hears two");
}

/* ---- options ---- */

Test(observe_who, what_is_no_option_is_refused)
{
    const struct belay_observer_opts wrong = {.size = 1};
    uv_loop_t loop;
    belay_runtime *runtime = NULL;

    cr_assert(eq(int, uv_loop_init(&loop), 0));
    cr_assert(eq(int,
        belay_runtime_attach(
            &loop, BELAY_RUNTIME_OPTS(.allocator = &test_allocator), &runtime),
        0));
    cr_expect(eq(int, belay_observer_attach(runtime, tell, NULL, &wrong, NULL),
        BELAY_EINVAL));
    cr_expect(eq(int,
        belay_observer_attach(
            runtime, tell, NULL, BELAY_OBSERVER_OPTS(.kinds = 64), NULL),
        BELAY_EINVAL));
    test_alloc_fail_at(0);
    cr_expect(eq(int, belay_observer_attach(runtime, tell, NULL, NULL, NULL),
        BELAY_ENOMEM));
    test_alloc_never_fail();
    cr_expect(not(belay_observed_by(runtime, UINT32_MAX)));
    belay_runtime_close(runtime, NULL, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    cr_expect(eq(int, uv_loop_close(&loop), 0));
}

/* ---- who comes while tasks run ---- */

struct guest {
    int number;
    int attaches; /* the number of the one that does */
};

static bool comes_at_an_end; /* in the group's on_child, not in a step */
static bool rests; /* in that step and those before it, ahead of the block */
static uint32_t wanted; /* kinds */

BELAY_ASYNC(guest)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_checkpoint(task));
    if (!comes_at_an_end && self->number == self->attaches) {
        attach(task, NULL, BELAY_OBSERVER_OPTS(.kinds = wanted), NULL);
    }
    if (rests && self->number <= self->attaches) {
        BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
    }
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        trace("body %d", self->number);
    }
    BELAY_END;
}

struct host {
    int attaches;
    belay_group *group;
};

static void
on_guest(belay_task *child, const struct belay_result *result, void *arg)
{
    struct host *host = arg;

    (void)result;
    if (comes_at_an_end && --host->attaches == 0) {
        attach(child, NULL, BELAY_OBSERVER_OPTS(.kinds = wanted), NULL);
    }
}

BELAY_ASYNC(host)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task,
        BELAY_GROUP_OPTS(.on_child = on_guest, .arg = self), &self->group)) {
        for (int i = 1; i <= 3; i++) {
            BELAY_CHECK(belay_spawn(
                self->group, guest, .number = i, .attaches = self->attaches));
        }
    }
    BELAY_END;
}

/* All three are in one lap of the ready queue. */
Test(observe_who, who_comes_in_a_step_hears_the_rest_of_it_and_the_tasks_behind)
{
    comes_at_an_end = false;
    rests = false;
    wanted = BELAY_OBSERVE_SCOPES;
    cr_expect(eq(int, RUN(host, .attaches = 2), 0));
    expect_trace("body 1; +plain 0; body 2; -plain ok>ok 0/0; "
                 "+plain 0; body 3; -plain ok>ok 0/0");
    trace_clear();
    cr_expect(eq(int, RUN(host, .attaches = 3), 0));
    expect_trace("body 1; body 2; +plain 0; body 3; -plain ok>ok 0/0");
    trace_clear();
    rests = true; /* nothing of its own is left of that turn */
    cr_expect(eq(int, RUN(host, .attaches = 1), 0));
    expect_trace("+plain 0; body 2; -plain ok>ok 0/0; "
                 "+plain 0; body 3; -plain ok>ok 0/0; "
                 "+plain 0; body 1; -plain ok>ok 0/0");
    trace_clear();
    wanted = BELAY_OBSERVE_STEPS;
    cr_expect(eq(int, RUN(host, .attaches = 2), 0));
    expect_trace("task.park sleep; task.resume ; body 3; task.resume ; body 1; "
                 "task.resume ; body 2; task.resume ");
}

Test(observe_who, who_comes_between_two_tasks_hears_the_second)
{
    comes_at_an_end = true;
    rests = false;
    wanted = BELAY_OBSERVE_SCOPES;
    cr_expect(eq(int, RUN(host, .attaches = 1), 0));
    expect_trace("body 1; +plain 0; body 2; -plain ok>ok 0/0; "
                 "+plain 0; body 3; -plain ok>ok 0/0");
    trace_clear();
    wanted = BELAY_OBSERVE_STEPS;
    cr_expect(eq(int, RUN(host, .attaches = 1), 0));
    expect_trace("body 1; task.resume ; body 2; task.resume ; body 3; "
                 "task.resume ");
}

/* One that comes in the hook by which a wait is given up hears of what the task
 * does then.
 */
struct hooked {
    struct belay_op op;
};

static enum belay_abort
attach_in_hook(struct belay_op *op)
{
    attach(op->task, NULL, BELAY_OBSERVER_OPTS(.kinds = wanted), NULL);
    return BELAY_ABORT_DONE;
}

BELAY_ASYNC(hooked)
{
    BELAY_BEGIN;
    if (belay_op_begin(task, &self->op, attach_in_hook) < 0) {
        BELAY_FAIL(BELAY_ECANCELED, "too early");
    }
    BELAY_TRY(belay_op_wait(&self->op));
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        trace("body");
    }
    BELAY_END;
}

struct hooks {
    belay_group *group;
};

BELAY_ASYNC(hooks)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, hooked, .op = {.task = NULL}));
        BELAY_AWAIT(belay_checkpoint(task));
        belay_group_cancel(self->group, NULL);
    }
    BELAY_END;
}

Test(observe_who, who_comes_in_an_abort_hook_hears_of_that_turn)
{
    wanted = BELAY_OBSERVE_SCOPES | BELAY_OBSERVE_STEPS;
    cr_expect(eq(int, RUN(hooks, .group = NULL), 0));
    expect_trace(
        "task.resume ; +plain 0; body; -plain ok>ok 0/0; task.resume ");
}
