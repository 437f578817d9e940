/* batch_report.c - what `belay batch` leaves beside its output. */
#include "cli/batch_report.h"

#include "cli/batch_files.h"
#include "llm/batch/html.h"
#include "llm/batch/pass.h"
#include "llm/batch/report.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define REPORT_BYTES ((size_t)1024 * 1024)
#define PLAIN                                                        \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" \
    "-_./:=,+@%"

/* ---- the command ---- */

/* One word of a shell's, quoted where needed. False: there is no room. */
static bool
add_word(char *text, size_t *len, const char *word)
{
    const bool plain = word[0] != '\0' && word[strspn(word, PLAIN)] == '\0';
    size_t at = *len;

    if (at + 4 * strlen(word) + 4 >= BELAY__COMMAND_BYTES) {
        return false;
    }
    if (at > 0) {
        text[at++] = ' ';
    }
    if (!plain) {
        text[at++] = '\'';
    }
    for (; *word != '\0'; word++) {
        if (*word == '\'') {
            memcpy(text + at, "'\\''", 4);
            at += 4;
        } else {
            text[at++] = *word;
        }
    }
    if (!plain) {
        text[at++] = '\'';
    }
    text[at] = '\0';
    *len = at;
    return true;
}

void
belay__batch_resume_command(const struct belay__batch_options *options,
    bool retry, char ret[BELAY__COMMAND_BYTES])
{
    size_t len = 0;

    ret[0] = '\0';
    (void)add_word(ret, &len, "belay");
    for (int i = 0; i < options->argc; i++) {
        if (i == 1 && retry) { /* behind "batch", before a "--" */
            (void)add_word(ret, &len, "--retry-failed");
        }
        if (options->argv[i] != NULL
            && !add_word(ret, &len, options->argv[i])) {
            ret[0] = '\0';
            return;
        }
    }
}

bool
belay__batch_can_go_on(const struct belay__batch_options *options)
{
    const struct belay__batch_opts *opts = &options->batch;

    return belay__batch_is_rereadable(opts->input_path)
           && belay__batch_is_rereadable(opts->output_path)
           && (opts->errors_path == NULL
               || belay__batch_is_rereadable(opts->errors_path));
}

/* ---- files ---- */

static void
write_stats(const struct belay__batch_options *options,
    const struct belay__batch_result *result, struct belay__buffer *buffer)
{
    char path[4096];

    if (belay__batch_stats_path(options, path, sizeof(path))
        && belay__batch_report_json(buffer, &result->stats) == 0) {
        belay__batch_write_file(path, buffer);
    }
}

static void
write_page(const struct belay__batch_options *options,
    const struct belay__batch_result *result, const char *state,
    const char *resume, struct belay__buffer *buffer)
{
    const time_t began =
        time(NULL)
        - (time_t)((result->stats.ended_ns - result->stats.started_ns)
                   / 1000000000);
    struct tm local;
    char date[64] = "";
    int code;

    if (localtime_r(&began, &local) != NULL) {
        (void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S %Z", &local);
    }
    belay__buffer_clear(buffer);
    code = belay__batch_report_html(buffer, &result->stats,
        &(const struct belay__html_opts){
            .input = options->batch.input_path,
            .output = options->batch.output_path,
            .began = date,
            .state = state,
            .resume = resume,
        });
    if (code == 0) {
        belay__batch_write_file(options->report_path, buffer);
    } else {
        (void)fprintf(
            stderr, "belay batch: no report page: %s\n", belay_code_text(code));
    }
}

void
belay__batch_write_reports(const struct belay__batch_options *options,
    const struct belay__batch_result *result, const char *state,
    const char *resume)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct belay__buffer buffer;

    if (memory == NULL) {
        return;
    }
    belay__buffer_init(&buffer, memory, REPORT_BYTES);
    write_stats(options, result, &buffer);
    if (options->report_path != NULL) {
        write_page(options, result, state, resume, &buffer);
    }
    belay__buffer_fini(&buffer);
    belay__memory_unref(memory);
}
