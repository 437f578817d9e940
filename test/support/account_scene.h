/* account_scene.h - calls and their budget, rates, prices and recorder.
 *
 * One program plays all: a budget, a recorder, a client, and calls in tasks
 * of their own. When all of it has been left, whatever happened, nothing may
 * be held any more; that is looked at in an exit, which runs in any case.
 * One play at a time: what it has seen is in the variables below.
 */
#ifndef BELAY_TEST_SUPPORT_ACCOUNT_SCENE_H
#define BELAY_TEST_SUPPORT_ACCOUNT_SCENE_H

#include <belay/budget.h>
#include <belay/llm_embed.h>
#include <belay/llm_stream.h>
#include <belay/record.h>

#include "test/support/fault_server.h"
#include "test/support/program.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define S INT64_C(1000000000)
#define KEY "canary-7f3a91c2-key"
#define CALLS_MAX 500

/* ---- what is asked, what is answered ---- */

#define BODY                                                                  \
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]," \
    "\"max_completion_tokens\":10}"
#define UNCAPPED \
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define STREAM_BODY \
    "{\"model\":\"m\",\"stream\":true,\"max_completion_tokens\":10}"

#define HEAD(status_, extra_) "HTTP/1.1 " status_ "\r\n" extra_
#define CLOSED(status_, extra_, body_)                                   \
    FAULT_TEXT(HEAD(status_, extra_ "Connection: close\r\n\r\n" body_)), \
        FAULT_DO_CLOSE
#define HI_BODY                                                           \
    "{\"model\":\"m-7\",\"choices\":[{\"index\":0,\"message\":{\"role\":" \
    "\"assistant\",\"content\":\"hi\"},\"finish_reason\":\"stop\"}],"     \
    "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,"             \
    "\"total_tokens\":11,\"prompt_tokens_details\":{\"cached_tokens\":4}}}"
#define UNCOUNTED_BODY                                              \
    "{\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":"       \
    "{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\"" \
    ":\"stop\"}]}"
#define OK CLOSED("200 OK", "X-Request-Id: req-1\r\n", HI_BODY)
#define BUSY CLOSED("503 Busy", "", "{\"error\":{\"message\":\"busy\"}}")
#define SSE_HEAD                                         \
    HEAD("200 OK", "Content-Type: text/event-stream\r\n" \
                   "Connection: close\r\n\r\n")
#define DELTA                                                              \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]" \
    "}\n\n"
#define STOP                                                           \
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":" \
    "\"stop\"}]}\n\n"
#define USAGE                                               \
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9," \
    "\"completion_tokens\":2,\"total_tokens\":11}}\n\n"
#define DONE "data: [DONE]\n\n"

/* What HI_BODY has cost, or a stream with USAGE. */
#define HI_PICO (9 * INT64_C(1000000) + 2 * INT64_C(4000000))

/* The most that one call may cost: its bytes, and 64 tokens for its frame. */
int64_t most_pico(const char *body);

/* ---- the play ---- */

enum ask {
    ASK_COMPLETE,
    ASK_STREAM,      /* read to its end */
    ASK_STREAM_LEFT, /* left after the first event */
    ASK_SEND,
    ASK_EMBED,
};

struct play {
    const char *base_url;
    enum ask ask;
    const char *body;       /* NULL: BODY */
    const char *extra;      /* of a stream: in place of the body … */
    const char *model;      /* … and with that, or NULL */
    const char *other_body; /* of every second call */
    const char *path;       /* of ASK_SEND */
    size_t count;           /* calls; 0: one */
    bool in_turn;           /* one after the other */
    belay_duration leave;   /* the client, so long after the calls began */
    int32_t max_retries;
    belay_duration timeout; /* of each call */
    belay_duration drain;
    struct belay_budget_opts budget;
    bool no_budget;
    bool of_client;            /* the budget is the client's own, too … */
    struct belay_amount inner; /* … and calls in turn are in one within it */
    bool no_prices;
    const char *record; /* a path, or NULL */
    struct belay_llm_client_opts opts;
    void (*on_end)(struct play *play);
    /* locals */
    belay_prices *prices;
    belay_budget *own;
    belay_budget *within;
    belay_llm_client *client;
    belay_recorder *recorder;
    belay_group *group;
    belay_time started;
    size_t i;
};
extern const belay_function playing;

/* What has become of the calls of a play. */
struct seen {
    struct {
        int code;
        int64_t at_ns; /* since the client was opened */
        char message[512];
    } results[CALLS_MAX];
    size_t ended;
    struct belay_llm_attempt attempts[64];
    struct belay_budget_stats at_attempt[64]; /* when each was told */
    size_t attempt_count;
    struct belay_ledger ledger;
    struct belay_budget_stats budget; /* at the end */
    struct belay_llm_usage usage;
};
extern struct seen seen;

/* A server of these routes, until finish() stops it, and a virtual clock. Gives
 * the code.
 */
int run_play(
    const struct fault_route *routes, size_t count, struct play arguments);

#define PLAY(routes, ...) \
    cr_assert(zero(       \
        int, run_play((routes), COUNT(routes), (struct play){__VA_ARGS__})))

extern struct fault_server *account_server;
void finish(void);

/* A path for a new file; `ending` says which kind of recorder it is for. */
void make_record(const char *ending);
extern char record_path[64];

#endif
