/* stack_move.c - cancel scopes on exit stacks: whose turn can come in order.
 *
 * Scopes exit innermost first, and those of blocks with their blocks. So what
 * is on a stack can exit now, or move to another stack, only if no block's
 * scope would still be open inside of it when its turn comes. What other
 * stacks have left there is no block's: it is undone then (evict.c).
 */
#include "runtime/internal.h"
#include "scopes/entry.h"

static const struct belay__scope *
newest_scope(const belay_stack *stack)
{
    const belay_stack_entry *entry = stack->newest;

    while (entry != NULL && entry->scope == NULL) {
        entry = entry->older;
    }
    return entry != NULL ? entry->scope : NULL;
}

static const struct belay__scope *
oldest_scope(const belay_stack *stack)
{
    const struct belay__scope *oldest = NULL;

    for (const belay_stack_entry *entry = stack->newest; entry != NULL;
         entry = entry->older) {
        if (entry->scope != NULL) {
            oldest = entry->scope;
        }
    }
    return oldest;
}

/* Is a block's scope, at most so deep, open inside of one on the stack? */
static bool
has_block_inside(const belay_stack *stack, int32_t depth)
{
    const struct belay__scope *outermost = oldest_scope(stack);
    const struct belay__scope *scope;

    if (outermost == NULL) {
        return false;
    }
    for (scope = stack->task->scope; scope != outermost;
         scope = scope->parent) {
        if (scope->depth <= depth && belay__opened_of(scope)->keeper == NULL) {
            return true;
        }
    }
    return false;
}

bool
belay__stack_can_exit(const belay_task *task, const belay_stack *stack)
{
    const struct belay__scope *newest = newest_scope(stack);

    return (newest == NULL || newest == task->scope)
           && !has_block_inside(stack, INT32_MAX);
}

/* What moves must lie inside of what is on `to` already; blocks inside of `to`
 * end before it does.
 */
static bool
can_move(const belay_stack *from, const belay_stack *to)
{
    const struct belay__scope *outermost = oldest_scope(from);
    const struct belay__scope *innermost = newest_scope(to);

    return outermost == NULL
           || ((innermost == NULL || outermost->depth >= innermost->depth)
               && !has_block_inside(from, to->depth));
}

int
belay_stack_move(belay_stack *from, belay_stack *to)
{
    belay_stack_entry *oldest = from->newest;

    if (from->unwinding) {
        return BELAY_EBUSY;
    }
    if (to->closed) {
        return BELAY_ESTATE;
    }
    if (from->pinned > 0 && from->task != to->task) {
        return BELAY_EPINNED;
    }
    if (oldest == NULL || from == to) {
        return 0;
    }
    if (!can_move(from, to)) {
        return BELAY_EMISNEST;
    }
    for (oldest->stack = to; oldest->older != NULL; oldest->stack = to) {
        oldest = oldest->older;
    }
    oldest->older = to->newest;
    if (to->newest != NULL) {
        to->newest->newer = oldest;
    }
    to->newest = from->newest;
    to->count += from->count;
    to->pinned += from->pinned;
    from->newest = NULL;
    from->count = 0;
    from->pinned = 0;
    return 0;
}
