/* given_scene.c - a block that is given what may be gone when it is entered. */
#include "test/support/given_scene.h"

#include "llm/record/recorder.h"

#include <belay/async.h>
#include <belay/managers.h>

static void
drop(void *arg)
{
    struct given *self = arg;

    belay_prices_unref(self->prices);
    belay_budget_unref(self->budget);
    belay__recorder_unref(self->recorder);
    self->prices = NULL;
    self->budget = NULL;
    self->recorder = NULL;
}

static belay_next
open_block(belay_task *task, struct given *self)
{
    const belay_next next = self->open(task, self);

    if (self->drop) {
        drop(self);
    }
    return next;
}

BELAY__STEP(given)
const belay_function given = {
    "given", __FILE__, sizeof(struct given), given__step, 0};
BELAY__BODY(given)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, drop, self)) {
        if (self->with_prices) {
            BELAY_CHECK(belay_prices_new(belay_task_runtime(task),
                (struct belay_slice){"{}", 2}, &self->prices, NULL));
        }
        if (self->with_budget) {
            BELAY_WITH (belay_budget_open(task, NULL, &self->budget)) {
                (void)belay_budget_ref(self->budget);
            }
        }
        if (self->with_recorder) {
            BELAY_WITH (belay_recorder_open(task,
                BELAY_RECORDER_OPTS(.path = self->path), &self->recorder)) {
                (void)belay__recorder_ref(self->recorder);
            }
        }
        BELAY_WITH (open_block(task, self)) {
            drop(self);
        }
    }
    BELAY_END;
}
