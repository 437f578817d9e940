/* test_session.c - sessions without a server: options, what was said, trims,
 * forks.
 */
#include "test/support/session_program.h"

#include <stdio.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEXT(literal) ((char *)(uintptr_t)(literal))

TestSuite(session, .fini = check_clean, .timeout = 60);

/* ---- options ---- */

struct opening {
    struct belay_llm_session_opts opts;
    belay_llm_client *client;
    belay_llm_session *session;
};

BELAY_ASYNC(opening)
{
    BELAY_BEGIN;
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (belay_llm_session_open(
            task, self->client, &self->opts, &self->session)) {
            cr_expect(eq(ptr, belay_llm_session_current(task), self->session));
        }
    }
    BELAY_END;
}

#define OPEN(...) \
    RUN(opening,  \
        .opts = {.size = sizeof(struct belay_llm_session_opts), __VA_ARGS__})

Test(session, l66_options_are_checked)
{
    static const struct belay_llm_tool nameless = {.name = ""};
    static const struct belay_llm_tool bad = {
        .name = "x", .parameters = {"[1]", 3}};

    cr_expect(zero(int, OPEN(.model = "m")));
    cr_expect(zero(int, OPEN(.extra = {"{\"model\":\"x\"}", 13})));
    cr_expect(eq(int, OPEN(.max_tokens = 1), BELAY_EINVAL));
    cr_expect(eq(int, OPEN(.model = ""), BELAY_EINVAL));
    cr_expect(eq(int, OPEN(.model = "m", .max_tokens = -1), BELAY_EINVAL));
    cr_expect(eq(int, OPEN(.model = "m", .extra = {"[]", 2}), BELAY_EINVAL));
    cr_expect(eq(int, OPEN(.model = "m", .tools = &nameless, .tool_count = 1),
        BELAY_EINVAL));
    cr_expect(eq(
        int, OPEN(.model = "m", .tools = &bad, .tool_count = 1), BELAY_EINVAL));
    cr_expect(eq(int, OPEN(.model = "m", .format = (enum belay_llm_format)99),
        BELAY_EINVAL));
    cr_expect(eq(int, OPEN(.model = "m", .limit.requests = -1), BELAY_EINVAL));
    cr_expect(eq(int, RUN(opening, .opts = {.size = 1}), BELAY_EINVAL));
}

static void
set_things(belay_llm_session *session)
{
    cr_expect(eq(str, TEXT(stats_of(session).model), TEXT("m")));
    cr_expect(zero(int, belay_llm_session_set_model(session, "other")));
    cr_expect(zero(int, belay_llm_session_set_system(session, slice_of("s"))));
    cr_expect(eq(str, TEXT(stats_of(session).model), TEXT("other")));
    cr_expect(eq(sz, stats_of(session).system.len, 1));
    cr_expect(eq(int, belay_llm_session_set_model(session, ""), BELAY_EINVAL));
    cr_expect(
        eq(int, belay_llm_session_set_model(session, NULL), BELAY_EINVAL));
    cr_expect(zero(
        int, belay_llm_session_set_system(session, (struct belay_slice){0})));
    cr_expect(eq(sz, stats_of(session).system.len, 0));
    cr_expect(eq(str, TEXT(stats_of(session).model), TEXT("other")));
    cr_expect(eq(sz, strlen(stats_of(session).id), 26));
}

Test(session, l66_model_and_system_can_be_set)
{
    run_in_session(
        set_things, (struct belay_llm_session_opts){.system = {"old", 3}});
}

/* ---- what was said ---- */

