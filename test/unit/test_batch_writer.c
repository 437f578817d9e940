/* test_batch_writer.c - whole lines in the files, whatever the disk does. */
#include "test/support/program.h"
#include "test/support/texts.h"
#include "test/support/writer_scene.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(batch_writer, .init = writer_set_up, .fini = writer_tear_down,
    .timeout = 30);

Test(batch_writer, lines_go_to_their_file_in_the_order_they_come)
{
    cr_assert(eq(int, open_both(0), 0));
    expect_file(err_path, "(none)");
    expect_code(put(2, BELAY__BATCH_OUTPUT, "two"), 0);
    expect_code(put(0, BELAY__BATCH_ERRORS, "zero"), 0);
    expect_code(put(1, BELAY__BATCH_OUTPUT, ""), 0);
    expect_file(out_path, "two\n\n");
    expect_file(err_path, "zero\n");
    cr_expect(eq(u64, writer.lines, 3));
}

Test(batch_writer, b6_without_an_error_file_all_go_into_the_output)
{
    cr_assert(eq(int,
        open_with(
            &(const struct belay__batch_writer_opts){.output_path = out_path}),
        0));
    expect_code(put(0, BELAY__BATCH_ERRORS, "bad"), 0);
    expect_code(put(1, BELAY__BATCH_OUTPUT, "good"), 0);
    expect_file(out_path, "bad\ngood\n");
}

/* A socket of packets in place of standard output shows each write(2) as one
 * packet.
 */
