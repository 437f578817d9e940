/* sink_sqlite.c - rows in an SQLite file.
 *
 * One connection for the life of the recorder, one transaction a commit. A
 * conversation's messages are stored once each, under the hash of themselves
 * and all before them; what an attempt says of its messages is in the same
 * transaction, so no attempt is there without them (L75, L77).
 *
 * Rows of texts stand in the order in which they came, beside an index by
 * hash: kept in the order of their hashes, each would dirty a page of its own.
 */
#include "llm/record/sqlite.h"

#include "llm/record/sqlite_schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

/* For others: `belay log --forget`, or a process that brings the file up to
 * date, may take long.
 */
#define BUSY_MS 60000
#define LOOK_STEPS 10000 /* of SQLite's, a millisecond or so */
#define PARAMS_MAX ((size_t)64 * 1024 * 1024)
#define NAME_MAX_BYTES ((size_t)16 * 1024 * 1024)

/* Large pages take few system calls. The cache, in KiB, holds a transaction, so
 * that none of it is written before its commit; the log is copied into the file
 * every 2,000 pages, since most pages of the index of messages, whose order is
 * random, change with each commit. No text of a prompt is to be in a temporary
 * file, or to stay where it was deleted.
 */
static const char settings[] = "PRAGMA page_size = 16384;"
                               "PRAGMA journal_mode = WAL;"
                               "PRAGMA synchronous = NORMAL;"
                               "PRAGMA cache_size = -16384;"
                               "PRAGMA temp_store = MEMORY;"
                               "PRAGMA secure_delete = ON;"
                               "PRAGMA trusted_schema = OFF;"
                               "PRAGMA wal_autocheckpoint = 2000;";

static struct belay__sqlite *
of(struct belay__sink *sink)
{
    return (struct belay__sqlite *)(void *)sink;
}

int
belay__sqlite_failed(const struct belay__sqlite *sqlite, char *why)
{
    (void)snprintf(why, BELAY__SINK_WHY_BYTES, "%s",
        sqlite->db != NULL ? sqlite3_errmsg(sqlite->db) : "out of memory");
    return BELAY_EIO;
}

