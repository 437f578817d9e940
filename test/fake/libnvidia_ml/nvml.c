/* nvml.c - plays libnvidia-ml: knows the devices of the fake CUDA driver.
 *
 * BELAY_FAKE_NVML, a letter for each function that is to fail: i for
 * nvmlInit_v2(), h, m, u, t and p for the others, in the order below.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/nvml.h"

#define DECLARE(name, version, parameters) \
    unsigned name##version parameters;     \
    unsigned name##version parameters
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define UUID "GPU-fafafafa-fafa-fafa-fafa-fafafafafa"

struct belay__nvml_device {
    unsigned number;
};

static unsigned
answer(char function)
{
    const char *failing = getenv("BELAY_FAKE_NVML");

    return failing != NULL && strchr(failing, function) != NULL ? NOT_SUPPORTED
                                                                : 0;
}

DECLARE(nvmlInit, _v2, (void))
{
    return answer('i');
}

DECLARE(
    nvmlDeviceGetHandleByUUID, , (const char *uuid, belay__nvml_handle *ret))
{
    static struct belay__nvml_device devices[256];
    unsigned number;

    if (strncmp(uuid, UUID, sizeof(UUID) - 1) != 0) {
        return NOT_FOUND;
    }
    number = (unsigned)strtoul(uuid + sizeof(UUID) - 1, NULL, 16) & 255;
    devices[number].number = number;
    *ret = &devices[number];
    return answer('h');
}

DECLARE(nvmlDeviceGetMemoryInfo, ,
    (belay__nvml_handle device, struct belay__nvml_memory *ret))
{
    ret->total = 1 << 30;
    ret->used = (1 << 20) + device->number;
    ret->free = ret->total - ret->used;
    return answer('m');
}

DECLARE(nvmlDeviceGetUtilizationRates, ,
    (belay__nvml_handle device, struct belay__nvml_rates *ret))
{
    ret->gpu = 40 + device->number;
    ret->memory = 10;
    return answer('u');
}

DECLARE(nvmlDeviceGetTemperature, ,
    (belay__nvml_handle device, unsigned sensor, unsigned *ret))
{
    *ret = sensor == 0 ? 60 + device->number : 999;
    return answer('t');
}

DECLARE(nvmlDeviceGetPowerUsage, , (belay__nvml_handle device, unsigned *ret))
{
    *ret = 300000 + device->number;
    return answer('p');
}
