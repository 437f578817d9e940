/* test_task.c - tasks, handles and joins: S15, S16, S60, S69, S136. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <signal.h>
#include <string.h>

TestSuite(task, .fini = check_clean, .timeout = 30);

struct worker {
    int code;
    belay_duration sleep;
};

BELAY_ASYNC(worker)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, self->sleep));
    if (self->code < 0) {
        BELAY_FAIL(self->code, "as told");
    }
    BELAY_END;
}

struct handles {
    belay_group *group;
    belay_task *worker;
    uint64_t id;
};

BELAY_ASYNC(handles)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->worker)) {
        BELAY_WITH (belay_group_open(
            task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
            BELAY_CHECK(belay_group_spawn(self->group, &worker,
                &(const struct worker){
                    .code = BELAY_EIO, .sleep = belay_seconds(1)},
                BELAY_SPAWN_OPTS(.task = &self->worker)));
            cr_expect_str_eq(belay_task_name(self->worker), "worker");
            cr_expect(ne(u64, belay_task_id(self->worker), 0));
            cr_expect(
                ne(u64, belay_task_id(self->worker), belay_task_id(task)));
            cr_expect(eq(ptr, belay_task_runtime(self->worker),
                belay_task_runtime(task)));
            cr_expect(
                zero(ptr, (void *)(uintptr_t)belay_task_result(self->worker)));
            BELAY_AWAIT(belay_task_join(task, self->worker));
            trace("joined");
            BELAY_AWAIT(belay_task_join(task, self->worker));
            trace("joined again");
        }
        cr_expect(eq(int, belay_task_result(self->worker)->code, BELAY_EIO));
        if (belay_task_result(self->worker)->error == NULL) {
            BELAY_FAIL(BELAY_ENOMEM, "there was no memory for the error");
        }
        cr_expect_str_eq(
            belay_error_message(belay_task_result(self->worker)->error),
            "as told");
        cr_expect(eq(ptr, belay_task_ref(self->worker), self->worker));
        belay_task_unref(self->worker);
        belay_task_unref(NULL);
    }
    BELAY_END;
}

Test(task, s69_a_handle_outlives_the_task_and_tells_its_result)
{
    cr_expect(eq(int, RUN(handles, .group = NULL), 0));
    expect_trace("joined; joined again");
}

struct joiner {
    belay_task *target;
    belay_cancel_scope **scope;
};

BELAY_ASYNC(joiner)
{
    BELAY_BEGIN;
    BELAY_WITH (keeping(task, NULL, self->scope)) {
        BELAY_TRY(belay_task_join(task, self->target));
        trace("joiner %s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

struct joins {
    belay_group *group;
    belay_task *worker;
    belay_cancel_scope *scope;
};

BELAY_ASYNC(joins)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->worker)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_group_spawn(self->group, &worker,
                &(const struct worker){.sleep = belay_seconds(1)},
                BELAY_SPAWN_OPTS(.task = &self->worker)));
            BELAY_CHECK(belay_spawn(self->group, joiner, .target = self->worker,
                .scope = &self->scope));
            BELAY_CHECK(
                belay_spawn(self->group, joiner, .target = self->worker));
            BELAY_AWAIT(belay_checkpoint(task));
            if (self->scope != NULL) {
                belay_cancel_scope_cancel(self->scope, NULL);
            }
            BELAY_AWAIT(belay_task_join(task, self->worker));
            trace("host");
        }
    }
    BELAY_END;
}

Test(task, s11_a_cancelled_join_leaves_the_other_joiners)
{
    cr_expect(eq(int, RUN(joins, .group = NULL), 0));
    expect_trace("joiner cancel; joiner ok; host");
}

struct ring {
    belay_group *group;
    belay_task *tasks[3];
};

struct link {
    belay_task **target;
    const char *name;
};

BELAY_ASYNC(link)
{
    BELAY_BEGIN;
    if (*self->target == NULL) { /* there was no memory for it */
        BELAY_RETURN(NULL);
    }
    BELAY_TRY(belay_task_join(task, *self->target));
    trace("%s %s", self->name, trace_result(belay_result(task)));
    BELAY_END;
}

