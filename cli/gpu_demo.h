/* gpu_demo.h - `belay gpu demo`: its options, its tasks, what came of them
 * (private).
 *
 * Tasks of three classes share the slots of a pool. Each holds one slot while
 * it multiplies matrices there, and its result is checked on the CPU.
 */
#ifndef BELAY_CLI_GPU_DEMO_H
#define BELAY_CLI_GPU_DEMO_H

#include <belay/gpu_stats.h>
#include <belay/gpu_work.h>
#include <belay/group.h>

#include "cli/gpu_record.h"
#include "gpu/sim.h"

enum belay__gpu_progress {
    BELAY__GPU_PROGRESS_AUTO,
    BELAY__GPU_PROGRESS_VIEW, /* drawn over, in colour */
    BELAY__GPU_PROGRESS_LINES,
    BELAY__GPU_PROGRESS_NONE,
};

struct belay__gpu_demo_options {
    const char *backend;
    uint32_t tasks;
    uint32_t devices; /* simulated ones; 0: the default */
    uint32_t slots;   /* of a device; 0: the default */
    double cancel;    /* share of the tasks */
    double fail;
    uint64_t seed;
    const char *timeline; /* paths, or NULL */
    const char *trace;
    bool once;
    enum belay__gpu_progress progress;
};

/* -1: go on; else the exit code; what is wrong was said. */
int belay__gpu_demo_options_parse(
    struct belay__gpu_demo_options *ret, int argc, char **argv);

/* ---- tasks ---- */

enum belay__gpu_class {
    BELAY__GPU_SMALL,
    BELAY__GPU_MEDIUM,
    BELAY__GPU_LARGE,
};
#define BELAY__GPU_CLASSES 3

extern const char *const belay__gpu_class_names[BELAY__GPU_CLASSES];
uint32_t belay__gpu_class_priority(enum belay__gpu_class class);

enum belay__gpu_demo_task_state {
    BELAY__GPU_TASK_NEW,
    BELAY__GPU_TASK_WAITING,
    BELAY__GPU_TASK_HOLDING,
    BELAY__GPU_TASK_RETURNED, /* the slot; the result is not checked yet */
    BELAY__GPU_TASK_ENDED,
};

#define BELAY__GPU_NEVER UINT32_MAX

struct belay__gpu_demo_task {
    char name[20]; /* its task's name, by which a task's job is found */
    enum belay__gpu_class class;
    enum belay__gpu_demo_task_state state;
    uint32_t kernels;    /* operations that multiply */
    uint32_t done;       /* of these */
    uint32_t shift;      /* which rows of the class's matrix it takes */
    uint32_t cancel_at;  /* operations done, or NEVER */
    uint32_t fail_at;    /* the same */
    bool cancel_waiting; /* cancel_at counts tasks that have ended */
    bool cancel_sent;
    bool stopped; /* it had a lease then */
    belay_time cancelled_at;
    uint64_t id; /* of the task */
    belay_task *task;
};

/* Matrices of a class. The second factor has one entry, 1 or -1, in each
 * column: multiplied by it again and again numbers stay what they are, but for
 * sign and place, so that a result can be checked exactly and at once.
 */
struct belay__gpu_factors {
    uint32_t n;
    uint32_t launches; /* of an operation */
    float *left;       /* 2n rows, of which a task takes n */
    float *right;      /* n x n */
    uint32_t *from;    /* the row of the entry in each column */
    float *sign;       /* the entry */
};

struct belay__gpu_demo {
    const struct belay__gpu_demo_options *options;
    char backend[16];
    char devices[512]; /* for the pool */
    bool virtual_time;
    struct belay__gpu_factors factors[BELAY__GPU_CLASSES];
    struct belay__gpu_demo_task *jobs;
    uint32_t job_count;
    uint32_t spawned;
    char kind[120]; /* of devices, for people: "cuda: NVIDIA H200" */
    uint32_t ended;
    uint32_t done; /* these three make up `ended` */
    uint32_t cancelled;
    uint32_t failed;
    uint32_t checked;
    uint32_t wrong;
    char failure[160]; /* the first, in words */
    uint64_t launches;
    belay_gpu_pool *pool; /* while it is open */
    belay_group *group;   /* while there are tasks */
    struct belay__gpu_record record;
    struct belay_gpu_pool_stats stats; /* these at the end */
    belay_duration spent[BELAY_GPU_SLOT_TIMES];
    belay_time began;
    belay_time ended_at;
    void (*show_fn)(void *arg); /* what is displayed is out of date, or NULL */
    void *show_arg;
    bool ran;   /* the pool was opened, and the tasks have run */
    int signal; /* the first that came, or 0 */
};

/* Draws the tasks and makes their matrices. BELAY_ENOMEM: call fini anyway. */
int belay__gpu_demo_init(struct belay__gpu_demo *demo,
    const struct belay__gpu_demo_options *options);
void belay__gpu_demo_fini(struct belay__gpu_demo *demo);

/* Is that what the job's products make? Compared number by number. */
bool belay__gpu_demo_is_right(const struct belay__gpu_factors *factors,
    const struct belay__gpu_demo_task *job, const float *result);

/* The job of the task with this name, or NULL. */
struct belay__gpu_demo_task *belay__gpu_demo_find(
    const struct belay__gpu_demo *demo, const char *task_name);

/* Runs the tasks on the open pool, to the end or until demo->group is
 * cancelled.
 *
 * Errors:  BELAY_ENOMEM; what tasks fail with is in the demo.
 * Threads: loop thread. Cancellation point.
 */
belay_next belay__gpu_demo_run(belay_task *task, struct belay__gpu_demo *demo);

/* Cancels all of them. Only while demo->group is set. */
void belay__gpu_demo_interrupt(struct belay__gpu_demo *demo, belay_time now);

/* ---- what is told ---- */

/* The shortest time in which the slots could have done what they did, each
 * lease from when it was asked for.
 */
belay_duration belay__gpu_demo_ideal(const struct belay__gpu_demo *demo);
/* Writes the files that were asked for; false if one could not be, and that is
 * said on standard error.
 */
bool belay__gpu_demo_write(struct belay__gpu_demo *demo);
void belay__gpu_demo_report(const struct belay__gpu_demo *demo, FILE *out);

#endif
