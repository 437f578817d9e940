/* reader.c - the task that reads lines and admits them.
 *
 * A line whose model has enough waiting is put off as long as workers have
 * nothing to do: only its place in the file is kept, and it is read again when
 * the model is short of lines. So the lines of a slow model do not keep those
 * of others from being reached (B25). What cannot be read twice, a pipe, is
 * read as far as there is room.
 */
#include "llm/batch/file.h"
#include "llm/batch/pipeline.h"
#include "runtime/internal.h"

#include <string.h>

#define GAP_BYTES 4096 /* read again although nobody wants them */

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
    if (ref->custom_id.data != NULL) {
        memcpy(text, ref->custom_id.data, ref->custom_id.len);
    }
    item->ref.custom_id.data = text;
    text += ref->custom_id.len;
    memcpy(text, body.data, body.len);
    item->body = (struct belay_slice){text, body.len};
    belay__request_measure(item->body, &item->size);
    item->size.no_output = belay__batch_is_without_output(path);
    return item;
}

int
belay__batch_body_of(const struct belay__batch_opts *opts,
    struct belay__buffer *buffer, const struct belay__batch_request *request,
    struct belay_slice *ret)
{
    int code;

    if (opts->model == NULL) {
        *ret = request->body;
        return 0;
    }
    belay__buffer_clear(buffer);
    code = belay__batch_write_body(buffer, request->body,
        (struct belay_slice){opts->model, strlen(opts->model)});
    if (code == 0) {
        *ret = belay__buffer_slice(buffer);
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
}

static void
pass_over(struct belay__batch *batch, const struct belay__line_ref *ref)
{
    batch->stats->lines++;
    batch->stats->passed++;
    belay__batch_writer_skip(&batch->writer, ref->sequence);
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

/* The model that the line asks for. */
static struct belay_slice
name_of(const struct belay__batch *batch,
    const struct belay__batch_request *request)
{
    const char *model = batch->opts.model;

    return model != NULL ? (struct belay_slice){model, strlen(model)}
                         : request->model;
}

static int
model_of(struct belay__batch *batch, const struct belay__batch_request *request,
    struct belay__batch_model **ret)
{
    const struct belay__models_opts opts = {
        .runtime = batch->runtime,
        .concurrency = batch->opts.concurrency,
        .start = batch->opts.start,
        .rates.per_minute = {batch->opts.requests_per_minute,
            batch->opts.tokens_per_minute},
    };

    return belay__models_find(
        &batch->models, &opts, name_of(batch, request), ret);
}

/* The line is good: it is ready from now on. Errors: BELAY_ENOMEM. */
static int
let_in(struct belay__batch *batch, const struct belay__line_ref *ref,
    const struct belay__batch_request *request,
    struct belay__batch_model *model)
{
    struct belay_slice body = {"", 0};
    struct belay__item *item;
    int code = belay__batch_body_of(&batch->opts, &batch->body, request, &body);

    if (code < 0) {
        return code;
    }
    if (batch->stopping) { /* while the line was being read again */
        belay__batch_leave(batch, ref);
        return 0;
    }
    item = item_new(batch, ref, path_of(request->url), body);
    if (item == NULL) {
        return BELAY_ENOMEM;
    }
    item->model = model;
    item->priced = belay_prices_find(batch->opts.prices, NULL,
                       name_of(batch, request), &item->price)
                   == 0;
    item->charged = belay__line_set_has(&batch->state.in_doubt, ref->number);
    belay__schedule_last(batch, item);
    belay__schedule(batch);
    return 0;
}

/* A line that has been looked at before. Its text is as it was, unless somebody
 * writes to the input; then it is whatever is there now.
 */
static int
admit_again(struct belay__batch *batch, const struct belay__line *line,
    uint64_t sequence, struct belay__batch_model *model)
{
    const struct belay__batch_rules rules = belay__batch_rules_of(&batch->opts);
    struct belay__line_ref ref = {.number = line->number, .sequence = sequence};
    struct belay__batch_request request;
    int code;

    code = belay__batch_read(line, &rules, &batch->scratch, &request);
    if (code < 0) {
        return code;
    }
    ref.custom_id = request.custom_id_raw;
    if (request.fault != BELAY__BATCH_NONE) {
        belay__batch_write_error(
            batch, &ref, belay__batch_error_of(request.fault), request.message);
        return 0;
    }
    return let_in(batch, &ref, &request, model);
}

/* What can be done with the next new line of a model. */
enum course { LET_IN, PUT_OFF, WAIT };

/* Lines are put off only for workers that have nothing to do: there may be one
 * for them further on.
 */
static enum course
course_of(const struct belay__batch *batch,
    const struct belay__batch_model *model, const struct belay__line *line)
{
    if (batch->stopping
        || (model->put_off == NULL
            && belay__schedule_has_room(batch, model, line->text.len))) {
        return LET_IN;
    }
    return batch->rereadable && batch->idle > 0
                   && batch->models.put_off < BELAY__PUT_OFF_MAX
               ? PUT_OFF
               : WAIT;
}

/* A line of which the model is known; request NULL: that was some time ago.
 * *ret_model stays NULL, unless the line must wait.
 */
static int
take_line(struct belay__batch *batch, const struct belay__line *line,
    const struct belay__batch_request *request,
    struct belay__batch_model *model, struct belay__batch_model **ret_model)
{
    const struct belay__line_ref ref = {.number = line->number,
        .sequence = batch->stats->lines,
        .custom_id = request != NULL ? request->custom_id_raw
                                     : (struct belay_slice){NULL, 0}};
    int code = 0;

    switch (course_of(batch, model, line)) {
    case LET_IN:
        code = request != NULL ? let_in(batch, &ref, request, model)
                               : admit_again(batch, line, ref.sequence, model);
        break;
    case PUT_OFF:
        code = belay__model_put_off(&batch->models, batch->memory, model,
            &(const struct belay__put_off){.number = line->number,
                .sequence = ref.sequence,
                .offset = line->offset,
                .len = line->text.len});
        break;
    case WAIT:
        *ret_model = model;
        return 0;
    }
    batch->stats->lines += code == 0;
    return code;
}

/* A line for the first time: takes it, or writes an error line. *ret_model is
 * set if it must wait. Errors: BELAY_ENOMEM; none of these.
 */
static int
admit(struct belay__batch *batch, const struct belay__line *line,
    struct belay__batch_model **ret_model)
{
    const struct belay__batch_rules rules = belay__batch_rules_of(&batch->opts);
    struct belay__line_ref ref = {
        .number = line->number, .sequence = batch->stats->lines};
    struct belay__batch_request request;
    struct belay__batch_model *model = NULL;
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
        reject(
            batch, &ref, belay__batch_error_of(request.fault), request.message);
        return 0;
    }
    if (batch->stopping) {
        batch->stats->lines++;
        belay__batch_leave(batch, &ref);
        return 0;
    }
    code = model_of(batch, &request, &model);
    if (code < 0) {
        return code;
    }
    model->seen = batch->stats->lines;
    return take_line(batch, line, &request, model, ret_model);
}

/* The model that is short of lines and has some put off; NULL: none is. */
static struct belay__batch_model *
short_model(const struct belay__batch *batch)
{
    struct belay__batch_model *model =
        batch->models.put_off > 0 ? batch->models.first : NULL;

    while (model != NULL
           && (model->put_off == NULL || !belay__schedule_is_short(batch, model)
               || !belay__schedule_has_room(
                   batch, model, (size_t)model->put_off->len))) {
        model = model->next;
    }
    return model;
}

/* Can something be done with the new line? If all lines so far were of one
 * model, this one most likely is too: it is not looked at twice.
 */
static bool
has_course(const struct belay__batch *batch, const struct belay__line *line,
    const struct belay__batch_model *model)
{
    if (model == NULL && batch->models.count == 1) {
        model = batch->models.first;
    }
    return belay__batch_writer_has_room(&batch->writer, batch->stats->lines)
           && (model == NULL || course_of(batch, model, line) != WAIT);
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
    belay__lines_push(&batch->lines, batch->chunk, len);
}

/* From the first line that the model has put off to the end of others close
 * behind it, which are read with it.
 */
static size_t
stretch_of(
    const struct belay__batch *batch, const struct belay__batch_model *model)
{
    const struct belay__put_off *line = model->put_off;
    const uint64_t start = line->offset;
    uint64_t len = line->len;
    uint32_t count = 1;

    while ((line = line->next) != NULL && count < batch->opts.concurrency
           && line->offset - start <= len + GAP_BYTES
           && line->offset - start + line->len <= BELAY__BATCH_CHUNK_BYTES) {
        len = line->offset - start + line->len;
        count++;
    }
    return (size_t)len;
}

/* What there is of a line. It may be less than there was, if somebody has cut
 * the input short: then it is no line any more.
 */
static struct belay_slice
text_again(const struct belay__batch *batch, uint64_t start,
    const struct belay__put_off *line)
{
    const struct belay_slice all = belay__buffer_slice(&batch->again);
    const uint64_t at = line->offset - start;
    const size_t from = at < all.len ? (size_t)at : all.len;
    const size_t rest = all.len - from;

    return (struct belay_slice){
        all.data + from, line->len < rest ? (size_t)line->len : rest};
}

/* Lets in what was read from there on, as far as there is room. */
static int
take_again(struct belay__batch *batch, struct belay__batch_model *model,
    uint64_t start, size_t wanted)
{
    const struct belay__put_off *first;
    int code = 0;

    while (code == 0 && (first = model->put_off) != NULL
           && first->offset - start + first->len <= wanted
           && belay__schedule_has_room(batch, model, (size_t)first->len)) {
        const struct belay__put_off line =
            belay__model_take_back(&batch->models, batch->memory, model);

        code = admit_again(batch,
            &(const struct belay__line){.text = text_again(batch, start, &line),
                .number = line.number,
                .offset = line.offset},
            line.sequence, model);
        batch->stats->dropped += code < 0; /* it is off the list already */
    }
    return code;
}

/* Reads lines again that the model has put off. */
struct read_again {
    struct belay__batch *batch;
    struct belay__batch_model *model;
    uint64_t start;
    size_t wanted;
    size_t len;
};

BELAY_ASYNC(read_again)
{
    struct belay__buffer *again = &self->batch->again;
    int code = 0;

    BELAY_BEGIN;
    self->start = self->model->put_off->offset;
    self->wanted = stretch_of(self->batch, self->model);
    belay__buffer_clear(again);
    BELAY_CHECK(belay__buffer_reserve(again, self->wanted));
    while (again->len < self->wanted) {
        BELAY_AWAIT(belay__file_read_at(task, self->batch->input_fd,
            again->data + again->len, self->wanted - again->len,
            (int64_t)(self->start + again->len), &self->len));
        if (self->len == 0) {
            break;
        }
        again->len += self->len;
    }
    code = take_again(self->batch, self->model, self->start, self->wanted);
    if (code < 0) {
        BELAY_FAIL(code, NULL);
    }
    BELAY_END;
}

/* More of the file. False: there is no more. */
struct read_more {
    struct belay__batch *batch;
    size_t len;
};

BELAY_ASYNC(read_more)
{
    BELAY_BEGIN;
    BELAY_TRY(belay__file_read(task, self->batch->input_fd, self->batch->chunk,
        BELAY__BATCH_CHUNK_BYTES, &self->len));
    if (belay_result(task)->code == 0) {
        take_chunk(self->batch, self->len);
    } else if (belay_result(task)->code != BELAY_EAGAIN) {
        return belay_pass(task);
    }
    BELAY_END;
}

/* Are there lines to be sent, or error lines to be written for them? */
static bool
is_wanted(const struct belay__batch *batch)
{
    return !batch->stopping
           || (batch->leaving != BELAY__LINE_OK && batch->writer.code == 0);
}

struct read_lines {
    struct belay__batch *batch;
    struct belay__batch_model *model;
    struct belay__line line;
    bool held; /* line was read, and nothing could be done with it yet */
    struct belay__batch_model *held_for; /* NULL: not looked at */
};

/* Behind the line and its end, which the last one may lack. */
static void
note_position(struct belay__batch_stats *stats, const struct belay__line *line)
{
    const uint64_t end = line->offset + line->text.len + 1;

    stats->input_bytes = stats->input_size > 0 && end > stats->input_size
                             ? stats->input_size
                             : end;
}

static int
go_on(struct read_lines *self)
{
    struct belay__batch_model *model = self->held_for;
    int code;

    self->held_for = NULL;
    code = model == NULL ? admit(self->batch, &self->line, &self->held_for)
                         : take_line(self->batch, &self->line, NULL, model,
                             &self->held_for);
    self->held = self->held_for != NULL;
    if (code == 0 && !self->held) {
        note_position(self->batch->stats, &self->line);
    }
    return code;
}

BELAY_ASYNC(read_lines)
{
    struct belay__batch *batch = self->batch;
    int code = 0;

    BELAY_BEGIN;
    while (is_wanted(batch)) {
        if (!self->held) {
            code = belay__lines_next(&batch->lines, &self->line);
            self->held = code > 0;
        }
        if (code < 0) {
            BELAY_FAIL(code, NULL);
        }
        batch->all_seen = !self->held && batch->input_ended;
        self->model = short_model(batch);
        if (self->model != NULL) {
            BELAY_AWAIT(
                BELAY_CALL(read_again, .batch = batch, .model = self->model));
        } else if (self->held
                   && has_course(batch, &self->line, self->held_for)) {
            code = go_on(self);
            if (code < 0) {
                BELAY_FAIL(code, NULL);
            }
        } else if (!self->held && !batch->input_ended) {
            BELAY_AWAIT(BELAY_CALL(read_more, .batch = batch));
        } else if (!self->held && batch->models.put_off == 0) {
            break;
        } else {
            belay_event_clear(&batch->moved);
            belay__schedule(batch); /* for some no places are kept any more */
            BELAY_AWAIT(belay_event_wait(task, &batch->moved));
        }
        code = 0;
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
    belay__schedule(batch); /* it may have been the last to have something */
    return belay_return(task, NULL);
}

const belay_function belay__batch_reader = {"batch reader", __FILE__,
    sizeof(struct belay__batch_reader), reader_step, 0};
