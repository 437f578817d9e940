/* test_deadline.c - the heap of deadlines, against a plain search. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <stdlib.h>

TestSuite(deadline, .fini = check_clean, .timeout = 30);

#define TIMERS 200

struct timers {
    struct belay__timer timers[TIMERS];
    int64_t due_ns[TIMERS]; /* INT64_MAX: not armed */
    int64_t last_ns;
    int fired;
    belay_runtime *runtime;
};

static struct timers all;

static uint32_t
next_random(void)
{
    static uint32_t state = 1;

    state = state * 1664525 + 1013904223;
    return state >> 8;
}

static void
on_timer(struct belay__timer *timer)
{
    const size_t i = (size_t)(timer - all.timers);

    cr_expect(le(i64, all.due_ns[i], belay__clock_now(all.runtime)));
    cr_expect(ge(i64, all.due_ns[i], all.last_ns));
    all.last_ns = all.due_ns[i];
    all.due_ns[i] = INT64_MAX;
    all.fired++;
}

static int64_t
earliest(void)
{
    int64_t first = INT64_MAX;

    for (size_t i = 0; i < TIMERS; i++) {
        if (all.due_ns[i] < first) {
            first = all.due_ns[i];
        }
    }
    return first;
}

struct shuffle {
    int rounds;
    int i;
};

BELAY_ASYNC(shuffle)
{
    BELAY_BEGIN;
    all.runtime = belay_task_runtime(task);
    for (self->i = 0; self->i < TIMERS; self->i++) {
        BELAY_CHECK(
            belay__timer_init(all.runtime, &all.timers[self->i], on_timer));
        all.due_ns[self->i] = INT64_MAX;
    }
    for (; self->rounds > 0; self->rounds--) {
        const size_t i = next_random() % TIMERS;
        const int64_t due =
            belay_now(task).ns + 1 + (int64_t)(next_random() % 1000);

        if (next_random() % 4 == 0) {
            belay__timer_stop(all.runtime, &all.timers[i]);
            all.due_ns[i] = INT64_MAX;
        } else {
            belay__timer_start(all.runtime, &all.timers[i], due);
            all.due_ns[i] = due;
        }
        cr_assert(eq(i64, belay__deadline_next(all.runtime), earliest()));
        if (next_random() % 64 == 0) {
            all.last_ns = 0;
            belay_clock_advance(all.runtime->clock, belay_nanoseconds(200));
            belay__deadline_expire(all.runtime);
            cr_assert(gt(i64, earliest(), belay_now(task).ns));
        }
    }
    cr_expect(gt(int, all.fired, 100));
    for (self->i = 0; self->i < TIMERS; self->i++) {
        belay__timer_fini(all.runtime, &all.timers[self->i]);
        belay__timer_fini(all.runtime, &all.timers[self->i]);
    }
    cr_expect(eq(i64, belay__deadline_next(all.runtime), INT64_MAX));
    BELAY_END;
}

Test(deadline, s41_the_heap_agrees_with_a_search_and_fires_in_order)
{
    cr_expect(eq(int, RUN(shuffle, .rounds = 20000), 0));
}

struct spans {
    int unused;
};

BELAY_ASYNC(spans)
{
    BELAY_BEGIN;
    cr_expect(eq(
        i64, belay__due(belay_task_runtime(task), BELAY_FOREVER), INT64_MAX));
    cr_expect(
        eq(i64, belay__due(belay_task_runtime(task), belay_nanoseconds(-5)),
            belay_now(task).ns));
    BELAY_END;
}

Test(deadline, s38_sums_saturate)
{
    cr_expect(eq(int, RUN(spans, 0), 0));
    cr_expect(eq(i64, belay_seconds(INT64_MAX).ns, INT64_MAX));
    cr_expect(eq(i64, belay_seconds(INT64_MIN).ns, 0));
    cr_expect(eq(i64, belay_milliseconds(3).ns, 3000000));
}

struct sleeper {
    int64_t ms;
};

BELAY_ASYNC(sleeper)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(self->ms)));
    trace("%d", (int)self->ms);
    BELAY_END;
}

