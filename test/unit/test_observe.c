/* test_observe.c - what is told of blocks: when, and how long they took. */
#include "test/support/observer.h"

#include "runtime/internal.h"

#include <string.h>

TestSuite(observe, .fini = check_clean, .timeout = 30);

/* ---- enter, exit, error ---- */

struct times {
    int unused;
};

BELAY_ASYNC(times)
{
    BELAY_BEGIN;
    attach(task, NULL, NULL, NULL);
    BELAY_WITH (BELAY_ENTER(slow, .enter_ms = 20, .exit_ms = 300)) {
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(4000)));
        BELAY_WITH (belay_enter(task, &plain, NULL)) {
            trace("body");
        }
    }
    BELAY_END;
}

Test(observe, enter_and_exit_tell_how_long_by_the_clock_of_the_runtime)
{
    cr_expect(eq(int, RUN(times, .unused = 0), 0));
    expect_trace("+slow 20; +plain 0; body; -plain ok>ok 0/0; "
                 "-slow ok>ok 4300/300");
}

struct fails {
    int enter_code;
    int body_code;
    int exit_code;
    bool suppress;
};

BELAY_ASYNC(fails)
{
    BELAY_BEGIN;
    attach(task, NULL, NULL, NULL);
    BELAY_WITH (belay_suppressing(
        task, (const int[]){BELAY_EPIPE}, self->suppress ? 1 : 0)) {
        BELAY_WITH (BELAY_ENTER(slow, .enter_ms = 5,
            .enter_code = self->enter_code, .exit_code = self->exit_code)) {
            if (self->body_code < 0) {
                BELAY_FAIL(self->body_code, "body");
            }
        }
    }
    BELAY_END;
}

Test(observe, an_enter_that_fails_is_an_error_and_nothing_else)
{
    cr_expect(eq(int, RUN(fails, .enter_code = BELAY_EIO), BELAY_EIO));
    expect_trace("+suppressing 0; !slow EIO; !suppressing EIO; "
                 "-suppressing EIO>EIO 5/0");
}

Test(observe, the_outcome_is_the_body_s_the_result_what_the_exit_made_of_it)
{
    cr_expect(eq(int,
        RUN(fails, .body_code = BELAY_EPROTO, .exit_code = BELAY_EPIPE,
            .suppress = true),
        0));
    expect_trace(
        "+suppressing 0; +slow 5; !slow EPIPE; -slow EPROTO>EPIPE 0/0; "
        "-suppressing EPIPE>ok 5/0");
}

struct by_hand {
    int unused;
};

static belay_next
by_hand_body(belay_task *task, void *self)
{
    (void)self;
    trace("body");
    return belay_leave(task);
}

static belay_next
by_hand_after(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

static belay_next
by_hand_step(belay_task *task, void *self)
{
    (void)self;
    attach(task, NULL, NULL, NULL);
    return belay_with(
        task, BELAY_ENTER(slow, .enter_ms = 5), by_hand_body, by_hand_after);
}

static const belay_function by_hand = {
    "by_hand", NULL, sizeof(struct by_hand), by_hand_step, 0};

Test(observe, a_block_that_is_opened_by_hand_is_told_as_any)
{
    cr_expect(eq(int, RUN(by_hand, .unused = 0), 0));
    expect_trace("+slow 5; body; -slow ok>ok 0/0");
}

/* ---- what has ended ---- */

struct no_trace {
    belay_observer *observer;
    belay_stack *stack;
    belay_stack_entry *entry;
};

static size_t
spans_of(const belay_task *task)
{
    return belay_task_runtime(task)->observers.scopes.count;
}

/* What has ended is followed no longer, however it has. */
BELAY_ASYNC(no_trace)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_observer_attach(
        belay_task_runtime(task), NULL, NULL, NULL, &self->observer));
    BELAY_WITH (belay_suppressing(task, BELAY_CODES(BELAY_EIO))) {
        BELAY_WITH (BELAY_ENTER(slow, .enter_code = BELAY_EIO)) {
            trace("not reached");
        }
    }
    cr_expect(zero(sz, spans_of(task)));
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(belay_stack_push(self->stack, &plain, NULL, &self->entry));
        cr_expect(eq(sz, spans_of(task), 2));
        BELAY_CHECK(belay_stack_forget(self->stack, self->entry));
        cr_expect(eq(sz, spans_of(task), 1));
    }
    cr_expect(zero(sz, spans_of(task)));
    BELAY_END;
}

