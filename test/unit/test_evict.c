/* test_evict.c - scopes that are left open on exit stacks: contract S28. */
#include "test/support/program.h"

#include <belay/sync.h>

#include <string.h>

TestSuite(evict, .fini = check_clean, .timeout = 30);

/* What is put on a stack and left open there. */
enum what {
    TIMEOUT,
    GROUP,
    PREPARED,
    STACK,     /* with a timeout on it */
    GENERATOR, /* with a group and a shield round its yield */
    TWO,       /* a timeout, and a group in it */
};

/* How what is around it is left. */
enum how {
    FALL,
    RETURN,
    FAIL,
    CANCELLED,
};

static void
note(void *arg)
{
    (void)arg;
    trace("note");
}

struct idler {
    belay_duration exit_sleep;
};

/* Says why it was cancelled: nothing else tells a task that was stopped at
 * once from one that was waited for until some deadline stopped it. */
BELAY_ASYNC(idler)
{
    struct belay_cancel_reason reason;

    BELAY_BEGIN;
    BELAY_WITH (
        BELAY_ENTER(probe, .name = "idler", .exit_sleep = self->exit_sleep)) {
        BELAY_TRY(belay_sleep(task, BELAY_FOREVER));
        if (belay_cancel_pending(task, &reason)) {
            trace("%s", reason.text);
        }
        return belay_pass(task);
    }
    BELAY_END;
}

struct crowd {
    belay_group *group;
};

BELAY_MANAGER(crowd)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_shield(task, BELAY_FOREVER)) {
            BELAY_CHECK(belay_spawn(self->group, idler, 0));
            BELAY_YIELD(NULL);
            trace("crowd goes");
        }
    }
    BELAY_END;
}

struct leave_open {
    enum what what;
    belay_stack *on;
    belay_cancel_scope *prepared;
    belay_group *group;
    belay_stack *nested;
};

/* A function of its own: what it puts there outlives its frame. */
BELAY_ASYNC(leave_open)
{
    BELAY_BEGIN;
    if (self->what == TIMEOUT || self->what == TWO) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->on, belay_timeout(task, belay_seconds(60)), NULL));
    }
    if (self->what == GROUP || self->what == TWO) {
        BELAY_AWAIT(belay_stack_enter(task, self->on,
            belay_group_open(
                task, BELAY_GROUP_OPTS(.name = "workers"), &self->group),
            NULL));
        BELAY_CHECK(belay_spawn(
            self->group, idler, .exit_sleep = belay_milliseconds(5)));
        BELAY_AWAIT(belay_checkpoint(task));
    } else if (self->what == PREPARED) {
        BELAY_AWAIT(belay_stack_enter(task, self->on,
            belay_cancel_scope_enter(task, self->prepared), NULL));
    } else if (self->what == STACK) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->on, belay_stack_open(task, &self->nested), NULL));
        BELAY_CHECK(belay_stack_defer(self->nested, note, NULL, NULL));
        BELAY_AWAIT(belay_stack_enter(
            task, self->nested, belay_timeout(task, belay_seconds(60)), NULL));
    } else if (self->what == GENERATOR) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->on, BELAY_ENTER(crowd, .group = NULL), NULL));
    }
    BELAY_END;
}

struct inside {
    enum what what;
    enum how how;
    belay_stack *stack;
    belay_cancel_scope *prepared;
    belay_cancel_scope *scope; /* around all */
};

BELAY_ASYNC(inside)
{
    BELAY_BEGIN;
    BELAY_AWAIT(BELAY_CALL(leave_open, .what = self->what, .on = self->stack,
        .prepared = self->prepared));
    trace("open");
    if (self->how == FAIL) {
        BELAY_FAIL(BELAY_EIO, "by itself");
    }
    if (self->how == CANCELLED) {
        belay_cancel_scope_cancel(self->scope, NULL);
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

struct left {
    enum what what;
    enum how how;
    belay_cancel_scope *scope;
    belay_cancel_scope *prepared;
    belay_cancel_scope *around;
    belay_stack *stack;
};

struct prepared {
    belay_cancel_scope *scope;
};

BELAY_MANAGER(prepared)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_cancel_scope_new(belay_task_runtime(task),
        BELAY_CANCEL_SCOPE_OPTS(.name = "prepared"), &self->scope));
    BELAY_TRY_YIELD(self->scope);
    belay_cancel_scope_free(self->scope);
    return belay_pass(task);
    BELAY_END;
}

