/* gpu.h - a pool of slots on GPUs, and leases of them.
 *
 * A pool is a scope over the devices of one kind: CUDA, OpenCL, or simulated
 * ones. A slot is a place on a device where one lease's work runs. A lease is
 * a scope too: a slot on each of one or more devices, with so many bytes of
 * each device's memory. It is over, and its slots are somebody else's, only
 * when the device has let go of them; that holds for a cancelled task as for
 * any other. Work on a lease is in <belay/gpu_work.h>, figures and events are
 * in <belay/gpu_stats.h>. Rules: G1-G45.
 *
 * The memory of a lease is an account: what it allocates through Belay is
 * checked against it, what a program asks of the driver itself is not.
 */
#ifndef BELAY_GPU_H
#define BELAY_GPU_H

#include <belay/task.h>

BELAY_BEGIN_DECLS

typedef struct belay_gpu_pool belay_gpu_pool; /* opaque; its block's */

/* A lease, or one member of it. A value: copies are the same lease. {0} is
 * none. It is good while the pool is open, also when the lease is over: what
 * is asked of it is then BELAY_GPU_ESTALE.
 */
typedef struct belay_gpu_lease {
    struct belay__gpu_slot *slot; /* private */
    uint64_t generation;          /* private */
} belay_gpu_lease;

/* What happens to those behind a request that does not fit now. */
enum belay_gpu_policy {
    BELAY_GPU_RESERVE,   /* they may overtake it a few times; then devices
                            are kept free for it, and no others */
    BELAY_GPU_FIFO,      /* they wait: first come, first served, to a fault */
    BELAY_GPU_FIRST_FIT, /* they overtake it for ever: it may starve */
};

#define BELAY_GPU_PRIORITIES 8
#define BELAY_GPU_DEVICES_MAX 64
#define BELAY_GPU_SLOTS_MAX 64 /* of a device */

/* Options for belay_gpu_pool_open(). A zero field means its default. */
struct belay_gpu_pool_opts {
    size_t size;           /* of this struct; BELAY_GPU_POOL_OPTS() fills it */
    const char *name;      /* static text; default "gpu pool" */
    const char *devices;   /* "auto", "cuda", "opencl" or "sim", which may have
                            settings, as "sim:devices=4,slots=2,mem=80G";
                            default "auto": the first of the three there is */
    uint32_t slots;        /* of a device; default the driver's choice, or 1 */
    uint64_t device_bytes; /* to lease on a device; default all there is */
    uint64_t headroom_bytes;      /* of it that stays free; default the driver's
                                  choice */
    enum belay_gpu_policy policy; /* default BELAY_GPU_RESERVE */
    bool strict;             /* a higher priority always goes first, and lower
                               ones may starve; default: by weight */
    uint32_t overtakes;      /* of a request before devices are kept free for
                               it; default 16 */
    belay_duration max_hold; /* default of leases; default none */
    belay_duration drain_limit; /* for work that runs on when its lease ends;
                                   then its slot is given up. Default none */
    belay_duration close_limit; /* for threads that hang in a driver when the
                                   pool is left; default 5 s */
    uint32_t max_resets;        /* of a slot in a row; default 3 */
    uint32_t events;  /* kept for belay_gpu_events(), rounded up to a power
                            of two; default 4096 */
    uint32_t spin_us; /* a slot's thread polls that long before it blocks;
                            default 0 */
    bool scrub;       /* memory is zeroed before it is given back */
    bool exclusive;   /* a slot is one process's at a time, of those that ask
                            for this: there is a lock on a file for each slot.
                            Exclusion, not fairness. They must agree on slots */
    const char *lock_folder;  /* for these files, up to 255 bytes; on a local
                                 file system. Default /run/lock, or /tmp where
                                 that is not there */
    belay_duration lock_keep; /* so long a lock may be kept from one lease to
                                 the next while other processes wait for it;
                                 default 0: it is theirs after each lease */
};
#define BELAY_GPU_POOL_OPTS(...)          \
    (&(const struct belay_gpu_pool_opts){ \
        .size = sizeof(struct belay_gpu_pool_opts), __VA_ARGS__})

