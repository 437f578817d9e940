/* resume.c - reading what an earlier run has left.
 *
 * Of an output line only the id at its start and the error at its end are
 * looked at, so that files of many gigabytes are read at the speed of the
 * disk; the last line of a file is looked at whole, because a crash can tear
 * it.
 */
#include "llm/batch/resume.h"

#include "llm/json/scan.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_BYTES ((size_t)256 * 1024)
#define PREFIX "{\"id\":\"batch_req_"
#define PREFIX_LEN (sizeof(PREFIX) - 1)
#define JOB_LEN (BELAY__BATCH_JOB_SIZE - 1)
#define HEAD_MAX 64 /* bytes that the id of a line fits into */
#define SUCCESS_END "\"error\":null}"
#define END_LEN (sizeof(SUCCESS_END) - 1)

int
belay__line_set_add(
    struct belay__memory *memory, struct belay__line_set *set, uint64_t line)
{
    const size_t byte = (size_t)(line / 8);
    uint8_t *bits;
    size_t bytes;

    if (byte >= set->bytes) {
        bytes = byte + 1 + byte / 2;
        bytes = bytes < 4096 ? 4096 : bytes;
        bits = belay__realloc(memory, set->bits, set->bytes, bytes);
        if (bits == NULL) {
            return BELAY_ENOMEM;
        }
        memset(bits + set->bytes, 0, bytes - set->bytes);
        set->bits = bits;
        set->bytes = bytes;
    }
    if (!belay__line_set_has(set, line)) {
        set->bits[byte] |= (uint8_t)(1U << line % 8);
        set->count++;
    }
    return 0;
}

void
belay__line_set_remove(struct belay__line_set *set, uint64_t line)
{
    if (belay__line_set_has(set, line)) {
        set->bits[line / 8] &= (uint8_t) ~(1U << line % 8);
        set->count--;
    }
}

/* Digits up to `end`; 0 if there are none, or the number is above `max`: a
 * spoilt file must not make us allocate bits for lines that cannot be.
 */
static uint64_t
parse_number(const char *at, const char *text_end, char end, uint64_t max)
{
    uint64_t number = 0;

    while (at < text_end && *at >= '0' && *at <= '9' && number <= max / 10) {
        number = number * 10 + (uint64_t)(*at++ - '0');
    }
    return at < text_end && *at == end && number <= max ? number : 0;
}

/* The line number in the head of an output line of this job, or 0. */
static uint64_t
line_of(const struct belay__batch_state *state, const char *head, size_t len)
{
    if (len < PREFIX_LEN + JOB_LEN + 1 || memcmp(head, PREFIX, PREFIX_LEN) != 0
        || memcmp(head + PREFIX_LEN, state->job, JOB_LEN) != 0
        || head[PREFIX_LEN + JOB_LEN] != '_') {
        return 0;
    }
    return parse_number(
        head + PREFIX_LEN + JOB_LEN + 1, head + len, '"', state->lines_max);
}

/* A file read in chunks, of whose lines the ends are collected. */
struct scan {
    int fd;
    char *chunk;
    char head[HEAD_MAX];
    char tail[END_LEN];
    size_t head_len;
    size_t tail_len;
    uint64_t start;    /* of the current line */
    uint64_t previous; /* of the last line that has ended */
    uint64_t offset;
};

typedef int line_fn(void *arg, const struct scan *scan);

/* Part of a line: its first bytes, and its last so far. */
static void
keep_ends(struct scan *scan, const char *data, size_t len)
{
    const size_t room = HEAD_MAX - scan->head_len;
    const size_t head = len < room ? len : room;
    const size_t fresh = len < END_LEN ? len : END_LEN;
    size_t old = END_LEN - fresh;

    memcpy(scan->head + scan->head_len, data, head);
    scan->head_len += head;
    if (old > scan->tail_len) {
        old = scan->tail_len;
    }
    memmove(scan->tail, scan->tail + scan->tail_len - old, old);
    memcpy(scan->tail + old, data + len - fresh, fresh);
    scan->tail_len = old + fresh;
}

static int
scan_chunk(
    struct scan *scan, const char *data, size_t len, line_fn *fn, void *arg)
{
    const char *end;
    size_t n;
    int code;

    while (len > 0) {
        end = memchr(data, '\n', len);
        n = end != NULL ? (size_t)(end - data) : len;
        keep_ends(scan, data, n);
        scan->offset += n;
        data += n;
        len -= n;
        if (end == NULL) {
            return 0;
        }
        scan->offset++;
        data++;
        len--;
        code = fn(arg, scan);
        if (code < 0) {
            return code;
        }
        scan->previous = scan->start;
        scan->start = scan->offset;
        scan->head_len = 0;
        scan->tail_len = 0;
    }
    return 0;
}

static int
scan_file(struct scan *scan, line_fn *fn, void *arg)
{
    ssize_t n;
    int code = 0;

    while (code == 0) {
        n = pread(scan->fd, scan->chunk, CHUNK_BYTES, (off_t)scan->offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : 0;
        }
        code = scan_chunk(scan, scan->chunk, (size_t)n, fn, arg);
    }
    return code;
}

/* ---- output files ---- */

/* Does the line belong to another job? Its custom_ids may be those of ours,
 * which would then be in the file twice.
 */
static bool
is_foreign(const struct belay__batch_state *state, const struct scan *scan)
{
    return scan->head_len > PREFIX_LEN + JOB_LEN
           && memcmp(scan->head, PREFIX, PREFIX_LEN) == 0
           && scan->head[PREFIX_LEN + JOB_LEN] == '_'
           && memcmp(scan->head + PREFIX_LEN, state->job, JOB_LEN) != 0;
}

