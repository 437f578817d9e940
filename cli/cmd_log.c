/* cmd_log.c - `belay log`: what a recorder has written. */
#include "cli/commands.h"

#include "cli/log.h"
#include "cli/options.h"
#include "llm/json/scan.h"
#include "llm/printable.h"

#include <belay/price.h>

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LAST 20
#define LINE_MAX_BYTES ((size_t)256 * 1024 * 1024)

enum {
    EXIT_GOOD = 0,
    EXIT_BAD = 1,
    EXIT_USAGE = 2,
};

static const char help[] =
    "usage: belay log FILE [option...]\n"
    "\n"
    "Shows what a recorder has written, in SQLite or in lines of JSON, also\n"
    "while it writes: the last attempts, one a line, the newest last.\n"
    "\n"
    "  -n, --last N          so many; 0: all (20; all for --cost)\n"
    "      --session ID      those of a session; the beginning of its id will "
    "do\n"
    "      --show ID         an attempt, or those of a turn, with all that "
    "was\n"
    "                        said\n"
    "      --cost            tokens and cost of each model\n"
    "      --json            lines of JSON\n"
    "  -h, --help\n";

enum option_name {
    OPTION_SESSION = 256,
    OPTION_SHOW,
    OPTION_COST,
    OPTION_JSON,
};

