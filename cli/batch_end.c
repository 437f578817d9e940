/* batch_end.c - how a run of `belay batch` has ended, and what to do next. */
#include "cli/batch_end.h"

#include "cli/batch_report.h"
#include "cli/batch_unread.h"
#include "llm/batch/pass.h"
#include "llm/batch/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define REPORT_BYTES ((size_t)64 * 1024)

struct ending {
    const struct belay__batch_options *options;
    struct belay__batch_result *result;
    const struct belay__batch_firsts *firsts;
    int signal;
    char resume[BELAY__COMMAND_BYTES]; /* the command that goes on */
};

/* ---- the report ---- */

void
belay__batch_say_stats(
    const struct belay__batch_stats *stats, const char *title)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct belay__buffer buffer;

    if (memory == NULL) {
        return;
    }
    belay__buffer_init(&buffer, memory, REPORT_BYTES);
    if (belay__batch_report_text(&buffer, stats) == 0) {
        (void)fprintf(stderr, "belay batch: %s\n%.*s", title, (int)buffer.len,
            buffer.data);
    }
    belay__buffer_fini(&buffer);
    belay__memory_unref(memory);
}

/* ---- why, and what then ---- */

static void
say_stop(const struct ending *ending)
{
    const struct belay__batch_result *result = ending->result;

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
    case BELAY__BATCH_CONGESTED:
        (void)fprintf(stderr, "belay batch: stopped: %s\n",
            result->stop_code == BELAY_ECONNECT
                ? "no connection to the server was ever made; no line was "
                  "lost (is --base-url right? belay doctor tells more)"
                : "the server has answered no request for too long "
                  "(--patience)");
        return;
    case BELAY__BATCH_BUDGET:
        (void)fprintf(stderr,
            "belay batch: stopped: the next line might pass the budget "
            "(--dry-run tells what a line may cost)\n");
        return;
    case BELAY__BATCH_EXPIRED:
        (void)fprintf(
            stderr, "belay batch: stopped: the time was over (--expire)\n");
        return;
    case BELAY__BATCH_NO_INPUT:
        (void)fprintf(stderr, "belay batch: stopped: cannot read '%s': %s\n",
            result->stop_path, belay_code_text(result->stop_code));
        return;
    case BELAY__BATCH_NO_OUTPUT:
        (void)fprintf(stderr, "belay batch: stopped: cannot write '%s': %s\n",
            result->stop_path != NULL ? result->stop_path
                                      : ending->options->batch.output_path,
            belay_code_text(result->stop_code));
        return;
    case BELAY__BATCH_NO_MEMORY:
        (void)fprintf(stderr, "belay batch: stopped: out of memory\n");
        return;
    }
}

static int
exit_code(const struct ending *ending)
{
    if (ending->signal != 0) {
        return BELAY__EXIT_SIGNAL + ending->signal;
    }
    switch (ending->result->stop) {
    case BELAY__BATCH_NO_INPUT:
    case BELAY__BATCH_NO_OUTPUT:
    case BELAY__BATCH_NO_MEMORY:
        return BELAY__EXIT_IO;
    case BELAY__BATCH_BUDGET:
        return BELAY__EXIT_BUDGET;
    case BELAY__BATCH_REFUSED:
    case BELAY__BATCH_CONGESTED:
        return BELAY__EXIT_REFUSED;
    case BELAY__BATCH_DONE:
    case BELAY__BATCH_INTERRUPTED:
    case BELAY__BATCH_EXPIRED:
        break;
    }
    if (ending->result->stats.failed + ending->result->stats.resumed_failed > 0
        || (ending->result->stop == BELAY__BATCH_EXPIRED
            && ending->result->stats.dropped > 0)
        || (ending->options->batch.in_doubt == BELAY__BATCH_DOUBT_SKIP
            && ending->result->stats.in_doubt > 0)) {
        return BELAY__EXIT_LINES_FAILED; /* not every line has succeeded */
    }
    return BELAY__EXIT_OK;
}

static bool
is_stdio(const char *path)
{
    return strcmp(path, "-") == 0;
}

static void
say_files(const struct ending *ending)
{
    const struct belay__batch_opts *opts = &ending->options->batch;

    if (!is_stdio(opts->output_path)) {
        (void)fprintf(
            stderr, "  replies in                 %s\n", opts->output_path);
    }
    if (ending->result->stats.failed > 0 && opts->errors_path != NULL) {
        (void)fprintf(
            stderr, "  failed lines in            %s\n", opts->errors_path);
    }
}

/* How it has ended, in a few words. */
static const char *
state_of(const struct ending *ending)
{
    if (ending->signal != 0) {
        return "interrupted";
    }
    switch (ending->result->stop) {
    case BELAY__BATCH_DONE:
        return "done";
    case BELAY__BATCH_INTERRUPTED:
        return "interrupted";
    case BELAY__BATCH_REFUSED:
        return "stopped: the key or the account was refused";
    case BELAY__BATCH_CONGESTED:
        return ending->result->stop_code == BELAY_ECONNECT
                   ? "stopped: no connection to the server"
                   : "stopped: the server answers nobody";
    case BELAY__BATCH_BUDGET:
        return "stopped at the budget";
    case BELAY__BATCH_EXPIRED:
        return "stopped: the time was over";
    case BELAY__BATCH_NO_INPUT:
    case BELAY__BATCH_NO_OUTPUT:
    case BELAY__BATCH_NO_MEMORY:
        break;
    }
    return "stopped by an error";
}

