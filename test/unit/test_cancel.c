/* test_cancel.c - cancel scopes: contract S1-S29. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <signal.h>
#include <string.h>

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

/* ---- S5-S10: the abort protocol, on an operation of our own ---- */

struct fake {
    struct belay_op op;
    enum belay_abort answer;
    int asked;
    bool done_inside; /* the hook itself completes the operation */
    int inside_code;
};

static enum belay_abort
fake_abort(struct belay_op *op)
{
    struct fake *fake = BELAY__CONTAINER(op, struct fake, op);

    fake->asked++;
    trace("asked");
    /* It is done for nobody, whichever task ran before in this pass. */
    cr_expect(op->task->runtime->current == NULL);
    if (fake->done_inside) {
        belay_op_done(op, fake->inside_code, NULL);
    }
    return fake->answer;
}

static belay_next
fake_wait(belay_task *task, struct fake *fake)
{
    if (belay_op_begin(task, &fake->op, fake_abort) < 0) {
        trace("not begun");
    } else {
        trace("begun");
    }
    return belay_op_wait(&fake->op);
}

/* Waits for the fake operation in two nested scopes; a second task cancels
 * both and then completes it as told.
 */
struct waiter {
    struct fake *fake;
    belay_cancel_scope **inner;
    belay_cancel_scope **outer;
};

BELAY_ASYNC(waiter)
{
    BELAY_BEGIN;
    BELAY_WITH (keeping(task, NULL, self->outer)) {
        BELAY_WITH (keeping(task, NULL, self->inner)) {
            BELAY_TRY(fake_wait(task, self->fake));
            trace("got %s", trace_result(belay_result(task)));
            BELAY_TRY(belay_checkpoint(task));
            trace("then %s", trace_result(belay_result(task)));
        }
    }
    BELAY_END;
}

struct abort_case {
    struct fake *fake;
    bool complete;
    int code;
    bool complete_first; /* before the hook can run */
    belay_group *group;
    belay_cancel_scope *inner;
    belay_cancel_scope *outer;
};

/* For when it is cut short: the wait may be one that refuses to be aborted. */
static void
settle(void *op)
{
    if (belay_op_pending(op)) {
        belay_op_done(op, 0, NULL);
    }
}

BELAY_ASYNC(abort_case)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_defer(task, settle, &self->fake->op)) {
            BELAY_CHECK(belay_spawn(self->group, waiter, .fake = self->fake,
                .inner = &self->inner, .outer = &self->outer));
            BELAY_AWAIT(belay_checkpoint(task));
            if (self->inner == NULL || self->outer == NULL) {
                BELAY_FAIL(BELAY_ENOMEM, "the waiter does not wait");
            }
            belay_cancel_scope_cancel(self->inner, NULL);
            belay_cancel_scope_cancel(self->outer, NULL);
            trace("cancelled");
            if (self->complete_first && belay_op_pending(&self->fake->op)) {
                belay_op_done(&self->fake->op, self->code, NULL);
            }
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_AWAIT(belay_checkpoint(task));
            if (self->complete && belay_op_pending(&self->fake->op)) {
                trace("complete");
                belay_op_done(&self->fake->op, self->code, NULL);
            }
        }
    }
    BELAY_END;
}

Test(cancel, s5_s7_the_hook_runs_once_and_not_inside_the_cancel_call)
{
    struct fake fake = {.answer = BELAY_ABORT_DONE};

    cr_expect(eq(int, RUN(abort_case, .fake = &fake), 0));
    expect_trace("begun; cancelled; asked; got cancel; then cancel");
}

struct asked_again {
    struct fake *fake;
    belay_group *group;
    belay_cancel_scope *inner;
    belay_cancel_scope *outer;
    int i;
};

/* After the hook has answered, all that marks the scope anew: a shield that
 * comes and goes, a second cancel, the end of the grace. The clock is moved by
 * hand, since it does not jump over an operation that is under way.
 */
