/* gpu_bench.h - a lease of a pool, and an async function to run in it. */
#ifndef BELAY_TEST_SUPPORT_GPU_BENCH_H
#define BELAY_TEST_SUPPORT_GPU_BENCH_H

#include "gpu/internal.h"
#include "test/support/gpu_crowd.h"

/* Runs `body` in a lease of a pool of `devices`. */
struct bench {
    const char *devices;
    const belay_function *body;
    struct belay_gpu_pool_opts opts;
    struct belay_gpu_lease_opts lease_opts;
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_buffer buffer;
    belay_gpu_buffer other;
    belay_gpu_kernel *kernel;
    struct belay_gpu_arg args[4];
    belay_group *group;
    belay_task *child;
    unsigned char host[64];
    void *staged;
};
extern const belay_function bench;

/* An async function that is called in the lease, with b as the bench. */
#define BODY(name)       \
    struct name {        \
        struct bench *b; \
    };                   \
    BELAY_ASYNC(name)

#define RUN_BODY(name_, devices_, ...) \
    RUN(bench, .devices = (devices_), .body = &(name_), __VA_ARGS__)

/* One lease more of the bench's pool, with `body` in it. */
struct in_lease {
    struct bench *b;
    const belay_function *body;
};
extern const belay_function in_lease;

#endif
