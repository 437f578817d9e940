/* test_with.c - blocks, exits, generator managers: contract S98-S115. */
#include "test/support/program.h"

#include <belay/uv.h>

#include <signal.h>
#include <string.h>

TestSuite(with, .fini = check_clean, .timeout = 30);

static long long
elapsed_ms(const belay_task *task, int64_t from_ns)
{
    return (long long)((belay_now(task).ns - from_ns) / 1000000);
}

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

Test(with, it_is_one_statement)
{
    cr_expect(eq(int, RUN(enters, .turns = 2), BELAY_ECONNECT));
    expect_trace("enter one; body; exit one; enter one; body; exit one; "
                 "enter a; no b; exit a/ECONNECT");
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

/* ---- S98-S104: exits and the grace ---- */

struct graced {
    belay_duration exit_sleep;
    int exit_waits;
    belay_cancel_scope *scope;
    int64_t from_ns;
};

BELAY_ASYNC(graced)
{
    BELAY_BEGIN;
    self->from_ns = belay_now(task).ns;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        BELAY_WITH (BELAY_ENTER(
            probe, .name = "outer", .exit_sleep = self->exit_sleep)) {
            BELAY_WITH (BELAY_ENTER(probe, .name = "inner",
                .exit_sleep = self->exit_sleep,
                .exit_waits = self->exit_waits)) {
                belay_cancel_scope_cancel(self->scope, NULL);
                BELAY_AWAIT(belay_checkpoint(task));
            }
        }
        trace("not reached");
    }
    trace("after %lld ms", elapsed_ms(task, self->from_ns));
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_END;
}

static int
run_graced(belay_duration grace, belay_duration exit_sleep)
{
    trace_clear();
    return program_run(
        &(const struct program){.function = &graced,
            .grace = grace,
            .arguments = &(const struct graced){.exit_sleep = exit_sleep,
                .exit_waits = 2}},
        NULL);
}

Test(with, s98_s99_exits_see_the_cancel_and_may_still_wait)
{
    cr_expect(eq(int, run_graced(belay_seconds(5), belay_seconds(2)), 0));
    expect_trace("enter outer; enter inner; exit inner/cancel; "
                 "exit outer/cancel; after 4000 ms");
}

Test(with, s100_s101_the_grace_is_shared_and_cuts_what_is_left)
{
    cr_expect(eq(int, run_graced(belay_seconds(5), belay_seconds(3)), 0));
    expect_trace("enter outer; enter inner; exit inner/cancel; "
                 "exit outer/cancel; cut outer; after 5000 ms");
    cr_expect(eq(int, run_graced(belay_seconds(5), belay_seconds(100)), 0));
    expect_trace("enter outer; enter inner; exit inner/cancel; cut inner; "
                 "exit outer/cancel; cut outer; after 5000 ms");
}

Test(with, s102_grace_none_forever_and_default)
{
    cr_expect(eq(int, run_graced(BELAY_NO_GRACE, belay_seconds(1)), 0));
    expect_trace("enter outer; enter inner; exit inner/cancel; cut inner; "
                 "exit outer/cancel; cut outer; after 0 ms");
    cr_expect(eq(int, run_graced(BELAY_FOREVER, belay_seconds(100)), 0));
    expect_trace("enter outer; enter inner; exit inner/cancel; "
                 "exit outer/cancel; after 200000 ms");
    cr_expect(eq(int, run_graced(belay_seconds(0), belay_seconds(100)), 0));
    expect_trace("enter outer; enter inner; exit inner/cancel; cut inner; "
                 "exit outer/cancel; cut outer; after 5000 ms");
}

/* Not even one that could complete at once. */
Test(with, s102_without_grace_no_wait_of_an_exit_succeeds)
{
    cr_expect(eq(int, run_graced(BELAY_NO_GRACE, belay_seconds(0)), 0));
    expect_trace("enter outer; enter inner; exit inner/cancel; cut inner; "
                 "exit outer/cancel; after 0 ms");
}

