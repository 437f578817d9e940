/* gpu_view.c - `belay gpu demo` while it runs.
 *
 * A picture is drawn over the one before, which is as many lines up as it had;
 * the cursor is hidden meanwhile and is back when the block is left, however
 * that happens. Nothing is drawn beyond the terminal's height or width.
 */
#include "cli/gpu_view.h"

#include "cli/gpu_meter.h"

#include <belay/uv.h>

#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define VIEW_MS 125
#define LINES_MS 1000
#define COLUMNS_MAX 110 /* wider is harder to read */

struct view {
    uv_timer_t timer;
    struct belay_op closed;
    struct belay__gpu_demo *demo;
    struct belay__gpu_meter meter;
    enum belay__gpu_progress progress;
    unsigned lines; /* of the picture on the screen */
    bool utf8;
};

static void
draw(struct view *view)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    struct belay__pen pen = {.utf8 = view->utf8};
    struct belay__gpu_figures figures;
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
    belay__gpu_figures_get(&view->meter, &figures);
    belay__gpu_figures_draw(&view->meter, &figures, &pen, size.ws_row);
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
    struct belay__gpu_figures figures;

    belay__gpu_figures_get(&view->meter, &figures);
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
        &(const struct view){
            .demo = demo, .meter = {.demo = demo}, .progress = progress});
}
