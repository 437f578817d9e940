/* budget.h - hard caps on money, tokens and requests, as scopes.
 *
 * A budget is entered with BELAY_WITH and is then the current one of the task
 * and of all that is spawned inside. Budgets nest: a call needs room in its
 * own and in every one around it. Room is reserved for the worst case before
 * anything is sent and settled with what it really was, so a cap holds however
 * many calls run at once; what a server may have charged for without telling
 * stays counted as uncertain. The calls of a client do all that for each of
 * their attempts; the functions below are for others. Rules: L53-L59.
 */
#ifndef BELAY_BUDGET_H
#define BELAY_BUDGET_H

#include <belay/price.h>

BELAY_BEGIN_DECLS

typedef struct belay_budget belay_budget; /* opaque; counted */

/* What calls use up. In limits 0 means none. */
struct belay_amount {
    belay_money cost;
    int64_t tokens;   /* input and output */
    int64_t requests; /* attempts */
};

/* What happens to a call for which there is no room. */
enum belay_budget_policy {
    BELAY_BUDGET_REFUSE, /* it fails at once */
    BELAY_BUDGET_WAIT,   /* it waits while others may still give back enough,
                            first come first served; else it fails */
    /* Nothing is reserved: a call is let through while the cap is not yet
     * reached, so that the cap may be passed by what all calls in flight cost.
     * Of one whose answer nobody counts as much is in doubt as its texts tell,
     * or what limits it if that is more.
     */
    BELAY_BUDGET_POST_CHECK,
};

/* Options for belay_budget_open(). A zero field means its default. */
struct belay_budget_opts {
    size_t size;               /* BELAY_BUDGET_OPTS() fills it */
    const char *name;          /* for messages; copied; default "budget" */
    struct belay_amount limit; /* default no limits */
    enum belay_budget_policy policy; /* default BELAY_BUDGET_REFUSE */
    belay_budget *parent;            /* default the task's current budget */
};
#define BELAY_BUDGET_OPTS(...)          \
    (&(const struct belay_budget_opts){ \
        .size = sizeof(struct belay_budget_opts), __VA_ARGS__})

/**
 * belay_budget_open - enter a budget; use it in BELAY_WITH
 *
 *   opts  NULL for all defaults; copied before the call returns, but the name
 *         must live until entered
 *   ret   NULL, or receives the budget once entered; untouched on failure
 *
 * Left, it admits nothing more: calls that wait for room in it fail with
 * BELAY_ECLOSED, those that wait in a budget around it when their turn comes;
 * calls in flight still settle in it and around it.
 *
 * Owner:   the block holds one reference.
 * Errors:  BELAY_EINVAL  a negative limit; an opts->size that is unknown
 *          BELAY_ECLOSED its parent was gone before it was entered
 *          BELAY_ENOMEM  no memory
 *          In each case nothing has changed.
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract L53, L57, L58.
 */
BELAY_API belay_next belay_budget_open(
    belay_task *task, const struct belay_budget_opts *opts, belay_budget **ret);

/**
 * belay_budget_current - the innermost budget that the task is in
 *
 *   task  not NULL
 *
 * Owner:   valid in the task's next steps as long as it is the current one;
 *          belay_budget_ref() for longer.
 * Errors:  NULL if there is none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L53.
 */
BELAY_API belay_budget *belay_budget_current(const belay_task *task);

/**
 * belay_budget_ref - one more reference
 *
 *   budget  NULL is legal
 *
 * Owner:   each reference is for one belay_budget_unref(). Returns budget.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: style.md 2.2.
 */
BELAY_API belay_budget *belay_budget_ref(belay_budget *budget);

/**
 * belay_budget_unref - give a reference back; the last one frees
 *
 *   budget  NULL is legal
 *
 * Owner:   the reference is gone.
 * Errors:  none.
 * Threads: loop thread; also after the runtime's end.
 * Since:   0.1. Source: style.md 2.2.
 */
BELAY_API void belay_budget_unref(belay_budget *budget);

/* Room that is held for one attempt. The caller's; {0} holds nothing. */
struct belay_reservation {
    belay_budget *budget; /* a reference; NULL: nothing is held */
    struct belay_amount amount;
};

