/* cmd_batch.c - `belay batch`: the options, the display, the exit code. */
#include "cli/commands.h"

#include "cli/options.h"
#include "cli/signals.h"
#include "llm/batch/batch.h"
#include "llm/batch/progress.h"
#include "llm/batch/report.h"
#include "llm/sim/sim.h"

#include <belay/belay.h>

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PLAIN_INTERVAL_S 10
#define LINE_BYTES 512
#define REPORT_BYTES ((size_t)64 * 1024)
#define DEFAULT_BASE_URL "https://api.openai.com/v1"
#define DEFAULT_KEY_ENV "OPENAI_API_KEY"

/* B31 */
enum {
    EXIT_OK = 0,
    EXIT_LINES_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_REFUSED = 4,
    EXIT_IO = 5,
    EXIT_SIGNAL = 128,
};

enum progress {
    PROGRESS_AUTO,
    PROGRESS_BAR,   /* one line, drawn over */
    PROGRESS_LINES, /* a line every ten seconds */
    PROGRESS_JSON,
    PROGRESS_NONE,
};

struct command {
    struct belay__batch_opts opts;
    struct belay__batch_result result;
    struct belay__batch *batch; /* while it runs */
    struct belay__batch_rates rates;
    enum progress progress;
    bool errors_inline;
    bool in_order;
    bool sim;
    struct belay__sim_opts sim_opts;
    bool quiet;
    bool drawn; /* a line without its newline is on the terminal */
    int signal; /* the first that came, or 0 */
    const char *key_env;
    char *errors_path; /* ours to free */
    size_t window;
};

static const char usage[] =
"usage: belay batch INPUT.jsonl -o OUTPUT.jsonl [option...]\n"
"\n"
"Sends every line of INPUT (the form of OpenAI's batch files) to a server and\n"
"writes one line for each to OUTPUT, or to the error file. \"-\" is standard\n"
"input or output.\n"
"\n"
"  -o, --output FILE      where replies go\n"
"      --errors FILE      where failed lines go; \"inline\": into OUTPUT\n"
"                         (default: OUTPUT with .errors before its suffix)\n"
"      --overwrite        empty OUTPUT and the error file if they are there\n"
"\n"
"      --base-url URL     the server, with its /v1\n"
"                         (default " DEFAULT_BASE_URL ")\n"
"      --api-key-env NAME the variable that holds the key\n"
"                         (default " DEFAULT_KEY_ENV "; may be unset)\n"
"      --model NAME       put in place of the model of every line\n"
"      --sim              send to a simulated server inside this program\n"
"      --sim-latency TIME how long its answers take (default: no time)\n"
"      --sim-faults P     share of requests that fail at first (default: 0)\n"
"      --allow-http       plain http:// to other machines\n"
"      --insecure         accept any TLS certificate\n"
"      --ca-file FILE     trust these authorities (PEM)\n"
"      --no-proxy         do not look at http_proxy and its kin\n"
"\n"
"  -c, --concurrency N    requests in flight (default 64)\n"
"      --max-retries N    of one line (default 5; 0: none)\n"
"      --timeout TIME     of one line with its retries, as 30s, 5m, 1h\n"
"                         (default: none)\n"
"      --order ORDER      completion (default) or input\n"
"      --window N         lines out of order with --order input\n"
"                         (default 4 times the concurrency)\n"
"      --sync WHEN        make lines safe against power loss: interval\n"
"                         (default: 64 lines or 200 ms), line, never\n"
"      --max-line SIZE    longest line of INPUT, as 64M (default)\n"
"      --max-reply SIZE   longest reply (default 64M)\n"
"      --no-id-check      do not look for custom_ids that occur twice\n"
"      --seed N           of the retries' random delays\n"
"\n"
"      --progress HOW     auto (default), bar, lines, json, none; to stderr\n"
"  -q, --quiet            no progress and no report\n"
"  -h, --help             this text\n"
"\n"
"Exit codes: 0 every line succeeded; 1 some failed; 2 usage or input;\n"
"4 the key or the account was refused; 5 a file could not be read or written;\n"
"130 interrupted, 143 terminated. Ctrl-C once: no more lines are started and\n"
"what is in flight ends; twice: everything ends now.\n";

/* ---- options ---- */