/* What a lease asks for. A zero field means its default. */
struct belay_gpu_lease_opts {
    size_t size;       /* of this struct; BELAY_GPU_LEASE_OPTS() fills it */
    uint64_t bytes;    /* on each device; default a slot's share, which is the
                          device's bytes divided by its slots */
    uint32_t devices;  /* as many different ones; default 1 */
    uint32_t priority; /* 0 to 7; one more weighs twice as much; default 0 */
    belay_duration max_hold; /* then the block is cancelled and fails with
                                BELAY_GPU_EHOLD; default the pool's. Not for
                                leases without a block */
    bool nested;  /* may be had, if it is free now, in a block that holds one */
    bool no_wait; /* BELAY_GPU_EAGAIN if it is not free now */
};
#define BELAY_GPU_LEASE_OPTS(...)          \
    (&(const struct belay_gpu_lease_opts){ \
        .size = sizeof(struct belay_gpu_lease_opts), __VA_ARGS__})

/**
 * belay_gpu_pool_open - an enter operation: a pool for the block
 *
 *   opts  NULL for all defaults; copied
 *   ret   receives the pool once entered; untouched on failure
 *
 * Finds the devices, on a thread; a device's own set-up (a CUDA context takes
 * 300 to 550 MB) waits for its first lease. Leaving refuses new leases, waits
 * for those that are held, and for their slots to drain.
 *
 * Owner:   the block.
 * Errors:  BELAY_EINVAL     opts->size is one this library does not know, or
 *                           an option is out of its range; the message tells
 *          BELAY_ENOSYS     there is no such device; the message tells why
 *          the system's     exclusive, and of no device the lock files may be
 *                           opened; the message tells why
 *          BELAY_ENOMEM     no memory
 *          BELAY_ECANCELED  flagged, when cancelled
 *          In each case nothing has changed.
 *          BELAY_GPU_ESTUCK from the exit: a thread that hangs in its driver
 *                           was left behind after close_limit
 * Threads: loop thread. Entering is a cancellation point; the exit waits for
 *          all leases, also when cancelled.
 * Since:   0.1. Source: contract G19, G32, G33, G37, G39-G42, G44.
 */
BELAY_API belay_next belay_gpu_pool_open(belay_task *task,
    const struct belay_gpu_pool_opts *opts, belay_gpu_pool **ret);

/**
 * belay_gpu_pool_close - no more leases; wait until all are over
 *
 *   pool        not NULL
 *   ret_leaked  NULL, or receives how many leases without a block their tasks
 *               have left behind; untouched on failure
 *
 * Who waits for a lease fails with BELAY_GPU_ECLOSED, in the order of
 * arrival; who holds one goes on. The pool's block is still to be left.
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_ECANCELED    flagged, when cancelled; the pool closes anyway
 *          BELAY_GPU_EDEADLK  the task holds a lease itself, or is below a
 *                             block that does; nothing has changed
 *          BELAY_GPU_ECLOSED  the pool was left before that began
 * Threads: loop thread. Cancellation point. Any number of tasks may wait.
 * Since:   0.1. Source: contract G18, G32.
 */
BELAY_API belay_next belay_gpu_pool_close(
    belay_task *task, belay_gpu_pool *pool, uint64_t *ret_leaked);

/**
 * belay_gpu_pool_drain - no more requests; serve those that wait, then close
 *
 *   pool  not NULL
 *
 * Owner:   nothing changes hands.
 * Errors:  as belay_gpu_pool_close().
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract G32.
 */
BELAY_API belay_next belay_gpu_pool_drain(
    belay_task *task, belay_gpu_pool *pool);

/* An enter operation: a lease for the block. */
#define belay_gpu_lease_open(task, pool, opts, ret) \
    belay_gpu_lease_open_at((task), __FILE__, __LINE__, (pool), (opts), (ret))

/* For BELAY_ASYNC_SIZED(): what a lease as a block takes until it is left; one
 * with a max_hold takes more.
 */
#define BELAY_GPU_LEASE_BYTES 144

/**
 * belay_gpu_lease_open_at - enter a lease; who holds it, for people: file:line
 *
 *   pool  not NULL
 *   file  static text, or NULL
 *   opts  NULL for all defaults; copied
 *   ret   receives the lease once entered; untouched on failure
 *   line  in file
 *
 * Waits for its turn. How long at most is the business of the scopes around
 * it (belay_timeout()). The exit waits until the device has ended what was
 * begun, frees the lease's memory there, and only then gives the slots on;
 * work that has not begun is dropped, work that runs is asked to stop.
 *
 * Owner:   the block; child tasks inside it may use the lease.
 * Errors:  BELAY_EINVAL       opts->size is one this library does not know
 *          BELAY_GPU_EINVAL   an option is out of its range
 *          BELAY_GPU_EUNSAT   the pool could never give that much
 *          BELAY_GPU_EAGAIN   it is not free now, and opts->no_wait
 *          BELAY_GPU_EDEADLK  it would have to wait for a lease that the
 *                             task, or a block around it, holds
 *          BELAY_GPU_ELOST    every device that could give it is lost
 *          BELAY_GPU_ECLOSED  the pool is closing, or was left by then
 *          BELAY_GPU_EFORK    this is a child process of the pool's
 *          BELAY_ENOMEM       no memory
 *          BELAY_ECANCELED    flagged: it was not granted
 *          In each case no lease is held.
 *          BELAY_GPU_EHOLD    from the exit: max_hold has ended the block
 *          BELAY_GPU_ESTUCK   from the exit: drain_limit is over; the slot
 *                             is out of service until its work ends
 * Threads: loop thread. Entering is a cancellation point; the exit waits, also
 *          when cancelled.
 * Since:   0.1. Source: contract G1-G24.
 */
