/* group.c - a scope that owns tasks.
 *
 * The children's cancel scopes hang below the group's, which is also what
 * keeps them: the group itself only counts. Children beyond max_running wait
 * unstarted in a queue; one that start.c has not handed over yet only counts.
 * The exit waits for `alive` to become 0, whatever happens; nothing on that
 * path allocates.
 */
#include <belay/group.h>

#include "runtime/internal.h"
#include "scopes/entry.h"
#include "scopes/place.h"

#define MAX_ERRORS 64
#define ROOM_MIN 4

struct belay_group {
    struct belay__owner owner; /* with its scope */
    struct belay_group_opts opts;
    belay_group **ret;
    belay_runtime *runtime;
    belay_task *host;
    belay_task *waiting_first; /* not started, linked by ready_next */
    belay_task *waiting_last;
    size_t alive;
    size_t running;
    size_t failures;
    belay_error **kept;       /* the first ones whole … */
    struct belay__tally more; /* … and the codes of the others: in here, so
                                 that no memory is needed to keep them */
    size_t kept_count;
    size_t kept_room;
    bool child_cut; /* a child has ended with a cancel while one from outside
                       was there to be seen */
    bool joining;
    bool finished;
};

static struct belay__scope *
scope_of(belay_group *group)
{
    return &group->owner.opened.scope;
}

static const struct belay__wait_kind join_wait = {
    "group join", belay__abort_never};

static size_t
kept_bytes(size_t room)
{
    return room * sizeof(belay_error *);
}

static void
tell(const belay_group *group, enum belay_observed_event event, size_t count,
    const belay_task *child, const struct belay_result *result)
{
    if (belay__observed(group->runtime, BELAY_OBSERVE_GROUPS)) {
        belay__observe_group(
            group->host, event, group->owner.opened.name, count, child, result);
    }
}

/* Is there room, perhaps since now, for one more that is kept whole? */
static bool
may_keep(belay_group *group)
{
    const size_t room = group->kept_room > 0 ? group->kept_room * 2 : ROOM_MIN;
    belay_error **kept;

    if (group->kept_count == group->opts.max_errors) {
        return false;
    }
    if (group->kept_count < group->kept_room) {
        return true;
    }
    kept = belay__realloc(group->runtime->memory, group->kept,
        kept_bytes(group->kept_room), kept_bytes(room));
    if (kept == NULL) {
        return false;
    }
    group->kept = kept;
    group->kept_room = room;
    return true;
}

/* Counts a failure; keeps it whole if there is room and memory. */
static void
add_failure(belay_group *group, const struct belay_result *result,
    const belay_task *child)
{
    belay_error *error = NULL;

    group->failures++;
    tell(group, BELAY_OBSERVED_GROUP_FAIL, group->failures, child, result);
    if (may_keep(group)) {
        error = belay__error_of(
            group->runtime->memory, result, belay_task_name(child));
    }
    if (error != NULL) {
        group->kept[group->kept_count++] = error;
    } else {
        belay__tally_add(&group->more, result->code);
    }
}

static bool
is_failure(const struct belay_result *result)
{
    return result->code < 0 && !result->cancelled;
}

static bool
may_start(const belay_group *group)
{
    return group->opts.max_running == 0
           || group->running < group->opts.max_running;
}

/* One of those that wait, if there is room. */
__attribute__((noinline)) static void
start_next(belay_group *group)
{
    belay_task *task = group->waiting_first;

    if (!may_start(group)) {
        return;
    }
    group->waiting_first = task->ready_next;
    if (group->waiting_first == NULL) {
        group->waiting_last = NULL;
    }
    group->running++;
    belay__task_start(task);
}

__attribute__((noinline)) static void
child_failed(belay_group *group, belay_task *child)
{
    if (child->result.cancelled) {
        group->child_cut |= belay__scope_reached(scope_of(group));
    } else if (group->opts.policy == BELAY_FAIL_FAST) {
        add_failure(group, &child->result, child);
        belay__scope_cancel(group->runtime, scope_of(group),
            BELAY_CANCEL_SIBLING, "another task of the group failed", child);
    }
}

static void
child_ended(struct belay__owner *owner, belay_task *child)
{
    belay_group *group = BELAY__CONTAINER(owner, belay_group, owner);

    if (group->opts.on_child != NULL) {
        group->opts.on_child(child, &child->result, group->opts.arg);
    }
    if (child->result.code < 0) {
        child_failed(group, child);
    }
    group->running--;
    if (group->waiting_first != NULL) {
        start_next(group);
    }
    belay__group_drop(group);
}

int
belay__group_hold(belay_group *group)
{
    if (group->finished) {
        return BELAY_ESTATE;
    }
    group->alive++;
    return 0;
}

void
belay__group_drop(belay_group *group)
{
    group->alive--;
    if (group->alive == 0 && group->joining) {
        group->finished = true;
        belay__wake(group->host, 0, NULL);
    }
}

void
belay__group_adopt(belay_group *group, belay_task *child)
{
    group->running++; /* it runs already, whatever max_running says */
    belay__scope_reparent(group->runtime, &child->base, scope_of(group));
}

static belay_next
group_enter(belay_task *task, void *self)
{
    belay_group *group = self;
    int code;

    group->runtime = task->runtime;
    group->host = task;
    belay__owner_init(&group->owner,
        group->opts.name != NULL ? group->opts.name : "group", child_ended);
    code = belay__kept_push(task, &group->owner.opened);
    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    if (group->ret != NULL) {
        *group->ret = group;
    }
    return belay_return(task, group);
}

