/* stream_open.c - the scope of a stream, and calls that are one from begin to
 * end.
 *
 * Entering sends nothing; the exit stops the exchange, so that nothing of
 * libcurl's points into the scope when it goes. With .drain it first reads on
 * for a while (stream_drain.c).
 */
#include "llm/stream.h"
#include "llm/used.h"
#include "runtime/internal.h"

#include <belay/async.h>
#include <belay/timeout.h>

#include <string.h>

#define REQUEST_MAX ((size_t)64 * 1024 * 1024)

/* ---- usage ---- */

void
belay__llm_stream_count(belay_llm_stream *stream)
{
    const struct belay__estimator *estimator =
        belay__llm_account_estimator(&stream->tries.account);
    belay_llm_reply *reply = stream->tries.reply;
    struct belay_llm_usage *usage = &reply->usage;
    const bool complete = stream->state == BELAY__STREAM_DONE;
    int64_t estimate;

    if (stream->left) {
        return; /* counted by then; what was learned of models is gone */
    }
    belay__answer_get_usage(&reply->answer, usage);
    if (reply->http.status / 100 != 2
        && (reply->http.status != 0 || !reply->http.request_sent)) {
        return; /* nothing was used */
    }
    if (complete && usage->state == BELAY_LLM_USAGE_EXACT
        && usage->in_total >= 0 && usage->out_total >= 0) {
        return;
    }
    if (usage->in_total < 0) {
        usage->in_total = belay__estimate_text(estimator, stream->body);
    }
    estimate = belay__used_output(estimator, reply);
    if (usage->out_total < estimate) {
        usage->out_total = estimate; /* what is told at the start is no total */
    }
    usage->requests = 1;
    usage->state =
        complete ? BELAY_LLM_USAGE_ESTIMATED : BELAY_LLM_USAGE_PARTIAL;
}

belay_llm_reply *
belay_llm_stream_reply(belay_llm_stream *stream)
{
    belay__llm_stream_count(stream);
    return stream->tries.reply;
}

/* ---- entering ---- */

int
belay__llm_stream_build(
    const belay_llm_stream *stream, bool usage, struct belay__buffer *ret)
{
    const struct belay__wish wish = {.stream = true, .usage = usage};
    int code = 0;

    belay__buffer_init(ret, stream->tries.client->memory, REQUEST_MAX);
    if (stream->chat.body.len == 0) {
        code =
            belay__provider_build(stream->provider, &stream->chat, wish, ret);
    }
    if (code < 0) {
        belay__buffer_fini(ret);
    }
    return code;
}

void
belay__llm_stream_take(
    belay_llm_stream *stream, const struct belay__buffer *built)
{
    struct belay__llm_account *account = &stream->tries.account;

    /* What points into the one before. */
    account->measured = false;
    stream->tries.reply->answer.request = (struct belay_slice){NULL, 0};
    belay__buffer_fini(&stream->built);

    stream->built = *built;
    stream->body = stream->chat.body.len > 0 ? stream->chat.body
                                             : belay__buffer_slice(built);
    account->body = stream->body;
    if (stream->chat.body.len > 0) {
        return;
    }
    account->checked = true;
    if (stream->chat.model != NULL) {
        account->name = (struct belay_slice){
            stream->chat.model, strlen(stream->chat.model)};
    }
}

static void
link_stream(belay_llm_stream *stream)
{
    belay_llm_client *client = stream->tries.client;

    stream->next = client->streams;
    if (client->streams != NULL) {
        client->streams->prev = stream;
    }
    client->streams = stream;
}

static void
unlink_stream(belay_llm_stream *stream)
{
    if (stream->prev != NULL) {
        stream->prev->next = stream->next;
    } else {
        stream->tries.client->streams = stream->next;
    }
    if (stream->next != NULL) {
        stream->next->prev = stream->prev;
    }
    stream->next = NULL;
    stream->prev = NULL;
}

