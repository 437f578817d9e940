/* test_with.c - blocks, and how they are left: contract S73-S98, S106. */
#include "test/support/program.h"

#include <signal.h>

TestSuite(with, .fini = check_clean, .timeout = 30);

/* ---- how a block can be left ---- */

enum way {
    WAY_END,
    WAY_BREAK,
    WAY_CONTINUE,
    WAY_RETURN,
    WAY_FAIL,
    WAY_AWAIT,
};

struct ways {
    enum way way;
    int turn;
};

struct failing {
    int code;
};

BELAY_ASYNC(failing)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_FAIL(self->code, "as told");
    BELAY_END;
}

BELAY_ASYNC(ways)
{
    BELAY_BEGIN;
    for (self->turn = 0; self->turn < 2; self->turn++) {
        BELAY_WITH (BELAY_ENTER(probe, .name = "a", .exit_waits = 1)) {
            BELAY_WITH (BELAY_ENTER(probe, .name = "b")) {
                BELAY_AWAIT(belay_checkpoint(task));
                if (self->way == WAY_BREAK) {
                    break;
                }
                if (self->way == WAY_CONTINUE) {
                    continue;
                }
                if (self->way == WAY_RETURN) {
                    BELAY_RETURN(self);
                }
                if (self->way == WAY_FAIL) {
                    BELAY_FAIL(BELAY_EIO, "own");
                }
                if (self->way == WAY_AWAIT) {
                    BELAY_AWAIT(BELAY_CALL(failing, .code = BELAY_EPIPE));
                }
                trace("body");
            }
            trace("a only");
        }
    }
    trace("behind");
    BELAY_END;
}

#define TURN "enter a; enter b; %sexit b; a only; exit a; "

Test(with, a_block_can_end_break_or_continue)
{
    cr_expect(eq(int, RUN(ways, .way = WAY_END), 0));
    expect_trace("enter a; enter b; body; exit b; a only; exit a; "
                 "enter a; enter b; body; exit b; a only; exit a; behind");
    for (enum way way = WAY_BREAK; way <= WAY_CONTINUE; way++) {
        trace_clear();
        cr_expect(eq(int, RUN(ways, .way = way), 0));
        expect_trace("enter a; enter b; exit b; a only; exit a; "
                     "enter a; enter b; exit b; a only; exit a; behind");
    }
}

Test(with, a_return_leaves_every_block)
{
    cr_expect(eq(int, RUN(ways, .way = WAY_RETURN), 0));
    expect_trace("enter a; enter b; exit b; exit a");
}

Test(with, a_failure_leaves_every_block)
{
    cr_expect(eq(int, RUN(ways, .way = WAY_FAIL), BELAY_EIO));
    expect_trace("enter a; enter b; exit b/EIO; exit a/EIO");
    trace_clear();
    cr_expect(eq(int, RUN(ways, .way = WAY_AWAIT), BELAY_EPIPE));
    expect_trace("enter a; enter b; exit b/EPIPE; exit a/EPIPE");
}

struct suppressing {
    bool by_return;
};

BELAY_ASYNC(suppressing)
{
    BELAY_BEGIN;
    BELAY_WITH (
        BELAY_ENTER(probe, .name = "s", .exit_suppress = !self->by_return)) {
        BELAY_WITH (BELAY_ENTER(probe, .name = "a")) {
            if (self->by_return) {
                BELAY_RETURN(NULL);
            }
            BELAY_FAIL(BELAY_EIO, "own");
        }
        trace("not reached");
    }
    trace("behind");
    BELAY_AWAIT(belay_checkpoint(task));
    trace("and on");
    BELAY_END;
}

Test(with, s81_after_a_suppressed_failure_it_goes_on_behind_the_block)
{
    cr_expect(eq(int, RUN(suppressing, .by_return = false), 0));
    expect_trace("enter s; enter a; exit a/EIO; exit s/EIO; behind; and on");
}

struct returning {
    bool inner_fails;
    bool outer_suppresses;
    int value;
};

BELAY_ASYNC(returning)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(
        probe, .name = "s", .exit_suppress = self->outer_suppresses)) {
        BELAY_WITH (BELAY_ENTER(probe, .name = "a",
            .exit_code = self->inner_fails ? BELAY_EIO : 0)) {
            BELAY_RETURN(&self->value);
        }
    }
    trace("behind");
    BELAY_END;
}

struct takes_value {
    struct belay_result result;
    void *at;
};

BELAY_ASYNC(takes_value)
{
    BELAY_BEGIN;
    BELAY_AWAIT(BELAY_CALL(returning, .outer_suppresses = true));
    trace("value %d", belay_result(task)->value != NULL);
    BELAY_END;
}

Test(with, a_return_goes_on_through_exits_with_its_value)
{
    cr_expect(eq(int, RUN(takes_value, .at = NULL), 0));
    expect_trace("enter s; enter a; exit a; exit s; value 1");
}

