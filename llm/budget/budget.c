/* budget.c - a tree of caps, and the room that is held in it.
 *
 * Invariants: what is held in a budget is the sum of the reservations in it
 * and below it; held + spent + uncertain pass a limit only by what was charged
 * or used above its reservation. A call that waits stands in the queue of the
 * one budget that has no room for it, and its reservation names the budget
 * from which it counts. Settling allocates nothing.
 */
#include "llm/budget/budget.h"

#include "runtime/internal.h"

enum { COST, TOKENS, REQUESTS, DIMENSIONS };

struct amount {
    int64_t of[DIMENSIONS];
};

struct belay_budget {
    struct belay__memory *memory;
    belay_budget *parent; /* a reference, or NULL */
    char *name;
    size_t name_bytes;
    uint32_t refs;
    enum belay_budget_policy policy;
    bool over;           /* its block has been left */
    struct amount limit; /* INT64_MAX: none */
    struct amount spent;
    struct amount held;
    struct amount uncertain;
    struct amount excess;
    uint64_t refused;
    struct belay_waiters waiters;
    uint32_t waiting;
};

/* ---- amounts ---- */

static struct amount
amount_of(const struct belay_amount *amount)
{
    if (amount == NULL) {
        return (struct amount){{0, 0, 0}};
    }
    return (struct amount){
        {amount->cost.pico, amount->tokens, amount->requests}};
}

static struct belay_amount
amount_told(const struct amount *amount)
{
    return (struct belay_amount){
        .cost = {amount->of[COST]},
        .tokens = amount->of[TOKENS],
        .requests = amount->of[REQUESTS],
    };
}

static bool
is_negative(const struct belay_amount *amount)
{
    return amount->cost.pico < 0 || amount->tokens < 0 || amount->requests < 0;
}

/* Of sums that do not fit the largest number is kept: no cap lets it pass. */
static void
add(struct amount *sum, const struct amount *more)
{
    for (int i = 0; i < DIMENSIONS; i++) {
        if (__builtin_add_overflow(sum->of[i], more->of[i], &sum->of[i])) {
            sum->of[i] = INT64_MAX;
        }
    }
}

/* ---- room ---- */

/* What a call reserves here. */
static struct amount
share(const belay_budget *budget, const struct amount *most)
{
    struct amount amount = *most;

    if (budget->policy == BELAY_BUDGET_POST_CHECK) {
        amount.of[COST] = 0;
        amount.of[TOKENS] = 0;
    }
    return amount;
}

/* Whether `used` and a call's share stay within a limit. A number that may
 * overflow does not: what is held must be exact, since it is given back.
 */
static bool
is_within(int64_t limit, int64_t used, int64_t wanted, bool post_check)
{
    int64_t sum;

    if (__builtin_add_overflow(used, wanted, &sum) || sum > limit) {
        return false;
    }
    return !post_check || limit == INT64_MAX || used < limit;
}

static bool
has_room(const belay_budget *budget, const struct amount *most, bool count_held)
{
    const bool post_check = budget->policy == BELAY_BUDGET_POST_CHECK;
    const struct amount wanted = share(budget, most);
    struct amount used = budget->spent;

    add(&used, &budget->uncertain);
    if (count_held) {
        add(&used, &budget->held);
    }
    for (int i = 0; i < DIMENSIONS; i++) {
        if (!is_within(budget->limit.of[i], used.of[i], wanted.of[i],
                post_check && i != REQUESTS)) {
            return false;
        }
    }
    return true;
}

/* The innermost budget that a call does not fit into, or NULL. */
static belay_budget *
blocked_by(belay_budget *budget, const struct amount *most)
{
    while (budget != NULL && has_room(budget, most, true)) {
        budget = budget->parent;
    }
    return budget;
}

static void
hold(belay_budget *budget, const struct amount *most)
{
    for (; budget != NULL; budget = budget->parent) {
        const struct amount wanted = share(budget, most);

        add(&budget->held, &wanted);
    }
}

/* Could a call be let in once nothing is held any more? */
static bool
may_ever_fit(const belay_budget *budget, const struct amount *most)
{
    while (budget != NULL && has_room(budget, most, false)) {
        budget = budget->parent;
    }
    return budget == NULL;
}

static belay_budget *
first_over(belay_budget *budget)
{
    while (budget != NULL && !budget->over) {
        budget = budget->parent;
    }
    return budget;
}

/* The innermost budget that has no room and lets nobody wait for it, or NULL.
 */
