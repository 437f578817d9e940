/* memory.c - the memory of a lease: on its device, and staged on the host.
 *
 * A record of a buffer is never freed before the pool is left, so that a
 * handle that comes too late can be told so. All that the end of a buffer
 * needs is made with it, so that giving it back cannot fail.
 */
#include <belay/gpu_work.h>

#include "gpu/lock.h"

/* ---- records ---- */

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

/* ---- asked for by tasks ---- */

void
belay__gpu_release_ended(const struct belay__gpu_op *op)
{
    memory_unused(op->slot->pool, op->record);
}

void
belay__gpu_alloc_ended(struct belay__gpu_op *op, int code)
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
    if (belay__gpu_usable_slot(task, lease, &slot, &refusal) < 0) {
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
    belay__gpu_want_open(slot);
    return belay__gpu_op_await(task, slot, op);
}

/* The record of a buffer's handle; 0, BELAY_GPU_EINVAL, _ESTALE. */
int
belay__gpu_memory_of(belay_gpu_buffer buffer, struct belay__gpu_memory **ret)
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
    int code = belay__gpu_memory_of(buffer, &memory);

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
