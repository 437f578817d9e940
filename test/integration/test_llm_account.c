/* test_llm_account.c - calls and their budgets, rates, prices and recorders.
 *
 * One program plays all: a budget, a recorder, a client, and calls in tasks
 * of their own. When all of it has been left, whatever happened, nothing may
 * be held any more; that is looked at in an exit, which runs in any case.
 */
#include <belay/budget.h>
#include <belay/llm_embed.h>
#include <belay/llm_stream.h>
#include <belay/record.h>

#include "llm/budget/reserve.h"
#include "llm/record/recorder.h"
#include "llm/retry.h"
#include "test/support/alloc.h"
#include "test/support/fault_server.h"
#include "test/support/program.h"
#include "test/support/texts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define S INT64_C(1000000000)
#define KEY "canary-7f3a91c2-key"
#define SEED 4711
#define CALLS_MAX 500

TestSuite(llm_account, .fini = check_clean, .timeout = 120);

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

static const char file[] =
    "{\"m\": {\"input_cost_per_token\": 1e-06, \"output_cost_per_token\": "
    "4e-06, \"input_cost_per_token_flex\": 5e-07, "
    "\"output_cost_per_token_flex\": 2e-06},"
    " \"v\": {\"input_cost_per_token\": 1e-06}}";

#define HI_PICO (9 * INT64_C(1000000) + 2 * INT64_C(4000000))

static struct belay_slice
slice(const char *text)
{
    return (struct belay_slice){text, text != NULL ? strlen(text) : 0};
}

/* The most that one call may cost: its bytes, and 64 tokens for its frame. */
static int64_t
most_pico(const char *body)
{
    return (int64_t)(strlen(body) + 64) * 1000000 + 10 * INT64_C(4000000);
}

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
    const char *extra;      /* of a stream: in place of the body */
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

/* What has become of the calls of a play. */
static struct {
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
} seen;

static struct fault_server *server;

/* ---- what is looked at last of all ---- */

struct audit {
    struct play *play;
};

static belay_next
audit_enter(belay_task *task, void *self)
{
    return belay_return(task, self);
}

/* Holds in the trials of a sweep too, where assertions do not count. */
static void
must(bool holds, const char *what)
{
    if (!holds && program_disturbed) {
        (void)fprintf(stderr, "%s\n", what);
        abort();
    }
    cr_expect(holds, "%s", what);
}

static bool
is_within_cap(const struct belay_budget_stats *stats)
{
    const int64_t used = stats->spent.cost.pico + stats->uncertain.cost.pico;

    return stats->limit.cost.pico == 0 || used <= stats->limit.cost.pico;
}

static belay_next
audit_exit(belay_task *task, void *self)
{
    const struct audit *audit = self;
    const struct belay_budget_stats *stats = &seen.budget;

    if (audit->play->own != NULL) {
        belay_budget_get_stats(audit->play->own, &seen.budget);
        must(stats->held.cost.pico == 0, "L59: money is held");
        must(stats->held.tokens == 0, "L59: tokens are held");
        must(stats->held.requests == 0, "L59: requests are held");
        must(stats->waiting == 0, "L59: calls wait");
        must(is_within_cap(stats), "L56: the cap was passed");
    }
    belay_prices_unref(audit->play->prices);
    audit->play->prices = NULL;
    return belay_return(task, NULL);
}

static const belay_manager audit = {
    {"audit", __FILE__, sizeof(struct audit), audit_enter, 0}, audit_exit};

/* ---- one call ---- */

static void
note_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    const struct play *play = arg;

    if (seen.attempt_count < COUNT(seen.attempts)) {
        seen.attempts[seen.attempt_count] = *attempt;
        if (play->own != NULL) {
            belay_budget_get_stats(
                play->own, &seen.at_attempt[seen.attempt_count]);
        }
        seen.attempt_count++;
    }
}

struct caller {
    struct play *play;
    size_t index;
    belay_llm_reply *reply;
};

struct stream_call {
    struct play *play;
    belay_llm_reply **ret;
    belay_llm_stream *stream;
    struct belay_llm_event event;
};

BELAY_ASYNC(stream_call)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"hi", 2}}};
    struct play *play = self->play;
    const char *body = play->body != NULL ? play->body : BODY;

    BELAY_BEGIN;
    BELAY_WITH (belay_llm_stream_open(task, play->client,
        BELAY_LLM_CHAT(.body = slice(play->extra == NULL ? body : NULL),
            .extra = slice(play->extra), .messages = messages,
            .message_count = 1, .max_retries = play->max_retries,
            .on_attempt = note_attempt, .arg = play, .ledger = &seen.ledger),
        BELAY_LLM_STREAM_OPTS(.keep = self->ret, .drain = play->drain),
        &self->stream)) {
        do {
            BELAY_AWAIT(
                belay_llm_stream_next(task, self->stream, &self->event));
        } while (self->play->ask == ASK_STREAM
                 && self->event.type != BELAY_LLM_EVENT_DONE);
    }
    BELAY_END;
}

static belay_next
begin_call(belay_task *task, struct caller *self)
{
    static const struct belay_slice input = {"hi", 2};
    struct play *play = self->play;
    const char *text = play->other_body != NULL && self->index % 2 == 1
                           ? play->other_body
                           : play->body;
    const struct belay_slice body = slice(text != NULL ? text : BODY);

    switch (play->ask) {
    case ASK_STREAM:
    case ASK_STREAM_LEFT:
        return BELAY_CALL(stream_call, .play = play, .ret = &self->reply);
    case ASK_SEND:
        return belay_llm_send(task, play->client,
            BELAY_LLM_REQUEST(.path = play->path, .body = body,
                .max_retries = play->max_retries, .on_attempt = note_attempt,
                .arg = play, .ledger = &seen.ledger),
            &self->reply);
    case ASK_EMBED:
        return belay_llm_embed(task, play->client,
            BELAY_LLM_EMBED(.model = "v", .inputs = &input, .input_count = 1,
                .max_retries = play->max_retries, .on_attempt = note_attempt,
                .arg = play, .ledger = &seen.ledger),
            &self->reply);
    case ASK_COMPLETE:
        break;
    }
    return belay_llm_complete(task, play->client,
        BELAY_LLM_CHAT(.body = body, .max_retries = play->max_retries,
            .on_attempt = note_attempt, .arg = play, .ledger = &seen.ledger),
        &self->reply);
}

