/* record.h - what was asked and answered, kept in a file.
 *
 * A recorder is a scope: calls made inside it, and in tasks spawned inside it,
 * are written down, a row when an attempt starts and the rest when it ends, so
 * that a crash leaves no attempt unmentioned. One thread writes; the loop
 * never waits for a disk. Headers are never written, and a client's key not
 * even where a text quotes it. Rules: L73-L77.
 */
#ifndef BELAY_RECORD_H
#define BELAY_RECORD_H

#include <belay/task.h>

BELAY_BEGIN_DECLS

typedef struct belay_recorder belay_recorder; /* opaque; counted */

/* What is kept of prompts and answers, and of what a server says of an error,
 * which may quote them.
 */
enum belay_record_text {
    BELAY_RECORD_TEXT,   /* all of it */
    BELAY_RECORD_HASHES, /* SHA-256 of each message: to find what is equal */
    BELAY_RECORD_NO_TEXT,
};

/* What happens to a call when the writer cannot keep up. */
enum belay_record_full {
    BELAY_RECORD_WAIT, /* it waits for room, first come first served */
    BELAY_RECORD_DROP, /* it is not recorded, and counted */
};

/* Takes out of a text what must not be written, in place. Called on the loop
 * before anything is queued, with the request's and the answer's JSON, and with
 * what a server says of an error. Gives the new length, at most `len`; what is
 * left of JSON should be JSON still, else it is kept as one text.
 */
typedef size_t belay_redact_fn(char *text, size_t len, void *arg);

/* Options for belay_recorder_open(). A zero field means its default. */
struct belay_recorder_opts {
    size_t size;      /* of this struct; BELAY_RECORDER_OPTS() fills it */
    const char *path; /* required; ends in ".jsonl": lines; else SQLite. It is
                         made if need be, for its owner's eyes only; one that
                         holds something has the mode that it has */
    enum belay_record_text text; /* default BELAY_RECORD_TEXT */
    enum belay_record_full full; /* default BELAY_RECORD_WAIT */
    uint32_t max_rows;           /* on their way; default 8192 */
    size_t max_bytes;            /* of them; default 64 MiB. Answers do not
                                    wait: those of calls that have begun go
                                    beyond it while the disk stands still */
    uint32_t batch_rows;         /* in one commit; default 2048 */
    belay_duration batch_time; /* … or what came in so long; default 50 ms */
    belay_redact_fn *redact;   /* NULL, or what takes secrets out */
    void *arg;                 /* for redact */
    bool strict;               /* a call whose record cannot be written fails;
                                  no attempt begins once the block was left */
};
#define BELAY_RECORDER_OPTS(...)          \
    (&(const struct belay_recorder_opts){ \
        .size = sizeof(struct belay_recorder_opts), __VA_ARGS__})

/**
 * belay_recorder_open - record the calls of a block; use it in BELAY_WITH
 *
 *   opts  not NULL; the struct is copied, the path must live until entered
 *   ret   NULL, or receives the recorder once entered; untouched on failure
 *
 * Inside it is the task's current recorder; an outer one is current again
 * when it is left. The exit writes what is on its way and closes the file. It
 * waits for no call: the end of an attempt that outlives the block is lost, in
 * a strict one too, and what comes of the call is not changed by that.
 *
 * Owner:   the block holds one reference.
 * Errors:  BELAY_EINVAL  no path; an opts->size that is unknown
 *          BELAY_ENOSYS  SQLite was left out when the library was built
 *          BELAY_EIO     the file cannot be opened, is none of ours (it is left
 *                        as it is), or is one of lines that somebody else
 *                        writes to; the message says why
 *          BELAY_ENOMEM  no memory
 *          In each case nothing stays open. The exit of a strict one fails
 *          with BELAY_EIO if something could not be written.
 * Threads: loop thread. Entering waits for the file to be open: up to a minute
 *          while another process brings it up to date, or forgets. Cancelled
 *          meanwhile it fails with BELAY_ECANCELED, and an upgrade that was
 *          under way is as if it had not begun. Leaving waits for the file to
 *          be closed; for others who hold the file a minute in all, and not
 *          once the grace of a cancel is over: what cannot be written at once
 *          is lost then, and counted.
 * Since:   0.1. Source: contract L71, L73; llamabot's PromptRecorder.
 */
BELAY_API belay_next belay_recorder_open(belay_task *task,
    const struct belay_recorder_opts *opts, belay_recorder **ret);

/**
 * belay_recorder_current - the innermost recorder that the task is in
 *
 *   task  not NULL
 *
 * Owner:   valid in the task's next steps as long as it is the current one.
 * Errors:  NULL if there is none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L71.
 */
BELAY_API belay_recorder *belay_recorder_current(const belay_task *task);

/* How a recorder fares. */
struct belay_recorder_stats {
    const char *run;   /* its id, a ULID; lives as long as the recorder */
    uint64_t written;  /* rows, in the file; of an attempt that was forgotten
                          (belay log --forget) while it ran, not the end */
    uint64_t dropped;  /* attempts that found no room */
    uint64_t lost;     /* rows that could not be written or allocated; in
                          SQLite the end too where the start was lost */
    uint32_t rows;     /* on their way now, room held for ends included */
    size_t bytes;      /* of them */
    int error;         /* of the last row that was lost, or 0 */
    char message[160]; /* … in words */
};

/**
 * belay_recorder_get_stats - how a recorder fares now
 *
 *   recorder  not NULL
 *   ret       receives it
 *
 * Owner:   see the struct.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L73, L77.
 */
BELAY_API void belay_recorder_get_stats(
    belay_recorder *recorder, struct belay_recorder_stats *ret);

BELAY_END_DECLS

#endif
