/* fault_connection.c - connections of a misbehaving server: requests are
 * read, and the scripts that they have in its table are played.
 */
#include "test/support/fault_inside.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FILL_BYTES 65536
#define REQUEST_MAX ((size_t)256 * 1024 * 1024)

static void start_reading(struct fault_connection *connection);
static void read_request(struct fault_connection *connection);

/* ---- connections ---- */

static void
on_handle_closed(uv_handle_t *handle)
{
    struct fault_connection *connection = handle->data;
    struct fault_server *server = connection->server;

    if (--connection->handles > 0) {
        return;
    }
    if (connection->prev != NULL) {
        connection->prev->next = connection->next;
    } else {
        server->connections = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->prev = connection->prev;
    }
    (void)pthread_mutex_lock(&server->mutex);
    server->open--;
    (void)pthread_mutex_unlock(&server->mutex);
    free(connection->in);
    free(connection->made);
    free(connection);
}

void
fault_connection_shut(struct fault_connection *connection, bool reset)
{
    if (connection->closing) {
        return;
    }
    connection->closing = true;
    if (!reset || uv_tcp_close_reset(&connection->tcp, on_handle_closed) != 0) {
        uv_close((uv_handle_t *)&connection->tcp, on_handle_closed);
    }
    uv_close((uv_handle_t *)&connection->timer, on_handle_closed);
}

static void
next_step(struct fault_connection *connection)
{
    free(connection->made);
    connection->made = NULL;
    connection->done = 0;
    connection->step++;
}

static void
on_timer(uv_timer_t *timer)
{
    fault_connection_run(timer->data);
}

static void
on_written(uv_write_t *write, int status)
{
    struct fault_connection *connection = write->data;
    const struct fault_step *step;

    if (connection->closing) {
        return;
    }
    if (status < 0) {
        fault_connection_shut(connection, false);
        return;
    }
    step = &connection->route->steps[connection->step];
    if (step->piece > 0 && step->ms > 0) {
        fault_must(
            uv_timer_start(&connection->timer, on_timer, step->ms, 0), "timer");
        return;
    }
    fault_connection_run(connection);
}

static void
send_piece(struct fault_connection *connection, const char *bytes, size_t len)
{
    const uv_buf_t buf = {(char *)(uintptr_t)bytes, len};

    connection->done += len;
    connection->write.data = connection;
    if (uv_write(&connection->write, (uv_stream_t *)&connection->tcp, &buf, 1,
            on_written)
        != 0) {
        fault_connection_shut(connection, false);
    }
}

/* ---- scripts ---- */

/* Sends the next bytes of a step; true when there are none left. */
static bool
send_some(struct fault_connection *connection, const char *bytes, size_t len,
    size_t piece)
{
    const size_t left = len - (size_t)connection->done;

    if (left == 0) {
        return true;
    }
    send_piece(connection, bytes + connection->done,
        piece > 0 && left > piece ? piece : left);
    return false;
}

/* The same of bytes that are all 'x'. */
static bool
send_fill(struct fault_connection *connection, uint64_t count)
{
    const uint64_t left = count - connection->done;

    if (left == 0) {
        return true;
    }
    if (connection->made == NULL) {
        connection->made = fault_get(FILL_BYTES);
        memset(connection->made, 'x', FILL_BYTES);
    }
    send_piece(connection, connection->made,
        left > FILL_BYTES ? FILL_BYTES : (size_t)left);
    return false;
}

static bool
send_gzip(struct fault_connection *connection, uint64_t count)
{
    if (connection->made == NULL) {
        connection->made = fault_gzip_zeros(count, &connection->made_len);
    }
    return send_some(connection, connection->made, connection->made_len, 0);
}

static bool
pass_gate(struct fault_connection *connection, uint64_t count)
{
    struct fault_server *server = connection->server;

    (void)pthread_mutex_lock(&server->mutex);
    connection->gated = server->gates < count;
    (void)pthread_mutex_unlock(&server->mutex);
    return !connection->gated;
}

