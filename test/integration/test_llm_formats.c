/* test_llm_formats.c - plain calls in every format, over the wire. */
#include <belay/llm_embed.h>

#include "test/support/fault_server.h"
#include "test/support/program.h"
#include "test/support/trial_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define KEY "canary-7f3a91c2-key"

TestSuite(llm_formats, .fini = check_clean, .timeout = 60);

#define ANSWER_WITH(status_, extra_, body_)                                   \
    FAULT_TEXT(                                                               \
        "HTTP/1.1 " status_ "\r\n" extra_ "Connection: close\r\n\r\n" body_), \
        FAULT_DO_CLOSE
#define ANSWER(body_) ANSWER_WITH("200 OK", "X-Request-Id: r\r\n", body_)
#define CHAT_BODY                                                     \
    "{\"model\":\"m-1\",\"choices\":[{\"index\":0,\"message\":{"      \
    "\"content\":\"hi\",\"tool_calls\":[{\"id\":\"a\",\"function\":{" \
    "\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":"      \
    "\"tool_calls\"}],\"usage\":{\"prompt_tokens\":3,"                \
    "\"completion_tokens\":4}}"
#define RESPONSES_BODY                                                       \
    "{\"model\":\"m-1\",\"status\":\"completed\",\"output\":[{\"type\":"     \
    "\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"hi\"}]}," \
    "{\"type\":\"function_call\",\"call_id\":\"a\",\"name\":\"f\","          \
    "\"arguments\":\"{}\"}],\"usage\":{\"input_tokens\":3,"                  \
    "\"output_tokens\":4}}"
#define MESSAGES_BODY                                                      \
    "{\"model\":\"m-1\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}," \
    "{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":{}}],"   \
    "\"stop_reason\":\"tool_use\",\"usage\":{\"input_tokens\":3,"          \
    "\"output_tokens\":4}}"
#define EMBED_BODY                                             \
    "{\"data\":[{\"index\":1,\"embedding\":\"AACAPwAAAMA=\"}," \
    "{\"index\":0,\"embedding\":[0.5,2]}],\"usage\":"          \
    "{\"prompt_tokens\":3,\"total_tokens\":3}}"
#define OVERLOADED                                                  \
    "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"," \
    "\"message\":\"busy\"}}"

/* ---- a call, and what can be said about it ---- */

struct outcome {
    int code;
    char message[1024];
    int foreign;
    char text[64];
    char model[64];
    struct belay_llm_choice choice;
    char call[64]; /* "id name arguments" */
    struct belay_llm_usage usage;
    float vectors[4];
    size_t vector_len;
    struct belay_llm_attempt attempts[8];
    size_t attempt_count;
};

struct ask {
    char base_url[256];
    enum belay_llm_format format;
    bool embed;
    const char *body;
    struct outcome *outcome; /* NULL: a sweep */
    /* locals */
    belay_llm_client *client;
    belay_llm_reply *reply;
};

static void
on_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    struct outcome *outcome = arg;

    if (outcome != NULL && outcome->attempt_count < COUNT(outcome->attempts)) {
        outcome->attempts[outcome->attempt_count++] = *attempt;
    }
}

static void
copy(char *to, size_t size, struct belay_slice from)
{
    (void)snprintf(
        to, size, "%.*s", (int)from.len, from.data != NULL ? from.data : "");
}

