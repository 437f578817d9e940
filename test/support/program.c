/* program.c - run an async function under watch, once or in a sweep. */
#include "test/support/program.h"

#include "runtime/internal.h"
#include "test/support/sweeps.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS_MAX 20000
#define OPEN_MAX 256
#define FDS_MS 10000 /* for which a server may take to close its end */

/* What must hold in a trial of a sweep too, where assertions do not count. */
#define MUST(condition, ...)                        \
    do {                                            \
        if (!(condition)) {                         \
            if (program_disturbed) {                \
                (void)fprintf(stderr, __VA_ARGS__); \
                (void)fputc('\n', stderr);          \
                abort();                            \
            }                                       \
            cr_fatal(__VA_ARGS__);                  \
        }                                           \
    } while (0)

/* ---- the trace ---- */

static struct {
    char text[16384];
    size_t len;
} log_;

void
trace(const char *format, ...)
{
    const size_t room = sizeof(log_.text) - log_.len;
    va_list args;
    int n;

    n = snprintf(log_.text + log_.len, room, "%s", log_.len > 0 ? "; " : "");
    MUST(n >= 0 && (size_t)n < room, "the trace is full");
    log_.len += (size_t)n;
    va_start(args, format);
    n = vsnprintf(
        log_.text + log_.len, sizeof(log_.text) - log_.len, format, args);
    va_end(args);
    MUST(n >= 0 && (size_t)n < sizeof(log_.text) - log_.len,
        "the trace is full");
    log_.len += (size_t)n;
}

const char *
trace_result(const struct belay_result *result)
{
    if (result->code >= 0) {
        return "ok";
    }
    return result->cancelled ? "cancel" : belay_code_name(result->code);
}

char *
trace_text(void)
{
    return log_.text;
}

void
trace_clear(void)
{
    log_.len = 0;
    log_.text[0] = '\0';
}

char *
chain_text(const struct belay_result *result)
{
    static char text[256];
    size_t len = 0;

    text[0] = '\0';
    for (const belay_error *error = result->error; error != NULL;
         error = belay_error_context(error)) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s ",
            belay_code_name(belay_error_code(error)));
    }
    return text;
}

long long
elapsed_ms(const belay_task *task, int64_t from_ns)
{
    return (long long)((belay_now(task).ns - from_ns) / 1000000);
}

/* ---- probes ---- */

belay_next
enter_nothing(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

/* The probes that are open, oldest first; for each task a stack. */
static struct {
    struct {
        uint64_t task_id;
        const void *self;
    } open[OPEN_MAX];
    size_t count;
} probes;

static void
probe_opened(const belay_task *task, const struct probe *self)
{
    MUST(probes.count < OPEN_MAX, "too many probes");
    probes.open[probes.count].task_id = belay_task_id(task);
    probes.open[probes.count].self = self;
    probes.count++;
}

static void
probe_closed(const belay_task *task, const struct probe *self)
{
    size_t i = probes.count;

    while (i > 0 && probes.open[i - 1].task_id != belay_task_id(task)) {
        i--;
    }
    MUST(i > 0 && probes.open[i - 1].self == self,
        "exit %s out of turn; trace: %s", self->name, trace_text());
    memmove(&probes.open[i - 1], &probes.open[i],
        (probes.count - i) * sizeof(probes.open[0]));
    probes.count--;
}

static belay_next
probe_enter(belay_task *task, void *arg)
{
    struct probe *self = arg;

    if (self->waits > 0 && belay_result(task)->code < 0) {
        trace("no %s/%s", self->name, trace_result(belay_result(task)));
        return belay_pass(task);
    }
    if (self->waits++ < self->enter_waits) {
        return belay_then(task, probe_enter, belay_checkpoint(task));
    }
    if (self->enter_code < 0) {
        trace("no %s", self->name);
        return belay_fail(task, self->enter_code, "no %s", self->name);
    }
    trace("enter %s", self->name);
    probe_opened(task, self);
    return belay_return(task, self);
}

static belay_next
probe_end(belay_task *task, void *arg)
{
    struct probe *self = arg;

    if (belay_result(task)->code < 0) {
        trace("cut %s", self->name);
    }
    if (self->exit_suppress) {
        return belay_suppress(task);
    }
    if (self->exit_code < 0) {
        return belay_fail(task, self->exit_code, "exit of %s", self->name);
    }
    return belay_return(task, NULL);
}

static belay_next
probe_wait(belay_task *task, void *arg)
{
    struct probe *self = arg;

    if (self->waits > 0 && belay_result(task)->code < 0) {
        return probe_end(task, arg);
    }
    if (self->waits++ < self->exit_waits) {
        return belay_then(task, probe_wait, belay_checkpoint(task));
    }
    if (self->exit_sleep.ns > 0) {
        return belay_then(task, probe_end, belay_sleep(task, self->exit_sleep));
    }
    return probe_end(task, arg);
}

static belay_next
probe_exit(belay_task *task, void *arg)
{
    struct probe *self = arg;
    const struct belay_result *outcome = belay_outcome(task);

    if (outcome->code < 0) {
        trace("exit %s/%s", self->name, trace_result(outcome));
    } else {
        trace("exit %s", self->name);
    }
    probe_closed(task, self);
    self->waits = 0;
    if (self->exit_waits == 0 && self->exit_sleep.ns <= 0) {
        belay__result_set(task, 0, NULL, NULL);
    }
    return probe_wait(task, arg);
}

const belay_manager probe = {
    {"probe", __FILE__, sizeof(struct probe), probe_enter, 0}, probe_exit};

static void
drop_handle(void *arg)
{
    belay_task **handle = arg;

    belay_task_unref(*handle);
    *handle = NULL;
}

belay_next
dropping(belay_task *task, belay_task **handle)
{
    return belay_defer(task, drop_handle, (void *)handle);
}

struct kept_scope {
    struct belay_cancel_scope_opts opts;
    belay_cancel_scope **ret;
};

BELAY_MANAGER(kept_scope)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, &self->opts, self->ret)) {
        BELAY_TRY_YIELD(NULL);
        if (self->ret != NULL) {
            *self->ret = NULL;
        }
        return belay_pass(task);
    }
    BELAY_END;
}