/* True: the step is over; false: something will call fault_connection_run(), or nothing. */
static bool
do_step(struct fault_connection *connection, const struct fault_step *step)
{
    switch (step->action) {
    case FAULT_SEND:
        return send_some(connection, step->bytes,
            step->len > 0 ? step->len : strlen(step->bytes), step->piece);
    case FAULT_FILL:
        return send_fill(connection, step->count);
    case FAULT_GZIP:
        return send_gzip(connection, step->count);
    case FAULT_SLEEP:
        if (connection->done++ > 0) {
            return true;
        }
        fault_must(
            uv_timer_start(&connection->timer, on_timer, step->ms, 0), "timer");
        return false;
    case FAULT_GATE:
        return pass_gate(connection, step->count);
    case FAULT_CLOSE:
    case FAULT_RESET:
        fault_connection_shut(connection, step->action == FAULT_RESET);
        return false;
    case FAULT_HANG:
        start_reading(connection); /* to see the client close */
        break;
    case FAULT_END:
        break;
    }
    return false;
}

void
fault_connection_run(struct fault_connection *connection)
{
    const size_t last =
        sizeof(connection->route->steps) / sizeof(connection->route->steps[0]);

    while (!connection->closing && connection->step < last
           && connection->route->steps[connection->step].action != FAULT_END) {
        if (!do_step(connection, &connection->route->steps[connection->step])) {
            return;
        }
        next_step(connection);
    }
    if (!connection->closing) {
        connection->route = NULL;
        start_reading(connection);
        read_request(connection);
    }
}

static void
begin(struct fault_connection *connection, const struct fault_route *route)
{
    connection->route = route;
    connection->step = 0;
    connection->done = 0;
    fault_connection_run(connection);
}

/* ---- requests ---- */

static bool
same_key(const struct fault_route *a, const struct fault_route *b)
{
    if ((a->when == FAULT_AT_ACCEPT) != (b->when == FAULT_AT_ACCEPT)) {
        return false;
    }
    if (a->when == FAULT_AT_ACCEPT) {
        return true;
    }
    return a->path == b->path
           || (a->path != NULL && b->path != NULL
               && strcmp(a->path, b->path) == 0);
}

/* The route of the n-th use of this one's key; counts the use. */
static const struct fault_route *
next_of_key(struct fault_server *server, size_t first)
{
    size_t n;
    const struct fault_route *found = &server->routes[first];

    (void)pthread_mutex_lock(&server->mutex);
    n = server->hits[first]++;
    (void)pthread_mutex_unlock(&server->mutex);
    for (size_t i = first + 1; i < server->route_count && n > 0; i++) {
        if (same_key(&server->routes[first], &server->routes[i])) {
            found = &server->routes[i];
            n--;
        }
    }
    return found;
}

/* The first route for a target, or route_count. */
static size_t
find_route(
    const struct fault_server *server, const char *target, size_t target_len)
{
    const char *query = memchr(target, '?', target_len);
    const size_t len = query != NULL ? (size_t)(query - target) : target_len;
    size_t i;

    for (i = 0; i < server->route_count; i++) {
        const struct fault_route *route = &server->routes[i];

        if (route->when != FAULT_AT_ACCEPT
            && (route->path == NULL
                || (strlen(route->path) == len
                    && memcmp(route->path, target, len) == 0))) {
            break;
        }
    }
    return i;
}

static void
record(struct fault_connection *connection, size_t len, size_t head_len)
{
    struct fault_server *server = connection->server;
    struct fault_request *request;

    (void)pthread_mutex_lock(&server->mutex);
    server->begun++;
    if (server->request_count < FAULT_REQUESTS_KEPT) {
        request = &server->requests[server->request_count++];
        request->connection = connection->number;
        request->len = len;
        request->head_len = head_len;
        request->bytes = fault_get(len + 1);
        memcpy(request->bytes, connection->in, len);
    }
    (void)pthread_mutex_unlock(&server->mutex);
}

static size_t
body_len(const char *head, size_t head_len)
{
    static const char name[] = "content-length:";
    const size_t name_len = sizeof(name) - 1;

    for (size_t i = 0; i + name_len < head_len; i++) {
        if (head[i] == '\n' && strncasecmp(head + i + 1, name, name_len) == 0) {
            return (size_t)strtoull(head + i + 1 + name_len, NULL, 10);
        }
    }
    return 0;
}

