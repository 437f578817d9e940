/* test_timeout.c - timeouts and deadlines of scopes: contract S30-S45. */
#include "test/support/program.h"

#include "runtime/internal.h"

TestSuite(timeout, .fini = check_clean, .timeout = 30);

struct timed {
    belay_duration span;
    belay_duration work;
    int code;    /* after the work, instead of its result */
    bool ignore; /* the work's result */
    bool move_on;
    struct belay_cancel_status status;
    int64_t from_ns;
};

BELAY_ASYNC(timed)
{
    BELAY_BEGIN;
    self->from_ns = belay_now(task).ns;
    BELAY_WITH (self->move_on ? belay_move_on(task, self->span, &self->status)
                              : belay_timeout(task, self->span)) {
        trace("body");
        BELAY_TRY(belay_sleep(task, self->work));
        trace("%s after %lld ms", trace_result(belay_result(task)),
            elapsed_ms(task, self->from_ns));
        if (self->code < 0) {
            BELAY_FAIL(self->code, "body");
        }
        if (belay_result(task)->code < 0 && !self->ignore) {
            return belay_pass(task);
        }
    }
    trace("behind, caught %d expired %d", self->status.caught,
        self->status.expired);
    BELAY_END;
}

Test(timeout, s30_a_deadline_that_ends_the_body_is_etimedout)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(
            &result, timed, .span = belay_seconds(2), .work = belay_seconds(5)),
        BELAY_ETIMEDOUT));
    expect_trace("body; cancel after 2000 ms");
    cr_expect(not(result.cancelled));
    cr_assert(ne(ptr, result.error, NULL));
    cr_assert(ne(ptr, belay_error_cause(result.error), NULL));
    cr_expect(eq(int, belay_error_code(belay_error_cause(result.error)),
        BELAY_ECANCELED));
    belay_error_unref(result.error);
}

Test(timeout, s31_move_on_never_fails_and_reports_caught)
{
    cr_expect(eq(int,
        RUN(timed, .span = belay_seconds(2), .work = belay_seconds(5),
            .move_on = true),
        0));
    expect_trace("body; cancel after 2000 ms; behind, caught 1 expired 1");
    trace_clear();
    cr_expect(eq(int,
        RUN(timed, .span = belay_seconds(5), .work = belay_seconds(2),
            .move_on = true),
        0));
    expect_trace("body; ok after 2000 ms; behind, caught 0 expired 0");
}

Test(timeout, s32_a_body_that_succeeds_late_has_succeeded)
{
    cr_expect(eq(int,
        RUN(timed, .span = belay_seconds(2), .work = belay_seconds(5),
            .ignore = true),
        0));
    expect_trace("body; cancel after 2000 ms; behind, caught 0 expired 0");
    trace_clear();
    cr_expect(eq(int,
        RUN(timed, .span = belay_seconds(2), .work = belay_seconds(5),
            .ignore = true, .move_on = true),
        0));
    expect_trace("body; cancel after 2000 ms; behind, caught 0 expired 1");
}

Test(timeout, s33_a_body_error_passes_with_the_timeout_in_its_context)
{
    struct belay_result result;

    cr_expect(eq(int,
        RUN_RESULT(&result, timed, .span = belay_seconds(2),
            .work = belay_seconds(5), .code = BELAY_EIO),
        BELAY_EIO));
    cr_assert(ne(ptr, result.error, NULL));
    cr_assert(ne(ptr, belay_error_context(result.error), NULL));
    cr_expect(eq(int, belay_error_code(belay_error_context(result.error)),
        BELAY_ETIMEDOUT));
    belay_error_unref(result.error);
    cr_expect(eq(int,
        RUN_RESULT(&result, timed, .span = belay_seconds(5),
            .work = belay_seconds(2), .code = BELAY_EIO),
        BELAY_EIO));
    cr_expect(zero(ptr, belay_error_context(result.error)));
    belay_error_unref(result.error);
}

struct foreign {
    belay_cancel_scope *scope;
    struct belay_cancel_status status;
};

/* Cancelled by hand after a second, due after two, looked at again when its
 * grace is over after six, seen after ten: it is still "cancelled".
 */
