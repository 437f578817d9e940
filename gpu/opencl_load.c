/* opencl_load.c - OpenCL's library, its platforms and their devices.
 *
 * Settings: "type=gpu", "type=cpu" or "type=all" (the default), and
 * "parts=N": a CPU is divided into N sub-devices, and slot i works on the
 * i-th of them.
 */
#define _GNU_SOURCE
#include "gpu/library.h"
#include "gpu/opencl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PLATFORMS_MAX = 16 };

static const struct belay__gpu_symbol symbols[] = {
#define SYMBOL(name, result, parameters) \
    {#name, offsetof(struct belay__opencl_calls, name)},
    BELAY__OPENCL_API(SYMBOL)
#undef SYMBOL
};

/* ---- settings ---- */

static bool
is(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

static bool
read_type(const char *value, size_t len, cl_device_type *ret)
{
    if (is(value, len, "gpu")) {
        *ret = CL_DEVICE_TYPE_GPU;
    } else if (is(value, len, "cpu")) {
        *ret = CL_DEVICE_TYPE_CPU;
    } else if (is(value, len, "all")) {
        *ret = CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_CPU
               | CL_DEVICE_TYPE_ACCELERATOR;
    } else {
        return false;
    }
    return true;
}

static bool
read_parts(const char *value, size_t len, uint32_t *ret)
{
    uint32_t parts = 0;

    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9'
            || parts > BELAY__OPENCL_PARTS_MAX) {
            return false;
        }
        parts = parts * 10 + (uint32_t)(value[i] - '0');
    }
    *ret = parts;
    return parts > 0 && parts <= BELAY__OPENCL_PARTS_MAX;
}

static int
read_settings(struct belay__opencl *opencl, const char *settings, char *why)
{
    const char *at = settings;

    (void)read_type("all", 3, &opencl->types);
    while (*at != '\0') {
        size_t len = strcspn(at, ",");
        size_t name = strcspn(at, "=,");
        const char *value = at + name + 1;
        size_t value_len = name < len ? len - name - 1 : 0;
        bool known = name < len
                     && ((is(at, name, "type")
                             && read_type(value, value_len, &opencl->types))
                         || (is(at, name, "parts")
                             && read_parts(value, value_len, &opencl->parts)));

        if (!known) {
            (void)snprintf(why, BELAY__GPU_NOTE,
                "opencl: \"%.*s\" is none of type=gpu, type=cpu, type=all, "
                "parts=1 to %d",
                len < 40 ? (int)len : 40, at, BELAY__OPENCL_PARTS_MAX);
            return BELAY_EINVAL;
        }
        at += len;
        at += *at == ',';
    }
    return 0;
}

/* ---- a place for PoCL's cache ---- */

/* Without one, PoCL ends the process (G45). Ours must be a folder of ours
 * alone, since what lies there is code that will run.
 */
static int
make_cache(char *why)
{
    char path[64];
    struct stat status;

    (void)snprintf(
        path, sizeof(path), "/tmp/belay-pocl-%lu", (unsigned long)geteuid());
    (void)mkdir(path, 0700); /* if that fails, the next line tells */
    if (lstat(path, &status) != 0 || !S_ISDIR(status.st_mode)
        || status.st_uid != geteuid() || (status.st_mode & 077) != 0) {
        (void)snprintf(why, BELAY__GPU_NOTE,
            "no folder for PoCL's cache: HOME is not set, and %s cannot be "
            "used",
            path);
        return BELAY_ENOSYS;
    }
    return setenv("POCL_CACHE_DIR", path, 1) == 0 ? 0 : BELAY_ENOMEM;
}

static int
prepare_cache(char *why)
{
    const char *home = getenv("HOME");
    const char *cache = getenv("XDG_CACHE_HOME");

    if (getenv("POCL_CACHE_DIR") != NULL
        || (cache != NULL && cache[0] != '\0')) {
        return 0;
    }
    return home != NULL && access(home, W_OK | X_OK) == 0 ? 0 : make_cache(why);
}

/* ---- devices ---- */

