/* test_session_tasks.c - one session, many tasks; and sweeps over all of it. */
#include "test/support/session_scene.h"

#include <belay/record.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

TestSuite(session_tasks, .fini = check_clean, .timeout = 60);

/* ---- many tasks ---- */

struct asker {
    belay_llm_session *session;
    const char *text;
    bool stream;
    belay_llm_reply *reply;
};

BELAY_ASYNC(asker)
{
    BELAY_BEGIN;
    if (self->stream) {
        BELAY_AWAIT(belay_llm_chat_stream(
            task, self->session, self->text, NULL, NULL, &self->reply));
    } else {
        BELAY_AWAIT(
            belay_llm_chat(task, self->session, self->text, &self->reply));
    }
    trace("%s=%s", self->text, belay_llm_reply_text(self->reply).data);
    belay_llm_reply_free(self->reply);
    BELAY_END;
}

PLAY(three_ask)
{
    static const char *const texts[] = {"a", "b", "c"};

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (self->i = 0; self->i < 3; self->i++) {
            BELAY_CHECK(
                belay_spawn(self->group, asker, .text = texts[self->i]));
        }
    }
    expect_trace("a=1; b=2; c=3");
    expect_asked(self->server, 2,
        "[" U("a") "," A("1") "," U("b") "," A("2") "," U("c") "]");
    BELAY_END;
}

Test(session_tasks, l66_concurrent_questions_come_one_after_the_other)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, SAYS("1")),
        FAULT_ON(PATH, SAYS("2")), FAULT_ON(PATH, SAYS("3"))};

    SCENE(routes, three_ask, .size = 0);
}

struct fork_asker {
    belay_llm_session *session;
    const char *text;
    bool stream;
    belay_llm_session *fork;
    size_t before;
};

BELAY_ASYNC(fork_asker)
{
    BELAY_BEGIN;
    BELAY_WITH (
        belay_llm_session_fork(task, self->session, NULL, &self->fork)) {
        self->before = stats_of(self->fork).messages;
        BELAY_AWAIT(
            BELAY_CALL(asker, .text = self->text, .stream = self->stream));
        cr_expect(eq(sz, stats_of(self->fork).messages, self->before + 2));
    }
    BELAY_END;
}

/* All are under way at once: the server answers none before it has all. */
PLAY(fan_out)
{
    static const char *const texts[] = {"a", "b", "c"};

    BELAY_BEGIN;
    BELAY_AWAIT(belay_llm_chat(task, NULL, "first", &self->reply));
    drop_reply(self);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (self->i = 0; self->i < 3; self->i++) {
            BELAY_CHECK(belay_spawn(self->group, fork_asker,
                .session = self->session, .text = texts[self->i]));
        }
        while (fault_server_requests(self->server, NULL) < 4) {
            BELAY_AWAIT(belay_checkpoint(task));
        }
        fault_server_open_gate(self->server);
    }
    cr_expect(eq(sz, stats_of(self->session).messages, 2));
    BELAY_END;
}

Test(session_tasks, l66_forks_ask_at_once)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, SAYS("1")), FAULT_ON(PATH, FAULT_DO_GATE(1), SAYS("2"))};

    /* It waits until the server was asked, which in a trial may never be. */
    program_unswept = true;
    SCENE(routes, fan_out, .size = 0);
}

/* ---- leaving ---- */

struct until {
    struct fault_server *server;
    size_t count;
};

BELAY_ASYNC(until)
{
    BELAY_BEGIN;
    while (fault_server_requests(self->server, NULL) < self->count) {
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

static belay_next
until_asked(belay_task *task, struct play *self)
{
    return BELAY_CALL(until, .server = self->server, .count = 1);
}

static belay_next
open_inner(belay_task *task, struct play *self)
{
    return belay_llm_session_open(task, self->client,
        BELAY_LLM_SESSION_OPTS(.model = "m"), &self->session);
}

/* The asker is in a group outside of the session, which is left. */
PLAY(session_left)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
        BELAY_WITH (open_inner(task, self)) {
            BELAY_CHECK(belay_group_spawn(self->group, &asker,
                &(const struct asker){.session = self->session, .text = "x"},
                BELAY_SPAWN_OPTS(.task = &self->tasks[0])));
            BELAY_AWAIT(until_asked(task, self));
        }
    }
    cr_expect(eq(int, belay_task_result(self->tasks[0])->code, BELAY_ECLOSED));
    cr_expect(not(belay_task_result(self->tasks[0])->cancelled));
    belay_task_unref(self->tasks[0]);
    BELAY_END;
}

Test(session_tasks, l72_a_question_ends_with_its_session)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, FAULT_DO_HANG)};

    /* It waits until the server was asked, which in a trial may never be. */
    program_unswept = true;
    SCENE(routes, session_left, .size = 0);
}

