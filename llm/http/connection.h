/* connection.h - one connection of the HTTP server (private to llm/http).
 *
 * A connection has two owners, its task and its uv handle, and is freed with
 * the second. Nothing waits for the handle: the server counts them.
 *
 *   IDLE -> HEAD -> BODY -> REPLY -> IDLE …
 *      \      \_______\________\-> LINGER -> closed
 *       \-> closed
 */
#ifndef BELAY_LLM_HTTP_CONNECTION_H
#define BELAY_LLM_HTTP_CONNECTION_H

#include "llm/http/parser.h"
#include "llm/http/server.h"
#include "runtime/internal.h"

#include <belay/group.h>

enum belay__phase {
    BELAY__PHASE_IDLE,   /* waiting for the first byte of a request */
    BELAY__PHASE_HEAD,   /* for the rest of its head */
    BELAY__PHASE_BODY,   /* for the rest of its body */
    BELAY__PHASE_REPLY,  /* the handler's turn */
    BELAY__PHASE_LINGER, /* all is said; waiting for the client to close */
};

enum belay__reply_state {
    BELAY__REPLY_NONE,
    BELAY__REPLY_BEGUN, /* the head is ready and not yet sent */
    BELAY__REPLY_BODY,  /* the head is sent */
    BELAY__REPLY_DONE,
    BELAY__REPLY_RAW, /* the handler sends what it likes */
};

struct belay__reply {
    struct belay__connection *connection;
    struct belay__buffer fields; /* the handler's header fields */
    struct belay__buffer scratch;
    uint64_t left; /* of the length, or BELAY__CHUNKED */
    enum belay__reply_state state;
    int status;
    bool close;   /* the connection, behind the reply */
    bool chunked; /* the body goes out in chunks */
    bool no_body; /* a reply to HEAD, or a status without one */
};

struct belay__connection {
    uv_tcp_t tcp;
    uv_write_t write_request;
    uv_shutdown_t shutdown_request;
    struct belay__server *server;
    belay_task *task; /* while it runs */
    uint32_t refs;
    enum belay__phase phase;
    int refusal; /* the request is not acceptable: the status to answer with */

    struct belay__timer timer; /* armed at due_ns or earlier */
    int64_t due_ns;

    struct belay__parser parser;
    struct belay__request request;
    struct belay_op input;      /* a whole request, or the client's end */
    struct belay__buffer ahead; /* bytes behind the request, from ahead_at on */
    size_t ahead_at;
    size_t discarded; /* while lingering */
    bool reading;
    bool ended; /* the client's side is closed, or the connection broke */

    struct belay__reply reply;
    struct belay_op output;       /* room in the queue */
    struct belay__buffer writing; /* in the hands of uv_write */
    struct belay__buffer queued;  /* goes out after it */
    size_t room_wanted;           /* output waits for so few unsent bytes */
    size_t unsent_before;         /* at the last look of the timer */
};

struct belay__server {
    uv_tcp_t listener;
    struct belay__memory *memory;
    belay_runtime *runtime;
    struct belay__server_opts opts; /* with defaults filled in */
    belay_group *group;
    char *arguments; /* of the handler: its size, zero behind the call */
    struct belay__timer accept_timer;
    struct belay_op closed; /* the exit waits for the last handle */
    uint32_t handles;       /* of libuv, the listener's included */
    uint32_t connections;
    uint16_t port;
    bool open; /* connections are welcome */
    bool held; /* one waits to be accepted */
    int64_t date_second;
    char date[32];                 /* "Sun, 06 Nov 1994 08:49:37 GMT" */
    char input[(size_t)64 * 1024]; /* every read goes through it */
};

/* ---- connection.c ---- */

/* Accepts the connection that the listener holds and starts its task. Errors:
 * BELAY_ENOMEM it is still held; others: it is gone.
 */
int belay__connection_accept(struct belay__server *server);

/* ---- output.c ---- */

/* Sends, in order, what the slices hold; keeps a copy of what the socket does
 * not take. Errors: BELAY_ERESET; BELAY_ENOMEM, the connection is unusable.
 */
int belay__connection_send(struct belay__connection *connection,
    const struct belay_slice *slices, size_t count);

/* An operation that sends: begin (negative: only wait is legal), send, then
 * wait until no more than `wanted` bytes are unsent.
 */
int belay__connection_begin_output(
    belay_task *task, struct belay__connection *connection);
belay_next belay__connection_room(
    struct belay__connection *connection, size_t wanted);
/* The whole operation, with nothing to send: nothing is left unsent. */
belay_next belay__connection_flush(
    belay_task *task, struct belay__connection *connection);
/* Have bytes been sent since the last time? For the timer. */
bool belay__connection_progress(struct belay__connection *connection);

/* ---- server.c ---- */

void belay__server_closed_one(struct belay__server *server);
const char *belay__server_date(struct belay__server *server);

/* ---- reply.c ---- */

void belay__reply_init(
    struct belay__reply *reply, struct belay__connection *connection);
void belay__reply_fini(struct belay__reply *reply);
/* Before each request. */
void belay__reply_next(struct belay__reply *reply);

/* ---- connection.c, for the others ---- */

/* The client is gone: no more bytes either way. Cancels the handler. */
void belay__connection_ended(struct belay__connection *connection);
/* The time allowed for what the connection waits for next. */
void belay__connection_allow(
    struct belay__connection *connection, belay_duration span);
void belay__connection_closed(uv_handle_t *handle);

#endif
