/* stream.h - a stream inside what owns it.
 *
 * The memory is the owner's and must stay until `closed` was called: a
 * half-made stream (zeroed, or not open) needs no close and gives no call.
 */
#ifndef BELAY_RUNTIME_STREAM_H
#define BELAY_RUNTIME_STREAM_H

#include <belay/stream.h>
#include <belay/uv.h>

struct belay_stream {
    uv_pipe_t pipe;
    uv_write_t write;
    struct belay_op reading;
    struct belay_op writing;
    void *buffer; /* of the read … */
    size_t size;
    size_t *ret_len;
    void (*closed)(struct belay_stream *stream); /* the handle is gone */
    void *owner;                                 /* for closed */
    bool open;
    bool at_end;
    bool write_aborted;
};

/* A write to a pipe or a socket whose reader is gone would end the program,
 * unless that has its own mind about SIGPIPE.
 */
void belay__ignore_broken_pipes(void);

/* A pipe that is not connected to anything yet. */
int belay__stream_init(uv_loop_t *loop, struct belay_stream *stream,
    void (*closed)(struct belay_stream *stream), void *owner);

#endif
