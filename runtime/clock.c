/* clock.c - the runtime's clock: the system's, or a virtual one for tests. */
#include "runtime/internal.h"

#include <stdlib.h>
#include <time.h>

#ifndef CLOCK_MONOTONIC_COARSE
#define CLOCK_MONOTONIC_COARSE CLOCK_MONOTONIC /* then each look is a tick */
#endif

int64_t
belay__clock_now(const belay_runtime *runtime)
{
    return runtime->clock != NULL ? runtime->clock->now_ns
                                  : (int64_t)uv_hrtime();
}

int64_t
belay__clock_tick(const belay_runtime *runtime)
{
    struct timespec now = {.tv_sec = 0};

    if (runtime->clock == NULL) {
        (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    }
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t
belay__clock_of_run(belay_runtime *runtime)
{
    if (runtime->clock != NULL || runtime->current == NULL) {
        return belay__clock_now(runtime);
    }
    if (runtime->turn.began_ns == 0) {
        runtime->turn.began_ns = belay__clock_now(runtime);
    }
    return runtime->turn.began_ns;
}

belay_clock *
belay_clock_new(bool autojump)
{
    belay_clock *clock = malloc(sizeof(*clock));

    if (clock != NULL) {
        /* Not zero: a program that takes 0 for "no time" shows. */
        *clock = (belay_clock){.now_ns = 1000000000, .autojump = autojump};
    }
    return clock;
}

void
belay_clock_free(belay_clock *clock)
{
    BELAY__REQUIRE(clock == NULL || clock->runtime == NULL,
        "a runtime still uses the clock");
    free(clock);
}

void
belay_clock_advance(belay_clock *clock, belay_duration span)
{
    if (span.ns <= 0) {
        return;
    }
    if (__builtin_add_overflow(clock->now_ns, span.ns, &clock->now_ns)) {
        clock->now_ns = INT64_MAX;
    }
    if (clock->runtime != NULL) {
        belay__runtime_kick(clock->runtime);
    }
}
