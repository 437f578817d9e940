/* observe.h - watch what a runtime does, without touching what is watched.
 *
 * An observer is told of managers that are entered and left, with outcome and
 * durations, of tasks, cancels, deadlines and groups, and of what modules and
 * programs note. A trace is an observer that writes a file: JSON lines, or
 * what Perfetto and chrome://tracing open. While nobody observes, each of
 * these places costs one branch and no memory.
 *
 * An observer is told of the end of what it was told of the beginning of, and
 * of nothing else's: what was open when it came passes it by. What there is no
 * memory to follow is told neither at its beginning nor at its end, and
 * counted.
 */
#ifndef BELAY_OBSERVE_H
#define BELAY_OBSERVE_H

#include <belay/runtime.h>

BELAY_BEGIN_DECLS

typedef struct belay_observer belay_observer; /* opaque */

/* What there is to be told, in groups that are added up. */
enum {
    BELAY_OBSERVE_SCOPES = 1,  /* scope.open … scope.error */
    BELAY_OBSERVE_TASKS = 2,   /* task.spawn, task.end */
    BELAY_OBSERVE_CANCELS = 4, /* scope.cancel, deadline.… */
    BELAY_OBSERVE_GROUPS = 8,  /* group.… */
    BELAY_OBSERVE_NOTES = 16,  /* of modules and programs, see belay_note() */
    BELAY_OBSERVE_STEPS = 32,  /* task.park, task.resume: many */
    BELAY_OBSERVE_DEFAULT = 31 /* all but the steps */
};

/* Every event: its constant, its name, its group. */
#define BELAY_OBSERVED_MAP(X)                                                 \
    X(SCOPE_OPEN, "scope.open", SCOPES)   /* an enter begins */               \
    X(SCOPE_ENTER, "scope.enter", SCOPES) /* it is done: entered */           \
    X(SCOPE_LEAVE, "scope.leave", SCOPES) /* an exit begins */                \
    X(SCOPE_ERROR, "scope.error", SCOPES) /* see belay_observed */            \
    X(SCOPE_EXIT, "scope.exit", SCOPES)   /* it is done: gone */              \
    X(TASK_SPAWN, "task.spawn", TASKS)                                        \
    X(TASK_END, "task.end", TASKS)                                            \
    X(TASK_PARK, "task.park", STEPS)     /* an await waits */                 \
    X(TASK_RESUME, "task.resume", STEPS) /* … and is over */                \
    X(SCOPE_CANCEL, "scope.cancel", CANCELS)                                  \
    X(DEADLINE_EXPIRE, "deadline.expire", CANCELS)                            \
    X(DEADLINE_MOVE, "deadline.move", CANCELS)                                \
    X(DEADLINE_GRACE, "deadline.grace", CANCELS) /* the grace is over */      \
    X(GROUP_JOIN, "group.join", GROUPS)          /* waits for its tasks */    \
    X(GROUP_FAIL, "group.fail", GROUPS)          /* one of them has failed */ \
    X(NOTE, "note", NOTES)

enum belay_observed_event {
#define BELAY__ENUM(constant, name, group) BELAY_OBSERVED_##constant,
    BELAY_OBSERVED_MAP(BELAY__ENUM)
#undef BELAY__ENUM
};

/* Is a note a moment, or one end of a span? */
enum belay_note_phase {
    BELAY_NOTE_MOMENT,
    BELAY_NOTE_BEGIN,
    BELAY_NOTE_END,
};

/* A detail of a note: a text, or without one a number. */
struct belay_note_field {
    const char *key;
    const char *text; /* NULL: number counts */
    int64_t number;
};

/* One event. Valid during the call, with all that it points to; what does not
 * belong to the event is 0, "" or, where it says so, NULL.
 */
