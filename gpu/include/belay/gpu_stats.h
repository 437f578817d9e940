/* gpu_stats.h - what a pool of GPU slots is, does and has done.
 *
 * Snapshots allocate nothing and cost O(slots) at most. Times are on the
 * runtime's clock. The ring of events has all that the figures have: replayed
 * from the start it gives them. Rules: G34, G35.
 */
#ifndef BELAY_GPU_STATS_H
#define BELAY_GPU_STATS_H

#include <belay/gpu.h>

BELAY_BEGIN_DECLS

/* ---- devices ---- */

/* What a device is doing, for all processes together; -1: not known. */
struct belay_gpu_gauges {
    int64_t used_bytes;   /* of its memory */
    int32_t busy_percent; /* of the time since a moment ago */
    int32_t celsius;
    int32_t milliwatts;
};
#define BELAY_GPU_GAUGES_UNKNOWN      \
    {                                 \
        -1, -1, -1, -1 /* in order */ \
    }

/* One device. */
struct belay_gpu_device {
    size_t size;      /* of this struct, filled by the caller */
    char backend[16]; /* "cuda", "opencl" or "sim" */
    char name[96];
    char uid[64];          /* of the hardware; never a number that may change */
    uint64_t bytes;        /* of memory, all of it */
    uint64_t lease_bytes;  /* to be leased; 0 outside of a pool */
    uint64_t leased_bytes; /* leased now */
    uint32_t units;        /* multiprocessors, compute units */
    uint32_t slots;        /* 0 outside of a pool */
    uint32_t slots_free;   /* now */
    uint32_t slots_lost;   /* out of service now */
    struct belay_gpu_gauges gauges; /* of belay_gpu_list() alone, of NVIDIA's
                                       devices where libnvidia-ml is */
};

/**
 * belay_gpu_list - the devices there are
 *
 *   devices    as in belay_gpu_pool_opts; NULL: those of every kind but sim
 *   ret        `room` of them, each with its size filled in; untouched on
 *              failure
 *   ret_count  receives how many there are, which may be more than `room`;
 *              must live, as ret, until the wait is over
 *   ret_note   NULL, or receives up to note_size bytes of text: why kinds of
 *              devices are not there, a line each; ends with NUL
 *   room       of ret, in devices
 *   note_size  of ret_note, in bytes
 *
 * Owner:   ret stays the caller's.
 * Errors:  BELAY_EINVAL     devices names no kind, or a size is not known
 *          BELAY_ENOMEM     no memory
 *          BELAY_ECANCELED  flagged, when cancelled
 * Threads: loop thread. Cancellation point. Drivers are asked on a thread.
 * Since:   0.1. Source: contract G44, G45.
 */
BELAY_API belay_next belay_gpu_list(belay_task *task, const char *devices,
    struct belay_gpu_device *ret, uint32_t room, uint32_t *ret_count,
    char *ret_note, size_t note_size);

/**
 * belay_gpu_pool_device - one of a pool's devices as it is now
 *
 *   pool   not NULL
 *   index  from 0
 *   ret    its size filled in; untouched on failure
 *
 * Owner:   ret stays the caller's.
 * Errors:  BELAY_EINVAL  a size this library does not know
 *          BELAY_ENOENT  there are not so many
 * Threads: loop thread.
 * Since:   0.1. Source: contract G34.
 */
BELAY_API int belay_gpu_pool_device(
    const belay_gpu_pool *pool, uint32_t index, struct belay_gpu_device *ret);

/**
 * belay_gpu_pool_note - why kinds of devices were passed over at the opening
 *
 *   pool  not NULL
 *
 * Owner:   text lives as long as the pool; "" if none was.
 * Errors:  none; never NULL.
 * Threads: loop thread.
 * Since:   0.1. Source: contract G44.
 */
BELAY_API const char *belay_gpu_pool_note(const belay_gpu_pool *pool);

/* ---- slots ---- */

/* The first five are where a slot's time goes; the others are ways of being
 * out of service, or of reach, and their time is QUARANTINED's.
 */