static bool
is_done(const struct ending *ending)
{
    return ending->signal == 0 && ending->result->stop == BELAY__BATCH_DONE;
}

/* Nobody has been asked anything: the files had it all. */
static bool
is_idle(const struct ending *ending)
{
    const struct belay__batch_stats *stats = &ending->result->stats;

    return is_done(ending) && stats->sent + stats->ok + stats->failed == 0
           && stats->resumed > 0;
}

/* The command that goes on, or why there is none. */
static void
say_how_to_go_on(const struct ending *ending)
{
    const struct belay__batch_opts *opts = &ending->options->batch;

    if (!belay__batch_can_go_on(ending->options)) {
        (void)fprintf(stderr, "  %s cannot go on\n",
            is_stdio(opts->input_path) ? "a job from standard input"
                                       : "a job that is not from a file and "
                                         "into files");
    } else if (ending->resume[0] != '\0') {
        (void)fprintf(stderr, "  to go on%s:  %s\n",
            ending->result->stop == BELAY__BATCH_BUDGET
                ? ", with a higher budget"
                : "",
            ending->resume);
    }
}

/* Lines that failed because of what stands in the input. */
static uint64_t
count_bad(const struct belay__batch_stats *stats)
{
    uint64_t sum = 0;

    for (int i = BELAY__LINE_INVALID_JSON; i <= BELAY__LINE_LINE_TOO_LARGE;
         i++) {
        sum += stats->errors[i];
    }
    return sum;
}

static void
say_how_to_try_again(const struct ending *ending)
{
    const struct belay__batch_stats *stats = &ending->result->stats;
    char command[BELAY__COMMAND_BYTES];

    belay__batch_resume_command(ending->options, true, false, command);
    if (stats->failed + stats->resumed_failed == 0 || command[0] == '\0'
        || !belay__batch_can_go_on(ending->options)) {
        return;
    }
    (void)fprintf(stderr, "  to try these again:  %s\n", command);
    if (count_bad(stats) > 0 && !ending->options->batch.force) {
        (void)fprintf(stderr, "  with --force, if the input has been mended\n");
    }
}

/* Of what is no file nobody knows how much was left. */
static bool
is_maybe_unread(const struct ending *ending)
{
    const struct belay__batch_opts *opts = &ending->options->batch;

    return !is_done(ending) && !opts->emit_skipped
           && ending->result->stop != BELAY__BATCH_EXPIRED
           && !belay__batch_is_rereadable(opts->input_path);
}

static void
say(const struct ending *ending)
{
    const struct belay__batch_stats *stats = &ending->result->stats;

    belay__batch_say_stats(stats, is_done(ending) ? "done" : "ended early");
    belay__batch_firsts_say(ending->firsts);
    if (is_maybe_unread(ending)) {
        (void)fprintf(
            stderr, "  the input may not have been read to its end\n");
    }
    if (is_idle(ending) && stats->resumed_failed > 0) {
        (void)fprintf(stderr,
            "  nothing was left to send, but %" PRIu64 " lines have failed\n",
            stats->resumed_failed);
    } else if (is_idle(ending)) {
        (void)fprintf(stderr, "  nothing was left to send\n");
    }
    say_files(ending);
    if (is_done(ending)) {
        say_how_to_try_again(ending);
    } else {
        say_how_to_go_on(ending);
    }
}

static void
report(struct ending *ending)
{
    struct belay__batch_stats *stats = &ending->result->stats;
    const uint64_t *errors = stats->errors;

    if (!is_done(ending) && ending->result->stop != BELAY__BATCH_NO_INPUT) {
        stats->unread =
            belay__batch_count_unread(&ending->options->batch, stats);
    }
    belay__batch_resume_command(ending->options,
        errors[BELAY__LINE_EXPIRED] + errors[BELAY__LINE_SKIPPED] > 0,
        ending->result->stop == BELAY__BATCH_BUDGET, ending->resume);
    if (!ending->options->quiet) {
        say(ending);
    }
    belay__batch_write_reports(ending->options, ending->result,
        state_of(ending),
        is_done(ending) || ending->resume[0] == '\0'
                || !belay__batch_can_go_on(ending->options)
            ? NULL
            : ending->resume,
        is_idle(ending));
}

int
belay__batch_end(const struct belay__batch_options *options,
    struct belay__batch_result *result,
    const struct belay__batch_firsts *firsts, int signal)
{
    struct ending ending = {options, result, firsts, signal, ""};

    say_stop(&ending);
    report(&ending);
    return exit_code(&ending);
}
