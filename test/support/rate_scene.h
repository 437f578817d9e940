/* rate_scene.h - a limiter of rates for a block. */
#ifndef BELAY_TEST_SUPPORT_RATE_SCENE_H
#define BELAY_TEST_SUPPORT_RATE_SCENE_H

#include "llm/budget/rate.h"
#include "test/support/program.h"

#define S INT64_C(1000000000)
#define PER_MINUTE(requests, tokens)          \
    {                                         \
        .per_minute = {(requests), (tokens) } \
    }

struct limiting {
    struct belay__rate_limits limits;
    struct belay__rate *limiter; /* where it is */
};
extern const belay_manager limiting;

#endif
