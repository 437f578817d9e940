/* batch_report.c - what `belay batch` leaves beside its output. */
#include "cli/batch_report.h"

#include "cli/batch_counts.h"
#include "cli/batch_files.h"
#include "llm/batch/html.h"
#include "llm/batch/pass.h"
#include "llm/batch/report.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
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

/* A value that the reader has to fill in: `word` is it, or ends with it. */
struct blank {
    const char *value; /* in argv; NULL: there is none */
    const char *name;
};

/* False: there is no room. */
static bool
add_filled(char *text, size_t *len, const char *word,
    const struct blank *blanks, size_t count)
{
    char name[64];

    for (size_t i = 0; i < count; i++) {
        const char *value = blanks[i].value;

        if (value != NULL && belay__ends_with_value(word, value)) {
            (void)snprintf(name, sizeof(name), "%.*s%s", (int)(value - word),
                word, blanks[i].name);
            return add_word(text, len, name);
        }
    }
    return add_word(text, len, word);
}

/* What may hold a password or a key is not printed. */
static bool
has_secrets(const char *url)
{
    return url != NULL && strpbrk(url, "@?") != NULL;
}

void
belay__batch_resume_command(const struct belay__batch_options *options,
    bool retry, bool more_budget, char ret[BELAY__COMMAND_BYTES])
{
    /* That of the simulator has gone with it. */
    const char *url = options->sim ? NULL : options->batch.base_url;
    const struct blank blanks[] = {
        {more_budget ? options->budget : NULL, "MORE"},
        {has_secrets(url) ? url : NULL, "URL"},
    };
    bool good = true;
    size_t len = 0;

    ret[0] = '\0';
    (void)add_word(ret, &len, "belay");
    for (int i = 0; i < options->argc && good; i++) {
        if (i == 1 && retry) { /* behind "batch", before a "--" */
            good = add_word(ret, &len, "--retry-failed");
        }
        if (good && options->argv[i] != NULL) {
            good = add_filled(ret, &len, options->argv[i], blanks,
                sizeof(blanks) / sizeof(blanks[0]));
        }
    }
    if (!good) {
        ret[0] = '\0';
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
write_stats(const char *path, const struct belay__batch_result *result,
    const char *state, struct belay__buffer *buffer)
{
    if (belay__batch_report_json(buffer, &result->stats, state) == 0) {
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

/* Does the file of counts that is there tell of as many lines done, and that
 * this was all? Then the run that has written it was the last to do any.
 */
static bool
has_them_all(const char *path, uint64_t done)
{
    struct belay__batch_counts counts;

    return belay__batch_read_counts(path, &counts)
           && strcmp(counts.state, "done") == 0
           && counts.there == (int64_t)done;
}

/* A run that had nothing to do knows less than the last that had. */
static bool
is_kept(const char *path, bool quiet)
{
    struct stat info;

    if (stat(path, &info) < 0 || !S_ISREG(info.st_mode)) {
        return false;
    }
    if (!quiet) {
        (void)fprintf(stderr, "  '%s' is left as it was\n", path);
    }
    return true;
}

void
belay__batch_write_reports(const struct belay__batch_options *options,
    const struct belay__batch_result *result, const char *state,
    const char *resume, bool idle)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct belay__buffer buffer;
    const char *page = options->report_path;
    char stats[4096];
    bool has_stats;
    bool keep;

    if (memory == NULL) {
        return;
    }
    belay__buffer_init(&buffer, memory, REPORT_BYTES);
    has_stats = belay__batch_stats_path(options, stats, sizeof(stats));
    keep = idle && has_stats && has_them_all(stats, result->stats.resumed);
    if (has_stats && !(keep && is_kept(stats, options->quiet))) {
        write_stats(stats, result, state, &buffer);
    }
    if (page != NULL && !(keep && is_kept(page, options->quiet))) {
        write_page(options, result, state, resume, &buffer);
    }
    belay__buffer_fini(&buffer);
    belay__memory_unref(memory);
}
