/* progress.c - a running batch in one line. */
#include "llm/batch/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BAR_CELLS 20
#define NS_PER_S 1e9
#define PICO_PER_USD 1e12
#define SMOOTHING_S 3.0 /* a rate forgets what is older, gradually */
#define LEFT_MAX_S 1e7  /* a guess beyond four months is none */

/* A mean in which an interval counts by its length, and less the longer it is
 * past; right from the first interval on.
 */
void
belay__batch_rates_update(struct belay__batch_rates *rates,
    const struct belay__batch_stats *stats, int64_t now_ns)
{
    const uint64_t done = stats->ok + stats->failed;
    const uint64_t tokens = stats->tokens_in + stats->tokens_out;
    const int64_t since = rates->at_ns != 0 ? rates->at_ns : stats->started_ns;
    const double seconds = (double)(now_ns - since) / NS_PER_S;
    double fresh;
    double share;

    if (seconds <= 0) {
        return;
    }
    fresh = 1 - exp(-seconds / SMOOTHING_S);
    rates->weight = rates->weight * (1 - fresh) + fresh;
    share = fresh / rates->weight;
    rates->done_per_s +=
        share
        * (((double)done - (double)rates->done) / seconds - rates->done_per_s);
    rates->tokens_per_s +=
        share
        * ((double)(tokens - rates->tokens) / seconds - rates->tokens_per_s);
    if (rates->done_per_s < 0) { /* lines were taken back: a full disk */
        rates->done_per_s = 0;
    }
    rates->at_ns = now_ns;
    rates->done = done;
    rates->tokens = tokens;
}

void
belay__format_count(double value, char *ret, size_t size)
{
    static const char units[] = "kMGT";
    size_t unit = 0;

    if (value < 999.5) {
        (void)snprintf(ret, size,
            value < 9.95 && value != floor(value) ? "%.1f" : "%.0f", value);
        return;
    }
    value /= 1000;
    while (value >= 999.5 && unit + 2 < sizeof(units)) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(
        ret, size, value < 99.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
}

void
belay__format_span(double seconds, char *ret, size_t size)
{
    const uint64_t whole = seconds > 0 && seconds < 1e9 ? (uint64_t)seconds : 0;

    if (whole >= 3600) {
        (void)snprintf(ret, size, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64,
            whole / 3600, whole / 60 % 60, whole % 60);
    } else {
        (void)snprintf(
            ret, size, "%" PRIu64 ":%02" PRIu64, whole / 60, whole % 60);
    }
}

/* Cents while they say enough, four digits otherwise. */
void
belay__format_money(int64_t pico, char *ret, size_t size)
{
    const double dollars = (double)pico / PICO_PER_USD;
    int digits = 2;

    while (digits < 8 && dollars > 0 && dollars * pow(10, digits) < 99.5) {
        digits++;
    }
    (void)snprintf(ret, size, "$%.*f", digits, dollars);
}

int64_t
belay__batch_spent(const struct belay__batch_stats *stats)
{
    int64_t sum = stats->spent;

    if (__builtin_add_overflow(sum, stats->uncertain, &sum)
        || __builtin_add_overflow(sum, stats->spent_before, &sum)
        || __builtin_add_overflow(sum, stats->uncertain_before, &sum)) {
        return INT64_MAX;
    }
    return sum;
}

/* Lines that nothing is to be done about any more. */
static double
lines_behind(const struct belay__batch_stats *stats)
{
    return (double)(stats->ok + stats->failed + stats->passed);
}

/* How much of the input is done, from 0 to 1; negative: unknown. Lines that
 * were read and wait are not done, so their share is taken off.
 */
static double
fraction(const struct belay__batch_stats *stats)
{
    double share;

    if (stats->input_size == 0 || stats->lines == 0) {
        return -1;
    }
    share = (double)stats->input_bytes / (double)stats->input_size
            * (lines_behind(stats) / (double)stats->lines);
    return share > 1 ? 1 : share;
}

/* Seconds to go; negative: unknown. */
static double
seconds_left(const struct belay__batch_stats *stats,
    const struct belay__batch_rates *rates)
{
    const double share = fraction(stats);
    double left;

    if (share <= 0 || rates->done_per_s <= 0) {
        return -1;
    }
    left = lines_behind(stats) * (1 - share) / share / rates->done_per_s;
    return left <= LEFT_MAX_S ? left : -1;
}

/* How long nothing will be sent; 0: something is in flight or may be sent. */
static double
seconds_paused(const struct belay__batch_stats *stats, int64_t now_ns)
{
    return stats->in_flight == 0 && stats->due_ns > now_ns
               ? ceil((double)(stats->due_ns - now_ns) / NS_PER_S)
               : 0;
}

struct line {
    char *text;
    size_t size;
    size_t len;
};

static void add(struct line *line, const char *format, ...) BELAY_PRINTF(2, 3);

static void
add(struct line *line, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line->text + line->len, line->size - line->len, format, args);
    va_end(args);
    if (n > 0) {
        line->len += (size_t)n;
    }
    if (line->len >= line->size) {
        line->len = line->size - 1;
    }
}

