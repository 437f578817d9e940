/* look.c - how far a job is, whoever runs it.
 *
 * The files grow meanwhile; what is not a whole line yet does not count. Of the
 * journal only what was there before they were read counts: a line that was
 * sent after that would be without its result.
 */
#include "llm/batch/look.h"

#include "llm/batch/resume.h"
#include "llm/batch/scan.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct look {
    struct belay__batch_state *state;
    struct belay__batch_look *ret;
    bool errors;
};

static int
take_line(void *arg, const struct belay__scan *scan)
{
    struct look *look = arg;
    const uint64_t line = belay__scan_line(scan, look->state);

    if (line == 0 || belay__line_set_has(&look->state->done, line)) {
        return 0;
    }
    if (look->errors || !belay__scan_is_success(scan)) {
        look->ret->failed++;
    } else {
        look->ret->ok++;
        if (!look->ret->running
            && belay__line_set_add(
                   look->state->memory, &look->state->unbilled, line)
                   < 0) {
            return BELAY_ENOMEM;
        }
    }
    return belay__line_set_add(look->state->memory, &look->state->done, line);
}

static int
read_file(struct look *look, const char *path, bool errors)
{
    struct belay__scan scan = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
    struct stat info;
    int code;

    if (scan.fd < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    look->errors = errors;
    code = belay__scan_file(&scan, look->state->memory, take_line, look);
    if (fstat(scan.fd, &info) == 0 && info.st_mtime > look->ret->written_s) {
        look->ret->written_s = info.st_mtime;
    }
    (void)close(scan.fd);
    return code;
}

int
belay__batch_look(struct belay__memory *memory, const char *output_path,
    const char *errors_path, struct belay__batch_look *ret)
{
    struct belay__batch_state state = {.fd = -1};
    struct look look = {.state = &state, .ret = ret};
    struct stat info = {.st_size = 0};
    uint64_t journal = 0;
    int code;

    *ret = (struct belay__batch_look){.running = false};
    code = belay__batch_state_look(
        &state, memory, output_path, &journal, &ret->running);
    if (code == 0 && fstat(state.fd, &info) < 0) {
        code = -errno;
    }
    if (code == 0) {
        code = read_file(&look, output_path, false);
    }
    if (code == 0 && errors_path != NULL) {
        code = read_file(&look, errors_path, true);
    }
    if (code == 0) {
        code = belay__look_at_journal(&state, journal, (uint64_t)info.st_size);
    }
    ret->in_doubt = state.in_doubt.count;
    ret->spent = state.spent;
    ret->uncertain = state.uncertain;
    belay__batch_state_close(&state);
    return code;
}
