/* test_evict_tangled.c - scopes of two entries that lie in each other: neither
 * can be undone before the other (contract S28).
 */
#include "test/support/program.h"

TestSuite(evict_tangled, .fini = check_clean, .timeout = 30);

/* What one entry has round that of the other. */
enum what {
    SCOPES,
    GROUPS, /* with a task in each */
    SHIELDS,
};

/* How the stack of the other entry is left. */
enum how {
    FALL,
    FAIL,
    CANCELLED,
};

struct idler {
    const char *name;
};

/* Says why it was cancelled, as that of test_evict.c. */
BELAY_ASYNC(idler)
{
    struct belay_cancel_reason reason;

    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(
        probe, .name = self->name, .exit_sleep = belay_milliseconds(5))) {
        BELAY_TRY(belay_sleep(task, BELAY_FOREVER));
        if (belay_cancel_pending(task, &reason)) {
            trace("%s", reason.text);
        }
        return belay_pass(task);
    }
    BELAY_END;
}

static void
note(void *arg)
{
    trace("%s", (const char *)arg);
}

/* An enter that puts a scope on another stack between two of its own. */
struct tangle {
    enum what what;
    belay_stack *other;
    belay_group *outer;
    belay_group *inner;
    belay_group *group;
};

static belay_next
open_one(belay_task *task, enum what what, const char *name, belay_group **ret)
{
    switch (what) {
    case GROUPS:
        return belay_group_open(task, BELAY_GROUP_OPTS(.name = name), ret);
    case SHIELDS:
        return belay_shield(task, BELAY_FOREVER);
    case SCOPES:
        break;
    }
    return belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.name = name, .timeout = belay_seconds(60)),
        NULL);
}

static int
populate(enum what what, belay_group *group, const char *name)
{
    return what == GROUPS ? belay_spawn(group, idler, .name = name) : 0;
}

BELAY_MANAGER(tangle)
{
    BELAY_BEGIN;
    BELAY_WITH (open_one(task, self->what, "outer", &self->outer)) {
        BELAY_CHECK(populate(self->what, self->outer, "of outer"));
        BELAY_AWAIT(belay_stack_enter(task, self->other,
            open_one(task, self->what, "between", &self->group), NULL));
        BELAY_CHECK(populate(self->what, self->group, "of between"));
        BELAY_WITH (open_one(task, self->what, "inner", &self->inner)) {
            BELAY_CHECK(populate(self->what, self->inner, "of inner"));
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_WITH (belay_defer(task, note, "tangle goes")) {
                BELAY_YIELD(NULL);
            }
        }
        trace("inner is left");
    }
    trace("outer is left");
    BELAY_END;
}

struct tangled {
    enum what what;
    enum how how;
    belay_stack *stack;
    belay_stack *other;
    belay_cancel_scope *scope;
};

BELAY_ASYNC(tangled)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_CHECK(
                belay_stack_defer(self->stack, note, "stack's oldest", NULL));
            BELAY_WITH (belay_stack_open(task, &self->other)) {
                BELAY_AWAIT(belay_stack_enter(task, self->stack,
                    BELAY_ENTER(
                        tangle, .what = self->what, .other = self->other),
                    NULL));
                if (self->how == FAIL) {
                    BELAY_FAIL(BELAY_EIO, "by itself");
                }
                if (self->how == CANCELLED) {
                    belay_cancel_scope_cancel(self->scope, NULL);
                    BELAY_AWAIT(belay_checkpoint(task));
                }
            }
            trace("never");
        }
    }
    BELAY_END;
}

#define EXPECT_TANGLED(code, text, ...)                        \
    do {                                                       \
        trace_clear();                                         \
        cr_expect(eq(int, RUN(tangled, __VA_ARGS__), (code))); \
        expect_trace(text);                                    \
    } while (0)

