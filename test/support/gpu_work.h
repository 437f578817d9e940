/* gpu_work.h - async functions that work on a pool, for any kind of device. */
#ifndef BELAY_TEST_SUPPORT_GPU_WORK_H
#define BELAY_TEST_SUPPORT_GPU_WORK_H

#include <belay/async.h>
#include <belay/gpu_work.h>

enum { GPU_ADD_MAX = 256 };

/* Opens a lease, adds two vectors there, and checks the sum. */
struct gpu_add {
    belay_gpu_pool *pool;
    uint32_t priority; /* of the lease */
    uint32_t count;    /* at most GPU_ADD_MAX; default that */
    /* locals */
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
    belay_gpu_buffer a;
    belay_gpu_buffer b;
    belay_gpu_buffer sum;
    float x[GPU_ADD_MAX];
    float y[GPU_ADD_MAX];
    float z[GPU_ADD_MAX];
};
extern const belay_function gpu_add;

/* Opens a lease and counts there, up to `rounds` or a stop. `running` is set
 * when the kernel has been asked for; `ended` when the await is over, with its
 * result; then `left`, when the lease is over.
 */
struct gpu_count {
    belay_gpu_pool *pool;
    uint64_t rounds;
    bool *running;
    bool *ended;
    int *code;         /* of the await */
    uint64_t *counted; /* untouched if the await was cancelled */
    /* locals */
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
    belay_gpu_buffer done;
};
extern const belay_function gpu_count;

#endif
