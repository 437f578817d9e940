/* test_llm_retry.c - every row and every bound of the rules for retries. */
#include "llm/retry.h"
#include "test/support/alloc.h"
#include "test/support/headers.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define S INT64_C(1000000000)
#define MS INT64_C(1000000)

TestSuite(llm_retry, .fini = check_clean, .timeout = 10);

#define NO_HEADERS HEADERS(NULL)

static int
judge(int status)
{
    return (int)belay__llm_judge_status(status, false, NO_HEADERS);
}

/* ---- L30 ---- */

Test(llm_retry, l30_statuses_that_may_get_better)
{
    static const int statuses[] = {
        408, 409, 425, 429, 500, 502, 503, 504, 505, 520, 529, 598, 599};

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        cr_expect(
            eq(int, judge(statuses[i]), BELAY__LLM_RETRY), "%d", statuses[i]);
    }
}

Test(llm_retry, l30_statuses_that_cannot)
{
    static const int statuses[] = {200, 201, 204, 299, 300, 301, 302, 307, 308,
        400, 402, 403, 404, 405, 410, 413, 415, 422, 451, 501, 600, 999};

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        cr_expect(
            eq(int, judge(statuses[i]), BELAY__LLM_NEVER), "%d", statuses[i]);
    }
}

Test(llm_retry, l30_a_key_that_is_refused)
{
    cr_expect(eq(int, judge(401), BELAY__LLM_REFUSED));
}

Test(llm_retry, l30_x_should_retry_wins_over_the_status)
{
    const struct belay__llm_headers *yes = HEADERS("x-should-retry", "true");
    const struct belay__llm_headers *no = HEADERS("X-Should-Retry", "False");
    const struct belay__llm_headers *junk = HEADERS("x-should-retry", "maybe");

    cr_expect(eq(
        int, (int)belay__llm_judge_status(400, false, yes), BELAY__LLM_RETRY));
    cr_expect(eq(
        int, (int)belay__llm_judge_status(503, false, no), BELAY__LLM_NEVER));
    cr_expect(eq(
        int, (int)belay__llm_judge_status(503, false, junk), BELAY__LLM_RETRY));
    cr_expect(eq(
        int, (int)belay__llm_judge_status(200, false, yes), BELAY__LLM_NEVER));
}

Test(llm_retry, l30_every_failure_of_an_exchange)
{
    static const struct {
        enum belay__http_failure failure;
        enum belay__llm_verdict verdict;
    } rows[] = {
        {BELAY__HTTP_OK, BELAY__LLM_NEVER},
        {BELAY__HTTP_RESOLVE, BELAY__LLM_RETRY},
        {BELAY__HTTP_CONNECT, BELAY__LLM_RETRY},
        {BELAY__HTTP_PROXY, BELAY__LLM_RETRY},
        {BELAY__HTTP_TLS, BELAY__LLM_RETRY},
        {BELAY__HTTP_CERTIFICATE, BELAY__LLM_NEVER},
        {BELAY__HTTP_SEND, BELAY__LLM_RETRY},
        {BELAY__HTTP_RESET, BELAY__LLM_RETRY},
        {BELAY__HTTP_EMPTY, BELAY__LLM_RETRY},
        {BELAY__HTTP_SHORT_BODY, BELAY__LLM_RETRY},
        {BELAY__HTTP_STREAM, BELAY__LLM_RETRY},
        {BELAY__HTTP_MALFORMED, BELAY__LLM_ONCE},
        {BELAY__HTTP_TIMEOUT_CONNECT, BELAY__LLM_RETRY},
        {BELAY__HTTP_TIMEOUT_FIRST_BYTE, BELAY__LLM_RETRY},
        {BELAY__HTTP_TIMEOUT_IDLE, BELAY__LLM_RETRY},
        {BELAY__HTTP_BODY_TOO_LARGE, BELAY__LLM_NEVER},
        {BELAY__HTTP_HEAD_TOO_LARGE, BELAY__LLM_NEVER},
        {BELAY__HTTP_NO_MEMORY, BELAY__LLM_NEVER},
        {BELAY__HTTP_SINK, BELAY__LLM_NEVER},
        {BELAY__HTTP_BAD_REQUEST, BELAY__LLM_NEVER},
        {BELAY__HTTP_CLOSED, BELAY__LLM_NEVER},
        {BELAY__HTTP_CANCELLED, BELAY__LLM_NEVER},
        {BELAY__HTTP_LOCAL, BELAY__LLM_NEVER},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cr_expect(eq(int, (int)belay__llm_judge_failure(rows[i].failure),
                      (int)rows[i].verdict),
            "failure %d", (int)rows[i].failure);
    }
}

