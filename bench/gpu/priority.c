/* priority.c - R10: what the priority of a stream is worth under load.
 *
 * The load has to be more than the device can run at once, else nothing waits
 * and every priority is as good as the others: matrix products of thousands of
 * blocks on a few streams of the least priority, and, once these are queued, a
 * small one whose time is taken.
 */
#include "bench/gpu/raw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/kernels.h"

enum { TIMES = 100, LOAD = 4, DEPTH = 2, SMALL = 64, BLOCK = 16 };

struct matrices {
    CUfunction product;
    CUdeviceptr a; /* of the large ones; the small ones are their beginning */
    CUdeviceptr b;
    CUdeviceptr large[LOAD];
    CUdeviceptr small;
    uint32_t n;
};

static CUresult
multiply(const struct raw *raw, const struct matrices *matrices,
    CUdeviceptr product, uint32_t n, CUstream stream)
{
    CUdeviceptr a = matrices->a;
    CUdeviceptr b = matrices->b;
    void *parameters[] = {&a, &b, &product, &n};

    return raw->cuLaunchKernel(matrices->product, n / BLOCK, n / BLOCK, 1,
        BLOCK, BLOCK, 1, 0, stream, parameters, NULL);
}

static CUstream
new_stream(const struct raw *raw, int priority)
{
    CUstream stream;

    raw_check(raw,
        raw->cuStreamCreateWithPriority(
            &stream, CU_STREAM_NON_BLOCKING, priority),
        "cuStreamCreateWithPriority");
    return stream;
}

static CUdeviceptr
new_matrix(const struct raw *raw, uint32_t n, CUstream stream)
{
    const size_t bytes = (size_t)n * n * sizeof(float);
    CUdeviceptr at;

    raw_check(raw, raw->cuMemAlloc(&at, bytes), "cuMemAlloc");
    raw_check(
        raw, raw->cuMemsetD8Async(at, 0, bytes, stream), "cuMemsetD8Async");
    return at;
}

/* How long the small one takes with so much before it; µs, each of the times.
 */
static void
take_times(const struct raw *raw, const struct matrices *matrices,
    const CUstream *load, CUstream stream, uint32_t depth, double *took_us)
{
    double began_us;

    for (int i = 0; i < TIMES; i++) {
        for (uint32_t k = 0; k < depth * LOAD; k++) {
            raw_check(raw,
                multiply(raw, matrices, matrices->large[k % LOAD], matrices->n,
                    load[k % LOAD]),
                "load");
        }
        began_us = now_us();
        raw_check(raw, multiply(raw, matrices, matrices->small, SMALL, stream),
            "cuLaunchKernel");
        raw_check(raw, raw->cuStreamSynchronize(stream), "product");
        took_us[i] = now_us() - began_us;
        for (int k = 0; k < LOAD; k++) {
            raw_check(raw, raw->cuStreamSynchronize(load[k]), "load");
        }
    }
}

static void
print_times(const char *name, double *took_us)
{
    (void)printf(", \"%s_p50_us\": %.0f, \"%s_p99_us\": %.0f", name,
        quantile(took_us, TIMES, 0.5), name, quantile(took_us, TIMES, 0.99));
}

static void
compare(const struct raw *raw, const struct matrices *matrices, int least,
    int greatest)
{
    CUstream low = new_stream(raw, least);
    CUstream high = new_stream(raw, greatest);
    CUstream load[LOAD];
    double took_us[TIMES];

    for (int i = 0; i < LOAD; i++) {
        load[i] = new_stream(raw, least);
    }
    take_times(raw, matrices, load, high, 0, took_us);
    print_times("alone", took_us);
    take_times(raw, matrices, load, low, DEPTH, took_us);
    print_times("least", took_us);
    take_times(raw, matrices, load, high, DEPTH, took_us);
    print_times("greatest", took_us);
    for (int i = 0; i < LOAD; i++) {
        (void)raw->cuStreamDestroy(load[i]);
    }
    (void)raw->cuStreamDestroy(low);
    (void)raw->cuStreamDestroy(high);
}

/* The size of the large matrices, a multiple of 16. */
int
check_priority(int argc, char **argv)
{
    struct matrices matrices = {.n = 0};
    CUmodule module;
    CUstream clear;
    struct raw raw;
    int least = 0;
    int greatest = 0;

    if (argc == 1) {
        matrices.n = (uint32_t)strtoul(argv[0], NULL, 10);
    }
    if (matrices.n < SMALL || matrices.n % BLOCK != 0) {
        return 2;
    }
    raw_open(&raw);
    raw_check(&raw, raw.cuCtxGetStreamPriorityRange(&least, &greatest),
        "cuCtxGetStreamPriorityRange");
    raw_check(&raw,
        raw.cuModuleLoadDataEx(
            &module, belay__gpu_matrix_product.ptx.data, 0, NULL, NULL),
        "cuModuleLoadDataEx");
    raw_check(&raw,
        raw.cuModuleGetFunction(
            &matrices.product, module, belay__gpu_matrix_product.entry),
        "cuModuleGetFunction");
    clear = new_stream(&raw, least);
    matrices.a = new_matrix(&raw, matrices.n, clear);
    matrices.b = new_matrix(&raw, matrices.n, clear);
    matrices.small = new_matrix(&raw, SMALL, clear);
    for (int i = 0; i < LOAD; i++) {
        matrices.large[i] = new_matrix(&raw, matrices.n, clear);
    }
    raw_check(&raw, raw.cuStreamSynchronize(clear), "cuMemsetD8Async");
    (void)printf("{\"least\": %d, \"greatest\": %d", least, greatest);
    compare(&raw, &matrices, least, greatest);
    (void)printf("}\n");
    (void)raw.cuMemFree(matrices.a);
    (void)raw.cuMemFree(matrices.b);
    (void)raw.cuMemFree(matrices.small);
    for (int i = 0; i < LOAD; i++) {
        (void)raw.cuMemFree(matrices.large[i]);
    }
    (void)raw.cuStreamDestroy(clear);
    (void)raw.cuModuleUnload(module);
    raw_close(&raw);
    return 0;
}
