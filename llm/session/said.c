/* said.c - a message that was said, and never changes again. */
#include "llm/session/said.h"

#include "llm/session/pack.h"
#include "runtime/basics.h"

#include <string.h>

#define BYTES_A_TOKEN 4
#define MESSAGE_TOKENS 4  /* what a message costs beside its text */
#define IMAGE_TOKENS 1000 /* they cost by their pixels, which nobody counts */

const char *
belay__said_role(const char *role)
{
    static const char *const roles[] = {
        "user", "assistant", "tool", "system", "developer"};

    for (size_t i = 0; role != NULL && i < sizeof(roles) / sizeof(roles[0]);
         i++) {
        if (strcmp(roles[i], role) == 0) {
            return roles[i];
        }
    }
    return NULL;
}

bool
belay__said_is(const struct belay__said *said, const char *role)
{
    return strcmp(said->message.role, role) == 0;
}

/* ---- checks ---- */

static bool
equal(struct belay_slice a, struct belay_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static const char *
check_calls(const struct belay_llm_message *message)
{
    const struct belay_llm_tool_call *calls = message->tool_calls;

    if (message->tool_call_count > BELAY__SAID_CALLS_MAX) {
        return "a message calls too many tools";
    }
    for (size_t i = 0; i < message->tool_call_count; i++) {
        if (calls[i].name.len == 0) {
            return "a tool call has no name";
        }
        if (calls[i].id.len == 0) {
            return "a tool call has no id";
        }
        for (size_t k = 0; k < i; k++) {
            if (equal(calls[i].id, calls[k].id)) {
                return "two tool calls of a message have the same id";
            }
        }
    }
    return NULL;
}

const char *
belay__said_check(const struct belay_llm_message *message)
{
    const char *role = belay__said_role(message->role);

    if (role == NULL) {
        return message->role == NULL ? "a message has no role"
                                     : "a message has an unknown role";
    }
    if (message->part_count > BELAY__SAID_PARTS_MAX) {
        return "a message has too many parts";
    }
    for (size_t i = 0; i < message->part_count; i++) {
        const struct belay_llm_part *part = &message->parts[i];

        if (part->type == BELAY_LLM_PART_IMAGE && part->media_type == NULL) {
            return "an image has no media type";
        }
    }
    if (message->tool_call_count > 0 && strcmp(role, "assistant") != 0) {
        return "only an assistant calls tools";
    }
    if (strcmp(role, "tool") == 0 && message->tool_call_id.len == 0) {
        return "a tool's message does not say which call it answers";
    }
    return check_calls(message);
}

/* ---- copies ---- */

static void
pack_parts(struct belay__packer *packer, const struct belay_llm_message *from,
    struct belay_llm_message *to)
{
    struct belay_llm_part *parts =
        belay__pack_array(packer, from->part_count, sizeof(*parts));

    for (size_t i = 0; i < from->part_count; i++) {
        struct belay_llm_part part = from->parts[i];

        part.data = belay__pack_slice(packer, part.data);
        part.media_type = belay__pack_text(packer, part.media_type);
        if (parts != NULL) {
            parts[i] = part;
        }
    }
    to->parts = parts;
}

static void
pack_calls(struct belay__packer *packer, const struct belay_llm_message *from,
    struct belay_llm_message *to)
{
    struct belay_llm_tool_call *calls =
        belay__pack_array(packer, from->tool_call_count, sizeof(*calls));

    for (size_t i = 0; i < from->tool_call_count; i++) {
        struct belay_llm_tool_call call = from->tool_calls[i];

        call.id = belay__pack_slice(packer, call.id);
        call.name = belay__pack_slice(packer, call.name);
        call.arguments = belay__pack_slice(packer, call.arguments);
        if (calls != NULL) {
            calls[i] = call;
        }
    }
    to->tool_calls = calls;
}

/* Into the packer, whose base may be NULL; *to gets what it will hold. */
static void
pack_message(struct belay__packer *packer, const struct belay_llm_message *from,
    struct belay_llm_message *to)
{
    *to = *from;
    to->role = belay__said_role(from->role);
    pack_parts(packer, from, to);
    pack_calls(packer, from, to);
    to->content = belay__pack_slice(packer, from->content);
    to->tool_call_id = belay__pack_slice(packer, from->tool_call_id);
}

/* By the length alone: it is for trims and for people, and a look at every
 * byte would cost more than all else that a session does in a turn.
 */
static int64_t
guess_tokens(const struct belay_llm_message *message)
{
    size_t bytes = message->content.len;
    int64_t sum = MESSAGE_TOKENS;

    for (size_t i = 0; i < message->part_count; i++) {
        if (message->parts[i].type == BELAY_LLM_PART_TEXT) {
            bytes += message->parts[i].data.len;
        } else {
            sum += IMAGE_TOKENS;
        }
    }
    for (size_t i = 0; i < message->tool_call_count; i++) {
        bytes += message->tool_calls[i].name.len
                 + message->tool_calls[i].arguments.len;
    }
    return sum + (int64_t)((bytes + BYTES_A_TOKEN - 1) / BYTES_A_TOKEN);
}

int
belay__said_new(struct belay__memory *memory,
    const struct belay_llm_message *message, bool incomplete, size_t max,
    struct belay__said **ret)
{
    struct belay__packer packer = {NULL, sizeof(**ret), false};
    struct belay_llm_message measured;
    struct belay__said *said;
    size_t size;

    pack_message(&packer, message, &measured);
    size = packer.used;
    if (packer.overflow || size > max) {
        return BELAY_ETOOLARGE;
    }
    said = belay__alloc(memory, size);
    if (said == NULL) {
        return BELAY_ENOMEM;
    }
    *said = (struct belay__said){
        .refs = 1,
        .incomplete = incomplete,
        .size = size,
        .tokens = guess_tokens(message),
    };
    packer = (struct belay__packer){(char *)said, sizeof(*said), false};
    pack_message(&packer, message, &said->message);
    assert(packer.used == size);
    *ret = said;
    return 0;
}

void
belay__said_unref(struct belay__memory *memory, struct belay__said *said)
{
    if (said != NULL && --said->refs == 0) {
        belay__free(memory, said, said->size);
    }
}
