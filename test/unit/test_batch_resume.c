/* test_batch_resume.c - what can be found again, whatever a crash has left. */
#include "llm/batch/resume.h"
#include "test/support/alloc.h"
#include "test/support/batch_files.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOB "0123456789abcdef"
#define OTHER "fedcba9876543210"
#define KIB ((size_t)1024)

static struct belay__memory *memory;
static struct belay__batch_state state;

static void
set_up(void)
{
    memory = belay__memory_new(&test_allocator);
    (void)belay__batch_state_none(&state, memory);
    (void)snprintf(state.job, sizeof(state.job), "%s", JOB);
    state.lines_max = 1000000;
    test_files_open();
}

static void
tear_down(void)
{
    belay__batch_state_close(&state);
    test_files_close();
    belay__memory_unref(memory);
    check_clean();
}

TestSuite(batch_resume, .init = set_up, .fini = tear_down, .timeout = 60);

static void
forget(void)
{
    belay__batch_state_close(&state);
    (void)belay__batch_state_none(&state, memory);
    (void)snprintf(state.job, sizeof(state.job), "%s", JOB);
    state.lines_max = 1000000;
}

/* Reads "out" and gives the number of lines done. */
static uint64_t
read_output(void)
{
    forget();
    cr_assert(
        eq(int, belay__resume_output(&state, test_file("out"), false), 0));
    return state.done.count;
}

static void
add_lines(uint64_t first, uint64_t last)
{
    for (uint64_t line = first; line <= last; line++) {
        test_file_add_line("out", JOB, line);
    }
}

/* ---- output files ---- */

Test(batch_resume, b13_lines_are_found_by_their_ids)
{
    add_lines(3, 3);
    add_lines(900, 902);
    add_lines(1, 1);
    cr_expect(eq(u64, read_output(), 5));
    cr_expect(belay__line_set_has(&state.done, 3));
    cr_expect(belay__line_set_has(&state.done, 902));
    cr_expect(belay__line_set_has(&state.done, 1));
    cr_expect(not(belay__line_set_has(&state.done, 2)));
    cr_expect(not(belay__line_set_has(&state.done, 0)));
    cr_expect(not(belay__line_set_has(&state.done, UINT64_MAX)));
}

Test(batch_resume, b13_a_line_in_the_file_twice_counts_once)
{
    add_lines(1, 2);
    add_lines(2, 3);
    cr_expect(eq(u64, read_output(), 3));
}

Test(batch_resume, b13_lines_of_another_job_do_not_count)
{
    add_lines(1, 2);
    test_file_add_line("out", OTHER, 3);
    test_file_append("out", "\n{}\nnull\n[1,2]\n", 15);
    add_lines(4, 4);
    test_file_add_line("out", OTHER, 5);
    state.foreign_ok = true;
    cr_expect(
        eq(int, belay__resume_output(&state, test_file("out"), false), 0));
    cr_expect(eq(u64, state.done.count, 3));
    cr_expect(not(belay__line_set_has(&state.done, 3)));
    cr_expect(not(belay__line_set_has(&state.done, 5)));
}

Test(batch_resume, b13_lines_of_another_job_are_refused_and_left)
{
    uint64_t size;

    add_lines(1, 2);
    test_file_add_line("out", OTHER, 3);
    test_file_append("out", "torn", 4);
    size = test_file_size("out");
    cr_expect(eq(int, belay__resume_output(&state, test_file("out"), false),
        BELAY_ESTATE));
    cr_expect(eq(u64, test_file_size("out"), size));
}

Test(batch_resume, b13_ids_that_are_not_ours_do_not_count)
{
    static const char *const lines[] = {
        "{\"id\":\"batch_req_" JOB "_\"}\n",
        "{\"id\":\"batch_req_" JOB "_0\"}\n",
        "{\"id\":\"batch_req_" JOB "_-1\"}\n",
        "{\"id\":\"batch_req_" JOB "_1x\"}\n",
        "{\"id\":\"batch_req_" JOB "_1\n",
        "{\"id\":\"batch_req_" JOB "1\"}\n",
        "{\"id\":\"batch_req_" JOB "\n",
        "{\"id\": \"batch_req_" JOB "_1\"}\n",
        "{\"id\":\"batch_req_" JOB "_1000001\"}\n",
        "{\"id\":\"batch_req_" JOB "_1099511627775\"}\n",
        "{\"id\":\"batch_req_" JOB "_18446744073709551617\"}\n",
        "{\"id\":\"batch_req_" JOB "_999999999999999999999999999999999\"}\n",
    };

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        test_file_append("out", lines[i], strlen(lines[i]));
    }
    test_file_append("out", "{}\n", 3);
    cr_expect(eq(u64, read_output(), 0));
    cr_expect(eq(sz, state.done.bytes, 0), "and nothing is allocated for them");
}

