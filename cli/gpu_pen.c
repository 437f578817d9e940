/* gpu_pen.c - lines of cells on a terminal. */
#include "cli/gpu_pen.h"

#include <stdarg.h>
#include <string.h>

#define TEXT_BYTES 512

/* Whole characters of UTF-8 only; all that is printed here is one cell wide. */
static void
put_text(struct belay__pen *pen, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t len;

    while (*at != '\0' && pen->column < pen->columns) {
        len = 1;
        while ((at[len] & 0xc0) == 0x80) {
            len++;
        }
        (void)fwrite(at, 1, len, pen->out);
        at += len;
        pen->column++;
    }
}

void
belay__pen_put(
    struct belay__pen *pen, const char *style, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (style != NULL) {
        (void)fprintf(pen->out, "\x1b[%sm", style);
    }
    put_text(pen, text);
    if (style != NULL) {
        (void)fputs("\x1b[0m", pen->out);
    }
}

void
belay__pen_tab(struct belay__pen *pen, unsigned column)
{
    while (pen->column < column && pen->column < pen->columns) {
        (void)fputc(' ', pen->out);
        pen->column++;
    }
}

void
belay__pen_end_line(struct belay__pen *pen)
{
    (void)fputs("\x1b[K\n", pen->out);
    pen->column = 0;
    pen->lines++;
}

void
belay__pen_bar(
    struct belay__pen *pen, const char *style, double share, unsigned cells)
{
    static const char *const eighths[] = {
        "", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    const double most = (double)cells * 8;
    char full[TEXT_BYTES] = "";
    char rest[TEXT_BYTES] = "";
    unsigned filled = 0;
    unsigned whole;
    size_t len = 0;

    if (share > 0) {
        filled = (unsigned)((share < 1 ? share : 1) * most + 0.5);
    }
    whole = filled / 8;
    for (unsigned i = 0; i < whole; i++) {
        len += (size_t)snprintf(
            full + len, sizeof(full) - len, "%s", pen->utf8 ? "█" : "#");
    }
    if (pen->utf8 && filled % 8 > 0) {
        (void)snprintf(
            full + len, sizeof(full) - len, "%s", eighths[filled % 8]);
        whole++;
    }
    len = 0;
    for (unsigned i = whole; i < cells; i++) {
        len += (size_t)snprintf(
            rest + len, sizeof(rest) - len, "%s", pen->utf8 ? "·" : ".");
    }
    belay__pen_put(pen, style, "%s", full);
    belay__pen_put(pen, "2", "%s", rest);
}

/* The dots of a braille cell from the bottom: left and right columns. */
static unsigned
braille_of(float left, float right)
{
    static const unsigned lefts[] = {0, 0x40, 0x44, 0x46, 0x47};
    static const unsigned rights[] = {0, 0x80, 0xa0, 0xb0, 0xb8};

    return lefts[(unsigned)(left * 4 + 0.5F)]
           | rights[(unsigned)(right * 4 + 0.5F)];
}

void
belay__pen_spark(struct belay__pen *pen, const char *style, const float *shares,
    unsigned count)
{
    static const char letters[] = " .:-=+*#";
    char text[4];
    unsigned dots;

    for (unsigned i = 0; i + 1 < count; i += 2) {
        if (pen->utf8) {
            dots = braille_of(shares[i], shares[i + 1]);
            text[0] = (char)0xe2; /* U+2800 and on */
            text[1] = (char)(0xa0 | dots >> 6);
            text[2] = (char)(0x80 | (dots & 0x3f));
            text[3] = '\0';
        } else {
            text[0] = letters[(unsigned)(shares[i + 1] * 7 + 0.5F)];
            text[1] = '\0';
        }
        belay__pen_put(pen, style, "%s", text);
    }
}
