/* retry_after.c - how long a server wants us to wait.
 *
 * What a server sends is a stranger's text: whatever does not parse to its
 * last byte counts as not sent, and no number of it can make a delay that is
 * zero, negative or overflows.
 */
#include "llm/retry.h"

#include <string.h>

#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

/* ---- reading what servers write ---- */

struct reader {
    const char *at;
    const char *end;
};

static struct reader
read_begin(struct belay_slice text)
{
    return text.len > 0 ? (struct reader){text.data, text.data + text.len}
                        : (struct reader){"", ""};
}

static bool
at_digit(const struct reader *in)
{
    return in->at < in->end && *in->at >= '0' && *in->at <= '9';
}

static bool
pass(struct reader *in, const char *text)
{
    const size_t len = strlen(text);

    if ((size_t)(in->end - in->at) < len || memcmp(in->at, text, len) != 0) {
        return false;
    }
    in->at += len;
    return true;
}

/* Exactly `digits` digits. */
static bool
read_digits(struct reader *in, int digits, int *ret)
{
    int value = 0;

    for (int i = 0; i < digits; i++, in->at++) {
        if (!at_digit(in)) {
            return false;
        }
        value = value * 10 + (*in->at - '0');
    }
    *ret = value;
    return true;
}

/* "12", "12.5": a number of units, as ns. Saturates; finer than a ns is cut. */
static bool
read_decimal(struct reader *in, int64_t unit_ns, int64_t *ret_ns)
{
    int64_t sum = 0;
    int64_t unit = unit_ns;

    if (!at_digit(in)) {
        return false;
    }
    for (; at_digit(in); in->at++) {
        if (__builtin_mul_overflow(sum, 10, &sum)
            || __builtin_add_overflow(sum, *in->at - '0', &sum)) {
            sum = INT64_MAX;
        }
    }
    if (__builtin_mul_overflow(sum, unit_ns, &sum)) {
        sum = INT64_MAX;
    }
    if (in->at < in->end && *in->at == '.') {
        for (in->at++; at_digit(in); in->at++) {
            unit /= 10;
            if (__builtin_add_overflow(sum, (*in->at - '0') * unit, &sum)) {
                sum = INT64_MAX;
            }
        }
    }
    *ret_ns = sum;
    return true;
}

/* The whole text is one decimal number of units. */
static bool
parse_decimal(struct belay_slice text, int64_t unit_ns, int64_t *ret_ns)
{
    struct reader in = read_begin(text);
    int64_t ns;

    if (!read_decimal(&in, unit_ns, &ns) || in.at != in.end) {
        return false;
    }
    *ret_ns = ns;
    return true;
}

static bool
read_unit(struct reader *in, int64_t *ret_ns)
{
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {
        {"ms", NS_PER_MS},
        {"us", 1000},
        {"ns", 1},
        {"s", NS_PER_S},
        {"m", 60 * NS_PER_S},
        {"h", 3600 * NS_PER_S},
        {"d", 86400 * NS_PER_S},
    };

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (pass(in, units[i].name)) {
            *ret_ns = units[i].ns;
            return true;
        }
    }
    return false;
}

bool
belay__llm_parse_span(struct belay_slice text, int64_t *ret_ns)
{
    struct reader in = read_begin(text);
    int64_t sum = 0;
    int64_t unit = NS_PER_S;
    int64_t part;

    if (parse_decimal(text, NS_PER_S, ret_ns)) {
        return true;
    }
    while (in.at < in.end) {
        struct reader number = in;

        /* The unit stands behind the number that it is for. */
        if (!read_decimal(&in, 1, &part) || !read_unit(&in, &unit)
            || !read_decimal(&number, unit, &part)) {
            return false;
        }
        if (__builtin_add_overflow(sum, part, &sum)) {
            sum = INT64_MAX;
        }
    }
    if (text.len == 0) {
        return false;
    }
    *ret_ns = sum;
    return true;
}

/* ---- dates ---- */

struct date {
    int year;
    int month; /* from 1 */
    int day;
    int hour;
    int minute;
    int second;
};

