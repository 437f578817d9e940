/* test_llm_recorded.c - what a recorder keeps of calls: L73-L77, X10. */
#include "test/support/account_scene.h"
#include "test/support/texts.h"

#include <string.h>
#include <unistd.h>

TestSuite(llm_recorded, .fini = check_clean, .timeout = 120);

/* ---- L73-L77: the recorder ---- */

Test(llm_recorded, l73_l74_each_attempt_is_recorded)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, BUSY), FAULT_ON(NULL, OK)};
    const char *text;

    make_record(".jsonl");
    PLAY(routes, .record = record_path, .no_budget = true);
    finish();
    text = file_text(record_path);
    cr_expect(eq(sz, count_in(text, "\"row\":\"start\""), 2));
    cr_expect(eq(sz, count_in(text, "\"body\":" BODY), 2));
    cr_expect(eq(sz, count_in(text, "\"number\":1"), 1), "%s", text);
    cr_expect(eq(sz, count_in(text, "\"number\":2"), 1));
    cr_expect(
        eq(sz, count_in(text, "\"status\":\"error\",\"http_status\":503"), 1));
    cr_expect(
        eq(sz, count_in(text, "\"status\":\"ok\",\"http_status\":200"), 1));
    cr_expect(eq(sz, count_in(text, "\"cost_picodollars\":17000000"), 1));
    cr_expect(eq(sz, count_in(text, ",\"model\":\"m-7\""), 1));
    cr_expect(eq(sz, count_in(text, "\"request_id\":\"req-1\""), 1));
    cr_expect(zero(sz, count_in(text, KEY)));
    cr_assert(zero(int, unlink(record_path)));
}

Test(llm_recorded, l74_l76_streams_and_what_quotes_the_key)
{
    static const struct fault_route routes[] = {FAULT_ON(
        NULL, FAULT_TEXT(SSE_HEAD DELTA STOP USAGE DONE), FAULT_DO_CLOSE)};
    static const struct fault_route quoting[] = {FAULT_ON(
        NULL, CLOSED("401 No", "",
                  "{\"error\":{\"message\":\"wrong key " KEY "!\"}}"))};
    const char *text;

    make_record(".jsonl");
    PLAY(routes, .ask = ASK_STREAM, .body = STREAM_BODY, .record = record_path,
        .no_budget = true);
    finish();
    PLAY(quoting, .record = record_path, .no_budget = true);
    finish();
    text = file_text(record_path);
    cr_expect(eq(sz, count_in(text, "\"row\":\"end\""), 2));
    cr_expect(eq(sz, count_in(text, "\"body\":\"hello\""), 1), "%s", text);
    cr_expect(eq(sz, count_in(text, "wrong key *******************!"), 2));
    cr_expect(zero(sz, count_in(text, KEY)));
    cr_assert(zero(int, unlink(record_path)));
}

/* "canary-7f3a91c2-key", escaped. */
Test(llm_recorded, l76_s2_what_quotes_the_key_escaped)
{
    static const struct fault_route quoting[] = {
        FAULT_ON(NULL, CLOSED("401 No", "",
                           "{\"error\":{\"message\":\"wrong\\tkey "
                           "canary\\u002d7f3a91c2\\u002Dkey \\u00e9\"}}"))};
    const char *text;

    make_record(".jsonl");
    PLAY(quoting, .record = record_path, .no_budget = true);
    finish();
    text = file_text(record_path);
    cr_expect(
        eq(sz, count_in(text, "wrong\\tkey ******************* \xc3\xa9"), 1),
        "the message: %s", text);
    cr_expect(eq(sz,
                  count_in(text, "{\"error\":{\"message\":\"wrong\\tkey "
                                 "***************************** \\u00e9\"}}"),
                  1),
        "the body: %s", text);
    cr_expect(zero(sz, count_in(text, "7f3a91c2")));
    cr_expect(ne(ptr, strstr(seen.results[0].message, "[key] \xc3\xa9"), NULL),
        "%s", seen.results[0].message);
    cr_assert(zero(int, unlink(record_path)));
}

#define LONG "a word of the server's that will be cut "