Test(observe, what_has_ended_is_followed_no_longer)
{
    cr_expect(eq(int, RUN(no_trace, .stack = NULL), 0));
    expect_trace("");
}

/* ---- exit stacks: other orders, other tasks ---- */

/* Blocks round a yield, one of them with such blocks itself. */
struct inner_blocks {
    int unused;
};

BELAY_MANAGER(inner_blocks)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        BELAY_WITH (BELAY_ENTER(slow, .exit_ms = 1)) {
            BELAY_YIELD(NULL);
        }
    }
    BELAY_END;
}

struct outer_blocks {
    int unused;
};

BELAY_MANAGER(outer_blocks)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(slow, .exit_ms = 1)) {
        BELAY_WITH (BELAY_ENTER(inner_blocks, 0)) {
            BELAY_WITH (belay_enter(task, &plain, NULL)) {
                BELAY_YIELD(NULL);
            }
        }
    }
    BELAY_END;
}

struct forgets {
    belay_stack *stack;
    belay_stack_entry *entry;
};

BELAY_ASYNC(forgets)
{
    BELAY_BEGIN;
    attach(task, NULL, NULL, NULL);
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->stack, BELAY_ENTER(outer_blocks, 0), &self->entry));
        trace("forget");
        BELAY_CHECK(belay_stack_forget(self->stack, self->entry));
        cr_expect(eq(sz, spans_of(task), 1));
    }
    BELAY_END;
}

Test(observe, a_forgotten_entry_ends_with_the_blocks_round_its_yield)
{
    cr_expect(zero(int, RUN(forgets, .stack = NULL)));
    expect_trace("+exit stack 0; +slow 0; +plain 0; +slow 0; +inner_blocks 0; "
                 "+plain 0; +outer_blocks 0; forget; -plain ok>gone 0/0; "
                 "-slow ok>gone 0/0; -plain ok>gone 0/0; "
                 "-inner_blocks ok>gone 0/0; -slow ok>gone 0/0; "
                 "-outer_blocks ok>gone 0/0; -exit stack ok>ok 0/0");
}

struct stacked {
    belay_stack *outer;
    belay_stack *inner;
    belay_stack_entry *entry;
};

static void
told_to_nobody(void *arg)
{
    (void)arg;
}

BELAY_ASYNC(stacked)
{
    BELAY_BEGIN;
    attach(task, NULL, NULL, NULL);
    BELAY_WITH (belay_stack_open(task, &self->outer)) {
        BELAY_WITH (belay_stack_open(task, &self->inner)) {
            BELAY_AWAIT(belay_stack_enter(
                task, self->inner, BELAY_ENTER(slow, .exit_ms = 2), NULL));
            BELAY_CHECK(
                belay_stack_push(self->inner, &plain, NULL, &self->entry));
            BELAY_CHECK(belay_stack_forget(self->inner, self->entry));
            BELAY_CHECK(belay_stack_defer(
                self->inner, told_to_nobody, NULL, &self->entry));
            BELAY_CHECK(belay_stack_forget(self->inner, self->entry));
            BELAY_CHECK(belay_stack_move(self->inner, self->outer));
        }
        trace("moved");
    }
    BELAY_END;
}

Test(observe, entries_of_a_stack_end_where_they_end)
{
    cr_expect(eq(int, RUN(stacked, .outer = NULL), 0));
    expect_trace("+exit stack 0; +exit stack 0; +slow 0; +plain 0; "
                 "-plain ok>gone 0/0; -exit stack ok>ok 0/0; moved; "
                 "-slow ok>ok 2/2; -exit stack ok>ok 2/2");
}

/* ---- without memory, in the middle ---- */

struct balance {
    int open;
    int parts;
    int tasks;
};