static void
take(struct fault_connection *connection, size_t len)
{
    memmove(connection->in, connection->in + len, connection->in_len - len);
    connection->in_len -= len;
}

static const char *
end_of_head(const char *bytes, size_t len)
{
    for (size_t i = 0; i + 4 <= len; i++) {
        if (memcmp(bytes + i, "\r\n\r\n", 4) == 0) {
            return bytes + i;
        }
    }
    return NULL;
}

/* Begins a script if there is a whole request, or a head and a route for
 * which that is enough.
 */
static void
read_request(struct fault_connection *connection)
{
    struct fault_server *server = connection->server;
    const char *end;
    const char *target;
    size_t head_len;
    size_t len;
    size_t route;

    end = end_of_head(connection->in, connection->in_len);
    if (end == NULL) {
        return;
    }
    head_len = (size_t)(end - connection->in) + 4;
    len = head_len + body_len(connection->in, head_len);
    target = memchr(connection->in, ' ', head_len);
    target = target != NULL ? target + 1 : end;
    route = find_route(server, target, strcspn(target, " \r\n"));
    if (route == server->route_count) {
        fault_connection_shut(connection, false);
        return;
    }
    if (len > connection->in_len) {
        if (server->routes[route].when != FAULT_AFTER_HEAD) {
            return;
        }
        len = connection->in_len;
    }
    record(connection, len, head_len);
    take(connection, len);
    begin(connection, next_of_key(server, route));
}

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct fault_connection *connection = handle->data;
    size_t room = connection->in_room;

    (void)suggested;
    if (connection->in_len == room) {
        room = room == 0 ? 4096 : room * 2;
        connection->in = realloc(connection->in, room + 1);
        fault_must(
            connection->in != NULL && room <= REQUEST_MAX ? 0 : UV_ENOMEM,
            "request");
        connection->in_room = room;
    }
    buf->base = connection->in + connection->in_len;
    buf->len = room - connection->in_len;
}

static void
on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct fault_connection *connection = stream->data;

    (void)buf;
    if (count < 0) {
        fault_connection_shut(connection, false);
        return;
    }
    connection->in_len += (size_t)count;
    connection->in[connection->in_len] = '\0';
    if (connection->route == NULL) {
        read_request(connection);
    }
}

static void
start_reading(struct fault_connection *connection)
{
    if (!connection->reading) {
        connection->reading = true;
        fault_must(
            uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read),
            "read");
    }
}

static const struct fault_route *
accept_route(struct fault_server *server)
{
    for (size_t i = 0; i < server->route_count; i++) {
        if (server->routes[i].when == FAULT_AT_ACCEPT) {
            return next_of_key(server, i);
        }
    }
    return NULL;
}

void
fault_connection_accept(uv_stream_t *listener, int status)
{
    struct fault_server *server = listener->data;
    struct fault_connection *connection;
    const struct fault_route *route;

    fault_must(status, "accept");
    connection = fault_get(sizeof(*connection));
    connection->server = server;
    fault_must(uv_tcp_init(&server->loop, &connection->tcp), "socket");
    fault_must(uv_timer_init(&server->loop, &connection->timer), "timer");
    connection->tcp.data = connection;
    connection->timer.data = connection;
    connection->handles = 2;
    connection->next = server->connections;
    if (server->connections != NULL) {
        server->connections->prev = connection;
    }
    server->connections = connection;
    (void)pthread_mutex_lock(&server->mutex);
    server->open++;
    connection->number = ++server->accepted;
    (void)pthread_mutex_unlock(&server->mutex);
    if (uv_accept(listener, (uv_stream_t *)&connection->tcp) != 0) {
        fault_connection_shut(connection, false);
        return;
    }
    (void)uv_tcp_nodelay(&connection->tcp, 1);
    route = accept_route(server);
    if (route != NULL) {
        begin(connection, route);
    } else {
        start_reading(connection);
    }
}
