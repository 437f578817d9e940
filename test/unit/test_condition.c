/* test_condition.c - conditions of a lock: contract S1, S10-S13. */
#include "test/support/program.h"

#include <belay/lock.h>

TestSuite(condition, .fini = check_clean, .timeout = 30);

/* What tasks share: a count of things, guarded by the lock. */
struct shared {
    struct belay_lock lock;
    struct belay_condition filled;
    int things;
    int inside; /* tasks that believe to have the lock */
};

static bool
has_things(void *arg)
{
    const struct shared *shared = arg;

    return shared->things > 0;
}

static void
expect_free(void *arg)
{
    const struct shared *shared = arg;
    struct belay_lock_stats stats = {.size = sizeof(stats)};

    cr_assert(zero(int, belay_lock_get_stats(&shared->lock, &stats)));
    cr_expect(zero(ptr, shared->lock.owner));
    cr_expect(zero(sz, stats.waiting));
    cr_expect(zero(sz, belay_condition_waiting(&shared->filled)));
    cr_expect(zero(int, shared->inside));
}

/* Waits once, in a scope of its own, and says how it went. It has the lock
 * when the wait is over, whatever came.
 */
struct waiter {
    struct shared *shared;
    const char *name;
    belay_cancel_scope **scope;
};

BELAY_ASYNC(waiter)
{
    BELAY_BEGIN;
    BELAY_WITH (keeping(task, NULL, self->scope)) {
        BELAY_WITH (belay_lock_open(task, &self->shared->lock)) {
            BELAY_TRY(belay_condition_wait(task, &self->shared->filled));
            trace("%s %s", self->name, trace_result(belay_result(task)));
            cr_expect(eq(ptr, self->shared->lock.owner, task));
            cr_expect(zero(int, self->shared->inside++));
            if (belay_result(task)->code == 0) {
                BELAY_TRY(belay_checkpoint(task));
            }
            self->shared->inside--;
            if (belay_result(task)->code < 0) {
                return belay_pass(task);
            }
        }
        trace("%s left", self->name);
    }
    BELAY_END;
}

#define WAITER(waiter_name, ...) \
    BELAY_CHECK(belay_spawn(     \
        self->group, waiter, &self->shared, (waiter_name), __VA_ARGS__))

struct notifying {
    struct shared shared;
    size_t first;
    size_t second;
    bool swept; /* some of its tasks may be missing */
    belay_group *group;
};

BELAY_ASYNC(notifying)
{
    BELAY_BEGIN;
    belay_condition_init(&self->shared.filled, &self->shared.lock);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        WAITER("a", NULL);
        WAITER("b", NULL);
        WAITER("c", NULL);
        BELAY_AWAIT(belay_checkpoint(task));
        if (!self->swept) {
            cr_expect(eq(sz, belay_condition_waiting(&self->shared.filled), 3));
        }
        BELAY_WITH (belay_lock_open(task, &self->shared.lock)) {
            BELAY_CHECK(belay_condition_notify(
                task, &self->shared.filled, self->first));
            BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
            trace("notified");
        }
        BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
        trace("now");
        BELAY_WITH (belay_lock_open(task, &self->shared.lock)) {
            BELAY_CHECK(belay_condition_notify(
                task, &self->shared.filled, self->second));
        }
    }
    expect_free(&self->shared);
    BELAY_END;
}

Test(condition, a_notify_wakes_so_many_the_longest_waiting_first)
{
    program_other_code = BELAY_EDEADLK; /* who comes late is not notified */
    cr_expect(zero(int, RUN(notifying, .first = 2, .second = 1)));
    expect_trace("notified; a ok; a left; b ok; b left; now; c ok; c left");
    trace_clear();
    cr_expect(zero(int, RUN(notifying, .first = 0, .second = SIZE_MAX)));
    expect_trace("notified; now; a ok; a left; b ok; b left; c ok; c left");
}

struct cancelling {
    struct shared shared;
    bool notify_first; /* the notify comes before the cancel */
    belay_duration busy;
    belay_cancel_scope *scope;
    belay_group *group;
};

