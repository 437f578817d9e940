/* test_group_spawn.c - how children come into a group: contract S57-S62, S69.
 */
#include "test/support/group_scene.h"

#include "runtime/internal.h"

TestSuite(group_spawn, .fini = check_clean, .timeout = 30);

struct spawner {
    belay_group *group;
    int left;
};

BELAY_ASYNC_DECLARE(spawner);

BELAY_ASYNC(spawner)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_checkpoint(task));
    trace("%d", self->left);
    if (self->left > 0) {
        BELAY_CHECK(belay_spawn(self->group, spawner, .group = self->group,
            .left = self->left - 1));
        trace("spawned");
    }
    BELAY_END;
}

struct joining {
    belay_group *group;
};

BELAY_ASYNC(joining)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(
            belay_spawn(self->group, spawner, .group = self->group, .left = 2));
        trace("leaving");
    }
    trace("left");
    BELAY_END;
}

Test(group_spawn, s57_s61_children_spawn_while_joining_and_run_later)
{
    cr_expect(eq(int, RUN(joining, .group = NULL), 0));
    expect_trace("leaving; 2; spawned; 1; spawned; 0; left");
}

struct outsider {
    belay_task *target;
    belay_group *group;
    belay_task *ref;
};

/* Wakes after the group's last child has ended, before its host goes on. */
BELAY_ASYNC(outsider)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_task_join(task, self->target));
    trace("late spawn %s",
        belay_code_name(belay_group_spawn(self->group, &nothing,
            &(const struct nothing){0}, BELAY_SPAWN_OPTS(.task = &self->ref))));
    cr_expect(zero(ptr, self->ref));
    BELAY_END;
}

struct finished {
    belay_group *outer;
    belay_group *inner;
    belay_task *child;
};

BELAY_ASYNC(finished)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->child)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->outer)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->inner)) {
                BELAY_CHECK(belay_group_spawn(self->inner, &child,
                    &(const struct child){
                        .name = "a", .sleep = belay_seconds(1)},
                    BELAY_SPAWN_OPTS(.task = &self->child)));
                BELAY_CHECK(belay_spawn(self->outer, outsider,
                    .target = self->child, .group = self->inner));
            }
            trace("inner left");
        }
    }
    BELAY_END;
}

Test(group_spawn, s58_spawning_into_a_finished_group_is_refused)
{
    cr_expect(eq(int, RUN(finished, .outer = NULL), 0));
    expect_trace("enter a; exit a; late spawn ESTATE; inner left");
}

struct into_cancelled {
    belay_group *group;
};

BELAY_ASYNC(into_cancelled)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        belay_group_cancel(self->group, NULL);
        BELAY_CHECK(belay_spawn(
            self->group, child, .name = "a", .sleep = BELAY_FOREVER));
        trace("spawned");
    }
    BELAY_END;
}

Test(group_spawn, s59_a_spawn_into_a_cancelled_open_group_starts_the_child)
{
    cr_expect(eq(int, RUN(into_cancelled, .group = NULL), 0));
    expect_trace("spawned; enter a; exit a/cancel");
}

struct lacking {
    belay_group *group;
    int code;
    belay_task *ref;
    uint32_t taken; /* of the places for deadlines */
};

BELAY_ASYNC(lacking)
{
    const struct belay__heap *deadlines = &belay_task_runtime(task)->deadlines;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        test_alloc_fail_after(0);
        for (self->code = 0; self->code == 0;) { /* blocks kept for reuse */
            self->taken = deadlines->room - deadlines->left;
            self->code = belay_group_spawn(self->group, &nothing,
                &(const struct nothing){0},
                BELAY_SPAWN_OPTS(.task = &self->ref));
            if (self->code == 0) {
                belay_task_unref(self->ref);
                self->ref = NULL;
            }
        }
        test_alloc_never_fail();
        cr_expect(eq(int, self->code, BELAY_ENOMEM));
        cr_expect(eq(u32, deadlines->room - deadlines->left, self->taken));
        cr_expect(zero(ptr, self->ref));
        cr_expect(zero(sz, belay_group_count(self->group)));
        cr_expect(eq(int,
            belay_group_spawn(self->group, &nothing, &(const struct nothing){0},
                &(const struct belay_spawn_opts){.size = 1}),
            BELAY_EINVAL));
        cr_expect(zero(sz, belay_group_count(self->group)));
    }
    BELAY_END;
}

Test(group_spawn, s60_s136_a_failed_spawn_has_done_nothing)
{
    cr_expect(eq(int, RUN(lacking, .group = NULL), 0));
    expect_trace("");
}