/* The group's failures as one error, which takes the kept ones over; NULL
 * without memory.
 */
static belay_error *
failures_error(const belay_task *task, const belay_group *group)
{
    const struct belay__error_site site = {belay_task_name(task), NULL, 0};

    return belay__error_new_group(group->runtime->memory, &site,
        group->opts.name, group->failures, group->kept, group->kept_count,
        group->more.used > 0 ? &group->more : NULL);
}

/* Of those that were kept whole, too, only the codes. */
static void
keep_codes(belay_group *group)
{
    for (size_t i = 0; i < group->kept_count; i++) {
        belay__tally_add(&group->more, belay_error_code(group->kept[i]));
        belay_error_unref(group->kept[i]);
    }
    group->kept_count = 0;
}

static belay_next
group_fail(belay_task *task, belay_group *group)
{
    belay_error *error = failures_error(task, group);

    if (error == NULL) {
        keep_codes(group);
        error = failures_error(task, group);
    }
    belay__free(
        group->runtime->memory, group->kept, kept_bytes(group->kept_room));
    /* The body's failure is among them: it is not also their context. */
    belay__exit_replaces(task);
    belay__result_set(task, BELAY_EGROUP, NULL, error);
    return belay__next(BELAY__HOW_END);
}

static belay_next
group_joined(belay_task *task, void *self)
{
    belay_group *group = self;
    bool absorbed;
    bool cut_short;

    group->finished = true;
    absorbed = belay__scope_absorb(scope_of(group), belay_outcome(task));
    /* A cancel from outside that children saw is the group's result even if
     * the body was through: behind the block their work would be missing. */
    cut_short = group->child_cut && belay__scope_reached(scope_of(group));
    belay__kept_pop(task, &group->owner.opened);
    if (group->failures > 0) {
        return group_fail(task, group);
    }
    if (cut_short) {
        belay__result_cancelled(task);
        return belay_pass(task);
    }
    return absorbed ? belay_suppress(task) : belay_return(task, NULL);
}

static belay_next
group_exit(belay_task *task, void *self)
{
    belay_group *group = self;
    const struct belay_result *outcome = belay_outcome(task);

    if (belay__scope_must_evict(task, scope_of(group))) {
        return belay__scope_evict(task, group_exit);
    }
    if (is_failure(outcome)) {
        add_failure(group, outcome, task);
        belay__scope_cancel(group->runtime, scope_of(group),
            BELAY_CANCEL_PARENT, "the body of the group failed", task);
    }
    group->joining = true;
    if (group->alive == 0) {
        return group_joined(task, self);
    }
    tell(group, BELAY_OBSERVED_GROUP_JOIN, group->alive, NULL, NULL);
    belay__wait_always(task, &join_wait);
    return belay_then(task, group_joined, belay__next(BELAY__HOW_WAIT));
}

belay_next
belay_group_open(
    belay_task *task, const struct belay_group_opts *opts, belay_group **ret)
{
    static const belay_manager manager = {
        {"group", __FILE__, sizeof(belay_group), group_enter, 0}, group_exit};
    belay_group group = {.ret = ret};

    if (opts != NULL && opts->size != sizeof(*opts)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    if (opts != NULL) {
        group.opts = *opts;
    }
    if (group.opts.max_errors == 0) {
        group.opts.max_errors = MAX_ERRORS;
    }
    return belay_enter(task, &manager, &group);
}

static void
start_or_queue(belay_group *group, belay_task *task)
{
    group->alive++;
    if (may_start(group)) {
        group->running++;
        belay__task_start(task);
        return;
    }
    task->ready_next = NULL;
    if (group->waiting_last != NULL) {
        group->waiting_last->ready_next = task;
    } else {
        group->waiting_first = task;
    }
    group->waiting_last = task;
}

int
belay__spawn_check(
    const belay_runtime *runtime, const struct belay_spawn_opts *opts)
{
    if (opts == NULL) {
        return 0;
    }
    if (opts->size != sizeof(*opts)) {
        return BELAY_EINVAL;
    }
    return opts->context == NULL || opts->context->runtime == runtime
               ? 0
               : BELAY_EINVAL;
}

struct belay__binding *
belay__spawn_context(
    const belay_task *spawner, const struct belay_spawn_opts *opts)
{
    return opts != NULL && opts->context != NULL ? opts->context->binding
                                                 : spawner->context;
}

int
belay_group_spawn(belay_group *group, const belay_function *function,
    const void *arguments, const struct belay_spawn_opts *opts)
{
    const belay_task *spawner = group->runtime->current;
    int code = belay__spawn_check(group->runtime, opts);
    belay_task *task;

    if (code < 0) {
        return code;
    }
    if (group->finished) {
        return BELAY_ESTATE;
    }
    task = belay__task_new(group->runtime, scope_of(group), function, arguments,
        belay__spawn_context(spawner != NULL ? spawner : group->host, opts),
        opts != NULL ? opts->name : NULL);
    if (task == NULL) {
        return BELAY_ENOMEM;
    }
    if (opts != NULL && opts->task != NULL) {
        *opts->task = belay_task_ref(task);
    }
    start_or_queue(group, task);
    return 0;
}

void
belay_group_cancel(belay_group *group, const char *text)
{
    belay__scope_cancel(group->runtime, scope_of(group), BELAY_CANCEL_EXPLICIT,
        text, group->runtime->current);
}

size_t
belay_group_count(const belay_group *group)
{
    return group->alive;
}
