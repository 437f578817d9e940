/* test_start.c - children that say when they are ready: contract S65-S68. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <string.h>

TestSuite(start, .fini = check_clean, .timeout = 30);

/* A child: waits, says that it is ready, waits, ends; inside a probe. */
struct service {
    const char *name;
    belay_duration before;
    bool on_cancel_too; /* says that it is ready although it is cancelled */
    bool never;         /* … or not at all */
    int code;           /* before it is ready */
    int times;          /* how often it says so; 0: once */
    belay_duration after;
    int code_after;
    int value;
    struct belay_cancel_reason reason;
};

BELAY_ASYNC(service)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = self->name)) {
        BELAY_TRY(belay_sleep(task, self->before));
        if (belay_result(task)->code < 0) {
            trace("%s %s", self->name, trace_result(belay_result(task)));
            if (!self->on_cancel_too) {
                return belay_pass(task);
            }
        }
        if (self->code < 0) {
            BELAY_FAIL(self->code, "as told");
        }
        if (!self->never) {
            trace("%s ready %s", self->name,
                belay_code_name(belay_started(task, &self->value)));
        }
        if (self->times > 1) {
            trace("%s again %s", self->name,
                belay_code_name(belay_started(task, NULL)));
        }
        BELAY_TRY(belay_sleep(task, self->after));
        if (belay_cancel_pending(task, &self->reason)) {
            trace("%s sees %s", self->name, self->reason.text);
            return belay_pass(task);
        }
        if (self->code_after < 0) {
            BELAY_FAIL(self->code_after, "as told");
        }
    }
    BELAY_END;
}

struct starts {
    struct service service;
    belay_duration timeout; /* round the start; 0: none */
    bool cancel_child;      /* … itself, before it is ready */
    uint32_t max_running;
    belay_group *outer;
    belay_group *group;
    void *value;
    belay_task *child;
    struct belay_cancel_status status;
};

static void
note_start(belay_task *task, struct starts *self)
{
    trace("start %s", trace_result(belay_result(task)));
    if (belay_result(task)->code == 0) {
        cr_expect(eq(int, *(int *)self->value, self->service.value));
        cr_expect(eq(ptr, belay_result(task)->value, self->value));
        cr_expect(eq(sz, belay_group_count(self->group), 1));
        cr_assert(ne(ptr, self->child, NULL));
    } else {
        cr_expect(zero(ptr, self->value));
        cr_expect(zero(ptr, self->child));
        cr_expect(zero(sz, belay_group_count(self->group)));
    }
}

static belay_next
start_service(belay_task *task, struct starts *self)
{
    return belay_group_start(task, self->group, &service, &self->service,
        BELAY_SPAWN_OPTS(.name = "the service", .task = &self->child),
        &self->value);
}

BELAY_ASYNC(starts)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->child)) {
        BELAY_WITH (belay_group_open(task,
            BELAY_GROUP_OPTS(.max_running = self->max_running), &self->group)) {
            BELAY_WITH (belay_move_on(task,
                self->timeout.ns > 0 ? self->timeout : BELAY_FOREVER,
                &self->status)) {
                BELAY_TRY(start_service(task, self));
                note_start(task, self);
                if (belay_result(task)->code < 0) {
                    return belay_pass(task);
                }
            }
            trace("scope left");
        }
        trace("end");
    }
    BELAY_END;
}

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

Test(start, s66_a_failure_before_it_is_ready_is_the_callers)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, starts,
            .service = {.name = "s",
                .before = belay_seconds(1),
                .code = BELAY_EIO}),
        BELAY_EGROUP));
    /* … who is the group's body: its failure is the only one. */
    expect_trace("enter s; exit s/EIO; start EIO");
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(eq(sz, belay_error_failures(result.error), 1));
    cr_expect(eq(
        int, belay_error_code(belay_error_child(result.error, 0)), BELAY_EIO));
    cr_expect_str_eq(
        belay_error_task(belay_error_child(result.error, 0)), "the service");
    belay_error_unref(result.error);
}

Test(start, s66_success_without_being_ready_is_eproto)
{
    struct belay_result result;
    char text[1024];

    cr_expect(eq(int,
        RUN_RESULT(&result, starts, .service = {.name = "s", .never = true}),
        BELAY_EGROUP));
    expect_trace("enter s; exit s; start EPROTO");
    (void)belay_result_format(&result, text, sizeof(text));
    cr_expect(
        strstr(text, "task the service ended before it had started") != NULL,
        "%s", text);
    belay_error_unref(result.error);
}

struct not_started {
    int unused;
};

BELAY_ASYNC(not_started)
{
    BELAY_BEGIN;
    trace("started %s", belay_code_name(belay_started(task, NULL)));
    BELAY_END;
}

Test(start, s66_a_second_started_is_estate)
{
    cr_expect(eq(int,
        RUN(starts,
            .service = {.name = "s", .times = 2, .after = belay_seconds(1)}),
        0));
    expect_trace("enter s; s ready OK; s again ESTATE; start ok; scope left; "
                 "exit s; end");
    trace_clear();
    cr_expect(eq(int, RUN(not_started, 0), 0));
    expect_trace("started ESTATE");
}

