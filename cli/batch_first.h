/* batch_first.h - of each kind of failure the first line (private). */
#ifndef BELAY_CLI_BATCH_FIRST_H
#define BELAY_CLI_BATCH_FIRST_H

#include "llm/batch/batch.h"

/* Zeroed at first. */
struct belay__batch_firsts {
    char texts[BELAY__LINE_ERROR_COUNT][192]; /* "line 7: …", fit for a
                                                 terminal */
};

/* To be called with every line that is written. */
void belay__batch_firsts_take(struct belay__batch_firsts *firsts,
    const struct belay__batch_written *line);

/* Prints them to standard error, a line each. */
void belay__batch_firsts_say(const struct belay__batch_firsts *firsts);

#endif
