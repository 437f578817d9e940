/* test_sim.c - the simulator, as a client sees it over raw sockets. */
#include "llm/json/scan.h"
#include "llm/sim/internal.h"
#include "llm/sim/sim.h"
#include "test/support/alloc.h"
#include "test/support/raw_client.h"

#include <belay/group.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* libuv keeps a pipe for signals from the first loop on. */
static void
open_what_libuv_keeps(void)
{
    uv_loop_t loop;

    cr_assert(eq(int, uv_loop_init(&loop), 0));
    cr_assert(eq(int, uv_loop_close(&loop), 0));
}

TestSuite(
    sim, .init = open_what_libuv_keeps, .fini = check_clean, .timeout = 120);

/* ---- the scene: a simulator, and a client in a thread ---- */

#define ENTRIES_MAX 64

static struct {
    uint16_t port;
    atomic_bool client_done;
    struct belay__sim_stats stats; /* at the end */
    struct belay__sim_entry entries[ENTRIES_MAX];
    size_t entry_count;
    char text[65536]; /* what the client has noted */
} scene;

static void
note_entry(const struct belay__sim_entry *entry, void *arg)
{
    (void)arg;
    if (scene.entry_count < ENTRIES_MAX) {
        scene.entries[scene.entry_count++] = *entry;
    }
}

struct client {
    void (*fn)(void *arg);
};

BELAY_ASYNC(client)
{
    BELAY_BEGIN;
    BELAY_TRY(raw_client_run(task, self->fn, NULL));
    atomic_store(&scene.client_done, true);
    return belay_pass(task);
    BELAY_END;
}

struct play {
    struct belay__sim_opts opts;
    void (*client)(void *arg);
    belay_clock *clock; /* not NULL: time flies */
    bool wait;          /* for max_requests */
    belay_group *group;
    struct belay__sim *sim;
};

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

BELAY_ASYNC(play)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay__sim_open(task, &self->opts, &self->sim)) {
            cr_assert(eq(int,
                sscanf(belay__sim_url(self->sim),
                    "http://127.0.0.1:%" SCNu16 "/v1", &scene.port),
                1));
            BELAY_CHECK(belay_spawn(self->group, client, .fn = self->client));
            if (self->wait) {
                BELAY_AWAIT(belay__sim_wait(task, self->sim));
            }
            while (!self->wait && !atomic_load(&scene.client_done)) {
                BELAY_AWAIT(next_moment(task, self));
            }
            belay__sim_get_stats(self->sim, &scene.stats);
        }
    }
    BELAY_END;
}

static int
run_play(const struct play *given)
{
    struct play arguments = *given;
    size_t fds = raw_count_fds();
    int code;

    memset(&scene, 0, sizeof(scene));
    arguments.opts.log_fn = note_entry;
    (void)signal(SIGPIPE, SIG_IGN);
    code = belay_run(&play, &arguments,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator,
            .clock = arguments.clock),
        NULL);
    cr_assert(eq(sz, raw_count_fds(), fds));
    return code;
}

/* Runs a client against a simulator with these options. */
#define PLAY(client_fn, ...)                                \
    cr_assert(eq(int,                                       \
        run_play(&(const struct play){                      \
            .client = (client_fn), .opts = {__VA_ARGS__}}), \
        0))

/* The same while time flies. */
static void
play_fast(void (*client_fn)(void *arg), struct belay__sim_opts opts)
{
    belay_clock *clock = belay_clock_new(false);

    cr_assert(clock != NULL);
    cr_assert(eq(int,
        run_play(&(const struct play){
            .client = client_fn, .opts = opts, .clock = clock}),
        0));
    belay_clock_free(clock);
}

/* ---- what clients do ---- */

static void
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

static void
post(int fd, const char *body)
{
    send_request(fd, "POST", "/v1/chat/completions", "", body);
}

/* A request with this much of its own; more holds further members. */
static const char *
chat_body(const char *content, const char *more)
{
    static _Thread_local char body[1024];

    (void)snprintf(body, sizeof(body),
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\","
        "\"content\":\"%s\"}]%s}",
        content, more);
    return body;
}

static void
note(const char *text)
{
    const size_t len = strlen(scene.text);

    RAW_CHECK(len + strlen(text) < sizeof(scene.text));
    memcpy(scene.text + len, text, strlen(text) + 1);
}