Test(start, s67_a_cancelled_start_waits_for_the_childs_end)
{
    cr_expect(eq(int,
        RUN(starts, .timeout = belay_seconds(1),
            .service = {.name = "s", .before = BELAY_FOREVER}),
        0));
    expect_trace("enter s; s cancel; exit s/cancel; start cancel; scope left; "
                 "end");
}

Test(start, s67_cancelled_first_started_does_nothing)
{
    cr_expect(eq(int,
        RUN(starts, .timeout = belay_seconds(1),
            .service = {.name = "s",
                .before = BELAY_FOREVER,
                .times = 2,
                .on_cancel_too = true,
                .after = belay_seconds(9)}),
        0));
    expect_trace("enter s; s cancel; s ready OK; s again ESTATE; "
                 "s sees the deadline passed; exit s/cancel; start cancel; "
                 "scope left; end");
    /* Even if it ends well then: nothing was handed over. */
    trace_clear();
    cr_expect(eq(int,
        RUN(starts, .timeout = belay_seconds(1),
            .service = {.name = "s",
                .before = BELAY_FOREVER,
                .never = true,
                .on_cancel_too = true}),
        0));
    expect_trace("enter s; s cancel; s sees the deadline passed; "
                 "exit s/cancel; start cancel; scope left; end");
}

Test(start, s54_s67_an_error_of_the_child_beats_the_cancel)
{
    cr_expect(eq(int,
        RUN(starts, .timeout = belay_seconds(1),
            .service = {.name = "s",
                .before = BELAY_FOREVER,
                .on_cancel_too = true,
                .code = BELAY_EIO}),
        BELAY_EGROUP));
    expect_trace("enter s; s cancel; exit s/EIO; start EIO");
}

struct alone {
    belay_group *group;
    belay_task *target;
};

struct victim {
    belay_task **ret;
};

BELAY_ASYNC(victim)
{
    BELAY_BEGIN;
    *self->ret = task;
    (void)belay_task_cancel(task, "itself");
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_END;
}

BELAY_ASYNC(alone)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_TRY(
            belay_start(task, self->group, NULL, victim, .ret = &self->target));
        trace("start %s", trace_result(belay_result(task)));
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

Test(start, s21_s66_a_child_cancelled_alone_is_an_error_no_cancel)
{
    cr_expect(eq(int, RUN(alone, .group = NULL), 0));
    expect_trace("start ECANCELED");
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

struct late {
    belay_task *target;
    belay_group *group;
    void *value;
};

BELAY_ASYNC(late)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_task_join(task, self->target));
    BELAY_TRY(
        belay_start(task, self->group, &self->value, not_started, .unused = 0));
    trace("late %s", trace_result(belay_result(task)));
    BELAY_TRY(belay_group_start(task, self->group, &not_started,
        &(const struct not_started){0},
        &(const struct belay_spawn_opts){.size = 1}, NULL));
    trace("odd %s", trace_result(belay_result(task)));
    BELAY_END;
}

/* `late` wakes when the group has ended, before its host goes on. */
struct last_child {
    belay_group *host;
    belay_group *group;
    belay_task *child;
};

BELAY_ASYNC(last_child)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->child)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->host)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_CHECK(belay_group_spawn(self->group, &service,
                    &(const struct service){
                        .name = "s", .never = true, .after = belay_seconds(1)},
                    BELAY_SPAWN_OPTS(.task = &self->child)));
                BELAY_CHECK(belay_spawn(self->host, late, .target = self->child,
                    .group = self->group));
            }
        }
    }
    BELAY_END;
}

Test(start, s58_starting_in_a_finished_group_is_refused)
{
    cr_expect(eq(int, RUN(last_child, .group = NULL), 0));
    expect_trace("enter s; exit s; late ESTATE; odd EINVAL");
}

struct in_cancelled {
    belay_group *group;
    belay_cancel_scope *scope;
};

BELAY_ASYNC(in_cancelled)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
            belay_cancel_scope_cancel(self->scope, NULL);
            BELAY_TRY(
                belay_start(task, self->group, NULL, service, .name = "s"));
            trace("start %s", trace_result(belay_result(task)));
            cr_expect(zero(sz, belay_group_count(self->group)));
        }
    }
    BELAY_END;
}

Test(start, s12_in_a_cancelled_scope_nothing_is_started)
{
    cr_expect(eq(int, RUN(in_cancelled, .group = NULL), 0));
    expect_trace("start cancel");
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
    sweep(&(const struct program){.function = &handed,
        .arguments = &(const struct handed){.group = NULL}});
    sweep(&(const struct program){.function = &into_cancelled,
        .arguments = &(const struct into_cancelled){.group = NULL}});
    sweep(&(const struct program){.function = &pending,
        .arguments = &(const struct pending){.group = NULL}});
    sweep(&(const struct program){.function = &last_start,
        .arguments = &(const struct last_start){.group = NULL}});
    sweep(&(const struct program){.function = &cleans,
        .arguments = &(const struct cleans){.group = NULL}});
    sweep(&(const struct program){
        .function = &full, .arguments = &(const struct full){.group = NULL}});
    sweep(&(const struct program){.function = &moves_tree,
        .arguments = &(const struct moves_tree){.group = NULL}});
}
