/* test_stack_nested.c - exit stacks that lie in entries of others: what binds
 * those to their task, and what keeps them in their place: S75-S96.
 */
#include "test/support/pushed.h"

#include <belay/lock.h>
#include <belay/sync.h>

TestSuite(stack_nested, .fini = check_clean, .timeout = 30);

/* ---- what binds a stack on a stack to its task ---- */

static const struct belay_var colour = {"colour", NULL};

/* Class style, without belay_var_open(). */
struct painted {
    struct belay_var_token token;
};

static belay_next
painted_enter(belay_task *task, void *self)
{
    struct painted *painted = self;
    int code = belay_var_set(task, &colour, text("red"), &painted->token);

    return code < 0 ? belay_fail(task, code, NULL) : belay_return(task, NULL);
}

static belay_next
painted_exit(belay_task *task, void *self)
{
    struct painted *painted = self;

    trace("reset %s",
        belay_code_name(belay_var_reset(task, &colour, &painted->token)));
    return belay_return(task, NULL);
}

static const belay_manager painted = {
    {"painted", NULL, sizeof(struct painted), painted_enter, 0}, painted_exit};

/* The same in a function that its enter calls. */
struct paint {
    struct belay_var_token *token;
};

BELAY_ASYNC(paint)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &colour, text("red"), self->token));
    BELAY_END;
}

struct has_painted {
    struct belay_var_token token;
};

BELAY_MANAGER(has_painted)
{
    BELAY_BEGIN;
    BELAY_AWAIT(BELAY_CALL(paint, .token = &self->token));
    BELAY_YIELD(NULL);
    trace("reset %s",
        belay_code_name(belay_var_reset(task, &colour, &self->token)));
    BELAY_END;
}

/* A stack with a lock on it round the yield, twice removed. */
struct inner {
    struct belay_lock *lock;
    belay_stack *stack;
};

BELAY_MANAGER(inner)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        if (self->lock != NULL) {
            BELAY_AWAIT(belay_stack_enter(
                task, self->stack, belay_lock_open(task, self->lock), NULL));
        } else {
            BELAY_CHECK(
                belay_stack_defer(self->stack, note, text("inner"), NULL));
        }
        BELAY_YIELD(NULL);
    }
    BELAY_END;
}

struct outer {
    struct belay_lock *lock;
};

BELAY_MANAGER(outer)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(inner, .lock = self->lock)) {
        BELAY_YIELD(NULL);
    }
    BELAY_END;
}

enum what {
    NOTHING,
    TIMEOUT,
    LOCK,
    VARIABLE,
    VARIABLE_IN_A_CALL,
    GENERATOR,
};

struct app {
    enum what what;
    belay_stack *taken; /* NULL: it is gone */
    struct belay_lock lock;
    struct belay_event moved;
    struct belay_event go;
};

static belay_next
open_what(belay_task *task, struct app *app)
{
    switch (app->what) {
    case TIMEOUT:
        return belay_timeout(task, belay_seconds(100));
    case LOCK:
        return belay_lock_open(task, &app->lock);
    case VARIABLE:
        return belay_enter(task, &painted, NULL);
    case VARIABLE_IN_A_CALL:
        return BELAY_ENTER(has_painted, 0);
    case GENERATOR:
        return BELAY_ENTER(outer, .lock = &app->lock);
    case NOTHING:
        break;
    }
    return belay_null(task, NULL);
}

struct giver {
    struct app *app;
    belay_stack *own;
    belay_stack *nested;
    belay_stack_entry *entry;
};

/* The block of `own` ends after that of `taken`. */
BELAY_ASYNC(giver)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->own)) {
        BELAY_AWAIT(push_stack(task, self->own, &self->nested, &self->entry));
        BELAY_CHECK(belay_stack_defer(self->nested, note, text("n"), NULL));
        BELAY_AWAIT(belay_stack_enter(
            task, self->nested, open_what(task, self->app), NULL));
        if (self->app->taken != NULL) {
            trace("forget %s", try_forget(self->own, self->entry));
            trace("move %s", try_move(self->own, self->app->taken));
            belay_event_set(&self->app->moved);
        }
        BELAY_AWAIT(belay_event_wait(task, &self->app->go));
    }
    BELAY_END;
}

struct taker {
    struct app app;
    belay_group *group;
};

