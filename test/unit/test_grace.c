/* test_grace.c - exits and cancels: what reaches them, for how long: S97-S104. */
#include "test/support/program.h"

TestSuite(grace, .fini = check_clean, .timeout = 30);

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

Test(grace, s98_s99_exits_see_the_cancel_and_may_still_wait)
{
    cr_expect(eq(int, run_graced(belay_seconds(5), belay_seconds(2)), 0));
    expect_trace("enter outer; enter inner; exit inner/cancel; "
                 "exit outer/cancel; after 4000 ms");
}

Test(grace, s100_s101_the_grace_is_shared_and_cuts_what_is_left)
{
    cr_expect(eq(int, run_graced(belay_seconds(5), belay_seconds(3)), 0));
    expect_trace("enter outer; enter inner; exit inner/cancel; "
                 "exit outer/cancel; cut outer; after 5000 ms");
    cr_expect(eq(int, run_graced(belay_seconds(5), belay_seconds(100)), 0));
    expect_trace("enter outer; enter inner; exit inner/cancel; cut inner; "
                 "exit outer/cancel; cut outer; after 5000 ms");
}

Test(grace, s102_grace_none_forever_and_default)
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
Test(grace, s102_without_grace_no_wait_of_an_exit_succeeds)
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

Test(grace, s102_grace_can_be_set_per_scope)
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
    {"exit reason", NULL, sizeof(struct exit_reason), enter_nothing, 0},
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

Test(grace, s43_a_timeout_inside_an_exit_works)
{
    cr_expect(eq(int, RUN(exit_timeout, .after = belay_seconds(1)), 0));
    expect_trace("deadline in 5000 ms; cancel; source 2; behind; then ok");
}

Test(grace, s101_s23_the_cut_comes_into_scopes_of_an_exit_with_its_reason)
{
    cr_expect(eq(int, RUN(exit_timeout, .after = belay_seconds(9)), 0));
    expect_trace("deadline in 5000 ms; cancel; source 6");
}

/* ---- S23: why, also where the cancel is held off ---- */

static void
trace_why(const belay_task *task, const char *where)
{
    struct belay_cancel_reason reason = {.text = "untouched", .task_name = ""};
    const bool cancelled = belay_cancel_why(task, &reason);

    cr_expect(eq(int, belay_cancel_why(task, NULL), cancelled));
    trace("%s: pending %d, why %d: %d %s%s%s", where,
        belay_cancel_pending(task, NULL), cancelled, (int)reason.source,
        reason.text, reason.task_id != 0 ? " by " : "", reason.task_name);
}

struct asks {
    belay_duration shield;
};

BELAY_MANAGER(asks)
{
    BELAY_BEGIN;
    BELAY_TRY_YIELD(NULL);
    trace_why(task, "exit");
    BELAY_TRY(belay_sleep(task, belay_seconds(60)));
    trace_why(task, "later");
    if (self->shield.ns > 0) {
        BELAY_WITH (belay_shield(task, self->shield)) {
            trace_why(task, "shield");
        }
    }
    BELAY_END;
}

struct asked {
    bool cancel;
    bool in_shield;
    belay_duration timeout;
    belay_duration shield; /* in the exit */
    belay_cancel_scope *scope;
};

BELAY_ASYNC(asked)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.timeout = self->timeout), &self->scope)) {
        BELAY_WITH (BELAY_ENTER(asks, .shield = self->shield)) {
            if (self->cancel) {
                belay_cancel_scope_cancel(self->scope, "enough");
            }
            if (self->in_shield) {
                BELAY_WITH (belay_shield(task, belay_seconds(1))) {
                    trace_why(task, "body");
                }
            }
            if (self->cancel || self->timeout.ns > 0) {
                BELAY_AWAIT(belay_sleep(task, belay_seconds(9)));
            }
        }
    }
    trace_why(task, "behind");
    BELAY_END;
}

