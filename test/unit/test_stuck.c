/* test_stuck.c - exits that ignore the end of their grace: S103, S137. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <string.h>

TestSuite(stuck, .fini = check_clean, .timeout = 30);

static void
on_stuck(belay_runtime *runtime, const struct belay_stuck *stuck, void *arg)
{
    trace("%s %s/%s/%s", (const char *)arg, stuck->task_name, stuck->exit_name,
        stuck->waiting_for);
    cr_expect(ne(u64, stuck->task_id, 0));
    cr_expect(ne(ptr, runtime, NULL));
}

/* Sleeps that no cancel cuts short. */
struct deaf {
    const char *name;
    belay_duration each;
    int times;
    bool suppress;
};

static belay_next
deaf_enter(belay_task *task, void *arg)
{
    trace("enter %s", ((const struct deaf *)arg)->name);
    return belay_return(task, arg);
}

struct deaf_sleep {
    belay_duration span;
};

BELAY_ASYNC(deaf_sleep)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_shield(task, BELAY_FOREVER)) {
        BELAY_AWAIT(belay_sleep(task, self->span));
    }
    BELAY_END;
}

static belay_next
deaf_exit(belay_task *task, void *arg)
{
    struct deaf *self = arg;

    if (self->times-- > 0) {
        return belay_then(
            task, deaf_exit, BELAY_CALL(deaf_sleep, .span = self->each));
    }
    trace("exit %s", self->name);
    return self->suppress ? belay_suppress(task) : belay_return(task, NULL);
}

static const belay_manager deaf = {
    {"deaf", __FILE__, sizeof(struct deaf), deaf_enter, 0}, deaf_exit};

struct cut {
    struct deaf deaf;
    belay_duration exit_sleep; /* of an exit that is not deaf */
    belay_duration timeout;
};

BELAY_ASYNC(cut)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(task, self->timeout, NULL)) {
        BELAY_WITH (BELAY_ENTER(
            probe, .name = "good", .exit_sleep = self->exit_sleep)) {
            BELAY_WITH (belay_enter(task, &deaf, &self->deaf)) {
                BELAY_AWAIT(belay_sleep(task, belay_seconds(2)));
            }
        }
    }
    trace("behind");
    BELAY_END;
}

/* With the default grace of 5 s; with the hook, or without. */
static int
run_with(const belay_function *function, const void *arguments,
    belay_stuck_fn *stuck, belay_duration after)
{
    belay_clock *clock = belay_clock_new(true);
    int code;

    cr_assert(ne(ptr, clock, NULL));
    code = belay_run(function, arguments,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock,
            .stuck = stuck, .stuck_arg = (void *)(uintptr_t) "stuck",
            .stuck_after = after),
        NULL);
    belay_clock_free(clock);
    return code;
}

#define STUCK(name, ...)                                           \
    run_with(&(name), &(const struct name){__VA_ARGS__}, on_stuck, \
        belay_nanoseconds(0))

Test(stuck, s103_an_exit_that_ignores_the_end_is_named_once)
{
    cr_expect(zero(int,
        STUCK(cut, .timeout = belay_seconds(1),
            .deaf = {.name = "a", .each = belay_seconds(4), .times = 10})));
    /* Due 1 s + 5 s of grace + 1 s: once, and nothing is skipped. */
    expect_trace("enter good; enter a; stuck cut/deaf/sleep; exit a; "
                 "exit good/cancel; behind");
}

/* A failure of its exit is suppressed in the exit, the block's is not. */
struct tidy {
    struct deaf deaf;
};

BELAY_MANAGER(tidy)
{
    BELAY_BEGIN;
    BELAY_TRY_YIELD(NULL);
    BELAY_WITH (belay_enter(task, &deaf, &self->deaf)) {
        BELAY_FAIL(BELAY_EIO, "tidying");
    }
    BELAY_END;
}

struct stubborn {
    struct deaf deaf;
};

