/* gpu_work.c - async functions that work on a pool, for any kind of device. */
#include "test/support/gpu_work.h"

#include <string.h>

#include "gpu/kernels.h"

static void
fill(struct gpu_add *self)
{
    for (uint32_t i = 0; i < self->count; i++) {
        self->x[i] = (float)i;
        self->y[i] = (float)(2 * i);
        self->z[i] = -1;
    }
}

static bool
is_sum(const struct gpu_add *self)
{
    for (uint32_t i = 0; i < self->count; i++) {
        if (self->z[i] != (float)(3 * i)) {
            return false;
        }
    }
    return true;
}

static belay_next
add_on_lease(belay_task *task, struct gpu_add *self)
{
    const size_t bytes = self->count * sizeof(float);
    const struct belay_gpu_arg args[] = {belay_gpu_arg_buffer(self->a),
        belay_gpu_arg_buffer(self->b), belay_gpu_arg_buffer(self->sum),
        belay_gpu_arg_u32(self->count)};
    const struct belay_gpu_cmd cmds[] = {
        BELAY_GPU_CMD_WRITE(self->a, 0, self->x, bytes),
        BELAY_GPU_CMD_WRITE(self->b, 0, self->y, bytes),
        BELAY_GPU_CMD_LAUNCH(
            self->kernel, (self->count + 63) / 64, 64, args, 4),
        BELAY_GPU_CMD_READ(self->sum, 0, self->z, bytes),
    };

    return belay_gpu_run(task, self->lease, cmds, 4);
}

BELAY__STEP(gpu_add)
const belay_function gpu_add = {
    "gpu_add", __FILE__, sizeof(struct gpu_add), gpu_add__step, 0};
BELAY__BODY(gpu_add)
{
    BELAY_BEGIN;
    self->count = self->count > 0 ? self->count : GPU_ADD_MAX;
    fill(self);
    BELAY_WITH (belay_gpu_lease_open(task, self->pool,
        BELAY_GPU_LEASE_OPTS(.bytes = 1 << 20, .priority = self->priority),
        &self->lease)) {
        BELAY_AWAIT(belay_gpu_build(
            task, self->lease, &belay__gpu_vector_add, &self->kernel));
        BELAY_AWAIT(
            belay_gpu_alloc(task, self->lease, sizeof(self->x), &self->a));
        BELAY_AWAIT(
            belay_gpu_alloc(task, self->lease, sizeof(self->x), &self->b));
        BELAY_AWAIT(
            belay_gpu_alloc(task, self->lease, sizeof(self->x), &self->sum));
        BELAY_AWAIT(add_on_lease(task, self));
        if (!is_sum(self)) {
            BELAY_FAIL(BELAY_EIO, "the device gives another sum");
        }
    }
    BELAY_END;
}

static belay_next
count_on_lease(belay_task *task, struct gpu_count *self)
{
    const struct belay_gpu_arg args[] = {belay_gpu_arg_stop(),
        belay_gpu_arg_sequence(), belay_gpu_arg_u64(self->rounds),
        belay_gpu_arg_buffer(self->done)};
    const struct belay_gpu_cmd cmds[] = {
        BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, args, 4),
        BELAY_GPU_CMD_READ(self->done, 0, self->counted, 8),
    };

    return belay_gpu_run(task, self->lease, cmds, 2);
}

BELAY__STEP(gpu_count)
const belay_function gpu_count = {
    "gpu_count", __FILE__, sizeof(struct gpu_count), gpu_count__step, 0};
BELAY__BODY(gpu_count)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool,
        BELAY_GPU_LEASE_OPTS(.bytes = 1 << 20), &self->lease)) {
        BELAY_AWAIT(belay_gpu_build(
            task, self->lease, &belay__gpu_spin, &self->kernel));
        BELAY_AWAIT(belay_gpu_alloc(task, self->lease, 8, &self->done));
        *self->running = true;
        BELAY_TRY(count_on_lease(task, self));
        *self->ended = true;
        *self->code = belay_result(task)->code;
        if (*self->code < 0) {
            return belay_pass(task);
        }
    }
    BELAY_END;
}
