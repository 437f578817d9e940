/* read.c - a session out of JSON that may come from anywhere.
 *
 * The whole text is checked first, so that readers see JSON only. What is read
 * is put together beside the session, which changes at the very end and then
 * without fail.
 */
#include "llm/session/text.h"

#include "llm/base64.h"
#include "llm/json/text.h"
#include "llm/provider/provider.h"

#include "runtime/basics.h"

#include <string.h>

#define NO_RESULT "no result: the program ended before the tool did"

struct reader {
    const belay_llm_session *session;
    enum belay_llm_repair repair;
    const char *begin;
    struct belay_llm_session_problem problem;
    struct belay__history *history;
    struct belay__buffer scratch; /* decoded texts of a message */
    struct belay_llm_loaded loaded;
    bool cut; /* the rest is left out */
};

static int
refuse(struct reader *reader, const char *at, const char *reason)
{
    reader->problem = (struct belay_llm_session_problem){
        at != NULL ? (size_t)(at - reader->begin) : 0, reason};
    return BELAY_EINVAL;
}

/* ---- values ---- */

/* The room was reserved: nothing moves while a message is read. */
static struct belay_slice
keep_text(struct reader *reader, const struct belay__json_value *value)
{
    char *to = reader->scratch.data + reader->scratch.len;
    size_t len;

    if (value->type != BELAY__JSON_STRING) {
        return (struct belay_slice){NULL, 0};
    }
    len = belay__json_decode(value->raw, to);
    to[len] = '\0';
    reader->scratch.len += len + 1;
    return (struct belay_slice){to, len};
}

/* A text that is passed on without its length: a NUL would cut it short. */
static bool
keep_word(struct reader *reader, const struct belay__json_value *value,
    const char **ret)
{
    const struct belay_slice text = keep_text(reader, value);

    *ret = text.data;
    return text.data == NULL || strlen(text.data) == text.len;
}

static bool
keep_bytes(struct reader *reader, const struct belay__json_value *value,
    struct belay_slice *ret)
{
    const struct belay_slice text = keep_text(reader, value);
    char *to = reader->scratch.data + reader->scratch.len;
    size_t len = 0;

    if (!belay__base64_decode(text, (unsigned char *)to, &len)) {
        return false;
    }
    reader->scratch.len += len;
    *ret = (struct belay_slice){to, len};
    return true;
}

static bool
is_text_or_none(const struct belay__json_value *value)
{
    return value->type == BELAY__JSON_STRING || value->type == BELAY__JSON_NONE;
}

static bool
is_text(const struct belay__json_value *value, const char *text)
{
    return value->type == BELAY__JSON_STRING
           && belay__json_key_equals(value, text, strlen(text));
}

/* false and absent are the same. */
static bool
is_flag(const struct belay__json_value *value, bool *ret)
{
    *ret = value->type == BELAY__JSON_TRUE;
    return *ret || value->type == BELAY__JSON_FALSE
           || value->type == BELAY__JSON_NONE;
}

/* ---- lists ---- */

typedef int read_fn(struct reader *reader, struct belay_slice raw, void *to);

static size_t
count_elements(struct belay_slice array)
{
    struct belay__json json;
    size_t count = 0;

    belay__json_open(&json, array);
    if (belay__json_enter_array(&json)) {
        while (belay__json_next_element(&json)) {
            count++;
        }
    }
    return count;
}

/* Each element goes to fn, with its place in `to`, an array. */
static int
read_elements(struct reader *reader, struct belay_slice array, read_fn *fn,
    char *to, size_t each)
{
    struct belay__json json;
    struct belay__json_value element;
    int code = 0;

    belay__json_open(&json, array);
    if (!belay__json_enter_array(&json)) {
        return 0;
    }
    while (code == 0 && belay__json_next_element(&json)) {
        (void)belay__json_take(&json, &element); /* it was checked */
        code = fn(reader, element.raw, to);
        to += each;
    }
    return code;
}

/* The array's elements in memory that the caller frees, `each` bytes for each
 * of *ret_count; on failure too.
 */
static int
read_list(struct reader *reader, const struct belay__json_value *array,
    read_fn *fn, size_t each, size_t most, void **ret, size_t *ret_count)
{
    const size_t count = count_elements(array->raw);

    if (array->type == BELAY__JSON_NONE) {
        return 0;
    }
    if (array->type != BELAY__JSON_ARRAY || count > most) {
        return refuse(reader, array->raw.data,
            count > most ? "a list is too long" : "a list is none");
    }
    *ret = belay__alloc_zero(reader->session->memory, count * each);
    if (count > 0 && *ret == NULL) {
        return BELAY_ENOMEM;
    }
    *ret_count = count;
    return read_elements(reader, array->raw, fn, *ret, each);
}

