/* test_stack_enter.c - what comes onto a stack, and how much: S92-S96. */
#include "test/support/pushed.h"

#include <signal.h>

TestSuite(stack_enter, .fini = check_clean, .timeout = 30);

/* ---- entering ---- */

struct yields {
    int unused;
};

BELAY_MANAGER(yields)
{
    BELAY_BEGIN;
    BELAY_TRY_YIELD(NULL);
    BELAY_END;
}

struct entering {
    int code;
    belay_stack *stack;
    belay_stack_entry *entry;
};

BELAY_ASYNC(entering)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->stack, BELAY_ENTER(probe, .name = "a"), NULL));
        BELAY_TRY(belay_stack_enter(task, self->stack,
            BELAY_ENTER(
                probe, .name = "b", .enter_code = self->code, .enter_waits = 1),
            &self->entry));
        trace("%s, %zu on it", trace_result(belay_result(task)),
            belay_stack_count(self->stack));
        cr_expect(zero(ptr, self->entry));
    }
    BELAY_END;
}

Test(stack_enter, s94_a_failed_enter_is_not_registered)
{
    cr_expect(eq(int, RUN(entering, .code = BELAY_ECONNECT), 0));
    expect_trace("enter a; no b; ECONNECT, 1 on it; exit a");
}

struct no_room {
    belay_stack *stack;
    int i;
};

BELAY_ASYNC(no_room)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        for (self->i = 0; self->i < 4; self->i++) {
            test_alloc_fail_at((size_t)self->i);
            BELAY_TRY(belay_stack_enter(
                task, self->stack, BELAY_ENTER(probe, .name = "a"), NULL));
            test_alloc_never_fail();
            if (belay_result(task)->code < 0) {
                cr_expect(eq(int, belay_result(task)->code, BELAY_ENOMEM));
                cr_expect(zero(sz, belay_stack_count(self->stack)));
                expect_trace("");
            } else {
                break;
            }
        }
        test_alloc_fail_after(0);
        cr_expect(eq(int, PUSH(self->stack, .name = "x"), BELAY_ENOMEM));
        cr_expect(eq(int, belay_stack_defer(self->stack, note, text("x"), NULL),
            BELAY_ENOMEM));
        test_alloc_never_fail();
        cr_expect(eq(sz, belay_stack_count(self->stack), 1));
    }
    BELAY_END;
}

Test(stack_enter, s96_s136_without_room_the_enter_does_not_run)
{
    cr_expect(eq(int, RUN(no_room, .i = 0), 0));
    expect_trace("enter a; exit a");
}

struct no_exit {
    belay_stack *stack;
};

BELAY_ASYNC(no_exit)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        cr_expect(eq(int,
            belay_stack_push(
                self->stack, &yields, &(const struct yields){0}, NULL),
            BELAY_EINVAL));
        BELAY_AWAIT(
            belay_stack_enter(task, self->stack, belay_checkpoint(task), NULL));
    }
    BELAY_END;
}

Test(stack_enter, entering_what_is_no_enter_aborts, .signal = SIGABRT)
{
    (void)RUN(no_exit, .stack = NULL);
}

struct closes {
    belay_stack *stack;
};

BELAY_MANAGER(closes)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_stack_close(task, self->stack, NULL));
    trace("%s", belay_code_name(belay_result(task)->code));
    BELAY_WITH (BELAY_ENTER(probe, .name = "it")) {
        BELAY_YIELD(NULL);
    }
    BELAY_END;
}

struct closed_by {
    belay_stack *stack;
};

BELAY_ASYNC(closed_by)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->stack, BELAY_ENTER(closes, self->stack), NULL));
        BELAY_AWAIT(belay_stack_close(task, self->stack, NULL));
        trace("closed");
    }
    BELAY_END;
}

/* What is entered could not come onto it any more. */
Test(stack_enter, s90_s96_an_enter_does_not_close_the_stack_that_it_is_for)
{
    cr_expect(zero(int, RUN(closed_by, .stack = NULL)));
    expect_trace("EBUSY; enter it; exit it; closed");
}

/* ---- size ---- */

struct huge {
    int count;
    belay_stack *stack;
    int i;
    int ran;
    size_t calls;
};

static void
count_up(void *arg)
{
    ++*(int *)arg;
}

struct counts {
    int *ran;
};

static belay_next
counts_exit(belay_task *task, void *arg)
{
    const struct counts *self = arg;

    ++*self->ran;
    return belay_return(task, NULL);
}

BELAY_ASYNC(huge)
{
    static const belay_manager counts = {
        {"counts", NULL, sizeof(struct counts), enter_nothing, 0}, counts_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        for (self->i = 0; self->i < self->count / 2; self->i++) {
            BELAY_CHECK(
                belay_stack_defer(self->stack, count_up, &self->ran, NULL));
            BELAY_CHECK(belay_stack_push(self->stack, &counts,
                &(const struct counts){&self->ran}, NULL));
        }
        self->calls = test_alloc_calls();
    }
    cr_expect(eq(sz, test_alloc_calls(), self->calls));
    cr_expect(eq(int, self->ran, self->count));
    BELAY_END;
}

Test(stack_enter, s92_a_million_entries_unwind_without_stack_or_allocation)
{
    cr_expect(eq(int, RUN(huge, .count = 4), 0));
    program_unswept = true; /* a million of the same places to fail at */
    cr_expect(eq(int, RUN(huge, .count = 1000000), 0));
}

struct all_fail {
    int count;
    belay_stack *stack;
    int i;
};

static belay_next
fails_exit(belay_task *task, void *self)
{
    (void)self;
    return belay_fail(task, BELAY_EIO, "again");
}

BELAY_ASYNC(all_fail)
{
    static const belay_manager fails = {
        {"fails", NULL, 0, enter_nothing, 0}, fails_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        for (self->i = 0; self->i < self->count; self->i++) {
            BELAY_CHECK(belay_stack_push(self->stack, &fails, NULL, NULL));
        }
    }
    BELAY_END;
}

/* The chain is built without walking what is in it already, and freed without
 * recursion. */
Test(stack_enter, s92_many_failing_exits_chain_in_linear_time)
{
    cr_expect(eq(int, RUN(all_fail, .count = 9), BELAY_EIO));
    program_unswept = true; /* no other places to fail at, but a million */
    cr_expect(eq(int, RUN(all_fail, .count = 100000), BELAY_EIO));
}