BELAY_ASYNC(asked_again)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_defer(task, settle, &self->fake->op)) {
            BELAY_CHECK(belay_spawn(self->group, waiter, .fake = self->fake,
                .inner = &self->inner, .outer = &self->outer));
            BELAY_AWAIT(belay_checkpoint(task));
            for (self->i = 0; self->i < 400; self->i++) { /* several passes */
                if (self->inner == NULL || self->outer == NULL) {
                    BELAY_FAIL(BELAY_ENOMEM, "the waiter does not wait");
                }
                if (self->i == 0) {
                    belay_cancel_scope_cancel(self->outer, NULL);
                } else if (self->i == 100) {
                    belay_cancel_scope_set_shield(self->inner, true);
                } else if (self->i == 101) {
                    belay_cancel_scope_set_shield(self->inner, false);
                } else if (self->i == 200) {
                    belay_cancel_scope_cancel(self->inner, NULL);
                } else if (self->i == 201) {
                    belay_clock_advance(
                        belay_task_runtime(task)->clock, belay_seconds(6));
                }
                BELAY_AWAIT(belay_checkpoint(task));
            }
        }
    }
    BELAY_END;
}

Test(cancel, s7_the_hook_is_not_asked_again_whatever_comes_later)
{
    struct fake fake = {.answer = BELAY_ABORT_REFUSED};

    cr_expect(eq(int, RUN(asked_again, .fake = &fake), 0));
    expect_trace("begun; asked; got ok; then cancel");
    trace_clear();
    fake = (struct fake){.answer = BELAY_ABORT_LATER};
    cr_expect(eq(int, RUN(asked_again, .fake = &fake), 0));
    expect_trace("begun; asked; got ok; then cancel");
}

Test(cancel, s8_a_refused_abort_leaves_the_task_parked)
{
    struct fake fake = {.answer = BELAY_ABORT_REFUSED};

    cr_expect(eq(int, RUN(abort_case, .fake = &fake, .complete = true), 0));
    expect_trace("begun; cancelled; asked; complete; got ok; then cancel");
}

Test(cancel, s8_no_hook_is_a_refusal)
{
    /* The bridge takes NULL for "always refuses"; seen in test_op. */
    struct fake fake = {.answer = BELAY_ABORT_REFUSED};

    cr_expect(eq(int,
        RUN(abort_case, .fake = &fake, .complete = true,
            .code = BELAY_ECANCELED),
        0));
    /* Not "later": the code is the operation's own, without the flag. */
    expect_trace(
        "begun; cancelled; asked; complete; got ECANCELED; then cancel");
}

Test(cancel, s9_later_delivers_what_really_happened)
{
    struct fake fake = {.answer = BELAY_ABORT_LATER};

    cr_expect(eq(int, RUN(abort_case, .fake = &fake, .complete = true), 0));
    expect_trace("begun; cancelled; asked; complete; got ok; then cancel");
    trace_clear();
    cr_expect(eq(int,
        RUN(abort_case, .fake = &fake, .complete = true,
            .code = BELAY_ECANCELED),
        0));
    expect_trace("begun; cancelled; asked; complete; got cancel; then cancel");
    trace_clear();
    cr_expect(eq(int,
        RUN(abort_case, .fake = &fake, .complete = true, .code = BELAY_EIO),
        0));
    expect_trace("begun; cancelled; asked; complete; got EIO; then cancel");
}

Test(cancel, s9_the_hook_may_complete_it_itself)
{
    struct fake fake = {.answer = BELAY_ABORT_LATER,
        .done_inside = true,
        .inside_code = BELAY_ECANCELED};

    cr_expect(eq(int, RUN(abort_case, .fake = &fake), 0));
    expect_trace("begun; cancelled; asked; got cancel; then cancel");
    trace_clear();
    fake = (struct fake){.answer = BELAY_ABORT_REFUSED, .done_inside = true};
    cr_expect(eq(int, RUN(abort_case, .fake = &fake), 0));
    expect_trace("begun; cancelled; asked; got ok; then cancel");
}

Test(cancel, s10_a_completion_before_the_hook_wins)
{
    struct fake fake = {.answer = BELAY_ABORT_DONE};

    cr_expect(
        eq(int, RUN(abort_case, .fake = &fake, .complete_first = true), 0));
    expect_trace("begun; cancelled; got ok; then cancel");
    cr_expect(zero(int, fake.asked));
}

