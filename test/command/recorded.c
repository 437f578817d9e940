/* recorded.c - some calls with a recorder, for the test beside it.
 *
 * usage: recorded BASE_URL FILE FORMAT TURNS
 *
 * A session of so many turns, of which each may fail, then a call outside it.
 * Then it prints "done" and holds the record open until its standard input
 * ends.
 */
#include "test/support/caller.h"

#include <belay/record.h>
#include <belay/turn.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char prices[] = "{\"m\":{\"input_cost_per_token\":2.5e-06,"
                             "\"output_cost_per_token\":1e-05}}";

struct recorded {
    const char *base_url;
    const char *path;
    const char *format;
    long turns;
    /* locals */
    char text[64];
    long at;
    struct belay_llm_message message;
    belay_prices *prices;
    belay_recorder *recorder;
    belay_llm_client *client;
    belay_llm_session *session;
    belay_llm_reply *reply;
};

struct turns {
    struct recorded *all;
};

BELAY_ASYNC(turns)
{
    struct recorded *all = self->all;

    BELAY_BEGIN;
    for (; all->at < all->turns; all->at++) {
        (void)snprintf(all->text, sizeof(all->text), "question %ld", all->at);
        BELAY_TRY(belay_llm_chat(task, all->session, all->text, &all->reply));
        belay_llm_reply_free(all->reply);
        all->reply = NULL;
    }
    all->message = belay_llm_message("user", "outside of it\033[31m\n2nd line");
    BELAY_TRY(belay_llm_complete(task, all->client,
        BELAY_LLM_CHAT(.model = "other", .messages = &all->message,
            .message_count = 1, .max_tokens = 9),
        &all->reply));
    belay_llm_reply_free(all->reply);
    BELAY_END;
}

/* The writer writes within 50 ms of the last row. */
static int
wait_for_end(void *arg)
{
    char byte;

    (void)arg;
    (void)puts("done");
    (void)fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    return 0;
}

static belay_next
open_session(belay_task *task, struct recorded *self)
{
    return belay_llm_session_open(task, self->client,
        BELAY_LLM_SESSION_OPTS(.model = "m", .max_tokens = 99,
            .system = {"be brief", 8}),
        &self->session);
}

BELAY_ASYNC(recorded)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_prices_new(belay_task_runtime(task),
        (struct belay_slice){prices, strlen(prices)}, &self->prices, NULL));
    BELAY_WITH (belay_recorder_open(
        task, BELAY_RECORDER_OPTS(.path = self->path), &self->recorder)) {
        BELAY_WITH (belay_llm_client_open(task,
            BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url,
                .api_key = "a-key-of-the-test",
                .format = caller_format(self->format), .prices = self->prices,
                .retry_base = belay_milliseconds(1)),
            &self->client)) {
            belay_prices_unref(self->prices);
            BELAY_WITH (open_session(task, self)) {
                BELAY_AWAIT(BELAY_CALL(turns, .all = self));
            }
            BELAY_AWAIT(belay_blocking(task, wait_for_end, NULL));
        }
    }
    BELAY_END;
}

int
main(int argc, char **argv)
{
    struct recorded arguments;

    if (argc != 5) {
        (void)fprintf(stderr, "usage: recorded URL FILE FORMAT TURNS\n");
        return 2;
    }
    arguments = (struct recorded){.base_url = argv[1],
        .path = argv[2],
        .format = argv[3],
        .turns = strtol(argv[4], NULL, 10)};
    return caller_run(&recorded, &arguments) < 0;
}
