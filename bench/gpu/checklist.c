/* checklist.c - gpu-check: one question about a real GPU at a time, for
 * bench/gpu-checklist. Each command writes one line of JSON.
 */
#include "bench/gpu/raw.h"

#include <belay/belay.h>
#include <belay/gpu.h>
#include <belay/gpu_stats.h>
#include <belay/gpu_work.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "gpu/cuda.h"
#include "gpu/kernels.h"

/* A text in JSON; what it cannot hold becomes a space. */
static void
print_text(const char *text)
{
    (void)putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            (void)putchar('\\');
        }
        (void)putchar((unsigned char)*text < ' ' ? ' ' : *text);
    }
    (void)putchar('"');
}

/* ---- R1: what is there ---- */

struct look {
    bool pool; /* what "auto" takes, instead of a list */
    /* locals */
    struct belay_gpu_device *devices;
    uint32_t count;
    char note[2048];
    belay_gpu_pool *gpus;
};

static void
print_devices(const struct look *look)
{
    (void)printf("{\"devices\": [");
    for (uint32_t i = 0; i < look->count && i < BELAY_GPU_DEVICES_MAX; i++) {
        (void)printf("%s{\"backend\": ", i > 0 ? ", " : "");
        print_text(look->devices[i].backend);
        (void)printf(", \"name\": ");
        print_text(look->devices[i].name);
        (void)printf(", \"uid\": ");
        print_text(look->devices[i].uid);
        (void)printf(", \"bytes\": %llu, \"units\": %u",
            (unsigned long long)look->devices[i].bytes, look->devices[i].units);
        (void)printf(", \"used_bytes\": %lld, \"busy_percent\": %d, "
                     "\"celsius\": %d, \"milliwatts\": %d}",
            (long long)look->devices[i].gauges.used_bytes,
            look->devices[i].gauges.busy_percent,
            look->devices[i].gauges.celsius,
            look->devices[i].gauges.milliwatts);
    }
    (void)printf("], \"note\": ");
    print_text(look->note);
    (void)printf("}\n");
}

BELAY_ASYNC(look)
{
    BELAY_BEGIN;
    if (self->pool) {
        BELAY_WITH (belay_gpu_pool_open(task, NULL, &self->gpus)) {
            BELAY_CHECK(
                belay_gpu_pool_device(self->gpus, 0, &self->devices[0]));
            (void)snprintf(self->note, sizeof(self->note), "%s",
                belay_gpu_pool_note(self->gpus));
            self->count = 1;
        }
    } else {
        BELAY_AWAIT(
            belay_gpu_list(task, NULL, self->devices, BELAY_GPU_DEVICES_MAX,
                &self->count, self->note, sizeof(self->note)));
    }
    print_devices(self);
    BELAY_END;
}

static int
run_look(bool pool)
{
    static struct belay_gpu_device devices[BELAY_GPU_DEVICES_MAX];

    for (int i = 0; i < BELAY_GPU_DEVICES_MAX; i++) {
        devices[i].size = sizeof(devices[i]);
    }
    return belay_run(&look,
               &(const struct look){.pool = pool, .devices = devices}, NULL,
               NULL)
           < 0;
}

static int
check_list(int argc, char **argv)
{
    (void)argv;
    return argc == 0 ? run_look(false) : 2;
}

static int
check_auto(int argc, char **argv)
{
    (void)argv;
    return argc == 0 ? run_look(true) : 2;
}

/* ---- R2: how long the texts take to be translated ---- */

static int
check_build(int argc, char **argv)
{
    static const struct belay_gpu_source *const sources[] = {
        &belay__gpu_vector_add, &belay__gpu_saxpy, &belay__gpu_block_sums,
        &belay__gpu_matrix_product, &belay__gpu_spin};
    struct raw raw;
    CUmodule module;

    (void)argv;
    if (argc != 0) {
        return 2;
    }
    raw_open(&raw);
    (void)printf("{");
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        double took_us = now_us();

        raw_check(&raw,
            raw.cuModuleLoadDataEx(
                &module, sources[i]->ptx.data, 0, NULL, NULL),
            sources[i]->entry);
        took_us = now_us() - took_us;
        (void)raw.cuModuleUnload(module);
        (void)printf("%s\"%s_ms\": %.2f", i > 0 ? ", " : "", sources[i]->entry,
            took_us / 1000);
    }
    (void)printf("}\n");
    raw_close(&raw);
    return 0;
}

/* ---- R3, R8, R9: tasks that compute, through the pool ---- */

enum { COUNT = 4096 };

/* One lease: writes, a kernel, reads, and a look at what came back. */
struct add {
    belay_gpu_pool *gpus;
    uint64_t *wrong;
    /* locals */
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
    belay_gpu_buffer x;
    belay_gpu_buffer y;
    float *host; /* COUNT of x, then of y */
    uint64_t unequal;
};