Test(with, a_return_whose_exit_failed_is_a_failure)
{
    cr_expect(eq(int, RUN(returning, .inner_fails = true), BELAY_EIO));
    expect_trace("enter s; enter a; exit a; exit s/EIO");
    trace_clear();
    cr_expect(eq(
        int, RUN(returning, .inner_fails = true, .outer_suppresses = true), 0));
    expect_trace("enter s; enter a; exit a; exit s/EIO; behind");
}

/* Enter and exit have a block each; the enter's is left by a return. */
struct returns_early {
    int unused;
};

static belay_next
early_enter(belay_task *task, void *arg)
{
    struct returns_early *self = arg;

    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = "a")) {
        BELAY_RETURN(NULL);
    }
    BELAY_END;
}

static belay_next
early_exit(belay_task *task, void *arg)
{
    struct returns_early *self = arg;

    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = "b")) {
        trace("closing");
    }
    trace("closed");
    BELAY_END;
}

static const belay_manager returns_early = {
    {"returns early", NULL, sizeof(struct returns_early), early_enter, 0},
    early_exit};

struct enters_early {
    int unused;
};

BELAY_ASYNC(enters_early)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(returns_early, .unused = 0)) {
        trace("body");
    }
    BELAY_END;
}

Test(with, a_return_in_a_block_of_an_enter_does_not_end_its_exit_early)
{
    cr_expect(eq(int, RUN(enters_early, .unused = 0), 0));
    expect_trace("enter a; exit a; body; enter b; closing; exit b; closed");
}

struct enters {
    int waits;
    int turns;
};

BELAY_ASYNC(enters)
{
    BELAY_BEGIN;
    for (; self->turns > 0; self->turns--)
        BELAY_WITH (BELAY_ENTER(probe, .name = "one")) {
            trace("body");
        }
    BELAY_WITH (BELAY_ENTER(probe, .name = "a")) {
        BELAY_WITH (BELAY_ENTER(probe, .name = "b",
            .enter_code = BELAY_ECONNECT, .enter_waits = self->waits)) {
            trace("not reached");
        }
        trace("not reached");
    }
    trace("not reached");
    BELAY_END;
}

Test(with, s94_a_failed_enter_has_no_exit_and_leaves_the_outer_block)
{
    cr_expect(eq(int, RUN(enters, .waits = 0), BELAY_ECONNECT));
    expect_trace("enter a; no b; exit a/ECONNECT");
    trace_clear();
    cr_expect(eq(int, RUN(enters, .waits = 2), BELAY_ECONNECT));
    expect_trace("enter a; no b; exit a/ECONNECT");
}

static int looked; /* at an argument */

static int
look(void)
{
    return ++looked;
}

struct roomy {
    char bytes[5000]; /* more than any task has */
    int number;
};

BELAY_MANAGER(roomy)
{
    BELAY_BEGIN;
    trace("enter %d", self->number);
    BELAY_TRY_YIELD(NULL);
    BELAY_END;
}

/* What is never assigned to can be an argument all the same. */
struct fixed {
    const int number;
};

static belay_next
fixed_enter(belay_task *task, void *self)
{
    trace("fixed %d", ((const struct fixed *)self)->number);
    return belay_return(task, NULL);
}

static belay_next
fixed_exit(belay_task *task, void *self)
{
    trace("exit %d", ((const struct fixed *)self)->number);
    return belay_pass(task);
}

static const belay_manager fixed = {
    {"fixed", __FILE__, sizeof(struct fixed), fixed_enter, 0}, fixed_exit};

struct opens_fixed {
    int unused;
};

BELAY_ASYNC(opens_fixed)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(fixed, .number = 7)) {
        trace("body");
    }
    BELAY_END;
}

Test(with, arguments_may_be_constant)
{
    cr_expect(zero(int, RUN(opens_fixed, .unused = 0)));
    expect_trace("fixed 7; body; exit 7");
}

struct starved {
    bool feed;
};

BELAY_ASYNC(starved)
{
    BELAY_BEGIN;
    if (!self->feed) {
        test_alloc_fail_after(0);
    }
    BELAY_WITH (BELAY_ENTER(roomy, .number = look())) {
        trace("body");
    }
    BELAY_END;
}

Test(with, arguments_are_looked_at_once_there_is_room_for_them)
{
    looked = 0;
    cr_expect(eq(int, RUN(starved, .feed = false), BELAY_ENOMEM));
    test_alloc_never_fail();
    cr_expect(zero(int, looked));
    expect_trace("");
    cr_expect(zero(int, RUN(starved, .feed = true)));
    expect_trace("enter 1; body");
}

Test(with, it_is_one_statement)
{
    cr_expect(eq(int, RUN(enters, .turns = 2), BELAY_ECONNECT));
    expect_trace("enter one; body; exit one; enter one; body; exit one; "
                 "enter a; no b; exit a/ECONNECT");
}

struct without_braces {
    bool enters;
};

