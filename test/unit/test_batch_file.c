/* test_batch_file.c - reading files and pipes without stalling the loop. */
#include "llm/batch/file.h"

#include "test/support/program.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void
no_sweeps(void)
{
    program_unswept = true; /* each trial would change the same files */
}

TestSuite(batch_file, .init = no_sweeps, .fini = check_clean, .timeout = 60);

#define TEXT "The quick brown fox jumps over the lazy dog."

/* Reads to the end, `room` bytes at a time, into one text. */
struct read_all {
    int fd;
    size_t room;
    char *text; /* with room for all and a NUL */
    size_t *len;
    size_t got;
};

BELAY_ASYNC(read_all)
{
    BELAY_BEGIN;
    *self->len = 0;
    do {
        BELAY_AWAIT(belay__file_read(
            task, self->fd, self->text + *self->len, self->room, &self->got));
        cr_assert(le(sz, self->got, self->room));
        *self->len += self->got;
    } while (self->got > 0);
    self->text[*self->len] = '\0';
    BELAY_END;
}

static int
make_file(const char *text)
{
    char path[] = "/tmp/belay-file-XXXXXX";
    const int fd = mkstemp(path);

    cr_assert(ge(int, fd, 0));
    (void)unlink(path);
    cr_assert(eq(int, (int)write(fd, text, strlen(text)), (int)strlen(text)));
    cr_assert(eq(int, (int)lseek(fd, 0, SEEK_SET), 0));
    return fd;
}

Test(batch_file, a_file_is_read_from_its_position_to_its_end)
{
    char text[100];
    size_t len;

    for (size_t room = 1; room < 60; room++) {
        const int fd = make_file(TEXT);

        cr_expect(eq(int,
            RUN(read_all, .fd = fd, .room = room, .text = text, .len = &len),
            0));
        cr_expect(eq(str, text, (char[]){TEXT}));
        cr_assert(eq(int, (int)lseek(fd, 4, SEEK_SET), 4));
        cr_expect(eq(int,
            RUN(read_all, .fd = fd, .room = room, .text = text, .len = &len),
            0));
        cr_expect(eq(str, text, (char[]){TEXT} + 4));
        (void)close(fd);
    }
}

Test(batch_file, an_empty_file_ends_at_once)
{
    const int fd = make_file("");
    char text[8];
    size_t len = 7;

    cr_expect(eq(
        int, RUN(read_all, .fd = fd, .room = 4, .text = text, .len = &len), 0));
    cr_expect(eq(sz, len, 0));
    (void)close(fd);
}

Test(batch_file, a_pipe_is_read_to_its_end)
{
    char text[100];
    size_t len;

    for (size_t room = 1; room < 60; room += 7) {
        int ends[2];

        cr_assert(eq(int, pipe(ends), 0));
        cr_assert(eq(
            int, (int)write(ends[1], TEXT, strlen(TEXT)), (int)strlen(TEXT)));
        (void)close(ends[1]);
        cr_expect(eq(int,
            RUN(read_all, .fd = ends[0], .room = room, .text = text,
                .len = &len),
            0));
        cr_expect(eq(str, text, (char[]){TEXT}));
        (void)close(ends[0]);
    }
}

Test(batch_file, a_socket_is_read_to_its_end)
{
    char text[100];
    size_t len;
    int ends[2];

    cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0));
    cr_assert(
        eq(int, (int)write(ends[1], TEXT, strlen(TEXT)), (int)strlen(TEXT)));
    (void)close(ends[1]);
    cr_expect(eq(int,
        RUN(read_all, .fd = ends[0], .room = 64, .text = text, .len = &len),
        0));
    cr_expect(eq(str, text, (char[]){TEXT}));
    (void)close(ends[0]);
}

/* The reader waits while another task of the same loop brings the bytes: it
 * does not stall the loop.
 */
struct feed {
    int fd;
    size_t i;
};

BELAY_ASYNC(feed)
{
    BELAY_BEGIN;
    for (self->i = 0; self->i < strlen(TEXT); self->i++) {
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_AWAIT(belay_checkpoint(task));
        cr_assert(eq(int, (int)write(self->fd, &TEXT[self->i], 1), 1));
    }
    (void)close(self->fd);
    BELAY_END;
}

