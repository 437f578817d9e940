/* gpu_lease.c - a lease that is free, taken and given back, N times.
 *
 * CONC 0: belay_gpu_try_acquire() and belay_gpu_release(); 1: a block. No task
 * is suspended in either, and the clock is read once in each of its runs. 2: a
 * block and a checkpoint, so that each lease has a run of its own; 3: the
 * checkpoint alone, what 2 has beside the lease.
 */
#include <belay/belay.h>
#include <belay/gpu.h>

#include "bench/bench.h"

struct leases {
    long count;
    long way;
    struct moment *start;
    struct moment *end;
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    long done;
};

static int
take_and_release(belay_task *task, struct leases *leases)
{
    int code = 0;

    for (; leases->done < leases->count && code == 0; leases->done++) {
        code = belay_gpu_try_acquire(task, leases->pool, NULL, &leases->lease);
        if (code == 0) {
            code = belay_gpu_release(leases->lease);
        }
    }
    return code;
}

BELAY_ASYNC_SIZED(leases, 1024)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim:slots=8"), &self->pool)) {
        *self->start = moment_now();
        if (self->way == 0) {
            BELAY_CHECK(take_and_release(task, self));
        }
        for (; self->done < self->count; self->done++) {
            if (self->way != 3) {
                BELAY_WITH (belay_gpu_lease_open(
                    task, self->pool, NULL, &self->lease)) {
                }
            }
            if (self->way >= 2) {
                BELAY_AWAIT(belay_checkpoint(task));
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
    const struct leases arguments = {
        .count = argument(argc, argv, 1, 1000000),
        .way = argument(argc, argv, 2, 0),
        .start = &start,
        .end = &end,
    };
    int code = belay_run(&leases, &arguments, NULL, NULL);

    if (code < 0) {
        (void)fprintf(stderr, "gpu_lease: %s\n", belay_code_text(code));
        return 1;
    }
    report(arguments.count, start, end, (uint64_t)arguments.count, "");
    return 0;
}
