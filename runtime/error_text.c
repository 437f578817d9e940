/* error_text.c - results and error trees as text for people.
 *
 * One line an error, what belongs to it below it, two columns further in: its
 * children, then its cause, then its context. Nothing allocates. The text is
 * bounded: a chain that is deeper, or a tree that has more lines, is cut where
 * it says so; errors may be shared, so that a small one prints long. What came
 * from elsewhere (a server's words) cannot move the terminal's cursor.
 */
#include <belay/error.h>

#include "runtime/internal.h"

#include <stdio.h>

#define DEPTH_MAX 16
#define LINES_MAX 1000

/* Where the text goes; counts on when the buffer is full. */
struct text {
    char *buffer;
    size_t size;
    size_t len;
    int lines;
};

static void text_add(struct text *text, const char *format, ...)
    BELAY_PRINTF(2, 3);

static void
text_add(struct text *text, const char *format, ...)
{
    const bool room = text->len < text->size;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(room ? text->buffer + text->len : NULL,
        room ? text->size - text->len : 0, format, args);
    va_end(args);
    if (n > 0) {
        text->len += (size_t)n;
    }
}

/* A message may have lines: they begin below its first one. */
static void
text_message(struct text *text, const char *message, int column)
{
    size_t n;

    while (*message != '\0') {
        for (n = 0; (unsigned char)message[n] >= ' ' && message[n] != 127;) {
            n++;
        }
        text_add(text, "%.*s", (int)n, message);
        message += n;
        if (*message == '\n' && message[1] == '\0') {
            return;
        }
        if (*message == '\n') {
            text_add(text, "\n%*s", column, "");
        } else if (*message == '\t') {
            text_add(text, " ");
        } else if (*message != '\0') {
            text_add(text, "\\x%02x", (unsigned)(unsigned char)*message);
        }
        message += *message != '\0';
    }
}

static void
text_line(
    struct text *text, const belay_error *error, const char *label, int depth)
{
    int number = 0;
    const char *name = belay_error_foreign(error, &number);

    text_add(text, "%*s%s", depth * 2, "", label);
    text_message(text, belay_error_message(error), depth * 2 + 4);
    text_add(text, " (%s", belay_code_name(belay_error_code(error)));
    if (name != NULL) {
        text_add(text, ", %s %d", name, number);
    }
    text_add(text, ")");
    name = belay_error_task(error);
    if (name[0] != '\0') {
        text_add(text, ", in task ");
        text_message(text, name, depth * 2 + 4);
    }
    name = belay_error_place(error, &number);
    if (name[0] != '\0') {
        text_add(text, ", at %s:%d", name, number);
    }
    text_add(text, "\n");
}

/* The failures of a group that have no object, by their codes if these were
 * kept. If none has one, their number stands in the line above.
 */
static void
text_more(
    struct text *text, const belay_error *error, size_t children, int depth)
{
    const size_t more = belay_error_failures(error) - children;
    const char *separator = ": ";
    size_t told = 0;
    size_t count;
    int code;

    if (children > 0) {
        text_add(text, "%*s- and %zu more", depth * 2, "", more);
    } else if (belay_error_more(error, 0, &count) != 0) {
        text_add(text, "%*s- of these", depth * 2, "");
    } else {
        return;
    }
    for (size_t i = 0; (code = belay_error_more(error, i, &count)) != 0; i++) {
        text_add(text, "%s%s %zu", separator, belay_code_name(code), count);
        separator = ", ";
        told += count;
    }
    if (told > 0 && told < more) {
        text_add(text, ", others %zu", more - told);
    }
    text_add(text, "\n");
}

static void
text_error(
    struct text *text, const belay_error *error, const char *label, int depth)
{
    const belay_error *below;
    size_t count = 0;

    if (text->lines == LINES_MAX) {
        text->lines++;
        text_add(text, "%*s... (cut here)\n", depth * 2, "");
    }
    if (text->lines > LINES_MAX) {
        return;
    }
    if (depth > DEPTH_MAX) {
        text_add(text, "%*s...\n", depth * 2, "");
        return;
    }
    text->lines++;
    text_line(text, error, label, depth);
    while ((below = belay_error_child(error, count)) != NULL
           && text->lines <= LINES_MAX) {
        text_error(text, below, "- ", depth + 1);
        count++;
    }
    if (below == NULL && belay_error_failures(error) > count) {
        text_more(text, error, count, depth + 1);
    }
    below = belay_error_cause(error);
    if (below != NULL) {
        text_error(text, below, "caused by: ", depth + 1);
    }
    below = belay_error_context(error);
    if (below != NULL) {
        text_error(text, below, "while handling: ", depth + 1);
    }
}

size_t
belay_error_format(const belay_error *error, char *buffer, size_t size)
{
    struct text text = {buffer, size, 0, 0};

    if (size > 0) {
        buffer[0] = '\0';
    }
    if (error != NULL) {
        text_error(&text, error, "", 0);
    }
    return text.len;
}

size_t
belay_result_format(
    const struct belay_result *result, char *buffer, size_t size)
{
    struct text text = {buffer, size, 0, 0};

    if (result->error != NULL) {
        return belay_error_format(result->error, buffer, size);
    }
    if (size > 0) {
        buffer[0] = '\0';
    }
    text_add(&text, "%s (%s)%s\n", belay_code_text(result->code),
        belay_code_name(result->code),
        result->cancelled ? ", by the runtime" : "");
    return text.len;
}
