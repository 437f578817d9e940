/* said.h - a message that was said, and never changes again (private to
 * llm/session/).
 *
 * One block holds the message and all that it points to. It is counted,
 * because histories that have a common past share it.
 */
#ifndef BELAY_LLM_SESSION_SAID_H
#define BELAY_LLM_SESSION_SAID_H

#include <belay/llm_chat.h>

#include "runtime/memory.h"

#define BELAY__SAID_CALLS_MAX 1024 /* tool calls of a message */
#define BELAY__SAID_PARTS_MAX 4096 /* parts of a message */

struct belay__said {
    uint32_t refs;
    bool incomplete;                  /* its answer broke off */
    size_t size;                      /* of the block */
    int64_t tokens;                   /* a guess */
    struct belay_llm_message message; /* its role is static text */
};

/* The roles that a message may have, as static text; NULL: it is none. */
const char *belay__said_role(const char *role);
bool belay__said_is(const struct belay__said *said, const char *role);

/* What is wrong with a message by itself, as static text; NULL: nothing. */
const char *belay__said_check(const struct belay_llm_message *message);

/* A copy of a message that was checked. Errors: BELAY_ENOMEM, BELAY_ETOOLARGE
 * beyond `max` bytes; *ret is untouched.
 */
int belay__said_new(struct belay__memory *memory,
    const struct belay_llm_message *message, bool incomplete, size_t max,
    struct belay__said **ret);

static inline struct belay__said *
belay__said_ref(struct belay__said *said)
{
    said->refs++;
    return said;
}

/* NULL is legal. */
void belay__said_unref(struct belay__memory *memory, struct belay__said *said);

#endif