Test(batch_resume, b13_the_greatest_line_of_the_input_counts)
{
    add_lines(1000000, 1000000);
    add_lines(1, 1);
    cr_expect(eq(u64, read_output(), 2));
    state.lines_max = UINT64_C(1) << 40;
    cr_expect(belay__line_set_has(&state.done, 1000000));
}

Test(batch_resume, b13_failed_lines_are_counted_apart)
{
    add_lines(1, 2);
    cr_expect(eq(u64, read_output(), 2));
    test_file_add_line("err", JOB, 2);
    test_file_add_line("err", JOB, 3);
    cr_expect(eq(int, belay__resume_output(&state, test_file("err"), true), 0));
    cr_expect(eq(u64, state.done.count, 3));
    cr_expect(eq(u64, state.failed, 1));
}

/* Wherever a read ends. */
Test(batch_resume, b13_failed_lines_in_the_output_are_counted_too)
{
    static const char failed[] =
        "{\"id\":\"batch_req_" JOB "_3\",\"response\":null,"
        "\"error\":{\"code\":\"timeout\",\"message\":null}}\n";

    for (size_t shift = 0; shift < 512; shift++) {
        (void)unlink(test_file("out"));
        test_file_fill("out", ' ', 256 * KIB - shift - 1);
        test_file_append("out", "\n", 1);
        add_lines(1, 1);
        test_file_append("out", failed, sizeof(failed) - 1);
        add_lines(2, 2);
        cr_expect(eq(u64, read_output(), 3), "%zu", shift);
        cr_expect(eq(u64, state.failed, 1), "%zu", shift);
    }
}

Test(batch_resume, b13_a_file_that_is_not_there_is_empty)
{
    cr_expect(eq(u64, read_output(), 0));
    cr_expect(not(test_file_exists("out")));
}

Test(batch_resume, b13_what_is_no_file_tells_nothing)
{
    cr_expect(eq(int, belay__resume_output(&state, "/dev/null", true), 0));
    cr_expect(eq(int, belay__resume_output(&state, "-", true), 0));
    cr_assert(eq(int, mkfifo(test_file("fifo"), 0600), 0));
    cr_expect(
        eq(int, belay__resume_output(&state, test_file("fifo"), true), 0));
}

Test(batch_resume, b13_lines_may_be_longer_than_a_read)
{
    const size_t lengths[] = {1, 63, 64, 65, 256 * KIB - 100, 256 * KIB - 1,
        256 * KIB, 256 * KIB + 1, 700 * KIB};
    char head[96];
    uint64_t line = 0;
    size_t body;

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        (void)snprintf(head, sizeof(head),
            "{\"id\":\"batch_req_" JOB "_%zu\",\"custom_id\":\"", i + 1);
        test_file_append("out", head, strlen(head));
        test_file_fill("body", 'x', lengths[i]);
        body = lengths[i];
        test_file_append("out", test_file_read("body"), body);
        test_file_append("out", "\"}\n", 3);
        line++;
        cr_expect(eq(u64, read_output(), line), "%zu", lengths[i]);
    }
}

/* The head of an id falls on the border of two reads, at every byte. */
Test(batch_resume, b13_ids_may_lie_across_two_reads)
{
    for (size_t shift = 0; shift < 64; shift++) {
        (void)unlink(test_file("out"));
        test_file_fill("out", ' ', 256 * KIB - shift - 1);
        test_file_append("out", "\n", 1);
        add_lines(77, 78);
        cr_expect(eq(u64, read_output(), 2), "%zu", shift);
    }
}

/* ---- torn ends ---- */

