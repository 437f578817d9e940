/* opencl_slot.c - one slot: a context and an in-order queue of its own.
 *
 * All of it is called by the slot's own thread. A context of its own makes a
 * slot resettable: a new one is made, and nothing of the old one is used
 * again.
 */
#include "gpu/opencl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    PAGE = 4096,   /* aligned and of this size, host memory is not copied */
    STOP_WORD = 0, /* the first of its words */
    SCRATCH_BYTES = 256,
    LOG_MAX = 65536,
    SETTLE_STEPS = 1000, /* 100 ms in all */
    SETTLE_STEP_NS = 100000,
};

/* ---- opening, closing, resetting ---- */

/* Waits until nothing but the slot holds its queue. A thread of PoCL gives the
 * last event back a moment after it was waited for, and with it looks at the
 * device; a part of a device would be gone by then. The count is a hint only,
 * so there is an end to the waiting.
 */
static void
settle_queue(const struct belay__opencl_slot *slot)
{
    const struct timespec step = {0, SETTLE_STEP_NS};
    cl_uint holders = 1;

    for (int i = 0; i < SETTLE_STEPS; i++) {
        if (slot->opencl->call.clGetCommandQueueInfo(slot->queue,
                CL_QUEUE_REFERENCE_COUNT, sizeof(holders), &holders, NULL)
                != CL_SUCCESS
            || holders <= 1) {
            return;
        }
        (void)nanosleep(&step, NULL);
    }
}

/* What belongs to the context; codes say nothing here. */
static void
unmake(struct belay__opencl_slot *slot)
{
    const struct belay__opencl_calls *call = &slot->opencl->call;
    struct belay__opencl_kernel *kernel;
    struct belay__opencl_memory *memory;

    for (int i = 0; i < BELAY__OPENCL_AHEAD; i++) {
        belay__opencl_land(slot, &slot->flights[i]);
    }
    while ((kernel = slot->kernels) != NULL) {
        slot->kernels = kernel->next;
        (void)call->clReleaseKernel(kernel->kernel);
        (void)call->clReleaseProgram(kernel->program);
        free(kernel);
    }
    for (memory = slot->memory; memory != NULL; memory = memory->next) {
        if (memory->at != NULL) {
            (void)call->clReleaseMemObject(memory->at);
        }
        memory->at = NULL; /* the record may still be released */
    }
    if (slot->scratch != NULL) {
        (void)call->clReleaseMemObject(slot->scratch);
    }
    if (slot->words_at != NULL) {
        (void)call->clReleaseMemObject(slot->words_at);
    }
    if (slot->queue != NULL) {
        settle_queue(slot);
        (void)call->clReleaseCommandQueue(slot->queue);
    }
    if (slot->context != NULL) {
        (void)call->clReleaseContext(slot->context);
    }
    slot->scratch = NULL;
    slot->words_at = NULL;
    slot->queue = NULL;
    slot->context = NULL;
}

/* `ret_what` names what has failed; then half of it may be made. */
static cl_int
make(struct belay__opencl_slot *slot, const char **ret_what)
{
    const struct belay__opencl_calls *call = &slot->opencl->call;
    cl_context_properties properties[3] = {CL_CONTEXT_PLATFORM, 0, 0};
    cl_int code = CL_SUCCESS;

    memcpy(&properties[1], &slot->platform, sizeof(properties[1]));
    *ret_what = "clCreateContext";
    slot->context =
        call->clCreateContext(properties, 1, &slot->device, NULL, NULL, &code);
    if (code == CL_SUCCESS) {
        *ret_what = "clCreateCommandQueue"; /* without properties: in order */
        slot->queue =
            call->clCreateCommandQueue(slot->context, slot->device, 0, &code);
    }
    if (code == CL_SUCCESS) {
        *ret_what = "clCreateBuffer";
        slot->words_at = call->clCreateBuffer(slot->context,
            CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, PAGE, slot->words, &code);
    }
    if (code == CL_SUCCESS) {
        slot->scratch = call->clCreateBuffer(
            slot->context, CL_MEM_READ_WRITE, SCRATCH_BYTES, NULL, &code);
    }
    return code;
}

