/* lock_wait.c - waiting for slots that other processes have.
 *
 * Tries again when a lock file is closed (inotify; uv_fs_event has no such
 * event), and after a while anyhow: the kernel tells of the close before it
 * drops the lock, and a system may have no inotify to give. All of it goes on
 * only while somebody here waits for a slot and the lock of one is foreign.
 */
#include "gpu/lock.h"

#include <sys/inotify.h>
#include <unistd.h>

#define SOON_NS 1000000
#define RETRY_MIN_NS 50000000
#define RETRY_SPREAD_NS 150000000 /* so that processes do not try in step */

/* ---- trying again ---- */

/* A lock that is not foreign is not looked after any more. */
static void
lose_sight(struct belay__gpu_locks *locks, struct belay__gpu_slot *slot)
{
    struct belay__gpu_lock *lock = &locks->slots[slot->index];

    belay__gpu_lock_want(locks, slot, false);
    if (lock->watch >= 0) {
        (void)inotify_rm_watch(locks->inotify, lock->watch);
        lock->watch = -1;
    }
    locks->unseen -= (uint32_t)!lock->in_sight;
    lock->in_sight = false;
}

/* That we wait has to be said again if it could not be said at first: a holder
 * who asked in that moment whether anybody waits had the file to himself.
 */
bool
belay__gpu_locks_retry(struct belay__gpu_locks *locks)
{
    belay_gpu_pool *pool = locks->pool;
    const int64_t now = belay__gpu_now(pool);
    struct belay__gpu_slot *slot;
    struct belay__gpu_lock *lock;
    bool any = false;

    for (uint32_t i = 0; i < locks->count && locks->foreign > 0; i++) {
        slot = &pool->slots[i];
        lock = &locks->slots[i];
        if (lock->in_sight) {
            belay__gpu_lock_want(locks, slot, true);
        }
        if (lock->foreign && lock->not_before_ns <= now
            && belay__gpu_lock_try(locks, slot, now)) {
            locks->idle += slot->state == BELAY_GPU_SLOT_FOREIGN;
            lock->for_reset = slot->state != BELAY_GPU_SLOT_FOREIGN;
            belay__gpu_lock_was_foreign(slot);
            belay__gpu_slot_is_ours(slot, now);
            any = true;
        }
    }
    return any;
}

static int64_t
jittered(struct belay__gpu_locks *locks)
{
    uint64_t x = locks->random; /* xorshift */

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    locks->random = x;
    return RETRY_MIN_NS + (int64_t)(x % RETRY_SPREAD_NS);
}

static void
retry_in(struct belay__gpu_locks *locks, int64_t span_ns)
{
    belay__timer_start(locks->pool->runtime, &locks->timer,
        belay__gpu_now(locks->pool) + span_ns);
}

/* What nothing tells of: a slot that was given to others is ours again when
 * their time is up and they have not come for it, and that we wait can be said.
 */
static int64_t
sooner_if_due(const struct belay__gpu_locks *locks, int64_t span_ns)
{
    const int64_t now = belay__gpu_now(locks->pool);
    const struct belay__gpu_lock *lock;
    int64_t left_ns;

    for (uint32_t i = 0; i < locks->count && locks->foreign > 0; i++) {
        lock = &locks->slots[i];
        if (!lock->in_sight) {
            continue;
        }
        left_ns = lock->not_before_ns - now;
        if (left_ns > 0 && left_ns < span_ns) {
            span_ns = left_ns;
        }
        if (!lock->wanted && lock->want_fd >= 0 && span_ns > SOON_NS) {
            span_ns = SOON_NS;
        }
    }
    return span_ns;
}

static void
retry_now(struct belay__gpu_locks *locks, int64_t else_in_ns)
{
    const bool any = belay__gpu_locks_retry(locks);

    retry_in(locks, sooner_if_due(locks, else_in_ns));
    if (any) {
        belay__gpu_changed(locks->pool);
    }
}

static void
on_timer(struct belay__timer *timer)
{
    struct belay__gpu_locks *locks =
        BELAY__CONTAINER(timer, struct belay__gpu_locks, timer);

    retry_now(locks, jittered(locks));
}

/* What happened is not read: which file it was would save nothing. */
static void
on_inotify(uv_poll_t *poll, int status, int events)
{
    struct belay__gpu_locks *locks = poll->data;
    char bytes[4096];

    (void)status;
    (void)events;
    while (read(locks->inotify, bytes, sizeof(bytes)) > 0) {
    }
    if (locks->watching) {
        retry_now(locks, SOON_NS); /* the lock is dropped after the close */
    }
}

