/* work.c - what a task asks of a lease, and commands.
 *
 * Everything is checked here, on the loop, before a driver sees it; what
 * reaches a driver is in range and belongs to the slot. Commands are copied
 * into the operation, so that it can outlive the task. memory.c and build.c
 * have the other two things that can be asked for.
 */
#include <belay/gpu_work.h>

#include "gpu/internal.h"

/* ---- asking, and the end of it ---- */

/* The slot of a lease on which something may be asked for. 0, or a code and
 * the token of the refusal.
 */
int
belay__gpu_usable_slot(belay_task *task, belay_gpu_lease lease,
    struct belay__gpu_slot **ret, belay_next *ret_refusal)
{
    int code = belay__gpu_lease_slot(lease, ret);

    if (code == BELAY_GPU_EINVAL) {
        *ret_refusal = belay__gpu_refuse(task, code, "lease is {0}");
        return code;
    }
    if (code == 0 && (*ret)->lease->ending) {
        code = BELAY_GPU_ECANCELED;
    }
    if (code == 0 && (*ret)->lost) {
        code = BELAY_GPU_ELOST;
    }
    if (code < 0) {
        *ret_refusal = belay__refuse(task, code);
    }
    return code;
}

/* Its first lease opens a slot: with its first operation. */
void
belay__gpu_want_open(struct belay__gpu_slot *slot)
{
    if (slot->native == NULL && !slot->own_busy) {
        belay__gpu_slot_open(slot);
    }
}

void
belay__gpu_work_ended(struct belay__gpu_op *op, int code)
{
    switch (op->job) {
    case BELAY__GPU_ALLOC:
        belay__gpu_alloc_ended(op, code);
        break;
    case BELAY__GPU_RELEASE:
        belay__gpu_release_ended(op);
        break;
    case BELAY__GPU_BUILD:
        belay__gpu_build_ended(op, code);
        break;
    case BELAY__GPU_RUN:
    case BELAY__GPU_SCRUB:
    case BELAY__GPU_OPEN:
    case BELAY__GPU_HEALTH:
    case BELAY__GPU_RESET:
    case BELAY__GPU_CLOSE:
        break;
    }
}

/* ---- commands ---- */

/* What is wrong with a list of commands. */
struct fault {
    int code;
    size_t cmd;
    const char *text;
};

static bool
wrong(struct fault *fault, int code, const char *text)
{
    fault->code = code;
    fault->text = text;
    return false;
}

static bool
is_staged(const struct belay__gpu_slot *slot, const void *host, uint64_t bytes)
{
    const uintptr_t from = (uintptr_t)host;
    uintptr_t start;

    for (const struct belay__gpu_stage *stage = slot->stages; stage != NULL;
         stage = stage->next) {
        start = (uintptr_t)(stage + 1);
        if (from >= start && from - start <= stage->bytes
            && bytes <= stage->bytes - (from - start)) {
            return true;
        }
    }
    return false;
}

static bool
resolve_buffer(struct belay__gpu_slot *slot, belay_gpu_buffer buffer,
    struct belay__gpu_memory **ret, struct fault *fault)
{
    const int code = belay__gpu_memory_of(buffer, ret);

    if (code == BELAY_GPU_EINVAL) {
        return wrong(fault, code, "its buffer is {0}");
    }
    if (code < 0) {
        return wrong(fault, code, "its buffer is over");
    }
    if ((*ret)->slot != slot) {
        return wrong(fault, BELAY_GPU_EINVAL, "its buffer is of another slot");
    }
    return true;
}

static bool
resolve_transfer(struct belay__gpu_slot *slot, const struct belay_gpu_cmd *cmd,
    struct belay__gpu_cmd *ret, struct fault *fault)
{
    const struct belay_gpu_transfer *transfer = &cmd->transfer;
    const bool host = cmd->kind != BELAY_GPU_FILL;
    struct belay__gpu_memory *memory;

