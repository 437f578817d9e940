/* hold.c - a task that keeps a manager open for others.
 *
 * The staged manager is copied out of the opener's arena, and entered by the
 * hold's own task. The hold is freed when that task is done with it and no
 * handle is left, whichever comes last.
 */
#include <belay/hold.h>

#include <belay/sync.h>

#include "runtime/internal.h"
#include "scopes/place.h"

#include <string.h>

struct belay_hold {
    belay_runtime *runtime;
    belay_task *task; /* counted; NULL until it is open */
    const belay_manager *manager;
    void *value;
    struct belay_event asked;
    uint32_t refs;
    bool running; /* the task is not done with it */
    bool open;
};

static size_t
hold_bytes(const belay_manager *manager)
{
    return belay__align16(sizeof(belay_hold)) + manager->enter.size;
}

static void *
arguments_of(belay_hold *hold)
{
    return (char *)hold + belay__align16(sizeof(*hold));
}

static void
free_if_unused(belay_hold *hold)
{
    if (hold->refs > 0 || hold->running) {
        return;
    }
    belay_task_unref(hold->task);
    belay__free(hold->runtime->memory, hold, hold_bytes(hold->manager));
}

/* ---- the task ---- */

struct keep {
    belay_hold *hold;
};

BELAY_ASYNC(keep)
{
    BELAY_BEGIN;
    BELAY_WITH (
        belay_enter(task, self->hold->manager, arguments_of(self->hold))) {
        self->hold->value = belay_result(task)->value;
        self->hold->open = true;
        (void)belay_started(task, self->hold->value);
        if (belay__start_pending(task)) {
            belay_event_set(&self->hold->asked); /* nobody will have it */
        }
        BELAY_TRY(belay_event_wait(task, &self->hold->asked));
        self->hold->open = false;
        return belay_pass(task);
    }
    BELAY_END;
}

struct holder {
    belay_hold *hold;
};

BELAY_ASYNC(holder)
{
    BELAY_BEGIN;
    self->hold->running = true;
    BELAY_TRY(BELAY_CALL(keep, .hold = self->hold));
    self->hold->running = false;
    free_if_unused(self->hold);
    return belay_pass(task);
    BELAY_END;
}

/* ---- opening ---- */

struct open_call {
    belay_group *group;
    belay_hold *hold;
    belay_hold **ret;
    const char *name;
};

static belay_next
open_done(belay_task *task, void *self)
{
    struct open_call *call = self;

    if (task->result.code < 0) {
        belay_hold_unref(call->hold); /* its task has ended, if it ran at all */
    } else {
        *call->ret = call->hold;
    }
    return belay_pass(task);
}

static belay_next
open_begin(belay_task *task, void *self)
{
    struct open_call *call = self;
    const belay_next next = belay_group_start(task, call->group, &holder,
        &(const struct holder){call->hold},
        BELAY_SPAWN_OPTS(.name = call->name, .task = &call->hold->task), NULL);

    belay__group_drop(call->group); /* the start has a hold of its own */
    return belay_then(task, open_done, next);
}

/* Takes the staged manager out of the task's arena; NULL without memory. */
static belay_hold *
hold_from_staged(belay_task *task)
{
    struct belay__frame *staged = task->runtime->staged;
    const belay_manager *manager = belay__frame_manager(staged);
    belay_hold *hold =
        belay__alloc_zero(task->runtime->memory, hold_bytes(manager));

    if (hold != NULL) {
        hold->runtime = task->runtime;
        hold->manager = manager;
        hold->refs = 1;
        memcpy(
            arguments_of(hold), belay__frame_self(staged), manager->enter.size);
    }
    belay__arena_pop(task->runtime, task->frames, staged);
    task->state = BELAY__TASK_READY;
    return hold;
}

/* A checkpoint too: who tries again sees the cancel. */
static belay_next
refuse(belay_task *task, int code)
{
    return belay__done_now(task, code, NULL);
}

belay_next
belay_hold_open(belay_task *task, belay_group *group, belay_next enter,
    const char *name, belay_hold **ret)
{
    static const belay_function function = {
        "hold open", __FILE__, sizeof(struct open_call), open_begin, 0};
    struct open_call call = {.group = group, .ret = ret, .name = name};
    belay_next next;
    int code;

    if (enter.how != BELAY__HOW_ENTER) {
        BELAY__REQUIRE_OF(task,
            enter.how == BELAY__HOW_WAIT && task->waiting == NULL
                && task->result.code < 0,
            "a hold needs an enter operation");
        return belay__cancel_visible(task) /* it has failed already */
                   ? refuse(task, task->result.code)
                   : enter;
    }
    call.hold = hold_from_staged(task);
    if (call.hold == NULL) {
        return refuse(task, BELAY_ENOMEM);
    }
    if (call.name == NULL) {
        call.name = call.hold->manager->enter.name;
    }
    code = belay__group_hold(group); /* others may run before open_begin() */
    if (code < 0) {
        belay_hold_unref(call.hold);
        return refuse(task, code);
    }
    next = belay_call(task, &function, &call);
    if (next.how != BELAY__HOW_CALL) {
        belay__group_drop(group);
        belay_hold_unref(call.hold);
        return refuse(task, task->result.code);
    }
    return next;
}

/* ---- what others may do ---- */

void *
belay_hold_value(const belay_hold *hold)
{
    return hold->value;
}

bool
belay_hold_is_open(const belay_hold *hold)
{
    return hold->open;
}

void
belay_hold_ask(belay_hold *hold)
{
    hold->open = false;
    belay_event_set(&hold->asked);
}

belay_next
belay_hold_close(belay_task *task, belay_hold *hold)
{
    belay_hold_ask(hold);
    return belay_task_join(task, hold->task);
}

belay_hold *
belay_hold_ref(belay_hold *hold)
{
    hold->refs++;
    return hold;
}

void
belay_hold_unref(belay_hold *hold)
{
    if (hold == NULL || --hold->refs > 0) {
        return;
    }
    if (hold->running) {
        belay_hold_ask(hold);
    }
    free_if_unused(hold);
}
