/* sqlite_log.c - the log of a database, written in large pieces.
 *
 * SQLite writes a page into its log with two system calls, 24 bytes and the
 * page. Here both wait until there is a large piece of such, which takes half
 * the time. Invariants: bytes go to the file in the order in which they came
 * here; and before the last page of a commit is reported as written, all of it
 * is. Only after that SQLite tells other processes of the commit, so that they
 * never look for what is not in the file.
 */
#include "llm/record/sqlite_log.h"

#include "runtime/internal.h"

#include <stdio.h>
#include <string.h>

#define PIECE_BYTES ((size_t)0x1ffff) /* what xWrite takes, at most */
#define HEADER_BYTES 24 /* before each page: its number, then the last of … */
#define COMMIT_AT 4     /* … a commit has the size of the database here */

/* An open log; the usual file system's file lies behind it. */
struct log_file {
    sqlite3_file base;
    sqlite3_file *usual;
    char *piece;
    size_t len;          /* of what waits */
    sqlite3_int64 begin; /* where that belongs */
    sqlite3_int64 end;   /* of the log, as far as it was written from here */
    bool last;           /* the page that comes is the last of a commit */
};

static struct log_file *
of(sqlite3_file *file)
{
    return (struct log_file *)(void *)file;
}

/* Writes what waits. After an error it waits no more: the commit fails. */
static int
flush(struct log_file *file)
{
    const size_t len = file->len;

    file->len = 0;
    return len == 0 ? SQLITE_OK
                    : file->usual->pMethods->xWrite(
                        file->usual, file->piece, (int)len, file->begin);
}

static bool
is_commit(const void *data, size_t len)
{
    static const char none[4];

    return len == HEADER_BYTES
           && memcmp((const char *)data + COMMIT_AT, none, sizeof(none)) != 0;
}

/* Pages behind all others only. Within a log headers are written without their
 * pages, and the last one has to be there as soon as it is written.
 */
static bool
may_wait(const struct log_file *file, size_t len, sqlite3_int64 at)
{
    return file->len > 0 || (len == HEADER_BYTES && at >= file->end);
}

/* A log that begins anew has its first bytes written. */
static void
note_end(struct log_file *file, size_t len, sqlite3_int64 at)
{
    const sqlite3_int64 end = at + (sqlite3_int64)len;

    if (at == 0 || end > file->end) {
        file->end = end;
    }
}

static bool
fits_behind(const struct log_file *file, size_t len, sqlite3_int64 at)
{
    return file->len > 0 && at == file->begin + (sqlite3_int64)file->len
           && len <= PIECE_BYTES - file->len;
}

static int
log_write(sqlite3_file *base, const void *data, int count, sqlite3_int64 at)
{
    struct log_file *file = of(base);
    const size_t len = (size_t)count;
    const bool ends = file->last;
    int status = SQLITE_OK;

    if (!fits_behind(file, len, at)) {
        status = flush(file);
    }
    if (status != SQLITE_OK) {
        return status;
    }
    file->last = is_commit(data, len);
    if (!may_wait(file, len, at)) {
        note_end(file, len, at);
        return file->usual->pMethods->xWrite(file->usual, data, count, at);
    }
    note_end(file, len, at);
    if (file->len == 0) {
        file->begin = at;
    }
    memcpy(file->piece + file->len, data, len);
    file->len += len;
    return ends ? flush(file) : SQLITE_OK;
}

/* ---- what else is done with a log: first it has to be there ---- */

static int
log_read(sqlite3_file *base, void *ret, int count, sqlite3_int64 at)
{
    struct log_file *file = of(base);
    const int status = flush(file);

    return status == SQLITE_OK
               ? file->usual->pMethods->xRead(file->usual, ret, count, at)
               : status;
}

static int
log_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct log_file *file = of(base);
    const int status = flush(file);

    return status == SQLITE_OK
               ? file->usual->pMethods->xTruncate(file->usual, size)
               : status;
}

static int
log_sync(sqlite3_file *base, int flags)
{
    struct log_file *file = of(base);
    const int status = flush(file);

    return status == SQLITE_OK
               ? file->usual->pMethods->xSync(file->usual, flags)
               : status;
}

