/* client.c - the scope around all calls to one server.
 *
 * A generator manager: the HTTP client is its inner block. Calls may run in
 * tasks that outlive the block, and they use the client's memory; so leaving
 * ends them first and waits until the last has noticed (`calls` is 0).
 */
#include "llm/client.h"

#include "llm/budget/budget.h"
#include "llm/money/prices.h"
#include "llm/record/recorder.h"
#include "llm/stream.h"
#include "runtime/internal.h"

#include <string.h>

#define RETRIES 2
#define DRAINS 8

struct client_scope {
    belay_llm_client client; /* first: the scope is the client's memory */
    struct belay_llm_client_opts opts;
    /* Of what there is in opts; prices may be another runtime's, whose lives
     * are not known here: {0, 0} then.
     */
    struct belay__life prices;
    struct belay__life budget;
    struct belay__life recorder;
    belay_llm_client **ret;
};

const char *
belay__llm_client_label(const belay_llm_client *client)
{
    return client->accesses->endpoints[0] != NULL
               ? belay__http_endpoint_label(client->accesses->endpoints[0])
               : "the server";
}

/* ---- opening ---- */

static const char *
check_opts(const struct belay_llm_client_opts *opts)
{
    const struct belay__http_header idempotency = {
        opts->idempotency_header, {"x", 1}};

    if (opts->base_url == NULL) {
        return "no base_url is given";
    }
    if (opts->api_key != NULL && opts->key_source != NULL) {
        return "a key and a source of keys are given";
    }
    if (belay__provider_of(opts->format) == NULL) {
        return "there is no such format";
    }
    if (opts->max_retries < BELAY_LLM_NO_RETRIES) {
        return "max_retries is negative";
    }
    if (opts->retry_base.ns < 0 || opts->retry_cap.ns < 0
        || opts->retry_after_cap.ns < 0 || opts->connect_timeout.ns < 0
        || opts->first_byte_timeout.ns < 0 || opts->idle_timeout.ns < 0) {
        return "a time is negative";
    }
    if (opts->rates.requests < 0 || opts->rates.tokens < 0
        || opts->rates.in_tokens < 0 || opts->rates.out_tokens < 0
        || opts->rates.burst.ns < 0 || opts->rates.ramp.ns < 0) {
        return "a rate is negative";
    }
    if (opts->output_cap < 0) {
        return "output_cap is negative";
    }
    return opts->idempotency_header != NULL
               ? belay__http_headers_check(&idempotency, 1)
               : NULL;
}

static int
set_seed(belay_llm_client *client, uint64_t seed)
{
    client->random = seed;
    if (seed != 0) {
        return 0;
    }
    return uv_random(
        NULL, NULL, &client->random, sizeof(client->random), 0, NULL);
}

/* A copy of a text, which may be NULL. */
static int
copy_option(belay_llm_client *client, const char *text, char **ret)
{
    if (text != NULL) {
        *ret = belay__copy_text(client->memory, text, strlen(text));
    }
    return text != NULL && *ret == NULL ? BELAY_ENOMEM : 0;
}

static void
free_option(belay_llm_client *client, char *text)
{
    if (text != NULL) {
        belay__free(client->memory, text, strlen(text) + 1);
    }
}

static int
set_accounts(belay_llm_client *client, const struct belay_llm_client_opts *opts)
{
    const struct belay_llm_rates *rates = &opts->rates;

    client->output_cap = opts->output_cap;
    client->expect_input = opts->expect_input;
    client->unlimited = opts->unlimited;
    client->rated = !opts->unlimited
                    && (rates->requests | rates->tokens | rates->in_tokens
                           | rates->out_tokens)
                           != 0;
    belay__llm_models_init(&client->models, client->runtime, rates,
        opts->rate_group, opts->rate_arg);
    client->prices = belay_prices_ref(opts->prices);
    client->budget = belay_budget_ref(opts->budget);
    client->recorder = belay__recorder_ref(opts->recorder);
    return copy_option(client, opts->price_provider, &client->price_provider);
}

static void
drop_accounts(belay_llm_client *client)
{
    belay__llm_models_fini(&client->models);
    belay_prices_unref(client->prices);
    belay_budget_unref(client->budget);
    belay__recorder_unref(client->recorder);
    free_option(client, client->price_provider);
    free_option(client, client->idempotency_header);
    free_option(client, client->user_agent);
}

static int
open_client(belay_llm_client *client, const struct belay_llm_client_opts *opts,
    const char **ret_why)
{
    int code = set_seed(client, opts->seed);

    if (code == 0) {
        code = belay__life_begin(client->memory, &client->life);
    }
    client->policy = belay__llm_policy_of(opts->profile, opts->retry_base,
        opts->retry_cap, opts->retry_after_cap);
    client->spare_server = opts->profile == BELAY_LLM_INTERACTIVE;
    client->format = opts->format;
    client->key_source = opts->key_source;
    client->key_arg = opts->key_arg;
    client->max_retries = opts->max_retries != 0 ? opts->max_retries : RETRIES;
    client->connect_timeout = opts->connect_timeout;
    client->first_byte_timeout = opts->first_byte_timeout;
    client->idle_timeout = opts->idle_timeout;
    client->max_reply_bytes = opts->max_reply_bytes;
    client->max_drains = opts->max_drains > 0 ? opts->max_drains : DRAINS;
    if (code == 0) {
        code = set_accounts(client, opts);
    }
    if (code == 0) {
        code = copy_option(
            client, opts->idempotency_header, &client->idempotency_header);
    }
    if (code == 0) {
        code = copy_option(client, opts->user_agent, &client->user_agent);
    }
    if (code == 0) {
        code = belay__llm_access_open(client, opts, ret_why);
    }
    if (code < 0) {
        drop_accounts(client);
        belay__life_end(client->memory, &client->life);
    }
    return code;
}

