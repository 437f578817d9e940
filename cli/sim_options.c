/* sim_options.c - reads the command line of `belay sim`. */
#include "cli/sim_options.h"

#include "cli/key.h"
#include "cli/options.h"
#include "llm/sim/script.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: belay sim [option...]\n"
    "\n"
    "Serves answers that mean nothing, on this machine, until it is\n"
    "interrupted: Chat Completions, Responses, Messages and Embeddings. What\n"
    "it answers and how it fails follows from the seed and the requests, or\n"
    "from a script. Prints `listening on URL` when it is ready.\n"
    "\n"
    "      --host ADDRESS        where to listen (127.0.0.1)\n"
    "      --port N              0 takes one that is free (0)\n"
    "      --seed N              for all that is drawn by lot (0)\n"
    "      --api-key-env NAME    clients must have the key in this variable\n"
    "\n"
    "answers:\n"
    "      --tokens N[-M]        length, in words (16)\n"
    "      --latency MS          before the first token (0)\n"
    "      --spread KIND         of the latency: fixed, uniform, lognormal\n"
    "      --ttft MS             to the first token, besides the latency (0)\n"
    "      --tokens-per-second N (all at once)\n"
    "      --tool-calls P        call a tool if some are offered (1)\n"
    "      --cached SHARE        of the prompt, told as cached (0)\n"
    "      --reasoning N         tokens told besides the answer's (0)\n"
    "      --script FILE         what chosen requests get; JSON, see the "
    "manual\n"
    "\n"
    "failures, each with a probability P from 0 to 1:\n"
    "      --fail-429 P          too many requests\n"
    "      --retry-after S       what a 429, 503 or 529 asks for (nothing)\n"
    "      --retry-after-form F  seconds, ms, date, rfc850, asctime, past, "
    "zero,\n"
    "                            negative, garbage, mixed (seconds)\n"
    "      --fail-5xx P          500, 502, 503 or 529\n"
    "      --cut P               the connection breaks within the answer\n"
    "      --stall P             the answer never comes, or never ends\n"
    "      --capacity N          requests at once; others get a 429\n"
    "      --fault NAME[=P],...  any of those below\n"
    "\n"
    "      --max-requests N      end after so many requests\n"
    "      --log                 a line on standard error for each request\n"
    "      --quiet               no summary at the end\n"
    "      --help\n"
    "\n"
    "Times may have a unit: 50ms, 1.5s. GET /__sim/stats tells the counts. A\n"
    "request may name its own faults in the header x-sim-fault.\n"
    "\n"
    "faults:\n";

/* ---- options ---- */

enum option_name {
    OPTION_HOST = 256,
    OPTION_PORT,
    OPTION_SEED,
    OPTION_API_KEY_ENV,
    OPTION_TOKENS,
    OPTION_LATENCY,
    OPTION_SPREAD,
    OPTION_TTFT,
    OPTION_TOKENS_PER_SECOND,
    OPTION_FAIL_429,
    OPTION_RETRY_AFTER,
    OPTION_FAIL_5XX,
    OPTION_CUT,
    OPTION_STALL,
    OPTION_CAPACITY,
    OPTION_FAULT,
    OPTION_RETRY_AFTER_FORM,
    OPTION_TOOL_CALLS,
    OPTION_CACHED,
    OPTION_REASONING,
    OPTION_SCRIPT,
    OPTION_MAX_REQUESTS,
    OPTION_LOG,
    OPTION_QUIET,
    OPTION_HELP,
};

static const struct option long_options[] = {
    {"host", required_argument, NULL, OPTION_HOST},
    {"port", required_argument, NULL, OPTION_PORT},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"api-key-env", required_argument, NULL, OPTION_API_KEY_ENV},
    {"tokens", required_argument, NULL, OPTION_TOKENS},
    {"latency", required_argument, NULL, OPTION_LATENCY},
    {"spread", required_argument, NULL, OPTION_SPREAD},
    {"ttft", required_argument, NULL, OPTION_TTFT},
    {"tokens-per-second", required_argument, NULL, OPTION_TOKENS_PER_SECOND},
    {"fail-429", required_argument, NULL, OPTION_FAIL_429},
    {"retry-after", required_argument, NULL, OPTION_RETRY_AFTER},
    {"fail-5xx", required_argument, NULL, OPTION_FAIL_5XX},
    {"cut", required_argument, NULL, OPTION_CUT},
    {"stall", required_argument, NULL, OPTION_STALL},
    {"capacity", required_argument, NULL, OPTION_CAPACITY},
    {"fault", required_argument, NULL, OPTION_FAULT},
    {"retry-after-form", required_argument, NULL, OPTION_RETRY_AFTER_FORM},
    {"tool-calls", required_argument, NULL, OPTION_TOOL_CALLS},
    {"cached", required_argument, NULL, OPTION_CACHED},
    {"reasoning", required_argument, NULL, OPTION_REASONING},
    {"script", required_argument, NULL, OPTION_SCRIPT},
    {"max-requests", required_argument, NULL, OPTION_MAX_REQUESTS},
    {"log", no_argument, NULL, OPTION_LOG},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static void
