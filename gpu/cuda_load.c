/* cuda_load.c - NVIDIA's driver: found at run time, or not there.
 *
 * That it is not there is no error but a reason in words (G44).
 */
#include "gpu/cuda.h"
#include "gpu/library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONTEXT_BYTES = 576 << 20, /* a context took 300 to 550 MB, where told */
    CONTEXT_SHARE = 8,         /* but of a small device no more than 1/8 */
};

static void
copy(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from);
}

/* The exact names, with their versions. */
static const struct belay__gpu_symbol symbols[] = {
#define SYMBOL(name, version, parameters) \
    {#name #version, offsetof(struct belay__cuda_calls, name)},
    BELAY__CUDA_API(SYMBOL)
#undef SYMBOL
};

static int
start(struct belay__cuda *cuda, char *why)
{
    CUresult code = cuda->call.cuInit(0);
    const char *reason = belay__cuda_absence(code);

    if (code != CUDA_SUCCESS && reason != NULL) {
        (void)snprintf(why, BELAY__GPU_NOTE, "%s (%u)", reason, code);
        return BELAY_ENOSYS;
    }
    if (code != CUDA_SUCCESS) {
        belay__cuda_note(cuda, why, "cuInit", code);
        return BELAY_ENOSYS;
    }
    code = cuda->call.cuDriverGetVersion(&cuda->version);
    if (code != CUDA_SUCCESS) {
        belay__cuda_note(cuda, why, "cuDriverGetVersion", code);
        return BELAY_ENOSYS;
    }
    return 0;
}

int
belay__cuda_load(const char *settings, void **ret, char why[BELAY__GPU_NOTE])
{
    struct belay__cuda *cuda;
    int code;

    if (settings[0] != '\0') {
        copy(why, BELAY__GPU_NOTE, "cuda takes no settings");
        return BELAY_EINVAL;
    }
    cuda = calloc(1, sizeof(*cuda));
    if (cuda == NULL) {
        copy(why, BELAY__GPU_NOTE, "out of memory");
        return BELAY_ENOMEM;
    }
    code = belay__gpu_library_load("BELAY_CUDA_LIBRARY", "libcuda.so.1",
        symbols, sizeof(symbols) / sizeof(symbols[0]), &cuda->call, why);
    if (code == 0) {
        code = start(cuda, why);
    }
    if (code < 0) {
        free(cuda);
        return code;
    }
    *ret = cuda;
    return 0;
}

void
belay__cuda_unload(void *driver)
{
    free(driver);
}

/* As nvidia-smi writes it; a part of a device (MIG) is named by its own. */
static void
format_uuid(char uid[64], const CUuuid *uuid, const char *name)
{
    unsigned char byte[16];
    int at;

    memcpy(byte, uuid->bytes, sizeof(byte));
    at = snprintf(
        uid, 64, "%s", strstr(name, " MIG ") != NULL ? "MIG-" : "GPU-");
    for (int i = 0; i < 16; i++) {
        bool dash = i == 4 || i == 6 || i == 8 || i == 10;

        at += snprintf(
            uid + at, (size_t)(64 - at), "%s%02x", dash ? "-" : "", byte[i]);
    }
}

/* 1: it can be used; 0: it must not be; else a code, and `why`. */
static int
describe(const struct belay__cuda *cuda, int ordinal,
    struct belay__gpu_devinfo *ret, char *why)
{
    const struct belay__cuda_calls *call = &cuda->call;
    struct belay__gpu_devinfo info = {.free_bytes = UINT64_MAX};
    const char *what = "cuDeviceGet";
    CUdevice device = 0;
    CUuuid uuid;
    size_t bytes = 0;
    int units = 0;
    int mode = 0;
    CUresult code;

    code = call->cuDeviceGet(&device, ordinal);
    if (code == CUDA_SUCCESS) {
        what = "cuDeviceGetName";
        code = call->cuDeviceGetName(info.name, sizeof(info.name), device);
        info.name[sizeof(info.name) - 1] = '\0';
    }
    if (code == CUDA_SUCCESS) {
        what = "cuDeviceGetUuid";
        code = call->cuDeviceGetUuid(&uuid, device);
    }
    if (code == CUDA_SUCCESS) {
        format_uuid(info.uid, &uuid, info.name);
        what = "cuDeviceTotalMem";
        code = call->cuDeviceTotalMem(&bytes, device);
    }
    if (code == CUDA_SUCCESS) {
        what = "cuDeviceGetAttribute";
        code = call->cuDeviceGetAttribute(
            &units, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device);
    }
    if (code == CUDA_SUCCESS) {
        code = call->cuDeviceGetAttribute(
            &mode, CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, device);
    }
    if (code != CUDA_SUCCESS) {
        belay__cuda_note(cuda, why, what, code);
        return BELAY_ENOSYS;
    }
    if (mode == CU_COMPUTEMODE_PROHIBITED) {
        (void)snprintf(why, BELAY__GPU_NOTE,
            "device %d: its compute mode is \"prohibited\"", ordinal);
        return 0;
    }
    info.bytes = bytes;
    info.headroom_bytes = bytes / CONTEXT_SHARE < CONTEXT_BYTES
                              ? bytes / CONTEXT_SHARE
                              : CONTEXT_BYTES;
    info.units = units > 0 ? (uint32_t)units : 0;
    info.ordinal = (uint32_t)ordinal;
    *ret = info;
    return 1;
}

/* Without a context on any device: that would cost memory there. */
int
belay__cuda_enumerate(void *driver, struct belay__gpu_devinfo *ret,
    uint32_t room, char why[BELAY__GPU_NOTE])
{
    const struct belay__cuda *cuda = driver;
    struct belay__gpu_devinfo info;
    int found = 0;
    int count = 0;
    CUresult code = cuda->call.cuDeviceGetCount(&count);

    if (code != CUDA_SUCCESS) {
        belay__cuda_note(cuda, why, "cuDeviceGetCount", code);
        return BELAY_ENOSYS;
    }
    if (count <= 0) {
        copy(why, BELAY__GPU_NOTE, "no device");
        return BELAY_ENOSYS;
    }
    for (int i = 0; i < count; i++) {
        int usable = describe(cuda, i, &info, why);

        if (usable < 0) {
            return usable;
        }
        if (usable > 0 && (uint32_t)found < room) {
            ret[found] = info;
        }
        found += usable;
    }
    return found > 0 ? found : BELAY_ENOSYS;
}
