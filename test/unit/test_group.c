/* test_group.c - task groups: contract S46-S63, S69-S72. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <string.h>

TestSuite(group, .fini = check_clean, .timeout = 30);

/* A child: waits, then ends as told, inside a probe. */
struct child {
    const char *name;
    belay_duration sleep;
    int code;      /* after the sleep */
    int on_cancel; /* instead of the cancel */
    belay_duration exit_sleep;
    int exit_code;
};

BELAY_ASYNC(child)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = self->name,
        .exit_sleep = self->exit_sleep, .exit_code = self->exit_code)) {
        BELAY_TRY(belay_sleep(task, self->sleep));
        if (belay_result(task)->cancelled && self->on_cancel < 0) {
            BELAY_FAIL(self->on_cancel, "in response to the cancel");
        }
        if (belay_result(task)->code < 0) {
            return belay_pass(task);
        }
        if (self->code < 0) {
            BELAY_FAIL(self->code, "as told");
        }
    }
    BELAY_END;
}

/* The codes of a group error's children, as text. */
static char *
children_text(const struct belay_result *result)
{
    static char text[256];
    size_t len = 0;
    belay_error *error;

    text[0] = '\0';
    for (size_t i = 0; result->error != NULL
                       && (error = belay_error_child(result->error, i)) != NULL;
         i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s ",
            belay_code_name(belay_error_code(error)));
    }
    return text;
}

struct two {
    struct child first;
    struct child second;
    belay_duration body_sleep;
    int body_code;
    bool cancel_group;
    bool cancel_outer;
    int body_on_cancel;
    belay_group *group;
    belay_cancel_scope *outer;
    struct belay_cancel_status status;
};

BELAY_ASYNC(two)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(
        task, BELAY_CANCEL_SCOPE_OPTS(.status = &self->status), &self->outer)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(
                belay_group_spawn(self->group, &child, &self->first, NULL));
            BELAY_CHECK(
                belay_group_spawn(self->group, &child, &self->second, NULL));
            BELAY_TRY(belay_sleep(task, self->body_sleep));
            trace("body %s", trace_result(belay_result(task)));
            if (self->cancel_outer) {
                belay_cancel_scope_cancel(self->outer, NULL);
            }
            if (self->cancel_group) {
                belay_group_cancel(self->group, NULL);
            }
            if (self->body_code < 0) {
                BELAY_FAIL(self->body_code, "body");
            }
            if (belay_result(task)->code < 0) {
                return belay_pass(task);
            }
        }
        trace("behind");
        BELAY_TRY(belay_checkpoint(task));
        trace("then %s", trace_result(belay_result(task)));
    }
    trace("caught %d", self->status.caught);
    BELAY_END;
}

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

Test(group, s47_the_bodys_failure_cancels_the_children)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, two, .first = {.name = "a", .sleep = BELAY_FOREVER},
            .second = {.name = "b", .sleep = BELAY_FOREVER},
            .body_code = BELAY_EIO),
        BELAY_EGROUP));
    expect_trace("enter a; enter b; body ok; exit b/cancel; exit a/cancel");
    cr_expect(eq(str, children_text(&result), (char *)"EIO "));
    belay_error_unref(result.error);
}

Test(group, s48_s49_s50_a_childs_failure_cancels_siblings_and_body)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, two, .first = {.name = "a", .sleep = BELAY_FOREVER},
            .second = {.name = "b",
                .sleep = belay_seconds(1),
                .code = BELAY_EIO},
            .body_sleep = BELAY_FOREVER),
        BELAY_EGROUP));
    expect_trace("enter a; enter b; exit b/EIO; body cancel; exit a/cancel");
    cr_expect(eq(str, children_text(&result), (char *)"EIO "));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(eq(sz, belay_error_failures(result.error), 1));
    belay_error_unref(result.error);
}

Test(group, s49_all_failures_in_the_order_of_their_ends)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, two,
            .first = {.name = "a",
                .sleep = BELAY_FOREVER,
                .on_cancel = BELAY_EPIPE,
                .exit_sleep = belay_seconds(1)},
            .second = {.name = "b",
                .sleep = belay_seconds(1),
                .code = BELAY_EIO},
            .body_sleep = BELAY_FOREVER, .body_code = BELAY_EBUSY),
        BELAY_EGROUP));
    cr_expect(eq(str, children_text(&result), (char *)"EIO EBUSY EPIPE "));
    belay_error_unref(result.error);
}

