/* batch_counts.c - what the last run has left in OUTPUT.stats.json. */
#include "cli/batch_counts.h"

#include "llm/json/scan.h"
#include "llm/json/text.h"

#include <stdio.h>
#include <string.h>

#define STATS_BYTES ((size_t)64 * 1024)

/* Where the number of a key is added; NULL: nowhere. */
static int64_t *
sum_of(struct belay__batch_counts *counts, const struct belay__json_value *key)
{
    if (belay__json_key_is(key, "ok") || belay__json_key_is(key, "failed")
        || belay__json_key_is(key, "done_before")) {
        return &counts->there;
    }
    if (belay__json_key_is(key, "not_tried")
        || belay__json_key_is(key, "cut_off")) {
        return &counts->left;
    }
    return belay__json_key_is(key, "not_read") ? &counts->unread : NULL;
}

static void
take_state(struct belay__batch_counts *counts, struct belay_slice string)
{
    if (string.len < sizeof(counts->state)) { /* decoded it is no longer */
        counts->state[belay__json_decode(string, counts->state)] = '\0';
    }
}

bool
belay__batch_read_counts(const char *path, struct belay__batch_counts *ret)
{
    char text[STATS_BYTES];
    FILE *file = fopen(path, "re");
    struct belay__json_value value;
    struct belay__json_value key;
    struct belay__json json;
    int64_t number = 0;
    int64_t *sum;
    size_t len;

    *ret = (struct belay__batch_counts){.there = 0};
    if (file == NULL) {
        return false;
    }
    len = fread(text, 1, sizeof(text), file);
    (void)fclose(file);
    belay__json_open(&json, (struct belay_slice){text, len});
    if (!belay__json_enter_object(&json)) {
        return false;
    }
    while (belay__json_next_member(&json, &key)) {
        sum = sum_of(ret, &key);
        if (!belay__json_take(&json, &value)) {
            break;
        }
        if (belay__json_key_is(&key, "state")
            && value.type == BELAY__JSON_STRING) {
            take_state(ret, value.raw);
        }
        if (sum != NULL
            && (value.type != BELAY__JSON_NUMBER
                || belay__json_integer(value.raw, &number) < 0
                || __builtin_add_overflow(*sum, number, sum))) {
            return false;
        }
    }
    return belay__json_finish(&json) == 0;
}
