/* lock.c - a lock for each slot: taken, given back, asked about.
 *
 * flock(), because the kernel drops it on any death, kill -9 included, and
 * because it belongs to the open file: another pool of this process is a
 * stranger too. It is only ever tried (LOCK_NB), so nothing here waits; the
 * files (lock_file.c) are expected on a local file system.
 */
#include "gpu/lock.h"

#include <errno.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define INTERRUPTIONS 100      /* of one call; then it has failed */
#define PAUSE_NS 10000000      /* for those to whom a lock was given */
#define PATIENCE_NS 1000000000 /* see belay__gpu_lock_patience_ns() */

/* ---- one lock ---- */

/* True: done. False: somebody else has it, or it cannot be. */
static bool
try_flock(int fd, int operation)
{
    int code = -1;

    for (int i = 0; i < INTERRUPTIONS; i++) {
        code = flock(fd, operation | LOCK_NB);
        if (code == 0 || errno != EINTR) {
            break;
        }
    }
    return code == 0;
}

bool
belay__gpu_lock_try(
    struct belay__gpu_locks *locks, struct belay__gpu_slot *slot, int64_t now)
{
    struct belay__gpu_lock *lock = &locks->slots[slot->index];

    if (lock->held) {
        return true;
    }
    if (belay__gpu_lock_open_files(locks, slot) < 0
        || !try_flock(lock->fd, LOCK_EX)) {
        return false;
    }
    lock->held = true;
    lock->since_ns = now;
    return true;
}

/* Each who waits has a shared lock on the second file. */
static bool
is_wanted(const struct belay__gpu_lock *lock)
{
    if (!try_flock(lock->want_fd, LOCK_EX)) {
        return true;
    }
    (void)try_flock(lock->want_fd, LOCK_UN);
    return false;
}

/* Unlocked first, and then a look at who waits: one who begins to wait says so
 * and then tries, so one of the two sees the other. Closing wakes them.
 */
void
belay__gpu_lock_give_back(
    struct belay__gpu_locks *locks, struct belay__gpu_slot *slot)
{
    struct belay__gpu_lock *lock = &locks->slots[slot->index];

    (void)try_flock(lock->fd, LOCK_UN);
    lock->held = false;
    lock->for_reset = false;
    if (is_wanted(lock)) {
        belay__gpu_lock_close_file(&lock->fd);
    }
}

void
belay__gpu_lock_want(
    struct belay__gpu_locks *locks, struct belay__gpu_slot *slot, bool want)
{
    struct belay__gpu_lock *lock = &locks->slots[slot->index];

    if (want && !lock->wanted && belay__gpu_lock_open_files(locks, slot) == 0) {
        lock->wanted = try_flock(lock->want_fd, LOCK_SH);
    } else if (!want && lock->wanted) {
        (void)try_flock(lock->want_fd, LOCK_UN);
        lock->wanted = false;
    }
}

/* ---- for grants ---- */

bool
belay__gpu_locks_take_all(
    belay_gpu_pool *pool, struct belay__gpu_slot *const *slots, uint32_t count)
{
    struct belay__gpu_locks *locks = pool->locks;
    const int64_t now = belay__gpu_now(pool);
    uint32_t taken = 0;

    while (taken < count) {
        locks->idle -= (uint32_t)locks->slots[slots[taken]->index].held;
        if (!belay__gpu_lock_try(locks, slots[taken], now)) {
            break;
        }
        taken++;
    }
    if (taken == count) {
        return true;
    }
    locks->idle += taken; /* given back when the turn is over */
    belay__gpu_slot_is_foreign(slots[taken], now);
    return false;
}

/* Our own would take it again in this turn, for ever, and a stranger never
 * get in: so it goes to those who wait elsewhere first.
 */
bool
belay__gpu_lock_keep(struct belay__gpu_slot *slot, int64_t now)
{
    belay_gpu_pool *pool = slot->pool;
    struct belay__gpu_locks *locks = pool->locks;
    struct belay__gpu_lock *lock = &locks->slots[slot->index];

    if (!lock->held) {
        return true;
    }
    if (pool->waiting == 0 || now - lock->since_ns < pool->opts.lock_keep.ns
        || !is_wanted(lock)) {
        lock->for_reset = false;
        locks->idle++;
        return true;
    }
    belay__gpu_lock_give_back(locks, slot);
    lock->not_before_ns = now + PAUSE_NS;
    return false;
}

