/* test_gpu_lock_files.c - the files of the locks: G41, and what of G43 is theirs.
 *
 * Who may open them, who inherits them, and what else may lie in their places.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gpu/internal.h"
#include "test/support/gpu_locks.h"

TestSuite(gpu_lock_files, .init = lock_folder_make, .fini = test_files_fini,
    .timeout = 60);

Test(gpu_lock_files, g41_a_stale_file_is_taken_and_stays)
{
    const struct gpu_job jobs[] = {{.name = "a", .inside = &look_at_lock}};
    const int fd = lock_file_open(lock_path(0, 0, "lock"));
    struct stat before;
    struct stat after;

    cr_assert(eq(int, (int)write(fd, "12345\n", 6), 6)); /* somebody's */
    cr_assert(zero(int, fstat(fd, &before)));
    (void)close(fd);
    cr_expect(eq(int, CROWD(jobs, EXCLUSIVE(LOCK_SIM)), 0));
    expect_trace("a+0; locked; a-");
    cr_expect(zero(int, stat(lock_path(0, 0, "lock"), &after)));
    cr_expect(eq(u64, before.st_ino, after.st_ino));
    cr_expect(eq(i64, after.st_size, 6));
}

/* Files that were made here are for every user. */
Test(gpu_lock_files, g41_a_new_file_is_open_to_all)
{
    const struct gpu_job jobs[] = {{.name = "a"}};
    const mode_t before = umask(077);
    struct stat status;

    cr_expect(eq(int, CROWD(jobs, EXCLUSIVE(LOCK_SIM)), 0));
    (void)umask(before);
    for (int i = 0; i < 2; i++) {
        cr_expect(zero(
            int, stat(lock_path(0, 0, i == 0 ? "lock" : "want"), &status)));
        cr_expect(eq(u32, status.st_mode & 0777, 0666));
    }
}

/* What does this process have open that is called so? Each is to be closed by
 * an exec.
 */
static int
count_lock_files(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++) {
        char link[64];
        char target[256];
        ssize_t len;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        len = readlink(link, target, sizeof(target) - 1);
        if (len < 0) {
            continue;
        }
        target[len] = '\0';
        if (strstr(target, "belay-gpu-") != NULL
            || strstr(target, "inotify") != NULL) {
            count++;
            cr_expect(
                ne(int, fcntl(fd, F_GETFD) & FD_CLOEXEC, 0), "%s", target);
        }
    }
    return count;
}

/* The child has no copy, so it cannot keep a lock after its parent's death. */
static belay_next
fork_step(belay_task *task, void *self)
{
    int status = -1;
    const int before = count_lock_files();
    const pid_t child = fork();

    (void)self;
    if (child == 0) {
        _exit(count_lock_files());
    }
    cr_assert(eq(int, waitpid(child, &status, 0), child));
    trace("%d, in the child %d", before, WEXITSTATUS(status));
    trace(is_locked(0, 0, "lock") ? "locked" : "not locked");
    return belay_return(task, NULL);
}

static const belay_function fork_off = {
    "fork_off", __FILE__, sizeof(struct gpu_inside), fork_step, 0};

Test(gpu_lock_files, g41_neither_exec_nor_fork_inherits_a_lock)
{
    const struct gpu_job jobs[] = {{.name = "a", .inside = &fork_off}};

    cr_expect(eq(int, CROWD(jobs, EXCLUSIVE(LOCK_SIM)), 0));
    expect_trace("a+0; 2, in the child 0; locked; a-");
}

/* A kernel that never ends, and a pool that is left all the same. */
struct hung {
    /* locals */
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    belay_gpu_kernel *kernel;
};

BELAY_ASYNC(hung)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = LOCK_SIM ",fault=hang@0:1",
            .exclusive = true, .lock_folder = test_folder,
            .drain_limit = belay_milliseconds(1)),
        &self->pool)) {
        gpu_oracle_watch(self->pool, false);
        BELAY_AWAIT(belay_gpu_acquire(task, self->pool, NULL, &self->lease));
        BELAY_AWAIT(belay_gpu_build(
            task, self->lease, BELAY_GPU_SOURCE(.entry = "k"), &self->kernel));
        BELAY_WITH (belay_move_on(task, belay_milliseconds(5), NULL)) {
            BELAY_AWAIT(belay_gpu_run_one(task, self->lease,
                BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, NULL, 0)));
        }
        BELAY_CHECK(belay_gpu_release(self->lease));
    }
    BELAY_END;
}

/* The device may still be at it: so nobody else gets the slot while this
 * process lives. But a child of it must not keep the lock for longer.
 */
