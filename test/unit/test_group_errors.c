/* test_group_errors.c - what a group makes of failures: contract S47-S50, S52,
 * S54, S63, S64, S69, S70.
 */
#include "test/support/group_scene.h"

#include "runtime/internal.h"

#include <string.h>

TestSuite(group_errors, .fini = check_clean, .timeout = 30);

/* The codes of a group error's children, as text. */
static char *
children_text(const struct belay_result *result)
{
    static char text[256];
    size_t len = 0;
    belay_error *error;

    text[0] = '\0';
    for (size_t i = 0; result->error != NULL
                       && (error = belay_error_child(result->error, i)) != NULL;
         i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s ",
            belay_code_name(belay_error_code(error)));
    }
    return text;
}

Test(group_errors, s47_the_bodys_failure_cancels_the_children)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, two, .first = {.name = "a", .sleep = BELAY_FOREVER},
            .second = {.name = "b", .sleep = BELAY_FOREVER},
            .body_code = BELAY_EIO),
        BELAY_EGROUP));
    expect_trace("enter a; enter b; body ok; exit b/cancel; exit a/cancel");
    cr_expect(eq(str, children_text(&result), (char *)"EIO "));
    belay_error_unref(result.error);
}

Test(group_errors, s48_s49_s50_a_childs_failure_cancels_siblings_and_body)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, two, .first = {.name = "a", .sleep = BELAY_FOREVER},
            .second = {.name = "b",
                .sleep = belay_seconds(1),
                .code = BELAY_EIO},
            .body_sleep = BELAY_FOREVER),
        BELAY_EGROUP));
    expect_trace("enter a; enter b; exit b/EIO; body cancel; exit a/cancel");
    cr_expect(eq(str, children_text(&result), (char *)"EIO "));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(eq(sz, belay_error_failures(result.error), 1));
    belay_error_unref(result.error);
}

/* Sleeps until it is cancelled, and traces why it was. */
struct asks_why {
    const char *name;
};

BELAY_ASYNC(asks_why)
{
    struct belay_cancel_reason reason;

    BELAY_BEGIN;
    BELAY_TRY(belay_sleep(task, BELAY_FOREVER));
    if (belay_cancel_pending(task, &reason)) {
        trace("%s: %s by %s", self->name,
            belay__cancel_source_name(reason.source), reason.task_name);
    }
    return belay_pass(task);
    BELAY_END;
}

struct why {
    int child_code;
    int body_code;
    belay_group *group;
};

BELAY_ASYNC(why)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, asks_why, .name = "sibling"));
        BELAY_CHECK(belay_group_spawn(self->group, &child,
            &(const struct child){.name = "b",
                .sleep =
                    self->child_code < 0 ? belay_seconds(1) : BELAY_FOREVER,
                .code = self->child_code},
            BELAY_SPAWN_OPTS(.name = "the culprit")));
        if (self->body_code < 0) {
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_FAIL(self->body_code, "body");
        }
        BELAY_AWAIT(BELAY_CALL(asks_why, .name = "body"));
    }
    BELAY_END;
}

Test(group_errors, s23_s48_the_cancel_says_sibling_and_names_the_task)
{
    cr_expect(eq(int, RUN(why, .child_code = BELAY_EIO), BELAY_EGROUP));
    expect_trace("enter b; exit b/EIO; body: sibling by the culprit; "
                 "sibling: sibling by the culprit");
}

Test(group_errors, s23_s47_the_cancel_says_parent_and_names_the_host)
{
    cr_expect(eq(int, RUN(why, .body_code = BELAY_EIO), BELAY_EGROUP));
    expect_trace("enter b; exit b/cancel; sibling: parent by program");
}

Test(group_errors, s49_all_failures_in_the_order_of_their_ends)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, two,
            .first = {.name = "a",
                .sleep = BELAY_FOREVER,
                .on_cancel = BELAY_EPIPE,
                .exit_sleep = belay_seconds(1)},
            .second = {.name = "b",
                .sleep = belay_seconds(1),
                .code = BELAY_EIO},
            .body_sleep = BELAY_FOREVER, .body_code = BELAY_EBUSY),
        BELAY_EGROUP));
    cr_expect(eq(str, children_text(&result), (char *)"EIO EBUSY EPIPE "));
    belay_error_unref(result.error);
}

Test(group_errors, s52_an_error_of_cleanup_is_added)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, two,
            .first = {.name = "a",
                .sleep = BELAY_FOREVER,
                .exit_code = BELAY_EPIPE},
            .second = {.name = "b",
                .sleep = belay_seconds(1),
                .code = BELAY_EIO}),
        BELAY_EGROUP));
    cr_expect(eq(str, children_text(&result), (char *)"EIO EPIPE "));
    belay_error_unref(result.error);
}

