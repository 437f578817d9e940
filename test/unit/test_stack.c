/* test_stack.c - the exit stack, how it unwinds: contract S73-S85, S105, S106. */
#include "test/support/pushed.h"

#include <stdio.h>
#include <string.h>

TestSuite(stack, .fini = check_clean, .timeout = 30);

struct mixed {
    int code;
    int wait_code;
    belay_stack *stack;
};

BELAY_ASYNC(mixed)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(belay_stack_defer(self->stack, note, text("first"), NULL));
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            BELAY_ENTER(probe, .name = "a", .exit_waits = 2), NULL));
        cr_expect(ne(ptr, belay_result(task)->value, NULL));
        BELAY_CHECK(PUSH(self->stack, .name = "p"));
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            BELAY_ENTER(probe, .name = "b", .enter_waits = 1), NULL));
        BELAY_CHECK(belay_stack_defer(self->stack, note, text("last"), NULL));
        cr_expect(eq(sz, belay_stack_count(self->stack), 5));
        trace("body");
        if (self->code < 0) {
            BELAY_FAIL(self->code, "body");
        }
    }
    trace("behind");
    BELAY_END;
}

Test(stack, s73_exits_run_last_in_first_out_sync_and_async_mixed)
{
    cr_expect(eq(int, RUN(mixed, .code = 0), 0));
    expect_trace(
        "enter a; enter b; body; last; exit b; exit p/ok; exit a; first; "
        "behind");
}

Test(stack, s76_s82_exits_see_the_outcome_callbacks_do_not)
{
    cr_expect(eq(int, RUN(mixed, .code = BELAY_EIO), BELAY_EIO));
    expect_trace("enter a; enter b; body; last; exit b/EIO; exit p/EIO; "
                 "exit a/EIO; first");
}

struct answers {
    int body;
    int top;
    bool suppress_middle;
    int bottom;
    belay_stack *stack;
};

BELAY_ASYNC(answers)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(
            PUSH(self->stack, .name = "bottom", .exit_code = self->bottom));
        BELAY_CHECK(PUSH(self->stack, .name = "middle",
            .exit_suppress = self->suppress_middle));
        BELAY_CHECK(PUSH(self->stack, .name = "top", .exit_code = self->top));
        if (self->body < 0) {
            BELAY_FAIL(self->body, "body");
        }
    }
    trace("behind");
    BELAY_END;
}

Test(stack, s75_s77_all_exits_run_and_failures_are_chained)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, answers, .body = BELAY_EIO, .top = BELAY_EPIPE,
            .bottom = BELAY_EBUSY),
        BELAY_EBUSY));
    expect_trace("exit top/EIO; exit middle/EPIPE; exit bottom/EPIPE");
    cr_expect(eq(str, chain_text(&result), (char *)"EBUSY EPIPE EIO "));
    belay_error_unref(result.error);
}

Test(stack, s78_this_holds_after_a_good_body_too)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, answers, .top = BELAY_EPIPE, .bottom = BELAY_EBUSY),
        BELAY_EBUSY));
    expect_trace("exit top/ok; exit middle/EPIPE; exit bottom/EPIPE");
    cr_expect(eq(str, chain_text(&result), (char *)"EBUSY EPIPE "));
    belay_error_unref(result.error);
}

Test(stack, s81_suppress_makes_the_outcome_good_for_those_below)
{
    struct belay_result result;

    cr_expect(
        eq(int, RUN(answers, .body = BELAY_EIO, .suppress_middle = true), 0));
    expect_trace("exit top/EIO; exit middle/EIO; exit bottom/ok; behind");
    cr_expect(eq(int,
        RUN_RESULT(&result, answers, .body = BELAY_EIO, .suppress_middle = true,
            .bottom = BELAY_EBUSY),
        BELAY_EBUSY));
    cr_expect(eq(str, chain_text(&result), (char *)"EBUSY "));
    belay_error_unref(result.error);
}

struct same {
    belay_stack *stack;
};

/* Fails with the very error that it sees. */
static belay_next
same_exit(belay_task *task, void *self)
{
    (void)self;
    if (belay_outcome(task)->error == NULL) { /* there was no memory for it */
        return belay_return(task, NULL);
    }
    return belay_fail_with(task, belay_error_ref(belay_outcome(task)->error));
}

BELAY_ASYNC(same)
{
    static const belay_manager again = {
        {"again", NULL, 0, enter_nothing, 0}, same_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(belay_stack_push(self->stack, &again, NULL, NULL));
        BELAY_CHECK(belay_stack_push(self->stack, &again, NULL, NULL));
        BELAY_FAIL(BELAY_EIO, "body");
    }
    BELAY_END;
}

