/* test_gpu_gone.c - the pool that an operation was given is gone at its first
 * step.
 */
#include <belay/gpu.h>

#include "test/support/gone_scene.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

TestSuite(gpu_gone, .fini = check_clean, .timeout = 60);

static struct {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    uint64_t leaked;
} scene;

static belay_next
lease_open(belay_task *task)
{
    return belay_gpu_lease_open(task, scene.pool, NULL, &scene.lease);
}

static belay_next
limited_open(belay_task *task)
{
    return belay_gpu_lease_open(task, scene.pool,
        BELAY_GPU_LEASE_OPTS(.max_hold = belay_seconds(1)), &scene.lease);
}

static belay_next
acquire(belay_task *task)
{
    return belay_gpu_acquire(task, scene.pool, NULL, &scene.lease);
}

static belay_next
close_pool(belay_task *task)
{
    return belay_gpu_pool_close(task, scene.pool, &scene.leaked);
}

static belay_next
drain(belay_task *task)
{
    return belay_gpu_pool_drain(task, scene.pool);
}

static const struct gone_operation operations[] = {
    {"lease open", lease_open, 0, true},
    {"limited lease open", limited_open, 0, true},
    {"acquire", acquire, 0, false},
    {"close", close_pool, 0, false},
    {"drain", drain, 0, false},
};

struct own {
    int unused;
};

BELAY_ASYNC(own)
{
    (void)self;
    BELAY_BEGIN;
    memset(&scene, 0, sizeof(scene));
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &scene.pool)) {
        GONE_AWAIT_CALL
    }
    BELAY_END;
}

static void
give_back(bool block)
{
    if (!block) {
        (void)belay_gpu_release(scene.lease); /* if there is one */
    }
}

Test(gpu_gone, g32_a_pool_that_is_left_between_any_two_steps)
{
    expect_gone(&(const struct gone_scene){.owner = &own,
        .steps = 61,
        .closed = BELAY_GPU_ECLOSED,
        .give_back = give_back,
        .operations = operations,
        .count = COUNT(operations)});
}
