/* backend.h - what a kind of device has to do for the pool (private).
 *
 * A driver is a table of functions. There are two sorts:
 *
 *   - A *threaded* one blocks. The pool gives each slot a thread
 *     (slot_thread.c), which is the only one to call slot_open(), build(),
 *     alloc(), release(), submit(), wait(), health(), reset() and
 *     slot_close() for that slot's state, one call at a time. load(),
 *     enumerate() and unload() run on a probe thread, one call at a time, and
 *     never while a slot's thread is inside the driver; but the probe thread
 *     is not always the same one. No driver call is ever made on the loop
 *     thread (G37).
 *   - An INLINE one never blocks and lives on the loop thread alone: load(),
 *     enumerate(), slot_open(), start(), slot_close() and unload(). It ends
 *     what start() began through belay__gpu_complete(), inside start() or from
 *     a callback of the loop later.
 *
 * Who owns what:
 *
 *   - The pool owns every op, buffer record and kernel record; a driver keeps
 *     what it needs behind their `native` fields and frees it in release(),
 *     slot_close() or reset() (for kernels: only in the latter two).
 *   - An op is the driver's from the moment submit() or start() is called
 *     with it until that call has failed, or wait() has returned, or
 *     belay__gpu_complete() was called: exactly once each (G30). In that time
 *     the commands, the host memory they name and the buffers stay alive,
 *     also when the task that asked is gone (G11-G13).
 *   - `op->note` and what strings return in `why` are copied by nobody: the
 *     driver writes into memory that the pool gives it.
 *   - Threaded drivers allocate with malloc(): the runtime's allocator is for
 *     the loop thread only.
 *
 * Signals are blocked on slot and probe threads, and so are those of threads
 * that a driver starts there (G38).
 */
#ifndef BELAY_GPU_BACKEND_H
#define BELAY_GPU_BACKEND_H

#include <stdatomic.h>

#include <belay/gpu_stats.h>
#include <belay/gpu_work.h>

struct belay__gpu_slot;

/* ---- devices ---- */

/* A text of limited length that a driver fills; always ends with NUL. */
#define BELAY__GPU_NOTE 160

/* Filled by enumerate(). */
struct belay__gpu_devinfo {
    char name[96];
    char uid[64]; /* GPU or MIG UUID, or platform and PCI id: never the ordinal,
                     which other processes may count differently */
    uint64_t bytes;          /* of memory */
    uint64_t free_bytes;     /* UINT64_MAX: not known without a context */
    uint64_t headroom_bytes; /* what the driver itself will take of it */
    uint32_t units;
    uint32_t slots;   /* a good number of them; 0: 1 */
    uint32_t ordinal; /* the driver's own number for it */
    bool gauged;      /* by belay-gpu-probe: */
    struct belay_gpu_gauges gauges;
};

/* What a slot is opened for. */
struct belay__gpu_place {
    uint32_t ordinal;       /* of belay__gpu_devinfo */
    uint32_t device;        /* index in the pool */
    uint32_t slot;          /* index on the device */
    uint32_t spin_us;       /* poll that long in wait() before blocking */
    belay_runtime *runtime; /* INLINE only, for its clock; else NULL */
};

/* ---- records that the pool keeps ---- */

/* The driver's part of a buffer. */
struct belay__gpu_buffer {
    void *native; /* set by alloc(), cleared by release() */
    uint64_t bytes;
};

/* A kernel of one slot. */
struct belay_gpu_kernel {
    void *native; /* set by build() */
    struct belay__gpu_slot *slot;
    struct belay_gpu_kernel *next; /* of the slot */
    uint64_t hash;                 /* of what follows */
    bool built; /* false: being built, failed, or gone with a reset */
    belay_gpu_sim_fn *sim;
    double sim_work;
    char *entry; /* NUL-terminated copies, both in one block … */
    char *text;  /* PTX or OpenCL C; "" for sim */
    size_t text_len;
    size_t block_bytes; /* … of this size */
};

/* ---- operations ---- */

