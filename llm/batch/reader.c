/* reader.c - the task that reads lines and admits them. */
#include "llm/batch/file.h"
#include "llm/batch/pipeline.h"
#include "runtime/internal.h"

#include <string.h>

static enum belay__line_error
error_of(enum belay__batch_fault fault)
{
    switch (fault) {
    case BELAY__BATCH_NONE:
        return BELAY__LINE_OK;
    case BELAY__BATCH_INVALID_LINE:
        return BELAY__LINE_INVALID_JSON;
    case BELAY__BATCH_DUPLICATE_ID:
        return BELAY__LINE_DUPLICATE_ID;
    case BELAY__BATCH_URL_MISMATCH:
        return BELAY__LINE_URL_MISMATCH;
    case BELAY__BATCH_UNSUPPORTED_URL:
        return BELAY__LINE_UNSUPPORTED_URL;
    case BELAY__BATCH_LINE_TOO_LARGE:
        return BELAY__LINE_LINE_TOO_LARGE;
    case BELAY__BATCH_STREAM:
        return BELAY__LINE_STREAM;
    }
    return BELAY__LINE_INVALID_JSON;
}

/* The URL of a line begins where the base URL ends: "/v1" is in both. */
static struct belay_slice
path_of(struct belay_slice url)
{
    if (url.len > 3 && memcmp(url.data, "/v1/", 4) == 0) {
        url.data += 3;
        url.len -= 3;
    }
    return url;
}

/* A copy of what the request needs; NULL without memory. */
static struct belay__item *
item_new(struct belay__batch *batch, const struct belay__line_ref *ref,
    struct belay_slice path, struct belay_slice body)
{
    const size_t bytes = sizeof(struct belay__item) + path.len + 1
                         + ref->custom_id.len + body.len;
    struct belay__item *item = belay__alloc(batch->memory, bytes);
    char *text;

    if (item == NULL) {
        return NULL;
    }
    *item = (struct belay__item){.bytes = bytes, .ref = *ref};
    text = item->path;
    memcpy(text, path.data, path.len);
    text[path.len] = '\0';
    text += path.len + 1;
    memcpy(text, ref->custom_id.data, ref->custom_id.len);
    item->ref.custom_id.data = text;
    text += ref->custom_id.len;
    memcpy(text, body.data, body.len);
    item->body = (struct belay_slice){text, body.len};
    return item;
}

/* The body to send; with --model, one with another model in it. */
static int
body_of(struct belay__batch *batch, const struct belay__batch_request *request,
    struct belay_slice *ret)
{
    const char *model = batch->opts.model;
    int code;

    if (model == NULL) {
        *ret = request->body;
        return 0;
    }
    belay__buffer_clear(&batch->body);
    code = belay__batch_write_body(&batch->body, request->body,
        (struct belay_slice){model, strlen(model)});
    if (code == 0) {
        *ret = belay__buffer_slice(&batch->body);
    }
    return code;
}

struct belay__batch_rules
belay__batch_rules_of(const struct belay__batch_opts *opts)
{
    if (opts->bare_url == NULL) {
        return (struct belay__batch_rules){.bare = false};
    }
    return (struct belay__batch_rules){
        .url = {opts->bare_url, strlen(opts->bare_url)}, .bare = true};
}

static int
check_id(struct belay__batch *batch, struct belay__batch_request *request)
{
    int added;

    if (batch->opts.no_id_check || request->fault != BELAY__BATCH_NONE) {
        return 0;
    }
    added = belay__ids_add(&batch->ids, request->custom_id);
    if (added == 0) {
        belay__batch_mark_duplicate(request);
    }
    return added < 0 ? added : 0;
}

static void
reject(struct belay__batch *batch, const struct belay__line_ref *ref,
    enum belay__line_error error, const char *message)
{
    batch->stats->lines++;
    belay__batch_write_error(batch, ref, error, message);
    belay_semaphore_release(&batch->room);
}

static void
pass_over(struct belay__batch *batch, const struct belay__line_ref *ref)
{
    batch->stats->lines++;
    batch->stats->passed++;
    (void)belay__batch_writer_skip(&batch->writer, ref->sequence);
    belay_semaphore_release(&batch->room);
}

/* Lines that an earlier run has begun. True: nothing more is to be done. */
static bool
was_begun(struct belay__batch *batch, const struct belay__line_ref *ref)
{
    if (belay__line_set_has(&batch->state.done, ref->number)) {
        pass_over(batch, ref);
        return true;
    }
    if (!belay__line_set_has(&batch->state.in_doubt, ref->number)) {
        return false;
    }
    batch->stats->in_doubt++;
    switch (batch->opts.in_doubt) {
    case BELAY__BATCH_DOUBT_RETRY:
        return false;
    case BELAY__BATCH_DOUBT_SKIP:
        pass_over(batch, ref);
        return true;
    case BELAY__BATCH_DOUBT_FAIL:
        reject(batch, ref, BELAY__LINE_IN_DOUBT,
            "an earlier run has sent this line and has no result of it");
        return true;
    }
    return false;
}

