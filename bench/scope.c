/* scope.c - a manager that never suspends, on Belay: enter, body, exit.
 *
 * One task opens and leaves the same block N times. CONC is not used.
 */
#include <belay/belay.h>

#include "bench/bench.h"

static uint64_t passages; /* enters and exits that have run */

struct door {
    uint64_t *passages;
};

static belay_next
door_pass(belay_task *task, void *self)
{
    struct door *door = self;

    ++*door->passages;
    return belay_return(task, NULL);
}

static const belay_manager door = {
    {"door", __FILE__, sizeof(struct door), door_pass, 0}, door_pass};

struct visitor {
    long times;
    long bodies;
};

BELAY_ASYNC(visitor)
{
    BELAY_BEGIN;
    while (self->times-- > 0) {
        BELAY_WITH (BELAY_ENTER(door, &passages)) {
            self->bodies++;
        }
    }
    BELAY_END;
}

int
main(int argc, char **argv)
{
    const struct visitor arguments = {.times = argument(argc, argv, 1, 200000)};
    const struct moment start = moment_now();
    const int code = belay_run(&visitor, &arguments, NULL, NULL);

    if (code < 0) {
        (void)fprintf(stderr, "scope: %s\n", belay_code_text(code));
        return 1;
    }
    report(arguments.times, start, moment_now(), passages, "");
    return 0;
}
