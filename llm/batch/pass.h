/* pass.h - the whole input, line by line, with nothing sent (private). */
#ifndef BELAY_LLM_BATCH_PASS_H
#define BELAY_LLM_BATCH_PASS_H

#include "llm/batch/batch.h"
#include "llm/batch/request.h"

/* Told of each line that is not blank, good or bad, repeated ids included; the
 * body of a good one is as it would be sent. A negative code ends the pass.
 */
typedef int belay__batch_pass_fn(void *arg,
    const struct belay__batch_opts *opts, const struct belay__line *line,
    const struct belay__batch_request *request);

/* May it be looked at first, and read again by the run? What is not there may
 * be: it fails later, with its own sentence.
 */
bool belay__batch_is_rereadable(const char *path);

/* Reads the input as a run would. Nothing of a run is open. opts and arg must
 * live until the end.
 *
 * Errors:  those of fn; BELAY_ENOMEM, codes of the system, with a sentence if
 *          the input cannot be opened
 *          BELAY_ECANCELED  flagged
 * Threads: loop thread. Cancellation point.
 */
belay_next belay__batch_pass(belay_task *task,
    const struct belay__batch_opts *opts, belay__batch_pass_fn *fn, void *arg);

#endif
