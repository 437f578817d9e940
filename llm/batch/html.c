/* html.c - what a batch has done, as a page.
 *
 * Everything on it is in it. Numbers come first, then what they looked like
 * over time; it follows the reader's light or dark, and prints.
 */
#include "llm/batch/html.h"

#include "llm/batch/plot.h"
#include "llm/batch/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define US_PER_S 1e6
#define NS_PER_S 1e9
#define BARS 48

struct page {
    struct belay__buffer *buffer;
    const struct belay__batch_stats *stats;
    const struct belay__html_opts *opts;
    double seconds;
    int code;
};

static void put(struct page *page, const char *format, ...) BELAY_PRINTF(2, 3);

static void
put(struct page *page, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (page->code == 0) {
        page->code = belay__buffer_format_va(page->buffer, format, args);
    }
    va_end(args);
}

static void
put_text(struct page *page, const char *text)
{
    if (page->code == 0) {
        page->code = belay__html_text(page->buffer, text);
    }
}

/* ---- how numbers look ---- */

static void
format_seconds(double value, char *ret, size_t size)
{
    belay__format_span(value, ret, size);
}

/* Of latencies: "250 ms", "1.5 s". */
static void
format_latency(double value, char *ret, size_t size)
{
    if (value < 0.9995) {
        (void)snprintf(
            ret, size, value < 0.00995 ? "%.1f ms" : "%.0f ms", value * 1000);
    } else {
        (void)snprintf(ret, size,
            value < 9.95 && value != floor(value) ? "%.1f s" : "%.0f s", value);
    }
}

static void
format_whole(uint64_t value, char *ret, size_t size)
{
    char digits[24];
    const int len = snprintf(digits, sizeof(digits), "%" PRIu64, value);
    size_t at = 0;

    for (int i = 0; i < len && at + 5 < size; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            ret[at++] = ',';
        }
        ret[at++] = digits[i];
    }
    ret[at] = '\0';
}

/* ---- the head ---- */

/* Of the whole job, or of the last of its runs? Where that is one thing nothing
 * is said.
 */
enum of_what {
    OF_JOB,
    OF_RUN,
};

static void
tile(struct page *page, const char *value, const char *label, enum of_what what)
{
    const struct belay__batch_stats *stats = page->stats;
    const bool first = stats->resumed == 0 && stats->spent_before == 0
                       && stats->uncertain_before == 0;

    put(page, "<div class=\"tile\"><b>%s</b><span>%s%s</span></div>\n", value,
        label,
        first            ? ""
        : what == OF_JOB ? " &middot; whole job"
                         : " &middot; this run");
}

static void
money_tile(struct page *page)
{
    const struct belay__batch_stats *stats = page->stats;
    char spent[24];
    char value[32];
    const char *what = stats->uncertain > 0 || stats->uncertain_before > 0
                           ? "spent or uncertain"
                           : "spent";
    char label[64];
    char cap[24];

    belay__format_money(belay__batch_spent(stats), spent, sizeof(spent));
    (void)snprintf(value, sizeof(value), "%s%s",
        stats->unpriced > 0 || stats->unpriced_before > 0 ? "&ge; " : "",
        spent);
    if (stats->cap > 0) {
        belay__format_money(stats->cap, cap, sizeof(cap));
        (void)snprintf(label, sizeof(label), "%s, of %s", what, cap);
    } else {
        (void)snprintf(label, sizeof(label), "%s", what);
    }
    tile(page, value, label, OF_JOB);
}

static void
tiles(struct page *page)
{
    const struct belay__batch_stats *stats = page->stats;
    const double done = (double)(stats->ok + stats->failed);
    char value[32];
    char label[64];

    put(page, "<div class=\"tiles\">\n");
    format_whole(stats->ok + stats->resumed - stats->resumed_failed, value,
        sizeof(value));
    tile(page, value, "succeeded", OF_JOB);
    format_whole(stats->failed + stats->resumed_failed, value, sizeof(value));
    tile(page, value, "failed", OF_JOB);
    belay__format_span(page->seconds, value, sizeof(value));
    belay__format_count(
        page->seconds > 0 ? done / page->seconds : 0, label, 16);
    (void)snprintf(
        label + strlen(label), sizeof(label) - strlen(label), " req/s");
    tile(page, value, label, OF_RUN);
    if (stats->priced || stats->cap > 0) {
        money_tile(page);
    } else {
        belay__format_count((double)(stats->tokens_in + stats->tokens_out),
            value, sizeof(value));
        tile(page, value, "tokens", OF_RUN);
    }
    put(page, "</div>\n");
}

