/* messages.c - a request's body, taken apart. */
#include "llm/record/messages.h"

#include "llm/json/text.h"
#include "llm/json/write.h"

#include <string.h>

struct walk {
    belay__message_fn *each;
    void *arg;
    int code;
};

static void
add(struct walk *walk, struct belay_slice role, struct belay_slice body)
{
    const struct belay__message message = {role, body};

    if (walk->code == 0) {
        walk->code = walk->each(&message, walk->arg);
    }
}

static struct belay_slice
literal(const char *text)
{
    return (struct belay_slice){text, strlen(text)};
}

/* "role", or where there is none the item's "type"; goes into the object. */
static struct belay_slice
take_role(struct belay__json *json)
{
    struct belay_slice role = {NULL, 0};
    struct belay__json_value value;
    struct belay__json_value key;

    while (belay__json_next_member(json, &key)) {
        const bool is_role = belay__json_key_is(&key, "role");

        if ((is_role || (role.data == NULL && belay__json_key_is(&key, "type")))
            && belay__json_take(json, &value)
            && value.type == BELAY__JSON_STRING) {
            role = belay__json_inside(value.raw);
            if (is_role) {
                belay__json_leave(json);
                break;
            }
        }
    }
    return role;
}

/* An array of messages, or one text; it has been checked. */
static void
add_all(struct walk *walk, const struct belay__json_value *messages)
{
    struct belay__json_value value;
    struct belay__json json;

    if (messages->type == BELAY__JSON_STRING) {
        add(walk, literal("user"), messages->raw);
        return;
    }
    belay__json_open(&json, messages->raw);
    if (!belay__json_enter_array(&json)) {
        return;
    }
    while (belay__json_next_element(&json)) {
        const size_t start = belay__json_offset(&json);

        if (belay__json_enter_object(&json)) {
            const struct belay_slice role = take_role(&json);

            add(walk, role, belay__json_since(&json, start));
        } else if (belay__json_take(&json, &value)) {
            add(walk, literal("user"), value.raw); /* a bare text */
        }
    }
}

static bool
is_one_of(struct belay_slice key, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (key.len == strlen(names[i])
            && memcmp(key.data, names[i], key.len) == 0) {
            return true;
        }
    }
    return false;
}

static bool
is_system(struct belay_slice key)
{
    static const char *const names[] = {"system", "instructions"};

    return is_one_of(key, names, 2);
}

static bool
is_conversation(struct belay_slice key)
{
    static const char *const names[] = {"messages", "input", "prompt"};

    return is_one_of(key, names, 3);
}

/* What a body has, in one pass. */
struct parts {
    struct belay__json_value messages;
    struct belay__json_value system;
    struct belay__json_writer *params; /* NULL: not wanted */
    bool any_params;
};

static void
take_part(struct belay__json *json, const struct belay__json_value *key,
    struct parts *parts)
{
    const struct belay_slice name = belay__json_inside(key->raw);
    struct belay__json_value value;

    if (is_system(name)) {
        (void)belay__json_take(json, &parts->system);
        return;
    }
    if (!belay__json_take(json, &value)) {
        return;
    }
    /* An object is a prompt that the server has: a parameter of these. */
    if (is_conversation(name) && value.type != BELAY__JSON_OBJECT) {
        parts->messages = value;
    } else if (parts->params != NULL) {
        belay__json_raw_key(parts->params, key->raw);
        belay__json_raw(parts->params, value.raw);
        parts->any_params = true;
    }
}

/* 0, or BELAY_EJSON: the body is no object, or not whole. */
static int
take_parts(struct belay_slice body, struct parts *parts)
{
    struct belay__json_value key;
    struct belay__json json;

    belay__json_open(&json, body);
    if (!belay__json_enter_object(&json)) {
        return BELAY_EJSON;
    }
    while (belay__json_next_member(&json, &key)) {
        take_part(&json, &key, parts);
    }
    return belay__json_finish(&json);
}

static int
hand_on(const struct parts *parts, belay__message_fn *each, void *arg)
{
    struct walk walk = {.each = each, .arg = arg};

    if (parts->system.type != BELAY__JSON_NONE
        && parts->system.type != BELAY__JSON_NULL) {
        add(&walk, literal("system"), parts->system.raw);
    }
    if (parts->messages.type != BELAY__JSON_NONE) {
        add_all(&walk, &parts->messages);
    }
    return walk.code;
}

/* What cannot be taken apart, as a whole. */
static int
hand_whole(struct belay_slice body, belay__message_fn *each, void *arg)
{
    const struct belay__message message = {literal("user"), body};

    return body.len > 0 ? each(&message, arg) : 0;
}

int
belay__messages_each(
    struct belay_slice body, belay__message_fn *each, void *arg)
{
    struct parts parts = {.params = NULL};

    return take_parts(body, &parts) < 0 ? hand_whole(body, each, arg)
                                        : hand_on(&parts, each, arg);
}

int
belay__messages_part(struct belay_slice body, belay__message_fn *each,
    void *arg, struct belay__buffer *params)
{
    struct belay__json_writer writer;
    struct parts parts = {.params = &writer};
    bool whole;

    belay__buffer_clear(params);
    belay__json_begin(&writer, params);
    belay__json_open_object(&writer);
    whole = take_parts(body, &parts) == 0;
    belay__json_close_object(&writer);
    if (belay__json_end(&writer) < 0 || !whole || !parts.any_params) {
        belay__buffer_clear(params);
    }
    return whole ? hand_on(&parts, each, arg) : hand_whole(body, each, arg);
}
