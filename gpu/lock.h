/* lock.h - slots that one process at a time has (private).
 *
 * For each slot of an exclusive pool there are two files in a folder:
 *
 *   belay-gpu-<device>-<slot>.lock  locked (flock) by who has a lease there
 *   belay-gpu-<device>-<slot>.want  locked, shared, by those who wait for it
 *
 * The kernel drops both on any death. A slot whose lock another process has is
 * FOREIGN: in service, but not free. docs/design/gpu-locks.md tells why.
 */
#ifndef BELAY_GPU_LOCK_H
#define BELAY_GPU_LOCK_H

#include "gpu/internal.h"

#define BELAY__GPU_LOCK_FOLDER_MAX 255

struct belay__gpu_lock {
    int fd;         /* of the .lock file; -1: not open */
    int want_fd;    /* of the .want file; the same */
    int watch;      /* of inotify, on the .lock file; -1: none */
    bool held;      /* by us: by a lease, or for the rest of this turn */
    bool for_reset; /* by no lease: to bring the slot back into service */
    bool foreign;   /* another has it, and we may want it: it is tried again */
    bool wanted;    /* we wait for it, and say so */
    bool in_sight;  /* foreign and looked after: watch and want were tried */
    int64_t since_ns;      /* when it was taken */
    int64_t not_before_ns; /* it was given to those who wait: not ours yet */
};

struct belay__gpu_left; /* lock_file.c */

struct belay__gpu_locks {
    struct belay__gpu_locks *next; /* of all in this process; for forks */
    struct belay__gpu_locks **link;
    belay_gpu_pool *pool;
    char folder[BELAY__GPU_LOCK_FOLDER_MAX + 1];
    struct belay__gpu_lock *slots; /* by slot->index */
    uint32_t count;
    uint32_t foreign;             /* slots whose lock is */
    uint32_t idle;                /* held for slots that are FREE */
    struct belay__gpu_left *left; /* room for those that outlive the pool */

    /* Waiting for others; lock_wait.c. */
    uint32_t unseen; /* foreign and not in_sight */
    bool watching;
    bool polling; /* `poll` is a handle of the loop */
    int inotify;  /* -1: none */
    uv_poll_t poll;
    struct belay__timer timer; /* the next try */
    uint64_t random;
    void (*closed_fn)(void *arg);
    void *closed_arg;
};

/* ---- lock_file.c ---- */

/* The folder in which they are: the same one for every process and user of
 * this system, but where the options say another.
 */
const char *belay__gpu_lock_folder(const struct belay_gpu_pool_opts *opts);
/* Drops the devices whose files this process may not open, each with a line in
 * the note; if none is left, gives the reason as a code.
 */
int belay__gpu_locks_filter(
    const struct belay_gpu_pool_opts *opts, struct belay__gpu_found *found);
/* From now on a forked child closes its files. 0, or BELAY_ENOMEM. */
int belay__gpu_locks_register(struct belay__gpu_locks *locks);
/* Closes all files, but those that are left behind. */
void belay__gpu_locks_unregister(struct belay__gpu_locks *locks);
/* Both files of a slot, if they are not open yet. 0, or a code. */
int belay__gpu_lock_open_files(
    struct belay__gpu_locks *locks, const struct belay__gpu_slot *slot);
void belay__gpu_lock_close_file(int *fd);
/* The .lock file's owner is the process from now on. */
void belay__gpu_lock_leave_file(
    struct belay__gpu_locks *locks, const struct belay__gpu_slot *slot);
/* "folder/belay-gpu-..." of the .lock file. */
void belay__gpu_lock_path(const struct belay__gpu_locks *locks,
    const struct belay__gpu_slot *slot, char *ret, size_t size);

/* ---- lock.c ---- */

/* NULL, or what is wrong with these options. */
const char *belay__gpu_locks_check(const struct belay_gpu_pool_opts *opts);
int belay__gpu_locks_open(
    belay_gpu_pool *pool, const struct belay_gpu_pool_opts *opts);
/* Closes all files, which gives the locks back. NULL is fine. */
void belay__gpu_locks_free(struct belay__gpu_locks *locks);

/* One try, which never blocks; true: it is held. */
bool belay__gpu_lock_try(
    struct belay__gpu_locks *locks, struct belay__gpu_slot *slot, int64_t now);
/* Not held any more; who waits for it elsewhere is woken. */
void belay__gpu_lock_give_back(
    struct belay__gpu_locks *locks, struct belay__gpu_slot *slot);
/* Says to the others that we wait for it, or not any more. */
void belay__gpu_lock_want(
    struct belay__gpu_locks *locks, struct belay__gpu_slot *slot, bool want);

/* For a grant: all of them, or none; then the first one that is another
 * process's is FOREIGN, and the caller looks for another place.
 */
bool belay__gpu_locks_take_all(
    belay_gpu_pool *pool, struct belay__gpu_slot *const *slots, uint32_t count);
/* A slot that a lease has left: true: it is ours still, or nobody's; false:
 * it was given to those who wait elsewhere, before our own.
 */
bool belay__gpu_lock_keep(struct belay__gpu_slot *slot, int64_t now);
/* It was FREE and is out of service now. */
void belay__gpu_lock_taken_out(struct belay__gpu_slot *slot);
/* A slot out of service that no lease is on is to be reset. False: it is
 * another's; belay__gpu_slot_is_ours() is called when it is not any more.
 */
bool belay__gpu_lock_for_reset(struct belay__gpu_slot *slot, int64_t now);
/* It has failed, or will not be: the lock is given back, or not waited for any
 * more. Where a lease has left its work the lock stays.
 */
void belay__gpu_lock_after_reset(struct belay__gpu_slot *slot);
/* Work is left behind on it: the lock stays until the process ends. */
void belay__gpu_lock_leave(struct belay__gpu_slot *slot);
/* For how long an allocation is tried again; lock.c tells why. */
uint64_t belay__gpu_lock_patience_ns(const struct belay__gpu_slot *slot);

/* ---- lock_wait.c ---- */

/* Tries all that are foreign; true: one of them is ours now. */
bool belay__gpu_locks_retry(struct belay__gpu_locks *locks);
/* After a dispatch: gives back what no lease has, and waits for others if
 * somebody here waits for a slot.
 */
void belay__gpu_locks_settle_all(struct belay__gpu_locks *locks);

/* Is it another's, and tried again? */
static inline bool
belay__gpu_lock_is_sought(const struct belay__gpu_slot *slot)
{
    const struct belay__gpu_locks *locks = slot->pool->locks;

    return locks != NULL && locks->slots[slot->index].foreign;
}

static inline void
belay__gpu_locks_settle(const belay_gpu_pool *pool)
{
    if (pool->locks != NULL) {
        belay__gpu_locks_settle_all(pool->locks);
    }
}

/* Ends the waiting for good; `closed` is called on the loop, or in here. */
void belay__gpu_locks_close(
    struct belay__gpu_locks *locks, void (*closed)(void *arg), void *arg);

/* Bookkeeping of a slot whose lock is foreign, or is not any more. */
void belay__gpu_lock_is_foreign(struct belay__gpu_slot *slot);
void belay__gpu_lock_was_foreign(struct belay__gpu_slot *slot);
int belay__gpu_locks_timer_init(struct belay__gpu_locks *locks);

/* ---- slot.c ---- */

/* FREE to FOREIGN. */
void belay__gpu_slot_is_foreign(struct belay__gpu_slot *slot, int64_t now);
/* Its lock was foreign, and is ours: it is FREE, or can be reset. */
void belay__gpu_slot_is_ours(struct belay__gpu_slot *slot, int64_t now);

#endif
