/* test_suppressing.c - suppressing some codes, in groups too: S81, S82, S107. */
#include "test/support/program.h"

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

Test(suppressing, s136_whatever_happens_all_is_put_back)
{
    SWEEP(splits, .code = BELAY_EPIPE,
        .tree = {.codes = {BELAY_EIO, BELAY_EBUSY, BELAY_ENOENT}});
}
