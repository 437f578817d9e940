/* test_prepared.c - cancel scopes that are there before their block is: S17,
 * S18, S34, S39, S102.
 */
#include "test/support/program.h"

#include <signal.h>

TestSuite(prepared, .fini = check_clean, .timeout = 30);

/* ---- prepared scopes ---- */

struct prepared {
    struct belay_cancel_scope_opts opts;
    bool cancel; /* before it is entered */
    bool move;   /* … to three seconds from now */
    bool lift;   /* … its shield */
    bool cancel_outer;
    bool twice; /* enter it again */
    belay_cancel_scope *scope;
    belay_cancel_scope *outer;
    struct belay_cancel_reason reason;
};

static void
free_prepared(void *arg)
{
    struct prepared *self = arg;

    belay_cancel_scope_free(self->scope);
    belay_cancel_scope_free(NULL);
}

static void
disturb(const belay_task *task, struct prepared *self)
{
    if (self->cancel) {
        belay_cancel_scope_cancel(self->scope, "early");
        belay_cancel_scope_cancel(self->scope, "again");
        cr_expect(belay_cancel_scope_status(self->scope).cancelled);
        cr_expect(eq(int, belay_cancel_scope_move(self->scope, belay_now(task)),
            BELAY_ESTATE));
    }
    if (self->move) {
        cr_expect(zero(
            int, belay_cancel_scope_move(self->scope,
                     (belay_time){belay_now(task).ns + belay_seconds(3).ns})));
    }
    if (self->lift) {
        belay_cancel_scope_set_shield(self->scope, false);
    }
}

BELAY_ASYNC(prepared)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, free_prepared, self)) {
        BELAY_CHECK(belay_cancel_scope_new(
            belay_task_runtime(task), &self->opts, &self->scope));
        disturb(task, self);
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->outer)) {
            BELAY_WITH (belay_cancel_scope_enter(task, self->scope)) {
                trace("body");
                if (self->cancel_outer) {
                    belay_cancel_scope_cancel(self->outer, NULL);
                }
                BELAY_TRY(belay_sleep(task, belay_seconds(5)));
                if (belay_cancel_pending(task, &self->reason)) {
                    trace("cancelled: %s by %s", self->reason.text,
                        self->reason.task_name);
                }
                if (belay_result(task)->code < 0) {
                    return belay_pass(task);
                }
            }
            trace("behind");
        }
        trace("caught %d", belay_cancel_scope_status(self->scope).caught);
        belay_cancel_scope_cancel(self->scope, "too late");
        belay_cancel_scope_set_shield(self->scope, true);
        cr_expect(eq(int, belay_cancel_scope_move(self->scope, belay_now(task)),
            BELAY_ESTATE));
        if (self->twice) {
            BELAY_WITH (belay_cancel_scope_enter(task, self->scope)) {
                trace("not reached");
            }
        }
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

static void
free_scope(void *arg)
{
    belay_cancel_scope_free(*(belay_cancel_scope **)arg);
}

#define PREPARED_OPTS(...)                                          \
    {                                                               \
        .size = sizeof(struct belay_cancel_scope_opts), __VA_ARGS__ \
    }

Test(prepared, s17_cancelled_before_entry_the_first_checkpoint_fails)
{
    cr_expect(
        eq(int, RUN(prepared, .opts = PREPARED_OPTS(0), .cancel = true), 0));
    expect_trace("body; cancelled: early by program; behind; caught 1");
}

Test(prepared, s34_a_cancel_before_entry_comes_before_a_deadline_that_is_past)
{
    cr_expect(
        zero(int, RUN(prepared,
                      .opts = PREPARED_OPTS(.timeout = belay_nanoseconds(-1),
                          .fail_on_timeout = true),
                      .cancel = true)));
    expect_trace("body; cancelled: early by program; behind; caught 1");
}

Test(prepared, s17_not_cancelled_it_is_as_any_other)
{
    cr_expect(eq(int, RUN(prepared, .opts = PREPARED_OPTS(0)), 0));
    expect_trace("body; behind; caught 0");
}

Test(prepared, s18_s115_a_scope_is_entered_once)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, prepared, .opts = PREPARED_OPTS(0), .twice = true),
        BELAY_ESTATE));
    expect_trace("body; behind; caught 0");
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect_str_eq(belay_error_message(result.error),
        "the cancel scope was entered before");
    belay_error_unref(result.error);
}

Test(prepared, s39_s40_its_deadline_counts_from_entry_and_may_be_moved_before)
{
    cr_expect(eq(int,
        RUN(prepared, .opts = PREPARED_OPTS(.timeout = belay_seconds(1),
                          .fail_on_timeout = true)),
        BELAY_ETIMEDOUT));
    expect_trace("body; cancelled: the deadline passed by ");
    trace_clear();
    cr_expect(eq(int,
        RUN(prepared, .opts = PREPARED_OPTS(.timeout = belay_seconds(1)),
            .move = true),
        0));
    expect_trace("body; cancelled: the deadline passed by ; behind; caught 1");
}