static bool
is_json(const char *text)
{
    const struct belay_slice slice = {text, strlen(text)};

    return belay__json_check(slice, NULL, NULL) == 0;
}

/* Reads a whole reply of JSON. */
static void
read_json(int fd, int status, struct raw_reply *reply)
{
    raw_read_reply(fd, reply);
    RAW_CHECK(reply->end == RAW_WHOLE);
    RAW_CHECK(reply->status == status);
    RAW_CHECK(raw_has_field(reply, "content-type", "application/json"));
    RAW_CHECK(is_json(reply->body));
}

/* Wants an error whose text has `part` in it. */
static void
want_error(int fd, int status, const char *part)
{
    struct raw_reply reply;

    read_json(fd, status, &reply);
    RAW_CHECK(strstr(reply.body, "{\"error\":{\"message\":\"") == reply.body);
    RAW_CHECK(strstr(reply.body, part) != NULL);
    raw_reply_fini(&reply);
}

/* The string behind a key, if it holds no quote. */
static void
find_text(const char *json, const char *key, char *ret, size_t size)
{
    const char *at = strstr(json, key);
    size_t len;

    RAW_CHECK(at != NULL);
    at += strlen(key);
    len = strcspn(at, "\"");
    RAW_CHECK(len < size);
    memcpy(ret, at, len);
    ret[len] = '\0';
}

static size_t
count_words(const char *text)
{
    size_t words = *text != '\0';

    for (; *text != '\0'; text++) {
        words += *text == ' ';
    }
    return words;
}

/* ---- answers ---- */

static void
plain_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;
    char content[1024];

    (void)arg;
    post(fd, chat_body("how high is the tallest mountain", ""));
    read_json(fd, 200, &reply);
    RAW_CHECK(raw_has_field(&reply, "x-request-id", NULL));
    RAW_CHECK(strstr(reply.body, "\"id\":\"chatcmpl-") != NULL);
    RAW_CHECK(strstr(reply.body, "\"object\":\"chat.completion\"") != NULL);
    RAW_CHECK(strstr(reply.body, "\"model\":\"m\"") != NULL);
    RAW_CHECK(strstr(reply.body, "\"finish_reason\":\"stop\"") != NULL);
    RAW_CHECK(strstr(reply.body,
                  "\"usage\":{\"prompt_tokens\":6,\"completion_tokens\":16,"
                  "\"total_tokens\":22}")
              != NULL);
    find_text(reply.body, "\"content\":\"", content, sizeof(content));
    RAW_CHECK(count_words(content) == 16);
    note(reply.body);
    raw_reply_fini(&reply);
    post(fd, chat_body("short", ",\"max_tokens\":4"));
    read_json(fd, 200, &reply);
    RAW_CHECK(strstr(reply.body, "\"finish_reason\":\"length\"") != NULL);
    RAW_CHECK(strstr(reply.body, "\"completion_tokens\":4,") != NULL);
    note(reply.body);
    raw_reply_fini(&reply);
    raw_close(fd);
}

Test(sim, answers_the_same_for_the_same_seed)
{
    char first[sizeof(scene.text)];

    PLAY(plain_client, .seed = 1);
    cr_assert(eq(u64, scene.stats.hits, 2));
    cr_assert(eq(u64, scene.stats.ends[BELAY__SIM_ANSWERED], 2));
    cr_assert(eq(u64, scene.stats.prompt_tokens, 7));
    cr_assert(eq(u64, scene.stats.completion_tokens, 20));
    memcpy(first, scene.text, sizeof(first));
    PLAY(plain_client, .seed = 1);
    cr_assert(eq(str, scene.text, first));
    PLAY(plain_client, .seed = 2);
    cr_assert(ne(str, scene.text, first));
}

/* The contents of all chunks of a stream, joined. */
static void
join_stream(const char *stream, char *ret, size_t size)
{
    static const char key[] = "\"content\":\"";
    size_t len = 0;

    while ((stream = strstr(stream, key)) != NULL) {
        find_text(stream, key, ret + len, size - len);
        len += strlen(ret + len);
        stream += sizeof(key) - 1;
    }
}

/* Not by strstr(), whose sanitized form looks at the whole text each time. */
static size_t
count_text(const char *text, const char *part)
{
    const size_t len = strlen(part);
    size_t count = 0;

    for (; *text != '\0'; text++) {
        count += *text == *part && strncmp(text, part, len) == 0;
    }
    return count;
}

