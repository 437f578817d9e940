/* secret.c - what no text may show.
 *
 * Rows of a recorder pass through here, so texts without a secret have to be
 * fast: one look for each secret as it is, and one for backslashes, of which
 * few can be part of one.
 */
#define _GNU_SOURCE /* memmem() */
#include "llm/secret.h"

#include "llm/json/text.h"
#include "llm/json/utf8.h"
#include "runtime/basics.h"
#include "runtime/memory.h"

#include <string.h>

#define DEPTH_MAX 3  /* of JSON in strings of JSON */
#define ESCAPE_MAX 7 /* backslashes of an escape there */

/* ---- the list ---- */

static void
wipe(struct belay__memory *memory, struct belay_slice item)
{
    char *text = belay__without_const(item.data);

    explicit_bzero(text, item.len);
    belay__free(memory, text, item.len + 1);
}

int
belay__secrets_add(struct belay__secrets *secrets, struct belay_slice secret)
{
    const size_t size = secrets->count * sizeof(*secrets->items);
    struct belay_slice *items;
    size_t at = secrets->count;
    char *copy;

    if (secret.len < BELAY__SECRET_LEAST) {
        return 0;
    }
    copy = belay__copy_text(secrets->memory, secret.data, secret.len);
    if (copy == NULL) {
        return BELAY_ENOMEM;
    }
    secret.data = copy;
    items = belay__realloc(
        secrets->memory, secrets->items, size, size + sizeof(*items));
    if (items == NULL) {
        wipe(secrets->memory, secret);
        return BELAY_ENOMEM;
    }
    /* One may be the beginning of another. */
    for (; at > 0 && items[at - 1].len < secret.len; at--) {
        items[at] = items[at - 1];
    }
    items[at] = secret;
    secrets->items = items;
    secrets->count++;
    return 0;
}

void
belay__secrets_fini(struct belay__secrets *secrets)
{
    for (size_t i = 0; i < secrets->count; i++) {
        wipe(secrets->memory, secrets->items[i]);
    }
    belay__free(secrets->memory, secrets->items,
        secrets->count * sizeof(*secrets->items));
    secrets->items = NULL;
    secrets->count = 0;
}

/* ---- finding them ---- */

/* What JSON writes for a control, which no secret has. */
static bool
is_control_letter(int32_t letter)
{
    return letter == 'b' || letter == 'f' || letter == 'n' || letter == 'r'
           || letter == 't';
}

struct reader {
    const char *at;
    const char *end;
    bool escaped; /* the last unit was one of UTF-16, not a byte */
};

/* The next unit of a text that is JSON in a string of JSON, so many times; 0
 * for a control, -1 if there is none.
 */
static int32_t
next_unit(struct reader *reader, int depth)
{
    char digits[4];
    int32_t unit;

    if (depth == 0) {
        reader->escaped = false;
        return reader->at < reader->end ? (unsigned char)*reader->at++ : -1;
    }
    unit = next_unit(reader, depth - 1);
    if (unit != '\\') {
        return unit;
    }
    unit = next_unit(reader, depth - 1);
    if (unit != 'u') {
        return is_control_letter(unit) ? 0 : unit;
    }
    for (int i = 0; i < 4; i++) {
        unit = next_unit(reader, depth - 1);
        if (unit < 0 || unit > 0x7f) {
            return -1;
        }
        digits[i] = (char)unit;
    }
    reader->escaped = true;
    return belay__json_hex4(digits);
}