Test(grace, s23_an_exit_can_learn_of_the_cancel_that_is_held_off)
{
    cr_expect(zero(int, RUN(asked, .cancel = true)));
    expect_trace("exit: pending 0, why 1: 1 enough by program; "
                 "later: pending 1, why 1: 6 enough by program; "
                 "behind: pending 0, why 0: 0 untouched");
    trace_clear();
    cr_expect(zero(int, RUN(asked, .timeout = belay_seconds(1))));
    expect_trace("exit: pending 0, why 1: 2 the deadline passed; "
                 "later: pending 1, why 1: 6 the deadline passed; "
                 "behind: pending 0, why 0: 0 untouched");
    trace_clear();
    cr_expect(zero(int, RUN(asked, .cancel = false)));
    expect_trace("exit: pending 0, why 0: 0 untouched; "
                 "later: pending 0, why 0: 0 untouched; "
                 "behind: pending 0, why 0: 0 untouched");
}

/* Behind one in an exit it is what comes into the exit that is held off. */
Test(grace, s23_so_can_what_is_behind_a_shield)
{
    cr_expect(zero(int, RUN(asked, .cancel = true, .in_shield = true,
                            .shield = belay_seconds(1))));
    expect_trace("body: pending 0, why 1: 1 enough by program; "
                 "exit: pending 0, why 1: 1 enough by program; "
                 "later: pending 1, why 1: 6 enough by program; "
                 "shield: pending 0, why 1: 6 enough by program; "
                 "behind: pending 0, why 0: 0 untouched");
}

struct ended {
    belay_group *group;
    belay_task *child;
};

BELAY_ASYNC(ended)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->child)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(
                belay_group_spawn(self->group, &asked, &(const struct asked){0},
                    BELAY_SPAWN_OPTS(.task = &self->child)));
            (void)belay_task_cancel(self->child, "early");
            trace_why(self->child, "child");
            BELAY_AWAIT(belay_task_join(task, self->child));
        }
        trace_why(self->child, "ended");
    }
    BELAY_END;
}

Test(grace, s23_of_a_task_that_has_ended_nothing_is_known)
{
    cr_expect(zero(int, RUN(ended, .group = NULL)));
    expect_trace("child: pending 1, why 1: 1 early by program; "
                 "exit: pending 0, why 1: 1 early by program; "
                 "later: pending 1, why 1: 6 early by program; "
                 "behind: pending 1, why 1: 1 early by program; "
                 "ended: pending 0, why 0: 0 untouched");
}

/* ---- S44: how long is left ---- */

struct looks {
    int64_t from_ns;
};

/* What it is told, and what then happens. */
BELAY_ASYNC(looks)
{
    BELAY_BEGIN;
    if (belay_effective_deadline(task).ns == INT64_MAX) {
        trace("never");
    } else {
        trace("at %lld ms",
            (long long)((belay_effective_deadline(task).ns - self->from_ns)
                        / 1000000));
    }
    BELAY_TRY(belay_sleep(task, belay_seconds(1000)));
    trace("%s at %lld ms", trace_result(belay_result(task)),
        elapsed_ms(task, self->from_ns));
    BELAY_END;
}

struct looking {
    belay_duration shield;
    int64_t from_ns;
};

static belay_next
looking_exit(belay_task *task, void *arg)
{
    struct looking *self = arg;

    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.shield = self->shield.ns > 0,
            .grace = self->shield),
        NULL)) {
        BELAY_AWAIT(BELAY_CALL(looks, .from_ns = self->from_ns));
    }
    BELAY_END;
}

static const belay_manager looking = {
    {"looking", NULL, sizeof(struct looking), enter_nothing, 0}, looking_exit};

/* A scope of ten seconds, and five for its exits; perhaps a shield in it, or
 * two; in these, or in the exit of a block in these, it looks.
 */
struct how_long {
    belay_duration shield;
    belay_duration second;
    bool in_exit;
    belay_duration shield_in_exit;
    bool cancel;
    belay_cancel_scope *scope;
    int64_t from_ns;
};

