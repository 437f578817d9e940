/* helper_main.c - belay-gpu-probe: looks for the devices of one driver.
 *
 *     belay-gpu-probe SECONDS KIND SETTINGS
 *
 * Writes the report of gpu/helper.h to descriptor 3. For use by the library;
 * by hand: belay-gpu-probe 20 cuda '' 3>&1
 */
#include "gpu/cuda.h"
#include "gpu/helper.h"
#include "gpu/nvml.h"
#include "gpu/opencl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct belay__gpu_driver *
find_driver(const char *kind)
{
    static const struct belay__gpu_driver *const drivers[] = {
        &belay__gpu_cuda, &belay__gpu_opencl};

    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
        if (strcmp(drivers[i]->name, kind) == 0) {
            return drivers[i];
        }
    }
    return NULL;
}

/* A field: no tab, no end of a line. */
static char *
plain(char *text)
{
    for (char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 127) {
            *at = ' ';
        }
    }
    return text;
}

static void
print_device(FILE *report, struct belay__gpu_devinfo *info)
{
    (void)fprintf(report, "device\t%u\t%llu\t%llu\t%llu\t%u\t%u\t%s\t%s\n",
        info->ordinal, (unsigned long long)info->bytes,
        (unsigned long long)info->free_bytes,
        (unsigned long long)info->headroom_bytes, info->units, info->slots,
        plain(info->uid), plain(info->name));
}

/* What is behind NVIDIA's driver may be told more of. */
static void
print_gauges(FILE *report, const struct belay__nvml *nvml, const char *uid)
{
    const struct belay_gpu_gauges gauges = belay__nvml_read(nvml, uid);

    (void)fprintf(report, "gauges\t%lld\t%d\t%d\t%d\n",
        (long long)gauges.used_bytes, gauges.busy_percent, gauges.celsius,
        gauges.milliwatts);
}

/* Devices, then 0 or a code and `why`. */
static int
look(FILE *report, const struct belay__gpu_driver *driver, const char *settings,
    char *why)
{
    static struct belay__gpu_devinfo infos[BELAY_GPU_DEVICES_MAX];
    struct belay__nvml nvml;
    void *object = NULL;
    int count = driver->load(settings, &object, why);
    bool gauged;

    if (count == 0) {
        count = driver->enumerate(object, infos, BELAY_GPU_DEVICES_MAX, why);
    }
    gauged = count > 0 && driver == &belay__gpu_cuda && belay__nvml_open(&nvml);
    for (int i = 0; i < count && i < BELAY_GPU_DEVICES_MAX; i++) {
        print_device(report, &infos[i]);
        if (gauged) {
            print_gauges(report, &nvml, infos[i].uid);
        }
    }
    return count < 0 ? count : 0;
}

int
main(int argc, char **argv)
{
    const struct belay__gpu_driver *driver;
    char why[BELAY__GPU_NOTE] = "";
    FILE *report;
    int code;

    if (argc != 4 || (driver = find_driver(argv[2])) == NULL) {
        (void)fprintf(
            stderr, "usage: belay-gpu-probe SECONDS cuda|opencl SETTINGS\n");
        return 2;
    }
    /* Programs that a driver starts must not keep the report open. */
    (void)fcntl(BELAY__GPU_HELPER_FD, F_SETFD, FD_CLOEXEC);
    report = fdopen(BELAY__GPU_HELPER_FD, "w");
    if (report == NULL) {
        perror("belay-gpu-probe: descriptor 3");
        return 2;
    }
    (void)alarm((unsigned)strtoul(argv[1], NULL, 10));
    (void)fprintf(report, "belay-gpu-probe\t%s\n", belay_version());
    code = look(report, driver, argv[3], why);
    (void)fprintf(report, "end\t%d\t%s\n", code, plain(why));
    /* Without the exit handlers of what was loaded: they hang at times. */
    code = fflush(report) == 0 ? 0 : 1;
    _exit(code);
}
