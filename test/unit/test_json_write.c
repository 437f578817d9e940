/* test_json_write.c - what is written is JSON, and nothing but what was
 * asked for.
 */
#include "llm/json/scan.h"
#include "llm/json/text.h"
#include "llm/json/write.h"
#include "test/support/memory.h"
#include "test/support/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

static struct belay__buffer buffer;
static struct belay__json_writer writer;

static void
set_up(void)
{
    open_memory();
    belay__buffer_init(&buffer, memory, 1 << 20);
    belay__json_begin(&writer, &buffer);
}

static void
tear_down(void)
{
    belay__buffer_fini(&buffer);
    close_memory();
}

TestSuite(json_write, .init = set_up, .fini = tear_down, .timeout = 30);

static bool
wrote(const char *expected)
{
    bool same;

    cr_assert(zero(int, belay__json_end(&writer)));
    cr_assert(
        zero(int, belay__json_check(belay__buffer_slice(&buffer), NULL, NULL)));
    same = buffer.len == strlen(expected)
           && memcmp(buffer.data, expected, buffer.len) == 0;
    if (!same) {
        cr_log_warn("wrote %.*s", (int)buffer.len, buffer.data);
    }
    belay__buffer_clear(&buffer);
    belay__json_begin(&writer, &buffer);
    return same;
}

Test(json_write, commas_are_put_where_they_belong)
{
    belay__json_open_object(&writer);
    belay__json_key(&writer, "a");
    belay__json_open_array(&writer);
    belay__json_int(&writer, 1);
    belay__json_open_array(&writer);
    belay__json_close_array(&writer);
    belay__json_open_object(&writer);
    belay__json_close_object(&writer);
    belay__json_null(&writer);
    belay__json_close_array(&writer);
    belay__json_key(&writer, "b");
    belay__json_bool(&writer, true);
    belay__json_key(&writer, "c\"");
    belay__json_bool(&writer, false);
    belay__json_key(&writer, "d");
    belay__json_text(&writer, "e");
    belay__json_close_object(&writer);
    cr_expect(
        wrote("{\"a\":[1,[],{},null],\"b\":true,\"c\\\"\":false,\"d\":\"e\"}"));
}

Test(json_write, a_value_goes_behind_what_the_buffer_held)
{
    belay__buffer_clear(&buffer);
    cr_assert(zero(int, belay__buffer_append(&buffer, "data: ", 6)));
    belay__json_begin(&writer, &buffer);
    belay__json_int(&writer, 7);
    cr_expect(zero(int, belay__json_end(&writer)));
    cr_expect(zero(memcmp(buffer.data, "data: 7", 7)));
}

Test(json_write, l93_integers_pass_unchanged)
{
    belay__json_open_array(&writer);
    belay__json_int(&writer, 0);
    belay__json_int(&writer, -1);
    belay__json_int(&writer, INT64_C(9007199254740993));
    belay__json_int(&writer, INT64_MAX);
    belay__json_int(&writer, INT64_MIN);
    belay__json_close_array(&writer);
    cr_expect(wrote("[0,-1,9007199254740993,9223372036854775807,"
                    "-9223372036854775808]"));
}

Test(json_write, l93_raw_values_pass_unchanged)
{
    static const char raw[] = "{ \"n\" : 9007199254740993, \"x\" : 1e400 ,"
                              "\n\"n\":1.0,\"s\":\"\\u0041\\/\" }";

    belay__json_raw(&writer, slice(raw));
    cr_expect(wrote(raw));
}

Test(json_write, strings_are_escaped_only_where_they_must_be)
{
    belay__json_text(&writer, "\"\\/\b\f\n\r\t\x01\x0b\x1f\x7f");
    cr_expect(wrote("\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u000b\\u001f\x7f\""));
    belay__json_text(&writer, "");
    cr_expect(wrote("\"\""));
    belay__json_string(&writer, (struct belay_slice){NULL, 0});
    cr_expect(wrote("\"\""));
    belay__json_text(
        &writer, "\xe2\x80\xa8 gr\xc3\xbc\xc3\x9f \xf0\x9f\x8c\x8d");
    cr_expect(wrote("\"\xe2\x80\xa8 gr\xc3\xbc\xc3\x9f \xf0\x9f\x8c\x8d\""));
}

