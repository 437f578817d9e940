/* deadline.c - all deadlines of a runtime in one heap behind one uv timer.
 *
 * A 4-ary heap; what stands in it knows its slot, so moving and removing are
 * O(log n) and nothing is ever searched. Room is reserved when a task, a
 * scope or a timer is made: arming cannot fail.
 */
#include "runtime/internal.h"

#include <assert.h>

#define ARITY 4
#define ROOM_MIN 64
#define LATE_NS 10000000
#define LATE_POLLS 2

/* The way of belay__deadline_reserve() when there is no room. */
int
belay__deadline_grow(belay_runtime *runtime, uint32_t count)
{
    struct belay__heap *heap = &runtime->deadlines;
    struct belay__due *slots;
    uint32_t room = heap->room < ROOM_MIN ? ROOM_MIN : heap->room;
    const uint32_t used = heap->room - heap->left; /* slot 0 is, too */

    if (count >= BELAY__DEADLINES_MAX / 2 - used) {
        return BELAY_ENOMEM;
    }
    room += heap->room / 2;
    if (room <= used + count) {
        room = used + count + 1;
    }
    slots =
        belay__regrow(runtime->memory, heap->slots, heap->room * sizeof(*slots),
            heap->count > 0 ? (heap->count + 1) * sizeof(*slots) : 0,
            room * sizeof(*slots));
    if (slots == NULL) {
        return BELAY_ENOMEM;
    }
    heap->slots = slots;
    heap->left = room - (used > 0 ? used : 1) - count;
    heap->room = room;
    return 0;
}

void
belay__deadline_shrink(belay_runtime *runtime)
{
    struct belay__heap *heap = &runtime->deadlines;
    const uint32_t room =
        belay__room_wanted(heap->room, heap->room - heap->left, ROOM_MIN);
    struct belay__due *slots;

    if (room == heap->room) {
        return;
    }
    slots = belay__realloc(runtime->memory, heap->slots,
        heap->room * sizeof(*slots), room * sizeof(*slots));
    if (slots == NULL) {
        return;
    }
    heap->slots = slots;
    heap->left -= heap->room - room;
    heap->room = room;
}

static void
put(struct belay__heap *heap, uint32_t index, struct belay__due due)
{
    heap->slots[index] = due;
    due.deadline->index = index & BELAY__DEADLINES_MAX;
}

static uint32_t
parent_of(uint32_t index)
{
    return (index - 2) / ARITY + 1;
}

static void
sift_up(struct belay__heap *heap, uint32_t index)
{
    const struct belay__due due = heap->slots[index];
    uint32_t parent;

    while (index > 1) {
        parent = parent_of(index);
        if (heap->slots[parent].ns <= due.ns) {
            break;
        }
        put(heap, index, heap->slots[parent]);
        index = parent;
    }
    put(heap, index, due);
}

/* The earliest child of a slot, or 0. */
static uint32_t
first_child(const struct belay__heap *heap, uint32_t index)
{
    const uint64_t first = (uint64_t)(index - 1) * ARITY + 2;
    uint32_t best;

    if (first > heap->count) {
        return 0;
    }
    best = (uint32_t)first;
    for (uint64_t i = first + 1; i < first + ARITY && i <= heap->count; i++) {
        if (heap->slots[i].ns < heap->slots[best].ns) {
            best = (uint32_t)i;
        }
    }
    return best;
}

static void
sift_down(struct belay__heap *heap, uint32_t index)
{
    const struct belay__due due = heap->slots[index];
    uint32_t child;

    while ((child = first_child(heap, index)) != 0) {
        if (heap->slots[child].ns >= due.ns) {
            break;
        }
        put(heap, index, heap->slots[child]);
        index = child;
    }
    put(heap, index, due);
}

/* With room for it, at any time but "never". */
static inline void
put_in(
    struct belay__heap *heap, struct belay__deadline *deadline, int64_t due_ns)
{
    if (deadline->index == 0) {
        assert(heap->count + 1 < heap->room - heap->left);
        deadline->index = ++heap->count & BELAY__DEADLINES_MAX;
    }
    heap->slots[deadline->index] = (struct belay__due){due_ns, deadline};
    sift_up(heap, deadline->index);
    sift_down(heap, deadline->index);
}

static inline void
take_out(struct belay__heap *heap, struct belay__deadline *deadline)
{
    const uint32_t index = deadline->index;
    const struct belay__due last = heap->slots[heap->count--];

    deadline->index = 0;
    if (last.deadline == deadline) {
        return;
    }
    put(heap, index, last);
    sift_up(heap, index);
    sift_down(heap, last.deadline->index);
}

/* The first one goes, or moves, outside of a pass. Nobody looks at the heap
 * afterwards, as the end of a pass does, so libuv's timer is set here.
 */
