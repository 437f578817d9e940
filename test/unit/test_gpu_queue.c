/* test_gpu_queue.c - fairness: G4, G5, G22, G23. */
#include "gpu/internal.h"
#include "test/support/gpu_crowd.h"

TestSuite(
    gpu_queue, .init = gpu_may_be_lost, .fini = check_clean, .timeout = 120);

/* ---- weights ---- */

/* Tasks of each priority that want one slot again and again. */
struct shares {
    uint32_t priorities; /* as bits */
    uint32_t grants;     /* in all */
    bool strict;
    belay_gpu_pool *pool;
    belay_group *group;
    uint32_t left;
    uint32_t got[BELAY_GPU_PRIORITIES];
};

struct greedy {
    struct shares *shares;
    uint32_t priority;
    belay_gpu_lease lease;
};

BELAY_ASYNC(greedy)
{
    BELAY_BEGIN;
    while (self->shares->left > 0) {
        BELAY_WITH (belay_gpu_lease_open(task, self->shares->pool,
            BELAY_GPU_LEASE_OPTS(.priority = self->priority), &self->lease)) {
            if (self->shares->left > 0) {
                self->shares->left--;
                self->shares->got[self->priority]++;
            }
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
        }
    }
    BELAY_END;
}

BELAY_ASYNC(shares)
{
    BELAY_BEGIN;
    self->left = self->grants;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "sim", .strict = self->strict),
        &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            /* Two of each, so that there is always one who waits. */
            for (uint32_t i = 0; i < 2 * BELAY_GPU_PRIORITIES; i++) {
                if ((self->priorities >> i / 2 & 1) != 0) {
                    BELAY_CHECK(belay_spawn(self->group, greedy, .shares = self,
                        .priority = i / 2));
                }
            }
        }
        for (uint32_t i = 0; i < BELAY_GPU_PRIORITIES; i++) {
            trace("%u", self->got[i]);
        }
    }
    BELAY_END;
}

static void
got(uint32_t *ret)
{
    cr_assert(eq(int,
        sscanf(trace_text(), "%u; %u; %u; %u; %u; %u; %u; %u", &ret[0], &ret[1],
            &ret[2], &ret[3], &ret[4], &ret[5], &ret[6], &ret[7]),
        8));
}

Test(gpu_queue, g4_priorities_get_their_weight)
{
    static const uint32_t sets[] = {0xff, 0x03, 0x81, 0x5a, 0xe0, 0x10};
    static const uint32_t counts[] = {100, 777, 2550};
    uint32_t of[BELAY_GPU_PRIORITIES];
    uint64_t sum;

    for (size_t s = 0; s < sizeof(sets) / sizeof(sets[0]); s++) {
        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
            trace_clear();
            program_unswept = c > 0; /* no other places, but thousands */
            cr_expect(zero(
                int, RUN(shares, .priorities = sets[s], .grants = counts[c])));
            got(of);
            sum = 0;
            for (uint32_t i = 0; i < BELAY_GPU_PRIORITIES; i++) {
                sum += (sets[s] >> i & 1) << i;
            }
            for (uint32_t i = 0; i < BELAY_GPU_PRIORITIES; i++) {
                const uint64_t weight = (sets[s] >> i & 1) << i;

                cr_expect(
                    ge(i64, of[i], (int64_t)(counts[c] * weight / sum) - 8),
                    "set %x", sets[s]);
                cr_expect(weight > 0 || of[i] == 0);
            }
        }
    }
}

Test(gpu_queue, g4_strictly_the_highest_goes_first)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 10},
        {.name = "low", .at_ms = 1, .hold_ms = 1},
        {.name = "mid", .at_ms = 2, .hold_ms = 1, .priority = 3},
        {.name = "top", .at_ms = 3, .hold_ms = 1, .priority = 7},
        {.name = "more", .at_ms = 4, .hold_ms = 1, .priority = 7},
    };

    cr_expect(
        zero(int, CROWD(jobs, .opts = {.devices = "sim", .strict = true})));
    expect_trace("h+0; h-; top+0; top-; more+0; more-; mid+0; mid-; low+0; "
                 "low-");
}

