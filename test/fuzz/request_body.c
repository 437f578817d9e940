/* request_body.c - any bytes as a request of the caller's own.
 *
 * Bodies are read for their limits before they are sent and taken apart into
 * messages when they are recorded: whatever they are, what is found lies
 * inside.
 */
#include "llm/budget/reserve.h"
#include "llm/record/messages.h"
#include "test/fuzz/insist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
is_inside(struct belay_slice part, struct belay_slice whole)
{
    return part.len == 0
           || (part.data >= whole.data && part.len <= whole.len
               && part.data + part.len <= whole.data + whole.len);
}

static int
on_message(const struct belay__message *message, void *arg)
{
    const struct belay_slice *body = arg;

    insist(is_inside(message->body, *body), "a message from elsewhere");
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct belay_slice body = {(const char *)data, size};
    const struct belay__reserve_rules rules = {.default_output_cap = 10};
    struct belay__request_size found = {0};
    struct belay_amount most;

    belay__request_measure(body, &found);
    insist(found.body_bytes == size && found.output_cap >= -1
               && found.answers >= 1,
        "numbers of no sense");
    insist(is_inside(found.model, body), "a name from elsewhere");
    (void)belay__reserve_most(&rules, &found, &most);
    insist(most.cost.pico >= 0 && most.tokens >= 0 && most.requests == 1,
        "a negative amount");
    insist(belay__estimate_bytes(body) >= 0, "an estimate below nothing");
    (void)belay__messages_each(body, on_message, &body);
    return 0;
}