static void
note_end(const belay_task *task, struct caller *caller)
{
    const struct belay_result *result = belay_result(task);
    struct play *play = caller->play;

    seen.results[caller->index].code = result->code;
    seen.results[caller->index].at_ns = belay_now(task).ns - play->started.ns;
    (void)belay_result_format(result, seen.results[caller->index].message,
        sizeof(seen.results[caller->index].message));
    if (caller->reply != NULL) {
        seen.usage = *belay_llm_reply_usage(caller->reply);
        seen.usage.raw.data = NULL;
        belay_llm_reply_free(caller->reply);
        caller->reply = NULL;
    }
    seen.ended++;
    if (play->on_end != NULL) {
        play->on_end(play);
    }
}

BELAY_ASYNC(caller)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(task,
        self->play->timeout.ns != 0 ? self->play->timeout : BELAY_FOREVER,
        NULL)) {
        if (self->play->client == NULL) {
            BELAY_RETURN(NULL); /* it was left before this task began */
        }
        BELAY_TRY(begin_call(task, self));
        note_end(task, self);
        if (belay_result(task)->cancelled) {
            return belay_pass(task);
        }
    }
    BELAY_END;
}

/* ---- all of them ---- */

static const struct belay_llm_client_opts *
client_opts(struct play *play)
{
    play->opts.size = sizeof(play->opts);
    play->opts.base_url = play->base_url;
    play->opts.api_key = KEY;
    play->opts.seed = SEED;
    play->opts.prices = play->prices;
    play->opts.budget = play->of_client ? play->own : NULL;
    return &play->opts;
}

static int
spawn_calls(struct play *play)
{
    int code = 0;

    for (size_t i = 0; code == 0 && (i == 0 || i < play->count); i++) {
        code = belay_spawn(play->group, caller, .play = play, .index = i);
    }
    return code;
}

struct in_inner_budget {
    struct play *play;
};

BELAY_ASYNC(in_inner_budget)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_budget_open(task,
        BELAY_BUDGET_OPTS(.name = "inner", .limit = self->play->inner),
        &self->play->within)) {
        BELAY_AWAIT(
            BELAY_CALL(caller, .play = self->play, .index = self->play->i));
    }
    BELAY_END;
}

static belay_next
begin_in_turn(belay_task *task, struct play *play)
{
    return play->inner.requests > 0
               ? BELAY_CALL(in_inner_budget, .play = play)
               : BELAY_CALL(caller, .play = play, .index = play->i);
}

struct with_client {
    struct play *play;
};

BELAY_ASYNC(with_client)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(
        task, client_opts(self->play), &self->play->client)) {
        self->play->started = belay_now(task);
        BELAY_WITH (belay_group_open(task, NULL, &self->play->group)) {
            if (!self->play->in_turn) {
                BELAY_CHECK(spawn_calls(self->play));
            }
        }
        while (self->play->in_turn && self->play->i < self->play->count) {
            BELAY_AWAIT(begin_in_turn(task, self->play));
            self->play->i++;
        }
    }
    BELAY_END;
}

/* Tasks that begin too late must see that there is no client any more. */
struct forgetting {
    struct play *play;
};

static belay_next
forgetting_exit(belay_task *task, void *self)
{
    const struct forgetting *forgetting = self;

    forgetting->play->client = NULL;
    return belay_return(task, NULL);
}

static const belay_manager forgetting = {
    {"forgetting", __FILE__, sizeof(struct forgetting), audit_enter, 0},
    forgetting_exit};

/* The calls belong to an outer block. */
struct left_by_client {
    struct play *play;
};

BELAY_ASYNC(left_by_client)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->play->group)) {
        BELAY_WITH (belay_llm_client_open(
            task, client_opts(self->play), &self->play->client)) {
            self->play->started = belay_now(task);
            BELAY_WITH (BELAY_ENTER(forgetting, .play = self->play)) {
                BELAY_CHECK(spawn_calls(self->play));
                BELAY_AWAIT(belay_sleep(task, self->play->leave));
            }
        }
    }
    BELAY_END;
}

static belay_next
begin_client(belay_task *task, struct play *play)
{
    return play->leave.ns > 0 ? BELAY_CALL(left_by_client, .play = play)
                              : BELAY_CALL(with_client, .play = play);
}

struct with_recorder {
    struct play *play;
};

BELAY_ASYNC(with_recorder)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(audit, .play = self->play)) {
        if (!self->play->no_prices) {
            BELAY_CHECK(belay_prices_new(belay_task_runtime(task), slice(file),
                &self->play->prices, NULL));
        }
        if (self->play->record != NULL) {
            BELAY_WITH (belay_recorder_open(task,
                BELAY_RECORDER_OPTS(.path = self->play->record),
                &self->play->recorder)) {
                BELAY_AWAIT(begin_client(task, self->play));
            }
        } else {
            BELAY_AWAIT(begin_client(task, self->play));
        }
    }
    BELAY_END;
}

