/* test_sim.c - the simulator, as a client sees it over raw sockets. */
#include "test/support/sim_scene.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

TestSuite(sim, .init = raw_open_what_libuv_keeps, .fini = check_clean,
    .timeout = 120);

/* ---- what clients do ---- */

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
    int fd = raw_connect(sim_scene.port);
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
    sim_note(reply.body);
    raw_reply_fini(&reply);
    post(fd, chat_body("short", ",\"max_tokens\":4"));
    read_json(fd, 200, &reply);
    RAW_CHECK(strstr(reply.body, "\"finish_reason\":\"length\"") != NULL);
    RAW_CHECK(strstr(reply.body, "\"completion_tokens\":4,") != NULL);
    sim_note(reply.body);
    raw_reply_fini(&reply);
    raw_close(fd);
}

Test(sim, answers_the_same_for_the_same_seed)
{
    char first[sizeof(sim_scene.text)];

    PLAY(plain_client, .seed = 1);
    cr_assert(eq(u64, sim_scene.stats.hits, 2));
    cr_assert(eq(u64, sim_scene.stats.ends[BELAY__SIM_ANSWERED], 2));
    cr_assert(eq(u64, sim_scene.stats.prompt_tokens, 7));
    cr_assert(eq(u64, sim_scene.stats.completion_tokens, 20));
    memcpy(first, sim_scene.text, sizeof(first));
    PLAY(plain_client, .seed = 1);
    cr_assert(eq(str, sim_scene.text, first));
    PLAY(plain_client, .seed = 2);
    cr_assert(ne(str, sim_scene.text, first));
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

static void
stream_client(void *arg)
{
    int fd = raw_connect(sim_scene.port);
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
    cr_assert(eq(sz, sim_scene.entry_count, 3));
    cr_assert(sim_scene.entries[1].stream);
}

static void
long_client(void *arg)
{
    int fd = raw_connect(sim_scene.port);
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
    int fd = raw_connect(sim_scene.port);
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
    cr_assert(eq(sz, sim_scene.entry_count, 40));
    for (size_t i = 0; i < sim_scene.entry_count; i++) {
        cr_assert(sim_scene.entries[i].completion_tokens < 8);
        seen[sim_scene.entries[i].completion_tokens] = true;
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
    int fd = raw_connect(sim_scene.port);

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
    cr_assert(eq(u64, sim_scene.stats.hits, 18));
    cr_assert(eq(u64, sim_scene.stats.ends[BELAY__SIM_REFUSED], 17));
}

static void
parts_client(void *arg)
{
    int fd = raw_connect(sim_scene.port);
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
    int fd = raw_connect(sim_scene.port);
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
    int fd = raw_connect(sim_scene.port);
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
    int fd = raw_connect(sim_scene.port);
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
    cr_assert(
        eq(u64, sim_scene.stats.body_hash_sum, sim_scene.entries[0].body_hash));
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

/* ---- its end ---- */

static void
counted_client(void *arg)
{
    int fd = raw_connect(sim_scene.port);
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
        run_sim(&(const struct play){.client = counted_client,
            .wait = true,
            .opts = {.max_requests = 2, .tokens_min = 2000}}),
        0));
    cr_assert(eq(u64, sim_scene.stats.hits, 2));
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
