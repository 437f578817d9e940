/* test_gpu_lease.c - who gets a slot, and when: G1-G3, G6-G10, G16-G18, G24,
 * G26, G32, G33.
 */
#include "gpu/internal.h"
#include "test/support/gpu_crowd.h"

TestSuite(gpu_lease, .fini = check_clean, .timeout = 60);

#define ONE_SLOT .opts = {.devices = "sim:mem=1G"}

/* ---- one after the other ---- */

Test(gpu_lease, g1_a_newcomer_does_not_barge)
{
    static const struct gpu_job jobs[] = {
        {.name = "holder", .hold_ms = 10},
        {.name = "a", .at_ms = 1, .hold_ms = 10},
        {.name = "b", .at_ms = 10, .hold_ms = 1, .no_wait = true},
    };

    /* b asks in the turn in which the holder leaves: before it, or after. */
    cr_expect(zero(int, CROWD(jobs, ONE_SLOT)));
    expect_trace("holder+0; holder-; b!GPU_EAGAIN; a+0; a-");
}

struct barge {
    belay_gpu_pool *pool;
    belay_group *group;
    belay_gpu_lease first;
    belay_gpu_lease second;
};

struct waiter {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
};

BELAY_ASYNC(waiter)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
        trace("waiter");
    }
    BELAY_END;
}

BELAY_ASYNC(barge)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(
                belay_gpu_try_acquire(task, self->pool, NULL, &self->first));
            BELAY_CHECK(belay_spawn(self->group, waiter, .pool = self->pool));
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_CHECK(belay_gpu_release(self->first));
            cr_expect(eq(int,
                belay_gpu_try_acquire(task, self->pool, NULL, &self->second),
                BELAY_GPU_EAGAIN));
            trace("released");
        }
    }
    BELAY_END;
}

Test(gpu_lease, g1_a_try_in_the_turn_of_the_release_fails)
{
    cr_expect(zero(int, RUN(barge, .pool = NULL)));
    expect_trace("released; waiter");
}

Test(gpu_lease, g2_the_slot_is_the_waiters_before_it_runs)
{
    static const struct gpu_job jobs[] = {
        {.name = "a", .hold_ms = 5},
        {.name = "b", .hold_ms = 5},
        {.name = "c", .hold_ms = 5},
    };

    cr_expect(zero(int, CROWD(jobs, ONE_SLOT)));
    expect_trace("a+0; a-; b+0; b-; c+0; c-");
}

struct herd {
    uint32_t count;
    belay_gpu_pool *pool;
    belay_group *group;
    belay_gpu_lease lease;
    struct belay_runtime_stats before;
    struct belay_runtime_stats after;
};

BELAY_ASYNC(herd)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(
                belay_gpu_try_acquire(task, self->pool, NULL, &self->lease));
            for (uint32_t i = 0; i < self->count; i++) {
                BELAY_CHECK(belay_group_spawn(self->group, &waiter,
                    &(const struct waiter){self->pool, {NULL, 0}}, NULL));
            }
            BELAY_AWAIT(belay_checkpoint(task));
            cr_expect(eq(u64, self->pool->waiting, self->count));
            BELAY_CHECK(belay_gpu_release(self->lease));
            cr_expect(eq(u64, self->pool->waiting, self->count - 1));
            cr_expect(eq(u64, self->pool->grants, 2));
            (void)belay_task_cancel(task, "enough");
        }
    }
    BELAY_END;
}

Test(gpu_lease, g2_one_release_wakes_one_of_a_hundred_thousand)
{
    struct belay_result result;

    (void)RUN_RESULT(&result, herd, .count = 100000);
    cr_expect(result.cancelled);
    expect_trace("waiter; waiter"); /* its block has no checkpoint */
}

Test(gpu_lease, g3_the_order_is_that_of_arrival_whoever_leaves_in_between)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 20},
        {.name = "a", .at_ms = 1, .hold_ms = 1},
        {.name = "b", .at_ms = 2, .hold_ms = 1, .cancel_ms = 10},
        {.name = "c", .at_ms = 3, .hold_ms = 1},
        {.name = "d", .at_ms = 4, .hold_ms = 1, .cancel_ms = 11},
        {.name = "e", .at_ms = 5, .hold_ms = 1},
    };

    cr_expect(zero(int, CROWD(jobs, ONE_SLOT)));
    expect_trace("h+0; b!cancel; d!cancel; h-; a+0; a-; c+0; c-; e+0; e-");
}

