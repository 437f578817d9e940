/* request.c - what the requests of all formats have in common. */
#include "llm/provider/request.h"

#include "llm/base64.h"
#include "llm/json/scan.h"
#include "llm/json/text.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool
belay__request_role_is(
    const struct belay_llm_message *message, const char *role)
{
    return strcmp(message->role, role) == 0;
}

/* ---- checks ---- */

void
belay__request_extra(const struct belay_llm_chat *chat, const char *name,
    struct belay__json_value *ret)
{
    struct belay__json json;
    struct belay__json_value key;

    *ret = (struct belay__json_value){.type = BELAY__JSON_NONE};
    if (chat->extra.len == 0) {
        return;
    }
    belay__json_open(&json, chat->extra);
    if (belay__json_enter_object(&json)) {
        while (belay__json_next_member(&json, &key)) {
            if (belay__json_key_equals(&key, name, strlen(name))) {
                (void)belay__json_take(&json, ret);
            }
        }
    }
}

static bool
is_in_extra(const struct belay_llm_chat *chat, const char *name)
{
    struct belay__json_value value;

    belay__request_extra(chat, name, &value);
    return value.type != BELAY__JSON_NONE;
}

int64_t
belay__request_limit(const struct belay_llm_chat *chat, const char *name)
{
    struct belay__json_value value;
    int64_t limit;

    if (chat->max_tokens > 0) {
        return chat->max_tokens;
    }
    belay__request_extra(chat, name, &value);
    return value.type == BELAY__JSON_NUMBER
                   && belay__json_integer(value.raw, &limit) == 0 && limit > 0
               ? limit
               : 0;
}

/* It is written into JSON and addresses as it is. */
static bool
is_media_type(const char *text)
{
    static const char marks[] = "/+-._";

    if (text == NULL || *text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        const char c = *text;
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

        if (!letter && !(c >= '0' && c <= '9') && strchr(marks, c) == NULL) {
            return false;
        }
    }
    return true;
}

bool
belay__request_is_object(struct belay_slice text)
{
    enum belay__json_type type = BELAY__JSON_NONE;

    return belay__json_check(text, &type, NULL) == 0
           && type == BELAY__JSON_OBJECT;
}

static const char *
check_message(const struct belay_llm_message *message)
{
    if (message->role == NULL) {
        return "a message has no role";
    }
    for (size_t i = 0; i < message->part_count; i++) {
        const struct belay_llm_part *part = &message->parts[i];

        if (part->type == BELAY_LLM_PART_IMAGE
            && !is_media_type(part->media_type)) {
            return "an image has no media type";
        }
    }
    for (size_t i = 0; i < message->tool_call_count; i++) {
        if (message->tool_calls[i].name.len == 0) {
            return "a tool call has no name";
        }
    }
    if (belay__request_role_is(message, "tool")
        && message->tool_call_id.len == 0) {
        return "a tool's message does not say which call it answers";
    }
    return NULL;
}

static const char *
check_tools(const struct belay_llm_chat *chat)
{
    for (size_t i = 0; i < chat->tool_count; i++) {
        const struct belay_llm_tool *tool = &chat->tools[i];

        if (tool->name == NULL || tool->name[0] == '\0') {
            return "a tool has no name";
        }
        if (tool->parameters.len > 0
            && !belay__request_is_object(tool->parameters)) {
            return "the parameters of a tool are not a JSON object";
        }
    }
    if (chat->tool_choice == BELAY_LLM_TOOL_NAMED
        && (chat->tool_name == NULL || chat->tool_name[0] == '\0')) {
        return "tool_name is not given";
    }
    return NULL;
}

const char *
belay__request_check_basis(const char *model, struct belay_slice extra)
{
    const struct belay_llm_chat chat = {.extra = extra};

    if (extra.len > 0 && !belay__request_is_object(extra)) {
        return "extra is not a JSON object";
    }
    if (model == NULL ? !is_in_extra(&chat, "model") : model[0] == '\0') {
        return "no model is given";
    }
    return NULL;
}

