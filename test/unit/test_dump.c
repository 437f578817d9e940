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
    cr_expect(strstr(text, part) != NULL, "%s is not in: %s", part, text);
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

BELAY_ASYNC(root)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.name = "readers"), &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, sleeper, .event = &self->never));
        BELAY_CHECK(belay_spawn(self->group, caller, .op = &self->op));
        BELAY_CHECK(belay_spawn(self->group, inner, .event = &self->event));
        BELAY_AWAIT(belay_checkpoint(task));
        belay_event_set(&self->event);
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_CHECK(belay_group_spawn(self->group, &sleeper,
            &(const struct sleeper){.event = &self->never},
            BELAY_SPAWN_OPTS(.name = "late", .task = &self->cancelled)));
        (void)belay_task_cancel(self->cancelled, "not needed");
        self->text = dumped(task);
        expect_in(self->text, "runtime: 6 tasks alive, 6 started");
        expect_in(self->text, "program #1 running");
        expect_in(self->text, "waiting for event in sleeper (");
        expect_in(self->text,
            "[cancel scope], inside cancel scope, deadline in 9.000 s");
        expect_in(self->text, "[group] < program, inside readers");
        expect_in(self->text, "waiting for the oracle in named_op (");
        expect_in(self->text, " < caller (");
        expect_in(self->text, "waiting for group join in group < inner (");
        expect_in(self->text, "late #");
        expect_in(self->text, "ready in sleeper");
        expect_in(self->text, "cancelled (explicit: not needed)");
        free(self->text);
        belay_task_unref(self->cancelled);
        belay_op_done(&self->op, 0, NULL);
        belay_group_cancel(self->group, NULL);
    }
    BELAY_END;
}

Test(dump, s138_name_state_wait_scopes_deadline_and_reason)
{
    cr_expect(eq(int, RUN(root, .text = NULL), 0));
}
