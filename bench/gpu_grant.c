/* gpu_grant.c - a slot handed from one to the next of N who wait.
 *
 * Each release grants the next request; the tasks that are granted do not run
 * in between, so that what is measured is the queue.
 */
#include <belay/belay.h>
#include <belay/gpu.h>

#include "bench/bench.h"

struct grants {
    long count;
    belay_gpu_lease *leases;
    struct moment *start;
    struct moment *end;
    belay_gpu_pool *pool;
    belay_group *group;
    belay_gpu_lease first;
};

struct waiter {
    struct grants *grants;
    long index;
};

BELAY_ASYNC_SIZED(waiter, 256)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_gpu_acquire(
        task, self->grants->pool, NULL, &self->grants->leases[self->index]));
    BELAY_END;
}

static int
hand_on(struct grants *grants)
{
    int code = belay_gpu_release(grants->first);

    for (long i = 0; i < grants->count && code == 0; i++) {
        code = belay_gpu_release(grants->leases[i]);
    }
    return code;
}

BELAY_ASYNC(grants)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(
                belay_gpu_try_acquire(task, self->pool, NULL, &self->first));
            for (long i = 0; i < self->count; i++) {
                BELAY_CHECK(belay_spawn(
                    self->group, waiter, .grants = self, .index = i));
            }
            BELAY_AWAIT(belay_checkpoint(task));
            *self->start = moment_now();
            BELAY_CHECK(hand_on(self));
            *self->end = moment_now();
        }
    }
    BELAY_END;
}

int
main(int argc, char **argv)
{
    struct moment start = {0};
    struct moment end = {0};
    const long count = argument(argc, argv, 1, 1000000);
    const struct grants arguments = {
        .count = count,
        .leases = must_alloc((size_t)count, sizeof(belay_gpu_lease)),
        .start = &start,
        .end = &end,
    };
    int code = belay_run(&grants, &arguments, NULL, NULL);

    free(arguments.leases);
    if (code < 0) {
        (void)fprintf(stderr, "gpu_grant: %s\n", belay_code_text(code));
        return 1;
    }
    report(count, start, end, (uint64_t)count, "");
    return 0;
}