Test(gpu_lease, g6_what_can_never_be_had_fails_at_once)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 5},
        {.name = "bytes", .at_ms = 1, .bytes = UINT64_C(3) << 30},
        {.name = "devices", .at_ms = 2, .devices = 3},
        {.name = "both", .at_ms = 3, .devices = 2, .bytes = 1, .hold_ms = 1},
    };

    cr_expect(
        zero(int, CROWD(jobs, .opts = {.devices = "sim:devices=2,mem=1G"})));
    expect_trace("h+0; bytes!GPU_EUNSAT; devices!GPU_EUNSAT; h-; both+0,1; "
                 "both-");
}

Test(gpu_lease, g7_the_place_is_the_tightest_then_the_last_then_the_first)
{
    static const struct gpu_job jobs[] = {
        {.name = "a", .hold_ms = 50, .bytes = 600},
        {.name = "b", .at_ms = 1, .hold_ms = 3, .bytes = 100},
        {.name = "c", .at_ms = 2, .hold_ms = 50, .bytes = 500},
        {.name = "d", .at_ms = 5, .hold_ms = 1, .bytes = 100},
        {.name = "e", .at_ms = 10, .hold_ms = 1, .bytes = 100, .priority = 3},
    };

    /* b beside a, where less is free; c has no room there; d where b was, and
     * so e, of another priority. */
    cr_expect(zero(int,
        CROWD(jobs, .opts = {.devices = "sim:devices=2,slots=3,mem=1000"})));
    expect_trace("a+0; b+1; c+3; b-; d+1; d-; e+1; e-; a-; c-");
}

Test(gpu_lease, g7_the_slot_that_a_priority_had_last_is_taken_again)
{
    static const struct gpu_job jobs[] = {
        {.name = "a", .hold_ms = 5},
        {.name = "b", .at_ms = 1, .hold_ms = 2},
        {.name = "c", .at_ms = 10, .hold_ms = 1},
        {.name = "d", .at_ms = 20, .hold_ms = 1, .priority = 1},
    };

    cr_expect(zero(int, CROWD(jobs, .opts = {.devices = "sim:slots=2"})));
    expect_trace("a+0; b+1; b-; a-; c+1; c-; d+0; d-");
}

struct tries {
    uint32_t count;
    belay_gpu_pool *pool;
    belay_gpu_lease held;
    belay_gpu_lease lease;
    struct belay_gpu_pool_stats before;
    struct belay_gpu_pool_stats after;
};

BELAY_ASYNC(tries)
{
    uint64_t calls;

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        BELAY_CHECK(belay_gpu_try_acquire(task, self->pool, NULL, &self->held));
        self->before.size = sizeof(self->before);
        self->after.size = sizeof(self->after);
        BELAY_CHECK(belay_gpu_pool_get_stats(self->pool, &self->before));
        calls = test_alloc_calls();
        for (uint32_t i = 0; i < self->count; i++) {
            if (belay_gpu_try_acquire(task, self->pool, NULL, &self->lease)
                != BELAY_GPU_EAGAIN) {
                BELAY_FAIL(BELAY_EPROTO, NULL);
            }
        }
        cr_expect(eq(u64, test_alloc_calls(), calls));
        BELAY_CHECK(belay_gpu_pool_get_stats(self->pool, &self->after));
        cr_expect(eq(u64, self->after.tries_failed, self->count));
        self->after.tries_failed = 0;
        self->after.events = self->before.events; /* one each */
        cr_expect(zero(
            int, memcmp(&self->before, &self->after, sizeof(self->before))));
        cr_expect(eq(ptr, self->lease.slot, NULL));
        BELAY_CHECK(belay_gpu_release(self->held));
    }
    BELAY_END;
}

Test(gpu_lease, g8_a_try_that_fails_leaves_nothing)
{
    cr_expect(zero(int, RUN(tries, .count = 1000000)));
}

/* ---- cancels ---- */

