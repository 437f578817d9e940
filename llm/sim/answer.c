/* answer.c - the two kinds of answer: in one piece, and as a stream.
 *
 * Both are written from the same parts, straight into the reply's scratch
 * buffer, and both may be cut short or stall, as the request's fate has it.
 */
#include "llm/sim/internal.h"

#include "llm/json/write.h"
#include "runtime/buffer.h"

#include <belay/async.h>

#include <inttypes.h>
#include <stdio.h>

#define CREATED 1700000000 /* always, so that replies repeat */
#define WRITE_BYTES ((size_t)16 * 1024)

static belay_time
token_ready(const struct belay__sim_chat *chat, uint64_t index)
{
    const double rate = chat->sim->opts.tokens_per_second;

    if (rate <= 0) {
        return chat->first;
    }
    return belay__sim_after(
        chat->first, belay__sim_ns((double)index / rate * BELAY__SIM_NS_PER_S));
}

/* ---- what both kinds of answer are made of ---- */

static void
put_key_text(
    struct belay__json_writer *json, const char *key, const char *value)
{
    belay__json_key(json, key);
    belay__json_text(json, value);
}

static void
put_key_int(struct belay__json_writer *json, const char *key, uint64_t value)
{
    belay__json_key(json, key);
    belay__json_int(json, (int64_t)value);
}

static void
put_start(struct belay__json_writer *json, const struct belay__sim_chat *chat,
    const char *object)
{
    char text[40];

    belay__json_open_object(json);
    (void)snprintf(text, sizeof(text), "chatcmpl-%016" PRIx64, chat->fate.id);
    put_key_text(json, "id", text);
    put_key_text(json, "object", object);
    put_key_int(json, "created", CREATED);
    belay__json_key(json, "model");
    belay__json_raw(json, chat->request.model);
    (void)snprintf(
        text, sizeof(text), "fp_fnv1a64_%016" PRIx64, chat->entry.body_hash);
    put_key_text(json, "system_fingerprint", text);
}

static const char *
finish_reason(const struct belay__sim_chat *chat)
{
    return chat->tokens < chat->request.max_tokens ? "stop" : "length";
}

static void
put_usage(struct belay__json_writer *json, const struct belay__sim_chat *chat)
{
    belay__json_key(json, "usage");
    belay__json_open_object(json);
    put_key_int(json, "prompt_tokens", chat->request.prompt_tokens);
    put_key_int(json, "completion_tokens", chat->tokens);
    put_key_int(
        json, "total_tokens", chat->request.prompt_tokens + chat->tokens);
    belay__json_close_object(json);
}

/* A string of so many words, which are written where they belong. */
static void
put_words(struct belay__json_writer *json, struct belay__sim_chat *chat,
    uint64_t count)
{
    static const struct belay_slice quote = {"\"", 1};
    struct belay__buffer *buffer = json->buffer;

    belay__json_raw(json, quote);
    for (uint64_t i = 0; i < count && json->code == 0; i++) {
        json->code = belay__buffer_reserve(buffer, BELAY__SIM_WORD_MAX + 1);
        if (json->code == 0) {
            buffer->len +=
                belay__sim_next_word(&chat->words, buffer->data + buffer->len);
        }
    }
    if (json->code == 0) {
        json->code = belay__buffer_append(buffer, quote.data, quote.len);
    }
}

/* Where a cut or a stall comes: after so many of `count`, not after all. */
static uint64_t
break_at(const struct belay__sim_chat *chat, uint64_t count)
{
    if (!chat->fate.cut && !chat->fate.stall) {
        return count;
    }
    return (uint64_t)(chat->fate.where * (double)count);
}

/* Behind the part of an answer that is sent before it breaks off. */
static belay_next
break_off(belay_task *task, struct belay__sim_chat *chat)
{
    if (chat->fate.stall) {
        chat->entry.end = BELAY__SIM_STALLED;
        return belay_sleep(task, BELAY_FOREVER);
    }
    chat->entry.end = BELAY__SIM_CUT;
    if (chat->fate.rude) {
        belay__reply_reset(chat->call.reply);
    }
    return belay_checkpoint(task);
}