static void
stream_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply plain;
    struct raw_reply reply;
    char content[1024];
    char joined[1024];

    (void)arg;
    post(fd, chat_body("what falls from the sky", ""));
    read_json(fd, 200, &plain);
    find_text(plain.body, "\"content\":\"", content, sizeof(content));
    post(fd, chat_body("what falls from the sky",
                 ",\"stream\":true,\"stream_options\":"
                 "{\"include_usage\":true}"));
    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_WHOLE && reply.status == 200);
    RAW_CHECK(raw_has_field(&reply, "content-type", "text/event-stream"));
    RAW_CHECK(strncmp(reply.body, "data: {", 7) == 0);
    join_stream(reply.body, joined, sizeof(joined));
    RAW_CHECK(strcmp(joined, content) == 0);
    RAW_CHECK(count_text(reply.body, "data: {") == 16 + 3);
    RAW_CHECK(count_text(reply.body, "\n\n") == 16 + 4);
    RAW_CHECK(count_text(reply.body, "\"role\":\"assistant\"") == 1);
    RAW_CHECK(count_text(reply.body, "\"finish_reason\":\"stop\"") == 1);
    RAW_CHECK(count_text(reply.body, "\"usage\":null") == 16 + 2);
    RAW_CHECK(
        count_text(reply.body, "\"choices\":[],\"usage\":{\"prompt_tokens\":5,")
        == 1);
    RAW_CHECK(strcmp(reply.body + reply.len - 14, "data: [DONE]\n\n") == 0);
    raw_reply_fini(&plain);
    raw_reply_fini(&reply);
    post(fd, chat_body("x", ",\"stream\":true,\"max_completion_tokens\":1"));
    raw_read_reply(fd, &reply);
    RAW_CHECK(count_text(reply.body, "data: ") == 4);
    RAW_CHECK(strstr(reply.body, "usage") == NULL);
    raw_reply_fini(&reply);
    raw_close(fd);
}

Test(sim, streams_what_it_would_answer_in_one_piece)
{
    PLAY(stream_client, .seed = 5);
    cr_assert(eq(sz, scene.entry_count, 3));
    cr_assert(scene.entries[1].stream);
}

static void
long_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    (void)arg;
    post(fd, chat_body("a long one", ",\"stream\":true"));
    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_WHOLE);
    RAW_CHECK(count_text(reply.body, "data: ") == 20000 + 3);
    raw_reply_fini(&reply);
    raw_close(fd);
}

Test(sim, streams_long_answers)
{
    PLAY(long_client, .tokens_min = 20000);
}

static void
lengths_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;
    char content[16];

    (void)arg;
    for (int i = 0; i < 40; i++) {
        (void)snprintf(content, sizeof(content), "number %d", i);
        post(fd, chat_body(content, ""));
        read_json(fd, 200, &reply);
        raw_reply_fini(&reply);
    }
    raw_close(fd);
}

Test(sim, draws_the_length_of_answers)
{
    bool seen[8] = {false};

    PLAY(lengths_client, .tokens_min = 3, .tokens_max = 6);
    cr_assert(eq(sz, scene.entry_count, 40));
    for (size_t i = 0; i < scene.entry_count; i++) {
        cr_assert(scene.entries[i].completion_tokens < 8);
        seen[scene.entries[i].completion_tokens] = true;
    }
    cr_assert(not(seen[2]));
    cr_assert(seen[3] && seen[4] && seen[5] && seen[6]);
    cr_assert(not(seen[7]));
}

/* ---- requests that are wrong ---- */

