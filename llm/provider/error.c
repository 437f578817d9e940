/* error.c - what servers write in the place of an answer. */
#include "llm/provider/error.h"

#include "llm/json/text.h"

#include <string.h>

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

static void
take_code(struct belay__json *json, struct belay__json_value *ret)
{
    struct belay__json_value value;

    if (!belay__json_take(json, &value)) {
        return;
    }
    if (value.type != BELAY__JSON_STRING && value.type != BELAY__JSON_NUMBER) {
        value.type = BELAY__JSON_NONE;
    }
    *ret = value;
}

static void
take_error_member(struct belay__json *json, struct belay__provider_error *ret,
    const struct belay__json_value *key)
{
    if (belay__json_key_is(key, "message")
        || belay__json_key_is(key, "detail")) {
        take_string(json, &ret->message);
    } else if (belay__json_key_is(key, "type")) {
        take_string(json, &ret->type);
    } else if (belay__json_key_is(key, "code")) {
        take_code(json, &ret->code);
    }
}

/* {"message", "type", "code"}, or the message itself. */
static void
take_error(struct belay__json *json, struct belay__provider_error *ret)
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

/* {"error": …}, or that without its wrapping. */
static void
take_body(struct belay__json *json, struct belay__provider_error *ret)
{
    struct belay__provider_error inside = *ret;
    struct belay__json_value key;
    bool wrapped = false;

    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "error")) {
            take_error(json, &inside);
            wrapped = true;
        } else {
            take_error_member(json, ret, &key);
        }
    }
    if (wrapped) {
        *ret = inside;
    }
}

/* Gemini's servers have a list of one. */
void
belay__provider_error_parse(
    struct belay_slice body, struct belay__provider_error *ret)
{
    const struct belay__provider_error none = {
        .code = {.type = BELAY__JSON_NONE}};
    struct belay__json json;

    *ret = none;
    belay__json_open(&json, body);
    if (belay__json_enter_array(&json)) {
        if (belay__json_next_element(&json)
            && belay__json_enter_object(&json)) {
            take_body(&json, ret);
        }
        while (belay__json_next_element(&json)) {
        }
    } else if (belay__json_enter_object(&json)) {
        take_body(&json, ret);
    }
    if (belay__json_finish(&json) < 0) {
        *ret = none;
    }
}

/* ---- the status that it stands for ---- */

static bool
is_status(const struct belay__json_value *code, int *ret)
{
    struct belay_slice text = code->raw;
    int status = 0;

    if (code->type == BELAY__JSON_STRING) {
        text = belay__json_inside(text);
    } else if (code->type != BELAY__JSON_NUMBER) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.len != 3 || text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        status = status * 10 + (text.data[i] - '0');
    }
    if (status < 400 || status > 599) {
        return false;
    }
    *ret = status;
    return true;
}

static int
status_of_word(const struct belay__json_value *word)
{
    static const struct {
        const char *word;
        int status;
    } rows[] = {
        {"overloaded_error", 529},
        {"overloaded", 529},
        {"rate_limit_error", 429},
        {"rate_limit_exceeded", 429},
        {"insufficient_quota", 429},
        {"billing_hard_limit_reached", 429},
        {"requests", 429},
        {"tokens", 429},
        {"billing_error", 402},
        {"api_error", 500},
        {"server_error", 500},
        {"internal_server_error", 500},
        {"timeout_error", 504},
        {"timeout", 504},
        {"invalid_request_error", 400},
        {"invalid_prompt", 400},
        {"context_length_exceeded", 400},
        {"authentication_error", 401},
        {"invalid_api_key", 401},
        {"permission_error", 403},
        {"not_found_error", 404},
        {"model_not_found", 404},
        {"request_too_large", 413},
    };

    if (word->type != BELAY__JSON_STRING) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (belay__json_equals(word, rows[i].word, strlen(rows[i].word))) {
            return rows[i].status;
        }
    }
    return 0;
}

static bool
is_quota_word(const struct belay__json_value *word)
{
    return word->type == BELAY__JSON_STRING
           && (belay__json_key_is(word, "insufficient_quota")
               || belay__json_key_is(word, "billing_hard_limit_reached")
               || belay__json_key_is(word, "billing_error"));
}

bool
belay__provider_error_is_quota(const struct belay__provider_error *error)
{
    return is_quota_word(&error->code) || is_quota_word(&error->type);
}

const struct belay__json_value *
belay__provider_error_word(const struct belay__provider_error *error)
{
    const bool has_type = error->type.type == BELAY__JSON_STRING
                          && !belay__json_key_is(&error->type, "error");

    if (error->code.type == BELAY__JSON_STRING
        && (!has_type || is_quota_word(&error->code))) {
        return &error->code;
    }
    return has_type ? &error->type : NULL;
}

int
belay__provider_error_status(const struct belay__provider_error *error)
{
    int status;

    if (is_status(&error->code, &status)) {
        return status;
    }
    status = status_of_word(&error->type);
    status = status != 0 ? status : status_of_word(&error->code);
    return status != 0 ? status : 500;
}
