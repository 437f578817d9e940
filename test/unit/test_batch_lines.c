/* test_batch_lines.c - lines are the same however the file is cut. */
#include "llm/batch/lines.h"
#include "test/support/memory.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(
    batch_lines, .init = open_memory, .fini = close_memory, .timeout = 60);

/* What was seen, as text: number@offset:"line" or number@offset!"head". */
struct seen {
    char text[8192];
    size_t len;
};

static void
note(struct seen *seen, const struct belay__line *line)
{
    int len = snprintf(seen->text + seen->len, sizeof(seen->text) - seen->len,
        "%d@%d%c", (int)line->number, (int)line->offset,
        line->too_long ? '!' : ':');

    seen->len += (size_t)len;
    cr_assert(lt(sz, seen->len + line->text.len + 1, sizeof(seen->text)));
    if (line->text.len > 0) {
        memcpy(seen->text + seen->len, line->text.data, line->text.len);
    }
    seen->len += line->text.len;
    seen->text[seen->len++] = '\n';
    seen->text[seen->len] = '\0';
}

/* In a block of its own, so that reading beyond a piece is found. */
static char *
copy_of(const char *data, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);

    memcpy(copy, data, len);
    return copy;
}

static void
pull(struct belay__lines *lines, struct seen *seen)
{
    struct belay__line line;
    int code;

    while ((code = belay__lines_next(lines, &line)) > 0) {
        note(seen, &line);
    }
    cr_assert(zero(int, code));
}

static void
feed(
    struct belay__lines *lines, struct seen *seen, const char *data, size_t len)
{
    char *copy = copy_of(data, len);

    belay__lines_push(lines, copy, len);
    pull(lines, seen);
    free(copy);
}

static void
finish(struct belay__lines *lines, struct seen *seen)
{
    belay__lines_end(lines);
    pull(lines, seen);
    pull(lines, seen);
}

/* The same, from the definition. */
static void
expect_of(
    struct seen *seen, const char *data, size_t len, size_t max, size_t start)
{
    int number = 0;

    for (size_t at = start; at < len;) {
        size_t stop = at;
        struct belay__line line = {.offset = at, .number = (uint64_t)++number};
        bool blank = true;

        while (stop < len && data[stop] != '\n') {
            stop++;
        }
        line.text = (struct belay_slice){data + at, stop - at};
        if (line.text.len > 0 && data[stop - 1] == '\r') {
            line.text.len--;
        }
        for (size_t i = 0; i < line.text.len; i++) {
            blank &= strchr(" \t\r", line.text.data[i]) != NULL
                     && line.text.data[i] != '\0';
        }
        line.too_long = line.text.len > max;
        if (line.too_long) {
            line.text.len = max; /* which is below BELAY__LINES_HEAD here */
        }
        if (!blank || line.too_long) {
            note(seen, &line);
        }
        at = stop + 1;
    }
}

static void
run_cut(struct seen *seen, const char *data, size_t len, size_t max,
    size_t first, size_t second)
{
    struct belay__lines lines;

    seen->len = 0;
    seen->text[0] = '\0';
    belay__lines_init(&lines, memory, max);
    feed(&lines, seen, data, first);
    feed(&lines, seen, data + first, second - first);
    feed(&lines, seen, data + second, len - second);
    finish(&lines, seen);
    belay__lines_fini(&lines);
}

/* Every cut into three pieces. */
static void
check_all(const char *data, size_t len, size_t max)
{
    static struct seen expected;
    static struct seen seen;
    bool marked = len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0;

    expected.len = 0;
    expected.text[0] = '\0';
    expect_of(&expected, data, len, max, marked ? 3 : 0);
    for (size_t first = 0; first <= len; first++) {
        for (size_t second = first; second <= len; second++) {
            run_cut(&seen, data, len, max, first, second);
            cr_assert(eq(sz, seen.len, expected.len),
                "%zu %zu max %zu: %s\nnot %s", first, second, max, seen.text,
                expected.text);
            cr_assert(zero(memcmp(seen.text, expected.text, seen.len)),
                "%zu %zu max %zu: %s\nnot %s", first, second, max, seen.text,
                expected.text);
        }
    }
}