enum belay__gpu_job {
    BELAY__GPU_RUN, /* commands */
    BELAY__GPU_BUILD,
    BELAY__GPU_ALLOC,
    /* Those of a lease's end; they are never dropped. */
    BELAY__GPU_SCRUB, /* as RUN */
    BELAY__GPU_RELEASE,
    /* The pool's own; no task waits for them. */
    BELAY__GPU_OPEN,
    BELAY__GPU_HEALTH,
    BELAY__GPU_RESET,
    BELAY__GPU_CLOSE,
};

enum belay__gpu_op_state {
    BELAY__GPU_OP_QUEUED,
    BELAY__GPU_OP_SUBMITTED,
    BELAY__GPU_OP_DONE,
    BELAY__GPU_OP_FAILED,
    BELAY__GPU_OP_DROPPED,
};

/* One argument of a launch, resolved. */
struct belay__gpu_arg {
    enum belay_gpu_arg_kind kind; /* STOP: the driver knows the address */
    uint32_t bytes;               /* of a value */
    const struct belay__gpu_buffer *buffer;
    uint64_t value; /* the value's bytes are its first ones; not of STOP, and
                       not of SEQUENCE, which is op->seq */
};

/* One command, checked: ranges lie inside their buffers, sizes are not 0. */
struct belay__gpu_cmd {
    enum belay_gpu_cmd_kind kind;
    union {
        struct {
            struct belay__gpu_buffer *buffer;
            uint64_t offset;
            uint64_t bytes;
            void *host;
            uint8_t value;
        } transfer;
        struct {
            const struct belay_gpu_kernel *kernel;
            uint32_t grid[3]; /* none is 0 */
            uint32_t block[3];
            uint32_t shared_bytes;
            uint32_t arg_count;
            const struct belay__gpu_arg *args;
        } launch;
    } u;
};

struct belay__gpu_op {
    struct belay__gpu_op *next; /* of the slot's queue, then of those ended;
                                   the slot's thread and the loop hand it on */
    struct belay__gpu_slot *slot;
    uint64_t seq; /* from 1, rising in a slot; compared with its stop word */
    enum belay__gpu_job job;
    uint32_t priority;     /* of the lease; 0 to 7, 0 without one */
    _Atomic uint8_t state; /* enum belay__gpu_op_state; SUBMITTED is set by the
                              slot's thread, the end by the loop */
    _Atomic bool drop;     /* by the loop: end it as DROPPED if it has not been
                              submitted (G11) */
    union {
        struct {
            const struct belay__gpu_cmd *cmds;
            uint32_t count;
        } run;
        struct belay_gpu_kernel *kernel;  /* BUILD */
        struct belay__gpu_buffer *buffer; /* ALLOC, RELEASE */
        struct {
            void *native;
            uint64_t free_bytes;
        } open; /* what slot_open() has answered */
    } u;

    /* The answer; written before the op ends, read by the loop afterwards. */
    int status; /* 0, BELAY_GPU_EOP, _ENOMEM, _ELOST or _ENOTSUP */
    int native; /* the driver's own code, 0 for none */
    char *log;  /* malloc()ed text of a BUILD that failed, or NULL; freed by
                   the pool */
    char note[BELAY__GPU_NOTE]; /* what failed, for people; "" for none */

    /* The pool's; op.c. */
    uint64_t patience_ns;        /* ALLOC, OPEN: to try again without memory */
    struct belay__gpu_op *after; /* of the slot's operations, in order */
    struct belay__gpu_op *before;
    belay_task *waiter; /* NULL: nobody waits */
    void *record;       /* ALLOC, RELEASE: the pool's record of the buffer */
    void *ret;          /* where the waiter's result goes */
    uint32_t bytes;     /* of this block; 0: not one of its own */
    bool handed;        /* to the driver, or its thread */
    bool cancelled;     /* its waiter is */
};

/* ---- drivers ---- */

enum {
    BELAY__GPU_INLINE = 1,
};

/* What it wants of a source. */
enum belay__gpu_language {
    BELAY__GPU_SIMULATED,
    BELAY__GPU_PTX,
    BELAY__GPU_OPENCL_C,
};

