/* portal.c - posts and cancels from many threads, for ThreadSanitizer: S130,
 * S131.
 *
 * Threads post numbered notes into a runtime that opens and closes under
 * them. Notes of one thread arrive in order and none accepted is lost; after
 * the close every post is refused.
 */
#include <belay/uv.h>

#include <stdio.h>
#include <stdlib.h>

#define THREADS 4
#define POSTS 20000

#define CHECK(condition)                                                \
    do {                                                                \
        if (!(condition)) {                                             \
            (void)fprintf(                                              \
                stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                    \
        }                                                               \
    } while (0)

struct poster {
    uv_thread_t thread;
    belay_portal *portal;
    uint64_t task_id;
    unsigned count;    /* posts to make, unless refused */
    unsigned accepted; /* the poster's */
    unsigned seen;     /* the loop's */
};

struct note {
    struct poster *poster;
    unsigned number;
};

static void
on_note(belay_runtime *runtime, void *arg)
{
    struct note *note = arg;

    (void)runtime;
    CHECK(note->number == note->poster->seen);
    note->poster->seen++;
    free(note);
}

static void
post_all(void *arg)
{
    struct poster *poster = arg;
    struct note *note;

    for (unsigned i = 0; i < poster->count; i++) {
        note = malloc(sizeof(*note));
        CHECK(note != NULL);
        *note = (struct note){poster, i};
        if (belay_portal_post(poster->portal, on_note, note) != 0) {
            free(note);
            break;
        }
        poster->accepted++;
    }
    (void)belay_portal_cancel(poster->portal, poster->task_id, "posted all");
    belay_portal_unref(poster->portal);
}

/* One sleeper a thread, which that thread cancels at its end. */
static belay_next
sleeper_end(belay_task *task, void *self)
{
    (void)self;
    return belay_pass(task);
}

static belay_next
sleeper_step(belay_task *task, void *self)
{
    (void)self;
    return belay_then(task, sleeper_end, belay_sleep(task, BELAY_FOREVER));
}

static const belay_function sleeper = {"sleeper", NULL, 0, sleeper_step, 0};

static void
on_ended(const struct belay_result *result, void *arg)
{
    int *ended = arg;

    CHECK(result->cancelled);
    ++*ended;
}

static void
on_closed(void *arg)
{
    *(bool *)arg = true;
}

static void
start(
    belay_runtime *runtime, struct poster *posters, unsigned count, int *ended)
{
    belay_portal *portal;
    belay_task *task;

    CHECK(belay_portal_open(runtime, &portal) == 0);
    for (int i = 0; i < THREADS; i++) {
        CHECK(
            belay_runtime_spawn(runtime, &sleeper, NULL, on_ended, ended, &task)
            == 0);
        posters[i] = (struct poster){.portal = belay_portal_ref(portal),
            .task_id = belay_task_id(task),
            .count = count};
        belay_task_unref(task);
        CHECK(uv_thread_create(&posters[i].thread, post_all, &posters[i]) == 0);
    }
    belay_portal_unref(portal);
}

static void
finish(struct poster *posters)
{
    for (int i = 0; i < THREADS; i++) {
        CHECK(uv_thread_join(&posters[i].thread) == 0);
        CHECK(posters[i].seen == posters[i].accepted);
    }
}

/* The loop lives until the last thread has cancelled the last task. */
static void
all_arrive(void)
{
    struct poster posters[THREADS];
    uv_loop_t loop;
    belay_runtime *runtime;
    bool closed = false;
    int ended = 0;

    CHECK(uv_loop_init(&loop) == 0);
    CHECK(belay_runtime_attach(&loop, NULL, &runtime) == 0);
    start(runtime, posters, POSTS, &ended);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(ended == THREADS);
    belay_runtime_close(runtime, on_closed, &closed);
    while (!closed) {
        (void)uv_run(&loop, UV_RUN_DEFAULT);
    }
    finish(posters);
    CHECK(uv_loop_close(&loop) == 0);
    for (int i = 0; i < THREADS; i++) {
        CHECK(posters[i].seen == POSTS);
    }
}

/* The runtime goes while the threads are posting. */
static void
close_under_them(int turns)
{
    struct poster posters[THREADS];
    uv_loop_t loop;
    belay_runtime *runtime;
    bool closed = false;
    int ended = 0;

    CHECK(uv_loop_init(&loop) == 0);
    CHECK(belay_runtime_attach(&loop, NULL, &runtime) == 0);
    start(runtime, posters, POSTS, &ended);
    for (int i = 0; i < turns; i++) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    belay_runtime_close(runtime, on_closed, &closed);
    while (!closed) {
        (void)uv_run(&loop, UV_RUN_DEFAULT);
    }
    CHECK(ended == THREADS);
    finish(posters);
    CHECK(uv_loop_close(&loop) == 0);
}

int
main(void)
{
    all_arrive();
    for (int turns = 0; turns < 20; turns++) {
        close_under_them(turns);
    }
    (void)puts("every post arrived in order or was refused");
    return 0;
}
