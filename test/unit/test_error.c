/* test_error.c - error objects and how they print: contract S77-S79. */
#include "runtime/internal.h"
#include "test/support/memory.h"
#include "test/support/program.h"

#include <stdlib.h>
#include <string.h>

TestSuite(error, .init = open_memory, .fini = close_memory, .timeout = 30);

static const struct belay__error_site nowhere = {NULL, NULL, 0};

static belay_error *
new_error(int code, const char *message)
{
    const struct belay__error_site site = {"a task", "file.c", 12};

    return belay__error_new(memory, code, &site, "%s", message);
}

static char *
formatted(belay_error *error)
{
    static char text[4096];
    const struct belay_result result = {
        .code = belay_error_code(error), .error = error};
    const size_t len = belay_result_format(&result, text, sizeof(text));

    cr_expect(eq(sz, len, strlen(text)));
    return text;
}

Test(error, an_error_tells_what_where_and_why)
{
    belay_error *error = new_error(BELAY_EIO, "disk 'a' failed");
    int number = 0;

    belay__error_set_foreign(error, "system", 5);
    belay__error_set_cause(
        error, belay__error_new(memory, BELAY_EPIPE, &nowhere, "pipe broke"));
    cr_expect(eq(int, belay_error_code(error), BELAY_EIO));
    cr_expect_str_eq(belay_error_message(error), "disk 'a' failed");
    cr_expect_str_eq(belay_error_task(error), "a task");
    cr_expect_str_eq(belay_error_place(error, &number), "file.c");
    cr_expect(eq(int, number, 12));
    cr_expect_str_eq(belay_error_foreign(error, &number), "system");
    cr_expect(eq(int, number, 5));
    cr_expect(eq(sz, belay_error_failures(error), 1));
    cr_expect(zero(ptr, belay_error_child(error, 0)));
    cr_expect_str_eq(formatted(error),
        "disk 'a' failed (EIO, system 5), in task a task, at file.c:12\n"
        "  caused by: pipe broke (EPIPE)\n");
    cr_expect(zero(ptr, (void *)(uintptr_t)belay_error_foreign(
                            belay_error_cause(error), &number)));
    cr_expect(eq(int, number, 5));
    belay_error_unref(error);
    belay_error_unref(NULL);
    cr_expect(zero(ptr, belay_error_ref(NULL)));
}

Test(error, a_long_message_is_cut)
{
    char longest[5000];
    belay_error *error;

    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    error = new_error(BELAY_EIO, longest);
    cr_expect(eq(sz, strlen(belay_error_message(error)), 1023));
    belay_error_unref(error);
}

Test(error, formatting_cuts_and_says_how_long_it_would_be)
{
    const struct belay_result bare = {.code = BELAY_ETIMEDOUT};
    const struct belay_result cancel = {
        .code = BELAY_ECANCELED, .cancelled = true};
    char small[8] = "zzzzzzz";
    char large[64];
    const size_t len = belay_result_format(&bare, large, sizeof(large));

    cr_expect_str_eq(large, "timed out (ETIMEDOUT)\n");
    cr_expect(eq(sz, belay_result_format(&bare, small, sizeof(small)), len));
    cr_expect_str_eq(small, "timed o");
    cr_expect(eq(sz, belay_result_format(&bare, NULL, 0), len));
    (void)belay_result_format(&cancel, large, sizeof(large));
    cr_expect_str_eq(
        large, "operation cancelled (ECANCELED), by the runtime\n");
}

Test(error, s79_a_context_never_makes_a_cycle)
{
    belay_error *a = new_error(BELAY_EIO, "a");
    belay_error *b = new_error(BELAY_EPIPE, "b");
    belay_error *c;

    /* a while handling b */
    a = belay__error_with_context(memory, a, belay_error_ref(b));
    cr_expect(eq(ptr, belay_error_context(a), b));
    /* b while handling a: b is in a's chain already */
    c = belay__error_with_context(
        memory, belay_error_ref(b), belay_error_ref(a));
    cr_expect(zero(ptr, belay_error_context(b)));
    belay_error_unref(c);
    /* a while handling a */
    c = belay__error_with_context(
        memory, belay_error_ref(a), belay_error_ref(a));
    cr_expect(eq(ptr, c, a));
    belay_error_unref(c);
    /* a while handling b, once more */
    c = belay__error_with_context(
        memory, belay_error_ref(a), belay_error_ref(b));
    cr_expect(eq(ptr, belay_error_context(c), b));
    cr_expect(zero(ptr, belay_error_context(belay_error_context(c))));
    belay_error_unref(c);
    belay_error_unref(a);
    belay_error_unref(b);
}