static void
note_reply(struct outcome *outcome, belay_llm_reply *reply)
{
    struct belay_llm_tool_call call;
    const float *vector;

    copy(outcome->text, sizeof(outcome->text), belay_llm_reply_text(reply));
    copy(outcome->model, sizeof(outcome->model), belay_llm_reply_model(reply));
    (void)belay_llm_reply_choice(reply, 0, &outcome->choice);
    if (belay_llm_reply_tool_call(reply, 0, 0, &call) == 0) {
        (void)snprintf(outcome->call, sizeof(outcome->call), "%.*s %.*s %.*s",
            (int)call.id.len, call.id.data, (int)call.name.len, call.name.data,
            (int)call.arguments.len, call.arguments.data);
    }
    cr_expect(
        eq(int, belay_llm_reply_tool_call(reply, 0, 9, &call), BELAY_ENOENT));
    cr_expect(
        eq(int, belay_llm_reply_tool_call(reply, 9, 0, &call), BELAY_ENOENT));
    outcome->usage = *belay_llm_reply_usage(reply);
    for (size_t n = 0; n < 2; n++) {
        vector = belay_llm_reply_vector(reply, n, &outcome->vector_len);
        if (vector != NULL) {
            cr_assert(eq(sz, outcome->vector_len, 2));
            memcpy(&outcome->vectors[2 * n], vector, 2 * sizeof(float));
        }
    }
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

static belay_next
begin(belay_task *task, struct ask *self)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"hi", 2}}};
    static const struct belay_slice inputs[] = {{"a", 1}, {"b", 1}};
    const char *body = self->body != NULL ? self->body : "";

    if (self->embed) {
        return belay_llm_embed(task, self->client,
            BELAY_LLM_EMBED(.model = "m", .inputs = inputs, .input_count = 2,
                .on_attempt = on_attempt, .arg = self->outcome),
            &self->reply);
    }
    return belay_llm_complete(task, self->client,
        BELAY_LLM_CHAT(.model = "m", .messages = messages, .message_count = 1,
            .max_tokens = 9, .format = self->format,
            .body = {body, strlen(body)}, .on_attempt = on_attempt,
            .arg = self->outcome),
        &self->reply);
}

BELAY_ASYNC(ask)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url, .api_key = KEY,
            .seed = 1),
        &self->client)) {
        BELAY_TRY(begin(task, self));
        if (self->outcome != NULL) {
            note_result(self->outcome, belay_result(task));
        }
        if (belay_result(task)->code < 0) {
            cr_expect(eq(ptr, self->reply, NULL), "untouched");
            return belay_pass(task);
        }
        if (self->outcome != NULL) {
            note_reply(self->outcome, self->reply);
        }
        belay_llm_reply_free(self->reply);
    }
    BELAY_END;
}

static struct outcome
run(struct fault_server *server, const char *base, struct ask asked)
{
    struct outcome outcome = {0};
    const struct program program = {.function = &ask, .arguments = &asked};

    asked.outcome = &outcome;
    (void)snprintf(asked.base_url, sizeof(asked.base_url), "%s%s",
        fault_server_url(server), base);
    sweep_with_server(&program, asked.base_url, sizeof(asked.base_url), NULL);
    (void)program_run_once(&program, NULL);
    return outcome;
}

static char *
head_of(struct fault_server *server, size_t index)
{
    struct fault_request request;

    cr_assert(fault_server_request(server, index, &request));
    return request.bytes;
}

static void
expect_answer(struct outcome *outcome)
{
    cr_assert(zero(int, outcome->code), "%s", outcome->message);
    cr_expect(eq(str, outcome->text, (char *)"hi"));
    cr_expect(eq(str, outcome->model, (char *)"m-1"));
    cr_expect(eq(str, outcome->call, (char *)"a f {}"));
    cr_expect(eq(sz, outcome->choice.tool_call_count, 1));
    cr_expect(eq(int, (int)outcome->choice.end, BELAY_LLM_END_TOOL));
    cr_expect(eq(i64, outcome->usage.in_total, 3));
    cr_expect(eq(i64, outcome->usage.out_total, 4));
    cr_expect(eq(int, (int)outcome->usage.state, BELAY_LLM_USAGE_EXACT));
}