static void
wrong_client(void *arg)
{
    static const char *const messages[] = {"", "model", "nothing at all",
        "{\"model\":\"m\"", "{\"model\":\"m\",\"messages\":[]}",
        "{\"model\":\"m\",\"messages\":{}}",
        "{\"model\":\"m\",\"messages\":[1]}",
        "{\"model\":\"m\",\"messages\":[{\"content\":\"x\"}]}",
        "{\"model\":7,\"messages\":[{\"role\":\"user\"}]}",
        "{\"messages\":[{\"role\":\"user\"}]}", "[]"};
    static const char *const more[] = {",\"stream\":1", ",\"n\":2",
        ",\"max_tokens\":0", ",\"max_tokens\":\"1\"",
        ",\"stream_options\":{\"include_usage\":\"yes\"}"};
    static const char *const parts[] = {
        "stream: ", "n: ", "max_tokens: ", "max_tokens: ", "stream_options: "};
    struct raw_reply reply;
    int fd = raw_connect(scene.port);

    (void)arg;
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        post(fd, messages[i]);
        want_error(fd, 400, "\"type\":\"invalid_request_error\"");
    }
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
        post(fd, chat_body("x", more[i]));
        want_error(fd, 400, parts[i]);
    }
    post(fd, "{\"model\": nil}");
    want_error(fd, 400, "at byte 10");
    send_request(fd, "GET", "/v1/chat/completions", "", "");
    want_error(fd, 405, "method_not_supported");
    send_request(fd, "GET", "/v1/nowhere", "", "");
    want_error(fd, 404, "unknown_url");
    post(fd, chat_body("null is as good as nothing",
                 ",\"n\":null,\"stream\":null,\"max_tokens\":null"));
    read_json(fd, 200, &reply);
    raw_reply_fini(&reply);
    raw_close(fd);
}

Test(sim, says_what_is_wrong_with_a_request)
{
    PLAY(wrong_client, .seed = 0);
    cr_assert(eq(u64, scene.stats.hits, 18));
    cr_assert(eq(u64, scene.stats.ends[BELAY__SIM_REFUSED], 17));
}

static void
parts_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    (void)arg;
    post(fd, "{\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},"
             "{\"content\":[{\"type\":\"text\",\"text\":\"one two\"},"
             "{\"type\":\"image_url\",\"image_url\":{\"url\":\"u\"}},"
             "{\"text\":\"three\"}],\"role\":\"user\"},"
             "{\"role\":\"assistant\",\"content\":null}],"
             "\"tools\":[{\"a\":[1,{\"b\":2}]}],\"model\":\"a\\u0022b\"}");
    read_json(fd, 200, &reply);
    RAW_CHECK(strstr(reply.body, "\"prompt_tokens\":5,") != NULL);
    RAW_CHECK(strstr(reply.body, "\"model\":\"a\\u0022b\"") != NULL);
    raw_reply_fini(&reply);
    raw_close(fd);
}

Test(sim, reads_contents_in_parts)
{
    PLAY(parts_client, .seed = 0);
}

static void
key_client(void *arg)
{
    static const char *const wrong[] = {"", "Authorization: Bearer sesame \r\n",
        "Authorization: Bearer Sesame\r\n", "Authorization: sesame\r\n",
        "Authorization: Bearer sesame2\r\n", "X-Api-Key: sesame\r\n"};
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    (void)arg;
    for (size_t i = 2; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        send_request(
            fd, "POST", "/v1/chat/completions", wrong[i], chat_body("x", ""));
        want_error(fd, 401, "invalid_api_key");
        send_request(fd, "GET", "/v1/models", wrong[i], "");
        want_error(fd, 401, "invalid_api_key");
    }
    send_request(fd, "POST", "/v1/chat/completions",
        "authorization: Bearer sesame\r\n", chat_body("x", ""));
    read_json(fd, 200, &reply);
    raw_reply_fini(&reply);
    raw_close(fd);
}

Test(sim, wants_the_key_it_was_given)
{
    PLAY(key_client, .api_key = "sesame");
}

static void
pages_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    (void)arg;
    send_request(fd, "GET", "/v1/models", "", "");
    read_json(fd, 200, &reply);
    RAW_CHECK(strstr(reply.body, "\"id\":\"sim-small\"") != NULL);
    raw_reply_fini(&reply);
    post(fd, chat_body("one", ""));
    read_json(fd, 200, &reply);
    raw_reply_fini(&reply);
    post(fd, "nonsense");
    want_error(fd, 400, "not JSON");
    post(fd, "nonsense");
    want_error(fd, 400, "not JSON");
    send_request(fd, "GET", "/__sim/stats", "", "");
    read_json(fd, 200, &reply);
    RAW_CHECK(strstr(reply.body, "\"hits\":3,\"distinct_bodies\":2,") != NULL);
    RAW_CHECK(strstr(reply.body, "\"refused\":2,\"answered\":1,") != NULL);
    RAW_CHECK(strstr(reply.body, "\"in_flight_max\":1,") != NULL);
    RAW_CHECK(strstr(reply.body, "\"status\":{\"200\":2,\"400\":2}") != NULL);
    raw_reply_fini(&reply);
    raw_close(fd);
}