Test(batch_writer, b10_one_write_a_line_newline_last)
{
    const int saved = dup(STDOUT_FILENO);
    char packet[100 * 1024 + 16];
    char big[100 * 1024 + 1];
    int pair[2];

    cr_assert(eq(int, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0));
    cr_assert(eq(int, dup2(pair[0], STDOUT_FILENO), STDOUT_FILENO));
    cr_assert(eq(int,
        open_with(&(const struct belay__batch_writer_opts){.output_path = "-"}),
        0));
    memset(big, 'b', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    expect_code(put(0, BELAY__BATCH_OUTPUT, "{\"id\":1}"), 0);
    expect_code(put(1, BELAY__BATCH_ERRORS, big), 0);
    expect_code(put(2, BELAY__BATCH_OUTPUT, ""), 0);
    cr_assert(eq(int, dup2(saved, STDOUT_FILENO), STDOUT_FILENO));

    cr_expect(eq(int, (int)read(pair[1], packet, sizeof(packet)), 9));
    cr_expect(eq(int, memcmp(packet, "{\"id\":1}\n", 9), 0));
    cr_expect(
        eq(int, (int)read(pair[1], packet, sizeof(packet)), (int)sizeof(big)));
    cr_expect(eq(chr, packet[sizeof(big) - 1], '\n'));
    cr_expect(eq(int, (int)read(pair[1], packet, sizeof(packet)), 1));
    (void)close(pair[0]);
    (void)close(pair[1]);
    (void)close(saved);
}

Test(batch_writer, b10_x9_files_are_appended_to_and_private)
{
    struct stat info;

    (void)umask(0);
    cr_assert(eq(int, open_both(0), 0));
    expect_code(put(0, BELAY__BATCH_ERRORS, "x"), 0);
    cr_expect(ne(int, fcntl(writer.output.fd, F_GETFL) & O_APPEND, 0));
    cr_expect(ne(int, fcntl(writer.errors.fd, F_GETFL) & O_APPEND, 0));
    cr_expect(ne(int, fcntl(writer.output.fd, F_GETFD) & FD_CLOEXEC, 0));
    cr_assert(eq(int, stat(out_path, &info), 0));
    cr_expect(eq(int, (int)(info.st_mode & 07777), 0600));
    cr_assert(eq(int, stat(err_path, &info), 0));
    cr_expect(eq(int, (int)(info.st_mode & 07777), 0600));
}

/* For every size of the disk: what is in the file are whole lines. */
Test(batch_writer, b10_a_full_disk_leaves_whole_lines)
{
    for (rlim_t size = 0; size <= 40; size++) {
        char wanted[64] = "";

        cr_assert(eq(int, open_both(0), 0));
        limit_file_size(size);
        for (uint64_t i = 0; i < 4; i++) {
            expect_code(put(i, BELAY__BATCH_OUTPUT, "123456789"), 0);
            if (10 * (i + 1) <= size) {
                memcpy(wanted + 10 * i, "123456789\n", sizeof("123456789\n"));
            }
        }
        expect_file(out_path, wanted);
        cr_expect(eq(u64, writer.lines, strlen(wanted) / 10));
        if (size < 40) {
            cr_expect(eq(int, writer.code, -EFBIG));
            cr_expect(writer.failed_path == out_path);
            expect_file(err_path, "(none)");
        }
        limit_file_size(RLIM_INFINITY);
        belay__batch_writer_close(&writer);
        cr_assert(eq(int, unlink(out_path), 0));
    }
}

/* A real full disk, where one may be mounted. */
Test(batch_writer, b10_a_full_file_system_leaves_whole_lines)
{
    char line[1001];
    size_t written = 0;

    if (mount("none", test_folder, "tmpfs", 0, "size=16k") < 0) {
        cr_skip_test("no tmpfs can be mounted here");
    }
    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    cr_assert(eq(int, open_both(0), 0));
    for (uint64_t i = 0; i < 100 && writer.code == 0; i++) {
        expect_code(put(i, BELAY__BATCH_OUTPUT, line), 0);
        written += writer.code == 0;
    }
    expect_code(writer.code, -ENOSPC);
    cr_expect(gt(sz, written, 0));
    cr_expect(eq(sz, strlen(writer_contents(out_path)), written * 1001));
    belay__batch_writer_close(&writer);
    cr_expect(eq(int, umount(test_folder), 0));
}

/* /dev/full refuses every byte and is no regular file. */
Test(batch_writer, a_device_that_is_full)
{
    cr_assert(eq(int,
        open_with(&(const struct belay__batch_writer_opts){
            .output_path = "/dev/full"}),
        0));
    expect_code(put(0, BELAY__BATCH_OUTPUT, "x"), 0);
    expect_code(put(1, BELAY__BATCH_OUTPUT, "x"), 0);
    expect_code(writer.code, -ENOSPC);
    cr_expect(eq(sz, writer_finish(false), 2));
    cr_expect(eq(int, belay__batch_writer_take_dirty(&writer), -1));
}

Test(batch_writer, b9_in_input_order_lines_wait_for_those_before_them)
{
    cr_assert(eq(int, open_both(4), 0));
    expect_code(put(3, BELAY__BATCH_OUTPUT, "3"), 0);
    expect_code(put(1, BELAY__BATCH_ERRORS, "1"), 0);
    expect_file(out_path, "");
    expect_code(put(0, BELAY__BATCH_OUTPUT, "0"), 0);
    expect_file(out_path, "0\n");
    expect_file(err_path, "1\n");
    belay__batch_writer_skip(&writer, 2);
    expect_file(out_path, "0\n3\n");
    cr_expect(eq(u64, writer.next, 4));
    cr_expect(eq(u64, writer.lines, 3));
}

Test(batch_writer, b9_window_says_what_may_be_admitted)
{
    cr_assert(eq(int, open_both(3), 0));
    for (uint64_t i = 0; i < 6; i++) {
        cr_expect(eq(int, belay__batch_writer_has_room(&writer, i), i < 3),
            "%d", (int)i);
    }
    expect_code(put(1, BELAY__BATCH_OUTPUT, "1"), 0);
    cr_expect(not(belay__batch_writer_has_room(&writer, 3)));
    expect_code(put(0, BELAY__BATCH_OUTPUT, "0"), 0);
    cr_expect(belay__batch_writer_has_room(&writer, 4));
    cr_expect(not(belay__batch_writer_has_room(&writer, 5)));
}

Test(batch_writer, b9_skipped_lines_leave_no_trace_wherever_they_are)
{
    cr_assert(eq(int, open_both(8), 0));
    for (uint64_t round = 0; round < 4; round++) {
        const uint64_t base = round * 8;

        for (int i = 7; i >= 0; i--) {
            if (i % 2 == 0) {
                belay__batch_writer_skip(&writer, base + (uint64_t)i);
            } else {
                expect_code(
                    put(base + (uint64_t)i, BELAY__BATCH_OUTPUT, "x"), 0);
            }
        }
        cr_expect(eq(u64, writer.next, base + 8));
    }
    cr_expect(eq(u64, writer.lines, 16));
}

/* Every order of six lines, three of them for the other file. */
Test(batch_writer, b9_every_order_of_arrival_gives_the_order_of_the_input)
{
    for (unsigned order = 0; order < 720; order++) {
        unsigned left[] = {0, 1, 2, 3, 4, 5};
        unsigned rest = order;
        char text[2] = "";

        cr_assert(eq(int, open_both(6), 0));
        for (unsigned n = 6; n > 0; n--) {
            const unsigned at = rest % n;

            rest /= n;
            text[0] = (char)('0' + left[at]);
            expect_code(put(left[at],
                            left[at] % 2 == 0 ? BELAY__BATCH_OUTPUT
                                              : BELAY__BATCH_ERRORS,
                            text),
                0);
            left[at] = left[n - 1];
        }
        expect_file(out_path, "0\n2\n4\n");
        expect_file(err_path, "1\n3\n5\n");
        belay__batch_writer_close(&writer);
        cr_assert(eq(int, unlink(out_path), 0));
        cr_assert(eq(int, unlink(err_path), 0));
    }
}

/* Where no run can go on, a line that never comes must not take those behind it
 * with it: they have their replies.
 */
Test(batch_writer, b8_b9_early_lines_are_written_when_no_more_will_come)
{
    cr_assert(eq(int, open_both(8), 0));
    expect_code(put(5, BELAY__BATCH_OUTPUT, "5"), 0);
    expect_code(put(1, BELAY__BATCH_OUTPUT, "1"), 0);
    expect_code(put(3, BELAY__BATCH_ERRORS, "3"), 0);
    belay__batch_writer_skip(&writer, 4);
    expect_file(out_path, "");
    cr_expect(eq(sz, writer_finish(true), 0));
    expect_file(out_path, "1\n5\n");
    expect_file(err_path, "3\n");
    cr_expect(eq(sz, writer_finish(true), 0));
    expect_file(out_path, "1\n5\n");
}

Test(batch_writer, b9_early_lines_on_a_full_disk)
{
    cr_assert(eq(int, open_both(8), 0));
    limit_file_size(4);
    expect_code(put(1, BELAY__BATCH_OUTPUT, "1"), 0);
    expect_code(put(2, BELAY__BATCH_OUTPUT, "2"), 0);
    expect_code(put(3, BELAY__BATCH_OUTPUT, "3"), 0);
    expect_code(put(0, BELAY__BATCH_OUTPUT, "0"), 0);
    expect_code(writer.code, -EFBIG);
    expect_file(out_path, "0\n1\n");
    cr_expect(eq(sz, writer_finish(false), 2));
    expect_file(out_path, "0\n1\n");
    limit_file_size(RLIM_INFINITY);
}

Test(batch_writer, an_existing_file_is_refused_and_left_alone)
{
    test_file_write("out", "precious");
    expect_code(open_both(0), BELAY_EBUSY);
    cr_expect(failed_path == out_path);
    expect_file(out_path, "precious");
    (void)unlink(out_path);

    test_file_write("err", "precious too");
    expect_code(open_both(0), BELAY_EBUSY);
    cr_expect(failed_path == err_path);
    expect_file(err_path, "precious too");
    expect_file(out_path, "(none)");
}

Test(batch_writer, an_existing_empty_file_is_taken)
{
    test_file_write("out", "");
    test_file_write("err", "");
    cr_assert(eq(int, open_both(0), 0));
    expect_code(put(0, BELAY__BATCH_OUTPUT, "x"), 0);
    expect_file(out_path, "x\n");
}

static int
open_overwriting(const char *output, const char *errors)
{
    return open_with(&(const struct belay__batch_writer_opts){
        .output_path = output, .errors_path = errors, .overwrite = true});
}

Test(batch_writer, existing_files_are_emptied_on_request)
{
    test_file_write("out", "old output\n");
    test_file_write("err", "old errors\n");
    cr_assert(eq(int, open_overwriting(out_path, err_path), 0));
    expect_file(out_path, "");
    expect_file(err_path, "(none)");
    expect_code(put(0, BELAY__BATCH_OUTPUT, "new"), 0);
    expect_code(put(1, BELAY__BATCH_ERRORS, "new too"), 0);
    expect_file(out_path, "new\n");
    expect_file(err_path, "new too\n");
}

/* Nothing is open after a failure, and what was there is still there. */
Test(batch_writer, a_failed_overwrite_destroys_nothing)
{
    const char *inside = test_file("no/such/dir");

    test_file_write("err", "old errors\n");
    expect_code(open_overwriting(inside, err_path), -ENOENT);
    cr_expect(failed_path == inside);
    expect_file(err_path, "old errors\n");

    test_file_write("out", "old output\n");
    expect_code(open_overwriting(out_path, inside), -ENOENT);
    cr_expect(failed_path == inside);
    expect_file(out_path, "old output\n");
}

/* Two names of one file would empty it when the first error line comes. */
Test(batch_writer, one_file_under_two_names_is_refused)
{
    const char *other = test_file("./out");

    expect_code(open_with(&(const struct belay__batch_writer_opts){
                    .output_path = out_path, .errors_path = other}),
        BELAY_EINVAL);
    test_file_write("out", "old\n");
    expect_code(open_overwriting(out_path, other), BELAY_EINVAL);
    expect_file(out_path, "old\n");
    (void)unlink(out_path);
    test_file_write("out", "");
    cr_assert(eq(int, symlink(out_path, err_path), 0));
    expect_code(open_both(0), BELAY_EINVAL);
    cr_expect(failed_path == err_path);
}

/* The null device is nobody's loss. */
Test(batch_writer, a_device_may_be_both_files)
{
    cr_assert(eq(int,
        open_with(&(const struct belay__batch_writer_opts){
            .output_path = "/dev/null", .errors_path = "/dev/null"}),
        0));
    expect_code(put(0, BELAY__BATCH_OUTPUT, "x"), 0);
    expect_code(put(1, BELAY__BATCH_ERRORS, "x"), 0);
    cr_expect(eq(int, belay__batch_writer_take_dirty(&writer), -1));
}

Test(batch_writer, directories_and_missing_ones_are_told_at_once)
{
    const char *missing = test_file("missing/err");

    expect_code(open_with(&(const struct belay__batch_writer_opts){
                    .output_path = test_folder}),
        -EISDIR);
    expect_code(open_with(&(const struct belay__batch_writer_opts){
                    .output_path = out_path, .errors_path = test_folder}),
        -EISDIR);
    expect_code(open_with(&(const struct belay__batch_writer_opts){
                    .output_path = missing}),
        -ENOENT);
    /* The error file is not opened yet, but it is known that it cannot be. */
    expect_code(open_with(&(const struct belay__batch_writer_opts){
                    .output_path = out_path, .errors_path = missing}),
        -ENOENT);
    cr_expect(failed_path == missing);
    expect_code(open_with(&(const struct belay__batch_writer_opts){
                    .output_path = out_path, .errors_path = ""}),
        -ENOENT);
}

Test(batch_writer, a_directory_without_permission_is_told_at_once)
{
    if (geteuid() == 0 && seteuid(65534) < 0) {
        cr_skip_test("root may write everywhere");
    }
    cr_expect(ne(int, open_both(0), 0)); /* not our directory any more */
    cr_expect(eq(int, writer.output.fd, -1));
    (void)seteuid(0);
}

Test(batch_writer, a_closed_pipe_is_an_error)
{
    const int saved = dup(STDOUT_FILENO);
    int ends[2];

    (void)signal(SIGPIPE, SIG_IGN);
    cr_assert(eq(int, pipe(ends), 0));
    cr_assert(eq(int, dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO));
    cr_assert(eq(int,
        open_with(&(const struct belay__batch_writer_opts){.output_path = "-"}),
        0));
    (void)close(ends[0]);
    expect_code(put(0, BELAY__BATCH_OUTPUT, "x"), 0);
    expect_code(writer.code, BELAY_EPIPE);
    cr_expect(eq(sz, writer_finish(false), 1));
    cr_expect(eq(str, (char *)(uintptr_t)writer.failed_path, (char[]){"-"}));
    cr_assert(eq(int, dup2(saved, STDOUT_FILENO), STDOUT_FILENO));
    (void)close(ends[1]);
    (void)close(saved);
}

Test(batch_writer, each_file_is_dirty_once_after_a_write)
{
    int fd;

    cr_assert(eq(int, open_both(0), 0));
    cr_expect(eq(int, belay__batch_writer_take_dirty(&writer), -1));
    expect_code(put(0, BELAY__BATCH_OUTPUT, "x"), 0);
    expect_code(put(1, BELAY__BATCH_OUTPUT, "x"), 0);
    expect_code(put(2, BELAY__BATCH_ERRORS, "x"), 0);
    fd = belay__batch_writer_take_dirty(&writer);
    cr_expect(eq(int, fd, writer.output.fd));
    fd = belay__batch_writer_take_dirty(&writer);
    cr_expect(eq(int, fd, writer.errors.fd));
    cr_expect(eq(int, belay__batch_writer_take_dirty(&writer), -1));
}

Test(batch_writer, an_absurd_window_is_out_of_memory)
{
    expect_code(open_both(SIZE_MAX / 2), BELAY_ENOMEM);
    cr_expect(eq(int, writer.output.fd, -1));
}

Test(batch_writer, b9_without_memory_a_line_is_lost_but_never_torn)
{
    const size_t fds = count_fds();

    for (size_t k = 0;; k++) {
        int code;

        test_alloc_fail_at(k);
        code = open_both(4);
        for (uint64_t i = 3; code == 0 && i != 0; i--) {
            code = put(i, BELAY__BATCH_OUTPUT, "line");
        }
        if (code == 0) {
            code = put(0, BELAY__BATCH_OUTPUT, "line");
        }
        if (test_alloc_failures() == 0) {
            expect_code(code, 0);
            expect_file(out_path, "line\nline\nline\nline\n");
            break;
        }
        expect_code(code, BELAY_ENOMEM);
        belay__batch_writer_close(&writer);
        (void)unlink(out_path);
        cr_expect(eq(sz, count_fds(), fds));
        cr_assert(lt(sz, k, 100));
    }
    test_alloc_never_fail();
}

Test(batch_writer, closing_twice_or_never_opened_is_fine)
{
    belay__batch_writer_close(&writer);
    cr_assert(eq(int, open_both(2), 0));
    expect_code(put(1, BELAY__BATCH_OUTPUT, "early"), 0);
    belay__batch_writer_close(&writer);
    belay__batch_writer_close(&writer);
}
