/* work.c - what a task asks of a lease: memory, kernels, commands.
 *
 * Everything is checked here, on the loop, before a driver sees it; what
 * reaches a driver is in range and belongs to the slot. Commands are copied
 * into the operation, so that it can outlive the task.
 */
#include <belay/gpu_work.h>

#include "gpu/lock.h"

/* ---- memory ---- */

/* A record for a late handle is never freed before the pool is left. */
static struct belay__gpu_memory *
memory_record(belay_gpu_pool *pool)
{
    struct belay__gpu_memory *memory = pool->memories_unused;

    if (memory != NULL) {
        pool->memories_unused = memory->next;
        return memory;
    }
    memory = belay__gpu_block_alloc(pool, sizeof(*memory));
    if (memory != NULL) {
        *memory = (struct belay__gpu_memory){.slot = NULL};
        pool->memory_count++;
    }
    return memory;
}

static void
memory_unused(belay_gpu_pool *pool, struct belay__gpu_memory *memory)
{
    belay__gpu_op_free(pool, memory->release);
    belay__gpu_op_free(pool, memory->scrub);
    memory->release = NULL;
    memory->scrub = NULL;
    memory->releasing = false;
    memory->slot = NULL;
    memory->next = pool->memories_unused;
    pool->memories_unused = memory;
}

static struct belay__gpu_op *
scrub_of(belay_gpu_pool *pool, struct belay__gpu_memory *memory)
{
    struct belay__gpu_op *op = belay__gpu_op_new(
        pool, BELAY__GPU_SCRUB, sizeof(struct belay__gpu_cmd));
    struct belay__gpu_cmd *cmd;

    if (op == NULL) {
        return NULL;
    }
    cmd = (struct belay__gpu_cmd *)(void *)(op + 1);
    *cmd = (struct belay__gpu_cmd){.kind = BELAY_GPU_FILL};
    cmd->u.transfer.buffer = &memory->buffer;
    cmd->u.transfer.bytes = memory->buffer.bytes;
    op->u.run.cmds = cmd;
    op->u.run.count = 1;
    return op;
}

/* All that its end will need; NULL without memory. */
static struct belay__gpu_memory *
memory_new(struct belay__gpu_slot *slot, uint64_t bytes)
{
    belay_gpu_pool *pool = slot->pool;
    struct belay__gpu_memory *memory = memory_record(pool);
    bool made;

    if (memory == NULL) {
        return NULL;
    }
    memory->buffer = (struct belay__gpu_buffer){NULL, bytes};
    memory->slot = slot;
    memory->release = belay__gpu_op_new(pool, BELAY__GPU_RELEASE, 0);
    made = memory->release != NULL;
    if (made && pool->opts.scrub) {
        memory->scrub = scrub_of(pool, memory);
        made = memory->scrub != NULL;
    }
    if (!made) {
        memory_unused(pool, memory);
        return NULL;
    }
    memory->release->u.buffer = &memory->buffer;
    memory->release->record = memory;
    return memory;
}

static void
memory_link(struct belay__gpu_slot *slot, struct belay__gpu_memory *memory)
{
    memory->prev = NULL;
    memory->next = slot->memories;
    if (slot->memories != NULL) {
        slot->memories->prev = memory;
    }
    slot->memories = memory;
}

static void
memory_unlink(struct belay__gpu_slot *slot, struct belay__gpu_memory *memory)
{
    if (memory->prev != NULL) {
        memory->prev->next = memory->next;
    } else {
        slot->memories = memory->next;
    }
    if (memory->next != NULL) {
        memory->next->prev = memory->prev;
    }
}

/* Behind all that uses it. From here on its handle is stale. */
static void
memory_release(struct belay__gpu_memory *memory)
{
    struct belay__gpu_slot *slot = memory->slot;
    struct belay__gpu_op *scrub = memory->scrub;
    struct belay__gpu_op *release = memory->release;

    memory->generation++;
    memory->releasing = true;
    memory_unlink(slot, memory);
    memory->scrub = NULL;
    memory->release = NULL;
    if (scrub != NULL) {
        belay__gpu_op_push(slot, scrub);
    }
    belay__gpu_op_push(slot, release);
}

