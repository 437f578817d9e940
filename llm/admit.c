/* admit.c - what an attempt waits for before it is sent.
 *
 *   budget -> rates -> key -> recorder -> admitted
 *
 * In this order: a call that its budget refuses waits for nothing else, and
 * one that is let go by its rates is sent at once, with a key that has not
 * waited with it. Whatever ends the way gives back what was passed.
 */
#include "llm/account.h"
#include "llm/budget/budget.h"
#include "llm/error.h"
#include "llm/printable.h"
#include "llm/provider/provider.h"
#include "llm/used.h"
#include "runtime/internal.h"

#include <belay/async.h>
#include <belay/timeout.h>

#define NAME_BYTES 104 /* room for that of a model, in messages */

struct admit {
    belay_llm_client *client;
    struct belay__llm_account *account;
    const struct belay__provider *provider;
    uint32_t number;
    struct belay__llm_waiter waiter; /* with a ticket: among the client's */
};

/* ---- giving up ---- */

/* Gives back what was passed; the error is passed on. */
static void
give_back(struct belay__llm_account *account)
{
    belay_budget_settle(&account->held, NULL);
    belay__rate_settle(&account->use, BELAY__RATE_UNSENT, NULL);
}

static belay_next
refuse(belay_task *task, const struct admit *admit, int code)
{
    const struct belay__llm_account *account = admit->account;
    char model[NAME_BYTES];

    (void)belay__printable(account->size.model,
        belay__llm_account_secrets(account), model, sizeof(model));
    if (code == BELAY_ENOCAP && account->size.adds_input) {
        return belay_fail(task, code,
            "request cannot be sent: neither it nor a price file limits the "
            "answer of model '%s', or what it is to read besides, and its "
            "budget has a cap",
            model);
    }
    if (code == BELAY_ENOCAP) {
        return belay_fail(task, code,
            "request cannot be sent: neither it nor a price file limits the "
            "answer of model '%s', whose budget has a cap",
            model);
    }
    if (code == BELAY_ENOPRICE) {
        return belay_fail(task, code,
            "request cannot be sent: model '%s' has no price, and its budget "
            "limits money",
            model);
    }
    return belay_fail(task, code, NULL);
}

/* ---- waiting for what the end of the client cuts short ---- */

static void
join_waiters(belay_llm_client *client, struct belay__llm_waiter *waiter)
{
    waiter->next = client->waiters;
    client->waiters = waiter;
}

static void
leave_waiters(belay_llm_client *client, struct belay__llm_waiter *waiter)
{
    struct belay__llm_waiter **link = &client->waiters;

    while (*link != waiter) {
        link = &(*link)->next;
    }
    *link = waiter->next;
}

/* ---- the end ---- */

/* All was passed; but there may be no client any more to send it. */
static belay_next
passed(belay_task *task, const struct admit *admit)
{
    struct belay__llm_account *account = admit->account;

    if (admit->client->closing) {
        belay__record_finish(&account->ticket,
            &(const struct belay__record_end){
                .status = BELAY__RECORD_CANCELLED, .now = belay_now(task)});
        give_back(account);
        return belay_fail(task, BELAY_ECLOSED,
            "the client was left before the request was sent");
    }
    account->admitted = true;
    return belay_return(task, NULL);
}

/* ---- the recorder ---- */

static belay_next
recorded(belay_task *task, void *self)
{
    struct admit *admit = self;
    const int code = belay_result(task)->code;

    if (admit->waiter.ticket != NULL) {
        leave_waiters(admit->client, &admit->waiter);
    }
    if (code == BELAY_ECLOSED && admit->client->closing) {
        give_back(admit->account);
        return belay_fail(task, code,
            "the client was left while a call waited for its recorder");
    }
    if (code == BELAY_ECLOSED) {
        give_back(admit->account);
        return belay_fail(
            task, code, "the call's recorder was left, which is strict");
    }
    if (code < 0) {
        give_back(admit->account);
        return belay_pass(task);
    }
    return passed(task, admit);
}

static belay_next
record(belay_task *task, struct admit *admit)
{
    struct belay__llm_account *account = admit->account;
    const struct belay__llm_turn *turn = account->turn;
    const struct belay__record_start start = {
        .session = turn != NULL ? turn->session : NULL,
        .turn = turn != NULL ? turn->turn : NULL,
        .parent_turn = turn != NULL ? turn->parent_turn : NULL,
        .number = admit->number,
        .endpoint = belay__llm_client_label(admit->client),
        .provider = admit->provider->name,
        .model = account->size.model,
        .body = account->body,
        .checked = account->checked,
        .secrets = belay__llm_account_secrets(account),
    };
    belay_next next;

    if (account->recorder == NULL) {
        return passed(task, admit);
    }
    next =
        belay__record_begin(task, account->recorder, &start, &account->ticket);
    if (belay__record_waits(&account->ticket)) {
        admit->waiter.ticket = &account->ticket;
        join_waiters(admit->client, &admit->waiter);
    }
    return belay_then(task, recorded, next);
}

/* ---- the key ---- */

static belay_next
take_key(belay_task *task, struct admit *admit)
{
    const int code =
        belay__llm_access_take(admit->client, &admit->account->access);
    belay_error *error;

    if (code < 0) {
        give_back(admit->account);
        error = belay__llm_error_key(task, admit->client, code);
        return error != NULL ? belay_fail_with(task, error)
                             : belay_fail(task, code, NULL);
    }
    return record(task, admit);
}

/* ---- the rates ---- */

