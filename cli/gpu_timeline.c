/* gpu_timeline.c - a run as a picture: an SVG that needs nothing else.
 *
 * On top the length of the queue, below it a lane for each slot. Every lease
 * is one rectangle of class "lease"; what is drawn on it tells of a part of it
 * or of its failure.
 */
#include "cli/gpu_record.h"

#include <inttypes.h>
#include <math.h>

#define WIDTH 1240.0
#define LEFT 92.0
#define RIGHT 84.0
#define QUEUE_TOP 92.0
#define QUEUE_HEIGHT 84.0
#define LANES_TOP 216.0
#define TICKS_MOST 12
#define LABEL 14.0 /* distance of lines of text */
#define LETTER 7.0 /* of a small text, about */

/* By priority; neighbours differ in lightness too. */
static const char *const colours[BELAY_GPU_PRIORITIES] = {"#e8a33d", "#b8812b",
    "#3f9b8a", "#2d7568", "#3d6fb4", "#2c5288", "#7a5ea8", "#55407a"};

struct drawing {
    const struct belay__gpu_picture *picture;
    FILE *out;
    double lane;   /* the distance of lanes */
    double height; /* of a box */
    double bottom; /* of the lanes */
    double span_s; /* what the width is for */
};

static double
seconds(const struct drawing *drawing, belay_time time)
{
    return (double)(time.ns - drawing->picture->begin.ns) / 1e9;
}

static double
x_of(const struct drawing *drawing, double at_s)
{
    const double share = at_s / drawing->span_s;

    return LEFT + (WIDTH - LEFT - RIGHT) * fmin(fmax(share, 0), 1);
}

static double
lane_top(const struct drawing *drawing, uint32_t slot)
{
    return LANES_TOP + drawing->lane * slot;
}

/* A device's name is its driver's, and may hold anything. */
static void
put_escaped(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '&') {
            (void)fputs("&amp;", out);
        } else if (*text == '<') {
            (void)fputs("&lt;", out);
        } else {
            (void)fputc((unsigned char)*text < ' ' ? ' ' : *text, out);
        }
    }
}

static void
put_text(const struct drawing *drawing, double x, double y, const char *class,
    const char *text)
{
    (void)fprintf(
        drawing->out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
    put_escaped(drawing->out, text);
    (void)fputs("</text>\n", drawing->out);
}

/* ---- the frame ---- */

static void
put_head(const struct drawing *drawing, double height)
{
    (void)fprintf(drawing->out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" "
        "height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" "
        "font-family=\"system-ui, 'DejaVu Sans', sans-serif\">\n",
        WIDTH, height, WIDTH, height);
    (void)fputs(
        "<style>\n"
        "text { fill: #24292f; font-size: 12px }\n"
        ".title { font-size: 19px; font-weight: bold }\n"
        ".soft { fill: #656d76 }\n"
        ".end { text-anchor: end }\n"
        ".middle { text-anchor: middle }\n"
        ".name { fill: #fff; font-size: 10.5px; pointer-events: none }\n"
        ".lease { stroke: #fff; stroke-width: 0.8 }\n"
        ".failed { fill: none; stroke: #c22e2e; stroke-width: 2 }\n"
        ".draining { fill: url(#hatch) }\n"
        ".out { fill: #d1393d }\n"
        ".grid { stroke: #d8dee4; stroke-width: 1 }\n"
        ".ideal { stroke: #24292f; stroke-width: 1.5; "
        "stroke-dasharray: 6 4 }\n"
        "</style>\n"
        "<defs><pattern id=\"hatch\" width=\"6\" height=\"6\" "
        "patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">"
        "<path d=\"M0 0H6V6H0Z\" fill=\"#fff\" fill-opacity=\"0.55\"/>"
        "<path d=\"M0 0V6\" stroke=\"#24292f\" stroke-width=\"3\"/>"
        "</pattern></defs>\n",
        drawing->out);
    (void)fprintf(drawing->out,
        "<path d=\"M0 0H%.0fV%.0fH0Z\" fill=\"#fff\"/>\n", WIDTH, height);
    put_text(drawing, LEFT, 36, "title", drawing->picture->title);
    put_text(drawing, LEFT, 58, "soft", drawing->picture->subtitle);
}

/* 1, 2 or 5 times a power of ten. */
static double
tick_s(double span_s)
{
    double step = pow(10, floor(log10(span_s / TICKS_MOST)));

    while (span_s / step > TICKS_MOST) {
        if (span_s / (step * 2) <= TICKS_MOST) {
            return step * 2;
        }
        step *= span_s / (step * 5) <= TICKS_MOST ? 5 : 10;
    }
    return step;
}

static void
put_axis(const struct drawing *drawing)
{
    const double step = tick_s(drawing->span_s);
    char text[32];
    double x;

    for (int i = 0; step * i <= drawing->span_s * 1.0001; i++) {
        x = x_of(drawing, step * i);
        (void)fprintf(drawing->out,
            "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>\n", x, QUEUE_TOP,
            drawing->bottom + 5);
        (void)snprintf(text, sizeof(text), "%.6g", step * i);
        put_text(drawing, x, drawing->bottom + 20, "soft middle", text);
    }
    put_text(
        drawing, WIDTH - RIGHT + 12, drawing->bottom + 20, "soft", "seconds");
}

/* ---- the queue ---- */

static uint32_t
up_to(const struct belay__gpu_depth *depth, uint32_t priority)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i <= priority; i++) {
        sum += depth->waiting[i];
    }
    return sum;
}

