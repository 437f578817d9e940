/* cut_writes.c - a process that is killed at a write; to be preloaded.
 *
 * The BELAY_CUT_AT-th change of a file by pwrite() or ftruncate() is the last:
 * half of what is to be written is, and then the process is killed. With
 * BELAY_CUT_LINES that many lines can be read, and then there is no memory. The
 * file BELAY_CUT_LOG is made at the first of either, so that a test knows that
 * somebody counts.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t __getdelim(char **line, size_t *room, int end, FILE *file);

static long
number_of(const char *name)
{
    const char *text = getenv(name);

    return text != NULL ? strtol(text, NULL, 10) : -1;
}

static void
tell(void)
{
    const char *log = getenv("BELAY_CUT_LOG");

    if (log != NULL) {
        (void)close(open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
}

static int
is_last(void)
{
    static long count;

    tell();
    return ++count == number_of("BELAY_CUT_AT");
}

ssize_t
pwrite64(int fd, const void *data, size_t len, off64_t at)
{
    if (is_last()) {
        (void)syscall(SYS_pwrite64, fd, data, len / 2, at);
        (void)kill(getpid(), SIGKILL);
    }
    return syscall(SYS_pwrite64, fd, data, len, at);
}

int
ftruncate64(int fd, off64_t len)
{
    if (is_last()) {
        (void)kill(getpid(), SIGKILL);
    }
    return (int)syscall(SYS_ftruncate, fd, len);
}

/* What getline() is in headers that inline it. */
ssize_t
__getdelim(char **line, size_t *room, int end, FILE *file)
{
    static long count;

    tell();
    if (count++ == number_of("BELAY_CUT_LINES")) {
        errno = ENOMEM;
        return -1;
    }
    return getdelim(line, room, end, file);
}

ssize_t
getline(char **line, size_t *room, FILE *file)
{
    return __getdelim(line, room, '\n', file);
}
