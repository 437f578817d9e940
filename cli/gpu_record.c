/* gpu_record.c - what has happened in a pool of GPU slots, from its events.
 *
 * A slot has at most one open lease and one open span. A lease begins with its
 * grant and ends when its slot is free or out of service; so spans of one slot
 * never overlap, and those of a lease lie inside it.
 */
#include "cli/gpu_record.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 256

int
belay__gpu_record_init(struct belay__gpu_record *record, uint32_t slots)
{
    *record = (struct belay__gpu_record){.slots = slots};
    record->open_hold = calloc(slots, sizeof(*record->open_hold));
    record->open_span = calloc(slots, sizeof(*record->open_span));
    if (record->open_hold == NULL || record->open_span == NULL) {
        return BELAY_ENOMEM;
    }
    for (uint32_t i = 0; i < slots; i++) {
        record->open_hold[i] = BELAY__GPU_NONE;
        record->open_span[i] = BELAY__GPU_NONE;
    }
    return 0;
}

void
belay__gpu_record_fini(struct belay__gpu_record *record)
{
    free(record->holds);
    free(record->spans);
    free(record->depths);
    free(record->waits);
    free(record->open_hold);
    free(record->open_span);
    *record = (struct belay__gpu_record){.slots = 0};
}

/* Room for one more of `size` bytes; the array, moved if need be, or NULL. */
static void *
grow(void *data, uint32_t count, uint32_t *room, size_t size)
{
    const uint32_t more = *room < 64 ? 64 : *room * 2;
    void *moved;

    if (count < *room) {
        return data;
    }
    if (*room > UINT32_MAX / 4) {
        return NULL;
    }
    moved = realloc(data, more * size);
    if (moved != NULL) {
        *room = more;
    }
    return moved;
}

/* ---- the queue ---- */

static bool
set_waits(struct belay__gpu_record *record, uint64_t lease, bool waits)
{
    const uint32_t old = record->wait_room;
    uint32_t room = old < 256 ? 256 : old;
    uint8_t *moved;

    while (room <= lease && room <= UINT32_MAX / 4) {
        room *= 2;
    }
    if (lease >= room) {
        return false;
    }
    if (room != old) {
        moved = realloc(record->waits, room);
        if (moved == NULL) {
            return false;
        }
        memset(moved + old, 0, room - old);
        record->waits = moved;
        record->wait_room = room;
    }
    record->waits[lease] = waits;
    return true;
}

static bool
waits(const struct belay__gpu_record *record, uint64_t lease)
{
    return lease < record->wait_room && record->waits[lease] != 0;
}

static void
count_waiting(struct belay__gpu_record *record,
    const struct belay_gpu_event *event, bool more)
{
    struct belay__gpu_depth *depths = grow(record->depths, record->depth_count,
        &record->depth_room, sizeof(*depths));
    struct belay__gpu_depth *depth;

    if (depths != NULL) {
        record->depths = depths;
    }
    if (depths == NULL || event->priority >= BELAY_GPU_PRIORITIES
        || !set_waits(record, event->lease, more)) {
        record->lost++;
        return;
    }
    depth = &depths[record->depth_count];
    if (record->depth_count == 0) {
        *depth = (struct belay__gpu_depth){.time = event->time};
        record->depth_count++;
    } else if (depth[-1].time.ns == event->time.ns) {
        depth--; /* several changes at one time are one */
    } else {
        *depth = depth[-1];
        depth->time = event->time;
        record->depth_count++;
    }
    if (more) {
        depth->waiting[event->priority]++;
    } else if (depth->waiting[event->priority] > 0) {
        depth->waiting[event->priority]--;
    }
}

/* ---- slots ---- */

