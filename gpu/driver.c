/* driver.c - which kinds of devices there are, and which of them are here.
 *
 * That a kind is not here is no error (G44): "auto" goes on to the next, and
 * notes why. Drivers with threads are looked for on a thread, since loading a
 * vendor's library may take a second. Who did not ask for a vendor's library
 * by name gets it loaded only after a process of its own has survived that
 * (G45); a list of devices never does.
 */
#include "gpu/cuda.h"
#include "gpu/helper.h"
#include "gpu/internal.h"
#include "gpu/opencl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const struct belay__gpu_driver *const belay__gpu_drivers[] = {
    &belay__gpu_cuda,
    &belay__gpu_opencl,
    &belay__gpu_sim,
    &belay__gpu_sim_threads,
    NULL,
};

static const char *
devices_or_auto(const char *devices)
{
    return devices != NULL ? devices : "auto";
}

static bool
is_auto(const char *devices)
{
    return strcmp(devices_or_auto(devices), "auto") == 0;
}

/* Is it this driver that is named? Then what stands behind "name:", or "". */
static bool
is_named(const char *devices, const struct belay__gpu_driver *driver,
    const char **ret_settings)
{
    const size_t len = strlen(driver->name);

    if (strncmp(devices_or_auto(devices), driver->name, len) != 0) {
        return false;
    }
    if (devices_or_auto(devices)[len] == '\0') {
        *ret_settings = "";
        return true;
    }
    *ret_settings = devices_or_auto(devices) + len + 1;
    return devices_or_auto(devices)[len] == ':';
}

/* Two drivers may have one name, as the simulator with and without threads:
 * the settings tell which.
 */
static bool
is_wanted(const char *devices, const struct belay__gpu_driver *driver,
    const char **ret_settings)
{
    if (is_auto(devices)) {
        *ret_settings = driver->automatic != NULL ? driver->automatic : "";
        return driver->wants == NULL || driver->wants(*ret_settings);
    }
    return is_named(devices, driver, ret_settings)
           && (driver->wants == NULL || driver->wants(*ret_settings));
}

const char *
belay__gpu_devices_check(const char *devices)
{
    const char *settings;

    if (is_auto(devices)) {
        return NULL;
    }
    for (size_t i = 0; belay__gpu_drivers[i] != NULL; i++) {
        if (is_named(devices, belay__gpu_drivers[i], &settings)) {
            return NULL;
        }
    }
    return "devices names no kind of device";
}

bool
belay__gpu_devices_may_be(const char *devices, bool inline_driver)
{
    const char *settings;
    bool is_inline;

    for (size_t i = 0; belay__gpu_drivers[i] != NULL; i++) {
        is_inline = (belay__gpu_drivers[i]->flags & BELAY__GPU_INLINE) != 0;
        if (is_inline == inline_driver
            && is_wanted(devices, belay__gpu_drivers[i], &settings)) {
            return true;
        }
    }
    return false;
}

/* One line more in the note; what does not fit is left out. */
static void BELAY_PRINTF(2, 3)
    note(struct belay__gpu_found *found, const char *format, ...)
{
    const size_t len = strlen(found->note);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(found->note + len, sizeof(found->note) - len, format, args);
    va_end(args);
}

static void
pass_over(struct belay__gpu_found *found,
    const struct belay__gpu_driver *driver, int code, const char *why)
{
    found->code = code;
    note(found, "%s%s: %s", found->note[0] != '\0' ? "\n" : "", driver->name,
        why[0] != '\0' ? why : belay_code_text(code));
}

/* All devices of a driver that is loaded; a code, or their number. */
static int
enumerate(struct belay__gpu_found *found,
    const struct belay__gpu_driver *driver, void *state,
    char why[BELAY__GPU_NOTE])
{
    int count;

    found->infos = calloc(BELAY_GPU_DEVICES_MAX, sizeof(*found->infos));
    if (found->infos == NULL) {
        return BELAY_ENOMEM;
    }
    count = driver->enumerate(state, found->infos, BELAY_GPU_DEVICES_MAX, why);
    return count < BELAY_GPU_DEVICES_MAX ? count : BELAY_GPU_DEVICES_MAX;
}

/* A process of its own looks. True if it has found devices; they are in
 * found->infos.
 */
static bool
look(struct belay__gpu_found *found, const struct belay__gpu_driver *driver,
    const char *settings)
{
    char why[BELAY__GPU_NOTE] = "";
    int count = BELAY_ENOMEM;

    found->infos = calloc(BELAY_GPU_DEVICES_MAX, sizeof(*found->infos));
    if (found->infos != NULL) {
        count = belay__gpu_helper_ask(driver->name, settings,
            BELAY__GPU_HELPER_MS, found->infos, BELAY_GPU_DEVICES_MAX, why);
    }
    if (count > 0) {
        found->count = (uint32_t)count;
        return true;
    }
    free(found->infos);
    found->infos = NULL;
    pass_over(found, driver, count < 0 ? count : BELAY_ENOSYS, why);
    return false;
}

static void
try_driver(struct belay__gpu_found *found,
    const struct belay__gpu_driver *driver, const char *settings)
{
    const bool vendors = driver->language != BELAY__GPU_SIMULATED;
    char why[BELAY__GPU_NOTE] = "";
    void *state = NULL;
    int count;
    int code;

    if (vendors && (found->look_only || is_auto(found->devices))) {
        if (!look(found, driver, settings)) {
            return;
        }
        if (found->look_only) {
            found->driver = driver;
            found->code = 0;
            return;
        }
        free(found->infos);
        found->infos = NULL;
    }
    code = driver->load(settings, &state, why);

    if (code < 0) {
        pass_over(found, driver, code, why);
        return;
    }
    count = enumerate(found, driver, state, why);
    if (count > 0) {
        found->driver = driver;
        found->state = state;
        found->count = (uint32_t)count;
        found->code = 0;
        return;
    }
    driver->unload(state);
    free(found->infos);
    found->infos = NULL;
    pass_over(found, driver, count < 0 ? count : BELAY_ENOSYS,
        why[0] != '\0' || count < 0 ? why : "there is no device");
}

void
belay__gpu_find(void *arg)
{
    struct belay__gpu_found *found = arg;
    const struct belay__gpu_driver *driver;
    const char *settings;

    for (size_t i = 0; belay__gpu_drivers[i] != NULL && found->driver == NULL;
         i++) {
        driver = belay__gpu_drivers[i];
        if (((driver->flags & BELAY__GPU_INLINE) != 0) == found->inline_only
            && is_wanted(found->devices, driver, &settings)) {
            try_driver(found, driver, settings);
        }
    }
}

void
belay__gpu_found_drop(void *arg)
{
    struct belay__gpu_found *found = arg;

    if (found->driver != NULL && found->state != NULL) {
        found->driver->unload(found->state);
    }
    found->driver = NULL;
    free(found->infos);
    found->infos = NULL;
}
