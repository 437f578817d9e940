/* pack.h - many texts in one block (private to llm/session/).
 *
 * The same walk is done twice: with no base it measures, with one it fills.
 * So the two cannot disagree.
 */
#ifndef BELAY_LLM_SESSION_PACK_H
#define BELAY_LLM_SESSION_PACK_H

#include <belay/base.h>

#include <string.h>

struct belay__packer {
    char *base;    /* aligned for any type, or NULL */
    size_t used;   /* starts behind what the caller has there already */
    bool overflow; /* it is larger than any memory */
};

/* Where the next bytes go; NULL while it measures. */
static inline void *
belay__pack_bytes(struct belay__packer *packer, size_t bytes)
{
    void *at = packer->base != NULL ? packer->base + packer->used : NULL;

    packer->overflow |=
        __builtin_add_overflow(packer->used, bytes, &packer->used);
    return at;
}

/* Where an array of structs goes; NULL while it measures, or for none. */
static inline void *
belay__pack_array(struct belay__packer *packer, size_t count, size_t each)
{
    const size_t gap = (size_t)16 - packer->used % 16;
    size_t bytes = 0;

    if (count == 0) {
        return NULL;
    }
    (void)belay__pack_bytes(packer, gap);
    packer->overflow |= __builtin_mul_overflow(count, each, &bytes);
    return belay__pack_bytes(packer, bytes);
}

/* A copy with a NUL behind it; of the same length, without bytes, while it
 * measures.
 */
static inline struct belay_slice
belay__pack_slice(struct belay__packer *packer, struct belay_slice text)
{
    char *to = belay__pack_bytes(packer, text.len);
    char *end = belay__pack_bytes(packer, 1);

    if (packer->base == NULL) {
        return (struct belay_slice){NULL, 0};
    }
    if (text.len > 0) {
        memcpy(to, text.data, text.len);
    }
    *end = '\0';
    return (struct belay_slice){to, text.len};
}

/* The same of a NUL-terminated text; NULL stays NULL. */
static inline const char *
belay__pack_text(struct belay__packer *packer, const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    return belay__pack_slice(packer, (struct belay_slice){text, strlen(text)})
        .data;
}

#endif
