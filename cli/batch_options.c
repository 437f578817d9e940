/* batch_options.c - the command line of `belay batch`. */
#include "cli/batch_options.h"
#include "cli/batch_usage.h"

#include "cli/key.h"
#include "cli/options.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAT_URL "/v1/chat/completions"
#define DEFAULT_CONCURRENCY 64
#define COUNT_MAX UINT64_C(1000000000000) /* of tokens and requests */

enum option_id {
    OPTION_ERRORS = 256,
    OPTION_OVERWRITE,
    OPTION_FORCE,
    OPTION_RETRY_FAILED,
    OPTION_IN_DOUBT,
    OPTION_BASE_URL,
    OPTION_KEY_ENV,
    OPTION_KEY_FILE,
    OPTION_MODEL,
    OPTION_SIM,
    OPTION_SIM_LATENCY,
    OPTION_SIM_FAULTS,
    OPTION_ALLOW_HTTP,
    OPTION_INSECURE,
    OPTION_CA_FILE,
    OPTION_NO_PROXY,
    OPTION_START,
    OPTION_RPM,
    OPTION_TPM,
    OPTION_BUDGET,
    OPTION_PRICES,
    OPTION_REPORT,
    OPTION_DRY_RUN,
    OPTION_STATUS,
    OPTION_RESERVE,
    OPTION_MAX_OUTPUT,
    OPTION_PATIENCE,
    OPTION_MAX_RETRIES,
    OPTION_TIMEOUT,
    OPTION_DRAIN_TIMEOUT,
    OPTION_EXPIRE,
    OPTION_EMIT_SKIPPED,
    OPTION_ORDER,
    OPTION_WINDOW,
    OPTION_SYNC,
    OPTION_MAX_LINE,
    OPTION_MAX_REPLY,
    OPTION_INPUT_FORMAT,
    OPTION_STRICT,
    OPTION_CHECK_HOSTED,
    OPTION_NO_ID_CHECK,
    OPTION_SEED,
    OPTION_PROGRESS,
};

static const struct option options[] = {
    {"output", required_argument, NULL, 'o'},
    {"errors", required_argument, NULL, OPTION_ERRORS},
    {"overwrite", no_argument, NULL, OPTION_OVERWRITE},
    {"force", no_argument, NULL, OPTION_FORCE},
    {"retry-failed", no_argument, NULL, OPTION_RETRY_FAILED},
    {"in-doubt", required_argument, NULL, OPTION_IN_DOUBT},
    {"base-url", required_argument, NULL, OPTION_BASE_URL},
    {"api-key-env", required_argument, NULL, OPTION_KEY_ENV},
    {"api-key-file", required_argument, NULL, OPTION_KEY_FILE},
    {"model", required_argument, NULL, OPTION_MODEL},
    {"sim", no_argument, NULL, OPTION_SIM},
    {"sim-latency", required_argument, NULL, OPTION_SIM_LATENCY},
    {"sim-faults", required_argument, NULL, OPTION_SIM_FAULTS},
    {"allow-http", no_argument, NULL, OPTION_ALLOW_HTTP},
    {"insecure", no_argument, NULL, OPTION_INSECURE},
    {"ca-file", required_argument, NULL, OPTION_CA_FILE},
    {"no-proxy", no_argument, NULL, OPTION_NO_PROXY},
    {"concurrency", required_argument, NULL, 'c'},
    {"start", required_argument, NULL, OPTION_START},
    {"rpm", required_argument, NULL, OPTION_RPM},
    {"tpm", required_argument, NULL, OPTION_TPM},
    {"budget", required_argument, NULL, OPTION_BUDGET},
    {"prices", required_argument, NULL, OPTION_PRICES},
    {"report", required_argument, NULL, OPTION_REPORT},
    {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
    {"status", no_argument, NULL, OPTION_STATUS},
    {"reserve", required_argument, NULL, OPTION_RESERVE},
    {"max-output-tokens", required_argument, NULL, OPTION_MAX_OUTPUT},
    {"patience", required_argument, NULL, OPTION_PATIENCE},
    {"max-retries", required_argument, NULL, OPTION_MAX_RETRIES},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"drain-timeout", required_argument, NULL, OPTION_DRAIN_TIMEOUT},
    {"expire", required_argument, NULL, OPTION_EXPIRE},
    {"emit-skipped", no_argument, NULL, OPTION_EMIT_SKIPPED},
    {"order", required_argument, NULL, OPTION_ORDER},
    {"window", required_argument, NULL, OPTION_WINDOW},
    {"sync", required_argument, NULL, OPTION_SYNC},
    {"max-line", required_argument, NULL, OPTION_MAX_LINE},
    {"max-reply", required_argument, NULL, OPTION_MAX_REPLY},
    {"input-format", required_argument, NULL, OPTION_INPUT_FORMAT},
    {"strict", no_argument, NULL, OPTION_STRICT},
    {"check-hosted", no_argument, NULL, OPTION_CHECK_HOSTED},
    {"no-id-check", no_argument, NULL, OPTION_NO_ID_CHECK},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"progress", required_argument, NULL, OPTION_PROGRESS},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool
set_count(const char *name, const char *text, uint64_t least, uint64_t most,
    uint64_t *ret)
{
    if (belay__option_count(text, least, most, ret)) {
        return true;
    }
    (void)fprintf(stderr,
        "belay batch: %s must be a number from %" PRIu64 " to %" PRIu64
        ", not '%s'\n",
        name, least, most, text);
    return false;
}

static bool
set_choice(const char *name, const char *text, const char *const *choices,
    unsigned *ret)
{
    for (unsigned i = 0; choices[i] != NULL; i++) {
        if (strcmp(text, choices[i]) == 0) {
            *ret = i;
            return true;
        }
    }
    (void)fprintf(stderr, "belay batch: %s cannot be '%s'; one of", name, text);
    for (unsigned i = 0; choices[i] != NULL; i++) {
        (void)fprintf(stderr, "%s %s", i > 0 ? "," : "", choices[i]);
    }
    (void)fprintf(stderr, "\n");
    return false;
}

static bool
set_size(const char *name, const char *text, size_t *ret)
{
    uint64_t bytes;

    if (belay__option_bytes(text, &bytes) && bytes > 0
        && bytes <= (uint64_t)1 << 30) {
        *ret = (size_t)bytes;
        return true;
    }
    (void)fprintf(stderr,
        "belay batch: %s must be a size up to 1G, as 64M, not '%s'\n", name,
        text);
    return false;
}

static bool
set_number_option(struct belay__batch_options *ret, int id, const char *text)
{
    uint64_t count = 0;
    bool good = true;

    switch (id) {
    case 'c':
        good = set_count("--concurrency", text, 1, 100000, &count);
        ret->batch.concurrency = (uint32_t)count;
        break;
    case OPTION_START:
        good = set_count("--start", text, 1, 100000, &count);
        ret->batch.start = (uint32_t)count;
        break;
    case OPTION_RPM:
        good = set_count("--rpm", text, 1, COUNT_MAX, &count);
        ret->batch.requests_per_minute = (int64_t)count;
        break;
    case OPTION_TPM:
        good = set_count("--tpm", text, 1, COUNT_MAX, &count);
        ret->batch.tokens_per_minute = (int64_t)count;
        break;
    case OPTION_MAX_OUTPUT:
        good = set_count("--max-output-tokens", text, 1, COUNT_MAX, &count);
        ret->batch.default_output_cap = (int64_t)count;
        break;
    case OPTION_MAX_RETRIES:
        good = set_count("--max-retries", text, 0, 1000, &count);
        ret->batch.max_retries = count == 0 ? -1 : (int32_t)count;
        break;
    case OPTION_WINDOW:
        good = set_count("--window", text, 1, 10000000, &count);
        ret->window = (size_t)count;
        break;
    case OPTION_SEED:
        good = set_count("--seed", text, 0, UINT64_MAX, &count);
        ret->batch.seed = count;
        break;
    case OPTION_MAX_LINE:
        good = set_size("--max-line", text, &ret->batch.max_line_bytes);
        break;
    case OPTION_MAX_REPLY:
        good = set_size("--max-reply", text, &ret->batch.max_reply_bytes);
        break;
    default:
        return false;
    }
    return good;
}

static bool
set_span(const char *name, const char *text, belay_duration *ret)
{
    if (belay__option_span(text, ret) && ret->ns > 0) {
        return true;
    }
    (void)fprintf(stderr,
        "belay batch: %s must be a time, as 30s or 5m, not '%s'\n", name, text);
    return false;
}

static bool
set_budget(struct belay__batch_options *ret, const char *text)
{
    belay_money money;

    if (belay_money_parse((struct belay_slice){text, strlen(text)}, &money) == 0
        && money.pico > 0) {
        ret->batch.budget.cost = money;
        ret->budget = text;
        return true;
    }
    (void)fprintf(stderr,
        "belay batch: --budget must be an amount of US dollars, as 12.50, not "
        "'%s'\n",
        text);
    return false;
}