Test(gpu_lease, g9_who_leaves_lets_those_behind_it_in)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 50, .bytes = 600},
        {.name = "big", .at_ms = 1, .bytes = 1000, .cancel_ms = 10},
        {.name = "s", .at_ms = 2, .hold_ms = 1, .bytes = 100},
        {.name = "t", .at_ms = 3, .hold_ms = 1, .bytes = 100},
    };

    /* First come, first served: big is in the way until it is cancelled. */
    cr_expect(zero(int, CROWD(jobs, .opts = {.devices = "sim:slots=4,mem=1000",
                                        .policy = BELAY_GPU_FIFO})));
    expect_trace("h+0; big!cancel; s+1; t+2; s-; t-; h-");
}

Test(gpu_lease, g9_the_holder_of_a_reservation_leaves)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 50, .bytes = 600},
        {.name = "big", .at_ms = 1, .bytes = 1000, .cancel_ms = 20},
        {.name = "p", .at_ms = 2, .hold_ms = 1, .bytes = 10},
        {.name = "q", .at_ms = 4, .hold_ms = 1, .bytes = 10},
        {.name = "r", .at_ms = 6, .hold_ms = 1, .bytes = 10},
    };

    cr_expect(zero(int, CROWD(jobs, .opts = {.devices = "sim:slots=4,mem=1000",
                                        .overtakes = 2})));
    expect_trace("h+0; p+1; p-; q+1; q-; big!cancel; r+1; r-; h-");
}

/* Every interleaving of {release, cancel, timeout, close} over three tasks. */
struct race {
    const char *order; /* of the things that happen in one turn */
    belay_gpu_pool *pool;
    belay_group *group;
    belay_gpu_lease held;
    belay_task *waiters[2];
    belay_cancel_scope *scope;
    uint32_t granted;
    uint32_t ended;
};

struct racer {
    struct race *race;
    uint32_t index;
    belay_gpu_lease lease;
};

BELAY_ASYNC(racer)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(
        task, NULL, self->index == 0 ? &self->race->scope : NULL)) {
        BELAY_WITH (
            belay_gpu_lease_open(task, self->race->pool, NULL, &self->lease)) {
            self->race->granted |= 1U << self->index;
            cr_expect(ne(ptr, self->lease.slot, NULL));
            BELAY_AWAIT(belay_checkpoint(task));
        }
    }
    self->race->ended |= 1U << self->index;
    BELAY_END;
}

static void
happen(struct race *race, char what)
{
    switch (what) {
    case 'r':
        cr_expect(zero(int, belay_gpu_release(race->held)));
        break;
    case 'c':
        (void)belay_task_cancel(race->waiters[0], "by the test");
        break;
    case 'd':
        (void)belay_task_cancel(race->waiters[1], "by the test");
        break;
    case 't':
        (void)belay_cancel_scope_move(race->scope, (belay_time){1});
        break;
    default:
        break;
    }
}

BELAY_ASYNC(race)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_CHECK(belay_gpu_try_acquire(task, self->pool, NULL, &self->held));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (uint32_t i = 0; i < 2; i++) {
                BELAY_CHECK(belay_group_spawn(self->group, &racer,
                    &(const struct racer){.race = self, .index = i},
                    BELAY_SPAWN_OPTS(.task = &self->waiters[i])));
            }
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_AWAIT(belay_checkpoint(task));
            for (const char *at = self->order; *at != '\0'; at++) {
                happen(self, *at);
            }
            if (strchr(self->order, 'r') == NULL) {
                BELAY_AWAIT(belay_checkpoint(task));
                happen(self, 'r');
            }
        }
        belay_task_unref(self->waiters[0]);
        belay_task_unref(self->waiters[1]);
        cr_expect(eq(u32, self->pool->slots_free, 1));
        cr_expect(zero(u64, self->pool->leases));
        trace("%s:%u", self->order, self->granted);
    }
    BELAY_END;
}

Test(gpu_lease, g10_grant_or_cancel_never_both_never_neither)
{
    /* A cancel is a mark that the loop acts upon in its next pass; a release
     * grants at once. So in one turn the grant is always first, and the cancel
     * comes at the next checkpoint: 1 and 2 are the bits of those granted.
     */
    static const char *const orders[] = {"r", "c", "rc", "cr", "rd", "dr",
        "rcd", "rdc", "crd", "cdr", "drc", "dcr", "t", "rt", "tr", "rtd", "rdt",
        "trd", "tdr", "drt", "dtr", "ct", "tc", "rct", "rtc", "ctr", "tcr",
        "crt", "trc"};

    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        cr_expect(zero(int, RUN(race, .order = orders[i])), "%s", orders[i]);
    }
    expect_trace("r:3; c:2; rc:3; cr:3; rd:1; dr:1; rcd:3; rdc:3; crd:3; "
                 "cdr:3; drc:1; dcr:1; t:3; rt:3; tr:3; rtd:1; rdt:1; trd:1; "
                 "tdr:1; drt:1; dtr:1; ct:2; tc:2; rct:3; rtc:3; ctr:3; "
                 "tcr:3; crt:3; trc:3");
}

