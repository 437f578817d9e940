/* gpu_model.c - the reference model of the dispatch. */
#include "test/support/gpu_model.h"

#include <string.h>

#include "gpu/internal.h"

/* ---- where a request fits: try every device, keep the best ---- */

static uint64_t
need(const struct gpu_model *model, uint32_t device, uint64_t bytes)
{
    return bytes != 0
               ? bytes
               : model->devices[device].capacity / model->devices[device].slots;
}

/* The slot to take on a device, or -1 if the request does not fit there. */
static int64_t
slot_for(const struct gpu_model *model, uint32_t device,
    const struct gpu_model_request *request)
{
    const uint32_t first = model->devices[device].first;
    const int64_t last = model->last[request->priority];
    int64_t found = -1;

    if (model->reserved != 0 && model->reserved != request->number
        && (model->reserved_devices >> device & 1) != 0) {
        return -1;
    }
    if (model->devices[device].leased + need(model, device, request->bytes)
        > model->devices[device].capacity) {
        return -1;
    }
    for (uint32_t s = first; s < first + model->devices[device].slots; s++) {
        if (!model->slots[s].busy && (found < 0 || s == last)) {
            found = s;
        }
    }
    return found;
}

static bool
place(const struct gpu_model *model, const struct gpu_model_request *request,
    uint32_t *slots)
{
    bool taken[BELAY_GPU_DEVICES_MAX] = {false};
    uint64_t best_free;
    uint64_t free_bytes;
    int64_t best;
    int64_t slot;
    bool last;

    for (uint32_t n = 0; n < request->devices; n++) {
        best = -1;
        best_free = 0;
        last = false;
        for (uint32_t d = 0; d < model->device_count; d++) {
            slot = slot_for(model, d, request);
            free_bytes = model->devices[d].capacity - model->devices[d].leased;
            if (taken[d] || slot < 0) {
                continue;
            }
            if (best < 0 || free_bytes < best_free
                || (free_bytes == best_free && !last
                    && slot == model->last[request->priority])) {
                best = d;
                best_free = free_bytes;
                last = slot == model->last[request->priority];
                slots[n] = (uint32_t)slot;
            }
        }
        if (best < 0) {
            return false;
        }
        taken[best] = true;
    }
    return true;
}

/* ---- whose turn it is ---- */

static bool
same_bucket(
    const struct gpu_model_request *a, const struct gpu_model_request *b)
{
    return belay__gpu_bucket_of(a->bytes, a->devices)
           == belay__gpu_bucket_of(b->bytes, b->devices);
}

/* Of a priority, the oldest waiter that fits and has none of its bucket before
 * it; -1: none.
 */
static int
choose_in(const struct gpu_model *model, const belay_gpu_pool *pool,
    uint32_t priority, uint32_t *slots)
{
    const struct gpu_model_request *at;
    bool first;
    bool any = false;

    for (uint32_t i = 0; i < model->waiting; i++) {
        at = &model->waiters[i];
        if (at->priority != priority) {
            continue;
        }
        first = true;
        for (uint32_t j = 0; j < i; j++) {
            first = first
                    && (model->waiters[j].priority != priority
                        || !same_bucket(&model->waiters[j], at));
        }
        if (pool->opts.policy == BELAY_GPU_FIFO && any) {
            return -1;
        }
        any = true;
        if (first && place(model, at, slots)) {
            return (int)i;
        }
    }
    return -1;
}

static int
oldest_of(const struct gpu_model *model, uint32_t priority)
{
    for (uint32_t i = 0; i < model->waiting; i++) {
        if (model->waiters[i].priority == priority) {
            return (int)i;
        }
    }
    return -1;
}

/* The next priority in turn that is not in `done`; -1: none. */
static int
next_turn(
    const struct gpu_model *model, const belay_gpu_pool *pool, uint32_t done)
{
    int next = -1;

    for (int p = BELAY_GPU_PRIORITIES - 1; p >= 0; p--) {
        if ((done >> p & 1) == 0 && oldest_of(model, (uint32_t)p) >= 0
            && (next < 0
                || (!pool->opts.strict
                    && model->pass[p] < model->pass[next]))) {
            next = p;
        }
    }
    return next;
}

/* The waiter to be granted now, with its slots; -1: none. With `commit` those
 * who are passed over are counted, and who is due of them is given.
 */