static void
count(belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    struct balance *balance = arg;

    (void)runtime;
    balance->open += seen->event == BELAY_OBSERVED_SCOPE_OPEN;
    balance->open -= seen->event == BELAY_OBSERVED_SCOPE_EXIT;
    balance->open -=
        seen->event == BELAY_OBSERVED_SCOPE_ERROR && !seen->entered;
    balance->parts += seen->event == BELAY_OBSERVED_SCOPE_ENTER;
    balance->parts -= seen->event == BELAY_OBSERVED_SCOPE_LEAVE;
    balance->tasks += seen->event == BELAY_OBSERVED_TASK_SPAWN;
    balance->tasks -= seen->event == BELAY_OBSERVED_TASK_END;
}

static struct balance balance;

struct all {
    belay_group *group;
    belay_stack *stack;
    void *value;
};

BELAY_ASYNC(all)
{
    BELAY_BEGIN;
    /* Without the memory for it nothing is counted. */
    (void)belay_observer_attach(belay_task_runtime(task), count, &balance,
        BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_DEFAULT), NULL);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, times, .unused = 0));
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                BELAY_ENTER(slow, .enter_ms = 1, .exit_ms = 1), NULL));
            BELAY_CHECK(belay_stack_push(self->stack, &plain, NULL, NULL));
            /* Ends before it is ready: a task that is given up. */
            BELAY_TRY(belay_group_start(task, self->group, &fails,
                &(const struct fails){.body_code = BELAY_EIO}, NULL,
                &self->value));
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(9000)));
        }
    }
    BELAY_END;
}

static void
check_balance(const struct belay_result *result, bool disturbed)
{
    (void)result;
    (void)disturbed;
    cr_expect(eq(int, balance.open, 0));
    cr_expect(eq(int, balance.parts, 0));
    cr_expect(eq(int, balance.tasks, 0));
    trace_clear();
    balance = (struct balance){0};
}

Test(observe, what_is_told_is_whole_whatever_is_cancelled_or_refused)
{
    const struct program program = {.function = &all,
        .arguments = &(const struct all){.stack = NULL},
        .check = check_balance};

    sweep(&program);
}

/* Which allocation of an enter is that of the table of what is open. */
#ifdef BELAY_ARENA_MALLOC
#define TABLE_ALLOCATION 1 /* the frame's is the first one */
#else
#define TABLE_ALLOCATION 0
#endif

struct lost_root {
    int unused;
};

BELAY_ASYNC(lost_root)
{
    BELAY_BEGIN;
    attach(task, NULL, NULL, NULL);
    test_alloc_fail_at(TABLE_ALLOCATION);
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        test_alloc_never_fail();
        trace("unseen");
    }
    cr_expect(eq(u64, belay_observe_lost(belay_task_runtime(task)), 1));
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        trace("body");
    }
    BELAY_END;
}

Test(observe, without_memory_neither_end_is_told_and_that_is_counted)
{
    cr_expect(eq(int, RUN(lost_root, .unused = 0), 0));
    expect_trace("unseen; +plain 0; body; -plain ok>ok 0/0");
}

/* ---- ages in dumps ---- */

struct aged {
    char *text;
    size_t len;
    FILE *out;
};

BELAY_ASYNC(aged)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_seconds(2)));
    BELAY_WITH (belay_enter(task, &plain, NULL)) {
        BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
        belay_runtime_dump(belay_task_runtime(task), self->out);
    }
    BELAY_END;
}

static void
run_aged(const struct belay_runtime_opts *opts, const char *expected)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    cr_assert(ne(ptr, out, NULL));
    cr_expect(eq(int,
        belay_run(&aged, &(const struct aged){.out = out}, opts, NULL), 0));
    (void)fclose(out);
    cr_expect(ne(ptr, strstr(text, expected), NULL), "%s", text);
    free(text);
}

Test(observe, s138_a_dump_has_ages_while_somebody_observes)
{
    belay_clock *clock = belay_clock_new(true);

    run_aged(BELAY_RUNTIME_OPTS(.clock = clock, .allocator = &test_allocator,
                 .observe_kinds = BELAY_OBSERVE_TASKS | BELAY_OBSERVE_SCOPES),
        "[plain 1.000 s], age 3.000 s\n");
    run_aged(BELAY_RUNTIME_OPTS(.clock = clock, .allocator = &test_allocator),
        "[plain]\n");
    belay_clock_free(clock);
}
