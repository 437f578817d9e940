/* printable.c - a stranger's text, made fit for a message.
 *
 * Servers quote requests, and keys, in their errors; what they say goes to
 * terminals and logs. So nothing of theirs is printed but through here.
 */
#include "llm/printable.h"

#include "llm/json/utf8.h"
#include "llm/secret.h"

#include <assert.h>
#include <string.h>

/* So much of a text is looked at where there are secrets: all but blanks and
 * secrets that come close to it.
 */
#define LOOK_MAX 4096

static const char key_mark[] = "[key]";
static const char cut_mark[] = "...";

/* A blank too: whatever moves a cursor, breaks a line or turns the writing
 * direction (C0, DEL, C1, U+2028 to U+202E, U+2066 to U+2069).
 */
static bool
is_control(const unsigned char *at, int len)
{
    switch (len) {
    case 1:
        return at[0] <= ' ' || at[0] == 0x7f;
    case 2:
        return at[0] == 0xc2 && at[1] < 0xa0;
    case 3:
        return at[0] == 0xe2
               && ((at[1] == 0x80 && at[2] >= 0xa8 && at[2] <= 0xae)
                   || (at[1] == 0x81 && at[2] >= 0xa6 && at[2] <= 0xa9));
    default:
        return false;
    }
}

/* Marks what secrets cover of the first `count` bytes, and what they have begun
 * to cover where the text may have been cut.
 */
static void
mark_secrets(const struct belay__secrets *secrets, struct belay_slice text,
    char *marks, size_t count)
{
    belay__secrets_find(secrets, text, marks, count);
    (void)belay__secrets_mark_begun(secrets, text, 1, marks, count);
}

struct source {
    struct belay_slice text;
    const char *marks; /* of what secrets cover; NULL: there are none */
    size_t mark_count;
};

/* The next piece of the output, and how much of the text it stands for; 0: no
 * more of it is looked at.
 */
static size_t
next_piece(const struct source *source, size_t from, struct belay_slice *ret)
{
    const char *at = source->text.data + from;
    size_t to = from;
    int len;

    if (source->marks != NULL) {
        if (from >= source->mark_count) {
            return 0;
        }
        while (to < source->mark_count && source->marks[to] != 0) {
            to++;
        }
    }
    if (to > from) {
        *ret = (struct belay_slice){key_mark, sizeof(key_mark) - 1};
        return to - from;
    }
    len = belay__utf8_length(at, source->text.data + source->text.len);
    if (len < 0) {
        *ret = (struct belay_slice){BELAY__UTF8_REPLACEMENT, 3};
        return (size_t)-len;
    }
    *ret = is_control((const unsigned char *)at, len)
               ? (struct belay_slice){" ", 1}
               : (struct belay_slice){at, (size_t)len};
    return (size_t)len;
}

static size_t
print(const struct source *source, char *out, size_t size)
{
    const size_t cut_len = sizeof(cut_mark) - 1;
    struct belay_slice piece;
    size_t step;
    size_t len = 0;
    size_t safe = 0; /* as far as there is room for the mark behind it */

    assert(size >= 8);
    for (size_t at = 0; at < source->text.len; at += step) {
        step = next_piece(source, at, &piece);
        if (step > 0 && piece.data[0] == ' '
            && (len == 0 || out[len - 1] == ' ')) {
            continue;
        }
        if (step == 0 || piece.len > size - 1 - len) {
            memcpy(out + safe, cut_mark, cut_len);
            len = safe + cut_len;
            break;
        }
        memcpy(out + len, piece.data, piece.len);
        len += piece.len;
        if (len + cut_len < size) {
            safe = len;
        }
    }
    out[len] = '\0';
    return len;
}

size_t
belay__printable(struct belay_slice text, const struct belay__secrets *secrets,
    char *out, size_t size)
{
    struct source source = {text, NULL, 0};
    char marks[LOOK_MAX];

    if (secrets != NULL && secrets->count > 0) {
        source.marks = marks;
        source.mark_count = text.len < LOOK_MAX ? text.len : LOOK_MAX;
        mark_secrets(secrets, text, marks, source.mark_count);
    }
    return print(&source, out, size);
}

/* ---- many lines ---- */

/* How the byte that is a whole control character is shown. */
static size_t
show_control(char c, char *out)
{
    if (c == '\r') {
        return 0; /* what it would write over is still there */
    }
    out[0] = '^';
    out[1] = (char)(c ^ 0x40);
    return 2;
}

static size_t
show_piece(const char *at, int len, char *out)
{
    static const char unknown[] = BELAY__UTF8_REPLACEMENT;

    if (len == 1 && (*at == '\n' || *at == '\t' || *at == ' ')) {
        out[0] = *at;
        return 1;
    }
    if (len > 0 && !is_control((const unsigned char *)at, len)) {
        memcpy(out, at, (size_t)len);
        return (size_t)len;
    }
    if (len == 1) {
        return show_control(*at, out);
    }
    memcpy(out, unknown, sizeof(unknown) - 1);
    return sizeof(unknown) - 1;
}

size_t
belay__printable_lines(struct belay_slice text, char *out)
{
    const char *at = text.len > 0 ? text.data : "";
    const char *end = at + text.len;
    size_t len = 0;
    int piece;

    for (; at < end; at += piece < 0 ? -piece : piece) {
        piece = belay__utf8_length(at, end);
        len += show_piece(at, piece, out + len);
    }
    return len;
}
