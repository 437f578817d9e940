/* account.c - the books that an attempt is entered into when it is over.
 *
 * Who knows what it has used decides what happens to the room it held: the
 * server's own count is spent; without one all of the room stays in doubt,
 * for what nobody counted may have been all of it, and what is known of it
 * that is more (L55). What was refused, or never sent, gives everything back.
 * Settling allocates nothing but what goes to the recorder, and a client that
 * is asked for many models an entry each.
 */
#include "llm/account.h"

#include "llm/budget/budget.h"
#include "llm/json/text.h"
#include "llm/provider/error.h"
#include "llm/provider/provider.h"
#include "llm/used.h"
#include "runtime/internal.h"

#include <strings.h>
#include <time.h>

#define WRITTEN_MAX ((size_t)64 * 1024 * 1024)

/* ---- a call ---- */

void
belay__llm_account_begin(const belay_task *task, const belay_llm_client *client,
    struct belay__llm_account *account)
{
    const struct belay__llm_turn *turn = account->turn;
    belay_budget *budget = turn != NULL ? turn->budget : NULL;
    belay_recorder *recorder = turn != NULL ? turn->recorder : NULL;

    if (budget == NULL && (client->budget != NULL || !client->uncounted)) {
        budget = belay__budget_innermost(task, client->budget);
    }
    if (recorder == NULL) {
        recorder = client->recorder;
    }
    if (recorder == NULL) {
        recorder = belay_recorder_current(task);
    }
    account->memory = client->memory;
    account->budget = belay_budget_ref(budget);
    account->recorder = belay__recorder_ref(recorder);
}

void
belay__llm_account_end(struct belay__llm_account *account)
{
    assert(!account->admitted);
    belay_budget_unref(account->budget);
    belay__recorder_unref(account->recorder);
    belay__llm_text_free(account->model_text);
    account->budget = NULL;
    account->recorder = NULL;
    account->model_text = NULL;
}

bool
belay__llm_account_is_free(
    const belay_llm_client *client, const struct belay__llm_account *account)
{
    return account->budget == NULL && account->recorder == NULL
           && account->ledger == NULL && client->models.groups == NULL
           && !client->rated;
}

/* The name from the body is looked up, and written down, as what it means.
 * Without memory it stays as it stands there, and is nobody's.
 */
static void
unescape(struct belay__llm_account *account)
{
    struct belay_slice *name = &account->size.model;
    uint32_t high = 0;

    if (name->len == 0 || memchr(name->data, '\\', name->len) == NULL) {
        return;
    }
    if (account->model_text != NULL) {
        account->model_text->len = 0;
    }
    if (belay__llm_text_append_string(&account->model_text, account->memory,
            (struct belay_slice){name->data - 1, name->len + 2}, &high, 0)
        == 0) {
        *name = belay__llm_text_slice(account->model_text);
    }
}

void
belay__llm_account_measure(struct belay__llm_account *account)
{
    const bool no_output = account->size.no_output;

    if (!account->measured) {
        account->estimated = false;
        belay__request_measure(account->body, &account->size);
        account->size.no_output = no_output;
        unescape(account);
        account->measured = true;
    }
}

void
belay__llm_account_weigh(struct belay__llm_account *account)
{
    belay__llm_account_measure(account);
    if (!account->estimated) {
        account->size.by_bytes = belay__estimate_bytes(account->body);
        account->estimated = true;
    }
}

int
belay__llm_account_find(belay_llm_client *client,
    struct belay__llm_account *account, struct belay__rate **ret_rate)
{
    struct belay__llm_group *group;
    int code = 0;

    belay__llm_account_measure(account);
    if (account->model == NULL) {
        code = belay__llm_model_find(
            &client->models, account->size.model, &account->model);
    }
    if (code == 0 && ret_rate != NULL) {
        code = belay__llm_model_group(&client->models, account->model, &group);
    }
    if (code == 0 && ret_rate != NULL) {
        *ret_rate = &group->rate;
    }
    return code;
}

const struct belay__estimator *
belay__llm_account_estimator(const struct belay__llm_account *account)
{
    return account->model != NULL ? &account->model->estimator : NULL;
}

/* ---- what it has used ---- */

static void
count(const struct belay__llm_account *account, belay_llm_reply *reply,
    struct belay_llm_usage *ret)
{
    if (reply->attempt.billed == BELAY_LLM_BILLED_NO) {
        *ret = (struct belay_llm_usage){.state = BELAY_LLM_USAGE_EXACT};
        return;
    }
    belay__used_count(belay__llm_account_estimator(account), account->body,
        &account->size, reply, ret);
}

