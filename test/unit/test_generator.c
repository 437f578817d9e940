/* test_generator.c - generator managers: contract S108-S115. */
#include "test/support/program.h"

TestSuite(generator, .fini = check_clean, .timeout = 30);

/* ---- S108-S115: generator managers ---- */

enum style {
    GEN_PLAIN,
    GEN_NO_YIELD,
    GEN_FAIL_BEFORE,
    GEN_TWICE,
    GEN_TWICE_IGNORED,
    GEN_IGNORE,
    GEN_OTHER_ERROR,
    GEN_SAME_ERROR,
    GEN_SUPPRESS,
    GEN_INNER_SUPPRESS,
    GEN_LATER_SUPPRESS,
    GEN_MOVE_ON,
    GEN_TIMEOUT_THEN_WAIT,
    GEN_STYLES,
};

struct generator {
    enum style style;
    int value;
    int64_t from_ns;
};

BELAY_MANAGER(generator)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_checkpoint(task));
    if (self->style == GEN_NO_YIELD) {
        BELAY_RETURN(NULL);
    }
    BELAY_WITH (BELAY_ENTER(probe, .name = "g", .exit_waits = 1,
        .exit_suppress = self->style == GEN_INNER_SUPPRESS)) {
        if (self->style == GEN_FAIL_BEFORE) {
            BELAY_FAIL(BELAY_ECONNECT, "before the yield");
        }
        if (self->style == GEN_MOVE_ON) {
            BELAY_WITH (belay_move_on(task, belay_seconds(1), NULL)) {
                BELAY_YIELD(&self->value);
            }
            BELAY_RETURN(NULL);
        }
        if (self->style == GEN_TIMEOUT_THEN_WAIT) {
            BELAY_WITH (belay_move_on(task, BELAY_FOREVER, NULL)) {
                BELAY_TRY_YIELD(&self->value);
            }
            BELAY_TRY(belay_sleep(task, belay_seconds(1)));
            trace("wait in exit %s", trace_result(belay_result(task)));
            self->from_ns = belay_now(task).ns;
            BELAY_WITH (belay_move_on(task, belay_seconds(1), NULL)) {
                BELAY_AWAIT(belay_sleep(task, belay_seconds(100)));
            }
            trace("timeout in exit after %lld ms",
                elapsed_ms(task, self->from_ns));
            BELAY_RETURN(NULL);
        }
        BELAY_TRY_YIELD(&self->value);
        trace("resumed with %s", trace_result(belay_result(task)));
        cr_expect(eq(int, belay_outcome(task)->code, belay_result(task)->code));
        switch (self->style) {
        case GEN_TWICE_IGNORED:
            goto twice_ignored;
        case GEN_TWICE:
            goto twice;
        case GEN_LATER_SUPPRESS:
            goto later;
        case GEN_OTHER_ERROR:
            BELAY_FAIL(BELAY_EPIPE, "another");
        case GEN_SAME_ERROR:
            return belay_pass(task);
        case GEN_SUPPRESS:
            return belay_suppress(task);
        case GEN_IGNORE:
            BELAY_RETURN(NULL);
        case GEN_PLAIN:
        case GEN_NO_YIELD:
        case GEN_FAIL_BEFORE:
        case GEN_INNER_SUPPRESS:
        case GEN_MOVE_ON:
        case GEN_TIMEOUT_THEN_WAIT:
        case GEN_STYLES:
            return belay_pass(task);
        }
    later:
        BELAY_WITH (BELAY_ENTER(probe, .name = "late", .exit_suppress = true)) {
            BELAY_FAIL(BELAY_EBUSY, "of the exit itself");
        }
        BELAY_RETURN(NULL);
    twice:
        BELAY_YIELD(NULL);
        trace("not reached");
    twice_ignored:
        BELAY_TRY_YIELD(NULL);
        trace("second yield %s", trace_result(belay_result(task)));
        BELAY_RETURN(NULL);
    }
    BELAY_END;
}

struct user {
    enum style style;
    int code;
    bool wait;
    bool check_value;
    belay_cancel_scope *scope;
};

