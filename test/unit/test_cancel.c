/* test_cancel.c - cancel scopes: contract S1-S4, S6, S13-S23, S29. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <stdlib.h>

TestSuite(cancel, .fini = check_clean, .timeout = 30);

struct empty {
    int unused;
};

/* ---- S1-S4: levels ---- */

struct levels {
    belay_cancel_scope *scope;
    int seen;
};

BELAY_ASYNC(levels)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        belay_cancel_scope_cancel(self->scope, "enough");
        for (self->seen = 0; self->seen < 5; self->seen++) {
            BELAY_TRY(belay_checkpoint(task));
            cr_expect(eq(int, belay_result(task)->code, BELAY_ECANCELED));
            cr_expect(belay_result(task)->cancelled);
        }
        BELAY_TRY(belay_sleep(task, belay_seconds(1)));
        cr_expect(belay_result(task)->cancelled);
    }
    BELAY_AWAIT(belay_checkpoint(task)); /* left: no effect any more */
    trace("outside");
    BELAY_END;
}

Test(cancel, s1_s4_every_checkpoint_in_a_cancelled_scope_fails_until_it_is_left)
{
    cr_expect(eq(int, RUN(levels, 0), 0));
    expect_trace("outside");
}

struct reasons {
    belay_cancel_scope *scope;
    struct belay_cancel_reason reason;
};

BELAY_ASYNC(reasons)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        cr_expect(not(belay_cancel_pending(task, &self->reason)));
        belay_cancel_scope_cancel(self->scope, "first");
        belay_cancel_scope_cancel(self->scope, "second");
        cr_expect(belay_cancel_pending(task, &self->reason));
        cr_expect(belay_cancel_pending(task, NULL));
        cr_expect(eq(int, (int)self->reason.source, BELAY_CANCEL_EXPLICIT));
        cr_expect_str_eq(self->reason.text, "first");
        cr_expect_str_eq(self->reason.task_name, "program");
        cr_expect(eq(u64, self->reason.task_id, belay_task_id(task)));
    }
    BELAY_END;
}

Test(cancel, s2_s23_a_second_cancel_keeps_the_first_reason)
{
    cr_expect(eq(int, RUN(reasons, 0), 0));
}

struct moved {
    belay_cancel_scope *scope;
};

BELAY_ASYNC(moved)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        belay_cancel_scope_cancel(self->scope, NULL);
        cr_expect(eq(int,
            belay_cancel_scope_move(self->scope, (belay_time){INT64_MAX}),
            BELAY_ESTATE));
        BELAY_TRY(belay_checkpoint(task));
        cr_expect(belay_result(task)->cancelled);
    }
    BELAY_END;
}

Test(cancel, s3_a_later_deadline_does_not_uncancel)
{
    cr_expect(eq(int, RUN(moved, 0), 0));
}

struct two_reasons {
    bool outer_first;
    belay_cancel_scope *outer;
    belay_cancel_scope *inner;
    struct belay_cancel_reason reason;
};

BELAY_ASYNC(two_reasons)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->outer)) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->inner)) {
            if (self->outer_first) {
                belay_cancel_scope_cancel(self->outer, "outer");
            }
            belay_cancel_scope_cancel(self->inner, "inner");
            belay_cancel_scope_cancel(self->outer, "outer");
            cr_expect(belay_cancel_pending(task, &self->reason));
            trace("%s", self->reason.text);
        }
    }
    BELAY_END;
}

/* It is the one that will absorb it. */
Test(cancel, s23_the_reason_is_that_of_the_outermost_cancelled_scope)
{
    cr_expect(zero(int, RUN(two_reasons, .outer_first = false)));
    cr_expect(zero(int, RUN(two_reasons, .outer_first = true)));
    expect_trace("outer; outer");
}

/* ---- S6: deep nesting ---- */

struct deep {
    int left;
    belay_cancel_scope *scope;
    belay_cancel_scope **outermost;
};

BELAY_ASYNC_DECLARE(deep);

BELAY_ASYNC(deep)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        if (*self->outermost == NULL) {
            *self->outermost = self->scope;
        }
        if (self->left > 0) {
            BELAY_AWAIT(BELAY_CALL(
                deep, .left = self->left - 1, .outermost = self->outermost));
        } else {
            belay_cancel_scope_cancel(*self->outermost, NULL);
            BELAY_AWAIT(belay_checkpoint(task));
            trace("not reached");
        }
    }
    BELAY_END;
}

