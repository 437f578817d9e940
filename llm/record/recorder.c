/* recorder.c - attempts, and what is on its way to the writer. */
#include "llm/record/recorder.h"

#include "llm/record/state.h"
#include "runtime/internal.h"

#define ROWS_EACH 2 /* of an attempt: its start and its end */

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
    belay__life_end(memory, &recorder->life);
    belay__row_free_blocks(recorder);
    belay__free(memory, recorder->path, strlen(recorder->path) + 1);
    belay__free(memory, recorder, sizeof(*recorder));
    belay__memory_unref(memory);
}

struct belay__life
belay__recorder_life(const belay_recorder *recorder)
{
    return recorder->life;
}

bool
belay__recorder_is_over(const belay_recorder *recorder)
{
    return recorder->over;
}

void
belay__recorder_lose(belay_recorder *recorder, int code)
{
    recorder->lost++;
    recorder->error = code;
}

/* ---- the queue ---- */

/* While something is on its way, or waited for, the loop has to live. */
void
belay__recorder_update_loop(belay_recorder *recorder)
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
has_room(const belay_recorder *recorder, size_t bytes)
{
    return recorder->rows == 0
           || (recorder->rows + ROWS_EACH <= recorder->opts.max_rows
               && recorder->bytes <= recorder->opts.max_bytes
               && bytes <= recorder->opts.max_bytes - recorder->bytes);
}

static void
put(belay_recorder *recorder, struct belay__row *row)
{
    recorder->bytes += row->bytes;
    belay__writer_put(&recorder->writer, row);
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
    belay__recorder_unref(recorder);
}

/* There is room for the ticket: its first row goes, and room is held for the
 * other. Gives what the call gets.
 */
static int
admit(struct belay__record_ticket *ticket,
    const struct belay__record_start *start)
{
    belay_recorder *recorder = ticket->recorder;
    struct belay__row *row = belay__row_start(recorder, start, ticket->attempt);
    int code = 0;

    if (row != NULL) {
        recorder->rows += ROWS_EACH;
        put(recorder, row);
    } else {
        belay__recorder_lose(recorder, BELAY_ENOMEM);
        code = refusal(recorder, BELAY_ENOMEM);
        ticket_clear(ticket);
    }
    return code;
}

/* The first that waits goes on. */
static void
go_on(belay_recorder *recorder)
{
    struct belay__record_ticket *ticket = recorder->waiting_first;

    queue_remove(recorder, ticket);
    belay_op_done(&ticket->op, admit(ticket, &ticket->start), NULL);
}

static void
dispatch(belay_recorder *recorder)
{
    while (recorder->waiting_first != NULL
           && has_room(recorder, recorder->waiting_first->bytes)) {
        go_on(recorder);
    }
    belay__recorder_update_loop(recorder);
}

/* ---- an attempt ---- */

/* A wait for room is cut short. */
static void
leave_queue(struct belay__record_ticket *ticket)
{
    belay_recorder *recorder = ticket->recorder;

    queue_remove(recorder, ticket);
    dispatch(recorder);
    ticket_clear(ticket);
}

static enum belay_abort
abort_wait(struct belay_op *op)
{
    leave_queue(BELAY__CONTAINER(op, struct belay__record_ticket, op));
    return BELAY_ABORT_DONE;
}

void
belay__record_give_up(struct belay__record_ticket *ticket)
{
    if (belay__record_waits(ticket)) {
        leave_queue(ticket);
        belay_op_done(&ticket->op, BELAY_ECLOSED, NULL);
    }
}

void
belay__recorder_leave_queue(belay_recorder *recorder)
{
    const int code = refusal(recorder, BELAY_ECLOSED);
    struct belay__record_ticket *ticket;

    while ((ticket = recorder->waiting_first) != NULL) {
        queue_remove(recorder, ticket);
        if (code < 0) {
            ticket_clear(ticket);
        } else {
            recorder->rows++; /* for its end, which its finish takes back */
            belay__recorder_lose(recorder, BELAY_ECLOSED);
        }
        belay_op_done(&ticket->op, code, NULL);
    }
}

/* It waits for room; its row is made then, since nobody bounds the bytes of
 * rows that wait.
 */
static void
wait_for_room(belay_recorder *recorder, const struct belay__record_start *start,
    struct belay__record_ticket *ticket)
{
    ticket->start = *start;
    queue_push(recorder, ticket);
    belay__recorder_update_loop(recorder);
}

/* 0: on its way, or not recorded; BELAY_EAGAIN: it has to wait; else what the
 * call gets, of a strict one.
 */
static int
begin_now(belay_recorder *recorder, const struct belay__record_start *start,
    struct belay__record_ticket *ticket)
{
    bool room;
    int code;

    if (recorder->over) {
        return refusal(recorder, BELAY_ECLOSED);
    }
    if (recorder->opts.strict && recorder->news.error < 0) {
        return BELAY_EIO;
    }
    ticket->bytes = belay__row_start_bytes(recorder, start);
    room = recorder->waiting_first == NULL && has_room(recorder, ticket->bytes);
    if (!room && recorder->opts.full != BELAY_RECORD_WAIT) {
        recorder->dropped++;
        return 0;
    }
    belay__ulid_make(&recorder->ids, belay__unix_us() / 1000, ticket->attempt);
    ticket->recorder = belay__recorder_ref(recorder);
    if (!room) {
        return BELAY_EAGAIN;
    }
    code = admit(ticket, start);
    belay__recorder_update_loop(recorder);
    return code;
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
        wait_for_room(recorder, start, ticket);
    } else {
        belay_op_done(&ticket->op, code, NULL);
    }
    return belay_op_wait(&ticket->op);
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
    row =
        recorder->over ? NULL : belay__row_end(recorder, end, ticket->attempt);
    if (row != NULL) {
        put(recorder, row);
    } else {
        recorder->rows--;
        belay__recorder_lose(
            recorder, recorder->over ? BELAY_ECLOSED : BELAY_ENOMEM);
        if (!recorder->over) {
            dispatch(recorder);
        }
    }
    ticket_clear(ticket);
}

/* ---- news from the writer ---- */

void
belay__recorder_on_news(uv_async_t *async)
{
    belay_recorder *recorder =
        BELAY__CONTAINER(async, belay_recorder, writer.async);
    struct belay__row *row;

    belay__writer_look(&recorder->writer, &recorder->news);
    while ((row = recorder->news.done) != NULL) {
        recorder->news.done = row->next;
        recorder->rows--;
        recorder->bytes -= row->bytes;
        belay__row_free(recorder, row);
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
        belay__recorder_on_news(&recorder->writer.async);
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
        (void)snprintf(ret->message, sizeof(ret->message), "%s",
            belay_code_text(recorder->error));
    }
}