Test(error, s77_the_old_error_goes_to_the_end_and_shared_ones_stay_as_they_are)
{
    belay_error *shared = new_error(BELAY_EIO, "shared");
    belay_error *top = new_error(BELAY_EBUSY, "top");
    belay_error *old = new_error(BELAY_EPIPE, "old");

    top = belay__error_with_context(memory, top, belay_error_ref(shared));
    top = belay__error_with_context(memory, top, old);
    cr_expect_str_eq(formatted(top),
        "top (EBUSY), in task a task, at file.c:12\n"
        "  while handling: shared (EIO), in task a task, at file.c:12\n"
        "    while handling: old (EPIPE), in task a task, at file.c:12\n");
    cr_expect(zero(ptr, belay_error_context(shared)));
    belay_error_unref(top);
    belay_error_unref(shared);
}

/* A copy of an error is still that error, wherever it has got to. */
Test(error, s79_what_has_come_into_a_chain_as_a_copy_is_found_there)
{
    belay_error *kept = new_error(BELAY_EIO, "kept");
    belay_error *chain = belay__error_with_context(
        memory, belay_error_ref(kept), new_error(BELAY_EPIPE, "old"));

    cr_expect(ne(ptr, chain, kept));
    chain = belay__error_with_context(
        memory, new_error(BELAY_EBUSY, "later"), chain);
    chain = belay__error_with_context(memory, belay_error_ref(kept), chain);
    cr_expect(eq(ptr, chain, kept));
    cr_expect(zero(ptr, belay_error_context(chain)));
    belay_error_unref(chain);
    belay_error_unref(kept);
}

/* If each looked for itself all along the chain, this would take minutes. */
Test(error, s79_a_chain_of_errors_that_others_have_too_takes_linear_time)
{
    enum { MANY = 200000 };
    belay_error **all = calloc(MANY, sizeof(belay_error *));
    belay_error *chain = new_error(BELAY_EIO, "end");
    const belay_error *error;
    size_t count = 0;

    cr_assert(ne(ptr, all, NULL));
    for (size_t i = 0; i < MANY; i++) {
        all[i] = new_error(BELAY_EIO, "x");
        chain =
            belay__error_with_context(memory, belay_error_ref(all[i]), chain);
    }
    for (error = chain; error != NULL; error = belay_error_context(error)) {
        count++;
    }
    cr_expect(eq(sz, count, MANY + 1));
    for (size_t i = 0; i < MANY; i++) {
        belay_error_unref(all[i]);
    }
    belay_error_unref(chain);
    free(all);
}

Test(error, a_deep_chain_is_freed_in_constant_stack)
{
    belay_error *contexts = new_error(BELAY_EIO, "end");
    belay_error *causes = new_error(BELAY_EIO, "end");
    belay_error *groups = new_error(BELAY_EIO, "end");
    belay_error *kept;
    char text[16];

    for (int i = 0; i < 200000; i++) {
        belay_error *error = new_error(BELAY_EIO, "x");

        contexts = belay__error_with_context(memory, error, contexts);
        error = new_error(BELAY_EIO, "x");
        belay__error_set_cause(error, causes);
        causes = error;
        groups =
            belay__error_new_group(memory, &nowhere, NULL, 1, &groups, 1, NULL);
    }
    kept = belay_error_ref(belay_error_context(contexts));
    cr_expect(gt(sz,
        belay_result_format(
            &(const struct belay_result){.code = -1, .error = groups}, text,
            sizeof(text)),
        sizeof(text)));
    belay_error_unref(contexts);
    cr_expect_str_eq(belay_error_message(kept), "x");
    belay_error_unref(kept);
    belay_error_unref(causes);
    belay_error_unref(groups);
}

