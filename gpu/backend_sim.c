/* backend_sim.c - simulated devices on the runtime's clock, without threads.
 *
 * Each slot has at most one operation, in a phase: a fixed time, or so much
 * work for the device's processor or its copy engine, which the slots in such
 * a phase share. Whenever a phase begins or ends the work that is left of the
 * others is brought up to date and their ends are moved. With a virtual clock
 * a day of it takes no time; with the system's clock it is a demonstration.
 *
 *   IDLE -> PROCESSOR | COPY | FIXED -> (next command) ... -> IDLE
 *                                   \-> HUNG
 */
#include "gpu/sim.h"

#include <math.h>
#include <stdlib.h>

#include "runtime/internal.h"

enum phase {
    IDLE,
    PROCESSOR,
    COPY,
    FIXED,
    HUNG,
    PHASES,
};

struct slot;

struct device {
    struct belay__gpusim_device *sim;
    struct slot *slots;    /* that are open */
    uint32_t busy[PHASES]; /* slots in each phase */
};

struct sim {
    struct belay__gpusim base;
    struct device *devices;
};

struct slot {
    struct device *device;
    belay_runtime *runtime;
    struct slot *next;
    struct belay__timer timer; /* the phase's end */
    struct belay__gpusim_random random;
    struct belay__gpusim_buffer *buffers;
    struct belay__gpu_op *op;
    struct belay__gpusim_fate fate;
    uint32_t cmd; /* that runs */
    enum phase phase;
    double left_ns; /* of the phase, alone on the device */
    int64_t left_at_ns;
    uint64_t stop_word;
};

static void begin_cmd(struct slot *slot);

/* ---- time ---- */

static double
speed(const struct device *device, enum phase phase)
{
    const double busy = (double)device->busy[phase];

    if (phase == PROCESSOR) {
        return 1 / (1 + device->sim->settings->contention * (busy - 1));
    }
    return phase == COPY ? 1 / busy : 1;
}

static void
bring_up_to_date(struct device *device, int64_t now)
{
    for (struct slot *slot = device->slots; slot != NULL; slot = slot->next) {
        if (slot->phase == PROCESSOR || slot->phase == COPY) {
            slot->left_ns -=
                (double)(now - slot->left_at_ns) * speed(device, slot->phase);
            slot->left_at_ns = now;
        }
    }
}

static void
arm(struct slot *slot, double in_ns)
{
    const int64_t now = belay__clock_now(slot->runtime);
    const int64_t span = in_ns > 0 ? (int64_t)ceil(in_ns) : 0;

    belay__timer_start(slot->runtime, &slot->timer, now + span);
}

static void
arm_all(struct device *device)
{
    for (struct slot *slot = device->slots; slot != NULL; slot = slot->next) {
        if (slot->phase == PROCESSOR || slot->phase == COPY) {
            arm(slot, slot->left_ns / speed(device, slot->phase));
        }
    }
}

static void
set_phase(struct slot *slot, enum phase phase, double ns)
{
    const int64_t now = belay__clock_now(slot->runtime);

    bring_up_to_date(slot->device, now);
    slot->device->busy[slot->phase]--;
    slot->device->busy[phase]++;
    slot->phase = phase;
    slot->left_ns = ns;
    slot->left_at_ns = now;
    if (phase == FIXED) {
        arm(slot, ns);
    } else if (phase == IDLE || phase == HUNG) {
        belay__timer_stop(slot->runtime, &slot->timer);
    }
    arm_all(slot->device);
}

/* ---- operations ---- */

static void
complete(struct slot *slot)
{
    struct belay__gpu_op *op = slot->op;
    const bool twice = slot->fate.twice;

    slot->op = NULL;
    slot->fate.twice = false;
    set_phase(slot, IDLE, 0);
    belay__gpu_complete(op);
    if (twice) {
        belay__gpu_complete(op);
    }
}

static void
fail(struct slot *slot, int status)
{
    (void)belay__gpusim_fail(slot->op, status, 1, NULL);
}

/* What runs on the device ends with it, as soon as the loop turns. */
static void
lose_others(const struct slot *lost)
{
    struct slot *slot = lost->device->slots;

    for (; slot != NULL; slot = slot->next) {
        if (slot != lost && slot->op != NULL && slot->phase != HUNG) {
            slot->fate.status = BELAY_GPU_ELOST;
            set_phase(slot, FIXED, 0);
        }
    }
}

static bool
is_stopped(const struct slot *slot)
{
    return slot->op->seq <= slot->stop_word && !slot->fate.deaf;
}

