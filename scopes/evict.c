/* evict.c - entries of exit stacks that are left open for too long.
 *
 * A cancel scope on an exit stack may still be open when the block that it was
 * put there in ends. It cannot outlive that. So its entry is undone there and
 * then, whatever stack it is on: cancelled, since nobody has meant to wait for
 * it, then left as any other. An error says so.
 */
#include "scopes/entry.h"

/* What the exits have left, with the error that names the culprit. */
static void
add_misnest(belay_task *task, belay_stack_entry *entry)
{
    const struct belay__error_site site = {belay_task_name(task), NULL, 0};
    struct belay_result misnest = {.code = BELAY_EMISNEST};

    misnest.error = belay__error_new(task->runtime->memory, BELAY_EMISNEST,
        &site, "%s '%s' was left open on an exit stack",
        belay__entry_frame(entry)->function->name, entry->left_open);
    task->result =
        belay__outcome_merge(task->runtime, task->result, misnest, false);
}

/* The waiting frame's step behind the exit. */
static belay_next
evicted(belay_task *task, void *self)
{
    struct belay__frame *frame = task->top;
    belay_stack_entry *entry = belay__entry_of(frame->scopes);

    (void)self;
    frame->scopes = NULL;
    frame->step = entry->then;
    add_misnest(task, entry);
    belay__entry_exited(task, entry);
    belay__exit_replaces(task);
    *belay__exit_outcome(task) = belay__result_copy(&task->result);
    return belay__next(BELAY__HOW_EXIT);
}

/* All that will be left with the entry, not just the innermost. */
static void
cancel_scopes(belay_task *task, const belay_stack_entry *entry)
{
    int32_t left = entry->bonds.scopes;

    for (struct belay__scope *scope = task->scope;
         left > 0 && scope != &task->base; scope = scope->parent) {
        if (belay__entry_is_part(belay__entry_of_scope(scope), NULL, entry)) {
            belay__scope_cancel(task->runtime, scope, BELAY_CANCEL_PARENT,
                "left open on an exit stack", task);
            left--;
        }
    }
}

static bool
can_evict(struct belay__keeper *keeper)
{
    return belay__entry_is_free(belay__entry_of_keeper(keeper));
}

static belay_next
evict(struct belay__keeper *keeper, belay_task *task, belay_step *then)
{
    belay_stack_entry *entry = belay__entry_of_keeper(keeper);
    struct belay__frame *frame = task->top;
    belay_next next;

    assert(frame->scopes == NULL);
    cancel_scopes(task, entry);
    belay__entry_unlink(entry, task);
    entry->left_open = belay__scope_name(task->scope);
    entry->then = then;
    next = belay__entry_exit(task, entry);
    /* The frame has no scopes of its own any more: there the entry is found
     * again, without memory. */
    frame->scopes = belay__entry_frame(entry);
    frame->step = evicted;
    return next;
}

const struct belay__keeper_kind belay__entry_keeper = {can_evict, evict};
