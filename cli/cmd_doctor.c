/* cmd_doctor.c - `belay doctor`: what is here, and what is wrong with it. */
#include "cli/commands.h"

#include "cli/doctor.h"
#include "cli/key.h"
#include "cli/options.h"
#include "llm/json/write.h"

#include <belay/async.h>
#include <belay/runtime.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define PATIENCE_S 5
#define JSON_MAX ((size_t)1024 * 1024)

enum {
    EXIT_GOOD = 0,
    EXIT_BAD = 1,
    EXIT_USAGE = 2,
};

static const char help[] =
    "usage: belay doctor [option...]\n"
    "\n"
    "Tells the versions and features of the libraries, which keys are in the\n"
    "environment (never what they are), the limits of the system and the "
    "GPUs.\n"
    "Asks a server only if one is given. Exits with 1 if something is wrong.\n"
    "\n"
    "      --base-url URL        ask this server for its models\n"
    "      --api-key-env NAME    with the key in this variable\n"
    "      --messages            it speaks Anthropic's Messages\n"
    "      --timeout S           for a connection, and again for an answer "
    "(5)\n"
    "      --allow-http          plain HTTP to other machines\n"
    "      --insecure            any certificate will do\n"
    "      --ca-file FILE        authorities, PEM\n"
    "      --prices FILE         read this price file\n"
    "      --json                as one JSON object\n"
    "  -h, --help\n";

enum option_name {
    OPTION_BASE_URL = 256,
    OPTION_API_KEY_ENV,
    OPTION_MESSAGES,
    OPTION_TIMEOUT,
    OPTION_ALLOW_HTTP,
    OPTION_INSECURE,
    OPTION_CA_FILE,
    OPTION_PRICES,
    OPTION_JSON,
};

static const struct option long_options[] = {
    {"base-url", required_argument, NULL, OPTION_BASE_URL},
    {"api-key-env", required_argument, NULL, OPTION_API_KEY_ENV},
    {"messages", no_argument, NULL, OPTION_MESSAGES},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"allow-http", no_argument, NULL, OPTION_ALLOW_HTTP},
    {"insecure", no_argument, NULL, OPTION_INSECURE},
    {"ca-file", required_argument, NULL, OPTION_CA_FILE},
    {"prices", required_argument, NULL, OPTION_PRICES},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

struct command {
    struct belay__doctor_endpoint endpoint;
    const char *key_env;
    const char *prices;
    bool json;
    struct belay__doctor doctor;
};

/* ---- options ---- */

static bool
take_timeout(const char *text, belay_duration *ret)
{
    belay_duration span;

    if (!belay__option_span(text, &span) || span.ns <= 0
        || span.ns > belay_seconds(300).ns) {
        (void)fprintf(stderr,
            "belay doctor: --timeout: not a time of up to 5 minutes: '%s'\n",
            text);
        return false;
    }
    *ret = span;
    return true;
}