/* ---- beginning and ending to wait ---- */

/* None is no failure: then there is the timer. */
static void
open_inotify(struct belay__gpu_locks *locks)
{
    uv_loop_t *loop = belay_runtime_loop(locks->pool->runtime);

    if (locks->inotify < 0) {
        locks->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    }
    if (locks->inotify >= 0 && !locks->polling
        && uv_poll_init(loop, &locks->poll, locks->inotify) == 0) {
        locks->poll.data = locks;
        locks->polling = true;
        uv_unref((uv_handle_t *)&locks->poll);
    }
    if (locks->polling) {
        (void)uv_poll_start(&locks->poll, UV_READABLE, on_inotify);
    }
}

static void
catch_sight(struct belay__gpu_locks *locks, struct belay__gpu_slot *slot)
{
    struct belay__gpu_lock *lock = &locks->slots[slot->index];
    char path[BELAY__GPU_LOCK_FOLDER_MAX + 128];

    lock->in_sight = true;
    locks->unseen--;
    belay__gpu_lock_want(locks, slot, true);
    if (locks->inotify >= 0) {
        belay__gpu_lock_path(locks, slot, path, sizeof(path));
        lock->watch = inotify_add_watch(locks->inotify, path, IN_CLOSE_WRITE);
    }
}

/* Those that have become foreign since; each may have come free before it was
 * watched, so the first try is soon.
 */
static void
watch(struct belay__gpu_locks *locks)
{
    struct belay__gpu_slot *slot;

    if (!locks->watching) {
        locks->watching = true;
        open_inotify(locks);
    }
    for (uint32_t i = 0; i < locks->count && locks->unseen > 0; i++) {
        slot = &locks->pool->slots[i];
        if (locks->slots[i].foreign && !locks->slots[i].in_sight) {
            catch_sight(locks, slot);
        }
    }
    retry_in(locks, SOON_NS);
}

/* They stay foreign until somebody asks for a slot again. */
static void
unwatch(struct belay__gpu_locks *locks)
{
    struct belay__gpu_slot *slot;

    locks->watching = false;
    belay__timer_stop(locks->pool->runtime, &locks->timer);
    if (locks->polling) {
        (void)uv_poll_stop(&locks->poll);
    }
    for (uint32_t i = 0; i < locks->count; i++) {
        slot = &locks->pool->slots[i];
        if (locks->slots[i].in_sight) {
            lose_sight(locks, slot);
            locks->unseen++; /* it is foreign still */
        }
    }
}

static void
give_back_idle(struct belay__gpu_locks *locks)
{
    struct belay__gpu_slot *slot;

    for (uint32_t i = 0; i < locks->count && locks->idle > 0; i++) {
        slot = &locks->pool->slots[i];
        if (slot->state == BELAY_GPU_SLOT_FREE && locks->slots[i].held) {
            belay__gpu_lock_give_back(locks, slot);
            locks->idle--;
        }
    }
}

void
belay__gpu_locks_settle_all(struct belay__gpu_locks *locks)
{
    give_back_idle(locks);
    if (locks->pool->waiting == 0 || locks->foreign == 0) {
        if (locks->watching) {
            unwatch(locks);
        }
    } else if (!locks->watching || locks->unseen > 0) {
        watch(locks);
    }
}

void
belay__gpu_lock_was_foreign(struct belay__gpu_slot *slot)
{
    struct belay__gpu_locks *locks = slot->pool->locks;

    lose_sight(locks, slot);
    locks->slots[slot->index].foreign = false;
    locks->foreign--;
}

void
belay__gpu_lock_is_foreign(struct belay__gpu_slot *slot)
{
    struct belay__gpu_locks *locks = slot->pool->locks;

    locks->slots[slot->index].foreign = true;
    locks->foreign++;
    locks->unseen++;
}

/* ---- when the pool is left ---- */

static void
on_closed(uv_handle_t *handle)
{
    struct belay__gpu_locks *locks = handle->data;

    locks->polling = false;
    locks->closed_fn(locks->closed_arg);
}

void
belay__gpu_locks_close(
    struct belay__gpu_locks *locks, void (*closed)(void *arg), void *arg)
{
    if (locks->watching) {
        unwatch(locks);
    }
    if (!locks->polling) {
        closed(arg);
        return;
    }
    locks->closed_fn = closed;
    locks->closed_arg = arg;
    uv_close((uv_handle_t *)&locks->poll, on_closed);
}

int
belay__gpu_locks_timer_init(struct belay__gpu_locks *locks)
{
    return belay__timer_init(locks->pool->runtime, &locks->timer, on_timer);
}
