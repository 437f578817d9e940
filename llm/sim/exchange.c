/* exchange.c - a request to a page of a format, from its coming to its end.
 *
 * One admission scope round each request does the counting, so that the
 * counts are right however the request ends. Inside it the request is judged
 * first, then refused or answered.
 */
#include "llm/sim/internal.h"

#include <belay/async.h>

#include <stdio.h>
#include <time.h>

#define MADE_MAX ((size_t)1024 * 1024)
#define WIRE_MAX ((size_t)64 * 1024 * 1024)

/* ---- counting ---- */

struct admission {
    struct belay__sim_exchange *exchange;
};

static belay_next
admission_enter(belay_task *task, void *frame)
{
    struct belay__sim_exchange *exchange =
        ((struct admission *)frame)->exchange;
    struct belay__sim_stats *stats = &exchange->sim->stats;

    stats->hits++;
    stats->formats[exchange->format->number]++;
    stats->body_hash_sum += exchange->entry.body_hash;
    stats->in_flight++;
    if (stats->in_flight > stats->in_flight_max) {
        stats->in_flight_max = stats->in_flight;
    }
    return belay_return(task, NULL);
}

static belay_next
admission_exit(belay_task *task, void *frame)
{
    struct belay__sim_exchange *exchange =
        ((struct admission *)frame)->exchange;
    struct belay__sim *sim = exchange->sim;
    struct belay__sim_stats *stats = &sim->stats;
    struct belay__sim_entry *entry = &exchange->entry;

    belay__buffer_fini(&exchange->made);
    belay__buffer_fini(&exchange->wire);
    stats->in_flight--;
    stats->ends[entry->end]++;
    if (entry->end == BELAY__SIM_ANSWERED) {
        stats->prompt_tokens += entry->prompt_tokens;
        stats->completion_tokens += entry->completion_tokens;
    }
    if (sim->opts.log_fn != NULL) {
        entry->took =
            BELAY_DURATION_NS(belay_now(task).ns - exchange->began.ns);
        sim->opts.log_fn(entry, sim->opts.arg);
    }
    if (sim->opts.max_requests > 0
        && stats->hits - stats->in_flight >= sim->opts.max_requests) {
        belay_event_set(&sim->finished);
    }
    return belay_return(task, NULL);
}

static const belay_manager admission = {
    {"admission", __FILE__, sizeof(struct admission), admission_enter, 0},
    admission_exit};

/* ---- what will happen to it ---- */

static void
note_request(belay_task *task, struct belay__sim_exchange *exchange)
{
    struct belay__sim *sim = exchange->sim;
    const uint64_t hash = belay__sim_hash(exchange->call.request->body);
    const uint64_t attempt = belay__sim_see(&sim->seen, hash);

    belay__sim_draw_fate(&sim->opts, hash, attempt, &exchange->fate);
    if (sim->faulty) {
        belay__sim_draw_faults(&sim->opts, hash, attempt, &exchange->fate);
    }
    exchange->began = belay_now(task);
    belay__buffer_init(&exchange->made, sim->seen.memory, MADE_MAX);
    belay__buffer_init(&exchange->wire, sim->seen.memory, WIRE_MAX);
    exchange->request.wrong_at = SIZE_MAX;
    exchange->entry = (struct belay__sim_entry){
        .format = exchange->format->name,
        .body_hash = hash,
        .attempt = attempt < UINT32_MAX ? (uint32_t)attempt : UINT32_MAX,
        .status = 200,
        .end = BELAY__SIM_LEFT,
    };
}

/* A rule of the script, and what the request itself asks for; what they say
 * takes the place of what was drawn. False: there is no such fault.
 */
static bool
choose_fate(struct belay__sim_exchange *exchange)
{
    struct belay__sim *sim = exchange->sim;
    const char *wish =
        belay__request_header(exchange->call.request, "x-sim-fault");
    const struct belay__sim_rule *rule = NULL;

    if (sim->opts.script != NULL) {
        rule = belay__sim_script_find(
            sim->opts.script, &(const struct belay__sim_seen_request){
                                  .nth = sim->stats.hits,
                                  .attempt = exchange->entry.attempt,
                                  .path = exchange->call.request->path,
                                  .request = &exchange->request,
                              });
    }
    exchange->rule = rule;
    if (rule != NULL) {
        exchange->fate.faults = rule->faults;
        if (rule->where >= 0) {
            exchange->fate.where = rule->where;
        }
        if (rule->delay_ns >= 0) {
            exchange->fate.latency = BELAY_DURATION_NS(rule->delay_ns);
        }
    }
    return wish == NULL
           || belay__sim_faults_parse((struct belay_slice){wish, strlen(wish)},
               &exchange->fate.faults);
}

