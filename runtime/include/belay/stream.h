/* stream.h - bytes in and out of a pipe.
 *
 * Streams come with what they belong to, as the pipes of a child process do
 * (process.h), and end with it. One task at a time may read and one may write.
 * A read that was cancelled has lost nothing; a write that was cancelled may
 * have written a part, so the stream is closed. Rules: S11, S129.
 */
#ifndef BELAY_STREAM_H
#define BELAY_STREAM_H

#include <belay/task.h>

BELAY_BEGIN_DECLS

typedef struct belay_stream belay_stream; /* opaque; its owner's */

/**
 * belay_stream_read - wait for bytes
 *
 *   stream   not NULL; its owner must live until the read is over
 *   buffer   at least `size` bytes; must live until the read is over
 *   size     not 0
 *   ret_len  receives how many there are, 1 to size, or 0 at the end of the
 *            stream; must live until then; untouched on failure
 *
 * Owner:   the buffer stays the caller's.
 * Errors:  BELAY_ECANCELED  flagged: nothing was read
 *          BELAY_ECLOSED    the stream is closed on this side
 *          BELAY_EBUSY      another task is reading
 *          BELAY_EINVAL     size is 0
 *          other codes of the system.
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: uv_read_start; contract S11.
 */
BELAY_API BELAY_TOKEN belay_stream_read(belay_task *task, belay_stream *stream,
    void *buffer, size_t size, size_t *ret_len);

/**
 * belay_stream_write - write all of it
 *
 *   stream  not NULL; its owner must live until the write is over
 *   data    `len` bytes; must live until the write is over
 *   len     0 is legal and writes nothing
 *
 * A write waits as long as the other side does not read.
 *
 * Owner:   the data stays the caller's.
 * Errors:  BELAY_ECANCELED  flagged: a part may be written; the stream is
 *                           closed, since nobody can tell how much
 *          BELAY_ECLOSED    the stream is closed on this side
 *          BELAY_EPIPE      the other side is closed
 *          BELAY_EBUSY      another task is writing
 *          other codes of the system.
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: uv_write; contract S129.
 */
BELAY_API BELAY_TOKEN belay_stream_write(
    belay_task *task, belay_stream *stream, const void *data, size_t len);

/**
 * belay_stream_close - no more bytes; the other side sees the end
 *
 *   stream  NULL is legal
 *
 * A read or write that is waiting fails with BELAY_ECLOSED.
 *
 * Owner:   the stream stays its owner's, who still waits for the handle.
 * Errors:  none; closing it again changes nothing.
 * Threads: loop thread; legal in every callback. Runs no step itself.
 * Since:   0.1. Source: uv_close; contract S128.
 */
BELAY_API void belay_stream_close(belay_stream *stream);

BELAY_END_DECLS

#endif
