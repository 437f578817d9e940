/* gpu_demo.c - `belay gpu demo`: finds devices, runs, shows, reports.
 *
 * An interrupt cancels the group of the tasks, and nothing else: they give
 * their slots back in order, the pool is left, and report and pictures come as
 * they would have.
 */
#include "cli/gpu_demo.h"

#include "cli/commands.h"
#include "cli/gpu_view.h"
#include "cli/signals.h"

#include <belay/async.h>
#include <belay/runtime.h>

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICES_ROOM 8
#define EVENTS_MOST (UINT32_C(1) << 20)
#define EVENTS_EACH 64  /* of a task, and more than enough */
#define OPS_EACH 7.0    /* of a task, about, for the chance of each to fail */
#define STICKY_EACH 0.1 /* of these that take the device with them */

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_SIGNAL = 128,
};

/* ---- devices ---- */

/* Slow ones, so that there is something to see; what is given on the command
 * line comes last, and counts.
 */
static void
name_simulated(struct belay__gpu_demo *demo, const char *settings)
{
    const struct belay__gpu_demo_options *options = demo->options;
    const double chance = options->fail / OPS_EACH;

    (void)snprintf(demo->devices, sizeof(demo->devices),
        "sim:devices=%" PRIu32 ",slots=%" PRIu32
        ",mem=24G,contention=0,rate=5.5e5,launch=2ms,jit=20ms,stop=60ms,"
        "noise=uniform:0.25,seed=%" PRIu64 ",p_op=%.9f,p_sticky=%.9f%s%.300s",
        options->devices > 0 ? options->devices : 4,
        options->slots > 0 ? options->slots : 2, options->seed, chance,
        chance * STICKY_EACH, settings[0] != '\0' ? "," : "", settings);
}

static void
choose_backend(struct belay__gpu_demo *demo, const char *name)
{
    const size_t len = strcspn(name, ":");

    (void)snprintf(
        demo->backend, sizeof(demo->backend), "%.*s", (int)len, name);
    if (strcmp(demo->backend, "sim") == 0) {
        name_simulated(demo, name[len] == ':' ? name + len + 1 : "");
    } else {
        (void)snprintf(demo->devices, sizeof(demo->devices), "%.400s", name);
    }
}

static uint32_t
events_wanted(const struct belay__gpu_demo_options *options)
{
    return options->tasks < EVENTS_MOST / EVENTS_EACH
               ? options->tasks * EVENTS_EACH
               : EVENTS_MOST;
}

/* ---- the run ---- */

struct demo_run {
    struct belay__gpu_demo *demo;
    belay_task *task;
    struct belay_gpu_device devices[DEVICES_ROOM];
    uint32_t device_count;
    enum belay__gpu_progress progress;
};

static void
on_signal(int number, unsigned count, void *arg)
{
    struct demo_run *self = arg;
    struct belay__gpu_demo *demo = self->demo;

    (void)count;
    if (number == SIGUSR1) {
        return;
    }
    if (demo->signal == 0) {
        demo->signal = number;
    }
    if (demo->group != NULL) {
        belay__gpu_demo_interrupt(demo, belay_now(self->task));
    } else if (demo->pool == NULL) {
        (void)belay_task_cancel(self->task, "interrupted");
    }
}

/* The pool calls a slot running as long as a task awaits what runs there, be
 * it cancelled or not; here the time behind a cancel is told apart.
 */
static void
add_drains(struct belay__gpu_demo *demo)
{
    struct belay__gpu_record *record = &demo->record;
    const struct belay__gpu_hold *hold;

    for (uint32_t i = 0; i < demo->spawned; i++) {
        if (demo->jobs[i].stopped) {
            belay__gpu_record_stop(
                record, demo->jobs[i].id, demo->jobs[i].cancelled_at);
        }
    }
    for (uint32_t i = 0; i < record->hold_count; i++) {
        hold = &record->holds[i];
        if (hold->stopped.ns != 0 && hold->end.ns > hold->stopped.ns) {
            demo->spent[BELAY_GPU_SLOT_RUNNING].ns -=
                hold->end.ns - hold->stopped.ns;
            demo->spent[BELAY_GPU_SLOT_DRAINING].ns +=
                hold->end.ns - hold->stopped.ns;
        }
    }
}

static void
add_spans(struct belay__gpu_demo *demo)
{
    const struct belay__gpu_record *record = &demo->record;
    const struct belay__gpu_span *span;
    int64_t end;
    uint32_t state;

    for (uint32_t i = 0; i < record->span_count; i++) {
        span = &record->spans[i];
        end =
            span->end.ns < demo->ended_at.ns ? span->end.ns : demo->ended_at.ns;
        state = span->state < BELAY_GPU_SLOT_QUARANTINED
                    ? span->state
                    : (uint32_t)BELAY_GPU_SLOT_QUARANTINED;
        if (end > span->begin.ns) {
            demo->spent[state].ns += end - span->begin.ns;
        }
    }
}

/* The pool is still open, and no task has a lease any more. */
static void
take_stock(struct belay__gpu_demo *demo, belay_time now)
{
    struct belay__gpu_record *record = &demo->record;

    belay__gpu_record_take(record, demo->pool);
    belay__gpu_record_end(record, now);
    demo->ended_at = demo->began;
    for (uint32_t i = 0; i < record->hold_count; i++) {
        if (record->holds[i].end.ns > demo->ended_at.ns) {
            demo->ended_at = record->holds[i].end;
        }
    }
    add_spans(demo);
    add_drains(demo);
    (void)belay_gpu_pool_get_stats(demo->pool, &demo->stats);
    demo->ran = true;
}