/* Of this and all lower priorities; drawn from the highest on, the lower ones
 * come to lie upon it.
 */
static void
put_queue_area(
    const struct drawing *drawing, uint32_t priority, uint32_t deepest)
{
    const struct belay__gpu_record *record = drawing->picture->record;
    const double bottom = QUEUE_TOP + QUEUE_HEIGHT;
    double y;

    (void)fprintf(drawing->out,
        "<path class=\"queue\" fill=\"%s\" fill-opacity=\"0.85\" "
        "d=\"M%.1f %.1f",
        colours[priority], LEFT, bottom);
    for (uint32_t i = 0; i < record->depth_count; i++) {
        y = bottom
            - QUEUE_HEIGHT * up_to(&record->depths[i], priority) / deepest;
        (void)fprintf(drawing->out, "H%.1fV%.1f",
            x_of(drawing, seconds(drawing, record->depths[i].time)), y);
    }
    (void)fprintf(drawing->out, "H%.1fV%.1fZ\"/>\n",
        x_of(drawing, seconds(drawing, drawing->picture->end)), bottom);
}

static void
put_queue(const struct drawing *drawing)
{
    const struct belay__gpu_record *record = drawing->picture->record;
    const struct belay__gpu_names *names = &drawing->picture->names;
    uint32_t deepest = 1;
    uint32_t depth;
    char text[64];

    for (uint32_t i = 0; i < record->depth_count; i++) {
        depth = up_to(&record->depths[i], BELAY_GPU_PRIORITIES - 1);
        deepest = depth > deepest ? depth : deepest;
    }
    for (uint32_t i = BELAY_GPU_PRIORITIES; i-- > 0;) {
        if (names->priority(i, names->arg) != NULL) {
            put_queue_area(drawing, i, deepest);
        }
    }
    (void)fprintf(drawing->out,
        "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>\n", LEFT,
        QUEUE_TOP + QUEUE_HEIGHT, WIDTH - RIGHT);
    (void)snprintf(text, sizeof(text), "%" PRIu32, deepest);
    put_text(drawing, LEFT - 10, QUEUE_TOP + 10, "end", text);
    put_text(drawing, LEFT - 10, QUEUE_TOP + QUEUE_HEIGHT / 2 + 8, "soft end",
        "waiting");
    put_text(drawing, LEFT - 10, QUEUE_TOP + QUEUE_HEIGHT, "end", "0");
}

