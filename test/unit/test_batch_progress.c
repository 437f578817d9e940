/* test_batch_progress.c - a running batch in one line. */
#include "llm/batch/progress.h"
#include "llm/json/scan.h"
#include "llm/json/text.h"
#include "test/support/alloc.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SECOND INT64_C(1000000000)

TestSuite(batch_progress, .fini = check_clean, .timeout = 10);

static struct belay__batch_stats stats;
static struct belay__batch_rates rates;
static char line[512]; /* as much as the command has */

static void
half_way(void)
{
    stats = (struct belay__batch_stats){.started_ns = 10 * SECOND,
        .lines = 100,
        .ok = 90,
        .failed = 10,
        .in_flight = 64,
        .retrying = 3,
        .limit = 128,
        .retries = 5,
        .input_bytes = 5000,
        .input_size = 10000,
        .tokens_in = 800,
        .tokens_out = 200};
    rates = (struct belay__batch_rates){0};
}

static char *
show(unsigned columns)
{
    belay__batch_progress_line(&stats, &rates, columns, line, sizeof(line));
    return line;
}

#define expect_line(columns, text) \
    cr_expect(eq(str, show(columns), (char *)(uintptr_t)(text)))
#define expect_has(text) \
    cr_expect(ne(ptr, strstr(line, (text)), NULL), "%s in %s", (text), line)
#define expect_not(text) \
    cr_expect(eq(ptr, strstr(line, (text)), NULL), "%s in %s", (text), line)

Test(batch_progress, b30_a_pause_is_told_while_nothing_is_in_flight)
{
    half_way();
    stats.due_ns = 120 * SECOND + 1;
    belay__batch_rates_update(&rates, &stats, 20 * SECOND);
    (void)show(0);
    expect_not("paused");
    stats.in_flight = 0;
    (void)show(0);
    expect_has("  0/128 in flight  3 retrying  paused for 1:41  ");
    belay__batch_progress_json(&stats, &rates, 20 * SECOND, line, sizeof(line));
    expect_has(",\"paused_s\":101");
    stats.due_ns = 20 * SECOND;
    (void)show(0);
    expect_not("paused");
    belay__batch_progress_json(&stats, &rates, 20 * SECOND, line, sizeof(line));
    expect_not("paused");
}

Test(batch_progress, b30_line_tells_counts_speed_and_time_left)
{
    half_way();
    belay__batch_rates_update(&rates, &stats, 20 * SECOND);
    expect_line(0,
        "[==========>         ]  50%  90 ok  10 failed  64/128 in flight  "
        "3 retrying  10 req/s  100 tok/s  ETA 0:10");
}

Test(batch_progress, b30_what_is_zero_or_unknown_is_left_out)
{
    stats = (struct belay__batch_stats){
        .started_ns = SECOND, .lines = 3, .ok = 2, .in_flight = 1};
    rates = (struct belay__batch_rates){0};
    expect_line(0, "2 ok  1 in flight  0 req/s  0 tok/s");
    stats = (struct belay__batch_stats){.input_size = 100};
    expect_line(0, "0 ok  0 in flight  0 req/s  0 tok/s");
}

Test(batch_progress, b30_the_end_is_a_full_bar)
{
    half_way();
    stats.input_bytes = stats.input_size;
    stats.in_flight = 0;
    stats.retrying = 0;
    belay__batch_rates_update(&rates, &stats, 20 * SECOND);
    expect_line(0,
        "[====================] 100%  90 ok  10 failed  0/128 in flight"
        "  10 req/s  100 tok/s  ETA 0:00");
    /* A file that grew while it was read. */
    stats.input_bytes = 3 * stats.input_size;
    (void)show(0);
    expect_has("[====================] 100%");
}

/* Half of the lines read so far were done by an earlier run. */
Test(batch_progress, b30_lines_done_before_are_behind_us)
{
    half_way();
    stats.lines = 200;
    stats.passed = 100;
    belay__batch_rates_update(&rates, &stats, 20 * SECOND);
    expect_line(0,
        "[==========>         ]  50%  90 ok  10 failed  64/128 in flight  "
        "3 retrying  10 req/s  100 tok/s  ETA 0:20");
}

