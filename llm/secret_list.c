/* secret_list.c - the list of what no text may show, in memory of its own. */
#include "llm/secret.h"

#include "runtime/memory.h"

#include <string.h>

static size_t
size_of(size_t len)
{
    return (len + 1) * sizeof(size_t) + len;
}

static void
wipe(struct belay__memory *memory, struct belay__secret *secret)
{
    const size_t size = size_of(secret->text.len);

    explicit_bzero(secret->borders, size);
    belay__free(memory, secret->borders, size);
}

int
belay__secrets_add(struct belay__secrets *secrets, struct belay_slice text)
{
    const size_t size = secrets->count * sizeof(*secrets->items);
    struct belay__secret secret;
    struct belay__secret *items;
    size_t *borders;
    char *copy;

    if (text.len < BELAY__SECRET_LEAST) {
        return 0;
    }
    if (text.len >= SIZE_MAX / (2 * sizeof(size_t))) {
        return BELAY_ENOMEM;
    }
    borders = belay__alloc(secrets->memory, size_of(text.len));
    if (borders == NULL) {
        return BELAY_ENOMEM;
    }
    copy = (char *)(borders + text.len + 1);
    memcpy(copy, text.data, text.len);
    text.data = copy;
    belay__secret_init(&secret, text, borders);
    items = belay__realloc(
        secrets->memory, secrets->items, size, size + sizeof(*items));
    if (items == NULL) {
        wipe(secrets->memory, &secret);
        return BELAY_ENOMEM;
    }
    items[secrets->count++] = secret;
    secrets->items = items;
    return 0;
}

void
belay__secrets_fini(struct belay__secrets *secrets)
{
    for (size_t i = 0; i < secrets->count; i++) {
        wipe(secrets->memory, &secrets->items[i]);
    }
    belay__free(secrets->memory, secrets->items,
        secrets->count * sizeof(*secrets->items));
    secrets->items = NULL;
    secrets->count = 0;
}
