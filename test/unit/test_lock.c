/* test_lock.c - the lock: contract S10-S13, S87, strictly first come. */
#include "test/support/program.h"

#include <belay/lock.h>

#include <signal.h>

TestSuite(lock, .fini = check_clean, .timeout = 30);

static size_t
waiting(const struct belay_lock *lock)
{
    struct belay_lock_stats stats = {.size = sizeof(stats)};

    cr_assert(zero(int, belay_lock_get_stats(lock, &stats)));
    return stats.waiting;
}

/* Takes the lock and traces when it has it; nobody else may be inside. */
struct user {
    struct belay_lock *lock;
    int *inside;
    const char *name;
    belay_duration hold;
    belay_cancel_scope **scope;
};

BELAY_ASYNC(user)
{
    BELAY_BEGIN;
    BELAY_WITH (keeping(task, NULL, self->scope)) {
        BELAY_WITH (belay_lock_open(task, self->lock)) {
            trace("%s", self->name);
            cr_expect(zero(int, (*self->inside)++));
            BELAY_TRY(belay_sleep(task, self->hold));
            --*self->inside;
            if (belay_result(task)->code < 0) {
                trace("cut %s", self->name);
                return belay_pass(task);
            }
        }
    }
    BELAY_END;
}

struct crowd {
    struct belay_lock lock;
    int inside;
    bool cancel_second;
    belay_cancel_scope *scope;
    belay_group *group;
};

static void
expect_free(void *arg)
{
    const struct crowd *crowd = arg;

    cr_expect(zero(ptr, crowd->lock.owner));
    cr_expect(zero(sz, waiting(&crowd->lock)));
    cr_expect(zero(int, crowd->inside));
}

#define USER(user_name, ...)                                        \
    BELAY_CHECK(belay_spawn(self->group, user, .lock = &self->lock, \
        .inside = &self->inside, .name = (user_name),               \
        .hold = belay_seconds(1), __VA_ARGS__))

BELAY_ASYNC(crowd)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, expect_free, self)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            USER("a", .scope = NULL);
            USER("b", .scope = &self->scope);
            USER("c", .scope = NULL);
            BELAY_AWAIT(belay_checkpoint(task));
            if (self->cancel_second && self->scope != NULL) {
                belay_cancel_scope_cancel(self->scope, NULL);
            }
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(2500)));
            USER("d", .scope = NULL);
        }
    }
    BELAY_END;
}

Test(lock, it_is_given_first_come_first_served)
{
    cr_expect(zero(int, RUN(crowd, .inside = 0)));
    expect_trace("a; b; c; d");
}

Test(lock, s11_a_cancelled_wait_does_not_get_it)
{
    cr_expect(zero(int, RUN(crowd, .cancel_second = true)));
    expect_trace("a; c; d");
}

static void
in_order(const struct belay_result *result, bool disturbed)
{
    (void)result;
    if (!disturbed) {
        expect_trace("a; b; c; d");
    }
}

Test(lock, s11_s136_it_is_free_whatever_happens)
{
    sweep(&(const struct program){.function = &crowd,
        .arguments = &(const struct crowd){.inside = 0},
        .check = in_order});
}

struct handover {
    struct belay_lock lock;
    int inside;
    belay_cancel_scope *scope;
    belay_group *group;
};

/* It is cancelled when the lock is its own already, but before it has run. */
BELAY_ASYNC(handover)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_lock_open(task, &self->lock)) {
            USER("a", .scope = &self->scope);
            USER("b", .scope = NULL);
            BELAY_AWAIT(belay_checkpoint(task));
        }
        if (self->scope != NULL) { /* "a" has come so far */
            belay_cancel_scope_cancel(self->scope, NULL);
        }
    }
    cr_expect(zero(ptr, self->lock.owner));
    BELAY_END;
}

Test(lock, s10_once_handed_over_it_is_not_lost_to_a_cancel)
{
    cr_expect(zero(int, RUN(handover, .inside = 0)));
    expect_trace("a; cut a; b");
}

struct greedy {
    struct belay_lock lock;
    int inside;
    belay_group *group;
};

/* Wants it back at once; the one who waits comes first. */
BELAY_ASYNC(greedy)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_lock_open(task, &self->lock)) {
            USER("waiter", .scope = NULL);
            BELAY_AWAIT(belay_checkpoint(task));
            trace("greedy");
        }
        BELAY_WITH (belay_suppressing(task, BELAY_CODES(BELAY_EAGAIN))) {
            BELAY_WITH (belay_lock_try_open(task, &self->lock)) {
                trace("out of turn");
            }
        }
        BELAY_WITH (belay_lock_open(task, &self->lock)) {
            trace("greedy again");
        }
    }
    BELAY_END;
}

Test(lock, whoever_leaves_it_cannot_overtake_those_who_wait)
{
    cr_expect(zero(int, RUN(greedy, .inside = 0)));
    expect_trace("greedy; waiter; greedy again");
    SWEEP(greedy, .inside = 0);
}

