/* fifo.h - W4's log of who asked for a slot and who got one, in which order.
 *
 * Waits are counted in grants: no clock call in the loop that is measured.
 */
#ifndef BELAY_BENCH_FIFO_H
#define BELAY_BENCH_FIFO_H

#include "bench/bench.h"

struct fifo {
    long asked;
    long granted;
    long *order;       /* numbers of the requests, as they were granted */
    long *waited;      /* grants between a request and its own */
    long *asked_after; /* grants before a request */
};

static inline void
fifo_init(struct fifo *fifo, long count)
{
    const size_t places = (size_t)count;

    *fifo = (struct fifo){
        .order = must_alloc(places, sizeof(long)),
        .waited = must_alloc(places, sizeof(long)),
        .asked_after = must_alloc(places, sizeof(long)),
    };
}

static inline long
fifo_ask(struct fifo *fifo)
{
    fifo->asked_after[fifo->asked] = fifo->granted;
    return fifo->asked++;
}

static inline void
fifo_grant(struct fifo *fifo, long request)
{
    fifo->waited[request] = fifo->granted - fifo->asked_after[request];
    fifo->order[fifo->granted++] = request;
}

/* The members for the result line; uses the log up. Waits are smaller than
 * their count: counting finds the median at the least cost.
 */
static inline void
fifo_report(struct fifo *fifo, char *more, size_t size)
{
    const long count = fifo->granted;
    long *times = fifo->asked_after;
    long out_of_order = 0;
    long displaced = 0;
    long longest = 0;
    long median = 0;
    long away;

    memset(times, 0, (size_t)count * sizeof(*times));
    for (long i = 0; i < count; i++) {
        out_of_order += i > 0 && fifo->order[i] < fifo->order[i - 1];
        away = labs(fifo->order[i] - i);
        displaced = away > displaced ? away : displaced;
        longest = fifo->waited[i] > longest ? fifo->waited[i] : longest;
        times[fifo->waited[i]]++;
    }
    for (long below = 0; median < longest; median++) {
        below += times[median];
        if (below > count / 2) {
            break;
        }
    }
    (void)snprintf(more, size,
        ",\"wait_median\":%ld,\"wait_max\":%ld,\"out_of_order\":%ld,"
        "\"displaced\":%ld",
        median, longest, out_of_order, displaced);
}

static inline void
fifo_fini(struct fifo *fifo)
{
    free(fifo->order);
    free(fifo->waited);
    free(fifo->asked_after);
}

#endif
