/* output.c - what a connection sends.
 *
 * The socket is tried first. What it does not take is copied behind `queued`;
 * one uv_write at a time hands it over, as `writing`, so that no write needs
 * memory of its own. Waiting is for the writer: an operation that was begun
 * on `output` ends when few enough bytes are unsent.
 */
#include "llm/http/connection.h"

#define ROOM_KEPT ((size_t)64 * 1024) /* in a buffer that has been sent */
#define PIECES_MAX 8

static uv_stream_t *
stream_of(struct belay__connection *connection)
{
    return (uv_stream_t *)&connection->tcp;
}

static bool
is_closing(struct belay__connection *connection)
{
    return uv_is_closing((uv_handle_t *)&connection->tcp) != 0;
}

/* libuv's buffers are not const, though it does not write to these. */
static uv_buf_t
buf_of(struct belay_slice slice)
{
    union {
        const char *in;
        char *out;
    } base = {.in = slice.data};

    return (uv_buf_t){.base = base.out, .len = slice.len};
}

static size_t
unsent(struct belay__connection *connection)
{
    return uv_stream_get_write_queue_size(stream_of(connection))
           + connection->queued.len;
}

static void
wake_writer(struct belay__connection *connection)
{
    if (belay_op_pending(&connection->output)
        && unsent(connection) <= connection->room_wanted) {
        belay__connection_allow(connection, BELAY_FOREVER);
        belay_op_done(&connection->output, 0, NULL);
    }
}

static void start_write(struct belay__connection *connection);

static void
on_written(uv_write_t *request, int status)
{
    struct belay__connection *connection = request->data;

    if (connection->writing.room > ROOM_KEPT) {
        belay__buffer_fini(&connection->writing);
    }
    belay__buffer_clear(&connection->writing);
    if (is_closing(connection)) {
        return;
    }
    if (status < 0) {
        belay__connection_ended(connection);
        return;
    }
    start_write(connection);
    wake_writer(connection);
}

static void
start_write(struct belay__connection *connection)
{
    const struct belay__buffer empty = connection->writing;
    uv_buf_t buf;

    if (empty.len > 0 || connection->queued.len == 0) {
        return;
    }
    connection->writing = connection->queued;
    connection->queued = empty;
    buf = buf_of(belay__buffer_slice(&connection->writing));
    connection->write_request.data = connection;
    if (uv_write(&connection->write_request, stream_of(connection), &buf, 1,
            on_written)
        < 0) {
        belay__connection_ended(connection);
    }
}

/* Copies all but the first `skip` bytes behind what waits. */
static int
keep(struct belay__connection *connection, const struct belay_slice *slices,
    size_t count, size_t skip)
{
    int code = 0;

    for (size_t i = 0; i < count && code == 0; i++) {
        if (skip >= slices[i].len) {
            skip -= slices[i].len;
            continue;
        }
        code = belay__buffer_append(
            &connection->queued, slices[i].data + skip, slices[i].len - skip);
        skip = 0;
    }
    return code;
}

int
belay__connection_send(struct belay__connection *connection,
    const struct belay_slice *slices, size_t count)
{
    uv_buf_t bufs[PIECES_MAX];
    size_t sent = 0;
    int code;

    BELAY__REQUIRE(count <= PIECES_MAX, "too many pieces: %zu", count);
    if (connection->ended || is_closing(connection)) {
        return BELAY_ERESET;
    }
    if (unsent(connection) == 0) {
        for (size_t i = 0; i < count; i++) {
            bufs[i] = buf_of(slices[i]);
        }
        code = uv_try_write(stream_of(connection), bufs, (unsigned int)count);
        if (code < 0 && code != UV_EAGAIN) {
            belay__connection_ended(connection);
            return BELAY_ERESET;
        }
        sent = code > 0 ? (size_t)code : 0;
    }
    code = keep(connection, slices, count, sent);
    if (code < 0) {
        /* Half of it may be on its way: nothing can follow. */
        belay__connection_ended(connection);
        return code;
    }
    start_write(connection);
    return 0;
}

belay_next
belay__connection_room(struct belay__connection *connection, size_t wanted)
{
    connection->room_wanted = wanted;
    connection->unsent_before = unsent(connection);
    if (connection->unsent_before <= wanted) {
        belay_op_done(&connection->output, 0, NULL);
    } else {
        belay__connection_allow(
            connection, connection->server->opts.io_timeout);
    }
    return belay_op_wait(&connection->output);
}

static enum belay_abort
abort_output(struct belay_op *op)
{
    (void)op;
    return BELAY_ABORT_DONE;
}

int
belay__connection_begin_output(
    belay_task *task, struct belay__connection *connection)
{
    int code = belay_op_begin(task, &connection->output, abort_output);

    if (code == 0) {
        connection->output.name = "write to a client";
    }
    return code;
}

belay_next
belay__connection_flush(belay_task *task, struct belay__connection *connection)
{
    if (belay__connection_begin_output(task, connection) < 0) {
        return belay_op_wait(&connection->output);
    }
    if (connection->ended || is_closing(connection)) {
        belay_op_done(&connection->output, BELAY_ERESET, NULL);
        return belay_op_wait(&connection->output);
    }
    return belay__connection_room(connection, 0);
}

bool
belay__connection_progress(struct belay__connection *connection)
{
    const size_t now = unsent(connection);
    const bool progress = now != connection->unsent_before;

    connection->unsent_before = now;
    return progress;
}
