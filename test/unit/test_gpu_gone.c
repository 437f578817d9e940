/* test_gpu_gone.c - the pool that an operation was given is gone at its first
 * step.
 *
 * The user's turn ends behind any of the operation's steps, the one that makes
 * it included; then the owner leaves the pool in one turn of its own.
 */
#include <belay/gpu.h>

#include "test/support/program.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define STEPS 61

TestSuite(gpu_gone, .fini = check_clean, .timeout = 60);

struct scene;
typedef belay_next operation_fn(belay_task *task, struct scene *scene);

struct scene {
    operation_fn *fn;
    bool block;
    int burn;
    belay_gpu_pool *pool;
    bool opened;
    bool called;
    belay_group *group;
    belay_gpu_lease lease;
    uint64_t leaked;
    int code;
};

static belay_next
lease_open(belay_task *task, struct scene *scene)
{
    return belay_gpu_lease_open(task, scene->pool, NULL, &scene->lease);
}

static belay_next
limited_open(belay_task *task, struct scene *scene)
{
    return belay_gpu_lease_open(task, scene->pool,
        BELAY_GPU_LEASE_OPTS(.max_hold = belay_seconds(1)), &scene->lease);
}

static belay_next
acquire(belay_task *task, struct scene *scene)
{
    return belay_gpu_acquire(task, scene->pool, NULL, &scene->lease);
}

static belay_next
close_pool(belay_task *task, struct scene *scene)
{
    return belay_gpu_pool_close(task, scene->pool, &scene->leaked);
}

static belay_next
drain(belay_task *task, struct scene *scene)
{
    return belay_gpu_pool_drain(task, scene->pool);
}

static const struct {
    const char *name;
    operation_fn *fn;
    bool block;
} operations[] = {
    {"lease open", lease_open, true},
    {"limited lease open", limited_open, true},
    {"acquire", acquire, false},
    {"close", close_pool, false},
    {"drain", drain, false},
};

struct nop {
    int unused;
};

BELAY_ASYNC(nop)
{
    (void)self;
    BELAY_BEGIN;
    BELAY_END;
}

struct use {
    struct scene *scene;
    int i;
};

BELAY_ASYNC(use)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    while (!scene->opened) {
        BELAY_AWAIT(belay_checkpoint(task));
    }
    for (; self->i < scene->burn; self->i++) {
        BELAY_AWAIT(BELAY_CALL(nop, .unused = 0));
    }
    scene->called = true;
    if (!scene->block) {
        BELAY_AWAIT(scene->fn(task, scene));
        BELAY_RETURN(NULL);
    }
    BELAY_WITH (scene->fn(task, scene)) {
    }
    BELAY_END;
}

struct user {
    struct scene *scene;
};

BELAY_ASYNC(user)
{
    BELAY_BEGIN;
    BELAY_TRY(BELAY_CALL(use, .scene = self->scene));
    self->scene->code = belay_result(task)->code;
    if (!self->scene->block) {
        (void)belay_gpu_release(self->scene->lease); /* if there is one */
    }
    BELAY_END;
}

struct owner {
    struct scene *scene;
};

BELAY_ASYNC(owner)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &scene->pool)) {
        scene->opened = true;
        while (!scene->called) {
            BELAY_AWAIT(belay_checkpoint(task));
        }
    }
    BELAY_END;
}

struct going {
    struct scene *scene;
};

BELAY_ASYNC(going)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &scene->group)) {
        BELAY_CHECK(belay_spawn(scene->group, user, .scene = scene));
        BELAY_CHECK(belay_spawn(scene->group, owner, .scene = scene));
    }
    BELAY_END;
}

/* True: it came too late. */
static bool
run_gone(size_t i, uint32_t step_budget, int burn)
{
    struct scene scene = {
        .fn = operations[i].fn, .block = operations[i].block, .burn = burn};

    cr_expect(zero(int, belay_run(&going, &(const struct going){&scene},
                            BELAY_RUNTIME_OPTS(.step_budget = step_budget,
                                .allocator = &test_allocator),
                            NULL)));
    cr_expect(scene.code == 0 || scene.code == BELAY_GPU_ECLOSED,
        "%s behind %d steps: %d", operations[i].name, 2 * burn, scene.code);
    return scene.code == BELAY_GPU_ECLOSED;
}

Test(gpu_gone, g32_a_pool_that_is_left_between_any_two_steps)
{
    for (size_t i = 0; i < COUNT(operations); i++) {
        int late = 0;

        for (int burn = 0; burn < STEPS; burn++) {
            late += run_gone(i, STEPS, burn);
            late += run_gone(i, STEPS + 1, burn);
        }
        cr_expect(gt(int, late, 0), "%s", operations[i].name);
    }
}
