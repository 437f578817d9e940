/* fault_server.c - an HTTP server on loopback that misbehaves as told.
 *
 * One thread, one loop. A connection is in exactly one of these: reading a
 * request, or at a step of a script that waits for a write, a timer, a gate
 * or the client. The mutex guards what other threads ask for; the table and
 * the connections belong to the loop.
 */
#include "test/support/fault_server.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <uv.h>

#define BACKLOG 1024
#define FILL_BYTES 65536
#define REQUEST_MAX ((size_t)256 * 1024 * 1024)

struct connection {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    struct fault_server *server;
    struct connection *next;
    struct connection *prev;
    size_t number;
    char *in; /* what was read and not yet taken */
    size_t in_len;
    size_t in_room;
    const struct fault_route *route; /* NULL: reading a request */
    size_t step;
    uint64_t done; /* bytes of this step */
    char *made;    /* bytes made for this step */
    size_t made_len;
    bool reading;
    bool gated;
    bool closing;
    int handles;
};

struct fault_server {
    const struct fault_route *routes;
    size_t route_count;
    size_t *hits; /* per route, of its path or of the accepts */
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_async_t wake;
    pthread_t thread;
    struct connection *connections;
    struct fault_server *older;
    char url[64];
    uint16_t port;
    pthread_mutex_t mutex; /* for all below */
    struct fault_request *requests;
    size_t request_count;
    size_t begun;
    size_t accepted;
    size_t open;
    uint64_t gates;
    bool stop;
};

static char fill[FILL_BYTES];
static struct fault_server *newest; /* of those that run; see _again() */

static void run(struct connection *connection);
static void start_reading(struct connection *connection);
static void read_request(struct connection *connection);

static void
must(int code, const char *what)
{
    if (code != 0) {
        (void)fprintf(
            stderr, "fault server: %s: %s\n", what, uv_strerror(code));
        abort();
    }
}

static void *
get(size_t size)
{
    void *ptr = calloc(1, size);

    must(ptr != NULL ? 0 : UV_ENOMEM, "memory");
    return ptr;
}

/* ---- connections ---- */

static void
on_handle_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;
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

static void
shut(struct connection *connection, bool reset)
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
next_step(struct connection *connection)
{
    free(connection->made);
    connection->made = NULL;
    connection->done = 0;
    connection->step++;
}

static void
on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void
on_written(uv_write_t *write, int status)
{
    struct connection *connection = write->data;
    const struct fault_step *step;

    if (connection->closing) {
        return;
    }
    if (status < 0) {
        shut(connection, false);
        return;
    }
    step = &connection->route->steps[connection->step];
    if (step->piece > 0 && step->ms > 0) {
        must(
            uv_timer_start(&connection->timer, on_timer, step->ms, 0), "timer");
        return;
    }
    run(connection);
}

/* Sends the next bytes of a step; true when there are none left. */
static bool
send_some(struct connection *connection, const char *bytes, uint64_t len,
    size_t piece)
{
    const bool filler = bytes == fill;
    uint64_t left = len - connection->done;
    uv_buf_t buf;

    if (left == 0) {
        return true;
    }
    if (piece > 0 && left > piece) {
        left = piece;
    }
    buf.base = (char *)(uintptr_t)(filler ? bytes : bytes + connection->done);
    buf.len = (size_t)left;
    connection->done += left;
    connection->write.data = connection;
    if (uv_write(&connection->write, (uv_stream_t *)&connection->tcp, &buf, 1,
            on_written)
        != 0) {
        shut(connection, false);
    }
    return false;
}

/* ---- a gzip file of zeros, without a compressor ---- */

struct bits {
    unsigned char *bytes;
    size_t bit;
};

/* Huffman codes go in from their highest bit on. */
static void
put_bits(struct bits *bits, unsigned int code, unsigned int count)
{
    while (count-- > 0) {
        if ((code >> count & 1U) != 0) {
            bits->bytes[bits->bit / 8] |=
                (unsigned char)(1U << (bits->bit % 8));
        }
        bits->bit++;
    }
}

static uint32_t
crc_of_zeros(uint64_t count)
{
    uint32_t table[256];
    uint32_t crc = 0xffffffff;

    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++) {
            table[i] = table[i] >> 1 ^ ((table[i] & 1) != 0 ? 0xedb88320 : 0);
        }
    }
    for (; count > 0; count--) {
        crc = table[crc & 0xff] ^ crc >> 8;
    }
    return ~crc;
}

static void
put_number(unsigned char *bytes, uint32_t number)
{
    for (int i = 0; i < 4; i++) {
        bytes[i] = (unsigned char)(number >> (8 * i));
    }
}

