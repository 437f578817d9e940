/* file.c - reading and syncing files without stalling the loop.
 *
 * libuv's thread pool does the work for files; what can be polled is polled,
 * since a thread that reads from a terminal could not be called back.
 */
#include "llm/batch/file.h"

#include <belay/uv.h>

#include <errno.h>
#include <unistd.h>

struct file_call {
    struct belay_op op;
    int fd;
    char *buffer; /* NULL: sync */
    size_t room;
    int64_t offset; /* -1: where the file stands */
    size_t *ret_len;
    uv_fs_t request;
    uv_poll_t poll;
};

static enum belay_abort
abort_request(struct belay_op *op)
{
    struct file_call *call =
        (struct file_call *)(void *)((char *)op
                                     - offsetof(struct file_call, op));

    return uv_cancel((uv_req_t *)&call->request) == 0 ? BELAY_ABORT_LATER
                                                      : BELAY_ABORT_REFUSED;
}

static void
on_request(uv_fs_t *request)
{
    struct file_call *call = request->data;
    const ssize_t result = request->result;

    uv_fs_req_cleanup(request);
    if (result >= 0 && call->ret_len != NULL) {
        *call->ret_len = (size_t)result;
    }
    belay_op_done(&call->op, result < 0 ? (int)result : 0, NULL);
}

static void
request_start(uv_loop_t *loop, struct file_call *call)
{
    uv_buf_t into;
    int code;

    call->request.data = call;
    if (call->buffer != NULL) {
        into = uv_buf_init(call->buffer, (unsigned)call->room);
        call->op.name = "file read";
        code = uv_fs_read(
            loop, &call->request, call->fd, &into, 1, call->offset, on_request);
    } else {
        call->op.name = "file sync";
        code = uv_fs_fdatasync(loop, &call->request, call->fd, on_request);
    }
    if (code < 0) {
        belay_op_done(&call->op, code, NULL);
    }
}

static void
on_poll_closed(uv_handle_t *handle)
{
    struct file_call *call = handle->data;

    belay_op_done(&call->op, BELAY_ECANCELED, NULL);
}

/* The poll handle lies in the frame, so its close must be waited for. */
static enum belay_abort
abort_poll(struct belay_op *op)
{
    struct file_call *call =
        (struct file_call *)(void *)((char *)op
                                     - offsetof(struct file_call, op));

    uv_close((uv_handle_t *)&call->poll, on_poll_closed);
    return BELAY_ABORT_LATER;
}

static void
on_read_closed(uv_handle_t *handle)
{
    struct file_call *call = handle->data;
    ssize_t n;

    do {
        n = read(call->fd, call->buffer, call->room);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        *call->ret_len = (size_t)n;
    }
    belay_op_done(&call->op, n < 0 ? -errno : 0, NULL);
}

/* Readable, or broken, which the read will tell. From here on it cannot be
 * called back: the bytes that are read next are delivered.
 */
static void
on_readable(uv_poll_t *poll, int status, int events)
{
    struct file_call *call = poll->data;

    (void)status;
    (void)events;
    call->op.abort = NULL;
    uv_close((uv_handle_t *)&call->poll, on_read_closed);
}

static void
poll_start(struct file_call *call)
{
    call->op.name = "pipe read";
    call->op.abort = abort_poll;
    call->poll.data = call;
    if (uv_poll_start(&call->poll, UV_READABLE, on_readable) < 0) {
        on_readable(&call->poll, 0, 0);
    }
}

static belay_next
file_start(belay_task *task, void *self)
{
    struct file_call *call = self;
    uv_loop_t *loop = belay_runtime_loop(belay_task_runtime(task));

    if (belay_op_begin(task, &call->op, abort_request) == 0) {
        if (call->buffer != NULL && call->offset < 0
            && uv_poll_init(loop, &call->poll, call->fd) == 0) {
            poll_start(call);
        } else {
            request_start(loop, call);
        }
    }
    return belay_end_with(task, belay_op_wait(&call->op));
}

static const belay_function file_function = {
    "file", __FILE__, sizeof(struct file_call), file_start, 0};

belay_next
belay__file_read(
    belay_task *task, int fd, char *buffer, size_t room, size_t *ret_len)
{
    return belay_call(task, &file_function,
        &(const struct file_call){.fd = fd,
            .buffer = buffer,
            .room = room,
            .offset = -1,
            .ret_len = ret_len});
}

belay_next
belay__file_read_at(belay_task *task, int fd, char *buffer, size_t room,
    int64_t offset, size_t *ret_len)
{
    return belay_call(task, &file_function,
        &(const struct file_call){.fd = fd,
            .buffer = buffer,
            .room = room,
            .offset = offset,
            .ret_len = ret_len});
}

belay_next
belay__file_sync(belay_task *task, int fd)
{
    return belay_call(
        task, &file_function, &(const struct file_call){.fd = fd});
}
