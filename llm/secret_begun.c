/* secret_begun.c - secrets of which a text has the beginning only.
 *
 * A connection may break within a key that a server quotes, and all of the key
 * but its last letter is as good as the key. Only the last bytes of a text are
 * looked at, from each place where a secret may begin. That takes a time that
 * grows with the secret's length: of one that begins again and again within
 * itself too much is hidden rather than looked at too often.
 */
#include "llm/secret.h"

#include "llm/secret_reader.h"

#include <string.h>

#define LETTER_BYTES 12 /* that one is written with; more are not expected */
#define LOOKS 8         /* at each of the last bytes, on average */

enum begun {
    NOT_BEGUN,
    BEGUN,
    TOO_LONG, /* to tell */
};

/* Is what stands at `at` the first bytes of the secret, and then no more?
 * Takes from *looks what it has read.
 */
static enum begun
look_at(const struct belay__secret *secret, const char *at, const char *end,
    int depth, size_t *looks)
{
    struct belay__secret_reader reader = {at, end, false};
    size_t matched = 0;
    char room[4];

    while (matched < secret->text.len) {
        const size_t len = belay__secret_next(&reader, depth, room);

        if (len == 0) { /* the text ends, maybe within an escape */
            return reader.at == end && matched >= BELAY__SECRET_LEAST
                       ? BEGUN
                       : NOT_BEGUN;
        }
        if (len > secret->text.len - matched
            || memcmp(room, secret->text.data + matched, len) != 0) {
            return NOT_BEGUN;
        }
        matched += len;
        if ((*looks)-- == 0) {
            return TOO_LONG;
        }
    }
    return NOT_BEGUN; /* all of it is there */
}

static size_t
begun_at_depth(
    const struct belay__secret *secret, struct belay_slice text, int depth)
{
    const char *end = text.data + text.len;
    const char first = secret->text.data[0];
    size_t looks = LOOKS * text.len;

    for (const char *at = text.data; at < end; at++) {
        if (*at == first || (depth > 0 && *at == '\\')) {
            if (look_at(secret, at, end, depth, &looks) != NOT_BEGUN) {
                return (size_t)(end - at);
            }
        }
    }
    return 0;
}

static size_t
begun(const struct belay__secret *secret, struct belay_slice text)
{
    size_t most = 0;
    int depths = 0;

    if (text.len / LETTER_BYTES > secret->text.len) {
        const size_t len = secret->text.len * LETTER_BYTES;

        text = (struct belay_slice){text.data + text.len - len, len};
    }
    if (memchr(text.data, '\\', text.len) != NULL) {
        depths = BELAY__SECRET_DEPTH_MAX;
    }
    for (int depth = 0; depth <= depths; depth++) {
        const size_t len = begun_at_depth(secret, text, depth);

        most = len > most ? len : most;
    }
    return most;
}

size_t
belay__secrets_begun(
    const struct belay__secrets *secrets, struct belay_slice text)
{
    size_t most = 0;

    if (secrets == NULL || text.len == 0) {
        return 0;
    }
    for (size_t i = 0; i < secrets->count; i++) {
        const size_t len = begun(&secrets->items[i], text);

        most = len > most ? len : most;
    }
    return most;
}

static bool
mark_begun(const struct belay__secrets *secrets, struct belay_slice text,
    size_t begin, size_t end, char mark, char *marks, size_t count)
{
    const size_t len = belay__secrets_begun(
        secrets, (struct belay_slice){text.data + begin, end - begin});
    const size_t from = end - len;
    const size_t to = end < count ? end : count;

    if (from < to) {
        memset(marks + from, mark, to - from);
    }
    return len > 0;
}

/* A quotation mark ends what stands behind the one before it, or behind the one
 * that began its string of JSON: a secret may have some itself, and JSON may be
 * quoted in JSON.
 */
bool
belay__secrets_mark_begun(const struct belay__secrets *secrets,
    struct belay_slice text, char mark, char *marks, size_t count)
{
    size_t string = 0; /* it begins here … */
    size_t piece = 0;  /* … and what stands behind the last mark here */
    bool escaped = false;
    size_t end;
    bool found;

    if (secrets == NULL || secrets->count == 0 || text.len == 0) {
        return false;
    }
    found = mark_begun(secrets, text, 0, text.len, mark, marks, count);
    for (size_t at = 0; at < text.len && piece < count; at++) {
        if (text.data[at] == '"') {
            end = at;
            while (end > piece && text.data[end - 1] == '\\') {
                end--;
            }
            found |= mark_begun(secrets, text, piece, end, mark, marks, count);
            piece = at + 1;
        }
        if (text.data[at] == '"' && !escaped) {
            found |= mark_begun(secrets, text, string, at, mark, marks, count);
            string = at + 1;
        }
        escaped = text.data[at] == '\\' && !escaped;
    }
    return found;
}
