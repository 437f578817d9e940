/* sim.c - the model of a simulated device: time, memory, faults. */
#include "gpu/sim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_ALIGN 512
#define GRANULE (UINT64_C(2) << 20) /* from this size on, in these steps */
#define POISON 0xa5                 /* what new memory is full of */

/* ---- random numbers ---- */

static uint64_t
next_random(struct belay__gpusim_random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

struct belay__gpusim_random
belay__gpusim_stream(uint64_t seed, uint64_t n)
{
    struct belay__gpusim_random random = {seed};

    random.state = next_random(&random) ^ n * UINT64_C(0xd1342543de82ef95);
    (void)next_random(&random);
    return random;
}

double
belay__gpusim_uniform(struct belay__gpusim_random *random)
{
    return (double)(next_random(random) >> 11) * 0x1p-53;
}

static double
normal(struct belay__gpusim_random *random)
{
    const double u = 1 - belay__gpusim_uniform(random); /* Box and Muller */
    const double v = belay__gpusim_uniform(random);

    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* ---- time ---- */

static double
noise(const struct belay__gpusim_settings *settings,
    struct belay__gpusim_random *random)
{
    const double a = settings->noise_a;

    switch (settings->noise) {
    case BELAY__GPUSIM_UNIFORM:
        return 1 - a + 2 * a * belay__gpusim_uniform(random);
    case BELAY__GPUSIM_LOGNORMAL:
        return exp(a * normal(random));
    case BELAY__GPUSIM_TAIL:
        return belay__gpusim_uniform(random) < a ? settings->noise_b : 1;
    case BELAY__GPUSIM_CONSTANT:
        break;
    }
    return 1;
}

static double
threads_of(const uint32_t grid[3], const uint32_t block[3])
{
    double threads = 1;

    for (int i = 0; i < 3; i++) {
        threads *= (double)grid[i] * (double)block[i];
    }
    return threads;
}

double
belay__gpusim_duration(const struct belay__gpusim_settings *settings,
    struct belay__gpusim_random *random, const struct belay__gpu_cmd *cmd,
    bool *ret_is_copy)
{
    double work;

    *ret_is_copy = cmd->kind == BELAY_GPU_WRITE || cmd->kind == BELAY_GPU_READ;
    if (*ret_is_copy) {
        return (double)cmd->u.transfer.bytes / settings->bandwidth * 1e9
               * noise(settings, random);
    }
    if (cmd->kind == BELAY_GPU_FILL) {
        work = (double)cmd->u.transfer.bytes;
    } else {
        work = threads_of(cmd->u.launch.grid, cmd->u.launch.block)
               * cmd->u.launch.kernel->sim_work;
    }
    return (settings->launch_ns + work / settings->rate * 1e9)
           * noise(settings, random);
}

/* ---- what commands do ---- */

static void
perform_launch(const struct belay__gpu_op *op, const struct belay__gpu_cmd *cmd,
    const uint64_t *stop_word)
{
    const struct belay_gpu_kernel *kernel = cmd->u.launch.kernel;
    struct belay_gpu_sim_arg args[BELAY_GPU_ARGS_MAX];
    union {
        const void *from;
        void *to;
    } address;
    struct belay_gpu_sim_call call = {
        .args = args, .arg_count = cmd->u.launch.arg_count};
    const struct belay__gpu_arg *arg;

    if (kernel->sim == NULL) {
        return;
    }
    memcpy(call.grid, cmd->u.launch.grid, sizeof(call.grid));
    memcpy(call.block, cmd->u.launch.block, sizeof(call.block));
    for (uint32_t i = 0; i < call.arg_count; i++) {
        arg = &cmd->u.launch.args[i];
        args[i].bytes = arg->bytes;
        address.from = &arg->value;
        if (arg->kind == BELAY_GPU_ARG_BUFFER) {
            const struct belay__gpusim_buffer *buffer = arg->buffer->native;

            args[i].bytes = arg->buffer->bytes;
            address.to = buffer->data;
        } else if (arg->kind == BELAY_GPU_ARG_STOP) {
            address.from = stop_word;
        } else if (arg->kind == BELAY_GPU_ARG_SEQUENCE) {
            address.from = &op->seq;
        }
        args[i].data = address.to;
    }
    kernel->sim(&call);
}

void
belay__gpusim_perform(const struct belay__gpu_op *op,
    const struct belay__gpu_cmd *cmd, const uint64_t *stop_word)
{
    struct belay__gpusim_buffer *buffer;
    unsigned char *at;

    if (cmd->kind == BELAY_GPU_LAUNCH) {
        perform_launch(op, cmd, stop_word);
        return;
    }
    buffer = cmd->u.transfer.buffer->native;
    if (buffer->data == NULL) {
        return; /* what is read of it stays as it was */
    }
    at = buffer->data + cmd->u.transfer.offset;
    if (cmd->kind == BELAY_GPU_WRITE) {
        memcpy(at, cmd->u.transfer.host, cmd->u.transfer.bytes);
    } else if (cmd->kind == BELAY_GPU_READ) {
        memcpy(cmd->u.transfer.host, at, cmd->u.transfer.bytes);
    } else {
        memset(at, cmd->u.transfer.value, cmd->u.transfer.bytes);
    }
}

/* ---- faults ---- */

static void
init_device(struct belay__gpusim_device *device,
    const struct belay__gpusim_settings *settings, uint32_t index)
{
    *device = (struct belay__gpusim_device){
        .settings = settings,
        .index = index,
        .random =
            belay__gpusim_stream(settings->seed, UINT64_C(1) << 32 | index),
    };
}

/* Is there a fault of this kind for the n-th? */
static const struct belay__gpusim_fault *
find_fault(const struct belay__gpusim_device *device,
    enum belay__gpusim_fault_kind kind, uint64_t n)
{
    const struct belay__gpusim_settings *settings = device->settings;
    const struct belay__gpusim_fault *fault;

    for (uint32_t i = 0; i < settings->fault_count; i++) {
        fault = &settings->faults[i];
        if (fault->kind == kind && fault->device == device->index
            && fault->n == n) {
            return fault;
        }
    }
    return NULL;
}

/* … or for one of the first n of them, or from the n-th on? */
static bool
is_below(const struct belay__gpusim_device *device,
    enum belay__gpusim_fault_kind kind, uint64_t n)
{
    const struct belay__gpusim_settings *settings = device->settings;

    for (uint32_t i = 0; i < settings->fault_count; i++) {
        if (settings->faults[i].kind == kind
            && settings->faults[i].device == device->index
            && n <= settings->faults[i].n) {
            return true;
        }
    }
    return false;
}

static bool
is_from(const struct belay__gpusim_device *device,
    enum belay__gpusim_fault_kind kind, uint64_t n)
{
    const struct belay__gpusim_settings *settings = device->settings;

    for (uint32_t i = 0; i < settings->fault_count; i++) {
        if (settings->faults[i].kind == kind
            && settings->faults[i].device == device->index
            && n >= settings->faults[i].n) {
            return true;
        }
    }
    return false;
}

static bool
by_chance(struct belay__gpusim_device *device, double chance)
{
    return chance > 0 && belay__gpusim_uniform(&device->random) < chance;
}

static int
status_of(struct belay__gpusim_device *device)
{
    const struct belay__gpusim_settings *settings = device->settings;

    if (find_fault(device, BELAY__GPUSIM_FAULT_LOST, device->ops) != NULL) {
        device->lost = true;
    }
    if (find_fault(device, BELAY__GPUSIM_FAULT_STICKY, device->ops) != NULL
        || by_chance(device, settings->sticky_chance)) {
        device->sticky = true;
    }
    if (device->sticky || device->lost) {
        return BELAY_GPU_ELOST;
    }
    if (find_fault(device, BELAY__GPUSIM_FAULT_OP, device->ops) != NULL
        || by_chance(device, settings->op_chance)) {
        return BELAY_GPU_EOP;
    }
    return 0;
}

struct belay__gpusim_fate
belay__gpusim_fate(struct belay__gpusim_device *device)
{
    const struct belay__gpusim_settings *settings = device->settings;
    const struct belay__gpusim_fault *fault;
    struct belay__gpusim_fate fate = {.factor = 1, .hang_ns = -1};

    device->ops++;
    fate.status = status_of(device);
    fate.twice =
        find_fault(device, BELAY__GPUSIM_FAULT_TWICE, device->ops) != NULL;
    fate.at_once =
        find_fault(device, BELAY__GPUSIM_FAULT_AT_ONCE, device->ops) != NULL;
    fate.deaf = is_from(device, BELAY__GPUSIM_FAULT_DEAF, device->ops);
    fault = find_fault(device, BELAY__GPUSIM_FAULT_SLOW, device->ops);
    if (fault != NULL || by_chance(device, settings->slow_chance)) {
        fate.factor = fault != NULL && fault->arg > 0 ? fault->arg : 100;
    }
    fault = find_fault(device, BELAY__GPUSIM_FAULT_HANG, device->ops);
    if (fault != NULL) {
        fate.hang_ns = fault->arg;
    } else if (by_chance(device, settings->hang_chance)) {
        fate.hang_ns = 0;
    }
    return fate;
}

/* ---- memory, contexts, kernels ---- */

int
belay__gpusim_charge(
    struct belay__gpusim_device *device, uint64_t bytes, uint64_t *ret_charged)
{
    const uint64_t step = bytes >= GRANULE ? GRANULE : SMALL_ALIGN;
    const uint64_t total = device->settings->bytes;
    uint64_t charged;

    device->allocs++;
    if (bytes > total
        || find_fault(device, BELAY__GPUSIM_FAULT_ALLOC, device->allocs)
               != NULL) {
        return BELAY_GPU_ENOMEM;
    }
    charged = (bytes + step - 1) / step * step;
    if (charged > total - device->used_bytes) {
        return BELAY_GPU_ENOMEM;
    }
    device->used_bytes += charged;
    *ret_charged = charged;
    return 0;
}

size_t
belay__gpusim_block_bytes(
    const struct belay__gpusim_settings *settings, uint64_t bytes)
{
    const size_t head = sizeof(struct belay__gpusim_buffer);

    return bytes <= settings->real_bytes ? head + (size_t)bytes : head;
}

void
belay__gpusim_block_init(
    struct belay__gpusim_buffer *block, size_t block_bytes, uint64_t charged)
{
    *block =
        (struct belay__gpusim_buffer){.charged = charged, .bytes = block_bytes};
    if (block_bytes > sizeof(*block)) {
        block->data = (unsigned char *)(block + 1);
        memset(block->data, POISON, block_bytes - sizeof(*block));
    }
}

void
belay__gpusim_link(
    struct belay__gpusim_buffer **list, struct belay__gpusim_buffer *buffer)
{
    buffer->prev = NULL;
    buffer->next = *list;
    if (*list != NULL) {
        (*list)->prev = buffer;
    }
    *list = buffer;
}

void
belay__gpusim_unlink(
    struct belay__gpusim_buffer **list, struct belay__gpusim_buffer *buffer)
{
    if (buffer->prev != NULL) {
        buffer->prev->next = buffer->next;
    } else {
        *list = buffer->next;
    }
    if (buffer->next != NULL) {
        buffer->next->prev = buffer->prev;
    }
}

double
belay__gpusim_build_ns(
    struct belay__gpusim_device *device, const struct belay_gpu_kernel *kernel)
{
    const uint64_t room = sizeof(device->built) / sizeof(device->built[0]);
    uint64_t hash = kernel->hash;

    for (const char *at = kernel->entry; *at != '\0'; at++) {
        hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
    }
    for (uint64_t i = 0; i < room && i < device->built_count; i++) {
        if (device->built[i] == hash) {
            return 0;
        }
    }
    device->built[device->built_count++ % room] = hash;
    return device->settings->jit_ns;
}

int
belay__gpusim_open(struct belay__gpusim_device *device)
{
    const uint64_t context = device->settings->context_bytes;

    device->opens++;
    if (is_below(device, BELAY__GPUSIM_FAULT_OPEN, device->opens)) {
        return BELAY_GPU_EOP;
    }
    if (device->contexts == 0) {
        if (context > device->settings->bytes - device->used_bytes) {
            return BELAY_GPU_ENOMEM;
        }
        device->used_bytes += context;
    }
    device->contexts++;
    return 0;
}

void
belay__gpusim_close(struct belay__gpusim_device *device)
{
    if (--device->contexts == 0) {
        device->used_bytes -= device->settings->context_bytes;
    }
}

int
belay__gpusim_reset(struct belay__gpusim_device *device)
{
    device->resets++;
    if (device->lost
        || is_below(device, BELAY__GPUSIM_FAULT_RESET, device->resets)) {
        return BELAY_GPU_EOP;
    }
    device->sticky = false;
    return 0;
}

bool
belay__gpusim_is_lost(const struct belay__gpusim_device *device)
{
    return device->sticky || device->lost;
}

const char *
belay__gpusim_words(int status)
{
    return status == BELAY_GPU_ELOST ? "the device is lost (simulated)"
                                     : "a fault (simulated)";
}

int
belay__gpusim_fail(
    struct belay__gpu_op *op, int status, int native, const char *text)
{
    op->status = status;
    op->native = native;
    (void)snprintf(op->note, sizeof(op->note), "%s",
        text != NULL ? text : belay__gpusim_words(status));
    return status;
}

/* ---- the object of both drivers ---- */

int
belay__gpusim_load(
    struct belay__gpusim *sim, const char *settings, char why[BELAY__GPU_NOTE])
{
    const int code = belay__gpusim_parse(settings, &sim->settings, why);

    if (code < 0) {
        return code;
    }
    sim->devices = calloc(sim->settings.devices, sizeof(*sim->devices));
    if (sim->devices == NULL) {
        return BELAY_ENOMEM;
    }
    for (uint32_t i = 0; i < sim->settings.devices; i++) {
        init_device(&sim->devices[i], &sim->settings, i);
    }
    return 0;
}

static void
fill_info(const struct belay__gpusim_settings *settings, uint32_t index,
    struct belay__gpu_devinfo *ret)
{
    *ret = (struct belay__gpu_devinfo){
        .bytes = settings->bytes,
        .free_bytes = UINT64_MAX,
        .headroom_bytes = settings->context_bytes,
        .units = 1,
        .slots = settings->slots,
        .ordinal = index,
    };
    (void)snprintf(ret->name, sizeof(ret->name), "sim %u", index);
    (void)snprintf(ret->uid, sizeof(ret->uid), "SIM-%016llx-%u",
        (unsigned long long)settings->seed, index);
}

int
belay__gpusim_enumerate(void *state, struct belay__gpu_devinfo *ret,
    uint32_t room, char why[BELAY__GPU_NOTE])
{
    const struct belay__gpusim *sim = state;

    (void)why;
    for (uint32_t i = 0; i < sim->settings.devices && i < room; i++) {
        fill_info(&sim->settings, i, &ret[i]);
    }
    return (int)sim->settings.devices;
}

void
belay__gpusim_unload(struct belay__gpusim *sim)
{
    free(sim->devices);
    sim->devices = NULL;
}
