/* test_batch_resume_failed.c - failed lines that are to be tried again: B18. */
#include "test/support/alloc.h"
#include "test/support/resume_scene.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(batch_resume_failed, .init = resume_set_up, .fini = resume_tear_down,
    .timeout = 60);

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

Test(batch_resume_failed, b18_the_error_file_gets_another_name)
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

Test(batch_resume_failed, b18_inline_error_lines_leave_the_output)
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

Test(batch_resume_failed, b18_long_lines_are_moved_whole)
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

Test(batch_resume_failed, b18_without_an_error_file_nothing_is_moved)
{
    add_lines(1, 2);
    cr_expect(eq(int, move_failed(false), 0));
    cr_expect(eq(u64, state.done.count, 2));
    cr_expect(not(test_file_exists("err.1")));
}

Test(batch_resume_failed, b18_what_cannot_be_moved_stays)
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
