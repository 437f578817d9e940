/* test_llm_stream_time.c - streams that stall, are cancelled, or wait for
 * their user.
 *
 * Time is a virtual clock's that only the test moves. A child reads the
 * stream; the test waits until it has seen so much, and interferes.
 */
#include <belay/price.h>

#include "llm/stream.h"
#include "test/support/fault_server.h"
#include "test/support/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define WAIT_ROUNDS 200000 /* of 100 us: a bound, never reached */

TestSuite(llm_stream_time, .fini = check_clean, .timeout = 60);

#define PATH "/chat/completions"
#define SSE_HEAD "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
#define DELTA(text_)                                                   \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text_ \
    "\"}}]}\n\n"

/* Lets the loop turn until `condition`, which another thread makes true. */
#define AWAIT_UNTIL(condition)                                          \
    for (self->round = 0; !(condition); self->round++) {                \
        cr_assert(lt(int, self->round, WAIT_ROUNDS), "%s", #condition); \
        (void)usleep(100);                                              \
        BELAY_AWAIT(belay_checkpoint(task));                            \
    }

/* Enough for the loop to poll several times. */
#define AWAIT_TURNS                                           \
    for (self->round = 0; self->round < 200; self->round++) { \
        BELAY_AWAIT(belay_checkpoint(task));                  \
    }

/* ---- the child ---- */

struct scene {
    struct fault_server *server;
    belay_clock *clock;
    struct belay_llm_stream_opts opts;
    size_t pause_at; /* the reader waits behind this event, from 1 */
    bool run;        /* it has its events told */
    bool (*now)(const struct scene *self); /* when the test interferes */
    /* locals, and what came of it */
    belay_group *group;
    belay_llm_client *client;
    belay_llm_stream *stream;
    belay_task *child;
    struct belay_event go_on;
    struct belay_llm_event event;
    size_t events;
    size_t before_cancel; /* of them */
    int turns;            /* from the cancel to the end */
    size_t bytes;
    bool ended;
    int code;
    bool cancelled;
    bool cancel_waits; /* for the next checkpoint */
    enum belay_llm_usage_state usage;
    int64_t in_total;
    struct belay_ledger ledger;
    struct belay_llm_attempt attempt; /* the last one */
    size_t attempts;
    belay_llm_reply *kept;
    int round;
};

struct reader {
    struct scene *scene;
};

static void
note_end(struct scene *scene, const struct belay_result *result)
{
    const struct belay_llm_usage *usage;

    scene->code = result->code;
    scene->cancelled = result->cancelled;
    usage = belay_llm_reply_usage(belay_llm_stream_reply(scene->stream));
    scene->usage = usage->state;
    scene->in_total = usage->in_total;
}

static void
on_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    struct scene *scene = arg;

    scene->attempt = *attempt;
    scene->attempts++;
}

static int
on_event(const struct belay_llm_event *event, void *arg)
{
    struct scene *scene = arg;

    scene->event = *event;
    scene->events++;
    return 0;
}

BELAY_ASYNC(reader)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"hi", 2}}};
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (belay_llm_stream_open(task, scene->client,
        BELAY_LLM_CHAT(.model = "m", .messages = messages, .message_count = 1,
            .max_retries = BELAY_LLM_NO_RETRIES, .on_attempt = on_attempt,
            .arg = scene, .ledger = &scene->ledger),
        &scene->opts, &scene->stream)) {
        if (scene->run) {
            BELAY_TRY(
                belay_llm_stream_run(task, scene->stream, on_event, scene));
            note_end(scene, belay_result(task));
        }
        while (scene->event.type != BELAY_LLM_EVENT_DONE) {
            BELAY_TRY(
                belay_llm_stream_next(task, scene->stream, &scene->event));
            if (belay_result(task)->code < 0) {
                note_end(scene, belay_result(task));
                break;
            }
            scene->events++;
            scene->bytes += scene->event.text.len;
            if (scene->events == scene->pause_at) {
                BELAY_AWAIT(belay_event_wait(task, &scene->go_on));
            }
        }
        BELAY_TRY(belay_checkpoint(task));
        scene->cancel_waits = belay_result(task)->cancelled;
    }
    belay_llm_reply_free(scene->kept);
    scene->ended = true;
    BELAY_END;
}