static void
outcome(struct page *page)
{
    const struct belay__batch_stats *stats = page->stats;
    const double good =
        (double)(stats->ok + stats->resumed - stats->resumed_failed);
    const double bad = (double)(stats->failed + stats->resumed_failed);
    const double left = (double)(stats->dropped + stats->unread);
    const double sum = good + bad + left;

    if (sum <= 0) {
        return;
    }
    put(page,
        "<section><div class=\"share\" role=\"img\" aria-label=\"%.0f%% "
        "succeeded\"><i class=\"ok\" style=\"width:%.2f%%\"></i>",
        100 * good / sum, 100 * good / sum);
    if (bad > 0) {
        put(page, "<i class=\"no\" style=\"width:%.2f%%\"></i>",
            100 * bad / sum);
    }
    put(page, "</div></section>\n");
}

static void
head(struct page *page)
{
    const struct belay__html_opts *opts = page->opts;

    put(page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width\">"
        "<title>belay batch");
    if (opts->output != NULL) {
        put(page, " &middot; ");
        put_text(page, opts->output);
    }
    put(page, "</title>\n<style>\n");
    if (page->code == 0) {
        page->code = belay__buffer_append(
            page->buffer, belay__html_style, strlen(belay__html_style));
    }
    put(page, "</style></head><body>\n<h1>Batch");
    if (opts->state != NULL) {
        put(page, ", ");
        put_text(page, opts->state);
    }
    put(page, "</h1>\n<p class=\"sub\">");
    if (opts->input != NULL && opts->output != NULL) {
        put_text(page, opts->input);
        put(page, " &rarr; ");
        put_text(page, opts->output);
    }
    if (opts->began != NULL) {
        put(page, "<br>begun ");
        put_text(page, opts->began);
    }
    put(page, "</p>\n");
}

/* ---- plots ---- */

static void
begin_section(struct page *page, const char *title)
{
    put(page, "<section><h2>%s</h2>\n", title);
}

static void
end_section(struct page *page)
{
    put(page, "</section>\n");
}

/* How much more per second between two samples. */
static double
rate(const struct belay__series *series, uint64_t now, uint64_t before)
{
    return (double)(now - before)
           / ((double)belay__series_interval(series) / NS_PER_S);
}

static void
throughput(struct page *page, struct belay__plot_line lines[2])
{
    const struct belay__series *series = &page->stats->series;
    const struct belay__plot plot = {
        .label = "requests a second, over time",
        .x_max = (double)(series->count - 1)
                 * (double)belay__series_interval(series) / NS_PER_S,
        .format_x = format_seconds,
        .format_y = belay__format_count,
    };
    const struct belay__sample *samples = series->samples;

    lines[0] = (struct belay__plot_line){.label = "results",
        .class_name = "c1",
        .area = true,
        .count = series->count};
    lines[1] = (struct belay__plot_line){
        .label = "refused", .class_name = "c3", .count = series->count};
    for (size_t i = 1; i < series->count; i++) {
        lines[0].y[i] = rate(series, samples[i].done, samples[i - 1].done);
        lines[1].y[i] =
            rate(series, samples[i].congested, samples[i - 1].congested);
    }
    lines[0].y[0] = lines[0].y[1];
    begin_section(page, "Requests a second");
    if (page->code == 0) {
        page->code = belay__plot_lines(
            page->buffer, &plot, lines, page->stats->congested > 0 ? 2 : 1);
    }
    end_section(page);
}

static void
concurrency(struct page *page, struct belay__plot_line lines[2])
{
    const struct belay__series *series = &page->stats->series;
    const struct belay__plot plot = {
        .label = "requests in flight and their limit, over time",
        .x_max = (double)(series->count - 1)
                 * (double)belay__series_interval(series) / NS_PER_S,
        .format_x = format_seconds,
        .format_y = belay__format_count,
    };

    lines[0] = (struct belay__plot_line){.label = "in flight",
        .class_name = "c1",
        .area = true,
        .count = series->count};
    lines[1] = (struct belay__plot_line){.label = "limit",
        .class_name = "c2",
        .steps = true,
        .count = series->count};
    for (size_t i = 0; i < series->count; i++) {
        lines[0].y[i] = series->samples[i].in_flight;
        lines[1].y[i] = series->samples[i].limit;
    }
    begin_section(page, "In flight");
    if (page->code == 0) {
        page->code = belay__plot_lines(page->buffer, &plot, lines, 2);
    }
    end_section(page);
}