/* ---- the lanes ---- */

static void
put_box(const struct drawing *drawing, const char *class, const char *fill,
    uint32_t slot, belay_time begin, belay_time end)
{
    const double x = x_of(drawing, seconds(drawing, begin));
    const double width = x_of(drawing, seconds(drawing, end)) - x;

    (void)fprintf(drawing->out,
        "<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" "
        "height=\"%.1f\"",
        class, x, lane_top(drawing, slot), fmax(width, 0.5), drawing->height);
    if (fill != NULL) {
        (void)fprintf(drawing->out, " fill=\"%s\"", fill);
    }
}

static void
put_hold(const struct drawing *drawing, const struct belay__gpu_hold *hold)
{
    const struct belay__gpu_names *names = &drawing->picture->names;
    const char *name = names->task(hold->task_id, names->arg);
    const char *class = names->priority(hold->priority, names->arg);

    put_box(drawing, "lease", colours[hold->priority % BELAY_GPU_PRIORITIES],
        hold->slot, hold->begin, hold->end);
    (void)fprintf(drawing->out,
        "><title>%s (%s): %.3f s from %.3f s, after a wait of %.3f s%s"
        "</title></rect>\n",
        name, class != NULL ? class : "?",
        (double)(hold->end.ns - hold->begin.ns) / 1e9,
        seconds(drawing, hold->begin), (double)hold->waited.ns / 1e9,
        hold->failed ? "; failed" : "");
}

static void
put_name(const struct drawing *drawing, const struct belay__gpu_hold *hold)
{
    const struct belay__gpu_names *names = &drawing->picture->names;
    const char *name = names->task(hold->task_id, names->arg);
    const double x = x_of(drawing, seconds(drawing, hold->begin));
    const double width = x_of(drawing, seconds(drawing, hold->end)) - x;
    int letters = 0;

    while (name[letters] != '\0') {
        letters++;
    }
    if (drawing->height >= 16 && width > LETTER * letters + 6) {
        put_text(drawing, x + 4,
            lane_top(drawing, hold->slot) + drawing->height / 2 + 4, "name",
            name);
    }
}

static void
put_lane_names(const struct drawing *drawing)
{
    const struct belay__gpu_picture *picture = drawing->picture;
    const bool narrow = drawing->lane < LABEL;
    char text[48];
    double below = 0; /* the last label */

    for (uint32_t i = 0; i < picture->slots; i++) {
        if (narrow
            && (i % picture->slots_per_device != 0
                || lane_top(drawing, i) < below + LABEL)) {
            continue;
        }
        below = lane_top(drawing, i);
        (void)snprintf(text, sizeof(text), "GPU %" PRIu32 " slot %" PRIu32,
            i / picture->slots_per_device, i % picture->slots_per_device);
        put_text(drawing, LEFT - 10,
            lane_top(drawing, i) + drawing->height / 2 + 4, "end", text);
    }
}

static void
put_lanes(const struct drawing *drawing)
{
    const struct belay__gpu_record *record = drawing->picture->record;
    const struct belay__gpu_span *span;

    put_lane_names(drawing);
    for (uint32_t i = 0; i < record->hold_count; i++) {
        put_hold(drawing, &record->holds[i]);
    }
    for (uint32_t i = 0; i < record->span_count; i++) {
        span = &record->spans[i];
        if (span->state == BELAY_GPU_SLOT_DRAINING) {
            put_box(
                drawing, "draining", NULL, span->slot, span->begin, span->end);
            (void)fputs("/>\n", drawing->out);
        } else if (span->state >= BELAY_GPU_SLOT_QUARANTINED) {
            put_box(drawing, "out", NULL, span->slot, span->begin, span->end);
            (void)fputs(
                "><title>out of service</title></rect>\n", drawing->out);
        }
    }
    for (uint32_t i = 0; i < record->hold_count; i++) {
        if (record->holds[i].stopped.ns != 0) {
            put_box(drawing, "draining", NULL, record->holds[i].slot,
                record->holds[i].stopped, record->holds[i].end);
            (void)fputs("/>\n", drawing->out);
        }
        if (record->holds[i].failed) {
            put_box(drawing, "failed", NULL, record->holds[i].slot,
                record->holds[i].begin, record->holds[i].end);
            (void)fputs("/>\n", drawing->out);
        }
        put_name(drawing, &record->holds[i]);
    }
}