Test(evict_tangled, s28_a_scope_inside_whose_exit_runs_is_not_waited_for)
{
    EXPECT_TANGLED(BELAY_EMISNEST,
        "tangle goes; inner is left; outer is left; stack's oldest",
        .what = SCOPES);
    EXPECT_TANGLED(BELAY_EMISNEST,
        "tangle goes; inner is left; outer is left; stack's oldest",
        .what = SHIELDS);
    /* For its own tasks a group waits nevertheless, and for no other's. */
    EXPECT_TANGLED(BELAY_EGROUP,
        "enter of outer; enter of between; enter of inner; tangle goes; "
        "left open on an exit stack; exit of inner/cancel; "
        "left open on an exit stack; exit of between/cancel; "
        "left open on an exit stack; exit of outer/cancel; outer is left; "
        "stack's oldest",
        .what = GROUPS);
}

/* Closed by itself, and not at the end of a block. */
struct closes_tangle {
    belay_stack *stack;
    belay_stack *other;
    belay_stack_entry *entry;
};

BELAY_ASYNC(closes_tangle)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_WITH (belay_stack_open(task, &self->other)) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                BELAY_ENTER(tangle, .what = SCOPES, .other = self->other),
                &self->entry));
            BELAY_TRY(
                belay_stack_close_entry(task, self->stack, self->entry, NULL));
            trace("%s", trace_result(belay_result(task)));
            trace("%zu left", belay_stack_count(self->other));
        }
    }
    BELAY_END;
}

Test(evict_tangled, s28_s91_what_another_stack_has_left_between_is_undone)
{
    program_other_code = BELAY_EMISNEST; /* the stack closes the entry then */
    cr_expect(zero(int, RUN(closes_tangle, .stack = NULL)));
    expect_trace("tangle goes; inner is left; EMISNEST; 0 left");
}

/* Not its own scopes alone: on a stack in the entry there is another one. */
struct with_stack {
    belay_stack *stack;
    belay_group *group;
};

BELAY_MANAGER(with_stack)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            open_one(task, GROUPS, "on its stack", &self->group), NULL));
        BELAY_CHECK(belay_spawn(self->group, idler, .name = "of its stack"));
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_WITH (belay_timeout(task, belay_seconds(60))) {
            BELAY_YIELD(NULL);
        }
    }
    BELAY_END;
}

struct left_open {
    belay_stack *stack;
};

BELAY_ASYNC(left_open)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_WITH (belay_timeout(task, belay_seconds(60))) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                BELAY_ENTER(with_stack, .group = NULL), NULL));
        }
    }
    BELAY_END;
}

Test(evict_tangled, s28_what_lies_on_stacks_in_the_entry_is_cancelled_with_it)
{
    cr_expect(eq(int, RUN(left_open, .stack = NULL), BELAY_EMISNEST));
    expect_trace("enter of its stack; left open on an exit stack; "
                 "exit of its stack/cancel");
}

/* The scope outside of a shield was cancelled, and leaves from between. */
struct shielded {
    belay_cancel_scope *around;
};

BELAY_MANAGER(shielded)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_shield(task, belay_seconds(5))) {
        BELAY_WITH (belay_suppressing(task, BELAY_CODES(BELAY_EMISNEST))) {
            BELAY_WITH (belay_cancel_scope_open(task, NULL, NULL)) {
                BELAY_YIELD(NULL);
            }
        }
        BELAY_AWAIT(belay_sleep(task, belay_seconds(10)));
        belay_cancel_scope_cancel(self->around, NULL);
        BELAY_AWAIT(belay_sleep(task, belay_seconds(4)));
        trace("4 of 5 s");
        BELAY_TRY(belay_sleep(task, belay_seconds(2)));
        trace("6 of 5 s %s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

struct round_shield {
    belay_stack *other;
    belay_cancel_scope *around;
};

BELAY_MANAGER(round_shield)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_seconds(60))) {
        BELAY_AWAIT(belay_stack_enter(task, self->other,
            BELAY_ENTER(shielded, .around = self->around), NULL));
        BELAY_WITH (belay_timeout(task, belay_seconds(60))) {
            BELAY_YIELD(NULL);
        }
    }
    BELAY_END;
}