static belay_next
open_client(belay_task *task, struct scene *self)
{
    self->opts.size = sizeof(self->opts);
    return belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = fault_server_url(self->server)),
        &self->client);
}

static uint64_t
received(const struct scene *scene)
{
    return scene->stream->exchange.reply->body_bytes;
}

/* ---- stalls (L41) ---- */

/* When so many events were read and so many bytes have come: nothing happens
 * for `most`, and the end comes within `rest`.
 */
struct stalled {
    struct scene *scene;
    size_t events;
    uint64_t bytes;
    int64_t most_s;
    int round;
};

BELAY_ASYNC(stalled)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (open_client(task, scene)) {
        BELAY_WITH (belay_group_open(task, NULL, &scene->group)) {
            BELAY_CHECK(belay_spawn(scene->group, reader, .scene = scene));
            AWAIT_UNTIL(fault_server_requests(scene->server, PATH) == 1
                        && scene->events == self->events
                        && received(scene) == self->bytes);
            belay_clock_advance(scene->clock, belay_seconds(self->most_s));
            AWAIT_TURNS;
            cr_expect(not(scene->ended));
            belay_clock_advance(scene->clock, belay_seconds(2));
            AWAIT_UNTIL(scene->ended);
        }
    }
    BELAY_END;
}

static struct scene
run_stall(const struct fault_route *routes, size_t events, uint64_t bytes,
    int64_t most_s)
{
    struct scene scene = {.events = 0};
    const struct stalled arguments = {
        .scene = &scene, .events = events, .bytes = bytes, .most_s = most_s};

    scene.server = fault_server_start(routes, 1);
    scene.clock = belay_clock_new(false);
    cr_expect(zero(int, belay_run(&stalled, &arguments,
                            BELAY_RUNTIME_OPTS(.allocator = &test_allocator,
                                .clock = scene.clock),
                            NULL)));
    belay_clock_free(scene.clock);
    fault_server_stop(scene.server);
    return scene;
}

Test(llm_stream_time, l41_a_stall_before_the_head)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, FAULT_DO_HANG)};
    const struct scene scene = run_stall(routes, 0, 0, 599);

    cr_expect(eq(int, scene.code, BELAY_ETIMEDOUT));
}

Test(llm_stream_time, l41_a_stall_behind_an_event)
{
    static const char text[] = SSE_HEAD DELTA("hi");
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, FAULT_TEXT(text), FAULT_DO_HANG)};
    const struct scene scene =
        run_stall(routes, 1, sizeof(DELTA("hi")) - 1, 119);

    cr_expect(eq(int, scene.code, BELAY_ETIMEDOUT));
    cr_expect(eq(sz, scene.bytes, 2));
    cr_expect(eq(int, (int)scene.usage, BELAY_LLM_USAGE_PARTIAL));
}

/* All of the answer was there; what was to come is [DONE]. */
Test(llm_stream_time, l18_l41_a_stall_behind_the_last_choice)
{
    static const char text[] =
        DELTA("hi") "data: {\"choices\":[{\"index\":0,\"delta\":{},"
                    "\"finish_reason\":\"stop\"}]}\n\n";
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, FAULT_TEXT(SSE_HEAD),
            FAULT_BYTES(text, sizeof(text) - 1), FAULT_DO_HANG)};
    const struct scene scene = run_stall(routes, 2, sizeof(text) - 1, 119);

    cr_expect(zero(int, scene.code));
    cr_expect(eq(int, (int)scene.event.type, BELAY_LLM_EVENT_DONE));
    cr_expect(eq(u64, scene.ledger.unknown, 1), "its counts were to come");
}

