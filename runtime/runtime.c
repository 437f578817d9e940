/* runtime.c - a runtime on a loop: its four handles, its passes, its end.
 *
 * Tasks run in one place only, the check handle, after I/O was polled. While
 * tasks are ready the idle handle is on, which makes the loop poll without
 * waiting; else the timer is set to the earliest deadline. A pass runs the
 * tasks that were ready when it began, and goes on with what they made ready
 * until PASS_TASKS have run, so that a poll is paid for by some work, or until
 * that has taken some milliseconds.
 */
#include <belay/runtime.h>

#include "runtime/internal.h"

#include <pthread.h>

#define PASS_TASKS 64
#define STEP_BUDGET 128
#define GRACE_NS 5000000000
#define STUCK_AFTER_NS 1000000000
#define NS_PER_MS 1000000

_Thread_local bool belay__inside_run;

belay_runtime *belay__runtimes;
static pthread_mutex_t runtimes_lock = PTHREAD_MUTEX_INITIALIZER;

static void on_timer(uv_timer_t *timer);

static void
on_idle(uv_idle_t *idle)
{
    (void)idle; /* it is on so that the poll does not wait */
}

/* The uv timer counts the loop's own milliseconds; rounding up means never
 * early.
 */
static void
arm_timer(belay_runtime *runtime, int64_t due_ns)
{
    const uint64_t loop_ms = uv_now(runtime->loop);
    uint64_t due_ms = 0;

    if (due_ns == runtime->armed_ns) {
        return;
    }
    runtime->armed_ns = due_ns;
    if (due_ns == INT64_MAX) {
        (void)uv_timer_stop(&runtime->timer);
        return;
    }
    if (due_ns > 0) { /* the clock's zero is arbitrary, so is a caller's time */
        due_ms = ((uint64_t)due_ns + NS_PER_MS - 1) / NS_PER_MS;
    }
    (void)uv_timer_start(
        &runtime->timer, on_timer, due_ms > loop_ms ? due_ms - loop_ms : 0, 0);
}

/* A virtual clock jumps when all that tasks wait for is time: a post belongs
 * to the time at which it was made. Without tasks the portal does not keep the
 * loop alive, so that the post may come only with the close.
 */
static bool
may_jump(const belay_runtime *runtime, int64_t next)
{
    return runtime->clock != NULL && runtime->clock->autojump
           && runtime->ready_first == NULL && runtime->pending_ops == 0
           && next != INT64_MAX && next > runtime->clock->now_ns
           && (runtime->tasks_alive == 0 || !belay__portal_has_posts(runtime));
}

static void
update(belay_runtime *runtime)
{
    const int64_t next = belay__deadline_next(runtime);
    const bool virtual_due =
        runtime->clock != NULL && next <= runtime->clock->now_ns;
    const bool idle = runtime->ready_first != NULL || virtual_due
                      || runtime->spared > 0 || may_jump(runtime, next);

    if (runtime->shut) {
        return; /* libuv would start an idle handle that is closing */
    }
    if (idle != runtime->idle_on) {
        runtime->idle_on = idle;
        if (idle) {
            (void)uv_idle_start(&runtime->idle, on_idle);
        } else {
            (void)uv_idle_stop(&runtime->idle);
        }
    }
    if (runtime->clock == NULL && !idle) {
        arm_timer(runtime, next);
    }
}

void
belay__runtime_kick(belay_runtime *runtime)
{
    if (!runtime->in_pass) {
        update(runtime);
    }
}

static void
jump(belay_runtime *runtime)
{
    const int64_t next = belay__deadline_next(runtime);

    if (may_jump(runtime, next)) {
        runtime->clock->now_ns = next;
    }
}

/* Behind a pass: what many tasks took and few need goes back. A table is made
 * smaller only before the loop waits, and not between a cancel and the join,
 * where nothing is allocated. Not inlined: the loop before it would be compiled
 * into 18 instructions more a task.
 */
