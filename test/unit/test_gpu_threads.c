/* test_gpu_threads.c - the slot's thread and the loop: G31, G33, G36-G38.
 *
 * On the system's clock. Nothing here asks how long something took, but in one
 * place whether the loop has turned meanwhile. test/stress/gpu.c has the races.
 */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gpu/internal.h"
#include "test/support/gpu_crowd.h"

TestSuite(gpu_threads, .fini = check_clean, .timeout = 60);

static int
run_on_real_clock(const belay_function *function, const void *arguments)
{
    trace_clear();
    return program_run_plain(function, arguments, NULL);
}

#define RUN_REAL(name, ...) \
    run_on_real_clock(&(name), &(const struct name){__VA_ARGS__})

/* ---- a thread that hangs ---- */

struct hung {
    const char *devices;
    belay_gpu_pool *pool;
    belay_gpu_lease first;
    belay_gpu_lease second;
    belay_gpu_buffer buffer;
    belay_gpu_kernel *kernel;
};

BELAY_ASYNC(hung)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = self->devices,
            /* The second slot must drain in this on a busy machine, too. */
            .drain_limit = belay_milliseconds(100),
            .close_limit = belay_milliseconds(100)),
        &self->pool)) {
        gpu_oracle_watch(self->pool, false);
        BELAY_AWAIT(belay_gpu_acquire(task, self->pool, NULL, &self->first));
        BELAY_AWAIT(belay_gpu_build(
            task, self->first, BELAY_GPU_SOURCE(.entry = "k"), &self->kernel));
        BELAY_WITH (belay_move_on(task, belay_milliseconds(5), NULL)) {
            BELAY_AWAIT(belay_gpu_run_one(task, self->first,
                BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, NULL, 0)));
        }
        BELAY_CHECK(belay_gpu_release(self->first));
        /* The other one works as if nothing had happened. */
        BELAY_WITH (belay_gpu_lease_open(task, self->pool,
            BELAY_GPU_LEASE_OPTS(.nested = true), &self->second)) {
            trace("slot %s", gpu_slots_text(self->second));
            BELAY_AWAIT(belay_gpu_alloc(task, self->second, 64, &self->buffer));
            BELAY_AWAIT(belay_gpu_run_one(task, self->second,
                BELAY_GPU_CMD_FILL(self->buffer, 0, 1, 64)));
        }
        trace("state %u", self->pool->slots[0].state);
    }
    BELAY_END;
}

Test(gpu_threads, g31_a_thread_that_hangs_is_left_behind)
{
    cr_expect(eq(int,
        RUN_REAL(hung, .devices = "sim:threads,slots=2,launch=0,"
                                  "fault=hang@0:1"),
        BELAY_GPU_ESTUCK));
    expect_trace("slot 1; state 6");
}

Test(gpu_threads, g31_and_cleans_up_alone_if_it_comes_back)
{
    cr_expect(eq(int,
        RUN_REAL(hung, .devices = "sim:threads,slots=2,launch=0,"
                                  "fault=hang@0:1:1s"),
        BELAY_GPU_ESTUCK));
    (void)usleep(1400000); /* for the sanitizers; nothing depends on it */
}

/* ---- the loop ---- */

struct host {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_buffer buffer;
    struct belay_event *enough;
};

BELAY_ASYNC(host)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "sim:threads,launch=0"), &self->pool)) {
        BELAY_WITH (
            belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
            BELAY_AWAIT(belay_gpu_alloc(task, self->lease, 64, &self->buffer));
            BELAY_AWAIT(belay_gpu_run_one(
                task, self->lease, BELAY_GPU_CMD_FILL(self->buffer, 0, 1, 64)));
        }
        trace("idle");
        BELAY_AWAIT(belay_event_wait(task, self->enough));
    }
    trace("closed");
    BELAY_END;
}

static void
set_flag(void *arg)
{
    *(bool *)arg = true;
}

Test(gpu_threads, g33_an_idle_pool_does_not_keep_the_loop_alive)
{
    struct belay_event enough = {.set = false};
    belay_runtime *runtime = NULL;
    bool closed = false;
    uv_loop_t loop;

    cr_assert(zero(int, uv_loop_init(&loop)));
    cr_assert(zero(
        int, belay_runtime_attach(&loop,
                 BELAY_RUNTIME_OPTS(.allocator = &test_allocator), &runtime)));
    cr_assert(zero(
        int, belay_runtime_spawn(runtime, &host,
                 &(const struct host){.enough = &enough}, NULL, NULL, NULL)));
    (void)uv_run(&loop, UV_RUN_DEFAULT); /* comes back: all wait for us */
    expect_trace("idle");
    belay_event_set(&enough);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    expect_trace("idle; closed");
    belay_runtime_close(runtime, set_flag, &closed);
    while (!closed) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    cr_expect(zero(int, uv_loop_close(&loop)));
}

/* ---- the loop's thread, and others ---- */

static struct {
    uv_thread_t loop;
    int elsewhere;
    int unblocked;
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_buffer buffer;
    int codes[4];
} seen;

