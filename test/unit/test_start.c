/* test_start.c - children that say when they are ready, and are the group's
 * then: contract S65, S68.
 */
#include "test/support/start_scene.h"

TestSuite(start, .fini = check_clean, .timeout = 30);

Test(start, s65_the_caller_waits_and_the_child_is_the_groups_then)
{
    cr_expect(eq(int,
        RUN(starts, .service = {.name = "s",
                        .value = 42,
                        .before = belay_seconds(1),
                        .after = belay_seconds(1)}),
        0));
    expect_trace("enter s; s ready OK; start ok; scope left; exit s; end");
}

Test(start, s65_the_callers_scopes_reach_it_no_more)
{
    /* The scope round the start is over long before the child is. */
    cr_expect(eq(int,
        RUN(starts, .timeout = belay_seconds(2),
            .service = {.name = "s",
                .before = belay_seconds(1),
                .after = belay_seconds(9)}),
        0));
    expect_trace("enter s; s ready OK; start ok; scope left; exit s; end");
}

struct handed {
    belay_group *group;
    belay_cancel_scope *scope;
    struct service service;
    int outer_code;
};

BELAY_ASYNC(handed)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
            BELAY_AWAIT(belay_start(task, self->group, NULL, service,
                .name = "s", .after = belay_seconds(1)));
            belay_cancel_scope_cancel(self->scope, "the old scope");
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
        trace("scope left");
        BELAY_AWAIT(belay_start(task, self->group, NULL, service, .name = "t",
            .after = BELAY_FOREVER));
        BELAY_AWAIT(belay_sleep(task, belay_seconds(3)));
        belay_group_cancel(self->group, "the group");
    }
    trace("end");
    BELAY_END;
}

Test(start, s65_afterwards_the_groups_scope_counts_and_only_that)
{
    cr_expect(eq(int, RUN(handed, .group = NULL), 0));
    expect_trace("enter s; s ready OK; scope left; enter t; t ready OK; "
                 "exit s; t sees the group; exit t/cancel; end");
}

struct into_cancelled {
    belay_group *group;
    belay_group *host;
    struct service service;
};

struct closer {
    belay_group **group;
};

BELAY_ASYNC(closer)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
    if (*self->group != NULL) {
        belay_group_cancel(*self->group, "the group");
    }
    BELAY_END;
}

struct starter {
    belay_group **group;
};

BELAY_ASYNC(starter)
{
    BELAY_BEGIN;
    if (*self->group == NULL) {
        BELAY_RETURN(NULL); /* a sweep: it has ended already */
    }
    BELAY_TRY(belay_start(task, *self->group, NULL, service, .name = "s",
        .before = belay_seconds(1), .after = belay_seconds(1)));
    trace("start %s", trace_result(belay_result(task)));
    BELAY_END;
}

BELAY_ASYNC(into_cancelled)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->host)) {
        BELAY_WITH (keeping_group(task, &self->group)) {
            BELAY_CHECK(
                belay_spawn(self->host, starter, .group = &self->group));
            BELAY_CHECK(belay_spawn(self->host, closer, .group = &self->group));
            BELAY_AWAIT(belay_sleep(task, belay_seconds(2)));
        }
        trace("group left");
    }
    BELAY_END;
}

Test(start, s65_s68_a_cancelled_group_gets_the_child_and_its_cancel)
{
    cr_expect(eq(int, RUN(into_cancelled, .group = NULL), 0));
    /* The start is not in the group's scope, so it is finished first. */
    expect_trace("enter s; s ready OK; s sees the group; "
                 "exit s/cancel; start ok; group left");
}

struct pending {
    belay_group *host;
    belay_group *group;
};

BELAY_ASYNC(pending)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->host)) {
        BELAY_WITH (keeping_group(task, &self->group)) {
            BELAY_CHECK(
                belay_spawn(self->host, starter, .group = &self->group));
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_AWAIT(belay_checkpoint(task));
            trace("leaving %zu", belay_group_count(self->group));
        }
        trace("group left");
    }
    BELAY_END;
}

Test(start, s68_a_pending_start_keeps_the_group_open)
{
    cr_expect(eq(int, RUN(pending, .group = NULL), 0));
    expect_trace(
        "enter s; leaving 1; s ready OK; start ok; exit s; group left");
}

struct last_start {
    belay_group *host;
    belay_group *group;
};

struct fails_to_start {
    belay_group **group;
};

BELAY_ASYNC(fails_to_start)
{
    BELAY_BEGIN;
    if (*self->group == NULL) {
        BELAY_RETURN(NULL); /* a sweep: it has ended already */
    }
    BELAY_TRY(belay_start(task, *self->group, NULL, service, .name = "s",
        .before = belay_seconds(1), .never = true));
    trace("start %s", trace_result(belay_result(task)));
    BELAY_END;
}

BELAY_ASYNC(last_start)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->host)) {
        BELAY_WITH (keeping_group(task, &self->group)) {
            BELAY_CHECK(
                belay_spawn(self->host, fails_to_start, .group = &self->group));
            BELAY_AWAIT(belay_checkpoint(task));
        }
        trace("group left");
    }
    BELAY_END;
}