const char *
belay__request_check(const struct belay_llm_chat *chat, const char *messages)
{
    const char *why = belay__request_check_basis(chat->model, chat->extra);

    if (why != NULL) {
        return why;
    }
    if (chat->max_tokens < 0) {
        return "max_tokens is negative";
    }
    if (chat->temperature != NULL && !isfinite(*chat->temperature)) {
        return "the temperature is not a number";
    }
    if (chat->message_count == 0 && !is_in_extra(chat, messages)) {
        return "there is no message";
    }
    for (size_t i = 0; i < chat->message_count && why == NULL; i++) {
        why = check_message(&chat->messages[i]);
    }
    return why != NULL ? why : check_tools(chat);
}

/* ---- members ---- */

void
belay__request_key(struct belay__request_writer *request, const char *key)
{
    assert(request->key_count < BELAY__REQUEST_KEYS);
    request->keys[request->key_count++] = key;
    belay__json_key(&request->json, key);
}

void
belay__request_model(
    struct belay__request_writer *request, const struct belay_llm_chat *chat)
{
    if (chat->model != NULL) {
        belay__request_key(request, "model");
        belay__json_text(&request->json, chat->model);
    }
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

void
belay__request_number(
    struct belay__request_writer *request, const char *key, double value)
{
    char text[40];
    const int len = is_thousandths(value)
                        ? print_thousandths(text, value)
                        : print_double(text, sizeof(text), value);

