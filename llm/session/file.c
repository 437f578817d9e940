/* file.c - sessions in files.
 *
 * A file is written beside the old one and put in its place by one rename, so
 * that whoever looks sees the one or the other, whole. Both run on a thread;
 * what they need is made before, and freed after, on the loop.
 */
#define _GNU_SOURCE /* mkostemp() */
#include "llm/session/text.h"

#include "runtime/internal.h"

#include <belay/async.h>
#include <belay/blocking.h>
#include <belay/managers.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX ".XXXXXX"

/* ---- saving ---- */

struct save {
    const belay_llm_session *session;
    struct belay__life life;
    const char *path;
    struct belay__memory *memory; /* a reference */
    struct belay__buffer text;
    char *temporary; /* the path and SUFFIX */
    size_t temporary_size;
};

static int
write_all(int fd, struct belay_slice text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.data, text.len);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            text.data += n;
            text.len -= (size_t)n;
        }
    }
    return fsync(fd) < 0 ? -errno : 0;
}

/* The new name is safe once its folder is. Some file systems cannot do that;
 * the file is whole all the same.
 */
static void
sync_folder(char *path)
{
    char *slash = strrchr(path, '/');
    int fd;

    if (slash != NULL) {
        slash[slash == path] = '\0';
    }
    fd = open(slash != NULL ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

/* On a thread. */
static int
write_file(void *arg)
{
    struct save *save = arg;
    const int fd = mkostemp(save->temporary, O_CLOEXEC); /* mode 0600 */
    int code;

    if (fd < 0) {
        return -errno;
    }
    code = write_all(fd, belay__buffer_slice(&save->text));
    if (close(fd) < 0 && code == 0) {
        code = -errno;
    }
    if (code == 0 && rename(save->temporary, save->path) < 0) {
        code = -errno;
    }
    if (code < 0) {
        (void)unlink(save->temporary);
        return code;
    }
    sync_folder(save->temporary);
    return 0;
}

static void
end_save(void *arg)
{
    struct save *save = arg;

    belay__buffer_fini(&save->text);
    belay__free(save->memory, save->temporary, save->temporary_size);
    belay__memory_unref(save->memory);
}

static int
prepare_save(struct save *save)
{
    const size_t len = strlen(save->path);
    int code;

    save->memory = belay__memory_ref(save->session->memory);
    belay__buffer_init(
        &save->text, save->memory, belay__session_text_max(save->session));
    save->temporary = belay__alloc(save->memory, len + sizeof(SUFFIX));
    if (save->temporary == NULL) {
        return BELAY_ENOMEM;
    }
    save->temporary_size = len + sizeof(SUFFIX);
    memcpy(save->temporary, save->path, len);
    memcpy(save->temporary + len, SUFFIX, sizeof(SUFFIX));
    code = belay__session_write(save->session, &save->text);
    return code < 0 ? code : belay__buffer_append(&save->text, "\n", 1);
}

static belay_next
save_step(belay_task *task, void *frame)
{
    struct save *self = frame;
    int code;

    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, end_save, self)) {
        if (!belay__is_there(task, self->life)) {
            return belay_fail(task, BELAY_ECLOSED, "the session has been left");
        }
        code = prepare_save(self);
        if (code < 0) {
            return belay_fail(task, code, NULL);
        }
        BELAY_TRY(belay_blocking(task, write_file, self));
        code = belay_result(task)->code;
        if (code < 0 && !belay_result(task)->cancelled) {
            return belay_fail(task, code, "session cannot be saved to '%s': %s",
                self->path, belay_code_text(code));
        }
        return belay_pass(task);
    }
    BELAY_END;
}

belay_next
belay_llm_session_save(
    belay_task *task, const belay_llm_session *session, const char *path)
{
    static const belay_function function = {
        "llm session save", __FILE__, sizeof(struct save), save_step, 0};

    return belay_call(task, &function,
        &(const struct save){
            .session = session, .life = session->life, .path = path});
}

