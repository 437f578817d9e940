/* call_scene.c - one call to a server that misbehaves, and all that can be said
 * about it.
 */
#include "test/support/call_scene.h"

#include "llm/retry.h"
#include "test/support/alloc.h"
#include "test/support/trial_server.h"

#include <stdio.h>
#include <string.h>

void
call_note_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    struct outcome *outcome = arg;

    cr_assert(lt(sz, outcome->attempt_count, COUNT(outcome->attempts)));
    outcome->attempts[outcome->attempt_count++] = *attempt;
}

static void
copy_slice(char *to, size_t size, struct belay_slice slice)
{
    cr_assert(lt(sz, slice.len, size));
    if (slice.len > 0) {
        memcpy(to, slice.data, slice.len);
    }
    to[slice.len] = '\0';
}

static void
note_reply(struct outcome *outcome, belay_llm_reply *reply)
{
    outcome->status = belay_llm_reply_status(reply);
    copy_slice(
        outcome->body, sizeof(outcome->body), belay_llm_reply_body(reply));
    copy_slice(
        outcome->text, sizeof(outcome->text), belay_llm_reply_text(reply));
    outcome->text_len = belay_llm_reply_text(reply).len;
    copy_slice(outcome->request_id, sizeof(outcome->request_id),
        belay_llm_reply_header(reply, "x-request-id"));
    outcome->end = belay_llm_reply_end(reply, NULL);
    outcome->usage = *belay_llm_reply_usage(reply);
    outcome->usage.raw.data = NULL;
    belay_llm_reply_free(reply);
}

void
call_note_result(struct outcome *outcome, const struct belay_result *result)
{
    outcome->code = result->code;
    (void)belay_result_format(
        result, outcome->message, sizeof(outcome->message));
    if (result->error != NULL) {
        outcome->domain = belay_error_foreign(result->error, &outcome->foreign);
    }
}

static belay_next
begin_call(belay_task *task, struct ask *self)
{
    static const struct belay_llm_message messages[1] = {
        {.role = "user", .content = {"say \"hi\"", 8}}};
    const struct spec *spec = self->spec;
    const char *body = spec->body != NULL ? spec->body : "{}";
    const char *extra = spec->extra != NULL ? spec->extra : "";

    if (!spec->complete) {
        return belay_llm_send(task, self->client,
            BELAY_LLM_REQUEST(.body = {body, strlen(body)},
                .max_retries = spec->max_retries,
                .on_attempt = call_note_attempt, .arg = self->outcome),
            &self->reply);
    }
    return belay_llm_complete(task, self->client,
        BELAY_LLM_CHAT(.model = "m", .messages = messages, .message_count = 1,
            .extra = {extra, strlen(extra)}, .max_retries = spec->max_retries,
            .on_attempt = call_note_attempt, .arg = self->outcome),
        &self->reply);
}

BELAY__STEP(ask)
const belay_function asking = {
    "ask", __FILE__, sizeof(struct ask), ask__step, 0};
BELAY__BODY(ask)
{
    BELAY_BEGIN;
    self->opts = self->spec->opts;
    self->opts.size = sizeof(self->opts);
    self->opts.seed = self->opts.seed != 0 ? self->opts.seed : SEED;
    if (self->opts.base_url == NULL) {
        self->opts.base_url = self->base_url;
    }
    BELAY_WITH (belay_llm_client_open(task, &self->opts, &self->client)) {
        self->started = belay_now(task);
        BELAY_WITH (belay_timeout(task, self->spec->timeout.ns != 0
                                            ? self->spec->timeout
                                            : BELAY_FOREVER)) {
            for (self->i = 0; self->i == 0 || self->i < self->spec->calls;
                 self->i++) {
                self->reply = NULL;
                BELAY_TRY(begin_call(task, self));
                call_note_result(self->outcome, belay_result(task));
                self->outcome->took_ns = belay_now(task).ns - self->started.ns;
                if (belay_result(task)->code < 0) {
                    cr_expect(eq(ptr, self->reply, NULL), "untouched");
                    return belay_pass(task);
                }
                note_reply(self->outcome, self->reply);
            }
        }
    }
    BELAY_END;
}

struct outcome
call_at(const char *base_url, const struct spec *spec)
{
    belay_clock *clock = belay_clock_new(true);
    struct outcome outcome = {0};
    char url[512];
    struct ask arguments = {.spec = spec, .base_url = url, .outcome = &outcome};
    struct belay_result result = {0};
    int code;

    if (base_url != NULL) {
        (void)snprintf(url, sizeof(url), "%s", base_url);
    }
    arguments.base_url = base_url != NULL ? url : NULL;
    sweep_with_server(
        &(const struct program){.function = &asking, .arguments = &arguments},
        base_url != NULL ? url : NULL, sizeof(url), NULL);
    code = belay_run(&asking, &arguments,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock),
        &result);
    if (code < 0) {
        call_note_result(&outcome, &result);
        belay_error_unref(result.error);
    }
    belay_clock_free(clock);
    return outcome;
}

struct outcome
call_routes(
    const struct fault_route *routes, size_t count, const struct spec *spec)
{
    struct fault_server *server = fault_server_start(routes, count);
    char base_url[128];
    struct outcome outcome;

    (void)snprintf(
        base_url, sizeof(base_url), "%s/v1", fault_server_url(server));
    outcome = call_at(base_url, spec);
    fault_server_stop(server);
    return outcome;
}

int64_t
retry_delay(uint32_t n)
{
    const belay_duration none = {0};
    const struct belay__llm_policy policy =
        belay__llm_policy_of(BELAY_LLM_INTERACTIVE, none, none, none);
    uint64_t random = SEED;
    int64_t ns = 0;

    for (uint32_t i = 0; i <= n; i++) {
        ns = belay__llm_backoff(&policy, i, &random);
    }
    return ns;
}
