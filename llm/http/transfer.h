/* transfer.h - what the files of the HTTP client share.
 *
 * client -> endpoints -> shards -> transfers. A shard is one multi handle of
 * libcurl with its own connections; a transfer is one easy handle, kept for
 * the next exchange when one has ended. A watch is one socket on the loop,
 * for as long as the connection lives.
 *
 * libcurl calls back from inside curl_multi_socket_action() and from adding,
 * removing and cleaning up handles. A callback only notes and copies; what
 * has ended is collected when libcurl has returned (belay__http_shard_collect).
 */
#ifndef BELAY_LLM_HTTP_TRANSFER_H
#define BELAY_LLM_HTTP_TRANSFER_H

#include <curl/curl.h>

#include "llm/http/client.h"
#include "runtime/internal.h"

struct belay__http_watch;
struct belay__http_shard;
struct belay__http_transfer;

/* ---- the client (client.c) ---- */

struct belay__http {
    belay_runtime *runtime;
    struct belay__memory *memory;
    struct belay__http_endpoint *endpoints;
    struct belay__http_watch **watches; /* by file descriptor */
    size_t watch_room;
    size_t handles; /* of libuv, not yet closed */
    uint32_t shard_size;
    bool closing;
    struct belay__http **ret; /* while entering */
};

/* libcurl's global state, set up once per process; 0 or BELAY_ENOMEM. */
int belay__http_global_init(void);

/* ---- endpoints (endpoint.c) ---- */

/* One address below an endpoint. */
struct belay__http_target {
    struct belay__http_target *next;
    uint64_t id; /* never used twice in an endpoint */
    uint32_t users;
    CURLU *url;
    char *path; /* as asked for; the key; NULL: the endpoint itself */
    size_t path_size;
};

struct belay__http_endpoint {
    struct belay__http *http;
    struct belay__http_endpoint *next;
    struct belay__http_endpoint *prev;
    CURLU *base;
    char *label; /* for messages */
    size_t label_size;
    struct belay__http_target *targets; /* latest first */
    uint32_t target_count;
    uint64_t last_target_id;
    /* Lists share their tails: expect -> content_type -> plain -> … */
    struct curl_slist expect;
    struct curl_slist content_type;
    struct curl_slist *plain;
    char *header_block; /* the nodes and texts of `plain` */
    size_t header_block_size;
    CURLSH *share; /* TLS sessions; NULL for plain http */
    struct belay__http_shard *shards;
    char *ca_file;
    char *proxy;
    char *no_proxy;
    size_t ca_file_size;
    size_t proxy_size;
    size_t no_proxy_size;
    bool tls;
    bool own_content_type; /* it is in `plain` */
    bool proxy_from_env;
    bool insecure;
    bool gzip;
    bool no_http2;
};

/* The target for a path, with one user more; give it back. `path` NULL: the
 * endpoint itself. Errors: BELAY_EINVAL, BELAY_ENOMEM.
 */
int belay__http_target_get(struct belay__http_endpoint *endpoint,
    const char *path, struct belay__http_target **ret);
void belay__http_target_put(
    struct belay__http_endpoint *endpoint, struct belay__http_target *target);
/* ---- addresses (url.c) ---- */

/* Parses a base URL. BELAY_EINVAL comes with a reason. */
int belay__http_url_parse(const char *text, CURLU **ret, const char **ret_why);
/* A URL below another (L8). */
int belay__http_url_join(
    struct belay__memory *memory, CURLU *base, const char *path, CURLU **ret);
/* scheme://host:port/path, nothing secret; freed with *ret_size. */
int belay__http_url_label(
    struct belay__memory *memory, CURLU *url, char **ret, size_t *ret_size);
/* Is it https? Is the host this machine, by name or number? */
int belay__http_url_kind(CURLU *url, bool *ret_tls, bool *ret_loopback);

/* Does a list of hosts, separated by commas, name its host? "*" names all. */
int belay__http_url_is_listed(CURLU *url, const char *list, bool *ret);

/* What is secret in it: the password, a user without one, and those of the
 * query's values whose names say so (url_secrets.c).
 * Errors: BELAY_ENOMEM; some may have been added.
 */
