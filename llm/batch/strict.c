/* strict.c - a look at the whole input before anything is sent.
 *
 * Nothing of the run is open yet: a batch that is refused leaves no file.
 */
#include "llm/batch/strict.h"

#include "llm/batch/file.h"
#include "llm/batch/ids.h"
#include "llm/batch/lines.h"
#include "llm/batch/pipeline.h"
#include "runtime/internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct checker {
    const struct belay__batch_opts *opts;
    struct belay__memory *memory;
    struct belay__lines lines;
    struct belay__ids ids;
    struct belay__buffer scratch;
    char *chunk;
    int fd;
    bool ended;
    uint64_t count;
    uint64_t faults;
    char first[BELAY__BATCH_MESSAGE]; /* what is wrong with the first */
};

static void
checker_close(struct checker *checker)
{
    belay__lines_fini(&checker->lines);
    belay__ids_fini(&checker->ids);
    belay__buffer_fini(&checker->scratch);
    belay__free(checker->memory, checker->chunk, BELAY__BATCH_CHUNK_BYTES);
    if (checker->fd >= 0) {
        (void)close(checker->fd);
    }
}

static int
checker_open(struct checker *checker)
{
    const struct belay__batch_opts *opts = checker->opts;
    struct stat info;

    belay__lines_init(&checker->lines, checker->memory, opts->max_line_bytes);
    belay__buffer_init(&checker->scratch, checker->memory,
        opts->max_line_bytes + BELAY__LINES_HEAD);
    checker->chunk = belay__alloc(checker->memory, BELAY__BATCH_CHUNK_BYTES);
    if (checker->chunk == NULL) {
        return BELAY_ENOMEM;
    }
    checker->fd = open(opts->input_path, O_RDONLY | O_CLOEXEC);
    if (checker->fd < 0 || fstat(checker->fd, &info) < 0) {
        return -errno;
    }
    if (!S_ISREG(info.st_mode)) {
        return BELAY_EINVAL;
    }
    return belay__ids_init(&checker->ids, checker->memory, NULL);
}

static belay_next
checker_enter(belay_task *task, void *self)
{
    struct checker *checker = self;
    const char *path = checker->opts->input_path;
    int code;

    checker->memory = belay_task_runtime(task)->memory;
    checker->fd = -1;
    code = checker_open(checker);
    if (code == 0) {
        return belay_return(task, checker);
    }
    checker_close(checker);
    if (code == BELAY_EINVAL) {
        return belay_fail(
            task, code, "cannot check '%s' first: it is not a file", path);
    }
    return belay_fail(
        task, code, "cannot open '%s': %s", path, belay_code_text(code));
}

static belay_next
checker_exit(belay_task *task, void *self)
{
    checker_close(self);
    return belay_return(task, NULL);
}

static int
check_line(struct checker *checker, const struct belay__line *line)
{
    const struct belay__batch_rules rules =
        belay__batch_rules_of(checker->opts);
    struct belay__batch_request request;
    int code = belay__batch_read(line, &rules, &checker->scratch, &request);

    if (code < 0) {
        return code;
    }
    if (request.fault == BELAY__BATCH_NONE && !checker->opts->no_id_check) {
        code = belay__ids_add(&checker->ids, request.custom_id);
        if (code == 0) {
            belay__batch_mark_duplicate(&request);
        }
    }
    checker->count++;
    if (request.fault != BELAY__BATCH_NONE && checker->faults++ == 0) {
        memcpy(checker->first, request.message, sizeof(checker->first));
    }
    return code < 0 ? code : 0;
}

/* All lines that are there whole. */
static int
check_lines(struct checker *checker)
{
    struct belay__line line;
    int code;

    while ((code = belay__lines_next(&checker->lines, &line)) > 0) {
        code = check_line(checker, &line);
        if (code < 0) {
            return code;
        }
    }
    return code;
}

struct check {
    const struct belay__batch_opts *opts;
    struct checker *checker;
    size_t len;
};

BELAY_ASYNC(check)
{
    static const belay_manager manager = {
        {"batch check", __FILE__, sizeof(struct checker), checker_enter, 0},
        checker_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_enter(
        task, &manager, &(const struct checker){.opts = self->opts})) {
        self->checker = belay_result(task)->value;
        while (!self->checker->ended) {
            BELAY_AWAIT(belay__file_read(task, self->checker->fd,
                self->checker->chunk, BELAY__BATCH_CHUNK_BYTES, &self->len));
            if (self->len == 0) {
                self->checker->ended = true;
                belay__lines_end(&self->checker->lines);
            } else {
                belay__lines_push(
                    &self->checker->lines, self->checker->chunk, self->len);
            }
            BELAY_CHECK(check_lines(self->checker));
        }
        if (self->checker->faults > 0) {
            BELAY_FAIL(BELAY_EINVAL,
                "%" PRIu64 " of %" PRIu64 " lines are not valid; the first: %s",
                self->checker->faults, self->checker->count,
                self->checker->first);
        }
    }
    BELAY_END;
}

belay_next
belay__batch_check(belay_task *task, const struct belay__batch_opts *opts)
{
    return belay_call(task, &check, &(const struct check){.opts = opts});
}