struct scope_grace {
    belay_duration grace;
    belay_duration exit_sleep;
    int exit_waits;
    int64_t from_ns;
};

BELAY_ASYNC(scope_grace)
{
    BELAY_BEGIN;
    self->from_ns = belay_now(task).ns;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.grace = self->grace,
            .timeout = belay_seconds(1)),
        NULL)) {
        BELAY_WITH (BELAY_ENTER(probe, .name = "a",
            .exit_sleep = self->exit_sleep, .exit_waits = self->exit_waits)) {
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
    }
    trace("after %lld ms", elapsed_ms(task, self->from_ns));
    BELAY_END;
}

Test(with, s102_grace_can_be_set_per_scope)
{
    cr_expect(eq(int,
        RUN(scope_grace, .grace = belay_seconds(2),
            .exit_sleep = belay_seconds(100)),
        0));
    expect_trace("enter a; exit a/cancel; cut a; after 3000 ms");
    trace_clear();
    cr_expect(
        eq(int, RUN(scope_grace, .grace = BELAY_NO_GRACE, .exit_waits = 1), 0));
    expect_trace("enter a; exit a/cancel; cut a; after 1000 ms");
}

struct exit_reason {
    belay_duration after;
};

static belay_next
reason_enter(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

/* An exit with a block of its own, opened inside a timeout: S43. */
static belay_next
reason_exit(belay_task *task, void *arg)
{
    struct exit_reason *self = arg;
    struct belay_cancel_reason reason;

    BELAY_BEGIN;
    cr_expect(not(belay_cancel_pending(task, NULL)));
    trace("deadline in %lld ms",
        (long long)((belay_effective_deadline(task).ns - belay_now(task).ns)
                    / 1000000));
    BELAY_WITH (belay_move_on(task, self->after, NULL)) {
        BELAY_TRY(belay_sleep(task, belay_seconds(1000)));
        trace("%s", trace_result(belay_result(task)));
        cr_assert(belay_cancel_pending(task, &reason));
        trace("source %d", (int)reason.source);
        cr_expect(eq(i64, belay_effective_deadline(task).ns, INT64_MIN));
        BELAY_AWAIT(belay_checkpoint(task));
    }
    trace("behind");
    BELAY_TRY(belay_checkpoint(task));
    trace("then %s", trace_result(belay_result(task)));
    BELAY_END;
}

static const belay_manager exit_reason = {
    {"exit reason", NULL, sizeof(struct exit_reason), reason_enter, 0},
    reason_exit};

struct exit_timeout {
    belay_duration after;
};

BELAY_ASYNC(exit_timeout)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(task, belay_seconds(1), NULL)) {
        BELAY_WITH (BELAY_ENTER(exit_reason, .after = self->after)) {
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
    }
    BELAY_END;
}

Test(with, s43_a_timeout_inside_an_exit_works)
{
    cr_expect(eq(int, RUN(exit_timeout, .after = belay_seconds(1)), 0));
    expect_trace("deadline in 5000 ms; cancel; source 2; behind; then ok");
}

Test(with, s101_s23_the_cut_comes_into_scopes_of_an_exit_with_its_reason)
{
    cr_expect(eq(int, RUN(exit_timeout, .after = belay_seconds(9)), 0));
    expect_trace("deadline in 5000 ms; cancel; source 6");
}

struct pending {
    belay_cancel_scope *scope;
};

