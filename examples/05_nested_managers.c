/* 05_nested_managers.c - a budget, a monitor and a session, one in the other.
 *
 * Shows: blocks are left in order, newest first, and can see how it went.
 */
#include <belay/belay.h>
#include <belay/simulator.h>
#include <belay/turn.h>

#include <stdio.h>

struct monitor {
    belay_budget *budget;
    int calls;
};

BELAY_MANAGER(monitor)
{
    struct belay_budget_stats stats;

    BELAY_BEGIN;
    BELAY_TRY_YIELD(self);
    belay_budget_get_stats(self->budget, &stats);
    printf("monitor: %d calls, %d paid for, %s\n", self->calls,
        (int)stats.spent.requests, belay_code_text(belay_result(task)->code));
    BELAY_END;
}

static void
closed(void *arg)
{
    printf("session: closed after %d calls\n", ((struct monitor *)arg)->calls);
}

struct work {
    int64_t max;             /* requests */
    belay_simulator *server; /* in place of a real one */
    belay_llm_client *client;
    belay_budget *cap;
    struct monitor *monitor;
    belay_llm_reply *reply;
};

BELAY_ASYNC(work)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_simulator_open(task, NULL, &self->server)) {
        BELAY_WITH (belay_llm_client_open(task,
            BELAY_LLM_CLIENT_OPTS(.base_url =
                                      belay_simulator_url(self->server)),
            &self->client)) {
            BELAY_WITH (belay_budget_open(task,
                BELAY_BUDGET_OPTS(.limit.requests = self->max), &self->cap)) {
                BELAY_WITH (BELAY_ENTER(monitor, self->cap, 0)) {
                    self->monitor = belay_result(task)->value;
                    BELAY_WITH (belay_llm_session_open(task, self->client,
                        BELAY_LLM_SESSION_OPTS(.model = "sim"), NULL)) {
                        BELAY_WITH (belay_defer(task, closed, self->monitor)) {
                            while (self->monitor->calls < 3) {
                                self->monitor->calls++;
                                BELAY_AWAIT(belay_llm_chat(
                                    task, NULL, "Go on.", &self->reply));
                                belay_llm_reply_free(self->reply);
                            }
                        }
                    }
                }
            }
        }
    }
    BELAY_END;
}

int
main(void)
{
    return belay_run(&work, &(const struct work){.max = 5}, NULL, NULL) < 0
           || belay_run(&work, &(const struct work){.max = 2}, NULL, NULL)
                  != BELAY_EBUDGET;
}
