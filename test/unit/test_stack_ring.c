/* test_stack_ring.c - exit stacks that lie in entries of others: which moves
 * would end in themselves, whose they are, and the order of scopes: S27-S90.
 */
#include "test/support/pushed.h"

#include <belay/sync.h>

TestSuite(stack_ring, .fini = check_clean, .timeout = 30);

/* ---- onto itself ---- */

struct ring {
    belay_stack *own;
    belay_stack *nested;
    belay_stack *deepest;
};

BELAY_ASYNC(ring)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->own)) {
        BELAY_CHECK(belay_stack_defer(self->own, note, text("own"), NULL));
        BELAY_AWAIT(push_stack(task, self->own, &self->nested, NULL));
        BELAY_AWAIT(push_stack(task, self->nested, &self->deepest, NULL));
        BELAY_CHECK(belay_stack_defer(self->deepest, note, text("deep"), NULL));
        trace("%s %s", try_move(self->own, self->nested),
            try_move(self->own, self->deepest));
        trace("%s", try_move(self->deepest, self->own));
    }
    BELAY_END;
}

Test(stack_ring, s75_s86_a_stack_does_not_move_into_its_own_entries)
{
    cr_expect(zero(int, RUN(ring, .own = NULL)));
    expect_trace("EMISNEST EMISNEST; OK; deep; own");
}

/* ---- whose it is ---- */

struct handed {
    belay_stack *taken; /* NULL: it is gone */
    belay_stack *nested;
    struct belay_event moved;
};

struct hander {
    struct handed *handed;
    belay_stack *own;
};

BELAY_ASYNC(hander)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->own)) {
        BELAY_AWAIT(push_stack(task, self->own, &self->handed->nested, NULL));
        if (self->handed->taken != NULL) {
            BELAY_CHECK(belay_stack_move(self->own, self->handed->taken));
            BELAY_TRY(push_timeout(task, self->handed->nested));
            trace("giver's enter %s", trace_result(belay_result(task)));
            belay_event_set(&self->handed->moved);
        }
    }
    BELAY_END;
}

struct heir {
    struct handed handed;
    belay_group *group;
};

BELAY_ASYNC(heir)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->handed.taken)) {
        BELAY_CHECK(belay_stack_defer(self->handed.taken, clear_stack,
            (void *)&self->handed.taken, NULL));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(
                belay_spawn(self->group, hander, .handed = &self->handed));
        }
        BELAY_TRY(push_timeout(task, self->handed.nested));
        trace("taker's enter %s", trace_result(belay_result(task)));
        BELAY_TRY(belay_stack_close(task, self->handed.nested, NULL));
        trace("close %s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

Test(stack_ring, s90_it_is_the_tasks_that_has_the_outermost_one)
{
    cr_expect(zero(int, RUN(heir, .group = NULL)));
    expect_trace("giver's enter EOWNER; taker's enter ok; close ok");
}

/* ---- the order of scopes ---- */

struct blocked {
    belay_stack *own;
    belay_stack *nested;
};

BELAY_ASYNC(blocked)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->own)) {
        BELAY_AWAIT(push_stack(task, self->own, &self->nested, NULL));
        BELAY_AWAIT(push_timeout(task, self->nested));
        BELAY_WITH (belay_timeout(task, belay_seconds(1))) {
            BELAY_TRY(belay_stack_close(task, self->own, NULL));
            trace("in the block %s", trace_result(belay_result(task)));
        }
        BELAY_TRY(belay_stack_close(task, self->own, NULL));
        trace("behind it %s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

Test(stack_ring, s27_a_scope_on_it_is_not_closed_round_a_block)
{
    cr_expect(zero(int, RUN(blocked, .own = NULL)));
    expect_trace("in the block EMISNEST; behind it ok");
}

/* A timeout round a stack round the yield, which can be reached. */
struct timed {
    belay_stack **stack;
};

BELAY_MANAGER(timed)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_seconds(5))) {
        BELAY_WITH (belay_stack_open(task, self->stack)) {
            BELAY_YIELD(NULL);
        }
    }
    BELAY_END;
}

struct inward {
    belay_stack *first;
    belay_stack *second;
    belay_stack *inside;
};

BELAY_ASYNC(inward)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->second)) {
        BELAY_WITH (belay_stack_open(task, &self->first)) {
            BELAY_AWAIT(push_timeout(task, self->first));
            BELAY_AWAIT(belay_stack_enter(task, self->second,
                BELAY_ENTER(timed, .stack = &self->inside), NULL));
            trace("%s", try_move(self->first, self->inside));
            BELAY_AWAIT(push_timeout(task, self->inside));
            BELAY_AWAIT(belay_stack_close(task, self->inside, NULL));
            /* What was on it is not reached for any more. */
            BELAY_AWAIT(belay_stack_close(task, self->second, NULL));
        }
    }
    BELAY_END;
}

