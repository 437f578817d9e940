/* client.h - an HTTP client for model servers (private).
 *
 * A client is a scope; endpoints are prepared in it once (address, headers,
 * TLS and proxy policy) and any number of exchanges run on them at once, each
 * awaited by its task. Connections are kept and reused, never between two
 * endpoints: two keys mean two endpoints (S11). A connection whose exchange
 * was cut, by a cancel, a timeout or a limit, is closed, never reused.
 *
 * An answer with any status is a success here: statuses, retries and what
 * they mean are the caller's. Redirects are not followed (S5), cookies not
 * kept, protocols other than http and https refused (S4), and plain http
 * goes to this machine only, and through no proxy that is named, unless that
 * is allowed (S3, S6). No text made here holds a header's value, a query or a
 * user's name (S2).
 *
 * The transport behind it is libcurl today; nothing in this header says so.
 * The first client of a process calls curl_global_init(), whose effects stay;
 * a program that wants libcurl's memory elsewhere calls curl_global_init_mem()
 * before. With a libcurl older than 7.88, a program that uses https should
 * ignore SIGPIPE; with one older than 7.84, several runtimes should not make
 * their first client at the same time as others use libcurl.
 */
#ifndef BELAY_LLM_HTTP_CLIENT_H
#define BELAY_LLM_HTTP_CLIENT_H

#include <belay/task.h>

#include "runtime/buffer.h"

struct belay__http;          /* opaque; its block's */
struct belay__http_endpoint; /* opaque; its client's */
struct belay__secrets;

/* A zero field means its default. */
struct belay__http_opts {
    /* Exchanges that share one set of connections; default 96. The cost of
     * an exchange grows with the number of its neighbours.
     */
    uint32_t shard_size;
};

/* An enter operation: opens a client; use it in BELAY_WITH.
 *
 *   opts  NULL for all defaults; copied
 *   ret   receives the client once entered; untouched on failure
 *
 * The exit ends exchanges that still run (BELAY_ECLOSED, as when their tasks
 * live in an outer block), closes every socket and waits until libuv has let
 * go of them. It allocates nothing and cannot fail.
 *
 * Owner:   the block.
 * Errors:  BELAY_ENOMEM  not entered; nothing has changed
 * Threads: loop thread. Entering is not a checkpoint; the exit may be one.
 */
belay_next belay__http_open(belay_task *task,
    const struct belay__http_opts *opts, struct belay__http **ret);

/* One header; neither part may hold CR, LF or NUL (S8). */
struct belay__http_header {
    const char *name; /* a token; not Content-Length, Transfer-Encoding, … */
    struct belay_slice value;
};

/* NULL if all can be sent, else why not, as static text. */
const char *belay__http_headers_check(
    const struct belay__http_header *headers, size_t count);

/* A zero field means its default. */
struct belay__http_endpoint_opts {
    const char *url; /* http:// or https://; may carry a path and a query */
    const struct belay__http_header *headers; /* sent with every request */
    size_t header_count;
    const char *ca_file;  /* PEM; default the system's authorities */
    const char *proxy;    /* URL of a proxy; default none. Requests go through
                            a tunnel; what is plain http it sees all the same */
    const char *no_proxy; /* hosts to reach without it, separated by commas */
    bool proxy_from_env;  /* without .proxy: http_proxy, https_proxy … count,
                            but not on the way to this machine */
    bool allow_plain;     /* http:// to other machines, or through .proxy */
    bool insecure;        /* any certificate will do */
    bool gzip;            /* accept compressed answers */
    bool no_http2;        /* HTTP/1.1 over TLS as well */
};

/* Prepares an endpoint. Strings and headers are copied. Requests with a body
 * are sent as application/json, unless .headers has a Content-Type.
 *
 *   reterr_why  NULL, or receives static text on BELAY_EINVAL
 *
 * Owner:   the client, until belay__http_endpoint_close() or its exit.
 * Errors:  BELAY_EINVAL  something in opts cannot be used
 *          BELAY_ENOSYS  libcurl lacks what opts ask for
 *          BELAY_ECLOSED the client is being left
 *          BELAY_ENOMEM
 *          In each case nothing has changed.
 * Threads: loop thread.
 */
