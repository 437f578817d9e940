/* doctor_gpus.c - the GPUs there are, by the probe of `belay gpu list`. */
#include "cli/doctor.h"

#include <belay/async.h>

#if BELAY_CLI_GPU
#include <belay/gpu_stats.h>

#include <inttypes.h>
#include <string.h>

#define DEVICES_MOST 32
#define NOTE_BYTES 2048

struct look_for_gpus {
    struct belay__doctor *doctor;
    struct belay_gpu_device devices[DEVICES_MOST];
    uint32_t count;
    char note[NOTE_BYTES];
};

/* Each line is why a backend is not there. */
static void
add_notes(struct belay__doctor *doctor, const char *note)
{
    while (*note != '\0') {
        const size_t len = strcspn(note, "\n");

        belay__doctor_add(
            doctor, BELAY__DOCTOR_NOTE, "GPU", "%.*s", (int)len, note);
        note += len;
        note += *note == '\n';
    }
}

static void
add_devices(const struct look_for_gpus *self)
{
    for (uint32_t i = 0; i < self->count && i < DEVICES_MOST; i++) {
        const struct belay_gpu_device *device = &self->devices[i];

        belay__doctor_add(self->doctor, BELAY__DOCTOR_OK, "GPU",
            "%s: %s, %.1f GiB", device->backend, device->name,
            (double)device->bytes / (1 << 30));
    }
    add_notes(self->doctor, self->note);
}

BELAY_ASYNC(look_for_gpus)
{
    BELAY_BEGIN;
    for (int i = 0; i < DEVICES_MOST; i++) {
        self->devices[i].size = sizeof(self->devices[i]);
    }
    BELAY_TRY(belay_gpu_list(task, NULL, self->devices, DEVICES_MOST,
        &self->count, self->note, sizeof(self->note)));
    if (belay_result(task)->code < 0) {
        belay__doctor_add(self->doctor, BELAY__DOCTOR_WARN, "GPU",
            "cannot be looked for: %s",
            belay_error_message(belay_result(task)->error));
        BELAY_RETURN(NULL);
    }
    add_devices(self);
    BELAY_END;
}

belay_next
belay__doctor_gpus(belay_task *task, struct belay__doctor *doctor)
{
    return BELAY_CALL(look_for_gpus, .doctor = doctor);
}

#else

belay_next
belay__doctor_gpus(belay_task *task, struct belay__doctor *doctor)
{
    belay__doctor_add(
        doctor, BELAY__DOCTOR_NOTE, "GPU", "left out of this build");
    return belay_checkpoint(task);
}

#endif