BELAY_ASYNC(user)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(generator, .style = self->style, .value = 7)) {
        cr_expect(eq(int, *(int *)belay_result(task)->value, 7));
        trace("body");
        if (self->wait) {
            BELAY_AWAIT(belay_sleep(task, belay_seconds(3)));
        }
        if (self->code < 0) {
            BELAY_FAIL(self->code, "body");
        }
    }
    trace("behind");
    BELAY_END;
}

Test(generator, s108_enter_gives_the_yielded_value_and_exit_resumes)
{
    cr_expect(eq(int, RUN(user, .style = GEN_PLAIN), 0));
    expect_trace("enter g; body; resumed with ok; exit g; behind");
}

Test(generator, s109_ending_without_a_yield)
{
    cr_expect(eq(int, RUN(user, .style = GEN_NO_YIELD), BELAY_EPROTO));
    expect_trace("");
    cr_expect(eq(int, RUN(user, .style = GEN_FAIL_BEFORE), BELAY_ECONNECT));
    expect_trace("enter g; exit g/ECONNECT");
}

Test(generator, s95_what_an_enter_had_opened_is_undone_if_it_fails)
{
    cr_expect(eq(int, RUN(user, .style = GEN_FAIL_BEFORE), BELAY_ECONNECT));
    expect_trace("enter g; exit g/ECONNECT");
}

Test(generator, s110_a_second_yield_fails_and_the_function_is_driven_on)
{
    cr_expect(eq(int, RUN(user, .style = GEN_TWICE), BELAY_EPROTO));
    expect_trace("enter g; body; resumed with ok; exit g/EPROTO");
    trace_clear();
    cr_expect(eq(int, RUN(user, .style = GEN_TWICE_IGNORED), BELAY_EPROTO));
    expect_trace("enter g; body; resumed with ok; second yield EPROTO; "
                 "exit g");
}

Test(generator, s111_s112_the_bodys_error_is_the_result_of_the_yield)
{
    struct belay_result result;

    cr_expect(eq(
        int, RUN(user, .style = GEN_SAME_ERROR, .code = BELAY_EIO), BELAY_EIO));
    expect_trace("enter g; body; resumed with EIO; exit g/EIO");
    cr_expect(eq(int,
        RUN_RESULT(&result, user, .style = GEN_OTHER_ERROR, .code = BELAY_EIO),
        BELAY_EPIPE));
    cr_assert(ne(ptr, result.error, NULL));
    cr_assert(ne(ptr, belay_error_context(result.error), NULL));
    cr_expect(eq(
        int, belay_error_code(belay_error_context(result.error)), BELAY_EIO));
    belay_error_unref(result.error);
}

Test(generator, s113_falling_off_the_end_is_pass_suppressing_is_written)
{
    cr_expect(
        eq(int, RUN(user, .style = GEN_IGNORE, .code = BELAY_EIO), BELAY_EIO));
    expect_trace("enter g; body; resumed with EIO; exit g");
    trace_clear();
    cr_expect(eq(int, RUN(user, .style = GEN_SUPPRESS, .code = BELAY_EIO), 0));
    expect_trace("enter g; body; resumed with EIO; exit g; behind");
}

Test(generator, s113_a_block_round_the_yield_may_suppress_one_behind_it_not)
{
    cr_expect(
        eq(int, RUN(user, .style = GEN_INNER_SUPPRESS, .code = BELAY_EIO), 0));
    expect_trace("enter g; body; resumed with EIO; exit g/EIO; behind");
    trace_clear();
    cr_expect(eq(int, RUN(user, .style = GEN_LATER_SUPPRESS, .code = BELAY_EIO),
        BELAY_EIO));
    expect_trace("enter g; body; resumed with EIO; enter late; "
                 "exit late/EBUSY; exit g");
}

Test(generator, s113_a_timeout_round_the_yield_is_one_of_the_users_block)
{
    cr_expect(eq(int, RUN(user, .style = GEN_MOVE_ON, .wait = true), 0));
    expect_trace("enter g; body; exit g; behind");
}

struct replacing {
    int unused;
};

