/* secret_reader.h - a text, letter by letter, as JSON may write it (private to
 * the search for secrets).
 */
#ifndef BELAY_LLM_SECRET_READER_H
#define BELAY_LLM_SECRET_READER_H

#include <belay/base.h>

#include "llm/json/text.h"
#include "llm/json/utf8.h"

#define BELAY__SECRET_DEPTH_MAX 3 /* of JSON in strings of JSON */

struct belay__secret_reader {
    const char *at;
    const char *end;
    bool escaped; /* the last unit was one of UTF-16, not a byte */
};

/* The next unit of a text that is JSON in a string of JSON, so many times; -1
 * if there is none.
 */
static inline int32_t
belay__secret_unit(struct belay__secret_reader *reader, int depth)
{
    char digits[4];
    int32_t unit;

    if (depth == 0) {
        reader->escaped = false;
        return reader->at < reader->end ? (unsigned char)*reader->at++ : -1;
    }
    unit = belay__secret_unit(reader, depth - 1);
    if (unit != '\\') {
        return unit;
    }
    unit = belay__secret_unit(reader, depth - 1);
    if (unit != 'u') {
        return belay__json_short_escape(unit);
    }
    for (int i = 0; i < 4; i++) {
        unit = belay__secret_unit(reader, depth - 1);
        if (unit < 0 || unit > 0x7f) {
            return -1;
        }
        digits[i] = (char)unit;
    }
    reader->escaped = true;
    return belay__json_hex4(digits);
}

/* The next character, or byte of one, as UTF-8; 0: there is none. */
static inline size_t
belay__secret_next(
    struct belay__secret_reader *reader, int depth, char room[static 4])
{
    int32_t unit = belay__secret_unit(reader, depth);
    struct belay__secret_reader behind;
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
        low = belay__secret_unit(&behind, depth);
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

#endif
