/* cmd_batch.c - `belay batch`: the options, the display, the exit code. */
#include "cli/commands.h"

#include "cli/batch_end.h"
#include "cli/batch_files.h"
#include "cli/batch_first.h"
#include "cli/batch_look.h"
#include "cli/batch_options.h"
#include "cli/batch_prices.h"
#include "cli/batch_server.h"
#include "cli/descriptors.h"
#include "cli/last_signal.h"
#include "cli/options.h"
#include "cli/signals.h"
#include "llm/batch/progress.h"

#include <belay/async.h>
#include <belay/runtime.h>
#include <belay/stack.h>

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLAIN_INTERVAL_S 10
#define LINE_BYTES 512
#define DESCRIPTORS_OWN 48 /* besides those of requests */

struct command {
    struct belay__batch_options options;
    struct belay__batch_result result;
    struct belay__batch *batch; /* while it runs */
    struct belay__batch_rates rates;
    struct belay__batch_firsts firsts;
    bool drawn; /* a line without its newline is on the terminal */
    int signal; /* the first that came, or 0 */
};

/* ---- progress ---- */

static unsigned
terminal_columns(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 2) {
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
    if (command->options.progress == BELAY__PROGRESS_JSON) {
        belay__batch_progress_json(
            stats, &command->rates, now_ns, line, sizeof(line));
        (void)fprintf(stderr, "%s\n", line);
    } else if (command->options.progress == BELAY__PROGRESS_BAR) {
        belay__batch_progress_line(
            stats, &command->rates, terminal_columns() - 1, line, sizeof(line));
        draw(command, line);
    } else if (stats->lines > 0 && stats->ended_ns == 0) {
        /* The start says nothing, and the end has the report. */
        belay__batch_progress_line(
            stats, &command->rates, 0, line, sizeof(line));
        (void)fprintf(stderr, "belay batch: %s\n", line);
    }
}

static void
on_written(const struct belay__batch_written *line, void *arg)
{
    struct command *command = arg;

    belay__batch_firsts_take(&command->firsts, line);
}

static void
choose_progress(struct command *command)
{
    if (command->options.quiet) {
        command->options.progress = BELAY__PROGRESS_NONE;
    } else if (command->options.progress == BELAY__PROGRESS_AUTO) {
        command->options.progress =
            isatty(STDERR_FILENO) ? BELAY__PROGRESS_BAR : BELAY__PROGRESS_LINES;
    }
    if (command->options.progress != BELAY__PROGRESS_NONE) {
        command->options.batch.progress = on_progress;
    }
    if (command->options.progress != BELAY__PROGRESS_BAR) {
        command->options.batch.progress_interval =
            belay_seconds(PLAIN_INTERVAL_S);
    }
}

/* ---- descriptors ---- */

/* A socket for each request, two with the simulator, and what libcurl opens
 * beside them: better fewer requests at once than some that cannot be sent.
 */
static void
fit_descriptors(struct command *command)
{
    struct belay__batch_opts *opts = &command->options.batch;
    const uint64_t each = command->options.sim ? 2 : 1;
    const uint64_t count = opts->concurrency;
    const uint64_t wanted = DESCRIPTORS_OWN + each * count + count / 8;
    const uint64_t allowed = belay__descriptors_raise(wanted);
    uint64_t fits = 1;

    if (allowed >= wanted) {
        return;
    }
    if (allowed > DESCRIPTORS_OWN) {
        fits = (allowed - DESCRIPTORS_OWN) * 8 / (each * 8 + 1);
    }
    opts->concurrency = fits > 1 ? (uint32_t)fits : 1;
    (void)fprintf(stderr,
        "belay batch: not more than %" PRIu32 " requests at once: the system "
        "allows %" PRIu64 " open files (ulimit -n)\n",
        opts->concurrency, allowed);
}

/* ---- the run ---- */

struct batch_command {
    struct command *command;
    struct belay__hosted hosted;
    belay_task *task;
    belay_stack *stack;
    struct belay__sim *sim;
    belay_prices *prices;
};