Test(group_errors, s54_errors_beat_the_cancel_from_outside)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, two,
            .first = {.name = "a",
                .sleep = BELAY_FOREVER,
                .on_cancel = BELAY_EPIPE},
            .second = {.name = "b", .sleep = BELAY_FOREVER},
            .cancel_outer = true),
        BELAY_EGROUP));
    cr_expect(eq(str, children_text(&result), (char *)"EPIPE "));
    belay_error_unref(result.error);
}

/* ---- nesting ---- */

struct inner_host {
    int code;
    belay_group *group;
};

BELAY_ASYNC(inner_host)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, child, .name = "x",
            .sleep = belay_seconds(1), .code = self->code));
        BELAY_CHECK(belay_spawn(
            self->group, child, .name = "y", .sleep = BELAY_FOREVER));
    }
    BELAY_END;
}

struct outer_host {
    int inner_code;
    int outer_code;
    belay_group *group;
};

BELAY_ASYNC(outer_host)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(
            belay_spawn(self->group, inner_host, .code = self->inner_code));
        BELAY_CHECK(belay_spawn(self->group, child, .name = "z",
            .sleep =
                self->outer_code < 0 ? belay_milliseconds(1) : BELAY_FOREVER,
            .code = self->outer_code));
    }
    BELAY_END;
}

Test(group_errors, s63_an_inner_groups_failure_is_one_of_the_outers)
{
    struct belay_result result;

    cr_expect(eq(int, RUN_RESULT(&result, outer_host, .inner_code = BELAY_EIO),
        BELAY_EGROUP));
    cr_expect(eq(str, children_text(&result), (char *)"EGROUP "));
    belay_error_unref(result.error);
    trace_clear();
    cr_expect(
        eq(int, RUN_RESULT(&result, outer_host, .outer_code = BELAY_EPIPE),
            BELAY_EGROUP));
    cr_expect(eq(str, children_text(&result), (char *)"EPIPE "));
    expect_trace("enter z; enter x; enter y; exit z/EPIPE; exit y/cancel; "
                 "exit x/cancel");
    belay_error_unref(result.error);
}

struct head {
    belay_group *group;
    int *count;
};

BELAY_ASYNC_DECLARE(head);

/* Whenever a head is cut off, two grow. */
BELAY_ASYNC(head)
{
    BELAY_BEGIN;
    ++*self->count;
    BELAY_TRY(belay_checkpoint(task));
    if (!belay_result(task)->cancelled) {
        BELAY_CHECK(belay_spawn(
            self->group, head, .group = self->group, .count = self->count));
        BELAY_CHECK(belay_spawn(
            self->group, head, .group = self->group, .count = self->count));
    }
    BELAY_END;
}

struct hydra {
    belay_group *group;
    int count;
};

BELAY_ASYNC(hydra)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(
            self->group, head, .group = self->group, .count = &self->count));
        while (self->count < 50) {
            BELAY_AWAIT(belay_checkpoint(task));
        }
        BELAY_FAIL(BELAY_EIO, "the sword");
    }
    BELAY_END;
}

Test(group_errors, s64_a_respawning_tree_ends_after_a_failure)
{
    cr_expect(eq(int, RUN(hydra, .group = NULL), BELAY_EGROUP));
}

static void
on_child(belay_task *task, const struct belay_result *result, void *arg)
{
    cr_expect(eq(int, result->code, belay_task_result(task)->code));
    trace("%s%s", (const char *)arg, trace_result(result));
}

struct supervised {
    belay_group *group;
};

BELAY_ASYNC(supervised)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task,
        BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE, .on_child = on_child,
            .arg = (void *)(uintptr_t) "child "),
        &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, child, .name = "a",
            .sleep = belay_seconds(1), .code = BELAY_EIO));
        BELAY_CHECK(belay_spawn(
            self->group, child, .name = "b", .sleep = belay_seconds(2)));
    }
    trace("end");
    BELAY_END;
}

Test(group_errors, s70_under_supervision_siblings_go_on)
{
    cr_expect(eq(int, RUN(supervised, .group = NULL), 0));
    expect_trace("enter a; enter b; exit a/EIO; child EIO; exit b; child ok; "
                 "end");
}

struct many_errors {
    int count;
    uint32_t max_errors;
    belay_child_fn *on_child; /* with these arguments as its own … */
    belay_group **ret_group;  /* … and the group here */
    belay_group *group;
    int i;
};

BELAY_ASYNC(many_errors)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task,
        BELAY_GROUP_OPTS(.max_errors = self->max_errors,
            .on_child = self->on_child, .arg = self),
        &self->group)) {
        if (self->ret_group != NULL) {
            *self->ret_group = self->group;
        }
        for (self->i = 0; self->i < self->count; self->i++) {
            BELAY_CHECK(belay_spawn(self->group, child, .name = "x",
                .code = self->i < self->count / 2 ? BELAY_EIO : BELAY_EPIPE));
        }
    }
    BELAY_END;
}

