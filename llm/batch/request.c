/* request.c - what one line of a batch asks for.
 *
 * A line is read once, body included. Reading collects, judging comes after
 * it, so that the custom_id is known even if something before it is wrong.
 */
#include "llm/batch/request.h"

#include "llm/json/scan.h"
#include "llm/json/text.h"
#include "llm/json/write.h"
#include "llm/printable.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SUBJECT_MAX 64 /* bytes of a text from the line in a message */
#define ID_ROOM 24     /* a line number in quotes */

/* What a line has, as it stands there. */
struct fields {
    struct belay__json_error error;
    enum belay__json_type type; /* of the line */
    struct belay__json_value custom_id;
    struct belay__json_value method;
    struct belay__json_value url;
    struct belay__json_value model;
    enum belay__json_type body_type;
    struct belay_slice body;
    bool params; /* the body was called params */
    bool stream;
};

const char *
belay__batch_fault_name(enum belay__batch_fault fault)
{
    static const char *const names[] = {
#define BELAY__NAME(name, text) text,
        BELAY__BATCH_FAULT_MAP(BELAY__NAME)
#undef BELAY__NAME
    };

    return names[fault];
}

/* The body before the cursor; what an earlier one said is forgotten. */
static void
read_body(struct belay__json *json, struct fields *fields)
{
    struct belay__json_value key;
    struct belay__json_value stream;
    size_t start = belay__json_offset(json);

    fields->model = (struct belay__json_value){0};
    fields->stream = false;
    fields->body_type = belay__json_type_ahead(json);
    if (!belay__json_enter_object(json)) {
        return;
    }
    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "model")) {
            (void)belay__json_take(json, &fields->model);
        } else if (belay__json_key_is(&key, "stream")
                   && belay__json_take(json, &stream)) {
            fields->stream |= stream.type == BELAY__JSON_TRUE;
        }
    }
    fields->body = belay__json_since(json, start);
}

static void
read_members(struct belay__json *json, struct fields *fields)
{
    struct belay__json_value key;

    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "custom_id")) {
            (void)belay__json_take(json, &fields->custom_id);
        } else if (belay__json_key_is(&key, "method")) {
            (void)belay__json_take(json, &fields->method);
        } else if (belay__json_key_is(&key, "url")) {
            (void)belay__json_take(json, &fields->url);
        } else if (belay__json_key_is(&key, "body")) {
            fields->params = false;
            read_body(json, fields);
        } else if (belay__json_key_is(&key, "params")
                   && fields->body_type == BELAY__JSON_NONE) {
            fields->params = true;
            read_body(json, fields);
        }
    }
}

static struct fields
read_line(struct belay_slice text, bool bare)
{
    struct fields fields = {0};
    struct belay__json json;

    belay__json_open(&json, text);
    fields.type = belay__json_type_ahead(&json);
    if (bare) {
        read_body(&json, &fields);
    } else if (belay__json_enter_object(&json)) {
        read_members(&json, &fields);
    }
    (void)belay__json_finish(&json);
    fields.error = json.error;
    return fields;
}

BELAY_PRINTF(3, 4)
static void
blame(struct belay__batch_request *request, enum belay__batch_fault fault,
    const char *format, ...)
{
    const size_t size = sizeof(request->message);
    int len =
        snprintf(request->message, size, "line %" PRIu64 ": ", request->line);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(request->message + len, size - (size_t)len, format, args);
    va_end(args);
    request->fault = fault;
}

/* A text from the line, fit for a message: short, and fit for a terminal. */
struct subject {
    char text[SUBJECT_MAX];
};

static struct subject
subject(struct belay_slice text)
{
    struct subject ret;

    (void)belay__printable(text, NULL, ret.text, sizeof(ret.text));
    return ret;
}

static bool
is_same(struct belay_slice a, struct belay_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static struct belay_slice
slice(const char *text)
{
    return (struct belay_slice){text, strlen(text)};
}

static bool
ends_with(struct belay_slice text, const char *end)
{
    size_t len = strlen(end);

    return text.len >= len && memcmp(text.data + text.len - len, end, len) == 0;
}

static bool
is_path_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9') || c == '/' || c == '_' || c == '-';
}

/* One of the paths of B1. What only ends like one must be a plain path. */
static bool
is_supported(struct belay_slice url)
{
    static const char *const paths[] = {"/v1/chat/completions", "/v1/responses",
        "/v1/embeddings", "/v1/completions", "/v1/messages"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (is_same(url, slice(paths[i]))) {
            return true;
        }
    }
    if (!ends_with(url, "/score") && !ends_with(url, "/rerank")) {
        return false;
    }
    for (size_t i = 0; i < url.len; i++) {
        if (!is_path_byte(url.data[i])) {
            return false;
        }
    }
    return url.data[0] == '/';
}

