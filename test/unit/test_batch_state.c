/* test_batch_state.c - what a batch keeps beside its output, and for whom. */
#include "llm/batch/state.h"
#include "test/support/files.h"
#include "test/support/memory.h"
#include "test/support/texts.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((size_t)1024 * 1024)

static struct belay__batch_state state;
static const struct belay__batch_bill free_of_charge;
static struct belay__batch_state_opts opts;
static char why[BELAY__BATCH_WHY];

static void
set_up(void)
{
    open_memory();
    state = (struct belay__batch_state){.fd = -1};
    test_files_open();
    test_file_write("in", "one\ntwo\nthree\n");
    opts = (struct belay__batch_state_opts){
        .output_path = test_file("out"),
        .errors_path = test_file("err"),
        .input_fd = -1,
    };
    (void)signal(SIGXFSZ, SIG_IGN);
}

static void
tear_down(void)
{
    belay__batch_state_close(&state);
    if (opts.input_fd >= 0) {
        (void)close(opts.input_fd);
    }
    test_files_close();
    close_memory();
}

TestSuite(batch_state, .init = set_up, .fini = tear_down, .timeout = 60);

/* Opens as the start of a run would, without the outputs. */
static int
open_state(void)
{
    if (opts.input_fd >= 0) {
        (void)close(opts.input_fd);
    }
    opts.input_fd = open(test_file("in"), O_RDONLY | O_CLOEXEC);
    opts.input_size = test_file_size("in");
    why[0] = '\0';
    belay__batch_state_close(&state);
    return belay__batch_state_open(&state, memory, &opts, why);
}

/* Line number `line` may be sent. */
static int
note_sent(uint64_t line)
{
    uint64_t mark = 0;
    const int code =
        belay__batch_state_sent(&state, line, 0, &free_of_charge, &mark);

    return code == 0 ? belay__batch_state_commit(&state, mark) : code;
}

/* A run that begins, writes line 1 and has line 2 in flight. */
static void
begin_run(void)
{
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_assert(eq(int, belay__batch_state_begin(&state, why), 0), "%s", why);
    cr_assert(eq(int, note_sent(1), 0));
    cr_assert(eq(int, note_sent(2), 0));
    test_file_add_line("out", state.job, 1);
    belay__batch_state_done(&state, 1, &free_of_charge);
}

static void
refused(int code, const char *word)
{
    char *before;

    belay__batch_state_close(&state);
    before = test_file_read("out.state");
    cr_expect(eq(int, open_state(), code));
    cr_expect(ne(ptr, strstr(why, word), NULL), "%s", why);
    belay__batch_state_close(&state);
    cr_expect(eq(str, test_file_read("out.state"), before));
}

/* ---- header ---- */

Test(batch_state, b12_a_run_goes_on_with_the_same_job)
{
    char job[BELAY__BATCH_JOB_SIZE];

    begin_run();
    memcpy(job, state.job, sizeof(job));
    cr_expect(eq(sz, strlen(job), 16));
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(str, state.job, job));
    cr_expect(eq(u64, state.done.count, 1));
    cr_expect(belay__line_set_has(&state.done, 1));
    cr_expect(eq(u64, state.in_doubt.count, 1));
    cr_expect(belay__line_set_has(&state.in_doubt, 2));
    cr_expect(eq(int, belay__batch_state_begin(&state, why), 0));
    belay__batch_state_close(&state);
    cr_expect(ne(
        ptr, strstr(test_file_read("out.state"), "}\ns 1\ns 2\nd 1\n"), NULL));
}

Test(batch_state, b12_the_state_is_for_its_owner_only)
{
    struct stat info;

    begin_run();
    cr_assert(eq(int, stat(test_file("out.state"), &info), 0));
    cr_expect(eq(u32, info.st_mode & 0777, 0600));
}

Test(batch_state, b12_another_size_of_the_input_is_refused)
{
    begin_run();
    test_file_write("in", "one\ntwo\nthree\nfour\n");
    refused(BELAY_ESTATE, "--force");
}

Test(batch_state, b12_another_first_mebibyte_is_refused)
{
    test_file_fill("in", 'x', 5 * MIB);
    begin_run();
    test_file_poke("in", MIB - 1, 'y');
    refused(BELAY_ESTATE, "input");
}