Test(stack_ring, s27_s87_a_scope_does_not_move_into_an_entrys_scope_inside_it)
{
    program_other_code = BELAY_EMISNEST; /* the block of `first` ends before */
    cr_expect(zero(int, RUN(inward, .first = NULL)));
    expect_trace("EMISNEST");
}

/* The exit of an entry runs inside of a block that was opened later than the
 * stack round its yield: there nothing from outside of that block may go.
 */
struct greedy {
    belay_stack *from;
    belay_stack *stack;
};

BELAY_MANAGER(greedy)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_YIELD(NULL);
        trace("%s", try_move(self->from, self->stack));
    }
    BELAY_END;
}

struct late {
    belay_stack *from;
    belay_stack *first;
    belay_stack *second;
};

BELAY_ASYNC(late)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->from)) {
        BELAY_WITH (belay_stack_open(task, &self->first)) {
            BELAY_AWAIT(belay_stack_enter(task, self->first,
                BELAY_ENTER(greedy, .from = self->from), NULL));
            BELAY_AWAIT(push_timeout(task, self->from));
            BELAY_WITH (belay_timeout(task, belay_seconds(5))) {
                BELAY_WITH (belay_stack_open(task, &self->second)) {
                    BELAY_CHECK(belay_stack_move(self->first, self->second));
                }
            }
        }
    }
    BELAY_END;
}

Test(stack_ring, s27_s87_nor_into_an_exit_that_runs_inside_it)
{
    cr_expect(zero(int, RUN(late, .from = NULL)));
    expect_trace("EMISNEST");
}

/* An enter that closes a scope on another stack before it opens its own: as
 * deep as the one that was.
 */
struct instead {
    belay_stack *first;
};

BELAY_MANAGER(instead)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_stack_close(task, self->first, NULL));
    BELAY_WITH (belay_timeout(task, belay_seconds(5))) {
        BELAY_YIELD(NULL);
    }
    BELAY_END;
}

struct replaced {
    belay_stack *second;
    belay_stack *first;
    belay_stack_entry *entry;
};

BELAY_ASYNC(replaced)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->second)) {
        BELAY_WITH (belay_stack_open(task, &self->first)) {
            BELAY_AWAIT(push_timeout(task, self->first));
            BELAY_AWAIT(belay_stack_enter(task, self->second,
                BELAY_ENTER(instead, .first = self->first), &self->entry));
        }
        trace("%s", try_forget(self->second, self->entry));
        BELAY_AWAIT(belay_stack_close(task, self->second, NULL));
    }
    BELAY_END;
}

Test(stack_ring, s87_an_enter_keeps_its_scopes_though_it_has_closed_others)
{
    cr_expect(zero(int, RUN(replaced, .first = NULL)));
    expect_trace("EPINNED");
}

/* ---- whatever happens ---- */

Test(stack_ring, s75_s136_whatever_is_refused_or_cancelled)
{
    program_other_code = BELAY_EMISNEST; /* of `inward`, as above */
    SWEEP(heir, .group = NULL);
    SWEEP(blocked, .own = NULL);
    SWEEP(inward, .first = NULL);
    SWEEP(late, .from = NULL);
}

/* ---- an entry with a scope of its own round a stack ---- */

struct rounded {
    belay_stack **in;
    bool filled;
};

BELAY_MANAGER(rounded)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, self->in)) {
        if (self->filled) {
            BELAY_AWAIT(push_timeout(task, *self->in));
        }
        BELAY_WITH (belay_timeout(task, belay_seconds(9))) {
            BELAY_YIELD(NULL);
        }
    }
    BELAY_END;
}

struct shut {
    belay_stack *own;
    belay_stack *in;
};

BELAY_ASYNC(shut)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->own)) {
        BELAY_AWAIT(belay_stack_enter(task, self->own,
            BELAY_ENTER(rounded, .in = &self->in, .filled = true), NULL));
        BELAY_TRY(belay_stack_close(task, self->in, NULL));
        trace("%s", trace_result(belay_result(task)));
        BELAY_AWAIT(push_timeout(task, self->in));
        BELAY_TRY(belay_stack_close(task, self->in, NULL));
        trace("%s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

/* To leave the newest scope first would undo the entry that the stack is in. */
Test(stack_ring, s93_s97_a_stack_does_not_undo_what_it_lies_in)
{
    /* The last one is left open in the entry's own block. */
    cr_expect(eq(int, RUN(shut, .own = NULL), BELAY_EMISNEST));
    expect_trace("EMISNEST; EMISNEST");
}

struct shifted {
    belay_stack *own;
    belay_stack *other;
    belay_stack *in;
};

BELAY_ASYNC(shifted)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->own)) {
        BELAY_WITH (belay_stack_open(task, &self->other)) {
            BELAY_AWAIT(push_timeout(task, self->other));
            BELAY_WITH (belay_timeout(task, belay_seconds(9))) {
                BELAY_AWAIT(belay_stack_enter(task, self->own,
                    BELAY_ENTER(rounded, .in = &self->in), NULL));
                trace("%s", try_move(self->other, self->in));
            }
            trace("%s", trace_result(belay_result(task)));
        }
    }
    BELAY_END;
}

