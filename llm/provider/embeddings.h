/* embeddings.h - the Embeddings format (private). */
#ifndef BELAY_LLM_PROVIDER_EMBEDDINGS_H
#define BELAY_LLM_PROVIDER_EMBEDDINGS_H

#include <belay/llm_embed.h>

#include "llm/provider/provider.h"

/* Vectors of one length, one after the other. {0}: none. */
struct belay__vectors {
    float *values;
    size_t count;
    size_t dimensions;
};

/* What is wrong with a request, as static text; NULL: nothing. */
const char *belay__embed_check(const struct belay_llm_embed *embed);

/* Appends the request as JSON. It was checked. Errors: BELAY_ENOMEM,
 * BELAY_ETOOLARGE; the buffer is as before.
 */
int belay__embed_build(
    const struct belay_llm_embed *embed, struct belay__buffer *buffer);

/* Reads the vectors of `count` inputs out of an answer that was checked, by
 * their indexes (L4). Errors: BELAY_EREPLY it has others; BELAY_ENOMEM. *ret
 * is untouched then.
 */
int belay__vectors_read(struct belay__memory *memory, struct belay_slice body,
    size_t count, struct belay__vectors *ret);
void belay__vectors_fini(
    struct belay__memory *memory, struct belay__vectors *vectors);

#endif
