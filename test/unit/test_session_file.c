/* test_session_file.c - sessions as JSON, from anywhere, and in files. */
#include "test/support/files.h"
#include "test/support/session_program.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEXT(literal) ((char *)(uintptr_t)(literal))

TestSuite(session_file, .fini = check_clean, .timeout = 60);

#define LEDGER                                                           \
    "\"ledger\":{\"attempts\":3,\"unknown\":1,\"cost_picodollars\":"     \
    "1234567,\"cost_at_least\":true,\"requests\":2,\"in_total\":10,"     \
    "\"in_cache_read\":4,\"in_cache_write_5m\":0,\"in_cache_write_1h\":" \
    "0,\"in_audio\":0,\"out_total\":7,\"out_reasoning\":5,"              \
    "\"out_audio\":0}"
#define SESSION(messages)                                                \
    "{\"belay_session\":1,\"model\":\"n\",\"system\":\"be \\\"brief\\\"" \
    "\\n\\u0000\xc3\xa9\",\"messages\":[" messages "]," LEDGER "}"
#define USER "{\"role\":\"user\",\"content\":\"u\"}"
#define HELLO "{\"role\":\"assistant\",\"content\":\"hello\"}"
#define CALLS                                                              \
    "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":"    \
    "\"a\",\"name\":\"look\",\"arguments\":\"{}\"},{\"id\":\"b\",\"name\"" \
    ":\"look\",\"arguments\":\"{}\"}]}"
#define RESULT(id) \
    "{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":\"" id "\"}"
#define MADE(id)                                                            \
    "{\"role\":\"tool\",\"content\":\"no result: the program ended before " \
    "the tool did\",\"tool_call_id\":\"" id "\",\"tool_failed\":true}"
#define EVERYTHING                                                           \
    "{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"parts\":"  \
    "[{\"type\":\"text\",\"text\":\"t\"},{\"type\":\"image\","               \
    "\"media_type\":\"image/png\",\"data\":\"AAH/\"},{\"type\":"             \
    "\"image_url\",\"text\":\"http://x\"}]}," CALLS "," RESULT(              \
        "b") ",{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":\"a\"," \
             "\"tool_failed\":true},{\"role\":\"assistant\",\"content\":"    \
             "\"half\",\"incomplete\":true}"

static int
read_text(belay_llm_session *session, const char *text,
    enum belay_llm_repair repair, struct belay_llm_loaded *ret)
{
    struct belay_llm_session_problem problem = {0, NULL};

    return belay_llm_session_read(
        session, slice_of(text), repair, ret, &problem);
}

/* ---- round trips ---- */

static void
round_trips(belay_llm_session *session)
{
    static const char *const texts[] = {SESSION(""), SESSION(USER),
        SESSION(EVERYTHING), SESSION(USER "," HELLO "," EVERYTHING)};
    struct belay_llm_loaded loaded;

    for (size_t i = 0; i < COUNT(texts); i++) {
        cr_assert(zero(int,
            read_text(session, texts[i], BELAY_LLM_REPAIR_RESULTS, &loaded)));
        cr_expect(eq(str, TEXT(session_text(session)), TEXT(texts[i])));
        cr_expect(eq(sz, loaded.results_made, 0));
        cr_expect(eq(sz, loaded.left_out, 0));
        cr_expect(eq(sz, loaded.messages, stats_of(session).messages));
    }
    cr_expect(eq(str, TEXT(stats_of(session).model), TEXT("n")));
    cr_expect(eq(sz, stats_of(session).system.len, 14));
    cr_expect(eq(u64, stats_of(session).ledger.attempts, 3));
    cr_expect(eq(i64, stats_of(session).ledger.cost.amount.pico, 1234567));
    cr_expect(eq(i64, stats_of(session).ledger.usage.out_reasoning, 5));
}

Test(session_file, l70_what_was_written_is_read_byte_for_byte)
{
    run_in_session(round_trips, (struct belay_llm_session_opts){.size = 0});
}

