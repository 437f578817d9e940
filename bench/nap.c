/* nap.c - memory of tasks that only sleep, and the peace they leave, on Belay.
 *
 * N tasks sleep for an hour, as plain as a task can be. What does each cost?
 * Then the loop's thread is watched for a second by a timer of its own: how
 * often does it wake up besides? CONC is not used.
 */
#include <belay/belay.h>
#include <belay/uv.h>

#include <uv.h>

#include "bench/bench.h"

#define WATCH_MS 1000

static struct {
    uv_loop_t loop;
    uv_timer_t timer;
    uv_prepare_t prepare;
    belay_runtime *runtime;
    long naps;
    long ended;
    long turns;    /* of the loop */
    long switches; /* voluntary ones of this thread, before */
    double resident;
    double cpu_s;
    char more[160];
} run;

struct nap {
    char unused;
};

BELAY_ASYNC(nap)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_seconds(3600)));
    BELAY_END;
}

static void
on_child(belay_task *child, const struct belay_result *result, void *arg)
{
    (void)child;
    (void)arg;
    run.ended += result->cancelled;
}

struct dormitory {
    belay_group *group;
};

BELAY_ASYNC(dormitory)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.on_child = on_child), &self->group)) {
        for (long i = 0; i < run.naps; i++) {
            BELAY_CHECK(belay_spawn(self->group, nap, .unused = 0));
        }
    }
    BELAY_END;
}

static long
switches_now(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
}

static void
on_prepare(uv_prepare_t *prepare)
{
    (void)prepare;
    run.turns++;
}

/* The second is over: close everything. */
static void
on_watched(uv_timer_t *timer)
{
    const struct moment now = moment_now();

    (void)snprintf(run.more, sizeof(run.more),
        ",\"rss_per_task\":%.1f,\"turns\":%ld,\"wakeups\":%ld,\"cpu_s\":%.6f",
        run.resident, run.turns - 1, switches_now() - run.switches - 1,
        now.user_s + now.system_s - run.cpu_s);
    uv_close((uv_handle_t *)timer, NULL);
    uv_close((uv_handle_t *)&run.prepare, NULL);
    belay_runtime_close(run.runtime, NULL, NULL);
}

/* By now every task sleeps. */
static void
on_asleep(uv_timer_t *timer)
{
    const struct moment now = moment_now();

    run.resident = (resident_bytes() - run.resident) / (double)run.naps;
    run.cpu_s = now.user_s + now.system_s;
    run.turns = 0;
    run.switches = switches_now();
    (void)uv_prepare_start(&run.prepare, on_prepare);
    (void)uv_timer_start(timer, on_watched, WATCH_MS, 0);
}

int
main(int argc, char **argv)
{
    struct moment start;
    int code;

    run.naps = argument(argc, argv, 1, 100000);
    (void)uv_loop_init(&run.loop);
    (void)uv_timer_init(&run.loop, &run.timer);
    (void)uv_prepare_init(&run.loop, &run.prepare);
    code = belay_runtime_attach(&run.loop, NULL, &run.runtime);
    run.resident = resident_bytes();
    start = moment_now();
    if (code == 0) {
        code = belay_runtime_spawn(run.runtime, &dormitory,
            &(const struct dormitory){0}, NULL, NULL, NULL);
    }
    if (code < 0) {
        (void)fprintf(stderr, "nap: %s\n", belay_code_text(code));
        return 1;
    }
    (void)uv_timer_start(&run.timer, on_asleep, WATCH_MS, 0);
    (void)uv_run(&run.loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&run.loop);
    report(run.naps, start, moment_now(), (uint64_t)run.ended, run.more);
    return 0;
}