Test(stack, s79_failing_with_the_same_error_is_pass)
{
    struct belay_result result;

    cr_expect(eq(int, RUN_RESULT(&result, same, .stack = NULL), BELAY_EIO));
    cr_expect(eq(str, chain_text(&result), (char *)"EIO "));
    belay_error_unref(result.error);
}

/* ---- close ---- */

struct closing {
    int code;
    belay_stack *stack;
    uint64_t steps;
};

BELAY_ASYNC(closing)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(PUSH(self->stack, .name = "a"));
        BELAY_CHECK(PUSH(self->stack, .name = "b"));
        BELAY_TRY(belay_stack_close(task, self->stack,
            &(const struct belay_result){.code = self->code}));
        trace("closed %s", trace_result(belay_result(task)));
        cr_expect(zero(sz, belay_stack_count(self->stack)));
        cr_expect(eq(int, PUSH(self->stack, .name = "late"), BELAY_ESTATE));
        cr_expect(
            eq(int, belay_stack_defer(self->stack, note, text("late"), NULL),
                BELAY_ESTATE));
        BELAY_TRY(belay_stack_enter(
            task, self->stack, BELAY_ENTER(probe, .name = "late"), NULL));
        trace("enter %s", trace_result(belay_result(task)));
        BELAY_TRY(belay_stack_close(task, self->stack, NULL));
        trace("again %s", trace_result(belay_result(task)));
    }
    trace("behind");
    BELAY_END;
}

Test(stack, s85_s88_close_unwinds_now_and_nothing_comes_after)
{
    cr_expect(eq(int, RUN(closing, .code = BELAY_EIO), 0));
    expect_trace("exit b/EIO; exit a/EIO; closed EIO; enter ESTATE; "
                 "again ok; behind");
}

struct empty_close {
    belay_stack *stack;
    belay_cancel_scope *scope;
    size_t calls;
};

BELAY_ASYNC(empty_close)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            belay_cancel_scope_cancel(self->scope, NULL);
            self->calls = test_alloc_calls();
            BELAY_TRY(belay_stack_close(task, self->stack, NULL));
            trace("close %s", trace_result(belay_result(task)));
        }
        cr_expect(eq(sz, test_alloc_calls(), self->calls));
        trace("behind");
    }
    BELAY_END;
}

struct fails_richly {
    int unused;
};

BELAY_ASYNC(fails_richly)
{
    BELAY_BEGIN;
    BELAY_FAIL(BELAY_EIO, "with a text");
    BELAY_END;
}

struct empty_after_error {
    belay_stack *stack;
};

/* It has a result of its own. */
BELAY_ASYNC(empty_after_error)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_TRY(BELAY_CALL(fails_richly, 0));
        BELAY_TRY(belay_stack_close(task, self->stack, NULL));
        trace("close %s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

Test(stack, s93_an_empty_close_forgets_an_error_that_was_looked_at)
{
    cr_expect(zero(int, RUN(empty_after_error, .stack = NULL)));
    expect_trace("close ok");
}

Test(stack, s93_an_empty_close_allocates_nothing_and_is_no_checkpoint)
{
    cr_expect(eq(int, RUN(empty_close, .stack = NULL), 0));
    expect_trace("close ok; behind");
}

struct reentrant {
    belay_stack *stack;
};

struct closes_itself {
    belay_stack *stack;
};

static belay_next
closes_after(belay_task *task, void *self)
{
    (void)self;
    trace("close %s", trace_result(belay_result(task)));
    return belay_return(task, NULL);
}

static belay_next
closes_exit(belay_task *task, void *arg)
{
    struct closes_itself *self = arg;

    trace("exit");
    cr_expect(zero(int, belay_stack_defer(self->stack, note,
                            text("pushed while unwinding"), NULL)));
    cr_expect(eq(int, belay_stack_move(self->stack, self->stack), BELAY_EBUSY));
    return belay_then(
        task, closes_after, belay_stack_close(task, self->stack, NULL));
}

BELAY_ASYNC(reentrant)
{
    static const belay_manager closes = {
        {"closes", NULL, sizeof(struct closes_itself), enter_nothing, 0},
        closes_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(belay_stack_defer(self->stack, note, text("oldest"), NULL));
        BELAY_CHECK(belay_stack_push(self->stack, &closes,
            &(const struct closes_itself){self->stack}, NULL));
    }
    BELAY_END;
}

Test(stack, s89_s90_while_unwinding_a_push_runs_next_a_close_is_refused)
{
    cr_expect(eq(int, RUN(reentrant, .stack = NULL), 0));
    expect_trace("exit; close EBUSY; pushed while unwinding; oldest");
}

struct foreigner {
    belay_stack *stack;
};

BELAY_ASYNC(foreigner)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_stack_close(task, self->stack, NULL));
    trace("close %s", trace_result(belay_result(task)));
    BELAY_TRY(belay_stack_enter(
        task, self->stack, BELAY_ENTER(probe, .name = "x"), NULL));
    trace("enter %s", trace_result(belay_result(task)));
    BELAY_END;
}

