/* list.c - the devices there are, without a pool on them. */
#include <belay/gpu_stats.h>

#include "gpu/internal.h"

#include <stdio.h>

/* Without a name: every kind but the simulator, each on its own. */
struct listing {
    const char *devices;
    struct belay_gpu_device *ret;
    uint32_t room;
    uint32_t *ret_count;
    char *ret_note;
    size_t note_size;
    /* locals */
    struct belay__gpu_probe probe;
    struct belay__gpu_found *found;
    size_t driver; /* the next to ask */
    uint32_t count;
    size_t note_len;
};

static void
describe(const struct belay__gpu_found *found, uint32_t index,
    struct belay_gpu_device *ret)
{
    const struct belay__gpu_devinfo *info = &found->infos[index];

    *ret = (struct belay_gpu_device){
        .size = sizeof(*ret),
        .bytes = info->bytes,
        .units = info->units,
        .gauges = BELAY_GPU_GAUGES_UNKNOWN,
    };
    if (info->gauged) {
        ret->gauges = info->gauges;
    }
    (void)snprintf(
        ret->backend, sizeof(ret->backend), "%s", found->driver->name);
    (void)snprintf(ret->name, sizeof(ret->name), "%s", info->name);
    (void)snprintf(ret->uid, sizeof(ret->uid), "%s", info->uid);
}

static void
add_note(struct listing *listing, const char *note)
{
    int len;

    if (listing->ret_note == NULL || note[0] == '\0'
        || listing->note_len + 1 >= listing->note_size) {
        return;
    }
    len = snprintf(listing->ret_note + listing->note_len,
        listing->note_size - listing->note_len, "%s%s",
        listing->note_len > 0 ? "\n" : "", note);
    listing->note_len += len > 0 ? (size_t)len : 0;
}

static void
add_found(struct listing *listing)
{
    const struct belay__gpu_found *found = listing->found;

    add_note(listing, found->note);
    for (uint32_t i = 0; i < found->count; i++, listing->count++) {
        if (listing->count < listing->room) {
            describe(found, i, &listing->ret[listing->count]);
        }
    }
}

/* What is found is looked at and dropped again where it was found. */
static void
look(void *arg)
{
    struct listing *listing = arg;

    belay__gpu_find(listing->found);
    add_found(listing);
    belay__gpu_found_drop(listing->found);
}

static bool
ask_next(struct listing *listing)
{
    const struct belay__gpu_driver *driver;

    *listing->found = (struct belay__gpu_found){.look_only = true};
    if (listing->devices != NULL) {
        listing->found->devices = listing->devices;
        listing->found->inline_only =
            !belay__gpu_devices_may_be(listing->devices, false);
        return listing->driver++ == 0;
    }
    while ((driver = belay__gpu_drivers[listing->driver]) != NULL) {
        listing->driver++;
        if (driver->language != BELAY__GPU_SIMULATED) {
            listing->found->devices = driver->name;
            return true;
        }
    }
    return false;
}

static belay_next
list_step(belay_task *task, void *self)
{
    struct listing *listing = self;
    struct belay__memory *memory = belay_task_runtime(task)->memory;
    const int code = listing->found != NULL ? belay_result(task)->code : 0;

    if (listing->found == NULL) {
        listing->found = belay__alloc_zero(memory, sizeof(*listing->found));
        if (listing->found == NULL) {
            return belay_fail(task, BELAY_ENOMEM, NULL);
        }
    }
    if (code == 0 && ask_next(listing)) {
        return belay_then(task, list_step,
            belay__gpu_probe_run(task, &listing->probe, look, listing));
    }
    belay__free(memory, listing->found, sizeof(*listing->found));
    if (code < 0) {
        return belay_pass(task);
    }
    *listing->ret_count = listing->count;
    return belay_return(task, NULL);
}

belay_next
belay_gpu_list(belay_task *task, const char *devices,
    struct belay_gpu_device *ret, uint32_t room, uint32_t *ret_count,
    char *ret_note, size_t note_size)
{
    static const belay_function function = {
        "gpu list", __FILE__, sizeof(struct listing), list_step, 0};

    if (devices != NULL && belay__gpu_devices_check(devices) != NULL) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    for (uint32_t i = 0; i < room; i++) {
        if (ret[i].size != sizeof(*ret)) {
            return belay__refuse(task, BELAY_EINVAL);
        }
    }
    if (ret_note != NULL && note_size > 0) {
        ret_note[0] = '\0';
    }
    return belay_call(task, &function,
        &(const struct listing){.devices = devices,
            .ret = ret,
            .room = room,
            .ret_count = ret_count,
            .ret_note = ret_note,
            .note_size = note_size});
}
