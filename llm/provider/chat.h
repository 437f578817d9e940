/* chat.h - the Chat Completions format (private).
 *
 * What is built is built in one pass into one buffer; of what is parsed only
 * the few wanted fields are looked at, as slices of the text, after the whole
 * text has been checked. Rules: L1, L9, L91-L96.
 */
#ifndef BELAY_LLM_PROVIDER_CHAT_H
#define BELAY_LLM_PROVIDER_CHAT_H

#include <belay/llm.h>

#include "llm/json/scan.h"
#include "runtime/buffer.h"

/* What is wrong with a request, as static text; NULL: nothing. */
const char *belay__chat_check(const struct belay_llm_chat *chat);

/* Appends the request as JSON. It was checked. Errors: BELAY_ENOMEM,
 * BELAY_ETOOLARGE; the buffer is as before.
 */
int belay__chat_build(
    const struct belay_llm_chat *chat, struct belay__buffer *buffer);

/* An answer; values of type NONE were not there. */
struct belay__chat_answer {
    struct belay__json_value content; /* of choices[0].message, as follows */
    struct belay__json_value refusal;
    struct belay__json_value finish; /* choices[0].finish_reason */
    struct belay_slice usage;        /* any JSON; {NULL, 0} if not there */
};

/* Errors: BELAY_EREPLY it is not JSON or has no choices[0].message; *ret
 * holds what was there all the same, usage only if all of it is JSON.
 */
int belay__chat_parse(struct belay_slice body, struct belay__chat_answer *ret);

enum belay_llm_end belay__chat_end(const struct belay__chat_answer *answer);

/* What servers write in the place of an answer; NONE: not there. */
struct belay__chat_error {
    struct belay__json_value message;
    struct belay__json_value type;
    struct belay__json_value code;
};

/* Finds the strings of an error object in any of the usual shapes. Whatever
 * the body is, this does no harm.
 */
void belay__chat_parse_error(
    struct belay_slice body, struct belay__chat_error *ret);

#endif
