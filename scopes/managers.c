/* managers.c - small managers that every program needs.
 *
 * Each is an argument struct, an enter that cannot fail half-way and an exit
 * that does its work without memory. Only suppressing needs some for a group
 * error, to take it apart; if there is none the error goes on whole.
 */
#include <belay/managers.h>

#include "runtime/internal.h"

#include <string.h>

/* ---- null, closing, defer: one frame, different exits ---- */

struct object {
    void *value;
    void *arg;
    void (*fn)(void *arg);
    belay_step *step;
};

static belay_next
object_enter(belay_task *task, void *self)
{
    struct object *object = self;

    return belay_return(task, object->value);
}

static belay_next
object_exit(belay_task *task, void *self)
{
    struct object *object = self;
    belay_next next;

    if (object->step != NULL) {
        next = object->step(task, object->arg); /* may have set a step */
        return belay_end_with(task, next);
    }
    if (object->fn != NULL) {
        object->fn(object->arg);
    }
    return belay_return(task, NULL);
}

belay_next
belay_null(belay_task *task, void *value)
{
    static const belay_manager manager = {
        {"null", __FILE__, sizeof(struct object), object_enter, 0},
        object_exit};

    return belay_enter(task, &manager, &(const struct object){.value = value});
}

belay_next
belay_closing(belay_task *task, void (*close)(void *object), void *object)
{
    static const belay_manager manager = {
        {"closing", __FILE__, sizeof(struct object), object_enter, 0},
        object_exit};

    return belay_enter(task, &manager,
        &(const struct object){.value = object, .arg = object, .fn = close});
}

belay_next
belay_closing_async(belay_task *task, belay_step *close, void *object)
{
    static const belay_manager manager = {
        {"closing", __FILE__, sizeof(struct object), object_enter, 0},
        object_exit};

    return belay_enter(task, &manager,
        &(const struct object){.value = object, .arg = object, .step = close});
}

belay_next
belay_defer(belay_task *task, void (*fn)(void *arg), void *arg)
{
    static const belay_manager manager = {
        {"defer", __FILE__, sizeof(struct object), object_enter, 0},
        object_exit};

    return belay_enter(
        task, &manager, &(const struct object){.arg = arg, .fn = fn});
}

/* ---- suppressing ---- */

#define SPLIT_DEPTH_MAX 64     /* groups in groups; deeper ones stay whole */
#define SPLIT_GROUPS_MAX 10000 /* if there are more the whole error does */

struct suppressing {
    int codes[BELAY_SUPPRESSING_MAX];
    size_t count;
};

static bool
is_listed(const struct suppressing *list, int code)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->codes[i] == code) {
            return true;
        }
    }
    return false;
}

/* The failures without a child, by code, less those that are listed. */
static struct belay__tally
tally_left(const struct suppressing *list, const belay_error *group)
{
    struct belay__tally left = {.used = 0};
    size_t count;
    int code;

    for (size_t i = 0; (code = belay_error_more(group, i, &count)) != 0; i++) {
        if (!is_listed(list, code)) {
            left.codes[left.used] = code;
            left.counts[left.used++] = count;
        }
    }
    return left;
}

static size_t
tally_sum(const struct belay__tally *tally)
{
    size_t sum = 0;

    for (size_t i = 0; tally != NULL && i < tally->used; i++) {
        sum += tally->counts[i];
    }
    return sum;
}

static size_t
child_count(const belay_error *group)
{
    size_t count = 0;

    while (belay_error_child(group, count) != NULL) {
        count++;
    }
    return count;
}

static void
unref_all(belay_error **errors, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        belay_error_unref(errors[i]);
    }
}

/* A group error with these children in the place of its own, which it takes
 * over, and `more` in that of its tally; NULL without memory.
 */
