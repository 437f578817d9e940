/* helper.c - starts belay-gpu-probe, and waits no longer than it should.
 *
 * On a thread that may block. The program is a process of its own in every
 * way: no open files of ours, signals as usual, and it is killed when its
 * time is over. One that hangs in the kernel does not even die of that (a GPU
 * that has left the bus does such things); it is left behind.
 */
#define _GNU_SOURCE
#include "gpu/helper.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

enum {
    DYING_MS = 1000, /* from SIGKILL until it is left behind */
    STEP_MS = 5,
    PATH_BYTES = 4096,
};

/* ---- where it is ---- */

static bool
runs(const char *path)
{
    return access(path, X_OK) == 0;
}

/* Beside a file, or up to two folders up: so it lies in a build folder. */
static bool
find_beside(const char *file, char path[PATH_BYTES])
{
    static const char *const ups[] = {"", "../", "../../"};
    const char *slash = strrchr(file, '/');

    for (size_t i = 0; slash != NULL && i < 3; i++) {
        int len = snprintf(path, PATH_BYTES, "%.*s/%sbelay-gpu-probe",
            (int)(slash - file), file, ups[i]);

        if (len > 0 && len < PATH_BYTES && runs(path)) {
            return true;
        }
    }
    return false;
}

/* Beside the library, or the program that has it inside. */
static bool
find_near(char path[PATH_BYTES])
{
    static const char anchor; /* some address in the library */
    char program[PATH_BYTES];
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    Dl_info info;

    if (dladdr(&anchor, &info) != 0 && info.dli_fname != NULL
        && find_beside(info.dli_fname, path)) {
        return true;
    }
    program[len > 0 ? len : 0] = '\0';
    return find_beside(program, path);
}

/* A program that runs with another's rights uses the installed one only. */
static bool
find_program(char path[PATH_BYTES])
{
    const char *said = secure_getenv("BELAY_GPU_PROBE");

    if (said != NULL && said[0] != '\0') {
        (void)snprintf(path, PATH_BYTES, "%s", said);
        return runs(path);
    }
    if (getauxval(AT_SECURE) == 0 && find_near(path)) {
        return true;
    }
    (void)snprintf(path, PATH_BYTES, "%s", BELAY_GPU_PROBE_PATH);
    return runs(path);
}

/* ---- starting ---- */

static int
spawn_with(const char *path, char *const *args, int pipe_end,
    posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes,
    pid_t *ret)
{
    sigset_t signals;
    int code = 0;

    for (int fd = 0; fd < 3 && code == 0; fd++) {
        code = posix_spawn_file_actions_addopen(
            actions, fd, "/dev/null", O_RDWR, 0);
    }
    if (code == 0) {
        code = posix_spawn_file_actions_adddup2(
            actions, pipe_end, BELAY__GPU_HELPER_FD);
    }
    if (code == 0) {
        code = posix_spawn_file_actions_addclosefrom_np(
            actions, BELAY__GPU_HELPER_FD + 1);
    }
    /* Ours are blocked here, on a thread that works for a driver. */
    (void)sigemptyset(&signals);
    if (code == 0) {
        code = posix_spawnattr_setsigmask(attributes, &signals);
    }
    (void)sigfillset(&signals);
    if (code == 0) {
        code = posix_spawnattr_setsigdefault(attributes, &signals);
    }
    if (code == 0) {
        code = posix_spawnattr_setflags(
            attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    }
    return code != 0
               ? code
               : posix_spawn(ret, path, actions, attributes, args, environ);
}

static int
spawn(const char *path, const char *kind, const char *settings, int timeout_ms,
    int pipe_end, pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char name[] = "belay-gpu-probe";
    char patience[16];
    char of_kind[32];
    char of_settings[BELAY__GPU_NOTE];
    char *const args[] = {name, patience, of_kind, of_settings, NULL};
    int code;

    /* It ends itself should we not live to end it. */
    (void)snprintf(patience, sizeof(patience), "%d", timeout_ms / 1000 + 2);
    (void)snprintf(of_kind, sizeof(of_kind), "%s", kind);
    (void)snprintf(of_settings, sizeof(of_settings), "%s", settings);
    code = posix_spawn_file_actions_init(&actions);
    if (code != 0) {
        return code;
    }
    code = posix_spawnattr_init(&attributes);
    if (code == 0) {
        code = spawn_with(path, args, pipe_end, &actions, &attributes, ret);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return code;
}

/* ---- waiting ---- */

static int64_t
now_ms(void)
{
    return (int64_t)(uv_hrtime() / 1000000);
}

/* Up to the end of the file, of the room, or of the time. */
static size_t
read_all(int fd, int64_t end_ms, char *to, size_t room)
{
    size_t len = 0;
    ssize_t got = 1;

    while (len < room && got > 0 && now_ms() < end_ms) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};

        if (poll(&ready, 1, (int)(end_ms - now_ms())) > 0) {
            got = read(fd, to + len, room - len);
            len += got > 0 ? (size_t)got : 0;
        }
    }
    return len;
}

