/* budget.c - the life of a budget, and what is entered into it.
 *
 * Settling allocates nothing and always works: what a call has used counts,
 * whatever was held for it.
 */
#include "llm/budget/budget.h"

#include "llm/budget/tree.h"
#include "runtime/internal.h"

void
belay__budget_caps(const belay_budget *budget, struct belay__caps *ret)
{
    *ret = (struct belay__caps){false, false};
    for (; budget != NULL; budget = budget->parent) {
        ret->cost |= budget->limit.of[BELAY__COST] != INT64_MAX;
        ret->output |= budget->policy != BELAY_BUDGET_POST_CHECK
                       && (budget->limit.of[BELAY__COST] != INT64_MAX
                           || budget->limit.of[BELAY__TOKENS] != INT64_MAX);
    }
}

belay_budget *
belay__budget_innermost(const belay_task *task, belay_budget *given)
{
    belay_budget *current = belay_budget_current(task);
    const belay_budget *budget = current;

    while (budget != NULL && budget != given) {
        budget = budget->parent;
    }
    return given == NULL || budget != NULL ? current : given;
}

/* ---- settling ---- */

static void
note_excess(belay_budget *budget, const struct belay__amount *most,
    const struct belay__amount *used)
{
    const struct belay__amount held = belay__budget_share(budget, most);
    struct belay__amount above;

    for (int i = 0; i < BELAY__DIMENSIONS; i++) {
        above.of[i] = used->of[i] > held.of[i] ? used->of[i] - held.of[i] : 0;
    }
    belay__amount_add(&budget->excess, &above);
}

void
belay_budget_settle(
    struct belay_reservation *reservation, const struct belay_amount *used)
{
    struct belay__amount most;
    struct belay__amount spent;
    belay_budget *leaf;

    if (reservation == NULL || reservation->budget == NULL) {
        return;
    }
    leaf = reservation->budget;
    most = belay__amount_of(&reservation->amount);
    spent = belay__amount_of(used);
    *reservation = (struct belay_reservation){NULL, {{0}, 0, 0}};
    for (belay_budget *at = leaf; at != NULL; at = at->parent) {
        belay__budget_give_room(at, &most);
        note_excess(at, &most, &spent);
        belay__amount_add(&at->spent, &spent);
    }
    belay__budget_dispatch_up(leaf);
    belay_budget_unref(leaf);
}

void
belay__budget_doubt(
    struct belay_reservation *reservation, const struct belay_amount *known)
{
    struct belay__amount doubtful = belay__amount_of(known);
    struct belay__amount most;
    belay_budget *leaf;

    if (reservation == NULL || reservation->budget == NULL) {
        return;
    }
    leaf = reservation->budget;
    most = belay__amount_of(&reservation->amount);
    for (int i = 0; i < BELAY__DIMENSIONS; i++) {
        if (most.of[i] > doubtful.of[i]) {
            doubtful.of[i] = most.of[i];
        }
    }
    *reservation = (struct belay_reservation){NULL, {{0}, 0, 0}};
    for (belay_budget *at = leaf; at != NULL; at = at->parent) {
        belay__budget_give_room(at, &most);
        note_excess(at, &most, &doubtful);
        belay__amount_add(&at->uncertain, &doubtful);
    }
    belay__budget_dispatch_up(
        leaf); /* those who would have waited for it cannot any more */
    belay_budget_unref(leaf);
}

void
belay_budget_doubt(struct belay_reservation *reservation)
{
    belay__budget_doubt(reservation, NULL);
}

void
belay_budget_charge(belay_budget *budget, const struct belay_amount *spent,
    const struct belay_amount *uncertain)
{
    const struct belay__amount certain = belay__amount_of(spent);
    const struct belay__amount doubtful = belay__amount_of(uncertain);

    for (belay_budget *at = budget; at != NULL; at = at->parent) {
        belay__amount_add(&at->spent, &certain);
        belay__amount_add(&at->uncertain, &doubtful);
    }
    belay__budget_dispatch_up(budget);
}

/* ---- a budget's life ---- */

belay_budget *
belay_budget_ref(belay_budget *budget)
{
    if (budget != NULL) {
        budget->refs++;
    }
    return budget;
}

void
belay_budget_unref(belay_budget *budget)
{
    struct belay__memory *memory;
    belay_budget *parent;

    /* Not by recursion: a chain may be long. */
    while (budget != NULL && --budget->refs == 0) {
        memory = budget->memory;
        parent = budget->parent;
        assert(budget->waiting == 0);
        belay__life_end(memory, &budget->life);
        belay__free(memory, budget->name, budget->name_bytes);
        belay__free(memory, budget, sizeof(*budget));
        belay__memory_unref(memory);
        budget = parent;
    }
}

