/* gpu_view.c - `belay gpu demo` while it runs.
 *
 * A picture is drawn over the one before, which is as many lines up as it had;
 * the cursor is hidden meanwhile and is back when the block is left, however
 * that happens. Nothing is drawn beyond the terminal's height or width.
 */
#include "cli/gpu_view.h"

#include "cli/gpu_pen.h"

#include <belay/uv.h>

#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define VIEW_MS 125
#define LINES_MS 1000
#define BAR_CELLS 20
#define QUEUE_CELLS 12
#define SPARK_CELLS 32
#define SAMPLES (SPARK_CELLS * 2)
#define COLUMNS_MAX 110 /* wider is harder to read */
#define OTHER_LINES 10  /* of a picture, besides those of slots */

struct view {
    uv_timer_t timer;
    struct belay_op closed;
    struct belay__gpu_demo *demo;
    enum belay__gpu_progress progress;
    float samples[SAMPLES]; /* of the share of slots that run, newest last */
    int64_t busy_ns;        /* of all slots, at the last sample */
    int64_t sampled_ns;
    unsigned lines; /* of the picture on the screen */
    bool utf8;
};

/* ---- figures ---- */

struct figures {
    struct belay_gpu_pool_stats pool;
    struct belay_gpu_priority_stats waits; /* of all priorities together */
    double seconds;
    double grants_per_second;
    float used; /* share, lately */
    uint32_t running;
};

static void
add_waits(const struct belay_gpu_priority_stats *from,
    struct belay_gpu_priority_stats *ret)
{
    ret->waited += from->waited;
    for (uint32_t i = 0; i < BELAY_GPU_WAIT_BUCKETS; i++) {
        ret->wait_buckets[i] += from->wait_buckets[i];
    }
}

static void
take_sample(struct view *view, struct figures *figures)
{
    struct belay_gpu_slot_stats slot = {.size = sizeof(slot)};
    const int64_t now = figures->pool.now.ns;
    int64_t busy = 0;
    double share;

    for (uint32_t i = 0; i < figures->pool.slots; i++) {
        if (belay_gpu_pool_slot(view->demo->pool, i, &slot) == 0) {
            busy += slot.spent[BELAY_GPU_SLOT_RUNNING].ns;
            figures->running += slot.state == BELAY_GPU_SLOT_RUNNING;
        }
    }
    if (now > view->sampled_ns && view->sampled_ns > 0) {
        share = (double)(busy - view->busy_ns)
                / ((double)(now - view->sampled_ns) * figures->pool.slots);
        memmove(view->samples, view->samples + 1,
            (SAMPLES - 1) * sizeof(view->samples[0]));
        view->samples[SAMPLES - 1] = (float)fmin(fmax(share, 0), 1);
    }
    view->busy_ns = busy;
    view->sampled_ns = now;
}

static float
lately(const struct view *view)
{
    float sum = 0;

    for (unsigned i = SAMPLES - 8; i < SAMPLES; i++) {
        sum += view->samples[i] / 8;
    }
    return sum;
}

static void
get_figures(struct view *view, struct figures *ret)
{
    *ret = (struct figures){.pool = {.size = sizeof(ret->pool)}};
    (void)belay_gpu_pool_get_stats(view->demo->pool, &ret->pool);
    for (uint32_t i = 0; i < BELAY_GPU_PRIORITIES; i++) {
        add_waits(&ret->pool.priorities[i], &ret->waits);
    }
    take_sample(view, ret);
    ret->seconds = (double)(ret->pool.now.ns - view->demo->began.ns) / 1e9;
    if (ret->seconds > 0) {
        ret->grants_per_second = (double)ret->pool.grants / ret->seconds;
    }
    ret->used = lately(view);
}

/* ---- the picture ---- */

struct look {
    const char *text;
    const char *style;
};

static const struct look looks[] = {
    [BELAY_GPU_SLOT_FREE] = {"idle", "2"},
    [BELAY_GPU_SLOT_HELD] = {"held", "36"},
    [BELAY_GPU_SLOT_RUNNING] = {"running", "32"},
    [BELAY_GPU_SLOT_DRAINING] = {"draining", "33"},
    [BELAY_GPU_SLOT_QUARANTINED] = {"quarantined", "31"},
    [BELAY_GPU_SLOT_PROBATION] = {"probation", "35"},
    [BELAY_GPU_SLOT_STUCK] = {"stuck", "1;31"},
    [BELAY_GPU_SLOT_DEAD] = {"dead", "1;31"},
};

static void
put_job(struct belay__pen *pen, const struct belay__gpu_demo_task *job)
{
    const uint32_t at = job->done < job->kernels ? job->done + 1 : job->kernels;

    belay__pen_put(pen, "1", "%s", job->name);
    belay__pen_tab(pen, 53);
    belay__pen_put(
        pen, NULL, "kernel %" PRIu32 " of %" PRIu32, at, job->kernels);
}