/* The buckets of the histogram, always as many of them to a bar, so that none
 * is higher just because of where it begins.
 */
static size_t
make_bars(
    const struct belay__histogram *latency, struct belay__plot_bar bars[BARS])
{
    uint32_t first = BELAY__HISTOGRAM_BUCKETS;
    uint32_t last = 0;
    uint32_t each;
    size_t count;

    for (uint32_t i = 0; i < BELAY__HISTOGRAM_BUCKETS; i++) {
        if (latency->buckets[i] > 0) {
            first = i < first ? i : first;
            last = i;
        }
    }
    each = (last - first) / BARS + 1;
    count = (last - first) / each + 1;
    for (size_t i = 0; i < count; i++) {
        const uint32_t from = first + (uint32_t)i * each;
        const double low =
            from > 0 ? (double)belay__histogram_upper(from - 1) : 0;

        bars[i] = (struct belay__plot_bar){
            .low = (low > 0.5 ? low : 0.5) / US_PER_S,
            .high = (double)belay__histogram_upper(from + each - 1) / US_PER_S};
        for (uint32_t k = from; k < from + each && k < BELAY__HISTOGRAM_BUCKETS;
             k++) {
            bars[i].value += (double)latency->buckets[k];
        }
    }
    return count;
}

static void
distribution(struct page *page)
{
    static const double percents[] = {50, 90, 99};
    const struct belay__histogram *latency = &page->stats->latency_us;
    const struct belay__plot plot = {
        .label = "how long requests took",
        .format_x = format_latency,
        .format_y = belay__format_count,
    };
    struct belay__plot_bar bars[BARS];
    struct belay__plot_mark marks[3];
    char labels[3][32];
    size_t count;

    if (latency->count == 0) {
        return;
    }
    count = make_bars(latency, bars);
    for (size_t i = 0; i < 3; i++) {
        char text[16];

        marks[i] = (struct belay__plot_mark){.label = labels[i],
            .x = (double)belay__histogram_percentile(latency, percents[i])
                 / US_PER_S};
        format_latency(marks[i].x, text, sizeof(text));
        (void)snprintf(
            labels[i], sizeof(labels[i]), "p%.0f %s", percents[i], text);
    }
    begin_section(page, "Latency, from the first attempt to the result");
    if (page->code == 0) {
        page->code =
            belay__plot_histogram(page->buffer, &plot, bars, count, marks, 3);
    }
    end_section(page);
}

static void
models(struct page *page)
{
    const struct belay__batch_stats *stats = page->stats;
    const struct belay__plot plot = {.label = "models"};
    struct belay__plot_row rows[BELAY__STATS_MODELS];
    char texts[BELAY__STATS_MODELS][144];

    if (stats->model_count == 0) {
        return;
    }
    for (size_t i = 0; i < stats->model_count; i++) {
        const struct belay__model_stats *model = &stats->models[i].stats;
        char tokens[16];
        char money[24] = "";
        char doubt[48] = "";

        belay__format_count((double)(model->tokens_in + model->tokens_out),
            tokens, sizeof(tokens));
        rows[i] = (struct belay__plot_row){
            .name = stats->models[i].name[0] != '\0' ? stats->models[i].name
                                                     : "(no model)",
            .text = texts[i]};
        if (stats->priced) {
            belay__format_money(model->spent, money, sizeof(money));
            if (model->uncertain > 0) {
                memcpy(doubt, " and ", 6);
                belay__format_money(model->uncertain, doubt + 5, 24);
                memcpy(doubt + strlen(doubt), " uncertain", 11);
            }
            rows[i].value = (double)model->spent;
            rows[i].second = (double)model->uncertain;
        } else {
            rows[i].value = (double)(model->tokens_in + model->tokens_out);
        }
        (void)snprintf(texts[i], sizeof(texts[i]),
            "%" PRIu64 " lines, %s tokens%s%s%s%s", model->ok + model->failed,
            tokens, money[0] != '\0' ? ", " : "",
            model->unpriced > 0 && money[0] != '\0' ? "at least " : "", money,
            doubt);
    }
    begin_section(page, stats->priced ? "Cost by model" : "Tokens by model");
    if (page->code == 0) {
        page->code =
            belay__plot_rows(page->buffer, &plot, rows, stats->model_count);
    }
    end_section(page);
}

