/* utf8.h - one UTF-8 sequence at a time (private).
 *
 * Strict as RFC 3629: no overlong forms, no surrogates, nothing above
 * U+10FFFF.
 */
#ifndef BELAY_LLM_JSON_UTF8_H
#define BELAY_LLM_JSON_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define BELAY__UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* How the text at `at` (before end) begins: n if its first n bytes are one
 * character, -n if they are not and should count as one U+FFFD (the longest
 * start of a character, as Unicode recommends). n is 1 to 4.
 */
int belay__utf8_length(const char *at, const char *end);

/* Writes code point `point`, no surrogate and at most 0x10ffff, to ret and
 * returns how many bytes it took.
 */
size_t belay__utf8_encode(uint32_t point, char ret[4]);

#endif