/* ---- an answer in one piece ---- */

struct plain {
    struct belay__sim_chat *chat;
};

static int
write_answer(struct belay__sim_chat *chat, struct belay__buffer *buffer)
{
    struct belay__json_writer json;

    belay__json_begin(&json, buffer);
    put_start(&json, chat, "chat.completion");
    belay__json_key(&json, "choices");
    belay__json_open_array(&json);
    belay__json_open_object(&json);
    put_key_int(&json, "index", 0);
    belay__json_key(&json, "message");
    belay__json_open_object(&json);
    put_key_text(&json, "role", "assistant");
    belay__json_key(&json, "content");
    put_words(&json, chat, chat->tokens);
    belay__json_key(&json, "refusal");
    belay__json_null(&json);
    belay__json_close_object(&json);
    belay__json_key(&json, "logprobs");
    belay__json_null(&json);
    put_key_text(&json, "finish_reason", finish_reason(chat));
    belay__json_close_object(&json);
    belay__json_close_array(&json);
    put_usage(&json, chat);
    belay__json_close_object(&json);
    return belay__json_end(&json);
}

BELAY_ASYNC(plain)
{
    struct belay__sim_chat *chat = self->chat;
    struct belay__reply *reply = chat->call.reply;
    struct belay__buffer *body = belay__reply_scratch(reply);
    struct belay_slice bytes;

    BELAY_BEGIN;
    if (token_ready(chat, chat->tokens).ns > belay_now(task).ns) {
        BELAY_AWAIT(belay_sleep_until(task, token_ready(chat, chat->tokens)));
    }
    BELAY_CHECK(write_answer(chat, body));
    BELAY_CHECK(belay__reply_header(reply, "Content-Type", "application/json"));
    belay__sim_count_status(chat->sim, 200);
    if (!chat->fate.cut && !chat->fate.stall) {
        BELAY_AWAIT(
            belay__reply_send(task, reply, 200, belay__buffer_slice(body)));
        chat->entry.end = BELAY__SIM_ANSWERED;
        BELAY_RETURN(NULL);
    }
    BELAY_CHECK(belay__reply_begin(reply, 200, body->len));
    bytes = (struct belay_slice){body->data, break_at(chat, body->len)};
    BELAY_AWAIT(belay__reply_write(task, reply, bytes));
    BELAY_AWAIT(break_off(task, chat));
    BELAY_END;
}

/* ---- a stream ---- */

/* Its pieces: the role, the words, the end, the usage if wanted, [DONE]. */
struct stream {
    struct belay__sim_chat *chat;
    uint64_t at;    /* the next piece */
    uint64_t count; /* of all pieces */
    uint64_t stop;  /* where it breaks off, or count */
};

static void
put_delta(
    struct belay__json_writer *json, struct belay__sim_chat *chat, uint64_t at)
{
    belay__json_open_object(json);
    put_key_int(json, "index", 0);
    belay__json_key(json, "delta");
    belay__json_open_object(json);
    if (at == 0) {
        put_key_text(json, "role", "assistant");
        put_key_text(json, "content", "");
    } else if (at <= chat->tokens) {
        belay__json_key(json, "content");
        put_words(json, chat, 1);
    }
    belay__json_close_object(json);
    belay__json_key(json, "logprobs");
    belay__json_null(json);
    belay__json_key(json, "finish_reason");
    if (at <= chat->tokens) {
        belay__json_null(json);
    } else {
        belay__json_text(json, finish_reason(chat));
    }
    belay__json_close_object(json);
}

static int
put_chunk(
    struct belay__buffer *buffer, struct belay__sim_chat *chat, uint64_t at)
{
    const bool is_usage = at == chat->tokens + 2;
    struct belay__json_writer json;