static belay_budget *
refused_by(belay_budget *budget, const struct amount *most)
{
    while (budget != NULL
           && (budget->policy == BELAY_BUDGET_WAIT
               || has_room(budget, most, true))) {
        budget = budget->parent;
    }
    return budget;
}

/* Others were first: the innermost budget in which calls wait, or NULL. */
static belay_budget *
first_waited_for(belay_budget *budget)
{
    while (budget != NULL && budget->waiting == 0) {
        budget = budget->parent;
    }
    return budget;
}

/* Why a call cannot be let in now; 0: it can, and has been. *ret_blocker gets
 * the budget that is in the way: one that refuses before one that lets wait,
 * since no wait for another helps.
 */
static int
admit(
    belay_budget *budget, const struct amount *most, belay_budget **ret_blocker)
{
    *ret_blocker = first_over(budget);
    if (*ret_blocker != NULL) {
        return BELAY_ECLOSED;
    }
    *ret_blocker = blocked_by(budget, most);
    if (*ret_blocker == NULL) {
        hold(budget, most);
        return 0;
    }
    if (!may_ever_fit(budget, most)) {
        return BELAY_EBUDGET;
    }
    if (refused_by(budget, most) != NULL) {
        *ret_blocker = refused_by(budget, most);
    }
    return BELAY_EAGAIN;
}

/* ---- waiting ---- */

static enum belay_abort abort_wait(belay_task *task);
static const struct belay__wait_kind budget_wait = {"budget", abort_wait};

static struct belay_reservation *
reservation_of(const belay_task *task)
{
    return task->wait.data;
}

static void
leave_queue(belay_budget *budget, belay_task *task)
{
    belay__waiters_remove(task);
    budget->waiting--;
}

static void
enter_queue(belay_budget *budget, belay_task *task)
{
    belay__waiters_push(&budget->waiters, task);
    budget->waiting++;
}

/* The task, in no queue, holds its room or gets why it does not; or it goes
 * into the queue of the budget that has none for it.
 */
static void
admit_or_queue(belay_task *task)
{
    struct belay_reservation *reservation = reservation_of(task);
    const struct amount most = amount_of(&reservation->amount);
    belay_budget *blocker;
    int code = admit(reservation->budget, &most, &blocker);

    if (code == BELAY_EAGAIN && blocker->policy == BELAY_BUDGET_WAIT) {
        enter_queue(blocker, task);
        return;
    }
    if (code == BELAY_EAGAIN) {
        code = BELAY_EBUDGET;
    }
    if (code < 0) {
        blocker->refused++;
    }
    belay__wake(task, code, NULL);
}

/* First come, first served: the first one without room holds up the others. */
static void
dispatch(belay_budget *budget)
{
    belay_task *task;

    while ((task = belay__waiters_first(&budget->waiters)) != NULL) {
        const struct amount most = amount_of(&reservation_of(task)->amount);

        if (!has_room(budget, &most, true)
            && may_ever_fit(reservation_of(task)->budget, &most)
            && first_over(reservation_of(task)->budget) == NULL) {
            return;
        }
        leave_queue(budget, task);
        admit_or_queue(task);
    }
}

static void
dispatch_up(belay_budget *budget)
{
    for (; budget != NULL; budget = budget->parent) {
        dispatch(budget);
    }
}

/* The first in a queue may have held up those behind it. */
static enum belay_abort
abort_wait(belay_task *task)
{
    belay_budget *budget =
        BELAY__CONTAINER(task->wait.queue, belay_budget, waiters);

    leave_queue(budget, task);
    dispatch(budget);
    return BELAY_ABORT_DONE;
}

/* ---- reserving ---- */

/* As belay_budget_try(); *ret_blocker, which may be NULL, is in the way. */
static int
try_now(belay_budget *budget, const struct belay_amount *most,
    struct belay_reservation *ret, belay_budget **ret_blocker)
{
    const struct amount wanted = amount_of(most);
    int code;

    *ret_blocker = NULL;
    if (is_negative(most)) {
        return BELAY_EINVAL;
    }
    if (budget == NULL) {
        *ret = (struct belay_reservation){NULL, {{0}, 0, 0}};
        return 0;
    }
    if (first_waited_for(budget) != NULL && first_over(budget) == NULL
        && may_ever_fit(budget, &wanted)) {
        return BELAY_EAGAIN;
    }
    code = admit(budget, &wanted, ret_blocker);
    if (code == 0) {
        *ret = (struct belay_reservation){belay_budget_ref(budget), *most};
    }
    return code;
}

