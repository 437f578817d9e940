/* message.c - what may be sent, and how an answer's head is kept.
 *
 * The head is kept as its raw lines: most answers are asked for two or three
 * headers, and looking through a few hundred bytes costs less than an index.
 */
#include "llm/http/transfer.h"

#include <string.h>
#include <strings.h>

#define MIB ((size_t)1024 * 1024)
#define BODY_MAX (64 * MIB)
#define HEAD_MAX ((size_t)64 * 1024)
#define HEAD_ROOM 512 /* of most answers */

static bool
is_path(const char *path)
{
    for (; *path != '\0'; path++) {
        const unsigned char c = (unsigned char)*path;

        if (c <= ' ' || c == 0x7f || c == '#') {
            return false;
        }
    }
    return true;
}

const char *
belay__http_request_check(const struct belay__http_request *request)
{
    if (request->method != NULL && !belay__http_is_token(request->method)) {
        return "the method is not a token";
    }
    if (request->path != NULL && !is_path(request->path)) {
        return "the path holds a blank, a control character or a '#'";
    }
    if (request->body.len > INT64_MAX) {
        return "the body is too large";
    }
    return belay__http_headers_check(request->headers, request->header_count);
}

static void
buffer_begin(
    struct belay__buffer *buffer, struct belay__memory *memory, size_t max)
{
    if (buffer->memory != memory || buffer->room > max) {
        belay__buffer_fini(buffer);
        belay__buffer_init(buffer, memory, max);
        return;
    }
    belay__buffer_clear(buffer);
    buffer->max = max;
}

void
belay__http_reply_begin(struct belay__http_reply *reply,
    const belay_runtime *runtime, const struct belay__http_request *request)
{
    const struct belay__buffer body = reply->body;
    const struct belay__buffer head = reply->head;

    *reply = (struct belay__http_reply){
        .body = body,
        .head = head,
        .started = {belay__clock_now(runtime)},
    };
    buffer_begin(&reply->body, runtime->memory,
        request->max_body_bytes > 0 ? request->max_body_bytes : BODY_MAX);
    buffer_begin(&reply->head, runtime->memory,
        request->max_head_bytes > 0 ? request->max_head_bytes : HEAD_MAX);
}

void
belay__http_reply_fini(struct belay__http_reply *reply)
{
    if (reply == NULL) {
        return;
    }
    belay__buffer_fini(&reply->body);
    belay__buffer_fini(&reply->head);
    *reply = (struct belay__http_reply){0};
}

/* "HTTP/1.1 200 OK", "HTTP/2 200". libcurl has checked the form. */
static void
read_status(struct belay__http_reply *reply, const char *line, size_t len)
{
    const size_t name_len = strlen("HTTP/");
    size_t at = name_len;
    int version = 0;
    int status = 0;

    for (; at < len && line[at] != ' '; at++) {
        if (line[at] >= '0' && line[at] <= '9') {
            version = version * 10 + (line[at] - '0');
        }
    }
    for (at++; at < len && line[at] >= '0' && line[at] <= '9'; at++) {
        status = status * 10 + (line[at] - '0');
        if (status > 999) {
            break;
        }
    }
    reply->version = version < 10 ? version * 10 : version;
    reply->status = status;
}

int
belay__http_reply_line(
    struct belay__http_reply *reply, const char *line, size_t len)
{
    int code;

    if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
        belay__buffer_clear(&reply->head); /* what came before was a 1xx */
        read_status(reply, line, len);
    }
    if (reply->head.room == 0 && reply->head.max >= HEAD_ROOM) {
        code = belay__buffer_reserve(&reply->head, HEAD_ROOM);
        if (code < 0) {
            return code;
        }
    }
    return belay__buffer_append(&reply->head, line, len);
}

static struct belay_slice
trim(const char *data, size_t len)
{
    while (len > 0 && (*data == ' ' || *data == '\t')) {
        data++;
        len--;
    }
    while (len > 0
           && (data[len - 1] == '\r' || data[len - 1] == ' '
               || data[len - 1] == '\t')) {
        len--;
    }
    return (struct belay_slice){data, len};
}

struct belay_slice
belay__http_reply_header(
    const struct belay__http_reply *reply, const char *name)
{
    const size_t name_len = strlen(name);
    const char *line = reply->head.data;
    size_t left = reply->head.len;

    while (left > 0) {
        const char *end = memchr(line, '\n', left);
        const size_t len = end != NULL ? (size_t)(end - line) : left;

        if (len > name_len && line[name_len] == ':'
            && strncasecmp(line, name, name_len) == 0) {
            return trim(line + name_len + 1, len - name_len - 1);
        }
        if (end == NULL) {
            break;
        }
        line = end + 1;
        left -= len + 1;
    }
    return (struct belay_slice){NULL, 0};
}
