/* cmd_chat.c - `belay chat`: what is open round it, signals, the exit code. */
#include "cli/chat.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/signals.h"
#include "llm/sim/sim.h"

#include <belay/async.h>
#include <belay/managers.h>
#include <belay/record.h>
#include <belay/runtime.h>
#include <belay/stack.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PRICES_MAX ((size_t)64 * 1024 * 1024)
#define NO_MODEL "-" /* until the session's file says which */

/* ---- signals ---- */

/* The first Ctrl-C of somebody who types is for the answer that comes. */
static void
on_signal(int number, unsigned count, void *arg)
{
    struct belay__chat *chat = arg;

    (void)count;
    if (number == SIGUSR1) {
        return;
    }
    if (number == SIGINT && chat->terminal && chat->conversation) {
        if (chat->turn != NULL) {
            belay_cancel_scope_cancel(chat->turn, "interrupted");
            return;
        }
        if (chat->asked_to_leave) {
            chat->signal = number;
        }
        belay__chat_input_wake(&chat->input);
        return;
    }
    chat->signal = number;
    (void)belay_task_cancel(chat->task, "interrupted");
    belay__chat_input_wake(&chat->input);
}

/* ---- what is open ---- */

struct chat_command {
    struct belay__chat *chat;
    belay_stack *stack;
    struct belay__sim *sim;
    belay_llm_client *client;
    belay_prices *prices;
    struct belay_slice prompt;
    bool ready;
};

/* Without a PROMPT, or with "-", it is standard input. */
static bool
reads_prompt(const struct belay__chat_options *options)
{
    return options->prompt == NULL || strcmp(options->prompt, "-") == 0;
}

static void
drop_prices(void *arg)
{
    const struct chat_command *self = arg;

    belay_prices_unref(self->prices);
}

/* All of a file, for free(); NULL, and *ret_code says why. */
static char *
read_file(const char *path, size_t *ret_len, int *ret_code)
{
    FILE *file = fopen(path, "rb");
    char *bytes = NULL;
    size_t len = 0;

    *ret_code = file == NULL ? -errno : BELAY_ENOMEM;
    if (file == NULL) {
        return NULL;
    }
    for (size_t room = 65536; room <= PRICES_MAX; room *= 2) {
        char *grown = realloc(bytes, room);

        *ret_code = BELAY_ENOMEM;
        if (grown == NULL) {
            break;
        }
        bytes = grown;
        len += fread(bytes + len, 1, room - len, file);
        if (len < room) {
            *ret_code = ferror(file) ? BELAY_EIO : 0;
            break;
        }
        *ret_code = BELAY_ETOOLARGE;
    }
    (void)fclose(file);
    *ret_len = len;
    if (*ret_code < 0) {
        free(bytes);
        return NULL;
    }
    return bytes;
}

/* Errors: what is wrong was said. */
static bool
read_prices(belay_task *task, struct chat_command *self)
{
    const char *path = self->chat->options->prices_path;
    struct belay_prices_problem problem = {0, NULL};
    size_t len = 0;
    int code = 0;
    char *bytes = read_file(path, &len, &code);

    if (code == 0) {
        code = belay_prices_new(belay_task_runtime(task),
            (struct belay_slice){bytes, len}, &self->prices, &problem);
    }
    free(bytes);
    if (problem.reason != NULL) {
        (void)fprintf(stderr,
            "belay chat: '%s' is no file of prices: %s, at byte %zu\n", path,
            problem.reason, problem.offset);
    } else if (code < 0) {
        (void)fprintf(stderr, "belay chat: cannot read '%s': %s\n", path,
            belay_code_text(code));
        self->chat->exit_code = BELAY__CHAT_NO_FILE;
    }
    return code == 0;
}

static belay_next
open_client(belay_task *task, struct chat_command *self)
{
    const struct belay__chat_options *options = self->chat->options;

    return belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = options->sim
                                              ? belay__sim_url(self->sim)
                                              : options->base_url,
            .api_key = options->api_key, .format = options->format,
            .prices = self->prices, .ca_file = options->ca_file,
            .proxy_from_env = !options->no_proxy,
            .allow_plain_http = options->allow_http,
            .insecure = options->insecure),
        &self->client);
}

static struct belay_slice
slice_of(const char *text)
{
    return (struct belay_slice){text, text != NULL ? strlen(text) : 0};
}

static belay_next
open_session(belay_task *task, struct chat_command *self)
{
    const struct belay__chat_options *options = self->chat->options;

    return belay_llm_session_open(task, self->client,
        BELAY_LLM_SESSION_OPTS(.model = options->model != NULL ? options->model
                                                               : NO_MODEL,
            .system = slice_of(options->system),
            .max_tokens = options->max_tokens,
            .temperature =
                options->has_temperature ? &options->temperature : NULL,
            .limit.cost = options->budget),
        &self->chat->session);
}

/* What is in the session's file counts, but for what the options say. */
static int
settle_session(struct chat_command *self)
{
    const struct belay__chat_options *options = self->chat->options;
    belay_llm_session *session = self->chat->session;
    struct belay_llm_session_stats stats;
    int code = 0;

    if (options->model != NULL) {
        code = belay_llm_session_set_model(session, options->model);
    }
    if (code == 0 && options->system != NULL) {
        code = belay_llm_session_set_system(session, slice_of(options->system));
    }
    belay_llm_session_get_stats(session, &stats);
    if (code == 0 && strcmp(stats.model, NO_MODEL) == 0) {
        (void)fprintf(stderr,
            "belay chat: no model is given (--model), and "
            "'%s' has none\n",
            options->session_path);
        code = BELAY_EINVAL;
    }
    return code;
}

/* ---- the run ---- */