struct made_early {
    belay_cancel_scope *scope;
    int64_t entered_ns;
};

BELAY_ASYNC(made_early)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, free_scope, &self->scope)) {
        BELAY_CHECK(belay_cancel_scope_new(belay_task_runtime(task),
            BELAY_CANCEL_SCOPE_OPTS(.timeout = belay_seconds(2)),
            &self->scope));
        BELAY_AWAIT(belay_sleep(task, belay_seconds(10)));
        self->entered_ns = belay_now(task).ns;
        BELAY_WITH (belay_cancel_scope_enter(task, self->scope)) {
            trace("body");
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
        trace("after %lld ms", elapsed_ms(task, self->entered_ns));
    }
    BELAY_END;
}

Test(prepared, s40_the_time_before_its_entry_does_not_count)
{
    cr_expect(eq(int, RUN(made_early, .scope = NULL), 0));
    expect_trace("body; after 2000 ms");
}

Test(prepared, s25_its_shield_may_be_dropped_before)
{
    cr_expect(eq(int,
        RUN(prepared, .opts = PREPARED_OPTS(.shield = true),
            .cancel_outer = true),
        0));
    expect_trace("body; behind; caught 0");
    trace_clear();
    cr_expect(eq(int,
        RUN(prepared, .opts = PREPARED_OPTS(.shield = true), .lift = true,
            .cancel_outer = true),
        0));
    expect_trace("body; cancelled:  by program; caught 0");
}

struct second_task {
    belay_cancel_scope *scope;
};

BELAY_ASYNC(second_task)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_enter(task, self->scope)) {
        trace("not reached");
    }
    BELAY_END;
}

struct two_tasks {
    belay_group *group;
    belay_cancel_scope *scope;
};

BELAY_ASYNC(two_tasks)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, free_scope, &self->scope)) {
        BELAY_CHECK(belay_cancel_scope_new(
            belay_task_runtime(task), NULL, &self->scope));
        BELAY_WITH (belay_cancel_scope_enter(task, self->scope)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_CHECK(belay_spawn(
                    self->group, second_task, .scope = self->scope));
            }
        }
    }
    BELAY_END;
}

Test(prepared, s18_another_task_cannot_enter_it)
{
    struct belay_result result;

    cr_expect(
        eq(int, RUN_RESULT(&result, two_tasks, .group = NULL), BELAY_EGROUP));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(eq(int, belay_error_code(belay_error_child(result.error, 0)),
        BELAY_ESTATE));
    belay_error_unref(result.error);
    expect_trace("");
}

struct after_it {
    belay_cancel_scope *scope;
};

static void
free_after(void *arg)
{
    struct after_it *self = arg;

    belay_cancel_scope_free(self->scope);
}

BELAY_ASYNC(after_it)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, free_after, self)) {
        BELAY_CHECK(belay_cancel_scope_new(belay_task_runtime(task),
            BELAY_CANCEL_SCOPE_OPTS(.timeout = belay_seconds(1)),
            &self->scope));
        BELAY_WITH (belay_cancel_scope_enter(task, self->scope)) {
            BELAY_AWAIT(belay_checkpoint(task));
        }
        belay_cancel_scope_set_shield(self->scope, true);
        belay_cancel_scope_cancel(self->scope, "too late");
        cr_expect(eq(int, belay_cancel_scope_move(self->scope, belay_now(task)),
            BELAY_ESTATE));
        BELAY_AWAIT(belay_sleep(task, belay_seconds(2)));
        cr_expect(not(belay_cancel_scope_status(self->scope).expired));
        cr_expect(not(belay_cancel_scope_status(self->scope).cancelled));
    }
    BELAY_END;
}

Test(prepared, s4_once_it_is_left_nothing_reaches_it)
{
    cr_expect(eq(int, RUN(after_it, .scope = NULL), 0));
}

/* ---- what an observer may do while it is being entered ---- */

struct expiring {
    belay_observer *observer;
    belay_cancel_scope *outer;
    belay_cancel_scope *scope;
};

static void
free_expiring(void *arg)
{
    struct expiring *self = arg;

    belay_observer_detach(self->observer);
    belay_cancel_scope_free(self->scope);
}

static void
use_expired(
    belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    struct expiring *self = arg;

    (void)runtime;
    if (seen->event == BELAY_OBSERVED_DEADLINE_EXPIRE) {
        trace("move %s", belay_code_name(belay_cancel_scope_move(
                             self->scope, (belay_time){INT64_MAX})));
        belay_cancel_scope_set_shield(self->scope, true);
    }
}

