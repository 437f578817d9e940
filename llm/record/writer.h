/* writer.h - the thread that writes (private to llm/record/).
 *
 * The loop thread puts rows in and takes them back when they are written or
 * lost; between that nobody but the writer touches them.
 */
#ifndef BELAY_LLM_RECORD_WRITER_H
#define BELAY_LLM_RECORD_WRITER_H

#include <uv.h>

#include "llm/record/sink.h"

struct belay__writer {
    const struct belay__sink_kind *kind;
    struct belay__sink_opts sink_opts;
    uint32_t batch_rows;
    uint64_t batch_ns;
    uv_async_t async; /* to the loop: something has come back, or it ended */
    uv_thread_t thread;
    bool started;
    atomic_int haste; /* for the sink, which may be waiting for its file */
    uv_mutex_t lock;  /* for all that follows */
    uv_cond_t wake;
    struct belay__row *first; /* to be written */
    struct belay__row *last;
    uint32_t queued;
    struct belay__row *done; /* on their way back, newest first */
    uint64_t written;
    uint64_t lost;
    /* The first and the last attempt whose start was lost; ids sort as they
     * were made. Empty: there is none.
     */
    char lost_first[BELAY__ULID_BYTES];
    char lost_last[BELAY__ULID_BYTES];
    int error;
    char why[BELAY__SINK_WHY_BYTES];
    bool opened; /* or not: see error */
    bool stop;
    bool ended;
};

/* What the loop learns at a look. */
struct belay__writer_news {
    struct belay__row *done; /* NULL-terminated, to be freed */
    uint64_t written;
    uint64_t lost;
    int error;
    char why[BELAY__SINK_WHY_BYTES];
    bool opened;
    bool ended;
};

/* The thread's means; `on_news` is called on the loop. Errors: as of libuv;
 * nothing has been made.
 */
int belay__writer_init(
    struct belay__writer *writer, uv_loop_t *loop, uv_async_cb on_news);
/* Starts the thread, which opens the sink; then there are news. Errors: as of
 * libuv; the thread has not been started.
 */
int belay__writer_start(struct belay__writer *writer);
void belay__writer_put(struct belay__writer *writer, struct belay__row *row);
void belay__writer_look(
    struct belay__writer *writer, struct belay__writer_news *ret);
/* It writes what it has, closes the sink and ends; news come. A sink that is
 * still being opened may give that up.
 */
void belay__writer_stop(struct belay__writer *writer);
/* The same, without patience for others who have the file: what cannot be
 * written at once is lost.
 */
void belay__writer_hurry(struct belay__writer *writer);
/* After `ended`, or without a start: the writer's memory may go once the
 * callback has been called.
 */
void belay__writer_fini(struct belay__writer *writer, uv_close_cb closed);

#endif