int belay__http_endpoint_open(struct belay__http *http,
    const struct belay__http_endpoint_opts *opts,
    struct belay__http_endpoint **ret, const char **reterr_why);

/* One more for the same address under the same policy, with headers of its own
 * in the place of the other's. Errors: as above, but for BELAY_ENOSYS.
 */
int belay__http_endpoint_open_like(const struct belay__http_endpoint *like,
    const struct belay__http_header *headers, size_t header_count,
    struct belay__http_endpoint **ret);

/* Closes its connections and wipes its headers; exchanges that still run on
 * it end with BELAY_ECLOSED, and none may be started any more. NULL is legal.
 * Not in a sink.
 */
void belay__http_endpoint_close(struct belay__http_endpoint *endpoint);

/* The address without user, password and query, for messages. */
const char *belay__http_endpoint_label(
    const struct belay__http_endpoint *endpoint);

/* Adds what its address holds that no text may show. Errors: BELAY_ENOMEM. */
int belay__http_endpoint_secrets(const struct belay__http_endpoint *endpoint,
    struct belay__secrets *secrets);

/* What went wrong with an exchange, fine enough to decide on a retry (L30). */
enum belay__http_failure {
    BELAY__HTTP_OK,
    /* Before the request could reach the server. */
    BELAY__HTTP_RESOLVE,     /* no address for the host */
    BELAY__HTTP_CONNECT,     /* refused, unreachable */
    BELAY__HTTP_PROXY,       /* the proxy did not let us through */
    BELAY__HTTP_TLS,         /* handshake broke */
    BELAY__HTTP_CERTIFICATE, /* handshake refused by us: never retry */
    /* Afterwards; .request_sent tells whether it had the whole request. */
    BELAY__HTTP_SEND,       /* writing failed */
    BELAY__HTTP_RESET,      /* reading failed */
    BELAY__HTTP_EMPTY,      /* closed without a byte of an answer */
    BELAY__HTTP_SHORT_BODY, /* closed before the end of the body */
    BELAY__HTTP_STREAM,     /* HTTP/2 stream or connection error */
    BELAY__HTTP_MALFORMED,  /* not HTTP, or the body's coding is broken */
    /* Time. */
    BELAY__HTTP_TIMEOUT_CONNECT,
    BELAY__HTTP_TIMEOUT_FIRST_BYTE,
    BELAY__HTTP_TIMEOUT_IDLE,
    /* Limits. */
    BELAY__HTTP_BODY_TOO_LARGE,
    BELAY__HTTP_HEAD_TOO_LARGE,
    /* This side. */
    BELAY__HTTP_NO_MEMORY,
    BELAY__HTTP_SINK,        /* the sink gave up */
    BELAY__HTTP_BAD_REQUEST, /* cannot be sent as it is */
    BELAY__HTTP_CLOSED,      /* the client or the endpoint was closed */
    BELAY__HTTP_CANCELLED,
    BELAY__HTTP_LOCAL, /* anything else; see the error */
};

/* An answer. Zeroed before its first use, and given to
 * belay__http_reply_fini() before its runtime ends. It is filled in as far as
 * the exchange came, on failure and cancel too.
 */
struct belay__http_reply {
    enum belay__http_failure failure;
    int status;            /* 0: no answer */
    int version;           /* 10, 11, 20; 0: no answer */
    bool request_sent;     /* the whole request was handed to the system */
    bool reused;           /* on a connection that had served before */
    uint64_t sent_bytes;   /* of the body */
    uint64_t body_bytes;   /* received, after decompression */
    belay_time started;    /* on the runtime's clock */
    belay_time first_byte; /* 0: none came */
    belay_time ended;
    struct belay__buffer body; /* empty if a sink took it */
    struct belay__buffer head; /* the raw lines; see belay__http_reply_header */
};

