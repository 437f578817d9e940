/* utf8.c - one UTF-8 sequence at a time.
 *
 * All the odd cases of UTF-8 are odd ranges of the second byte.
 */
#include "llm/json/utf8.h"

#include <assert.h>

int
belay__utf8_length(const char *at, const char *end)
{
    const uint8_t lead = (uint8_t)*at;
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    int more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;

    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4) {
        return -1;
    }
    for (int i = 1; i <= more; i++) {
        if (at + i == end || (uint8_t)at[i] < low || (uint8_t)at[i] > high) {
            return -i;
        }
        low = 0x80;
        high = 0xbf;
    }
    return more + 1;
}

static char
tail_byte(uint32_t bits)
{
    return (char)(0x80 | (bits & 0x3f));
}

size_t
belay__utf8_encode(uint32_t point, char ret[4])
{
    assert(point <= 0x10ffff && (point < 0xd800 || point > 0xdfff));
    if (point < 0x80) {
        ret[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        ret[0] = (char)(0xc0 | point >> 6);
        ret[1] = tail_byte(point);
        return 2;
    }
    if (point < 0x10000) {
        ret[0] = (char)(0xe0 | point >> 12);
        ret[1] = tail_byte(point >> 6);
        ret[2] = tail_byte(point);
        return 3;
    }
    ret[0] = (char)(0xf0 | point >> 18);
    ret[1] = tail_byte(point >> 12);
    ret[2] = tail_byte(point >> 6);
    ret[3] = tail_byte(point);
    return 4;
}
