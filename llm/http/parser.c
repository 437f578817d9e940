/* parser.c - HTTP/1.x requests, split by http-parser.
 *
 * The library calls back with pieces of the head, cut wherever a read was
 * cut. They are joined in one buffer, a NUL behind each text; since NUL is
 * refused in a head, texts need no length. Behind a whole request the library
 * is paused, so that it leaves the next one alone.
 */
#include "llm/http/parser.h"

#include <http_parser.h>
#include <string.h>

#define BODY_KEPT ((size_t)64 * 1024) /* room that outlives a request */

_Static_assert(
    sizeof(((struct belay__parser *)NULL)->core) >= sizeof(http_parser),
    "the library's state has room");

static http_parser *
core_of(struct belay__parser *parser)
{
    return (http_parser *)(void *)parser->core;
}

static int
refuse(struct belay__parser *parser, int status)
{
    parser->status = status;
    return -1;
}

/* For what a buffer has answered. */
static int
refuse_code(struct belay__parser *parser, int code, int too_large)
{
    return refuse(parser, code == BELAY_ETOOLARGE ? too_large : 503);
}

static int
put_head(struct belay__parser *parser, const char *at, size_t len)
{
    int code = belay__buffer_append(&parser->head, at, len);

    return code < 0 ? refuse_code(parser, code, 431) : 0;
}

/* The library lets blanks in names pass, and then takes "Content-Length :" for
 * the length; others in the path of the request may not.
 */
static int
end_name(struct belay__parser *parser)
{
    const struct belay__buffer *head = &parser->head;
    const size_t start = parser->fields[parser->field_count - 1].name;

    if (memchr(head->data + start, ' ', head->len - start) != NULL) {
        return refuse(parser, 400);
    }
    return 0;
}

/* Blanks behind a value are not part of it. Control characters in it the
 * library refuses, but for the first byte.
 */
static int
end_value(struct belay__parser *parser)
{
    struct belay__buffer *head = &parser->head;
    const size_t start = parser->fields[parser->field_count - 1].value;

    if (head->len > start && (unsigned char)head->data[start] < ' ') {
        return refuse(parser, 400);
    }
    while (head->len > start
           && (head->data[head->len - 1] == ' '
               || head->data[head->len - 1] == '\t')) {
        head->len--;
    }
    return 0;
}

/* The text that came in last is whole. */
static int
end_text(struct belay__parser *parser)
{
    if (parser->part == BELAY__HEAD_NAME && end_name(parser) < 0) {
        return -1;
    }
    if (parser->part == BELAY__HEAD_VALUE && end_value(parser) < 0) {
        return -1;
    }
    return put_head(parser, "", 1);
}

static int
on_target(http_parser *core, const char *at, size_t len)
{
    return put_head(core->data, at, len);
}

static int
on_name(http_parser *core, const char *at, size_t len)
{
    struct belay__parser *parser = core->data;

    if (parser->part == BELAY__HEAD_WHOLE) {
        return 0; /* a trailer: nobody asked for it */
    }
    if (parser->part != BELAY__HEAD_NAME) {
        if (parser->field_count == BELAY__FIELDS_MAX) {
            return refuse(parser, 431);
        }
        if (end_text(parser) < 0) {
            return -1;
        }
        parser->part = BELAY__HEAD_NAME;
        parser->fields[parser->field_count++].name = (uint32_t)parser->head.len;
    }
    return put_head(parser, at, len);
}

static int
on_value(http_parser *core, const char *at, size_t len)
{
    struct belay__parser *parser = core->data;

    if (parser->part == BELAY__HEAD_WHOLE) {
        return 0;
    }
    if (parser->part == BELAY__HEAD_NAME) {
        if (end_text(parser) < 0) {
            return -1;
        }
        parser->part = BELAY__HEAD_VALUE;
        parser->fields[parser->field_count - 1].value =
            (uint32_t)parser->head.len;
    }
    return put_head(parser, at, len);
}

static int
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

