/* test_shield.c - shields: contract S1, S24-S26, S44, S100, S102. */
#include "test/support/program.h"

TestSuite(shield, .fini = check_clean, .timeout = 30);

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

Test(shield, s24_shielded_code_sees_only_its_own_cancel)
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

Test(shield, s25_dropping_a_shield_aborts_parked_tasks_at_once)
{
    cr_expect(eq(int, RUN(dropper, .group = NULL), 0));
    expect_trace("drop; got cancel; end");
}

struct raised_again {
    belay_cancel_scope *outer;
    belay_cancel_scope *shield;
    int64_t from_ns;
};

/* While it is down, its time arms no timer. */
BELAY_ASYNC(raised_again)
{
    BELAY_BEGIN;
    self->from_ns = belay_now(task).ns;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->outer)) {
        BELAY_WITH (belay_cancel_scope_open(task,
            BELAY_CANCEL_SCOPE_OPTS(.shield = true, .grace = belay_seconds(2)),
            &self->shield)) {
            belay_cancel_scope_cancel(self->outer, NULL);
            belay_cancel_scope_set_shield(self->shield, false);
            BELAY_CHECK(belay_cancel_scope_move(self->shield,
                (belay_time){self->from_ns + belay_seconds(100).ns}));
            belay_cancel_scope_set_shield(self->shield, true);
            BELAY_TRY(belay_sleep(task, belay_seconds(50)));
            trace("%s after %lld ms", trace_result(belay_result(task)),
                elapsed_ms(task, self->from_ns));
        }
    }
    BELAY_END;
}

Test(shield, s25_a_shield_that_is_raised_again_has_its_end)
{
    cr_expect(zero(int, RUN(raised_again, .outer = NULL)));
    expect_trace("cancel after 2000 ms");
}

struct two_shields {
    belay_cancel_scope *outer;
    belay_cancel_scope *middle;
    int64_t from_ns;
};

static void
note_wait(const belay_task *task, const struct two_shields *self)
{
    trace("%s after %lld ms", trace_result(belay_result(task)),
        elapsed_ms(task, self->from_ns));
}

/* The time of the inner one is over; then the one around it is raised, and
 * nothing waits any more. */
BELAY_ASYNC(two_shields)
{
    BELAY_BEGIN;
    self->from_ns = belay_now(task).ns;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->outer)) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->middle)) {
            BELAY_WITH (belay_shield(task, belay_seconds(1))) {
                belay_cancel_scope_cancel(self->outer, NULL);
                BELAY_TRY(belay_sleep(task, belay_seconds(50)));
                note_wait(task, self);
                belay_cancel_scope_set_shield(self->middle, true);
                BELAY_TRY(belay_sleep(task, belay_seconds(4)));
                note_wait(task, self);
                belay_cancel_scope_set_shield(self->middle, false);
                BELAY_TRY(belay_sleep(task, belay_seconds(50)));
                note_wait(task, self);
            }
        }
    }
    BELAY_END;
}

Test(shield, s24_each_cancel_that_waits_waits_for_the_whole_time)
{
    cr_expect(zero(int, RUN(two_shields, .outer = NULL)));
    expect_trace("cancel after 1000 ms; ok after 5000 ms; "
                 "cancel after 6000 ms");
}

struct no_time {
    belay_cancel_scope *outer;
};

BELAY_ASYNC(no_time)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->outer)) {
        BELAY_WITH (belay_shield(task, belay_seconds(0))) {
            belay_cancel_scope_cancel(self->outer, NULL);
            trace("pending %d", belay_cancel_pending(task, NULL));
            BELAY_AWAIT(belay_checkpoint(task));
            trace("not reached");
        }
    }
    BELAY_END;
}

Test(shield, s1_a_shield_without_time_keeps_off_no_checkpoint)
{
    cr_expect(zero(int, RUN(no_time, .outer = NULL)));
    expect_trace("pending 1");
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

Test(shield, s26_an_uncancelled_scope_absorbs_nothing_whatever_its_shield)
{
    cr_expect(eq(int, RUN(toggled, .outer = NULL), 0));
    expect_trace("middle 0 outer 1");
}

struct pierced {
    belay_duration shield;
    belay_cancel_scope *outer;
    int64_t from_ns;
};

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

Test(shield, s24_s100_a_shield_with_an_end_lets_the_cancel_in_not_the_cut)
{
    cr_expect(eq(int, RUN(pierced, .shield = belay_seconds(1)), 0));
    expect_trace("enter a; cancel after 1000 ms; exit a/cancel; cut a; "
                 "after 5000 ms");
    trace_clear();
    cr_expect(eq(int, RUN(pierced, .shield = belay_seconds(0)), 0));
    expect_trace("enter a; cancel after 0 ms; exit a/cancel; cut a; "
                 "after 5000 ms");
    /* The grace counts from the cancel, not from when it comes in: behind a
     * longer shield nothing is left of it. */
    trace_clear();
    cr_expect(eq(int, RUN(pierced, .shield = belay_seconds(10)), 0));
    expect_trace("enter a; cancel after 10000 ms; exit a/cancel; cut a; "
                 "after 10000 ms");
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
Test(shield, s24_s99_a_shield_in_an_exit_counts_from_the_end_of_the_grace)
{
    cr_expect(eq(int, RUN(shielded_exit, .scope = NULL), 0));
    expect_trace("cancel after 4000 ms");
}

struct own_deadline {
    belay_duration grace; /* of the shield */
    int64_t from_ns;
};

/* A shield does not take the end away from its own exits, nor give it. */
BELAY_ASYNC(own_deadline)
{
    BELAY_BEGIN;
    self->from_ns = belay_now(task).ns;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.shield = true, .grace = self->grace,
            .timeout = belay_seconds(1)),
        NULL)) {
        BELAY_WITH (
            BELAY_ENTER(probe, .name = "a", .exit_sleep = BELAY_FOREVER)) {
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
    }
    trace("after %lld ms", elapsed_ms(task, self->from_ns));
    BELAY_END;
}

Test(shield, s102_exits_in_a_cancelled_shield_have_the_usual_grace)
{
    cr_expect(eq(int, RUN(own_deadline, .from_ns = 0), 0));
    expect_trace("enter a; exit a/cancel; cut a; after 6000 ms");
    trace_clear();
    cr_expect(eq(int, RUN(own_deadline, .grace = belay_seconds(2)), 0));
    expect_trace("enter a; exit a/cancel; cut a; after 6000 ms");
}
