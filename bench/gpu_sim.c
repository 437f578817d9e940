/* gpu_sim.c - N leases on CONC simulated devices, a kernel each, on a virtual
 * clock: how fast a day of a cluster can be tried out.
 */
#include <belay/belay.h>
#include <belay/gpu_work.h>

#include "bench/bench.h"

struct cluster {
    long leases;
    const char *devices;
    struct moment *start;
    struct moment *end;
    belay_gpu_pool *pool;
    belay_group *group;
    long left;
};

struct user {
    struct cluster *cluster;
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
};

BELAY_ASYNC_SIZED(user, 320)
{
    BELAY_BEGIN;
    while (self->cluster->left > 0) {
        self->cluster->left--;
        BELAY_WITH (belay_gpu_lease_open(
            task, self->cluster->pool, NULL, &self->lease)) {
            BELAY_AWAIT(belay_gpu_build(task, self->lease,
                BELAY_GPU_SOURCE(.entry = "k"), &self->kernel));
            BELAY_AWAIT(belay_gpu_run_one(task, self->lease,
                BELAY_GPU_CMD_LAUNCH(self->kernel, 64, 256, NULL, 0)));
        }
    }
    BELAY_END;
}

BELAY_ASYNC(cluster)
{
    BELAY_BEGIN;
    self->left = self->leases;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = self->devices), &self->pool)) {
        *self->start = moment_now();
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (int i = 0; i < 100; i++) {
                BELAY_CHECK(belay_spawn(self->group, user, .cluster = self));
            }
        }
        *self->end = moment_now();
    }
    BELAY_END;
}

int
main(int argc, char **argv)
{
    struct moment start = {0};
    struct moment end = {0};
    char devices[64];
    belay_clock *clock = belay_clock_new(true);
    const struct cluster arguments = {
        .leases = argument(argc, argv, 1, 1000000),
        .devices = devices,
        .start = &start,
        .end = &end,
    };
    int code;

    (void)snprintf(devices, sizeof(devices), "sim:devices=%ld,slots=2,seed=7",
        argument(argc, argv, 2, 4));
    code = belay_run(
        &cluster, &arguments, BELAY_RUNTIME_OPTS(.clock = clock), NULL);
    belay_clock_free(clock);
    if (code < 0) {
        (void)fprintf(stderr, "gpu_sim: %s\n", belay_code_text(code));
        return 1;
    }
    report(arguments.leases, start, end, (uint64_t)arguments.leases, "");
    return 0;
}
