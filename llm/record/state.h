/* state.h - what a recorder holds (private to llm/record/).
 *
 * Invariants: rows counts every row that the writer has and the room that
 * every ticket holds for its end; bytes those that the writer has. Tickets
 * wait only while something is on its way, whose return lets them go on.
 */
#ifndef BELAY_LLM_RECORD_STATE_H
#define BELAY_LLM_RECORD_STATE_H

#include "llm/record/recorder.h"
#include "llm/record/writer.h"
#include "runtime/life.h"

/* Where rows lie, one behind the other: they come and go in order, and a
 * malloc for each took longer than to fill it. Used again once the last of its
 * rows is back.
 */
struct belay__row_block {
    struct belay__row_block *next; /* among the spare ones */
    size_t size;                   /* with this struct */
    size_t used;
    uint32_t rows; /* that have not come back */
};

struct belay_recorder {
    struct belay__memory *memory;
    uint32_t refs;
    struct belay__life life; /* as long as there are references */
    bool over; /* its block has been left: nothing more is taken */
    struct belay_recorder_opts opts;
    char *path;
    char run[BELAY__ULID_BYTES];
    struct belay__ulid_source ids;
    uint32_t rows;
    size_t bytes;
    uint64_t dropped;
    uint64_t lost;                  /* here: no memory, or left too early */
    int error;                      /* of the last of those */
    struct belay__row_block *block; /* where the next row goes, or NULL */
    struct belay__row_block *spare; /* empty ones */
    uint32_t spare_count;
    struct belay__record_ticket *waiting_first;
    struct belay__record_ticket *waiting_last;
    struct belay__writer_news news;
    struct belay__writer writer;
    struct belay_op op; /* enter and exit wait for the writer */
};

/* ---- rows (row.c) ---- */

int64_t belay__unix_us(void);

/* What belay__row_start() would take. */
size_t belay__row_start_bytes(
    const belay_recorder *recorder, const struct belay__record_start *start);
/* Rows of their own, with copies of all texts; NULL without memory. */
struct belay__row *belay__row_start(belay_recorder *recorder,
    const struct belay__record_start *start, const char *attempt);
struct belay__row *belay__row_end(belay_recorder *recorder,
    const struct belay__record_end *end, const char *attempt);
void belay__row_free(belay_recorder *recorder, struct belay__row *row);
/* The blocks that no row lies in; all of them, once all rows are back. */
void belay__row_free_blocks(belay_recorder *recorder);

/* ---- the queue (recorder.c) ---- */

/* A row that does not come to the writer. */
void belay__recorder_lose(belay_recorder *recorder, int code);
/* While something is on its way, or waited for, the loop has to live. */
void belay__recorder_update_loop(belay_recorder *recorder);
/* Nobody waits for room any more: who did goes on without a record, or, with a
 * strict one, not at all.
 */
void belay__recorder_leave_queue(belay_recorder *recorder);
/* Takes back what the writer is done with. */
void belay__recorder_on_news(uv_async_t *async);

#endif