/* On the slot's thread: where user code never is, but for this. */
static void
look_around(const struct belay_gpu_sim_call *call)
{
    const uv_thread_t self = uv_thread_self();
    sigset_t blocked;

    (void)call;
    seen.elsewhere += uv_thread_equal(&self, &seen.loop) == 0;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    seen.unblocked += sigismember(&blocked, SIGTERM) != 1
                      || sigismember(&blocked, SIGCHLD) != 1;
    seen.codes[0] = belay_gpu_release(seen.lease);
    seen.codes[1] = belay_gpu_free(seen.buffer);
    seen.codes[2] = belay_gpu_try_acquire(NULL, seen.pool, NULL, &seen.lease);
}

struct where {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
    belay_group *group;
    uint32_t ticks;
    bool built;
};

struct ticker {
    struct where *where;
};

BELAY_ASYNC(ticker)
{
    BELAY_BEGIN;
    while (!self->where->built) {
        self->where->ticks++;
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
    }
    BELAY_END;
}

BELAY_ASYNC(where)
{
    sigset_t blocked;

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "sim:threads,jit=300ms"), &self->pool)) {
        BELAY_WITH (
            belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_CHECK(belay_spawn(self->group, ticker, .where = self));
                BELAY_AWAIT(belay_gpu_build(task, self->lease,
                    BELAY_GPU_SOURCE(.entry = "k", .sim = look_around),
                    &self->kernel));
                self->built = true;
            }
            BELAY_AWAIT(belay_gpu_alloc(task, self->lease, 64, &seen.buffer));
            seen.loop = uv_thread_self();
            seen.pool = self->pool;
            seen.lease = self->lease;
            BELAY_AWAIT(belay_gpu_run_one(task, self->lease,
                BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, NULL, 0)));
        }
        trace("%d", self->ticks >= 5);
    }
    (void)pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    cr_expect(zero(int, sigismember(&blocked, SIGTERM)));
    BELAY_END;
}

Test(gpu_threads, g36_g37_g38_the_driver_is_called_on_the_slots_thread_only)
{
    cr_expect(zero(int, RUN_REAL(where, .pool = NULL)));
    expect_trace("1"); /* the loop went on while the kernel was built */
    cr_expect(eq(int, seen.elsewhere, 1));
    cr_expect(zero(int, seen.unblocked));
    for (int i = 0; i < 3; i++) {
        cr_expect(eq(int, seen.codes[i], BELAY_GPU_EWRONGTHREAD), "call %d", i);
    }
}

/* ---- a child process ---- */

struct parent {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_lease another;
};

BELAY_ASYNC(parent)
{
    int status = 0;
    bool good;
    pid_t pid;

    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim:slots=2"), &self->pool)) {
        BELAY_CHECK(
            belay_gpu_try_acquire(task, self->pool, NULL, &self->lease));
        pid = fork();
        if (pid == 0) {
            good = belay_gpu_try_acquire(task, self->pool, NULL, &self->another)
                       == BELAY_GPU_EFORK
                   && belay_gpu_release(self->lease) == BELAY_GPU_EFORK;
            _exit(good ? 0 : 1);
        }
        cr_assert(eq(int, waitpid(pid, &status, 0), pid));
        cr_expect(zero(int, status));
        BELAY_CHECK(belay_gpu_release(self->lease));
    }
    BELAY_END;
}

Test(gpu_threads, g38_a_forked_child_cannot_use_the_pool)
{
    cr_expect(zero(int, RUN_REAL(parent, .pool = NULL)));
}

/* ---- the other driver, the same program ---- */

struct both {
    const char *devices;
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_buffer buffer;
    belay_gpu_kernel *kernel;
    struct belay_gpu_arg args[2];
    uint32_t host[16];
};

static void
add(const struct belay_gpu_sim_call *call)
{
    uint32_t *values = call->args[0].data;
    uint32_t more;

    memcpy(&more, call->args[1].data, sizeof(more));
    for (uint64_t i = 0; i < call->args[0].bytes / sizeof(*values); i++) {
        values[i] += more;
    }
}

BELAY_ASYNC(both)
{
    BELAY_BEGIN;
    for (uint32_t i = 0; i < 16; i++) {
        self->host[i] = i;
    }
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = self->devices), &self->pool)) {
        BELAY_WITH (
            belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
            BELAY_AWAIT(belay_gpu_alloc(task, self->lease, 64, &self->buffer));
            BELAY_AWAIT(belay_gpu_build(task, self->lease,
                BELAY_GPU_SOURCE(.entry = "add", .sim = add), &self->kernel));
            self->args[0] = belay_gpu_arg_buffer(self->buffer);
            self->args[1] = belay_gpu_arg_u32(5);
            BELAY_AWAIT(belay_gpu_run(task, self->lease,
                ((const struct belay_gpu_cmd[]){
                    BELAY_GPU_CMD_WRITE(self->buffer, 0, self->host, 64),
                    BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 16, self->args, 2),
                    BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 16, self->args, 2),
                    BELAY_GPU_CMD_READ(self->buffer, 0, self->host, 64),
                }),
                4));
        }
        for (uint32_t i = 0; i < 16; i++) {
            cr_expect(eq(u32, self->host[i], i + 10));
        }
    }
    BELAY_END;
}

Test(gpu_threads, both_simulators_give_the_same_results)
{
    cr_expect(zero(int, RUN_REAL(both, .devices = "sim:launch=0")));
    cr_expect(zero(int, RUN_REAL(both, .devices = "sim:threads,launch=0")));
}