/* Is every field of it one of the whole line? */
static void
check_fields(const char *whole, unsigned columns)
{
    char copy[sizeof(line)];
    char *rest = copy;
    char *end;

    (void)snprintf(copy, sizeof(copy), "%s", show(columns));
    cr_expect(le(sz, strlen(copy), columns));
    while ((end = strstr(rest, "  ")) != NULL || *rest != '\0') {
        if (end != NULL) {
            *end = '\0';
        }
        cr_expect(
            ne(ptr, strstr(whole, rest), NULL), "'%s' at %u", rest, columns);
        if (end == NULL) {
            break;
        }
        rest = end + 2;
    }
}

Test(batch_progress, b30_line_loses_whole_fields_and_never_a_part_of_one)
{
    char whole[sizeof(line)];
    size_t before = 0;

    half_way();
    stats.priced = true;
    stats.spent = INT64_C(1500000000000);
    stats.cap = INT64_C(5000000000000);
    belay__batch_rates_update(&rates, &stats, 20 * SECOND);
    (void)snprintf(whole, sizeof(whole), "%s", show(0));
    cr_expect(ne(ptr, strstr(whole, "$1.50 of $5.00"), NULL));
    for (unsigned columns = 1; columns < 200; columns++) {
        check_fields(whole, columns);
        cr_expect(ge(sz, strlen(line), before), "%u", columns);
        before = strlen(line);
    }
    cr_expect(eq(str, line, whole));
}

Test(batch_progress, b30_line_fits_a_terminal_of_80_with_money_and_time_left)
{
    half_way();
    stats.ok = 123456;
    stats.failed = 120;
    stats.lines = 123576;
    stats.priced = true;
    stats.spent = INT64_C(1500000000000);
    stats.cap = INT64_C(5000000000000);
    belay__batch_rates_update(&rates, &stats, 20 * SECOND);
    cr_expect(le(sz, strlen(show(79)), 79));
    expect_has("123456 ok");
    expect_has("120 failed");
    expect_has("$1.50 of $5.00");
    expect_has("ETA 0:10");
    (void)show(10);
    cr_expect(eq(str, line, "123456 ok"));
    (void)show(8); /* a part of a number is a wrong one */
    cr_expect(eq(str, line, ""));
}

Test(batch_progress, b30_line_never_leaves_its_buffer)
{
    char room[64];

    half_way();
    stats.ok = UINT64_MAX;
    stats.failed = UINT64_MAX;
    stats.in_flight = UINT32_MAX;
    stats.retrying = UINT32_MAX;
    for (size_t size = 1; size < sizeof(room); size++) {
        memset(room, 'x', sizeof(room));
        belay__batch_progress_line(&stats, &rates, 0, room, size);
        cr_expect(eq(sz, strlen(room), size - 1));
        cr_expect(eq(chr, room[size], 'x'));
    }
}

Test(batch_progress, b30_time_left_counts_what_was_read_and_waits_as_not_done)
{
    half_way();
    stats.lines = 200; /* a hundred of them wait: a quarter is done */
    belay__batch_rates_update(&rates, &stats, 20 * SECOND);
    (void)show(0);
    expect_has(" 25%");
    expect_has("ETA 0:30");
}

/* A server that has hung for long makes the rate fall to almost nothing, but
 * never to zero: the time left is then unknown, not zero, and not a number of
 * a hundred digits.
 */
Test(batch_progress, b30_time_left_of_a_stalled_batch_is_unknown)
{
    int64_t now = 20 * SECOND;

    half_way();
    belay__batch_rates_update(&rates, &stats, now);
    for (int i = 0; i < 1000; i++) {
        now += 10 * SECOND;
        belay__batch_rates_update(&rates, &stats, now);
        (void)show(0);
        if (i > 60) {
            expect_not("ETA");
        }
        belay__batch_progress_json(&stats, &rates, now, line, sizeof(line));
        cr_expect(lt(sz, strlen(line), 400));
        if (i > 60) {
            expect_not("eta_s");
        }
    }
}

