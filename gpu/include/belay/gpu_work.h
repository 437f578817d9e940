/* gpu_work.h - work on a lease: memory, copies, kernels.
 *
 * Every operation is a token: the task goes on when the device has ended it.
 * Operations of one slot run in the order in which they were asked for,
 * whichever task asked. A cancelled wait goes on until the device no longer
 * touches the memory it was given; an operation that had not begun is dropped.
 *
 * One description of a kernel has a text for each kind of device; only that
 * of the pool's kind is looked at. Rules: G11, G13-G15, G19-G21, G25-G28, G30.
 */
#ifndef BELAY_GPU_WORK_H
#define BELAY_GPU_WORK_H

#include <belay/gpu.h>

BELAY_BEGIN_DECLS

typedef struct belay_gpu_kernel belay_gpu_kernel; /* opaque; the pool's */

/* Memory on a lease's device. A value, as a lease is. {0} is none. */
typedef struct belay_gpu_buffer {
    struct belay__gpu_memory *memory; /* private */
    uint64_t generation;              /* private */
} belay_gpu_buffer;

/* ---- kernels ---- */

/* What a simulated kernel sees of one argument: a buffer, or a value. */
struct belay_gpu_sim_arg {
    void *data;     /* NULL: a buffer too large to be held for real */
    uint64_t bytes; /* of the buffer, or of the value */
};

/* One launch of a simulated kernel. */
struct belay_gpu_sim_call {
    uint32_t grid[3];
    uint32_t block[3];
    const struct belay_gpu_sim_arg *args;
    uint32_t arg_count;
};

/* A kernel for simulated devices: does the work of the whole grid. Called
 * when its time is over; on the loop, or with sim:threads on the slot's
 * thread. May call nothing of Belay.
 */
typedef void belay_gpu_sim_fn(const struct belay_gpu_sim_call *call);

/* One kernel, for each kind of device. A zero field means there is none. */
struct belay_gpu_source {
    size_t size;               /* of this struct; BELAY_GPU_SOURCE() fills it */
    const char *entry;         /* the kernel's name in the texts; not empty */
    struct belay_slice ptx;    /* for CUDA */
    struct belay_slice opencl; /* OpenCL C */
    belay_gpu_sim_fn *sim;     /* default: nothing but time passes */
    double sim_work;           /* of one thread of the grid, in the unit of the
                        simulator's rate; default 1 */
};
#define BELAY_GPU_SOURCE(...)          \
    (&(const struct belay_gpu_source){ \
        .size = sizeof(struct belay_gpu_source), __VA_ARGS__})

/* ---- arguments of a launch ---- */

enum belay_gpu_arg_kind {
    BELAY_GPU_ARG_BUFFER = 1,
    BELAY_GPU_ARG_VALUE,
    BELAY_GPU_ARG_STOP,     /* the address of the slot's stop word, 64 bits */
    BELAY_GPU_ARG_SEQUENCE, /* the operation's number, 64 bits: the kernel
                               should end early once *stop >= sequence */
};

struct belay_gpu_arg {
    enum belay_gpu_arg_kind kind;
    uint32_t bytes; /* of a value: 1, 2, 4 or 8 */
    union {
        belay_gpu_buffer buffer;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } u;
};

#define BELAY_GPU__ARG_OF(suffix, type)                                   \
    static inline struct belay_gpu_arg belay_gpu_arg_##suffix(type value) \
    {                                                                     \
        struct belay_gpu_arg arg = {                                      \
            BELAY_GPU_ARG_VALUE, (uint32_t)sizeof(value), {{NULL, 0}}};   \
                                                                          \
        arg.u.suffix = value;                                             \
        return arg;                                                       \
    }
BELAY_GPU__ARG_OF(u32, uint32_t)
BELAY_GPU__ARG_OF(i32, int32_t)
BELAY_GPU__ARG_OF(u64, uint64_t)
BELAY_GPU__ARG_OF(i64, int64_t)
BELAY_GPU__ARG_OF(f32, float)
BELAY_GPU__ARG_OF(f64, double)
#undef BELAY_GPU__ARG_OF

