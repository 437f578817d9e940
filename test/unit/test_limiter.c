/* test_limiter.c - tokens and their borrowers: contract S10-S13, S87. */
#include "test/support/program.h"

#include <belay/limiter.h>

TestSuite(limiter, .fini = check_clean, .timeout = 60);

static struct belay_limiter_stats
stats_of(const struct belay_limiter *limiter)
{
    struct belay_limiter_stats stats = {.size = sizeof(stats)};

    cr_assert(zero(int, belay_limiter_get_stats(limiter, &stats)));
    return stats;
}

#define expect_stats(limiter, total_, borrowed_, available_, waiting_) \
    do {                                                               \
        const struct belay_limiter_stats stats = stats_of(limiter);    \
        cr_expect(eq(u32, stats.total, (total_)));                     \
        cr_expect(eq(u32, stats.borrowed, (borrowed_)));               \
        cr_expect(eq(u32, stats.available, (available_)));             \
        cr_expect(eq(sz, stats.waiting, (waiting_)));                  \
    } while (0)

struct user {
    struct belay_limiter *limiter;
    const char *name;
    const void *borrower;
    belay_cancel_scope **scope;
};

BELAY_ASYNC(user)
{
    BELAY_BEGIN;
    BELAY_WITH (keeping(task, NULL, self->scope)) {
        BELAY_WITH (
            belay_limiter_open_for(task, self->limiter, self->borrower)) {
            trace("%s", self->name);
            BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
        }
    }
    BELAY_END;
}

#define USER(user_name, ...)                                              \
    BELAY_CHECK(belay_spawn(self->group, user, .limiter = &self->limiter, \
        .name = (user_name), __VA_ARGS__))

static void
expect_all_back(void *arg)
{
    const struct belay_limiter *limiter = arg;

    cr_expect(zero(u32, stats_of(limiter).borrowed));
    cr_expect(zero(sz, stats_of(limiter).waiting));
    cr_expect(zero(ptr, limiter->borrowers));
}

struct crowd {
    struct belay_limiter limiter;
    bool cancel_third;
    bool swept; /* some of its tasks may be missing */
    belay_cancel_scope *scope;
    belay_group *group;
};

BELAY_ASYNC(crowd)
{
    BELAY_BEGIN;
    belay_limiter_init(&self->limiter, 2);
    BELAY_WITH (belay_defer(task, expect_all_back, &self->limiter)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            USER("a", .scope = NULL);
            USER("b", .scope = NULL);
            USER("c", .scope = &self->scope);
            USER("d", .scope = NULL);
            USER("e", .scope = NULL);
            BELAY_AWAIT(belay_checkpoint(task));
            if (!self->swept) {
                expect_stats(&self->limiter, 2, 2, 0, 3);
            }
            if (self->cancel_third && self->scope != NULL) {
                belay_cancel_scope_cancel(self->scope, NULL);
            }
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(500)));
            trace("then");
        }
    }
    expect_stats(&self->limiter, 2, 0, 2, 0);
    BELAY_END;
}

Test(limiter, tokens_are_given_first_come_first_served)
{
    cr_expect(zero(int, RUN(crowd, .scope = NULL)));
    expect_trace("a; b; then; c; d; e");
}

Test(limiter, s11_a_cancelled_wait_has_borrowed_nothing)
{
    cr_expect(zero(int, RUN(crowd, .cancel_third = true)));
    expect_trace("a; b; then; d; e");
}

static void
in_order(const struct belay_result *result, bool disturbed)
{
    (void)result;
    if (!disturbed) {
        expect_trace("a; b; then; c; d; e");
    }
}

Test(limiter, s11_s136_every_token_comes_back_whatever_happens)
{
    sweep(&(const struct program){.function = &crowd,
        .arguments = &(const struct crowd){.swept = true},
        .check = in_order});
}

struct handover {
    struct belay_limiter limiter;
    belay_cancel_scope *scope;
    belay_group *group;
};

/* The token is its own already, but it has not run, when the cancel comes. */
BELAY_ASYNC(handover)
{
    BELAY_BEGIN;
    belay_limiter_init(&self->limiter, 0);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        USER("a", .scope = &self->scope);
        USER("b", .scope = NULL);
        BELAY_AWAIT(belay_checkpoint(task));
        belay_limiter_set_total(&self->limiter, 1);
        if (self->scope != NULL) { /* "a" has come so far */
            belay_cancel_scope_cancel(self->scope, NULL);
        }
    }
    expect_stats(&self->limiter, 1, 0, 1, 0);
    BELAY_END;
}

Test(limiter, s10_a_token_handed_over_is_not_lost_to_a_cancel)
{
    cr_expect(zero(int, RUN(handover, .scope = NULL)));
    expect_trace("a; b");
}

struct adjusting {
    struct belay_limiter limiter;
    belay_group *group;
};

