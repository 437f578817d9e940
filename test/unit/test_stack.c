/* test_stack.c - the async exit stack: contract S73-S97, S105-S106. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <signal.h>
#include <string.h>

TestSuite(stack, .fini = check_clean, .timeout = 30);

static void
note(void *arg)
{
    trace("%s", (const char *)arg);
}

static void *
text(const char *literal)
{
    return (void *)(uintptr_t)literal;
}

/* An exit that nothing was entered for. */
static belay_next
push_exit(belay_task *task, void *arg)
{
    const struct probe *self = arg;

    trace("exit %s/%s", self->name, trace_result(belay_outcome(task)));
    if (self->exit_suppress) {
        return belay_suppress(task);
    }
    if (self->exit_code < 0) {
        return belay_fail(task, self->exit_code, "%s", self->name);
    }
    return belay_return(task, NULL);
}

static belay_next
push_never(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

static const belay_manager pushed = {
    {"pushed", NULL, sizeof(struct probe), push_never, 0}, push_exit};

#define PUSH(stack, ...) \
    belay_stack_push((stack), &pushed, &(const struct probe){__VA_ARGS__}, NULL)

struct mixed {
    int code;
    int wait_code;
    belay_stack *stack;
};

BELAY_ASYNC(mixed)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(belay_stack_defer(self->stack, note, text("first"), NULL));
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            BELAY_ENTER(probe, .name = "a", .exit_waits = 2), NULL));
        cr_expect(ne(ptr, belay_result(task)->value, NULL));
        BELAY_CHECK(PUSH(self->stack, .name = "p"));
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            BELAY_ENTER(probe, .name = "b", .enter_waits = 1), NULL));
        BELAY_CHECK(belay_stack_defer(self->stack, note, text("last"), NULL));
        cr_expect(eq(sz, belay_stack_count(self->stack), 5));
        trace("body");
        if (self->code < 0) {
            BELAY_FAIL(self->code, "body");
        }
    }
    trace("behind");
    BELAY_END;
}

Test(stack, s73_exits_run_last_in_first_out_sync_and_async_mixed)
{
    cr_expect(eq(int, RUN(mixed, .code = 0), 0));
    expect_trace(
        "enter a; enter b; body; last; exit b; exit p/ok; exit a; first; "
        "behind");
}

Test(stack, s76_s82_exits_see_the_outcome_callbacks_do_not)
{
    cr_expect(eq(int, RUN(mixed, .code = BELAY_EIO), BELAY_EIO));
    expect_trace("enter a; enter b; body; last; exit b/EIO; exit p/EIO; "
                 "exit a/EIO; first");
}

struct answers {
    int body;
    int top;
    bool suppress_middle;
    int bottom;
    belay_stack *stack;
};

BELAY_ASYNC(answers)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(
            PUSH(self->stack, .name = "bottom", .exit_code = self->bottom));
        BELAY_CHECK(PUSH(self->stack, .name = "middle",
            .exit_suppress = self->suppress_middle));
        BELAY_CHECK(PUSH(self->stack, .name = "top", .exit_code = self->top));
        if (self->body < 0) {
            BELAY_FAIL(self->body, "body");
        }
    }
    trace("behind");
    BELAY_END;
}

static char *
chain_text(const struct belay_result *result)
{
    static char chain[256];
    size_t len = 0;

    chain[0] = '\0';
    for (const belay_error *error = result->error; error != NULL;
         error = belay_error_context(error)) {
        len += (size_t)snprintf(chain + len, sizeof(chain) - len, "%s ",
            belay_code_name(belay_error_code(error)));
    }
    return chain;
}

Test(stack, s75_s77_all_exits_run_and_failures_are_chained)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, answers, .body = BELAY_EIO, .top = BELAY_EPIPE,
            .bottom = BELAY_EBUSY),
        BELAY_EBUSY));
    expect_trace("exit top/EIO; exit middle/EPIPE; exit bottom/EPIPE");
    cr_expect(eq(str, chain_text(&result), (char *)"EBUSY EPIPE EIO "));
    belay_error_unref(result.error);
}

