/* writer.c - the two files that a batch writes. */
#include "llm/batch/writer.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEPT_BYTES ((size_t)64 << 20) /* of lines that no file takes (B19) */

/* Can a file be made at path, which is not there? */
static int
check_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    const size_t len = slash != NULL ? (size_t)(slash - path) + 1 : 0;
    char dir[PATH_MAX] = ".";

    if (path[0] == '\0') {
        return -ENOENT;
    }
    if (len >= sizeof(dir)) {
        return -ENAMETOOLONG;
    }
    if (len > 0) {
        memcpy(dir, path, len);
        dir[len] = '\0';
    }
    return faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

/* Says whether a file at path stands in the way, or none can be made. */
static int
check_path(const char *path, bool may_exist)
{
    struct stat info;

    if (strcmp(path, "-") == 0) {
        return 0;
    }
    if (stat(path, &info) < 0) {
        return errno == ENOENT ? check_directory(path) : -errno;
    }
    if (S_ISDIR(info.st_mode)) {
        return -EISDIR;
    }
    return S_ISREG(info.st_mode) && info.st_size > 0 && !may_exist ? BELAY_EBUSY
                                                                   : 0;
}

static int
sink_open(struct belay__batch_sink *sink)
{
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    struct stat info;

    if (strcmp(sink->path, "-") == 0) {
        sink->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    } else {
        sink->fd = open(sink->path, flags, 0600);
    }
    if (sink->fd < 0) {
        return -errno;
    }
    if (fstat(sink->fd, &info) == 0 && S_ISREG(info.st_mode)) {
        sink->regular = true;
        sink->ours = strcmp(sink->path, "-") != 0;
        sink->end = info.st_size;
    }
    return 0;
}

/* Is the open output what lies at path? Devices do not count. */
static bool
is_output(const struct belay__batch_sink *output, const char *path)
{
    struct stat info;
    struct stat other;

    return output->regular && strcmp(path, "-") != 0
           && fstat(output->fd, &info) == 0 && stat(path, &other) == 0
           && info.st_dev == other.st_dev && info.st_ino == other.st_ino;
}

/* What earlier runs have left, once nothing else can go wrong. */
static int
remove_old(struct belay__batch_writer *writer, const char **ret_path)
{
    struct belay__batch_sink *output = &writer->output;
    const char *errors = writer->errors.path;
    struct stat info;

    if (errors != NULL && stat(errors, &info) == 0 && S_ISREG(info.st_mode)
        && unlink(errors) < 0 && errno != ENOENT) {
        *ret_path = errors;
        return -errno;
    }
    if (output->regular && strcmp(output->path, "-") != 0) {
        if (ftruncate(output->fd, 0) < 0) {
            return -errno;
        }
        output->end = 0;
    }
    return 0;
}

static void
sink_close(struct belay__batch_sink *sink)
{
    if (sink->fd >= 0) {
        (void)close(sink->fd);
        sink->fd = -1;
    }
}

static int
early_init(struct belay__batch_writer *writer, size_t window)
{
    if (window == 0) {
        return 0;
    }
    if (window > SIZE_MAX / sizeof(*writer->early)) {
        return BELAY_ENOMEM;
    }
    writer->early =
        belay__alloc_zero(writer->memory, window * sizeof(*writer->early));
    if (writer->early == NULL) {
        return BELAY_ENOMEM;
    }
    writer->window = window;
    return 0;
}

int
belay__batch_writer_check(
    const struct belay__batch_writer_opts *opts, const char **ret_path)
{
    const bool may_exist = opts->overwrite || opts->append;
    int code;

    *ret_path = opts->output_path;
    code = check_path(opts->output_path, may_exist);
    if (code == 0 && opts->errors_path != NULL) {
        *ret_path = opts->errors_path;
        code = check_path(opts->errors_path, may_exist);
    }
    return code;
}

static int
open_output(
    struct belay__batch_writer *writer, bool overwrite, const char **ret_path)
{
    int code;

    *ret_path = writer->output.path;
    code = sink_open(&writer->output);
    if (code < 0) {
        return code;
    }
    if (writer->errors.path != NULL
        && is_output(&writer->output, writer->errors.path)) {
        *ret_path = writer->errors.path;
        return BELAY_EINVAL;
    }
    return overwrite ? remove_old(writer, ret_path) : 0;
}

