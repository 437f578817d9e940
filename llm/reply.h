/* reply.h - what a reply holds (private to llm/). */
#ifndef BELAY_LLM_REPLY_PRIVATE_H
#define BELAY_LLM_REPLY_PRIVATE_H

#include <belay/llm.h>

#include "llm/http/client.h"
#include "llm/provider/embeddings.h"
#include "runtime/basics.h"

struct belay_llm_reply {
    struct belay__memory *memory; /* a reference */
    struct belay__http_reply http;
    struct belay_llm_attempt attempt;
    const struct belay__provider *provider; /* whose format it has */
    struct belay_slice request; /* of a chat: its JSON, while its call runs */
    bool parsed;
    int parse_code; /* once parsed */
    struct belay__answer answer;
    struct belay__vectors vectors;
    struct belay_llm_usage usage;
};

/* An empty one; NULL when out of memory. */
belay_llm_reply *belay__llm_reply_new(struct belay__memory *memory);

/* Whose attempt is being told to an on_attempt, with all that came of it: of a
 * call that fails the caller gets no reply.
 */
static inline const belay_llm_reply *
belay__llm_reply_of(const struct belay_llm_attempt *attempt)
{
    return BELAY__CONTAINER(
        belay__without_const(attempt), struct belay_llm_reply, attempt);
}

/* Begins an answer that is put together from events, in the reply's answer;
 * it counts as parsed.
 */
void belay__llm_reply_begin_live(
    belay_llm_reply *reply, const struct belay__provider *provider);

/* Drops what it holds of an answer: it is as new. */
void belay__llm_reply_clear(belay_llm_reply *reply);

/* The server's id of the request, from the header that its format has for it,
 * or else from "x-request-id", which gateways send for every format; empty: it
 * tells none.
 */
struct belay_slice belay__llm_reply_request_id(const belay_llm_reply *reply);

#endif
