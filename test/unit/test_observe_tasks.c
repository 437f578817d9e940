/* test_observe_tasks.c - what is told of tasks: their ends, cancels and steps.
 */
#include "test/support/observer.h"

#include <string.h>

TestSuite(observe_tasks, .fini = check_clean, .timeout = 30);

/* ---- cancels ---- */

struct times_out {
    int unused;
};

BELAY_ASYNC(times_out)
{
    BELAY_BEGIN;
    attach(task, NULL,
        BELAY_OBSERVER_OPTS(.kinds =
                                BELAY_OBSERVE_SCOPES | BELAY_OBSERVE_CANCELS),
        NULL);
    BELAY_WITH (belay_timeout(task, belay_milliseconds(50))) {
        BELAY_WITH (BELAY_ENTER(slow, .exit_ms = 7000)) {
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
    }
    BELAY_END;
}

Test(observe_tasks, a_cancel_is_told_with_its_reason_and_is_no_error_of_a_block)
{
    cr_expect(eq(int, RUN(times_out, .unused = 0), BELAY_ETIMEDOUT));
    expect_trace(
        "+cancel scope 0; +slow 0; deadline.expire cancel scope; "
        "cancel cancel scope of program: deadline the deadline passed by ; "
        "deadline.grace cancel scope; -slow cancel>cancel 5050/5000; "
        "!cancel scope ETIMEDOUT; -cancel scope cancel>ETIMEDOUT 5050/0");
}

struct child {
    int code;
};

BELAY_ASYNC(child)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(3)));
    if (self->code < 0) {
        BELAY_FAIL(self->code, "child");
    }
    BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
    BELAY_END;
}

struct family {
    belay_group *group;
};

BELAY_ASYNC(family)
{
    BELAY_BEGIN;
    attach(task, NULL,
        BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_TASKS | BELAY_OBSERVE_CANCELS
                                     | BELAY_OBSERVE_GROUPS),
        NULL);
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.name = "pair"), &self->group)) {
        BELAY_CHECK(belay_group_spawn(self->group, &child,
            &(const struct child){BELAY_EIO}, BELAY_SPAWN_OPTS(.name = "a")));
        BELAY_CHECK(belay_group_spawn(self->group, &child,
            &(const struct child){0}, BELAY_SPAWN_OPTS(.name = "b")));
    }
    BELAY_END;
}

Test(observe_tasks, tasks_groups_and_the_sibling_that_is_cancelled)
{
    cr_expect(eq(int, RUN(family, .group = NULL), BELAY_EGROUP));
    expect_trace("spawn a by program; spawn b by program; group.join pair; "
                 "end a EIO 3; group.fail pair: a 1; "
                 "cancel pair of program: sibling another task of the group "
                 "failed by a; end b cancel 3");
}

/* ---- steps ---- */

struct steps {
    struct belay_event event;
};

BELAY_ASYNC(steps)
{
    BELAY_BEGIN;
    attach(task, NULL, BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_STEPS), NULL);
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
    belay_event_set(&self->event);
    BELAY_AWAIT(belay_event_wait(task, &self->event)); /* does not wait */
    BELAY_END;
}

static int joining_line; /* of the program below */

static void
tell_line(belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    (void)runtime;
    (void)arg;
    if (seen->event == BELAY_OBSERVED_TASK_PARK) {
        trace("%s at %s, line %d", seen->name,
            strstr(seen->file, "test_observe_tasks.c") != NULL ? "home"
                                                               : seen->file,
            seen->line - joining_line);
    }
}

struct joins_child {
    int unused;
};

struct joins {
    belay_group *group;
};

BELAY_ASYNC(joins_child)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
    BELAY_END;
}

BELAY_ASYNC(joins)
{
    BELAY_BEGIN;
    joining_line = __LINE__ + 4;
    cr_assert(zero(
        int, belay_observer_attach(belay_task_runtime(task), tell_line, NULL,
                 BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_STEPS), NULL)));
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, joins_child, .unused = 0));
    }
    BELAY_END;
}

Test(observe_tasks, a_group_that_joins_waits_where_its_block_stands)
{
    cr_expect(eq(int, RUN(joins, .group = NULL), 0));
    expect_trace("group join at home, line 0; sleep at home, line -11");
}

Test(observe_tasks, parks_and_resumes)
{
    cr_expect(eq(int, RUN(steps, .event = {.set = false}), 0));
    expect_trace("task.park checkpoint; task.resume ; task.park sleep; "
                 "task.resume ");
}

/* ---- from the first event on ---- */

Test(observe_tasks, the_observer_of_the_options_misses_nothing)
{
    belay_clock *clock = belay_clock_new(true);

    cr_expect(eq(int,
        belay_run(&child, &(const struct child){BELAY_EIO},
            BELAY_RUNTIME_OPTS(.clock = clock, .allocator = &test_allocator,
                .observe = tell, .observe_kinds = BELAY_OBSERVE_TASKS),
            NULL),
        BELAY_EIO));
    expect_trace("spawn child by ; end child EIO 3");
    trace_clear();
    belay_clock_free(clock);
}
