/* test_suppressing.c - suppressing some codes, in groups too: S81, S82, S107. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <stdio.h>
#include <string.h>

TestSuite(suppressing, .fini = check_clean, .timeout = 30);

/* ---- suppressing ---- */

struct suppresses {
    int codes[BELAY_SUPPRESSING_MAX + 1];
    size_t count;
    int code; /* of the body */
    bool bare;
    bool cancel;
};

BELAY_ASYNC(suppresses)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_suppressing(task, self->codes, self->count)) {
        if (self->cancel) {
            (void)belay_task_cancel(task, NULL);
            BELAY_AWAIT(belay_checkpoint(task));
        }
        if (self->code < 0 && self->bare) {
            return belay_fail(task, self->code, NULL);
        }
        if (self->code < 0) {
            BELAY_FAIL(self->code, "body");
        }
    }
    trace("behind");
    BELAY_END;
}

Test(suppressing, s81_s107_listed_errors_end_the_block_and_no_more)
{
    cr_expect(eq(int,
        RUN(suppresses, .codes = {BELAY_ENOENT, BELAY_EIO}, .count = 2,
            .code = BELAY_EIO),
        0));
    cr_expect(eq(int,
        RUN(suppresses, .codes = {BELAY_EIO}, .count = 1, .code = BELAY_EIO,
            .bare = true),
        0));
    cr_expect(eq(int, RUN(suppresses, .codes = {BELAY_EIO}, .count = 1), 0));
    expect_trace("behind; behind; behind");
}

Test(suppressing, s107_others_pass)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, suppresses, .codes = {BELAY_ENOENT}, .count = 1,
            .code = BELAY_EIO),
        BELAY_EIO));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect_str_eq(belay_error_message(result.error), "body");
    cr_expect(zero(ptr, belay_error_context(result.error)));
    belay_error_unref(result.error);
    cr_expect(
        eq(int, RUN(suppresses, .code = BELAY_EIO, .bare = true), BELAY_EIO));
    expect_trace("");
}

Test(suppressing, s21_s84_a_cancel_is_not_suppressed_a_bare_code_is)
{
    cr_expect(eq(int,
        RUN(suppresses, .codes = {BELAY_ECANCELED}, .count = 1, .cancel = true),
        BELAY_ECANCELED));
    expect_trace("");
    cr_expect(eq(int,
        RUN(suppresses, .codes = {BELAY_ECANCELED}, .count = 1,
            .code = BELAY_ECANCELED),
        0));
    expect_trace("behind");
}

Test(suppressing, too_many_codes_are_refused)
{
    cr_expect(eq(int, RUN(suppresses, .count = BELAY_SUPPRESSING_MAX + 1),
        BELAY_EINVAL));
    expect_trace("");
}

struct failing {
    int code;
};

BELAY_ASYNC(failing)
{
    BELAY_BEGIN;
    BELAY_FAIL(self->code, "%s", belay_code_name(self->code));
    BELAY_END;
}

struct inner {
    int codes[3];
    belay_group *group;
};

BELAY_ASYNC(inner)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        for (size_t i = 0; i < 3; i++) {
            if (self->codes[i] < 0) {
                BELAY_CHECK(
                    belay_spawn(self->group, failing, .code = self->codes[i]));
            }
        }
    }
    BELAY_END;
}

struct splits {
    int code;          /* of a task of the outer group; 0: none */
    struct inner tree; /* those of an inner one */
    uint32_t max_errors;
    belay_group *group;
};

BELAY_ASYNC(splits)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_suppressing(task, BELAY_CODES(BELAY_EIO, BELAY_ENOENT))) {
        BELAY_WITH (belay_group_open(task,
            BELAY_GROUP_OPTS(.max_errors = self->max_errors), &self->group)) {
            BELAY_CHECK(
                belay_group_spawn(self->group, &inner, &self->tree, NULL));
            if (self->code < 0) {
                BELAY_CHECK(
                    belay_spawn(self->group, failing, .code = self->code));
            }
        }
    }
    trace("behind");
    BELAY_END;
}

