/* messages.c - a request's body, taken apart. */
#include "llm/record/messages.h"

#include "llm/json/text.h"

#include <sha2.h>
#include <string.h>
#include <sys/types.h>

struct walk {
    belay__message_fn *each;
    void *arg;
    struct belay__hash tip;
    bool any;
    int code;
};

/* Lengths go in too, so that no two messages run together. */
static void
hash_part(SHA2_CTX *sha, const void *data, size_t len)
{
    uint8_t size[8];

    for (int i = 0; i < 8; i++) {
        size[i] = (uint8_t)((uint64_t)len >> (8 * i));
    }
    SHA256Update(sha, size, sizeof(size));
    if (len > 0) {
        SHA256Update(sha, data, len);
    }
}

void
belay__message_hash(const struct belay__hash *parent, struct belay_slice role,
    struct belay_slice body, struct belay__hash *ret)
{
    SHA2_CTX sha;

    SHA256Init(&sha);
    hash_part(&sha, parent != NULL ? parent->bytes : NULL,
        parent != NULL ? sizeof(parent->bytes) : 0);
    hash_part(&sha, role.data, role.len);
    hash_part(&sha, body.data, body.len);
    SHA256Final(ret->bytes, &sha);
}

void
belay__hash_of(struct belay_slice bytes, struct belay__hash *ret)
{
    SHA2_CTX sha;

    SHA256Init(&sha);
    SHA256Update(&sha, (const uint8_t *)bytes.data, bytes.len);
    SHA256Final(ret->bytes, &sha);
}

static void
add(struct walk *walk, struct belay_slice role, struct belay_slice body)
{
    const struct belay__hash parent = walk->tip;
    struct belay__message message = {
        .parent = walk->any ? &parent : NULL,
        .role = role,
        .body = body,
    };

    if (walk->code != 0) {
        return;
    }
    belay__message_hash(message.parent, role, body, &message.hash);
    walk->code = walk->each(&message, walk->arg);
    walk->tip = message.hash;
    walk->any = true;
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
belay__messages_each(struct belay_slice body, belay__message_fn *each,
    void *arg, struct belay__hash *ret_tip, bool *ret_any)
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
    *ret_tip = walk.tip;
    *ret_any = walk.any;
    return walk.code;
}
