/* test_hold.c - holds: contract, The holder. */
#include "test/support/program.h"

#include "runtime/internal.h"

TestSuite(hold, .fini = check_clean, .timeout = 30);

struct two {
    struct probe first;
    struct probe second;
    bool close_first_first;
    bool fail;  /* the body, while both are open */
    bool leave; /* drop the handles, without a close */
    belay_group *group;
    belay_hold *a;
    belay_hold *b;
};

static void
drop_holds(void *arg)
{
    struct two *self = arg;

    belay_hold_unref(self->a);
    belay_hold_unref(self->b);
    self->a = NULL;
    self->b = NULL;
}

BELAY_ASYNC(two)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, drop_holds, self)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_AWAIT(belay_hold_open(task, self->group,
                belay_enter(task, &probe, &self->first), NULL, &self->a));
            cr_expect(
                eq(ptr, belay_result(task)->value, belay_hold_value(self->a)));
            BELAY_AWAIT(belay_hold_open(task, self->group,
                belay_enter(task, &probe, &self->second), "second", &self->b));
            BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
            if (self->fail) {
                BELAY_FAIL(BELAY_EIO, "body");
            }
            if (self->leave) {
                drop_holds(self);
                trace("dropped");
                BELAY_RETURN(NULL);
            }
            BELAY_AWAIT(belay_hold_close(
                task, self->close_first_first ? self->a : self->b));
            trace("closed one");
            BELAY_AWAIT(belay_hold_close(
                task, self->close_first_first ? self->b : self->a));
            trace("closed both");
            cr_expect(not(belay_hold_is_open(self->a)));
            BELAY_AWAIT(belay_hold_close(task, self->a)); /* again */
        }
    }
    trace("end");
    BELAY_END;
}

Test(hold, holder_s27_they_close_in_any_order)
{
    cr_expect(eq(int,
        RUN(two, .first = {.name = "a"}, .second = {.name = "b"},
            .close_first_first = true),
        0));
    expect_trace("enter a; enter b; exit a; closed one; exit b; closed both; "
                 "end");
    trace_clear();
    cr_expect(eq(int,
        RUN(two, .first = {.name = "a"},
            .second = {.name = "b", .exit_sleep = belay_seconds(1)}),
        0));
    expect_trace("enter a; enter b; exit b; closed one; exit a; closed both; "
                 "end");
}

Test(hold, holder_the_groups_cancel_closes_them)
{
    cr_expect(eq(int,
        RUN(two, .first = {.name = "a"}, .second = {.name = "b"}, .fail = true),
        BELAY_EGROUP));
    expect_trace("enter a; enter b; exit b/cancel; exit a/cancel");
}

Test(hold, holder_with_the_last_handle_the_close_is_asked_for)
{
    cr_expect(eq(int,
        RUN(two, .first = {.name = "a"}, .second = {.name = "b"},
            .leave = true),
        0));
    expect_trace("enter a; enter b; dropped; exit a; exit b");
}

Test(hold, holder_a_failing_enter_is_the_openers)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, two, .first = {.name = "a"},
            .second = {.name = "b", .enter_waits = 1, .enter_code = BELAY_EIO}),
        BELAY_EGROUP));
    expect_trace("enter a; no b; exit a/cancel");
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(eq(sz, belay_error_failures(result.error), 1));
    cr_expect_str_eq(
        belay_error_task(belay_error_child(result.error, 0)), "second");
    belay_error_unref(result.error);
}

Test(hold, holder_a_failing_exit_is_the_groups)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, two, .first = {.name = "a"},
            .second = {.name = "b", .exit_code = BELAY_EIO}),
        BELAY_EGROUP));
    expect_trace("enter a; enter b; exit b; closed one; exit a");
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(eq(sz, belay_error_failures(result.error), 1));
    cr_expect(eq(
        int, belay_error_code(belay_error_child(result.error, 0)), BELAY_EIO));
    belay_error_unref(result.error);
}

/* ---- closed by others ---- */

struct user {
    belay_hold *hold;
    const char *name;
    belay_duration when;
    bool only_ask;
};

BELAY_ASYNC(user)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, self->when));
    if (self->only_ask) {
        belay_hold_ask(self->hold);
        trace("%s asked", self->name);
        BELAY_RETURN(NULL);
    }
    BELAY_TRY(belay_hold_close(task, self->hold));
    trace("%s: %s", self->name, trace_result(belay_result(task)));
    BELAY_END;
}

struct shared {
    bool only_ask;
    belay_group *group;
    belay_group *users;
    belay_hold *hold;
};

static void
drop_shared(void *arg)
{
    struct shared *self = arg;

    belay_hold_unref(self->hold);
}

BELAY_ASYNC(shared)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_defer(task, drop_shared, self)) {
            BELAY_AWAIT(belay_hold_open(task, self->group,
                BELAY_ENTER(probe, .name = "a", .exit_sleep = belay_seconds(1)),
                NULL, &self->hold));
            BELAY_WITH (belay_group_open(task, NULL, &self->users)) {
                BELAY_CHECK(belay_spawn(self->users, user, .hold = self->hold,
                    .name = "late", .when = belay_seconds(2)));
                BELAY_CHECK(belay_spawn(self->users, user, .hold = self->hold,
                    .name = "early", .when = belay_seconds(1),
                    .only_ask = self->only_ask));
            }
        }
    }
    BELAY_END;
}

