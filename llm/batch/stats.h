/* stats.h - what a batch has done so far, in numbers (private).
 *
 * Fixed size however long the batch: latencies go into a histogram whose
 * buckets are 1/16 of a power of two wide, so a percentile read from it is
 * at most 6 % too high and never too low.
 */
#ifndef BELAY_LLM_BATCH_STATS_H
#define BELAY_LLM_BATCH_STATS_H

#include <belay/base.h>

#include "llm/batch/series.h"

#define BELAY__HISTOGRAM_BUCKETS 1024
#define BELAY__STATUS_COUNT 600

struct belay__histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[BELAY__HISTOGRAM_BUCKETS];
};

void belay__histogram_add(struct belay__histogram *histogram, uint64_t value);

/* The value that `percent` (0 to 100) of all are not above; 0 if empty. */
uint64_t belay__histogram_percentile(
    const struct belay__histogram *histogram, double percent);

/* The greatest value that is counted in a bucket. */
uint64_t belay__histogram_upper(uint32_t bucket);

/* Why a line failed without an answer of the server; the codes of B2 and B5. */
#define BELAY__LINE_ERROR_MAP(X)             \
    X(INVALID_JSON, "invalid_json_line")     \
    X(DUPLICATE_ID, "duplicate_custom_id")   \
    X(URL_MISMATCH, "url_mismatch")          \
    X(UNSUPPORTED_URL, "unsupported_url")    \
    X(STREAM, "stream_not_allowed")          \
    X(LINE_TOO_LARGE, "line_too_large")      \
    X(CONNECTION, "connection_error")        \
    X(TIMEOUT, "timeout")                    \
    X(TRUNCATED, "stream_truncated")         \
    X(REPLY_TOO_LARGE, "response_too_large") \
    X(INVALID_REPLY, "invalid_response")     \
    X(NO_MEMORY, "out_of_memory")            \
    X(CANCELLED, "batch_cancelled")          \
    X(EXPIRED, "batch_expired")              \
    X(SKIPPED, "skipped")                    \
    X(IN_DOUBT, "in_doubt")                  \
    X(NO_OUTPUT_CAP, "no_output_cap")        \
    X(NO_PRICE, "no_price")

enum belay__line_error {
    BELAY__LINE_OK,
#define BELAY__ENUM(name, text) BELAY__LINE_##name,
    BELAY__LINE_ERROR_MAP(BELAY__ENUM)
#undef BELAY__ENUM
        BELAY__LINE_ERROR_COUNT,
};

/* The code as it stands in the output files. */
const char *belay__line_error_code(enum belay__line_error error);

/* Adds counts that servers have told, which may be anything. A sum stays the
 * largest count rather than begin anew; two such sums fit into a number.
 */
static inline void
belay__stats_add_tokens(uint64_t *sum, uint64_t more)
{
    *sum =
        more < (uint64_t)INT64_MAX - *sum ? *sum + more : (uint64_t)INT64_MAX;
}

/* The same of amounts. */
static inline void
belay__stats_add_money(int64_t *sum, int64_t more)
{
    if (__builtin_add_overflow(*sum, more, sum)) {
        *sum = INT64_MAX;
    }
}

/* One model's share. Amounts are picodollars. */
struct belay__model_stats {
    uint64_t ok;
    uint64_t failed;
    uint64_t congested;
    uint64_t tokens_in;
    uint64_t tokens_out;
    uint64_t unpriced;
    int64_t spent;
    int64_t uncertain;
};

#define BELAY__STATS_MODELS 32 /* the last is the rest, if there are more */
#define BELAY__REST ((struct belay_slice){"(others)", 8}) /* its name */

struct belay__named_stats {
    char name[64]; /* fit for a terminal; cut short if need be */
    struct belay__model_stats stats;
};

struct belay__batch_stats {
    uint64_t lines;          /* read, blank ones not counted */
    uint64_t sent;           /* handed to the client */
    uint64_t ok;             /* success lines written */
    uint64_t failed;         /* error lines written */
    uint64_t dropped;        /* read, and in neither file */
    uint64_t cut;            /* of dropped, sent: in doubt from now on */
    uint64_t unread;         /* behind those read when it has stopped; told by
                                who reports it */
    uint64_t passed;         /* read, and passed over: an earlier run's */
    uint64_t resumed;        /* in the files already, from an earlier run … */
    uint64_t resumed_failed; /* … of them, as error lines */
    uint64_t again;          /* failed in an earlier run, and tried again */
    uint64_t in_doubt; /* sent by an earlier run that has left no result */
    uint64_t retries;
    uint64_t congested; /* attempts that the server had no room for */
    uint32_t in_flight;
    uint32_t retrying; /* asleep before the next attempt */
    uint32_t limit;    /* how many may be in flight now */
    int64_t due_ns;    /* when a pause or a wait for another attempt ends, the
                       first that does; 0: there is none */
    uint64_t input_bytes; /* up to the end of the last of `lines` */
    uint64_t input_size;  /* 0: unknown */
    uint64_t tokens_in;
    uint64_t tokens_cached; /* of tokens_in */
    uint64_t tokens_out;
    uint64_t tokens_reasoning; /* of tokens_out */
    uint64_t without_usage;    /* successes that told no usage */
    bool priced;               /* there are prices, so that these mean much: */
    int64_t spent;             /* picodollars */
    int64_t uncertain;         /* … that servers may have charged besides */
    uint64_t unpriced;         /* attempts whose cost is not known */
    int64_t spent_before;      /* by earlier runs */
    int64_t uncertain_before;  /* … that servers may have charged besides */
    uint64_t unpriced_before;  /* … attempts whose cost is not known */
    int64_t cap;               /* of the budget, 0: none */
    uint64_t sent_bytes;
    uint64_t received_bytes;
    uint64_t statuses[BELAY__STATUS_COUNT]; /* of final answers */
    uint64_t errors[BELAY__LINE_ERROR_COUNT];
    struct belay__histogram latency_us; /* first attempt to final answer */
    /* Brought up to date with every sample; the last has the rest. */
    struct belay__named_stats models[BELAY__STATS_MODELS];
    size_t model_count;
    struct belay__series series;
    int64_t started_ns;
    int64_t ended_ns; /* 0: running */
};

#endif
