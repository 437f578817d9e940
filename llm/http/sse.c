/* sse.c - the events of a text/event-stream that arrives in pieces.
 *
 * An event that lies within one piece and has one line of data, as nearly all
 * have, is shown where it lies. Otherwise its data is held until the rest
 * comes, and behind it the line whose end has not come yet. Invariant: when
 * a part of a line is held, so is all the data before it. Each byte is looked
 * at twice and moved at most twice, so the cost is linear.
 */
#include "llm/http/sse.h"

#include <assert.h>

static const char byte_order_mark[] = "\xef\xbb\xbf";

#define MARK_LEN 3
#define SLACK 16 /* held besides: a mark and the name of the first field */

void
belay__sse_init(
    struct belay__sse *sse, struct belay__memory *memory, size_t max)
{
    const size_t limit = SIZE_MAX / 4; /* sums of sizes cannot overflow */

    *sse = (struct belay__sse){.active = false};
    sse->max = max == 0 ? BELAY__SSE_MAX_DEFAULT : max;
    if (sse->max > limit) {
        sse->max = limit;
    }
    belay__buffer_init(&sse->held, memory, sse->max + SLACK);
}

void
belay__sse_fini(struct belay__sse *sse)
{
    if (sse != NULL) {
        belay__buffer_fini(&sse->held);
        sse->at = NULL;
        sse->end = NULL;
    }
}

/* The first `c`, or end. */
static const char *
find(const char *at, const char *end, char c)
{
    const char *found = at < end ? memchr(at, c, (size_t)(end - at)) : NULL;

    return found != NULL ? found : end;
}

void
belay__sse_push(struct belay__sse *sse, struct belay_slice bytes)
{
    assert(sse->at == sse->end && !sse->ended);
    if (bytes.len > 0) {
        sse->at = bytes.data;
        sse->end = bytes.data + bytes.len;
        sse->line_feed = find(sse->at, sse->end, '\n');
    }
}

void
belay__sse_end(struct belay__sse *sse)
{
    sse->ended = true;
}

/* ---- lines ---- */

/* Where the line at sse->at ends in the piece, or the piece's end. A line
 * feed that was found is remembered: with CRs alone, each search for one
 * would go through the whole piece.
 */
static const char *
line_end(struct belay__sse *sse)
{
    if (sse->line_feed < sse->at) {
        sse->line_feed = find(sse->at, sse->end, '\n');
    }
    return find(sse->at, sse->line_feed, '\r');
}

static int
hold_data(struct belay__sse *sse)
{
    int code = 0;

    if (sse->has_data && !sse->data_held) {
        code = belay__buffer_append(&sse->held, sse->piece_data, sse->data_len);
        sse->data_at = 0;
        sse->data_held = code == 0;
    }
    return code;
}

/* The line goes on behind the piece: keeps what the event has so far. */
static int
hold_rest(struct belay__sse *sse)
{
    const size_t len = (size_t)(sse->end - sse->at);
    int code = hold_data(sse);

    if (code == 0) {
        code = belay__buffer_append(&sse->held, sse->at, len);
    }
    if (code == 0) {
        sse->line_len += len;
        sse->at = sse->end;
    }
    return code;
}

static void
strip_mark(struct belay__sse *sse, struct belay_slice *line)
{
    if (!sse->begun && line->len >= MARK_LEN
        && memcmp(line->data, byte_order_mark, MARK_LEN) == 0) {
        line->data += MARK_LEN;
        line->len -= MARK_LEN;
    }
    sse->begun = true;
}

/* 1 and a line without its end, 0 if the end has not come, or an error. */
static int
take_line(struct belay__sse *sse, struct belay_slice *ret)
{
    const char *stop;
    size_t len;
    int code;

    if (sse->after_cr && sse->at < sse->end) {
        sse->after_cr = false;
        sse->at += *sse->at == '\n';
    }
    stop = line_end(sse);
    len = (size_t)(stop - sse->at);
    if (sse->data_len + sse->line_len + len > sse->max) {
        return BELAY_ETOOLARGE;
    }
    if (stop == sse->end && (!sse->ended || sse->line_len + len == 0)) {
        return hold_rest(sse);
    }
    *ret = (struct belay_slice){sse->at, len};
    sse->line_held = sse->line_len > 0;
    if (sse->line_held) {
        code = belay__buffer_append(&sse->held, sse->at, len);
        if (code < 0) {
            return code;
        }
        ret->len += sse->line_len;
        ret->data = sse->held.data + (sse->held.len - ret->len);
        sse->line_len = 0;
    }
    if (stop < sse->end) {
        sse->after_cr = *stop == '\r';
        stop++;
    }
    sse->at = stop;
    strip_mark(sse, ret);
    return 1;
}

