/* chat.c - the page /v1/chat/completions.
 *
 * One admission scope round each request does the counting, so that the
 * counts are right however the request ends. Inside it the request is judged,
 * then answered in one piece or as a stream of events; both may be cut short
 * or stall, as the fate of the request has it.
 */
#include "llm/sim/internal.h"

#include "llm/json/write.h"
#include "runtime/buffer.h"

#include <belay/async.h>

#include <inttypes.h>
#include <stdio.h>

#define CREATED 1700000000 /* always, so that replies repeat */
#define WRITE_BYTES ((size_t)16 * 1024)
#define NS_PER_S 1e9

struct chat {
    struct belay__call call;
    struct belay__sim *sim;
    struct belay__sim_request request;
    struct belay__sim_fate fate;
    struct belay__sim_entry entry;
    struct belay__sim_words words;
    belay_time began;
    belay_time first; /* when the first token is ready */
    uint64_t tokens;
};

/* ---- counting ---- */

struct admission {
    struct chat *chat;
};

static belay_next
admission_enter(belay_task *task, void *frame)
{
    struct chat *chat = ((struct admission *)frame)->chat;
    struct belay__sim_stats *stats = &chat->sim->stats;

    stats->hits++;
    stats->body_hash_sum += chat->entry.body_hash;
    stats->in_flight++;
    if (stats->in_flight > stats->in_flight_max) {
        stats->in_flight_max = stats->in_flight;
    }
    return belay_return(task, NULL);
}

static belay_next
admission_exit(belay_task *task, void *frame)
{
    struct chat *chat = ((struct admission *)frame)->chat;
    struct belay__sim *sim = chat->sim;
    struct belay__sim_stats *stats = &sim->stats;
    struct belay__sim_entry *entry = &chat->entry;

    stats->in_flight--;
    stats->ends[entry->end]++;
    if (entry->end == BELAY__SIM_ANSWERED) {
        stats->prompt_tokens += entry->prompt_tokens;
        stats->completion_tokens += entry->completion_tokens;
    }
    if (sim->opts.log_fn != NULL) {
        entry->took = BELAY_DURATION_NS(belay_now(task).ns - chat->began.ns);
        sim->opts.log_fn(entry, sim->opts.arg);
    }
    if (sim->opts.max_requests > 0
        && stats->hits - stats->in_flight >= sim->opts.max_requests) {
        belay_event_set(&sim->finished);
    }
    return belay_return(task, NULL);
}

static const belay_manager admission = {
    {"admission", __FILE__, sizeof(struct admission), admission_enter, 0},
    admission_exit};

/* ---- judging ---- */

static void
note_request(belay_task *task, struct chat *chat)
{
    struct belay__sim *sim = chat->sim;
    const uint64_t hash = belay__sim_hash(chat->call.request->body);
    const uint64_t attempt = belay__sim_see(&sim->seen, hash);

    belay__sim_draw_fate(&sim->opts, hash, attempt, &chat->fate);
    chat->began = belay_now(task);
    chat->entry = (struct belay__sim_entry){
        .body_hash = hash,
        .attempt = attempt < UINT32_MAX ? (uint32_t)attempt : UINT32_MAX,
        .status = 200,
        .end = BELAY__SIM_LEFT,
    };
}

static int
add_headers(const struct chat *chat)
{
    struct belay__reply *reply = chat->call.reply;
    char text[40];
    int code;

    (void)snprintf(text, sizeof(text), "req_%016" PRIx64, chat->fate.id);
    code = belay__reply_header(reply, "x-request-id", text);
    if (code < 0) {
        return code;
    }
    (void)snprintf(text, sizeof(text), "%016" PRIx64, chat->entry.body_hash);
    return belay__reply_header(reply, "x-sim-body-fnv1a64", text);
}

static belay_next
refuse(belay_task *task, struct chat *chat, int status, const char *message)
{
    chat->entry.status = status;
    chat->entry.end = BELAY__SIM_REFUSED;
    return belay__sim_refuse(task, chat->sim, &chat->call, status, message);
}

static belay_next
refuse_for_now(belay_task *task, struct chat *chat, const char *message)
{
    const belay_duration wait = chat->sim->opts.retry_after;
    char text[24];
    int code = 0;

    if (wait.ns > 0) {
        (void)snprintf(text, sizeof(text), "%g", (double)wait.ns / NS_PER_S);
        code = belay__reply_header(chat->call.reply, "retry-after", text);
    }
    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    return refuse(task, chat, 429, message);
}

static const char *
complaint_of(int status)
{
    switch (status) {
    case 500:
        return "The server had an error while processing your request";
    case 502:
        return "Bad gateway";
    case 503:
        return "The engine is currently overloaded, please try again later";
    default:
        return "Overloaded";
    }
}

