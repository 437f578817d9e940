/* test_batch_kept.c - lines that go into no file, or only in the end. */
#include "test/support/texts.h"
#include "test/support/writer_scene.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

TestSuite(
    batch_kept, .init = writer_set_up, .fini = writer_tear_down, .timeout = 30);

/* Each file has its own disk. What has found no room is written once there is
 * some, and no line is torn where half of one was.
 */
Test(batch_kept, b19_lines_without_room_are_kept_and_tried_again)
{
    cr_assert(eq(int, open_both(0), 0));
    limit_file_size(8);
    expect_code(put(0, BELAY__BATCH_OUTPUT, "012345"), 0);
    expect_code(put(1, BELAY__BATCH_OUTPUT, "12"), 0);
    expect_code(writer.code, -EFBIG);
    cr_expect(writer.failed_path == out_path);
    expect_code(put(2, BELAY__BATCH_ERRORS, "2"), 0);
    expect_code(put(3, BELAY__BATCH_OUTPUT, ""), 0);
    expect_file(out_path, "012345\n");
    expect_file(err_path, "2\n");
    cr_expect(eq(sz, writer_finish(false), 2));
    expect_file(out_path, "012345\n");
    limit_file_size(RLIM_INFINITY);
    cr_expect(eq(sz, writer_finish(false), 0));
    expect_file(out_path, "012345\n12\n\n");
    expect_code(writer.code, -EFBIG);
}

/* One is too much to be kept. When there is room later, what would come behind
 * it is not written, as the next run writes that one.
 */
Test(batch_kept, b9_b19_nothing_comes_behind_a_lost_line)
{
    const size_t len = (size_t)65 << 20;
    char *large = malloc(len + 1);

    cr_assert(ne(ptr, large, NULL));
    memset(large, 'x', len);
    large[len] = '\0';
    cr_assert(eq(int, open_both(4), 0));
    limit_file_size(2);
    expect_code(put(1, BELAY__BATCH_OUTPUT, "1"), 0);
    expect_code(put(2, BELAY__BATCH_ERRORS, "2"), 0);
    expect_code(put(0, BELAY__BATCH_OUTPUT, large), -EFBIG);
    free(large);
    limit_file_size(RLIM_INFINITY);
    cr_expect(eq(sz, writer_finish(false), 2));
    expect_file(out_path, "");
    expect_file(err_path, "(none)");
}

/* In input order none goes past another, whichever file it is for. */
Test(batch_kept, b9_b19_kept_lines_keep_their_order)
{
    cr_assert(eq(int, open_both(4), 0));
    limit_file_size(2);
    expect_code(put(2, BELAY__BATCH_ERRORS, "2"), 0);
    expect_code(put(1, BELAY__BATCH_OUTPUT, "too long"), 0);
    expect_code(put(0, BELAY__BATCH_OUTPUT, "0"), 0);
    expect_code(put(3, BELAY__BATCH_OUTPUT, "3"), 0);
    expect_file(out_path, "0\n");
    expect_file(err_path, "(none)");
    cr_expect(eq(sz, writer_finish(false), 3));
    limit_file_size(RLIM_INFINITY);
    cr_expect(eq(sz, writer_finish(false), 0));
    expect_file(out_path, "0\ntoo long\n3\n");
    expect_file(err_path, "2\n");
}

/* Not more than 64 MiB are kept; what there was no room for is told. */
Test(batch_kept, b19_what_is_kept_has_a_limit)
{
    const size_t len = (size_t)24 << 20;
    char *line = malloc(len + 1);

    memset(line, 'x', len);
    line[len] = '\0';
    cr_assert(eq(int, open_both(0), 0));
    limit_file_size(4);
    expect_code(put(0, BELAY__BATCH_OUTPUT, line), 0);
    expect_code(put(1, BELAY__BATCH_OUTPUT, line), 0);
    expect_code(put(2, BELAY__BATCH_OUTPUT, line), -EFBIG);
    expect_code(put(3, BELAY__BATCH_OUTPUT, "3"), 0);
    cr_expect(eq(sz, writer_finish(false), 3));
    limit_file_size(RLIM_INFINITY);
    free(line);
}

/* A later run would put that line behind what is there. */
Test(batch_kept, b9_nothing_is_written_past_a_line_that_is_missing)
{
    cr_assert(eq(int, open_both(8), 0));
    expect_code(put(1, BELAY__BATCH_OUTPUT, "1"), 0);
    belay__batch_writer_skip(&writer, 0);
    expect_code(put(3, BELAY__BATCH_ERRORS, "3"), 0);
    expect_code(put(5, BELAY__BATCH_OUTPUT, "5"), 0);
    cr_expect(eq(sz, writer_finish(false), 2));
    expect_file(out_path, "1\n");
    expect_file(err_path, "(none)");
}
