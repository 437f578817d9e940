/* internal.h - the structures that the files of gpu/ share (private).
 *
 *   request:  NEW -> WAITING -> GRANTED
 *                \-> refused   \-> cancelled, timed out, refused
 *   slot:     FREE -> HELD <-> RUNNING -> DRAINING -> FREE
 *             any -> QUARANTINED -> PROBATION -> FREE, or DEAD
 *             DRAINING -> STUCK -> PROBATION
 *             FREE <-> FOREIGN, with other processes about (lock.h)
 *
 * docs/design/gpu.md tells why. A request lies in the frame of the task that
 * waits; a lease lies in its first slot, so that a handle (slot, generation)
 * can be looked at when the lease and its task are long gone.
 */
#ifndef BELAY_GPU_INTERNAL_H
#define BELAY_GPU_INTERNAL_H

#include <belay/gpu_stats.h>

#include "gpu/backend.h"
#include "runtime/internal.h"

#include <pthread.h>

#define BELAY__GPU_LEAKS_KEPT 64
#define BELAY__GPU_KERNELS_MAX 256

/* ---- requests and their queue (queue.c) ---- */

/* One who wants a lease; in a frame, linked while it waits. */
struct belay__gpu_request {
    struct belay__gpu_request *next; /* of its bucket */
    struct belay__gpu_request *prev;
    belay_task *task;
    belay_gpu_pool *pool;
    struct belay__gpu_lease *lease; /* once granted */
    belay_gpu_lease *ret;           /* then it is written there */
    const char *file;               /* the place of the acquire */
    int32_t line;
    int32_t depth;      /* of the task's cancel scope */
    uint32_t overtaken; /* as the oldest of its priority */
    uint8_t devices;
    uint8_t priority;
    uint8_t bucket;
    bool waiting : 1;
    bool block : 1;  /* a block will end the lease */
    bool nested : 1; /* as in the options, both */
    bool no_wait : 1;
    uint64_t number; /* of the lease; in the order of arrival */
    uint64_t bytes;  /* on each device; 0: a slot's share */
    union {
        struct belay__life life; /* the pool's, until the first step … */
        int64_t asked_ns;        /* … finds it there */
    };
};

/* The requests of one priority, by shape. Within a bucket they are served in
 * the order of arrival; of the buckets, the one whose head came first and
 * fits. So a grant looks at a few heads, however many wait.
 */
#define BELAY__GPU_BUCKETS 129 /* the share; 64 sizes; 2 to 64 devices */

struct belay__gpu_bucket {
    struct belay__gpu_request *first;
    struct belay__gpu_request *last;
};

struct belay__gpu_class {
    uint64_t filled[(BELAY__GPU_BUCKETS + 63) / 64]; /* buckets, as bits */
    uint64_t waiting;
    uint64_t pass;                /* stride scheduling: the least goes next */
    struct belay__gpu_slot *last; /* the slot granted last */
    struct belay_gpu_priority_stats stats;
    struct belay__gpu_bucket buckets[BELAY__GPU_BUCKETS];
};

void belay__gpu_queue_push(
    belay_gpu_pool *pool, struct belay__gpu_request *request);
void belay__gpu_queue_remove(
    belay_gpu_pool *pool, struct belay__gpu_request *request);
/* The oldest one of a priority, or NULL. */
struct belay__gpu_request *belay__gpu_queue_oldest(
    const struct belay__gpu_class *class);
/* The oldest one of all, or NULL. */
struct belay__gpu_request *belay__gpu_queue_first(const belay_gpu_pool *pool);
/* A priority has got a slot: its pass moves on. */
void belay__gpu_queue_charge(belay_gpu_pool *pool, uint32_t priority);
/* Priorities in the order in which their turn comes; gives their number. */
uint32_t belay__gpu_queue_order(
    const belay_gpu_pool *pool, uint8_t ret[BELAY_GPU_PRIORITIES]);
uint8_t belay__gpu_bucket_of(uint64_t bytes, uint32_t devices);

/* ---- devices and slots ---- */