/* Each joins the next; the last one would wait for itself. */
BELAY_ASYNC(ring)
{
    static const char *const names[] = {"a", "b", "c"};

    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->tasks[0])) {
        BELAY_WITH (dropping(task, &self->tasks[1])) {
            BELAY_WITH (dropping(task, &self->tasks[2])) {
                BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                    for (size_t i = 0; i < 3; i++) {
                        BELAY_CHECK(belay_group_spawn(self->group, &link,
                            &(const struct link){
                                &self->tasks[(i + 1) % 3], names[i]},
                            BELAY_SPAWN_OPTS(.task = &self->tasks[i])));
                    }
                }
            }
        }
    }
    BELAY_END;
}

Test(task, s71_a_join_that_closes_a_ring_of_joins_is_refused)
{
    cr_expect(eq(int, RUN(ring, .group = NULL), 0));
    expect_trace("c EDEADLK; b ok; a ok");
}

struct lets_go {
    belay_task **other;
};

BELAY_ASYNC(lets_go)
{
    BELAY_BEGIN;
    (void)belay_task_cancel(*self->other, NULL);
    BELAY_TRY(belay_task_join(task, *self->other));
    trace("b %s", trace_result(belay_result(task)));
    BELAY_END;
}

struct no_ring {
    belay_group *group;
    belay_task *tasks[2];
};

BELAY_ASYNC(no_ring)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->tasks[0])) {
        BELAY_WITH (dropping(task, &self->tasks[1])) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_CHECK(belay_group_spawn(self->group, &link,
                    &(const struct link){&self->tasks[1], "a"},
                    BELAY_SPAWN_OPTS(.task = &self->tasks[0])));
                BELAY_CHECK(belay_group_spawn(self->group, &lets_go,
                    &(const struct lets_go){&self->tasks[0]},
                    BELAY_SPAWN_OPTS(.task = &self->tasks[1])));
            }
        }
    }
    BELAY_END;
}

Test(task, s71_a_join_that_was_cancelled_closes_no_ring)
{
    cr_expect(eq(int, RUN(no_ring, .group = NULL), 0));
    expect_trace("a cancel; b ok");
}

struct discarding {
    belay_task *task;
    uint64_t alive;
};

BELAY_ASYNC(discarding)
{
    BELAY_BEGIN;
    self->alive = belay_task_runtime(task)->tasks_alive;
    self->task = belay__task_new(belay_task_runtime(task), &task->base, &worker,
        &(const struct worker){.code = 0}, NULL, NULL);
    BELAY_CHECK(self->task != NULL ? 0 : BELAY_ENOMEM);
    belay__task_discard(self->task);
    cr_expect(eq(u64, belay_task_runtime(task)->tasks_alive, self->alive));
    BELAY_END;
}

Test(task, s60_a_task_never_started_can_be_undone)
{
    cr_expect(eq(int, RUN(discarding, .task = NULL), 0));
    expect_trace("");
}

struct cancels_parked {
    belay_group *group;
    belay_task *worker;
    struct belay_cancel_reason reason;
};

BELAY_ASYNC(cancels_parked)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->worker)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_group_spawn(self->group, &worker,
                &(const struct worker){.sleep = BELAY_FOREVER},
                BELAY_SPAWN_OPTS(.task = &self->worker)));
            BELAY_AWAIT(belay_checkpoint(task));
            test_alloc_fail_after(0);
            (void)belay_task_cancel(self->worker, "because");
            cr_expect(belay_cancel_pending(self->worker, &self->reason));
            cr_expect_str_eq(self->reason.text, "because");
            cr_expect_str_eq(self->reason.task_name, "program");
            BELAY_AWAIT(belay_task_join(task, self->worker));
            cr_expect(zero(sz, test_alloc_failures()));
            test_alloc_never_fail();
            trace("%s", trace_result(belay_task_result(self->worker)));
        }
    }
    BELAY_END;
}

Test(task, s136_cancel_unwind_and_join_never_allocate)
{
    cr_expect(eq(int, RUN(cancels_parked, .group = NULL), 0));
    expect_trace("cancel");
}

struct big {
    char bytes[5000];
    int depth;
};

