/* test_gpu_faults.c - devices that fail: G19, G27, G29, and absence, G44. */
#include <string.h>

#include "gpu/internal.h"
#include "test/support/gpu_crowd.h"

TestSuite(
    gpu_faults, .init = gpu_may_be_lost, .fini = check_clean, .timeout = 60);

/* ---- loss ---- */

/* Tasks that work for ever on whatever they get; one device is lost. */
struct mob {
    uint32_t tasks;
    const char *devices;
    belay_gpu_pool *pool;
    belay_group *group;
    uint32_t done;
    uint32_t lost;
    uint32_t refused;
    uint64_t grants_there; /* on the lost device, when it was lost */
};

struct worker {
    struct mob *mob;
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
};

BELAY_ASYNC(worker)
{
    BELAY_BEGIN;
    BELAY_WITH (
        belay_gpu_lease_open(task, self->mob->pool, NULL, &self->lease)) {
        BELAY_AWAIT(belay_gpu_build(
            task, self->lease, BELAY_GPU_SOURCE(.entry = "k"), &self->kernel));
        BELAY_AWAIT(belay_gpu_run_one(task, self->lease,
            BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, NULL, 0)));
        BELAY_AWAIT(belay_gpu_run_one(task, self->lease,
            BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, NULL, 0)));
    }
    BELAY_END;
}

struct counted {
    struct mob *mob;
};

BELAY_ASYNC(counted)
{
    BELAY_BEGIN;
    BELAY_TRY(BELAY_CALL(worker, .mob = self->mob));
    if (belay_result(task)->code == 0) {
        self->mob->done++;
    } else if (belay_result(task)->code == BELAY_GPU_ELOST) {
        self->mob->lost++;
    } else {
        self->mob->refused++;
    }
    BELAY_END;
}

BELAY_ASYNC(mob)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = self->devices), &self->pool)) {
        gpu_oracle_watch(self->pool, false);
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (uint32_t i = 0; i < self->tasks; i++) {
                BELAY_CHECK(belay_spawn(self->group, counted, .mob = self));
            }
        }
        trace(
            "%u %u %u", self->done + self->lost, self->lost > 0, self->refused);
        trace("%llu in service", (unsigned long long)__builtin_popcountll(
                                     self->pool->devices[2].usable_slots));
        trace("%u grants there after it",
            (uint32_t)(self->pool->slots[4].leases
                       + self->pool->slots[5].leases)
                > self->lost + 40);
    }
    BELAY_END;
}

Test(gpu_faults, g27_a_lost_device_takes_its_work_and_nothing_else)
{
    cr_expect(zero(int,
        RUN(mob, .tasks = 20,
            .devices = "sim:devices=4,slots=2,launch=1ms,fault=lost@2:2")));
    cr_expect(eq(int, strncmp(trace_text(), "20 1 0; 0 in service;", 21), 0));
    trace_clear();
    program_unswept = true; /* no other places to fail at, but thousands */
    cr_expect(zero(int,
        RUN(mob, .tasks = 1000,
            .devices = "sim:devices=4,slots=2,launch=1ms,fault=lost@2:50")));
    expect_trace("1000 1 0; 0 in service; 0 grants there after it");
}

/* The last device is lost under those who wait. */
Test(gpu_faults, g27_who_can_never_be_served_is_told_so)
{
    struct belay_result result;

    (void)RUN_RESULT(&result, mob, .tasks = 20,
        .devices = "sim:devices=3,slots=2,launch=1ms,fault=lost@0:1,"
                   "fault=lost@1:1,fault=lost@2:1");
    cr_expect(
        eq(int, strncmp(trace_text(), "20 1 0;", 7), 0), "%s", trace_text());
    belay_error_unref(result.error);
}

/* ---- recovery ---- */

struct patient {
    const char *devices;
    uint32_t max_resets;
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
    int64_t lost_ns;
    int64_t back_ns;
};

BELAY_ASYNC(patient)
{
    struct belay_gpu_slot_stats stats = {.size = sizeof(stats)};

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = self->devices,
            .max_resets = self->max_resets),
        &self->pool)) {
        gpu_oracle_watch(self->pool, false);
        BELAY_AWAIT(belay_gpu_acquire(task, self->pool, NULL, &self->lease));
        BELAY_AWAIT(belay_gpu_build(
            task, self->lease, BELAY_GPU_SOURCE(.entry = "k"), &self->kernel));
        BELAY_TRY(belay_gpu_run_one(task, self->lease,
            BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, NULL, 0)));
        trace("%s", trace_result(belay_result(task)));
        BELAY_TRY(belay_gpu_run_one(task, self->lease,
            BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, NULL, 0)));
        trace("%s", trace_result(belay_result(task)));
        self->lost_ns = belay_now(task).ns;
        BELAY_CHECK(belay_gpu_release(self->lease));
        BELAY_TRY(belay_gpu_acquire(task, self->pool, NULL, &self->lease));
        trace("%s after %lld us", trace_result(belay_result(task)),
            (long long)((belay_now(task).ns - self->lost_ns) / 1000));
        if (belay_result(task)->code == 0) {
            BELAY_TRY(belay_gpu_run_one(task, self->lease,
                BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, NULL, 0)));
            trace("old kernel %s", trace_result(belay_result(task)));
            BELAY_AWAIT(belay_gpu_build(task, self->lease,
                BELAY_GPU_SOURCE(.entry = "k"), &self->kernel));
            BELAY_AWAIT(belay_gpu_run_one(task, self->lease,
                BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, NULL, 0)));
            BELAY_CHECK(belay_gpu_release(self->lease));
        }
        BELAY_CHECK(belay_gpu_pool_slot(self->pool, 0, &stats));
        trace("quarantined %lld us, %u resets",
            (long long)(stats.spent[BELAY_GPU_SLOT_QUARANTINED].ns / 1000),
            (unsigned)stats.resets);
    }
    BELAY_END;
}

