/* fault_server.h - an HTTP server on loopback that misbehaves as told.
 *
 * A table says, per path, which bytes to send and when to stall, close or
 * reset. It runs in a thread of its own on plain libuv, and knows nothing of
 * Belay, so that it serves every kind of client: tasks of a test, a command
 * in a process of its own, somebody else's library.
 *
 *     static const struct fault_route routes[] = {
 *         FAULT_ON("/ok", FAULT_TEXT("HTTP/1.1 200 OK\r\n"
 *                                    "Content-Length: 2\r\n\r\nhi")),
 *         FAULT_ON("/twice", FAULT_TEXT(FAULT_EMPTY_500)),
 *         FAULT_ON("/twice", FAULT_TEXT(FAULT_EMPTY_200)),   from then on
 *         FAULT_ON("/cut", FAULT_TEXT("HTTP/1.1 200 OK\r\n"
 *                                     "Content-Length: 9\r\n\r\nhalf"),
 *             FAULT_DO_RESET),
 *         FAULT_ON(NULL, FAULT_DO_CLOSE),              any other path
 *     };
 *     struct fault_server *server = fault_server_start(routes, COUNT(routes));
 *
 * What cannot be done (no socket, no memory) aborts: it is a test's helper.
 * All functions are for any thread, but servers are started and stopped in one.
 */
#ifndef BELAY_TEST_SUPPORT_FAULT_SERVER_H
#define BELAY_TEST_SUPPORT_FAULT_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_action {
    FAULT_END,   /* the script is over: read the next request */
    FAULT_SEND,  /* bytes */
    FAULT_FILL,  /* `count` bytes 'x', made as they are sent */
    FAULT_GZIP,  /* `count` zero bytes, compressed: about 1/158 on the wire */
    FAULT_SLEEP, /* `ms`, real time */
    FAULT_GATE,  /* until fault_server_open_gate() was called `count` times */
    FAULT_HANG,  /* until the client closes */
    FAULT_CLOSE, /* orderly */
    FAULT_RESET, /* so that the client sees ECONNRESET */
};

struct fault_step {
    enum fault_action action;
    const char *bytes; /* FAULT_SEND */
    size_t len;        /* of bytes; 0: up to the NUL */
    size_t piece;      /* FAULT_SEND: bytes per write; 0: all in one */
    uint64_t count;
    uint32_t ms; /* FAULT_SEND with .piece: between two writes */
};

#define FAULT_TEXT(text_)                      \
    {                                          \
        .action = FAULT_SEND, .bytes = (text_) \
    }
#define FAULT_BYTES(bytes_, len_)                              \
    {                                                          \
        .action = FAULT_SEND, .bytes = (bytes_), .len = (len_) \
    }
/* Cut into writes of `piece_` bytes, `ms_` apart (0: as fast as may be). */
#define FAULT_PIECES(text_, piece_, ms_)                                       \
    {                                                                          \
        .action = FAULT_SEND, .bytes = (text_), .piece = (piece_), .ms = (ms_) \
    }
#define FAULT_DO_FILL(count_)                   \
    {                                           \
        .action = FAULT_FILL, .count = (count_) \
    }
#define FAULT_DO_GZIP(count_)                   \
    {                                           \
        .action = FAULT_GZIP, .count = (count_) \
    }
#define FAULT_DO_SLEEP(ms_)                \
    {                                      \
        .action = FAULT_SLEEP, .ms = (ms_) \
    }
#define FAULT_DO_GATE(count_)                   \
    {                                           \
        .action = FAULT_GATE, .count = (count_) \
    }
#define FAULT_DO_HANG        \
    {                        \
        .action = FAULT_HANG \
    }
#define FAULT_DO_CLOSE        \
    {                         \
        .action = FAULT_CLOSE \
    }
#define FAULT_DO_RESET        \
    {                         \
        .action = FAULT_RESET \
    }

#define FAULT_EMPTY_200 "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define FAULT_EMPTY_500 \
    "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"

enum fault_when {
    FAULT_AFTER_REQUEST, /* head and body have been read */
    FAULT_AFTER_HEAD,    /* the body is not waited for; end with CLOSE, RESET
                            or HANG */
    FAULT_AT_ACCEPT,     /* before, and without, reading a byte; the path is
                            not looked at, the n-th such route is for the n-th
                            connection and the last one for all later ones */
};

struct fault_route {
    enum fault_when when;
    const char *path;            /* without the query; NULL: any other */
    struct fault_step steps[12]; /* what is left zeroed is FAULT_END */
};

#define FAULT_ON(path_, ...)                      \
    {                                             \
        .path = (path_), .steps = { __VA_ARGS__ } \
    }
#define FAULT_ON_HEAD(path_, ...)                                           \
    {                                                                       \
        .when = FAULT_AFTER_HEAD, .path = (path_), .steps = { __VA_ARGS__ } \
    }
#define FAULT_ON_ACCEPT(...)                              \
    {                                                     \
        .when = FAULT_AT_ACCEPT, .steps = { __VA_ARGS__ } \
    }

/* One request, as it was read. */
struct fault_request {
    size_t connection; /* from 1, in the order of the accepts */
    char *bytes;       /* head and body, then a NUL; the caller's to free() */
    size_t len;
    size_t head_len; /* with the empty line */
};

struct fault_server;

/* Listens on a free port of 127.0.0.1. The table must live as long as the
 * server. With several routes of one path the n-th serves the n-th request
 * and the last one all later ones.
 */
struct fault_server *fault_server_start(
    const struct fault_route *routes, size_t count);

/* One more with the routes of that which `url` names, and from then on `url`, of
 * `size` bytes, names it. NULL: there is none. For one who was forked, and has
 * no server, but knows of those of its parent.
 */
struct fault_server *fault_server_again(char *url, size_t size);

/* Closes all connections, joins the thread, frees everything. NULL is fine. */
void fault_server_stop(struct fault_server *server);

/* "http://127.0.0.1:PORT", lives as long as the server; and PORT. */
const char *fault_server_url(const struct fault_server *server);
uint16_t fault_server_port(const struct fault_server *server);

/* Requests whose script has begun; of one path, or of all with NULL. */
size_t fault_server_requests(struct fault_server *server, const char *path);

/* Connections accepted so far, and those that are open now. */
size_t fault_server_accepted(struct fault_server *server);
size_t fault_server_open(struct fault_server *server);

/* The index-th request (from 0); false if there is none yet. Only the first
 * FAULT_REQUESTS_KEPT are kept, AT_ACCEPT scripts leave none.
 */
#define FAULT_REQUESTS_KEPT 4096
bool fault_server_request(
    struct fault_server *server, size_t index, struct fault_request *ret);

/* One gate more: lets all go on that wait for this many. */
void fault_server_open_gate(struct fault_server *server);

/* The same in a process of its own, for sweeps: its descriptors are not
 * counted among ours, and a client that goes away is its own SIGPIPE. Nothing
 * can be asked of it. The URL goes to `url`; give the pid back to stop.
 */
int fault_server_start_apart(
    const struct fault_route *routes, size_t count, char *url, size_t size);
void fault_server_stop_apart(int pid);

#endif
