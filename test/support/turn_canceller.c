/* turn_canceller.c - a cancel at any turn of a task. */
#include "test/support/turn_canceller.h"

#include <belay/async.h>
#include <belay/runtime.h>

BELAY__STEP(canceller)
const belay_function canceller = {
    "canceller", __FILE__, sizeof(struct canceller), canceller__step, 0};
BELAY__BODY(canceller)
{
    struct belay_runtime_stats stats = {.size = sizeof(stats)};

    BELAY_BEGIN;
    for (;;) {
        self->own++;
        BELAY_CHECK(belay_runtime_get_stats(belay_task_runtime(task), &stats));
        if (stats.turns - self->own >= self->turns
            || belay_task_result(self->victim) != NULL) {
            break;
        }
        BELAY_AWAIT(belay_checkpoint(task));
    }
    belay_task_cancel(self->victim, "the sweep has come here");
    belay_task_unref(self->victim);
    BELAY_END;
}
