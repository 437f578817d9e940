/* timeout.c - cancel scopes as managers: timeout, move-on, shield.
 *
 * One manager serves all four openers; they differ in their options only. The
 * exit decides, from the marks on the scopes alone, whether a cancel that
 * arrives ends here. A prepared scope lies on the heap instead of in a frame,
 * and keeps what is asked of it before its block is open:
 *
 *   prepared -> entered -> left
 */
#include <belay/timeout.h>

#include "runtime/internal.h"
#include "scopes/entry.h"

struct belay_cancel_scope {
    struct belay__limits limits;
    struct belay_cancel_scope_opts opts;
    belay_cancel_scope **ret;
    belay_runtime *runtime;
    struct belay_cancel_reason early; /* of a cancel before it was entered */
    bool shield;                      /* whether the entry raises one */
    enum {
        OF_A_BLOCK, /* not prepared */
        PREPARED,
        ENTERED,
        LEFT,
    } life;
};

static struct belay__scope *
tree_scope(belay_cancel_scope *scope)
{
    return &scope->limits.opened.scope;
}

static int64_t
deadline_of(
    const belay_runtime *runtime, const struct belay_cancel_scope_opts *opts)
{
    int64_t due = INT64_MAX;

    if (opts->timeout.ns != 0) {
        due = belay__due(runtime, opts->timeout);
    }
    if (opts->deadline.ns != 0 && opts->deadline.ns < due) {
        due = opts->deadline.ns;
    }
    return due;
}

/* As given in the options, where 0 means the default and below 0 none. */
static int64_t
grace_or(const struct belay_cancel_scope_opts *opts, int64_t otherwise)
{
    if (opts->grace.ns == 0) {
        return otherwise;
    }
    return opts->grace.ns > 0 ? opts->grace.ns : 0;
}

/* BELAY_ENOMEM: nothing has changed. */
static int
scope_open(belay_task *task, belay_cancel_scope *scope)
{
    int code;

    scope->runtime = task->runtime;
    scope->limits.deadline_ns = deadline_of(task->runtime, &scope->opts);
    scope->limits.grace_ns = task->runtime->grace_ns;
    scope->limits.shield_ns = INT64_MAX;
    belay__opened_init(&scope->limits.opened,
        scope->opts.name != NULL ? scope->opts.name : "cancel scope");
    tree_scope(scope)->flags = BELAY__SCOPE_LIMITED;
    if (scope->shield) {
        tree_scope(scope)->flags |= BELAY__SCOPE_SHIELD;
    }
    /* What the grace is for stays as it was asked for, whatever becomes of the
     * shield. */
    if (scope->opts.shield) {
        scope->limits.shield_ns = grace_or(&scope->opts, INT64_MAX);
    } else {
        scope->limits.grace_ns =
            grace_or(&scope->opts, task->runtime->grace_ns);
    }
    code = belay__kept_push(task, &scope->limits.opened);
    if (code < 0) {
        tree_scope(scope)->flags = 0; /* a prepared one may be tried again */
        return code;
    }
    if (scope->early.source != BELAY_CANCEL_NONE) {
        belay__scope_cancel_for(
            task->runtime, tree_scope(scope), &scope->early);
    }
    if (scope->limits.deadline_ns <= belay__clock_now(task->runtime)) {
        belay__scope_due(task->runtime, tree_scope(scope));
    }
    return 0;
}

static belay_next
scope_enter(belay_task *task, void *self)
{
    belay_cancel_scope *scope = self;
    int code = scope_open(task, scope);

    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    if (scope->ret != NULL) {
        *scope->ret = scope;
    }
    return belay_return(task, scope);
}

/* "timed out", caused by the cancel; NULL without memory. */
static belay_error *
timeout_error(const belay_task *task)
{
    const struct belay__error_site site = {belay_task_name(task), NULL, 0};
    struct belay__memory *memory = task->runtime->memory;
    belay_error *error =
        belay__error_new(memory, BELAY_ETIMEDOUT, &site, "timed out");
    belay_error *cancel;

    if (error == NULL) {
        return NULL;
    }
    cancel = belay__error_new(
        memory, BELAY_ECANCELED, &site, "cancelled: the deadline passed");
    if (cancel != NULL) {
        belay__error_set_cause(error, cancel);
    }
    return error;
}