Test(json_write, l92_nul_is_written)
{
    belay__json_string(&writer, (struct belay_slice){"a\0b", 3});
    cr_expect(wrote("\"a\\u0000b\""));
}

Test(json_write, what_is_not_utf8_is_replaced)
{
    belay__json_text(&writer, "a\x80z\xc3(\xe2\x82\xff\xed\xa0\x80");
    cr_expect(wrote("\"a\xef\xbf\xbdz\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd"
                    "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""));
}

Test(json_write, every_byte_at_every_place_comes_back)
{
    char text[40];
    char back[sizeof(text)];

    for (size_t at = 0; at < sizeof(text); at++) {
        for (int byte = 0; byte < 0x80; byte++) {
            memset(text, 'x', sizeof(text));
            text[at] = (char)byte;
            belay__json_begin(&writer, &buffer);
            belay__json_string(
                &writer, (struct belay_slice){text, sizeof(text)});
            cr_assert(zero(int, belay__json_end(&writer)));
            cr_assert(zero(int,
                belay__json_check(belay__buffer_slice(&buffer), NULL, NULL)));
            cr_assert(
                eq(sz, belay__json_decode(belay__buffer_slice(&buffer), back),
                    sizeof(text)));
            cr_assert(zero(memcmp(text, back, sizeof(text))));
            belay__buffer_clear(&buffer);
        }
    }
}

Test(json_write, b4_line_breaks_between_tokens_go_and_nothing_else)
{
    belay__json_raw_line(&writer,
        slice("\r\n{\r\n  \"a\": \"x\\ny\\r\",\n\n\t\"b\" :\r 1.0 }\n"));
    cr_expect(wrote("{  \"a\": \"x\\ny\\r\",\t\"b\" : 1.0 }"));
    belay__json_raw_line(&writer, slice("[1]"));
    cr_expect(wrote("[1]"));
    belay__json_open_array(&writer);
    belay__json_raw_line(&writer, slice("[\n]"));
    belay__json_raw_line(&writer, slice("\r[\r]\r"));
    belay__json_close_array(&writer);
    cr_expect(wrote("[[],[]]"));
}

Test(json_write, beyond_the_maximum_nothing_stays)
{
    struct belay__buffer small;

    belay__buffer_init(&small, memory, 10);
    cr_assert(zero(int, belay__buffer_append(&small, "ab", 2)));
    belay__json_begin(&writer, &small);
    belay__json_open_array(&writer);
    belay__json_text(&writer, "12345678");
    belay__json_close_array(&writer);
    belay__json_int(&writer, 1);
    cr_expect(eq(int, belay__json_end(&writer), BELAY_ETOOLARGE));
    cr_expect(eq(sz, small.len, 2));
    belay__buffer_fini(&small);
}

static int
write_all(void)
{
    belay__json_begin(&writer, &buffer);
    belay__json_open_object(&writer);
    for (int i = 0; i < 100; i++) {
        belay__json_key(&writer, "key");
        belay__json_text(&writer, "some\ntext \xff");
    }
    belay__json_key(&writer, "raw");
    belay__json_raw_line(&writer, slice("[1,\n2]"));
    belay__json_close_object(&writer);
    return belay__json_end(&writer);
}

Test(json_write, out_of_memory_nothing_stays)
{
    int code;
    size_t k = 0;

    do {
        belay__buffer_fini(&buffer);
        cr_assert(zero(int, belay__buffer_append(&buffer, "before", 6)));
        test_alloc_fail_at(k++);
        code = write_all();
        test_alloc_never_fail();
        if (code != 0) {
            cr_expect(eq(int, code, BELAY_ENOMEM));
            cr_expect(eq(sz, buffer.len, 6));
            cr_expect(zero(memcmp(buffer.data, "before", 6)));
        }
    } while (code != 0);
    cr_expect(gt(sz, k, 3));
}
