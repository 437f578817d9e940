/* buffer.h - bytes that grow at the end, up to a stated maximum (private).
 *
 * Invariants: len <= room <= max; data is NULL exactly while room is 0. The
 * bytes move when the buffer grows, so keep offsets, not pointers. Every
 * buffer has a maximum, because what fills it usually comes from outside.
 */
#ifndef BELAY_RUNTIME_BUFFER_H
#define BELAY_RUNTIME_BUFFER_H

#include "runtime/memory.h"

#include <stdarg.h>
#include <string.h>

struct belay__buffer {
    struct belay__memory *memory;
    char *data; /* len bytes are in use; not NUL-terminated */
    size_t len;
    size_t room;
    size_t max;
};

/* An empty buffer that allocates nothing yet and never holds more than max
 * bytes. memory is borrowed and must outlive the buffer.
 */
void belay__buffer_init(
    struct belay__buffer *buffer, struct belay__memory *memory, size_t max);

/* Frees the bytes; the buffer is then as after init. NULL and {0} are fine. */
void belay__buffer_fini(struct belay__buffer *buffer);

/* Room for `extra` more bytes at data + len, so that appending them cannot
 * fail. Errors: BELAY_ETOOLARGE beyond max, BELAY_ENOMEM; nothing changed.
 */
int belay__buffer_reserve(struct belay__buffer *buffer, size_t extra);

/* Moves the bytes out: the caller owns *ret and frees it with *ret_size
 * (NULL and 0 if nothing was ever allocated). The buffer is then empty.
 */
void belay__buffer_take(
    struct belay__buffer *buffer, char **ret, size_t *ret_size);

/* Copies len bytes (none is fine, data may then be NULL) to the end. The
 * bytes must not lie in this buffer. Errors: as belay__buffer_reserve().
 */
static inline int
belay__buffer_append(struct belay__buffer *buffer, const char *data, size_t len)
{
    if (len > buffer->room - buffer->len) {
        int code = belay__buffer_reserve(buffer, len);

        if (code != 0) {
            return code;
        }
    }
    if (len > 0) {
        memcpy(buffer->data + buffer->len, data, len);
        buffer->len += len;
    }
    return 0;
}

/* A text of any length, as printf writes it, to the end; behind it there must be
 * room for a NUL, which does not count. Errors: as belay__buffer_reserve();
 * BELAY_EINVAL if it cannot be written.
 */
int belay__buffer_format(struct belay__buffer *buffer, const char *format, ...)
    BELAY_PRINTF(2, 3);
int belay__buffer_format_va(struct belay__buffer *buffer, const char *format,
    va_list args) BELAY_PRINTF(2, 0);

/* Forgets the bytes and keeps the room. */
static inline void
belay__buffer_clear(struct belay__buffer *buffer)
{
    buffer->len = 0;
}

/* What is in the buffer; valid until it changes. */
static inline struct belay_slice
belay__buffer_slice(const struct belay__buffer *buffer)
{
    return (struct belay_slice){buffer->data, buffer->len};
}

#endif
