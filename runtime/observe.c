/* observe.c - who is told what.
 *
 * An observer that is detached while observers are being told stays in the
 * list until the last of these calls has returned; one that is attached then
 * is told of the next event first. The lives of scopes and tasks are in
 * observe_life.c.
 */
#include <belay/observe.h>

#include "runtime/internal.h"

#include <string.h>

struct belay_observer {
    belay_observer *next;
    belay_runtime *runtime;
    belay_observe_fn *fn; /* NULL: there for the ages */
    void *arg;
    uint32_t kinds;
    const char *manager;
    uint64_t since; /* spans with greater ids are its */
    bool gone;
};

#define ALL_KINDS (BELAY_OBSERVE_DEFAULT | BELAY_OBSERVE_STEPS)

/* ---- coming and going ---- */

static void
update(belay_runtime *runtime)
{
    struct belay__observers *all = &runtime->observers;

    all->kinds = 0;
    for (belay_observer *one = all->first; one != NULL; one = one->next) {
        all->kinds |= one->gone ? 0 : one->kinds;
    }
    belay__run_observed(runtime);
    /* What nobody follows ends unseen: its span would stay for ever. */
    if ((all->kinds & BELAY_OBSERVE_SCOPES) == 0) {
        belay__spans_fini(runtime->memory, &all->scopes);
    }
    if ((all->kinds & BELAY_OBSERVE_TASKS) == 0) {
        belay__spans_fini(runtime->memory, &all->tasks);
    }
}

/* Frees those that are gone, unless somebody still goes through the list. */
static void
sweep(belay_runtime *runtime)
{
    struct belay__observers *all = &runtime->observers;
    belay_observer **link = &all->first;
    belay_observer *one;

    if (all->telling > 0 || !all->detached) {
        return;
    }
    all->detached = false;
    all->last = NULL;
    while ((one = *link) != NULL) {
        if (one->gone) {
            *link = one->next;
            belay__free(runtime->memory, one, sizeof(*one));
        } else {
            all->last = one;
            link = &one->next;
        }
    }
}

int
belay_observer_attach(belay_runtime *runtime, belay_observe_fn *fn, void *arg,
    const struct belay_observer_opts *opts, belay_observer **ret)
{
    static const struct belay_observer_opts defaults = {
        .size = sizeof(defaults)};
    struct belay__observers *all = &runtime->observers;
    belay_observer *one;

    opts = opts != NULL ? opts : &defaults;
    if (opts->size != sizeof(*opts)
        || (opts->kinds & ~(uint32_t)ALL_KINDS) != 0) {
        return BELAY_EINVAL;
    }
    one = belay__alloc(runtime->memory, sizeof(*one));
    if (one == NULL) {
        return BELAY_ENOMEM;
    }
    *one = (belay_observer){
        .runtime = runtime,
        .fn = fn,
        .arg = arg,
        .kinds = opts->kinds != 0 ? opts->kinds : BELAY_OBSERVE_SCOPES,
        .manager = opts->manager,
        .since = all->last_id,
    };
    if (all->last != NULL) {
        all->last->next = one;
    } else {
        all->first = one;
    }
    all->last = one;
    update(runtime);
    if (ret != NULL) {
        *ret = one;
    }
    return 0;
}

void
belay_observer_detach(belay_observer *observer)
{
    belay_runtime *runtime;

    if (observer == NULL) {
        return;
    }
    runtime = observer->runtime;
    observer->gone = true;
    runtime->observers.detached = true;
    update(runtime);
    sweep(runtime);
}

void
belay__observers_fini(belay_runtime *runtime)
{
    for (belay_observer *one = runtime->observers.first; one != NULL;
         one = one->next) {
        one->gone = true;
        runtime->observers.detached = true;
    }
    update(runtime);
    sweep(runtime);
}

bool
belay_observed_by(const belay_runtime *runtime, uint32_t kinds)
{
    return belay__observed(runtime, kinds);
}

uint64_t
belay_observe_lost(const belay_runtime *runtime)
{
    return runtime->observers.lost;
}

