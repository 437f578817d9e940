/* llm.h - calls to model servers.
 *
 * A client is a scope: it owns the connections to one server, the key and the
 * rules for retries. Any number of tasks call it at once. belay_llm_send()
 * sends given bytes and delivers whatever the server answers;
 * belay_llm_complete() builds the request, in the format that the server
 * speaks, and an answer that is of no use is its failure. The deadline of a
 * call is that of the scopes around it (belay_timeout()); it covers the
 * attempts and the waits between them, and those for budgets and rates.
 *
 * Each attempt, before it is sent, reserves room in the task's budget and all
 * around it (budget.h) and waits for its turn at the rate that the server
 * allows; it is written down by the task's recorder (record.h). Between two
 * attempts a call holds nothing. llm_stream.h has the answers that come bit by
 * bit, llm_embed.h vectors. Rules: L1-L9, L29-L65, L73-L77, L91-L97.
 */
#ifndef BELAY_LLM_H
#define BELAY_LLM_H

#include <belay/llm_chat.h>
#include <belay/llm_reply.h>
#include <belay/task.h>

BELAY_BEGIN_DECLS

typedef struct belay_llm_client belay_llm_client; /* opaque; its block's */
typedef struct belay_prices belay_prices;         /* price.h */
typedef struct belay_budget belay_budget;         /* budget.h */
typedef struct belay_recorder belay_recorder;     /* record.h */

/* What the defaults of a client are for. */
enum belay_llm_profile {
    BELAY_LLM_INTERACTIVE, /* somebody waits: short delays, a retry budget */
    BELAY_LLM_BATCH,       /* nobody does: long ones, scattered more widely */
};

/* How fast a server may be asked, a minute; 0: as its headers tell, if they
 * tell. A limit in them that is lower counts, one that is higher does not.
 * What an answer has used above what was expected is charged too, but nobody
 * waits for that longer than it takes to make up for a minute's worth.
 */
struct belay_llm_rates {
    int64_t requests;
    int64_t tokens; /* both ways together */
    int64_t in_tokens;
    int64_t out_tokens;
    belay_duration burst; /* what goes at once after a pause; default 1 s' */
    belay_duration ramp;  /* from a tenth of the rate to all of it; default
                             all of it from the start */
};

/* The name of the group whose limits a model shares; called on the loop, the
 * text is copied. It may not call the client.
 */
typedef struct belay_slice belay_llm_group_fn(
    struct belay_slice model, void *arg);

#define BELAY_LLM_NO_RETRIES (-1) /* for max_retries, whose 0 is a default */

/* Gives the key for the attempt that is sent next, a NUL-terminated text, which
 * is copied at once. NULL: there is none, and the attempt fails with
 * BELAY_EAUTH. `refused` is NULL, or the key to which the server has just
 * answered 401: with another one the call tries again, once. That may be one
 * which has come in since, so that of many calls that are refused together only
 * the first has it replaced. Called on the loop for each attempt; it may not
 * call the client, and cannot wait: where it takes time to get a key, a task
 * keeps one ready.
 */
typedef const char *belay_llm_key_fn(const char *refused, void *arg);

