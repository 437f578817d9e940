/* test_stack_move.c - entries that move, and those that are forgotten: S86-S91. */
#include "test/support/pushed.h"

TestSuite(stack_move, .fini = check_clean, .timeout = 30);

/* ---- move and forget ---- */

struct moving {
    belay_stack *outer;
    belay_stack *inner;
};

BELAY_ASYNC(moving)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->outer)) {
        BELAY_CHECK(PUSH(self->outer, .name = "o"));
        BELAY_WITH (belay_stack_open(task, &self->inner)) {
            BELAY_CHECK(PUSH(self->inner, .name = "i1"));
            BELAY_AWAIT(belay_stack_enter(
                task, self->inner, BELAY_ENTER(probe, .name = "i2"), NULL));
            cr_expect(zero(int, belay_stack_move(self->inner, self->outer)));
            cr_expect(zero(sz, belay_stack_count(self->inner)));
            cr_expect(eq(sz, belay_stack_count(self->outer), 3));
            BELAY_CHECK(PUSH(self->inner, .name = "i3"));
        }
        trace("inner left");
    }
    BELAY_END;
}

Test(stack_move, s86_move_transfers_entries_and_the_source_stays_usable)
{
    cr_expect(eq(int, RUN(moving, .outer = NULL), 0));
    expect_trace(
        "enter i2; exit i3/ok; inner left; exit i2; exit i1/ok; exit o/ok");
}

static void
clear(void *arg)
{
    *(belay_stack **)arg = NULL;
}

struct receiver {
    belay_stack **stack;
    struct belay_event *ready;
    struct belay_event *moved;
};

BELAY_ASYNC(receiver)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, self->stack)) {
        BELAY_CHECK(belay_stack_defer(*self->stack, clear, self->stack, NULL));
        belay_event_set(self->ready);
        BELAY_AWAIT(belay_event_wait(task, self->moved));
        trace("receiver has %zu", belay_stack_count(*self->stack));
    }
    BELAY_END;
}

/* A generator manager with a probe round its yield: it has frames of its own
 * open while it is entered. */
struct nested {
    bool wait;
};

struct none {
    int unused;
};

static belay_next
none_enter(belay_task *task, void *self)
{
    (void)self;
    trace("open none");
    return belay_return(task, NULL);
}

static belay_next
none_exit(belay_task *task, void *self)
{
    (void)self;
    trace("close none");
    return belay_return(task, NULL);
}

static const belay_manager none = {
    {"none", NULL, sizeof(struct none), none_enter, 0}, none_exit};

BELAY_MANAGER(nested)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(none, 0)) {
        BELAY_YIELD(self);
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

static const struct belay_var colour = {"colour", NULL};

struct coloured {
    char *value;
};

BELAY_MANAGER(coloured)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(none, 0)) {
        BELAY_WITH (belay_var_open(task, &colour, self->value)) {
            BELAY_WITH (BELAY_ENTER(none, 0)) {
                BELAY_YIELD(self);
            }
        }
    }
    BELAY_END;
}

struct across {
    enum { FREE, BY_SCOPE, BY_VARIABLE, BY_ONE_INSIDE } pinned;
    belay_group *group;
    belay_stack *mine;
    belay_stack *other;
    belay_stack_entry *entry;
    struct belay_event ready;
    struct belay_event moved;
};

BELAY_ASYNC(across)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, receiver, .stack = &self->other,
            .ready = &self->ready, .moved = &self->moved));
        BELAY_AWAIT(belay_event_wait(task, &self->ready));
        BELAY_WITH (belay_stack_open(task, &self->mine)) {
            BELAY_CHECK(PUSH(self->mine, .name = "p"));
            BELAY_AWAIT(belay_stack_enter(
                task, self->mine, BELAY_ENTER(nested, .wait = true), NULL));
            if (self->pinned == BY_SCOPE) {
                BELAY_AWAIT(belay_stack_enter(task, self->mine,
                    belay_timeout(task, belay_seconds(1)), &self->entry));
            } else if (self->pinned == BY_VARIABLE) {
                BELAY_AWAIT(belay_stack_enter(task, self->mine,
                    belay_var_open(task, &colour, self), &self->entry));
            } else if (self->pinned == BY_ONE_INSIDE) {
                BELAY_AWAIT(belay_stack_enter(task, self->mine,
                    BELAY_ENTER(coloured, .value = NULL), &self->entry));
            }
            if (self->other == NULL) {
                BELAY_FAIL(BELAY_EPIPE, "the receiver is gone");
            }
            trace("move %s",
                belay_code_name(belay_stack_move(self->mine, self->other)));
            trace("%zu left", belay_stack_count(self->mine));
            if (self->entry != NULL) {
                cr_expect(eq(int, belay_stack_forget(self->mine, self->entry),
                    BELAY_EPINNED));
            }
            belay_event_set(&self->moved);
        }
    }
    BELAY_END;
}