static uint64_t
pick_length(const struct chat *chat)
{
    const struct belay__sim_opts *opts = &chat->sim->opts;
    struct belay__sim_dice dice = {
        opts->seed + belay__sim_hash(chat->request.prompt)};
    const uint64_t more = opts->tokens_max - opts->tokens_min;
    const uint64_t wanted =
        opts->tokens_min + belay__sim_roll(&dice) % (more + 1);

    return wanted < chat->request.max_tokens ? wanted
                                             : chat->request.max_tokens;
}

static belay_time
after(belay_time time, int64_t span_ns)
{
    belay_time sum;

    if (__builtin_add_overflow(time.ns, span_ns, &sum.ns)) {
        sum.ns = INT64_MAX;
    }
    return sum;
}

static belay_time
token_ready(const struct chat *chat, uint64_t index)
{
    const double rate = chat->sim->opts.tokens_per_second;

    if (rate <= 0) {
        return chat->first;
    }
    return after(chat->first, (int64_t)((double)index / rate * NS_PER_S));
}

/* Refuses the request, or does nothing that waits. */
static belay_next
judge(belay_task *task, struct chat *chat)
{
    struct belay__sim *sim = chat->sim;
    const int status = chat->fate.status;
    char problem[160];

    if (!belay__sim_may(sim, chat->call.request)) {
        return refuse(task, chat, 401, "Incorrect API key provided");
    }
    if (!belay__sim_read(chat->call.request->body, &chat->request, problem,
            sizeof(problem))) {
        return refuse(task, chat, 400, problem);
    }
    chat->entry.stream = chat->request.stream;
    if (sim->opts.capacity > 0 && sim->stats.in_flight > sim->opts.capacity) {
        return refuse_for_now(task, chat, "Too many requests at once");
    }
    if (status == 429) {
        return refuse_for_now(task, chat, "Rate limit reached for requests");
    }
    if (status != 200) {
        return refuse(task, chat, status, complaint_of(status));
    }
    belay__sim_words_init(&chat->words, sim->opts.seed, chat->request.prompt);
    chat->tokens = pick_length(chat);
    chat->entry.prompt_tokens = chat->request.prompt_tokens;
    chat->entry.completion_tokens = chat->tokens;
    chat->first =
        after(after(chat->began, chat->fate.latency.ns), sim->opts.ttft.ns);
    return belay_checkpoint(task);
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
put_start(struct belay__json_writer *json, const struct chat *chat,
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
finish_reason(const struct chat *chat)
{
    return chat->tokens < chat->request.max_tokens ? "stop" : "length";
}

static void
put_usage(struct belay__json_writer *json, const struct chat *chat)
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
put_words(struct belay__json_writer *json, struct chat *chat, uint64_t count)
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
break_at(const struct chat *chat, uint64_t count)
{
    if (!chat->fate.cut && !chat->fate.stall) {
        return count;
    }
    return (uint64_t)(chat->fate.where * (double)count);
}

/* Behind the part of an answer that is sent before it breaks off. */
static belay_next
break_off(belay_task *task, struct chat *chat)
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
    struct chat *chat;
};

static int
write_answer(struct chat *chat, struct belay__buffer *buffer)
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
    struct chat *chat = self->chat;
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
    struct chat *chat;
    uint64_t at;    /* the next piece */
    uint64_t count; /* of all pieces */
    uint64_t stop;  /* where it breaks off, or count */
};

static void
put_delta(struct belay__json_writer *json, struct chat *chat, uint64_t at)
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
put_chunk(struct belay__buffer *buffer, struct chat *chat, uint64_t at)
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
    const struct chat *chat = stream->chat;
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
    struct chat *chat = stream->chat;
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
    struct chat *chat = self->chat;
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

/* ---- the page ---- */

static belay_next
answer(belay_task *task, struct chat *chat)
{
    return chat->request.stream ? BELAY_CALL(stream, .chat = chat)
                                : BELAY_CALL(plain, .chat = chat);
}

BELAY_ASYNC(chat)
{
    BELAY_BEGIN;
    note_request(task, self);
    BELAY_WITH (BELAY_ENTER(admission, .chat = self)) {
        BELAY_CHECK(add_headers(self));
        BELAY_AWAIT(judge(task, self));
        if (self->entry.status == 200 && self->fate.stall && self->fate.rude) {
            BELAY_AWAIT(break_off(task, self));
        }
        if (self->entry.status == 200) {
            BELAY_AWAIT(answer(task, self));
        }
        if (self->sim->opts.max_requests > 0
            && self->entry.end != BELAY__SIM_CUT) {
            /* It may be the last: the simulator closes behind it. */
            BELAY_AWAIT(belay__reply_flush(task, self->call.reply));
        }
    }
    BELAY_END;
}

belay_next
belay__sim_chat(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call)
{
    return BELAY_CALL(chat, .call = *call, .sim = sim);
}
