/* test_group.c - a group's exit, and cancels that meet it: contract S46, S51,
 * S53, S55, S56, S71, S72.
 */
#include "test/support/group_scene.h"

TestSuite(group, .fini = check_clean, .timeout = 30);

Test(group, s46_the_exit_waits_for_every_child_and_its_exits)
{
    cr_expect(eq(int,
        RUN(two, .first = {.name = "a", .sleep = belay_seconds(3)},
            .second = {.name = "b",
                .sleep = belay_seconds(1),
                .exit_sleep = belay_seconds(9)}),
        0));
    expect_trace("enter a; enter b; body ok; exit b; exit a; behind; "
                 "then ok; caught 0");
}

Test(group, s53_a_cancel_from_outside_is_the_result)
{
    cr_expect(eq(int,
        RUN(two, .first = {.name = "a", .sleep = BELAY_FOREVER},
            .second = {.name = "b", .sleep = BELAY_FOREVER},
            .cancel_outer = true),
        0));
    /* The body was through, the children were not: "behind" would find their
     * work missing. */
    expect_trace("enter a; enter b; body ok; exit b/cancel; exit a/cancel; "
                 "caught 1");
}

struct hidden {
    belay_group *group;
    belay_cancel_scope *outer;
    belay_cancel_scope *shield;
};

/* The last child ends: from now on there is no cancel to be seen. */
static void
hide_cancel(belay_task *ended, const struct belay_result *result, void *arg)
{
    struct hidden *self = arg;

    (void)ended;
    trace("child %s", trace_result(result));
    if (belay_group_count(self->group) == 1) {
        belay_cancel_scope_set_shield(self->shield, true);
    }
}

BELAY_ASYNC(hidden)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->outer)) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->shield)) {
            BELAY_WITH (belay_group_open(task,
                BELAY_GROUP_OPTS(.on_child = hide_cancel, .arg = self),
                &self->group)) {
                BELAY_CHECK(belay_spawn(
                    self->group, child, .name = "a", .sleep = BELAY_FOREVER));
                BELAY_CHECK(belay_spawn(
                    self->group, child, .name = "b", .sleep = BELAY_FOREVER));
                belay_cancel_scope_cancel(self->outer, NULL);
            }
            trace("behind");
        }
    }
    BELAY_END;
}

Test(group, s55_what_its_children_have_seen_is_not_its_own_to_give)
{
    cr_expect(zero(int, RUN(hidden, .group = NULL)));
    expect_trace("enter a; exit a/cancel; child cancel; "
                 "enter b; exit b/cancel; child cancel; behind");
}

struct unseen {
    belay_group *group;
    belay_cancel_scope *outer;
};

BELAY_ASYNC(unseen)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->outer)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, nothing, 0));
            belay_cancel_scope_cancel(self->outer, NULL);
        }
        trace("behind");
        BELAY_AWAIT(belay_checkpoint(task));
        trace("not reached");
    }
    BELAY_END;
}

Test(group, s55_a_cancel_that_nobody_saw_is_not_the_groups_result)
{
    cr_expect(eq(int, RUN(unseen, .group = NULL), 0));
    expect_trace("child; behind");
}

Test(group, s56_a_cancelled_group_succeeds)
{
    cr_expect(eq(int,
        RUN(two, .first = {.name = "a", .sleep = BELAY_FOREVER},
            .second = {.name = "b", .sleep = BELAY_FOREVER},
            .cancel_group = true),
        0));
    expect_trace("enter a; enter b; body ok; exit b/cancel; exit a/cancel; "
                 "behind; then ok; caught 0");
    trace_clear();
    cr_expect(eq(int,
        RUN(two, .first = {.name = "a", .sleep = BELAY_FOREVER},
            .second = {.name = "b", .sleep = BELAY_FOREVER},
            .cancel_group = true, .cancel_outer = true),
        0));
    expect_trace("enter a; enter b; body ok; exit b/cancel; exit a/cancel; "
                 "caught 1");
}

struct canceller {
    belay_group *group;
};

BELAY_ASYNC(canceller)
{
    BELAY_BEGIN;
    belay_group_cancel(self->group, "first thing");
    BELAY_TRY(belay_checkpoint(task));
    trace("canceller %s", trace_result(belay_result(task)));
    BELAY_END;
}

struct eager {
    belay_group *group;
};

BELAY_ASYNC(eager)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, canceller, .group = self->group));
        BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
    }
    trace("end");
    BELAY_END;
}

Test(group, s56_it_reaches_a_child_that_calls_it_before_parking)
{
    cr_expect(eq(int, RUN(eager, .group = NULL), 0));
    expect_trace("canceller cancel; end");
}

struct alone {
    belay_group *group;
    belay_task *child;
};

