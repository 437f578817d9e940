/* sim.h - a simulated provider: a model server that answers nonsense (private).
 *
 * A scope with a server inside. It speaks four wire formats and, if asked,
 * fails as real servers do. What it answers and how it fails follows from the
 * seed, the bytes of the request and how often these bytes have come before,
 * or from a script, never from time or chance: a run can be repeated.
 *
 *   POST /v1/chat/completions   plain, or streamed if the request says so
 *   POST /v1/responses          the same
 *   POST /v1/messages           the same; and /v1/messages/count_tokens
 *   POST /v1/embeddings
 *   GET  /v1/models             as the family writes it that the client is of
 *   GET  /__sim/stats           counts, as JSON
 *
 * A token is a word: a run of bytes between blanks. All replies carry the
 * FNV-1a hash (64 bits) of the request's body, so that a test can see from
 * outside which bytes have arrived. A request may name its own faults in the
 * header x-sim-fault.
 */
#ifndef BELAY_LLM_SIM_SIM_H
#define BELAY_LLM_SIM_SIM_H

#include <belay/task.h>

#include "llm/sim/faults.h"

struct belay__sim;
struct belay__sim_script;

#define BELAY__SIM_FORMATS 4

/* How latencies scatter round the one that is given. */
enum belay__sim_spread {
    BELAY__SIM_FIXED,
    BELAY__SIM_UNIFORM,   /* half of it to one and a half */
    BELAY__SIM_LOGNORMAL, /* it is the median; sigma 0.5, at most 20 times */
};

/* How a request has ended. */
enum belay__sim_end {
    BELAY__SIM_REFUSED,  /* answered with an error status */
    BELAY__SIM_ANSWERED, /* with a whole reply */
    BELAY__SIM_CUT,      /* the connection was broken within the reply */
    BELAY__SIM_STALLED,  /* nothing came until the client gave up */
    BELAY__SIM_LEFT,     /* the client was gone before it was answered */
};

/* One request, for the log. */
struct belay__sim_entry {
    const char *format; /* "chat" */
    uint64_t body_hash;
    uint32_t attempt; /* 0: these bytes have not come before */
    int status;       /* sent, or that would have been */
    bool stream;
    enum belay__sim_end end;
    uint64_t prompt_tokens;
    uint64_t completion_tokens;
    belay_duration took;
};

/* Options. A zero field means its default; probabilities are 0 to 1. */
struct belay__sim_opts {
    const char *host; /* default 127.0.0.1 */
    uint16_t port;    /* default: one that is free */
    uint64_t seed;
    belay_duration latency; /* before the first token */
    enum belay__sim_spread spread;
    belay_duration ttft;      /* to the first token, behind the latency */
    double tokens_per_second; /* default: all at once */
    uint32_t tokens_min;      /* of a reply; default 16 */
    uint32_t tokens_max;      /* default: always tokens_min */
    double fail_429;
    belay_duration retry_after; /* told with a 429, 503 or 529; default: not */
    enum belay__sim_retry_form retry_form;
    double fail_5xx; /* 500, 502, 503 and 529 alike */
    double cut;
    double stall;
    double faults[BELAY__SIM_FAULTS]; /* chances of each, besides these */
    struct belay__sim_script *script; /* or NULL; must live as long as the
                                         block, and be of no other one */
    double cached;         /* share of the prompt that is told as cached */
    uint32_t reasoning;    /* tokens told besides those of the answer */
    double tool_text;      /* answers in words though tools are offered */
    uint32_t capacity;     /* requests at once; others get 429; no limit */
    uint64_t max_requests; /* then belay__sim_wait() ends; default: never */
    const char *api_key;   /* that clients must have; default: none. Must
                              live as long as the block */
    void (*log_fn)(const struct belay__sim_entry *entry, void *arg);
    void *arg;
};

/* Counts since the start. */
struct belay__sim_stats {
    uint64_t hits;                        /* requests to pages of formats */
    uint64_t formats[BELAY__SIM_FORMATS]; /* of them: Chat, Responses,
                                             Messages, Embeddings */
    uint64_t redirected;                  /* that have followed a redirect */
    uint64_t distinct_bodies;
    uint64_t body_hash_sum; /* of all hits, modulo 2^64 */
    uint64_t in_flight;
    uint64_t in_flight_max;
    uint64_t ends[5];       /* by enum belay__sim_end */
    uint64_t prompt_tokens; /* of whole replies, as told in their usage */
    uint64_t completion_tokens;
};

/* An enter operation: starts the simulator. opts NULL: all defaults. *ret is
 * good until the block is left. Errors: as belay__server_open().
 */
belay_next belay__sim_open(belay_task *task, const struct belay__sim_opts *opts,
    struct belay__sim **ret);

/* The base URL for clients, "http://127.0.0.1:4010/v1"; lives as the sim. */
const char *belay__sim_url(const struct belay__sim *sim);

void belay__sim_get_stats(
    const struct belay__sim *sim, struct belay__sim_stats *ret);

/* An operation: waits until max_requests requests have ended, which is
 * for ever if there is no such limit.
 */
belay_next belay__sim_wait(belay_task *task, struct belay__sim *sim);

#endif
