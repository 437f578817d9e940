/* recorder.c - the scope, and what is on its way to the writer.
 *
 * Invariants: rows counts every row that the writer has and the room that
 * every ticket holds for its end; bytes those that the writer has. Tickets
 * wait only while something is on its way, whose return lets them go on.
 */
#include "llm/record/recorder.h"

#include "llm/record/writer.h"
#include "runtime/internal.h"

#include <time.h>

#define MAX_ROWS 8192
#define MAX_BYTES ((size_t)64 * 1024 * 1024)
#define BATCH_ROWS 128
#define BATCH_NS UINT64_C(50000000)
#define ROWS_EACH 2 /* of an attempt: its start and its end */

struct belay_recorder {
    struct belay__memory *memory;
    uint32_t refs;
    bool over; /* its block has been left: nothing more is taken */
    struct belay_recorder_opts opts;
    char *path;
    char run[BELAY__ULID_BYTES];
    struct belay__ulid_source ids;
    uint32_t rows;
    size_t bytes;
    uint64_t dropped;
    uint64_t lost; /* here, for want of memory */
    int error;     /* of those */
    struct belay__record_ticket *waiting_first;
    struct belay__record_ticket *waiting_last;
    struct belay__writer_news news;
    struct belay__writer writer;
    struct belay_op op; /* enter and exit wait for the writer */
};

belay_recorder *
belay__recorder_ref(belay_recorder *recorder)
{
    if (recorder != NULL) {
        recorder->refs++;
    }
    return recorder;
}

void
belay__recorder_unref(belay_recorder *recorder)
{
    struct belay__memory *memory;

    if (recorder == NULL || --recorder->refs > 0) {
        return;
    }
    memory = recorder->memory;
    belay__free(memory, recorder->path, strlen(recorder->path) + 1);
    belay__free(memory, recorder, sizeof(*recorder));
    belay__memory_unref(memory);
}

static int64_t
unix_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- rows ---- */

static size_t
texts_len(const struct belay__row *row)
{
    size_t len = 0;

    for (int i = 0; i < BELAY__TEXT_COUNT; i++) {
        len += row->texts[i].len;
    }
    return len;
}

static void
redact(const belay_recorder *recorder, struct belay_slice *text)
{
    if (recorder->opts.redact != NULL && text->len > 0) {
        text->len = recorder->opts.redact(
            belay__without_const(text->data), text->len, recorder->opts.arg);
    }
}

/* Servers quote keys in their errors, and people paste them into prompts. Of
 * the same length, so that JSON stays JSON (S2).
 */
static void
hide(struct belay_slice text, struct belay_slice secret)
{
    char *at = belay__without_const(text.data);
    const char *end = at + text.len;

    while (secret.len > 0 && text.len > 0 && (size_t)(end - at) >= secret.len
           && (at = memchr(
                   at, secret.data[0], (size_t)(end - at) - secret.len + 1))
                  != NULL) {
        if (memcmp(at, secret.data, secret.len) == 0) {
            memset(at, '*', secret.len);
            at += secret.len;
        } else {
            at++;
        }
    }
}

/* A row of its own, with copies of all texts; NULL without memory. */
static struct belay__row *
row_new(const belay_recorder *recorder, const struct belay__row *model,
    struct belay_slice secret)
{
    const size_t bytes = sizeof(*model) + texts_len(model);
    struct belay__row *row = belay__alloc(recorder->memory, bytes);
    char *to;

    if (row == NULL) {
        return NULL;
    }
    *row = *model;
    row->bytes = bytes;
    to = (char *)(row + 1);
    for (int i = 0; i < BELAY__TEXT_COUNT; i++) {
        const size_t len = model->texts[i].len;

        if (len > 0) {
            memcpy(to, model->texts[i].data, len);
        }
        row->texts[i].data = len > 0 ? to : NULL;
        hide(row->texts[i], secret);
        to += len;
    }
    redact(recorder, &row->texts[BELAY__TEXT_BODY]);
    redact(recorder, &row->texts[BELAY__TEXT_MESSAGE]);
    return row;
}

static void
row_free(const belay_recorder *recorder, struct belay__row *row)
{
    belay__free(recorder->memory, row, row->bytes);
}

static void
note_lost(belay_recorder *recorder)
{
    recorder->lost++;
    recorder->error = BELAY_ENOMEM;
}

static struct belay_slice
slice_of(const char *text)
{
    return (struct belay_slice){text, text != NULL ? strlen(text) : 0};
}

/* ---- the queue ---- */