BELAY_ASYNC(taker)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_stack_open(task, &self->app.taken)) {
            BELAY_CHECK(belay_stack_defer(
                self->app.taken, clear_stack, (void *)&self->app.taken, NULL));
            BELAY_CHECK(belay_spawn(self->group, giver, .app = &self->app));
            BELAY_AWAIT(belay_event_wait(task, &self->app.moved));
        }
        trace("taken is left");
        belay_event_set(&self->app.go);
    }
    BELAY_END;
}

#define EXPECT_TAKEN(what_, text)                              \
    do {                                                       \
        trace_clear();                                         \
        cr_expect(zero(int, RUN(taker, .app.what = (what_)))); \
        expect_trace(text);                                    \
    } while (0)

Test(stack_nested, s86_a_stack_with_entries_moves_with_its_entry)
{
    EXPECT_TAKEN(NOTHING, "forget EBUSY; move OK; n; taken is left");
}

Test(stack_nested, s87_what_is_on_it_pins_the_entry_that_it_lies_in)
{
    EXPECT_TAKEN(TIMEOUT, "forget EPINNED; move EPINNED; taken is left; n");
    EXPECT_TAKEN(LOCK, "forget EPINNED; move EPINNED; taken is left; n");
    EXPECT_TAKEN(GENERATOR, "forget EPINNED; move EPINNED; taken is left; n");
}

Test(stack_nested, s87_so_does_a_variable_however_it_was_set)
{
    EXPECT_TAKEN(
        VARIABLE, "forget EPINNED; move EPINNED; taken is left; reset OK; n");
    EXPECT_TAKEN(VARIABLE_IN_A_CALL,
        "forget EPINNED; move EPINNED; taken is left; reset OK; n");
}

/* ---- the count goes with what was counted ---- */

struct counted {
    struct belay_lock *lock;
    belay_stack *other;
    belay_stack *own;
    belay_stack *nested;
    belay_stack_entry *entry;
    belay_stack_entry *lock_entry;
};

BELAY_ASYNC(counted)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->other)) {
        BELAY_WITH (belay_stack_open(task, &self->own)) {
            BELAY_AWAIT(
                push_stack(task, self->own, &self->nested, &self->entry));
            BELAY_TRY(belay_stack_enter(task, self->nested,
                BELAY_ENTER(probe, .name = "p", .enter_code = BELAY_EPIPE),
                NULL));
            trace("failed enter %s", try_forget(self->own, self->entry));

            BELAY_AWAIT(
                push_stack(task, self->own, &self->nested, &self->entry));
            BELAY_AWAIT(belay_stack_enter(task, self->nested,
                belay_lock_open(task, self->lock), &self->lock_entry));
            trace("lock %s", try_forget(self->own, self->entry));
            BELAY_AWAIT(belay_stack_close_entry(
                task, self->nested, self->lock_entry, NULL));
            BELAY_AWAIT(belay_stack_enter(
                task, self->nested, belay_lock_open(task, self->lock), NULL));
            BELAY_CHECK(belay_stack_move(self->nested, self->other));
            trace("moved away %s", try_forget(self->own, self->entry));

            BELAY_AWAIT(
                push_stack(task, self->own, &self->nested, &self->entry));
            BELAY_CHECK(belay_stack_move(self->other, self->nested));
            trace("moved in %s", try_forget(self->own, self->entry));
            BELAY_AWAIT(belay_stack_close(task, self->nested, NULL));
            trace("closed %s", try_forget(self->own, self->entry));
            cr_expect(zero(sz, belay_stack_count(self->own)));
        }
    }
    BELAY_END;
}

Test(stack_nested, s87_s91_it_is_pinned_for_as_long_as_they_are_there)
{
    static struct belay_lock lock;

    cr_expect(zero(int, RUN(counted, .lock = &lock)));
    expect_trace("no p; failed enter OK; lock EPINNED; moved away OK; "
                 "moved in EPINNED; closed OK");
}

struct holding {
    belay_stack *own;
    belay_stack_entry *entry;
};

BELAY_ASYNC(holding)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->own)) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->own, BELAY_ENTER(outer, .lock = NULL), &self->entry));
        trace("forget %s", try_forget(self->own, self->entry));
    }
    BELAY_END;
}

Test(stack_nested, s75_s91_an_entry_with_entries_in_it_is_not_forgotten)
{
    cr_expect(zero(int, RUN(holding, .own = NULL)));
    expect_trace("forget EBUSY; inner");
}

/* ---- what runs on it keeps it where it is ---- */

struct slow {
    struct belay_event *go;
};