Test(group, s52_an_error_of_cleanup_is_added)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, two,
            .first = {.name = "a",
                .sleep = BELAY_FOREVER,
                .exit_code = BELAY_EPIPE},
            .second = {.name = "b",
                .sleep = belay_seconds(1),
                .code = BELAY_EIO}),
        BELAY_EGROUP));
    cr_expect(eq(str, children_text(&result), (char *)"EIO EPIPE "));
    belay_error_unref(result.error);
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

Test(group, s54_errors_beat_the_cancel_from_outside)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, two,
            .first = {.name = "a",
                .sleep = BELAY_FOREVER,
                .on_cancel = BELAY_EPIPE},
            .second = {.name = "b", .sleep = BELAY_FOREVER},
            .cancel_outer = true),
        BELAY_EGROUP));
    cr_expect(eq(str, children_text(&result), (char *)"EPIPE "));
    belay_error_unref(result.error);
}

struct unseen {
    belay_group *group;
    belay_cancel_scope *outer;
};

struct nothing {
    int unused;
};

BELAY_ASYNC(nothing)
{
    BELAY_BEGIN;
    trace("child");
    BELAY_END;
}

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

/* ---- spawning ---- */

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

Test(group, s57_s61_children_spawn_while_joining_and_run_later)
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

Test(group, s58_spawning_into_a_finished_group_is_refused)
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

Test(group, s59_a_spawn_into_a_cancelled_open_group_starts_the_child)
{
    cr_expect(eq(int, RUN(into_cancelled, .group = NULL), 0));
    expect_trace("spawned; enter a; exit a/cancel");
}

struct lacking {
    belay_group *group;
    int code;
    belay_task *ref;
    uint32_t reserved;
};

BELAY_ASYNC(lacking)
{
    const struct belay__heap *deadlines = &belay_task_runtime(task)->deadlines;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        test_alloc_fail_after(0);
        for (self->code = 0; self->code == 0;) { /* blocks kept for reuse */
            self->reserved = deadlines->reserved;
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
        cr_expect(eq(u32, deadlines->reserved, self->reserved));
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

Test(group, s60_s136_a_failed_spawn_has_done_nothing)
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

Test(group, s61_first_steps_run_in_spawn_order_on_no_spawners_stack)
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

Test(group, s62_children_inherit_the_groups_scope_not_the_spawners)
{
    cr_expect(eq(int, RUN(inherits, .group = NULL), 0));
    expect_trace("scope left; enter a; exit a");
}

/* ---- nesting ---- */

struct inner_host {
    int code;
    belay_group *group;
};

BELAY_ASYNC(inner_host)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, child, .name = "x",
            .sleep = belay_seconds(1), .code = self->code));
        BELAY_CHECK(belay_spawn(
            self->group, child, .name = "y", .sleep = BELAY_FOREVER));
    }
    BELAY_END;
}

struct outer_host {
    int inner_code;
    int outer_code;
    belay_group *group;
};

BELAY_ASYNC(outer_host)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(
            belay_spawn(self->group, inner_host, .code = self->inner_code));
        BELAY_CHECK(belay_spawn(self->group, child, .name = "z",
            .sleep =
                self->outer_code < 0 ? belay_milliseconds(1) : BELAY_FOREVER,
            .code = self->outer_code));
    }
    BELAY_END;
}

Test(group, s63_an_inner_groups_failure_is_one_of_the_outers)
{
    struct belay_result result;

    cr_expect(eq(int, RUN_RESULT(&result, outer_host, .inner_code = BELAY_EIO),
        BELAY_EGROUP));
    cr_expect(eq(str, children_text(&result), (char *)"EGROUP "));
    belay_error_unref(result.error);
    trace_clear();
    cr_expect(
        eq(int, RUN_RESULT(&result, outer_host, .outer_code = BELAY_EPIPE),
            BELAY_EGROUP));
    cr_expect(eq(str, children_text(&result), (char *)"EPIPE "));
    expect_trace("enter z; enter x; enter y; exit z/EPIPE; exit y/cancel; "
                 "exit x/cancel");
    belay_error_unref(result.error);
}

struct head {
    belay_group *group;
    int *count;
};

BELAY_ASYNC_DECLARE(head);

/* Whenever a head is cut off, two grow. */
BELAY_ASYNC(head)
{
    BELAY_BEGIN;
    ++*self->count;
    BELAY_TRY(belay_checkpoint(task));
    if (!belay_result(task)->cancelled) {
        BELAY_CHECK(belay_spawn(
            self->group, head, .group = self->group, .count = self->count));
        BELAY_CHECK(belay_spawn(
            self->group, head, .group = self->group, .count = self->count));
    }
    BELAY_END;
}

struct hydra {
    belay_group *group;
    int count;
};