Test(sim, tells_its_models_and_counts)
{
    PLAY(pages_client, .seed = 0);
}

/* ---- which bytes have arrived ---- */

static const char odd_body[] =
    "{ \"model\":\"m\", \"seed\":9007199254740993,\t\"seed\":1e400,"
    "\"\\u006dessages\":[{\"role\":\"user\",\"content\":\"\\u00e9 \xc3\xa9\"}"
    "]\r\n}";

static void
odd_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;
    char hash[40];

    (void)arg;
    post(fd, odd_body);
    read_json(fd, 200, &reply);
    (void)snprintf(hash, sizeof(hash), "%016" PRIx64,
        belay__sim_hash((struct belay_slice){odd_body, strlen(odd_body)}));
    RAW_CHECK(raw_has_field(&reply, "x-sim-body-fnv1a64", hash));
    (void)snprintf(hash, sizeof(hash), "\"fp_fnv1a64_%016" PRIx64 "\"",
        belay__sim_hash((struct belay_slice){odd_body, strlen(odd_body)}));
    RAW_CHECK(strstr(reply.body, hash) != NULL);
    raw_reply_fini(&reply);
    raw_close(fd);
}

Test(sim, b3_tells_the_hash_of_the_bytes_that_came)
{
    PLAY(odd_client, .seed = 0);
    cr_assert(eq(u64, scene.stats.body_hash_sum, scene.entries[0].body_hash));
}

Test(sim, hashes_as_fnv_1a_does)
{
    cr_assert(eq(u64, belay__sim_hash((struct belay_slice){NULL, 0}),
        UINT64_C(0xcbf29ce484222325)));
    cr_assert(eq(u64, belay__sim_hash((struct belay_slice){"a", 1}),
        UINT64_C(0xaf63dc4c8601ec8c)));
    cr_assert(eq(u64, belay__sim_hash((struct belay_slice){"foobar", 6}),
        UINT64_C(0x85944171f73967e8)));
}

/* ---- failures ---- */

static void
failing_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;
    char content[16];
    char line[64];

    (void)arg;
    for (int i = 0; i < 60; i++) {
        (void)snprintf(content, sizeof(content), "number %d", i / 3);
        post(fd, chat_body(content, ""));
        raw_read_reply(fd, &reply);
        RAW_CHECK(reply.end == RAW_WHOLE);
        RAW_CHECK(reply.status == 502 || is_json(reply.body));
        (void)snprintf(line, sizeof(line), "%d %d\n", reply.status,
            raw_has_field(&reply, "retry-after", "1.5")
                || raw_has_field(&reply, "retry-after", "1234567"));
        note(line);
        raw_reply_fini(&reply);
    }
    raw_close(fd);
}

Test(sim, fails_with_429_and_says_when_to_come_back)
{
    PLAY(failing_client, .fail_429 = 1, .fail_5xx = 1,
        .retry_after = belay_milliseconds(1500));
    cr_assert(eq(sz, count_text(scene.text, "429 1\n"), 60));
    PLAY(failing_client, .fail_429 = 1, .retry_after = belay_seconds(1234567));
    cr_assert(eq(sz, count_text(scene.text, "429 1\n"), 60));
    PLAY(failing_client, .fail_429 = 1);
    cr_assert(eq(sz, count_text(scene.text, "429 0\n"), 60));
}

Test(sim, fails_with_each_kind_of_5xx)
{
    PLAY(failing_client, .fail_5xx = 1);
    cr_assert(gt(sz, count_text(scene.text, "500 0\n"), 0));
    cr_assert(gt(sz, count_text(scene.text, "502 0\n"), 0));
    cr_assert(gt(sz, count_text(scene.text, "503 0\n"), 0));
    cr_assert(gt(sz, count_text(scene.text, "529 0\n"), 0));
    cr_assert(eq(u64, scene.stats.ends[BELAY__SIM_REFUSED], 60));
}