Test(batch_state, b12_another_last_mebibyte_is_refused)
{
    test_file_fill("in", 'x', 5 * MIB);
    begin_run();
    test_file_poke("in", 4 * MIB, 'y');
    refused(BELAY_ESTATE, "input");
}

Test(batch_state, b12_every_byte_of_a_small_input_counts)
{
    test_file_fill("in", 'x', MIB + MIB / 2);
    begin_run();
    test_file_poke("in", MIB + 5, 'y');
    refused(BELAY_ESTATE, "input");
}

/* The price of a start that does not read ten gigabytes. */
Test(batch_state, b12_a_change_in_the_middle_is_not_noticed)
{
    test_file_fill("in", 'x', 5 * MIB);
    begin_run();
    test_file_poke("in", 2 * MIB, 'y');
    cr_expect(eq(int, open_state(), 0), "%s", why);
}

Test(batch_state, b12_force_goes_on_with_a_changed_input)
{
    begin_run();
    test_file_write("in", "ONE\ntwo\nthree\n");
    opts.force = true;
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(u64, state.done.count, 1));
}

/* As after a run from standard input, which leaves no state of its own. */
Test(batch_state, b13_an_output_of_another_job_is_refused)
{
    begin_run();
    test_file_write("out", "");
    test_file_add_line("out", "ffffffffffffffff", 1);
    refused(BELAY_ESTATE, "another job");
    opts.force = true;
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(u64, state.done.count, 0));
}

Test(batch_state, b12_another_model_is_refused)
{
    begin_run();
    opts.model = "gpt-x";
    refused(BELAY_ESTATE, "--model");
    opts.force = true;
    cr_expect(eq(int, open_state(), 0), "%s", why);
}

Test(batch_state, b12_inline_errors_after_an_error_file_are_refused)
{
    begin_run();
    opts.errors_path = NULL;
    refused(BELAY_ESTATE, "--errors");
}

/* Its failed lines would be sent again. */
Test(batch_state, b12_another_error_file_is_refused)
{
    begin_run();
    opts.errors_path = test_file("other");
    refused(BELAY_ESTATE, "--errors");
}

Test(batch_state, b12_files_that_moved_together_are_the_same)
{
    begin_run();
    belay__batch_state_close(&state);
    cr_assert(eq(int, symlink(".", test_file("moved")), 0));
    opts.output_path = test_file("moved/out");
    opts.errors_path = test_file("moved/err");
    cr_expect(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(u64, state.done.count, 1));
}

Test(batch_state, b12_a_second_run_is_refused_and_changes_nothing)
{
    struct belay__batch_state second;
    char *before;
    int code;

    begin_run();
    before = test_file_read("out.state");
    for (int i = 0; i < 3; i++) {
        opts.overwrite = i == 1;
        opts.force = i == 2;
        code = belay__batch_state_open(&second, memory, &opts, why);
        cr_expect(eq(int, code, BELAY_EBUSY));
        cr_expect(ne(ptr, strstr(why, "another run"), NULL), "%s", why);
        belay__batch_state_close(&second);
        cr_expect(eq(str, test_file_read("out.state"), before));
    }
    cr_expect(eq(int, note_sent(3), 0));
}

Test(batch_state, b12_an_output_without_a_state_is_refused)
{
    test_file_write("out", "mine\n");
    cr_expect(eq(int, open_state(), BELAY_EBUSY));
    cr_expect(ne(ptr, strstr(why, "--overwrite"), NULL), "%s", why);
    cr_expect(not(test_file_exists("out.state")), "nothing was made");
    cr_expect(eq(str, test_file_read("out"), (char *)"mine\n"));
}

Test(batch_state, b12_an_error_file_without_a_state_is_refused)
{
    test_file_write("err", "mine\n");
    cr_expect(eq(int, open_state(), BELAY_EBUSY));
    cr_expect(not(test_file_exists("out.state")));
}

