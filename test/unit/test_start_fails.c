/* test_start_fails.c - starts that fail, are refused or cancelled: contract
 * S12, S21, S54, S58, S66, S67.
 */
#include "test/support/start_scene.h"

#include <string.h>

TestSuite(start_fails, .fini = check_clean, .timeout = 30);

Test(start_fails, s66_a_failure_before_it_is_ready_is_the_callers)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, starts,
            .service = {.name = "s",
                .before = belay_seconds(1),
                .code = BELAY_EIO}),
        BELAY_EGROUP));
    /* … who is the group's body: its failure is the only one. */
    expect_trace("enter s; exit s/EIO; start EIO");
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(eq(sz, belay_error_failures(result.error), 1));
    cr_expect(eq(
        int, belay_error_code(belay_error_child(result.error, 0)), BELAY_EIO));
    cr_expect_str_eq(
        belay_error_task(belay_error_child(result.error, 0)), "the service");
    belay_error_unref(result.error);
}

Test(start_fails, s66_success_without_being_ready_is_eproto)
{
    struct belay_result result;
    char text[1024];

    cr_expect(eq(int,
        RUN_RESULT(&result, starts, .service = {.name = "s", .never = true}),
        BELAY_EGROUP));
    expect_trace("enter s; exit s; start EPROTO");
    (void)belay_result_format(&result, text, sizeof(text));
    cr_expect(
        strstr(text, "task the service ended before it had started") != NULL,
        "%s", text);
    belay_error_unref(result.error);
}

struct not_started {
    int unused;
};

BELAY_ASYNC(not_started)
{
    BELAY_BEGIN;
    trace("started %s", belay_code_name(belay_started(task, NULL)));
    BELAY_END;
}

Test(start_fails, s66_a_second_started_is_estate)
{
    cr_expect(eq(int,
        RUN(starts,
            .service = {.name = "s", .times = 2, .after = belay_seconds(1)}),
        0));
    expect_trace("enter s; s ready OK; s again ESTATE; start ok; scope left; "
                 "exit s; end");
    trace_clear();
    cr_expect(eq(int, RUN(not_started, 0), 0));
    expect_trace("started ESTATE");
}

Test(start_fails, s67_a_cancelled_start_waits_for_the_childs_end)
{
    cr_expect(eq(int,
        RUN(starts, .timeout = belay_seconds(1),
            .service = {.name = "s", .before = BELAY_FOREVER}),
        0));
    expect_trace("enter s; s cancel; exit s/cancel; start cancel; scope left; "
                 "end");
}

Test(start_fails, s67_cancelled_first_started_does_nothing)
{
    cr_expect(eq(int,
        RUN(starts, .timeout = belay_seconds(1),
            .service = {.name = "s",
                .before = BELAY_FOREVER,
                .times = 2,
                .on_cancel_too = true,
                .after = belay_seconds(9)}),
        0));
    expect_trace("enter s; s cancel; s ready OK; s again ESTATE; "
                 "s sees the deadline passed; exit s/cancel; start cancel; "
                 "scope left; end");
    /* Even if it ends well then: nothing was handed over. */
    trace_clear();
    cr_expect(eq(int,
        RUN(starts, .timeout = belay_seconds(1),
            .service = {.name = "s",
                .before = BELAY_FOREVER,
                .never = true,
                .on_cancel_too = true}),
        0));
    expect_trace("enter s; s cancel; s sees the deadline passed; "
                 "exit s/cancel; start cancel; scope left; end");
}

Test(start_fails, s54_s67_an_error_of_the_child_beats_the_cancel)
{
    cr_expect(eq(int,
        RUN(starts, .timeout = belay_seconds(1),
            .service = {.name = "s",
                .before = BELAY_FOREVER,
                .on_cancel_too = true,
                .code = BELAY_EIO}),
        BELAY_EGROUP));
    expect_trace("enter s; s cancel; exit s/EIO; start EIO");
}

struct alone {
    belay_group *group;
    belay_task *target;
};

struct victim {
    belay_task **ret;
};

BELAY_ASYNC(victim)
{
    BELAY_BEGIN;
    *self->ret = task;
    (void)belay_task_cancel(task, "itself");
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_END;
}

BELAY_ASYNC(alone)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_TRY(
            belay_start(task, self->group, NULL, victim, .ret = &self->target));
        trace("start %s", trace_result(belay_result(task)));
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

Test(start_fails, s21_s66_a_child_cancelled_alone_is_an_error_no_cancel)
{
    cr_expect(eq(int, RUN(alone, .group = NULL), 0));
    expect_trace("start ECANCELED");
}

struct shielded {
    belay_group *host;
    belay_cancel_scope *outer;
    belay_cancel_scope *inner;
};

struct raiser {
    struct shielded *of;
};