/* Frees what the reply holds; it is then as new. NULL is legal. */
void belay__http_reply_fini(struct belay__http_reply *reply);

/* The value of the first header of that name, in any case, without blanks
 * round it; {NULL, 0} if there is none. It lives as long as the reply.
 */
struct belay_slice belay__http_reply_header(
    const struct belay__http_reply *reply, const char *name);

/* Called on the loop with each piece of the body of a 2xx answer, in place of
 * filling reply->body; reply->status and headers are there already. It may
 * wake tasks, but not end exchanges or close anything. Never called again once
 * the exchange has ended or its task was cancelled.
 *
 * 1: go on, and this counts as activity for the idle timeout; 0: go on, but
 * it does not (a piece of an event); negative: end the exchange with that
 * code; BELAY__HTTP_PAUSE: the bytes were not taken, nothing is read from the
 * server, and the idle timeout rests, until belay__http_exchange_resume().
 */
#define BELAY__HTTP_PAUSE 2

typedef int belay__http_sink_fn(
    const struct belay__http_reply *reply, struct belay_slice bytes, void *arg);

/* Called on the loop when the head of a 2xx answer is complete, once an
 * exchange; it may do what a sink may.
 */
typedef void belay__http_head_fn(void *arg);

/* One request. A zero field means its default. All pointers are borrowed
 * until the exchange has ended.
 */
struct belay__http_request {
    const char *method; /* default POST with a body, GET without */
    const char *path;   /* put behind the endpoint's path, may have a query;
                           default the endpoint's URL itself (L8) */
    struct belay_slice body;
    const struct belay__http_header *headers; /* besides the endpoint's */
    size_t header_count;
    belay_duration connect_timeout;    /* L38; default 5 s, at most 300 s */
    belay_duration tls_timeout;        /* the same with TLS; default 10 s */
    belay_duration first_byte_timeout; /* L39, from the start; 600 s */
    belay_duration idle_timeout;       /* L41; default 120 s */
    size_t max_body_bytes;             /* S7; of streams too; default 64 MiB */
    size_t max_head_bytes;             /* S7; default 64 KiB */
    belay__http_sink_fn *sink;         /* default: into reply->body */
    void *sink_arg;
    belay__http_head_fn *on_head; /* or NULL */
    void *head_arg;
};

/* One exchange: sends a request and delivers when the whole answer is there.
 *
 *   endpoint  where it stands when the exchange begins, which is in a step
 *             after this call; NULL there: it was closed
 *   request   copied; what it points to is borrowed until the end
 *   ret       zeroed, or used before; the result's value too
 *
 * A connection that died unnoticed while it was kept is replaced and the
 * request sent again, as long as no byte of an answer has come (L37); libcurl
 * counts whole lines, so an answer cut inside its very first line is none.
 *
 * Owner:   ret stays the caller's, who gives it to belay__http_reply_fini().
 * Errors:  BELAY_ECONNECT   resolve, connect, proxy
 *          BELAY_ETLS       handshake or certificate
 *          BELAY_ERESET     send, reset, empty, stream
 *          BELAY_ETRUNCATED the body ended too early; what came is in ret
 *          BELAY_EREPLY     malformed
 *          BELAY_ETIMEDOUT  ret->failure tells which timeout
 *          BELAY_ETOOLARGE  head or body
 *          BELAY_EINVAL     the request cannot be sent; nothing was
 *          BELAY_ECLOSED    the client or the endpoint was closed
 *          BELAY_ENOMEM, BELAY_EIO, or the sink's code
 *          BELAY_ECANCELED  flagged: cancelled; the connection is closed
 * Threads: loop thread. Cancellation point.
 */
belay_next belay__http_perform(belay_task *task,
    struct belay__http_endpoint *const *endpoint,
    const struct belay__http_request *request, struct belay__http_reply *ret);

/* What an error of an exchange says behind the request and its address, "no
 * connection: Connection refused"; NULL: it is of something else. The error's.
 */
const char *belay__http_error_reason(const belay_error *error);

#endif