static int
choose(struct gpu_model *model, const belay_gpu_pool *pool, uint32_t *slots,
    bool commit, uint64_t *ret_due)
{
    uint32_t done = 0;
    uint32_t in_vain[BELAY_GPU_PRIORITIES];
    uint32_t vain = 0;
    int chosen = -1;
    int oldest;
    int p;

    *ret_due = 0;
    for (uint32_t i = 0; i < model->waiting; i++) {
        if (model->waiters[i].number == model->reserved
            && place(model, &model->waiters[i], slots)) {
            return (int)i;
        }
    }
    while (chosen < 0 && (p = next_turn(model, pool, done)) >= 0) {
        done |= 1U << p;
        chosen = choose_in(model, pool, (uint32_t)p, slots);
        in_vain[vain++] = (uint32_t)p;
        if (pool->opts.policy == BELAY_GPU_FIFO) {
            break;
        }
    }
    if (chosen < 0 || !commit) {
        return chosen;
    }
    for (uint32_t i = 0; i < vain; i++) {
        oldest = oldest_of(model, in_vain[i]);
        if (i + 1 < vain && model->pass[in_vain[i]] < model->pass[p]) {
            model->pass[in_vain[i]] = model->pass[p];
        }
        if (oldest == chosen
            || model->waiters[oldest].number == model->reserved) {
            continue;
        }
        model->overtakes++;
        if (++model->waiters[oldest].overtaken >= pool->opts.overtakes
            && *ret_due == 0 && pool->opts.policy == BELAY_GPU_RESERVE) {
            *ret_due = model->waiters[oldest].number;
        }
    }
    return chosen;
}

/* ---- following the pool ---- */

