/* backend_sim_threads.c - simulated devices behind the same threads that real
 * ones have.
 *
 * For the bridge and its races, not for figures: times are those of one slot
 * alone, slept for on the system's clock. One lock is around all of a device's
 * state; a slot's own is its thread's, but for the stop word.
 */
#include "gpu/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct sim {
    struct belay__gpusim base;
    uv_mutex_t mutex; /* of the devices */
};

struct slot {
    struct sim *sim;
    struct belay__gpusim_device *device;
    struct belay__gpusim_random random;
    struct belay__gpusim_fate fate; /* of the operation that is submitted */
    uv_mutex_t mutex;
    uv_cond_t cond;
    uint64_t stop_word; /* by mutex */
    struct belay__gpusim_buffer *buffers;
};

/* Sleeps so long; 0 < ns. True: the operation was stopped meanwhile. */
static bool
sleep_or_stop(struct slot *slot, const struct belay__gpu_op *op, double ns)
{
    const uint64_t end = uv_hrtime() + (uint64_t)ns;
    bool stopped;
    uint64_t now;

    uv_mutex_lock(&slot->mutex);
    while (!(stopped = slot->stop_word >= op->seq && !slot->fate.deaf)
           && (now = uv_hrtime()) < end) {
        (void)uv_cond_timedwait(&slot->cond, &slot->mutex, end - now);
    }
    uv_mutex_unlock(&slot->mutex);
    return stopped;
}

static void
hang(struct slot *slot, double ns)
{
    const uint64_t end = ns > 0 ? uv_hrtime() + (uint64_t)ns : UINT64_MAX;
    uint64_t now;

    uv_mutex_lock(&slot->mutex);
    while ((now = uv_hrtime()) < end) {
        (void)uv_cond_timedwait(&slot->cond, &slot->mutex,
            end - now < UINT64_C(1000000000) ? end - now
                                             : UINT64_C(1000000000));
    }
    uv_mutex_unlock(&slot->mutex);
}

static int
threads_submit(void *state, struct belay__gpu_op *op)
{
    struct slot *slot = state;

    (void)op;
    uv_mutex_lock(&slot->sim->mutex);
    slot->fate = belay__gpusim_fate(slot->device);
    uv_mutex_unlock(&slot->sim->mutex);
    return 0;
}

static void
run_cmd(struct slot *slot, const struct belay__gpu_op *op,
    const struct belay__gpu_cmd *cmd)
{
    bool is_copy;
    const double ns = belay__gpusim_duration(
        &slot->sim->base.settings, &slot->random, cmd, &is_copy);
    bool stopped = false;
    uint64_t stop_word;

    if (ns >= 1) {
        stopped = sleep_or_stop(slot, op, ns * slot->fate.factor);
    }
    if (!stopped || is_copy) {
        uv_mutex_lock(&slot->mutex);
        stop_word = slot->stop_word;
        uv_mutex_unlock(&slot->mutex);
        belay__gpusim_perform(op, cmd, &stop_word);
    }
}

static int
threads_wait(void *state, struct belay__gpu_op *op)
{
    struct slot *slot = state;

    if (slot->fate.status < 0) {
        return belay__gpusim_fail(op, slot->fate.status, 1, NULL);
    }
    if (slot->fate.hang_ns >= 0) {
        hang(slot, slot->fate.hang_ns);
        return 0; /* its commands may be gone */
    }
    for (uint32_t i = 0; i < op->u.run.count; i++) {
        run_cmd(slot, op, &op->u.run.cmds[i]);
    }
    return 0;
}

static int
threads_build(void *state, struct belay__gpu_op *op)
{
    struct slot *slot = state;
    double ns;

    uv_mutex_lock(&slot->sim->mutex);
    ns = belay__gpusim_build_ns(slot->device, op->u.kernel);
    uv_mutex_unlock(&slot->sim->mutex);
    if (ns >= 1) {
        (void)sleep_or_stop(slot, op, ns);
    }
    op->u.kernel->native = op->u.kernel;
    return 0;
}

static int
threads_alloc(void *state, struct belay__gpu_op *op)
{
    struct slot *slot = state;
    struct belay__gpu_buffer *buffer = op->u.buffer;
    const size_t bytes =
        belay__gpusim_block_bytes(&slot->sim->base.settings, buffer->bytes);
    struct belay__gpusim_buffer *made;
    uint64_t charged = 0;
    int code = BELAY_GPU_ELOST;

    uv_mutex_lock(&slot->sim->mutex);
    if (!belay__gpusim_is_lost(slot->device)) {
        code = belay__gpusim_charge(slot->device, buffer->bytes, &charged);
    }
    uv_mutex_unlock(&slot->sim->mutex);
    if (code < 0) {
        return belay__gpusim_fail(op, code, 2,
            code == BELAY_GPU_ELOST ? NULL : "out of memory (simulated)");
    }
    made = malloc(bytes);
    if (made == NULL) {
        uv_mutex_lock(&slot->sim->mutex);
        slot->device->used_bytes -= charged;
        uv_mutex_unlock(&slot->sim->mutex);
        return belay__gpusim_fail(
            op, BELAY_GPU_ENOMEM, 0, "no host memory to simulate it with");
    }
    belay__gpusim_block_init(made, bytes, charged);
    belay__gpusim_link(&slot->buffers, made);
    buffer->native = made;
    return 0;
}

