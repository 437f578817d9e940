/* 03_async_manager.c - a GPU and a conversation, as one manager of one's own.
 *
 * Shows: an async manager in generator style; who uses it sees one scope.
 */
#include <belay/belay.h>
#include <belay/gpu.h>
#include <belay/simulator.h>
#include <belay/turn.h>

#include <stdio.h>

struct desk {
    belay_gpu_pool *pool;
    belay_llm_client *client;
    belay_gpu_lease gpu;
    belay_llm_session *session;
};

BELAY_MANAGER(desk)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool, NULL, &self->gpu)) {
        BELAY_WITH (belay_llm_session_open(task, self->client,
            BELAY_LLM_SESSION_OPTS(.model = "sim"), &self->session)) {
            BELAY_TRY_YIELD(self);
            printf("left: %s\n", belay_code_text(belay_result(task)->code));
        }
    }
    BELAY_END;
}

struct query {
    int number;
    belay_llm_reply *reply;
};

BELAY_ASYNC(query)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_llm_chat(task, NULL, "Any news?", &self->reply));
    belay_llm_reply_free(self->reply);
    printf("query %d: answered\n", self->number);
    BELAY_END;
}

struct shop {
    belay_simulator *server; /* in place of a real one */
    struct desk desk;
    belay_group *all;
};

BELAY_ASYNC(shop)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(
        task, BELAY_GPU_POOL_OPTS(.devices = "sim"), &self->desk.pool)) {
        BELAY_WITH (belay_simulator_open(task, NULL, &self->server)) {
            BELAY_WITH (belay_llm_client_open(task,
                BELAY_LLM_CLIENT_OPTS(.base_url =
                                          belay_simulator_url(self->server)),
                &self->desk.client)) {
                BELAY_WITH (belay_enter(task, &desk, &self->desk)) {
                    BELAY_WITH (belay_group_open(task, NULL, &self->all)) {
                        for (int i = 0; i < 3; i++) {
                            BELAY_CHECK(belay_spawn(self->all, query, i, NULL));
                        }
                    } /* at once; the session takes a turn at a time */
                }
            }
        }
    }
    BELAY_END;
}

int
main(void)
{
    return belay_run(&shop, &(const struct shop){.all = NULL}, NULL, NULL) < 0;
}
