/* cuda.h - what the files of the CUDA driver share (private).
 *
 * cuda_load.c finds the library and the devices, cuda_error.c knows what a
 * code means, cuda_ptx.c reads the parameters of a kernel, cuda_slot.c makes a
 * slot and what lies on it, cuda_run.c does the work.
 */
#ifndef BELAY_GPU_CUDA_H
#define BELAY_GPU_CUDA_H

#include "gpu/backend.h"
#include "gpu/cuda_api.h"

/* The driver's functions, found in the library. */
struct belay__cuda_calls {
#define BELAY__CUDA_CALL(name, version, parameters) CUresult(*name) parameters;
    BELAY__CUDA_API(BELAY__CUDA_CALL)
#undef BELAY__CUDA_CALL
};

struct belay__cuda {
    struct belay__cuda_calls call;
    int version; /* of the driver: 13000 is 13.0 */
};

/* ---- a slot ---- */

enum {
    BELAY__CUDA_AHEAD = 2,  /* ops between submit() and wait() */
    BELAY__CUDA_LEVELS = 8, /* of priority, at most */
};

struct belay__cuda_memory {
    struct belay__cuda_memory *next; /* of the slot */
    struct belay__cuda_memory **link;
    CUdeviceptr at;
};

struct belay__cuda_kernel {
    struct belay__cuda_kernel *next;
    CUmodule module;
    CUfunction function;
    int parameters; /* -1: not known */
    uint32_t sizes[BELAY_GPU_ARGS_MAX];
};

struct belay__cuda_slot {
    const struct belay__cuda *cuda;
    CUdevice device;
    CUcontext context;
    /* One for each level of priority in use, made when it is first wanted. All
     * that a lease asks for is on one of them, `stream`.
     */
    CUstream streams[BELAY__CUDA_LEVELS];
    CUstream stream;
    /* On which memory comes and goes, and nothing else is ever done; NULL where
     * the device has no memory in the order of a stream.
     */
    CUstream memory_stream;
    int least; /* as the driver counts: a higher priority is a lower number */
    int levels;
    CUevent events[BELAY__CUDA_AHEAD];
    uint64_t
        seqs[BELAY__CUDA_AHEAD]; /* whose end the event marks; 0: nobody's */
    uint64_t *words;             /* mapped into the device's memory */
    CUdeviceptr words_at;        /* where it sees them */
    CUdeviceptr scratch;
    struct belay__cuda_kernel *kernels;
    struct belay__cuda_memory *memory;
    uint32_t spin_us;
    uint8_t health; /* the last byte tried */
    bool lost;      /* nothing is freed any more */
};

/* ---- cuda_error.c ---- */

/* "what: NAME (code): text", as far as it fits. */
void belay__cuda_note(const struct belay__cuda *cuda, char *note,
    const char *what, CUresult code);

/* Why cuInit() has refused, in words, or NULL. */
const char *belay__cuda_absence(CUresult code);

/* What a failure is to the pool (G28): BELAY_GPU_EOP, BELAY_GPU_ENOMEM,
 * BELAY_GPU_ELOST; 0 if the code alone does not tell.
 */
int belay__cuda_class(CUresult code);

/* ---- cuda_ptx.c ---- */

/* The sizes of a kernel's parameters, as its PTX declares them: how many
 * there are, at most `room` of them stored; -1 if there is no such entry, or
 * it is written in a way that is not understood.
 */
int belay__cuda_ptx_parameters(
    const char *text, size_t len, const char *entry, uint32_t *sizes, int room);

/* ---- cuda_load.c ---- */

int belay__cuda_load(
    const char *settings, void **ret, char why[BELAY__GPU_NOTE]);
int belay__cuda_enumerate(void *driver, struct belay__gpu_devinfo *ret,
    uint32_t room, char why[BELAY__GPU_NOTE]);
void belay__cuda_unload(void *driver);

/* ---- cuda_slot.c ---- */

extern const struct belay__gpu_driver belay__gpu_cuda;

/* ---- cuda_run.c ---- */

/* op->native and op->note; the status. */
int belay__cuda_failed(struct belay__cuda_slot *slot, struct belay__gpu_op *op,
    const char *what, CUresult code);
int belay__cuda_submit(void *state, struct belay__gpu_op *op);
int belay__cuda_wait(void *state, struct belay__gpu_op *op);

#endif
