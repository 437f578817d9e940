/* reason.c - what is told of cancels, and where that is kept.
 *
 * A cancel may not allocate, and of a hundred thousand tasks that are cancelled
 * hardly one is so by itself: places are reserved with the scopes and taken
 * when one is cancelled. Free ones are linked by their numbers.
 */
#include "runtime/internal.h"

#include <assert.h>

#define ROOM_MIN 64

/* The way of belay__scope_reserve() when there is no room. A scope has at most
 * two deadlines: room for these comes with it.
 */
int
belay__cancels_grow(belay_runtime *runtime)
{
    struct belay__cancels *cancels = &runtime->cancels;
    const uint32_t used = cancels->room > 0 ? cancels->room : 1;
    const uint32_t room =
        cancels->room < ROOM_MIN ? ROOM_MIN : cancels->room / 2 * 3;
    struct belay__cancel *slots;

    if (belay__deadline_reserve(runtime, 2 * (room - used)) < 0) {
        return BELAY_ENOMEM; /* so many deadlines there cannot be, too */
    }
    slots = belay__regrow(runtime->memory, cancels->slots,
        cancels->room * sizeof(*slots),
        cancels->fresh > 0 ? (cancels->fresh + 1) * sizeof(*slots) : 0,
        room * sizeof(*slots));
    if (slots == NULL) {
        belay__deadline_release(runtime, 2 * (room - used));
        return BELAY_ENOMEM;
    }
    cancels->slots = slots;
    cancels->left += room - used; /* slot 0 is not used */
    cancels->room = room;
    return 0;
}

void
belay__cancels_shrink(belay_runtime *runtime)
{
    struct belay__cancels *cancels = &runtime->cancels;
    const uint32_t room = belay__room_wanted(
        cancels->room, cancels->room - cancels->left, ROOM_MIN);
    struct belay__cancel *slots;

    assert(cancels->taken == 0);
    if (room == cancels->room) {
        return;
    }
    slots = belay__realloc(runtime->memory, cancels->slots,
        cancels->room * sizeof(*slots), room * sizeof(*slots));
    if (slots == NULL) {
        return;
    }
    belay__deadline_release(runtime, 2 * (cancels->room - room));
    cancels->slots = slots;
    cancels->left -= cancels->room - room;
    cancels->room = room;
    cancels->fresh = 0;
    cancels->free = 0;
}

struct belay__cancel *
belay__cancel_of(const belay_runtime *runtime, const struct belay__scope *scope)
{
    assert(scope->cancel != 0);
    return &runtime->cancels.slots[scope->cancel];
}

void
belay__cancel_take(belay_runtime *runtime, struct belay__scope *scope,
    const struct belay_cancel_reason *reason)
{
    struct belay__cancels *cancels = &runtime->cancels;

    cancels->taken++;
    scope->cancel = cancels->free;
    if (scope->cancel != 0) {
        cancels->free = cancels->slots[scope->cancel].free;
    } else {
        scope->cancel = ++cancels->fresh; /* all others are in use */
        assert(cancels->fresh < cancels->room - cancels->left);
    }
    cancels->slots[scope->cancel] = (struct belay__cancel){.reason = *reason};
}

void
belay__scope_clear(belay_runtime *runtime, struct belay__scope *scope)
{
    struct belay__cancels *cancels = &runtime->cancels;

    belay__deadline_disarm(runtime, &scope->deadline);
    if (scope->cancel != 0) {
        cancels->slots[scope->cancel].free = cancels->free;
        cancels->free = scope->cancel;
        cancels->taken--;
        scope->cancel = 0;
    }
}

struct belay_cancel_reason
belay__cancel_reason(
    enum belay_cancel_source source, const char *text, const belay_task *by)
{
    return (struct belay_cancel_reason){
        .source = source,
        .text = text,
        .task_name = by != NULL ? belay_task_name(by) : NULL,
        .task_id = by != NULL ? by->id : 0,
    };
}

static const char *
text_or_empty(const char *text)
{
    return text != NULL ? text : "";
}

struct belay_cancel_reason
belay__scope_reason(
    const belay_runtime *runtime, const struct belay__scope *scope)
{
    struct belay_cancel_reason reason = {.source = BELAY_CANCEL_NONE};

    if (scope->cancel != 0) {
        reason = belay__cancel_of(runtime, scope)->reason;
    }
    reason.text = text_or_empty(reason.text);
    reason.task_name = text_or_empty(reason.task_name);
    return reason;
}
