/* result.c - the lines that a batch writes.
 *
 * Success (B4):  {id, custom_id, response: {status_code, request_id, body},
 *                 error: null}
 * HTTP failure (B5): the same in the error file; inline (B6) error is set too.
 * No answer (B5): response null, error {code, message}.
 *
 * The server's body goes in byte for byte, without the line breaks between
 * its tokens. A line that cannot be made or written stops the batch. Until the
 * end a line that cannot be written is kept by the writer; what is in no file
 * then counts as if it had had no result.
 */
#include "llm/batch/pipeline.h"
#include "llm/json/write.h"
#include "llm/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool
is_success(int status)
{
    return status >= 200 && status < 300;
}

static void
begin_line(struct belay__json_writer *writer, struct belay__batch *batch,
    const struct belay__line_ref *ref)
{
    char id[64];

    (void)snprintf(id, sizeof(id), "batch_req_%s_%" PRIu64, batch->result->job,
        ref->number);
    belay__buffer_clear(&batch->out);
    belay__json_begin(writer, &batch->out);
    belay__json_open_object(writer);
    belay__json_key(writer, "id");
    belay__json_text(writer, id);
    belay__json_key(writer, "custom_id");
    if (ref->custom_id.len > 0) {
        belay__json_raw(writer, ref->custom_id);
    } else {
        belay__json_null(writer);
    }
}

static void
write_error_object(
    struct belay__json_writer *writer, const char *code, const char *message)
{
    belay__json_key(writer, "error");
    belay__json_open_object(writer);
    belay__json_key(writer, "code");
    belay__json_text(writer, code);
    belay__json_key(writer, "message");
    belay__json_text(writer, message);
    belay__json_close_object(writer);
}

/* The line is in batch->out, whose newline is not counted. */
static void
tell(struct belay__batch *batch, const struct belay__line_ref *ref,
    enum belay__batch_file file)
{
    const struct belay_slice text = belay__buffer_slice(&batch->out);

    if (batch->opts.written == NULL) {
        return;
    }
    batch->opts.written(
        &(const struct belay__batch_written){
            .number = ref->number,
            .custom_id = ref->custom_id,
            .ok = file == BELAY__BATCH_OUTPUT,
            .text = text,
        },
        batch->opts.arg);
}

/* A file that takes no more ends the batch, also if the line is only kept. */
static void
check_files(struct belay__batch *batch)
{
    if (batch->writer.code < 0) {
        belay__batch_stop(batch, BELAY__BATCH_NO_OUTPUT, batch->writer.code,
            batch->writer.failed_path);
    }
}

/* Counts the line, as one that has its result, by `one`: 1, or -1 to take that
 * back, when it is in no file after all. If there was an answer the line is in
 * doubt then.
 */
static void
count(struct belay__batch *batch, const struct belay__batch_kind *kind, int one)
{
    struct belay__batch_stats *stats = batch->stats;
    const uint64_t more = (uint64_t)(int64_t)one;
    struct belay__model_stats none = {0};
    struct belay__model_stats *model =
        kind->model != NULL ? kind->model : &none;

    if (is_success(kind->status)) {
        stats->ok += more;
        model->ok += more;
    } else {
        stats->failed += more;
        model->failed += more;
    }
    if (kind->status == 0) {
        stats->errors[kind->error] += more;
    } else if (kind->status < BELAY__STATUS_COUNT) {
        stats->statuses[kind->status] += more;
    }
}

static void
count_lost(struct belay__batch *batch, const struct belay__batch_kind *kind)
{
    batch->stats->dropped++;
    batch->stats->cut += kind->status != 0;
}

/* Ends the line and hands it to the writer. */
static void
end_line(struct belay__json_writer *writer, struct belay__batch *batch,
    const struct belay__line_ref *ref, const struct belay__batch_kind *kind)
{
    int code;

    belay__json_close_object(writer);
    code = belay__json_end(writer);
    if (code == 0) {
        code = belay__buffer_reserve(&batch->out, 1); /* for the newline */
    }
    if (code == 0) {
        code = belay__batch_writer_put(&batch->writer, ref->sequence, kind,
            batch->out.data, batch->out.len);
    }
    if (code == 0) {
        count(batch, kind, 1);
        tell(batch, ref, kind->file);
    } else {
        count_lost(batch, kind);
    }
    check_files(batch);
    if (code < 0) {
        belay__batch_stop(batch,
            code == BELAY_ENOMEM ? BELAY__BATCH_NO_MEMORY
                                 : BELAY__BATCH_NO_OUTPUT,
            code, NULL);
    }
}

