/* dry_run.c - what a batch would do, without a network.
 *
 * Counts of tokens are estimates, and say so: the least is what no tokeniser
 * stays below by much, the most what none can pass (L52, L56). The answer is
 * expected to be half of what it may be.
 */
#include "llm/batch/dry_run.h"

#include "llm/batch/pass.h"
#include "llm/batch/progress.h"
#include "llm/budget/reserve.h"
#include "llm/printable.h"
#include "runtime/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_GUESS 256 /* tokens, where nothing limits it */
#define LEAST_ANSWER 1

/* ---- adding up ---- */

static void
add_to(int64_t *sum, int64_t more)
{
    if (__builtin_add_overflow(*sum, more, sum)) {
        *sum = INT64_MAX;
    }
}

static void
add_range(
    struct belay__dry_range *sum, int64_t low, int64_t expected, int64_t high)
{
    add_to(&sum->low, low);
    add_to(&sum->expected, expected);
    add_to(&sum->high, high);
}

static struct belay__dry_model *
model_of(struct belay__dry_run *dry, struct belay_slice name)
{
    char text[sizeof(dry->models[0].name)];
    size_t i = 0;

    (void)belay__printable(name, NULL, text, sizeof(text));
    while (i < dry->model_count && strcmp(dry->models[i].name, text) != 0) {
        i++;
    }
    if (i == BELAY__DRY_MODELS) {
        i--;
        (void)belay__printable(
            BELAY__REST, NULL, dry->models[i].name, sizeof(text));
        return &dry->models[i];
    }
    if (i == dry->model_count) {
        dry->model_count++;
        memcpy(dry->models[i].name, text, sizeof(text));
    }
    return &dry->models[i];
}

static int64_t
cost(const struct belay__batch_opts *opts,
    const struct belay_price_model *price, int64_t in, int64_t out)
{
    return belay_prices_cost(opts->prices, price, (struct belay_slice){NULL, 0},
        &(const struct belay_llm_usage){.in_total = in, .out_total = out})
        .amount.pico;
}

/* What nothing limits is not part of the most that the report tells. */
static int64_t
answer_most(const struct belay__batch_opts *opts,
    const struct belay_price_model *price,
    const struct belay__request_size *size)
{
    int64_t cap = size->output_cap;

    if (size->no_output) {
        return 0;
    }
    if (cap < 0 && price != NULL) {
        cap = price->max_output_tokens;
    }
    if (cap < 0 && opts->default_output_cap > 0) {
        cap = opts->default_output_cap;
    }
    if (cap >= 0 && __builtin_mul_overflow(cap, size->answers, &cap)) {
        cap = INT64_MAX;
    }
    return cap;
}

/* With what the server adds, as far as that has a bound. */
static int64_t
input_most(const struct belay_price_model *price,
    const struct belay__request_size *size)
{
    const int64_t bound = belay__request_bound(size);

    return size->adds_input && price != NULL && price->max_input_tokens > bound
               ? price->max_input_tokens
               : bound;
}

/* What a run would hold for it, and whether it would send it under a budget. */
static int
reserve(const struct belay__batch_opts *opts,
    const struct belay_price_model *price,
    const struct belay__request_size *size, int64_t *ret_pico)
{
    struct belay_amount most;
    const int code = belay__reserve_most(
        &(const struct belay__reserve_rules){
            .prices = opts->prices,
            .model = price,
            .mode = opts->reserve_expected ? BELAY__RESERVE_EXPECTED
                                           : BELAY__RESERVE_STRICT,
            .tier = size->tier,
            .default_output_cap = opts->default_output_cap,
        },
        size, &most);

    *ret_pico = most.cost.pico;
    return code;
}