struct belay_observed {
    enum belay_observed_event event;
    const char *event_name; /* "scope.exit"; a note's: its own */
    belay_time when;
    const char *task_name; /* the task that it concerns; "": none */
    uint64_t task_id;
    /* Scopes: the manager's name. Cancels and deadlines: the scope's. Steps:
     * what the task waits for. Groups: the group's.
     */
    const char *name;
    const char *label; /* of a scope that was given a name of its own, or "" */
    uint64_t id; /* the same in all events of one scope, or of one noted span */
    bool detached;  /* the scope is, or is inside, an exit stack's entry: it
                      may end in another order, or another task */
    bool generator; /* the manager is in generator style: scopes that its enter
                       opens may last until its exit */
    /* TASK_SPAWN: the spawner. SCOPE_CANCEL: who asked. GROUP_FAIL: the child.
     */
    const char *by_name;
    uint64_t by_id;
    /* SCOPE_LEAVE, _EXIT and _ERROR: how the block has ended. TASK_END,
     * GROUP_FAIL: how the task has.
     */
    int code;
    bool cancelled;
    /* SCOPE_EXIT: what the exit made of it. SCOPE_ERROR: the failure of the
     * enter, or that with which the scope was left; then SCOPE_EXIT follows.
     * A block that was left with a cancel is no error, an enter that was
     * cancelled is one. Else NULL.
     */
    const struct belay_result *result;
    bool entered; /* SCOPE_ERROR: it is the scope's failure, not the enter's */
    belay_duration took; /* the enter; _EXIT: the exit; _END: the task */
    belay_duration open; /* SCOPE_LEAVE, _EXIT: since it was entered */
    enum belay_cancel_source source; /* SCOPE_CANCEL: why … */
    const char *text;                /* … in words */
    belay_time deadline;             /* DEADLINE_MOVE: the new one */
    uint64_t count;   /* GROUP_JOIN: children alive; GROUP_FAIL: failures */
    const char *file; /* TASK_PARK: where it waits; "": not known */
    int line;
    enum belay_note_phase phase;
    const struct belay_note_field *fields;
    size_t field_count;
};

/* Called on the loop thread, inside of what it is told of. It may call what is
 * legal in every callback, and attach and detach observers, itself among
 * them; it starts no operation and does not close the runtime.
 */
typedef void belay_observe_fn(
    belay_runtime *runtime, const struct belay_observed *seen, void *arg);

/* Options of an observer. A zero field means its default. */
struct belay_observer_opts {
    size_t size;         /* of this struct; BELAY_OBSERVER_OPTS() fills it */
    uint32_t kinds;      /* BELAY_OBSERVE_… added up; default _SCOPES */
    const char *manager; /* of the scopes only those of managers so named;
                            lives as long as the observer; default all */
};
#define BELAY_OBSERVER_OPTS(...)          \
    (&(const struct belay_observer_opts){ \
        .size = sizeof(struct belay_observer_opts), __VA_ARGS__})

/**
 * belay_observer_attach - be told of what happens from now on
 *
 *   runtime  not NULL
 *   fn       NULL: nobody is told, but belay_runtime_dump() has ages
 *   arg      for fn
 *   opts     NULL for all defaults; copied
 *   ret      NULL, or receives the observer; untouched on failure
 *
 * Several are told in the order in which they came.
 *
 * Owner:   the runtime, until belay_observer_detach() or its own end.
 * Errors:  BELAY_EINVAL  opts->size is one this library does not know, or
 *                        kinds has a bit that is none; nothing has changed
 *          BELAY_ENOMEM  nothing has changed
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: docs/design/trace.md.
 */
BELAY_API int belay_observer_attach(belay_runtime *runtime,
    belay_observe_fn *fn, void *arg, const struct belay_observer_opts *opts,
    belay_observer **ret);

/**
 * belay_observer_detach - be told no more
 *
 *   observer  NULL is legal
 *
 * Owner:   the observer is gone; its fn is not called any more, also when this
 *          is called in it.
 * Errors:  none.
 * Threads: loop thread; legal in every callback.
 * Since:   0.1. Source: docs/design/trace.md.
 */