/* The simulator's faults: most are limits of the rate, as with real servers. */
static bool
set_faults(struct belay__batch_options *ret, const char *text)
{
    char *end;
    const double share = strtod(text, &end);

    if (end == text || *end != '\0' || !(share >= 0 && share <= 1)) {
        (void)fprintf(stderr,
            "belay batch: --sim-faults must be from 0 to 1, not '%s'\n", text);
        return false;
    }
    ret->sim_opts.fail_429 = share / 2;
    ret->sim_opts.fail_5xx = share / 4;
    ret->sim_opts.cut = share / 4;
    return true;
}

static bool
set_sim_option(struct belay__batch_options *ret, int id, const char *text)
{
    ret->sim = true;
    switch (id) {
    case OPTION_SIM_LATENCY:
        ret->sim_opts.spread = BELAY__SIM_LOGNORMAL;
        return set_span("--sim-latency", text, &ret->sim_opts.latency);
    case OPTION_SIM_FAULTS:
        return set_faults(ret, text);
    default:
        return true;
    }
}

static bool
set_choice_option(struct belay__batch_options *ret, int id, const char *text)
{
    static const char *const orders[] = {"completion", "input", NULL};
    static const char *const syncs[] = {"interval", "never", "line", NULL};
    static const char *const formats[] = {"batch", "body", NULL};
    static const char *const reserves[] = {"strict", "expected", NULL};
    static const char *const doubts[] = {"retry", "skip", "fail", NULL};
    static const char *const progresses[] = {
        "auto", "bar", "lines", "json", "none", NULL};
    unsigned choice = 0;

    switch (id) {
    case OPTION_ORDER:
        if (!set_choice("--order", text, orders, &choice)) {
            return false;
        }
        ret->in_order = choice == 1;
        return true;
    case OPTION_SYNC:
        if (!set_choice("--sync", text, syncs, &choice)) {
            return false;
        }
        ret->batch.sync = (enum belay__batch_sync_policy)choice;
        return true;
    case OPTION_INPUT_FORMAT:
        if (!set_choice("--input-format", text, formats, &choice)) {
            return false;
        }
        ret->batch.bare_url = choice == 1 ? CHAT_URL : NULL;
        return true;
    case OPTION_RESERVE:
        if (!set_choice("--reserve", text, reserves, &choice)) {
            return false;
        }
        ret->batch.reserve_expected = choice == 1;
        return true;
    case OPTION_IN_DOUBT:
        if (!set_choice("--in-doubt", text, doubts, &choice)) {
            return false;
        }
        ret->batch.in_doubt = (enum belay__batch_doubt)choice;
        return true;
    case OPTION_PROGRESS:
        if (!set_choice("--progress", text, progresses, &choice)) {
            return false;
        }
        ret->progress = (enum belay__progress)choice;
        return true;
    default:
        return set_number_option(ret, id, text);
    }
}

/* What an option without a value switches on; NULL: it is none. */
static bool *
flag_of(struct belay__batch_options *ret, int id)
{
    switch (id) {
    case OPTION_OVERWRITE:
        return &ret->batch.overwrite;
    case OPTION_FORCE:
        return &ret->batch.force;
    case OPTION_RETRY_FAILED:
        return &ret->batch.retry_failed;
    case OPTION_ALLOW_HTTP:
        return &ret->batch.allow_plain_http;
    case OPTION_INSECURE:
        return &ret->batch.insecure;
    case OPTION_STRICT:
        return &ret->batch.strict;
    case OPTION_CHECK_HOSTED:
        return &ret->check_hosted;
    case OPTION_EMIT_SKIPPED:
        return &ret->batch.emit_skipped;
    case OPTION_NO_ID_CHECK:
        return &ret->batch.no_id_check;
    case OPTION_DRY_RUN:
        return &ret->dry_run;
    case OPTION_STATUS:
        return &ret->status;
    case 'q':
        return &ret->quiet;
    default:
        return NULL;
    }
}

/* Where an option's value goes as it is; NULL: it does not. */
static const char **
text_of(struct belay__batch_options *ret, int id)
{
    switch (id) {
    case 'o':
        return &ret->batch.output_path;
    case OPTION_BASE_URL:
        return &ret->batch.base_url;
    case OPTION_KEY_ENV:
        return &ret->key_env;
    case OPTION_KEY_FILE:
        return &ret->key_path;
    case OPTION_MODEL:
        return &ret->batch.model;
    case OPTION_CA_FILE:
        return &ret->batch.ca_file;
    case OPTION_PRICES:
        return &ret->prices_path;
    case OPTION_REPORT:
        return &ret->report_path;
    default:
        return NULL;
    }
}

/* The option's name, if its value is a file. */
static const char *
file_option(int id)
{
    switch (id) {
    case 'o':
        return "-o";
    case OPTION_ERRORS:
        return "--errors";
    case OPTION_KEY_FILE:
        return "--api-key-file";
    case OPTION_CA_FILE:
        return "--ca-file";
    case OPTION_PRICES:
        return "--prices";
    case OPTION_REPORT:
        return "--report";
    default:
        return NULL;
    }
}