BELAY_ASYNC(stubborn)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(task, belay_seconds(1), NULL)) {
        BELAY_WITH (BELAY_ENTER(tidy, .deaf = self->deaf)) {
            BELAY_TRY(belay_sleep(task, belay_seconds(2)));
            BELAY_FAIL(BELAY_EPIPE, "body");
        }
    }
    BELAY_END;
}

Test(stuck, s103_being_named_changes_no_outcome)
{
    cr_expect(eq(int,
        STUCK(stubborn, .deaf = {.name = "a",
                            .each = belay_seconds(4),
                            .times = 10,
                            .suppress = true}),
        BELAY_EPIPE));
    expect_trace("enter a; stuck stubborn/deaf/sleep; exit a");
}

Test(stuck, s103_one_that_ends_in_time_is_not)
{
    cr_expect(zero(
        int, STUCK(cut, .timeout = belay_seconds(1),
                 .deaf = {.name = "a", .each = belay_seconds(2), .times = 2})));
    /* An exit whose checkpoints are cut off ends by itself. */
    cr_expect(
        zero(int, STUCK(cut, .timeout = belay_seconds(1),
                      .exit_sleep = belay_seconds(60), .deaf = {.name = "b"})));
    /* Nothing was cancelled. */
    cr_expect(zero(int,
        STUCK(cut, .timeout = BELAY_FOREVER,
            .deaf = {.name = "c", .each = belay_seconds(60), .times = 3})));
    expect_trace("enter good; enter a; exit a; exit good/cancel; behind; "
                 "enter good; enter b; exit b; exit good/cancel; cut good; "
                 "behind; enter good; enter c; exit c; exit good; behind");
}

Test(stuck, s103_when_may_be_chosen_and_none_is_told_without_a_hook)
{
    const struct cut cut_short = {.timeout = belay_seconds(1),
        .deaf = {.name = "a", .each = belay_seconds(3), .times = 4}};

    cr_expect(
        zero(int, run_with(&cut, &cut_short, NULL, belay_nanoseconds(0))));
    cr_expect(
        zero(int, run_with(&cut, &cut_short, on_stuck, belay_seconds(8))));
    expect_trace("enter good; enter a; exit a; exit good/cancel; behind; "
                 "enter good; enter a; exit a; exit good/cancel; behind");
}

/* Scopes in scopes, each with a grace that ends: still named once. */
struct nested {
    struct cut inner;
};

BELAY_ASYNC(nested)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(task, belay_seconds(1), NULL)) {
        BELAY_WITH (belay_move_on(task, belay_seconds(1), NULL)) {
            BELAY_AWAIT(belay_call(task, &cut, &self->inner));
        }
    }
    BELAY_END;
}

Test(stuck, s103_once_also_if_several_scopes_are_over)
{
    cr_expect(zero(int, STUCK(nested, .inner = {.timeout = belay_seconds(1),
                                          .deaf = {.name = "a",
                                              .each = belay_seconds(60),
                                              .times = 1}})));
    expect_trace("enter good; enter a; stuck nested/deaf/sleep; exit a; "
                 "exit good/cancel");
}

/* The exit of a group waits for its child: the child is named. */
struct child {
    struct deaf deaf;
};

BELAY_ASYNC(child)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_enter(task, &deaf, &self->deaf)) {
        BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
    }
    BELAY_END;
}

struct host {
    belay_duration timeout;
    belay_group *group;
};

BELAY_ASYNC(host)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(task, self->timeout, NULL)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, child,
                .deaf = {.name = "a", .each = belay_seconds(60), .times = 1}));
        }
    }
    trace("end");
    BELAY_END;
}

Test(stuck, s103_those_who_wait_for_tasks_are_not_named_but_these)
{
    cr_expect(zero(int, STUCK(host, .timeout = belay_seconds(1))));
    expect_trace("enter a; stuck child/deaf/sleep; exit a; end");
}

/* ---- the close of a runtime ---- */

struct ignorant {
    int times;
};