__attribute__((noinline, cold)) static void
give_back(belay_runtime *runtime)
{
    const bool waits = runtime->ready_first == NULL;

    belay__blocks_shrink(runtime->memory, &runtime->blocks, waits);
    if (waits && runtime->cancels.taken == 0) {
        belay__cancels_shrink(runtime);
        belay__deadline_shrink(runtime);
    }
}

/* Up to a poll; turns that take long are work enough for one, however few. */
static void
run_laps(belay_runtime *runtime)
{
    const uint64_t enough = runtime->turns + PASS_TASKS;
    const int64_t tick = belay__clock_tick(runtime);

    do {
        belay__run_lap(runtime);
    } while (runtime->ready_first != NULL && runtime->turns < enough
             && belay__clock_tick(runtime) == tick);
}

static void
pass(belay_runtime *runtime)
{
    const bool was_inside = belay__inside_run;

    belay__inside_run = true;
    runtime->in_pass = true;
    belay__blocks_begin(&runtime->blocks);
    if (belay__deadline_next(runtime) != INT64_MAX) {
        belay__deadline_expire(runtime);
    } else {
        runtime->spared = 0;
    }
    run_laps(runtime);
    jump(runtime);
    if (__builtin_expect(runtime->trace != NULL, 0)) {
        belay__trace_flush(runtime->trace);
    }
    give_back(runtime);
    runtime->in_pass = false;
    belay__inside_run = was_inside;
    update(runtime);
}

/* libuv would not notice, and a pass inside a pass would run steps inside one.
 */
__attribute__((noreturn, cold)) static void
broken_by_nested_loop(const belay_runtime *runtime)
{
    if (runtime->current != NULL) {
        belay__broken_by(runtime->current, "uv_run",
            "the loop is run inside a step; a step returns to it");
    }
    belay__broken("uv_run", "the loop is run inside a callback of it");
}

static void
on_check(uv_check_t *check)
{
    belay_runtime *runtime = check->data;

    if (runtime->in_pass || runtime->in_callback) {
        broken_by_nested_loop(runtime);
    }
    pass(runtime);
}

static void
on_timer(uv_timer_t *timer)
{
    belay_runtime *runtime = timer->data;
    const bool was_inside = belay__inside_run;

    belay__inside_run = true; /* observers and hooks are called here, too */
    runtime->in_callback = true;
    runtime->armed_ns = INT64_MAX;
    if (runtime->spared == 0) { /* else there has been no poll since */
        belay__deadline_expire(runtime);
    }
    runtime->in_callback = false;
    belay__inside_run = was_inside;
    update(runtime);
}

static void
on_async(uv_async_t *async)
{
    belay_runtime *runtime = async->data;
    const bool was_inside = belay__inside_run;

    belay__inside_run = true;
    runtime->in_callback = true;
    belay__portal_drain(runtime);
    runtime->in_callback = false;
    belay__inside_run = was_inside;
}

static int
check_opts(const struct belay_runtime_opts *opts)
{
    return opts->size == sizeof(*opts) ? 0 : BELAY_EINVAL;
}

static int
open_handles(belay_runtime *runtime)
{
    int code = uv_async_init(runtime->loop, &runtime->async, on_async);

    if (code < 0) {
        return code;
    }
    (void)uv_timer_init(runtime->loop, &runtime->timer);
    (void)uv_check_init(runtime->loop, &runtime->check);
    (void)uv_idle_init(runtime->loop, &runtime->idle);
    runtime->async.data = runtime;
    runtime->timer.data = runtime;
    runtime->check.data = runtime;
    runtime->idle.data = runtime;
    (void)uv_check_start(&runtime->check, on_check);
    uv_unref((uv_handle_t *)&runtime->async);
    uv_unref((uv_handle_t *)&runtime->check);
    runtime->handles_open = 4;
    return 0;
}