/* For SIGUSR1: even of a quiet run, since somebody asks. */
static void
say_so_far(struct batch_command *self)
{
    struct belay__batch_stats stats = self->command->result.stats;

    stats.ended_ns = belay_now(self->task).ns;
    end_drawing(self->command);
    belay__batch_say_stats(&stats, "so far");
}

static void
on_signal(int number, unsigned count, void *arg)
{
    struct batch_command *self = arg;
    struct command *command = self->command;

    if (number == SIGUSR1) {
        if (command->batch != NULL) {
            say_so_far(self);
        }
        return;
    }
    if (command->signal == 0) {
        command->signal = number;
    }
    if (count > 1 || command->batch == NULL) {
        (void)belay_task_cancel(self->task, "interrupted");
        return;
    }
    end_drawing(command);
    if (!command->options.quiet) {
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
        if (command->options.prices_path != NULL) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                belay__batch_prices_open(
                    task, command->options.prices_path, &self->prices),
                NULL));
            command->options.batch.prices = self->prices;
        }
        if (command->options.sim) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                belay__sim_open(task, &command->options.sim_opts, &self->sim),
                NULL));
            command->options.batch.base_url = belay__sim_url(self->sim);
            command->options.batch.simulated = true;
        }
        if (command->options.check_hosted) {
            BELAY_AWAIT(belay__batch_check_hosted(
                task, &command->options.batch, &self->hosted));
            belay__batch_say_hosted(&self->hosted);
        }
        BELAY_AWAIT(
            belay__batch_run(task, &command->options.batch, &command->result));
    }
    BELAY_END;
}

/* ---- the end ---- */

/* Who renames an output does not think of the error file, whose name follows.
 */
static void
say_renamed(
    const struct belay__batch_options *options, int code, const char *message)
{
    if (code == BELAY_ESTATE && options->errors_path != NULL
        && strstr(message, "--errors") != NULL) {
        (void)fprintf(stderr,
            "belay batch: the error file is '%s', since the output is '%s'; if "
            "this was renamed, --errors may name the old one, and --force goes "
            "on with the new one\n",
            options->errors_path, options->batch.output_path);
    }
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
        (void)fprintf(stderr, "belay batch: %s\n", message);
        say_renamed(&command->options, code, message);
        belay_error_unref(result.error);
        return command->result.stats.sent > 0 ? BELAY__EXIT_IO
                                              : BELAY__EXIT_USAGE;
    }
    belay_error_unref(result.error);
    return belay__batch_end(
        &command->options, &command->result, &command->firsts, command->signal);
}

int
belay__cmd_batch(int argc, char **argv)
{
    struct command command = {.signal = 0};
    int code = BELAY__EXIT_OK;

    switch (belay__batch_options_parse(&command.options, argc, argv)) {
    case BELAY__BATCH_PARSED_RUN:
        if (command.options.status) {
            code = belay__batch_show_status(&command.options);
            break;
        }
        if (command.options.dry_run) {
            code = belay__batch_show_dry_run(&command.options);
            break;
        }
        if (!belay__batch_check_server(&command.options)
            || !belay__batch_check_files(&command.options)) {
            code = BELAY__EXIT_USAGE;
            break;
        }
        if (command.options.batch.insecure) {
            belay__option_warn_insecure("batch");
        }
        /* A file size limit is an error, not a death. */
        (void)signal(SIGXFSZ, SIG_IGN);
        belay__last_signal_watch();
        command.options.batch.running = &command.batch;
        command.options.batch.written = on_written;
        command.options.batch.arg = &command;
        choose_progress(&command);
        fit_descriptors(&command);
        code = run(&command);
        break;
    case BELAY__BATCH_PARSED_HELP:
        break;
    case BELAY__BATCH_PARSED_USAGE:
        code = BELAY__EXIT_USAGE;
        break;
    }
    belay__batch_options_fini(&command.options);
    return code;
}
