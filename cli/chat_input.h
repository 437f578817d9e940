/* chat_input.h - lines of standard input, while the loop goes on (private).
 *
 * A thread waits for the next bytes, since nothing else does so without
 * putting the terminal into a mode that all who have it share (O_NONBLOCK).
 */
#ifndef BELAY_CLI_CHAT_INPUT_H
#define BELAY_CLI_CHAT_INPUT_H

#include <belay/task.h>

#include "runtime/buffer.h"

#define BELAY__CHAT_LINE_MAX ((size_t)16 * 1024 * 1024)

struct belay__chat_input {
    int fd;
    int wake_fds[2];
    struct belay__memory *memory;
    struct belay__buffer bytes;
    size_t used; /* of them: the line that was given last */
    bool at_end;
    bool was_woken;
};

/* Errors: codes of the system; BELAY_ENOMEM. Nothing has changed. */
int belay__chat_input_init(struct belay__chat_input *input, int fd);
void belay__chat_input_fini(struct belay__chat_input *input);

/* An await: the next line, without its end, NUL-terminated; {NULL, 0} at the
 * end of the input. A line goes on behind a backslash at its end. Lives until the next read. Errors: BELAY_EAGAIN woken;
 * BELAY_ETOOLARGE the line; codes of the system; BELAY_ECANCELED, flagged.
 */
belay_next belay__chat_read_line(
    belay_task *task, struct belay__chat_input *input, struct belay_slice *ret);

/* The same for all that is left. */
belay_next belay__chat_read_all(
    belay_task *task, struct belay__chat_input *input, struct belay_slice *ret);

/* Ends a read that waits, or the next one. For callbacks of the loop. */
void belay__chat_input_wake(struct belay__chat_input *input);

#endif
