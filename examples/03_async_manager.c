/* 03_async_manager.c - a GPU with memory on it, as a manager of one's own.
 *
 * Shows: an async manager in generator style. What is around the yield is
 * entered and left in order, each may wait, and who uses it sees one scope.
 */
#include <belay/belay.h>
#include <belay/gpu_work.h>

#include <stdio.h>

struct workspace {
    belay_gpu_pool *pool;
    const char *owner;
    uint64_t bytes;
    belay_gpu_lease lease;
    belay_gpu_buffer memory;
};

BELAY_MANAGER(workspace)
{
    BELAY_BEGIN;
    printf("%s waits for a GPU\n", self->owner);
    BELAY_WITH (belay_gpu_lease_open(task, self->pool,
        BELAY_GPU_LEASE_OPTS(.bytes = self->bytes), &self->lease)) {
        BELAY_AWAIT(
            belay_gpu_alloc(task, self->lease, self->bytes, &self->memory));
        printf("%s has %u MiB on it\n", self->owner,
            (unsigned)(self->bytes >> 20));
        BELAY_TRY_YIELD(self);
        printf("%s is done: %s\n", self->owner,
            belay_code_text(belay_result(task)->code));
    } /* here the device has let go, and the memory is free */
    BELAY_END;
}

struct user {
    belay_gpu_pool *pool;
    const char *name;
    bool clumsy;
    struct workspace *space;
};

BELAY_ASYNC(user)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(workspace, .pool = self->pool, .owner = self->name,
        .bytes = UINT64_C(64) << 20)) {
        self->space = belay_result(task)->value;
        BELAY_AWAIT(belay_gpu_run_one(task, self->space->lease,
            BELAY_GPU_CMD_FILL(self->space->memory, 0, 1, self->space->bytes)));
        if (self->clumsy) {
            BELAY_FAIL(BELAY_EINVAL, "%s has slipped", self->name);
        }
    }
    BELAY_END;
}

struct program {
    belay_gpu_pool *pool;
};

BELAY_ASYNC(program)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim:mem=64M"), &self->pool)) {
        /* One slips; the other finds the memory free all the same. */
        BELAY_TRY(BELAY_CALL(
            user, .pool = self->pool, .name = "Ann", .clumsy = true));
        BELAY_AWAIT(BELAY_CALL(user, .pool = self->pool, .name = "Bob"));
    }
    BELAY_END;
}

int
main(void)
{
    return belay_run(&program, &(const struct program){NULL}, NULL, NULL) < 0;
}