BELAY_ASYNC(foreign)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.timeout = belay_seconds(2),
            .fail_on_timeout = true, .status = &self->status),
        &self->scope)) {
        BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
        belay_cancel_scope_cancel(self->scope, NULL);
        BELAY_WITH (belay_shield(task, BELAY_FOREVER)) {
            BELAY_AWAIT(belay_sleep(task, belay_seconds(9)));
        }
        BELAY_AWAIT(belay_checkpoint(task));
    }
    trace("caught %d expired %d", self->status.caught, self->status.expired);
    BELAY_END;
}

Test(timeout, s34_cancelled_first_and_due_later_is_cancelled)
{
    cr_expect(eq(int, RUN(foreign, .scope = NULL), 0));
    expect_trace("caught 1 expired 0");
}

struct both {
    struct belay_cancel_status outer;
    struct belay_cancel_status inner;
    belay_duration outer_span;
    belay_duration inner_span;
    int64_t from_ns;
};

BELAY_ASYNC(both)
{
    BELAY_BEGIN;
    self->from_ns = belay_now(task).ns;
    BELAY_WITH (belay_move_on(task, self->outer_span, &self->outer)) {
        BELAY_WITH (belay_move_on(task, self->inner_span, &self->inner)) {
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
        trace("between after %lld ms", elapsed_ms(task, self->from_ns));
        BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
    }
    trace("inner %d%d outer %d%d after %lld ms", self->inner.caught,
        self->inner.expired, self->outer.caught, self->outer.expired,
        elapsed_ms(task, self->from_ns));
    BELAY_END;
}

Test(timeout, s35_both_due_in_one_tick_the_outer_reports)
{
    cr_expect(eq(int,
        RUN(both, .outer_span = belay_seconds(1),
            .inner_span = belay_seconds(1)),
        0));
    expect_trace("inner 01 outer 11 after 1000 ms");
}

Test(timeout, s36_after_an_inner_timeout_the_outer_still_fires)
{
    cr_expect(eq(int,
        RUN(both, .outer_span = belay_seconds(2),
            .inner_span = belay_seconds(1)),
        0));
    expect_trace("between after 1000 ms; inner 11 outer 11 after 2000 ms");
}

struct sleeper {
    bool *awake;
};

BELAY_ASYNC(sleeper)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1500)));
    *self->awake = true;
    BELAY_END;
}

struct overslept {
    belay_group *group;
    struct belay_cancel_status outer;
    bool awake;
    int late; /* checkpoints since the loop has seen what is due */
    int i;
};

/* A second is over before the loop can look; then it is kept busy. */
BELAY_ASYNC(overslept)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, sleeper, .awake = &self->awake));
        BELAY_WITH (belay_move_on(task, belay_seconds(2), &self->outer)) {
            BELAY_WITH (belay_move_on(task, belay_seconds(1), NULL)) {
                BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
            }
            belay_clock_advance(
                belay_task_runtime(task)->clock, belay_seconds(1));
            for (self->i = 0; self->i < 1000; self->i++) {
                BELAY_AWAIT(belay_checkpoint(task));
                self->late += self->awake ? 1 : 0;
            }
        }
        trace("outer %d, %d late", self->outer.caught, self->late);
    }
    BELAY_END;
}

Test(timeout, s36_on_a_busy_loop_the_outer_fires_with_what_is_due)
{
    cr_expect(zero(int, RUN(overslept, .group = NULL)));
    expect_trace("outer 1, 0 late");
}

Test(timeout, s37_a_past_deadline_lets_the_body_start)
{
    cr_expect(
        eq(int, RUN(timed, .span = belay_seconds(0), .work = belay_seconds(0)),
            BELAY_ETIMEDOUT));
    expect_trace("body; cancel after 0 ms");
    trace_clear();
    cr_expect(eq(int,
        RUN(timed, .span = belay_seconds(-5), .work = belay_seconds(9),
            .move_on = true),
        0));
    expect_trace("body; cancel after 0 ms; behind, caught 1 expired 1");
}

struct deadlines {
    belay_cancel_scope *scope;
    belay_time due;
    uint64_t bytes;
    int i;
};

static size_t
armed(const belay_task *task)
{
    return belay_task_runtime(task)->deadlines.count;
}

BELAY_ASYNC(deadlines)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, BELAY_FOREVER)) {
        cr_expect(zero(sz, armed(task)));
        cr_expect(eq(i64, belay_effective_deadline(task).ns, INT64_MAX));
    }
    BELAY_WITH (belay_timeout(task, belay_seconds(1))) {
        cr_expect(eq(sz, armed(task), 1));
    }
    cr_expect(zero(sz, armed(task)));
    BELAY_END;
}