/* An error of the body goes on, with the timeout in its context. */
static void
note_timeout(belay_task *task)
{
    struct belay_result *outcome = belay__exit_outcome(task);
    belay_error *error;

    if (outcome->code >= 0 || outcome->cancelled) {
        return;
    }
    belay__result_enrich(task->runtime, outcome);
    error = timeout_error(task);
    if (error != NULL && outcome->error != NULL) {
        outcome->error = belay__error_with_context(
            task->runtime->memory, outcome->error, error);
    } else {
        belay_error_unref(error);
    }
}

static belay_next
scope_close(belay_task *task, belay_cancel_scope *scope)
{
    const bool absorbed =
        belay__scope_absorb(tree_scope(scope), belay_outcome(task));
    const bool by_deadline =
        belay__scope_reason(task->runtime, tree_scope(scope)).source
        == BELAY_CANCEL_DEADLINE;

    if (scope->opts.status != NULL) {
        *scope->opts.status = belay_cancel_scope_status(scope);
    }
    belay__kept_pop(task, &scope->limits.opened);
    if (!scope->opts.fail_on_timeout || !by_deadline) {
        return absorbed ? belay_suppress(task) : belay_return(task, NULL);
    }
    if (!absorbed) {
        note_timeout(task);
        return belay_return(task, NULL);
    }
    belay__result_set(task, BELAY_ETIMEDOUT, NULL, timeout_error(task));
    return belay_pass(task);
}

static belay_next
scope_exit(belay_task *task, void *self)
{
    belay_cancel_scope *scope = self;

    if (belay__scope_must_evict(task, tree_scope(scope))) {
        return belay__scope_evict(task, scope_exit);
    }
    return scope_close(task, scope);
}

belay_next
belay_cancel_scope_open(belay_task *task,
    const struct belay_cancel_scope_opts *opts, belay_cancel_scope **ret)
{
    static const belay_manager manager = {
        {"cancel scope", __FILE__, sizeof(belay_cancel_scope), scope_enter, 0},
        scope_exit};
    belay_cancel_scope scope = {.ret = ret};

    if (opts != NULL && opts->size != sizeof(*opts)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    if (opts != NULL) {
        scope.opts = *opts;
        scope.shield = opts->shield;
    }
    return belay_enter(task, &manager, &scope);
}

/* ---- prepared scopes ---- */

struct use {
    belay_cancel_scope *scope;
};

static belay_next
use_enter(belay_task *task, void *self)
{
    struct use *use = self;
    belay_cancel_scope *scope = use->scope;
    int code;

    if (scope->runtime != task->runtime) {
        return belay_fail(
            task, BELAY_EINVAL, "the cancel scope is of another runtime");
    }
    if (scope->life != PREPARED) {
        return belay_fail(
            task, BELAY_ESTATE, "the cancel scope was entered before");
    }
    scope->life = ENTERED; /* also for those whom scope_open() tells of it */
    code = scope_open(task, scope);
    if (code < 0) {
        scope->life = PREPARED;
        return belay_fail(task, code, NULL);
    }
    return belay_return(task, scope);
}

static belay_next
use_exit(belay_task *task, void *self)
{
    struct use *use = self;

    if (belay__scope_must_evict(task, tree_scope(use->scope))) {
        return belay__scope_evict(task, use_exit);
    }
    use->scope->life = LEFT;
    return scope_close(task, use->scope);
}

int
belay_cancel_scope_new(belay_runtime *runtime,
    const struct belay_cancel_scope_opts *opts, belay_cancel_scope **ret)
{
    belay_cancel_scope *scope;

    if (opts != NULL && opts->size != sizeof(*opts)) {
        return BELAY_EINVAL;
    }
    scope = belay__alloc_zero(runtime->memory, sizeof(*scope));
    if (scope == NULL) {
        return BELAY_ENOMEM;
    }
    if (opts != NULL) {
        scope->opts = *opts;
        scope->shield = opts->shield;
    }
    scope->runtime = runtime;
    scope->life = PREPARED;
    *ret = scope;
    return 0;
}

void
belay_cancel_scope_free(belay_cancel_scope *scope)
{
    if (scope == NULL) {
        return;
    }
    BELAY__REQUIRE(scope->life == PREPARED || scope->life == LEFT,
        "a cancel scope is freed whose block is open");
    belay__free(scope->runtime->memory, scope, sizeof(*scope));
}

belay_next
belay_cancel_scope_enter(belay_task *task, belay_cancel_scope *scope)
{
    static const belay_manager manager = {
        {"cancel scope", __FILE__, sizeof(struct use), use_enter, 0}, use_exit};

    return belay_enter(task, &manager, &(const struct use){scope});
}

/* What is kept until the scope is entered: the first reason. */
static void
cancel_prepared(belay_cancel_scope *scope, const char *text)
{
    if (scope->early.source == BELAY_CANCEL_NONE) {
        scope->early = belay__cancel_reason(
            BELAY_CANCEL_EXPLICIT, text, scope->runtime->current);
    }
}

static int
move_prepared(belay_cancel_scope *scope, belay_time when)
{
    if (scope->early.source != BELAY_CANCEL_NONE) {
        return BELAY_ESTATE;
    }
    scope->opts.timeout = belay_nanoseconds(0);
    scope->opts.deadline.ns = when.ns == 0 ? -1 : when.ns; /* 0 means none */
    return 0;
}

/* ---- openers ---- */

/* In the options zero means none; here it means at once. */
static belay_duration
span_or_now(belay_duration span)
{
    return span.ns <= 0 ? belay_nanoseconds(-1) : span;
}

belay_next
belay_timeout(belay_task *task, belay_duration span)
{
    return belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.timeout = span_or_now(span),
            .fail_on_timeout = true),
        NULL);
}

