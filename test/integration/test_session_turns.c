/* test_session_turns.c - sessions against a server that misbehaves.
 *
 * Time is a virtual clock's. What the server was sent is compared byte for
 * byte: it shows what a session believes was said.
 */
#include "test/support/fault_server.h"
#include "test/support/session_program.h"

#include <belay/record.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEXT(literal) ((char *)(uintptr_t)(literal))

/* Servers count requests; those of a sweep are for all alike. */
static void
set_up(void)
{
    program_unswept = true;
}

TestSuite(session_turns, .init = set_up, .fini = check_clean, .timeout = 60);

/* ---- answers ---- */

#define PATH "/v1/chat/completions"
#define CLOSED(status_, type_, body_)                         \
    FAULT_TEXT("HTTP/1.1 " status_ "\r\nContent-Type: " type_ \
               "\r\nConnection: close\r\n\r\n" body_),        \
        FAULT_DO_CLOSE
#define MESSAGE(members_, end_)                                           \
    "{\"model\":\"m-1\",\"choices\":[{\"index\":0,\"message\":{" members_ \
    "},\"finish_reason\":\"" end_ "\"}],\"usage\":{\"prompt_tokens\":10," \
    "\"completion_tokens\":3,\"total_tokens\":13}}"
#define SAYS(text_)                      \
    CLOSED("200 OK", "application/json", \
        MESSAGE("\"role\":\"assistant\",\"content\":\"" text_ "\"", "stop"))
#define CALL_OF(id_)                                                    \
    "{\"id\":\"" id_ "\",\"type\":\"function\",\"function\":{\"name\":" \
    "\"look\",\"arguments\":\"{\\\"at\\\":1}\"}}"
#define ASKS_TOOLS(end_)                                                      \
    CLOSED("200 OK", "application/json",                                      \
        MESSAGE("\"content\":null,\"tool_calls\":[" CALL_OF("a") "," CALL_OF( \
                    "b") "]",                                                 \
            end_))
#define CHUNK(delta_)                                                       \
    "data: {\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{" delta_ \
    "}}]}\n\n"
#define SAID(text_) CHUNK("\"content\":\"" text_ "\"")
#define STOP                                                           \
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":" \
    "\"stop\"}]}\n\n"                                                  \
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,"           \
    "\"completion_tokens\":2,\"total_tokens\":12}}\n\ndata: [DONE]\n\n"
#define STREAM_HEAD                                          \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" \
    "Connection: close\r\n\r\n"
#define STREAMS(events_) FAULT_TEXT(STREAM_HEAD events_), FAULT_DO_CLOSE

#define U(text_) "{\"role\":\"user\",\"content\":\"" text_ "\"}"
#define A(text_) "{\"role\":\"assistant\",\"content\":\"" text_ "\"}"
#define TOOL_CALLS "\"tool_calls\":[" CALL_OF("a") "," CALL_OF("b") "]"

static struct belay_llm_session_stats
stats_of(const belay_llm_session *session)
{
    struct belay_llm_session_stats stats;

    belay_llm_session_get_stats(session, &stats);
    return stats;
}

/* What the n-th request, from 0, has said: its "messages". */
static void
expect_asked(struct fault_server *server, size_t n, const char *expected)
{
    struct fault_request request;
    const char *from;
    char *to;
    int depth = 0;

    cr_assert(fault_server_request(server, n, &request), "no request %zu", n);
    from = strstr(request.bytes + request.head_len, "\"messages\":");
    cr_assert(ne(ptr, TEXT(from), NULL));
    from += strlen("\"messages\":");
    for (to = TEXT(from); *to != '\0'; to++) {
        depth += *to == '[';
        depth -= *to == ']';
        if (depth == 0) {
            to[1] = '\0';
            break;
        }
    }
    cr_expect(eq(str, TEXT(from), TEXT(expected)), "request %zu", n);
    free(request.bytes);
}

/* ---- scenes: an async function with a server, a client and a session ---- */