/* ---- parts and calls ---- */

static int
read_part(struct reader *reader, struct belay_slice raw, void *to)
{
    static const char *const names[] = {"type", "text", "media_type", "data"};
    struct belay_llm_part *part = to;
    struct belay__json_value values[4];

    belay__provider_members(raw, names, 4, values);
    if (is_text(&values[0], "image")) {
        part->type = BELAY_LLM_PART_IMAGE;
        if (!keep_word(reader, &values[2], &part->media_type)) {
            return refuse(reader, raw.data, "there is no such media type");
        }
        return values[3].type == BELAY__JSON_STRING
                       && keep_bytes(reader, &values[3], &part->data)
                   ? 0
                   : refuse(reader, raw.data, "an image is not base64");
    }
    if (is_text(&values[0], "image_url")) {
        part->type = BELAY_LLM_PART_IMAGE_URL;
    } else if (!is_text(&values[0], "text")) {
        return refuse(reader, raw.data, "a part is of an unknown type");
    }
    if (values[1].type != BELAY__JSON_STRING) {
        return refuse(reader, raw.data, "a part has no text");
    }
    part->data = keep_text(reader, &values[1]);
    return 0;
}

static int
read_call(struct reader *reader, struct belay_slice raw, void *to)
{
    static const char *const names[] = {"id", "name", "arguments"};
    struct belay_llm_tool_call *call = to;
    struct belay__json_value values[3];

    belay__provider_members(raw, names, 3, values);
    for (size_t i = 0; i < 3; i++) {
        if (values[i].type != BELAY__JSON_STRING) {
            return refuse(reader, raw.data, "a tool call lacks a text");
        }
    }
    call->id = keep_text(reader, &values[0]);
    call->name = keep_text(reader, &values[1]);
    call->arguments = keep_text(reader, &values[2]);
    return 0;
}

/* ---- what is broken ---- */

static int
push(struct reader *reader, const struct belay_llm_message *message,
    bool incomplete, const char **ret_why)
{
    return belay__history_add(reader->session->memory, &reader->history,
        message, incomplete, reader->session->max_bytes, ret_why);
}

static void
pop(struct reader *reader)
{
    struct belay__history *top = reader->history;

    reader->history = belay__history_ref(top->below);
    belay__history_unref(reader->session->memory, top);
    reader->loaded.left_out++;
}

/* For each call at the end that has none. */
static int
make_results(struct reader *reader)
{
    const struct belay__history *entry = reader->history;
    const struct belay_llm_message *caller;
    const char *why;
    int code = 0;

    while (belay__said_is(entry->said, "tool")) {
        entry = entry->below;
    }
    caller = &entry->said->message;
    for (size_t i = 0; code == 0 && i < caller->tool_call_count; i++) {
        const struct belay_llm_message result =
            belay_llm_tool_result(caller->tool_calls[i].id, NO_RESULT, true);

        if (belay__history_refuses(reader->history, &result) == NULL) {
            code = push(reader, &result, false, &why);
            reader->loaded.results_made += code == 0;
        }
    }
    return code;
}

/* Back to before what led to the open calls. */
static void
cut_tail(struct reader *reader)
{
    bool caller = false;

    while (!caller) {
        caller = !belay__said_is(reader->history->said, "tool");
        pop(reader);
    }
    while (reader->history != NULL
           && belay__said_is(reader->history->said, "user")) {
        pop(reader);
    }
    reader->cut = true;
}

/* No call is open afterwards. */
static int
mend(struct reader *reader)
{
    if (belay__history_open_calls(reader->history) == 0) {
        return 0;
    }
    if (reader->repair == BELAY_LLM_REPAIR_RESULTS) {
        return make_results(reader);
    }
    cut_tail(reader);
    return 0;
}

static int
take_message(struct reader *reader, const struct belay_llm_message *message,
    bool incomplete, const char *at)
{
    const char *why = belay__said_check(message);
    int code = 0;

    if (why != NULL) {
        return refuse(reader, at, why);
    }
    if (strcmp(message->role, "tool") == 0) {
        if (belay__history_refuses(reader->history, message) != NULL) {
            reader->cut = reader->repair == BELAY_LLM_REPAIR_CUT;
            reader->loaded.left_out++;
            /* Else the true ones may still come behind a stray one. */
            return reader->cut ? mend(reader) : 0;
        }
    } else {
        code = mend(reader);
        if (reader->cut) {
            reader->loaded.left_out++;
            return 0;
        }
    }
    return code < 0 ? code : push(reader, message, incomplete, &why);
}

