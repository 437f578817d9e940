/* test_batch_report.c - what a batch has done, for people and as JSON. */
#include "llm/batch/report.h"

#include "llm/batch/html.h"
#include "llm/json/scan.h"
#include "llm/json/text.h"
#include "test/support/memory.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

static struct belay__buffer buffer;
static struct belay__batch_stats stats;

static void
set_up(void)
{
    open_memory();
    belay__buffer_init(&buffer, memory, 65536);
    stats = (struct belay__batch_stats){.started_ns = SECOND,
        .ended_ns = 5 * SECOND,
        .lines = 110,
        .sent = 105,
        .ok = 90,
        .failed = 14,
        .dropped = 8,
        .cut = 2,
        .unread = 17,
        .retries = 7,
        .input_bytes = 12345,
        .tokens_in = 1000,
        .tokens_cached = 100,
        .tokens_out = 600,
        .tokens_reasoning = 50,
        .without_usage = 2,
        .sent_bytes = 9999,
        .received_bytes = 8888};
    stats.statuses[200] = 90;
    stats.statuses[400] = 3;
    stats.statuses[503] = 4;
    stats.errors[BELAY__LINE_INVALID_JSON] = 5;
    stats.errors[BELAY__LINE_TIMEOUT] = 2;
    for (int i = 0; i < 100; i++) {
        belay__histogram_add(&stats.latency_us, i < 95 ? 100000 : 2000000);
    }
}

static void
tear_down(void)
{
    belay__buffer_fini(&buffer);
    close_memory();
}

TestSuite(batch_report, .init = set_up, .fini = tear_down, .timeout = 30);

static char *
text(void)
{
    cr_assert(eq(int, belay__buffer_append(&buffer, "", 1), 0));
    return buffer.data;
}

Test(batch_report, b27_report_for_people)
{
    static const char wanted[] =
        "  lines read                          110\n"
        "  succeeded                            90\n"
        "  failed                               14\n"
        "    HTTP 400                            3\n"
        "    HTTP 503                            4\n"
        "    invalid_json_line                   5\n"
        "    timeout                             2\n"
        "  not tried                             6\n"
        "  not read                             17\n"
        "  sent, and cut off                     2  (without a result: may be "
        "billed)\n"
        "  retries                               7\n"
        "  tokens in                          1000  (100 cached)\n"
        "  tokens out                          600  (50 reasoning)\n"
        "  replies without usage                 2  (not in the tokens)\n"
        "  time                               0:04  (26.0 requests/s, 400 "
        "tokens/s)\n"
        "  latency p50 / p90 / p99    0.102 / 0.102 / 2.000 s, most 2.000 s\n";

    cr_assert(eq(int, belay__batch_report_text(&buffer, &stats), 0));
    cr_expect(eq(str, text(), (char *)(uintptr_t)wanted));
}

Test(batch_report, b27_report_for_people_says_nothing_of_what_was_not)
{
    stats = (struct belay__batch_stats){
        .started_ns = SECOND, .ended_ns = SECOND, .lines = 1, .ok = 1};
    cr_assert(eq(int, belay__batch_report_text(&buffer, &stats), 0));
    (void)text();
    cr_expect(eq(ptr, strstr(buffer.data, "HTTP"), NULL));
    cr_expect(eq(ptr, strstr(buffer.data, "retries"), NULL));
    cr_expect(eq(ptr, strstr(buffer.data, "not tried"), NULL));
    cr_expect(eq(ptr, strstr(buffer.data, "cut off"), NULL));
    cr_expect(eq(ptr, strstr(buffer.data, "without usage"), NULL));
    cr_expect(eq(ptr, strstr(buffer.data, "nan"), NULL));
    cr_expect(eq(ptr, strstr(buffer.data, "inf"), NULL));
}

