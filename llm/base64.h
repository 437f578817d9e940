/* base64.h - bytes as text, RFC 4648 section 4 (private to llm/). */
#ifndef BELAY_LLM_BASE64_H
#define BELAY_LLM_BASE64_H

#include "runtime/buffer.h"

/* Appends bytes as text, padded. Errors: as belay__buffer_reserve(). */
int belay__base64_append(
    struct belay__buffer *buffer, struct belay_slice bytes);

/* The bytes that a text of this length can stand for, at most. */
static inline size_t
belay__base64_room(size_t len)
{
    return len / 4 * 3 + len % 4;
}

/* Decodes; padding may be missing. out has belay__base64_room() bytes. False,
 * with part of out written, if it is not base64.
 */
bool belay__base64_decode(
    struct belay_slice text, unsigned char *out, size_t *ret_len);

#endif