enum option_id {
    OPTION_ERRORS = 256,
    OPTION_OVERWRITE,
    OPTION_BASE_URL,
    OPTION_KEY_ENV,
    OPTION_MODEL,
    OPTION_SIM,
    OPTION_SIM_LATENCY,
    OPTION_SIM_FAULTS,
    OPTION_ALLOW_HTTP,
    OPTION_INSECURE,
    OPTION_CA_FILE,
    OPTION_NO_PROXY,
    OPTION_MAX_RETRIES,
    OPTION_TIMEOUT,
    OPTION_ORDER,
    OPTION_WINDOW,
    OPTION_SYNC,
    OPTION_MAX_LINE,
    OPTION_MAX_REPLY,
    OPTION_NO_ID_CHECK,
    OPTION_SEED,
    OPTION_PROGRESS,
};

static const struct option options[] = {
    {"output", required_argument, NULL, 'o'},
    {"errors", required_argument, NULL, OPTION_ERRORS},
    {"overwrite", no_argument, NULL, OPTION_OVERWRITE},
    {"base-url", required_argument, NULL, OPTION_BASE_URL},
    {"api-key-env", required_argument, NULL, OPTION_KEY_ENV},
    {"model", required_argument, NULL, OPTION_MODEL},
    {"sim", no_argument, NULL, OPTION_SIM},
    {"sim-latency", required_argument, NULL, OPTION_SIM_LATENCY},
    {"sim-faults", required_argument, NULL, OPTION_SIM_FAULTS},
    {"allow-http", no_argument, NULL, OPTION_ALLOW_HTTP},
    {"insecure", no_argument, NULL, OPTION_INSECURE},
    {"ca-file", required_argument, NULL, OPTION_CA_FILE},
    {"no-proxy", no_argument, NULL, OPTION_NO_PROXY},
    {"concurrency", required_argument, NULL, 'c'},
    {"max-retries", required_argument, NULL, OPTION_MAX_RETRIES},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"order", required_argument, NULL, OPTION_ORDER},
    {"window", required_argument, NULL, OPTION_WINDOW},
    {"sync", required_argument, NULL, OPTION_SYNC},
    {"max-line", required_argument, NULL, OPTION_MAX_LINE},
    {"max-reply", required_argument, NULL, OPTION_MAX_REPLY},
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
set_choice(const char *name, const char *text,
    const char *const *choices, unsigned *ret)
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
set_number_option(struct command *command, int id, const char *text)
{
    uint64_t count = 0;
    bool good = true;

    switch (id) {
    case 'c':
        good = set_count("--concurrency", text, 1, 100000, &count);
        command->opts.concurrency = (uint32_t)count;
        break;
    case OPTION_MAX_RETRIES:
        good = set_count("--max-retries", text, 0, 1000, &count);
        command->opts.max_retries = count == 0 ? -1 : (int32_t)count;
        break;
    case OPTION_WINDOW:
        good = set_count("--window", text, 1, 10000000, &count);
        command->window = (size_t)count;
        break;
    case OPTION_SEED:
        good = set_count("--seed", text, 0, UINT64_MAX, &count);
        command->opts.seed = count;
        break;
    case OPTION_MAX_LINE:
        good = set_size("--max-line", text, &command->opts.max_line_bytes);
        break;
    case OPTION_MAX_REPLY:
        good = set_size("--max-reply", text, &command->opts.max_reply_bytes);
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
        "belay batch: %s must be a time, as 30s or 5m, not '%s'\n", name,
        text);
    return false;
}

/* The simulator's faults: most are limits of the rate, as with real servers. */
static bool
set_faults(struct command *command, const char *text)
{
    char *end;
    const double share = strtod(text, &end);

    if (end == text || *end != '\0' || !(share >= 0 && share <= 1)) {
        (void)fprintf(stderr,
            "belay batch: --sim-faults must be from 0 to 1, not '%s'\n", text);
        return false;
    }
    command->sim_opts.fail_429 = share / 2;
    command->sim_opts.fail_5xx = share / 4;
    command->sim_opts.cut = share / 4;
    return true;
}

static bool
set_sim_option(struct command *command, int id, const char *text)
{
    command->sim = true;
    switch (id) {
    case OPTION_SIM_LATENCY:
        command->sim_opts.spread = BELAY__SIM_LOGNORMAL;
        return set_span(
            "--sim-latency", text, &command->sim_opts.latency);
    case OPTION_SIM_FAULTS:
        return set_faults(command, text);
    default:
        return true;
    }
}

