/* log.c - what happens, one line an event: the time in ms, the task, what. */
#include "test/model/interpret.h"

#include <stdio.h>

static void put_error(const belay_error *error);

static void
put_children(const belay_error *error)
{
    const size_t failures = belay_error_failures(error);
    belay_error *inner;
    size_t count = 0;

    printf("[");
    for (; (inner = belay_error_child(error, count)) != NULL; count++) {
        printf("%s", count > 0 ? "," : "");
        put_error(inner);
    }
    if (failures > count) {
        printf("%s+%zu", count > 0 ? "," : "", failures - count);
    }
    printf("]");
}

static void
put_error(const belay_error *error)
{
    printf("%d", belay_error_code(error));
    if (belay_error_cause(error) != NULL) {
        printf("~");
        put_error(belay_error_cause(error));
    }
    if (belay_error_code(error) == BELAY_EGROUP) {
        put_children(error);
    }
    if (belay_error_context(error) != NULL) {
        printf("<");
        put_error(belay_error_context(error));
    }
}

void
put_result(const struct belay_result *result)
{
    if (result->code >= 0) {
        printf(" ok");
    } else if (result->cancelled) {
        printf(" cancel");
    } else if (result->error != NULL) {
        printf(" ");
        put_error(result->error);
    } else {
        printf(" %d", result->code);
    }
}

int64_t
time_of(belay_time when)
{
    return when.ns / NS_PER_MS - 1000;
}

int64_t
now_ms(const belay_task *task)
{
    return time_of(belay_now(task));
}

belay_duration
span_of(int64_t ms)
{
    return ms == FOREVER_MS ? BELAY_FOREVER : belay_milliseconds(ms);
}

void
put_event(const belay_task *task, const char *what, int64_t id)
{
    note_moved();
    printf("%lld %s %s %lld", (long long)now_ms(task), belay_task_name(task),
        what, (long long)id);
}

void
note(const belay_task *task, const char *what, int64_t id)
{
    put_event(task, what, id);
    printf("\n");
}

void
note_result(const belay_task *task, const char *what, int64_t id,
    const struct belay_result *result)
{
    put_event(task, what, id);
    put_result(result);
    printf("\n");
}

void
note_code(const belay_task *task, const char *what, int64_t id, int code)
{
    put_event(task, what, id);
    printf(" %d\n", code);
}
