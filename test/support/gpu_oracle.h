/* gpu_oracle.h - what must hold of a pool of GPU slots after every change.
 *
 * Two oracles. The first looks at the pool's own structures: slots and bytes
 * are conserved, each slot has one holder at most, nothing out of service can
 * be granted, times add up. The second is a reference model, plain lists and
 * loops, that is fed with the pool's events and says for each grant who it
 * should have gone to and where; it knows no faults.
 *
 * Either prints the last events and aborts, so that a sweep stops at once.
 */
#ifndef BELAY_TEST_SUPPORT_GPU_ORACLE_H
#define BELAY_TEST_SUPPORT_GPU_ORACLE_H

#include <belay/gpu_stats.h>

struct gpu_oracle;

/* From now on the pool is watched. `model` too: the second oracle. The watch
 * ends with the pool.
 */
void gpu_oracle_watch(belay_gpu_pool *pool, bool model);

/* How often the pool has been looked at since the process began. */
uint64_t gpu_oracle_looks(void);

/* Of the pool that is watched: how often the model has foreseen a grant. */
uint64_t gpu_oracle_grants(void);

/* Printed with a failure, as the seed of a random program. */
extern char gpu_oracle_hint[160];

#endif
