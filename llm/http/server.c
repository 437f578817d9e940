/* server.c - the listener, and the scope round all connections.
 *
 * Two managers, one in the other: the listener's exit closes it and waits for
 * every handle of libuv, the connections' included; inside, the group's exit
 * waits for every handler. Both wait whatever happens: no handler outlives
 * its server, no handle its memory.
 */
#include "llm/http/server.h"

#include "llm/http/connection.h"

#include <string.h>
#include <time.h>

#define BACKLOG 1024

static uv_stream_t *
stream_of(struct belay__server *server)
{
    return (uv_stream_t *)&server->listener;
}

static void accept_held(struct belay__server *server);

void
belay__server_closed_one(struct belay__server *server)
{
    server->handles--;
    if (server->handles == 0 && belay_op_pending(&server->closed)) {
        belay_op_done(&server->closed, 0, NULL);
    }
    accept_held(server);
}

static void
on_listener_closed(uv_handle_t *handle)
{
    belay__server_closed_one(handle->data);
}

/* ---- accepting ---- */

/* libuv holds one accepted connection and stops listening until it is taken:
 * that is how connections beyond the limit wait.
 */
static void
accept_held(struct belay__server *server)
{
    if (!server->held || !server->open
        || server->connections >= server->opts.max_connections) {
        return;
    }
    (void)belay__connection_accept(server);
    if (server->held) {
        /* No memory for it: another try is worth more than a stuck server. */
        belay__timer_start(server->runtime, &server->accept_timer,
            belay__due(server->runtime, belay_milliseconds(100)));
    }
}

static void
on_accept_timer(struct belay__timer *timer)
{
    accept_held(BELAY__CONTAINER(timer, struct belay__server, accept_timer));
}

static void
on_connection(uv_stream_t *listener, int status)
{
    struct belay__server *server = listener->data;

    if (status < 0) {
        return; /* libuv has dropped it and goes on listening */
    }
    server->held = true;
    accept_held(server);
}

/* ---- the listener's manager ---- */

struct listener {
    struct belay__server_opts opts;
    struct belay__server *server;
    int code;
};

static int
resolve(const struct belay__server_opts *opts, struct sockaddr_storage *ret)
{
    const char *host = opts->host;
    int code;

    if (host == NULL || strcmp(host, "localhost") == 0) {
        host = "127.0.0.1";
    }
    code = uv_ip4_addr(host, opts->port, (struct sockaddr_in *)(void *)ret);
    if (code < 0) {
        code =
            uv_ip6_addr(host, opts->port, (struct sockaddr_in6 *)(void *)ret);
    }
    return code;
}

static int
find_port(struct belay__server *server)
{
    struct sockaddr_storage address;
    int size = sizeof(address);
    uint16_t port;
    int code;

    code = uv_tcp_getsockname(
        &server->listener, (struct sockaddr *)&address, &size);
    if (code < 0) {
        return code;
    }
    if (address.ss_family == AF_INET6) {
        port = ((struct sockaddr_in6 *)(void *)&address)->sin6_port;
    } else {
        port = ((struct sockaddr_in *)(void *)&address)->sin_port;
    }
    server->port = ntohs(port);
    return 0;
}

static int
bind_listener(struct belay__server *server)
{
    struct sockaddr_storage address;
    int code;

    memset(&address, 0, sizeof(address));
    code = resolve(&server->opts, &address);
    if (code < 0) {
        return code;
    }
    code = uv_tcp_bind(&server->listener, (struct sockaddr *)&address, 0);
    if (code < 0) {
        return code;
    }
    /* Nothing is accepted before the server is open. */
    code = uv_listen(stream_of(server), BACKLOG, on_connection);
    return code < 0 ? code : find_port(server);
}

static void
fill_defaults(struct belay__server_opts *opts)
{
    if (opts->max_connections == 0) {
        opts->max_connections = 1024;
    }
    if (opts->max_body_bytes == 0) {
        opts->max_body_bytes = (size_t)64 * 1024 * 1024;
    }
    if (opts->max_queue_bytes == 0) {
        opts->max_queue_bytes = (size_t)256 * 1024;
    }
    if (opts->idle_timeout.ns == 0) {
        opts->idle_timeout = belay_seconds(75);
    }
    if (opts->head_timeout.ns == 0) {
        opts->head_timeout = belay_seconds(30);
    }
    if (opts->io_timeout.ns == 0) {
        opts->io_timeout = belay_seconds(60);
    }
}

/* Everything but the uv handle; NULL when out of memory. */
static struct belay__server *
make_server(belay_runtime *runtime, const struct belay__server_opts *opts)
{
    struct belay__memory *memory = runtime->memory;
    struct belay__server *server;

    server = belay__alloc_zero(memory, sizeof(*server));
    if (server == NULL) {
        return NULL;
    }
    server->arguments = belay__alloc_zero(memory, opts->handler->size);
    if (server->arguments == NULL) {
        goto free_server;
    }
    if (belay__timer_init(runtime, &server->accept_timer, on_accept_timer)
        < 0) {
        goto free_arguments;
    }
    server->memory = memory;
    server->runtime = runtime;
    server->opts = *opts;
    fill_defaults(&server->opts);
    return server;

free_arguments:
    belay__free(memory, server->arguments, opts->handler->size);
free_server:
    belay__free(memory, server, sizeof(*server));
    return NULL;
}