Test(llm_formats, l1_the_same_reply_in_every_format)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/chat/completions", ANSWER(CHAT_BODY)),
        FAULT_ON("/v1/responses", ANSWER(RESPONSES_BODY)),
        FAULT_ON("/v1/messages", ANSWER(MESSAGES_BODY)),
    };
    static const enum belay_llm_format formats[] = {BELAY_LLM_FORMAT_CHAT,
        BELAY_LLM_FORMAT_RESPONSES, BELAY_LLM_FORMAT_MESSAGES};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));

    for (size_t i = 0; i < COUNT(formats); i++) {
        struct outcome outcome =
            run(server, "/v1", (struct ask){.format = formats[i]});

        expect_answer(&outcome);
    }
    fault_server_stop(server);
}

Test(llm_formats, l8_v1_is_not_doubled)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/messages", ANSWER(MESSAGES_BODY)),
        FAULT_ON("/gate/v1/messages", ANSWER(MESSAGES_BODY)),
    };
    static const char *const bases[] = {
        "", "/", "/v1", "/v1/", "/gate", "/gate/v1", "/gate/v1?key=x"};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));

    for (size_t i = 0; i < COUNT(bases); i++) {
        struct outcome outcome = run(server, bases[i],
            (struct ask){.format = BELAY_LLM_FORMAT_MESSAGES});

        cr_expect(zero(int, outcome.code), "%s: %s", bases[i], outcome.message);
    }
    fault_server_stop(server);
}

Test(llm_formats, s2_each_format_has_its_way_with_the_key)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/responses", ANSWER(RESPONSES_BODY)),
        FAULT_ON("/v1/messages", ANSWER(MESSAGES_BODY)),
    };
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    char *head;

    (void)run(server, "", (struct ask){.format = BELAY_LLM_FORMAT_MESSAGES});
    (void)run(
        server, "/v1", (struct ask){.format = BELAY_LLM_FORMAT_RESPONSES});
    head = head_of(server, 0);
    cr_expect(ne(ptr, strstr(head, "\r\nx-api-key: " KEY "\r\n"), NULL));
    cr_expect(
        ne(ptr, strstr(head, "\r\nanthropic-version: 2023-06-01\r\n"), NULL));
    cr_expect(eq(ptr, strstr(head, "Bearer"), NULL));
    free(head);
    head = head_of(server, 1);
    cr_expect(
        ne(ptr, strstr(head, "\r\nAuthorization: Bearer " KEY "\r\n"), NULL));
    cr_expect(eq(ptr, strstr(head, "x-api-key"), NULL));
    free(head);
    fault_server_stop(server);
}

Test(llm_formats, l4_vectors)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/embeddings", ANSWER(EMBED_BODY))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct outcome outcome = run(server, "/v1", (struct ask){.embed = true});

    cr_assert(zero(int, outcome.code), "%s", outcome.message);
    cr_expect(eq(flt, outcome.vectors[0], 0.5F));
    cr_expect(eq(flt, outcome.vectors[1], 2));
    cr_expect(eq(flt, outcome.vectors[2], 1));
    cr_expect(eq(flt, outcome.vectors[3], -2));
    cr_expect(eq(i64, outcome.usage.in_total, 3));
    cr_expect(eq(i64, outcome.usage.out_total, 0));
    fault_server_stop(server);
}