/* One block with the fixed codes: zeros one by one, then copies of 258. */
static void
make_gzip(struct connection *connection, uint64_t count)
{
    static const unsigned char head[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
    const uint64_t copies = count > 258 ? (count - 1) / 258 : 0;
    const uint64_t singles = count - copies * 258;
    struct bits bits = {NULL, sizeof(head) * 8};
    size_t end;

    bits.bytes =
        get(sizeof(head) + (size_t)((copies * 13 + singles * 8) / 8) + 16);
    memcpy(bits.bytes, head, sizeof(head));
    put_bits(&bits, 1, 1); /* the last block … */
    put_bits(&bits, 2, 2); /* … with the fixed codes (01, lowest bit first) */
    for (uint64_t i = 0; i < singles; i++) {
        put_bits(&bits, 0x30, 8);
    }
    for (uint64_t i = 0; i < copies; i++) {
        put_bits(&bits, 0xc5, 8); /* length 258 */
        put_bits(&bits, 0, 5);    /* distance 1 */
    }
    put_bits(&bits, 0, 7); /* end of block */
    end = (bits.bit + 7) / 8;
    put_number(bits.bytes + end, crc_of_zeros(count));
    put_number(bits.bytes + end + 4, (uint32_t)count);
    connection->made = (char *)bits.bytes;
    connection->made_len = end + 8;
}

/* ---- scripts ---- */

static bool
send_gzip(struct connection *connection, uint64_t count)
{
    if (connection->made == NULL) {
        make_gzip(connection, count);
    }
    return send_some(connection, connection->made, connection->made_len, 0);
}

static bool
pass_gate(struct connection *connection, uint64_t count)
{
    struct fault_server *server = connection->server;

    (void)pthread_mutex_lock(&server->mutex);
    connection->gated = server->gates < count;
    (void)pthread_mutex_unlock(&server->mutex);
    return !connection->gated;
}

/* True: the step is over; false: something will call run(), or nothing. */
static bool
do_step(struct connection *connection, const struct fault_step *step)
{
    switch (step->action) {
    case FAULT_SEND:
        return send_some(connection, step->bytes,
            step->len > 0 ? step->len : strlen(step->bytes), step->piece);
    case FAULT_FILL:
        return send_some(connection, fill, step->count, FILL_BYTES);
    case FAULT_GZIP:
        return send_gzip(connection, step->count);
    case FAULT_SLEEP:
        if (connection->done++ > 0) {
            return true;
        }
        must(
            uv_timer_start(&connection->timer, on_timer, step->ms, 0), "timer");
        return false;
    case FAULT_GATE:
        return pass_gate(connection, step->count);
    case FAULT_CLOSE:
    case FAULT_RESET:
        shut(connection, step->action == FAULT_RESET);
        return false;
    case FAULT_HANG:
        start_reading(connection); /* to see the client close */
        break;
    case FAULT_END:
        break;
    }
    return false;
}

static void
run(struct connection *connection)
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
begin(struct connection *connection, const struct fault_route *route)
{
    connection->route = route;
    connection->step = 0;
    connection->done = 0;
    run(connection);
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
record(struct connection *connection, size_t len, size_t head_len)
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
        request->bytes = get(len + 1);
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
take(struct connection *connection, size_t len)
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
read_request(struct connection *connection)
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
        shut(connection, false);
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
    struct connection *connection = handle->data;
    size_t room = connection->in_room;

    (void)suggested;
    if (connection->in_len == room) {
        room = room == 0 ? 4096 : room * 2;
        connection->in = realloc(connection->in, room + 1);
        must(connection->in != NULL && room <= REQUEST_MAX ? 0 : UV_ENOMEM,
            "request");
        connection->in_room = room;
    }
    buf->base = connection->in + connection->in_len;
    buf->len = room - connection->in_len;
}

static void
on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct connection *connection = stream->data;

    (void)buf;
    if (count < 0) {
        shut(connection, false);
        return;
    }
    connection->in_len += (size_t)count;
    connection->in[connection->in_len] = '\0';
    if (connection->route == NULL) {
        read_request(connection);
    }
}

