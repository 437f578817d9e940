/* test_dump.c - the live task tree as text: contract S138. */
#include "test/support/program.h"

#include <belay/uv.h>

#include <stdlib.h>
#include <string.h>

TestSuite(dump, .fini = check_clean, .timeout = 30);

static char *
dumped(const belay_task *task)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    cr_assert(ne(ptr, out, NULL));
    belay_runtime_dump(belay_task_runtime(task), out);
    (void)fclose(out);
    return text;
}

static void
expect_in(const char *text, const char *part)
{
    cr_expect(text != NULL && strstr(text, part) != NULL, "%s is not in: %s",
        part, text != NULL ? text : "nothing");
}

struct sleeper {
    struct belay_event *event;
    struct belay_op op;
};

BELAY_ASYNC(sleeper)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_seconds(9))) {
        BELAY_AWAIT(belay_event_wait(task, self->event));
    }
    BELAY_END;
}

struct caller {
    struct belay_op *op;
};

struct named_op {
    struct belay_op *op;
};

static belay_next
begin_named(belay_task *task, struct belay_op *op)
{
    (void)belay_op_begin(task, op, NULL);
    op->name = "the oracle";
    return belay_op_wait(op);
}

BELAY_ASYNC(named_op)
{
    BELAY_BEGIN;
    BELAY_AWAIT(begin_named(task, self->op));
    BELAY_END;
}

BELAY_ASYNC(caller)
{
    BELAY_BEGIN;
    BELAY_AWAIT(BELAY_CALL(named_op, .op = self->op));
    BELAY_END;
}

struct inner {
    struct belay_event *event;
    belay_group *group;
};

/* Waits in its group's exit, having waited for an event before. */
BELAY_ASYNC(inner)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_AWAIT(belay_event_wait(task, self->event));
        BELAY_CHECK(belay_spawn(self->group, sleeper, .event = self->event));
        belay_event_clear(self->event);
    }
    BELAY_END;
}

struct root {
    struct belay_event never;
    struct belay_event event;
    struct belay_op op;
    belay_group *group;
    belay_task *cancelled;
    char *text;
};

/* The operation cannot be aborted. */
static void
settle(void *arg)
{
    struct root *self = arg;

    if (belay_op_pending(&self->op)) {
        belay_op_done(&self->op, 0, NULL);
    }
}

BELAY_ASYNC(root)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->cancelled)) {
        BELAY_WITH (belay_group_open(
            task, BELAY_GROUP_OPTS(.name = "readers"), &self->group)) {
            BELAY_WITH (belay_defer(task, settle, self)) {
                BELAY_CHECK(
                    belay_spawn(self->group, sleeper, .event = &self->never));
                BELAY_CHECK(belay_spawn(self->group, caller, .op = &self->op));
                BELAY_CHECK(
                    belay_spawn(self->group, inner, .event = &self->event));
                BELAY_AWAIT(belay_checkpoint(task));
                belay_event_set(&self->event);
                BELAY_AWAIT(belay_checkpoint(task));
                BELAY_AWAIT(belay_checkpoint(task));
                BELAY_CHECK(belay_group_spawn(self->group, &sleeper,
                    &(const struct sleeper){.event = &self->never},
                    BELAY_SPAWN_OPTS(.name = "late",
                        .task = &self->cancelled)));
                (void)belay_task_cancel(self->cancelled, "not needed");
                self->text = dumped(task);
                expect_in(self->text, "runtime: 6 tasks alive, 6 started");
                expect_in(self->text, "program #1 running");
                expect_in(self->text, "waiting for event in sleeper (");
                expect_in(self->text,
                    "[cancel scope], inside cancel scope, deadline in 9.000 s");
                expect_in(
                    self->text, "[group] [defer] < program, inside readers");
                expect_in(self->text, "waiting for the oracle in named_op (");
                expect_in(self->text, " < caller (");
                expect_in(self->text,
                    "waiting for group join in group exit < inner (");
                expect_in(self->text, "late #");
                expect_in(self->text, "ready in sleeper");
                expect_in(self->text,
                    "cancelled (explicit: not needed, by program #1)");
                free(self->text);
                belay_group_cancel(self->group, NULL);
            }
        }
    }
    BELAY_END;
}

Test(dump, s138_name_state_wait_scopes_deadline_and_reason)
{
    cr_expect(eq(int, RUN(root, .text = NULL), 0));
}

/* ---- a task in its enter, and tasks that do not see their cancel ---- */

struct slow {
    struct belay_event *event;
};

BELAY_MANAGER(slow)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_event_wait(task, self->event));
    BELAY_TRY_YIELD(self);
    BELAY_TRY(belay_sleep(task, belay_seconds(3)));
    BELAY_END;
}

struct enters {
    struct belay_event *event;
};

static int enters_line;

BELAY_ASYNC(enters)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_checkpoint(task)); /* a line that is not the answer */
    enters_line = __LINE__ + 1;
    BELAY_WITH (BELAY_ENTER(slow, .event = self->event)) {
        BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
    }
    BELAY_END;
}

