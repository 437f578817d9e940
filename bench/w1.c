/* w1.c - tasks through three scopes, on Belay.
 *
 * N tasks, at most CONC alive: each enters three nested managers and leaves
 * them; every enter and every exit suspends once through the scheduler. As
 * one task ends, the next is spawned.
 */
#include <belay/belay.h>

#include "bench/bench.h"

static uint64_t passages; /* enters and exits that have run to their end */

struct level {
    uint64_t number;
};

/* Enter and exit alike: suspend once. */
static belay_next
level_pass(belay_task *task, void *self)
{
    (void)self;
    return belay_end_with(task, belay_checkpoint(task));
}

static const belay_manager level = {
    {"level", __FILE__, sizeof(struct level), level_pass, 0}, level_pass};

struct work {
    uint64_t bodies;
};

BELAY_ASYNC_SIZED(work, 3 * BELAY_ENTER_BYTES(struct level))
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(level, 1)) {
        passages++;
        BELAY_WITH (BELAY_ENTER(level, 2)) {
            passages++;
            BELAY_WITH (BELAY_ENTER(level, 3)) {
                passages++;
                self->bodies++;
            }
            passages++;
        }
        passages++;
    }
    passages++;
    BELAY_END;
}

struct waves {
    belay_group *group;
    long left; /* to be spawned */
    long alive_max;
};

static int
spawn_next(struct waves *waves)
{
    if (waves->left == 0) {
        return 0;
    }
    waves->left--;
    return belay_spawn(waves->group, work, .bodies = 0);
}

static void
on_child(belay_task *child, const struct belay_result *result, void *arg)
{
    (void)child;
    if (result->code < 0 || spawn_next(arg) < 0) {
        abort();
    }
}

BELAY_ASYNC(waves)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task,
        BELAY_GROUP_OPTS(.on_child = on_child, .arg = self), &self->group)) {
        for (long i = 0; i < self->alive_max; i++) {
            BELAY_CHECK(spawn_next(self));
        }
    }
    BELAY_END;
}

int
main(int argc, char **argv)
{
    const struct waves arguments = {
        .left = argument(argc, argv, 1, 200000),
        .alive_max = argument(argc, argv, 2, 1000),
    };
    const long tasks = arguments.left;
    const struct moment start = moment_now();
    const int code = belay_run(&waves, &arguments, NULL, NULL);

    if (code < 0) {
        (void)fprintf(stderr, "w1: %s\n", belay_code_text(code));
        return 1;
    }
    report(tasks, start, moment_now(), passages, "");
    return 0;
}
