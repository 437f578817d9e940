/* history.h - what was said, as a list that sessions share (private to
 * llm/session/).
 *
 * A history is a pointer to its newest message; NULL is an empty one. Entries
 * never change and are counted: a fork is one reference, a turn is staged on
 * top of what its session has, and undone by letting go of it.
 *
 * Each call of a tool has one result, right behind the message that calls,
 * and there is no result without a call; only the newest calls of a history
 * may still be open (L68).
 */
#ifndef BELAY_LLM_SESSION_HISTORY_H
#define BELAY_LLM_SESSION_HISTORY_H

#include "llm/session/said.h"

struct belay__history {
    struct belay__history *below; /* a reference */
    struct belay__said *said;     /* a reference */
    uint32_t refs;
    size_t count;   /* of messages, this one included … */
    size_t bytes;   /* … and what they take … */
    int64_t tokens; /* … and a guess at what they cost to send */
};

static inline struct belay__history *
belay__history_ref(struct belay__history *history)
{
    if (history != NULL) {
        history->refs++;
    }
    return history;
}

/* NULL is legal. Not by recursion, for histories are long. */
void belay__history_unref(
    struct belay__memory *memory, struct belay__history *history);

static inline size_t
belay__history_count(const struct belay__history *history)
{
    return history != NULL ? history->count : 0;
}

static inline size_t
belay__history_bytes(const struct belay__history *history)
{
    return history != NULL ? history->bytes : 0;
}

static inline int64_t
belay__history_tokens(const struct belay__history *history)
{
    return history != NULL ? history->tokens : 0;
}

/* One message more: *history moves up to it. `said` gets a reference more.
 * Errors: BELAY_ENOMEM; nothing has changed.
 */
int belay__history_push(struct belay__memory *memory,
    struct belay__history **history, struct belay__said *said);

/* Why a message cannot follow here, as static text; NULL: it can. It has been
 * checked by itself.
 */
const char *belay__history_refuses(const struct belay__history *history,
    const struct belay_llm_message *message);

/* Calls at the end that have no result yet. */
size_t belay__history_open_calls(const struct belay__history *history);

/* A copy of a message that may follow, on top. Errors: BELAY_EINVAL it may
 * not, *ret_why says why; BELAY_ETOOLARGE beyond max bytes for all;
 * BELAY_ENOMEM. Nothing has changed.
 */
int belay__history_add(struct belay__memory *memory,
    struct belay__history **history, const struct belay_llm_message *message,
    bool incomplete, size_t max, const char **ret_why);

/* The n-th message, from 0, the oldest; O(length). It exists. */
const struct belay__said *belay__history_nth(
    const struct belay__history *history, size_t n);

/* Fills in all messages, the oldest first; `ret` has room for them. They live
 * as long as the history.
 */
void belay__history_fill(
    const struct belay__history *history, struct belay_llm_message *ret);

#endif
