/* test_trampoline.c - steps, turns and the native stack: S124-S126. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <pthread.h>
#include <time.h>

TestSuite(trampoline, .fini = check_clean, .timeout = 60);

/* Runs fn on a thread with a stack that no recursion would fit in. The
 * sanitizers' frames are larger, and Criterion's report wants some too. */
static void
on_small_stack(void *(*fn)(void *))
{
    pthread_attr_t attributes;
    pthread_t thread;

    cr_assert(zero(int, pthread_attr_init(&attributes)));
    cr_assert(
        zero(int, pthread_attr_setstacksize(&attributes, (size_t)256 * 1024)));
    cr_assert(zero(int, pthread_create(&thread, &attributes, fn, NULL)));
    cr_assert(zero(int, pthread_join(thread, NULL)));
    cr_assert(zero(int, pthread_attr_destroy(&attributes)));
}

struct instant {
    int i;
    struct belay_event event;
};

BELAY_ASYNC(instant)
{
    BELAY_BEGIN;
    belay_event_set(&self->event);
    for (self->i = 0; self->i < 1000000; self->i++) {
        BELAY_AWAIT(belay_event_wait(task, &self->event));
    }
    BELAY_END;
}

struct deep {
    int left;
};

BELAY_ASYNC_DECLARE(deep);

BELAY_ASYNC(deep)
{
    BELAY_BEGIN;
    if (self->left > 0) {
        BELAY_AWAIT(BELAY_CALL(deep, .left = self->left - 1));
    }
    BELAY_END;
}

struct deep_failing {
    int left;
};

BELAY_ASYNC_DECLARE(deep_failing);

BELAY_ASYNC(deep_failing)
{
    BELAY_BEGIN;
    if (self->left == 0) {
        BELAY_FAIL(BELAY_EIO, "at the bottom");
    }
    BELAY_AWAIT(BELAY_CALL(deep_failing, .left = self->left - 1));
    BELAY_END;
}

static int codes[3];

static void *
run_all(void *arg)
{
    (void)arg;
    codes[0] = RUN_PLAIN(instant, .i = 0);
    codes[1] = RUN_PLAIN(deep, 1000000);
    codes[2] = RUN_PLAIN(deep_failing, 1000000);
    return NULL;
}

Test(trampoline, s124_instant_awaits_and_deep_returns_in_constant_stack)
{
    on_small_stack(run_all);
    cr_expect(zero(int, codes[0]));
    cr_expect(zero(int, codes[1]));
    cr_expect(eq(int, codes[2], BELAY_EIO));
}

struct greedy {
    const bool *stop;
    struct belay_event event;
    int awaits;
};

/* Never gives way by itself. */
BELAY_ASYNC(greedy)
{
    BELAY_BEGIN;
    belay_event_set(&self->event);
    while (!*self->stop) {
        BELAY_AWAIT(belay_event_wait(task, &self->event));
        self->awaits++;
    }
    trace(self->awaits <= 1000 ? "stopped soon" : "stopped late");
    BELAY_END;
}

struct stopper {
    bool *stop;
};

BELAY_ASYNC(stopper)
{
    BELAY_BEGIN;
    *self->stop = true;
    trace("stop");
    BELAY_END;
}

struct fair {
    bool stop;
    belay_group *group;
};

BELAY_ASYNC(fair)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, greedy, .stop = &self->stop));
        BELAY_CHECK(belay_spawn(self->group, stopper, .stop = &self->stop));
    }
    BELAY_END;
}

Test(trampoline, s125_a_task_gives_way_after_its_budget_of_steps)
{
    cr_expect(eq(int, RUN(fair, .stop = false), 0));
    expect_trace("stop; stopped soon");
}

/* Takes steps until it has given way; who looks on must not change how many. */
struct counted {
    int looks_at; /* the step in which observers come and go; 0: none */
    const bool *gave_way;
    struct belay_event event;
    belay_observer *observer;
    int steps;
};

BELAY_ASYNC(counted)
{
    BELAY_BEGIN;
    belay_event_set(&self->event);
    for (self->steps = 1; !*self->gave_way; self->steps++) {
        if (self->steps == self->looks_at) {
            cr_assert(zero(
                int, belay_observer_attach(belay_task_runtime(task), NULL, NULL,
                         BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_STEPS),
                         &self->observer)));
        }
        if (self->looks_at > 0 && self->steps == self->looks_at + 1) {
            belay_observer_detach(self->observer);
        }
        BELAY_AWAIT(belay_event_wait(task, &self->event));
    }
    trace("%d steps", self->steps - 1);
    BELAY_END;
}

/* Ends before it, for somebody to come then. */
struct herald {
    int unused;
};

BELAY_ASYNC(herald)
{
    BELAY_BEGIN;
    BELAY_END;
}