static void
set_options(belay_runtime *runtime, const struct belay_runtime_opts *opts)
{
    const uint32_t step_budget =
        opts->step_budget < INT32_MAX ? opts->step_budget : INT32_MAX;

    runtime->grace_ns = opts->grace.ns == 0 ? GRACE_NS : opts->grace.ns;
    if (runtime->grace_ns < 0) {
        runtime->grace_ns = 0;
    }
    runtime->step_budget =
        opts->step_budget == 0 ? STEP_BUDGET : (int32_t)step_budget;
    runtime->new_turn.steps_left = runtime->step_budget - 1;
    runtime->stuck = opts->stuck;
    runtime->stuck_arg = opts->stuck_arg;
    runtime->stuck_after_ns =
        opts->stuck_after.ns > 0 ? opts->stuck_after.ns : STUCK_AFTER_NS;
    runtime->clock = opts->clock;
    runtime->armed_ns = INT64_MAX;
    runtime->ready_end = &runtime->ready_first;
    if (runtime->clock != NULL) {
        BELAY__REQUIRE(runtime->clock->runtime == NULL,
            "a clock is for one runtime at a time");
        runtime->clock->runtime = runtime;
    }
    belay__opened_init(&runtime->root, NULL);
}

/* The one of the options: it misses nothing. */
static int
attach_observer(belay_runtime *runtime, const struct belay_runtime_opts *opts)
{
    const struct belay_observer_opts which = {
        .size = sizeof(which),
        .kinds = opts->observe_kinds != 0 ? opts->observe_kinds
                                          : (uint32_t)BELAY_OBSERVE_DEFAULT,
    };

    if (opts->observe == NULL && opts->observe_kinds == 0) {
        return 0;
    }
    return belay_observer_attach(
        runtime, opts->observe, opts->observe_arg, &which, NULL);
}

/* Each has 2^32 serials of its own before those of another begin. */
static void
list_runtime(belay_runtime *runtime)
{
    static uint32_t listed;

    (void)pthread_mutex_lock(&runtimes_lock);
    runtime->last_binding = (uint64_t)++listed << 32;
    runtime->next_runtime = belay__runtimes;
    belay__runtimes = runtime;
    (void)pthread_mutex_unlock(&runtimes_lock);
}

static void
unlist_runtime(belay_runtime *runtime)
{
    belay_runtime **link = &belay__runtimes;

    (void)pthread_mutex_lock(&runtimes_lock);
    while (*link != runtime) {
        link = &(*link)->next_runtime;
    }
    *link = runtime->next_runtime;
    (void)pthread_mutex_unlock(&runtimes_lock);
}

static void
runtime_free(belay_runtime *runtime)
{
    struct belay__memory *memory = runtime->memory;

    BELAY__REQUIRE(
        runtime->handles == 0, "a handle of a task outlives its runtime");
    if (runtime->clock != NULL) {
        runtime->clock->runtime = NULL;
    }
    unlist_runtime(runtime);
    belay__trace_close(runtime->trace);
    belay__observers_fini(runtime);
    belay__blocks_fini(memory, &runtime->blocks);
    belay__free(memory, (void *)runtime->deadlines.slots,
        runtime->deadlines.room * sizeof(*runtime->deadlines.slots));
    belay__free(memory, runtime->cancels.slots,
        runtime->cancels.room * sizeof(*runtime->cancels.slots));
    belay__free(memory, runtime, sizeof(*runtime));
    belay__memory_unref(memory);
}

int
belay_runtime_attach(
    uv_loop_t *loop, const struct belay_runtime_opts *opts, belay_runtime **ret)
{
    static const struct belay_runtime_opts defaults = {
        .size = sizeof(defaults)};
    struct belay__memory *memory;
    belay_runtime *runtime;
    int code;

    opts = opts != NULL ? opts : &defaults;
    code = check_opts(opts);
    if (code < 0) {
        return code;
    }
    memory = belay__memory_new(opts->allocator);
    if (memory == NULL) {
        return BELAY_ENOMEM;
    }
    runtime = belay__alloc_zero(memory, sizeof(*runtime));
    if (runtime == NULL) {
        belay__memory_unref(memory);
        return BELAY_ENOMEM;
    }
    runtime->memory = memory;
    runtime->loop = loop;
    runtime->thread = uv_thread_self();
    set_options(runtime, opts);
    list_runtime(runtime);
    code = belay__scope_reserve(runtime); /* for the root scope */
    if (code == 0) {
        code = attach_observer(runtime, opts);
    }
    if (code == 0) {
        code = open_handles(runtime);
    }
    if (code < 0) {
        runtime_free(runtime);
        return code;
    }
    *ret = runtime;
    return 0;
}

