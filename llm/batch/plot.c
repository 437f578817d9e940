/* plot.c - plots as inline SVG.
 *
 * Once something could not be appended the buffer is of no use any more; so
 * the functions here go on and tell at their end.
 */
#include "llm/batch/plot.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WIDTH 720.0
#define HEIGHT 230.0
#define LEFT 52.0
#define RIGHT 14.0
#define TOP 14.0
#define BOTTOM 30.0
#define TICKS_X 6
#define TICKS_Y 4
#define ROW_HEIGHT 34.0
#define DIGIT 6.5 /* as wide as a character below an axis */

struct pen {
    struct belay__buffer *buffer;
    int code;
    double x_min;
    double x_max;
    double y_max;
    bool log_x;
    double labelled; /* up to here there are labels below the axis */
};

int
belay__html_text(struct belay__buffer *buffer, const char *text)
{
    int code = 0;

    for (; *text != '\0' && code == 0; text++) {
        switch (*text) {
        case '<':
            code = belay__buffer_format(buffer, "&lt;");
            break;
        case '>':
            code = belay__buffer_format(buffer, "&gt;");
            break;
        case '&':
            code = belay__buffer_format(buffer, "&amp;");
            break;
        case '"':
            code = belay__buffer_format(buffer, "&quot;");
            break;
        default:
            code = belay__buffer_append(buffer, text, 1);
        }
    }
    return code;
}

static void put(struct pen *pen, const char *format, ...) BELAY_PRINTF(2, 3);

static void
put(struct pen *pen, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (pen->code == 0) {
        pen->code = belay__buffer_format_va(pen->buffer, format, args);
    }
    va_end(args);
}

static void
put_text(struct pen *pen, const char *text)
{
    if (pen->code == 0) {
        pen->code = belay__html_text(pen->buffer, text);
    }
}

/* ---- axes ---- */

static double
scale_x(const struct pen *pen, double x)
{
    const double share =
        pen->log_x ? log(x / pen->x_min) / log(pen->x_max / pen->x_min)
                   : x / pen->x_max;

    return LEFT + share * (WIDTH - LEFT - RIGHT);
}

static double
scale_y(const struct pen *pen, double y)
{
    return HEIGHT - BOTTOM - y / pen->y_max * (HEIGHT - TOP - BOTTOM);
}

/* One, two or five times a power of ten: at most `ticks` of them to max. */
static double
nice_step(double max, int ticks)
{
    const double least = max / ticks;
    const double power = pow(10, floor(log10(least)));
    const double rest = least / power;

    return power * (rest <= 1 ? 1 : rest <= 2 ? 2 : rest <= 5 ? 5 : 10);
}

/* Of time: seconds, minutes, hours, in steps that clocks have. */
static double
nice_seconds(double max, int ticks)
{
    static const double steps[] = {1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900,
        1800, 3600, 7200, 10800, 21600, 43200, 86400};

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (max / steps[i] <= ticks) {
            return steps[i];
        }
    }
    return nice_step(max / 86400, ticks) * 86400;
}

static void
begin(struct pen *pen, const struct belay__plot *plot, double height)
{
    put(pen, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", WIDTH,
        height);
    put_text(pen, plot->label);
    put(pen, "\">\n");
}

static void
y_axis(struct pen *pen, const struct belay__plot *plot)
{
    const double step = nice_step(pen->y_max, TICKS_Y);
    char text[24];

    pen->y_max = ceil(pen->y_max / step - 1e-9) * step;
    for (int i = 0; i * step <= pen->y_max * 1.0001; i++) {
        const double y = scale_y(pen, i * step);

        plot->format_y(i * step, text, sizeof(text));
        put(pen,
            "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" "
            "y2=\"%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" "
            "text-anchor=\"end\">%s</text>\n",
            LEFT, WIDTH - RIGHT, y, y, LEFT - 8, y + 4, text);
    }
}