struct scene {
    const belay_function *play;
    struct belay_llm_session_opts opts;
    struct fault_server *server;
    const char *url; /* with its /v1 */
    belay_llm_client *client;
    belay_llm_session *session;
};

/* What every play gets, and room for what it wants. */
struct play {
    struct fault_server *server;
    belay_llm_client *client;
    belay_llm_session *session;
    belay_llm_turn *turn;
    belay_llm_stream *stream;
    struct belay_llm_event event;
    belay_llm_reply *reply;
    belay_llm_reply *kept;
    belay_group *group;
    belay_cancel_scope *scope;
    belay_hold *hold;
    belay_context *context;
    belay_task *tasks[3];
    char before[1024];
    int i;
};

BELAY_ASYNC(scene)
{
    BELAY_BEGIN;
    self->opts.size = sizeof(self->opts);
    self->opts.model = "m";
    BELAY_WITH (open_client(task, self->url, &self->client)) {
        BELAY_WITH (belay_llm_session_open(
            task, self->client, &self->opts, &self->session)) {
            BELAY_AWAIT(belay_call(task, self->play,
                &(const struct play){.server = self->server,
                    .client = self->client,
                    .session = self->session}));
        }
    }
    BELAY_END;
}

static void
run_scene(const struct fault_route *routes, size_t count,
    const belay_function *play, struct belay_llm_session_opts opts)
{
    struct fault_server *server = fault_server_start(routes, count);
    struct belay_result result;
    char text[1024];
    char url[128];

    (void)snprintf(url, sizeof(url), "%s/v1", fault_server_url(server));
    (void)RUN_RESULT(&result, scene, .play = play, .opts = opts,
        .server = server, .url = url);
    (void)belay_result_format(&result, text, sizeof(text));
    cr_expect(zero(int, result.code), "%s", text);
    belay_error_unref(result.error);
    fault_server_stop(server);
}

#define SCENE(routes_, play_, ...)                 \
    run_scene((routes_), COUNT(routes_), &(play_), \
        (struct belay_llm_session_opts){__VA_ARGS__})

/* A play is an async function whose frame is the struct above. */
#define PLAY(name)                                                      \
    static belay_next name##_body(belay_task *task, struct play *self); \
    static belay_next name##_step(belay_task *task, void *self)         \
    {                                                                   \
        return name##_body(task, self);                                 \
    }                                                                   \
    static const belay_function name = {                                \
        #name, __FILE__, sizeof(struct play), name##_step, 0};          \
    static belay_next name##_body(belay_task *task, struct play *self)

static int
add(belay_llm_turn *turn, struct belay_llm_message message)
{
    return belay_llm_turn_add(turn, &message);
}

static void
free_context(void *arg)
{
    struct play *self = arg;

    belay_context_free(self->context);
}

static void
drop_reply(struct play *self)
{
    belay_llm_reply_free(self->reply);
    self->reply = NULL;
}

/* ---- questions ---- */

PLAY(two_questions)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_llm_chat(task, NULL, "one", &self->reply));
    cr_expect(eq(str, TEXT(belay_llm_reply_text(self->reply).data), TEXT("1")));
    drop_reply(self);
    BELAY_AWAIT(belay_llm_chat_stream(
        task, self->session, "two", NULL, NULL, &self->reply));
    cr_expect(
        eq(str, TEXT(belay_llm_reply_text(self->reply).data), TEXT("2 or 3")));
    drop_reply(self);
    expect_messages(self->session,
        "[" U("one") "," A("1") "," U("two") "," A("2 or 3") "]");
    cr_expect(eq(u64, stats_of(self->session).turns, 2));
    cr_expect(eq(u64, stats_of(self->session).ledger.attempts, 2));
    cr_expect(eq(i64, stats_of(self->session).ledger.usage.in_total, 20));
    cr_expect(eq(i64, stats_of(self->session).ledger.usage.out_total, 5));
    expect_asked(self->server, 0,
        "[{\"role\":\"system\",\"content\":\"be\"}," U("one") "]");
    expect_asked(self->server, 1,
        "[{\"role\":\"system\",\"content\":\"be\"}," U("one") "," A("1") "," U(
            "two") "]");
    BELAY_END;
}