/* The parts of the line, the one to be left out first ahead; what is shown is
 * in the order of `order`.
 */
enum field {
    FIELD_TOKENS,
    FIELD_BAR,
    FIELD_RETRYING,
    FIELD_REQUESTS,
    FIELD_FLIGHT,
    FIELD_PERCENT,
    FIELD_MONEY,
    FIELD_LEFT,
    FIELD_PAUSED,
    FIELD_FAILED,
    FIELD_OK,
    FIELD_COUNT,
};

#define FIELD_BYTES 64

static const enum field order[FIELD_COUNT] = {FIELD_BAR, FIELD_PERCENT,
    FIELD_OK, FIELD_FAILED, FIELD_FLIGHT, FIELD_RETRYING, FIELD_PAUSED,
    FIELD_REQUESTS, FIELD_TOKENS, FIELD_MONEY, FIELD_LEFT};

static void
show_share(char fields[FIELD_COUNT][FIELD_BYTES], double share)
{
    const int full = (int)(share * BAR_CELLS);
    char bar[BAR_CELLS + 1];

    memset(bar, ' ', BAR_CELLS);
    memset(bar, '=', (size_t)full);
    if (full < BAR_CELLS) {
        bar[full] = '>';
    }
    bar[BAR_CELLS] = '\0';
    (void)snprintf(fields[FIELD_BAR], FIELD_BYTES, "[%s]", bar);
    (void)snprintf(
        fields[FIELD_PERCENT], FIELD_BYTES, "%3.0f%%", floor(share * 100));
}

/* What was spent, uncertain amounts included, "of" the cap. */
static void
show_money(char ret[FIELD_BYTES], const struct belay__batch_stats *stats)
{
    const char *at_least =
        stats->unpriced > 0 || stats->unpriced_before > 0 ? ">" : "";
    char spent[24];
    char cap[24];

    if (!stats->priced && stats->cap == 0) {
        return;
    }
    belay__format_money(belay__batch_spent(stats), spent, sizeof(spent));
    if (stats->cap > 0) {
        belay__format_money(stats->cap, cap, sizeof(cap));
        (void)snprintf(ret, FIELD_BYTES, "%s%s of %s", at_least, spent, cap);
    } else {
        (void)snprintf(ret, FIELD_BYTES, "%s%s", at_least, spent);
    }
}

static void
show_lines(char fields[FIELD_COUNT][FIELD_BYTES],
    const struct belay__batch_stats *stats)
{
    char limit[16] = "";

    (void)snprintf(fields[FIELD_OK], FIELD_BYTES, "%" PRIu64 " ok", stats->ok);
    if (stats->failed > 0) {
        (void)snprintf(fields[FIELD_FAILED], FIELD_BYTES, "%" PRIu64 " failed",
            stats->failed);
    }
    if (stats->limit > 0) {
        (void)snprintf(limit, sizeof(limit), "/%" PRIu32, stats->limit);
    }
    (void)snprintf(fields[FIELD_FLIGHT], FIELD_BYTES, "%" PRIu32 "%s in flight",
        stats->in_flight, limit);
    if (stats->retrying > 0) {
        (void)snprintf(fields[FIELD_RETRYING], FIELD_BYTES,
            "%" PRIu32 " retrying", stats->retrying);
    }
}

