/* ask.c - one question to a server of other people, for the tests beside it.
 *
 * usage: ask BASE_URL chat|responses|messages|embeddings plain|stream TEXT
 *            [PATIENCE_MS [RETRIES]]
 *
 * Prints what came of it as lines "name value": the code's name, the text,
 * each call of a tool, the end, the usage, and how many events there were.
 */
#include "test/support/caller.h"

#include <belay/llm_embed.h>
#include <belay/llm_stream.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ask {
    const char *base_url;
    const char *format;
    const char *mode;
    const char *text;
    int64_t patience_ms; /* for a byte; 0: the default */
    int32_t retries;
    /* locals */
    struct belay_llm_message messages[1];
    struct belay_slice inputs[2];
    belay_llm_client *client;
    belay_llm_stream *stream;
    belay_llm_reply *reply;
    int events;
};

static const struct belay_llm_tool tools[] = {{.name = "weather",
    .description = {"tells the weather", 17},
    .parameters = {"{\"type\":\"object\"}", 17}}};

static int
on_event(const struct belay_llm_event *event, void *arg)
{
    (void)event;
    ++*(int *)arg;
    return 0;
}

static void
print_slice(const char *name, struct belay_slice slice)
{
    printf("%s %.*s\n", name, (int)slice.len,
        slice.data != NULL ? slice.data : "");
}

static void
print_reply(belay_llm_reply *reply)
{
    const struct belay_llm_usage *usage = belay_llm_reply_usage(reply);
    struct belay_llm_tool_call call;
    size_t len;

    print_slice("text", belay_llm_reply_text(reply));
    for (size_t i = 0; belay_llm_reply_tool_call(reply, 0, i, &call) == 0;
         i++) {
        print_slice("tool", call.name);
        print_slice("arguments", call.arguments);
    }
    printf("end %d\n", (int)belay_llm_reply_end(reply, NULL));
    printf("usage %d %" PRId64 " %" PRId64 "\n", (int)usage->state,
        usage->in_total, usage->out_total);
    for (size_t i = 0; belay_llm_reply_vector(reply, i, &len) != NULL; i++) {
        printf("vector %zu\n", len);
    }
}

static belay_next
plain_call(belay_task *task, struct ask *self)
{
    if (strcmp(self->format, "embeddings") == 0) {
        return belay_llm_embed(task, self->client,
            BELAY_LLM_EMBED(.model = "m", .inputs = self->inputs,
                .input_count = 2),
            &self->reply);
    }
    return belay_llm_complete(task, self->client,
        BELAY_LLM_CHAT(.model = "m", .messages = self->messages,
            .message_count = 1, .max_tokens = 99, .tools = tools,
            .tool_count = 1),
        &self->reply);
}

BELAY_ASYNC(ask)
{
    BELAY_BEGIN;
    self->messages[0] = belay_llm_message("user", self->text);
    self->inputs[0] = self->messages[0].content;
    self->inputs[1] = (struct belay_slice){"another", 7};
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url, .api_key = "a-key",
            .format = caller_format(self->format),
            .retry_base = belay_milliseconds(10), .max_retries = self->retries,
            .first_byte_timeout = belay_milliseconds(self->patience_ms),
            .idle_timeout = belay_milliseconds(self->patience_ms)),
        &self->client)) {
        if (strcmp(self->mode, "plain") == 0) {
            BELAY_AWAIT(plain_call(task, self));
            print_reply(self->reply);
            belay_llm_reply_free(self->reply);
            BELAY_RETURN(NULL);
        }
        BELAY_WITH (belay_llm_stream_open(task, self->client,
            BELAY_LLM_CHAT(.model = "m", .messages = self->messages,
                .message_count = 1, .max_tokens = 99, .tools = tools,
                .tool_count = 1),
            NULL, &self->stream)) {
            BELAY_TRY(belay_llm_stream_run(
                task, self->stream, on_event, &self->events));
            printf("events %d\n", self->events);
            print_reply(belay_llm_stream_reply(self->stream));
            if (belay_result(task)->code < 0) {
                return belay_pass(task);
            }
        }
    }
    BELAY_END;
}

int
main(int argc, char **argv)
{
    struct ask arguments;
    int code;

    if (argc < 5 || argc > 7) {
        (void)fprintf(stderr, "usage: ask URL FORMAT plain|stream TEXT "
                              "[PATIENCE_MS [RETRIES]]\n");
        return 2;
    }
    arguments = (struct ask){.base_url = argv[1],
        .format = argv[2],
        .mode = argv[3],
        .text = argv[4],
        .patience_ms = argc > 5 ? strtol(argv[5], NULL, 10) : 0,
        .retries = argc > 6 ? (int32_t)strtol(argv[6], NULL, 10) : 0};
    code = caller_run(&ask, &arguments);
    printf("code %s\n", code == 0 ? "OK" : belay_code_name(code));
    return 0;
}