Test(session_turns, l66_the_next_question_carries_what_was_said)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, SAYS("1")),
        FAULT_ON(PATH, STREAMS(SAID("2 ") SAID("or 3") STOP))};

    SCENE(routes, two_questions, .system = {"be", 2});
}

/* ---- failures ---- */

static struct failing {
    bool stream;
    bool hang; /* it is cancelled; a stream when something has come */
    bool heard;
    int code;
} failing;

static int
hear(const struct belay_llm_event *event, void *arg)
{
    (void)arg;
    failing.heard |= event->type == BELAY_LLM_EVENT_TEXT;
    return 0;
}

static belay_next
ask_badly(belay_task *task, struct play *self)
{
    return failing.stream ? belay_llm_chat_stream(
               task, NULL, "bad", hear, NULL, &self->reply)
                          : belay_llm_chat(task, NULL, "bad", &self->reply);
}

struct canceller {
    struct fault_server *server;
    belay_cancel_scope *scope;
};

BELAY_ASYNC(canceller)
{
    BELAY_BEGIN;
    while (fault_server_requests(self->server, NULL) < 2
           || (failing.stream && !failing.heard)) {
        BELAY_AWAIT(belay_checkpoint(task));
    }
    belay_cancel_scope_cancel(self->scope, "on purpose");
    BELAY_END;
}

/* A good turn, one that fails, another good one. */
PLAY(one_fails)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_llm_chat(task, NULL, "one", &self->reply));
    drop_reply(self);
    (void)snprintf(self->before, sizeof(self->before), "%s",
        session_messages(self->session));
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_suppressing(task, &failing.code, 1)) {
            BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
                if (failing.hang) {
                    BELAY_CHECK(belay_spawn(
                        self->group, canceller, self->server, self->scope));
                }
                BELAY_AWAIT(ask_badly(task, self));
                cr_expect(false, "it has not failed");
            }
        }
    }
    cr_expect(eq(ptr, self->reply, NULL));
    expect_messages(self->session, self->before);
    cr_expect(eq(u64, stats_of(self->session).turns, 1));
    cr_expect(eq(u64, stats_of(self->session).undone, 1));
    cr_expect(eq(u64, stats_of(self->session).ledger.attempts, 2));
    BELAY_AWAIT(belay_llm_chat(task, NULL, "two", &self->reply));
    drop_reply(self);
    expect_asked(self->server, 2, "[" U("one") "," A("1") "," U("two") "]");
    BELAY_END;
}

#define FAILS(failing_, ...)                                                   \
    do {                                                                       \
        static const struct fault_route routes[] = {FAULT_ON(PATH, SAYS("1")), \
            FAULT_ON(PATH, __VA_ARGS__), FAULT_ON(PATH, SAYS("2"))};           \
        failing = failing_;                                                    \
        SCENE(routes, one_fails, .size = 0);                                   \
    } while (0)
#define PLAIN(code_) ((struct failing){.code = (code_)})
#define STREAM(code_) ((struct failing){.code = (code_), .stream = true})

Test(session_turns, l67_a_failed_turn_leaves_no_trace)
{
    FAILS(PLAIN(BELAY_EHTTP), CLOSED("400 Bad", "text/plain", "no"));
    FAILS(STREAM(BELAY_EHTTP), CLOSED("500 Bad", "text/plain", "no"));
    FAILS(PLAIN(BELAY_EREPLY), CLOSED("200 OK", "text/html", "<html>"));
    FAILS(PLAIN(BELAY_ETRUNCATED),
        FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{\"choi"),
        FAULT_DO_CLOSE);
    FAILS(PLAIN(BELAY_ERESET), FAULT_DO_RESET);
}