struct owned {
    belay_group *group;
    belay_stack *stack;
};

BELAY_ASYNC(owned)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(belay_stack_defer(self->stack, note, text("x"), NULL));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(
                belay_spawn(self->group, foreigner, .stack = self->stack));
        }
        cr_expect(eq(sz, belay_stack_count(self->stack), 1));
    }
    BELAY_END;
}

Test(stack, s27_s90_another_task_may_not_close_or_enter)
{
    cr_expect(eq(int, RUN(owned, .group = NULL), 0));
    expect_trace("close EOWNER; enter EOWNER; x");
}

/* ---- exits that wait, blocks as stacks ---- */

struct busy {
    belay_group *group;
    belay_stack *stack;
};

struct ticker {
    int ticks;
};

BELAY_ASYNC(ticker)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_checkpoint(task));
    trace("tick");
    BELAY_END;
}

BELAY_ASYNC(busy)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_AWAIT(belay_stack_enter(
                task, self->stack, BELAY_ENTER(probe, .name = "b"), NULL));
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                BELAY_ENTER(probe, .name = "a", .exit_waits = 3), NULL));
            BELAY_CHECK(belay_spawn(self->group, ticker, 0));
        }
    }
    BELAY_END;
}

Test(stack, s105_an_exit_that_waits_lets_other_tasks_run)
{
    cr_expect(eq(int, RUN(busy, .stack = NULL), 0));
    expect_trace("enter b; enter a; exit a; tick; exit b");
}

struct one_block {
    int body;
    int exit_code;
    bool suppress;
    bool on_stack;
    belay_stack *stack;
};

BELAY_ASYNC(one_block)
{
    BELAY_BEGIN;
    if (self->on_stack) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                BELAY_ENTER(probe, .name = "a", .exit_code = self->exit_code,
                    .exit_suppress = self->suppress),
                NULL));
            if (self->body < 0) {
                BELAY_FAIL(self->body, "body");
            }
        }
    } else {
        BELAY_WITH (BELAY_ENTER(probe, .name = "a",
            .exit_code = self->exit_code, .exit_suppress = self->suppress)) {
            if (self->body < 0) {
                BELAY_FAIL(self->body, "body");
            }
        }
    }
    trace("behind");
    BELAY_END;
}

Test(stack, s106_a_block_is_a_stack_of_one_entry)
{
    char seen[512];
    struct belay_result on_stack;
    struct belay_result in_block;

    for (int bits = 0; bits < 8; bits++) {
        const int body = (bits & 1) != 0 ? BELAY_EIO : 0;
        const int exit_code = (bits & 2) != 0 ? BELAY_EPIPE : 0;
        const bool suppress = (bits & 4) != 0;

        trace_clear();
        (void)RUN_RESULT(&on_stack, one_block, .body = body,
            .exit_code = exit_code, .suppress = suppress, .on_stack = true);
        (void)snprintf(
            seen, sizeof(seen), "%s|%s", trace_text(), chain_text(&on_stack));
        trace_clear();
        (void)RUN_RESULT(&in_block, one_block, .body = body,
            .exit_code = exit_code, .suppress = suppress);
        trace("|");
        cr_expect(eq(int, on_stack.code, in_block.code));
        cr_expect_str_eq(chain_text(&on_stack), strchr(seen, '|') + 1);
        *strchr(seen, '|') = '\0';
        cr_expect(zero(int, strncmp(trace_text(), seen, strlen(seen))));
        belay_error_unref(on_stack.error);
        belay_error_unref(in_block.error);
    }
}

Test(stack, s74_s75_each_entry_runs_once_whatever_happens)
{
    SWEEP(mixed, .code = 0);
    SWEEP(mixed, .code = BELAY_EIO);
    SWEEP(
        answers, .body = BELAY_EIO, .top = BELAY_EPIPE, .bottom = BELAY_EBUSY);
}
