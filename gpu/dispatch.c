/* dispatch.c - who is granted what.
 *
 * After every dispatch this holds: nothing that waits could be granted by the
 * rules. So a newcomer may only be granted what those before it cannot use,
 * and a request that is not the newcomer's need not be looked at when nothing
 * has been given back.
 *
 * A request whose turn it is but which does not fit is passed over: others may
 * go before it, `overtakes` times. Then devices are kept free for it, and
 * nobody else is granted there; those that hold them leave one by one, so its
 * wait is bounded by the longest of their holds (G5).
 */
#include "gpu/lock.h"

/* The slots are the request's from this moment on, before its task runs. */
static void
grant(belay_gpu_pool *pool, struct belay__gpu_request *request,
    struct belay__gpu_slot **slots, int64_t now)
{
    const uint64_t waited =
        request->waiting ? (uint64_t)(now - request->asked_ns) : 0;
    struct belay__gpu_slot *slot;

    if (pool->reserved == request) {
        belay__gpu_unreserve(pool);
    }
    for (uint32_t i = 0; i < request->devices; i++) {
        slot = slots[i];
        belay__gpu_slot_take(
            slot, belay__gpu_need(slot->device, request->bytes), now);
        belay__gpu_note(pool, BELAY_GPU_EVENT_GRANT, now,
            &(const struct belay_gpu_event){
                .lease = request->number,
                .task_id = belay_task_id(request->task),
                .detail = waited,
                .slot = slot->index,
                .priority = request->priority,
            });
    }
    belay__gpu_lease_begin(pool, request, slots, now);
    pool->classes[request->priority].last = slots[0];
    belay__gpu_queue_charge(pool, request->priority);
    pool->grants++;
}

static void
count_wait(belay_gpu_pool *pool, const struct belay__gpu_request *request)
{
    struct belay_gpu_priority_stats *stats =
        &pool->classes[request->priority].stats;
    const int64_t waited = request->lease->held_ns - request->asked_ns;
    const uint32_t bucket =
        waited > 0 ? 64 - (uint32_t)__builtin_clzll((uint64_t)waited) : 0;

    stats->waited++;
    stats->wait_buckets[bucket]++;
    if (waited > stats->wait_max.ns) {
        stats->wait_max.ns = waited;
    }
}

/* ---- keeping devices free ---- */

static void
note_reservation(
    belay_gpu_pool *pool, enum belay_gpu_event_kind kind, int64_t now)
{
    for (uint64_t bits = pool->reserved_devices; bits != 0; bits &= bits - 1) {
        belay__gpu_note(pool, kind, now,
            &(const struct belay_gpu_event){
                .lease = pool->reserved->number,
                .task_id = belay_task_id(pool->reserved->task),
                .slot = pool->devices[__builtin_ctzll(bits)].slots[0].index,
                .priority = pool->reserved->priority,
            });
    }
}

void
belay__gpu_unreserve(belay_gpu_pool *pool)
{
    struct belay_gpu_priority_stats *stats;
    const int64_t now = belay__gpu_now(pool);

    if (pool->reserved == NULL) {
        return;
    }
    stats = &pool->classes[pool->reserved->priority].stats;
    stats->reserved_time.ns += now - pool->reserved_since_ns;
    note_reservation(pool, BELAY_GPU_EVENT_UNRESERVE, now);
    pool->reserved = NULL;
    pool->reserved_devices = 0;
}

/* For one at a time, and after the grant that was the last to pass it over.
 * Without enough devices in service it stays passed over. NULL is fine.
 */
static void
reserve(belay_gpu_pool *pool, struct belay__gpu_request *request)
{
    uint64_t devices;

    if (request == NULL || pool->reserved != NULL) {
        return;
    }
    devices = belay__gpu_reservation(pool, request);
    if (devices == 0) {
        return;
    }
    pool->reserved = request;
    pool->reserved_devices = devices;
    pool->reserved_since_ns = belay__gpu_now(pool);
    pool->classes[request->priority].stats.reserved++;
    note_reservation(pool, BELAY_GPU_EVENT_RESERVE, pool->reserved_since_ns);
}

/* True: it has been passed over often enough. */
static bool
pass_over(belay_gpu_pool *pool, struct belay__gpu_request *request)
{
    if (request == pool->reserved) {
        return false;
    }
    request->overtaken++;
    pool->classes[request->priority].stats.overtaken++;
    belay__gpu_note(pool, BELAY_GPU_EVENT_OVERTAKE, belay__gpu_now(pool),
        &(const struct belay_gpu_event){
            .lease = request->number,
            .task_id = belay_task_id(request->task),
            .slot = BELAY_GPU_NO_SLOT,
            .priority = request->priority,
        });
    return pool->opts.policy == BELAY_GPU_RESERVE
           && request->overtaken >= pool->opts.overtakes;
}