Test(llm_retry, l30_who_pays)
{
    cr_expect(eq(int, (int)belay__llm_billed(200, true), BELAY_LLM_BILLED_YES));
    cr_expect(eq(int, (int)belay__llm_billed(429, true), BELAY_LLM_BILLED_NO));
    cr_expect(eq(int, (int)belay__llm_billed(400, true), BELAY_LLM_BILLED_NO));
    cr_expect(
        eq(int, (int)belay__llm_billed(504, true), BELAY_LLM_BILLED_UNKNOWN));
    cr_expect(
        eq(int, (int)belay__llm_billed(0, true), BELAY_LLM_BILLED_UNKNOWN));
    cr_expect(eq(int, (int)belay__llm_billed(0, false), BELAY_LLM_BILLED_NO));
}

/* ---- L31 ---- */

Test(llm_retry, l31_a_quota_is_never_retried)
{
    const struct belay__llm_headers *yes = HEADERS("x-should-retry", "true");

    cr_expect(eq(
        int, (int)belay__llm_judge_status(429, true, yes), BELAY__LLM_NEVER));
}

/* ---- L32 ---- */

static struct belay__llm_policy
policy_of(enum belay_llm_profile profile)
{
    const belay_duration none = {0};

    return belay__llm_policy_of(profile, none, none, none);
}

Test(llm_retry, l32_delays_stay_in_their_bounds)
{
    static const int64_t highest[] = {S / 2, S, 2 * S, 4 * S, 8 * S, 8 * S};
    const struct belay__llm_policy policy = policy_of(BELAY_LLM_INTERACTIVE);
    uint64_t random = 1;

    for (int round = 0; round < 2000; round++) {
        for (uint32_t n = 0; n < 6; n++) {
            const int64_t ns = belay__llm_backoff(&policy, n, &random);

            cr_assert(ge(i64, ns, highest[n] / 4 * 3));
            cr_assert(le(i64, ns, highest[n]));
        }
    }
}

Test(llm_retry, l32_delays_use_the_whole_range)
{
    const struct belay__llm_policy policy = policy_of(BELAY_LLM_INTERACTIVE);
    uint64_t random = 7;
    int64_t lowest = INT64_MAX;
    int64_t highest = 0;

    for (int round = 0; round < 2000; round++) {
        const int64_t ns = belay__llm_backoff(&policy, 0, &random);

        lowest = ns < lowest ? ns : lowest;
        highest = ns > highest ? ns : highest;
    }
    cr_expect(lt(i64, lowest, 376 * MS));
    cr_expect(gt(i64, highest, 499 * MS));
}

Test(llm_retry, l32_the_same_seed_gives_the_same_delays)
{
    const struct belay__llm_policy policy = policy_of(BELAY_LLM_INTERACTIVE);
    uint64_t one = 42;
    uint64_t two = 42;
    uint64_t other = 43;
    int64_t first = belay__llm_backoff(&policy, 0, &one);

    cr_expect(eq(i64, first, belay__llm_backoff(&policy, 0, &two)));
    cr_expect(ne(i64, first, belay__llm_backoff(&policy, 0, &other)));
    cr_expect(ne(i64, first, belay__llm_backoff(&policy, 0, &one)));
}

Test(llm_retry, l32_batch_scatters_fully_up_to_a_minute)
{
    const struct belay__llm_policy policy = policy_of(BELAY_LLM_BATCH);
    uint64_t random = 3;
    int64_t lowest = INT64_MAX;
    int64_t highest = 0;

    cr_expect(eq(i64, policy.cap_ns, 60 * S));
    cr_expect(eq(i64, policy.after_cap_ns, 600 * S));
    for (int round = 0; round < 2000; round++) {
        const int64_t ns = belay__llm_backoff(&policy, 31, &random);

        cr_assert(ge(i64, ns, 0));
        cr_assert(le(i64, ns, 60 * S));
        lowest = ns < lowest ? ns : lowest;
        highest = ns > highest ? ns : highest;
    }
    cr_expect(lt(i64, lowest, S));
    cr_expect(gt(i64, highest, 59 * S));
}

Test(llm_retry, l32_any_number_of_retries_and_any_cap_is_safe)
{
    const struct belay__llm_policy policy = belay__llm_policy_of(
        BELAY_LLM_INTERACTIVE, belay_seconds(1), BELAY_FOREVER, BELAY_FOREVER);
    uint64_t random = 5;
    const int64_t ns = belay__llm_backoff(&policy, UINT32_MAX, &random);

    cr_expect(ge(i64, ns, INT64_MAX / 4 * 3 - S));
    cr_expect(ge(i64, belay__llm_scatter(INT64_MAX, &random), INT64_MAX - 1));
}

