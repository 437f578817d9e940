/* gpu_demo_tasks.c - the tasks of `belay gpu demo`.
 *
 * A task is started in one of three waves, so that the queue is seen to grow
 * and to shrink; those that are to be cancelled are cancelled from outside, as
 * a person would, while they wait or while a kernel runs.
 */
#include "cli/gpu_demo.h"

#include "gpu/kernels.h"

#include <belay/async.h>
#include <belay/managers.h>

#include <stdio.h>
#include <stdlib.h>

#define TILE 16 /* of the kernel */
#define LAUNCHES_MAX 32
#define LOOK_MS 10 /* how often the waves and the cancels are looked after */

/* ---- a task ---- */

struct product {
    struct belay__gpu_demo *demo;
    struct belay__gpu_demo_task *job;
    /* locals */
    const struct belay__gpu_factors *factors;
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
    belay_gpu_kernel *none;
    belay_gpu_buffer buffers[3]; /* two that take turns, the right factor */
    uint32_t allocated;
    float *result;
};

static size_t
bytes_of(const struct product *self)
{
    return (size_t)self->factors->n * self->factors->n * sizeof(float);
}

static struct belay_gpu_cmd
write_of(belay_gpu_buffer buffer, float *from, size_t bytes)
{
    return (struct belay_gpu_cmd){.kind = BELAY_GPU_WRITE,
        .transfer = {.buffer = buffer, .bytes = bytes, .host = from}};
}

static belay_next
write_factors(belay_task *task, struct product *self)
{
    float *left =
        self->factors->left + (size_t)self->job->shift * self->factors->n;
    const struct belay_gpu_cmd cmds[] = {
        write_of(self->buffers[0], left, bytes_of(self)),
        write_of(self->buffers[2], self->factors->right, bytes_of(self)),
    };

    return belay_gpu_run(task, self->lease, cmds, 2);
}

static belay_next
multiply(belay_task *task, struct product *self)
{
    const uint32_t tiles = self->factors->n / TILE;
    const uint32_t launches = self->factors->launches;
    struct belay_gpu_arg args[2][4];
    struct belay_gpu_cmd cmds[LAUNCHES_MAX];
    uint32_t turn = self->job->done * launches;

    for (int i = 0; i < 2; i++) {
        args[i][0] = belay_gpu_arg_buffer(self->buffers[i]);
        args[i][1] = belay_gpu_arg_buffer(self->buffers[2]);
        args[i][2] = belay_gpu_arg_buffer(self->buffers[1 - i]);
        args[i][3] = belay_gpu_arg_u32(self->factors->n);
    }
    for (uint32_t i = 0; i < launches; i++, turn++) {
        cmds[i] = (struct belay_gpu_cmd){.kind = BELAY_GPU_LAUNCH,
            .launch = {.kernel = self->kernel,
                .grid = {tiles, tiles, 1},
                .block = {TILE, TILE, 1},
                .args = args[turn % 2],
                .arg_count = 4}};
    }
    self->demo->launches += launches;
    return belay_gpu_run(task, self->lease, cmds, launches);
}

/* A kernel that no compiler takes: fails this operation and no other. */
static belay_next
fail_here(belay_task *task, struct product *self)
{
    static const char text[] = "not a kernel";
    static const struct belay_gpu_source source = {
        .size = sizeof(source),
        .entry = "none",
        .ptx = {text, sizeof(text) - 1},
        .opencl = {text, sizeof(text) - 1},
    };

    return belay_gpu_build(task, self->lease, &source, &self->none);
}

static belay_next
read_result(belay_task *task, struct product *self)
{
    const uint32_t products = self->job->kernels * self->factors->launches;

    self->result = calloc(1, bytes_of(self));
    if (self->result == NULL) {
        return belay_fail(task, BELAY_ENOMEM, NULL);
    }
    return belay_gpu_run_one(task, self->lease,
        BELAY_GPU_CMD_READ(
            self->buffers[products % 2], 0, self->result, bytes_of(self)));
}

static void
free_result(void *arg)
{
    struct product *self = arg;

    free(self->result);
}

static void
check_result(struct product *self)
{
    self->demo->checked++;
    if (!belay__gpu_demo_is_right(self->factors, self->job, self->result)) {
        self->demo->wrong++;
    }
}

BELAY_ASYNC(product)
{
    BELAY_BEGIN;
    self->factors = &self->demo->factors[self->job->class];
    self->job->id = belay_task_id(task);
    self->job->state = BELAY__GPU_TASK_WAITING;
    BELAY_WITH (belay_defer(task, free_result, self)) {
        BELAY_WITH (belay_gpu_lease_open(task, self->demo->pool,
            BELAY_GPU_LEASE_OPTS(.priority = belay__gpu_class_priority(
                                     self->job->class)),
            &self->lease)) {
            self->job->state = BELAY__GPU_TASK_HOLDING;
            BELAY_AWAIT(belay_gpu_build(
                task, self->lease, &belay__gpu_matrix_product, &self->kernel));
            for (; self->allocated < 3; self->allocated++) {
                BELAY_AWAIT(belay_gpu_alloc(task, self->lease, bytes_of(self),
                    &self->buffers[self->allocated]));
            }
            BELAY_AWAIT(write_factors(task, self));
            for (; self->job->done < self->job->kernels; self->job->done++) {
                if (self->job->done == self->job->fail_at) {
                    BELAY_AWAIT(fail_here(task, self));
                }
                BELAY_AWAIT(multiply(task, self));
            }
            BELAY_AWAIT(read_result(task, self));
        }
        self->job->state = BELAY__GPU_TASK_RETURNED;
        check_result(self);
    }
    BELAY_END;
}