Test(stack_move, s86_entries_may_move_to_another_task)
{
    program_other_code = BELAY_EPIPE; /* the receiver is gone */
    cr_expect(eq(int, RUN(across, .pinned = FREE), 0));
    expect_trace("open none; move OK; 0 left; receiver has 3; close none; "
                 "exit p/ok");
}

/* A variable of the task that was set before is not the entries'. */
struct in_colour {
    int unused;
};

BELAY_ASYNC(in_colour)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_var_open(task, &colour, self)) {
        BELAY_AWAIT(BELAY_CALL(across, .pinned = FREE));
    }
    BELAY_END;
}

Test(stack_move, s86_s87_so_they_may_where_a_variable_is_set)
{
    program_other_code = BELAY_EPIPE; /* the receiver is gone */
    cr_expect(zero(int, RUN(in_colour, .unused = 0)));
    expect_trace("open none; move OK; 0 left; receiver has 3; close none; "
                 "exit p/ok");
}

Test(stack_move, s87_pinned_entries_may_not)
{
    program_other_code = BELAY_EPIPE; /* the receiver is gone */
    cr_expect(eq(int, RUN(across, .pinned = BY_SCOPE), 0));
    expect_trace("open none; move EPINNED; 3 left; receiver has 1; "
                 "close none; exit p/ok");
    trace_clear();
    cr_expect(eq(int, RUN(across, .pinned = BY_VARIABLE), 0));
    expect_trace("open none; move EPINNED; 3 left; receiver has 1; "
                 "close none; exit p/ok");
    trace_clear();
    cr_expect(eq(int, RUN(across, .pinned = BY_ONE_INSIDE), 0));
    expect_trace("open none; open none; open none; move EPINNED; 3 left; "
                 "close none; close none; receiver has 1; close none; "
                 "exit p/ok");
}

/* Opens a stack on a stack of its own, and hands both on. */
struct giver {
    belay_stack *to;
    belay_stack **nested;
    belay_stack *own;
};

BELAY_ASYNC(giver)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->own)) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->own, belay_stack_open(task, self->nested), NULL));
        BELAY_CHECK(belay_stack_defer(*self->nested, note, text("n1"), NULL));
        BELAY_CHECK(belay_stack_move(self->own, self->to));
    }
    BELAY_END;
}

struct taker {
    belay_group *group;
    belay_stack *stack;
    belay_stack *nested;
};

BELAY_ASYNC(taker)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, giver, .to = self->stack,
                .nested = &self->nested));
        }
        BELAY_CHECK(belay_stack_defer(self->nested, note, text("n2"), NULL));
        trace("behind the giver");
    }
    BELAY_END;
}

Test(stack_move, s86_a_stack_on_a_stack_outlives_the_task_that_opened_it)
{
    cr_expect(eq(int, RUN(taker, .group = NULL), 0));
    expect_trace("behind the giver; n2; n1");
}

struct order {
    belay_stack *outer;
    belay_stack *inner;
    belay_stack_entry *entry;
};

BELAY_ASYNC(order)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->outer)) {
        BELAY_AWAIT(belay_stack_enter(task, self->outer,
            belay_timeout(task, belay_seconds(9)), &self->entry));
        cr_expect(eq(
            int, belay_stack_forget(self->outer, self->entry), BELAY_EPINNED));
        BELAY_WITH (belay_stack_open(task, &self->inner)) {
            BELAY_AWAIT(belay_stack_enter(task, self->inner,
                belay_timeout(task, belay_seconds(5)), NULL));
            /* The outer timeout is not the innermost scope. */
            BELAY_TRY(belay_stack_close(task, self->outer, NULL));
            trace("close %s", trace_result(belay_result(task)));
            /* It would have to exit before the inner one. */
            trace("move out of order %s",
                belay_code_name(belay_stack_move(self->outer, self->inner)));
            trace("move in order %s",
                belay_code_name(belay_stack_move(self->inner, self->outer)));
            cr_expect(eq(sz, belay_stack_count(self->outer), 2));
        }
        BELAY_TRY(belay_sleep(task, BELAY_FOREVER));
        trace("sleep %s", trace_result(belay_result(task)));
        if (belay_result(task)->code < 0) {
            return belay_pass(task);
        }
    }
    BELAY_END;
}

