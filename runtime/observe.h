/* observe.h - where the runtime tells its observers (private).
 *
 * A hook is called only if belay__observed() says that somebody is there;
 * without observers that branch is all there is. What must be known later (when
 * a scope was entered) lies in tables of the observers, not in the frames.
 */
#ifndef BELAY_RUNTIME_OBSERVE_H
#define BELAY_RUNTIME_OBSERVE_H

#include <belay/observe.h>

#include "runtime/frame.h"
#include "runtime/scope.h"

/* ---- what is open, by the address of its frame or task (spans.c) ---- */

struct belay__span {
    const void *key; /* NULL: a free place */
    uint64_t id;     /* grows, over scopes and tasks */
    int64_t began_ns;
    int64_t entered_ns;
    int64_t exiting_ns;
    const struct belay__scope *scope; /* the innermost one before the enter */
    const char *label; /* of a scope, or ""; of a task, what it waits for */
    bool detached;
    bool cancelled; /* how the block has ended … */
    int code;
};

struct belay__spans {
    struct belay__span *slots;
    size_t room; /* a power of 2 */
    size_t count;
};

struct belay__memory;

/* A place for the key, in that of an old span with the same one; NULL without
 * memory. Places move with the next put or remove.
 */
struct belay__span *belay__spans_put(
    struct belay__memory *memory, struct belay__spans *spans, const void *key);
/* NULL: it is not there; a key NULL never is. */
struct belay__span *belay__spans_find(
    const struct belay__spans *spans, const void *key);
void belay__spans_remove(struct belay__spans *spans, struct belay__span *span);
void belay__spans_fini(
    struct belay__memory *memory, struct belay__spans *spans);

/* ---- the observers of one runtime (observe.c, observe_life.c) ---- */

struct belay__observers {
    uint32_t kinds;   /* what any of them wants: the hooks' one branch */
    uint32_t telling; /* calls of observers on the native stack */
    bool detached;    /* one that is gone is still in the list */
    belay_observer *first;
    belay_observer *last;
    struct belay__spans scopes;
    struct belay__spans tasks;
    uint64_t last_id;
    uint64_t lost;
};

/* Also frees the observers that are left. */
void belay__observers_fini(belay_runtime *runtime);

/* An event of now, and telling it. span_id: of what begins or ends, 0 for what
 * only happens.
 */
struct belay_observed belay__observe_about(belay_runtime *runtime,
    enum belay_observed_event event, const belay_task *task);
void belay__observe_tell(belay_runtime *runtime,
    const struct belay_observed *seen, uint64_t span_id);
const char *belay__observed_name(enum belay_observed_event event);

/* Of a hook that stands in a frequent way: its room on the stack is not taken
 * while nobody observes.
 */
#define BELAY__ASIDE __attribute__((noinline, cold))

/* In the life of a manager's frame, in this order; `failed` ends it at once.
 * The failure or the outcome is in task->result, when it has exited merged.
 */
BELAY__ASIDE void belay__observe_entering(
    belay_task *task, const struct belay__frame *frame);
BELAY__ASIDE void belay__observe_entered(
    belay_task *task, const struct belay__frame *frame);
BELAY__ASIDE void belay__observe_failed(
    belay_task *task, const struct belay__frame *frame);
BELAY__ASIDE void belay__observe_exiting(
    belay_task *task, const struct belay__frame *frame);
BELAY__ASIDE void belay__observe_exited(
    belay_task *task, const struct belay__frame *frame);
/* An entry of an exit stack that came without an enter, or goes without exit. */
void belay__observe_pushed(
    belay_runtime *runtime, const struct belay__frame *frame);
/* With all that is open in it; the frame is left without that. */
void belay__observe_forgotten(
    belay_runtime *runtime, struct belay__frame *frame);

BELAY__ASIDE void belay__observe_spawn(const belay_task *task);
/* It has ended, or was given up before it started: then result is NULL. */
BELAY__ASIDE void belay__observe_end(
    const belay_task *task, const struct belay_result *result);
BELAY__ASIDE void belay__observe_park(const belay_task *task, const char *what);
BELAY__ASIDE void belay__observe_resume(const belay_task *task);

/* What has happened to a cancel scope; deadline_ns: of DEADLINE_MOVE. */
void belay__observe_scope(belay_runtime *runtime,
    enum belay_observed_event event, const struct belay__scope *scope,
    int64_t deadline_ns);

/* `child` and its result: of the failure. */
void belay__observe_group(belay_task *host, enum belay_observed_event event,
    const char *name, uint64_t count, const belay_task *child,
    const struct belay_result *result);

/* For how long something has been there; false: nobody has looked. */
bool belay__observe_age(const belay_runtime *runtime,
    const struct belay__spans *spans, const void *key, int64_t *ret_ns);

/* ---- traces (trace.c) ---- */

struct belay__trace;

/* What the environment asks for; says so on stderr if that cannot be done. */
void belay__trace_from_environment(belay_runtime *runtime);
/* Writes what is there, as far as the file takes it; NULL is legal. */
void belay__trace_flush(struct belay__trace *trace);
void belay__trace_close(struct belay__trace *trace);
/* The process ends now: writes what this thread's runtime has. */
void belay__trace_last_words(void);

#endif