Test(cancel, s6_100000_nested_scopes_cancel_in_constant_stack)
{
    belay_cancel_scope *outermost = NULL;

    cr_expect(eq(int, RUN(deep, .left = 9, .outermost = &outermost), 0));
    outermost = NULL;
    program_unswept = true; /* no other places to fail at, but a million */
    cr_expect(eq(int, RUN(deep, .left = 100000, .outermost = &outermost), 0));
    expect_trace("");
}

struct outwards {
    int left;
    belay_cancel_scope *scope;
    belay_cancel_scope **all;
};

BELAY_ASYNC_DECLARE(outwards);

/* Cancelled innermost first: below each is only what is cancelled already. */
BELAY_ASYNC(outwards)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        self->all[self->left] = self->scope;
        if (self->left > 0) {
            BELAY_AWAIT(
                BELAY_CALL(outwards, .left = self->left - 1, .all = self->all));
        }
        for (int i = 0; self->left == 0 && self->all[i] != NULL; i++) {
            belay_cancel_scope_cancel(self->all[i], NULL);
        }
        BELAY_AWAIT(belay_checkpoint(task));
        trace("not reached");
    }
    BELAY_END;
}

/* If each cancel looked at all that is below, this would take minutes. */
Test(cancel, s29_cancelling_nested_scopes_outwards_is_linear)
{
    enum { FEW = 9, MANY = 300000 };
    belay_cancel_scope **all = calloc(MANY + 2, sizeof(belay_cancel_scope *));

    cr_assert(ne(ptr, all, NULL));
    cr_expect(zero(int, RUN(outwards, .left = FEW, .all = all)));
    program_unswept = true; /* no other places to fail at, but a million */
    cr_expect(zero(int, RUN(outwards, .left = MANY, .all = all)));
    expect_trace("");
    free(all);
}

/* ---- S12-S18 ---- */

struct instant {
    struct belay_event event;
    struct belay_semaphore semaphore;
    belay_channel *channel;
    int item;
    belay_cancel_scope *scope;
};

static void
free_channel(void *arg)
{
    belay_channel **channel = arg;

    belay_channel_free(*channel);
}

/* Each of these could complete at once, and is a checkpoint all the same. */
BELAY_ASYNC(instant)
{
    BELAY_BEGIN;
    belay_event_set(&self->event);
    belay_semaphore_init(&self->semaphore, 1);
    BELAY_WITH (belay_defer(task, free_channel, &self->channel)) {
        BELAY_CHECK(belay_channel_new(
            belay_task_runtime(task), 1, sizeof(int), &self->channel));
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
            belay_cancel_scope_cancel(self->scope, NULL);
            BELAY_TRY(belay_event_wait(task, &self->event));
            trace("event %s", trace_result(belay_result(task)));
            BELAY_TRY(belay_semaphore_acquire(task, &self->semaphore));
            trace("semaphore %s", trace_result(belay_result(task)));
            BELAY_TRY(belay_channel_send(task, self->channel, &self->item));
            trace("send %s", trace_result(belay_result(task)));
            BELAY_TRY(belay_channel_receive(task, self->channel, &self->item));
            trace("receive %s", trace_result(belay_result(task)));
            BELAY_TRY(belay_sleep(task, belay_seconds(0)));
            trace("sleep %s", trace_result(belay_result(task)));
            BELAY_TRY(belay_task_join(task, task));
            trace("join %s", trace_result(belay_result(task)));
        }
        cr_expect(eq(u32, self->semaphore.permits, 1));
        cr_expect(zero(sz, belay_channel_count(self->channel)));
    }
    BELAY_END;
}

Test(cancel, s11_s13_what_could_complete_at_once_is_a_checkpoint_too)
{
    cr_expect(eq(int, RUN(instant, .item = 1), 0));
    expect_trace("event cancel; semaphore cancel; send cancel; "
                 "receive cancel; sleep cancel; join cancel");
}

BELAY_ASYNC(empty)
{
    BELAY_BEGIN;
    (void)belay_task_cancel(task, "myself");
    trace("on it goes");
    BELAY_END;
}

Test(cancel, s14_a_task_that_cancels_itself_and_ends_has_succeeded)
{
    cr_expect(eq(int, RUN(empty, 0), 0));
    expect_trace("on it goes");
}

struct late {
    belay_task *child;
    belay_group *group;
};

struct first_step {
    int unused;
};

