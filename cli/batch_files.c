/* batch_files.c - the files that `belay batch` leaves besides its results.
 *
 * Each is written to a new file, which then takes the place of the old one: so
 * a full disk costs nobody the old one, and no link leads to a file of others.
 */
#define _GNU_SOURCE /* mkostemp() */

#include "cli/batch_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096

/* ---- which file is meant ---- */

/* Of a file to be made: the folder it will be in, and its name there. */
static const char *
find_folder(const char *path, struct stat *ret)
{
    const char *slash = strrchr(path, '/');
    const int len = slash != NULL ? (int)(slash - path) + 1 : 0;
    char folder[PATH_BYTES] = ".";

    if (len >= PATH_BYTES) {
        return NULL;
    }
    if (len > 0) {
        (void)snprintf(folder, sizeof(folder), "%.*s", len, path);
    }
    return stat(folder, ret) == 0 ? path + len : NULL;
}

static bool
is_same_inode(const struct stat *info, const struct stat *other)
{
    return info->st_dev == other->st_dev && info->st_ino == other->st_ino;
}

/* Do both lead to one file, or will they? "-" is the descriptor. Whoever
 * writes to a terminal or to /dev/null twice destroys nothing.
 */
static bool
is_same(const char *path, const char *other, int descriptor)
{
    struct stat a;
    struct stat b;
    const bool there = stat(path, &a) == 0;
    const char *name;
    const char *other_name;

    if (strcmp(other, "-") == 0) {
        return there && fstat(descriptor, &b) == 0 && is_same_inode(&a, &b)
               && !S_ISCHR(a.st_mode);
    }
    if (there || stat(other, &b) == 0) {
        return there && stat(other, &b) == 0 && is_same_inode(&a, &b)
               && !S_ISCHR(a.st_mode);
    }
    name = find_folder(path, &a);
    other_name = find_folder(other, &b);
    return name != NULL && other_name != NULL && is_same_inode(&a, &b)
           && strcmp(name, other_name) == 0;
}

bool
belay__batch_stats_path(
    const struct belay__batch_options *options, char *ret, size_t size)
{
    const char *output = options->batch.output_path;
    struct stat info;

    /* Beside a device there is no place for it. */
    return strcmp(output, "-") != 0
           && (stat(output, &info) < 0 || S_ISREG(info.st_mode))
           && snprintf(ret, size, "%s.stats.json", output) < (int)size;
}

/* Says so if path is what the run reads or writes otherwise. */
static bool
is_free(const struct belay__batch_options *options, const char *path)
{
    char state[PATH_BYTES];
    const struct {
        const char *path;
        const char *what;
        int descriptor;
    } others[] = {
        {options->batch.input_path, "the input", STDIN_FILENO},
        {options->batch.output_path, "the output", STDOUT_FILENO},
        {options->batch.errors_path, "the error file", STDOUT_FILENO},
        {state, "the state of the job", -1},
        {options->prices_path, "the price file", -1},
        {options->key_path, "the file of the key", -1},
        {options->batch.ca_file, "the file of authorities", -1},
    };

    (void)snprintf(
        state, sizeof(state), "%s.state", options->batch.output_path);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (others[i].path != NULL
            && is_same(path, others[i].path, others[i].descriptor)) {
            (void)fprintf(stderr,
                "belay batch: '%s' would be written over, and is %s\n", path,
                others[i].what);
            return false;
        }
    }
    return true;
}

/* ---- writing ---- */

/* Is there a file that can be replaced, or nothing? What is a link is neither:
 * it may lead anywhere by the time it is written to.
 */
static bool
is_replaceable(const char *path)
{
    struct stat info;

    return lstat(path, &info) < 0 ? errno == ENOENT : S_ISREG(info.st_mode);
}

static int
open_device(const char *path)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    struct stat info;

    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
        (void)close(fd);
        errno = ELOOP; /* a link to a file */
        return -1;
    }
    return fd;
}

/* A new file beside path; temporary receives its name, "" for a device. */
static int
open_beside(const char *path, char temporary[PATH_BYTES])
{
    temporary[0] = '\0';
    if (!is_replaceable(path)) {
        return open_device(path);
    }
    if (snprintf(temporary, PATH_BYTES, "%s.XXXXXX", path) >= PATH_BYTES) {
        temporary[0] = '\0';
        errno = ENAMETOOLONG;
        return -1;
    }
    return mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
}

static bool
write_all(int fd, const struct belay__buffer *buffer)
{
    size_t done = 0;
    ssize_t n;

    while (done < buffer->len) {
        n = write(fd, buffer->data + done, buffer->len - done);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void
say_unwritable(const char *path)
{
    (void)fprintf(stderr, "belay batch: cannot write '%s': %s\n", path,
        errno == ELOOP ? "it is a link" : strerror(errno));
}

void
belay__batch_write_file(const char *path, const struct belay__buffer *buffer)
{
    char temporary[PATH_BYTES];
    const int fd = open_beside(path, temporary);
    bool good = fd >= 0 && write_all(fd, buffer);

    good = fd >= 0 && close(fd) == 0 && good;
    good = good && (temporary[0] == '\0' || rename(temporary, path) == 0);
    if (good) {
        return;
    }
    say_unwritable(path);
    if (fd >= 0 && temporary[0] != '\0') {
        (void)unlink(temporary);
    }
}

/* Tries it, and leaves nothing behind. A device is not opened: whoever reads
 * from a pipe would take that for the end.
 */
static bool
is_writable(const char *path)
{
    char temporary[PATH_BYTES];
    struct stat info;
    int fd;

    if (!is_replaceable(path) && stat(path, &info) == 0
        && (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode))) {
        return access(path, W_OK) == 0;
    }
    fd = open_beside(path, temporary);
    if (fd < 0) {
        return false;
    }
    (void)close(fd);
    (void)unlink(temporary);
    return true;
}

bool
belay__batch_check_files(const struct belay__batch_options *options)
{
    const char *page = options->report_path;
    char stats[PATH_BYTES];

    if (belay__batch_stats_path(options, stats, sizeof(stats))) {
        if (page != NULL && is_same(page, stats, -1)) {
            (void)fprintf(stderr,
                "belay batch: '%s' is for the counts of the run\n", page);
            return false;
        }
        if (!is_free(options, stats)) {
            return false;
        }
    }
    if (page == NULL) {
        return true;
    }
    if (page[0] == '\0' || strcmp(page, "-") == 0) {
        (void)fprintf(
            stderr, "belay batch: --report needs a file, not '%s'\n", page);
        return false;
    }
    if (!is_free(options, page)) {
        return false;
    }
    if (!is_writable(page)) {
        say_unwritable(page);
        return false;
    }
    return true;
}