Test(cancel, done_and_aborted_at_once_aborts, .signal = SIGABRT, .init = NULL)
{
    struct fake fake = {.answer = BELAY_ABORT_DONE, .done_inside = true};

    (void)RUN(abort_case, .fake = &fake);
}

struct own_cancel {
    struct fake *fake;
    belay_cancel_scope *scope;
    belay_next next;
};

/* Begins the wait, and cancels its own scope before it returns the token. */
static belay_next
begin_and_cancel(belay_task *task, struct own_cancel *self)
{
    self->next = fake_wait(task, self->fake);
    belay_cancel_scope_cancel(self->scope, NULL);
    return self->next;
}

BELAY_ASYNC(own_cancel)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        BELAY_AWAIT(begin_and_cancel(task, self));
        trace("not reached");
    }
    BELAY_END;
}

Test(cancel, s1_a_cancel_between_the_start_and_the_wait_is_seen)
{
    struct fake fake = {.answer = BELAY_ABORT_DONE};

    cr_expect(eq(int, RUN(own_cancel, .fake = &fake), 0));
    expect_trace("begun; asked");
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

/* ---- S12-S18 ---- */

struct precancelled {
    struct fake *fake;
    belay_cancel_scope *scope;
};

BELAY_ASYNC(precancelled)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        belay_cancel_scope_cancel(self->scope, NULL);
        BELAY_TRY(fake_wait(task, self->fake));
        trace("got %s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

Test(cancel, s12_an_operation_does_not_begin_in_a_cancelled_scope)
{
    struct fake fake = {.answer = BELAY_ABORT_DONE};

    cr_expect(eq(int, RUN(precancelled, .fake = &fake), 0));
    expect_trace("not begun; got cancel");
    cr_expect(not(belay_op_pending(&fake.op)));
}

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

/* ---- S24-S26: shields ---- */

struct shielded {
    belay_cancel_scope *outer;
    belay_cancel_scope *shield;
    struct belay_cancel_status status;
};

BELAY_ASYNC(shielded)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->outer)) {
        BELAY_WITH (belay_cancel_scope_open(task,
            BELAY_CANCEL_SCOPE_OPTS(.shield = true, .status = &self->status),
            &self->shield)) {
            belay_cancel_scope_cancel(self->outer, NULL);
            BELAY_AWAIT(belay_sleep(task, belay_seconds(1000)));
            trace("shielded");
            belay_cancel_scope_set_shield(self->shield, false);
            BELAY_TRY(belay_checkpoint(task));
            trace("dropped %s", trace_result(belay_result(task)));
            belay_cancel_scope_set_shield(self->shield, true);
            BELAY_AWAIT(belay_checkpoint(task));
            trace("raised");
            belay_cancel_scope_cancel(self->shield, NULL);
            BELAY_AWAIT(belay_checkpoint(task));
            trace("not reached");
        }
        trace("own cancel absorbed %d", self->status.caught);
        BELAY_AWAIT(belay_checkpoint(task));
        trace("not reached either");
    }
    BELAY_END;
}

Test(cancel, s24_shielded_code_sees_only_its_own_cancel)
{
    cr_expect(eq(int, RUN(shielded, .outer = NULL), 0));
    expect_trace("shielded; dropped cancel; raised; own cancel absorbed 1");
}

struct behind {
    const bool *over; /* nobody will drop a shield any more */
    belay_cancel_scope **outer;
    belay_cancel_scope **shield;
};

BELAY_ASYNC(behind)
{
    BELAY_BEGIN;
    BELAY_WITH (keeping(task, NULL, self->outer)) {
        BELAY_WITH (keeping(task,
            BELAY_CANCEL_SCOPE_OPTS(.shield = !*self->over), self->shield)) {
            BELAY_TRY(belay_sleep(task, BELAY_FOREVER));
            trace("got %s", trace_result(belay_result(task)));
            belay_cancel_scope_set_shield(*self->shield, true);
            BELAY_RETURN(NULL);
        }
    }
    BELAY_END;
}

