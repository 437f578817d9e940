/* entry.h - exit stacks and their entries (private).
 *
 * An entry is on its stack's list, except while its enter or its exit runs:
 * then it has a task. A stack may lie in an entry itself, as that entry's
 * manager or round the yield of it. So what binds an entry to its task, and
 * what must not lose its stack, counts for every entry and stack around it.
 */
#ifndef BELAY_SCOPES_ENTRY_H
#define BELAY_SCOPES_ENTRY_H

#include <belay/stack.h>

#include "runtime/internal.h"

/* What binds it to its task: scopes, and entries bound in another way. */
struct belay__bonds {
    int32_t scopes;
    int32_t others;
};

static inline bool
belay__is_pinned(struct belay__bonds bonds)
{
    return bonds.scopes > 0 || bonds.others > 0;
}

struct belay_stack_entry {
    struct belay__keeper keeper; /* of the scopes that its enter has opened */
    belay_stack *stack;          /* to compare only once its exit runs */
    const belay_task *task;      /* runs its enter or exit; NULL: it is on the
                                    stack's list */
    union {
        belay_stack_entry *older;
        const char *left_open; /* evicted: the name of its scope … */
    };
    union {
        belay_stack_entry *newer;
        belay_step *then; /* … and what follows */
    };
    void (*fn)(void *arg); /* a plain callback, or NULL: a manager, … */
    union {
        void *arg;
        struct belay__arena *frames; /* … the task's, while it runs */
    } u;
    struct belay__arena arena;
    uint32_t held; /* entries of the stacks that lie in it directly */
    int32_t busy;  /* enters and closes that run on such stacks */
    struct belay__bonds bonds; /* its own, and those of such entries */
};

struct belay_stack {
    belay_stack **ret;
    belay_runtime *runtime;
    belay_stack_entry *inside; /* that it lies in, or NULL: in a block … */
    const belay_task *task;    /* … of this task, see belay__stack_owner() */
    int32_t depth;             /* of the scope that it was opened in */
    struct belay__bonds bonds; /* of its entries */
    int32_t busy;              /* the same */
    int32_t entering;          /* enters that run on this stack itself */
    bool unwinding;
    bool closed;
    belay_stack_entry *newest;
    size_t count;
    struct belay_result outcome; /* while unwinding */
    belay_stack_entry *running;
};

#define BELAY__ENTRY_HEAD belay__align16(sizeof(belay_stack_entry))

/* A manager's. */
static inline struct belay__frame *
belay__entry_frame(belay_stack_entry *entry)
{
    return (struct belay__frame *)(void *)((char *)entry + BELAY__ENTRY_HEAD);
}

static inline belay_stack_entry *
belay__entry_of(struct belay__frame *frame)
{
    return (belay_stack_entry *)(void *)((char *)frame - BELAY__ENTRY_HEAD);
}

static inline belay_stack_entry *
belay__entry_of_keeper(struct belay__keeper *keeper)
{
    return BELAY__CONTAINER(keeper, belay_stack_entry, keeper);
}

/* ---- what an entry is, and where (entry.c) ---- */

/* For a manager with this enter, or for a plain callback: NULL. On no list
 * yet; NULL without memory.
 */
belay_stack_entry *belay__entry_new(
    belay_stack *stack, const belay_function *enter);
void belay__entry_free(belay_runtime *runtime, belay_stack_entry *entry);
/* As the newest on its stack's list. */
void belay__entry_link(belay_stack_entry *entry);
/* Off that list, to run its exit in the task. */
void belay__entry_unlink(belay_stack_entry *entry, const belay_task *task);
/* All that is on `from`, as the newest on `to`. */
void belay__entries_move(belay_stack *from, belay_stack *to);
/* In a manager's enter: the entry that what it opens will lie in. That is its
 * own, or the one of the generator manager which opens it round its yield; NULL
 * in a block. A stack that is gone when that enter has ended may take part in
 * this too.
 */
belay_stack_entry *belay__entry_around(const belay_task *task);
/* belay__scope_push() and belay__scope_pop() for a manager's scope, which that
 * entry keeps.
 */
int belay__kept_push(belay_task *task, struct belay__opened_scope *opened);
void belay__kept_pop(belay_task *task, struct belay__opened_scope *opened);
/* The task whose step will run the exits. */
const belay_task *belay__stack_owner(const belay_stack *stack);
/* Whose scope it is; NULL: a block's. */
static inline belay_stack_entry *
belay__entry_of_scope(const struct belay__scope *scope)
{
    struct belay__keeper *keeper = belay__opened_of(scope)->keeper;

    return keeper != NULL ? belay__entry_of_keeper(keeper) : NULL;
}

/* Can it be undone by itself, now? */
static inline bool
belay__entry_is_free(const belay_stack_entry *entry)
{
    return entry->task == NULL && entry->busy == 0;
}

/* Between these the stack stays where it is, and so do those around it. */
void belay__stack_hold(belay_stack *stack);
void belay__stack_release(belay_stack *stack);

/* ---- whose turn can come in order (stack_move.c) ---- */

/* Is it on the stack, or this one entry, or in an entry that is? The other one
 * is NULL.
 */
bool belay__entry_is_part(const belay_stack_entry *entry,
    const belay_stack *stack, const belay_stack_entry *one);
/* May all on the stack, or this one entry of it, exit now in their task? */
bool belay__stack_can_exit(const belay_task *task, const belay_stack *stack);
bool belay__entry_can_exit(
    const belay_task *task, const belay_stack_entry *entry);

/* ---- exits (stack.c, evict.c) ---- */

/* Runs the exit of an entry on no list, with task->result as the outcome; the
 * running frame goes on in its step with what that has made of it.
 */
belay_next belay__entry_exit(belay_task *task, belay_stack_entry *entry);
/* The exit has ended: the entry is gone. */
void belay__entry_exited(belay_task *task, belay_stack_entry *entry);
/* Of every entry. */
extern const struct belay__keeper_kind belay__entry_keeper;

#endif