BELAY_ASYNC(left)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(prepared, .scope = NULL)) {
        self->prepared = belay_result(task)->value;
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
            BELAY_WITH (belay_stack_open(task, &self->stack)) {
                BELAY_AWAIT(belay_stack_enter(task, self->stack,
                    BELAY_ENTER(probe, .name = "older"), NULL));
                BELAY_WITH (BELAY_ENTER(probe, .name = "outside")) {
                    BELAY_WITH (belay_timeout(task, belay_seconds(60))) {
                        BELAY_WITH (BELAY_ENTER(probe, .name = "block")) {
                            BELAY_AWAIT(BELAY_CALL(inside, .what = self->what,
                                .how = self->how, .stack = self->stack,
                                .prepared = self->prepared,
                                .scope = self->scope));
                            if (self->how == RETURN) {
                                BELAY_RETURN(NULL);
                            }
                        }
                    }
                }
            }
        }
    }
    trace("behind");
    BELAY_END;
}

/* Is there an error in the tree of this code, whose text has this in it? */
static bool
says(const belay_error *error, int code, const char *text)
{
    if (error == NULL) {
        return false;
    }
    if (belay_error_code(error) == code
        && strstr(belay_error_message(error), text) != NULL) {
        return true;
    }
    for (size_t i = 0; belay_error_child(error, i) != NULL; i++) {
        if (says(belay_error_child(error, i), code, text)) {
            return true;
        }
    }
    return says(belay_error_context(error), code, text);
}

#define EXPECT_MISNEST(text, ...)                                              \
    do {                                                                       \
        struct belay_result result_;                                           \
        cr_expect(eq(int, RUN_RESULT(&result_, __VA_ARGS__), BELAY_EMISNEST)); \
        cr_expect(                                                             \
            says(result_.error, BELAY_EMISNEST, (text)), "no '%s'", (text));   \
        belay_error_unref(result_.error);                                      \
    } while (0)

Test(evict, s28_a_timeout_that_is_left_open_is_named)
{
    EXPECT_MISNEST("cancel scope 'cancel scope' was left open on an exit stack",
        left, .what = TIMEOUT);
    expect_trace("enter older; enter outside; enter block; open; exit block; "
                 "exit outside/EMISNEST; exit older/EMISNEST");
}

Test(evict, s28_so_is_a_group_and_its_tasks_are_cancelled)
{
    EXPECT_MISNEST("group 'workers' was left open", left, .what = GROUP);
    expect_trace("enter older; enter outside; enter block; enter idler; open; "
                 "exit block; left open on an exit stack; exit idler/cancel; "
                 "exit outside/EMISNEST; exit older/EMISNEST");
}

Test(evict, s28_so_is_a_prepared_scope)
{
    EXPECT_MISNEST("'prepared' was left open", left, .what = PREPARED);
    expect_trace("enter older; enter outside; enter block; open; exit block; "
                 "exit outside/EMISNEST; exit older/EMISNEST");
}

Test(evict, s28_so_is_a_scope_on_a_stack_on_the_stack)
{
    EXPECT_MISNEST("was left open", left, .what = STACK);
    /* What else is on that stack stays until its turn. */
    expect_trace("enter older; enter outside; enter block; open; exit block; "
                 "exit outside/EMISNEST; note; exit older/EMISNEST");
}

Test(evict, s28_so_is_a_manager_with_all_its_scopes)
{
    EXPECT_MISNEST(
        "crowd 'cancel scope' was left open", left, .what = GENERATOR);
    expect_trace("enter older; enter outside; enter block; open; exit block; "
                 "crowd goes; enter idler; left open on an exit stack; "
                 "exit idler/cancel; exit outside/EMISNEST; "
                 "exit older/EMISNEST");
}

Test(evict, s28_several_go_newest_first_and_each_is_named)
{
    struct belay_result result;

    cr_expect(eq(int, RUN_RESULT(&result, left, .what = TWO), BELAY_EMISNEST));
    cr_expect(
        says(result.error, BELAY_EMISNEST, "cancel scope 'cancel scope'"));
    cr_expect(says(result.error, BELAY_EMISNEST, "group 'workers'"));
    cr_assert(ne(ptr, belay_error_context(result.error), NULL));
    cr_expect(says(
        belay_error_context(result.error), BELAY_EMISNEST, "group 'workers'"));
    belay_error_unref(result.error);
}

Test(evict, s28_also_when_the_task_ends_with_a_return)
{
    EXPECT_MISNEST("group 'workers'", left, .what = GROUP, .how = RETURN);
    expect_trace("enter older; enter outside; enter block; enter idler; open; "
                 "exit block; left open on an exit stack; exit idler/cancel; "
                 "exit outside/EMISNEST; exit older/EMISNEST");
}

Test(evict, s28_s77_a_failure_of_the_body_is_its_context)
{
    struct belay_result result;

    cr_expect(eq(int, RUN_RESULT(&result, left, .what = GROUP, .how = FAIL),
        BELAY_EMISNEST));
    cr_expect(says(result.error, BELAY_EMISNEST, "group 'workers'"));
    cr_expect(says(belay_error_context(result.error), BELAY_EIO, "by itself"));
    belay_error_unref(result.error);
}

