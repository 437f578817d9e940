/* start_scene.c - a child that says when it is ready, and one who waits for
 * that.
 */
#include "test/support/start_scene.h"

BELAY__STEP(service)
const belay_function service = {
    "service", __FILE__, sizeof(struct service), service__step, 0};
BELAY__BODY(service)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(probe, .name = self->name)) {
        BELAY_TRY(belay_sleep(task, self->before));
        if (belay_result(task)->code < 0) {
            trace("%s %s", self->name, trace_result(belay_result(task)));
            if (!self->on_cancel_too) {
                return belay_pass(task);
            }
        }
        if (self->code < 0) {
            BELAY_FAIL(self->code, "as told");
        }
        if (!self->never) {
            trace("%s ready %s", self->name,
                belay_code_name(belay_started(task, &self->value)));
        }
        if (self->times > 1) {
            trace("%s again %s", self->name,
                belay_code_name(belay_started(task, NULL)));
        }
        BELAY_TRY(belay_sleep(task, self->after));
        if (belay_cancel_pending(task, &self->reason)) {
            trace("%s sees %s", self->name, self->reason.text);
            return belay_pass(task);
        }
        if (self->code_after < 0) {
            BELAY_FAIL(self->code_after, "as told");
        }
    }
    BELAY_END;
}

static void
note_start(belay_task *task, struct starts *self)
{
    trace("start %s", trace_result(belay_result(task)));
    if (belay_result(task)->code == 0) {
        cr_expect(eq(int, *(int *)self->value, self->service.value));
        cr_expect(eq(ptr, belay_result(task)->value, self->value));
        cr_expect(eq(sz, belay_group_count(self->group), 1));
        cr_assert(ne(ptr, self->child, NULL));
    } else {
        cr_expect(zero(ptr, self->value));
        cr_expect(zero(ptr, self->child));
        cr_expect(zero(sz, belay_group_count(self->group)));
    }
}

static belay_next
start_service(belay_task *task, struct starts *self)
{
    return belay_group_start(task, self->group, &service, &self->service,
        BELAY_SPAWN_OPTS(.name = "the service", .task = &self->child),
        &self->value);
}

BELAY__STEP(starts)
const belay_function starts = {
    "starts", __FILE__, sizeof(struct starts), starts__step, 0};
BELAY__BODY(starts)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->child)) {
        BELAY_WITH (belay_group_open(task,
            BELAY_GROUP_OPTS(.max_running = self->max_running), &self->group)) {
            BELAY_WITH (belay_move_on(task,
                self->timeout.ns > 0 ? self->timeout : BELAY_FOREVER,
                &self->status)) {
                BELAY_TRY(start_service(task, self));
                note_start(task, self);
                if (belay_result(task)->code < 0) {
                    return belay_pass(task);
                }
            }
            trace("scope left");
        }
        trace("end");
    }
    BELAY_END;
}
