/* cmd_sim.c - `belay sim`: the simulator as a program of its own. */
#include "cli/commands.h"

#include "cli/descriptors.h"
#include "cli/signals.h"
#include "cli/sim_options.h"

#include <belay/async.h>
#include <belay/runtime.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#define DESCRIPTORS_WANTED 16448 /* for as many clients as it takes */

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_SIGNAL = 128,
};

struct command {
    struct belay__sim_options options;
    struct belay__sim_stats stats; /* at the end */
    bool listened;
    int signal; /* the first that came, or 0 */
};

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
        BELAY_WITH (
            belay__sim_open(task, &self->command->options.opts, &self->sim)) {
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

static int
run(struct command *command)
{
    struct belay_result result = {.code = 0};
    int code;

    (void)belay__descriptors_raise(DESCRIPTORS_WANTED);
    code = belay_run(
        &serve, &(const struct serve){.command = command}, NULL, &result);
    if (command->listened && !command->options.quiet) {
        print_summary(command);
    }
    if (command->signal != 0) {
        belay_error_unref(result.error);
        return EXIT_SIGNAL + command->signal;
    }
    if (code < 0) {
        result.code = code;
        print_failure(&result);
        belay_error_unref(result.error);
        return EXIT_FAILED;
    }
    return EXIT_OK;
}

int
belay__cmd_sim(int argc, char **argv)
{
    struct command command = {.signal = 0};
    int code = EXIT_USAGE;

    switch (belay__sim_options_parse(&command.options, argc, argv)) {
    case BELAY__SIM_PARSED_RUN:
        code = run(&command);
        break;
    case BELAY__SIM_PARSED_HELP:
        code = EXIT_OK;
        break;
    case BELAY__SIM_PARSED_FAILED:
        code = EXIT_FAILED;
        break;
    case BELAY__SIM_PARSED_USAGE:
        break;
    }
    belay__sim_options_fini(&command.options);
    return code;
}