Test(llm_recorded, s2_a_word_that_is_cut_within_the_key)
{
    static const struct fault_route failing[] = {FAULT_ON(NULL,
        FAULT_TEXT(
            SSE_HEAD "data: {\"error\":{\"message\":\"no\",\"type\":\"" LONG KEY
                     "\"}}\n\n"),
        FAULT_DO_CLOSE)};
    static const struct fault_route ending[] = {FAULT_ON(NULL,
        FAULT_TEXT(SSE_HEAD "data: {\"choices\":[{\"index\":0,\"delta\":{"
                            "\"content\":\"hi\"},\"finish_reason\":\"" LONG KEY
                            "\"}]}\n\n" DONE),
        FAULT_DO_CLOSE)};

    make_record(".jsonl");
    PLAY(failing, .ask = ASK_STREAM, .body = STREAM_BODY, .record = record_path,
        .no_budget = true);
    cr_expect(eq(int, seen.results[0].code, BELAY_EHTTP));
    cr_expect(eq(ptr, strstr(seen.results[0].message, "canary"), NULL), "%s",
        seen.results[0].message);
    finish();
    PLAY(ending, .ask = ASK_STREAM, .body = STREAM_BODY, .record = record_path,
        .no_budget = true);
    cr_expect(zero(int, seen.results[0].code));
    finish();
    cr_expect(zero(sz, count_in(file_text(record_path), "canary")), "%s",
        file_text(record_path));
    cr_assert(zero(int, unlink(record_path)));
}

#define EIGHT(text) text text text text text text text text
#define FILLER FAULT_TEXT(EIGHT(EIGHT(EIGHT("no "))))

/* Behind what a message has room for, and what of a text it looks at. */
Test(llm_recorded, s2_the_key_far_behind_the_beginning)
{
    static const struct fault_route quoting[] = {FAULT_ON(NULL,
        FAULT_TEXT(HEAD("401 No", "Connection: close\r\n\r\n"
                                  "{\"error\":\"")),
        FILLER, FILLER, FILLER, FAULT_TEXT(KEY "!\"}"), FAULT_DO_CLOSE)};

    make_record(".jsonl");
    PLAY(quoting, .record = record_path, .no_budget = true);
    cr_expect(eq(int, seen.results[0].code, BELAY_EAUTH));
    cr_expect(eq(ptr, strstr(seen.results[0].message, "canary"), NULL));
    finish();
    cr_expect(
        eq(sz, count_in(file_text(record_path), "no *******************!"), 2));
    cr_expect(zero(sz, count_in(file_text(record_path), "canary")));
    cr_assert(zero(int, unlink(record_path)));
}

/* All but the last letter of the key has come. */
#define HALF_KEY "canary-7f3a91c2-ke"
#define HALF_DELTA                                                           \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"no " HALF_KEY \
    "\"}}]}\n\n"
/* Within an escape of what comes next. */
#define HALF_ESCAPE                                                          \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"no " HALF_KEY \
    "\\\\\"}}]}\n\n"

#define THINKING                                                             \
    "data: "                                                                 \
    "{\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}" \
    "\n\n"

Test(llm_recorded, s2_an_answer_that_is_cut_within_the_key)
{
    static const struct fault_route answers[][1] = {
        {FAULT_ON(NULL,
            FAULT_TEXT(HEAD("200 OK", "Content-Length: 999\r\n\r\n{\"error\":"
                                      "\"no " HALF_KEY)),
            FAULT_DO_CLOSE)},
        {FAULT_ON(NULL, CLOSED("401 No", "", "{\"error\":\"no " HALF_KEY))},
        {FAULT_ON(NULL, CLOSED("200 OK", "", "{\"error\":\"no " HALF_KEY))},
        {FAULT_ON(NULL, FAULT_TEXT(SSE_HEAD HALF_DELTA), FAULT_DO_CLOSE)},
        {FAULT_ON(
            NULL, FAULT_TEXT(SSE_HEAD THINKING HALF_DELTA), FAULT_DO_CLOSE)},
        {FAULT_ON(
            NULL, FAULT_TEXT(SSE_HEAD THINKING HALF_ESCAPE), FAULT_DO_CLOSE)},
    };

    make_record(".jsonl");
    for (size_t i = 0; i < COUNT(answers); i++) {
        const bool stream = i >= 3;

        PLAY(answers[i], .record = record_path, .no_budget = true,
            .max_retries = BELAY_LLM_NO_RETRIES,
            .ask = stream ? ASK_STREAM : ASK_COMPLETE,
            .body = stream ? STREAM_BODY : BODY);
        cr_expect(lt(int, seen.results[0].code, 0), "%zu", i);
        cr_expect(eq(ptr, strstr(seen.results[0].message, "canary"), NULL),
            "%s", seen.results[0].message);
        finish();
        cr_expect(zero(sz, count_in(file_text(record_path), "canary")),
            "%zu: %s", i, file_text(record_path));
        cr_expect(
            eq(sz, count_in(file_text(record_path), "no ******************"),
                i + 1),
            "%zu", i);
    }
    cr_assert(zero(int, unlink(record_path)));
}