struct belay__gpu_device {
    struct belay__gpu_devinfo info;
    uint32_t index;
    uint32_t slot_count;
    struct belay__gpu_slot *slots; /* in the pool's array */
    uint64_t free_slots;           /* as bits */
    uint64_t alive_slots;          /* as bits: all but the dead ones */
    uint64_t usable_slots;         /* as bits: not out of service */
    uint64_t capacity;             /* bytes to lease: the wish … */
    uint64_t wanted;               /* … which may be less, once leases end */
    uint64_t share;                /* of a slot: a division of `wanted` */
    uint64_t leased;               /* <= capacity, always */
};

/* The bytes that a request takes of a device. */
static inline uint64_t
belay__gpu_need(const struct belay__gpu_device *device, uint64_t bytes)
{
    return bytes != 0 ? bytes : device->share;
}

static inline void
belay__gpu_set_wanted(struct belay__gpu_device *device, uint64_t bytes)
{
    device->wanted = bytes;
    device->share = bytes / device->slot_count;
}

/* A buffer. Its memory is the pool's until the pool is left, so that a handle
 * that comes too late can be told so.
 */
struct belay__gpu_memory {
    struct belay__gpu_buffer buffer;
    uint64_t generation;
    struct belay__gpu_slot *slot;
    struct belay__gpu_memory *next; /* of the slot, or of those unused */
    struct belay__gpu_memory *prev;
    struct belay__gpu_op *release; /* made with it: giving back cannot fail */
    struct belay__gpu_op *scrub;   /* NULL: not asked for */
    bool releasing;
};

/* Host memory that outlives its task. */
struct belay__gpu_stage {
    struct belay__gpu_stage *next;
    size_t bytes; /* behind this header */
};

/* A lease; there are never more of them than slots. */
struct belay__gpu_lease {
    struct belay__gpu_lease *next; /* of the unused ones */
    struct belay__gpu_slot *first; /* then by slot->member, while it is held */
    belay_task *task;              /* the holder; NULL if it has ended */
    belay_task *drainer;           /* waits for the end, or NULL */
    struct belay__end_watch watch; /* of a lease without a block */
    const char *file;              /* the place of the acquire */
    int32_t line;
    int32_t depth; /* of the holder's cancel scope at the acquire */
    uint64_t number;
    int64_t held_ns;
    uint16_t members_left; /* not drained */
    uint8_t priority;
    bool block;  /* a block will end it */
    bool ending; /* no more operations */
    bool stuck;  /* a member is */
};

struct belay__gpu_thread;

struct belay__gpu_slot {
    belay_gpu_pool *pool;
    struct belay__gpu_device *device;
    uint64_t generation; /* moves on when a lease begins, and when it ends */
    uint16_t index;      /* in the pool */
    uint8_t bit;         /* on the device */
    uint8_t state;       /* enum belay_gpu_slot_state */

    /* The lease. */
    struct belay__gpu_lease *lease; /* NULL: none */
    struct belay__gpu_slot *member; /* the lease's next */
    uint64_t bytes; /* of the device; also when stuck, without a lease */
    uint64_t used;  /* of them */

    /* Work, in order; the first `handed` of it is with the driver. */
    struct belay__gpu_op *ops;
    struct belay__gpu_op *ops_last;
    uint32_t op_count;
    struct belay__gpu_op *ops_next; /* the first that is not handed over */
    uint32_t handed;
    uint64_t seq; /* of the newest */
    bool pumping;
    uint64_t lease_ops;
    struct belay__gpu_memory *memories;
    struct belay__gpu_stage *stages;
    struct belay_gpu_kernel *kernels;
    uint32_t kernel_count;

    /* The driver's. */
    void *native;                     /* NULL: not open */
    struct belay__gpu_thread *thread; /* NULL: INLINE, or not started */
    struct belay__gpu_op *own;        /* OPEN, HEALTH, RESET, CLOSE */
    bool own_busy;
    bool overdue; /* what was cancelled has outlived the drain limit */
    bool shut;    /* closed for good */
    bool lost;
    uint8_t healthy;           /* health operations in a row */
    uint32_t resets;           /* in a row */
    struct belay__timer timer; /* of the drain, or of the next reset */

