/* w1.c - tasks through three scopes, by hand on libuv.
 *
 * The floor under ../w1.c: one malloc a task, an integer for its state, one
 * list of ready tasks that an idle handle walks. No scopes, no results, no
 * cancel; a turn of the loop runs what was ready when it began.
 */
#include <uv.h>

#include "bench/bench.h"

#define LEVELS 3

struct work {
    struct work *next;
    int passed; /* enters, then exits */
};

static struct {
    struct work *first;
    struct work **last;
    long left;
    long alive;
    uint64_t passages;
} run = {.last = &run.first};

static void
make_ready(struct work *work)
{
    work->next = NULL;
    *run.last = work;
    run.last = &work->next;
}

static void
spawn_next(void)
{
    struct work *work;

    if (run.left == 0) {
        return;
    }
    work = malloc(sizeof(*work));
    if (work == NULL) {
        abort();
    }
    work->passed = -1;
    run.left--;
    run.alive++;
    make_ready(work);
}

static void
resume(struct work *work)
{
    if (work->passed >= 0) {
        run.passages++;
    }
    if (++work->passed < 2 * LEVELS) {
        make_ready(work);
        return;
    }
    free(work);
    run.alive--;
    spawn_next();
}

static void
on_idle(uv_idle_t *idle)
{
    struct work *work = run.first;
    struct work *next;

    run.first = NULL;
    run.last = &run.first;
    for (; work != NULL; work = next) {
        next = work->next;
        resume(work);
    }
    if (run.alive == 0) {
        (void)uv_idle_stop(idle);
    }
}

int
main(int argc, char **argv)
{
    const long tasks = argument(argc, argv, 1, 200000);
    const long alive_max = argument(argc, argv, 2, 1000);
    uv_loop_t *loop = uv_default_loop();
    struct moment start;
    uv_idle_t idle;

    if (loop == NULL) {
        return 1;
    }
    run.left = tasks;
    start = moment_now();
    (void)uv_idle_init(loop, &idle);
    for (long i = 0; i < alive_max; i++) {
        spawn_next();
    }
    (void)uv_idle_start(&idle, on_idle);
    (void)uv_run(loop, UV_RUN_DEFAULT);
    report(tasks, start, moment_now(), run.passages, "");
    return 0;
}
