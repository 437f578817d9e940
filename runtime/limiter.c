/* limiter.c - tokens, and who has borrowed one.
 *
 * Invariant: tasks wait only while borrowed >= total; a token that comes free
 * is the longest waiting task's at once.
 *
 * The borrowers form a search tree of the blocks' own frames, so that to
 * borrow allocates nothing and to look for a borrower does not walk them all.
 * Which way a borrower goes at depth d is bit d of its key, and keys are
 * different for different addresses: the depth is at most 64, about log2 of
 * their number as a rule, and nothing is ever rebalanced.
 */
#include <belay/limiter.h>

#include "runtime/internal.h"

/* The argument struct of the manager: it stays where it is until the exit. */
struct belay__borrower {
    struct belay_limiter *limiter;
    const void *object;
    struct belay__borrower *child[2];
};

static const struct belay__wait_kind limiter_wait = {
    "limiter", belay__abort_waiter};

/* ---- the tree ---- */

/* Addresses are alike in their low bits. Multiplied by an odd number they are
 * spread, and stay different.
 */
static uint64_t
key_of(const void *object)
{
    const uint64_t mixed = (uintptr_t)object * UINT64_C(0x9e3779b97f4a7c15);

    return mixed ^ mixed >> 32;
}

/* Where the borrower of this object is, or else belongs. */
static struct belay__borrower **
slot_of(struct belay_limiter *limiter, const void *object)
{
    struct belay__borrower **slot = &limiter->borrowers;
    uint64_t key = key_of(object);

    while (*slot != NULL && (*slot)->object != object) {
        slot = &(*slot)->child[key & 1];
        key >>= 1;
    }
    return slot;
}

/* Any leaf below may take the place: the bits that lead there are its own. */
static void
remove_borrower(struct belay__borrower *borrower)
{
    struct belay__borrower **slot =
        slot_of(borrower->limiter, borrower->object);
    struct belay__borrower **below = slot;
    struct belay__borrower *leaf = borrower;

    while (leaf->child[0] != NULL || leaf->child[1] != NULL) {
        below = &leaf->child[leaf->child[0] == NULL];
        leaf = *below;
    }
    *below = NULL;
    if (leaf != borrower) {
        leaf->child[0] = borrower->child[0];
        leaf->child[1] = borrower->child[1];
        *slot = leaf;
    }
}

/* ---- tokens ---- */

static void
give_to_waiters(struct belay_limiter *limiter)
{
    belay_task *task;

    while (limiter->borrowed < limiter->total
           && (task = belay__waiters_first(&limiter->waiters)) != NULL) {
        limiter->borrowed++;
        belay__wake(task, 0, NULL);
    }
}

static belay_next
waited(belay_task *task, void *self)
{
    struct belay__borrower *borrower = self;

    if (belay_result(task)->code < 0) {
        remove_borrower(borrower);
    }
    return belay_pass(task);
}

/* Where this borrower belongs; NULL if it is there already. */
static struct belay__borrower **
free_slot(belay_task *task, struct belay__borrower *borrower)
{
    struct belay__borrower **slot;

    belay__enter_bound(task);
    if (borrower->object == NULL) {
        borrower->object = task;
    }
    slot = slot_of(borrower->limiter, borrower->object);
    return *slot == NULL ? slot : NULL;
}

static belay_next
borrow(belay_task *task, void *self)
{
    struct belay__borrower *borrower = self;
    struct belay_limiter *limiter = borrower->limiter;
    struct belay__borrower **slot = free_slot(task, borrower);

    if (slot == NULL) {
        (void)belay__done_now(task, BELAY_EDEADLK, NULL);
        return belay_pass(task);
    }
    if (limiter->borrowed < limiter->total) {
        (void)belay__done_now(task, 0, NULL); /* a checkpoint all the same */
        if (belay_result(task)->code == 0) {
            *slot = borrower;
            limiter->borrowed++;
        }
        return belay_pass(task);
    }
    if (!belay__wait_begin(task, &limiter_wait)) {
        return belay_end_with(task, belay__next(BELAY__HOW_WAIT));
    }
    *slot = borrower;
    belay__waiters_push(&limiter->waiters, task);
    return belay_then(task, waited, belay__next(BELAY__HOW_WAIT));
}

static belay_next
try_borrow(belay_task *task, void *self)
{
    struct belay__borrower *borrower = self;
    struct belay_limiter *limiter = borrower->limiter;
    struct belay__borrower **slot = free_slot(task, borrower);

    if (slot == NULL) {
        return belay_fail(task, BELAY_EDEADLK, NULL);
    }
    if (limiter->borrowed >= limiter->total) {
        return belay_fail(task, BELAY_EAGAIN, NULL);
    }
    *slot = borrower;
    limiter->borrowed++;
    return belay_return(task, NULL);
}

static belay_next
give_back(belay_task *task, void *self)
{
    struct belay__borrower *borrower = self;

    remove_borrower(borrower);
    borrower->limiter->borrowed--;
    give_to_waiters(borrower->limiter);
    return belay_return(task, NULL);
}

/* ---- for others ---- */

void
belay_limiter_init(struct belay_limiter *limiter, uint32_t total)
{
    *limiter = (struct belay_limiter){.total = total};
}

belay_next
belay_limiter_open(belay_task *task, struct belay_limiter *limiter)
{
    return belay_limiter_open_for(task, limiter, NULL);
}

belay_next
belay_limiter_open_for(
    belay_task *task, struct belay_limiter *limiter, const void *borrower)
{
    static const belay_manager manager = {
        {"limiter", __FILE__, sizeof(struct belay__borrower), borrow, 0},
        give_back};

    return belay_enter(task, &manager,
        &(const struct belay__borrower){
            .limiter = limiter, .object = borrower});
}

belay_next
belay_limiter_try_open(
    belay_task *task, struct belay_limiter *limiter, const void *borrower)
{
    static const belay_manager manager = {
        {"limiter", __FILE__, sizeof(struct belay__borrower), try_borrow, 0},
        give_back};

    return belay_enter(task, &manager,
        &(const struct belay__borrower){
            .limiter = limiter, .object = borrower});
}

void
belay_limiter_set_total(struct belay_limiter *limiter, uint32_t total)
{
    limiter->total = total;
    give_to_waiters(limiter);
}

int
belay_limiter_get_stats(
    const struct belay_limiter *limiter, struct belay_limiter_stats *ret)
{
    const uint32_t total = limiter->total;
    const uint32_t borrowed = limiter->borrowed;

    if (ret->size != sizeof(*ret)) {
        return BELAY_EINVAL;
    }
    *ret = (struct belay_limiter_stats){
        .size = sizeof(*ret),
        .total = total,
        .borrowed = borrowed,
        .available = borrowed < total ? total - borrowed : 0,
        .waiting = belay__waiters_count(&limiter->waiters),
    };
    return 0;
}
