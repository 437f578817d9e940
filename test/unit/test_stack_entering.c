/* test_stack_entering.c - what moves onto a stack in an entry that is being
 * entered: contract S27, S86.
 */
#include "test/support/pushed.h"

#include <belay/observe.h>
#include <belay/stack.h>

#include <string.h>

TestSuite(stack_entering, .fini = check_clean, .timeout = 30);

/* Just when an enter has ended, before its entry is on the stack. */
struct told {
    belay_stack *outer;
    belay_stack *other;
    belay_stack *from;
    belay_stack *to; /* in the entry */
};

static void
move_when_entered(
    belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    const struct told *told = arg;

    (void)runtime;
    if (seen->event == BELAY_OBSERVED_SCOPE_ENTER
        && strcmp(seen->name, "holds_stack") == 0) {
        trace("%s", belay_code_name(belay_stack_move(told->from, told->to)));
    }
}

struct holds_stack {
    struct told *told;
};

BELAY_MANAGER(holds_stack)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->told->to)) {
        BELAY_AWAIT(belay_stack_enter(task, self->told->other,
            belay_timeout(task, belay_seconds(1)), NULL));
        BELAY_YIELD(NULL);
    }
    BELAY_END;
}

BELAY_ASYNC(told)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_observer_attach(
        belay_task_runtime(task), move_when_entered, self, NULL, NULL));
    BELAY_WITH (belay_stack_open(task, &self->outer)) {
        BELAY_WITH (belay_stack_open(task, &self->other)) {
            BELAY_WITH (belay_stack_open(task, &self->from)) {
                BELAY_AWAIT(belay_stack_enter(task, self->from,
                    belay_timeout(task, belay_seconds(1)), NULL));
                BELAY_AWAIT(belay_stack_enter(
                    task, self->outer, BELAY_ENTER(holds_stack, self), NULL));
                trace("%zu left", belay_stack_count(self->from));
            }
        }
    }
    BELAY_END;
}

Test(stack_entering, s86_it_moves_into_an_entry_that_has_just_been_entered)
{
    cr_expect(zero(int, RUN(told, .outer = NULL)));
    expect_trace("OK; 0 left");
}

/* While it is entered; `behind` is a scope inside of the one that moves. */
enum behind {
    NOTHING,
    IN_THE_ENTER, /* the enter itself has put it on a stack outside */
    BEFORE_IT,    /* it was on one when the enter began */
};

struct enters {
    enum behind behind;
    belay_stack *outer;
    belay_stack *other;
    belay_stack *from;
};

struct moves_itself {
    struct enters *enters;
    belay_stack *to;
};

BELAY_MANAGER(moves_itself)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->to)) {
        if (self->enters->behind == IN_THE_ENTER) {
            BELAY_AWAIT(push_timeout(task, self->enters->other));
        }
        trace("%s", try_move(self->enters->from, self->to));
        BELAY_YIELD(NULL);
    }
    BELAY_END;
}

BELAY_ASYNC(enters)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->outer)) {
        BELAY_WITH (belay_stack_open(task, &self->from)) {
            BELAY_WITH (belay_stack_open(task, &self->other)) {
                BELAY_AWAIT(push_timeout(task, self->from));
                if (self->behind == BEFORE_IT) {
                    BELAY_AWAIT(push_timeout(task, self->other));
                }
                BELAY_AWAIT(belay_stack_enter(task, self->outer,
                    BELAY_ENTER(moves_itself, .enters = self), NULL));
                trace("%zu left", belay_stack_count(self->from));
            }
        }
    }
    BELAY_END;
}

/* What was there before is still there if the enter fails, and is no reason to
 * undo what has moved.
 */
Test(stack_entering, s27_s86_a_scope_moves_unless_one_inside_was_there_before)
{
    cr_expect(zero(int, RUN(enters, .behind = NOTHING)));
    cr_expect(zero(int, RUN(enters, .behind = IN_THE_ENTER)));
    cr_expect(zero(int, RUN(enters, .behind = BEFORE_IT)));
    expect_trace("OK; 0 left; OK; 0 left; EMISNEST; 1 left");
}
