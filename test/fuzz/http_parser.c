/* http_parser.c - any bytes as requests, whole and cut.
 *
 * However the bytes are cut, the same requests come out, and the same rest is
 * refused, if not always for the same reason: of two faults the one that is
 * seen first counts. The first byte says where to cut.
 */
#include "llm/http/parser.h"
#include "test/fuzz/insist.h"

#include <string.h>

#define BODY_MAX 4096
#define REQUESTS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What came out, in so many words. */
struct account {
    uint64_t hash;
    size_t requests;
    bool refused;
};

static void
add(struct account *account, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        account->hash =
            (account->hash ^ (uint8_t)data[i]) * UINT64_C(0x100000001b3);
    }
    account->hash *= UINT64_C(0x100000001b3);
}

static void
add_text(struct account *account, const char *text)
{
    add(account, text, strlen(text));
}

static void
add_request(struct account *account, const struct belay__parser *parser)
{
    const char *head = parser->head.data;

    account->requests++;
    add_text(account, belay__parser_method(parser));
    add_text(account, head);
    for (uint32_t i = 0; i < parser->field_count; i++) {
        add_text(account, head + parser->fields[i].name);
        add_text(account, head + parser->fields[i].value);
    }
    add(account, parser->body.data, parser->body.len);
    add_text(account, parser->keep_alive ? "keep" : "close");
}

static struct account
parse(struct belay__memory *memory, const char *data, size_t size, size_t step)
{
    struct account account = {.hash = UINT64_C(0xcbf29ce484222325)};
    struct belay__parser parser;
    size_t at = 0;

    belay__parser_init(&parser, memory, BODY_MAX);
    while (at < size && account.requests < REQUESTS_MAX) {
        const size_t len = size - at < step ? size - at : step;
        size_t used = 0;
        int code = belay__parser_feed(&parser, data + at, len, &used);

        if (code < 0) {
            account.refused = true;
            insist(parser.status >= 400, "refused without a status");
            break;
        }
        insist(code == 1 ? used > 0 : used == len, "bytes are left");
        at += used;
        if (code == 1) {
            add_request(&account, &parser);
            if (!parser.keep_alive) {
                break;
            }
            belay__parser_next(&parser);
        }
    }
    belay__parser_fini(&parser);
    return account;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct account whole;
    struct account cut;

    if (memory == NULL || size == 0) {
        belay__memory_unref(memory);
        return 0;
    }
    whole = parse(memory, (const char *)data + 1, size - 1, size);
    cut = parse(
        memory, (const char *)data + 1, size - 1, (size_t)(data[0] % 32) + 1);
    insist(whole.hash == cut.hash && whole.requests == cut.requests
               && whole.refused == cut.refused,
        "cut, the requests are others");
    insist(memory->live_blocks == 0, "blocks leak");
    belay__memory_unref(memory);
    return 0;
}
