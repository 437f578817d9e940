/* lines.c - the lines of a file that arrives in pieces.
 *
 * A line that lies within one piece is shown where it lies. Otherwise its
 * start is held until the rest comes. What is held never exceeds the maximum
 * and the few bytes that need not count: a byte order mark, and a CR of which
 * nobody knows yet whether a LF follows.
 */
#include "llm/batch/lines.h"

#include <assert.h>

static const char byte_order_mark[] = "\xef\xbb\xbf";

#define MARK_LEN 3

void
belay__lines_init(
    struct belay__lines *lines, struct belay__memory *memory, size_t max)
{
    const size_t limit = SIZE_MAX - MARK_LEN - 1;

    *lines = (struct belay__lines){.number = 1};
    lines->max = max == 0 ? BELAY__LINES_MAX_DEFAULT : max;
    if (lines->max > limit) {
        lines->max = limit;
    }
    belay__buffer_init(&lines->held, memory, lines->max + MARK_LEN + 1);
}

void
belay__lines_fini(struct belay__lines *lines)
{
    if (lines != NULL) {
        belay__buffer_fini(&lines->held);
        lines->piece = (struct belay_slice){0};
    }
}

void
belay__lines_push(struct belay__lines *lines, const char *data, size_t len)
{
    assert(lines->piece.len == 0 && !lines->ended);
    lines->piece = (struct belay_slice){data, len};
}

void
belay__lines_end(struct belay__lines *lines)
{
    lines->ended = true;
}

/* What is known of the line that is being read. */
struct extent {
    size_t ahead;   /* its bytes in the piece */
    size_t total;   /* those and what is held */
    size_t mark;    /* its byte order mark */
    size_t content; /* what is neither that nor a CR at its end */
    bool found;     /* the piece has its LF */
    bool complete;  /* that, or the file ends here */
};

static char
byte_at(const struct belay__lines *lines, size_t i)
{
    if (i < lines->held.len) {
        return lines->held.data[i];
    }
    return lines->piece.data[i - lines->held.len];
}

static size_t
mark_length(const struct belay__lines *lines, size_t total)
{
    if (lines->number != 1 || total < MARK_LEN) {
        return 0;
    }
    for (size_t i = 0; i < MARK_LEN; i++) {
        if (byte_at(lines, i) != byte_order_mark[i]) {
            return 0;
        }
    }
    return MARK_LEN;
}

static struct extent
measure(const struct belay__lines *lines)
{
    const struct belay_slice piece = lines->piece;
    struct extent extent = {.ahead = piece.len};
    const char *end = NULL;

    if (piece.len > 0) {
        end = memchr(piece.data, '\n', piece.len);
    }
    if (end != NULL) {
        extent.ahead = (size_t)(end - piece.data);
    }
    extent.found = end != NULL;
    extent.complete = extent.found || lines->ended;
    extent.total = lines->held.len + extent.ahead;
    extent.mark = mark_length(lines, extent.total);
    extent.content = extent.total - extent.mark;
    if (extent.complete && extent.content > 0
        && byte_at(lines, extent.total - 1) == '\r') {
        extent.content--;
    }
    return extent;
}

static bool
is_too_long(const struct belay__lines *lines, const struct extent *extent)
{
    if (extent->complete || extent->content <= lines->max) {
        return extent->content > lines->max;
    }
    if (lines->number == 1 && extent->total < MARK_LEN) {
        return false; /* these may yet be no content */
    }
    return extent->content > lines->max + 1
           || byte_at(lines, extent->total - 1) != '\r';
}

static void
consume(struct belay__lines *lines, size_t len)
{
    if (len > 0) {
        lines->piece.data += len;
        lines->piece.len -= len;
        lines->position += len;
    }
}

/* Takes len bytes from the piece to what is held. */
static int
hold(struct belay__lines *lines, size_t len)
{
    int code = belay__buffer_append(&lines->held, lines->piece.data, len);

    if (code == 0) {
        consume(lines, len);
    }
    return code;
}

/* Goes behind the line, or its part in the piece; true in the first case. */
static bool
pass_line(struct belay__lines *lines, const struct extent *extent)
{
    consume(lines, extent->ahead + extent->found);
    if (extent->found) {
        lines->number++;
        lines->offset = lines->position;
        lines->skipping = false;
    }
    return extent->found;
}

static struct belay__line
describe(const struct belay__lines *lines, const struct extent *extent,
    struct belay_slice from, size_t len)
{
    return (struct belay__line){
        .text = {from.data + extent->mark, len},
        .number = lines->number,
        .offset = lines->offset + extent->mark,
    };
}

static int
show_head(struct belay__lines *lines, const struct extent *extent,
    struct belay__line *ret)
{
    size_t head =
        lines->max < BELAY__LINES_HEAD ? lines->max : BELAY__LINES_HEAD;
    size_t wanted = extent->mark + head;
    struct belay_slice from = lines->piece;

    if (lines->held.len > 0) {
        if (lines->held.len < wanted) {
            int code = hold(lines, wanted - lines->held.len);

            if (code != 0) {
                return code;
            }
        }
        from = belay__buffer_slice(&lines->held);
    }
    *ret = describe(lines, extent, from, head);
    ret->too_long = true;
    lines->shown = true;
    lines->skipping = true;
    return 1;
}

static bool
is_blank(struct belay_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != ' ' && text.data[i] != '\t'
            && text.data[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* A complete line: 1 if it was shown, 0 if it is blank and was passed. */
static int
show_line(struct belay__lines *lines, const struct extent *extent,
    struct belay__line *ret)
{
    struct belay_slice from = lines->piece;
    struct extent rest = *extent;
    struct belay__line line;

    if (lines->held.len > 0) {
        int code = hold(lines, extent->ahead);

        if (code != 0) {
            return code;
        }
        rest.ahead = 0;
        from = belay__buffer_slice(&lines->held);
    }
    line = describe(lines, extent, from, extent->content);
    (void)pass_line(lines, &rest);
    lines->shown = true;
    if (is_blank(line.text)) {
        return 0;
    }
    *ret = line;
    return 1;
}

int
belay__lines_next(struct belay__lines *lines, struct belay__line *ret)
{
    for (;;) {
        struct extent extent;
        int code;

        if (lines->shown) {
            belay__buffer_clear(&lines->held);
            lines->shown = false;
        }
        extent = measure(lines);
        if (lines->skipping) {
            if (!pass_line(lines, &extent)) {
                return 0;
            }
            continue;
        }
        if (is_too_long(lines, &extent)) {
            return show_head(lines, &extent, ret);
        }
        if (!extent.complete) {
            return hold(lines, extent.ahead);
        }
        if (extent.total == 0 && !extent.found) {
            return 0;
        }
        code = show_line(lines, &extent, ret);
        if (code != 0) {
            return code;
        }
    }
}
