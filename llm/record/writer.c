/* writer.c - rows from a queue to a sink, some at a time.
 *
 * A batch is what has come within batch_ns of its first row, at most
 * batch_rows: one commit for it. A batch that fails is lost as a whole and
 * counted; the next one is tried all the same, since a full disk may be
 * emptied.
 */
#include "llm/record/writer.h"

#include <string.h>

struct batch {
    struct belay__row *first;
    struct belay__row *last;
    uint32_t count;
};

/* ---- on the writer's thread ---- */

/* With the lock: waits for a whole batch, or the stop; false: the end. */
static bool
wait_for_batch(struct belay__writer *writer)
{
    uint64_t due;
    uint64_t now;

    while (writer->first == NULL) {
        if (writer->stop) {
            return false;
        }
        uv_cond_wait(&writer->wake, &writer->lock);
    }
    now = uv_hrtime();
    due = now + writer->batch_ns;
    while (!writer->stop && writer->queued < writer->batch_rows && now < due) {
        (void)uv_cond_timedwait(&writer->wake, &writer->lock, due - now);
        now = uv_hrtime();
    }
    return true;
}

/* With the lock: the first rows, off the queue. */
static struct batch
take_batch(struct belay__writer *writer)
{
    struct batch batch = {writer->first, writer->first, 1};

    while (batch.count < writer->batch_rows && batch.last->next != NULL) {
        batch.last = batch.last->next;
        batch.count++;
    }
    writer->queued -= batch.count;
    writer->first = batch.last->next;
    if (writer->first == NULL) {
        writer->last = NULL;
    }
    batch.last->next = NULL;
    return batch;
}

static int
write_batch(struct belay__writer *writer, struct belay__sink *sink,
    const struct batch *batch, char *why)
{
    int code = writer->kind->begin(sink, why);

    if (code < 0) {
        return code;
    }
    for (const struct belay__row *row = batch->first; row != NULL && code == 0;
         row = row->next) {
        code = writer->kind->write(sink, row, why);
    }
    if (code == 0) {
        code = writer->kind->commit(sink, why);
    }
    if (code < 0) {
        writer->kind->rollback(sink);
    }
    return code;
}

static void
note_lost_starts(struct belay__writer *writer, const struct batch *batch)
{
    for (const struct belay__row *row = batch->first; row != NULL;
         row = row->next) {
        if (row->kind != BELAY__ROW_START) {
            continue;
        }
        if (writer->lost_first[0] == '\0') {
            memcpy(writer->lost_first, row->attempt, sizeof(row->attempt));
        }
        memcpy(writer->lost_last, row->attempt, sizeof(row->attempt));
    }
}

/* How many ends are of attempts whose start was lost? One of a commit between
 * two that failed may count too: that matters only if it was forgotten.
 */
static uint32_t
count_late_ends(const struct belay__writer *writer, const struct batch *batch)
{
    uint32_t count = 0;

    for (const struct belay__row *row = batch->first; row != NULL;
         row = row->next) {
        count += row->kind == BELAY__ROW_END
                 && strcmp(row->attempt, writer->lost_first) >= 0
                 && strcmp(row->attempt, writer->lost_last) <= 0;
    }
    return count;
}

/* A commit that went well leaves out ends without an attempt in the file: it
 * was lost before, and so are they, or it was forgotten meanwhile.
 */
static void
count_written(
    struct belay__writer *writer, const struct batch *batch, uint32_t homeless)
{
    uint32_t late;

    writer->written += batch->count - homeless;
    if (homeless > 0 && writer->lost_first[0] != '\0') {
        late = count_late_ends(writer, batch);
        writer->lost += late < homeless ? late : homeless;
    }
}

/* With the lock: the rows go back, with what became of them. */
static void
give_back(struct belay__writer *writer, const struct batch *batch, int code,
    uint32_t homeless, const char *why)
{
    if (code == 0) {
        count_written(writer, batch, homeless);
    } else {
        note_lost_starts(writer, batch);
        writer->lost += batch->count;
        writer->error = code;
        memcpy(writer->why, why, sizeof(writer->why));
    }
    batch->last->next = writer->done;
    writer->done = batch->first;
    (void)uv_async_send(&writer->async);
}