/* An option whose file was forgotten takes the next option for one. */
static bool
check_file(int id, const char *text)
{
    const char *name = file_option(id);

    if (name == NULL || text[0] != '-' || text[1] == '\0') {
        return true;
    }
    (void)fprintf(stderr,
        "belay batch: %s needs a file, not '%s'; for a file of this name write "
        "'./%s'\n",
        name, text, text);
    return false;
}

static bool
set_option(struct belay__batch_options *ret, int id, const char *text)
{
    bool *flag = flag_of(ret, id);
    const char **place = text_of(ret, id);

    if (flag != NULL) {
        *flag = true;
        return true;
    }
    if (!check_file(id, text)) {
        return false;
    }
    if (place != NULL) {
        *place = text;
        return true;
    }
    switch (id) {
    case OPTION_ERRORS:
        ret->errors_inline = strcmp(text, "inline") == 0;
        ret->batch.errors_path = ret->errors_inline ? NULL : text;
        return true;
    case OPTION_SIM:
    case OPTION_SIM_LATENCY:
    case OPTION_SIM_FAULTS:
        return set_sim_option(ret, id, text);
    case OPTION_NO_PROXY:
        ret->batch.proxy_from_env = false;
        return true;
    case OPTION_BUDGET:
        return set_budget(ret, text);
    case OPTION_PATIENCE:
        return set_span("--patience", text, &ret->batch.patience);
    case OPTION_TIMEOUT:
        return set_span("--timeout", text, &ret->batch.timeout);
    case OPTION_DRAIN_TIMEOUT:
        return set_span("--drain-timeout", text, &ret->batch.drain_timeout);
    case OPTION_EXPIRE:
        return set_span("--expire", text, &ret->batch.expire);
    default:
        return set_choice_option(ret, id, text);
    }
}

bool
belay__ends_with_value(const char *word, const char *value)
{
    while (word != value && *word != '\0') {
        word++;
    }
    return word == value;
}

/* Takes out of argv the option with this value, in one word or in two. */
static void
take_out(int argc, char **argv, const char *value)
{
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];

        if (word != NULL && belay__ends_with_value(word, value)) {
            argv[i] = NULL;
            if (value == word) {
                argv[i - 1] = NULL;
            }
        }
    }
}

enum belay__batch_parsed
belay__batch_options_parse(
    struct belay__batch_options *ret, int argc, char **argv)
{
    static char command[] = "belay batch";
    char *word = argv[0];
    int id;

    *ret = (struct belay__batch_options){
        .batch = {.concurrency = DEFAULT_CONCURRENCY, .proxy_from_env = true},
        .key_env = DEFAULT_KEY_ENV,
        .argc = argc,
        .argv = argv,
    };
    if (belay__key_on_line("batch", argc, argv)) {
        return BELAY__BATCH_PARSED_USAGE;
    }
    argv[0] = command; /* getopt begins its complaints with it */
    while ((id = getopt_long(argc, argv, "o:c:qh", options, NULL)) != -1) {
        if (id == 'h') {
            for (size_t i = 0; belay__batch_usage[i] != NULL; i++) {
                (void)fputs(belay__batch_usage[i], stdout);
            }
            return BELAY__BATCH_PARSED_HELP;
        }
        if (id == '?') {
            (void)fprintf(stderr, "belay batch: see belay batch --help\n");
            return BELAY__BATCH_PARSED_USAGE;
        }
        if (id == OPTION_BASE_URL && ret->batch.base_url != NULL) {
            /* The later one counts; this one may hold a password. */
            take_out(argc, argv, ret->batch.base_url);
        }
        if (!set_option(ret, id, optarg)) {
            return BELAY__BATCH_PARSED_USAGE;
        }
        if (id == OPTION_OVERWRITE || id == OPTION_RETRY_FAILED) {
            argv[optind - 1] = NULL; /* however it was spelt */
        }
    }
    argv[0] = word;
    if (optind < argc) {
        ret->batch.input_path = argv[optind++];
    }
    if (optind < argc) {
        (void)fprintf(stderr, "belay batch: more than one INPUT given; see "
                              "belay batch --help\n");
        return BELAY__BATCH_PARSED_USAGE;
    }
    return belay__batch_options_finish(ret) ? BELAY__BATCH_PARSED_RUN
                                            : BELAY__BATCH_PARSED_USAGE;
}

void
belay__batch_options_fini(struct belay__batch_options *options_)
{
    free(options_->errors_path);
    options_->errors_path = NULL;
}