/* Reads a stream of a turn that is not its own. */
struct listener {
    belay_llm_turn *turn;
    belay_llm_session *expected;
    belay_llm_stream *stream;
    struct belay_llm_event event;
    bool *heard;
};

BELAY_ASYNC(listener)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_turn_stream(task, self->turn, NULL, &self->stream)) {
        for (;;) {
            BELAY_TRY(belay_llm_stream_next(task, self->stream, &self->event));
            cr_expect(eq(ptr, belay_llm_session_current(task), self->expected));
            if (belay_result(task)->code < 0) {
                return belay_pass(task);
            }
            *self->heard = true;
        }
    }
    BELAY_END;
}

struct closer {
    belay_llm_client *client;
    belay_hold *hold;
    belay_llm_session *session;
};

/* A sibling, in a session of its own, closes the turn of another one. */
BELAY_ASYNC(closer)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_session_open(task, self->client,
        BELAY_LLM_SESSION_OPTS(.model = "s"), &self->session)) {
        BELAY_AWAIT(belay_hold_close(task, self->hold));
        cr_expect(eq(ptr, belay_llm_session_current(task), self->session));
        expect_messages(self->session, "[]");
        cr_expect(eq(u64, stats_of(self->session).undone, 0));
    }
    BELAY_END;
}

PLAY(sibling_closes)
{
    static bool heard;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
        BELAY_AWAIT(belay_hold_open(task, self->group,
            belay_llm_turn_open(task, NULL, &self->turn), NULL, &self->hold));
        BELAY_CHECK(add(self->turn, belay_llm_message("user", "one")));
        BELAY_CHECK(belay_group_spawn(self->group, &listener,
            &(const struct listener){
                .turn = self->turn, .expected = self->session, .heard = &heard},
            BELAY_SPAWN_OPTS(.task = &self->tasks[0])));
        while (!heard) {
            BELAY_AWAIT(belay_checkpoint(task));
        }
        BELAY_CHECK(belay_spawn(
            self->group, closer, .client = self->client, .hold = self->hold));
        BELAY_AWAIT(belay_task_join(task, self->tasks[0]));
        cr_expect(
            eq(int, belay_task_result(self->tasks[0])->code, BELAY_ECLOSED));
        belay_task_unref(self->tasks[0]);
        belay_hold_unref(self->hold);
    }
    cr_expect(eq(ptr, belay_llm_session_current(task), self->session));
    expect_messages(self->session, "[]");
    cr_expect(eq(u64, stats_of(self->session).undone, 1));
    BELAY_END;
}

Test(session_tasks, l71_l72_a_stream_closed_from_a_sibling_task)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, FAULT_TEXT(STREAM_HEAD SAID("a")), FAULT_DO_HANG)};

    /* It waits until the server was asked, which in a trial may never be. */
    program_unswept = true;
    SCENE(routes, sibling_closes, .size = 0);
}

PLAY(set_in_between)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_turn_open(task, NULL, &self->turn)) {
        BELAY_CHECK(belay_llm_session_set_model(self->session, "other"));
        BELAY_CHECK(
            belay_llm_session_set_system(self->session, slice_of("new")));
        BELAY_CHECK(add(self->turn, belay_llm_message("user", "one")));
        BELAY_AWAIT(belay_llm_turn_ask(task, self->turn, &self->reply));
        drop_reply(self);
    }
    BELAY_AWAIT(belay_llm_chat(task, NULL, "two", &self->reply));
    drop_reply(self);
    expect_asked(self->server, 0, "[" U("one") "]");
    expect_asked(self->server, 1,
        "[{\"role\":\"system\",\"content\":\"new\"}," U("one") "," A("1") "," U(
            "two") "]");
    BELAY_END;
}

Test(session_tasks, l72_a_turn_goes_on_with_what_it_began_with)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, SAYS("1"))};

    SCENE(routes, set_in_between, .size = 0);
}

/* ---- budgets and recorders ---- */

/* The asker is outside of the session, in no budget of its own. */
PLAY(one_request_allowed)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
        BELAY_WITH (belay_llm_session_open(task, self->client,
            BELAY_LLM_SESSION_OPTS(.model = "m", .limit.requests = 2),
            &self->session)) {
            BELAY_AWAIT(belay_llm_chat(task, NULL, "one", &self->reply));
            drop_reply(self);
            BELAY_WITH (dropping(task, &self->tasks[0])) {
                BELAY_CHECK(belay_group_spawn(self->group, &asker,
                    &(const struct asker){
                        .session = self->session, .text = "x"},
                    BELAY_SPAWN_OPTS(.task = &self->tasks[0],
                        .context = self->context)));
                BELAY_AWAIT(belay_task_join(task, self->tasks[0]));
                cr_expect(zero(int, belay_task_result(self->tasks[0])->code));
            }
            BELAY_WITH (
                belay_llm_session_fork(task, self->session, NULL, NULL)) {
                BELAY_TRY(belay_llm_chat(task, NULL, "three", &self->reply));
                cr_expect(eq(int, belay_result(task)->code, BELAY_EBUDGET));
            }
            BELAY_TRY(belay_llm_chat(task, NULL, "three", &self->reply));
            cr_expect(eq(int, belay_result(task)->code, BELAY_EBUDGET));
            cr_expect(eq(sz, stats_of(self->session).messages, 4));
            cr_expect(eq(sz, fault_server_requests(self->server, NULL), 2));
        }
    }
    BELAY_END;
}

