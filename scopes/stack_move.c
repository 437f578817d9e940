/* stack_move.c - cancel scopes on exit stacks: whose turn can come in order.
 *
 * Scopes exit innermost first, and those of blocks with their blocks. So what
 * is on a stack can exit now, or move to another stack, only if no block's
 * scope would still be open inside of it when its turn comes. What other
 * stacks have left there is no block's: it is undone then (evict.c). All that
 * an entry has on stacks that lie in it exits with it.
 */
#include "runtime/internal.h"
#include "scopes/entry.h"

/* Can it not be undone by itself? */
static bool
is_fixed(const belay_stack_entry *entry)
{
    return entry == NULL || !belay__entry_is_free(entry);
}

bool
belay__entry_is_part(const belay_stack_entry *entry, const belay_stack *stack,
    const belay_stack_entry *one)
{
    while (entry != NULL && entry->task == NULL) {
        if (entry->stack == stack || entry == one) {
            return true;
        }
        entry = entry->stack->inside;
    }
    return false;
}

/* ---- may it exit? ---- */

/* Does the stack lie in it, or in an entry of a stack that does? */
static bool
is_round(const belay_stack_entry *entry, const belay_stack *stack)
{
    const belay_stack_entry *inside;

    while ((inside = stack->inside) != NULL && inside->task == NULL) {
        if (inside == entry) {
            return true;
        }
        stack = inside->stack;
    }
    return false;
}

/* The stack, or else one entry: is the task's innermost scope part of it, if
 * any is, and no other's inside of one that must be left before? One of an
 * entry round the stack must: to undo that would close the stack.
 */
static bool
can_exit(const belay_task *task, const belay_stack *stack,
    const belay_stack_entry *one)
{
    const belay_stack *on = one != NULL ? one->stack : stack;
    int32_t left = one != NULL ? one->bonds.scopes : stack->bonds.scopes;

    for (const struct belay__scope *scope = task->scope;
         left > 0 && scope != &task->base; scope = scope->parent) {
        const belay_stack_entry *entry = belay__entry_of_scope(scope);

        if (belay__entry_is_part(entry, stack, one)) {
            left--;
        } else if (scope == task->scope || is_fixed(entry)
                   || is_round(entry, on)) {
            return false; /* what is left lies outside of it */
        }
    }
    return true;
}

bool
belay__stack_can_exit(const belay_task *task, const belay_stack *stack)
{
    return !belay__is_pinned(stack->bonds) || can_exit(task, stack, NULL);
}

bool
belay__entry_can_exit(const belay_task *task, const belay_stack_entry *entry)
{
    return !belay__is_pinned(entry->bonds) || can_exit(task, NULL, entry);
}

/* ---- may it move? ---- */

static int32_t
deeper(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static int32_t
shallower(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* The depth of what was there when the entry's exit began: its floor. Exits in
 * it have deeper ones, and keep what is outside of them. INT32_MAX: it has not
 * begun, or is over; what comes next is inside of all.
 */
static int32_t
floor_of(const belay_stack_entry *entry)
{
    const struct belay__frame *exit =
        belay__entry_frame(belay__without_const(entry));
    const struct belay__frame *frame = entry->task->top;
    int32_t floor = entry->task->floor;

    for (; frame != exit; frame = frame->caller) {
        if (frame == NULL) {
            return INT32_MAX;
        }
        if ((frame->resume.flags & BELAY__FRAME_EXITING) != 0) {
            floor = shallower(floor, frame->u.exit->floor);
        }
    }
    return floor;
}

/* How deep the scopes are that such an entry ends inside of, and the stack that
 * lies in it. While it is entered that is where the stack was opened. Its exit
 * is also inside of all that was there when that began, but for what the entry
 * itself has opened inside of the stack, which ends first.
 */
static int32_t
depth_in_running(const belay_stack_entry *entry, const belay_stack *stack,
    const belay_stack_entry *keeper)
{
    struct belay__frame *frame =
        belay__entry_frame(belay__without_const(entry));
    const bool leaving = (frame->resume.flags & BELAY__FRAME_ENTERED) != 0;

    return leaving && keeper != entry ? floor_of(entry) : stack->depth;
}

/* Does what the scope is round end behind the stack? That is, does the stack
 * lie in it; a stack on another one ends where that does, and with the entry
 * that it lies in, which a scope of that entry may end. What is being entered,
 * left or unwound is inside of all that was there before.
 */
static bool
is_around(const struct belay__scope *scope, const belay_stack *stack)
{
    const belay_stack_entry *keeper = belay__entry_of_scope(scope);
    const belay_stack_entry *inside;
    int32_t depth = -1;
    bool now = false; /* does it end inside of what may be undone, too? */

    for (;; stack = inside->stack) {
        inside = stack->inside;
        if (stack->unwinding) {
            now = true;
            depth = deeper(depth,
                stack->running != NULL ? floor_of(stack->running) : INT32_MAX);
        }
        if (inside == NULL || inside->task != NULL) {
            break;
        }
        if (inside == keeper) {
            return true;
        }
    }
    if (inside != NULL) {
        now = true;
        depth = deeper(depth, depth_in_running(inside, stack, keeper));
    } else if (!stack->unwinding) {
        depth = deeper(depth, stack->depth);
    }
    return (now || is_fixed(keeper)) && scope->depth <= depth;
}

/* What moves must lie inside of what is on `to` already; blocks inside of `to`
 * end before it does.
 */
static bool
can_move(const belay_stack *from, const belay_stack *to)
{
    const belay_task *task = belay__stack_owner(from);
    int32_t left = from->bonds.scopes;

    for (const struct belay__scope *scope = task->scope;
         left > 0 && scope != &task->base; scope = scope->parent) {
        const belay_stack_entry *entry = belay__entry_of_scope(scope);

        if (belay__entry_is_part(entry, from, NULL)) {
            left--;
        } else if (belay__entry_is_part(entry, to, NULL)
                   || is_around(scope, to)) {
            return false; /* what is left lies outside of it */
        }
    }
    return true;
}

/* Does it lie in an entry that is on the other one? */
static bool
is_on(const belay_stack *stack, const belay_stack *other)
{
    return stack->inside != NULL
           && belay__entry_is_part(stack->inside, other, NULL);
}

int
belay_stack_move(belay_stack *from, belay_stack *to)
{
    if (from->unwinding || from->busy > 0) {
        return BELAY_EBUSY;
    }
    if (to->closed) {
        return BELAY_ESTATE;
    }
    if (belay__is_pinned(from->bonds)
        && belay__stack_owner(from) != belay__stack_owner(to)) {
        return BELAY_EPINNED;
    }
    if (from->newest == NULL || from == to) {
        return 0;
    }
    if (is_on(to, from)
        || (belay__is_pinned(from->bonds) && !can_move(from, to))) {
        return BELAY_EMISNEST;
    }
    belay__entries_move(from, to);
    return 0;
}