/* Its body ignores the cancel. */
BELAY_ASYNC(ignorant)
{
    BELAY_BEGIN;
    while (self->times-- > 0) {
        BELAY_TRY(BELAY_CALL(deaf_sleep, .span = belay_seconds(10)));
    }
    trace("ignorant ends");
    BELAY_END;
}

static void
on_closed(void *arg)
{
    *(bool *)arg = true;
}

Test(stuck, s137_a_close_names_every_task_that_is_still_alive)
{
    belay_clock *clock = belay_clock_new(true);
    belay_runtime *runtime = NULL;
    bool closed = false;
    uv_loop_t loop;

    cr_assert(ne(ptr, clock, NULL));
    cr_assert(zero(int, uv_loop_init(&loop)));
    cr_assert(zero(int,
        belay_runtime_attach(&loop,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock,
                .stuck = on_stuck, .stuck_arg = (void *)(uintptr_t) "alive"),
            &runtime)));
    cr_assert(
        zero(int, belay_runtime_spawn(runtime, &ignorant,
                      &(const struct ignorant){.times = 3}, NULL, NULL, NULL)));
    cr_assert(zero(int,
        belay_runtime_spawn(runtime, &host,
            &(const struct host){.timeout = BELAY_FOREVER}, NULL, NULL, NULL)));
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    belay_runtime_close(runtime, on_closed, &closed);
    while (!closed) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    expect_trace("enter a; alive host/group/group join; "
                 "alive child/deaf/sleep; alive ignorant//sleep; "
                 "ignorant ends; exit a");
    cr_expect(zero(int, uv_loop_close(&loop)));
    belay_clock_free(clock);
}

static void
advance(uv_loop_t *loop, belay_clock *clock, int seconds)
{
    belay_clock_advance(clock, belay_seconds(seconds));
    for (int i = 0; i < 3; i++) {
        (void)uv_run(loop, UV_RUN_NOWAIT);
    }
}

Test(stuck, s103_a_late_loop_leaves_exits_their_time_to_end)
{
    belay_clock *clock = belay_clock_new(false);
    belay_runtime *runtime = NULL;
    bool closed = false;
    uv_loop_t loop;

    cr_assert(ne(ptr, clock, NULL));
    cr_assert(zero(int, uv_loop_init(&loop)));
    cr_assert(zero(int,
        belay_runtime_attach(&loop,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock,
                .stuck = on_stuck, .stuck_arg = (void *)(uintptr_t) "late"),
            &runtime)));
    cr_assert(zero(int,
        belay_runtime_spawn(runtime, &cut,
            &(const struct cut){.timeout = belay_seconds(1),
                .deaf = {.name = "a", .each = belay_seconds(999), .times = 1}},
            NULL, NULL, NULL)));
    advance(&loop, clock, 0);
    advance(&loop, clock, 1);
    advance(&loop, clock, 100); /* 5 s of grace, then 1 s, have long passed */
    expect_trace("enter good; enter a");
    advance(&loop, clock, 1);
    expect_trace("enter good; enter a; late cut/deaf/sleep");
    advance(&loop, clock, 999);
    belay_runtime_close(runtime, on_closed, &closed);
    while (!closed) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    cr_expect(zero(int, uv_loop_close(&loop)));
    belay_clock_free(clock);
}

Test(stuck, s103_s136_whatever_happens_a_report_needs_no_memory)
{
    const struct host arguments = {.timeout = belay_seconds(1)};
    const size_t blocks = test_alloc_live_blocks();

    for (size_t k = 0;; k++) {
        trace_clear();
        test_alloc_fail_at(k);
        (void)run_with(&host, &arguments, on_stuck, belay_nanoseconds(0));
        if (test_alloc_failures() == 0) {
            break;
        }
        cr_expect(eq(sz, test_alloc_live_blocks(), blocks));
    }
    test_alloc_never_fail();
    expect_trace("enter a; stuck child/deaf/sleep; exit a; end");
}
