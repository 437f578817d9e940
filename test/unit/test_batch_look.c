/* test_batch_look.c - looking at a job while somebody else runs it.
 *
 * What happens in the midst of a look is made to happen there by a flock() and
 * a pread() of our own.
 */
#include "llm/batch/look.h"

#include "llm/batch/state.h"
#include "test/support/files.h"
#include "test/support/memory.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct belay__batch_state state;
static const struct belay__batch_bill bill = {.reserved = 10, .most = 9};
static char why[BELAY__BATCH_WHY];
static struct belay__batch_look look;

static int refused_locks; /* so many more are held by somebody */
static bool run_goes_on;  /* once, when the end of the output was read */

int
flock(int fd, int operation)
{
    if ((operation & LOCK_EX) != 0 && refused_locks > 0) {
        refused_locks--;
        errno = EWOULDBLOCK;
        return -1;
    }
    return (int)syscall(SYS_flock, fd, operation);
}

static void
note_sent(uint64_t line)
{
    uint64_t mark = 0;

    cr_assert(
        eq(int, belay__batch_state_sent(&state, line, 0, &bill, &mark), 0));
    cr_assert(eq(int, belay__batch_state_commit(&state, mark), 0));
}

static bool
is_output(int fd)
{
    struct stat info;
    struct stat other;

    return fstat(fd, &info) == 0 && stat(test_file("out"), &other) == 0
           && info.st_ino == other.st_ino;
}

ssize_t
pread(int fd, void *buffer, size_t size, off_t offset)
{
    const ssize_t n = (ssize_t)syscall(SYS_pread64, fd, buffer, size, offset);

    if (n == 0 && run_goes_on && is_output(fd)) {
        run_goes_on = false;
        note_sent(5);
        test_file_add_line("out", state.job, 5);
        note_sent(6);
    }
    return n;
}

static int
open_state(struct belay__batch_state *ret)
{
    const int fd = open(test_file("in"), O_RDONLY | O_CLOEXEC);
    const struct belay__batch_state_opts opts = {
        .output_path = test_file("out"),
        .errors_path = test_file("err"),
        .input_fd = fd,
        .input_size = test_file_size("in"),
    };
    const int code = belay__batch_state_open(ret, memory, &opts, why);

    (void)close(fd);
    return code;
}

/* A run that has done lines 1 and 2, and has 3 in flight. */
static void
set_up(void)
{
    open_memory();
    test_files_open();
    test_file_write("in", "one\ntwo\nthree\nfour\nfive\nsix\n");
    cr_assert(eq(int, open_state(&state), 0), "%s", why);
    cr_assert(eq(int, belay__batch_state_begin(&state, why), 0), "%s", why);
    for (uint64_t line = 1; line <= 3; line++) {
        note_sent(line);
    }
    test_file_add_line("out", state.job, 1);
    test_file_add_line("out", state.job, 2);
}

static void
tear_down(void)
{
    belay__batch_state_close(&state);
    test_files_close();
    close_memory();
}

TestSuite(batch_look, .init = set_up, .fini = tear_down, .timeout = 60);

static void
look_at_it(void)
{
    cr_assert(eq(int,
        belay__batch_look(memory, test_file("out"), test_file("err"), &look),
        0));
}

Test(batch_look, b12_a_run_at_work_is_looked_at)
{
    look_at_it();
    cr_expect(look.running);
    cr_expect(eq(u64, look.ok, 2));
    cr_expect(eq(u64, look.in_doubt, 1));
    cr_expect(eq(i64, look.uncertain, 30));
    belay__batch_state_close(&state);
    look_at_it();
    cr_expect(not(look.running));
}

/* Of what happens meanwhile nothing counts as sent and not done. */
Test(batch_look, b16_lines_that_a_run_sends_meanwhile_are_not_in_doubt)
{
    run_goes_on = true;
    look_at_it();
    cr_expect(not(run_goes_on));
    cr_expect(eq(u64, look.in_doubt, 1));
    look_at_it();
    cr_expect(eq(u64, look.ok, 3));
    cr_expect(eq(u64, look.in_doubt, 2));
}

Test(batch_look, b12_who_looks_keeps_no_run_from_beginning)
{
    struct belay__batch_state looked;
    uint64_t journal;
    bool runs;

    belay__batch_state_close(&state);
    cr_assert(eq(int,
        belay__batch_state_look(
            &looked, memory, test_file("out"), &journal, &runs),
        0));
    cr_expect(not(runs));
    cr_expect(eq(int, open_state(&state), 0), "%s", why);
    belay__batch_state_close(&looked);
}

/* Who looks has the lock for a moment: longer is a run. */
Test(batch_look, b12_a_lock_of_a_moment_is_no_other_run)
{
    belay__batch_state_close(&state);
    refused_locks = 3;
    cr_expect(eq(int, open_state(&state), 0), "%s", why);
    belay__batch_state_close(&state);
    refused_locks = 100000;
    cr_expect(eq(int, open_state(&state), BELAY_EBUSY));
    refused_locks = 0;
}

Test(batch_look, b16_b26_a_result_that_the_journal_does_not_know_is_told)
{
    test_file_add_line("out", state.job, 4);
    look_at_it();
    cr_expect(eq(i64, look.uncertain, 30), "a run may just be writing it");
    belay__batch_state_close(&state);
    look_at_it();
    cr_expect(eq(i64, look.uncertain, 40));
}