/* ---- time ---- */

Test(gpu_lease, g16_the_deadline_is_that_of_the_scope_around)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 20},
        {.name = "late", .at_ms = 1, .hold_ms = 1, .timeout_ms = 10},
        {.name = "early", .at_ms = 2, .hold_ms = 1, .timeout_ms = 30},
    };

    cr_expect(zero(int, CROWD(jobs, ONE_SLOT)));
    expect_trace("h+0; late!ETIMEDOUT; h-; early+0; early-");
}

Test(gpu_lease, g17_a_lease_that_is_held_too_long_ends_its_block)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 100, .max_hold_ms = 10},
        {.name = "a", .at_ms = 1, .hold_ms = 5, .max_hold_ms = 10},
    };

    cr_expect(zero(int, CROWD(jobs, ONE_SLOT)));
    expect_trace("h+0; h!GPU_EHOLD; a+0; a-");
}

/* ---- left behind ---- */

struct forget {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
};

BELAY_ASYNC(forget)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_gpu_try_acquire(task, self->pool, NULL, &self->lease));
    trace("%d", __LINE__ - 1);
    BELAY_END;
}

struct leak {
    belay_gpu_pool *pool;
    belay_group *group;
    uint64_t leaked;
};

BELAY_ASYNC(leak)
{
    const char *file;
    int line = 0;

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, forget, .pool = self->pool));
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_CHECK(belay_spawn(self->group, waiter, .pool = self->pool));
        }
        BELAY_AWAIT(belay_gpu_pool_close(task, self->pool, &self->leaked));
        file = belay_gpu_leak_site(self->pool, 0, &line);
        cr_assert(ne(ptr, (void *)(uintptr_t)file, NULL));
        cr_expect(ne(ptr, strstr(file, "test_gpu_lease.c"), NULL));
        trace("%d %d", (int)self->leaked, line);
        cr_expect(eq(ptr,
            (void *)(uintptr_t)belay_gpu_leak_site(self->pool, 1, &line),
            NULL));
    }
    BELAY_END;
}

Test(gpu_lease, g18_a_lease_that_is_left_behind_is_taken_back_and_named)
{
    char wanted[64];
    int line;

    cr_expect(zero(int, RUN(leak, .pool = NULL)));
    cr_assert(eq(int, sscanf(trace_text(), "%d", &line), 1));
    (void)snprintf(wanted, sizeof(wanted), "%d; waiter; 1 %d", line, line);
    expect_trace(wanted);
}

/* ---- deadlocks ---- */

/* A task that holds a lease, and another wish at the depth that is asked for:
 * in the block itself, in a called function, in a child.
 */
struct wish {
    belay_gpu_pool *pool;
    bool nested;
    belay_gpu_lease lease;
};

BELAY_ASYNC(wish)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool,
        BELAY_GPU_LEASE_OPTS(.nested = self->nested), &self->lease)) {
        trace("inner");
    }
    BELAY_END;
}

struct nested {
    bool allow;
    bool in_child;
    bool beside; /* the child's group is around the lease */
    uint32_t slots;
    belay_gpu_pool *pool;
    belay_gpu_lease outer;
    belay_group *group;
};

static belay_next
nested_body(belay_task *task, struct nested *self, belay_group *around)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool, NULL, &self->outer)) {
        if (self->beside) {
            BELAY_CHECK(belay_spawn(around, wish, .pool = self->pool));
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_AWAIT(belay_checkpoint(task));
        } else if (self->in_child) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_CHECK(belay_spawn(self->group, wish, .pool = self->pool,
                    .nested = self->allow));
            }
        } else {
            BELAY_AWAIT(
                BELAY_CALL(wish, .pool = self->pool, .nested = self->allow));
        }
        trace("outer");
    }
    BELAY_END;
}

static belay_next
holder_step(belay_task *task, void *arg)
{
    struct nested *self = arg;

    return nested_body(task, self, self->group);
}