/* While something is on its way, or waited for, the loop has to live. */
static void
update_loop(belay_recorder *recorder)
{
    uv_handle_t *handle = (uv_handle_t *)&recorder->writer.async;

    if (recorder->rows > 0 || recorder->waiting_first != NULL
        || belay_op_pending(&recorder->op)) {
        uv_ref(handle);
    } else {
        uv_unref(handle);
    }
}

/* An attempt larger than all room goes when nothing else is on its way. */
static bool
has_room(const belay_recorder *recorder, const struct belay__row *row)
{
    return recorder->rows == 0
           || (recorder->rows + ROWS_EACH <= recorder->opts.max_rows
               && recorder->bytes <= recorder->opts.max_bytes
               && row->bytes <= recorder->opts.max_bytes - recorder->bytes);
}

static void
put(belay_recorder *recorder, struct belay__row *row)
{
    recorder->bytes += row->bytes;
    belay__writer_put(&recorder->writer, row);
}

/* The ticket's row is on its way, and room is held for the other. */
static void
admit(belay_recorder *recorder, struct belay__record_ticket *ticket)
{
    recorder->rows += ROWS_EACH;
    put(recorder, ticket->row);
    ticket->row = NULL;
}

static void
queue_push(belay_recorder *recorder, struct belay__record_ticket *ticket)
{
    ticket->next = NULL;
    ticket->prev = recorder->waiting_last;
    if (ticket->prev != NULL) {
        ticket->prev->next = ticket;
    } else {
        recorder->waiting_first = ticket;
    }
    recorder->waiting_last = ticket;
}

static void
queue_remove(belay_recorder *recorder, struct belay__record_ticket *ticket)
{
    if (ticket->prev != NULL) {
        ticket->prev->next = ticket->next;
    } else {
        recorder->waiting_first = ticket->next;
    }
    if (ticket->next != NULL) {
        ticket->next->prev = ticket->prev;
    } else {
        recorder->waiting_last = ticket->prev;
    }
}

static void
dispatch(belay_recorder *recorder)
{
    struct belay__record_ticket *ticket;

    while ((ticket = recorder->waiting_first) != NULL
           && has_room(recorder, ticket->row)) {
        queue_remove(recorder, ticket);
        admit(recorder, ticket);
        belay_op_done(&ticket->op, 0, NULL);
    }
    update_loop(recorder);
}

/* ---- an attempt ---- */

/* What a call gets that cannot be recorded. */
static int
refusal(const belay_recorder *recorder, int code)
{
    return recorder->opts.strict ? code : 0;
}

static void
ticket_clear(struct belay__record_ticket *ticket)
{
    belay_recorder *recorder = ticket->recorder;

    ticket->recorder = NULL;
    ticket->row = NULL;
    belay__recorder_unref(recorder);
}

/* A wait for room is cut short. */
static enum belay_abort
abort_wait(struct belay_op *op)
{
    struct belay__record_ticket *ticket =
        BELAY__CONTAINER(op, struct belay__record_ticket, op);
    belay_recorder *recorder = ticket->recorder;

    queue_remove(recorder, ticket);
    row_free(recorder, ticket->row);
    dispatch(recorder);
    ticket_clear(ticket);
    return BELAY_ABORT_DONE;
}

static struct belay__row *
start_row(const belay_recorder *recorder,
    const struct belay__record_start *start, const char *attempt)
{
    struct belay__row row = {
        .kind = BELAY__ROW_START,
        .number = start->number,
        .checked = start->checked && recorder->opts.redact == NULL,
        .started_us = unix_us(),
        .texts =
            {
                [BELAY__TEXT_SESSION] = slice_of(start->session),
                [BELAY__TEXT_TURN] = slice_of(start->turn),
                [BELAY__TEXT_PARENT_TURN] = slice_of(start->parent_turn),
                [BELAY__TEXT_ENDPOINT] = slice_of(start->endpoint),
                [BELAY__TEXT_PROVIDER] = slice_of(start->provider),
                [BELAY__TEXT_MODEL] = start->model,
                [BELAY__TEXT_BODY] = start->body,
            },
    };

    memcpy(row.attempt, attempt, sizeof(row.attempt));
    if (recorder->opts.text == BELAY_RECORD_NO_TEXT) {
        row.texts[BELAY__TEXT_BODY] = (struct belay_slice){NULL, 0};
    }
    return row_new(recorder, &row, start->secret);
}

