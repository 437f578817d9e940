/* gpu_crowd.c - tasks that want leases of one pool, at given times. */
#include "test/support/gpu_crowd.h"

#include "gpu/internal.h"

void
gpu_may_be_lost(void)
{
    program_other_code = BELAY_GPU_ELOST;
}

const char *
gpu_slots_text(belay_gpu_lease lease)
{
    static char text[256];
    belay_gpu_lease member;
    size_t len = 0;

    for (uint32_t i = 0; belay_gpu_lease_member(lease, i, &member) == 0; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%u",
            i > 0 ? "," : "", member.slot->index);
    }
    return text;
}

/* ---- a job ---- */

struct work {
    const struct gpu_job *job;
    struct gpu_crowd *crowd;
    /* locals */
    struct gpu_inside inside;
    struct belay_gpu_lease_opts opts;
};

static belay_duration
span_or_forever(int ms)
{
    return ms > 0 ? belay_milliseconds(ms) : BELAY_FOREVER;
}

BELAY_ASYNC(work)
{
    BELAY_BEGIN;
    self->opts = (struct belay_gpu_lease_opts){
        .size = sizeof(self->opts),
        .bytes = self->job->bytes,
        .devices = self->job->devices,
        .priority = self->job->priority,
        .max_hold = belay_milliseconds(self->job->max_hold_ms),
        .nested = self->job->nested,
        .no_wait = self->job->no_wait,
    };
    BELAY_WITH (belay_timeout(task, span_or_forever(self->job->timeout_ms))) {
        BELAY_WITH (belay_gpu_lease_open(
            task, self->crowd->pool, &self->opts, &self->inside.lease)) {
            trace("%s+%s", self->job->name, gpu_slots_text(self->inside.lease));
            if (self->job->inside != NULL) {
                self->inside.job = self->job;
                self->inside.pool = self->crowd->pool;
                BELAY_AWAIT(belay_call(task, self->job->inside, &self->inside));
            }
            BELAY_AWAIT(
                belay_sleep(task, belay_milliseconds(self->job->hold_ms)));
        }
    }
    trace("%s-", self->job->name);
    BELAY_END;
}

struct job {
    const struct gpu_job *job;
    struct gpu_crowd *crowd;
};

struct canceller {
    struct gpu_crowd *crowd;
    belay_task *target;
    int at_ms;
};

BELAY_ASYNC(canceller)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_sleep_until(
        task, (belay_time){
                  self->crowd->start.ns + belay_milliseconds(self->at_ms).ns}));
    (void)belay_task_cancel(self->target, "by the test");
    belay_task_unref(self->target);
    return belay_pass(task);
    BELAY_END;
}

BELAY_ASYNC(job)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep_until(task,
        (belay_time){
            self->crowd->start.ns + belay_milliseconds(self->job->at_ms).ns}));
    BELAY_TRY(BELAY_CALL(work, .job = self->job, .crowd = self->crowd));
    if (belay_result(task)->code < 0) {
        trace("%s!%s", self->job->name, trace_result(belay_result(task)));
    }
    BELAY_END;
}

static int
start_job(struct gpu_crowd *crowd, const struct gpu_job *job_)
{
    belay_task *handle = NULL;
    int code = belay_group_spawn(crowd->group, &job,
        &(const struct job){.job = job_, .crowd = crowd},
        BELAY_SPAWN_OPTS(.name = job_->name,
            .task = job_->cancel_ms > 0 ? &handle : NULL));

    if (code < 0 || job_->cancel_ms == 0) {
        return code;
    }
    code = belay_spawn(crowd->group, canceller, .crowd = crowd,
        .target = handle, .at_ms = job_->cancel_ms);
    if (code < 0) {
        belay_task_unref(handle);
    }
    return code;
}

/* ---- the crowd ---- */

struct closer {
    struct gpu_crowd *crowd;
};

BELAY_ASYNC(closer)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(self->crowd->close_ms)));
    if (self->crowd->drain) {
        BELAY_AWAIT(belay_gpu_pool_drain(task, self->crowd->pool));
        trace("drained");
    } else {
        BELAY_AWAIT(belay_gpu_pool_close(
            task, self->crowd->pool, &self->crowd->leaked));
        trace("closed");
    }
    BELAY_END;
}

static belay_next crowd_step(belay_task *task, void *arg);

const belay_function gpu_crowd = {
    "gpu_crowd", __FILE__, sizeof(struct gpu_crowd), crowd_step, 0};

static belay_next
crowd_body(belay_task *task, struct gpu_crowd *self)
{
    BELAY_BEGIN;
    self->opts.size = sizeof(self->opts);
    BELAY_WITH (belay_gpu_pool_open(task, &self->opts, &self->pool)) {
        gpu_oracle_watch(self->pool, !self->no_model);
        self->start = belay_now(task);
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (size_t i = 0; i < self->count; i++) {
                BELAY_CHECK(start_job(self, &self->jobs[i]));
            }
            if (self->close_ms > 0) {
                BELAY_CHECK(belay_spawn(self->group, closer, .crowd = self));
            }
        }
        if (self->after != NULL) {
            self->after(self->pool);
        }
    }
    BELAY_END;
}

static belay_next
crowd_step(belay_task *task, void *arg)
{
    return crowd_body(task, arg);
}

static struct program
program_of(const struct gpu_crowd *crowd)
{
    return (struct program){.function = &gpu_crowd, .arguments = crowd};
}

int
gpu_crowd_run(const struct gpu_crowd *crowd)
{
    const struct program program = program_of(crowd);

    trace_clear();
    return program_run(&program, NULL);
}

static void
forget_trace(const struct belay_result *result, bool disturbed)
{
    (void)result;
    (void)disturbed;
    trace_clear();
}

void
gpu_crowd_sweep(const struct gpu_crowd *crowd)
{
    struct program program = program_of(crowd);

    program.check = forget_trace;
    trace_clear();
    sweep(&program);
}

BELAY__STEP(gpu_waiter)
const belay_function gpu_waiter = {
    "gpu_waiter", __FILE__, sizeof(struct gpu_waiter), gpu_waiter__step, 0};
BELAY__BODY(gpu_waiter)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
        trace("waiter");
    }
    BELAY_END;
}
