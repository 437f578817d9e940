/* html.h - what a batch has done, as a page (private). Rule: B27. */
#ifndef BELAY_LLM_BATCH_HTML_H
#define BELAY_LLM_BATCH_HTML_H

#include "llm/batch/batch.h"
#include "runtime/buffer.h"

/* What the page says besides the numbers; any may be NULL. */
struct belay__html_opts {
    const char *input;
    const char *output;
    const char *began;  /* a date */
    const char *state;  /* in a few words: "done", "stopped at the budget" */
    const char *resume; /* the command that goes on */
};

/* Appends a page that needs nothing else: no script, no file, no network.
 * Errors: BELAY_ENOMEM, BELAY_ETOOLARGE.
 */
int belay__batch_report_html(struct belay__buffer *buffer,
    const struct belay__batch_stats *stats,
    const struct belay__html_opts *opts);

#endif
