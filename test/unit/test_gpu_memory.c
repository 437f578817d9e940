/* test_gpu_memory.c - memory of a lease, and no more than it has: G20, G21. */
#include "test/support/gpu_bench.h"

TestSuite(
    gpu_memory, .init = gpu_may_be_lost, .fini = check_clean, .timeout = 60);

BODY(too_much)
{
    struct bench *b = self->b;

    BELAY_BEGIN;
    BELAY_TRY(belay_gpu_alloc(task, b->lease, 1025, &b->buffer));
    cr_expect(eq(int, belay_result(task)->code, BELAY_GPU_ENOMEM));
    BELAY_TRY(belay_gpu_alloc(task, b->lease, UINT64_MAX, &b->buffer));
    cr_expect(eq(int, belay_result(task)->code, BELAY_GPU_ENOMEM));
    cr_expect(zero(u64, b->lease.slot->seq)); /* nothing was asked of it */
    BELAY_AWAIT(belay_gpu_alloc(task, b->lease, 1000, &b->buffer));
    BELAY_TRY(belay_gpu_alloc(task, b->lease, 25, &b->other));
    cr_expect(eq(int, belay_result(task)->code, BELAY_GPU_ENOMEM));
    BELAY_CHECK(belay_gpu_free(b->buffer));
    BELAY_AWAIT(belay_gpu_alloc(task, b->lease, 1024, &b->other));
    cr_expect(eq(int, belay_gpu_free(b->buffer), BELAY_GPU_ESTALE));
    BELAY_END;
}

Test(gpu_memory, g20_more_than_the_lease_has_never_reaches_the_driver)
{
    cr_expect(zero(
        int, RUN_BODY(too_much, "sim:mem=1M", .lease_opts = {.bytes = 1024})));
    expect_trace("free 1");
}

BODY(driver_full)
{
    struct bench *b = self->b;

    BELAY_BEGIN;
    BELAY_TRY(belay_gpu_alloc(task, b->lease, 16, &b->buffer));
    cr_expect(eq(int, belay_result(task)->code, BELAY_GPU_ENOMEM));
    cr_expect(zero(u64, b->lease.slot->used));
    BELAY_AWAIT(belay_gpu_alloc(task, b->lease, 16, &b->buffer));
    BELAY_END;
}

Test(gpu_memory, g20_the_driver_may_have_none)
{
    cr_expect(
        zero(int, RUN_BODY(driver_full, "sim:fault=alloc@0:1", .pool = NULL)));
}

struct drift {
    uint32_t rounds;
    struct bench bench;
    uint32_t round;
};

BODY(some_memory)
{
    struct bench *b = self->b;

    BELAY_BEGIN;
    BELAY_TRY(belay_gpu_alloc(task, b->lease, 700, &b->buffer));
    BELAY_TRY(belay_gpu_alloc(task, b->lease, 300, &b->other));
    if (belay_result(task)->code == 0) {
        BELAY_TRY(belay_gpu_run_one(
            task, b->lease, BELAY_GPU_CMD_FILL(b->other, 0, 1, 300)));
    }
    BELAY_END;
}

BELAY_ASYNC(drift)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(
                .devices =
                    "sim:mem=4096,slots=1,launch=1us,p_op=0.3,"
                    "fault=alloc@0:5,fault=alloc@0:100,fault=alloc@0:101",
            .scrub = true),
        &self->bench.pool)) {
        gpu_oracle_watch(self->bench.pool, false);
        for (self->round = 0; self->round < self->rounds; self->round++) {
            BELAY_TRY(
                BELAY_CALL(in_lease, .b = &self->bench, .body = &some_memory));
            cr_assert(zero(u64, self->bench.pool->devices[0].leased));
            cr_assert(zero(u64, self->bench.pool->slots[0].used));
        }
    }
    BELAY_END;
}

Test(gpu_memory, g21_after_ten_thousand_leases_nothing_has_drifted)
{
    cr_expect(zero(int, RUN(drift, .rounds = 6)));
    program_unswept = true; /* as often to fail at, in the same places */
    cr_expect(zero(int, RUN(drift, .rounds = 10000)));
}
