/* session.c - the calls of w5, each a turn in a session of its own.
 *
 * Each task forks a session that has the system text and asks in the fork. What
 * it costs above w5 is a fork, a turn, and two messages that are kept.
 */
#include "bench/fan.h"

#include <belay/turn.h>

#define CALL_BYTES 3072 /* of frames: what a call in a session takes */

static belay_next
open_session(belay_task *task, struct fan *fan)
{
    static const double temperature = 0.7;

    return belay_llm_session_open(task, fan->client,
        BELAY_LLM_SESSION_OPTS(.model = "bench-1",
            .system = {fan->system_text, strlen(fan->system_text)},
            .temperature = &temperature, .max_tokens = 256,
            .old_max_tokens = true, .extra = {"{\"stream\":false}", 16}),
        &fan->session);
}

static belay_next
ask(belay_task *task, struct call *self)
{
    call_write_text(self);
    return belay_llm_chat(task, NULL, self->text, &self->reply);
}

BELAY_ASYNC_SIZED(call, CALL_BYTES)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_session_fork(task, self->fan->session, NULL, NULL)) {
        BELAY_TRY(ask(task, self));
    }
    if (belay_result(task)->code == 0) {
        self->fan->content += belay_llm_reply_text(self->reply).len;
    }
    call_ended(self, belay_result(task)->code);
    BELAY_END;
}

int
main(int argc, char **argv)
{
    struct fan fan = {.name = "session",
        .call = &call,
        .open = open_session,
        .requests = 20000,
        .at_once = 256};

    return fan_main(argc, argv, &fan);
}