static void
show_speed(char fields[FIELD_COUNT][FIELD_BYTES],
    const struct belay__batch_stats *stats,
    const struct belay__batch_rates *rates)
{
    const double left = seconds_left(stats, rates);
    const double pause = seconds_paused(stats, rates->at_ns);
    char text[24];

    if (pause > 0) {
        belay__format_span(pause, text, sizeof(text));
        (void)snprintf(
            fields[FIELD_PAUSED], FIELD_BYTES, "paused for %s", text);
    }
    belay__format_count(rates->done_per_s, text, sizeof(text));
    (void)snprintf(fields[FIELD_REQUESTS], FIELD_BYTES, "%s req/s", text);
    belay__format_count(rates->tokens_per_s, text, sizeof(text));
    (void)snprintf(fields[FIELD_TOKENS], FIELD_BYTES, "%s tok/s", text);
    if (left >= 0) {
        belay__format_span(left, text, sizeof(text));
        (void)snprintf(fields[FIELD_LEFT], FIELD_BYTES, "ETA %s", text);
    }
}

/* Between two fields are two blanks, but for one behind the bar. */
static size_t
length_of(char fields[FIELD_COUNT][FIELD_BYTES])
{
    size_t sum = 0;

    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (fields[i][0] != '\0') {
            sum += strlen(fields[i]) + (sum > 0 ? 2 : 0);
        }
    }
    return sum - (fields[FIELD_BAR][0] != '\0');
}

/* A number that is cut is a wrong one: what has no room is left out whole. */
void
belay__batch_progress_line(const struct belay__batch_stats *stats,
    const struct belay__batch_rates *rates, unsigned columns, char *ret,
    size_t size)
{
    char fields[FIELD_COUNT][FIELD_BYTES] = {{0}};
    struct line line = {ret, size, 0};
    const double share = fraction(stats);

    ret[0] = '\0';
    if (share >= 0) {
        show_share(fields, share);
    }
    show_lines(fields, stats);
    show_speed(fields, stats, rates);
    show_money(fields[FIELD_MONEY], stats);
    for (size_t i = 0;
         i < FIELD_COUNT && columns > 0 && length_of(fields) > columns; i++) {
        fields[i][0] = '\0';
    }
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (fields[order[i]][0] != '\0') {
            add(&line, "%s%s",
                line.len == 0               ? ""
                : order[i] == FIELD_PERCENT ? " "
                                            : "  ",
                fields[order[i]]);
        }
    }
}

void
belay__batch_progress_json(const struct belay__batch_stats *stats,
    const struct belay__batch_rates *rates, int64_t now_ns, char *ret,
    size_t size)
{
    struct line line = {ret, size, 0};
    const double left = seconds_left(stats, rates);
    const double pause = seconds_paused(stats, now_ns);

    add(&line,
        "{\"elapsed_s\":%.3f,\"lines\":%" PRIu64 ",\"ok\":%" PRIu64
        ",\"failed\":%" PRIu64 ",\"in_flight\":%" PRIu32
        ",\"retrying\":%" PRIu32 ",\"retries\":%" PRIu64
        ",\"input_bytes\":%" PRIu64 ",\"requests_per_s\":%.1f"
        ",\"tokens_per_s\":%.1f",
        (double)(now_ns - stats->started_ns) / NS_PER_S, stats->lines,
        stats->ok, stats->failed, stats->in_flight, stats->retrying,
        stats->retries, stats->input_bytes, rates->done_per_s,
        rates->tokens_per_s);
    if (stats->input_size > 0) {
        add(&line, ",\"input_size\":%" PRIu64, stats->input_size);
    }
    if (stats->limit > 0) {
        add(&line, ",\"limit\":%" PRIu32, stats->limit);
    }
    if (stats->priced) {
        add(&line, ",\"spent_usd\":%.6f",
            (double)belay__batch_spent(stats) / PICO_PER_USD);
    }
    if (stats->cap > 0) {
        add(&line, ",\"budget_usd\":%.6f", (double)stats->cap / PICO_PER_USD);
    }
    if (pause > 0) {
        add(&line, ",\"paused_s\":%.0f", pause);
    }
    if (left >= 0) {
        add(&line, ",\"eta_s\":%.0f", left);
    }
    add(&line, "}");
}
