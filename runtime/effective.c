/* effective.c - when a task will be cancelled at the latest.
 *
 * Each scope around the task is looked at as if nothing else would happen: its
 * cancel, or its deadline, marks it VISIBLE, and when the grace is over CUT
 * (cancel.c). Shields keep both off for a time, the border of a running exit
 * keeps off the first one. So going outwards it adds up what is in between.
 * Where one scope's cancel starts the time of a shield, and another's grace is
 * over before it, the truth may be earlier than what is said.
 */
#include "runtime/internal.h"

/* How what marks a scope gets to the task: this long after VISIBLE, and this
 * long after CUT, the later of the two; NOT_BY: that mark is not needed. Not
 * before a shield's time is over that runs already.
 */
struct way {
    int64_t visible_ns;
    int64_t cut_ns;
    int64_t not_before_ns;
};

#define NOT_BY INT64_C(-1)

static int64_t
earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t
later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t
after(int64_t time_ns, int64_t span_ns)
{
    int64_t sum;

    return __builtin_add_overflow(time_ns, span_ns, &sum) ? INT64_MAX : sum;
}

/* When the grace of the scope ends, if nothing else happens. */
static int64_t
cut_of(const belay_runtime *runtime, const struct belay__scope *scope)
{
    if ((scope->flags & BELAY__SCOPE_GRACE) != 0) {
        return belay__cancel_of(runtime, scope)->grace_ns;
    }
    if ((scope->flags & BELAY__SCOPE_LIMITED) == 0) {
        return INT64_MAX;
    }
    return after(
        belay__scope_deadline(scope), belay__limits_of(scope)->grace_ns);
}

/* When the task sees a cancel of this scope, if nothing else happens. */
static int64_t
arrival(const belay_runtime *runtime, const struct belay__scope *scope,
    const struct way *way)
{
    int64_t due = way->not_before_ns;

    if (way->visible_ns != NOT_BY
        && (scope->flags & BELAY__SCOPE_CANCELLED) == 0) {
        due = later(due, after(belay__scope_deadline(scope), way->visible_ns));
    }
    if (way->cut_ns != NOT_BY) {
        due = later(due, after(cut_of(runtime, scope), way->cut_ns));
    }
    return due;
}

/* From a scope to its parent: through the shield, then the border. */
static void
go_outwards(struct way *way, const struct belay__scope *scope)
{
    const int64_t both = later(way->visible_ns, way->cut_ns);

    assert(both != NOT_BY); /* one of them gets to the task */
    if (belay__scope_shields(scope)
        && (scope->flags & BELAY__SCOPE_HELD) != 0) {
        way->not_before_ns = later(way->not_before_ns,
            after(belay__limits_of(scope)->pierced_ns, both));
    } else if (belay__scope_shields(scope)) {
        way->visible_ns = after(belay__limits_of(scope)->shield_ns, both);
    }
    if ((scope->flags & BELAY__SCOPE_IN_EXIT) != 0) {
        way->cut_ns = later(way->visible_ns, way->cut_ns);
        way->visible_ns = NOT_BY;
    }
}

belay_time
belay_effective_deadline(const belay_task *task)
{
    const bool in_exit = task->scope->depth <= task->floor;
    struct way way = {in_exit ? NOT_BY : 0, in_exit ? 0 : NOT_BY, INT64_MIN};
    int64_t due = INT64_MAX;

    if (belay__cancel_visible(task)) {
        return (belay_time){INT64_MIN};
    }
    for (const struct belay__scope *scope = task->scope; scope != NULL;
         scope = scope->parent) {
        due = earlier(due, arrival(task->runtime, scope, &way));
        go_outwards(&way, scope);
    }
    return (belay_time){due};
}