Test(start, s68_a_start_that_fails_lets_the_group_end)
{
    cr_expect(eq(int, RUN(last_start, .group = NULL), 0));
    expect_trace("enter s; exit s; start EPROTO; group left");
}

/* A start inside an exit, whose child may not see the cancel either. */
struct cleaner {
    belay_group *group;
};

static belay_next
cleaner_enter(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

static belay_next
cleaner_over(belay_task *task, void *self)
{
    (void)self;
    trace("start %s", trace_result(belay_result(task)));
    return belay_return(task, NULL);
}

static belay_next
cleaner_exit(belay_task *task, void *arg)
{
    struct cleaner *self = arg;

    return belay_then(task, cleaner_over,
        belay_start(task, self->group, NULL, service, .name = "s",
            .before = belay_seconds(1)));
}

static const belay_manager cleaner = {
    {"cleaner", __FILE__, sizeof(struct cleaner), cleaner_enter, 0},
    cleaner_exit};

struct cleans {
    belay_group *group;
};

BELAY_ASYNC(cleans)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_timeout(task, belay_seconds(1))) {
            BELAY_WITH (BELAY_ENTER(cleaner, .group = self->group)) {
                BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
            }
        }
    }
    BELAY_END;
}

Test(start, s65_s99_a_start_in_an_exit_is_shielded_with_it)
{
    cr_expect(eq(int, RUN(cleans, .group = NULL), BELAY_EGROUP));
    expect_trace("enter s; s ready OK; start ok; s sees the body of the group "
                 "failed; exit s");
}

/* It runs at once although the group is full, and counts. */
struct full {
    belay_group *group;
};

BELAY_ASYNC(full)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.max_running = 1), &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, service, .name = "a",
            .never = true, .after = belay_seconds(1)));
        BELAY_CHECK(belay_spawn(self->group, service, .name = "b",
            .never = true, .after = belay_seconds(1)));
        BELAY_AWAIT(belay_start(task, self->group, NULL, service, .name = "s",
            .after = belay_seconds(2)));
        trace("ready");
    }
    BELAY_END;
}

Test(start, s65_a_full_group_takes_it_and_then_waits_for_it)
{
    cr_expect(eq(int, RUN(full, .group = NULL), 0));
    expect_trace("enter a; enter s; s ready OK; ready; exit a; exit s; "
                 "enter b; exit b");
}

struct readies {
    belay_cancel_scope **scope; /* of its starter */
    int *value;                 /* which may look at it when this has ended */
};

BELAY_ASYNC(readies)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_started(task, self->value));
    belay_cancel_scope_cancel(*self->scope, NULL);
    BELAY_TRY(belay_sleep(task, belay_seconds(1)));
    trace("child %s", trace_result(belay_result(task)));
    BELAY_END;
}

struct late_cancel {
    belay_group *group;
    belay_cancel_scope *scope;
    void *value;
};

/* It is cancelled when it has got the child, before its turn. */
BELAY_ASYNC(late_cancel)
{
    static int seven = 7;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
            BELAY_TRY(belay_start(task, self->group, &self->value, readies,
                .scope = &self->scope, .value = &seven));
            trace("start %s", trace_result(belay_result(task)));
            if (self->value != NULL) {
                trace("value %d", *(int *)self->value);
            }
            BELAY_AWAIT(belay_checkpoint(task));
            trace("not reached");
        }
    }
    BELAY_END;
}

Test(start, s10_s65_what_was_handed_over_before_the_cancel_counts)
{
    cr_expect(zero(int, RUN(late_cancel, .group = NULL)));
    expect_trace("start ok; value 7; child ok");
}

/* What hangs below a child moves with it: a group of its own in it. */
struct tree {
    belay_group *group;
};

BELAY_ASYNC(tree)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_seconds(99))) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, service, .name = "leaf",
                .never = true, .after = BELAY_FOREVER));
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_CHECK(belay_started(task, NULL));
        }
    }
    BELAY_END;
}

struct moves_tree {
    belay_group *group;
    belay_cancel_scope *scope;
};

BELAY_ASYNC(moves_tree)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
            BELAY_AWAIT(
                belay_start(task, self->group, NULL, tree, .group = NULL));
            belay_cancel_scope_cancel(self->scope, "the old scope");
            BELAY_AWAIT(belay_checkpoint(task));
        }
        BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
        trace("still there");
        belay_group_cancel(self->group, "the group");
    }
    trace("end");
    BELAY_END;
}

Test(start, s65_what_is_below_the_child_moves_with_it)
{
    cr_expect(eq(int, RUN(moves_tree, .group = NULL), 0));
    expect_trace("enter leaf; still there; leaf sees the group; "
                 "exit leaf/cancel; end");
}

Test(start, s65_s68_whatever_happens_no_child_is_left_behind)
{
    SWEEP(handed, .group = NULL);
    SWEEP(into_cancelled, .group = NULL);
    SWEEP(pending, .group = NULL);
    SWEEP(last_start, .group = NULL);
    SWEEP(cleans, .group = NULL);
    SWEEP(full, .group = NULL);
    SWEEP(moves_tree, .group = NULL);
    SWEEP(late_cancel, .group = NULL);
}