static void
free_server(struct belay__server *server)
{
    struct belay__memory *memory = server->memory;

    belay__timer_fini(server->runtime, &server->accept_timer);
    belay__free(memory, server->arguments, server->opts.handler->size);
    belay__free(memory, server, sizeof(*server));
}

static void
stop_listening(struct belay__server *server)
{
    uv_handle_t *handle = (uv_handle_t *)&server->listener;

    server->open = false;
    if (!uv_is_closing(handle)) {
        uv_close(handle, on_listener_closed);
    }
}

/* An operation: waits until libuv has let go of every handle. */
static belay_next
close_listener(belay_task *task, struct belay__server *server)
{
    stop_listening(server);
    belay_op_begin_shielded(task, &server->closed);
    server->closed.name = "connections to close";
    if (server->handles == 0) {
        belay_op_done(&server->closed, 0, NULL);
    }
    return belay_op_wait(&server->closed);
}

static belay_next
listen_failed(belay_task *task, void *frame)
{
    struct listener *self = frame;
    const struct belay__server_opts *opts = &self->opts;

    free_server(self->server);
    return belay_fail(task, self->code, "cannot listen on %s port %d: %s",
        opts->host != NULL ? opts->host : "127.0.0.1", opts->port,
        belay_code_text(self->code));
}

static belay_next
listener_enter(belay_task *task, void *frame)
{
    struct listener *self = frame;
    belay_runtime *runtime = belay_task_runtime(task);
    struct belay__server *server;

    server = make_server(runtime, &self->opts);
    if (server == NULL) {
        return belay_fail(task, BELAY_ENOMEM, NULL);
    }
    self->server = server;
    self->code = uv_tcp_init(belay_runtime_loop(runtime), &server->listener);
    if (self->code < 0) {
        return listen_failed(task, self);
    }
    server->listener.data = server;
    server->handles++;
    self->code = bind_listener(server);
    if (self->code < 0) {
        return belay_then(task, listen_failed, close_listener(task, server));
    }
    return belay_return(task, server);
}

static belay_next
listener_closed(belay_task *task, void *frame)
{
    struct listener *self = frame;

    free_server(self->server);
    return belay_return(task, NULL);
}

static belay_next
listener_exit(belay_task *task, void *frame)
{
    struct listener *self = frame;

    return belay_then(
        task, listener_closed, close_listener(task, self->server));
}

static const belay_manager listener = {
    {"http listener", __FILE__, sizeof(struct listener), listener_enter, 0},
    listener_exit};

/* ---- the server's manager ---- */

struct http_server {
    struct belay__server_opts opts;
    struct belay__server **ret;
    struct belay__server *server;
};

BELAY_MANAGER(http_server)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(listener, .opts = self->opts)) {
        self->server = belay_result(task)->value;
        BELAY_WITH (belay_group_open(task,
            BELAY_GROUP_OPTS(.name = "http server", .policy = BELAY_SUPERVISE),
            &self->server->group)) {
            self->server->open = true;
            *self->ret = self->server;
            BELAY_TRY_YIELD(self->server);
            stop_listening(self->server);
            belay_group_cancel(self->server->group, "the server is closing");
        }
    }
    BELAY_END; /* the block's outcome goes on as it was */
}

belay_next
belay__server_open(belay_task *task, const struct belay__server_opts *opts,
    struct belay__server **ret)
{
    return BELAY_ENTER(http_server, .opts = *opts, .ret = ret);
}

uint16_t
belay__server_port(const struct belay__server *server)
{
    return server->port;
}

uint32_t
belay__server_connections(const struct belay__server *server)
{
    return server->connections;
}

const char *
belay__request_header(const struct belay__request *request, const char *name)
{
    return belay__parser_field(request->parser, name);
}

/* ---- the date ---- */

static void
put_two(char *at, int number)
{
    at[0] = (char)('0' + number / 10 % 10);
    at[1] = (char)('0' + number % 10);
}

/* strftime() would speak the host's language. */
static void
write_date(char *ret, int64_t second)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const time_t when = (time_t)second;
    struct tm tm;

    (void)gmtime_r(&when, &tm);
    memcpy(ret, "Sun, 00 Jan 0000 00:00:00 GMT", 30);
    memcpy(ret, days + 3 * (size_t)tm.tm_wday, 3);
    put_two(ret + 5, tm.tm_mday);
    memcpy(ret + 8, months + 3 * (size_t)tm.tm_mon, 3);
    put_two(ret + 12, (tm.tm_year + 1900) / 100);
    put_two(ret + 14, tm.tm_year % 100);
    put_two(ret + 17, tm.tm_hour);
    put_two(ret + 20, tm.tm_min);
    put_two(ret + 23, tm.tm_sec);
}

const char *
belay__server_date(struct belay__server *server)
{
    const int64_t now = (int64_t)time(NULL);

    if (now != server->date_second) {
        server->date_second = now;
        write_date(server->date, now);
    }
    return server->date;
}