/* What is left, and how many lines, of a file with this end. */
static void
expect_cut(const char *end, size_t len, uint64_t lines)
{
    uint64_t size;

    (void)unlink(test_file("out"));
    if (lines > 0) {
        add_lines(1, lines);
    }
    size = lines > 0 ? test_file_size("out") : 0;
    test_file_append("out", end, len);
    cr_expect(eq(u64, read_output(), lines), "%.*s", (int)len, end);
    cr_expect(eq(u64, test_file_size("out"), size), "%.*s", (int)len, end);
    cr_expect(eq(u64, read_output(), lines), "a second time");
    cr_expect(eq(u64, test_file_size("out"), size));
}

Test(batch_resume, b14_a_line_torn_at_any_byte_is_cut_off)
{
    const char *whole;
    size_t len;

    test_file_add_line("whole", JOB, 3);
    whole = test_file_read("whole");
    len = strlen(whole);
    for (size_t cut = 1; cut < len; cut++) {
        expect_cut(whole, cut, 2);
        expect_cut(whole, cut, 0); /* a file of one torn line */
    }
}

/* That it could be whole does not matter: the next line would join it. */
Test(batch_resume, b14_a_line_without_its_newline_is_cut_off)
{
    expect_cut("{}", 2, 2);
    expect_cut("{\"id\":\"batch_req_" JOB "_3\"}", 37, 1);
}

Test(batch_resume, b14_a_last_line_that_is_no_json_is_cut_off)
{
    static const char nuls[300];

    expect_cut("garbage\n", 8, 2);
    expect_cut("{\"id\":\"batch_req_" JOB "_3\",\n", 38, 2);
    expect_cut("{\"id\":\"batch_req_" JOB "_3\"}}\n", 39, 0);
    expect_cut("\n", 1, 2);
    expect_cut("\n", 1, 0);
    expect_cut("\xff\n", 2, 1);
    expect_cut(nuls, sizeof(nuls), 2);
    expect_cut(nuls, sizeof(nuls), 0);
}

Test(batch_resume, b14_a_last_line_of_zeroes_is_cut_off)
{
    char line[400] = "{\"id\":\"batch_req_" JOB "_3\",\"custom_id\":\"c\"";

    line[399] = '\n';
    expect_cut(line, 400, 2);
}

Test(batch_resume, b14_a_long_last_line_is_looked_at_whole)
{
    char head[] = "{\"id\":\"batch_req_" JOB "_3\",\"custom_id\":\"";

    add_lines(1, 2);
    test_file_fill("body", 'x', 900 * KIB);
    test_file_append("out", head, strlen(head));
    test_file_append("out", test_file_read("body"), 900 * KIB);
    test_file_append("out", "\"}\n", 3);
    cr_expect(eq(u64, read_output(), 3));
    test_file_poke("out", 600 * KIB, '\0');
    cr_expect(eq(u64, read_output(), 2));
    cr_expect(lt(u64, test_file_size("out"), KIB));
}

/* Behind a torn line, the one before it is the last, and looked at too. */
Test(batch_resume, b14_the_line_before_a_torn_one_is_looked_at)
{
    uint64_t size;

    add_lines(1, 1);
    size = test_file_size("out");
    test_file_append("out", "{\"id\":\"batch_req_" JOB "_2\",\0\n{\"id", 43);
    cr_expect(eq(u64, read_output(), 1));
    cr_expect(eq(u64, test_file_size("out"), size));
}

Test(batch_resume, b14_a_line_that_was_cut_off_has_not_failed)
{
    test_file_add_line("out", JOB, 1);
    test_file_append("out", "{\"id\":\"batch_req_" JOB "_2\",\n", 38);
    cr_expect(eq(int, belay__resume_output(&state, test_file("out"), true), 0));
    cr_expect(eq(u64, state.done.count, 1));
    cr_expect(eq(u64, state.failed, 1));
}

/* The same line stands further up, whole. */
Test(batch_resume, b14_a_line_that_was_cut_off_may_be_there_before)
{
    add_lines(1, 2);
    test_file_append("out", "{\"id\":\"batch_req_" JOB "_2\",\n", 38);
    cr_expect(eq(u64, read_output(), 2));
}

Test(batch_resume, b14_good_files_are_left_alone)
{
    uint64_t size;

    test_file_write("out", "");
    cr_expect(eq(u64, read_output(), 0));
    add_lines(1, 3);
    size = test_file_size("out");
    cr_expect(eq(u64, read_output(), 3));
    cr_expect(eq(u64, test_file_size("out"), size));
}

/* ---- the journal ---- */