    /* Figures. */
    int64_t since_ns;
    int64_t spent_ns[BELAY_GPU_SLOT_TIMES];
    uint64_t leases;
    uint64_t ops_ended;
    uint64_t failures;
    uint64_t resets_ever;
};

/* ---- the pool ---- */

enum belay__gpu_life {
    BELAY__GPU_OPENED,
    BELAY__GPU_DRAINS, /* refuses requests, serves those that wait */
    BELAY__GPU_CLOSED, /* waits for the leases */
};

struct belay__gpu_leak {
    const char *file;
    int line;
};

struct belay__gpu_bridge;
struct belay__gpu_locks;

struct belay_gpu_pool {
    belay_runtime *runtime;
    const struct belay__gpu_driver *driver;
    void *driver_state;
    struct belay_gpu_pool_opts opts;
    char *note; /* why other drivers were passed over, or NULL */
    size_t note_bytes;
    pthread_t thread; /* the loop's */
    unsigned forks;   /* of this process when it was opened */
    struct belay__life there;
    uint8_t life; /* enum belay__gpu_life */
    bool threads; /* the driver is not INLINE */

    struct belay__gpu_device *devices;
    struct belay__gpu_slot *slots;
    uint32_t device_count;
    uint32_t slot_count;
    uint32_t slots_free;
    uint32_t depth; /* operations that a driver has at a time, of one slot */

    struct belay__gpu_class classes[BELAY_GPU_PRIORITIES];
    uint64_t waiting;
    uint32_t waiting_classes; /* that have one, as bits */
    uint64_t pass;            /* of the last grant */
    uint64_t numbers;
    struct belay__gpu_request
        *reserved;             /* for whom devices are kept, or NULL */
    uint64_t reserved_devices; /* as bits */
    int64_t reserved_since_ns;

    uint64_t leases; /* held or draining; a stuck one is over */
    struct belay__gpu_lease *lease_records; /* one for each slot */
    struct belay__gpu_lease *leases_unused;
    struct belay_waiters closers;
    struct belay__gpu_bridge *bridge; /* with threads */
    uint32_t in_flight;               /* operations with threads */
    struct belay__gpu_locks *locks;   /* against other processes, or NULL */
    struct belay__gpu_memory *memories_unused;
    uint64_t memory_count;     /* of records */
    uint32_t deferring;        /* changes wait */
    bool has_changed;          /* one does */
    bool shutting;             /* it is being left, and no lease is there */
    bool left_behind;          /* a thread is, with what it works on */
    struct belay__timer timer; /* of the close_limit */
    struct belay__gpu_op *ops_unused; /* of the common size */
    struct belay__gpu_op *ended;      /* kept for a while; op.c */
    uint32_t ops_kept;
    uint32_t completing; /* ends that are being dealt with */

    /* By a hash of the holding task: how many leases; lease.c. */
    uint32_t holders[256];

    int64_t opened_ns;
    uint64_t grants;
    uint64_t tries_failed;
    uint64_t ops_done;
    uint64_t ops_failed;
    uint64_t ops_dropped;
    uint64_t ops_lost;
    uint64_t leaked;
    struct belay__gpu_leak leaks[BELAY__GPU_LEAKS_KEPT];

    struct belay_gpu_event *ring; /* 2^n of them */
    uint64_t ring_mask;
    uint64_t ring_count; /* ever */

    /* For tests: called when something has changed and all is settled. */
    void (*settled)(belay_gpu_pool *pool, void *arg);
    void *settled_arg;
};

/* While a task runs nothing else happens to the pool, so that one reading will
 * do; but to locks something may, and what two processes tell of a slot must
 * not overlap.
 */
static inline int64_t
belay__gpu_now(const belay_gpu_pool *pool)
{
    return pool->locks == NULL ? belay__clock_of_run(pool->runtime)
                               : belay__clock_now(pool->runtime);
}

/* 0, or why a public call may not go on: EFORK, EWRONGTHREAD (pool.c). */
int belay__gpu_check_caller(const belay_gpu_pool *pool);
/* How often this process has been forked off (pool.c). */
unsigned belay__gpu_forks(void);
/* Tasks that wait for the close go on if the pool is idle (pool.c). */
void belay__gpu_pool_idle(belay_gpu_pool *pool);
/* What has not ended by the close_limit is left behind (pool.c). */
void belay__gpu_close_limit(struct belay__timer *timer);

