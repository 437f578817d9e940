/* test_gpu_random.c - random programs under both oracles: G7, G12, G19, G21,
 * G23, G30, G34, with cancels, deadlines, shared leases and faults.
 *
 * BELAY_GPU_LEASES asks for so many leases instead of the few of the suite, in
 * all tests together, and BELAY_GPU_SEED for another start; then each test
 * tells what it has run. A failure prints the seed and the last events.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/internal.h"
#include "gpu/sim.h"
#include "test/support/gpu_crowd.h"

TestSuite(
    gpu_random, .init = gpu_may_be_lost, .fini = check_clean, .timeout = 3600);

#define TASKS 24
#define ROUND 400 /* requests of one program */
#define SMALL 12  /* of one that is swept */
#define TESTS 6   /* that share BELAY_GPU_LEASES */

/* Of all programs of a test. */
static struct {
    uint64_t requests;
    uint64_t leases;
    uint64_t given_up; /* while they waited */
    uint64_t cancels;  /* of tasks, whatever they did */
    uint64_t ops_failed;
    uint64_t ops_lost;
} totals;

struct chaos {
    uint64_t seed;
    uint32_t leases;   /* asked for in all */
    uint32_t gang_max; /* 0: a few gangs of up to 4 */
    bool faults;
    struct belay_gpu_pool_opts opts;
    /* locals */
    belay_gpu_pool *pool;
    belay_group *group;
    uint32_t left;
    uint64_t granted;
    belay_task *tasks[TASKS];
    struct belay__gpusim_random random;
};

static uint32_t
below(struct belay__gpusim_random *random, uint32_t most)
{
    return (uint32_t)(belay__gpusim_uniform(random) * most);
}

static void
add_one(const struct belay_gpu_sim_call *call)
{
    unsigned char *bytes = call->args[0].data;

    for (uint64_t i = 0; i < call->args[0].bytes; i++) {
        bytes[i]++;
    }
}

struct actor {
    struct chaos *chaos;
    struct belay__gpusim_random random;
    /* locals */
    struct belay_gpu_lease_opts opts;
    struct belay_cancel_status status;
    belay_gpu_lease lease;
    belay_gpu_buffer buffer;
    belay_gpu_kernel *kernel;
    struct belay_gpu_arg arg;
    belay_duration limit;
    unsigned char host[64];
    uint64_t bytes;
    uint32_t ops;
    uint32_t op;
};

struct turn {
    struct actor *actor;
};

BELAY_ASYNC(turn)
{
    struct actor *of = self->actor;

    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(task, of->limit, &of->status)) {
        BELAY_WITH (belay_gpu_lease_open(
            task, of->chaos->pool, &of->opts, &of->lease)) {
            of->chaos->granted++;
            of->bytes = 1 + below(&of->random, 64);
            of->ops = below(&of->random, 4);
            if (of->ops == 0) {
                BELAY_RETURN(NULL);
            }
            BELAY_AWAIT(belay_gpu_build(task, of->lease,
                BELAY_GPU_SOURCE(.entry = "add_one", .sim = add_one),
                &of->kernel));
            BELAY_AWAIT(
                belay_gpu_alloc(task, of->lease, of->bytes, &of->buffer));
            BELAY_AWAIT(belay_gpu_run_one(task, of->lease,
                BELAY_GPU_CMD_FILL(of->buffer, 0, 7, of->bytes)));
            of->arg = belay_gpu_arg_buffer(of->buffer);
            for (of->op = 0; of->op < of->ops; of->op++) {
                BELAY_AWAIT(belay_gpu_run_one(task, of->lease,
                    BELAY_GPU_CMD_LAUNCH(of->kernel, 1, 32, &of->arg, 1)));
            }
            BELAY_AWAIT(belay_gpu_run_one(task, of->lease,
                BELAY_GPU_CMD_READ(of->buffer, 0, of->host, of->bytes)));
            for (uint64_t i = 0; i < of->bytes; i++) {
                cr_assert(eq(u8, of->host[i], (uint8_t)(7 + of->ops)), "%s",
                    gpu_oracle_hint);
            }
            if (below(&of->random, 2) == 0) {
                cr_assert(zero(int, belay_gpu_free(of->buffer)));
            }
            BELAY_AWAIT(
                belay_sleep(task, belay_microseconds(below(&of->random, 300))));
        }
    }
    BELAY_END;
}

