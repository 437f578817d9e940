/* cancel.c - R6, through the pool: how long a cancelled kernel keeps its slot.
 *
 * One slot. A task runs a kernel there, another waits for the slot, the first
 * is cancelled. The slot must not be the second's before the kernel has ended:
 * one that is deaf to the stop word counts to its end first, one that listens
 * ends at once.
 */
#include "bench/gpu/raw.h"

#include <belay/belay.h>
#include <belay/gpu_work.h>
#include <stdio.h>

#include "gpu/kernels.h"

enum { KERNEL_MS = 200, CANCEL_MS = 50 };

struct counting {
    belay_gpu_pool *pool;
    uint64_t rounds;
    bool is_deaf;
    double *ret_began_us;
    /* locals */
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
    belay_gpu_buffer done;
    struct belay_gpu_arg args[4];
};

BELAY_ASYNC(counting)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool,
        BELAY_GPU_LEASE_OPTS(.bytes = 1 << 20), &self->lease)) {
        BELAY_AWAIT(belay_gpu_build(
            task, self->lease, &belay__gpu_spin, &self->kernel));
        BELAY_AWAIT(belay_gpu_alloc(task, self->lease, 8, &self->done));
        self->args[0] = belay_gpu_arg_stop();
        /* It ends once the stop word has come to this. */
        self->args[1] = self->is_deaf ? belay_gpu_arg_u64(UINT64_MAX)
                                      : belay_gpu_arg_sequence();
        self->args[2] = belay_gpu_arg_u64(self->rounds);
        self->args[3] = belay_gpu_arg_buffer(self->done);
        *self->ret_began_us = now_us();
        BELAY_AWAIT(belay_gpu_run_one(task, self->lease,
            BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, self->args, 4)));
    }
    BELAY_END;
}

struct waiting {
    belay_gpu_pool *pool;
    double *ret_granted_us;
    /* locals */
    belay_gpu_lease lease;
};

BELAY_ASYNC(waiting)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool,
        BELAY_GPU_LEASE_OPTS(.bytes = 1 << 20), &self->lease)) {
        *self->ret_granted_us = now_us();
    }
    BELAY_END;
}

/* One kernel, cancelled, and the task that has waited for its slot. */
struct cancelled {
    belay_gpu_pool *pool;
    uint64_t rounds;
    bool is_deaf;
    double *ret_began_us;
    double *ret_cancel_us;
    double *ret_granted_us;
    /* locals */
    belay_group *waiters;
    belay_group *counters;
};

BELAY_ASYNC(cancelled)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->waiters)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->counters)) {
            BELAY_CHECK(belay_spawn(self->counters, counting,
                .pool = self->pool, .rounds = self->rounds,
                .is_deaf = self->is_deaf, .ret_began_us = self->ret_began_us));
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(CANCEL_MS)));
            BELAY_CHECK(belay_spawn(self->waiters, waiting, .pool = self->pool,
                .ret_granted_us = self->ret_granted_us));
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
            *self->ret_cancel_us = now_us();
            belay_group_cancel(self->counters, "R6");
        }
    }
    BELAY_END;
}

struct cancels {
    uint64_t rounds;
    /* locals */
    belay_gpu_pool *pool;
    int i;
    double began_us;
    double kernel_us; /* of the same kernel left alone, with its lease's end */
    double cancel_us[2];
    double granted_us[2];
    double deaf_us; /* from its launch to the slot's next grant */
};

BELAY_ASYNC(cancels)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "cuda", .slots = 1), &self->pool)) {
        /* The first warms the device up; the time is the second's. */
        for (self->i = 0; self->i < 2; self->i++) {
            BELAY_AWAIT(BELAY_CALL(counting, .pool = self->pool,
                .rounds = self->rounds, .ret_began_us = &self->began_us));
            self->kernel_us = now_us() - self->began_us;
        }
        BELAY_AWAIT(
            BELAY_CALL(cancelled, .pool = self->pool, .rounds = self->rounds,
                .is_deaf = true, .ret_began_us = &self->began_us,
                .ret_cancel_us = &self->cancel_us[0],
                .ret_granted_us = &self->granted_us[0]));
        self->deaf_us = self->granted_us[0] - self->began_us;
        BELAY_AWAIT(BELAY_CALL(cancelled, .pool = self->pool,
            .rounds = self->rounds, .ret_began_us = &self->began_us,
            .ret_cancel_us = &self->cancel_us[1],
            .ret_granted_us = &self->granted_us[1]));
    }
    (void)printf("{\"kernel_us\": %.0f, \"deaf_granted_after_us\": %.0f, "
                 "\"listening_granted_after_cancel_us\": %.0f}\n",
        self->kernel_us, self->deaf_us,
        self->granted_us[1] - self->cancel_us[1]);
    BELAY_END;
}

int
check_cancel(int argc, char **argv)
{
    struct cancels arguments = {.rounds = 0};
    struct raw raw;
    int code;

    (void)argv;
    if (argc != 0) {
        return 2;
    }
    raw_open(&raw);
    arguments.rounds = raw_rounds(&raw, KERNEL_MS * 1e3);
    raw_close(&raw);
    code = belay_run(&cancels, &arguments, NULL, NULL);
    if (code < 0) {
        (void)printf("{\"error\": \"%s\"}\n", belay_code_text(code));
    }
    return code < 0;
}