/* ---- the table ---- */

static void
row(struct page *page, const char *name, uint64_t value, bool always)
{
    char text[32];

    if (value > 0 || always) {
        format_whole(value, text, sizeof(text));
        put(page, "<tr><td>%s</td><td>%s</td></tr>\n", name, text);
    }
}

static void
failures(struct page *page)
{
    const struct belay__batch_stats *stats = page->stats;

    for (unsigned i = 0; i < BELAY__STATUS_COUNT; i++) {
        if (stats->statuses[i] > 0 && (i < 200 || i > 299)) {
            put(page,
                "<tr><td class=\"in\">HTTP %u</td><td>%" PRIu64 "</td></tr>\n",
                i, stats->statuses[i]);
        }
    }
    for (int i = 1; i < BELAY__LINE_ERROR_COUNT; i++) {
        if (stats->errors[i] > 0) {
            put(page, "<tr><td class=\"in\">%s</td><td>%" PRIu64 "</td></tr>\n",
                belay__line_error_code((enum belay__line_error)i),
                stats->errors[i]);
        }
    }
}

static void
money_row(struct page *page, const char *name, int64_t pico)
{
    char text[24];

    if (pico > 0) {
        belay__format_money(pico, text, sizeof(text));
        put(page, "<tr><td>%s</td><td>%s</td></tr>\n", name, text);
    }
}

static void
table(struct page *page)
{
    const struct belay__batch_stats *stats = page->stats;
    int64_t uncertain = stats->uncertain;

    begin_section(page, "Counts of this run");
    put(page, "<table>\n");
    row(page, "lines read", stats->lines, true);
    row(page, "succeeded", stats->ok, true);
    row(page, "failed", stats->failed, true);
    failures(page);
    row(page, "done by earlier runs", stats->resumed, false);
    row(page, "failed before, tried again", stats->again, false);
    row(page, "in doubt from earlier runs (may be billed twice)",
        stats->in_doubt, false);
    row(page, "not tried", stats->dropped - stats->cut, false);
    row(page, "not read", stats->unread, false);
    row(page, "sent, and cut off (may be billed)", stats->cut, false);
    row(page, "retries", stats->retries, false);
    row(page, "refused for the moment", stats->congested, false);
    row(page, "tokens in", stats->tokens_in, true);
    row(page, "&hellip; of them cached", stats->tokens_cached, false);
    row(page, "tokens out", stats->tokens_out, true);
    row(page, "&hellip; of them reasoning", stats->tokens_reasoning, false);
    money_row(page, "spent", stats->spent);
    money_row(page, "spent by earlier runs", stats->spent_before);
    belay__stats_add_money(&uncertain, stats->uncertain_before);
    money_row(page, "uncertain: sent, and no answer came", uncertain);
    row(page, "attempts whose cost is not known",
        stats->priced ? stats->unpriced + stats->unpriced_before : 0, false);
    put(page, "</table>\n");
    end_section(page);
}

int
belay__batch_report_html(struct belay__buffer *buffer,
    const struct belay__batch_stats *stats, const struct belay__html_opts *opts)
{
    struct page page = {
        .buffer = buffer,
        .stats = stats,
        .opts = opts,
        .seconds = (double)(stats->ended_ns - stats->started_ns) / NS_PER_S,
    };
    struct belay__plot_line lines[2];

    head(&page);
    tiles(&page);
    outcome(&page);
    if (stats->series.count > 2) {
        throughput(&page, lines);
        concurrency(&page, lines);
    }
    distribution(&page);
    models(&page);
    table(&page);
    if (opts->resume != NULL) {
        begin_section(&page, "To go on");
        put(&page,
            "<p class=\"how\">The lines that have an answer are not sent "
            "again:</p><code>");
        put_text(&page, opts->resume);
        put(&page, "</code>\n");
        end_section(&page);
    }
    put(&page, "<footer>Written by belay batch. Amounts that are uncertain "
               "count against a budget.</footer>\n</body></html>\n");
    return page.code;
}
