/* group_scene.h - a group with two children, and what a body may do beside
 * them.
 *
 * For the tests of how groups end: on their children's account, the body's, or
 * that of somebody outside.
 */
#ifndef BELAY_TEST_SUPPORT_GROUP_SCENE_H
#define BELAY_TEST_SUPPORT_GROUP_SCENE_H

#include "test/support/program.h"

/* A child: waits, then ends as told, inside a probe. */
struct child {
    const char *name;
    belay_duration sleep;
    int code;      /* after the sleep */
    int on_cancel; /* instead of the cancel */
    belay_duration exit_sleep;
    int exit_code;
};
extern const belay_function child;

/* A child that traces "child". */
struct nothing {
    int unused;
};
extern const belay_function nothing;

/* Spawns both; the body sleeps, traces "body RESULT", and does as told. */
struct two {
    struct child first;
    struct child second;
    belay_duration body_sleep;
    int body_code;
    bool cancel_group;
    bool cancel_outer;
    int body_on_cancel;
    belay_group *group;
    belay_cancel_scope *outer;
    struct belay_cancel_status status;
};
extern const belay_function two;

#endif