BELAY_API belay_next belay_gpu_lease_open_at(belay_task *task, const char *file,
    int line, belay_gpu_pool *pool, const struct belay_gpu_lease_opts *opts,
    belay_gpu_lease *ret);

/* Take a lease without a block: a token, and an int. */
#define belay_gpu_acquire(task, pool, opts, ret) \
    belay_gpu_acquire_at((task), __FILE__, __LINE__, (pool), (opts), (ret))
#define belay_gpu_try_acquire(task, pool, opts, ret) \
    belay_gpu_try_acquire_at((task), __FILE__, __LINE__, (pool), (opts), (ret))

/**
 * belay_gpu_acquire_at - wait for a lease that no block will end
 *
 *   pool  not NULL
 *   file  static text, or NULL: a lease that is left behind is named by it
 *   opts  NULL for all defaults; copied
 *   ret   receives the lease; must live until the wait is over; untouched on
 *         failure
 *   line  in file
 *
 * Owner:   the task owes one belay_gpu_release(). What it owes when it ends is
 *          taken back, counted and named to belay_gpu_events().
 * Errors:  those of entering in belay_gpu_lease_open_at().
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract G18.
 */
BELAY_API belay_next belay_gpu_acquire_at(belay_task *task, const char *file,
    int line, belay_gpu_pool *pool, const struct belay_gpu_lease_opts *opts,
    belay_gpu_lease *ret);

/**
 * belay_gpu_try_acquire_at - take a lease if it is free and nobody is before us
 *
 *   pool  not NULL
 *   opts  as for belay_gpu_acquire_at()
 *   file  as for belay_gpu_acquire_at()
 *   line  in file
 *   ret   receives the lease; untouched on failure
 *
 * Owner:   as belay_gpu_acquire_at().
 * Errors:  BELAY_GPU_EAGAIN  it is not free, or others wait for it; nothing
 *                            has changed
 *          BELAY_GPU_EWRONGTHREAD not the loop's thread
 *          else those of entering in belay_gpu_lease_open_at().
 * Threads: loop thread, inside a step. Not a cancellation point.
 * Since:   0.1. Source: contract G1, G8.
 */
BELAY_API int belay_gpu_try_acquire_at(belay_task *task, const char *file,
    int line, belay_gpu_pool *pool, const struct belay_gpu_lease_opts *opts,
    belay_gpu_lease *ret);

/**
 * belay_gpu_release - end a lease that has no block
 *
 *   lease  of belay_gpu_acquire() or belay_gpu_try_acquire()
 *
 * Does not wait: the slots drain first and are free when that is done.
 *
 * Owner:   the lease is over, its buffers too.
 * Errors:  BELAY_GPU_ESTALE  it is over already; nothing has changed
 *          BELAY_GPU_EINVAL  {0}, a member, or a block's; nothing has changed
 *          BELAY_GPU_EWRONGTHREAD not the loop's thread
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: contract G12, G18, G26.
 */
BELAY_API int belay_gpu_release(belay_gpu_lease lease);

/**
 * belay_gpu_lease_member - one of the slots of a lease on several devices
 *
 *   lease  of several devices, or of one
 *   index  from 0; 0 is the lease itself
 *   ret    receives a lease for that device's work; untouched on failure
 *
 * Owner:   it is over when the whole lease is.
 * Errors:  BELAY_GPU_ESTALE  the lease is over
 *          BELAY_GPU_EINVAL  {0}, or it has no such member
 * Threads: loop thread.
 * Since:   0.1. Source: contract G22.
 */
BELAY_API int belay_gpu_lease_member(
    belay_gpu_lease lease, uint32_t index, belay_gpu_lease *ret);

BELAY_END_DECLS

#endif