#define HALF_WHOLE(end_)                                       \
    CLOSED("200 OK", "",                                       \
        "{\"choices\":[{\"index\":0,\"message\":{\"role\":"    \
        "\"assistant\",\"content\":\"no " HALF_KEY "\"}," end_ \
        "\"refusal\":null}]}")

/* The model's limit comes within the key, or its filter, or a word for an end
 * that nobody here knows; also where a stream was asked for.
 */
Test(llm_recorded, s2_an_answer_that_is_too_long_for_the_key)
{
    static const struct fault_route answers[][1] = {
        {FAULT_ON(NULL, HALF_WHOLE("\"finish_reason\":\"length\","))},
        {FAULT_ON(NULL, HALF_WHOLE("\"finish_reason\":\"content_filter\","))},
        {FAULT_ON(NULL, HALF_WHOLE("\"finish_reason\":\"enough\","))},
        {FAULT_ON(NULL, HALF_WHOLE(""))},
        {FAULT_ON(NULL, HALF_WHOLE("\"finish_reason\":\"length\","))},
        {FAULT_ON(NULL,
            FAULT_TEXT(SSE_HEAD HALF_DELTA
                "data: {\"choices\":[{\"index\":0,\"delta\":{},"
                "\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n"),
            FAULT_DO_CLOSE)},
    };

    make_record(".jsonl");
    for (size_t i = 0; i < COUNT(answers); i++) {
        const bool stream = i >= 4;

        PLAY(answers[i], .record = record_path, .no_budget = true,
            .ask = stream ? ASK_STREAM : ASK_COMPLETE,
            .body = stream ? STREAM_BODY : BODY);
        cr_expect(zero(int, seen.results[0].code), "%zu", i);
        finish();
        cr_expect(
            zero(sz, count_in(file_text(record_path), "canary")), "%zu", i);
        cr_expect(eq(sz,
            count_in(file_text(record_path), "no ******************"), i + 1));
    }
    cr_assert(zero(int, unlink(record_path)));
}

/* A server that quotes no more than the first bytes of what it was sent, in an
 * error or within a stream: what is told and both texts of the record.
 */
Test(llm_recorded, s2_the_beginning_of_the_key_quoted)
{
    static const struct fault_route answers[][1] = {
        {FAULT_ON(NULL, CLOSED("400 Bad", "",
                            "{\"error\":{\"message\":\"no " HALF_KEY
                            "\",\"type\":\"x\"}}"))},
        {FAULT_ON(NULL, CLOSED("400 Bad", "",
                            "{\"error\":{\"message\":\"\\\"no " HALF_KEY
                            "\\\" (shortened)\"}}"))},
        {FAULT_ON(NULL,
            FAULT_TEXT(SSE_HEAD "data: {\"error\":{\"message\":\"no " HALF_KEY
                                "\"}}\n\n"),
            FAULT_DO_CLOSE)},
    };

    for (size_t i = 0; i < COUNT(answers); i++) {
        make_record(".jsonl");
        PLAY(answers[i], .record = record_path, .no_budget = true,
            .max_retries = BELAY_LLM_NO_RETRIES,
            .ask = i > 1 ? ASK_STREAM : ASK_COMPLETE,
            .body = i > 1 ? STREAM_BODY : BODY);
        cr_expect(lt(int, seen.results[0].code, 0), "%zu", i);
        cr_expect(eq(ptr, strstr(seen.results[0].message, "canary"), NULL),
            "%s", seen.results[0].message);
        finish();
        cr_expect(zero(sz, count_in(file_text(record_path), "canary")), "%s",
            file_text(record_path));
        cr_expect(ge(
            sz, count_in(file_text(record_path), "no ******************"), 1));
        cr_assert(zero(int, unlink(record_path)));
    }
}