Test(batch_progress, rates_follow_a_change_within_seconds)
{
    int64_t now = 10 * SECOND;

    stats = (struct belay__batch_stats){.started_ns = now};
    rates = (struct belay__batch_rates){0};
    for (int i = 0; i < 40; i++) {
        now += SECOND / 4;
        stats.ok += 25;
        stats.tokens_out += 250;
        belay__batch_rates_update(&rates, &stats, now);
        cr_expect(epsilon_eq(dbl, rates.done_per_s, 100, 1e-6));
        cr_expect(epsilon_eq(dbl, rates.tokens_per_s, 1000, 1e-6));
    }
    for (int i = 0; i < 60; i++) {
        now += SECOND / 4;
        stats.failed += 50;
        belay__batch_rates_update(&rates, &stats, now);
    }
    cr_expect(epsilon_eq(dbl, rates.done_per_s, 200, 2));
}

Test(batch_progress, rates_ignore_a_clock_that_stands)
{
    half_way();
    belay__batch_rates_update(&rates, &stats, stats.started_ns);
    cr_expect(epsilon_eq(dbl, rates.done_per_s, 0, 0));
    belay__batch_rates_update(&rates, &stats, 20 * SECOND);
    belay__batch_rates_update(&rates, &stats, 20 * SECOND);
    cr_expect(epsilon_eq(dbl, rates.done_per_s, 10, 1e-9));
}

static struct belay__json_value
member(const char *name)
{
    struct belay__json json;
    struct belay__json_value key;
    struct belay__json_value value = {0};

    belay__json_open(&json, (struct belay_slice){line, strlen(line)});
    cr_assert(belay__json_enter_object(&json));
    while (belay__json_next_member(&json, &key)) {
        if (belay__json_key_equals(&key, name, strlen(name))) {
            cr_expect(belay__json_take(&json, &value));
        }
    }
    cr_expect(eq(int, belay__json_finish(&json), 0), "%s", line);
    return value;
}

static double
number(const char *name)
{
    const struct belay__json_value value = member(name);

    cr_expect(eq(int, value.type, BELAY__JSON_NUMBER), "%s in %s", name, line);
    return value.raw.len > 0 ? strtod(value.raw.data, NULL) : (double)NAN;
}

Test(batch_progress, b30_json_form_has_the_same_numbers)
{
    half_way();
    belay__batch_rates_update(&rates, &stats, 20 * SECOND);
    belay__batch_progress_json(&stats, &rates, 20 * SECOND, line, sizeof(line));
    cr_expect(epsilon_eq(dbl, number("elapsed_s"), 10, 1e-9));
    cr_expect(epsilon_eq(dbl, number("lines"), 100, 0));
    cr_expect(epsilon_eq(dbl, number("ok"), 90, 0));
    cr_expect(epsilon_eq(dbl, number("failed"), 10, 0));
    cr_expect(epsilon_eq(dbl, number("in_flight"), 64, 0));
    cr_expect(epsilon_eq(dbl, number("retrying"), 3, 0));
    cr_expect(epsilon_eq(dbl, number("retries"), 5, 0));
    cr_expect(epsilon_eq(dbl, number("input_bytes"), 5000, 0));
    cr_expect(epsilon_eq(dbl, number("input_size"), 10000, 0));
    cr_expect(epsilon_eq(dbl, number("requests_per_s"), 10, 0));
    cr_expect(epsilon_eq(dbl, number("tokens_per_s"), 100, 0));
    cr_expect(epsilon_eq(dbl, number("eta_s"), 10, 0));
    stats.input_size = 0;
    belay__batch_progress_json(&stats, &rates, 20 * SECOND, line, sizeof(line));
    cr_expect(eq(int, member("input_size").type, BELAY__JSON_NONE));
    cr_expect(eq(int, member("eta_s").type, BELAY__JSON_NONE));
}

