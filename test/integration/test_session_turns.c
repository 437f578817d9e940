/* test_session_turns.c - turns of a session against a server that misbehaves.
 *
 * What becomes of a question, of its tools and of its stream, when things go
 * well and when they do not.
 */
#include "test/support/session_scene.h"

#include <stdio.h>

TestSuite(session_turns, .fini = check_clean, .timeout = 60);

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

    /* It waits until the server was asked, which in a trial may never be. */
    program_unswept = true;
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

    /* If a call was never made, the next has the answer that was meant for it.
     */
    program_unswept = true;
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

/* As an answer that is refused halfway. */
#define REFUSES                                                             \
    CLOSED("200 OK", "application/json",                                    \
        MESSAGE(                                                            \
            "\"content\":null,\"refusal\":\"no\",\"tool_calls\":[" CALL_OF( \
                "a") "]",                                                   \
            "tool_calls"))

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
    static const struct fault_route routes[][1] = {
        {FAULT_ON(PATH, ASKS_TOOLS("length"))},
        {FAULT_ON(PATH, ASKS_TOOLS("content_filter"))},
        {FAULT_ON(PATH, ASKS_TOOLS("incomplete"))},
        {FAULT_ON(PATH, REFUSES)},
    };

    SCENE(routes[0], cut_call, .size = 0);
    SCENE(routes[1], cut_call, .size = 0);
    SCENE(routes[2], cut_call, .size = 0);
    SCENE(routes[3], cut_call, .size = 0);
}

/* Servers have words of their own for a good end. */
Test(session_turns, l68_calls_that_end_with_a_word_nobody_knows)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, ASKS_TOOLS("eos")), FAULT_ON(PATH, SAYS("there"))};

    SCENE(routes, with_tools, .size = 0);
}

/* Servers refuse messages without content, and would from then on. */
PLAY(silent_answer)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_llm_chat(task, NULL, "one", &self->reply));
    cr_expect(zero(sz, belay_llm_reply_text(self->reply).len));
    drop_reply(self);
    expect_messages(self->session, "[" U("one") "]");
    cr_expect(eq(u64, stats_of(self->session).turns, 1));
    BELAY_WITH (belay_suppressing(task, BELAY_CODES(BELAY_ESTATE))) {
        BELAY_WITH (belay_llm_turn_open(task, NULL, &self->turn)) {
            BELAY_CHECK(add(self->turn, belay_llm_message("user", "two")));
            BELAY_AWAIT(belay_llm_turn_ask(task, self->turn, &self->reply));
            drop_reply(self);
            /* That one has no answer. */
            BELAY_CHECK(add(self->turn, belay_llm_message("user", "three")));
        }
    }
    expect_messages(self->session, "[" U("one") "]");
    BELAY_AWAIT(belay_llm_chat(task, NULL, "four", &self->reply));
    drop_reply(self);
    expect_asked(self->server, 2, "[" U("one") "," U("four") "]");
    BELAY_END;
}

Test(session_turns, l68_an_answer_without_a_word_is_no_message)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, SAYS("")),
        FAULT_ON(PATH, SAYS("")), FAULT_ON(PATH, SAYS("4"))};

    SCENE(routes, silent_answer, .size = 0);
}

#define FIVE(text) text text text text text
#define LONG FIVE(FIVE(FIVE("too long ")))

PLAY(silent_then_too_long)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_turn_open(task, NULL, &self->turn)) {
        BELAY_CHECK(add(self->turn, belay_llm_message("user", "one")));
        BELAY_AWAIT(belay_llm_turn_ask(task, self->turn, &self->reply));
        drop_reply(self);
        BELAY_TRY(belay_llm_turn_ask(task, self->turn, &self->reply));
        cr_expect(eq(int, belay_result(task)->code, BELAY_ETOOLARGE));
    }
    expect_messages(self->session, "[" U("one") "]");
    cr_expect(eq(u64, stats_of(self->session).turns, 1));
    BELAY_END;
}

Test(session_turns, l67_an_answer_that_cannot_be_staged_changes_nothing)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, SAYS("")), FAULT_ON(PATH, SAYS(LONG))};

    SCENE(routes, silent_then_too_long, .max_bytes = 1000);
}

/* Asks, answers these two calls, asks again. */
static const char *answered[2];

PLAY(answers_both)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_turn_open(task, NULL, &self->turn)) {
        BELAY_CHECK(add(self->turn, belay_llm_message("user", "where?")));
        BELAY_AWAIT(belay_llm_turn_ask(task, self->turn, &self->reply));
        drop_reply(self);
        for (self->i = 0; self->i < 2; self->i++) {
            BELAY_CHECK(add(
                self->turn, belay_llm_tool_result(
                                slice_of(answered[self->i]), "here", false)));
        }
        BELAY_AWAIT(belay_llm_turn_ask(task, self->turn, &self->reply));
        drop_reply(self);
    }
    BELAY_END;
}

#define RESULT_OF(id_) \
    "{\"role\":\"tool\",\"content\":\"here\",\"tool_call_id\":\"" id_ "\"}"
#define ASKED(first_, second_)                                            \
    U("where?")                                                           \
    ",{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[" CALL_OF( \
        first_) "," CALL_OF(second_) "]}," RESULT_OF(first_) "," RESULT_OF(second_)
#define ASKS_NAMELESS                                                        \
    CLOSED("200 OK", "application/json",                                     \
        MESSAGE("\"content\":null,\"tool_calls\":[" CALL_OF("") "," CALL_OF( \
                    "") "]",                                                 \
            "tool_calls"))