static void
odd_texts(belay_llm_session *session)
{
    /* Not UTF-8, half a character, a NUL: once through and they stay. */
    static const struct belay_llm_message messages[] = {
        {.role = "user", .content = {"a\xff\0b\n\"\\\x1b[31m", 12}},
        {.role = "assistant", .content = {"\xf0\x9f\x8c", 3}}};
    char *first;

    cr_assert(zero(int, belay_llm_session_append(session, messages, 2)));
    first = strdup(session_text(session));
    cr_assert(
        zero(int, read_text(session, first, BELAY_LLM_REPAIR_RESULTS, NULL)));
    cr_expect(eq(str, TEXT(session_text(session)), first));
    free(first);
}

Test(session_file, l70_odd_texts_too)
{
    run_in_session(odd_texts, (struct belay_llm_session_opts){.size = 0});
}

/* ---- what is refused ---- */

static void
refuse_texts(belay_llm_session *session)
{
    static const struct {
        const char *text;
        int code;
        const char *reason; /* part of it */
        size_t offset;
    } cases[] = {
        {"", BELAY_EJSON, "", 0},
        {"{", BELAY_EJSON, "", 1},
        {SESSION("") "x", BELAY_EJSON, "", sizeof(SESSION("")) - 1},
        {"[]", BELAY_EINVAL, "not a session", 0},
        {"{}", BELAY_EINVAL, "not a session", 0},
        {"null", BELAY_EINVAL, "not a session", 0},
        {"{\"belay_session\":\"1\",\"messages\":[]}", BELAY_EINVAL,
            "not a session", 0},
        {"{\"belay_session\":2,\"messages\":[]}", BELAY_EPROTO, "version", 17},
        {"{\"belay_session\":0,\"messages\":[]}", BELAY_EPROTO, "version", 17},
        {"{\"belay_session\":1}", BELAY_EINVAL, "not a session", 0},
        {"{\"belay_session\":1,\"messages\":{}}", BELAY_EINVAL, "not a session",
            0},
        {"{\"belay_session\":1,\"messages\":[],\"model\":1}", BELAY_EINVAL,
            "not a session", 0},
        {"{\"belay_session\":1,\"messages\":[],\"model\":\"\"}", BELAY_EINVAL,
            "model", 41},
        {"{\"belay_session\":1,\"messages\":[],\"model\":\"a\\u0000b\"}",
            BELAY_EINVAL, "model", 41},
        {"{\"belay_session\":1,\"messages\":[1]}", BELAY_EINVAL, "role", 31},
        {"{\"belay_session\":1,\"messages\":[{\"role\":\"elf\"}]}",
            BELAY_EINVAL, "role", 31},
        {"{\"belay_session\":1,\"messages\":[{\"role\":\"user\\u0000elf\"}]}",
            BELAY_EINVAL, "role", 39},
        {"{\"belay_session\":1,\"messages\":[{\"role\":\"user\",\"content\":"
         "7}]}",
            BELAY_EINVAL, "wrong value", 39},
        {"{\"belay_session\":1,\"messages\":[{\"role\":\"user\",\"parts\":"
         "[{\"type\":\"smell\"}]}]}",
            BELAY_EINVAL, "unknown type", 55},
        {"{\"belay_session\":1,\"messages\":[{\"role\":\"user\",\"parts\":"
         "[{\"type\":\"image\",\"media_type\":\"x\",\"data\":\"%\"}]}]}",
            BELAY_EINVAL, "base64", 55},
        {"{\"belay_session\":1,\"messages\":[{\"role\":\"user\",\"parts\":"
         "[{\"type\":\"image\",\"data\":\"AAAA\"}]}]}",
            BELAY_EINVAL, "media type", 31},
        {"{\"belay_session\":1,\"messages\":[{\"role\":\"user\",\"parts\":"
         "[{\"type\":\"image\",\"media_type\":\"x\\u0000y\",\"data\":"
         "\"AAAA\"}]}]}",
            BELAY_EINVAL, "media type", 55},
        {"{\"belay_session\":1,\"messages\":[{\"role\":\"assistant\","
         "\"tool_calls\":[{\"id\":\"a\"}]}]}",
            BELAY_EINVAL, "lacks", 65},
        {"{\"belay_session\":1,\"messages\":[{\"role\":\"user\","
         "\"tool_calls\":7}]}",
            BELAY_EINVAL, "list", 59},
        {"{\"belay_session\":1,\"messages\":[],\"ledger\":{\"attempts\":-1}}",
            BELAY_EINVAL, "count", 54},
        {"{\"belay_session\":1,\"messages\":[],\"ledger\":[]}", BELAY_EINVAL,
            "ledger", 42},
    };
    struct belay_llm_session_problem problem;
    struct belay_llm_loaded loaded = {.messages = 77};
    char *before;

    cr_assert(zero(int,
        read_text(session, SESSION(EVERYTHING), BELAY_LLM_REPAIR_CUT, NULL)));
    before = strdup(session_text(session));
    for (size_t i = 0; i < COUNT(cases); i++) {
        problem = (struct belay_llm_session_problem){0, NULL};
        cr_expect(eq(int,
                      belay_llm_session_read(session, slice_of(cases[i].text),
                          BELAY_LLM_REPAIR_RESULTS, &loaded, &problem),
                      cases[i].code),
            "%s", cases[i].text);
        cr_assert(ne(ptr, TEXT(problem.reason), NULL), "%s", cases[i].text);
        if (problem.reason == NULL) {
            continue; /* in a sweep */
        }
        cr_expect(ne(ptr, strstr(problem.reason, cases[i].reason), NULL),
            "%s: %s", cases[i].text, problem.reason);
        cr_expect(eq(sz, problem.offset, cases[i].offset), "%s", cases[i].text);
    }
    cr_expect(eq(sz, loaded.messages, 77));
    cr_expect(eq(str, TEXT(session_text(session)), before));
    free(before);
}

