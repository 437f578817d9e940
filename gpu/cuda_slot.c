/* cuda_slot.c - one slot: streams of the device's primary context.
 *
 * All of it is called by the slot's own thread, on which the context was made
 * current before anything else: a thread that forgets makes a context on the
 * first device.
 *
 * Slots of one device share its primary context, so a fault in one is a fault
 * in all: each reports it at its next call. From then on the driver answers
 * every question with the fault, and so nobody can tell what still runs. What
 * cannot be waited for is not freed: memory, modules and streams of a lost slot
 * are left in the context. Modules and streams go when its last slot lets go of
 * that; memory, which is the device's and not the context's, may stay taken
 * until the process ends.
 */
#include "gpu/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORDS = 8,     /* of mapped memory: 64 bytes, a cache line */
    STOP_WORD = 0, /* which is which */
    ECHO_WORD = 1,
    SCRATCH_BYTES = 256,
    LOG_BYTES = 8192,
};

/* ---- memory of the device ---- */

/* cuMemFree() waits for all that runs on the device, and meanwhile keeps every
 * other thread from launching (R14, bench/results): a lease's end would be as
 * late as its neighbours' kernels, and hold them up too. Memory that comes and
 * goes in the order of a stream waits for that stream alone. So it has one of
 * its own; after a wait for that, which is a short one, what came may be used
 * on any stream, and what went is the device's again (if nobody else in the
 * process has told the device's pool of memory to keep it).
 *
 * 0 at *ret: nothing is there.
 */
static CUresult
memory_get(const struct belay__cuda_slot *slot, CUdeviceptr *ret, size_t bytes,
    const char **ret_what)
{
    const struct belay__cuda_calls *call = &slot->cuda->call;
    CUdeviceptr at = 0;
    CUresult code;

    if (slot->memory_stream == NULL) {
        *ret_what = "cuMemAlloc";
        return call->cuMemAlloc(ret, bytes);
    }
    *ret_what = "cuMemAllocAsync";
    code = call->cuMemAllocAsync(&at, bytes, slot->memory_stream);
    if (code != CUDA_SUCCESS) {
        return code;
    }
    *ret_what = "cuStreamSynchronize";
    code = call->cuStreamSynchronize(slot->memory_stream);
    if (code != CUDA_SUCCESS) {
        (void)call->cuMemFreeAsync(at, slot->memory_stream);
        return code;
    }
    *ret = at;
    return CUDA_SUCCESS;
}

/* Nothing uses it any more. *at becomes 0, unless it could not be given back;
 * a code with 0 is the answer to the wait.
 */
static CUresult
memory_give(
    const struct belay__cuda_slot *slot, CUdeviceptr *at, const char **ret_what)
{
    const struct belay__cuda_calls *call = &slot->cuda->call;
    CUresult code;

    if (slot->memory_stream == NULL) {
        *ret_what = "cuMemFree";
        code = call->cuMemFree(*at);
        *at = code == CUDA_SUCCESS ? 0 : *at;
        return code;
    }
    *ret_what = "cuMemFreeAsync";
    code = call->cuMemFreeAsync(*at, slot->memory_stream);
    if (code != CUDA_SUCCESS) {
        return code;
    }
    *at = 0;
    *ret_what = "cuStreamSynchronize";
    return call->cuStreamSynchronize(slot->memory_stream);
}

/* ---- opening and closing ---- */