static belay_next
list_devices(belay_task *task, struct demo_run *self)
{
    for (int i = 0; i < DEVICES_ROOM; i++) {
        self->devices[i].size = sizeof(self->devices[i]);
    }
    return belay_gpu_list(
        task, NULL, self->devices, DEVICES_ROOM, &self->device_count, NULL, 0);
}

static int
prepare(struct demo_run *self)
{
    struct belay__gpu_demo *demo = self->demo;
    const struct belay__gpu_demo_options *options = demo->options;
    const char *found =
        self->device_count > 0 ? self->devices[0].backend : "sim";

    choose_backend(
        demo, strcmp(options->backend, "auto") == 0 ? found : options->backend);
    return belay__gpu_demo_init(demo, options);
}

static int
begin(belay_task *task, struct belay__gpu_demo *demo)
{
    struct belay_gpu_device device = {.size = sizeof(device)};

    demo->stats.size = sizeof(demo->stats);
    (void)belay_gpu_pool_get_stats(demo->pool, &demo->stats);
    (void)belay_gpu_pool_device(demo->pool, 0, &device);
    if (strcmp(device.backend, "sim") == 0) {
        (void)snprintf(demo->kind, sizeof(demo->kind), "sim");
    } else {
        (void)snprintf(demo->kind, sizeof(demo->kind), "%s: %s", device.backend,
            device.name);
    }
    demo->began = belay_now(task);
    return belay__gpu_record_init(&demo->record, demo->stats.slots);
}

/* On the open pool. */
struct demo_show {
    struct belay__gpu_demo *demo;
    enum belay__gpu_progress progress;
};

BELAY_ASYNC(demo_show)
{
    BELAY_BEGIN;
    BELAY_CHECK(begin(task, self->demo));
    BELAY_WITH (belay__gpu_view_open(task, self->demo, self->progress)) {
        BELAY_AWAIT(belay__gpu_demo_run(task, self->demo));
        take_stock(self->demo, belay_now(task));
    }
    BELAY_END;
}

static belay_next
open_pool(belay_task *task, struct belay__gpu_demo *demo)
{
    const bool simulated = strcmp(demo->backend, "sim") == 0;

    return belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = demo->devices,
            .slots = simulated ? 0 : demo->options->slots,
            .events = events_wanted(demo->options)),
        &demo->pool);
}

BELAY_ASYNC(demo_run)
{
    BELAY_BEGIN;
    self->task = task;
    BELAY_WITH (belay__signals_open(task, on_signal, self)) {
        if (strcmp(self->demo->options->backend, "auto") == 0) {
            BELAY_AWAIT(list_devices(task, self));
        }
        BELAY_CHECK(prepare(self));
        BELAY_WITH (open_pool(task, self->demo)) {
            BELAY_AWAIT(BELAY_CALL(
                demo_show, .demo = self->demo, .progress = self->progress));
            self->demo->pool = NULL;
        }
    }
    BELAY_END;
}

/* ---- the end ---- */

static int
exit_code(struct belay__gpu_demo *demo, bool written)
{
    if (demo->signal != 0) {
        return EXIT_SIGNAL + demo->signal;
    }
    if (!written || demo->wrong > 0
        || (demo->failed > 0 && !(demo->options->fail > 0))) {
        return EXIT_FAILED;
    }
    return EXIT_OK;
}

static enum belay__gpu_progress
progress_of(const struct belay__gpu_demo_options *options)
{
    const char *term = getenv("TERM");

    if (options->once) {
        return BELAY__GPU_PROGRESS_NONE;
    }
    if (options->progress != BELAY__GPU_PROGRESS_AUTO) {
        return options->progress;
    }
    return isatty(STDERR_FILENO) && term != NULL && strcmp(term, "dumb") != 0
               ? BELAY__GPU_PROGRESS_VIEW
               : BELAY__GPU_PROGRESS_LINES;
}

static int
run(struct belay__gpu_demo *demo, belay_clock *clock)
{
    struct belay_result result = {0};
    const int code = belay_run(&demo_run,
        &(const struct demo_run){
            .demo = demo, .progress = progress_of(demo->options)},
        BELAY_RUNTIME_OPTS(.clock = clock), &result);
    bool written = true;

    if (demo->ran) {
        written = belay__gpu_demo_write(demo);
        belay__gpu_demo_report(demo, stdout);
        written = fflush(stdout) == 0 && written;
    }
    if (code < 0 && demo->signal == 0) {
        (void)fprintf(stderr, "belay gpu demo: %s\n",
            result.error != NULL ? belay_error_message(result.error)
                                 : belay_code_text(code));
        written = false;
    }
    belay_error_unref(result.error);
    return exit_code(demo, written);
}

int
belay__cmd_gpu_demo(int argc, char **argv)
{
    struct belay__gpu_demo_options options;
    struct belay__gpu_demo demo = {.signal = 0};
    belay_clock *clock = NULL;
    int code = belay__gpu_demo_options_parse(&options, argc, argv);

    if (code >= 0) {
        return code;
    }
    demo.options = &options;
    if (options.once && strncmp(options.backend, "sim", 3) == 0) {
        clock = belay_clock_new(true);
    }
    code = run(&demo, clock);
    belay_clock_free(clock);
    belay__gpu_demo_fini(&demo);
    return code;
}
