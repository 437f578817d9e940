/* sse_oracle.h - the events of a whole stream, by the definition.
 *
 * A second parser, slow and plain, that has the whole text before it, and the
 * form in which its events and those of the real one are compared.
 */
#ifndef BELAY_TEST_SUPPORT_SSE_ORACLE_H
#define BELAY_TEST_SUPPORT_SSE_ORACLE_H

#include "llm/http/sse.h"

/* Events as text, each "name|data" or, if it is unfinished, "name?data", and
 * a zero byte; at the end "!" if the stream was refused as too large, and "+"
 * if there was something that counts as activity.
 */
struct sse_account {
    char *text; /* to be freed */
    size_t len;
    size_t room;
    size_t events;
};

/* By the definition. */
struct sse_account sse_oracle(const char *data, size_t len, size_t max);

/* By the parser, in pieces of `piece` bytes, each in a block of its own; or,
 * if that is 0, in two that are cut behind `cut` bytes.
 */
struct sse_account sse_parse(struct belay__memory *memory, const char *data,
    size_t len, size_t max, size_t piece, size_t cut);

bool sse_same(const struct sse_account *a, const struct sse_account *b);

#endif