static void
say_hello(const struct belay__chat *chat)
{
    char model[BELAY__CHAT_MODEL_BYTES];
    struct belay_llm_session_stats stats;

    belay_llm_session_get_stats(chat->session, &stats);
    if (chat->terminal) {
        (void)fprintf(stderr, "model %s; %zu messages; /help for help\n",
            belay__chat_model(chat, model), stats.messages);
    }
}

static belay_next
begin(belay_task *task, struct chat_command *self)
{
    struct belay__chat *chat = self->chat;

    if (chat->conversation) {
        say_hello(chat);
        return belay__chat_converse(task, chat);
    }
    return belay__chat_turn(task, chat, self->prompt.data);
}

/* The session's file, and the question. Tells what is wrong. */
struct prepare {
    struct chat_command *command;
};

BELAY_ASYNC(prepare)
{
    struct chat_command *command = self->command;
    struct belay__chat *chat = command->chat;

    BELAY_BEGIN;
    if (chat->options->session_path != NULL) {
        BELAY_TRY(belay_llm_session_load(task, chat->session,
            chat->options->session_path, BELAY_LLM_REPAIR_RESULTS, NULL));
        if (belay_result(task)->cancelled) {
            return belay_pass(task);
        }
        if (belay_result(task)->code < 0
            && belay_result(task)->code != BELAY_ENOENT) {
            belay__chat_complain(chat, BELAY__CHAT_NO_FILE, belay_result(task));
            BELAY_RETURN(NULL);
        }
    }
    if (settle_session(command) < 0) {
        BELAY_RETURN(NULL);
    }
    command->prompt = slice_of(chat->options->prompt);
    if (!chat->conversation && reads_prompt(chat->options)) {
        BELAY_TRY(belay__chat_read_all(task, &chat->input, &command->prompt));
        if (belay_result(task)->cancelled || chat->signal != 0) {
            return belay_pass(task);
        }
        if (belay_result(task)->code < 0) {
            belay__chat_complain(chat, BELAY__CHAT_NO_FILE, belay_result(task));
            BELAY_RETURN(NULL);
        }
    }
    if (!chat->conversation && command->prompt.len == 0) {
        (void)fprintf(stderr, "belay chat: the prompt is empty\n");
        BELAY_RETURN(NULL);
    }
    chat->exit_code = BELAY__CHAT_OK;
    command->ready = true;
    BELAY_END;
}

BELAY_ASYNC(chat_command)
{
    struct belay__chat *chat = self->chat;

    BELAY_BEGIN;
    chat->task = task;
    chat->exit_code = BELAY__CHAT_BAD_USAGE;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            belay__signals_open(task, on_signal, chat), NULL));
        if (chat->options->prices_path != NULL) {
            BELAY_AWAIT(belay_stack_enter(
                task, self->stack, belay_defer(task, drop_prices, self), NULL));
            if (!read_prices(task, self)) {
                BELAY_RETURN(NULL);
            }
        }
        if (chat->options->record_path != NULL) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                belay_recorder_open(task,
                    BELAY_RECORDER_OPTS(.path = chat->options->record_path),
                    NULL),
                NULL));
        }
        if (chat->options->sim) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                belay__sim_open(task, NULL, &self->sim), NULL));
        }
        BELAY_WITH (open_client(task, self)) {
            BELAY_WITH (open_session(task, self)) {
                BELAY_AWAIT(BELAY_CALL(prepare, .command = self));
                if (self->ready) {
                    BELAY_AWAIT(begin(task, self));
                }
            }
        }
    }
    BELAY_END;
}

/* What has ended all of it: what could not be opened, mostly. */
static int
exit_code_of(const struct belay__chat *chat, int code)
{
    if (code == BELAY_EIO) {
        return BELAY__CHAT_NO_FILE; /* the recorder's */
    }
    return chat->exit_code != BELAY__CHAT_OK ? chat->exit_code
                                             : belay__chat_exit_code(code);
}

static int
run(struct belay__chat *chat)
{
    struct belay_result result = {0};
    int code = belay_run(&chat_command,
        &(const struct chat_command){.chat = chat}, NULL, &result);

    if (code < 0 && !result.cancelled && chat->signal == 0) {
        belay__chat_complain(chat, exit_code_of(chat, code), &result);
    }
    belay_error_unref(result.error);
    return chat->signal != 0 ? BELAY__CHAT_SIGNAL + chat->signal
                             : chat->exit_code;
}

int
belay__cmd_chat(int argc, char **argv)
{
    struct belay__chat_options options;
    struct belay__chat chat = {.options = &options};
    int code;

    switch (belay__chat_options_parse(&options, argc, argv)) {
    case BELAY__CHAT_PARSED_HELP:
        return BELAY__CHAT_OK;
    case BELAY__CHAT_PARSED_USAGE:
        return BELAY__CHAT_BAD_USAGE;
    case BELAY__CHAT_PARSED_RUN:
        break;
    }
    if (options.insecure) {
        belay__option_warn_insecure("chat");
    }
    chat.terminal = isatty(STDIN_FILENO) != 0;
    chat.conversation =
        options.interactive || (options.prompt == NULL && chat.terminal);
    code = belay__chat_input_init(&chat.input, STDIN_FILENO);
    if (code < 0) {
        (void)fprintf(stderr, "belay chat: %s\n", belay_code_text(code));
        return BELAY__CHAT_NO_FILE;
    }
    code = belay__chat_output_init(&chat.output, STDOUT_FILENO);
    if (code < 0) {
        (void)fprintf(stderr, "belay chat: %s\n", belay_code_text(code));
        belay__chat_input_fini(&chat.input);
        return BELAY__CHAT_NO_FILE;
    }
    code = run(&chat);
    belay__chat_output_fini(&chat.output);
    belay__chat_input_fini(&chat.input);
    return code;
}
