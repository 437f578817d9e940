/* test_blocking.c - calls on threads: delivered, refused, late, abandoned. */
#include <belay/belay.h>
#include <belay/uv.h>

#include "test/support/alloc.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <uv.h>

static uv_sem_t started; /* a function on a thread has begun */
static uv_sem_t go;      /* it may return */
static uv_sem_t left;    /* it is about to */

/* One thread, so that a second call has to wait for the first. */
static void
one_thread(void)
{
    (void)setenv("UV_THREADPOOL_SIZE", "1", 1);
    (void)uv_sem_init(&started, 0);
    (void)uv_sem_init(&go, 0);
    (void)uv_sem_init(&left, 0);
}

TestSuite(blocking, .init = one_thread, .fini = check_clean, .timeout = 20);

static struct belay_result
run(const belay_function *function, const void *arguments)
{
    struct belay_result result = {.code = 1};

    (void)belay_run(function, arguments,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator), &result);
    return result;
}

static int
give(void *arg)
{
    return *(int *)arg;
}

/* Says that it has begun, waits to be let go, returns what arg points to. */
static int
hold(void *arg)
{
    int code = arg != NULL ? *(int *)arg : 0;

    uv_sem_post(&started);
    uv_sem_wait(&go);
    uv_sem_post(&left);
    return code;
}

struct one_call {
    belay_blocking_fn *fn;
    void *arg;
};

BELAY_ASYNC(one_call)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_blocking(task, self->fn, self->arg));
    BELAY_END;
}

Test(blocking, code_of_the_function_is_delivered)
{
    int code = 0;
    struct one_call call = {give, &code};

    cr_expect(eq(int, run(&one_call, &call).code, 0));
    code = -71;
    cr_expect(eq(int, run(&one_call, &call).code, -71));
    code = 71;
    cr_expect(eq(int, run(&one_call, &call).code, BELAY_EINVAL));
}

static int
note_thread(void *arg)
{
    *(uv_thread_t *)arg = uv_thread_self();
    return 0;
}

Test(blocking, function_runs_on_another_thread)
{
    uv_thread_t here = uv_thread_self();
    uv_thread_t there = here;
    struct one_call call = {note_thread, &there};

    cr_expect(eq(int, run(&one_call, &call).code, 0));
    cr_expect(not(uv_thread_equal(&here, &there)));
}

struct pair {
    belay_group *group;
    belay_task *other;
    int code;
    struct belay_result seen;  /* of the call */
    struct belay_result after; /* of the next checkpoint */
};

struct caller {
    struct pair *pair;
};

BELAY_ASYNC(caller)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_blocking(task, hold, &self->pair->code));
    self->pair->seen = *belay_result(task);
    BELAY_TRY(belay_checkpoint(task));
    self->pair->after = *belay_result(task);
    BELAY_END;
}

struct meanwhile {
    struct pair *pair;
};

BELAY_ASYNC(meanwhile)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->pair->group)) {
        BELAY_CHECK(belay_spawn(self->pair->group, caller, .pair = self->pair));
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_AWAIT(belay_checkpoint(task));
        uv_sem_wait(&started);
        uv_sem_post(&go); /* from the loop: so it was free */
    }
    BELAY_END;
}

Test(blocking, loop_runs_meanwhile)
{
    struct pair pair = {0};

    cr_expect(eq(int, run(&meanwhile, &(struct meanwhile){&pair}).code, 0));
    cr_expect(eq(int, pair.seen.code, 0));
}

struct cancel_running {
    struct pair *pair;
};

BELAY_ASYNC(cancel_running)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->pair->group)) {
        BELAY_CHECK(belay_spawn(self->pair->group, caller, .pair = self->pair));
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_AWAIT(belay_checkpoint(task));
        uv_sem_wait(&started);
        belay_group_cancel(self->pair->group, "test");
        BELAY_TRY(belay_checkpoint(task));
        BELAY_TRY(belay_checkpoint(task));
        cr_expect(eq(sz, belay_group_count(self->pair->group), 1));
        uv_sem_post(&go);
    }
    BELAY_END;
}