/* 0: on its way, or not recorded; BELAY_EAGAIN: it has to wait. */
static int
begin_now(belay_recorder *recorder, const struct belay__record_start *start,
    struct belay__record_ticket *ticket)
{
    if (recorder->over) {
        return 0;
    }
    if (recorder->opts.strict && recorder->news.error < 0) {
        return BELAY_EIO;
    }
    belay__ulid_make(&recorder->ids, unix_us() / 1000, ticket->attempt);
    ticket->row = start_row(recorder, start, ticket->attempt);
    if (ticket->row == NULL) {
        note_lost(recorder);
        return refusal(recorder, BELAY_ENOMEM);
    }
    ticket->recorder = recorder;
    recorder->refs++;
    if (recorder->waiting_first == NULL && has_room(recorder, ticket->row)) {
        admit(recorder, ticket);
        update_loop(recorder);
        return 0;
    }
    if (recorder->opts.full == BELAY_RECORD_WAIT) {
        return BELAY_EAGAIN;
    }
    recorder->dropped++;
    row_free(recorder, ticket->row);
    ticket_clear(ticket);
    return 0;
}

belay_next
belay__record_begin(belay_task *task, belay_recorder *recorder,
    const struct belay__record_start *start,
    struct belay__record_ticket *ticket)
{
    int code = 0;

    *ticket = (struct belay__record_ticket){.recorder = NULL};
    if (belay_op_begin(task, &ticket->op, abort_wait) < 0) {
        return belay_op_wait(&ticket->op);
    }
    ticket->op.name = "recorder";
    if (recorder != NULL) {
        code = begin_now(recorder, start, ticket);
    }
    if (code == BELAY_EAGAIN) {
        queue_push(recorder, ticket);
        update_loop(recorder);
    } else {
        belay_op_done(&ticket->op, code, NULL);
    }
    return belay_op_wait(&ticket->op);
}

/* The time of something on the runtime's clock; 0: it has not happened. */
static int64_t
wall_us(int64_t now_us, belay_time now, belay_time then)
{
    return then.ns == 0 ? 0 : now_us - (now.ns - then.ns) / 1000;
}

static struct belay__row *
end_row(const belay_recorder *recorder, const struct belay__record_end *end,
    const char *attempt)
{
    const int64_t now_us = unix_us();
    const struct belay_llm_attempt *how = end->attempt;
    struct belay__row row = {
        .kind = BELAY__ROW_END,
        .status = end->status,
        .checked = end->checked && recorder->opts.redact == NULL,
        .ended_us = now_us,
        .cost = end->cost,
        .texts =
            {
                [BELAY__TEXT_MODEL] = end->model,
                [BELAY__TEXT_BODY] = end->body,
                [BELAY__TEXT_REQUEST_ID] = end->request_id,
                [BELAY__TEXT_MESSAGE] = end->message,
                [BELAY__TEXT_END] = end->end,
            },
    };

    memcpy(row.attempt, attempt, sizeof(row.attempt));
    if (recorder->opts.text == BELAY_RECORD_NO_TEXT) {
        row.texts[BELAY__TEXT_BODY] = (struct belay_slice){NULL, 0};
    }
    if (how != NULL) {
        row.http_status = how->status;
        row.code = how->code;
        row.billed = how->billed;
        row.first_byte_us = wall_us(now_us, end->now, how->first_byte);
        row.ended_us = wall_us(now_us, end->now, how->ended);
    }
    row.usage.in_total = -1;
    row.usage.out_total = -1;
    if (end->usage != NULL) {
        row.usage = *end->usage;
    }
    row.usage.raw = (struct belay_slice){NULL, 0};
    return row_new(recorder, &row, end->secret);
}

void
belay__record_finish(
    struct belay__record_ticket *ticket, const struct belay__record_end *end)
{
    belay_recorder *recorder = ticket->recorder;
    struct belay__row *row;

    if (recorder == NULL) {
        return;
    }
    row = recorder->over ? NULL : end_row(recorder, end, ticket->attempt);
    if (row != NULL) {
        put(recorder, row);
    } else {
        recorder->rows--;
        recorder->lost++;
        if (!recorder->over) {
            recorder->error = BELAY_ENOMEM;
            dispatch(recorder);
        }
    }
    ticket_clear(ticket);
}

/* ---- news from the writer ---- */

static void
on_news(uv_async_t *async)
{
    belay_recorder *recorder =
        BELAY__CONTAINER(async, belay_recorder, writer.async);
    struct belay__row *row;

    belay__writer_look(&recorder->writer, &recorder->news);
    while ((row = recorder->news.done) != NULL) {
        recorder->news.done = row->next;
        recorder->rows--;
        recorder->bytes -= row->bytes;
        row_free(recorder, row);
    }
    dispatch(recorder);
    if (belay_op_pending(&recorder->op)
        && (recorder->news.ended
            || (recorder->news.opened && !recorder->over))) {
        belay_op_done(&recorder->op, 0, NULL);
    }
}

