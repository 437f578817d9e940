/* test_sim_faults.c - failures and waits that the simulator was told to have.
 */
#include "test/support/sim_scene.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

TestSuite(sim_faults, .init = raw_open_what_libuv_keeps, .fini = check_clean,
    .timeout = 120);

/* ---- the scene: a simulator, and a client in a thread ---- */

/* The same while time flies. */
static void
play_fast(void (*client_fn)(void *arg), struct belay__sim_opts opts)
{
    belay_clock *clock = belay_clock_new(false);

    cr_assert(clock != NULL);
    cr_assert(eq(int,
        run_sim(&(const struct play){
            .client = client_fn, .opts = opts, .clock = clock}),
        0));
    belay_clock_free(clock);
}

/* ---- failures ---- */

static void
failing_client(void *arg)
{
    int fd = raw_connect(sim_scene.port);
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
        sim_note(line);
        raw_reply_fini(&reply);
    }
    raw_close(fd);
}

Test(sim_faults, fails_with_429_and_says_when_to_come_back)
{
    PLAY(failing_client, .fail_429 = 1, .fail_5xx = 1,
        .retry_after = belay_milliseconds(1500));
    cr_assert(eq(sz, count_text(sim_scene.text, "429 1\n"), 60));
    PLAY(failing_client, .fail_429 = 1, .retry_after = belay_seconds(1234567));
    cr_assert(eq(sz, count_text(sim_scene.text, "429 1\n"), 60));
    PLAY(failing_client, .fail_429 = 1);
    cr_assert(eq(sz, count_text(sim_scene.text, "429 0\n"), 60));
}

Test(sim_faults, fails_with_each_kind_of_5xx)
{
    PLAY(failing_client, .fail_5xx = 1);
    cr_assert(gt(sz, count_text(sim_scene.text, "500 0\n"), 0));
    cr_assert(gt(sz, count_text(sim_scene.text, "502 0\n"), 0));
    cr_assert(gt(sz, count_text(sim_scene.text, "503 0\n"), 0));
    cr_assert(gt(sz, count_text(sim_scene.text, "529 0\n"), 0));
    cr_assert(eq(u64, sim_scene.stats.ends[BELAY__SIM_REFUSED], 60));
}

Test(sim_faults, fails_again_as_it_did_before)
{
    static char first[sizeof(sim_scene.text)];

    PLAY(failing_client, .fail_429 = 0.3, .fail_5xx = 0.3, .seed = 7);
    memcpy(first, sim_scene.text, sizeof(first));
    cr_assert(gt(sz, count_text(first, "200"), 10));
    cr_assert(gt(sz, count_text(first, "429"), 5));
    cr_assert(eq(u32, sim_scene.entries[0].attempt, 0));
    cr_assert(eq(u32, sim_scene.entries[1].attempt, 1));
    cr_assert(eq(u32, sim_scene.entries[2].attempt, 2));
    cr_assert(eq(u32, sim_scene.entries[3].attempt, 0));
    PLAY(failing_client, .fail_429 = 0.3, .fail_5xx = 0.3, .seed = 7);
    cr_assert(eq(str, sim_scene.text, first));
    PLAY(failing_client, .fail_429 = 0.3, .fail_5xx = 0.3, .seed = 8);
    cr_assert(ne(str, sim_scene.text, first));
}

/* Twenty answers of which none comes to its end. */
static void
cut_client(void *arg)
{
    struct raw_reply reply;
    char content[16];

    (void)arg;
    for (int i = 0; i < 20; i++) {
        int fd = raw_connect(sim_scene.port);

        (void)snprintf(content, sizeof(content), "number %d", i);
        post(fd, chat_body(content, i % 2 == 0 ? "" : ",\"stream\":true"));
        raw_read_reply(fd, &reply);
        RAW_CHECK(reply.end == RAW_EOF || reply.end == RAW_RESET);
        RAW_CHECK(strstr(reply.body, "[DONE]") == NULL);
        sim_note(reply.end == RAW_EOF ? "eof\n" : "reset\n");
        sim_note(reply.len > 0 ? "some\n" : "none\n");
        raw_reply_fini(&reply);
        raw_close(fd);
    }
}

Test(sim_faults, cuts_answers_in_both_ways)
{
    PLAY(cut_client, .cut = 1, .stall = 1);
    cr_assert(eq(u64, sim_scene.stats.ends[BELAY__SIM_CUT], 20));
    cr_assert(gt(sz, count_text(sim_scene.text, "eof"), 2));
    cr_assert(gt(sz, count_text(sim_scene.text, "reset"), 2));
    cr_assert(gt(sz, count_text(sim_scene.text, "some"), 2));
}

/* Twenty answers that stall; the client has no patience. */
static void
stall_client(void *arg)
{
    char content[16];
    char byte;

    (void)arg;
    for (int i = 0; i < 20; i++) {
        int fd = raw_connect(sim_scene.port);
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

Test(sim_faults, stalls_until_the_client_gives_up)
{
    PLAY(stall_client, .stall = 1);
    cr_assert(eq(u64, sim_scene.stats.hits, 20));
    cr_assert(ge(u64, sim_scene.stats.ends[BELAY__SIM_STALLED], 19));
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
    int first = raw_connect(sim_scene.port);
    int second = raw_connect(sim_scene.port);

    (void)arg;
    post(first, chat_body("slow", ""));
    wait_in_flight(second, 1);
    post(second, chat_body("slow too", ""));
    want_error(second, 429, "Too many requests at once");
    raw_close(first);
    wait_in_flight(second, 0);
    raw_close(second);
}

Test(sim_faults, refuses_more_than_its_capacity)
{
    PLAY(crowding_client, .capacity = 1, .latency = belay_seconds(3600));
    cr_assert(eq(u64, sim_scene.stats.in_flight_max, 2));
    cr_assert(eq(u64, sim_scene.stats.ends[BELAY__SIM_LEFT], 1));
    cr_assert(eq(u64, sim_scene.stats.ends[BELAY__SIM_REFUSED], 1));
}

/* ---- time ---- */

static void
timed_client(void *arg)
{
    int fd = raw_connect(sim_scene.port);
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
    return sim_scene.entries[i].took.ns / 1000000;
}

/* The virtual clock goes by the millisecond, in bursts between two polls. */
#define SLACK_MS 200

Test(sim_faults, takes_the_time_it_was_given)
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

Test(sim_faults, scatters_latencies)
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

Test(sim_faults, draws_a_lognormal_latency)
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