static void
begin_span(struct belay__gpu_record *record,
    const struct belay_gpu_event *event, enum belay_gpu_slot_state state)
{
    struct belay__gpu_span *spans = grow(
        record->spans, record->span_count, &record->span_room, sizeof(*spans));

    if (spans == NULL) {
        record->lost++;
        return;
    }
    record->spans = spans;
    record->open_span[event->slot] = record->span_count;
    spans[record->span_count++] = (struct belay__gpu_span){.begin = event->time,
        .end = event->time,
        .hold = record->open_hold[event->slot],
        .slot = event->slot,
        .state = (uint8_t)state};
}

static void
end_span(struct belay__gpu_record *record, uint32_t slot, belay_time now)
{
    if (record->open_span[slot] != BELAY__GPU_NONE) {
        record->spans[record->open_span[slot]].end = now;
        record->open_span[slot] = BELAY__GPU_NONE;
    }
}

static void
end_hold(struct belay__gpu_record *record, uint32_t slot, belay_time now)
{
    if (record->open_hold[slot] != BELAY__GPU_NONE) {
        record->holds[record->open_hold[slot]].end = now;
        record->open_hold[slot] = BELAY__GPU_NONE;
    }
}

static void
take_grant(
    struct belay__gpu_record *record, const struct belay_gpu_event *event)
{
    struct belay__gpu_hold *holds = grow(
        record->holds, record->hold_count, &record->hold_room, sizeof(*holds));
    const bool waited = waits(record, event->lease);

    if (waited) {
        count_waiting(record, event, false);
    }
    if (holds != NULL) {
        record->holds = holds;
    }
    if (holds == NULL || event->slot >= record->slots) {
        record->lost++;
        return;
    }
    end_span(record, event->slot, event->time);
    end_hold(record, event->slot, event->time);
    record->open_hold[event->slot] = record->hold_count;
    holds[record->hold_count++] = (struct belay__gpu_hold){
        .begin = event->time,
        .end = event->time,
        .waited = belay_nanoseconds((int64_t)event->detail),
        .lease = event->lease,
        .task_id = event->task_id,
        .slot = event->slot,
        .priority = event->priority,
        .at_once = !waited,
    };
    begin_span(record, event, BELAY_GPU_SLOT_HELD);
}

static void
mark_failed(struct belay__gpu_record *record, uint32_t slot)
{
    if (slot < record->slots && record->open_hold[slot] != BELAY__GPU_NONE) {
        record->holds[record->open_hold[slot]].failed = true;
    }
}

static void
take_state(
    struct belay__gpu_record *record, const struct belay_gpu_event *event)
{
    if (event->slot >= record->slots) {
        record->lost++;
        return;
    }
    end_span(record, event->slot, event->time);
    if (event->detail >= BELAY_GPU_SLOT_QUARANTINED) {
        mark_failed(record, event->slot);
    }
    if (event->detail == BELAY_GPU_SLOT_FREE
        || event->detail >= BELAY_GPU_SLOT_QUARANTINED) {
        end_hold(record, event->slot, event->time);
    }
    if (event->detail != BELAY_GPU_SLOT_FREE) {
        begin_span(record, event, (enum belay_gpu_slot_state)event->detail);
    }
}

void
belay__gpu_record_event(
    struct belay__gpu_record *record, const struct belay_gpu_event *event)
{
    if (event->kind == BELAY_GPU_EVENT_GRANT) {
        take_grant(record, event);
    } else if (event->kind == BELAY_GPU_EVENT_SLOT) {
        take_state(record, event);
    } else if (event->kind == BELAY_GPU_EVENT_WAIT) {
        count_waiting(record, event, true);
    } else if (event->kind == BELAY_GPU_EVENT_NO_GRANT) {
        if (waits(record, event->lease)) {
            count_waiting(record, event, false);
        }
    } else if (event->kind == BELAY_GPU_EVENT_OP_END && event->detail != 0
               && event->detail != (uint64_t)-BELAY_ECANCELED
               && event->detail != (uint64_t)-BELAY_GPU_ECANCELED) {
        mark_failed(record, event->slot);
    }
}