Test(session_file, l70_what_is_no_session_changes_nothing)
{
    run_in_session(refuse_texts, (struct belay_llm_session_opts){.size = 0});
}

static void
cut_everywhere(belay_llm_session *session)
{
    static const char text[] = SESSION(USER "," EVERYTHING);

    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        /* In a block of its own, so that reading past it is seen. */
        char *part = malloc(len > 0 ? len : 1);

        memcpy(part, text, len);
        cr_expect(eq(int,
            belay_llm_session_read(session, (struct belay_slice){part, len},
                BELAY_LLM_REPAIR_RESULTS, NULL, NULL),
            BELAY_EJSON));
        free(part);
    }
    cr_expect(eq(sz, stats_of(session).messages, 0));
}

Test(session_file, l70_a_text_that_was_cut_anywhere_is_refused)
{
    run_in_session(cut_everywhere, (struct belay_llm_session_opts){.size = 0});
}

static void
too_large(belay_llm_session *session)
{
    static char text[20000];
    int len = snprintf(text, sizeof(text),
        "{\"belay_session\":1,\"messages\":[{\"role\":\"user\",\"content\":\"");

    memset(text + len, 'x', 15000);
    memcpy(text + len + 15000, "\"}]}", 5);
    cr_expect(eq(int, read_text(session, text, BELAY_LLM_REPAIR_RESULTS, NULL),
        BELAY_ETOOLARGE));
    cr_expect(eq(sz, stats_of(session).messages, 0));
}

Test(session_file, l70_there_is_a_limit_to_what_is_read)
{
    run_in_session(
        too_large, (struct belay_llm_session_opts){.max_bytes = 10000});
}

/* ---- what is broken ---- */

