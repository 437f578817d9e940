/* gpu_demo_options.c - the command line of `belay gpu demo`. */
#include "cli/gpu_demo.h"

#include "cli/options.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define TASKS_DEFAULT 240
#define TASKS_MAX 100000

static const char help[] =
    "usage: belay gpu demo [option...]\n"
    "\n"
    "Tasks of three sizes share the slots of GPUs: each multiplies matrices "
    "on\n"
    "one slot, and its result is checked on the CPU. Shows how that goes, and\n"
    "reports at the end. Ctrl-C ends it early, and in order.\n"
    "\n"
    "      --backend KIND   auto (default), cuda, opencl, sim; settings may\n"
    "                       follow: opencl:type=cpu,parts=2\n"
    "      --tasks N        how many (240)\n"
    "      --devices N      simulated ones (4)\n"
    "      --slots N        of each device (simulated: 2)\n"
    "      --cancel P       share of tasks that are cancelled, 0 to 1 (0)\n"
    "      --fail P         share of tasks that fail, about (0)\n"
    "      --seed N         for all that is drawn by lot (0)\n"
    "\n"
    "      --timeline FILE  write a picture of the run, an SVG\n"
    "      --trace FILE     write a trace for Perfetto or chrome://tracing\n"
    "      --once           nothing but the report; simulated devices then do\n"
    "                       not take the time that they tell\n"
    "      --progress HOW   auto (default), view, lines, none; to standard\n"
    "                       error\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0 done; 1 a task failed that was not to, a result was "
    "wrong,\n"
    "there is no such device, or a file could not be written; 2 usage; 130\n"
    "interrupted.\n";

enum {
    OPTION_BACKEND = 256,
    OPTION_TASKS,
    OPTION_DEVICES,
    OPTION_SLOTS,
    OPTION_CANCEL,
    OPTION_FAIL,
    OPTION_SEED,
    OPTION_TIMELINE,
    OPTION_TRACE,
    OPTION_ONCE,
    OPTION_PROGRESS,
};

static const struct option options[] = {
    {"backend", required_argument, NULL, OPTION_BACKEND},
    {"tasks", required_argument, NULL, OPTION_TASKS},
    {"devices", required_argument, NULL, OPTION_DEVICES},
    {"slots", required_argument, NULL, OPTION_SLOTS},
    {"cancel", required_argument, NULL, OPTION_CANCEL},
    {"fail", required_argument, NULL, OPTION_FAIL},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"timeline", required_argument, NULL, OPTION_TIMELINE},
    {"trace", required_argument, NULL, OPTION_TRACE},
    {"once", no_argument, NULL, OPTION_ONCE},
    {"progress", required_argument, NULL, OPTION_PROGRESS},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool
take_share(const char *text, double *ret)
{
    char *end;
    const double value = strtod(text, &end);

    if (end == text || *end != '\0' || !(value >= 0 && value <= 1)) {
        return false;
    }
    *ret = value;
    return true;
}

static bool
take_u32(const char *text, uint64_t most, uint32_t *ret)
{
    uint64_t value;

    if (!belay__option_count(text, 1, most, &value)) {
        return false;
    }
    *ret = (uint32_t)value;
    return true;
}

/* A kind, and perhaps settings; those are looked at when it is opened. */
static bool
take_backend(const char *text, const char **ret)
{
    static const char *const kinds[] = {"auto", "cuda", "opencl", "sim"};
    const size_t len = strcspn(text, ":");

    for (int i = 0; i < 4; i++) {
        if (strlen(kinds[i]) == len && memcmp(text, kinds[i], len) == 0
            && (i > 0 || text[len] == '\0')) {
            *ret = text;
            return true;
        }
    }
    return false;
}

static bool
take_progress(const char *text, enum belay__gpu_progress *ret)
{
    static const char *const names[] = {"auto", "view", "lines", "none"};

    for (int i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum belay__gpu_progress)i;
            return true;
        }
    }
    return false;
}

static bool
take_path(const char *text, const char **ret)
{
    *ret = text;
    return text[0] != '\0';
}

/* False if the option's argument makes no sense. */
static bool
take_option(struct belay__gpu_demo_options *ret, int name, const char *text)
{
    switch (name) {
    case OPTION_BACKEND:
        return take_backend(text, &ret->backend);
    case OPTION_TASKS:
        return take_u32(text, TASKS_MAX, &ret->tasks);
    case OPTION_DEVICES:
        return take_u32(text, BELAY_GPU_DEVICES_MAX, &ret->devices);
    case OPTION_SLOTS:
        return take_u32(text, BELAY_GPU_SLOTS_MAX, &ret->slots);
    case OPTION_CANCEL:
        return take_share(text, &ret->cancel);
    case OPTION_FAIL:
        return take_share(text, &ret->fail);
    case OPTION_SEED: /* the simulator reads it as a double */
        return belay__option_count(text, 0, UINT64_C(1) << 52, &ret->seed);
    case OPTION_TIMELINE:
        return take_path(text, &ret->timeline);
    case OPTION_TRACE:
        return take_path(text, &ret->trace);
    case OPTION_PROGRESS:
        return take_progress(text, &ret->progress);
    default:
        ret->once = true;
        return true;
    }
}

/* What was given as NAME in --NAME. */
static const char *
long_name(int value)
{
    const struct option *option = options;

    while (option->name != NULL && option->val != value) {
        option++;
    }
    return option->name;
}

int
belay__gpu_demo_options_parse(
    struct belay__gpu_demo_options *ret, int argc, char **argv)
{
    int value;

    *ret = (struct belay__gpu_demo_options){
        .backend = "auto", .tasks = TASKS_DEFAULT};
    while ((value = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (value == 'h') {
            return fputs(help, stdout) < 0 || fflush(stdout) != 0 ? 1 : 0;
        }
        if (value == '?') {
            return 2; /* getopt has said why */
        }
        if (!take_option(ret, value, optarg)) {
            (void)fprintf(stderr,
                "belay gpu demo: --%s: not a valid value: '%s'\n",
                long_name(value), optarg);
            return 2;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "belay gpu demo: nothing is expected: '%s'\n",
            argv[optind]);
        return 2;
    }
    if (ret->devices > 0 && strncmp(ret->backend, "sim", 3) != 0) {
        (void)fprintf(stderr,
            "belay gpu demo: --devices is for --backend sim: others have as "
            "many as there are\n");
        return 2;
    }
    return -1;
}