BELAY_ASYNC(expiring)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, free_expiring, self)) {
        BELAY_CHECK(belay_cancel_scope_new(belay_task_runtime(task),
            BELAY_CANCEL_SCOPE_OPTS(.timeout = belay_nanoseconds(-1)),
            &self->scope));
        BELAY_CHECK(belay_observer_attach(belay_task_runtime(task), use_expired,
            self, BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_CANCELS),
            &self->observer));
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->outer)) {
            BELAY_WITH (belay_cancel_scope_enter(task, self->scope)) {
                belay_cancel_scope_cancel(self->outer, NULL);
                BELAY_AWAIT(belay_checkpoint(task));
            }
            trace("shielded"); /* so its own cancel was its to absorb */
        }
    }
    BELAY_END;
}

Test(prepared, s39_one_that_expires_while_it_is_entered_is_not_moved)
{
    cr_expect(zero(int, RUN(expiring, .scope = NULL)));
    expect_trace("move ESTATE; shielded");
}

/* ---- a shield that is raised or dropped ---- */

struct reshielded {
    struct belay_cancel_scope_opts opts;
    bool raise; /* else it is dropped */
    bool early; /* … before the entry */
    belay_cancel_scope *scope;
    int64_t from_ns;
};

static void
free_reshielded(void *arg)
{
    struct reshielded *self = arg;

    belay_cancel_scope_free(self->scope);
}

BELAY_ASYNC(reshielded)
{
    BELAY_BEGIN;
    self->from_ns = belay_now(task).ns;
    BELAY_WITH (belay_defer(task, free_reshielded, self)) {
        BELAY_CHECK(belay_cancel_scope_new(
            belay_task_runtime(task), &self->opts, &self->scope));
        if (self->early) {
            belay_cancel_scope_set_shield(self->scope, self->raise);
        }
        BELAY_WITH (belay_move_on(task, belay_seconds(10), NULL)) {
            BELAY_WITH (belay_cancel_scope_enter(task, self->scope)) {
                if (!self->early) {
                    belay_cancel_scope_set_shield(self->scope, self->raise);
                }
                BELAY_WITH (BELAY_ENTER(
                    probe, .name = "a", .exit_sleep = BELAY_FOREVER)) {
                    BELAY_TRY(belay_sleep(task, belay_seconds(100)));
                    trace("%s after %lld ms", trace_result(belay_result(task)),
                        elapsed_ms(task, self->from_ns));
                    belay_cancel_scope_cancel(self->scope, NULL);
                }
            }
        }
        trace("after %lld ms", elapsed_ms(task, self->from_ns));
    }
    BELAY_END;
}

/* What its grace is for was said with it. */
Test(prepared, s25_s102_a_shield_raised_later_leaves_the_grace_to_the_exits)
{
    for (int early = 0; early < 2; early++) {
        trace_clear();
        cr_expect(zero(int,
            RUN(reshielded, .opts = PREPARED_OPTS(.grace = belay_seconds(1)),
                .raise = true, .early = early)));
        expect_trace("enter a; ok after 100000 ms; exit a; cut a; "
                     "after 101000 ms");
    }
}

Test(prepared, s25_s102_the_time_of_a_shield_that_is_dropped_is_no_exits)
{
    for (int early = 0; early < 2; early++) {
        trace_clear();
        cr_expect(zero(int, RUN(reshielded,
                                .opts = PREPARED_OPTS(.shield = true,
                                    .grace = belay_seconds(1)),
                                .early = early)));
        expect_trace("enter a; cancel after 10000 ms; exit a; cut a; "
                     "after 15000 ms");
    }
}

struct freed_early {
    belay_cancel_scope *scope;
};

BELAY_ASYNC(freed_early)
{
    BELAY_BEGIN;
    BELAY_CHECK(
        belay_cancel_scope_new(belay_task_runtime(task), NULL, &self->scope));
    BELAY_WITH (belay_cancel_scope_enter(task, self->scope)) {
        belay_cancel_scope_free(self->scope);
    }
    BELAY_END;
}

Test(prepared, freeing_an_open_scope_aborts, .signal = SIGABRT)
{
    (void)RUN(freed_early, .scope = NULL);
}

Test(prepared, s17_s136_whatever_happens_a_prepared_scope_is_left)
{
    SWEEP(prepared, .opts = PREPARED_OPTS(.timeout = belay_seconds(1)));
    SWEEP(prepared, .opts = PREPARED_OPTS(0), .cancel = true);
    SWEEP(two_tasks, .group = NULL);
    SWEEP(expiring, .scope = NULL);
    SWEEP(reshielded, .opts = PREPARED_OPTS(.grace = belay_seconds(1)),
        .raise = true, .early = true);
}