struct sleepers {
    belay_group *group;
    int i;
};

BELAY_ASYNC(sleepers)
{
    static const int64_t order_ms[] = {7, 3, 9, 1, 3, 5};

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (self->i = 0; self->i < 6; self->i++) {
            BELAY_CHECK(
                belay_spawn(self->group, sleeper, .ms = order_ms[self->i]));
        }
    }
    BELAY_END;
}

Test(deadline, s41_sleeps_end_in_the_order_of_their_ends)
{
    cr_expect(eq(int, RUN(sleepers, .i = 0), 0));
    expect_trace("1; 3; 3; 5; 7; 9");
}

/* ---- a loop that stood still ---- */

struct stand_still {
    struct belay_event answered;
    struct belay_event *never; /* waited for at the end; NULL: none */
    belay_portal *portal;
    belay_group *group;
    struct belay_cancel_status *ret_status;
};

static void
answer(belay_runtime *runtime, void *arg)
{
    (void)runtime;
    belay_event_set(arg);
}

struct block {
    struct stand_still *outer;
};

/* What has come while the loop stood still was there in time. */
BELAY_ASYNC(block)
{
    const struct timespec longer = {0, 60000000}; /* than the time given */

    BELAY_BEGIN;
    cr_assert(zero(int, belay_portal_post(self->outer->portal, answer,
                            &self->outer->answered)));
    (void)nanosleep(&longer, NULL);
    BELAY_END;
}

BELAY_ASYNC(stand_still)
{
    BELAY_BEGIN;
    cr_assert(
        zero(int, belay_portal_open(belay_task_runtime(task), &self->portal)));
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (
            belay_move_on(task, belay_milliseconds(20), self->ret_status)) {
            BELAY_CHECK(belay_spawn(self->group, block, .outer = self));
            BELAY_AWAIT(belay_event_wait(task, &self->answered));
        }
    }
    belay_portal_unref(self->portal);
    if (self->never != NULL) {
        BELAY_AWAIT(belay_event_wait(task, self->never));
    }
    BELAY_END;
}

Test(deadline, what_came_while_the_loop_stood_still_is_looked_at_first)
{
    struct belay_cancel_status status = {0};

    cr_expect(zero(int, RUN_PLAIN(stand_still, .ret_status = &status)));
    cr_expect(not(status.cancelled));
}

/* The polls that it gets have an end, also when no deadline is left. */
Test(deadline, a_loop_that_stood_still_rests_afterwards)
{
    struct belay_cancel_status status = {0};
    struct belay_event never = {{NULL, NULL}, false};

    program_may_stall = true; /* that is how the loop is seen to rest */
    cr_expect(
        eq(int, RUN_PLAIN(stand_still, .never = &never, .ret_status = &status),
            BELAY_EDEADLK));
    cr_expect(not(status.cancelled));
}

/* ---- a timer that is armed again in its callback ---- */

struct again {
    struct belay__timer timer;
    belay_runtime *runtime;
    int left;
    int fired;
};

static void
on_again(struct belay__timer *timer)
{
    struct again *self = BELAY__CONTAINER(timer, struct again, timer);

    self->fired++;
    if (self->left-- > 0) {
        belay__timer_start(
            self->runtime, timer, belay__clock_now(self->runtime));
    }
}

BELAY_ASYNC(again)
{
    BELAY_BEGIN;
    self->runtime = belay_task_runtime(task);
    BELAY_CHECK(belay__timer_init(self->runtime, &self->timer, on_again));
    belay__timer_start(self->runtime, &self->timer, belay_now(task).ns);
    belay__deadline_expire(self->runtime);
    cr_expect(eq(int, self->fired, 1));
    belay__deadline_expire(self->runtime);
    cr_expect(eq(int, self->fired, 2));
    belay__timer_fini(self->runtime, &self->timer);
    BELAY_END;
}

Test(deadline, s125_what_is_due_at_once_again_waits_for_the_next_turn)
{
    cr_expect(eq(int, RUN(again, .left = 9), 0));
}