Test(llm_stream_time, l41_a_stall_within_an_event)
{
    static const struct fault_route routes[] = {FAULT_ON(
        PATH, FAULT_TEXT(SSE_HEAD DELTA("hi") "data: {"), FAULT_DO_HANG)};
    const struct scene scene =
        run_stall(routes, 1, sizeof(DELTA("hi") "data: {") - 1, 119);

    cr_expect(eq(int, scene.code, BELAY_ETIMEDOUT));
}

/* Bytes of an event that never ends do not count, comments do. */
struct dripping {
    struct scene *scene;
    bool comments;
    uint64_t bytes;
    int drops;
    int round;
};

BELAY_ASYNC(dripping)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (open_client(task, scene)) {
        BELAY_WITH (belay_group_open(task, NULL, &scene->group)) {
            BELAY_CHECK(belay_spawn(scene->group, reader, .scene = scene));
            AWAIT_UNTIL(scene->events == 1);
            for (self->drops = 0; self->drops < 3 && !scene->ended;
                 self->drops++) {
                belay_clock_advance(scene->clock, belay_seconds(50));
                AWAIT_TURNS;
                self->bytes = scene->ended ? 0 : received(scene);
                fault_server_open_gate(scene->server);
                AWAIT_UNTIL(scene->ended || received(scene) > self->bytes);
            }
            cr_expect(eq(int, scene->ended, !self->comments), "after 150 s");
            belay_clock_advance(scene->clock, belay_seconds(121));
            AWAIT_UNTIL(scene->ended);
        }
    }
    BELAY_END;
}

static void
run_dripping(const struct fault_route *routes, bool comments)
{
    struct scene scene = {.events = 0};
    const struct dripping arguments = {.scene = &scene, .comments = comments};

    scene.server = fault_server_start(routes, 1);
    scene.clock = belay_clock_new(false);
    cr_expect(zero(int, belay_run(&dripping, &arguments,
                            BELAY_RUNTIME_OPTS(.allocator = &test_allocator,
                                .clock = scene.clock),
                            NULL)));
    cr_expect(eq(int, scene.code, BELAY_ETIMEDOUT));
    belay_clock_free(scene.clock);
    fault_server_stop(scene.server);
}

Test(llm_stream_time, l41_an_endless_event_in_drops)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, FAULT_TEXT(SSE_HEAD DELTA("hi")), FAULT_DO_GATE(1),
            FAULT_TEXT("d"), FAULT_DO_GATE(2), FAULT_TEXT("a"),
            FAULT_DO_GATE(3), FAULT_TEXT("t"), FAULT_DO_HANG)};

    run_dripping(routes, false);
}

Test(llm_stream_time, l41_comments_keep_it_alive)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, FAULT_TEXT(SSE_HEAD DELTA("hi")), FAULT_DO_GATE(1),
            FAULT_TEXT(": a\n\n"), FAULT_DO_GATE(2), FAULT_TEXT(": b\n\n"),
            FAULT_DO_GATE(3), FAULT_TEXT("event: ping\n\n"), FAULT_DO_HANG)};

    run_dripping(routes, true);
}

/* ---- when to interfere ---- */

static bool
has_begun(const struct scene *scene)
{
    return scene->events == 1;
}

/* The answer is complete, its body is not. */
static bool
says_farewell(const struct scene *scene)
{
    return scene->stream != NULL && !scene->stream->exchange.ended
           && scene->stream->state == BELAY__STREAM_DONE;
}

/* ---- cancels (L42) ---- */

struct cancelling {
    struct scene *scene;
    int round;
};

BELAY_ASYNC(cancelling)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (open_client(task, scene)) {
        BELAY_WITH (belay_group_open(task, NULL, &scene->group)) {
            BELAY_CHECK(belay_group_spawn(scene->group, &reader,
                &(const struct reader){.scene = scene},
                BELAY_SPAWN_OPTS(.task = &scene->child)));
            AWAIT_UNTIL(scene->now(scene));
            scene->before_cancel = scene->events;
            (void)belay_task_cancel(scene->child, "enough");
            AWAIT_UNTIL(scene->ended);
            scene->turns = self->round;
            fault_server_open_gate(scene->server);
            AWAIT_UNTIL(fault_server_open(scene->server) == 0);
            belay_task_unref(scene->child);
        }
    }
    BELAY_END;
}