static void
serve(struct belay__writer *writer, struct belay__sink *sink)
{
    char why[BELAY__SINK_WHY_BYTES] = "";
    struct batch batch;
    int code;

    uv_mutex_lock(&writer->lock);
    while (wait_for_batch(writer)) {
        batch = take_batch(writer);
        uv_mutex_unlock(&writer->lock);
        code = write_batch(writer, sink, &batch, why);
        uv_mutex_lock(&writer->lock);
        give_back(writer, &batch, code, sink->homeless, why);
    }
    uv_mutex_unlock(&writer->lock);
}

static void
tell(struct belay__writer *writer, bool opened, bool ended, int error,
    const char *why)
{
    uv_mutex_lock(&writer->lock);
    writer->opened = opened;
    writer->ended = ended;
    if (error < 0) {
        writer->error = error;
        memcpy(writer->why, why, sizeof(writer->why));
    }
    /* Under the lock: who sees `ended` may close the handle. */
    (void)uv_async_send(&writer->async);
    uv_mutex_unlock(&writer->lock);
}

static void
writer_main(void *arg)
{
    struct belay__writer *writer = arg;
    char why[BELAY__SINK_WHY_BYTES] = "";
    struct belay__sink *sink = NULL;
    int code = writer->kind->open(&writer->sink_opts, &sink, why);

    if (code < 0) {
        tell(writer, false, true, code, why);
        return;
    }
    tell(writer, true, false, 0, why);
    serve(writer, sink);
    writer->kind->close(sink);
    tell(writer, true, true, 0, why);
}

/* ---- on the loop's thread ---- */

int
belay__writer_init(
    struct belay__writer *writer, uv_loop_t *loop, uv_async_cb on_news)
{
    int code = uv_mutex_init(&writer->lock);

    if (code < 0) {
        return code;
    }
    atomic_init(&writer->haste, BELAY__SINK_STEADY);
    writer->sink_opts.haste = &writer->haste;
    code = uv_cond_init(&writer->wake);
    if (code < 0) {
        goto destroy_lock;
    }
    code = uv_async_init(loop, &writer->async, on_news);
    if (code < 0) {
        goto destroy_wake;
    }
    return 0;

destroy_wake:
    uv_cond_destroy(&writer->wake);
destroy_lock:
    uv_mutex_destroy(&writer->lock);
    return code;
}

int
belay__writer_start(struct belay__writer *writer)
{
    const int code = uv_thread_create(&writer->thread, writer_main, writer);

    writer->started = code == 0;
    return code;
}

void
belay__writer_put(struct belay__writer *writer, struct belay__row *row)
{
    row->next = NULL;
    uv_mutex_lock(&writer->lock);
    if (writer->last != NULL) {
        writer->last->next = row;
    } else {
        writer->first = row;
    }
    writer->last = row;
    writer->queued++;
    /* A batch that grows does not wake it. */
    if (writer->queued == 1 || writer->queued == writer->batch_rows) {
        uv_cond_signal(&writer->wake);
    }
    uv_mutex_unlock(&writer->lock);
}

void
belay__writer_look(struct belay__writer *writer, struct belay__writer_news *ret)
{
    uv_mutex_lock(&writer->lock);
    *ret = (struct belay__writer_news){
        .done = writer->done,
        .written = writer->written,
        .lost = writer->lost,
        .error = writer->error,
        .opened = writer->opened,
        .ended = writer->ended,
    };
    memcpy(ret->why, writer->why, sizeof(ret->why));
    writer->done = NULL;
    uv_mutex_unlock(&writer->lock);
}

static void
stop(struct belay__writer *writer, enum belay__sink_haste haste)
{
    atomic_store(&writer->haste, haste);
    uv_mutex_lock(&writer->lock);
    writer->stop = true;
    uv_cond_signal(&writer->wake);
    uv_mutex_unlock(&writer->lock);
}

void
belay__writer_stop(struct belay__writer *writer)
{
    stop(writer, BELAY__SINK_LAST);
}

void
belay__writer_hurry(struct belay__writer *writer)
{
    stop(writer, BELAY__SINK_HURRY);
}

void
belay__writer_fini(struct belay__writer *writer, uv_close_cb closed)
{
    if (writer->started) {
        (void)uv_thread_join(&writer->thread);
    }
    uv_cond_destroy(&writer->wake);
    uv_mutex_destroy(&writer->lock);
    uv_close((uv_handle_t *)&writer->async, closed);
}
