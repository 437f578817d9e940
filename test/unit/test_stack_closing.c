/* test_stack_closing.c - what moves onto a stack that is being closed inside
 * of a block: contract S27, S86, S87.
 */
#include "test/support/program.h"

#include <belay/stack.h>

TestSuite(stack_closing, .fini = check_clean, .timeout = 30);

/* Who moves it, and whereto. */
enum how {
    BY_EXIT,
    BY_CALLBACK,
    ONTO_ONE_IN_IT,
    BEHIND_ITS_BEGINNING, /* what the exit itself has opened */
    FROM_A_BLOCK,         /* the same, in a block that ends before */
};

struct moves {
    belay_stack *from;
    belay_stack *to;
};

static void
move(void *arg)
{
    const struct moves *moves = arg;

    trace("%s", belay_code_name(belay_stack_move(moves->from, moves->to)));
}

struct mover {
    struct moves *moves;
    enum how how;
};

BELAY_MANAGER(mover)
{
    BELAY_BEGIN;
    BELAY_YIELD(NULL);
    if (self->how >= BEHIND_ITS_BEGINNING) {
        BELAY_AWAIT(belay_stack_enter(task, self->moves->from,
            BELAY_ENTER(probe, .name = "quiet"), NULL));
        BELAY_AWAIT(belay_stack_enter(task, self->moves->from,
            belay_timeout(task, belay_seconds(9)), NULL));
    }
    if (self->how == FROM_A_BLOCK) {
        BELAY_WITH (belay_timeout(task, belay_seconds(5))) {
            BELAY_WITH (belay_defer(task, move, self->moves)) {
            }
        }
    } else {
        move(self->moves);
    }
    BELAY_END;
}

struct closing {
    enum how how;
    belay_stack *from;
    belay_stack *closed;
    belay_stack *in_it;
    struct moves moves;
    int i;
};

BELAY_ASYNC(closing)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->from)) {
        BELAY_WITH (belay_stack_open(task, &self->closed)) {
            BELAY_AWAIT(belay_stack_enter(task, self->closed,
                belay_stack_open(task, &self->in_it), NULL));
            self->moves = (struct moves){self->from,
                self->how == ONTO_ONE_IN_IT ? self->in_it : self->closed};
            if (self->how == BY_CALLBACK) {
                BELAY_CHECK(
                    belay_stack_defer(self->closed, move, &self->moves, NULL));
                BELAY_AWAIT(belay_stack_enter(/* behind an exit */
                    task, self->closed, belay_null(task, NULL), NULL));
            } else {
                BELAY_AWAIT(belay_stack_enter(task, self->closed,
                    BELAY_ENTER(mover, .moves = &self->moves, .how = self->how),
                    NULL));
            }
            if (self->how < BEHIND_ITS_BEGINNING) {
                BELAY_AWAIT(belay_stack_enter(task, self->from,
                    belay_timeout(task, belay_seconds(9)), NULL));
            }
            for (self->i = 0; self->how == FROM_A_BLOCK && self->i < 2;
                 self->i++) { /* what is as deep later is another one */
                BELAY_AWAIT(belay_stack_enter(task, self->closed,
                    belay_timeout(task, belay_seconds(9)), NULL));
            }
            if (self->how == FROM_A_BLOCK) {
                BELAY_AWAIT(belay_stack_close(task, self->closed, NULL));
            } else {
                BELAY_WITH (belay_timeout(task, belay_seconds(5))) {
                    BELAY_AWAIT(belay_stack_close(task, self->closed, NULL));
                }
            }
            trace("closed");
        }
    }
    BELAY_END;
}

Test(stack_closing, s27_s87_a_scope_does_not_move_into_a_close_inside_of_it)
{
    for (int how = BY_EXIT; how <= ONTO_ONE_IN_IT; how++) {
        trace_clear();
        cr_expect(eq(int, RUN(closing, .how = (enum how)how), 0));
        expect_trace("EMISNEST; closed");
    }
}

Test(stack_closing, s86_s89_what_the_exit_has_opened_moves_and_runs_next)
{
    for (int how = BEHIND_ITS_BEGINNING; how <= FROM_A_BLOCK; how++) {
        trace_clear();
        cr_expect(eq(int, RUN(closing, .how = (enum how)how), 0));
        expect_trace("enter quiet; OK; exit quiet; closed");
    }
}

struct between {
    belay_stack *from;
    belay_stack *other;
    belay_stack *closed;
    struct moves moves;
};

BELAY_ASYNC(between)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->from)) {
        BELAY_WITH (belay_stack_open(task, &self->other)) {
            BELAY_AWAIT(belay_stack_enter(
                task, self->from, belay_timeout(task, belay_seconds(9)), NULL));
            BELAY_AWAIT(belay_stack_enter(task, self->other,
                belay_timeout(task, belay_seconds(9)), NULL));
            BELAY_WITH (belay_stack_open(task, &self->closed)) {
                self->moves = (struct moves){self->from, self->closed};
                BELAY_AWAIT(belay_stack_enter(task, self->closed,
                    BELAY_ENTER(mover, .moves = &self->moves, .how = BY_EXIT),
                    NULL));
                BELAY_AWAIT(belay_stack_close(task, self->closed, NULL));
                trace("closed");
            }
        }
    }
    BELAY_END;
}

/* It would have to be undone for what has moved, which exits at once. */
Test(stack_closing, s27_nor_does_one_with_one_of_another_stack_inside_of_it)
{
    cr_expect(zero(int, RUN(between, .from = NULL)));
    expect_trace("EMISNEST; closed");
}

/* Between the call that closes an entry and the beginning of its exit. */
struct window {
    belay_stack *from;
    belay_stack *stack;
    belay_stack *to;
    belay_stack_entry *entry;
};

struct holds_stack {
    belay_stack **ret;
};

BELAY_MANAGER(holds_stack)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, self->ret)) {
        BELAY_YIELD(NULL);
    }
    BELAY_END;
}

BELAY_ASYNC(window)
{
    belay_next token;

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->from)) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                BELAY_ENTER(holds_stack, .ret = &self->to), &self->entry));
            BELAY_AWAIT(belay_stack_enter(
                task, self->from, belay_timeout(task, belay_seconds(9)), NULL));
            BELAY_WITH (belay_timeout(task, belay_seconds(5))) {
                token = belay_stack_close_entry(
                    task, self->stack, self->entry, NULL);
                trace("%s",
                    belay_code_name(belay_stack_move(self->from, self->to)));
                BELAY_AWAIT(token);
            }
            trace("closed");
        }
    }
    BELAY_END;
}

Test(stack_closing, s27_s87_nor_into_one_that_is_about_to_begin)
{
    cr_expect(eq(int, RUN(window, .from = NULL), 0));
    expect_trace("EMISNEST; closed");
}

Test(stack_closing, s75_s136_whatever_is_refused_or_cancelled)
{
    for (int how = BY_EXIT; how <= FROM_A_BLOCK; how++) {
        sweep(&(const struct program){.function = &closing,
            .arguments = &(const struct closing){.how = (enum how)how}});
    }
    sweep(&(const struct program){.function = &window,
        .arguments = &(const struct window){.from = NULL}});
}