/* ---- choosing ---- */

static void
copy_slots(struct belay__gpu_slot **to, struct belay__gpu_slot *const *from,
    uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        to[i] = from[i];
    }
}

/* Of one priority, the oldest that fits and stands first in its bucket. */
static struct belay__gpu_request *
choose_in(const belay_gpu_pool *pool, const struct belay__gpu_class *class,
    struct belay__gpu_slot **slots)
{
    struct belay__gpu_slot *found[BELAY_GPU_DEVICES_MAX];
    struct belay__gpu_request *best = NULL;
    struct belay__gpu_request *head;

    if (pool->opts.policy == BELAY_GPU_FIFO) {
        head = belay__gpu_queue_oldest(class);
        return belay__gpu_place(pool, head, slots) ? head : NULL;
    }
    for (uint32_t word = 0; word < 3; word++) {
        for (uint64_t bits = class->filled[word]; bits != 0; bits &= bits - 1) {
            head = class->buckets[word * 64 + (uint32_t)__builtin_ctzll(bits)]
                       .first;
            if (best == NULL) { /* nothing is in the slots that counts */
                best = belay__gpu_place(pool, head, slots) ? head : NULL;
            } else if (head->number < best->number
                       && belay__gpu_place(pool, head, found)) {
                best = head;
                copy_slots(slots, found, head->devices);
            }
        }
    }
    return best;
}

/* What is next: the first priority, in the order of their turns, that has
 * something that fits. NULL: nothing. `ret_order` and `ret_turn` tell which
 * priorities came before it in vain.
 */
static struct belay__gpu_request *
choose(const belay_gpu_pool *pool, struct belay__gpu_slot **slots,
    uint8_t ret_order[BELAY_GPU_PRIORITIES], uint32_t *ret_turn)
{
    const uint32_t count = belay__gpu_queue_order(pool, ret_order);
    struct belay__gpu_request *request = NULL;

    for (uint32_t turn = 0; turn < count && request == NULL; turn++) {
        *ret_turn = turn;
        request = choose_in(pool, &pool->classes[ret_order[turn]], slots);
        if (pool->opts.policy == BELAY_GPU_FIFO) {
            break;
        }
    }
    return request;
}

/* Those whose turn it was before: nothing of theirs fits. A priority has no
 * claim to the turns in which it could not use them, as one that is empty.
 * Gives the first that is not to be passed over again, or NULL.
 */
static struct belay__gpu_request *
pass_over_before(belay_gpu_pool *pool, const struct belay__gpu_request *chosen,
    const uint8_t *order, uint32_t turn)
{
    struct belay__gpu_request *due = NULL;
    struct belay__gpu_request *oldest;
    struct belay__gpu_class *class;

    for (uint32_t i = 0; i <= turn; i++) {
        class = &pool->classes[order[i]];
        oldest = belay__gpu_queue_oldest(class);
        if (i < turn && class->pass < pool->classes[order[turn]].pass) {
            class->pass = pool->classes[order[turn]].pass;
        }
        if (oldest != chosen && pass_over(pool, oldest) && due == NULL) {
            due = oldest;
        }
    }
    return due;
}

/* Are the slots ours? No: another process has one, which is not FREE any more;
 * so there is an end to asking.
 */
static bool
take_locks(belay_gpu_pool *pool, const struct belay__gpu_request *request,
    struct belay__gpu_slot *const *slots)
{
    return pool->locks == NULL
           || belay__gpu_locks_take_all(pool, slots, request->devices);
}

/* Grants one request, if there is one to grant, and gives it. */
static struct belay__gpu_request *
serve_one(belay_gpu_pool *pool)
{
    struct belay__gpu_slot *slots[BELAY_GPU_DEVICES_MAX];
    struct belay__gpu_request *request;
    struct belay__gpu_request *due = NULL;
    uint8_t order[BELAY_GPU_PRIORITIES];
    uint32_t turn = 0;
    bool chosen;

    do {
        request = pool->reserved;
        chosen = request == NULL || !belay__gpu_place(pool, request, slots);
        if (chosen) {
            request = choose(pool, slots, order, &turn);
        }
        if (request == NULL) {
            return NULL;
        }
    } while (!take_locks(pool, request, slots));
    if (chosen) {
        due = pass_over_before(pool, request, order, turn);
    }
    grant(pool, request, slots, belay__gpu_now(pool));
    count_wait(pool, request);
    belay__gpu_queue_remove(pool, request);
    reserve(pool, due);
    return request;
}

void
belay__gpu_dispatch(belay_gpu_pool *pool)
{
    struct belay__gpu_request *request;

    while (pool->waiting > 0 && pool->slots_free > 0) {
        request = serve_one(pool);
        if (request == NULL) {
            break;
        }
        belay__wake(request->task, 0, NULL);
    }
}

