/* connection.c - one connection: reads requests, has them handled, closes.
 *
 * The socket is read all the time, also while a handler runs, because only a
 * read tells that the client has gone; what comes in early waits in `ahead`.
 * There is one timer: setting a later time only notes it, the timer looks
 * again when it fires. So a request on a busy connection costs no timer work.
 */
#include "llm/http/connection.h"

#include <string.h>

#define AHEAD_MAX ((size_t)64 * 1024) /* then the socket is not read */
#define AHEAD_ROOM (2 * AHEAD_MAX)    /* one more read fits */
#define QUEUE_ROOM ((size_t)1 << 30)
#define LINGER_MAX ((size_t)1024 * 1024)
#define FRAME_BYTES 1024 /* of a connection's task, the handler's included */

static uv_handle_t *
handle_of(struct belay__connection *connection)
{
    return (uv_handle_t *)&connection->tcp;
}

static uv_stream_t *
stream_of(struct belay__connection *connection)
{
    return (uv_stream_t *)&connection->tcp;
}

static bool
is_closing(struct belay__connection *connection)
{
    return uv_is_closing(handle_of(connection)) != 0;
}

/* ---- its life ---- */

static void
unref(struct belay__connection *connection)
{
    struct belay__memory *memory = connection->server->memory;

    if (--connection->refs > 0) {
        return;
    }
    belay__parser_fini(&connection->parser);
    belay__reply_fini(&connection->reply);
    belay__buffer_fini(&connection->ahead);
    belay__buffer_fini(&connection->writing);
    belay__buffer_fini(&connection->queued);
    connection->server->connections--;
    belay__server_closed_one(connection->server);
    belay__free(memory, connection, sizeof(*connection));
}

void
belay__connection_closed(uv_handle_t *handle)
{
    unref(handle->data);
}

static void
close_handle(struct belay__connection *connection)
{
    if (!is_closing(connection)) {
        uv_close(handle_of(connection), belay__connection_closed);
    }
}

void
belay__connection_ended(struct belay__connection *connection)
{
    if (connection->ended) {
        return;
    }
    connection->ended = true;
    if (belay_op_pending(&connection->input)) {
        belay_op_done(&connection->input, BELAY_ECLOSED, NULL);
    } else if (connection->task != NULL) {
        belay_task_cancel(connection->task, "the client is gone");
    }
}

/* ---- time ---- */

void
belay__connection_allow(
    struct belay__connection *connection, belay_duration span)
{
    belay_runtime *runtime = connection->server->runtime;

    if (span.ns == BELAY_FOREVER.ns) {
        connection->due_ns = INT64_MAX;
        return;
    }
    connection->due_ns = belay__due(runtime, span);
    if (belay__timer_due(runtime, &connection->timer) > connection->due_ns) {
        belay__timer_start(runtime, &connection->timer, connection->due_ns);
    }
}

static void
time_is_up(struct belay__connection *connection)
{
    if (belay_op_pending(&connection->output)) {
        if (belay__connection_progress(connection)) {
            belay__connection_allow(
                connection, connection->server->opts.io_timeout);
        } else {
            belay__connection_ended(connection);
        }
        return;
    }
    if (!belay_op_pending(&connection->input)) {
        return;
    }
    if (connection->phase == BELAY__PHASE_IDLE) {
        belay_op_done(&connection->input, BELAY_ETIMEDOUT, NULL);
        return;
    }
    if (connection->phase != BELAY__PHASE_LINGER) {
        connection->refusal = 408;
    }
    belay_op_done(&connection->input, 0, NULL);
}

static void
on_timer(struct belay__timer *timer)
{
    struct belay__connection *connection =
        BELAY__CONTAINER(timer, struct belay__connection, timer);
    belay_runtime *runtime = connection->server->runtime;

    if (connection->due_ns > belay__clock_now(runtime)) {
        belay__timer_start(runtime, timer, connection->due_ns);
        return;
    }
    connection->due_ns = INT64_MAX;
    time_is_up(connection);
}

/* ---- input ---- */

/* A request has come to its end, good or bad: the task's turn. */
static void
request_done(struct belay__connection *connection, int refusal)
{
    connection->refusal = refusal;
    connection->phase = BELAY__PHASE_REPLY;
    belay__connection_allow(connection, BELAY_FOREVER);
    belay_op_done(&connection->input, 0, NULL);
}

/* A part of a request has come, and more must follow. */
static void
request_goes_on(struct belay__connection *connection)
{
    const struct belay__server_opts *opts = &connection->server->opts;
    struct belay__parser *parser = &connection->parser;

    if (parser->part != BELAY__HEAD_WHOLE) {
        if (connection->phase == BELAY__PHASE_IDLE) {
            connection->phase = BELAY__PHASE_HEAD;
            belay__connection_allow(connection, opts->head_timeout);
        }
        return;
    }
    connection->phase = BELAY__PHASE_BODY;
    belay__connection_allow(connection, opts->io_timeout);
    if (parser->wants_continue) {
        static const struct belay_slice text = {
            "HTTP/1.1 100 Continue\r\n\r\n", 25};

        parser->wants_continue = false;
        (void)belay__connection_send(connection, &text, 1);
    }
}