/* ---- judging ---- */

static const char *
why_of(int status)
{
    switch (status) {
    case 429:
        return "Rate limit reached for requests";
    case 500:
    case 502:
        return "The server had an error while processing your request";
    case 503:
    case 529:
        return "The engine is currently overloaded, try again later";
    default:
        return status < 500 ? "The request was refused, as the simulator was "
                              "asked to"
                            : "The server failed, as it was asked to";
    }
}

/* Needs what real servers of the format need besides a body. */
static const char *
missing_header(const struct belay__sim_exchange *exchange)
{
    return exchange->format->x_api_key
                   && belay__request_header(
                          exchange->call.request, "anthropic-version")
                          == NULL
               ? "anthropic-version: header is required"
               : NULL;
}

/* The status that its fate has for it. */
static int
fated_status(const struct belay__sim_exchange *exchange)
{
    const struct belay__sim_rule *rule = exchange->rule;
    const belay__sim_faults faults = exchange->fate.faults;
    int status = belay__sim_faults_status(faults);

    if (rule != NULL && rule->status != 0 && !rule->has_body) {
        status = rule->status;
    }
    if (belay__sim_has(faults, BELAY__FAULT_QUOTA)
        && exchange->format == &belay__sim_messages_format) {
        status = 402;
    }
    if (status == 200 && belay__sim_has(faults, BELAY__FAULT_ERROR_EVENT)
        && !exchange->request.stream) {
        status = 500; /* there is no stream to have it in */
    }
    return status;
}

/* The status that the request deserves; if it is not 200, *ret_why says why. */
static int
judge(struct belay__sim_exchange *exchange, const char **ret_why)
{
    const struct belay__sim *sim = exchange->sim;
    int status;

    if (!belay__sim_may(sim, exchange->call.request)) {
        *ret_why = "Incorrect API key provided";
        return 401;
    }
    *ret_why = missing_header(exchange);
    if (*ret_why == NULL) {
        *ret_why = belay__sim_read(
            exchange->format, exchange->call.request->body, &exchange->request);
    }
    if (*ret_why == NULL && !choose_fate(exchange)) {
        *ret_why = "x-sim-fault: no such fault";
    }
    if (*ret_why != NULL) {
        return 400;
    }
    exchange->entry.stream = exchange->request.stream;
    if (sim->opts.capacity > 0 && sim->stats.in_flight > sim->opts.capacity) {
        *ret_why = "Too many requests at once";
        return 429;
    }
    status = fated_status(exchange);
    *ret_why = why_of(status);
    return status;
}

/* ---- refusing ---- */

void
belay__sim_error_of(
    struct belay__sim_exchange *exchange, struct belay__sim_error *ret)
{
    static const struct belay_slice empty = {"insufficient_quota", 18};
    const struct belay__sim_rule *rule = exchange->rule;

    if (exchange->format->x_api_key && ret->status == 500) {
        ret->status = 529; /* what real ones break off with */
    }
    if (ret->message[0] == '\0') {
        ret->message = why_of(ret->status);
    }
    if (belay__sim_has(exchange->fate.faults, BELAY__FAULT_QUOTA)) {
        ret->message = "You exceeded your current quota";
        if (!exchange->format->x_api_key) {
            ret->type = empty;
            ret->code = empty;
        }
    }
    if (rule == NULL) {
        return;
    }
    if (rule->error_type.len > 0) {
        ret->type = rule->error_type;
    }
    if (rule->error_code.len > 0) {
        ret->code = rule->error_code;
    }
    if (rule->error_message != NULL) {
        ret->message = rule->error_message;
    }
}

static int
add_retry_headers(struct belay__sim_exchange *exchange)
{
    const struct belay__sim_opts *opts = &exchange->sim->opts;
    const belay__sim_faults faults = exchange->fate.faults;
    enum belay__sim_retry_form form = opts->retry_form;
    struct belay__reply *reply = exchange->call.reply;
    const int status = exchange->entry.status;
    char text[BELAY__SIM_RETRY_BYTES];
    const char *name;
    int code = 0;

    if (form == BELAY__SIM_RETRY_MIXED) {
        form = (enum belay__sim_retry_form)(
            exchange->fate.id % BELAY__SIM_RETRY_MIXED);
    }
    if ((status == 429 || status == 503 || status == 529)
        && (opts->retry_after.ns > 0 || form != BELAY__SIM_RETRY_SECONDS)) {
        name = belay__sim_retry_write(
            form, opts->retry_after, (int64_t)time(NULL), text);
        code = belay__reply_header(reply, name, text);
    }
    if (code == 0 && belay__sim_has(faults, BELAY__FAULT_RETRY_YES)) {
        code = belay__reply_header(reply, "x-should-retry", "true");
    }
    if (code == 0 && belay__sim_has(faults, BELAY__FAULT_RETRY_NO)) {
        code = belay__reply_header(reply, "x-should-retry", "false");
    }
    return code;
}