/* Some work on a lease, and again; whatever comes of it. */
BELAY_ASYNC(actor)
{
    BELAY_BEGIN;
    while (self->chaos->left > 0) {
        self->chaos->left--;
        self->opts = (struct belay_gpu_lease_opts){.size = sizeof(self->opts)};
        self->opts.priority =
            below(&self->random, 3) == 0 ? below(&self->random, 8) : 0;
        self->opts.devices =
            below(&self->random, 6) == 0 ? 1 + below(&self->random, 4) : 1;
        if (self->chaos->gang_max > 0) {
            self->opts.devices =
                1 + below(&self->random, self->chaos->gang_max);
        }
        self->opts.bytes =
            below(&self->random, 2) == 0 ? 1 + below(&self->random, 4000) : 0;
        self->opts.no_wait = below(&self->random, 10) == 0;
        self->opts.max_hold = below(&self->random, 8) == 0
                                  ? belay_microseconds(200)
                                  : belay_nanoseconds(0);
        self->limit = below(&self->random, 4) == 0
                          ? belay_microseconds(1 + below(&self->random, 900))
                          : BELAY_FOREVER;
        BELAY_TRY(BELAY_CALL(turn, .actor = self));
        if (belay_result(task)->cancelled) {
            /* Cancelled from outside, for good: another takes over. */
            return belay_pass(task);
        }
    }
    BELAY_END;
}

/* Of all events, in their order. */
static uint64_t
hash_events(const belay_gpu_pool *pool)
{
    struct belay_gpu_event event;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    unsigned char bytes[sizeof(event)];
    uint64_t cursor = 0;
    uint64_t lost;

    while (belay_gpu_events(pool, &cursor, &event, 1, &lost) == 1) {
        cr_assert(zero(u64, lost));
        memcpy(bytes, &event, sizeof(bytes));
        for (size_t i = 0; i < sizeof(bytes); i++) {
            hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
        }
    }
    return hash;
}

/* G12, by the events alone: a slot is granted when it is free, and is free when
 * the last operation that was asked of it has ended.
 */
static void
check_disjoint(const belay_gpu_pool *pool)
{
    struct {
        uint64_t state;
        uint64_t ops;
    } slots[64] = {{0, 0}};
    struct belay_gpu_event event;
    uint64_t cursor = 0;

    while (belay_gpu_events(pool, &cursor, &event, 1, NULL) == 1) {
        if (event.slot == BELAY_GPU_NO_SLOT) {
            continue;
        }
        if (event.kind == BELAY_GPU_EVENT_GRANT) {
            cr_assert(zero(u64, slots[event.slot].state), "lease %" PRIu64,
                event.lease);
            cr_assert(zero(u64, slots[event.slot].ops), "lease %" PRIu64,
                event.lease);
            slots[event.slot].state = BELAY_GPU_SLOT_HELD;
        } else if (event.kind == BELAY_GPU_EVENT_SLOT) {
            cr_assert(event.detail != BELAY_GPU_SLOT_FREE
                          || slots[event.slot].ops == 0,
                "slot %u", event.slot);
            slots[event.slot].state = event.detail;
        } else if (event.kind == BELAY_GPU_EVENT_OP_BEGIN) {
            slots[event.slot].ops++;
        } else if (event.kind == BELAY_GPU_EVENT_OP_END) {
            cr_assert(gt(u64, slots[event.slot].ops, 0));
            slots[event.slot].ops--;
        }
    }
}

static void
drop_tasks(void *arg)
{
    struct chaos *chaos = arg;

    for (uint32_t i = 0; i < TASKS; i++) {
        belay_task_unref(chaos->tasks[i]);
    }
}