static bool
judge_string(struct belay__batch_request *request, const char *name,
    const struct belay__json_value *value)
{
    if (value->type == BELAY__JSON_STRING) {
        return true;
    }
    blame(request, BELAY__BATCH_INVALID_LINE, "%s is %s", name,
        value->type == BELAY__JSON_NONE ? "missing" : "not a string");
    return false;
}

static bool
judge_object(struct belay__batch_request *request, const char *name,
    enum belay__json_type type)
{
    if (type == BELAY__JSON_OBJECT) {
        return true;
    }
    blame(request, BELAY__BATCH_INVALID_LINE, "%s is %s", name,
        type == BELAY__JSON_NONE ? "missing" : "not an object");
    return false;
}

/* What an OpenAI line must have besides. */
static bool
judge_route(struct belay__batch_request *request, const struct fields *fields)
{
    if (!judge_string(request, "method", &fields->method)
        || !judge_string(request, "url", &fields->url)) {
        return false;
    }
    if (!belay__json_key_is(&fields->method, "POST")) {
        blame(request, BELAY__BATCH_INVALID_LINE, "method is not 'POST'");
        return false;
    }
    return true;
}

static void
judge_content(struct belay__batch_request *request,
    const struct belay__batch_rules *rules, const struct fields *fields)
{
    if (!judge_object(
            request, fields->params ? "params" : "body", fields->body_type)) {
        return;
    }
    if (!is_supported(request->url)) {
        blame(request, BELAY__BATCH_UNSUPPORTED_URL,
            "url '%s' is not supported", subject(request->url).text);
    } else if (rules->url.len > 0 && !is_same(request->url, rules->url)) {
        blame(request, BELAY__BATCH_URL_MISMATCH,
            "url '%s' is not that of the batch, '%s'",
            subject(request->url).text, subject(rules->url).text);
    } else if (fields->stream) {
        blame(request, BELAY__BATCH_STREAM,
            "the body asks for a stream, which a batch cannot deliver");
    }
}

static void
judge(struct belay__batch_request *request,
    const struct belay__batch_rules *rules, const struct fields *fields)
{
    if (fields->error.reason != NULL) {
        blame(request, BELAY__BATCH_INVALID_LINE,
            "not valid JSON at byte %zu: %s", fields->error.offset,
            fields->error.reason);
        return;
    }
    if (!judge_object(request, "the line", fields->type)) {
        return;
    }
    if (!rules->bare
        && (!judge_string(request, "custom_id", &fields->custom_id)
            || (!fields->params && !judge_route(request, fields)))) {
        return;
    }
    judge_content(request, rules, fields);
}

/* The text of a string: in the line, or decoded, in room that is there. */
static struct belay_slice
text_of(const struct belay__json_value *value, struct belay__buffer *scratch)
{
    size_t start = scratch->len;

    if (value->type != BELAY__JSON_STRING) {
        return (struct belay_slice){0};
    }
    if (!value->escaped) {
        return belay__json_inside(value->raw);
    }
    (void)belay__json_append_decoded(scratch, value->raw);
    return (struct belay_slice){scratch->data + start, scratch->len - start};
}

static size_t
decoded_room(const struct belay__json_value *value)
{
    return value->escaped && value->type == BELAY__JSON_STRING ? value->raw.len
                                                               : 0;
}

/* The id of a bare body: its line number, in quotes. */
static struct belay_slice
number_id(uint64_t line, struct belay__buffer *scratch)
{
    size_t start = scratch->len;
    char text[ID_ROOM];
    int len = snprintf(text, sizeof(text), "\"%" PRIu64 "\"", line);

    (void)belay__buffer_append(scratch, text, (size_t)len);
    return (struct belay_slice){scratch->data + start, (size_t)len};
}

/* Gives the texts of the fields; there is room for them in scratch. */
static void
decode(struct belay__batch_request *request,
    const struct belay__batch_rules *rules, const struct fields *fields,
    struct belay__buffer *scratch)
{
    if (rules->bare) {
        request->custom_id_raw = number_id(request->line, scratch);
        request->custom_id = belay__json_inside(request->custom_id_raw);
        request->url = rules->url;
    } else {
        request->custom_id = text_of(&fields->custom_id, scratch);
        request->url = fields->params ? slice("/v1/messages")
                                      : text_of(&fields->url, scratch);
        if (fields->custom_id.type == BELAY__JSON_STRING) {
            request->custom_id_raw = fields->custom_id.raw;
        }
    }
    request->model = text_of(&fields->model, scratch);
    request->body = fields->body;
    request->stream = fields->stream;
}

int
belay__batch_read(const struct belay__line *line,
    const struct belay__batch_rules *rules, struct belay__buffer *scratch,
    struct belay__batch_request *ret)
{
    struct fields fields = read_line(line->text, rules->bare);
    struct belay__batch_request request = {.line = line->number};
    int code;