static bool
set_choice_option(struct command *command, int id, const char *text)
{
    static const char *const orders[] = {"completion", "input", NULL};
    static const char *const syncs[] = {"interval", "never", "line", NULL};
    static const char *const progresses[] = {
        "auto", "bar", "lines", "json", "none", NULL};
    unsigned choice = 0;

    switch (id) {
    case OPTION_ORDER:
        if (!set_choice("--order", text, orders, &choice)) {
            return false;
        }
        command->in_order = choice == 1;
        return true;
    case OPTION_SYNC:
        if (!set_choice("--sync", text, syncs, &choice)) {
            return false;
        }
        command->opts.sync = (enum belay__batch_sync_policy)choice;
        return true;
    case OPTION_PROGRESS:
        if (!set_choice("--progress", text, progresses, &choice)) {
            return false;
        }
        command->progress = (enum progress)choice;
        return true;
    default:
        return set_number_option(command, id, text);
    }
}

static bool
set_option(struct command *command, int id, const char *text)
{
    switch (id) {
    case 'o':
        command->opts.output_path = text;
        return true;
    case OPTION_ERRORS:
        command->errors_inline = strcmp(text, "inline") == 0;
        command->opts.errors_path = command->errors_inline ? NULL : text;
        return true;
    case OPTION_OVERWRITE:
        command->opts.overwrite = true;
        return true;
    case OPTION_BASE_URL:
        command->opts.base_url = text;
        return true;
    case OPTION_KEY_ENV:
        command->key_env = text;
        return true;
    case OPTION_MODEL:
        command->opts.model = text;
        return true;
    case OPTION_SIM:
    case OPTION_SIM_LATENCY:
    case OPTION_SIM_FAULTS:
        return set_sim_option(command, id, text);
    case OPTION_ALLOW_HTTP:
        command->opts.allow_plain_http = true;
        return true;
    case OPTION_INSECURE:
        command->opts.insecure = true;
        return true;
    case OPTION_CA_FILE:
        command->opts.ca_file = text;
        return true;
    case OPTION_NO_PROXY:
        command->opts.proxy_from_env = false;
        return true;
    case OPTION_NO_ID_CHECK:
        command->opts.no_id_check = true;
        return true;
    case OPTION_TIMEOUT:
        return set_span("--timeout", text, &command->opts.timeout);
    case 'q':
        command->quiet = true;
        return true;
    default:
        return set_choice_option(command, id, text);
    }
}

/* "out.jsonl" gives "out.errors.jsonl", "out" gives "out.errors". */
static char *
default_errors_path(const char *output)
{
    const char *slash = strrchr(output, '/');
    const char *dot = strrchr(slash != NULL ? slash : output, '.');
    const size_t stem =
        dot != NULL && dot > output ? (size_t)(dot - output) : strlen(output);
    const size_t size = strlen(output) + sizeof(".errors");
    char *path = malloc(size);

    if (path != NULL) {
        (void)snprintf(
            path, size, "%.*s.errors%s", (int)stem, output, output + stem);
    }
    return path;
}

static bool
complain(const char *what)
{
    (void)fprintf(
        stderr, "belay batch: %s; see belay batch --help\n", what);
    return false;
}

static bool
is_stdio(const char *path)
{
    return strcmp(path, "-") == 0;
}

static bool
finish_options(struct command *command)
{
    struct belay__batch_opts *opts = &command->opts;

    if (opts->input_path == NULL) {
        return complain("no INPUT given");
    }
    if (opts->output_path == NULL) {
        return complain("no OUTPUT given (-o)");
    }
    if (opts->errors_path == NULL && !command->errors_inline
        && !is_stdio(opts->output_path)) {
        command->errors_path = default_errors_path(opts->output_path);
        if (command->errors_path == NULL) {
            return complain("out of memory");
        }
        opts->errors_path = command->errors_path;
    }
    if (opts->errors_path != NULL
        && strcmp(opts->errors_path, opts->output_path) == 0) {
        return complain("OUTPUT and the error file are the same; "
                        "--errors inline does that");
    }
    if (command->window == 0) {
        command->window =
            4 * (size_t)(opts->concurrency > 0 ? opts->concurrency : 64);
    }
    opts->window = command->in_order ? command->window : 0;
    opts->api_key = getenv(command->key_env);
    if (opts->api_key != NULL && opts->api_key[0] == '\0') {
        opts->api_key = NULL;
    }
    return true;
}

