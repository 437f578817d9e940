/* sim_scene.c - a simulator, and a client of it in a thread. */
#include "test/support/sim_scene.h"

#include "llm/json/scan.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct sim_scene sim_scene;

static void
note_entry(const struct belay__sim_entry *entry, void *arg)
{
    (void)arg;
    if (sim_scene.entry_count < ENTRIES_MAX) {
        sim_scene.entries[sim_scene.entry_count++] = *entry;
    }
}

struct client {
    void (*fn)(void *arg);
};

BELAY_ASYNC(client)
{
    BELAY_BEGIN;
    BELAY_TRY(raw_client_run(task, self->fn, NULL));
    atomic_store(&sim_scene.client_done, true);
    return belay_pass(task);
    BELAY_END;
}

/* A clock that flies does so only while a request is being answered. */
static belay_next
next_moment(belay_task *task, const struct play *self)
{
    if (self->clock == NULL) {
        return belay_sleep(task, belay_milliseconds(1));
    }
    if (self->sim->stats.in_flight > 0) {
        belay_clock_advance(self->clock, belay_milliseconds(1));
    }
    return belay_checkpoint(task);
}

BELAY__STEP(play)
const belay_function sim_play = {
    "play", __FILE__, sizeof(struct play), play__step, 0};
BELAY__BODY(play)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay__sim_open(task, &self->opts, &self->sim)) {
            cr_assert(eq(int,
                sscanf(belay__sim_url(self->sim),
                    "http://127.0.0.1:%" SCNu16 "/v1", &sim_scene.port),
                1));
            BELAY_CHECK(belay_spawn(self->group, client, .fn = self->client));
            if (self->wait) {
                BELAY_AWAIT(belay__sim_wait(task, self->sim));
            }
            while (!self->wait && !atomic_load(&sim_scene.client_done)) {
                BELAY_AWAIT(next_moment(task, self));
            }
            belay__sim_get_stats(self->sim, &sim_scene.stats);
        }
    }
    BELAY_END;
}

int
run_sim(const struct play *given)
{
    struct play arguments = *given;
    size_t fds = raw_count_fds();
    int code;

    memset(&sim_scene, 0, sizeof(sim_scene));
    arguments.opts.log_fn = note_entry;
    (void)signal(SIGPIPE, SIG_IGN);
    code = belay_run(&sim_play, &arguments,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator,
            .clock = arguments.clock),
        NULL);
    cr_assert(eq(sz, raw_count_fds(), fds));
    return code;
}

void
send_request(int fd, const char *method, const char *path, const char *fields,
    const char *body)
{
    char head[512];

    (void)snprintf(head, sizeof(head),
        "%s %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n", method,
        path, fields, strlen(body));
    (void)raw_send_text(fd, head);
    (void)raw_send_text(fd, body);
}

void
post(int fd, const char *body)
{
    send_request(fd, "POST", "/v1/chat/completions", "", body);
}

const char *
chat_body(const char *content, const char *more)
{
    static _Thread_local char body[1024];

    (void)snprintf(body, sizeof(body),
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\","
        "\"content\":\"%s\"}]%s}",
        content, more);
    return body;
}

void
sim_note(const char *text)
{
    const size_t len = strlen(sim_scene.text);

    RAW_CHECK(len + strlen(text) < sizeof(sim_scene.text));
    memcpy(sim_scene.text + len, text, strlen(text) + 1);
}

bool
is_json(const char *text)
{
    const struct belay_slice slice = {text, strlen(text)};

    return belay__json_check(slice, NULL, NULL) == 0;
}

void
read_json(int fd, int status, struct raw_reply *reply)
{
    raw_read_reply(fd, reply);
    RAW_CHECK(reply->end == RAW_WHOLE);
    RAW_CHECK(reply->status == status);
    RAW_CHECK(raw_has_field(reply, "content-type", "application/json"));
    RAW_CHECK(is_json(reply->body));
}

void
want_error(int fd, int status, const char *part)
{
    struct raw_reply reply;

    read_json(fd, status, &reply);
    RAW_CHECK(strstr(reply.body, "{\"error\":{\"message\":\"") == reply.body);
    RAW_CHECK(strstr(reply.body, part) != NULL);
    raw_reply_fini(&reply);
}

/* Not by strstr(), whose sanitized form looks at the whole text each time. */
size_t
count_text(const char *text, const char *part)
{
    const size_t len = strlen(part);
    size_t count = 0;

    for (; *text != '\0'; text++) {
        count += *text == *part && strncmp(text, part, len) == 0;
    }
    return count;
}