void
belay_recorder_get_stats(
    belay_recorder *recorder, struct belay_recorder_stats *ret)
{
    const bool here = recorder->news.error == 0 && recorder->error < 0;

    if (!recorder->over) {
        on_news(&recorder->writer.async);
    }
    *ret = (struct belay_recorder_stats){
        .run = recorder->run,
        .written = recorder->news.written,
        .dropped = recorder->dropped,
        .lost = recorder->news.lost + recorder->lost,
        .rows = recorder->rows,
        .bytes = recorder->bytes,
        .error = here ? recorder->error : recorder->news.error,
    };
    memcpy(ret->message, recorder->news.why, sizeof(ret->message));
    if (here) {
        (void)snprintf(ret->message, sizeof(ret->message), "out of memory");
    }
}

/* ---- the scope ---- */

static void
destroy_value(void *value)
{
    belay__recorder_unref(value);
}

static const struct belay_var current = {"recorder", destroy_value};

belay_recorder *
belay_recorder_current(const belay_task *task)
{
    return belay_var_get(task, &current);
}

struct recording {
    struct belay_recorder_opts opts;
    belay_recorder **ret;
    belay_recorder *recorder;
    struct belay_var_token token;
    int code; /* of an enter that fails, of an exit's reset */
};

static void
on_closed(uv_handle_t *handle)
{
    belay_recorder *recorder =
        BELAY__CONTAINER((uv_async_t *)handle, belay_recorder, writer.async);

    belay_op_done(&recorder->op, 0, NULL);
}

/* Begins a wait for news; the loop lives until they come. */
static void
expect_news(belay_task *task, belay_recorder *recorder, const char *what)
{
    belay_op_begin_shielded(task, &recorder->op);
    recorder->op.name = what;
    update_loop(recorder);
}

/* Waits for the writer's handle to close; the thread has ended, or never ran.
 */
static belay_next
close_writer(belay_task *task, belay_recorder *recorder, belay_step *next)
{
    expect_news(task, recorder, "recorder close");
    belay__writer_fini(&recorder->writer, on_closed);
    return belay_then(task, next, belay_op_wait(&recorder->op));
}

static belay_next
enter_failed(belay_task *task, void *self)
{
    struct recording *recording = self;
    belay_recorder *recorder = recording->recorder;
    belay_next next;

    if (recorder->news.why[0] != '\0') {
        next = belay_fail(task, recording->code, "recorder \"%s\": %s",
            recorder->path, recorder->news.why);
    } else {
        next = belay_fail(task, recording->code, NULL);
    }
    belay__recorder_unref(recorder);
    return next;
}

static belay_next
fail_enter(belay_task *task, struct recording *recording, int code)
{
    recording->code = code;
    recording->recorder->over = true;
    return close_writer(task, recording->recorder, enter_failed);
}

static belay_next
writer_stopped(belay_task *task, void *self)
{
    struct recording *recording = self;

    return fail_enter(task, recording, recording->code);
}

/* The file is open; or the writer has ended because it is not. */
static belay_next
opened(belay_task *task, void *self)
{
    struct recording *recording = self;
    belay_recorder *recorder = recording->recorder;

    update_loop(recorder);
    if (recorder->news.ended) {
        return fail_enter(task, recording, recorder->news.error);
    }
    recording->code =
        belay_var_set(task, &current, recorder, &recording->token);
    if (recording->code < 0) {
        recorder->over = true;
        expect_news(task, recorder, "recorder drain");
        belay__writer_stop(&recorder->writer);
        return belay_then(task, writer_stopped, belay_op_wait(&recorder->op));
    }
    recorder->refs++; /* the variable has one */
    if (recording->ret != NULL) {
        *recording->ret = recorder;
    }
    return belay_return(task, recorder);
}

static belay_recorder *
recorder_new(
    struct belay__memory *memory, const struct belay_recorder_opts *opts)
{
    belay_recorder *recorder = belay__alloc_zero(memory, sizeof(*recorder));

    if (recorder == NULL) {
        return NULL;
    }
    recorder->path = belay__copy_text(memory, opts->path, strlen(opts->path));
    if (recorder->path == NULL) {
        belay__free(memory, recorder, sizeof(*recorder));
        return NULL;
    }
    recorder->memory = belay__memory_ref(memory);
    recorder->refs = 1;
    recorder->opts = *opts;
    belay__ulid_make(&recorder->ids, unix_us() / 1000, recorder->run);
    return recorder;
}