/* Options for belay_llm_client_open(). A zero field means its default. */
struct belay_llm_client_opts {
    size_t size;          /* of this struct; BELAY_LLM_CLIENT_OPTS() fills it */
    const char *base_url; /* required; with its path, as ".../v1", and even
                               a query; no "/chat/completions" */
    const char *api_key;  /* sent as a bearer token, or as the x-api-key of
                             Messages; default none */
    belay_llm_key_fn *key_source;   /* in place of api_key: where keys come
                                     from, see above */
    void *key_arg;                  /* for key_source */
    enum belay_llm_format format;   /* of calls that do not say; default Chat
                                     Completions */
    const char *user_agent;         /* default "belay/" and the version */
    const char *idempotency_header; /* as in "Idempotency-Key", for gateways
                                       that know one: sent with a key that is
                                       the same for all attempts of a call;
                                       default none */
    enum belay_llm_profile profile; /* default BELAY_LLM_INTERACTIVE */
    int32_t max_retries;            /* of a call; default 2 */
    belay_duration retry_base;      /* first delay; default 0.5 s */
    belay_duration retry_cap;       /* longest one; default 8 s, batch 60 s */
    belay_duration retry_after_cap; /* a server that asks for more ends the
                                       call; default 120 s, batch 600 s */
    uint64_t seed;                  /* of the jitter; default random */
    belay_duration connect_timeout; /* TLS included; default 5 s, TLS 10 s */
    belay_duration first_byte_timeout; /* of an attempt; default 600 s */
    belay_duration idle_timeout; /* without a byte of the body; default 120 s */
    size_t max_reply_bytes;      /* unpacked; default 64 MiB */
    uint32_t max_drains;         /* streams with .drain that read on at once
                                    (llm_stream.h); default 8 */
    const char *ca_file;         /* PEM; default the system's authorities */
    const char *proxy;           /* URL; default none. Requests go through a
                                    tunnel, so that with https it sees neither
                                    key nor prompt; http:// through it has to
                                    be allowed, wherever it leads */
    const char *no_proxy;        /* hosts reached without it, with commas */
    bool proxy_from_env;   /* without .proxy: http_proxy and its kin count, but
                              not on the way to this machine */
    bool allow_plain_http; /* http:// to other machines than this one, or
                              through .proxy: all on the way see the key */
    bool insecure;         /* any certificate will do: whoever is on the way
                              can read the key and answer. Nothing here warns
                              of it; a program that offers it should */
    belay_prices *prices;  /* what calls cost: the model that was asked for, or
                              if it has no price the one that has answered;
                              default not known */
    const char *price_provider; /* as in "azure": looked up before the bare
                                   names of models too; default none */
    int64_t output_cap;         /* tokens that budgets hold for an answer that
                                   neither its request nor the price file limits;
                                   default: such a call is refused */
    bool expect_input;          /* budgets hold what the input may well be, not
                                   what it is at most: more calls at once, and
                                   a cap may be passed by what that misses. At
                                   most it has a token a byte, and what tells a
                                   model of tools; one to which the server adds
                                   an earlier answer, a conversation or a stored
                                   prompt, up to max_input_tokens of the price
                                   file. So much is held, too, where tools of
                                   the server's own may be used: what they find
                                   in several rounds may pass a cap */
    belay_budget *budget;       /* default each task's current one; that one
                                   too where it is within this budget */
    belay_recorder *recorder;   /* default each task's current one */
    struct belay_llm_rates rates;
    belay_llm_group_fn *rate_group; /* default: each model has its own rates */
    void *rate_arg;                 /* for rate_group */
    bool unlimited; /* calls wait for no rates, and for no server that asked
                       others to wait */
};
#define BELAY_LLM_CLIENT_OPTS(...)          \
    (&(const struct belay_llm_client_opts){ \
        .size = sizeof(struct belay_llm_client_opts), __VA_ARGS__})

/* A request as it stands, for belay_llm_send(). A zero field means its
 * default.
 */
struct belay_llm_request {
    size_t size;             /* of this struct; BELAY_LLM_REQUEST() fills it */
    const char *path;        /* behind the base; default as the client's format
                                has it, "/chat/completions" or another */
    struct belay_slice body; /* JSON, sent byte for byte */
    int32_t max_retries;     /* default the client's */
    belay_llm_attempt_fn *on_attempt; /* NULL, or told of each attempt */
    void *arg;                        /* for on_attempt */
    struct belay_ledger *ledger;      /* NULL, or where each attempt is entered,
                                    however the call ends; price.h */
};
#define BELAY_LLM_REQUEST(...)          \
    (&(const struct belay_llm_request){ \
        .size = sizeof(struct belay_llm_request), __VA_ARGS__})

/**
 * belay_llm_client_open - enter a client; use it in BELAY_WITH
 *
 *   opts  not NULL; the struct is copied, its texts must live until entered;
 *         prices, budget and recorder too, of which the client then has
 *         references of its own
 *   ret   receives the client once entered; untouched on failure
 *
 * Makes no connection. The exit ends calls that still run, as of tasks in an
 * outer block, with BELAY_ECLOSED, closes every connection, waits until that
 * is done, and wipes the key. Each key of a source has connections of its own;
 * it is wiped when the last attempt that was made with it is over.
 *
 * Owner:   the block.
 * Errors:  BELAY_EINVAL  no base_url, one that cannot be used or is plain http
 *                        to another machine or through a proxy; a key with
 *                        control characters; a key and a source of keys;
 *                        an idempotency_header that can be none; a negative
 *                        number; an opts->size that is unknown
 *          BELAY_ECLOSED the budget or the recorder was left, or prices are
 *                        gone, before it is entered
 *          BELAY_ENOSYS  libcurl lacks what opts ask for
 *          BELAY_ENOMEM  no memory
 *          In each case nothing has changed.
 * Threads: loop thread. Entering is not a checkpoint; the exit may be one.
 * Since:   0.1. Source: contract S1-S11, L8.
 */
