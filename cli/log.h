/* log.h - what `belay log` reads and shows (private).
 *
 * A recorder's file, of either kind, becomes a list of attempts in memory,
 * without what was said; that is fetched for those that are shown. A file may
 * be written to by another process meanwhile: what is not whole is not there
 * yet.
 */
#ifndef BELAY_CLI_LOG_H
#define BELAY_CLI_LOG_H

#include <belay/base.h>

#include "llm/json/write.h"
#include "llm/record/sink.h"

#include <stdio.h>

#define BELAY__LOG_WHY_BYTES 256
#define BELAY__LOG_COUNTS 8

/* In the order of belay__log_count_names(). */
enum {
    BELAY__LOG_IN,
    BELAY__LOG_CACHE_READ,
    BELAY__LOG_CACHE_WRITE_5M,
    BELAY__LOG_CACHE_WRITE_1H,
    BELAY__LOG_IN_AUDIO,
    BELAY__LOG_OUT,
    BELAY__LOG_REASONING,
    BELAY__LOG_OUT_AUDIO,
};
extern const char *const belay__log_count_names[BELAY__LOG_COUNTS];

/* An attempt; numbers that are not known are -1, texts empty. */
struct belay__log_row {
    struct belay_slice id;
    struct belay_slice run;
    struct belay_slice session;
    struct belay_slice turn;
    struct belay_slice endpoint;
    struct belay_slice provider;
    struct belay_slice model; /* that was asked */
    struct belay_slice answered;
    struct belay_slice status;
    struct belay_slice code;
    struct belay_slice message; /* of an error */
    struct belay_slice request_id;
    struct belay_slice end;
    int64_t number;
    int64_t http_status;
    int64_t started_us; /* since 1970, UTC */
    int64_t ended_us;
    int64_t counts[BELAY__LOG_COUNTS];
    int64_t cost_pico;
    bool cost_at_least;
};

struct belay__log_chunk;

struct belay__log {
    struct belay__memory *memory;
    struct belay__log_chunk *chunks; /* of texts; they do not move */
    struct belay__log_row *rows;     /* by the time they began */
    size_t count;
    size_t room;
    size_t *index; /* by id, of rows + 1; 0: free */
    size_t index_room;
    uint64_t bad_lines; /* of JSONL, that are no records */
    uint64_t first_bad;
    char why[BELAY__LOG_WHY_BYTES];
};

/* Which attempts. */
struct belay__log_filter {
    const char *session; /* how its id begins; NULL: any */
    const char *id;      /* how the attempt's or the turn's begins; NULL: any */
    uint64_t last;       /* so many of them; 0: all */
};

/* What was said. body: JSON, or empty if it was not kept. */
struct belay__log_said {
    int (*message_fn)(
        struct belay_slice role, struct belay_slice body, void *arg);
    int (*answer_fn)(struct belay_slice body, void *arg);
    void *arg;
};

/* Codes are BELAY_ENOMEM, or BELAY_EIO with log->why. */
int belay__log_init(struct belay__log *log);
void belay__log_fini(struct belay__log *log);
int belay__log_read(struct belay__log *log, const char *path,
    const struct belay__log_filter *filter);
/* Hands on what was said in an attempt, code by code of its callbacks. */
int belay__log_said(struct belay__log *log, const char *path,
    struct belay_slice attempt, const struct belay__log_said *said);

/* ---- between the files ---- */

/* A copy that lives as long as the log; *ret is untouched on failure. */
int belay__log_keep(
    struct belay__log *log, struct belay_slice text, struct belay_slice *ret);
/* A new row with nothing known, by its id, or the one there is. */
int belay__log_row(
    struct belay__log *log, struct belay_slice id, struct belay__log_row **ret);
int belay__log_fail(struct belay__log *log, const char *format, ...)
    BELAY_PRINTF(2, 3);
bool belay__log_begins(struct belay_slice text, const char *start);

int belay__log_read_sqlite(struct belay__log *log, const char *path,
    const struct belay__log_filter *filter);
int belay__log_said_sqlite(struct belay__log *log, const char *path,
    struct belay_slice attempt, const struct belay__log_said *said);
int belay__log_read_jsonl(struct belay__log *log, const char *path);
int belay__log_said_jsonl(struct belay__log *log, const char *path,
    struct belay_slice attempt, const struct belay__log_said *said);

/* ---- log_text.c ---- */

/* For people; line breaks stay, everything else that moves a cursor goes. */
int belay__log_print_text(
    struct belay__memory *memory, struct belay_slice text, FILE *out);
int belay__log_print_message(struct belay__memory *memory,
    struct belay_slice role, struct belay_slice body, FILE *out);
int belay__log_print_answer(struct belay__memory *memory,
    struct belay_slice provider, struct belay_slice body, FILE *out);

#endif
