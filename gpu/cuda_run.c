/* cuda_run.c - commands on a slot: begun, and waited for.
 *
 * Waiting is cuEventSynchronize(), whose answer is the report of a fault as
 * well; callbacks are not used, since the driver does not call them after one.
 */
#include "gpu/cuda.h"

#include <stdio.h>
#include <uv.h>

/* ---- answers ---- */

/* What a code means, if need be by asking the stream: an error that comes
 * again is the device's.
 */
static int
classify(const struct belay__cuda_slot *slot, CUresult code)
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

int
belay__cuda_failed(struct belay__cuda_slot *slot, struct belay__gpu_op *op,
    const char *what, CUresult code)
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
settle(struct belay__cuda_slot *slot, struct belay__gpu_op *op, int status)
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

/* ---- running ---- */

/* Are these the arguments that the kernel declares? */
static bool
arguments_fit(const struct belay__cuda_kernel *kernel,
    const struct belay__gpu_cmd *cmd, char *note)
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
launch(struct belay__cuda_slot *slot, const struct belay__gpu_op *op,
    const struct belay__gpu_cmd *cmd)
{
    static const uint64_t nothing[16];
    const struct belay__cuda_kernel *kernel = cmd->u.launch.kernel->native;
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
            pointer.from =
                &((const struct belay__cuda_memory *)arg->buffer->native)->at;
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
enqueue(struct belay__cuda_slot *slot, const struct belay__gpu_op *op,
    const struct belay__gpu_cmd *cmd, const char **ret_what)
{
    const struct belay__cuda_calls *call = &slot->cuda->call;
    CUdeviceptr at;

    if (cmd->kind == BELAY_GPU_LAUNCH) {
        *ret_what = "cuLaunchKernel";
        return launch(slot, op, cmd);
    }
    at = ((const struct belay__cuda_memory *)cmd->u.transfer.buffer->native)->at
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
free_event(const struct belay__cuda_slot *slot)
{
    int at = 0;

    while (at < BELAY__CUDA_AHEAD - 1 && slot->seqs[at] != 0) {
        at++;
    }
    return at;
}

/* The stream of a priority: what the device's range cannot tell apart shares
 * one. Without memory for another the first does: only the order is another.
 */
static void
choose_stream(struct belay__cuda_slot *slot, uint32_t priority)
{
    int level = (int)priority;

    level = level < slot->levels ? level : slot->levels - 1;
    level = level < BELAY__CUDA_LEVELS ? level : BELAY__CUDA_LEVELS - 1;
    level = level < 0 ? 0 : level;
    if (slot->streams[level] == NULL) {
        (void)slot->cuda->call.cuStreamCreateWithPriority(
            &slot->streams[level], CU_STREAM_NON_BLOCKING, slot->least - level);
    }
    slot->stream =
        slot->streams[level] != NULL ? slot->streams[level] : slot->streams[0];
}

int
belay__cuda_submit(void *state, struct belay__gpu_op *op)
{
    struct belay__cuda_slot *slot = state;
    const char *what = "";
    CUresult code = CUDA_SUCCESS;
    int event = free_event(slot);

    choose_stream(slot, op->priority);
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
        return settle(slot, op, belay__cuda_failed(slot, op, what, code));
    }
    slot->seqs[event] = op->seq;
    return 0;
}

int
belay__cuda_wait(void *state, struct belay__gpu_op *op)
{
    struct belay__cuda_slot *slot = state;
    const struct belay__cuda_calls *call = &slot->cuda->call;
    CUresult code = CUDA_ERROR_NOT_READY;
    const char *what = "cuEventQuery";
    int event = 0;

    while (event < BELAY__CUDA_AHEAD - 1 && slot->seqs[event] != op->seq) {
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
        return settle(slot, op, belay__cuda_failed(slot, op, what, code));
    }
    return 0;
}