Test(batch_state, b12_a_state_that_cannot_be_read_is_refused)
{
    static const char *const headers[] = {
        "",
        "\n",
        "{}\n",
        "null\n",
        "{\"belay_batch_state\":1",
        "{\"belay_batch_state\":1}\n",
        "{\"belay_batch_state\":0,\"job\":\"0123456789abcdef\"}\n",
        "{\"belay_batch_state\":3,\"job\":\"0123456789abcdef\"}\n",
        "{\"belay_batch_state\":1,\"job\":\"0123456789abcdeg\"}\n",
        "{\"belay_batch_state\":1,\"job\":123456789012345678}\n",
        "{\"belay_batch_state\":1,\"job\":\"0123456789abcdef\"}",
    };

    test_file_write("out", "mine\n");
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        test_file_write("out.state", headers[i]);
        opts.force = i % 2 == 1;
        refused(BELAY_EBUSY, "does not tell");
    }
}

Test(batch_state, b12_a_header_without_an_end_is_refused)
{
    test_file_write("out", "mine\n");
    test_file_fill("out.state", ' ', 4096);
    refused(BELAY_EBUSY, "does not tell");
}

Test(batch_state, b12_a_header_of_other_members_is_for_another_input)
{
    test_file_write("out", "mine\n");
    test_file_write("out.state", "{\"belay_batch_state\":1,\"job\":"
                                 "\"0123456789abcdef\",\"new\":[{}]}\n");
    refused(BELAY_ESTATE, "input");
}

Test(batch_state, b12_the_state_may_not_be_the_input)
{
    test_file_write("out.state", "one\n");
    cr_assert(eq(int, unlink(test_file("in")), 0));
    cr_assert(eq(int, link(test_file("out.state"), test_file("in")), 0));
    opts.overwrite = true;
    cr_expect(eq(int, open_state(), BELAY_EINVAL));
    cr_expect(eq(str, test_file_read("in"), (char *)"one\n"));
}

Test(batch_state, b12_the_state_may_not_be_the_error_file)
{
    opts.errors_path = test_file("out.state");
    cr_expect(eq(int, open_state(), BELAY_EINVAL));
    cr_expect(eq(u64, test_file_size("out.state"), 0));
}

Test(batch_state, b12_a_directory_one_may_not_write_to_is_told)
{
    cr_assert(eq(int, chmod(test_file(""), 0555), 0));
    if (getuid() == 0) {
        (void)seteuid(65534); /* root may write anywhere */
    }
    cr_expect(eq(int, open_state(), -EACCES));
    (void)seteuid(getuid());
    cr_expect(ne(ptr, strstr(why, "out.state"), NULL), "%s", why);
    cr_expect(not(test_file_exists("out.state")));
}

Test(batch_state, b12_a_directory_that_is_not_there_is_told)
{
    opts.output_path = test_file("nowhere/out");
    cr_expect(eq(int, open_state(), -ENOENT));
    cr_expect(ne(ptr, strstr(why, "nowhere/out.state"), NULL), "%s", why);
}

/* ---- beginning anew ---- */

Test(batch_state, b12_overwrite_begins_a_new_job)
{
    char job[BELAY__BATCH_JOB_SIZE];

    begin_run();
    memcpy(job, state.job, sizeof(job));
    opts.overwrite = true;
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(ne(str, state.job, job));
    cr_expect(eq(u64, state.done.count, 0));
}

/* Killed before the outputs are empty, or with an output that cannot be
 * opened, everything is as it was.
 */
Test(batch_state, b12_overwrite_keeps_the_old_state_until_the_files_are_empty)
{
    char *before;

    begin_run();
    belay__batch_state_close(&state);
    before = test_file_read("out.state");
    opts.overwrite = true;
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(str, test_file_read("out.state"), before));
    belay__batch_state_close(&state);
    cr_expect(eq(str, test_file_read("out.state"), before));
    opts.overwrite = false;
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(u64, state.done.count, 1));
}

Test(batch_state, b16_lines_sent_before_the_first_result_are_in_doubt)
{
    begin_run();
    test_file_write("out", "");
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(u64, state.done.count, 0));
    cr_expect(eq(u64, state.in_doubt.count, 2));
}

Test(batch_state, b12_without_its_output_a_state_does_not_count)
{
    char job[BELAY__BATCH_JOB_SIZE];

    begin_run();
    memcpy(job, state.job, sizeof(job));
    cr_assert(eq(int, unlink(test_file("out")), 0));
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(ne(str, state.job, job));
    cr_expect(eq(u64, state.in_doubt.count, 0));
}

