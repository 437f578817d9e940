/* gone_scene.c - what an operation was given is gone at its first step. */
#include "test/support/gone_scene.h"

bool gone_opened;
bool gone_called;

struct play {
    const struct gone_scene *scene;
    const struct gone_operation *operation;
    int burn;
    belay_group *group;
    int code;
};

struct nop {
    int unused;
};

BELAY_ASYNC(nop)
{
    (void)self;
    BELAY_BEGIN;
    BELAY_END;
}

/* Writes over what lay in the frames that have gone. */
struct litter {
    char bytes[2000];
};

BELAY_ASYNC(litter)
{
    BELAY_BEGIN;
    memset(self->bytes, 0x5a, sizeof(self->bytes));
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_END;
}

struct use {
    struct play *play;
    int i;
};

BELAY_ASYNC(use)
{
    const struct gone_operation *operation = self->play->operation;

    BELAY_BEGIN;
    while (!gone_opened) {
        BELAY_AWAIT(belay_checkpoint(task));
    }
    for (; self->i < self->play->burn; self->i++) {
        BELAY_AWAIT(BELAY_CALL(nop, .unused = 0));
    }
    gone_called = true;
    if (!operation->block) {
        BELAY_AWAIT(operation->fn(task));
        BELAY_RETURN(NULL);
    }
    BELAY_WITH (operation->fn(task)) {
    }
    BELAY_END;
}

/* What it ends with. */
struct user {
    struct play *play;
};

BELAY_ASYNC(user)
{
    BELAY_BEGIN;
    BELAY_TRY(BELAY_CALL(use, .play = self->play));
    self->play->code = belay_result(task)->code;
    self->play->scene->give_back(self->play->operation->block);
    BELAY_END;
}

struct owner {
    const belay_function *function;
};

BELAY_ASYNC(owner)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_call(task, self->function, NULL));
    BELAY_AWAIT(BELAY_CALL(litter, .bytes = {0}));
    BELAY_END;
}

struct going {
    struct play *play;
};

BELAY_ASYNC(going)
{
    struct play *play = self->play;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &play->group)) {
        BELAY_CHECK(belay_spawn(play->group, user, .play = play));
        BELAY_CHECK(
            belay_spawn(play->group, owner, .function = play->scene->owner));
    }
    BELAY_END;
}

/* True: it came too late. */
static bool
run_gone(struct play play, uint32_t step_budget)
{
    gone_opened = gone_called = false;
    cr_expect(zero(int, belay_run(&going, &(const struct going){&play},
                            BELAY_RUNTIME_OPTS(.step_budget = step_budget,
                                .allocator = &test_allocator),
                            NULL)));
    cr_expect(play.code == 0 || play.code == play.operation->other
                  || play.code == play.scene->closed,
        "%s behind %d steps: %d", play.operation->name, 2 * play.burn,
        play.code);
    return play.code == play.scene->closed;
}

void
expect_gone(const struct gone_scene *scene)
{
    for (size_t i = 0; i < scene->count; i++) {
        struct play play = {.scene = scene, .operation = &scene->operations[i]};
        int late = 0;

        for (; play.burn < (int)scene->steps; play.burn++) {
            late += run_gone(play, scene->steps);
            late += run_gone(play, scene->steps + 1);
        }
        cr_expect(gt(int, late, 0), "%s", play.operation->name);
    }
}