void
belay__batch_end_writing(struct belay__batch *batch)
{
    const bool goes_on = batch->state.fd >= 0;
    const struct belay__batch_held *line =
        belay__batch_writer_finish(&batch->writer, !goes_on);

    check_files(batch);
    for (; line != NULL; line = line->next) {
        count(batch, &line->kind, -1);
        count_lost(batch, &line->kind);
    }
}

void
belay__batch_write_error(struct belay__batch *batch,
    const struct belay__line_ref *ref, enum belay__line_error error,
    const char *message)
{
    struct belay__json_writer writer;

    begin_line(&writer, batch, ref);
    belay__json_key(&writer, "response");
    belay__json_null(&writer);
    write_error_object(&writer, belay__line_error_code(error), message);
    end_line(&writer, batch, ref,
        &(const struct belay__batch_kind){
            .file = BELAY__BATCH_ERRORS,
            .error = error,
            .model = ref->model,
        });
}

/* Why a line is left that was not tried. */
static const char *
why_left(const struct belay__batch *batch)
{
    switch (batch->result->stop) {
    case BELAY__BATCH_EXPIRED:
        return "the time for the batch was over before this line had its "
               "answer";
    case BELAY__BATCH_REFUSED:
        return "not sent: the server had refused the key or the account";
    case BELAY__BATCH_CONGESTED:
        return "not sent: the server had answered no request for too long";
    case BELAY__BATCH_BUDGET:
        return "not sent: it might have passed the budget";
    case BELAY__BATCH_DONE:
    case BELAY__BATCH_INTERRUPTED:
    case BELAY__BATCH_NO_INPUT:
    case BELAY__BATCH_NO_OUTPUT:
    case BELAY__BATCH_NO_MEMORY:
        break;
    }
    return "not sent: the batch was interrupted";
}

void
belay__batch_leave(
    struct belay__batch *batch, const struct belay__line_ref *ref)
{
    if (batch->leaving != BELAY__LINE_OK && batch->writer.code == 0) {
        belay__batch_write_error(batch, ref, batch->leaving, why_left(batch));
        return;
    }
    batch->stats->dropped++;
}

static void
write_response(
    struct belay__json_writer *writer, const belay_llm_reply *reply, bool json)
{
    const struct belay_slice id = belay__llm_reply_request_id(reply);

    belay__json_key(writer, "response");
    belay__json_open_object(writer);
    belay__json_key(writer, "status_code");
    belay__json_int(writer, belay_llm_reply_status(reply));
    belay__json_key(writer, "request_id");
    if (id.len > 0) {
        belay__json_string(writer, id);
    } else {
        belay__json_null(writer);
    }
    belay__json_key(writer, "body");
    if (json) {
        belay__json_raw_line(writer, belay_llm_reply_body(reply));
    } else {
        belay__json_string(writer, belay_llm_reply_body(reply));
    }
    belay__json_close_object(writer);
}

void
belay__batch_write_reply(struct belay__batch *batch,
    const struct belay__line_ref *ref, const belay_llm_reply *reply, bool json)
{
    const int status = belay_llm_reply_status(reply);
    struct belay__json_writer writer;
    char message[64];

    begin_line(&writer, batch, ref);
    write_response(&writer, reply, json);
    if (!is_success(status) && batch->opts.errors_path == NULL) {
        (void)snprintf(message, sizeof(message),
            "the server answered with status %d", status);
        write_error_object(&writer, "http_error", message);
    } else {
        belay__json_key(&writer, "error");
        belay__json_null(&writer);
    }
    end_line(&writer, batch, ref,
        &(const struct belay__batch_kind){
            .file =
                is_success(status) ? BELAY__BATCH_OUTPUT : BELAY__BATCH_ERRORS,
            .status = status,
            .model = ref->model,
        });
}