Test(blocking, s129_running_call_refuses_and_its_result_is_delivered)
{
    struct pair pair = {.code = -71};
    struct cancel_running arguments = {&pair};

    cr_expect(eq(int, run(&cancel_running, &arguments).code, 0));
    cr_expect(eq(int, pair.seen.code, -71));
    cr_expect(not(pair.seen.cancelled));
    cr_expect(pair.after.cancelled);
}

static bool second_ran;

static int
second(void *arg)
{
    (void)arg;
    second_ran = true;
    return 0;
}

struct queued_caller {
    struct pair *pair;
};

BELAY_ASYNC(queued_caller)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_blocking(task, second, NULL));
    self->pair->seen = *belay_result(task);
    BELAY_END;
}

/* libuv has a code of its own for a lookup that uv_cancel() took. */
struct queued_lookup {
    struct pair *pair;
    uv_getaddrinfo_t request;
    struct belay_op op;
};

static void
on_looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct queued_lookup *self = request->data;

    cr_expect(eq(int, status, UV_EAI_CANCELED));
    uv_freeaddrinfo(found);
    belay_op_done(&self->op, status, NULL);
}

static enum belay_abort
abort_lookup(struct belay_op *op)
{
    struct queued_lookup *self = op->data;

    return uv_cancel((uv_req_t *)&self->request) == 0 ? BELAY_ABORT_LATER
                                                      : BELAY_ABORT_REFUSED;
}

static belay_next
look_up(belay_task *task, struct queued_lookup *self)
{
    uv_loop_t *loop = belay_runtime_loop(belay_task_runtime(task));
    int code;

    self->op.data = self;
    if (belay_op_begin(task, &self->op, abort_lookup) == 0) {
        self->request.data = self;
        code = uv_getaddrinfo(
            loop, &self->request, on_looked_up, "localhost", NULL, NULL);
        if (code < 0) {
            belay_op_done(&self->op, code, NULL);
        }
    }
    return belay_op_wait(&self->op);
}

BELAY_ASYNC(queued_lookup)
{
    BELAY_BEGIN;
    BELAY_TRY(look_up(task, self));
    self->pair->seen = *belay_result(task);
    BELAY_END;
}

struct cancel_queued {
    const belay_function *queued; /* its arguments begin with a pair */
    struct pair *pair;
    struct pair first;
};

BELAY_ASYNC(cancel_queued)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->first.group)) {
        BELAY_CHECK(
            belay_spawn(self->first.group, caller, .pair = &self->first));
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_AWAIT(belay_checkpoint(task));
        uv_sem_wait(&started); /* it holds the only thread */
        BELAY_CHECK(belay_group_spawn(self->first.group, self->queued,
            &(struct queued_lookup){.pair = self->pair},
            BELAY_SPAWN_OPTS(.task = &self->pair->other)));
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_AWAIT(belay_checkpoint(task));
        (void)belay_task_cancel(self->pair->other, "test");
        BELAY_AWAIT(belay_task_join(task, self->pair->other));
        belay_task_unref(self->pair->other);
        uv_sem_post(&go);
    }
    BELAY_END;
}

Test(blocking, s129_queued_call_never_runs_once_cancelled)
{
    struct pair pair = {0};
    struct cancel_queued arguments = {&queued_caller, .pair = &pair};

    cr_expect(eq(int, run(&cancel_queued, &arguments).code, 0));
    cr_expect(pair.seen.cancelled);
    cr_expect(eq(int, pair.seen.code, BELAY_ECANCELED));
    cr_expect(not(second_ran));
}

Test(blocking, s129_a_queued_lookup_that_is_cancelled_counts_as_cancelled)
{
    struct pair pair = {0};
    struct cancel_queued arguments = {&queued_lookup, .pair = &pair};

    cr_expect(eq(int, run(&cancel_queued, &arguments).code, 0));
    cr_expect(pair.seen.cancelled);
    cr_expect(eq(int, pair.seen.code, BELAY_ECANCELED));
}

static int released;

static void
release(void *arg)
{
    (void)arg;
    released++;
}

struct cancelled_first {
    bool abandon;
    struct belay_result *seen;
};

BELAY_ASYNC(cancelled_first)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(task, belay_seconds(0), NULL)) {
        if (self->abandon) {
            BELAY_TRY(belay_blocking_or_abandon(task, second, NULL, release));
        } else {
            BELAY_TRY(belay_blocking(task, second, NULL));
        }
        *self->seen = *belay_result(task);
    }
    BELAY_END;
}