struct belay__life
belay__budget_life(const belay_budget *budget)
{
    return budget->life;
}

bool
belay__budget_is_over(const belay_budget *budget)
{
    return budget->over;
}

static void
destroy_value(void *value)
{
    belay_budget_unref(value);
}

static const struct belay_var current = {"budget", destroy_value};

belay_budget *
belay_budget_current(const belay_task *task)
{
    return belay_var_get(task, &current);
}

static int64_t
limit_of(int64_t number)
{
    return number == 0 ? INT64_MAX : number;
}

static belay_budget *
budget_new(struct belay__memory *memory, const struct belay_budget_opts *opts)
{
    const char *name = opts->name != NULL ? opts->name : "budget";
    belay_budget *budget = belay__alloc(memory, sizeof(*budget));

    if (budget == NULL) {
        return NULL;
    }
    *budget = (struct belay_budget){
        .memory = memory,
        .name = belay__copy_text(memory, name, strlen(name)),
        .name_bytes = strlen(name) + 1,
        .refs = 1,
        .policy = opts->policy,
        .limit = {{limit_of(opts->limit.cost.pico),
            limit_of(opts->limit.tokens), limit_of(opts->limit.requests)}},
    };
    if (budget->name == NULL || belay__life_begin(memory, &budget->life) < 0) {
        belay__free(memory, budget->name, budget->name_bytes);
        belay__free(memory, budget, sizeof(*budget));
        return NULL;
    }
    (void)belay__memory_ref(memory);
    budget->parent = belay_budget_ref(opts->parent);
    return budget;
}

struct budget_scope {
    struct belay_budget_opts opts;
    struct belay__life parent; /* if there is one in opts */
    belay_budget **ret;
    belay_budget *budget;
    struct belay_var_token token;
};

static belay_next
budget_enter(belay_task *task, void *self)
{
    struct budget_scope *scope = self;
    int code;

    if (scope->opts.parent == NULL) {
        scope->opts.parent = belay_budget_current(task);
    } else if (!belay__is_there(task, scope->parent)) {
        return belay_fail(task, BELAY_ECLOSED, "the budget around it is gone");
    }
    scope->budget = budget_new(task->runtime->memory, &scope->opts);
    if (scope->budget == NULL) {
        return belay_fail(task, BELAY_ENOMEM, NULL);
    }
    code = belay_var_set(task, &current, scope->budget, &scope->token);
    if (code < 0) {
        belay_budget_unref(scope->budget);
        return belay_fail(task, code, NULL);
    }
    (void)belay_budget_ref(scope->budget); /* the variable has the first */
    if (scope->ret != NULL) {
        *scope->ret = scope->budget;
    }
    return belay_return(task, scope->budget);
}

static belay_next
budget_exit(belay_task *task, void *self)
{
    struct budget_scope *scope = self;
    int code = belay_var_reset(task, &current, &scope->token);

    scope->budget->over = true;
    belay__budget_dispatch(scope->budget);
    belay_budget_unref(scope->budget);
    if (code < 0) {
        return belay_fail(task, code,
            "budget left while one that was entered later is still open");
    }
    return belay_return(task, NULL);
}

belay_next
belay_budget_open(
    belay_task *task, const struct belay_budget_opts *opts, belay_budget **ret)
{
    static const belay_manager manager = {
        {"budget", __FILE__, sizeof(struct budget_scope), budget_enter, 0},
        budget_exit};
    struct budget_scope scope = {.ret = ret};

    if (opts != NULL) {
        if (opts->size != sizeof(*opts)
            || belay__amount_is_negative(&opts->limit)) {
            return belay__refuse(task, BELAY_EINVAL);
        }
        scope.opts = *opts;
    }
    if (scope.opts.parent != NULL) {
        scope.parent = scope.opts.parent->life;
    }
    return belay_enter(task, &manager, &scope);
}

void
belay_budget_get_stats(
    const belay_budget *budget, struct belay_budget_stats *ret)
{
    struct belay__amount limit = budget->limit;

    for (int i = 0; i < BELAY__DIMENSIONS; i++) {
        limit.of[i] = limit.of[i] == INT64_MAX ? 0 : limit.of[i];
    }
    *ret = (struct belay_budget_stats){
        .name = budget->name,
        .limit = belay__amount_told(&limit),
        .spent = belay__amount_told(&budget->spent),
        .held = belay__amount_told(&budget->held),
        .uncertain = belay__amount_told(&budget->uncertain),
        .excess = belay__amount_told(&budget->excess),
        .refused = budget->refused,
        .waiting = budget->waiting,
    };
}
