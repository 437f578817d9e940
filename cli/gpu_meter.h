/* gpu_meter.h - figures of a running `belay gpu demo`, and a picture of them
 * (private).
 */
#ifndef BELAY_CLI_GPU_METER_H
#define BELAY_CLI_GPU_METER_H

#include "cli/gpu_demo.h"
#include "cli/gpu_pen.h"

#define BELAY__GPU_SAMPLES 64

/* What is kept from one look to the next. */
struct belay__gpu_meter {
    struct belay__gpu_demo *demo;      /* with its pool open */
    float samples[BELAY__GPU_SAMPLES]; /* of the share of slots that run, newest
                                          last */
    int64_t busy_ns;                   /* of all slots, at the last sample */
    int64_t sampled_ns;
};

struct belay__gpu_figures {
    struct belay_gpu_pool_stats pool;
    struct belay_gpu_priority_stats waits; /* of all priorities together */
    double seconds;
    double grants_per_second;
    float used; /* share, lately */
    uint32_t running;
};

/* Takes a sample. */
void belay__gpu_figures_get(
    struct belay__gpu_meter *meter, struct belay__gpu_figures *ret);

/* As lines, fewer than rows; a terminal without room for all slots shows the
 * first of them.
 */
void belay__gpu_figures_draw(const struct belay__gpu_meter *meter,
    const struct belay__gpu_figures *figures, struct belay__pen *pen,
    unsigned rows);

#endif