Test(gpu_queue, g4_who_was_not_there_has_saved_nothing_up)
{
    static const struct gpu_job jobs[] = {
        {.name = "a", .hold_ms = 10},
        {.name = "b", .at_ms = 1, .hold_ms = 10},
        {.name = "c", .at_ms = 2, .hold_ms = 10},
        {.name = "d", .at_ms = 3, .hold_ms = 10},
        {.name = "x", .at_ms = 25, .hold_ms = 1, .priority = 0},
        {.name = "y", .at_ms = 26, .hold_ms = 1, .priority = 0},
    };

    cr_expect(zero(int, CROWD(jobs, .opts = {.devices = "sim"})));
    expect_trace("a+0; a-; b+0; b-; c+0; c-; d+0; d-; x+0; x-; y+0; y-");
}

/* ---- big ones among small ones ---- */

/* Small leases without end, two at a time, and one that wants it all. */
Test(gpu_queue, g5_a_big_one_is_passed_over_so_often_and_not_more)
{
    enum { SMALL = 40 };
    static char names[SMALL][8];
    struct gpu_job jobs[SMALL + 1] = {
        {.name = "big", .at_ms = 5, .hold_ms = 1, .bytes = 1000}};
    const char *at;
    uint32_t before = 0;

    for (int i = 0; i < SMALL; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "s%d", i);
        jobs[i + 1] = (struct gpu_job){
            .name = names[i], .at_ms = 2 * i, .hold_ms = 5, .bytes = 400};
    }
    cr_expect(zero(int, CROWD(jobs, .opts = {.devices = "sim:slots=4,mem=1000",
                                        .overtakes = 6})));
    /* Granted before it: those at 0, 2, 4 ms, and 6 that pass it. */
    at = strstr(trace_text(), "big+");
    cr_assert(ne(ptr, (void *)(uintptr_t)at, NULL));
    for (const char *s = trace_text(); s < at; s++) {
        before += s[0] == 's' && strchr("+", *(s + strcspn(s, "+-;"))) != NULL
                  && (s == trace_text() || s[-1] == ' ');
    }
    cr_expect(le(u32, before, 3 + 6), "%s", trace_text());
    cr_expect(ge(u32, before, 3), "%s", trace_text());
}

Test(gpu_queue, g5_granted_when_the_last_holder_there_leaves)
{
    static const struct gpu_job jobs[] = {
        {.name = "long", .hold_ms = 100, .bytes = 900}, /* device 0 */
        {.name = "short", .hold_ms = 30, .bytes = 200}, /* device 1 */
        {.name = "big", .at_ms = 1, .hold_ms = 1, .bytes = 1000},
        {.name = "p", .at_ms = 2, .hold_ms = 1, .bytes = 50},
        {.name = "q", .at_ms = 5, .hold_ms = 1, .bytes = 50},
        {.name = "r", .at_ms = 8, .hold_ms = 50, .bytes = 300},
        {.name = "t", .at_ms = 9, .hold_ms = 1, .bytes = 50},
    };

    /* Passed over twice, by p and q: device 1 is kept free, r has to wait
     * though it would fit there; t fits beside long. */
    cr_expect(zero(
        int, CROWD(jobs, .opts = {.devices = "sim:devices=2,slots=4,mem=1000",
                             .overtakes = 2})));
    expect_trace("long+0; short+4; p+1; p-; q+1; q-; t+1; t-; short-; big+4; "
                 "big-; r+4; r-; long-");
}

