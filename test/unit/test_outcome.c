/* test_outcome.c - what exits make of the outcome of a block: S76-S84. */
#include "test/support/program.h"

#include <belay/uv.h>

TestSuite(outcome, .fini = check_clean, .timeout = 30);

/* ---- merging of answers: S77-S83 on blocks ---- */

struct chain {
    int body_code;
    int inner_code;
    int outer_code;
    bool suppress_between;
};

BELAY_ASYNC(chain)
{
    BELAY_BEGIN;
    BELAY_WITH (
        BELAY_ENTER(probe, .name = "o", .exit_code = self->outer_code)) {
        BELAY_WITH (BELAY_ENTER(
            probe, .name = "m", .exit_suppress = self->suppress_between)) {
            BELAY_WITH (BELAY_ENTER(
                probe, .name = "i", .exit_code = self->inner_code)) {
                if (self->body_code < 0) {
                    BELAY_FAIL(self->body_code, "body");
                }
            }
        }
    }
    BELAY_END;
}

Test(outcome, s76_s77_a_failing_exit_replaces_the_outcome_and_keeps_it_behind)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, chain, .body_code = BELAY_EIO,
            .inner_code = BELAY_EPIPE, .outer_code = BELAY_EBUSY),
        BELAY_EBUSY));
    expect_trace("enter o; enter m; enter i; exit i/EIO; exit m/EPIPE; "
                 "exit o/EPIPE");
    cr_expect(eq(str, chain_text(&result), (char *)"EBUSY EPIPE EIO "));
    belay_error_unref(result.error);
}

Test(outcome, s78_several_failing_exits_after_a_good_body_are_chained)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, chain, .inner_code = BELAY_EPIPE,
            .outer_code = BELAY_EBUSY),
        BELAY_EBUSY));
    cr_expect(eq(str, chain_text(&result), (char *)"EBUSY EPIPE "));
    belay_error_unref(result.error);
}

Test(outcome, s81_after_a_suppression_the_chain_starts_afresh)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, chain, .body_code = BELAY_EIO,
            .suppress_between = true, .outer_code = BELAY_EBUSY),
        BELAY_EBUSY));
    cr_expect(eq(str, chain_text(&result), (char *)"EBUSY "));
    belay_error_unref(result.error);
}

struct relenting {
    int unused;
};

BELAY_MANAGER(relenting)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = "s", .exit_suppress = true)) {
        BELAY_YIELD(NULL);
    }
    BELAY_FAIL(BELAY_EBUSY, "afresh");
    BELAY_END;
}

struct relented {
    int unused;
};

BELAY_ASYNC(relented)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(relenting, .unused = 0)) {
        BELAY_FAIL(BELAY_EIO, "body");
    }
    BELAY_END;
}

Test(outcome, s81_also_if_one_manager_first_suppresses_and_then_fails)
{
    struct belay_result result;

    cr_expect(eq(int, RUN_RESULT(&result, relented, .unused = 0), BELAY_EBUSY));
    expect_trace("enter s; exit s/EIO");
    cr_expect(eq(str, chain_text(&result), (char *)"EBUSY "));
    belay_error_unref(result.error);
}

struct bare {
    struct belay_op op;
};

/* Fails with a code that libuv might have given: no object behind it. */
static belay_next
bare_wait(belay_task *task, struct bare *self)
{
    if (belay_op_begin(task, &self->op, NULL) == 0) {
        belay_op_done(&self->op, BELAY_EPIPE, NULL);
    }
    return belay_op_wait(&self->op);
}

BELAY_ASYNC(bare)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = "o", .exit_code = BELAY_EBUSY)) {
        BELAY_AWAIT(bare_wait(task, self));
    }
    BELAY_END;
}

Test(outcome, s77_a_bare_code_has_its_place_in_the_chain)
{
    struct belay_result result;

    cr_expect(eq(int, RUN_RESULT(&result, bare, .op = {0}), BELAY_EBUSY));
    cr_expect(eq(str, chain_text(&result), (char *)"EBUSY EPIPE "));
    belay_error_unref(result.error);
}

/* Ends with the very code that it sees, which has no object behind it. */
static belay_next
bare_exit(belay_task *task, void *self)
{
    return belay_end_with(task, bare_wait(task, self));
}

struct bare_again {
    struct bare body;
};

BELAY_ASYNC(bare_again)
{
    static const belay_manager again = {
        {"again", NULL, sizeof(struct bare), enter_nothing, 0}, bare_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_enter(task, &again, &(const struct bare){.op = {0}})) {
        BELAY_AWAIT(bare_wait(task, &self->body));
    }
    BELAY_END;
}

Test(outcome, s79_the_same_bare_code_is_no_new_failure)
{
    struct belay_result result;

    cr_expect(
        eq(int, RUN_RESULT(&result, bare_again, .body = {{0}}), BELAY_EPIPE));
    cr_expect(eq(str, chain_text(&result), (char *)""));
    belay_error_unref(result.error);
}

