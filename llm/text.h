/* text.h - a decoded text that grows and can be handed out (private to llm/).
 *
 * It carries its allocator along, so that it may outlive whatever it came
 * from. The bytes move when it grows. How long it gets is bounded by what
 * was received: a text is never longer than the JSON that it comes from.
 */
#ifndef BELAY_LLM_TEXT_H
#define BELAY_LLM_TEXT_H

#include "runtime/memory.h"

struct belay__llm_text {
    struct belay__memory *memory; /* a reference */
    size_t len;
    size_t size; /* of the block */
    char data[]; /* NUL-terminated */
};

/* Appends bytes to *text, which is made if it is NULL, with room for as many
 * more as `ahead` says. Errors: BELAY_ENOMEM, nothing has changed.
 */
int belay__llm_text_append(struct belay__llm_text **text,
    struct belay__memory *memory, struct belay_slice bytes, size_t ahead);

/* The same with the text of a JSON string; *high is as for
 * belay__json_decode_part().
 */
int belay__llm_text_append_string(struct belay__llm_text **text,
    struct belay__memory *memory, struct belay_slice string, uint32_t *high,
    size_t ahead);

/* NULL is legal. */
void belay__llm_text_free(struct belay__llm_text *text);

/* Valid until it grows; {NULL, 0} for NULL. */
static inline struct belay_slice
belay__llm_text_slice(const struct belay__llm_text *text)
{
    return text != NULL ? (struct belay_slice){text->data, text->len}
                        : (struct belay_slice){NULL, 0};
}

/* The text whose data this is. */
struct belay__llm_text *belay__llm_text_of(char *data);

#endif