struct output_scan {
    struct belay__batch_state *state;
    bool errors;
    uint64_t last; /* number of the last line, or 0; not yet marked */
    bool last_failed;
};

static int
mark_last(struct output_scan *output)
{
    struct belay__batch_state *state = output->state;
    const uint64_t before = state->done.count;
    int code;

    if (output->last == 0) {
        return 0;
    }
    code = belay__line_set_add(state->memory, &state->done, output->last);
    if (output->last_failed) {
        state->failed += state->done.count - before;
    }
    return code;
}

/* A line counts once another follows, or once it was looked at. */
static int
take_output_line(void *arg, const struct scan *scan)
{
    struct output_scan *output = arg;
    const int code = mark_last(output);

    if (!output->state->foreign_ok && is_foreign(output->state, scan)) {
        return BELAY_ESTATE;
    }
    output->last = line_of(output->state, scan->head, scan->head_len);
    output->last_failed = output->errors || scan->tail_len < END_LEN
                          || memcmp(scan->tail, SUCCESS_END, END_LEN) != 0;
    return code;
}

static int
check_range(struct belay__memory *memory, int fd, uint64_t from, uint64_t to,
    bool *ret_good)
{
    const size_t len = (size_t)(to - from);
    char *text = belay__alloc(memory, len);
    size_t have = 0;
    ssize_t n = 1;
    int code = 0;

    if (text == NULL) {
        return len > 0 ? BELAY_ENOMEM : 0;
    }
    while (have < len && n > 0) {
        n = pread(fd, text + have, len - have, (off_t)(from + have));
        if (n < 0 && errno == EINTR) {
            n = 1;
            continue;
        }
        code = n < 0 ? -errno : 0;
        have += n > 0 ? (size_t)n : 0;
    }
    *ret_good =
        have == len
        && belay__json_check((struct belay_slice){text, len}, NULL, NULL) == 0;
    belay__free(memory, text, len);
    return code;
}

/* A crash can leave half a line at the end, or one whose blocks were never
 * written: both are cut off, and their lines sent again.
 */
static int
cut_torn(struct output_scan *output, const struct scan *scan)
{
    struct belay__batch_state *state = output->state;
    uint64_t end = scan->start;
    bool good = false;
    int code;

    if (end > 0) {
        code = check_range(
            state->memory, scan->fd, scan->previous, end - 1, &good);
        if (code < 0) {
            return code;
        }
        if (!good) {
            end = scan->previous;
        } else if ((code = mark_last(output)) < 0) {
            return code;
        }
    }
    if (end == scan->offset) {
        return 0;
    }
    return ftruncate(scan->fd, (off_t)end) < 0 ? -errno : 0;
}

int
belay__resume_output(
    struct belay__batch_state *state, const char *path, bool errors)
{
    struct output_scan output = {.state = state, .errors = errors};
    struct scan scan = {.fd = -1};
    struct stat info;
    int code;

    if (stat(path, &info) < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (strcmp(path, "-") == 0 || !S_ISREG(info.st_mode)) {
        return 0; /* what went there cannot be found again */
    }
    scan.fd = open(path, O_RDWR | O_CLOEXEC);
    if (scan.fd < 0) {
        return -errno;
    }
    scan.chunk = belay__alloc(state->memory, CHUNK_BYTES);
    code = scan.chunk == NULL ? BELAY_ENOMEM : 0;
    if (code == 0) {
        code = scan_file(&scan, take_output_line, &output);
    }
    if (code == 0) {
        code = cut_torn(&output, &scan);
    }
    belay__free(state->memory, scan.chunk, CHUNK_BYTES);
    (void)close(scan.fd);
    return code;
}

/* ---- the journal ---- */

/* "d N" is not looked at: a result that is in no file, after the loss of
 * power, was paid for and is worth as much doubt as any.
 */

static int
take_record(void *arg, const struct scan *scan)
{
    struct belay__batch_state *state = arg;
    char text[HEAD_MAX + 1];
    uint64_t line;

    if (scan->head_len < 3 || scan->head_len == HEAD_MAX
        || scan->head[1] != ' ') {
        return 0;
    }
    memcpy(text, scan->head, scan->head_len);
    text[scan->head_len] = '\n';
    line = parse_number(
        text + 2, text + scan->head_len + 1, '\n', state->lines_max);
    if (line == 0) {
        return 0;
    }
    if (text[0] == 'u') {
        belay__line_set_remove(&state->in_doubt, line);
    }
    if (text[0] == 's' && !belay__line_set_has(&state->done, line)) {
        return belay__line_set_add(state->memory, &state->in_doubt, line);
    }
    return 0;
}

int
belay__resume_journal(struct belay__batch_state *state, uint64_t offset)
{
    struct scan scan = {
        .fd = state->fd, .start = offset, .previous = offset, .offset = offset};
    int code;

    scan.chunk = belay__alloc(state->memory, CHUNK_BYTES);
    if (scan.chunk == NULL) {
        return BELAY_ENOMEM;
    }
    code = scan_file(&scan, take_record, state);
    if (code == 0 && scan.start < scan.offset
        && ftruncate(scan.fd, (off_t)scan.start) < 0) {
        code = -errno; /* the next record would be lost in the torn one */
    }
    belay__free(state->memory, scan.chunk, CHUNK_BYTES);
    return code;
}
