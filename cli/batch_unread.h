/* batch_unread.h - how much of its input a batch has left unread (private). */
#ifndef BELAY_CLI_BATCH_UNREAD_H
#define BELAY_CLI_BATCH_UNREAD_H

#include "llm/batch/batch.h"

/* The lines of the input behind those that the batch has read, blank ones not
 * counted; of a file too long to be counted now, about so many. 0 where nobody
 * knows, as of a pipe.
 */
uint64_t belay__batch_count_unread(const struct belay__batch_opts *opts,
    const struct belay__batch_stats *stats);

#endif
