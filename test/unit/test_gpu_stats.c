/* test_gpu_stats.c - figures and events: G34, G35. */
#include <string.h>

#include "gpu/internal.h"
#include "test/support/gpu_crowd.h"

TestSuite(gpu_stats, .fini = check_clean, .timeout = 60);

static struct belay_gpu_pool_stats
stats_of(const belay_gpu_pool *pool)
{
    struct belay_gpu_pool_stats stats = {.size = sizeof(stats)};

    cr_assert(zero(int, belay_gpu_pool_get_stats(pool, &stats)));
    return stats;
}

/* ---- G34 ---- */

static void
check_counters(belay_gpu_pool *pool)
{
    const struct belay_gpu_pool_stats stats = stats_of(pool);
    const struct belay_gpu_priority_stats *low = &stats.priorities[0];
    struct belay_gpu_slot_stats slot = {.size = sizeof(slot)};
    int64_t sum = 0;

    cr_expect(eq(u64, stats.grants, 3));
    cr_expect(eq(u64, low->immediate, 1));
    cr_expect(eq(u64, low->waited, 1));
    cr_expect(eq(u64, low->cancelled, 1));
    cr_expect(eq(u64, low->timed_out, 1));
    cr_expect(eq(u64, low->refused, 1));
    cr_expect(eq(u64, low->requests, 5));
    cr_expect(eq(u64, stats.priorities[2].waited, 1));
    cr_expect(eq(u64, stats.tries_failed, 1));
    cr_expect(eq(i64, low->wait_max.ns, 17000000));
    /* 17 ms is between 2^24 and 2^25 ns. */
    cr_expect(eq(u64, low->wait_buckets[25], 1));
    cr_expect(
        eq(i64, belay_gpu_wait_quantile(low, 0.5).ns, (INT64_C(1) << 25) - 1));
    cr_expect(zero(i64, belay_gpu_wait_quantile(&stats.priorities[7], 1).ns));
    cr_assert(zero(int, belay_gpu_pool_slot(pool, 0, &slot)));
    cr_expect(eq(i64, slot.spent[BELAY_GPU_SLOT_HELD].ns, 31000000));
    for (int i = 0; i < BELAY_GPU_SLOT_TIMES; i++) {
        sum += slot.spent[i].ns;
    }
    cr_expect(eq(i64, sum, stats.now.ns - stats.opened.ns));
    cr_expect(eq(u64, slot.leases, 3));
    slot.size = 1;
    cr_expect(eq(int, belay_gpu_pool_slot(pool, 0, &slot), BELAY_EINVAL));
    slot.size = sizeof(slot);
    cr_expect(eq(int, belay_gpu_pool_slot(pool, 1, &slot), BELAY_ENOENT));
}

Test(gpu_stats, g34_every_request_is_counted_once)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 20},
        {.name = "c", .at_ms = 1, .cancel_ms = 5},
        {.name = "t", .at_ms = 2, .timeout_ms = 5},
        {.name = "big", .at_ms = 3, .bytes = UINT64_C(1) << 40},
        {.name = "w", .at_ms = 4, .hold_ms = 10},
        {.name = "p", .at_ms = 5, .hold_ms = 1, .priority = 2},
        {.name = "try", .at_ms = 10, .no_wait = true},
    };

    cr_expect(zero(
        int, CROWD(jobs, .opts = {.devices = "sim"}, .after = check_counters)));
}

/* ---- G35 ---- */

/* The figures, rebuilt from nothing but the events. */
struct replay {
    uint64_t grants;
    uint64_t leases;
    uint64_t waiting;
    uint64_t ops_done;
    uint64_t ops_failed;
    uint64_t ops_dropped;
    uint64_t tries_failed;
    uint64_t resets;
    struct belay_gpu_priority_stats priorities[BELAY_GPU_PRIORITIES];
    int64_t spent[64][BELAY_GPU_SLOT_TIMES];
    int64_t since[64];
    uint8_t state[64];
};

#define WAITING_MAX 512

static struct {
    uint64_t number[WAITING_MAX];
    uint32_t count;
} waiting;

static bool
forget_waiting(uint64_t number)
{
    for (uint32_t i = 0; i < waiting.count; i++) {
        if (waiting.number[i] == number) {
            waiting.number[i] = waiting.number[--waiting.count];
            return true;
        }
    }
    return false;
}

static void
enter_state(struct replay *replay, uint16_t slot, uint64_t state, int64_t now)
{
    const uint8_t before = replay->state[slot];

    replay->spent[slot][before < 4 ? before : 4] += now - replay->since[slot];
    replay->since[slot] = now;
    replay->state[slot] = (uint8_t)state;
}