BELAY_API BELAY_TOKEN belay_llm_client_open(belay_task *task,
    const struct belay_llm_client_opts *opts, belay_llm_client **ret);

/**
 * belay_llm_send - send a body as it is and deliver the server's answer
 *
 *   client   of an open block
 *   request  the struct is copied; what it points to is borrowed until the end
 *   ret      receives the reply; untouched on failure
 *
 * Every answer is a success, 4xx and 5xx too, once the retries are used up;
 * see belay_llm_reply_status(). It fails only if there was no answer; the
 * error's cause is then that of the connection. A delay that would outlive
 * the deadline is not begun: the call ends at once with what it has.
 *
 * Owner:   *ret is the caller's, for belay_llm_reply_free().
 * Errors:  BELAY_ECONNECT   no address, refused, unreachable
 *          BELAY_ETLS       handshake or certificate
 *          BELAY_ERESET     the connection broke, or closed without an answer
 *          BELAY_ETRUNCATED the answer ended too early
 *          BELAY_ETIMEDOUT  a timeout of the client's options
 *          BELAY_ETOOLARGE  the answer is above max_reply_bytes
 *          BELAY_EREPLY     the answer is not HTTP
 *          BELAY_EINVAL     the path or a number cannot be used; nothing sent
 *          BELAY_EBUDGET    its budget has no room, and the message says how
 *                           much there is; this attempt was not sent
 *          BELAY_ENOCAP     its budget has a cap, and nothing limits how long
 *                           the answer gets, or how much the server adds to
 *                           the input; nothing sent
 *          BELAY_ENOPRICE   its budget limits money, and the model has no
 *                           price; nothing sent
 *          BELAY_EIO        its recorder is strict and cannot write
 *          BELAY_EAUTH      the source of keys has none; not sent
 *          BELAY_ECLOSED    the client, the budget, or a recorder that is
 *                           strict, was left
 *          BELAY_ENOMEM     no memory; the request may have been sent
 *          BELAY_ECANCELED  flagged: cancelled; the connection is closed
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract L5, L29-L37, B3.
 */
BELAY_API BELAY_TOKEN belay_llm_send(belay_task *task, belay_llm_client *client,
    const struct belay_llm_request *request, belay_llm_reply **ret);

/**
 * belay_llm_complete - ask for a completion and deliver a usable answer
 *
 *   client  of an open block
 *   chat    the struct is copied; what it points to is borrowed until the end
 *   ret     receives the reply; untouched on failure
 *
 * The reply has been parsed; its accessors cannot fail. belay_error_foreign()
 * of an error that the server answered with is "HTTP" and the status. Messages
 * with room for more than 21,333 tokens are asked for as a stream, since no
 * server answers in one piece after ten minutes; the body of such a reply is
 * empty.
 *
 * Owner:   *ret is the caller's, for belay_llm_reply_free().
 * Errors:  BELAY_EAUTH   status 401 or 403, or no key
 *          BELAY_EQUOTA  the account has run out; retries are of no use
 *          BELAY_EHTTP   any other status but 2xx; the message quotes the
 *                        server's
 *          BELAY_EREPLY  2xx, but not a completion, twice
 *          BELAY_EINVAL  the request is not complete, not of sense, or asks
 *                        for what its format does not have; nothing sent
 *          BELAY_ETOOLARGE  also: the request is above 64 MiB; nothing sent
 *          else as belay_llm_send().
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract L1-L3, L9, L31; api.md.
 */
BELAY_API BELAY_TOKEN belay_llm_complete(belay_task *task,
    belay_llm_client *client, const struct belay_llm_chat *chat,
    belay_llm_reply **ret);

BELAY_END_DECLS

#endif