/* The number at "outer" or "outer.inner"; NAN if there is none. */
static double
number(const char *outer, const char *inner)
{
    struct belay__json json;
    struct belay__json_value key;
    struct belay__json_value value = {0};

    belay__json_open(&json, belay__buffer_slice(&buffer));
    cr_assert(belay__json_enter_object(&json));
    while (belay__json_next_member(&json, &key)) {
        if (!belay__json_key_equals(&key, outer, strlen(outer))) {
            continue;
        }
        if (inner == NULL) {
            cr_expect(belay__json_take(&json, &value));
            continue;
        }
        cr_assert(belay__json_enter_object(&json));
        while (belay__json_next_member(&json, &key)) {
            if (belay__json_key_equals(&key, inner, strlen(inner))) {
                cr_expect(belay__json_take(&json, &value));
            }
        }
    }
    cr_expect(eq(int, belay__json_finish(&json), 0));
    return value.type == BELAY__JSON_NUMBER ? strtod(value.raw.data, NULL)
                                            : (double)NAN;
}

#define expect_number(outer, inner, wanted) \
    cr_expect(                              \
        epsilon_eq(dbl, number(outer, inner), (wanted), 1e-6), "%s", (outer))

Test(batch_report, b11_b27_report_as_json)
{
    cr_assert(eq(int, belay__batch_report_json(&buffer, &stats, "done"), 0));
    cr_expect(eq(chr, buffer.data[buffer.len - 1], '\n'));
    cr_expect(
        eq(ptr, memchr(buffer.data, '\n', buffer.len - 1), NULL), "one line");
    expect_number("lines", NULL, 110);
    expect_number("ok", NULL, 90);
    expect_number("failed", NULL, 14);
    expect_number("retries", NULL, 7);
    expect_number("status", "200", 90);
    expect_number("status", "400", 3);
    expect_number("status", "503", 4);
    expect_number("errors", "invalid_json_line", 5);
    expect_number("errors", "timeout", 2);
    expect_number("tokens_in", NULL, 1000);
    expect_number("tokens_out", NULL, 600);
    expect_number("sent_bytes", NULL, 9999);
    expect_number("received_bytes", NULL, 8888);
    expect_number("input_bytes", NULL, 12345);
    expect_number("elapsed_s", NULL, 4);
    expect_number("requests_per_s", NULL, 26);
    expect_number("latency_s", "max", 2);
    expect_number("latency_s", "p99", 2);
}

Test(batch_report, b27_json_is_valid_whatever_the_numbers)
{
    memset(&stats, 0xff, sizeof(stats));
    stats.started_ns = 0;
    stats.ended_ns = 1; /* a nanosecond: the greatest rates there can be */
    stats.ok = UINT64_MAX;
    stats.failed = 0;
    stats.priced = true;
    stats.model_count = 1;
    memset(stats.models[0].name, 0, sizeof(stats.models[0].name));
    cr_assert(eq(int, belay__batch_report_json(&buffer, &stats, "done"), 0));
    cr_expect(eq(
        int, belay__json_check(belay__buffer_slice(&buffer), NULL, NULL), 0));
    belay__buffer_clear(&buffer);
    cr_assert(eq(int, belay__batch_report_text(&buffer, &stats), 0));
}

Test(batch_report, b27_without_memory_nothing_is_said)
{
    for (size_t k = 0;; k++) {
        int codes[2];

        test_alloc_fail_at(k);
        codes[0] = belay__batch_report_json(&buffer, &stats, "done");
        codes[1] = belay__batch_report_text(&buffer, &stats);
        if (test_alloc_failures() == 0) {
            cr_expect(eq(int, codes[0], 0));
            cr_expect(eq(int, codes[1], 0));
            break;
        }
        cr_expect(eq(int, codes[0] < 0 ? codes[0] : codes[1], BELAY_ENOMEM));
        belay__buffer_fini(&buffer);
        cr_assert(lt(sz, k, 1000));
    }
    test_alloc_never_fail();
}