struct feed_and_read {
    int from;
    int to;
    char *text;
    size_t *len;
    belay_group *group;
};

BELAY_ASYNC(feed_and_read)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, read_all, .fd = self->from,
            .room = 3, .text = self->text, .len = self->len));
        BELAY_CHECK(belay_spawn(self->group, feed, .fd = self->to));
    }
    BELAY_END;
}

Test(batch_file, a_pipe_is_waited_for_while_other_tasks_run)
{
    char text[100];
    size_t len;
    int ends[2];

    cr_assert(eq(int, pipe(ends), 0));
    /* The check for open files is for the whole: one end is closed inside. */
    cr_expect(eq(int,
        RUN_PLAIN(feed_and_read, .from = ends[0], .to = ends[1], .text = text,
            .len = &len),
        0));
    cr_expect(eq(str, text, (char[]){TEXT}));
    (void)close(ends[0]);
}

struct read_once {
    int fd;
    char *text;
    size_t *len;
};

BELAY_ASYNC(read_once)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay__file_read(task, self->fd, self->text, 10, self->len));
    BELAY_END;
}

/* Reads from a pipe that nothing is in, and thinks better of it. */
struct read_and_cancel {
    struct read_once read;
    belay_group *group;
    int i;
};

BELAY_ASYNC(read_and_cancel)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(
            belay_group_spawn(self->group, &read_once, &self->read, NULL));
        for (self->i = 0; self->i < 5; self->i++) {
            BELAY_AWAIT(belay_checkpoint(task));
        }
        belay_group_cancel(self->group, "no more time");
    }
    BELAY_END;
}

Test(batch_file, a_wait_for_a_pipe_can_be_cut_short)
{
    size_t len = 7;
    char text[16];
    int ends[2];

    cr_assert(eq(int, pipe(ends), 0));
    cr_expect(eq(int,
        RUN(read_and_cancel,
            .read = {.fd = ends[0], .text = text, .len = &len}),
        0));
    cr_expect(eq(sz, len, 7), "untouched");
    /* Nothing was taken, the pipe is as good as before. */
    cr_assert(eq(int, (int)write(ends[1], "late", 4), 4));
    cr_expect(
        eq(int, RUN(read_once, .fd = ends[0], .text = text, .len = &len), 0));
    cr_expect(eq(sz, len, 4));
    (void)close(ends[0]);
    (void)close(ends[1]);
}

Test(batch_file, a_bad_descriptor_is_an_error)
{
    size_t len = 7;
    char text[16];

    cr_expect(
        eq(int, RUN(read_once, .fd = 999, .text = text, .len = &len), -EBADF));
    cr_expect(eq(sz, len, 7));
}

Test(batch_file, a_directory_cannot_be_read)
{
    const int fd = open("/tmp", O_RDONLY | O_CLOEXEC);
    size_t len = 7;
    char text[16];

    cr_expect(
        eq(int, RUN(read_once, .fd = fd, .text = text, .len = &len), -EISDIR));
    (void)close(fd);
}

struct sync_file {
    int fd;
};

BELAY_ASYNC(sync_file)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay__file_sync(task, self->fd));
    BELAY_END;
}

Test(batch_file, b10_a_file_is_synced)
{
    const int fd = make_file(TEXT);
    int ends[2];

    cr_expect(eq(int, RUN(sync_file, .fd = fd), 0));
    (void)close(fd);
    cr_assert(eq(int, pipe(ends), 0));
    cr_expect(eq(int, RUN(sync_file, .fd = ends[0]), -EINVAL));
    (void)close(ends[0]);
    (void)close(ends[1]);
}

Test(batch_file, every_cancel_and_every_refused_allocation)
{
    const int fd = make_file(TEXT);
    int ends[2];
    char text[100];
    size_t len;

    SWEEP(read_all, .fd = fd, .room = 10, .text = text, .len = &len);
    SWEEP(sync_file, fd);
    (void)close(fd);
    cr_assert(eq(int, pipe(ends), 0));
    cr_assert(
        eq(int, (int)write(ends[1], TEXT, strlen(TEXT)), (int)strlen(TEXT)));
    (void)close(ends[1]);
    SWEEP(read_all, .fd = ends[0], .room = 10, .text = text, .len = &len);
    (void)close(ends[0]);
}
