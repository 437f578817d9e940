/* move_failed.c - failed lines that are to be tried again.
 *
 * They go into a file of their own: "errors.jsonl" becomes "errors.jsonl.1",
 * or the next number that is free. Where they lie among the replies the output
 * is written anew without them and takes the place of the old one in one
 * step. The journal says first that they are not in doubt: they had an end.
 * A crash between any two steps leaves each of them in a file that counts, or
 * not done.
 */
#include "llm/batch/resume.h"
#include "llm/batch/scan.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NUMBERS_MAX 10000
#define COPY_BYTES ((size_t)64 * 1024)

/* A file being written, a chunk at a time. */
struct copy {
    int fd;
    char *path;
    size_t path_size;
    struct belay__buffer bytes;
};

struct move {
    struct belay__batch_state *state;
    const char *path; /* where the failed lines are */
    bool all;         /* every line there has failed */
    int fd;           /* of path */
    struct copy kept; /* inline: the others */
    struct copy moved;
};

/* ---- copying ---- */

static int
copy_flush(struct copy *copy)
{
    const char *data = copy->bytes.data;
    size_t len = copy->bytes.len;
    ssize_t n;

    while (len > 0) {
        n = write(copy->fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : BELAY_EIO;
        }
        data += n;
        len -= (size_t)n;
    }
    belay__buffer_clear(&copy->bytes);
    return 0;
}

static int
copy_range(struct copy *copy, int fd, uint64_t from, uint64_t to)
{
    int code = 0;

    while (from < to && code == 0) {
        const size_t room = COPY_BYTES - copy->bytes.len;
        const size_t want = to - from < room ? (size_t)(to - from) : room;
        ssize_t n;

        n = pread(fd, copy->bytes.data + copy->bytes.len, want, (off_t)from);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : BELAY_EIO;
        }
        copy->bytes.len += (size_t)n;
        from += (uint64_t)n;
        if (copy->bytes.len == COPY_BYTES) {
            code = copy_flush(copy);
        }
    }
    return code;
}

/* "PATH.SUFFIX", new; with suffix NULL the first number that is free. */
static int
copy_open(struct move *move, struct copy *copy, const char *suffix)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;

    copy->path_size = strlen(move->path) + 24;
    copy->path = belay__alloc(move->state->memory, copy->path_size);
    belay__buffer_init(&copy->bytes, move->state->memory, COPY_BYTES);
    if (copy->path == NULL
        || belay__buffer_reserve(&copy->bytes, COPY_BYTES) < 0) {
        return BELAY_ENOMEM;
    }
    if (suffix != NULL) {
        (void)snprintf(
            copy->path, copy->path_size, "%s.%s", move->path, suffix);
        (void)unlink(copy->path); /* of a run that was killed here */
        copy->fd = open(copy->path, flags, 0600);
        return copy->fd < 0 ? -errno : 0;
    }
    for (int i = 1; i < NUMBERS_MAX; i++) {
        (void)snprintf(copy->path, copy->path_size, "%s.%d", move->path, i);
        copy->fd = open(copy->path, flags, 0600);
        if (copy->fd >= 0 || errno != EEXIST) {
            break;
        }
    }
    return copy->fd < 0 ? -errno : 0;
}

/* All of it, and onto the disk: the old file goes away after this. */
static int
copy_finish(struct copy *copy)
{
    const int code = copy_flush(copy);

    if (code == 0 && fdatasync(copy->fd) < 0) {
        return -errno;
    }
    return code;
}

static void
copy_close(struct move *move, struct copy *copy, bool keep)
{
    if (copy->fd >= 0) {
        (void)close(copy->fd);
        if (!keep) {
            (void)unlink(copy->path);
        }
    }
    belay__free(move->state->memory, copy->path, copy->path_size);
    belay__buffer_fini(&copy->bytes);
}

/* ---- the lines ---- */

static int
take_line(void *arg, const struct belay__scan *scan)
{
    struct move *move = arg;
    struct belay__batch_state *state = move->state;
    const uint64_t line = belay__scan_line(scan, state);
    const bool failed =
        line != 0 && (move->all || !belay__scan_is_success(scan));
    int code = 0;

    if (failed) {
        code = belay__batch_state_again(state, line);
        belay__line_set_remove(&state->done, line);
        state->again++;
    }
    if (code == 0 && state->journal.len >= COPY_BYTES) {
        code = belay__batch_state_flush(state);
    }
    if (code < 0 || move->all) {
        return code;
    }
    return copy_range(failed ? &move->moved : &move->kept, scan->fd,
        scan->start, scan->offset);
}

static int
move_name(const char *from, const char *to)
{
    return rename(from, to) < 0 ? -errno : 0;
}

/* A file of nothing but failed lines just gets another name. */
static int
replace(struct move *move)
{
    int code = belay__batch_state_flush(move->state);

    if (code == 0 && fdatasync(move->state->fd) < 0) {
        code = -errno;
    }
    if (code == 0 && move->all) {
        return move_name(move->path, move->moved.path);
    }
    if (code == 0) {
        code = copy_finish(&move->moved);
    }
    if (code == 0) {
        code = copy_finish(&move->kept);
    }
    return code == 0 ? move_name(move->kept.path, move->path) : code;
}

static int
move_lines(struct move *move)
{
    struct belay__scan scan;
    int code;

    move->fd = open(move->path, O_RDONLY | O_CLOEXEC);
    if (move->fd < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    code = copy_open(move, &move->moved, NULL);
    if (code == 0 && !move->all) {
        code = copy_open(move, &move->kept, "new");
    }
    scan = (struct belay__scan){.fd = move->fd};
    if (code == 0) {
        code = belay__scan_file(&scan, move->state->memory, take_line, move);
    }
    return code == 0 ? replace(move) : code;
}

int
belay__resume_move_failed(struct belay__batch_state *state,
    const char *output_path, const char *errors_path)
{
    struct move move = {
        .state = state,
        .path = errors_path != NULL ? errors_path : output_path,
        .all = errors_path != NULL,
        .fd = -1,
        .kept = {.fd = -1},
        .moved = {.fd = -1},
    };
    const int code = move_lines(&move);

    copy_close(&move, &move.moved, code == 0);
    copy_close(&move, &move.kept, code == 0);
    if (move.fd >= 0) {
        (void)close(move.fd);
    }
    state->failed = code == 0 ? 0 : state->failed;
    return code;
}