static belay_next
taken(belay_task *task, void *self)
{
    struct admit *admit = self;

    if (belay_result(task)->code < 0) {
        give_back(admit->account);
        return belay_pass(task);
    }
    return take_key(task, admit);
}

/* What the buckets are asked for: the server counts what an answer may take,
 * if it was told, when the request comes (L65 has the difference).
 */
static struct belay__rate_use
expected_use(
    const struct belay__llm_account *account, const struct belay__rate *rate)
{
    const struct belay__estimator *estimator = &account->model->estimator;
    int64_t out = account->size.output_cap;

    if (out < 0) {
        out = estimator->out_tokens;
    }
    if (__builtin_mul_overflow(out, account->size.answers, &out)) {
        out = INT64_MAX;
    }
    return belay__used_expect(rate, estimator, &account->size, out);
}

static belay_next
take_rates(belay_task *task, struct admit *admit)
{
    struct belay__llm_account *account = admit->account;
    const belay_llm_client *client = admit->client;
    struct belay__rate *rate;

    if (!client->rated && client->models.groups == NULL) {
        return take_key(task, admit);
    }
    if (belay__llm_account_find(admit->client, account, &rate) < 0) {
        give_back(account);
        return belay_fail(task, BELAY_ENOMEM, NULL);
    }
    if (belay__rate_counts_tokens(rate)) {
        belay__llm_account_weigh(account);
    }
    account->use = expected_use(account, rate);
    if (belay__rate_take_now(rate, &account->use)) {
        return take_key(task, admit);
    }
    return belay_then(task, taken, belay__rate_take(task, rate, &account->use));
}

/* ---- the budget ---- */

/* A wait for room, which the end of the client cuts short. */
struct wait_room {
    belay_llm_client *client;
    belay_budget *budget;
    struct belay_amount most;
    struct belay_reservation *ret;
    struct belay__llm_waiter waiter;
};

BELAY_ASYNC(wait_room)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(
        task, BELAY_CANCEL_SCOPE_OPTS(.name = "budget"), &self->waiter.scope)) {
        /* Other tasks may have run in front of this step. */
        if (!self->client->closing) {
            join_waiters(self->client, &self->waiter);
            BELAY_TRY(belay_budget_reserve(
                task, self->budget, &self->most, self->ret));
            leave_waiters(self->client, &self->waiter);
            if (belay_result(task)->code < 0) {
                return belay_pass(task);
            }
        }
    }
    if (self->ret->budget == NULL && self->client->closing) {
        return belay_fail(task, BELAY_ECLOSED,
            "the client was left while a call waited for its budget");
    }
    BELAY_END;
}

static belay_next
room_found(belay_task *task, void *self)
{
    struct admit *admit = self;

    return belay_result(task)->code < 0 ? belay_pass(task)
                                        : take_rates(task, admit);
}

/* What the attempt may use at most. BELAY_ENOCAP, BELAY_ENOPRICE: nobody
 * knows, and its budgets want to.
 */
static int
find_most(const struct admit *admit, struct belay_amount *ret)
{
    const belay_llm_client *client = admit->client;
    const struct belay__llm_account *account = admit->account;
    struct belay__caps caps;
    struct belay_price_model price;
    const bool priced = belay_prices_find(client->prices,
                            client->price_provider, account->size.model, &price)
                        == 0;
    struct belay__reserve_rules rules = {
        .prices = client->prices,
        .model = priced ? &price : NULL,
        .estimator = account->model != NULL ? &account->model->estimator : NULL,
        .mode = client->expect_input ? BELAY__RESERVE_EXPECTED
                                     : BELAY__RESERVE_STRICT,
        .tier = account->size.tier,
        .default_output_cap = client->output_cap,
    };
    int code;

    belay__budget_caps(account->budget, &caps);
    rules.uncapped = !caps.output;
    code = belay__reserve_most(&rules, &account->size, ret);
    return code == BELAY_ENOPRICE && !caps.cost ? 0 : code;
}

static belay_next
hold_room(belay_task *task, struct admit *admit)
{
    struct belay__llm_account *account = admit->account;
    struct belay_amount most;
    int code = 0;

    if (admit->client->expect_input) {
        belay__llm_account_weigh(account);
        code = belay__llm_account_find(admit->client, account, NULL);
    }
    if (code == 0) {
        code = find_most(admit, &most);
    }
    if (code < 0) {
        return refuse(task, admit, code);
    }
    if (belay__budget_hold(account->budget, &most, &account->held)) {
        return take_rates(task, admit);
    }
    return belay_then(task, room_found,
        BELAY_CALL(wait_room, .client = admit->client,
            .budget = account->budget, .most = most, .ret = &account->held));
}

static belay_next
admit_begin(belay_task *task, void *self)
{
    struct admit *admit = self;
    struct belay__llm_account *account = admit->account;

    /* Who only writes it down need not read all of it. */
    if (account->name.len > 0 && account->budget == NULL) {
        account->size.model = account->name;
    } else {
        belay__llm_account_measure(account);
    }
    return account->budget != NULL ? hold_room(task, admit)
                                   : take_rates(task, admit);
}

belay_next
belay__llm_admit(belay_task *task, belay_llm_client *client,
    struct belay__llm_account *account, const struct belay__provider *provider,
    uint32_t number)
{
    static const belay_function function = {
        "llm admit", __FILE__, sizeof(struct admit), admit_begin, 0};

    return belay_call(task, &function,
        &(const struct admit){.client = client,
            .account = account,
            .provider = provider,
            .number = number});
}