BELAY_MANAGER(replacing)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = "outer", .exit_suppress = true)) {
        BELAY_WITH (
            BELAY_ENTER(probe, .name = "inner", .exit_code = BELAY_EBUSY)) {
            BELAY_YIELD(NULL);
        }
    }
    BELAY_END;
}

struct replacing_by_group {
    int unused;
};

BELAY_MANAGER(replacing_by_group)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = "outer", .exit_suppress = true)) {
        BELAY_WITH (belay_group_open(task, NULL, NULL)) {
            BELAY_YIELD(NULL);
        }
    }
    BELAY_END;
}

struct replaced {
    bool by_group;
};

BELAY_ASYNC(replaced)
{
    BELAY_BEGIN;
    BELAY_WITH (self->by_group ? BELAY_ENTER(replacing_by_group, .unused = 0)
                               : BELAY_ENTER(replacing, .unused = 0)) {
        BELAY_FAIL(BELAY_EIO, "as the test says");
    }
    trace("behind");
    BELAY_END;
}

/* As on a nested exit stack: what is suppressed may have been replaced. */
Test(generator,
    s113_a_block_round_the_yield_may_suppress_what_one_has_made_of_it)
{
    program_other_code = BELAY_EPROTO; /* a failed enter is suppressed too */
    cr_expect(eq(int, RUN(replaced, .by_group = false), 0));
    expect_trace("enter outer; enter inner; exit inner/EIO; "
                 "exit outer/EBUSY; behind");
    trace_clear();
    cr_expect(eq(int, RUN(replaced, .by_group = true), 0));
    expect_trace("enter outer; exit outer/EGROUP; behind");
}

struct adding {
    int unused;
};

BELAY_MANAGER(adding)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = "a", .exit_code = BELAY_EBUSY)) {
        BELAY_YIELD(NULL);
    }
    BELAY_END;
}

struct bare_failure {
    int code;
};

BELAY_ASYNC(bare_failure)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(adding, .unused = 0)) {
        return belay_fail(task, self->code, NULL);
    }
    BELAY_END;
}

/* The code gets an object for the chain inside; it is the same error still. */
Test(generator, s79_a_bare_code_is_in_a_chain_once)
{
    belay_error *context;
    struct belay_result result;

    cr_expect(eq(int, RUN_RESULT(&result, bare_failure, .code = BELAY_EIO),
        BELAY_EBUSY));
    cr_assert(ne(ptr, result.error, NULL));
    context = belay_error_context(result.error);
    cr_assert(ne(ptr, context, NULL));
    cr_expect(eq(int, belay_error_code(context), BELAY_EIO));
    cr_expect(zero(ptr, belay_error_context(context)));
    belay_error_unref(result.error);
}

/* An exit that says suppress inside a block whose exit fails. */
struct half_hearted {
    int unused;
};

static belay_next
half_exit(belay_task *task, void *arg)
{
    struct half_hearted *self = arg;

    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = "s", .exit_suppress = true)) {
        BELAY_WITH (BELAY_ENTER(probe, .name = "a", .exit_code = BELAY_EBUSY)) {
            return belay_suppress(task);
        }
    }
    trace("not suppressed");
    BELAY_END;
}

static belay_next
half_enter(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

static const belay_manager half_hearted = {
    {"half-hearted", NULL, sizeof(struct half_hearted), half_enter, 0},
    half_exit};

struct overruled {
    int unused;
};

BELAY_ASYNC(overruled)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(half_hearted, .unused = 0)) {
        BELAY_FAIL(BELAY_EIO, "as the test says");
    }
    BELAY_END;
}

/* As a return that is overruled: it goes on behind the block, and what it
 * answers in the end counts. */
Test(generator, s81_a_suppress_holds_only_if_the_exits_own_blocks_end_well)
{
    cr_expect(eq(int, RUN(overruled, .unused = 0), BELAY_EIO));
    expect_trace("enter s; enter a; exit a; exit s/EBUSY; not suppressed");
}

struct limiting {
    int unused;
};

BELAY_MANAGER(limiting)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_seconds(1))) {
        BELAY_YIELD(NULL);
    }
    BELAY_END;
}

struct fails_late {
    int unused;
};