static void
add_request(struct belay__dry_run *dry, const struct belay__batch_opts *opts,
    const struct belay__batch_request *request)
{
    const struct belay_slice name =
        opts->model != NULL
            ? (struct belay_slice){opts->model, strlen(opts->model)}
            : request->model;
    struct belay__dry_model *model = model_of(dry, name);
    struct belay__request_size size;
    struct belay_price_model entry;
    const struct belay_price_model *price = NULL;
    int64_t in;
    int64_t in_most;
    int64_t most;
    int64_t out;
    int64_t held;
    int64_t pico;
    int code;

    if (belay_prices_find(opts->prices, NULL, name, &entry) == 0) {
        price = &entry;
    }
    belay__request_measure(request->body, &size);
    size.no_output = belay__batch_is_without_output(request->url);
    in = belay__estimate_bytes(request->body);
    size.by_bytes = in;
    in_most = input_most(price, &size);
    code = reserve(opts, price, &size, &held);
    most = answer_most(opts, price, &size);
    out = most < 0 || most / 2 > ANSWER_GUESS ? ANSWER_GUESS : (most + 1) / 2;
    if (size.no_output) {
        out = 0;
    }
    model->lines++;
    model->unlimited += most < 0;
    model->unpriced += price == NULL;
    model->unbounded +=
        size.adds_input && (price == NULL || price->max_input_tokens < 0);
    dry->no_cap += code == BELAY_ENOCAP;
    dry->no_price += code == BELAY_ENOPRICE;
    most = most < 0 ? out : most;
    add_range(&model->in_tokens, in - in / 4, in, in_most);
    add_range(&model->out_tokens, size.no_output ? 0 : LEAST_ANSWER, out, most);
    if (price != NULL) {
        pico = cost(opts, price, in_most, most);
        pico = held > pico ? held : pico; /* of a dearer tier */
        if (code == 0 && held > dry->dearest) {
            dry->dearest = held;
        }
        add_range(&model->pico,
            cost(opts, price, in - in / 4, size.no_output ? 0 : LEAST_ANSWER),
            cost(opts, price, in, out), pico);
    }
}

static int
take_line(void *arg, const struct belay__batch_opts *opts,
    const struct belay__line *line, const struct belay__batch_request *request)
{
    struct belay__dry_run *dry = arg;

    dry->lines++;
    dry->bytes += line->text.len;
    if (request->fault == BELAY__BATCH_NONE) {
        add_request(dry, opts, request);
        return 0;
    }
    dry->faults[belay__batch_error_of(request->fault)]++;
    if (dry->bad++ == 0) {
        (void)snprintf(dry->first, sizeof(dry->first), "%s", request->message);
    }
    return 0;
}

belay_next
belay__batch_dry_run(belay_task *task, const struct belay__batch_opts *opts,
    struct belay__dry_run *ret)
{
    return belay__batch_pass(task, opts, take_line, ret);
}

/* ---- the report ---- */

static int
add_tokens(struct belay__buffer *buffer, const char *name,
    const struct belay__dry_range *range)
{
    char low[16];
    char expected[16];
    char high[16];

    belay__format_count((double)range->low, low, sizeof(low));
    belay__format_count((double)range->expected, expected, sizeof(expected));
    belay__format_count((double)range->high, high, sizeof(high));
    return belay__buffer_format(
        buffer, "    %-22s %12s %12s %12s\n", name, low, expected, high);
}

static int
add_cost(struct belay__buffer *buffer, const char *name,
    const struct belay__dry_range *range)
{
    char low[24];
    char expected[24];
    char high[24];

    belay__format_money(range->low, low, sizeof(low));
    belay__format_money(range->expected, expected, sizeof(expected));
    belay__format_money(range->high, high, sizeof(high));
    return belay__buffer_format(
        buffer, "    %-22s %12s %12s %12s\n", name, low, expected, high);
}