#define AGREE(condition, a, b)                                             \
    do {                                                                   \
        if (!(condition)) {                                                \
            gpu_oracle_fail(                                               \
                pool, "model: " #condition, (uint64_t)(a), (uint64_t)(b)); \
        }                                                                  \
    } while (0)

void
gpu_model_init(struct gpu_model *model, const belay_gpu_pool *pool)
{
    memset(model, 0, sizeof(*model));
    model->device_count = pool->device_count;
    for (uint32_t i = 0; i < pool->device_count; i++) {
        model->devices[i].capacity = pool->devices[i].capacity;
        model->devices[i].first = pool->devices[i].slots[0].index;
        model->devices[i].slots = pool->devices[i].slot_count;
    }
    for (int i = 0; i < BELAY_GPU_PRIORITIES; i++) {
        model->last[i] = -1;
    }
    model->cursor = pool->ring_count;
}

static void
add(struct gpu_model *model, const belay_gpu_pool *pool)
{
    const uint32_t priority = model->newcomer.priority;

    AGREE(model->waiting < MODEL_WAITERS, model->waiting, 0);
    if (oldest_of(model, priority) < 0
        && model->pass[priority] < model->now_pass) {
        model->pass[priority] = model->now_pass;
    }
    model->waiters[model->waiting++] = model->newcomer;
    model->newcomer.number = 0;
}

static void
drop(struct gpu_model *model, uint32_t at)
{
    if (model->waiters[at].number == model->reserved) {
        model->reserved = 0;
        model->reserved_devices = 0;
    }
    model->waiting--;
    memmove(&model->waiters[at], &model->waiters[at + 1],
        (model->waiting - at) * sizeof(model->waiters[0]));
}

/* The most free devices that it needs: bytes first, then slots, then index. */
static void
reserve(struct gpu_model *model, uint64_t number)
{
    const struct gpu_model_request *request = NULL;
    uint64_t best_key;
    uint64_t key;
    int best;

    for (uint32_t i = 0; i < model->waiting; i++) {
        if (model->waiters[i].number == number) {
            request = &model->waiters[i];
        }
    }
    if (request == NULL || model->reserved != 0) {
        return;
    }
    for (uint32_t n = 0; n < request->devices; n++) {
        best = -1;
        best_key = 0;
        for (uint32_t d = 0; d < model->device_count; d++) {
            if ((model->reserved_devices >> d & 1) != 0
                || need(model, d, request->bytes)
                       > model->devices[d].capacity) {
                continue;
            }
            key = 0;
            for (uint32_t s = 0; s < model->devices[d].slots; s++) {
                key += !model->slots[model->devices[d].first + s].busy;
            }
            key += (model->devices[d].capacity - model->devices[d].leased)
                   * (BELAY_GPU_SLOTS_MAX + 1);
            if (best < 0 || key > best_key) {
                best = (int)d;
                best_key = key;
            }
        }
        model->reserved_devices |= UINT64_C(1) << best;
    }
    model->reserved = number;
}

static uint32_t
device_of(const struct gpu_model *model, uint32_t slot)
{
    uint32_t device = 0;

    while (
        slot >= model->devices[device].first + model->devices[device].slots) {
        device++;
    }
    return device;
}

static void
charge(struct gpu_model *model, uint32_t priority)
{
    if (model->pass[priority] < model->now_pass) {
        model->pass[priority] = model->now_pass;
    }
    model->now_pass = model->pass[priority];
    model->pass[priority] += 128U >> priority;
}

/* The first slot of a lease is granted: it must be the one that is foreseen. */
static void
begin_grant(struct gpu_model *model, const belay_gpu_pool *pool,
    const struct belay_gpu_event *event)
{
    struct gpu_model_request request;
    uint64_t due;
    uint32_t device;
    int at;

    if (model->newcomer.number == event->lease) {
        if (model->waiting == 0) {
            due = 0;
            AGREE(
                place(model, &model->newcomer, model->chosen), event->lease, 0);
            request = model->newcomer;
            model->newcomer.number = 0;
            goto take;
        }
        add(model, pool);
    }
    at = choose(model, pool, model->chosen, true, &due);
    AGREE(at >= 0, event->lease, model->waiting);
    request = model->waiters[at];
    AGREE(request.number == event->lease, request.number, event->lease);
    drop(model, (uint32_t)at);
take:
    model->expected = event->lease;
    model->chosen_count = request.devices;
    model->chosen_seen = 0;
    for (uint32_t i = 0; i < request.devices; i++) {
        device = device_of(model, model->chosen[i]);
        model->slots[model->chosen[i]].busy = true;
        model->slots[model->chosen[i]].bytes =
            need(model, device, request.bytes);
        model->devices[device].leased += model->slots[model->chosen[i]].bytes;
    }
    model->last[request.priority] = model->chosen[0];
    charge(model, request.priority);
    reserve(model, due);
    model->grants++;
}

static void
follow_grant(struct gpu_model *model, const belay_gpu_pool *pool,
    const struct belay_gpu_event *event)
{
    if (model->expected != event->lease
        || model->chosen_seen == model->chosen_count) {
        AGREE(model->chosen_seen == model->chosen_count, event->lease, 0);
        begin_grant(model, pool, event);
    }
    AGREE(model->chosen[model->chosen_seen] == event->slot, event->slot,
        model->chosen[model->chosen_seen]);
    model->chosen_seen++;
}

static void
follow_end(struct gpu_model *model, const struct belay_gpu_event *event)
{
    if (model->newcomer.number == event->lease) {
        model->newcomer.number = 0;
    }
    for (uint32_t i = 0; i < model->waiting; i++) {
        if (model->waiters[i].number == event->lease) {
            drop(model, i);
            return;
        }
    }
}

static void
follow_one(struct gpu_model *model, const belay_gpu_pool *pool,
    const struct belay_gpu_event *event)
{
    uint32_t device;

    switch ((enum belay_gpu_event_kind)event->kind) {
    case BELAY_GPU_EVENT_REQUEST:
        model->newcomer = (struct gpu_model_request){
            event->lease, event->detail, event->devices, event->priority, 0};
        break;
    case BELAY_GPU_EVENT_WAIT:
        AGREE(model->newcomer.number == event->lease, event->lease, 0);
        add(model, pool);
        break;
    case BELAY_GPU_EVENT_GRANT:
        follow_grant(model, pool, event);
        break;
    case BELAY_GPU_EVENT_NO_GRANT:
        follow_end(model, event);
        break;
    case BELAY_GPU_EVENT_OVERTAKE:
        model->overtakes_seen++;
        break;
    case BELAY_GPU_EVENT_SLOT:
        if (event->detail == BELAY_GPU_SLOT_FREE) {
            device = device_of(model, event->slot);
            AGREE(model->slots[event->slot].busy, event->slot, 0);
            model->slots[event->slot].busy = false;
            model->devices[device].leased -= model->slots[event->slot].bytes;
        }
        break;
    case BELAY_GPU_EVENT_TRY_FAILED:
    case BELAY_GPU_EVENT_RESERVE:
    case BELAY_GPU_EVENT_UNRESERVE:
    case BELAY_GPU_EVENT_OP_BEGIN:
    case BELAY_GPU_EVENT_OP_END:
    case BELAY_GPU_EVENT_LEAK:
    case BELAY_GPU_EVENT_RESET:
    case BELAY_GPU_EVENT_CLOSE:
        break;
    }
}

void
gpu_model_follow(struct gpu_model *model, const belay_gpu_pool *pool)
{
    uint32_t slots[BELAY_GPU_DEVICES_MAX];
    struct belay_gpu_event event;
    uint64_t lost;
    uint64_t due;

    while (belay_gpu_events(pool, &model->cursor, &event, 1, &lost) == 1) {
        AGREE(lost == 0, lost, model->cursor);
        follow_one(model, pool, &event);
    }
    AGREE(model->waiting == pool->waiting, model->waiting, pool->waiting);
    AGREE(model->overtakes == model->overtakes_seen, model->overtakes,
        model->overtakes_seen);
    AGREE(model->reserved
              == (pool->reserved != NULL ? pool->reserved->number : 0),
        model->reserved, model->reserved_devices);
    AGREE(model->reserved_devices == pool->reserved_devices,
        model->reserved_devices, pool->reserved_devices);
    /* Nobody waits who is to be served. */
    AGREE(choose(model, pool, slots, false, &due) < 0, model->waiting, 0);
}