BELAY_ASYNC(fails_late)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(limiting, .unused = 0)) {
        BELAY_WITH (belay_shield(task, BELAY_FOREVER)) {
            BELAY_AWAIT(belay_sleep(task, belay_seconds(2)));
            BELAY_FAIL(BELAY_EIO, "too late");
        }
    }
    BELAY_END;
}

/* What the timeout has noted is the same error still, not one more. */
Test(generator, s33_s79_an_error_that_was_noted_on_is_in_its_chain_once)
{
    struct belay_result result = {0};
    belay_error *context;

    cr_expect(eq(int, RUN_RESULT(&result, fails_late, .unused = 0), BELAY_EIO));
    context = belay_error_context(result.error);
    cr_assert(ne(ptr, context, NULL));
    cr_expect(eq(int, belay_error_code(context), BELAY_ETIMEDOUT));
    cr_expect(eq(ptr, belay_error_context(context), NULL));
    belay_error_unref(result.error);
}

struct cancelled_user {
    belay_cancel_scope *scope;
    enum style style;
};

BELAY_ASYNC(cancelled_user)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(task, belay_seconds(1), NULL)) {
        BELAY_AWAIT(BELAY_CALL(user, .style = self->style, .wait = true));
    }
    BELAY_END;
}

Test(generator, s99_an_exit_stays_shielded_when_it_has_closed_a_scope)
{
    cr_expect(eq(int, RUN(cancelled_user, .style = GEN_TIMEOUT_THEN_WAIT), 0));
    expect_trace("enter g; body; wait in exit ok; "
                 "timeout in exit after 1000 ms; exit g");
}

Test(generator, s114_whatever_happens_a_generator_is_driven_to_its_end)
{
    for (int style = 0; style < GEN_STYLES; style++) {
        for (int code = BELAY_EIO; code <= 0; code -= BELAY_EIO) {
            SWEEP(user, .style = (enum style)style, .code = code, .wait = true);
        }
    }
}

/* ---- one that has nothing to do behind its yield ---- */

static belay_next
yields_last(belay_task *task, void *self)
{
    return belay_end_with(task, belay_yield(task, self));
}

struct opens_last {
    belay_stack *stack;
};

BELAY_ASYNC(opens_last)
{
    static const belay_manager last = {
        {"last", __FILE__, sizeof(void *), yields_last, 0}, NULL};

    BELAY_BEGIN;
    BELAY_WITH (belay_enter(task, &last, NULL)) {
        BELAY_WITH (belay_enter(task, &last, NULL)) {
            trace("body");
        }
    }
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->stack, belay_enter(task, &last, NULL), NULL));
        trace("on a stack");
    }
    trace("behind");
    BELAY_END;
}

Test(generator, s113_a_yield_may_be_the_last_thing_it_does)
{
    cr_expect(eq(int, RUN(opens_last, .stack = NULL), 0));
    expect_trace("body; on a stack; behind");
    SWEEP(opens_last, .stack = NULL);
}

/* ---- many in each other ---- */

struct in_each_other {
    int32_t count;
};

BELAY_MANAGER_DECLARE(in_each_other);

BELAY_MANAGER(in_each_other)
{
    BELAY_BEGIN;
    if (self->count == 0) {
        BELAY_YIELD(NULL);
    } else {
        BELAY_WITH (belay_timeout(task, belay_seconds(50))) {
            BELAY_WITH (BELAY_ENTER(in_each_other, .count = self->count - 1)) {
                BELAY_YIELD(NULL);
            }
        }
    }
    BELAY_END;
}

struct opens_many {
    int32_t count;
};

BELAY_ASYNC(opens_many)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(in_each_other, .count = self->count)) {
        trace("body");
    }
    BELAY_END;
}

/* With a look at all that are being entered, for each scope, this would take a
 * minute.
 */
Test(generator, s108_a_scope_in_it_takes_no_look_at_those_around)
{
    cr_expect(zero(int, RUN(opens_many, .count = 3)));
    program_unswept = true; /* so many of the same places to fail at */
    cr_expect(zero(int, RUN(opens_many, .count = 100000)));
    expect_trace("body; body");
}
