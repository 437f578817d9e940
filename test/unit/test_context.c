/* test_context.c - context variables: contract S116-S123. */
#include "test/support/program.h"

TestSuite(context, .fini = check_clean, .timeout = 30);

static void
gone(void *value)
{
    trace("gone %s", (const char *)value);
}

static const struct belay_var plain = {"plain", NULL};
static const struct belay_var other = {"other", NULL};
static const struct belay_var counted = {"counted", gone};

static void *
text(const char *literal)
{
    return (void *)(uintptr_t)literal;
}

static const char *
value_of(const belay_task *task, const struct belay_var *var)
{
    const char *value = belay_var_get(task, var);

    return value != NULL ? value : "unset";
}

struct reader {
    const char *name;
};

BELAY_ASYNC(reader)
{
    BELAY_BEGIN;
    trace("%s sees %s", self->name, value_of(task, &plain));
    BELAY_CHECK(belay_var_set(task, &plain, text("the child's"), NULL));
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_AWAIT(belay_checkpoint(task));
    trace("%s sees %s", self->name, value_of(task, &plain));
    BELAY_END;
}

struct parent {
    belay_group *group;
};

BELAY_ASYNC(parent)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &plain, text("one"), NULL));
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, reader, .name = "a"));
        BELAY_CHECK(belay_var_set(task, &plain, text("two"), NULL));
        BELAY_CHECK(belay_spawn(self->group, reader, .name = "b"));
        BELAY_AWAIT(belay_checkpoint(task));
        trace("parent sees %s", value_of(task, &plain));
    }
    trace("parent sees %s", value_of(task, &plain));
    BELAY_END;
}

Test(context, s116_s117_a_spawn_takes_a_snapshot_later_sets_stay_apart)
{
    cr_expect(eq(int, RUN(parent, .group = NULL), 0));
    expect_trace("a sees one; b sees two; parent sees two; "
                 "a sees the child's; b sees the child's; parent sees two");
}

struct resets {
    struct belay_var_token first;
    struct belay_var_token second;
};

BELAY_ASYNC(resets)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &plain, text("one"), &self->first));
    BELAY_CHECK(belay_var_set(task, &plain, NULL, &self->second));
    cr_expect_str_eq(value_of(task, &plain), "unset");
    cr_expect(zero(int, belay_var_reset(task, &plain, &self->second)));
    cr_expect_str_eq(value_of(task, &plain), "one");
    cr_expect(zero(int, belay_var_reset(task, &plain, &self->first)));
    cr_expect_str_eq(value_of(task, &plain), "unset");
    cr_expect(
        eq(int, belay_var_reset(task, &plain, &self->first), BELAY_ESTATE));
    BELAY_END;
}

Test(context, s118_reset_restores_exactly_also_unset)
{
    cr_expect(eq(int, RUN(resets, .first = {0}), 0));
}

struct stranger {
    struct belay_var_token *token;
};

BELAY_ASYNC(stranger)
{
    BELAY_BEGIN;
    cr_expect(
        eq(int, belay_var_reset(task, &plain, self->token), BELAY_EOWNER));
    BELAY_END;
}

struct tokens {
    struct belay_var_token token;
    struct belay_var_token later;
    belay_group *group;
};

BELAY_ASYNC(tokens)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &plain, text("one"), &self->token));
    cr_expect(
        eq(int, belay_var_reset(task, &other, &self->token), BELAY_EINVAL));
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, stranger, .token = &self->token));
    }
    BELAY_CHECK(belay_var_set(task, &other, text("two"), &self->later));
    cr_expect(
        eq(int, belay_var_reset(task, &plain, &self->token), BELAY_ESTATE));
    cr_expect_str_eq(value_of(task, &plain), "one");
    cr_expect_str_eq(value_of(task, &other), "two");
    cr_expect(zero(int, belay_var_reset(task, &other, &self->later)));
    cr_expect(zero(int, belay_var_reset(task, &plain, &self->token)));
    BELAY_END;
}