static void
replay_grant(struct replay *replay, const struct belay_gpu_event *event)
{
    struct belay_gpu_priority_stats *of = &replay->priorities[event->priority];
    static uint64_t last;
    uint32_t bucket = 0;

    enter_state(replay, event->slot, BELAY_GPU_SLOT_HELD, event->time.ns);
    if (last == event->lease) {
        return; /* a member of the same */
    }
    last = event->lease;
    replay->grants++;
    if (!forget_waiting(event->lease)) {
        of->immediate++;
        return;
    }
    of->waited++;
    while (event->detail >> bucket != 0) {
        bucket++;
    }
    of->wait_buckets[bucket]++;
    if ((int64_t)event->detail > of->wait_max.ns) {
        of->wait_max.ns = (int64_t)event->detail;
    }
}

static void
replay_event(struct replay *replay, const struct belay_gpu_event *event)
{
    struct belay_gpu_priority_stats *of = &replay->priorities[event->priority];
    const int code = -(int)event->detail;

    switch ((enum belay_gpu_event_kind)event->kind) {
    case BELAY_GPU_EVENT_REQUEST:
        of->requests++;
        break;
    case BELAY_GPU_EVENT_WAIT:
        cr_assert(lt(u32, waiting.count, WAITING_MAX));
        waiting.number[waiting.count++] = event->lease;
        break;
    case BELAY_GPU_EVENT_GRANT:
        replay_grant(replay, event);
        break;
    case BELAY_GPU_EVENT_NO_GRANT:
        (void)forget_waiting(event->lease);
        of->cancelled += code == BELAY_ECANCELED;
        of->timed_out += code == BELAY_ETIMEDOUT;
        of->refused += code != BELAY_ECANCELED && code != BELAY_ETIMEDOUT;
        break;
    case BELAY_GPU_EVENT_TRY_FAILED:
        replay->tries_failed++;
        break;
    case BELAY_GPU_EVENT_OVERTAKE:
        of->overtaken++;
        break;
    case BELAY_GPU_EVENT_SLOT:
        enter_state(replay, event->slot, event->detail, event->time.ns);
        break;
    case BELAY_GPU_EVENT_OP_END:
        replay->ops_done += code == 0;
        replay->ops_dropped += code == BELAY_GPU_ECANCELED;
        replay->ops_failed += code < 0 && code != BELAY_GPU_ECANCELED;
        break;
    case BELAY_GPU_EVENT_RESET:
        replay->resets++;
        break;
    case BELAY_GPU_EVENT_RESERVE:
    case BELAY_GPU_EVENT_UNRESERVE:
    case BELAY_GPU_EVENT_OP_BEGIN:
    case BELAY_GPU_EVENT_LEAK:
    case BELAY_GPU_EVENT_CLOSE:
        break;
    }
}

static void
compare_slots(const belay_gpu_pool *pool, struct replay *replay, int64_t now)
{
    struct belay_gpu_slot_stats slot = {.size = sizeof(slot)};

    for (uint32_t i = 0; i < pool->slot_count; i++) {
        enter_state(replay, (uint16_t)i, replay->state[i], now);
        cr_assert(zero(int, belay_gpu_pool_slot(pool, i, &slot)));
        for (int t = 0; t < BELAY_GPU_SLOT_TIMES; t++) {
            cr_expect(eq(i64, slot.spent[t].ns, replay->spent[i][t]),
                "slot %u, state %d", i, t);
        }
    }
}

static void
check_replay(belay_gpu_pool *pool)
{
    static struct replay replay;
    const struct belay_gpu_pool_stats stats = stats_of(pool);
    struct belay_gpu_event event;
    uint64_t cursor = 0;
    uint64_t lost;

    memset(&replay, 0, sizeof(replay));
    waiting.count = 0;
    for (uint32_t i = 0; i < pool->slot_count; i++) {
        replay.since[i] = pool->opened_ns;
    }
    while (belay_gpu_events(pool, &cursor, &event, 1, &lost) == 1) {
        cr_assert(zero(u64, lost));
        replay_event(&replay, &event);
    }
    cr_expect(eq(u64, replay.grants, stats.grants));
    cr_expect(eq(u64, replay.tries_failed, stats.tries_failed));
    cr_expect(eq(u64, replay.ops_done, stats.ops_done));
    cr_expect(eq(u64, replay.ops_dropped, stats.ops_dropped));
    cr_expect(eq(u64, replay.ops_failed, stats.ops_failed + stats.ops_lost));
    for (uint32_t i = 0; i < BELAY_GPU_PRIORITIES; i++) {
        replay.priorities[i].reserved = stats.priorities[i].reserved;
        replay.priorities[i].reserved_time = stats.priorities[i].reserved_time;
        cr_expect(zero(int, memcmp(&replay.priorities[i], &stats.priorities[i],
                                sizeof(stats.priorities[i]))),
            "priority %u", i);
    }
    compare_slots(pool, &replay, stats.now.ns);
}

static belay_gpu_kernel *built; /* on whatever slot; built anew each time */

static belay_next
work_inside(belay_task *task, struct gpu_inside *self)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_gpu_build(
        task, self->lease, BELAY_GPU_SOURCE(.entry = "k"), &built));
    if (belay_result(task)->code == 0) {
        BELAY_TRY(belay_gpu_run_one(
            task, self->lease, BELAY_GPU_CMD_LAUNCH(built, 1, 1, NULL, 0)));
    }
    BELAY_END;
}