/* ---- telling ---- */

static const struct {
    const char *name;
    uint32_t kind;
} events[] = {
#define EVENT(constant, name, group) {name, BELAY_OBSERVE_##group},
    BELAY_OBSERVED_MAP(EVENT)
#undef EVENT
};

const char *
belay__observed_name(enum belay_observed_event event)
{
    return events[event].name;
}

struct belay_observed
belay__observe_about(belay_runtime *runtime, enum belay_observed_event event,
    const belay_task *task)
{
    return (struct belay_observed){
        .event = event,
        .event_name = events[event].name,
        .when = {belay__clock_now(runtime)},
        .task_name = task != NULL ? belay_task_name(task) : "",
        .task_id = task != NULL ? task->id : 0,
        .name = "",
        .label = "",
        .by_name = "",
        .text = "",
        .file = "",
    };
}

static bool
wants(const belay_observer *one, const struct belay_observed *seen,
    uint64_t span_id)
{
    const uint32_t kind = events[seen->event].kind;

    return !one->gone && one->fn != NULL && (one->kinds & kind) != 0
           && (span_id == 0 || span_id > one->since)
           && (kind != BELAY_OBSERVE_SCOPES || one->manager == NULL
               || strcmp(one->manager, seen->name) == 0);
}

void
belay__observe_tell(
    belay_runtime *runtime, const struct belay_observed *seen, uint64_t span_id)
{
    struct belay__observers *all = &runtime->observers;
    const belay_observer *last = all->last;
    const bool was_inside = belay__inside_run;

    belay__inside_run = true; /* a host's call may be what is told of */
    all->telling++;
    for (belay_observer *one = all->first; one != NULL; one = one->next) {
        if (wants(one, seen, span_id)) {
            one->fn(runtime, seen, one->arg);
        }
        if (one == last) {
            break;
        }
    }
    all->telling--;
    belay__inside_run = was_inside;
    sweep(runtime);
}

/* ---- what only happens ---- */

void
belay__observe_scope(belay_runtime *runtime, enum belay_observed_event event,
    const struct belay__scope *scope, int64_t deadline_ns)
{
    struct belay_observed seen =
        belay__observe_about(runtime, event, belay__scope_task(scope));
    const char *name = belay__scope_name(scope);
    struct belay_cancel_reason reason;

    seen.name = name != NULL ? name : "";
    if (event == BELAY_OBSERVED_DEADLINE_MOVE) {
        seen.deadline.ns = deadline_ns;
    }
    if (event == BELAY_OBSERVED_SCOPE_CANCEL) {
        reason = belay__scope_reason(runtime, scope);
        seen.source = reason.source;
        seen.text = reason.text;
        seen.by_name = reason.task_name;
        seen.by_id = reason.task_id;
    }
    belay__observe_tell(runtime, &seen, 0);
}

void
belay__observe_group(belay_task *host, enum belay_observed_event event,
    const char *name, uint64_t count, const belay_task *child,
    const struct belay_result *result)
{
    struct belay_observed seen =
        belay__observe_about(host->runtime, event, host);

    seen.name = name;
    seen.count = count;
    if (result != NULL) {
        seen.by_name = belay_task_name(child);
        seen.by_id = child->id;
        seen.code = result->code;
        seen.cancelled = result->cancelled;
        seen.result = result;
    }
    belay__observe_tell(host->runtime, &seen, 0);
}

void
belay_note(belay_runtime *runtime, const belay_task *task,
    enum belay_note_phase phase, const char *name, uint64_t id,
    const struct belay_note_field *fields, size_t count)
{
    struct belay_observed seen;

    if (!belay__observed(runtime, BELAY_OBSERVE_NOTES)) {
        return;
    }
    seen = belay__observe_about(runtime, BELAY_OBSERVED_NOTE, task);
    seen.event_name = name;
    seen.phase = phase;
    seen.id = id;
    seen.fields = fields;
    seen.field_count = count;
    belay__observe_tell(runtime, &seen, 0);
}