/* Everything; the struct is the program's own, so that runs do not meet. */
BELAY_ASYNC(play)
{
    BELAY_BEGIN;
    memset(&seen, 0, sizeof(seen));
    if (self->no_budget) {
        BELAY_AWAIT(BELAY_CALL(with_recorder, .play = self));
    } else {
        self->budget.size = sizeof(self->budget);
        BELAY_WITH (belay_budget_open(task, &self->budget, &self->own)) {
            BELAY_AWAIT(BELAY_CALL(with_recorder, .play = self));
        }
    }
    BELAY_END;
}

static int
run_play(const struct fault_route *routes, size_t count, struct play arguments)
{
    belay_clock *clock = belay_clock_new(true);
    struct belay_result result = {0};
    int code;

    server = fault_server_start(routes, count);
    arguments.base_url = fault_server_url(server);
    code = belay_run(&play, &arguments,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock),
        &result);
    belay_error_unref(result.error);
    belay_clock_free(clock);
    return code;
}

/* The server can be asked until finish() stops it. */
#define PLAY(routes, ...) \
    cr_assert(zero(       \
        int, run_play((routes), COUNT(routes), (struct play){__VA_ARGS__})))

static void
finish(void)
{
    fault_server_stop(server);
    server = NULL;
}

/* ---- L53-L58: the budget ---- */

Test(llm_account, l55_what_the_server_counts_is_spent)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    PLAY(routes, .budget.limit = {{most_pico(BODY)}, 0, 0});
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO));
    cr_expect(eq(i64, seen.budget.spent.tokens, 11));
    cr_expect(eq(i64, seen.budget.spent.requests, 1));
    cr_expect(zero(i64, seen.budget.uncertain.cost.pico));
    finish();
}

Test(llm_account, l58_a_refused_call_fails_at_once_and_makes_no_connection)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    PLAY(routes, .budget.limit = {{most_pico(BODY) - 1}, 0, 0},
        .budget.name = "small");
    cr_expect(eq(int, seen.results[0].code, BELAY_EBUDGET));
    cr_expect(ne(ptr, strstr(seen.results[0].message, "\"small\""), NULL));
    cr_expect(zero(i64, seen.results[0].at_ns));
    cr_expect(zero(sz, fault_server_accepted(server)));
    cr_expect(zero(sz, seen.attempt_count));
    cr_expect(eq(u64, seen.budget.refused, 1));
    finish();
}

Test(llm_account, l54_without_a_cap_or_a_price_a_budget_lets_nothing_through)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    PLAY(routes, .body = UNCAPPED, .budget.limit = {{S}, 0, 0});
    cr_expect(eq(int, seen.results[0].code, BELAY_ENOCAP));
    cr_expect(ne(ptr, strstr(seen.results[0].message, "'m'"), NULL));
    cr_expect(zero(sz, fault_server_accepted(server)));
    finish();
    PLAY(routes, .body = UNCAPPED, .budget.limit = {{0}, 1000, 0});
    cr_expect(eq(int, seen.results[0].code, BELAY_ENOCAP));
    finish();
    PLAY(routes, .budget.limit = {{S}, 0, 0}, .no_prices = true);
    cr_expect(eq(int, seen.results[0].code, BELAY_ENOPRICE));
    cr_expect(zero(sz, fault_server_accepted(server)));
    finish();
    /* Configured, it is held; and where only requests are limited, nobody
     * asks.
     */
    PLAY(routes, .body = UNCAPPED, .budget.limit = {{S}, 0, 0},
        .opts.output_cap = 100);
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    finish();
    PLAY(routes, .body = UNCAPPED, .budget.limit = {{0}, 0, 1},
        .no_prices = true);
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.tokens, 11));
    finish();
}

Test(llm_account, l55_what_was_refused_is_given_back_and_what_broke_is_in_doubt)
{
    static const struct fault_route refused[] = {
        FAULT_ON(NULL, CLOSED("400 Bad", "", "{}"))};
    static const struct fault_route broken[] = {FAULT_ON(NULL, FAULT_DO_RESET)};
    static const struct fault_route uncounted[] = {
        FAULT_ON(NULL, CLOSED("200 OK", "", UNCOUNTED_BODY))};
    const struct belay_budget_opts budget = {.limit = {{S * 1000}, 0, 0}};

    PLAY(refused, .budget = budget);
    cr_expect(eq(int, seen.results[0].code, BELAY_EHTTP));
    cr_expect(zero(i64, seen.budget.spent.cost.pico));
    cr_expect(zero(i64, seen.budget.uncertain.cost.pico));
    cr_expect(zero(i64, seen.budget.spent.requests));
    finish();
    PLAY(broken, .budget = budget, .max_retries = 1);
    cr_expect(eq(int, seen.results[0].code, BELAY_ERESET));
    cr_expect(zero(i64, seen.budget.spent.cost.pico));
    cr_expect(eq(i64, seen.budget.uncertain.cost.pico, 2 * most_pico(BODY)));
    cr_expect(eq(i64, seen.budget.uncertain.requests, 2));
    finish();
    PLAY(uncounted, .budget = budget);
    cr_expect(zero(int, seen.results[0].code));
    cr_expect(eq(i64, seen.budget.uncertain.cost.pico, most_pico(BODY)));
    finish();
}

/* Each call has a budget of its own, within that of its client. */
Test(llm_account, l53_a_budget_within_that_of_the_client_counts_too)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, BUSY), FAULT_ON(NULL, OK)};

    PLAY(routes, .in_turn = true, .count = 2, .of_client = true,
        .budget.limit = {{0}, 0, 9}, .inner = {{0}, 0, 1});
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(zero(int, seen.results[1].code), "%s", seen.results[1].message);
    cr_expect(eq(i64, seen.budget.spent.requests, 2), "in the outer one");
    finish();
    PLAY(routes, .in_turn = true, .count = 1, .of_client = true,
        .body = UNCAPPED, .budget.limit = {{0}, 0, 9}, .inner = {{0}, 500, 1});
    cr_expect(eq(int, seen.results[0].code, BELAY_ENOCAP), "%s",
        seen.results[0].message);
    cr_expect(zero(sz, fault_server_requests(server, NULL)));
    finish();
}