static struct belay_cost
cost_of(const belay_llm_client *client, struct belay__llm_account *account,
    const belay_llm_reply *reply, const struct belay_llm_usage *usage)
{
    struct belay_price_model price;
    bool priced;

    if (reply->attempt.billed == BELAY_LLM_BILLED_NO) {
        return (struct belay_cost){{0}, false};
    }
    if (client->prices != NULL) {
        belay__llm_account_measure(account); /* for the tier */
    }
    priced = belay_prices_find(client->prices, client->price_provider,
                 account->size.model, &price)
             == 0;
    return belay__used_cost(client->prices, client->price_provider,
        priced ? &price : NULL, &account->size, reply, usage);
}

/* ---- the budget ---- */

static void
settle_budget(struct belay__llm_account *account, const belay_llm_reply *reply,
    const struct belay_llm_usage *usage, struct belay_cost cost)
{
    const struct belay_amount used = belay__used_amount(usage, cost);
    struct belay__caps caps;

    if (account->held.budget == NULL) {
        return;
    }
    belay__budget_caps(account->budget, &caps);
    if (reply->attempt.billed == BELAY_LLM_BILLED_NO) {
        belay_budget_settle(&account->held, NULL);
    } else if (belay__used_is_exact(usage, &account->size)
               && !(cost.at_least && caps.cost)) {
        belay_budget_settle(&account->held, &used);
    } else {
        belay__budget_doubt(&account->held, &used);
    }
}

/* ---- the rates ---- */

static struct belay_slice
get_header(const void *arg, const char *name)
{
    return belay__http_reply_header(arg, name);
}

/* Does any header tell of rates? One look over all, which most answers are
 * done with.
 */
static bool
tells_rates(const belay_llm_reply *reply)
{
    static const char word[] = "ratelimit-";
    const struct belay__buffer *head = &reply->http.head;
    const char *at = head->data;
    size_t left = head->len;

    while (left >= sizeof(word) - 1
           && (at = memchr(at, '-', left - (sizeof(word) - 2))) != NULL) {
        at++;
        left = head->len - (size_t)(at - head->data);
        if (left >= sizeof(word) - 1
            && strncasecmp(at, word, sizeof(word) - 1) == 0) {
            return true;
        }
    }
    return false;
}

/* The limits of those who come after: what the server says of its own, and
 * how long nobody should come (L63, L64).
 */
static void
learn_rates(belay_llm_client *client, struct belay__llm_account *account,
    const belay_llm_reply *reply, int64_t pause_ns)
{
    const struct belay__llm_headers headers = {get_header, &reply->http};
    const bool told = reply->attempt.status != 0 && tells_rates(reply);
    struct belay__rate *rate = NULL;

    if (client->unlimited || client->closing || (!told && pause_ns == 0)
        || belay__llm_account_find(client, account, &rate) < 0) {
        return; /* without memory it is learned another time */
    }
    if (pause_ns > 0) {
        belay__rate_pause(rate, pause_ns);
    }
    if (told) {
        belay__rate_learn(rate, &headers);
    }
}

static void
learn_use(struct belay__llm_model *model,
    const struct belay__request_size *size, const struct belay_llm_usage *usage)
{
    belay__used_learn(&model->estimator,
        model->group != NULL ? &model->group->rate : NULL, size, usage);
}

/* ---- the recorder ---- */

static enum belay__record_status
status_of(const struct belay__llm_account *account,
    const belay_llm_reply *reply, const struct belay_llm_usage *usage)
{
    const struct belay_llm_attempt *attempt = &reply->attempt;
    const int code = attempt->code < 0 ? attempt->code : account->code;
    const bool good = code == 0 && attempt->status / 100 == 2;

    if (code == BELAY_ECANCELED) {
        return BELAY__RECORD_CANCELLED;
    }
    if (code == BELAY_ETRUNCATED
        || (good && usage->state == BELAY_LLM_USAGE_PARTIAL)) {
        return BELAY__RECORD_TRUNCATED;
    }
    return good ? BELAY__RECORD_OK : BELAY__RECORD_ERROR;
}

/* The server's words for what is wrong, or ours; `buffer` is for those. */
static struct belay_slice
message_of(const struct belay__llm_account *account,
    const belay_llm_reply *reply, struct belay__buffer *buffer)
{
    const struct belay_llm_attempt *attempt = &reply->attempt;
    struct belay__provider_error error;
    const char *word = "";
    struct belay_slice text;

    if (attempt->code < 0) {
        word = belay_code_text(attempt->code);
    } else if (account->code < 0) {
        word = belay_code_text(account->code);
    }
    text = (struct belay_slice){word, strlen(word)};
    if (attempt->code < 0) {
        return text;
    }
    if (reply->answer.error_message != NULL) {
        text = belay__llm_text_slice(reply->answer.error_message);
    } else if (attempt->status / 100 != 2) {
        belay__provider_error_parse(belay_llm_reply_body(reply), &error);
        if (error.message.type == BELAY__JSON_STRING
            && belay__json_append_decoded(buffer, error.message.raw) == 0) {
            text = belay__buffer_slice(buffer);
        }
    }
    return text;
}

