/* gpu_demo_tasks.c - the tasks of `belay gpu demo`.
 *
 * All that is drawn by lot is drawn before anything runs, from the seed alone.
 * A task is started in one of three waves, so that the queue is seen to grow
 * and to shrink; those that are to be cancelled are cancelled from outside, as
 * a person would, while they wait or while a kernel runs.
 */
#include "cli/gpu_demo.h"

#include "gpu/kernels.h"

#include <belay/async.h>
#include <belay/managers.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TILE 16 /* of the kernel */
#define LAUNCHES_MAX 32
#define LOOK_MS 10 /* how often the waves and the cancels are looked after */

const char *const belay__gpu_class_names[BELAY__GPU_CLASSES] = {
    "small", "medium", "large"};

/* Large ones go first: what comes last is then short. */
static const uint32_t priorities[BELAY__GPU_CLASSES] = {0, 2, 4};

/* The size of matrices, and how often one operation multiplies them: enough
 * for the device to have something to do.
 */
struct load {
    const char *backend;
    uint32_t launches;
    uint32_t n[BELAY__GPU_CLASSES];
};

static const struct load loads[] = {
    {"cuda", 32, {256, 512, 1024}},
    {"opencl", 1, {96, 160, 256}},
    {"sim", 1, {32, 48, 64}},
};

uint32_t belay__gpu_class_priority(enum belay__gpu_class class)
{
    return priorities[class];
}

/* ---- by lot ---- */

/* From `least` to `most`. */
static uint32_t
draw(struct belay__gpusim_random *random, uint32_t least, uint32_t most)
{
    return least
           + (uint32_t)(belay__gpusim_uniform(random)
                        * (double)(most - least + 1));
}

static void
draw_job(struct belay__gpu_demo *demo, struct belay__gpu_demo_task *job,
    struct belay__gpusim_random *random)
{
    const struct belay__gpu_demo_options *options = demo->options;
    const uint32_t lot = draw(random, 1, 10);
    const bool simulated = strcmp(demo->backend, "sim") == 0;

    job->class = lot <= 5   ? BELAY__GPU_SMALL
                 : lot <= 8 ? BELAY__GPU_MEDIUM
                            : BELAY__GPU_LARGE;
    job->kernels = draw(random, 2 + (uint32_t)job->class, 4 + 2 * job->class);
    job->shift = draw(random, 0, demo->factors[job->class].n);
    job->cancel_at = BELAY__GPU_NEVER;
    job->fail_at = BELAY__GPU_NEVER;
    if (belay__gpusim_uniform(random) < options->cancel) {
        job->cancel_waiting = belay__gpusim_uniform(random) < 0.3;
        job->cancel_at = job->cancel_waiting
                             ? draw(random, 0, options->tasks / 4)
                             : draw(random, 0, job->kernels - 1);
    }
    /* Simulated devices fail by themselves. */
    if (belay__gpusim_uniform(random) < options->fail && !simulated) {
        job->fail_at = draw(random, 0, job->kernels - 1);
    }
}

/* ---- matrices ---- */

static int
make_factors(
    struct belay__gpu_factors *factors, struct belay__gpusim_random *random)
{
    const size_t n = factors->n;
    uint32_t other;
    uint32_t row;

    factors->left = malloc(2 * n * n * sizeof(float));
    factors->right = calloc(n * n, sizeof(float));
    factors->from = malloc(n * sizeof(uint32_t));
    factors->sign = malloc(n * sizeof(float));
    if (factors->left == NULL || factors->right == NULL || factors->from == NULL
        || factors->sign == NULL) {
        return BELAY_ENOMEM;
    }
    for (size_t i = 0; i < 2 * n * n; i++) {
        factors->left[i] = (float)draw(random, 1, 4096) / 8;
    }
    for (uint32_t i = 0; i < factors->n; i++) { /* Fisher and Yates */
        other = draw(random, 0, i);
        row = i;
        if (other != i) {
            row = factors->from[other];
            factors->from[other] = i;
        }
        factors->from[i] = row;
    }
    for (size_t i = 0; i < n; i++) {
        factors->sign[i] = draw(random, 0, 1) == 0 ? 1.0F : -1.0F;
        factors->right[factors->from[i] * n + i] = factors->sign[i];
    }
    return 0;
}

/* What stands in `column` after that many products: *ret_from is the column
 * of the left factor that it came from.
 */
static float
follow(const struct belay__gpu_factors *factors, uint32_t column,
    uint32_t products, uint32_t *ret_from)
{
    float sign = 1;

    for (uint32_t i = 0; i < products; i++) {
        sign *= factors->sign[column];
        column = factors->from[column];
    }
    *ret_from = column;
    return sign;
}

static bool
is_right(const struct belay__gpu_factors *factors,
    const struct belay__gpu_demo_task *job, const float *result)
{
    const size_t n = factors->n;
    const float *left = factors->left + job->shift * n;
    uint32_t from;
    float sign;

    for (uint32_t column = 0; column < factors->n; column++) {
        sign = follow(factors, column, job->kernels * factors->launches, &from);
        for (size_t row = 0; row < n; row++) {
            if (result[row * n + column] != sign * left[row * n + from]) {
                return false;
            }
        }
    }
    return true;
}

/* ---- the demo as a whole ---- */

int
belay__gpu_demo_init(
    struct belay__gpu_demo *demo, const struct belay__gpu_demo_options *options)
{
    struct belay__gpusim_random random =
        belay__gpusim_stream(options->seed, 1000);
    const struct load *load = &loads[0];
    struct belay__gpu_demo_task *job;

    demo->options = options;
    while (strcmp(load->backend, demo->backend) != 0) {
        load++; /* "sim" is the last of them */
    }
    for (int i = 0; i < BELAY__GPU_CLASSES; i++) {
        demo->factors[i].n = load->n[i];
        demo->factors[i].launches = load->launches;
        if (make_factors(&demo->factors[i], &random) < 0) {
            return BELAY_ENOMEM;
        }
    }
    demo->jobs = calloc(options->tasks, sizeof(*demo->jobs));
    if (demo->jobs == NULL) {
        return BELAY_ENOMEM;
    }
    demo->job_count = options->tasks;
    random = belay__gpusim_stream(options->seed, 1001);
    for (uint32_t i = 0; i < demo->job_count; i++) {
        job = &demo->jobs[i];
        draw_job(demo, job, &random);
        (void)snprintf(job->name, sizeof(job->name), "%s-%03" PRIu32,
            belay__gpu_class_names[job->class], i + 1);
    }
    return 0;
}

void
belay__gpu_demo_fini(struct belay__gpu_demo *demo)
{
    for (int i = 0; i < BELAY__GPU_CLASSES; i++) {
        free(demo->factors[i].left);
        free(demo->factors[i].right);
        free(demo->factors[i].from);
        free(demo->factors[i].sign);
    }
    free(demo->jobs);
    belay__gpu_record_fini(&demo->record);
}

struct belay__gpu_demo_task *
belay__gpu_demo_find(const struct belay__gpu_demo *demo, const char *task_name)
{
    const uintptr_t first = (uintptr_t)demo->jobs;
    const uintptr_t at = (uintptr_t)task_name;

    if (at < first || at >= first + demo->job_count * sizeof(*demo->jobs)) {
        return NULL;
    }
    return &demo->jobs[(at - first) / sizeof(*demo->jobs)];
}

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
    if (!is_right(self->factors, self->job, self->result)) {
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
