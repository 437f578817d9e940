/* w4.c - a pool of slots, on Belay.
 *
 * N tasks contend for CONC permits of a semaphore; each holds one across one
 * checkpoint. First come, first served is checked, not assumed. With a third
 * number WAVE they come that many at a time, the next ones when all have gone:
 * what the memory of tasks costs when it is used again.
 */
#include <belay/belay.h>

#include "bench/bench.h"
#include "bench/fifo.h"

struct pool {
    long tasks; /* that have not come yet */
    long wave;
    uint32_t slots;
    struct fifo *fifo;
    struct belay_semaphore semaphore;
    belay_group *group;
};

struct user {
    struct pool *pool;
    long request;
};

BELAY_ASYNC_SIZED(user, BELAY_ENTER_BYTES(struct belay_semaphore *))
{
    BELAY_BEGIN;
    self->request = fifo_ask(self->pool->fifo);
    BELAY_WITH (belay_semaphore_open(task, &self->pool->semaphore)) {
        fifo_grant(self->pool->fifo, self->request);
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

BELAY_ASYNC(pool)
{
    BELAY_BEGIN;
    belay_semaphore_init(&self->semaphore, self->slots);
    while (self->tasks > 0) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (long i = 0; i < self->wave && self->tasks > 0; i++) {
                BELAY_CHECK(belay_spawn(self->group, user, .pool = self));
                self->tasks--;
            }
        }
    }
    BELAY_END;
}

int
main(int argc, char **argv)
{
    const long tasks = argument(argc, argv, 1, 100000);
    struct fifo fifo;
    const struct pool arguments = {
        .tasks = tasks,
        .wave = argument(argc, argv, 3, tasks),
        .slots = (uint32_t)argument(argc, argv, 2, 8),
        .fifo = &fifo,
    };
    struct moment start;
    struct moment end;
    char more[160];
    int code;

    fifo_init(&fifo, tasks);
    start = moment_now();
    code = belay_run(&pool, &arguments, NULL, NULL);
    end = moment_now();
    if (code < 0) {
        (void)fprintf(stderr, "w4: %s\n", belay_code_text(code));
        return 1;
    }
    fifo_report(&fifo, more, sizeof(more));
    report(tasks, start, end, (uint64_t)fifo.granted, more);
    fifo_fini(&fifo);
    return 0;
}
