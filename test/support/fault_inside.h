/* fault_inside.h - what a misbehaving server is made of (private to it).
 *
 *     fault_server.c      its thread, its table, what a test asks it
 *     fault_connection.c  connections: requests read, scripts played
 *     fault_gzip.c        a compressed body that grows large
 *
 * One thread, one loop. A connection is in exactly one of these: reading a
 * request, or at a step of a script that waits for a write, a timer, a gate
 * or the client. The mutex guards what other threads ask for; the table and
 * the connections belong to the loop.
 */
#ifndef BELAY_TEST_SUPPORT_FAULT_INSIDE_H
#define BELAY_TEST_SUPPORT_FAULT_INSIDE_H

#include "test/support/fault_server.h"

#include <pthread.h>
#include <uv.h>

struct fault_connection {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    struct fault_server *server;
    struct fault_connection *next;
    struct fault_connection *prev;
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
    struct fault_connection *connections;
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

/* Ends the program if a code of libuv's is not 0. */
void fault_must(int code, const char *what);
/* Zeroed memory; ends the program if there is none. */
void *fault_get(size_t size);

/* ---- fault_connection.c ---- */

/* One has come to the listener, whose data is the server. */
void fault_connection_accept(uv_stream_t *listener, int status);
/* Goes on behind a gate, if it is open by now. */
void fault_connection_run(struct fault_connection *connection);
/* Closes it, if it is not closed yet. */
void fault_connection_shut(struct fault_connection *connection, bool reset);

/* ---- fault_gzip.c ---- */

/* So many zeros, compressed; to be freed. */
char *fault_gzip_zeros(uint64_t count, size_t *ret_len);

#endif
