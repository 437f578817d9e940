/* gpu_pen.h - lines of cells on a terminal (private).
 *
 * What does not fit into the columns is left out, so that nothing wraps and
 * the lines of a picture can be counted when it is drawn over.
 */
#ifndef BELAY_CLI_GPU_PEN_H
#define BELAY_CLI_GPU_PEN_H

#include <belay/base.h>

#include <stdio.h>

struct belay__pen {
    FILE *out;
    unsigned columns;
    unsigned column; /* of the next cell */
    unsigned lines;  /* ended so far */
    bool utf8;       /* blocks and dots; else letters */
};

/* style: the numbers of an SGR sequence, as "1;32", or NULL. */
void belay__pen_put(struct belay__pen *pen, const char *style,
    const char *format, ...) BELAY_PRINTF(3, 4);
/* On to a column, if it is not passed already. */
void belay__pen_tab(struct belay__pen *pen, unsigned column);
void belay__pen_end_line(struct belay__pen *pen);
/* `cells` of them, a share of 0 to 1 filled, in eighths where there are. */
void belay__pen_bar(
    struct belay__pen *pen, const char *style, double share, unsigned cells);
/* Shares, two to a cell, oldest first. */
void belay__pen_spark(struct belay__pen *pen, const char *style,
    const float *shares, unsigned count);

#endif