static int
write_error(
    struct belay__sim_exchange *exchange, int status, const char *message)
{
    char id[BELAY__SIM_HEX_BYTES];
    struct belay__sim_error error = {
        .status = status, .message = message, .request_id = id};
    struct belay__json_writer json;
    int code = add_retry_headers(exchange);

    belay__sim_hex("req_", exchange->fate.id, id);
    belay__sim_error_of(exchange, &error);
    error.status = status;
    if (code == 0) {
        code = belay__reply_header(
            exchange->call.reply, "Content-Type", "application/json");
    }
    belay__json_begin(&json, belay__reply_scratch(exchange->call.reply));
    exchange->format->error_fn(&json, &error);
    return code < 0 ? code : belay__json_end(&json);
}

static belay_next
refuse(belay_task *task, struct belay__sim_exchange *exchange, const char *why)
{
    struct belay__reply *reply = exchange->call.reply;
    const int status = exchange->entry.status;
    char text[128];
    int code;

    exchange->entry.end = BELAY__SIM_REFUSED;
    if (exchange->request.wrong_at != SIZE_MAX) {
        (void)snprintf(text, sizeof(text),
            "the body is not JSON: %s at byte %zu", why,
            exchange->request.wrong_at);
        why = text;
    }
    belay__sim_count_status(exchange->sim, status);
    if (status == 502 && exchange->rule == NULL) {
        /* From a gateway in between, which knows nothing of JSON. */
        return belay__reply_refuse(task, reply, status);
    }
    code = write_error(exchange, status, why);
    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    return belay__reply_send(
        task, reply, status, belay__buffer_slice(belay__reply_scratch(reply)));
}

static belay_next
redirect(belay_task *task, struct belay__sim_exchange *exchange)
{
    struct belay__reply *reply = exchange->call.reply;
    int code = belay__reply_header(reply, "Location", "/__sim/redirected");

    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    exchange->entry.status = 307;
    exchange->entry.end = BELAY__SIM_REFUSED;
    belay__sim_count_status(exchange->sim, 307);
    return belay__reply_send(task, reply, 307, (struct belay_slice){NULL, 0});
}

/* ---- answering ---- */

static uint64_t
pick_length(const struct belay__sim_exchange *exchange)
{
    const struct belay__sim_opts *opts = &exchange->sim->opts;
    struct belay__sim_dice dice = {
        opts->seed + belay__sim_hash(exchange->request.prompt)};
    const uint64_t more = opts->tokens_max - opts->tokens_min;

    return opts->tokens_min + belay__sim_roll(&dice) % (more + 1);
}

static bool
wants_call(
    const struct belay__sim_exchange *exchange, struct belay__sim_dice *dice)
{
    const struct belay__sim_request *request = &exchange->request;
    const double draw = belay__sim_draw(dice);

    if (request->tools.len == 0
        || request->tool_choice == BELAY__SIM_TOOL_NONE) {
        return false;
    }
    if (request->tool_choice == BELAY__SIM_TOOL_ANY) {
        return true;
    }
    /* What a tool has said is answered in words, or there would be no end. */
    return !request->answered && draw >= exchange->sim->opts.tool_text;
}

/* A call instead of words, if tools are offered. */
static void
pick_call(struct belay__sim_exchange *exchange)
{
    struct belay__sim_answer *answer = &exchange->answer;
    struct belay__sim_dice dice = {exchange->fate.id};
    struct belay__sim_words words = answer->words;

    if (wants_call(exchange, &dice)
        && belay__sim_make_call(&exchange->request, &dice, &words,
            &exchange->made, &answer->made)) {
        answer->calls = &answer->made;
        answer->call_count = 1;
        answer->has_text = false;
    }
}

static void
take_rule(struct belay__sim_exchange *exchange)
{
    const struct belay__sim_rule *rule = exchange->rule;
    struct belay__sim_answer *answer = &exchange->answer;

    if (rule->has_text || rule->has_calls) {
        answer->has_text = rule->has_text;
        answer->calls = rule->calls;
        answer->call_count = rule->call_count;
    }
    if (rule->has_text) {
        answer->pieces = rule->pieces;
        answer->text_tokens = rule->piece_count;
    }
}

