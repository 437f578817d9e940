/* gpu_pool_demo.c - five tasks share two GPU slots, and one is cancelled.
 *
 * Shows: a pool, leases, a kernel. Devices and time are simulated.
 */
#include <belay/belay.h>
#include <belay/gpu_work.h>

#include <stdio.h>

static void
square(const struct belay_gpu_sim_call *call)
{
    const uint32_t *number = call->args[0].data;

    *(uint32_t *)call->args[1].data = *number * *number;
}

struct worker {
    belay_gpu_pool *pool;
    uint32_t number;
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
    belay_gpu_buffer result;
    struct belay_gpu_arg args[2];
};

BELAY_ASYNC(worker)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
        printf("%u begins\n", self->number);
        BELAY_AWAIT(belay_gpu_build(task, self->lease,
            BELAY_GPU_SOURCE(.entry = "square", .sim = square), &self->kernel));
        BELAY_AWAIT(belay_gpu_alloc(task, self->lease, 4, &self->result));
        self->args[0] = belay_gpu_arg_u32(self->number);
        self->args[1] = belay_gpu_arg_buffer(self->result);
        BELAY_AWAIT(belay_gpu_run_one(task, self->lease,
            BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, self->args, 2)));
        BELAY_AWAIT(belay_gpu_run_one(task, self->lease,
            BELAY_GPU_CMD_READ(self->result, 0, &self->number, 4)));
        printf("... and has %u\n", self->number);
    }
    BELAY_END;
}

struct demo {
    belay_gpu_pool *pool;
    belay_group *group;
};

BELAY_ASYNC(demo)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "sim:devices=2,launch=300ms"),
        &self->pool)) {
        BELAY_WITH (belay_move_on(task, belay_milliseconds(700), NULL)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                for (uint32_t i = 1; i <= 5; i++) {
                    BELAY_CHECK(belay_spawn(
                        self->group, worker, .pool = self->pool, .number = i));
                }
            }
        }
        printf("700 ms are over: nobody holds a slot\n");
    }
    BELAY_END;
}

int
main(void)
{
    belay_clock *clock = belay_clock_new(true); /* time is not waited for */
    const int code = belay_run(&demo, &(const struct demo){.group = NULL},
        BELAY_RUNTIME_OPTS(.clock = clock), NULL);

    belay_clock_free(clock);
    return code < 0;
}