static belay_error *
with_children(struct belay__memory *memory, const belay_error *group,
    belay_error **children, size_t count, size_t failures,
    const struct belay__tally *more)
{
    struct belay__error_site site = {.task_name = belay_error_task(group)};
    belay_error *error;

    site.file = belay_error_place(group, &site.line);
    error = belay__error_new_group(memory, &site, NULL, failures, children,
        count, more->used > 0 ? more : NULL);
    if (error == NULL) {
        unref_all(children, count);
        return NULL;
    }
    if (belay_error_cause(group) != NULL) {
        belay__error_set_cause(
            error, belay_error_ref(belay_error_cause(group)));
    }
    if (belay_error_context(group) != NULL) {
        error = belay__error_with_context(
            memory, error, belay_error_ref(belay_error_context(group)));
    }
    return error;
}

/* Errors may be shared, so that a few may be reached in very many ways: of
 * groups in groups, each with the next one in it twice, 64 have 2^64.
 */
struct splitting {
    struct belay__memory *memory;
    const struct suppressing *list;
    int groups; /* looked into so far, each as often as that was */
};

/* What is left of an error. 0: *ret is it, with a reference, or NULL if
 * nothing is; BELAY_ENOMEM, BELAY_ETOOLARGE: *ret is untouched.
 */
static int split(struct splitting *splitting, belay_error *error, int depth,
    belay_error **ret);

/* Into `left`, which has room for all children; *ret_count of them.
 * *ret_same: nothing has been taken out.
 */
static int
split_children(struct splitting *splitting, const belay_error *group, int depth,
    belay_error **left, size_t *ret_count, bool *ret_same)
{
    const belay_error *before = NULL; /* the child before this one … */
    belay_error *before_left = NULL;  /* … and what is left of it */
    belay_error *child;
    int code = 0;

    *ret_count = 0;
    *ret_same = true;
    for (size_t i = 0; (child = belay_error_child(group, i)) != NULL; i++) {
        if (child == before) {
            left[*ret_count] = belay_error_ref(before_left);
        } else {
            code = split(splitting, child, depth + 1, &left[*ret_count]);
        }
        if (code < 0) {
            unref_all(left, *ret_count);
            return code;
        }
        before = child;
        before_left = left[*ret_count];
        *ret_same &= before_left == child;
        *ret_count += before_left != NULL;
    }
    return 0;
}

static int
split_group(struct splitting *splitting, belay_error *group, int depth,
    belay_error **ret)
{
    struct belay__memory *memory = splitting->memory;
    const struct belay__tally more = tally_left(splitting->list, group);
    const size_t taken = tally_sum(belay__error_more(group)) - tally_sum(&more);
    const size_t all = child_count(group);
    const size_t unknown = belay_error_failures(group) - all - taken;
    const size_t bytes = (all + 1) * sizeof(belay_error *); /* never none */
    belay_error **left = belay__alloc_zero(memory, bytes);
    belay_error *error = NULL;
    bool same = false;
    size_t count;
    int code;

    if (left == NULL) {
        return BELAY_ENOMEM;
    }
    code = split_children(splitting, group, depth, left, &count, &same);
    if (code == 0 && same && taken == 0) { /* it is still the same error */
        unref_all(left, count);
        error = belay_error_ref(group);
    } else if (code == 0 && count + unknown > 0) {
        error =
            with_children(memory, group, left, count, count + unknown, &more);
        code = error != NULL ? 0 : BELAY_ENOMEM;
    }
    belay__free(memory, left, bytes);
    if (code == 0) {
        *ret = error;
    }
    return code;
}

static int
split(struct splitting *splitting, belay_error *error, int depth,
    belay_error **ret)
{
    if (is_listed(splitting->list, belay_error_code(error))) {
        *ret = NULL;
        return 0;
    }
    if ((belay_error_child(error, 0) == NULL
            && belay__error_more(error) == NULL)
        || depth == SPLIT_DEPTH_MAX) {
        *ret = belay_error_ref(error);
        return 0;
    }
    if (++splitting->groups > SPLIT_GROUPS_MAX) {
        return BELAY_ETOOLARGE;
    }
    return split_group(splitting, error, depth, ret);
}

static belay_next
suppressing_enter(belay_task *task, void *self)
{
    return belay_return(task, self);
}