static void
prepare_answer(struct belay__sim_exchange *exchange)
{
    const struct belay__sim_opts *opts = &exchange->sim->opts;
    struct belay__sim_answer *answer = &exchange->answer;

    belay__sim_words_init(&answer->words, opts->seed, exchange->request.prompt);
    answer->has_text = true;
    answer->text_tokens = pick_length(exchange);
    if (exchange->request.tools.len > 0) {
        pick_call(exchange);
    }
    if (exchange->rule != NULL) {
        take_rule(exchange);
    }
    if (!answer->has_text) {
        answer->text_tokens = 0;
    }
    /* Words go on for ever, so that a limit that is reached has cut them. */
    answer->cut_short =
        answer->has_text
        && (answer->text_tokens > exchange->request.max_tokens
            || (answer->pieces == NULL
                && answer->text_tokens == exchange->request.max_tokens));
    if (answer->cut_short) {
        answer->text_tokens = exchange->request.max_tokens;
    }
    answer->tokens = answer->text_tokens;
    for (size_t i = 0; i < answer->call_count; i++) {
        answer->tokens +=
            belay__sim_arguments_pieces(answer->calls[i].arguments);
    }
}

static void
prepare(struct belay__sim_exchange *exchange)
{
    const struct belay__sim_opts *opts = &exchange->sim->opts;

    if (exchange->format->step_fn != NULL) {
        prepare_answer(exchange);
        exchange->entry.completion_tokens =
            exchange->answer.tokens + belay__sim_reasoning(exchange);
    }
    exchange->entry.prompt_tokens = exchange->request.prompt_tokens;
    exchange->first = belay__sim_after(
        belay__sim_after(exchange->began, exchange->fate.latency.ns),
        opts->ttft.ns);
}

static int
add_headers(const struct belay__sim_exchange *exchange)
{
    struct belay__reply *reply = exchange->call.reply;
    const struct belay__sim_rule *rule = exchange->rule;
    char text[BELAY__SIM_HEX_BYTES];
    int code;

    belay__sim_hex("req_", exchange->fate.id, text);
    code = belay__reply_header(reply, exchange->format->request_id, text);
    if (code < 0) {
        return code;
    }
    belay__sim_hex("", exchange->entry.body_hash, text);
    code = belay__reply_header(reply, "x-sim-body-fnv1a64", text);
    for (size_t i = 0; code == 0 && rule != NULL && i < rule->header_count;
         i++) {
        code = belay__reply_header(
            reply, rule->headers[i].name, rule->headers[i].value);
    }
    return code;
}

/* ---- the page ---- */

static belay_next
respond(belay_task *task, struct belay__sim_exchange *exchange, const char *why)
{
    if (exchange->entry.status != 200) {
        return refuse(task, exchange, why);
    }
    if (belay__sim_has(exchange->fate.faults, BELAY__FAULT_REDIRECT)) {
        return redirect(task, exchange);
    }
    prepare(exchange);
    return belay__sim_answer(task, exchange);
}

struct page {
    struct belay__sim_exchange exchange; /* first */
    const char *why;
};

/* A rule's delay holds for refusals as well. */
static bool
is_delayed(const struct belay__sim_exchange *exchange)
{
    return exchange->rule != NULL && exchange->entry.status != 200
           && exchange->rule->delay_ns > 0;
}

static belay_next
page_step(belay_task *task, void *frame)
{
    struct page *self = frame;
    struct belay__sim_exchange *exchange = &self->exchange;

    BELAY_BEGIN;
    note_request(task, exchange);
    BELAY_WITH (BELAY_ENTER(admission, .exchange = exchange)) {
        exchange->entry.status = judge(exchange, &self->why);
        BELAY_CHECK(add_headers(exchange));
        if (belay__sim_has(exchange->fate.faults, BELAY__FAULT_STALL_HEAD)) {
            exchange->entry.end = BELAY__SIM_STALLED;
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
        if (is_delayed(exchange)) {
            BELAY_AWAIT(belay_sleep(task, exchange->fate.latency));
        }
        BELAY_AWAIT(respond(task, exchange, self->why));
        if (exchange->sim->opts.max_requests > 0
            && exchange->entry.end != BELAY__SIM_CUT) {
            /* It may be the last: the simulator closes behind it. */
            BELAY_AWAIT(belay__reply_flush(task, exchange->call.reply));
        }
    }
    BELAY_END;
}

static const belay_function page = {
    "exchange", __FILE__, sizeof(struct page), page_step, 0};

belay_next
belay__sim_exchange(belay_task *task, struct belay__sim *sim,
    const struct belay__sim_format *format, const struct belay__call *call)
{
    return belay_call(task, &page,
        &(const struct page){
            .exchange = {.call = *call, .sim = sim, .format = format}});
}
