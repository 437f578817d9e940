/* test_llm_cancel.c - calls that are cancelled by those whom they tell of
 * events and attempts: after a cancel nothing is told, nor done (L42).
 */
#include <belay/price.h>

#include "test/support/answer_dump.h"
#include "test/support/stream_scene.h"
#include "test/support/trial_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(llm_cancel, .fini = check_clean, .timeout = 60);

/* ---- the scene ---- */

struct scene {
    struct belay_llm_stream_opts opts;
    bool plain;        /* a call that is no stream */
    bool next;         /* a stream that is read by next, not by run */
    size_t at_event;   /* on_event cancels in this one, from 1 */
    size_t at_attempt; /* on_attempt does */
    bool by_other;     /* another task does, once RESTART was told */
    /* locals, and what came of it */
    char base_url[128];
    belay_llm_client *client;
    belay_cancel_scope *scope;
    belay_group *group;
    struct belay_event restarted;
    belay_llm_stream *stream;
    struct belay_llm_event event;
    belay_llm_reply *kept;
    char *events;
    size_t event_count;
    struct belay_llm_attempt attempt; /* the last one */
    size_t attempt_count;
    struct belay_ledger ledger;
    int code;
    bool cancelled;
    bool pending; /* a cancel, behind the call */
    struct belay_llm_usage usage;
    char text[64];
};

static void
cancel_at(struct scene *scene, size_t count, size_t at)
{
    if (count == at) {
        belay_cancel_scope_cancel(scene->scope, "enough");
    }
}

static int
on_event(const struct belay_llm_event *event, void *arg)
{
    struct scene *scene = arg;

    event_dump(&scene->events, event);
    if (event->type == BELAY_LLM_EVENT_RESTART) {
        belay_event_set(&scene->restarted);
    }
    cancel_at(scene, ++scene->event_count, scene->at_event);
    return 0;
}

static void
on_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    struct scene *scene = arg;

    scene->attempt = *attempt;
    cancel_at(scene, ++scene->attempt_count, scene->at_attempt);
}

struct other {
    struct scene *scene;
};

BELAY_ASYNC(other)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_event_wait(task, &self->scene->restarted));
    BELAY_AWAIT(belay_checkpoint(task));
    belay_cancel_scope_cancel(self->scene->scope, "by another task");
    BELAY_END;
}

struct pull {
    struct scene *scene;
};

BELAY_ASYNC(pull)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    do {
        BELAY_AWAIT(belay_llm_stream_next(task, scene->stream, &scene->event));
        (void)on_event(&scene->event, scene);
    } while (scene->event.type != BELAY_LLM_EVENT_DONE);
    BELAY_END;
}

static struct belay_llm_chat
chat_of(struct scene *scene)
{
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"say hi to the world", 19}}};

    return *BELAY_LLM_CHAT(.model = "m", .messages = messages,
        .message_count = 1, .on_attempt = on_attempt, .arg = scene,
        .ledger = &scene->ledger);
}

static belay_next
open_stream(belay_task *task, struct scene *scene)
{
    const struct belay_llm_chat chat = chat_of(scene);

    scene->opts.size = sizeof(scene->opts);
    scene->opts.keep = &scene->kept;
    return belay_llm_stream_open(
        task, scene->client, &chat, &scene->opts, &scene->stream);
}

static belay_next
complete(belay_task *task, struct scene *scene)
{
    const struct belay_llm_chat chat = chat_of(scene);

    return belay_llm_complete(task, scene->client, &chat, &scene->kept);
}

static belay_next
read_stream(belay_task *task, struct scene *scene)
{
    return scene->next
               ? BELAY_CALL(pull, .scene = scene)
               : belay_llm_stream_run(task, scene->stream, on_event, scene);
}

static void
note_end(belay_task *task, struct scene *scene)
{
    scene->code = belay_result(task)->code;
    scene->cancelled = belay_result(task)->cancelled;
    scene->pending = belay_cancel_pending(task, NULL);
}

static void
note_reply(struct scene *scene)
{
    const struct belay_slice text = belay_llm_reply_text(scene->kept);

    (void)snprintf(scene->text, sizeof(scene->text), "%.*s", (int)text.len,
        text.data != NULL ? text.data : "");
    scene->usage = *belay_llm_reply_usage(scene->kept);
    belay_llm_reply_free(scene->kept);
}

struct streamed {
    struct scene *scene;
};