static int
add_unpriced(struct belay__buffer *buffer, const struct belay__dry_model *model,
    const struct belay__batch_opts *opts)
{
    const char *what = opts->budget.cost.pico > 0
                           ? "these lines will not be sent"
                           : "its cost will not be known";

    if (model->unpriced == model->lines) {
        return belay__buffer_format(
            buffer, "    no price in the file: %s\n", what);
    }
    return belay__buffer_format(buffer,
        "    no price in the file for %" PRIu64 " of them: %s\n",
        model->unpriced,
        opts->budget.cost.pico > 0 ? what : "their cost will not be known");
}

static int
add_model(struct belay__buffer *buffer, const struct belay__dry_model *model,
    const struct belay__batch_opts *opts)
{
    int code = belay__buffer_format(buffer, "  %-34s %10" PRIu64 " lines\n",
        model->name[0] != '\0' ? model->name : "(no model)", model->lines);

    if (code == 0) {
        code = add_tokens(buffer, "tokens in", &model->in_tokens);
    }
    if (code == 0) {
        code = add_tokens(buffer, "tokens out", &model->out_tokens);
    }
    if (code == 0 && model->unpriced < model->lines) {
        code = add_cost(buffer, "cost", &model->pico);
    }
    if (code == 0 && model->unpriced > 0 && opts->prices != NULL) {
        code = add_unpriced(buffer, model, opts);
    }
    if (code == 0 && model->unlimited > 0) {
        code = belay__buffer_format(buffer,
            "    nothing limits the answer of %" PRIu64
            " lines (--max-output-tokens)%s\n",
            model->unlimited,
            opts->budget.cost.pico > 0 ? ": these will not be sent" : "");
    }
    if (code == 0 && model->unbounded > 0) {
        code = belay__buffer_format(buffer,
            "    nothing limits what the server adds to %" PRIu64 " lines%s\n",
            model->unbounded,
            opts->budget.cost.pico > 0 && !opts->reserve_expected
                ? ": these will not be sent"
                : "");
    }
    return code;
}

static double
minutes_at(int64_t amount, int64_t per_minute)
{
    return per_minute > 0 ? (double)amount / (double)per_minute : 0;
}

/* The slowest model decides, since each has its own rate. */
static int
add_time(struct belay__buffer *buffer, const struct belay__dry_run *dry,
    const struct belay__batch_opts *opts)
{
    double most = 0;
    char span[24];

    for (size_t i = 0; i < dry->model_count; i++) {
        const struct belay__dry_model *model = &dry->models[i];
        const double by_requests =
            minutes_at((int64_t)model->lines, opts->requests_per_minute);
        const double by_tokens =
            minutes_at(model->in_tokens.expected + model->out_tokens.expected,
                opts->tokens_per_minute);

        most = by_requests > most ? by_requests : most;
        most = by_tokens > most ? by_tokens : most;
    }
    if (most <= 0) {
        return 0;
    }
    belay__format_span(most * 60, span, sizeof(span));
    return belay__buffer_format(
        buffer, "  at the given rates it takes at least %s\n", span);
}

/* "  without a price: a, b" */
static int
add_names_without_price(
    struct belay__buffer *buffer, const struct belay__dry_run *dry)
{
    const char *before = "  without a price: ";
    int code = 0;

    for (size_t i = 0; i < dry->model_count && code == 0; i++) {
        if (dry->models[i].unpriced > 0) {
            code = belay__buffer_format(buffer, "%s%s", before,
                dry->models[i].name[0] != '\0' ? dry->models[i].name
                                               : "(no model)");
            before = ", ";
        }
    }
    return code == 0 && before[0] == ',' ? belay__buffer_append(buffer, "\n", 1)
                                         : code;
}

/* What a run with this budget would not even try. */
static int
add_unsent(struct belay__buffer *buffer, const struct belay__dry_run *dry)
{
    int code;

    if (dry->no_price + dry->no_cap == 0) {
        return 0;
    }
    code = belay__buffer_format(buffer,
        "  not sent under a budget            %10" PRIu64 "\n",
        dry->no_price + dry->no_cap);
    if (code == 0 && dry->no_price > 0) {
        code = belay__buffer_format(
            buffer, "    %-33s%10" PRIu64 "\n", "no_price", dry->no_price);
    }
    if (code == 0 && dry->no_cap > 0) {
        code = belay__buffer_format(
            buffer, "    %-33s%10" PRIu64 "\n", "no_output_cap", dry->no_cap);
    }
    return code == 0 ? add_names_without_price(buffer, dry) : code;
}