/* False if it has not ended in time. */
static bool
wait_for(pid_t child, int64_t end_ms, int *ret_status)
{
    const struct timespec step = {0, STEP_MS * 1000000L};

    for (;;) {
        pid_t ended = waitpid(child, ret_status, WNOHANG);

        if (ended == child) {
            return true;
        }
        if (ended < 0 && errno != EINTR) {
            *ret_status = 0; /* somebody else has waited for it */
            return true;
        }
        if (now_ms() >= end_ms) {
            return false;
        }
        (void)nanosleep(&step, NULL);
    }
}

/* What has become of it, when its report is not whole. */
static void
tell_end(int status, char *why)
{
    if (WIFSIGNALED(status)) {
        (void)snprintf(why, BELAY__GPU_NOTE,
            "looking for devices has ended the program that looked: signal "
            "%d (%s)",
            WTERMSIG(status), strsignal(WTERMSIG(status)));
    } else {
        (void)snprintf(why, BELAY__GPU_NOTE,
            "the program that looks for devices has made no report: exit "
            "code %d",
            WEXITSTATUS(status));
    }
}

static int
end_hanging(pid_t child, int timeout_ms, char *why)
{
    int status;

    (void)kill(child, SIGKILL);
    (void)snprintf(why, BELAY__GPU_NOTE,
        "looking for devices has not ended within %d ms%s", timeout_ms,
        wait_for(child, now_ms() + DYING_MS, &status)
            ? ""
            : ", and the program that looks cannot be killed");
    return BELAY_ENOSYS;
}

static int
follow(pid_t child, int fd, int timeout_ms, char *report,
    struct belay__gpu_devinfo *ret, uint32_t room, char *why)
{
    int64_t end_ms = now_ms() + timeout_ms;
    size_t len = read_all(fd, end_ms, report, BELAY__GPU_HELPER_MAX);
    int status = 0;
    int code;

    /* What is said is said, also if it then hangs in its exit. */
    code = belay__gpu_helper_read(report, len, ret, room, why);
    if (code != BELAY_EPROTO || len == BELAY__GPU_HELPER_MAX) {
        (void)kill(child, SIGKILL);
        (void)wait_for(child, now_ms() + DYING_MS, &status);
        if (code != BELAY_EPROTO) {
            return code;
        }
        (void)snprintf(why, BELAY__GPU_NOTE,
            "the program that looks for devices reports without end");
        return BELAY_ENOSYS;
    }
    if (!wait_for(child, end_ms, &status)) {
        return end_hanging(child, timeout_ms, why);
    }
    tell_end(status, why);
    return BELAY_ENOSYS;
}

int
belay__gpu_helper_ask(const char *kind, const char *settings, int timeout_ms,
    struct belay__gpu_devinfo *ret, uint32_t room, char why[BELAY__GPU_NOTE])
{
    char path[PATH_BYTES];
    char *report;
    pid_t child;
    int ends[2];
    int code;

    if (!find_program(path)) {
        (void)snprintf(why, BELAY__GPU_NOTE,
            "the program that looks for devices is not there: %.100s", path);
        return BELAY_ENOSYS;
    }
    report = malloc(BELAY__GPU_HELPER_MAX);
    if (report == NULL || pipe2(ends, O_CLOEXEC) < 0) {
        (void)snprintf(why, BELAY__GPU_NOTE, "%s", strerror(errno));
        free(report);
        return BELAY_ENOMEM;
    }
    code = spawn(path, kind, settings, timeout_ms, ends[1], &child);
    (void)close(ends[1]);
    if (code != 0) {
        (void)snprintf(
            why, BELAY__GPU_NOTE, "%.100s: %s", path, strerror(code));
        code = BELAY_ENOSYS;
    } else {
        code = follow(child, ends[0], timeout_ms, report, ret, room, why);
    }
    (void)close(ends[0]);
    free(report);
    return code;
}
