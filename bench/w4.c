/* w4.c - a pool of slots, on Belay.
 *
 * N tasks contend for CONC permits of a semaphore; each holds one across one
 * checkpoint. First come, first served is checked, not assumed.
 */
#include <belay/belay.h>

#include "bench/bench.h"
#include "bench/fifo.h"

struct pool {
    long tasks;
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
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (long i = 0; i < self->tasks; i++) {
            BELAY_CHECK(belay_spawn(self->group, user, .pool = self));
        }
    }
    BELAY_END;
}

int
main(int argc, char **argv)
{
    struct fifo fifo;
    const struct pool arguments = {
        .tasks = argument(argc, argv, 1, 100000),
        .slots = (uint32_t)argument(argc, argv, 2, 8),
        .fifo = &fifo,
    };
    struct moment start;
    struct moment end;
    char more[160];
    int code;

    fifo_init(&fifo, arguments.tasks);
    start = moment_now();
    code = belay_run(&pool, &arguments, NULL, NULL);
    end = moment_now();
    if (code < 0) {
        (void)fprintf(stderr, "w4: %s\n", belay_code_text(code));
        return 1;
    }
    fifo_report(&fifo, more, sizeof(more));
    report(arguments.tasks, start, end, (uint64_t)fifo.granted, more);
    fifo_fini(&fifo);
    return 0;
}