static int
execute(struct belay__sqlite *sqlite, const char *sql, char *why)
{
    return sqlite3_exec(sqlite->db, sql, NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : belay__sqlite_failed(sqlite, why);
}

/* ---- opening ---- */

/* Of what SQLite made of a file before. */
static int
refused(struct belay__sqlite *sqlite, int status, int version, char *why)
{
    if (status != SQLITE_MISMATCH) {
        return belay__sqlite_failed(sqlite, why);
    }
    if (version > BELAY__SQLITE_VERSION) {
        (void)snprintf(why, BELAY__SINK_WHY_BYTES,
            "made by another version (schema %d, this one knows %d)", version,
            BELAY__SQLITE_VERSION);
    } else {
        (void)snprintf(why, BELAY__SINK_WHY_BYTES, "a database of others");
    }
    return BELAY_EIO;
}

/* Before anything is changed: is it new, or ours? */
static int
look_at_file(struct belay__sqlite *sqlite, char *why)
{
    int version = 0;
    const int status = belay__sqlite_version(sqlite->db, &version);

    return status == SQLITE_OK ? 0 : refused(sqlite, status, version, why);
}

/* Makes the tables of a new file, or brings old ones up to date. In a
 * transaction, since another process may do the same now.
 */
static int
upgrade(struct belay__sqlite *sqlite, char *why)
{
    int version = 0;
    int status = SQLITE_OK;
    int code = execute(sqlite, "BEGIN IMMEDIATE", why);

    if (code < 0) {
        return code;
    }
    status = belay__sqlite_version(sqlite->db, &version);
    if (status == SQLITE_OK) {
        status = belay__sqlite_upgrade(sqlite->db, version);
    }
    if (status == SQLITE_OK) {
        return execute(sqlite, "COMMIT", why);
    }
    code = refused(sqlite, status, version, why);
    (void)sqlite3_exec(sqlite->db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

static int
prepare_all(struct belay__sqlite *sqlite, char *why)
{
    if (belay__sqlite_add_tables(sqlite) != SQLITE_OK) {
        return belay__sqlite_failed(sqlite, why);
    }
    for (int i = 0; i < BELAY__STATEMENTS; i++) {
        if (sqlite3_prepare_v3(sqlite->db, belay__sqlite_statement(i), -1,
                SQLITE_PREPARE_PERSISTENT, &sqlite->prepared[i], NULL)
            != SQLITE_OK) {
            return belay__sqlite_failed(sqlite, why);
        }
    }
    return 0;
}

static int
add_run(struct belay__sqlite *sqlite, char *why)
{
    char sql[160];

    (void)snprintf(sql, sizeof(sql),
        "INSERT INTO run VALUES ('%s',"
        " CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER), %ld)",
        sqlite->opts.run, (long)getpid());
    return execute(sqlite, sql, why);
}

static void
sqlite_close(struct belay__sink *sink)
{
    struct belay__sqlite *sqlite = of(sink);

    for (int i = 0; i < BELAY__STATEMENTS; i++) {
        (void)sqlite3_finalize(sqlite->prepared[i]);
    }
    (void)sqlite3_close(sqlite->db);
    belay__free(sqlite->memory, sqlite->starts,
        sqlite->start_room * sizeof(*sqlite->starts));
    belay__free(
        sqlite->memory, sqlite->ends, sqlite->end_room * sizeof(*sqlite->ends));
    belay__free(sqlite->memory, sqlite->messages,
        sqlite->message_room * sizeof(*sqlite->messages));
    belay__sqlite_forget(sqlite);
    belay__buffer_fini(&sqlite->name);
    belay__buffer_fini(&sqlite->params);
    belay__hasher_fini(&sqlite->hasher);
    belay__memory_unref(sqlite->memory);
    free(sqlite);
}

/* Where a file cannot be made without being opened, as behind a link that leads
 * nowhere yet.
 */
static int
make_opened(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    return fd >= 0 ? close(fd) : -1;
}

/* SQLite makes its files as the umask says; these are nobody else's. One that
 * is there gets no descriptor of ours: to close that would give up the locks of
 * all that this process has opened of the file.
 */
static int
make_private(const char *path, char *why)
{
    struct stat status;
    int code = mknod(path, S_IFREG | 0600, 0);

    if (code != 0 && stat(path, &status) != 0) {
        code = make_opened(path);
    } else if (code != 0) {
        code = status.st_size == 0 && (status.st_mode & 077) != 0
                   ? chmod(path, 0600)
                   : 0;
    }
    if (code != 0) {
        (void)snprintf(why, BELAY__SINK_WHY_BYTES, "cannot be opened: %s",
            strerror(errno));
        return BELAY_EIO;
    }
    return 0;
}

/* ---- waiting for others ---- */

/* SQLite asks, while somebody else has the file: 0 gives up. */
static int
wait_more(void *arg, int waited)
{
    enum { STEP_MS = 5, STEPS_MAX = BUSY_MS / STEP_MS };
    struct belay__sqlite *sqlite = arg;
    const int haste = atomic_load(sqlite->opts.haste);

    if (haste == BELAY__SINK_HURRY || waited >= STEPS_MAX) {
        return 0;
    }
    if (haste == BELAY__SINK_LAST
        && (sqlite->opening || ++sqlite->last_waits > STEPS_MAX)) {
        return 0;
    }
    uv_sleep(STEP_MS);
    return 1;
}

/* … and now and then during an upgrade, which takes its time. */
static int
is_given_up(void *arg)
{
    const struct belay__sqlite *sqlite = arg;

    return atomic_load(sqlite->opts.haste) != BELAY__SINK_STEADY;
}

static int
sqlite_set_up(struct belay__sqlite *sqlite, char *why)
{
    int code = make_private(sqlite->opts.path, why);

    if (code < 0) {
        return code;
    }
    if (sqlite3_open_v2(sqlite->opts.path, &sqlite->db,
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL)
        != SQLITE_OK) {
        return belay__sqlite_failed(sqlite, why);
    }
    (void)sqlite3_busy_handler(sqlite->db, wait_more, sqlite);
    sqlite3_progress_handler(sqlite->db, LOOK_STEPS, is_given_up, sqlite);
    sqlite->opening = true;
    code = look_at_file(sqlite, why);
    if (code == 0) {
        code = execute(sqlite, settings, why);
    }
    if (code == 0) {
        code = upgrade(sqlite, why);
    }
    if (code == 0) {
        code = prepare_all(sqlite, why);
    }
    if (code == 0) {
        code = add_run(sqlite, why);
    }
    sqlite->opening = false;
    sqlite3_progress_handler(sqlite->db, 0, NULL, NULL);
    return code;
}

static int
sqlite_open(
    const struct belay__sink_opts *opts, struct belay__sink **ret, char *why)
{
    struct belay__sqlite *sqlite = calloc(1, sizeof(*sqlite));
    int code;

    if (sqlite == NULL) {
        return BELAY_ENOMEM;
    }
    sqlite->memory = belay__memory_new(NULL);
    if (sqlite->memory == NULL) {
        free(sqlite);
        return BELAY_ENOMEM;
    }
    sqlite->sink.kind = belay__sink_sqlite;
    sqlite->opts = *opts;
    belay__buffer_init(&sqlite->params, sqlite->memory, PARAMS_MAX);
    belay__buffer_init(&sqlite->name, sqlite->memory, NAME_MAX_BYTES);
    belay__recent_init(&sqlite->recent, sqlite->memory);
    belay__recent_init(&sqlite->names, sqlite->memory);
    code = belay__hasher_init(&sqlite->hasher);
    if (code == 0) {
        code = sqlite_set_up(sqlite, why);
    }
    if (code < 0) {
        sqlite_close(&sqlite->sink);
        return code;
    }
    *ret = &sqlite->sink;
    return 0;
}

/* ---- commits ---- */

void
belay__sqlite_forget(struct belay__sqlite *sqlite)
{
    belay__recent_clear(&sqlite->recent);
    belay__recent_clear(&sqlite->names);
    belay__seen_clear(&sqlite->seen);
}

static void
sqlite_rollback(struct belay__sink *sink)
{
    struct belay__sqlite *sqlite = of(sink);
    char why[BELAY__SINK_WHY_BYTES]; /* of the failure before it is known */

    sqlite->start_count = 0;
    sqlite->end_count = 0;
    belay__sqlite_forget(sqlite);
    (void)belay__sqlite_run(sqlite, BELAY__ROLLBACK, why);
}

/* Somebody else has written; messages may be gone (belay log --forget). */
static int
look_at_version(struct belay__sqlite *sqlite, char *why)
{
    sqlite3_stmt *query = sqlite->prepared[BELAY__DATA_VERSION];
    int64_t version;

    if (sqlite3_step(query) != SQLITE_ROW) {
        (void)belay__sqlite_failed(sqlite, why);
        (void)sqlite3_reset(query);
        return BELAY_EIO;
    }
    version = sqlite3_column_int64(query, 0);
    (void)sqlite3_reset(query);
    if (version != sqlite->data_version) {
        belay__sqlite_forget(sqlite);
        sqlite->data_version = version;
    }
    return 0;
}

static int
sqlite_begin(struct belay__sink *sink, char *why)
{
    int code;

    sink->homeless = 0;
    if (!sqlite3_get_autocommit(of(sink)->db)) {
        sqlite_rollback(sink); /* the last one could not be */
    }
    code = belay__sqlite_run(of(sink), BELAY__BEGIN, why);
    if (code == 0 && look_at_version(of(sink), why) < 0) {
        sqlite_rollback(sink);
        return BELAY_EIO;
    }
    return code;
}

static int
sqlite_write(struct belay__sink *sink, const struct belay__row *row, char *why)
{
    return belay__sqlite_write(of(sink), row, why);
}

static int
sqlite_commit(struct belay__sink *sink, char *why)
{
    const int code = belay__sqlite_flush(of(sink), why);

    return code == 0 ? belay__sqlite_run(of(sink), BELAY__COMMIT, why) : code;
}

static const struct belay__sink_kind kind = {
    .open = sqlite_open,
    .begin = sqlite_begin,
    .write = sqlite_write,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .close = sqlite_close,
};
const struct belay__sink_kind *const belay__sink_sqlite = &kind;
