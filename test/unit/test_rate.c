/* test_rate.c - how fast a server is asked: L60-L62, L64, L65. */
#include "test/support/rate_scene.h"

TestSuite(rate, .fini = check_clean, .timeout = 60);

#define MS INT64_C(1000000)
#define START_NS S /* of the virtual clock */

/* ---- an attempt ---- */

struct attempt {
    struct belay__rate *limiter;
    const char *name; /* NULL: it traces nothing */
    int64_t requests;
    int64_t tokens;
    int64_t used;        /* of tokens; -1: as many */
    belay_duration time; /* before it settles */
    enum belay__rate_end end;
    belay_duration pause;     /* what the server asks for; 0: nothing */
    int *gone;                /* NULL, or counts those that went */
    belay_duration passes_at; /* the server begins to answer; 0: it does not */
    struct belay__rate_use use;
};

BELAY_ASYNC(attempt)
{
    BELAY_BEGIN;
    if (self->limiter->runtime == NULL) {
        BELAY_RETURN(NULL); /* it is so late that there is none any more */
    }
    self->use.count[BELAY__RATE_REQUESTS] = self->requests;
    self->use.count[BELAY__RATE_TOKENS] = self->tokens;
    BELAY_TRY(belay__rate_take(task, self->limiter, &self->use));
    if (belay_result(task)->code < 0) {
        cr_expect(self->use.limiter == NULL);
        if (self->name != NULL) {
            trace("%s %s", self->name, trace_result(belay_result(task)));
        }
        return belay_pass(task);
    }
    if (self->name != NULL) {
        trace("%s %lld", self->name,
            (long long)((belay_now(task).ns - START_NS) / MS));
    }
    if (self->gone != NULL) {
        ++*self->gone;
    }
    if (self->passes_at.ns > 0) {
        BELAY_TRY(belay_sleep(task, self->passes_at));
        belay__rate_passed(&self->use);
    }
    BELAY_TRY(belay_sleep(task, self->time));
    if (self->pause.ns > 0) {
        belay__rate_pause(self->limiter, self->pause.ns);
    }
    {
        const int64_t used[BELAY__RATE_KINDS] = {
            1, self->used < 0 ? self->tokens : self->used, -1, -1};

        belay__rate_settle(&self->use, self->end, used);
    }
    cr_expect(self->use.limiter == NULL);
    BELAY_END;
}

/* ---- attempts at once ---- */

#define ATTEMPTS_MAX 8

struct crowd {
    struct belay__rate_limits limits;
    struct attempt attempts[ATTEMPTS_MAX]; /* those with a name */
    belay_duration apart;
    struct attempt late; /* with a name: one more, later than all */
    belay_duration late_by;
    belay_duration cancel_at[ATTEMPTS_MAX]; /* 0: never */
    struct belay__rate limiter;
    belay_group *group;
    int i;
};

struct limited {
    struct attempt attempt;
    belay_duration limit;
};

BELAY_ASYNC(limited)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_move_on(
        task, self->limit.ns > 0 ? self->limit : BELAY_FOREVER, NULL)) {
        BELAY_AWAIT(belay_call(task, &attempt, &self->attempt));
    }
    BELAY_END;
}

BELAY_ASYNC(crowd)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(
        limiting, .limits = self->limits, .limiter = &self->limiter)) {
        BELAY_WITH (belay_group_open(
            task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
            for (self->i = 0;
                 self->i < ATTEMPTS_MAX && self->attempts[self->i].name != NULL;
                 self->i++) {
                self->attempts[self->i].limiter = &self->limiter;
                BELAY_CHECK(belay_spawn(self->group, limited,
                    .attempt = self->attempts[self->i],
                    .limit = self->cancel_at[self->i]));
                if (self->apart.ns > 0) {
                    BELAY_AWAIT(belay_sleep(task, self->apart));
                }
            }
            if (self->late.name != NULL) {
                BELAY_AWAIT(belay_sleep(task, self->late_by));
                self->late.limiter = &self->limiter;
                BELAY_CHECK(
                    belay_spawn(self->group, limited, .attempt = self->late));
            }
        }
    }
    BELAY_END;
}