static bool
same_name(const char *a, const char *b)
{
    while (*a != '\0' && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return *a == *b;
}

static size_t
count_fields(const struct belay__parser *parser, const char *name)
{
    size_t count = 0;

    for (uint32_t i = 0; i < parser->field_count; i++) {
        count += same_name(parser->head.data + parser->fields[i].name, name);
    }
    return count;
}

/* What RFC 9112 wants a server to refuse and the library lets through. */
static int
check_head(struct belay__parser *parser, const http_parser *core)
{
    const char *expect = belay__parser_field(parser, "expect");
    size_t hosts = count_fields(parser, "host");

    if (core->http_major != 1) {
        return refuse(parser, 505);
    }
    if (hosts > 1 || (hosts == 0 && core->http_minor > 0)) {
        return refuse(parser, 400);
    }
    if (expect != NULL) {
        if (!same_name(expect, "100-continue")) {
            return refuse(parser, 417);
        }
        parser->wants_continue = core->http_minor > 0;
    }
    return 0;
}

static int
on_head(http_parser *core)
{
    struct belay__parser *parser = core->data;

    if (end_text(parser) < 0) {
        return -1;
    }
    parser->part = BELAY__HEAD_WHOLE;
    parser->http10 = core->http_major == 1 && core->http_minor == 0;
    parser->keep_alive = http_should_keep_alive(core) != 0;
    if (check_head(parser, core) < 0) {
        return -1;
    }
    core->upgrade = 0; /* no protocol is offered, so the request is plain */
    if (core->content_length != UINT64_MAX
        && core->content_length > parser->body.max) {
        return refuse(parser, 413);
    }
    return 0;
}

static int
on_body(http_parser *core, const char *at, size_t len)
{
    struct belay__parser *parser = core->data;
    int code = belay__buffer_append(&parser->body, at, len);

    return code < 0 ? refuse_code(parser, code, 413) : 0;
}

static int
on_whole(http_parser *core)
{
    http_parser_pause(core, 1);
    return 0;
}

void
belay__parser_init(struct belay__parser *parser, struct belay__memory *memory,
    size_t max_body_bytes)
{
    http_parser *core = core_of(parser);

    memset(parser, 0, sizeof(*parser));
    http_parser_init(core, HTTP_REQUEST);
    core->data = parser;
    belay__buffer_init(&parser->head, memory, BELAY__HEAD_MAX);
    belay__buffer_init(&parser->body, memory, max_body_bytes);
}

void
belay__parser_fini(struct belay__parser *parser)
{
    belay__buffer_fini(&parser->head);
    belay__buffer_fini(&parser->body);
}

void
belay__parser_next(struct belay__parser *parser)
{
    belay__buffer_clear(&parser->head);
    if (parser->body.room > BODY_KEPT) {
        belay__buffer_fini(&parser->body);
    }
    belay__buffer_clear(&parser->body);
    parser->field_count = 0;
    parser->part = BELAY__HEAD_TARGET;
    parser->wants_continue = false;
}

static int
failure(struct belay__parser *parser, enum http_errno error)
{
    if (error == HPE_HEADER_OVERFLOW) {
        parser->status = 431;
    } else if (parser->status == 0) {
        parser->status = 400;
    }
    if (parser->status == 503) {
        return BELAY_ENOMEM;
    }
    return parser->status == 413 || parser->status == 431 ? BELAY_ETOOLARGE
                                                          : BELAY_EPROTO;
}

int
belay__parser_feed(struct belay__parser *parser, const char *data, size_t len,
    size_t *ret_used)
{
    static const http_parser_settings settings = {
        .on_url = on_target,
        .on_header_field = on_name,
        .on_header_value = on_value,
        .on_headers_complete = on_head,
        .on_body = on_body,
        .on_message_complete = on_whole,
    };
    http_parser *core = core_of(parser);
    size_t used = http_parser_execute(core, &settings, data, len);
    enum http_errno error = HTTP_PARSER_ERRNO(core);

    if (error == HPE_PAUSED) {
        http_parser_pause(core, 0);
        *ret_used = used;
        return 1;
    }
    if (error != HPE_OK) {
        return failure(parser, error);
    }
    *ret_used = len;
    return 0;
}

const char *
belay__parser_method(const struct belay__parser *parser)
{
    const http_parser *core = (const http_parser *)(const void *)parser->core;

    return http_method_str((enum http_method)core->method);
}

const char *
belay__parser_field(const struct belay__parser *parser, const char *name)
{
    for (uint32_t i = 0; i < parser->field_count; i++) {
        if (same_name(parser->head.data + parser->fields[i].name, name)) {
            return parser->head.data + parser->fields[i].value;
        }
    }
    return NULL;
}