PLAY(answers_nameless)
{
    BELAY_BEGIN;
    answered[0] = "call_0";
    answered[1] = "call_1";
    BELAY_AWAIT(belay_call(task, &answers_both, self));
    cr_expect(eq(sz, stats_of(self->session).messages, 5));
    expect_asked(self->server, 1, "[" ASKED("call_0", "call_1") "]");
    BELAY_END;
}

Test(session_turns, l68_calls_without_ids_can_be_answered)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, ASKS_NAMELESS), FAULT_ON(PATH, SAYS("there"))};

    SCENE(routes, answers_nameless, .size = 0);
}

/* To the end of an answer that asks for one tool. */
PLAY(streams_a_call)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_turn_open(task, NULL, &self->turn)) {
        BELAY_CHECK(add(self->turn, belay_llm_message("user", "and now?")));
        BELAY_WITH (
            belay_llm_turn_stream(task, self->turn, NULL, &self->stream)) {
            do {
                BELAY_AWAIT(
                    belay_llm_stream_next(task, self->stream, &self->event));
            } while (self->event.type != BELAY_LLM_EVENT_DONE);
        }
        BELAY_CHECK(add(self->turn,
            belay_llm_tool_result(slice_of("call_4"), "here", false)));
        BELAY_AWAIT(belay_llm_turn_ask(task, self->turn, &self->reply));
        drop_reply(self);
    }
    BELAY_END;
}

PLAY(answers_nameless_again)
{
    BELAY_BEGIN;
    answered[0] = "call_0";
    answered[1] = "call_1";
    BELAY_AWAIT(belay_call(task, &answers_both, self));
    answered[0] = "call_2";
    answered[1] = "call_3";
    BELAY_AWAIT(belay_call(task, &answers_both, self));
    expect_asked(self->server, 3,
        "[" ASKED("call_0", "call_1") "," A("there") "," ASKED(
            "call_2", "call_3") "]");
    BELAY_AWAIT(belay_call(task, &streams_a_call, self));
    BELAY_END;
}

Test(session_turns, l1_no_two_calls_of_a_session_have_an_id_of_ours)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, ASKS_NAMELESS),
        FAULT_ON(PATH, SAYS("there")), FAULT_ON(PATH, ASKS_NAMELESS),
        FAULT_ON(PATH, SAYS("there")),
        FAULT_ON(PATH, STREAMS(CHUNK("\"tool_calls\":[" CALL_OF("") "]") STOP)),
        FAULT_ON(PATH, SAYS("there"))};

    SCENE(routes, answers_nameless_again, .size = 0);
}

#define USES(id_, input_)                                          \
    "{\"type\":\"tool_use\",\"id\":\"" id_ "\",\"name\":\"look\"," \
    "\"input\":" input_ "}"
#define RESULT_BLOCK(id_)                                    \
    "{\"type\":\"tool_result\",\"tool_use_id\":\"" id_ "\"," \
    "\"content\":\"here\"}"

PLAY(answers_broken)
{
    BELAY_BEGIN;
    answered[0] = "a";
    answered[1] = "b";
    BELAY_AWAIT(belay_call(task, &answers_both, self));
    cr_expect(eq(sz, stats_of(self->session).messages, 5));
    expect_asked(self->server, 1,
        "[" U("where?") ",{\"role\":\"assistant\",\"content\":[" USES(
            "a", "{\"INVALID_JSON\":\"[1]\"}") "," USES("b",
            "{\"x\":1}") "]},{\"role\":\"user\",\"content\":"
                         "[" RESULT_BLOCK("a") "," RESULT_BLOCK("b") "]}]");
    BELAY_END;
}

Test(session_turns, l80_a_broken_argument_does_not_end_the_turn)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/messages",
            CLOSED("200 OK", "application/json",
                "{\"content\":[" USES("a", "[1]") "," USES(
                    "b", "{\"x\":1}") "],\"stop_reason\":\"tool_use\"}")),
        FAULT_ON("/v1/messages",
            CLOSED("200 OK", "application/json",
                "{\"content\":[{\"type\":\"text\",\"text\":\"there\"}],"
                "\"stop_reason\":\"end_turn\"}"))};

    SCENE(routes, answers_broken, .format = BELAY_LLM_FORMAT_MESSAGES,
        .max_tokens = 9);
}

/* ---- streams ---- */

static void
drop_kept(void *arg)
{
    struct play *self = arg;

    belay_llm_reply_free(self->kept);
    self->kept = NULL;
}

/* Left too early: nothing is staged, and one may ask again. */
PLAY(left_early)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, drop_kept, self)) {
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
    }
    BELAY_END;
}

PLAY(read_to_its_end)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, drop_kept, self)) {
        BELAY_WITH (belay_llm_turn_stream(task, self->turn,
            BELAY_LLM_STREAM_OPTS(.keep = &self->kept), &self->stream)) {
            do {
                BELAY_AWAIT(
                    belay_llm_stream_next(task, self->stream, &self->event));
            } while (self->event.type != BELAY_LLM_EVENT_DONE);
        }
        cr_expect(
            eq(str, TEXT(belay_llm_reply_text(self->kept).data), TEXT("ab")));
    }
    BELAY_END;
}

PLAY(streams)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_turn_open(task, NULL, &self->turn)) {
        BELAY_CHECK(add(self->turn, belay_llm_message("user", "one")));
        BELAY_AWAIT(belay_call(task, &left_early, self));
        BELAY_AWAIT(belay_call(task, &read_to_its_end, self));
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