#define ASKS(name_, tokens_)                                            \
    {                                                                   \
        .name = (name_), .requests = 1, .tokens = (tokens_), .used = -1 \
    }

Test(rate, l60_l61_a_second_at_once_then_at_the_rate)
{
    cr_expect(zero(int, RUN(crowd, .limits = PER_MINUTE(120, 0),
                            .attempts = {ASKS("a", 0), ASKS("b", 0),
                                ASKS("c", 0), ASKS("d", 0), ASKS("e", 0)})));
    expect_trace("a 0; b 0; c 500; d 1000; e 1500");
}

Test(rate, l60_a_grant_needs_all_buckets)
{
    cr_expect(zero(
        int, RUN(crowd, .limits = PER_MINUTE(6000, 600),
                 .attempts = {ASKS("a", 10), ASKS("b", 1), ASKS("c", 5)})));
    expect_trace("a 0; b 100; c 600");
}

Test(rate, l60_first_come_first_served)
{
    cr_expect(zero(int,
        RUN(crowd, .limits = PER_MINUTE(0, 600),
            .attempts = {ASKS("a", 10), ASKS("big", 8), ASKS("small", 1)})));
    expect_trace("a 0; big 800; small 900");
}

Test(rate, l60_a_slow_bucket_gives_one_at_a_time)
{
    cr_expect(
        zero(int, RUN(crowd, .limits = PER_MINUTE(1, 0),
                      .attempts = {ASKS("a", 0), ASKS("b", 0), ASKS("c", 0)})));
    expect_trace("a 0; b 60000; c 120000");
}

Test(rate, l61_the_burst_is_an_option)
{
    cr_expect(zero(int,
        RUN(crowd, .limits = {.per_minute = {60}, .burst = belay_seconds(3)},
            .attempts = {
                ASKS("a", 0), ASKS("b", 0), ASKS("c", 0), ASKS("d", 0)})));
    expect_trace("a 0; b 0; c 0; d 1000");
}

Test(rate, l61_a_ramp_starts_slowly_and_reaches_the_rate)
{
    struct crowd crowd_of = {
        .limits = {.per_minute = {60}, .ramp = belay_seconds(10)},
        .attempts = {ASKS("a", 0), ASKS("b", 0), ASKS("c", 0), ASKS("d", 0)}};
    struct program program = {.function = &crowd, .arguments = &crowd_of};
    long long at[4];

    cr_expect(zero(int, program_run(&program, NULL)));
    cr_assert(eq(int,
        sscanf(trace_text(), "a %lld; b %lld; c %lld; d %lld", &at[0], &at[1],
            &at[2], &at[3]),
        4));
    cr_expect(zero(llong, at[0]));
    /* With a tenth at the start and 9 % more a second, one request is due
     * after 3.7 s, the next after 5.6 s, the third after 7.1 s. */
    cr_expect(ge(llong, at[1], 3700));
    cr_expect(le(llong, at[1], 4000));
    cr_expect(ge(llong, at[3], 7100));
    cr_expect(le(llong, at[3], 7500));
}

Test(rate, l62_more_than_the_bucket_holds_goes_when_it_is_full)
{
    cr_expect(zero(
        int, RUN(crowd, .limits = PER_MINUTE(0, 600),
                 .attempts = {ASKS("a", 5), ASKS("huge", 50), ASKS("b", 1)})));
    /* Full again after 0.5 s; then 40 below zero, and one is there after
     * 4.1 s. */
    expect_trace("a 0; huge 500; b 4600");
}

Test(rate, a_cancelled_wait_does_not_hold_up_those_behind_it)
{
    cr_expect(zero(
        int, RUN(crowd, .limits = PER_MINUTE(0, 600),
                 .attempts = {ASKS("a", 10), ASKS("big", 10), ASKS("b", 1)},
                 .cancel_at = {{0}, {300 * MS}, {0}})));
    expect_trace("a 0; big cancel; b 300");
}

