/* wire.c - how the bytes of an answer go out: as they are, or as no decent
 * server would send them but a client has to read them.
 *
 * A gzip stream here has every byte as a literal of the fixed code: any
 * decoder has to read it, none of the text shows in it, and no library is
 * needed to write it.
 */
#include "llm/sim/internal.h"

#include <belay/async.h>

#include <strings.h>

bool
belay__sim_is_odd(belay__sim_faults faults)
{
    /* In the list, all from GZIP on are about bytes. */
    return faults >> BELAY__FAULT_GZIP != 0;
}

bool
belay__sim_is_content_type(const char *name)
{
    return strcasecmp(name, "content-type") == 0;
}

/* ---- the text of a stream ---- */

struct dressing {
    belay__sim_faults faults;
    struct belay__buffer *to;
    const char *line_end;
    int code;
};

static void
put(struct dressing *dressing, const char *data, size_t len)
{
    if (dressing->code == 0) {
        dressing->code = belay__buffer_append(dressing->to, data, len);
    }
}

static void
put_line(struct dressing *dressing, const char *text)
{
    put(dressing, text, strlen(text));
    put(dressing, dressing->line_end, strlen(dressing->line_end));
}

/* What stands before an event that is none. */
static void
put_extras(struct dressing *dressing)
{
    if (belay__sim_has(dressing->faults, BELAY__FAULT_COMMENTS)) {
        put_line(dressing, ": a comment, to keep the connection awake");
    }
    if (belay__sim_has(dressing->faults, BELAY__FAULT_PINGS)) {
        put_line(dressing, "event: ping");
        put_line(dressing, "");
        put_line(dressing, "data:");
        put_line(dressing, "");
        put_line(dressing, "event: belay.unknown");
        put_line(dressing, "id: 7");
        put_line(dressing, "retry: 10");
        put_line(dressing, "data: {\"type\":\"belay.unknown\"}");
        put_line(dressing, "");
    }
}

static void
put_data(struct dressing *dressing, struct belay_slice value)
{
    const char *field = belay__sim_has(dressing->faults, BELAY__FAULT_NO_BLANK)
                            ? "data:"
                            : "data: ";

    put(dressing, field, strlen(field));
    if (belay__sim_has(dressing->faults, BELAY__FAULT_LINES) && value.len > 1
        && value.data[0] == '{') {
        /* Between two tokens of a JSON a line may end. */
        put(dressing, "{", 1);
        put(dressing, dressing->line_end, strlen(dressing->line_end));
        put(dressing, field, strlen(field));
        value.data++;
        value.len--;
    }
    put(dressing, value.data, value.len);
}

static const char *
line_end_of(belay__sim_faults faults)
{
    if (belay__sim_has(faults, BELAY__FAULT_CRLF)) {
        return "\r\n";
    }
    return belay__sim_has(faults, BELAY__FAULT_CR) ? "\r" : "\n";
}

static void
strip_newlines(struct belay__buffer *buffer)
{
    while (buffer->len > 0
           && (buffer->data[buffer->len - 1] == '\n'
               || buffer->data[buffer->len - 1] == '\r')) {
        buffer->len--;
    }
}

int
belay__sim_dress(belay__sim_faults faults, bool first, bool last,
    struct belay_slice text, struct belay__buffer *to)
{
    struct dressing dressing = {
        .faults = faults, .to = to, .line_end = line_end_of(faults)};
    bool fresh = true; /* between two events */

    if (first && belay__sim_has(faults, BELAY__FAULT_BOM)) {
        put(&dressing, "\xef\xbb\xbf", 3);
    }
    while (text.len > 0 && dressing.code == 0) {
        const char *end = memchr(text.data, '\n', text.len);
        const size_t len = end != NULL ? (size_t)(end - text.data) : text.len;

        if (fresh && len > 0) {
            put_extras(&dressing);
        }
        fresh = len == 0;
        if (len >= 6 && memcmp(text.data, "data: ", 6) == 0) {
            put_data(&dressing, (struct belay_slice){text.data + 6, len - 6});
        } else {
            put(&dressing, text.data, len);
        }
        if (end != NULL) {
            put_line(&dressing, "");
        }
        text.data += len + (end != NULL);
        text.len -= len + (end != NULL);
    }
    if (last && belay__sim_has(faults, BELAY__FAULT_NO_NEWLINE)
        && dressing.code == 0) {
        strip_newlines(to);
    }
    return dressing.code;
}

/* ---- gzip ---- */

static uint32_t
crc_of(uint32_t crc, struct belay_slice bytes)
{
    crc = ~crc;
    for (size_t i = 0; i < bytes.len; i++) {
        crc ^= (unsigned char)bytes.data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? UINT32_C(0xedb88320) : 0);
        }
    }
    return ~crc;
}

static int
put_number(struct belay__buffer *to, uint32_t number, int bytes)
{
    char text[4];

    for (int i = 0; i < bytes; i++) {
        text[i] = (char)(number >> (8 * i));
    }
    return belay__buffer_append(to, text, (size_t)bytes);
}

/* Bits, the first in the lowest place. */
struct bits {
    struct belay__buffer *to;
    uint32_t held;
    unsigned count; /* of those, below 8 between two calls */
    int code;
};