Test(stack_move, s27_scopes_on_stacks_cannot_be_closed_or_moved_out_of_order)
{
    cr_expect(eq(int, RUN(order, .outer = NULL), BELAY_ETIMEDOUT));
    expect_trace("close EMISNEST; move out of order EMISNEST; "
                 "move in order OK; sleep cancel");
}

struct around {
    belay_stack *stack;
    belay_group *group;
};

/* A timeout, a group's block, and a timeout inside of that: the newest one is
 * the innermost, but behind it comes one with the block inside.
 */
BELAY_ASYNC(around)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->stack, belay_timeout(task, belay_seconds(9)), NULL));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                belay_timeout(task, belay_seconds(5)), NULL));
            BELAY_TRY(belay_stack_close(task, self->stack, NULL));
            trace("close %s with %u entries", trace_result(belay_result(task)),
                (unsigned)belay_stack_count(self->stack));
        }
        trace("behind the group");
    }
    BELAY_END;
}

Test(stack_move, s27_a_stack_is_not_closed_around_a_block)
{
    /* The group ends around the newest timeout, too, and fails for it. */
    cr_expect(eq(int, RUN(around, .group = NULL), BELAY_EGROUP));
    expect_trace("close EMISNEST with 2 entries");
}

struct late {
    belay_stack *stack;
};

/* Its exit puts a scope on a stack that stays. */
BELAY_MANAGER(late)
{
    BELAY_BEGIN;
    BELAY_YIELD(NULL);
    BELAY_AWAIT(belay_stack_enter(
        task, self->stack, belay_timeout(task, belay_seconds(60)), NULL));
    BELAY_END;
}

struct behind_late {
    belay_cancel_scope *scope;
    belay_stack *stack;
};

BELAY_ASYNC(behind_late)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_WITH (BELAY_ENTER(late, .stack = self->stack)) {
                trace("body");
            }
            belay_cancel_scope_cancel(self->scope, NULL);
            BELAY_TRY(belay_checkpoint(task));
            trace("behind %s", trace_result(belay_result(task)));
        }
    }
    BELAY_END;
}

Test(stack_move, s99_s104_a_scope_that_outlives_the_exit_is_not_shielded)
{
    cr_expect(eq(int, RUN(behind_late, .scope = NULL), 0));
    expect_trace("body; behind cancel");
}

struct forgetting {
    belay_stack *stack;
    belay_stack_entry *entries[3];
};

BELAY_ASYNC(forgetting)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(belay_stack_defer(
            self->stack, note, text("one"), &self->entries[0]));
        BELAY_CHECK(belay_stack_defer(
            self->stack, note, text("two"), &self->entries[1]));
        BELAY_CHECK(belay_stack_defer(
            self->stack, note, text("three"), &self->entries[2]));
        BELAY_CHECK(belay_stack_forget(self->stack, self->entries[1]));
        BELAY_CHECK(belay_stack_defer(
            self->stack, note, text("four"), &self->entries[1]));
        BELAY_CHECK(belay_stack_forget(self->stack, self->entries[1]));
        cr_expect(eq(sz, belay_stack_count(self->stack), 2));
    }
    BELAY_END;
}

Test(stack_move, s91_one_entry_can_be_dropped_unrun)
{
    cr_expect(eq(int, RUN(forgetting, .stack = NULL), 0));
    expect_trace("three; one");
}

struct moved_on {
    belay_stack *first;
    belay_stack *second;
    belay_group *group;
};

struct takes {
    belay_stack **from; /* *from is NULL: it is over, in a trial */
    belay_stack *mine;
};

static void
forget_stack(void *arg)
{
    *(belay_stack **)arg = NULL;
}

BELAY_ASYNC(takes)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->mine)) {
        if (*self->from != NULL) {
            trace("%s",
                belay_code_name(belay_stack_move(*self->from, self->mine)));
        }
    }
    BELAY_END;
}

BELAY_ASYNC(moved_on)
{
    BELAY_BEGIN;
    BELAY_WITH (keeping_group(task, &self->group)) {
        BELAY_WITH (belay_stack_open(task, &self->first)) {
            BELAY_WITH (belay_stack_open(task, &self->second)) {
                BELAY_AWAIT(belay_stack_enter(task, self->second,
                    belay_move_on(task, belay_seconds(9), NULL), NULL));
                BELAY_CHECK(belay_stack_move(self->second, self->first));
            }
            BELAY_WITH (belay_defer(task, forget_stack, (void *)&self->first)) {
                BELAY_CHECK(
                    belay_spawn(self->group, takes, .from = &self->first));
                BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
            }
        }
    }
    BELAY_END;
}

Test(stack_move, s87_what_has_moved_within_its_task_is_pinned_as_before)
{
    cr_expect(eq(int, RUN(moved_on, .group = NULL), 0));
    expect_trace("EPINNED");
}