static void
set_defaults(belay_recorder *recorder, const struct belay__sink_kind *kind)
{
    struct belay_recorder_opts *opts = &recorder->opts;

    opts->max_rows = opts->max_rows > 0 ? opts->max_rows : MAX_ROWS;
    opts->max_bytes = opts->max_bytes > 0 ? opts->max_bytes : MAX_BYTES;
    recorder->writer.kind = kind;
    recorder->writer.sink_opts =
        (struct belay__sink_opts){recorder->path, recorder->run, opts->text};
    recorder->writer.batch_rows =
        opts->batch_rows > 0 ? opts->batch_rows : BATCH_ROWS;
    recorder->writer.batch_ns =
        opts->batch_time.ns > 0 ? (uint64_t)opts->batch_time.ns : BATCH_NS;
}

static const struct belay__sink_kind *
kind_of(const char *path)
{
    const size_t len = strlen(path);
    const bool lines = len >= 6 && strcmp(path + len - 6, ".jsonl") == 0;

    return lines ? &belay__sink_jsonl : belay__sink_sqlite;
}

static belay_next
recording_enter(belay_task *task, void *self)
{
    struct recording *recording = self;
    const struct belay__sink_kind *kind = kind_of(recording->opts.path);
    belay_recorder *recorder;
    int code;

    if (kind == NULL) {
        return belay_fail(task, BELAY_ENOSYS,
            "recorder \"%s\": this build has no SQLite", recording->opts.path);
    }
    recorder = recorder_new(task->runtime->memory, &recording->opts);
    if (recorder == NULL) {
        return belay_fail(task, BELAY_ENOMEM, NULL);
    }
    recording->recorder = recorder;
    set_defaults(recorder, kind);
    code = belay__writer_init(&recorder->writer, task->runtime->loop, on_news);
    if (code < 0) {
        belay__recorder_unref(recorder);
        return belay_fail(task, code, NULL);
    }
    code = belay__writer_start(&recorder->writer);
    if (code < 0) {
        return fail_enter(task, recording, code);
    }
    expect_news(task, recorder, "recorder open");
    return belay_then(task, opened, belay_op_wait(&recorder->op));
}

static belay_next
closed(belay_task *task, void *self)
{
    struct recording *recording = self;
    belay_recorder *recorder = recording->recorder;
    const bool failed =
        recorder->opts.strict && recorder->news.lost + recorder->lost > 0;
    belay_next next = belay_return(task, NULL);

    if (recording->code < 0) {
        next = belay_fail(task, recording->code,
            "recorder left while one that was entered later is still open");
    } else if (failed) {
        next = belay_fail(task, BELAY_EIO,
            "recorder \"%s\": rows could not be written: %s", recorder->path,
            recorder->news.lost > 0 ? recorder->news.why : "out of memory");
    }
    belay__recorder_unref(recorder);
    return next;
}

static belay_next
drained(belay_task *task, void *self)
{
    struct recording *recording = self;

    return close_writer(task, recording->recorder, closed);
}

static belay_next
recording_exit(belay_task *task, void *self)
{
    struct recording *recording = self;
    belay_recorder *recorder = recording->recorder;

    recording->code = belay_var_reset(task, &current, &recording->token);
    /* Calls of tasks outside: they go on without a record. */
    while (recorder->waiting_first != NULL) {
        struct belay__record_ticket *ticket = recorder->waiting_first;

        queue_remove(recorder, ticket);
        row_free(recorder, ticket->row);
        ticket->row = NULL;
        recorder->rows++; /* for its end, which its finish takes back */
        recorder->lost++;
        belay_op_done(&ticket->op, 0, NULL);
    }
    recorder->over = true;
    expect_news(task, recorder, "recorder drain");
    belay__writer_stop(&recorder->writer);
    return belay_then(task, drained, belay_op_wait(&recorder->op));
}

belay_next
belay_recorder_open(belay_task *task, const struct belay_recorder_opts *opts,
    belay_recorder **ret)
{
    static const belay_manager manager = {
        {"recorder", __FILE__, sizeof(struct recording), recording_enter, 0},
        recording_exit};

    if (opts->size != sizeof(*opts) || opts->path == NULL
        || opts->path[0] == '\0') {
        return belay__refuse(task, BELAY_EINVAL);
    }
    return belay_enter(
        task, &manager, &(const struct recording){.opts = *opts, .ret = ret});
}
