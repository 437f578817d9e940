/* stream.c - reads and writes on a pipe of libuv as operations.
 *
 * The operations lie in the stream, since there is one of each at a time. The
 * handle reads only while a task waits, straight into that task's buffer, so a
 * cancelled read leaves every byte in the pipe. A write can be stopped by a
 * close only; its request is done when its callback has run.
 */
#include "runtime/stream.h"

#include "runtime/internal.h"

#include <signal.h>

void
belay__ignore_broken_pipes(void)
{
    struct sigaction now;

    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL) {
        (void)signal(SIGPIPE, SIG_IGN);
    }
}

int
belay__stream_init(uv_loop_t *loop, struct belay_stream *stream,
    void (*closed)(struct belay_stream *stream), void *owner)
{
    int code = uv_pipe_init(loop, &stream->pipe, 0);

    if (code < 0) {
        return code;
    }
    belay__ignore_broken_pipes();
    stream->pipe.data = stream;
    stream->closed = closed;
    stream->owner = owner;
    stream->open = true;
    return 0;
}

static uv_stream_t *
handle_of(struct belay_stream *stream)
{
    return (uv_stream_t *)&stream->pipe;
}

static void
on_closed(uv_handle_t *handle)
{
    struct belay_stream *stream = handle->data;

    stream->closed(stream);
}

void
belay_stream_close(belay_stream *stream)
{
    if (stream == NULL || !stream->open) {
        return;
    }
    stream->open = false;
    /* libuv forgets a read that is on; a write gets its callback. */
    if (belay_op_pending(&stream->reading)) {
        belay_op_done(&stream->reading, BELAY_ECLOSED, NULL);
    }
    uv_close((uv_handle_t *)&stream->pipe, on_closed);
}

/* ---- reading ---- */

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct belay_stream *stream = handle->data;

    (void)suggested;
    *ret = (uv_buf_t){.base = stream->buffer, .len = stream->size};
}

static void
on_read(uv_stream_t *handle, ssize_t len, const uv_buf_t *buffer)
{
    struct belay_stream *stream = handle->data;
    int code = 0;

    (void)buffer;
    if (len == 0) {
        return; /* nothing there after all */
    }
    (void)uv_read_stop(handle);
    if (len > 0) {
        *stream->ret_len = (size_t)len;
    } else if (len == UV_EOF) {
        *stream->ret_len = 0;
        stream->at_end = true;
    } else {
        code = (int)len;
    }
    belay_op_done(&stream->reading, code, NULL);
}

static enum belay_abort
abort_read(struct belay_op *op)
{
    struct belay_stream *stream =
        BELAY__CONTAINER(op, struct belay_stream, reading);

    (void)uv_read_stop(handle_of(stream));
    return BELAY_ABORT_DONE;
}

/* What can be answered at once, is. */
static int
check_read(const struct belay_stream *stream, size_t size)
{
    if (size == 0) {
        return BELAY_EINVAL;
    }
    if (belay_op_pending(&stream->reading)) {
        return BELAY_EBUSY;
    }
    return stream->open ? 0 : BELAY_ECLOSED;
}

belay_next
belay_stream_read(belay_task *task, belay_stream *stream, void *buffer,
    size_t size, size_t *ret_len)
{
    int code = check_read(stream, size);
    belay_next next;

    if (code < 0) {
        return belay__done_now(task, code, NULL);
    }
    if (stream->at_end) {
        next = belay__done_now(task, 0, NULL);
        if (belay_result(task)->code == 0) {
            *ret_len = 0;
        }
        return next;
    }
    if (belay_op_begin(task, &stream->reading, abort_read) == 0) {
        stream->reading.name = "stream read";
        stream->buffer = buffer;
        stream->size = size;
        stream->ret_len = ret_len;
        code = uv_read_start(handle_of(stream), on_alloc, on_read);
        if (code < 0) {
            belay_op_done(&stream->reading, code, NULL);
        }
    }
    return belay_op_wait(&stream->reading);
}

/* ---- writing ---- */

static void
on_written(uv_write_t *request, int status)
{
    struct belay_stream *stream = request->handle->data;

    if (status == UV_ECANCELED && !stream->write_aborted) {
        status = BELAY_ECLOSED; /* somebody closed it */
    }
    belay_op_done(&stream->writing, status, NULL);
}

static enum belay_abort
abort_write(struct belay_op *op)
{
    struct belay_stream *stream =
        BELAY__CONTAINER(op, struct belay_stream, writing);

    if (!stream->open) {
        return BELAY_ABORT_LATER; /* closed already: the callback comes */
    }
    stream->write_aborted = true;
    belay_stream_close(stream);
    return BELAY_ABORT_LATER;
}

static int
check_write(const struct belay_stream *stream)
{
    if (belay_op_pending(&stream->writing)) {
        return BELAY_EBUSY;
    }
    return stream->open ? 0 : BELAY_ECLOSED;
}

belay_next
belay_stream_write(
    belay_task *task, belay_stream *stream, const void *data, size_t len)
{
    const uv_buf_t buffer = {.base = belay__without_const(data), .len = len};
    int code = check_write(stream);

    if (code < 0 || len == 0) {
        return belay__done_now(task, code, NULL);
    }
    if (belay_op_begin(task, &stream->writing, abort_write) == 0) {
        stream->writing.name = "stream write";
        code =
            uv_write(&stream->write, handle_of(stream), &buffer, 1, on_written);
        if (code < 0) {
            belay_op_done(&stream->writing, code, NULL);
        }
    }
    return belay_op_wait(&stream->writing);
}