static belay_next
add_run(belay_task *task, struct add *self)
{
    const size_t bytes = COUNT * sizeof(float);
    const struct belay_gpu_arg args[] = {belay_gpu_arg_f32(2),
        belay_gpu_arg_buffer(self->x), belay_gpu_arg_buffer(self->y),
        belay_gpu_arg_u32(COUNT)};
    const struct belay_gpu_cmd cmds[] = {
        BELAY_GPU_CMD_WRITE(self->x, 0, self->host, bytes),
        BELAY_GPU_CMD_WRITE(self->y, 0, self->host + COUNT, bytes),
        BELAY_GPU_CMD_LAUNCH(self->kernel, COUNT / 128, 128, args, 4),
        BELAY_GPU_CMD_READ(self->y, 0, self->host + COUNT, bytes),
    };

    for (int i = 0; i < COUNT; i++) {
        self->host[i] = (float)i;
        self->host[COUNT + i] = 1;
    }
    return belay_gpu_run(task, self->lease, cmds, 4);
}

static uint64_t
add_wrong(const struct add *self)
{
    uint64_t wrong = 0;

    for (int i = 0; i < COUNT; i++) {
        wrong += self->host[COUNT + i] != (float)(2 * i + 1);
    }
    return wrong;
}

BELAY_ASYNC(add)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->gpus,
        BELAY_GPU_LEASE_OPTS(.bytes = 1 << 20), &self->lease)) {
        BELAY_AWAIT(belay_gpu_build(
            task, self->lease, &belay__gpu_saxpy, &self->kernel));
        BELAY_AWAIT(belay_gpu_alloc(
            task, self->lease, COUNT * sizeof(float), &self->x));
        BELAY_AWAIT(belay_gpu_alloc(
            task, self->lease, COUNT * sizeof(float), &self->y));
        BELAY_AWAIT(add_run(task, self));
        *self->wrong += add_wrong(self);
    }
    BELAY_END;
}

/* `tasks` loops, each of leases one after the other, until `leases` are over
 * or the time is.
 */
struct adders {
    uint32_t tasks;
    uint32_t slots;
    uint64_t leases;
    double seconds;
    float *host; /* of all tasks */
    /* locals */
    belay_gpu_pool *gpus;
    belay_group *group;
    uint64_t done;
    uint64_t wrong;
    double end_us;
    struct belay_gpu_device device;
    double free_share;    /* of the slots' time, in which nobody had them */
    double running_share; /* … in which they had work */
};

struct adder {
    struct adders *all;
    float *host;
};

BELAY_ASYNC(adder)
{
    BELAY_BEGIN;
    while (
        self->all->done < self->all->leases && now_us() < self->all->end_us) {
        self->all->done++;
        BELAY_AWAIT(BELAY_CALL(add, .gpus = self->all->gpus,
            .wrong = &self->all->wrong, .host = self->host));
    }
    BELAY_END;
}

static void
adders_look(struct adders *self)
{
    struct belay_gpu_slot_stats slot = {.size = sizeof(slot)};
    int64_t spent[BELAY_GPU_SLOT_TIMES] = {0};
    int64_t all = 1;

    for (uint32_t i = 0; belay_gpu_pool_slot(self->gpus, i, &slot) == 0; i++) {
        for (int state = 0; state < BELAY_GPU_SLOT_TIMES; state++) {
            spent[state] += slot.spent[state].ns;
            all += slot.spent[state].ns;
        }
    }
    self->free_share = (double)spent[BELAY_GPU_SLOT_FREE] / (double)all;
    self->running_share = (double)spent[BELAY_GPU_SLOT_RUNNING] / (double)all;
}

BELAY_ASYNC(adders)
{
    BELAY_BEGIN;
    self->device.size = sizeof(self->device);
    self->end_us = now_us() + self->seconds * 1e6;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "cuda", .slots = self->slots),
        &self->gpus)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (uint32_t i = 0; i < self->tasks; i++) {
                BELAY_CHECK(belay_spawn(self->group, adder, .all = self,
                    .host = self->host + (size_t)i * 2 * COUNT));
            }
        }
        BELAY_CHECK(belay_gpu_pool_device(self->gpus, 0, &self->device));
        adders_look(self);
    }
    (void)printf("{\"leases\": %llu, \"wrong_values\": %llu, "
                 "\"leases_per_s\": %.0f, \"bytes_still_leased\": %llu, "
                 "\"slots_lost\": %u, \"slots_free_share\": %.3f, "
                 "\"slots_running_share\": %.3f}\n",
        (unsigned long long)self->done, (unsigned long long)self->wrong,
        (double)self->done / (self->seconds + (now_us() - self->end_us) / 1e6),
        (unsigned long long)self->device.leased_bytes, self->device.slots_lost,
        self->free_share, self->running_share);
    BELAY_END;
}