static int
log_size(sqlite3_file *base, sqlite3_int64 *ret)
{
    struct log_file *file = of(base);
    const int status = flush(file);

    return status == SQLITE_OK
               ? file->usual->pMethods->xFileSize(file->usual, ret)
               : status;
}

static int
log_close(sqlite3_file *base)
{
    struct log_file *file = of(base);
    const int status = flush(file);
    const int closed = file->usual->pMethods->xClose(file->usual);

    return status == SQLITE_OK ? closed : status;
}

static int
log_control(sqlite3_file *base, int what, void *arg)
{
    sqlite3_file *usual = of(base)->usual;

    return usual->pMethods->xFileControl(usual, what, arg);
}

static int
log_sector(sqlite3_file *base)
{
    sqlite3_file *usual = of(base)->usual;

    return usual->pMethods->xSectorSize(usual);
}

static int
log_traits(sqlite3_file *base)
{
    sqlite3_file *usual = of(base)->usual;

    return usual->pMethods->xDeviceCharacteristics(usual);
}

/* A log is never locked. */
static int
log_lock(sqlite3_file *base, int how)
{
    (void)base;
    (void)how;
    return SQLITE_OK;
}

static int
log_is_locked(sqlite3_file *base, int *ret)
{
    (void)base;
    *ret = 0;
    return SQLITE_OK;
}

/* ---- the file system ---- */

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = log_close,
    .xRead = log_read,
    .xWrite = log_write,
    .xTruncate = log_truncate,
    .xSync = log_sync,
    .xFileSize = log_size,
    .xLock = log_lock,
    .xUnlock = log_lock,
    .xCheckReservedLock = log_is_locked,
    .xFileControl = log_control,
    .xSectorSize = log_sector,
    .xDeviceCharacteristics = log_traits,
};

static int
open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *ret, int flags,
    int *ret_flags)
{
    struct belay__sqlite_log *log =
        BELAY__CONTAINER(vfs, struct belay__sqlite_log, vfs);
    struct log_file *file = of(ret);
    int status;

    if ((flags & SQLITE_OPEN_WAL) == 0) {
        return log->usual->xOpen(log->usual, name, ret, flags, ret_flags);
    }
    *file = (struct log_file){
        .usual = (sqlite3_file *)(void *)(file + 1), .piece = log->piece};
    file->usual->pMethods = NULL;
    status = log->usual->xOpen(log->usual, name, file->usual, flags, ret_flags);
    if (status == SQLITE_OK) {
        file->base.pMethods = &methods;
    } else if (file->usual->pMethods != NULL) {
        (void)file->usual->pMethods->xClose(file->usual);
    }
    return status;
}

int
belay__sqlite_log_init(
    struct belay__sqlite_log *log, struct belay__memory *memory)
{
    sqlite3_vfs *usual = sqlite3_vfs_find(NULL);

    if (usual == NULL) {
        return BELAY_ENOMEM; /* SQLite could not be made ready */
    }
    log->piece = belay__alloc(memory, PIECE_BYTES);
    if (log->piece == NULL) {
        return BELAY_ENOMEM;
    }
    log->memory = memory;
    log->usual = usual;
    log->vfs = *usual;
    (void)snprintf(log->name, sizeof(log->name), "belay-%p", (void *)log);
    log->vfs.pNext = NULL;
    log->vfs.zName = log->name;
    log->vfs.szOsFile += (int)sizeof(struct log_file);
    log->vfs.xOpen = open_file;
    if (sqlite3_vfs_register(&log->vfs, 0) != SQLITE_OK) {
        belay__free(memory, log->piece, PIECE_BYTES);
        log->piece = NULL;
        return BELAY_ENOMEM;
    }
    return 0;
}

void
belay__sqlite_log_fini(struct belay__sqlite_log *log)
{
    if (log->piece != NULL) {
        (void)sqlite3_vfs_unregister(&log->vfs);
        belay__free(log->memory, log->piece, PIECE_BYTES);
        log->piece = NULL;
    }
}