BELAY_ASYNC(streamed)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &scene->group)) {
        if (scene->by_other) {
            BELAY_CHECK(belay_spawn(scene->group, other, .scene = scene));
        }
        BELAY_WITH (open_stream(task, scene)) {
            BELAY_TRY(read_stream(task, scene));
            note_end(task, scene);
        }
        belay_event_set(&scene->restarted); /* the other is not left waiting */
    }
    BELAY_END;
}

struct plain {
    struct scene *scene;
};

BELAY_ASYNC(plain)
{
    BELAY_BEGIN;
    BELAY_TRY(complete(task, self->scene));
    note_end(task, self->scene);
    BELAY_END;
}

struct cut {
    struct scene *scene;
};

BELAY_ASYNC(cut)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(
        task, BELAY_CANCEL_SCOPE_OPTS(.name = "cut"), &scene->scope)) {
        BELAY_AWAIT(scene->plain ? BELAY_CALL(plain, .scene = scene)
                                 : BELAY_CALL(streamed, .scene = scene));
    }
    BELAY_END;
}

struct calling {
    struct scene *scene;
};

BELAY_ASYNC(calling)
{
    struct scene *scene = self->scene;

    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = scene->base_url, .api_key = KEY),
        &scene->client)) {
        BELAY_TRY(BELAY_CALL(cut, .scene = scene));
        if (scene->kept != NULL) {
            note_reply(scene);
        }
        if (belay_result(task)->code < 0) {
            return belay_pass(task);
        }
    }
    BELAY_END;
}

static void
run_scene(struct scene *scene, const struct fault_route *routes, size_t count)
{
    struct fault_server *server = fault_server_start(routes, count);
    const struct program program = {
        .function = &calling, .arguments = &(const struct calling){scene}};

    (void)snprintf(scene->base_url, sizeof(scene->base_url), "%s/v1",
        fault_server_url(server));
    sweep_with_server(&program, scene->base_url, sizeof(scene->base_url), NULL);
    cr_expect(zero(int, program_run_once(&program, NULL)));
    fault_server_stop(server);
}
#define RUN_SCENE(scene, routes) run_scene(&(scene), (routes), COUNT(routes))

static void
expect_cut(struct scene *scene, const char *events)
{
    cr_expect(eq(int, scene->code, BELAY_ECANCELED));
    cr_expect(scene->cancelled);
    cr_expect(eq(str, scene->events != NULL ? scene->events : (char *)"",
        (char *)(uintptr_t)events));
    free(scene->events);
}

/* ---- on_event ---- */

Test(llm_cancel, l42_nothing_is_told_behind_a_cancel)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    static const char *const told[] = {
        "T0 'h'\n", "T0 'h'\nT0 'i'\n", "T0 'h'\nT0 'i'\nE0 'stop'\n"};

    for (size_t i = 0; i < COUNT(told); i++) {
        struct scene scene = {.at_event = i + 1};

        RUN_SCENE(scene, routes);
        expect_cut(&scene, told[i]);
    }
}

/* What ends with the event that cancels, has ended (S10). */
Test(llm_cancel, l42_s10_a_cancel_behind_the_end_waits)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    struct scene scene = {.at_event = 4};

    RUN_SCENE(scene, routes);
    cr_expect(zero(int, scene.code));
    cr_expect(scene.pending);
    cr_expect(eq(str, scene.events, (char *)(uintptr_t)HI_EVENTS));
    cr_expect(eq(int, (int)scene.usage.state, BELAY_LLM_USAGE_EXACT));
    free(scene.events);
}

/* The attempt breaks off behind the event that cancels. What has come is not
 * void: nobody was told so.
 */
Test(llm_cancel, l42_l44_nor_that_it_begins_anew)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(DELTA("hello world") OVERLOADED)),
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    struct scene scene = {.opts.restart = true, .at_event = 1};

    RUN_SCENE(scene, routes);
    expect_cut(&scene, "T0 'hello world'\n");
    cr_expect(eq(sz, scene.attempt_count, 1));
    cr_expect(eq(str, (char *)scene.text, "hello world"));
    cr_expect(eq(int, (int)scene.usage.state, BELAY_LLM_USAGE_PARTIAL));
    cr_expect(gt(i64, scene.usage.out_total, 0));
}

Test(llm_cancel, l44_it_reads_on_for_the_counts_all_the_same)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    struct scene scene = {.opts.drain = belay_seconds(5), .at_event = 1};

    RUN_SCENE(scene, routes);
    expect_cut(&scene, "T0 'h'\n");
    cr_expect(eq(int, (int)scene.usage.state, BELAY_LLM_USAGE_EXACT));
    cr_expect(eq(i64, scene.usage.in_total, 3));
}

