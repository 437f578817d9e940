/* observer.h - an observer that traces, and managers for it to see.
 *
 * What it traces, with times in milliseconds of the runtime's clock:
 *
 *     +NAME TOOK                       a block was entered
 *     !NAME ERROR                      an error of it, or of its enter
 *     -NAME OUTCOME>RESULT OPEN/TOOK   it was left: the body's outcome, and
 *                                      what the exit has made of it
 *
 * and spawns, ends, cancels and the like with the names of who was there.
 */
#ifndef BELAY_TEST_SUPPORT_OBSERVER_H
#define BELAY_TEST_SUPPORT_OBSERVER_H

#include "test/support/program.h"

/* A belay_observer_fn; arg is NULL, or a text that is put before all. */
void tell(belay_runtime *runtime, const struct belay_observed *seen, void *arg);
/* Attaches one; ret may be NULL. Where memory is refused there is none. */
void attach(belay_task *task, const char *who,
    const struct belay_observer_opts *opts, belay_observer **ret);

/* A manager that takes time. In generator style: both fast ways of the
 * trampoline are for the other.
 */
struct slow {
    int enter_ms;
    int exit_ms;
    int enter_code;
    int exit_code;
};
extern const belay_manager slow;

/* One that takes none. */
extern const belay_manager plain;

#endif
