/* memory.c - the counted allocator of one runtime.
 *
 * The counts are the whole point: live_blocks is zero exactly when nothing
 * leaks, whatever allocator the host gave us.
 */
#include "runtime/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void *
libc_realloc(void *ptr, size_t old_size, size_t new_size, void *arg)
{
    (void)old_size;
    (void)arg;
    if (new_size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, new_size);
}

struct belay__memory *
belay__memory_new(const struct belay_allocator *allocator)
{
    static const struct belay_allocator libc = {libc_realloc, NULL};
    const struct belay_allocator *use = allocator != NULL ? allocator : &libc;
    struct belay__memory *memory;

    memory = use->realloc_fn(NULL, 0, sizeof(*memory), use->arg);
    if (memory == NULL) {
        return NULL;
    }
    *memory = (struct belay__memory){.allocator = *use, .refs = 1};
    return memory;
}

struct belay__memory *
belay__memory_ref(struct belay__memory *memory)
{
    memory->refs++;
    return memory;
}

void
belay__memory_unref(struct belay__memory *memory)
{
    struct belay_allocator allocator;

    if (memory == NULL || --memory->refs > 0) {
        return;
    }
    allocator = memory->allocator;
    (void)allocator.realloc_fn(memory, sizeof(*memory), 0, allocator.arg);
}

void *
belay__alloc(struct belay__memory *memory, size_t size)
{
    return belay__realloc(memory, NULL, 0, size);
}

void *
belay__alloc_zero(struct belay__memory *memory, size_t size)
{
    void *ptr = belay__alloc(memory, size);

    if (ptr != NULL) {
        memset(ptr, 0, size);
    }
    return ptr;
}

void *
belay__realloc(
    struct belay__memory *memory, void *ptr, size_t old_size, size_t new_size)
{
    void *grown;

    assert((ptr == NULL) == (old_size == 0));
    if (new_size == 0) {
        belay__free(memory, ptr, old_size);
        return NULL;
    }
    grown = memory->allocator.realloc_fn(
        ptr, old_size, new_size, memory->allocator.arg);
    if (grown == NULL) {
        return NULL;
    }
    memory->live_blocks += ptr == NULL;
    memory->live_bytes += new_size - old_size;
    if (memory->live_bytes > memory->peak_bytes) {
        memory->peak_bytes = memory->live_bytes;
    }
    return grown;
}

void
belay__free(struct belay__memory *memory, void *ptr, size_t size)
{
    if (ptr == NULL) {
        return;
    }
    assert(memory->live_blocks > 0 && memory->live_bytes >= size);
    memory->live_blocks--;
    memory->live_bytes -= size;
    (void)memory->allocator.realloc_fn(ptr, size, 0, memory->allocator.arg);
}

void *
belay__regrow(struct belay__memory *memory, void *ptr, size_t old_size,
    size_t used, size_t new_size)
{
    void *larger = belay__alloc(memory, new_size);

    assert(used <= old_size && old_size <= new_size);
    if (larger == NULL) {
        return NULL;
    }
    if (used > 0) {
        memcpy(larger, ptr, used);
    }
    belay__free(memory, ptr, old_size);
    return larger;
}

char *
belay__copy_text(struct belay__memory *memory, const char *text, size_t len)
{
    char *copy = belay__alloc(memory, len + 1);

    if (copy != NULL) {
        memcpy(copy, text, len);
        copy[len] = '\0';
    }
    return copy;
}
