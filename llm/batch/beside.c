/* beside.c - the tasks that run beside a batch: they tell how it stands, make
 * safe what was written, and end it when its time is over.
 */
#include "llm/batch/file.h"
#include "llm/batch/pipeline.h"

#include <belay/async.h>
#include <errno.h>
#include <unistd.h>

#define SYNC_INTERVAL_MS 200

struct ticker {
    struct belay__batch *batch;
};

BELAY_ASYNC(ticker)
{
    struct belay__batch *batch = self->batch;

    BELAY_BEGIN;
    while (batch->opts.progress != NULL) {
        batch->opts.progress(batch->stats, belay_now(task).ns, batch->opts.arg);
        BELAY_AWAIT(belay_sleep(task, batch->opts.progress_interval));
    }
    BELAY_END;
}

struct dropper {
    struct belay__batch *batch;
};

/* Once the batch stops, what is in flight has so long (B29). A line that is
 * active has a worker, so the group of the workers is still there.
 */
BELAY_ASYNC(dropper)
{
    struct belay__batch *batch = self->batch;

    BELAY_BEGIN;
    BELAY_AWAIT(belay_event_wait(task, &batch->stopped));
    BELAY_AWAIT(belay_sleep(task, batch->opts.drain_timeout));
    if (batch->active.count > 0) {
        belay_group_cancel(batch->workers, "what was in flight took too long");
    }
    BELAY_END;
}

struct sync_files {
    struct belay__batch *batch;
    int fd;
};

/* Makes safe what was written; a file that cannot be synced ends the batch. The
 * journal comes first, once: what is in a file has its records there.
 */
BELAY_ASYNC(sync_files)
{
    BELAY_BEGIN;
    self->batch->synced_lines = self->batch->writer.lines;
    self->fd = belay__batch_state_take_dirty(&self->batch->state);
    if (self->fd < 0) {
        self->fd = belay__batch_writer_take_dirty(&self->batch->writer);
    }
    for (; self->fd >= 0;
         self->fd = belay__batch_writer_take_dirty(&self->batch->writer)) {
        BELAY_TRY(belay__file_sync(task, self->fd));
        if (belay_result(task)->cancelled) {
            return belay_pass(task);
        }
        if (belay_result(task)->code < 0) {
            belay__batch_stop(self->batch, BELAY__BATCH_NO_OUTPUT,
                belay_result(task)->code, self->batch->opts.output_path);
        }
    }
    BELAY_END;
}

/* At the exit, which may have written what was kept until then. */
void
belay__batch_sync_rest(struct belay__batch *batch)
{
    int fd = belay__batch_state_take_dirty(&batch->state);

    if (fd < 0) {
        fd = belay__batch_writer_take_dirty(&batch->writer);
    }
    for (; fd >= 0; fd = belay__batch_writer_take_dirty(&batch->writer)) {
        if (fdatasync(fd) < 0) {
            belay__batch_stop(
                batch, BELAY__BATCH_NO_OUTPUT, -errno, batch->opts.output_path);
        }
    }
}

struct syncer {
    struct belay__batch *batch;
};

BELAY_ASYNC(syncer)
{
    BELAY_BEGIN;
    while (self->batch->opts.sync == BELAY__BATCH_SYNC_INTERVAL) {
        BELAY_WITH (
            belay_move_on(task, belay_milliseconds(SYNC_INTERVAL_MS), NULL)) {
            BELAY_AWAIT(belay_event_wait(task, &self->batch->sync_due));
        }
        belay_event_clear(&self->batch->sync_due);
        BELAY_AWAIT(BELAY_CALL(sync_files, .batch = self->batch));
    }
    BELAY_END;
}

struct expirer {
    struct belay__batch *batch;
};

BELAY_ASYNC(expirer)
{
    struct belay__batch *batch = self->batch;

    BELAY_BEGIN;
    if (batch->opts.expire.ns > 0) {
        BELAY_AWAIT(belay_sleep(task, batch->opts.expire));
        belay__batch_stop(batch, BELAY__BATCH_EXPIRED, 0, NULL);
    }
    BELAY_END;
}

belay_next
belay__batch_sync(belay_task *task, struct belay__batch *batch)
{
    return BELAY_CALL(sync_files, .batch = batch);
}

int
belay__batch_start_helpers(struct belay__batch *batch)
{
    int code = belay_spawn(batch->helpers, ticker, .batch = batch);

    if (code == 0) {
        code = belay_spawn(batch->helpers, syncer, .batch = batch);
    }
    if (code == 0) {
        code = belay_spawn(batch->helpers, dropper, .batch = batch);
    }
    return code == 0 ? belay_spawn(batch->helpers, expirer, .batch = batch)
                     : code;
}