BELAY_ASYNC(first_step)
{
    BELAY_BEGIN;
    trace("first step");
    BELAY_TRY(belay_checkpoint(task));
    trace("checkpoint %s", trace_result(belay_result(task)));
    BELAY_END;
}

BELAY_ASYNC(late)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_group_spawn(self->group, &first_step,
            &(const struct first_step){0},
            BELAY_SPAWN_OPTS(.task = &self->child)));
        cr_expect(zero(int, belay_task_cancel(self->child, NULL)));
    }
    cr_expect(eq(int, belay_task_result(self->child)->code, 0));
    cr_expect(zero(int, belay_task_cancel(self->child, NULL)));
    cr_expect(eq(int, belay_task_result(self->child)->code, 0));
    cr_expect(not(belay_task_result(self->child)->cancelled));
    belay_task_unref(self->child);
    BELAY_END;
}

Test(cancel, s15_s16_a_task_cancelled_before_its_start_runs_its_first_step)
{
    cr_expect(eq(int, RUN(late, .child = NULL), 0));
    expect_trace("first step; checkpoint cancel");
}

/* ---- S19-S22: who absorbs ---- */

struct absorb {
    bool cancel_outer;
    bool cancel_inner;
    bool checkpoint;
    belay_cancel_scope *outer;
    belay_cancel_scope *inner;
    struct belay_cancel_status outer_status;
    struct belay_cancel_status inner_status;
};

BELAY_ASYNC(absorb)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.status = &self->outer_status), &self->outer)) {
        BELAY_WITH (belay_cancel_scope_open(task,
            BELAY_CANCEL_SCOPE_OPTS(.status = &self->inner_status),
            &self->inner)) {
            if (self->cancel_inner) {
                belay_cancel_scope_cancel(self->inner, NULL);
            }
            if (self->cancel_outer) {
                belay_cancel_scope_cancel(self->outer, NULL);
            }
            if (self->checkpoint) {
                BELAY_AWAIT(belay_checkpoint(task));
            }
            trace("through");
        }
        trace("between");
    }
    trace("inner %d%d outer %d%d", self->inner_status.cancelled,
        self->inner_status.caught, self->outer_status.cancelled,
        self->outer_status.caught);
    BELAY_END;
}

Test(cancel, s19_the_outermost_cancelled_scope_absorbs)
{
    cr_expect(eq(int,
        RUN(absorb, .cancel_outer = true, .cancel_inner = true,
            .checkpoint = true),
        0));
    expect_trace("inner 10 outer 11");
    trace_clear();
    cr_expect(
        eq(int, RUN(absorb, .cancel_inner = true, .checkpoint = true), 0));
    expect_trace("between; inner 11 outer 00");
    trace_clear();
    cr_expect(
        eq(int, RUN(absorb, .cancel_outer = true, .checkpoint = true), 0));
    expect_trace("inner 00 outer 11");
}

Test(cancel, s20_cancelled_but_unseen_is_not_caught)
{
    cr_expect(
        eq(int, RUN(absorb, .cancel_outer = true, .cancel_inner = true), 0));
    expect_trace("through; between; inner 10 outer 10");
}

struct codes {
    int code;
    bool see_cancel;
    belay_cancel_scope *scope;
};

BELAY_ASYNC(codes)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        belay_cancel_scope_cancel(self->scope, NULL);
        if (self->see_cancel) {
            BELAY_TRY(belay_checkpoint(task));
        }
        if (self->code < 0) {
            BELAY_FAIL(self->code, "own");
        }
        BELAY_RETURN(NULL);
    }
    BELAY_END;
}

Test(cancel, s21_the_code_without_the_flag_is_an_ordinary_error)
{
    struct belay_result result;

    cr_expect(eq(int, RUN_RESULT(&result, codes, .code = BELAY_ECANCELED),
        BELAY_ECANCELED));
    cr_expect(not(result.cancelled));
    belay_error_unref(result.error);
}

Test(cancel, s22_another_error_in_response_to_a_cancel_goes_on)
{
    cr_expect(
        eq(int, RUN(codes, .code = BELAY_EIO, .see_cancel = true), BELAY_EIO));
    cr_expect(eq(int, RUN(codes, .code = 0, .see_cancel = true), 0));
}

/* ---- S29 ---- */

struct waits_for_event {
    struct belay_event *event;
    belay_duration before;
};

