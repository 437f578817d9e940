/* stopped.c - a program that stops in the middle of everything; gdb.py looks.
 *
 * It prints its own dump first: what the debugger says has to be the same. A
 * virtual clock, so that the times are too. `stopped observed` knows ages.
 */
#include <belay/belay.h>
#include <belay/uv.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The breakpoint. */
__attribute__((noinline)) void stop_here(void);

void
stop_here(void)
{
    __asm__ volatile("" ::: "memory");
}

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

struct child {
    struct belay_event *event;
};

BELAY_ASYNC(child)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_seconds(9))) {
        BELAY_WITH (BELAY_ENTER(slow, .event = self->event)) {
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
    }
    BELAY_END;
}

struct shielded {
    struct belay_event *event;
};

BELAY_ASYNC(shielded)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_shield(task, belay_seconds(7))) {
        BELAY_WITH (belay_shield(task, belay_seconds(4))) {
            BELAY_AWAIT(belay_event_wait(task, self->event));
        }
    }
    BELAY_END;
}

/* Its exit is cut off, and waits on where the cut does not come in. */
struct lingers {
    struct belay_event *event;
};

BELAY_MANAGER(lingers)
{
    BELAY_BEGIN;
    BELAY_TRY_YIELD(self);
    BELAY_TRY(belay_event_wait(task, self->event));
    BELAY_WITH (belay_shield(task, belay_seconds(7))) {
        BELAY_TRY(belay_event_wait(task, self->event));
    }
    BELAY_END;
}

struct cut {
    struct belay_event *event;
};

BELAY_ASYNC(cut)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.timeout = belay_seconds(1),
            .grace = belay_milliseconds(100)),
        NULL)) {
        BELAY_WITH (BELAY_ENTER(lingers, .event = self->event)) {
            BELAY_AWAIT(belay_event_wait(task, self->event));
        }
    }
    BELAY_END;
}

struct named {
    struct belay_op op;
};

BELAY_ASYNC(named)
{
    BELAY_BEGIN;
    if (belay_op_begin(task, &self->op, NULL) == 0) {
        self->op.name = "the oracle";
    }
    BELAY_AWAIT(belay_op_wait(&self->op));
    BELAY_END;
}

struct victims {
    struct belay_event *open;
    struct belay_event *never;
    belay_group *group;
};

BELAY_ASYNC(victims)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.name = "victims"), &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, child, .event = self->open));
        BELAY_CHECK(belay_spawn(self->group, shielded, .event = self->never));
    }
    BELAY_END;
}

struct stopped {
    struct belay_event open;
    struct belay_event never;
    belay_group *group;
    belay_task *victims;
    belay_task *late;
};

BELAY_ASYNC(stopped)
{
    BELAY_BEGIN;
    BELAY_WITH (
        belay_group_open(task, BELAY_GROUP_OPTS(.name = "all"), &self->group)) {
        BELAY_CHECK(belay_group_spawn(self->group, &victims,
            &(const struct victims){.open = &self->open, .never = &self->never},
            BELAY_SPAWN_OPTS(.task = &self->victims)));
        BELAY_CHECK(belay_spawn(self->group, child, .event = &self->never));
        BELAY_CHECK(belay_spawn(self->group, cut, .event = &self->never));
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1500)));
        belay_event_set(&self->open);
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(500)));
        (void)belay_task_cancel(self->victims, "enough");
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(250)));
        /* The clock does not jump any more once something else is awaited. */
        BELAY_CHECK(belay_spawn(self->group, named, .op = {.name = NULL}));
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_CHECK(belay_group_spawn(self->group, &child,
            &(const struct child){.event = &self->never},
            BELAY_SPAWN_OPTS(.name = "late", .task = &self->late)));
        (void)belay_task_cancel(self->late, NULL);
        belay_runtime_dump(belay_task_runtime(task), stdout);
        (void)fflush(stdout);
        stop_here();
        exit(0); /* the one who looks has seen it */
    }
    BELAY_END;
}

int
main(int argc, char **argv)
{
    const bool observed = argc > 1 && strcmp(argv[1], "observed") == 0;
    belay_clock *clock = belay_clock_new(true);

    if (clock == NULL) {
        return 1;
    }
    return belay_run(&stopped, &(const struct stopped){.group = NULL},
               BELAY_RUNTIME_OPTS(.clock = clock,
                   .observe_kinds =
                       observed ? BELAY_OBSERVE_TASKS | BELAY_OBSERVE_SCOPES
                                : 0),
               NULL)
           < 0;
}
