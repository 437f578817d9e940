/* reply.c - an HTTP reply, from its head to its last chunk.
 *
 * The head is not sent before there is something to send with it, so that a
 * whole reply is one write and a stream's head goes out with its first part.
 */
#include "llm/http/connection.h"

#include <string.h>

#define FIELDS_MAX ((size_t)64 * 1024)
#define SCRATCH_MAX ((size_t)64 * 1024 * 1024)
#define SCRATCH_KEPT ((size_t)64 * 1024)

/* A few short texts of known length, one behind the other. */
struct line {
    char text[256];
    size_t len;
};

static void
put(struct line *line, const char *text)
{
    size_t len = strlen(text);

    BELAY__REQUIRE(len <= sizeof(line->text) - line->len, "line is full");
    memcpy(line->text + line->len, text, len);
    line->len += len;
}

static void
put_number(struct line *line, uint64_t number, unsigned int base)
{
    char digits[24];
    size_t at = sizeof(digits) - 1;

    digits[at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    put(line, digits + at);
}

static struct belay_slice
line_slice(const struct line *line)
{
    return (struct belay_slice){line->text, line->len};
}

static const char *
reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {202, "Accepted"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {425, "Too Early"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {529, "Overloaded"},
    };

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].status == status) {
            return reasons[i].reason;
        }
    }
    return "Unknown";
}

void
belay__reply_init(
    struct belay__reply *reply, struct belay__connection *connection)
{
    struct belay__memory *memory = connection->server->memory;

    *reply = (struct belay__reply){.connection = connection};
    belay__buffer_init(&reply->fields, memory, FIELDS_MAX);
    belay__buffer_init(&reply->scratch, memory, SCRATCH_MAX);
}

void
belay__reply_fini(struct belay__reply *reply)
{
    belay__buffer_fini(&reply->fields);
    belay__buffer_fini(&reply->scratch);
}

void
belay__reply_next(struct belay__reply *reply)
{
    const struct belay__connection *connection = reply->connection;

    belay__buffer_clear(&reply->fields);
    if (reply->scratch.room > SCRATCH_KEPT) {
        belay__buffer_fini(&reply->scratch);
    }
    belay__buffer_clear(&reply->scratch);
    reply->state = BELAY__REPLY_NONE;
    reply->left = 0;
    reply->close = connection->refusal != 0 || !connection->parser.keep_alive;
    reply->chunked = false;
    reply->no_body = connection->refusal == 0
                     && strcmp(connection->request.method, "HEAD") == 0;
}

static bool
is_clean(const char *text)
{
    for (; *text != '\0'; text++) {
        if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f) {
            return false;
        }
    }
    return true;
}

int
belay__reply_header(
    struct belay__reply *reply, const char *name, const char *value)
{
    struct belay__buffer *fields = &reply->fields;
    const size_t name_len = strlen(name);
    const size_t value_len = strlen(value);
    int code;

    if (reply->state != BELAY__REPLY_NONE) {
        return BELAY_ESTATE;
    }
    if (!is_clean(name) || !is_clean(value)) {
        return BELAY_EINVAL;
    }
    code = belay__buffer_reserve(fields, name_len + value_len + 4);
    if (code < 0) {
        return code;
    }
    (void)belay__buffer_append(fields, name, name_len);
    (void)belay__buffer_append(fields, ": ", 2);
    (void)belay__buffer_append(fields, value, value_len);
    (void)belay__buffer_append(fields, "\r\n", 2);
    return 0;
}

void
belay__reply_close(struct belay__reply *reply)
{
    reply->close = true;
}

struct belay__buffer *
belay__reply_scratch(struct belay__reply *reply)
{
    return &reply->scratch;
}

int
belay__reply_begin(struct belay__reply *reply, int status, uint64_t length)
{
    if (reply->state != BELAY__REPLY_NONE) {
        return BELAY_ESTATE;
    }
    if (status < 200 || status > 999) {
        return BELAY_EINVAL;
    }
    reply->state = BELAY__REPLY_BEGUN;
    reply->status = status;
    reply->left = length;
    reply->no_body = reply->no_body || status == 204 || status == 304;
    if (length == BELAY__CHUNKED) {
        /* HTTP/1.0 knows no chunks: there the end of the connection counts. */
        reply->chunked = !reply->connection->parser.http10;
        reply->close = reply->close || !reply->chunked;
    }
    return 0;
}

static void
put_head(struct belay__reply *reply, struct line *line)
{
    struct belay__connection *connection = reply->connection;

    put(line, "HTTP/1.1 ");
    put_number(line, (uint64_t)reply->status, 10);
    put(line, " ");
    put(line, reason_of(reply->status));
    put(line, "\r\nDate: ");
    put(line, belay__server_date(connection->server));
    put(line, "\r\n");
    if (reply->chunked) {
        put(line, "Transfer-Encoding: chunked\r\n");
    } else if (reply->left != BELAY__CHUNKED && reply->status != 204) {
        put(line, "Content-Length: ");
        put_number(line, reply->left, 10);
        put(line, "\r\n");
    }
    if (reply->close) {
        put(line, "Connection: close\r\n");
    } else if (connection->parser.http10) {
        put(line, "Connection: keep-alive\r\n");
    }
}

