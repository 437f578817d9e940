/* test_batch_resume.c - which lines are done, whatever a crash has left:
 * B13, B14.
 */
#include "test/support/alloc.h"
#include "test/support/resume_scene.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(batch_resume, .init = resume_set_up, .fini = resume_tear_down,
    .timeout = 60);

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