static void
start_reading(struct connection *connection)
{
    if (!connection->reading) {
        connection->reading = true;
        must(uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read),
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

static void
on_connection(uv_stream_t *listener, int status)
{
    struct fault_server *server = listener->data;
    struct connection *connection;
    const struct fault_route *route;

    must(status, "accept");
    connection = get(sizeof(*connection));
    connection->server = server;
    must(uv_tcp_init(&server->loop, &connection->tcp), "socket");
    must(uv_timer_init(&server->loop, &connection->timer), "timer");
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
        shut(connection, false);
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

/* ---- the thread ---- */

static void
on_wake(uv_async_t *wake)
{
    struct fault_server *server = wake->data;
    struct connection *connection = server->connections;
    struct connection *next;
    bool stop;

    (void)pthread_mutex_lock(&server->mutex);
    stop = server->stop;
    (void)pthread_mutex_unlock(&server->mutex);
    for (; connection != NULL; connection = next) {
        next = connection->next;
        if (stop) {
            shut(connection, false);
        } else if (connection->gated) {
            run(connection);
        }
    }
    if (stop) {
        uv_close((uv_handle_t *)&server->listener, NULL);
        uv_close((uv_handle_t *)&server->wake, NULL);
    }
}

static void *
serve(void *arg)
{
    struct fault_server *server = arg;
    sigset_t pipe;

    /* A client that has gone shows as an error of the write. */
    (void)sigemptyset(&pipe);
    (void)sigaddset(&pipe, SIGPIPE);
    must(-pthread_sigmask(SIG_BLOCK, &pipe, NULL), "signals");
    (void)uv_run(&server->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void
listen_on_loopback(struct fault_server *server)
{
    struct sockaddr_in address;
    int len = sizeof(address);

    must(uv_ip4_addr("127.0.0.1", 0, &address), "address");
    must(uv_tcp_init(&server->loop, &server->listener), "socket");
    server->listener.data = server;
    must(uv_tcp_bind(&server->listener, (const struct sockaddr *)&address, 0),
        "bind");
    must(uv_listen((uv_stream_t *)&server->listener, BACKLOG, on_connection),
        "listen");
    must(uv_tcp_getsockname(
             &server->listener, (struct sockaddr *)&address, &len),
        "port");
    server->port = ntohs(address.sin_port);
    (void)snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%u",
        (unsigned int)server->port);
}

struct fault_server *
fault_server_start(const struct fault_route *routes, size_t count)
{
    struct fault_server *server = get(sizeof(*server));

    memset(fill, 'x', sizeof(fill));
    server->routes = routes;
    server->route_count = count;
    server->hits = get((count + 1) * sizeof(*server->hits));
    server->requests = get(FAULT_REQUESTS_KEPT * sizeof(*server->requests));
    must(uv_loop_init(&server->loop), "loop");
    must(uv_async_init(&server->loop, &server->wake, on_wake), "async");
    server->wake.data = server;
    listen_on_loopback(server);
    must(-pthread_mutex_init(&server->mutex, NULL), "mutex");
    must(-pthread_create(&server->thread, NULL, serve, server), "thread");
    server->older = newest;
    newest = server;
    return server;
}

struct fault_server *
fault_server_again(char *url, size_t size)
{
    for (const struct fault_server *server = newest; server != NULL;
         server = server->older) {
        const char *host = server->url + strlen("http://");
        char *at = strstr(url, host);

        if (at != NULL && strchr("/?", at[strlen(host)]) != NULL) {
            struct fault_server *again =
                fault_server_start(server->routes, server->route_count);
            char *rest = strdup(at + strlen(host));

            must(rest != NULL ? 0 : UV_ENOMEM, "memory");
            (void)snprintf(at, size - (size_t)(at - url), "%s%s",
                again->url + strlen("http://"), rest);
            free(rest);
            return again;
        }
    }
    return NULL;
}

static void
forget(const struct fault_server *server)
{
    struct fault_server **at = &newest;

    while (*at != server) {
        at = &(*at)->older;
    }
    *at = server->older;
}

void
fault_server_stop(struct fault_server *server)
{
    if (server == NULL) {
        return;
    }
    forget(server);
    (void)pthread_mutex_lock(&server->mutex);
    server->stop = true;
    (void)pthread_mutex_unlock(&server->mutex);
    must(uv_async_send(&server->wake), "wake");
    must(-pthread_join(server->thread, NULL), "join");
    must(uv_loop_close(&server->loop), "close");
    for (size_t i = 0; i < server->request_count; i++) {
        free(server->requests[i].bytes);
    }
    (void)pthread_mutex_destroy(&server->mutex);
    free(server->requests);
    free(server->hits);
    free(server);
}

/* ---- asking it ---- */

const char *
fault_server_url(const struct fault_server *server)
{
    return server->url;
}

uint16_t
fault_server_port(const struct fault_server *server)
{
    return server->port;
}

size_t
fault_server_requests(struct fault_server *server, const char *path)
{
    size_t count = 0;

    (void)pthread_mutex_lock(&server->mutex);
    for (size_t i = 0; i < server->route_count && path != NULL; i++) {
        const struct fault_route *route = &server->routes[i];

        if (route->path != NULL && route->when != FAULT_AT_ACCEPT
            && strcmp(route->path, path) == 0) {
            count = server->hits[i]; /* the first of the key counts */
            break;
        }
    }
    if (path == NULL) {
        count = server->begun;
    }
    (void)pthread_mutex_unlock(&server->mutex);
    return count;
}

static size_t
read_count(struct fault_server *server, const size_t *from)
{
    size_t count;

    (void)pthread_mutex_lock(&server->mutex);
    count = *from;
    (void)pthread_mutex_unlock(&server->mutex);
    return count;
}

size_t
fault_server_accepted(struct fault_server *server)
{
    return read_count(server, &server->accepted);
}

size_t
fault_server_open(struct fault_server *server)
{
    return read_count(server, &server->open);
}

bool
fault_server_request(
    struct fault_server *server, size_t index, struct fault_request *ret)
{
    bool found;

    (void)pthread_mutex_lock(&server->mutex);
    found = index < server->request_count;
    if (found) {
        *ret = server->requests[index];
        ret->bytes = get(ret->len + 1);
        memcpy(ret->bytes, server->requests[index].bytes, ret->len);
    }
    (void)pthread_mutex_unlock(&server->mutex);
    return found;
}

void
fault_server_open_gate(struct fault_server *server)
{
    (void)pthread_mutex_lock(&server->mutex);
    server->gates++;
    (void)pthread_mutex_unlock(&server->mutex);
    must(uv_async_send(&server->wake), "wake");
}
