/* progress.h - a running batch in one line, for people or as JSON (private).
 *
 * Pure text from numbers, so that it can be tested; who prints it, and when,
 * is the caller's business. Rule: B30.
 */
#ifndef BELAY_LLM_BATCH_PROGRESS_H
#define BELAY_LLM_BATCH_PROGRESS_H

#include "llm/batch/stats.h"

/* Rates over the last few seconds; zeroed at first. */
struct belay__batch_rates {
    int64_t at_ns; /* of the last update */
    uint64_t done; /* then */
    uint64_t tokens;
    double weight; /* of all intervals so far, the old ones fading */
    double done_per_s;
    double tokens_per_s;
};

/* Brings the rates up to date; call it as often as a line is shown. */
void belay__batch_rates_update(struct belay__batch_rates *rates,
    const struct belay__batch_stats *stats, int64_t now_ns);

/* The line, without a newline, at most `columns` characters (and size - 1
 * bytes); 0 columns: as long as it gets. What has no room is left out whole,
 * what matters least first. Plain ASCII, nothing of it comes
 * from a server.
 */
void belay__batch_progress_line(const struct belay__batch_stats *stats,
    const struct belay__batch_rates *rates, unsigned columns, char *ret,
    size_t size);

/* The same numbers as one JSON object, without a newline. */
void belay__batch_progress_json(const struct belay__batch_stats *stats,
    const struct belay__batch_rates *rates, int64_t now_ns, char *ret,
    size_t size);

/* All that counts against a budget, in picodollars: earlier runs' too. */
int64_t belay__batch_spent(const struct belay__batch_stats *stats);
/* "$12.34", "$0.00123" */
void belay__format_money(int64_t pico, char *ret, size_t size);
/* "812", "9.4k", "1.3M": three digits or so. */
void belay__format_count(double value, char *ret, size_t size);
/* "0:42", "1:02:03" */
void belay__format_span(double seconds, char *ret, size_t size);

#endif