BELAY_ASYNC(adjusting)
{
    BELAY_BEGIN;
    belay_limiter_init(&self->limiter, 0);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        USER("a", .scope = NULL);
        USER("b", .scope = NULL);
        USER("c", .scope = NULL);
        USER("d", .scope = NULL);
        USER("e", .scope = NULL);
        BELAY_AWAIT(belay_checkpoint(task));
        expect_stats(&self->limiter, 0, 0, 0, 5);
        belay_limiter_set_total(&self->limiter, 3);
        expect_stats(&self->limiter, 3, 3, 0, 2);
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(500)));
        /* Nothing is taken away, and one that comes back is not given on. */
        belay_limiter_set_total(&self->limiter, 1);
        expect_stats(&self->limiter, 1, 3, 0, 2);
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(600)));
        expect_stats(&self->limiter, 1, 1, 0, 1);
        trace("one");
        belay_limiter_set_total(&self->limiter, UINT32_MAX);
        expect_stats(&self->limiter, UINT32_MAX, 2, UINT32_MAX - 2, 0);
    }
    BELAY_END;
}

Test(limiter, the_total_may_be_changed_at_any_time)
{
    cr_expect(zero(int, RUN(adjusting, .group = NULL)));
    expect_trace("a; b; c; d; one; e");
}

struct costs {
    struct belay_limiter limiter;
    size_t calls;
    size_t *ret; /* allocations of borrowing */
    bool wait;
    belay_group *group;
};

BELAY_ASYNC(costs)
{
    BELAY_BEGIN;
    belay_limiter_init(&self->limiter, 1);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        if (self->wait) {
            USER("other", .scope = NULL);
        }
        BELAY_AWAIT(belay_checkpoint(task));
        self->calls = test_alloc_calls();
        BELAY_WITH (belay_limiter_open(task, &self->limiter)) {
            *self->ret = test_alloc_calls() - self->calls;
        }
    }
    BELAY_END;
}

Test(limiter, waiting_takes_no_memory)
{
    size_t free_one = 99;
    size_t contended = 98;

    cr_expect(zero(int, RUN(costs, .ret = &free_one)));
    cr_expect(zero(int, RUN(costs, .ret = &contended, .wait = true)));
    cr_expect(eq(sz, contended, free_one));
    expect_trace("other");
}

Test(limiter, stats_of_another_size_are_refused)
{
    const struct belay_limiter limiter = {.total = 1};
    struct belay_limiter_stats stats = {.size = 1, .total = 7};

    cr_expect(eq(int, belay_limiter_get_stats(&limiter, &stats), BELAY_EINVAL));
    cr_expect(eq(u32, stats.total, 7));
}

/* ---- borrowers ---- */

struct twice {
    struct belay_limiter limiter;
    bool try;
};

BELAY_ASYNC(twice)
{
    BELAY_BEGIN;
    belay_limiter_init(&self->limiter, 5);
    BELAY_WITH (belay_defer(task, expect_all_back, &self->limiter)) {
        BELAY_WITH (belay_limiter_open(task, &self->limiter)) {
            expect_stats(&self->limiter, 5, 1, 4, 0);
            /* For another borrower the same task may. */
            BELAY_WITH (belay_limiter_open_for(task, &self->limiter, self)) {
                expect_stats(&self->limiter, 5, 2, 3, 0);
                if (self->try) {
                    BELAY_WITH (
                        belay_limiter_try_open(task, &self->limiter, self)) {
                        trace("not reached");
                    }
                }
                BELAY_WITH (belay_limiter_open(task, &self->limiter)) {
                    trace("not reached");
                }
            }
        }
    }
    BELAY_END;
}

Test(limiter, a_borrower_borrows_once)
{
    cr_expect(eq(int, RUN(twice, .try = false), BELAY_EDEADLK));
    cr_expect(eq(int, RUN(twice, .try = true), BELAY_EDEADLK));
    expect_trace("");
}

struct waits_twice {
    struct belay_limiter limiter;
    int object;
    belay_group *group;
};

BELAY_ASYNC(waits_twice)
{
    BELAY_BEGIN;
    belay_limiter_init(&self->limiter, 0);
    BELAY_WITH (belay_defer(task, expect_all_back, &self->limiter)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            USER("a", .borrower = &self->object);
            USER("b", .borrower = &self->object);
        }
    }
    BELAY_END;
}

Test(limiter, no_two_tasks_wait_for_one_borrower)
{
    struct belay_result result;

    cr_expect(
        eq(int, RUN_RESULT(&result, waits_twice, .object = 0), BELAY_EGROUP));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(eq(int, belay_error_code(belay_error_child(result.error, 0)),
        BELAY_EDEADLK));
    belay_error_unref(result.error);
    expect_trace("");
}

struct trying {
    struct belay_limiter limiter;
};

BELAY_ASYNC(trying)
{
    BELAY_BEGIN;
    belay_limiter_init(&self->limiter, 1);
    BELAY_WITH (belay_limiter_try_open(task, &self->limiter, NULL)) {
        trace("first");
        BELAY_WITH (belay_limiter_try_open(task, &self->limiter, self)) {
            trace("not reached");
        }
    }
    BELAY_END;
}

