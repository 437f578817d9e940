/* test_gpu_acquire.c - who gets a lease, and when: G1-G3, G6-G10, G16, G17,
 * G43. What becomes of it is test_gpu_lease.c's.
 */
#include "gpu/internal.h"
#include "test/support/gpu_crowd.h"

TestSuite(gpu_acquire, .fini = check_clean, .timeout = 60);

#define ONE_SLOT .opts = {.devices = "sim:mem=1G"}

/* ---- one after the other ---- */

Test(gpu_acquire, g1_a_newcomer_does_not_barge)
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

BELAY_ASYNC(barge)
{
    int code;

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(
                belay_gpu_try_acquire(task, self->pool, NULL, &self->first));
            BELAY_CHECK(
                belay_spawn(self->group, gpu_waiter, .pool = self->pool));
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_CHECK(belay_gpu_release(self->first));
            code = belay_gpu_try_acquire(task, self->pool, NULL, &self->second);
            cr_expect(eq(int, code, BELAY_GPU_EAGAIN));
            if (code == 0) { /* in a sweep the waiter may be late */
                BELAY_CHECK(belay_gpu_release(self->second));
            }
            trace("released");
        }
    }
    BELAY_END;
}

Test(gpu_acquire, g1_a_try_in_the_turn_of_the_release_fails)
{
    cr_expect(zero(int, RUN(barge, .pool = NULL)));
    expect_trace("released; waiter");
}

Test(gpu_acquire, g2_the_slot_is_the_waiters_before_it_runs)
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
                BELAY_CHECK(belay_group_spawn(self->group, &gpu_waiter,
                    &(const struct gpu_waiter){.pool = self->pool}, NULL));
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

static void
release_one_of(uint32_t count)
{
    struct belay_result result;

    trace_clear();
    (void)RUN_RESULT(&result, herd, .count = count);
    cr_expect(result.cancelled);
    expect_trace("waiter; waiter"); /* its block has no checkpoint */
}

Test(gpu_acquire, g2_one_release_wakes_one_of_a_hundred_thousand)
{
    release_one_of(9);
    program_unswept = true; /* no other places to fail at, but a million */
    release_one_of(100000);
}

Test(gpu_acquire, g3_the_order_is_that_of_arrival_whoever_leaves_in_between)
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

Test(gpu_acquire, g6_what_can_never_be_had_fails_at_once)
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

Test(gpu_acquire, g7_the_place_is_the_tightest_then_the_last_then_the_first)
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

Test(gpu_acquire, g7_the_slot_that_a_priority_had_last_is_taken_again)
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

Test(gpu_acquire, g8_a_try_that_fails_leaves_nothing)
{
    cr_expect(zero(int, RUN(tries, .count = 1000000)));
}

/* ---- cancels ---- */

Test(gpu_acquire, g9_who_leaves_lets_those_behind_it_in)
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

Test(gpu_acquire, g9_the_holder_of_a_reservation_leaves)
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
    BELAY_WITH (
        keeping(task, NULL, self->index == 0 ? &self->race->scope : NULL)) {
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
        if (race->scope != NULL) { /* else it has ended, in a trial */
            (void)belay_cancel_scope_move(race->scope, (belay_time){1});
        }
        break;
    default:
        break;
    }
}

struct contest {
    struct race *race;
};

BELAY_ASYNC(contest)
{
    struct race *race = self->race;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &race->group)) {
        for (uint32_t i = 0; i < 2; i++) {
            BELAY_CHECK(belay_group_spawn(race->group, &racer,
                &(const struct racer){.race = race, .index = i},
                BELAY_SPAWN_OPTS(.task = &race->waiters[i])));
        }
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_AWAIT(belay_checkpoint(task));
        for (const char *at = race->order; *at != '\0'; at++) {
            happen(race, *at);
        }
        if (strchr(race->order, 'r') == NULL) {
            BELAY_AWAIT(belay_checkpoint(task));
            happen(race, 'r');
        }
    }
    BELAY_END;
}

BELAY_ASYNC(race)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_CHECK(belay_gpu_try_acquire(task, self->pool, NULL, &self->held));
        BELAY_WITH (dropping(task, &self->waiters[0])) {
            BELAY_WITH (dropping(task, &self->waiters[1])) {
                BELAY_AWAIT(
                    belay_call(task, &contest, &(struct contest){self}));
            }
        }
        cr_expect(eq(u32, self->pool->slots_free, 1));
        cr_expect(zero(u64, self->pool->leases));
        trace("%s:%u", self->order, self->granted);
    }
    BELAY_END;
}

Test(gpu_acquire, g10_grant_or_cancel_never_both_never_neither)
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

Test(gpu_acquire, g16_the_deadline_is_that_of_the_scope_around)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 20},
        {.name = "late", .at_ms = 1, .hold_ms = 1, .timeout_ms = 10},
        {.name = "early", .at_ms = 2, .hold_ms = 1, .timeout_ms = 30},
    };

    cr_expect(zero(int, CROWD(jobs, ONE_SLOT)));
    expect_trace("h+0; late!ETIMEDOUT; h-; early+0; early-");
}

Test(gpu_acquire, g17_a_lease_that_is_held_too_long_ends_its_block)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 100, .max_hold_ms = 10},
        {.name = "a", .at_ms = 1, .hold_ms = 5, .max_hold_ms = 10},
    };

    cr_expect(zero(int, CROWD(jobs, ONE_SLOT)));
    expect_trace("h+0; h!GPU_EHOLD; a+0; a-");
}

/* ---- the sweeps ---- */

Test(gpu_acquire, a_crowd_may_be_cancelled_and_starved_anywhere, .timeout = 120)
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

Test(gpu_acquire, g43_bad_arguments_change_nothing)
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

Test(gpu_acquire, g43_bad_options_open_no_pool)
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
