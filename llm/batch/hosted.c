/* hosted.c - what OpenAI's own batches would refuse of an input.
 *
 * One URL and one model in a file, so many lines, so many bytes. The codes are
 * those that their checks give.
 */
#include "llm/batch/hosted.h"

#include "llm/batch/pass.h"
#include "llm/printable.h"

#include <belay/async.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool
is_served(struct belay_slice url)
{
    static const char *const urls[] = {"/v1/chat/completions", "/v1/responses",
        "/v1/embeddings", "/v1/completions"};

    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        if (url.len == strlen(urls[i])
            && memcmp(url.data, urls[i], url.len) == 0) {
            return true;
        }
    }
    return false;
}

/* Is it the name of the first line, which is kept? Names are compared as they
 * are shown.
 */
static bool
is_first(char first[BELAY__HOSTED_NAME], struct belay_slice name, bool begin)
{
    char text[BELAY__HOSTED_NAME];

    (void)belay__printable(name, NULL, text, sizeof(text));
    if (begin) {
        memcpy(first, text, sizeof(text));
    }
    return strcmp(first, text) == 0;
}

static int
check_line(void *arg, const struct belay__batch_opts *opts,
    const struct belay__line *line, const struct belay__batch_request *request)
{
    struct belay__hosted *hosted = arg;
    const bool begin = hosted->lines == hosted->bad;

    hosted->lines++;
    hosted->bytes = line->offset + line->text.len;
    if (request->fault != BELAY__BATCH_NONE) {
        hosted->bad++;
        return 0;
    }
    hosted->foreign += !is_served(request->url);
    hosted->other_urls += !is_first(hosted->url, request->url, begin);
    hosted->other_models +=
        opts->model == NULL && !is_first(hosted->model, request->model, begin);
    return 0;
}

struct check_hosted {
    const struct belay__batch_opts *opts;
    struct belay__hosted *ret;
};

BELAY_ASYNC(check_hosted)
{
    BELAY_BEGIN;
    if (!belay__batch_is_rereadable(self->opts->input_path)) {
        BELAY_FAIL(BELAY_EINVAL, "cannot check '%s' first: it is not a file",
            self->opts->input_path);
    }
    BELAY_AWAIT(belay__batch_pass(task, self->opts, check_line, self->ret));
    BELAY_END;
}

belay_next
belay__batch_check_hosted(belay_task *task,
    const struct belay__batch_opts *opts, struct belay__hosted *ret)
{
    return BELAY_CALL(check_hosted, .opts = opts, .ret = ret);
}

/* ---- what is told ---- */

int
belay__hosted_text(
    struct belay__buffer *buffer, const struct belay__hosted *hosted)
{
    int code = 0;

    if (hosted->lines == 0) {
        return belay__buffer_format(
            buffer, "no request is in the file (empty_file)\n");
    }
    if (hosted->lines > BELAY__HOSTED_LINES) {
        code = belay__buffer_format(buffer,
            "%" PRIu64 " requests, of which %d are taken (too_many_tasks)\n",
            hosted->lines, BELAY__HOSTED_LINES);
    }
    if (code == 0 && hosted->bytes > BELAY__HOSTED_BYTES) {
        code = belay__buffer_format(buffer,
            "%" PRIu64 " bytes, of which %" PRIu64
            " are taken (file_too_large)\n",
            hosted->bytes, BELAY__HOSTED_BYTES);
    }
    if (code == 0 && hosted->bad > 0) {
        code = belay__buffer_format(buffer,
            "%" PRIu64 " lines are not valid (--strict)\n", hosted->bad);
    }
    if (code == 0 && hosted->foreign > 0) {
        code = belay__buffer_format(buffer,
            "%" PRIu64 " lines are for a URL that is not served "
            "(unsupported_url)\n",
            hosted->foreign);
    }
    if (code == 0 && hosted->other_urls > 0) {
        code = belay__buffer_format(buffer,
            "%" PRIu64 " lines have another URL than '%s' (url_mismatch)\n",
            hosted->other_urls, hosted->url);
    }
    if (code == 0 && hosted->other_models > 0) {
        code = belay__buffer_format(buffer,
            "%" PRIu64 " lines have another model than '%s' "
            "(model_mismatch)\n",
            hosted->other_models, hosted->model);
    }
    return code;
}