Test(error, a_group_error_shares_its_children)
{
    belay_error *children[2] = {
        new_error(BELAY_EIO, "one"), new_error(BELAY_EPIPE, "two")};
    belay_error *one = belay_error_ref(children[0]);
    belay_error *group = belay__error_new_group(
        memory, &nowhere, "readers", 5, children, 2, NULL);

    cr_expect(eq(int, belay_error_code(group), BELAY_EGROUP));
    cr_expect(eq(sz, belay_error_failures(group), 5));
    cr_expect(eq(ptr, belay_error_child(group, 0), one));
    cr_expect(zero(ptr, belay_error_child(group, 2)));
    cr_expect_str_eq(formatted(group),
        "5 tasks of group 'readers' failed (EGROUP)\n"
        "  - one (EIO), in task a task, at file.c:12\n"
        "  - two (EPIPE), in task a task, at file.c:12\n"
        "  - and 3 more\n");
    belay_error_unref(group);
    cr_expect_str_eq(belay_error_message(one), "one");
    belay_error_unref(one);
}

Test(error, without_memory_the_context_is_dropped_and_nothing_leaks)
{
    belay_error *shared = new_error(BELAY_EIO, "shared");
    belay_error *old = new_error(BELAY_EPIPE, "old");
    belay_error *same;

    test_alloc_fail_after(0);
    same = belay__error_with_context(memory, belay_error_ref(shared), old);
    cr_expect(zero(ptr, new_error(BELAY_EIO, "none")));
    test_alloc_never_fail();
    cr_expect(eq(ptr, same, shared));
    cr_expect(zero(ptr, belay_error_context(same)));
    belay_error_unref(same);
    belay_error_unref(shared);
}

Test(error, no_error_reads_as_an_empty_one)
{
    char text[8] = "before";
    size_t count = 77;
    int number = 77;

    cr_expect(zero(int, belay_error_code(NULL)));
    cr_expect_str_eq(belay_error_message(NULL), "");
    cr_expect_str_eq(belay_error_task(NULL), "");
    cr_expect(zero(ptr, (void *)(uintptr_t)belay_error_foreign(NULL, &number)));
    cr_expect(zero(ptr, belay_error_cause(NULL)));
    cr_expect(zero(ptr, belay_error_context(NULL)));
    cr_expect(zero(ptr, belay_error_child(NULL, 0)));
    cr_expect(zero(sz, belay_error_failures(NULL)));
    cr_expect(zero(int, belay_error_more(NULL, 0, &count)));
    cr_expect(eq(int, number, 77));
    cr_expect(eq(sz, count, 77));
    cr_expect_str_eq(belay_error_place(NULL, &number), "");
    cr_expect(zero(int, number));
    cr_expect(zero(sz, belay_error_format(NULL, text, sizeof(text))));
    cr_expect_str_eq(text, "");
    cr_expect(zero(sz, belay_error_format(NULL, NULL, 0)));
}

struct places {
    int which;
};

BELAY_ASYNC(places)
{
    BELAY_BEGIN;
    if (self->which == 0) {
        BELAY_FAIL(BELAY_EIO, "number %d", 7);
    }
    if (self->which == 1) {
        BELAY_FAIL(BELAY_EIO, NULL);
    }
    BELAY_CHECK(self->which);
    BELAY_END;
}

Test(error, a_failing_frame_names_its_place_and_task)
{
    struct belay_result result;
    int line = 0;

    (void)RUN_RESULT(&result, places, .which = 0);
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect_str_eq(belay_error_message(result.error), "number 7");
    cr_expect_str_eq(belay_error_task(result.error), "program");
    cr_expect(ne(ptr,
        strstr(belay_error_place(result.error, &line), "test_error.c"), NULL));
    cr_expect(gt(int, line, 0));
    belay_error_unref(result.error);
    cr_expect(eq(int, RUN_RESULT(&result, places, .which = 1), BELAY_EIO));
    cr_expect(zero(ptr, result.error));
    cr_expect(eq(
        int, RUN_RESULT(&result, places, .which = BELAY_EBUSY), BELAY_EBUSY));
    cr_expect_str_eq(
        belay_error_message(result.error), "self->which failed: busy");
    belay_error_unref(result.error);
}