#define AT_ONCE 500
#define FIT 37

/* All that were let through wait for their answers until the last of the
 * others was refused.
 */
static void
open_gate(struct play *of)
{
    (void)of;
    if (seen.ended == AT_ONCE - FIT) {
        fault_server_open_gate(server);
    }
}

Test(llm_account, l56_five_hundred_calls_at_once_never_pass_the_cap)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_DO_GATE(1), OK)};
    const int64_t cap = most_pico(BODY) * FIT + most_pico(BODY) / 2;
    size_t good = 0;

    PLAY(routes, .count = AT_ONCE, .budget.limit = {{cap}, 0, 0},
        .on_end = open_gate);
    for (size_t i = 0; i < AT_ONCE; i++) {
        good += seen.results[i].code == 0;
        cr_expect(
            seen.results[i].code == 0 || seen.results[i].code == BELAY_EBUDGET);
    }
    cr_expect(eq(sz, good, FIT));
    cr_expect(eq(sz, fault_server_requests(server, NULL), FIT));
    cr_expect(eq(u64, seen.budget.refused, AT_ONCE - FIT));
    cr_expect(eq(i64, seen.budget.spent.cost.pico, FIT * HI_PICO));
    finish();
}

Test(llm_account, l58_calls_may_wait_for_what_others_give_back)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    PLAY(routes, .count = 20,
        .budget = {.limit = {{most_pico(BODY) + 19 * HI_PICO}, 0, 0},
            .policy = BELAY_BUDGET_WAIT});
    for (size_t i = 0; i < 20; i++) {
        cr_expect(zero(int, seen.results[i].code));
    }
    cr_expect(eq(i64, seen.budget.spent.cost.pico, 20 * HI_PICO));
    finish();
}

Test(llm_account, l34_a_call_that_waits_for_a_retry_holds_nothing)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, BUSY), FAULT_ON(NULL, OK)};

    PLAY(routes, .budget.limit = {{most_pico(BODY)}, 0, 0});
    cr_assert(eq(sz, seen.attempt_count, 2));
    cr_expect(seen.attempts[0].will_retry);
    cr_expect(zero(i64, seen.at_attempt[0].held.cost.pico));
    cr_expect(zero(i64, seen.at_attempt[0].held.requests));
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO));
    finish();
}

/* While one sleeps, another one uses the room. */
Test(llm_account, l34_others_go_while_a_call_waits_for_a_retry)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, BUSY), FAULT_ON(NULL, OK)};

    PLAY(routes, .count = 2,
        .budget = {.limit = {{0}, 0, 2}, .policy = BELAY_BUDGET_WAIT},
        .opts.rates = {.requests = 600});
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(zero(int, seen.results[1].code), "%s", seen.results[1].message);
    cr_expect(lt(i64, seen.results[1].at_ns, seen.results[0].at_ns));
    cr_expect(eq(i64, seen.budget.spent.requests, 2));
    finish();
}

/* ---- streams ---- */

static const struct belay_budget_opts plenty = {.limit = {{S * 1000}, 0, 0}};

Test(llm_account, l55_a_stream_is_settled_at_its_end)
{
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, FAULT_TEXT(SSE_HEAD DELTA STOP USAGE DONE), FAULT_DO_CLOSE)};

    PLAY(routes, .ask = ASK_STREAM, .body = STREAM_BODY, .budget = plenty);
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO));
    cr_expect(zero(i64, seen.budget.uncertain.cost.pico));
    cr_expect(eq(sz, seen.attempt_count, 1));
    finish();
}

Test(llm_account, l44_l55_a_stream_that_is_cut_or_left_is_in_doubt)
{
    static const struct fault_route cut[] = {
        FAULT_ON(NULL, FAULT_TEXT(SSE_HEAD DELTA), FAULT_DO_CLOSE)};
    static const struct fault_route hung[] = {
        FAULT_ON(NULL, FAULT_TEXT(SSE_HEAD DELTA), FAULT_DO_HANG)};
    const int64_t most = most_pico(STREAM_BODY);

    PLAY(cut, .ask = ASK_STREAM, .body = STREAM_BODY, .budget = plenty);
    cr_expect(eq(int, seen.results[0].code, BELAY_ETRUNCATED));
    cr_expect(eq(i64, seen.budget.uncertain.cost.pico, most));
    cr_expect(eq(int, (int)seen.usage.state, BELAY_LLM_USAGE_PARTIAL));
    cr_expect(gt(i64, seen.usage.in_total, 0));
    cr_expect(gt(i64, seen.usage.out_total, 0));
    cr_expect(gt(i64, seen.ledger.usage.out_total, 0));
    finish();
    PLAY(hung, .ask = ASK_STREAM_LEFT, .body = STREAM_BODY, .budget = plenty);
    cr_expect(zero(int, seen.results[0].code));
    cr_expect(eq(i64, seen.budget.uncertain.cost.pico, most));
    cr_expect(eq(int, (int)seen.usage.state, BELAY_LLM_USAGE_PARTIAL));
    cr_expect(eq(sz, seen.attempt_count, 1), "L29: it has its record");
    cr_expect(eq(int, seen.attempts[0].code, BELAY_ECANCELED));
    finish();
}

Test(llm_account, l44_l55_a_stream_that_is_drained_is_spent)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(SSE_HEAD DELTA), FAULT_DO_SLEEP(5),
            FAULT_TEXT(STOP USAGE DONE), FAULT_DO_CLOSE)};

    PLAY(routes, .ask = ASK_STREAM_LEFT, .body = STREAM_BODY, .budget = plenty,
        .drain = belay_seconds(5));
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO));
    cr_expect(zero(i64, seen.budget.uncertain.cost.pico));
    finish();
}