Test(context, s119_a_token_works_once_for_its_variable_in_its_task)
{
    cr_expect(eq(int, RUN(tokens, .group = NULL), 0));
}

struct setting {
    struct belay_var_token token;
};

static belay_next
setting_enter(belay_task *task, void *arg)
{
    struct setting *self = arg;
    int code = belay_var_set(task, &plain, text("set in enter"), &self->token);

    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    return belay_return(task, NULL);
}

static belay_next
setting_exit(belay_task *task, void *arg)
{
    struct setting *self = arg;

    trace("exit sees %s", value_of(task, &plain));
    cr_expect(zero(int, belay_var_reset(task, &plain, &self->token)));
    return belay_return(task, NULL);
}

static const belay_manager setting = {
    {"setting", NULL, sizeof(struct setting), setting_enter, 0}, setting_exit};

struct uses_setting {
    belay_stack *stack;
};

BELAY_ASYNC(uses_setting)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(belay_stack_enter(
            task, self->stack, BELAY_ENTER(setting, .token = {0}), NULL));
        trace("body sees %s", value_of(task, &plain));
    }
    trace("behind sees %s", value_of(task, &plain));
    BELAY_END;
}

Test(context, s120_values_set_in_enter_are_seen_in_body_and_exit)
{
    cr_expect(eq(int, RUN(uses_setting, .stack = NULL), 0));
    expect_trace("body sees set in enter; exit sees set in enter; "
                 "behind sees unset");
}

struct holder {
    belay_duration sleep;
};

BELAY_ASYNC(holder)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, self->sleep));
    trace("holder ends");
    BELAY_END;
}

struct shares {
    belay_group *group;
    struct belay_var_token token;
};

BELAY_ASYNC(shares)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_var_set(task, &counted, text("value"), &self->token));
        BELAY_CHECK(
            belay_spawn(self->group, holder, .sleep = belay_seconds(1)));
        BELAY_CHECK(
            belay_spawn(self->group, holder, .sleep = belay_seconds(2)));
        cr_expect(zero(int, belay_var_reset(task, &counted, &self->token)));
        trace("reset");
    }
    trace("behind");
    BELAY_END;
}

Test(context, s123_a_value_is_destroyed_with_its_last_snapshot)
{
    cr_expect(eq(int, RUN(shares, .group = NULL), 0));
    expect_trace("reset; holder ends; holder ends; gone value; behind");
}

struct lacking {
    struct belay_var_token token;
};

BELAY_ASYNC(lacking)
{
    BELAY_BEGIN;
    test_alloc_fail_after(0);
    cr_expect(eq(int, belay_var_set(task, &counted, text("mine"), &self->token),
        BELAY_ENOMEM));
    test_alloc_never_fail();
    cr_expect(zero(ptr, self->token.binding));
    cr_expect_str_eq(value_of(task, &counted), "unset");
    BELAY_END;
}

Test(context, s136_a_failed_set_has_done_nothing)
{
    cr_expect(eq(int, RUN(lacking, .token = {0}), 0));
    expect_trace("");
}

static void
ended(belay_task *task, const struct belay_result *result, void *arg)
{
    belay_group **group = arg;

    (void)task;
    if (result->code == 0 && *group != NULL) {
        cr_expect(zero(int, belay_spawn(*group, reader, .name = "next")));
        *group = NULL;
    }
}

struct chained {
    belay_group *group;
    belay_group *next;
};

BELAY_ASYNC(chained)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &plain, text("the host's"), NULL));
    BELAY_WITH (belay_group_open(task,
        BELAY_GROUP_OPTS(.on_child = ended, .arg = &self->next),
        &self->group)) {
        self->next = self->group;
        BELAY_CHECK(
            belay_spawn(self->group, holder, .sleep = belay_milliseconds(1)));
    }
    BELAY_END;
}

Test(context, s116_a_spawn_from_a_callback_has_the_hosts_context)
{
    cr_expect(eq(int, RUN(chained, .group = NULL), 0));
    expect_trace("holder ends; next sees the host's; next sees the child's");
}
