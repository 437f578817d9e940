/* gpu_demo_files.c - the picture and the trace that `belay gpu demo` leaves. */
#include "cli/gpu_demo.h"

#include <inttypes.h>
#include <string.h>

static const char *
name_task(uint64_t id, void *arg)
{
    const struct belay__gpu_demo *demo = arg;
    uint32_t low = 0;
    uint32_t high = demo->spawned;
    uint32_t middle;

    while (low < high) { /* tasks are numbered as they are started */
        middle = low + (high - low) / 2;
        if (demo->jobs[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < demo->spawned && demo->jobs[low].id == id
               ? demo->jobs[low].name
               : "?";
}

static const char *
name_priority(uint32_t priority, void *arg)
{
    (void)arg;
    for (int i = 0; i < BELAY__GPU_CLASSES; i++) {
        if (belay__gpu_class_priority((enum belay__gpu_class)i) == priority) {
            return belay__gpu_class_names[i];
        }
    }
    return NULL;
}

static bool
write_file(const char *path, const struct belay__gpu_picture *picture,
    void (*write_fn)(const struct belay__gpu_picture *picture, FILE *out))
{
    FILE *file = path != NULL ? fopen(path, "we") : NULL;
    bool good = file != NULL;

    if (path == NULL) {
        return true;
    }
    if (good) {
        write_fn(picture, file);
        good = ferror(file) == 0;
        good = fclose(file) == 0 && good;
    }
    if (!good) {
        (void)fprintf(stderr, "belay gpu demo: cannot write '%s': %s\n", path,
            strerror(errno));
    }
    return good;
}

bool
belay__gpu_demo_write(struct belay__gpu_demo *demo)
{
    char subtitle[256];
    const struct belay__gpu_picture picture = {
        .record = &demo->record,
        .title = "belay gpu demo",
        .subtitle = subtitle,
        .begin = demo->began,
        .end = demo->ended_at,
        .ideal = belay__gpu_demo_ideal(demo),
        .slots = demo->stats.slots,
        .slots_per_device = demo->stats.slots / demo->stats.devices,
        .names = {name_task, name_priority, demo},
    };
    bool good;

    (void)snprintf(subtitle, sizeof(subtitle),
        "%" PRIu32 " tasks on %" PRIu32 " slot%s of %" PRIu32
        " device%s (%s), seed %" PRIu64 "%s",
        demo->spawned, demo->stats.slots, demo->stats.slots == 1 ? "" : "s",
        demo->stats.devices, demo->stats.devices == 1 ? "" : "s", demo->kind,
        demo->options->seed, demo->signal != 0 ? "; interrupted" : "");
    good = write_file(
        demo->options->timeline, &picture, belay__gpu_timeline_write);
    return write_file(demo->options->trace, &picture, belay__gpu_trace_write)
           && good;
}