struct budgeted {
    int looks_at;
    bool comes_between; /* … and one that stays, between two tasks */
    bool stop;
    belay_group *group;
};

static void
on_herald(belay_task *child, const struct belay_result *result, void *arg)
{
    struct budgeted *self = arg;

    (void)result;
    if (self->comes_between) {
        self->comes_between = false;
        cr_assert(zero(
            int, belay_observer_attach(belay_task_runtime(child), NULL, NULL,
                     BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_STEPS), NULL)));
    }
}

BELAY_ASYNC(budgeted)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task,
        BELAY_GROUP_OPTS(.on_child = on_herald, .arg = self), &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, herald, .unused = 0));
        BELAY_CHECK(belay_spawn(self->group, counted,
            .looks_at = self->looks_at, .gave_way = &self->stop));
        BELAY_CHECK(belay_spawn(self->group, stopper, .stop = &self->stop));
    }
    BELAY_END;
}

Test(trampoline, s125_an_observer_changes_nothing_of_a_turn)
{
    for (int run = 0; run < 14; run++) {
        trace_clear();
        cr_expect(eq(int,
            belay_run(&budgeted,
                &(const struct budgeted){
                    .looks_at = run / 2, .comes_between = run % 2 == 1},
                BELAY_RUNTIME_OPTS(.allocator = &test_allocator,
                    .step_budget = 5),
                NULL),
            0));
        expect_trace("stop; 5 steps");
    }
}

/* Frames that end with what the next one gives them, all at once. */
struct chain {
    int left;
    const bool *gave_way;
};

static const belay_function chain;

static belay_next
chain_step(belay_task *task, void *arg)
{
    const struct chain *self = arg;

    if (self->left == 0) {
        trace(*self->gave_way ? "called in turns" : "called in one turn");
        return belay_return(task, NULL);
    }
    return belay_end_with(task,
        BELAY_CALL(chain, .left = self->left - 1, .gave_way = self->gave_way));
}

static const belay_function chain = {
    "chain", __FILE__, sizeof(struct chain), chain_step, 0};

struct ends {
    const bool *gave_way;
    bool *other;
};

BELAY_ASYNC(ends)
{
    BELAY_BEGIN;
    BELAY_AWAIT(BELAY_CALL(chain, .left = 1000, .gave_way = self->gave_way));
    trace(*self->other ? "ended in turns" : "ended in one turn");
    BELAY_END;
}

struct counts {
    bool *first; /* set in its first turn … */
    bool
        *second; /* … and in that after 210: the calls take 200, the ends 200 */
    int turns;
};

BELAY_ASYNC(counts)
{
    BELAY_BEGIN;
    *self->first = true;
    for (self->turns = 1; self->turns < 300; self->turns++) {
        *self->second = self->turns > 210;
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

struct chained {
    bool first;
    bool second;
    belay_group *group;
};

BELAY_ASYNC(chained)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, ends, .gave_way = &self->first,
            .other = &self->second));
        BELAY_CHECK(belay_spawn(self->group, counts, .first = &self->first,
            .second = &self->second));
    }
    BELAY_END;
}

Test(trampoline, s125_frames_that_end_together_count_for_a_step_each)
{
    cr_expect(eq(int,
        belay_run(&chained, &(const struct chained){.first = false},
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .step_budget = 5),
            NULL),
        0));
    expect_trace("called in turns; ended in turns");
}

/* Observers that come and go in each step of one long turn. */
struct busy {
    int i;
    struct belay_event event;
    belay_observer *observer;
};

BELAY_ASYNC(busy)
{
    BELAY_BEGIN;
    belay_event_set(&self->event);
    for (self->i = 0; self->i < 100000; self->i++) {
        cr_assert(zero(
            int, belay_observer_attach(belay_task_runtime(task), NULL, NULL,
                     BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_STEPS),
                     &self->observer)));
        BELAY_AWAIT(belay_event_wait(task, &self->event));
        belay_observer_detach(self->observer);
        BELAY_AWAIT(belay_event_wait(task, &self->event));
    }
    BELAY_END;
}

static void *
run_busy(void *arg)
{
    (void)arg;
    codes[0] = belay_run(&busy, &(const struct busy){.i = 0},
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator,
            .step_budget = 1000000),
        NULL);
    return NULL;
}

Test(trampoline, s124_observers_that_come_and_go_take_no_stack)
{
    on_small_stack(run_busy);
    cr_expect(zero(int, codes[0]));
}

#define POLLS 3

/* Counts how often the loop polls, for as long as a block is open. */
struct polls {
    bool *stop; /* set at the last of POLLS */
    int count;
    uv_check_t check;
    struct belay_op closed;
};

