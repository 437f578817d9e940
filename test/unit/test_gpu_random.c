/* test_gpu_random.c - random programs under both oracles: G7, G12, G19, G21,
 * G23, G30, G34, with cancels, deadlines, shared leases and faults.
 *
 * BELAY_GPU_LEASES asks for more leases than the suite has, and
 * BELAY_GPU_SEED for another start; a failure prints the seed and the last
 * events.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/internal.h"
#include "gpu/sim.h"
#include "test/support/gpu_crowd.h"

TestSuite(gpu_random, .fini = check_clean, .timeout = 3600);

#define TASKS 24

struct chaos {
    uint64_t seed;
    uint32_t leases; /* in all */
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

BELAY_ASYNC(chaos)
{
    uint32_t victim;

    BELAY_BEGIN;
    self->opts.size = sizeof(self->opts);
    self->left = self->leases;
    self->random = belay__gpusim_stream(self->seed, 1);
    BELAY_WITH (belay_gpu_pool_open(task, &self->opts, &self->pool)) {
        gpu_oracle_watch(self->pool, !self->faults);
        BELAY_WITH (belay_group_open(
            task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
            while (self->left > 0) {
                victim = below(&self->random, TASKS);
                if (self->tasks[victim] != NULL) {
                    (void)belay_task_cancel(self->tasks[victim], "chaos");
                    belay_task_unref(self->tasks[victim]);
                    self->tasks[victim] = NULL;
                }
                BELAY_CHECK(belay_group_spawn(self->group, &actor,
                    &(const struct actor){.chaos = self,
                        .random =
                            belay__gpusim_stream(self->seed, 2 + self->left)},
                    BELAY_SPAWN_OPTS(.task = &self->tasks[victim])));
                BELAY_AWAIT(belay_sleep(
                    task, belay_microseconds(1 + below(&self->random, 400))));
            }
        }
        for (uint32_t i = 0; i < TASKS; i++) {
            belay_task_unref(self->tasks[i]);
        }
        cr_assert(zero(u64, self->pool->leases), "%s", gpu_oracle_hint);
        cr_assert(zero(u64, self->pool->waiting), "%s", gpu_oracle_hint);
        for (uint32_t i = 0; i < self->pool->device_count; i++) {
            cr_assert(zero(u64, self->pool->devices[i].leased), "%s",
                gpu_oracle_hint);
        }
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
run_chaos(const char *devices, bool faults, uint64_t rounds)
{
    static const enum belay_gpu_policy policies[] = {
        BELAY_GPU_RESERVE, BELAY_GPU_FIFO, BELAY_GPU_FIRST_FIT};
    const uint64_t first = from_environment("BELAY_GPU_SEED", 1);
    char text[256];
    int code;

    for (uint64_t seed = first; seed < first + rounds; seed++) {
        (void)snprintf(text, sizeof(text), "sim:seed=%llu,%s",
            (unsigned long long)seed, devices);
        (void)snprintf(gpu_oracle_hint, sizeof(gpu_oracle_hint),
            "BELAY_GPU_SEED=%llu %s", (unsigned long long)seed, devices);
        trace_clear();
        code = RUN(chaos, .seed = seed, .leases = 400, .faults = faults,
            .opts = {.devices = text,
                .policy = policies[seed % 3],
                .strict = seed % 5 == 0,
                .overtakes = 1 + (uint32_t)(seed % 7),
                .scrub = seed % 4 == 0,
                .events = 65536,
                .max_resets = 1000});
        cr_assert(zero(int, code), "%s", gpu_oracle_hint);
    }
}

static uint64_t
rounds_or(uint64_t otherwise)
{
    const uint64_t leases = from_environment("BELAY_GPU_LEASES", 0);

    return leases > 0 ? leases / 400 / 4 + 1 : otherwise;
}

Test(gpu_random, g7_the_same_seed_gives_the_same_events)
{
    static const char devices[] =
        "devices=4,slots=3,mem=64K,launch=20us,noise=lognormal:1,"
        "bandwidth=1e9,p_op=0.01,p_sticky=0.002,p_slow=0.01";
    char first[128];

    run_chaos(devices, true, 1);
    (void)snprintf(first, sizeof(first), "%s", trace_text());
    run_chaos(devices, true, 1);
    expect_trace(first);
    cr_expect(ge(int, (int)strtol(first, NULL, 10), 100), "%s", first);
}

Test(gpu_random, few_slots)
{
    run_chaos("devices=1,slots=2,mem=64K,launch=20us,bandwidth=1e9", false,
        rounds_or(12));
}

Test(gpu_random, some_devices)
{
    run_chaos("devices=4,slots=3,mem=64K,launch=20us,noise=lognormal:1,"
              "bandwidth=1e9,jit=1ms",
        false, rounds_or(12));
}

Test(gpu_random, faults)
{
    run_chaos("devices=4,slots=2,mem=64K,launch=20us,noise=uniform:0.5,"
              "bandwidth=1e9,p_op=0.01,p_sticky=0.002,p_slow=0.01,"
              "fault=reset@0:2,fault=open@1:1,fault=twice@2:3",
        true, rounds_or(12));
}

Test(gpu_random, many_small_devices)
{
    run_chaos("devices=16,slots=1,mem=8K,launch=5us,bandwidth=1e9", false,
        rounds_or(6));
}
