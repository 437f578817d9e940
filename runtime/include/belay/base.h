/* base.h - what every other Belay header builds on.
 *
 * Visibility, result codes, durations, the allocator, the version. A code is
 * 0 or negative; the codes of the system keep the values that libuv gives
 * them (on Unix: -errno), ours lie below -5000. A code alone is always a
 * complete error; detail comes in error objects (error.h).
 */
#ifndef BELAY_BASE_H
#define BELAY_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Some functions have the name of a struct, as belay_result() has. C++ knows
 * which is meant; g++ would warn that the one hides the other's constructor.
 */
#ifdef __cplusplus
#define BELAY_BEGIN_DECLS                                         \
    _Pragma("GCC diagnostic push")                                \
        _Pragma("GCC diagnostic ignored \"-Wshadow\"") extern "C" \
    {
#define BELAY_END_DECLS \
    }                   \
    _Pragma("GCC diagnostic pop")
#else
#define BELAY_BEGIN_DECLS
#define BELAY_END_DECLS
#endif

#define BELAY_API __attribute__((visibility("default")))
#define BELAY_PRINTF(format_at, first_at) \
    __attribute__((format(printf, format_at, first_at)))

#define BELAY_VERSION_MAJOR 0
#define BELAY_VERSION_MINOR 1
#define BELAY_VERSION_PATCH 0

BELAY_BEGIN_DECLS

/* Every code that Belay itself gives: name, value, text. Codes of the system
 * that are not listed here are passed on as libuv delivers them.
 */
#define BELAY_CODE_MAP(X)                                           \
    X(ECANCELED, -ECANCELED, "operation cancelled")                 \
    X(ETIMEDOUT, -ETIMEDOUT, "timed out")                           \
    X(EINVAL, -EINVAL, "invalid argument")                          \
    X(ENOMEM, -ENOMEM, "out of memory")                             \
    X(EBUSY, -EBUSY, "busy")                                        \
    X(EPROTO, -EPROTO, "protocol error")                            \
    X(ENOENT, -ENOENT, "not found")                                 \
    X(ENOSYS, -ENOSYS, "not available")                             \
    X(EPIPE, -EPIPE, "the other side is closed")                    \
    X(EIO, -EIO, "input/output error")                              \
    X(EDEADLK, -EDEADLK, "would wait for itself")                   \
    X(EAGAIN, -EAGAIN, "not ready now")                             \
    X(ESTATE, -5001, "not possible in this state")                  \
    X(EOWNER, -5002, "belongs to another task")                     \
    X(EMISNEST, -5003, "scope is not the innermost one")            \
    X(EPINNED, -5004, "entry is bound to its task")                 \
    X(EGROUP, -5005, "tasks of the group failed")                   \
    X(ECLOSED, -5006, "closed")                                     \
    X(EHTTP, -5101, "the server answered with an error status")     \
    X(ECONNECT, -5102, "no connection")                             \
    X(ETLS, -5103, "TLS handshake or certificate failed")           \
    X(ETRUNCATED, -5104, "the reply was cut off")                   \
    X(ETOOLARGE, -5105, "larger than the limit")                    \
    X(EREPLY, -5106, "the reply is not of the expected form")       \
    X(EQUOTA, -5107, "the account's quota is used up")              \
    X(EAUTH, -5108, "the key was refused")                          \
    X(EJSON, -5109, "not valid JSON")                               \
    X(ERESET, -5110, "the connection broke")                        \
    X(EBUDGET, -5111, "the budget does not allow it")               \
    X(ENOPRICE, -5112, "the model has no price")                    \
    X(ENOCAP, -5113, "nothing limits the output")                   \
    X(GPU_EINVAL, -5201, "the GPU pool cannot take this argument")  \
    X(GPU_ESTALE, -5202, "the GPU lease, or what it had, is over")  \
    X(GPU_EUNSAT, -5203, "the GPU pool could never give that much") \
    X(GPU_EAGAIN, -5204, "no GPU slot is free now")                 \
    X(GPU_EDEADLK, -5205, "would wait for a GPU lease of its own")  \
    X(GPU_ECLOSED, -5206, "the GPU pool is closed")                 \
    X(GPU_ECANCELED, -5207, "the GPU lease is ending")              \
    X(GPU_EHOLD, -5208, "the GPU lease was held too long")          \
    X(GPU_ENOMEM, -5209, "out of GPU memory")                       \
    X(GPU_EOP, -5210, "the GPU operation failed")                   \
    X(GPU_ELOST, -5211, "the GPU is lost")                          \
    X(GPU_ESTUCK, -5212, "the GPU does not let go")                 \
    X(GPU_ENOTSUP, -5213, "the GPU driver cannot do this")          \
    X(GPU_EFORK, -5214, "the GPU pool is another process's")        \
    X(GPU_EWRONGTHREAD, -5215, "not the thread of the GPU pool's loop")