Test(stack, s78_this_holds_after_a_good_body_too)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, answers, .top = BELAY_EPIPE, .bottom = BELAY_EBUSY),
        BELAY_EBUSY));
    expect_trace("exit top/ok; exit middle/EPIPE; exit bottom/EPIPE");
    cr_expect(eq(str, chain_text(&result), (char *)"EBUSY EPIPE "));
    belay_error_unref(result.error);
}

Test(stack, s81_suppress_makes_the_outcome_good_for_those_below)
{
    struct belay_result result;

    cr_expect(
        eq(int, RUN(answers, .body = BELAY_EIO, .suppress_middle = true), 0));
    expect_trace("exit top/EIO; exit middle/EIO; exit bottom/ok; behind");
    cr_expect(eq(int,
        RUN_RESULT(&result, answers, .body = BELAY_EIO, .suppress_middle = true,
            .bottom = BELAY_EBUSY),
        BELAY_EBUSY));
    cr_expect(eq(str, chain_text(&result), (char *)"EBUSY "));
    belay_error_unref(result.error);
}

struct same {
    belay_stack *stack;
};

/* Fails with the very error that it sees. */
static belay_next
same_exit(belay_task *task, void *self)
{
    (void)self;
    if (belay_outcome(task)->error == NULL) { /* there was no memory for it */
        return belay_return(task, NULL);
    }
    return belay_fail_with(task, belay_error_ref(belay_outcome(task)->error));
}

BELAY_ASYNC(same)
{
    static const belay_manager again = {
        {"again", NULL, 0, push_never, 0}, same_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(belay_stack_push(self->stack, &again, NULL, NULL));
        BELAY_CHECK(belay_stack_push(self->stack, &again, NULL, NULL));
        BELAY_FAIL(BELAY_EIO, "body");
    }
    BELAY_END;
}

Test(stack, s79_failing_with_the_same_error_is_pass)
{
    struct belay_result result;

    cr_expect(eq(int, RUN_RESULT(&result, same, .stack = NULL), BELAY_EIO));
    cr_expect(eq(str, chain_text(&result), (char *)"EIO "));
    belay_error_unref(result.error);
}

/* ---- close ---- */

struct closing {
    int code;
    belay_stack *stack;
    uint64_t steps;
};

BELAY_ASYNC(closing)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(PUSH(self->stack, .name = "a"));
        BELAY_CHECK(PUSH(self->stack, .name = "b"));
        BELAY_TRY(belay_stack_close(task, self->stack,
            &(const struct belay_result){.code = self->code}));
        trace("closed %s", trace_result(belay_result(task)));
        cr_expect(zero(sz, belay_stack_count(self->stack)));
        cr_expect(eq(int, PUSH(self->stack, .name = "late"), BELAY_ESTATE));
        cr_expect(
            eq(int, belay_stack_defer(self->stack, note, text("late"), NULL),
                BELAY_ESTATE));
        BELAY_TRY(belay_stack_enter(
            task, self->stack, BELAY_ENTER(probe, .name = "late"), NULL));
        trace("enter %s", trace_result(belay_result(task)));
        BELAY_TRY(belay_stack_close(task, self->stack, NULL));
        trace("again %s", trace_result(belay_result(task)));
    }
    trace("behind");
    BELAY_END;
}

Test(stack, s85_s88_close_unwinds_now_and_nothing_comes_after)
{
    cr_expect(eq(int, RUN(closing, .code = BELAY_EIO), 0));
    expect_trace("exit b/EIO; exit a/EIO; closed EIO; enter ESTATE; "
                 "again ok; behind");
}

struct empty_close {
    belay_stack *stack;
    belay_cancel_scope *scope;
    size_t calls;
};

BELAY_ASYNC(empty_close)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            belay_cancel_scope_cancel(self->scope, NULL);
            self->calls = test_alloc_calls();
            BELAY_TRY(belay_stack_close(task, self->stack, NULL));
            trace("close %s", trace_result(belay_result(task)));
        }
        cr_expect(eq(sz, test_alloc_calls(), self->calls));
        trace("behind");
    }
    BELAY_END;
}