static void
free_context(void *arg)
{
    struct play *self = arg;

    belay_context_free(self->context);
}

PLAY(outside_of_budgets)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_context_capture(task, &self->context));
    BELAY_WITH (belay_defer(task, free_context, self)) {
        BELAY_AWAIT(belay_call(task, &one_request_allowed, self));
    }
    BELAY_END;
}

Test(session_tasks, l53_the_budget_of_a_session_holds_for_whoever_asks)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, SAYS("1"))};

    program_unswept = true; /* a cancel ends the session that is asked for */
    SCENE(routes, outside_of_budgets, .size = 0);
}

/* The n-th line of the recorder's file that has a text; "" if there is none. */
static const char *
recorded(const char *path, const char *text, int n)
{
    static char line[8192];
    FILE *file = fopen(path, "r");

    cr_assert(ne(ptr, file, NULL));
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strstr(line, text) != NULL && n-- == 0) {
            (void)fclose(file);
            return line;
        }
    }
    (void)fclose(file);
    return "";
}

/* The value of a key in a line of JSON, in a static buffer. */
static const char *
value_of(const char *line, const char *key)
{
    static char values[4][64];
    static unsigned next;
    char *value = values[next++ % 4];
    const char *at = strstr(line, key);

    value[0] = '\0';
    if (at != NULL) {
        (void)sscanf(at + strlen(key), "\":\"%63[^\"]", value);
    }
    return value;
}

static char record_path[] = "/tmp/belay-session-XXXXXX.jsonl";

PLAY(two_recorded)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_recorder_open(
        task, BELAY_RECORDER_OPTS(.path = record_path), NULL)) {
        BELAY_AWAIT(belay_llm_chat(task, NULL, "one", &self->reply));
        drop_reply(self);
        BELAY_AWAIT(belay_llm_chat(task, NULL, "two", &self->reply));
        drop_reply(self);
        BELAY_WITH (belay_llm_session_fork(task, self->session, NULL, NULL)) {
            BELAY_AWAIT(belay_llm_chat(task, NULL, "three", &self->reply));
            drop_reply(self);
        }
    }
    for (self->i = 0; self->i < 2; self->i++) {
        cr_expect(eq(str,
            TEXT(value_of(
                recorded(record_path, "\"session\":", self->i), "session")),
            TEXT(stats_of(self->session).id)));
    }
    cr_expect(eq(str,
        TEXT(value_of(
            recorded(record_path, "\"parent_turn\":\"", 0), "parent_turn")),
        TEXT(value_of(recorded(record_path, "\"turn\":\"", 0), "turn"))));
    cr_expect(
        eq(str,
            TEXT(value_of(
                recorded(record_path, "\"parent_turn\":\"", 1), "parent_turn")),
            TEXT(value_of(recorded(record_path, "\"turn\":\"", 1), "turn"))),
        "L75: of a fork it is the turn that it begins behind");
    BELAY_END;
}

Test(session_tasks, l74_a_recorder_knows_session_and_turn)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, SAYS("1"))};
    const int fd = mkstemps(record_path, 6);

    cr_assert(ge(int, fd, 0));
    (void)close(fd);
    program_unswept = true; /* each trial would add to the file */
    SCENE(routes, two_recorded, .size = 0);
    (void)unlink(record_path);
}

PLAY(cleared_recorded)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_recorder_open(
        task, BELAY_RECORDER_OPTS(.path = record_path), NULL)) {
        BELAY_AWAIT(belay_llm_chat(task, NULL, "one", &self->reply));
        drop_reply(self);
        BELAY_CHECK(belay_llm_session_clear(self->session));
        BELAY_AWAIT(belay_llm_chat(task, NULL, "two", &self->reply));
        drop_reply(self);
        BELAY_AWAIT(belay_llm_chat(task, NULL, "three", &self->reply));
        drop_reply(self);
    }
    cr_expect(
        eq(str, TEXT(recorded(record_path, "\"parent_turn\":\"", 1)), TEXT("")),
        "only the third has one");
    cr_expect(eq(str,
        TEXT(value_of(
            recorded(record_path, "\"parent_turn\":\"", 0), "parent_turn")),
        TEXT(value_of(recorded(record_path, "\"turn\":\"", 1), "turn"))));
    BELAY_END;
}

