/* others.c - what comes from other threads: posts, and work that blocks.
 *
 * Posts are made at known points, some of them on a thread that has ended when
 * its post is there. In place of libuv's thread pool stands one whose threads
 * take the time that the program says: which call ends first, and which still
 * waits for a thread when it is cancelled, follows from the program.
 */
#include "test/model/interpret.h"

#include "runtime/internal.h"

#include <belay/blocking.h>

#include <stdio.h>
#include <stdlib.h>

/* As in others.py. */
#define THREADS 1
enum what {
    POST_SET,
    POST_RELEASE,
    POST_CANCEL,
};

static void
put_outside(belay_runtime *runtime, const char *what, int64_t id)
{
    const belay_task *task = runtime->current;

    note_moved();
    printf("%lld %s %s %lld",
        (long long)time_of((belay_time){belay__clock_now(runtime)}),
        task != NULL ? belay_task_name(task) : "-", what, (long long)id);
}

/* ---- posts ---- */

struct post {
    const int64_t *args;
    belay_portal *portal;
    uint64_t task_id; /* to cancel; 0: none */
};

static struct post posts[OPS_MAX]; /* by id */

static void
run_post(belay_runtime *runtime, void *arg)
{
    const struct post *post = arg;

    put_outside(runtime, "posted", post->args[0]);
    printf("\n");
    if (post->args[1] == POST_SET) {
        belay_event_set(&events[post->args[2]]);
    } else if (post->args[1] == POST_RELEASE) {
        belay_semaphore_release(&semaphores[post->args[2]]);
    }
}

static void
make_post(void *arg)
{
    struct post *post = arg;

    if ((post->task_id != 0
            && belay_portal_cancel(post->portal, post->task_id, NULL) < 0)
        || belay_portal_post(post->portal, run_post, post) < 0) {
        abort();
    }
}

void
post(belay_task *task, const int64_t *args)
{
    struct post *post = &posts[args[0]];
    const belay_task *target = args[1] == POST_CANCEL ? tasks[args[2]] : NULL;
    uv_thread_t thread;

    *post = (struct post){
        .args = args, .task_id = target != NULL ? belay_task_id(target) : 0};
    if (belay_portal_open(belay_task_runtime(task), &post->portal) < 0) {
        abort();
    }
    if (args[3] == 0) {
        make_post(post);
    } else if (uv_thread_create(&thread, make_post, post) < 0
               || uv_thread_join(&thread) < 0) {
        abort();
    }
    belay_portal_unref(post->portal);
    note_code(task, "post", args[0], 0);
}

/* ---- a pool of threads ---- */

struct job {
    const int64_t *args;
    belay_runtime *runtime;
    belay_task *task;
    struct job *next; /* in the queue */
    uv_work_t *work;  /* NULL: not in the pool */
    uv_work_cb run;
    uv_after_work_cb after;
    struct belay__timer timer;
    bool waited_for;
    bool queued;
    bool cancelled;
};

static struct job jobs[OPS_MAX];        /* by id */
static struct job *starting[SLOTS + 1]; /* by task: not yet in the pool */
static struct job *queue;
static int busy;

void
others_init(void)
{
    queue = NULL;
    busy = 0;
}

static int
do_work(void *arg)
{
    const struct job *job = arg;

    put_outside(job->runtime, "worked", job->args[0]);
    printf(" %lld\n", (long long)(intptr_t)belay_blocking_var(&vars[0]));
    return (int)job->args[3];
}

static void
release(void *arg)
{
    const struct job *job = arg;

    put_outside(job->runtime, "released", job->args[0]);
    printf("\n");
}

belay_next
work(belay_task *task, const int64_t *args)
{
    struct job *job = &jobs[args[0]];

    *job = (struct job){
        .args = args, .runtime = belay_task_runtime(task), .task = task};
    starting[task_place(belay_task_name(task))] = job;
    return args[4] != 0 ? belay_blocking_or_abandon(task, do_work, job, release)
                        : belay_blocking(task, do_work, job);
}

/* The virtual clock stands still while anything from outside is waited for;
 * this comes with the clock.
 */
static void
end_wait(struct job *job)
{
    if (job->waited_for) {
        job->waited_for = false;
        job->runtime->pending_ops++;
    }
}

static void
begin_jobs(void)
{
    while (queue != NULL && busy < THREADS) {
        struct job *job = queue;

        queue = job->next;
        job->queued = false;
        busy++;
        belay__timer_start(job->runtime, &job->timer,
            belay__due(job->runtime, belay_milliseconds(job->args[2])));
    }
}

static void
job_due(struct belay__timer *timer)
{
    struct job *job = BELAY__CONTAINER(timer, struct job, timer);
    uv_work_t *request = job->work;

    belay__timer_fini(job->runtime, &job->timer);
    job->work = NULL;
    if (job->cancelled) {
        put_outside(job->runtime, "dropped", job->args[0]);
        printf("\n");
    } else {
        job->run(request);
        busy--;
    }
    end_wait(job);
    job->after(request, job->cancelled ? UV_ECANCELED : 0);
    begin_jobs();
}

int
uv_queue_work(
    uv_loop_t *loop, uv_work_t *request, uv_work_cb run, uv_after_work_cb after)
{
    belay_runtime *runtime = belay_task_runtime(root_task);
    struct job *job = starting[task_place(belay_task_name(runtime->current))];
    struct job **end = &queue;

    (void)loop;
    if (belay__timer_init(runtime, &job->timer, job_due) < 0) {
        abort();
    }
    job->work = request;
    job->run = run;
    job->after = after;
    job->waited_for = true;
    job->queued = true;
    runtime->pending_ops--;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = job;
    begin_jobs();
    return 0;
}

static struct job *
job_of(const uv_req_t *request)
{
    struct job *job = jobs;

    while ((const uv_req_t *)job->work != request) {
        job++; /* it is there */
    }
    return job;
}

int
uv_cancel(uv_req_t *request)
{
    struct job *job = job_of(request);
    struct job **link = &queue;

    note(job->task, "hook", job->args[0]);
    if (job->args[4] != 0) {
        end_wait(job); /* it is abandoned */
    }
    if (!job->queued) {
        return UV_EBUSY;
    }
    while (*link != job) {
        link = &(*link)->next;
    }
    *link = job->next;
    job->queued = false;
    job->cancelled = true;
    belay__timer_start(job->runtime, &job->timer,
        belay__due(job->runtime, belay_milliseconds(1)));
    return 0;
}
