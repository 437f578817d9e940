/* pool.c - a pool of slots: for now its interface alone. Every call answers
 * BELAY_ENOSYS; the parts replace this file one by one.
 */
#include "gpu/backend.h"

#include <belay/gpu_stats.h>

#include "runtime/internal.h"

belay_next
belay_gpu_pool_open(belay_task *task, const struct belay_gpu_pool_opts *opts,
    belay_gpu_pool **ret)
{
    (void)opts;
    (void)ret;
    return belay__refuse(task, BELAY_ENOSYS);
}

belay_next
belay_gpu_pool_close(
    belay_task *task, belay_gpu_pool *pool, uint64_t *ret_leaked)
{
    (void)pool;
    (void)ret_leaked;
    return belay__refuse(task, BELAY_ENOSYS);
}

belay_next
belay_gpu_pool_drain(belay_task *task, belay_gpu_pool *pool)
{
    (void)pool;
    return belay__refuse(task, BELAY_ENOSYS);
}

belay_next
belay_gpu_lease_open_at(belay_task *task, const char *file, int line,
    belay_gpu_pool *pool, const struct belay_gpu_lease_opts *opts,
    belay_gpu_lease *ret)
{
    (void)file;
    (void)line;
    (void)pool;
    (void)opts;
    (void)ret;
    return belay__refuse(task, BELAY_ENOSYS);
}

belay_next
belay_gpu_acquire_at(belay_task *task, const char *file, int line,
    belay_gpu_pool *pool, const struct belay_gpu_lease_opts *opts,
    belay_gpu_lease *ret)
{
    return belay_gpu_lease_open_at(task, file, line, pool, opts, ret);
}

int
belay_gpu_try_acquire_at(belay_task *task, const char *file, int line,
    belay_gpu_pool *pool, const struct belay_gpu_lease_opts *opts,
    belay_gpu_lease *ret)
{
    (void)task;
    (void)file;
    (void)line;
    (void)pool;
    (void)opts;
    (void)ret;
    return BELAY_ENOSYS;
}

int
belay_gpu_release(belay_gpu_lease lease)
{
    (void)lease;
    return BELAY_ENOSYS;
}

int
belay_gpu_lease_member(
    belay_gpu_lease lease, uint32_t index, belay_gpu_lease *ret)
{
    (void)lease;
    (void)index;
    (void)ret;
    return BELAY_ENOSYS;
}

belay_next
belay_gpu_build(belay_task *task, belay_gpu_lease lease,
    const struct belay_gpu_source *source, belay_gpu_kernel **ret)
{
    (void)lease;
    (void)source;
    (void)ret;
    return belay__refuse(task, BELAY_ENOSYS);
}

belay_next
belay_gpu_alloc(belay_task *task, belay_gpu_lease lease, uint64_t bytes,
    belay_gpu_buffer *ret)
{
    (void)lease;
    (void)bytes;
    (void)ret;
    return belay__refuse(task, BELAY_ENOSYS);
}

int
belay_gpu_free(belay_gpu_buffer buffer)
{
    (void)buffer;
    return BELAY_ENOSYS;
}

int
belay_gpu_stage(belay_gpu_lease lease, size_t bytes, void **ret)
{
    (void)lease;
    (void)bytes;
    (void)ret;
    return BELAY_ENOSYS;
}

belay_next
belay_gpu_run(belay_task *task, belay_gpu_lease lease,
    const struct belay_gpu_cmd *cmds, size_t count)
{
    (void)lease;
    (void)cmds;
    (void)count;
    return belay__refuse(task, BELAY_ENOSYS);
}

belay_next
belay_gpu_list(belay_task *task, const char *devices,
    struct belay_gpu_device *ret, uint32_t room, uint32_t *ret_count,
    char *ret_note, size_t note_size)
{
    (void)devices;
    (void)ret;
    (void)room;
    (void)ret_count;
    (void)ret_note;
    (void)note_size;
    return belay__refuse(task, BELAY_ENOSYS);
}

int
belay_gpu_pool_device(
    const belay_gpu_pool *pool, uint32_t index, struct belay_gpu_device *ret)
{
    (void)pool;
    (void)index;
    (void)ret;
    return BELAY_ENOSYS;
}

const char *
belay_gpu_pool_note(const belay_gpu_pool *pool)
{
    (void)pool;
    return "";
}

int
belay_gpu_pool_slot(const belay_gpu_pool *pool, uint32_t index,
    struct belay_gpu_slot_stats *ret)
{
    (void)pool;
    (void)index;
    (void)ret;
    return BELAY_ENOSYS;
}

int
belay_gpu_pool_get_stats(
    const belay_gpu_pool *pool, struct belay_gpu_pool_stats *ret)
{
    (void)pool;
    (void)ret;
    return BELAY_ENOSYS;
}

belay_duration
belay_gpu_wait_quantile(
    const struct belay_gpu_priority_stats *stats, double share)
{
    (void)stats;
    (void)share;
    return belay_nanoseconds(0);
}

size_t
belay_gpu_events(const belay_gpu_pool *pool, uint64_t *cursor,
    struct belay_gpu_event *ret, size_t room, uint64_t *ret_lost)
{
    (void)pool;
    (void)cursor;
    (void)ret;
    (void)room;
    (void)ret_lost;
    return 0;
}

const char *
belay_gpu_leak_site(const belay_gpu_pool *pool, uint32_t index, int *ret_line)
{
    (void)pool;
    (void)index;
    (void)ret_line;
    return NULL;
}