/* ---- L46, L50: books and prices ---- */

Test(llm_account, l46_a_ledger_has_every_attempt_however_a_call_ends)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, FAULT_DO_RESET),
        FAULT_ON(NULL, BUSY), FAULT_ON(NULL, OK)};
    static const struct fault_route broken[] = {FAULT_ON(NULL, FAULT_DO_RESET)};

    PLAY(routes, .no_budget = true);
    cr_expect(zero(int, seen.results[0].code));
    cr_expect(eq(u64, seen.ledger.attempts, 3));
    cr_expect(eq(u64, seen.ledger.unknown, 1), "what it used nobody told");
    cr_expect(seen.ledger.cost.at_least, "L52");
    cr_expect(gt(i64, seen.ledger.usage.in_total, 9), "what broke is there");
    cr_expect(gt(i64, seen.ledger.cost.amount.pico, HI_PICO));
    finish();
    PLAY(broken, .no_budget = true, .max_retries = 1);
    cr_expect(eq(int, seen.results[0].code, BELAY_ERESET));
    cr_expect(eq(u64, seen.ledger.attempts, 2));
    cr_expect(gt(i64, seen.ledger.usage.in_total, 0));
    finish();
}

Test(llm_account, l50_the_service_tier_of_the_answer_sets_the_price)
{
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, CLOSED("200 OK", "",
                  "{\"service_tier\":\"flex\",\"choices\":[{\"message\":"
                  "{\"content\":\"hi\"}}],\"usage\":{\"prompt_tokens\":9,"
                  "\"completion_tokens\":2}}"))};

    PLAY(routes, .budget = plenty);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, HI_PICO / 2));
    cr_expect(eq(i64, seen.ledger.cost.amount.pico, HI_PICO / 2));
    finish();
}

/* The body is written again, and what was read off it is read again. */
Test(llm_account, l2_l50_a_stream_asked_for_again_is_charged_as_it_is_sent)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, CLOSED("400 Bad", "",
                           "{\"error\":{\"message\":\"stream_options\"}}")),
        FAULT_ON(
            NULL, FAULT_TEXT(SSE_HEAD DELTA STOP USAGE DONE), FAULT_DO_CLOSE)};

    PLAY(routes, .ask = ASK_STREAM, .no_budget = true,
        .extra = "{\"model\":\"m\",\"service_tier\":\"flex\",\"user\":\""
                 "somebody with a name that is longer than the option\"}");
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(u64, seen.ledger.attempts, 2));
    cr_expect(eq(i64, seen.ledger.cost.amount.pico, HI_PICO / 2));
    finish();
}

Test(llm_account, l54_embeddings_have_no_output)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, CLOSED("200 OK", "",
                           "{\"data\":[{\"index\":0,\"embedding\":[1.0]}],"
                           "\"usage\":{\"prompt_tokens\":5}}"))};

    PLAY(routes, .ask = ASK_EMBED, .budget = plenty);
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, 5 * INT64_C(1000000)));
    finish();
    PLAY(routes, .ask = ASK_SEND, .path = "/embeddings",
        .body = "{\"model\":\"v\",\"input\":\"hi\"}", .budget = plenty);
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    cr_expect(eq(i64, seen.budget.spent.cost.pico, 5 * INT64_C(1000000)));
    finish();
}

/* ---- L60-L65: rates ---- */

Test(llm_account, l60_l61_calls_go_at_the_rate)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    PLAY(routes, .count = 4, .opts.rates = {.requests = 60}, .no_budget = true);
    cr_expect(zero(i64, seen.results[0].at_ns));
    cr_expect(eq(i64, seen.results[1].at_ns, 1 * S));
    cr_expect(eq(i64, seen.results[2].at_ns, 2 * S));
    cr_expect(eq(i64, seen.results[3].at_ns, 3 * S));
    finish();
    PLAY(routes, .count = 4, .opts.rates = {.requests = 60},
        .opts.unlimited = true, .no_budget = true);
    cr_expect(zero(i64, seen.results[3].at_ns));
    finish();
}

Test(llm_account, l65_tokens_are_charged_as_the_server_counts_them)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    /* 60 tokens at once, then one a second; each call has used 11. */
    PLAY(routes, .in_turn = true, .count = 10, .no_budget = true,
        .opts.rates = {.tokens = 60, .burst = belay_seconds(60)});
    cr_expect(zero(i64, seen.results[0].at_ns));
    cr_expect(gt(i64, seen.results[9].at_ns, 40 * S));
    cr_expect(lt(i64, seen.results[9].at_ns, 100 * S));
    finish();
}

Test(llm_account, l63_a_server_tells_its_rate)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, CLOSED("200 OK",
                           "X-RateLimit-Limit-Requests: 60\r\n"
                           "x-ratelimit-remaining-requests: 0\r\n",
                           HI_BODY))};

    PLAY(routes, .in_turn = true, .count = 3, .no_budget = true);
    cr_expect(zero(i64, seen.results[0].at_ns));
    cr_expect(eq(i64, seen.results[1].at_ns, 1 * S));
    cr_expect(eq(i64, seen.results[2].at_ns, 2 * S));
    finish();
}

Test(llm_account, l64_a_server_that_asks_for_time_gets_it_from_all)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, CLOSED("429 Slow", "Retry-After: 7\r\n", "{}")),
        FAULT_ON(NULL, OK)};
    static const struct fault_route failing[] = {
        FAULT_ON(NULL, BUSY), FAULT_ON(NULL, OK)};

    PLAY(routes, .in_turn = true, .count = 2, .no_budget = true,
        .max_retries = BELAY_LLM_NO_RETRIES);
    cr_expect(eq(int, seen.results[0].code, BELAY_EHTTP));
    cr_expect(zero(int, seen.results[1].code));
    cr_expect(ge(i64, seen.results[1].at_ns, 7 * S));
    cr_expect(le(i64, seen.results[1].at_ns, 8 * S));
    finish();
    PLAY(failing, .in_turn = true, .count = 2, .no_budget = true,
        .max_retries = BELAY_LLM_NO_RETRIES);
    cr_expect(zero(i64, seen.results[1].at_ns), "it asked for nothing");
    finish();
}

