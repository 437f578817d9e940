/* gpu_w4.c - W4 on the GPU pool: N tasks contend for CONC slots; each holds
 * one across one checkpoint. First come, first served is checked.
 */
#include <belay/belay.h>
#include <belay/gpu.h>

#include "bench/bench.h"
#include "bench/fifo.h"

struct pool {
    long tasks;
    uint32_t slots;
    struct fifo *fifo;
    struct moment *start;
    struct moment *end;
    belay_gpu_pool *gpus;
    belay_group *group;
};

struct user {
    struct pool *pool;
    long request;
    belay_gpu_lease lease;
};

BELAY_ASYNC_SIZED(user, BELAY_GPU_LEASE_BYTES)
{
    BELAY_BEGIN;
    self->request = fifo_ask(self->pool->fifo);
    BELAY_WITH (
        belay_gpu_lease_open(task, self->pool->gpus, NULL, &self->lease)) {
        fifo_grant(self->pool->fifo, self->request);
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

BELAY_ASYNC(pool)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "sim", .slots = self->slots),
        &self->gpus)) {
        *self->start = moment_now();
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (long i = 0; i < self->tasks; i++) {
                BELAY_CHECK(belay_spawn(self->group, user, .pool = self));
            }
        }
        *self->end = moment_now();
    }
    BELAY_END;
}

int
main(int argc, char **argv)
{
    struct fifo fifo;
    struct moment start = {0};
    struct moment end = {0};
    const struct pool arguments = {
        .tasks = argument(argc, argv, 1, 100000),
        .slots = (uint32_t)argument(argc, argv, 2, 8),
        .fifo = &fifo,
        .start = &start,
        .end = &end,
    };
    char more[160];
    int code;

    fifo_init(&fifo, arguments.tasks);
    code = belay_run(&pool, &arguments, NULL, NULL);
    if (code < 0) {
        (void)fprintf(stderr, "gpu_w4: %s\n", belay_code_text(code));
        return 1;
    }
    fifo_report(&fifo, more, sizeof(more));
    report(arguments.tasks, start, end, (uint64_t)fifo.granted, more);
    fifo_fini(&fifo);
    return 0;
}