static const struct {
    const char *data;
    size_t len;
} files[] = {
#define FILE_OF(literal)             \
    {                                \
        literal, sizeof(literal) - 1 \
    }
    FILE_OF(""),
    FILE_OF("\n"),
    FILE_OF("\r\n"),
    FILE_OF("\r"),
    FILE_OF("a"),
    FILE_OF("a\n"),
    FILE_OF("a\r\n"),
    FILE_OF("a\r"),
    FILE_OF("\n\na\n\nb\n"),
    FILE_OF("one\ntwo\r\nthree"),
    FILE_OF("one\r\n\r\n  \t\r\nfour\r\n"),
    FILE_OF("\xef\xbb\xbf"),
    FILE_OF("\xef\xbb\xbf\n"),
    FILE_OF("\xef\xbb\xbfone\ntwo\n"),
    FILE_OF("\xef\xbb\xbf\r\none\r\n"),
    FILE_OF("\xef\xbb"),
    FILE_OF("\xef\xbb\ntwo"),
    FILE_OF("\xef\xbbxone\ntwo"),
    FILE_OF("one\n\xef\xbb\xbftwo\n"),
    FILE_OF("\xef\xbb\xbf\xef\xbb\xbfone"),
    FILE_OF("a\0b\n\0\nc"),
    FILE_OF("a\rb\r\r\nc"),
    FILE_OF("long line here\nshort\nanother long line\r\n"),
    FILE_OF("12345\r\n123456\r\n12345\n123456\n"),
    FILE_OF("\xef\xbb\xbf"
            "12345\r\n123456"),
    FILE_OF("        \n         x\n"),
};

Test(batch_lines, b1_every_cut_gives_the_same_lines)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        check_all(files[i].data, files[i].len, 1000);
    }
}

Test(batch_lines, b2_too_long_lines_are_shown_once_for_every_cut)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        for (size_t max = 1; max < 8; max++) {
            check_all(files[i].data, files[i].len, max);
        }
    }
}

Test(batch_lines, byte_by_byte_is_no_different)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        static struct seen whole;
        static struct seen seen;
        struct belay__lines lines;

        run_cut(&whole, files[i].data, files[i].len, 5, 0, 0);
        seen.len = 0;
        belay__lines_init(&lines, memory, 5);
        for (size_t at = 0; at < files[i].len; at++) {
            feed(&lines, &seen, files[i].data + at, 1);
        }
        finish(&lines, &seen);
        belay__lines_fini(&lines);
        cr_expect(eq(sz, seen.len, whole.len), "%zu", i);
        cr_expect(zero(memcmp(seen.text, whole.text, seen.len)), "%zu", i);
    }
}

Test(batch_lines, b1_what_is_seen_in_words)
{
    static struct seen seen;
    static const char file[] = "\xef\xbb\xbf{1}\r\n\n {2}\nfar too long\n{3}";

    run_cut(&seen, file, sizeof(file) - 1, 8, 5, 20);
    cr_expect(eq(str, seen.text,
        (char *)"1@3:{1}\n3@9: {2}\n4@14!far too \n5@27:{3}\n"));
}

Test(batch_lines, whole_lines_are_shown_where_they_lie)
{
    static const char data[] = "one\ntwo\n";
    struct belay__lines lines;
    struct belay__line line;

    belay__lines_init(&lines, memory, 0);
    cr_expect(eq(sz, lines.max, (size_t)64 << 20));
    belay__lines_push(&lines, data, 8);
    cr_expect(eq(int, belay__lines_next(&lines, &line), 1));
    cr_expect(line.text.data == data);
    cr_expect(eq(int, belay__lines_next(&lines, &line), 1));
    cr_expect(line.text.data == data + 4);
    cr_expect(zero(int, belay__lines_next(&lines, &line)));
    cr_expect(zero(sz, memory->live_blocks));
    belay__lines_fini(&lines);
}

