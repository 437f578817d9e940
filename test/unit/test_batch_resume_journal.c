/* test_batch_resume_journal.c - what was sent, and what that may have cost,
 * whatever a crash has left of the journal: B15, B16, B26.
 */
#include "test/support/resume_scene.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

TestSuite(batch_resume_journal, .init = resume_set_up, .fini = resume_tear_down,
    .timeout = 60);

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

Test(batch_resume_journal, b16_what_was_sent_and_is_in_no_file_is_in_doubt)
{
    add_lines(1, 2);
    cr_expect(eq(u64, read_output(), 2));
    cr_expect(eq(u64, read_journal("s 1\ns 2\ns 3\nd 1\ns 4\n", 20, 10), 2));
    cr_expect(belay__line_set_has(&state.in_doubt, 3));
    cr_expect(belay__line_set_has(&state.in_doubt, 4));
}

Test(batch_resume_journal, b16_a_line_sent_twice_is_in_doubt_once)
{
    expect_doubts(1, "s 3\ns 3\n");
    expect_doubts(1, "s 3\nd 3\n");
}

Test(batch_resume_journal, b16_what_was_taken_back_is_not_in_doubt)
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

Test(batch_resume_journal, b15_b26_what_results_have_cost_was_spent)
{
    expect_money(0, 0, "s 1\nd 1\n");
    expect_money(7, 0, "s 1 0 10\nd 1 10 7\n");
    expect_money(12, 3, "s 1 0 10\nd 1 10 7\ns 2 0 9\nd 2 9 5 3\n");
}

Test(batch_resume_journal, b16_b26_what_was_sent_and_has_no_end_is_uncertain)
{
    expect_money(0, 10, "s 1 0 10\n");
    expect_money(7, 9, "s 1 0 10\ns 2 0 9\nd 1 10 7\n");
    /* The next run has sent it again: the first may have been charged. */
    expect_money(4, 10, "s 1 0 10\ns 1 0 10\nd 1 10 4\n");
}

Test(batch_resume_journal, b15_b26_attempts_without_a_result_may_have_cost)
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

Test(batch_resume_journal, b15_b26_what_attempts_have_used_is_added_up)
{
    expect_use(5, 1, 0, "s 1 0 10 9\nd 1 10 7 0 9 5 1\n");
    expect_use(5, 1, 1, "s 1 0 0 9\nd 1 0 0 0 9 5 2\n");
    expect_use(14, 2, 0,
        "s 1 0 10 9\na 1 10 10 9 9 1\ns 1 1 10 9\nd 1 10 4 0 9 5 1\n");
    /* What was refused counts as little as what was not sent. */
    expect_use(0, 0, 0, "s 1 0 10 9\na 1 10 0 9\ns 2\na 2\nu 2\n");
}

Test(batch_resume_journal, b16_b26_what_has_no_end_may_have_used_the_most)
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

Test(batch_resume_journal,
    b16_b26_a_result_that_the_journal_does_not_know_is_charged)
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

Test(batch_resume_journal, b16_b26_error_lines_are_not_charged)
{
    test_file_add_line("err", JOB, 1);
    test_file_add_line("err", JOB, 2);
    cr_expect(eq(int, belay__resume_output(&state, test_file("err"), true), 0));
    (void)read_journal("s 3 0 10\na 3 10\n", 16, 10);
    cr_expect(eq(i64, state.uncertain, 0));
    cr_expect(eq(i64, state.unpriced, 0));
}

/* Version 1: what is not there is not known, and cannot be capped. */
Test(batch_resume_journal, b26_an_older_journal_tells_money_only)
{
    expect_money(7, 9, "s 1 0 10\ns 2 0 9\nd 1 10 7\ns 3\nd 3\n");
    cr_expect(eq(i64, state.tokens, 0));
    cr_expect(eq(i64, state.requests, 0));
    cr_expect(eq(i64, state.unpriced, 1));
    /* What a later belay has added tells of itself, and counts once. */
    expect_money(0, 0, "s 3\nd 3\ns 4 0 0 9\nd 4 0 0 0 9 5 2\n");
    cr_expect(eq(i64, state.unpriced, 2));
}

Test(batch_resume_journal, b26_money_of_a_spoilt_journal_is_never_negative)
{
    expect_money(5, 0, "d 1 10 5\nu 2 10\n");
    expect_money(
        INT64_MAX, 0, "d 1 0 9223372036854775807\nd 2 0 9223372036854775807\n");
    expect_money(0, 0, "d 1 0 9223372036854775808\n");
    expect_money(0, 0, "d 1 0 5 6 7 8 1 9\nd 1 0  5\nd 1 0 5 \nd 1 0 05\n");
}

Test(batch_resume_journal, b15_records_that_are_none_do_not_count)
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

Test(batch_resume_journal, b15_a_torn_record_is_cut_off)
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
Test(batch_resume_journal, b15_zeroes_at_the_end_are_cut_off)
{
    static char text[4 * 1024 + 4] = "s 3\n";

    cr_expect(eq(u64, read_journal(text, sizeof(text), 10), 1));
    cr_expect(eq(u64, test_file_size("journal"), 14));
}

Test(batch_resume_journal, b15_a_long_journal_is_read_whole)
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