/* The next character, or byte of one, as UTF-8; 0: there is none. */
static size_t
next_character(struct reader *reader, int depth, char room[static 4])
{
    int32_t unit = next_unit(reader, depth);
    struct reader behind;
    int32_t low;

    if (unit < 0) {
        return 0;
    }
    if (!reader->escaped) {
        room[0] = (char)unit;
        return 1;
    }
    if (belay__json_is_high(unit)) {
        behind = *reader;
        low = next_unit(&behind, depth);
        if (belay__json_is_low(low)) {
            *reader = behind;
            unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    if (unit >= 0xd800 && unit < 0xe000) {
        unit = 0xfffd;
    }
    return belay__utf8_encode((uint32_t)unit, room);
}

static size_t
match_json(
    const char *at, const char *end, struct belay_slice secret, int depth)
{
    struct reader reader = {at, end, false};
    char room[4];
    size_t len;

    for (size_t i = 0; i < secret.len; i += len) {
        len = next_character(&reader, depth, room);
        if (len == 0 || len > secret.len - i
            || memcmp(room, secret.data + i, len) != 0) {
            return 0;
        }
    }
    return (size_t)(reader.at - at);
}

static size_t
match(const char *at, const char *end, struct belay_slice secret)
{
    size_t len = 0;

    if (*at != secret.data[0] && *at != '\\') {
        return 0;
    }
    for (int depth = 0; len == 0 && depth <= DEPTH_MAX; depth++) {
        len = match_json(at, end, secret, depth);
    }
    return len;
}

size_t
belay__secrets_match(
    const struct belay__secrets *secrets, const char *at, const char *end)
{
    size_t len = 0;

    for (size_t i = 0; secrets != NULL && len == 0 && i < secrets->count; i++) {
        len = match(at, end, secrets->items[i]);
    }
    return len;
}

/* ---- hiding them ---- */

/* Does a backslash stand there that belongs to what is behind it? */
static bool
is_escaped(const char *start, const char *at)
{
    size_t count = 0;

    while (at > start && *--at == '\\') {
        count++;
    }
    return count % 2 == 1;
}

/* With the backslash before it, if it begins with an escape's letter. */
static bool
hide_plain(char *start, const char *end, struct belay_slice secret)
{
    char *at = start;
    bool found = false;

    while ((at = memmem(at, (size_t)(end - at), secret.data, secret.len))
           != NULL) {
        if (is_escaped(start, at)) {
            at[-1] = '*';
        }
        memset(at, '*', secret.len);
        at += secret.len;
        found = true;
    }
    return found;
}

/* The bytes of a secret: nearly all that is escaped in a text are line ends and
 * quotes, which are none of them.
 */
struct alphabet {
    bool has[0x81]; /* the last is for all bytes that are not ASCII */
};

static size_t
letter_of(int32_t unit)
{
    return unit < 0x80 ? (size_t)unit : 0x80;
}

static void
alphabet_init(struct alphabet *alphabet, struct belay_slice secret)
{
    memset(alphabet, 0, sizeof(*alphabet));
    for (size_t i = 0; i < secret.len; i++) {
        alphabet->has[letter_of((unsigned char)secret.data[i])] = true;
    }
}

/* Can what stands behind backslashes be in the secret? */
static bool
can_be_in(const struct alphabet *alphabet, const char *at, const char *end)
{
    int32_t unit = -1;

    if (at == end || alphabet->has['\\']) {
        return at < end;
    }
    if (*at == 'u' && end - at > 4) {
        unit = belay__json_hex4(at + 1);
    }
    if (unit >= 0) {
        return alphabet->has[letter_of(unit)];
    }
    return !is_control_letter(*at)
           && alphabet->has[letter_of((unsigned char)*at)];
}

/* At most so many bytes before `at`, but not before `from`. */
static char *
later(char *from, char *at, size_t most)
{
    return (size_t)(at - from) > most ? at - most : from;
}

/* Hides the first one that begins at `at`, or behind it before `stop`. Returns
 * where it ends; NULL: there is none.
 */
static char *
hide_first(
    char *at, const char *stop, const char *end, struct belay_slice secret)
{
    for (; at < stop; at++) {
        const size_t len = match(at, end, secret);

        if (len > 0) {
            memset(at, '*', len);
            return at + len;
        }
    }
    return NULL;
}

/* Those with an escape in them: they begin at the first escape, or in the text
 * right before it, which is as it is in the secret.
 */
static bool
hide_escaped(char *from, const char *end, struct belay_slice secret)
{
    struct alphabet alphabet;
    bool found = false;
    char *at = memchr(from, '\\', (size_t)(end - from));

    if (at == NULL) {
        return false;
    }
    alphabet_init(&alphabet, secret);
    while (at != NULL) {
        char *behind = at;
        char *next = NULL;

        while (behind < end && *behind == '\\') {
            behind++;
        }
        if (can_be_in(&alphabet, behind, end)) {
            from = later(from, at, secret.len - 1);
            next = hide_first(from, at, end, secret);
            if (next == NULL) {
                next = hide_first(
                    later(at, behind, ESCAPE_MAX), behind, end, secret);
            }
        }
        found |= next != NULL;
        from = next != NULL ? next : behind;
        at = memchr(from, '\\', (size_t)(end - from));
    }
    return found;
}

bool
belay__secrets_hide(
    const struct belay__secrets *secrets, char *text, size_t len)
{
    bool found = false;

    for (size_t i = 0; secrets != NULL && len > 0 && i < secrets->count; i++) {
        found |= hide_plain(text, text + len, secrets->items[i]);
        found |= hide_escaped(text, text + len, secrets->items[i]);
    }
    return found;
}