struct let_go {
    belay_cancel_scope *around;
    belay_stack *stack;
    belay_stack *other;
};

BELAY_ASYNC(let_go)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.grace = BELAY_NO_GRACE), &self->around)) {
        BELAY_WITH (belay_stack_open(task, &self->stack)) {
            BELAY_WITH (belay_stack_open(task, &self->other)) {
                BELAY_AWAIT(belay_stack_enter(task, self->stack,
                    BELAY_ENTER(round_shield, .other = self->other,
                        .around = self->around),
                    NULL));
            }
        }
    }
    BELAY_END;
}

Test(evict_tangled, s24_s28_a_shields_time_is_not_that_of_what_has_left)
{
    program_other_code = BELAY_EMISNEST; /* where the enter fails half-way */
    cr_expect(zero(int, RUN(let_go, .around = NULL)));
    expect_trace("4 of 5 s; 6 of 5 s cancel");
}

/* ---- in an exit: a scope at its border leaves from between ---- */

struct sleeper {
    int unused;
};

BELAY_ASYNC(sleeper)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_sleep(task, belay_seconds(10)));
    trace("sleeper %s", trace_result(belay_result(task)));
    BELAY_END;
}

struct with_sleeper {
    belay_group *group;
};

BELAY_MANAGER(with_sleeper)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_shield(task, belay_seconds(5))) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, sleeper, .unused = 0));
            BELAY_WITH (belay_suppressing(task, BELAY_CODES(BELAY_EMISNEST))) {
                BELAY_WITH (belay_cancel_scope_open(task, NULL, NULL)) {
                    BELAY_YIELD(NULL);
                }
            }
        }
    }
    BELAY_END;
}

struct round_sleeper {
    belay_stack *other;
};

BELAY_MANAGER(round_sleeper)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_seconds(60))) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->other, BELAY_ENTER(with_sleeper, .group = NULL), NULL));
        BELAY_WITH (belay_timeout(task, belay_seconds(60))) {
            BELAY_YIELD(NULL);
        }
    }
    BELAY_END;
}

struct tangled_exit {
    belay_stack *stack;
    belay_stack *other;
};

static belay_next
tangled_exit_exit(belay_task *task, void *arg)
{
    struct tangled_exit *self = arg;

    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_WITH (belay_stack_open(task, &self->other)) {
            BELAY_AWAIT(belay_stack_enter(task, self->stack,
                BELAY_ENTER(round_sleeper, .other = self->other), NULL));
        }
    }
    BELAY_END;
}

static const belay_manager tangled_exit = {
    {"tangled exit", NULL, sizeof(struct tangled_exit), enter_nothing, 0},
    tangled_exit_exit};

struct in_exit {
    belay_cancel_scope *around;
};

BELAY_ASYNC(in_exit)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.grace = belay_seconds(60)), &self->around)) {
        belay_cancel_scope_cancel(self->around, NULL);
        BELAY_WITH (BELAY_ENTER(tangled_exit, .stack = NULL)) {
        }
    }
    BELAY_END;
}

/* What was inside of it is behind the border now. */
Test(evict_tangled, s28_s99_the_scope_inside_of_it_is_in_the_exit_as_it_was)
{
    program_other_code = BELAY_EMISNEST; /* where the enter fails half-way */
    cr_expect(zero(int, RUN(in_exit, .around = NULL)));
    expect_trace("sleeper ok");
}

Test(evict_tangled, s28_s136_however_it_ends_and_whatever_is_refused)
{
    static const enum how hows[] = {FALL, FAIL, CANCELLED};

    for (size_t i = 0; i < sizeof(hows) / sizeof(*hows); i++) {
        for (int what = SCOPES; what <= SHIELDS; what++) {
            sweep(&(const struct program){.function = &tangled,
                .arguments = &(const struct tangled){
                    .what = (enum what)what, .how = hows[i]}});
        }
    }
    sweep(&(const struct program){.function = &left_open,
        .arguments = &(const struct left_open){.stack = NULL}});
}
