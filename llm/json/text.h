/* text.h - what strings and numbers of a JSON text mean (private).
 *
 * All functions take slices that the scanner has accepted and do not check
 * them again. Rules: L27, L91-L93, L96.
 */
#ifndef BELAY_LLM_JSON_TEXT_H
#define BELAY_LLM_JSON_TEXT_H

#include "llm/json/scan.h"
#include "runtime/buffer.h"

#include <string.h>

/* The bytes between the quotes, for a string that is not `escaped`. */
static inline struct belay_slice
belay__json_inside(struct belay_slice string)
{
    return (struct belay_slice){string.data + 1, string.len - 2};
}

/* Does the string, unescaped, equal these bytes exactly (L96)? */
bool belay__json_equals(
    const struct belay__json_value *string, const char *text, size_t len);

/* The same against a literal; the common case costs a memcmp. */
#define belay__json_key_is(key, literal) \
    belay__json_key_equals((key), "" literal, sizeof(literal) - 1)

static inline bool
belay__json_key_equals(
    const struct belay__json_value *key, const char *text, size_t len)
{
    if (key->escaped) {
        return belay__json_equals(key, text, len);
    }
    return key->raw.len == len + 2 && memcmp(key->raw.data + 1, text, len) == 0;
}

/* Writes the text of a string to out, at least string.len - 2 bytes, and
 * returns how many it wrote. \u0000 becomes a NUL like any other byte, half
 * a character becomes U+FFFD, and the result is always UTF-8.
 */
size_t belay__json_decode(struct belay_slice string, char *out);

/* The same for a text that comes in several strings and may be cut between
 * the halves of a character, as streams of deltas are (L27). *high is 0 at
 * the start and keeps the first half between calls; out has at least
 * string.len + 1 bytes. If *high is not 0 at the end, a U+FFFD is missing.
 */
size_t belay__json_decode_part(
    struct belay_slice string, uint32_t *high, char *out);

/* Appends the text of a string. Errors: BELAY_ENOMEM, BELAY_ETOOLARGE;
 * nothing has changed.
 */
int belay__json_append_decoded(
    struct belay__buffer *buffer, struct belay_slice string);

/* The integer that a number stands for, however it is written: 1000, 1e3 and
 * 1000.0 are the same. Errors, *ret is untouched: BELAY_EINVAL it is not
 * whole, BELAY_ETOOLARGE it does not fit.
 */
int belay__json_integer(struct belay_slice number, int64_t *ret);

/* What a letter behind a backslash stands for, but for "u". */
int32_t belay__json_short_escape(int32_t letter);
/* Four hexadecimal digits, or -1. */
int32_t belay__json_hex4(const char *at);

static inline bool
belay__json_is_high(int32_t unit)
{
    return unit >= 0xd800 && unit < 0xdc00;
}

static inline bool
belay__json_is_low(int32_t unit)
{
    return unit >= 0xdc00 && unit < 0xe000;
}

#endif