int
belay__batch_writer_open(struct belay__batch_writer *writer,
    struct belay__memory *memory, const struct belay__batch_writer_opts *opts,
    const char **ret_path)
{
    int code;

    *writer = (struct belay__batch_writer){
        .memory = memory,
        .output = {.path = opts->output_path, .fd = -1},
        .errors = {.path = opts->errors_path, .fd = -1},
    };
    code = belay__batch_writer_check(opts, ret_path);
    if (code == 0) {
        code = early_init(writer, opts->window);
    }
    if (code == 0) {
        code = open_output(writer, opts->overwrite, ret_path);
    }
    if (code < 0) {
        belay__batch_writer_close(writer);
    }
    return code;
}

static void
held_free(struct belay__batch_writer *writer, struct belay__batch_held *line)
{
    if (line != NULL) {
        belay__free(writer->memory, line, sizeof(*line) + line->len);
    }
}

void
belay__batch_writer_close(struct belay__batch_writer *writer)
{
    struct belay__batch_held *line;

    while ((line = writer->kept) != NULL) {
        writer->kept = line->next;
        held_free(writer, line);
    }
    for (size_t i = 0; i < writer->window; i++) {
        held_free(writer, writer->early[i].line);
    }
    belay__free(
        writer->memory, writer->early, writer->window * sizeof(*writer->early));
    writer->early = NULL;
    writer->window = 0;
    sink_close(&writer->output);
    sink_close(&writer->errors);
}

/* Waits until a pipe that somebody made non-blocking takes more. */
static void
wait_writable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};

    (void)poll(&poll_fd, 1, -1);
}

/* Back to the last whole line. If even that fails, nothing more can be done:
 * the resumed run finds the torn line.
 */
static int
cut_back(const struct belay__batch_sink *sink)
{
    if (!sink->regular || !sink->ours) {
        return -ESPIPE;
    }
    return ftruncate(sink->fd, sink->end) < 0 ? -errno : 0;
}

/* Regular files take a line whole or not at all; pipes may take it in parts. */
static int
sink_write(struct belay__batch_sink *sink, const char *data, size_t len)
{
    size_t done = 0;
    ssize_t n;

    while (done < len) {
        n = write(sink->fd, data + done, len - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            wait_writable(sink->fd);
            continue;
        }
        if (n <= 0) {
            const int code = n < 0 ? -errno : BELAY_EIO;

            (void)cut_back(sink);
            return code;
        }
        done += (size_t)n;
    }
    sink->end += (int64_t)len;
    sink->dirty = true;
    return 0;
}

static struct belay__batch_sink *
sink_of(struct belay__batch_writer *writer, enum belay__batch_file file)
{
    return file == BELAY__BATCH_ERRORS && writer->errors.path != NULL
               ? &writer->errors
               : &writer->output;
}

/* Why the file takes nothing now, or 0. In input order what has stopped one
 * file stops both: a line goes to either by how it ends.
 */
static int
code_of(const struct belay__batch_writer *writer,
    const struct belay__batch_sink *sink)
{
    if (sink->code == 0 && writer->window > 0) {
        return writer->output.code < 0 ? writer->output.code
                                       : writer->errors.code;
    }
    return sink->code;
}

/* The line ends with its newline. */
static int
write_line(struct belay__batch_writer *writer, enum belay__batch_file file,
    const char *line, size_t len)
{
    struct belay__batch_sink *sink = sink_of(writer, file);
    int code = code_of(writer, sink);

    if (code < 0) {
        return code;
    }
    if (sink->fd < 0) {
        code = sink_open(sink);
    }
    if (code == 0) {
        code = sink_write(sink, line, len);
    }
    if (code < 0) {
        sink->code = code;
        if (writer->code == 0) {
            writer->code = code;
            writer->failed_path = sink->path;
        }
        return code;
    }
    writer->lines++;
    return 0;
}

/* ---- lines in memory ---- */

static struct belay__batch_held *
held_new(struct belay__batch_writer *writer,
    const struct belay__batch_kind *kind, const char *text, size_t len)
{
    struct belay__batch_held *line =
        belay__alloc(writer->memory, sizeof(*line) + len);

    if (line != NULL) {
        *line = (struct belay__batch_held){.kind = *kind, .len = len};
        memcpy(line->text, text, len);
    }
    return line;
}

static void
keep(struct belay__batch_writer *writer, struct belay__batch_held *line)
{
    struct belay__batch_held **end = &writer->kept;

    while (*end != NULL) {
        end = &(*end)->next;
    }
    line->next = NULL;
    *end = line;
    writer->kept_bytes += line->len;
}

/* Writes the line or keeps it. Errors: why it could not be written, and there
 * is no room to keep it.
 */
