/* reply.h - what a reply holds (private to llm/). */
#ifndef BELAY_LLM_REPLY_PRIVATE_H
#define BELAY_LLM_REPLY_PRIVATE_H

#include <belay/llm.h>

#include "llm/http/client.h"
#include "llm/provider/chat.h"

/* A decoded text; it knows how to be freed when it is all that is left. */
struct belay__llm_text {
    struct belay__memory *memory; /* a reference */
    size_t len;
    size_t size; /* of the block */
    char data[]; /* NUL-terminated */
};

struct belay_llm_reply {
    struct belay__memory *memory; /* a reference */
    struct belay__http_reply http;
    struct belay_llm_attempt attempt;
    bool parsed;
    int parse_code; /* once parsed */
    struct belay__chat_answer answer;
    struct belay_llm_usage usage;
    struct belay__llm_text *text; /* NULL: none */
    struct belay__llm_text *refusal;
};

/* An empty one; NULL when out of memory. */
belay_llm_reply *belay__llm_reply_new(struct belay__memory *memory);

/* Drops what it holds of an answer: it is as new. */
void belay__llm_reply_clear(belay_llm_reply *reply);

#endif