/* A cancelled task awaits the end of what it has begun. */
static const struct look *
look_of(const struct belay_gpu_slot_stats *slot,
    const struct belay__gpu_demo_task *job)
{
    const bool stopped =
        job != NULL && job->stopped && slot->state == BELAY_GPU_SLOT_RUNNING;

    return &looks[stopped ? BELAY_GPU_SLOT_DRAINING : slot->state];
}

static void
put_slot(const struct view *view, struct belay__pen *pen,
    const struct belay_gpu_slot_stats *slot, belay_time now)
{
    const struct belay__gpu_demo_task *job =
        belay__gpu_demo_find(view->demo, slot->task_name);
    const struct look *look = look_of(slot, job);
    const bool lost = slot->state >= BELAY_GPU_SLOT_QUARANTINED;
    const int64_t since =
        slot->lease != 0 ? slot->held_since.ns : slot->since.ns;
    double share = lost ? 1 : 0;

    if (job != NULL && slot->lease != 0) {
        share = (double)job->done / (double)job->kernels;
    }
    belay__pen_put(
        pen, NULL, "%3" PRIu32 ".%-2" PRIu32 " ", slot->device, slot->index);
    belay__pen_bar(pen, look->style, share, BAR_CELLS);
    belay__pen_put(pen, look->style, " %-11s", look->text);
    belay__pen_tab(pen, 40);
    if (job != NULL && slot->lease != 0) {
        put_job(pen, job);
    }
    if (slot->state != BELAY_GPU_SLOT_FREE) {
        belay__pen_tab(pen, 69);
        belay__pen_put(pen, NULL, "%6.2f s", (double)(now.ns - since) / 1e9);
    }
    belay__pen_end_line(pen);
}

static void
put_slots(const struct view *view, struct belay__pen *pen,
    const struct figures *figures, unsigned rows)
{
    struct belay_gpu_slot_stats slot = {.size = sizeof(slot)};
    const uint32_t all = figures->pool.slots;
    const uint32_t room = rows > OTHER_LINES ? rows - OTHER_LINES : 1;
    const uint32_t shown = all <= room ? all : room;

    for (uint32_t i = 0; i < shown; i++) {
        if (belay_gpu_pool_slot(view->demo->pool, i, &slot) == 0) {
            put_slot(view, pen, &slot, figures->pool.now);
        }
    }
    if (shown < all) {
        belay__pen_put(pen, "2", "    and %" PRIu32 " more", all - shown);
        belay__pen_end_line(pen);
    }
}

static void
put_queues(const struct view *view, struct belay__pen *pen,
    const struct figures *figures)
{
    static const char *const styles[] = {"33", "36", "34"};
    const double most = (double)view->demo->job_count / 4;
    const char *title = "queue";
    uint64_t waiting;

    for (int i = BELAY__GPU_CLASSES - 1; i >= 0; i--) {
        waiting =
            figures->pool
                .priorities[belay__gpu_class_priority((enum belay__gpu_class)i)]
                .waiting;
        belay__pen_put(pen, "1", "%-7s", title);
        belay__pen_put(pen, NULL, "%-6s %5" PRIu64 " ",
            belay__gpu_class_names[i], waiting);
        belay__pen_bar(pen, styles[i], (double)waiting / most, QUEUE_CELLS);
        title = "";
        belay__pen_tab(pen, 40);
        if (i == BELAY__GPU_LARGE) {
            belay__pen_put(pen, "1", "wait   ");
            belay__pen_put(pen, NULL, "half under %.2f s, 99%% under %.2f s",
                (double)belay_gpu_wait_quantile(&figures->waits, 0.5).ns / 1e9,
                (double)belay_gpu_wait_quantile(&figures->waits, 0.99).ns
                    / 1e9);
        } else if (i == BELAY__GPU_MEDIUM) {
            belay__pen_put(pen, "1", "leases ");
            belay__pen_put(pen, NULL, "%" PRIu64 ", %.1f a second",
                figures->pool.grants, figures->grants_per_second);
        } else {
            belay__pen_put(pen, "1", "tasks  ");
            belay__pen_put(pen, NULL, "%" PRIu32 " of %" PRIu32 " ended",
                view->demo->ended, view->demo->job_count);
        }
        belay__pen_end_line(pen);
    }
}

static void
put_ends(const struct view *view, struct belay__pen *pen,
    const struct figures *figures)
{
    const struct belay__gpu_demo *demo = view->demo;

    belay__pen_put(pen, "1", "used   ");
    belay__pen_spark(pen, "32", view->samples, SAMPLES);
    belay__pen_put(pen, NULL, "%4.0f%%", (double)figures->used * 100);
    belay__pen_tab(pen, 47);
    if (demo->signal != 0 && demo->group != NULL) {
        belay__pen_put(pen, "1;33", "unwinding ...");
    } else {
        belay__pen_put(pen, demo->cancelled > 0 ? "33" : NULL,
            "%" PRIu32 " cancelled", demo->cancelled);
        belay__pen_put(pen, NULL, ", ");
        belay__pen_put(pen, demo->failed > 0 ? "31" : NULL,
            "%" PRIu32 " failed", demo->failed);
    }
    belay__pen_end_line(pen);
}