/* The answer to the one that goes first is long in coming. */
static void
let_go_on(struct play *of)
{
    (void)of;
    fault_server_open_gate(server);
}

Test(llm_account, l64_the_others_follow_when_the_first_is_being_answered)
{
#define SLOW CLOSED("429 Slow", "Retry-After: 7\r\n", "{}")
    static const struct fault_route routes[] = {FAULT_ON(NULL, SLOW),
        FAULT_ON(NULL, SLOW),
        FAULT_ON(NULL, FAULT_TEXT(HEAD("200 OK", "\r\n")), FAULT_DO_GATE(3),
            FAULT_TEXT(HI_BODY), FAULT_DO_CLOSE),
        FAULT_ON(NULL, OK)};

    /* Two are told to wait; of the other two the first one hangs in its
     * answer until the second one is done.
     */
    PLAY(routes, .count = 4, .max_retries = BELAY_LLM_NO_RETRIES,
        .no_budget = true, .on_end = let_go_on,
        .opts.rates = {.requests = 60, .burst = belay_seconds(2)});
    cr_expect(eq(int, seen.results[0].code, BELAY_EHTTP));
    cr_expect(eq(int, seen.results[1].code, BELAY_EHTTP));
    cr_expect(zero(int, seen.results[2].code), "%s", seen.results[2].message);
    cr_expect(zero(int, seen.results[3].code), "%s", seen.results[3].message);
    cr_expect(le(i64, seen.results[3].at_ns, 8 * S));
    finish();
}

static struct belay_slice
one_group(struct belay_slice model, void *arg)
{
    (void)model;
    (void)arg;
    return (struct belay_slice){"all", 3};
}

Test(llm_account, l60_models_have_rates_of_their_own_or_share_them)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, CLOSED("429 Slow", "Retry-After: 7\r\n", "{}"))};

    PLAY(routes, .max_retries = BELAY_LLM_NO_RETRIES, .no_budget = true,
        .count = 2, .in_turn = true, .other_body = "{\"model\":\"n\"}");
    cr_expect(zero(i64, seen.results[1].at_ns), "another model");
    finish();
    PLAY(routes, .max_retries = BELAY_LLM_NO_RETRIES, .no_budget = true,
        .count = 2, .in_turn = true, .other_body = "{\"model\":\"n\"}",
        .opts.rate_group = one_group);
    cr_expect(ge(i64, seen.results[1].at_ns, 7 * S));
    finish();
}

/* ---- L36: keys for gateways ---- */

/* The value of a header of a request that the server has seen; "": none. */
static char *
sent_header(size_t request_index, const char *name)
{
    static char value[128];
    struct fault_request request;
    const char *at;

    value[0] = '\0';
    cr_assert(fault_server_request(server, request_index, &request));
    request.bytes[request.head_len] = '\0';
    at = strstr(request.bytes, name);
    if (at != NULL) {
        (void)snprintf(value, sizeof(value), "%.*s",
            (int)strcspn(at + strlen(name), "\r"), at + strlen(name));
    }
    free(request.bytes);
    return value;
}

static void
expect_keys(enum ask ask, const char *body)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, BUSY)};
    char keys[4][64];

    PLAY(routes, .ask = ask, .body = body, .in_turn = true, .count = 2,
        .no_budget = true, .max_retries = 1,
        .opts.idempotency_header = "Idempotency-Key");
    cr_assert(eq(sz, fault_server_requests(server, NULL), 4));
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "%s",
            sent_header(i, "Idempotency-Key: "));
        cr_expect(eq(sz, strlen(keys[i]), 32));
    }
    cr_expect(eq(str, keys[0], keys[1]), "attempts of one call");
    cr_expect(eq(str, keys[2], keys[3]));
    cr_expect(ne(str, keys[0], keys[2]), "another call");
    finish();
}

Test(llm_account, l36_attempts_of_a_call_share_a_key_if_one_is_wanted)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, BUSY)};

    expect_keys(ASK_COMPLETE, BODY);
    expect_keys(ASK_STREAM, STREAM_BODY);
    expect_keys(ASK_SEND, BODY);
    PLAY(routes, .no_budget = true, .max_retries = 1);
    cr_expect(eq(str, sent_header(0, "dempotency"), (char *)""));
    finish();
}

Test(llm_account, l36_x8_a_header_that_cannot_be_one_is_refused)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    cr_expect(eq(int,
        run_play(routes, 1,
            (struct play){
                .no_budget = true, .opts.idempotency_header = "A: b\r\nC"}),
        BELAY_EINVAL));
    finish();
}

/* ---- leaving ---- */

/* A client whose calls, of an outer block, all wait for something of ours. */
Test(llm_account, leaving_ends_calls_that_wait_for_a_budget_or_a_rate)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};
    static const struct fault_route slow[] = {
        FAULT_ON(NULL, CLOSED("429 Slow", "Retry-After: 60\r\n", "{}"))};

    PLAY(routes, .count = 3, .opts.rates = {.requests = 1},
        .leave = belay_seconds(1), .no_budget = true);
    cr_expect(zero(int, seen.results[0].code));
    cr_expect(eq(int, seen.results[1].code, BELAY_ECLOSED));
    cr_expect(eq(int, seen.results[2].code, BELAY_ECLOSED));
    cr_expect(eq(sz, seen.ended, 3));
    finish();
    /* The first one holds the only room while it waits for its rate. */
    PLAY(slow, .count = 3, .leave = belay_seconds(1),
        .opts.rates = {.requests = 1}, .max_retries = BELAY_LLM_NO_RETRIES,
        .budget = {.limit = {{0}, 0, 1}, .policy = BELAY_BUDGET_WAIT});
    cr_expect(eq(int, seen.results[0].code, BELAY_EHTTP));
    cr_expect(eq(int, seen.results[1].code, BELAY_ECLOSED));
    cr_expect(eq(int, seen.results[2].code, BELAY_ECLOSED));
    cr_expect(eq(sz, seen.ended, 3));
    finish();
}

