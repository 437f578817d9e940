/* batch.h - a file of requests in, a file of replies out (private).
 *
 * reader -> ready queue -> workers -> writer. Everything between is bounded:
 * the reader stops while 2 x concurrency lines, or BELAY__BATCH_READY_BYTES,
 * are waiting, each model with a share of that, or while the reorder window is
 * full. A bad line is an error line of its own and stops nothing. Rules:
 * B1-B11, B20, B21, B23.
 */
#ifndef BELAY_LLM_BATCH_BATCH_H
#define BELAY_LLM_BATCH_BATCH_H

#include <belay/budget.h>

#include "llm/batch/stats.h"

#define BELAY__BATCH_READY_BYTES ((size_t)16 * 1024 * 1024)

struct belay__batch; /* opaque; valid while it runs */

enum belay__batch_sync_policy {
    BELAY__BATCH_SYNC_INTERVAL, /* every 64 lines or 200 ms */
    BELAY__BATCH_SYNC_NEVER,
    BELAY__BATCH_SYNC_LINE, /* before a line counts as done */
};

/* What to do with lines that an earlier run has sent and has no result of: the
 * server may have charged for them.
 */
enum belay__batch_doubt {
    BELAY__BATCH_DOUBT_RETRY,
    BELAY__BATCH_DOUBT_SKIP, /* they stay without a result */
    BELAY__BATCH_DOUBT_FAIL, /* an error line each */
};

/* Called on the loop: at the start, every `progress_interval`, at the end. */
typedef void belay__batch_progress_fn(
    const struct belay__batch_stats *stats, int64_t now_ns, void *arg);

/* A line that has been written. */
struct belay__batch_written {
    uint64_t number;
    struct belay_slice custom_id; /* as JSON; may be empty */
    bool ok;
    struct belay_slice text; /* without its newline */
};
typedef void belay__batch_written_fn(
    const struct belay__batch_written *line, void *arg);

/* A zero field means its default. Texts are borrowed while the batch runs. */
struct belay__batch_opts {
    const char *input_path;  /* "-": standard input */
    const char *output_path; /* "-": standard output */
    const char *errors_path; /* default: error lines go into the output */
    const char *bare_url;    /* each line is a body for this URL, and its number
                             its id; default: the forms of batch files */
    const char *base_url;    /* ends with /v1, as a rule */
    const char *api_key;     /* default none */
    const char *model;       /* put in place of the lines' models */
    uint32_t concurrency;    /* at most so many in flight; default 64 */
    uint32_t start;          /* so many at first, of each model; default 8 */
    belay_duration patience; /* with a server that answers nobody; default an
                                hour */
    struct belay_amount budget; /* caps, with what earlier runs have used;
                                   zeroes: none */
    const belay_prices *prices; /* default none; a budget of money needs them */
    bool reserve_expected;      /* a line holds what its input is expected to
                                   cost, not the most that it can (L56) */
    bool simulated;             /* base_url is a simulator: its results and
                                   others are not mixed */
    int64_t default_output_cap; /* tokens of an answer, where neither the line
                                   nor the prices say; default none */
    int64_t requests_per_minute;  /* of each model; default none known */
    int64_t tokens_per_minute;    /* input and output; default none known */
    int32_t max_retries;          /* of a line; default 5; negative: none */
    belay_duration timeout;       /* of a line, all attempts; default none */
    belay_duration drain_timeout; /* for what is in flight when the batch
                                     stops; default 120 s */
    belay_duration expire;        /* of the run: what has no answer by then
                                     fails; default never (B5) */
    uint64_t seed;                /* of the retries' jitter; default random */
    size_t window; /* not 0: output in the order of the input, with
                                at most so many lines out of order */
    enum belay__batch_sync_policy sync;
    size_t max_line_bytes;  /* default 64 MiB */
    size_t max_reply_bytes; /* default 64 MiB */
    bool strict;       /* look at the whole input first; a bad line is then an
                         error, and nothing is sent */
    bool no_id_check;  /* duplicate ids are not looked for */
    bool emit_skipped; /* lines that are not sent when the batch stops get an
                          error line each (B8); default: they are in no file,
                          and the next run sends them */
    bool overwrite;    /* begin anew: existing output files are emptied */
    bool force;        /* go on although the input is not the earlier run's */
    bool retry_failed; /* try the earlier run's failed lines again; its error
                          lines move to a file beside them (B18) */
    enum belay__batch_doubt in_doubt;
    bool allow_plain_http;
    bool insecure;
    bool proxy_from_env;
    const char *ca_file;
    belay__batch_progress_fn *progress; /* default none */
    belay_duration progress_interval;   /* default 250 ms */
    belay__batch_written_fn *written;   /* default none */
    void *arg;                          /* for progress and written */
    struct belay__batch **running;      /* set while it runs, then NULL */
};

/* Why a batch ended before its input did. */
enum belay__batch_stop {
    BELAY__BATCH_DONE,        /* it did not */
    BELAY__BATCH_INTERRUPTED, /* belay__batch_interrupt() */
    BELAY__BATCH_REFUSED,     /* the key or the account was refused */
    BELAY__BATCH_CONGESTED,   /* the server has answered nobody for long */
    BELAY__BATCH_BUDGET,      /* there was no room for another line */
    BELAY__BATCH_EXPIRED,     /* its time was over */
    BELAY__BATCH_NO_INPUT,    /* reading failed */
    BELAY__BATCH_NO_OUTPUT,   /* writing failed */
    BELAY__BATCH_NO_MEMORY,
};

struct belay__batch_result {
    struct belay__batch_stats stats;
    enum belay__batch_stop stop;
    int stop_code;         /* of the failure behind stop, or 0 */
    const char *stop_path; /* the file concerned, or NULL */
    char job[17];          /* hexadecimal; part of each line's id */
};

/* Runs a batch to its end. Where the output files are there, with the state
 * of an earlier run on the same input, it goes on where that has ended.
 *
 *   opts  copied
 *   ret   filled in, also on a cancel; not NULL; zeroed by the caller
 *
 * Owner:   ret stays the caller's.
 * Errors:  what keeps it from starting, with a sentence: files that cannot be
 *          opened, options of the client; nothing has been sent. A batch that
 *          has started succeeds; see ret->stop and the counts.
 *          BELAY_ECANCELED  flagged; what was written stays
 * Threads: loop thread. Cancellation point.
 */
belay_next belay__batch_run(belay_task *task,
    const struct belay__batch_opts *opts, struct belay__batch_result *ret);

/* No more lines are started; what is in flight ends. Legal in callbacks. */
void belay__batch_interrupt(struct belay__batch *batch);

#endif