BELAY_ASYNC(how_long)
{
    BELAY_BEGIN;
    self->from_ns = belay_now(task).ns;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.timeout = belay_seconds(10),
            .grace = belay_seconds(5)),
        &self->scope)) {
        BELAY_WITH (belay_cancel_scope_open(task,
            BELAY_CANCEL_SCOPE_OPTS(.shield = self->shield.ns > 0,
                .grace = self->shield),
            NULL)) {
            BELAY_WITH (belay_cancel_scope_open(task,
                BELAY_CANCEL_SCOPE_OPTS(.shield = self->second.ns > 0,
                    .grace = self->second),
                NULL)) {
                if (self->cancel) {
                    belay_cancel_scope_cancel(self->scope, NULL);
                }
                if (self->in_exit) {
                    BELAY_WITH (
                        BELAY_ENTER(looking, .shield = self->shield_in_exit,
                            .from_ns = self->from_ns)) {
                    }
                } else {
                    BELAY_AWAIT(BELAY_CALL(looks, .from_ns = self->from_ns));
                }
            }
        }
    }
    BELAY_END;
}

#define EXPECT_LEFT(ms, ...)                                 \
    do {                                                     \
        trace_clear();                                       \
        cr_expect(zero(int, RUN(how_long, __VA_ARGS__)));    \
        expect_trace("at " #ms " ms; cancel at " #ms " ms"); \
    } while (0)

Test(grace, s44_in_an_exit_and_behind_a_shield_there_is_more_time)
{
    EXPECT_LEFT(10000, .cancel = false);
    EXPECT_LEFT(11000, .shield = belay_seconds(1));
    EXPECT_LEFT(13000, .shield = belay_seconds(1), .second = belay_seconds(2));
    EXPECT_LEFT(15000, .in_exit = true);
    EXPECT_LEFT(15000, .in_exit = true, .shield = belay_seconds(1));
    EXPECT_LEFT(17000, .in_exit = true, .shield = belay_seconds(7));
    EXPECT_LEFT(18000, .in_exit = true, .shield = belay_seconds(7),
        .second = belay_seconds(1));
    EXPECT_LEFT(18000, .in_exit = true, .shield_in_exit = belay_seconds(3));
    EXPECT_LEFT(20000, .in_exit = true, .shield_in_exit = belay_seconds(3),
        .shield = belay_seconds(7));
}

Test(grace, s44_and_once_it_is_cancelled)
{
    EXPECT_LEFT(2000, .cancel = true, .shield = belay_seconds(2));
    EXPECT_LEFT(5000, .cancel = true, .shield = belay_seconds(2),
        .second = belay_seconds(3));
    EXPECT_LEFT(5000, .cancel = true, .in_exit = true);
    EXPECT_LEFT(
        5000, .cancel = true, .in_exit = true, .shield = belay_seconds(2));
    EXPECT_LEFT(
        7000, .cancel = true, .in_exit = true, .shield = belay_seconds(7));
    EXPECT_LEFT(8000, .cancel = true, .in_exit = true,
        .shield_in_exit = belay_seconds(3));
    EXPECT_LEFT(10000, .cancel = true, .in_exit = true,
        .shield = belay_seconds(7), .shield_in_exit = belay_seconds(3));
}

Test(grace, s44_behind_a_shield_without_end_it_is_never)
{
    cr_expect(zero(int, RUN(how_long, .shield = BELAY_FOREVER)));
    expect_trace("never; ok at 1000000 ms");
    trace_clear();
    cr_expect(zero(int, RUN(how_long, .cancel = true, .in_exit = true,
                            .shield_in_exit = BELAY_FOREVER)));
    expect_trace("never; ok at 1000000 ms");
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

Test(grace, s84_s104_a_suppressed_cancel_is_seen_at_the_next_checkpoint)
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

Test(grace, s97_a_cancel_during_enter_ends_it_or_finds_it_registered)
{
    cr_expect(eq(int, RUN(entered_late, .scope = NULL), 0));
    expect_trace("enter a; body; exit a/cancel; no b/cancel");
}

Test(grace, s75_s101_whatever_is_cancelled_or_refused)
{
    SWEEP(exit_timeout, belay_seconds(9));
}
