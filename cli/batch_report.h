/* batch_report.h - what `belay batch` leaves beside its output (private). */
#ifndef BELAY_CLI_BATCH_REPORT_H
#define BELAY_CLI_BATCH_REPORT_H

#include "cli/batch_options.h"

#define BELAY__COMMAND_BYTES 4096

/* The command that goes on with the batch, fit for a shell; "" if it is too
 * long. `retry`: lines that have an error line only because the batch has
 * stopped, or that have failed, are to be sent. `more_budget`: the amount of
 * --budget is left to the reader, as MORE. So is a URL that may hold secrets.
 */
void belay__batch_resume_command(const struct belay__batch_options *options,
    bool retry, bool more_budget, char ret[BELAY__COMMAND_BYTES]);

/* Can another run find again what this one has done? From a file, into files. */
bool belay__batch_can_go_on(const struct belay__batch_options *options);

/* Writes OUTPUT.stats.json, and the page of --report; those that an `idle`
 * run, which found all done, could only make poorer are left, and told. What
 * cannot be written is told. `state` is how it ended, in a few words; `resume`
 * may be NULL.
 */
void belay__batch_write_reports(const struct belay__batch_options *options,
    const struct belay__batch_result *result, const char *state,
    const char *resume, bool idle);

#endif
