/* broken.c - the last line of a program that has broken a contract.
 *
 * Release builds have it too: going on would be worse. Of a task it says where
 * that is, as far as the macros know: the await that its step came from, or
 * only the function if the step is its first, or written by hand.
 */
#include "runtime/internal.h"

#include <stdio.h>
#include <stdlib.h>

static void end(const char *format, va_list args) __attribute__((noreturn))
BELAY_PRINTF(1, 0);

static void
end(const char *format, va_list args)
{
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    belay__trace_last_words();
    abort();
}

void
belay__broken(const char *where, const char *format, ...)
{
    va_list args;

    (void)fprintf(stderr, "belay: broken contract in %s: ", where);
    va_start(args, format);
    end(format, args);
}

/* The innermost call that knows its line; else the innermost one. */
static const struct belay__frame *
frame_of(const belay_task *task)
{
    const struct belay__frame *frame = task->top;

    while (frame != NULL
           && (frame->function->file == NULL || frame->resume.line == 0)) {
        frame = frame->caller;
    }
    return frame != NULL ? frame : task->top;
}

static void
print_place(const belay_task *task)
{
    const struct belay__frame *frame = frame_of(task);

    if (frame == NULL) {
        return; /* it has ended */
    }
    (void)fprintf(stderr, ", %s", frame->function->name);
    if (frame->function->file != NULL && frame->resume.line != 0) {
        (void)fprintf(
            stderr, " (%s:%d)", frame->function->file, abs(frame->resume.line));
    } else if (frame->function->file != NULL) {
        (void)fprintf(stderr, " (%s)", frame->function->file);
    }
}

void
belay__broken_by(
    const belay_task *task, const char *where, const char *format, ...)
{
    va_list args;

    (void)fprintf(stderr, "belay: broken contract in %s: task %s", where,
        belay_task_name(task));
    print_place(task);
    (void)fprintf(stderr, ": ");
    va_start(args, format);
    end(format, args);
}
