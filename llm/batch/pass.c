/* pass.c - the whole input, line by line, with nothing sent. */
#include "llm/batch/pass.h"

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

struct pass {
    const struct belay__batch_opts *opts;
    struct belay__memory *memory;
    struct belay__lines lines;
    struct belay__ids ids;
    struct belay__buffer scratch;
    struct belay__buffer body;
    char *chunk;
    int fd;
    bool ended;
    belay__batch_pass_fn *fn;
    void *arg;
};

static void
pass_close(struct pass *pass)
{
    belay__lines_fini(&pass->lines);
    belay__ids_fini(&pass->ids);
    belay__buffer_fini(&pass->scratch);
    belay__buffer_fini(&pass->body);
    belay__free(pass->memory, pass->chunk, BELAY__BATCH_CHUNK_BYTES);
    if (pass->fd >= 0) {
        (void)close(pass->fd);
    }
}

static int
pass_open(struct pass *pass)
{
    const struct belay__batch_opts *opts = pass->opts;
    struct stat info;

    belay__lines_init(&pass->lines, pass->memory, opts->max_line_bytes);
    belay__buffer_init(
        &pass->scratch, pass->memory, pass->lines.max + BELAY__LINES_HEAD);
    belay__buffer_init(
        &pass->body, pass->memory, pass->lines.max + BELAY__BATCH_LINE_ROOM);
    pass->chunk = belay__alloc(pass->memory, BELAY__BATCH_CHUNK_BYTES);
    if (pass->chunk == NULL) {
        return BELAY_ENOMEM;
    }
    pass->fd = strcmp(opts->input_path, "-") == 0
                   ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                   : open(opts->input_path, O_RDONLY | O_CLOEXEC);
    if (pass->fd < 0 || fstat(pass->fd, &info) < 0) {
        return -errno;
    }
    if (S_ISDIR(info.st_mode)) {
        return -EISDIR;
    }
    return belay__ids_init(&pass->ids, pass->memory, NULL);
}

static belay_next
pass_enter(belay_task *task, void *self)
{
    struct pass *pass = self;
    const char *path = pass->opts->input_path;
    int code;

    pass->memory = belay_task_runtime(task)->memory;
    pass->fd = -1;
    code = pass_open(pass);
    if (code == 0) {
        return belay_return(task, pass);
    }
    pass_close(pass);
    return belay_fail(
        task, code, "cannot open '%s': %s", path, belay_code_text(code));
}

static belay_next
pass_exit(belay_task *task, void *self)
{
    pass_close(self);
    return belay_return(task, NULL);
}

static int
check_line(struct pass *pass, const struct belay__line *line)
{
    const struct belay__batch_rules rules = belay__batch_rules_of(pass->opts);
    struct belay__batch_request request;
    int code = belay__batch_read(line, &rules, &pass->scratch, &request);

    if (code < 0) {
        return code;
    }
    if (request.fault == BELAY__BATCH_NONE && !pass->opts->no_id_check) {
        code = belay__ids_add(&pass->ids, request.custom_id);
        if (code == 0) {
            belay__batch_mark_duplicate(&request);
        }
    }
    if (code >= 0 && request.fault == BELAY__BATCH_NONE) {
        code = belay__batch_body_of(
            pass->opts, &pass->body, &request, &request.body);
    }
    return code < 0 ? code : pass->fn(pass->arg, pass->opts, line, &request);
}

/* All lines that are there whole. */
static int
check_lines(struct pass *pass)
{
    struct belay__line line;
    int code;

    while ((code = belay__lines_next(&pass->lines, &line)) > 0) {
        code = check_line(pass, &line);
        if (code < 0) {
            return code;
        }
    }
    return code;
}

struct pass_call {
    const struct belay__batch_opts *opts;
    belay__batch_pass_fn *fn;
    void *arg;
    struct pass *pass;
    size_t len;
};

BELAY_ASYNC(pass_call)
{
    static const belay_manager manager = {
        {"batch pass", __FILE__, sizeof(struct pass), pass_enter, 0},
        pass_exit};

    BELAY_BEGIN;
    BELAY_WITH (belay_enter(task, &manager,
        &(const struct pass){
            .opts = self->opts, .fn = self->fn, .arg = self->arg})) {
        self->pass = belay_result(task)->value;
        while (!self->pass->ended) {
            BELAY_TRY(belay__file_read(task, self->pass->fd, self->pass->chunk,
                BELAY__BATCH_CHUNK_BYTES, &self->len));
            if (belay_result(task)->code == BELAY_EAGAIN) {
                continue;
            }
            if (belay_result(task)->code < 0) {
                return belay_pass(task);
            }
            if (self->len == 0) {
                self->pass->ended = true;
                belay__lines_end(&self->pass->lines);
            } else {
                belay__lines_push(
                    &self->pass->lines, self->pass->chunk, self->len);
            }
            BELAY_CHECK(check_lines(self->pass));
        }
    }
    BELAY_END;
}

bool
belay__batch_is_rereadable(const char *path)
{
    struct stat info;

    return strcmp(path, "-") != 0
           && (stat(path, &info) < 0 || S_ISREG(info.st_mode));
}

belay_next
belay__batch_pass(belay_task *task, const struct belay__batch_opts *opts,
    belay__batch_pass_fn *fn, void *arg)
{
    return belay_call(task, &pass_call,
        &(const struct pass_call){.opts = opts, .fn = fn, .arg = arg});
}