/* ---- loading ---- */

struct load {
    belay_llm_session *session; /* a reference, once it has memory */
    struct belay__life life;
    const char *path;
    enum belay_llm_repair repair;
    struct belay_llm_loaded *ret;
    struct belay__memory *memory; /* a reference */
    int fd;
    size_t size; /* of the file */
    size_t len;  /* read */
    char *text;
};

/* On a thread. Without O_NONBLOCK a pipe would hold it up. */
static int
open_file(void *arg)
{
    struct load *load = arg;
    struct stat info;
    const int fd = open(load->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        return -errno;
    }
    load->fd = fd;
    if (fstat(fd, &info) < 0) {
        return -errno;
    }
    if (!S_ISREG(info.st_mode)) {
        return BELAY_EINVAL;
    }
    load->size = (size_t)info.st_size;
    return 0;
}

/* On a thread. */
static int
read_file(void *arg)
{
    struct load *load = arg;

    while (load->len < load->size) {
        ssize_t n =
            read(load->fd, load->text + load->len, load->size - load->len);

        if (n == 0) {
            break;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        load->len += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static void
end_load(void *arg)
{
    struct load *load = arg;

    if (load->fd >= 0) {
        (void)close(load->fd);
    }
    if (load->memory == NULL) {
        return; /* it has not begun */
    }
    belay__free(load->memory, load->text, load->size);
    belay__memory_unref(load->memory);
    belay_llm_session_unref(load->session);
}

static belay_next
fail_load(belay_task *task, const struct load *load, int code)
{
    return belay_fail(task, code, "session cannot be loaded from '%s': %s",
        load->path,
        code == BELAY_EINVAL ? "it is not a regular file"
                             : belay_code_text(code));
}

static belay_next
use_text(belay_task *task, struct load *load)
{
    struct belay_llm_session_problem problem = {0, NULL};
    const struct belay_slice text = {load->text, load->len};
    int code = belay_llm_session_read(
        load->session, text, load->repair, load->ret, &problem);

    if (code == 0) {
        return belay_return(task, NULL);
    }
    if (problem.reason != NULL) {
        return belay_fail(task, code,
            "session cannot be loaded from '%s': %s, at byte %zu", load->path,
            problem.reason, problem.offset);
    }
    return fail_load(task, load, code);
}

static belay_next
load_step(belay_task *task, void *frame)
{
    struct load *self = frame;
    int code;

    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, end_load, self)) {
        if (!belay__is_there(task, self->life)) {
            return belay_fail(task, BELAY_ECLOSED, "the session has been left");
        }
        self->memory = belay__memory_ref(self->session->memory);
        (void)belay_llm_session_ref(self->session);
        BELAY_TRY(belay_blocking(task, open_file, self));
        code = belay_result(task)->code;
        if (code == 0 && self->size > belay__session_text_max(self->session)) {
            code = BELAY_ETOOLARGE;
        }
        if (code == 0) {
            self->text = belay__alloc(self->memory, self->size);
            if (self->size > 0 && self->text == NULL) {
                self->size = 0;
                return belay_fail(task, BELAY_ENOMEM, NULL);
            }
            BELAY_TRY(belay_blocking(task, read_file, self));
            code = belay_result(task)->code;
        }
        if (belay_result(task)->cancelled) {
            return belay_pass(task);
        }
        return code < 0 ? fail_load(task, self, code) : use_text(task, self);
    }
    BELAY_END;
}

belay_next
belay_llm_session_load(belay_task *task, belay_llm_session *session,
    const char *path, enum belay_llm_repair repair,
    struct belay_llm_loaded *ret)
{
    static const belay_function function = {
        "llm session load", __FILE__, sizeof(struct load), load_step, 0};

    return belay_call(task, &function,
        &(const struct load){.session = session,
            .life = session->life,
            .path = path,
            .repair = repair,
            .ret = ret,
            .fd = -1});
}
