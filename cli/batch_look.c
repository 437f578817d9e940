/* batch_look.c - `belay batch` that sends nothing: --status, --dry-run. */
#include "cli/batch_look.h"

#include "cli/batch_counts.h"
#include "cli/batch_prices.h"
#include "llm/batch/dry_run.h"
#include "llm/batch/look.h"
#include "llm/batch/progress.h"

#include <belay/async.h>
#include <belay/runtime.h>
#include <belay/stack.h>

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define REPORT_BYTES ((size_t)256 * 1024)
#define PATH_BYTES 4096

enum {
    EXIT_OK = 0,
    EXIT_USAGE = 2,
};

/* ---- status ---- */

static void
print_money(const char *name, int64_t pico)
{
    char text[24];

    if (pico > 0) {
        belay__format_money(pico, text, sizeof(text));
        (void)printf("  %-26s %12s\n", name, text);
    }
}

static void
print_status(const struct belay__batch_look *look)
{
    const int64_t ago = (int64_t)time(NULL) - look->written_s;
    char span[24];

    (void)printf(
        "%s\n", look->running ? "a run is at work" : "nobody is at work");
    (void)printf("  %-26s %12" PRIu64 "\n", "succeeded", look->ok);
    (void)printf("  %-26s %12" PRIu64 "\n", "failed", look->failed);
    (void)printf("  %-26s %12" PRIu64 "\n",
        look->running ? "sent, without a result yet" : "in doubt",
        look->in_doubt);
    print_money("spent", look->spent);
    print_money(
        look->running ? "held or uncertain" : "uncertain", look->uncertain);
    if (look->written_s > 0) {
        belay__format_span((double)(ago > 0 ? ago : 0), span, sizeof(span));
        (void)printf("  %-26s %12s ago\n", "last result", span);
    }
}

/* Written by the last run, and not before what else it has written? A run that
 * was killed leaves the counts of the one before it.
 */
static bool
is_of_last_run(const char *counts, const char *output)
{
    char state_path[PATH_BYTES];
    struct stat state;
    struct stat info;

    return snprintf(state_path, sizeof(state_path), "%s.state", output)
               < (int)sizeof(state_path)
           && stat(counts, &info) == 0 && stat(state_path, &state) == 0
           && (info.st_mtim.tv_sec > state.st_mtim.tv_sec
               || (info.st_mtim.tv_sec == state.st_mtim.tv_sec
                   && info.st_mtim.tv_nsec >= state.st_mtim.tv_nsec));
}

/* Of a job that nobody works at: how its last run has ended, what is left. */
static void
print_end(const struct belay__batch_options *options)
{
    const char *output = options->batch.input_path;
    struct belay__batch_counts counts;
    char path[PATH_BYTES];

    if (snprintf(path, sizeof(path), "%s.stats.json", output)
            >= (int)sizeof(path)
        || !is_of_last_run(path, output)
        || !belay__batch_read_counts(path, &counts)
        || counts.state[0] == '\0') {
        (void)printf("  the last run did not come to its end; the command that "
                     "began it goes on\n");
        return;
    }
    (void)printf("  the last run: %s\n", counts.state);
    if (counts.left > 0) {
        (void)printf("  %-26s %12" PRId64 "\n", "not tried", counts.left);
    }
    if (counts.unread > 0) {
        (void)printf(
            "  %-26s %12" PRId64 "\n", "not read, about", counts.unread);
    }
    if (counts.left + counts.unread > 0) {
        (void)printf("  the command that began it goes on\n");
    }
}

int
belay__batch_show_status(const struct belay__batch_options *options)
{
    const char *output = options->batch.input_path;
    struct belay__memory *memory = belay__memory_new(NULL);
    struct belay__batch_look look;
    int code = BELAY_ENOMEM;

    if (memory != NULL) {
        code = belay__batch_look(
            memory, output, options->batch.errors_path, &look);
        belay__memory_unref(memory);
    }
    if (code == -ENOENT) {
        (void)fprintf(stderr,
            "belay batch: there is no job at '%s' (no '%s.state')\n", output,
            output);
        return EXIT_USAGE;
    }
    if (code < 0) {
        (void)fprintf(stderr, "belay batch: cannot read the job at '%s': %s\n",
            output, belay_code_text(code));
        return EXIT_USAGE;
    }
    print_status(&look);
    if (!look.running) {
        print_end(options);
    }
    return EXIT_OK;
}

/* ---- what OpenAI would refuse ---- */

void
belay__batch_say_hosted(const struct belay__hosted *hosted)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct belay__buffer buffer;
    size_t at = 0;

    if (memory == NULL) {
        return;
    }
    belay__buffer_init(&buffer, memory, REPORT_BYTES);
    if (belay__hosted_text(&buffer, hosted) == 0
        && belay__buffer_append(&buffer, "", 1) == 0) {
        while (buffer.data[at] != '\0') {
            const char *line = buffer.data + at;
            const size_t len = strcspn(line, "\n");

            (void)fprintf(stderr,
                "belay batch: warning: OpenAI's batches would refuse this: "
                "%.*s\n",
                (int)len, line);
            at += len + 1;
        }
    }
    belay__buffer_fini(&buffer);
    belay__memory_unref(memory);
}

/* ---- dry run ---- */

struct dry_command {
    struct belay__batch_options *options;
    struct belay__dry_run *dry;
    struct belay__hosted hosted;
    belay_stack *stack;
    belay_prices *prices;
};

static int
print_dry_run(const struct belay__batch_options *options,
    const struct belay__dry_run *dry)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct belay__buffer buffer;
    int code = BELAY_ENOMEM;

    if (memory == NULL) {
        return code;
    }
    belay__buffer_init(&buffer, memory, REPORT_BYTES);
    code = belay__dry_run_text(&buffer, dry, &options->batch);
    if (code == 0) {
        (void)fwrite(buffer.data, 1, buffer.len, stdout);
    }
    belay__buffer_fini(&buffer);
    belay__memory_unref(memory);
    return code;
}

/* The prices live as long as the block, so the report is made inside. */
BELAY_ASYNC(dry_command)
{
    struct belay__batch_options *options = self->options;

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        if (options->prices_path != NULL) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                belay__batch_prices_open(
                    task, options->prices_path, &self->prices),
                NULL));
            options->batch.prices = self->prices;
        }
        if (options->check_hosted) {
            BELAY_AWAIT(belay__batch_check_hosted(
                task, &options->batch, &self->hosted));
            belay__batch_say_hosted(&self->hosted);
        }
        BELAY_AWAIT(belay__batch_dry_run(task, &options->batch, self->dry));
        BELAY_CHECK(print_dry_run(options, self->dry));
    }
    BELAY_END;
}

int
belay__batch_show_dry_run(struct belay__batch_options *options)
{
    static struct belay__dry_run dry; /* too large for a stack */
    struct belay_result result = {0};
    const int code = belay_run(&dry_command,
        &(const struct dry_command){.options = options, .dry = &dry}, NULL,
        &result);

    if (code < 0) {
        (void)fprintf(stderr, "belay batch: %s\n",
            result.error != NULL ? belay_error_message(result.error)
                                 : belay_code_text(code));
    }
    belay_error_unref(result.error);
    return code < 0 || dry.bad > 0 ? EXIT_USAGE : EXIT_OK;
}