/* ---- L73-L77: the recorder ---- */

static char record_path[64];

/* A path for a new file; `ending` says which kind of recorder it is for. */
static void
make_record(const char *ending)
{
    int fd;

    (void)snprintf(record_path, sizeof(record_path),
        "/tmp/belay-account-XXXXXX%s", ending);
    fd = mkstemps(record_path, (int)strlen(ending));
    cr_assert(ge(int, fd, 0));
    cr_assert(zero(int, close(fd)));
}

Test(llm_account, l73_l74_each_attempt_is_recorded)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, BUSY), FAULT_ON(NULL, OK)};
    const char *text;

    make_record(".jsonl");
    PLAY(routes, .record = record_path, .no_budget = true);
    finish();
    text = file_text(record_path);
    cr_expect(eq(sz, count_in(text, "\"row\":\"start\""), 2));
    cr_expect(eq(sz, count_in(text, "\"body\":" BODY), 2));
    cr_expect(eq(sz, count_in(text, "\"number\":1"), 1), "%s", text);
    cr_expect(eq(sz, count_in(text, "\"number\":2"), 1));
    cr_expect(
        eq(sz, count_in(text, "\"status\":\"error\",\"http_status\":503"), 1));
    cr_expect(
        eq(sz, count_in(text, "\"status\":\"ok\",\"http_status\":200"), 1));
    cr_expect(eq(sz, count_in(text, "\"cost_picodollars\":17000000"), 1));
    cr_expect(eq(sz, count_in(text, ",\"model\":\"m-7\""), 1));
    cr_expect(eq(sz, count_in(text, "\"request_id\":\"req-1\""), 1));
    cr_expect(zero(sz, count_in(text, KEY)));
    cr_assert(zero(int, unlink(record_path)));
}

Test(llm_account, l74_l76_streams_and_what_quotes_the_key)
{
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, FAULT_TEXT(SSE_HEAD DELTA STOP USAGE DONE), FAULT_DO_CLOSE)};
    static const struct fault_route quoting[] = {FAULT_ON(
        NULL, CLOSED("401 No", "",
                  "{\"error\":{\"message\":\"wrong key " KEY "!\"}}"))};
    const char *text;

    make_record(".jsonl");
    PLAY(routes, .ask = ASK_STREAM, .body = STREAM_BODY, .record = record_path,
        .no_budget = true);
    finish();
    PLAY(quoting, .record = record_path, .no_budget = true);
    finish();
    text = file_text(record_path);
    cr_expect(eq(sz, count_in(text, "\"row\":\"end\""), 2));
    cr_expect(eq(sz, count_in(text, "\"body\":\"hello\""), 1), "%s", text);
    cr_expect(eq(sz, count_in(text, "wrong key *******************!"), 2));
    cr_expect(zero(sz, count_in(text, KEY)));
    cr_assert(zero(int, unlink(record_path)));
}

#define CALLING                                                               \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":" \
    "0,\"id\":\"c1\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"  \
    "\"finish_reason\":\"tool_calls\"}]}\n\n"
#define REFUSING                                                             \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"refusal\":\"not that\"}," \
    "\"finish_reason\":\"stop\"}]}\n\n"
#define SECOND                                                            \
    "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}," \
    "\"finish_reason\":\"stop\"}]}\n\n"

/* The end rows of a stream of these events. */
static const char *
record_stream(const char *events)
{
    const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(events), FAULT_DO_CLOSE)};
    const char *text;

    make_record(".jsonl");
    PLAY(routes, .ask = ASK_STREAM, .body = STREAM_BODY, .record = record_path,
        .no_budget = true);
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    finish();
    text = strstr(file_text(record_path), "\"row\":\"end\"");
    cr_assert(zero(int, unlink(record_path)));
    cr_assert(ne(ptr, (void *)(uintptr_t)text, NULL));
    return text;
}

Test(llm_account, l75_l77_all_that_a_stream_says_is_recorded)
{
    const char *text = record_stream(SSE_HEAD CALLING USAGE DONE);

    cr_expect(eq(sz, count_in(text, "\"status\":\"ok\""), 1));
    cr_expect(eq(sz,
                  count_in(text, "\"id\":\"c1\",\"type\":\"function\","
                                 "\"function\":{\"name\":\"f\",\"arguments\":"
                                 "\"{}\"}"),
                  1),
        "%s", text);
    text = record_stream(SSE_HEAD REFUSING USAGE DONE);
    cr_expect(
        eq(sz, count_in(text, "\"refusal\":\"not that\""), 1), "%s", text);
    text = record_stream(SSE_HEAD DELTA STOP SECOND USAGE DONE);
    cr_expect(eq(sz, count_in(text, "\"content\":\"hello\""), 1), "%s", text);
    cr_expect(eq(sz,
        count_in(text, "\"index\":1,\"message\":{\"role\":"
                       "\"assistant\",\"content\":\"other\"}"),
        1));
    text = record_stream(SSE_HEAD STOP USAGE DONE);
    cr_expect(eq(sz, count_in(text, "\"content\":\"\"}"), 1), "L77: %s", text);
}

