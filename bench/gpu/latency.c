/* latency.c - R4: from asking for a kernel to the loop knowing of its end, by
 * different ways of waiting.
 *
 *     gpu-check latency wait|spin|hostfunc|callback|poll SLOTS KERNEL_US
 *
 * One kernel is under way on each slot; its end, seen on the loop, starts the
 * next.
 */
#include "bench/gpu/raw.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { KERNELS_MAX = 20000, SPIN_US = 20 };

/* The span for one figure; there are fifty. */
static const double span_us = 1.5e6;

struct bench;

struct slot {
    struct bench *bench;
    CUstream stream;
    CUevent event;
    int index;
    double begun_us;
    uv_thread_t thread;
    uv_sem_t wanted;
    bool ended; /* atomic; cleared by the loop */
    bool busy;
};

struct bench {
    struct raw raw;
    const char *how;
    int slot_count;
    uint64_t rounds;
    struct slot slots[RAW_SLOTS_MAX];
    uv_loop_t loop;
    uv_async_t async;
    uv_idle_t idle;
    bool over; /* atomic */
    double end_us;
    double took_us[KERNELS_MAX];
    int count;
};

static bool
is(const struct bench *bench, const char *how)
{
    return strcmp(bench->how, how) == 0;
}

static void
tell(struct slot *slot)
{
    __atomic_store_n(&slot->ended, true, __ATOMIC_RELEASE);
    (void)uv_async_send(&slot->bench->async);
}

static void
on_host(void *arg)
{
    tell(arg);
}

static void
on_callback(CUstream stream, CUresult result, void *arg)
{
    (void)stream;
    (void)result;
    tell(arg);
}

static void
launch(struct slot *slot)
{
    const struct raw *raw = &slot->bench->raw;

    raw_check(raw,
        raw_spin(raw, slot->stream, slot->index, slot->bench->rounds),
        "cuLaunchKernel");
}

static void
wait_on_thread(struct slot *slot)
{
    const struct raw *raw = &slot->bench->raw;
    CUresult code = CUDA_ERROR_NOT_READY;

    launch(slot);
    raw_check(
        raw, raw->cuEventRecord(slot->event, slot->stream), "cuEventRecord");
    if (is(slot->bench, "spin")) {
        double end_us = now_us() + SPIN_US;

        while (code == CUDA_ERROR_NOT_READY && now_us() < end_us) {
            code = raw->cuEventQuery(slot->event);
        }
    }
    if (code == CUDA_ERROR_NOT_READY) {
        code = raw->cuEventSynchronize(slot->event);
    }
    raw_check(raw, code, "cuEventSynchronize");
}

static void
slot_thread(void *arg)
{
    struct slot *slot = arg;

    raw_check(&slot->bench->raw,
        slot->bench->raw.cuCtxSetCurrent(slot->bench->raw.context),
        "cuCtxSetCurrent");
    for (;;) {
        uv_sem_wait(&slot->wanted);
        if (__atomic_load_n(&slot->bench->over, __ATOMIC_ACQUIRE)) {
            return;
        }
        wait_on_thread(slot);
        tell(slot);
    }
}

static void
begin(struct slot *slot)
{
    struct bench *bench = slot->bench;
    const struct raw *raw = &bench->raw;

    slot->busy = true;
    slot->begun_us = now_us();
    if (is(bench, "wait") || is(bench, "spin")) {
        uv_sem_post(&slot->wanted);
        return;
    }
    launch(slot);
    if (is(bench, "hostfunc")) {
        raw_check(raw, raw->cuLaunchHostFunc(slot->stream, on_host, slot),
            "cuLaunchHostFunc");
    } else if (is(bench, "callback")) {
        raw_check(raw,
            raw->cuStreamAddCallback(slot->stream, on_callback, slot, 0),
            "cuStreamAddCallback");
    } else {
        raw_check(raw, raw->cuEventRecord(slot->event, slot->stream),
            "cuEventRecord");
    }
}

/* Stops the handles when nothing runs any more. */
static void
end_if_idle(struct bench *bench)
{
    for (int i = 0; i < bench->slot_count; i++) {
        if (bench->slots[i].busy) {
            return;
        }
    }
    uv_close((uv_handle_t *)&bench->async, NULL);
    uv_close((uv_handle_t *)&bench->idle, NULL);
}

