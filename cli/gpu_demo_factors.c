/* gpu_demo_factors.c - what `belay gpu demo` draws by lot, and multiplies.
 *
 * All of it is drawn before anything runs, from the seed alone: how large a
 * task is, whether and when it is cancelled or fails, and the matrices.
 */
#include "cli/gpu_demo.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

bool
belay__gpu_demo_is_right(const struct belay__gpu_factors *factors,
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
