/* fan.c - a fan of calls to a model.
 *
 * No task is spawned before there is room for its call, so that at most so many
 * exist as calls are made at once.
 */
#include "bench/fan.h"

#include <belay/record.h>

#include <signal.h>

/* ---- one call ---- */

void
call_write_text(struct call *call)
{
    (void)snprintf(call->text, sizeof(call->text), "%sRequest %ld",
        call->fan->user_text, call->number);
}

void
call_write_messages(struct call *call)
{
    call_write_text(call);
    call->messages[0] = belay_llm_message("system", call->fan->system_text);
    call->messages[1] = belay_llm_message("user", call->text);
}

void
call_ended(struct call *call, int code)
{
    struct fan *fan = call->fan;
    const struct belay_llm_usage *usage;

    if (code == 0) {
        usage = belay_llm_reply_usage(call->reply);
        fan->tokens += (uint64_t)(usage->in_total + usage->out_total);
        belay_llm_reply_free(call->reply);
    } else {
        fan->bad++;
    }
    belay_semaphore_release(&fan->free);
}

/* ---- all of them ---- */

struct calls {
    struct fan *fan;
    /* locals */
    belay_group *group;
    long i;
};

BELAY_ASYNC(calls)
{
    struct fan *fan = self->fan;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (self->i = 0; self->i < fan->requests; self->i++) {
            BELAY_AWAIT(belay_semaphore_acquire(task, &fan->free));
            BELAY_CHECK(belay_group_spawn(self->group, fan->call,
                &(const struct call){.fan = fan, .number = self->i}, NULL));
        }
    }
    BELAY_END;
}

struct client {
    struct fan *fan;
};

BELAY_ASYNC(client)
{
    struct fan *fan = self->fan;

    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = fan->url,
            .ca_file = getenv("BENCH_CA")),
        &fan->client)) {
        if (fan->open == NULL) {
            BELAY_AWAIT(BELAY_CALL(calls, .fan = fan));
        } else {
            BELAY_WITH (fan->open(task, fan)) {
                BELAY_AWAIT(BELAY_CALL(calls, .fan = fan));
            }
        }
    }
    BELAY_END;
}

struct recorded {
    struct fan *fan;
    const char *record; /* NULL: not at all */
};

BELAY_ASYNC(recorded)
{
    BELAY_BEGIN;
    if (self->record == NULL) {
        BELAY_AWAIT(BELAY_CALL(client, .fan = self->fan));
    } else {
        BELAY_WITH (belay_recorder_open(
            task, BELAY_RECORDER_OPTS(.path = self->record), NULL)) {
            BELAY_AWAIT(BELAY_CALL(client, .fan = self->fan));
        }
    }
    BELAY_END;
}

/* ---- the program ---- */

static void
write_texts(struct fan *fan)
{
    size_t len = 0;

    for (int i = 0; i < 4; i++) {
        len += (size_t)snprintf(fan->system_text + len,
            sizeof(fan->system_text) - len,
            "You are a careful \"assistant\". ");
    }
    len = 0;
    for (int i = 0; i < 16; i++) {
        len +=
            (size_t)snprintf(fan->user_text + len, sizeof(fan->user_text) - len,
                "The quick brown fox jumps over the lazy dog.\n");
    }
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
fan_main(int argc, char **argv, struct fan *fan)
{
    struct recorded arguments = {.fan = fan, .record = getenv("BENCH_RECORD")};
    struct moment start;
    struct moment end;
    char more[96];
    int code;

    fan->requests = argument(argc, argv, 1, fan->requests);
    fan->at_once = argument(argc, argv, 2, fan->at_once);
    fan->url = base_of(argc > 3 ? argv[3] : "http://127.0.0.1:8080/v1");
    belay_semaphore_init(&fan->free, (uint32_t)fan->at_once);
    write_texts(fan);
    (void)signal(SIGPIPE, SIG_IGN);
    start = moment_now();
    code = belay_run(&recorded, &arguments, NULL, NULL);
    end = moment_now();
    if (code < 0) {
        (void)fprintf(stderr, "%s: %s\n", fan->name, belay_code_text(code));
        return 1;
    }
    (void)snprintf(more, sizeof(more), ",\"content\":%llu,\"bad\":%llu",
        (unsigned long long)fan->content, (unsigned long long)fan->bad);
    report(fan->requests, start, end, fan->tokens, more);
    return fan->bad == 0 ? 0 : 1;
}