/* A refusal with words: the token of an operation that failed before it
 * began.
 */
belay_next belay__gpu_refuse(
    belay_task *task, int code, const char *format, ...) BELAY_PRINTF(3, 4);

/* ---- where a request fits (place.c) ---- */

/* Finds a slot on each of as many devices as it wants. True: in ret. */
bool belay__gpu_place(const belay_gpu_pool *pool,
    const struct belay__gpu_request *request, struct belay__gpu_slot **ret);
/* Could it be granted if all leases were over? 0, EUNSAT, or ELOST if it is
 * for lost devices that it could not.
 */
int belay__gpu_satisfiable(
    const belay_gpu_pool *pool, uint64_t bytes, uint32_t devices);
/* The devices to keep free for it, as bits; 0: not enough are in service. */
uint64_t belay__gpu_reservation(
    const belay_gpu_pool *pool, const struct belay__gpu_request *request);

/* ---- who is granted what (dispatch.c) ---- */

/* Grants what can be granted; after every change that may have made room. */
void belay__gpu_dispatch(belay_gpu_pool *pool);
/* A request that has just come: grants it if it is its turn and it fits. A
 * refusal has changed nothing.
 */
bool belay__gpu_admit(belay_gpu_pool *pool, struct belay__gpu_request *request);
/* The event of a request that has its number. */
void belay__gpu_note_request(belay_gpu_pool *pool,
    const struct belay__gpu_request *request, int64_t now);
/* One that waits goes, ungranted; dispatch afterwards. */
void belay__gpu_withdraw(
    belay_gpu_pool *pool, struct belay__gpu_request *request);
/* The devices kept free for a request are not any more. */
void belay__gpu_unreserve(belay_gpu_pool *pool);
/* Fails every request that waits, oldest first. */
void belay__gpu_refuse_all(belay_gpu_pool *pool, int code);
/* Fails those that cannot be satisfied any more. */
void belay__gpu_refuse_unsatisfiable(belay_gpu_pool *pool);

/* Counts a request that ends without a lease (acquire.c). */
void belay__gpu_count_refusal(
    belay_gpu_pool *pool, const struct belay__gpu_request *request, int code);

/* ---- leases (lease.c) ---- */

/* The request's from this moment on, on these slots, which are taken. */
void belay__gpu_lease_begin(belay_gpu_pool *pool,
    struct belay__gpu_request *request, struct belay__gpu_slot **slots,
    int64_t now);
/* Its end begins. 0, or BELAY_GPU_ESTUCK: it is over already; BELAY_EAGAIN:
 * `drainer`, or NULL, is woken when it is. Say belay__gpu_changed() afterwards.
 */
int belay__gpu_lease_end(struct belay__gpu_lease *lease, belay_task *drainer);
/* What a task has left behind; also when it leaves the pool's own block. */
void belay__gpu_leases_take_back(belay_gpu_pool *pool, const belay_task *task);
/* One member has drained, or is stuck; the slot is out of the lease. */
void belay__gpu_member_left(struct belay__gpu_slot *slot, bool stuck);
/* The slot of a handle; 0, BELAY_GPU_EINVAL, _ESTALE. */
int belay__gpu_lease_slot(belay_gpu_lease lease, struct belay__gpu_slot **ret);
/* Does the task hold a lease of this pool, or one above it that waits for it
 * in a block inside of its lease?
 */
bool belay__gpu_holds(const belay_gpu_pool *pool, const belay_task *task);

/* ---- slots (slot.c) ---- */

/* FREE to HELD. */
void belay__gpu_slot_take(
    struct belay__gpu_slot *slot, uint64_t bytes, int64_t now);
void belay__gpu_slot_set(
    struct belay__gpu_slot *slot, enum belay_gpu_slot_state state, int64_t now);
