/* cuda_slot.c - one slot: a stream of the device's primary context.
 *
 * All of it is called by the slot's own thread, on which the context was made
 * current before anything else: a thread that forgets makes a context on the
 * first device. Waiting is cuEventSynchronize(), whose answer is the report
 * of a fault as well; callbacks are not used, since the driver does not call
 * them after one.
 *
 * Slots of one device share its primary context, so a fault in one is a fault
 * in all: each reports it at its next call. From then on the driver answers
 * every question with the fault, and so nobody can tell what still runs. What
 * cannot be waited for is not freed: memory, modules and stream of a lost slot
 * are left in the context, and go when its last slot lets go of that.
 */
#include "gpu/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
    WORDS = 8,     /* of mapped memory: 64 bytes, a cache line */
    STOP_WORD = 0, /* which is which */
    ECHO_WORD = 1,
    SCRATCH_BYTES = 256,
    LOG_BYTES = 8192,
    AHEAD = 2, /* ops between submit() and wait() */
};

struct memory {
    struct memory *next; /* of the slot */
    struct memory **link;
    CUdeviceptr at;
};

struct kernel {
    struct kernel *next;
    CUmodule module;
    CUfunction function;
    int parameters; /* -1: not known */
    uint32_t sizes[BELAY_GPU_ARGS_MAX];
};

struct slot {
    const struct belay__cuda *cuda;
    CUdevice device;
    CUcontext context;
    CUstream stream;
    CUevent events[AHEAD];
    uint64_t seqs[AHEAD]; /* whose end the event marks; 0: nobody's */
    uint64_t *words;      /* mapped into the device's memory */
    CUdeviceptr words_at; /* where it sees them */
    CUdeviceptr scratch;
    struct kernel *kernels;
    struct memory *memory;
    uint32_t spin_us;
    uint8_t health; /* the last byte tried */
    bool lost;      /* free nothing, the context does */
};

/* ---- answers ---- */

/* What a code means, if need be by asking the stream: an error that comes
 * again is the device's.
 */
static int
classify(const struct slot *slot, CUresult code)
{
    int status = belay__cuda_class(code);

    if (status != 0) {
        return status;
    }
    code = slot->cuda->call.cuStreamQuery(slot->stream);
    return code == CUDA_SUCCESS || code == CUDA_ERROR_NOT_READY
               ? BELAY_GPU_EOP
               : BELAY_GPU_ELOST;
}

static int
failed(struct slot *slot, struct belay__gpu_op *op, const char *what,
    CUresult code)
{
    int status;

    op->native = (int)code;
    belay__cuda_note(slot->cuda, op->note, what, code);
    status = classify(slot, code);
    slot->lost |= status == BELAY_GPU_ELOST;
    return status;
}

/* After a failure of the op alone: nothing of it may still run when the pool
 * gets its memory back. On a lost device there is no way to know; then it is
 * the memory that does not come back.
 */
static int
settle(struct slot *slot, struct belay__gpu_op *op, int status)
{
    CUresult code;

    if (status == BELAY_GPU_ELOST) {
        return status;
    }
    code = slot->cuda->call.cuStreamSynchronize(slot->stream);
    if (code == CUDA_SUCCESS) {
        return status;
    }
    slot->lost = true;
    op->native = (int)code;
    belay__cuda_note(slot->cuda, op->note, "cuStreamSynchronize", code);
    return BELAY_GPU_ELOST;
}

/* ---- opening and closing ---- */

/* All that was made in the context. A code could change nothing here. */
static void
unmake(const struct slot *slot)
{
    const struct belay__cuda_calls *call = &slot->cuda->call;

    for (const struct memory *at = slot->memory; at != NULL; at = at->next) {
        (void)call->cuMemFree(at->at);
    }
    for (const struct kernel *at = slot->kernels; at != NULL; at = at->next) {
        (void)call->cuModuleUnload(at->module);
    }
    for (int i = 0; i < AHEAD; i++) {
        if (slot->events[i] != NULL) {
            (void)call->cuEventDestroy(slot->events[i]);
        }
    }
    if (slot->scratch != 0) {
        (void)call->cuMemFree(slot->scratch);
    }
    if (slot->words != NULL) {
        (void)call->cuMemFreeHost(slot->words);
    }
    if (slot->stream != NULL) {
        (void)call->cuStreamDestroy(slot->stream);
    }
}