static void
add_totals(const belay_gpu_pool *pool)
{
    struct belay_gpu_pool_stats stats = {.size = sizeof(stats)};

    cr_assert(zero(int, belay_gpu_pool_get_stats(pool, &stats)));
    totals.leases += stats.grants;
    totals.ops_failed += stats.ops_failed;
    totals.ops_lost += stats.ops_lost;
    for (uint32_t i = 0; i < BELAY_GPU_PRIORITIES; i++) {
        totals.requests += stats.priorities[i].requests;
        totals.given_up +=
            stats.priorities[i].cancelled + stats.priorities[i].timed_out;
    }
}

struct actors {
    struct chaos *chaos;
};

BELAY_ASYNC(actors)
{
    struct chaos *of = self->chaos;
    uint32_t victim;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &of->group)) {
        while (of->left > 0) {
            victim = below(&of->random, TASKS);
            if (of->tasks[victim] != NULL) {
                (void)belay_task_cancel(of->tasks[victim], "chaos");
                totals.cancels++;
                belay_task_unref(of->tasks[victim]);
                of->tasks[victim] = NULL;
            }
            BELAY_CHECK(belay_group_spawn(of->group, &actor,
                &(const struct actor){.chaos = of,
                    .random = belay__gpusim_stream(of->seed, 2 + of->left)},
                BELAY_SPAWN_OPTS(.task = &of->tasks[victim])));
            BELAY_AWAIT(belay_sleep(
                task, belay_microseconds(1 + below(&of->random, 400))));
        }
    }
    BELAY_END;
}

BELAY_ASYNC(chaos)
{
    BELAY_BEGIN;
    self->opts.size = sizeof(self->opts);
    self->left = self->leases;
    self->random = belay__gpusim_stream(self->seed, 1);
    BELAY_WITH (belay_gpu_pool_open(task, &self->opts, &self->pool)) {
        /* Without memory a slot is lost, of which the model knows nothing. */
        gpu_oracle_watch(self->pool, !self->faults && !test_alloc_may_fail());
        BELAY_WITH (belay_defer(task, drop_tasks, self)) {
            BELAY_AWAIT(BELAY_CALL(actors, .chaos = self));
        }
        cr_assert(zero(u64, self->pool->leases), "%s", gpu_oracle_hint);
        cr_assert(zero(u64, self->pool->waiting), "%s", gpu_oracle_hint);
        for (uint32_t i = 0; i < self->pool->device_count; i++) {
            cr_assert(zero(u64, self->pool->devices[i].leased), "%s",
                gpu_oracle_hint);
        }
        check_disjoint(self->pool);
        add_totals(self->pool);
        trace("%llu grants, events %llx", (unsigned long long)self->granted,
            (unsigned long long)hash_events(self->pool));
    }
    BELAY_END;
}

static uint64_t
from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void
run_program(const char *devices, bool faults, uint32_t gang_max, uint64_t seed,
    uint32_t leases)
{
    static const enum belay_gpu_policy policies[] = {
        BELAY_GPU_RESERVE, BELAY_GPU_FIFO, BELAY_GPU_FIRST_FIT};
    char text[256];
    int code;

    (void)snprintf(
        text, sizeof(text), "sim:seed=%" PRIu64 ",%s", seed, devices);
    (void)snprintf(gpu_oracle_hint, sizeof(gpu_oracle_hint),
        "BELAY_GPU_SEED=%" PRIu64 " %s", seed, devices);
    trace_clear();
    code = RUN(chaos, .seed = seed, .leases = leases, .faults = faults,
        .gang_max = gang_max,
        .opts = {.devices = text,
            .policy = policies[seed % 3],
            .strict = seed % 5 == 0,
            .overtakes = 1 + (uint32_t)(seed % 7),
            .scrub = seed % 4 == 0,
            .events = 65536,
            .max_resets = 1000});
    cr_assert(zero(int, code), "%s", gpu_oracle_hint);
}

static void
run_round(const char *devices, bool faults, uint32_t gang_max, uint64_t seed)
{
    program_unswept = true; /* thousands of places; see small_programs */
    run_program(devices, faults, gang_max, seed, ROUND);
}