void
belay__llm_stream_leave(belay_llm_stream *stream)
{
    struct belay__llm_tries *tries = &stream->tries;

    unlink_stream(stream);
    if (stream->attempting) {
        stream->attempting = false;
        belay__llm_record(tries, BELAY_ECLOSED);
        belay__llm_stream_count(stream);
        belay__llm_conclude(tries, 0);
    }
    belay__llm_access_give(tries->client, &tries->account.access);
    belay__llm_drain_end(stream);
    stream->left = true;
}

struct scope {
    belay_llm_stream stream; /* first: the scope is the stream's memory */
    struct belay__life client;
    belay_llm_stream **ret;
};

static const char *
check(const belay_llm_stream *stream)
{
    const char *why = belay__llm_tries_check(&stream->tries);

    if (why == NULL && stream->provider == NULL) {
        why = "there is no such format";
    }
    if (why == NULL && stream->chat.body.len == 0) {
        why = stream->provider->check_fn(&stream->chat);
    }
    return why;
}

static belay_next
stream_enter(belay_task *task, void *self)
{
    struct scope *scope = self;
    belay_llm_stream *stream = &scope->stream;
    struct belay__memory *memory = belay_task_runtime(task)->memory;
    struct belay__buffer built;
    const char *why;
    int code;

    if (!belay__is_there(task, scope->client)) {
        return belay_fail(task, BELAY_ECLOSED, "the client was left");
    }
    why = check(stream);
    if (why != NULL) {
        return belay_fail(
            task, BELAY_EINVAL, "request cannot be sent: %s", why);
    }
    code = belay__llm_tries_begin(task, &stream->tries);
    if (code < 0) {
        return belay_fail(task, code,
            code == BELAY_ECLOSED ? "the client is being left" : NULL);
    }
    code = belay__llm_stream_build(stream, !stream->opts.no_usage, &built);
    if (code == 0) {
        belay__llm_stream_take(stream, &built);
        code = belay__llm_drain_init(stream, belay_task_runtime(task));
    }
    if (code < 0) {
        belay__buffer_fini(&stream->built);
        belay__llm_tries_end(&stream->tries);
        return belay_fail(task, code, NULL);
    }
    belay__llm_feed_init(&stream->feed, memory, stream->opts.max_event_bytes,
        stream->opts.max_queue_bytes);
    belay__llm_reply_begin_live(stream->tries.reply, stream->provider);
    link_stream(stream);
    *scope->ret = stream;
    return belay_return(task, stream);
}

/* ---- leaving ---- */

static belay_next
stream_close(belay_task *task, void *self)
{
    struct scope *scope = self;
    belay_llm_stream *stream = &scope->stream;

    belay__llm_stream_end(task, stream,
        stream->state == BELAY__STREAM_DONE ? 0 : BELAY_ECANCELED);
    belay__llm_drain_fini(stream);
    if (!stream->left) {
        unlink_stream(stream);
    }
    if (stream->opts.keep != NULL && stream->tries.reply != NULL) {
        belay__llm_stream_count(stream);
        /* What was asked goes with the stream, read to its end or not. */
        stream->tries.reply->answer.request = (struct belay_slice){NULL, 0};
        *stream->opts.keep = stream->tries.reply;
        stream->tries.reply = NULL;
    }
    belay__llm_tries_end(&stream->tries);
    belay__llm_feed_fini(&stream->feed);
    belay__buffer_fini(&stream->built);
    return belay_return(task, NULL);
}

static belay_next
stream_drained(belay_task *task, void *self)
{
    struct scope *scope = self;

    scope->stream.tries.client->calls--;
    return stream_close(task, self);
}

/* Was it left while more was to come, or to be read? */
static bool
is_early(const belay_llm_stream *stream)
{
    return !stream->left
           && (stream->state == BELAY__STREAM_RUNNING
               || stream->state == BELAY__STREAM_CANCELLED);
}

