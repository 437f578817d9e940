/* batch_unread.c - how much of its input a batch has left unread.
 *
 * The reader knows its place by pieces only, and a piece holds hundreds of
 * lines. So they are counted, at the end of a run that has stopped early; where
 * that would take longer than a moment, a piece more or less does not matter.
 */
#include "cli/batch_unread.h"

#include "llm/batch/lines.h"
#include "llm/batch/pass.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define COUNTED_MOST ((uint64_t)256 * 1024 * 1024) /* a tenth of a second */
#define CHUNK ((size_t)256 * 1024)

static uint64_t
count(int fd, struct belay__lines *lines, char *chunk)
{
    struct belay__line line;
    uint64_t sum = 0;
    ssize_t n;

    do {
        n = read(fd, chunk, CHUNK);
        if (n > 0) {
            belay__lines_push(lines, chunk, (size_t)n);
        } else {
            belay__lines_end(lines);
        }
        while (belay__lines_next(lines, &line) > 0) {
            sum++;
        }
    } while (n > 0);
    return n == 0 ? sum : 0;
}

static uint64_t
count_lines(const struct belay__batch_opts *opts)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    char *chunk = malloc(CHUNK);
    const int fd = open(opts->input_path, O_RDONLY | O_CLOEXEC);
    struct belay__lines lines;
    uint64_t sum = 0;

    if (memory != NULL && chunk != NULL && fd >= 0) {
        belay__lines_init(&lines, memory, opts->max_line_bytes);
        sum = count(fd, &lines, chunk);
        belay__lines_fini(&lines);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    free(chunk);
    belay__memory_unref(memory);
    return sum;
}

uint64_t
belay__batch_count_unread(const struct belay__batch_opts *opts,
    const struct belay__batch_stats *stats)
{
    uint64_t sum;

    if (stats->input_size == 0
        || !belay__batch_is_rereadable(opts->input_path)) {
        return 0;
    }
    if (stats->input_size > COUNTED_MOST && stats->input_bytes > 0) {
        sum = (uint64_t)((double)stats->lines * (double)stats->input_size
                         / (double)stats->input_bytes);
    } else {
        sum = count_lines(opts);
    }
    return sum > stats->lines ? sum - stats->lines : 0;
}