Test(batch_state, b12_an_empty_output_may_have_any_state)
{
    test_file_write("out", "");
    test_file_write("out.state", "torn");
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_assert(eq(int, belay__batch_state_begin(&state, why), 0));
    cr_expect(eq(int, strncmp(test_file_read("out.state"), "{\"belay", 7), 0));
}

Test(batch_state, b12_an_empty_output_may_have_the_state_of_another_input)
{
    begin_run();
    test_file_write("out", "");
    test_file_write("in", "other\n");
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(u64, state.in_doubt.count, 0));
}

/* ---- journal ---- */

Test(batch_state, b15_a_record_is_in_the_file_before_the_line_is_sent)
{
    begin_run();
    cr_expect(ne(ptr, strstr(test_file_read("out.state"), "\ns 2\n"), NULL));
    cr_expect(eq(ptr, strstr(test_file_read("out.state"), "d 1"), NULL));
    cr_expect(eq(int, note_sent(3), 0));
    cr_expect(
        ne(ptr, strstr(test_file_read("out.state"), "\nd 1\ns 3\n"), NULL));
}

Test(batch_state, b15_a_line_that_was_taken_back_is_not_in_doubt)
{
    begin_run();
    belay__batch_state_unsent(&state, 2);
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(u64, state.in_doubt.count, 0));
    cr_expect(eq(int, note_sent(2), 0));
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(u64, state.in_doubt.count, 1), "sent again after that");
}

Test(batch_state, b15_a_torn_record_does_not_spoil_the_next)
{
    static const char *const tails[] = {"s", "s ", "s 3", "d 1", "\0", "s 2x"};

    begin_run();
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        belay__batch_state_close(&state);
        test_file_append("out.state", tails[i], strlen(tails[i]) + (i == 4));
        cr_assert(eq(int, open_state(), 0), "%s", why);
        cr_expect(eq(u64, state.in_doubt.count, 1 + (i > 0)), "%zu", i);
        cr_expect(eq(int, note_sent(3), 0));
    }
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(u64, state.in_doubt.count, 2));
    cr_expect(belay__line_set_has(&state.in_doubt, 3));
}

Test(batch_state, b15_one_write_does_for_all_lines_that_are_about_to_be_sent)
{
    const struct belay__batch_bill bill = {.reserved = 70};
    uint64_t marks[4];

    begin_run();
    for (uint64_t i = 0; i < 3; i++) {
        cr_expect(eq(int,
            belay__batch_state_sent(&state, 3 + i, 2, &bill, &marks[i]), 0));
    }
    cr_expect(eq(ptr, strstr(test_file_read("out.state"), "s 3"), NULL));
    cr_expect(eq(int, belay__batch_state_commit(&state, marks[1]), 0));
    cr_expect(ne(ptr,
        strstr(test_file_read("out.state"), "\ns 3 2 70\ns 4 2 70\ns 5 2 70\n"),
        NULL));
    cr_expect(eq(int,
        belay__batch_state_sent(&state, 6, 0, &free_of_charge, &marks[3]), 0));
    cr_expect(eq(int, belay__batch_state_commit(&state, marks[2]), 0));
    cr_expect(eq(ptr, strstr(test_file_read("out.state"), "s 6"), NULL),
        "another's record can wait for whom it concerns");
    cr_expect(eq(int, belay__batch_state_commit(&state, marks[3]), 0));
    cr_expect(ne(ptr, strstr(test_file_read("out.state"), "\ns 6\n"), NULL));
}

Test(batch_state, b15_numbers_of_any_size_come_back)
{
    const int64_t most = INT64_MAX;
    const struct belay__batch_bill bill = {
        most, most - 1, 10, most, most - 2, BELAY__BATCH_UNPRICED};
    uint64_t mark;

    begin_run();
    cr_expect(eq(
        int, belay__batch_state_sent(&state, 3, UINT32_MAX, &bill, &mark), 0));
    belay__batch_state_done(&state, 3, &bill);
    cr_expect(eq(int, belay__batch_state_flush(&state), 0));
    cr_expect(ne(ptr,
        strstr(test_file_read("out.state"),
            "\ns 3 4294967295 9223372036854775807 9223372036854775807\n"
            "d 3 9223372036854775807 9223372036854775806 10 "
            "9223372036854775807 9223372036854775805 2\n"),
        NULL));
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(i64, state.spent, INT64_MAX - 1));
    cr_expect(eq(i64, state.uncertain, 10));
    cr_expect(eq(i64, state.tokens, most - 2));
    cr_expect(eq(i64, state.requests, 2), "with the one that has no end");
}

