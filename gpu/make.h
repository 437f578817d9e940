/* make.h - a pool's memory, made in one go and freed in one (private). */
#ifndef BELAY_GPU_MAKE_H
#define BELAY_GPU_MAKE_H

#include "gpu/internal.h"

/* NULL, or what is wrong with the options. */
const char *belay__gpu_pool_opts_check(const struct belay_gpu_pool_opts *opts);
/* A pool on what was found, whose driver and note it takes over; a failure has
 * changed nothing.
 */
int belay__gpu_pool_make(belay_runtime *runtime,
    const struct belay_gpu_pool_opts *opts, struct belay__gpu_found *found,
    belay_gpu_pool **ret);
/* Its slots are shut and its driver is unloaded. */
void belay__gpu_pool_free(belay_gpu_pool *pool);

#endif
