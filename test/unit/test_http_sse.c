/* test_http_sse.c - events are the same however the stream is cut.
 *
 * Each stream is parsed whole, cut in two at every place, and byte by byte.
 */
#include "llm/http/sse.h"
#include "test/support/memory.h"
#include "test/support/sse_oracle.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>

#define BIG ((size_t)5 << 20)

TestSuite(http_sse, .init = open_memory, .fini = close_memory, .timeout = 60);

static void
expect_account(
    struct sse_account account, const char *text, size_t len, const char *how)
{
    cr_expect(eq(sz, account.len, len), "%s", how);
    cr_expect(account.len == len
                  && (len == 0 || memcmp(account.text, text, len) == 0),
        "%s: '%.*s'", how, (int)account.len, account.text);
    free(account.text);
}

static void
expect_stream(const char *stream, size_t stream_len, size_t max,
    const char *text, size_t len)
{
    expect_account(
        sse_oracle(stream, stream_len, max), text, len, "by the definition");
    expect_account(
        sse_parse(memory, stream, stream_len, max, 1, 0), text, len, "bytes");
    for (size_t cut = 0; cut <= stream_len; cut++) {
        expect_account(sse_parse(memory, stream, stream_len, max, 0, cut), text,
            len, "cut in two");
    }
}

/* Both are string literals and may hold NULs. */
#define EXPECT(stream_, text_) \
    expect_stream(             \
        "" stream_, sizeof(stream_) - 1, 0, "" text_, sizeof(text_) - 1)

Test(http_sse, l10_three_kinds_of_line_ends)
{
    EXPECT("data: a\n\ndata: b\n\n", "|a\0|b\0+");
    EXPECT("data: a\r\n\r\ndata: b\r\n\r\n", "|a\0|b\0+");
    EXPECT("data: a\r\rdata: b\r\r", "|a\0|b\0+");
    EXPECT("data: a\r\n\ndata: b\n\r", "|a\0|b\0+");
    EXPECT("data: a\n\r\ndata: b\r\r\n", "|a\0|b\0+");
    EXPECT("\n\r\n\r\rdata: a\n\n\n\n", "|a\0+");
}

Test(http_sse, l10_a_lone_cr_ends_its_event_at_once)
{
    struct belay__sse sse;
    struct belay__sse_event event;

    belay__sse_init(&sse, memory, 0);
    belay__sse_push(&sse, (struct belay_slice){"data: a\r\r", 9});
    cr_expect(eq(int, belay__sse_next(&sse, &event), 1));
    cr_expect(eq(int, belay__sse_next(&sse, &event), 0));
    belay__sse_push(&sse, (struct belay_slice){"\ndata: b\r\n\r", 11});
    cr_expect(eq(int, belay__sse_next(&sse, &event), 1));
    cr_expect(eq(sz, event.data.len, 1));
    cr_expect(eq(int, belay__sse_next(&sse, &event), 0));
    belay__sse_fini(&sse);
}

Test(http_sse, l11_a_byte_order_mark_at_the_start_only)
{
    EXPECT("\xef\xbb\xbf"
           "data: a\n\n\xef\xbb\xbf"
           "data: b\n\ndata: \xef\xbb\xbf\n\n",
        "|a\0|\xef\xbb\xbf\0+");
    EXPECT("\xef\xbb\xbf\ndata: a\n\n", "|a\0+");
    EXPECT("\xef\xbb", "+");
    EXPECT("\xef\xbb\xbf"
           ": x",
        "+");
}

Test(http_sse, l12_comments_are_activity)
{
    EXPECT(": hello\n", "+");
    EXPECT(":\n", "+");
    EXPECT("\n\n\r\n", "");
    EXPECT("data: a\n:x\ndata: b\n:\n\n", "|a\nb\0+");
}

Test(http_sse, l12_activity_is_told_as_it_comes)
{
    static const char stream[] = ":c\ndata: a\n\nevent: ping\n\n\ndata";
    static const char active[] = "  +        +            +     ";
    struct belay__sse sse;
    struct belay__sse_event event;

    belay__sse_init(&sse, memory, 0);
    for (size_t i = 0; stream[i] != '\0'; i++) {
        sse.active = false;
        belay__sse_push(&sse, (struct belay_slice){stream + i, 1});
        while (belay__sse_next(&sse, &event) > 0) {
        }
        cr_expect(eq(int, sse.active, active[i] == '+'), "byte %zu", i);
    }
    belay__sse_fini(&sse);
}

