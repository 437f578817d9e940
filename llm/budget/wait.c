/* wait.c - reserving room, at once or after a wait.
 *
 * A call that waits is in the queue of the one budget that has no room for it.
 * When its turn comes there it may have to go on to another's.
 */
#include "llm/budget/tree.h"

#include "runtime/internal.h"

/* Why a call cannot be let in now; 0: it can, and has been. *ret_blocker gets
 * the budget that is in the way: one that refuses before one that lets wait,
 * since no wait for another helps.
 */
static int
admit(belay_budget *budget, const struct belay__amount *most,
    belay_budget **ret_blocker)
{
    *ret_blocker = belay__budget_first_over(budget);
    if (*ret_blocker != NULL) {
        return BELAY_ECLOSED;
    }
    *ret_blocker = belay__budget_blocked_by(budget, most);
    if (*ret_blocker == NULL) {
        belay__budget_take_room(budget, most);
        return 0;
    }
    if (!belay__budget_may_ever_fit(budget, most)) {
        return BELAY_EBUDGET;
    }
    if (belay__budget_refused_by(budget, most) != NULL) {
        *ret_blocker = belay__budget_refused_by(budget, most);
    }
    return BELAY_EAGAIN;
}

/* ---- waiting ---- */

static enum belay_abort abort_wait(belay_task *task);
static const struct belay__wait_kind budget_wait = {"budget", abort_wait};

/* A call that asks for room; while it waits the task's wait.data. */
struct reserve {
    belay_budget *budget;
    struct belay__life life; /* the budget's */
    struct belay_amount most;
    struct belay_reservation *reservation;
    belay_budget *queue; /* whose it is in */
};

static struct belay_reservation *
reservation_of(const belay_task *task)
{
    const struct reserve *reserve = task->wait.data;

    return reserve->reservation;
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
    struct reserve *reserve = task->wait.data;

    reserve->queue = budget;
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
    const struct belay__amount most = belay__amount_of(&reservation->amount);
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
void
belay__budget_dispatch(belay_budget *budget)
{
    belay_task *task;

    while ((task = belay__waiters_first(&budget->waiters)) != NULL) {
        const struct belay__amount most =
            belay__amount_of(&reservation_of(task)->amount);

        if (!belay__budget_has_room(budget, &most, true)
            && belay__budget_may_ever_fit(reservation_of(task)->budget, &most)
            && belay__budget_first_over(reservation_of(task)->budget) == NULL) {
            return;
        }
        leave_queue(budget, task);
        admit_or_queue(task);
    }
}

void
belay__budget_dispatch_up(belay_budget *budget)
{
    for (; budget != NULL; budget = budget->parent) {
        belay__budget_dispatch(budget);
    }
}

/* The first in a queue may have held up those behind it. */
static enum belay_abort
abort_wait(belay_task *task)
{
    const struct reserve *reserve = task->wait.data;
    belay_budget *budget = reserve->queue;

    leave_queue(budget, task);
    belay__budget_dispatch(budget);
    return BELAY_ABORT_DONE;
}

/* ---- reserving ---- */

/* As belay_budget_try(); *ret_blocker, which may be NULL, is in the way. */
static int
try_now(belay_budget *budget, const struct belay_amount *most,
    struct belay_reservation *ret, belay_budget **ret_blocker)
{
    const struct belay__amount wanted = belay__amount_of(most);
    int code;

    *ret_blocker = NULL;
    if (belay__amount_is_negative(most)) {
        return BELAY_EINVAL;
    }
    if (budget == NULL) {
        *ret = (struct belay_reservation){NULL, {{0}, 0, 0}};
        return 0;
    }
    if (belay__budget_first_waited_for(budget) != NULL
        && belay__budget_first_over(budget) == NULL
        && belay__budget_may_ever_fit(budget, &wanted)) {
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

static const char *
money(int64_t pico, char *out)
{
    (void)belay_money_format((belay_money){pico}, out);
    return out;
}

/* Names the budget without room, and the first of what it lacks. */
static belay_next
fail_without_room(belay_task *task, const belay_budget *budget,
    const struct belay__amount *most)
{
    struct belay__amount used = budget->spent;
    char limit_text[BELAY_MONEY_TEXT_BYTES];
    char used_text[BELAY_MONEY_TEXT_BYTES];
    char most_text[BELAY_MONEY_TEXT_BYTES];
    int i = BELAY__COST;

    belay__amount_add(&used, &budget->held);
    belay__amount_add(&used, &budget->uncertain);
    while (i < BELAY__REQUESTS
           && most->of[i] <= budget->limit.of[i] - used.of[i]) {
        i++;
    }
    if (i == BELAY__COST) {
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
        i == BELAY__TOKENS ? "tokens" : "requests", (long long)most->of[i]);
}

static belay_next
reserved(belay_task *task, void *self)
{
    const struct reserve *reserve = self;
    struct belay_reservation *reservation = reserve->reservation;
    const struct belay__amount most = belay__amount_of(&reservation->amount);
    belay_budget *budget = reservation->budget;
    const int code = belay_result(task)->code;
    belay_budget *blocker;
    belay_next next;

    if (code == 0) {
        return belay_return(task, NULL);
    }
    *reservation = (struct belay_reservation){NULL, {{0}, 0, 0}};
    blocker = belay__budget_blocked_by(budget, &most);
    next = code == BELAY_EBUDGET && blocker != NULL
               ? fail_without_room(task, blocker, &most)
               : belay_pass(task);
    belay_budget_unref(budget);
    return next;
}

/* Is there sense in waiting for those who were first? */
static bool
may_wait(belay_budget *budget, const struct belay__amount *most)
{
    return belay__budget_first_over(budget) == NULL
           && belay__budget_may_ever_fit(budget, most)
           && belay__budget_refused_by(budget, most) == NULL;
}

static belay_next
reserve_begin(belay_task *task, void *self)
{
    struct reserve *reserve = self;
    const struct belay__amount most = belay__amount_of(&reserve->most);
    belay_budget *waited;

    if (!belay__is_there(task, reserve->life)) {
        return belay_fail(task, BELAY_ECLOSED, "the budget is gone");
    }
    waited = belay__budget_first_waited_for(reserve->budget);
    *reserve->reservation = (struct belay_reservation){
        belay_budget_ref(reserve->budget), reserve->most};
    if (belay__wait_begin(task, &budget_wait)) {
        task->wait.data = reserve;
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

    if (belay__amount_is_negative(most)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    if (budget == NULL) {
        *ret = (struct belay_reservation){NULL, {{0}, 0, 0}};
        return belay__done_now(task, 0, NULL);
    }
    return belay_call(task, &function,
        &(const struct reserve){budget, budget->life, *most, ret, NULL});
}