Test(gpu_lock_files, g41_a_lock_that_is_left_behind_is_not_inherited)
{
    belay_clock *clock = belay_clock_new(true);
    int status = -1;
    pid_t child;

    /* Not by RUN(), which expects all files to be closed. */
    cr_expect(eq(int,
        belay_run(&hung, &(const struct hung){0},
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock),
            NULL),
        BELAY_GPU_ESTUCK));
    belay_clock_free(clock);
    cr_expect(eq(int, count_lock_files(), 1));
    child = fork();
    if (child == 0) {
        _exit(count_lock_files());
    }
    cr_assert(eq(int, waitpid(child, &status, 0), child));
    cr_expect(eq(int, WEXITSTATUS(status), 0));
    cr_expect(is_locked(0, 0, "lock"));
}

/* ---- what cannot be opened ---- */

struct picky {
    const char *devices;
    const char *lock_folder;
    /* locals */
    belay_gpu_pool *pool;
    struct belay_gpu_device device;
};

BELAY_ASYNC(picky)
{
    BELAY_BEGIN;
    self->device.size = sizeof(self->device);
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = self->devices, .exclusive = true,
            .lock_folder = self->lock_folder),
        &self->pool)) {
        for (uint32_t i = 0;
             belay_gpu_pool_device(self->pool, i, &self->device) == 0; i++) {
            trace("%s", self->device.name);
        }
        trace("%s", belay_gpu_pool_note(self->pool));
    }
    BELAY_END;
}

#define TWO "sim:seed=7,devices=2,slots=2"

Test(gpu_lock_files, g41_a_device_whose_lock_may_not_be_opened_is_skipped)
{
    char expected[256];

    cr_assert(zero(int, mkdir(lock_path(0, 1, "lock"), 0777)));
    cr_expect(
        eq(int, RUN(picky, .devices = TWO, .lock_folder = test_folder), 0));
    (void)snprintf(expected, sizeof(expected),
        "sim 1; sim sim 0: its lock %s: %s", lock_path(0, 1, "lock"),
        uv_strerror(UV_EISDIR));
    expect_trace(expected);
    cr_assert(zero(int, symlink("/etc/passwd", lock_path(1, 0, "want"))));
    cr_expect(eq(
        int, RUN(picky, .devices = TWO, .lock_folder = test_folder), UV_ELOOP));
}

Test(gpu_lock_files, g41_a_pipe_in_the_place_of_a_file_holds_nobody_up)
{
    cr_assert(zero(int, mkfifo(lock_path(0, 0, "lock"), 0666)));
    cr_expect(
        eq(int, RUN(picky, .devices = LOCK_SIM, .lock_folder = test_folder),
            UV_EINVAL));
}

/* For root no file is closed; so it becomes somebody else for a while. */
static void
become(uid_t user)
{
    if (getuid() == 0) {
        cr_assert(zero(int, seteuid(user)));
    }
}

Test(gpu_lock_files, g41_another_users_file_and_folder)
{
    const bool root = geteuid() == 0;
    const int fd = lock_file_open(lock_path(0, 0, "lock"));

    cr_assert(zero(int, fchmod(fd, root ? 0600 : 0)));
    (void)close(fd);
    cr_assert(zero(int, chmod(test_folder, 0755)));
    become(65534);
    cr_expect(
        eq(int, RUN(picky, .devices = LOCK_SIM, .lock_folder = test_folder),
            UV_EACCES));
    become(0);
    cr_assert(zero(int, unlink(lock_path(0, 0, "lock"))));
    cr_assert(zero(int, chmod(test_folder, 0555)));
    become(65534);
    cr_expect(
        eq(int, RUN(picky, .devices = LOCK_SIM, .lock_folder = test_folder),
            UV_EACCES),
        "no file can be made here");
    become(0);
    cr_assert(zero(int, chmod(test_folder, 0755)));
}

Test(gpu_lock_files, g43_a_folder_that_is_none)
{
    char longer[300];

    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    cr_expect(eq(int, RUN(picky, .devices = LOCK_SIM, .lock_folder = "/none"),
        UV_ENOENT));
    cr_expect(
        eq(int, RUN(picky, .devices = LOCK_SIM, .lock_folder = "/dev/null"),
            UV_ENOTDIR));
    cr_expect(eq(
        int, RUN(picky, .devices = LOCK_SIM, .lock_folder = ""), BELAY_EINVAL));
    cr_expect(eq(int, RUN(picky, .devices = LOCK_SIM, .lock_folder = longer),
        BELAY_EINVAL));
}
