/* log_rows.c - the attempts of a record, in memory. */
#include "cli/log_forget.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)64 * 1024)
#define INDEX_MIN 1024

struct belay__log_chunk {
    struct belay__log_chunk *next;
    size_t size; /* of data */
    size_t used;
    char data[];
};

const char *const belay__log_count_names[BELAY__LOG_COUNTS] = {"in_total",
    "in_cache_read", "in_cache_write_5m", "in_cache_write_1h", "in_audio",
    "out_total", "out_reasoning", "out_audio"};

int
belay__log_init(struct belay__log *log)
{
    *log = (struct belay__log){.memory = belay__memory_new(NULL)};
    return log->memory != NULL ? 0 : BELAY_ENOMEM;
}

void
belay__log_fini(struct belay__log *log)
{
    struct belay__log_chunk *chunk;

    if (log->memory == NULL) {
        return;
    }
    while (log->chunks != NULL) {
        chunk = log->chunks;
        log->chunks = chunk->next;
        belay__free(log->memory, chunk, sizeof(*chunk) + chunk->size);
    }
    belay__free(log->memory, log->rows, log->room * sizeof(*log->rows));
    belay__free(log->memory, log->index, log->index_room * sizeof(*log->index));
    belay__memory_unref(log->memory);
    *log = (struct belay__log){.memory = NULL};
}

int
belay__log_fail(struct belay__log *log, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(log->why, sizeof(log->why), format, arguments);
    va_end(arguments);
    return BELAY_EIO;
}

bool
belay__log_begins(struct belay_slice text, const char *start)
{
    const size_t len = strlen(start);

    return len == 0 || (text.len >= len && memcmp(text.data, start, len) == 0);
}

int
belay__log_keep(
    struct belay__log *log, struct belay_slice text, struct belay_slice *ret)
{
    struct belay__log_chunk *chunk = log->chunks;
    size_t size;

    if (text.len == 0) {
        *ret = (struct belay_slice){NULL, 0};
        return 0;
    }
    if (chunk == NULL || text.len > chunk->size - chunk->used) {
        size = text.len > CHUNK_BYTES ? text.len : CHUNK_BYTES;
        chunk = belay__alloc(log->memory, sizeof(*chunk) + size);
        if (chunk == NULL) {
            return BELAY_ENOMEM;
        }
        chunk->next = log->chunks;
        chunk->size = size;
        chunk->used = 0;
        log->chunks = chunk;
    }
    memcpy(chunk->data + chunk->used, text.data, text.len);
    *ret = (struct belay_slice){chunk->data + chunk->used, text.len};
    chunk->used += text.len;
    return 0;
}

/* ---- by id ---- */

