/* test_stack_entry.c - one entry of an exit stack, closed early: S91. */
#include "test/support/pushed.h"

TestSuite(stack_entry, .fini = check_clean, .timeout = 30);

/* A generator manager with a block round its yield. */
struct held {
    int unused;
};

BELAY_MANAGER(held)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, note, text("h"))) {
        BELAY_YIELD(NULL);
    }
    BELAY_END;
}

struct early {
    belay_stack *stack;
    belay_stack_entry *entries[4];
};

BELAY_ASYNC(early)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(PUSH(self->stack, .name = "oldest"));
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            BELAY_ENTER(probe, .name = "a", .exit_waits = 1),
            &self->entries[0]));
        BELAY_CHECK(
            belay_stack_defer(self->stack, note, text("b"), &self->entries[1]));
        BELAY_CHECK(belay_stack_push(self->stack, &pushed,
            &(const struct probe){.name = "c", .exit_code = BELAY_EPIPE},
            &self->entries[2]));
        BELAY_AWAIT(belay_stack_enter(
            task, self->stack, BELAY_ENTER(held, 0), &self->entries[3]));
        BELAY_AWAIT(
            belay_stack_close_entry(task, self->stack, self->entries[0], NULL));
        BELAY_AWAIT(
            belay_stack_close_entry(task, self->stack, self->entries[1], NULL));
        BELAY_TRY(
            belay_stack_close_entry(task, self->stack, self->entries[2], NULL));
        trace("c %s", trace_result(belay_result(task)));
        BELAY_AWAIT(
            belay_stack_close_entry(task, self->stack, self->entries[3], NULL));
        trace("%zu left", belay_stack_count(self->stack));
    }
    BELAY_END;
}

Test(stack_entry, s91_one_entry_can_be_closed_early)
{
    program_other_code = BELAY_EPIPE; /* c, where the block ends before */
    cr_expect(zero(int, RUN(early, .stack = NULL)));
    expect_trace("enter a; exit a; b; exit c/ok; c EPIPE; "
                 "h; 1 left; exit oldest/ok");
}

struct answering {
    belay_stack *stack;
    belay_stack_entry *entries[3];
};

BELAY_ASYNC(answering)
{
    static const struct belay_result outcome = {.code = BELAY_EPIPE};

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(belay_stack_push(self->stack, &pushed,
            &(const struct probe){.name = "passes"}, &self->entries[0]));
        BELAY_CHECK(belay_stack_push(self->stack, &pushed,
            &(const struct probe){.name = "suppresses", .exit_suppress = true},
            &self->entries[1]));
        BELAY_CHECK(belay_stack_defer(
            self->stack, note, text("callback"), &self->entries[2]));
        BELAY_TRY(belay_stack_close_entry(
            task, self->stack, self->entries[0], &outcome));
        trace("%s", trace_result(belay_result(task)));
        BELAY_TRY(belay_stack_close_entry(
            task, self->stack, self->entries[1], &outcome));
        trace("%s", trace_result(belay_result(task)));
        BELAY_TRY(belay_stack_close_entry(
            task, self->stack, self->entries[2], &outcome));
        trace("%s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

Test(stack_entry, s76_s91_its_exit_sees_the_outcome_and_answers)
{
    cr_expect(zero(int, RUN(answering, .stack = NULL)));
    expect_trace("exit passes/EPIPE; EPIPE; exit suppresses/EPIPE; ok; "
                 "callback; EPIPE");
}

struct misnested {
    belay_group *group;
    belay_stack *stack;
    belay_stack_entry *entries[2];
};

struct stranger {
    belay_stack *stack;
    belay_stack_entry *entry;
};

BELAY_ASYNC(stranger)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_stack_close_entry(task, self->stack, self->entry, NULL));
    trace("stranger %s", trace_result(belay_result(task)));
    BELAY_END;
}

BELAY_ASYNC(misnested)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            belay_timeout(task, belay_seconds(9)), &self->entries[0]));
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            belay_timeout(task, belay_seconds(5)), &self->entries[1]));
        BELAY_TRY(
            belay_stack_close_entry(task, self->stack, self->entries[0], NULL));
        trace("outer %s", trace_result(belay_result(task)));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, stranger, .stack = self->stack,
                .entry = self->entries[1]));
            BELAY_TRY(belay_stack_close_entry(
                task, self->stack, self->entries[1], NULL));
            trace("round a block %s", trace_result(belay_result(task)));
        }
        BELAY_AWAIT(
            belay_stack_close_entry(task, self->stack, self->entries[1], NULL));
        BELAY_AWAIT(
            belay_stack_close_entry(task, self->stack, self->entries[0], NULL));
        trace("in order, %zu left", belay_stack_count(self->stack));
    }
    BELAY_END;
}

Test(stack_entry, s27_s91_but_not_out_of_order_nor_by_another_task)
{
    cr_expect(zero(int, RUN(misnested, .group = NULL)));
    expect_trace("outer EMISNEST; round a block EMISNEST; stranger EOWNER; "
                 "in order, 0 left");
}

/* A callback, and an exit, that reach for their own entry. */
struct itself {
    belay_stack *stack;
    belay_stack_entry *entry;
};

static void
forget_itself(void *arg)
{
    const struct itself *self = arg;

    trace("callback %s",
        belay_code_name(belay_stack_forget(self->stack, self->entry)));
}

static belay_next
itself_again(belay_task *task, void *self)
{
    (void)self;
    trace("close %s", trace_result(belay_result(task)));
    return belay_return(task, NULL);
}