/* Days since 1970 in the Gregorian calendar (Howard Hinnant's algorithm). */
static int64_t
days_of(const struct date *date)
{
    const int64_t year = date->year - (date->month <= 2 ? 1 : 0);
    const int64_t era = year / 400;
    const int64_t of_era = year - era * 400;
    const int64_t month = date->month + (date->month > 2 ? -3 : 9);
    const int64_t of_year = (153 * month + 2) / 5 + date->day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year
           - 719468;
}

static bool
date_seconds(const struct date *date, int64_t *ret_s)
{
    if (date->month < 1 || date->month > 12 || date->day < 1 || date->day > 31
        || date->hour > 23 || date->minute > 59 || date->second > 60) {
        return false;
    }
    *ret_s = days_of(date) * 86400 + date->hour * INT64_C(3600)
             + date->minute * INT64_C(60) + date->second;
    return true;
}

static bool
read_month(struct reader *in, int *ret)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

    if (in->end - in->at < 3) {
        return false;
    }
    for (size_t i = 0; i < 12; i++) {
        if (memcmp(in->at, names + i * 3, 3) == 0) {
            in->at += 3;
            *ret = (int)i + 1;
            return true;
        }
    }
    return false;
}

static bool
read_time(struct reader *in, struct date *date)
{
    return read_digits(in, 2, &date->hour) && pass(in, ":")
           && read_digits(in, 2, &date->minute) && pass(in, ":")
           && read_digits(in, 2, &date->second);
}

/* "06 Nov 1994 08:49:37 GMT", behind "Sun, " */
static bool
read_fixdate(struct reader *in, struct date *date)
{
    return read_digits(in, 2, &date->day) && pass(in, " ")
           && read_month(in, &date->month) && pass(in, " ")
           && read_digits(in, 4, &date->year) && pass(in, " ")
           && read_time(in, date) && pass(in, " GMT");
}

/* "06-Nov-94 08:49:37 GMT", behind "Sunday, " */
static bool
read_rfc850(struct reader *in, struct date *date)
{
    if (!read_digits(in, 2, &date->day) || !pass(in, "-")
        || !read_month(in, &date->month) || !pass(in, "-")
        || !read_digits(in, 2, &date->year)) {
        return false;
    }
    date->year += date->year < 70 ? 2000 : 1900;
    return pass(in, " ") && read_time(in, date) && pass(in, " GMT");
}

/* "Nov  6 08:49:37 1994", behind "Sun " */
static bool
read_asctime(struct reader *in, struct date *date)
{
    if (!read_month(in, &date->month) || !pass(in, " ")) {
        return false;
    }
    return read_digits(in, pass(in, " ") ? 1 : 2, &date->day) && pass(in, " ")
           && read_time(in, date) && pass(in, " ")
           && read_digits(in, 4, &date->year);
}

/* "Sun, ", "Sunday, " or "Sun ", and what follows each. */
static bool
read_http_date(struct reader *in, struct date *date)
{
    const char *name = in->at;

    while (in->at < in->end && ((*in->at | 0x20) >= 'a')
           && ((*in->at | 0x20) <= 'z')) {
        in->at++;
    }
    if (in->at - name < 3) {
        return false;
    }
    if (!pass(in, ", ")) {
        return pass(in, " ") && read_asctime(in, date);
    }
    return in->at - name == 5 ? read_fixdate(in, date) : read_rfc850(in, date);
}