/* So many programs; or, with BELAY_GPU_LEASES, as many as it takes. */
static void
run_chaos(const char *devices, bool faults, uint32_t gang_max, uint64_t rounds)
{
    const uint64_t leases =
        (from_environment("BELAY_GPU_LEASES", 0) + TESTS - 1) / TESTS;
    const uint64_t first = from_environment("BELAY_GPU_SEED", 1);
    uint64_t seed = first;

    while (leases > 0 ? totals.leases < leases : seed < first + rounds) {
        run_round(devices, faults, gang_max, seed);
        seed++;
    }
    if (leases == 0) {
        return;
    }
    (void)printf("seeds %" PRIu64 " to %" PRIu64 ": %" PRIu64
                 " leases of %" PRIu64 " requests, %" PRIu64
                 " given up while they waited, %" PRIu64
                 " tasks cancelled, %" PRIu64 " operations failed, %" PRIu64
                 " lost; %s\n",
        first, seed - 1, totals.leases, totals.requests, totals.given_up,
        totals.cancels, totals.ops_failed, totals.ops_lost, devices);
    (void)fflush(stdout);
}

Test(gpu_random, g7_the_same_seed_gives_the_same_events)
{
    static const char devices[] =
        "devices=4,slots=3,mem=64K,launch=20us,noise=lognormal:1,"
        "bandwidth=1e9,p_op=0.01,p_sticky=0.002,p_slow=0.01";
    char first[128];

    run_round(devices, true, 0, 1);
    (void)snprintf(first, sizeof(first), "%s", trace_text());
    run_round(devices, true, 0, 1);
    expect_trace(first);
    cr_expect(ge(int, (int)strtol(first, NULL, 10), 100), "%s", first);
}

/* Short enough for a sweep, and one for each policy, with and without scrubs. */
Test(gpu_random, small_programs)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        run_program("devices=2,slots=2,mem=16K,launch=20us,bandwidth=1e9",
            false, 0, seed, SMALL);
        run_program("devices=2,slots=1,mem=16K,launch=20us,noise=uniform:0.5,"
                    "p_op=0.05,p_sticky=0.02,fault=open@1:1,fault=twice@0:3",
            true, 2, seed, SMALL);
    }
}

Test(gpu_random, few_slots)
{
    run_chaos(
        "devices=1,slots=2,mem=64K,launch=20us,bandwidth=1e9", false, 0, 12);
}

Test(gpu_random, some_devices)
{
    run_chaos("devices=4,slots=3,mem=64K,launch=20us,noise=lognormal:1,"
              "bandwidth=1e9,jit=1ms",
        false, 0, 12);
}

Test(gpu_random, faults)
{
    run_chaos("devices=4,slots=2,mem=64K,launch=20us,noise=uniform:0.5,"
              "bandwidth=1e9,p_op=0.01,p_sticky=0.002,p_slow=0.01,"
              "fault=reset@0:2,fault=open@1:1,fault=twice@2:3",
        true, 0, 12);
    cr_expect(gt(u64, totals.ops_lost, 0));
}

Test(gpu_random, many_small_devices)
{
    run_chaos(
        "devices=16,slots=1,mem=8K,launch=5us,bandwidth=1e9", false, 0, 6);
}

/* Whatever is cancelled, and whenever: one lease of a slot ends with its last
 * operation, and the next one begins after that. check_disjoint() looks at it
 * from the events alone, gpu_oracle.c from inside.
 */
Test(gpu_random, g12_leases_of_a_slot_are_disjoint)
{
    run_chaos("devices=2,slots=2,mem=64K,launch=50us,noise=tail:0.1:20,"
              "bandwidth=1e9,stop=30us,fault=deaf@1:1",
        false, 0, 12);
    cr_expect(gt(u64, totals.cancels, 100));
    cr_expect(gt(u64, totals.given_up, 100));
}

/* Gangs of 1 to all devices, and nobody waits while all slots are idle: the
 * oracle looks at that after every change, and a program that stalls has no
 * task left that could go on, which belay_run() tells.
 */
Test(gpu_random, g23_random_gangs_never_stall)
{
    run_chaos(
        "devices=8,slots=1,mem=64K,launch=20us,bandwidth=1e9", false, 8, 12);
    cr_expect(gt(u64, totals.leases, 1000));
}
