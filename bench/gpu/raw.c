/* raw.c - CUDA's driver without the pool. */
#include "bench/gpu/raw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu/kernels.h"
#include "gpu/library.h"

static const struct belay__gpu_symbol symbols[] = {
#define SYMBOL(name, version, parameters) \
    {#name #version, offsetof(struct raw, name)},
    BELAY__CUDA_API(SYMBOL) BELAY__CUDA_API_MEASURED(SYMBOL)
#undef SYMBOL
};

double
now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

double
cpu_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

double
quantile(double *values, int count, double share)
{
    if (count == 0) {
        return 0;
    }
    qsort(values, (size_t)count, sizeof(*values), compare);
    return values[(int)((double)(count - 1) * share)];
}

void
raw_check(const struct raw *raw, CUresult code, const char *what)
{
    const char *name = NULL;

    if (code == CUDA_SUCCESS) {
        return;
    }
    (void)raw->cuGetErrorName(code, &name);
    /* On a line of its own: half an answer may stand there already. */
    (void)printf("\n{\"error\": \"%s: %s\", \"code\": %u}\n", what,
        name != NULL ? name : "?", code);
    exit(1);
}

void
raw_open(struct raw *raw)
{
    char why[BELAY__GPU_NOTE] = "";
    void *words = NULL;

    memset(raw, 0, sizeof(*raw));
    if (belay__gpu_library_load("BELAY_CUDA_LIBRARY", "libcuda.so.1", symbols,
            sizeof(symbols) / sizeof(symbols[0]), raw, why)
        < 0) {
        (void)printf("{\"error\": \"%s\"}\n", why);
        exit(1);
    }
    raw_check(raw, raw->cuInit(0), "cuInit");
    raw_check(raw, raw->cuDeviceGet(&raw->device, 0), "cuDeviceGet");
    raw_check(raw, raw->cuDevicePrimaryCtxRetain(&raw->context, raw->device),
        "cuDevicePrimaryCtxRetain");
    raw_check(raw, raw->cuCtxSetCurrent(raw->context), "cuCtxSetCurrent");
    raw_check(raw,
        raw->cuModuleLoadDataEx(
            &raw->module, belay__gpu_spin.ptx.data, 0, NULL, NULL),
        "cuModuleLoadDataEx");
    raw_check(raw,
        raw->cuModuleGetFunction(
            &raw->spin, raw->module, belay__gpu_spin.entry),
        "cuModuleGetFunction");
    raw_check(raw,
        raw->cuMemHostAlloc(&words, RAW_SLOTS_MAX * 64,
            CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP),
        "cuMemHostAlloc");
    raw->words = words;
    memset(words, 0, RAW_SLOTS_MAX * 64);
    raw_check(raw, raw->cuMemHostGetDevicePointer(&raw->words_at, words, 0),
        "cuMemHostGetDevicePointer");
    raw_check(
        raw, raw->cuMemAlloc(&raw->done, RAW_SLOTS_MAX * 8UL), "cuMemAlloc");
}

void
raw_close(struct raw *raw)
{
    (void)raw->cuMemFree(raw->done);
    (void)raw->cuMemFreeHost(raw->words);
    (void)raw->cuModuleUnload(raw->module);
    (void)raw->cuDevicePrimaryCtxRelease(raw->device);
}

CUresult
raw_spin(const struct raw *raw, CUstream stream, int slot, uint64_t rounds)
{
    CUdeviceptr stop = raw->words_at + (CUdeviceptr)slot * 64;
    CUdeviceptr done = raw->done + (CUdeviceptr)slot * 8;
    uint64_t sequence = 1;
    void *parameters[] = {&stop, &sequence, &rounds, &done};

    return raw->cuLaunchKernel(
        raw->spin, 1, 1, 1, 1, 1, 1, 0, stream, parameters, NULL);
}

uint64_t
raw_rounds(const struct raw *raw, double us)
{
    uint64_t rounds = 1000;
    double took_us = 0;
    CUstream stream;

    raw_check(raw,
        raw->cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0),
        "cuStreamCreateWithPriority");
    /* Long enough for what a launch costs not to count. */
    while (took_us < 20000 && rounds < UINT64_MAX / 4) {
        rounds *= 2;
        took_us = now_us();
        raw_check(raw, raw_spin(raw, stream, 0, rounds), "cuLaunchKernel");
        raw_check(raw, raw->cuStreamSynchronize(stream), "spin");
        took_us = now_us() - took_us;
    }
    (void)raw->cuStreamDestroy(stream);
    return (uint64_t)((double)rounds * us / took_us) + 1;
}