BELAY_ASYNC(alone)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->child)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_group_spawn(self->group, &child,
                &(const struct child){.name = "a", .sleep = BELAY_FOREVER},
                BELAY_SPAWN_OPTS(.task = &self->child, .name = "alone")));
            cr_expect_str_eq(belay_task_name(self->child), "alone");
            BELAY_AWAIT(belay_checkpoint(task));
            (void)belay_task_cancel(self->child, NULL);
            BELAY_AWAIT(belay_task_join(task, self->child));
            trace("joined %s", trace_result(belay_task_result(self->child)));
            BELAY_AWAIT(belay_checkpoint(task));
            trace("body on");
        }
    }
    BELAY_END;
}

struct alone_then_outer {
    belay_group *group;
    belay_task *child;
};

BELAY_ASYNC(alone_then_outer)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->child)) {
        BELAY_WITH (belay_move_on(task, belay_seconds(5), NULL)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_CHECK(belay_group_spawn(self->group, &child,
                    &(const struct child){.name = "a", .sleep = BELAY_FOREVER},
                    BELAY_SPAWN_OPTS(.task = &self->child)));
                BELAY_AWAIT(belay_checkpoint(task));
                (void)belay_task_cancel(self->child, NULL);
                BELAY_TRY(belay_sleep(task, BELAY_FOREVER));
            }
            trace("behind");
        }
    }
    BELAY_END;
}

/* The child was cancelled alone; the body has seen the cancel from outside
 * and gone on. */
Test(group, s55_a_child_cancelled_alone_does_not_cut_the_group_short)
{
    cr_expect(eq(int, RUN(alone_then_outer, .group = NULL), 0));
    expect_trace("enter a; exit a/cancel; behind");
}

Test(group, s51_a_child_cancelled_alone_is_no_failure)
{
    cr_expect(eq(int, RUN(alone, .group = NULL), 0));
    expect_trace("enter a; exit a/cancel; joined cancel; body on");
}

struct joins {
    belay_task *target;
    const char *what;
};

BELAY_ASYNC(joins)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_task_join(task, self->target));
    trace("%s %s", self->what, trace_result(belay_result(task)));
    BELAY_END;
}

struct joined {
    belay_group *group;
    belay_task *child;
};

BELAY_ASYNC(joined)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->child)) {
        BELAY_TRY(belay_task_join(task, task));
        trace("self %s", trace_result(belay_result(task)));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(
                self->group, joins, .target = task, .what = "host"));
            BELAY_CHECK(belay_group_spawn(self->group, &child,
                &(const struct child){.name = "a", .sleep = belay_seconds(1)},
                BELAY_SPAWN_OPTS(.task = &self->child)));
            BELAY_CHECK(belay_spawn(
                self->group, joins, .target = self->child, .what = "sibling"));
        }
    }
    BELAY_END;
}

Test(group, s71_joining_oneself_or_ones_host_is_a_deadlock)
{
    cr_expect(eq(int, RUN(joined, .group = NULL), 0));
    expect_trace("self EDEADLK; host EDEADLK; enter a; exit a; sibling ok");
}

struct told {
    const char *name;
    int *told;
};

BELAY_ASYNC(told)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_sleep(task, BELAY_FOREVER));
    ++*self->told;
    trace("told");
    BELAY_WITH (belay_shield(task, BELAY_FOREVER)) {
        BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
        trace("over, %d told", *self->told);
    }
    BELAY_END;
}

struct teller {
    belay_group *group;
    int told;
};

BELAY_ASYNC(teller)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, told, .told = &self->told));
        BELAY_CHECK(belay_spawn(self->group, told, .told = &self->told));
        BELAY_AWAIT(belay_checkpoint(task));
        belay_group_cancel(self->group, NULL);
    }
    BELAY_END;
}

Test(group, s72_all_children_are_told_before_one_is_waited_for)
{
    cr_expect(eq(int, RUN(teller, .group = NULL), 0));
    expect_trace("told; told; over, 2 told; over, 2 told");
}

Test(group, s46_whatever_happens_no_child_is_left_behind)
{
    const struct two ways[] = {
        {.first = {.name = "a", .sleep = belay_seconds(1)},
            .second = {.name = "b",
                .sleep = belay_seconds(2),
                .exit_sleep = belay_seconds(1)}},
        {.first = {.name = "a", .sleep = BELAY_FOREVER},
            .second = {.name = "b",
                .sleep = belay_seconds(1),
                .code = BELAY_EIO,
                .exit_sleep = belay_seconds(9)},
            .body_sleep = BELAY_FOREVER},
        {.first = {.name = "a", .sleep = BELAY_FOREVER},
            .second = {.name = "b",
                .sleep = BELAY_FOREVER,
                .on_cancel = BELAY_EIO},
            .cancel_outer = true},
    };

    for (size_t i = 0; i < 3; i++) {
        sweep(&(const struct program){.function = &two, .arguments = &ways[i]});
    }
}