struct dropper {
    bool over;
    belay_group *group;
    belay_cancel_scope *outer;
    belay_cancel_scope *shield;
};

/* However it ends: nothing else ends the one behind the shield. */
static void
drop_shield(void *arg)
{
    struct dropper *self = arg;

    self->over = true;
    if (self->shield != NULL) {
        belay_cancel_scope_set_shield(self->shield, false);
    }
}

BELAY_ASYNC(dropper)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_defer(task, drop_shield, self)) {
            BELAY_CHECK(belay_spawn(self->group, behind, .over = &self->over,
                .outer = &self->outer, .shield = &self->shield));
            BELAY_AWAIT(belay_checkpoint(task));
            if (self->outer == NULL || self->shield == NULL) {
                BELAY_FAIL(BELAY_ENOMEM, "nobody is behind a shield");
            }
            belay_cancel_scope_cancel(self->outer, NULL);
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_AWAIT(belay_checkpoint(task));
            trace("drop");
            drop_shield(self);
            BELAY_AWAIT(belay_checkpoint(task));
            trace("end");
        }
    }
    BELAY_END;
}

Test(cancel, s25_dropping_a_shield_aborts_parked_tasks_at_once)
{
    cr_expect(eq(int, RUN(dropper, .group = NULL), 0));
    expect_trace("drop; got cancel; end");
}

struct toggled {
    belay_cancel_scope *outer;
    belay_cancel_scope *middle;
    struct belay_cancel_status outer_status;
    struct belay_cancel_status middle_status;
};

struct toggling {
    belay_cancel_scope **scope;
    bool shield;
};

static belay_next
toggle_enter(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

static belay_next
toggle_exit(belay_task *task, void *arg)
{
    struct toggling *self = arg;

    belay_cancel_scope_set_shield(*self->scope, self->shield);
    return belay_return(task, NULL);
}

static const belay_manager toggling = {
    {"toggling", NULL, sizeof(struct toggling), toggle_enter, 0}, toggle_exit};

/* The cancel of the outer scope is on its way out when the scope between
 * becomes shielded: that one was never cancelled and must not absorb it. */
BELAY_ASYNC(toggled)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.status = &self->outer_status), &self->outer)) {
        BELAY_WITH (belay_cancel_scope_open(task,
            BELAY_CANCEL_SCOPE_OPTS(.status = &self->middle_status),
            &self->middle)) {
            BELAY_WITH (
                BELAY_ENTER(toggling, .scope = &self->middle, .shield = true)) {
                belay_cancel_scope_cancel(self->outer, NULL);
                BELAY_AWAIT(belay_checkpoint(task));
            }
        }
        trace("not reached");
    }
    trace("middle %d outer %d", self->middle_status.caught,
        self->outer_status.caught);
    BELAY_END;
}

Test(cancel, s26_an_uncancelled_scope_absorbs_nothing_whatever_its_shield)
{
    cr_expect(eq(int, RUN(toggled, .outer = NULL), 0));
    expect_trace("middle 0 outer 1");
}

struct pierced {
    belay_duration shield;
    belay_cancel_scope *outer;
    int64_t from_ns;
};

static long long
elapsed_ms(const belay_task *task, int64_t from_ns)
{
    return (long long)((belay_now(task).ns - from_ns) / 1000000);
}

/* The shield holds for one second; then the cancel comes in, and an exit has
 * what is left of the five seconds of grace. */
BELAY_ASYNC(pierced)
{
    BELAY_BEGIN;
    self->from_ns = belay_now(task).ns;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->outer)) {
        belay_cancel_scope_cancel(self->outer, NULL);
        BELAY_WITH (belay_shield(task, self->shield)) {
            BELAY_WITH (BELAY_ENTER(
                probe, .name = "a", .exit_sleep = belay_seconds(60))) {
                BELAY_TRY(belay_sleep(task, belay_seconds(60)));
                trace("%s after %lld ms", trace_result(belay_result(task)),
                    elapsed_ms(task, self->from_ns));
                BELAY_AWAIT(belay_checkpoint(task));
            }
        }
    }
    trace("after %lld ms", elapsed_ms(task, self->from_ns));
    BELAY_END;
}