/* The block that the entry is evicted by is inside of what would move. */
Test(stack_ring, s86_s97_nothing_moves_to_where_it_would_end_too_early)
{
    cr_expect(eq(int, RUN(shifted, .own = NULL), BELAY_EMISNEST));
    expect_trace("EMISNEST");
}

/* ---- while one entry is closed ---- */

struct slow {
    struct belay_event *begun;
    struct belay_event *go;
};

BELAY_MANAGER(slow)
{
    BELAY_BEGIN;
    BELAY_TRY_YIELD(NULL);
    belay_event_set(self->begun);
    BELAY_AWAIT(belay_event_wait(task, self->go));
    trace("closed");
    BELAY_END;
}

struct shared {
    belay_stack *own;
    belay_stack *nested;
    belay_stack *taken;
    belay_stack_entry *outer;
    belay_stack_entry *one;
    struct belay_event begun;
    struct belay_event go;
};

struct closer {
    struct shared *shared;
};

BELAY_ASYNC(closer)
{
    struct shared *shared = self->shared;

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &shared->own)) {
        BELAY_AWAIT(
            push_stack(task, shared->own, &shared->nested, &shared->outer));
        BELAY_AWAIT(belay_stack_enter(task, shared->nested,
            BELAY_ENTER(slow, .begun = &shared->begun, .go = &shared->go),
            &shared->one));
        BELAY_AWAIT(
            belay_stack_close_entry(task, shared->nested, shared->one, NULL));
        BELAY_CHECK(belay_stack_forget(shared->own, shared->outer));
    }
    BELAY_END;
}

struct watches {
    struct shared shared;
    belay_group *group;
};

BELAY_ASYNC(watches)
{
    struct shared *shared = &self->shared;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, closer, .shared = shared));
        BELAY_AWAIT(belay_event_wait(task, &shared->begun));
        BELAY_WITH (belay_stack_open(task, &shared->taken)) {
            trace("%s %s", try_forget(shared->own, shared->outer),
                try_move(shared->own, shared->taken));
        }
        belay_event_set(&shared->go);
    }
    BELAY_END;
}

Test(stack_ring, s91_what_holds_it_stays_while_an_entry_is_closed)
{
    cr_expect(zero(int, RUN(watches, .group = NULL)));
    expect_trace("EBUSY EBUSY; closed");
}

/* ---- a stack whose exit has run, a turn before it is gone ---- */

struct tail {
    belay_stack *own;
    belay_stack *nested;
    int pushed;
    int ran;
    bool over;
};

static void
count_run(void *arg)
{
    ((struct tail *)arg)->ran++;
}

struct holder {
    struct tail *tail;
};

BELAY_ASYNC(holder)
{
    struct tail *tail = self->tail;

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &tail->own)) {
        BELAY_CHECK(belay_stack_defer(
            tail->own, clear_stack, (void *)&tail->nested, NULL));
        BELAY_AWAIT(push_stack(task, tail->own, &tail->nested, NULL));
        BELAY_AWAIT(belay_checkpoint(task));
    }
    tail->over = true;
    BELAY_END;
}

struct pusher {
    struct tail *tail;
    int i;
};

BELAY_ASYNC(pusher)
{
    struct tail *tail = self->tail;

    BELAY_BEGIN;
    for (self->i = 0; self->i < 100 && !tail->over; self->i++) {
        if (tail->nested != NULL && belay_stack_count(tail->own) == 1
            && belay_stack_defer(tail->nested, count_run, tail, NULL) == 0) {
            tail->pushed++;
        }
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

struct tails {
    struct tail *tail;
    belay_group *group;
};

BELAY_ASYNC(tails)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, holder, .tail = self->tail));
        BELAY_CHECK(belay_spawn(self->group, pusher, .tail = self->tail));
    }
    BELAY_END;
}

Test(stack_ring, s88_nothing_is_taken_that_nobody_would_run)
{
    for (uint32_t budget = 1; budget < 8; budget++) {
        struct tail tail = {.own = NULL};

        cr_expect(
            zero(int, belay_run(&tails, &(const struct tails){.tail = &tail},
                          BELAY_RUNTIME_OPTS(.allocator = &test_allocator,
                              .step_budget = budget),
                          NULL)));
        cr_expect(eq(int, tail.pushed, tail.ran));
    }
}
