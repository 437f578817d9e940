/* write.c - JSON text, appended to a buffer.
 *
 * A string gets room for all its bytes before the first is copied, so that
 * plain ones are copied while they are looked at; only what grows (quotes,
 * backslashes, control characters, bytes that are not UTF-8) asks for more.
 */
#include "llm/json/write.h"

#include "llm/json/plain.h"
#include "llm/json/utf8.h"

/* Where `len` more bytes go, or NULL if an error has stopped the writer. */
static inline char *
room(struct belay__json_writer *writer, size_t len)
{
    struct belay__buffer *buffer = writer->buffer;

    if (writer->code != 0) {
        return NULL;
    }
    if (len > buffer->room - buffer->len) {
        writer->code = belay__buffer_reserve(buffer, len);
        if (writer->code != 0) {
            return NULL;
        }
    }
    return buffer->data + buffer->len;
}

/* The buffer ends at `to` now, which lies in the room that was given. */
static inline void
end_at(struct belay__json_writer *writer, const char *to)
{
    writer->buffer->len = (size_t)(to - writer->buffer->data);
}

static inline void
put_char(struct belay__json_writer *writer, char c)
{
    char *to = room(writer, 1);

    if (to != NULL) {
        *to = c;
        writer->buffer->len++;
    }
}

static void
put(struct belay__json_writer *writer, const char *data, size_t len)
{
    if (writer->code == 0) {
        writer->code = belay__buffer_append(writer->buffer, data, len);
    }
}

/* Before any key or value. */
static inline void
separate(struct belay__json_writer *writer)
{
    if (writer->comma) {
        put_char(writer, ',');
    }
    writer->comma = true;
}

void
belay__json_begin(
    struct belay__json_writer *writer, struct belay__buffer *buffer)
{
    *writer =
        (struct belay__json_writer){.buffer = buffer, .start = buffer->len};
}

int
belay__json_end(struct belay__json_writer *writer)
{
    if (writer->code != 0) {
        writer->buffer->len = writer->start;
    }
    return writer->code;
}

static void
open_container(struct belay__json_writer *writer, char opener)
{
    separate(writer);
    put_char(writer, opener);
    writer->comma = false;
}

static void
close_container(struct belay__json_writer *writer, char closer)
{
    put_char(writer, closer);
    writer->comma = true;
}

void
belay__json_open_object(struct belay__json_writer *writer)
{
    open_container(writer, '{');
}

void
belay__json_close_object(struct belay__json_writer *writer)
{
    close_container(writer, '}');
}

void
belay__json_open_array(struct belay__json_writer *writer)
{
    open_container(writer, '[');
}

void
belay__json_close_array(struct belay__json_writer *writer)
{
    close_container(writer, ']');
}

/* Writes the escape for a quote, a backslash or a control character. */
static size_t
escape(char c, char ret[6])
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[] = "btn\0fr"; /* for 8 to 13, but not for 11 */

    ret[0] = '\\';
    if (c == '"' || c == '\\') {
        ret[1] = c;
        return 2;
    }
    if (c >= '\b' && c <= '\r' && c != '\v') {
        ret[1] = letters[c - '\b'];
        return 2;
    }
    ret[1] = 'u';
    ret[2] = '0';
    ret[3] = '0';
    ret[4] = hex[(unsigned char)c >> 4];
    ret[5] = hex[(unsigned char)c & 15];
    return 6;
}

/* Puts at `to` what stands for the byte at *at, or for the bytes from there
 * on that are not UTF-8, and moves *at behind them. Gives the place behind,
 * with room for the rest and the quote, or NULL.
 */
static char *
put_substitute(struct belay__json_writer *writer, char *to, const char **at,
    const char *end)
{
    char text[6] = BELAY__UTF8_REPLACEMENT;
    size_t len = 3;
    int used = 1;

    if ((unsigned char)**at < 0x80) {
        len = escape(**at, text);
    } else {
        used = -belay__utf8_length(*at, end);
    }
    *at += used;
    end_at(writer, to);
    to = room(writer, len + (size_t)(end - *at) + 1);
    if (to == NULL) {
        return NULL;
    }
    memcpy(to, text, len);
    return to + len;
}

/* The length of the character at `at` if it is not ASCII and UTF-8, or 0. */
static size_t
beyond_ascii(const char *at, const char *end)
{
    int len = (unsigned char)*at < 0x80 ? 0 : belay__utf8_length(at, end);

    return len > 0 ? (size_t)len : 0;
}

/* The text and a quote; `to` has room for it as long as nothing grows. */
static char *
put_text(struct belay__json_writer *writer, char *to, const char *at,
    const char *end)
{
    for (;;) {
        size_t len;

        at = belay__json_copy_plain(at, end, &to);
        if (at == end) {
            *to = '"';
            return to + 1;
        }
        len = beyond_ascii(at, end);
        if (len == 0) {
            to = put_substitute(writer, to, &at, end);
            if (to == NULL) {
                return NULL;
            }
        }
        while (len-- > 0) {
            *to++ = *at++;
        }
    }
}

void
belay__json_string(struct belay__json_writer *writer, struct belay_slice text)
{
    const char *at = text.len > 0 ? text.data : "";
    char *to = room(writer, text.len + 2 + writer->comma);

    if (to == NULL) {
        return;
    }
    if (writer->comma) {
        *to++ = ',';
    }
    writer->comma = true;
    *to++ = '"';
    to = put_text(writer, to, at, at + text.len);
    if (to != NULL) {
        end_at(writer, to);
    }
}

void
belay__json_text(struct belay__json_writer *writer, const char *text)
{
    belay__json_string(writer, (struct belay_slice){text, strlen(text)});
}

void
belay__json_key(struct belay__json_writer *writer, const char *key)
{
    belay__json_text(writer, key);
    put_char(writer, ':');
    writer->comma = false;
}

void
belay__json_raw_key(struct belay__json_writer *writer, struct belay_slice raw)
{
    belay__json_raw(writer, raw);
    put_char(writer, ':');
    writer->comma = false;
}

void
belay__json_int(struct belay__json_writer *writer, int64_t value)
{
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char text[20];
    char *at = text + sizeof(text);

    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0) {
        *--at = '-';
    }
    belay__json_raw(
        writer, (struct belay_slice){at, (size_t)(text + sizeof(text) - at)});
}

void
belay__json_bool(struct belay__json_writer *writer, bool value)
{
    belay__json_raw(writer, value ? (struct belay_slice){"true", 4}
                                  : (struct belay_slice){"false", 5});
}

void
belay__json_null(struct belay__json_writer *writer)
{
    belay__json_raw(writer, (struct belay_slice){"null", 4});
}

void
belay__json_raw(struct belay__json_writer *writer, struct belay_slice raw)
{
    separate(writer);
    put(writer, raw.data, raw.len);
}

/* The first `c`, or end. */
static const char *
find(const char *at, const char *end, char c)
{
    const char *found = memchr(at, c, (size_t)(end - at));

    return found != NULL ? found : end;
}

void
belay__json_raw_line(struct belay__json_writer *writer, struct belay_slice raw)
{
    const char *at = raw.data;
    const char *end = at + raw.len;
    const char *line_feed = at;

    separate(writer);
    while (at < end) {
        const char *stop;

        if (line_feed <= at) {
            line_feed = find(at, end, '\n');
        }
        stop = find(at, line_feed, '\r');
        put(writer, at, (size_t)(stop - at));
        at = stop + (stop < end);
    }
}
