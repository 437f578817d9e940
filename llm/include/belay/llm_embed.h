/* llm_embed.h - texts as vectors.
 *
 * Asks an Embeddings server for the vectors of some texts, all in one call;
 * retries, deadlines and errors are as of any call of llm.h. Rules: L4.
 */
#ifndef BELAY_LLM_EMBED_H
#define BELAY_LLM_EMBED_H

#include <belay/llm.h>

BELAY_BEGIN_DECLS

/* What to embed. A zero field is not sent, or means its default. */
struct belay_llm_embed {
    size_t size;                      /* of this struct; BELAY_LLM_EMBED() */
    const char *model;                /* required, here or in extra */
    const struct belay_slice *inputs; /* UTF-8 */
    size_t input_count;               /* at least 1 */
    int64_t dimensions;               /* of the vectors; default the model's */
    bool as_numbers;          /* ask for numbers in place of base64, for servers
                                 that know nothing else */
    struct belay_slice extra; /* a JSON object: its members as they are */
    int32_t max_retries;      /* default the client's */
    belay_llm_attempt_fn *on_attempt; /* NULL, or told of each attempt */
    void *arg;                        /* for on_attempt */
    struct belay_ledger *ledger;      /* NULL, or where each attempt is entered,
                                    however the call ends; price.h */
};
#define BELAY_LLM_EMBED(...)          \
    (&(const struct belay_llm_embed){ \
        .size = sizeof(struct belay_llm_embed), __VA_ARGS__})

/**
 * belay_llm_embed - ask for the vectors of some texts
 *
 *   client  of a server that speaks Embeddings, whatever its format
 *   embed   the struct is copied; what it points to is borrowed until the end
 *   ret     receives the reply; untouched on failure
 *
 * The reply has a vector for each input, in their order, whichever way and in
 * whatever order the server sends them.
 *
 * Owner:   *ret is the caller's, for belay_llm_reply_free().
 * Errors:  as belay_llm_complete(); BELAY_EREPLY also: not one vector for
 *          each input, all of one length
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract L4.
 */
BELAY_API belay_next belay_llm_embed(belay_task *task, belay_llm_client *client,
    const struct belay_llm_embed *embed, belay_llm_reply **ret);

/**
 * belay_llm_reply_vector - the vector of one input
 *
 *   reply    of belay_llm_embed()
 *   n        the input, from 0
 *   ret_len  receives the vector's length; 0 if there is none
 *
 * Owner:   lives as long as the reply.
 * Errors:  NULL if there is no such vector.
 * Threads: as belay_llm_reply_free().
 * Since:   0.1. Source: contract L4.
 */
BELAY_API const float *belay_llm_reply_vector(
    const belay_llm_reply *reply, size_t n, size_t *ret_len);

BELAY_END_DECLS

#endif
