/* seen.h - hashes that were met lately (private to llm/record/).
 *
 * Most messages are new and never come again; to keep their texts, as recent.h
 * does, is for those that have come twice. A hash has one place; the one that
 * was there before is forgotten, so that what is not here may be in the file
 * all the same.
 */
#ifndef BELAY_LLM_RECORD_SEEN_H
#define BELAY_LLM_RECORD_SEEN_H

#include "llm/record/hash.h"

#include <string.h>

#define BELAY__SEEN 4096

struct belay__seen {
    struct belay__hash hashes[BELAY__SEEN]; /* all zero: none */
};

static inline void
belay__seen_clear(struct belay__seen *seen)
{
    memset(seen, 0, sizeof(*seen));
}

/* Has it been met? It has now. */
static inline bool
belay__seen_before(struct belay__seen *seen, const struct belay__hash *hash)
{
    struct belay__hash *at =
        &seen->hashes[(hash->bytes[0] | hash->bytes[1] << 8) % BELAY__SEEN];

    if (memcmp(at, hash, sizeof(*hash)) == 0) {
        return true;
    }
    *at = *hash;
    return false;
}

#endif
