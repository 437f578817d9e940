/* usage.h - token counts, in one form for all servers (private). */
#ifndef BELAY_LLM_PROVIDER_USAGE_H
#define BELAY_LLM_PROVIDER_USAGE_H

#include <belay/llm.h>

/* Nothing was told. */
extern const struct belay_llm_usage belay__usage_unknown;

/* Counts as servers write them; -1: not told. */
struct belay__usage_counts {
    struct belay_llm_usage usage; /* what has the same meaning everywhere */
    int64_t total;
    int64_t prompt; /* OpenAI's: all that came in */
    int64_t input;  /* Anthropic's: what the two below are no part of, or
                           a gateway's other name for all */
    int64_t apart_read;
    int64_t apart_write;
    bool told;  /* there was an object */
    bool begun; /* the output is what there was at the start of a stream */
};

void belay__usage_begin(struct belay__usage_counts *counts);
/* Reads a usage object in any of the shapes of Chat Completions, Responses,
 * Embeddings and Messages (L45, L47, L48). What an earlier one has said is
 * replaced, never added to: counts in streams are cumulative. `raw` is JSON
 * that was checked. Who reads the counts of a start sets `begun` behind it;
 * the next output that is told clears it.
 */
void belay__usage_read(
    struct belay__usage_counts *counts, struct belay_slice raw);
/* The sum of what was read; ret->raw is empty. */
void belay__usage_settle(
    const struct belay__usage_counts *counts, struct belay_llm_usage *ret);

/* All at once. `raw` must outlive *ret; if it is no object, all is unknown. */
void belay__usage_parse(struct belay_slice raw, struct belay_llm_usage *ret);

#endif