static void
put_picture(struct view *view, struct belay__pen *pen, unsigned rows)
{
    struct figures figures;

    get_figures(view, &figures);
    belay__pen_put(pen, "1", "belay gpu demo");
    belay__pen_put(pen, NULL, "  %s, %" PRIu32 " device%s, %" PRIu32 " slot%s",
        view->demo->backend, figures.pool.devices,
        figures.pool.devices == 1 ? "" : "s", figures.pool.slots,
        figures.pool.slots == 1 ? "" : "s");
    belay__pen_tab(pen, 69);
    belay__pen_put(pen, "1", "%6.2f s", figures.seconds);
    belay__pen_end_line(pen);
    belay__pen_end_line(pen);
    put_slots(view, pen, &figures, rows);
    belay__pen_end_line(pen);
    put_queues(view, pen, &figures);
    put_ends(view, pen, &figures);
}

static void
draw(struct view *view)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    struct belay__pen pen = {.utf8 = view->utf8};
    char *text = NULL;
    size_t len = 0;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 2
        || size.ws_row < 2) {
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    }
    pen.columns =
        size.ws_col - 1U < COLUMNS_MAX ? size.ws_col - 1U : COLUMNS_MAX;
    pen.out = open_memstream(&text, &len);
    if (pen.out == NULL) {
        return;
    }
    if (view->lines > 0) {
        (void)fprintf(pen.out, "\x1b[%uA\r", view->lines);
    }
    put_picture(view, &pen, size.ws_row);
    (void)fputs("\x1b[J", pen.out); /* a longer one before it */
    if (fclose(pen.out) == 0) {
        (void)fwrite(text, 1, len, stderr);
        (void)fflush(stderr);
    }
    view->lines = pen.lines;
    free(text);
}

static void
say_line(struct view *view)
{
    struct figures figures;

    get_figures(view, &figures);
    (void)fprintf(stderr,
        "belay gpu demo: %.0f s, %" PRIu32 " of %" PRIu32 " tasks ended, "
        "%" PRIu32 " of %" PRIu32 " slots run, %" PRIu64
        " wait, %.1f leases a second\n",
        figures.seconds, view->demo->ended, view->demo->job_count,
        figures.running, figures.pool.slots, figures.pool.waiting,
        figures.grants_per_second);
}

/* ---- the block ---- */

static void
show(void *arg)
{
    struct view *view = arg;

    if (view->demo->pool == NULL) {
        return;
    }
    if (view->progress == BELAY__GPU_PROGRESS_VIEW) {
        draw(view);
    } else {
        say_line(view);
    }
}

static void
on_timer(uv_timer_t *timer)
{
    show(timer->data);
}

static void
on_closed(uv_handle_t *handle)
{
    struct view *view = handle->data;

    belay_op_done(&view->closed, 0, NULL);
}

static belay_next
view_closed(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

static belay_next
view_exit(belay_task *task, void *self)
{
    struct view *view = self;

    view->demo->show_fn = NULL;
    if (view->progress == BELAY__GPU_PROGRESS_VIEW) {
        if (view->demo->pool != NULL) {
            draw(view);
        }
        (void)fputs("\n\x1b[?25h", stderr);
        (void)fflush(stderr);
    }
    belay_op_begin_shielded(task, &view->closed);
    uv_close((uv_handle_t *)&view->timer, on_closed);
    return belay_then(task, view_closed, belay_op_wait(&view->closed));
}

static belay_next
view_enter(belay_task *task, void *self)
{
    struct view *view = self;
    uint64_t ms = LINES_MS;

    if (view->progress == BELAY__GPU_PROGRESS_VIEW) {
        (void)setlocale(LC_CTYPE, "");
        view->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
        (void)fputs("\x1b[?25l", stderr);
        ms = VIEW_MS;
    }
    (void)uv_timer_init(
        belay_runtime_loop(belay_task_runtime(task)), &view->timer);
    view->timer.data = view;
    uv_unref((uv_handle_t *)&view->timer);
    if (view->progress != BELAY__GPU_PROGRESS_NONE) {
        view->demo->show_fn = show;
        view->demo->show_arg = view;
        (void)uv_timer_start(&view->timer, on_timer, ms, ms);
    }
    return belay_return(task, NULL);
}

belay_next
belay__gpu_view_open(belay_task *task, struct belay__gpu_demo *demo,
    enum belay__gpu_progress progress)
{
    static const belay_manager manager = {
        {"gpu view", __FILE__, sizeof(struct view), view_enter, 0}, view_exit};

    return belay_enter(task, &manager,
        &(const struct view){.demo = demo, .progress = progress});
}