static void
x_tick(struct pen *pen, const struct belay__plot *plot, double x)
{
    const double at = scale_x(pen, x);
    const bool last = at > WIDTH - RIGHT - 20;
    char text[24];
    double width;
    double left;

    plot->format_x(x, text, sizeof(text));
    put(pen,
        "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" "
        "y2=\"%.1f\"/>\n",
        at, at, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4);
    width = DIGIT * (double)strlen(text);
    left = last ? at - width : at - width / 2;
    if (pen->labelled > 0 && left < pen->labelled + DIGIT) {
        return; /* a tick without a label is better than two in one place */
    }
    pen->labelled = left + width;
    put(pen,
        "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" "
        "text-anchor=\"%s\">%s</text>\n",
        at, HEIGHT - BOTTOM + 18, last ? "end" : "middle", text);
}

static void
x_line(struct pen *pen)
{
    put(pen,
        "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" "
        "y2=\"%.1f\"/>\n",
        LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM);
}

/* ---- lines ---- */

static void
line_points(struct pen *pen, const struct belay__plot_line *line)
{
    for (size_t i = 0; i < line->count; i++) {
        const double x = pen->x_max * (double)i
                         / (double)(line->count > 1 ? line->count - 1 : 1);

        if (line->steps && i > 0) {
            put(pen, "H%.1f", scale_x(pen, x));
            put(pen, "V%.1f", scale_y(pen, line->y[i]));
        } else {
            put(pen, "%c%.1f %.1f", i == 0 ? 'M' : 'L', scale_x(pen, x),
                scale_y(pen, line->y[i]));
        }
    }
}

static void
draw_line(struct pen *pen, const struct belay__plot_line *line)
{
    if (line->area) {
        put(pen, "<path class=\"area %s\" d=\"", line->class_name);
        line_points(pen, line);
        put(pen, "V%.1fH%.1fZ\"/>\n", scale_y(pen, 0), scale_x(pen, 0));
    }
    put(pen, "<path class=\"line %s\" d=\"", line->class_name);
    line_points(pen, line);
    put(pen, "\"/>\n");
}

static void
legend(struct pen *pen, const struct belay__plot_line *lines, size_t count)
{
    if (pen->code == 0) {
        put(pen, "<p class=\"legend\">");
    }
    for (size_t i = 0; i < count; i++) {
        put(pen, "<span class=\"%s\">%s</span> ", lines[i].class_name,
            lines[i].label);
    }
    put(pen, "</p>\n");
}

int
belay__plot_lines(struct belay__buffer *buffer, const struct belay__plot *plot,
    const struct belay__plot_line *lines, size_t count)
{
    struct pen pen = {.buffer = buffer, .x_max = plot->x_max, .y_max = 0};
    double step;

    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < lines[i].count; k++) {
            pen.y_max = lines[i].y[k] > pen.y_max ? lines[i].y[k] : pen.y_max;
        }
    }
    pen.y_max = pen.y_max > 0 ? pen.y_max : 1;
    pen.x_max = pen.x_max > 0 ? pen.x_max : 1;
    legend(&pen, lines, count);
    begin(&pen, plot, HEIGHT);
    y_axis(&pen, plot);
    for (size_t i = 0; i < count; i++) {
        draw_line(&pen, &lines[i]);
    }
    x_line(&pen);
    step = pen.x_max < 1 ? nice_step(pen.x_max, TICKS_X)
                         : nice_seconds(pen.x_max, TICKS_X);
    for (int i = 0; i * step <= pen.x_max * 1.0001; i++) {
        x_tick(&pen, plot, i * step);
    }
    put(&pen, "</svg>\n");
    return pen.code;
}

/* ---- a distribution ---- */

static void
draw_bars(struct pen *pen, const struct belay__plot_bar *bars, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const double x = scale_x(pen, bars[i].low);
        const double width = scale_x(pen, bars[i].high) - x;
        const double y = scale_y(pen, bars[i].value);

        if (bars[i].value > 0) {
            put(pen,
                "<rect class=\"bar c1\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                "height=\"%.1f\" rx=\"1.5\"/>\n",
                x + 0.75, y, width > 2 ? width - 1.5 : width,
                HEIGHT - BOTTOM - y);
        }
    }
}