Test(sim, fails_again_as_it_did_before)
{
    static char first[sizeof(scene.text)];

    PLAY(failing_client, .fail_429 = 0.3, .fail_5xx = 0.3, .seed = 7);
    memcpy(first, scene.text, sizeof(first));
    cr_assert(gt(sz, count_text(first, "200"), 10));
    cr_assert(gt(sz, count_text(first, "429"), 5));
    cr_assert(eq(u32, scene.entries[0].attempt, 0));
    cr_assert(eq(u32, scene.entries[1].attempt, 1));
    cr_assert(eq(u32, scene.entries[2].attempt, 2));
    cr_assert(eq(u32, scene.entries[3].attempt, 0));
    PLAY(failing_client, .fail_429 = 0.3, .fail_5xx = 0.3, .seed = 7);
    cr_assert(eq(str, scene.text, first));
    PLAY(failing_client, .fail_429 = 0.3, .fail_5xx = 0.3, .seed = 8);
    cr_assert(ne(str, scene.text, first));
}

/* Twenty answers of which none comes to its end. */
static void
cut_client(void *arg)
{
    struct raw_reply reply;
    char content[16];

    (void)arg;
    for (int i = 0; i < 20; i++) {
        int fd = raw_connect(scene.port);

        (void)snprintf(content, sizeof(content), "number %d", i);
        post(fd, chat_body(content, i % 2 == 0 ? "" : ",\"stream\":true"));
        raw_read_reply(fd, &reply);
        RAW_CHECK(reply.end == RAW_EOF || reply.end == RAW_RESET);
        RAW_CHECK(strstr(reply.body, "[DONE]") == NULL);
        note(reply.end == RAW_EOF ? "eof\n" : "reset\n");
        note(reply.len > 0 ? "some\n" : "none\n");
        raw_reply_fini(&reply);
        raw_close(fd);
    }
}

Test(sim, cuts_answers_in_both_ways)
{
    PLAY(cut_client, .cut = 1, .stall = 1);
    cr_assert(eq(u64, scene.stats.ends[BELAY__SIM_CUT], 20));
    cr_assert(gt(sz, count_text(scene.text, "eof"), 2));
    cr_assert(gt(sz, count_text(scene.text, "reset"), 2));
    cr_assert(gt(sz, count_text(scene.text, "some"), 2));
}

/* Twenty answers that stall; the client has no patience. */
static void
stall_client(void *arg)
{
    char content[16];
    char byte;

    (void)arg;
    for (int i = 0; i < 20; i++) {
        int fd = raw_connect(scene.port);
        const struct timeval patience = {.tv_usec = 20000};

        RAW_CHECK(
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience))
            == 0);
        (void)snprintf(content, sizeof(content), "number %d", i);
        post(fd, chat_body(content, i % 2 == 0 ? "" : ",\"stream\":true"));
        for (;;) {
            ssize_t got = recv(fd, &byte, 1, 0);

            RAW_CHECK(got != 0);
            if (got < 0) {
                RAW_CHECK(errno == EAGAIN);
                break;
            }
        }
        raw_close(fd);
    }
}

Test(sim, stalls_until_the_client_gives_up)
{
    PLAY(stall_client, .stall = 1);
    cr_assert(eq(u64, scene.stats.hits, 20));
    cr_assert(ge(u64, scene.stats.ends[BELAY__SIM_STALLED], 19));
}

static uint64_t
ask_in_flight(int fd)
{
    struct raw_reply reply;
    uint64_t count;
    const char *at;

    send_request(fd, "GET", "/__sim/stats", "", "");
    read_json(fd, 200, &reply);
    at = strstr(reply.body, "\"in_flight\":");
    RAW_CHECK(at != NULL);
    count = strtoull(at + strlen("\"in_flight\":"), NULL, 10);
    raw_reply_fini(&reply);
    return count;
}

static void
wait_in_flight(int fd, uint64_t wanted)
{
    for (int i = 0; ask_in_flight(fd) != wanted; i++) {
        RAW_CHECK(i < 100000);
    }
}

static void
crowding_client(void *arg)
{
    int first = raw_connect(scene.port);
    int second = raw_connect(scene.port);

    (void)arg;
    post(first, chat_body("slow", ""));
    wait_in_flight(second, 1);
    post(second, chat_body("slow too", ""));
    want_error(second, 429, "Too many requests at once");
    raw_close(first);
    wait_in_flight(second, 0);
    raw_close(second);
}