static belay_next
itself_exit(belay_task *task, void *arg)
{
    const struct itself *self = *(struct itself **)arg;

    trace("exit %s",
        belay_code_name(belay_stack_forget(self->stack, self->entry)));
    return belay_then(task, itself_again,
        belay_stack_close_entry(task, self->stack, self->entry, NULL));
}

static const belay_manager all_exit = {
    {"itself", NULL, sizeof(struct itself *), enter_nothing, 0}, itself_exit};

BELAY_ASYNC(itself)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(
            belay_stack_defer(self->stack, forget_itself, self, &self->entry));
        BELAY_AWAIT(
            belay_stack_close_entry(task, self->stack, self->entry, NULL));
        BELAY_CHECK(belay_stack_push(
            self->stack, &all_exit, &(struct itself *){self}, &self->entry));
        BELAY_AWAIT(
            belay_stack_close_entry(task, self->stack, self->entry, NULL));
        BELAY_CHECK(
            belay_stack_defer(self->stack, forget_itself, self, &self->entry));
    }
    BELAY_END;
}

Test(stack_entry, s74_s91_an_entry_that_runs_is_neither_dropped_nor_closed)
{
    cr_expect(zero(int, RUN(itself, .stack = NULL)));
    expect_trace("callback EBUSY; exit EBUSY; close EBUSY; callback EBUSY");
}

/* With a walk over the scopes that are open, for each, this would take minutes.
 */
#define MANY 100000

struct many {
    belay_stack *stack;
    belay_stack_entry *entries[MANY];
    int32_t i;
};

static struct many many;

/* A shield on a stack of its own. */
struct own_stack {
    belay_stack *stack;
};

BELAY_MANAGER(own_stack)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->stack, belay_shield(task, BELAY_FOREVER), NULL));
        BELAY_YIELD(NULL);
    }
    BELAY_END;
}

struct many_scopes {
    struct many *many;
};

struct many_refused {
    struct many *many;
};

BELAY_ASYNC(many_scopes)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->many->stack)) {
        for (self->many->i = 0; self->many->i < MANY; self->many->i++) {
            BELAY_AWAIT(belay_stack_enter(task, self->many->stack,
                self->many->i % 2 == 0 ? belay_shield(task, BELAY_FOREVER)
                                       : BELAY_ENTER(own_stack, .stack = NULL),
                &self->many->entries[self->many->i]));
        }
        while (self->many->i-- > 0) {
            BELAY_AWAIT(belay_stack_close_entry(task, self->many->stack,
                self->many->entries[self->many->i], NULL));
        }
        trace("%zu left", belay_stack_count(self->many->stack));
    }
    BELAY_END;
}

Test(stack_entry, s91_entering_and_closing_a_scope_takes_no_look_at_the_others)
{
    program_unswept = true; /* so many of the same places to fail at */
    cr_expect(zero(int, RUN(many_scopes, .many = &many)));
    expect_trace("0 left");
}

/* Nor does it take one to say that a scope cannot leave. */
BELAY_ASYNC(many_refused)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->many->stack)) {
        for (self->many->i = 0; self->many->i < MANY; self->many->i++) {
            BELAY_AWAIT(belay_stack_enter(task, self->many->stack,
                belay_shield(task, BELAY_FOREVER),
                &self->many->entries[self->many->i]));
        }
        BELAY_WITH (belay_shield(task, BELAY_FOREVER)) {
            for (self->many->i = 0; self->many->i < MANY; self->many->i++) {
                BELAY_TRY(belay_stack_close_entry(task, self->many->stack,
                    self->many->entries[self->many->i], NULL));
                cr_assert(eq(int, belay_result(task)->code, BELAY_EMISNEST));
            }
        }
        trace("%zu left", belay_stack_count(self->many->stack));
    }
    BELAY_END;
}

Test(stack_entry, s91_refusing_to_close_a_scope_takes_no_look_at_the_others)
{
    program_unswept = true;
    cr_expect(zero(int, RUN(many_refused, .many = &many)));
    expect_trace("100000 left");
}

struct moved {
    belay_stack *from;
    belay_stack *to;
    belay_stack_entry *entry;
};

BELAY_ASYNC(moved)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->to)) {
        BELAY_WITH (belay_stack_open(task, &self->from)) {
            BELAY_AWAIT(belay_stack_enter(task, self->from,
                BELAY_ENTER(probe, .name = "it"), &self->entry));
            BELAY_CHECK(belay_stack_move(self->from, self->to));
            trace("forget %s",
                belay_code_name(belay_stack_forget(self->from, self->entry)));
            BELAY_TRY(
                belay_stack_close_entry(task, self->from, self->entry, NULL));
            trace("close %s", belay_code_name(belay_result(task)->code));
        }
        BELAY_AWAIT(belay_stack_close_entry(task, self->to, self->entry, NULL));
        trace("closed");
    }
    BELAY_END;
}

Test(stack_entry, s86_s91_an_entry_that_has_moved_is_the_other_stacks)
{
    cr_expect(zero(int, RUN(moved, .from = NULL)));
    expect_trace("enter it; forget EINVAL; close EINVAL; exit it; closed");
}

Test(stack_entry, s91_s136_whatever_is_refused_or_cancelled)
{
    program_other_code = BELAY_EPIPE; /* as above */
    SWEEP(early, .stack = NULL);
    SWEEP(misnested, .group = NULL);
}