/* Puts a line into the ready queue, or an error line into the file. Errors:
 * BELAY_ENOMEM; the line is neither.
 */
static int
admit(struct belay__batch *batch, const struct belay__line *line)
{
    const struct belay__batch_rules rules = belay__batch_rules_of(&batch->opts);
    struct belay__line_ref ref = {
        .number = line->number, .sequence = batch->stats->lines};
    struct belay__batch_request request;
    struct belay__item *item;
    struct belay_slice body = {NULL, 0};
    int code;

    code = belay__batch_read(line, &rules, &batch->scratch, &request);
    if (code == 0) {
        code = check_id(batch, &request);
    }
    if (code < 0) {
        return code;
    }
    ref.custom_id = request.custom_id_raw;
    if (was_begun(batch, &ref)) {
        return 0;
    }
    if (request.fault != BELAY__BATCH_NONE) {
        reject(batch, &ref, error_of(request.fault), request.message);
        return 0;
    }
    code = body_of(batch, &request, &body);
    if (code < 0) {
        return code;
    }
    item = item_new(batch, &ref, path_of(request.url), body);
    if (item == NULL) {
        return BELAY_ENOMEM;
    }
    batch->stats->lines++;
    batch->ready_bytes += item->bytes;
    belay__item_list_push(&batch->ready, item);
    belay_semaphore_release(&batch->ready_items);
    return 0;
}

/* One line is always let in, however long. */
static bool
has_space(const struct belay__batch *batch, const struct belay__line *line)
{
    if (!belay__batch_writer_has_room(&batch->writer, batch->stats->lines)) {
        return false;
    }
    return batch->ready_bytes == 0
           || batch->ready_bytes + line->text.len <= BELAY__BATCH_READY_BYTES;
}

/* What a read has brought. */
static void
take_chunk(struct belay__batch *batch, size_t len)
{
    if (len == 0) {
        batch->input_ended = true;
        belay__lines_end(&batch->lines);
        return;
    }
    batch->stats->input_bytes += len;
    belay__lines_push(&batch->lines, batch->chunk, len);
}

struct read_lines {
    struct belay__batch *batch;
    struct belay__line line;
    size_t len;
};

BELAY_ASYNC(read_lines)
{
    struct belay__batch *batch = self->batch;
    int code = 0;

    BELAY_BEGIN;
    while (!batch->stopping) {
        code = belay__lines_next(&batch->lines, &self->line);
        if (code < 0) {
            BELAY_FAIL(code, NULL);
        }
        if (code == 0) {
            if (batch->input_ended) {
                break;
            }
            BELAY_TRY(belay__file_read(task, batch->input_fd, batch->chunk,
                BELAY__BATCH_CHUNK_BYTES, &self->len));
            code = belay_result(task)->code;
            if (code == 0) {
                take_chunk(batch, self->len);
            } else if (code != BELAY_EAGAIN) {
                return belay_pass(task);
            }
            continue;
        }
        BELAY_AWAIT(belay_semaphore_acquire(task, &batch->room));
        while (!has_space(batch, &self->line)) {
            belay_event_clear(&batch->moved);
            BELAY_AWAIT(belay_event_wait(task, &batch->moved));
        }
        code = admit(batch, &self->line);
        if (code < 0) {
            BELAY_FAIL(code, NULL);
        }
    }
    BELAY_END;
}

static void
read_failed(struct belay__batch *batch, int code)
{
    if (code == BELAY_ENOMEM) {
        belay__batch_stop(batch, BELAY__BATCH_NO_MEMORY, code, NULL);
    } else {
        belay__batch_stop(
            batch, BELAY__BATCH_NO_INPUT, code, batch->opts.input_path);
    }
}

/* Reads to the end, then tells every worker that no more will come. */
static belay_next
reader_step(belay_task *task, void *self)
{
    struct belay__batch_reader *reader = self;
    struct belay__batch *batch = reader->batch;

    if (belay__resume_of(self)->line == 0) {
        belay__resume_of(self)->line = 1;
        return BELAY_CALL(read_lines, .batch = batch);
    }
    if (belay_result(task)->code < 0 && !belay_result(task)->cancelled) {
        read_failed(batch, belay_result(task)->code);
    }
    belay_task_unref(batch->reader);
    batch->reader = NULL;
    for (uint32_t i = 0; i < batch->opts.concurrency; i++) {
        belay_semaphore_release(&batch->ready_items);
    }
    return belay_return(task, NULL);
}

const belay_function belay__batch_reader = {"batch reader", __FILE__,
    sizeof(struct belay__batch_reader), reader_step, 0};
