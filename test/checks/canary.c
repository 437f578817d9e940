/* canary.c - the library with a key, doing all that it could betray it by.
 *
 * usage: CANARY=key canary URL FOLDER
 *
 * Calls of every kind against the server of canary.py, which quotes the key
 * wherever it can; everything that can be said about them is printed, and
 * recorded into FOLDER. Memory of ours that is given back must not hold the
 * key, as long as the server has not sent it: that is looked at here, since
 * nobody else can. What is printed, recorded and traced is for canary.py.
 */
#include <belay/belay.h>
#include <belay/budget.h>
#include <belay/llm_stream.h>
#include <belay/record.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char key[128];
static size_t key_len;
static bool quoted; /* the server has sent it: replies hold it rightly */

/* ---- memory ---- */

static bool
holds_key(const char *block, size_t size)
{
    for (size_t i = 0; i + key_len <= size; i++) {
        if (memcmp(block + i, key, key_len) == 0) {
            return true;
        }
    }
    return false;
}

/* Zeroed: what libcurl has freed before may hold the key. */
static void *
obtain(size_t size)
{
    return calloc(1, size);
}

static void
release(void *ptr, size_t size)
{
    if (ptr != NULL && !quoted && holds_key(ptr, size)) {
        (void)puts("CANARY-FREED: a block with the key was given back");
    }
    free(ptr);
}

/* A block that grows moves: it leaves a copy behind, too. */
static void *
watched_realloc(void *ptr, size_t old_size, size_t new_size, void *arg)
{
    void *grown = new_size > 0 ? obtain(new_size) : NULL;

    (void)arg;
    if (new_size > 0 && grown == NULL) {
        return NULL;
    }
    if (ptr != NULL && new_size > 0) {
        memcpy(grown, ptr, old_size < new_size ? old_size : new_size);
    }
    release(ptr, old_size);
    return grown;
}

static const struct belay_allocator watched = {watched_realloc, NULL};

/* ---- calls ---- */

struct scene {
    const char *url;
    const char *record;        /* a path */
    const char *const *models; /* … NULL */
    belay_recorder *recorder;
    belay_budget *budget;
    belay_llm_client *client;
    belay_llm_reply *reply;
    size_t i;
};

static void
on_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    (void)arg;
    (void)printf("attempt %u: status %d, code %d\n", attempt->number,
        attempt->status, attempt->code);
}

static int
on_event(const struct belay_llm_event *event, void *arg)
{
    (void)arg;
    (void)printf("event %d: %.*s\n", (int)event->type, (int)event->text.len,
        event->text.len > 0 ? event->text.data : "");
    return 0;
}

static void
tell(const struct belay_result *result)
{
    static char text[8192];

    (void)belay_result_format(result, text, sizeof(text));
    (void)printf("%s\n", text);
}

/* What the server does is in the model's name; with a "!" it quotes. */
static const char *const quiet_models[] = {
    "plain", "stream", "busy", "reset", "silent", NULL};
static const char *const quoting_models[] = {"!401", "!400", "!escaped",
    "!address", "!html", "!stream-error", "!plain", NULL};

struct ask {
    struct scene *scene;
    const char *model;
};

BELAY_ASYNC(ask)
{
    static const struct belay_llm_message messages[1] = {
        {.role = "user", .content = {"hi", 2}}};
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_milliseconds(500))) {
        if (strstr(self->model, "stream") != NULL) {
            BELAY_TRY(belay_llm_complete_stream(task, scene->client,
                BELAY_LLM_CHAT(.model = self->model, .messages = messages,
                    .message_count = 1, .max_tokens = 5,
                    .on_attempt = on_attempt),
                NULL, on_event, NULL, &scene->reply));
        } else {
            BELAY_TRY(belay_llm_complete(task, scene->client,
                BELAY_LLM_CHAT(.model = self->model, .messages = messages,
                    .message_count = 1, .max_tokens = 5,
                    .on_attempt = on_attempt),
                &scene->reply));
        }
        tell(belay_result(task));
        (void)belay_runtime_dump(belay_task_runtime(task), stdout);
        belay_llm_reply_free(scene->reply);
        scene->reply = NULL;
        if (belay_result(task)->cancelled) {
            return belay_pass(task);
        }
    }
    BELAY_END;
}

BELAY_ASYNC(scene)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_recorder_open(
        task, BELAY_RECORDER_OPTS(.path = self->record), &self->recorder)) {
        BELAY_WITH (belay_budget_open(
            task, BELAY_BUDGET_OPTS(.limit.requests = 100), &self->budget)) {
            BELAY_WITH (belay_llm_client_open(task,
                BELAY_LLM_CLIENT_OPTS(.base_url = self->url, .api_key = key,
                    .retry_base = belay_milliseconds(1),
                    .idempotency_header = "Idempotency-Key"),
                &self->client)) {
                for (self->i = 0; self->models[self->i] != NULL; self->i++) {
                    BELAY_TRY(BELAY_CALL(
                        ask, .scene = self, .model = self->models[self->i]));
                    tell(belay_result(task));
                }
            }
        }
    }
    BELAY_END;
}

static int
play(const char *url, const char *folder, const char *name,
    const char *const *models)
{
    char record[4096];
    struct belay_result result = {0};
    int code;

    (void)snprintf(record, sizeof(record), "%s/%s", folder, name);
    quoted = models == quoting_models;
    code = belay_run(&scene,
        &(const struct scene){.url = url, .record = record, .models = models},
        BELAY_RUNTIME_OPTS(.allocator = &watched), &result);
    tell(&result);
    belay_error_unref(result.error);
    return code;
}

int
main(int argc, char **argv)
{
    static const char *const records[] = {"record.jsonl", "record.db"};
    const char *value = getenv("CANARY");
    int code = 0;

    if (argc != 3 || value == NULL || strlen(value) >= sizeof(key)) {
        (void)fputs("usage: CANARY=key canary URL FOLDER\n", stderr);
        return 2;
    }
    key_len = strlen(value);
    memcpy(key, value, key_len + 1);
    for (int i = 0; code == 0 && i < 2; i++) {
        code = play(argv[1], argv[2], records[i], quiet_models);
        if (code == 0) {
            code = play(argv[1], argv[2], records[i], quoting_models);
        }
    }
    return code < 0;
}
