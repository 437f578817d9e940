/* w5.c - chat calls, on Belay: N of them, CONC at a time, one task each.
 *
 * The request is written from its parts each time, the answer is parsed.
 * w6 is the same against a server that takes its time. BENCH_RECORD names a
 * file into which all is recorded, BENCH_CA one with who may sign for a server
 * that speaks TLS.
 */
#include <belay/belay.h>
#include <belay/llm.h>
#include <belay/record.h>

#include "bench/bench.h"

#include <signal.h>

#define CALL_BYTES 1024 /* of frames: what a call takes */

struct fan {
    const char *url;
    long requests;
    uint32_t at_once;
    uint64_t *tokens;
    uint64_t *content;
    uint64_t *bad;
    /* locals */
    belay_group *group;
    belay_llm_client *client;
    struct belay_semaphore free;
    long i;
};

static char system_text[512];
static char user_text[1024];

static void
texts_init(void)
{
    size_t len = 0;

    for (int i = 0; i < 4; i++) {
        len += (size_t)snprintf(system_text + len, sizeof(system_text) - len,
            "You are a careful \"assistant\". ");
    }
    len = 0;
    for (int i = 0; i < 16; i++) {
        len += (size_t)snprintf(user_text + len, sizeof(user_text) - len,
            "The quick brown fox jumps over the lazy dog.\n");
    }
}

struct request {
    struct fan *fan;
    long number;
    belay_llm_reply *reply;
    struct belay_llm_message messages[2];
    char text[1100];
};

static belay_next
ask(belay_task *task, struct request *self)
{
    static const double temperature = 0.7;

    (void)snprintf(self->text, sizeof(self->text), "%sRequest %ld", user_text,
        self->number);
    self->messages[0] = belay_llm_message("system", system_text);
    self->messages[1] = belay_llm_message("user", self->text);
    return belay_llm_complete(task, self->fan->client,
        BELAY_LLM_CHAT(.model = "bench-1", .messages = self->messages,
            .message_count = 2, .temperature = &temperature, .max_tokens = 256,
            .old_max_tokens = true, .extra = {"{\"stream\":false}", 16}),
        &self->reply);
}

static void
count(struct fan *fan, belay_llm_reply *reply)
{
    const struct belay_llm_usage *usage = belay_llm_reply_usage(reply);

    *fan->tokens += (uint64_t)(usage->in_total + usage->out_total);
    *fan->content += belay_llm_reply_text(reply).len;
    belay_llm_reply_free(reply);
}

BELAY_ASYNC_SIZED(request, CALL_BYTES)
{
    BELAY_BEGIN;
    BELAY_TRY(ask(task, self));
    if (belay_result(task)->code == 0) {
        count(self->fan, self->reply);
    } else {
        ++*self->fan->bad;
    }
    belay_semaphore_release(&self->fan->free);
    BELAY_END;
}

BELAY_ASYNC(fan)
{
    BELAY_BEGIN;
    belay_semaphore_init(&self->free, self->at_once);
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = self->url,
            .ca_file = getenv("BENCH_CA")),
        &self->client)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (self->i = 0; self->i < self->requests; self->i++) {
                BELAY_AWAIT(belay_semaphore_acquire(task, &self->free));
                BELAY_CHECK(belay_spawn(
                    self->group, request, .fan = self, .number = self->i));
            }
        }
    }
    BELAY_END;
}

struct recorded_fan {
    struct fan fan;
    const char *record; /* NULL: not at all */
};

BELAY_ASYNC(recorded_fan)
{
    BELAY_BEGIN;
    if (self->record == NULL) {
        BELAY_AWAIT(belay_call(task, &fan, &self->fan));
    } else {
        BELAY_WITH (belay_recorder_open(
            task, BELAY_RECORDER_OPTS(.path = self->record), NULL)) {
            BELAY_AWAIT(belay_call(task, &fan, &self->fan));
        }
    }
    BELAY_END;
}

/* The client wants the part of the URL before "/chat/completions". */
static const char *
base_of(const char *url)
{
    const char *tail = strstr(url, "/chat/completions");
    const size_t len = tail != NULL ? (size_t)(tail - url) : strlen(url);
    char *base = must_alloc(len + 1, 1);

    (void)snprintf(base, len + 1, "%s", url);
    return base;
}

int
main(int argc, char **argv)
{
    uint64_t tokens = 0;
    uint64_t content = 0;
    uint64_t bad = 0;
    const struct fan fan_of = {
        .url = base_of(argc > 3 ? argv[3] : "http://127.0.0.1:8080/v1"),
        .requests = argument(argc, argv, 1, 20000),
        .at_once = (uint32_t)argument(argc, argv, 2, 256),
        .tokens = &tokens,
        .content = &content,
        .bad = &bad,
    };
    const struct recorded_fan arguments = {fan_of, getenv("BENCH_RECORD")};
    struct moment start;
    struct moment end;
    char more[96];
    int code;

    (void)signal(SIGPIPE, SIG_IGN);
    texts_init();
    start = moment_now();
    code = belay_run(&recorded_fan, &arguments, NULL, NULL);
    end = moment_now();
    if (code < 0) {
        (void)fprintf(stderr, "w5: %s\n", belay_code_text(code));
        return 1;
    }
    (void)snprintf(more, sizeof(more), ",\"content\":%llu,\"bad\":%llu",
        (unsigned long long)content, (unsigned long long)bad);
    report(fan_of.requests, start, end, tokens, more);
    return bad == 0 ? 0 : 1;
}
