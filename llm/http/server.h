/* server.h - an HTTP/1.1 server as a scope (private).
 *
 * Entering binds and listens; each connection is a task in the server's own
 * group and runs the handler, an async function, once for each request. The
 * exit stops listening, cancels the handlers, waits for them, and closes the
 * connections. A client that goes away while its request is handled cancels
 * the handler.
 *
 *     struct hello {
 *         struct belay__call call; (first; the rest is the handler's own)
 *     };
 *
 *     BELAY_ASYNC(hello)
 *     {
 *         BELAY_BEGIN;
 *         BELAY_CHECK(belay__reply_header(
 *             self->call.reply, "Content-Type", "text/plain"));
 *         BELAY_AWAIT(belay__reply_send(
 *             task, self->call.reply, 200, (struct belay_slice){"hi\n", 3}));
 *         BELAY_END;
 *     }
 *
 * Keep-alive is the rule; pipelined requests are handled one after the other.
 * A handler that fails before its reply has begun is answered for with 500;
 * one that ends in the middle of its reply has the connection closed there.
 * The server itself refuses, and closes: 400, 408, 413, 417, 431, 505.
 *
 * Bytes that come in while a handler runs are kept, up to 64 KiB; beyond that
 * the connection is not read, and the client's end not seen, until the handler
 * is done. The process must ignore SIGPIPE.
 */
#ifndef BELAY_LLM_HTTP_SERVER_H
#define BELAY_LLM_HTTP_SERVER_H

#include <belay/task.h>

struct belay__server;
struct belay__reply;
struct belay__parser;

/* A request, whole; valid until its handler has ended. */
struct belay__request {
    const char *method; /* "GET" */
    const char *path;   /* not decoded; begins with '/', or is "*" */
    const char *query;  /* behind the '?', or "" */
    struct belay_slice body;
    const struct belay__parser *parser; /* for belay__request_header() */
};

/* The first member of every handler's argument struct; what follows it is
 * zero when the handler starts.
 */
struct belay__call {
    const struct belay__request *request;
    struct belay__reply *reply;
    void *arg; /* as in the options */
};

/* Options of a server. A zero field means its default. */
struct belay__server_opts {
    const char *host; /* numeric, or "localhost"; default 127.0.0.1 */
    uint16_t port;    /* default: one that is free */
    const belay_function *handler; /* not NULL */
    void *arg;
    uint32_t max_connections; /* others wait to be accepted; default 1024 */
    size_t max_body_bytes;    /* default 64 MiB */
    size_t max_queue_bytes;   /* unsent bytes that make a write wait; 256 KiB */
    belay_duration idle_timeout; /* between requests; default 75 s */
    belay_duration head_timeout; /* from its first byte on; default 30 s */
    belay_duration io_timeout;   /* without progress in a body; default 60 s */
    /* NULL, or told of each handler that has failed; not of cancelled ones. */
    void (*failed_fn)(const struct belay_result *result, void *arg);
};

/* An enter operation: opens a server. *ret is good until the block is left.
 * Errors: BELAY_EINVAL no such host; BELAY_ENOMEM; what binding answers.
 * Entering is not a checkpoint; the exit waits for the handlers.
 */
belay_next belay__server_open(belay_task *task,
    const struct belay__server_opts *opts, struct belay__server **ret);

uint16_t belay__server_port(const struct belay__server *server);

/* Connections that are open now. */
uint32_t belay__server_connections(const struct belay__server *server);

/* The value of a header field, in any case; NULL if there is none. */
const char *belay__request_header(
    const struct belay__request *request, const char *name);

/* ---- replies ----
 *
 * A handler sends one reply: with send, or with begin, any number of writes
 * and end. The operations copy what the socket does not take at once, so the
 * caller's bytes are free when they return; then they wait until no more than
 * max_queue_bytes are unsent. All are cancellation points.
 *
 * Errors of all: BELAY_ESTATE not possible now (a second reply, a write before
 * begin, …); BELAY_ERESET the connection broke, and the handler is cancelled
 * for it; BELAY_ENOMEM. After the last two the connection is of no use.
 */

/* A header field of the reply, before send or begin. The server itself adds
 * Date, Content-Length, Transfer-Encoding and Connection. Errors:
 * BELAY_EINVAL a control character in it; BELAY_ENOMEM; nothing has changed.
 */
int belay__reply_header(
    struct belay__reply *reply, const char *name, const char *value);

/* The connection is to close behind this reply; before send or begin. */
void belay__reply_close(struct belay__reply *reply);

/* An empty buffer for the handler's use: room is kept from request to
 * request and freed with the connection.
 */
struct belay__buffer *belay__reply_scratch(struct belay__reply *reply);

/* The whole reply, in one write to the socket where it goes. */
belay_next belay__reply_send(belay_task *task, struct belay__reply *reply,
    int status, struct belay_slice body);

#define BELAY__CHUNKED UINT64_MAX

/* Begins a reply whose body comes in writes: `length` bytes, or
 * BELAY__CHUNKED if nobody knows yet. Its head goes out with the first write.
 */
int belay__reply_begin(struct belay__reply *reply, int status, uint64_t length);

/* A part of the body; a write of no bytes sends what is ready, the head
 * included. Errors also: BELAY_EINVAL more than the length that was given.
 */
belay_next belay__reply_write(
    belay_task *task, struct belay__reply *reply, struct belay_slice data);

/* The last part, which may be empty, and the end. Errors also: BELAY_EINVAL
 * it is not of the length that was given.
 */
belay_next belay__reply_end(
    belay_task *task, struct belay__reply *reply, struct belay_slice data);

/* Waits until all that was sent is in the kernel's hands. */
belay_next belay__reply_flush(belay_task *task, struct belay__reply *reply);

/* A plain reply of the server's own making: the status as text. */
belay_next belay__reply_refuse(
    belay_task *task, struct belay__reply *reply, int status);

/* Bytes onto the wire as they are, in place of a reply or within one; when
 * the handler ends the connection closes.
 */
belay_next belay__reply_raw(
    belay_task *task, struct belay__reply *reply, struct belay_slice data);

/* Closes the connection now, with a TCP reset; unsent bytes are dropped. */
void belay__reply_reset(struct belay__reply *reply);

#endif
