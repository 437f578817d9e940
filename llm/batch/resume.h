/* resume.h - reading what an earlier run has left (private to batch/). */
#ifndef BELAY_LLM_BATCH_RESUME_H
#define BELAY_LLM_BATCH_RESUME_H

#include "llm/batch/state.h"

/* Marks the lines whose results are in a file of this job as done. Cuts off a
 * last line that is torn or no JSON (B14). A file that is not there is empty;
 * what is no file tells nothing.
 * Errors: BELAY_ESTATE there is a line of another job, and that is not ok;
 * BELAY_ENOMEM, codes of the system. Nothing was cut off.
 */
int belay__resume_output(
    struct belay__batch_state *state, const char *path, bool errors);

/* Marks the lines in doubt, and adds up what was spent, from the journal
 * behind the header; the files must have been read. Cuts off a torn record.
 * Errors: as above.
 */
int belay__resume_journal(struct belay__batch_state *state, uint64_t offset);

/* The same up to `end`, and nothing is cut off: others may be writing to it. */
int belay__look_at_journal(
    struct belay__batch_state *state, uint64_t offset, uint64_t end);

/* Moves the failed lines of the files to a file beside them, with a number
 * behind its name, so that they are lines not done (B18). The files and the
 * journal must have been read. Errors: codes of the system, BELAY_ENOMEM; the
 * failed lines are still where they were.
 */
int belay__resume_move_failed(struct belay__batch_state *state,
    const char *output_path, const char *errors_path);

/* Adds a line. BELAY_ENOMEM: nothing has changed. */
int belay__line_set_add(
    struct belay__memory *memory, struct belay__line_set *set, uint64_t line);
void belay__line_set_remove(struct belay__line_set *set, uint64_t line);

#endif
