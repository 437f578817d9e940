/* nvml.h - what NVIDIA's management library tells of a device (private).
 *
 * To look at only: nothing of the pool depends on it, and it need not be
 * there. It is loaded in belay-gpu-probe alone, so that what it does to its
 * process it does not do to ours.
 */
#ifndef BELAY_GPU_NVML_H
#define BELAY_GPU_NVML_H

#include "gpu/backend.h"

typedef struct belay__nvml_device *belay__nvml_handle;

struct belay__nvml_memory {
    unsigned long long total;
    unsigned long long free;
    unsigned long long used;
};

struct belay__nvml_rates {
    unsigned gpu; /* per cent of the last sample's time */
    unsigned memory;
};

/* X(name, version, parameters): as in cuda_api.h; each gives 0 for success. */
#define BELAY__NVML_API(X)                                            \
    X(nvmlInit, _v2, (void))                                          \
    X(nvmlDeviceGetHandleByUUID, ,                                    \
        (const char *uuid, belay__nvml_handle *ret))                  \
    X(nvmlDeviceGetMemoryInfo, ,                                      \
        (belay__nvml_handle device, struct belay__nvml_memory * ret)) \
    X(nvmlDeviceGetUtilizationRates, ,                                \
        (belay__nvml_handle device, struct belay__nvml_rates * ret))  \
    X(nvmlDeviceGetTemperature, ,                                     \
        (belay__nvml_handle device, unsigned sensor, unsigned *ret))  \
    X(nvmlDeviceGetPowerUsage, , (belay__nvml_handle device, unsigned *ret))

struct belay__nvml {
#define BELAY__NVML_CALL(name, version, parameters) unsigned(*name) parameters;
    BELAY__NVML_API(BELAY__NVML_CALL)
#undef BELAY__NVML_CALL
};

/* False: it is not there, or of no use. */
bool belay__nvml_open(struct belay__nvml *ret);
/* Of the device with this UUID, as CUDA names it: the two count devices in
 * different orders. What cannot be had is -1.
 */
struct belay_gpu_gauges belay__nvml_read(
    const struct belay__nvml *nvml, const char *uid);

#endif