Test(gpu_queue, g5_fifo_blocks_and_first_fit_does_not)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 20, .bytes = 600},
        {.name = "big", .at_ms = 1, .hold_ms = 1, .bytes = 1000},
        {.name = "s", .at_ms = 2, .hold_ms = 1, .bytes = 10},
    };

    cr_expect(zero(int, CROWD(jobs, .opts = {.devices = "sim:slots=4,mem=1000",
                                        .policy = BELAY_GPU_FIFO})));
    expect_trace("h+0; h-; big+0; big-; s+0; s-");
    cr_expect(zero(int, CROWD(jobs, .opts = {.devices = "sim:slots=4,mem=1000",
                                        .policy = BELAY_GPU_FIRST_FIT})));
    expect_trace("h+0; s+1; s-; h-; big+1; big-");
}

/* ---- several devices at once ---- */

Test(gpu_queue, g22_a_gang_takes_all_or_nothing)
{
    static const struct gpu_job jobs[] = {
        {.name = "a", .hold_ms = 10},
        {.name = "b", .hold_ms = 20},
        {.name = "gang", .at_ms = 1, .hold_ms = 5, .devices = 3},
        {.name = "c", .at_ms = 2, .hold_ms = 1},
    };

    /* It holds nothing while it waits: c may have the free one. */
    cr_expect(zero(int, CROWD(jobs, .opts = {.devices = "sim:devices=3"})));
    expect_trace("a+0; b+1; c+2; c-; a-; b-; gang+2,0,1; gang-");
}

Test(gpu_queue, g22_a_gang_that_is_cancelled_between_fits_keeps_nothing)
{
    static const struct gpu_job jobs[] = {
        {.name = "a", .hold_ms = 10},
        {.name = "b", .hold_ms = 20},
        {.name = "gang",
            .at_ms = 1,
            .hold_ms = 5,
            .devices = 2,
            .cancel_ms = 15},
        {.name = "c", .at_ms = 16, .hold_ms = 1},
    };

    cr_expect(zero(int, CROWD(jobs, .opts = {.devices = "sim:devices=2"})));
    expect_trace("a+0; b+1; a-; gang!cancel; c+0; c-; b-");
}

/* A gang's members drain each on its own: the fast one is free first. */
struct drains {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_lease second;
    belay_gpu_kernel *kernel;
    belay_group *group;
};

struct slow {
    struct drains *drains;
};

BELAY_ASYNC(slow)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_gpu_run_one(task, self->drains->second,
        BELAY_GPU_CMD_LAUNCH(self->drains->kernel, 1, 1, NULL, 0)));
    trace("ended %s", trace_result(belay_result(task)));
    BELAY_END;
}

struct next {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
};

BELAY_ASYNC(next)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
        trace("next+%s", gpu_slots_text(self->lease));
    }
    BELAY_END;
}

BELAY_ASYNC(drains)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices =
                                "sim:devices=2,launch=50ms,fault=deaf@1:1"),
        &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_AWAIT(belay_gpu_acquire(task, self->pool,
                BELAY_GPU_LEASE_OPTS(.devices = 2), &self->lease));
            BELAY_CHECK(belay_gpu_lease_member(self->lease, 1, &self->second));
            BELAY_AWAIT(belay_gpu_build(task, self->second,
                BELAY_GPU_SOURCE(.entry = "slow"), &self->kernel));
            BELAY_CHECK(belay_spawn(self->group, slow, .drains = self));
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
            BELAY_CHECK(belay_gpu_release(self->lease));
            cr_expect(eq(u8, self->pool->slots[0].state, BELAY_GPU_SLOT_FREE));
            cr_expect(
                eq(u8, self->pool->slots[1].state, BELAY_GPU_SLOT_DRAINING));
            BELAY_CHECK(belay_spawn(self->group, next, .pool = self->pool));
            BELAY_CHECK(belay_spawn(self->group, next, .pool = self->pool));
        }
    }
    BELAY_END;
}

Test(gpu_queue, g22_members_drain_each_on_its_own)
{
    cr_expect(zero(int, RUN(drains, .pool = NULL)));
    expect_trace("next+0; next+0; ended ok");
}