__attribute__((noinline, cold)) static void
set_first(
    belay_runtime *runtime, struct belay__deadline *deadline, int64_t due_ns)
{
    if (due_ns == INT64_MAX) {
        take_out(&runtime->deadlines, deadline);
    } else {
        put_in(&runtime->deadlines, deadline, due_ns);
    }
    belay__runtime_kick(runtime);
}

void
belay__deadline_arm(
    belay_runtime *runtime, struct belay__deadline *deadline, int64_t due_ns)
{
    if (due_ns == INT64_MAX) {
        belay__deadline_disarm(runtime, deadline);
        return;
    }
    if (deadline->index == 1 && !runtime->in_pass) {
        set_first(runtime, deadline, due_ns);
        return;
    }
    put_in(&runtime->deadlines, deadline, due_ns);
    if (deadline->index == 1) {
        belay__runtime_kick(runtime);
    }
}

void
belay__deadline_disarm(belay_runtime *runtime, struct belay__deadline *deadline)
{
    if (deadline->index == 0) {
        return;
    }
    if (deadline->index == 1 && !runtime->in_pass) {
        set_first(runtime, deadline, INT64_MAX);
        return;
    }
    take_out(&runtime->deadlines, deadline);
}

int64_t
belay__deadline_next(const belay_runtime *runtime)
{
    const struct belay__heap *heap = &runtime->deadlines;

    return heap->count > 0 ? heap->slots[1].ns : INT64_MAX;
}

static void
fire(belay_runtime *runtime, struct belay__deadline *deadline)
{
    struct belay__timer *timer;

    switch ((enum belay__deadline_kind)deadline->kind) {
    case BELAY__DEADLINE_SLEEP:
        belay__wake(BELAY__CONTAINER(deadline, belay_task, deadline), 0, NULL);
        break;
    case BELAY__DEADLINE_SCOPE:
        belay__scope_due(
            runtime, BELAY__CONTAINER(deadline, struct belay__scope, deadline));
        break;
    case BELAY__DEADLINE_TIMER:
        timer = BELAY__CONTAINER(deadline, struct belay__timer, deadline);
        timer->fn(timer);
        break;
    }
}

/* A process that was stopped, or a machine that slept, finds all its times
 * over, and beside them the answers that came meanwhile. libuv may come back
 * from a wait without having looked: so when a deadline is found over for
 * longer than a loop that runs would have let it, first there are two polls,
 * one to read what has come and one for what follows from it.
 */
static bool
is_spared(belay_runtime *runtime, int64_t now)
{
    const int64_t next = belay__deadline_next(runtime);

    if (runtime->clock == NULL && next < now - LATE_NS
        && runtime->spared < LATE_POLLS) {
        runtime->spared++;
        return true;
    }
    runtime->spared = 0;
    return false;
}

void
belay__deadline_expire(belay_runtime *runtime)
{
    struct belay__heap *heap = &runtime->deadlines;
    const int64_t now = belay__clock_now(runtime);
    struct belay__deadline *deadline;

    if (is_spared(runtime, now)) {
        return;
    }
    /* What a timer's callback arms for "now" waits for the next turn. */
    for (uint32_t n = heap->count; n > 0 && heap->count > 0; n--) {
        if (heap->slots[1].ns > now) {
            break;
        }
        deadline = heap->slots[1].deadline;
        take_out(heap, deadline); /* who calls sets the uv timer afterwards */
        fire(runtime, deadline);
    }
}

int64_t
belay__due(const belay_runtime *runtime, belay_duration span)
{
    const int64_t now = belay__clock_now(runtime);
    int64_t due;

    if (span.ns <= 0) {
        return now;
    }
    return __builtin_add_overflow(now, span.ns, &due) ? INT64_MAX : due;
}

int
belay__timer_init(belay_runtime *runtime, struct belay__timer *timer,
    void (*fn)(struct belay__timer *timer))
{
    int code = belay__deadline_reserve(runtime, 1);

    if (code < 0) {
        return code;
    }
    *timer = (struct belay__timer){{0, BELAY__DEADLINE_TIMER}, fn};
    return 0;
}

void
belay__timer_start(
    belay_runtime *runtime, struct belay__timer *timer, int64_t due_ns)
{
    belay__deadline_arm(runtime, &timer->deadline, due_ns);
}

void
belay__timer_stop(belay_runtime *runtime, struct belay__timer *timer)
{
    belay__deadline_disarm(runtime, &timer->deadline);
}

int64_t
belay__timer_due(const belay_runtime *runtime, const struct belay__timer *timer)
{
    const uint32_t index = timer->deadline.index;

    return index != 0 ? runtime->deadlines.slots[index].ns : INT64_MAX;
}

void
belay__timer_fini(belay_runtime *runtime, struct belay__timer *timer)
{
    if (timer->fn == NULL) {
        return;
    }
    belay__deadline_disarm(runtime, &timer->deadline);
    belay__deadline_release(runtime, 1);
    timer->fn = NULL;
}
