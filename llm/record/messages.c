/* messages.c - a request's body, taken apart. */
#include "llm/record/messages.h"

#include "llm/json/text.h"

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

/* "role", or where there is none the item's "type". */
static struct belay_slice
role_of(struct belay_slice message)
{
    struct belay_slice role = {NULL, 0};
    struct belay__json_value value;
    struct belay__json_value key;
    struct belay__json json;

    belay__json_open(&json, message);
    if (!belay__json_enter_object(&json)) {
        return literal("user"); /* a bare text */
    }
    while (belay__json_next_member(&json, &key)) {
        const bool is_role = belay__json_key_is(&key, "role");

        if ((is_role || (role.data == NULL && belay__json_key_is(&key, "type")))
            && belay__json_take(&json, &value)
            && value.type == BELAY__JSON_STRING) {
            role = belay__json_inside(value.raw);
            if (is_role) {
                break;
            }
        }
    }
    return role;
}

/* An array of messages, or one text. */
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
        if (belay__json_take(&json, &value)) {
            add(walk, role_of(value.raw), value.raw);
        }
    }
}

bool
belay__messages_is_key(struct belay_slice key)
{
    static const char *const keys[] = {
        "messages", "input", "prompt", "system", "instructions"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (key.len == strlen(keys[i])
            && memcmp(key.data, keys[i], key.len) == 0) {
            return true;
        }
    }
    return false;
}

int
belay__messages_each(
    struct belay_slice body, belay__message_fn *each, void *arg)
{
    struct walk walk = {.each = each, .arg = arg};
    struct belay__json_value messages = {.type = BELAY__JSON_NONE};
    struct belay__json_value system = {.type = BELAY__JSON_NONE};
    struct belay__json_value key;
    struct belay__json json;

    belay__json_open(&json, body);
    if (belay__json_enter_object(&json)) {
        while (belay__json_next_member(&json, &key)) {
            if (belay__json_key_is(&key, "system")
                || belay__json_key_is(&key, "instructions")) {
                (void)belay__json_take(&json, &system);
            } else if (belay__messages_is_key(belay__json_inside(key.raw))) {
                (void)belay__json_take(&json, &messages);
            }
        }
    }
    if (system.type != BELAY__JSON_NONE && system.type != BELAY__JSON_NULL) {
        add(&walk, literal("system"), system.raw);
    }
    if (messages.type != BELAY__JSON_NONE) {
        add_all(&walk, &messages);
    }
    return walk.code;
}