Test(batch_state, b15_without_room_nothing_may_be_sent)
{
    size_t size;

    for (size_t room = 0; room < 5; room++) {
        (void)unlink(test_file("out"));
        begin_run();
        size = test_file_size("out.state");
        limit_file_size(size + room);
        cr_expect(eq(int, note_sent(3), -EFBIG));
        belay__batch_state_close(&state);
        limit_file_size(RLIM_INFINITY);
        cr_assert(eq(int, open_state(), 0), "%s", why);
        cr_expect(not(belay__line_set_has(&state.in_doubt, 3)));
        cr_expect(eq(int, note_sent(3), 0));
        cr_assert(eq(int, open_state(), 0), "%s", why);
        cr_expect(belay__line_set_has(&state.in_doubt, 3), "%zu", room);
        belay__batch_state_close(&state);
    }
}

/* The records that were lost may have been those of others. */
Test(batch_state, b15_after_a_write_that_failed_nothing_may_be_sent)
{
    begin_run();
    limit_file_size(test_file_size("out.state"));
    cr_expect(eq(int, note_sent(3), -EFBIG));
    limit_file_size(RLIM_INFINITY);
    cr_expect(eq(int, note_sent(4), -EFBIG));
    cr_expect(eq(int, belay__batch_state_flush(&state), -EFBIG));
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(int, note_sent(4), 0), "it ends with the run");
}

Test(batch_state, b12_without_room_for_the_header_nothing_begins)
{
    limit_file_size(10);
    cr_assert(eq(int, open_state(), 0), "%s", why);
    cr_expect(eq(int, belay__batch_state_begin(&state, why), -EFBIG));
    cr_expect(ne(ptr, strstr(why, "out.state"), NULL), "%s", why);
    limit_file_size(RLIM_INFINITY);
    cr_expect(eq(int, open_state(), 0), "a torn header is no state: %s", why);
}

Test(batch_state, b11_a_state_of_no_file_takes_everything)
{
    cr_expect(eq(int, belay__batch_state_none(&state, memory), 0));
    cr_expect(eq(int, belay__batch_state_begin(&state, why), 0));
    cr_expect(eq(sz, strlen(state.job), 16));
    cr_expect(eq(int, note_sent(1), 0));
    belay__batch_state_done(&state, 1, &free_of_charge);
    belay__batch_state_unsent(&state, 1);
    cr_expect(eq(sz, state.journal.len, 0));
}

Test(batch_state, b12_closing_is_harmless_at_any_time)
{
    struct belay__batch_state zeroed = {0};

    belay__batch_state_close(&zeroed);
    begin_run();
    belay__batch_state_close(&state);
    belay__batch_state_close(&state);
}

Test(batch_state, b12_every_allocation_may_fail)
{
    size_t k = 0;
    int code;

    begin_run();
    belay__batch_state_close(&state);
    for (;; k++) {
        opts.overwrite = false;
        test_alloc_fail_at(k);
        code = open_state();
        if (test_alloc_failures() == 0) {
            break;
        }
        cr_expect(eq(int, code, BELAY_ENOMEM), "allocation %zu", k);
        test_alloc_never_fail();
        belay__batch_state_close(&state);
        cr_assert(lt(sz, k, 100));
    }
    cr_expect(eq(int, code, 0), "%s", why);
    cr_expect(gt(sz, k, 4));
    cr_expect(eq(u64, state.in_doubt.count, 1));
    for (k = 0;; k++) {
        opts.overwrite = true;
        test_alloc_fail_at(k);
        code = open_state();
        code = code == 0 ? belay__batch_state_begin(&state, why) : code;
        code = code == 0 ? note_sent(1) : code;
        if (test_alloc_failures() == 0) {
            break;
        }
        cr_expect(eq(int, code, BELAY_ENOMEM), "allocation %zu", k);
        cr_assert(lt(sz, k, 100));
    }
    cr_expect(eq(int, code, 0), "%s", why);
}