static void
append_all(belay_llm_session *session)
{
    static const unsigned char png[] = {0x89, 'P', 0, 0xff};
    static const struct belay_llm_part parts[] = {
        {BELAY_LLM_PART_TEXT, {"look", 4}, NULL},
        {BELAY_LLM_PART_IMAGE, {(const char *)png, 4}, "image/png"},
        {BELAY_LLM_PART_IMAGE_URL, {"http://x/y", 10}, NULL}};
    struct belay_llm_message messages[4] = {
        {.role = "user", .parts = parts, .part_count = 3}, calling(calls_ab, 2),
        belay_llm_tool_result(slice_of("b"), "no", true),
        belay_llm_tool_result(slice_of("a"), "yes", false)};
    struct belay_llm_message found = {.content = {"", 0}};
    bool incomplete = true;

    cr_expect(zero(int, belay_llm_session_append(session, messages, 4)));
    memset(messages, 0xff, sizeof(messages)); /* they were copied */
    expect_messages(session,
        "[{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"text\":"
        "\"look\"},{\"type\":\"image\",\"media_type\":\"image/png\","
        "\"data\":\"iVAA/w==\"},{\"type\":\"image_url\",\"text\":"
        "\"http://x/y\"}]},{\"role\":\"assistant\",\"content\":\"\","
        "\"tool_calls\":[{\"id\":\"a\",\"name\":\"look\",\"arguments\":"
        "\"{}\"},{\"id\":\"b\",\"name\":\"find\",\"arguments\":\"{}\"}]},"
        "{\"role\":\"tool\",\"content\":\"no\",\"tool_call_id\":\"b\","
        "\"tool_failed\":true},{\"role\":\"tool\",\"content\":\"yes\","
        "\"tool_call_id\":\"a\"}]");
    cr_expect(eq(sz, stats_of(session).messages, 4));
    cr_expect(gt(i64, stats_of(session).tokens, 1000));
    cr_assert(
        zero(int, belay_llm_session_message(session, 3, &found, &incomplete)));
    cr_expect(eq(str, TEXT(found.content.data), TEXT("yes")));
    cr_expect(not(incomplete));
    cr_expect(eq(int, belay_llm_session_message(session, 4, &found, NULL),
        BELAY_ENOENT));
    cr_expect(zero(int, belay_llm_session_clear(session)));
    cr_expect(eq(sz, stats_of(session).messages, 0));
    cr_expect(eq(sz, stats_of(session).bytes, 0));
}

Test(session, l66_messages_of_all_kinds_are_copied)
{
    run_in_session(append_all, (struct belay_llm_session_opts){.size = 0});
}

/* u: user, s: system, -: assistant, A/B: calls a, a and b; a, b: results;
 * x: a result of nothing; !: calls the same id twice
 */
static size_t
spell(const char *spelling, struct belay_llm_message *ret)
{
    static const struct belay_llm_tool_call twice[] = {
        {{"a", 1}, {"look", 4}, {"{}", 2}}, {{"a", 1}, {"look", 4}, {"{}", 2}}};
    size_t count = 0;

    for (; spelling[count] != '\0'; count++) {
        switch (spelling[count]) {
        case 'u':
            ret[count] = belay_llm_message("user", "u");
            break;
        case 's':
            ret[count] = belay_llm_message("system", "s");
            break;
        case '-':
            ret[count] = belay_llm_message("assistant", "-");
            break;
        case 'A':
            ret[count] = calling(calls_ab, 1);
            break;
        case 'B':
            ret[count] = calling(calls_ab, 2);
            break;
        case '!':
            ret[count] = calling(twice, 2);
            break;
        default:
            ret[count] = belay_llm_tool_result(
                (struct belay_slice){&spelling[count], 1}, "r", false);
            break;
        }
    }
    return count;
}

static void
append_pairs(belay_llm_session *session)
{
    static const struct {
        const char *spelling;
        int code;
    } cases[] = {
        {"u-", 0},
        {"uAa-", 0},
        {"uBab-", 0},
        {"uBba-", 0},
        {"uAaAa-", 0},
        {"suAa", 0},
        {"uA", BELAY_EINVAL},
        {"uBa", BELAY_EINVAL},
        {"uBaa", BELAY_EINVAL},
        {"uBa-b", BELAY_EINVAL},
        {"uAu", BELAY_EINVAL},
        {"uAsa", BELAY_EINVAL},
        {"uAaa", BELAY_EINVAL},
        {"uAab", BELAY_EINVAL},
        {"ua", BELAY_EINVAL},
        {"a", BELAY_EINVAL},
        {"u-a", BELAY_EINVAL},
        {"uAx", BELAY_EINVAL},
        {"u!", BELAY_EINVAL},
        {"u!a", BELAY_EINVAL},
    };
    struct belay_llm_message messages[8];

    for (size_t i = 0; i < COUNT(cases); i++) {
        const size_t count = spell(cases[i].spelling, messages);

        cr_expect(eq(int, belay_llm_session_append(session, messages, count),
                      cases[i].code),
            "%s", cases[i].spelling);
        cr_expect(
            eq(sz, stats_of(session).messages, cases[i].code == 0 ? count : 0),
            "%s", cases[i].spelling);
        (void)belay_llm_session_clear(session);
    }
}

Test(session, l68_each_call_has_one_result_in_its_place)
{
    run_in_session(append_pairs, (struct belay_llm_session_opts){.size = 0});
}

