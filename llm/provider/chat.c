/* chat.c - the Chat Completions format, out and in. */
#include "llm/provider/chat.h"

#include "llm/json/text.h"
#include "llm/json/write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- requests ---- */

static const char *
check_messages(const struct belay_llm_chat *chat)
{
    if (chat->message_count == 0 || chat->messages == NULL) {
        return "there is no message";
    }
    for (size_t i = 0; i < chat->message_count; i++) {
        if (chat->messages[i].role == NULL) {
            return "a message has no role";
        }
    }
    return NULL;
}

const char *
belay__chat_check(const struct belay_llm_chat *chat)
{
    enum belay__json_type type = BELAY__JSON_NONE;

    if (chat->model == NULL || chat->model[0] == '\0') {
        return "no model is given";
    }
    if (chat->max_tokens < 0) {
        return "max_tokens is negative";
    }
    if (chat->temperature != NULL && !isfinite(*chat->temperature)) {
        return "the temperature is not a number";
    }
    if (chat->extra.len > 0
        && (belay__json_check(chat->extra, &type, NULL) < 0
            || type != BELAY__JSON_OBJECT)) {
        return "extra is not a JSON object";
    }
    return check_messages(chat);
}

static void
write_message(
    struct belay__json_writer *writer, const struct belay_llm_message *message)
{
    belay__json_open_object(writer);
    belay__json_key(writer, "role");
    belay__json_text(writer, message->role);
    belay__json_key(writer, "content");
    belay__json_string(writer, message->content);
    belay__json_close_object(writer);
}

static void
write_messages(
    struct belay__json_writer *writer, const struct belay_llm_chat *chat)
{
    belay__json_key(writer, "messages");
    belay__json_open_array(writer);
    for (size_t i = 0; i < chat->message_count; i++) {
        write_message(writer, &chat->messages[i]);
    }
    belay__json_close_array(writer);
}

/* The shortest of 15 and 17 digits that gives the same number again. printf
 * asks the locale for the decimal point, JSON does not.
 */
static int
print_double(char *text, size_t size, double value)
{
    int len = snprintf(text, size, "%.15g", value);

    if (strtod(text, NULL) != value) {
        len = snprintf(text, size, "%.17g", value);
    }
    for (int i = 0; i < len; i++) {
        if (strchr("0123456789+-e", text[i]) == NULL) {
            text[i] = '.';
        }
    }
    return len;
}

/* Numbers with up to three decimals, as nearly all are here, without printf,
 * which takes longer than the rest of the request.
 */
static int
print_thousandths(char *text, double value)
{
    const int thousandths = (int)(value * 1000 + 0.5);
    int fraction = thousandths % 1000;
    int len = 0;

    text[len++] = (char)('0' + thousandths / 1000);
    if (fraction > 0) {
        text[len++] = '.';
    }
    for (; fraction > 0; fraction = fraction % 100 * 10) {
        text[len++] = (char)('0' + fraction / 100);
    }
    return len;
}

static bool
is_thousandths(double value)
{
    return value >= 0 && value < 9.9995
           && value == (int)(value * 1000 + 0.5) / 1000.0;
}

static void
write_double(struct belay__json_writer *writer, double value)
{
    char text[40];
    const int len = is_thousandths(value)
                        ? print_thousandths(text, value)
                        : print_double(text, sizeof(text), value);

    belay__json_raw(writer, (struct belay_slice){text, (size_t)len});
}

static void
write_stop(struct belay__json_writer *writer, const struct belay_llm_chat *chat)
{
    belay__json_key(writer, "stop");
    belay__json_open_array(writer);
    for (size_t i = 0; i < chat->stop_count; i++) {
        belay__json_string(writer, chat->stop[i]);
    }
    belay__json_close_array(writer);
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* What stands between the braces of a checked object, without blanks. */
static struct belay_slice
inside_braces(struct belay_slice object)
{
    const char *begin = memchr(object.data, '{', object.len);
    const char *end = object.data + object.len;

    while (end[-1] != '}') {
        end--;
    }
    for (begin++, end--; begin < end && is_blank(*begin); begin++) {
    }
    for (; begin < end && is_blank(end[-1]); end--) {
    }
    return (struct belay_slice){begin, (size_t)(end - begin)};
}

static void
write_extra(struct belay__json_writer *writer, struct belay_slice extra)
{
    const struct belay_slice members = inside_braces(extra);

    if (members.len > 0) {
        belay__json_raw(writer, members);
    }
}

int
belay__chat_build(
    const struct belay_llm_chat *chat, struct belay__buffer *buffer)
{
    struct belay__json_writer writer;

    belay__json_begin(&writer, buffer);
    belay__json_open_object(&writer);
    belay__json_key(&writer, "model");
    belay__json_text(&writer, chat->model);
    write_messages(&writer, chat);
    if (chat->temperature != NULL) {
        belay__json_key(&writer, "temperature");
        write_double(&writer, *chat->temperature);
    }
    if (chat->max_tokens > 0) {
        belay__json_key(&writer,
            chat->old_max_tokens ? "max_tokens" : "max_completion_tokens");
        belay__json_int(&writer, chat->max_tokens);
    }
    if (chat->seed != NULL) {
        belay__json_key(&writer, "seed");
        belay__json_int(&writer, *chat->seed);
    }
    if (chat->stop_count > 0) {
        write_stop(&writer, chat);
    }
    if (chat->extra.len > 0) {
        write_extra(&writer, chat->extra);
    }
    belay__json_close_object(&writer);
    return belay__json_end(&writer);
}

/* ---- answers ---- */

/* Takes what is a string; null and all else counts as not there. */
static void
take_string(struct belay__json *json, struct belay__json_value *ret)
{
    struct belay__json_value value;

    if (!belay__json_take(json, &value)) {
        return;
    }
    if (value.type != BELAY__JSON_STRING) {
        value.type = BELAY__JSON_NONE;
    }
    *ret = value;
}

static bool
take_message(struct belay__json *json, struct belay__chat_answer *ret)
{
    struct belay__json_value key;

    if (!belay__json_enter_object(json)) {
        return false;
    }
    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "content")) {
            take_string(json, &ret->content);
        } else if (belay__json_key_is(&key, "refusal")) {
            take_string(json, &ret->refusal);
        }
    }
    return true;
}