static inline struct belay_gpu_arg
belay_gpu_arg_buffer(belay_gpu_buffer buffer)
{
    struct belay_gpu_arg arg = {BELAY_GPU_ARG_BUFFER, 0, {{NULL, 0}}};

    arg.u.buffer = buffer;
    return arg;
}

static inline struct belay_gpu_arg
belay_gpu_arg_stop(void)
{
    struct belay_gpu_arg arg = {BELAY_GPU_ARG_STOP, 8, {{NULL, 0}}};

    return arg;
}

static inline struct belay_gpu_arg
belay_gpu_arg_sequence(void)
{
    struct belay_gpu_arg arg = {BELAY_GPU_ARG_SEQUENCE, 8, {{NULL, 0}}};

    return arg;
}

/* ---- commands ---- */

enum belay_gpu_cmd_kind {
    BELAY_GPU_WRITE = 1, /* host memory to a buffer */
    BELAY_GPU_READ,      /* a buffer to host memory */
    BELAY_GPU_FILL,      /* every byte of a range */
    BELAY_GPU_LAUNCH,    /* a kernel */
};

#define BELAY_GPU_CMDS_MAX 256 /* of one belay_gpu_run() */
#define BELAY_GPU_ARGS_MAX 64  /* of one launch */

/* A range of a buffer, and what is to happen to it. */
struct belay_gpu_transfer {
    belay_gpu_buffer buffer;
    uint64_t offset;
    uint64_t bytes; /* not 0 */
    void *host;     /* WRITE reads it, READ fills it */
    uint8_t value;  /* FILL */
};

struct belay_gpu_launch {
    belay_gpu_kernel *kernel;
    uint32_t grid[3];  /* in blocks; 0 counts as 1, but not all three */
    uint32_t block[3]; /* in threads; the same */
    uint32_t shared_bytes;
    const struct belay_gpu_arg *args;
    uint32_t arg_count;
};

struct belay_gpu_cmd {
    enum belay_gpu_cmd_kind kind;
    struct belay_gpu_transfer transfer; /* all kinds but LAUNCH */
    struct belay_gpu_launch launch;
};

/* Commands, as initializers: {BELAY_GPU_CMD_WRITE(buffer, 0, in, n), ...} */
#define BELAY_GPU_CMD_WRITE(buffer_, offset_, from_, bytes_)                 \
    {                                                                        \
        BELAY_GPU_WRITE,                                                     \
            {(buffer_), (offset_), (bytes_), (void *)(uintptr_t)(from_), 0}, \
        {                                                                    \
            NULL, {0, 0, 0}, {0, 0, 0}, 0, NULL, 0                           \
        }                                                                    \
    }
#define BELAY_GPU_CMD_READ(buffer_, offset_, to_, bytes_)           \
    {                                                               \
        BELAY_GPU_READ, {(buffer_), (offset_), (bytes_), (to_), 0}, \
        {                                                           \
            NULL, {0, 0, 0}, {0, 0, 0}, 0, NULL, 0                  \
        }                                                           \
    }
#define BELAY_GPU_CMD_FILL(buffer_, offset_, value_, bytes_)              \
    {                                                                     \
        BELAY_GPU_FILL, {(buffer_), (offset_), (bytes_), NULL, (value_)}, \
        {                                                                 \
            NULL, {0, 0, 0}, {0, 0, 0}, 0, NULL, 0                        \
        }                                                                 \
    }
#define BELAY_GPU_CMD_LAUNCH(kernel_, blocks_, threads_, args_, count_)   \
    {                                                                     \
        BELAY_GPU_LAUNCH, {{NULL, 0}, 0, 0, NULL, 0},                     \
        {                                                                 \
            (kernel_), {(blocks_), 1, 1}, {(threads_), 1, 1}, 0, (args_), \
                (count_)                                                  \
        }                                                                 \
    }

/* ---- operations ---- */

/**
 * belay_gpu_build - a kernel for the lease's device, compiled at its first use
 *
 *   lease   one that the task, or a task around it, holds
 *   source  copied before the call returns
 *   ret     receives the kernel; must live until the wait is over; untouched
 *           on failure
 *
 * The same source on the same slot gives the same kernel at once. A slot keeps
 * 256 of them.
 *
 * Owner:   the pool; good for leases of the same slot until it is reset or the
 *          pool is left.
 * Errors:  BELAY_GPU_EINVAL  no entry, no text for this kind of device, or a
 *                            NUL in it
 *          BELAY_GPU_EOP     it does not compile; the message has the log
 *          BELAY_GPU_ENOMEM  the slot keeps 256 kernels already
 *          else those of belay_gpu_run().
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract G37, G43.
 */