/* All that was made in the context. A code could change nothing here. */
static void
unmake(struct belay__cuda_slot *slot)
{
    const struct belay__cuda_calls *call = &slot->cuda->call;
    const char *what;

    for (struct belay__cuda_memory *memory = slot->memory; memory != NULL;
         memory = memory->next) {
        (void)memory_give(slot, &memory->at, &what);
    }
    for (const struct belay__cuda_kernel *at = slot->kernels; at != NULL;
         at = at->next) {
        (void)call->cuModuleUnload(at->module);
    }
    for (int i = 0; i < BELAY__CUDA_AHEAD; i++) {
        if (slot->events[i] != NULL) {
            (void)call->cuEventDestroy(slot->events[i]);
        }
    }
    if (slot->scratch != 0) {
        (void)memory_give(slot, &slot->scratch, &what);
    }
    if (slot->words != NULL) {
        (void)call->cuMemFreeHost(slot->words);
    }
    for (int i = 0; i < BELAY__CUDA_LEVELS; i++) {
        if (slot->streams[i] != NULL) {
            (void)call->cuStreamDestroy(slot->streams[i]);
        }
    }
    if (slot->memory_stream != NULL) {
        (void)call->cuStreamDestroy(slot->memory_stream);
    }
}

static void
slot_close(void *state, bool abandon)
{
    struct belay__cuda_slot *slot = state;
    struct belay__cuda_kernel *kernel;
    struct belay__cuda_memory *memory;

    if (slot == NULL) {
        return;
    }
    if (!abandon && !slot->lost) {
        unmake(slot);
    }
    if (!abandon && slot->context != NULL) {
        (void)slot->cuda->call.cuCtxSetCurrent(NULL);
        (void)slot->cuda->call.cuDevicePrimaryCtxRelease(slot->device);
    }
    while ((memory = slot->memory) != NULL) {
        slot->memory = memory->next;
        free(memory);
    }
    while ((kernel = slot->kernels) != NULL) {
        slot->kernels = kernel->next;
        free(kernel);
    }
    free(slot);
}

