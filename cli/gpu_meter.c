/* gpu_meter.c - figures of a running `belay gpu demo`, and a picture of them.
 *
 * A row for each slot, below it queues, waits, counts and a history. How wide
 * things are depends on the terminal; what does not fit is cut by the pen.
 */
#include "cli/gpu_meter.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define OTHER_LINES 10 /* of a picture, besides those of slots */
#define SAMPLES BELAY__GPU_SAMPLES

/* ---- figures ---- */

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
take_sample(struct belay__gpu_meter *meter, struct belay__gpu_figures *figures)
{
    struct belay_gpu_slot_stats slot = {.size = sizeof(slot)};
    const int64_t now = figures->pool.now.ns;
    int64_t busy = 0;
    double share;

    for (uint32_t i = 0; i < figures->pool.slots; i++) {
        if (belay_gpu_pool_slot(meter->demo->pool, i, &slot) == 0) {
            busy += slot.spent[BELAY_GPU_SLOT_RUNNING].ns;
            figures->running += slot.state == BELAY_GPU_SLOT_RUNNING;
        }
    }
    if (now > meter->sampled_ns && meter->sampled_ns > 0) {
        share = (double)(busy - meter->busy_ns)
                / ((double)(now - meter->sampled_ns) * figures->pool.slots);
        memmove(meter->samples, meter->samples + 1,
            (SAMPLES - 1) * sizeof(meter->samples[0]));
        meter->samples[SAMPLES - 1] = (float)fmin(fmax(share, 0), 1);
    }
    meter->busy_ns = busy;
    meter->sampled_ns = now;
}

static float
lately(const struct belay__gpu_meter *meter)
{
    float sum = 0;

    for (unsigned i = SAMPLES - 8; i < SAMPLES; i++) {
        sum += meter->samples[i] / 8;
    }
    return sum;
}

void
belay__gpu_figures_get(
    struct belay__gpu_meter *meter, struct belay__gpu_figures *ret)
{
    *ret = (struct belay__gpu_figures){.pool = {.size = sizeof(ret->pool)}};
    (void)belay_gpu_pool_get_stats(meter->demo->pool, &ret->pool);
    for (uint32_t i = 0; i < BELAY_GPU_PRIORITIES; i++) {
        add_waits(&ret->pool.priorities[i], &ret->waits);
    }
    take_sample(meter, ret);
    ret->seconds = (double)(ret->pool.now.ns - meter->demo->began.ns) / 1e9;
    if (ret->seconds > 0) {
        ret->grants_per_second = (double)ret->pool.grants / ret->seconds;
    }
    ret->used = lately(meter);
}

/* ---- the picture ---- */

/* Where things stand, on a wide terminal or a narrow one. */
struct layout {
    unsigned bar;
    unsigned queue;
    unsigned spark;
    unsigned middle; /* columns: the task's name */
    unsigned kernel;
    unsigned held;
    unsigned ends;
    const char *word; /* before the number of a kernel */
};

static const struct layout *
layout_of(const struct belay__pen *pen)
{
    static const struct layout wide = {20, 12, 32, 40, 53, 69, 47, "kernel "};
    static const struct layout narrow = {8, 6, 16, 28, 40, 50, 31, ""};

    return pen->columns >= 78 ? &wide : &narrow;
}

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
    [BELAY_GPU_SLOT_FOREIGN] = {"foreign", "35"},
};