Test(timeout, s38_no_end_arms_no_timer)
{
    cr_expect(eq(int, RUN(deadlines, .i = 0), 0));
}

struct moving {
    belay_cancel_scope *scope;
    int64_t from_ns;
    struct belay_cancel_status status;
};

BELAY_ASYNC(moving)
{
    BELAY_BEGIN;
    self->from_ns = belay_now(task).ns;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.timeout = belay_seconds(1),
            .status = &self->status),
        &self->scope)) {
        cr_expect(zero(int, belay_cancel_scope_move(self->scope,
                                (belay_time){self->from_ns + 5000000000})));
        BELAY_AWAIT(belay_sleep(task, belay_seconds(2)));
        trace("moved later");
        cr_expect(zero(int,
            belay_cancel_scope_move(self->scope, (belay_time){INT64_MAX})));
        BELAY_AWAIT(belay_sleep(task, belay_seconds(8)));
        trace("moved away");
        cr_expect(zero(int, belay_cancel_scope_move(self->scope,
                                (belay_time){self->from_ns + 12000000000})));
        BELAY_TRY(belay_sleep(task, BELAY_FOREVER));
        trace("%s after %lld ms", trace_result(belay_result(task)),
            elapsed_ms(task, self->from_ns));
        cr_expect(belay_cancel_scope_status(self->scope).expired);
        cr_expect(eq(int,
            belay_cancel_scope_move(self->scope, (belay_time){INT64_MAX}),
            BELAY_ESTATE));
        BELAY_TRY(belay_checkpoint(task));
        cr_expect(belay_result(task)->cancelled);
    }
    BELAY_END;
}

Test(timeout, s39_a_deadline_can_be_moved_until_it_has_expired)
{
    cr_expect(eq(int, RUN(moving, .scope = NULL), 0));
    expect_trace("moved later; moved away; cancel after 12000 ms");
}

static belay_cancel_scope *firing;

static void
move_when_it_fires(
    belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    (void)runtime;
    (void)arg;
    if (seen->event == BELAY_OBSERVED_DEADLINE_EXPIRE) {
        trace("%s", belay_code_name(belay_cancel_scope_move(
                        firing, (belay_time){INT64_MAX})));
    }
}

struct fires {
    int unused;
};

BELAY_ASYNC(fires)
{
    BELAY_BEGIN;
    BELAY_CHECK(
        belay_observer_attach(belay_task_runtime(task), move_when_it_fires,
            NULL, BELAY_OBSERVER_OPTS(.kinds = BELAY_OBSERVE_CANCELS), NULL));
    BELAY_WITH (belay_cancel_scope_open(
        task, BELAY_CANCEL_SCOPE_OPTS(.timeout = belay_seconds(1)), &firing)) {
        BELAY_TRY(belay_sleep(task, belay_seconds(2)));
        trace("%s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

Test(timeout, s39_a_deadline_that_is_firing_cannot_be_moved)
{
    cr_expect(eq(int, RUN(fires, .unused = 0), 0));
    expect_trace("ESTATE; cancel");
}

struct long_past {
    belay_cancel_scope *scope;
    FILE *out;
};

/* On the system's clock, whose zero may be later than the deadline. */
BELAY_ASYNC(long_past)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_seconds(60))) {
        BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
            cr_expect(zero(int,
                belay_cancel_scope_move(self->scope, (belay_time){INT64_MIN})));
            belay_runtime_dump(belay_task_runtime(task), self->out);
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
        trace("behind");
    }
    BELAY_END;
}

Test(timeout, s39_a_deadline_before_the_clocks_zero_has_passed)
{
    const struct long_past arguments = {.out = fopen("/dev/null", "w")};

    cr_assert(ne(ptr, arguments.out, NULL));
    cr_expect(zero(int, program_run_plain(&long_past, &arguments, NULL)));
    expect_trace("behind");
    cr_expect(zero(int, fclose(arguments.out)));
}

struct many_moves {
    belay_cancel_scope *scope;
    int i;
    uint64_t bytes;
};

BELAY_ASYNC(many_moves)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task, NULL, &self->scope)) {
        self->bytes = runtime_stats(task).memory_bytes;
        for (self->i = 0; self->i < 100000; self->i++) {
            cr_assert(zero(int, belay_cancel_scope_move(self->scope,
                                    (belay_time){belay_now(task).ns + 1000
                                                 + self->i * 7919 % 1000})));
        }
        cr_expect(eq(u64, runtime_stats(task).memory_bytes, self->bytes));
        cr_expect(eq(sz, armed(task), 1));
    }
    BELAY_END;
}

