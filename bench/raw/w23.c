/* w23.c - memory of parked tasks, then all of them cancelled, by hand.
 *
 * The floor under ../w23.c: a task is a state, two links and an uv_timer_t,
 * which is what a libuv program has where something waits with a deadline.
 */
#include <uv.h>

#include "bench/bench.h"

/* The turns of a sleeper: what it has behind it when it runs. */
enum {
    STARTED = 1, /* then three enters */
    PARK = 4,    /* the third of them */
    WOKEN = 5,   /* then three exits */
    END = 8,     /* the third of them */
};

struct sleeper {
    struct sleeper *next;   /* in the list of ready ones */
    struct sleeper *parked; /* in the list of parked ones */
    int turns;
    uv_timer_t timer;
};

static struct {
    uv_loop_t *loop;
    uv_idle_t idle;
    struct sleeper *first;
    struct sleeper **last;
    struct sleeper *parked;
    long tasks;
    long waiting; /* for the hour to end */
    long ended;
    uint64_t passages;
} run = {.last = &run.first};

static void
make_ready(struct sleeper *sleeper)
{
    sleeper->next = NULL;
    *run.last = sleeper;
    run.last = &sleeper->next;
}

static void
on_timer(uv_timer_t *timer)
{
    make_ready(timer->data);
}

static void
on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void
park(struct sleeper *sleeper)
{
    sleeper->parked = run.parked;
    run.parked = sleeper;
    (void)uv_timer_start(&sleeper->timer, on_timer, 3600000, 0);
    if (++run.waiting == run.tasks) {
        uv_stop(run.loop);
    }
}

static void
resume(struct sleeper *sleeper)
{
    sleeper->turns++;
    if (sleeper->turns != STARTED && sleeper->turns != WOKEN) {
        run.passages++;
    }
    if (sleeper->turns == PARK) {
        park(sleeper);
    } else if (sleeper->turns == END) {
        run.ended++;
        uv_close((uv_handle_t *)&sleeper->timer, on_closed);
    } else {
        make_ready(sleeper);
    }
}

static void
on_idle(uv_idle_t *idle)
{
    struct sleeper *sleeper = run.first;
    struct sleeper *next;

    run.first = NULL;
    run.last = &run.first;
    for (; sleeper != NULL; sleeper = next) {
        next = sleeper->next;
        resume(sleeper);
    }
    if (run.ended == run.tasks) {
        (void)uv_idle_stop(idle);
    }
}

static void
spawn(void)
{
    struct sleeper *sleeper = malloc(sizeof(*sleeper));

    if (sleeper == NULL) {
        abort();
    }
    (void)uv_timer_init(run.loop, &sleeper->timer);
    sleeper->timer.data = sleeper;
    sleeper->turns = 0;
    make_ready(sleeper);
}

static void
cancel_all(void)
{
    struct sleeper *sleeper = run.parked;

    for (; sleeper != NULL; sleeper = sleeper->parked) {
        (void)uv_timer_stop(&sleeper->timer);
        make_ready(sleeper);
    }
}

int
main(int argc, char **argv)
{
    char more[128];
    double resident;
    struct moment start;
    struct moment parked;
    struct moment cancel;

    run.tasks = argument(argc, argv, 1, 100000);
    run.loop = uv_default_loop();
    if (run.loop == NULL) {
        return 1;
    }
    (void)uv_idle_init(run.loop, &run.idle);
    resident = resident_bytes();
    start = moment_now();
    for (long i = 0; i < run.tasks; i++) {
        spawn();
    }
    (void)uv_idle_start(&run.idle, on_idle);
    (void)uv_run(run.loop, UV_RUN_DEFAULT);
    parked = moment_now();
    (void)snprintf(more, sizeof(more), ",\"park_s\":%.6f,\"rss_per_task\":%.1f",
        parked.wall_s - start.wall_s,
        (resident_bytes() - resident) / (double)run.tasks);

    cancel = moment_now();
    cancel_all();
    (void)uv_run(run.loop, UV_RUN_DEFAULT);
    report(run.tasks, cancel, moment_now(), run.passages, more);
    return 0;
}