Test(evict, s28_s83_a_cancel_gives_way_to_the_error)
{
    EXPECT_MISNEST("'prepared'", left, .what = PREPARED, .how = CANCELLED);
    expect_trace("enter older; enter outside; enter block; open; "
                 "exit block/cancel; exit outside/EMISNEST; "
                 "exit older/EMISNEST");
}

/* A stack that is left before a scope on an outer one, opened later. */
struct crossed {
    belay_stack *outer;
    belay_stack *inner;
};

BELAY_ASYNC(crossed)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->outer)) {
        BELAY_WITH (belay_stack_open(task, &self->inner)) {
            BELAY_AWAIT(belay_stack_enter(task, self->inner,
                belay_cancel_scope_open(
                    task, BELAY_CANCEL_SCOPE_OPTS(.name = "below"), NULL),
                NULL));
            BELAY_AWAIT(
                BELAY_CALL(leave_open, .what = TIMEOUT, .on = self->outer));
        }
        trace("never");
    }
    BELAY_END;
}

Test(evict, s28_a_scope_on_a_stack_may_be_what_is_left_too_early)
{
    EXPECT_MISNEST("was left open", crossed, .outer = NULL);
    expect_trace("");
}

/* A group is left too early: the misnest is a failure of its body. */
struct in_group {
    belay_stack *stack;
    belay_group *group;
};

BELAY_ASYNC(in_group)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, idler, 0));
            BELAY_AWAIT(
                BELAY_CALL(leave_open, .what = TIMEOUT, .on = self->stack));
            BELAY_AWAIT(belay_checkpoint(task));
        }
    }
    BELAY_END;
}

Test(evict, s28_s47_in_a_group_it_is_a_failure_of_the_body)
{
    struct belay_result result;

    cr_expect(
        eq(int, RUN_RESULT(&result, in_group, .stack = NULL), BELAY_EGROUP));
    cr_expect(says(result.error, BELAY_EMISNEST, "was left open"));
    belay_error_unref(result.error);
    expect_trace("enter idler; the body of the group failed; "
                 "exit idler/cancel");
}

/* What is left open on a stack on a stack stays in its task, and ends there. */
struct giver {
    enum what what;
    belay_stack *to;
    belay_stack *own;
    belay_stack *nested;
};

BELAY_ASYNC(giver)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->own)) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->own, belay_stack_open(task, &self->nested), NULL));
        BELAY_CHECK(belay_stack_defer(self->nested, note, NULL, NULL));
        BELAY_AWAIT(
            BELAY_CALL(leave_open, .what = self->what, .on = self->nested));
        trace(
            "move %s", belay_code_name(belay_stack_move(self->own, self->to)));
        BELAY_FAIL(BELAY_EPIPE, "so that nobody waits for idlers");
    }
    BELAY_END;
}

struct taker {
    enum what what;
    belay_stack *stack;
    belay_group *group;
};

BELAY_ASYNC(taker)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(
                self->group, giver, .what = self->what, .to = self->stack));
        }
        trace("never");
    }
    BELAY_END;
}

#define EXPECT_KEPT(what_, text)                                       \
    do {                                                               \
        trace_clear();                                                 \
        cr_expect(eq(int, RUN(taker, .what = (what_)), BELAY_EGROUP)); \
        expect_trace(text);                                            \
    } while (0)

Test(evict, s28_s87_scopes_on_a_stack_on_a_stack_end_in_their_task)
{
    EXPECT_KEPT(TIMEOUT, "move EPINNED; note");
    EXPECT_KEPT(GROUP, "enter idler; move EPINNED; "
                       "the body of the group failed; exit idler/cancel; note");
    EXPECT_KEPT(TWO, "enter idler; move EPINNED; "
                     "the body of the group failed; exit idler/cancel; note");
}

Test(evict, s28_s136_whatever_is_refused_or_cancelled)
{
    static const enum how hows[] = {FALL, RETURN, FAIL, CANCELLED};

    for (size_t i = 0; i < sizeof(hows) / sizeof(*hows); i++) {
        for (int what = TIMEOUT; what <= TWO; what++) {
            sweep(&(const struct program){.function = &left,
                .arguments = &(const struct left){
                    .what = (enum what)what, .how = hows[i]}});
        }
    }
    for (int what = TIMEOUT; what <= TWO; what++) {
        if (what == PREPARED) { /* that is its maker's to free */
            continue;
        }
        sweep(&(const struct program){.function = &taker,
            .arguments = &(const struct taker){.what = (enum what)what}});
    }
    sweep(&(const struct program){.function = &crossed,
        .arguments = &(const struct crossed){.inner = NULL}});
    sweep(&(const struct program){.function = &in_group,
        .arguments = &(const struct in_group){.group = NULL}});
}