Test(batch_lines, s7_a_line_without_end_takes_bounded_memory)
{
    static struct seen seen;
    struct belay__lines lines;
    char piece[1000];

    memset(piece, 'x', sizeof(piece));
    belay__lines_init(&lines, memory, 10000);
    for (int i = 0; i < 1000; i++) {
        feed(&lines, &seen, piece, sizeof(piece));
    }
    feed(&lines, &seen, "\nnext\n", 6);
    finish(&lines, &seen);
    cr_expect(eq(sz, seen.len, 4 + BELAY__LINES_HEAD + 1 + 15));
    cr_expect(eq(str, seen.text + seen.len - 15, (char *)"2@1000001:next\n"));
    cr_expect(lt(sz, memory->peak_bytes, 10000 * 2 + 100));
    belay__lines_fini(&lines);
}

Test(batch_lines, a_line_of_exactly_the_maximum_is_a_line)
{
    static struct seen seen;
    struct belay__lines lines;
    char line[5000];

    memset(line, 'x', sizeof(line));
    belay__lines_init(&lines, memory, sizeof(line));
    feed(&lines, &seen, line, 2500);
    feed(&lines, &seen, line, 2500);
    feed(&lines, &seen, "\r", 1);
    feed(&lines, &seen, "\n", 1);
    cr_expect(eq(sz, seen.len, 4 + sizeof(line) + 1));
    cr_expect(eq(int, seen.text[3], ':'));
    belay__lines_fini(&lines);
}

/* Pushes a piece whatever fails, repeating calls that did. */
static void
feed_stubbornly(
    struct belay__lines *lines, struct seen *seen, const char *data, size_t len)
{
    struct belay__line line;
    int code;

    belay__lines_push(lines, data, len);
    do {
        code = belay__lines_next(lines, &line);
        if (code > 0) {
            note(seen, &line);
        }
        cr_assert(code >= 0 || code == BELAY_ENOMEM);
    } while (code != 0);
}

Test(batch_lines, out_of_memory_nothing_is_lost)
{
    static const char file[] = "one\ntwo and a bit\r\n\nthree\ntoo long, "
                               "really too long for this\nfour";
    static struct seen whole;
    static struct seen seen;
    size_t failures = 1;

    run_cut(&whole, file, sizeof(file) - 1, 20, 0, 0);
    for (size_t k = 0; failures > 0; k++) {
        struct belay__lines lines;

        seen.len = 0;
        belay__lines_init(&lines, memory, 20);
        test_alloc_fail_at(k);
        for (size_t at = 0; at + 5 < sizeof(file); at += 5) {
            feed_stubbornly(&lines, &seen, file + at, 5);
        }
        feed_stubbornly(&lines, &seen, file + (sizeof(file) - 1) / 5 * 5,
            (sizeof(file) - 1) % 5);
        finish(&lines, &seen);
        failures = test_alloc_failures();
        test_alloc_never_fail();
        belay__lines_fini(&lines);
        cr_expect(eq(sz, seen.len, whole.len), "%zu: %s", k, seen.text);
        cr_expect(zero(memcmp(seen.text, whole.text, seen.len)));
    }
}

Test(batch_lines, random_files_in_random_pieces)
{
    static const char bytes[] = "abc \n\n\r\t\"";
    uint64_t state = 88172645463325252;

    for (int round = 0; round < 3000; round++) {
        static struct seen expected;
        static struct seen seen;
        struct belay__lines lines;
        char file[200];

        for (size_t i = 0; i < sizeof(file); i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            file[i] = bytes[state % (sizeof(bytes) - 1)];
        }
        expected.len = seen.len = 0;
        expect_of(&expected, file, sizeof(file), 12, 0);
        belay__lines_init(&lines, memory, 12);
        for (size_t at = 0; at < sizeof(file);) {
            size_t len = (state >> (at % 40)) % 20;

            len = len < sizeof(file) - at ? len : sizeof(file) - at;
            len += len == 0;
            feed(&lines, &seen, file + at, len);
            at += len;
        }
        finish(&lines, &seen);
        belay__lines_fini(&lines);
        cr_assert(eq(sz, seen.len, expected.len), "round %d", round);
        cr_assert(zero(memcmp(seen.text, expected.text, seen.len)));
    }
}