void
belay__gpu_lock_taken_out(struct belay__gpu_slot *slot)
{
    struct belay__gpu_locks *locks = slot->pool->locks;

    if (locks != NULL && locks->slots[slot->index].held) {
        locks->slots[slot->index].for_reset = true;
        locks->idle--;
    }
}

bool
belay__gpu_lock_for_reset(struct belay__gpu_slot *slot, int64_t now)
{
    struct belay__gpu_locks *locks = slot->pool->locks;
    struct belay__gpu_lock *lock;

    if (locks == NULL || locks->slots[slot->index].held) {
        return true;
    }
    lock = &locks->slots[slot->index];
    lock->for_reset = belay__gpu_lock_try(locks, slot, now);
    if (lock->for_reset && lock->foreign) {
        belay__gpu_lock_was_foreign(slot);
    } else if (!lock->for_reset && !lock->foreign) {
        belay__gpu_lock_is_foreign(slot);
    }
    return lock->for_reset;
}

void
belay__gpu_lock_after_reset(struct belay__gpu_slot *slot)
{
    struct belay__gpu_locks *locks = slot->pool->locks;

    if (locks != NULL && locks->slots[slot->index].for_reset) {
        belay__gpu_lock_give_back(locks, slot);
    } else if (belay__gpu_lock_is_sought(slot)) {
        belay__gpu_lock_was_foreign(slot);
    }
}

void
belay__gpu_lock_leave(struct belay__gpu_slot *slot)
{
    struct belay__gpu_locks *locks = slot->pool->locks;

    if (locks != NULL && locks->slots[slot->index].held) {
        belay__gpu_lock_leave_file(locks, slot);
    }
}

/* Who had it before us may have been killed, and its driver may need a moment
 * to give back its memory (G42): 238 ms at most on an H200.
 */
uint64_t
belay__gpu_lock_patience_ns(const struct belay__gpu_slot *slot)
{
    const struct belay__gpu_locks *locks = slot->pool->locks;
    int64_t held;

    if (locks == NULL) {
        return 0;
    }
    held = belay__gpu_now(slot->pool) - locks->slots[slot->index].since_ns;
    return held < PATIENCE_NS ? (uint64_t)(PATIENCE_NS - held) : 0;
}

/* ---- all of them ---- */

const char *
belay__gpu_locks_check(const struct belay_gpu_pool_opts *opts)
{
    if (opts->lock_folder != NULL
        && strlen(opts->lock_folder) > BELAY__GPU_LOCK_FOLDER_MAX) {
        return "lock_folder is longer than 255 bytes";
    }
    if (opts->lock_folder != NULL && opts->lock_folder[0] == '\0') {
        return "lock_folder is empty";
    }
    return opts->lock_keep.ns < 0 ? "lock_keep is negative" : NULL;
}

int
belay__gpu_locks_open(
    belay_gpu_pool *pool, const struct belay_gpu_pool_opts *opts)
{
    struct belay__memory *memory = pool->runtime->memory;
    struct belay__gpu_locks *locks = belay__alloc_zero(memory, sizeof(*locks));
    int code;

    if (locks == NULL) {
        return BELAY_ENOMEM;
    }
    pool->locks = locks;
    locks->pool = pool;
    locks->inotify = -1;
    locks->random = (uv_hrtime() ^ (uint64_t)getpid() << 32) | 1;
    (void)snprintf(locks->folder, sizeof(locks->folder), "%s",
        belay__gpu_lock_folder(opts));
    locks->slots =
        belay__alloc_zero(memory, pool->slot_count * sizeof(*locks->slots));
    locks->count = locks->slots != NULL ? pool->slot_count : 0;
    for (uint32_t i = 0; i < locks->count; i++) {
        locks->slots[i] =
            (struct belay__gpu_lock){.fd = -1, .want_fd = -1, .watch = -1};
    }
    code = belay__gpu_locks_register(locks);
    return locks->slots != NULL && code == 0
               ? belay__gpu_locks_timer_init(locks)
               : BELAY_ENOMEM;
}

void
belay__gpu_locks_free(struct belay__gpu_locks *locks)
{
    struct belay__memory *memory;

    if (locks == NULL) {
        return;
    }
    memory = locks->pool->runtime->memory;
    belay__gpu_locks_unregister(locks);
    if (locks->inotify >= 0) {
        (void)close(locks->inotify);
    }
    belay__timer_fini(locks->pool->runtime, &locks->timer);
    belay__free(memory, locks->slots, locks->count * sizeof(*locks->slots));
    belay__free(memory, locks, sizeof(*locks));
}
