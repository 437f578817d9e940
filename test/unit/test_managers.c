/* test_managers.c - the ready-made managers: contract S81-S84, S107, S118. */
#include "test/support/program.h"

#include "runtime/internal.h"

#include <string.h>

TestSuite(managers, .fini = check_clean, .timeout = 30);

/* How the body of a block ends. */
enum way {
    WELL,
    BY_RETURN,
    BY_ERROR,
    BY_CANCEL, /* of the scope round the block */
};

#define END_AS(way)                                       \
    do {                                                  \
        if ((way) == BY_RETURN) {                         \
            BELAY_RETURN(NULL);                           \
        }                                                 \
        if ((way) == BY_ERROR) {                          \
            BELAY_FAIL(BELAY_EIO, "body");                \
        }                                                 \
        if ((way) == BY_CANCEL) {                         \
            (void)belay_task_cancel(task, "by the test"); \
            BELAY_AWAIT(belay_checkpoint(task));          \
        }                                                 \
    } while (0)

static const char *const way_results[] = {"ok", "ok", "EIO", "cancel"};

/* ---- null ---- */

struct nothing {
    enum way way;
    int object;
};

BELAY_ASYNC(nothing)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_null(task, &self->object)) {
        cr_expect(eq(ptr, belay_result(task)->value, &self->object));
        END_AS(self->way);
    }
    trace("behind");
    BELAY_END;
}

Test(managers, s107_null_does_nothing)
{
    struct belay_result result;

    for (enum way way = WELL; way <= BY_CANCEL; way++) {
        (void)RUN_RESULT(&result, nothing, .way = way);
        cr_expect_str_eq(trace_result(&result), way_results[way]);
        belay_error_unref(result.error);
    }
    expect_trace("behind");
}

/* ---- closing and defer ---- */

struct connection {
    const char *name;
    belay_duration close_takes;
    int close_code;
};

static void
connection_close(void *object)
{
    trace("close %s", ((const struct connection *)object)->name);
}

struct slow_close {
    struct connection *connection;
};

BELAY_ASYNC(slow_close)
{
    BELAY_BEGIN;
    trace("closing %s", self->connection->name);
    BELAY_TRY(belay_sleep(task, self->connection->close_takes));
    trace("closed %s: %s", self->connection->name,
        trace_result(belay_result(task)));
    if (self->connection->close_code < 0) {
        BELAY_FAIL(self->connection->close_code, "close");
    }
    BELAY_END;
}

static belay_next
connection_close_async(belay_task *task, void *object)
{
    return BELAY_CALL(slow_close, .connection = object);
}

static belay_next
close_at_once(belay_task *task, void *object)
{
    trace("close %s", ((const struct connection *)object)->name);
    return belay_return(task, NULL);
}

struct closes {
    enum way way;
    struct connection a;
    struct connection b;
    struct connection c;
};

BELAY_ASYNC(closes)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_closing(task, connection_close, &self->a)) {
        cr_expect(eq(ptr, belay_result(task)->value, &self->a));
        BELAY_WITH (
            belay_closing_async(task, connection_close_async, &self->b)) {
            cr_expect(eq(ptr, belay_result(task)->value, &self->b));
            BELAY_WITH (belay_closing_async(task, close_at_once, &self->c)) {
                trace("body");
                END_AS(self->way);
            }
        }
    }
    BELAY_END;
}

Test(managers, s107_closing_closes_however_the_block_ends)
{
    struct belay_result result;

    for (enum way way = WELL; way <= BY_CANCEL; way++) {
        trace_clear();
        (void)RUN_RESULT(&result, closes, .way = way, .a = {.name = "a"},
            .b = {.name = "b", .close_takes = belay_seconds(1)},
            .c = {.name = "c"});
        cr_expect_str_eq(trace_result(&result), way_results[way]);
        /* S99: a cancel does not cut the close short. */
        expect_trace("body; close c; closing b; closed b: ok; close a");
        belay_error_unref(result.error);
    }
}

/* A close that is two steps is not the manager's: what it says to go on with
 * would be given the manager's frame.
 */
static belay_next
close_twice(belay_task *task, void *arg)
{
    (void)arg;
    trace("not reached");
    return belay_pass(task);
}

static belay_next
close_in_steps(belay_task *task, void *arg)
{
    trace("close %s", ((const struct connection *)arg)->name);
    return belay_then(task, close_twice, belay_sleep(task, belay_seconds(1)));
}

struct closes_in_steps {
    struct connection a;
};

BELAY_ASYNC(closes_in_steps)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_closing_async(task, close_in_steps, &self->a)) {
        trace("body");
    }
    trace("behind");
    BELAY_END;
}

