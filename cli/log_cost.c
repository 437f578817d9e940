/* log_cost.c - what the attempts of each model have cost. */
#include "cli/log_print.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct total {
    struct belay_slice model;
    uint64_t attempts;
    uint64_t good;
    int64_t in;
    int64_t out;
    int64_t pico;
    bool at_least;
};

static bool
same(struct belay_slice a, struct belay_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static int64_t
plus(int64_t sum, int64_t more)
{
    return more > 0 && __builtin_add_overflow(sum, more, &sum) ? INT64_MAX
                                                               : sum;
}

static void
add_to(struct total *total, const struct belay__log_row *row)
{
    total->attempts++;
    total->good += belay__log_begins(row->status, "ok");
    total->in = plus(total->in, row->counts[BELAY__LOG_IN]);
    total->out = plus(total->out, row->counts[BELAY__LOG_OUT]);
    total->pico = plus(total->pico, row->cost_pico);
    /* Of what is in doubt nobody knows what it has cost. */
    total->at_least =
        total->at_least || row->cost_at_least || row->cost_pico < 0;
}

/* Models are few: each is looked for from the start. */
static size_t
add_up(const struct belay__log *log, struct total *totals)
{
    size_t count = 0;

    for (size_t i = 0; i < log->count; i++) {
        const struct belay_slice model = belay__log_model(&log->rows[i]);
        size_t at = 0;

        while (at < count && !same(totals[at].model, model)) {
            at++;
        }
        if (at == count) {
            totals[count++] = (struct total){.model = model};
        }
        add_to(&totals[at], &log->rows[i]);
    }
    return count;
}

static int
by_cost(const void *a, const void *b)
{
    const struct total *one = a;
    const struct total *two = b;

    return (one->pico < two->pico) - (one->pico > two->pico);
}

static void
print_total(const struct total *total)
{
    char model[48];
    char cost[64];

    (void)printf("%-40s %9" PRIu64 " %9" PRIu64 " %12" PRId64 " %12" PRId64
                 " %16s\n",
        belay__log_fit(total->model, model, sizeof(model)), total->attempts,
        total->good, total->in, total->out,
        belay__log_cost(total->pico, total->at_least, cost));
}

static int
total_json(const struct total *total, struct belay__buffer *buffer)
{
    struct belay__json_writer json;

    belay__json_begin(&json, buffer);
    belay__json_open_object(&json);
    belay__log_put_text(&json, "model", total->model);
    belay__log_put_count(&json, "attempts", (int64_t)total->attempts);
    belay__log_put_count(&json, "ok", (int64_t)total->good);
    belay__log_put_count(&json, "in_total", total->in);
    belay__log_put_count(&json, "out_total", total->out);
    belay__log_put_count(&json, "cost_picodollars", total->pico);
    if (total->at_least) {
        belay__json_key(&json, "cost_at_least");
        belay__json_bool(&json, true);
    }
    return belay__log_print_json(&json);
}

int
belay__log_print_costs(
    const struct belay__log *log, bool as_json, struct belay__buffer *buffer)
{
    struct total *totals = calloc(log->count + 1, sizeof(*totals));
    size_t count;
    int code = 0;

    if (totals == NULL) {
        return BELAY_ENOMEM;
    }
    count = add_up(log, totals);
    qsort(totals, count, sizeof(*totals), by_cost);
    if (!as_json) {
        (void)printf("%-40s %9s %9s %12s %12s %16s\n", "MODEL", "ATTEMPTS",
            "OK", "IN", "OUT", "USD");
    }
    for (size_t i = 0; i < count && code == 0; i++) {
        if (as_json) {
            code = total_json(&totals[i], buffer);
        } else {
            print_total(&totals[i]);
        }
    }
    free(totals);
    return code;
}
