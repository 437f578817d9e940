/* observer.c - an observer that traces, and managers for it to see. */
#include "test/support/observer.h"

#include "runtime/internal.h"

static const char *
outcome_text(int code, bool cancelled)
{
    if (cancelled) {
        return "cancel";
    }
    return code < 0 ? belay_code_name(code) : "ok";
}

static int
milliseconds(belay_duration span)
{
    return (int)(span.ns / 1000000);
}

void
tell(belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    const char *who = arg != NULL ? arg : "";

    (void)runtime;
    switch (seen->event) {
    case BELAY_OBSERVED_SCOPE_OPEN:
    case BELAY_OBSERVED_SCOPE_LEAVE:
        break; /* in other tests */
    case BELAY_OBSERVED_SCOPE_ENTER:
        trace("%s+%s%s %d", who, seen->name, seen->label,
            milliseconds(seen->took));
        break;
    case BELAY_OBSERVED_SCOPE_ERROR:
        trace("%s!%s %s", who, seen->name,
            outcome_text(seen->result->code, seen->result->cancelled));
        break;
    case BELAY_OBSERVED_SCOPE_EXIT:
        trace("%s-%s %s>%s %d/%d", who, seen->name,
            outcome_text(seen->code, seen->cancelled),
            seen->result != NULL
                ? outcome_text(seen->result->code, seen->result->cancelled)
                : "gone",
            milliseconds(seen->open), milliseconds(seen->took));
        break;
    case BELAY_OBSERVED_TASK_SPAWN:
        trace("%sspawn %s by %s", who, seen->task_name, seen->by_name);
        break;
    case BELAY_OBSERVED_TASK_END:
        trace("%send %s %s %d", who, seen->task_name,
            outcome_text(seen->code, seen->cancelled),
            milliseconds(seen->took));
        break;
    case BELAY_OBSERVED_SCOPE_CANCEL:
        trace("%scancel %s of %s: %s %s by %s", who, seen->name,
            seen->task_name, belay__cancel_source_name(seen->source),
            seen->text, seen->by_name);
        break;
    case BELAY_OBSERVED_TASK_PARK:
    case BELAY_OBSERVED_GROUP_JOIN:
        trace("%s%s %s", who, seen->event_name, seen->name);
        break;
    case BELAY_OBSERVED_GROUP_FAIL:
        trace("%sgroup.fail %s: %s %d", who, seen->name, seen->by_name,
            (int)seen->count);
        break;
    case BELAY_OBSERVED_TASK_RESUME:
    case BELAY_OBSERVED_DEADLINE_EXPIRE:
    case BELAY_OBSERVED_DEADLINE_MOVE:
    case BELAY_OBSERVED_DEADLINE_GRACE:
        trace("%s%s %s", who, seen->event_name, seen->name);
        break;
    case BELAY_OBSERVED_NOTE:
        trace("%snote %s %d %d", who, seen->event_name, (int)seen->id,
            (int)seen->field_count);
        break;
    }
}

void
attach(belay_task *task, const char *who,
    const struct belay_observer_opts *opts, belay_observer **ret)
{
    const int code = belay_observer_attach(
        belay_task_runtime(task), tell, belay__without_const(who), opts, ret);

    cr_assert(code == 0 || test_alloc_failures() > 0);
}

BELAY__STEP(slow)
const belay_manager slow = {
    {"slow", __FILE__, sizeof(struct slow), slow__step, 0}, NULL};
BELAY__BODY(slow)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(self->enter_ms)));
    if (self->enter_code < 0) {
        BELAY_FAIL(self->enter_code, "no");
    }
    BELAY_TRY_YIELD(self);
    BELAY_TRY(belay_sleep(task, belay_milliseconds(self->exit_ms)));
    if (self->exit_code < 0) {
        BELAY_FAIL(self->exit_code, "not closed");
    }
    BELAY_END;
}

static belay_next
plain_enter(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

static belay_next
plain_exit(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

const belay_manager plain = {
    {"plain", NULL, sizeof(int), plain_enter, 0}, plain_exit};
