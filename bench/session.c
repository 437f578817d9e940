/* session.c - the calls of w5, each a turn in a session of its own.
 *
 * Each task forks a session that has the system text and asks in the fork. What
 * it costs above w5 is a fork, a turn, and two messages that are kept.
 */
#include <belay/belay.h>
#include <belay/turn.h>

#include "bench/bench.h"

#include <signal.h>

#define CALL_BYTES 3072 /* of frames: what a call in a session takes */

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
    belay_llm_session *session;
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
    char text[1100];
};

static belay_next
ask(belay_task *task, struct request *self)
{
    (void)snprintf(self->text, sizeof(self->text), "%sRequest %ld", user_text,
        self->number);
    return belay_llm_chat(task, NULL, self->text, &self->reply);
}

static belay_next
open_session(belay_task *task, struct fan *fan)
{
    static const double temperature = 0.7;

    return belay_llm_session_open(task, fan->client,
        BELAY_LLM_SESSION_OPTS(.model = "bench-1",
            .system = {system_text, strlen(system_text)},
            .temperature = &temperature, .max_tokens = 256,
            .old_max_tokens = true, .extra = {"{\"stream\":false}", 16}),
        &fan->session);
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
    BELAY_WITH (belay_llm_session_fork(task, self->fan->session, NULL, NULL)) {
        BELAY_TRY(ask(task, self));
    }
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
    BELAY_WITH (belay_llm_client_open(
        task, BELAY_LLM_CLIENT_OPTS(.base_url = self->url), &self->client)) {
        BELAY_WITH (open_session(task, self)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                for (self->i = 0; self->i < self->requests; self->i++) {
                    BELAY_AWAIT(belay_semaphore_acquire(task, &self->free));
                    BELAY_CHECK(belay_spawn(
                        self->group, request, .fan = self, .number = self->i));
                }
            }
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
    const struct fan arguments = {
        .url = base_of(argc > 3 ? argv[3] : "http://127.0.0.1:8080/v1"),
        .requests = argument(argc, argv, 1, 20000),
        .at_once = (uint32_t)argument(argc, argv, 2, 256),
        .tokens = &tokens,
        .content = &content,
        .bad = &bad,
    };
    struct moment start;
    struct moment end;
    char more[96];
    int code;

    (void)signal(SIGPIPE, SIG_IGN);
    texts_init();
    start = moment_now();
    code = belay_run(&fan, &arguments, NULL, NULL);
    end = moment_now();
    if (code < 0) {
        (void)fprintf(stderr, "session: %s\n", belay_code_text(code));
        return 1;
    }
    (void)snprintf(more, sizeof(more), ",\"content\":%llu,\"bad\":%llu",
        (unsigned long long)content, (unsigned long long)bad);
    report(arguments.requests, start, end, tokens, more);
    return bad == 0 ? 0 : 1;
}
