/* test_exit_scopes.c - scopes that an exit closes, and others that it opens in
 * their place: contract S43, S99.
 */
#include "test/support/program.h"

#include <belay/managers.h>
#include <belay/stack.h>
#include <belay/timeout.h>

TestSuite(exit_scopes, .fini = check_clean, .timeout = 30);

static int64_t
milliseconds_since(const belay_task *task, belay_time start)
{
    return (belay_now(task).ns - start.ns) / 1000000;
}

/* ---- a manager that closes its own stack early ---- */

static belay_next
close_stack(belay_task *task, void *stack)
{
    return belay_stack_close(task, stack, NULL);
}

struct early {
    bool in_block;
    belay_stack *own;
    belay_time start;
};

BELAY_MANAGER(early)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->own)) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->own, belay_timeout(task, belay_seconds(60)), NULL));
        BELAY_YIELD(NULL);
        if (self->in_block) {
            BELAY_WITH (belay_closing_async(task, close_stack, self->own)) {
            }
        } else {
            BELAY_AWAIT(belay_stack_close(task, self->own, NULL));
        }
        self->start = belay_now(task);
        BELAY_WITH (belay_move_on(task, belay_seconds(1), NULL)) {
            BELAY_AWAIT(belay_sleep(task, belay_seconds(100)));
        }
        trace("%lld ms", (long long)milliseconds_since(task, self->start));
    }
    BELAY_END;
}

struct closes_early {
    bool in_block;
};

BELAY_ASYNC(closes_early)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(early, .in_block = self->in_block)) {
        trace("body");
    }
    BELAY_END;
}

Test(exit_scopes, s43_s99_a_timeout_works_where_the_scope_outside_is_gone)
{
    cr_expect(zero(int, RUN(closes_early, .in_block = false)));
    expect_trace("body; 1000 ms");
    trace_clear();
    cr_expect(zero(int, RUN(closes_early, .in_block = true)));
    expect_trace("body; 1000 ms");
}

/* ---- an exit in an exit that puts one scope in another's place ---- */

struct replaces {
    belay_stack *on;
    belay_stack_entry **old;
};

BELAY_MANAGER(replaces)
{
    BELAY_BEGIN;
    BELAY_YIELD(NULL);
    BELAY_AWAIT(belay_stack_close_entry(task, self->on, *self->old, NULL));
    BELAY_AWAIT(belay_stack_enter(
        task, self->on, belay_move_on(task, belay_seconds(1), NULL), NULL));
    BELAY_END;
}

struct outer {
    belay_stack *on;
    belay_stack_entry **old;
    belay_time start;
};

BELAY_MANAGER(outer)
{
    BELAY_BEGIN;
    BELAY_YIELD(NULL);
    BELAY_WITH (BELAY_ENTER(replaces, .on = self->on, .old = self->old)) {
    }
    self->start = belay_now(task);
    BELAY_TRY(belay_sleep(task, belay_seconds(100)));
    trace("%lld ms, %s", (long long)milliseconds_since(task, self->start),
        trace_result(belay_result(task)));
    BELAY_END;
}

struct in_its_place {
    belay_stack *stays;
    belay_stack *stack;
    belay_stack_entry *outer;
    belay_stack_entry *old;
};

BELAY_ASYNC(in_its_place)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stays)) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                BELAY_ENTER(outer, .on = self->stays, .old = &self->old),
                &self->outer));
            BELAY_AWAIT(belay_stack_enter(task, self->stays,
                belay_cancel_scope_open(task, NULL, NULL), &self->old));
            BELAY_AWAIT(
                belay_stack_close_entry(task, self->stack, self->outer, NULL));
        }
    }
    BELAY_END;
}

Test(exit_scopes, s43_s99_a_new_scope_is_seen_though_it_is_as_deep_as_the_old)
{
    cr_expect(zero(int, RUN(in_its_place, .stays = NULL)));
    expect_trace("1000 ms, cancel");
}

Test(exit_scopes, s99_s136_whatever_is_refused_or_cancelled)
{
    sweep(&(const struct program){.function = &closes_early,
        .arguments = &(const struct closes_early){.in_block = true}});
    sweep(&(const struct program){.function = &in_its_place,
        .arguments = &(const struct in_its_place){.stays = NULL}});
}