/* Cancels the starter; the child is at its end when the shield comes. */
BELAY_ASYNC(raiser)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
    if (self->of->inner != NULL) { /* else a sweep has ended it */
        belay_cancel_scope_cancel(self->of->outer, "the outer");
        BELAY_AWAIT(belay_checkpoint(task));
    }
    if (self->of->inner != NULL) {
        belay_cancel_scope_set_shield(self->of->inner, true);
        trace("shield");
    }
    BELAY_END;
}

BELAY_ASYNC(shielded)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->host)) {
        BELAY_CHECK(belay_spawn(self->host, raiser, .of = self));
        BELAY_WITH (keeping(task, NULL, &self->outer)) {
            BELAY_WITH (keeping(task, NULL, &self->inner)) {
                BELAY_TRY(belay_start(task, self->host, NULL, service,
                    .name = "s", .before = BELAY_FOREVER));
                trace("start %s", trace_result(belay_result(task)));
                return belay_pass(task);
            }
        }
        trace("behind");
    }
    BELAY_END;
}

/* The child was not cancelled alone, whatever the starter can see by then. */
Test(start_fails, s26_s67_a_shield_that_comes_late_does_not_hide_the_cancel)
{
    cr_expect(zero(int, RUN(shielded, .host = NULL)));
    expect_trace(
        "enter s; s cancel; exit s/cancel; shield; start cancel; behind");
}

struct late {
    belay_task *target;
    belay_group *group;
    bool odd; /* its options are refused by themselves */
    bool cancelled;
    belay_cancel_scope *scope;
    void *value;
};

BELAY_ASYNC(late)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        BELAY_AWAIT(belay_task_join(task, self->target));
        if (self->cancelled) {
            belay_cancel_scope_cancel(self->scope, NULL);
        }
        BELAY_TRY(belay_group_start(task, self->group, &not_started,
            &(const struct not_started){0},
            self->odd ? &(const struct belay_spawn_opts){.size = 1} : NULL,
            &self->value));
        trace("late %s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

/* `late` wakes when the group has ended, before its host goes on. */
struct last_child {
    bool odd;
    bool cancelled; /* `late`'s scope */
    belay_group *host;
    belay_group *group;
    belay_task *child;
};

BELAY_ASYNC(last_child)
{
    BELAY_BEGIN;
    BELAY_WITH (dropping(task, &self->child)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->host)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                BELAY_CHECK(belay_group_spawn(self->group, &service,
                    &(const struct service){
                        .name = "s", .never = true, .after = belay_seconds(1)},
                    BELAY_SPAWN_OPTS(.task = &self->child)));
                BELAY_CHECK(belay_spawn(self->host, late, .target = self->child,
                    .group = self->group, .odd = self->odd,
                    .cancelled = self->cancelled));
            }
        }
    }
    BELAY_END;
}

Test(start_fails, s58_starting_in_a_finished_group_is_refused)
{
    cr_expect(eq(int, RUN(last_child, .odd = false), 0));
    cr_expect(eq(int, RUN(last_child, .odd = true), 0));
    expect_trace("enter s; exit s; late ESTATE; enter s; exit s; late EINVAL");
}

Test(start_fails, s1_s13_a_start_that_is_refused_is_a_checkpoint_too)
{
    cr_expect(zero(int, RUN(last_child, .odd = false, .cancelled = true)));
    cr_expect(zero(int, RUN(last_child, .odd = true, .cancelled = true)));
    expect_trace("enter s; exit s; late cancel; enter s; exit s; late cancel");
}

struct short_start {
    belay_group *group;
    belay_cancel_scope *scope;
};

BELAY_ASYNC(short_start)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
            belay_cancel_scope_cancel(self->scope, NULL);
            do {
                BELAY_TRY(
                    belay_start(task, self->group, NULL, service, .name = "s"));
            } while (belay_result(task)->code == BELAY_ENOMEM);
            trace("start %s", trace_result(belay_result(task)));
        }
    }
    BELAY_END;
}

/* A loop that tries again must see its cancel. */
Test(start_fails, s1_s13_so_is_one_without_memory)
{
    program_unswept = true; /* this is a sweep of its own */
    for (size_t k = 0; k < 40; k++) {
        trace_clear();
        test_alloc_fail_after(k);
        if (RUN(short_start, .group = NULL) == 0) {
            expect_trace("start cancel");
        }
    }
    test_alloc_never_fail();
}

struct in_cancelled {
    belay_group *group;
    belay_cancel_scope *scope;
};

BELAY_ASYNC(in_cancelled)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
            belay_cancel_scope_cancel(self->scope, NULL);
            BELAY_TRY(
                belay_start(task, self->group, NULL, service, .name = "s"));
            trace("start %s", trace_result(belay_result(task)));
            cr_expect(zero(sz, belay_group_count(self->group)));
        }
    }
    BELAY_END;
}

Test(start_fails, s12_in_a_cancelled_scope_nothing_is_started)
{
    cr_expect(eq(int, RUN(in_cancelled, .group = NULL), 0));
    expect_trace("start cancel");
}
