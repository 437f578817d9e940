/* pipeline.h - what the parts of a running batch share (private to batch/).
 *
 *     reader -> ready, a queue a model -> assigned -> active -> a result
 *                  ^                                    |
 *                  +------------- sleeping <------------+
 *
 * An item is always in exactly one of these lists, so the end of the batch
 * finds every item, however its task has ended.
 */
#ifndef BELAY_LLM_BATCH_PIPELINE_H
#define BELAY_LLM_BATCH_PIPELINE_H

#define BELAY__BATCH_CHUNK_BYTES ((size_t)256 * 1024) /* of one read */
#define BELAY__BATCH_LINE_ROOM 65536 /* for what is added to a line */

#include <belay/group.h>
#include <belay/llm.h>
#include <belay/sync.h>
#include <belay/timeout.h>

#include "llm/batch/batch.h"
#include "llm/batch/ids.h"
#include "llm/batch/lines.h"
#include "llm/batch/models.h"
#include "llm/batch/request.h"
#include "llm/batch/state.h"
#include "llm/batch/writer.h"
#include "llm/retry.h"
#include "runtime/buffer.h"

struct belay__batch {
    struct belay__batch_opts opts; /* with defaults filled in */
    struct belay__batch_result *result;
    struct belay__batch_stats *stats; /* result's */
    belay_runtime *runtime;
    struct belay__memory *memory;
    belay_llm_client *client;
    belay_group *readers; /* the reader */
    belay_group *workers;
    belay_group *helpers; /* see beside.c */
    belay_task *reader;   /* counted; NULL once it has ended */
    int input_fd;
    int input_flags; /* of fcntl, to be put back */
    char *chunk;     /* what is read goes here */
    bool input_ended;
    bool all_seen;              /* and each of its lines has been looked at */
    bool rereadable;            /* a line of it can be read again */
    struct belay__buffer again; /* such lines */
    struct belay__lines lines;
    struct belay__ids ids;
    struct belay__batch_state state;
    struct belay__batch_writer writer;
    struct belay__buffer out;          /* the line being made */
    struct belay__buffer body;         /* with another model put in */
    struct belay__buffer scratch;      /* for reading a line */
    struct belay__batch_models models; /* with what is ready */
    struct belay__item_list assigned;  /* to workers that are about to wake */
    struct belay__item_list active;
    struct belay__sleepers sleepers;
    size_t waiting_bytes;         /* of what is ready or asleep */
    uint32_t idle;                /* workers without an item */
    struct belay_semaphore work;  /* a permit an assigned item, or an end */
    struct belay_event moved;     /* there may be room for more lines */
    struct belay_event alarm_due; /* something is due earlier than it was */
    int64_t alarm_ns;             /* when the alarm rings; INT64_MAX: never */
    int64_t scheduled_ns;         /* when the lines were last looked through */
    struct belay_event sync_due;
    uint64_t synced_lines;
    struct belay__llm_policy policy; /* of delays between attempts */
    uint64_t random;
    belay_budget *budget; /* a reference, or NULL: none */
    bool short_of_money;  /* until something that is in flight settles */
    bool reached;         /* the server has answered something */
    bool stopping;        /* no line is started any more … */
    enum belay__line_error leaving; /* … and each that was not gets such an
                                       error line; OK: it is in no file */
    struct belay_event stopped;
    bool done; /* nothing is left to do: the workers go home */
};

/* ---- reader.c ---- */

/* What the options ask of every line. */
struct belay__batch_rules belay__batch_rules_of(
    const struct belay__batch_opts *opts);

/* The body to send of a good request: its own, or, with --model, one with
 * another model in it, which is written into the buffer. Errors: as
 * belay__batch_write_body().
 */
int belay__batch_body_of(const struct belay__batch_opts *opts,
    struct belay__buffer *buffer, const struct belay__batch_request *request,
    struct belay_slice *ret);

/* Sends lines again that were put off, or new ones. */
struct belay__batch_reader {
    struct belay__batch *batch;
};
extern const belay_function belay__batch_reader;

/* ---- beside.c ---- */

/* Spawns those that run as long as the batch. */
int belay__batch_start_helpers(struct belay__batch *batch);
/* Makes safe what was written. A file that cannot be ends the batch. */
belay_next belay__batch_sync(belay_task *task, struct belay__batch *batch);
/* The same for what was written since, without a task; blocks. */
void belay__batch_sync_rest(struct belay__batch *batch);

/* ---- run.c ---- */

/* Ends admission; the first reason counts. */
void belay__batch_stop(struct belay__batch *batch, enum belay__batch_stop why,
    int code, const char *path);

/* ---- schedule.c ---- */