bool
belay__on_thread(const belay_runtime *runtime)
{
    const uv_thread_t self = uv_thread_self();

    return uv_thread_equal(&self, &runtime->thread) != 0;
}

uv_loop_t *
belay_runtime_loop(belay_runtime *runtime)
{
    return runtime->loop;
}

/* ---- the end ---- */

static void
on_handle_closed(uv_handle_t *handle)
{
    belay_runtime *runtime = handle->data;
    void (*closed_fn)(void *arg) = runtime->closed_fn;
    void *closed_arg = runtime->closed_arg;
    const bool was_inside = belay__inside_run;

    if (--runtime->handles_open > 0) {
        return;
    }
    runtime_free(runtime);
    if (closed_fn != NULL) {
        belay__inside_run = true;
        closed_fn(closed_arg);
        belay__inside_run = was_inside;
    }
}

static void
close_handles(belay_runtime *runtime)
{
    runtime->shut = true;
    belay__deadline_disarm(runtime, &runtime->root.scope.deadline);
    belay__portal_shut(runtime);
    uv_close((uv_handle_t *)&runtime->async, on_handle_closed);
    uv_close((uv_handle_t *)&runtime->timer, on_handle_closed);
    uv_close((uv_handle_t *)&runtime->check, on_handle_closed);
    uv_close((uv_handle_t *)&runtime->idle, on_handle_closed);
}

static void
close_if_unused(belay_runtime *runtime)
{
    if (runtime->closing && runtime->tasks_alive == 0 && runtime->holds == 0) {
        close_handles(runtime);
    }
}

void
belay__runtime_task_ended(belay_runtime *runtime)
{
    runtime->tasks_alive--;
    if (runtime->tasks_alive == 0) {
        belay__portal_update_ref(runtime);
        close_if_unused(runtime);
    }
}

void
belay__runtime_hold(belay_runtime *runtime)
{
    runtime->holds++;
}

void
belay__runtime_drop(belay_runtime *runtime)
{
    runtime->holds--;
    close_if_unused(runtime);
}

void
belay_runtime_close(
    belay_runtime *runtime, void (*closed)(void *arg), void *arg)
{
    if (runtime == NULL) {
        if (closed != NULL) {
            closed(arg);
        }
        return;
    }
    BELAY__REQUIRE(!runtime->closing, "the runtime is closing already");
    runtime->closing = true;
    runtime->closed_fn = closed;
    runtime->closed_arg = arg;
    if (runtime->tasks_alive == 0) {
        close_if_unused(runtime);
        return;
    }
    belay__scope_cancel(runtime, &runtime->root.scope, BELAY_CANCEL_SHUTDOWN,
        "the runtime is closing", NULL);
}

int
belay_runtime_get_stats(
    const belay_runtime *runtime, struct belay_runtime_stats *ret)
{
    if (ret->size != sizeof(*ret)) {
        return BELAY_EINVAL;
    }
    *ret = (struct belay_runtime_stats){
        .size = sizeof(*ret),
        .tasks_alive = runtime->tasks_alive,
        .tasks_started = belay__tasks_started(runtime),
        .turns = runtime->turns,
        .memory_bytes = runtime->memory->live_bytes,
        .memory_blocks = runtime->memory->live_blocks,
        .memory_peak_bytes = runtime->memory->peak_bytes,
    };
    return 0;
}