static belay_next
work_step(belay_task *task, void *arg)
{
    return work_inside(task, arg);
}

static const belay_function work = {
    "work", NULL, sizeof(struct gpu_inside), work_step, 0};

Test(gpu_stats, g35_the_events_have_all_that_the_figures_have)
{
    static const struct gpu_job jobs[] = {
        {.name = "h", .hold_ms = 20, .bytes = 600, .inside = &work},
        {.name = "c", .at_ms = 1, .cancel_ms = 5, .bytes = 900},
        {.name = "big", .at_ms = 1, .hold_ms = 3, .bytes = 1000},
        {.name = "s", .at_ms = 2, .hold_ms = 9, .bytes = 10, .inside = &work},
        {.name = "t", .at_ms = 3, .hold_ms = 9, .bytes = 10, .priority = 1},
        {.name = "u", .at_ms = 4, .timeout_ms = 5, .devices = 2},
        {.name = "v", .at_ms = 5, .bytes = 2000},
        {.name = "w", .at_ms = 6, .hold_ms = 7, .devices = 2, .bytes = 10},
        {.name = "x", .at_ms = 7, .no_wait = true, .bytes = 1000},
        {.name = "y", .at_ms = 9, .hold_ms = 1, .inside = &work},
        {.name = "z",
            .at_ms = 9,
            .hold_ms = 50,
            .cancel_ms = 14,
            .inside = &work},
    };
    const struct belay_gpu_pool_opts opts = {
        .devices = "sim:devices=2,slots=3,mem=1000,launch=2ms,"
                   "fault=op@0:2",
        .overtakes = 2,
    };

    cr_expect(zero(int,
        CROWD(jobs, .opts = opts, .no_model = true, .after = check_replay)));
}

static void
check_overflow(belay_gpu_pool *pool)
{
    struct belay_gpu_event events[16];
    uint64_t cursor = 0;
    uint64_t lost = 0;
    uint64_t all;
    size_t count;

    cr_expect(eq(u64, pool->ring_mask, 15));
    cr_assert(gt(u64, pool->ring_count, 16));
    all = pool->ring_count;
    count = belay_gpu_events(pool, &cursor, events, 10, &lost);
    cr_expect(eq(sz, count, 10));
    cr_expect(eq(u64, lost, all - 16));
    count = belay_gpu_events(pool, &cursor, events, 10, &lost);
    cr_expect(eq(sz, count, 6));
    cr_expect(zero(u64, lost));
    cr_expect(eq(u64, cursor, all));
    cr_expect(zero(sz, belay_gpu_events(pool, &cursor, events, 10, NULL)));
}

Test(gpu_stats, g35_what_is_overwritten_is_counted)
{
    static const struct gpu_job jobs[] = {
        {.name = "a", .hold_ms = 1},
        {.name = "b", .hold_ms = 1},
        {.name = "c", .hold_ms = 1},
        {.name = "d", .hold_ms = 1},
        {.name = "e", .hold_ms = 1},
    };

    cr_expect(zero(int, CROWD(jobs, .opts = {.devices = "sim", .events = 9},
                            .no_model = true, .after = check_overflow)));
}

/* ---- when ---- */

/* Until the system's clock has moved on. */
static void
let_time_pass(void)
{
    const uint64_t before = uv_hrtime();

    for (long i = 0; i < 100000000 && uv_hrtime() == before; i++) {
    }
    cr_assert(gt(u64, uv_hrtime(), before));
}

struct two_runs {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    int64_t times[3];
};

static int64_t
lease_and_look(belay_task *task, struct two_runs *runs)
{
    const struct belay_gpu_event *events = runs->pool->ring;
    uint64_t count;

    cr_assert(
        zero(int, belay_gpu_try_acquire(task, runs->pool, NULL, &runs->lease)));
    count = runs->pool->ring_count;
    cr_expect(eq(int, events[count - 1].kind, BELAY_GPU_EVENT_GRANT));
    let_time_pass();
    cr_assert(zero(int, belay_gpu_release(runs->lease)));
    cr_assert(eq(u64, runs->pool->ring_count, count + 1));
    cr_expect(eq(int, events[count].kind, BELAY_GPU_EVENT_SLOT));
    trace(events[count].time.ns == events[count - 1].time.ns ? "one" : "two");
    return events[count - 1].time.ns;
}

BELAY_ASYNC(two_runs)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->pool)) {
        self->times[0] = lease_and_look(task, self);
        self->times[1] = lease_and_look(task, self);
        BELAY_AWAIT(belay_checkpoint(task));
        let_time_pass();
        self->times[2] = lease_and_look(task, self);
        trace(self->times[1] == self->times[0] ? "one" : "two");
        trace(self->times[2] == self->times[0] ? "one" : "two");
    }
    BELAY_END;
}

Test(gpu_stats, g34_what_a_task_does_in_one_run_has_one_time)
{
    trace_clear();
    cr_expect(zero(int, RUN_PLAIN(two_runs, .pool = NULL)));
    expect_trace("one; one; one; one; two");
}
