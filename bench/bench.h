/* bench.h - what the benchmark programs share: clocks, memory, the result.
 *
 * Every program is called as `prog N CONC [URL]` and prints one JSON object as
 * its last line, so that any harness can run ours beside another's.
 */
#ifndef BELAY_BENCH_H
#define BELAY_BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* A point in a run. */
struct moment {
    double wall_s;
    double user_s;
    double system_s;
};

static inline double
seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static inline struct moment
moment_now(void)
{
    struct timespec wall;
    struct rusage usage;

    (void)clock_gettime(CLOCK_MONOTONIC, &wall);
    (void)getrusage(RUSAGE_SELF, &usage);
    return (struct moment){
        .wall_s = (double)wall.tv_sec + (double)wall.tv_nsec / 1e9,
        .user_s = seconds_of(usage.ru_utime),
        .system_s = seconds_of(usage.ru_stime),
    };
}

/* The resident memory of this process, or 0 if it cannot be read. */
static inline double
resident_bytes(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    double kib = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            kib = strtod(line + 6, NULL);
            break;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return kib * 1024;
}

static inline long
argument(int argc, char **argv, int index, long otherwise)
{
    return argc > index ? strtol(argv[index], NULL, 10) : otherwise;
}

static inline void *
must_alloc(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (memory == NULL) {
        (void)fputs("out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

/* The result line; `more` is "" or further members, each after a comma. */
static inline void
report(long ops, struct moment from, struct moment to, uint64_t check,
    const char *more)
{
    printf("{\"ops\":%ld,\"elapsed_s\":%.9f,\"user_s\":%.6f,\"sys_s\":%.6f,"
           "\"check\":%llu%s}\n",
        ops, to.wall_s - from.wall_s, to.user_s - from.user_s,
        to.system_s - from.system_s, (unsigned long long)check, more);
}

#endif
