/* sse_oracle.c - the events of a whole stream, by the definition. */
#include "test/support/sse_oracle.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- accounts ---- */

static void
add(struct sse_account *account, const char *data, size_t len)
{
    if (len > account->room - account->len) {
        account->room = (account->len + len) * 2;
        account->text = realloc(account->text, account->room);
        if (account->text == NULL) {
            abort();
        }
    }
    if (len > 0) {
        memcpy(account->text + account->len, data, len);
        account->len += len;
    }
}

static void
add_event(struct sse_account *account, const struct belay__sse_event *event)
{
    add(account, event->name.data, event->name.len);
    add(account, event->unfinished ? "?" : "|", 1);
    add(account, event->data.data, event->data.len);
    add(account, "", 1);
    account->events++;
}

bool
sse_same(const struct sse_account *a, const struct sse_account *b)
{
    return a->len == b->len
           && (a->len == 0 || memcmp(a->text, b->text, a->len) == 0);
}

/* ---- by the definition ---- */

struct reading {
    struct sse_account account;
    char *joined; /* the data of the event, each line with a LF behind it */
    size_t joined_len;
    struct belay_slice name;
    bool fields;
    bool active;
};

static void
oracle_event(struct reading *reading, bool unfinished)
{
    struct belay__sse_event event = {
        .name = reading->name,
        .data = {reading->joined, reading->joined_len},
        .unfinished = unfinished,
    };
    bool blank = true;

    reading->active |= reading->fields;
    event.data.len -= event.data.len > 0;
    for (size_t i = 0; i < event.data.len; i++) {
        blank &= strchr(" \t\n", reading->joined[i]) != NULL
                 && reading->joined[i] != '\0';
    }
    if (!blank) {
        add_event(&reading->account, &event);
    }
    reading->joined_len = 0;
    reading->name.len = 0;
    reading->fields = false;
}

static void
oracle_line(struct reading *reading, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    const size_t name = colon != NULL ? (size_t)(colon - line) : len;
    size_t at = colon != NULL ? name + 1 : len;

    if (len == 0) {
        oracle_event(reading, false);
        return;
    }
    if (name == 0) {
        reading->active = true;
        return;
    }
    at += at < len && line[at] == ' ';
    reading->fields = true;
    if (name == 4 && memcmp(line, "data", 4) == 0) {
        memcpy(reading->joined + reading->joined_len, line + at, len - at);
        reading->joined_len += len - at;
        reading->joined[reading->joined_len++] = '\n';
    } else if (name == 5 && memcmp(line, "event", 5) == 0) {
        reading->name = (struct belay_slice){line + at, len - at};
        if (reading->name.len > BELAY__SSE_NAME_MAX) {
            reading->name.len = BELAY__SSE_NAME_MAX;
        }
    }
}

/* The data that was joined so far, without the LF behind it. */
static size_t
so_far(const struct reading *reading)
{
    return reading->joined_len - (reading->joined_len > 0);
}

struct sse_account
sse_oracle(const char *data, size_t len, size_t max)
{
    struct reading reading = {.joined = malloc(len + 1)};
    bool refused = false;
    size_t at = 0;

    if (reading.joined == NULL) {
        abort();
    }
    max = max > 0 ? max : BELAY__SSE_MAX_DEFAULT;
    while (at < len && !refused) {
        size_t stop = at;
        size_t start = at;

        while (stop < len && data[stop] != '\n' && data[stop] != '\r') {
            stop++;
        }
        if (stop - at + so_far(&reading) > max) {
            refused = true;
            break;
        }
        if (at == 0 && stop >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
            start = 3;
        }
        if (stop < len || stop > at) {
            oracle_line(&reading, data + start, stop - start);
        }
        at = stop + (stop < len);
        at += at < len && stop < len && data[stop] == '\r' && data[at] == '\n';
    }
    if (refused) {
        add(&reading.account, "!", 1);
    } else {
        oracle_event(&reading, true);
    }
    if (reading.active) {
        add(&reading.account, "+", 1);
    }
    free(reading.joined);
    return reading.account;
}

/* ---- by the parser ---- */

/* True if there may be more. */
static bool
pull(struct belay__sse *sse, struct sse_account *account)
{
    struct belay__sse_event event;
    int code;

    while ((code = belay__sse_next(sse, &event)) > 0) {
        add_event(account, &event);
    }
    if (code < 0) {
        add(account, code == BELAY_ETOOLARGE ? "!" : "memory", 1);
    }
    return code == 0;
}

static bool
feed(struct belay__sse *sse, struct sse_account *account, const char *data,
    size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    bool more;

    if (copy == NULL) {
        abort();
    }
    memcpy(copy, data, len);
    belay__sse_push(sse, (struct belay_slice){copy, len});
    more = pull(sse, account);
    free(copy);
    return more;
}

struct sse_account
sse_parse(struct belay__memory *memory, const char *data, size_t len,
    size_t max, size_t piece, size_t cut)
{
    struct sse_account account = {.text = NULL};
    struct belay__sse sse;
    bool more = true;

    belay__sse_init(&sse, memory, max);
    for (size_t at = 0; more && at < len;) {
        size_t step = piece > 0 ? piece : at == 0 && cut > 0 ? cut : len;

        step = step < len - at ? step : len - at;
        more = feed(&sse, &account, data + at, step);
        at += step;
    }
    if (more) {
        belay__sse_end(&sse);
        (void)pull(&sse, &account);
    }
    if (sse.active) {
        add(&account, "+", 1);
    }
    belay__sse_fini(&sse);
    return account;
}