int belay__http_url_secrets(CURLU *url, struct belay__secrets *secrets);

/* ---- requests and replies (message.c) ---- */

/* NULL if it can be sent, else why not. */
const char *belay__http_request_check(
    const struct belay__http_request *request);
/* Makes a reply ready to be filled; keeps the room that it has. */
void belay__http_reply_begin(struct belay__http_reply *reply,
    const belay_runtime *runtime, const struct belay__http_request *request);
/* One line of a head, with its line end. Errors: BELAY_ENOMEM. */
int belay__http_reply_line(
    struct belay__http_reply *reply, const char *line, size_t len);

/* ---- headers (headers.c) ---- */

/* Bytes that the nodes and texts of a list need. */
size_t belay__http_headers_size(
    const struct belay__http_header *headers, size_t count);
/* Builds a list in `block`, of that size, that goes on with `tail`. */
struct curl_slist *belay__http_headers_build(void *block,
    const struct belay__http_header *headers, size_t count,
    struct curl_slist *tail);
/* Overwrites bytes in a way that is not optimised away. */
void belay__http_wipe(void *ptr, size_t size);
/* Is `text` a token of HTTP, such as a method or a header's name? */
bool belay__http_is_token(const char *text);

/* ---- sockets (watch.c) ---- */

struct belay__http_watch {
    uv_poll_t poll;
    struct belay__http *http;
    struct belay__http_shard *shard;
    const struct belay__http_transfer *dialler; /* only to compare */
    curl_socket_t fd;
    int wanted;  /* events libcurl asks for */
    int polled;  /* events libuv polls for */
    bool kept;   /* a connection's: watched until it is closed */
    bool framed; /* HTTP/2: what comes unasked is nobody's answer */
};

/* Options of an easy handle that have to do with sockets; once per handle. */
CURLcode belay__http_watch_apply(struct belay__http_transfer *transfer);
/* CURLMOPT_SOCKETFUNCTION, with the shard. */
int belay__http_watch_update(
    CURL *easy, curl_socket_t fd, int what, void *arg, void *sockp);
/* The connection that the transfer has opened serves. */
void belay__http_watch_keep(const struct belay__http_transfer *transfer);
/* Has the transfer opened a socket that is connected by now? */
bool belay__http_watch_connected(const struct belay__http_transfer *transfer);
/* Closes what is left of a shard without connections. */
void belay__http_watch_sweep(const struct belay__http_shard *shard);

/* ---- shards (shard.c) ---- */

struct belay__http_shard {
    struct belay__http *http;
    struct belay__http_endpoint *endpoint;
    struct belay__http_shard *next;
    CURLM *multi;
    uv_timer_t timer;
    struct belay__http_transfer *idle;
    struct belay__http_transfer *running;
    uint32_t in_flight;
    bool due;     /* libcurl wants to be called at once */
    bool failing; /* a transfer has a failure that libcurl does not know of */
};

/* A shard with room for one exchange more. */
int belay__http_shard_get(
    struct belay__http_endpoint *endpoint, struct belay__http_shard **ret);
/* Ends its transfers with BELAY_ECLOSED; freed when libuv has let go. */
void belay__http_shard_close(struct belay__http_shard *shard);
/* The same for one that has none, before its endpoint's end. */
void belay__http_shard_retire(struct belay__http_shard *shard);
/* Lets libcurl do what it wants to do now, and collects what has ended. */
void belay__http_shard_run(struct belay__http_shard *shard);
/* The same when a socket is ready; flags are CURL_CSELECT_*. */
void belay__http_shard_event(
    struct belay__http_shard *shard, curl_socket_t fd, int flags);
/* After a handle was removed: libcurl is called again from the loop. */
void belay__http_shard_settle(struct belay__http_shard *shard);

/* ---- transfers (transfer.c) ---- */

/* How a transfer has ended. */
struct belay__http_outcome {
    int code;           /* 0, or negative */
    CURLcode curl_code; /* CURLE_OK if libcurl had no part in it */
    int os_error;       /* errno of a failed connect, or 0 */
};