struct evicted {
    belay_stack *stack;
    belay_group *group;
};

/* The scope round it ends before the entry that is a scope too. */
BELAY_ASYNC(evicted)
{
    BELAY_BEGIN;
    BELAY_WITH (keeping_group(task, &self->group)) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_WITH (belay_suppressing(task, BELAY_CODES(BELAY_EMISNEST))) {
                BELAY_WITH (belay_move_on(task, belay_seconds(9), NULL)) {
                    BELAY_AWAIT(belay_stack_enter(task, self->stack,
                        belay_move_on(task, belay_seconds(9), NULL), NULL));
                }
            }
            BELAY_CHECK(belay_stack_defer(self->stack, note, text("n"), NULL));
            BELAY_WITH (belay_defer(task, forget_stack, (void *)&self->stack)) {
                BELAY_CHECK(
                    belay_spawn(self->group, takes, .from = &self->stack));
                BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
            }
        }
        trace("behind");
    }
    BELAY_END;
}

Test(stack_move, s87_what_was_evicted_pins_its_stack_no_more)
{
    cr_expect(eq(int, RUN(evicted, .group = NULL), 0));
    expect_trace("OK; n; behind");
}

/* A block lies between a scope and the stack that it would move to: it would
 * still be open when the scope's turn comes.
 */
struct inward {
    belay_stack *outer;
    belay_stack *near;
    belay_stack *far;
};

BELAY_ASYNC(inward)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->outer)) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->outer, belay_timeout(task, belay_seconds(1)), NULL));
        BELAY_WITH (belay_stack_open(task, &self->near)) {
            BELAY_WITH (belay_timeout(task, belay_seconds(5))) {
                BELAY_WITH (belay_stack_open(task, &self->far)) {
                    trace("far %s", belay_code_name(belay_stack_move(
                                        self->outer, self->far)));
                    BELAY_CHECK(belay_stack_move(self->outer, self->near));
                }
            }
            trace("near %zu", belay_stack_count(self->near));
        }
    }
    BELAY_END;
}

Test(stack_move, s87_a_scope_does_not_move_into_a_block_inside_of_it)
{
    cr_expect(eq(int, RUN(inward, .outer = NULL), 0));
    expect_trace("far EMISNEST; near 1");
}

/* Scopes round a stack are closed early, and others opened in their place: a
 * block among those is inside of the stack, though no deeper than what was
 * round it.
 */
struct replaced {
    int round; /* scopes that were round the older stack */
    belay_stack *holder;
    belay_stack_entry *entries[3];
    belay_stack *older;
    belay_stack *newer;
    int i;
};

BELAY_ASYNC(replaced)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->holder)) {
        for (self->i = 0; self->i < self->round; self->i++) {
            BELAY_AWAIT(belay_stack_enter(task, self->holder,
                belay_timeout(task, belay_seconds(9)),
                &self->entries[self->i]));
        }
        BELAY_WITH (belay_stack_open(task, &self->older)) {
            while (self->i-- > 0) {
                BELAY_AWAIT(belay_stack_close_entry(
                    task, self->holder, self->entries[self->i], NULL));
            }
            BELAY_WITH (belay_stack_open(task, &self->newer)) {
                BELAY_AWAIT(belay_stack_enter(task, self->newer,
                    belay_timeout(task, belay_seconds(1)), NULL));
                BELAY_WITH (belay_timeout(task, belay_seconds(5))) {
                    trace("move %s", belay_code_name(belay_stack_move(
                                         self->newer, self->older)));
                }
            }
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
    }
    BELAY_END;
}

Test(stack_move, s86_what_took_the_place_of_a_scope_round_a_stack_is_inside)
{
    for (int round = 0; round <= 3; round++) {
        cr_expect(eq(int, RUN(replaced, .round = round), BELAY_ETIMEDOUT));
    }
    expect_trace("move OK; move OK; move OK; move OK");
}

Test(stack_move, s74_s86_each_entry_runs_once_whatever_happens)
{
    program_other_code = BELAY_EPIPE; /* the receiver is gone */
    sweep(&(const struct program){.function = &moving,
        .arguments = &(const struct moving){.outer = NULL}});
    sweep(&(const struct program){.function = &across,
        .arguments = &(const struct across){.pinned = FREE}});
    sweep(&(const struct program){.function = &across,
        .arguments = &(const struct across){.pinned = BY_SCOPE}});
    sweep(&(const struct program){.function = &across,
        .arguments = &(const struct across){.pinned = BY_ONE_INSIDE}});
    sweep(&(const struct program){
        .function = &order, .arguments = &(const struct order){.outer = NULL}});
}