/* The time of a command is over, or of the whole operation. */
static void
phase_over(struct slot *slot)
{
    const struct belay__gpu_op *op = slot->op;

    if (slot->fate.status < 0) {
        fail(slot, slot->fate.status);
        complete(slot);
        return;
    }
    if (op->job != BELAY__GPU_RUN && op->job != BELAY__GPU_SCRUB) {
        complete(slot);
        return;
    }
    if (!is_stopped(slot)
        || op->u.run.cmds[slot->cmd].kind != BELAY_GPU_LAUNCH) {
        belay__gpusim_perform(op, &op->u.run.cmds[slot->cmd], &slot->stop_word);
    }
    slot->cmd++;
    begin_cmd(slot);
}

static void
begin_cmd(struct slot *slot)
{
    const struct belay__gpu_op *op = slot->op;
    bool is_copy;
    double ns;

    if (slot->cmd == op->u.run.count) {
        complete(slot);
        return;
    }
    ns = belay__gpusim_duration(slot->device->sim->settings, &slot->random,
        &op->u.run.cmds[slot->cmd], &is_copy);
    ns *= slot->fate.factor;
    if (!is_copy && is_stopped(slot)) {
        ns = 0;
    }
    set_phase(slot, is_copy ? COPY : PROCESSOR, ns);
}

static void
on_timer(struct belay__timer *timer)
{
    struct slot *slot = BELAY__CONTAINER(timer, struct slot, timer);

    if (slot->phase == PROCESSOR || slot->phase == COPY) {
        bring_up_to_date(slot->device, belay__clock_now(slot->runtime));
        if (slot->left_ns > 0.5) { /* it was shared meanwhile */
            arm(slot, slot->left_ns / speed(slot->device, slot->phase));
            return;
        }
    }
    phase_over(slot);
}

static void
run_at_once(struct slot *slot)
{
    const struct belay__gpu_op *op = slot->op;

    for (uint32_t i = 0; i < op->u.run.count && slot->fate.status == 0; i++) {
        belay__gpusim_perform(op, &op->u.run.cmds[i], &slot->stop_word);
    }
    if (slot->fate.status < 0) {
        fail(slot, slot->fate.status);
    }
    complete(slot);
}

static void
start_run(struct slot *slot)
{
    slot->cmd = 0;
    slot->fate = belay__gpusim_fate(slot->device->sim);
    if (slot->fate.status == BELAY_GPU_ELOST) {
        lose_others(slot);
        set_phase(slot, FIXED, 0);
    } else if (slot->fate.hang_ns > 0) {
        set_phase(slot, FIXED, slot->fate.hang_ns);
        slot->cmd = slot->op->u.run.count - 1;
    } else if (slot->fate.hang_ns >= 0) {
        set_phase(slot, HUNG, 0);
    } else if (slot->fate.at_once) {
        run_at_once(slot);
    } else {
        begin_cmd(slot);
    }
}

static void
start_build(struct slot *slot)
{
    struct belay_gpu_kernel *kernel = slot->op->u.kernel;
    const double ns = belay__gpusim_build_ns(slot->device->sim, kernel);

    kernel->native = kernel; /* there is nothing to keep */
    if (ns > 0) {
        set_phase(slot, FIXED, ns);
    } else {
        complete(slot);
    }
}

static int
allocate(struct slot *slot)
{
    struct belay__gpu_buffer *buffer = slot->op->u.buffer;
    const size_t bytes =
        belay__gpusim_block_bytes(slot->device->sim->settings, buffer->bytes);
    struct belay__gpusim_buffer *made;
    uint64_t charged;

    if (belay__gpusim_charge(slot->device->sim, buffer->bytes, &charged) < 0) {
        return belay__gpusim_fail(
            slot->op, BELAY_GPU_ENOMEM, 2, "out of memory (simulated)");
    }
    made = belay__alloc(slot->runtime->memory, bytes);
    if (made == NULL) {
        slot->device->sim->used_bytes -= charged;
        return belay__gpusim_fail(slot->op, BELAY_GPU_ENOMEM, 0,
            "no host memory to simulate it with");
    }
    belay__gpusim_block_init(made, bytes, charged);
    belay__gpusim_link(&slot->buffers, made);
    buffer->native = made;
    return 0;
}

static void
release(struct slot *slot, struct belay__gpusim_buffer *made)
{
    belay__gpusim_unlink(&slot->buffers, made);
    slot->device->sim->used_bytes -= made->charged;
    belay__free(slot->runtime->memory, made, made->bytes);
}

static bool
is_lost(const struct slot *slot)
{
    return belay__gpusim_is_lost(slot->device->sim);
}

/* Reset and health take as long as an empty kernel. */
static void
start_check(struct slot *slot, int status)
{
    slot->fate.status = status;
    set_phase(slot, FIXED, slot->device->sim->settings->launch_ns);
}