BELAY_ASYNC(nested)
{
    static const belay_function holder = {
        "holder", NULL, sizeof(struct nested), holder_step, 0};

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "sim", .slots = self->slots),
        &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_AWAIT(belay_call(task, &holder, self));
        }
    }
    BELAY_END;
}

static int
first_failure(const struct belay_result *result)
{
    const belay_error *error = result->error;
    const belay_error *child;

    while (error != NULL && (child = belay_error_child(error, 0)) != NULL) {
        error = child;
    }
    return error != NULL ? belay_error_code(error) : result->code;
}

static int
nested_code(const struct nested *arguments)
{
    const struct program program = {
        .function = &nested, .arguments = arguments};
    struct belay_result result;
    int code;

    trace_clear();
    (void)program_run(&program, &result);
    code = first_failure(&result);
    belay_error_unref(result.error);
    return code;
}

Test(gpu_lease, g24_to_wait_for_a_lease_of_ones_own_is_refused)
{
    cr_expect(eq(int, nested_code(&(const struct nested){.slots = 1}),
        BELAY_GPU_EDEADLK));
    cr_expect(
        eq(int, nested_code(&(const struct nested){.slots = 1, .allow = true}),
            BELAY_GPU_EDEADLK));
    cr_expect(eq(int,
        nested_code(&(const struct nested){.slots = 1, .in_child = true}),
        BELAY_GPU_EDEADLK));
    expect_trace("");
}

Test(gpu_lease, g24_what_is_free_now_may_be_had_by_option)
{
    cr_expect(eq(int, nested_code(&(const struct nested){.slots = 2}),
        BELAY_GPU_EDEADLK));
    cr_expect(zero(
        int, nested_code(&(const struct nested){.slots = 2, .allow = true})));
    expect_trace("inner; outer");
    cr_expect(zero(int, nested_code(&(const struct nested){
                            .slots = 2, .allow = true, .in_child = true})));
    expect_trace("inner; outer");
}

Test(gpu_lease, g24_a_child_of_a_group_around_the_lease_may_wait)
{
    cr_expect(zero(
        int, nested_code(&(const struct nested){.slots = 1, .beside = true})));
    expect_trace("outer; inner");
}

/* ---- handles ---- */

struct stale {
    belay_gpu_pool *pool;
    belay_gpu_lease old;
    belay_gpu_lease now;
    belay_gpu_buffer buffer;
    belay_gpu_buffer other;
    belay_gpu_kernel *kernel;
    char host[16];
};

BELAY_ASYNC(stale)
{
    struct belay_gpu_slot_stats stats = {.size = sizeof(stats)};
    void *staged;

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_WITH (belay_gpu_lease_open(task, self->pool, NULL, &self->old)) {
            BELAY_AWAIT(belay_gpu_alloc(task, self->old, 16, &self->buffer));
        }
        BELAY_WITH (belay_gpu_lease_open(task, self->pool, NULL, &self->now)) {
            BELAY_AWAIT(belay_gpu_alloc(task, self->now, 16, &self->other));
            BELAY_TRY(belay_gpu_alloc(task, self->old, 16, &self->buffer));
            cr_expect(eq(int, belay_result(task)->code, BELAY_GPU_ESTALE));
            BELAY_TRY(belay_gpu_run_one(
                task, self->old, BELAY_GPU_CMD_FILL(self->other, 0, 1, 16)));
            cr_expect(eq(int, belay_result(task)->code, BELAY_GPU_ESTALE));
            BELAY_TRY(belay_gpu_run_one(
                task, self->now, BELAY_GPU_CMD_FILL(self->buffer, 0, 1, 16)));
            cr_expect(eq(int, belay_result(task)->code, BELAY_GPU_ESTALE));
            BELAY_TRY(belay_gpu_build(task, self->old,
                BELAY_GPU_SOURCE(.entry = "k"), &self->kernel));
            cr_expect(eq(int, belay_result(task)->code, BELAY_GPU_ESTALE));
            cr_expect(eq(int, belay_gpu_free(self->buffer), BELAY_GPU_ESTALE));
            cr_expect(eq(
                int, belay_gpu_stage(self->old, 1, &staged), BELAY_GPU_ESTALE));
            cr_expect(eq(int, belay_gpu_release(self->old), BELAY_GPU_ESTALE));
            cr_expect(eq(int, belay_gpu_release(self->now), BELAY_GPU_EINVAL));
            /* Nothing of all that has reached the holder. */
            BELAY_CHECK(belay_gpu_pool_slot(self->pool, 0, &stats));
            cr_expect(eq(u64, stats.lease_ops, 1));
            cr_expect(eq(u64, stats.used_bytes, 16));
        }
    }
    BELAY_END;
}