enum belay_gpu_slot_state {
    BELAY_GPU_SLOT_FREE,
    BELAY_GPU_SLOT_HELD,     /* and idle */
    BELAY_GPU_SLOT_RUNNING,  /* something was asked of it */
    BELAY_GPU_SLOT_DRAINING, /* its lease is ending, its device has not let go */
    BELAY_GPU_SLOT_QUARANTINED, /* its device has failed */
    BELAY_GPU_SLOT_PROBATION,   /* it has to show that it works again */
    BELAY_GPU_SLOT_STUCK,       /* its work has outlived the drain_limit */
    BELAY_GPU_SLOT_DEAD,        /* given up */
    BELAY_GPU_SLOT_FOREIGN,     /* another process has it, as of the last look:
                                   there is one when somebody asks for a slot */
};
#define BELAY_GPU_SLOT_TIMES 5

/* One slot. */
struct belay_gpu_slot_stats {
    size_t size; /* of this struct, filled by the caller */
    enum belay_gpu_slot_state state;
    uint32_t device;       /* its index in the pool */
    uint32_t index;        /* on that device */
    uint32_t priority;     /* of the lease */
    uint32_t queued;       /* operations that have not ended */
    uint64_t lease;        /* 0: none */
    uint64_t task_id;      /* of the holder, or 0 */
    const char *task_name; /* the same, or ""; valid until the next turn */
    belay_time since;      /* when it came into this state */
    belay_time held_since; /* when the lease was granted */
    uint64_t leased_bytes; /* of the lease, here */
    uint64_t used_bytes;   /* of these */
    uint64_t leases;       /* granted so far */
    uint64_t ops;          /* that have ended so far, well or not */
    uint64_t lease_ops;    /* of the lease */
    uint64_t failures;     /* of operations */
    uint64_t resets;
    belay_duration spent[BELAY_GPU_SLOT_TIMES]; /* by state; their sum is the
                                                   age of the pool exactly */
};

/**
 * belay_gpu_pool_slot - one of a pool's slots as it is now
 *
 *   pool   not NULL
 *   index  from 0; the slots of device 0 come first
 *   ret    its size filled in; untouched on failure
 *
 * Owner:   ret stays the caller's.
 * Errors:  BELAY_EINVAL  a size this library does not know
 *          BELAY_ENOENT  there are not so many
 * Threads: loop thread.
 * Since:   0.1. Source: contract G34.
 */
BELAY_API int belay_gpu_pool_slot(const belay_gpu_pool *pool, uint32_t index,
    struct belay_gpu_slot_stats *ret);

/* ---- the pool ---- */

#define BELAY_GPU_WAIT_BUCKETS 64

/* Of one priority. */
struct belay_gpu_priority_stats {
    uint64_t waiting;   /* now */
    uint64_t requests;  /* so far; the sum of those below and of waiting */
    uint64_t immediate; /* granted without a wait */
    uint64_t waited;    /* granted after one */
    uint64_t cancelled; /* while they waited … */
    uint64_t timed_out; /* … by a deadline */
    uint64_t refused;   /* with any other error, at once or while they waited */
    uint64_t overtaken; /* how often a request was passed that did not fit */
    uint64_t reserved;  /* how often devices were kept free for one */
    belay_duration reserved_time;
    belay_duration wait_max;
    /* Granted waits by their length: bucket 0 has those of no time, bucket
     * n > 0 those of 2^(n-1) to 2^n - 1 ns.
     */
    uint64_t wait_buckets[BELAY_GPU_WAIT_BUCKETS];
};

struct belay_gpu_pool_stats {
    size_t size; /* of this struct, filled by the caller */
    const char *name;
    const char *backend;
    uint32_t devices;
    uint32_t slots;
    uint32_t slots_free;
    uint32_t slots_lost;   /* out of service */
    uint64_t leases;       /* held or draining now */
    uint64_t waiting;      /* requests */
    uint64_t grants;       /* so far */
    uint64_t leaked;       /* leases taken back from tasks that had ended */
    uint64_t tries_failed; /* belay_gpu_try_acquire(), and no_wait */
    uint64_t ops_done;
    uint64_t ops_failed;
    uint64_t ops_dropped; /* cancelled before they began */
    uint64_t ops_lost;    /* with their device */
    uint64_t events;      /* so far */
    belay_time opened;
    belay_time now;
    struct belay_gpu_priority_stats priorities[BELAY_GPU_PRIORITIES];
};