void
belay__gpu_memory_release_all(struct belay__gpu_slot *slot)
{
    while (slot->memories != NULL) {
        memory_release(slot->memories);
    }
}

void
belay__gpu_memories_free(belay_gpu_pool *pool)
{
    struct belay__gpu_memory *memory;

    while ((memory = pool->memories_unused) != NULL) {
        pool->memories_unused = memory->next;
        pool->memory_count--;
        belay__gpu_block_free(pool, memory, sizeof(*memory));
    }
    assert(pool->memory_count == 0);
}

void
belay__gpu_stages_free(struct belay__gpu_slot *slot)
{
    struct belay__gpu_stage *stage;

    while ((stage = slot->stages) != NULL) {
        slot->stages = stage->next;
        belay__gpu_block_free(slot->pool, stage, sizeof(*stage) + stage->bytes);
    }
}

/* ---- kernels ---- */

static uint64_t
hash_text(uint64_t hash, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) { /* FNV-1a */
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* The part of a source that is for the pool's kind of device. */
struct text_of_source {
    struct belay_slice text;
    belay_gpu_sim_fn *sim;
    double sim_work;
};

/* NULL, or what is wrong. */
static const char *
pick_text(const belay_gpu_pool *pool, const struct belay_gpu_source *source,
    struct text_of_source *ret)
{
    const enum belay__gpu_language language = pool->driver->language;

    *ret = (struct text_of_source){.text = {"", 0}};
    if (source->entry == NULL || source->entry[0] == '\0') {
        return "source->entry is empty";
    }
    if (language == BELAY__GPU_SIMULATED) {
        ret->sim = source->sim;
        ret->sim_work = source->sim_work > 0 ? source->sim_work : 1;
        return NULL;
    }
    ret->text = language == BELAY__GPU_PTX ? source->ptx : source->opencl;
    if (ret->text.len == 0 || ret->text.data == NULL) {
        return "source has no text for this kind of device";
    }
    if (memchr(ret->text.data, '\0', ret->text.len) != NULL) {
        return "source holds a NUL";
    }
    return NULL;
}

static struct belay_gpu_kernel *
kernel_find(const struct belay__gpu_slot *slot,
    const struct belay_gpu_source *source, const struct text_of_source *of,
    uint64_t hash)
{
    struct belay_gpu_kernel *kernel = slot->kernels;

    while (kernel != NULL
           && (kernel->hash != hash || kernel->sim != of->sim
               || !(kernel->sim_work >= of->sim_work
                    && kernel->sim_work <= of->sim_work)
               || kernel->text_len != of->text.len
               || strcmp(kernel->entry, source->entry) != 0
               || memcmp(kernel->text, of->text.data, of->text.len) != 0)) {
        kernel = kernel->next;
    }
    return kernel;
}

/* Linked, not built. NULL without memory. */
static struct belay_gpu_kernel *
kernel_new(struct belay__gpu_slot *slot, const struct belay_gpu_source *source,
    const struct text_of_source *of, uint64_t hash)
{
    const size_t entry_len = strlen(source->entry);
    const size_t bytes =
        sizeof(struct belay_gpu_kernel) + entry_len + 1 + of->text.len + 1;
    struct belay_gpu_kernel *kernel = belay__gpu_block_alloc(slot->pool, bytes);

    if (kernel == NULL) {
        return NULL;
    }
    *kernel = (struct belay_gpu_kernel){
        .slot = slot,
        .next = slot->kernels,
        .hash = hash,
        .sim = of->sim,
        .sim_work = of->sim_work,
        .entry = (char *)(kernel + 1),
        .text = (char *)(kernel + 1) + entry_len + 1,
        .text_len = of->text.len,
        .block_bytes = bytes,
    };
    memcpy(kernel->entry, source->entry, entry_len + 1);
    memcpy(kernel->text, of->text.data, of->text.len);
    kernel->text[of->text.len] = '\0';
    slot->kernels = kernel;
    slot->kernel_count++;
    return kernel;
}

void
belay__gpu_kernels_forget(struct belay__gpu_slot *slot)
{
    for (struct belay_gpu_kernel *kernel = slot->kernels; kernel != NULL;
         kernel = kernel->next) {
        kernel->built = false;
        kernel->native = NULL;
    }
}

void
belay__gpu_kernels_free(struct belay__gpu_slot *slot)
{
    struct belay_gpu_kernel *kernel;

    while ((kernel = slot->kernels) != NULL) {
        slot->kernels = kernel->next;
        belay__gpu_block_free(slot->pool, kernel, kernel->block_bytes);
    }
}

/* ---- the ends ---- */

static void
alloc_ended(struct belay__gpu_op *op, int code)
{
    struct belay__gpu_memory *memory = op->record;
    struct belay__gpu_slot *slot = op->slot;

    if (code < 0) {
        slot->used -= memory->buffer.bytes;
        memory_unused(slot->pool, memory);
        return;
    }
    memory->generation++;
    memory_link(slot, memory);
    if (op->cancelled || slot->lease == NULL || slot->lease->ending) {
        slot->used -= memory->buffer.bytes;
        memory_release(memory); /* nobody will */
        return;
    }
    *(belay_gpu_buffer *)op->ret =
        (belay_gpu_buffer){memory, memory->generation};
}

void
belay__gpu_work_ended(struct belay__gpu_op *op, int code)
{
    switch (op->job) {
    case BELAY__GPU_ALLOC:
        alloc_ended(op, code);
        break;
    case BELAY__GPU_RELEASE:
        memory_unused(op->slot->pool, op->record);
        break;
    case BELAY__GPU_BUILD:
        if (code == 0) {
            op->u.kernel->built = true;
            if (!op->cancelled) {
                *(belay_gpu_kernel **)op->ret = op->u.kernel;
            }
        }
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

/* ---- asking ---- */

/* The slot of a lease on which something may be asked for. 0, or a code and
 * the token of the refusal.
 */
static int
usable_slot(belay_task *task, belay_gpu_lease lease,
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
static void
want_open(struct belay__gpu_slot *slot)
{
    if (slot->native == NULL && !slot->own_busy) {
        belay__gpu_slot_open(slot);
    }
}

static belay_next
kernel_known(belay_task *task, belay_gpu_kernel *kernel, belay_gpu_kernel **ret)
{
    const belay_next next = belay__done_now(task, 0, NULL);

    if (belay_result(task)->code == 0) {
        *ret = kernel;
    }
    return next;
}

belay_next
belay_gpu_build(belay_task *task, belay_gpu_lease lease,
    const struct belay_gpu_source *source, belay_gpu_kernel **ret)
{
    struct text_of_source of;
    struct belay__gpu_slot *slot;
    struct belay_gpu_kernel *kernel;
    struct belay__gpu_op *op;
    belay_next refusal;
    const char *wrong;
    uint64_t hash;

    if (source != NULL && source->size != sizeof(*source)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    if (source == NULL || ret == NULL) {
        return belay__gpu_refuse(task, BELAY_GPU_EINVAL, "%s is NULL",
            source == NULL ? "source" : "ret");
    }
    if (usable_slot(task, lease, &slot, &refusal) < 0) {
        return refusal;
    }
    wrong = pick_text(slot->pool, source, &of);
    if (wrong != NULL) {
        return belay__gpu_refuse(task, BELAY_GPU_EINVAL, "%s", wrong);
    }
    hash = hash_text(UINT64_C(0xcbf29ce484222325), of.text.data, of.text.len);
    kernel = kernel_find(slot, source, &of, hash);
    if (kernel != NULL && kernel->built) {
        return kernel_known(task, kernel, ret);
    }
    if (kernel == NULL && slot->kernel_count == BELAY__GPU_KERNELS_MAX) {
        return belay__gpu_refuse(task, BELAY_GPU_ENOMEM,
            "the slot has %d kernels already", BELAY__GPU_KERNELS_MAX);
    }
    op = belay__gpu_op_new(slot->pool, BELAY__GPU_BUILD, 0);
    if (op != NULL && kernel == NULL) {
        kernel = kernel_new(slot, source, &of, hash);
    }
    if (op == NULL || kernel == NULL) {
        belay__gpu_op_free(slot->pool, op);
        return belay__refuse(task, BELAY_ENOMEM);
    }
    op->u.kernel = kernel;
    op->ret = ret;
    want_open(slot);
    return belay__gpu_op_await(task, slot, op);
}

belay_next
belay_gpu_alloc(belay_task *task, belay_gpu_lease lease, uint64_t bytes,
    belay_gpu_buffer *ret)
{
    struct belay__gpu_slot *slot;
    struct belay__gpu_memory *memory;
    struct belay__gpu_op *op;
    belay_next refusal;

    if (bytes == 0 || ret == NULL) {
        return belay__gpu_refuse(task, BELAY_GPU_EINVAL, "%s",
            ret == NULL ? "ret is NULL" : "bytes is 0");
    }
    if (usable_slot(task, lease, &slot, &refusal) < 0) {
        return refusal;
    }
    if (bytes > slot->bytes - slot->used) {
        return belay__gpu_refuse(task, BELAY_GPU_ENOMEM,
            "%llu bytes asked for, the lease has %llu of %llu left",
            (unsigned long long)bytes,
            (unsigned long long)(slot->bytes - slot->used),
            (unsigned long long)slot->bytes);
    }
    op = belay__gpu_op_new(slot->pool, BELAY__GPU_ALLOC, 0);
    memory = op != NULL ? memory_new(slot, bytes) : NULL;
    if (memory == NULL) {
        belay__gpu_op_free(slot->pool, op);
        return belay__refuse(task, BELAY_ENOMEM);
    }
    slot->used += bytes;
    op->patience_ns = belay__gpu_lock_patience_ns(slot);
    op->u.buffer = &memory->buffer;
    op->record = memory;
    op->ret = ret;
    want_open(slot);
    return belay__gpu_op_await(task, slot, op);
}

/* The record of a buffer's handle; 0, BELAY_GPU_EINVAL, _ESTALE. */
static int
memory_of(belay_gpu_buffer buffer, struct belay__gpu_memory **ret)
{
    if (buffer.memory == NULL) {
        return BELAY_GPU_EINVAL;
    }
    if (buffer.memory->slot == NULL
        || buffer.memory->generation != buffer.generation) {
        return BELAY_GPU_ESTALE;
    }
    *ret = buffer.memory;
    return 0;
}

int
belay_gpu_free(belay_gpu_buffer buffer)
{
    struct belay__gpu_memory *memory;
    int code = memory_of(buffer, &memory);

    if (code < 0) {
        return code;
    }
    code = belay__gpu_check_caller(memory->slot->pool);
    if (code < 0) {
        return code;
    }
    memory->slot->used -= memory->buffer.bytes;
    memory_release(memory);
    return 0;
}

int
belay_gpu_stage(belay_gpu_lease lease, size_t bytes, void **ret)
{
    struct belay__gpu_slot *slot;
    struct belay__gpu_stage *stage;
    int code = belay__gpu_lease_slot(lease, &slot);

    if (code < 0) {
        return code;
    }
    if (bytes == 0 || ret == NULL) {
        return BELAY_GPU_EINVAL;
    }
    if (slot->lease->ending) {
        return BELAY_GPU_ECANCELED;
    }
    if (bytes > SIZE_MAX - sizeof(*stage)) {
        return BELAY_ENOMEM;
    }
    stage = belay__gpu_block_alloc(slot->pool, sizeof(*stage) + bytes);
    if (stage == NULL) {
        return BELAY_ENOMEM;
    }
    *stage = (struct belay__gpu_stage){slot->stages, bytes};
    slot->stages = stage;
    *ret = stage + 1;
    return 0;
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
    const int code = memory_of(buffer, ret);

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
    if (usable_slot(task, lease, &slot, &refusal) < 0) {
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
    want_open(slot);
    return belay__gpu_op_await(task, slot, op);
}