Test(stack, s93_an_empty_close_allocates_nothing_and_is_no_checkpoint)
{
    cr_expect(eq(int, RUN(empty_close, .stack = NULL), 0));
    expect_trace("close ok; behind");
}

struct reentrant {
    belay_stack *stack;
};

struct closes_itself {
    belay_stack *stack;
};

static belay_next
closes_after(belay_task *task, void *self)
{
    (void)self;
    trace("close %s", trace_result(belay_result(task)));
    return belay_return(task, NULL);
}

static belay_next
closes_exit(belay_task *task, void *arg)
{
    struct closes_itself *self = arg;

    trace("exit");
    cr_expect(zero(int, belay_stack_defer(self->stack, note,
                            text("pushed while unwinding"), NULL)));
    cr_expect(eq(int, belay_stack_move(self->stack, self->stack), BELAY_EBUSY));
    return belay_then(
        task, closes_after, belay_stack_close(task, self->stack, NULL));
}

BELAY_ASYNC(reentrant)
{
    static const belay_manager closes = {
        {"closes", NULL, sizeof(struct closes_itself), push_never, 0},
        closes_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(belay_stack_defer(self->stack, note, text("oldest"), NULL));
        BELAY_CHECK(belay_stack_push(self->stack, &closes,
            &(const struct closes_itself){self->stack}, NULL));
    }
    BELAY_END;
}

Test(stack, s89_s90_while_unwinding_a_push_runs_next_a_close_is_refused)
{
    cr_expect(eq(int, RUN(reentrant, .stack = NULL), 0));
    expect_trace("exit; close EBUSY; pushed while unwinding; oldest");
}

struct foreigner {
    belay_stack *stack;
};

BELAY_ASYNC(foreigner)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_stack_close(task, self->stack, NULL));
    trace("close %s", trace_result(belay_result(task)));
    BELAY_TRY(belay_stack_enter(
        task, self->stack, BELAY_ENTER(probe, .name = "x"), NULL));
    trace("enter %s", trace_result(belay_result(task)));
    BELAY_END;
}

struct owned {
    belay_group *group;
    belay_stack *stack;
};

BELAY_ASYNC(owned)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_CHECK(belay_stack_defer(self->stack, note, text("x"), NULL));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(
                belay_spawn(self->group, foreigner, .stack = self->stack));
        }
        cr_expect(eq(sz, belay_stack_count(self->stack), 1));
    }
    BELAY_END;
}

Test(stack, s27_s90_another_task_may_not_close_or_enter)
{
    cr_expect(eq(int, RUN(owned, .group = NULL), 0));
    expect_trace("close EOWNER; enter EOWNER; x");
}

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

Test(stack, s86_move_transfers_entries_and_the_source_stays_usable)
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

Test(stack, s86_entries_may_move_to_another_task)
{
    program_other_code = BELAY_EPIPE; /* the receiver is gone */
    cr_expect(eq(int, RUN(across, .pinned = FREE), 0));
    expect_trace("open none; move OK; 0 left; receiver has 3; close none; "
                 "exit p/ok");
}

Test(stack, s87_pinned_entries_may_not)
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

Test(stack, s86_a_stack_on_a_stack_outlives_the_task_that_opened_it)
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

Test(stack, s27_scopes_on_stacks_cannot_be_closed_or_moved_out_of_order)
{
    cr_expect(eq(int, RUN(order, .outer = NULL), BELAY_ETIMEDOUT));
    expect_trace("close EMISNEST; move out of order EMISNEST; "
                 "move in order OK; sleep cancel");
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

Test(stack, s99_s104_a_scope_that_outlives_the_exit_is_not_shielded)
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

Test(stack, s91_one_entry_can_be_dropped_unrun)
{
    cr_expect(eq(int, RUN(forgetting, .stack = NULL), 0));
    expect_trace("three; one");
}

/* ---- entering ---- */

struct entering {
    int code;
    belay_stack *stack;
    belay_stack_entry *entry;
};

BELAY_ASYNC(entering)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->stack, BELAY_ENTER(probe, .name = "a"), NULL));
        BELAY_TRY(belay_stack_enter(task, self->stack,
            BELAY_ENTER(
                probe, .name = "b", .enter_code = self->code, .enter_waits = 1),
            &self->entry));
        trace("%s, %zu on it", trace_result(belay_result(task)),
            belay_stack_count(self->stack));
        cr_expect(zero(ptr, self->entry));
    }
    BELAY_END;
}