/**
 * belay_gpu_pool_get_stats - the figures of a pool
 *
 *   pool  not NULL
 *   ret   its size filled in; untouched on failure
 *
 * Owner:   ret stays the caller's.
 * Errors:  BELAY_EINVAL  a size this library does not know
 * Threads: loop thread.
 * Since:   0.1. Source: contract G34.
 */
BELAY_API int belay_gpu_pool_get_stats(
    const belay_gpu_pool *pool, struct belay_gpu_pool_stats *ret);

/**
 * belay_gpu_wait_quantile - how long a share of the granted waits took at most
 *
 *   stats  not NULL
 *   share  0 to 1, as 0.99
 *
 * Owner:   nothing changes hands.
 * Errors:  none; 0 without waits. The upper end of a bucket: up to twice as
 *          long as it was.
 * Threads: any.
 * Since:   0.1. Source: contract G34.
 */
BELAY_API belay_duration belay_gpu_wait_quantile(
    const struct belay_gpu_priority_stats *stats, double share);

/* ---- events ---- */

enum belay_gpu_event_kind {
    BELAY_GPU_EVENT_REQUEST = 1, /* a request, but no try that has failed;
                                    detail: bytes, 0 for a slot's share */
    BELAY_GPU_EVENT_WAIT,        /* it is not free now: it waits */
    BELAY_GPU_EVENT_GRANT,       /* a slot; one event each for a lease of
                                    several. detail: ns it has waited */
    BELAY_GPU_EVENT_NO_GRANT,    /* detail: the code, negated */
    BELAY_GPU_EVENT_TRY_FAILED,
    BELAY_GPU_EVENT_OVERTAKE, /* of a request that waits and does not fit */
    BELAY_GPU_EVENT_RESERVE,  /* the slot's device is kept free for one */
    BELAY_GPU_EVENT_UNRESERVE,
    BELAY_GPU_EVENT_SLOT,     /* a slot has come into a state; detail: enum
                                    belay_gpu_slot_state */
    BELAY_GPU_EVENT_OP_BEGIN, /* an operation was asked for */
    BELAY_GPU_EVENT_OP_END,   /* detail: the code, negated */
    BELAY_GPU_EVENT_LEAK,     /* a lease is taken back; detail: the line */
    BELAY_GPU_EVENT_RESET,    /* a slot was reset; detail: code, negated */
    BELAY_GPU_EVENT_CLOSE,    /* the pool closes; detail: 1 for a drain */
};

#define BELAY_GPU_NO_SLOT UINT16_MAX

struct belay_gpu_event {
    belay_time time;
    uint64_t lease;   /* of the request, from 1: also before it is granted */
    uint64_t task_id; /* who asked, or 0 */
    uint64_t detail;
    uint16_t slot; /* index in the pool, or BELAY_GPU_NO_SLOT */
    uint8_t kind;  /* enum belay_gpu_event_kind */
    uint8_t priority;
    uint32_t devices; /* of a REQUEST */
};

/**
 * belay_gpu_events - the events since the last look
 *
 *   pool      not NULL
 *   cursor    0 at first; moves on. Any number of readers, one cursor each
 *   ret       room for `room` events, oldest first
 *   ret_lost  NULL, or receives how many were overwritten before they could be
 *             read: between the cursor and the first one delivered
 *   room      of ret, in events
 *
 * Owner:   ret stays the caller's.
 * Errors:  none; returns how many were delivered; fewer than `room`: no more
 *          for now.
 * Threads: loop thread.
 * Since:   0.1. Source: contract G35.
 */
BELAY_API size_t belay_gpu_events(const belay_gpu_pool *pool, uint64_t *cursor,
    struct belay_gpu_event *ret, size_t room, uint64_t *ret_lost);

/**
 * belay_gpu_leak_site - where a lease that was left behind was taken
 *
 *   pool      not NULL
 *   index     from 0, the oldest one kept
 *   ret_line  receives the line
 *
 * The last 64 are kept.
 *
 * Owner:   the file name is static text; NULL if there are not so many.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract G18.
 */
BELAY_API const char *belay_gpu_leak_site(
    const belay_gpu_pool *pool, uint32_t index, int *ret_line);

BELAY_END_DECLS

#endif