/* The lease ends: drop and stop its work, give its memory back. */
void belay__gpu_slot_drain(struct belay__gpu_slot *slot, int64_t now);
/* Its list of operations has become empty, or was so at the end. */
void belay__gpu_slot_settled(struct belay__gpu_slot *slot, int64_t now);
/* The device has failed: all its slots go into quarantine. */
void belay__gpu_device_lost(struct belay__gpu_device *device);
/* One of the pool's own operations has ended. */
void belay__gpu_slot_own_ended(
    struct belay__gpu_slot *slot, const struct belay__gpu_op *op);
void belay__gpu_slot_timer(struct belay__timer *timer);
/* From now on the drain limit counts, if there is one. */
void belay__gpu_slot_limit(struct belay__gpu_slot *slot);
/* Queues OPEN, for its first operation. */
void belay__gpu_slot_open(struct belay__gpu_slot *slot);
/* The pool is being left: closes what has nothing to do; true: all is. */
bool belay__gpu_slots_shut(belay_gpu_pool *pool);
/* What still has something to do is left behind. */
void belay__gpu_slots_abandon(belay_gpu_pool *pool);
/* Something may have come free: dispatch, and see whether all is over. Between
 * defer and resume that waits, since what is in the middle of a change must
 * not be granted.
 */
void belay__gpu_changed(belay_gpu_pool *pool);
void belay__gpu_defer(belay_gpu_pool *pool);
void belay__gpu_resume(belay_gpu_pool *pool);

/* ---- operations (op.c) ---- */

/* Memory that a slot's thread may use. One that is left behind keeps it longer
 * than the runtime lives: so with threads it is malloc(), else the runtime's.
 */
void *belay__gpu_block_alloc(belay_gpu_pool *pool, size_t size);
void belay__gpu_block_free(belay_gpu_pool *pool, void *ptr, size_t size);

/* A block with room for `extra` bytes behind the op; NULL: no memory. */
struct belay__gpu_op *belay__gpu_op_new(
    belay_gpu_pool *pool, enum belay__gpu_job job, size_t extra);
void belay__gpu_op_free(belay_gpu_pool *pool, struct belay__gpu_op *op);
/* Behind what was asked of the slot before. */
void belay__gpu_op_push(struct belay__gpu_slot *slot, struct belay__gpu_op *op);
/* Push, and the token of the wait for its end. The op is the pool's in any
 * case; if the task is cancelled already, it ends without being pushed.
 */
belay_next belay__gpu_op_await(
    belay_task *task, struct belay__gpu_slot *slot, struct belay__gpu_op *op);
/* After a change of the list: hands on what may be handed on; if nothing is
 * left, the slot is settled.
 */
void belay__gpu_op_advance(struct belay__gpu_slot *slot);
/* All work of the slot is to end as soon as may be; advance afterwards. */
void belay__gpu_op_drop_all(struct belay__gpu_slot *slot);
/* What is not with the driver ends as lost. */
void belay__gpu_op_lose_queued(struct belay__gpu_slot *slot);
/* The drain limit is over: cancelled waits end. */
void belay__gpu_op_detach(struct belay__gpu_slot *slot);
/* The pool is left with these not ended. */
void belay__gpu_op_abandon_all(struct belay__gpu_slot *slot);
/* The graveyard; when the pool is left. */
void belay__gpu_ops_fini(belay_gpu_pool *pool);

/* ---- what a task asks of a lease (work.c) ---- */

/* The slot of a lease on which something may be asked for. 0, or a code and
 * the token of the refusal.
 */
int belay__gpu_usable_slot(belay_task *task, belay_gpu_lease lease,
    struct belay__gpu_slot **ret, belay_next *ret_refusal);
/* Its first lease opens a slot: with its first operation. */
void belay__gpu_want_open(struct belay__gpu_slot *slot);
/* An operation that was asked for has ended: 0, or why it has not happened. */
void belay__gpu_work_ended(struct belay__gpu_op *op, int code);

/* ---- memory (memory.c) ---- */

/* The record of a buffer's handle; 0, BELAY_GPU_EINVAL, _ESTALE. */
int belay__gpu_memory_of(
    belay_gpu_buffer buffer, struct belay__gpu_memory **ret);
