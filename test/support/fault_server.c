/* fault_server.c - an HTTP server on loopback that misbehaves as told. */
#include "test/support/fault_inside.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKLOG 1024

static struct fault_server *newest; /* of those that run; see _again() */

void
fault_must(int code, const char *what)
{
    if (code != 0) {
        (void)fprintf(
            stderr, "fault server: %s: %s\n", what, uv_strerror(code));
        abort();
    }
}

void *
fault_get(size_t size)
{
    void *ptr = calloc(1, size);

    fault_must(ptr != NULL ? 0 : UV_ENOMEM, "memory");
    return ptr;
}

/* ---- the thread ---- */

static void
on_wake(uv_async_t *wake)
{
    struct fault_server *server = wake->data;
    struct fault_connection *connection = server->connections;
    struct fault_connection *next;
    bool stop;

    (void)pthread_mutex_lock(&server->mutex);
    stop = server->stop;
    (void)pthread_mutex_unlock(&server->mutex);
    for (; connection != NULL; connection = next) {
        next = connection->next;
        if (stop) {
            fault_connection_shut(connection, false);
        } else if (connection->gated) {
            fault_connection_run(connection);
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
    fault_must(-pthread_sigmask(SIG_BLOCK, &pipe, NULL), "signals");
    (void)uv_run(&server->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void
listen_on_loopback(struct fault_server *server)
{
    struct sockaddr_in address;
    int len = sizeof(address);

    fault_must(uv_ip4_addr("127.0.0.1", 0, &address), "address");
    fault_must(uv_tcp_init(&server->loop, &server->listener), "socket");
    server->listener.data = server;
    fault_must(
        uv_tcp_bind(&server->listener, (const struct sockaddr *)&address, 0),
        "bind");
    fault_must(uv_listen((uv_stream_t *)&server->listener, BACKLOG,
                   fault_connection_accept),
        "listen");
    fault_must(uv_tcp_getsockname(
                   &server->listener, (struct sockaddr *)&address, &len),
        "port");
    server->port = ntohs(address.sin_port);
    (void)snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%u",
        (unsigned int)server->port);
}

struct fault_server *
fault_server_start(const struct fault_route *routes, size_t count)
{
    struct fault_server *server = fault_get(sizeof(*server));

    server->routes = routes;
    server->route_count = count;
    server->hits = fault_get((count + 1) * sizeof(*server->hits));
    server->requests =
        fault_get(FAULT_REQUESTS_KEPT * sizeof(*server->requests));
    fault_must(uv_loop_init(&server->loop), "loop");
    fault_must(uv_async_init(&server->loop, &server->wake, on_wake), "async");
    server->wake.data = server;
    listen_on_loopback(server);
    fault_must(-pthread_mutex_init(&server->mutex, NULL), "mutex");
    fault_must(-pthread_create(&server->thread, NULL, serve, server), "thread");
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

            fault_must(rest != NULL ? 0 : UV_ENOMEM, "memory");
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
    fault_must(uv_async_send(&server->wake), "wake");
    fault_must(-pthread_join(server->thread, NULL), "join");
    fault_must(uv_loop_close(&server->loop), "close");
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
        ret->bytes = fault_get(ret->len + 1);
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
    fault_must(uv_async_send(&server->wake), "wake");
}