    belay__buffer_clear(scratch);
    code = belay__buffer_reserve(
        scratch, ID_ROOM + decoded_room(&fields.custom_id)
                     + decoded_room(&fields.url) + decoded_room(&fields.model));
    if (code != 0) {
        return code;
    }
    decode(&request, rules, &fields, scratch);
    if (line->too_long) {
        blame(&request, BELAY__BATCH_LINE_TOO_LARGE,
            "longer than the limit for a line");
    } else {
        judge(&request, rules, &fields);
    }
    *ret = request;
    return 0;
}

void
belay__batch_mark_duplicate(struct belay__batch_request *request)
{
    blame(request, BELAY__BATCH_DUPLICATE_ID, "custom_id '%s' was used before",
        subject(request->custom_id).text);
}

/* A body on its way to another model. */
struct rewrite {
    struct belay__buffer *buffer;
    struct belay_slice body;
    struct belay_slice model;
    size_t done; /* bytes of the body that are copied or replaced */
    bool empty;  /* the body has no members */
};

/* Copies the body up to `stop` and writes the model behind it. */
static int
put_model(struct rewrite *rewrite, size_t stop)
{
    struct belay__json_writer writer;
    int code = belay__buffer_append(rewrite->buffer,
        rewrite->body.data + rewrite->done, stop - rewrite->done);

    if (code != 0) {
        return code;
    }
    rewrite->done = stop;
    belay__json_begin(&writer, rewrite->buffer);
    belay__json_string(&writer, rewrite->model);
    return belay__json_end(&writer);
}

static int
replace_models(struct rewrite *rewrite, struct belay__json *json)
{
    struct belay__json_value key;
    struct belay__json_value old;

    while (belay__json_next_member(json, &key)) {
        size_t start = belay__json_offset(json);
        int code;

        rewrite->empty = false;
        if (!belay__json_key_is(&key, "model")
            || !belay__json_take(json, &old)) {
            continue;
        }
        code = put_model(rewrite, start);
        if (code != 0) {
            return code;
        }
        rewrite->done = belay__json_offset(json);
    }
    return belay__json_finish(json);
}

/* `start` is behind the brace that opens the body. */
static int
add_model(struct rewrite *rewrite, size_t start)
{
    static const char name[] = "\"model\":";
    int code = belay__buffer_append(rewrite->buffer, rewrite->body.data, start);

    rewrite->done = start;
    if (code == 0) {
        code = belay__buffer_append(rewrite->buffer, name, sizeof(name) - 1);
    }
    if (code == 0) {
        code = put_model(rewrite, start);
    }
    if (code == 0 && !rewrite->empty) {
        code = belay__buffer_append(rewrite->buffer, ",", 1);
    }
    return code;
}

int
belay__batch_write_body(struct belay__buffer *buffer, struct belay_slice body,
    struct belay_slice model)
{
    struct rewrite rewrite = {
        .buffer = buffer, .body = body, .model = model, .empty = true};
    size_t before = buffer->len;
    struct belay__json json;
    size_t start;
    int code = BELAY_EJSON;

    belay__json_open(&json, body);
    if (belay__json_enter_object(&json)) {
        start = belay__json_offset(&json);
        code = replace_models(&rewrite, &json);
        if (code == 0 && rewrite.done == 0) {
            code = add_model(&rewrite, start);
        }
    }
    if (code == 0) {
        code = belay__buffer_append(
            buffer, body.data + rewrite.done, body.len - rewrite.done);
    }
    if (code != 0) {
        buffer->len = before;
    }
    return code;
}

bool
belay__batch_is_without_output(struct belay_slice url)
{
    return ends_with(url, "/embeddings") || ends_with(url, "/score")
           || ends_with(url, "/rerank");
}

enum belay__line_error
belay__batch_error_of(enum belay__batch_fault fault)
{
    switch (fault) {
    case BELAY__BATCH_NONE:
        return BELAY__LINE_OK;
    case BELAY__BATCH_INVALID_LINE:
        return BELAY__LINE_INVALID_JSON;
    case BELAY__BATCH_DUPLICATE_ID:
        return BELAY__LINE_DUPLICATE_ID;
    case BELAY__BATCH_URL_MISMATCH:
        return BELAY__LINE_URL_MISMATCH;
    case BELAY__BATCH_UNSUPPORTED_URL:
        return BELAY__LINE_UNSUPPORTED_URL;
    case BELAY__BATCH_LINE_TOO_LARGE:
        return BELAY__LINE_LINE_TOO_LARGE;
    case BELAY__BATCH_STREAM:
        return BELAY__LINE_STREAM;
    }
    return BELAY__LINE_INVALID_JSON;
}