/* Gives bytes to the awaited request; returns how many it took. */
static size_t
feed(struct belay__connection *connection, const char *data, size_t len)
{
    size_t used = len;
    int code = belay__parser_feed(&connection->parser, data, len, &used);

    if (code == 0) {
        request_goes_on(connection);
    } else {
        request_done(connection, code < 0 ? connection->parser.status : 0);
    }
    return used;
}

static void
keep_ahead(struct belay__connection *connection, const char *data, size_t len)
{
    struct belay__buffer *ahead = &connection->ahead;

    if (connection->ahead_at > 0) {
        ahead->len -= connection->ahead_at;
        memmove(ahead->data, ahead->data + connection->ahead_at, ahead->len);
        connection->ahead_at = 0;
    }
    if (belay__buffer_append(ahead, data, len) < 0) {
        belay__connection_ended(connection);
        return;
    }
    if (ahead->len >= AHEAD_MAX) {
        (void)uv_read_stop(stream_of(connection));
        connection->reading = false;
    }
}

static void
feed_ahead(struct belay__connection *connection)
{
    struct belay__buffer *ahead = &connection->ahead;
    const size_t len = ahead->len - connection->ahead_at;

    if (len == 0) {
        return;
    }
    connection->ahead_at +=
        feed(connection, ahead->data + connection->ahead_at, len);
    if (connection->ahead_at == ahead->len) {
        belay__buffer_clear(ahead);
        connection->ahead_at = 0;
    }
}

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct belay__connection *connection = handle->data;

    (void)suggested;
    *ret = uv_buf_init(
        connection->server->input, sizeof(connection->server->input));
}

static void
discard(struct belay__connection *connection, size_t len)
{
    connection->discarded += len;
    if (connection->discarded > LINGER_MAX) {
        belay__connection_ended(connection);
    }
}

static void
on_read(uv_stream_t *stream, ssize_t result, const uv_buf_t *buf)
{
    struct belay__connection *connection = stream->data;
    size_t len = (size_t)result;
    size_t used = 0;

    if (result == 0) {
        return;
    }
    if (result < 0) {
        belay__connection_ended(connection);
        return;
    }
    if (connection->phase == BELAY__PHASE_LINGER) {
        discard(connection, len);
        return;
    }
    if (belay_op_pending(&connection->input)) {
        used = feed(connection, buf->base, len);
    }
    if (used < len) {
        keep_ahead(connection, buf->base + used, len - used);
    }
}

static void
read_on(struct belay__connection *connection)
{
    if (connection->reading) {
        return;
    }
    connection->reading = true;
    if (uv_read_start(stream_of(connection), on_alloc, on_read) < 0) {
        belay__connection_ended(connection);
    }
}

static enum belay_abort
abort_input(struct belay_op *op)
{
    (void)op; /* reading goes on; nobody is told */
    return BELAY_ABORT_DONE;
}

/* An operation: the next request is whole, or must be refused. */
static belay_next
await_request(belay_task *task, struct belay__connection *connection)
{
    struct belay_op *input = &connection->input;

    if (belay_op_begin(task, input, abort_input) < 0) {
        return belay_op_wait(input);
    }
    input->name = "request of a client";
    if (connection->ended || is_closing(connection)) {
        belay_op_done(input, BELAY_ECLOSED, NULL);
        return belay_op_wait(input);
    }
    belay__parser_next(&connection->parser);
    connection->phase = BELAY__PHASE_IDLE;
    connection->refusal = 0;
    belay__connection_allow(connection, connection->server->opts.idle_timeout);
    feed_ahead(connection);
    if (belay_op_pending(input)) {
        read_on(connection);
    }
    return belay_op_wait(input);
}

static void
on_shutdown(uv_shutdown_t *request, int status)
{
    (void)request;
    (void)status;
}

/* An operation: says that no more will come and waits for the client to close.
 * Closing at once would be a reset while bytes are unread, and a reset
 * destroys a reply that the client has not read.
 */
static belay_next
linger(belay_task *task, struct belay__connection *connection)
{
    struct belay_op *input = &connection->input;

    if (belay_op_begin(task, input, abort_input) < 0) {
        return belay_op_wait(input);
    }
    input->name = "end of a client";
    if (connection->ended || is_closing(connection)
        || uv_shutdown(&connection->shutdown_request, stream_of(connection),
               on_shutdown)
               < 0) {
        belay_op_done(input, BELAY_ECLOSED, NULL);
        return belay_op_wait(input);
    }
    connection->phase = BELAY__PHASE_LINGER;
    belay__connection_allow(connection, belay_seconds(2));
    read_on(connection);
    return belay_op_wait(input);
}

/* ---- its task ---- */

