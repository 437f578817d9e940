/* text.c - a decoded text that grows and can be handed out.
 *
 * It doubles, so that appending costs what is appended; the first block is
 * just what is asked for, because most texts are decoded in one go.
 */
#include "llm/text.h"

#include "llm/json/text.h"

#include <string.h>

/* Room for `len` more bytes and the NUL. */
static int
make_room(struct belay__llm_text **text, struct belay__memory *memory,
    size_t len, size_t ahead)
{
    struct belay__llm_text *old = *text;
    struct belay__llm_text *grown;
    const size_t head = sizeof(*old) + 1;
    size_t used = head + (old != NULL ? old->len : 0);
    size_t size;

    if (old != NULL && len <= old->size - used) {
        return 0;
    }
    if (len > SIZE_MAX / 4 - used - ahead) {
        return BELAY_ENOMEM;
    }
    size = used + len + ahead;
    if (old == NULL) {
        grown = belay__alloc(memory, size);
    } else {
        size = size < 2 * old->size ? 2 * old->size : size;
        grown = belay__realloc(memory, old, old->size, size);
    }
    if (grown == NULL) {
        return BELAY_ENOMEM;
    }
    if (old == NULL) {
        grown->memory = belay__memory_ref(memory);
        grown->len = 0;
    }
    grown->size = size;
    *text = grown;
    return 0;
}

int
belay__llm_text_append(struct belay__llm_text **text,
    struct belay__memory *memory, struct belay_slice bytes, size_t ahead)
{
    int code = make_room(text, memory, bytes.len, ahead);

    if (code == 0) {
        if (bytes.len > 0) {
            memcpy((*text)->data + (*text)->len, bytes.data, bytes.len);
            (*text)->len += bytes.len;
        }
        (*text)->data[(*text)->len] = '\0';
    }
    return code;
}

int
belay__llm_text_append_string(struct belay__llm_text **text,
    struct belay__memory *memory, struct belay_slice string, uint32_t *high,
    size_t ahead)
{
    /* Half a character from before may become a replacement on top. */
    int code = make_room(text, memory, string.len + 1, ahead);

    if (code == 0) {
        (*text)->len +=
            belay__json_decode_part(string, high, (*text)->data + (*text)->len);
        (*text)->data[(*text)->len] = '\0';
    }
    return code;
}

void
belay__llm_text_free(struct belay__llm_text *text)
{
    struct belay__memory *memory;

    if (text != NULL) {
        memory = text->memory;
        belay__free(memory, text, text->size);
        belay__memory_unref(memory);
    }
}

struct belay__llm_text *
belay__llm_text_of(char *data)
{
    return (struct belay__llm_text *)(void *)(data
                                              - offsetof(struct belay__llm_text,
                                                  data));
}