Test(sim, refuses_more_than_its_capacity)
{
    PLAY(crowding_client, .capacity = 1, .latency = belay_seconds(3600));
    cr_assert(eq(u64, scene.stats.in_flight_max, 2));
    cr_assert(eq(u64, scene.stats.ends[BELAY__SIM_LEFT], 1));
    cr_assert(eq(u64, scene.stats.ends[BELAY__SIM_REFUSED], 1));
}

/* ---- time ---- */

static void
timed_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;
    char content[16];

    (void)arg;
    for (int i = 0; i < 40; i++) {
        (void)snprintf(content, sizeof(content), "number %d", i);
        post(fd, chat_body(content, i % 2 == 0 ? "" : ",\"stream\":true"));
        raw_read_reply(fd, &reply);
        RAW_CHECK(reply.end == RAW_WHOLE && reply.status == 200);
        raw_reply_fini(&reply);
    }
    raw_close(fd);
}

static int64_t
took_ms(size_t i)
{
    return scene.entries[i].took.ns / 1000000;
}

/* The virtual clock goes by the millisecond, in bursts between two polls. */
#define SLACK_MS 200

Test(sim, takes_the_time_it_was_given)
{
    play_fast(timed_client,
        (struct belay__sim_opts){.latency = belay_milliseconds(1000)});
    for (size_t i = 0; i < 40; i++) {
        cr_assert(ge(i64, took_ms(i), 1000));
        cr_assert(le(i64, took_ms(i), 1000 + SLACK_MS));
    }
    play_fast(timed_client,
        (struct belay__sim_opts){.latency = belay_milliseconds(1000),
            .ttft = belay_milliseconds(500),
            .tokens_per_second = 4,
            .tokens_min = 5});
    for (size_t i = 0; i < 40; i += 2) {
        cr_assert(ge(i64, took_ms(i), 1500 + 1250)); /* in one piece */
        cr_assert(le(i64, took_ms(i), 1500 + 1250 + SLACK_MS));
        cr_assert(ge(i64, took_ms(i + 1), 1500 + 1000)); /* the 5th token */
        cr_assert(le(i64, took_ms(i + 1), 1500 + 1000 + SLACK_MS));
    }
}

Test(sim, scatters_latencies)
{
    int64_t least = INT64_MAX;
    int64_t most = 0;

    play_fast(timed_client,
        (struct belay__sim_opts){
            .latency = belay_milliseconds(1000), .spread = BELAY__SIM_UNIFORM});
    for (size_t i = 0; i < 40; i++) {
        least = took_ms(i) < least ? took_ms(i) : least;
        most = took_ms(i) > most ? took_ms(i) : most;
    }
    cr_assert(ge(i64, least, 500));
    cr_assert(lt(i64, least, 800));
    cr_assert(gt(i64, most, 1200));
    cr_assert(le(i64, most, 1500 + SLACK_MS));
}

Test(sim, draws_a_lognormal_latency)
{
    const struct belay__sim_opts opts = {
        .latency = belay_milliseconds(1000), .spread = BELAY__SIM_LOGNORMAL};
    struct belay__sim_fate fate;
    int below = 0;
    int within = 0;

    for (uint64_t i = 0; i < 10000; i++) {
        belay__sim_draw_fate(&opts, i, 0, &fate);
        cr_assert(gt(i64, fate.latency.ns, 0));
        cr_assert(le(i64, fate.latency.ns, belay_seconds(20).ns));
        below += fate.latency.ns < belay_seconds(1).ns;
        within += fate.latency.ns > belay_milliseconds(606).ns
                  && fate.latency.ns < belay_milliseconds(1649).ns;
    }
    cr_assert(4800 < below && below < 5200);   /* the median */
    cr_assert(6600 < within && within < 7050); /* one sigma */
}

/* ---- its end ---- */

static void
counted_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    (void)arg;
    post(fd, chat_body("one", ""));
    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_WHOLE);
    raw_reply_fini(&reply);
    post(fd, chat_body("two", ",\"stream\":true"));
    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_WHOLE);
    raw_reply_fini(&reply);
    RAW_CHECK(raw_drain(fd) == RAW_EOF);
    raw_close(fd);
}

Test(sim, ends_after_so_many_requests)
{
    cr_assert(eq(int,
        run_play(&(const struct play){.client = counted_client,
            .wait = true,
            .opts = {.max_requests = 2, .tokens_min = 2000}}),
        0));
    cr_assert(eq(u64, scene.stats.hits, 2));
}