static int
absent(char *why, const char *what, cl_int code)
{
    if (code == CL_PLATFORM_NOT_FOUND_KHR) {
        (void)snprintf(why, BELAY__GPU_NOTE,
            "no platform: the loader is there, but no driver (%d)", code);
    } else {
        belay__opencl_note(why, what, code);
    }
    return BELAY_ENOSYS;
}

static cl_ulong
number(const struct belay__opencl *opencl, cl_device_id device,
    cl_device_info what)
{
    cl_ulong value = 0; /* some are of 32 bits */
    size_t size = 0;

    if (opencl->call.clGetDeviceInfo(device, what, sizeof(value), &value, &size)
        != CL_SUCCESS) {
        return 0;
    }
    if (size == sizeof(cl_uint)) {
        cl_uint half;

        memcpy(&half, &value, sizeof(half));
        return half;
    }
    return value;
}

static void
divide(const struct belay__opencl *opencl, struct belay__opencl_device *device)
{
    const struct belay__opencl_calls *call = &opencl->call;
    cl_uint units =
        (cl_uint)number(opencl, device->id, CL_DEVICE_MAX_COMPUTE_UNITS);
    cl_device_partition_property how[] = {CL_DEVICE_PARTITION_EQUALLY, 0, 0};
    cl_uint count = 0;

    if (opencl->parts < 2 || units < opencl->parts
        || (number(opencl, device->id, CL_DEVICE_TYPE) & CL_DEVICE_TYPE_CPU)
               == 0) {
        return;
    }
    how[1] = (cl_device_partition_property)(units / opencl->parts);
    /* Where it does not divide evenly there are more parts; the first ones
     * are taken. One that cannot be divided stays whole.
     */
    if (call->clCreateSubDevices(device->id, how, 0, NULL, &count) != CL_SUCCESS
        || count > BELAY__OPENCL_PARTS_MAX
        || call->clCreateSubDevices(device->id, how, count, device->parts, NULL)
               != CL_SUCCESS) {
        return;
    }
    device->part_count = count;
}

static void
find_devices_of(struct belay__opencl *opencl, cl_platform_id platform)
{
    const struct belay__opencl_calls *call = &opencl->call;
    cl_device_id ids[BELAY_GPU_DEVICES_MAX];
    cl_uint count = 0;

    /* No device of that type is an error to OpenCL, and none to us. */
    if (call->clGetDeviceIDs(
            platform, opencl->types, BELAY_GPU_DEVICES_MAX, ids, &count)
        != CL_SUCCESS) {
        return;
    }
    for (cl_uint i = 0; i < count && i < BELAY_GPU_DEVICES_MAX
                        && opencl->count < BELAY_GPU_DEVICES_MAX;
         i++) {
        struct belay__opencl_device *device = &opencl->devices[opencl->count];

        if (number(opencl, ids[i], CL_DEVICE_AVAILABLE) == 0
            || number(opencl, ids[i], CL_DEVICE_COMPILER_AVAILABLE) == 0) {
            continue;
        }
        device->platform = platform;
        device->id = ids[i];
        divide(opencl, device);
        opencl->count++;
    }
}

static int
find_devices(struct belay__opencl *opencl, char *why)
{
    cl_platform_id platforms[PLATFORMS_MAX];
    cl_uint count = 0;
    cl_int code =
        opencl->call.clGetPlatformIDs(PLATFORMS_MAX, platforms, &count);

    if (code != CL_SUCCESS) {
        return absent(why, "clGetPlatformIDs", code);
    }
    for (cl_uint i = 0; i < count && i < PLATFORMS_MAX; i++) {
        find_devices_of(opencl, platforms[i]);
    }
    return 0;
}