static int
write_or_keep(struct belay__batch_writer *writer,
    const struct belay__batch_kind *kind, const char *text, size_t len)
{
    const int code = write_line(writer, kind->file, text, len);
    struct belay__batch_held *line = NULL;

    if (code == 0) {
        return 0;
    }
    if (!writer->lost && writer->kept_bytes + len <= KEPT_BYTES) {
        line = held_new(writer, kind, text, len);
    }
    if (line == NULL) {
        writer->lost |= writer->window > 0; /* none may come behind it */
        return code;
    }
    keep(writer, line);
    return 0;
}

/* Writes the line unless it would come behind one that is in no file. */
static bool
put_down(
    struct belay__batch_writer *writer, const struct belay__batch_held *line)
{
    return !writer->lost
           && write_line(writer, line->kind.file, line->text, line->len) == 0;
}

/* Writes the early lines that have become due, or keeps them. */
static void
write_due(struct belay__batch_writer *writer)
{
    struct belay__batch_early *early =
        &writer->early[writer->next % writer->window];
    struct belay__batch_held *line;

    while (early->there) {
        line = early->line;
        if (line != NULL && !put_down(writer, line)) {
            line->behind = writer->lost;
            keep(writer, line);
        } else {
            held_free(writer, line);
        }
        *early = (struct belay__batch_early){0};
        writer->next++;
        early = &writer->early[writer->next % writer->window];
    }
}

/* The place of a line that is not due yet. */
static struct belay__batch_early *
early_place(struct belay__batch_writer *writer, uint64_t sequence)
{
    assert(belay__batch_writer_has_room(writer, sequence));
    assert(!writer->early[sequence % writer->window].there);
    return &writer->early[sequence % writer->window];
}

static int
put_early(struct belay__batch_writer *writer, uint64_t sequence,
    const struct belay__batch_kind *kind, const char *text, size_t len)
{
    struct belay__batch_held *line = held_new(writer, kind, text, len);

    if (line == NULL) {
        return BELAY_ENOMEM;
    }
    *early_place(writer, sequence) = (struct belay__batch_early){true, line};
    return 0;
}

int
belay__batch_writer_put(struct belay__batch_writer *writer, uint64_t sequence,
    const struct belay__batch_kind *kind, char *line, size_t len)
{
    int code;

    line[len] = '\n';
    if (writer->window == 0) {
        return write_or_keep(writer, kind, line, len + 1);
    }
    if (sequence != writer->next) {
        return put_early(writer, sequence, kind, line, len + 1);
    }
    code = write_or_keep(writer, kind, line, len + 1);
    writer->next++;
    write_due(writer);
    return code;
}

void
belay__batch_writer_skip(struct belay__batch_writer *writer, uint64_t sequence)
{
    if (writer->window == 0) {
        return;
    }
    if (sequence != writer->next) {
        early_place(writer, sequence)->there = true;
        return;
    }
    writer->next++;
    write_due(writer);
}

/* ---- the end ---- */

/* Lines may be tried again on a file that ends with a whole line of ours. */
static void
sink_allow(struct belay__batch_sink *sink)
{
    if (sink->code < 0 && (sink->fd < 0 || cut_back(sink) == 0)) {
        sink->code = 0;
    }
}

/* Room may have been made meanwhile. What cannot be written stays, and unless
 * there may be gaps, what would come behind a lost line.
 */
static void
write_kept(struct belay__batch_writer *writer, bool gaps)
{
    struct belay__batch_held **at = &writer->kept;
    struct belay__batch_held *line;

    sink_allow(&writer->output);
    sink_allow(&writer->errors);
    while ((line = *at) != NULL) {
        if ((line->behind && !gaps)
            || write_line(writer, line->kind.file, line->text, line->len) < 0) {
            at = &line->next;
            continue;
        }
        *at = line->next;
        writer->kept_bytes -= line->len;
        held_free(writer, line);
    }
}

const struct belay__batch_held *
belay__batch_writer_finish(struct belay__batch_writer *writer, bool gaps)
{
    write_kept(writer, gaps);
    for (size_t i = 0; i < writer->window; i++) {
        write_due(writer);
        writer->next++; /* nothing comes in this place any more */
        writer->lost |= !gaps;
    }
    return writer->kept;
}

static int
take_dirty(struct belay__batch_sink *sink)
{
    if (!sink->regular || sink->fd < 0 || !sink->dirty) {
        return -1;
    }
    sink->dirty = false;
    return sink->fd;
}

int
belay__batch_writer_take_dirty(struct belay__batch_writer *writer)
{
    const int fd = take_dirty(&writer->output);

    return fd >= 0 ? fd : take_dirty(&writer->errors);
}