Test(blocking, s12_cancelled_task_starts_nothing)
{
    struct belay_result seen = {0};
    struct cancelled_first arguments = {false, &seen};

    cr_expect(eq(int, run(&cancelled_first, &arguments).code, 0));
    cr_expect(seen.cancelled);
    arguments.abandon = true;
    seen.cancelled = false;
    cr_expect(eq(int, run(&cancelled_first, &arguments).code, 0));
    cr_expect(seen.cancelled);
    cr_expect(not(second_ran));
    cr_expect(eq(int, released, 1));
}

struct abandoned_call {
    struct belay_result *seen;
};

struct abandoning {
    belay_group *group;
    struct belay_result *seen;
};

BELAY_ASYNC(abandoned_call)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_blocking_or_abandon(task, hold, NULL, release));
    *self->seen = *belay_result(task);
    BELAY_END;
}

BELAY_ASYNC(abandoning)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(
            belay_spawn(self->group, abandoned_call, .seen = self->seen));
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_AWAIT(belay_checkpoint(task));
        uv_sem_wait(&started);
        belay_group_cancel(self->group, "test");
    }
    cr_expect(eq(int, released, 0)); /* the task did not wait for it */
    uv_sem_post(&go);
    BELAY_END;
}

Test(blocking, abandoned_call_ends_unobserved_but_before_the_runtime)
{
    struct belay_result seen = {0};
    struct abandoning arguments = {.seen = &seen};

    cr_expect(eq(int, run(&abandoning, &arguments).code, 0));
    cr_expect(seen.cancelled);
    cr_expect(eq(int, released, 1));
    cr_expect(eq(int, uv_sem_trywait(&left), 0));
}

struct kept {
    int *code;
};

BELAY_ASYNC(kept)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_blocking_or_abandon(task, give, self->code, release));
    cr_expect(eq(int, belay_result(task)->code, *self->code));
    cr_expect(eq(int, released, 1));
    BELAY_END;
}

Test(blocking, call_that_is_not_abandoned_delivers_its_code)
{
    int code = -71;

    cr_expect(eq(int, run(&kept, &(struct kept){&code}).code, 0));
    cr_expect(eq(int, released, 1));
}

static const struct belay_var variable = {"variable", NULL};

static int
look(void *arg)
{
    *(void **)arg = belay_blocking_var(&variable);
    return 0;
}

struct snapshot {
    int *value;
    void **seen;
};

BELAY_ASYNC(snapshot)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &variable, self->value, NULL));
    BELAY_AWAIT(belay_blocking(task, look, self->seen));
    cr_expect(eq(ptr, *self->seen, self->value));
    *self->seen = NULL;
    BELAY_AWAIT(belay_blocking_or_abandon(task, look, self->seen, NULL));
    cr_expect(eq(ptr, *self->seen, self->value));
    cr_expect(eq(ptr, belay_blocking_var(&variable), NULL));
    BELAY_END;
}

Test(blocking, s122_function_sees_the_variables_of_the_task)
{
    int value = 1;
    void *seen = NULL;

    cr_expect(
        eq(int, run(&snapshot, &(struct snapshot){&value, &seen}).code, 0));
}

struct both {
    int *code;
};

BELAY_ASYNC(both)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_blocking(task, give, self->code));
    BELAY_AWAIT(belay_blocking_or_abandon(task, give, self->code, release));
    BELAY_END;
}

Test(blocking, every_failed_allocation_is_reported_and_leaks_nothing)
{
    int code = 0;
    struct belay_result result;
    size_t failed;

    for (size_t k = 0;; k++) {
        released = 0;
        result = (struct belay_result){0};
        test_alloc_fail_at(k);
        code = belay_run(&both, &(struct both){&(int){0}},
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator), &result);
        failed = test_alloc_failures();
        test_alloc_never_fail();
        belay_error_unref(result.error);
        cr_assert(eq(sz, test_alloc_live_blocks(), 0));
        if (failed == 0) {
            break;
        }
        cr_expect(eq(int, code, BELAY_ENOMEM));
    }
    cr_expect(eq(int, code, 0));
    cr_expect(eq(int, released, 1));
}