int
belay_budget_try(belay_budget *budget, const struct belay_amount *most,
    struct belay_reservation *ret)
{
    belay_budget *blocker;
    int code = try_now(budget, most, ret, &blocker);

    if (code < 0 && blocker != NULL) {
        blocker->refused++;
    }
    return code;
}

bool
belay__budget_hold(belay_budget *budget, const struct belay_amount *most,
    struct belay_reservation *ret)
{
    belay_budget *blocker;

    return try_now(budget, most, ret, &blocker) == 0;
}

bool
belay__budget_is_within(const belay_budget *budget, const belay_budget *outer)
{
    while (budget != NULL && budget != outer) {
        budget = budget->parent;
    }
    return budget != NULL;
}

void
belay__budget_caps(const belay_budget *budget, struct belay__caps *ret)
{
    *ret = (struct belay__caps){false, false};
    for (; budget != NULL; budget = budget->parent) {
        ret->cost |= budget->limit.of[COST] != INT64_MAX;
        ret->output |= budget->policy != BELAY_BUDGET_POST_CHECK
                       && (budget->limit.of[COST] != INT64_MAX
                           || budget->limit.of[TOKENS] != INT64_MAX);
    }
}

struct reserve {
    belay_budget *budget;
    struct belay_amount most;
    struct belay_reservation *reservation;
};

static const char *
money(int64_t pico, char *out)
{
    (void)belay_money_format((belay_money){pico}, out);
    return out;
}

/* Names the budget without room, and the first of what it lacks. */
static belay_next
fail_without_room(
    belay_task *task, const belay_budget *budget, const struct amount *most)
{
    struct amount used = budget->spent;
    char limit_text[BELAY_MONEY_TEXT_BYTES];
    char used_text[BELAY_MONEY_TEXT_BYTES];
    char most_text[BELAY_MONEY_TEXT_BYTES];
    int i = COST;

    add(&used, &budget->held);
    add(&used, &budget->uncertain);
    while (i < REQUESTS && most->of[i] <= budget->limit.of[i] - used.of[i]) {
        i++;
    }
    if (i == COST) {
        return belay_fail(task, BELAY_EBUDGET,
            "budget \"%s\": $%s of $%s are spent, held or in doubt, "
            "the call may cost $%s",
            budget->name, money(used.of[i], used_text),
            money(budget->limit.of[i], limit_text),
            money(most->of[i], most_text));
    }
    return belay_fail(task, BELAY_EBUDGET,
        "budget \"%s\": %lld of %lld %s are spent, held or in doubt, "
        "the call may take %lld",
        budget->name, (long long)used.of[i], (long long)budget->limit.of[i],
        i == TOKENS ? "tokens" : "requests", (long long)most->of[i]);
}

static belay_next
reserved(belay_task *task, void *self)
{
    const struct reserve *reserve = self;
    struct belay_reservation *reservation = reserve->reservation;
    const struct amount most = amount_of(&reservation->amount);
    belay_budget *budget = reservation->budget;
    const int code = belay_result(task)->code;
    belay_budget *blocker;
    belay_next next;

    if (code == 0) {
        return belay_return(task, NULL);
    }
    *reservation = (struct belay_reservation){NULL, {{0}, 0, 0}};
    blocker = blocked_by(budget, &most);
    next = code == BELAY_EBUDGET && blocker != NULL
               ? fail_without_room(task, blocker, &most)
               : belay_pass(task);
    belay_budget_unref(budget);
    return next;
}

/* Is there sense in waiting for those who were first? */
static bool
may_wait(belay_budget *budget, const struct amount *most)
{
    return first_over(budget) == NULL && may_ever_fit(budget, most)
           && refused_by(budget, most) == NULL;
}

static belay_next
reserve_begin(belay_task *task, void *self)
{
    const struct reserve *reserve = self;
    const struct amount most = amount_of(&reserve->most);
    belay_budget *waited = first_waited_for(reserve->budget);

    *reserve->reservation = (struct belay_reservation){
        belay_budget_ref(reserve->budget), reserve->most};
    if (belay__wait_begin(task, &budget_wait)) {
        task->wait.data = reserve->reservation;
        if (waited != NULL && may_wait(reserve->budget, &most)) {
            enter_queue(waited, task);
        } else {
            admit_or_queue(task);
        }
    }
    return belay_then(task, reserved, belay__next(BELAY__HOW_WAIT));
}