Test(managers, s107_a_close_is_one_operation)
{
    cr_expect(
        zero(int, RUN(closes_in_steps, .a = (struct connection){.name = "a"})));
    expect_trace("body; close a; behind");
}

Test(managers, s101_s107_a_close_is_cut_off_when_the_grace_is_over)
{
    cr_expect(eq(int,
        RUN(closes, .way = BY_CANCEL, .a = {.name = "a"},
            .b = {.name = "b", .close_takes = belay_seconds(60)},
            .c = {.name = "c"}),
        BELAY_ECANCELED));
    expect_trace("body; close c; closing b; closed b: cancel; close a");
}

Test(managers, s77_s107_a_failing_close_is_the_blocks_failure)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, closes, .way = BY_ERROR, .a = {.name = "a"},
            .b = {.name = "b", .close_code = BELAY_EPIPE}, .c = {.name = "c"}),
        BELAY_EPIPE));
    cr_assert(ne(ptr, result.error, NULL));
    cr_assert(ne(ptr, belay_error_context(result.error), NULL));
    cr_expect(eq(
        int, belay_error_code(belay_error_context(result.error)), BELAY_EIO));
    belay_error_unref(result.error);
}

static void
say(void *arg)
{
    trace("%s", (const char *)arg);
}

struct defers {
    enum way way;
    char first[8];
    char second[8];
};

BELAY_ASYNC(defers)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, say, self->first)) {
        cr_expect(zero(ptr, belay_result(task)->value));
        BELAY_WITH (belay_defer(task, say, self->second)) {
            trace("body");
            END_AS(self->way);
        }
    }
    BELAY_END;
}

Test(managers, s73_s82_deferred_calls_run_last_in_first_out)
{
    struct belay_result result;

    for (enum way way = WELL; way <= BY_CANCEL; way++) {
        trace_clear();
        (void)RUN_RESULT(
            &result, defers, .way = way, .first = "one", .second = "two");
        cr_expect_str_eq(trace_result(&result), way_results[way]);
        expect_trace("body; two; one");
        belay_error_unref(result.error);
    }
}

/* ---- stopwatch, setting, variable ---- */

struct watches {
    enum way way;
    belay_duration *ret;
};

BELAY_ASYNC(watches)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stopwatch(task, self->ret)) {
        BELAY_AWAIT(belay_sleep(task, belay_seconds(3)));
        cr_expect(eq(i64, self->ret->ns, -1));
        END_AS(self->way);
    }
    BELAY_END;
}

Test(managers, s45_a_stopwatch_tells_however_the_block_ends)
{
    belay_duration span;

    for (enum way way = WELL; way <= BY_CANCEL; way++) {
        span.ns = -1;
        (void)RUN(watches, .way = way, .ret = &span);
        cr_expect(eq(i64, span.ns, belay_seconds(3).ns));
    }
}

struct sets {
    enum way way;
    int *cell;
};

BELAY_ASYNC(sets)
{
    BELAY_BEGIN;
    BELAY_WITH (
        belay_setting(task, self->cell, &(const int){2}, sizeof(*self->cell))) {
        cr_expect(eq(ptr, belay_result(task)->value, self->cell));
        BELAY_AWAIT(belay_checkpoint(task));
        cr_expect(eq(int, *self->cell, 2));
        BELAY_WITH (belay_setting(
            task, self->cell, &(const int){3}, sizeof(*self->cell))) {
            cr_expect(eq(int, *self->cell, 3));
            *self->cell = 4;
            END_AS(self->way);
        }
        cr_expect(eq(int, *self->cell, 2));
    }
    BELAY_END;
}

Test(managers, a_setting_is_put_back_also_on_cancel)
{
    struct belay_result result;
    int cell = 1;

    for (enum way way = WELL; way <= BY_CANCEL; way++) {
        (void)RUN_RESULT(&result, sets, .way = way, .cell = &cell);
        cr_expect_str_eq(trace_result(&result), way_results[way]);
        cr_expect(eq(int, cell, 1));
        belay_error_unref(result.error);
    }
}

struct sets_much {
    char cell[BELAY_SETTING_MAX_BYTES + 1];
    char value[BELAY_SETTING_MAX_BYTES + 1];
};

BELAY_ASYNC(sets_much)
{
    BELAY_BEGIN;
    BELAY_WITH (
        belay_setting(task, self->cell, self->value, BELAY_SETTING_MAX_BYTES)) {
        cr_expect(zero(
            int, memcmp(self->cell, self->value, BELAY_SETTING_MAX_BYTES)));
    }
    cr_expect(eq(chr, self->cell[0], 'a'));
    BELAY_WITH (belay_setting(
        task, self->cell, self->value, BELAY_SETTING_MAX_BYTES + 1)) {
        trace("not reached");
    }
    BELAY_END;
}

