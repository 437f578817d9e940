/* chat_output.h - answers on standard output, while the loop goes on (private).
 *
 * A terminal that was stopped, or a pipe that nobody reads, takes nothing for
 * as long as it likes. So what is printed goes into a buffer, and a task
 * writes it: the loop goes on, and Ctrl-C is heard.
 */
#ifndef BELAY_CLI_CHAT_OUTPUT_H
#define BELAY_CLI_CHAT_OUTPUT_H

#include <belay/group.h>
#include <belay/sync.h>

#include "runtime/buffer.h"

struct belay__chat_output {
    int fd;       /* that is written to */
    bool own;     /* … opened anew, so that it need not block */
    bool ended;   /* nothing more will be printed in this turn */
    bool stalled; /* when the last one was cut off, nothing was taken */
    int code;     /* 0, or why nothing can be written any more */
    int wake_fds[2];
    uint32_t waits; /* threads that wait, also those that nobody waits for */
    struct belay__memory *memory;
    struct belay__buffer bytes;
    size_t written; /* of them */
    struct belay_event more;
    struct belay_event emptied;
};

/* Errors: codes of the system; BELAY_ENOMEM. Nothing has changed. */
int belay__chat_output_init(struct belay__chat_output *output, int fd);
/* No thread waits any more: the runtime is closed. */
void belay__chat_output_fini(struct belay__chat_output *output);

/* Prints. Errors: BELAY_ENOMEM, or why nothing can be written any more. */
int belay__chat_output_put(
    struct belay__chat_output *output, struct belay_slice text);
/* Is so much not written yet that who prints should wait? */
bool belay__chat_output_is_full(const struct belay__chat_output *output);
/* An await: all of it is written, or nothing can be any more. */
belay_next belay__chat_output_wait(
    belay_task *task, struct belay__chat_output *output);
/* Nothing more comes. */
void belay__chat_output_end(struct belay__chat_output *output);

/* Spawns the task that writes, until the end of what is printed. Cut off, it
 * drops the rest at once; then there may be another one. What cannot be written
 * is output->code, not a failure of the task's.
 */
int belay__chat_output_spawn(
    belay_group *group, struct belay__chat_output *output);

#endif