/* ---- all of them ---- */

static void
job_ended(belay_task *child, const struct belay_result *result, void *arg)
{
    struct belay__gpu_demo *demo = arg;
    struct belay__gpu_demo_task *job =
        belay__gpu_demo_find(demo, belay_task_name(child));

    if (job != NULL) { /* it always is one */
        job->state = BELAY__GPU_TASK_ENDED;
    }
    demo->ended++;
    if (result->cancelled) {
        demo->cancelled++;
    } else if (result->code < 0) {
        if (demo->failed++ == 0) {
            (void)snprintf(demo->failure, sizeof(demo->failure), "%s: %.120s",
                belay_task_name(child),
                result->error != NULL ? belay_error_message(result->error)
                                      : belay_code_text(result->code));
        }
    } else {
        demo->done++;
    }
    belay__gpu_record_take(&demo->record, demo->pool);
}

/* Half of them at first, a quarter when a quarter has ended, the rest when
 * half has.
 */
static uint32_t
due(const struct belay__gpu_demo *demo)
{
    const uint32_t count = demo->job_count;

    if (demo->ended >= count / 2 || count < 8) {
        return count;
    }
    return demo->ended >= count / 4 ? count - count / 4 : count / 2;
}

static int
spawn_due(struct belay__gpu_demo *demo)
{
    struct belay__gpu_demo_task *job;
    int code;

    for (; demo->spawned < due(demo); demo->spawned++) {
        job = &demo->jobs[demo->spawned];
        code = belay_group_spawn(demo->group, &product,
            &(const struct product){.demo = demo, .job = job},
            BELAY_SPAWN_OPTS(.name = job->name, .task = &job->task));
        if (code < 0) {
            return code;
        }
    }
    return 0;
}

/* One that was to be cancelled while it waited may have its slot by then. */
static bool
is_due_to_cancel(
    const struct belay__gpu_demo *demo, const struct belay__gpu_demo_task *job)
{
    if (job->cancel_at == BELAY__GPU_NEVER || job->cancel_sent) {
        return false;
    }
    if (job->cancel_waiting) {
        return (job->state == BELAY__GPU_TASK_WAITING
                   || job->state == BELAY__GPU_TASK_HOLDING)
               && demo->ended >= job->cancel_at;
    }
    return job->state == BELAY__GPU_TASK_HOLDING && job->done >= job->cancel_at;
}

/* The time is kept: from now on its lease, if it has one, is draining. */
static void
note_cancel(struct belay__gpu_demo_task *job, belay_time now)
{
    if (job->state != BELAY__GPU_TASK_ENDED && !job->cancel_sent) {
        job->cancel_sent = true;
        job->stopped = job->state == BELAY__GPU_TASK_HOLDING;
        job->cancelled_at = now;
    }
}

static void
cancel_due(struct belay__gpu_demo *demo, belay_time now)
{
    for (uint32_t i = 0; i < demo->spawned; i++) {
        if (is_due_to_cancel(demo, &demo->jobs[i])) {
            note_cancel(&demo->jobs[i], now);
            (void)belay_task_cancel(demo->jobs[i].task, "drawn by lot");
        }
    }
}

void
belay__gpu_demo_interrupt(struct belay__gpu_demo *demo, belay_time now)
{
    for (uint32_t i = 0; i < demo->spawned; i++) {
        note_cancel(&demo->jobs[i], now);
    }
    belay_group_cancel(demo->group, "interrupted");
    if (demo->show_fn != NULL) {
        demo->show_fn(demo->show_arg);
    }
}

static void
drop_tasks(void *arg)
{
    struct belay__gpu_demo *demo = arg;

    demo->group = NULL;
    for (uint32_t i = 0; i < demo->job_count; i++) {
        belay_task_unref(demo->jobs[i].task);
        demo->jobs[i].task = NULL;
    }
}

struct products {
    struct belay__gpu_demo *demo;
};

BELAY_ASYNC(products)
{
    struct belay__gpu_demo *demo = self->demo;

    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, drop_tasks, demo)) {
        BELAY_WITH (belay_group_open(task,
            BELAY_GROUP_OPTS(.name = "tasks", .policy = BELAY_SUPERVISE,
                .on_child = job_ended, .arg = demo),
            &demo->group)) {
            while (demo->ended < demo->job_count) {
                BELAY_CHECK(spawn_due(demo));
                cancel_due(demo, belay_now(task));
                BELAY_AWAIT(belay_sleep(task, belay_milliseconds(LOOK_MS)));
            }
        }
    }
    BELAY_END;
}

belay_next
belay__gpu_demo_run(belay_task *task, struct belay__gpu_demo *demo)
{
    return BELAY_CALL(products, .demo = demo);
}