/* ---- a user that is behind ---- */

#define CHUNK DELTA("0123456789abcdef0123456789abcdef")
#define CHUNKS 20000 /* 2 MiB or so: more than the kernel keeps */

static char *
many_chunks(void)
{
    static const char head[] = SSE_HEAD;
    static const char tail[] = "data: [DONE]\n\n";
    const size_t len = sizeof(CHUNK) - 1;
    char *text = malloc(sizeof(head) + CHUNKS * len + sizeof(tail));
    char *at = text;

    cr_assert(ne(ptr, text, NULL));
    memcpy(at, head, sizeof(head) - 1);
    at += sizeof(head) - 1;
    for (size_t i = 0; i < CHUNKS; i++, at += len) {
        memcpy(at, CHUNK, len);
    }
    memcpy(at, tail, sizeof(tail));
    return text;
}

struct behind {
    struct scene *scene;
    uint64_t stopped_at;
    int round;
};

BELAY_ASYNC(behind)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (open_client(task, scene)) {
        BELAY_WITH (belay_group_open(task, NULL, &scene->group)) {
            BELAY_CHECK(belay_spawn(scene->group, reader, .scene = scene));
            AWAIT_UNTIL(scene->events == 1 && scene->stream->feed.paused);
            self->stopped_at = received(scene);
            cr_expect(lt(u64, self->stopped_at, 64 * 1024 + 2 * 16384));
            belay_clock_advance(scene->clock, belay_seconds(10000));
            AWAIT_TURNS;
            cr_expect(eq(u64, received(scene), self->stopped_at));
            cr_expect(not(scene->ended), "it is not the server that is idle");
            belay_event_set(&scene->go_on);
            AWAIT_UNTIL(scene->ended);
        }
    }
    BELAY_END;
}

/* ---- a client that is left ---- */

struct leaving {
    struct scene *scene;
    int round;
};

BELAY_ASYNC(leaving)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &scene->group)) {
        BELAY_WITH (open_client(task, scene)) {
            BELAY_CHECK(belay_spawn(scene->group, reader, .scene = scene));
            AWAIT_UNTIL(scene->now(scene));
        }
        belay_event_set(&scene->go_on);
        AWAIT_UNTIL(scene->ended);
    }
    BELAY_END;
}

/* ---- scenes ---- */

#define RUN_SCENE(name_, scene_, route_)                                   \
    do {                                                                   \
        const struct name_ arguments = {.scene = &(scene_)};               \
        (scene_).server = fault_server_start((route_), 1);                 \
        (scene_).clock = belay_clock_new(false);                           \
        cr_expect(                                                         \
            zero(int, belay_run(&(name_), &arguments,                      \
                          BELAY_RUNTIME_OPTS(.allocator = &test_allocator, \
                              .clock = (scene_).clock),                    \
                          NULL)));                                         \
        belay_clock_free((scene_).clock);                                  \
        fault_server_stop((scene_).server);                                \
    } while (0)

static const struct fault_route gated[] = {
    FAULT_ON(PATH, FAULT_TEXT(SSE_HEAD DELTA("hi")), FAULT_DO_GATE(1),
        FAULT_TEXT(DELTA("more")), FAULT_DO_HANG)};

Test(llm_stream_time, l42_a_cancel_closes_and_tells_no_more)
{
    struct scene scene = {.now = has_begun};

    RUN_SCENE(cancelling, scene, gated);
    cr_expect(eq(int, scene.turns, 1), "in the same turn");
    cr_expect(scene.cancelled);
    cr_expect(eq(sz, scene.events, 1));
    cr_expect(eq(int, (int)scene.usage, BELAY_LLM_USAGE_PARTIAL));
}