/* ---- on_attempt ---- */

/* A callback was told before that it would; who asks for events is not. */
Test(llm_cancel, l42_on_attempt_cancels_what_would_begin_anew)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(DELTA("hello world"))),
        FAULT_ON(CHAT_PATH, STREAM(HI))};

    for (int next = 0; next < 2; next++) {
        struct scene scene = {
            .opts.restart = true, .next = next == 1, .at_attempt = 1};

        RUN_SCENE(scene, routes);
        expect_cut(&scene,
            next == 1 ? "T0 'hello world'\n" : "T0 'hello world'\nRESTART0\n");
        cr_expect(eq(sz, scene.attempt_count, 1));
    }
}

/* Its attempt was whole, and is counted as such. */
Test(llm_cancel, l42_on_attempt_cancels_the_end)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(HI))};

    for (int next = 0; next < 2; next++) {
        struct scene scene = {.next = next == 1, .at_attempt = 1};

        RUN_SCENE(scene, routes);
        expect_cut(&scene, "T0 'h'\nT0 'i'\nE0 'stop'\n");
        cr_expect(eq(sz, scene.attempt_count, 1));
        cr_expect(eq(int, (int)scene.usage.state, BELAY_LLM_USAGE_EXACT));
        cr_expect(eq(i64, scene.ledger.usage.out_total, 4));
    }
}

/* No attempt begins after that. */
Test(llm_cancel, l2_l42_on_attempt_cancels_what_would_ask_again)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, ANSWER("400 Bad Request",
                                "{\"error\":{\"message\":\"Unknown parameter: "
                                "stream_options\"}}")),
        FAULT_ON(CHAT_PATH, STREAM(HI))};
    struct scene scene = {.at_attempt = 1};

    RUN_SCENE(scene, routes);
    expect_cut(&scene, "");
    cr_expect(eq(sz, scene.attempt_count, 1));
    cr_expect(eq(int, scene.attempt.status, 400));
}

/* ---- calls that are no streams ---- */

Test(llm_cancel, l42_on_attempt_cancels_the_next_attempt_of_a_call)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, ANSWER("503 Busy", "{}")),
        FAULT_ON(CHAT_PATH, ANSWER("200 OK", "{\"choices\":[]}"))};
    struct scene scene = {.plain = true, .at_attempt = 1};

    RUN_SCENE(scene, routes);
    expect_cut(&scene, "");
    cr_expect(eq(sz, scene.attempt_count, 1));
}

Test(llm_cancel, l42_s10_a_call_that_has_its_answer_keeps_it)
{
    static const struct fault_route routes[] = {FAULT_ON(CHAT_PATH,
        ANSWER("200 OK", "{\"choices\":[{\"message\":{\"content\":\"hi\"},"
                         "\"finish_reason\":\"stop\"}]}"))};
    struct scene scene = {.plain = true, .at_attempt = 1};

    RUN_SCENE(scene, routes);
    cr_expect(zero(int, scene.code));
    cr_expect(scene.pending);
    cr_expect(eq(str, (char *)scene.text, "hi"));
}

/* ---- while it waits ---- */

/* The reply is still that of the attempt that was made last. */
Test(llm_cancel, l44_cancelled_while_it_waits_for_another_attempt)
{
    static const struct fault_route routes[] = {
        FAULT_ON(CHAT_PATH, STREAM(DELTA("hello world"))),
        FAULT_ON(CHAT_PATH, STREAM(HI))};

    for (int i = 0; i < 2; i++) {
        struct scene scene = {.opts.restart = true};

        scene.at_event = i == 0 ? 2 : 0;
        scene.by_other = i == 1;
        RUN_SCENE(scene, routes);
        expect_cut(&scene, "T0 'hello world'\nRESTART0\n");
        cr_expect(eq(sz, scene.attempt_count, 1));
        cr_expect(eq(int, (int)scene.usage.state, BELAY_LLM_USAGE_PARTIAL));
        cr_expect(gt(i64, scene.usage.in_total, 0));
        cr_expect(gt(i64, scene.usage.out_total, 0));
        cr_expect(eq(i64, scene.usage.out_total, scene.ledger.usage.out_total));
        cr_expect(eq(str, (char *)scene.text, "hello world"));
    }
}