static bool
take_choice(struct belay__json *json, struct belay__chat_answer *ret)
{
    struct belay__json_value key;
    bool found = false;

    if (!belay__json_enter_object(json)) {
        return false;
    }
    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "message")) {
            found = take_message(json, ret);
        } else if (belay__json_key_is(&key, "finish_reason")) {
            take_string(json, &ret->finish);
        }
    }
    return found;
}

static bool
take_choices(struct belay__json *json, struct belay__chat_answer *ret)
{
    bool found = false;

    if (!belay__json_enter_array(json)) {
        return false;
    }
    if (belay__json_next_element(json)) {
        found = take_choice(json, ret);
        belay__json_leave(json);
    }
    return found;
}

int
belay__chat_parse(struct belay_slice body, struct belay__chat_answer *ret)
{
    struct belay__json_value key;
    struct belay__json_value usage = {.raw = {NULL, 0}};
    struct belay__json json;
    bool found = false;

    *ret = (struct belay__chat_answer){.usage = {NULL, 0}};
    belay__json_open(&json, body);
    if (belay__json_enter_object(&json)) {
        while (belay__json_next_member(&json, &key)) {
            if (belay__json_key_is(&key, "choices")) {
                found = take_choices(&json, ret);
            } else if (belay__json_key_is(&key, "usage")) {
                (void)belay__json_take(&json, &usage);
            }
        }
    }
    if (belay__json_finish(&json) < 0) {
        return BELAY_EREPLY;
    }
    ret->usage = usage.raw;
    return found ? 0 : BELAY_EREPLY;
}

enum belay_llm_end
belay__chat_end(const struct belay__chat_answer *answer)
{
    const struct belay__json_value *finish = &answer->finish;

    if (answer->refusal.type == BELAY__JSON_STRING) {
        return BELAY_LLM_END_REFUSAL;
    }
    if (finish->type != BELAY__JSON_STRING) {
        return BELAY_LLM_END_UNKNOWN;
    }
    if (belay__json_key_is(finish, "stop")) {
        return BELAY_LLM_END_STOP;
    }
    if (belay__json_key_is(finish, "length")) {
        return BELAY_LLM_END_LENGTH;
    }
    if (belay__json_key_is(finish, "tool_calls")
        || belay__json_key_is(finish, "function_call")) {
        return BELAY_LLM_END_TOOL;
    }
    return belay__json_key_is(finish, "content_filter") ? BELAY_LLM_END_FILTER
                                                        : BELAY_LLM_END_UNKNOWN;
}

/* ---- errors ---- */

static void
take_error_member(struct belay__json *json, struct belay__chat_error *ret,
    const struct belay__json_value *key)
{
    if (belay__json_key_is(key, "message")
        || belay__json_key_is(key, "detail")) {
        take_string(json, &ret->message);
    } else if (belay__json_key_is(key, "type")) {
        take_string(json, &ret->type);
    } else if (belay__json_key_is(key, "code")) {
        take_string(json, &ret->code);
    }
}

/* {"message", "type", "code"}, or the message itself. */
static void
take_error(struct belay__json *json, struct belay__chat_error *ret)
{
    struct belay__json_value key;

    if (!belay__json_enter_object(json)) {
        take_string(json, &ret->message);
        return;
    }
    while (belay__json_next_member(json, &key)) {
        take_error_member(json, ret, &key);
    }
}

void
belay__chat_parse_error(struct belay_slice body, struct belay__chat_error *ret)
{
    struct belay__chat_error outside = {.code = {.type = BELAY__JSON_NONE}};
    struct belay__chat_error inside = outside;
    struct belay__json_value key;
    struct belay__json json;
    bool wrapped = false;

    *ret = outside;
    belay__json_open(&json, body);
    if (!belay__json_enter_object(&json)) {
        return;
    }
    while (belay__json_next_member(&json, &key)) {
        if (belay__json_key_is(&key, "error")) {
            take_error(&json, &inside);
            wrapped = true;
        } else {
            take_error_member(&json, &outside, &key);
        }
    }
    if (belay__json_finish(&json) == 0) {
        *ret = wrapped ? inside : outside;
    }
}