Test(session_turns, l67_nor_does_a_stream_that_breaks)
{
    FAILS(STREAM(BELAY_ETRUNCATED), STREAMS(SAID("half of")));
    FAILS(STREAM(BELAY_EHTTP),
        STREAMS(SAID("half") "data: {\"error\":{\"message\":\"no\"}}\n\n"));
    FAILS(STREAM(BELAY_EPROTO), STREAMS(SAID("half") "data: {\n\n" STOP));
}

Test(session_turns, l67_nor_does_one_that_is_cancelled)
{
    static const struct failing plain = {.hang = true, .code = -7001};
    static const struct failing stream = {
        .hang = true, .code = -7001, .stream = true};

    FAILS(plain, FAULT_DO_HANG);
    FAILS(stream, FAULT_TEXT(STREAM_HEAD SAID("half")), FAULT_DO_HANG);
}

/* ---- partial answers ---- */

PLAY(kept_partly)
{
    BELAY_BEGIN;
    BELAY_TRY(
        belay_llm_chat_stream(task, NULL, "one", NULL, NULL, &self->reply));
    cr_expect(eq(int, belay_result(task)->code, BELAY_ETRUNCATED));
    expect_messages(self->session,
        "[" U("one") ",{\"role\":\"assistant\",\"content\":\"half of\","
                     "\"incomplete\":true}]");
    cr_expect(eq(u64, stats_of(self->session).turns, 1));
    BELAY_AWAIT(belay_llm_chat(task, NULL, "go on", &self->reply));
    drop_reply(self);
    expect_asked(
        self->server, 1, "[" U("one") "," A("half of") "," U("go on") "]");
    /* Nothing has come: there is nothing to keep. */
    BELAY_TRY(
        belay_llm_chat_stream(task, NULL, "two", NULL, NULL, &self->reply));
    cr_expect(eq(int, belay_result(task)->code, BELAY_EHTTP));
    cr_expect(eq(sz, stats_of(self->session).messages, 4));
    /* Dropped is dropped. */
    BELAY_WITH (belay_llm_turn_open(task, NULL, &self->turn)) {
        BELAY_CHECK(add(self->turn, belay_llm_message("user", "three")));
        BELAY_WITH (
            belay_llm_turn_stream(task, self->turn, NULL, &self->stream)) {
            BELAY_AWAIT(
                belay_llm_stream_next(task, self->stream, &self->event));
            cr_expect(
                eq(int, (int)self->event.type, (int)BELAY_LLM_EVENT_TEXT));
        }
        belay_llm_turn_drop(self->turn);
    }
    cr_expect(eq(sz, stats_of(self->session).messages, 4));
    BELAY_END;
}

Test(session_turns, l67_keep_partial_keeps_the_text_and_marks_it)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, STREAMS(SAID("half ") SAID("of"))),
        FAULT_ON(PATH, SAYS("it")),
        FAULT_ON(PATH, CLOSED("400 Bad", "text/plain", "no")),
        FAULT_ON(PATH, STREAMS(SAID("half") STOP))};

    SCENE(routes, kept_partly, .keep_partial = true);
}

/* ---- tools ---- */