static void
append_nonsense(belay_llm_session *session)
{
    static const struct belay_llm_tool_call no_id = {
        {NULL, 0}, {"look", 4}, {"{}", 2}};
    static const struct belay_llm_part no_type = {
        BELAY_LLM_PART_IMAGE, {"x", 1}, NULL};
    struct belay_llm_message message = belay_llm_message("user", "hi");

    message.role = "wizard";
    cr_expect(
        eq(int, belay_llm_session_append(session, &message, 1), BELAY_EINVAL));
    message.role = NULL;
    cr_expect(
        eq(int, belay_llm_session_append(session, &message, 1), BELAY_EINVAL));
    message = calling(&no_id, 1);
    cr_expect(
        eq(int, belay_llm_session_append(session, &message, 1), BELAY_EINVAL));
    message.role = "user";
    message.tool_calls = calls_ab;
    cr_expect(
        eq(int, belay_llm_session_append(session, &message, 1), BELAY_EINVAL));
    message = (struct belay_llm_message){
        .role = "user", .parts = &no_type, .part_count = 1};
    cr_expect(
        eq(int, belay_llm_session_append(session, &message, 1), BELAY_EINVAL));
    cr_expect(eq(int, say(session, "tool", "x"), BELAY_EINVAL));
    cr_expect(eq(sz, stats_of(session).messages, 0));
}

Test(session, what_is_no_message_is_refused)
{
    run_in_session(append_nonsense, (struct belay_llm_session_opts){.size = 0});
}

static void
append_too_much(belay_llm_session *session)
{
    static char text[4000];

    memset(text, 'x', sizeof(text) - 1);
    cr_expect(zero(int, say(session, "user", text)));
    cr_expect(zero(int, say(session, "assistant", text)));
    cr_expect(eq(int, say(session, "user", text), BELAY_ETOOLARGE));
    cr_expect(eq(sz, stats_of(session).messages, 2));
    cr_expect(le(sz, stats_of(session).bytes, 10000));
    cr_expect(zero(int, say(session, "user", "short")));
}

Test(session, there_is_a_limit_to_what_was_said)
{
    run_in_session(
        append_too_much, (struct belay_llm_session_opts){.max_bytes = 10000});
}

/* ---- trims ---- */

static char dropped[64];

static void
note_dropped(const struct belay_llm_message *message, void *arg)
{
    const size_t len = strlen(dropped);

    (void)arg;
    dropped[len] = message->role[0];
    dropped[len + 1] = '\0';
}

static void
trim_all(belay_llm_session *session)
{
    /* What stays, as the first letters of the roles. */
    static const struct {
        const char *spelling;
        size_t most;
        const char *gone;
        bool too_large;
    } cases[] = {
        {"u-u-", 0, "", false},
        {"u-u-", 4, "", false},
        {"u-u-", 3, "ua", false},
        {"u-u-", 2, "ua", false},
        {"u-u-", 1, "ua", true},
        {"uAa-u-", 5, "uata", false},
        {"uBab-uAa-u-", 6, "uatta", false},
        {"uBab-uAa-u-", 5, "uattauata", false},
        {"uAaAa-", 3, "", true},
        {"su-su-u-", 6, "ua", false},
        {"su-su-u-", 4, "uaua", false},
        {"su-u-", 2, "ua", true},
        {"uu-u-", 3, "uua", false},
        {"-u-", 2, "a", false},
        {"s", 0, "", false},
        {"", 1, "", false},
    };
    struct belay_llm_message messages[16];

    for (size_t i = 0; i < COUNT(cases); i++) {
        const size_t count = spell(cases[i].spelling, messages);
        struct belay_llm_trimmed trimmed = {.dropped = 0};

        (void)belay_llm_session_clear(session);
        dropped[0] = '\0';
        cr_assert(
            zero(int, belay_llm_session_append(session, messages, count)));
        cr_assert(zero(int,
            belay_llm_session_trim(session,
                &(const struct belay_llm_trim){
                    .max_messages = cases[i].most, .on_dropped = note_dropped},
                &trimmed)));
        cr_expect(eq(str, dropped, TEXT(cases[i].gone)), "%s to %zu",
            cases[i].spelling, cases[i].most);
        cr_expect(eq(sz, trimmed.dropped, strlen(cases[i].gone)));
        cr_expect(eq(sz, trimmed.kept, count - trimmed.dropped));
        cr_expect(eq(sz, stats_of(session).messages, trimmed.kept));
        cr_expect(eq(i64, stats_of(session).tokens, trimmed.kept_tokens));
        cr_expect(eq(int, trimmed.too_large, cases[i].too_large), "%s to %zu",
            cases[i].spelling, cases[i].most);
    }
}