/* ---- a message ---- */

enum {
    ROLE,
    CONTENT,
    PARTS,
    CALLS,
    CALL_ID,
    FAILED,
    INCOMPLETE,
    MEMBERS,
};

static int
read_members(struct reader *reader, struct belay__json_value *values,
    struct belay_llm_message *message, bool *ret_incomplete)
{
    void *parts = NULL;
    void *calls = NULL;
    int code;

    if (!keep_word(reader, &values[ROLE], &message->role)) {
        return refuse(
            reader, values[ROLE].raw.data, "a message has an unknown role");
    }
    message->content = keep_text(reader, &values[CONTENT]);
    message->tool_call_id = keep_text(reader, &values[CALL_ID]);
    if (!is_text_or_none(&values[CONTENT]) || !is_text_or_none(&values[CALL_ID])
        || !is_flag(&values[FAILED], &message->tool_failed)
        || !is_flag(&values[INCOMPLETE], ret_incomplete)) {
        return refuse(
            reader, values[ROLE].raw.data, "a message has a wrong value");
    }
    code = read_list(reader, &values[PARTS], read_part,
        sizeof(struct belay_llm_part), BELAY__SAID_PARTS_MAX, &parts,
        &message->part_count);
    message->parts = parts;
    if (code == 0) {
        code = read_list(reader, &values[CALLS], read_call,
            sizeof(struct belay_llm_tool_call), BELAY__SAID_CALLS_MAX, &calls,
            &message->tool_call_count);
        message->tool_calls = calls;
    }
    return code;
}

static int
read_message(struct reader *reader, struct belay_slice raw, void *to)
{
    static const char *const names[] = {"role", "content", "parts",
        "tool_calls", "tool_call_id", "tool_failed", "incomplete"};
    struct belay__memory *memory = reader->session->memory;
    struct belay_llm_message message = {.role = NULL};
    struct belay__json_value values[MEMBERS];
    bool incomplete = false;
    int code;

    (void)to;
    if (reader->cut) {
        reader->loaded.left_out++;
        return 0;
    }
    belay__provider_members(raw, names, MEMBERS, values);
    if (values[ROLE].type != BELAY__JSON_STRING) {
        return refuse(reader, raw.data, "a message has no role");
    }
    belay__buffer_clear(&reader->scratch);
    code = belay__buffer_reserve(&reader->scratch, 2 * raw.len + 64);
    if (code == 0) {
        code = read_members(reader, values, &message, &incomplete);
    }
    if (code == 0) {
        code = take_message(reader, &message, incomplete, raw.data);
    }
    belay__free(memory, belay__without_const(message.parts),
        message.part_count * sizeof(*message.parts));
    belay__free(memory, belay__without_const(message.tool_calls),
        message.tool_call_count * sizeof(*message.tool_calls));
    return code;
}

/* ---- figures ---- */

static int
read_ledger(struct reader *reader, const struct belay__json_value *object,
    struct belay_ledger *ret)
{
    static const char *const names[] = {"attempts", "unknown",
        "cost_picodollars", "requests", "in_total", "in_cache_read",
        "in_cache_write_5m", "in_cache_write_1h", "in_audio", "out_total",
        "out_reasoning", "out_audio", "cost_at_least"};
    struct belay_llm_usage *usage = &ret->usage;
    int64_t attempts = 0;
    int64_t unknown = 0;
    int64_t *const to[] = {&attempts, &unknown, &ret->cost.amount.pico,
        &usage->requests, &usage->in_total, &usage->in_cache_read,
        &usage->in_cache_write_5m, &usage->in_cache_write_1h, &usage->in_audio,
        &usage->out_total, &usage->out_reasoning, &usage->out_audio};
    const size_t count = sizeof(to) / sizeof(to[0]);
    struct belay__json_value values[sizeof(names) / sizeof(names[0])];