struct again {
    struct belay_lock lock;
    bool try;
};

BELAY_ASYNC(again)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_lock_try_open(task, &self->lock)) {
        if (self->try) {
            BELAY_WITH (belay_lock_try_open(task, &self->lock)) {
                trace("not reached");
            }
        }
        BELAY_WITH (belay_lock_open(task, &self->lock)) {
            trace("not reached");
        }
    }
    BELAY_END;
}

Test(lock, a_task_that_has_it_is_told_so)
{
    cr_expect(eq(int, RUN(again, .try = false), BELAY_EDEADLK));
    cr_expect(eq(int, RUN(again, .try = true), BELAY_EDEADLK));
    expect_trace("");
}

struct late {
    struct belay_lock lock;
};

BELAY_ASYNC(late)
{
    BELAY_BEGIN;
    (void)belay_task_cancel(task, NULL);
    BELAY_WITH (belay_lock_open(task, &self->lock)) {
        trace("not reached");
    }
    BELAY_END;
}

Test(lock, s12_s13_a_free_one_is_not_given_to_a_cancelled_task)
{
    cr_expect(eq(int, RUN(late, .lock = {.owner = NULL}), BELAY_ECANCELED));
    expect_trace("");
}

struct looking {
    struct belay_lock lock;
    int inside;
    belay_group *group;
};

BELAY_ASYNC(looking)
{
    struct belay_lock_stats stats = {.size = sizeof(stats)};

    BELAY_BEGIN;
    cr_expect(zero(int, belay_lock_get_stats(&self->lock, &stats)));
    cr_expect(zero(ptr, (void *)(uintptr_t)stats.owner_name));
    cr_expect(zero(u64, stats.owner_id));
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_lock_open(task, &self->lock)) {
            USER("a", .scope = NULL);
            USER("b", .scope = NULL);
            BELAY_AWAIT(belay_checkpoint(task));
            cr_expect(zero(int, belay_lock_get_stats(&self->lock, &stats)));
            cr_expect_str_eq(stats.owner_name, belay_task_name(task));
            cr_expect(eq(u64, stats.owner_id, belay_task_id(task)));
            cr_expect(eq(sz, stats.waiting, 2));
        }
    }
    stats = (struct belay_lock_stats){.size = 1, .waiting = 7};
    cr_expect(eq(int, belay_lock_get_stats(&self->lock, &stats), BELAY_EINVAL));
    cr_expect(eq(sz, stats.waiting, 7));
    BELAY_END;
}

Test(lock, it_tells_who_has_it_and_how_many_wait)
{
    cr_expect(zero(int, RUN(looking, .inside = 0)));
    expect_trace("a; b");
}

struct costs {
    struct belay_lock lock;
    int inside;
    size_t calls;
    size_t *ret; /* allocations of opening it */
    bool wait;
    belay_group *group;
};

BELAY_ASYNC(costs)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        if (self->wait) {
            USER("other", .scope = NULL);
        }
        BELAY_AWAIT(belay_checkpoint(task));
        self->calls = test_alloc_calls();
        BELAY_WITH (belay_lock_open(task, &self->lock)) {
            *self->ret = test_alloc_calls() - self->calls;
        }
    }
    BELAY_END;
}

Test(lock, waiting_takes_no_memory)
{
    size_t free_one = 99;
    size_t contended = 98;

    cr_expect(zero(int, RUN(costs, .ret = &free_one)));
    cr_expect(zero(int, RUN(costs, .ret = &contended, .wait = true)));
    cr_expect(eq(sz, contended, free_one));
    expect_trace("other");
}

struct thief {
    belay_stack **stack;
    struct belay_event *moved;
};

BELAY_ASYNC(thief)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, self->stack)) {
        BELAY_AWAIT(belay_event_wait(task, self->moved));
    }
    BELAY_END;
}

struct moving {
    struct belay_lock lock;
    struct belay_event moved;
    belay_stack *mine;
    belay_stack *other;
    belay_stack_entry *entry;
    belay_group *group;
};

BELAY_ASYNC(moving)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(
            belay_spawn(self->group, thief, &self->other, &self->moved));
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_WITH (belay_stack_open(task, &self->mine)) {
            BELAY_AWAIT(belay_stack_enter(task, self->mine,
                belay_lock_open(task, &self->lock), &self->entry));
            if (self->other != NULL) { /* the thief has come so far */
                cr_expect(eq(int, belay_stack_move(self->mine, self->other),
                    BELAY_EPINNED));
            }
            cr_expect(eq(int, belay_stack_forget(self->mine, self->entry),
                BELAY_EPINNED));
        }
        cr_expect(zero(ptr, self->lock.owner));
        belay_event_set(&self->moved);
    }
    BELAY_END;
}

Test(lock, s87_on_a_stack_it_stays_with_its_task)
{
    cr_expect(zero(int, RUN(moving, .mine = NULL)));
}
