/* put.c - what the formats write their answers with. */
#include "llm/sim/internal.h"

#include <string.h>

void
belay__sim_put_string(
    struct belay__json_writer *json, const char *key, const char *value)
{
    belay__json_key(json, key);
    belay__json_text(json, value);
}

void
belay__sim_put_int(
    struct belay__json_writer *json, const char *key, uint64_t value)
{
    belay__json_key(json, key);
    belay__json_int(json, value < INT64_MAX ? (int64_t)value : INT64_MAX);
}

void
belay__sim_put_null(struct belay__json_writer *json, const char *key)
{
    belay__json_key(json, key);
    belay__json_null(json);
}

void
belay__sim_put_json(
    struct belay__json_writer *json, const char *key, struct belay_slice value)
{
    belay__json_key(json, key);
    belay__json_string(json, value);
}

static const struct belay_slice quote = {"\"", 1};

static void
append(struct belay__json_writer *json, struct belay_slice bytes)
{
    if (json->code == 0) {
        json->code = belay__buffer_append(json->buffer, bytes.data, bytes.len);
    }
}

void
belay__sim_put_inside(
    struct belay__json_writer *json, const char *key, struct belay_slice value)
{
    belay__json_key(json, key);
    belay__json_raw(json, quote);
    append(json, value);
    append(json, quote);
}

/* By hand: there are two of these in each event of a stream. */
void
belay__sim_hex(
    const char *prefix, uint64_t number, char ret[BELAY__SIM_HEX_BYTES])
{
    size_t len = strlen(prefix);

    memcpy(ret, prefix, len);
    for (int shift = 60; shift >= 0; shift -= 4) {
        ret[len++] = "0123456789abcdef"[number >> shift & 15];
    }
    ret[len] = '\0';
}

void
belay__sim_put_id(struct belay__json_writer *json,
    const struct belay__sim_exchange *exchange, const char *key,
    const char *prefix, uint64_t number)
{
    char text[BELAY__SIM_HEX_BYTES];

    belay__sim_hex(prefix, exchange->fate.id + number, text);
    belay__sim_put_string(json, key, text);
}

void
belay__sim_put_call_id(struct belay__json_writer *json,
    const struct belay__sim_exchange *exchange, const char *key,
    const char *prefix, size_t call)
{
    const struct belay_slice given = exchange->answer.calls[call].id;

    if (given.len > 0) {
        belay__sim_put_inside(json, key, given);
    } else {
        belay__sim_put_id(json, exchange, key, prefix, call + 1);
    }
}

static void
put_words(struct belay__json_writer *json, struct belay__sim_words *words,
    uint64_t count)
{
    struct belay__buffer *buffer = json->buffer;

    for (uint64_t i = 0; i < count && json->code == 0; i++) {
        json->code = belay__buffer_reserve(buffer, BELAY__SIM_WORD_MAX + 1);
        if (json->code == 0) {
            buffer->len +=
                belay__sim_next_word(words, buffer->data + buffer->len);
        }
    }
}

void
belay__sim_put_text(
    struct belay__json_writer *json, struct belay__sim_exchange *exchange)
{
    const struct belay__sim_answer *answer = &exchange->answer;
    struct belay__sim_words words = answer->words;

    belay__json_raw(json, quote);
    if (answer->pieces != NULL) {
        for (uint64_t i = 0; i < answer->text_tokens; i++) {
            append(json, answer->pieces[i]);
        }
    } else {
        if (words.begun) { /* it was told in pieces already */
            belay__sim_words_init(
                &words, exchange->sim->opts.seed, exchange->request.prompt);
        }
        put_words(json, &words, answer->text_tokens);
    }
    append(json, quote);
}

void
belay__sim_put_piece(struct belay__json_writer *json,
    struct belay__sim_exchange *exchange, uint64_t n)
{
    belay__json_raw(json, quote);
    if (exchange->answer.pieces != NULL) {
        append(json, exchange->answer.pieces[n]);
    } else {
        put_words(json, &exchange->answer.words, 1);
    }
    append(json, quote);
}

uint64_t
belay__sim_cached(const struct belay__sim_exchange *exchange)
{
    return (uint64_t)(exchange->sim->opts.cached
                      * (double)exchange->entry.prompt_tokens);
}

uint64_t
belay__sim_reasoning(const struct belay__sim_exchange *exchange)
{
    return exchange->sim->opts.reasoning;
}

struct belay_slice
belay__sim_given_usage(const struct belay__sim_exchange *exchange)
{
    return exchange->rule != NULL ? exchange->rule->usage
                                  : (struct belay_slice){NULL, 0};
}

struct belay_slice
belay__sim_given_end(const struct belay__sim_exchange *exchange)
{
    return exchange->rule != NULL ? exchange->rule->end
                                  : (struct belay_slice){NULL, 0};
}

int
belay__sim_event_begin(struct belay__buffer *buffer,
    struct belay__json_writer *json, const char *kind)
{
    int code = 0;

    if (kind != NULL) {
        code = belay__buffer_append(buffer, "event: ", 7);
        if (code == 0) {
            code = belay__buffer_append(buffer, kind, strlen(kind));
        }
        if (code == 0) {
            code = belay__buffer_append(buffer, "\n", 1);
        }
    }
    if (code == 0) {
        code = belay__buffer_append(buffer, "data: ", 6);
    }
    belay__json_begin(json, buffer);
    return code;
}

int
belay__sim_event_end(struct belay__json_writer *json)
{
    const int code = belay__json_end(json);

    return code < 0 ? code : belay__buffer_append(json->buffer, "\n\n", 2);
}
