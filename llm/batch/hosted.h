/* hosted.h - would OpenAI's own batches take this input? (private)
 *
 * They have limits that we have not; who moves a file from one to the other
 * wants to know beforehand. Nothing is refused for it. Rule: B1.
 */
#ifndef BELAY_LLM_BATCH_HOSTED_H
#define BELAY_LLM_BATCH_HOSTED_H

#include "llm/batch/batch.h"
#include "runtime/buffer.h"

#define BELAY__HOSTED_LINES 50000
#define BELAY__HOSTED_BYTES UINT64_C(200000000)
#define BELAY__HOSTED_NAME 128

struct belay__hosted {
    uint64_t lines;
    uint64_t bytes;
    uint64_t bad;                 /* no valid requests */
    uint64_t foreign;             /* for a URL that is not served there */
    uint64_t other_urls;          /* than that of the first line */
    uint64_t other_models;        /* than that of the first line */
    char url[BELAY__HOSTED_NAME]; /* of the first line, cut off */
    char model[BELAY__HOSTED_NAME];
};

/* Reads the input. opts and ret must live until the end; ret is zeroed by the
 * caller.
 *
 * Errors:  BELAY_EINVAL     the input is no file
 *          BELAY_ENOMEM, codes of the system
 *          BELAY_ECANCELED  flagged
 * Threads: loop thread. Cancellation point.
 */
belay_next belay__batch_check_hosted(belay_task *task,
    const struct belay__batch_opts *opts, struct belay__hosted *ret);

/* A line for each thing that would be refused; none: nothing would be. */
int belay__hosted_text(
    struct belay__buffer *buffer, const struct belay__hosted *hosted);

#endif