BELAY_ASYNC(waits_for_event)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, self->before));
    BELAY_AWAIT(belay_event_wait(task, self->event));
    BELAY_END;
}

struct crowd {
    uint64_t count;
    bool backwards; /* who comes first waits last */
    uint64_t *ret_turns;
    struct belay_event event;
    belay_group *group;
    uint64_t i;
    uint64_t before;
};

BELAY_ASYNC(crowd)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (self->i = 0; self->i < self->count; self->i++) {
            BELAY_CHECK(
                belay_spawn(self->group, waits_for_event, .event = &self->event,
                    .before = belay_milliseconds(
                        (int64_t)(self->backwards ? self->count - self->i
                                                  : self->i))));
        }
        BELAY_AWAIT(
            belay_sleep(task, belay_milliseconds((int64_t)self->count + 1)));
        cr_expect(
            eq(sz, belay__waiters_count(&self->event.waiters), self->count));
        self->before = runtime_stats(task).turns;
        belay_group_cancel(self->group, NULL);
        cr_expect(eq(u64, runtime_stats(task).turns, self->before));
    }
    cr_expect(zero(ptr, self->event.waiters.next));
    *self->ret_turns = runtime_stats(task).turns - self->before;
    BELAY_END;
}

/* If leaving the event's queue were a search, from whichever end, this would
 * take minutes. */
static void
cancel_crowds(bool backwards)
{
    uint64_t few = 0;
    uint64_t many = 0;

    cr_expect(eq(int,
        RUN(crowd, .count = 9, .backwards = backwards, .ret_turns = &few), 0));
    program_unswept = true; /* no other places to fail at, but a million */
    cr_expect(eq(int,
        RUN(crowd, .count = 1000, .backwards = backwards, .ret_turns = &few),
        0));
    cr_expect(eq(int,
        RUN(crowd, .count = 100000, .backwards = backwards, .ret_turns = &many),
        0));
    cr_expect(le(u64, many, 100 * few));
}

Test(cancel, s29_cancelling_many_waiters_of_one_event_is_linear)
{
    cancel_crowds(false);
}

Test(cancel, s29_in_whichever_order_they_leave_it)
{
    cancel_crowds(true);
}

#define APART 100

struct apart {
    const char *text; /* of its cancel */
};

BELAY_ASYNC(apart)
{
    struct belay_cancel_reason reason = {.text = ""};

    BELAY_BEGIN;
    BELAY_TRY(belay_sleep(task, belay_seconds(1)));
    cr_expect(belay_cancel_pending(task, &reason));
    cr_expect_str_eq(reason.text, self->text);
    BELAY_END;
}

struct one_by_one {
    belay_group *group;
    belay_task *tasks[APART];
    char texts[APART][24];
    size_t count;
};

static int
spawn_apart(struct one_by_one *self)
{
    int code = 0;

    for (size_t i = 0; i < self->count && code == 0; i++) {
        (void)snprintf(self->texts[i], sizeof(self->texts[i]), "%zu", i);
        code = belay_group_spawn(self->group, &apart,
            &(const struct apart){self->texts[i]},
            BELAY_SPAWN_OPTS(.task = &self->tasks[i]));
    }
    return code;
}

/* Also the places of those that have ended are used again, in any order. */
static void
cancel_apart(struct one_by_one *self)
{
    for (size_t i = 0; i < self->count; i++) {
        const size_t k = (i * 37 + 5) % self->count;

        (void)belay_task_cancel(self->tasks[k], self->texts[k]);
        belay_task_unref(self->tasks[k]);
        self->tasks[k] = NULL;
    }
}

static void
drop_apart(void *arg)
{
    struct one_by_one *self = arg;

    for (size_t i = 0; i < APART; i++) {
        belay_task_unref(self->tasks[i]);
    }
}

BELAY_ASYNC(one_by_one)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, drop_apart, self)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(spawn_apart(self));
            BELAY_AWAIT(belay_checkpoint(task));
            cancel_apart(self);
        }
        self->count = 2;
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(spawn_apart(self));
            BELAY_AWAIT(belay_checkpoint(task));
            cancel_apart(self);
        }
    }
    BELAY_END;
}

Test(cancel, s23_each_of_many_cancels_keeps_its_own_reason)
{
    cr_expect(eq(int, RUN(one_by_one, .count = 9), 0));
    program_unswept = true; /* no other places to fail at, but hundreds */
    cr_expect(eq(int, RUN(one_by_one, .count = APART), 0));
}