Test(limiter, a_try_does_not_wait)
{
    cr_expect(eq(int, RUN(trying, .limiter = {.total = 0}), BELAY_EAGAIN));
    expect_trace("first");
}

struct late {
    struct belay_limiter limiter;
};

BELAY_ASYNC(late)
{
    BELAY_BEGIN;
    belay_limiter_init(&self->limiter, 1);
    (void)belay_task_cancel(task, NULL);
    BELAY_WITH (belay_defer(task, expect_all_back, &self->limiter)) {
        BELAY_WITH (belay_limiter_open(task, &self->limiter)) {
            trace("not reached");
        }
    }
    BELAY_END;
}

Test(limiter, s12_s13_a_cancelled_task_borrows_nothing)
{
    cr_expect(eq(int, RUN(late, .limiter = {.total = 0}), BELAY_ECANCELED));
    expect_trace("");
}

struct stacked {
    struct belay_limiter limiter;
    belay_stack *stack;
    belay_stack_entry *entry;
};

BELAY_ASYNC(stacked)
{
    BELAY_BEGIN;
    belay_limiter_init(&self->limiter, 1);
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            belay_limiter_open(task, &self->limiter), &self->entry));
        cr_expect(eq(
            int, belay_stack_forget(self->stack, self->entry), BELAY_EPINNED));
        expect_stats(&self->limiter, 1, 1, 0, 0);
    }
    expect_stats(&self->limiter, 1, 0, 1, 0);
    BELAY_END;
}

Test(limiter, s87_on_a_stack_a_token_is_not_forgotten)
{
    cr_expect(zero(int, RUN(stacked, .stack = NULL)));
}

/* ---- many, in any order ---- */

#define MANY 2000

struct many {
    struct belay_limiter limiter;
    uint32_t count;
    uint32_t draws_max;
    char *objects; /* each byte one */
    belay_stack_entry *entries[MANY];
    belay_stack *stacks[MANY];
    uint32_t held;
    uint32_t draws;
    uint32_t i;
    uint32_t random;
    belay_stack *all;
};

static uint32_t
draw(struct many *self)
{
    self->random = self->random * 1664525 + 1013904223;
    return (self->random >> 8) % self->count;
}

struct asks {
    struct belay_limiter *limiter;
    const void *object;
};

BELAY_ASYNC(asks)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_limiter_try_open(task, self->limiter, self->object)) {
        cr_expect(gt(u32, stats_of(self->limiter).borrowed, 0));
    }
    BELAY_END;
}

/* Borrows for an object that has no token, or gives that token back, at
 * random; each on a stack of its own, so that any may go first.
 */
BELAY_ASYNC(many)
{
    BELAY_BEGIN;
    belay_limiter_init(&self->limiter, self->count);
    BELAY_WITH (belay_stack_open(task, &self->all)) {
        for (self->draws = 0; self->draws < self->draws_max; self->draws++) {
            self->i = draw(self);
            if (self->stacks[self->i] == NULL) {
                BELAY_AWAIT(belay_stack_enter(task, self->all,
                    belay_stack_open(task, &self->stacks[self->i]),
                    &self->entries[self->i]));
                BELAY_AWAIT(belay_stack_enter(task, self->stacks[self->i],
                    belay_limiter_open_for(
                        task, &self->limiter, &self->objects[self->i]),
                    NULL));
                self->held++;
            } else {
                BELAY_AWAIT(
                    belay_stack_close(task, self->stacks[self->i], NULL));
                BELAY_CHECK(
                    belay_stack_forget(self->all, self->entries[self->i]));
                self->stacks[self->i] = NULL;
                self->held--;
            }
            cr_assert(eq(u32, stats_of(&self->limiter).borrowed, self->held));
        }
        /* Each is known, and nobody else is. */
        for (self->draws = 0; self->draws < self->count; self->draws++) {
            BELAY_TRY(
                BELAY_CALL(asks, &self->limiter, &self->objects[self->draws]));
            cr_assert(eq(int, belay_result(task)->code,
                self->stacks[self->draws] != NULL ? BELAY_EDEADLK : 0));
        }
    }
    cr_expect(zero(ptr, self->limiter.borrowers));
    BELAY_END;
}

Test(limiter, a_borrower_is_found_among_many)
{
    static char objects[MANY];
    static struct many arguments;

    arguments = (struct many){
        .count = 4, .draws_max = 12, .objects = objects, .random = 1};
    cr_expect(zero(int, program_run(&(const struct program){.function = &many,
                                        .arguments = &arguments},
                            NULL)));
    /* All of them are for the table: no other places to fail at. */
    program_unswept = true;
    arguments.count = MANY;
    arguments.draws_max = 10 * MANY;
    cr_expect(zero(int, program_run(&(const struct program){.function = &many,
                                        .arguments = &arguments},
                            NULL)));
}