static void
mend(belay_llm_session *session)
{
    static const struct {
        const char *broken;
        const char *results; /* what each way of mending leaves */
        const char *cut;
        size_t made;
        size_t out; /* left out by each way */
        size_t cut_out;
    } cases[] = {
        /* Killed before the tools were done: none, or one of two. */
        {USER "," HELLO "," USER "," CALLS,
            USER "," HELLO "," USER "," CALLS "," MADE("a") "," MADE("b"),
            USER "," HELLO, 2, 0, 2},
        {USER "," HELLO "," USER "," CALLS "," RESULT("b"),
            USER "," HELLO "," USER "," CALLS "," RESULT("b") "," MADE("a"),
            USER "," HELLO, 1, 0, 3},
        /* And went on without them. */
        {USER "," CALLS "," RESULT("a") "," USER "," HELLO,
            USER "," CALLS "," RESULT("a") "," MADE("b") "," USER "," HELLO, "",
            1, 0, 5},
        {USER "," CALLS "," CALLS "," RESULT("a") "," RESULT("b"),
            USER "," CALLS "," MADE("a") "," MADE("b") "," CALLS "," RESULT(
                "a") "," RESULT("b"),
            "", 2, 0, 5},
        /* Results of nothing. */
        {USER "," RESULT("a") "," HELLO, USER "," HELLO, USER, 0, 1, 2},
        {RESULT("a"), "", "", 0, 1, 1},
        {USER "," CALLS
              "," RESULT("a") "," RESULT("a") "," RESULT("b") "," HELLO,
            USER "," CALLS "," RESULT("a") "," RESULT("b") "," HELLO, "", 0, 1,
            6},
        {USER "," CALLS
              "," RESULT("x") "," RESULT("a") "," RESULT("b") "," HELLO,
            USER "," CALLS "," RESULT("a") "," RESULT("b") "," HELLO, "", 0, 1,
            6},
        {USER "," CALLS "," RESULT("a") "," RESULT("a"),
            USER "," CALLS "," RESULT("a") "," MADE("b"), "", 1, 1, 4},
    };
    struct belay_llm_loaded loaded;
    char text[4096];

    for (size_t i = 0; i < COUNT(cases); i++) {
        (void)snprintf(text, sizeof(text),
            "{\"belay_session\":1,\"messages\":[%s]}", cases[i].broken);
        cr_assert(zero(
            int, read_text(session, text, BELAY_LLM_REPAIR_RESULTS, &loaded)));
        (void)snprintf(text, sizeof(text), "[%s]", cases[i].results);
        expect_messages(session, text);
        cr_expect(eq(sz, loaded.results_made, cases[i].made), "case %zu", i);
        cr_expect(eq(sz, loaded.left_out, cases[i].out), "case %zu", i);
        (void)snprintf(text, sizeof(text),
            "{\"belay_session\":1,\"messages\":[%s]}", cases[i].broken);
        cr_assert(
            zero(int, read_text(session, text, BELAY_LLM_REPAIR_CUT, &loaded)));
        (void)snprintf(text, sizeof(text), "[%s]", cases[i].cut);
        expect_messages(session, text);
        cr_expect(eq(sz, loaded.results_made, 0));
        cr_expect(eq(sz, loaded.left_out, cases[i].cut_out), "case %zu", i);
        /* And from then on nothing is broken any more. */
        cr_expect(zero(int, read_text(session, session_text(session),
                                BELAY_LLM_REPAIR_RESULTS, &loaded)));
        cr_expect(eq(sz, loaded.results_made + loaded.left_out, 0));
    }
}

Test(session_file, l68_calls_without_results_are_mended)
{
    run_in_session(mend, (struct belay_llm_session_opts){.size = 0});
}

/* ---- files ---- */

static size_t
count_files(void)
{
    DIR *dir = opendir(test_folder);
    size_t count = 0;

    cr_assert(ne(ptr, dir, NULL));
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count - 2; /* . and .. */
}

struct filing {
    const char *text; /* of the session before */
    const char *path;
    bool load;
    belay_llm_client *client;
    belay_llm_session *session;
    struct belay_llm_loaded loaded;
};

