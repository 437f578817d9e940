/* entry.h - exit stacks and their entries, as stack.c and evict.c share them.
 *
 * An entry is on its stack's list, except while its enter or its exit runs.
 */
#ifndef BELAY_SCOPES_ENTRY_H
#define BELAY_SCOPES_ENTRY_H

#include <belay/stack.h>

#include "runtime/internal.h"

struct belay_stack_entry {
    struct belay__keeper keeper; /* of the scopes that its enter has opened */
    belay_stack *stack;
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
    struct belay__scope *scope; /* what it made the task's innermost scope */
    struct belay__arena arena;
    bool pinned; /* it, or a block that is open inside of it, to the task */
};

struct belay_stack {
    belay_stack **ret;
    belay_runtime *runtime;
    const belay_task *task; /* to compare only: it may be gone, if the stack
                               is on another one that has moved */
    int32_t depth;          /* of the scope that it was opened in */
    belay_stack_entry *newest;
    size_t count;
    size_t pinned;
    struct belay_result outcome; /* while unwinding */
    belay_stack_entry *running;
    bool unwinding;
    bool closed;
};

#define BELAY__ENTRY_HEAD belay__align16(sizeof(belay_stack_entry))

/* May all on the stack, which is the task's, exit now? (stack_move.c) */
bool belay__stack_can_exit(const belay_task *task, const belay_stack *stack);

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

/* Off its stack's list. */
void belay__entry_unlink(belay_stack_entry *entry);
/* Runs the exit of an entry on no list, with task->result as the outcome; the
 * running frame goes on in its step with what that has made of it.
 */
belay_next belay__entry_exit(belay_task *task, belay_stack_entry *entry);
/* The exit has ended: the entry is gone. */
void belay__entry_exited(belay_task *task, belay_stack_entry *entry);
/* The evict function of every entry's keeper. */
belay_next belay__entry_evict(
    struct belay__keeper *keeper, belay_task *task, belay_step *then);

#endif
