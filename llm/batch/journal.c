/* journal.c - the records behind the header of a state.
 *
 * Amounts of what is reserved are told when an attempt begins and told again
 * when it ends. So the sum of the first less the sum of the second is what
 * attempts may have cost whose end nobody has seen (B16).
 */
#include "llm/batch/resume.h"
#include "llm/batch/scan.h"
#include "llm/batch/state.h"

#include <string.h>
#include <unistd.h>

#define NUMBERS 7
#define RECORD_MAX (1 + NUMBERS * 21 + 1) /* each with its blank */

/* The last number has one digit; a longer record would not be read. */
_Static_assert(1 + (NUMBERS - 1) * 20 + 2 < BELAY__SCAN_HEAD,
    "a record fits into what is kept of a line");

/* ---- writing ---- */

static int
write_all(int fd, const char *data, size_t len)
{
    ssize_t n;

    while (len > 0) {
        n = write(fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : BELAY_EIO;
        }
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

int
belay__batch_state_flush(struct belay__batch_state *state)
{
    int code = 0;

    if (state->fd >= 0 && state->journal.len > 0) {
        state->dirty = true;
        code = write_all(state->fd, state->journal.data, state->journal.len);
    }
    belay__buffer_clear(&state->journal);
    state->committed = state->noted;
    if (code < 0 && state->lost == 0) {
        state->lost = code;
    }
    return state->lost;
}

int
belay__batch_state_take_dirty(struct belay__batch_state *state)
{
    (void)belay__batch_state_flush(state);
    if (!state->dirty) {
        return -1;
    }
    state->dirty = false;
    return state->fd;
}

/* In front of `end`: two records a line are not worth a printf each. */
static char *
put_number(char *end, uint64_t number)
{
    do {
        *--end = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return end;
}

/* The line number and what follows it, without zeroes at the end. None is
 * negative.
 */
static int
add_record(
    struct belay__batch_state *state, char kind, const int64_t numbers[NUMBERS])
{
    char record[RECORD_MAX];
    char *end = record + sizeof(record);
    char *at = end;
    size_t count = NUMBERS;

    while (count > 1 && numbers[count - 1] == 0) {
        count--;
    }
    *--at = '\n';
    while (count > 0) {
        at = put_number(at, (uint64_t)numbers[--count]);
        *--at = ' ';
    }
    *--at = kind;
    return belay__buffer_append(&state->journal, at, (size_t)(end - at));
}

int
belay__batch_state_sent(struct belay__batch_state *state, uint64_t line,
    uint32_t attempt, const struct belay__batch_bill *bill, uint64_t *ret_mark)
{
    const int64_t numbers[NUMBERS] = {
        (int64_t)line, attempt, bill->reserved, bill->most};
    int code = 0;

    if (state->fd >= 0) {
        /* With room for what takes it back, should it not be sent. */
        code = belay__buffer_reserve(&state->journal, 3 * (size_t)RECORD_MAX);
    }
    if (code == 0 && state->fd >= 0) {
        code = add_record(state, 's', numbers);
    }
    if (code == 0) {
        *ret_mark = ++state->noted;
    }
    return code;
}

int
belay__batch_state_commit(struct belay__batch_state *state, uint64_t mark)
{
    return mark > state->committed ? belay__batch_state_flush(state)
                                   : state->lost;
}

void
belay__batch_state_attempt(struct belay__batch_state *state, uint64_t line,
    const struct belay__batch_bill *bill)
{
    const int64_t numbers[NUMBERS] = {(int64_t)line, bill->reserved,
        bill->uncertain, bill->most, bill->tokens, bill->charge};

    if (state->fd >= 0) {
        (void)add_record(state, 'a', numbers);
    }
}

void
belay__batch_state_unsent(struct belay__batch_state *state, uint64_t line)
{
    const int64_t numbers[NUMBERS] = {(int64_t)line};

    if (state->fd >= 0) {
        (void)add_record(state, 'u', numbers);
    }
}

void
belay__batch_state_done(struct belay__batch_state *state, uint64_t line,
    const struct belay__batch_bill *bill)
{
    const int64_t numbers[NUMBERS] = {(int64_t)line, bill->reserved,
        bill->spent, bill->uncertain, bill->most, bill->tokens, bill->charge};

    if (state->fd >= 0) {
        (void)add_record(state, 'd', numbers);
    }
}

int
belay__batch_state_again(struct belay__batch_state *state, uint64_t line)
{
    const int64_t numbers[NUMBERS] = {(int64_t)line};

    return add_record(state, 'r', numbers);
}

/* ---- reading ---- */

bool
belay__parse_number(
    const char **at, const char *end, uint64_t max, uint64_t *ret)
{
    const char *from = *at;
    uint64_t number = 0;

    for (; *at < end && **at >= '0' && **at <= '9'; ++*at) {
        if (number > max / 10) {
            return false;
        }
        number = number * 10 + (uint64_t)(**at - '0');
    }
    *ret = number;
    return *at > from && number <= max && (*from != '0' || *at == from + 1);
}

struct record {
    char kind;
    uint64_t numbers[NUMBERS]; /* line, and what follows; 0: not there */
};

/* False: it is none. */
static bool
parse_record(
    const struct belay__scan *scan, uint64_t lines_max, struct record *ret)
{
    const char *at = scan->head + 1;
    const char *end = scan->head + scan->head_len;

    *ret = (struct record){.kind = scan->head[0]};
    if (scan->head_len < 3 || scan->head_len == BELAY__SCAN_HEAD) {
        return false;
    }
    for (size_t i = 0; i < NUMBERS && at < end; i++) {
        if (*at++ != ' '
            || !belay__parse_number(
                &at, end, i == 0 ? lines_max : INT64_MAX, &ret->numbers[i])) {
            return false;
        }
    }
    return at == end && ret->numbers[0] != 0;
}

/* What attempts have used. A sum that does not fit is more than any cap. */
struct sums {
    struct belay__batch_state *state;
    /* Of attempts whose end was not told: */
    int64_t open;     /* reserved, in picodollars … */
    int64_t most;     /* … and in tokens */
    int64_t requests; /* how many … */
    int64_t unpriced; /* … of them without a reserve */
    /* Of any attempt, the most: */
    uint64_t dearest;
    uint64_t longest; /* in tokens */
};

static void
add(int64_t *sum, uint64_t more)
{
    if (__builtin_add_overflow(*sum, (int64_t)more, sum)) {
        *sum = INT64_MAX;
    }
}

/* Below zero only in a spoilt file. */
static void
take(int64_t *sum, uint64_t less)
{
    *sum -= *sum < (int64_t)less ? *sum : (int64_t)less;
}

static void
begin_attempt(struct sums *sums, uint64_t reserved, uint64_t most)
{
    add(&sums->open, reserved);
    add(&sums->most, most);
    add(&sums->requests, 1);
    add(&sums->unpriced, reserved == 0);
    sums->dearest = reserved > sums->dearest ? reserved : sums->dearest;
    sums->longest = most > sums->longest ? most : sums->longest;
}

/* most and what follows it: as in the record. */
static void
end_attempt(struct sums *sums, uint64_t reserved, const uint64_t most[3])
{
    struct belay__batch_state *state = sums->state;

    take(&sums->open, reserved);
    take(&sums->most, most[0]);
    take(&sums->requests, 1);
    take(&sums->unpriced, reserved == 0);
    add(&state->tokens, most[1]);
    add(&state->requests, most[2] != BELAY__BATCH_FREE);
    add(&state->unpriced, most[2] == BELAY__BATCH_UNPRICED);
}

/* An attempt that may have ended, and that nobody has seen, is charged. */
static void
charge_open(const struct sums *sums)
{
    struct belay__batch_state *state = sums->state;

    add(&state->uncertain, (uint64_t)sums->open);
    if (state->counted) {
        add(&state->tokens, (uint64_t)sums->most);
        add(&state->requests, (uint64_t)sums->requests);
        add(&state->unpriced, (uint64_t)sums->unpriced);
    }
}

static uint64_t
times(uint64_t count, uint64_t each)
{
    uint64_t product;

    return __builtin_mul_overflow(count, each, &product)
                   || product > (uint64_t)INT64_MAX
               ? (uint64_t)INT64_MAX
               : product;
}

/* Results whose records were lost with the power, though the journal is synced
 * first: the system may write a file back whenever it likes. Each counts as
 * the dearest attempt that is known of.
 */
static void
charge_unbilled(const struct sums *sums)
{
    struct belay__batch_state *state = sums->state;
    const uint64_t count = state->unbilled.count;

    add(&state->uncertain, times(count, sums->dearest));
    add(&state->tokens, times(count, sums->longest));
    add(&state->requests, count);
    add(&state->unpriced, sums->dearest == 0 ? count : 0);
    belay__free(state->memory, state->unbilled.bits, state->unbilled.bytes);
    state->unbilled = (struct belay__line_set){.bits = NULL};
}

/* An attempt of the line is over, and has not led to the result in the file. */
static int
expect_more(struct belay__batch_state *state, uint64_t line)
{
    return belay__line_set_has(&state->done, line)
               ? belay__line_set_add(state->memory, &state->unbilled, line)
               : 0;
}

/* Of version 1: it had no prices, unless the model is for nothing. What a later
 * run has added to such a journal tells that itself.
 */
static bool
is_unpriced(const struct record *record)
{
    bool all_zero = true;

    for (size_t i = 1; i < NUMBERS; i++) {
        all_zero &= record->numbers[i] == 0;
    }
    return all_zero;
}

/* "d N" does not take the doubt away: a result that is in no file, after the
 * loss of power, was paid for and is worth as much doubt as any.
 */
static int
take_record(void *arg, const struct belay__scan *scan)
{
    struct sums *sums = arg;
    struct belay__batch_state *state = sums->state;
    struct record record;
    const uint64_t *numbers = record.numbers;

    if (!parse_record(scan, state->lines_max, &record)) {
        return 0;
    }
    switch (record.kind) {
    case 's':
        begin_attempt(sums, numbers[2], numbers[3]);
        belay__line_set_remove(&state->unbilled, numbers[0]);
        return belay__line_set_has(&state->done, numbers[0])
                   ? 0
                   : belay__line_set_add(
                       state->memory, &state->in_doubt, numbers[0]);
    case 'a':
        end_attempt(sums, numbers[1], &numbers[3]);
        add(&state->uncertain, numbers[2]);
        return expect_more(state, numbers[0]);
    case 'd':
        end_attempt(sums, numbers[1], &numbers[4]);
        add(&state->spent, numbers[2]);
        add(&state->uncertain, numbers[3]);
        add(&state->unpriced, !state->counted && is_unpriced(&record));
        return 0;
    case 'u':
        take(&sums->open, numbers[1]); /* only in a state of version 1 */
        belay__line_set_remove(&state->in_doubt, numbers[0]);
        return 0;
    case 'r':
        belay__line_set_remove(&state->in_doubt, numbers[0]);
        return expect_more(state, numbers[0]);
    default:
        return 0;
    }
}

static int
read_journal(struct belay__batch_state *state, struct belay__scan *scan)
{
    struct sums sums = {.state = state};
    const int code = belay__scan_file(scan, state->memory, take_record, &sums);

    charge_open(&sums);
    charge_unbilled(&sums);
    return code;
}

int
belay__resume_journal(struct belay__batch_state *state, uint64_t offset)
{
    struct belay__scan scan = {.fd = state->fd, .offset = offset};
    int code = read_journal(state, &scan);

    if (code == 0 && scan.start < scan.offset
        && ftruncate(scan.fd, (off_t)scan.start) < 0) {
        code = -errno; /* the next record would be lost in the torn one */
    }
    return code;
}

int
belay__look_at_journal(
    struct belay__batch_state *state, uint64_t offset, uint64_t end)
{
    struct belay__scan scan = {.fd = state->fd, .end = end, .offset = offset};

    return read_journal(state, &scan);
}
