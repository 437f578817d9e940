/* log_jsonl.c - a record in lines of JSON.
 *
 * A row when an attempt starts, one when it ends, joined by its id. The last
 * line may be half there while another process writes; it is left out. Other
 * lines that are no records are counted.
 */
#include "cli/log.h"

#include "llm/json/text.h"
#include "llm/record/messages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef int line_fn(struct belay__log *log, struct belay_slice line, void *arg);

/* The line without its line break. One that lacks it, the last, is half of one
 * that somebody is writing, or that a crash has left; or whole all the same.
 */
static bool
is_line(const char *line, size_t *len)
{
    if (line[*len - 1] == '\n') {
        --*len;
        return true;
    }
    return belay__json_check((struct belay_slice){line, *len}, NULL, NULL) == 0;
}

/* Calls `each` with the whole lines; BELAY_EINVAL of it means a bad one. */
static int
each_line(struct belay__log *log, const char *path, line_fn *each, void *arg)
{
    FILE *file = fopen(path, "re");
    uint64_t number = 0;
    char *line = NULL;
    size_t room = 0;
    ssize_t got;
    size_t len;
    int code = 0;

    if (file == NULL) {
        return belay__log_fail(log, "%s", strerror(errno));
    }
    errno = 0;
    while (code == 0 && (got = getline(&line, &room, file)) > 0) {
        len = (size_t)got;
        if (!is_line(line, &len)) {
            break;
        }
        number++;
        if (line[0] == BELAY__RECORD_MARK) {
            continue;
        }
        code = each(log, (struct belay_slice){line, len}, arg);
        if (code == BELAY_EINVAL) {
            log->first_bad = log->bad_lines == 0 ? number : log->first_bad;
            log->bad_lines++;
            code = 0;
        }
    }
    if (code == 0 && !feof(file)) { /* out of memory is no ferror() */
        code = belay__log_fail(log, "%s", strerror(errno));
    }
    free(line);
    (void)fclose(file);
    return code;
}

/* ---- rows ---- */

enum member {
    ROW,
    RUN,
    ATTEMPT,
    SESSION,
    TURN,
    ENDPOINT,
    PROVIDER,
    MODEL,
    STATUS,
    CODE,
    MESSAGE,
    REQUEST_ID,
    END,
    NUMBER,
    HTTP_STATUS,
    STARTED,
    ENDED,
    COST,
    AT_LEAST,
    USAGE,
    BODY,
    MEMBERS,
};

static const char *const names[MEMBERS] = {"row", "run", "attempt", "session",
    "turn", "endpoint", "provider", "model", "status", "code", "message",
    "request_id", "end", "number", "http_status", "started_us", "ended_us",
    "cost_picodollars", "cost_at_least", "usage", "body"};

struct line {
    struct belay__json_value values[MEMBERS];
};

/* The member of that name, or NULL. */
static struct belay__json_value *
member_of(struct line *line, const struct belay__json_value *key)
{
    for (int i = 0; i < MEMBERS; i++) {
        if (belay__json_key_equals(key, names[i], strlen(names[i]))) {
            return &line->values[i];
        }
    }
    return NULL;
}

/* False if it is not JSON, or no row of a record. */
static bool
parse(struct belay_slice text, struct line *ret)
{
    struct belay__json_value *member;
    struct belay__json_value key;
    struct belay__json json;

    memset(ret, 0, sizeof(*ret));
    belay__json_open(&json, text);
    if (belay__json_enter_object(&json)) {
        while (belay__json_next_member(&json, &key)) {
            member = member_of(ret, &key);
            if (member != NULL) {
                (void)belay__json_take(&json, member);
            }
        }
    }
    return belay__json_finish(&json) == 0
           && ret->values[ROW].type == BELAY__JSON_STRING
           && ret->values[ATTEMPT].type == BELAY__JSON_STRING;
}

/* Ids are plain; other texts may have escapes. */
static int
keep_text(struct belay__log *log, const struct line *line, enum member member,
    struct belay_slice *ret)
{
    const struct belay__json_value *value = &line->values[member];
    struct belay__buffer buffer;
    int code;

    if (value->type != BELAY__JSON_STRING) {
        return 0;
    }
    if (!value->escaped) {
        return belay__log_keep(log, belay__json_inside(value->raw), ret);
    }
    belay__buffer_init(&buffer, log->memory, SIZE_MAX / 2);
    code = belay__json_append_decoded(&buffer, value->raw);
    if (code == 0) {
        code = belay__log_keep(log, belay__buffer_slice(&buffer), ret);
    }
    belay__buffer_fini(&buffer);
    return code;
}

static void
take_number(const struct line *line, enum member member, int64_t *ret)
{
    int64_t number;

    if (line->values[member].type == BELAY__JSON_NUMBER
        && belay__json_integer(line->values[member].raw, &number) == 0) {
        *ret = number;
    }
}

