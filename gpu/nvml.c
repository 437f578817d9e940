/* nvml.c - what NVIDIA's management library tells of a device. */
#include "gpu/nvml.h"

#include "gpu/library.h"

static const struct belay__gpu_symbol symbols[] = {
#define SYMBOL(name, version, parameters) \
    {#name #version, offsetof(struct belay__nvml, name)},
    BELAY__NVML_API(SYMBOL)
#undef SYMBOL
};

bool
belay__nvml_open(struct belay__nvml *ret)
{
    char why[BELAY__GPU_NOTE];

    return belay__gpu_library_load("BELAY_NVML_LIBRARY", "libnvidia-ml.so.1",
               symbols, sizeof(symbols) / sizeof(symbols[0]), ret, why)
               == 0
           && ret->nvmlInit() == 0;
}

static int32_t
percent(unsigned value)
{
    return value <= 100 ? (int32_t)value : -1;
}

struct belay_gpu_gauges
belay__nvml_read(const struct belay__nvml *nvml, const char *uid)
{
    struct belay_gpu_gauges gauges = BELAY_GPU_GAUGES_UNKNOWN;
    struct belay__nvml_memory memory = {0};
    struct belay__nvml_rates rates = {0};
    belay__nvml_handle device = NULL;
    unsigned value = 0;

    if (nvml->nvmlDeviceGetHandleByUUID(uid, &device) != 0) {
        return gauges;
    }
    if (nvml->nvmlDeviceGetMemoryInfo(device, &memory) == 0
        && memory.used <= INT64_MAX) {
        gauges.used_bytes = (int64_t)memory.used;
    }
    if (nvml->nvmlDeviceGetUtilizationRates(device, &rates) == 0) {
        gauges.busy_percent = percent(rates.gpu);
    }
    if (nvml->nvmlDeviceGetTemperature(device, 0, &value) == 0
        && value <= INT32_MAX) {
        gauges.celsius = (int32_t)value;
    }
    if (nvml->nvmlDeviceGetPowerUsage(device, &value) == 0
        && value <= INT32_MAX) {
        gauges.milliwatts = (int32_t)value;
    }
    return gauges;
}