/* Labels one below the other, for marks may be close, and over all lines. */
static void
draw_marks(struct pen *pen, const struct belay__plot_mark *marks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const double x = scale_x(pen, marks[i].x);

        put(pen,
            "<line class=\"mark\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" "
            "y2=\"%.1f\"/>\n",
            x, x, TOP, HEIGHT - BOTTOM);
    }
    for (size_t i = 0; i < count; i++) {
        const double x = scale_x(pen, marks[i].x);
        const bool left = x > WIDTH - 100;

        put(pen,
            "<text class=\"marked\" x=\"%.1f\" y=\"%.1f\" "
            "text-anchor=\"%s\">",
            left ? x - 5 : x + 5, TOP + 10 + 15 * (double)i,
            left ? "end" : "start");
        put_text(pen, marks[i].label);
        put(pen, "</text>\n");
    }
}

int
belay__plot_histogram(struct belay__buffer *buffer,
    const struct belay__plot *plot, const struct belay__plot_bar *bars,
    size_t count, const struct belay__plot_mark *marks, size_t mark_count)
{
    struct pen pen = {.buffer = buffer,
        .x_min = bars[0].low,
        .x_max = bars[count - 1].high,
        .y_max = 1,
        .log_x = true};
    static const double steps[] = {1, 2, 5};
    double power;
    int exponent;

    for (size_t i = 0; i < count; i++) {
        pen.y_max = bars[i].value > pen.y_max ? bars[i].value : pen.y_max;
    }
    pen.y_max *= 1.3; /* the marks' labels are above the bars */
    begin(&pen, plot, HEIGHT);
    y_axis(&pen, plot);
    draw_bars(&pen, bars, count);
    x_line(&pen);
    exponent = (int)floor(log10(pen.x_min));
    for (; pow(10, exponent) <= pen.x_max; exponent++) {
        power = pow(10, exponent);
        for (size_t i = 0; i < 3; i++) {
            if (power * steps[i] >= pen.x_min * 0.999
                && power * steps[i] <= pen.x_max * 1.001) {
                x_tick(&pen, plot, power * steps[i]);
            }
        }
    }
    draw_marks(&pen, marks, mark_count);
    put(&pen, "</svg>\n");
    return pen.code;
}

/* ---- rows ---- */

int
belay__plot_rows(struct belay__buffer *buffer, const struct belay__plot *plot,
    const struct belay__plot_row *rows, size_t count)
{
    struct pen pen = {.buffer = buffer};
    const double room = WIDTH - 2;
    double most = 0;

    for (size_t i = 0; i < count; i++) {
        const double sum = rows[i].value + rows[i].second;

        most = sum > most ? sum : most;
    }
    begin(&pen, plot, ROW_HEIGHT * (double)count);
    for (size_t i = 0; i < count; i++) {
        const double y = ROW_HEIGHT * (double)i;
        const double first = most > 0 ? rows[i].value / most * room : 0;
        const double both =
            most > 0 ? (rows[i].value + rows[i].second) / most * room : 0;

        put(&pen, "<text class=\"name\" x=\"0\" y=\"%.1f\">", y + 13);
        put_text(&pen, rows[i].name);
        put(&pen, "</text><text class=\"value\" x=\"%.1f\" y=\"%.1f\">", WIDTH,
            y + 13);
        put_text(&pen, rows[i].text);
        put(&pen,
            "</text><rect class=\"track\" x=\"0\" y=\"%.1f\" width=\"%.1f\" "
            "height=\"8\" rx=\"4\"/>",
            y + 19, WIDTH);
        put(&pen,
            "<rect class=\"bar unsure\" x=\"0\" y=\"%.1f\" width=\"%.1f\" "
            "height=\"8\" rx=\"4\"/>",
            y + 19, both > 2 ? both : 2);
        put(&pen,
            "<rect class=\"bar c1\" x=\"0\" y=\"%.1f\" width=\"%.1f\" "
            "height=\"8\" rx=\"4\"/>\n",
            y + 19, first > 2 ? first : 2);
    }
    put(&pen, "</svg>\n");
    return pen.code;
}