BELAY_ASYNC(pending)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        BELAY_WITH (BELAY_ENTER(
            probe, .name = "s", .exit_waits = 1, .exit_suppress = true)) {
            belay_cancel_scope_cancel(self->scope, NULL);
            BELAY_AWAIT(belay_checkpoint(task));
        }
        trace("behind"); /* for as long as it does not wait: S84 */
        BELAY_TRY(belay_checkpoint(task));
        trace("then %s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

Test(with, s84_s104_a_suppressed_cancel_is_seen_at_the_next_checkpoint)
{
    cr_expect(eq(int, RUN(pending, .scope = NULL), 0));
    expect_trace("enter s; exit s/cancel; behind; then cancel");
}

struct entered_late {
    belay_cancel_scope *scope;
};

/* Entering finishes although the cancel came meanwhile: the exit will run. */
BELAY_ASYNC(entered_late)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        belay_cancel_scope_cancel(self->scope, NULL);
        BELAY_WITH (BELAY_ENTER(probe, .name = "a")) {
            trace("body");
            BELAY_AWAIT(belay_checkpoint(task));
            trace("not reached");
        }
    }
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        belay_cancel_scope_cancel(self->scope, NULL);
        BELAY_WITH (BELAY_ENTER(probe, .name = "b", .enter_waits = 1)) {
            trace("not reached");
        }
    }
    BELAY_END;
}

Test(with, s97_a_cancel_during_enter_ends_it_or_finds_it_registered)
{
    cr_expect(eq(int, RUN(entered_late, .scope = NULL), 0));
    expect_trace("enter a; body; exit a/cancel; no b/cancel");
}

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

Test(with, s108_enter_gives_the_yielded_value_and_exit_resumes)
{
    cr_expect(eq(int, RUN(user, .style = GEN_PLAIN), 0));
    expect_trace("enter g; body; resumed with ok; exit g; behind");
}

Test(with, s109_ending_without_a_yield)
{
    cr_expect(eq(int, RUN(user, .style = GEN_NO_YIELD), BELAY_EPROTO));
    expect_trace("");
    cr_expect(eq(int, RUN(user, .style = GEN_FAIL_BEFORE), BELAY_ECONNECT));
    expect_trace("enter g; exit g/ECONNECT");
}

Test(with, s95_what_an_enter_had_opened_is_undone_if_it_fails)
{
    cr_expect(eq(int, RUN(user, .style = GEN_FAIL_BEFORE), BELAY_ECONNECT));
    expect_trace("enter g; exit g/ECONNECT");
}

Test(with, s110_a_second_yield_fails_and_the_function_is_driven_on)
{
    cr_expect(eq(int, RUN(user, .style = GEN_TWICE), BELAY_EPROTO));
    expect_trace("enter g; body; resumed with ok; exit g/EPROTO");
    trace_clear();
    cr_expect(eq(int, RUN(user, .style = GEN_TWICE_IGNORED), BELAY_EPROTO));
    expect_trace("enter g; body; resumed with ok; second yield EPROTO; "
                 "exit g");
}

Test(with, s111_s112_the_bodys_error_is_the_result_of_the_yield)
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

Test(with, s113_falling_off_the_end_is_pass_suppressing_is_written)
{
    cr_expect(
        eq(int, RUN(user, .style = GEN_IGNORE, .code = BELAY_EIO), BELAY_EIO));
    expect_trace("enter g; body; resumed with EIO; exit g");
    trace_clear();
    cr_expect(eq(int, RUN(user, .style = GEN_SUPPRESS, .code = BELAY_EIO), 0));
    expect_trace("enter g; body; resumed with EIO; exit g; behind");
}

Test(with, s113_a_block_round_the_yield_may_suppress_one_behind_it_not)
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

Test(with, s113_a_timeout_round_the_yield_is_one_of_the_users_block)
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
Test(with, s113_a_block_round_the_yield_may_suppress_what_one_has_made_of_it)
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
Test(with, s79_a_bare_code_is_in_a_chain_once)
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
Test(with, s81_a_suppress_holds_only_if_the_exits_own_blocks_end_well)
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
Test(with, s33_s79_an_error_that_was_noted_on_is_in_its_chain_once)
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

Test(with, s99_an_exit_stays_shielded_when_it_has_closed_a_scope)
{
    cr_expect(eq(int, RUN(cancelled_user, .style = GEN_TIMEOUT_THEN_WAIT), 0));
    expect_trace("enter g; body; wait in exit ok; "
                 "timeout in exit after 1000 ms; exit g");
}