static bool
take_option(struct command *command, int name, const char *text)
{
    switch (name) {
    case OPTION_BASE_URL:
        command->endpoint.base_url = text;
        return true;
    case OPTION_API_KEY_ENV:
        command->key_env = text;
        return true;
    case OPTION_MESSAGES:
        command->endpoint.messages = true;
        return true;
    case OPTION_TIMEOUT:
        return take_timeout(text, &command->endpoint.patience);
    case OPTION_ALLOW_HTTP:
        command->endpoint.allow_plain = true;
        return true;
    case OPTION_INSECURE:
        command->endpoint.insecure = true;
        return true;
    case OPTION_CA_FILE:
        command->endpoint.ca_file = text;
        return true;
    case OPTION_PRICES:
        command->prices = text;
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

    while ((name = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        if (name == 'h') {
            return fputs(help, stdout) < 0 || fflush(stdout) != 0 ? EXIT_BAD
                                                                  : EXIT_GOOD;
        }
        if (!take_option(command, name, optarg)) {
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        (void)fprintf(
            stderr, "belay doctor: nothing is expected: '%s'\n", argv[optind]);
        return EXIT_USAGE;
    }
    return -1;
}

/* ---- the looks ---- */

struct look {
    struct command *command;
};

BELAY_ASYNC(look)
{
    struct command *command = self->command;

    BELAY_BEGIN;
    if (command->prices != NULL) {
        belay__doctor_prices(
            &command->doctor, belay_task_runtime(task), command->prices);
    }
    BELAY_AWAIT(belay__doctor_gpus(task, &command->doctor));
    if (command->endpoint.base_url != NULL) {
        BELAY_AWAIT(
            belay__doctor_reach(task, &command->doctor, &command->endpoint));
    }
    BELAY_END;
}

/* ---- what is told ---- */

static const char *const states[] = {"ok", "note", "warn", "FAIL"};

static bool
is_good(const struct belay__doctor *doctor)
{
    for (size_t i = 0; i < doctor->count; i++) {
        if (doctor->findings[i].state == BELAY__DOCTOR_FAIL) {
            return false;
        }
    }
    return true;
}

static void
print_lines(const struct belay__doctor *doctor)
{
    for (size_t i = 0; i < doctor->count; i++) {
        const struct belay__doctor_finding *finding = &doctor->findings[i];

        (void)printf("%-4s  %-18s %s\n", states[finding->state], finding->name,
            finding->text);
    }
}

static void
write_findings(
    struct belay__json_writer *json, const struct belay__doctor *doctor)
{
    static const char *const names[] = {"ok", "note", "warn", "fail"};

    belay__json_open_object(json);
    belay__json_key(json, "good");
    belay__json_bool(json, is_good(doctor));
    belay__json_key(json, "findings");
    belay__json_open_array(json);
    for (size_t i = 0; i < doctor->count; i++) {
        const struct belay__doctor_finding *finding = &doctor->findings[i];

        belay__json_open_object(json);
        belay__json_key(json, "state");
        belay__json_text(json, names[finding->state]);
        belay__json_key(json, "name");
        belay__json_text(json, finding->name);
        belay__json_key(json, "text");
        belay__json_text(json, finding->text);
        belay__json_close_object(json);
    }
    belay__json_close_array(json);
    belay__json_close_object(json);
}

static bool
print_json(const struct belay__doctor *doctor)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct belay__json_writer json;
    struct belay__buffer buffer;
    int code;

    if (memory == NULL) {
        return false;
    }
    belay__buffer_init(&buffer, memory, JSON_MAX);
    belay__json_begin(&json, &buffer);
    write_findings(&json, doctor);
    code = belay__json_end(&json);
    if (code == 0) {
        (void)printf("%.*s\n", (int)buffer.len, buffer.data);
    }
    belay__buffer_fini(&buffer);
    belay__memory_unref(memory);
    return code == 0;
}

static int
report(const struct command *command)
{
    bool told = true;

    if (command->json) {
        told = print_json(&command->doctor);
    } else {
        print_lines(&command->doctor);
    }
    if (!told || fflush(stdout) != 0 || ferror(stdout)) {
        (void)fprintf(stderr, "belay doctor: cannot write to the output\n");
        return EXIT_BAD;
    }
    return is_good(&command->doctor) ? EXIT_GOOD : EXIT_BAD;
}

static int
look_at_all(struct command *command)
{
    struct belay_result result = {.code = 0};
    char text[512];
    int code;

    belay__doctor_libraries(&command->doctor);
    belay__doctor_environment(&command->doctor, command->key_env);
    belay__doctor_limits(&command->doctor);
    if (command->key_env != NULL) {
        command->endpoint.key = belay__key_take(command->key_env);
    }
    code = belay_run(
        &look, &(const struct look){.command = command}, NULL, &result);
    if (code < 0) {
        result.code = code;
        (void)belay_result_format(&result, text, sizeof(text));
        (void)fprintf(stderr, "belay doctor: %s\n", text);
        belay_error_unref(result.error);
        return EXIT_BAD;
    }
    return report(command);
}

int
belay__cmd_doctor(int argc, char **argv)
{
    struct command *command = calloc(1, sizeof(*command));
    int code;

    if (command == NULL) {
        (void)fprintf(stderr, "belay doctor: out of memory\n");
        return EXIT_BAD;
    }
    command->endpoint.patience = belay_seconds(PATIENCE_S);
    code = take_options(command, argc, argv);
    if (code < 0) {
        if (command->endpoint.insecure) {
            belay__option_warn_insecure("doctor");
        }
        code = look_at_all(command);
    }
    free(command);
    return code;
}
