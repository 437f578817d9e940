/* memory.h - the counted allocator of one runtime (private).
 *
 * All memory of a runtime, its tasks and their scopes goes through one struct
 * belay__memory and is counted there, so that a test can ask for zero live
 * blocks at the end and can fail the k-th allocation. It is counted by
 * reference because error objects outlive their runtime.
 *
 * From malloc() comes what other threads use too, as portals and what is posted
 * to them, and what is there without a runtime, as a virtual clock.
 */
#ifndef BELAY_RUNTIME_MEMORY_H
#define BELAY_RUNTIME_MEMORY_H

#include <belay/base.h>

#include "runtime/life.h"

struct belay__memory {
    struct belay_allocator allocator;
    size_t live_blocks;
    size_t live_bytes;
    size_t peak_bytes;
    struct belay__lives lives;
    uint32_t refs;
};

/* A counted allocator on `allocator` (NULL: the C library's); NULL if even
 * that cannot be had. The caller owns one reference.
 */
struct belay__memory *belay__memory_new(
    const struct belay_allocator *allocator);
struct belay__memory *belay__memory_ref(struct belay__memory *memory);
void belay__memory_unref(struct belay__memory *memory); /* NULL is fine */

/* As malloc, realloc and free, with the size told again: NULL when out of
 * memory, then nothing has changed. Size 0 allocates nothing and gives NULL.
 */
void *belay__alloc(struct belay__memory *memory, size_t size);
void *belay__alloc_zero(struct belay__memory *memory, size_t size);
void *belay__realloc(
    struct belay__memory *memory, void *ptr, size_t old_size, size_t new_size);
void belay__free(struct belay__memory *memory, void *ptr, size_t size);
/* As realloc, but only the first `used` bytes are moved: what an array has in
 * reserve is never touched.
 */
void *belay__regrow(struct belay__memory *memory, void *ptr, size_t old_size,
    size_t used, size_t new_size);

/* A NUL-terminated copy of len bytes; freed with size len + 1. */
char *belay__copy_text(
    struct belay__memory *memory, const char *text, size_t len);

#endif
