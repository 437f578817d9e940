/* llm_chat.h - what a model is asked, in one form for all formats.
 *
 * Plain structs that the caller fills in and keeps until the call has ended.
 * A zero field is not sent, or means its default. What a format has no place
 * for is refused before anything is sent, not left out. Rules: L1, L3, L5.
 */
#ifndef BELAY_LLM_CHAT_H
#define BELAY_LLM_CHAT_H

#include <belay/llm_reply.h>

BELAY_BEGIN_DECLS

/* How a server is spoken to. */
enum belay_llm_format {
    BELAY_LLM_FORMAT_DEFAULT, /* the client's; of a client: Chat */
    BELAY_LLM_FORMAT_CHAT,    /* OpenAI's Chat Completions, and of many more */
    BELAY_LLM_FORMAT_RESPONSES, /* OpenAI's Responses */
    BELAY_LLM_FORMAT_MESSAGES,  /* Anthropic's Messages */
};

enum belay_llm_part_type {
    BELAY_LLM_PART_TEXT,
    BELAY_LLM_PART_IMAGE,     /* its bytes */
    BELAY_LLM_PART_IMAGE_URL, /* where the server finds it */
};

/* A part of a message that is more than a text. */
struct belay_llm_part {
    enum belay_llm_part_type type;
    struct belay_slice data; /* UTF-8 text, bytes or address */
    const char *media_type;  /* of an image's bytes, as "image/png" */
};

struct belay_llm_message {
    const char *role; /* "system", "developer", "user", "assistant", "tool" */
    struct belay_slice content;         /* UTF-8 */
    const struct belay_llm_part *parts; /* in place of content */
    size_t part_count;
    const struct belay_llm_tool_call *tool_calls; /* of an assistant, behind
                                                     its text */
    size_t tool_call_count;
    struct belay_slice tool_call_id; /* of a tool: which call this answers */
    bool tool_failed; /* … and that it went wrong, where a format can say so */
};

/* A message from a NUL-terminated text, borrowed. */
static inline struct belay_llm_message
belay_llm_message(const char *role, const char *text)
{
    struct belay_llm_message message;

    __builtin_memset(&message, 0, sizeof(message));
    message.role = role;
    message.content.data = text;
    message.content.len = text != NULL ? __builtin_strlen(text) : 0;
    return message;
}

/* A function that the model may ask for; the caller runs it. */
struct belay_llm_tool {
    const char *name;
    struct belay_slice description;
    struct belay_slice parameters; /* a JSON Schema, as it is; none: {} */
    bool strict; /* arguments keep to the schema, where a server can do that */
};

enum belay_llm_tool_choice {
    BELAY_LLM_TOOL_DEFAULT, /* not sent */
    BELAY_LLM_TOOL_AUTO,
    BELAY_LLM_TOOL_NONE,
    BELAY_LLM_TOOL_ANY,   /* at least one */
    BELAY_LLM_TOOL_NAMED, /* tool_name */
};

/* Called on the loop as each attempt ends, in the step of the calling task;
 * the attempt is valid during the call. It may cancel the task: then there is
 * no further attempt, nor event. It may not close the call.
 */
typedef void belay_llm_attempt_fn(
    const struct belay_llm_attempt *attempt, void *arg);

struct belay__llm_turn;

/* A request in parts. What `extra` says too is sent once, as said here. */
struct belay_llm_chat {
    size_t size; /* of this struct; BELAY_LLM_CHAT() fills it */
    enum belay_llm_format format; /* default the client's */
    const char *model;            /* required, here or in extra */
    struct belay_slice system;    /* UTF-8, ahead of all messages */
    const struct belay_llm_message *messages;
    size_t message_count; /* at least 1, unless they are in extra */
    int64_t max_tokens;   /* of the answer; Messages requires it */
    bool old_max_tokens;  /* Chat: called max_tokens, which older servers want,
                            and not max_completion_tokens */
    uint32_t choices;     /* Chat: answers to choose from; default 1 */
    const double *temperature;      /* finite */
    const int64_t *seed;            /* Chat */
    const struct belay_slice *stop; /* Chat, Messages: texts that end it */
    size_t stop_count;
    const struct belay_llm_tool *tools;
    size_t tool_count;
    enum belay_llm_tool_choice tool_choice;
    const char *tool_name;
    struct belay_slice extra; /* a JSON object: its members as they are */
    struct belay_slice body;  /* in place of all above but format: JSON, sent
                                 byte for byte */
    int32_t max_retries;      /* default the client's */
    belay_llm_attempt_fn *on_attempt; /* NULL, or told of each attempt */
    void *arg;                        /* for on_attempt */
    struct belay_ledger *ledger;      /* NULL, or where each attempt is entered,
                                    however the call ends; price.h */
    const struct belay__llm_turn *turn; /* for the library */
};
#define BELAY_LLM_CHAT(...)          \
    (&(const struct belay_llm_chat){ \
        .size = sizeof(struct belay_llm_chat), __VA_ARGS__})

BELAY_END_DECLS

#endif