BELAY_ASYNC(filing)
{
    BELAY_BEGIN;
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (belay_llm_session_open(task, self->client,
            BELAY_LLM_SESSION_OPTS(.model = "m"), &self->session)) {
            BELAY_CHECK(read_text(
                self->session, self->text, BELAY_LLM_REPAIR_RESULTS, NULL));
            if (!self->load) {
                BELAY_AWAIT(
                    belay_llm_session_save(task, self->session, self->path));
                BELAY_CHECK(belay_llm_session_clear(self->session));
            }
            BELAY_AWAIT(belay_llm_session_load(task, self->session, self->path,
                BELAY_LLM_REPAIR_RESULTS, &self->loaded));
            cr_expect(eq(
                sz, self->loaded.messages, stats_of(self->session).messages));
            expect_messages(self->session, "[" USER "," HELLO "]");
        }
    }
    BELAY_END;
}

#define GOOD SESSION(USER "," HELLO)

Test(session_file, l70_saved_as_a_whole_and_loaded)
{
    struct stat info;

    test_files_open();
    test_file_write("s.json", "something longer than what comes, or not");
    cr_expect(
        zero(int, RUN(filing, .text = GOOD, .path = test_file("s.json"))));
    cr_expect(eq(str, TEXT(test_file_read("s.json")), TEXT(GOOD "\n")));
    cr_expect(eq(sz, count_files(), 1));
    cr_assert(zero(stat(test_file("s.json"), &info)));
    cr_expect(eq(u32, info.st_mode & 0777, 0600)); /* S9 */
    test_files_close();
}

static struct belay_result
file_result(const char *path, bool load)
{
    struct belay_result result;

    (void)RUN_RESULT(&result, filing, .text = GOOD, .path = path, .load = load);
    return result;
}

static void
expect_error(struct belay_result result, int code, const char *part)
{
    cr_expect(eq(int, result.code, code));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(ne(ptr, strstr(belay_error_message(result.error), part), NULL),
        "%s", belay_error_message(result.error));
    belay_error_unref(result.error);
}

Test(session_file, l70_files_that_cannot_be_written_or_read)
{
    test_files_open();
    expect_error(file_result("/nowhere/at/all", false), BELAY_ENOENT,
        "cannot be saved to '/nowhere/at/all'");
    cr_assert(zero(mkdir(test_file("s.json"), 0700)));
    expect_error(file_result(test_file("s.json"), false), -EISDIR, "saved");
    expect_error(
        file_result(test_file("s.json"), true), BELAY_EINVAL, "regular file");
    cr_assert(zero(mkfifo(test_file("pipe"), 0600)));
    expect_error(
        file_result(test_file("pipe"), true), BELAY_EINVAL, "regular file");
    expect_error(file_result(test_file("none"), true), BELAY_ENOENT, "loaded");
    test_file_write("bad", "{\"belay_session\":1,\"messages\":[}");
    expect_error(
        file_result(test_file("bad"), true), BELAY_EJSON, "at byte 31");
    test_file_write("bad", "");
    expect_error(file_result(test_file("bad"), true), BELAY_EJSON, "at byte 0");
    test_file_write("bad", "{\"belay_session\":2,\"messages\":[]}");
    expect_error(
        file_result(test_file("bad"), true), BELAY_EPROTO, "another version");
    cr_expect(eq(sz, count_files(), 3));
    test_files_close();
}

/* Whatever happens on the way, the file is the old one or the new one. */
static void
look_at_file(const struct belay_result *result, bool disturbed)
{
    const char *text = test_file_read("s.json");

    (void)result;
    (void)disturbed;
    cr_expect(
        strcmp(text, "old") == 0 || strcmp(text, GOOD "\n") == 0, "%s", text);
    cr_expect(eq(sz, count_files(), 1));
    test_file_write("s.json", "old");
}

Test(session_file, l70_sweep_of_saving_and_loading)
{
    test_files_open();
    test_file_write("s.json", "old");
    sweep(&(const struct program){.function = &filing,
        .arguments =
            &(const struct filing){.text = GOOD, .path = test_file("s.json")},
        .check = look_at_file});
    test_files_close();
}