    *ret = (struct belay_ledger){.attempts = 0};
    if (object->type == BELAY__JSON_NONE) {
        return 0;
    }
    belay__provider_members(
        object->raw, names, sizeof(names) / sizeof(names[0]), values);
    for (size_t i = 0; i < count; i++) {
        if (values[i].type != BELAY__JSON_NONE
            && (values[i].type != BELAY__JSON_NUMBER
                || belay__json_integer(values[i].raw, to[i]) < 0
                || *to[i] < 0)) {
            return refuse(
                reader, values[i].raw.data, "a figure is not a count");
        }
    }
    if (object->type != BELAY__JSON_OBJECT
        || !is_flag(&values[count], &ret->cost.at_least)) {
        return refuse(reader, object->raw.data, "the ledger has a wrong value");
    }
    ret->attempts = (uint64_t)attempts;
    ret->unknown = (uint64_t)unknown;
    return 0;
}

/* ---- all of it ---- */

enum {
    VERSION,
    MODEL,
    SYSTEM,
    MESSAGES,
    LEDGER,
    ROOTS,
};

static int
check_root(struct reader *reader, struct belay__json_value *values)
{
    int64_t version;

    if (values[VERSION].type != BELAY__JSON_NUMBER
        || belay__json_integer(values[VERSION].raw, &version) < 0) {
        return refuse(reader, NULL, "it is not a session");
    }
    if (version != BELAY__SESSION_VERSION) {
        (void)refuse(reader, values[VERSION].raw.data,
            "the session is of another version");
        return BELAY_EPROTO;
    }
    if (!is_text_or_none(&values[MODEL]) || !is_text_or_none(&values[SYSTEM])
        || values[MESSAGES].type != BELAY__JSON_ARRAY) {
        return refuse(reader, NULL, "it is not a session");
    }
    return 0;
}

/* The settings of the session with the text's model and system text. */
static int
read_settings(struct reader *reader, const struct belay__json_value *values,
    struct belay__settings **ret)
{
    struct belay_llm_chat chat = reader->session->settings->chat;
    const char *model;
    int code;

    belay__buffer_clear(&reader->scratch);
    code = belay__buffer_reserve(
        &reader->scratch, values[MODEL].raw.len + values[SYSTEM].raw.len + 2);
    if (code < 0) {
        return code;
    }
    if (!keep_word(reader, &values[MODEL], &model)
        || (model != NULL && model[0] == '\0')) {
        return refuse(reader, values[MODEL].raw.data, "the model has no name");
    }
    if (model != NULL) {
        chat.model = model;
    }
    chat.system = keep_text(reader, &values[SYSTEM]);
    *ret = belay__settings_copy(reader->session->memory, &chat);
    return *ret != NULL ? 0 : BELAY_ENOMEM;
}

static int
read_session(belay_llm_session *session, struct reader *reader,
    struct belay__json_value *values)
{
    struct belay__settings *settings = NULL;
    struct belay_ledger ledger;
    int code = read_ledger(reader, &values[LEDGER], &ledger);

    if (code == 0) {
        code =
            read_elements(reader, values[MESSAGES].raw, read_message, NULL, 0);
    }
    if (code == 0) {
        code = mend(reader);
    }
    if (code == 0) {
        code = read_settings(reader, values, &settings);
    }
    if (code < 0) {
        return code;
    }
    belay__settings_unref(session->memory, session->settings);
    session->settings = settings;
    belay__history_unref(session->memory, session->history);
    session->history = reader->history;
    reader->history = NULL;
    session->last_turn[0] = '\0'; /* that is of another conversation */
    session->ledger = ledger;
    return 0;
}

int
belay_llm_session_read(belay_llm_session *session, struct belay_slice text,
    enum belay_llm_repair repair, struct belay_llm_loaded *ret,
    struct belay_llm_session_problem *ret_problem)
{
    static const char *const names[] = {
        "belay_session", "model", "system", "messages", "ledger"};
    struct reader reader = {
        .session = session, .repair = repair, .begin = text.data};
    struct belay__json_value values[ROOTS];
    struct belay__json_error error = {0, NULL};
    int code;

    if (!belay__session_is_free(session)) {
        return BELAY_EBUSY;
    }
    belay__buffer_init(&reader.scratch, session->memory, SIZE_MAX);
    code = belay__json_check(text, NULL, &error);
    reader.problem =
        (struct belay_llm_session_problem){error.offset, error.reason};
    if (code == 0) {
        belay__provider_members(text, names, ROOTS, values);
        code = check_root(&reader, values);
    }
    if (code == 0) {
        code = read_session(session, &reader, values);
    }
    belay__history_unref(session->memory, reader.history);
    belay__buffer_fini(&reader.scratch);
    if (code == 0 && ret != NULL) {
        reader.loaded.messages = belay__history_count(session->history);
        *ret = reader.loaded;
    }
    if (code < 0 && ret_problem != NULL) {
        *ret_problem = reader.problem;
    }
    return code;
}