Test(batch_report, b27_money_is_told_where_there_are_prices)
{
    static const char wanted[] =
        "  spent                             $1.50  (at least)\n"
        "  spent by earlier runs             $2.00\n"
        "  uncertain                        $0.300  (sent, and no answer "
        "came)\n"
        "  cost not known                        4  attempts\n"
        "  budget                           $10.00\n";

    stats.priced = true;
    stats.spent = INT64_C(1500000000000);
    stats.spent_before = INT64_C(2000000000000);
    stats.uncertain = INT64_C(200000000000);
    stats.uncertain_before = INT64_C(100000000000);
    stats.unpriced = 4;
    stats.cap = INT64_C(10000000000000);
    cr_assert(eq(int, belay__batch_report_text(&buffer, &stats), 0));
    (void)text();
    cr_expect(ne(ptr, strstr(buffer.data, wanted), NULL), "%s", buffer.data);
    belay__buffer_clear(&buffer);
    cr_assert(eq(int, belay__batch_report_json(&buffer, &stats, "done"), 0));
    (void)text();
    cr_expect(ne(ptr, strstr(buffer.data, "\"spent_usd\":1.50,"), NULL));
    cr_expect(ne(ptr, strstr(buffer.data, "\"budget_usd\":10.00,"), NULL));
}

Test(batch_report, b27_money_beyond_all_sums_stays_the_largest)
{
    static const char wanted[] = "  uncertain                   $9223372.04  (";

    stats.priced = true;
    stats.spent = stats.spent_before = INT64_MAX;
    stats.uncertain = stats.uncertain_before = INT64_MAX;
    cr_assert(eq(int, belay__batch_report_text(&buffer, &stats), 0));
    (void)text();
    cr_expect(ne(ptr, strstr(buffer.data, wanted), NULL), "%s", buffer.data);
    belay__buffer_clear(&buffer);
    cr_assert(eq(int,
        belay__batch_report_html(
            &buffer, &stats, &(const struct belay__html_opts){.input = "in"}),
        0));
}

Test(batch_report, b26_b27_an_earlier_run_without_prices_has_cost_something)
{
    static const char wanted[] =
        "  spent                             $0.00\n"
        "  spent by earlier runs             $0.00  (at least)\n"
        "  cost not known                        7  attempts\n";

    stats.priced = true;
    stats.unpriced_before = 7;
    cr_assert(eq(int, belay__batch_report_text(&buffer, &stats), 0));
    (void)text();
    cr_expect(ne(ptr, strstr(buffer.data, wanted), NULL), "%s", buffer.data);
    belay__buffer_clear(&buffer);
    cr_assert(eq(int, belay__batch_report_json(&buffer, &stats, "done"), 0));
    (void)text();
    cr_expect(
        ne(ptr, strstr(buffer.data, "\"cost_not_known_before\":7,"), NULL));
}

/* ---- over time ---- */

Test(batch_report, b27_a_series_of_any_length_fits)
{
    struct belay__series *series = &stats.series;

    for (uint64_t i = 0; i < 10000; i++) {
        const uint64_t at = i * (uint64_t)belay__series_interval(series);

        belay__series_add(series, &(const struct belay__sample){.done = at});
        if (at > INT64_C(4000) * SECOND) {
            break;
        }
        i = series->count - 1;
    }
    cr_expect(ge(sz, series->count, BELAY__SERIES_SAMPLES / 2));
    cr_expect(le(sz, series->count, BELAY__SERIES_SAMPLES));
    for (size_t i = 0; i < series->count; i++) {
        cr_expect(eq(u64, series->samples[i].done,
            i * (uint64_t)belay__series_interval(series)));
    }
}

/* ---- the page ---- */

static int
make_page(void)
{
    return belay__batch_report_html(&buffer, &stats,
        &(const struct belay__html_opts){.input = "<in>&",
            .output = "\"out\"",
            .began = "today",
            .state = "done",
            .resume = "belay batch <in>"});
}