Test(sim, remembers_every_body_it_has_seen)
{
    struct belay__memory *memory = belay__memory_new(&test_allocator);
    struct belay__sim_seen seen = {.memory = memory};

    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < 5000; i++) {
            cr_assert(eq(u64, belay__sim_see(&seen, i * 64), (uint64_t)round));
        }
    }
    cr_assert(eq(sz, seen.count, 5000));
    belay__sim_seen_fini(&seen);

    seen = (struct belay__sim_seen){.memory = memory};
    test_alloc_fail_after(1);
    for (uint64_t i = 1; i <= 5000; i++) {
        (void)belay__sim_see(&seen, i);
    }
    cr_assert(eq(u64, belay__sim_see(&seen, 1), 1));
    cr_assert(eq(u64, belay__sim_see(&seen, 5000), 0));
    test_alloc_never_fail();
    belay__sim_seen_fini(&seen);
    belay__memory_unref(memory);
}

/* ---- sweeps ---- */

static bool
accept_reply(int fd)
{
    struct raw_reply reply;
    bool good;

    raw_read_reply(fd, &reply);
    good = reply.end == RAW_WHOLE;
    RAW_CHECK(!good || reply.status == 200 || reply.status == 500
              || reply.status == 503);
    raw_reply_fini(&reply);
    return good;
}

static void
tolerant_client(void *arg)
{
    int fd = raw_try_connect(scene.port);

    (void)arg;
    if (fd < 0) {
        return;
    }
    post(fd, chat_body("one", ""));
    if (accept_reply(fd)) {
        post(fd, chat_body("two", ",\"stream\":true"));
        (void)accept_reply(fd);
    }
    raw_close(fd);
}

Test(sim, survives_the_failure_of_every_allocation)
{
    const struct play arguments = {.client = tolerant_client};
    size_t k;
    int code;

    for (k = 0; k < 500; k++) {
        test_alloc_fail_at(k);
        code = run_play(&arguments);
        cr_assert(eq(sz, test_alloc_live_blocks(), 0));
        if (test_alloc_failures() == 0) {
            break;
        }
        cr_assert(code == 0 || code == BELAY_ENOMEM || code == BELAY_EGROUP);
    }
    test_alloc_never_fail();
    cr_assert(gt(sz, k, 10));
    cr_assert(lt(sz, k, 500));
}

/* Cancels `victim` when all tasks but this one have run `steps` steps. */
struct canceller {
    belay_task *victim;
    uint64_t steps;
    uint64_t own;
};

BELAY_ASYNC(canceller)
{
    struct belay_runtime_stats stats = {.size = sizeof(stats)};

    BELAY_BEGIN;
    for (;;) {
        self->own++;
        BELAY_CHECK(belay_runtime_get_stats(belay_task_runtime(task), &stats));
        if (stats.steps - self->own >= self->steps
            || belay_task_result(self->victim) != NULL) {
            break;
        }
        BELAY_AWAIT(belay_checkpoint(task));
    }
    belay_task_cancel(self->victim, "the sweep has come here");
    belay_task_unref(self->victim);
    BELAY_END;
}

struct sweep {
    struct play play;
    uint64_t steps;
    belay_group *group;
    belay_task *victim;
};

BELAY_ASYNC(sweep)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_group_spawn(self->group, &play, &self->play,
            BELAY_SPAWN_OPTS(.task = &self->victim)));
        BELAY_CHECK(belay_spawn(self->group, canceller, .victim = self->victim,
            .steps = self->steps));
    }
    BELAY_END;
}

Test(sim, survives_a_cancel_at_every_step)
{
    struct sweep arguments = {.play = {.client = tolerant_client,
                                  .opts = {.latency = belay_milliseconds(1),
                                      .tokens_per_second = 5000}}};
    size_t fds = raw_count_fds();

    (void)signal(SIGPIPE, SIG_IGN);
    for (arguments.steps = 0; arguments.steps < 120; arguments.steps++) {
        memset(&scene, 0, sizeof(scene));
        cr_assert(eq(int,
            belay_run(&sweep, &arguments,
                BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL),
            0));
        cr_assert(eq(sz, test_alloc_live_blocks(), 0));
        cr_assert(eq(sz, raw_count_fds(), fds));
    }
}
