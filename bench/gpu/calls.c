/* calls.c - R14: which calls of the driver wait for what other streams do.
 *
 * Slots of one device share its context. A call that waits for the whole of it
 * makes a slot's end as late as its neighbour's longest kernel, and the time of
 * such a call on an idle device tells nothing of that. So each call is made
 * beside a kernel on another stream that would run for LOAD_MS, and is said to
 * have waited if that has ended when it returns. What it costs is told, too,
 * for the rounds in which it did not.
 */
#include "bench/gpu/raw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "gpu/kernels.h"

enum { LOAD_MS = 50, ROUNDS = 20, QUEUE_MAX = 4096, LONG_US = 5000 };
enum { OURS, LOADS, DEEP }; /* slots of raw.h: whose words are whose */

#define BYTES ((size_t)1 << 20)
#define LARGE_BYTES ((size_t)1 << 30)

struct calls {
    struct raw raw;
    uint64_t load_rounds;
    CUstream stream; /* ours */
    CUstream load;
    CUdeviceptr at; /* BYTES, there for all calls */
    char *host;     /* BYTES, not pinned: that is what callers have */
    /* what a call has left for the next one */
    CUdeviceptr block;
    CUdeviceptr ordered; /* allocated in the order of the stream */
    CUmodule module;
    CUevent event;
    CUstream made;
    void *pinned;
};

static CUresult
launch(struct calls *calls)
{
    return raw_spin(&calls->raw, calls->stream, OURS, 1);
}

static CUresult
record(struct calls *calls)
{
    return calls->raw.cuEventRecord(calls->event, calls->stream);
}

static CUresult
wait_event(struct calls *calls)
{
    return calls->raw.cuEventSynchronize(calls->event);
}

static CUresult
write_bytes(struct calls *calls)
{
    return calls->raw.cuMemcpyHtoDAsync(
        calls->at, calls->host, BYTES, calls->stream);
}

static CUresult
read_bytes(struct calls *calls)
{
    return calls->raw.cuMemcpyDtoHAsync(
        calls->host, calls->at, BYTES, calls->stream);
}

static CUresult
fill(struct calls *calls)
{
    return calls->raw.cuMemsetD8Async(calls->at, 1, BYTES, calls->stream);
}

static CUresult
wait_stream(struct calls *calls)
{
    return calls->raw.cuStreamSynchronize(calls->stream);
}

static CUresult
alloc(struct calls *calls)
{
    return calls->raw.cuMemAlloc(&calls->block, BYTES);
}

static CUresult
release(struct calls *calls)
{
    return calls->raw.cuMemFree(calls->block);
}

static CUresult
alloc_ordered(struct calls *calls)
{
    return calls->raw.cuMemAllocAsync(&calls->ordered, BYTES, calls->stream);
}

static CUresult
release_ordered(struct calls *calls)
{
    return calls->raw.cuMemFreeAsync(calls->ordered, calls->stream);
}

static CUresult
load_module(struct calls *calls)
{
    return calls->raw.cuModuleLoadDataEx(
        &calls->module, belay__gpu_saxpy.ptx.data, 0, NULL, NULL);
}

static CUresult
unload_module(struct calls *calls)
{
    return calls->raw.cuModuleUnload(calls->module);
}

static CUresult
make_stream(struct calls *calls)
{
    return calls->raw.cuStreamCreateWithPriority(
        &calls->made, CU_STREAM_NON_BLOCKING, 0);
}

static CUresult
unmake_stream(struct calls *calls)
{
    return calls->raw.cuStreamDestroy(calls->made);
}

