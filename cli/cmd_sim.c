/* cmd_sim.c - `belay sim`: the simulator as a program of its own. */
#include "cli/commands.h"

#include "cli/descriptors.h"
#include "cli/key.h"
#include "cli/options.h"
#include "cli/signals.h"
#include "llm/sim/sim.h"

#include <belay/async.h>
#include <belay/runtime.h>

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DESCRIPTORS_WANTED 16448 /* for as many clients as it takes */

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_SIGNAL = 128,
};

struct command {
    struct belay__sim_opts opts;
    struct belay__sim_stats stats; /* at the end */
    bool listened;
    bool quiet;
    int signal; /* the first that came, or 0 */
};

static const char help[] =
    "usage: belay sim [option...]\n"
    "\n"
    "Serves chat completions that mean nothing, on this machine, until it is\n"
    "interrupted. What it answers and how it fails follows from the seed and\n"
    "the requests alone. Prints `listening on URL` when it is ready.\n"
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
    "\n"
    "failures, each with a probability P from 0 to 1:\n"
    "      --fail-429 P          too many requests\n"
    "      --retry-after S       what a 429 asks for (nothing)\n"
    "      --fail-5xx P          500, 502, 503 or 529\n"
    "      --cut P               the connection breaks within the answer\n"
    "      --stall P             the answer never comes, or never ends\n"
    "      --capacity N          requests at once; others get a 429\n"
    "\n"
    "      --max-requests N      end after so many chat requests\n"
    "      --log                 a line on standard error for each request\n"
    "      --quiet               no summary at the end\n"
    "      --help\n"
    "\n"
    "Times may have a unit: 50ms, 1.5s. GET /__sim/stats tells the counts.\n";

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
    OPTION_MAX_REQUESTS,
    OPTION_LOG,
    OPTION_QUIET,
    OPTION_HELP,
};