/* What a stream has put together: just its text, if that is all. */
static bool
is_bare_text(const struct belay__answer *answer)
{
    const struct belay__choice *choice = &answer->choices[0];

    return answer->choice_count == 1 && choice->tool_count == 0
           && belay__stretch_slice(choice, BELAY__TEXT).len > 0
           && belay__stretch_slice(choice, BELAY__REFUSAL).len == 0
           && belay__stretch_slice(choice, BELAY__REASONING).len == 0;
}

/* Without memory for more there is the text. */
static void
write_stream(belay_llm_reply *reply, struct belay__buffer *buffer,
    struct belay__record_end *end)
{
    if (!is_bare_text(&reply->answer)
        && belay__answer_write(&reply->answer, buffer) == 0) {
        end->body = belay__buffer_slice(buffer);
        end->checked = true;
    } else {
        end->body = belay_llm_reply_text(reply);
    }
}

/* May a text of it have been cut, maybe within a secret: by the connection, by
 * the model's limit, or by what nobody here knows?
 */
static bool
may_be_cut(const belay_llm_reply *reply, const struct belay__record_end *end)
{
    if (end->status != BELAY__RECORD_OK
        || !(end->checked || reply->answer.live)) {
        return true;
    }
    for (size_t i = 0; i < reply->answer.choice_count; i++) {
        const enum belay_llm_end how = reply->answer.choices[i].end;

        if (how == BELAY_LLM_END_UNKNOWN || belay__llm_end_cuts(how)) {
            return true;
        }
    }
    return false;
}

static void
finish_record(const belay_llm_client *client,
    struct belay__llm_account *account, belay_llm_reply *reply,
    const struct belay_llm_usage *usage, struct belay_cost cost)
{
    const bool good = reply->parsed && reply->answer.choice_count > 0;
    struct belay__buffer message;
    struct belay__buffer written;
    struct belay__record_end end = {
        .status = status_of(account, reply, usage),
        .attempt = &reply->attempt,
        .now = {belay__clock_now(client->runtime)},
        .body = belay_llm_reply_body(reply),
        .checked =
            reply->parsed && reply->parse_code == 0 && !reply->answer.live,
        .usage = usage,
        .cost = cost,
        .secrets = belay__llm_account_secrets(account),
    };

    if (account->ticket.recorder == NULL) {
        return;
    }
    end.cut = may_be_cut(reply, &end);
    end.request_id = belay__llm_reply_request_id(reply);
    if (reply->parsed) {
        end.model = reply->answer.model.span;
    }
    if (good) {
        (void)belay_llm_reply_end(reply, &end.end);
    }
    if (end.end.len == BELAY__WORD_MAX) { /* cut, maybe within a secret */
        end.end.len = 0;
    }
    belay__buffer_init(&message, reply->memory, WRITTEN_MAX);
    end.message = message_of(account, reply, &message);
    belay__buffer_init(&written, reply->memory, WRITTEN_MAX);
    if (good && end.body.len == 0) { /* a stream */
        write_stream(reply, &written, &end);
    }
    belay__record_finish(&account->ticket, &end);
    belay__buffer_fini(&written);
    belay__buffer_fini(&message);
}

/* ---- all of it ---- */

void
belay__llm_settle(belay_llm_client *client, struct belay__llm_account *account,
    belay_llm_reply *reply, int64_t pause_ns)
{
    struct belay_llm_usage usage;
    struct belay_cost cost;

    learn_rates(client, account, reply, pause_ns);
    if (!account->admitted) {
        return;
    }
    account->admitted = false;
    count(account, reply, &usage);
    cost = cost_of(client, account, reply, &usage);
    cost.at_least |= usage.state != BELAY_LLM_USAGE_EXACT; /* it is a guess */
    if (account->model != NULL
        && belay__used_is_exact(&usage, &account->size)) {
        learn_use(account->model, &account->size, &usage);
    }
    settle_budget(account, reply, &usage, cost);
    belay__used_settle_rate(
        &account->use, &reply->attempt, &account->size, &usage);
    finish_record(client, account, reply, &usage, cost);
    if (account->ledger != NULL) {
        belay_ledger_add(account->ledger,
            usage.state == BELAY_LLM_USAGE_UNKNOWN ? NULL : &usage, cost);
    }
}