Test(timeout, s42_moving_many_times_takes_no_memory)
{
    cr_expect(eq(int, RUN(many_moves, .i = 0), 0));
}

struct from_entry {
    int64_t entered_ns;
};

static belay_next
entry_body(belay_task *task, void *arg)
{
    struct from_entry *self = arg;

    cr_expect(eq(
        i64, belay_effective_deadline(task).ns, self->entered_ns + 1000000000));
    trace("body");
    return belay_return(task, NULL);
}

/* Time passes between the making of the token and the entry. */
static belay_next
entry_step(belay_task *task, void *arg)
{
    struct from_entry *self = arg;
    belay_clock *clock = belay_task_runtime(task)->clock;
    belay_next enter = belay_timeout(task, belay_seconds(1));

    belay_clock_advance(clock, belay_seconds(10));
    self->entered_ns = belay_now(task).ns;
    return belay_with(task, enter, entry_body, entry_body);
}

static const belay_function from_entry = {
    "from_entry", NULL, sizeof(struct from_entry), entry_step, 0};

Test(timeout, s40_a_span_counts_from_the_entry)
{
    cr_expect(eq(int, RUN(from_entry, .entered_ns = 0), 0));
    expect_trace("body");
}

struct effective {
    int64_t now;
    belay_cancel_scope *scope;
};

#define LEFT_MS(task) \
    ((long long)((belay_effective_deadline(task).ns - self->now) / 1000000))

BELAY_ASYNC(effective)
{
    BELAY_BEGIN;
    self->now = belay_now(task).ns;
    BELAY_WITH (belay_timeout(task, belay_seconds(5))) {
        BELAY_WITH (belay_timeout(task, belay_seconds(9))) {
            trace("%lld", LEFT_MS(task));
            BELAY_WITH (
                belay_timeout_at(task, (belay_time){self->now + 3000000000})) {
                trace("%lld", LEFT_MS(task));
            }
            BELAY_WITH (belay_cancel_scope_open(task,
                BELAY_CANCEL_SCOPE_OPTS(.shield = true,
                    .timeout = belay_seconds(7)),
                &self->scope)) {
                trace("%lld", LEFT_MS(task));
                belay_cancel_scope_cancel(self->scope, NULL);
                cr_expect(
                    eq(i64, belay_effective_deadline(task).ns, INT64_MIN));
            }
        }
    }
    BELAY_END;
}

Test(timeout, s44_the_effective_deadline)
{
    cr_expect(eq(int, RUN(effective, .now = 0), 0));
    expect_trace("5000; 3000; 7000");
}

struct absolute {
    int64_t now;
};

BELAY_ASYNC(absolute)
{
    BELAY_BEGIN;
    self->now = belay_now(task).ns;
    BELAY_WITH (belay_timeout_at(task, (belay_time){self->now + 3000000000})) {
        BELAY_AWAIT(
            belay_sleep_until(task, (belay_time){self->now + 2000000000}));
        trace("slept %lld ms", elapsed_ms(task, self->now));
        BELAY_AWAIT(belay_sleep_until(task, (belay_time){0}));
        trace("in the past");
        BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
    }
    BELAY_END;
}

Test(timeout, s45_points_in_time_are_on_the_runtimes_clock)
{
    cr_expect(eq(int, RUN(absolute, .now = 0), BELAY_ETIMEDOUT));
    expect_trace("slept 2000 ms; in the past");
}

struct wrong_size {
    int unused;
};

BELAY_ASYNC(wrong_size)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(
        task, &(const struct belay_cancel_scope_opts){.size = 4}, NULL)) {
        trace("not reached");
    }
    BELAY_END;
}

Test(timeout, options_of_an_unknown_size_are_refused)
{
    cr_expect(eq(int, RUN(wrong_size, 0), BELAY_EINVAL));
    expect_trace("");
}

Test(timeout, s33_whatever_happens_scopes_are_left)
{
    SWEEP(timed, .span = belay_seconds(2), .work = belay_seconds(5));
    SWEEP(timed, .span = belay_seconds(2), .work = belay_seconds(5),
        .code = BELAY_EIO);
    SWEEP(foreign, .scope = NULL);
    SWEEP(both, .outer_span = belay_seconds(2), .inner_span = belay_seconds(1));
}