static uint64_t
read_journal(const char *text, size_t len, size_t header)
{
    uint64_t count;

    test_file_fill("journal", '#', header);
    test_file_append("journal", text, len);
    state.fd = open(test_file("journal"), O_RDWR | O_APPEND | O_CLOEXEC);
    cr_assert(ge(int, state.fd, 0));
    cr_assert(eq(int, belay__resume_journal(&state, header), 0));
    count = state.in_doubt.count;
    (void)close(state.fd);
    state.fd = -1;
    return count;
}

#define expect_doubts(count, text)                                             \
    do {                                                                       \
        forget();                                                              \
        cr_expect(eq(u64, read_journal(text, sizeof(text) - 1, 10), (count))); \
    } while (0)

Test(batch_resume, b16_what_was_sent_and_is_in_no_file_is_in_doubt)
{
    add_lines(1, 2);
    cr_expect(eq(u64, read_output(), 2));
    cr_expect(eq(u64, read_journal("s 1\ns 2\ns 3\nd 1\ns 4\n", 20, 10), 2));
    cr_expect(belay__line_set_has(&state.in_doubt, 3));
    cr_expect(belay__line_set_has(&state.in_doubt, 4));
}

Test(batch_resume, b16_a_line_sent_twice_is_in_doubt_once)
{
    expect_doubts(1, "s 3\ns 3\n");
    expect_doubts(1, "s 3\nd 3\n");
}

Test(batch_resume, b16_what_was_taken_back_is_not_in_doubt)
{
    expect_doubts(0, "s 3\nu 3\n");
    expect_doubts(1, "s 3\nu 3\ns 3\n");
    expect_doubts(1, "u 3\ns 3\nu 4\n");
}

/* ---- money ---- */

#define expect_money(spent_, uncertain_, text)             \
    do {                                                   \
        forget();                                          \
        (void)read_journal(text, sizeof(text) - 1, 10);    \
        cr_expect(eq(i64, state.spent, (spent_)));         \
        cr_expect(eq(i64, state.uncertain, (uncertain_))); \
    } while (0)

Test(batch_resume, b15_b26_what_results_have_cost_was_spent)
{
    expect_money(0, 0, "s 1\nd 1\n");
    expect_money(7, 0, "s 1 0 10\nd 1 10 7\n");
    expect_money(12, 3, "s 1 0 10\nd 1 10 7\ns 2 0 9\nd 2 9 5 3\n");
}

Test(batch_resume, b16_b26_what_was_sent_and_has_no_end_is_uncertain)
{
    expect_money(0, 10, "s 1 0 10\n");
    expect_money(7, 9, "s 1 0 10\ns 2 0 9\nd 1 10 7\n");
    /* The next run has sent it again: the first may have been charged. */
    expect_money(4, 10, "s 1 0 10\ns 1 0 10\nd 1 10 4\n");
}

Test(batch_resume, b15_b26_attempts_without_a_result_may_have_cost)
{
    expect_money(0, 0, "s 1 0 10\na 1 10\n");
    expect_money(0, 10, "s 1 0 10\na 1 10 10\n");
    expect_money(4, 10, "s 1 0 10\na 1 10 10\ns 1 1 10\nd 1 10 4\n");
}

#define expect_use(tokens_, requests_, unpriced_, text)  \
    do {                                                 \
        forget();                                        \
        state.counted = true;                            \
        (void)read_journal(text, sizeof(text) - 1, 10);  \
        cr_expect(eq(i64, state.tokens, (tokens_)));     \
        cr_expect(eq(i64, state.requests, (requests_))); \
        cr_expect(eq(i64, state.unpriced, (unpriced_))); \
    } while (0)

Test(batch_resume, b15_b26_what_attempts_have_used_is_added_up)
{
    expect_use(5, 1, 0, "s 1 0 10 9\nd 1 10 7 0 9 5 1\n");
    expect_use(5, 1, 1, "s 1 0 0 9\nd 1 0 0 0 9 5 2\n");
    expect_use(14, 2, 0,
        "s 1 0 10 9\na 1 10 10 9 9 1\ns 1 1 10 9\nd 1 10 4 0 9 5 1\n");
    /* What was refused counts as little as what was not sent. */
    expect_use(0, 0, 0, "s 1 0 10 9\na 1 10 0 9\ns 2\na 2\nu 2\n");
}

