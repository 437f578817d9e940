/* log_print.c - an attempt as a line: a row of a table, or of JSON. */
#include "cli/log_print.h"

#include "llm/printable.h"

#include <belay/price.h>

#include <inttypes.h>
#include <time.h>

/* ---- for people ---- */

/* A stranger's text in so many columns at most. */
const char *
belay__log_fit(struct belay_slice text, char *out, size_t size)
{
    (void)belay__printable(text, NULL, out, size);
    return out[0] != '\0' ? out : "-";
}

static const char *
time_text(int64_t us, char out[64])
{
    const time_t second = (time_t)(us / 1000000);
    struct tm tm;

    if (us < 0 || gmtime_r(&second, &tm) == NULL
        || strftime(out, 64, "%Y-%m-%d %H:%M:%S", &tm) == 0) {
        return "-";
    }
    return out;
}

static const char *
count_text(int64_t count, char out[32])
{
    if (count < 0) {
        return "-";
    }
    (void)snprintf(out, 32, "%" PRId64, count);
    return out;
}

/* L52: what is not known is not 0. */
const char *
belay__log_cost(int64_t pico, bool at_least, char out[64])
{
    char money[BELAY_MONEY_TEXT_BYTES];

    if (pico < 0 || (pico == 0 && at_least)) {
        return "?";
    }
    (void)belay_money_format((belay_money){pico}, money);
    (void)snprintf(out, 64, "%s%s", at_least ? "≥" : "", money);
    return out;
}

static const char *
took_text(const struct belay__log_row *row, char out[32])
{
    return row->started_us < 0 || row->ended_us < 0
               ? "-"
               : count_text((row->ended_us - row->started_us) / 1000, out);
}

/* Why it has ended: the code of its error, its status, or the server's word. */
static const char *
end_text(const struct belay__log_row *row, char out[64])
{
    if (row->code.len > 0) {
        return belay__log_fit(row->code, out, 64);
    }
    if (row->http_status >= 300) {
        (void)snprintf(out, 64, "HTTP %" PRId64, row->http_status);
        return out;
    }
    return belay__log_fit(row->end, out, 64);
}

struct belay_slice
belay__log_model(const struct belay__log_row *row)
{
    return row->model.len > 0 ? row->model : row->answered;
}

void
belay__log_print_row(const struct belay__log_row *row)
{
    char texts[8][64];
    char id[40];
    char model[32];

    (void)printf("%-19s  %-26s  %-9s  %-24s %7s %7s %12s %8s  %s\n",
        time_text(row->started_us, texts[0]),
        belay__log_fit(row->id, id, sizeof(id)),
        belay__log_fit(row->status, texts[1], sizeof(texts[1])),
        belay__log_fit(belay__log_model(row), model, sizeof(model)),
        count_text(row->counts[BELAY__LOG_IN], texts[2]),
        count_text(row->counts[BELAY__LOG_OUT], texts[3]),
        belay__log_cost(row->cost_pico, row->cost_at_least, texts[4]),
        took_text(row, texts[5]), end_text(row, texts[6]));
}

void
belay__log_heading(void)
{
    (void)printf("%-19s  %-26s  %-9s  %-24s %7s %7s %12s %8s  %s\n",
        "TIME (UTC)", "ATTEMPT", "STATUS", "MODEL", "IN", "OUT", "USD", "MS",
        "END");
}

/* ---- for programs ---- */

void
belay__log_put_text(
    struct belay__json_writer *json, const char *key, struct belay_slice text)
{
    if (text.len > 0) {
        belay__json_key(json, key);
        belay__json_string(json, text);
    }
}

void
belay__log_put_count(
    struct belay__json_writer *json, const char *key, int64_t count)
{
    if (count >= 0) {
        belay__json_key(json, key);
        belay__json_int(json, count);
    }
}

/* The members of an attempt, in an object that is open. */
void
belay__log_put_row(
    struct belay__json_writer *json, const struct belay__log_row *row)
{
    belay__log_put_text(json, "attempt", row->id);
    belay__log_put_text(json, "run", row->run);
    belay__log_put_text(json, "session", row->session);
    belay__log_put_text(json, "turn", row->turn);
    belay__log_put_count(json, "number", row->number);
    belay__log_put_text(json, "status", row->status);
    belay__log_put_text(json, "endpoint", row->endpoint);
    belay__log_put_text(json, "provider", row->provider);
    belay__log_put_text(json, "model", row->model);
    belay__log_put_text(json, "model_answered", row->answered);
    belay__log_put_count(json, "http_status", row->http_status);
    belay__log_put_text(json, "code", row->code);
    belay__log_put_text(json, "message", row->message);
    belay__log_put_text(json, "request_id", row->request_id);
    belay__log_put_text(json, "end", row->end);
    belay__log_put_count(json, "started_us", row->started_us);
    belay__log_put_count(json, "ended_us", row->ended_us);
    for (int i = 0; i < BELAY__LOG_COUNTS; i++) {
        belay__log_put_count(json, belay__log_count_names[i], row->counts[i]);
    }
    belay__log_put_count(json, "cost_picodollars", row->cost_pico);
    if (row->cost_at_least) {
        belay__json_key(json, "cost_at_least");
        belay__json_bool(json, true);
    }
}

/* Ends the object, prints the line, and empties the buffer. */
int
belay__log_print_json(struct belay__json_writer *json)
{
    struct belay__buffer *buffer = json->buffer;
    int code;

    belay__json_close_object(json);
    code = belay__json_end(json);
    if (code == 0
        && (fwrite(buffer->data, 1, buffer->len, stdout) != buffer->len
            || putchar('\n') == EOF)) {
        code = BELAY_EIO;
    }
    belay__buffer_clear(buffer);
    return code;
}