Test(http_sse, l13_one_blank_is_no_data)
{
    EXPECT("data:x\n\n", "|x\0+");
    EXPECT("data: x\n\n", "|x\0+");
    EXPECT("data:  x\n\n", "| x\0+");
    EXPECT("data:\tx\n\n", "|\tx\0+");
    EXPECT("data : x\n\n", "+");
    EXPECT("Data: x\n\n", "+");
    EXPECT("datas: x\n\n", "+");
}

Test(http_sse, l14_data_lines_are_joined)
{
    EXPECT("data: a\ndata: b\ndata:c\n\n", "|a\nb\nc\0+");
    EXPECT("data:\ndata: b\n\n", "|\nb\0+");
    EXPECT("data: a\ndata\ndata:\n\n", "|a\n\n\0+");
    EXPECT("data: a\nid: 7\nevent: e\nretry: 9\ndata: b\n\n", "e|a\nb\0+");
}

Test(http_sse, l15_no_data_no_event)
{
    EXPECT("event: ping\n\n", "+");
    EXPECT("event: ping\ndata:\n\n", "+");
    EXPECT("data: \n\n", "+");
    EXPECT("data:  \t\ndata\n\n", "+");
    EXPECT("event: ping\n\ndata: a\n\n", "|a\0+");
}

Test(http_sse, l16_done_is_an_event_like_any_other)
{
    EXPECT("data:  [DONE] \n\nx", "| [DONE] \0+");
}

Test(http_sse, l17_without_a_final_line_end)
{
    EXPECT("data: a", "?a\0+");
    EXPECT("data: a\n", "?a\0+");
    EXPECT("data: a\r", "?a\0+");
    EXPECT("data: a\n\n", "|a\0+");
    EXPECT("data: a\nda", "?a\0+");
    EXPECT("data: a\ndata", "?a\n\0+");
    EXPECT("event: e\ndata: a\n\nevent: f", "e|a\0+");
    EXPECT("", "");
}

Test(http_sse, l19_l20_other_bytes_are_data)
{
    EXPECT("data: \xf0\x9f\x8c\x8d\n\n", "|\xf0\x9f\x8c\x8d\0+");
    EXPECT("data: a\xe2\x80\xa8"
           "b\xc2\x85"
           "c\x0b\x0c\n\n",
        "|a\xe2\x80\xa8"
        "b\xc2\x85"
        "c\x0b\x0c\0+");
    EXPECT("data: a\0b\n\n", "|a\0b\0+");
    EXPECT("data: \xff\xfe\n\n", "|\xff\xfe\0+");
}

Test(http_sse, l22_the_last_name_counts)
{
    EXPECT("event: a\nevent:b\ndata: 1\n\ndata: 2\n\n", "b|1\0|2\0+");
    EXPECT("event: a\nevent\ndata: 1\n\n", "|1\0+");
}

Test(http_sse, l26_a_long_name_is_cut)
{
    char stream[256];
    char text[128];
    const size_t len = (size_t)snprintf(
        stream, sizeof(stream), "event: %0200d\ndata: 1\n\n", 0);
    const size_t text_len =
        (size_t)snprintf(text, sizeof(text), "%064d|1", 0) + 1;

    text[text_len] = '+';
    expect_stream(stream, len, 0, text, text_len + 1);
}

Test(http_sse, l28_an_event_at_its_limit)
{
    /* Its largest line of 7 bytes beside a byte of data is 8. */
    expect_stream("data: a\ndata: b\n\n", 17, 8, "|a\nb\0+", 6);
    expect_stream("data: 0\n\ndata: a\ndata: bc\n\n", 27, 8, "|0\0!+", 5);
    expect_stream("data: 0123\n\n", 12, 8, "!", 1);
    expect_stream(": 0123456789\n\n", 14, 8, "!", 1);
}

Test(http_sse, l28_after_an_error_there_is_nothing_else)
{
    struct belay__sse sse;
    struct belay__sse_event event;

    belay__sse_init(&sse, memory, 4);
    belay__sse_push(&sse, (struct belay_slice){"data: a\n\ndata: b", 16});
    cr_expect(eq(int, belay__sse_next(&sse, &event), BELAY_ETOOLARGE));
    belay__sse_push(&sse, (struct belay_slice){"\n\n", 2});
    cr_expect(eq(int, belay__sse_next(&sse, &event), BELAY_ETOOLARGE));
    belay__sse_end(&sse);
    cr_expect(eq(int, belay__sse_next(&sse, &event), BELAY_ETOOLARGE));
    belay__sse_fini(&sse);
}