Test(batch_progress, b30_json_form_is_whole_whatever_the_numbers)
{
    memset(&stats, 0xff, sizeof(stats)); /* the greatest of each */
    stats.started_ns = 0;
    stats.priced = true;
    rates = (struct belay__batch_rates){
        .done_per_s = 1e18, .tokens_per_s = 1e18, .at_ns = 1};
    belay__batch_progress_json(&stats, &rates, INT64_MAX, line, sizeof(line));
    cr_expect(eq(int, member("ok").type, BELAY__JSON_NUMBER));
    rates.done_per_s = 1e-300;
    stats.ok = 1;
    stats.failed = 0;
    stats.lines = 2;
    belay__batch_progress_json(&stats, &rates, INT64_MAX, line, sizeof(line));
    cr_expect(eq(int, member("ok").type, BELAY__JSON_NUMBER));
}

Test(batch_progress, counts_have_three_digits_or_so)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"}, {0.5, "0.5"}, {1, "1"}, {9.94, "9.9"}, {9.96, "10"},
        {12.7, "13"}, {812, "812"}, {999.4, "999"}, {999.5, "1.0k"},
        {9400, "9.4k"}, {99940, "99.9k"}, {99960, "100k"}, {999400, "999k"},
        {999500, "1.0M"}, {1.3e6, "1.3M"}, {2.5e9, "2.5G"}, {4e12, "4.0T"},
        {4e15, "4000T"}};
    char text[16];

    for (size_t i = 0; i < COUNT(cases); i++) {
        belay__format_count(cases[i].value, text, sizeof(text));
        cr_expect(eq(str, text, (char *)(uintptr_t)cases[i].text));
    }
}

Test(batch_progress, spans_are_minutes_or_hours)
{
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{-1, "0:00"}, {0, "0:00"}, {42.9, "0:42"}, {60, "1:00"},
        {3599.9, "59:59"}, {3600, "1:00:00"}, {3723, "1:02:03"},
        {360000, "100:00:00"}};
    char text[24];

    for (size_t i = 0; i < COUNT(cases); i++) {
        belay__format_span(cases[i].seconds, text, sizeof(text));
        cr_expect(eq(str, text, (char *)(uintptr_t)cases[i].text));
    }
}

Test(batch_progress, b30_what_was_spent_of_the_budget)
{
    half_way();
    stats.priced = true;
    stats.spent = INT64_C(1234567890123);
    (void)show(0);
    expect_has("  $1.23");
    stats.spent_before = INT64_C(1000000000000);
    stats.uncertain = INT64_C(500000000000);
    stats.uncertain_before = INT64_C(200000000000);
    stats.cap = INT64_C(50000000000000);
    (void)show(0);
    expect_has("  $2.93 of $50.00");
    stats.unpriced = 1;
    (void)show(0);
    expect_has("  >$2.93 of");
    stats.unpriced = 0;
    stats.unpriced_before = 1;
    (void)show(0);
    expect_has("  >$2.93 of");
    stats.spent = INT64_MAX;
    cr_expect(eq(i64, belay__batch_spent(&stats), INT64_MAX));
}

Test(batch_progress, b30_lines_that_are_taken_back_make_no_speed)
{
    struct belay__batch_stats shrinking = {.ok = 100, .started_ns = 1};
    struct belay__batch_rates speed = {.weight = 0};

    belay__batch_rates_update(&speed, &shrinking, 10 * SECOND);
    shrinking.ok = 1;
    belay__batch_rates_update(&speed, &shrinking, 11 * SECOND);
    cr_expect(ge(dbl, speed.done_per_s, 0));
    cr_expect(lt(dbl, speed.done_per_s, 100));
}

Test(batch_progress, money_has_as_many_digits_as_it_needs)
{
    static const struct {
        int64_t pico;
        const char *text;
    } cases[] = {{0, "$0.00"}, {INT64_C(1000000000000), "$1.00"},
        {INT64_C(990000000000), "$0.990"}, {INT64_C(1234000000), "$0.00123"},
        {1, "$0.00000000"}, {INT64_C(123456789000000000), "$123456.79"}};
    char text[24];

    for (size_t i = 0; i < COUNT(cases); i++) {
        belay__format_money(cases[i].pico, text, sizeof(text));
        cr_expect(eq(str, text, (char *)(uintptr_t)cases[i].text));
    }
}