/**
 * belay_budget_try - hold room for an attempt, if there is some now
 *
 *   budget  NULL is legal: there is always room
 *   most    the most it may use; no negative numbers
 *   ret     receives the room; untouched on failure
 *
 * Owner:   the caller owes one belay_budget_settle() or _doubt() for *ret.
 * Errors:  BELAY_EAGAIN   not now; it may once others have settled
 *          BELAY_EBUDGET  not at all
 *          BELAY_ECLOSED  the budget has been left
 *          BELAY_EINVAL   a negative number
 *          In each case nothing has changed.
 * Threads: loop thread. Not a cancellation point.
 * Since:   0.1. Source: contract L54, L58.
 */
BELAY_API int belay_budget_try(belay_budget *budget,
    const struct belay_amount *most, struct belay_reservation *ret);

/**
 * belay_budget_reserve - hold room for an attempt, as the budgets' policies say
 *
 *   budget  NULL is legal: there is always room
 *   most    the most it may use; copied; no negative numbers
 *   ret     {0}, and alive until the operation is over; receives the room;
 *           holds nothing on failure
 *
 * Owner:   the caller owes one belay_budget_settle() or _doubt() for *ret.
 * Errors:  BELAY_EBUDGET    no room, and none to wait for; the message names
 *                           the budget and what is left in it
 *          BELAY_ECLOSED    the budget has been left
 *          BELAY_EINVAL     a negative number
 *          BELAY_ENOMEM     no memory
 *          BELAY_ECANCELED  flagged: nothing is held
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract L53, L54, L58.
 */
BELAY_API belay_next belay_budget_reserve(belay_task *task,
    belay_budget *budget, const struct belay_amount *most,
    struct belay_reservation *ret);

/**
 * belay_budget_settle - an attempt is over, and has used so much
 *
 *   reservation  NULL or {0} is legal; holds nothing afterwards
 *   used         NULL: nothing. May be above what was reserved; it counts all
 *                the same. A negative number counts as none
 *
 * Owner:   the room goes to those who wait for it.
 * Errors:  none.
 * Threads: loop thread; legal in every callback. Runs no step itself.
 * Since:   0.1. Source: contract L55, L59.
 */
BELAY_API void belay_budget_settle(
    struct belay_reservation *reservation, const struct belay_amount *used);

/**
 * belay_budget_doubt - an attempt is over, and nobody knows what it has used
 *
 *   reservation  NULL or {0} is legal; holds nothing afterwards
 *
 * All of it counts for the cap from now on, and is told apart.
 *
 * Owner:   nothing is given back.
 * Errors:  none.
 * Threads: loop thread; legal in every callback. Runs no step itself.
 * Since:   0.1. Source: contract L55.
 */
BELAY_API void belay_budget_doubt(struct belay_reservation *reservation);

/**
 * belay_budget_charge - enter what was used before, or elsewhere
 *
 *   budget     NULL is legal
 *   spent      NULL: nothing. A negative number counts as none
 *   uncertain  the same
 *
 * Counts in the budgets around it too. May pass a cap; nothing is admitted
 * then.
 *
 * Owner:   nothing changes hands.
 * Errors:  none.
 * Threads: loop thread. Runs no step itself.
 * Since:   0.1. Source: contract B26.
 */
BELAY_API void belay_budget_charge(belay_budget *budget,
    const struct belay_amount *spent, const struct belay_amount *uncertain);

/* Where a budget stands. */
struct belay_budget_stats {
    const char *name;          /* lives as long as the budget */
    struct belay_amount limit; /* 0: none */
    struct belay_amount spent;
    struct belay_amount held;      /* for attempts that are under way */
    struct belay_amount uncertain; /* of attempts without a known end */
    struct belay_amount excess;    /* what attempts have used above what was
                                      held for them; in spent or uncertain
                                      too */
    uint64_t refused;              /* calls */
    uint32_t waiting;              /* calls */
};

/**
 * belay_budget_get_stats - where a budget stands now
 *
 *   budget  not NULL
 *   ret     receives it
 *
 * Owner:   see the struct.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract B27, L56.
 */
BELAY_API void belay_budget_get_stats(
    const belay_budget *budget, struct belay_budget_stats *ret);

BELAY_END_DECLS

#endif