belay_next
keeping(belay_task *task, const struct belay_cancel_scope_opts *opts,
    belay_cancel_scope **ret)
{
    return BELAY_ENTER(kept_scope,
        .opts = opts != NULL ? *opts : *BELAY_CANCEL_SCOPE_OPTS(.name = NULL),
        .ret = ret);
}

struct kept_group {
    belay_group **ret;
};

BELAY_MANAGER(kept_group)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, self->ret)) {
        BELAY_TRY_YIELD(NULL);
        *self->ret = NULL;
        return belay_pass(task);
    }
    BELAY_END;
}

belay_next
keeping_group(belay_task *task, belay_group **ret)
{
    return BELAY_ENTER(kept_group, .ret = ret);
}

/* ---- programs ---- */

size_t
count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    if (dir == NULL) {
        return 0;
    }
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

/* The first loop of a process opens descriptors that stay (signal pipe). */
size_t
program_count_fds(void)
{
    uv_loop_t loop;

    cr_assert(zero(int, uv_loop_init(&loop)));
    cr_assert(zero(int, uv_loop_close(&loop)));
    return count_fds();
}

struct root {
    const struct program *program;
    const struct fault *fault; /* NULL: nor are waits counted */
    uint64_t *ret_left;
    bool *ret_stalled;
};

/* Before its end belay_run() closes nothing: that was a deadlock. */
static bool
has_stalled(const belay_runtime *runtime)
{
    const struct belay__scope *all = &runtime->root.scope;

    return (all->flags & BELAY__SCOPE_CANCELLED) != 0
           && belay__scope_reason(runtime, all).source == BELAY_CANCEL_SHUTDOWN;
}

static belay_next
root_end(belay_task *task, void *arg)
{
    struct root *self = arg;
    belay_runtime *runtime = belay_task_runtime(task);

    *self->ret_stalled = has_stalled(runtime);
    if (self->fault != NULL) {
        *self->ret_left = runtime->cancel_in;
        runtime->counts_waits = false;
    }
    return belay_pass(task);
}

static belay_next
root_step(belay_task *task, void *arg)
{
    struct root *self = arg;
    belay_runtime *runtime = belay_task_runtime(task);

    if (self->fault != NULL) {
        runtime->cancel_in = self->fault->cancel_in;
        runtime->cancel_late = self->fault->cancel_late;
        runtime->counts_waits = true;
        runtime->root.scope.flags |= (uint32_t)BELAY__SCOPE_COUNTED;
        task->base.flags |= (uint32_t)BELAY__SCOPE_COUNTED;
    }
    return belay_then(task, root_end,
        belay_call(task, self->program->function, self->program->arguments));
}

static bool
may_stall(void)
{
    return program_may_stall
           || (program_disturbed && program_other_code == BELAY_EDEADLK);
}

static int
run_root(const struct program *program, const struct fault *fault,
    belay_clock *clock, uint64_t *ret_left, struct belay_result *ret)
{
    static const belay_function function = {
        "program", NULL, sizeof(struct root), root_step, 0};
    bool stalled = false;
    const struct root root = {program, fault, ret_left, &stalled};
    int code = belay_run(&function, &root,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock,
            .grace = program->grace,
            .step_budget = fault != NULL && fault->pace == PACE_LATE ? 1 : 0),
        ret);

    MUST(!stalled || may_stall(),
        "%s has stalled: all that was left waited for nothing; trace: %s",
        program->function->name, trace_text());
    return code;
}

