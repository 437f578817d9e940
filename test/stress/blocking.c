/* blocking.c - many calls on threads, a part of them cancelled or abandoned.
 *
 * Fit for ThreadSanitizer: what a function writes, its task or its release
 * reads without any lock of its own. Every call must run or be refused, and
 * every argument that was given away must come back once.
 */
#include <belay/belay.h>

#include <stdio.h>
#include <stdlib.h>

#define TASKS 64
#define CALLS 50

static struct {
    long ran;
    long cancelled;
    long given;
    long released;
} count;

static int
add_one(void *arg)
{
    ++*(long *)arg;
    return 0;
}

static void
take_back(void *arg)
{
    count.released++;
    free(arg);
}

static const struct belay_var offset = {"offset", NULL};

static int
add_offset(void *arg)
{
    const long *value = belay_blocking_var(&offset);

    *(long *)arg += value != NULL ? *value : 0;
    return 0;
}

struct caller {
    long calls;
    long value;
    bool abandon;
    struct belay_cancel_status status;
};

static belay_next
give_away(belay_task *task)
{
    long *value = calloc(1, sizeof(*value));

    count.given++;
    return belay_blocking_or_abandon(task, add_one, value, take_back);
}

BELAY_ASYNC(caller)
{
    BELAY_BEGIN;
    for (; self->calls > 0; self->calls--) {
        if (self->abandon) {
            BELAY_TRY(give_away(task));
        } else {
            BELAY_TRY(belay_blocking(task,
                self->calls % 2 == 0 ? add_one : add_offset, &self->value));
        }
        if (belay_result(task)->cancelled) {
            count.cancelled++;
        } else {
            count.ran++;
        }
    }
    BELAY_END;
}

struct all {
    belay_group *group;
    long *offset;
};

BELAY_ASYNC(all)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &offset, self->offset, NULL));
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (int i = 0; i < TASKS; i++) {
            BELAY_CHECK(belay_spawn(
                self->group, caller, .calls = CALLS, .abandon = i % 3 == 0));
        }
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(3)));
        belay_group_cancel(self->group, "enough");
    }
    BELAY_END;
}

int
main(void)
{
    long one = 1;
    const int code =
        belay_run(&all, &(const struct all){NULL, &one}, NULL, NULL);

    if (code < 0 || count.ran + count.cancelled != (long)TASKS * CALLS
        || count.given != count.released) {
        (void)fprintf(stderr,
            "%s: ran %ld, cancelled %ld, given %ld, released %ld\n",
            belay_code_name(code), count.ran, count.cancelled, count.given,
            count.released);
        return 1;
    }
    return 0;
}
