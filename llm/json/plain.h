/* plain.h - runs of bytes that a JSON string holds as they are (private).
 *
 * Nearly all bytes of nearly all strings are plain: ASCII, not a control
 * character, not a quote, not a backslash. Here they are passed sixteen at a
 * time where the compiler may use SSE2 (every x86-64), else eight; both the
 * scanner and the writer stand on this.
 */
#ifndef BELAY_LLM_JSON_PLAIN_H
#define BELAY_LLM_JSON_PLAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

static inline bool
belay__json_is_plain(char c)
{
    return (unsigned char)c - 0x20u < 0x60u && c != '"' && c != '\\';
}

/* The top bit of the first byte in memory that is not plain is set in the
 * result; a byte behind it may be marked wrongly (subtractions borrow).
 */
static inline uint64_t
belay__json_mark_special(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t tops = UINT64_C(0x8080808080808080);
    const uint64_t quotes = word ^ (ones * '"');
    const uint64_t slashes = word ^ (ones * '\\');

    return ((quotes - ones) | (slashes - ones) | (word - ones * 0x20) | word)
           & tops;
}

/* Eight bytes with the first in the lowest place, on any machine. */
static inline uint64_t
belay__json_load(const char *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

#if defined(__SSE2__)
/* The same for sixteen bytes: bit i of the result belongs to byte i. */
static inline unsigned
belay__json_mark_special_16(const char *at)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    const __m128i quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
    const __m128i slashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
    const __m128i others = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20));

    return (unsigned)_mm_movemask_epi8(
        _mm_or_si128(_mm_or_si128(quotes, slashes), others));
}
#endif

/* The first byte that is not plain, or end. Always inlined: the calls cost a
 * chunk of a stream 2 % of its instructions.
 */
__attribute__((always_inline)) static inline const char *
belay__json_plain_end(const char *at, const char *end)
{
#if defined(__SSE2__)
    for (; end - at >= 16; at += 16) {
        unsigned special = belay__json_mark_special_16(at);

        if (special != 0) {
            return at + __builtin_ctz(special);
        }
    }
#endif
    for (; end - at >= 8; at += 8) {
        uint64_t special = belay__json_mark_special(belay__json_load(at));

        if (special != 0) {
            return at + ((unsigned)__builtin_ctzll(special) >> 3);
        }
    }
    while (at < end && belay__json_is_plain(*at)) {
        at++;
    }
    return at;
}

/* Copies plain bytes to *to, which has room for end - at bytes, and moves it
 * behind them. Gives the first byte that is not plain, or end.
 */
static inline const char *
belay__json_copy_plain(const char *at, const char *end, char **to)
{
    char *out = *to;

#if defined(__SSE2__)
    for (; end - at >= 16; at += 16, out += 16) {
        unsigned special = belay__json_mark_special_16(at);

        memcpy(out, at, 16);
        if (special != 0) {
            *to = out + __builtin_ctz(special);
            return at + __builtin_ctz(special);
        }
    }
#endif
    for (; end - at >= 8; at += 8, out += 8) {
        uint64_t special = belay__json_mark_special(belay__json_load(at));

        memcpy(out, at, 8);
        if (special != 0) {
            unsigned count = (unsigned)__builtin_ctzll(special) >> 3;

            *to = out + count;
            return at + count;
        }
    }
    while (at < end && belay__json_is_plain(*at)) {
        *out++ = *at++;
    }
    *to = out;
    return at;
}

#endif