/* 1: go on; else the exit code plus 1, negated. */
static int
parse(struct command *command, int argc, char **argv)
{
    int id;

    while ((id = getopt_long(argc, argv, "o:c:qh", options, NULL)) != -1) {
        if (id == 'h') {
            (void)fputs(usage, stdout);
            return -(EXIT_OK + 1);
        }
        if (id == '?' || !set_option(command, id, optarg)) {
            return -(EXIT_USAGE + 1);
        }
    }
    if (optind < argc) {
        command->opts.input_path = argv[optind++];
    }
    if (optind < argc) {
        (void)complain("more than one INPUT given");
        return -(EXIT_USAGE + 1);
    }
    return finish_options(command) ? 1 : -(EXIT_USAGE + 1);
}

/* ---- progress ---- */

static unsigned
terminal_columns(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0) {
        return 80;
    }
    return size.ws_col;
}

static void
draw(struct command *command, const char *line)
{
    (void)fprintf(stderr, "\r%s\x1b[K", line);
    (void)fflush(stderr);
    command->drawn = true;
}

static void
end_drawing(struct command *command)
{
    if (command->drawn) {
        (void)fputc('\n', stderr);
        command->drawn = false;
    }
}

static void
on_progress(const struct belay__batch_stats *stats, int64_t now_ns, void *arg)
{
    struct command *command = arg;
    char line[LINE_BYTES];

    belay__batch_rates_update(&command->rates, stats, now_ns);
    if (command->progress == PROGRESS_JSON) {
        belay__batch_progress_json(
            stats, &command->rates, now_ns, line, sizeof(line));
        (void)fprintf(stderr, "%s\n", line);
    } else if (command->progress == PROGRESS_BAR) {
        belay__batch_progress_line(stats, &command->rates,
            terminal_columns() - 1, line, sizeof(line));
        draw(command, line);
    } else {
        belay__batch_progress_line(
            stats, &command->rates, 0, line, sizeof(line));
        (void)fprintf(stderr, "belay batch: %s\n", line);
    }
}

static void
choose_progress(struct command *command)
{
    if (command->quiet) {
        command->progress = PROGRESS_NONE;
    } else if (command->progress == PROGRESS_AUTO) {
        command->progress =
            isatty(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_LINES;
    }
    if (command->progress != PROGRESS_NONE) {
        command->opts.progress = on_progress;
        command->opts.arg = command;
    }
    if (command->progress != PROGRESS_BAR) {
        command->opts.progress_interval = belay_seconds(PLAIN_INTERVAL_S);
    }
}

/* ---- the run ---- */

struct batch_command {
    struct command *command;
    belay_task *task;
    belay_stack *stack;
    struct belay__sim *sim;
};

static void
on_signal(int number, unsigned count, void *arg)
{
    struct batch_command *self = arg;
    struct command *command = self->command;

    if (command->signal == 0) {
        command->signal = number;
    }
    if (count > 1 || command->batch == NULL) {
        (void)belay_task_cancel(self->task, "interrupted");
        return;
    }
    end_drawing(command);
    if (!command->quiet) {
        (void)fprintf(stderr, "belay batch: no more lines are started; once "
                              "more to drop what is in flight\n");
    }
    belay__batch_interrupt(command->batch);
}

BELAY_ASYNC(batch_command)
{
    struct command *command = self->command;

    BELAY_BEGIN;
    self->task = task;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            belay__signals_open(task, on_signal, self), NULL));
        if (command->sim) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                belay__sim_open(task, &command->sim_opts, &self->sim), NULL));
            command->opts.base_url = belay__sim_url(self->sim);
        }
        BELAY_AWAIT(
            belay__batch_run(task, &command->opts, &command->result));
    }
    BELAY_END;
}

/* ---- the end ---- */

static void
say_stop(const struct command *command)
{
    const struct belay__batch_result *result = &command->result;

    switch (result->stop) {
    case BELAY__BATCH_DONE:
    case BELAY__BATCH_INTERRUPTED:
        return;
    case BELAY__BATCH_REFUSED:
        (void)fprintf(stderr,
            "belay batch: stopped: the server refused the key or the account "
            "(HTTP %d)\n",
            result->stop_code);
        return;
    case BELAY__BATCH_NO_INPUT:
        (void)fprintf(stderr, "belay batch: stopped: cannot read '%s': %s\n",
            result->stop_path, belay_code_text(result->stop_code));
        return;
    case BELAY__BATCH_NO_OUTPUT:
        (void)fprintf(stderr, "belay batch: stopped: cannot write '%s': %s\n",
            result->stop_path != NULL ? result->stop_path
                                      : command->opts.output_path,
            belay_code_text(result->stop_code));
        return;
    case BELAY__BATCH_NO_MEMORY:
        (void)fprintf(stderr, "belay batch: stopped: out of memory\n");
        return;
    }
}

