/* signals.h - SIGINT, SIGTERM and SIGUSR1 while a block runs (private). */
#ifndef BELAY_CLI_SIGNALS_H
#define BELAY_CLI_SIGNALS_H

#include <belay/task.h>

/* Called on the loop at each signal, outside any step. count is 1 the first
 * time, over those that want an end; SIGUSR1 asks how things are, and leaves it.
 */
typedef void belay__signal_fn(int signal, unsigned count, void *arg);

/* An enter operation: watches the signals until the block is left. Loops do
 * not stay alive for it.
 *
 * Owner:   arg must live until the block is left.
 * Errors:  BELAY_ENOMEM, codes of libuv; nothing is watched.
 * Threads: loop thread. Entering is not a checkpoint; the exit waits until
 *          libuv has let go of the handles.
 */
belay_next belay__signals_open(
    belay_task *task, belay__signal_fn *fn, void *arg);

#endif