Test(rate, l60_without_limits_nobody_waits)
{
    cr_expect(
        zero(int, RUN(crowd, .limits = PER_MINUTE(0, 0),
                      .attempts = {ASKS("a", 1000000), ASKS("b", INT64_MAX)})));
    expect_trace("a 0; b 0");
}

/* ---- L65: settling ---- */

Test(rate, l65_what_was_really_used_is_charged_or_comes_back)
{
    struct attempt less = ASKS("a", 10);
    struct attempt more = ASKS("a", 1);

    less.used = 4;
    cr_expect(zero(int, RUN(crowd, .limits = PER_MINUTE(0, 600), .apart = {1},
                            .attempts = {less, ASKS("b", 6), ASKS("c", 1)})));
    expect_trace("a 0; b 0; c 100");
    trace_clear();
    more.used = 20;
    cr_expect(zero(int, RUN(crowd, .limits = PER_MINUTE(0, 600), .apart = {1},
                            .attempts = {more, ASKS("b", 1)})));
    expect_trace("a 0; b 1100");
}

/* A count that cannot be true stops nobody for longer than it takes to fill a
 * minute's worth, or what the request itself has taken.
 */
Test(rate, l65_an_absurd_count_is_charged_up_to_a_minute)
{
    struct attempt absurd = ASKS("a", 1);
    struct attempt large = ASKS("a", 1000);

    absurd.used = INT64_C(9000000000);
    large.used = INT64_C(9000000000);
    cr_expect(zero(int, RUN(crowd, .limits = PER_MINUTE(0, 600), .apart = {1},
                            .attempts = {absurd, ASKS("b", 1)})));
    expect_trace("a 0; b 60100");
    trace_clear();
    cr_expect(zero(int, RUN(crowd, .limits = PER_MINUTE(0, 600), .apart = {1},
                            .attempts = {large, ASKS("b", 1)})));
    expect_trace("a 0; b 100100");
    trace_clear();
    /* What others have charged before it stays. */
    cr_expect(zero(int, RUN(crowd, .limits = PER_MINUTE(0, 600), .apart = {1},
                            .attempts = {ASKS("a", 1000), ASKS("b", 1)},
                            .late = absurd, .late_by = belay_seconds(1))));
    expect_trace("a 0; b 99100; a 99200");
}

Test(rate, l64_what_comes_back_counts_however_low_the_level_is)
{
    struct attempt rejected = ASKS("a", 1);

    rejected.end = BELAY__RATE_REJECTED;
    rejected.time = belay_seconds(5);
    cr_expect(
        zero(int, RUN(crowd, .limits = PER_MINUTE(0, 600), .apart = {1},
                      .attempts = {rejected, ASKS("b", 2000), ASKS("c", 1)})));
    expect_trace("a 0; b 100; c 199100");
}

Test(rate, l64_what_the_server_rejected_gives_its_tokens_back)
{
    struct attempt rejected = ASKS("a", 10);
    struct attempt unknown = ASKS("a", 10);

    rejected.end = BELAY__RATE_REJECTED;
    cr_expect(zero(int, RUN(crowd, .limits = PER_MINUTE(0, 600), .apart = {1},
                            .attempts = {rejected, ASKS("b", 10)})));
    expect_trace("a 0; b 0");
    trace_clear();
    unknown.end = BELAY__RATE_UNKNOWN;
    cr_expect(zero(int, RUN(crowd, .limits = PER_MINUTE(0, 600), .apart = {1},
                            .attempts = {unknown, ASKS("b", 10)})));
    expect_trace("a 0; b 1000");
}

/* ---- L64: pauses ---- */

Test(rate, l64_a_pause_stops_all_and_one_goes_first_after_it)
{
    struct attempt paused = ASKS("a", 0);
    struct attempt first = ASKS("b", 0);

    paused.end = BELAY__RATE_REJECTED;
    paused.pause = belay_seconds(7);
    first.time = belay_seconds(2);
    cr_expect(zero(
        int, RUN(crowd, .limits = PER_MINUTE(0, 0), .apart = {1},
                 .attempts = {paused, first, ASKS("c", 0), ASKS("d", 0)})));
    expect_trace("a 0; b 7000; c 9000; d 9000");
}

