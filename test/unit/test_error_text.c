/* test_error_text.c - error trees as people read them. */
#include "runtime/internal.h"
#include "test/support/memory.h"
#include "test/support/program.h"

#include <stdlib.h>
#include <string.h>

TestSuite(error_text, .init = open_memory, .fini = close_memory, .timeout = 30);

static belay_error *
error_at(int code, const char *task, int line, const char *message)
{
    const struct belay__error_site site = {
        task, line > 0 ? "reader.c" : NULL, line};

    return belay__error_new(memory, code, &site, "%s", message);
}

/* The whole text, of any length; the caller frees it. Takes the error over. */
static char *
formatted(belay_error *error)
{
    const size_t len = belay_error_format(error, NULL, 0);
    char *text = malloc(len + 1);

    cr_assert(ne(ptr, text, NULL));
    cr_expect(eq(sz, belay_error_format(error, text, len + 1), len));
    cr_expect(eq(sz, strlen(text), len));
    belay_error_unref(error);
    return text;
}

static void
expect_text(belay_error *error, const char *golden)
{
    char *text = formatted(error);

    cr_expect_str_eq(text, golden);
    free(text);
}

Test(error_text, a_group_with_causes_contexts_and_counts)
{
    static const struct belay__error_site site = {"main", NULL, 0};
    struct belay__tally more = {.used = 0};
    belay_error *inner[1] = {error_at(BELAY_EIO, "worker", 30, "disk full")};
    belay_error *children[2];

    belay__error_set_foreign(inner[0], "system", 28);
    children[0] = error_at(BELAY_EHTTP, "fetch", 12, "no reply from 'a'");
    belay__error_set_cause(children[0],
        error_at(BELAY_ERESET, "fetch", 9, "the connection broke"));
    children[0] = belay__error_with_context(memory, children[0],
        error_at(BELAY_ETIMEDOUT, "fetch", 0, "timed out"));
    children[1] =
        belay__error_new_group(memory, &site, NULL, 1, inner, 1, NULL);
    for (int i = 0; i < 12; i++) {
        belay__tally_add(&more, i % 3 == 0 ? BELAY_EIO : BELAY_EBUSY);
    }
    expect_text(belay__error_new_group(
                    memory, &site, "readers", 14, children, 2, &more),
        "14 tasks of group 'readers' failed (EGROUP), in task main\n"
        "  - no reply from 'a' (EHTTP), in task fetch, at reader.c:12\n"
        "    caused by: the connection broke (ERESET), in task fetch, "
        "at reader.c:9\n"
        "    while handling: timed out (ETIMEDOUT), in task fetch\n"
        "  - 1 task of the group failed (EGROUP), in task main\n"
        "    - disk full (EIO, system 28), in task worker, at reader.c:30\n"
        "  - and 12 more: EIO 4, EBUSY 8\n");
}

Test(error_text, codes_beyond_those_told_apart_are_others)
{
    static const struct belay__error_site site = {NULL, NULL, 0};
    static const int codes[] = {BELAY_EIO, BELAY_EBUSY, BELAY_EPIPE,
        BELAY_EAUTH, BELAY_ETLS, BELAY_EHTTP, BELAY_EJSON, BELAY_EQUOTA,
        BELAY_EAGAIN, BELAY_ENOENT, BELAY_EIO};
    struct belay__tally more = {.used = 0};
    belay_error *child = error_at(BELAY_EIO, "", 0, "one");
    belay_error *group;
    size_t count = 77;

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        belay__tally_add(&more, codes[i]);
    }
    group = belay__error_new_group(memory, &site, NULL, 12, &child, 1, &more);
    cr_expect(eq(int, belay_error_more(group, 0, &count), BELAY_EIO));
    cr_expect(eq(sz, count, 2));
    cr_expect(eq(int, belay_error_more(group, 8, &count), 0));
    cr_expect(eq(int, belay_error_more(child, 0, &count), 0));
    cr_expect(eq(sz, count, 2));
    expect_text(group,
        "12 tasks of the group failed (EGROUP)\n"
        "  - one (EIO)\n"
        "  - and 11 more: EIO 2, EBUSY 1, EPIPE 1, EAUTH 1, ETLS 1, EHTTP 1, "
        "EJSON 1, EQUOTA 1, others 2\n");
}

Test(error_text, a_group_without_a_child_says_what_its_failures_are)
{
    static const struct belay__error_site site = {NULL, NULL, 0};
    struct belay__tally more = {.used = 0};

    belay__tally_add(&more, BELAY_EAGAIN);
    expect_text(belay__error_new_group(memory, &site, NULL, 1, NULL, 0, &more),
        "1 task of the group failed (EGROUP)\n"
        "  - of these: EAGAIN 1\n");
    belay__tally_add(&more, BELAY_EIO);
    expect_text(belay__error_new_group(memory, &site, NULL, 3, NULL, 0, &more),
        "3 tasks of the group failed (EGROUP)\n"
        "  - of these: EAGAIN 1, EIO 1, others 1\n");
    expect_text(belay__error_new_group(memory, &site, NULL, 3, NULL, 0, NULL),
        "3 tasks of the group failed (EGROUP)\n");
}

Test(error_text, lines_of_a_message_stay_below_it_and_escapes_are_seen)
{
    belay_error *error = error_at(BELAY_EPROTO, "", 0, "outer");

    belay__error_set_cause(
        error, error_at(BELAY_EIO, "a\nb", 7,
                   "the server said:\nno\tway \x1b[2J\x7f caf\xc3\xa9\n"));
    expect_text(error,
        "outer (EPROTO)\n"
        "  caused by: the server said:\n"
        "      no way \\x1b[2J\\x7f caf\xc3\xa9 (EIO), in task a\n"
        "      b, at reader.c:7\n");
}

/* Each level holds the one below twice: 2^16 lines, were it not cut. */
Test(error_text, a_tree_that_is_shared_is_cut_where_it_says_so)
{
    static const struct belay__error_site site = {NULL, NULL, 0};
    belay_error *error = error_at(BELAY_EIO, "", 0, "leaf");
    belay_error *twice[2];
    size_t lines = 0;
    char *text;

    for (int i = 0; i < 15; i++) {
        twice[0] = error;
        twice[1] = belay_error_ref(error);
        error = belay__error_new_group(memory, &site, NULL, 2, twice, 2, NULL);
    }
    text = formatted(error);
    for (const char *at = text; *at != '\0'; at++) {
        lines += *at == '\n';
    }
    cr_expect(eq(sz, lines, 1001));
    cr_expect(ne(ptr, strstr(text, "... (cut here)\n"), NULL));
    free(text);
}

Test(error_text, a_deep_chain_is_cut_where_it_says_so)
{
    belay_error *error = error_at(BELAY_EIO, "", 0, "end");
    belay_error *outer;
    char *text;

    for (int i = 0; i < 40; i++) {
        outer = error_at(BELAY_EIO, "", 0, "chain");
        belay__error_set_cause(outer, error);
        error = outer;
    }
    text = formatted(error);
    cr_expect(zero(ptr, strstr(text, "end")));
    cr_expect_str_eq(text + strlen(text) - 5, " ...\n");
    free(text);
}
