/* messages.h - a request's body, taken apart (private to llm/record/).
 *
 * Conversations grow by a message a turn and are sent whole each time. So a
 * message is stored once, under the hash of itself and all before it, and an
 * attempt names the last one (L75). Runs on any thread; allocates nothing.
 */
#ifndef BELAY_LLM_RECORD_MESSAGES_H
#define BELAY_LLM_RECORD_MESSAGES_H

#include <belay/base.h>

/* Both lie in the request's body, or are words of ours. */
struct belay__message {
    struct belay_slice role; /* as it stands in the JSON, without quotes */
    struct belay_slice body; /* JSON; of a system text the text's JSON */
};

typedef int belay__message_fn(const struct belay__message *message, void *arg);

/* Calls `each` with the messages of a body in any of the wire formats, in
 * their order, system texts first; stops at the first code that is not 0 and
 * returns it.
 */
int belay__messages_each(
    struct belay_slice body, belay__message_fn *each, void *arg);

/* Is this member of a body part of the conversation, not a parameter? */
bool belay__messages_is_key(struct belay_slice key);

#endif