static uint64_t
hash_of(struct belay_slice text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ (unsigned char)text.data[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static bool
same(struct belay_slice a, struct belay_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The place of an id in the index: its row's, or the free one for it. */
static size_t *
place_of(const struct belay__log *log, struct belay_slice id)
{
    const size_t mask = log->index_room - 1;
    size_t at = (size_t)hash_of(id) & mask;

    while (log->index[at] != 0 && !same(log->rows[log->index[at] - 1].id, id)) {
        at = (at + 1) & mask;
    }
    return &log->index[at];
}

static int
grow_index(struct belay__log *log)
{
    const size_t room = log->index_room == 0 ? INDEX_MIN : log->index_room * 2;
    size_t *index;

    if (log->index_room > 0 && log->count < log->index_room / 2) {
        return 0;
    }
    index = belay__alloc_zero(log->memory, room * sizeof(*index));
    if (index == NULL) {
        return BELAY_ENOMEM;
    }
    belay__free(log->memory, log->index, log->index_room * sizeof(*index));
    log->index = index;
    log->index_room = room;
    for (size_t i = 0; i < log->count; i++) {
        *place_of(log, log->rows[i].id) = i + 1;
    }
    return 0;
}

static int
grow_rows(struct belay__log *log)
{
    const size_t room = log->room == 0 ? 256 : log->room * 2;
    struct belay__log_row *rows;

    if (log->count < log->room) {
        return 0;
    }
    rows = belay__realloc(log->memory, log->rows, log->room * sizeof(*rows),
        room * sizeof(*rows));
    if (rows == NULL) {
        return BELAY_ENOMEM;
    }
    log->rows = rows;
    log->room = room;
    return 0;
}

int
belay__log_row(
    struct belay__log *log, struct belay_slice id, struct belay__log_row **ret)
{
    struct belay__log_row *row;
    size_t *place;
    int code = grow_index(log);

    if (code == 0) {
        code = grow_rows(log);
    }
    if (code < 0) {
        return code;
    }
    place = place_of(log, id);
    if (*place != 0) {
        *ret = &log->rows[*place - 1];
        return 0;
    }
    row = &log->rows[log->count];
    *row = (struct belay__log_row){.number = -1,
        .http_status = -1,
        .started_us = -1,
        .ended_us = -1,
        .cost_pico = -1};
    for (int i = 0; i < BELAY__LOG_COUNTS; i++) {
        row->counts[i] = -1;
    }
    code = belay__log_keep(log, id, &row->id);
    if (code < 0) {
        return code;
    }
    *place = ++log->count;
    *ret = row;
    return 0;
}

/* ---- files ---- */

enum kind {
    EMPTY,
    SQLITE,
    JSONL,
    OTHER,
};

/* By what is in it: names may be anything. */
static int
kind_of(struct belay__log *log, const char *path, enum kind *ret)
{
    char start[16];
    FILE *file = fopen(path, "re");
    size_t len;

    if (file == NULL) {
        return belay__log_fail(log, "%s", strerror(errno));
    }
    errno = 0;
    len = fread(start, 1, sizeof(start), file);
    if (ferror(file)) {
        (void)fclose(file);
        return belay__log_fail(log, "%s", strerror(errno));
    }
    (void)fclose(file);
    if (len == 0) {
        *ret = EMPTY;
    } else if (len == sizeof(start)
               && memcmp(start, "SQLite format 3", sizeof(start)) == 0) {
        *ret = SQLITE;
    } else {
        *ret =
            start[0] == '{' || start[0] == BELAY__RECORD_MARK ? JSONL : OTHER;
    }
    return 0;
}

static int
by_start(const void *a, const void *b)
{
    const struct belay__log_row *one = a;
    const struct belay__log_row *two = b;
    const size_t len = one->id.len < two->id.len ? one->id.len : two->id.len;

    if (one->started_us != two->started_us) {
        return one->started_us < two->started_us ? -1 : 1;
    }
    return len > 0 ? memcmp(one->id.data, two->id.data, len) : 0;
}

/* What the filter wants, by the time they began. */
static void
keep_wanted(struct belay__log *log, const struct belay__log_filter *filter)
{
    size_t kept = 0;

    for (size_t i = 0; i < log->count; i++) {
        const struct belay__log_row *row = &log->rows[i];

        if ((filter->session == NULL
                || belay__log_begins(row->session, filter->session))
            && (filter->id == NULL || belay__log_begins(row->id, filter->id)
                || belay__log_begins(row->turn, filter->id))) {
            log->rows[kept++] = *row;
        }
    }
    log->count = kept;
    if (kept > 1) {
        qsort(log->rows, kept, sizeof(*log->rows), by_start);
    }
    if (filter->last > 0 && kept > filter->last) {
        memmove(log->rows, log->rows + (kept - filter->last),
            (size_t)filter->last * sizeof(*log->rows));
        log->count = (size_t)filter->last;
    }
}

int
belay__log_read(struct belay__log *log, const char *path,
    const struct belay__log_filter *filter)
{
    enum kind kind = OTHER;
    int code = kind_of(log, path, &kind);

    if (code == 0 && kind == SQLITE) {
        code = belay__log_read_sqlite(log, path, filter);
    } else if (code == 0 && kind == JSONL) {
        code = belay__log_read_jsonl(log, path);
    } else if (code == 0 && kind == OTHER) {
        code = belay__log_fail(log, "not a record: neither SQLite nor JSONL");
    }
    if (code == 0) {
        keep_wanted(log, filter);
    }
    return code;
}

int
belay__log_forget_old(
    struct belay__log *log, const char *path, struct belay__log_forget *forget)
{
    enum kind kind = OTHER;
    int code = kind_of(log, path, &kind);

    if (code < 0 || kind == EMPTY) {
        return code;
    }
    if (kind == OTHER) {
        return belay__log_fail(log, "not a record: neither SQLite nor JSONL");
    }
    return kind == SQLITE ? belay__log_forget_sqlite(log, path, forget)
                          : belay__log_forget_jsonl(log, path, forget);
}

int
belay__log_said(struct belay__log *log, const char *path,
    struct belay_slice attempt, const struct belay__log_said *said)
{
    enum kind kind = OTHER;
    int code = kind_of(log, path, &kind);

    if (code < 0) {
        return code;
    }
    return kind == SQLITE ? belay__log_said_sqlite(log, path, attempt, said)
                          : belay__log_said_jsonl(log, path, attempt, said);
}
