/* 04_smart_session.c - the session that one is in, without passing it on.
 *
 * Shows: a context variable; nested, isolated, inherited by child tasks.
 */
#include <belay/belay.h>

#include <stdio.h>

static const struct belay_var current = {"session", NULL};

struct session {
    const char *model;
    int questions;
};

BELAY_MANAGER(session)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_var_open(task, &current, self)) {
        BELAY_YIELD(self);
    }
    printf("%s: %d questions\n", self->model, self->questions);
    BELAY_END;
}

/* Somewhere deep in a program: no session comes in by the arguments. */
struct ask {
    const char *question;
};

BELAY_ASYNC(ask)
{
    struct session *here = belay_var_get(task, &current);

    BELAY_BEGIN;
    if (here == NULL) {
        BELAY_FAIL(BELAY_ESTATE, "no session to ask in");
    }
    BELAY_AWAIT(belay_checkpoint(task)); /* the model would think here */
    here->questions++;
    printf("%s <- %s\n", here->model, self->question);
    BELAY_END;
}

struct talk {
    belay_group *group;
};

BELAY_ASYNC(talk)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(session, "large", 0)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            /* A child begins, and stays, in the session of its spawn. */
            BELAY_CHECK(belay_spawn(self->group, ask, "What is a scope?"));
            BELAY_WITH (BELAY_ENTER(session, "small", 0)) {
                BELAY_AWAIT(BELAY_CALL(ask, "Is it a noun?"));
                BELAY_AWAIT(BELAY_CALL(ask, "And the plural?"));
            }
        }
        BELAY_AWAIT(BELAY_CALL(ask, "Thank you."));
    }
    BELAY_TRY(BELAY_CALL(ask, "Is anybody there?"));
    printf("outside: %s\n", belay_code_text(belay_result(task)->code));
    BELAY_END;
}

int
main(void)
{
    return belay_run(&talk, &(const struct talk){NULL}, NULL, NULL) < 0;
}
