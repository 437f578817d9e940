/* group_scene.c - a group with two children, and what a body may do beside
 * them.
 */
#include "test/support/group_scene.h"

BELAY__STEP(child)
const belay_function child = {
    "child", __FILE__, sizeof(struct child), child__step, 0};
BELAY__BODY(child)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = self->name,
        .exit_sleep = self->exit_sleep, .exit_code = self->exit_code)) {
        BELAY_TRY(belay_sleep(task, self->sleep));
        if (belay_result(task)->cancelled && self->on_cancel < 0) {
            BELAY_FAIL(self->on_cancel, "in response to the cancel");
        }
        if (belay_result(task)->code < 0) {
            return belay_pass(task);
        }
        if (self->code < 0) {
            BELAY_FAIL(self->code, "as told");
        }
    }
    BELAY_END;
}

BELAY__STEP(nothing)
const belay_function nothing = {
    "nothing", __FILE__, sizeof(struct nothing), nothing__step, 0};
BELAY__BODY(nothing)
{
    BELAY_BEGIN;
    trace("child");
    BELAY_END;
}

BELAY__STEP(two)
const belay_function two = {"two", __FILE__, sizeof(struct two), two__step, 0};
BELAY__BODY(two)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(
        task, BELAY_CANCEL_SCOPE_OPTS(.status = &self->status), &self->outer)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(
                belay_group_spawn(self->group, &child, &self->first, NULL));
            BELAY_CHECK(
                belay_group_spawn(self->group, &child, &self->second, NULL));
            BELAY_TRY(belay_sleep(task, self->body_sleep));
            trace("body %s", trace_result(belay_result(task)));
            if (self->cancel_outer) {
                belay_cancel_scope_cancel(self->outer, NULL);
            }
            if (self->cancel_group) {
                belay_group_cancel(self->group, NULL);
            }
            if (self->body_code < 0) {
                BELAY_FAIL(self->body_code, "body");
            }
            if (belay_result(task)->code < 0) {
                return belay_pass(task);
            }
        }
        trace("behind");
        BELAY_TRY(belay_checkpoint(task));
        trace("then %s", trace_result(belay_result(task)));
    }
    trace("caught %d", self->status.caught);
    BELAY_END;
}