static int
add_budget(struct belay__buffer *buffer, const struct belay__dry_run *dry,
    const struct belay__dry_range *sum, int64_t budget)
{
    const uint64_t sent = dry->lines - dry->bad - dry->no_price - dry->no_cap;
    char cap[24];
    char one[24];
    int code;

    belay__format_money(budget, cap, sizeof(cap));
    belay__format_money(dry->dearest, one, sizeof(one));
    if (sent == 0) {
        return belay__buffer_format(buffer, "  no line would be sent\n");
    }
    code = belay__buffer_format(buffer, "  one line may cost up to %s\n", one);
    if (code < 0) {
        return code;
    }
    if (budget < dry->dearest) {
        return belay__buffer_format(buffer,
            "  the budget of %s is below that: the run will stop there\n", cap);
    }
    if (sum->high > budget) {
        return belay__buffer_format(buffer, "  the budget of %s %s\n", cap,
            sum->expected <= budget
                ? "is enough if all goes as expected"
                : "is not enough; the run will stop there and can go on");
    }
    if (dry->no_price + dry->no_cap == 0) {
        return belay__buffer_format(
            buffer, "  the budget of %s is enough in any case\n", cap);
    }
    return belay__buffer_format(buffer,
        "  the budget of %s is enough for the %" PRIu64
        " lines that would be sent\n",
        cap, sent);
}

static int
add_total(struct belay__buffer *buffer, const struct belay__dry_run *dry,
    const struct belay__batch_opts *opts)
{
    struct belay__dry_range sum = {0};
    int code;

    for (size_t i = 0; i < dry->model_count; i++) {
        add_range(&sum, dry->models[i].pico.low, dry->models[i].pico.expected,
            dry->models[i].pico.high);
    }
    if (opts->prices == NULL) {
        return 0;
    }
    code = belay__buffer_format(buffer, "  all together\n");
    if (code == 0) {
        code = add_cost(buffer, "cost", &sum);
    }
    if (code < 0 || opts->budget.cost.pico == 0) {
        return code;
    }
    code = add_unsent(buffer, dry);
    return code == 0 ? add_budget(buffer, dry, &sum, opts->budget.cost.pico)
                     : code;
}

int
belay__dry_run_text(struct belay__buffer *buffer,
    const struct belay__dry_run *dry, const struct belay__batch_opts *opts)
{
    int code = belay__buffer_format(buffer,
        "  lines                              %10" PRIu64 "\n"
        "  not valid                          %10" PRIu64 "\n",
        dry->lines, dry->bad);

    for (int i = 1; i < BELAY__LINE_ERROR_COUNT && code == 0; i++) {
        if (dry->faults[i] > 0) {
            code = belay__buffer_format(buffer, "    %-33s%10" PRIu64 "\n",
                belay__line_error_code((enum belay__line_error)i),
                dry->faults[i]);
        }
    }
    if (code == 0 && dry->bad > 0) {
        code = belay__buffer_format(buffer, "    the first: %s\n", dry->first);
    }
    if (code == 0 && dry->model_count > 0) {
        code = belay__buffer_format(buffer, "\n    %-22s %12s %12s %12s\n",
            "estimates", "low", "expected", "high");
    }
    for (size_t i = 0; i < dry->model_count && code == 0; i++) {
        code = add_model(buffer, &dry->models[i], opts);
    }
    if (code == 0) {
        code = add_total(buffer, dry, opts);
    }
    return code == 0 ? add_time(buffer, dry, opts) : code;
}