BELAY_API belay_next belay_gpu_build(belay_task *task, belay_gpu_lease lease,
    const struct belay_gpu_source *source, belay_gpu_kernel **ret);

/**
 * belay_gpu_alloc - memory on the lease's device, out of the lease's bytes
 *
 *   lease  one that the task, or a task around it, holds
 *   bytes  not 0; the driver may round up, the lease does not
 *   ret    receives the buffer; must live until the wait is over; untouched on
 *          failure. Its content is undefined
 *
 * Owner:   the lease, until belay_gpu_free() or its end.
 * Errors:  BELAY_GPU_EINVAL  bytes is 0
 *          BELAY_GPU_ENOMEM  more than the lease has left, and the driver was
 *                            not asked; or the driver has none
 *          else those of belay_gpu_run().
 * Threads: loop thread. Cancellation point: cancelled, nothing is allocated.
 * Since:   0.1. Source: contract G19, G20.
 */
BELAY_API belay_next belay_gpu_alloc(belay_task *task, belay_gpu_lease lease,
    uint64_t bytes, belay_gpu_buffer *ret);

/**
 * belay_gpu_free - give memory back before the lease is over
 *
 *   buffer  from belay_gpu_alloc()
 *
 * Happens behind what was asked of the slot before; never waits or fails.
 *
 * Owner:   the buffer is over.
 * Errors:  BELAY_GPU_ESTALE  it is over already; nothing has changed
 *          BELAY_GPU_EINVAL  {0}
 *          BELAY_GPU_EWRONGTHREAD not the loop's thread
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: contract G21.
 */
BELAY_API int belay_gpu_free(belay_gpu_buffer buffer);

/**
 * belay_gpu_stage - host memory that the device may still use when the task is
 * gone
 *
 *   lease  one that is held
 *   bytes  not 0
 *   ret    receives it; untouched on failure
 *
 * With a drain_limit, copies use such memory only.
 *
 * Owner:   the lease; freed when it is over and the device has let go of it.
 * Errors:  BELAY_GPU_EINVAL, BELAY_GPU_ESTALE, BELAY_GPU_ECANCELED as
 *          belay_gpu_run(); BELAY_ENOMEM. In each case nothing has changed.
 * Threads: loop thread.
 * Since:   0.1. Source: contract G13.
 */
BELAY_API int belay_gpu_stage(belay_gpu_lease lease, size_t bytes, void **ret);

/**
 * belay_gpu_run - do some commands in their order, as one operation
 *
 *   lease  one that the task, or a task around it, holds
 *   cmds   `count` of them, with their arguments copied before the call
 *          returns; the host memory they name must live until the wait is over
 *   count  1 to BELAY_GPU_CMDS_MAX
 *
 * Owner:   host memory stays the caller's; the device does not touch it any
 *          more when the wait is over, however it ends.
 * Errors:  BELAY_GPU_EINVAL     an argument; the message names it
 *          BELAY_GPU_ESTALE     the lease, a buffer or a kernel is over
 *          BELAY_GPU_ECANCELED  the lease is ending
 *          BELAY_ENOMEM         no memory
 *          In each case nothing was begun.
 *          BELAY_GPU_EOP        the device has failed this operation only
 *          BELAY_GPU_ELOST      the device is lost, with all that is on it
 *          BELAY_ECANCELED      flagged; what was begun has ended. An error of
 *                               the operation itself is in the result
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract G11, G25, G30.
 */
BELAY_API belay_next belay_gpu_run(belay_task *task, belay_gpu_lease lease,
    const struct belay_gpu_cmd *cmds, size_t count);

/* One command: belay_gpu_run_one(task, lease, BELAY_GPU_CMD_READ(b, 0, p, n)) */
#define belay_gpu_run_one(task, lease, ...) \
    belay_gpu_run((task), (lease), &(const struct belay_gpu_cmd)__VA_ARGS__, 1)

BELAY_END_DECLS

#endif