static int
check_leases(int argc, char **argv)
{
    struct adders all = {0};
    int code;

    if (argc != 4) {
        return 2;
    }
    all.tasks = (uint32_t)strtoul(argv[0], NULL, 10);
    all.slots = (uint32_t)strtoul(argv[1], NULL, 10);
    all.leases = strtoull(argv[2], NULL, 10);
    all.seconds = strtod(argv[3], NULL);
    all.host = calloc(all.tasks, 2 * COUNT * sizeof(float));
    code =
        all.host != NULL ? belay_run(&adders, &all, NULL, NULL) : BELAY_ENOMEM;
    free(all.host);
    if (code < 0) {
        (void)printf("{\"error\": \"%s\"}\n", belay_code_name(code));
    }
    return code < 0;
}

/* ---- R6: the stop word ---- */

static void
stop_later(void *arg)
{
    struct raw *raw = arg;
    const struct timespec moment = {0, 20000000};

    (void)nanosleep(&moment, NULL); /* the kernel runs by then */
    raw->words[1] = (uint64_t)now_us();
    __atomic_store_n(&raw->words[0], 1, __ATOMIC_RELEASE);
}

static int
check_stop(int argc, char **argv)
{
    enum { TIMES = 50 };
    double took_us[TIMES];
    uv_thread_t thread;
    CUstream stream;
    struct raw raw;

    (void)argv;
    if (argc != 0) {
        return 2;
    }
    raw_open(&raw);
    raw_check(&raw,
        raw.cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0),
        "cuStreamCreateWithPriority");
    for (int i = 0; i < TIMES; i++) {
        raw.words[0] = 0;
        raw_check(
            &raw, raw_spin(&raw, stream, 0, UINT64_MAX), "cuLaunchKernel");
        (void)uv_thread_create(&thread, stop_later, &raw);
        raw_check(&raw, raw.cuStreamSynchronize(stream), "spin");
        took_us[i] = now_us() - (double)raw.words[1];
        (void)uv_thread_join(&thread);
    }
    (void)raw.cuStreamDestroy(stream);
    (void)printf("{\"stop_to_idle_p50_us\": %.0f, \"p99_us\": %.0f}\n",
        quantile(took_us, TIMES, 0.5), quantile(took_us, TIMES, 0.99));
    raw_close(&raw);
    return 0;
}

/* ---- R7: killed in the middle of a kernel ---- */

/* Says that it runs, and runs until it is killed. */
static int
check_hold(int argc, char **argv)
{
    struct raw raw;
    CUstream stream;
    CUdeviceptr at;

    (void)argv;
    if (argc != 0) {
        return 2;
    }
    raw_open(&raw);
    raw_check(&raw, raw.cuMemAlloc(&at, 64 << 20), "cuMemAlloc");
    raw_check(&raw,
        raw.cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0),
        "cuStreamCreateWithPriority");
    raw_check(&raw, raw_spin(&raw, stream, 0, UINT64_MAX), "cuLaunchKernel");
    (void)printf("{\"running\": true}\n");
    (void)fflush(stdout);
    return raw.cuStreamSynchronize(stream) == CUDA_SUCCESS ? 0 : 1;
}

static int
check_base(int argc, char **argv)
{
    size_t free_bytes = 0;
    size_t total_bytes = 0;
    double began_us = now_us();
    CUdeviceptr at;
    struct raw raw;

    (void)argv;
    if (argc != 0) {
        return 2;
    }
    raw_open(&raw);
    raw_check(&raw, raw.cuMemAlloc(&at, 64 << 20), "cuMemAlloc");
    began_us = now_us() - began_us;
    (void)raw.cuMemFree(at);
    raw_check(
        &raw, raw.cuMemGetInfo(&free_bytes, &total_bytes), "cuMemGetInfo");
    (void)printf("{\"free_bytes\": %llu, \"total_bytes\": %llu, "
                 "\"first_memory_after_ms\": %.1f}\n",
        (unsigned long long)free_bytes, (unsigned long long)total_bytes,
        began_us / 1000);
    raw_close(&raw);
    return 0;
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {
        {"list", check_list},
        {"auto", check_auto},
        {"build", check_build},
        {"leases", check_leases},
        {"latency", check_latency},
        {"fault", check_fault},
        {"stop", check_stop},
        {"cancel", check_cancel},
        {"hold", check_hold},
        {"base", check_base},
        {"priority", check_priority},
        {"calls", check_calls},
        {"share", check_share},
    };

    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]);
         i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 2, argv + 2);
        }
    }
    (void)fprintf(
        stderr, "usage: gpu-check COMMAND; see bench/gpu-checklist\n");
    return 2;
}
