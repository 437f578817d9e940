/* log_forget.c - takes attempts, or what was said in them, out of lines of
 * JSON.
 *
 * In place: lines that stay move towards the start of the file, over those
 * that go, and the end is cut off. No copy of what was said lies about
 * meanwhile (S9).
 *
 * Killed between any two writes, no line that stays is lost, and done again it
 * ends as if nothing had happened. A line is marked by its first byte until
 * all of it is there, and so is what it leaves of the line below; a marked line
 * goes, whatever it holds. One that moves over itself is also at the end of
 * the file meanwhile. Lines that are there twice are taken for one by readers.
 *
 * That is no help against a cut of the power: pages reach the disk in an order
 * of the system's.
 */
#include "cli/log_forget.h"

#include "llm/json/scan.h"
#include "llm/json/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LINE_BYTES_MAX ((size_t)1024 * 1024 * 1024)

struct lines {
    struct belay__log *log;
    struct belay__log_forget *forget;
    FILE *file;
    off_t whole; /* the end of the last whole line */
    off_t at;    /* of the line that is looked at */
    off_t end;   /* of what stays, so far */
    struct belay__buffer line;
    struct belay__buffer moved;
};

static int
failed(struct lines *lines)
{
    return belay__log_fail(lines->log, "%s", strerror(errno));
}

/* What was said; a server may quote it in the words of an error. */
static bool
is_said(const struct belay__json_value *key)
{
    return belay__json_key_is(key, "body")
           || belay__json_key_is(key, "message");
}

/* The line without what was said, if it has any of that. */
static int
write_without_texts(
    struct lines *lines, struct belay_slice text, bool *ret_had_one)
{
    struct belay__json_writer writer;
    struct belay__json_value value;
    struct belay__json_value key;
    struct belay__json json;

    belay__buffer_clear(&lines->line);
    belay__json_open(&json, text);
    (void)belay__json_enter_object(&json); /* it could be read a moment ago */
    belay__json_begin(&writer, &lines->line);
    belay__json_open_object(&writer);
    while (belay__json_next_member(&json, &key)) {
        if (!belay__json_take(&json, &value)) {
            continue;
        }
        if (is_said(&key)) {
            *ret_had_one = true;
        } else {
            belay__json_raw_key(&writer, key.raw);
            belay__json_raw(&writer, value.raw);
        }
    }
    belay__json_close_object(&writer);
    if (belay__json_end(&writer) < 0 || belay__json_finish(&json) < 0) {
        return BELAY_ENOMEM;
    }
    return belay__buffer_append(&lines->line, "\n", 1);
}

/* The attempt that the line is of; empty: none that can be told. */
static struct belay_slice
attempt_of(struct belay_slice text, bool *ret_start)
{
    struct belay_slice id = {NULL, 0};
    struct belay__json_value value;
    struct belay__json_value key;
    struct belay__json json;

    belay__json_open(&json, text);
    if (!belay__json_enter_object(&json)) {
        return id;
    }
    while (belay__json_next_member(&json, &key)) {
        const bool is_id = belay__json_key_is(&key, "attempt");
        const bool is_row = belay__json_key_is(&key, "row");

        if (!belay__json_take(&json, &value)
            || value.type != BELAY__JSON_STRING) {
            continue;
        }
        if (is_id) {
            id = belay__json_inside(value.raw);
        } else if (is_row) {
            const struct belay_slice row = belay__json_inside(value.raw);

            *ret_start = row.len == 5 && memcmp(row.data, "start", 5) == 0;
        }
    }
    return belay__json_finish(&json) == 0 ? id : (struct belay_slice){NULL, 0};
}

static int
write_at(struct lines *lines, struct belay_slice text, off_t at)
{
    ssize_t got;

    while (text.len > 0) {
        got = pwrite(fileno(lines->file), text.data, text.len, at);
        if (got < 0 && errno != EINTR) {
            return failed(lines);
        }
        if (got > 0) {
            text.data += got;
            text.len -= (size_t)got;
            at += got;
        }
    }
    return 0;
}

static int
cut(struct lines *lines, off_t end)
{
    return ftruncate(fileno(lines->file), end) == 0 ? 0 : failed(lines);
}

/* Marks stand for its first byte, its line break and the byte behind it, which
 * is no line break of the line itself: more than that was gained. Then the line
 * break comes, which parts it from what is left of the other, and
 * at last the byte that makes it count.
 */
static int
put_marked(struct lines *lines, struct belay_slice text)
{
    const off_t last = lines->end + (off_t)text.len - 1;
    const char mark = BELAY__RECORD_MARK;
    int code;

    belay__buffer_clear(&lines->moved);
    code = belay__buffer_append(&lines->moved, text.data, text.len);
    if (code == 0) {
        code = belay__buffer_append(&lines->moved, &mark, 1);
    }
    if (code < 0) {
        return code;
    }
    lines->moved.data[0] = mark;
    lines->moved.data[text.len - 1] = mark;
    code = write_at(lines, belay__buffer_slice(&lines->moved), lines->end);
    if (code == 0) {
        code = write_at(lines, (struct belay_slice){"\n", 1}, last);
    }
    return code == 0
               ? write_at(lines, (struct belay_slice){text.data, 1}, lines->end)
               : code;
}

