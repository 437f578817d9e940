/* await.c - awaits that complete at once, on a native stack of 64 KiB.
 *
 * One task awaits an event that is set N times, then calls itself N / 100 deep
 * and returns. All of it runs on a thread whose stack would not hold a
 * thousandth of that, if a step could call another. CONC is not used.
 */
#include <belay/belay.h>

#include <pthread.h>

#include "bench/bench.h"

#define STACK_BYTES ((size_t)64 * 1024)

static struct {
    long times;
    uint64_t awaits;
    int code;
} run;

struct deep {
    long left;
};

BELAY_ASYNC_DECLARE(deep);

BELAY_ASYNC(deep)
{
    BELAY_BEGIN;
    if (self->left > 0) {
        BELAY_AWAIT(BELAY_CALL(deep, .left = self->left - 1));
        run.awaits++;
    }
    BELAY_END;
}

struct instant {
    long left;
    struct belay_event event;
};

BELAY_ASYNC(instant)
{
    BELAY_BEGIN;
    belay_event_set(&self->event);
    for (self->left = run.times; self->left > 0; self->left--) {
        BELAY_AWAIT(belay_event_wait(task, &self->event));
        run.awaits++;
    }
    BELAY_AWAIT(BELAY_CALL(deep, .left = run.times / 100));
    BELAY_END;
}

static void *
run_all(void *arg)
{
    (void)arg;
    run.code = belay_run(&instant, &(const struct instant){0}, NULL, NULL);
    return NULL;
}

/* 0, or an error number. */
static int
on_small_stack(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int error = pthread_attr_init(&attributes);

    if (error == 0) {
        error = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    }
    if (error == 0) {
        error = pthread_create(&thread, &attributes, run_all, NULL);
    }
    return error == 0 ? pthread_join(thread, NULL) : error;
}

int
main(int argc, char **argv)
{
    struct moment start;
    uint64_t wanted;
    int error;

    run.times = argument(argc, argv, 1, 1000000);
    wanted = (uint64_t)(run.times + run.times / 100);
    start = moment_now();
    error = on_small_stack();
    if (error != 0 || run.code < 0 || run.awaits != wanted) {
        (void)fprintf(stderr, "await: %s\n",
            error != 0 ? strerror(error) : belay_code_text(run.code));
        return 1;
    }
    report(run.times, start, moment_now(), run.awaits, "");
    return 0;
}