Test(llm_retry, l32_given_numbers_replace_the_defaults)
{
    const struct belay__llm_policy policy =
        belay__llm_policy_of(BELAY_LLM_BATCH, belay_milliseconds(10),
            belay_milliseconds(20), belay_seconds(3));

    cr_expect(eq(i64, policy.base_ns, 10 * MS));
    cr_expect(eq(i64, policy.cap_ns, 20 * MS));
    cr_expect(eq(i64, policy.after_cap_ns, 3 * S));
    cr_expect(policy.full_jitter);
}

/* ---- L33 ---- */

/* The asked delay, or -1 for none; 784111777 is 1994-11-06 08:49:37. */
static int64_t
asked(int status, const struct belay__llm_headers *headers)
{
    int64_t ns = -1;
    const bool any = belay__llm_asked_delay(status, headers, 784111777, &ns);

    cr_assert(eq(int, any, ns > 0), "untouched unless true");
    return ns;
}

Test(llm_retry, l33_milliseconds_come_first)
{
    cr_expect(
        eq(i64, asked(503, HEADERS("retry-after-ms", "1500")), 1500 * MS));
    cr_expect(
        eq(i64, asked(503, HEADERS("Retry-After", "9", "Retry-After-Ms", "20")),
            20 * MS));
    cr_expect(eq(i64, asked(503, HEADERS("retry-after-ms", "0.5")), MS / 2));
    cr_expect(eq(i64,
        asked(503, HEADERS("retry-after-ms", "junk", "retry-after", "3")),
        3 * S));
    cr_expect(eq(i64,
        asked(503, HEADERS("retry-after-ms", "0", "retry-after", "3")), 3 * S));
}

Test(llm_retry, l33_whole_and_decimal_seconds)
{
    cr_expect(eq(i64, asked(429, HEADERS("retry-after", "120")), 120 * S));
    cr_expect(eq(i64, asked(429, HEADERS("retry-after", "1.25")), 1250 * MS));
    cr_expect(eq(i64, asked(429, HEADERS("retry-after", "0.001")), MS));
    cr_expect(eq(i64, asked(429, HEADERS("retry-after", "007")), 7 * S));
}

Test(llm_retry, l33_zero_negative_and_junk_are_ignored)
{
    static const char *const values[] = {"0", "0.0", "-5", "+5", "", " 5", "5 ",
        "5s", "0x10", "1e3", "inf", "nan", ".5", "5,5", "soon", "5\r\n",
        "Sun, 06 Nov 1994", "-0", "1.2.3"};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        cr_expect(eq(i64, asked(503, HEADERS("retry-after", values[i])), -1),
            "'%s'", values[i]);
    }
    cr_expect(eq(i64, asked(503, NO_HEADERS), -1));
}

Test(llm_retry, l33_a_huge_number_saturates)
{
    cr_expect(
        eq(i64, asked(503, HEADERS("retry-after", "99999999999999999999999")),
            INT64_MAX));
    cr_expect(eq(
        i64, asked(503, HEADERS("retry-after", "9223372036.9999")), INT64_MAX));
}

Test(llm_retry, l33_the_three_forms_of_a_date)
{
    static const char *const forms[] = {"Sun, 06 Nov 1994 08:50:07 GMT",
        "Sunday, 06-Nov-94 08:50:07 GMT", "Sun Nov  6 08:50:07 1994"};

    for (size_t i = 0; i < 3; i++) {
        cr_expect(eq(i64, asked(503, HEADERS("retry-after", forms[i])), 30 * S),
            "%s", forms[i]);
    }
}

Test(llm_retry, l33_a_date_counts_from_the_date_beside_it)
{
    const char *later = "Tue, 01 Jan 2030 00:00:10 GMT";

    cr_expect(eq(i64,
        asked(503, HEADERS("retry-after", later, "date",
                       "Tue, 01 Jan 2030 00:00:00 GMT")),
        10 * S));
    cr_expect(eq(i64,
        asked(503, HEADERS("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT",
                       "date", "yesterday")),
        30 * S));
}

Test(llm_retry, l33_a_date_in_the_past_is_ignored)
{
    cr_expect(eq(i64,
        asked(503, HEADERS("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")),
        -1));
    cr_expect(eq(i64,
        asked(503, HEADERS("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT")),
        -1));
}

Test(llm_retry, l33_dates_are_read_exactly)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Thu, 29 Feb 2024 23:59:59 GMT", 1709251199},
        {"Fri, 01 Mar 2024 00:00:00 GMT", 1709251200},
        {"Mon, 01 Mar 2100 00:00:00 GMT", 4107542400},
        {"Saturday, 31-Dec-16 23:59:60 GMT", 1483228800},
        {"2024-02-29T23:59:59Z", 1709251199},
        {"2024-02-29T23:59:59.999Z", 1709251199},
        {"2024-03-01T01:29:59+01:30", 1709251199},
        {"2024-02-29t18:59:59-05:00", 1709251199},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t seconds = -1;

        cr_expect(belay__llm_parse_date(slice(rows[i].text), &seconds));
        cr_expect(eq(i64, seconds, rows[i].seconds), "%s", rows[i].text);
    }
}

