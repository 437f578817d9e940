/* file.h - reading and syncing files without stalling the loop (private). */
#ifndef BELAY_LLM_BATCH_FILE_H
#define BELAY_LLM_BATCH_FILE_H

#include <belay/task.h>

/* Reads what is there, at most `room` bytes, at the file's position: on a
 * thread for files, when the loop says so for pipes and terminals.
 *
 *   ret_len  receives the number of bytes, 0 at the end; untouched on failure
 *
 * Owner:   buffer and ret_len must live until the end.
 * Errors:  codes of the system, BELAY_ENOMEM, BELAY_ECANCELED flagged: then
 *          bytes may have been read and are lost.
 * Threads: loop thread. Cancellation point.
 */
belay_next belay__file_read(
    belay_task *task, int fd, char *buffer, size_t room, size_t *ret_len);

/* The same from a place of its own, in what can be read at any. */
belay_next belay__file_read_at(belay_task *task, int fd, char *buffer,
    size_t room, int64_t offset, size_t *ret_len);

/* Waits until what was written to fd is on the disk. Errors and threads as
 * above.
 */
belay_next belay__file_sync(belay_task *task, int fd);

#endif
