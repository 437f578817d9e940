/* opencl_run.c - commands on a slot: begun, and waited for.
 *
 * An operation ends with the last of its commands, and the queue is flushed
 * before anything waits for it: some drivers begin only then. The events of
 * all commands are kept, since after a failure clWaitForEvents() says only
 * that one has failed.
 */
#include "gpu/opencl.h"

#include <stdio.h>
#include <uv.h>

/* After a failure: nothing of the op may still run when the pool gets its
 * memory back. Also where the code says that the device is lost, since that
 * may be of one command only, and those before it run. A device that is lost
 * indeed refuses this too; then there is nothing to wait for.
 */
static int
settle(
    const struct belay__opencl_slot *slot, struct belay__gpu_op *op, int status)
{
    const cl_int code = slot->opencl->call.clFinish(slot->queue);

    if (code == CL_SUCCESS || status == BELAY_GPU_ELOST) {
        return status;
    }
    (void)belay__opencl_failed(op, "clFinish", code);
    return BELAY_GPU_ELOST;
}

static cl_int
set_arguments(const struct belay__opencl_slot *slot,
    const struct belay__gpu_op *op, const struct belay__gpu_cmd *cmd,
    uint32_t *ret_index)
{
    const struct belay__opencl_kernel *kernel = cmd->u.launch.kernel->native;
    cl_int code = CL_SUCCESS;

    for (uint32_t i = 0; i < cmd->u.launch.arg_count && code == CL_SUCCESS;
         i++) {
        const struct belay__gpu_arg *arg = &cmd->u.launch.args[i];
        const void *value = &arg->value;
        size_t bytes = arg->kind == BELAY_GPU_ARG_VALUE ? arg->bytes : 8;

        if (arg->kind == BELAY_GPU_ARG_BUFFER) {
            value =
                &((const struct belay__opencl_memory *)arg->buffer->native)->at;
            bytes = sizeof(cl_mem);
        } else if (arg->kind == BELAY_GPU_ARG_STOP) {
            value = &slot->words_at;
            bytes = sizeof(cl_mem);
        } else if (arg->kind == BELAY_GPU_ARG_SEQUENCE) {
            value = &op->seq;
        }
        *ret_index = i;
        code =
            slot->opencl->call.clSetKernelArg(kernel->kernel, i, bytes, value);
    }
    return code;
}

/* What the driver would notice late, or not at all; false, and a note. */
static bool
launch_fits(const struct belay__gpu_cmd *cmd, char *note)
{
    const struct belay__opencl_kernel *kernel = cmd->u.launch.kernel->native;

    if (cmd->u.launch.shared_bytes != 0) {
        (void)snprintf(note, BELAY__GPU_NOTE,
            "an OpenCL kernel declares its local memory itself");
        return false;
    }
    if (kernel->parameters != cmd->u.launch.arg_count) {
        (void)snprintf(note, BELAY__GPU_NOTE,
            "the kernel takes %u arguments, not %u", kernel->parameters,
            cmd->u.launch.arg_count);
        return false;
    }
    return true;
}

static int
launch(struct belay__opencl_slot *slot, struct belay__gpu_op *op,
    const struct belay__gpu_cmd *cmd, cl_event *ret_event)
{
    const struct belay__opencl_kernel *kernel = cmd->u.launch.kernel->native;
    size_t global[3];
    size_t local[3];
    uint32_t index = 0;
    cl_int code;

    if (!launch_fits(cmd, op->note)) {
        op->native = CL_INVALID_KERNEL_ARGS;
        return BELAY_GPU_EOP;
    }
    code = set_arguments(slot, op, cmd, &index);
    if (code != CL_SUCCESS) {
        char what[40];

        (void)snprintf(what, sizeof(what), "argument %u of the kernel", index);
        return belay__opencl_failed(op, what, code);
    }
    for (int i = 0; i < 3; i++) {
        local[i] = cmd->u.launch.block[i];
        global[i] = (size_t)cmd->u.launch.grid[i] * local[i];
    }
    code = slot->opencl->call.clEnqueueNDRangeKernel(slot->queue,
        kernel->kernel, 3, NULL, global, local, 0, NULL, ret_event);
    return code == CL_SUCCESS
               ? 0
               : belay__opencl_failed(op, "clEnqueueNDRangeKernel", code);
}

