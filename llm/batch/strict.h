/* strict.h - a look at the whole input before anything is sent (private). */
#ifndef BELAY_LLM_BATCH_STRICT_H
#define BELAY_LLM_BATCH_STRICT_H

#include "llm/batch/batch.h"

/* Reads the input and checks every line as the run would, repeated ids
 * included. opts must live until the end. Rule: B2.
 *
 * Errors:  BELAY_EINVAL     lines are not valid; the sentence tells how many
 *                           and quotes the first; or the input is no file
 *          BELAY_ENOMEM, codes of the system
 *          BELAY_ECANCELED  flagged
 * Threads: loop thread. Cancellation point.
 */
belay_next belay__batch_check(
    belay_task *task, const struct belay__batch_opts *opts);

#endif