    if (!resolve_buffer(slot, transfer->buffer, &memory, fault)) {
        return false;
    }
    if (transfer->bytes == 0) {
        return wrong(fault, BELAY_GPU_EINVAL, "its bytes are 0");
    }
    if (transfer->offset > memory->buffer.bytes
        || transfer->bytes > memory->buffer.bytes - transfer->offset) {
        return wrong(
            fault, BELAY_GPU_EINVAL, "its range is not inside of the buffer");
    }
    if (host && transfer->host == NULL) {
        return wrong(fault, BELAY_GPU_EINVAL, "its host memory is NULL");
    }
    if (host && transfer->bytes > UINTPTR_MAX - (uintptr_t)transfer->host) {
        return wrong(fault, BELAY_GPU_EINVAL, "its host range overflows");
    }
    if (host && slot->pool->opts.drain_limit.ns > 0
        && !is_staged(slot, transfer->host, transfer->bytes)) {
        return wrong(fault, BELAY_GPU_EINVAL,
            "its host memory is not of belay_gpu_stage(), and there is a "
            "drain_limit");
    }
    ret->u.transfer.buffer = &memory->buffer;
    ret->u.transfer.offset = transfer->offset;
    ret->u.transfer.bytes = transfer->bytes;
    ret->u.transfer.host = transfer->host;
    ret->u.transfer.value = transfer->value;
    return true;
}

static bool
resolve_arg(struct belay__gpu_slot *slot, const struct belay_gpu_arg *arg,
    struct belay__gpu_arg *ret, struct fault *fault)
{
    struct belay__gpu_memory *memory;

    *ret = (struct belay__gpu_arg){.kind = arg->kind, .bytes = arg->bytes};
    switch (arg->kind) {
    case BELAY_GPU_ARG_BUFFER:
        if (!resolve_buffer(slot, arg->u.buffer, &memory, fault)) {
            return false;
        }
        ret->buffer = &memory->buffer;
        return true;
    case BELAY_GPU_ARG_VALUE:
        if (arg->bytes != 1 && arg->bytes != 2 && arg->bytes != 4
            && arg->bytes != 8) {
            return wrong(fault, BELAY_GPU_EINVAL,
                "the size of an argument is not 1, 2, 4 or 8");
        }
        memcpy(&ret->value, &arg->u, arg->bytes);
        return true;
    case BELAY_GPU_ARG_STOP:
    case BELAY_GPU_ARG_SEQUENCE:
        ret->bytes = 8;
        return true;
    }
    return wrong(fault, BELAY_GPU_EINVAL, "an argument is of no kind");
}

/* Three sizes of a grid; a 0 beside others counts as 1. */
static bool
resolve_sizes(const uint32_t sizes[3], uint32_t ret[3])
{
    if (sizes[0] == 0 && sizes[1] == 0 && sizes[2] == 0) {
        return false;
    }
    for (uint32_t i = 0; i < 3; i++) {
        ret[i] = sizes[i] != 0 ? sizes[i] : 1;
    }
    return true;
}

static bool
resolve_launch(struct belay__gpu_slot *slot, const struct belay_gpu_cmd *cmd,
    struct belay__gpu_cmd *ret, struct belay__gpu_arg *args,
    struct fault *fault)
{
    const struct belay_gpu_launch *launch = &cmd->launch;

    if (launch->kernel == NULL) {
        return wrong(fault, BELAY_GPU_EINVAL, "its kernel is NULL");
    }
    if (launch->kernel->slot != slot) {
        return wrong(fault, BELAY_GPU_EINVAL, "its kernel is of another slot");
    }
    if (!launch->kernel->built) {
        return wrong(fault, BELAY_GPU_ESTALE, "its kernel is over");
    }
    if (!resolve_sizes(launch->grid, ret->u.launch.grid)) {
        return wrong(fault, BELAY_GPU_EINVAL, "its grid is 0");
    }
    if (!resolve_sizes(launch->block, ret->u.launch.block)) {
        return wrong(fault, BELAY_GPU_EINVAL, "its block is 0");
    }
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        if (!resolve_arg(slot, &launch->args[i], &args[i], fault)) {
            return false;
        }
    }
    ret->u.launch.kernel = launch->kernel;
    ret->u.launch.shared_bytes = launch->shared_bytes;
    ret->u.launch.arg_count = launch->arg_count;
    ret->u.launch.args = args;
    return true;
}