static void
tree_text(const belay_error *error, char *text, size_t size)
{
    size_t len;
    belay_error *child;

    (void)snprintf(text, size, "%s(%zu",
        belay_code_name(belay_error_code(error)), belay_error_failures(error));
    for (size_t i = 0; (child = belay_error_child(error, i)) != NULL; i++) {
        len = strlen(text);
        (void)snprintf(text + len, size - len, " ");
        tree_text(child, text + len + 1, size - len - 1);
    }
    len = strlen(text);
    (void)snprintf(text + len, size - len, ")");
}

static char *
tree_of(const struct belay_result *result)
{
    static char text[512];

    cr_assert(ne(ptr, result->error, NULL));
    tree_text(result->error, text, sizeof(text));
    return text;
}

Test(suppressing, s107_a_group_error_is_split_and_the_rest_kept)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, splits, .code = BELAY_EPIPE,
            .tree = {.codes = {BELAY_EIO, BELAY_EBUSY, BELAY_ENOENT}}),
        BELAY_EGROUP));
    cr_expect(eq(str, tree_of(&result),
        (char *)"EGROUP(2 EPIPE(1) EGROUP(1 EBUSY(1)))"));
    cr_expect(zero(ptr, belay_error_context(result.error)));
    belay_error_unref(result.error);
    /* A group of which nothing is left is no failure of the one round it. */
    cr_expect(eq(int,
        RUN_RESULT(&result, splits, .code = BELAY_EPIPE,
            .tree = {.codes = {BELAY_EIO, BELAY_ENOENT}}),
        BELAY_EGROUP));
    cr_expect(eq(str, tree_of(&result), (char *)"EGROUP(1 EPIPE(1))"));
    belay_error_unref(result.error);
    expect_trace("");
}

Test(suppressing, s107_nothing_left_of_a_group_error_is_success)
{
    program_other_code = BELAY_EGROUP; /* without memory it stays whole */
    cr_expect(eq(int,
        RUN(splits, .code = BELAY_EIO,
            .tree = {.codes = {BELAY_EIO, BELAY_ENOENT}}),
        0));
    expect_trace("behind");
}

/* The inner group, of which only its code is left. */
Test(suppressing, s107_groups_that_are_only_counted_stay)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, splits, .code = BELAY_EIO, .max_errors = 1,
            .tree = {.codes = {BELAY_EIO, BELAY_ENOENT}}),
        BELAY_EGROUP));
    cr_expect(eq(str, tree_of(&result), (char *)"EGROUP(1)"));
    belay_error_unref(result.error);
}

struct many {
    int codes[4];
    int each;
    uint32_t max_errors;
    belay_group *group;
};

BELAY_ASYNC(many)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_suppressing(task, BELAY_CODES(BELAY_EIO, BELAY_ENOENT))) {
        BELAY_WITH (belay_group_open(task,
            BELAY_GROUP_OPTS(.max_errors = self->max_errors), &self->group)) {
            for (int i = 0; i < 4 * self->each; i++) {
                if (self->codes[i % 4] < 0) {
                    BELAY_CHECK(belay_spawn(
                        self->group, failing, .code = self->codes[i % 4]));
                }
            }
        }
    }
    trace("behind");
    BELAY_END;
}

Test(suppressing, s107_it_does_not_matter_how_many_failures_are_kept)
{
    program_other_code = BELAY_EGROUP; /* without memory it stays whole */
    for (uint32_t kept = 1; kept <= 9; kept++) {
        trace_clear();
        cr_expect(eq(int,
            RUN(many, .codes = {BELAY_EIO, BELAY_ENOENT}, .each = 4,
                .max_errors = kept),
            0));
        expect_trace("behind");
    }
}

