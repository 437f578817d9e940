/* batch.h - a file of requests in, a file of replies out, in a host's loop.
 *
 * The job of `belay batch` as a scope: its tasks belong to the block, run
 * beside the block's own code, and have ended when it has been left. What was
 * done is found again by the next run on the same files, however this one has
 * ended. Rules: B1-B31; man page belay-batch(1) tells of the files.
 */
#ifndef BELAY_BATCH_H
#define BELAY_BATCH_H

#include <belay/budget.h>

BELAY_BEGIN_DECLS

typedef struct belay_batch belay_batch; /* opaque; its block's */

/* What to do with lines that an earlier run has sent and has no result of: the
 * server may have charged for them.
 */
enum belay_batch_doubt {
    BELAY_BATCH_RETRY_DOUBT,
    BELAY_BATCH_SKIP_DOUBT, /* they stay without a result */
    BELAY_BATCH_FAIL_DOUBT, /* an error line each */
};

/* A line that has been written. */
struct belay_batch_line {
    uint64_t number;              /* of the input, from 1 */
    struct belay_slice custom_id; /* as JSON, quotes included; may be empty */
    bool ok;
    struct belay_slice text; /* of the output, without its newline */
};

/* How a job stands, or has ended. */
enum belay_batch_state {
    BELAY_BATCH_RUNNING,
    BELAY_BATCH_DONE,      /* every line of the input has been looked at */
    BELAY_BATCH_STOPPED,   /* belay_batch_stop() */
    BELAY_BATCH_REFUSED,   /* the key or the account was refused */
    BELAY_BATCH_CONGESTED, /* the server has answered nobody for long */
    BELAY_BATCH_NO_BUDGET, /* the next line might have passed the budget */
    BELAY_BATCH_EXPIRED,   /* opts->expire was over */
    BELAY_BATCH_FAILED,    /* a file, or memory; see code */
};

struct belay_batch_report {
    enum belay_batch_state state;
    int code;               /* of BELAY_BATCH_FAILED, else 0 */
    uint64_t lines;         /* read */
    uint64_t ok;            /* written by this run … */
    uint64_t failed;        /* … as error lines */
    uint64_t done_before;   /* by earlier runs, … */
    uint64_t failed_before; /* … of them as error lines */
    uint64_t not_tried;     /* the next run sends them */
    uint64_t in_doubt;      /* sent by an earlier run, without a result */
    uint64_t retries;
    uint32_t in_flight; /* now */
    uint64_t tokens_in; /* as servers have told */
    uint64_t tokens_out;
    belay_money spent;     /* with that of earlier runs */
    belay_money uncertain; /* that servers may have charged besides */
};

/* Called on the loop when a line is in a file; may call belay_batch_stop(). */
typedef void belay_batch_line_fn(
    const struct belay_batch_line *line, void *arg);
/* Called on the loop now and then, at the start and at the end. */
typedef void belay_batch_progress_fn(
    const struct belay_batch_report *report, void *arg);

/* Options for belay_batch_open(). A zero field means its default. Texts must
 * live until the block has been left.
 */
