/* scan.c - the lines of a file, of which only the ends are kept. */
#include "llm/batch/scan.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_BYTES ((size_t)256 * 1024)
#define PREFIX "{\"id\":\"batch_req_"
#define PREFIX_LEN (sizeof(PREFIX) - 1)
#define JOB_LEN (BELAY__BATCH_JOB_SIZE - 1)

/* Part of a line: its first bytes, and its last so far. */
static void
keep_ends(struct belay__scan *scan, const char *data, size_t len)
{
    const size_t room = BELAY__SCAN_HEAD - scan->head_len;
    const size_t head = len < room ? len : room;
    const size_t fresh = len < BELAY__SCAN_TAIL ? len : BELAY__SCAN_TAIL;
    size_t old = BELAY__SCAN_TAIL - fresh;

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
scan_chunk(struct belay__scan *scan, const char *data, size_t len,
    belay__scan_fn *fn, void *arg)
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

int
belay__scan_file(struct belay__scan *scan, struct belay__memory *memory,
    belay__scan_fn *fn, void *arg)
{
    const uint64_t end = scan->end > 0 ? scan->end : UINT64_MAX;
    char *chunk = belay__alloc(memory, CHUNK_BYTES);
    size_t want;
    ssize_t n = 1;
    int code = chunk == NULL ? BELAY_ENOMEM : 0;

    scan->start = scan->offset;
    scan->previous = scan->offset;
    while (code == 0 && n > 0) {
        want = end - scan->offset < CHUNK_BYTES ? (size_t)(end - scan->offset)
                                                : CHUNK_BYTES;
        n = pread(scan->fd, chunk, want, (off_t)scan->offset);
        if (n > 0) {
            code = scan_chunk(scan, chunk, (size_t)n, fn, arg);
        } else if (n < 0 && errno == EINTR) {
            n = 1;
        } else if (n < 0) {
            code = -errno;
        }
    }
    belay__free(memory, chunk, CHUNK_BYTES);
    return code;
}

uint64_t
belay__scan_line(
    const struct belay__scan *scan, const struct belay__batch_state *state)
{
    const char *at = scan->head + PREFIX_LEN + JOB_LEN + 1;
    uint64_t line = 0;

    if (scan->head_len < PREFIX_LEN + JOB_LEN + 1
        || memcmp(scan->head, PREFIX, PREFIX_LEN) != 0
        || memcmp(scan->head + PREFIX_LEN, state->job, JOB_LEN) != 0
        || at[-1] != '_') {
        return 0;
    }
    return belay__parse_number(
               &at, scan->head + scan->head_len, state->lines_max, &line)
                   && at < scan->head + scan->head_len && *at == '"'
               ? line
               : 0;
}

/* Its custom_ids may be those of ours, which would then be there twice. */
bool
belay__scan_is_foreign(
    const struct belay__scan *scan, const struct belay__batch_state *state)
{
    return scan->head_len > PREFIX_LEN + JOB_LEN
           && memcmp(scan->head, PREFIX, PREFIX_LEN) == 0
           && scan->head[PREFIX_LEN + JOB_LEN] == '_'
           && memcmp(scan->head + PREFIX_LEN, state->job, JOB_LEN) != 0;
}

bool
belay__scan_is_success(const struct belay__scan *scan)
{
    return scan->tail_len == BELAY__SCAN_TAIL
           && memcmp(scan->tail, BELAY__SUCCESS_END, BELAY__SCAN_TAIL) == 0;
}
