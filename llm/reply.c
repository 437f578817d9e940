/* reply.c - an answer and what can be read out of it.
 *
 * The bytes stay as they came; they are read once, when somebody asks. What a
 * stream has put together counts as read from the beginning.
 */
#include "llm/reply.h"

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
    belay__answer_fini(&reply->answer);
    belay__vectors_fini(reply->memory, &reply->vectors);
    reply->parsed = false;
}

void
belay__llm_reply_clear(belay_llm_reply *reply)
{
    forget_parse(reply);
    belay__http_reply_fini(&reply->http);
}

void
belay__llm_reply_begin_live(
    belay_llm_reply *reply, const struct belay__provider *provider)
{
    forget_parse(reply);
    belay__answer_init(&reply->answer, reply->memory, true);
    belay__answer_get_usage(&reply->answer, &reply->usage);
    reply->provider = provider;
    reply->parse_code = 0;
    reply->parsed = true;
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

struct belay_slice
belay__llm_reply_request_id(const belay_llm_reply *reply)
{
    struct belay_slice id = {NULL, 0};

    if (reply->provider != NULL) {
        id =
            belay__http_reply_header(&reply->http, reply->provider->request_id);
        if (id.len == 0) {
            id = belay__http_reply_header(&reply->http, "x-request-id");
        }
    }
    return id;
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
    struct belay__tier tier;
    int code;

    if (reply->parsed) {
        return reply->parse_code;
    }
    belay__answer_init(&reply->answer, reply->memory, false);
    reply->answer.request = reply->request;
    code = belay__provider_read(
        reply->provider, &reply->answer, belay_llm_reply_body(reply));
    belay__answer_get_usage(&reply->answer, &reply->usage);
    if (code == BELAY_ENOMEM) {
        tier = reply->answer.tier; /* by which the usage is charged */
        forget_parse(reply);
        reply->answer.tier = tier;
        return code;
    }
    reply->parse_code = code;
    reply->parsed = true;
    return code;
}

/* The n-th answer, or NULL. */
static struct belay__choice *
nth_choice(belay_llm_reply *reply, size_t n)
{
    return belay_llm_reply_parse(reply) == 0
               ? belay__answer_nth(&reply->answer, n)
               : NULL;
}

size_t
belay_llm_reply_choices(belay_llm_reply *reply)
{
    return belay_llm_reply_parse(reply) == 0 ? reply->answer.choice_count : 0;
}

static struct belay_slice
end_text_of(const struct belay__choice *choice)
{
    return choice->end_word.len > 0 ? (
               struct belay_slice){choice->end_word.text, choice->end_word.len}
                                    : (struct belay_slice){NULL, 0};
}

int
belay_llm_reply_choice(
    belay_llm_reply *reply, size_t n, struct belay_llm_choice *ret)
{
    const struct belay__choice *choice = nth_choice(reply, n);

    if (choice == NULL) {
        return BELAY_ENOENT;
    }
    *ret = (struct belay_llm_choice){
        .index = choice->index,
        .text = belay__stretch_slice(choice, BELAY__TEXT),
        .refusal = belay__stretch_slice(choice, BELAY__REFUSAL),
        .reasoning = belay__stretch_slice(choice, BELAY__REASONING),
        .tool_call_count = choice->tool_count,
        .end = choice->end,
        .end_text = end_text_of(choice),
    };
    return 0;
}

int
belay_llm_reply_tool_call(belay_llm_reply *reply, size_t choice, size_t n,
    struct belay_llm_tool_call *ret)
{
    const struct belay__choice *found = nth_choice(reply, choice);

    if (found == NULL || n >= found->tool_count) {
        return BELAY_ENOENT;
    }
    *ret = (struct belay_llm_tool_call){
        .id = belay__llm_text_slice(found->tools[n].id),
        .name = belay__llm_text_slice(found->tools[n].name),
        .arguments = belay__llm_text_slice(found->tools[n].arguments.text),
    };
    return 0;
}

struct belay_slice
belay_llm_reply_model(belay_llm_reply *reply)
{
    (void)belay_llm_reply_parse(reply); /* without it there is none */
    return reply->answer.model.span;
}

struct belay_slice
belay_llm_reply_text(belay_llm_reply *reply)
{
    const struct belay__choice *choice = nth_choice(reply, 0);

    return choice != NULL ? belay__stretch_slice(choice, BELAY__TEXT)
                          : (struct belay_slice){NULL, 0};
}

struct belay_slice
belay_llm_reply_refusal(belay_llm_reply *reply)
{
    const struct belay__choice *choice = nth_choice(reply, 0);

    return choice != NULL ? belay__stretch_slice(choice, BELAY__REFUSAL)
                          : (struct belay_slice){NULL, 0};
}

enum belay_llm_end
belay_llm_reply_end(belay_llm_reply *reply, struct belay_slice *ret_text)
{
    const struct belay__choice *choice = nth_choice(reply, 0);

    if (ret_text != NULL) {
        *ret_text = choice != NULL ? end_text_of(choice)
                                   : (struct belay_slice){NULL, 0};
    }
    return choice != NULL ? choice->end : BELAY_LLM_END_UNKNOWN;
}

const struct belay_llm_usage *
belay_llm_reply_usage(belay_llm_reply *reply)
{
    (void)belay_llm_reply_parse(reply); /* sets the usage in any case */
    return &reply->usage;
}

const float *
belay_llm_reply_vector(const belay_llm_reply *reply, size_t n, size_t *ret_len)
{
    const struct belay__vectors *vectors = &reply->vectors;

    *ret_len = n < vectors->count ? vectors->dimensions : 0;
    return n < vectors->count ? vectors->values + n * vectors->dimensions
                              : NULL;
}

char *
belay_llm_reply_take_text(belay_llm_reply *reply)
{
    struct belay__llm_text *text = NULL;
    struct belay__choice *choice;

    if (reply != NULL) {
        choice = nth_choice(reply, 0);
        if (choice != NULL) {
            text = choice->stretches[BELAY__TEXT].text;
            choice->stretches[BELAY__TEXT].text = NULL;
        }
    }
    belay_llm_reply_free(reply);
    return text != NULL ? text->data : NULL;
}

void
belay_llm_text_free(char *text)
{
    if (text != NULL) {
        belay__llm_text_free(belay__llm_text_of(text));
    }
}
