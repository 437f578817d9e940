/* sink_jsonl.c - rows as lines of JSON.
 *
 * One write(2) for a commit. After one that fell short the file is cut back to
 * its last whole line; a crash may leave half a line at the end, which the
 * next open cuts off.
 */
#include "llm/record/sink.h"

#include "llm/json/scan.h"
#include "llm/json/write.h"
#include "llm/record/hash.h"
#include "runtime/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define BATCH_MAX ((size_t)512 * 1024 * 1024)
#define TAIL_BYTES 65536

struct jsonl {
    struct belay__sink sink;
    struct belay__memory *memory; /* the thread's own */
    struct belay__buffer lines;
    struct belay__sink_opts opts;
    struct belay__hasher hasher;
    int fd;
    off_t end; /* behind the last whole line */
};

const char *
belay__record_status_name(enum belay__record_status status)
{
    switch (status) {
    case BELAY__RECORD_OK:
        return "ok";
    case BELAY__RECORD_ERROR:
        return "error";
    case BELAY__RECORD_CANCELLED:
        return "cancelled";
    case BELAY__RECORD_TRUNCATED:
        return "truncated";
    }
    return "unknown";
}

static struct jsonl *
of(struct belay__sink *sink)
{
    return (struct jsonl *)(void *)sink;
}

static int
failed(char *why, const char *what)
{
    (void)snprintf(why, BELAY__SINK_WHY_BYTES, "%s: %s", what, strerror(errno));
    return BELAY_EIO;
}

/* ---- opening ---- */

/* Where the last line break is. */
static int
find_end(int fd, off_t *ret, char *why)
{
    char buffer[TAIL_BYTES];
    off_t at = lseek(fd, 0, SEEK_END);
    ssize_t got;

    while (at > 0) {
        const size_t len =
            at < (off_t)sizeof(buffer) ? (size_t)at : sizeof(buffer);

        got = pread(fd, buffer, len, at - (off_t)len);
        if (got != (ssize_t)len) {
            return failed(why, "cannot be read");
        }
        for (size_t i = len; i > 0; i--) {
            if (buffer[i - 1] == '\n') {
                *ret = at - (off_t)(len - i);
                return 0;
            }
        }
        at -= (off_t)len;
    }
    *ret = 0;
    return at < 0 ? failed(why, "cannot be read") : 0;
}

/* Behind the last line break: is it a line that only lacks its own? */
static int
is_line(struct jsonl *jsonl, size_t len, bool *ret, char *why)
{
    int code = 0;

    *ret = false;
    if (len == 0 || len > BATCH_MAX) {
        return 0;
    }
    code = belay__buffer_reserve(&jsonl->lines, len);
    if (code < 0) {
        return code;
    }
    if (pread(jsonl->fd, jsonl->lines.data, len, jsonl->end) != (ssize_t)len) {
        return failed(why, "cannot be read");
    }
    *ret = belay__json_check(
               (struct belay_slice){jsonl->lines.data, len}, NULL, NULL)
           == 0;
    return 0;
}

/* Half a line at the end is of a crash, and the next one goes over it. A whole
 * one is not, as when an editor has taken the last line break.
 */
static int
end_last_line(struct jsonl *jsonl, char *why)
{
    const off_t size = lseek(jsonl->fd, 0, SEEK_END);
    bool whole;
    int code;

    if (size < 0) {
        return failed(why, "cannot be read");
    }
    code = is_line(jsonl, (size_t)(size - jsonl->end), &whole, why);
    if (code < 0 || !whole) {
        return code;
    }
    if (pwrite(jsonl->fd, "\n", 1, size) != 1) {
        return failed(why, "cannot be written");
    }
    jsonl->end = size + 1;
    return 0;
}

/* A text of somebody's is left alone: what is there begins as a record does,
 * which may have been cut right in its beginning.
 */
static int
look_at_start(int fd, char *why)
{
    static const char ours[] = "{\"row\"";
    char start[sizeof(ours) - 1];
    const off_t size = lseek(fd, 0, SEEK_END);
    const size_t len =
        size < (off_t)sizeof(start) ? (size_t)size : sizeof(start);

    if (size <= 0) {
        return 0; /* also where nothing can be sought */
    }
    if (pread(fd, start, len, 0) != (ssize_t)len) {
        return failed(why, "cannot be read");
    }
    if (memcmp(start, ours, len) != 0 && start[0] != BELAY__RECORD_MARK) {
        (void)snprintf(why, BELAY__SINK_WHY_BYTES, "a file of others");
        return BELAY_EIO;
    }
    return 0;
}

static int
find_place(struct jsonl *jsonl, char *why)
{
    int code = look_at_start(jsonl->fd, why);

    if (code == 0) {
        code = find_end(jsonl->fd, &jsonl->end, why);
    }
    return code == 0 ? end_last_line(jsonl, why) : code;
}