Test(hold, holder_any_task_may_close_it_and_all_wait_for_the_exit)
{
    cr_expect(eq(int, RUN(shared, .only_ask = false), 0));
    expect_trace("enter a; exit a; early: ok; late: ok");
    trace_clear();
    cr_expect(eq(int, RUN(shared, .only_ask = true), 0));
    expect_trace("enter a; early asked; exit a; late: ok");
}

/* ---- what is held may end by itself ---- */

struct timed {
    belay_group *group;
    belay_hold *hold;
    bool was_open;
};

static void
drop_timed(void *arg)
{
    struct timed *self = arg;

    if (self->hold != NULL) {
        trace("open %d", belay_hold_is_open(self->hold));
        belay_hold_unref(self->hold);
    }
}

BELAY_ASYNC(timed)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_defer(task, drop_timed, self)) {
            BELAY_AWAIT(belay_hold_open(task, self->group,
                belay_timeout(task, belay_seconds(1)), NULL, &self->hold));
            trace("open %d", belay_hold_is_open(self->hold));
            BELAY_TRY(belay_sleep(task, belay_seconds(2)));
            trace("body %s", trace_result(belay_result(task)));
        }
    }
    BELAY_END;
}

Test(hold, holder_the_managers_own_cancel_is_the_groups_failure)
{
    cr_expect(eq(int, RUN(timed, .group = NULL), BELAY_EGROUP));
    expect_trace("open 1; body cancel; open 0");
}

/* A task inside the held group closes the hold: that would wait for it. */
struct inside {
    belay_group *outer;
    belay_group *held;
    belay_hold *hold;
};

static void
drop_inside(void *arg)
{
    struct inside *self = arg;

    belay_hold_unref(self->hold);
}

BELAY_ASYNC(inside)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->outer)) {
        BELAY_WITH (belay_defer(task, drop_inside, self)) {
            BELAY_AWAIT(belay_hold_open(task, self->outer,
                belay_group_open(task, NULL, &self->held), NULL, &self->hold));
            cr_expect(eq(ptr, belay_hold_value(self->hold), self->held));
            if (!belay_hold_is_open(self->hold)) {
                BELAY_RETURN(NULL); /* a cancel has closed it already */
            }
            BELAY_CHECK(belay_spawn(
                self->held, user, .hold = self->hold, .name = "child"));
            BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
            cr_expect(not(belay_hold_is_open(self->hold)));
        }
    }
    trace("end");
    BELAY_END;
}

Test(hold, holder_s71_closing_it_from_inside_is_a_deadlock_but_asks)
{
    program_other_code =
        BELAY_EGROUP; /* cut short, the child gets no EDEADLK */
    cr_expect(eq(int, RUN(inside, .outer = NULL), 0));
    expect_trace("child: EDEADLK; end");
}

/* ---- the opener is cancelled, and a shield in it does not let that in ---- */

struct slow_shield {
    int unused;
};

BELAY_MANAGER(slow_shield)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_shield(task, BELAY_FOREVER)) {
        BELAY_TRY(belay_sleep(task, belay_seconds(2)));
        BELAY_WITH (BELAY_ENTER(probe, .name = "shielded")) {
            BELAY_YIELD(NULL);
        }
    }
    BELAY_END;
}

struct impatient {
    belay_group *group;
    belay_hold *hold;
};

BELAY_ASYNC(impatient)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_move_on(task, belay_seconds(1), NULL)) {
            BELAY_AWAIT(belay_hold_open(task, self->group,
                BELAY_ENTER(slow_shield, .unused = 0), NULL, &self->hold));
        }
        cr_expect(zero(ptr, self->hold));
        if (self->hold != NULL) { /* where no operation takes time */
            belay_hold_unref(self->hold);
        }
    }
    trace("end");
    BELAY_END;
}

Test(hold, holder_nobody_waits_for_one_that_is_open_too_late)
{
    cr_expect(eq(int, RUN(impatient, .group = NULL), 0));
    expect_trace("enter shielded; exit shielded; end");
}

/* ---- a generator manager in it, and a refused enter ---- */

struct nested {
    const char *name;
};

BELAY_MANAGER(nested)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_seconds(9))) {
        BELAY_WITH (BELAY_ENTER(probe, .name = self->name)) {
            BELAY_YIELD(self);
        }
    }
    BELAY_END;
}

struct generators {
    belay_group *group;
    belay_hold *a;
    belay_hold *b;
    belay_hold *none;
};

static void
drop_generators(void *arg)
{
    struct generators *self = arg;

    belay_hold_unref(self->a);
    belay_hold_unref(self->b);
}

