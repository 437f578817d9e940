/* plot.h - plots as inline SVG (private).
 *
 * Colours come from the page's style sheet by class, so that a plot follows it
 * in the dark and on paper. Texts are made here from numbers, but for the names
 * of bars, which are escaped.
 */
#ifndef BELAY_LLM_BATCH_PLOT_H
#define BELAY_LLM_BATCH_PLOT_H

#include "runtime/buffer.h"

#define BELAY__PLOT_POINTS 512

extern const char belay__html_style[]; /* of the page, and of its plots */

/* How numbers are written along an axis. */
typedef void belay__plot_format_fn(double value, char *ret, size_t size);

struct belay__plot_line {
    const char *label;
    const char *class_name;
    bool area; /* filled down to zero */
    bool steps;
    size_t count;
    double y[BELAY__PLOT_POINTS]; /* evenly from 0 to x_max */
};

struct belay__plot {
    const char *label; /* for those who do not see it */
    const char *unit;  /* of y */
    double x_max;
    belay__plot_format_fn *format_x;
    belay__plot_format_fn *format_y;
};

/* Lines over time. Errors: BELAY_ENOMEM, BELAY_ETOOLARGE. */
int belay__plot_lines(struct belay__buffer *buffer,
    const struct belay__plot *plot, const struct belay__plot_line *lines,
    size_t count);

struct belay__plot_bar {
    double low; /* on a logarithmic axis; above 0 */
    double high;
    double value;
};
struct belay__plot_mark {
    const char *label;
    double x;
};

/* A distribution. Same errors. */
int belay__plot_histogram(struct belay__buffer *buffer,
    const struct belay__plot *plot, const struct belay__plot_bar *bars,
    size_t count, const struct belay__plot_mark *marks, size_t mark_count);

struct belay__plot_row {
    const char *name;
    const char *text; /* its value, written out */
    double value;
    double second; /* drawn behind it, as uncertain */
};

/* A bar a row, lying. Same errors. */
int belay__plot_rows(struct belay__buffer *buffer,
    const struct belay__plot *plot, const struct belay__plot_row *rows,
    size_t count);

/* Appends a text of a page, with what means something in HTML escaped. */
int belay__html_text(struct belay__buffer *buffer, const char *text);

#endif
