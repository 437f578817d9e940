/* w5.c - chat calls, on Belay: N of them, CONC at a time, one task each.
 *
 * The request is written from its parts each time, the answer is parsed.
 * w6 is the same against a server that takes its time.
 */
#include "bench/fan.h"

#include <belay/llm.h>

#define CALL_BYTES 1024 /* of frames: what a call takes */

static belay_next
ask(belay_task *task, struct call *self)
{
    static const double temperature = 0.7;

    call_write_messages(self);
    return belay_llm_complete(task, self->fan->client,
        BELAY_LLM_CHAT(.model = "bench-1", .messages = self->messages,
            .message_count = 2, .temperature = &temperature, .max_tokens = 256,
            .old_max_tokens = true, .extra = {"{\"stream\":false}", 16}),
        &self->reply);
}

BELAY_ASYNC_SIZED(call, CALL_BYTES)
{
    BELAY_BEGIN;
    BELAY_TRY(ask(task, self));
    if (belay_result(task)->code == 0) {
        self->fan->content += belay_llm_reply_text(self->reply).len;
    }
    call_ended(self, belay_result(task)->code);
    BELAY_END;
}

int
main(int argc, char **argv)
{
    struct fan fan = {
        .name = "w5", .call = &call, .requests = 20000, .at_once = 256};

    return fan_main(argc, argv, &fan);
}
