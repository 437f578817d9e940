/* report.c - what a batch has done, at its end. */
#include "llm/batch/report.h"

#include "llm/batch/progress.h"

#include <belay/price.h>

#include "llm/json/write.h"

#include <inttypes.h>
#include <stdio.h>

#define NS_PER_S 1e9
#define US_PER_S 1e6

static double
elapsed_s(const struct belay__batch_stats *stats)
{
    return (double)(stats->ended_ns - stats->started_ns) / NS_PER_S;
}

static double
per_second(uint64_t count, double seconds)
{
    return seconds > 0 ? (double)count / seconds : 0;
}

static int
add_failures(
    struct belay__buffer *buffer, const struct belay__batch_stats *stats)
{
    int code = 0;

    for (size_t i = 0; i < BELAY__STATUS_COUNT && code == 0; i++) {
        if (stats->statuses[i] > 0 && (i < 200 || i > 299)) {
            code =
                belay__buffer_format(buffer, "    HTTP %zu%*s%12" PRIu64 "\n",
                    i, 17, "", stats->statuses[i]);
        }
    }
    for (int i = 1; i < BELAY__LINE_ERROR_COUNT && code == 0; i++) {
        if (stats->errors[i] > 0) {
            code = belay__buffer_format(buffer, "    %-25s%12" PRIu64 "\n",
                belay__line_error_code((enum belay__line_error)i),
                stats->errors[i]);
        }
    }
    return code;
}

static int
add_tokens(struct belay__buffer *buffer, const struct belay__batch_stats *stats)
{
    int code = belay__buffer_format(buffer,
        "  tokens in                  %12" PRIu64 "  (%" PRIu64 " cached)\n"
        "  tokens out                 %12" PRIu64 "  (%" PRIu64 " reasoning)\n",
        stats->tokens_in, stats->tokens_cached, stats->tokens_out,
        stats->tokens_reasoning);

    if (code == 0 && stats->without_usage > 0) {
        code = belay__buffer_format(buffer,
            "  replies without usage      %12" PRIu64 "  (not in the tokens)\n",
            stats->without_usage);
    }
    return code;
}

static int
add_money(struct belay__buffer *buffer, const struct belay__batch_stats *stats)
{
    int64_t uncertain = stats->uncertain;
    const uint64_t unpriced = stats->unpriced + stats->unpriced_before;
    char text[24];
    int code = 0;

    if (!stats->priced && stats->cap == 0) {
        return 0;
    }
    belay__stats_add_money(&uncertain, stats->uncertain_before);
    belay__format_money(stats->spent, text, sizeof(text));
    code = belay__buffer_format(buffer, "  spent                      %12s%s\n",
        text, stats->unpriced > 0 ? "  (at least)" : "");
    if (code == 0 && (stats->spent_before > 0 || stats->unpriced_before > 0)) {
        belay__format_money(stats->spent_before, text, sizeof(text));
        code = belay__buffer_format(buffer,
            "  spent by earlier runs      %12s%s\n", text,
            stats->unpriced_before > 0 ? "  (at least)" : "");
    }
    if (code == 0 && uncertain > 0) {
        belay__format_money(uncertain, text, sizeof(text));
        code = belay__buffer_format(buffer,
            "  uncertain                  %12s  (sent, and no answer came)\n",
            text);
    }
    if (code == 0 && unpriced > 0) {
        code = belay__buffer_format(buffer,
            "  cost not known             %12" PRIu64 "  attempts\n", unpriced);
    }
    if (code == 0 && stats->cap > 0) {
        belay__format_money(stats->cap, text, sizeof(text));
        code = belay__buffer_format(
            buffer, "  budget                     %12s\n", text);
    }
    return code;
}

static int
add_speed(struct belay__buffer *buffer, const struct belay__batch_stats *stats)
{
    const struct belay__histogram *latency = &stats->latency_us;
    const double seconds = elapsed_s(stats);
    char span[24];
    int code;

    belay__format_span(seconds, span, sizeof(span));
    code = belay__buffer_format(buffer,
        "  time                       %12s  (%.1f requests/s, %.0f tokens/s)\n",
        span, per_second(stats->ok + stats->failed, seconds),
        per_second(stats->tokens_in + stats->tokens_out, seconds));
    if (code < 0 || latency->count == 0) {
        return code;
    }
    return belay__buffer_format(buffer,
        "  latency p50 / p90 / p99    %.3f / %.3f / %.3f s, most %.3f s\n",
        (double)belay__histogram_percentile(latency, 50) / US_PER_S,
        (double)belay__histogram_percentile(latency, 90) / US_PER_S,
        (double)belay__histogram_percentile(latency, 99) / US_PER_S,
        (double)latency->max / US_PER_S);
}

