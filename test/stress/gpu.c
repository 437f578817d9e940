/* gpu.c - simulated devices behind threads, for ThreadSanitizer: G11, G30,
 * G33, G36.
 *
 * Several tasks lease, copy, launch, check what comes back, and are cancelled
 * at random by others; devices fail now and then. Each operation must end
 * once, each result be right, and nothing be left when the pool is.
 *
 *     gpu [LEASES]
 */
#include <belay/belay.h>
#include <belay/gpu_stats.h>
#include <belay/gpu_work.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                \
    do {                                                                \
        if (!(condition)) {                                             \
            (void)fprintf(                                              \
                stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                    \
        }                                                               \
    } while (0)

#define USERS 16
#define WORDS 64

struct stress {
    uint64_t leases;
    const char *devices;
    belay_gpu_pool *pool;
    belay_group *group;
    uint64_t left;
    uint64_t good;
    uint64_t bad;
    uint64_t cancelled;
    belay_cancel_scope *scopes[USERS];
    uint64_t random;
};

static uint32_t
next_random(struct stress *stress, uint32_t below)
{
    stress->random = stress->random * UINT64_C(6364136223846793005) + 1;
    return (uint32_t)(stress->random >> 33) % below;
}

static void
twice(const struct belay_gpu_sim_call *call)
{
    uint32_t *values = call->args[0].data;

    for (uint32_t i = 0; i < WORDS; i++) {
        values[i] *= 2;
    }
}

struct once {
    struct stress *stress;
    uint32_t number;
    /* locals */
    belay_gpu_lease lease;
    belay_gpu_buffer buffer;
    belay_gpu_kernel *kernel;
    struct belay_gpu_arg arg;
    uint32_t values[WORDS];
    uint32_t i;
};

BELAY_ASYNC(once)
{
    BELAY_BEGIN;
    for (uint32_t i = 0; i < WORDS; i++) {
        self->values[i] = self->number + i;
    }
    BELAY_WITH (
        belay_gpu_lease_open(task, self->stress->pool, NULL, &self->lease)) {
        BELAY_AWAIT(belay_gpu_build(task, self->lease,
            BELAY_GPU_SOURCE(.entry = "twice", .sim = twice), &self->kernel));
        BELAY_AWAIT(belay_gpu_alloc(
            task, self->lease, sizeof(self->values), &self->buffer));
        self->arg = belay_gpu_arg_buffer(self->buffer);
        BELAY_AWAIT(belay_gpu_run_one(task, self->lease,
            BELAY_GPU_CMD_WRITE(
                self->buffer, 0, self->values, sizeof(self->values))));
        for (self->i = 0; self->i < 4; self->i++) {
            BELAY_AWAIT(belay_gpu_run_one(task, self->lease,
                BELAY_GPU_CMD_LAUNCH(self->kernel, 1, WORDS, &self->arg, 1)));
        }
        BELAY_AWAIT(belay_gpu_run_one(task, self->lease,
            BELAY_GPU_CMD_READ(
                self->buffer, 0, self->values, sizeof(self->values))));
    }
    for (uint32_t i = 0; i < WORDS; i++) {
        CHECK(self->values[i] == (self->number + i) * 16);
    }
    BELAY_END;
}

struct user {
    struct stress *stress;
    uint32_t index;
    struct belay_cancel_status status;
};

BELAY_ASYNC(user)
{
    struct stress *stress = self->stress;

    BELAY_BEGIN;
    while (stress->left > 0) {
        stress->left--;
        BELAY_WITH (belay_cancel_scope_open(task,
            BELAY_CANCEL_SCOPE_OPTS(.status = &self->status),
            &stress->scopes[self->index])) {
            BELAY_TRY(BELAY_CALL(
                once, .stress = stress, .number = (uint32_t)stress->left));
            stress->scopes[self->index] = NULL;
            if (belay_result(task)->code == 0) {
                stress->good++;
            } else if (belay_result(task)->cancelled) {
                stress->cancelled++;
            } else {
                CHECK(belay_result(task)->code == BELAY_GPU_EOP
                      || belay_result(task)->code == BELAY_GPU_ELOST);
                stress->bad++;
            }
        }
    }
    BELAY_END;
}

struct killer {
    struct stress *stress;
};

BELAY_ASYNC(killer)
{
    struct stress *stress = self->stress;
    uint32_t victim;

    BELAY_BEGIN;
    while (stress->left > 0) {
        victim = next_random(stress, USERS);
        if (stress->scopes[victim] != NULL) {
            belay_cancel_scope_cancel(stress->scopes[victim], "by the test");
        }
        BELAY_AWAIT(
            belay_sleep(task, belay_microseconds(next_random(stress, 300))));
    }
    BELAY_END;
}

BELAY_ASYNC(stress)
{
    struct belay_gpu_pool_stats stats = {.size = sizeof(stats)};

    BELAY_BEGIN;
    self->left = self->leases;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = self->devices, .max_resets = 1000000),
        &self->pool)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (uint32_t i = 0; i < USERS; i++) {
                BELAY_CHECK(
                    belay_spawn(self->group, user, .stress = self, .index = i));
            }
            BELAY_CHECK(belay_spawn(self->group, killer, .stress = self));
        }
        BELAY_CHECK(belay_gpu_pool_get_stats(self->pool, &stats));
        CHECK(self->good + self->bad + self->cancelled == self->leases);
        CHECK(stats.leases == 0 && stats.waiting == 0);
        printf("%llu leases: %llu good, %llu failed, %llu cancelled; "
               "%llu operations, %llu dropped\n",
            (unsigned long long)self->leases, (unsigned long long)self->good,
            (unsigned long long)self->bad, (unsigned long long)self->cancelled,
            (unsigned long long)stats.ops_done,
            (unsigned long long)stats.ops_dropped);
    }
    BELAY_END;
}

int
main(int argc, char **argv)
{
    const uint64_t leases =
        argc > 1 ? strtoull(argv[1], NULL, 10) : UINT64_C(2000);

    CHECK(belay_run(&stress,
              &(const struct stress){.leases = leases,
                  .devices = "sim:threads,devices=2,slots=3,launch=0,"
                             "bandwidth=1e18",
                  .random = 1},
              NULL, NULL)
          == 0);
    CHECK(belay_run(&stress,
              &(const struct stress){.leases = leases / 2,
                  .devices = "sim:threads,devices=1,slots=4,launch=20us,"
                             "p_op=0.01,fault=sticky@0:900",
                  .random = 2},
              NULL, NULL)
          == 0);
    return 0;
}