Test(batch_resume, b16_b26_what_has_no_end_may_have_used_the_most)
{
    expect_use(9, 1, 0, "s 1 0 10 9\n");
    expect_use(9, 1, 1, "s 1 0 0 9\n");
    expect_use(14, 2, 0, "s 1 0 10 9\ns 2 0 8 9\nd 2 8 7 0 9 5 1\n");
}

/* Lines 1 to 4 have their results, of which a loss of power has left nothing in
 * the journal, or not all.
 */
#define expect_unbilled(uncertain_, requests_, unpriced_, text) \
    do {                                                        \
        (void)unlink(test_file("out"));                         \
        add_lines(1, 4);                                        \
        cr_expect(eq(u64, read_output(), 4));                   \
        state.counted = true;                                   \
        (void)read_journal(text, sizeof(text) - 1, 10);         \
        cr_expect(eq(i64, state.uncertain, (uncertain_)));      \
        cr_expect(eq(i64, state.requests, (requests_)));        \
        cr_expect(eq(i64, state.unpriced, (unpriced_)));        \
        cr_expect(eq(sz, state.unbilled.bytes, 0));             \
    } while (0)

Test(batch_resume, b16_b26_a_result_that_the_journal_does_not_know_is_charged)
{
    expect_unbilled(0, 4, 4, "");
    expect_unbilled(30, 4, 0, "s 1 0 10 9\nd 1 10 7 0 9 5 1\n");
    cr_expect(eq(i64, state.tokens, 5 + 3 * 9));
    expect_unbilled(
        40, 5, 0, "s 9 0 10 9\nd 9 10 7 0 9 5 1\n"); /* line 9: cut off */
    expect_unbilled(36, 4, 0, "s 1 0 12\ns 2 0 8\nd 2 8 7 0 0 0 1\n");
    /* Of an earlier attempt there is the end, of the last one nothing. */
    expect_unbilled(40, 4, 0, "s 1 0 10\na 1 10\n");
    expect_unbilled(40, 4, 0, "s 1 0 10\na 1 10\nu 1\n");
    expect_unbilled(40, 5, 0, "s 1 0 10\nd 1 10 0 0 0 0 1\nr 1\n");
    expect_unbilled(30, 4, 0, "s 1 0 10\na 1 10\ns 1 1 10\nd 1 10 7 0 0 0 1\n");
}

Test(batch_resume, b16_b26_error_lines_are_not_charged)
{
    test_file_add_line("err", JOB, 1);
    test_file_add_line("err", JOB, 2);
    cr_expect(eq(int, belay__resume_output(&state, test_file("err"), true), 0));
    (void)read_journal("s 3 0 10\na 3 10\n", 16, 10);
    cr_expect(eq(i64, state.uncertain, 0));
    cr_expect(eq(i64, state.unpriced, 0));
}

/* Version 1: what is not there is not known, and cannot be capped. */
Test(batch_resume, b26_an_older_journal_tells_money_only)
{
    expect_money(7, 9, "s 1 0 10\ns 2 0 9\nd 1 10 7\ns 3\nd 3\n");
    cr_expect(eq(i64, state.tokens, 0));
    cr_expect(eq(i64, state.requests, 0));
    cr_expect(eq(i64, state.unpriced, 1));
}

Test(batch_resume, b26_money_of_a_spoilt_journal_is_never_negative)
{
    expect_money(5, 0, "d 1 10 5\nu 2 10\n");
    expect_money(
        INT64_MAX, 0, "d 1 0 9223372036854775807\nd 2 0 9223372036854775807\n");
    expect_money(0, 0, "d 1 0 9223372036854775808\n");
    expect_money(0, 0, "d 1 0 5 6 7 8 1 9\nd 1 0  5\nd 1 0 5 \nd 1 0 05\n");
}

Test(batch_resume, b15_records_that_are_none_do_not_count)
{
    expect_doubts(0, "");
    expect_doubts(0, "\n\n\n");
    expect_doubts(1, "\ns 3\n\n");
    expect_doubts(0, "s\ns \ns3\ns x\ns 3x\ns -3\ns 0\nx 3\n 3\nS 3\n");
    expect_doubts(0, "s 1000001\ns 99999999999999999999999\n");
    expect_doubts(1, "\0\0\0\0s 4\ns 3\n");
    expect_doubts(0, "s 0000000000000000000000000000000000000000000000000000"
                     "000000000000000000000000000001\n");
}

