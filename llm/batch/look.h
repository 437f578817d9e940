/* look.h - how far a job is, whoever runs it (private). */
#ifndef BELAY_LLM_BATCH_LOOK_H
#define BELAY_LLM_BATCH_LOOK_H

#include "runtime/memory.h"

struct belay__batch_look {
    bool running;
    uint64_t ok;
    uint64_t failed;
    uint64_t in_doubt; /* sent without a result; running: in flight */
    int64_t spent;     /* picodollars */
    int64_t uncertain;
    int64_t written_s; /* when the files were last written to, since 1970 */
};

/* Reads the files of a job and changes nothing. errors_path may lead nowhere.
 * Errors: BELAY_ENOENT there is no job at this output; BELAY_ESTATE its state
 * cannot be read; BELAY_ENOMEM, codes of the system.
 */
int belay__batch_look(struct belay__memory *memory, const char *output_path,
    const char *errors_path, struct belay__batch_look *ret);

#endif