Test(session, l69_whole_exchanges_go_and_the_system_stays)
{
    run_in_session(trim_all, (struct belay_llm_session_opts){.size = 0});
}

static void
trim_tokens(belay_llm_session *session)
{
    struct belay_llm_trimmed trimmed;
    int64_t before;

    for (int i = 0; i < 10; i++) {
        cr_assert(zero(int, say(session, "user", "how long is this?")));
        cr_assert(zero(int, say(session, "assistant", "long")));
    }
    before = stats_of(session).tokens;
    cr_expect(
        zero(int, belay_llm_session_trim(session,
                      &(const struct belay_llm_trim){.max_tokens = before / 2},
                      &trimmed)));
    cr_expect(eq(sz, trimmed.kept, 10));
    cr_expect(eq(i64, trimmed.kept_tokens + trimmed.dropped_tokens, before));
    cr_expect(le(i64, trimmed.kept_tokens, before / 2));
    cr_expect(eq(int,
        belay_llm_session_trim(
            session, &(const struct belay_llm_trim){.max_tokens = -1}, NULL),
        BELAY_EINVAL));
}

Test(session, l69_by_estimated_tokens)
{
    run_in_session(trim_tokens, (struct belay_llm_session_opts){.size = 0});
}

/* ---- forks ---- */

struct forking {
    belay_llm_client *client;
    belay_llm_session *session;
    belay_llm_session *fork;
    char before[1024];
};

BELAY_ASYNC(forking)
{
    BELAY_BEGIN;
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (open_session(task, self->client, "m", &self->session)) {
            BELAY_CHECK(say(self->session, "user", "one"));
            BELAY_CHECK(say(self->session, "assistant", "two"));
            BELAY_WITH (belay_llm_session_fork(task, self->session,
                BELAY_LLM_SESSION_OPTS(.model = "small"), &self->fork)) {
                cr_expect(eq(ptr, belay_llm_session_current(task), self->fork));
                cr_expect(
                    eq(str, TEXT(stats_of(self->fork).model), TEXT("small")));
                cr_expect(eq(sz, stats_of(self->fork).messages, 2));
                cr_expect(ne(str, TEXT(stats_of(self->fork).id),
                    TEXT(stats_of(self->session).id)));
                /* Each goes its way. */
                BELAY_CHECK(say(self->fork, "user", "here"));
                BELAY_CHECK(say(self->session, "user", "there"));
                BELAY_CHECK(belay_llm_session_clear(self->session));
                cr_expect(eq(sz, stats_of(self->session).messages, 0));
                expect_messages(self->fork,
                    "[{\"role\":\"user\",\"content\":\"one\"},{\"role\":"
                    "\"assistant\",\"content\":\"two\"},{\"role\":"
                    "\"user\",\"content\":\"here\"}]");
            }
            cr_expect(eq(ptr, belay_llm_session_current(task), self->session));
        }
    }
    BELAY_END;
}

Test(session, l66_a_fork_goes_its_own_way)
{
    cr_expect(zero(int, RUN(forking, .client = NULL)));
}

Test(session, l66_sweep_of_a_fork)
{
    const struct forking arguments = {.client = NULL};

    sweep(
        &(const struct program){.function = &forking, .arguments = &arguments});
}

struct many_forks {
    belay_llm_client *client;
    belay_llm_session *session;
    belay_llm_session *fork;
    belay_stack *stack;
    size_t before;
    size_t i;
};

BELAY_ASYNC(many_forks)
{
    BELAY_BEGIN;
    BELAY_WITH (open_client(task, NULL, &self->client)) {
        BELAY_WITH (open_session(task, self->client, "m", &self->session)) {
            for (self->i = 0; self->i < 1000; self->i++) {
                BELAY_CHECK(say(self->session, "user", "something"));
            }
            self->before = test_alloc_live_bytes();
            BELAY_WITH (belay_stack_open(task, &self->stack)) {
                for (self->i = 0; self->i < 100; self->i++) {
                    BELAY_AWAIT(belay_stack_enter(task, self->stack,
                        belay_llm_session_fork(
                            task, self->session, NULL, &self->fork),
                        NULL));
                }
                /* 1,000 messages are not copied 100 times. */
                cr_expect(lt(sz, test_alloc_live_bytes() - self->before,
                    100 * (size_t)4096));
                cr_expect(eq(sz, stats_of(self->fork).messages, 1000));
            }
        }
    }
    BELAY_END;
}

Test(session, l66_a_fork_copies_nothing_of_what_was_said)
{
    cr_expect(zero(int, RUN(many_forks, .client = NULL)));
}