belay_next
belay_timeout_at(belay_task *task, belay_time when)
{
    const belay_time deadline = {when.ns == 0 ? -1 : when.ns};

    return belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.deadline = deadline, .fail_on_timeout = true),
        NULL);
}

belay_next
belay_move_on(belay_task *task, belay_duration span,
    struct belay_cancel_status *ret_status)
{
    return belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.timeout = span_or_now(span),
            .status = ret_status),
        NULL);
}

belay_next
belay_shield(belay_task *task, belay_duration grace)
{
    return belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.shield = true, .grace = span_or_now(grace)),
        NULL);
}

/* ---- what others may do ---- */

void
belay_cancel_scope_cancel(belay_cancel_scope *scope, const char *text)
{
    if (scope->life == PREPARED) {
        cancel_prepared(scope, text);
        return;
    }
    if (scope->life == LEFT) {
        return;
    }
    belay__scope_cancel(scope->runtime, tree_scope(scope),
        BELAY_CANCEL_EXPLICIT, text, scope->runtime->current);
}

int
belay_cancel_scope_move(belay_cancel_scope *scope, belay_time when)
{
    if (scope->life == PREPARED) {
        return move_prepared(scope, when);
    }
    if (scope->life == LEFT) {
        return BELAY_ESTATE;
    }
    return belay__scope_move(scope->runtime, tree_scope(scope), when.ns);
}

void
belay_cancel_scope_set_shield(belay_cancel_scope *scope, bool shield)
{
    if (scope->life == PREPARED) {
        scope->shield = shield;
        return;
    }
    if (scope->life == LEFT) {
        return;
    }
    belay__scope_set_shield(scope->runtime, tree_scope(scope), shield);
}

struct belay_cancel_status
belay_cancel_scope_status(const belay_cancel_scope *scope)
{
    const uint32_t flags = scope->limits.opened.scope.flags;

    return (struct belay_cancel_status){
        .caught = (flags & BELAY__SCOPE_CAUGHT) != 0,
        .cancelled = (flags & BELAY__SCOPE_CANCELLED) != 0
                     || (scope->life == PREPARED
                         && scope->early.source != BELAY_CANCEL_NONE),
        .expired = (flags & BELAY__SCOPE_EXPIRED) != 0,
    };
}
