/* stream_scene.c - one stream of a server that misbehaves, and all that can be
 * said about it.
 */
#include "test/support/stream_scene.h"

#include "llm/reply.h"
#include "test/support/answer_dump.h"
#include "test/support/trial_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
on_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    struct outcome *outcome = arg;

    if (outcome != NULL) {
        cr_assert(lt(sz, outcome->attempt_count, COUNT(outcome->attempts)));
        outcome->attempts[outcome->attempt_count++] = *attempt;
        cr_expect(eq(u32, attempt->number, (uint32_t)outcome->attempt_count));
    }
}

static int
on_event(const struct belay_llm_event *event, void *arg)
{
    struct reader *self = arg;

    if (self->outcome != NULL) {
        event_dump(&self->outcome->events, event);
    }
    return ++self->events == self->spec.stop_at ? BELAY_EINVAL : 0;
}

static void
note_result(struct outcome *outcome, const struct belay_result *result)
{
    outcome->code = result->code;
    (void)belay_result_format(
        result, outcome->message, sizeof(outcome->message));
    if (result->error != NULL) {
        (void)belay_error_foreign(result->error, &outcome->foreign);
    }
}

static void
note_reply(struct outcome *outcome, belay_llm_reply *reply)
{
    const struct belay_slice text = belay_llm_reply_text(reply);

    cr_expect(zero(sz, reply->answer.request.len), "it is gone by now");
    (void)snprintf(outcome->text, sizeof(outcome->text), "%.*s", (int)text.len,
        text.data != NULL ? text.data : "");
    outcome->usage = *belay_llm_reply_usage(reply);
    outcome->usage.raw = (struct belay_slice){NULL, 0};
    outcome->end = belay_llm_reply_end(reply, NULL);
}

static belay_next
open_stream(belay_task *task, struct reader *self)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"say hi to the world", 19}}};
    const char *body = self->spec.body != NULL ? self->spec.body : "";

    self->spec.opts.size = sizeof(self->spec.opts);
    if (self->outcome != NULL) {
        self->spec.opts.keep = &self->kept;
    }
    return belay_llm_stream_open(task, self->client,
        BELAY_LLM_CHAT(.model = "m", .messages = messages, .message_count = 1,
            .format = self->spec.format, .max_tokens = 9,
            .body = {body, strlen(body)}, .on_attempt = on_attempt,
            .arg = self->outcome),
        &self->spec.opts, &self->stream);
}

struct pull {
    struct reader *read;
    bool over;
};

/* By next, up to the end or the event at which to leave. */
BELAY_ASYNC(pull)
{
    struct reader *read = self->read;

    BELAY_BEGIN;
    while (!self->over) {
        BELAY_AWAIT(belay_llm_stream_next(task, read->stream, &read->event));
        (void)on_event(&read->event, read);
        self->over = read->event.type == BELAY_LLM_EVENT_DONE
                     || read->events == read->spec.leave_at;
    }
    BELAY_END;
}

static belay_next
read_stream(belay_task *task, struct reader *self)
{
    return self->spec.run
               ? belay_llm_stream_run(task, self->stream, on_event, self)
               : BELAY_CALL(pull, .read = self);
}

static void
note_end(struct reader *self, const struct belay_result *result)
{
    if (self->outcome != NULL) {
        note_result(self->outcome, result);
    }
}

BELAY__STEP(reader)
const belay_function reading = {
    "reader", __FILE__, sizeof(struct reader), reader__step, 0};
BELAY__BODY(reader)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url, .api_key = KEY,
            .seed = 1),
        &self->client)) {
        BELAY_WITH (open_stream(task, self)) {
            BELAY_TRY(read_stream(task, self));
            note_end(self, belay_result(task));
            if (self->outcome == NULL && belay_result(task)->code < 0) {
                return belay_pass(task);
            }
        }
        if (self->kept != NULL) {
            note_reply(self->outcome, self->kept);
            belay_llm_reply_free(self->kept);
        }
    }
    BELAY_END;
}

struct outcome
stream_at(const char *base_url, const struct spec *spec)
{
    struct outcome outcome = {0};
    struct reader asked = {.spec = *spec, .outcome = &outcome};
    struct belay_result result = {0};
    const struct program program = {.function = &reading, .arguments = &asked};
    int code;

    (void)snprintf(asked.base_url, sizeof(asked.base_url), "%s/v1", base_url);
    sweep_with_server(&program, asked.base_url, sizeof(asked.base_url), NULL);
    code = program_run_once(&program, &result);
    if (code < 0) {
        note_result(&outcome, &result);
        belay_error_unref(result.error);
    }
    if (outcome.events == NULL) {
        outcome.events = calloc(1, 1);
    }
    cr_expect(eq(ptr, strstr(outcome.message, "canary"), NULL), "%s",
        outcome.message);
    return outcome;
}

struct outcome
stream_both(const struct fault_route *routes, size_t count, struct spec spec)
{
    struct outcome outcomes[2];

    for (size_t i = 0; i < 2; i++) {
        struct fault_server *server = fault_server_start(routes, count);

        spec.run = i == 1;
        outcomes[i] = stream_at(fault_server_url(server), &spec);
        fault_server_stop(server);
    }
    cr_expect(eq(int, outcomes[0].code, outcomes[1].code));
    cr_expect(eq(str, outcomes[0].events, outcomes[1].events));
    cr_expect(eq(str, (char *)outcomes[0].text, (char *)outcomes[1].text));
    cr_expect(eq(sz, outcomes[0].attempt_count, outcomes[1].attempt_count));
    free(outcomes[1].events);
    return outcomes[0];
}

void
expect_events(struct outcome *outcome, const char *events, const char *text)
{
    cr_expect(eq(str, outcome->events, (char *)(uintptr_t)events), "%s",
        outcome->message);
    cr_expect(eq(str, outcome->text, (char *)(uintptr_t)text));
    free(outcome->events);
}
