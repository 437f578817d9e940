/* scan.h - the lines of a file, of which only the ends are kept (private).
 *
 * Of an output line the id at its start and the error at its end are enough,
 * so that files of many gigabytes are read at the speed of the disk.
 */
#ifndef BELAY_LLM_BATCH_SCAN_H
#define BELAY_LLM_BATCH_SCAN_H

#include "llm/batch/state.h"

#define BELAY__SCAN_HEAD 128 /* the id of a line fits, and a journal record */
#define BELAY__SUCCESS_END "\"error\":null}"
#define BELAY__SCAN_TAIL (sizeof(BELAY__SUCCESS_END) - 1)

struct belay__scan {
    int fd;
    uint64_t end; /* not read beyond; 0: the file's */
    char head[BELAY__SCAN_HEAD];
    char tail[BELAY__SCAN_TAIL];
    size_t head_len;
    size_t tail_len;
    uint64_t start;    /* of the current line */
    uint64_t previous; /* of the last line that has ended */
    uint64_t offset;   /* behind the current line, newline included */
};

/* Called at the end of each line; a negative code ends the scan. */
typedef int belay__scan_fn(void *arg, const struct belay__scan *scan);

/* Reads from scan->offset on, where a line begins. Behind the last newline
 * there may be a piece, which is not told: it lies from start to offset.
 * Errors: BELAY_ENOMEM, codes of the system, of fn.
 */
int belay__scan_file(struct belay__scan *scan, struct belay__memory *memory,
    belay__scan_fn *fn, void *arg);

/* The line number in the head of an output line of this job, or 0. */
uint64_t belay__scan_line(
    const struct belay__scan *scan, const struct belay__batch_state *state);

/* Is it an output line of another job? */
bool belay__scan_is_foreign(
    const struct belay__scan *scan, const struct belay__batch_state *state);

/* Does it end as lines with a success do? */
bool belay__scan_is_success(const struct belay__scan *scan);

#endif