struct spawn_order {
    belay_group *group;
    int i;
};

BELAY_ASYNC(spawn_order)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (self->i = 0; self->i < 4; self->i++) {
            BELAY_CHECK(belay_spawn(
                self->group, spawner, .group = self->group, .left = 0));
            BELAY_CHECK(belay_spawn(self->group, nothing, 0));
        }
        cr_expect(eq(sz, belay_group_count(self->group), 8));
        trace("body");
    }
    BELAY_END;
}

Test(group_spawn, s61_first_steps_run_in_spawn_order_on_no_spawners_stack)
{
    cr_expect(eq(int, RUN(spawn_order, .group = NULL), 0));
    expect_trace("body; child; child; child; child; 0; 0; 0; 0");
}

struct inherits {
    belay_group *group;
    belay_cancel_scope *scope;
};

BELAY_ASYNC(inherits)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
            BELAY_CHECK(belay_spawn(
                self->group, child, .name = "a", .sleep = belay_seconds(1)));
            belay_cancel_scope_cancel(self->scope, NULL);
            BELAY_AWAIT(belay_checkpoint(task));
        }
        trace("scope left");
    }
    BELAY_END;
}

Test(group_spawn, s62_children_inherit_the_groups_scope_not_the_spawners)
{
    cr_expect(eq(int, RUN(inherits, .group = NULL), 0));
    expect_trace("scope left; enter a; exit a");
}

struct churn {
    int count;
    belay_group *group;
    int i;
    uint64_t after_first;
};

BELAY_ASYNC(churn)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (self->i = 0; self->i < self->count; self->i++) {
            BELAY_CHECK(belay_spawn(
                self->group, spawner, .group = self->group, .left = 0));
            while (belay_group_count(self->group) > 0) {
                BELAY_AWAIT(belay_checkpoint(task));
            }
            trace_clear();
            if (self->i == 0) {
                self->after_first = runtime_stats(task).memory_bytes;
            }
        }
        cr_expect(le(u64, runtime_stats(task).memory_bytes, self->after_first));
    }
    BELAY_END;
}

Test(group_spawn, s69_memory_is_that_of_the_running_children)
{
    cr_expect(eq(int, RUN(churn, .count = 9), 0));
    program_unswept = true; /* no other places to fail at, but thousands */
    cr_expect(eq(int, RUN(churn, .count = 1000), 0));
}

struct limited {
    uint32_t max_running;
    bool cancel;
    belay_group *group;
    int i;
};

BELAY_ASYNC(limited)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task,
        BELAY_GROUP_OPTS(.max_running = self->max_running), &self->group)) {
        for (self->i = 0; self->i < 3; self->i++) {
            BELAY_CHECK(belay_spawn(self->group, child,
                .name = self->i == 0   ? "a"
                        : self->i == 1 ? "b"
                                       : "c",
                .sleep = belay_seconds(1)));
        }
        BELAY_AWAIT(belay_checkpoint(task));
        if (self->cancel) {
            belay_group_cancel(self->group, NULL);
        }
        cr_expect(le(sz, belay_group_count(self->group), 3));
    }
    BELAY_END;
}

Test(group_spawn, no_more_than_max_running_at_once_and_each_starts)
{
    cr_expect(eq(int, RUN(limited, .max_running = 1), 0));
    expect_trace("enter a; exit a; enter b; exit b; enter c; exit c");
    trace_clear();
    cr_expect(eq(int, RUN(limited, .max_running = 1, .cancel = true), 0));
    /* S15, S59: each has its first step all the same. */
    expect_trace("enter a; exit a/cancel; enter b; exit b/cancel; enter c; "
                 "exit c/cancel");
}

struct respawn {
    belay_group *group;
    int left;
};

static void
spawn_again(belay_task *task, const struct belay_result *result, void *arg)
{
    struct respawn *self = arg;

    (void)task;
    (void)result;
    if (self->left-- > 0) {
        cr_expect(zero(int, belay_spawn(self->group, nothing, 0)));
    }
}

BELAY_ASYNC(respawn)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task,
        BELAY_GROUP_OPTS(.on_child = spawn_again, .arg = self), &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, nothing, 0));
    }
    trace("end");
    BELAY_END;
}

Test(group_spawn, s57_on_child_may_spawn_the_next_one)
{
    cr_expect(eq(int, RUN(respawn, .left = 2), 0));
    expect_trace("child; child; child; end");
}

Test(group_spawn, s46_whatever_waits_for_its_turn_no_child_is_left_behind)
{
    SWEEP(limited, .max_running = 2);
}