static const struct option long_options[] = {
    {"last", required_argument, NULL, 'n'},
    {"session", required_argument, NULL, OPTION_SESSION},
    {"show", required_argument, NULL, OPTION_SHOW},
    {"cost", no_argument, NULL, OPTION_COST},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

struct command {
    const char *path;
    struct belay__log_filter filter;
    bool last_given;
    bool cost;
    bool json;
    struct belay__log log;
};

static const struct belay_slice nothing = {NULL, 0};

/* ---- options ---- */

static bool
take_option(struct command *command, int name, const char *text)
{
    switch (name) {
    case 'n':
        command->last_given = true;
        if (!belay__option_count(text, 0, INT64_MAX, &command->filter.last)) {
            (void)fprintf(
                stderr, "belay log: --last: not a whole number: '%s'\n", text);
            return false;
        }
        return true;
    case OPTION_SESSION:
        command->filter.session = text;
        return true;
    case OPTION_SHOW:
        command->filter.id = text;
        return true;
    case OPTION_COST:
        command->cost = true;
        return true;
    case OPTION_JSON:
        command->json = true;
        return true;
    default:
        return false; /* getopt has said why */
    }
}

/* -1: go on; else the exit code. */
static int
take_options(struct command *command, int argc, char **argv)
{
    int name;

    while ((name = getopt_long(argc, argv, "n:h", long_options, NULL)) != -1) {
        if (name == 'h') {
            return fputs(help, stdout) < 0 || fflush(stdout) != 0 ? EXIT_BAD
                                                                  : EXIT_GOOD;
        }
        if (!take_option(command, name, optarg)) {
            return EXIT_USAGE;
        }
    }
    if (optind + 1 != argc) {
        (void)fprintf(stderr, optind == argc
                                  ? "belay log: a file is expected\n"
                                  : "belay log: one file is expected\n");
        return EXIT_USAGE;
    }
    if (command->filter.id != NULL && command->filter.id[0] == '\0') {
        (void)fprintf(stderr, "belay log: --show: an id is expected\n");
        return EXIT_USAGE;
    }
    command->path = argv[optind];
    if (!command->last_given) {
        command->filter.last =
            command->cost || command->filter.id != NULL ? 0 : LAST;
    }
    return -1;
}

/* ---- for people ---- */

/* A stranger's text in so many columns at most. */
static const char *
fit(struct belay_slice text, char *out, size_t size)
{
    (void)belay__printable(text, nothing, out, size);
    return out[0] != '\0' ? out : "-";
}

static const char *
time_text(int64_t us, char out[64])
{
    const time_t second = (time_t)(us / 1000000);
    struct tm tm;

    if (us < 0 || gmtime_r(&second, &tm) == NULL
        || strftime(out, 64, "%Y-%m-%d %H:%M:%S", &tm) == 0) {
        return "-";
    }
    return out;
}

static const char *
count_text(int64_t count, char out[32])
{
    if (count < 0) {
        return "-";
    }
    (void)snprintf(out, 32, "%" PRId64, count);
    return out;
}

/* L52: what is not known is not 0. */
static const char *
cost_text(int64_t pico, bool at_least, char out[64])
{
    char money[BELAY_MONEY_TEXT_BYTES];

    if (pico < 0 || (pico == 0 && at_least)) {
        return "?";
    }
    (void)belay_money_format((belay_money){pico}, money);
    (void)snprintf(out, 64, "%s%s", at_least ? "≥" : "", money);
    return out;
}

static const char *
took_text(const struct belay__log_row *row, char out[32])
{
    return row->started_us < 0 || row->ended_us < 0
               ? "-"
               : count_text((row->ended_us - row->started_us) / 1000, out);
}

/* Why it has ended: the code of its error, its status, or the server's word. */
static const char *
end_text(const struct belay__log_row *row, char out[64])
{
    if (row->code.len > 0) {
        return fit(row->code, out, 64);
    }
    if (row->http_status >= 300) {
        (void)snprintf(out, 64, "HTTP %" PRId64, row->http_status);
        return out;
    }
    return fit(row->end, out, 64);
}

static struct belay_slice
model_of(const struct belay__log_row *row)
{
    return row->model.len > 0 ? row->model : row->answered;
}

static void
print_row(const struct belay__log_row *row)
{
    char texts[8][64];
    char id[40];
    char model[32];

    (void)printf("%-19s  %-26s  %-9s  %-24s %7s %7s %12s %8s  %s\n",
        time_text(row->started_us, texts[0]), fit(row->id, id, sizeof(id)),
        fit(row->status, texts[1], sizeof(texts[1])),
        fit(model_of(row), model, sizeof(model)),
        count_text(row->counts[BELAY__LOG_IN], texts[2]),
        count_text(row->counts[BELAY__LOG_OUT], texts[3]),
        cost_text(row->cost_pico, row->cost_at_least, texts[4]),
        took_text(row, texts[5]), end_text(row, texts[6]));
}

static void
print_heading(void)
{
    (void)printf("%-19s  %-26s  %-9s  %-24s %7s %7s %12s %8s  %s\n",
        "TIME (UTC)", "ATTEMPT", "STATUS", "MODEL", "IN", "OUT", "USD", "MS",
        "END");
}

/* ---- for programs ---- */

static void
put_text(
    struct belay__json_writer *json, const char *key, struct belay_slice text)
{
    if (text.len > 0) {
        belay__json_key(json, key);
        belay__json_string(json, text);
    }
}

static void
put_count(struct belay__json_writer *json, const char *key, int64_t count)
{
    if (count >= 0) {
        belay__json_key(json, key);
        belay__json_int(json, count);
    }
}

/* The members of an attempt, in an object that is open. */
static void
put_row(struct belay__json_writer *json, const struct belay__log_row *row)
{
    put_text(json, "attempt", row->id);
    put_text(json, "run", row->run);
    put_text(json, "session", row->session);
    put_text(json, "turn", row->turn);
    put_count(json, "number", row->number);
    put_text(json, "status", row->status);
    put_text(json, "endpoint", row->endpoint);
    put_text(json, "provider", row->provider);
    put_text(json, "model", row->model);
    put_text(json, "model_answered", row->answered);
    put_count(json, "http_status", row->http_status);
    put_text(json, "code", row->code);
    put_text(json, "message", row->message);
    put_text(json, "request_id", row->request_id);
    put_text(json, "end", row->end);
    put_count(json, "started_us", row->started_us);
    put_count(json, "ended_us", row->ended_us);
    for (int i = 0; i < BELAY__LOG_COUNTS; i++) {
        put_count(json, belay__log_count_names[i], row->counts[i]);
    }
    put_count(json, "cost_picodollars", row->cost_pico);
    if (row->cost_at_least) {
        belay__json_key(json, "cost_at_least");
        belay__json_bool(json, true);
    }
}

/* Ends the object, prints the line, and empties the buffer. */
static int
print_json(struct belay__json_writer *json)
{
    struct belay__buffer *buffer = json->buffer;
    int code;

    belay__json_close_object(json);
    code = belay__json_end(json);
    if (code == 0
        && (fwrite(buffer->data, 1, buffer->len, stdout) != buffer->len
            || putchar('\n') == EOF)) {
        code = BELAY_EIO;
    }
    belay__buffer_clear(buffer);
    return code;
}

/* ---- the list ---- */

static int
list_json(const struct command *command, struct belay__buffer *buffer)
{
    struct belay__json_writer json;
    int code = 0;

    for (size_t i = 0; i < command->log.count && code == 0; i++) {
        belay__json_begin(&json, buffer);
        belay__json_open_object(&json);
        put_row(&json, &command->log.rows[i]);
        code = print_json(&json);
    }
    return code;
}

static int
list(struct command *command, struct belay__buffer *buffer)
{
    if (command->json) {
        return list_json(command, buffer);
    }
    print_heading();
    for (size_t i = 0; i < command->log.count; i++) {
        print_row(&command->log.rows[i]);
    }
    return 0;
}

/* ---- cost ---- */

struct total {
    struct belay_slice model;
    uint64_t attempts;
    uint64_t good;
    int64_t in;
    int64_t out;
    int64_t pico;
    bool at_least;
};

static bool
same(struct belay_slice a, struct belay_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static int64_t
plus(int64_t sum, int64_t more)
{
    return more > 0 && __builtin_add_overflow(sum, more, &sum) ? INT64_MAX
                                                               : sum;
}

static void
add_to(struct total *total, const struct belay__log_row *row)
{
    total->attempts++;
    total->good += belay__log_begins(row->status, "ok");
    total->in = plus(total->in, row->counts[BELAY__LOG_IN]);
    total->out = plus(total->out, row->counts[BELAY__LOG_OUT]);
    total->pico = plus(total->pico, row->cost_pico);
    /* Of what is in doubt nobody knows what it has cost. */
    total->at_least =
        total->at_least || row->cost_at_least || row->cost_pico < 0;
}

/* Models are few: each is looked for from the start. */
static size_t
add_up(const struct belay__log *log, struct total *totals)
{
    size_t count = 0;

    for (size_t i = 0; i < log->count; i++) {
        const struct belay_slice model = model_of(&log->rows[i]);
        size_t at = 0;

        while (at < count && !same(totals[at].model, model)) {
            at++;
        }
        if (at == count) {
            totals[count++] = (struct total){.model = model};
        }
        add_to(&totals[at], &log->rows[i]);
    }
    return count;
}

static int
by_cost(const void *a, const void *b)
{
    const struct total *one = a;
    const struct total *two = b;

    return (one->pico < two->pico) - (one->pico > two->pico);
}

static void
print_total(const struct total *total)
{
    char model[48];
    char cost[64];

    (void)printf("%-40s %9" PRIu64 " %9" PRIu64 " %12" PRId64 " %12" PRId64
                 " %16s\n",
        fit(total->model, model, sizeof(model)), total->attempts, total->good,
        total->in, total->out, cost_text(total->pico, total->at_least, cost));
}

static int
total_json(const struct total *total, struct belay__buffer *buffer)
{
    struct belay__json_writer json;

    belay__json_begin(&json, buffer);
    belay__json_open_object(&json);
    put_text(&json, "model", total->model);
    put_count(&json, "attempts", (int64_t)total->attempts);
    put_count(&json, "ok", (int64_t)total->good);
    put_count(&json, "in_total", total->in);
    put_count(&json, "out_total", total->out);
    put_count(&json, "cost_picodollars", total->pico);
    if (total->at_least) {
        belay__json_key(&json, "cost_at_least");
        belay__json_bool(&json, true);
    }
    return print_json(&json);
}

static int
show_cost(struct command *command, struct belay__buffer *buffer)
{
    struct total *totals = calloc(command->log.count + 1, sizeof(*totals));
    size_t count;
    int code = 0;

    if (totals == NULL) {
        return BELAY_ENOMEM;
    }
    count = add_up(&command->log, totals);
    qsort(totals, count, sizeof(*totals), by_cost);
    if (!command->json) {
        (void)printf("%-40s %9s %9s %12s %12s %16s\n", "MODEL", "ATTEMPTS",
            "OK", "IN", "OUT", "USD");
    }
    for (size_t i = 0; i < count && code == 0; i++) {
        if (command->json) {
            code = total_json(&totals[i], buffer);
        } else {
            print_total(&totals[i]);
        }
    }
    free(totals);
    return code;
}

/* ---- what was said ---- */

struct showing {
    struct belay__memory *memory;
    const struct belay__log_row *row;
    struct belay__json_writer *json; /* NULL: for people */
};

static int
show_message(struct belay_slice role, struct belay_slice body, void *arg)
{
    struct showing *showing = arg;
    struct belay__json_writer *json = showing->json;

    if (json == NULL) {
        return belay__log_print_message(showing->memory, role, body, stdout);
    }
    belay__json_open_object(json);
    put_text(json, "role", role);
    if (body.len > 0 && belay__json_check(body, NULL, NULL) == 0) {
        belay__json_key(json, "body");
        belay__json_raw_line(json, body);
    }
    belay__json_close_object(json);
    return json->code;
}

static int
show_answer(struct belay_slice body, void *arg)
{
    struct showing *showing = arg;
    struct belay__json_writer *json = showing->json;

    if (json == NULL) {
        return belay__log_print_answer(
            showing->memory, showing->row->provider, body, stdout);
    }
    belay__json_close_array(json);
    if (body.len > 0) {
        belay__json_key(json, "answer");
        if (belay__json_check(body, NULL, NULL) == 0) {
            belay__json_raw_line(json, body);
        } else {
            belay__json_string(json, body);
        }
    }
    return json->code;
}

static void
print_facts(const struct belay__log_row *row)
{
    char session[64];
    char turn[64];
    char message[512];

    print_row(row);
    (void)printf("session %s  turn %s  request %s\n",
        fit(row->session, session, sizeof(session)),
        fit(row->turn, turn, sizeof(turn)),
        fit(row->request_id, message, sizeof(message)));
    if (row->message.len > 0) {
        (void)printf("error %s\n", fit(row->message, message, sizeof(message)));
    }
}

static int
show_row(struct command *command, const struct belay__log_row *row,
    struct belay__buffer *buffer)
{
    struct belay__json_writer json;
    struct showing showing = {.memory = command->log.memory,
        .row = row,
        .json = command->json ? &json : NULL};
    const struct belay__log_said said = {show_message, show_answer, &showing};
    int code;

    if (!command->json) {
        print_facts(row);
        return belay__log_said(&command->log, command->path, row->id, &said);
    }
    belay__json_begin(&json, buffer);
    belay__json_open_object(&json);
    put_row(&json, row);
    belay__json_key(&json, "messages");
    belay__json_open_array(&json);
    code = belay__log_said(&command->log, command->path, row->id, &said);
    return code < 0 ? code : print_json(&json);
}

static int
show(struct command *command, struct belay__buffer *buffer)
{
    int code = 0;

    if (command->log.count == 0) {
        return belay__log_fail(&command->log,
            "no attempt and no turn begins with '%s'", command->filter.id);
    }
    if (!command->json) {
        print_heading();
    }
    for (size_t i = 0; i < command->log.count && code == 0; i++) {
        code = show_row(command, &command->log.rows[i], buffer);
    }
    return code;
}

/* ---- the command ---- */

static int
run(struct command *command, struct belay__buffer *buffer)
{
    int code = belay__log_read(&command->log, command->path, &command->filter);

    if (code < 0) {
        return code;
    }
    if (command->filter.id != NULL) {
        return show(command, buffer);
    }
    return command->cost ? show_cost(command, buffer) : list(command, buffer);
}

static void
say(const struct command *command, const char *what)
{
    char path[256];
    char text[BELAY__LOG_WHY_BYTES];

    (void)belay__printable(
        (struct belay_slice){command->path, strlen(command->path)}, nothing,
        path, sizeof(path));
    (void)belay__printable(
        (struct belay_slice){what, strlen(what)}, nothing, text, sizeof(text));
    (void)fprintf(stderr, "belay log: '%s': %s\n", path, text);
}

static int
finish(struct command *command, int code)
{
    char text[BELAY__LOG_WHY_BYTES];

    if (code == BELAY_EIO && command->log.why[0] != '\0') {
        say(command, command->log.why);
        return EXIT_BAD;
    }
    if (code < 0 || fflush(stdout) != 0 || ferror(stdout)) {
        (void)fprintf(stderr, "belay log: %s\n",
            code == BELAY_ENOMEM ? "out of memory"
                                 : "cannot write to the output");
        return EXIT_BAD;
    }
    if (command->log.bad_lines > 0) {
        (void)snprintf(text, sizeof(text),
            "%" PRIu64 " lines are no records; the first is line %" PRIu64,
            command->log.bad_lines, command->log.first_bad);
        say(command, text);
        return EXIT_BAD;
    }
    return EXIT_GOOD;
}

int
belay__cmd_log(int argc, char **argv)
{
    struct command command = {.path = NULL};
    struct belay__buffer buffer;
    int code = take_options(&command, argc, argv);

    if (code >= 0) {
        return code;
    }
    if (belay__log_init(&command.log) < 0) {
        (void)fprintf(stderr, "belay log: out of memory\n");
        return EXIT_BAD;
    }
    belay__buffer_init(&buffer, command.log.memory, LINE_MAX_BYTES);
    code = finish(&command, run(&command, &buffer));
    belay__buffer_fini(&buffer);
    belay__log_fini(&command.log);
    return code;
}
