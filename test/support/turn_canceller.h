/* turn_canceller.h - a cancel at any turn of a task, for sweeps that have
 * no virtual clock.
 */
#ifndef BELAY_TEST_SUPPORT_TURN_CANCELLER_H
#define BELAY_TEST_SUPPORT_TURN_CANCELLER_H

#include <belay/task.h>

/* Cancels `victim` when all tasks but this one have had so many turns. */
struct canceller {
    belay_task *victim;
    uint64_t turns;
    uint64_t own;
};
extern const belay_function canceller;

#endif
