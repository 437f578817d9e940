/* 04_smart_session.c - the session that one is in, without passing it on.
 *
 * Shows: the current session; nested, isolated, inherited by child tasks.
 */
#include <belay/belay.h>
#include <belay/simulator.h>
#include <belay/turn.h>

#include <stdio.h>

/* Somewhere deep in a program: no session comes in by the arguments. */
struct ask {
    const char *question;
    belay_llm_reply *reply;
};

BELAY_ASYNC(ask)
{
    belay_llm_session *here = belay_llm_session_current(task);
    struct belay_llm_session_stats stats = {.model = "nobody"};

    BELAY_BEGIN;
    if (here != NULL) {
        belay_llm_session_get_stats(here, &stats);
    }
    printf("%s <- %s\n", stats.model, self->question);
    BELAY_AWAIT(belay_llm_chat(task, NULL, self->question, &self->reply));
    belay_llm_reply_free(self->reply);
    BELAY_END;
}

static belay_next
session(belay_task *task, belay_llm_client *client, const char *model)
{
    return belay_llm_session_open(
        task, client, BELAY_LLM_SESSION_OPTS(.model = model), NULL);
}

struct talk {
    belay_simulator *server; /* in place of a real one */
    belay_llm_client *client;
    belay_group *group;
};

BELAY_ASYNC(talk)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_simulator_open(task, NULL, &self->server)) {
        BELAY_WITH (belay_llm_client_open(task,
            BELAY_LLM_CLIENT_OPTS(.base_url =
                                      belay_simulator_url(self->server)),
            &self->client)) {
            BELAY_WITH (session(task, self->client, "large")) {
                BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                    /* A child begins, and stays, in the session of its spawn. */
                    BELAY_CHECK(
                        belay_spawn(self->group, ask, "A scope?", NULL));
                    BELAY_WITH (session(task, self->client, "small")) {
                        BELAY_AWAIT(BELAY_CALL(ask, "Is it a noun?", NULL));
                        BELAY_AWAIT(BELAY_CALL(ask, "And the plural?", NULL));
                    }
                }
                BELAY_AWAIT(BELAY_CALL(ask, "Thank you.", NULL));
            }
            BELAY_TRY(BELAY_CALL(ask, "Is anybody there?", NULL));
            printf("outside: %s\n", belay_code_text(belay_result(task)->code));
        }
    }
    BELAY_END;
}

int
main(void)
{
    return belay_run(&talk, &(const struct talk){.group = NULL}, NULL, NULL)
           < 0;
}