int
program_try(const struct program *program, const struct fault *fault,
    uint64_t *ret_left, struct belay_result *ret)
{
    belay_clock *clock = belay_clock_new(true);
    int code;

    cr_assert(ne(ptr, clock, NULL));
    *ret_left = fault->cancel_in;
    code = run_root(program, fault, clock, ret_left, ret);
    belay_clock_free(clock);
    return code;
}

/* A server of the test, in a thread, may still be closing its end. */
static bool
has_fds(size_t fds)
{
    for (int ms = 0; ms < FDS_MS; ms++) {
        if (count_fds() == fds) {
            return true; /* once: it may also be late to accept */
        }
        uv_sleep(1);
    }
    return false;
}

void
program_check_left(const char *what, uint64_t k, size_t blocks, size_t fds)
{
    MUST(test_alloc_live_blocks() == blocks,
        "%s %" PRIu64 ": %zu blocks are left; trace: %s", what, k,
        test_alloc_live_blocks() - blocks, trace_text());
    MUST(has_fds(fds), "%s %" PRIu64 ": a file descriptor is left; %s", what, k,
        trace_text());
    MUST(probes.count == 0, "%s %" PRIu64 ": %zu probes have not exited; %s",
        what, k, probes.count, trace_text());
}

int
program_run_once(const struct program *program, struct belay_result *ret)
{
    const size_t blocks = test_alloc_live_blocks();
    const size_t fds = program_count_fds();
    struct belay_result result;
    uint64_t left;
    int code = program_try(program, &(const struct fault){0}, &left, &result);

    if (ret != NULL) {
        *ret = result;
        cr_assert(probes.count == 0, "%zu probes have not exited; %s",
            probes.count, trace_text());
        return code;
    }
    belay_error_unref(result.error);
    program_check_left("run", 0, blocks, fds);
    return code;
}

int
program_run_plain(const belay_function *function, const void *arguments,
    struct belay_result *ret)
{
    const struct program program = {
        .function = function, .arguments = arguments};

    return run_root(&program, NULL, NULL, NULL, ret);
}

int
program_run(const struct program *program, struct belay_result *ret)
{
    sweeps_try(program);
    return program_run_once(program, ret);
}

static size_t
sweep_cancels_once(const struct program *program, bool late)
{
    const char *what = late ? "cancel during wait" : "cancel before wait";
    const size_t blocks = test_alloc_live_blocks();
    const size_t fds = program_count_fds();
    struct belay_result result;
    bool disturbed = true;
    uint64_t left;
    size_t k;

    for (k = 1; disturbed; k++) {
        cr_assert(k < RUNS_MAX, "the program does not end");
        trace_clear();
        (void)program_try(program, &(const struct fault){k, late, PACE_NORMAL},
            &left, &result);
        disturbed = left == 0 || left > k; /* it has counted through zero */
        if (program->check != NULL) {
            program->check(&result, disturbed);
        }
        belay_error_unref(result.error);
        program_check_left(what, k, blocks, fds);
    }
    return k;
}

size_t
sweep_cancels(const struct program *program)
{
    return sweep_cancels_once(program, false)
           + sweep_cancels_once(program, true);
}

static size_t
sweep_allocs_once(const struct program *program, bool rest)
{
    const char *what = rest ? "no memory from" : "no memory at";
    const size_t blocks = test_alloc_live_blocks();
    const size_t fds = program_count_fds();
    struct belay_result result;
    bool disturbed = true;
    uint64_t left;
    size_t k;

    for (k = 0; disturbed; k++) {
        cr_assert(k < RUNS_MAX, "the program does not end");
        trace_clear();
        if (rest) {
            test_alloc_fail_after(k);
        } else {
            test_alloc_fail_at(k);
        }
        (void)program_try(program, &(const struct fault){0}, &left, &result);
        disturbed = test_alloc_failures() > 0;
        test_alloc_never_fail();
        if (program->check != NULL) {
            program->check(&result, disturbed);
        }
        belay_error_unref(result.error);
        program_check_left(what, k, blocks, fds);
    }
    return k;
}

size_t
sweep_allocs(const struct program *program)
{
    return sweep_allocs_once(program, false) + sweep_allocs_once(program, true);
}

void
sweep(const struct program *program)
{
    sweeps_try(program);
    (void)sweep_cancels(program);
    (void)sweep_allocs(program);
}

struct belay_runtime_stats
runtime_stats(const belay_task *task)
{
    struct belay_runtime_stats stats = {.size = sizeof(stats)};

    cr_assert(
        zero(int, belay_runtime_get_stats(belay_task_runtime(task), &stats)));
    return stats;
}