BELAY_ASYNC(generators)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_defer(task, drop_generators, self)) {
            BELAY_AWAIT(belay_hold_open(task, self->group,
                BELAY_ENTER(nested, .name = "a"), NULL, &self->a));
            BELAY_AWAIT(belay_hold_open(task, self->group,
                BELAY_ENTER(nested, .name = "b"), NULL, &self->b));
            BELAY_TRY(belay_hold_open(task, self->group,
                belay_cancel_scope_open(task,
                    &(const struct belay_cancel_scope_opts){.size = 1}, NULL),
                NULL, &self->none));
            trace("%s", trace_result(belay_result(task)));
            cr_expect(zero(ptr, self->none));
            belay_hold_unref(belay_hold_ref(self->a));
            belay_hold_ask(self->a);
            BELAY_AWAIT(belay_hold_close(task, self->b));
            BELAY_AWAIT(belay_hold_close(task, self->a));
        }
    }
    belay_hold_unref(NULL);
    BELAY_END;
}

Test(hold, holder_scopes_inside_it_are_its_own_tasks)
{
    cr_expect(eq(int, RUN(generators, .group = NULL), 0));
    expect_trace("enter a; enter b; EINVAL; exit a; exit b");
}

Test(hold, holder_whatever_happens_every_exit_runs_once)
{
    sweep(&(const struct program){.function = &two,
        .arguments =
            &(const struct two){.first = {.name = "a", .enter_waits = 1},
                .second = {.name = "b", .exit_waits = 1},
                .close_first_first = true}});
    SWEEP(two, .first = {.name = "a"}, .second = {.name = "b"}, .leave = true);
    SWEEP(shared, .only_ask = true);
    SWEEP(generators, .group = NULL);
}

/* ---- others run between the call and its first step ---- */

struct opens_late {
    belay_group *group; /* another task's, which leaves it meanwhile */
    belay_hold *hold;
};

BELAY_ASYNC(opens_late)
{
    BELAY_BEGIN;
    trace("opens");
    BELAY_AWAIT(belay_hold_open(task, self->group,
        BELAY_ENTER(probe, .name = "late"), NULL, &self->hold));
    trace("opened");
    BELAY_AWAIT(belay_hold_close(task, self->hold));
    belay_hold_unref(self->hold);
    BELAY_END;
}

struct leaves {
    belay_group *outer;
    belay_group *inner;
};

BELAY_ASYNC(leaves)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->outer)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->inner)) {
            BELAY_CHECK(
                belay_spawn(self->outer, opens_late, .group = self->inner));
            BELAY_AWAIT(belay_checkpoint(task));
            trace("leaves");
        }
        trace("left");
    }
    BELAY_END;
}

Test(hold, holder_a_group_waits_for_one_that_is_about_to_open)
{
    cr_expect(eq(int,
        belay_run(&leaves, &(const struct leaves){.outer = NULL},
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .step_budget = 1),
            NULL),
        0));
    expect_trace("opens; leaves; enter late; opened; exit late; left");
}

struct soon {
    int unused;
};

BELAY_ASYNC(soon)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
    BELAY_END;
}

struct too_late {
    belay_task *target;
    belay_group *group;
    bool odd; /* what it opens is refused by itself */
    bool cancelled;
    belay_cancel_scope *scope;
    belay_hold *hold;
};

BELAY_ASYNC(too_late)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        BELAY_AWAIT(belay_task_join(task, self->target));
        if (self->cancelled) {
            belay_cancel_scope_cancel(self->scope, NULL);
        }
        BELAY_TRY(belay_hold_open(task, self->group,
            self->odd ? belay_suppressing(task, NULL, SIZE_MAX)
                      : BELAY_ENTER(probe, .name = "late"),
            NULL, &self->hold));
        trace("%s", trace_result(belay_result(task)));
        cr_expect(zero(ptr, self->hold));
    }
    BELAY_END;
}

/* `too_late` wakes when the group has ended, before its host goes on. */
struct ended {
    bool odd;
    bool cancelled; /* `too_late`'s scope */
    belay_group *host;
    belay_group *group;
    belay_task *child;
};

BELAY_ASYNC(ended)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->child)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->host)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_CHECK(belay_group_spawn(self->group, &soon,
                    &(const struct soon){0},
                    BELAY_SPAWN_OPTS(.task = &self->child)));
                BELAY_CHECK(belay_spawn(self->host, too_late,
                    .target = self->child, .group = self->group,
                    .odd = self->odd, .cancelled = self->cancelled));
            }
        }
    }
    BELAY_END;
}

Test(hold, s58_opening_one_in_a_finished_group_is_refused)
{
    cr_expect(zero(int, RUN(ended, .odd = false)));
    cr_expect(zero(int, RUN(ended, .odd = true)));
    expect_trace("ESTATE; EINVAL");
}

Test(hold, s1_s13_an_open_that_is_refused_is_a_checkpoint_too)
{
    cr_expect(zero(int, RUN(ended, .odd = false, .cancelled = true)));
    cr_expect(zero(int, RUN(ended, .odd = true, .cancelled = true)));
    expect_trace("cancel; cancel");
}