Test(llm_formats, l4_l9_too_few_vectors_twice)
{
    static const struct fault_route routes[] = {FAULT_ON(
        "/v1/embeddings", ANSWER("{\"data\":[{\"embedding\":[1,2]}]}"))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct outcome outcome = run(server, "/v1", (struct ask){.embed = true});

    cr_expect(eq(int, outcome.code, BELAY_EREPLY));
    cr_expect(eq(sz, outcome.attempt_count, 2));
    fault_server_stop(server);
}

Test(llm_formats, l5_a_body_is_sent_byte_for_byte)
{
    static char body[] = "{ \"seed\":9007199254740993,\"x\":1e400}";
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/messages", ANSWER(MESSAGES_BODY))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct fault_request request;
    struct outcome outcome = run(server, "/v1",
        (struct ask){.format = BELAY_LLM_FORMAT_MESSAGES, .body = body});

    expect_answer(&outcome);
    cr_assert(fault_server_request(server, 0, &request));
    cr_expect(eq(str, request.bytes + request.head_len, body));
    free(request.bytes);
    fault_server_stop(server);
}

/* Some gateways answer 200 and say inside what went wrong. */
Test(llm_formats, l22_an_error_in_the_place_of_an_answer)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/messages", ANSWER(OVERLOADED)),
        FAULT_ON("/v1/messages", ANSWER(MESSAGES_BODY)),
        FAULT_ON("/v1/chat/completions",
            ANSWER("{\"error\":{\"message\":\"no such thing\",\"type\":"
                   "\"invalid_request_error\"}}")),
    };
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct outcome outcome =
        run(server, "/v1", (struct ask){.format = BELAY_LLM_FORMAT_MESSAGES});

    expect_answer(&outcome);
    cr_assert(eq(sz, outcome.attempt_count, 2));
    cr_expect(eq(int, outcome.attempts[0].status, 529));
    cr_expect(eq(
        int, (int)outcome.attempts[0].billed, (int)BELAY_LLM_BILLED_UNKNOWN));
    outcome = run(server, "/v1", (struct ask){.embed = false});
    cr_expect(eq(int, outcome.code, BELAY_EHTTP));
    cr_expect(eq(int, outcome.foreign, 400));
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(ne(ptr, strstr(outcome.message, "no such thing"), NULL), "%s",
        outcome.message);
    fault_server_stop(server);
}

Test(llm_formats, l31_a_billing_error)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/messages",
            ANSWER_WITH("403 No", "",
                "{\"type\":\"error\",\"error\":{\"type\":\"billing_error\","
                "\"message\":\"pay\"}}")),
        FAULT_ON("/v1/messages",
            ANSWER_WITH("429 No", "",
                "{\"type\":\"error\",\"error\":{\"type\":"
                "\"billing\\u005ferror\",\"message\":\"pay\"}}")),
    };
    struct fault_server *server = fault_server_start(routes, COUNT(routes));

    for (size_t i = 0; i < COUNT(routes); i++) {
        struct outcome outcome = run(
            server, "/v1", (struct ask){.format = BELAY_LLM_FORMAT_MESSAGES});

        cr_expect(eq(int, outcome.code, BELAY_EQUOTA));
        cr_expect(eq(sz, outcome.attempt_count, 1));
    }
    fault_server_stop(server);
}

Test(llm_formats, a_format_that_there_is_not)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, ANSWER(CHAT_BODY))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct outcome outcome =
        run(server, "/v1", (struct ask){.format = (enum belay_llm_format)77});

    cr_expect(eq(int, outcome.code, BELAY_EINVAL));
    cr_expect(zero(sz, fault_server_requests(server, NULL)));
    fault_server_stop(server);
}

/* ---- sweeps ---- */

static void
run_sweep(struct ask asked)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/responses", ANSWER(RESPONSES_BODY)),
        FAULT_ON("/v1/messages", ANSWER(MESSAGES_BODY)),
        FAULT_ON("/v1/embeddings", ANSWER(EMBED_BODY)),
    };
    char url[128];
    const int pid =
        fault_server_start_apart(routes, COUNT(routes), url, sizeof(url));
    const struct program program = {.function = &ask, .arguments = &asked};

    (void)snprintf(asked.base_url, sizeof(asked.base_url), "%s/v1", url);
    sweep(&program);
    fault_server_stop_apart(pid);
}

Test(llm_formats, l42_sweep_of_responses)
{
    run_sweep((struct ask){.format = BELAY_LLM_FORMAT_RESPONSES});
}

Test(llm_formats, l42_sweep_of_messages)
{
    run_sweep((struct ask){.format = BELAY_LLM_FORMAT_MESSAGES});
}

Test(llm_formats, l42_sweep_of_embeddings)
{
    run_sweep((struct ask){.embed = true});
}