/* ---- the scope ---- */

/* Waits in turns, not in an operation: that could be cut off by the grace,
 * and the calls would be left with a client that is gone. Each of them ends
 * in its next step.
 */
static belay_next
wait_for_calls(belay_task *task, void *self)
{
    struct client_scope *scope = self;

    if (scope->client.calls > 0) {
        return belay_then(task, wait_for_calls, belay__next(BELAY__HOW_TURN));
    }
    drop_accounts(&scope->client);
    belay__llm_access_free(&scope->client);
    belay__life_end(scope->client.memory, &scope->client.life);
    return belay_return(task, NULL);
}

static void
cancel_waiters(belay_llm_client *client)
{
    struct belay__llm_waiter *waiter = client->waiters;

    for (; waiter != NULL; waiter = waiter->next) {
        if (waiter->ticket != NULL) {
            belay__record_give_up(waiter->ticket);
        } else {
            belay_cancel_scope_cancel(
                waiter->scope, "the client is being left");
        }
    }
}

static belay_next
client_left(belay_task *task, void *self)
{
    struct client_scope *scope = self;

    scope->client.closing = true;
    belay_event_set(&scope->client.closed);
    belay__llm_models_close(&scope->client.models);
    cancel_waiters(&scope->client);
    belay__llm_access_close(&scope->client); /* ends the streams' exchanges */
    while (scope->client.streams != NULL) {
        belay__llm_stream_leave(scope->client.streams);
    }
    return wait_for_calls(task, self);
}

/* What is not there any more, or was left, since it was given or before; or
 * NULL. Then no pointer to it is followed; else references are taken now.
 */
static const char *
find_gone(const belay_task *task, const struct client_scope *scope)
{
    const struct belay_llm_client_opts *opts = &scope->opts;

    if (opts->prices != NULL && scope->prices.place != 0
        && !belay__is_there(task, scope->prices)) {
        return "the prices are gone";
    }
    if (opts->budget != NULL
        && (!belay__is_there(task, scope->budget)
            || belay__budget_is_over(opts->budget))) {
        return "the budget was left";
    }
    return opts->recorder != NULL
                   && (!belay__is_there(task, scope->recorder)
                       || belay__recorder_is_over(opts->recorder))
               ? "the recorder was left"
               : NULL;
}

static belay_next
client_opened(belay_task *task, void *self)
{
    struct client_scope *scope = self;
    const char *gone = find_gone(task, scope);
    const char *why = "an option is not valid";
    int code;

    if (gone != NULL) {
        return belay_fail(
            task, BELAY_ECLOSED, "client cannot be opened: %s", gone);
    }
    code = open_client(&scope->client, &scope->opts, &why);
    if (code < 0) {
        return belay_fail(task, code, "client cannot be opened: %s",
            code == BELAY_EINVAL ? why : belay_code_text(code));
    }
    /* The texts may be gone from here on. */
    scope->opts = (struct belay_llm_client_opts){.size = 0};
    *scope->ret = &scope->client;
    return belay_then(task, client_left, belay_yield(task, &scope->client));
}

static belay_next
client_after(belay_task *task, void *self)
{
    (void)self;
    return belay_pass(task);
}

static belay_next
client_enter(belay_task *task, void *self)
{
    struct client_scope *scope = self;
    const char *why = check_opts(&scope->opts);

    if (why != NULL) {
        return belay_fail(
            task, BELAY_EINVAL, "client cannot be opened: %s", why);
    }
    scope->client.runtime = belay_task_runtime(task);
    scope->client.memory = scope->client.runtime->memory;
    return belay_with(task, belay__http_open(task, NULL, &scope->client.http),
        client_opened, client_after);
}

belay_next
belay_llm_client_open(belay_task *task,
    const struct belay_llm_client_opts *opts, belay_llm_client **ret)
{
    static const belay_manager manager = {
        {"llm client", __FILE__, sizeof(struct client_scope), client_enter, 0},
        NULL};
    struct client_scope scope = {.ret = ret};

    if (opts->size != sizeof(*opts)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    scope.opts = *opts;
    if (opts->prices != NULL && opts->prices->memory == task->runtime->memory) {
        scope.prices = opts->prices->life;
    }
    if (opts->budget != NULL) {
        scope.budget = belay__budget_life(opts->budget);
    }
    if (opts->recorder != NULL) {
        scope.recorder = belay__recorder_life(opts->recorder);
    }
    return belay_enter(task, &manager, &scope);
}
