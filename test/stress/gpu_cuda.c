/* gpu_cuda.c - slot threads and a driver's threads, for ThreadSanitizer: G12,
 * G30, G36, G37 over the fake CUDA library.
 *
 * Many tasks add vectors on a few slots; half of them is given up, sooner
 * or later, and in every round a device breaks. Each sum that was not
 * cancelled is right, each task ends, the device has everything back, and the
 * loop's thread has made no call of the driver.
 */
#define _GNU_SOURCE /* gettid() */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <belay/belay.h>

#include "test/support/fake_cuda.h"
#include "test/support/gpu_work.h"

enum { ROUNDS = 20, TASKS = 120 };

#define CHECK(condition)                                                \
    do {                                                                \
        if (!(condition)) {                                             \
            (void)fprintf(                                              \
                stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                    \
        }                                                               \
    } while (0)

struct counts {
    int done;
    int cancelled;
    int lost;
};

/* One sum, perhaps given up after some hundred microseconds. */
struct sum {
    belay_gpu_pool *pool;
    struct counts *counts;
    uint32_t patience_us; /* 0: to the end */
    struct belay_cancel_status status;
    int code;
};

BELAY_ASYNC(sum)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(task,
        self->patience_us == 0 ? BELAY_FOREVER
                               : belay_microseconds(self->patience_us),
        &self->status)) {
        BELAY_TRY(BELAY_CALL(gpu_add, .pool = self->pool));
        self->code = belay_result(task)->code;
        if (self->code < 0 && self->code != BELAY_GPU_ELOST) {
            return belay_pass(task);
        }
    }
    self->counts->done += self->code == 0;
    self->counts->lost += self->code == BELAY_GPU_ELOST;
    self->counts->cancelled += self->code == BELAY_ECANCELED;
    BELAY_END;
}

struct stage {
    struct counts *counts;
    unsigned seed;
    belay_gpu_pool *pool;
    belay_group *group;
};

static uint32_t
patience(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8 & 1 ? 0 : (*seed >> 9) % 3000 + 1;
}

BELAY_ASYNC(stage)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "cuda", .slots = 3, .spin_us = 5),
        &self->pool)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (int i = 0; i < TASKS; i++) {
                BELAY_CHECK(belay_spawn(self->group, sum, .pool = self->pool,
                    .counts = self->counts,
                    .patience_us = patience(&self->seed)));
            }
        }
    }
    BELAY_END;
}

int
main(void)
{
    struct counts total = {0};
    int code;

    fake_cuda_use("devices=2 latency_us=20");
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct counts counts = {0};

        fake_cuda_script(i % 2 == 0 ? "fault=40:700" : "fault=4000:700");
        code = belay_run(&stage,
            &(const struct stage){.counts = &counts, .seed = i}, NULL, NULL);
        CHECK(code == 0);
        CHECK(counts.done + counts.lost + counts.cancelled == TASKS);
        fake_cuda_check_clean();
        fake_cuda_repair();
        total.done += counts.done;
        total.lost += counts.lost;
        total.cancelled += counts.cancelled;
    }
    CHECK(total.done > 0);
    CHECK(total.lost > 0);
    CHECK(total.cancelled > 0);
    CHECK(fake_cuda_calls_by(gettid()) == 0);
    (void)printf("%d sums, %d cancelled, %d lost\n", total.done,
        total.cancelled, total.lost);
    return 0;
}
