/* batch_counts.h - what the last run has left in OUTPUT.stats.json (private). */
#ifndef BELAY_CLI_BATCH_COUNTS_H
#define BELAY_CLI_BATCH_COUNTS_H

#include <stdbool.h>
#include <stdint.h>

struct belay__batch_counts {
    char state[96]; /* how it has ended, in a few words; "" if it is not told */
    int64_t there;  /* lines with a result, of this run and those before it */
    int64_t left;   /* lines that it knew of and did not try to the end, … */
    int64_t unread; /* … and those that it had not come to, about */
};

/* False: there is no such file, or it tells nothing. */
bool belay__batch_read_counts(
    const char *path, struct belay__batch_counts *ret);

#endif