struct coded {
    int unused;
};

BELAY_MANAGER(coded)
{
    BELAY_BEGIN;
    BELAY_TRY_YIELD(NULL);
    return belay_fail(task, BELAY_EPIPE, NULL);
    BELAY_END;
}

struct coded_twice {
    int unused;
};

BELAY_ASYNC(coded_twice)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(coded, .unused = 0)) {
        BELAY_WITH (BELAY_ENTER(probe, .name = "a", .exit_code = BELAY_EBUSY)) {
            return belay_fail(task, BELAY_EPIPE, NULL);
        }
    }
    BELAY_END;
}

/* What has replaced it stands between the two. */
Test(outcome, s77_a_bare_code_that_comes_again_keeps_the_chain)
{
    struct belay_result result;

    cr_expect(
        eq(int, RUN_RESULT(&result, coded_twice, .unused = 0), BELAY_EPIPE));
    cr_expect(eq(str, chain_text(&result), (char *)"EPIPE EBUSY EPIPE "));
    belay_error_unref(result.error);
}

struct steadfast {
    belay_cancel_scope *scope;
};

/* An exit that is cut off fails with a cancel: the error stays. */
static belay_next
cut_end(belay_task *task, void *self)
{
    (void)self;
    return belay_pass(task);
}

static belay_next
cut_exit(belay_task *task, void *self)
{
    (void)self;
    return belay_then(task, cut_end, belay_sleep(task, belay_seconds(1000)));
}

BELAY_ASYNC(steadfast)
{
    static const belay_manager cut = {
        {"cut", NULL, 0, enter_nothing, 0}, cut_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        BELAY_WITH (belay_enter(task, &cut, NULL)) {
            belay_cancel_scope_cancel(self->scope, NULL);
            BELAY_FAIL(BELAY_EIO, "the real one");
        }
    }
    BELAY_END;
}

Test(outcome, s83_a_cancel_from_an_exit_never_replaces_an_error)
{
    cr_expect(eq(int, RUN(steadfast, .scope = NULL), BELAY_EIO));
}

Test(outcome, s75_s77_whatever_is_cancelled_or_refused)
{
    SWEEP(chain, .body_code = BELAY_EIO, .inner_code = BELAY_EPIPE,
        .outer_code = BELAY_EBUSY);
}

/* ---- errors that stay alone ---- */

struct alone_exit {
    bool alone;
};

static belay_next
alone_enter(belay_task *task, void *arg)
{
    return belay_return(task, arg);
}

static belay_next
alone_leave(belay_task *task, void *arg)
{
    const struct alone_exit *self = arg;

    if (self->alone) {
        return belay_fail_alone(task, BELAY_EPIPE, "exit");
    }
    return belay_fail(task, BELAY_EPROTO, "outer exit");
}

static const belay_manager alone_exit = {
    {"alone exit", __FILE__, sizeof(struct alone_exit), alone_enter, 0},
    alone_leave};

struct alone {
    bool only_one;
};

BELAY_ASYNC(alone)
{
    BELAY_BEGIN;
    if (self->only_one) {
        BELAY_WITH (BELAY_ENTER(alone_exit, .alone = true)) {
            BELAY_FAIL(BELAY_EIO, "body");
        }
    }
    BELAY_WITH (BELAY_ENTER(alone_exit, .alone = false)) {
        BELAY_WITH (BELAY_ENTER(alone_exit, .alone = true)) {
            BELAY_FAIL(BELAY_EIO, "body");
        }
    }
    BELAY_END;
}

Test(outcome, s80_an_error_marked_so_stays_without_context)
{
    struct belay_result result;

    cr_expect(
        eq(int, RUN_RESULT(&result, alone, .only_one = true), BELAY_EPIPE));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect_str_eq(belay_error_message(result.error), "exit");
    cr_expect(zero(ptr, belay_error_context(result.error)));
    belay_error_unref(result.error);
}

Test(outcome, s80_it_may_be_the_context_of_a_later_one)
{
    struct belay_result result;
    belay_error *context;

    cr_expect(
        eq(int, RUN_RESULT(&result, alone, .only_one = false), BELAY_EPROTO));
    cr_assert(ne(ptr, result.error, NULL));
    context = belay_error_context(result.error);
    cr_assert(ne(ptr, context, NULL));
    cr_expect(eq(int, belay_error_code(context), BELAY_EPIPE));
    cr_expect(zero(ptr, belay_error_context(context)));
    belay_error_unref(result.error);
}

Test(outcome, s80_s136_without_memory_the_code_is_left)
{
    SWEEP(alone, .only_one = false);
    SWEEP(alone, .only_one = true);
}