Test(gpu_faults, g29_two_resets_fail_the_third_works)
{
    /* 1 s, reset of 10 us, 2 s, reset, 4 s, reset, three times health. */
    cr_expect(zero(int,
        RUN(patient,
            .devices = "sim:launch=10us,fault=sticky@0:1,fault=reset@0:2")));
    expect_trace("GPU_ELOST; GPU_ELOST; ok after 7000060 us; "
                 "old kernel GPU_ESTALE; quarantined 7000060 us, 3 resets");
}

Test(gpu_faults, g29_after_max_resets_it_is_given_up)
{
    cr_expect(zero(int,
        RUN(patient, .max_resets = 2,
            .devices = "sim:launch=10us,fault=sticky@0:1,fault=reset@0:9")));
    expect_trace("GPU_ELOST; GPU_ELOST; GPU_ELOST after 3000020 us; "
                 "quarantined 3000020 us, 2 resets");
}

/* ---- opening ---- */

struct opener {
    const char *devices;
    uint64_t bytes;
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_lease second;
    belay_gpu_buffer buffer;
};

BELAY_ASYNC(opener)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = self->devices), &self->pool)) {
        gpu_oracle_watch(self->pool, false);
        BELAY_AWAIT(belay_gpu_acquire(task, self->pool, NULL, &self->lease));
        BELAY_TRY(belay_gpu_alloc(task, self->lease, 16, &self->buffer));
        trace("%s", trace_result(belay_result(task)));
        BELAY_CHECK(belay_gpu_release(self->lease));
        BELAY_AWAIT(belay_gpu_acquire(task, self->pool, NULL, &self->lease));
        BELAY_TRY(belay_gpu_alloc(task, self->lease, 16, &self->buffer));
        trace("%s", trace_result(belay_result(task)));
        BELAY_CHECK(belay_gpu_release(self->lease));
    }
    BELAY_END;
}

Test(gpu_faults, a_slot_that_cannot_be_opened_is_tried_again)
{
    cr_expect(zero(int, RUN(opener, .devices = "sim:fault=open@0:1")));
    expect_trace("GPU_ELOST; ok");
}

struct wide {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_buffer buffer;
};

BELAY_ASYNC(wide)
{
    struct belay_gpu_device device = {.size = sizeof(device)};

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "sim:mem=1000K,context=100K,slots=2"),
        &self->pool)) {
        gpu_oracle_watch(self->pool, true);
        BELAY_CHECK(belay_gpu_pool_device(self->pool, 0, &device));
        trace("%llu", (unsigned long long)(device.lease_bytes / 1024));
        BELAY_TRY(belay_gpu_acquire(task, self->pool,
            BELAY_GPU_LEASE_OPTS(.bytes = 901 * 1024), &self->lease));
        trace("%s", trace_result(belay_result(task)));
        BELAY_AWAIT(belay_gpu_acquire(task, self->pool,
            BELAY_GPU_LEASE_OPTS(.bytes = 900 * 1024), &self->lease));
        BELAY_AWAIT(
            belay_gpu_alloc(task, self->lease, 900 * 1024, &self->buffer));
        BELAY_CHECK(belay_gpu_release(self->lease));
    }
    BELAY_END;
}

Test(gpu_faults, g19_the_drivers_own_memory_is_not_leased)
{
    cr_expect(zero(int, RUN(wide, .pool = NULL)));
    expect_trace("900; GPU_EUNSAT");
}

/* ---- what there is ---- */

struct list {
    const char *devices;
    uint32_t room;
    struct belay_gpu_device found[4];
    uint32_t count;
    char note[512];
};

BELAY_ASYNC(list)
{
    BELAY_BEGIN;
    for (int i = 0; i < 4; i++) {
        self->found[i].size = sizeof(self->found[i]);
    }
    BELAY_AWAIT(belay_gpu_list(task, self->devices, self->found, self->room,
        &self->count, self->note, sizeof(self->note)));
    trace("%u %s %s %s", self->count, self->found[0].backend,
        self->found[0].name, self->found[self->room - 1].name);
    BELAY_END;
}

Test(gpu_faults, devices_can_be_listed_without_a_pool)
{
    cr_expect(zero(int, RUN(list, .devices = "sim:devices=3", .room = 2)));
    expect_trace("3 sim sim 0 sim 1");
    cr_expect(
        eq(int, RUN(list, .devices = "nonsense", .room = 2), BELAY_EINVAL));
}