enum belay_code {
    BELAY_OK = 0,
#define BELAY__ENUM(name, value, text) BELAY_##name = (value),
    BELAY_CODE_MAP(BELAY__ENUM)
#undef BELAY__ENUM
};

/**
 * belay_code_name - the name of a code, as in "ETIMEDOUT"
 *
 *   code  0, a negative code of Belay or of libuv
 *
 * Owner:   static text, never NULL; "UNKNOWN" for a code of neither.
 * Errors:  none.
 * Threads: any.
 * Since:   0.1. Source: uv_err_name.
 */
BELAY_API const char *belay_code_name(int code);

/**
 * belay_code_text - a short text for a code, as in "timed out"
 *
 *   code  0, a negative code of Belay or of libuv
 *
 * Owner:   static text, never NULL; "unknown error" for a code of neither.
 * Errors:  none.
 * Threads: any.
 * Since:   0.1. Source: uv_strerror.
 */
BELAY_API const char *belay_code_text(int code);

/* A span of time. Negative spans count as zero where something waits. */
typedef struct belay_duration {
    int64_t ns;
} belay_duration;

/* A point on a runtime's monotonic clock, whose zero is arbitrary. */
typedef struct belay_time {
    int64_t ns;
} belay_time;

#ifdef __cplusplus
#define BELAY_DURATION_NS(ns_value) (belay_duration{(ns_value)})
#else
#define BELAY_DURATION_NS(ns_value) ((belay_duration){(ns_value)})
#endif
#define BELAY_FOREVER BELAY_DURATION_NS(INT64_MAX) /* never ends */

/* Spans from whole units; what does not fit becomes BELAY_FOREVER. */
static inline belay_duration
belay_nanoseconds(int64_t n)
{
    return BELAY_DURATION_NS(n);
}

static inline belay_duration
belay_duration_scaled(int64_t n, int64_t unit_ns)
{
    int64_t ns;

    if (__builtin_mul_overflow(n, unit_ns, &ns)) {
        return n > 0 ? BELAY_FOREVER : BELAY_DURATION_NS(0);
    }
    return BELAY_DURATION_NS(ns);
}

static inline belay_duration
belay_microseconds(int64_t n)
{
    return belay_duration_scaled(n, 1000);
}

static inline belay_duration
belay_milliseconds(int64_t n)
{
    return belay_duration_scaled(n, 1000000);
}

static inline belay_duration
belay_seconds(int64_t n)
{
    return belay_duration_scaled(n, 1000000000);
}

/* Bytes that belong to somebody else: not NUL-terminated, may hold NULs. */
struct belay_slice {
    const char *data; /* NULL only if len is 0 */
    size_t len;
};

/* Where the memory of a runtime comes from. What other threads use too, as posts
 * to a portal, comes from malloc().
 */
struct belay_allocator {
    /* realloc-shaped: ptr NULL allocates, new_size 0 frees and returns NULL.
     * Returned memory is aligned for any type. old_size is what was asked
     * for before; new_size may be smaller. NULL for another new_size than 0:
     * there is no memory, and ptr stays. Called on the runtime's thread only.
     */
    void *(*realloc_fn)(void *ptr, size_t old_size, size_t new_size, void *arg);
    void *arg;
};

/**
 * belay_version - the version of the library that is running, as in "0.1.0"
 *
 * Owner:   static text.
 * Errors:  none.
 * Threads: any.
 * Since:   0.1. Source: style.md 2.4.
 */
BELAY_API const char *belay_version(void);

BELAY_END_DECLS

#endif
