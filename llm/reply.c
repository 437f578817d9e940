/* reply.c - an answer and what can be read out of it.
 *
 * The bytes stay as they came; parsing happens once, when somebody asks. The
 * decoded text is a block of its own so that it can outlive the reply, which
 * is why it carries its allocator along.
 */
#include "llm/reply.h"

#include "llm/json/text.h"
#include "llm/provider/usage.h"

#include <string.h>

/* ---- texts ---- */

static void
text_free(struct belay__llm_text *text)
{
    struct belay__memory *memory;

    if (text != NULL) {
        memory = text->memory;
        belay__free(memory, text, text->size);
        belay__memory_unref(memory);
    }
}

/* The text of a JSON string; none if it is no string. */
static int
text_decode(struct belay__memory *memory, const struct belay__json_value *value,
    struct belay__llm_text **ret)
{
    struct belay__llm_text *text;
    size_t size;

    if (value->type != BELAY__JSON_STRING) {
        return 0;
    }
    size = sizeof(*text) + value->raw.len; /* the quotes make room for a NUL */
    text = belay__alloc(memory, size);
    if (text == NULL) {
        return BELAY_ENOMEM;
    }
    text->memory = belay__memory_ref(memory);
    text->size = size;
    text->len = belay__json_decode(value->raw, text->data);
    text->data[text->len] = '\0';
    *ret = text;
    return 0;
}

static struct belay_slice
text_slice(const struct belay__llm_text *text)
{
    return text != NULL ? (struct belay_slice){text->data, text->len}
                        : (struct belay_slice){NULL, 0};
}

/* ---- life ---- */

belay_llm_reply *
belay__llm_reply_new(struct belay__memory *memory)
{
    belay_llm_reply *reply = belay__alloc_zero(memory, sizeof(*reply));

    if (reply != NULL) {
        reply->memory = belay__memory_ref(memory);
    }
    return reply;
}

static void
forget_parse(belay_llm_reply *reply)
{
    text_free(reply->text);
    text_free(reply->refusal);
    reply->text = NULL;
    reply->refusal = NULL;
    reply->parsed = false;
}

void
belay__llm_reply_clear(belay_llm_reply *reply)
{
    forget_parse(reply);
    belay__http_reply_fini(&reply->http);
}

void
belay_llm_reply_free(belay_llm_reply *reply)
{
    struct belay__memory *memory;

    if (reply != NULL) {
        memory = reply->memory;
        belay__llm_reply_clear(reply);
        belay__free(memory, reply, sizeof(*reply));
        belay__memory_unref(memory);
    }
}

/* ---- as it came ---- */

int
belay_llm_reply_status(const belay_llm_reply *reply)
{
    return reply->http.status;
}

struct belay_slice
belay_llm_reply_body(const belay_llm_reply *reply)
{
    return belay__buffer_slice(&reply->http.body);
}

struct belay_slice
belay_llm_reply_header(const belay_llm_reply *reply, const char *name)
{
    return belay__http_reply_header(&reply->http, name);
}

const struct belay_llm_attempt *
belay_llm_reply_attempt(const belay_llm_reply *reply)
{
    return &reply->attempt;
}

/* ---- parsed ---- */

int
belay_llm_reply_parse(belay_llm_reply *reply)
{
    struct belay__chat_answer *answer = &reply->answer;
    int code = 0;

    if (reply->parsed) {
        return reply->parse_code;
    }
    reply->parse_code = belay__chat_parse(belay_llm_reply_body(reply), answer);
    belay__usage_parse(answer->usage, &reply->usage);
    if (reply->parse_code == 0) {
        code = text_decode(reply->memory, &answer->content, &reply->text);
    }
    if (reply->parse_code == 0 && code == 0) {
        code = text_decode(reply->memory, &answer->refusal, &reply->refusal);
    }
    if (code < 0) {
        forget_parse(reply);
        return code;
    }
    reply->parsed = true;
    return reply->parse_code;
}

struct belay_slice
belay_llm_reply_text(belay_llm_reply *reply)
{
    (void)belay_llm_reply_parse(reply); /* without it there is no text */
    return text_slice(reply->text);
}

struct belay_slice
belay_llm_reply_refusal(belay_llm_reply *reply)
{
    (void)belay_llm_reply_parse(reply); /* as above */
    return text_slice(reply->refusal);
}

enum belay_llm_end
belay_llm_reply_end(belay_llm_reply *reply, struct belay_slice *ret_text)
{
    const struct belay__json_value *finish = &reply->answer.finish;
    const bool good = belay_llm_reply_parse(reply) == 0;

    if (ret_text != NULL) {
        *ret_text = good && finish->type == BELAY__JSON_STRING
                        ? belay__json_inside(finish->raw)
                        : (struct belay_slice){NULL, 0};
    }
    return good ? belay__chat_end(&reply->answer) : BELAY_LLM_END_UNKNOWN;
}

const struct belay_llm_usage *
belay_llm_reply_usage(belay_llm_reply *reply)
{
    (void)belay_llm_reply_parse(reply); /* sets the usage in any case */
    return &reply->usage;
}

char *
belay_llm_reply_take_text(belay_llm_reply *reply)
{
    struct belay__llm_text *text = NULL;

    if (reply != NULL && belay_llm_reply_parse(reply) == 0) {
        text = reply->text;
        reply->text = NULL;
    }
    belay_llm_reply_free(reply);
    return text != NULL ? text->data : NULL;
}

void
belay_llm_text_free(char *text)
{
    if (text != NULL) {
        text_free((
            struct belay__llm_text *)(void *)(text
                                              - offsetof(struct belay__llm_text,
                                                  data)));
    }
}