BELAY_ASYNC(cancelling)
{
    BELAY_BEGIN;
    belay_condition_init(&self->shared.filled, &self->shared.lock);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        WAITER("a", &self->scope);
        WAITER("b", NULL);
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_WITH (belay_lock_open(task, &self->shared.lock)) {
            if (self->notify_first) {
                BELAY_CHECK(
                    belay_condition_notify(task, &self->shared.filled, 1));
            }
            if (self->scope != NULL) { /* "a" has come so far */
                belay_cancel_scope_cancel(self->scope, NULL);
            }
            BELAY_AWAIT(belay_sleep(task, self->busy));
            trace("left by the notifier");
        }
        BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
        BELAY_WITH (belay_lock_open(task, &self->shared.lock)) {
            BELAY_CHECK(
                belay_condition_notify(task, &self->shared.filled, SIZE_MAX));
        }
    }
    expect_free(&self->shared);
    BELAY_END;
}

Test(condition, s1_a_cancelled_wait_ends_with_the_lock)
{
    /* Also if the grace of 5 s is over long before it can have it. */
    cr_expect(zero(int, RUN(cancelling, .busy = belay_seconds(60))));
    expect_trace("left by the notifier; a cancel; b ok; b left");
}

Test(condition, s10_s11_a_notify_is_not_lost_to_a_cancel_that_comes_later)
{
    cr_expect(zero(
        int, RUN(cancelling, .notify_first = true, .busy = belay_seconds(1))));
    /* a has been notified; the cancel is for its next checkpoint. */
    expect_trace("left by the notifier; a ok; b ok; b left");
}

struct race {
    struct shared shared;
    belay_cancel_scope *scope;
    belay_group *group;
};

/* Cancelled first, but notified before the task could be asked: its abort
 * finds a wait that has as good as happened.
 */
BELAY_ASYNC(race)
{
    BELAY_BEGIN;
    belay_condition_init(&self->shared.filled, &self->shared.lock);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        WAITER("a", &self->scope);
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_WITH (belay_lock_open(task, &self->shared.lock)) {
            if (self->scope != NULL) { /* "a" has come so far */
                belay_cancel_scope_cancel(self->scope, NULL);
            }
            BELAY_CHECK(belay_condition_notify(task, &self->shared.filled, 1));
        }
    }
    expect_free(&self->shared);
    BELAY_END;
}

Test(condition, s10_a_notify_before_the_abort_counts)
{
    cr_expect(zero(int, RUN(race, .scope = NULL)));
    expect_trace("a ok");
}

struct free_lock {
    struct shared shared;
    belay_cancel_scope *scope;
    belay_group *group;
};

BELAY_ASYNC(free_lock)
{
    BELAY_BEGIN;
    belay_condition_init(&self->shared.filled, &self->shared.lock);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        WAITER("a", &self->scope);
        WAITER("b", NULL);
        BELAY_AWAIT(belay_checkpoint(task));
        if (self->scope != NULL) { /* "a" has come so far */
            belay_cancel_scope_cancel(self->scope, NULL);
        }
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_AWAIT(belay_checkpoint(task));
        cr_expect(eq(sz, belay_condition_waiting(&self->shared.filled), 1));
        belay_group_cancel(self->group, NULL);
    }
    expect_free(&self->shared);
    BELAY_END;
}

Test(condition, s9_a_cancelled_wait_takes_a_free_lock_at_once)
{
    cr_expect(zero(int, RUN(free_lock, .scope = NULL)));
    expect_trace("a cancel; b cancel");
}

/* ---- who may ---- */

struct without {
    struct shared shared;
    bool cancelled;
    int way;
};

BELAY_ASYNC(without)
{
    BELAY_BEGIN;
    belay_condition_init(&self->shared.filled, &self->shared.lock);
    cr_expect(eq(int, belay_condition_notify(task, &self->shared.filled, 1),
        BELAY_EOWNER));
    self->shared.things = 1;
    BELAY_TRY(belay_condition_wait(task, &self->shared.filled));
    trace("wait %s", trace_result(belay_result(task)));
    BELAY_TRY(belay_condition_wait_for(
        task, &self->shared.filled, has_things, &self->shared));
    trace("wait for %s", trace_result(belay_result(task)));
    expect_free(&self->shared);
    BELAY_END;
}

Test(condition, it_is_for_the_one_who_has_the_lock)
{
    cr_expect(zero(int, RUN(without, .way = 0)));
    expect_trace("wait EOWNER; wait for EOWNER");
}