Test(llm_retry, l33_what_is_no_date)
{
    static const char *const texts[] = {"", "Sun", "Sun,", "Sun, ",
        "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nox 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 32 Nov 1994 08:49:37 GMT", "Sun Nov 6 08:49:37 1994",
        "2024-13-01T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00",
        "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00+1:00"};
    int64_t seconds = -1;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        cr_expect(not(belay__llm_parse_date(slice(texts[i]), &seconds)), "%s",
            texts[i]);
    }
    cr_expect(eq(i64, seconds, -1));
}

Test(llm_retry, l33_a_429_may_tell_by_its_rate_limit)
{
    const struct belay__llm_headers *openai = HEADERS(
        "x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests",
        "1m30s", "x-ratelimit-remaining-tokens", "5",
        "x-ratelimit-reset-tokens", "9h");
    const struct belay__llm_headers *anthropic =
        HEADERS("anthropic-ratelimit-tokens-remaining", "0",
            "anthropic-ratelimit-tokens-reset", "1994-11-06T08:49:40Z");

    cr_expect(eq(i64, asked(429, openai), 90 * S));
    cr_expect(eq(i64, asked(503, openai), -1), "of a 429 only");
    cr_expect(eq(i64, asked(429, anthropic), 3 * S));
}

Test(llm_retry, l33_retry_after_wins_over_the_rate_limit)
{
    cr_expect(eq(i64,
        asked(429, HEADERS("x-ratelimit-remaining-tokens", "0",
                       "x-ratelimit-reset-tokens", "50s", "retry-after", "2")),
        2 * S));
}

Test(llm_retry, l33_never_waits_less_than_asked_and_hardly_more)
{
    uint64_t random = 9;
    int64_t highest = 0;

    for (int round = 0; round < 2000; round++) {
        const int64_t ns = belay__llm_scatter(10 * S, &random);

        cr_assert(ge(i64, ns, 10 * S));
        cr_assert(le(i64, ns, 11 * S));
        highest = ns > highest ? ns : highest;
    }
    cr_expect(gt(i64, highest, 10900 * MS));
}

Test(llm_retry, l63_spans_of_rate_limits)
{
    static const struct {
        const char *text;
        int64_t ns;
    } rows[] = {{"12ms", 12 * MS}, {"1s", S}, {"6m0s", 360 * S},
        {"1h2m3s", 3723 * S}, {"1.5s", 1500 * MS}, {"20", 20 * S},
        {"0.25", 250 * MS}, {"1d", 86400 * S}, {"500us", MS / 2},
        {"1m0.5s", 60500 * MS}, {"999999999999h", INT64_MAX}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t ns = -1;

        cr_expect(belay__llm_parse_span(slice(rows[i].text), &ns));
        cr_expect(eq(i64, ns, rows[i].ns), "%s", rows[i].text);
    }
}

Test(llm_retry, l63_what_is_no_span)
{
    static const char *const texts[] = {
        "", "-1", "s", "1x", "1s2", "1 s", "1s ", "m5", "1..5s", "NaN"};
    int64_t ns = -1;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        cr_expect(
            not(belay__llm_parse_span(slice(texts[i]), &ns)), "%s", texts[i]);
    }
    cr_expect(eq(i64, ns, -1));
}

/* ---- L35 ---- */

static int
take_all(struct belay__llm_allowance *allowance, int64_t now_ns)
{
    int taken = 0;

    while (belay__llm_allowance_take(allowance, now_ns)) {
        taken++;
    }
    return taken;
}

Test(llm_retry, l35_ten_retries_without_any_calls)
{
    struct belay__llm_allowance allowance = {0};

    cr_expect(eq(int, take_all(&allowance, 123 * S), 10));
}

Test(llm_retry, l35_a_tenth_of_the_calls_and_ten)
{
    struct belay__llm_allowance allowance = {0};

    for (int i = 0; i < 200; i++) {
        belay__llm_allowance_call(&allowance, i * (59 * S / 200));
    }
    cr_expect(eq(int, take_all(&allowance, 59 * S), 30));
}

Test(llm_retry, l35_a_minute_later_all_is_forgotten)
{
    struct belay__llm_allowance allowance = {0};

    cr_expect(eq(int, take_all(&allowance, 0), 10));
    cr_expect(eq(int, take_all(&allowance, 54 * S), 0));
    cr_expect(eq(int, take_all(&allowance, 60 * S), 10));
    cr_expect(eq(int, take_all(&allowance, 100000 * S), 10));
}