void
belay__gpu_record_take(
    struct belay__gpu_record *record, const belay_gpu_pool *pool)
{
    struct belay_gpu_event events[BATCH];
    uint64_t lost;
    size_t count;

    do {
        count = belay_gpu_events(pool, &record->cursor, events, BATCH, &lost);
        record->lost += lost;
        for (size_t i = 0; i < count; i++) {
            belay__gpu_record_event(record, &events[i]);
        }
    } while (count == BATCH);
}

/* Of the leases that are open, or have just ended: the newest. */
void
belay__gpu_record_stop(
    struct belay__gpu_record *record, uint64_t task_id, belay_time when)
{
    struct belay__gpu_hold *hold;

    for (uint32_t i = record->hold_count; i-- > 0;) {
        hold = &record->holds[i];
        if (hold->task_id == task_id) {
            hold->stopped = when;
            return;
        }
    }
}

void
belay__gpu_record_end(struct belay__gpu_record *record, belay_time now)
{
    for (uint32_t i = 0; i < record->slots; i++) {
        end_span(record, i, now);
        end_hold(record, i, now);
    }
}

/* ---- time that was lost ---- */

/* At each change of the queue's length: for how long somebody has waited. */
static int64_t *
sum_up_waiting(const struct belay__gpu_record *record)
{
    int64_t *sums = calloc(record->depth_count + 1, sizeof(*sums));
    const struct belay__gpu_depth *depth;
    uint64_t waiting;

    for (uint32_t i = 0; sums != NULL && i + 1 < record->depth_count; i++) {
        depth = &record->depths[i];
        waiting = 0;
        for (uint32_t p = 0; p < BELAY_GPU_PRIORITIES; p++) {
            waiting += depth->waiting[p];
        }
        sums[i + 1] =
            sums[i] + (waiting > 0 ? depth[1].time.ns - depth->time.ns : 0);
    }
    return sums;
}

/* … and at any time. */
static int64_t
waited_until(
    const struct belay__gpu_record *record, const int64_t *sums, int64_t when)
{
    uint32_t low = 0; /* the last change before `when` */
    uint32_t high = record->depth_count;
    uint32_t middle;
    int64_t since;

    if (high == 0 || when <= record->depths[0].time.ns) {
        return 0;
    }
    while (high - low > 1) {
        middle = low + (high - low) / 2;
        if (record->depths[middle].time.ns <= when) {
            low = middle;
        } else {
            high = middle;
        }
    }
    if (low + 1 == record->depth_count || sums[low + 1] == sums[low]) {
        return sums[low]; /* behind the last change nobody waits */
    }
    since = when - record->depths[low].time.ns;
    return sums[low] + since;
}

static int64_t
earlier(belay_time a, belay_time b)
{
    return a.ns < b.ns ? a.ns : b.ns;
}

int64_t
belay__gpu_record_idle_ns(
    const struct belay__gpu_record *record, belay_time end)
{
    int64_t *sums = sum_up_waiting(record);
    const struct belay__gpu_span *span;
    int64_t idle;

    if (sums == NULL) {
        return -1;
    }
    idle = waited_until(record, sums, end.ns) * (int64_t)record->slots;
    for (uint32_t i = 0; i < record->span_count; i++) {
        span = &record->spans[i];
        idle += waited_until(record, sums, earlier(span->begin, end))
                - waited_until(record, sums, earlier(span->end, end));
    }
    free(sums);
    return idle;
}

belay_duration
belay__gpu_record_soonest(
    const struct belay__gpu_record *record, belay_time began)
{
    const struct belay__gpu_hold *hold;
    int64_t soonest = 0;
    int64_t end;

    for (uint32_t i = 0; i < record->hold_count; i++) {
        hold = &record->holds[i];
        end = hold->end.ns - hold->waited.ns - began.ns;
        soonest = end > soonest ? end : soonest;
    }
    return belay_nanoseconds(soonest);
}