/* The item is the first, or the last, of what is ready for its model. */
void belay__schedule_first(
    struct belay__batch *batch, struct belay__item *item);
void belay__schedule_last(struct belay__batch *batch, struct belay__item *item);
/* It is ready again in so long. */
void belay__schedule_sleep(
    struct belay__batch *batch, struct belay__item *item, int64_t span_ns);
/* Gives idle workers what may be sent. To be called after every change. */
void belay__schedule(struct belay__batch *batch);
/* A worker without an item waits for one; *next* is then it, or NULL: no more
 * will come.
 */
belay_next belay__schedule_wait(belay_task *task, struct belay__batch *batch);
struct belay__item *belay__schedule_next(struct belay__batch *batch);
/* An item has left for good, written or not: its memory is freed. */
void belay__schedule_free(struct belay__batch *batch,
    struct belay__item_list *list, struct belay__item *item);
/* What is ready, asleep or put off is dropped. */
void belay__schedule_drop(struct belay__batch *batch);
/* The workers have ended: what they were about to get is dropped too. */
void belay__schedule_close(struct belay__batch *batch);
/* How many items there are at most, whatever list they are in: the sleepers
 * have room for all of them.
 */
size_t belay__schedule_items_max(const struct belay__batch *batch);
/* Has the model room for another line of so many bytes? One is always let in,
 * however long, if nothing else waits.
 */
bool belay__schedule_has_room(const struct belay__batch *batch,
    const struct belay__batch_model *model, size_t bytes);
/* Is less than half of what the model may have ready there? */
bool belay__schedule_is_short(
    const struct belay__batch *batch, const struct belay__batch_model *model);

/* Spawns the task that wakes sleepers, and models whose pause is over. */
int belay__schedule_start_alarm(struct belay__batch *batch);

/* ---- sample.c ---- */

/* How many may be in flight, and what each model has done: into the stats. */
void belay__batch_look_at_models(struct belay__batch *batch);
/* Spawns the task that adds to the series. */
int belay__batch_start_sampler(struct belay__batch *batch);

/* ---- money.c ---- */

/* Estimates the tokens of the item's input, unless that is done: it reads all
 * of it, and is needed only where there is a rate or a budget of estimates.
 */
void belay__batch_weigh(struct belay__item *item);
/* Room for the next attempt of the item. Errors: BELAY_EAGAIN not now;
 * BELAY_EBUDGET not at all; BELAY_ENOCAP, BELAY_ENOPRICE nobody can tell how
 * much it may cost. Nothing is held then.
 */
int belay__batch_reserve(struct belay__batch *batch, struct belay__item *item);
/* The attempt was not made. */
void belay__batch_release(struct belay__batch *batch, struct belay__item *item);
/* It was: charges what it has cost, and gives the bill for the journal. reply
 * NULL: there was no answer, or not to its end.
 */
struct belay__batch_bill belay__batch_settle(struct belay__batch *batch,
    struct belay__item *item, enum belay_llm_billed billed,
    belay_llm_reply *reply);

/* ---- outcome.c ---- */

enum belay__outcome {
    BELAY__OUTCOME_FINAL, /* the result is to be written */
    BELAY__OUTCOME_AGAIN, /* the item is ready, or asleep */
    BELAY__OUTCOME_DROP,  /* the batch stops, and this line was not tried */
};

/* What the end of an attempt means: for its model, and for the line. reply
 * NULL: there was no answer, see attempt->code.
 */
enum belay__outcome belay__batch_judge(struct belay__batch *batch,
    struct belay__item *item, const struct belay_llm_attempt *attempt,
    const belay_llm_reply *reply, bool json);

/* ---- worker.c ---- */

struct belay__batch_worker {
    struct belay__batch *batch;
    struct belay__item *item;
    belay_llm_reply *reply;
    struct belay_llm_attempt attempt;
    struct belay__rate_use use; /* of the model's rate */
};
extern const belay_function belay__batch_worker;

/* ---- result.c: the lines of B4 to B7 ---- */

/* A line that is not tried any more, now that the batch stops: it is in no
 * file, or there is an error line for it (B5, B8).
 */
void belay__batch_leave(
    struct belay__batch *batch, const struct belay__line_ref *ref);
/* A line without an answer of the server, and why. */
void belay__batch_write_error(struct belay__batch *batch,
    const struct belay__line_ref *ref, enum belay__line_error error,
    const char *message);
/* A line with the server's answer, good or bad. `json` says whether its body
 * is JSON; what is not goes out as a string.
 */
void belay__batch_write_reply(struct belay__batch *batch,
    const struct belay__line_ref *ref, const belay_llm_reply *reply, bool json);
/* All have ended: what the writer holds is written, if it can be. */
void belay__batch_end_writing(struct belay__batch *batch);

#endif
