/* session_program.c - a client and a session round a test. */
#include "test/support/session_program.h"

#include <stdlib.h>

belay_next
open_client(belay_task *task, const char *base_url, belay_llm_client **ret)
{
    return belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url =
                                  base_url != NULL ? base_url : NO_SERVER,
            .max_retries = BELAY_LLM_NO_RETRIES, .seed = 4711),
        ret);
}

belay_next
open_session(belay_task *task, belay_llm_client *client, const char *model,
    belay_llm_session **ret)
{
    return belay_llm_session_open(
        task, client, BELAY_LLM_SESSION_OPTS(.model = model), ret);
}

static belay_next
in_session_step(belay_task *task, void *frame)
{
    struct in_session *self = frame;

    BELAY_BEGIN;
    self->opts.size = sizeof(self->opts);
    if (self->opts.model == NULL) {
        self->opts.model = "m";
    }
    BELAY_WITH (open_client(task, self->base_url, &self->client)) {
        BELAY_WITH (belay_llm_session_open(
            task, self->client, &self->opts, &self->session)) {
            self->fn(self->session);
        }
    }
    BELAY_END;
}

const belay_function in_session = {
    "in session", __FILE__, sizeof(struct in_session), in_session_step, 0};

void
run_in_session(
    void (*fn)(belay_llm_session *session), struct belay_llm_session_opts opts)
{
    cr_expect(zero(int, RUN(in_session, .fn = fn, .opts = opts)));
}

const struct belay_llm_tool_call calls_ab[2] = {
    {{"a", 1}, {"look", 4}, {"{}", 2}}, {{"b", 1}, {"find", 4}, {"{}", 2}}};

struct belay_llm_message
calling(const struct belay_llm_tool_call *calls, size_t count)
{
    struct belay_llm_message message = belay_llm_message("assistant", "");

    message.tool_calls = calls;
    message.tool_call_count = count;
    return message;
}

int
say(belay_llm_session *session, const char *role, const char *text)
{
    const struct belay_llm_message message = belay_llm_message(role, text);

    return belay_llm_session_append(session, &message, 1);
}

struct belay_llm_session_stats
stats_of(const belay_llm_session *session)
{
    struct belay_llm_session_stats stats;

    belay_llm_session_get_stats(session, &stats);
    return stats;
}

const char *
session_text(const belay_llm_session *session)
{
    static char *copy;
    char *text = NULL;
    size_t len = 0;

    free(copy);
    copy = NULL;
    if (belay_llm_session_write(session, &text, &len) < 0) {
        return "";
    }
    copy = malloc(len + 1);
    cr_assert(ne(ptr, copy, NULL));
    memcpy(copy, text, len + 1);
    belay_llm_text_free(text);
    return copy;
}

const char *
session_messages(const belay_llm_session *session)
{
    static char messages[65536];
    const char *from = strstr(session_text(session), "\"messages\":");
    const char *to = from != NULL ? strstr(from, ",\"ledger\":") : NULL;

    messages[0] = '\0';
    if (to != NULL && (size_t)(to - from) < sizeof(messages)) {
        memcpy(messages, from + 11, (size_t)(to - from) - 11);
        messages[to - from - 11] = '\0';
    }
    return messages;
}

void
expect_messages(const belay_llm_session *session, const char *expected)
{
    const char *messages = session_messages(session);

    cr_expect(messages[0] == '\0' ? test_alloc_failures() > 0
                                  : strcmp(messages, expected) == 0,
        "messages are\n%s\nand not\n%s", messages, expected);
}
