/* test_trampoline.c - steps, turns and the native stack: S124-S126. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <pthread.h>

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
    codes[0] = belay_run(&instant, &(const struct instant){.i = 0},
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL);
    codes[1] = belay_run(&deep, &(const struct deep){1000000},
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL);
    codes[2] = belay_run(&deep_failing, &(const struct deep_failing){1000000},
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL);
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
    sweep(&(const struct program){
        .function = &deep, .arguments = &(const struct deep){20}});
}