struct belay__gpu_driver {
    const char *name; /* as in belay_gpu_pool_opts.devices */
    uint32_t flags;
    enum belay__gpu_language language;
    /* NULL, or: is it meant by these settings? For two of one name. */
    bool (*wants)(const char *settings);
    const char *automatic; /* its settings under "auto"; NULL: none */

    /* Probe thread; INLINE: the loop. */

    /* Loads the vendor's library and sets it up. settings: what stood behind
     * "name:", or "". 0 and *ret, else a code and the reason in `why`, as in
     * "libcuda.so.1: cannot be loaded": BELAY_ENOSYS if it is not there
     * (G44), BELAY_EINVAL for the settings.
     */
    int (*load)(const char *settings, void **ret, char why[BELAY__GPU_NOTE]);
    /* How many devices there are, and the first `room` of them; or a code. */
    int (*enumerate)(void *driver, struct belay__gpu_devinfo *ret,
        uint32_t room, char why[BELAY__GPU_NOTE]);
    /* All slots are closed. Never unloads the vendor's library (G33). */
    void (*unload)(void *driver);

    /* The slot's thread; INLINE: the loop, which has this one and
     * slot_close() called directly and everything else through start().
     */

    /* Context, stream or queue, stop word. *ret_free_bytes: of the device,
     * with the context made; UINT64_MAX if unknown. A failure is a code, and
     * `why`.
     */
    int (*slot_open)(void *driver, const struct belay__gpu_place *place,
        void **ret, uint64_t *ret_free_bytes, char why[BELAY__GPU_NOTE]);
    /* Each fills op->native and op->note on failure, and returns the status:
     * 0; BELAY_GPU_EOP: this op only; BELAY_GPU_ENOMEM: the driver has no
     * memory; BELAY_GPU_ELOST: the device is lost for good or until reset().
     */
    int (*build)(void *state, struct belay__gpu_op *op); /* op->u.kernel; never
        one that has a native already */
    int (*alloc)(void *state, struct belay__gpu_op *op); /* op->u.buffer */
    int (*release)(void *state, struct belay__gpu_op *op); /* op->u.buffer;
        only after the ops that use it have ended. It is gone in any case */
    int (*submit)(void *state, struct belay__gpu_op *op);  /* enqueue the batch
        and its end marker; may block */
    int (*wait)(void *state, struct belay__gpu_op *op);    /* block to that */
    int (*health)(void *state, struct belay__gpu_op *op);  /* a tiny piece of
        work whose result is checked */
    int (*reset)(void *state, struct belay__gpu_op *op);   /* make the slot as
        new, buffers and kernels gone; BELAY_GPU_ENOTSUP: it cannot */
    /* abandon: from a thread that was left behind and has come back, long
     * after the pool has gone. The driver object may be gone too: free what
     * is the slot's alone, call no driver function that may hang.
     */
    void (*slot_close)(void *state, bool abandon);

    /* INLINE only, the loop: begins an op of any job but OPEN and CLOSE. */
    void (*start)(void *state, struct belay__gpu_op *op);

    /* Any thread, wait-free: a release store of the highest sequence that is
     * to stop to the mapped word. Never lowers it (G15).
     */
    void (*stop)(void *state, uint64_t up_to_seq);
};

/* What a driver's `stop` does with its word. */
static inline void
belay__gpu_raise_stop_word(uint64_t *word, uint64_t up_to_seq)
{
    uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);

    while (seen < up_to_seq
           && !__atomic_compare_exchange_n(word, &seen, up_to_seq, true,
               __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
}

/* INLINE drivers: the op has ended, its answer is filled in. Loop thread. */
void belay__gpu_complete(struct belay__gpu_op *op);

/* What `devices` of belay_gpu_pool_opts may name; NULL-terminated (driver.c).
 * "auto" asks them in this order and takes the first that has a device.
 */
extern const struct belay__gpu_driver *const belay__gpu_drivers[];

extern const struct belay__gpu_driver belay__gpu_sim;         /* INLINE */
extern const struct belay__gpu_driver belay__gpu_sim_threads; /* sim:threads */

#endif