#define CALLING                                                               \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":" \
    "0,\"id\":\"c1\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"  \
    "\"finish_reason\":\"tool_calls\"}]}\n\n"
#define REFUSING                                                             \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"refusal\":\"not that\"}," \
    "\"finish_reason\":\"stop\"}]}\n\n"
#define SECOND                                                            \
    "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}," \
    "\"finish_reason\":\"stop\"}]}\n\n"

/* The end rows of a stream of these events. */
static const char *
record_stream(const char *events)
{
    const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(events), FAULT_DO_CLOSE)};
    const char *text;

    make_record(".jsonl");
    PLAY(routes, .ask = ASK_STREAM, .body = STREAM_BODY, .record = record_path,
        .no_budget = true);
    cr_expect(zero(int, seen.results[0].code), "%s", seen.results[0].message);
    finish();
    text = strstr(file_text(record_path), "\"row\":\"end\"");
    cr_assert(zero(int, unlink(record_path)));
    cr_assert(ne(ptr, (void *)(uintptr_t)text, NULL));
    return text;
}

Test(llm_recorded, l75_l77_all_that_a_stream_says_is_recorded)
{
    const char *text = record_stream(SSE_HEAD CALLING USAGE DONE);

    cr_expect(eq(sz, count_in(text, "\"status\":\"ok\""), 1));
    cr_expect(eq(sz,
                  count_in(text, "\"id\":\"c1\",\"type\":\"function\","
                                 "\"function\":{\"name\":\"f\",\"arguments\":"
                                 "\"{}\"}"),
                  1),
        "%s", text);
    text = record_stream(SSE_HEAD REFUSING USAGE DONE);
    cr_expect(
        eq(sz, count_in(text, "\"refusal\":\"not that\""), 1), "%s", text);
    text = record_stream(SSE_HEAD DELTA STOP SECOND USAGE DONE);
    cr_expect(eq(sz, count_in(text, "\"content\":\"hello\""), 1), "%s", text);
    cr_expect(eq(sz,
        count_in(text, "\"index\":1,\"message\":{\"role\":"
                       "\"assistant\",\"content\":\"other\"}"),
        1));
    text = record_stream(SSE_HEAD STOP USAGE DONE);
    cr_expect(eq(sz, count_in(text, "\"content\":\"\"}"), 1), "L77: %s", text);
}

Test(llm_recorded, l74_an_answer_of_no_use_is_recorded_as_an_error)
{
    static const struct fault_route useless[] = {
        FAULT_ON(NULL, CLOSED("200 OK", "", "{\"a\":1}"))};
    static const struct fault_route broken[] = {FAULT_ON(
        NULL, FAULT_TEXT(SSE_HEAD DELTA "data: {x}\n\n"), FAULT_DO_CLOSE)};
    static const struct fault_route cut[] = {
        FAULT_ON(NULL, FAULT_TEXT(SSE_HEAD DELTA), FAULT_DO_CLOSE)};
    static const char error[] = "\"status\":\"error\",\"http_status\":200";
    const char *text;

    make_record(".jsonl");
    PLAY(useless, .record = record_path, .no_budget = true, .max_retries = 1);
    cr_expect(eq(int, seen.results[0].code, BELAY_EREPLY));
    finish();
    text = file_text(record_path);
    cr_expect(eq(sz, count_in(text, error), 2), "%s", text);
    cr_expect(eq(sz, count_in(text, belay_code_text(BELAY_EREPLY)), 2));
    /* Whoever wants the bytes as they are has got them. */
    PLAY(useless, .ask = ASK_SEND, .record = record_path, .no_budget = true);
    finish();
    cr_expect(eq(sz, count_in(file_text(record_path), "\"status\":\"ok\""), 1));
    cr_assert(zero(int, unlink(record_path)));

    make_record(".jsonl");
    PLAY(broken, .ask = ASK_STREAM, .body = STREAM_BODY, .record = record_path,
        .no_budget = true);
    cr_expect(eq(int, seen.results[0].code, BELAY_EPROTO));
    finish();
    text = file_text(record_path);
    cr_expect(eq(sz, count_in(text, error), 1), "%s", text);
    cr_expect(eq(sz, count_in(text, belay_code_text(BELAY_EPROTO)), 1));
    PLAY(cut, .ask = ASK_STREAM, .body = STREAM_BODY, .record = record_path,
        .no_budget = true);
    finish();
    text = file_text(record_path);
    cr_expect(eq(sz, count_in(text, "\"status\":\"truncated\""), 1));
    cr_expect(eq(sz, count_in(text, belay_code_text(BELAY_ETRUNCATED)), 1));
    cr_assert(zero(int, unlink(record_path)));
}