    belay__request_key(request, key);
    belay__json_raw(&request->json, (struct belay_slice){text, (size_t)len});
}

void
belay__request_temperature(
    struct belay__request_writer *request, const struct belay_llm_chat *chat)
{
    if (chat->temperature != NULL) {
        belay__request_number(request, "temperature", *chat->temperature);
    }
}

void
belay__request_max_tokens(struct belay__request_writer *request,
    const char *key, const struct belay_llm_chat *chat)
{
    if (chat->max_tokens > 0) {
        belay__request_key(request, key);
        belay__json_int(&request->json, chat->max_tokens);
    }
}

void
belay__request_stream(struct belay__request_writer *request, bool stream)
{
    if (stream) {
        belay__request_key(request, "stream");
        belay__json_bool(&request->json, true);
    }
}

/* ---- tools ---- */

void
belay__request_tools(struct belay__request_writer *request,
    const struct belay_llm_chat *chat, belay__request_tool_fn *write_fn)
{
    struct belay__json_writer *json = &request->json;

    if (chat->tool_count == 0) {
        return;
    }
    belay__request_key(request, "tools");
    belay__json_open_array(json);
    for (size_t i = 0; i < chat->tool_count; i++) {
        belay__json_open_object(json);
        write_fn(json, &chat->tools[i]);
        belay__json_close_object(json);
    }
    belay__json_close_array(json);
}

void
belay__request_tool_members(struct belay__json_writer *json,
    const struct belay_llm_tool *tool, const char *key, struct belay_slice none)
{
    belay__request_text_member(json, "name", tool->name);
    if (tool->description.len > 0) {
        belay__request_slice_member(json, "description", tool->description);
    }
    belay__json_key(json, key);
    belay__request_schema(
        json, tool->parameters.len > 0 ? tool->parameters : none);
}

void
belay__request_function_choice(struct belay__request_writer *request,
    const struct belay_llm_chat *chat, bool nested)
{
    static const char *const words[] = {
        [BELAY_LLM_TOOL_AUTO] = "auto",
        [BELAY_LLM_TOOL_NONE] = "none",
        [BELAY_LLM_TOOL_ANY] = "required",
    };
    struct belay__json_writer *json = &request->json;

    if (chat->tool_choice == BELAY_LLM_TOOL_DEFAULT) {
        return;
    }
    belay__request_key(request, "tool_choice");
    if (chat->tool_choice != BELAY_LLM_TOOL_NAMED) {
        belay__json_text(json, words[chat->tool_choice]);
        return;
    }
    belay__json_open_object(json);
    belay__request_text_member(json, "type", "function");
    if (nested) {
        belay__json_key(json, "function");
        belay__json_open_object(json);
    }
    belay__request_text_member(json, "name", chat->tool_name);
    if (nested) {
        belay__json_close_object(json);
    }
    belay__json_close_object(json);
}

/* ---- texts that end an answer ---- */

void
belay__request_stop(struct belay__request_writer *request, const char *key,
    const struct belay_llm_chat *chat)
{
    if (chat->stop_count == 0) {
        return;
    }
    belay__request_key(request, key);
    belay__json_open_array(&request->json);
    for (size_t i = 0; i < chat->stop_count; i++) {
        belay__json_string(&request->json, chat->stop[i]);
    }
    belay__json_close_array(&request->json);
}

/* ---- extra ---- */

static bool
was_written(const struct belay__request_writer *request,
    const struct belay__json_value *key)
{
    for (size_t i = 0; i < request->key_count; i++) {
        if (belay__json_key_equals(
                key, request->keys[i], strlen(request->keys[i]))) {
            return true;
        }
    }
    return false;
}

static bool
says_anew(const struct belay__request_writer *request, struct belay_slice extra)
{
    struct belay__json json;
    struct belay__json_value key;
    bool anew = false;

    belay__json_open(&json, extra);
    if (belay__json_enter_object(&json)) {
        while (belay__json_next_member(&json, &key)) {
            anew |= was_written(request, &key);
        }
    }
    return anew;
}

/* One after the other, from the key to the end of the value. */
static void
add_members(struct belay__request_writer *request, struct belay_slice extra)
{
    struct belay__json json;
    struct belay__json_value key;
    struct belay__json_value value;

    belay__json_open(&json, extra);
    if (!belay__json_enter_object(&json)) {
        return;
    }
    while (belay__json_next_member(&json, &key)) {
        if (!was_written(request, &key) && belay__json_take(&json, &value)) {
            const char *end = value.raw.data + value.raw.len;

            belay__json_raw(&request->json, (struct belay_slice){key.raw.data,
                                                (size_t)(end - key.raw.data)});
        }
    }
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

void
belay__request_add_extra(
    struct belay__request_writer *request, struct belay_slice extra)
{
    struct belay_slice members;

    if (extra.len == 0) {
        return;
    }
    if (says_anew(request, extra)) {
        add_members(request, extra);
        return;
    }
    members = inside_braces(extra);
    if (members.len > 0) {
        belay__json_raw(&request->json, members);
    }
}

/* ---- values ---- */

void
belay__request_text_member(
    struct belay__json_writer *json, const char *key, const char *value)
{
    belay__json_key(json, key);
    belay__json_text(json, value);
}

void
belay__request_slice_member(
    struct belay__json_writer *json, const char *key, struct belay_slice value)
{
    belay__json_key(json, key);
    belay__json_string(json, value);
}

void
belay__request_schema(
    struct belay__json_writer *json, struct belay_slice schema)
{
    if (schema.len > 0) {
        belay__json_raw(json, schema);
    } else {
        belay__json_open_object(json);
        belay__json_close_object(json);
    }
}

static void
put(struct belay__json_writer *json, const char *text)
{
    if (json->code == 0) {
        json->code = belay__buffer_append(json->buffer, text, strlen(text));
    }
}

static void
put_base64(struct belay__json_writer *json, struct belay_slice bytes)
{
    if (json->code == 0) {
        json->code = belay__base64_append(json->buffer, bytes);
    }
    put(json, "\"");
}

void
belay__request_data_url(
    struct belay__json_writer *json, const struct belay_llm_part *part)
{
    static const struct belay_slice start = {"\"data:", 6};

    belay__json_raw(json, start);
    put(json, part->media_type);
    put(json, ";base64,");
    put_base64(json, part->data);
}

void
belay__request_base64(struct belay__json_writer *json, struct belay_slice bytes)
{
    static const struct belay_slice start = {"\"", 1};

    belay__json_raw(json, start);
    put_base64(json, bytes);
}