static CUresult
alloc_pinned(struct calls *calls)
{
    return calls->raw.cuMemHostAlloc(&calls->pinned, 64,
        CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
}

static CUresult
release_pinned(struct calls *calls)
{
    return calls->raw.cuMemFreeHost(calls->pinned);
}

static const struct kind {
    const char *name;
    CUresult (*call)(struct calls *calls);
} kinds[] = {
    /* Some need what the one before them has left. What the waits wait for
     * has long ended.
     */
    {"launch", launch},
    {"event_record", record},
    {"event_wait", wait_event},
    {"write", write_bytes},
    {"read", read_bytes},
    {"fill", fill},
    {"stream_wait", wait_stream},
    {"alloc_ordered", alloc_ordered},
    {"alloc_ordered_wait", wait_stream},
    {"free_ordered", release_ordered},
    {"free_ordered_wait", wait_stream},
    {"module_load", load_module},
    {"module_unload", unload_module},
    {"stream_create", make_stream},
    {"stream_destroy", unmake_stream},
    {"host_alloc", alloc_pinned},
    {"host_free", release_pinned},
    {"alloc", alloc},
    {"free", release},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static double times_us[KINDS][ROUNDS];
static int waited[KINDS];

static uint64_t *
stop_word(const struct calls *calls)
{
    return &calls->raw.words[(ptrdiff_t)LOADS * 8];
}

static void
begin_load(struct calls *calls)
{
    *stop_word(calls) = 0;
    raw_check(&calls->raw,
        raw_spin(&calls->raw, calls->load, LOADS, calls->load_rounds),
        "cuLaunchKernel");
}

static bool
load_runs(const struct calls *calls)
{
    return calls->raw.cuStreamQuery(calls->load) == CUDA_ERROR_NOT_READY;
}

static void
end_load(struct calls *calls)
{
    __atomic_store_n(stop_word(calls), 1, __ATOMIC_RELEASE);
    raw_check(&calls->raw, calls->raw.cuStreamSynchronize(calls->load),
        "cuStreamSynchronize");
}

static void
time_kind(struct calls *calls, int kind, int round)
{
    double began_us;
    double took_us;
    CUresult code;

    begin_load(calls);
    began_us = now_us();
    code = kinds[kind].call(calls);
    took_us = now_us() - began_us;
    raw_check(&calls->raw, code, kinds[kind].name);
    if (load_runs(calls)) {
        times_us[kind][round - waited[kind]] = took_us;
    } else {
        waited[kind]++;
    }
    end_load(calls);
}

/* How long another thread's launches take while a call waits. It has made one
 * before that, so that none is its first.
 */
struct launches {
    struct calls *calls;
    uv_sem_t ready;
    int count;
    double longest_us;
};

static void
launch_on(void *arg)
{
    struct launches *launches = arg;
    struct calls *calls = launches->calls;
    const double end_us = now_us() + 1000.0 * LOAD_MS / 2;
    double began_us;
    double took_us;

    raw_check(&calls->raw, calls->raw.cuCtxSetCurrent(calls->raw.context),
        "cuCtxSetCurrent");
    raw_check(&calls->raw, launch(calls), "cuLaunchKernel");
    uv_sem_post(&launches->ready);
    do {
        began_us = now_us();
        raw_check(&calls->raw, launch(calls), "cuLaunchKernel");
        took_us = now_us() - began_us;
        launches->count++;
        if (took_us > launches->longest_us) {
            launches->longest_us = took_us;
        }
    } while (began_us < end_us);
}

static struct launches
launches_beside(struct calls *calls, CUresult (*call)(struct calls *calls))
{
    struct launches launches = {.calls = calls};
    uv_thread_t thread;

    begin_load(calls);
    if (uv_sem_init(&launches.ready, 0) < 0
        || uv_thread_create(&thread, &launch_on, &launches) < 0) {
        (void)printf("{\"error\": \"no thread\"}\n");
        exit(1);
    }
    uv_sem_wait(&launches.ready);
    raw_check(&calls->raw, call(calls), "beside launches");
    (void)uv_thread_join(&thread);
    uv_sem_destroy(&launches.ready);
    end_load(calls);
    return launches;
}

/* How many launches a stream that does not move takes before one waits; -1: it
 * took QUEUE_MAX, or moved.
 */
static int
queue_depth(struct calls *calls)
{
    int depth = -1;
    double took_us = 0;
    double began_us;

    begin_load(calls);
    while (took_us < LONG_US && depth < QUEUE_MAX && load_runs(calls)) {
        began_us = now_us();
        raw_check(&calls->raw, raw_spin(&calls->raw, calls->load, DEEP, 1),
            "cuLaunchKernel");
        took_us = now_us() - began_us;
        depth++;
    }
    end_load(calls);
    return took_us < LONG_US ? -1 : depth;
}

/* Of memory in the order of a stream that was given back and waited for, what
 * the device does not have again; beside a kernel.
 */
static long long
bytes_kept(struct calls *calls)
{
    size_t before = 0;
    size_t after = 0;
    size_t total;

    begin_load(calls);
    raw_check(
        &calls->raw, calls->raw.cuMemGetInfo(&before, &total), "cuMemGetInfo");
    raw_check(&calls->raw,
        calls->raw.cuMemAllocAsync(&calls->ordered, LARGE_BYTES, calls->stream),
        "cuMemAllocAsync");
    raw_check(&calls->raw, release_ordered(calls), "cuMemFreeAsync");
    raw_check(&calls->raw, wait_stream(calls), "cuStreamSynchronize");
    raw_check(
        &calls->raw, calls->raw.cuMemGetInfo(&after, &total), "cuMemGetInfo");
    if (!load_runs(calls)) {
        (void)printf("{\"error\": \"large memory waits for others\"}\n");
        exit(1);
    }
    end_load(calls);
    return (long long)before - (long long)after;
}

static void
calls_open(struct calls *calls)
{
    raw_open(&calls->raw);
    calls->host = calloc(1, BYTES);
    if (calls->host == NULL) {
        (void)printf("{\"error\": \"no memory\"}\n");
        exit(1);
    }
    calls->load_rounds = raw_rounds(&calls->raw, LOAD_MS * 1e3);
    raw_check(&calls->raw,
        calls->raw.cuStreamCreateWithPriority(
            &calls->stream, CU_STREAM_NON_BLOCKING, 0),
        "cuStreamCreateWithPriority");
    raw_check(&calls->raw,
        calls->raw.cuStreamCreateWithPriority(
            &calls->load, CU_STREAM_NON_BLOCKING, 0),
        "cuStreamCreateWithPriority");
    raw_check(&calls->raw,
        calls->raw.cuEventCreate(
            &calls->event, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING),
        "cuEventCreate");
    raw_check(
        &calls->raw, calls->raw.cuMemAlloc(&calls->at, BYTES), "cuMemAlloc");
}

static void
calls_close(struct calls *calls)
{
    (void)calls->raw.cuMemFree(calls->at);
    (void)calls->raw.cuEventDestroy(calls->event);
    (void)calls->raw.cuStreamDestroy(calls->load);
    (void)calls->raw.cuStreamDestroy(calls->stream);
    free(calls->host);
    raw_close(&calls->raw);
}

/* The times are of the rounds in which it did not wait. */
static void
report_kind(int kind)
{
    const int count = ROUNDS - waited[kind];

    (void)printf(", \"%s\": {\"waited\": %d", kinds[kind].name, waited[kind]);
    if (count > 0) {
        (void)printf(", \"p50_us\": %.1f, \"max_us\": %.0f",
            quantile(times_us[kind], count, 0.5),
            quantile(times_us[kind], count, 1));
    }
    (void)printf("}");
}

int
check_calls(int argc, char **argv)
{
    static struct calls calls;
    struct launches beside_free;
    struct launches beside_load;
    long long kept;
    int depth;

    (void)argv;
    if (argc != 0) {
        return 2;
    }
    calls_open(&calls);
    for (int round = 0; round < ROUNDS; round++) {
        for (int kind = 0; kind < KINDS; kind++) {
            time_kind(&calls, kind, round);
        }
    }
    depth = queue_depth(&calls);
    kept = bytes_kept(&calls);
    raw_check(&calls.raw, alloc(&calls), "cuMemAlloc");
    beside_free = launches_beside(&calls, release);
    beside_load = launches_beside(&calls, load_module);
    (void)unload_module(&calls);
    (void)printf("{\"load_ms\": %d, \"rounds\": %d, \"launches_ahead\": %d, "
                 "\"bytes_kept\": %lld, "
                 "\"beside_free\": {\"launches\": %d, \"longest_us\": %.0f}, "
                 "\"beside_module_load\": {\"launches\": %d, "
                 "\"longest_us\": %.0f}",
        LOAD_MS, ROUNDS, depth, kept, beside_free.count, beside_free.longest_us,
        beside_load.count, beside_load.longest_us);
    for (int kind = 0; kind < KINDS; kind++) {
        report_kind(kind);
    }
    (void)printf("}\n");
    calls_close(&calls);
    return 0;
}