static void
ended(struct slot *slot)
{
    struct bench *bench = slot->bench;
    double now = now_us();

    slot->busy = false;
    bench->took_us[bench->count++] = now - slot->begun_us;
    if (now < bench->end_us && bench->count < KERNELS_MAX - RAW_SLOTS_MAX) {
        begin(slot);
    } else {
        end_if_idle(bench);
    }
}

static void
on_async(uv_async_t *async)
{
    struct bench *bench = async->data;

    for (int i = 0; i < bench->slot_count; i++) {
        if (__atomic_exchange_n(
                &bench->slots[i].ended, false, __ATOMIC_ACQUIRE)) {
            ended(&bench->slots[i]);
        }
    }
}

static void
on_idle(uv_idle_t *idle)
{
    struct bench *bench = idle->data;

    for (int i = 0; i < bench->slot_count; i++) {
        if (bench->slots[i].busy
            && bench->raw.cuEventQuery(bench->slots[i].event) == CUDA_SUCCESS) {
            ended(&bench->slots[i]);
        }
    }
}

static void
open_slots(struct bench *bench)
{
    const struct raw *raw = &bench->raw;

    for (int i = 0; i < bench->slot_count; i++) {
        struct slot *slot = &bench->slots[i];

        slot->bench = bench;
        slot->index = i;
        raw_check(raw,
            raw->cuStreamCreateWithPriority(
                &slot->stream, CU_STREAM_NON_BLOCKING, 0),
            "cuStreamCreateWithPriority");
        raw_check(raw,
            raw->cuEventCreate(
                &slot->event, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING),
            "cuEventCreate");
        (void)uv_sem_init(&slot->wanted, 0);
        (void)uv_thread_create(&slot->thread, slot_thread, slot);
    }
}

static void
close_slots(struct bench *bench)
{
    __atomic_store_n(&bench->over, true, __ATOMIC_RELEASE);
    for (int i = 0; i < bench->slot_count; i++) {
        uv_sem_post(&bench->slots[i].wanted);
        (void)uv_thread_join(&bench->slots[i].thread);
        uv_sem_destroy(&bench->slots[i].wanted);
        (void)bench->raw.cuEventDestroy(bench->slots[i].event);
        (void)bench->raw.cuStreamDestroy(bench->slots[i].stream);
    }
}

int
check_latency(int argc, char **argv)
{
    static struct bench bench;
    double kernel_us = argc == 3 ? strtod(argv[2], NULL) : 0;
    double cpu;

    bench.how = argc == 3 ? argv[0] : "";
    bench.slot_count = argc == 3 ? (int)strtol(argv[1], NULL, 10) : 0;
    if (strstr(" wait spin hostfunc callback poll ", bench.how) == NULL
        || bench.slot_count < 1 || bench.slot_count > RAW_SLOTS_MAX
        || kernel_us <= 0) {
        return 2;
    }
    raw_open(&bench.raw);
    bench.rounds = raw_rounds(&bench.raw, kernel_us);
    open_slots(&bench);
    (void)uv_loop_init(&bench.loop);
    (void)uv_async_init(&bench.loop, &bench.async, on_async);
    (void)uv_idle_init(&bench.loop, &bench.idle);
    bench.async.data = &bench;
    bench.idle.data = &bench;
    if (is(&bench, "poll")) {
        (void)uv_idle_start(&bench.idle, on_idle);
    }
    bench.end_us = now_us() + span_us;
    cpu = cpu_us();
    for (int i = 0; i < bench.slot_count; i++) {
        begin(&bench.slots[i]);
    }
    (void)uv_run(&bench.loop, UV_RUN_DEFAULT);
    cpu = cpu_us() - cpu;
    close_slots(&bench);
    (void)uv_loop_close(&bench.loop);
    raw_close(&bench.raw);
    (void)printf("{\"how\": \"%s\", \"slots\": %d, \"kernel_us\": %g, "
                 "\"kernels\": %d, \"p50_us\": %.1f, \"p99_us\": %.1f, "
                 "\"cpu_us_per_kernel\": %.1f}\n",
        bench.how, bench.slot_count, kernel_us, bench.count,
        quantile(bench.took_us, bench.count, 0.5),
        quantile(bench.took_us, bench.count, 0.99), cpu / bench.count);
    return 0;
}