BELAY_MANAGER(slow)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_event_wait(task, self->go));
    BELAY_YIELD(NULL);
    trace("slow is left");
    BELAY_AWAIT(belay_event_wait(task, self->go));
    BELAY_END;
}

struct shared {
    belay_stack *own;
    belay_stack_entry *entry;
    struct belay_event ready;
    struct belay_event go;
};

struct worker {
    struct shared *shared;
    belay_stack *nested;
};

BELAY_ASYNC(worker)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->shared->own)) {
        BELAY_CHECK(belay_stack_defer(
            self->shared->own, clear_stack, (void *)&self->shared->own, NULL));
        BELAY_AWAIT(push_stack(
            task, self->shared->own, &self->nested, &self->shared->entry));
        belay_event_set(&self->shared->ready);
        BELAY_AWAIT(belay_stack_enter(task, self->nested,
            BELAY_ENTER(slow, .go = &self->shared->go), NULL));
        belay_event_clear(&self->shared->go);
        belay_event_set(&self->shared->ready);
        BELAY_AWAIT(belay_stack_close(task, self->nested, NULL));
        belay_event_clear(&self->shared->go);
        belay_event_set(&self->shared->ready);
        BELAY_AWAIT(belay_event_wait(task, &self->shared->go));
    }
    BELAY_END;
}

struct meddler {
    struct shared shared;
    belay_group *group;
    belay_stack *taken;
    int i;
};

BELAY_ASYNC(meddler)
{
    struct shared *shared = &self->shared;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_stack_open(task, &self->taken)) {
            BELAY_CHECK(belay_spawn(self->group, worker, .shared = shared));
            for (self->i = 0; self->i < 3; self->i++) {
                BELAY_AWAIT(belay_event_wait(task, &self->shared.ready));
                belay_event_clear(&self->shared.ready);
                BELAY_AWAIT(belay_checkpoint(task));
                shared = &self->shared;
                if (shared->own == NULL) {
                    continue; /* in a trial */
                }
                trace("forget %s", try_forget(shared->own, shared->entry));
                trace("move %s", try_move(shared->own, self->taken));
                belay_event_set(&shared->go);
            }
        }
    }
    BELAY_END;
}

Test(stack_nested, s90_s91_s96_an_enter_and_a_close_keep_the_entry_in_its_place)
{
    cr_expect(zero(int, RUN(meddler, .group = NULL)));
    expect_trace("forget EBUSY; move EBUSY; slow is left; "
                 "forget EBUSY; move EBUSY; forget OK; move OK");
}

/* An enter that closes, or moves, the stack that its own stack lies on. */
struct reaching {
    belay_stack *own;
    belay_stack *nested;
};

struct reach {
    belay_stack *own;
    belay_stack_entry *entry;
    belay_stack *mine;
};

BELAY_MANAGER(reach)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_stack_close(task, self->own, NULL));
    trace("close %s", trace_result(belay_result(task)));
    BELAY_TRY(belay_stack_close_entry(task, self->own, self->entry, NULL));
    trace("close entry %s", trace_result(belay_result(task)));
    BELAY_WITH (belay_stack_open(task, &self->mine)) {
        trace("move %s", try_move(self->own, self->mine));
    }
    BELAY_YIELD(NULL);
    BELAY_END;
}

struct reacher {
    belay_stack *own;
    belay_stack *nested;
    belay_stack_entry *entry;
};

BELAY_ASYNC(reacher)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->own)) {
        BELAY_AWAIT(push_stack(task, self->own, &self->nested, &self->entry));
        BELAY_AWAIT(belay_stack_enter(task, self->nested,
            BELAY_ENTER(reach, .own = self->own, .entry = self->entry), NULL));
        trace("%zu and %zu", belay_stack_count(self->own),
            belay_stack_count(self->nested));
    }
    BELAY_END;
}

Test(stack_nested, s90_s96_an_enter_cannot_undo_what_its_stack_lies_on)
{
    cr_expect(zero(int, RUN(reacher, .own = NULL)));
    expect_trace("close EBUSY; close entry EBUSY; move EBUSY; 1 and 1");
}

/* ---- whatever happens ---- */

Test(stack_nested, s75_s136_whatever_is_refused_or_cancelled)
{
    static struct belay_lock lock;

    for (int what = NOTHING; what <= GENERATOR; what++) {
        SWEEP(taker, .app.what = (enum what)what);
    }
    SWEEP(counted, .lock = &lock);
    SWEEP(meddler, .i = 0);
    SWEEP(reacher, .own = NULL);
}