Test(batch_report, b27_the_page_needs_nothing_else_and_escapes_names)
{
    for (uint32_t i = 0; i < 50; i++) {
        belay__series_add(
            &stats.series, &(const struct belay__sample){
                               .done = i * 3, .in_flight = i, .limit = i + 5});
    }
    stats.model_count = 1;
    (void)snprintf(
        stats.models[0].name, sizeof(stats.models[0].name), "<script>x");
    cr_assert(eq(int, make_page(), 0));
    (void)text();
    cr_expect(eq(ptr, strstr(buffer.data, "<script"), NULL));
    cr_expect(eq(ptr, strstr(buffer.data, "http:"), NULL));
    cr_expect(eq(ptr, strstr(buffer.data, "https:"), NULL));
    cr_expect(eq(ptr, strstr(buffer.data, "nan"), NULL));
    cr_expect(eq(ptr, strstr(buffer.data, "<in>"), NULL));
    cr_expect(ne(ptr, strstr(buffer.data, "&lt;script&gt;x"), NULL));
    cr_expect(ne(ptr, strstr(buffer.data, "&lt;in&gt;&amp;"), NULL));
    cr_expect(ne(ptr, strstr(buffer.data, "p99 2 s"), NULL));
    cr_expect(ne(ptr, strstr(buffer.data, "</svg>"), NULL));
    cr_expect(ne(ptr, strstr(buffer.data, "</html>"), NULL));
}

/* A job of one run does not say what is of the job. */
Test(batch_report, b27_the_page_tells_the_job_from_its_last_run)
{
    cr_assert(eq(int, make_page(), 0));
    (void)text();
    cr_expect(eq(ptr, strstr(buffer.data, "whole job"), NULL));
    cr_expect(ne(ptr, strstr(buffer.data, "are not sent again"), NULL));
    belay__buffer_clear(&buffer);
    stats.resumed = 30;
    stats.resumed_failed = 10;
    cr_assert(eq(int, make_page(), 0));
    (void)text();
    cr_expect(ne(ptr,
        strstr(buffer.data, "<b>110</b><span>succeeded &middot; whole job"),
        NULL));
    cr_expect(ne(ptr, strstr(buffer.data, "req/s &middot; this run"), NULL));
    cr_expect(ne(ptr, strstr(buffer.data, "tokens &middot; this run"), NULL));
}

/* From a microsecond to a quarter of an hour there are some thirty ticks. */
Test(batch_report, b27_labels_below_an_axis_do_not_overlap)
{
    double before = 0;
    int count = 0;

    stats.latency_us = (struct belay__histogram){.count = 0};
    belay__histogram_add(&stats.latency_us, 1);
    belay__histogram_add(&stats.latency_us, 1000000000);
    cr_assert(eq(int, make_page(), 0));
    (void)text();
    for (const char *at = strstr(buffer.data, "how long requests took");
         (at = strstr(at, "class=\"tick\"")) != NULL; at++) {
        double x = 0;
        double y = 0;

        cr_assert(eq(
            int, sscanf(at, "class=\"tick\" x=\"%lf\" y=\"%lf\"", &x, &y), 2));
        if (y > 215) { /* below the x axis */
            cr_expect(gt(dbl, x, before + 25));
            before = x;
            count++;
        }
    }
    cr_expect(gt(int, count, 5));
}

Test(batch_report, b27_the_page_of_a_batch_of_nothing)
{
    stats =
        (struct belay__batch_stats){.started_ns = SECOND, .ended_ns = SECOND};
    cr_assert(eq(int, make_page(), 0));
    (void)text();
    cr_expect(eq(ptr, strstr(buffer.data, "nan"), NULL));
    cr_expect(eq(ptr, strstr(buffer.data, "inf"), NULL));
}

Test(batch_report, b27_without_memory_there_is_no_page)
{
    for (size_t k = 0; k < 100; k++) {
        int code;

        belay__buffer_fini(&buffer);
        belay__buffer_init(&buffer, memory, 65536);
        test_alloc_fail_at(k);
        code = make_page();
        if (test_alloc_failures() == 0) {
            cr_expect(eq(int, code, 0));
            return;
        }
        cr_expect(eq(int, code, BELAY_ENOMEM));
    }
    cr_assert(false, "it never had enough");
}