Test(llm_account, l74_an_answer_of_no_use_is_recorded_as_an_error)
{
    static const struct fault_route useless[] = {
        FAULT_ON(NULL, CLOSED("200 OK", "", "{\"a\":1}"))};
    static const struct fault_route broken[] = {FAULT_ON(
        NULL, FAULT_TEXT(SSE_HEAD DELTA "data: {x}\n\n"), FAULT_DO_CLOSE)};
    static const struct fault_route cut[] = {
        FAULT_ON(NULL, FAULT_TEXT(SSE_HEAD DELTA), FAULT_DO_CLOSE)};
    static const char error[] = "\"status\":\"error\",\"http_status\":200";
    const char *text;

    make_record(".jsonl");
    PLAY(useless, .record = record_path, .no_budget = true, .max_retries = 1);
    cr_expect(eq(int, seen.results[0].code, BELAY_EREPLY));
    finish();
    text = file_text(record_path);
    cr_expect(eq(sz, count_in(text, error), 2), "%s", text);
    cr_expect(eq(sz, count_in(text, belay_code_text(BELAY_EREPLY)), 2));
    /* Whoever wants the bytes as they are has got them. */
    PLAY(useless, .ask = ASK_SEND, .record = record_path, .no_budget = true);
    finish();
    cr_expect(eq(sz, count_in(file_text(record_path), "\"status\":\"ok\""), 1));
    cr_assert(zero(int, unlink(record_path)));

    make_record(".jsonl");
    PLAY(broken, .ask = ASK_STREAM, .body = STREAM_BODY, .record = record_path,
        .no_budget = true);
    cr_expect(eq(int, seen.results[0].code, BELAY_EPROTO));
    finish();
    text = file_text(record_path);
    cr_expect(eq(sz, count_in(text, error), 1), "%s", text);
    cr_expect(eq(sz, count_in(text, belay_code_text(BELAY_EPROTO)), 1));
    PLAY(cut, .ask = ASK_STREAM, .body = STREAM_BODY, .record = record_path,
        .no_budget = true);
    finish();
    text = file_text(record_path);
    cr_expect(eq(sz, count_in(text, "\"status\":\"truncated\""), 1));
    cr_expect(eq(sz, count_in(text, belay_code_text(BELAY_ETRUNCATED)), 1));
    cr_assert(zero(int, unlink(record_path)));
}

/* ---- X10: what servers write is data ---- */

#define FORMATS "%s%s%s%n%n %99999d"
#define STATEMENTS "x'); DROP TABLE attempt; DELETE FROM message; --"

Test(llm_account, x10_what_a_server_writes_is_no_format_and_no_sql)
{
    static const struct fault_route failing[] = {
        FAULT_ON(NULL, CLOSED("400 " FORMATS, "",
                           "{\"error\":{\"message\":\"" FORMATS
                           "\",\"type\":\"" STATEMENTS "\"}}"))};
    static const struct fault_route answering[] = {FAULT_ON(
        NULL, CLOSED("200 OK", "X-Request-Id: " STATEMENTS "\r\n",
                  "{\"model\":\"" STATEMENTS "\",\"choices\":[{\"message\":"
                  "{\"content\":\"" STATEMENTS
                  "\",\"tool_calls\":[{\"id\":\"" STATEMENTS
                  "\",\"function\":{\"name\":\"" STATEMENTS
                  "\",\"arguments\":\"" STATEMENTS
                  "\"}}]},\"finish_reason\":\"" STATEMENTS "\"}]}"))};

    make_record(".db");
    PLAY(failing, .no_budget = true, .record = record_path);
    cr_expect(ne(ptr, strstr(seen.results[0].message, FORMATS), NULL), "%s",
        seen.results[0].message);
    finish();
    PLAY(answering, .no_budget = true, .record = record_path);
    cr_expect(zero(int, seen.results[0].code));
    finish();
    cr_expect(eq(str, query_text(record_path, "SELECT count(*) FROM attempt"),
        (char *)"2"));
    cr_expect(ne(str, query_text(record_path, "SELECT count(*) FROM message"),
        (char *)"0"));
    cr_assert(zero(int, unlink(record_path)));
}

/* ---- every cancel, every refused allocation ---- */

static void
sweep_play(const struct fault_route *routes, struct play arguments)
{
    char url[128];
    const int pid = fault_server_start_apart(routes, 1, url, sizeof(url));
    const struct program program = {.function = &play, .arguments = &arguments};

    make_record(".jsonl");
    arguments.base_url = url;
    arguments.record = record_path;
    arguments.count = 2;
    arguments.budget.limit.cost.pico = most_pico(BODY) * 3 / 2;
    arguments.budget.policy = BELAY_BUDGET_WAIT;
    arguments.opts.rates.requests = 60;
    sweep(&program);
    fault_server_stop_apart(pid);
    cr_assert(zero(int, unlink(record_path)));
}

Test(llm_account, l59_sweep_of_calls)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    sweep_play(routes, (struct play){.ask = ASK_COMPLETE});
}

Test(llm_account, l59_sweep_of_calls_with_retries)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, BUSY)};

    sweep_play(routes, (struct play){.ask = ASK_COMPLETE});
}

Test(llm_account, l59_sweep_of_calls_that_break)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, FAULT_DO_RESET)};

    sweep_play(routes, (struct play){.ask = ASK_SEND, .max_retries = 1});
}

Test(llm_account, l59_sweep_of_streams)
{
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, FAULT_TEXT(SSE_HEAD DELTA STOP USAGE DONE), FAULT_DO_CLOSE)};

    sweep_play(routes, (struct play){.ask = ASK_STREAM, .body = STREAM_BODY});
    sweep_play(
        routes, (struct play){.ask = ASK_STREAM_LEFT, .body = STREAM_BODY});
}

Test(llm_account, l59_sweep_of_a_client_that_is_left)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    sweep_play(routes, (struct play){.leave = belay_milliseconds(1500)});
}