Test(gpu_lease, g26_a_handle_that_is_over_reaches_nobody)
{
    cr_expect(zero(int, RUN(stale, .pool = NULL)));
}

/* ---- closing ---- */

Test(gpu_lease, g32_a_close_refuses_who_waits_and_waits_for_who_holds)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 20},
        {.name = "a", .at_ms = 1, .hold_ms = 1},
        {.name = "b", .at_ms = 2, .hold_ms = 1},
        {.name = "late", .at_ms = 15, .hold_ms = 1},
    };

    cr_expect(zero(int, CROWD(jobs, ONE_SLOT, .close_ms = 10)));
    expect_trace("h+0; a!GPU_ECLOSED; b!GPU_ECLOSED; late!GPU_ECLOSED; h-; "
                 "closed");
}

Test(gpu_lease, g32_a_drain_serves_who_waits)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 20},
        {.name = "a", .at_ms = 1, .hold_ms = 1},
        {.name = "late", .at_ms = 15, .hold_ms = 1},
    };

    cr_expect(zero(int, CROWD(jobs, ONE_SLOT, .close_ms = 10, .drain = true)));
    expect_trace("h+0; late!GPU_ECLOSED; h-; a+0; a-; drained");
}

struct close_inside {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_group *group;
    belay_task *second;
    struct belay_cancel_status status;
};

struct closer {
    belay_gpu_pool *pool;
};

BELAY_ASYNC(closer)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_gpu_pool_close(task, self->pool, NULL));
    trace("closer %s", trace_result(belay_result(task)));
    return belay_pass(task);
    BELAY_END;
}

BELAY_ASYNC(close_inside)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_WITH (
                belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
                BELAY_TRY(belay_gpu_pool_close(task, self->pool, NULL));
                trace("holder %s", trace_result(belay_result(task)));
                cr_expect(eq(u8, self->pool->life, BELAY__GPU_OPENED));
                BELAY_CHECK(
                    belay_spawn(self->group, closer, .pool = self->pool));
                BELAY_CHECK(belay_group_spawn(self->group, &closer,
                    &(const struct closer){self->pool},
                    BELAY_SPAWN_OPTS(.task = &self->second)));
                BELAY_AWAIT(belay_checkpoint(task));
                BELAY_AWAIT(belay_checkpoint(task));
                (void)belay_task_cancel(self->second, NULL);
                belay_task_unref(self->second);
                BELAY_AWAIT(belay_checkpoint(task));
                BELAY_AWAIT(belay_checkpoint(task));
                trace("leaving");
            }
        }
        BELAY_AWAIT(belay_gpu_pool_close(task, self->pool, NULL));
    }
    BELAY_END;
}

Test(gpu_lease, g32_a_holder_cannot_close_and_closers_can_be_cancelled)
{
    cr_expect(zero(int, RUN(close_inside, .pool = NULL)));
    expect_trace("holder GPU_EDEADLK; closer cancel; leaving; closer ok");
}

/* ---- the sweeps ---- */

Test(gpu_lease, a_crowd_may_be_cancelled_and_starved_anywhere, .timeout = 120)
{
    static const struct gpu_job jobs[] = {
        {.name = "a", .hold_ms = 5, .devices = 2},
        {.name = "b", .at_ms = 1, .hold_ms = 5, .cancel_ms = 3},
        {.name = "c", .at_ms = 2, .hold_ms = 5, .priority = 2},
        {.name = "d", .at_ms = 2, .hold_ms = 50, .max_hold_ms = 3},
        {.name = "e", .at_ms = 3, .hold_ms = 1, .devices = 2, .bytes = 1000},
        {.name = "f", .at_ms = 3, .hold_ms = 1, .timeout_ms = 4},
    };

    gpu_crowd_sweep(&(const struct gpu_crowd){
        .jobs = jobs,
        .count = sizeof(jobs) / sizeof(jobs[0]),
        .opts = {.devices = "sim:devices=2,slots=2,mem=1000"},
    });
}