BELAY_API void belay_observer_detach(belay_observer *observer);

/**
 * belay_observed_by - does anybody want to know of events of this kind?
 *
 *   runtime  not NULL
 *   kinds    BELAY_OBSERVE_… added up: of any of them
 *
 * For a module that would have to work for what it notes.
 *
 * Owner:   nothing changes hands.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: docs/design/trace.md.
 */
BELAY_API bool belay_observed_by(const belay_runtime *runtime, uint32_t kinds);

/**
 * belay_observe_lost - how much was not told for want of memory
 *
 *   runtime  not NULL
 *
 * Owner:   nothing changes hands.
 * Errors:  none; scopes and tasks, since the runtime began.
 * Threads: loop thread.
 * Since:   0.1. Source: docs/design/trace.md.
 */
BELAY_API uint64_t belay_observe_lost(const belay_runtime *runtime);

/**
 * belay_note - tell observers of an event of a module's or a program's own
 *
 *   runtime  not NULL
 *   task     whom it concerns; NULL: nobody
 *   phase    of a span both ends have the same name and id
 *   name     dotted, as in "lease.wait"; not NULL
 *   id       of a span
 *   fields   at least `count` of them; NULL is legal if count is 0
 *   count    how many; what a line of a trace has no room for is left out
 *
 * Owner:   all stays the caller's.
 * Errors:  none. Without an observer it is one branch.
 * Threads: loop thread; legal in every callback. Allocates nothing.
 * Since:   0.1. Source: docs/design/trace.md.
 */
BELAY_API void belay_note(belay_runtime *runtime, const belay_task *task,
    enum belay_note_phase phase, const char *name, uint64_t id,
    const struct belay_note_field *fields, size_t count);

/* What a trace looks like. */
enum belay_trace_format {
    BELAY_TRACE_BY_NAME, /* _CHROME for *.perfetto.json and *.chrome.json */
    BELAY_TRACE_LINES,   /* one JSON object a line */
    BELAY_TRACE_CHROME,  /* Trace Event Format */
};

/* Options of a trace. A zero field means its default. */
struct belay_trace_opts {
    size_t size; /* of this struct; BELAY_TRACE_OPTS() fills it */
    enum belay_trace_format format;
    uint32_t kinds;      /* default BELAY_OBSERVE_DEFAULT */
    size_t buffer_bytes; /* 16 KiB to SIZE_MAX / 2; default 64 KiB */
};
#define BELAY_TRACE_OPTS(...)          \
    (&(const struct belay_trace_opts){ \
        .size = sizeof(struct belay_trace_opts), __VA_ARGS__})

/**
 * belay_trace_open - write what happens from now on to a file
 *
 *   runtime  not NULL
 *   path     "%p" in it becomes the process's number. Lines are added to a file
 *            that exists; a Chrome trace replaces it.
 *   opts     NULL for all defaults
 *
 * The trace ends with the runtime. belay_run() opens one by itself if the
 * environment names a file: BELAY_TRACE=path, BELAY_TRACE_FORMAT=lines or
 * chrome, BELAY_TRACE_STEPS=1 for task.park and task.resume. What the file
 * does not take at once, as a pipe may not, waits in the buffer; when that is
 * full events are dropped, and the trace says how many. The first trace to a
 * pipe makes this program ignore SIGPIPE, if it has said nothing about it: so a
 * reader that goes ends the trace only.
 *
 * Owner:   path stays the caller's.
 * Errors:  BELAY_EINVAL  a size, format, kind or buffer that is none
 *          BELAY_ENOMEM  no memory
 *          BELAY_EBUSY   the runtime has a trace already
 *          else why the file cannot be opened. Nothing has changed.
 * Threads: loop thread.
 * Since:   0.1. Source: docs/design/trace.md (git's trace2).
 */
BELAY_API int belay_trace_open(belay_runtime *runtime, const char *path,
    const struct belay_trace_opts *opts);

BELAY_END_DECLS

#endif
