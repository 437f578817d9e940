/* test_record_parts.c - what rows are made of: messages, hashes, ids: L74, L75.
 */
#include "llm/record/hash.h"
#include "llm/record/messages.h"
#include "llm/record/ulid.h"
#include "test/support/record_scene.h"

#include <string.h>

TestSuite(record_parts, .fini = check_clean, .timeout = 120);

/* ---- L75: bodies taken apart ---- */

static int
trace_message(const struct belay__message *message, void *arg)
{
    (void)arg;
    trace("%.*s %.*s", (int)message->role.len, message->role.data,
        (int)message->body.len, message->body.data);
    return 0;
}

static void
messages_of(const char *body)
{
    trace_clear();
    cr_expect(
        zero(int, belay__messages_each(slice(body), trace_message, NULL)));
}

Test(record_parts, l75_messages_of_every_wire_format)
{
    messages_of(CHAT(USER("a") "," MODEL("b")));
    expect_trace("user " USER("a") "; assistant " MODEL("b"));
    messages_of("{\"messages\":[" USER("a") "],\"system\":\"be brief\"}");
    expect_trace("system \"be brief\"; user " USER("a"));
    messages_of("{\"input\":\"a\",\"instructions\":\"i\"}");
    expect_trace("system \"i\"; user \"a\"");
    messages_of("{\"input\":[{\"type\":\"function_call_output\","
                "\"output\":\"x\"}, \"text\"]}");
    expect_trace("function_call_output {\"type\":\"function_call_output\","
                 "\"output\":\"x\"}; user \"text\"");
    messages_of("{\"model\":\"m\"}");
    expect_trace("");
    messages_of("");
    expect_trace("");
    messages_of("not JSON");
    expect_trace("user not JSON");
    trace_clear();
}

static void
expect_params(const char *body, char *messages, const char *params)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct belay__buffer buffer;

    cr_assert(memory != NULL);
    belay__buffer_init(&buffer, memory, 1000);
    trace_clear();
    cr_expect(zero(
        int, belay__messages_part(slice(body), trace_message, NULL, &buffer)));
    expect_trace(messages);
    cr_expect(eq(sz, buffer.len, strlen(params)), "%s", body);
    cr_expect(zero(int, strncmp(buffer.data != NULL ? buffer.data : "", params,
                            buffer.len)),
        "%s", body);
    belay__buffer_fini(&buffer);
    belay__memory_unref(memory);
    trace_clear();
}

Test(record_parts, l75_what_is_no_conversation_is_parameters)
{
    expect_params("{\"model\":\"m\", \"messages\":[" USER(
                      "a") "],"
                           " \"stop\" : [1.0e0,\t\"\\u0041\"]}",
        "user " USER("a"), "{\"model\":\"m\",\"stop\":[1.0e0,\t\"\\u0041\"]}");
    expect_params("{\"x\":1,\"system\":\"s\",\"input\":\"a\"}",
        "system \"s\"; user \"a\"", "{\"x\":1}");
    expect_params("{\"prompt\":\"a\"}", "user \"a\"", "");
    expect_params("", "", "");
    /* What is no object, or breaks off, is kept as it stands. */
    expect_params("[1]", "user [1]", "");
    expect_params("{\"x\":1,\"input\":\"a\",\"y\":[}",
        "user {\"x\":1,\"input\":\"a\",\"y\":[}", "");
    expect_params("{\"x\":1,\"messages\":[" USER("a"),
        "user {\"x\":1,\"messages\":[" USER("a"), "");
}

/* Known answers: of "abc" from FIPS 180-4; a message's by any SHA-256 of the
 * lengths, in eight bytes, and the parts.
 */
Test(record_parts, l75_hashes_are_those_of_the_standard)
{
    struct belay__hasher hasher;
    struct belay__hash hash;
    struct belay__hash again;

    cr_assert(zero(int, belay__hasher_init(&hasher)));
    for (int i = 0; i < 2; i++) {
        cr_assert(zero(int, belay__hash_of(&hasher, slice("abc"), &hash)));
        cr_expect(zero(
            int, memcmp(hash.bytes,
                     "\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae"
                     "\x22\x23\xb0\x03\x61\xa3\x96\x17\x7a\x9c\xb4\x10\xff\x61"
                     "\xf2\x00\x15\xad",
                     32)));
    }
    cr_assert(zero(int,
        belay__hash_message(&hasher, NULL, slice("ab"), slice("c"), &hash)));
    cr_assert(zero(int,
        belay__hash_message(&hasher, NULL, slice("a"), slice("bc"), &again)));
    cr_expect(ne(int, memcmp(&hash, &again, sizeof(hash)), 0));
    belay__hasher_fini(&hasher);
    belay__hasher_fini(&hasher);
}

/* ---- ids ---- */

Test(record_parts, l74_ids_sort_as_they_were_made)
{
    struct belay__ulid_source source = {0};
    char last[BELAY__ULID_BYTES] = "";
    char next[BELAY__ULID_BYTES];

    for (int i = 0; i < 10000; i++) {
        belay__ulid_make(
            &source, INT64_C(1800000000000) + i / 100 - i % 3, next);
        cr_assert(eq(sz, strlen(next), 26));
        cr_assert(lt(int, strcmp(last, next), 0));
        memcpy(last, next, sizeof(last));
    }
    memset(source.random, 31, sizeof(source.random));
    belay__ulid_make(&source, 0, next);
    cr_expect(lt(int, strcmp(last, next), 0));
    cr_expect(zero(int, strcmp(next + 10, "0000000000000000")));
    belay__ulid_least(INT64_C(1469918176385), next);
    cr_expect(eq(str, next, "01ARYZ6S410000000000000000"));
    source = (struct belay__ulid_source){0};
    belay__ulid_make(&source, INT64_C(1469918176385), next);
    belay__ulid_least(INT64_C(1469918176386), last);
    cr_expect(lt(int, strcmp(next, last), 0));
    next[10] = '\0';
    cr_expect(eq(str, next, "01ARYZ6S41"), "as in the specification");
}
