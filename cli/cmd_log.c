/* cmd_log.c - `belay log`: what a recorder has written. */
#include "cli/commands.h"

#include "cli/log_forget.h"
#include "cli/log_print.h"
#include "cli/options.h"
#include "llm/json/scan.h"
#include "llm/printable.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LAST 20
#define DAY_S 86400
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
    "      --forget AGE      take out attempts that are older, as 30d or 12h\n"
    "      --forget-texts AGE\n"
    "                        take out what was said in them\n"
    "  -h, --help\n";

enum option_name {
    OPTION_SESSION = 256,
    OPTION_SHOW,
    OPTION_COST,
    OPTION_JSON,
    OPTION_FORGET,
    OPTION_FORGET_TEXTS,
};

static const struct option long_options[] = {
    {"last", required_argument, NULL, 'n'},
    {"session", required_argument, NULL, OPTION_SESSION},
    {"show", required_argument, NULL, OPTION_SHOW},
    {"cost", no_argument, NULL, OPTION_COST},
    {"json", no_argument, NULL, OPTION_JSON},
    {"forget", required_argument, NULL, OPTION_FORGET},
    {"forget-texts", required_argument, NULL, OPTION_FORGET_TEXTS},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

struct command {
    const char *path;
    struct belay__log_filter filter;
    bool last_given;
    bool cost;
    bool json;
    bool forgets;
    struct belay__log_forget forget;
    struct belay__log log;
};

/* ---- options ---- */

/* As any time, and in days: "30d". */
static bool
take_age(const char *text, belay_duration *ret)
{
    const size_t len = strlen(text);
    char days[24];
    uint64_t count;

    if (len < 2 || len > sizeof(days) || text[len - 1] != 'd') {
        return belay__option_span(text, ret);
    }
    memcpy(days, text, len - 1);
    days[len - 1] = '\0';
    if (!belay__option_count(
            days, 0, INT64_MAX / INT64_C(1000000000) / DAY_S, &count)) {
        return false;
    }
    *ret = belay_seconds((int64_t)count * DAY_S);
    return true;
}

static bool
take_forget(struct command *command, int name, const char *text)
{
    const bool texts_only = name == OPTION_FORGET_TEXTS;
    belay_duration age;
    struct timespec now;
    int64_t ms;

    if (command->forgets) {
        (void)fprintf(stderr, "belay log: one --forget is expected\n");
        return false;
    }
    if (!take_age(text, &age)) {
        (void)fprintf(stderr, "belay log: --forget%s: not a time: '%s'\n",
            texts_only ? "-texts" : "", text);
        return false;
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - age.ns / 1000000;
    command->forgets = true;
    command->forget.texts_only = texts_only;
    belay__ulid_least(ms > 0 ? ms : 0, command->forget.before);
    return true;
}

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
    case OPTION_FORGET:
    case OPTION_FORGET_TEXTS:
        return take_forget(command, name, text);
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
    if (command->forgets
        && (command->last_given || command->cost || command->json
            || command->filter.session != NULL || command->filter.id != NULL)) {
        (void)fprintf(stderr, "belay log: --forget goes alone\n");
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

/* ---- the list ---- */

static int
list_json(const struct command *command, struct belay__buffer *buffer)
{
    struct belay__json_writer json;
    int code = 0;

    for (size_t i = 0; i < command->log.count && code == 0; i++) {
        belay__json_begin(&json, buffer);
        belay__json_open_object(&json);
        belay__log_put_row(&json, &command->log.rows[i]);
        code = belay__log_print_json(&json);
    }
    return code;
}

static int
list(struct command *command, struct belay__buffer *buffer)
{
    if (command->json) {
        return list_json(command, buffer);
    }
    belay__log_heading();
    for (size_t i = 0; i < command->log.count; i++) {
        belay__log_print_row(&command->log.rows[i]);
    }
    return 0;
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
    belay__log_put_text(json, "role", role);
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

    belay__log_print_row(row);
    (void)printf("session %s  turn %s  request %s\n",
        belay__log_fit(row->session, session, sizeof(session)),
        belay__log_fit(row->turn, turn, sizeof(turn)),
        belay__log_fit(row->request_id, message, sizeof(message)));
    if (row->message.len > 0) {
        (void)printf("error %s\n",
            belay__log_fit(row->message, message, sizeof(message)));
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
    belay__log_put_row(&json, row);
    belay__json_key(&json, "messages");
    belay__json_open_array(&json);
    code = belay__log_said(&command->log, command->path, row->id, &said);
    return code < 0 ? code : belay__log_print_json(&json);
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
        belay__log_heading();
    }
    for (size_t i = 0; i < command->log.count && code == 0; i++) {
        code = show_row(command, &command->log.rows[i], buffer);
    }
    return code;
}

/* ---- what goes ---- */

static int
forget(struct command *command)
{
    struct belay__log_forget *forget = &command->forget;
    int code = belay__log_forget_old(&command->log, command->path, forget);

    if (code < 0) {
        return code;
    }
    (void)printf("%" PRIu64 " attempts %s\n", forget->count,
        forget->texts_only ? "without their texts" : "forgotten");
    if (forget->pending) {
        return belay__log_fail(&command->log,
            "somebody reads it: its log holds what was taken out until this is "
            "done once more, or the last one closes it");
    }
    return 0;
}

/* ---- the command ---- */

static int
run(struct command *command, struct belay__buffer *buffer)
{
    int code;

    if (command->forgets) {
        return forget(command);
    }
    code = belay__log_read(&command->log, command->path, &command->filter);
    if (code < 0) {
        return code;
    }
    if (command->filter.id != NULL) {
        return show(command, buffer);
    }
    return command->cost
               ? belay__log_print_costs(&command->log, command->json, buffer)
               : list(command, buffer);
}

static void
say(const struct command *command, const char *what)
{
    char path[256];
    char text[BELAY__LOG_WHY_BYTES];

    (void)belay__printable(
        (struct belay_slice){command->path, strlen(command->path)}, NULL, path,
        sizeof(path));
    (void)belay__printable(
        (struct belay_slice){what, strlen(what)}, NULL, text, sizeof(text));
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