    belay__json_begin(&json, buffer);
    put_start(&json, chat, "chat.completion.chunk");
    belay__json_key(&json, "choices");
    belay__json_open_array(&json);
    if (!is_usage) {
        put_delta(&json, chat, at);
    }
    belay__json_close_array(&json);
    if (is_usage) {
        put_usage(&json, chat);
    } else if (chat->request.include_usage) {
        belay__json_key(&json, "usage");
        belay__json_null(&json);
    }
    belay__json_close_object(&json);
    return belay__json_end(&json);
}

static int
put_piece(struct stream *stream, struct belay__buffer *buffer)
{
    int code = belay__buffer_append(buffer, "data: ", 6);

    if (code < 0) {
        return code;
    }
    if (stream->at == stream->count - 1) {
        code = belay__buffer_append(buffer, "[DONE]", 6);
    } else {
        code = put_chunk(buffer, stream->chat, stream->at);
    }
    if (code < 0) {
        return code;
    }
    return belay__buffer_append(buffer, "\n\n", 2);
}

/* When a piece is sent; the role and what follows the last word count as part
 * of their neighbours.
 */
static belay_time
piece_ready(const struct stream *stream)
{
    const struct belay__sim_chat *chat = stream->chat;
    const uint64_t last = chat->tokens > 0 ? chat->tokens - 1 : 0;
    uint64_t token = stream->at > 0 ? stream->at - 1 : 0;

    if (token > last) {
        token = last;
    }
    return token_ready(chat, token);
}

/* All pieces that are ready now, but not too many at once. */
static int
put_pieces(struct stream *stream, struct belay__buffer *buffer, belay_time now)
{
    int code = 0;

    belay__buffer_clear(buffer);
    while (code == 0 && stream->at < stream->stop && buffer->len < WRITE_BYTES
           && piece_ready(stream).ns <= now.ns) {
        code = put_piece(stream, buffer);
        stream->at++;
    }
    return code;
}

static belay_next
send_pieces(
    belay_task *task, struct stream *stream, const struct belay__buffer *buffer)
{
    struct belay__reply *reply = stream->chat->call.reply;

    if (stream->at < stream->count) {
        return belay__reply_write(task, reply, belay__buffer_slice(buffer));
    }
    return belay__reply_end(task, reply, belay__buffer_slice(buffer));
}

static int
begin_stream(struct stream *stream)
{
    struct belay__sim_chat *chat = stream->chat;
    int code;

    stream->count = chat->tokens + 3 + chat->request.include_usage;
    stream->stop = break_at(chat, stream->count);
    code = belay__reply_header(
        chat->call.reply, "Content-Type", "text/event-stream");
    if (code == 0) {
        code = belay__reply_begin(chat->call.reply, 200, BELAY__CHUNKED);
    }
    return code;
}

BELAY_ASYNC(stream)
{
    struct belay__sim_chat *chat = self->chat;
    struct belay__buffer *scratch = belay__reply_scratch(chat->call.reply);

    BELAY_BEGIN;
    BELAY_CHECK(begin_stream(self));
    belay__sim_count_status(chat->sim, 200);
    while (self->at < self->stop) {
        if (piece_ready(self).ns > belay_now(task).ns) {
            BELAY_AWAIT(belay_sleep_until(task, piece_ready(self)));
        }
        BELAY_CHECK(put_pieces(self, scratch, belay_now(task)));
        BELAY_AWAIT(send_pieces(task, self, scratch));
    }
    if (self->at == self->count) {
        chat->entry.end = BELAY__SIM_ANSWERED;
        BELAY_RETURN(NULL);
    }
    BELAY_AWAIT(
        belay__reply_write(task, chat->call.reply, (struct belay_slice){0}));
    BELAY_AWAIT(break_off(task, chat));
    BELAY_END;
}

/* ---- either ---- */

belay_next
belay__sim_answer(belay_task *task, struct belay__sim_chat *chat)
{
    if (chat->fate.stall && chat->fate.rude) {
        return break_off(task, chat);
    }
    return chat->request.stream ? BELAY_CALL(stream, .chat = chat)
                                : BELAY_CALL(plain, .chat = chat);
}