static int
exit_code(const struct command *command)
{
    if (command->signal != 0) {
        return EXIT_SIGNAL + command->signal;
    }
    switch (command->result.stop) {
    case BELAY__BATCH_NO_INPUT:
    case BELAY__BATCH_NO_OUTPUT:
    case BELAY__BATCH_NO_MEMORY:
        return EXIT_IO;
    case BELAY__BATCH_REFUSED:
        return EXIT_REFUSED;
    case BELAY__BATCH_DONE:
    case BELAY__BATCH_INTERRUPTED:
        break;
    }
    return command->result.stats.failed > 0 ? EXIT_LINES_FAILED : EXIT_OK;
}

/* The report as JSON beside the output; a failure is told, no more. */
static void
write_stats(const struct command *command, struct belay__buffer *buffer)
{
    char path[4096];
    FILE *file;
    bool good;

    if (is_stdio(command->opts.output_path)) {
        return;
    }
    (void)snprintf(
        path, sizeof(path), "%s.stats.json", command->opts.output_path);
    belay__buffer_clear(buffer);
    if (belay__batch_report_json(buffer, &command->result.stats) < 0) {
        return;
    }
    file = fopen(path, "we");
    good = file != NULL
        && fwrite(buffer->data, 1, buffer->len, file) == buffer->len;
    if (file != NULL) {
        good = fclose(file) == 0 && good;
    }
    if (!good) {
        (void)fprintf(stderr, "belay batch: cannot write '%s': %s\n", path,
            strerror(errno));
    }
}

static void
report(struct command *command)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct belay__buffer buffer;

    if (memory == NULL) {
        return;
    }
    belay__buffer_init(&buffer, memory, REPORT_BYTES);
    if (!command->quiet
        && belay__batch_report_text(&buffer, &command->result.stats) == 0) {
        (void)fprintf(stderr, "belay batch: %s\n%.*s",
            command->result.stop == BELAY__BATCH_DONE ? "done" : "ended early",
            (int)buffer.len, buffer.data);
        (void)fprintf(
            stderr, "  replies in %s\n", command->opts.output_path);
        if (command->result.stats.failed > 0) {
            (void)fprintf(stderr, "  failed lines in %s\n",
                command->opts.errors_path != NULL ? command->opts.errors_path
                                                  : command->opts.output_path);
        }
    }
    write_stats(command, &buffer);
    belay__buffer_fini(&buffer);
    belay__memory_unref(memory);
}

static int
run(struct command *command)
{
    struct belay_result result = {0};
    char text[LINE_BYTES * 4];
    int code = belay_run(&batch_command,
        &(const struct batch_command){.command = command}, NULL, &result);

    end_drawing(command);
    if (code < 0 && !result.cancelled) {
        const char *message = belay_code_text(code);

        (void)belay_result_format(&result, text, sizeof(text));
        if (result.error != NULL) {
            message = belay_error_message(result.error);
        }
        (void)fprintf(stderr, "belay batch: %s%s\n", message,
            code == BELAY_EBUSY ? "; --overwrite empties it" : "");
        belay_error_unref(result.error);
        return command->result.stats.sent > 0 ? EXIT_IO : EXIT_USAGE;
    }
    belay_error_unref(result.error);
    say_stop(command);
    report(command);
    return exit_code(command);
}

int
belay__cmd_batch(int argc, char **argv)
{
    struct command command = {
        .opts = {.base_url = DEFAULT_BASE_URL, .proxy_from_env = true},
        .key_env = DEFAULT_KEY_ENV,
    };
    int code = parse(&command, argc, argv);

    if (code == 1) {
        /* A broken pipe and a file size limit are errors, not deaths. */
        (void)signal(SIGPIPE, SIG_IGN);
        (void)signal(SIGXFSZ, SIG_IGN);
        command.opts.running = &command.batch;
        choose_progress(&command);
        code = run(&command);
    } else {
        code = -code - 1;
    }
    free(command.errors_path);
    return code;
}