/* Sends the head if it is due, then a part of the body, then the end. */
static int
put_part(struct belay__reply *reply, struct belay_slice data, bool last)
{
    const bool body = !reply->no_body;
    struct belay_slice pieces[8];
    struct line head = {.len = 0};
    struct line size = {.len = 0};
    size_t count = 0;

    if (reply->state == BELAY__REPLY_BEGUN) {
        put_head(reply, &head);
        pieces[count++] = line_slice(&head);
        pieces[count++] = belay__buffer_slice(&reply->fields);
        pieces[count++] = (struct belay_slice){"\r\n", 2};
    }
    if (body && data.len > 0 && reply->chunked) {
        put_number(&size, data.len, 16);
        put(&size, "\r\n");
        pieces[count++] = line_slice(&size);
        pieces[count++] = data;
        pieces[count++] = (struct belay_slice){"\r\n", 2};
    } else if (body && data.len > 0) {
        pieces[count++] = data;
    }
    if (body && last && reply->chunked) {
        pieces[count++] = (struct belay_slice){"0\r\n\r\n", 5};
    }
    if (reply->left != BELAY__CHUNKED) {
        reply->left -= data.len;
    }
    reply->state = last ? BELAY__REPLY_DONE : BELAY__REPLY_BODY;
    return count > 0 ? belay__connection_send(reply->connection, pieces, count)
                     : 0;
}

static int
check_part(const struct belay__reply *reply, size_t len, bool last)
{
    if (reply->state != BELAY__REPLY_BEGUN
        && reply->state != BELAY__REPLY_BODY) {
        return BELAY_ESTATE;
    }
    if (reply->left == BELAY__CHUNKED) {
        return 0;
    }
    return len > reply->left || (last && len < reply->left) ? BELAY_EINVAL : 0;
}

/* The second half of each operation: its bytes are sent, or queued. */
static belay_next
written(struct belay__connection *connection, int code)
{
    if (code < 0) {
        belay_op_done(&connection->output, code, NULL);
        return belay_op_wait(&connection->output);
    }
    return belay__connection_room(
        connection, connection->server->opts.max_queue_bytes);
}

static belay_next
part(belay_task *task, struct belay__reply *reply, struct belay_slice data,
    bool last)
{
    struct belay__connection *connection = reply->connection;
    int code;

    if (belay__connection_begin_output(task, connection) < 0) {
        return belay_op_wait(&connection->output);
    }
    code = check_part(reply, data.len, last);
    if (code == 0) {
        code = put_part(reply, data, last);
    }
    return written(connection, code);
}

belay_next
belay__reply_write(
    belay_task *task, struct belay__reply *reply, struct belay_slice data)
{
    return part(task, reply, data, false);
}

belay_next
belay__reply_end(
    belay_task *task, struct belay__reply *reply, struct belay_slice data)
{
    return part(task, reply, data, true);
}

belay_next
belay__reply_send(belay_task *task, struct belay__reply *reply, int status,
    struct belay_slice body)
{
    struct belay__connection *connection = reply->connection;
    int code;

    if (belay__connection_begin_output(task, connection) < 0) {
        return belay_op_wait(&connection->output);
    }
    code = belay__reply_begin(reply, status, body.len);
    if (code == 0) {
        code = put_part(reply, body, true);
    }
    return written(connection, code);
}

belay_next
belay__reply_flush(belay_task *task, struct belay__reply *reply)
{
    return belay__connection_flush(task, reply->connection);
}

belay_next
belay__reply_refuse(belay_task *task, struct belay__reply *reply, int status)
{
    struct line text = {.len = 0};

    put_number(&text, (uint64_t)status, 10);
    put(&text, " ");
    put(&text, reason_of(status));
    put(&text, "\n");
    if (reply->state == BELAY__REPLY_NONE) {
        belay__buffer_clear(&reply->fields);
        (void)belay__reply_header(reply, "Content-Type", "text/plain");
    }
    return belay__reply_send(task, reply, status, line_slice(&text));
}

belay_next
belay__reply_raw(
    belay_task *task, struct belay__reply *reply, struct belay_slice data)
{
    struct belay__connection *connection = reply->connection;
    int code;

    if (belay__connection_begin_output(task, connection) < 0) {
        return belay_op_wait(&connection->output);
    }
    reply->state = BELAY__REPLY_RAW;
    reply->close = true;
    code = belay__connection_send(connection, &data, 1);
    return written(connection, code);
}

void
belay__reply_reset(struct belay__reply *reply)
{
    struct belay__connection *connection = reply->connection;

    reply->close = true;
    if (uv_is_closing((uv_handle_t *)&connection->tcp)) {
        return;
    }
    connection->ended = true;
    if (uv_tcp_close_reset(&connection->tcp, belay__connection_closed) < 0) {
        uv_close((uv_handle_t *)&connection->tcp, belay__connection_closed);
    }
}