/* ---- bad arguments ---- */

struct bad {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_lease member;
};

#define EXPECT_REFUSED(code_, op)                                         \
    do {                                                                  \
        BELAY_TRY(op);                                                    \
        cr_expect(eq(int, belay_result(task)->code, (code_)), "%s", #op); \
    } while (0)

BELAY_ASYNC(bad)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        EXPECT_REFUSED(BELAY_GPU_EINVAL,
            belay_gpu_acquire(task, NULL, NULL, &self->lease));
        EXPECT_REFUSED(
            BELAY_GPU_EINVAL, belay_gpu_acquire(task, self->pool, NULL, NULL));
        EXPECT_REFUSED(BELAY_GPU_EINVAL,
            belay_gpu_acquire(task, self->pool,
                BELAY_GPU_LEASE_OPTS(.priority = 8), &self->lease));
        EXPECT_REFUSED(BELAY_GPU_EINVAL,
            belay_gpu_acquire(task, self->pool,
                BELAY_GPU_LEASE_OPTS(.devices = 65), &self->lease));
        EXPECT_REFUSED(BELAY_GPU_EINVAL,
            belay_gpu_acquire(task, self->pool,
                BELAY_GPU_LEASE_OPTS(.max_hold = {-1}), &self->lease));
        EXPECT_REFUSED(BELAY_EINVAL,
            belay_gpu_acquire(task, self->pool,
                &(const struct belay_gpu_lease_opts){.size = 1}, &self->lease));
        EXPECT_REFUSED(
            BELAY_GPU_EINVAL, belay_gpu_pool_close(task, NULL, NULL));
        cr_expect(eq(ptr, self->lease.slot, NULL));
        cr_expect(eq(int, belay_gpu_release(self->lease), BELAY_GPU_EINVAL));
        cr_expect(eq(int, belay_gpu_lease_member(self->lease, 0, &self->member),
            BELAY_GPU_EINVAL));
        BELAY_CHECK(
            belay_gpu_try_acquire(task, self->pool, NULL, &self->lease));
        cr_expect(eq(int, belay_gpu_lease_member(self->lease, 1, &self->member),
            BELAY_GPU_EINVAL));
        BELAY_CHECK(belay_gpu_release(self->lease));
        cr_expect(eq(int, belay_gpu_release(self->lease), BELAY_GPU_ESTALE));
        cr_expect(eq(u64, self->pool->grants, 1));
        cr_expect(zero(u64, self->pool->classes[0].stats.refused));
    }
    BELAY_END;
}

Test(gpu_lease, g43_bad_arguments_change_nothing)
{
    cr_expect(zero(int, RUN(bad, .pool = NULL)));
}

struct bad_pool {
    const struct belay_gpu_pool_opts *opts;
    belay_gpu_pool *pool;
};

BELAY_ASYNC(bad_pool)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task, self->opts, &self->pool)) {
        trace("opened");
    }
    BELAY_END;
}

Test(gpu_lease, g43_bad_options_open_no_pool)
{
    static const struct belay_gpu_pool_opts opts[] = {
        {.size = 1, .devices = "sim"},
        {.size = sizeof(opts[0]), .devices = "simulator"},
        {.size = sizeof(opts[0]), .devices = "sim:devices=0"},
        {.size = sizeof(opts[0]), .devices = "sim:devices=65"},
        {.size = sizeof(opts[0]), .devices = "sim:,"},
        {.size = sizeof(opts[0]), .devices = "sim:mem=1X"},
        {.size = sizeof(opts[0]), .devices = "sim:launch=5"},
        {.size = sizeof(opts[0]), .devices = "sim:rate=0"},
        {.size = sizeof(opts[0]), .devices = "sim:noise=uniform:2"},
        {.size = sizeof(opts[0]), .devices = "sim:fault=op@0"},
        {.size = sizeof(opts[0]), .devices = "sim", .slots = 65},
        {.size = sizeof(opts[0]),
            .devices = "sim",
            .policy = (enum belay_gpu_policy)3},
        {.size = sizeof(opts[0]), .devices = "sim", .drain_limit = {-1}},
    };

    for (size_t i = 0; i < sizeof(opts) / sizeof(opts[0]); i++) {
        cr_expect(eq(int, RUN(bad_pool, .opts = &opts[i]), BELAY_EINVAL),
            "options %zu", i);
    }
    expect_trace("");
}
