/* entry.c - entries of exit stacks: their memory, and where they are.
 *
 * An entry is one block on the heap that holds the manager's frame, so it can
 * outlive the frame that entered it and move to another stack. It never moves
 * in memory: a stack that lies in it knows it by its address. Counts go up
 * from a stack through the entry that it lies in to the stack which has that
 * on its list, and so on; an entry whose enter or exit runs is on none.
 */
#include "scopes/entry.h"

/* ---- memory ---- */

static size_t
entry_bytes(const belay_function *enter)
{
    const size_t head = BELAY__ENTRY_HEAD;

    return enter == NULL
               ? head
               : head + belay__frame_bytes(enter) + sizeof(struct belay__exit);
}

belay_stack_entry *
belay__entry_new(belay_stack *stack, const belay_function *enter)
{
    belay_stack_entry *entry =
        belay__alloc_zero(stack->runtime->memory, entry_bytes(enter));

    if (entry != NULL) {
        entry->keeper.kind = &belay__entry_keeper;
        entry->stack = stack;
    }
    return entry;
}

void
belay__entry_free(belay_runtime *runtime, belay_stack_entry *entry)
{
    const belay_function *enter =
        entry->fn == NULL ? belay__entry_frame(entry)->function : NULL;

    belay__arena_reset(runtime, &entry->arena);
    belay__free(runtime->memory, entry, entry_bytes(enter));
}

/* ---- counts ---- */

static void
add_bonds(struct belay__bonds *bonds, struct belay__bonds by, int32_t times)
{
    bonds->scopes += times * by.scopes;
    bonds->others += times * by.others;
}

static void
count_bonds(belay_stack *stack, struct belay__bonds by, int32_t times)
{
    belay_stack_entry *entry;

    for (; belay__is_pinned(by); stack = entry->stack) {
        add_bonds(&stack->bonds, by, times);
        entry = stack->inside;
        if (entry == NULL) {
            return;
        }
        add_bonds(&entry->bonds, by, times);
        if (entry->task != NULL) {
            return;
        }
    }
}

static void
count_busy(belay_stack *stack, int32_t by)
{
    belay_stack_entry *entry;

    while ((entry = stack->inside) != NULL) {
        entry->busy += by;
        if (entry->task != NULL) {
            return;
        }
        stack = entry->stack;
        stack->busy += by;
    }
}

static void
count_entries(belay_stack *stack, size_t count)
{
    stack->count += count;
    if (stack->inside != NULL) {
        stack->inside->held += (uint32_t)count;
    }
}

void
belay__stack_hold(belay_stack *stack)
{
    count_busy(stack, 1);
}

void
belay__stack_release(belay_stack *stack)
{
    count_busy(stack, -1);
}

/* ---- what lies in an entry ---- */

/* The first from `frame` on that is not just a manager being entered, in a
 * block, of which nobody has asked yet.
 */
static struct belay__frame *
first_known(struct belay__frame *frame)
{
    const uint32_t flags = BELAY__FRAME_MANAGER | BELAY__FRAME_ENTERED
                           | BELAY__FRAME_STACKED | BELAY__FRAME_PLACED;

    while (frame != NULL
           && (frame->resume.flags & flags) == BELAY__FRAME_MANAGER) {
        frame = frame->caller;
    }
    return frame;
}

static belay_stack_entry *
known_entry(struct belay__frame *frame)
{
    const uint32_t stages = BELAY__FRAME_MANAGER | BELAY__FRAME_ENTERED;

    if (frame == NULL
        || (frame->resume.flags & stages) != BELAY__FRAME_MANAGER) {
        return NULL; /* what is opened there lies in a block */
    }
    return (frame->resume.flags & BELAY__FRAME_STACKED) != 0
               ? belay__entry_of(frame)
               : belay__frame_exit(frame)->outcome.value;
}

/* Generators may be entered in each other in any number. So each notes what was
 * found from it, in its exit, which has no outcome before it begins. In class
 * style there is no such place, and an enter has to call itself for that.
 */
belay_stack_entry *
belay__entry_around(const belay_task *task)
{
    struct belay__frame *known = first_known(task->top);
    belay_stack_entry *entry = known_entry(known);

    for (struct belay__frame *frame = task->top; frame != known;
         frame = frame->caller) {
        if ((frame->resume.flags & BELAY__FRAME_GENERATOR) != 0) {
            frame->resume.flags |= BELAY__FRAME_PLACED;
            belay__frame_exit(frame)->outcome.value = entry;
        }
    }
    return entry;
}

int
belay__kept_push(belay_task *task, struct belay__opened_scope *opened)
{
    int code = belay__scope_push(task, opened);
    belay_stack_entry *entry = code == 0 ? belay__entry_around(task) : NULL;

    if (entry != NULL) {
        opened->keeper = &entry->keeper;
        entry->bonds.scopes++;
    }
    return code;
}

/* Behind that many, scopes begin where others have been: a move may then be
 * refused that could be made.
 */
#define DEPTH_USED_MAX (INT32_MAX / 2)

/* Such a scope may close before a stack that was opened in it. What is opened
 * then is no deeper, and yet inside of that stack.
 */
static void
use_up_depth(belay_runtime *runtime, const struct belay__scope *scope)
{
    if ((scope->flags & BELAY__SCOPE_LANDMARK) != 0
        && scope->depth > runtime->depth_used
        && scope->depth < DEPTH_USED_MAX) {
        runtime->depth_used = scope->depth;
    }
}

void
belay__kept_pop(belay_task *task, struct belay__opened_scope *opened)
{
    if (opened->keeper != NULL) {
        belay__entry_of_keeper(opened->keeper)->bonds.scopes--;
        use_up_depth(task->runtime, &opened->scope);
    }
    belay__scope_pop(task, opened);
}

/* ---- the list ---- */

void
belay__entry_link(belay_stack_entry *entry)
{
    belay_stack *stack = entry->stack;

    entry->task = NULL;
    entry->newer = NULL;
    entry->older = stack->newest;
    if (stack->newest != NULL) {
        stack->newest->newer = entry;
    }
    stack->newest = entry;
    count_entries(stack, 1);
    count_bonds(stack, entry->bonds, 1);
}

void
belay__entry_unlink(belay_stack_entry *entry, const belay_task *task)
{
    belay_stack *stack = entry->stack;

    assert(belay__entry_is_free(entry));
    if (entry->newer != NULL) {
        entry->newer->older = entry->older;
    } else {
        stack->newest = entry->older;
    }
    if (entry->older != NULL) {
        entry->older->newer = entry->newer;
    }
    count_entries(stack, SIZE_MAX); /* one less */
    count_bonds(stack, entry->bonds, -1);
    entry->task = task;
}

void
belay__entries_move(belay_stack *from, belay_stack *to)
{
    const struct belay__bonds bonds = from->bonds;
    const size_t count = from->count;
    belay_stack_entry *oldest = from->newest;

    for (oldest->stack = to; oldest->older != NULL; oldest->stack = to) {
        oldest = oldest->older;
    }
    oldest->older = to->newest;
    if (to->newest != NULL) {
        to->newest->newer = oldest;
    }
    to->newest = from->newest;
    from->newest = NULL;
    count_entries(from, SIZE_MAX - count + 1); /* none left */
    count_entries(to, count);
    count_bonds(from, bonds, -1);
    count_bonds(to, bonds, 1);
}

const belay_task *
belay__stack_owner(const belay_stack *stack)
{
    const belay_stack_entry *entry;

    while ((entry = stack->inside) != NULL) {
        if (entry->task != NULL) {
            return entry->task;
        }
        stack = entry->stack;
    }
    return stack->task;
}