/* The same, of which the end of the file has a copy meanwhile. */
static int
put_over_itself(struct lines *lines, struct belay_slice text)
{
    int code = write_at(lines, text, lines->whole);

    if (code < 0) {
        (void)cut(lines, lines->whole);
        return code;
    }
    code = put_marked(lines, text);
    return code == 0 ? cut(lines, lines->whole) : code;
}

/* What stays of the line at lines->at. */
static int
put(struct lines *lines, struct belay_slice text, bool changed)
{
    int code = 0;

    /* The last mark may not join the line to the one before it. */
    if (lines->end + (off_t)text.len + 1 < lines->at) {
        code = put_marked(lines, text);
    } else if (lines->end < lines->at || changed) {
        code = put_over_itself(lines, text);
    }
    lines->end += (off_t)text.len;
    return code;
}

/* One whole line, with its line break; what is no record stays. */
static int
take_line(struct lines *lines, struct belay_slice text)
{
    struct belay__log_forget *forget = lines->forget;
    const struct belay_slice inside = {text.data, text.len - 1};
    bool had_body = false;
    bool start = false;
    const struct belay_slice id = attempt_of(inside, &start);
    const bool old = id.len == BELAY__ULID_BYTES - 1
                     && memcmp(id.data, forget->before, id.len) < 0;
    int code;

    if (text.data[0] == BELAY__RECORD_MARK) {
        return 0;
    }
    if (!old) {
        return put(lines, text, false);
    }
    forget->count += start;
    if (!forget->texts_only) {
        return 0;
    }
    code = write_without_texts(lines, inside, &had_body);
    if (code < 0) {
        return code;
    }
    return had_body ? put(lines, belay__buffer_slice(&lines->line), true)
                    : put(lines, text, false);
}

/* Half a line at the end is of a crash, and goes; one that lacks nothing but its
 * line break gets it.
 */
static int
take_end(struct lines *lines, struct belay_slice text)
{
    if (text.len == 0 || belay__json_check(text, NULL, NULL) < 0) {
        return cut(lines, lines->whole);
    }
    lines->whole += (off_t)text.len + 1;
    return write_at(lines, (struct belay_slice){"\n", 1}, lines->whole - 1);
}

static int
find_whole(struct lines *lines)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    int code = 0;

    while ((len = getline(&line, &room, lines->file)) > 0
           && line[len - 1] == '\n') {
        lines->whole += len;
    }
    if (!feof(lines->file)) {
        code = failed(lines); /* out of memory is no error of the file's */
    } else {
        code = take_end(
            lines, (struct belay_slice){line, len > 0 ? (size_t)len : 0});
    }
    free(line);
    return code;
}

static int
take_lines(struct lines *lines)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    int code = find_whole(lines);

    rewind(lines->file);
    while (code == 0 && lines->at < lines->whole) {
        len = getline(&line, &room, lines->file);
        if (len <= 0) {
            code = failed(lines);
        } else {
            code = take_line(lines, (struct belay_slice){line, (size_t)len});
            lines->at += len;
        }
    }
    free(line);
    return code;
}

/* What has moved is on the disk before the old place of it goes. */
static int
forget_in(struct lines *lines)
{
    int code = take_lines(lines);

    if (code == 0 && fdatasync(fileno(lines->file)) != 0) {
        code = failed(lines);
    }
    if (code == 0) {
        code = cut(lines, lines->end);
    }
    if (code == 0 && fsync(fileno(lines->file)) != 0) {
        code = failed(lines);
    }
    return code;
}

int
belay__log_forget_jsonl(
    struct belay__log *log, const char *path, struct belay__log_forget *forget)
{
    struct lines lines = {
        .log = log, .forget = forget, .file = fopen(path, "r+e")};
    int code;

    if (lines.file == NULL) {
        return failed(&lines);
    }
    belay__buffer_init(&lines.line, log->memory, LINE_BYTES_MAX);
    belay__buffer_init(&lines.moved, log->memory, LINE_BYTES_MAX + 1);
    if (flock(fileno(lines.file), LOCK_EX | LOCK_NB) == 0) {
        code = forget_in(&lines);
    } else {
        code = errno == EWOULDBLOCK
                   ? belay__log_fail(log, "a recorder is writing to it")
                   : failed(&lines);
    }
    belay__buffer_fini(&lines.moved);
    belay__buffer_fini(&lines.line);
    (void)fclose(lines.file);
    return code;
}