int
belay__opencl_load(const char *settings, void **ret, char why[BELAY__GPU_NOTE])
{
    struct belay__opencl *opencl = calloc(1, sizeof(*opencl));
    int code;

    if (opencl == NULL) {
        (void)snprintf(why, BELAY__GPU_NOTE, "out of memory");
        return BELAY_ENOMEM;
    }
    code = read_settings(opencl, settings, why);
    if (code == 0) {
        code = prepare_cache(why);
    }
    if (code == 0) {
        code = belay__gpu_library_load("BELAY_OPENCL_LIBRARY", "libOpenCL.so.1",
            symbols, sizeof(symbols) / sizeof(symbols[0]), &opencl->call, why);
    }
    if (code == 0) {
        code = find_devices(opencl, why);
    }
    if (code < 0) {
        free(opencl);
        return code;
    }
    *ret = opencl;
    return 0;
}

void
belay__opencl_unload(void *driver)
{
    struct belay__opencl *opencl = driver;

    for (uint32_t i = 0; opencl != NULL && i < opencl->count; i++) {
        for (uint32_t k = 0; k < opencl->devices[i].part_count; k++) {
            (void)opencl->call.clReleaseDevice(opencl->devices[i].parts[k]);
        }
    }
    free(opencl);
}

/* The device's own UUID if it tells one, else which platform's how-manieth it
 * is: that is as stable as the order of the ICD files.
 */
static void
format_uid(const struct belay__opencl *opencl, uint32_t index,
    struct belay__gpu_devinfo *info)
{
    const struct belay__opencl_device *device = &opencl->devices[index];
    unsigned char uuid[16];
    char platform[40] = "";
    uint32_t of_platform = 0;
    int at = 0;

    if (opencl->call.clGetDeviceInfo(
            device->id, CL_DEVICE_UUID_KHR, sizeof(uuid), uuid, NULL)
        == CL_SUCCESS) {
        for (size_t i = 0; i < sizeof(uuid); i++) {
            at += snprintf(info->uid + at, sizeof(info->uid) - (size_t)at,
                "%02x", uuid[i]);
        }
        return;
    }
    for (uint32_t i = 0; i < index; i++) {
        of_platform += opencl->devices[i].platform == device->platform;
    }
    if (opencl->call.clGetPlatformInfo(device->platform, CL_PLATFORM_NAME,
            sizeof(platform), platform, NULL)
        != CL_SUCCESS) {
        (void)snprintf(platform, sizeof(platform), "opencl");
    }
    platform[sizeof(platform) - 1] = '\0';
    (void)snprintf(
        info->uid, sizeof(info->uid), "%s/%u", platform, of_platform);
}

static struct belay__gpu_devinfo
describe(const struct belay__opencl *opencl, uint32_t index)
{
    const struct belay__opencl_device *device = &opencl->devices[index];
    struct belay__gpu_devinfo info = {.free_bytes = UINT64_MAX};

    if (opencl->call.clGetDeviceInfo(
            device->id, CL_DEVICE_NAME, sizeof(info.name), info.name, NULL)
        != CL_SUCCESS) {
        (void)snprintf(info.name, sizeof(info.name), "OpenCL device");
    }
    info.name[sizeof(info.name) - 1] = '\0';
    format_uid(opencl, index, &info);
    info.bytes = number(opencl, device->id, CL_DEVICE_GLOBAL_MEM_SIZE);
    info.units =
        (uint32_t)number(opencl, device->id, CL_DEVICE_MAX_COMPUTE_UNITS);
    info.slots = device->part_count > 0 ? opencl->parts : 0;
    info.ordinal = index;
    return info;
}

int
belay__opencl_enumerate(void *driver, struct belay__gpu_devinfo *ret,
    uint32_t room, char why[BELAY__GPU_NOTE])
{
    const struct belay__opencl *opencl = driver;

    if (opencl->count == 0) {
        (void)snprintf(why, BELAY__GPU_NOTE, "no device%s",
            opencl->types == CL_DEVICE_TYPE_GPU   ? " of the type gpu"
            : opencl->types == CL_DEVICE_TYPE_CPU ? " of the type cpu"
                                                  : "");
        return BELAY_ENOSYS;
    }
    for (uint32_t i = 0; i < opencl->count && i < room; i++) {
        ret[i] = describe(opencl, i);
    }
    return (int)opencl->count;
}