log_request(const struct belay__sim_entry *entry, void *arg)
{
    static const char *const ends[] = {
        "refused", "answered", "cut", "stalled", "left"};

    (void)arg;
    (void)fprintf(stderr,
        "%d %s%s %s %.1f ms, tokens %" PRIu64 "+%" PRIu64 ", body %016" PRIx64
        ", attempt %" PRIu32 "\n",
        entry->status, ends[entry->end], entry->stream ? " stream" : "",
        entry->format, (double)entry->took.ns / 1e6, entry->prompt_tokens,
        entry->completion_tokens, entry->body_hash, entry->attempt);
}

static bool
take_fraction(const char *text, double least, double most, double *ret)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !(value >= least && value <= most)) {
        return false;
    }
    *ret = value;
    return true;
}

/* A time; without a unit, milliseconds. */
static bool
take_ms(const char *text, belay_duration *ret)
{
    uint64_t ms;

    if (belay__option_count(text, 0, UINT32_MAX, &ms)) {
        *ret = belay_milliseconds((int64_t)ms);
        return true;
    }
    return text[0] != '\0' && strspn(text, "0123456789.") < strlen(text)
           && belay__option_span(text, ret);
}

static bool
take_u32(const char *text, uint32_t *ret)
{
    uint64_t value;

    if (!belay__option_count(text, 1, UINT32_MAX, &value)) {
        return false;
    }
    *ret = (uint32_t)value;
    return true;
}

/* "16", or "16-64". */
static bool
take_tokens(const char *text, struct belay__sim_opts *opts)
{
    const char *dash = strchr(text, '-');
    char least[16];

    if (dash == NULL) {
        opts->tokens_max = 0;
        return take_u32(text, &opts->tokens_min);
    }
    if ((size_t)(dash - text) >= sizeof(least)) {
        return false;
    }
    memcpy(least, text, (size_t)(dash - text));
    least[dash - text] = '\0';
    return take_u32(least, &opts->tokens_min)
           && take_u32(dash + 1, &opts->tokens_max)
           && opts->tokens_max >= opts->tokens_min;
}

static bool
take_spread(const char *text, enum belay__sim_spread *ret)
{
    static const char *const names[] = {"fixed", "uniform", "lognormal"};

    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum belay__sim_spread)i;
            return true;
        }
    }
    return false;
}

static bool
take_port(const char *text, uint16_t *ret)
{
    uint64_t port;

    if (!belay__option_count(text, 0, UINT16_MAX, &port)) {
        return false;
    }
    *ret = (uint16_t)port;
    return true;
}

static bool
take_key(const char *name, const char **ret)
{
    *ret = belay__key_take(name);
    return *ret != NULL;
}

/* The chance of words instead is what is left. */
static bool
take_tool_calls(const char *text, struct belay__sim_opts *opts)
{
    double chance;

    if (!take_fraction(text, 0, 1, &chance)) {
        return false;
    }
    opts->tool_text = 1 - chance;
    return true;
}

static bool
take_reasoning(const char *text, struct belay__sim_opts *opts)
{
    uint64_t value;

    if (!belay__option_count(text, 0, UINT32_MAX, &value)) {
        return false;
    }
    opts->reasoning = (uint32_t)value;
    return true;
}

/* What an answer is like. False if the argument makes no sense. */
static bool
take_answer_option(
    struct belay__sim_opts *opts, enum option_name name, const char *text)
{
    if (name == OPTION_TOKENS) {
        return take_tokens(text, opts);
    }
    if (name == OPTION_LATENCY) {
        return take_ms(text, &opts->latency);
    }
    if (name == OPTION_SPREAD) {
        return take_spread(text, &opts->spread);
    }
    if (name == OPTION_TTFT) {
        return take_ms(text, &opts->ttft);
    }
    if (name == OPTION_TOKENS_PER_SECOND) {
        return take_fraction(text, 1e-6, 1e9, &opts->tokens_per_second);
    }
    if (name == OPTION_TOOL_CALLS) {
        return take_tool_calls(text, opts);
    }
    if (name == OPTION_CACHED) {
        return take_fraction(text, 0, 1, &opts->cached);
    }
    return name == OPTION_REASONING && take_reasoning(text, opts);
}