static void
put_bits(struct bits *bits, uint32_t value, unsigned count)
{
    bits->held |= value << bits->count;
    bits->count += count;
    while (bits->count >= 8) {
        if (bits->code == 0) {
            bits->code = put_number(bits->to, bits->held & 0xff, 1);
        }
        bits->held >>= 8;
        bits->count -= 8;
    }
}

/* Codes have their highest bit first. */
static void
put_code(struct bits *bits, uint32_t code, unsigned count)
{
    for (unsigned i = count; i > 0; i--) {
        put_bits(bits, code >> (i - 1) & 1, 1);
    }
}

static void
put_literal(struct bits *bits, unsigned char byte)
{
    if (byte < 144) {
        put_code(bits, 0x30u + byte, 8);
    } else {
        put_code(bits, 0x190u + byte - 144, 9);
    }
}

/* A block of literals; behind it, where more will come, an empty stored one,
 * which ends with a whole byte.
 */
static int
put_block(struct belay__buffer *to, struct belay_slice bytes, bool last)
{
    struct bits bits = {.to = to};

    put_bits(&bits, last, 1);
    put_bits(&bits, 1, 2); /* the fixed code */
    for (size_t i = 0; i < bytes.len; i++) {
        put_literal(&bits, (unsigned char)bytes.data[i]);
    }
    put_code(&bits, 0, 7);
    if (!last) {
        put_bits(&bits, 0, 3);
    }
    put_bits(&bits, 0, (8 - bits.count) % 8);
    if (bits.code == 0 && !last) {
        bits.code = put_number(to, UINT32_C(0xffff0000), 4);
    }
    return bits.code;
}

/* The next bytes of a gzip stream, which ends with the last ones. */
static int
compress(struct belay__sim_gzip *gzip, struct belay_slice bytes, bool last,
    struct belay__buffer *to)
{
    static const char head[] = "\x1f\x8b\x08\0\0\0\0\0\0\xff";
    int code = 0;

    if (!gzip->begun) {
        gzip->begun = true;
        code = belay__buffer_append(to, head, sizeof(head) - 1);
    }
    gzip->crc = crc_of(gzip->crc, bytes);
    gzip->size += (uint32_t)bytes.len;
    if (code == 0) {
        code = put_block(to, bytes, last);
    }
    if (code == 0 && last) {
        code = put_number(to, gzip->crc, 4);
    }
    return code == 0 && last ? put_number(to, gzip->size, 4) : code;
}

int
belay__sim_pack(struct belay__sim_exchange *exchange, struct belay_slice body,
    bool last, struct belay_slice *ret)
{
    int code;

    if (!belay__sim_has(exchange->fate.faults, BELAY__FAULT_GZIP)) {
        *ret = body;
        return 0;
    }
    belay__buffer_clear(&exchange->wire);
    code = compress(&exchange->gzip, body, last, &exchange->wire);
    *ret = belay__buffer_slice(&exchange->wire);
    return code;
}

/* ---- writing ---- */

struct write_bytes {
    struct belay__sim_exchange *exchange;
    struct belay_slice bytes;
    bool last;
    size_t at;
};

BELAY_ASYNC(write_bytes)
{
    struct belay__reply *reply = self->exchange->call.reply;

    BELAY_BEGIN;
    for (; self->at < self->bytes.len; self->at++) {
        BELAY_AWAIT(belay__reply_write(
            task, reply, (struct belay_slice){self->bytes.data + self->at, 1}));
    }
    if (self->last) {
        BELAY_AWAIT(belay__reply_end(task, reply, (struct belay_slice){0}));
    }
    BELAY_END;
}

belay_next
belay__sim_write(belay_task *task, struct belay__sim_exchange *exchange,
    struct belay_slice bytes, bool last)
{
    struct belay__reply *reply = exchange->call.reply;

    if (belay__sim_has(exchange->fate.faults, BELAY__FAULT_SPLIT)
        && bytes.len > 0) {
        return BELAY_CALL(
            write_bytes, .exchange = exchange, .bytes = bytes, .last = last);
    }
    return last ? belay__reply_end(task, reply, bytes)
                : belay__reply_write(task, reply, bytes);
}

/* Dressed into the buffer for that; packed, if they must be, back into the
 * scratch buffer where they came from.
 */
static int
change(struct belay__sim_exchange *exchange, struct belay_slice text, bool last,
    struct belay_slice *ret)
{
    struct belay__buffer *scratch = belay__reply_scratch(exchange->call.reply);
    const belay__sim_faults faults = exchange->fate.faults;
    int code;

    belay__buffer_clear(&exchange->wire);
    code =
        belay__sim_dress(faults, !exchange->sent, last, text, &exchange->wire);
    *ret = belay__buffer_slice(&exchange->wire);
    exchange->sent = true;
    if (code == 0 && belay__sim_has(faults, BELAY__FAULT_GZIP)) {
        belay__buffer_clear(scratch);
        code = compress(&exchange->gzip, *ret, last, scratch);
        *ret = belay__buffer_slice(scratch);
    }
    return code;
}

belay_next
belay__sim_send(belay_task *task, struct belay__sim_exchange *exchange,
    struct belay_slice bytes, bool last)
{
    int code = 0;

    if (belay__sim_is_odd(exchange->fate.faults)) {
        code = change(exchange, bytes, last, &bytes);
    }
    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    return belay__sim_write(task, exchange, bytes, last);
}