/* Linear: what is held moves only when its buffer doubles. */
Test(http_sse, l28_five_mebibytes_in_pieces)
{
    static const struct belay_slice head = {"data: ", 6};
    struct belay__sse sse;
    struct belay__sse_event event;
    char piece[1024];

    memset(piece, 'x', sizeof(piece));
    belay__sse_init(&sse, memory, 0);
    test_alloc_never_fail();
    belay__sse_push(&sse, head);
    for (size_t at = 0; at < BIG; at += sizeof(piece)) {
        cr_assert(eq(int, belay__sse_next(&sse, &event), 0));
        belay__sse_push(&sse, (struct belay_slice){piece, sizeof(piece)});
    }
    cr_assert(eq(int, belay__sse_next(&sse, &event), 0));
    belay__sse_push(&sse, (struct belay_slice){"\n\n", 2});
    cr_assert(eq(int, belay__sse_next(&sse, &event), 1));
    cr_expect(eq(sz, event.data.len, BIG));
    cr_expect(lt(sz, test_alloc_calls(), 32));
    belay__sse_fini(&sse);
}

Test(http_sse, l28_a_line_without_end_is_given_up)
{
    struct belay__sse sse;
    struct belay__sse_event event;
    char piece[65536];
    size_t pushed = 0;
    int code = 0;

    memset(piece, 'x', sizeof(piece));
    belay__sse_init(&sse, memory, 0);
    while (code == 0 && pushed < 2 * BELAY__SSE_MAX_DEFAULT) {
        belay__sse_push(&sse, (struct belay_slice){piece, sizeof(piece)});
        pushed += sizeof(piece);
        code = belay__sse_next(&sse, &event);
    }
    cr_expect(eq(int, code, BELAY_ETOOLARGE));
    cr_expect(eq(sz, pushed, BELAY__SSE_MAX_DEFAULT + sizeof(piece)));
    belay__sse_fini(&sse);
}

Test(http_sse, an_event_in_one_piece_needs_no_memory)
{
    static const char stream[] =
        "event: a\ndata: {\"x\":1}\n\ndata: {}\n\n:\n\nevent: b\ndata: 1\n\n";
    struct belay__sse sse;
    struct belay__sse_event event;
    int count = 0;

    belay__sse_init(&sse, memory, 0);
    test_alloc_never_fail();
    for (int i = 0; i < 3; i++) {
        belay__sse_push(&sse, (struct belay_slice){stream, sizeof(stream) - 1});
        while (belay__sse_next(&sse, &event) > 0) {
            count++;
        }
    }
    cr_expect(eq(int, count, 9));
    cr_expect(zero(sz, test_alloc_calls()));
    belay__sse_fini(&sse);
}

Test(http_sse, every_allocation_may_fail)
{
    static const char stream[] = "data: one\ndata: two\ndata: three\n\n";

    for (size_t k = 0;; k++) {
        struct belay__sse sse;
        struct belay__sse_event event;
        int code = 0;
        size_t events = 0;

        belay__sse_init(&sse, memory, 0);
        test_alloc_fail_at(k);
        for (size_t i = 0; i < sizeof(stream) - 1 && code == 0; i++) {
            belay__sse_push(&sse, (struct belay_slice){stream + i, 1});
            while ((code = belay__sse_next(&sse, &event)) > 0) {
                events++;
            }
        }
        if (test_alloc_failures() == 0) {
            cr_expect(eq(sz, events, 1));
            belay__sse_fini(&sse);
            break;
        }
        cr_expect(eq(int, code, BELAY_ENOMEM));
        cr_expect(zero(sz, events));
        belay__sse_fini(&sse);
    }
    test_alloc_never_fail();
}

/* Streams of the bytes that matter, against the definition. */
Test(http_sse, random_streams)
{
    static const char *const parts[] = {"data",
        "data:", "data: ", "event:", "event: x", ":", ": c", "\n", "\n", "\n\n",
        "\r", "\r\n", " ", "a", "bcd", "\xef\xbb\xbf", "\t", "id: 3"};
    uint64_t random = 1;
    char stream[128];

    for (int round = 0; round < 4000; round++) {
        struct sse_account whole;
        size_t len = 0;

        while (len < sizeof(stream) - 16) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963;
            const char *part =
                parts[(random >> 33) % (sizeof(parts) / sizeof(parts[0]))];

            memcpy(stream + len, part, strlen(part));
            len += strlen(part);
        }
        whole = sse_oracle(stream, len, 24);
        for (size_t piece = 1; piece < 6; piece++) {
            struct sse_account cut =
                sse_parse(memory, stream, len, 24, piece, 0);

            cr_assert(sse_same(&whole, &cut), "round %d, piece %zu: %.*s",
                round, piece, (int)len, stream);
            free(cut.text);
        }
        free(whole.text);
    }
}