belay_next
belay_budget_reserve(belay_task *task, belay_budget *budget,
    const struct belay_amount *most, struct belay_reservation *ret)
{
    static const belay_function function = {
        "budget reserve", __FILE__, sizeof(struct reserve), reserve_begin, 0};

    if (is_negative(most)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    if (budget == NULL) {
        *ret = (struct belay_reservation){NULL, {{0}, 0, 0}};
        return belay__done_now(task, 0, NULL);
    }
    return belay_call(
        task, &function, &(const struct reserve){budget, *most, ret});
}

/* ---- settling ---- */

static void
let_go(belay_budget *budget, const struct amount *most)
{
    const struct amount held = share(budget, most);

    for (int i = 0; i < DIMENSIONS; i++) {
        assert(budget->held.of[i] >= held.of[i]);
        budget->held.of[i] -= held.of[i];
    }
}

static void
note_excess(
    belay_budget *budget, const struct amount *most, const struct amount *used)
{
    const struct amount held = share(budget, most);
    struct amount above;

    for (int i = 0; i < DIMENSIONS; i++) {
        above.of[i] = used->of[i] > held.of[i] ? used->of[i] - held.of[i] : 0;
    }
    add(&budget->excess, &above);
}

void
belay_budget_settle(
    struct belay_reservation *reservation, const struct belay_amount *used)
{
    struct amount most;
    struct amount spent;
    belay_budget *leaf;

    if (reservation == NULL || reservation->budget == NULL) {
        return;
    }
    leaf = reservation->budget;
    most = amount_of(&reservation->amount);
    spent = amount_of(used);
    *reservation = (struct belay_reservation){NULL, {{0}, 0, 0}};
    for (belay_budget *at = leaf; at != NULL; at = at->parent) {
        let_go(at, &most);
        note_excess(at, &most, &spent);
        add(&at->spent, &spent);
    }
    dispatch_up(leaf);
    belay_budget_unref(leaf);
}

void
belay_budget_doubt(struct belay_reservation *reservation)
{
    struct amount most;
    belay_budget *leaf;

    if (reservation == NULL || reservation->budget == NULL) {
        return;
    }
    leaf = reservation->budget;
    most = amount_of(&reservation->amount);
    *reservation = (struct belay_reservation){NULL, {{0}, 0, 0}};
    for (belay_budget *at = leaf; at != NULL; at = at->parent) {
        let_go(at, &most);
        add(&at->uncertain, &most);
    }
    dispatch_up(leaf); /* those who would have waited for it cannot any more */
    belay_budget_unref(leaf);
}

void
belay_budget_charge(belay_budget *budget, const struct belay_amount *spent,
    const struct belay_amount *uncertain)
{
    const struct amount certain = amount_of(spent);
    const struct amount doubtful = amount_of(uncertain);

    for (belay_budget *at = budget; at != NULL; at = at->parent) {
        add(&at->spent, &certain);
        add(&at->uncertain, &doubtful);
    }
    dispatch_up(budget);
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
        belay__free(memory, budget->name, budget->name_bytes);
        belay__free(memory, budget, sizeof(*budget));
        belay__memory_unref(memory);
        budget = parent;
    }
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
    if (budget->name == NULL) {
        belay__free(memory, budget, sizeof(*budget));
        return NULL;
    }
    (void)belay__memory_ref(memory);
    budget->parent = belay_budget_ref(opts->parent);
    return budget;
}

struct budget_scope {
    struct belay_budget_opts opts;
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
    dispatch(scope->budget);
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
        if (opts->size != sizeof(*opts) || is_negative(&opts->limit)) {
            return belay__refuse(task, BELAY_EINVAL);
        }
        scope.opts = *opts;
    }
    return belay_enter(task, &manager, &scope);
}

void
belay_budget_get_stats(
    const belay_budget *budget, struct belay_budget_stats *ret)
{
    struct amount limit = budget->limit;

    for (int i = 0; i < DIMENSIONS; i++) {
        limit.of[i] = limit.of[i] == INT64_MAX ? 0 : limit.of[i];
    }
    *ret = (struct belay_budget_stats){
        .name = budget->name,
        .limit = amount_told(&limit),
        .spent = amount_told(&budget->spent),
        .held = amount_told(&budget->held),
        .uncertain = amount_told(&budget->uncertain),
        .excess = amount_told(&budget->excess),
        .refused = budget->refused,
        .waiting = budget->waiting,
    };
}