static void
sim_start(void *state, struct belay__gpu_op *op)
{
    struct slot *slot = state;

    slot->op = op;
    slot->fate = (struct belay__gpusim_fate){.factor = 1, .hang_ns = -1};
    switch (op->job) {
    case BELAY__GPU_RUN:
    case BELAY__GPU_SCRUB:
        start_run(slot);
        break;
    case BELAY__GPU_BUILD:
        start_build(slot);
        break;
    case BELAY__GPU_ALLOC:
        if (is_lost(slot)) {
            fail(slot, BELAY_GPU_ELOST);
        } else {
            (void)allocate(slot);
        }
        complete(slot);
        break;
    case BELAY__GPU_RELEASE:
        release(slot, op->u.buffer->native);
        op->u.buffer->native = NULL;
        complete(slot);
        break;
    case BELAY__GPU_HEALTH:
        start_check(slot, is_lost(slot) ? BELAY_GPU_ELOST : 0);
        break;
    case BELAY__GPU_RESET:
        start_check(slot, belay__gpusim_reset(slot->device->sim));
        break;
    case BELAY__GPU_OPEN:
    case BELAY__GPU_CLOSE:
        break;
    }
}

static void
sim_stop(void *state, uint64_t up_to_seq)
{
    struct slot *slot = state;

    if (up_to_seq > slot->stop_word) {
        slot->stop_word = up_to_seq;
    }
    if (slot->op != NULL && slot->phase == PROCESSOR && is_stopped(slot)) {
        bring_up_to_date(slot->device, belay__clock_now(slot->runtime));
        if (slot->left_ns > slot->device->sim->settings->stop_ns) {
            slot->left_ns = slot->device->sim->settings->stop_ns;
        }
        arm_all(slot->device);
    }
}

/* ---- the driver ---- */

static int
sim_load(const char *settings, void **ret, char why[BELAY__GPU_NOTE])
{
    struct sim *sim = calloc(1, sizeof(*sim));
    int code;

    if (sim == NULL) {
        return BELAY_ENOMEM;
    }
    code = belay__gpusim_load(&sim->base, settings, why);
    if (code == 0) {
        sim->devices =
            calloc(sim->base.settings.devices, sizeof(*sim->devices));
        code = sim->devices != NULL ? 0 : BELAY_ENOMEM;
    }
    if (code < 0) {
        belay__gpusim_unload(&sim->base);
        free(sim);
        return code;
    }
    for (uint32_t i = 0; i < sim->base.settings.devices; i++) {
        sim->devices[i].sim = &sim->base.devices[i];
    }
    *ret = sim;
    return 0;
}

static void
sim_unload(void *state)
{
    struct sim *sim = state;

    free(sim->devices);
    belay__gpusim_unload(&sim->base);
    free(sim);
}

static int
sim_slot_open(void *state, const struct belay__gpu_place *place, void **ret,
    uint64_t *ret_free_bytes, char why[BELAY__GPU_NOTE])
{
    struct sim *sim = state;
    struct device *device = &sim->devices[place->ordinal];
    struct slot *slot;
    int code = belay__gpusim_open(device->sim);

    if (code < 0) {
        (void)snprintf(why, BELAY__GPU_NOTE, "%s", belay__gpusim_words(code));
        return code;
    }
    slot = belay__alloc_zero(place->runtime->memory, sizeof(*slot));
    if (slot == NULL) {
        belay__gpusim_close(device->sim);
        return BELAY_ENOMEM;
    }
    code = belay__timer_init(place->runtime, &slot->timer, on_timer);
    if (code < 0) {
        belay__free(place->runtime->memory, slot, sizeof(*slot));
        belay__gpusim_close(device->sim);
        return code;
    }
    slot->device = device;
    slot->runtime = place->runtime;
    slot->random = belay__gpusim_stream(
        sim->base.settings.seed, (uint64_t)place->device << 8 | place->slot);
    slot->next = device->slots;
    device->slots = slot;
    device->busy[IDLE]++;
    *ret = slot;
    *ret_free_bytes = sim->base.settings.bytes - device->sim->used_bytes
                      + sim->base.settings.context_bytes;
    return 0;
}

static void
sim_slot_close(void *state, bool abandon)
{
    struct slot *slot = state;
    struct slot **link = &slot->device->slots;

    (void)abandon; /* what it has is forgotten either way */
    while (*link != slot) {
        link = &(*link)->next;
    }
    *link = slot->next;
    while (slot->buffers != NULL) {
        release(slot, slot->buffers);
    }
    slot->device->busy[slot->phase]--;
    belay__gpusim_close(slot->device->sim);
    belay__timer_fini(slot->runtime, &slot->timer);
    belay__free(slot->runtime->memory, slot, sizeof(*slot));
}

const struct belay__gpu_driver belay__gpu_sim = {
    .name = "sim",
    .flags = BELAY__GPU_INLINE,
    .language = BELAY__GPU_SIMULATED,
    .wants = belay__gpusim_wants_none,
    .load = sim_load,
    .enumerate = belay__gpusim_enumerate,
    .unload = sim_unload,
    .slot_open = sim_slot_open,
    .slot_close = sim_slot_close,
    .start = sim_start,
    .stop = sim_stop,
};