/* The number of arguments of all launches; what can be seen without a slot. */
static bool
count_args(const struct belay_gpu_cmd *cmds, size_t count, size_t *ret,
    struct fault *fault)
{
    const struct belay_gpu_launch *launch;

    *ret = 0;
    for (size_t i = 0; i < count; i++) {
        fault->cmd = i;
        if (cmds[i].kind < BELAY_GPU_WRITE || cmds[i].kind > BELAY_GPU_LAUNCH) {
            return wrong(fault, BELAY_GPU_EINVAL, "it is of no kind");
        }
        if (cmds[i].kind != BELAY_GPU_LAUNCH) {
            continue;
        }
        launch = &cmds[i].launch;
        if (launch->arg_count > BELAY_GPU_ARGS_MAX) {
            return wrong(
                fault, BELAY_GPU_EINVAL, "it has more than 64 arguments");
        }
        if (launch->args == NULL && launch->arg_count > 0) {
            return wrong(fault, BELAY_GPU_EINVAL, "its arguments are NULL");
        }
        *ret += launch->arg_count;
    }
    return true;
}

static bool
resolve(struct belay__gpu_slot *slot, const struct belay_gpu_cmd *cmds,
    size_t count, struct belay__gpu_cmd *ret, struct belay__gpu_arg *args,
    struct fault *fault)
{
    bool good = true;

    for (size_t i = 0; i < count && good; i++) {
        fault->cmd = i;
        ret[i].kind = cmds[i].kind;
        if (cmds[i].kind == BELAY_GPU_LAUNCH) {
            good = resolve_launch(slot, &cmds[i], &ret[i], args, fault);
            args += cmds[i].launch.arg_count;
        } else {
            good = resolve_transfer(slot, &cmds[i], &ret[i], fault);
        }
    }
    return good;
}

static belay_next
refuse_cmd(belay_task *task, const struct fault *fault)
{
    return belay__gpu_refuse(
        task, fault->code, "command %zu: %s", fault->cmd, fault->text);
}

belay_next
belay_gpu_run(belay_task *task, belay_gpu_lease lease,
    const struct belay_gpu_cmd *cmds, size_t count)
{
    struct fault fault = {.code = 0};
    struct belay__gpu_slot *slot;
    struct belay__gpu_cmd *resolved;
    struct belay__gpu_op *op;
    belay_next refusal;
    size_t arg_count;

    if (cmds == NULL || count == 0 || count > BELAY_GPU_CMDS_MAX) {
        return belay__gpu_refuse(task, BELAY_GPU_EINVAL, "%s",
            cmds == NULL ? "cmds is NULL" : "count is not 1 to 256");
    }
    if (belay__gpu_usable_slot(task, lease, &slot, &refusal) < 0) {
        return refusal;
    }
    if (!count_args(cmds, count, &arg_count, &fault)) {
        return refuse_cmd(task, &fault);
    }
    op = belay__gpu_op_new(slot->pool, BELAY__GPU_RUN,
        count * sizeof(*resolved) + arg_count * sizeof(struct belay__gpu_arg));
    if (op == NULL) {
        return belay__refuse(task, BELAY_ENOMEM);
    }
    resolved = (struct belay__gpu_cmd *)(void *)(op + 1);
    if (!resolve(slot, cmds, count, resolved,
            (struct belay__gpu_arg *)(void *)(resolved + count), &fault)) {
        belay__gpu_op_free(slot->pool, op);
        return refuse_cmd(task, &fault);
    }
    op->u.run.cmds = resolved;
    op->u.run.count = (uint32_t)count;
    belay__gpu_want_open(slot);
    return belay__gpu_op_await(task, slot, op);
}