Test(stack, s94_a_failed_enter_is_not_registered)
{
    cr_expect(eq(int, RUN(entering, .code = BELAY_ECONNECT), 0));
    expect_trace("enter a; no b; ECONNECT, 1 on it; exit a");
}

struct no_room {
    belay_stack *stack;
    int i;
};

BELAY_ASYNC(no_room)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        for (self->i = 0; self->i < 4; self->i++) {
            test_alloc_fail_at((size_t)self->i);
            BELAY_TRY(belay_stack_enter(
                task, self->stack, BELAY_ENTER(probe, .name = "a"), NULL));
            test_alloc_never_fail();
            if (belay_result(task)->code < 0) {
                cr_expect(eq(int, belay_result(task)->code, BELAY_ENOMEM));
                cr_expect(zero(sz, belay_stack_count(self->stack)));
                expect_trace("");
            } else {
                break;
            }
        }
        test_alloc_fail_after(0);
        cr_expect(eq(int, PUSH(self->stack, .name = "x"), BELAY_ENOMEM));
        cr_expect(eq(int, belay_stack_defer(self->stack, note, text("x"), NULL),
            BELAY_ENOMEM));
        test_alloc_never_fail();
        cr_expect(eq(sz, belay_stack_count(self->stack), 1));
    }
    BELAY_END;
}

Test(stack, s96_s136_without_room_the_enter_does_not_run)
{
    cr_expect(eq(int, RUN(no_room, .i = 0), 0));
    expect_trace("enter a; exit a");
}

struct no_exit {
    belay_stack *stack;
};

BELAY_ASYNC(no_exit)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        cr_expect(eq(int,
            belay_stack_push(
                self->stack, &nested, &(const struct nested){false}, NULL),
            BELAY_EINVAL));
        BELAY_AWAIT(
            belay_stack_enter(task, self->stack, belay_checkpoint(task), NULL));
    }
    BELAY_END;
}

Test(stack, entering_what_is_no_enter_aborts, .signal = SIGABRT)
{
    (void)RUN(no_exit, .stack = NULL);
}

/* ---- size ---- */

struct huge {
    int count;
    belay_stack *stack;
    int i;
    int ran;
    size_t calls;
};

static void
count_up(void *arg)
{
    ++*(int *)arg;
}

struct counts {
    int *ran;
};

static belay_next
counts_exit(belay_task *task, void *arg)
{
    const struct counts *self = arg;

    ++*self->ran;
    return belay_return(task, NULL);
}

BELAY_ASYNC(huge)
{
    static const belay_manager counts = {
        {"counts", NULL, sizeof(struct counts), push_never, 0}, counts_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        for (self->i = 0; self->i < self->count / 2; self->i++) {
            BELAY_CHECK(
                belay_stack_defer(self->stack, count_up, &self->ran, NULL));
            BELAY_CHECK(belay_stack_push(self->stack, &counts,
                &(const struct counts){&self->ran}, NULL));
        }
        self->calls = test_alloc_calls();
    }
    cr_expect(eq(sz, test_alloc_calls(), self->calls));
    cr_expect(eq(int, self->ran, self->count));
    BELAY_END;
}

Test(stack, s92_a_million_entries_unwind_without_stack_or_allocation)
{
    cr_expect(eq(int, RUN(huge, .count = 4), 0));
    program_unswept = true; /* a million of the same places to fail at */
    cr_expect(eq(int, RUN(huge, .count = 1000000), 0));
}

struct all_fail {
    int count;
    belay_stack *stack;
    int i;
};

static belay_next
fails_exit(belay_task *task, void *self)
{
    (void)self;
    return belay_fail(task, BELAY_EIO, "again");
}

