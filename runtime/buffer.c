/* buffer.c - bytes that grow at the end, up to a stated maximum.
 *
 * Room doubles, so that appending costs a constant per byte, and ends exactly
 * at the maximum.
 */
#include "runtime/buffer.h"

#include <assert.h>
#include <stdio.h>

#define ROOM_MIN 64

void
belay__buffer_init(
    struct belay__buffer *buffer, struct belay__memory *memory, size_t max)
{
    *buffer = (struct belay__buffer){.memory = memory, .max = max};
}

void
belay__buffer_fini(struct belay__buffer *buffer)
{
    if (buffer == NULL) {
        return;
    }
    belay__free(buffer->memory, buffer->data, buffer->room);
    belay__buffer_init(buffer, buffer->memory, buffer->max);
}

static size_t
grown_room(const struct belay__buffer *buffer, size_t wanted)
{
    size_t room = buffer->max;

    if (buffer->room <= buffer->max / 2) {
        room = buffer->room * 2;
    }
    if (room < wanted) {
        room = wanted;
    }
    if (room < ROOM_MIN && buffer->max >= ROOM_MIN) {
        room = ROOM_MIN;
    }
    return room;
}

int
belay__buffer_reserve(struct belay__buffer *buffer, size_t extra)
{
    size_t room;
    char *data;

    assert(buffer->len <= buffer->room && buffer->room <= buffer->max);
    if (extra <= buffer->room - buffer->len) {
        return 0;
    }
    if (extra > buffer->max - buffer->len) {
        return BELAY_ETOOLARGE;
    }
    room = grown_room(buffer, buffer->len + extra);
    data = belay__realloc(buffer->memory, buffer->data, buffer->room, room);
    if (data == NULL) {
        return BELAY_ENOMEM;
    }
    buffer->data = data;
    buffer->room = room;
    return 0;
}

void
belay__buffer_take(struct belay__buffer *buffer, char **ret, size_t *ret_size)
{
    *ret = buffer->data;
    *ret_size = buffer->room;
    belay__buffer_init(buffer, buffer->memory, buffer->max);
}

int
belay__buffer_format_va(
    struct belay__buffer *buffer, const char *format, va_list args)
{
    va_list again;
    int code;
    int len;

    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (len < 0) {
        return BELAY_EINVAL;
    }
    code = belay__buffer_reserve(buffer, (size_t)len + 1);
    if (code < 0) {
        return code;
    }
    (void)vsnprintf(buffer->data + buffer->len, (size_t)len + 1, format, args);
    buffer->len += (size_t)len;
    return 0;
}

int
belay__buffer_format(struct belay__buffer *buffer, const char *format, ...)
{
    va_list args;
    int code;

    va_start(args, format);
    code = belay__buffer_format_va(buffer, format, args);
    va_end(args);
    return code;
}
