/* pipeline.h - what the parts of a running batch share (private to batch/).
 *
 * An item is always in one of two lists of the batch, ready or active, so the
 * end of the batch finds every item, however its task has ended.
 */
#ifndef BELAY_LLM_BATCH_PIPELINE_H
#define BELAY_LLM_BATCH_PIPELINE_H

#define BELAY__BATCH_CHUNK_BYTES ((size_t)256 * 1024) /* of one read */

#include <belay/group.h>
#include <belay/llm.h>
#include <belay/sync.h>
#include <belay/timeout.h>

#include "llm/batch/batch.h"
#include "llm/batch/ids.h"
#include "llm/batch/lines.h"
#include "llm/batch/request.h"
#include "llm/batch/state.h"
#include "llm/batch/writer.h"
#include "runtime/buffer.h"

/* Which line of the input an output line is about. */
struct belay__line_ref {
    uint64_t number;   /* in the file, from 1 */
    uint64_t sequence; /* among the lines that are not blank, from 0 */
    struct belay_slice custom_id; /* as JSON, quotes included; empty: none */
};

/* One line on its way; its slices point behind the struct. */
struct belay__item {
    struct belay__item *next;
    struct belay__item *prev;
    size_t bytes; /* of this block */
    struct belay__line_ref ref;
    struct belay_slice body; /* what is sent */
    char path[];             /* NUL-terminated, then the slices */
};

struct belay__item_list {
    struct belay__item *first;
    struct belay__item *last;
    size_t count;
};

struct belay__batch {
    struct belay__batch_opts opts; /* with defaults filled in */
    struct belay__batch_result *result;
    struct belay__batch_stats *stats; /* result's */
    belay_runtime *runtime;
    struct belay__memory *memory;
    belay_llm_client *client;
    belay_group *group;   /* the reader and the workers */
    belay_group *helpers; /* progress and sync */
    belay_task *reader;   /* counted; NULL once it has ended */
    int input_fd;
    int input_flags; /* of fcntl, to be put back */
    char *chunk;     /* what is read goes here */
    bool input_ended;
    struct belay__lines lines;
    struct belay__ids ids;
    struct belay__batch_state state;
    struct belay__batch_writer writer;
    struct belay__buffer out;  /* the line being made */
    struct belay__buffer body; /* with another model put in */
    struct belay__item_list ready;
    struct belay__item_list active;
    size_t ready_bytes;
    struct belay__buffer scratch;       /* for reading a line */
    struct belay_semaphore ready_items; /* a permit an item, or an end */
    struct belay_semaphore room;        /* a permit a place in ready */
    struct belay_event moved; /* an item left ready, or a line was written */
    struct belay_event sync_due;
    uint64_t synced_lines;
    struct belay__batch_worker *retrying; /* those between two attempts */
    struct belay_event drop_due; /* stopping, and there may be some of these */
    bool stopping;               /* no line is started any more */
};

/* ---- reader.c ---- */

/* What the options ask of every line. */
struct belay__batch_rules belay__batch_rules_of(
    const struct belay__batch_opts *opts);

/* ---- run.c ---- */

/* Ends admission; the first reason counts. */
void belay__batch_stop(struct belay__batch *batch, enum belay__batch_stop why,
    int code, const char *path);
void belay__item_list_push(
    struct belay__item_list *list, struct belay__item *item);
void belay__item_list_remove(
    struct belay__item_list *list, struct belay__item *item);

/* ---- reader.c, worker.c: the tasks ---- */

struct belay__batch_reader {
    struct belay__batch *batch;
};
extern const belay_function belay__batch_reader;

struct belay__batch_worker {
    struct belay__batch *batch;
    struct belay__item *item;
    belay_llm_reply *reply;
    belay_cancel_scope *scope; /* around the send, while there is one */
    int64_t started_ns;
    belay_time deadline; /* of the line */
    int sync_fd;
    bool repeated;    /* the reply was no JSON, and it was asked again */
    bool retrying;    /* an attempt has failed, another follows */
    bool charged;     /* some attempt may have been, or a run before */
    int64_t wakes_ns; /* when that begins */
    struct belay__batch_worker *next; /* in the batch's list of these */
    struct belay__batch_worker *prev;
};
extern const belay_function belay__batch_worker;

/* Lines that wait for another attempt are given up, as if never tried. */
void belay__batch_drop_sleepers(struct belay__batch *batch);

/* ---- result.c: the lines of B4 to B7 ---- */

/* A line without an answer of the server, and why. */
void belay__batch_write_error(struct belay__batch *batch,
    const struct belay__line_ref *ref, enum belay__line_error error,
    const char *message);
/* A line with the server's answer, good or bad. `json` says whether its body
 * is JSON; what is not goes out as a string.
 */
void belay__batch_write_reply(struct belay__batch *batch,
    const struct belay__line_ref *ref, const belay_llm_reply *reply, bool json);

#endif