Test(managers, a_setting_has_a_largest_size)
{
    struct sets_much much;

    memset(much.cell, 'a', sizeof(much.cell));
    memset(much.value, 'b', sizeof(much.value));
    cr_expect(eq(int,
        program_run(
            &(const struct program){.function = &sets_much, .arguments = &much},
            NULL),
        BELAY_EINVAL));
    expect_trace("");
}

static void
var_destroyed(void *value)
{
    trace("destroy %s", (const char *)value);
}

static const struct belay_var colour = {"colour", var_destroyed};
static const struct belay_var other = {"other", NULL};

static char red[] = "red"; /* they may live as long as the task's context */
static char blue[] = "blue";

static char *
colour_of(const belay_task *task)
{
    char *value = belay_var_get(task, &colour);

    return value != NULL ? value : (char *)"unset";
}

struct looks {
    int unused;
};

BELAY_ASYNC(looks)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
    trace("child %s", colour_of(task));
    BELAY_END;
}

struct variables {
    enum way way;
    bool leave_set;
    char *red;
    char *blue;
    belay_group *group;
};

BELAY_ASYNC(variables)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_var_open(task, &colour, self->red)) {
            cr_expect(eq(ptr, belay_result(task)->value, self->red));
            BELAY_CHECK(belay_spawn(self->group, looks, 0));
            BELAY_WITH (belay_var_open(task, &colour, self->blue)) {
                trace("%s", colour_of(task));
                if (self->leave_set) {
                    BELAY_CHECK(belay_var_set(task, &other, self, NULL));
                }
                BELAY_AWAIT(belay_checkpoint(task));
                END_AS(self->way);
            }
            trace("%s", colour_of(task));
        }
        trace("%s", colour_of(task));
    }
    BELAY_END;
}

Test(managers, s118_s120_a_variable_is_put_back_exactly)
{
    cr_expect(eq(int, RUN(variables, .red = red, .blue = blue), 0));
    expect_trace("blue; destroy blue; red; unset; child red; destroy red");
    trace_clear();
    cr_expect(
        eq(int, RUN(variables, .red = red, .blue = blue, .way = BY_CANCEL),
            BELAY_ECANCELED));
    expect_trace("blue; destroy blue; destroy red");
}

Test(managers, s119_a_set_that_was_not_reset_is_found)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(
            &result, variables, .red = red, .blue = blue, .leave_set = true),
        BELAY_EGROUP));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(eq(int, belay_error_code(belay_error_child(result.error, 0)),
        BELAY_ESTATE));
    belay_error_unref(result.error);
}

/* ---- all of them on one stack, disturbed in every way ---- */

struct everything {
    belay_stack *stack;
    int cell;
    belay_duration span;
    struct connection a;
    struct connection b;
    char *red;
};

BELAY_ASYNC(everything)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_stack_open(task, &self->stack)) {
        BELAY_AWAIT(
            belay_stack_enter(task, self->stack, belay_null(task, NULL), NULL));
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            belay_closing(task, connection_close, &self->a), NULL));
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            belay_closing_async(task, connection_close_async, &self->b), NULL));
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            belay_suppressing(task, BELAY_CODES(BELAY_EIO)), NULL));
        BELAY_AWAIT(belay_stack_enter(
            task, self->stack, belay_stopwatch(task, &self->span), NULL));
        BELAY_AWAIT(belay_stack_enter(task, self->stack,
            belay_setting(task, &self->cell, &(const int){7}, sizeof(int)),
            NULL));
        BELAY_AWAIT(belay_stack_enter(
            task, self->stack, belay_var_open(task, &colour, self->red), NULL));
        BELAY_AWAIT(belay_stack_enter(
            task, self->stack, belay_defer(task, say, self->red), NULL));
        BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
        BELAY_FAIL(BELAY_EIO, "body");
    }
    cr_expect(zero(int, self->cell));
    trace("end");
    BELAY_END;
}

Test(managers, s107_all_of_them_go_on_a_stack)
{
    cr_expect(eq(int,
        RUN(everything, .a = {.name = "a"}, .b = {.name = "b"}, .red = red),
        0));
    expect_trace("red; destroy red; closing b; closed b: ok; close a; end");
}

Test(managers, s136_whatever_happens_all_is_put_back)
{
    int cell = 1;

    SWEEP(everything, .a = {.name = "a"}, .b = {.name = "b"}, .red = red);
    SWEEP(variables, .red = red, .blue = blue);
    SWEEP(sets, .cell = &cell);
    cr_expect(eq(int, cell, 1));
}