/* What is made in the context; `ret_what` names what has failed. */
static CUresult
make(struct belay__cuda_slot *slot, const char **ret_what)
{
    const struct belay__cuda_calls *call = &slot->cuda->call;
    CUresult code = CUDA_SUCCESS;
    void *words = NULL;
    int greatest = 0;
    int ordered = 0;

    *ret_what = "cuCtxGetStreamPriorityRange";
    code = call->cuCtxGetStreamPriorityRange(&slot->least, &greatest);
    if (code == CUDA_SUCCESS) {
        slot->levels = slot->least - greatest + 1;
        *ret_what = "cuStreamCreateWithPriority";
        code = call->cuStreamCreateWithPriority(
            &slot->streams[0], CU_STREAM_NON_BLOCKING, slot->least);
        slot->stream = slot->streams[0];
    }
    for (int i = 0; i < BELAY__CUDA_AHEAD && code == CUDA_SUCCESS; i++) {
        *ret_what = "cuEventCreate";
        code = call->cuEventCreate(
            &slot->events[i], CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING);
    }
    if (code == CUDA_SUCCESS) {
        *ret_what = "cuMemHostAlloc";
        code = call->cuMemHostAlloc(&words, WORDS * sizeof(uint64_t),
            CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
    }
    if (code == CUDA_SUCCESS) {
        slot->words = words;
        memset(words, 0, WORDS * sizeof(uint64_t));
        *ret_what = "cuMemHostGetDevicePointer";
        code = call->cuMemHostGetDevicePointer(&slot->words_at, words, 0);
    }
    if (code == CUDA_SUCCESS) {
        *ret_what = "cuDeviceGetAttribute";
        code = call->cuDeviceGetAttribute(
            &ordered, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, slot->device);
    }
    if (code == CUDA_SUCCESS && ordered != 0) {
        *ret_what = "cuStreamCreateWithPriority";
        code = call->cuStreamCreateWithPriority(
            &slot->memory_stream, CU_STREAM_NON_BLOCKING, slot->least);
    }
    if (code == CUDA_SUCCESS) {
        code = memory_get(slot, &slot->scratch, SCRATCH_BYTES, ret_what);
    }
    return code;
}

static int
slot_open(void *driver, const struct belay__gpu_place *place, void **ret,
    uint64_t *ret_free_bytes, char why[BELAY__GPU_NOTE])
{
    const struct belay__cuda *cuda = driver;
    struct belay__cuda_slot *slot = calloc(1, sizeof(*slot));
    const char *what = "cuDeviceGet";
    size_t total_bytes = 0;
    size_t free_bytes = 0;
    CUresult code;

    if (slot == NULL) {
        (void)snprintf(why, BELAY__GPU_NOTE, "out of memory");
        return BELAY_ENOMEM;
    }
    slot->cuda = cuda;
    slot->spin_us = place->spin_us;
    code = cuda->call.cuDeviceGet(&slot->device, (int)place->ordinal);
    if (code == CUDA_SUCCESS) {
        what = "cuDevicePrimaryCtxRetain";
        code =
            cuda->call.cuDevicePrimaryCtxRetain(&slot->context, slot->device);
    }
    if (code == CUDA_SUCCESS) {
        what = "cuCtxSetCurrent";
        code = cuda->call.cuCtxSetCurrent(slot->context);
    }
    if (code == CUDA_SUCCESS) {
        code = make(slot, &what);
    }
    if (code == CUDA_SUCCESS) {
        what = "cuMemGetInfo";
        code = cuda->call.cuMemGetInfo(&free_bytes, &total_bytes);
    }
    if (code != CUDA_SUCCESS) {
        belay__cuda_note(cuda, why, what, code);
        slot_close(slot, false);
        return code == CUDA_ERROR_OUT_OF_MEMORY ? BELAY_GPU_ENOMEM
                                                : BELAY_GPU_ELOST;
    }
    *ret = slot;
    *ret_free_bytes = free_bytes;
    return 0;
}

/* ---- kernels ---- */

static int
build(void *state, struct belay__gpu_op *op)
{
    struct belay__cuda_slot *slot = state;
    const struct belay__cuda_calls *call = &slot->cuda->call;
    const struct belay_gpu_kernel *source = op->u.kernel;
    CUjit_option options[] = {
        CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    char *log = calloc(1, LOG_BYTES);
    const uintptr_t log_bytes = LOG_BYTES - 1;
    void *values[] = {log, NULL};
    struct belay__cuda_kernel *kernel = calloc(1, sizeof(*kernel));
    const char *what = "cuModuleLoadDataEx";
    CUresult code;

    if (log == NULL || kernel == NULL) {
        free(log);
        free(kernel);
        (void)snprintf(op->note, BELAY__GPU_NOTE, "out of memory");
        return BELAY_GPU_ENOMEM;
    }
    /* The driver takes a number in a pointer's clothes. */
    memcpy(&values[1], &log_bytes, sizeof(log_bytes));
    code = call->cuModuleLoadDataEx(
        &kernel->module, source->text, 2, options, values);
    if (code == CUDA_SUCCESS) {
        what = "cuModuleGetFunction";
        code = call->cuModuleGetFunction(
            &kernel->function, kernel->module, source->entry);
    }
    if (code != CUDA_SUCCESS) {
        int status = belay__cuda_failed(slot, op, what, code);

        if (kernel->module != NULL) {
            (void)call->cuModuleUnload(kernel->module);
        }
        free(kernel);
        log[LOG_BYTES - 1] = '\0';
        op->log = log[0] != '\0' ? log : NULL;
        if (op->log == NULL) {
            free(log);
        }
        return status;
    }
    free(log);
    kernel->parameters = belay__cuda_ptx_parameters(source->text,
        source->text_len, source->entry, kernel->sizes, BELAY_GPU_ARGS_MAX);
    kernel->next = slot->kernels;
    slot->kernels = kernel;
    op->u.kernel->native = kernel;
    return 0;
}

/* ---- memory ---- */

static int
alloc(void *state, struct belay__gpu_op *op)
{
    struct belay__cuda_slot *slot = state;
    struct belay__gpu_buffer *buffer = op->u.buffer;
    struct belay__cuda_memory *memory = calloc(1, sizeof(*memory));
    const char *what;
    CUresult code;

    if (memory == NULL) {
        (void)snprintf(op->note, BELAY__GPU_NOTE, "out of memory");
        return BELAY_GPU_ENOMEM;
    }
    code = memory_get(slot, &memory->at, buffer->bytes, &what);
    if (code != CUDA_SUCCESS) {
        free(memory);
        return belay__cuda_failed(slot, op, what, code);
    }
    memory->next = slot->memory;
    memory->link = &slot->memory;
    if (memory->next != NULL) {
        memory->next->link = &memory->next;
    }
    slot->memory = memory;
    buffer->native = memory;
    return 0;
}

/* What cannot be given back stays the slot's, which tries again at its end. */
static int
release(void *state, struct belay__gpu_op *op)
{
    struct belay__cuda_slot *slot = state;
    struct belay__cuda_memory *memory = op->u.buffer->native;
    const char *what = "";
    CUresult code = CUDA_SUCCESS;
    int status = 0;

    if (memory == NULL) {
        return 0;
    }
    op->u.buffer->native = NULL;
    if (!slot->lost) {
        code = memory_give(slot, &memory->at, &what);
    }
    if (code != CUDA_SUCCESS) {
        status = belay__cuda_failed(slot, op, what, code);
    }
    if (memory->at != 0 && !slot->lost) {
        return status;
    }
    *memory->link = memory->next;
    if (memory->next != NULL) {
        memory->next->link = memory->link;
    }
    free(memory);
    return status;
}

/* A byte makes its way to the device and back. */
static int
health(void *state, struct belay__gpu_op *op)
{
    struct belay__cuda_slot *slot = state;
    const struct belay__cuda_calls *call = &slot->cuda->call;
    uint8_t byte = ++slot->health;
    uint64_t expected;
    CUresult code;

    memset(&expected, byte, sizeof(expected));
    code = call->cuMemsetD8Async(
        slot->scratch, byte, sizeof(expected), slot->stream);
    if (code == CUDA_SUCCESS) {
        code = call->cuMemcpyDtoHAsync(&slot->words[ECHO_WORD], slot->scratch,
            sizeof(expected), slot->stream);
    }
    if (code == CUDA_SUCCESS) {
        code = call->cuStreamSynchronize(slot->stream);
    }
    if (code != CUDA_SUCCESS) {
        return belay__cuda_failed(slot, op, "the health check", code);
    }
    if (slot->words[ECHO_WORD] != expected) {
        (void)snprintf(op->note, BELAY__GPU_NOTE,
            "the health check: the device gave back another value");
        slot->lost = true;
        return BELAY_GPU_ELOST;
    }
    return 0;
}

/* The driver demands a new process after most faults, and means it: on an H200
 * with driver 580.159 a reset of the primary context after 700 or 710 gave the
 * same code again (R5, bench/results). A lost device stays lost (G29).
 */
static int
reset(void *state, struct belay__gpu_op *op)
{
    (void)state;
    (void)snprintf(op->note, BELAY__GPU_NOTE,
        "a lost CUDA device comes back in a new process only");
    return BELAY_GPU_ENOTSUP;
}

static void
stop(void *state, uint64_t up_to_seq)
{
    struct belay__cuda_slot *slot = state;

    belay__gpu_raise_stop_word(&slot->words[STOP_WORD], up_to_seq);
}

const struct belay__gpu_driver belay__gpu_cuda = {
    .name = "cuda",
    .language = BELAY__GPU_PTX,
    .load = belay__cuda_load,
    .enumerate = belay__cuda_enumerate,
    .unload = belay__cuda_unload,
    .slot_open = slot_open,
    .build = build,
    .alloc = alloc,
    .release = release,
    .submit = belay__cuda_submit,
    .wait = belay__cuda_wait,
    .health = health,
    .reset = reset,
    .slot_close = slot_close,
    .stop = stop,
};