Test(cancel, s24_s100_a_shield_with_an_end_lets_the_cancel_in_not_the_cut)
{
    cr_expect(eq(int, RUN(pierced, .shield = belay_seconds(1)), 0));
    expect_trace("enter a; cancel after 1000 ms; exit a/cancel; cut a; "
                 "after 5000 ms");
    trace_clear();
    cr_expect(eq(int, RUN(pierced, .shield = belay_seconds(0)), 0));
    expect_trace("enter a; cancel after 0 ms; exit a/cancel; cut a; "
                 "after 5000 ms");
}

struct shielded_exit {
    belay_cancel_scope *scope;
    int64_t from_ns;
};

struct shielding {
    int64_t from_ns;
};

BELAY_MANAGER(shielding)
{
    BELAY_BEGIN;
    BELAY_TRY_YIELD(NULL);
    BELAY_WITH (belay_shield(task, belay_seconds(3))) {
        BELAY_TRY(belay_sleep(task, belay_seconds(60)));
        trace("%s after %lld ms", trace_result(belay_result(task)),
            elapsed_ms(task, self->from_ns));
    }
    BELAY_END;
}

BELAY_ASYNC(shielded_exit)
{
    BELAY_BEGIN;
    self->from_ns = belay_now(task).ns;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.grace = belay_seconds(1)), &self->scope)) {
        belay_cancel_scope_cancel(self->scope, NULL);
        BELAY_WITH (BELAY_ENTER(shielding, .from_ns = self->from_ns)) {
            BELAY_AWAIT(belay_checkpoint(task));
        }
    }
    BELAY_END;
}

/* The exit itself is shielded for one second; only then comes a cancel for
 * the shield to hold. */
Test(cancel, s24_s99_a_shield_in_an_exit_counts_from_the_end_of_the_grace)
{
    cr_expect(eq(int, RUN(shielded_exit, .scope = NULL), 0));
    expect_trace("cancel after 4000 ms");
}

struct own_deadline {
    int64_t from_ns;
};

/* A shield does not take the end away from its own exits. */
BELAY_ASYNC(own_deadline)
{
    BELAY_BEGIN;
    self->from_ns = belay_now(task).ns;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.shield = true, .timeout = belay_seconds(1)),
        NULL)) {
        BELAY_WITH (
            BELAY_ENTER(probe, .name = "a", .exit_sleep = BELAY_FOREVER)) {
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
    }
    trace("after %lld ms", elapsed_ms(task, self->from_ns));
    BELAY_END;
}

Test(cancel, s102_exits_in_a_cancelled_shield_have_the_usual_grace)
{
    cr_expect(eq(int, RUN(own_deadline, .from_ns = 0), 0));
    expect_trace("enter a; exit a/cancel; cut a; after 6000 ms");
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
    uint64_t *ret_steps;
    struct belay_event event;
    belay_group *group;
    uint64_t i;
    uint64_t before;
};

static uint64_t
steps_of(const belay_task *task)
{
    struct belay_runtime_stats stats = {.size = sizeof(stats)};

    cr_assert(
        zero(int, belay_runtime_get_stats(belay_task_runtime(task), &stats)));
    return stats.steps;
}

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
        self->before = steps_of(task);
        belay_group_cancel(self->group, NULL);
        cr_expect(eq(u64, steps_of(task), self->before));
    }
    cr_expect(zero(ptr, self->event.waiters.next));
    *self->ret_steps = steps_of(task) - self->before;
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
        RUN(crowd, .count = 9, .backwards = backwards, .ret_steps = &few), 0));
    program_unswept = true; /* no other places to fail at, but a million */
    cr_expect(eq(int,
        RUN(crowd, .count = 1000, .backwards = backwards, .ret_steps = &few),
        0));
    cr_expect(eq(int,
        RUN(crowd, .count = 100000, .backwards = backwards, .ret_steps = &many),
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
