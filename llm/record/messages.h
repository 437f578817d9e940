/* messages.h - a request's body, taken apart (private to llm/record/).
 *
 * Conversations grow by a message a turn and are sent whole each time. So a
 * message is stored once, under the hash of itself and all before it, and an
 * attempt names the last one (L75). Runs on any thread; allocates nothing.
 */
#ifndef BELAY_LLM_RECORD_MESSAGES_H
#define BELAY_LLM_RECORD_MESSAGES_H

#include <belay/base.h>

#include "runtime/buffer.h"

/* Both lie in the request's body, or are words of ours. */
struct belay__message {
    struct belay_slice role; /* as it stands in the JSON, without quotes */
    struct belay_slice body; /* JSON; of a system text the text's JSON */
};

typedef int belay__message_fn(const struct belay__message *message, void *arg);

/* Calls `each` with the messages of a body in any of the wire formats, in
 * their order, system texts first; stops at the first code that is not 0 and
 * returns it. One that is no JSON object is one message, as it stands.
 */
int belay__messages_each(
    struct belay_slice body, belay__message_fn *each, void *arg);

/* The same, and what is left of the body without its conversation: an object
 * of the parameters, each byte for byte; nothing if there are none.
 */
int belay__messages_part(struct belay_slice body, belay__message_fn *each,
    void *arg, struct belay__buffer *params);

#endif
