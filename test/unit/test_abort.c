/* test_abort.c - what a cancel does to an operation: contract S5-S12. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <belay/uv.h>

#include <signal.h>

TestSuite(abort, .fini = check_clean, .timeout = 30);

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

Test(abort, s5_s7_the_hook_runs_once_and_not_inside_the_cancel_call)
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

Test(abort, s7_the_hook_is_not_asked_again_whatever_comes_later)
{
    struct fake fake = {.answer = BELAY_ABORT_REFUSED};

    cr_expect(eq(int, RUN(asked_again, .fake = &fake), 0));
    expect_trace("begun; asked; got ok; then cancel");
    trace_clear();
    fake = (struct fake){.answer = BELAY_ABORT_LATER};
    cr_expect(eq(int, RUN(asked_again, .fake = &fake), 0));
    expect_trace("begun; asked; got ok; then cancel");
}

Test(abort, s8_a_refused_abort_leaves_the_task_parked)
{
    struct fake fake = {.answer = BELAY_ABORT_REFUSED};

    cr_expect(eq(int, RUN(abort_case, .fake = &fake, .complete = true), 0));
    expect_trace("begun; cancelled; asked; complete; got ok; then cancel");
}

Test(abort, s8_no_hook_is_a_refusal)
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

Test(abort, s9_later_delivers_what_really_happened)
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

/* libuv's two codes for what it was asked to cancel. */
Test(abort, s9_a_cancelled_lookup_is_a_cancel_only_if_later_was_said)
{
    struct fake fake = {.answer = BELAY_ABORT_LATER};

    cr_expect(eq(int,
        RUN(abort_case, .fake = &fake, .complete = true,
            .code = UV_EAI_CANCELED),
        0));
    expect_trace("begun; cancelled; asked; complete; got cancel; then cancel");
    trace_clear();
    fake = (struct fake){.answer = BELAY_ABORT_REFUSED};
    cr_expect(eq(int,
        RUN(abort_case, .fake = &fake, .complete = true,
            .code = UV_EAI_CANCELED),
        0));
    expect_trace(
        "begun; cancelled; asked; complete; got EAI_CANCELED; then cancel");
    trace_clear();
    fake = (struct fake){.answer = BELAY_ABORT_DONE};
    cr_expect(eq(int,
        RUN(abort_case, .fake = &fake, .complete_first = true,
            .code = UV_EAI_CANCELED),
        0));
    expect_trace("begun; cancelled; got EAI_CANCELED; then cancel");
}

Test(abort, s9_the_hook_may_complete_it_itself)
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

Test(abort, s10_a_completion_before_the_hook_wins)
{
    struct fake fake = {.answer = BELAY_ABORT_DONE};

    cr_expect(
        eq(int, RUN(abort_case, .fake = &fake, .complete_first = true), 0));
    expect_trace("begun; cancelled; got ok; then cancel");
    cr_expect(zero(int, fake.asked));
}

Test(abort, done_and_aborted_at_once_aborts, .signal = SIGABRT, .init = NULL)
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

Test(abort, s1_a_cancel_between_the_start_and_the_wait_is_seen)
{
    struct fake fake = {.answer = BELAY_ABORT_DONE};

    cr_expect(eq(int, RUN(own_cancel, .fake = &fake), 0));
    expect_trace("begun; asked");
}

/* ---- S12 ---- */

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

Test(abort, s12_an_operation_does_not_begin_in_a_cancelled_scope)
{
    struct fake fake = {.answer = BELAY_ABORT_DONE};

    cr_expect(eq(int, RUN(precancelled, .fake = &fake), 0));
    expect_trace("not begun; got cancel");
    cr_expect(not(belay_op_pending(&fake.op)));
}