static int
threads_release(void *state, struct belay__gpu_op *op)
{
    struct slot *slot = state;
    struct belay__gpusim_buffer *made = op->u.buffer->native;

    uv_mutex_lock(&slot->sim->mutex);
    slot->device->used_bytes -= made->charged;
    uv_mutex_unlock(&slot->sim->mutex);
    belay__gpusim_unlink(&slot->buffers, made);
    free(made);
    op->u.buffer->native = NULL;
    return 0;
}

static int
threads_health(void *state, struct belay__gpu_op *op)
{
    struct slot *slot = state;
    bool lost;

    uv_mutex_lock(&slot->sim->mutex);
    lost = belay__gpusim_is_lost(slot->device);
    uv_mutex_unlock(&slot->sim->mutex);
    return lost ? belay__gpusim_fail(op, BELAY_GPU_ELOST, 1, NULL) : 0;
}

static int
threads_reset(void *state, struct belay__gpu_op *op)
{
    struct slot *slot = state;
    int code;

    uv_mutex_lock(&slot->sim->mutex);
    code = belay__gpusim_reset(slot->device);
    uv_mutex_unlock(&slot->sim->mutex);
    return code < 0 ? belay__gpusim_fail(op, code, 1, NULL) : 0;
}

static void
threads_stop(void *state, uint64_t up_to_seq)
{
    struct slot *slot = state;

    uv_mutex_lock(&slot->mutex);
    if (slot->stop_word < up_to_seq) {
        slot->stop_word = up_to_seq;
    }
    uv_cond_signal(&slot->cond);
    uv_mutex_unlock(&slot->mutex);
}

/* ---- opening and closing ---- */

static int
threads_load(const char *settings, void **ret, char why[BELAY__GPU_NOTE])
{
    struct sim *sim = calloc(1, sizeof(*sim));
    int code;

    if (sim == NULL) {
        return BELAY_ENOMEM;
    }
    code = belay__gpusim_load(&sim->base, settings, why);
    if (code == 0) {
        code = uv_mutex_init(&sim->mutex);
    }
    if (code < 0) {
        belay__gpusim_unload(&sim->base);
        free(sim);
        return code;
    }
    *ret = sim;
    return 0;
}

static void
threads_unload(void *state)
{
    struct sim *sim = state;

    uv_mutex_destroy(&sim->mutex);
    belay__gpusim_unload(&sim->base);
    free(sim);
}

static int
slot_init(struct slot *slot)
{
    int code = uv_mutex_init(&slot->mutex);

    if (code < 0) {
        return code;
    }
    code = uv_cond_init(&slot->cond);
    if (code < 0) {
        uv_mutex_destroy(&slot->mutex);
    }
    return code;
}

static int
threads_slot_open(void *state, const struct belay__gpu_place *place, void **ret,
    uint64_t *ret_free_bytes, char why[BELAY__GPU_NOTE])
{
    struct sim *sim = state;
    struct belay__gpusim_device *device = &sim->base.devices[place->ordinal];
    struct slot *slot = calloc(1, sizeof(*slot));
    int code = slot != NULL ? slot_init(slot) : BELAY_ENOMEM;

    if (code < 0) {
        free(slot);
        return code;
    }
    uv_mutex_lock(&sim->mutex);
    code = belay__gpusim_open(device);
    *ret_free_bytes = sim->base.settings.bytes - device->used_bytes
                      + sim->base.settings.context_bytes;
    uv_mutex_unlock(&sim->mutex);
    if (code < 0) {
        (void)snprintf(why, BELAY__GPU_NOTE, "%s", belay__gpusim_words(code));
        uv_cond_destroy(&slot->cond);
        uv_mutex_destroy(&slot->mutex);
        free(slot);
        return code;
    }
    slot->sim = sim;
    slot->device = device;
    slot->random = belay__gpusim_stream(
        sim->base.settings.seed, (uint64_t)place->device << 8 | place->slot);
    *ret = slot;
    return 0;
}

static void
threads_slot_close(void *state, bool abandon)
{
    struct slot *slot = state;
    struct belay__gpusim_buffer *made;

    if (!abandon) {
        uv_mutex_lock(&slot->sim->mutex);
        belay__gpusim_close(slot->device);
        uv_mutex_unlock(&slot->sim->mutex);
    }
    while ((made = slot->buffers) != NULL) {
        belay__gpusim_unlink(&slot->buffers, made);
        free(made);
    }
    uv_cond_destroy(&slot->cond);
    uv_mutex_destroy(&slot->mutex);
    free(slot);
}

const struct belay__gpu_driver belay__gpu_sim_threads = {
    .name = "sim",
    .language = BELAY__GPU_SIMULATED,
    .wants = belay__gpusim_wants_threads,
    .load = threads_load,
    .enumerate = belay__gpusim_enumerate,
    .unload = threads_unload,
    .slot_open = threads_slot_open,
    .build = threads_build,
    .alloc = threads_alloc,
    .release = threads_release,
    .submit = threads_submit,
    .wait = threads_wait,
    .health = threads_health,
    .reset = threads_reset,
    .slot_close = threads_slot_close,
    .stop = threads_stop,
};