static void
slot_close(void *state, bool abandon)
{
    struct belay__opencl_slot *slot = state;
    struct belay__opencl_memory *memory;
    struct belay__opencl_kernel *kernel;

    if (slot == NULL) {
        return;
    }
    /* What a kernel may still read is not given back. */
    if (!abandon) {
        unmake(slot);
        free(slot->words);
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

static int
slot_open(void *driver, const struct belay__gpu_place *place, void **ret,
    uint64_t *ret_free_bytes, char why[BELAY__GPU_NOTE])
{
    const struct belay__opencl *opencl = driver;
    const struct belay__opencl_device *device =
        &opencl->devices[place->ordinal];
    struct belay__opencl_slot *slot = calloc(1, sizeof(*slot));
    const char *what = "";
    cl_int code;

    if (slot != NULL) {
        slot->words = aligned_alloc(PAGE, PAGE);
    }
    if (slot == NULL || slot->words == NULL) {
        free(slot);
        (void)snprintf(why, BELAY__GPU_NOTE, "out of memory");
        return BELAY_ENOMEM;
    }
    memset(slot->words, 0, PAGE);
    slot->opencl = opencl;
    slot->platform = device->platform;
    slot->device = device->part_count > 0
                       ? device->parts[place->slot % device->part_count]
                       : device->id;
    slot->spin_us = place->spin_us;
    code = make(slot, &what);
    if (code != CL_SUCCESS) {
        int status = belay__opencl_class(code);

        belay__opencl_note(why, what, code);
        slot_close(slot, false);
        return status == BELAY_GPU_ENOMEM ? status : BELAY_GPU_ELOST;
    }
    *ret = slot;
    *ret_free_bytes = UINT64_MAX; /* OpenCL has no way to ask */
    return 0;
}

/* The stop word stays as it is: the numbers of ops go on. */
static int
reset(void *state, struct belay__gpu_op *op)
{
    struct belay__opencl_slot *slot = state;
    const char *what = "";
    cl_int code;

    unmake(slot);
    code = make(slot, &what);
    if (code != CL_SUCCESS) {
        (void)belay__opencl_failed(op, what, code);
        unmake(slot);
        return BELAY_GPU_ELOST;
    }
    return 0;
}

/* ---- kernels ---- */

static char *
build_log(const struct belay__opencl_slot *slot, cl_program program)
{
    const struct belay__opencl_calls *call = &slot->opencl->call;
    size_t size = 0;
    char *log;

    if (call->clGetProgramBuildInfo(
            program, slot->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &size)
            != CL_SUCCESS
        || size <= 1 || size > LOG_MAX) {
        return NULL;
    }
    log = calloc(1, size + 1);
    if (log != NULL
        && call->clGetProgramBuildInfo(
               program, slot->device, CL_PROGRAM_BUILD_LOG, size, log, NULL)
               != CL_SUCCESS) {
        free(log);
        log = NULL;
    }
    return log;
}

/* Program and kernel from the text; on failure the program, if it is there,
 * has the log.
 */
static cl_int
compile(struct belay__opencl_slot *slot, const struct belay_gpu_kernel *source,
    struct belay__opencl_kernel *kernel, const char **ret_what)
{
    const struct belay__opencl_calls *call = &slot->opencl->call;
    const char *text = source->text;
    cl_int code = CL_SUCCESS;

    *ret_what = "clCreateProgramWithSource";
    kernel->program = call->clCreateProgramWithSource(
        slot->context, 1, &text, &source->text_len, &code);
    if (code == CL_SUCCESS) {
        *ret_what = "clBuildProgram";
        code = call->clBuildProgram(
            kernel->program, 1, &slot->device, "", NULL, NULL);
    }
    if (code == CL_SUCCESS) {
        *ret_what = "clCreateKernel";
        kernel->kernel =
            call->clCreateKernel(kernel->program, source->entry, &code);
    }
    if (code == CL_SUCCESS) {
        *ret_what = "clGetKernelInfo";
        code = call->clGetKernelInfo(kernel->kernel, CL_KERNEL_NUM_ARGS,
            sizeof(kernel->parameters), &kernel->parameters, NULL);
    }
    return code;
}

static int
build(void *state, struct belay__gpu_op *op)
{
    struct belay__opencl_slot *slot = state;
    const struct belay__opencl_calls *call = &slot->opencl->call;
    struct belay__opencl_kernel *kernel = calloc(1, sizeof(*kernel));
    const char *what = "";
    cl_int code;

    if (kernel == NULL) {
        (void)snprintf(op->note, BELAY__GPU_NOTE, "out of memory");
        return BELAY_GPU_ENOMEM;
    }
    code = compile(slot, op->u.kernel, kernel, &what);
    if (code != CL_SUCCESS) {
        if (kernel->kernel != NULL) {
            (void)call->clReleaseKernel(kernel->kernel);
        }
        if (kernel->program != NULL) {
            op->log = build_log(slot, kernel->program);
            (void)call->clReleaseProgram(kernel->program);
        }
        free(kernel);
        return belay__opencl_failed(op, what, code);
    }
    kernel->next = slot->kernels;
    slot->kernels = kernel;
    op->u.kernel->native = kernel;
    return 0;
}

/* ---- memory ---- */

/* clCreateBuffer() only promises memory; the first byte written makes the
 * driver keep the promise, here, where it can still be told.
 */
static cl_int
make_memory(const struct belay__opencl_slot *slot, uint64_t bytes, cl_mem *ret,
    const char **ret_what)
{
    const struct belay__opencl_calls *call = &slot->opencl->call;
    const uint8_t zero = 0;
    cl_int code = CL_SUCCESS;

    *ret_what = "clCreateBuffer";
    *ret = call->clCreateBuffer(
        slot->context, CL_MEM_READ_WRITE, bytes, NULL, &code);
    if (code == CL_SUCCESS) {
        *ret_what = "clEnqueueFillBuffer";
        code = call->clEnqueueFillBuffer(
            slot->queue, *ret, &zero, 1, 0, 1, 0, NULL, NULL);
    }
    if (code == CL_SUCCESS) {
        *ret_what = "clFinish";
        code = call->clFinish(slot->queue);
    }
    if (code != CL_SUCCESS && *ret != NULL) {
        (void)call->clReleaseMemObject(*ret);
    }
    return code;
}

static int
alloc(void *state, struct belay__gpu_op *op)
{
    struct belay__opencl_slot *slot = state;
    struct belay__opencl_memory *memory = calloc(1, sizeof(*memory));
    const char *what = "";
    cl_int code;

    if (memory == NULL) {
        (void)snprintf(op->note, BELAY__GPU_NOTE, "out of memory");
        return BELAY_GPU_ENOMEM;
    }
    code = make_memory(slot, op->u.buffer->bytes, &memory->at, &what);
    if (code != CL_SUCCESS) {
        free(memory);
        return belay__opencl_failed(op, what, code);
    }
    memory->next = slot->memory;
    memory->link = &slot->memory;
    if (memory->next != NULL) {
        memory->next->link = &memory->next;
    }
    slot->memory = memory;
    op->u.buffer->native = memory;
    return 0;
}

static int
release(void *state, struct belay__gpu_op *op)
{
    struct belay__opencl_slot *slot = state;
    struct belay__opencl_memory *memory = op->u.buffer->native;
    cl_int code;

    if (memory == NULL) {
        return 0;
    }
    op->u.buffer->native = NULL;
    *memory->link = memory->next;
    if (memory->next != NULL) {
        memory->next->link = memory->link;
    }
    code = memory->at != NULL
               ? slot->opencl->call.clReleaseMemObject(memory->at)
               : CL_SUCCESS; /* it has gone with a reset */
    free(memory);
    return code == CL_SUCCESS
               ? 0
               : belay__opencl_failed(op, "clReleaseMemObject", code);
}

/* ---- health ---- */

/* A byte makes its way to the device and back. */
static int
try_health(struct belay__opencl_slot *slot, struct belay__gpu_op *op)
{
    const struct belay__opencl_calls *call = &slot->opencl->call;
    uint8_t byte = ++slot->health;
    uint8_t echo = 0;
    cl_int code;

    code = call->clEnqueueFillBuffer(
        slot->queue, slot->scratch, &byte, 1, 0, 1, 0, NULL, NULL);
    if (code == CL_SUCCESS) {
        code = call->clEnqueueReadBuffer(
            slot->queue, slot->scratch, CL_FALSE, 0, 1, &echo, 0, NULL, NULL);
    }
    if (code == CL_SUCCESS) {
        code = call->clFinish(slot->queue);
    } else {
        (void)call->clFinish(slot->queue); /* echo is ours no longer */
    }
    if (code != CL_SUCCESS) {
        return belay__opencl_failed(op, "the health check", code);
    }
    if (echo != byte) {
        (void)snprintf(op->note, BELAY__GPU_NOTE,
            "the health check: the device gave back another value");
        return BELAY_GPU_EOP;
    }
    return 0;
}

/* OpenCL has no code for a device that is lost: failing twice at nothing is
 * taken for it (G28).
 */
static int
health(void *state, struct belay__gpu_op *op)
{
    struct belay__opencl_slot *slot = state;

    /* After a reset that has failed. */
    if (slot->queue == NULL || slot->scratch == NULL) {
        (void)snprintf(op->note, BELAY__GPU_NOTE, "there is no context");
        return BELAY_GPU_ELOST;
    }
    if (try_health(slot, op) == 0) {
        return 0;
    }
    if (try_health(slot, op) == 0) {
        op->native = 0;
        op->note[0] = '\0';
        return 0;
    }
    return BELAY_GPU_ELOST;
}

static void
stop(void *state, uint64_t up_to_seq)
{
    struct belay__opencl_slot *slot = state;

    belay__gpu_raise_stop_word(&slot->words[STOP_WORD], up_to_seq);
}

const struct belay__gpu_driver belay__gpu_opencl = {
    .name = "opencl",
    .language = BELAY__GPU_OPENCL_C,
    .automatic = "type=gpu", /* the CPU is the program's own */
    .load = belay__opencl_load,
    .enumerate = belay__opencl_enumerate,
    .unload = belay__opencl_unload,
    .slot_open = slot_open,
    .build = build,
    .alloc = alloc,
    .release = release,
    .submit = belay__opencl_submit,
    .wait = belay__opencl_wait,
    .health = health,
    .reset = reset,
    .slot_close = slot_close,
    .stop = stop,
};
