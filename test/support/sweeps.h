/* sweeps.h - every program of every suite, again and again, with faults.
 *
 * BELAY_SWEEP in the environment names the faults, as "cancel,late"; then
 * program_run() first tries its program with each of them, in a process of
 * its own each time, so that a trial changes nothing for the next one and
 * nothing for the test. ./dev sweep sets it.
 *
 *   cancel  everything is cancelled at the k-th wait, for every k, and then
 *           again just after it has begun
 *   alloc   the k-th allocation fails, for every k; then all from it on too
 *   sync    sleeps are operations that complete while they are begun
 *   late    sleeps are operations that end a while after they were aborted,
 *           or refuse that; and each step of a task waits its turn
 *
 * The last two also with cancels. What a test asserts does not count in a
 * trial. What does: it must end, without a crash, with nothing left behind,
 * each exit run once and in its turn, and with the result that it has when
 * nothing is done to it, or else one that comes from the fault.
 */
#ifndef BELAY_TEST_SUPPORT_SWEEPS_H
#define BELAY_TEST_SUPPORT_SWEEPS_H

#include "test/support/program.h"

enum pace {
    PACE_NORMAL,
    PACE_SYNC,
    PACE_LATE,
};

/* What is done to one run of a program. All zero: nothing. */
struct fault {
    uint64_t cancel_in; /* at the n-th wait; 0: never */
    bool cancel_late;   /* when it has begun */
    enum pace pace;
};

/* Runs the program in this process; look for leftovers yourself. *ret_left is
 * what is left of cancel_in; above it: the cancel has happened.
 */
int program_try(const struct program *program, const struct fault *fault,
    uint64_t *ret_left, struct belay_result *ret);
/* Aborts, or fails the test, if anything has stayed. */
void program_check_left(
    const char *what, uint64_t k, size_t blocks, size_t fds);
/* File descriptors before a run. */
size_t program_count_fds(void);

/* What BELAY_SWEEP asks for; fails the test if a trial goes wrong. */
void sweeps_try(const struct program *program);

#endif