int
belay__batch_report_text(
    struct belay__buffer *buffer, const struct belay__batch_stats *stats)
{
    int code = belay__buffer_format(buffer,
        "  lines read                 %12" PRIu64 "\n"
        "  succeeded                  %12" PRIu64 "\n"
        "  failed                     %12" PRIu64 "\n",
        stats->lines, stats->ok, stats->failed);

    if (code == 0) {
        code = add_failures(buffer, stats);
    }
    if (code == 0 && stats->resumed > 0) {
        code = belay__buffer_format(buffer,
            "  done before                %12" PRIu64 "  (%" PRIu64
            " of them failed)\n",
            stats->resumed, stats->resumed_failed);
    }
    if (code == 0 && stats->again > 0) {
        code = belay__buffer_format(buffer,
            "  tried again after failing  %12" PRIu64 "\n", stats->again);
    }
    if (code == 0 && stats->in_doubt > 0) {
        code = belay__buffer_format(buffer,
            "  in doubt                   %12" PRIu64
            "  (sent before, without a result: may be billed twice)\n",
            stats->in_doubt);
    }
    if (code == 0 && stats->dropped > stats->cut) {
        code = belay__buffer_format(buffer,
            "  not tried                  %12" PRIu64 "\n",
            stats->dropped - stats->cut);
    }
    if (code == 0 && stats->unread > 0) {
        code = belay__buffer_format(buffer,
            "  not read                   %12" PRIu64 "\n", stats->unread);
    }
    if (code == 0 && stats->cut > 0) {
        code = belay__buffer_format(buffer,
            "  sent, and cut off          %12" PRIu64
            "  (without a result: may be billed)\n",
            stats->cut);
    }
    if (code == 0 && stats->retries > 0) {
        code = belay__buffer_format(buffer,
            "  retries                    %12" PRIu64 "\n", stats->retries);
    }
    if (code == 0 && stats->congested > 0) {
        code = belay__buffer_format(buffer,
            "  refused for the moment     %12" PRIu64 "\n", stats->congested);
    }
    if (code == 0) {
        code = add_tokens(buffer, stats);
    }
    if (code == 0) {
        code = add_money(buffer, stats);
    }
    return code == 0 ? add_speed(buffer, stats) : code;
}

static void
json_count(struct belay__json_writer *writer, const char *key, uint64_t value)
{
    belay__json_key(writer, key);
    belay__json_int(writer, (int64_t)value);
}

static void
json_real(struct belay__json_writer *writer, const char *key, double value)
{
    char text[64]; /* a count of 64 bits over a nanosecond takes 36 */
    const int n = snprintf(text, sizeof(text), "%.6f", value);

    belay__json_key(writer, key);
    belay__json_raw(writer, (struct belay_slice){text, (size_t)n});
}

/* Exact, as a number of JSON. */
static void
json_money(struct belay__json_writer *writer, const char *key, int64_t pico)
{
    char text[BELAY_MONEY_TEXT_BYTES];
    const size_t len = belay_money_format((belay_money){pico}, text);

    belay__json_key(writer, key);
    belay__json_raw(writer, (struct belay_slice){text, len});
}

static void
json_failures(
    struct belay__json_writer *writer, const struct belay__batch_stats *stats)
{
    char key[16];

    belay__json_key(writer, "status");
    belay__json_open_object(writer);
    for (unsigned i = 0; i < BELAY__STATUS_COUNT; i++) {
        if (stats->statuses[i] > 0) {
            (void)snprintf(key, sizeof(key), "%u", i);
            json_count(writer, key, stats->statuses[i]);
        }
    }
    belay__json_close_object(writer);
    belay__json_key(writer, "errors");
    belay__json_open_object(writer);
    for (int i = 1; i < BELAY__LINE_ERROR_COUNT; i++) {
        if (stats->errors[i] > 0) {
            json_count(writer,
                belay__line_error_code((enum belay__line_error)i),
                stats->errors[i]);
        }
    }
    belay__json_close_object(writer);
}

