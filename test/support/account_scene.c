/* account_scene.c - calls and their budget, rates, prices and recorder. */
#include "test/support/account_scene.h"

#include "test/support/alloc.h"
#include "test/support/slice.h"
#include "test/support/trial_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEED 4711

struct seen seen;
struct fault_server *account_server;

static const char file[] =
    "{\"m\": {\"input_cost_per_token\": 1e-06, \"output_cost_per_token\": "
    "4e-06, \"input_cost_per_token_flex\": 5e-07, "
    "\"output_cost_per_token_flex\": 2e-06},"
    " \"p\": {\"input_cost_per_token\": 1e-06, \"output_cost_per_token\": "
    "4e-06, \"input_cost_per_token_priority\": 2e-06, "
    "\"output_cost_per_token_priority\": 8e-06},"
    " \"v\": {\"input_cost_per_token\": 1e-06}}";

int64_t
most_pico(const char *body)
{
    return (int64_t)(strlen(body) + 64) * 1000000 + 10 * INT64_C(4000000);
}

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

/* But for what attempts have used above what was held for them. */
static bool
is_within_cap(const struct belay_budget_stats *stats)
{
    const int64_t used = stats->spent.cost.pico + stats->uncertain.cost.pico;

    return stats->limit.cost.pico == 0
           || used - stats->excess.cost.pico <= stats->limit.cost.pico;
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
            .extra = slice(play->extra), .model = play->model,
            .messages = messages, .message_count = 1,
            .max_retries = play->max_retries, .on_attempt = note_attempt,
            .arg = play, .ledger = &seen.ledger),
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
BELAY__STEP(play)
const belay_function playing = {
    "play", __FILE__, sizeof(struct play), play__step, 0};
BELAY__BODY(play)
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

int
run_play(const struct fault_route *routes, size_t count, struct play arguments)
{
    belay_clock *clock = belay_clock_new(true);
    struct belay_result result = {0};
    char url[128];
    int code;

    account_server = fault_server_start(routes, count);
    (void)snprintf(url, sizeof(url), "%s", fault_server_url(account_server));
    arguments.base_url = url;
    sweep_with_server(
        &(const struct program){.function = &playing, .arguments = &arguments},
        url, sizeof(url), &account_server);
    code = belay_run(&playing, &arguments,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock),
        &result);
    belay_error_unref(result.error);
    belay_clock_free(clock);
    return code;
}

void
finish(void)
{
    fault_server_stop(account_server);
    account_server = NULL;
}

/* ---- a record ---- */

char record_path[64];

void
make_record(const char *ending)
{
    int fd;

    (void)snprintf(record_path, sizeof(record_path),
        "/tmp/belay-account-XXXXXX%s", ending);
    fd = mkstemps(record_path, (int)strlen(ending));
    cr_assert(ge(int, fd, 0));
    cr_assert(zero(int, close(fd)));
}