/* "Z", "+01:00", "-05:30" */
static bool
read_zone(struct reader *in, int *ret_s)
{
    const int sign = pass(in, "+") ? 1 : -1;
    int hours;
    int minutes;

    if (sign < 0 && (pass(in, "Z") || pass(in, "z"))) {
        *ret_s = 0;
        return true;
    }
    if ((sign < 0 && !pass(in, "-")) || !read_digits(in, 2, &hours)
        || !pass(in, ":") || !read_digits(in, 2, &minutes)) {
        return false;
    }
    *ret_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

/* "1994-11-06T08:49:37.5Z" */
static bool
parse_rfc3339(struct reader in, int64_t *ret_s)
{
    struct date date;
    int64_t fraction;
    int zone;

    if (!read_digits(&in, 4, &date.year) || !pass(&in, "-")
        || !read_digits(&in, 2, &date.month) || !pass(&in, "-")
        || !read_digits(&in, 2, &date.day)
        || !(pass(&in, "T") || pass(&in, "t") || pass(&in, " "))
        || !read_time(&in, &date)) {
        return false;
    }
    if (pass(&in, ".") && !read_decimal(&in, 1, &fraction)) {
        return false;
    }
    if (!read_zone(&in, &zone) || in.at != in.end
        || !date_seconds(&date, ret_s)) {
        return false;
    }
    *ret_s -= zone;
    return true;
}

bool
belay__llm_parse_date(struct belay_slice text, int64_t *ret_s)
{
    struct reader in = read_begin(text);
    struct date date;

    if (at_digit(&in)) {
        return parse_rfc3339(in, ret_s);
    }
    return read_http_date(&in, &date) && in.at == in.end
           && date_seconds(&date, ret_s);
}

/* ---- the server's delays (L33) ---- */

/* The server's own idea of now, if it tells it: its clock may be wrong, but
 * it is the one that it has made its dates with.
 */
static int64_t
now_of(const struct belay__llm_headers *headers, int64_t wall_clock)
{
    int64_t now;

    if (belay__llm_parse_date(headers->get_fn(headers->arg, "date"), &now)) {
        return now;
    }
    return wall_clock;
}

static bool
until_date(const struct belay__llm_headers *headers, struct belay_slice text,
    int64_t wall_clock, int64_t *ret_ns)
{
    int64_t when;

    if (!belay__llm_parse_date(text, &when)) {
        return false;
    }
    *ret_ns = belay_seconds(when - now_of(headers, wall_clock)).ns;
    return *ret_ns > 0;
}

static bool
retry_after(const struct belay__llm_headers *headers, int64_t wall_clock,
    int64_t *ret_ns)
{
    const struct belay_slice ms =
        headers->get_fn(headers->arg, "retry-after-ms");
    const struct belay_slice after =
        headers->get_fn(headers->arg, "retry-after");

    if (parse_decimal(ms, NS_PER_MS, ret_ns) && *ret_ns > 0) {
        return true;
    }
    if (parse_decimal(after, NS_PER_S, ret_ns)) {
        return *ret_ns > 0;
    }
    return until_date(headers, after, wall_clock, ret_ns);
}

static bool
is_zero(struct belay_slice text)
{
    return text.len == 1 && text.data[0] == '0';
}

/* One bucket of a rate limit: its reset counts if it is empty. */
static void
ask_bucket(const struct belay__llm_headers *headers, const char *remaining,
    const char *reset, int64_t wall_clock, int64_t *longest_ns)
{
    const struct belay_slice text = headers->get_fn(headers->arg, reset);
    int64_t ns;

    if (!is_zero(headers->get_fn(headers->arg, remaining))) {
        return;
    }
    if ((belay__llm_parse_span(text, &ns)
            || until_date(headers, text, wall_clock, &ns))
        && ns > *longest_ns) {
        *longest_ns = ns;
    }
}

static bool
rate_limit(const struct belay__llm_headers *headers, int64_t wall_clock,
    int64_t *ret_ns)
{
    static const struct {
        const char *remaining;
        const char *reset;
    } buckets[] = {
        {"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"},
        {"x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"},
        {"anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset"},
        {"anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset"},
        {"anthropic-ratelimit-input-tokens-remaining",
            "anthropic-ratelimit-input-tokens-reset"},
        {"anthropic-ratelimit-output-tokens-remaining",
            "anthropic-ratelimit-output-tokens-reset"},
    };
    int64_t longest_ns = 0;

    for (size_t i = 0; i < sizeof(buckets) / sizeof(buckets[0]); i++) {
        ask_bucket(headers, buckets[i].remaining, buckets[i].reset, wall_clock,
            &longest_ns);
    }
    if (longest_ns > 0) {
        *ret_ns = longest_ns;
    }
    return longest_ns > 0;
}

bool
belay__llm_asked_delay(int status, const struct belay__llm_headers *headers,
    int64_t wall_clock, int64_t *ret_ns)
{
    int64_t ns;

    if (retry_after(headers, wall_clock, &ns)
        || (status == 429 && rate_limit(headers, wall_clock, &ns))) {
        *ret_ns = ns;
        return true;
    }
    return false;
}