struct late {
    struct shared shared;
};

BELAY_ASYNC(late)
{
    BELAY_BEGIN;
    belay_condition_init(&self->shared.filled, &self->shared.lock);
    BELAY_WITH (belay_lock_open(task, &self->shared.lock)) {
        self->shared.things = 1;
        (void)belay_task_cancel(task, NULL);
        BELAY_TRY(belay_condition_wait(task, &self->shared.filled));
        trace("wait %s", trace_result(belay_result(task)));
        cr_expect(eq(ptr, self->shared.lock.owner, task));
        BELAY_TRY(belay_condition_wait_for(
            task, &self->shared.filled, has_things, &self->shared));
        trace("wait for %s", trace_result(belay_result(task)));
        cr_expect(eq(ptr, self->shared.lock.owner, task));
    }
    expect_free(&self->shared);
    BELAY_END;
}

Test(condition, s12_s13_a_cancelled_task_does_not_begin_to_wait)
{
    cr_expect(zero(int, RUN(late, .shared = {.things = 0})));
    expect_trace("wait cancel; wait for cancel");
}

/* ---- a queue of things ---- */

struct consumer {
    struct shared *shared;
    const char *name;
};

BELAY_ASYNC(consumer)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_lock_open(task, &self->shared->lock)) {
        BELAY_AWAIT(belay_condition_wait_for(
            task, &self->shared->filled, has_things, self->shared));
        self->shared->things--;
        trace("%s", self->name);
    }
    BELAY_END;
}

struct market {
    struct shared shared;
    int left; /* things not yet brought */
    belay_group *group;
};

BELAY_ASYNC(market)
{
    BELAY_BEGIN;
    belay_condition_init(&self->shared.filled, &self->shared.lock);
    self->shared.things = 1;
    BELAY_WITH (belay_defer(task, expect_free, &self->shared)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (int i = 0; i < 3; i++) {
                BELAY_CHECK(belay_spawn(self->group, consumer, &self->shared,
                    (const char *const[]){"a", "b", "c"}[i]));
            }
            for (self->left = 2; self->left > 0; self->left--) {
                BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
                BELAY_WITH (belay_lock_open(task, &self->shared.lock)) {
                    self->shared.things++;
                    trace("one more");
                    /* One would do; the others look and wait again. */
                    BELAY_CHECK(belay_condition_notify(
                        task, &self->shared.filled, SIZE_MAX));
                }
            }
        }
    }
    cr_expect(zero(int, self->shared.things));
    BELAY_END;
}

static void
all_served(const struct belay_result *result, bool disturbed)
{
    (void)result;
    if (!disturbed) {
        expect_trace("a; one more; b; one more; c");
    }
}

Test(condition, waiting_for_something_looks_first_and_again)
{
    cr_expect(zero(int, RUN(market, .left = 0)));
    all_served(NULL, false);
}

Test(condition, s11_s136_the_lock_is_free_whatever_happens)
{
    sweep(&(const struct program){.function = &market,
        .arguments = &(const struct market){.left = 0},
        .check = all_served});
    SWEEP(cancelling, .busy = belay_seconds(1));
    SWEEP(notifying, .first = 1, .second = SIZE_MAX, .swept = true);
}

struct costs {
    struct shared shared;
    size_t calls;
    belay_group *group;
};

struct notifier {
    struct shared *shared;
};

BELAY_ASYNC(notifier)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_lock_open(task, &self->shared->lock)) {
        BELAY_CHECK(belay_condition_notify(task, &self->shared->filled, 1));
    }
    BELAY_END;
}

BELAY_ASYNC(costs)
{
    BELAY_BEGIN;
    belay_condition_init(&self->shared.filled, &self->shared.lock);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_lock_open(task, &self->shared.lock)) {
            BELAY_CHECK(belay_spawn(self->group, notifier, &self->shared));
            BELAY_AWAIT(belay_checkpoint(task)); /* it waits for the lock */
            self->calls = test_alloc_calls();
            BELAY_AWAIT(belay_condition_wait(task, &self->shared.filled));
            cr_expect(eq(sz, test_alloc_calls(), self->calls));
        }
    }
    BELAY_END;
}

Test(condition, waiting_takes_no_memory)
{
    cr_expect(zero(int, RUN(costs, .calls = 0)));
}