Test(rate, l64_a_probe_that_is_refused_pauses_again)
{
    struct attempt paused = ASKS("a", 0);
    struct attempt first = ASKS("b", 0);

    paused.end = BELAY__RATE_REJECTED;
    paused.pause = belay_seconds(1);
    first.end = BELAY__RATE_REJECTED;
    first.time = belay_seconds(1);
    first.pause = belay_seconds(5);
    cr_expect(zero(
        int, RUN(crowd, .limits = PER_MINUTE(0, 0), .apart = {1},
                 .attempts = {paused, first, ASKS("c", 0), ASKS("d", 0)})));
    expect_trace("a 0; b 1000; c 7000; d 7000");
}

Test(rate, l64_a_probe_that_is_being_answered_lets_the_others_go)
{
    struct attempt paused = ASKS("a", 0);
    struct attempt first = ASKS("b", 0);

    paused.end = BELAY__RATE_REJECTED;
    paused.pause = belay_seconds(1);
    first.passes_at = belay_seconds(1);
    first.time = belay_seconds(60);
    cr_expect(zero(
        int, RUN(crowd, .limits = PER_MINUTE(0, 0), .apart = {1},
                 .attempts = {paused, first, ASKS("c", 0), ASKS("d", 0)})));
    expect_trace("a 0; b 1000; c 2000; d 2000");
}

Test(rate, l64_what_was_never_sent_comes_back_and_the_next_one_goes_first)
{
    struct attempt unsent = ASKS("a", 10);
    struct attempt paused = ASKS("a", 0);
    struct attempt first = ASKS("b", 0);
    struct attempt second = ASKS("c", 0);

    unsent.end = BELAY__RATE_UNSENT;
    cr_expect(zero(int, RUN(crowd, .limits = PER_MINUTE(60, 600), .apart = {1},
                            .attempts = {unsent, ASKS("b", 10)})));
    expect_trace("a 0; b 0");
    trace_clear();
    paused.end = BELAY__RATE_REJECTED;
    paused.pause = belay_seconds(1);
    first.end = BELAY__RATE_UNSENT;
    first.time = belay_seconds(2);
    second.time = belay_seconds(3);
    cr_expect(
        zero(int, RUN(crowd, .limits = PER_MINUTE(0, 0), .apart = {1},
                      .attempts = {paused, first, second, ASKS("d", 0)})));
    expect_trace("a 0; b 1000; c 3000; d 6000");
    trace_clear();
    first.end = BELAY__RATE_UNKNOWN; /* cancelled: it has learned nothing */
    (void)RUN(crowd, .limits = PER_MINUTE(0, 0), .apart = {1},
        .attempts = {paused, first, second, ASKS("d", 0)});
    expect_trace("a 0; b 1000; c 3000; d 6000");
}

struct at_once {
    struct belay__rate limiter;
    struct belay__rate_use uses[3];
};

BELAY_ASYNC(at_once)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(
        limiting, .limits = {.per_minute = {120}}, .limiter = &self->limiter)) {
        for (size_t i = 0; i < 3; i++) {
            self->uses[i].count[BELAY__RATE_REQUESTS] = 1;
            cr_expect(eq(int,
                belay__rate_take_now(&self->limiter, &self->uses[i]), i < 2));
        }
        cr_expect(self->uses[2].limiter == NULL, "it has taken nothing");
        belay__rate_settle(&self->uses[0], BELAY__RATE_UNSENT, NULL);
        cr_expect(belay__rate_take_now(&self->limiter, &self->uses[2]));
        belay__rate_settle(&self->uses[1], BELAY__RATE_UNSENT, NULL);
        belay__rate_settle(&self->uses[2], BELAY__RATE_UNSENT, NULL);
        belay__rate_close(&self->limiter);
        cr_expect(not(belay__rate_take_now(&self->limiter, &self->uses[0])));
    }
    BELAY_END;
}