/* ---- fields ---- */

static void
first_data(struct belay__sse *sse, struct belay_slice value)
{
    sse->has_data = true;
    sse->data_len = value.len;
    sse->data_held = sse->line_held;
    if (sse->data_held) {
        sse->data_at = (size_t)(value.data - sse->held.data);
    } else {
        sse->piece_data = value.data;
    }
}

/* Joined to what there is by a LF. A value that is held lies at least the
 * name of its field behind the data, which is the room for the LF.
 */
static int
further_data(struct belay__sse *sse, struct belay_slice value)
{
    int code;

    if (sse->line_held) {
        char *to = sse->held.data + sse->data_at + sse->data_len;

        assert(sse->data_held && to < value.data);
        memmove(to + 1, value.data, value.len);
        *to = '\n';
    } else {
        code = hold_data(sse);
        if (code == 0) {
            code = belay__buffer_reserve(&sse->held, 1 + value.len);
        }
        if (code < 0) {
            return code;
        }
        (void)belay__buffer_append(&sse->held, "\n", 1);
        (void)belay__buffer_append(&sse->held, value.data, value.len);
    }
    sse->data_len += 1 + value.len;
    return 0;
}

static void
take_name(struct belay__sse *sse, struct belay_slice value)
{
    sse->name_len =
        value.len < sizeof(sse->name) ? value.len : sizeof(sse->name);
    if (sse->name_len > 0) {
        memcpy(sse->name, value.data, sse->name_len);
    }
}

static bool
is_field(struct belay_slice line, const char *name, size_t len,
    struct belay_slice *ret_value)
{
    if (line.len < len || memcmp(line.data, name, len) != 0
        || (line.len > len && line.data[len] != ':')) {
        return false;
    }
    len += line.len > len;
    len += line.len > len && line.data[len] == ' ';
    *ret_value = (struct belay_slice){line.data + len, line.len - len};
    return true;
}

/* A line that is not blank. */
static int
take_field(struct belay__sse *sse, struct belay_slice line)
{
    struct belay_slice value;

    if (line.data[0] == ':') {
        sse->active = true;
        return 0;
    }
    sse->has_field = true;
    if (is_field(line, "data", 4, &value)) {
        if (sse->has_data) {
            return further_data(sse, value);
        }
        first_data(sse, value);
    } else if (is_field(line, "event", 5, &value)) {
        take_name(sse, value);
    }
    return 0;
}

/* ---- events ---- */

/* Behind a line: what is held of it is of no use any more. */
static void
trim_held(struct belay__sse *sse)
{
    sse->held.len = sse->data_held ? sse->data_at + sse->data_len : 0;
}

static void
forget_event(struct belay__sse *sse)
{
    sse->has_data = false;
    sse->data_held = false;
    sse->has_field = false;
    sse->data_len = 0;
    sse->name_len = 0;
    sse->shown = false;
    trim_held(sse);
}

static bool
is_blank(struct belay_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != ' ' && text.data[i] != '\t'
            && text.data[i] != '\n') {
            return false;
        }
    }
    return true;
}

/* The event is complete: 1 if it is to be shown. */
static int
end_event(struct belay__sse *sse, struct belay__sse_event *ret)
{
    struct belay_slice data = {sse->piece_data, sse->data_len};

    sse->active |= sse->has_field;
    if (sse->data_held) {
        data.data = sse->held.data + sse->data_at;
    }
    if (!sse->has_data || is_blank(data)) {
        forget_event(sse);
        return 0;
    }
    *ret = (struct belay__sse_event){
        .name = {sse->name, sse->name_len},
        .data = data,
    };
    sse->shown = true;
    return 1;
}

/* 1: an event; 0: there is no further line; or an error. */
static int
next_event(struct belay__sse *sse, struct belay__sse_event *ret)
{
    struct belay_slice line = {NULL, 0};
    int code;

    while ((code = take_line(sse, &line)) > 0) {
        if (line.len > 0) {
            code = take_field(sse, line);
            if (code < 0) {
                return code;
            }
            trim_held(sse);
        } else if (end_event(sse, ret) > 0) {
            return 1;
        }
    }
    if (code == 0 && sse->ended && end_event(sse, ret) > 0) {
        ret->unfinished = true;
        return 1;
    }
    return code;
}

int
belay__sse_next(struct belay__sse *sse, struct belay__sse_event *ret)
{
    int code = sse->code;

    if (sse->shown) {
        forget_event(sse);
    }
    if (code == 0) {
        code = next_event(sse, ret);
    }
    if (code < 0) {
        sse->code = code;
        sse->at = sse->end; /* nobody reads it any more */
    }
    return code;
}
