/* scenes.c - a program with all that a trace has to show; check.py reads it.
 *
 * Groups that fail and are cancelled, timeouts, an enter that fails, exits that
 * are slow, entries of exit stacks that end in another order, spans of notes,
 * names that JSON has to escape. scenes crash ends with a broken contract.
 */
#include <belay/belay.h>

#include <stdio.h>
#include <string.h>

static bool crash;

struct slow {
    const char *name;
    int enter_code;
};

BELAY_MANAGER(slow)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_microseconds(200)));
    if (self->enter_code < 0) {
        BELAY_FAIL(self->enter_code, "no \"%s\" today", self->name);
    }
    BELAY_WITH (belay_timeout(task, belay_seconds(60))) {
        BELAY_TRY_YIELD(self);
        BELAY_TRY(belay_sleep(task, belay_microseconds(300)));
    }
    BELAY_END;
}

struct worker {
    int number;
    int code;
};

BELAY_ASYNC(worker)
{
    const struct belay_note_field fields[] = {
        {.key = "number", .number = self->number},
        {.key = "te\"xt", .text = "tab\tand \xff"}};
    belay_runtime *runtime = belay_task_runtime(task);
    const uint64_t id = (uint64_t)self->number;

    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(slow, .name = "w")) {
        belay_note(
            runtime, task, BELAY_NOTE_BEGIN, "lease.wait", id, fields, 2);
        BELAY_TRY(belay_checkpoint(task));
        belay_note(runtime, task, BELAY_NOTE_END, "lease.wait", id, NULL, 0);
        if (self->code < 0) {
            BELAY_FAIL(self->code, "worker %d has failed", self->number);
        }
        BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
    }
    BELAY_END;
}

struct fails {
    belay_group *group;
};

/* The second of them fails; the others are cancelled in their bodies. */
BELAY_ASYNC(fails)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.name = "team \\ \"a\""), &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, worker, .number = 1));
        BELAY_CHECK(
            belay_spawn(self->group, worker, .number = 2, .code = BELAY_EIO));
        BELAY_CHECK(belay_group_spawn(self->group, &worker,
            &(const struct worker){.number = 3},
            BELAY_SPAWN_OPTS(.name = "third\n")));
    }
    BELAY_END;
}

struct stacks {
    belay_stack *outer;
    belay_stack *inner;
    belay_stack_entry *entry;
};

/* What was entered on the inner one is left after it. */
BELAY_ASYNC(stacks)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->outer)) {
        BELAY_WITH (belay_stack_open(task, &self->inner)) {
            BELAY_AWAIT(belay_stack_enter(
                task, self->inner, BELAY_ENTER(slow, .name = "kept"), NULL));
            BELAY_CHECK(belay_stack_move(self->inner, self->outer));
        }
        BELAY_TRY(belay_stack_enter(task, self->outer,
            BELAY_ENTER(slow, .name = "none", .enter_code = BELAY_ENOENT),
            NULL));
    }
    BELAY_END;
}

struct hasty {
    int unused;
};

BELAY_ASYNC(hasty)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_milliseconds(1))) {
        BELAY_WITH (BELAY_ENTER(slow, .name = "cut")) {
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
    }
    BELAY_END;
}

struct scenes {
    belay_group *group;
};

BELAY_ASYNC(scenes)
{
    BELAY_BEGIN;
    BELAY_TRY(BELAY_CALL(fails, .group = NULL));
    BELAY_AWAIT(BELAY_CALL(stacks, .outer = NULL));
    BELAY_TRY(BELAY_CALL(hasty, .unused = 0));
    BELAY_WITH (belay_suppressing(task, (const int[]){BELAY_ENOENT}, 1)) {
        BELAY_WITH (
            BELAY_ENTER(slow, .name = "none", .enter_code = BELAY_ENOENT)) {
            BELAY_AWAIT(belay_checkpoint(task));
        }
    }
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.max_running = 2), &self->group)) {
        for (int i = 0; i < 4; i++) { /* two of them are never started */
            BELAY_CHECK(belay_spawn(self->group, worker, .number = 10 + i));
        }
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(2)));
        belay_note(belay_task_runtime(task), NULL, BELAY_NOTE_MOMENT,
            "scenes.end", 0, NULL, 0);
        if (crash) {
            return (belay_next){0}; /* no operation's token */
        }
        belay_group_cancel(self->group, "that was \"all\"");
    }
    BELAY_END;
}

int
main(int argc, char **argv)
{
    const int runs = argc > 1 && strcmp(argv[1], "twice") == 0 ? 2 : 1;
    int code;

    crash = argc > 1 && strcmp(argv[1], "crash") == 0;
    for (int i = 0; i < runs; i++) {
        code = belay_run(
            &scenes, &(const struct scenes){.group = NULL}, NULL, NULL);
        if (code < 0) {
            (void)fprintf(stderr, "scenes: %s\n", belay_code_text(code));
            return 1;
        }
    }
    return 0;
}