/* ---- ideal and legend ---- */

static void
put_ends(const struct drawing *drawing)
{
    const double ideal_s = (double)drawing->picture->ideal.ns / 1e9;
    const double end_s = seconds(drawing, drawing->picture->end);
    const double ideal = x_of(drawing, ideal_s);
    const double end = x_of(drawing, end_s);
    char text[48];

    (void)fprintf(drawing->out,
        "<path class=\"ideal\" d=\"M%.1f %.1fV%.1f\"/>\n"
        "<path class=\"makespan\" stroke=\"#24292f\" d=\"M%.1f %.1fV%.1f\"/>\n",
        ideal, LANES_TOP - 12, drawing->bottom + 5, end, LANES_TOP - 12,
        drawing->bottom + 5);
    (void)snprintf(text, sizeof(text), "ideal %.2f s", ideal_s);
    put_text(drawing, ideal - 5, LANES_TOP - 9, "end", text);
    (void)snprintf(text, sizeof(text), "end %.2f s", end_s);
    put_text(drawing, end + 5, LANES_TOP - 9, "", text);
}

static double
put_key(const struct drawing *drawing, double x, const char *class,
    const char *fill, const char *text)
{
    const double y = drawing->bottom + 38;
    int letters = 0;

    (void)fprintf(drawing->out,
        "<path class=\"%s\" fill=\"%s\" d=\"M%.1f %.1fh18v12h-18z\"/>\n", class,
        fill, x, y);
    put_text(drawing, x + 24, y + 10, "", text);
    while (text[letters] != '\0') {
        letters++;
    }
    return x + 24 + 6.6 * letters + 22;
}

static void
put_legend(const struct drawing *drawing)
{
    const struct belay__gpu_names *names = &drawing->picture->names;
    const char *name;
    double x = LEFT;

    for (uint32_t i = BELAY_GPU_PRIORITIES; i-- > 0;) {
        name = names->priority(i, names->arg);
        if (name != NULL) {
            x = put_key(drawing, x, "key", colours[i], name);
        }
    }
    x = put_key(drawing, x, "draining", "#888", "draining");
    x = put_key(drawing, x, "failed", "none", "failed");
    x = put_key(drawing, x, "out", "#d1393d", "out of service");
    (void)fprintf(drawing->out, "<path class=\"ideal\" d=\"M%.1f %.1fh24\"/>\n",
        x, drawing->bottom + 44);
    put_text(drawing, x + 30, drawing->bottom + 48, "", "ideal makespan");
}

void
belay__gpu_timeline_write(const struct belay__gpu_picture *picture, FILE *out)
{
    struct drawing drawing = {.picture = picture, .out = out};
    const int64_t span =
        belay_nanoseconds(picture->end.ns - picture->begin.ns).ns;

    drawing.lane = picture->slots <= 16 ? 30 : picture->slots <= 40 ? 20 : 11;
    drawing.height = drawing.lane * 0.86;
    drawing.bottom = LANES_TOP + drawing.lane * picture->slots;
    drawing.span_s =
        (double)(span > picture->ideal.ns ? span : picture->ideal.ns) / 1e9;
    drawing.span_s = fmax(drawing.span_s, 1e-6);
    put_head(&drawing, drawing.bottom + 68);
    put_axis(&drawing);
    put_queue(&drawing);
    put_lanes(&drawing);
    put_ends(&drawing);
    put_legend(&drawing);
    (void)fputs("</svg>\n", out);
}
