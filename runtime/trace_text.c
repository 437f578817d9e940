/* trace_text.c - records of a trace: JSON made in place, without memory. */
#include "runtime/internal.h"
#include "runtime/trace.h"

#include <stdarg.h>
#include <stdio.h>

#define STRING_MAX 400 /* bytes of one string in the file, about */
#define END_MAX 64     /* kept free for the end of the record */

void
belay__record_raw(struct belay__record *record, const char *format, ...)
{
    const size_t room = sizeof(record->text) - END_MAX - record->len;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(record->text + record->len, room, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room) {
        record->cut = true;
        return;
    }
    record->len += (size_t)n;
}

void
belay__record_end(struct belay__record *record, const char *end)
{
    const size_t room = sizeof(record->text) - record->len;
    const int n = snprintf(record->text + record->len, room, "%s%s",
        record->cut ? ",\"cut\":true" : "", end);

    record->len += n > 0 ? (size_t)n : 0;
}

/* The bytes of the UTF-8 character at `at`, or 0: it is none. NUL ends every
 * text, so no byte behind it is looked at.
 */
static size_t
utf8_bytes(const unsigned char *at)
{
    static const struct {
        unsigned char mask;
        unsigned char head;
        unsigned char bytes;
    } kinds[] = {{0xe0, 0xc0, 2}, {0xf0, 0xe0, 3}, {0xf8, 0xf0, 4}};
    size_t bytes = 0;

    if (at[0] < 0x80) {
        return 1;
    }
    for (size_t i = 0; i < 3; i++) {
        if ((at[0] & kinds[i].mask) == kinds[i].head) {
            bytes = kinds[i].bytes;
        }
    }
    for (size_t i = 1; i < bytes; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* Longer than need be, surrogates, beyond U+10FFFF. */
    if (at[0] < 0xc2 || (at[0] == 0xe0 && at[1] < 0xa0)
        || (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf0 && at[1] < 0x90)
        || at[0] > 0xf4 || (at[0] == 0xf4 && at[1] > 0x8f)) {
        return 0;
    }
    return bytes;
}

void
belay__record_string(struct belay__record *record, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    const size_t start = record->len;
    size_t bytes;

    belay__record_raw(record, "\"");
    for (; *at != '\0' && record->len - start < STRING_MAX; at += bytes) {
        bytes = utf8_bytes(at);
        if (bytes == 0) {
            belay__record_raw(record, "\\ufffd");
            bytes = 1;
        } else if (*at < 0x20 || *at == 0x7f) {
            belay__record_raw(record, "\\u%04x", *at);
        } else if (*at == '"' || *at == '\\') {
            belay__record_raw(record, "\\%c", *at);
        } else {
            belay__record_raw(record, "%.*s", (int)bytes, (const char *)at);
        }
    }
    belay__record_raw(record, "%s\"", *at != '\0' ? "..." : "");
}

/* Takes a field back that did not fit. */
static void
keep_whole(struct belay__record *record, size_t before, bool was_cut)
{
    if (record->cut && !was_cut) {
        record->len = before;
    }
}

void
belay__record_text(
    struct belay__record *record, const char *key, const char *text)
{
    const size_t before = record->len;
    const bool was_cut = record->cut;

    if (was_cut) {
        return;
    }
    belay__record_raw(record, ",");
    belay__record_string(record, key);
    belay__record_raw(record, ":");
    belay__record_string(record, text);
    keep_whole(record, before, was_cut);
}

void
belay__record_number(
    struct belay__record *record, const char *key, int64_t number)
{
    const size_t before = record->len;
    const bool was_cut = record->cut;

    if (was_cut) {
        return;
    }
    belay__record_raw(record, ",");
    belay__record_string(record, key);
    belay__record_raw(record, ":%lld", (long long)number);
    keep_whole(record, before, was_cut);
}

void
belay__record_outcome(
    struct belay__record *record, const char *key, int code, bool cancelled)
{
    const char *name = code < 0 ? belay_code_name(code) : "ok";

    belay__record_text(record, key, cancelled ? "cancelled" : name);
}

void
belay__record_fields(struct belay__record *record,
    const struct belay_note_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fields[i].text != NULL) {
            belay__record_text(record, fields[i].key, fields[i].text);
        } else {
            belay__record_number(record, fields[i].key, fields[i].number);
        }
    }
}