static void
put_job(struct belay__pen *pen, const struct belay__gpu_demo_task *job)
{
    const uint32_t at = job->done < job->kernels ? job->done + 1 : job->kernels;

    belay__pen_put(pen, "1", "%s", job->name);
    belay__pen_tab(pen, layout_of(pen)->kernel);
    belay__pen_put(pen, NULL, "%s%" PRIu32 " of %" PRIu32, layout_of(pen)->word,
        at, job->kernels);
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
put_slot(const struct belay__gpu_meter *meter, struct belay__pen *pen,
    const struct belay_gpu_slot_stats *slot, belay_time now)
{
    const struct belay__gpu_demo_task *job =
        belay__gpu_demo_find(meter->demo, slot->task_name);
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
    belay__pen_bar(pen, look->style, share, layout_of(pen)->bar);
    belay__pen_put(pen, look->style, " %-11s", look->text);
    belay__pen_tab(pen, layout_of(pen)->middle);
    if (job != NULL && slot->lease != 0) {
        put_job(pen, job);
    }
    if (slot->state != BELAY_GPU_SLOT_FREE) {
        belay__pen_tab(pen, layout_of(pen)->held);
        belay__pen_put(pen, NULL, "%6.2f s", (double)(now.ns - since) / 1e9);
    }
    belay__pen_end_line(pen);
}

static void
put_slots(const struct belay__gpu_meter *meter, struct belay__pen *pen,
    const struct belay__gpu_figures *figures, unsigned rows)
{
    struct belay_gpu_slot_stats slot = {.size = sizeof(slot)};
    const uint32_t all = figures->pool.slots;
    const uint32_t room = rows > OTHER_LINES ? rows - OTHER_LINES : 1;
    const uint32_t shown = all <= room ? all : room;

    for (uint32_t i = 0; i < shown; i++) {
        if (belay_gpu_pool_slot(meter->demo->pool, i, &slot) == 0) {
            put_slot(meter, pen, &slot, figures->pool.now);
        }
    }
    if (shown < all) {
        belay__pen_put(pen, "2", "    and %" PRIu32 " more", all - shown);
        belay__pen_end_line(pen);
    }
}

static void
put_queues(const struct belay__gpu_meter *meter, struct belay__pen *pen,
    const struct belay__gpu_figures *figures)
{
    static const char *const styles[] = {"33", "36", "34"};
    const double most = (double)meter->demo->job_count / 4;
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
        belay__pen_bar(
            pen, styles[i], (double)waiting / most, layout_of(pen)->queue);
        title = "";
        belay__pen_tab(pen, layout_of(pen)->middle);
        if (i == BELAY__GPU_LARGE) {
            belay__pen_put(pen, "1", "wait   ");
            belay__pen_put(pen, NULL, "half < %.2f s, 99%% < %.2f s",
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
                meter->demo->ended, meter->demo->job_count);
        }
        belay__pen_end_line(pen);
    }
}

static void
put_ends(const struct belay__gpu_meter *meter, struct belay__pen *pen,
    const struct belay__gpu_figures *figures)
{
    const struct belay__gpu_demo *demo = meter->demo;
    const unsigned spark = layout_of(pen)->spark;

    belay__pen_put(pen, "1", "used   ");
    belay__pen_spark(
        pen, "32", meter->samples + SAMPLES - (size_t)2 * spark, 2 * spark);
    belay__pen_put(pen, NULL, "%4.0f%%", (double)figures->used * 100);
    belay__pen_tab(pen, layout_of(pen)->ends);
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

void
belay__gpu_figures_draw(const struct belay__gpu_meter *meter,
    const struct belay__gpu_figures *figures, struct belay__pen *pen,
    unsigned rows)
{
    belay__pen_put(pen, "1", "belay gpu demo");
    belay__pen_put(pen, NULL, "  %s, %" PRIu32 " device%s, %" PRIu32 " slot%s",
        meter->demo->backend, figures->pool.devices,
        figures->pool.devices == 1 ? "" : "s", figures->pool.slots,
        figures->pool.slots == 1 ? "" : "s");
    belay__pen_tab(pen, layout_of(pen)->held);
    belay__pen_put(pen, "1", "%6.2f s", figures->seconds);
    belay__pen_end_line(pen);
    belay__pen_end_line(pen);
    put_slots(meter, pen, figures, rows);
    belay__pen_end_line(pen);
    put_queues(meter, pen, figures);
    put_ends(meter, pen, figures);
}
