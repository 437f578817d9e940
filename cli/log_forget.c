/* log_forget.c - takes attempts, or what was said in them, out of lines of
 * JSON.
 *
 * In place: lines that stay move towards the start of the file, over those
 * that go, and the end is cut off. No copy of what was said lies about
 * meanwhile (S9). If it is interrupted, lines that had moved are there twice,
 * which readers take for one, and it can be done again.
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
    off_t end; /* of what stays, so far */
    struct belay__buffer line;
};

static int
failed(struct lines *lines)
{
    return belay__log_fail(lines->log, "%s", strerror(errno));
}

/* The line without its "body"; false: it is none of ours. */
static bool
write_without_body(struct lines *lines, struct belay_slice text)
{
    struct belay__json_writer writer;
    struct belay__json_value value;
    struct belay__json_value key;
    struct belay__json json;

    belay__buffer_clear(&lines->line);
    belay__json_open(&json, text);
    if (!belay__json_enter_object(&json)) {
        return false;
    }
    belay__json_begin(&writer, &lines->line);
    belay__json_open_object(&writer);
    while (belay__json_next_member(&json, &key)) {
        if (belay__json_take(&json, &value)
            && !belay__json_key_is(&key, "body")) {
            belay__json_raw_key(&writer, key.raw);
            belay__json_raw(&writer, value.raw);
        }
    }
    belay__json_close_object(&writer);
    return belay__json_end(&writer) == 0 && belay__json_finish(&json) == 0
           && belay__buffer_append(&lines->line, "\n", 1) == 0;
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
put(struct lines *lines, struct belay_slice text)
{
    ssize_t got;

    while (text.len > 0) {
        got = pwrite(fileno(lines->file), text.data, text.len, lines->end);
        if (got < 0 && errno != EINTR) {
            return failed(lines);
        }
        if (got > 0) {
            text.data += got;
            text.len -= (size_t)got;
            lines->end += got;
        }
    }
    return 0;
}

/* One whole line, with its line break; what is no record stays. */
static int
take_line(struct lines *lines, struct belay_slice text)
{
    struct belay__log_forget *forget = lines->forget;
    const struct belay_slice inside = {text.data, text.len - 1};
    bool start = false;
    const struct belay_slice id = attempt_of(inside, &start);
    const bool old = id.len == BELAY__ULID_BYTES - 1
                     && memcmp(id.data, forget->before, id.len) < 0;

    if (!old) {
        return put(lines, text);
    }
    forget->count += start;
    if (!forget->texts_only) {
        return 0;
    }
    if (!write_without_body(lines, inside)) {
        return BELAY_ENOMEM; /* it could be read a moment ago */
    }
    return put(lines, belay__buffer_slice(&lines->line));
}

static int
take_lines(struct lines *lines)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    int code = 0;

    errno = 0;
    while (code == 0 && (len = getline(&line, &room, lines->file)) > 0
           && line[len - 1] == '\n') {
        code = take_line(lines, (struct belay_slice){line, (size_t)len});
    }
    if (code == 0 && ferror(lines->file)) {
        code = failed(lines);
    }
    if (code == 0 && ftruncate(fileno(lines->file), lines->end) != 0) {
        code = failed(lines);
    }
    free(line);
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
    if (flock(fileno(lines.file), LOCK_EX | LOCK_NB) == 0) {
        code = take_lines(&lines);
    } else {
        code = errno == EWOULDBLOCK
                   ? belay__log_fail(log, "a recorder is writing to it")
                   : failed(&lines);
    }
    belay__buffer_fini(&lines.line);
    (void)fclose(lines.file);
    return code;
}