struct shielded {
    int unused;
};

BELAY_ASYNC(shielded)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_shield(task, belay_seconds(7))) {
        BELAY_AWAIT(belay_sleep(task, belay_seconds(2)));
    }
    BELAY_END;
}

struct victims {
    struct belay_event *event;
    belay_group *group;
};

BELAY_ASYNC(victims)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, enters, .event = self->event));
        BELAY_CHECK(belay_spawn(self->group, shielded, .unused = 0));
    }
    BELAY_END;
}

struct watcher {
    struct belay_event event;
    belay_group *group;
    belay_task *victims;
    char *text;
};

static void
expect_enter_at_its_block(const char *text)
{
    char place[64];

    (void)snprintf(place, sizeof(place), "test_dump.c:%d)", enters_line);
    expect_in(text, "waiting for event in slow enter (");
    expect_in(strstr(text, " < enters ("), place);
}

BELAY_ASYNC(watcher)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->victims)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_group_spawn(self->group, &victims,
                &(const struct victims){.event = &self->event},
                BELAY_SPAWN_OPTS(.task = &self->victims)));
            BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
            self->text = dumped(task);
            expect_enter_at_its_block(self->text);
            free(self->text);
            belay_event_set(&self->event);
            BELAY_AWAIT(belay_sleep(task, belay_nanoseconds(1)));
            (void)belay_task_cancel(self->victims, "enough");
            BELAY_AWAIT(belay_sleep(task, belay_nanoseconds(1)));
            self->text = dumped(task);
            expect_in(
                self->text, "waiting for sleep in slow exit (" __FILE__ ":");
            expect_in(self->text,
                "deadline in 5.000 s, "
                "shielded from a cancel (explicit: enough, by program #1)");
            expect_in(self->text,
                "inside cancel scope, deadline in 7.000 s, "
                "shielded from a cancel (explicit: enough, by program #1)");
            expect_in(self->text, "for group join in group exit < victims (");
            free(self->text);
        }
    }
    BELAY_END;
}

/* ---- a start; a scope that is left open on a stack ---- */

struct dumper {
    belay_duration after;
    char **text;
};

BELAY_ASYNC(dumper)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, self->after));
    *self->text = dumped(task);
    BELAY_END;
}

struct starting {
    int unused;
};

BELAY_ASYNC(starting)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_seconds(2)));
    (void)belay_started(task, NULL);
    BELAY_END;
}

/* A scope, and in it an exit that takes its time. */
struct guarded {
    struct probe probe;
};

BELAY_MANAGER(guarded)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_shield(task, BELAY_FOREVER)) {
        BELAY_WITH (belay_enter(task, &probe, &self->probe)) {
            BELAY_YIELD(NULL);
        }
    }
    BELAY_END;
}

struct puts_it {
    belay_stack *on;
};

BELAY_ASYNC(puts_it)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_stack_enter(task, self->on,
        BELAY_ENTER(
            guarded, .probe = {.name = "slow", .exit_sleep = belay_seconds(2)}),
        NULL));
    BELAY_END;
}

struct two_dumps {
    belay_group *group;
    belay_stack *stack;
    char *texts[2];
};

/* The group has failed by then: the misnest is an error. */
static void
check_texts(void *arg)
{
    struct two_dumps *self = arg;

    expect_in(self->texts[0], "program #1 waiting for task start in "
                              "group start < two_dumps (");
    expect_in(self->texts[0], ", inside start < group");
    /* What has been taken off its stack is a call; no block is both. */
    expect_in(self->texts[1],
        "program #1 waiting for sleep in probe exit < guarded exit (");
    expect_in(
        self->texts[1], ") [cancel scope] < cancel scope exit < two_dumps (");
    expect_in(self->texts[1], ") [exit stack] [group] [defer] < program");
    expect_in(self->texts[1], "left open on an exit stack");
    free(self->texts[0]);
    free(self->texts[1]);
}

BELAY_ASYNC(two_dumps)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, check_texts, self)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, dumper,
                .after = belay_seconds(1), .text = &self->texts[0]));
            BELAY_CHECK(belay_spawn(self->group, dumper,
                .after = belay_seconds(3), .text = &self->texts[1]));
            BELAY_AWAIT(
                belay_start(task, self->group, NULL, starting, .unused = 0));
            BELAY_WITH (belay_stack_open(task, &self->stack)) {
                BELAY_WITH (belay_timeout(task, belay_seconds(60))) {
                    BELAY_AWAIT(BELAY_CALL(puts_it, .on = self->stack));
                }
            }
        }
    }
    BELAY_END;
}

Test(dump, s138_a_start_has_a_scope_and_what_is_evicted_is_a_call)
{
    cr_expect(eq(int, RUN(two_dumps, .group = NULL), BELAY_EGROUP));
}

Test(dump, s138_an_enter_shows_its_block_and_a_shield_what_it_holds_off)
{
    cr_expect(eq(int, RUN(watcher, .text = NULL), 0));
}