/* ---- X10: what servers write is data ---- */

#define FORMATS "%s%s%s%n%n %99999d"
#define STATEMENTS "x'); DROP TABLE attempt; DELETE FROM message; --"

Test(llm_recorded, x10_what_a_server_writes_is_no_format_and_no_sql)
{
    static const struct fault_route failing[] = {
        FAULT_ON(NULL, CLOSED("400 " FORMATS, "",
                           "{\"error\":{\"message\":\"" FORMATS
                           "\",\"type\":\"" STATEMENTS "\"}}"))};
    static const struct fault_route answering[] = {FAULT_ON(
        NULL, CLOSED("200 OK", "X-Request-Id: " STATEMENTS "\r\n",
                  "{\"model\":\"" STATEMENTS "\",\"choices\":[{\"message\":"
                  "{\"content\":\"" STATEMENTS
                  "\",\"tool_calls\":[{\"id\":\"" STATEMENTS
                  "\",\"function\":{\"name\":\"" STATEMENTS
                  "\",\"arguments\":\"" STATEMENTS
                  "\"}}]},\"finish_reason\":\"" STATEMENTS "\"}]}"))};

    make_record(".db");
    PLAY(failing, .no_budget = true, .record = record_path);
    cr_expect(ne(ptr, strstr(seen.results[0].message, FORMATS), NULL), "%s",
        seen.results[0].message);
    finish();
    PLAY(answering, .no_budget = true, .record = record_path);
    cr_expect(zero(int, seen.results[0].code));
    finish();
    cr_expect(eq(str, query_text(record_path, "SELECT count(*) FROM attempt"),
        (char *)"2"));
    cr_expect(ne(str, query_text(record_path, "SELECT count(*) FROM message"),
        (char *)"0"));
    cr_assert(zero(int, unlink(record_path)));
}

/* ---- a recorder whose queue is full ---- */

struct late {
    belay_llm_client *client;
    int *code;
    belay_llm_reply *reply;
};

BELAY_ASYNC(late)
{
    static const struct belay_slice body = {BODY, sizeof(BODY) - 1};

    BELAY_BEGIN;
    BELAY_TRY(belay_llm_complete(
        task, self->client, BELAY_LLM_CHAT(.body = body), &self->reply));
    *self->code = belay_result(task)->code;
    BELAY_END;
}

struct full {
    const char *base_url;
    belay_group *group;
    belay_llm_client *first;
    belay_llm_client *second;
    int codes[2];
    int i;
};

BELAY_ASYNC(full)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_recorder_open(
        task, BELAY_RECORDER_OPTS(.path = record_path, .max_rows = 2), NULL)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_WITH (belay_llm_client_open(task,
                BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url),
                &self->first)) {
                BELAY_CHECK(belay_spawn(self->group, late,
                    .client = self->first, .code = &self->codes[0]));
                for (self->i = 0; self->i < 9; self->i++) {
                    BELAY_AWAIT(belay_checkpoint(task));
                }
                BELAY_WITH (belay_llm_client_open(task,
                    BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url),
                    &self->second)) {
                    BELAY_CHECK(belay_spawn(self->group, late,
                        .client = self->second, .code = &self->codes[1]));
                    for (self->i = 0; self->i < 9; self->i++) {
                        BELAY_AWAIT(belay_checkpoint(task));
                    }
                }
                cr_expect(eq(int, self->codes[1], BELAY_ECLOSED));
                cr_expect(zero(int, self->codes[0]), "it still has the room");
            }
        }
    }
    BELAY_END;
}

Test(llm_recorded, l43_a_client_that_is_left_ends_the_wait_for_its_recorder)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, FAULT_DO_HANG)};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));

    make_record(".jsonl");
    cr_expect(zero(int, RUN(full, .base_url = fault_server_url(server))));
    fault_server_stop(server);
    cr_assert(zero(int, unlink(record_path)));
}
