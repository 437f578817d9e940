/* w7.c - streamed chat calls, on Belay: N of them, CONC at a time, one task
 * each.
 *
 * Each piece of text goes to a callback. w7p is the same against a server that
 * takes its time between two chunks.
 */
#include "bench/fan.h"

#include <belay/llm_stream.h>

#define CALL_BYTES 4096 /* of frames: what a stream takes */

static int
on_event(const struct belay_llm_event *event, void *arg)
{
    struct fan *fan = arg;

    if (event->type == BELAY_LLM_EVENT_TEXT) {
        fan->content += event->text.len;
    }
    return 0;
}

static belay_next
ask(belay_task *task, struct call *self)
{
    static const double temperature = 0.7;

    call_write_messages(self);
    return belay_llm_complete_stream(task, self->fan->client,
        BELAY_LLM_CHAT(.model = "bench-1", .messages = self->messages,
            .message_count = 2, .temperature = &temperature, .max_tokens = 256,
            .old_max_tokens = true),
        NULL, on_event, self->fan, &self->reply);
}

BELAY_ASYNC_SIZED(call, CALL_BYTES)
{
    BELAY_BEGIN;
    BELAY_TRY(ask(task, self));
    call_ended(self, belay_result(task)->code);
    BELAY_END;
}

int
main(int argc, char **argv)
{
    struct fan fan = {
        .name = "w7", .call = &call, .requests = 2000, .at_once = 200};

    return fan_main(argc, argv, &fan);
}
