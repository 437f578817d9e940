/* test_context.c - context variables: contract S116-S123. */
#include "runtime/internal.h"
#include "test/support/program.h"
#include "test/support/values.h"

TestSuite(context, .fini = check_clean, .timeout = 30);

static void
gone(void *value)
{
    trace("gone %s", (const char *)value);
}

static const struct belay_var plain = {"plain", NULL};
static const struct belay_var other = {"other", NULL};
static const struct belay_var counted = {"counted", gone};

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

struct used_token {
    struct belay_var_token token;
    struct belay_var_token next;
};

/* The next value may get the very memory of the one that is gone: the used
 * token must not pass for that one's.
 */
BELAY_ASYNC(used_token)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &plain, text("one"), &self->token));
    cr_expect(zero(int, belay_var_reset(task, &plain, &self->token)));
    BELAY_CHECK(belay_var_set(task, &plain, text("two"), &self->next));
    cr_expect(
        eq(int, belay_var_reset(task, &plain, &self->token), BELAY_ESTATE));
    cr_expect_str_eq(value_of(task, &plain), "two");
    cr_expect(zero(int, belay_var_reset(task, &plain, &self->next)));
    BELAY_END;
}

Test(context, s119_a_used_token_resets_nothing_that_was_set_later)
{
    cr_expect(eq(int, RUN(used_token, .token = {0}), 0));
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

/* What is cancelled when the value goes. */
static belay_task *holding;

static void
cancel_holder(void *value)
{
    (void)value;
    cr_expect(zero(int, belay_task_cancel(holding, "too late")));
    trace("gone");
}

struct ending {
    bool unused;
};

BELAY_ASYNC(ending)
{
    static const struct belay_var var = {"cancels", cancel_holder};

    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &var, text("value"), NULL));
    BELAY_END;
}

struct holds_handle {
    belay_group *group;
};

static void
drop_holding(void *arg)
{
    (void)arg;
    belay_task_unref(holding);
    holding = NULL;
}

BELAY_ASYNC(holds_handle)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, drop_holding, NULL)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_group_spawn(self->group, &ending,
                &(const struct ending){false},
                BELAY_SPAWN_OPTS(.task = &holding)));
        }
        cr_expect(zero(u32, task->runtime->deadlines.count));
        trace("behind");
    }
    BELAY_END;
}

Test(context, s123_a_value_may_cancel_the_task_that_it_ends_with)
{
    cr_expect(eq(int, RUN(holds_handle, .group = NULL), 0));
    expect_trace("gone; behind");
}

/* Where the value's last act is. */
static belay_group *lasting;

struct heir {
    bool unused;
};

static const struct belay_var spawning;

BELAY_ASYNC(heir)
{
    BELAY_BEGIN;
    trace("heir sees %s", value_of(task, &spawning));
    BELAY_END;
}

static void
spawn_heir(void *value)
{
    (void)value;
    cr_expect(zero(int, belay_spawn(lasting, heir, .unused = false)));
}

static const struct belay_var spawning = {"spawns", spawn_heir};

struct testator {
    bool unused;
};

BELAY_ASYNC(testator)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &spawning, text("value"), NULL));
    BELAY_END;
}

struct inherits {
    bool unused;
};

BELAY_ASYNC(inherits)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &lasting)) {
        BELAY_CHECK(belay_spawn(lasting, testator, .unused = false));
    }
    BELAY_END;
}

Test(context, s123_a_value_may_spawn_as_it_goes)
{
    cr_expect(eq(int, RUN(inherits, .unused = false), 0));
    expect_trace("heir sees unset");
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
    cr_expect(zero(u64, self->token.serial));
    cr_expect_str_eq(value_of(task, &counted), "unset");
    BELAY_END;
}

Test(context, s136_a_failed_set_has_done_nothing)
{
    cr_expect(eq(int, RUN(lacking, .token = {0}), 0));
    expect_trace("");
}

struct between {
    belay_group *group;
};

BELAY_ASYNC(between)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &plain, text("its spawner's"), NULL));
    BELAY_CHECK(belay_spawn(self->group, reader, .name = "a"));
    BELAY_END;
}

struct hosts {
    belay_group *group;
};

/* The group's host and the group's first child have values of their own. */
BELAY_ASYNC(hosts)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &plain, text("the host's"), NULL));
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, between, .group = self->group));
    }
    trace("host sees %s", value_of(task, &plain));
    BELAY_END;
}

Test(context, s116_the_snapshot_is_of_the_spawner_not_of_the_groups_host)
{
    cr_expect(eq(int, RUN(hosts, .group = NULL), 0));
    expect_trace("a sees its spawner's; a sees the child's; "
                 "host sees the host's");
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

/* ---- a context given explicitly ---- */

struct captures {
    belay_group *group;
    belay_context *context;
    struct belay_var_token token;
};

static void
free_captured(void *arg)
{
    struct captures *self = arg;

    belay_context_free(self->context);
    belay_context_free(NULL);
}

struct started_reader {
    const char *name;
};

BELAY_ASYNC(started_reader)
{
    BELAY_BEGIN;
    trace("%s sees %s", self->name, value_of(task, &plain));
    BELAY_CHECK(belay_started(task, NULL));
    BELAY_END;
}

BELAY_ASYNC(captures)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, free_captured, self)) {
        BELAY_CHECK(
            belay_var_set(task, &plain, text("the old one"), &self->token));
        BELAY_CHECK(belay_context_capture(task, &self->context));
        BELAY_CHECK(belay_var_reset(task, &plain, &self->token));
        BELAY_CHECK(belay_var_set(task, &plain, text("the new one"), NULL));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_group_spawn(self->group, &reader,
                &(const struct reader){.name = "a"},
                BELAY_SPAWN_OPTS(.context = self->context)));
            BELAY_CHECK(belay_spawn(self->group, reader, .name = "b"));
            BELAY_AWAIT(belay_group_start(task, self->group, &started_reader,
                &(const struct started_reader){.name = "c"},
                BELAY_SPAWN_OPTS(.context = self->context), NULL));
        }
        /* What a task with it has set, the next one does not see. */
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_group_spawn(self->group, &reader,
                &(const struct reader){.name = "d"},
                BELAY_SPAWN_OPTS(.context = self->context)));
        }
        trace("body has %s", value_of(task, &plain));
    }
    BELAY_END;
}

Test(context, s121_a_context_may_be_given_at_spawn)
{
    cr_expect(eq(int, RUN(captures, .group = NULL), 0));
    expect_trace("a sees the old one; b sees the new one; "
                 "c sees the old one; a sees the child's; b sees the child's; "
                 "d sees the old one; d sees the child's; "
                 "body has the new one");
}

struct passes_on {
    belay_context **ret;
};

BELAY_ASYNC(passes_on)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_var_set(task, &counted, text("value"), NULL));
    BELAY_CHECK(belay_context_capture(task, self->ret));
    BELAY_END;
}

struct outlives {
    belay_group *group;
    belay_context *context;
};

BELAY_ASYNC(outlives)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, passes_on, .ret = &self->context));
    }
    trace("free");
    belay_context_free(self->context);
    BELAY_END;
}

Test(context, s121_s123_a_snapshot_keeps_its_values)
{
    cr_expect(eq(int, RUN(outlives, .group = NULL), 0));
    expect_trace("free; gone value");
}

Test(context, s121_s136_whatever_happens_no_value_is_left)
{
    SWEEP(captures, .group = NULL);
}