void belay__gpu_alloc_ended(struct belay__gpu_op *op, int code);
void belay__gpu_release_ended(const struct belay__gpu_op *op);
/* Queues the release of all that the slot's lease had. */
void belay__gpu_memory_release_all(struct belay__gpu_slot *slot);
void belay__gpu_stages_free(struct belay__gpu_slot *slot);
/* Frees the records that are kept for late handles. */
void belay__gpu_memories_free(belay_gpu_pool *pool);

/* ---- kernels (build.c) ---- */

void belay__gpu_build_ended(struct belay__gpu_op *op, int code);
void belay__gpu_kernels_forget(struct belay__gpu_slot *slot);
void belay__gpu_kernels_free(struct belay__gpu_slot *slot);

/* ---- threads (slot_thread.c) ---- */

/* The list of ended operations that a pool's threads fill, and the handle by
 * which they wake the loop. Counted: a thread that is left behind keeps it.
 */
int belay__gpu_bridge_open(
    belay_gpu_pool *pool, struct belay__gpu_bridge **ret);
/* Closes the handle; `closed` is called on the loop when it is. */
void belay__gpu_bridge_close(
    struct belay__gpu_bridge *bridge, void (*closed)(void *arg), void *arg);
/* Keeps the loop alive while operations are in flight. */
void belay__gpu_bridge_hold(struct belay__gpu_bridge *bridge, bool hold);

int belay__gpu_thread_start(struct belay__gpu_slot *slot);
void belay__gpu_thread_push(
    struct belay__gpu_thread *thread, struct belay__gpu_op *op);
/* After its CLOSE has ended: waits for the thread's end, frees it. */
void belay__gpu_thread_join(struct belay__gpu_thread *thread);
/* It hangs in its driver: from now on it is on its own, and frees itself and
 * the operations that it has if it ever comes back.
 */
void belay__gpu_thread_abandon(struct belay__gpu_thread *thread);

/* Runs fn(arg) on a thread of libuv's pool with all signals blocked, and is
 * not cut short: if fn hangs, so does the task. In the caller's memory.
 */
struct belay__gpu_probe {
    uv_work_t work;
    struct belay_op op;
    void (*fn)(void *arg);
    void *arg;
};
belay_next belay__gpu_probe_run(belay_task *task,
    struct belay__gpu_probe *probe, void (*fn)(void *arg), void *arg);

/* ---- finding devices (driver.c) ---- */

#define BELAY__GPU_NOTES 1024

/* What was asked for, and what was found. Threads may fill it: no memory of
 * the runtime in it.
 */
struct belay__gpu_found {
    const char *devices; /* as in the options */
    bool inline_only;    /* look at INLINE drivers, else at the others */
    bool look_only;      /* no vendor's library is to be loaded here: state
                            may be NULL */
    const struct belay__gpu_driver *driver; /* NULL: none */
    void *state;
    struct belay__gpu_devinfo *infos; /* malloc()ed */
    uint32_t count;
    int code;
    char note[BELAY__GPU_NOTES]; /* a line for each kind that was passed over */
};

/* NULL, or what is wrong with the text. */
const char *belay__gpu_devices_check(const char *devices);
/* May what it names have drivers with threads, or without? */
bool belay__gpu_devices_may_be(const char *devices, bool inline_driver);
/* Loads the first driver that has devices; goes on from what is there, which
 * is a struct belay__gpu_found.
 */
void belay__gpu_find(void *arg);
/* Its end, if it is not handed to a pool. */
void belay__gpu_found_drop(void *arg);

/* ---- events (ring.c) ---- */

int belay__gpu_ring_open(belay_gpu_pool *pool, uint32_t wanted);
void belay__gpu_ring_close(belay_gpu_pool *pool);

/* Never fails, never allocates. */
static inline void
belay__gpu_note(belay_gpu_pool *pool, enum belay_gpu_event_kind kind,
    int64_t now, const struct belay_gpu_event *what)
{
    struct belay_gpu_event *event =
        &pool->ring[pool->ring_count++ & pool->ring_mask];

    *event = *what;
    event->time.ns = now;
    event->kind = (uint8_t)kind;
}

#endif