static void
expect_more(const struct belay_result *result, const char *line)
{
    char text[2048];

    (void)belay_result_format(result, text, sizeof(text));
    cr_expect(ne(ptr, strstr(text, line), NULL), "%s", text);
}

Test(group_errors, all_failures_are_counted_the_first_ones_kept)
{
    struct belay_result result;

    cr_expect(
        eq(int, RUN_RESULT(&result, many_errors, .count = 10, .max_errors = 3),
            BELAY_EGROUP));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(eq(str, children_text(&result), (char *)"EIO EIO EIO "));
    cr_expect(eq(sz, belay_error_failures(result.error), 10));
    expect_more(&result, "  - and 7 more: EIO 2, EPIPE 5\n");
    belay_error_unref(result.error);
}

Test(group_errors, s69_room_is_made_for_as_many_as_fail)
{
    struct belay_result result;
    size_t count = 0;

    cr_expect(eq(int,
        RUN_RESULT(&result, many_errors, .count = 200, .max_errors = 70),
        BELAY_EGROUP));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(ne(ptr, belay_error_child(result.error, 69), NULL));
    cr_expect(zero(ptr, belay_error_child(result.error, 70)));
    cr_expect(eq(sz, belay_error_failures(result.error), 200));
    cr_expect(eq(int, belay_error_more(result.error, 0, &count), BELAY_EIO));
    cr_expect(eq(sz, count, 30));
    cr_expect(eq(int, belay_error_more(result.error, 1, &count), BELAY_EPIPE));
    cr_expect(eq(sz, count, 100));
    belay_error_unref(result.error);
}

struct generous {
    struct many_errors errors;
    uint64_t before;
};

BELAY_ASYNC(generous)
{
    BELAY_BEGIN;
    self->before = runtime_stats(task).memory_peak_bytes;
    BELAY_TRY(belay_call(task, &many_errors, &self->errors));
    cr_expect(lt(u64, runtime_stats(task).memory_peak_bytes,
        self->before + (UINT64_C(1) << 20)));
    return belay_pass(task);
    BELAY_END;
}

Test(group_errors, s69_a_limit_that_is_not_reached_costs_no_memory)
{
    cr_expect(
        eq(int, RUN(generous, .errors = {.count = 10, .max_errors = 1 << 24}),
            BELAY_EGROUP));
}

/* Memory is short from the first failure until the last one. */
static void
run_short(belay_task *task, const struct belay_result *result, void *arg)
{
    const struct many_errors *self = arg;
    const size_t left = belay_group_count(*self->ret_group);

    (void)task;
    (void)result;
    if (left == (size_t)self->count) {
        test_alloc_fail_after(0);
    } else if (left == 1) {
        test_alloc_never_fail();
    }
}

Test(group_errors, s69_without_memory_for_an_error_its_code_is_kept)
{
    static belay_group *group;
    struct belay_result result;

    program_unswept = true; /* it refuses memory itself */
    cr_expect(eq(int,
        RUN_RESULT(&result, many_errors, .count = 10, .on_child = run_short,
            .ret_group = &group),
        BELAY_EGROUP));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(eq(str, children_text(&result), (char *)"EPIPE "));
    expect_more(&result, "  - and 9 more: EIO 5, EPIPE 4\n");
    belay_error_unref(result.error);
}

/* No memory for what comes when the last child has ended: the group's own
 * error. */
static void
run_out(belay_task *task, const struct belay_result *result, void *arg)
{
    const struct many_errors *self = arg;

    (void)task;
    (void)result;
    if (belay_group_count(*self->ret_group) == 1) {
        test_alloc_fail_at(0);
    }
}

Test(group_errors, s69_without_memory_for_all_errors_their_codes_are_kept)
{
    static belay_group *group;
    struct belay_result result;

    program_unswept = true; /* it refuses memory itself */
    cr_expect(eq(int,
        RUN_RESULT(&result, many_errors, .count = 3, .on_child = run_out,
            .ret_group = &group),
        BELAY_EGROUP));
    test_alloc_never_fail();
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(eq(str, children_text(&result), (char *)""));
    cr_expect(eq(sz, belay_error_failures(result.error), 3));
    expect_more(&result, "  - of these: EIO 1, EPIPE 2\n");
    belay_error_unref(result.error);
}

Test(group_errors, s46_whatever_fails_no_child_is_left_behind)
{
    SWEEP(outer_host, .inner_code = BELAY_EIO);
    SWEEP(many_errors, .count = 10, .max_errors = 7);
}
