/* share.c - R11: a process that shares its devices with others, and tells when
 * it had which slot: bench/gpu-checklist lays several of these side by side.
 */
#include "bench/gpu/raw.h"

#include <belay/belay.h>
#include <belay/gpu_stats.h>
#include <belay/gpu_work.h>
#include <stdio.h>
#include <stdlib.h>

#include "gpu/kernels.h"

enum { TASKS = 8, LEASES_MAX = 10000, ROUNDS = 1000 };

struct span {
    uint32_t slot;
    double begin_us;
    double end_us;
};

static struct span spans[LEASES_MAX];
static uint32_t span_count;

struct user {
    belay_gpu_pool *pool;
    uint32_t leases; /* of all tasks */
    /* locals */
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
    belay_gpu_buffer done;
    struct belay_gpu_arg args[4];
    struct span span;
};

static uint32_t
slot_of(belay_gpu_pool *pool, uint64_t task_id)
{
    struct belay_gpu_slot_stats stats = {.size = sizeof(stats)};
    uint32_t i = 0;

    while (
        belay_gpu_pool_slot(pool, i, &stats) == 0 && stats.task_id != task_id) {
        i++;
    }
    return i;
}

BELAY_ASYNC(user)
{
    BELAY_BEGIN;
    while (span_count < self->leases) {
        BELAY_WITH (belay_gpu_lease_open(task, self->pool,
            BELAY_GPU_LEASE_OPTS(.bytes = 1 << 20), &self->lease)) {
            self->span.begin_us = now_us();
            self->span.slot = slot_of(self->pool, belay_task_id(task));
            BELAY_AWAIT(belay_gpu_build(
                task, self->lease, &belay__gpu_spin, &self->kernel));
            BELAY_AWAIT(belay_gpu_alloc(task, self->lease, 8, &self->done));
            self->args[0] = belay_gpu_arg_stop();
            self->args[1] = belay_gpu_arg_sequence();
            self->args[2] = belay_gpu_arg_u64(ROUNDS);
            self->args[3] = belay_gpu_arg_buffer(self->done);
            BELAY_AWAIT(belay_gpu_run_one(task, self->lease,
                BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, self->args, 4)));
            self->span.end_us = now_us();
            if (span_count < self->leases) {
                spans[span_count++] = self->span;
            }
        }
    }
    BELAY_END;
}

struct share {
    const char *folder;
    uint32_t slots;
    uint32_t leases;
    /* locals */
    belay_gpu_pool *pool;
    belay_group *group;
};

BELAY_ASYNC(share)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "cuda", .slots = self->slots,
            .exclusive = true, .lock_folder = self->folder),
        &self->pool)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (int i = 0; i < TASKS; i++) {
                BELAY_CHECK(belay_spawn(self->group, user, .pool = self->pool,
                    .leases = self->leases));
            }
        }
    }
    BELAY_END;
}

/* The folder, how many slots a device has, how many leases. */
int
check_share(int argc, char **argv)
{
    struct share arguments = {.slots = 0};
    int code;

    if (argc != 3) {
        return 2;
    }
    arguments.folder = argv[0];
    arguments.slots = (uint32_t)strtoul(argv[1], NULL, 10);
    arguments.leases = (uint32_t)strtoul(argv[2], NULL, 10);
    if (arguments.leases > LEASES_MAX) {
        return 2;
    }
    code = belay_run(&share, &arguments, NULL, NULL);
    if (code < 0) {
        (void)printf("{\"error\": \"%s\"}\n", belay_code_text(code));
        return 1;
    }
    (void)printf("{\"leases\": [");
    for (uint32_t i = 0; i < span_count; i++) {
        (void)printf("%s[%u, %.1f, %.1f]", i > 0 ? ", " : "", spans[i].slot,
            spans[i].begin_us, spans[i].end_us);
    }
    (void)printf("]}\n");
    return 0;
}
