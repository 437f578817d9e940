/* 02_llm_session_manager.c - the life of a conversation: tokens, cost, errors.
 *
 * Shows: a session is a scope, and what is said in it is kept a turn at a time.
 * A turn that fails leaves what was said as it was; only the bill remembers.
 */
#include <belay/belay.h>
#include <belay/simulator.h>
#include <belay/turn.h>

#include <stdio.h>

static const char prices[] = "{\"sim\":{\"input_cost_per_token\":2.5e-06,"
                             "\"output_cost_per_token\":1e-05}}";

static void
report(const char *when, const belay_llm_session *session)
{
    struct belay_llm_session_stats stats;
    char cost[BELAY_MONEY_TEXT_BYTES];

    belay_llm_session_get_stats(session, &stats);
    (void)belay_money_format(stats.ledger.cost.amount, cost);
    printf("%s: %zu messages, %d + %d tokens, $%s\n", when, stats.messages,
        (int)stats.ledger.usage.in_total, (int)stats.ledger.usage.out_total,
        cost);
}

struct talk {
    belay_prices *prices;
    belay_simulator *server; /* in place of a real one */
    belay_llm_client *client;
    belay_llm_session *session;
    belay_llm_turn *turn;
    belay_llm_reply *reply;
};

BELAY_ASYNC(talk)
{
    const struct belay_llm_message blame = belay_llm_message("user", "Who?");

    BELAY_BEGIN;
    BELAY_WITH (belay_simulator_open(task, NULL, &self->server)) {
        BELAY_WITH (belay_prices_open(task,
            (struct belay_slice){prices, sizeof(prices) - 1}, &self->prices)) {
            BELAY_WITH (belay_llm_client_open(task,
                BELAY_LLM_CLIENT_OPTS(.prices = self->prices,
                    .base_url = belay_simulator_url(self->server)),
                &self->client)) {
                BELAY_WITH (belay_llm_session_open(task, self->client,
                    BELAY_LLM_SESSION_OPTS(.model = "sim"), &self->session)) {
                    report("at first", self->session);
                    BELAY_AWAIT(belay_llm_chat(
                        task, self->session, "What is a scope?", &self->reply));
                    belay_llm_reply_free(self->reply);
                    report("a turn", self->session);
                    BELAY_WITH (
                        belay_suppressing(task, BELAY_CODES(BELAY_EIO))) {
                        BELAY_WITH (
                            belay_llm_turn_open(task, NULL, &self->turn)) {
                            BELAY_CHECK(belay_llm_turn_add(self->turn, &blame));
                            BELAY_AWAIT(belay_llm_turn_ask(
                                task, self->turn, &self->reply));
                            belay_llm_reply_free(self->reply);
                            BELAY_FAIL(BELAY_EIO, "the printer is on fire");
                        }
                    }
                    report("one that has failed", self->session);
                }
            }
        }
    }
    BELAY_END;
}

int
main(void)
{
    return belay_run(&talk, &(const struct talk){.turn = NULL}, NULL, NULL) < 0;
}