static void
on_poll(uv_check_t *check)
{
    struct polls *self = check->data;

    *self->stop = ++self->count >= POLLS;
}

static void
on_closed(uv_handle_t *check)
{
    belay_op_done(&((struct polls *)check->data)->closed, 0, NULL);
}

static belay_next
polls_enter(belay_task *task, void *arg)
{
    struct polls *self = arg;
    uv_loop_t *loop = belay_runtime_loop(belay_task_runtime(task));

    cr_assert(zero(int, uv_check_init(loop, &self->check)));
    self->check.data = self;
    cr_assert(zero(int, uv_check_start(&self->check, on_poll)));
    return belay_return(task, NULL);
}

static belay_next
polls_exit(belay_task *task, void *arg)
{
    struct polls *self = arg;

    belay_op_begin_shielded(task, &self->closed);
    uv_close((uv_handle_t *)&self->check, on_closed);
    return belay_end_with(task, belay_op_wait(&self->closed));
}

static const belay_manager polls = {
    {"polls", NULL, sizeof(struct polls), polls_enter, 0}, polls_exit};

struct polled {
    bool stop;
    belay_group *group;
};

struct yielding {
    const bool *stop;
    belay_group *group;
    int left;
};

/* Always ready: I/O must be polled all the same. */
BELAY_ASYNC(yielding)
{
    BELAY_BEGIN;
    while (!*self->stop) {
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

BELAY_ASYNC(polled)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(polls, .stop = &self->stop)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(
                belay_spawn(self->group, yielding, .stop = &self->stop));
            BELAY_CHECK(
                belay_spawn(self->group, yielding, .stop = &self->stop));
            BELAY_AWAIT(BELAY_CALL(yielding, .stop = &self->stop));
        }
    }
    BELAY_END;
}

Test(trampoline, s125_the_loop_is_polled_while_tasks_are_always_ready)
{
    cr_expect(eq(int, RUN(polled, .stop = false), 0));
}

struct slow {
    bool stop;
    int turns;
};

/* A turn of the system's clock long. */
static void
work(void)
{
    struct timespec began;
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &began);
    do {
        (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    } while (now.tv_sec == began.tv_sec && now.tv_nsec == began.tv_nsec);
}

BELAY_ASYNC(slow)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(polls, .stop = &self->stop)) {
        while (!self->stop) {
            cr_assert(lt(int, self->turns++, 2 * POLLS));
            work();
            BELAY_AWAIT(belay_checkpoint(task));
        }
    }
    BELAY_END;
}

Test(trampoline, s41_s125_a_poll_behind_each_turn_that_takes_long)
{
    cr_expect(eq(int, RUN_PLAIN(slow, .turns = 0), 0));
}

struct inside {
    struct belay_op op;
    bool started;
};

static belay_next
done_inside(belay_task *task, struct inside *self)
{
    if (belay_op_begin(task, &self->op, NULL) == 0) {
        belay_op_done(&self->op, 0, self);
        trace("starting call returns");
    }
    return belay_op_wait(&self->op);
}

BELAY_ASYNC(inside)
{
    BELAY_BEGIN;
    BELAY_AWAIT(done_inside(task, self));
    trace("goes on");
    cr_expect(eq(ptr, belay_result(task)->value, self));
    BELAY_END;
}

Test(trampoline, s126_nothing_goes_on_inside_the_call_that_starts)
{
    cr_expect(eq(int, RUN(inside, .started = false), 0));
    expect_trace("starting call returns; goes on");
}

struct value {
    int in;
    int *out;
};

BELAY_ASYNC(value)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_checkpoint(task));
    *self->out = self->in * 2;
    BELAY_RETURN(self->out);
    BELAY_END;
}

struct caller {
    int doubled;
    void *at;
};

BELAY_ASYNC(caller)
{
    BELAY_BEGIN;
    BELAY_AWAIT(BELAY_CALL(value, .in = 21, .out = &self->doubled));
    cr_expect(eq(ptr, belay_result(task)->value, &self->doubled));
    cr_expect(eq(int, self->doubled, 42));
    BELAY_TRY(BELAY_CALL(deep_failing, .left = 3));
    cr_expect(eq(int, belay_result(task)->code, BELAY_EIO));
    if (belay_result(task)->error == NULL) {
        BELAY_FAIL(BELAY_ENOMEM, "there was no memory for the error");
    }
    cr_expect_str_eq(
        belay_error_message(belay_result(task)->error), "at the bottom");
    BELAY_AWAIT(belay_checkpoint(task));
    cr_expect(zero(ptr, belay_result(task)->error));
    BELAY_END;
}

Test(trampoline, values_and_failures_reach_the_caller)
{
    cr_expect(eq(int, RUN(caller, .doubled = 0), 0));
    SWEEP(deep, 20);
}