Test(with, s114_whatever_happens_a_generator_is_driven_to_its_end)
{
    for (int style = 0; style < GEN_STYLES; style++) {
        for (int code = BELAY_EIO; code <= 0; code -= BELAY_EIO) {
            sweep(&(const struct program){.function = &user,
                .arguments = &(const struct user){
                    .style = (enum style)style, .code = code, .wait = true}});
        }
    }
}

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

/* The codes along the context chain of a result, as text. */
static char *
chain_text(const struct belay_result *result)
{
    static char text[256];
    size_t len = 0;

    text[0] = '\0';
    for (const belay_error *error = result->error; error != NULL;
         error = belay_error_context(error)) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s ",
            belay_code_name(belay_error_code(error)));
    }
    return text;
}

Test(with, s76_s77_a_failing_exit_replaces_the_outcome_and_keeps_it_behind)
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

Test(with, s78_several_failing_exits_after_a_good_body_are_chained)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, chain, .inner_code = BELAY_EPIPE,
            .outer_code = BELAY_EBUSY),
        BELAY_EBUSY));
    cr_expect(eq(str, chain_text(&result), (char *)"EBUSY EPIPE "));
    belay_error_unref(result.error);
}

Test(with, s81_after_a_suppression_the_chain_starts_afresh)
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

Test(with, s81_also_if_one_manager_first_suppresses_and_then_fails)
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

Test(with, s77_a_bare_code_has_its_place_in_the_chain)
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
        {"again", NULL, sizeof(struct bare), reason_enter, 0}, bare_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_enter(task, &again, &(const struct bare){.op = {0}})) {
        BELAY_AWAIT(bare_wait(task, &self->body));
    }
    BELAY_END;
}

Test(with, s79_the_same_bare_code_is_no_new_failure)
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
Test(with, s77_a_bare_code_that_comes_again_keeps_the_chain)
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
        {"cut", NULL, 0, reason_enter, 0}, cut_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        BELAY_WITH (belay_enter(task, &cut, NULL)) {
            belay_cancel_scope_cancel(self->scope, NULL);
            BELAY_FAIL(BELAY_EIO, "the real one");
        }
    }
    BELAY_END;
}

Test(with, s83_a_cancel_from_an_exit_never_replaces_an_error)
{
    cr_expect(eq(int, RUN(steadfast, .scope = NULL), BELAY_EIO));
}

/* ---- sweeps over the ways ---- */

Test(with, s75_every_exit_runs_wherever_a_cancel_or_a_shortage_comes)
{
    for (int way = WAY_END; way <= WAY_AWAIT; way++) {
        sweep(&(const struct program){.function = &ways,
            .arguments = &(const struct ways){.way = (enum way)way}});
    }
    sweep(&(const struct program){.function = &chain,
        .arguments = &(const struct chain){.body_code = BELAY_EIO,
            .inner_code = BELAY_EPIPE,
            .outer_code = BELAY_EBUSY}});
    sweep(&(const struct program){.function = &exit_timeout,
        .arguments = &(const struct exit_timeout){belay_seconds(9)}});
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

Test(with, s80_an_error_marked_so_stays_without_context)
{
    struct belay_result result;

    cr_expect(
        eq(int, RUN_RESULT(&result, alone, .only_one = true), BELAY_EPIPE));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect_str_eq(belay_error_message(result.error), "exit");
    cr_expect(zero(ptr, belay_error_context(result.error)));
    belay_error_unref(result.error);
}

Test(with, s80_it_may_be_the_context_of_a_later_one)
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

Test(with, s80_s136_without_memory_the_code_is_left)
{
    sweep(&(const struct program){.function = &alone,
        .arguments = &(const struct alone){.only_one = false}});
    sweep(&(const struct program){.function = &alone,
        .arguments = &(const struct alone){.only_one = true}});
}