static void
json_latency(
    struct belay__json_writer *writer, const struct belay__histogram *latency)
{
    belay__json_key(writer, "latency_s");
    belay__json_open_object(writer);
    json_real(writer, "p50",
        (double)belay__histogram_percentile(latency, 50) / US_PER_S);
    json_real(writer, "p90",
        (double)belay__histogram_percentile(latency, 90) / US_PER_S);
    json_real(writer, "p99",
        (double)belay__histogram_percentile(latency, 99) / US_PER_S);
    json_real(writer, "max", (double)latency->max / US_PER_S);
    belay__json_close_object(writer);
}

static void
json_models(
    struct belay__json_writer *writer, const struct belay__batch_stats *stats)
{
    belay__json_key(writer, "models");
    belay__json_open_object(writer);
    for (size_t i = 0; i < stats->model_count; i++) {
        const struct belay__model_stats *model = &stats->models[i].stats;

        belay__json_key(writer, stats->models[i].name);
        belay__json_open_object(writer);
        json_count(writer, "ok", model->ok);
        json_count(writer, "failed", model->failed);
        json_count(writer, "congested", model->congested);
        json_count(writer, "tokens_in", model->tokens_in);
        json_count(writer, "tokens_out", model->tokens_out);
        json_money(writer, "spent_usd", model->spent);
        json_money(writer, "uncertain_usd", model->uncertain);
        json_count(writer, "cost_not_known", model->unpriced);
        belay__json_close_object(writer);
    }
    belay__json_close_object(writer);
}

int
belay__batch_report_json(struct belay__buffer *buffer,
    const struct belay__batch_stats *stats, const char *state)
{
    struct belay__json_writer writer;
    int code;

    belay__json_begin(&writer, buffer);
    belay__json_open_object(&writer);
    belay__json_key(&writer, "state");
    belay__json_string(&writer, (struct belay_slice){state, strlen(state)});
    json_count(&writer, "lines", stats->lines);
    json_count(&writer, "ok", stats->ok);
    json_count(&writer, "failed", stats->failed);
    json_count(&writer, "not_tried", stats->dropped - stats->cut);
    json_count(&writer, "not_read", stats->unread);
    json_count(&writer, "cut_off", stats->cut);
    json_count(&writer, "done_before", stats->resumed);
    json_count(&writer, "done_before_failed", stats->resumed_failed);
    json_count(&writer, "failed_before_tried_again", stats->again);
    json_count(&writer, "in_doubt", stats->in_doubt);
    json_count(&writer, "sent", stats->sent);
    json_count(&writer, "retries", stats->retries);
    json_failures(&writer, stats);
    json_count(&writer, "tokens_in", stats->tokens_in);
    json_count(&writer, "tokens_in_cached", stats->tokens_cached);
    json_count(&writer, "tokens_out", stats->tokens_out);
    json_count(&writer, "tokens_out_reasoning", stats->tokens_reasoning);
    json_count(&writer, "replies_without_usage", stats->without_usage);
    json_count(&writer, "congested", stats->congested);
    json_money(&writer, "spent_usd", stats->spent);
    json_money(&writer, "spent_before_usd", stats->spent_before);
    json_money(&writer, "uncertain_usd", stats->uncertain);
    json_money(&writer, "uncertain_before_usd", stats->uncertain_before);
    json_count(&writer, "cost_not_known", stats->unpriced);
    json_count(&writer, "cost_not_known_before", stats->unpriced_before);
    if (stats->cap > 0) {
        json_money(&writer, "budget_usd", stats->cap);
    }
    json_count(&writer, "input_bytes", stats->input_bytes);
    json_count(&writer, "sent_bytes", stats->sent_bytes);
    json_count(&writer, "received_bytes", stats->received_bytes);
    json_real(&writer, "elapsed_s", elapsed_s(stats));
    json_real(&writer, "requests_per_s",
        per_second(stats->ok + stats->failed, elapsed_s(stats)));
    json_latency(&writer, &stats->latency_us);
    json_models(&writer, stats);
    belay__json_close_object(&writer);
    code = belay__json_end(&writer);
    return code == 0 ? belay__buffer_append(buffer, "\n", 1) : code;
}