static void
slot_close(void *state, bool abandon)
{
    struct slot *slot = state;
    struct kernel *kernel;
    struct memory *memory;

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
make(struct slot *slot, const char **ret_what)
{
    const struct belay__cuda_calls *call = &slot->cuda->call;
    CUresult code = CUDA_SUCCESS;
    void *words = NULL;

    *ret_what = "cuStreamCreateWithPriority";
    code = call->cuStreamCreateWithPriority(
        &slot->stream, CU_STREAM_NON_BLOCKING, 0);
    for (int i = 0; i < AHEAD && code == CUDA_SUCCESS; i++) {
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
        *ret_what = "cuMemAlloc";
        code = call->cuMemAlloc(&slot->scratch, SCRATCH_BYTES);
    }
    return code;
}

static int
slot_open(void *driver, const struct belay__gpu_place *place, void **ret,
    uint64_t *ret_free_bytes, char why[BELAY__GPU_NOTE])
{
    const struct belay__cuda *cuda = driver;
    struct slot *slot = calloc(1, sizeof(*slot));
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
    struct slot *slot = state;
    const struct belay__cuda_calls *call = &slot->cuda->call;
    const struct belay_gpu_kernel *source = op->u.kernel;
    CUjit_option options[] = {
        CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    char *log = calloc(1, LOG_BYTES);
    const uintptr_t log_bytes = LOG_BYTES - 1;
    void *values[] = {log, NULL};
    struct kernel *kernel = calloc(1, sizeof(*kernel));
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
        int status = failed(slot, op, what, code);

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
    struct slot *slot = state;
    struct belay__gpu_buffer *buffer = op->u.buffer;
    struct memory *memory = calloc(1, sizeof(*memory));
    CUresult code;

    if (memory == NULL) {
        (void)snprintf(op->note, BELAY__GPU_NOTE, "out of memory");
        return BELAY_GPU_ENOMEM;
    }
    code = slot->cuda->call.cuMemAlloc(&memory->at, buffer->bytes);
    if (code != CUDA_SUCCESS) {
        free(memory);
        return failed(slot, op, "cuMemAlloc", code);
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

static int
release(void *state, struct belay__gpu_op *op)
{
    struct slot *slot = state;
    struct memory *memory = op->u.buffer->native;
    CUresult code;

    if (memory == NULL) {
        return 0;
    }
    op->u.buffer->native = NULL;
    *memory->link = memory->next;
    if (memory->next != NULL) {
        memory->next->link = memory->link;
    }
    code = slot->lost ? CUDA_SUCCESS : slot->cuda->call.cuMemFree(memory->at);
    free(memory);
    return code == CUDA_SUCCESS ? 0 : failed(slot, op, "cuMemFree", code);
}

/* ---- running ---- */

/* Are these the arguments that the kernel declares? */
static bool
arguments_fit(
    const struct kernel *kernel, const struct belay__gpu_cmd *cmd, char *note)
{
    uint32_t count = cmd->u.launch.arg_count;

    if (kernel->parameters < 0) {
        return true; /* not known */
    }
    if ((uint32_t)kernel->parameters != count) {
        (void)snprintf(note, BELAY__GPU_NOTE,
            "the kernel takes %d arguments, not %u", kernel->parameters, count);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct belay__gpu_arg *arg = &cmd->u.launch.args[i];
        uint32_t bytes = arg->kind == BELAY_GPU_ARG_VALUE
                             ? arg->bytes
                             : (uint32_t)sizeof(CUdeviceptr);

        if (kernel->sizes[i] != bytes) {
            (void)snprintf(note, BELAY__GPU_NOTE,
                "argument %u of the kernel has %u bytes, not %u", i,
                kernel->sizes[i], bytes);
            return false;
        }
    }
    return true;
}

static CUresult
launch(struct slot *slot, const struct belay__gpu_op *op,
    const struct belay__gpu_cmd *cmd)
{
    static const uint64_t nothing[16];
    const struct kernel *kernel = cmd->u.launch.kernel->native;
    void *parameters[BELAY_GPU_ARGS_MAX];
    union {
        const void *from;
        void *to; /* the driver reads only, but does not say so */
    } pointer;

    for (uint32_t i = 0; i < BELAY_GPU_ARGS_MAX; i++) {
        const struct belay__gpu_arg *arg = &cmd->u.launch.args[i];

        if (i >= cmd->u.launch.arg_count) {
            pointer.from = nothing;
        } else if (arg->kind == BELAY_GPU_ARG_BUFFER) {
            pointer.from = &((const struct memory *)arg->buffer->native)->at;
        } else if (arg->kind == BELAY_GPU_ARG_STOP) {
            pointer.from = &slot->words_at;
        } else if (arg->kind == BELAY_GPU_ARG_SEQUENCE) {
            pointer.from = &op->seq;
        } else {
            pointer.from = &arg->value;
        }
        parameters[i] = pointer.to;
    }
    return slot->cuda->call.cuLaunchKernel(kernel->function,
        cmd->u.launch.grid[0], cmd->u.launch.grid[1], cmd->u.launch.grid[2],
        cmd->u.launch.block[0], cmd->u.launch.block[1], cmd->u.launch.block[2],
        cmd->u.launch.shared_bytes, slot->stream, parameters, NULL);
}

/* Enqueues one command; `ret_what` names the function that was called. */
static CUresult
enqueue(struct slot *slot, const struct belay__gpu_op *op,
    const struct belay__gpu_cmd *cmd, const char **ret_what)
{
    const struct belay__cuda_calls *call = &slot->cuda->call;
    CUdeviceptr at;

    if (cmd->kind == BELAY_GPU_LAUNCH) {
        *ret_what = "cuLaunchKernel";
        return launch(slot, op, cmd);
    }
    at = ((const struct memory *)cmd->u.transfer.buffer->native)->at
         + cmd->u.transfer.offset;
    if (cmd->kind == BELAY_GPU_WRITE) {
        *ret_what = "cuMemcpyHtoDAsync";
        return call->cuMemcpyHtoDAsync(
            at, cmd->u.transfer.host, cmd->u.transfer.bytes, slot->stream);
    }
    if (cmd->kind == BELAY_GPU_READ) {
        *ret_what = "cuMemcpyDtoHAsync";
        return call->cuMemcpyDtoHAsync(
            cmd->u.transfer.host, at, cmd->u.transfer.bytes, slot->stream);
    }
    *ret_what = "cuMemsetD8Async";
    return call->cuMemsetD8Async(
        at, cmd->u.transfer.value, cmd->u.transfer.bytes, slot->stream);
}

/* A free end marker; there are as many as ops may be under way. */
static int
free_event(const struct slot *slot)
{
    int at = 0;

    while (at < AHEAD - 1 && slot->seqs[at] != 0) {
        at++;
    }
    return at;
}

static int
submit(void *state, struct belay__gpu_op *op)
{
    struct slot *slot = state;
    const char *what = "";
    CUresult code = CUDA_SUCCESS;
    int event = free_event(slot);

    for (uint32_t i = 0; i < op->u.run.count && code == CUDA_SUCCESS; i++) {
        const struct belay__gpu_cmd *cmd = &op->u.run.cmds[i];

        if (cmd->kind == BELAY_GPU_LAUNCH
            && !arguments_fit(cmd->u.launch.kernel->native, cmd, op->note)) {
            op->native = CUDA_ERROR_INVALID_VALUE;
            return settle(slot, op, BELAY_GPU_EOP);
        }
        code = enqueue(slot, op, cmd, &what);
    }
    if (code == CUDA_SUCCESS) {
        what = "cuEventRecord";
        code =
            slot->cuda->call.cuEventRecord(slot->events[event], slot->stream);
    }
    if (code != CUDA_SUCCESS) {
        return settle(slot, op, failed(slot, op, what, code));
    }
    slot->seqs[event] = op->seq;
    return 0;
}

static int
wait_for(void *state, struct belay__gpu_op *op)
{
    struct slot *slot = state;
    const struct belay__cuda_calls *call = &slot->cuda->call;
    CUresult code = CUDA_ERROR_NOT_READY;
    const char *what = "cuEventQuery";
    int event = 0;

    while (event < AHEAD - 1 && slot->seqs[event] != op->seq) {
        event++;
    }
    if (slot->spin_us > 0) {
        uint64_t end_ns = uv_hrtime() + slot->spin_us * UINT64_C(1000);

        do {
            code = call->cuEventQuery(slot->events[event]);
        } while (code == CUDA_ERROR_NOT_READY && uv_hrtime() < end_ns);
    }
    if (code == CUDA_ERROR_NOT_READY) {
        what = "cuEventSynchronize";
        code = call->cuEventSynchronize(slot->events[event]);
    }
    slot->seqs[event] = 0;
    if (code != CUDA_SUCCESS) {
        return settle(slot, op, failed(slot, op, what, code));
    }
    return 0;
}

/* A byte makes its way to the device and back. */
static int
health(void *state, struct belay__gpu_op *op)
{
    struct slot *slot = state;
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
        return failed(slot, op, "the health check", code);
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
    struct slot *slot = state;
    uint64_t *word = &slot->words[STOP_WORD];
    uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);

    while (seen < up_to_seq
           && !__atomic_compare_exchange_n(word, &seen, up_to_seq, true,
               __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
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
    .submit = submit,
    .wait = wait_for,
    .health = health,
    .reset = reset,
    .slot_close = slot_close,
    .stop = stop,
};
