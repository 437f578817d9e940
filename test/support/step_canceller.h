/* step_canceller.h - a cancel at any step of the runtime, for sweeps that have
 * no virtual clock.
 */
#ifndef BELAY_TEST_SUPPORT_STEP_CANCELLER_H
#define BELAY_TEST_SUPPORT_STEP_CANCELLER_H

#include <belay/task.h>

/* Cancels `victim` when all tasks but this one have run `steps` steps. */
struct canceller {
    belay_task *victim;
    uint64_t steps;
    uint64_t own;
};
extern const belay_function canceller;

#endif