static int
enqueue(struct belay__opencl_slot *slot, struct belay__gpu_op *op,
    const struct belay__gpu_cmd *cmd, cl_event *ret_event)
{
    const struct belay__opencl_calls *call = &slot->opencl->call;
    const char *what;
    cl_mem memory;
    cl_int code;

    if (cmd->kind == BELAY_GPU_LAUNCH) {
        return launch(slot, op, cmd, ret_event);
    }
    memory =
        ((const struct belay__opencl_memory *)cmd->u.transfer.buffer->native)
            ->at;
    if (cmd->kind == BELAY_GPU_WRITE) {
        what = "clEnqueueWriteBuffer";
        code = call->clEnqueueWriteBuffer(slot->queue, memory, CL_FALSE,
            cmd->u.transfer.offset, cmd->u.transfer.bytes, cmd->u.transfer.host,
            0, NULL, ret_event);
    } else if (cmd->kind == BELAY_GPU_READ) {
        what = "clEnqueueReadBuffer";
        code = call->clEnqueueReadBuffer(slot->queue, memory, CL_FALSE,
            cmd->u.transfer.offset, cmd->u.transfer.bytes, cmd->u.transfer.host,
            0, NULL, ret_event);
    } else {
        what = "clEnqueueFillBuffer";
        code = call->clEnqueueFillBuffer(slot->queue, memory,
            &cmd->u.transfer.value, 1, cmd->u.transfer.offset,
            cmd->u.transfer.bytes, 0, NULL, ret_event);
    }
    return code == CL_SUCCESS ? 0 : belay__opencl_failed(op, what, code);
}

void
belay__opencl_land(
    const struct belay__opencl_slot *slot, struct belay__opencl_flight *flight)
{
    for (uint32_t i = 0; i < flight->count; i++) {
        (void)slot->opencl->call.clReleaseEvent(flight->events[i]);
    }
    flight->count = 0;
    flight->seq = 0;
}

static struct belay__opencl_flight *
find_flight(struct belay__opencl_slot *slot, uint64_t seq)
{
    int at = 0;

    while (at < BELAY__OPENCL_AHEAD - 1 && slot->flights[at].seq != seq) {
        at++;
    }
    return &slot->flights[at];
}

int
belay__opencl_submit(void *state, struct belay__gpu_op *op)
{
    struct belay__opencl_slot *slot = state;
    struct belay__opencl_flight *flight = find_flight(slot, 0);
    int status = 0;
    cl_int code;

    for (uint32_t i = 0; i < op->u.run.count && status == 0; i++) {
        status = enqueue(
            slot, op, &op->u.run.cmds[i], &flight->events[flight->count]);
        flight->count += status == 0;
    }
    if (status == 0) {
        code = slot->opencl->call.clFlush(slot->queue);
        status =
            code == CL_SUCCESS ? 0 : belay__opencl_failed(op, "clFlush", code);
    }
    if (status != 0) {
        status = settle(slot, op, status);
        belay__opencl_land(slot, flight);
        return status;
    }
    flight->seq = op->seq;
    return 0;
}

/* The status of one command: CL_COMPLETE, negative if it has failed, else
 * positive; `ret` is untouched if it cannot be asked.
 */
static cl_int
ask(const struct belay__opencl_slot *slot, cl_event event, cl_int *ret)
{
    return slot->opencl->call.clGetEventInfo(
        event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(*ret), ret, NULL);
}

/* Which of the commands has failed first; those behind it fail too. */
static int
blame(const struct belay__opencl_slot *slot, struct belay__gpu_op *op,
    const struct belay__opencl_flight *flight, cl_int code)
{
    for (uint32_t i = 0; i < flight->count; i++) {
        char what[40];
        cl_int status = CL_COMPLETE;

        if (ask(slot, flight->events[i], &status) == CL_SUCCESS && status < 0) {
            (void)snprintf(
                what, sizeof(what), "command %u of %u", i, flight->count);
            return belay__opencl_failed(op, what, status);
        }
    }
    return belay__opencl_failed(op, "clWaitForEvents", code);
}

static void
spin(const struct belay__opencl_slot *slot, cl_event event)
{
    uint64_t end_ns = uv_hrtime() + slot->spin_us * UINT64_C(1000);
    cl_int status = CL_COMPLETE;

    do {
        if (ask(slot, event, &status) != CL_SUCCESS) {
            return;
        }
    } while (status > CL_COMPLETE && uv_hrtime() < end_ns);
}

int
belay__opencl_wait(void *state, struct belay__gpu_op *op)
{
    struct belay__opencl_slot *slot = state;
    struct belay__opencl_flight *flight = find_flight(slot, op->seq);
    int status = 0;
    cl_int code;

    if (slot->spin_us > 0) {
        spin(slot, flight->events[flight->count - 1]);
    }
    code = slot->opencl->call.clWaitForEvents(flight->count, flight->events);
    if (code != CL_SUCCESS) {
        status = settle(slot, op, blame(slot, op, flight, code));
    }
    belay__opencl_land(slot, flight);
    return status;
}