Test(llm_stream_time, nothing_is_read_while_the_user_is_behind)
{
    char *text = many_chunks();
    const struct fault_route routes[] = {
        FAULT_ON(PATH, FAULT_TEXT(text), FAULT_DO_CLOSE)};
    struct scene scene = {
        .pause_at = 1, .opts = {.max_queue_bytes = 64 * 1024}};

    RUN_SCENE(behind, scene, routes);
    cr_expect(zero(int, scene.code));
    cr_expect(eq(sz, scene.events, CHUNKS + 1));
    cr_expect(eq(sz, scene.bytes, 32 * CHUNKS));
    free(text);
}

Test(llm_stream_time, l43_a_client_that_is_left_ends_its_streams)
{
    struct scene scene = {.now = has_begun};

    RUN_SCENE(leaving, scene, gated);
    cr_expect(eq(int, scene.code, BELAY_ECLOSED));
    cr_expect(eq(u64, scene.ledger.attempts, 1));
}

/* What was counted when the client was left is asked for when it is gone. */
Test(llm_stream_time, l43_also_one_that_nobody_waits_for)
{
    struct scene scene = {.now = has_begun, .pause_at = 1};

    scene.opts.keep = &scene.kept;
    RUN_SCENE(leaving, scene, gated);
    cr_expect(eq(int, scene.code, BELAY_ECLOSED));
    cr_expect(eq(u64, scene.ledger.attempts, 1));
    cr_expect(eq(int, (int)scene.usage, BELAY_LLM_USAGE_PARTIAL));
    cr_expect(eq(i64, scene.ledger.usage.in_total, scene.in_total));
    cr_expect(eq(i64, scene.ledger.usage.out_total, 1));
}

static const struct fault_route kept_open[] = {FAULT_ON(PATH,
    FAULT_TEXT(SSE_HEAD DELTA(
        "hi") "data: {\"choices\":[{\"index\":0,\"delta\":{},"
              "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,"
              "\"completion_tokens\":2}}\n\ndata: [DONE]\n\n"),
    FAULT_DO_HANG)};

static void
expect_whole(const struct scene *scene)
{
    cr_expect(eq(sz, scene->attempts, 1));
    cr_expect(eq(int, scene->attempt.status, 200));
    cr_expect(zero(int, scene->attempt.code));
    cr_expect(eq(int, (int)scene->attempt.billed, BELAY_LLM_BILLED_YES));
    cr_expect(gt(u64, scene->attempt.sent_bytes, 0));
    cr_expect(ge(i64, scene->attempt.ended.ns, scene->attempt.first_byte.ns));
    cr_expect(eq(u64, scene->ledger.attempts, 1));
    cr_expect(eq(i64, scene->ledger.usage.in_total, 9), "as the server counts");
    cr_expect(eq(i64, scene->ledger.usage.out_total, 2));
}

Test(
    llm_stream_time, l29_l55_an_answer_that_was_complete_before_its_client_left)
{
    struct scene scene = {.now = says_farewell};

    RUN_SCENE(leaving, scene, kept_open);
    cr_expect(zero(int, scene.code));
    cr_expect(eq(int, (int)scene.event.type, BELAY_LLM_EVENT_DONE));
    expect_whole(&scene);
}

/* The cancel ends the farewell, and waits for the next checkpoint (S10). */
Test(llm_stream_time, l29_l55_an_answer_that_was_complete_before_its_cancel)
{
    struct scene scene = {.now = says_farewell};

    RUN_SCENE(cancelling, scene, kept_open);
    cr_expect(eq(int, (int)scene.event.type, BELAY_LLM_EVENT_DONE));
    cr_expect(scene.cancel_waits);
    expect_whole(&scene);
}

Test(llm_stream_time, l42_s10_the_end_of_an_answer_is_told_before_the_farewell)
{
    struct scene scene = {.now = says_farewell, .run = true};

    RUN_SCENE(cancelling, scene, kept_open);
    cr_expect(zero(int, scene.code));
    cr_expect(eq(sz, scene.events, scene.before_cancel), "told after a cancel");
    cr_expect(eq(int, (int)scene.event.type, BELAY_LLM_EVENT_DONE));
    cr_expect(scene.cancel_waits);
    expect_whole(&scene);
}