Test(batch_resume, b15_a_torn_record_is_cut_off)
{
    static const char *const torn[] = {"s", "s ", "s 4", "d 3", "junk", "s 4 "};

    for (size_t i = 0; i < sizeof(torn) / sizeof(torn[0]); i++) {
        char text[32];
        const int len = snprintf(text, sizeof(text), "s 3\n%s", torn[i]);

        forget();
        cr_expect(eq(u64, read_journal(text, (size_t)len, 10), 1));
        cr_expect(
            eq(str, test_file_read("journal"), (char *)"##########s 3\n"));
    }
}

/* What a crash of the machine leaves of blocks that were never written. */
Test(batch_resume, b15_zeroes_at_the_end_are_cut_off)
{
    static char text[4 * 1024 + 4] = "s 3\n";

    cr_expect(eq(u64, read_journal(text, sizeof(text), 10), 1));
    cr_expect(eq(u64, test_file_size("journal"), 14));
}

Test(batch_resume, b15_a_long_journal_is_read_whole)
{
    FILE *file = fopen(test_file("long"), "we");

    cr_assert(ne(ptr, file, NULL));
    for (unsigned i = 1; i <= 100000; i++) {
        (void)fprintf(file, "s %u\nd %u\n", i, i);
    }
    cr_assert(eq(int, fclose(file), 0));
    cr_expect(eq(u64,
        read_journal(test_file_read("long"), test_file_size("long"), 133),
        100000));
}

/* ---- memory ---- */

Test(batch_resume, b13_a_set_grows_and_keeps_what_it_has)
{
    struct belay__line_set set = {0};

    for (uint64_t line = 1; line < 200000; line = line * 3 + 1) {
        cr_assert(eq(int, belay__line_set_add(memory, &set, line), 0));
        cr_assert(eq(int, belay__line_set_add(memory, &set, line), 0));
    }
    cr_expect(eq(u64, set.count, 11));
    for (uint64_t line = 1; line < 200000; line = line * 3 + 1) {
        cr_expect(belay__line_set_has(&set, line));
        cr_expect(not(belay__line_set_has(&set, line + 1)));
    }
    belay__line_set_remove(&set, 4);
    belay__line_set_remove(&set, 4);
    belay__line_set_remove(&set, UINT64_MAX);
    cr_expect(eq(u64, set.count, 10));
    belay__free(memory, set.bits, set.bytes);
}

Test(batch_resume, b13_every_allocation_may_fail)
{
    uint64_t size;
    size_t k = 0;
    int code;

    add_lines(1, 1);
    add_lines(100000, 100001);
    size = test_file_size("out");
    for (;; k++) {
        forget();
        test_alloc_fail_at(k);
        code = belay__resume_output(&state, test_file("out"), false);
        if (test_alloc_failures() == 0) {
            break;
        }
        cr_expect(eq(int, code, BELAY_ENOMEM));
        cr_expect(eq(u64, test_file_size("out"), size), "nothing is cut off");
        cr_assert(lt(sz, k, 100));
    }
    cr_expect(eq(int, code, 0));
    cr_expect(eq(u64, state.done.count, 3));
    cr_expect(gt(sz, k, 3));
}

/* ---- failed lines that are to be tried again ---- */

static void
add_failed(const char *name, uint64_t line)
{
    char text[160];
    const int len = snprintf(text, sizeof(text),
        "{\"id\":\"batch_req_" JOB "_%u\",\"custom_id\":\"c\","
        "\"response\":null,\"error\":{\"code\":\"timeout\"}}\n",
        (unsigned)line);

    test_file_append(name, text, (size_t)len);
}

/* Reads the files and a journal, moves what has failed. */
static int
move_failed(bool inline_errors)
{
    const char *errors = inline_errors ? NULL : test_file("err");
    int code;

    forget();
    state.fd = open(test_file("journal"), O_RDWR | O_CREAT | O_APPEND, 0600);
    cr_assert(ge(int, state.fd, 0));
    code = belay__resume_output(&state, test_file("out"), false);
    if (code == 0 && errors != NULL) {
        code = belay__resume_output(&state, errors, true);
    }
    if (code == 0) {
        code = belay__resume_journal(&state, 0);
    }
    if (code == 0) {
        code = belay__resume_move_failed(&state, test_file("out"), errors);
    }
    (void)close(state.fd);
    state.fd = -1;
    return code;
}

