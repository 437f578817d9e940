/* usage.h - token counts, in one form for all servers (private). */
#ifndef BELAY_LLM_PROVIDER_USAGE_H
#define BELAY_LLM_PROVIDER_USAGE_H

#include <belay/llm.h>

/* All unknown. */
extern const struct belay_llm_usage belay__usage_unknown;

/* Reads a usage object in any of the shapes of Chat Completions, Responses,
 * Embeddings and Messages (L45, L47, L48). `raw` is JSON that was checked and
 * must outlive *ret; if it is not an object, everything is unknown.
 */
void belay__usage_parse(struct belay_slice raw, struct belay_llm_usage *ret);

#endif