static const struct option options[] = {
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
        "%d %s%s %.1f ms, tokens %" PRIu64 "+%" PRIu64 ", body %016" PRIx64
        ", attempt %" PRIu32 "\n",
        entry->status, ends[entry->end], entry->stream ? " stream" : "",
        (double)entry->took.ns / 1e6, entry->prompt_tokens,
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

/* False if the option's argument makes no sense. */
static bool
take_option(struct command *command, enum option_name name, const char *text)
{
    struct belay__sim_opts *opts = &command->opts;

    switch (name) {
    case OPTION_HOST:
        opts->host = text;
        return true;
    case OPTION_PORT:
        return take_port(text, &opts->port);
    case OPTION_SEED:
        return belay__option_count(text, 0, UINT64_MAX, &opts->seed);
    case OPTION_API_KEY_ENV:
        return take_key(text, &opts->api_key);
    case OPTION_TOKENS:
        return take_tokens(text, opts);
    case OPTION_LATENCY:
        return take_ms(text, &opts->latency);
    case OPTION_SPREAD:
        return take_spread(text, &opts->spread);
    case OPTION_TTFT:
        return take_ms(text, &opts->ttft);
    case OPTION_TOKENS_PER_SECOND:
        return take_fraction(text, 1e-6, 1e9, &opts->tokens_per_second);
    case OPTION_FAIL_429:
        return take_fraction(text, 0, 1, &opts->fail_429);
    case OPTION_RETRY_AFTER:
        return belay__option_span(text, &opts->retry_after);
    case OPTION_FAIL_5XX:
        return take_fraction(text, 0, 1, &opts->fail_5xx);
    case OPTION_CUT:
        return take_fraction(text, 0, 1, &opts->cut);
    case OPTION_STALL:
        return take_fraction(text, 0, 1, &opts->stall);
    case OPTION_CAPACITY:
        return take_u32(text, &opts->capacity);
    case OPTION_MAX_REQUESTS:
        return belay__option_count(text, 1, UINT64_MAX, &opts->max_requests);
    case OPTION_LOG:
        opts->log_fn = log_request;
        return true;
    case OPTION_QUIET:
        command->quiet = true;
        return true;
    case OPTION_HELP:
        break;
    }
    return false;
}

/* What was given as NAME in --NAME. */
static const char *
long_name(int value)
{
    const struct option *option = options;

    while (option->name != NULL && option->val != value) {
        option++;
    }
    return option->name;
}

/* -1: go on; else the exit code. */
static int
take_options(struct command *command, int argc, char **argv)
{
    int value;

    while ((value = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (value == OPTION_HELP) {
            return fputs(help, stdout) < 0 || fflush(stdout) != 0 ? EXIT_FAILED
                                                                  : EXIT_OK;
        }
        if (value == '?') {
            return EXIT_USAGE; /* getopt has said why */
        }
        if (!take_option(command, (enum option_name)value, optarg)) {
            (void)fprintf(stderr, "belay sim: --%s: %s: '%s'\n",
                long_name(value),
                value == OPTION_API_KEY_ENV ? "no such variable, or empty"
                                            : "not a valid value",
                optarg);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        (void)fprintf(
            stderr, "belay sim: nothing is expected: '%s'\n", argv[optind]);
        return EXIT_USAGE;
    }
    return -1;
}

/* ---- the run ---- */

struct serve {
    struct command *command;
    belay_task *task;
    struct belay__sim *sim;
};

static void
print_summary(const struct command *command)
{
    const struct belay__sim_stats *stats = &command->stats;

    (void)fprintf(stderr,
        "belay sim: %" PRIu64 " requests, %" PRIu64 " different, at most "
        "%" PRIu64 " at once; %" PRIu64 " answered, %" PRIu64
        " refused, %" PRIu64 " cut, %" PRIu64 " stalled, %" PRIu64 " left\n",
        stats->hits, stats->distinct_bodies, stats->in_flight_max,
        stats->ends[BELAY__SIM_ANSWERED], stats->ends[BELAY__SIM_REFUSED],
        stats->ends[BELAY__SIM_CUT], stats->ends[BELAY__SIM_STALLED],
        stats->ends[BELAY__SIM_LEFT]);
}

static void
on_signal(int number, unsigned count, void *arg)
{
    struct serve *self = arg;

    if (number == SIGUSR1) {
        if (self->sim != NULL) {
            belay__sim_get_stats(self->sim, &self->command->stats);
            print_summary(self->command);
        }
        return;
    }
    if (count == 1) {
        self->command->signal = number;
    }
    (void)belay_task_cancel(self->task, "interrupted");
}

static belay_next
listening(belay_task *task, struct serve *self)
{
    self->command->listened = true;
    (void)printf("listening on %s\n", belay__sim_url(self->sim));
    (void)fflush(stdout);
    return belay__sim_wait(task, self->sim);
}

BELAY_ASYNC(serve)
{
    BELAY_BEGIN;
    self->task = task;
    BELAY_WITH (belay__signals_open(task, on_signal, self)) {
        BELAY_WITH (belay__sim_open(task, &self->command->opts, &self->sim)) {
            BELAY_TRY(listening(task, self));
            belay__sim_get_stats(self->sim, &self->command->stats);
        }
    }
    BELAY_END;
}

static void
print_failure(const struct belay_result *result)
{
    char text[1024];

    (void)belay_result_format(result, text, sizeof(text));
    (void)fprintf(stderr, "belay sim: %s\n", text);
}

int
belay__cmd_sim(int argc, char **argv)
{
    struct command command = {.signal = 0};
    struct belay_result result = {.code = 0};
    int code = take_options(&command, argc, argv);

    if (code >= 0) {
        return code;
    }
    (void)belay__descriptors_raise(DESCRIPTORS_WANTED);
    code = belay_run(
        &serve, &(const struct serve){.command = &command}, NULL, &result);
    if (command.listened && !command.quiet) {
        print_summary(&command);
    }
    if (command.signal != 0) {
        belay_error_unref(result.error);
        return EXIT_SIGNAL + command.signal;
    }
    if (code < 0) {
        result.code = code;
        print_failure(&result);
        belay_error_unref(result.error);
        return EXIT_FAILED;
    }
    return EXIT_OK;
}