BELAY_ASYNC(all_fail)
{
    static const belay_manager fails = {
        {"fails", NULL, 0, push_never, 0}, fails_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        for (self->i = 0; self->i < self->count; self->i++) {
            BELAY_CHECK(belay_stack_push(self->stack, &fails, NULL, NULL));
        }
    }
    BELAY_END;
}

/* The chain is built without walking what is in it already, and freed without
 * recursion. */
Test(stack, s92_many_failing_exits_chain_in_linear_time)
{
    cr_expect(eq(int, RUN(all_fail, .count = 9), BELAY_EIO));
    program_unswept = true; /* no other places to fail at, but a million */
    cr_expect(eq(int, RUN(all_fail, .count = 100000), BELAY_EIO));
}

struct busy {
    belay_group *group;
    belay_stack *stack;
};

struct ticker {
    int ticks;
};

BELAY_ASYNC(ticker)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_checkpoint(task));
    trace("tick");
    BELAY_END;
}

BELAY_ASYNC(busy)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_AWAIT(belay_stack_enter(
                task, self->stack, BELAY_ENTER(probe, .name = "b"), NULL));
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                BELAY_ENTER(probe, .name = "a", .exit_waits = 3), NULL));
            BELAY_CHECK(belay_spawn(self->group, ticker, 0));
        }
    }
    BELAY_END;
}

Test(stack, s105_an_exit_that_waits_lets_other_tasks_run)
{
    cr_expect(eq(int, RUN(busy, .stack = NULL), 0));
    expect_trace("enter b; enter a; exit a; tick; exit b");
}

struct one_block {
    int body;
    int exit_code;
    bool suppress;
    bool on_stack;
    belay_stack *stack;
};

BELAY_ASYNC(one_block)
{
    BELAY_BEGIN;
    if (self->on_stack) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                BELAY_ENTER(probe, .name = "a", .exit_code = self->exit_code,
                    .exit_suppress = self->suppress),
                NULL));
            if (self->body < 0) {
                BELAY_FAIL(self->body, "body");
            }
        }
    } else {
        BELAY_WITH (BELAY_ENTER(probe, .name = "a",
            .exit_code = self->exit_code, .exit_suppress = self->suppress)) {
            if (self->body < 0) {
                BELAY_FAIL(self->body, "body");
            }
        }
    }
    trace("behind");
    BELAY_END;
}

Test(stack, s106_a_block_is_a_stack_of_one_entry)
{
    char seen[512];
    struct belay_result on_stack;
    struct belay_result in_block;

    for (int bits = 0; bits < 8; bits++) {
        const int body = (bits & 1) != 0 ? BELAY_EIO : 0;
        const int exit_code = (bits & 2) != 0 ? BELAY_EPIPE : 0;
        const bool suppress = (bits & 4) != 0;

        trace_clear();
        (void)RUN_RESULT(&on_stack, one_block, .body = body,
            .exit_code = exit_code, .suppress = suppress, .on_stack = true);
        (void)snprintf(
            seen, sizeof(seen), "%s|%s", trace_text(), chain_text(&on_stack));
        trace_clear();
        (void)RUN_RESULT(&in_block, one_block, .body = body,
            .exit_code = exit_code, .suppress = suppress);
        trace("|");
        cr_expect(eq(int, on_stack.code, in_block.code));
        cr_expect_str_eq(chain_text(&on_stack), strchr(seen, '|') + 1);
        *strchr(seen, '|') = '\0';
        cr_expect(zero(int, strncmp(trace_text(), seen, strlen(seen))));
        belay_error_unref(on_stack.error);
        belay_error_unref(in_block.error);
    }
}

Test(stack, s74_s75_each_entry_runs_once_whatever_happens)
{
    program_other_code = BELAY_EPIPE; /* the receiver is gone */
    sweep(&(const struct program){
        .function = &mixed, .arguments = &(const struct mixed){.code = 0}});
    sweep(&(const struct program){.function = &mixed,
        .arguments = &(const struct mixed){.code = BELAY_EIO}});
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
    sweep(&(const struct program){.function = &answers,
        .arguments = &(const struct answers){
            .body = BELAY_EIO, .top = BELAY_EPIPE, .bottom = BELAY_EBUSY}});
}
