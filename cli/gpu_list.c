/* gpu_list.c - `belay gpu list`: every device, and why others are not seen. */
#include "cli/commands.h"

#include <belay/async.h>
#include <belay/gpu_stats.h>
#include <belay/runtime.h>

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DEVICES_MOST 128
#define NOTE_BYTES 2048

static const char help[] =
    "usage: belay gpu list [option...]\n"
    "\n"
    "The GPUs that Belay can use, and why a kind of them is not there. Of\n"
    "NVIDIA's also what they are doing, where libnvidia-ml is.\n"
    "Drivers are asked in a process of its own: one that hangs or dies is\n"
    "named, and no more.\n"
    "\n"
    "      --json   as one JSON object\n"
    "  -h, --help\n";

enum {
    OPTION_JSON = 256,
};

static const struct option options[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

struct listing {
    struct belay_gpu_device devices[DEVICES_MOST];
    uint32_t count;
    uint32_t simulated;
    char note[NOTE_BYTES];
};

struct list_devices {
    struct listing *listing;
};

BELAY_ASYNC(list_devices)
{
    struct listing *listing = self->listing;

    BELAY_BEGIN;
    for (int i = 0; i < DEVICES_MOST; i++) {
        listing->devices[i].size = sizeof(listing->devices[i]);
    }
    BELAY_AWAIT(belay_gpu_list(task, NULL, listing->devices, DEVICES_MOST - 1,
        &listing->count, listing->note, sizeof(listing->note)));
    if (listing->count > DEVICES_MOST - 1) {
        listing->count = DEVICES_MOST - 1;
    }
    BELAY_AWAIT(belay_gpu_list(task, "sim", listing->devices + listing->count,
        1, &listing->simulated, NULL, 0));
    listing->count += listing->simulated;
    BELAY_END;
}

/* ---- for people ---- */

/* "80.1 GiB used, 97 % busy, 61 C, 412 W", as far as it is known. */
static void
print_gauges(const struct belay_gpu_gauges *gauges)
{
    const char *comma = "         ";

    if (gauges->used_bytes >= 0) {
        (void)printf(
            "%s%.1f GiB used", comma, (double)gauges->used_bytes / (1 << 30));
        comma = ", ";
    }
    if (gauges->busy_percent >= 0) {
        (void)printf("%s%" PRId32 "%% busy", comma, gauges->busy_percent);
        comma = ", ";
    }
    if (gauges->celsius >= 0) {
        (void)printf("%s%" PRId32 " °C", comma, gauges->celsius);
        comma = ", ";
    }
    if (gauges->milliwatts >= 0) {
        (void)printf("%s%" PRId32 " W", comma, gauges->milliwatts / 1000);
        comma = ", ";
    }
    if (comma[0] == ',') {
        (void)putchar('\n');
    }
}

static void
print_table(const struct listing *listing)
{
    const struct belay_gpu_device *device;

    (void)printf("%-8s %10s %6s  %-40s %s\n", "BACKEND", "MEMORY", "UNITS",
        "UID", "NAME");
    for (uint32_t i = 0; i < listing->count; i++) {
        device = &listing->devices[i];
        (void)printf("%-8s %6.1f GiB %6" PRIu32 "  %-40s %s\n", device->backend,
            (double)device->bytes / (1 << 30), device->units, device->uid,
            device->name);
        print_gauges(&device->gauges);
    }
    if (listing->note[0] != '\0') {
        (void)printf("\nnot there:\n");
    }
    for (const char *at = listing->note; *at != '\0';) {
        const size_t len = strcspn(at, "\n");

        (void)printf("  %.*s\n", (int)len, at);
        at += len;
        at += *at == '\n';
    }
}

/* ---- for programs ---- */

static void
print_string(const char *text, size_t len)
{
    (void)putchar('"');
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];

        if (c == '"' || c == '\\') {
            (void)printf("\\%c", c);
        } else if (c < 0x20) {
            (void)printf("\\u%04x", c);
        } else {
            (void)putchar(c);
        }
    }
    (void)putchar('"');
}

static void
print_field(const char *name, const char *text)
{
    (void)printf("\"%s\":", name);
    print_string(text, strlen(text));
    (void)putchar(',');
}

/* What is not known is not there. */
static void
print_gauge(const char *name, int64_t value)
{
    if (value >= 0) {
        (void)printf(",\"%s\":%" PRId64, name, value);
    }
}

static void
print_json(const struct listing *listing)
{
    const struct belay_gpu_device *device;
    const char *comma = "";

    (void)printf("{\"devices\":[");
    for (uint32_t i = 0; i < listing->count; i++, comma = ",") {
        device = &listing->devices[i];
        (void)printf("%s{", comma);
        print_field("backend", device->backend);
        print_field("name", device->name);
        print_field("uid", device->uid);
        (void)printf("\"bytes\":%" PRIu64 ",\"units\":%" PRIu32, device->bytes,
            device->units);
        print_gauge("used_bytes", device->gauges.used_bytes);
        print_gauge("busy_percent", device->gauges.busy_percent);
        print_gauge("celsius", device->gauges.celsius);
        print_gauge("milliwatts", device->gauges.milliwatts);
        (void)putchar('}');
    }
    (void)printf("],\"notes\":[");
    comma = "";
    for (const char *at = listing->note; *at != '\0'; comma = ",") {
        const size_t len = strcspn(at, "\n");

        (void)printf("%s", comma);
        print_string(at, len);
        at += len;
        at += *at == '\n';
    }
    (void)printf("]}\n");
}

/* ---- the command ---- */

static int
list(bool json)
{
    static struct listing listing;
    struct belay_result result = {0};
    const int code = belay_run(
        &list_devices, &(const struct list_devices){&listing}, NULL, &result);

    if (code < 0) {
        (void)fprintf(stderr, "belay gpu list: %s\n",
            result.error != NULL ? belay_error_message(result.error)
                                 : belay_code_text(code));
        belay_error_unref(result.error);
        return 1;
    }
    if (json) {
        print_json(&listing);
    } else {
        print_table(&listing);
    }
    return fflush(stdout) != 0 || ferror(stdout) ? 1 : 0;
}

int
belay__cmd_gpu_list(int argc, char **argv)
{
    bool json = false;
    int value;

    while ((value = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (value == 'h') {
            return fputs(help, stdout) < 0 || fflush(stdout) != 0 ? 1 : 0;
        }
        if (value == '?') {
            return 2; /* getopt has said why */
        }
        json = true;
    }
    if (optind < argc) {
        (void)fprintf(stderr, "belay gpu list: nothing is expected: '%s'\n",
            argv[optind]);
        return 2;
    }
    return list(json);
}
