/* report.h - what a batch has done, at its end (private). Rules: B11, B27. */
#ifndef BELAY_LLM_BATCH_REPORT_H
#define BELAY_LLM_BATCH_REPORT_H

#include "llm/batch/stats.h"
#include "runtime/buffer.h"

/* Appends the report for people, several lines. Errors: BELAY_ENOMEM. */
int belay__batch_report_text(
    struct belay__buffer *buffer, const struct belay__batch_stats *stats);

/* Appends the same as one JSON object and a newline; `state` is how it has
 * ended, in a few words. Errors: BELAY_ENOMEM.
 */
int belay__batch_report_json(struct belay__buffer *buffer,
    const struct belay__batch_stats *stats, const char *state);

#endif