struct belay_batch_opts {
    size_t size;             /* BELAY_BATCH_OPTS() fills it */
    const char *input_path;  /* required; JSON lines as of OpenAI's batches */
    const char *output_path; /* required */
    const char *errors_path; /* default: error lines go into the output */
    const char *base_url;    /* required; with its /v1 */
    const char *api_key;     /* default none */
    const char *model;       /* put in place of the lines' models */
    uint32_t concurrency;    /* at most so many in flight; default 64 */
    uint32_t start;          /* so many at first, of each model; default 8 */
    int32_t max_retries;     /* of a line; default 5; negative: none */
    belay_duration timeout;  /* of a line, all attempts; default none */
    belay_duration drain_timeout; /* for what is in flight when the job stops;
                                     default 120 s */
    belay_duration expire;   /* of this run: what has no answer by then gets
                                   an error line; default never */
    belay_duration patience; /* with a server that answers nobody; default an
                                hour */
    /* Caps, over all runs; zeroes: none. A request is an attempt that the
     * server has had. What a run without prices has cost is not known, and
     * counts for no later cap on cost; its tokens and requests do.
     */
    struct belay_amount budget;
    belay_prices *prices;        /* default none; a cap on cost needs them */
    int64_t output_cap;          /* tokens held for an answer that nothing
                                    limits; default: such a line fails */
    int64_t requests_per_minute; /* of each model */
    int64_t tokens_per_minute;   /* of each model, both ways */
    enum belay_batch_doubt in_doubt;
    bool overwrite;    /* begin anew, whatever is there */
    bool retry_failed; /* send again what has failed in earlier runs */
    bool emit_skipped; /* when the job stops, an error line for each that is
                          not tried; retry_failed sends these */
    bool allow_plain_http;
    belay_batch_line_fn *on_line;
    belay_batch_progress_fn *on_progress;
    belay_duration progress_interval; /* default 250 ms */
    void *arg;                        /* for both */
};
#define BELAY_BATCH_OPTS(...)          \
    (&(const struct belay_batch_opts){ \
        .size = sizeof(struct belay_batch_opts), __VA_ARGS__})

/**
 * belay_batch_open - enter a job; use it in BELAY_WITH
 *
 *   opts  not NULL; the struct is copied; prices must live until entered: the
 *         job then has a reference of its own
 *   ret   receives the job once entered; untouched on failure
 *
 * The job begins at once, beside the block. Falling out of the block waits
 * until it has ended. Left by a failure or a cancel, the block cancels it:
 * lines in flight are then in doubt, and everything written stays.
 *
 * A job that goes on reads first, at one go, what earlier runs have left: the
 * loop stands still for about a second a million lines. Output that goes to a
 * pipe (output_path "-") holds up the loop when its reader does not read.
 *
 * Owner:   the block.
 * Errors:  BELAY_EINVAL  an opts->size that is unknown, a path or the URL is
 *                        missing, both overwrite and retry_failed
 *          BELAY_ECLOSED the prices are gone before it is entered
 *          BELAY_ENOMEM  no memory
 *          In each case nothing has changed. What keeps the job itself from
 *          beginning is told by belay_batch_wait().
 * Threads: loop thread. Entering is no checkpoint; the exit is one.
 * Since:   0.1. Source: contract B1-B31.
 */
BELAY_API BELAY_TOKEN belay_batch_open(
    belay_task *task, const struct belay_batch_opts *opts, belay_batch **ret);

/**
 * belay_batch_wait - wait until the job has ended
 *
 *   batch  of an open block
 *
 * A job that has begun is a success, however it ends; see its report.
 *
 * Owner:   nothing changes hands.
 * Errors:  what has kept it from beginning, with a sentence: files, the state
 *          of another input, or of a belay that has not counted what is capped
 *          (BELAY_ESTATE), a run that is at work there (BELAY_EBUSY)
 *          BELAY_ECANCELED  flagged; the job goes on until the block is left
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract B12, B31.
 */
BELAY_API BELAY_TOKEN belay_batch_wait(belay_task *task, belay_batch *batch);

/**
 * belay_batch_stop - start no more lines; what is in flight ends
 *
 *   batch  of an open block
 *
 * Owner:   nothing changes hands.
 * Errors:  none; harmless when the job has ended.
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: contract B29.
 */
BELAY_API void belay_batch_stop(belay_batch *batch);

/**
 * belay_batch_get_report - how the job stands
 *
 *   batch  of an open block
 *   ret    receives it
 *
 * Owner:   nothing changes hands.
 * Errors:  none.
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: contract B27.
 */
BELAY_API void belay_batch_get_report(
    const belay_batch *batch, struct belay_batch_report *ret);

BELAY_END_DECLS

#endif