Test(suppressing, s107_of_failures_that_are_counted_by_code_the_others_stay)
{
    struct belay_result result;
    size_t count = 0;

    cr_expect(eq(int,
        RUN_RESULT(&result, many,
            .codes = {BELAY_EIO, BELAY_EBUSY, BELAY_ENOENT, BELAY_EPIPE},
            .each = 3, .max_errors = 5),
        BELAY_EGROUP));
    cr_expect(eq(str, tree_of(&result), (char *)"EGROUP(6 EBUSY(1) EPIPE(1))"));
    cr_expect(eq(int, belay_error_more(result.error, 0, &count), BELAY_EBUSY));
    cr_expect(eq(sz, count, 2));
    cr_expect(eq(int, belay_error_more(result.error, 1, &count), BELAY_EPIPE));
    cr_expect(eq(sz, count, 2));
    cr_expect(zero(int, belay_error_more(result.error, 2, &count)));
    belay_error_unref(result.error);
}

/* One in the other: of the inner one's error only a count is left. */
struct twice {
    struct many many;
};

BELAY_ASYNC(twice)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_suppressing(task, BELAY_CODES(BELAY_EBUSY))) {
        BELAY_AWAIT(belay_call(task, &many, &self->many));
    }
    trace("and behind");
    BELAY_END;
}

Test(suppressing, s107_what_is_only_counted_is_suppressed_further_out_too)
{
    program_other_code = BELAY_EGROUP;
    cr_expect(eq(int,
        RUN(twice, .many = {.codes = {BELAY_EIO, BELAY_EBUSY},
                       .each = 2,
                       .max_errors = 1}),
        0));
    expect_trace("and behind");
}

/* Round the yield of a manager: what it leaves alone is no new failure. */
struct quiet {
    int code; /* that is suppressed */
};

BELAY_MANAGER(quiet)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_suppressing(task, &self->code, 1)) {
        BELAY_YIELD(NULL);
    }
    BELAY_END;
}

struct quietly {
    int code;
    belay_group *group;
};

BELAY_ASYNC(quietly)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(quiet, .code = self->code)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, failing, .code = BELAY_EIO));
            BELAY_CHECK(belay_spawn(self->group, failing, .code = BELAY_EPIPE));
        }
    }
    BELAY_END;
}

Test(suppressing, s79_s107_an_error_of_which_nothing_is_taken_stays_the_same)
{
    struct belay_result result;

    program_other_code = BELAY_EPROTO; /* of a manager that is not entered */
    cr_expect(eq(
        int, RUN_RESULT(&result, quietly, .code = BELAY_EBUSY), BELAY_EGROUP));
    cr_expect(eq(str, tree_of(&result), (char *)"EGROUP(2 EIO(1) EPIPE(1))"));
    cr_expect(zero(ptr, belay_error_context(result.error)));
    belay_error_unref(result.error);
    /* Of what is taken apart the rest is a new one, that has replaced it. */
    cr_expect(
        eq(int, RUN_RESULT(&result, quietly, .code = BELAY_EIO), BELAY_EGROUP));
    cr_expect(eq(str, tree_of(&result), (char *)"EGROUP(1 EPIPE(1))"));
    cr_assert(ne(ptr, belay_error_context(result.error), NULL));
    belay_error_unref(result.error);
}

/* ---- errors that are in many places ---- */

/* A group of two; takes both over. NULL without memory, or if one is NULL. */
static belay_error *
pair_of(belay_task *task, belay_error *first, belay_error *second)
{
    const struct belay__error_site site = {.task_name = "a task"};
    belay_error *children[] = {first, second};
    belay_error *pair = NULL;

    if (first != NULL && second != NULL) {
        pair = belay__error_new_group(
            task->runtime->memory, &site, NULL, 2, children, 2, NULL);
    }
    if (pair == NULL) {
        belay_error_unref(first);
        belay_error_unref(second);
    }
    return pair;
}

static belay_error *
leaf_of(belay_task *task, int code)
{
    const struct belay__error_site site = {.task_name = "a task"};

    return belay__error_new(task->runtime->memory, code, &site, "leaf");
}

