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
            expect_in(self->text,
                "waiting for sleep in slow exit (../test/unit/test_dump.c:");
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

Test(dump, s138_an_enter_shows_its_block_and_a_shield_what_it_holds_off)
{
    cr_expect(eq(int, RUN(watcher, .text = NULL), 0));
}