static belay_next
suppressing_exit(belay_task *task, void *self)
{
    const struct suppressing *list = self;
    struct belay_result *outcome = belay__exit_outcome(task);
    struct splitting splitting = {task->runtime->memory, list, 0};
    belay_error *left;

    if (outcome->code >= 0 || outcome->cancelled) {
        return belay_return(task, NULL);
    }
    if (is_listed(list, outcome->code)) {
        return belay_suppress(task);
    }
    if (outcome->error == NULL
        || split(&splitting, outcome->error, 0, &left) < 0) {
        return belay_return(task, NULL);
    }
    if (left == NULL) {
        return belay_suppress(task);
    }
    /* In the place of the whole one, not with it as its context. */
    belay_error_unref(outcome->error);
    outcome->error = left;
    return belay_return(task, NULL);
}

belay_next
belay_suppressing(belay_task *task, const int *codes, size_t count)
{
    static const belay_manager manager = {
        {"suppressing", __FILE__, sizeof(struct suppressing), suppressing_enter,
            0},
        suppressing_exit};
    struct suppressing list = {.count = count};

    if (count > BELAY_SUPPRESSING_MAX) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    if (count > 0) {
        memcpy(list.codes, codes, count * sizeof(*codes));
    }
    return belay_enter(task, &manager, &list);
}

/* ---- stopwatch ---- */

struct stopwatch {
    belay_duration *ret;
    belay_time start;
};

static belay_next
stopwatch_enter(belay_task *task, void *self)
{
    struct stopwatch *watch = self;

    watch->start = belay_now(task);
    return belay_return(task, NULL);
}

static belay_next
stopwatch_exit(belay_task *task, void *self)
{
    struct stopwatch *watch = self;

    watch->ret->ns = belay_now(task).ns - watch->start.ns;
    return belay_return(task, NULL);
}

belay_next
belay_stopwatch(belay_task *task, belay_duration *ret)
{
    static const belay_manager manager = {
        {"stopwatch", __FILE__, sizeof(struct stopwatch), stopwatch_enter, 0},
        stopwatch_exit};

    return belay_enter(task, &manager, &(const struct stopwatch){.ret = ret});
}

/* ---- a cell, a variable ---- */

struct setting {
    void *cell;
    size_t bytes;
    unsigned char other[BELAY_SETTING_MAX_BYTES]; /* new, then the old value */
};

static belay_next
setting_enter(belay_task *task, void *self)
{
    struct setting *setting = self;
    unsigned char value[BELAY_SETTING_MAX_BYTES];

    memcpy(value, setting->other, setting->bytes);
    memcpy(setting->other, setting->cell, setting->bytes);
    memcpy(setting->cell, value, setting->bytes);
    return belay_return(task, setting->cell);
}

static belay_next
setting_exit(belay_task *task, void *self)
{
    struct setting *setting = self;

    memcpy(setting->cell, setting->other, setting->bytes);
    return belay_return(task, NULL);
}

belay_next
belay_setting(belay_task *task, void *cell, const void *value, size_t bytes)
{
    static const belay_manager manager = {
        {"setting", __FILE__, sizeof(struct setting), setting_enter, 0},
        setting_exit};
    struct setting setting = {.cell = cell, .bytes = bytes};

    if (bytes > BELAY_SETTING_MAX_BYTES) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    memcpy(setting.other, value, bytes);
    return belay_enter(task, &manager, &setting);
}

struct var_scope {
    const struct belay_var *var;
    void *value;
    struct belay_var_token token;
};

static belay_next
var_enter(belay_task *task, void *self)
{
    struct var_scope *scope = self;
    int code = belay_var_set(task, scope->var, scope->value, &scope->token);

    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    return belay_return(task, scope->value);
}

static belay_next
var_exit(belay_task *task, void *self)
{
    struct var_scope *scope = self;
    int code = belay_var_reset(task, scope->var, &scope->token);

    if (code < 0) {
        return belay_fail(task, code,
            "context variable %s: a later set has not been reset",
            scope->var->name);
    }
    return belay_return(task, NULL);
}

belay_next
belay_var_open(belay_task *task, const struct belay_var *var, void *value)
{
    static const belay_manager manager = {
        {"context variable", __FILE__, sizeof(struct var_scope), var_enter, 0},
        var_exit};

    return belay_enter(
        task, &manager, &(const struct var_scope){.var = var, .value = value});
}
