/* gpu_view.h - `belay gpu demo` while it runs, on a terminal or in lines
 * (private).
 */
#ifndef BELAY_CLI_GPU_VIEW_H
#define BELAY_CLI_GPU_VIEW_H

#include "cli/gpu_demo.h"

/* An enter operation: shows the demo on standard error, several times a second
 * (or, as lines, once a second), until the block is left. The last picture
 * stays; the terminal is as it was.
 *
 *   progress  VIEW, LINES or NONE
 *
 * Owner:   demo must live until the block is left; its pool may be NULL.
 * Errors:  BELAY_ENOMEM; nothing is shown.
 * Threads: loop thread. Entering is not a checkpoint; the exit waits until
 *          libuv has let go of the timer.
 */
belay_next belay__gpu_view_open(belay_task *task, struct belay__gpu_demo *demo,
    enum belay__gpu_progress progress);

#endif