Test(session_tasks, l75_what_is_said_after_a_clear_follows_nothing)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, SAYS("1"))};
    const int fd = mkstemps(record_path, 6);

    cr_assert(ge(int, fd, 0));
    (void)close(fd);
    program_unswept = true; /* each trial would add to the file */
    SCENE(routes, cleared_recorded, .size = 0);
    (void)unlink(record_path);
}

/* ---- sweeps ---- */

/* All that a session can do, in one go. One answer serves all questions. */
struct everything {
    const char *url;
    bool stream;
    bool keep_partial;
    belay_llm_client *client;
    belay_llm_session *session;
    belay_llm_turn *turn;
    belay_llm_stream *heard;
    belay_llm_reply *reply;
    belay_group *group;
};

static void
next_reply(void *arg)
{
    struct everything *self = arg;

    belay_llm_reply_free(self->reply);
    self->reply = NULL;
}

/* However turns have ended: there are no halves of one. */
static void
check_whole(void *arg)
{
    const struct everything *self = arg;
    const struct belay_llm_session_stats stats = stats_of(self->session);
    struct belay_llm_message last;

    cr_expect(not(stats.in_turn));
    cr_expect(zero(sz, stats.waiting));
    cr_expect(zero(sz, stats.messages % 2));
    if (stats.messages > 0) {
        (void)belay_llm_session_message(
            self->session, stats.messages - 1, &last, NULL);
        cr_expect(eq(str, TEXT(last.role), TEXT("assistant")));
    }
}

static belay_next
open_everything(belay_task *task, struct everything *self)
{
    return belay_llm_session_open(task, self->client,
        BELAY_LLM_SESSION_OPTS(.model = "m",
            .keep_partial = self->keep_partial),
        &self->session);
}

static belay_next
ask_once(belay_task *task, struct everything *self)
{
    return self->stream ? belay_llm_chat_stream(
               task, NULL, "one", NULL, NULL, &self->reply)
                        : belay_llm_chat(task, NULL, "one", &self->reply);
}

/* A turn of two questions. */
BELAY_ASYNC(everything)
{
    BELAY_BEGIN;
    BELAY_AWAIT(ask_once(task, self));
    next_reply(self);
    BELAY_WITH (belay_llm_turn_open(task, self->session, &self->turn)) {
        BELAY_CHECK(add(self->turn, belay_llm_message("user", "two")));
        if (self->stream) {
            BELAY_WITH (
                belay_llm_turn_stream(task, self->turn, NULL, &self->heard)) {
                BELAY_AWAIT(
                    belay_llm_stream_run(task, self->heard, NULL, NULL));
            }
        } else {
            BELAY_AWAIT(belay_llm_turn_ask(task, self->turn, &self->reply));
            next_reply(self);
        }
    }
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(
            self->group, asker, .text = "x", .stream = self->stream));
        BELAY_CHECK(belay_spawn(self->group, fork_asker,
            .session = self->session, .text = "y", .stream = self->stream));
    }
    cr_expect(eq(sz, stats_of(self->session).messages, 6));
    BELAY_END;
}

BELAY_ASYNC_DECLARE(in_everything);

struct in_everything {
    struct everything of;
};

BELAY_ASYNC(in_everything)
{
    BELAY_BEGIN;
    BELAY_WITH (open_client(task, self->of.url, &self->of.client)) {
        BELAY_WITH (open_everything(task, &self->of)) {
            BELAY_WITH (belay_defer(task, check_whole, &self->of)) {
                BELAY_WITH (belay_defer(task, next_reply, &self->of)) {
                    BELAY_AWAIT(belay_call(task, &everything, &self->of));
                }
            }
        }
    }
    BELAY_END;
}

static void
sweep_everything(const struct fault_route *routes, bool stream)
{
    char server[128];
    char url[160];
    const int pid = fault_server_start_apart(routes, 1, server, sizeof(server));
    struct in_everything arguments = {.of = {.url = url, .stream = stream}};
    const struct program program = {
        .function = &in_everything, .arguments = &arguments};

    (void)snprintf(url, sizeof(url), "%s/v1", server);
    sweep(&program);
    arguments.of.keep_partial = true;
    sweep(&program);
    fault_server_stop_apart(pid);
}

Test(session_tasks, l67_sweep_of_questions)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, SAYS("1"))};

    sweep_everything(routes, false);
}

Test(session_tasks, l67_sweep_of_streams)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, STREAMS(SAID("a") SAID("b") STOP))};

    sweep_everything(routes, true);
}