Test(batch_resume, b18_the_error_file_gets_another_name)
{
    char *errors;

    add_lines(1, 3);
    add_failed("err", 4);
    add_failed("err", 5);
    errors = test_file_read("err");
    test_file_write("journal", "s 4\nd 4\ns 5\nd 5\ns 6\n");
    test_file_write("err.1", "of an earlier time\n");
    cr_expect(eq(int, move_failed(false), 0));
    cr_expect(not(test_file_exists("err")));
    cr_expect(eq(str, test_file_read("err.2"), errors));
    cr_expect(eq(str, test_file_read("err.1"), "of an earlier time\n"));
    cr_expect(eq(u64, state.done.count, 3));
    cr_expect(eq(u64, state.failed, 0));
    cr_expect(eq(u64, state.again, 2));
    /* They had an end, so they are not in doubt, now and later. */
    cr_expect(eq(u64, state.in_doubt.count, 1));
    cr_expect(eq(int, move_failed(false), 0));
    cr_expect(eq(u64, state.in_doubt.count, 1));
    cr_expect(eq(u64, state.again, 0));
    cr_expect(not(test_file_exists("err.3")));
}

Test(batch_resume, b18_inline_error_lines_leave_the_output)
{
    char wanted[400] = "";

    add_lines(1, 1);
    add_failed("out", 2);
    add_lines(3, 3);
    (void)snprintf(wanted, sizeof(wanted), "%s", test_file_read("out"));
    add_failed("out", 4);
    cr_expect(eq(int, move_failed(true), 0));
    cr_expect(eq(u64, state.again, 2));
    cr_expect(eq(u64, state.done.count, 2));
    cr_expect(not(test_file_exists("out.new")));
    cr_expect(eq(u64, test_file_size("out") + test_file_size("out.1"),
        strlen(wanted) + test_file_size("out.1") / 2));
    cr_expect(eq(u64, read_output(), 2));
    cr_expect(belay__line_set_has(&state.done, 1));
    cr_expect(belay__line_set_has(&state.done, 3));
}

Test(batch_resume, b18_long_lines_are_moved_whole)
{
    static char text[300000];
    const size_t len = sizeof(text) - 1;

    memset(text, 'x', len);
    for (int i = 0; i < 3; i++) {
        char head[64];

        (void)snprintf(head, sizeof(head),
            "{\"id\":\"batch_req_" JOB "_%d\",\"x\":\"", i * 2 + 1);
        test_file_append("out", head, strlen(head));
        test_file_append("out", text, len);
        test_file_append("out", "\"}\n", 3);
        add_lines((uint64_t)i * 2 + 2, (uint64_t)i * 2 + 2);
    }
    test_file_append("out", "of somebody else\n", 17);
    add_lines(9, 9);
    cr_expect(eq(int, move_failed(true), 0));
    cr_expect(eq(u64, read_output(), 4));
    cr_expect(eq(u64, state.again, 0), "forgotten by then");
    cr_expect(gt(u64, test_file_size("out.1"), 3 * len));
    cr_expect(lt(u64, test_file_size("out"), 1000));
    cr_expect(
        ne(ptr, strstr(test_file_read("out"), "\nof somebody else\n"), NULL));
}

Test(batch_resume, b18_without_an_error_file_nothing_is_moved)
{
    add_lines(1, 2);
    cr_expect(eq(int, move_failed(false), 0));
    cr_expect(eq(u64, state.done.count, 2));
    cr_expect(not(test_file_exists("err.1")));
}

Test(batch_resume, b18_what_cannot_be_moved_stays)
{
    size_t k = 0;
    int code;

    for (;; k++) {
        (void)unlink(test_file("out"));
        (void)unlink(test_file("out.1"));
        (void)unlink(test_file("journal"));
        add_lines(1, 1);
        add_failed("out", 2);
        test_alloc_fail_at(k);
        code = move_failed(true);
        if (test_alloc_failures() == 0) {
            break;
        }
        cr_expect(eq(int, code, BELAY_ENOMEM));
        cr_expect(not(test_file_exists("out.1")), "%zu", k);
        cr_expect(not(test_file_exists("out.new")), "%zu", k);
        cr_assert(lt(sz, k, 100));
    }
    cr_expect(eq(int, code, 0));
    cr_expect(gt(sz, k, 4));
}