/* -Wdangling-else, of -Wall, has nothing to say. */
BELAY_ASYNC(without_braces)
{
    BELAY_BEGIN;
    if (self->enters)
        BELAY_WITH (BELAY_ENTER(probe, .name = "a"))
            trace("body");
    else
        trace("no block");
    if (self->enters)
        BELAY_WITH (BELAY_ENTER(probe, .name = "b"))
            BELAY_WITH (BELAY_ENTER(probe, .name = "c"))
                BELAY_AWAIT(belay_checkpoint(task));
    trace("behind");
    BELAY_END;
}

Test(with, it_is_one_statement_also_behind_an_if_without_braces)
{
    cr_expect(zero(int, RUN(without_braces, .enters = true)));
    expect_trace("enter a; body; exit a; enter b; enter c; exit c; exit b; "
                 "behind");
    trace_clear();
    cr_expect(zero(int, RUN(without_braces, .enters = false)));
    expect_trace("no block; behind");
}

Test(with, s75_every_exit_runs_wherever_a_cancel_or_a_shortage_comes)
{
    for (int way = WAY_END; way <= WAY_AWAIT; way++) {
        SWEEP(ways, .way = (enum way)way);
    }
}

/* ---- broken programs ---- */

struct in_switch {
    int which;
};

BELAY_ASYNC(in_switch)
{
    BELAY_BEGIN;
    switch (self->which) {
    default:
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

Test(with, an_await_inside_a_switch_aborts, .signal = SIGABRT)
{
    (void)RUN(in_switch, .which = 1);
}

struct misuse {
    int which;
    struct belay_event event;
};

static belay_next
misuse_step(belay_task *task, void *arg)
{
    const struct misuse *self = arg;
    belay_next dropped;

    switch (self->which) {
    case 0:
        return BELAY_ENTER(probe, .name = "awaited");
    case 1:
        return belay_leave(task);
    case 2:
        return belay_suppress(task);
    case 3:
        dropped = belay_sleep(task, belay_seconds(1));
        (void)dropped;
        return belay_sleep(task, belay_seconds(1));
    case 4:
        return (belay_next){0};
    case 5:
        return belay_yield(task, NULL);
    case 6:
        dropped = belay_sleep(task, belay_seconds(1));
        (void)dropped;
        return belay_return(task, NULL);
    default:
        return belay_with(
            task, belay_checkpoint(task), misuse_step, misuse_step);
    }
}

static const belay_function misuse = {
    "misuse", NULL, sizeof(struct misuse), misuse_step, 0};

#define MISUSE(name, number)                  \
    Test(with, name, .signal = SIGABRT)       \
    {                                         \
        (void)RUN(misuse, .which = (number)); \
    }

MISUSE(an_enter_that_is_awaited_aborts, 0)
MISUSE(leaving_without_a_block_aborts, 1)
MISUSE(suppressing_outside_an_exit_aborts, 2)
MISUSE(two_operations_in_one_step_abort, 3)
MISUSE(a_token_that_nothing_made_aborts, 4)
MISUSE(a_yield_outside_a_manager_aborts, 5)
MISUSE(a_return_with_an_operation_under_way_aborts, 6)
MISUSE(a_block_without_an_enter_aborts, 7)

/* ---- the same by hand ---- */

struct by_hand {
    int code;
};

static belay_next
hand_after(belay_task *task, void *self)
{
    (void)self;
    trace("behind");
    return belay_return(task, NULL);
}

static belay_next
hand_awaited(belay_task *task, void *arg)
{
    struct by_hand *self = arg;

    trace("body");
    if (self->code < 0) {
        return belay_fail(task, self->code, "own");
    }
    return belay_leave(task);
}

static belay_next
hand_inner(belay_task *task, void *self)
{
    (void)self;
    return belay_then(task, hand_awaited, belay_checkpoint(task));
}

static belay_next
hand_left(belay_task *task, void *self)
{
    (void)self;
    trace("a only");
    return belay_leave(task);
}

static belay_next
hand_outer(belay_task *task, void *self)
{
    (void)self;
    return belay_with(
        task, BELAY_ENTER(probe, .name = "b"), hand_inner, hand_left);
}

static belay_next
hand_step(belay_task *task, void *self)
{
    (void)self;
    return belay_with(
        task, BELAY_ENTER(probe, .name = "a"), hand_outer, hand_after);
}

static const belay_function by_hand = {
    "by_hand", NULL, sizeof(struct by_hand), hand_step, 0};

Test(with, hand_written_continuations_are_equivalent)
{
    cr_expect(eq(int, RUN(by_hand, .code = 0), 0));
    expect_trace("enter a; enter b; body; exit b; a only; exit a; behind");
    trace_clear();
    cr_expect(eq(int, RUN(by_hand, .code = BELAY_EIO), BELAY_EIO));
    expect_trace("enter a; enter b; body; exit b/EIO; exit a/EIO");
}