/* Called once, when a transfer has ended by itself; never from within a call
 * of libcurl. The reply is complete.
 */
typedef void belay__http_done_fn(
    void *arg, const struct belay__http_outcome *outcome);

#define BELAY__HTTP_DIALLED 2

struct belay__http_transfer {
    CURL *easy;
    struct belay__http_shard *shard;
    struct belay__http_transfer *next;
    struct belay__http_transfer *prev; /* while running */
    struct belay__timer timer;
    struct belay__http_target *target;
    const struct belay__http_request *request;
    struct belay__http_reply *reply;
    belay__http_done_fn *done;
    void *done_arg;
    char *extra; /* the request's own headers */
    size_t extra_size;
    uint64_t target_id; /* what the easy handle is set to … */
    const char *method; /* … static text */
    struct curl_slist *headers;
    size_t head_bytes;                /* received, of all heads and trailers */
    int64_t activity_ns;              /* when something came last */
    int refused;                      /* our own failure: its code … */
    enum belay__http_failure failure; /* … and kind */
    curl_socket_t dialled_fds[2];     /* the last sockets it has opened */
    curl_socket_t polled_fd; /* the last one it has asked to poll, or BAD */
    bool dialled;            /* it has opened one */
    bool head_done;
    bool paused; /* the sink wants nothing now */
};

/* Sets a transfer up and starts it. On failure nothing has been sent, and
 * reply->failure is set. `request` and `reply` must live until the end.
 */
int belay__http_transfer_start(struct belay__http_endpoint *endpoint,
    const struct belay__http_request *request, struct belay__http_reply *reply,
    belay__http_done_fn *done, void *done_arg,
    struct belay__http_transfer **ret);
/* Completes the reply, as far as it goes, with all that only libcurl's handle
 * knows; each end does so too.
 */
void belay__http_transfer_note(struct belay__http_transfer *transfer);
/* Ends it now, without calling done: completes the reply, closes the
 * connection.
 */
void belay__http_transfer_abort(
    struct belay__http_transfer *transfer, enum belay__http_failure failure);
/* It has ended: by what libcurl says, or by our own failure if there is one. */
void belay__http_transfer_finish(
    struct belay__http_transfer *transfer, CURLcode curl_code);
void belay__http_transfer_free(struct belay__http_transfer *transfer);
/* After its sink has paused it. */
void belay__http_transfer_resume(struct belay__http_transfer *transfer);

/* ---- options of easy handles (apply.c) ---- */

/* What the endpoint wants for each exchange; once per handle. */
CURLcode belay__http_endpoint_apply(
    const struct belay__http_endpoint *endpoint, CURL *easy);
/* What transfer->request wants. */
CURLcode belay__http_transfer_apply(struct belay__http_transfer *transfer);

/* ---- what comes in, and time (receive.c) ---- */

/* Has libcurl tell us what comes in; once per handle. */
CURLcode belay__http_transfer_listen(struct belay__http_transfer *transfer);
/* Notes a failure of our own; the first one counts. */
void belay__http_transfer_refuse(struct belay__http_transfer *transfer,
    enum belay__http_failure failure, int code);
/* Starts the timer of an exchange that begins; and its function. */
void belay__http_transfer_arm(struct belay__http_transfer *transfer);
void belay__http_transfer_timeout(struct belay__timer *timer);
/* Has the request begun to be sent? */
bool belay__http_transfer_sending(const struct belay__http_transfer *transfer);

/* ---- failures (failure.c) ---- */

/* What a code of libcurl means, given how far the transfer came. */
enum belay__http_failure belay__http_failure_of(
    const struct belay__http_transfer *transfer, CURLcode code);
int belay__http_failure_code(enum belay__http_failure failure);
/* A finished sentence; NULL without memory. */
belay_error *belay__http_error(struct belay__memory *memory,
    const char *task_name, const struct belay__http_outcome *outcome,
    const struct belay__http_endpoint *endpoint,
    const struct belay__http_request *request,
    const struct belay__http_reply *reply);

#endif
