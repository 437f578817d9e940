/* start_scene.h - a child that says when it is ready, and one who waits for
 * that.
 */
#ifndef BELAY_TEST_SUPPORT_START_SCENE_H
#define BELAY_TEST_SUPPORT_START_SCENE_H

#include "test/support/program.h"

/* A child: waits, says that it is ready, waits, ends; inside a probe. */
struct service {
    const char *name;
    belay_duration before;
    bool on_cancel_too; /* says that it is ready although it is cancelled */
    bool never;         /* … or not at all */
    int code;           /* before it is ready */
    int times;          /* how often it says so; 0: once */
    belay_duration after;
    int code_after;
    int value;
    struct belay_cancel_reason reason;
};
extern const belay_function service;

/* Starts it in a group of its own, in a scope that may end before. */
struct starts {
    struct service service;
    belay_duration timeout; /* round the start; 0: none */
    bool cancel_child;      /* … itself, before it is ready */
    uint32_t max_running;
    belay_group *outer;
    belay_group *group;
    void *value;
    belay_task *child;
    struct belay_cancel_status status;
};
extern const belay_function starts;

#endif