static void
fill_request(struct belay__connection *connection)
{
    struct belay__parser *parser = &connection->parser;
    struct belay__request *request = &connection->request;
    char *target = parser->head.data;
    char *query;

    if (strncmp(target, "http://", 7) == 0) {
        /* The form for proxies, which servers must understand too. */
        target = strchr(target + 7, '/');
    }
    request->method = belay__parser_method(parser);
    request->path = target != NULL ? target : "/";
    request->query = "";
    query = target != NULL ? strchr(target, '?') : NULL;
    if (query != NULL) {
        *query = '\0';
        request->query = query + 1;
    }
    request->body = belay__buffer_slice(&parser->body);
    request->parser = parser;
}

static belay_next
call_handler(belay_task *task, struct belay__connection *connection)
{
    struct belay__server *server = connection->server;
    const struct belay__call call = {
        &connection->request, &connection->reply, server->opts.arg};

    memcpy(server->arguments, &call, sizeof(call));
    return belay_call(task, server->opts.handler, server->arguments);
}

static void
report(const struct belay__connection *connection,
    const struct belay_result *result)
{
    const struct belay__server_opts *opts = &connection->server->opts;

    if (result->code < 0 && !result->cancelled && !connection->ended
        && opts->failed_fn != NULL) {
        opts->failed_fn(result, opts->arg);
    }
}

struct converse {
    struct belay__connection *connection;
};

BELAY_ASYNC(converse)
{
    struct belay__connection *connection = self->connection;
    struct belay__reply *reply = &connection->reply;

    BELAY_BEGIN;
    read_on(connection);
    do {
        BELAY_TRY(await_request(task, connection));
        if (belay_result(task)->code < 0) {
            BELAY_RETURN(NULL);
        }
        if (connection->refusal == 0) {
            fill_request(connection);
        }
        belay__reply_next(reply);
        if (connection->refusal == 0) {
            BELAY_TRY(call_handler(task, connection));
            report(connection, belay_result(task));
        }
        if (reply->state == BELAY__REPLY_NONE) {
            BELAY_TRY(belay__reply_refuse(task, reply,
                connection->refusal != 0 ? connection->refusal : 500));
        }
    } while (reply->state == BELAY__REPLY_DONE && !reply->close);
    BELAY_TRY(belay__connection_flush(task, connection));
    BELAY_TRY(linger(task, connection));
    BELAY_END;
}

/* The connection's task. It is spawned outside any step, so nothing may fail
 * before the connection has an owner: this function is the owner, and all
 * that can fail is below it.
 */
static belay_next
serve_step(belay_task *task, void *self)
{
    struct belay__connection *connection = *(struct belay__connection **)self;
    struct belay__resume *resume = belay__resume_of(self);

    if (resume->line == 0) {
        resume->line = 1;
        connection->task = task;
        return BELAY_CALL(converse, .connection = connection);
    }
    connection->task = NULL;
    belay__timer_fini(connection->server->runtime, &connection->timer);
    close_handle(connection);
    unref(connection);
    return belay_return(task, NULL);
}

static const belay_function serve = {"http connection", __FILE__,
    sizeof(struct belay__connection *), serve_step, FRAME_BYTES};

static void
init_buffers(struct belay__connection *connection)
{
    struct belay__server *server = connection->server;

    belay__parser_init(
        &connection->parser, server->memory, server->opts.max_body_bytes);
    belay__buffer_init(&connection->ahead, server->memory, AHEAD_ROOM);
    belay__buffer_init(&connection->writing, server->memory, QUEUE_ROOM);
    belay__buffer_init(&connection->queued, server->memory, QUEUE_ROOM);
    belay__reply_init(&connection->reply, connection);
}

/* The handle is open; from here on failing means closing it. */
static int
start(struct belay__connection *connection)
{
    struct belay__server *server = connection->server;
    int code;

    code = uv_accept((uv_stream_t *)&server->listener, stream_of(connection));
    if (code < 0) {
        return code;
    }
    server->held = false;
    code = uv_tcp_nodelay(&connection->tcp, 1);
    if (code < 0) {
        return code;
    }
    code = belay__timer_init(server->runtime, &connection->timer, on_timer);
    if (code < 0) {
        return code;
    }
    code = belay_group_spawn(server->group, &serve, &connection, NULL);
    if (code < 0) {
        belay__timer_fini(server->runtime, &connection->timer);
        return code;
    }
    connection->refs++;
    return 0;
}

int
belay__connection_accept(struct belay__server *server)
{
    struct belay__connection *connection;
    int code;

    connection = belay__alloc_zero(server->memory, sizeof(*connection));
    if (connection == NULL) {
        return BELAY_ENOMEM;
    }
    connection->server = server;
    connection->refs = 1;
    connection->due_ns = INT64_MAX;
    code = uv_tcp_init(belay_runtime_loop(server->runtime), &connection->tcp);
    if (code < 0) {
        belay__free(server->memory, connection, sizeof(*connection));
        return code;
    }
    connection->tcp.data = connection;
    server->handles++;
    server->connections++;
    init_buffers(connection);
    code = start(connection);
    if (code < 0) {
        close_handle(connection);
    }
    return code;
}