static void
take_usage(const struct line *line, struct belay__log_row *row)
{
    struct belay__json_value key;
    struct belay__json_value value;
    struct belay__json json;

    belay__json_open(&json, line->values[USAGE].raw);
    if (line->values[USAGE].type != BELAY__JSON_OBJECT
        || !belay__json_enter_object(&json)) {
        return;
    }
    while (belay__json_next_member(&json, &key)) {
        if (!belay__json_take(&json, &value)
            || value.type != BELAY__JSON_NUMBER) {
            continue;
        }
        for (int i = 0; i < BELAY__LOG_COUNTS; i++) {
            const char *name = belay__log_count_names[i];

            if (belay__json_key_equals(&key, name, strlen(name))) {
                (void)belay__json_integer(value.raw, &row->counts[i]);
            }
        }
    }
}

static int
take_start(
    struct belay__log *log, const struct line *line, struct belay__log_row *row)
{
    static const struct belay_slice doubt = {"in_doubt", 8};
    int code = keep_text(log, line, RUN, &row->run);

    code = code < 0 ? code : keep_text(log, line, SESSION, &row->session);
    code = code < 0 ? code : keep_text(log, line, TURN, &row->turn);
    code = code < 0 ? code : keep_text(log, line, ENDPOINT, &row->endpoint);
    code = code < 0 ? code : keep_text(log, line, PROVIDER, &row->provider);
    code = code < 0 ? code : keep_text(log, line, MODEL, &row->model);
    if (code == 0 && row->status.len == 0) {
        code = belay__log_keep(log, doubt, &row->status);
    }
    take_number(line, NUMBER, &row->number);
    take_number(line, STARTED, &row->started_us);
    return code;
}

static int
take_end(
    struct belay__log *log, const struct line *line, struct belay__log_row *row)
{
    int code = keep_text(log, line, STATUS, &row->status);

    code = code < 0 ? code : keep_text(log, line, CODE, &row->code);
    code = code < 0 ? code : keep_text(log, line, MODEL, &row->answered);
    code = code < 0 ? code : keep_text(log, line, MESSAGE, &row->message);
    code = code < 0 ? code : keep_text(log, line, REQUEST_ID, &row->request_id);
    code = code < 0 ? code : keep_text(log, line, END, &row->end);
    take_number(line, HTTP_STATUS, &row->http_status);
    take_number(line, ENDED, &row->ended_us);
    take_number(line, COST, &row->cost_pico);
    row->cost_at_least = line->values[AT_LEAST].type == BELAY__JSON_TRUE;
    take_usage(line, row);
    return code;
}

static int
add_line(struct belay__log *log, struct belay_slice text, void *arg)
{
    struct belay__log_row *row = NULL;
    struct line line;
    int code;

    (void)arg;
    if (!parse(text, &line)) {
        return BELAY_EINVAL;
    }
    code =
        belay__log_row(log, belay__json_inside(line.values[ATTEMPT].raw), &row);
    if (code < 0) {
        return code;
    }
    return belay__json_key_is(&line.values[ROW], "start")
               ? take_start(log, &line, row)
               : take_end(log, &line, row);
}

int
belay__log_read_jsonl(struct belay__log *log, const char *path)
{
    return each_line(log, path, add_line, NULL);
}

/* ---- what was said ---- */

struct search {
    struct belay_slice attempt;
    const struct belay__log_said *said;
    bool for_start; /* else for its end */
    bool found;
};

static int
hand_on(const struct belay__message *message, void *arg)
{
    const struct search *search = arg;

    return search->said->message_fn(
        message->role, message->body, search->said->arg);
}

/* A body that is no JSON is there as a string. */
static int
hand_answer(struct belay__log *log, const struct belay__json_value *body,
    const struct search *search)
{
    struct belay__buffer buffer;
    int code;

    if (body->type != BELAY__JSON_STRING) {
        return search->said->answer_fn(body->raw, search->said->arg);
    }
    belay__buffer_init(&buffer, log->memory, SIZE_MAX / 2);
    code = belay__json_append_decoded(&buffer, body->raw);
    if (code == 0) {
        code = search->said->answer_fn(
            belay__buffer_slice(&buffer), search->said->arg);
    }
    belay__buffer_fini(&buffer);
    return code;
}

static int
search_line(struct belay__log *log, struct belay_slice text, void *arg)
{
    struct search *search = arg;
    struct belay_slice id;
    struct line line;

    if (search->found || !parse(text, &line)) {
        return 0; /* it was counted at the first reading */
    }
    id = belay__json_inside(line.values[ATTEMPT].raw);
    if (id.len != search->attempt.len
        || memcmp(id.data, search->attempt.data, id.len) != 0
        || belay__json_key_is(&line.values[ROW], "start")
               != search->for_start) {
        return 0;
    }
    search->found = true;
    return search->for_start
               ? belay__messages_each(line.values[BODY].raw, hand_on, search)
               : hand_answer(log, &line.values[BODY], search);
}

/* Questions first, wherever they are: an interrupted log_forget.c may have left
 * lines twice and in another order.
 */
int
belay__log_said_jsonl(struct belay__log *log, const char *path,
    struct belay_slice attempt, const struct belay__log_said *said)
{
    struct search start = {.attempt = attempt, .said = said, .for_start = true};
    struct search end = {.attempt = attempt, .said = said};
    int code = each_line(log, path, search_line, &start);

    if (code == 0) {
        code = each_line(log, path, search_line, &end);
    }
    return code == 0 && !end.found
               ? said->answer_fn((struct belay_slice){NULL, 0}, said->arg)
               : code;
}