PLAY(with_tools)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_turn_open(task, NULL, &self->turn)) {
        BELAY_CHECK(add(self->turn, belay_llm_message("user", "where?")));
        BELAY_AWAIT(belay_llm_turn_ask(task, self->turn, &self->reply));
        drop_reply(self);
        /* It waits for both results, in whatever order. */
        BELAY_TRY(belay_llm_turn_ask(task, self->turn, &self->reply));
        cr_expect(eq(int, belay_result(task)->code, BELAY_ESTATE));
        BELAY_CHECK(add(self->turn,
            belay_llm_tool_result(slice_of("b"), "not here", true)));
        BELAY_TRY(belay_llm_turn_ask(task, self->turn, &self->reply));
        cr_expect(eq(int, belay_result(task)->code, BELAY_ESTATE));
        cr_expect(eq(sz, fault_server_requests(self->server, NULL), 1));
        BELAY_CHECK(add(
            self->turn, belay_llm_tool_result(slice_of("a"), "there", false)));
        BELAY_AWAIT(belay_llm_turn_ask(task, self->turn, &self->reply));
        drop_reply(self);
        cr_expect(
            eq(i64, belay_llm_turn_ledger(self->turn)->usage.in_total, 20));
        expect_messages(self->session, "[]");
    }
    cr_expect(eq(sz, stats_of(self->session).messages, 5));
    expect_asked(self->server, 1,
        "[" U("where?") ",{\"role\":\"assistant\",\"content\":null," TOOL_CALLS
                        "},{\"role\":\"tool\",\"content\":\"not "
                        "here\",\"tool_call_id\":\"b\"},"
                        "{\"role\":\"tool\",\"content\":\"there\",\"tool_call_"
                        "id\":\"a\"}]");
    BELAY_END;
}

Test(session_turns, l67_l68_a_turn_with_tools_is_kept_as_a_whole)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, ASKS_TOOLS("tool_calls")),
        FAULT_ON(PATH, SAYS("there"))};

    SCENE(routes, with_tools, .size = 0);
}

PLAY(tool_fails)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_suppressing(task, BELAY_CODES(-7001))) {
        BELAY_WITH (belay_llm_turn_open(task, NULL, &self->turn)) {
            BELAY_CHECK(add(self->turn, belay_llm_message("user", "where?")));
            BELAY_AWAIT(belay_llm_turn_ask(task, self->turn, &self->reply));
            drop_reply(self);
            BELAY_CHECK(add(self->turn,
                belay_llm_tool_result(slice_of("a"), "there", false)));
            BELAY_FAIL(-7001, "on purpose");
        }
    }
    expect_messages(self->session, "[]");
    /* A question that is only asked cannot run tools. */
    BELAY_TRY(belay_llm_chat(task, NULL, "where?", &self->reply));
    cr_expect(eq(int, belay_result(task)->code, BELAY_ESTATE));
    expect_messages(self->session, "[]");
    cr_expect(eq(u64, stats_of(self->session).undone, 2));
    cr_expect(eq(i64, stats_of(self->session).ledger.usage.in_total, 20));
    BELAY_END;
}

Test(session_turns, l67_l68_no_call_is_left_without_its_result)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, ASKS_TOOLS("tool_calls"))};

    SCENE(routes, tool_fails, .size = 0);
}

PLAY(cut_call)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_llm_chat(task, NULL, "where?", &self->reply));
    cr_expect(eq(int, belay_result(task)->code, BELAY_ETRUNCATED));
    expect_messages(self->session, "[]");
    cr_expect(eq(i64, stats_of(self->session).ledger.usage.in_total, 10));
    BELAY_END;
}

Test(session_turns, l67_a_call_that_was_cut_is_not_complete)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, ASKS_TOOLS("length"))};

    SCENE(routes, cut_call, .size = 0);
}

/* ---- streams ---- */

PLAY(streams)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_turn_open(task, NULL, &self->turn)) {
        BELAY_CHECK(add(self->turn, belay_llm_message("user", "one")));
        /* Left too early: nothing is staged, and one may ask again. */
        BELAY_WITH (belay_llm_turn_stream(task, self->turn,
            BELAY_LLM_STREAM_OPTS(.keep = &self->kept), &self->stream)) {
            BELAY_AWAIT(
                belay_llm_stream_next(task, self->stream, &self->event));
            cr_expect(eq(int, add(self->turn, belay_llm_message("user", "x")),
                BELAY_EBUSY));
            BELAY_TRY(belay_llm_turn_ask(task, self->turn, &self->reply));
            cr_expect(eq(int, belay_result(task)->code, BELAY_EBUSY));
            break;
        }
        cr_expect(
            eq(str, TEXT(belay_llm_reply_text(self->kept).data), TEXT("a")));
        belay_llm_reply_free(self->kept);
        BELAY_WITH (belay_llm_turn_stream(task, self->turn,
            BELAY_LLM_STREAM_OPTS(.keep = &self->kept), &self->stream)) {
            do {
                BELAY_AWAIT(
                    belay_llm_stream_next(task, self->stream, &self->event));
            } while (self->event.type != BELAY_LLM_EVENT_DONE);
        }
        cr_expect(
            eq(str, TEXT(belay_llm_reply_text(self->kept).data), TEXT("ab")));
        belay_llm_reply_free(self->kept);
    }
    expect_messages(self->session, "[" U("one") "," A("ab") "]");
    BELAY_END;
}