Test(rate, l60_what_need_not_wait_does_not_suspend)
{
    cr_expect(zero(int, RUN(at_once, .limiter = {0})));
}

Test(rate, l64_of_two_pauses_the_longer_counts)
{
    struct attempt first = ASKS("a", 0);
    struct attempt second = ASKS("b", 0);

    first.time = belay_milliseconds(1);
    first.pause = belay_seconds(9);
    second.time = belay_milliseconds(2);
    second.pause = belay_seconds(3);
    cr_expect(zero(
        int, RUN(crowd, .limits = PER_MINUTE(0, 0),
                 .apart = belay_nanoseconds(1), .attempts = {first, second},
                 .late = ASKS("c", 0), .late_by = belay_milliseconds(3))));
    expect_trace("a 0; b 0; c 9001");
}

Test(rate, l64_waiters_of_a_pause_go_at_the_rate)
{
    struct attempt paused = ASKS("a", 0);

    paused.end = BELAY__RATE_REJECTED;
    paused.pause = belay_seconds(5);
    cr_expect(zero(int,
        RUN(crowd, .limits = PER_MINUTE(60, 0), .apart = {1},
            .attempts = {paused, ASKS("b", 0), ASKS("c", 0), ASKS("d", 0)})));
    expect_trace("a 0; b 5000; c 6000; d 7000");
}

/* ---- the end, and sweeps ---- */

struct ended {
    struct belay__rate limiter;
    belay_group *group;
};

BELAY_ASYNC(ended)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
        BELAY_WITH (BELAY_ENTER(
            limiting, .limits = PER_MINUTE(1, 0), .limiter = &self->limiter)) {
            BELAY_CHECK(belay_spawn(self->group, attempt, .name = "a",
                .requests = 1, .limiter = &self->limiter));
            BELAY_CHECK(belay_spawn(self->group, attempt, .name = "b",
                .requests = 1, .limiter = &self->limiter));
            BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
            belay__rate_close(&self->limiter);
            BELAY_TRY(BELAY_CALL(attempt, .name = "c", .requests = 1,
                .limiter = &self->limiter));
        }
    }
    BELAY_END;
}

Test(rate, l60_closed_it_lets_nobody_go)
{
    cr_expect(zero(int, RUN(ended, .group = NULL)));
    expect_trace("a 0; c ECLOSED; b ECLOSED");
}

Test(rate, l60_every_cancel_and_every_refused_allocation)
{
    struct attempt paused = ASKS("a", 3);
    struct crowd crowd_of = {.limits = PER_MINUTE(60, 600),
        .attempts = {paused, ASKS("b", 8), ASKS("c", 1)},
        .cancel_at = {{0}, {300 * MS}, {0}}};
    struct program program = {.function = &crowd, .arguments = &crowd_of};

    crowd_of.attempts[0].pause = belay_seconds(2);
    sweep(&program);
}

struct rate {
    int count;
    int *gone;
    struct belay__rate limiter;
    belay_group *group;
    int i;
};

BELAY_ASYNC(rate)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(
        limiting, .limits = PER_MINUTE(600, 0), .limiter = &self->limiter)) {
        BELAY_WITH (belay_move_on(task, belay_seconds(60), NULL)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                for (self->i = 0; self->i < self->count; self->i++) {
                    BELAY_CHECK(belay_spawn(self->group, attempt, .requests = 1,
                        .limiter = &self->limiter, .gone = self->gone));
                }
            }
        }
    }
    BELAY_END;
}

Test(rate, l60_a_minute_lets_the_rate_and_one_burst_go)
{
    int gone = 0;

    cr_expect(zero(int, RUN(rate, .count = 20, .gone = &gone)));
    cr_expect(eq(int, gone, 20));
    gone = 0;
    program_unswept = true; /* no other places to fail at, but thousands */
    cr_expect(zero(int, RUN(rate, .count = 2000, .gone = &gone)));
    cr_expect(ge(int, gone, 609));
    cr_expect(le(int, gone, 610));
}