static int
jsonl_open(
    const struct belay__sink_opts *opts, struct belay__sink **ret, char *why)
{
    struct jsonl *jsonl = calloc(1, sizeof(*jsonl));
    int code = BELAY_ENOMEM;

    if (jsonl == NULL) {
        return code;
    }
    jsonl->memory = belay__memory_new(NULL);
    if (jsonl->memory == NULL) {
        goto free_sink;
    }
    jsonl->sink.kind = &belay__sink_jsonl;
    jsonl->opts = *opts;
    belay__buffer_init(&jsonl->lines, jsonl->memory, BATCH_MAX);
    if (opts->text == BELAY_RECORD_HASHES) {
        code = belay__hasher_init(&jsonl->hasher);
    } else {
        code = 0;
    }
    if (code < 0) {
        goto free_memory;
    }
    jsonl->fd = open(opts->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (jsonl->fd < 0) {
        code = failed(why, "cannot be opened");
        goto free_hasher;
    }
    /* Lines go to an offset of ours: two at once would write over each other,
     * and `belay log --forget` moves them. */
    if (flock(jsonl->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        (void)snprintf(
            why, BELAY__SINK_WHY_BYTES, "somebody else is writing to it");
        code = BELAY_EIO;
        goto close_file;
    }
    code = find_place(jsonl, why);
    if (code < 0) {
        goto close_file;
    }
    *ret = &jsonl->sink;
    return 0;

close_file:
    (void)close(jsonl->fd);
    belay__buffer_fini(&jsonl->lines);
free_hasher:
    belay__hasher_fini(&jsonl->hasher);
free_memory:
    belay__memory_unref(jsonl->memory);
free_sink:
    free(jsonl);
    return code;
}

/* ---- lines ---- */

/* A key as it stands in the line: none of ours needs escaping. */
#define KEY(name)                        \
    (struct belay_slice)                 \
    {                                    \
        "\"" name "\"", sizeof(name) + 1 \
    }

static void
key_text(struct belay__json_writer *line, struct belay_slice key,
    struct belay_slice text)
{
    if (text.len > 0) {
        belay__json_raw_key(line, key);
        belay__json_string(line, text);
    }
}

static void
key_int(struct belay__json_writer *line, struct belay_slice key, int64_t value)
{
    belay__json_raw_key(line, key);
    belay__json_int(line, value);
}

static int
key_hash(struct belay__json_writer *line, struct jsonl *jsonl,
    struct belay_slice key, struct belay_slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    char text[2 * BELAY__HASH_BYTES + 1] = "";
    struct belay__hash hash;
    const int code = belay__hash_of(&jsonl->hasher, bytes, &hash);

    if (code < 0) {
        return code;
    }
    for (size_t i = 0; i < BELAY__HASH_BYTES; i++) {
        text[2 * i] = digits[hash.bytes[i] >> 4];
        text[2 * i + 1] = digits[hash.bytes[i] & 15];
    }
    belay__json_raw_key(line, key);
    belay__json_text(line, text);
    return 0;
}

/* JSON as JSON, anything else as a string. */
static int
key_body(struct belay__json_writer *line, struct jsonl *jsonl,
    struct belay_slice body, bool checked)
{
    if (body.len == 0) {
        return 0;
    }
    if (jsonl->opts.text == BELAY_RECORD_HASHES) {
        return key_hash(line, jsonl, KEY("body_sha256"), body);
    }
    if (checked || belay__json_check(body, NULL, NULL) == 0) {
        belay__json_raw_key(line, KEY("body"));
        belay__json_raw_line(line, body);
    } else {
        key_text(line, KEY("body"), body);
    }
    return 0;
}

static int
write_start(struct belay__json_writer *line, struct jsonl *jsonl,
    const struct belay__row *row)
{
    key_text(line, KEY("session"), row->texts[BELAY__TEXT_SESSION]);
    key_text(line, KEY("turn"), row->texts[BELAY__TEXT_TURN]);
    key_text(line, KEY("parent_turn"), row->texts[BELAY__TEXT_PARENT_TURN]);
    key_int(line, KEY("number"), row->number);
    key_text(line, KEY("endpoint"), row->texts[BELAY__TEXT_ENDPOINT]);
    key_text(line, KEY("provider"), row->texts[BELAY__TEXT_PROVIDER]);
    key_text(line, KEY("model"), row->texts[BELAY__TEXT_MODEL]);
    key_int(line, KEY("started_us"), row->started_us);
    return key_body(line, jsonl, row->texts[BELAY__TEXT_BODY], row->checked);
}

static void
write_usage(
    struct belay__json_writer *line, const struct belay_llm_usage *usage)
{
    const struct {
        struct belay_slice key;
        int64_t count;
    } counts[] = {
        {KEY("in_total"), usage->in_total},
        {KEY("in_cache_read"), usage->in_cache_read},
        {KEY("in_cache_write_5m"), usage->in_cache_write_5m},
        {KEY("in_cache_write_1h"), usage->in_cache_write_1h},
        {KEY("in_audio"), usage->in_audio},
        {KEY("out_total"), usage->out_total},
        {KEY("out_reasoning"), usage->out_reasoning},
        {KEY("out_audio"), usage->out_audio},
    };

    if (usage->in_total < 0 && usage->out_total < 0) {
        return;
    }
    belay__json_raw_key(line, KEY("usage"));
    belay__json_open_object(line);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (counts[i].count >= 0) {
            key_int(line, counts[i].key, counts[i].count);
        }
    }
    belay__json_close_object(line);
}

static int
write_end(struct belay__json_writer *line, struct jsonl *jsonl,
    const struct belay__row *row)
{
    belay__json_raw_key(line, KEY("status"));
    belay__json_text(line, belay__record_status_name(row->status));
    if (row->http_status > 0) {
        key_int(line, KEY("http_status"), row->http_status);
    }
    if (row->code < 0) {
        belay__json_raw_key(line, KEY("code"));
        belay__json_text(line, belay_code_name(row->code));
    }
    key_text(line, KEY("model"), row->texts[BELAY__TEXT_MODEL]);
    key_text(line, KEY("request_id"), row->texts[BELAY__TEXT_REQUEST_ID]);
    key_text(line, KEY("message"), row->texts[BELAY__TEXT_MESSAGE]);
    key_text(line, KEY("end"), row->texts[BELAY__TEXT_END]);
    if (row->first_byte_us > 0) {
        key_int(line, KEY("first_byte_us"), row->first_byte_us);
    }
    key_int(line, KEY("ended_us"), row->ended_us);
    write_usage(line, &row->usage);
    key_int(line, KEY("cost_picodollars"), row->cost.amount.pico);
    if (row->cost.at_least) {
        belay__json_raw_key(line, KEY("cost_at_least"));
        belay__json_bool(line, true);
    }
    return key_body(line, jsonl, row->texts[BELAY__TEXT_BODY], row->checked);
}

static int
jsonl_write(struct belay__sink *sink, const struct belay__row *row, char *why)
{
    struct jsonl *jsonl = of(sink);
    struct belay__json_writer line;
    int code;

    belay__json_begin(&line, &jsonl->lines);
    belay__json_open_object(&line);
    belay__json_raw_key(&line, KEY("row"));
    belay__json_text(&line, row->kind == BELAY__ROW_START ? "start" : "end");
    belay__json_raw_key(&line, KEY("run"));
    belay__json_text(&line, jsonl->opts.run);
    belay__json_raw_key(&line, KEY("attempt"));
    belay__json_text(&line, row->attempt);
    code = row->kind == BELAY__ROW_START ? write_start(&line, jsonl, row)
                                         : write_end(&line, jsonl, row);
    belay__json_close_object(&line);
    if (code == 0) {
        code = belay__json_end(&line);
    }
    if (code == 0) {
        code = belay__buffer_append(&jsonl->lines, "\n", 1);
    }
    if (code < 0) {
        (void)snprintf(why, BELAY__SINK_WHY_BYTES, "%s", belay_code_text(code));
    }
    return code;
}

/* ---- commits ---- */

static int
jsonl_begin(struct belay__sink *sink, char *why)
{
    (void)why;
    belay__buffer_clear(&of(sink)->lines);
    return 0;
}

static int
jsonl_commit(struct belay__sink *sink, char *why)
{
    struct jsonl *jsonl = of(sink);
    size_t done = 0;
    ssize_t got;

    while (done < jsonl->lines.len) {
        got = pwrite(jsonl->fd, jsonl->lines.data + done,
            jsonl->lines.len - done, jsonl->end + (off_t)done);
        if (got < 0 && errno != EINTR) {
            return failed(why, "cannot be written");
        }
        done += got > 0 ? (size_t)got : 0;
    }
    jsonl->end += (off_t)done;
    return 0;
}

static void
jsonl_rollback(struct belay__sink *sink)
{
    struct jsonl *jsonl = of(sink);

    belay__buffer_clear(&jsonl->lines);
    /* If even that fails, the next commit writes over it. */
    (void)!ftruncate(jsonl->fd, jsonl->end);
}

static void
jsonl_close(struct belay__sink *sink)
{
    struct jsonl *jsonl = of(sink);

    (void)!ftruncate(jsonl->fd, jsonl->end); /* half a line of a crash */
    (void)close(jsonl->fd);
    belay__hasher_fini(&jsonl->hasher);
    belay__buffer_fini(&jsonl->lines);
    belay__memory_unref(jsonl->memory);
    free(jsonl);
}

const struct belay__sink_kind belay__sink_jsonl = {
    .open = jsonl_open,
    .begin = jsonl_begin,
    .write = jsonl_write,
    .commit = jsonl_commit,
    .rollback = jsonl_rollback,
    .close = jsonl_close,
};
