/* watch.c - observers: each event that one is told of is a line of the log.
 *
 * An event tells which span it belongs to, not which statement: what a task
 * opens next is noted before it does, and the span is looked up by its id.
 */
#include "test/model/interpret.h"

#include "runtime/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT SLOTS /* the place of the root among the tasks */
#define SPANS_MAX (8 * OPS_MAX)

static belay_observer *observers[OBSERVERS];
static belay_observer *stack_observer;
static char names_of_observers[OBSERVERS][4] = {"o0", "o1"};
static int64_t opening[SLOTS + 1]; /* by task: the statement's id */
static int64_t spans[SPANS_MAX];   /* by id: the same */

void
watch_init(void)
{
    memset(observers, 0, sizeof(observers)); /* they went with their runtime */
}

size_t
task_place(const char *name)
{
    return strcmp(name, "root") == 0 ? ROOT
                                     : (size_t)strtoul(name + 1, NULL, 10);
}

void
watch_opening(const char *task_name, int64_t id)
{
    opening[task_place(task_name)] = id;
}

/* ---- lines ---- */

static int64_t
milliseconds(belay_duration span)
{
    return span.ns / NS_PER_MS;
}

static void
put_outcome(const struct belay_observed *seen)
{
    if (seen->cancelled) {
        printf(" cancel");
    } else if (seen->code < 0) {
        printf(" %d", seen->code);
    } else {
        printf(" ok");
    }
}

static void
put_result_or_none(const struct belay_observed *seen)
{
    if (seen->result == NULL) {
        printf(" none");
    } else {
        put_result(seen->result);
    }
}

static void
put_details(const struct belay_observed *seen)
{
    switch (seen->event) {
    case BELAY_OBSERVED_SCOPE_ENTER:
        printf(" %lld", (long long)milliseconds(seen->took));
        break;
    case BELAY_OBSERVED_SCOPE_LEAVE:
        put_outcome(seen);
        printf(" %lld", (long long)milliseconds(seen->open));
        break;
    case BELAY_OBSERVED_SCOPE_ERROR:
        printf(" %d", seen->entered);
        put_result_or_none(seen);
        break;
    case BELAY_OBSERVED_SCOPE_EXIT:
        put_outcome(seen);
        put_result_or_none(seen);
        printf(" %lld %lld", (long long)milliseconds(seen->open),
            (long long)milliseconds(seen->took));
        break;
    case BELAY_OBSERVED_TASK_SPAWN:
        printf(" %s", seen->by_name);
        break;
    case BELAY_OBSERVED_TASK_END:
        put_result_or_none(seen);
        printf(" %lld", (long long)milliseconds(seen->took));
        break;
    case BELAY_OBSERVED_GROUP_FAIL:
        printf(" %s %d %llu", seen->by_name, seen->code,
            (unsigned long long)seen->count);
        break;
    case BELAY_OBSERVED_GROUP_JOIN:
        printf(" %llu", (unsigned long long)seen->count);
        break;
    case BELAY_OBSERVED_SCOPE_OPEN:
    case BELAY_OBSERVED_TASK_PARK: /* not looked at, from here on */
    case BELAY_OBSERVED_TASK_RESUME:
    case BELAY_OBSERVED_SCOPE_CANCEL:
    case BELAY_OBSERVED_DEADLINE_EXPIRE:
    case BELAY_OBSERVED_DEADLINE_MOVE:
    case BELAY_OBSERVED_DEADLINE_GRACE:
    case BELAY_OBSERVED_NOTE:
        break;
    }
}

static int64_t
statement_of(const struct belay_observed *seen)
{
    if (seen->id == 0) {
        return 0;
    }
    if (seen->id >= SPANS_MAX) {
        abort();
    }
    if (seen->event == BELAY_OBSERVED_SCOPE_OPEN) {
        spans[seen->id] = opening[task_place(seen->task_name)];
    }
    return spans[seen->id];
}

/* Whose step runs. */
static const char *
actor(const belay_runtime *runtime, const struct belay_observed *seen)
{
    if (seen->event == BELAY_OBSERVED_TASK_RESUME) {
        return seen->task_name; /* its step is about to */
    }
    return runtime->current != NULL ? belay_task_name(runtime->current) : "-";
}

static void
tell(belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    if (strcmp(seen->name, "marker") == 0) {
        return; /* the interpreter's */
    }
    note_moved();
    printf("%lld %s %s:%s %lld %s", (long long)time_of(seen->when),
        actor(runtime, seen), (const char *)arg, seen->event_name,
        (long long)statement_of(seen), seen->task_name);
    put_details(seen);
    printf("\n");
    if (seen->event == BELAY_OBSERVED_SCOPE_EXIT) {
        block_gone(statement_of(seen));
    }
}

static void
see(belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    (void)runtime;
    (void)arg;
    if (strcmp(seen->name, "marker") == 0) {
        return;
    }
    if (seen->event == BELAY_OBSERVED_SCOPE_OPEN) {
        (void)statement_of(seen);
    } else if (seen->event == BELAY_OBSERVED_SCOPE_EXIT) {
        block_gone(statement_of(seen));
    }
}

/* ---- statements ---- */

static void
attach(const belay_task *task, int64_t slot, uint32_t kinds)
{
    if (belay_observer_attach(belay_task_runtime(task), tell,
            names_of_observers[slot], BELAY_OBSERVER_OPTS(.kinds = kinds),
            &observers[slot])
        < 0) {
        abort();
    }
}

void
watch_all(const belay_task *root)
{
    attach(root, 0,
        BELAY_OBSERVE_SCOPES | BELAY_OBSERVE_TASKS | BELAY_OBSERVE_GROUPS
            | BELAY_OBSERVE_STEPS);
}

void
watch_stacks(const belay_task *root)
{
    if (belay_observer_attach(belay_task_runtime(root), see, NULL,
            BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_SCOPES), &stack_observer)
        < 0) {
        abort();
    }
}

void
watch(belay_task *task, const int64_t *args)
{
    belay_observer **observer = &observers[args[1]];

    if (*observer != NULL) {
        belay_observer_detach(*observer);
        *observer = NULL;
    } else {
        attach(task, args[1], (uint32_t)args[2]);
    }
    note_code(task, "observe", args[0], *observer != NULL);
}
