/* gone_scene.h - what an operation was given is gone at its first step.
 *
 * A task's turn may end behind any of its steps, so also behind the one that
 * makes an operation, or behind any of the operation's own. The user burns a
 * part of its turn first, so that it ends behind each of them once; and then
 * the owner leaves all that it has in one turn of its own.
 */
#ifndef BELAY_TEST_SUPPORT_GONE_SCENE_H
#define BELAY_TEST_SUPPORT_GONE_SCENE_H

#include "test/support/program.h"

struct gone_operation {
    const char *name;
    belay_next (*fn)(belay_task *task);
    int other; /* that it may fail with, if it comes in time */
    bool block;
};

struct gone_scene {
    /* Without arguments: opens what there is, GONE_AWAIT_CALL, leaves it. */
    const belay_function *owner;
    uint32_t steps;                          /* of a turn: it needs fewer */
    int closed;                              /* what comes too late */
    void (*give_back)(bool block);           /* what came of an operation */
    const struct gone_operation *operations; /* as many of them … */
    size_t count;
};

/* Each operation, with the turn's end behind any of its steps. */
void expect_gone(const struct gone_scene *scene);

extern bool gone_opened;
extern bool gone_called;

/* For the owner, in the block of what it has. */
#define GONE_AWAIT_CALL                      \
    gone_opened = true;                      \
    while (!gone_called) {                   \
        BELAY_AWAIT(belay_checkpoint(task)); \
    }

#endif