Test(session_turns, l67_a_stream_is_staged_when_it_is_done)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, STREAMS(SAID("a") SAID("b") STOP))};

    SCENE(routes, streams, .size = 0);
}

static int
refuse_b(const struct belay_llm_event *event, void *arg)
{
    (void)arg;
    return event->type == BELAY_LLM_EVENT_TEXT && event->text.data[0] == 'b'
               ? -7001
               : 0;
}

PLAY(callback_fails)
{
    BELAY_BEGIN;
    BELAY_TRY(
        belay_llm_chat_stream(task, NULL, "one", refuse_b, NULL, &self->reply));
    cr_expect(eq(int, belay_result(task)->code, -7001));
    expect_messages(self->session, "[]");
    BELAY_END;
}

Test(session_turns, l67_a_callback_that_fails_undoes_the_turn)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, STREAMS(SAID("a") SAID("b") STOP))};

    SCENE(routes, callback_fails, .size = 0);
}

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

Test(session_turns, l66_concurrent_questions_come_one_after_the_other)
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

Test(session_turns, l66_forks_ask_at_once)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, SAYS("1")), FAULT_ON(PATH, FAULT_DO_GATE(1), SAYS("2"))};

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

Test(session_turns, l72_a_question_ends_with_its_session)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, FAULT_DO_HANG)};

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

Test(session_turns, l71_l72_a_stream_closed_from_a_sibling_task)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, FAULT_TEXT(STREAM_HEAD SAID("a")), FAULT_DO_HANG)};

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

Test(session_turns, l72_a_turn_goes_on_with_what_it_began_with)
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
            BELAY_CHECK(belay_group_spawn(self->group, &asker,
                &(const struct asker){.session = self->session, .text = "x"},
                BELAY_SPAWN_OPTS(.task = &self->tasks[0],
                    .context = self->context)));
            BELAY_AWAIT(belay_task_join(task, self->tasks[0]));
            cr_expect(zero(int, belay_task_result(self->tasks[0])->code));
            belay_task_unref(self->tasks[0]);
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

PLAY(outside_of_budgets)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_context_capture(task, &self->context));
    BELAY_WITH (belay_defer(task, free_context, self)) {
        BELAY_AWAIT(belay_call(task, &one_request_allowed, self));
    }
    BELAY_END;
}

Test(session_turns, l53_the_budget_of_a_session_holds_for_whoever_asks)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, SAYS("1"))};

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
    BELAY_END;
}

Test(session_turns, l74_a_recorder_knows_session_and_turn)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, SAYS("1"))};
    const int fd = mkstemps(record_path, 6);

    cr_assert(ge(int, fd, 0));
    (void)close(fd);
    SCENE(routes, two_recorded, .size = 0);
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
    program_unswept = false;
    sweep(&program);
    arguments.of.keep_partial = true;
    sweep(&program);
    fault_server_stop_apart(pid);
}

Test(session_turns, l67_sweep_of_questions)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, SAYS("1"))};

    sweep_everything(routes, false);
}

Test(session_turns, l67_sweep_of_streams)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, STREAMS(SAID("a") SAID("b") STOP))};

    sweep_everything(routes, true);
}