static belay_next
stream_exit(belay_task *task, void *self)
{
    struct scope *scope = self;
    belay_llm_stream *stream = &scope->stream;

    if (!is_early(stream) || !belay__llm_drain_begin(stream)) {
        return stream_close(task, self);
    }
    stream->tries.client->calls++;
    return belay_then(task, stream_drained, belay__llm_drain(task, stream));
}

/* Before anything else of them is read. */
static bool
are_known(
    const struct belay_llm_chat *chat, const struct belay_llm_stream_opts *opts)
{
    return chat->size == sizeof(*chat)
           && (opts == NULL || opts->size == sizeof(*opts));
}

belay_next
belay_llm_stream_open(belay_task *task, belay_llm_client *client,
    const struct belay_llm_chat *chat, const struct belay_llm_stream_opts *opts,
    belay_llm_stream **ret)
{
    static const belay_manager manager = {
        {"llm stream", __FILE__, sizeof(struct scope), stream_enter, 0},
        stream_exit};
    struct scope scope = {.client = client->life, .ret = ret};
    belay_llm_stream *stream = &scope.stream;

    if (!are_known(chat, opts)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    stream->chat = *chat;
    if (opts != NULL) {
        stream->opts = *opts;
    }
    stream->tries = (struct belay__llm_tries){
        .client = client,
        .on_attempt = chat->on_attempt,
        .arg = chat->arg,
        .account.ledger = chat->ledger,
        .account.turn = chat->turn,
        .max_retries = chat->max_retries,
    };
    stream->provider = belay__provider_of(
        chat->format != BELAY_LLM_FORMAT_DEFAULT ? chat->format
                                                 : client->format);
    return belay_enter(task, &manager, &scope);
}

/* ---- from begin to end ---- */

struct whole {
    belay_llm_client *client;
    struct belay_llm_chat chat;
    struct belay_llm_stream_opts opts;
    belay_llm_event_fn *on_event;
    void *arg;
    belay_llm_reply **ret;
    belay_llm_stream *stream;
};

BELAY_ASYNC(whole)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_stream_open(
        task, self->client, &self->chat, &self->opts, &self->stream)) {
        BELAY_AWAIT(belay_llm_stream_run(
            task, self->stream, self->on_event, self->arg));
        belay__llm_stream_count(self->stream);
        *self->ret = self->stream->tries.reply;
        self->stream->tries.reply = NULL;
    }
    BELAY_END;
}

/* Round it: like a plain call it counts from when it is made, which may be a
 * turn before its first step, to its end.
 */
struct counted {
    struct whole whole;
};

BELAY_ASYNC(counted)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_call(task, &whole, &self->whole));
    self->whole.client->calls--;
    return belay_pass(task);
    BELAY_END;
}

static belay_next
begin_whole(belay_task *task, const struct whole *whole_call)
{
    const belay_next next = belay_call(task, &counted, whole_call);

    if (next.how == BELAY__HOW_CALL) {
        whole_call->client->calls++;
    }
    return next;
}

belay_next
belay_llm_complete_stream(belay_task *task, belay_llm_client *client,
    const struct belay_llm_chat *chat, const struct belay_llm_stream_opts *opts,
    belay_llm_event_fn *on_event, void *arg, belay_llm_reply **ret)
{
    struct whole whole_call = {.client = client,
        .opts = {.size = sizeof(*opts)},
        .on_event = on_event,
        .arg = arg,
        .ret = ret};

    if (!are_known(chat, opts)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    whole_call.chat = *chat;
    if (opts != NULL) {
        whole_call.opts = *opts;
    }
    whole_call.opts.keep = NULL;
    return begin_whole(task, &whole_call);
}

/* Nobody is told of its events, so it may begin anew like a plain call. */
belay_next
belay__llm_complete_streamed(belay_task *task, belay_llm_client *client,
    const struct belay_llm_chat *chat, belay_llm_reply **ret)
{
    return belay_llm_complete_stream(task, client, chat,
        BELAY_LLM_STREAM_OPTS(.restart = true), NULL, NULL, ret);
}