/* How it fails. */
static bool
take_failure_option(
    struct belay__sim_opts *opts, enum option_name name, const char *text)
{
    if (name == OPTION_FAIL_429) {
        return take_fraction(text, 0, 1, &opts->fail_429);
    }
    if (name == OPTION_RETRY_AFTER) {
        return belay__option_span(text, &opts->retry_after);
    }
    if (name == OPTION_RETRY_AFTER_FORM) {
        return belay__sim_retry_form_find(text, &opts->retry_form);
    }
    if (name == OPTION_FAIL_5XX) {
        return take_fraction(text, 0, 1, &opts->fail_5xx);
    }
    if (name == OPTION_CUT) {
        return take_fraction(text, 0, 1, &opts->cut);
    }
    if (name == OPTION_STALL) {
        return take_fraction(text, 0, 1, &opts->stall);
    }
    if (name == OPTION_CAPACITY) {
        return take_u32(text, &opts->capacity);
    }
    return name == OPTION_FAULT && belay__sim_chances_parse(text, opts->faults);
}

/* False if the option's argument makes no sense. */
static bool
take_option(
    struct belay__sim_options *options, enum option_name name, const char *text)
{
    struct belay__sim_opts *opts = &options->opts;

    if (name == OPTION_HOST) {
        opts->host = text;
        return true;
    }
    if (name == OPTION_LOG) {
        opts->log_fn = log_request;
        return true;
    }
    if (name == OPTION_QUIET) {
        options->quiet = true;
        return true;
    }
    if (name == OPTION_PORT) {
        return take_port(text, &opts->port);
    }
    if (name == OPTION_SEED) {
        return belay__option_count(text, 0, UINT64_MAX, &opts->seed);
    }
    if (name == OPTION_API_KEY_ENV) {
        return take_key(text, &opts->api_key);
    }
    if (name == OPTION_MAX_REQUESTS) {
        return belay__option_count(text, 1, UINT64_MAX, &opts->max_requests);
    }
    return take_answer_option(opts, name, text)
           || take_failure_option(opts, name, text);
}

/* Each fault with its text; those that are a status only, in one line. */
static bool
show_help(void)
{
    bool good = fputs(help, stdout) >= 0;

    for (int i = 0; i < BELAY__SIM_FAULTS && good; i++) {
        const enum belay__sim_fault fault = (enum belay__sim_fault)i;

        if (belay__sim_fault_text(fault) != NULL) {
            good = printf("  %-17s %s\n", belay__sim_fault_name(fault),
                       belay__sim_fault_text(fault))
                   >= 0;
        }
    }
    good = good && fputs("  NNN               this status:", stdout) >= 0;
    for (int i = 0; i < BELAY__SIM_FAULTS && good; i++) {
        const enum belay__sim_fault fault = (enum belay__sim_fault)i;

        if (belay__sim_fault_text(fault) == NULL) {
            good = printf(" %s", belay__sim_fault_name(fault)) >= 0;
        }
    }
    return good && fputs("\n", stdout) >= 0 && fflush(stdout) == 0;
}

/* What was given as NAME in --NAME. */
static const char *
long_name(int value)
{
    const struct option *option = long_options;

    while (option->name != NULL && option->val != value) {
        option++;
    }
    return option->name;
}

static bool
load_script(struct belay__sim_options *ret, const char *path)
{
    char why[BELAY__SIM_WHY_BYTES];

    belay__sim_script_free(ret->opts.script);
    ret->opts.script = NULL;
    if (belay__sim_script_load(path, &ret->opts.script, why) == 0) {
        return true;
    }
    (void)fprintf(stderr, "belay sim: --script: %s\n", why);
    return false;
}

enum belay__sim_parsed
belay__sim_options_parse(struct belay__sim_options *ret, int argc, char **argv)
{
    int value;

    *ret = (struct belay__sim_options){.quiet = false};
    if (belay__key_on_line("sim", argc, argv)) {
        return BELAY__SIM_PARSED_USAGE;
    }
    while ((value = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (value == OPTION_HELP) {
            return show_help() ? BELAY__SIM_PARSED_HELP
                               : BELAY__SIM_PARSED_FAILED;
        }
        if (value == '?') {
            return BELAY__SIM_PARSED_USAGE; /* getopt has said why */
        }
        if (value == OPTION_SCRIPT) {
            if (!load_script(ret, optarg)) {
                return BELAY__SIM_PARSED_USAGE;
            }
        } else if (!take_option(ret, (enum option_name)value, optarg)) {
            (void)fprintf(stderr, "belay sim: --%s: %s: '%s'\n",
                long_name(value),
                value == OPTION_API_KEY_ENV ? "no such variable, or empty"
                                            : "not a valid value",
                optarg);
            return BELAY__SIM_PARSED_USAGE;
        }
    }
    if (optind < argc) {
        (void)fprintf(
            stderr, "belay sim: nothing is expected: '%s'\n", argv[optind]);
        return BELAY__SIM_PARSED_USAGE;
    }
    return BELAY__SIM_PARSED_RUN;
}

void
belay__sim_options_fini(struct belay__sim_options *options)
{
    belay__sim_script_free(options->opts.script);
    options->opts.script = NULL;
}