void
belay__gpu_note_request(
    belay_gpu_pool *pool, const struct belay__gpu_request *request, int64_t now)
{
    belay__gpu_note(pool, BELAY_GPU_EVENT_REQUEST, now,
        &(const struct belay_gpu_event){
            .lease = request->number,
            .task_id = belay_task_id(request->task),
            .detail = request->bytes,
            .slot = BELAY_GPU_NO_SLOT,
            .priority = request->priority,
            .devices = request->devices,
        });
}

/* Nobody may barge: is there anybody whom the newcomer would overtake against
 * the rules?
 */
static bool
is_next(const belay_gpu_pool *pool, const struct belay__gpu_request *request)
{
    const struct belay__gpu_class *class = &pool->classes[request->priority];

    return pool->opts.policy != BELAY_GPU_FIFO
           && class->buckets[request->bucket].first == NULL;
}

/* A place that is free now. What other processes had may be free by now, but
 * is for those who wait, if somebody does.
 */
static bool
find_now(belay_gpu_pool *pool, const struct belay__gpu_request *request,
    struct belay__gpu_slot **slots)
{
    if (pool->locks != NULL && pool->waiting == 0) {
        (void)belay__gpu_locks_retry(pool->locks);
    }
    while (belay__gpu_place(pool, request, slots)) {
        if (take_locks(pool, request, slots)) {
            return true;
        }
    }
    return false;
}

/* A newcomer that fits passes others over as if it had waited, for no time. */
static __attribute__((noinline)) struct belay__gpu_request *
pass_over_for(belay_gpu_pool *pool, struct belay__gpu_request *newcomer)
{
    struct belay__gpu_slot *slots[BELAY_GPU_DEVICES_MAX];
    struct belay__gpu_request *due;
    uint8_t order[BELAY_GPU_PRIORITIES];
    uint32_t turn = 0;

    belay__gpu_queue_push(pool, newcomer);
    (void)choose(pool, slots, order, &turn);
    due = pass_over_before(pool, newcomer, order, turn);
    belay__gpu_queue_remove(pool, newcomer);
    return due;
}

bool
belay__gpu_admit(belay_gpu_pool *pool, struct belay__gpu_request *request)
{
    struct belay__gpu_slot *slots[BELAY_GPU_DEVICES_MAX];
    struct belay__gpu_request *due = NULL;
    int64_t now;

    if (pool->waiting > 0 && !is_next(pool, request)) {
        return false;
    }
    if (!find_now(pool, request, slots)) {
        belay__gpu_locks_settle(pool);
        return false;
    }
    now = belay__gpu_now(pool);
    belay__gpu_note_request(pool, request, now);
    if (pool->waiting > 0) {
        due = pass_over_for(pool, request);
    }
    grant(pool, request, slots, now);
    pool->classes[request->priority].stats.immediate++;
    reserve(pool, due);
    belay__gpu_locks_settle(pool);
    return true;
}

/* ---- without a grant ---- */

void
belay__gpu_withdraw(belay_gpu_pool *pool, struct belay__gpu_request *request)
{
    if (pool->reserved == request) {
        belay__gpu_unreserve(pool);
    }
    belay__gpu_queue_remove(pool, request);
}

static void
refuse(belay_gpu_pool *pool, struct belay__gpu_request *request, int code)
{
    belay__gpu_withdraw(pool, request);
    belay__gpu_count_refusal(pool, request, code);
    belay__wake(request->task, code, NULL);
}

void
belay__gpu_refuse_all(belay_gpu_pool *pool, int code)
{
    struct belay__gpu_request *request;

    while ((request = belay__gpu_queue_first(pool)) != NULL) {
        refuse(pool, request, code);
    }
}

static void
refuse_unsatisfiable_in(
    belay_gpu_pool *pool, const struct belay__gpu_bucket *bucket)
{
    struct belay__gpu_request *request = bucket->first;
    struct belay__gpu_request *next;
    int code;

    for (; request != NULL; request = next) {
        next = request->next;
        code = belay__gpu_satisfiable(pool, request->bytes, request->devices);
        if (code < 0) {
            refuse(pool, request, code);
        }
    }
}

/* Rare: a device was lost, or has less memory than was thought. */
void
belay__gpu_refuse_unsatisfiable(belay_gpu_pool *pool)
{
    for (uint32_t i = 0; i < BELAY_GPU_PRIORITIES; i++) {
        for (uint32_t b = 0; b < BELAY__GPU_BUCKETS; b++) {
            refuse_unsatisfiable_in(pool, &pool->classes[i].buckets[b]);
        }
    }
}
