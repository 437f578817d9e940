/* batch_end.h - how a run of `belay batch` has ended (private).
 *
 * Rules: B27, B31.
 */
#ifndef BELAY_CLI_BATCH_END_H
#define BELAY_CLI_BATCH_END_H

#include "cli/batch_first.h"
#include "cli/batch_options.h"

/* B31 */
enum belay__batch_exit {
    BELAY__EXIT_OK = 0,
    BELAY__EXIT_LINES_FAILED = 1,
    BELAY__EXIT_USAGE = 2,
    BELAY__EXIT_BUDGET = 3,
    BELAY__EXIT_REFUSED = 4,
    BELAY__EXIT_IO = 5,
    BELAY__EXIT_SIGNAL = 128,
};

/* Prints the report to standard error, below a title. */
void belay__batch_say_stats(
    const struct belay__batch_stats *stats, const char *title);

/* Says how a run that has begun has ended and what to do next, writes the files
 * that it leaves, and gives the exit code. `signal` is the first that came, or
 * 0.
 */
int belay__batch_end(const struct belay__batch_options *options,
    struct belay__batch_result *result,
    const struct belay__batch_firsts *firsts, int signal);

#endif