/* A pair of the same error, again and again: 2 ^ levels ways to the leaves. */
static belay_error *
twins(belay_task *task, int levels, int first, int second)
{
    belay_error *error =
        pair_of(task, leaf_of(task, first), leaf_of(task, second));

    for (int i = 1; i < levels && error != NULL; i++) {
        error = pair_of(task, error, belay_error_ref(error));
    }
    return error;
}

/* So many ways, too, but no two errors beside each other are the same. */
static belay_error *
crossed(belay_task *task, int levels)
{
    belay_error *a = leaf_of(task, BELAY_EIO);
    belay_error *b = leaf_of(task, BELAY_EPIPE);
    belay_error *one;

    for (int i = 0; i < levels; i++) {
        one = pair_of(task, belay_error_ref(a), belay_error_ref(b));
        b = pair_of(task, b, a);
        a = one;
    }
    return pair_of(task, a, b);
}

struct shared {
    int levels;
    int first;
    int second;
    bool crossed;
    const belay_error **ret_whole;
};

BELAY_ASYNC(shared)
{
    belay_error *error;

    BELAY_BEGIN;
    BELAY_WITH (belay_suppressing(task, BELAY_CODES(BELAY_EIO, BELAY_ENOENT))) {
        error = self->crossed
                    ? crossed(task, self->levels)
                    : twins(task, self->levels, self->first, self->second);
        if (error == NULL) {
            BELAY_FAIL(BELAY_ENOMEM, "no error");
        }
        if (self->ret_whole != NULL) {
            *self->ret_whole = error;
        }
        return belay_fail_with(task, error);
    }
    trace("behind");
    BELAY_END;
}

Test(suppressing, s107_an_error_that_is_there_twice_is_split_once)
{
    struct belay_result result;
    const belay_error *error;
    int depth = 0;

    program_other_code = BELAY_EGROUP; /* without memory it stays whole */
    cr_expect(zero(int,
        RUN(shared, .levels = 64, .first = BELAY_EIO, .second = BELAY_ENOENT)));
    expect_trace("behind");
    cr_expect(eq(int,
        RUN_RESULT(&result, shared, .levels = 64, .first = BELAY_EIO,
            .second = BELAY_EPIPE),
        BELAY_EGROUP));
    error = result.error;
    while (belay_error_child(error, 1) != NULL) {
        cr_expect(
            eq(ptr, belay_error_child(error, 0), belay_error_child(error, 1)));
        error = belay_error_child(error, 0);
        depth++;
    }
    cr_expect(eq(int, depth, 63));
    cr_expect(eq(sz, belay_error_failures(error), 1));
    error = belay_error_child(error, 0);
    cr_expect(eq(int, belay_error_code(error), BELAY_EPIPE));
    belay_error_unref(result.error);
}

/* 2^7 ways are few enough, 2^60 are not. */
Test(suppressing, s107_one_to_which_too_many_ways_lead_stays_whole)
{
    struct belay_result result;
    const belay_error *whole = NULL;

    program_unswept = true; /* each trial would make thousands of errors */
    cr_expect(eq(int,
        RUN_RESULT(
            &result, shared, .crossed = true, .levels = 7, .ret_whole = &whole),
        BELAY_EGROUP));
    cr_expect(ne(ptr, result.error, (void *)(uintptr_t)whole));
    belay_error_unref(result.error);
    cr_expect(eq(int,
        RUN_RESULT(&result, shared, .crossed = true, .levels = 60,
            .ret_whole = &whole),
        BELAY_EGROUP));
    cr_expect(eq(ptr, result.error, (void *)(uintptr_t)whole));
    belay_error_unref(result.error);
}

Test(suppressing, s136_whatever_happens_all_is_put_back)
{
    SWEEP(splits, .code = BELAY_EPIPE,
        .tree = {.codes = {BELAY_EIO, BELAY_EBUSY, BELAY_ENOENT}});
}