BELAY_ASYNC_DECLARE(big);

/* Frames of all sizes, through the borders of the arena's chunks. */
BELAY_ASYNC(big)
{
    BELAY_BEGIN;
    memset(self->bytes, self->depth, sizeof(self->bytes));
    if (self->depth > 0) {
        BELAY_AWAIT(BELAY_CALL(big, .depth = self->depth - 1));
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_AWAIT(BELAY_CALL(worker, .sleep = belay_seconds(0)));
    }
    for (size_t i = 0; i < sizeof(self->bytes); i++) {
        cr_assert(self->bytes[i] == (char)self->depth);
    }
    BELAY_END;
}

Test(task, frames_keep_their_bytes_whatever_their_size)
{
    cr_expect(eq(int, RUN(big, .depth = 40), 0));
    SWEEP(big, .depth = 4);
}

/* First frames of which a size in 16-byte steps would not fit in 16 bits. */
struct half {
    char bytes[(size_t)600 * 1024];
};

BELAY_ASYNC(half)
{
    BELAY_BEGIN;
    memset(self->bytes, 1, sizeof(self->bytes));
    BELAY_AWAIT(belay_checkpoint(task));
    trace("%s", belay_task_name(task));
    BELAY_END;
}

struct huge {
    char bytes[(size_t)3 * 1024 * 1024 + 5];
};

BELAY_ASYNC(huge)
{
    BELAY_BEGIN;
    memset(self->bytes, 1, sizeof(self->bytes));
    BELAY_AWAIT(belay_checkpoint(task));
    trace("%s", belay_task_name(task));
    BELAY_END;
}

struct giants {
    belay_group *group;
    uint64_t before;
};

BELAY_ASYNC(giants)
{
    static const struct half half_arguments;
    static const struct huge huge_arguments;

    BELAY_BEGIN;
    self->before = runtime_stats(task).memory_bytes;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_group_spawn(self->group, &half, &half_arguments,
            BELAY_SPAWN_OPTS(.name = "the first")));
        BELAY_CHECK(belay_group_spawn(self->group, &huge, &huge_arguments,
            BELAY_SPAWN_OPTS(.name = "the second")));
        cr_expect(ge(u64, runtime_stats(task).memory_bytes - self->before,
            sizeof(struct half) + sizeof(struct huge)));
    }
    cr_expect(lt(u64, runtime_stats(task).memory_bytes - self->before,
        sizeof(struct half)));
    BELAY_END;
}

Test(task, frames_may_be_large_and_names_stand_behind_them)
{
    cr_expect(eq(int, RUN(giants, .group = NULL), 0));
    expect_trace("the first; the second");
}

struct hinted {
    belay_group *group;
    size_t bytes;
};

static belay_next
hinted_child(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

BELAY_ASYNC(hinted)
{
    static belay_function child = {"child", NULL, 8, hinted_child, 0};

    BELAY_BEGIN;
    for (self->bytes = SIZE_MAX; self->bytes > 0; self->bytes /= 16) {
        child.reserve_bytes = self->bytes;
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_group_spawn(self->group, &child, NULL, NULL));
        }
    }
    BELAY_END;
}

Test(task, a_hint_of_any_size_is_no_limit)
{
    cr_expect(eq(int, RUN(hinted, .group = NULL), 0));
}

Test(task, a_block_s_size_fits_in_16_bits)
{
    size_t rounded;

    for (size_t size = 1; size < BELAY__BLOCK_MAX; size += 1 + size / 7) {
        rounded = belay__block_round(size);
        cr_assert(ge(sz, rounded, size));
        cr_assert(le(sz, rounded - size, size / 100 + 15));
        cr_assert(
            eq(sz, belay__block_size(belay__block_code(rounded)), rounded));
    }
    cr_expect(eq(sz, belay__block_size(belay__block_code(BELAY__BLOCK_MAX)),
        BELAY__BLOCK_MAX));
}

Test(task, s16_whatever_happens_handles_stay_good)
{
    cr_expect(gt(sz,
        sweep_cancels(&(const struct program){.function = &worker,
            .arguments = &(const struct worker){.sleep = belay_seconds(1)}}),
        3));
}
