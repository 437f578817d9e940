/* cmd_gpu.c - `belay gpu WORD …`: finds the word and hands over. */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

#define EXIT_USAGE 2

static const char usage[] =
    "usage: belay gpu WORD [option...]\n"
    "\n"
    "words:\n"
    "  demo     many tasks share the slots of GPUs, simulated if need be\n"
    "  list     the GPUs that there are, and why others are not seen\n"
    "\n"
    "`belay gpu WORD --help` tells about one of them.\n";

int
belay__cmd_gpu(int argc, char **argv)
{
    if (argc < 2) {
        (void)fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return fputs(usage, stdout) < 0 || fflush(stdout) != 0 ? 1 : 0;
    }
    if (strcmp(argv[1], "demo") == 0) {
        return belay__cmd_gpu_demo(argc - 1, argv + 1);
    }
    if (strcmp(argv[1], "list") == 0) {
        return belay__cmd_gpu_list(argc - 1, argv + 1);
    }
    (void)fprintf(stderr,
        "belay gpu: no such word: '%s' (belay gpu --help lists them)\n",
        argv[1]);
    return EXIT_USAGE;
}