BELAY_ASYNC(hydra)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(
            self->group, head, .group = self->group, .count = &self->count));
        while (self->count < 50) {
            BELAY_AWAIT(belay_checkpoint(task));
        }
        BELAY_FAIL(BELAY_EIO, "the sword");
    }
    BELAY_END;
}

Test(group, s64_a_respawning_tree_ends_after_a_failure)
{
    cr_expect(eq(int, RUN(hydra, .group = NULL), BELAY_EGROUP));
}

/* ---- memory, policy, joins ---- */

static uint64_t
memory_of(const belay_task *task)
{
    struct belay_runtime_stats stats = {.size = sizeof(stats)};

    cr_assert(
        zero(int, belay_runtime_get_stats(belay_task_runtime(task), &stats)));
    return stats.memory_bytes;
}

struct churn {
    belay_group *group;
    int i;
    uint64_t after_first;
};

BELAY_ASYNC(churn)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (self->i = 0; self->i < 1000; self->i++) {
            BELAY_CHECK(belay_spawn(
                self->group, spawner, .group = self->group, .left = 0));
            while (belay_group_count(self->group) > 0) {
                BELAY_AWAIT(belay_checkpoint(task));
            }
            trace_clear();
            if (self->i == 0) {
                self->after_first = memory_of(task);
            }
        }
        cr_expect(le(u64, memory_of(task), self->after_first));
    }
    BELAY_END;
}

Test(group, s69_memory_is_that_of_the_running_children)
{
    cr_expect(eq(int, RUN(churn, .group = NULL), 0));
}

static void
on_child(belay_task *task, const struct belay_result *result, void *arg)
{
    cr_expect(eq(int, result->code, belay_task_result(task)->code));
    trace("%s%s", (const char *)arg, trace_result(result));
}

struct supervised {
    belay_group *group;
};

BELAY_ASYNC(supervised)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task,
        BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE, .on_child = on_child,
            .arg = (void *)(uintptr_t) "child "),
        &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, child, .name = "a",
            .sleep = belay_seconds(1), .code = BELAY_EIO));
        BELAY_CHECK(belay_spawn(
            self->group, child, .name = "b", .sleep = belay_seconds(2)));
    }
    trace("end");
    BELAY_END;
}

Test(group, s70_under_supervision_siblings_go_on)
{
    cr_expect(eq(int, RUN(supervised, .group = NULL), 0));
    expect_trace("enter a; enter b; exit a/EIO; child EIO; exit b; child ok; "
                 "end");
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

Test(group, no_more_than_max_running_at_once_and_each_starts)
{
    cr_expect(eq(int, RUN(limited, .max_running = 1), 0));
    expect_trace("enter a; exit a; enter b; exit b; enter c; exit c");
    trace_clear();
    cr_expect(eq(int, RUN(limited, .max_running = 1, .cancel = true), 0));
    /* S15, S59: each has its first step all the same. */
    expect_trace("enter a; exit a/cancel; enter b; exit b/cancel; enter c; "
                 "exit c/cancel");
}

struct many_errors {
    belay_group *group;
    int i;
};

BELAY_ASYNC(many_errors)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.max_errors = 3), &self->group)) {
        for (self->i = 0; self->i < 10; self->i++) {
            BELAY_CHECK(belay_spawn(self->group, child, .name = "x",
                .code = self->i < 5 ? BELAY_EIO : BELAY_EPIPE));
        }
    }
    BELAY_END;
}

Test(group, all_failures_are_counted_the_first_ones_kept)
{
    struct belay_result result;
    char text[2048];

    cr_expect(eq(int, RUN_RESULT(&result, many_errors, .i = 0), BELAY_EGROUP));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(eq(str, children_text(&result), (char *)"EIO EIO EIO "));
    cr_expect(eq(sz, belay_error_failures(result.error), 10));
    (void)belay_result_format(&result, text, sizeof(text));
    cr_expect(ne(ptr, strstr(text, "  - and 7 more: EIO 2, EPIPE 5\n"), NULL),
        "%s", text);
    belay_error_unref(result.error);
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

Test(group, s57_on_child_may_spawn_the_next_one)
{
    cr_expect(eq(int, RUN(respawn, .left = 2), 0));
    expect_trace("child; child; child; end");
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
    sweep(&(const struct program){.function = &outer_host,
        .arguments = &(const struct outer_host){.inner_code = BELAY_EIO}});
    sweep(&(const struct program){.function = &limited,
        .arguments = &(const struct limited){.max_running = 2}});
    sweep(&(const struct program){.function = &many_errors,
        .arguments = &(const struct many_errors){.i = 0}});
}
