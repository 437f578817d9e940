/* test_handover.c - locks, conditions and limiters under random cancels.
 *
 * Some tasks do what they like with one lock, its condition and one limiter,
 * while another cancels them and changes the total, all by dice. Nobody is
 * ever inside together with another, and in the end all is free: S10, S11.
 */
#include "test/support/program.h"

#include <belay/limiter.h>
#include <belay/lock.h>

TestSuite(handover, .fini = check_clean, .timeout = 60);

#define WORKERS 12
#define ROUNDS 20
#define MOVES 400
#define SEEDS 60
#define TOTAL_MAX 4

struct dice {
    uint32_t state;
};

static uint32_t
roll(struct dice *dice, uint32_t sides)
{
    dice->state = dice->state * 1664525 + 1013904223;
    return (dice->state >> 8) % sides;
}

/* What has happened, over all seeds: each of it must have. */
static struct {
    size_t held;
    size_t notified;
    size_t unnotified; /* waits that were cancelled */
    size_t borrowed;
    size_t twice; /* refused borrowers */
    size_t cut;   /* cancelled inside, or before */
} seen;

struct shared {
    struct dice dice;
    struct belay_lock lock;
    struct belay_condition condition;
    struct belay_limiter limiter;
    int inside;
    uint32_t borrowed;
    belay_cancel_scope *scopes[WORKERS];
    char objects[WORKERS / 2]; /* on behalf of which tokens are borrowed */
};

static belay_duration
a_while(struct shared *shared)
{
    return belay_milliseconds(roll(&shared->dice, 4));
}

/* ---- what a worker may do ---- */

struct holding {
    struct shared *shared;
};

BELAY_ASYNC(holding)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_lock_open(task, &self->shared->lock)) {
        cr_assert(zero(int, self->shared->inside++));
        BELAY_TRY(belay_sleep(task, a_while(self->shared)));
        self->shared->inside--;
        seen.held++;
        if (belay_result(task)->code < 0) {
            return belay_pass(task);
        }
    }
    BELAY_END;
}

struct waiting {
    struct shared *shared;
};

BELAY_ASYNC(waiting)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_lock_open(task, &self->shared->lock)) {
        BELAY_TRY(belay_condition_wait(task, &self->shared->condition));
        cr_assert(eq(ptr, self->shared->lock.owner, task));
        cr_assert(zero(int, self->shared->inside));
        if (belay_result(task)->code < 0) {
            seen.unnotified++;
            return belay_pass(task);
        }
        seen.notified++;
    }
    BELAY_END;
}

struct notifying {
    struct shared *shared;
};

BELAY_ASYNC(notifying)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_lock_open(task, &self->shared->lock)) {
        cr_assert(
            zero(int, belay_condition_notify(task, &self->shared->condition,
                          roll(&self->shared->dice, 4))));
    }
    BELAY_END;
}

struct borrowing {
    struct shared *shared;
};

BELAY_ASYNC(borrowing)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_limiter_open_for(task, &self->shared->limiter,
        &self->shared->objects[roll(
            &self->shared->dice, sizeof(self->shared->objects))])) {
        self->shared->borrowed++;
        cr_assert(le(u32, self->shared->borrowed, TOTAL_MAX));
        BELAY_TRY(belay_sleep(task, a_while(self->shared)));
        self->shared->borrowed--;
        seen.borrowed++;
        if (belay_result(task)->code < 0) {
            return belay_pass(task);
        }
    }
    BELAY_END;
}

/* ---- workers, and the one who disturbs them ---- */

struct worker {
    struct shared *shared;
    uint32_t index;
    int rounds;
};

static belay_next
some_deed(belay_task *task, struct shared *shared)
{
    switch (roll(&shared->dice, 4)) {
    case 0:
        return BELAY_CALL(holding, shared);
    case 1:
        return BELAY_CALL(waiting, shared);
    case 2:
        return BELAY_CALL(notifying, shared);
    default:
        return BELAY_CALL(borrowing, shared);
    }
}

BELAY_ASYNC(worker)
{
    BELAY_BEGIN;
    for (; self->rounds < ROUNDS; self->rounds++) {
        BELAY_WITH (belay_cancel_scope_open(
            task, NULL, &self->shared->scopes[self->index])) {
            BELAY_TRY(some_deed(task, self->shared));
            self->shared->scopes[self->index] = NULL;
            if (belay_result(task)->cancelled) {
                seen.cut++;
                return belay_pass(task); /* as far as it was meant */
            }
            if (belay_result(task)->code == BELAY_EDEADLK) {
                seen.twice++;
            } else {
                cr_assert(zero(int, belay_result(task)->code));
            }
        }
        BELAY_AWAIT(belay_sleep(task, a_while(self->shared)));
    }
    BELAY_END;
}

struct storm {
    uint32_t seed;
    struct shared shared;
    belay_group *group;
    int moves;
};

static void
disturb(struct shared *shared)
{
    const uint32_t index = roll(&shared->dice, WORKERS);

    if (shared->scopes[index] != NULL && roll(&shared->dice, 2) == 0) {
        belay_cancel_scope_cancel(shared->scopes[index], NULL);
    }
    if (roll(&shared->dice, 8) == 0) {
        belay_limiter_set_total(
            &shared->limiter, roll(&shared->dice, TOTAL_MAX + 1));
    }
}

BELAY_ASYNC(storm)
{
    BELAY_BEGIN;
    self->shared.dice.state = self->seed;
    belay_condition_init(&self->shared.condition, &self->shared.lock);
    belay_limiter_init(&self->shared.limiter, TOTAL_MAX);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (uint32_t i = 0; i < WORKERS; i++) {
            BELAY_CHECK(belay_spawn(
                self->group, worker, .shared = &self->shared, .index = i));
        }
        for (; self->moves < MOVES; self->moves++) {
            BELAY_AWAIT(belay_sleep(task, a_while(&self->shared)));
            disturb(&self->shared);
        }
        belay_group_cancel(self->group, "enough");
    }
    cr_expect(zero(ptr, self->shared.lock.owner));
    cr_expect(zero(ptr, self->shared.lock.waiters.next));
    cr_expect(zero(ptr, self->shared.condition.waiters.next));
    cr_expect(zero(ptr, self->shared.limiter.waiters.next));
    cr_expect(zero(ptr, self->shared.limiter.borrowers));
    cr_expect(zero(u32, self->shared.limiter.borrowed));
    cr_expect(zero(int, self->shared.inside));
    cr_expect(zero(u32, self->shared.borrowed));
    BELAY_END;
}

Test(handover, s10_s11_nothing_is_lost_or_shared_whatever_the_order)
{
    for (uint32_t seed = 1; seed <= SEEDS; seed++) {
        program_unswept = seed > 3; /* these take as long as all others */
        cr_assert(zero(int, RUN(storm, .seed = seed)), "seed %u", seed);
    }
    cr_expect(gt(sz, seen.held, SEEDS));
    cr_expect(gt(sz, seen.notified, SEEDS));
    cr_expect(gt(sz, seen.unnotified, SEEDS));
    cr_expect(gt(sz, seen.borrowed, SEEDS));
    cr_expect(gt(sz, seen.twice, SEEDS));
    cr_expect(gt(sz, seen.cut, SEEDS));
}
