/* resume.c - reading what an earlier run has left.
 *
 * Of an output line only the ends are looked at; the last line of a file is
 * looked at whole, because a crash can tear it.
 */
#include "llm/batch/resume.h"

#include "llm/batch/scan.h"
#include "llm/json/scan.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* ---- output files ---- */

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
    } else if (code == 0) {
        code =
            belay__line_set_add(state->memory, &state->unbilled, output->last);
    }
    return code;
}

/* A line counts once another follows, or once it was looked at. */
static int
take_output_line(void *arg, const struct belay__scan *scan)
{
    struct output_scan *output = arg;
    const int code = mark_last(output);

    if (!output->state->foreign_ok
        && belay__scan_is_foreign(scan, output->state)) {
        return BELAY_ESTATE;
    }
    output->last = belay__scan_line(scan, output->state);
    output->last_failed = output->errors || !belay__scan_is_success(scan);
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
cut_torn(struct output_scan *output, const struct belay__scan *scan)
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
    struct belay__scan scan = {.fd = -1};
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
    code = belay__scan_file(&scan, state->memory, take_output_line, &output);
    if (code == 0) {
        code = cut_torn(&output, &scan);
    }
    (void)close(scan.fd);
    return code;
}
