/* given_scene.h - a block that is given what may be gone when it is entered.
 *
 * Prices, a budget or a recorder are there when the block is asked for. What
 * has a block of its own has been left by then; the last reference is dropped
 * behind that, or, with .drop, before the block's first step.
 */
#ifndef BELAY_TEST_SUPPORT_GIVEN_SCENE_H
#define BELAY_TEST_SUPPORT_GIVEN_SCENE_H

#include <belay/batch.h>
#include <belay/budget.h>
#include <belay/llm.h>
#include <belay/price.h>
#include <belay/record.h>

struct given {
    /* An enter operation, with what there is. */
    belay_next (*open)(belay_task *task, struct given *self);
    bool with_prices;
    bool with_budget;
    bool with_recorder;
    bool drop;
    const char *path; /* of the recorder */
    belay_prices *prices;
    belay_budget *budget;
    belay_recorder *recorder;
    belay_llm_client *client; /* for open */
    belay_batch *batch;       /* the same */
};
extern const belay_function given;

#endif
