/* test_gpu_lock.c - slots that one process at a time has: G39-G42.
 *
 * A lock belongs to an open file, so the test is another process as far as the
 * kernel can tell. test/stress/gpu_locks.c has real ones, which are killed.
 */
#define _GNU_SOURCE /* syscall() */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gpu/internal.h"
#include "test/support/gpu_crowd.h"

static char folder[64];
static int interruptions; /* of the next calls of flock() */
static int collisions;    /* of the next shared locks with another's */

/* In front of libc's. */
int flock(int fd, int operation);

int
flock(int fd, int operation)
{
    if (interruptions > 0) {
        interruptions--;
        errno = EINTR;
        return -1;
    }
    if (collisions > 0 && (operation & LOCK_SH) != 0) {
        collisions--;
        errno = EWOULDBLOCK;
        return -1;
    }
    return (int)syscall(SYS_flock, fd, operation);
}

static void
make_folder(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/belay-lock-XXXXXX");
    cr_assert(ne(ptr, mkdtemp(folder), NULL));
}

static void
remove_folder(void)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    cr_assert(eq(int, system(command), 0));
    check_clean();
}

TestSuite(gpu_lock, .init = make_folder, .fini = remove_folder, .timeout = 60);

#define SIM "sim:seed=7,devices=1,slots=1"

/* "<folder>/belay-gpu-<device>-<slot>.<kind>" */
static const char *
path_of(int device, int slot, const char *kind)
{
    static char path[160];

    (void)snprintf(path, sizeof(path),
        "%s/belay-gpu-SIM-0000000000000007-%d-%d.%s", folder, device, slot,
        kind);
    return path;
}

/* ---- the stranger ---- */

static int
open_path(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

    cr_assert(ge(int, fd, 0));
    return fd;
}

static bool
try_lock(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* A lock that another process has from now on. */
static int
foreign_lock(int device, int slot)
{
    const int fd = open_path(path_of(device, slot, "lock"));

    cr_assert(try_lock(fd));
    return fd;
}

static bool
is_locked(int device, int slot, const char *kind)
{
    const int fd = open_path(path_of(device, slot, kind));
    const bool locked = !try_lock(fd);

    (void)close(fd);
    return locked;
}

/* ---- granted, or not ---- */

#define EXCLUSIVE(devices_) \
    .no_model = true,       \
    .opts = {.devices = (devices_), .exclusive = true, .lock_folder = folder}

static void
nothing_is_locked(belay_gpu_pool *pool)
{
    (void)pool;
    for (int i = 0; i < 2; i++) {
        cr_expect(not(is_locked(0, i, "lock")), "%d", i);
        cr_expect(not(is_locked(0, i, "want")), "%d", i);
    }
}

static belay_next
is_ours(belay_task *task, void *self)
{
    (void)self;
    trace(is_locked(0, 0, "lock") ? "locked" : "not locked");
    return belay_return(task, NULL);
}

static const belay_function look_at_lock = {
    "look_at_lock", __FILE__, sizeof(struct gpu_inside), is_ours, 0};

Test(gpu_lock, g39_a_lease_holds_the_lock_and_gives_it_back)
{
    const struct gpu_job jobs[] = {
        {.name = "a", .inside = &look_at_lock},
        {.name = "b", .at_ms = 5, .inside = &look_at_lock},
    };

    cr_expect(
        eq(int, CROWD(jobs, EXCLUSIVE(SIM), .after = nothing_is_locked), 0));
    expect_trace("a+0; locked; a-; b+0; locked; b-");
}

Test(gpu_lock, g39_a_slot_that_another_process_has_is_not_granted)
{
    const struct gpu_job jobs[] = {
        {.name = "a", .hold_ms = 2},
        {.name = "b", .no_wait = true},
        {.name = "c", .hold_ms = 1},
    };
    const int fd = foreign_lock(0, 0);

    cr_expect(
        eq(int, CROWD(jobs, EXCLUSIVE("sim:seed=7,devices=1,slots=2")), 0));
    expect_trace("a+1; b!GPU_EAGAIN; a-; c+1; c-");
    (void)close(fd);
}

Test(gpu_lock, g39_without_exclusive_nobody_looks)
{
    const struct gpu_job jobs[] = {{.name = "a"}};
    const int fd = foreign_lock(0, 0);

    cr_expect(eq(
        int, CROWD(jobs, .opts = {.devices = SIM, .lock_folder = folder}), 0));
    expect_trace("a+0; a-");
    (void)close(fd);
}

/* ---- waiting for another process ---- */

struct visit {
    bool holds;   /* the stranger has the lock; else it tries, and tries */
    bool says_so; /* that it waits … */
    bool idles;   /* … but it does not come for it */
    bool looks;   /* whether anybody waits, before it leaves */
    int leave_ms; /* after that it is given back, as by a death */
    const struct belay_gpu_pool_opts *opts;
    int jobs;
    int hold_ms;
    int cancel_ms; /* of the first job; 0: never */
    /* locals */
    belay_gpu_pool *pool;
    belay_group *group;
    belay_task *first;
    int fd;
    int want_fd;
    int i;
};

struct guest {
    belay_gpu_pool *pool;
    int number;
    int hold_ms;
    /* locals */
    belay_gpu_lease lease;
};

BELAY_ASYNC(guest)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
        trace("%d", self->number);
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(self->hold_ms)));
    }
    BELAY_END;
}

struct stranger {
    struct visit *visit;
};

BELAY_ASYNC(stranger)
{
    BELAY_BEGIN;
    if (!self->visit->holds && !self->visit->idles) {
        while (!try_lock(self->visit->fd)) {
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
        }
        trace("stranger");
    }
    if (!self->visit->idles) {
        (void)close(self->visit->want_fd);
    }
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(self->visit->leave_ms)));
    if (self->visit->idles) {
        (void)close(self->visit->want_fd);
    }
    if (self->visit->looks) {
        trace(is_locked(0, 0, "want") ? "is wanted" : "nobody waits");
    }
    trace("leaves");
    (void)close(self->visit->fd);
    BELAY_END;
}

static void
arrive(struct visit *visit)
{
    visit->fd = open_path(path_of(0, 0, "lock"));
    visit->want_fd = open_path(path_of(0, 0, "want"));
    if (visit->holds) {
        cr_assert(try_lock(visit->fd));
    }
    if (visit->says_so) {
        cr_assert(zero(int, flock(visit->want_fd, LOCK_SH | LOCK_NB)));
    }
}

BELAY_ASYNC(visit)
{
    BELAY_BEGIN;
    arrive(self);
    BELAY_WITH (belay_gpu_pool_open(task, self->opts, &self->pool)) {
        gpu_oracle_watch(self->pool, false);
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (self->i = 0; self->i < self->jobs; self->i++) {
                BELAY_CHECK(belay_group_spawn(self->group, &guest,
                    &(const struct guest){.pool = self->pool,
                        .number = self->i,
                        .hold_ms = self->hold_ms},
                    BELAY_SPAWN_OPTS(.task = self->i == 0 && self->cancel_ms > 0
                                                 ? &self->first
                                                 : NULL)));
            }
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_CHECK(belay_spawn(self->group, stranger, .visit = self));
            if (self->cancel_ms > 0) {
                BELAY_AWAIT(
                    belay_sleep(task, belay_milliseconds(self->cancel_ms)));
                (void)belay_task_cancel(self->first, "test");
                belay_task_unref(self->first);
                BELAY_AWAIT(belay_checkpoint(task));
                BELAY_AWAIT(belay_checkpoint(task));
                trace(is_locked(0, 0, "want") ? "still waits" : "gave up");
            }
        }
    }
    BELAY_END;
}

#define ALONE(...)                                         \
    BELAY_GPU_POOL_OPTS(.devices = SIM, .exclusive = true, \
        .lock_folder = folder, __VA_ARGS__)

Test(gpu_lock, g40_who_waits_gets_in_when_the_stranger_leaves)
{
    cr_expect(eq(int,
        RUN(visit, .opts = ALONE(.slots = 1), .holds = true, .leave_ms = 1000,
            .jobs = 2),
        0));
    expect_trace("leaves; 0; 1");
}

/* A wait for a lock is a wait for a lease like any other: it can be cancelled,
 * and nothing of it is left.
 */
Test(gpu_lock, g40_a_wait_for_a_lock_can_be_cancelled)
{
    cr_expect(eq(int,
        RUN(visit, .opts = ALONE(.slots = 1), .holds = true, .leave_ms = 1000,
            .jobs = 1, .cancel_ms = 120),
        0));
    expect_trace("gave up; leaves");
}

Test(gpu_lock, g40_a_stranger_gets_in_between_two_leases)
{
    cr_expect(eq(int,
        RUN(visit, .opts = ALONE(.slots = 1), .says_so = true, .leave_ms = 100,
            .jobs = 3, .hold_ms = 10),
        0));
    expect_trace("0; stranger; leaves; 1; 2");
}

/* A slot was given to one who waits, and does not take it: after 10 ms it is
 * the next one's here, and is not left idle for longer.
 */
Test(gpu_lock, g40_who_does_not_come_loses_his_turn)
{
    cr_expect(eq(int,
        RUN(visit, .opts = ALONE(.slots = 1), .says_so = true, .idles = true,
            .leave_ms = 45, .jobs = 3, .hold_ms = 10),
        0));
    expect_trace("0; 1; 2; leaves");
}

/* A holder that asks whether anybody waits has the file to himself for an
 * instant. Who wanted to say so in that instant says it soon again.
 */
Test(gpu_lock, g40_that_somebody_waits_is_said_until_it_is_heard)
{
    collisions = 5;
    cr_expect(eq(int,
        RUN(visit, .opts = ALONE(.slots = 1), .holds = true, .looks = true,
            .leave_ms = 20, .jobs = 1),
        0));
    cr_expect(eq(int, collisions, 0));
    expect_trace("is wanted; leaves; 0");
}

/* For who does not say that he waits a busy slot is not given up. */
Test(gpu_lock, g40_without_strangers_the_lock_stays_from_lease_to_lease)
{
    cr_expect(eq(int,
        RUN(visit, .opts = ALONE(.slots = 1), .leave_ms = 1, .jobs = 3,
            .hold_ms = 10),
        0));
    expect_trace("0; 1; 2; stranger; leaves");
}

Test(gpu_lock, g40_lock_keep_bounds_how_often_it_is_given_up)
{
    cr_expect(eq(int,
        RUN(visit, .opts = ALONE(.lock_keep = belay_milliseconds(25)),
            .says_so = true, .leave_ms = 100, .jobs = 4, .hold_ms = 10),
        0));
    expect_trace("0; 1; 2; stranger; leaves; 3");
}

Test(gpu_lock, g39_interrupted_calls_are_made_again)
{
    const struct gpu_job jobs[] = {{.name = "a", .inside = &look_at_lock}};

    interruptions = 20;
    cr_expect(eq(int, CROWD(jobs, EXCLUSIVE(SIM)), 0));
    cr_expect(eq(int, interruptions, 0));
    expect_trace("a+0; locked; a-");
}

/* Without an end of interruptions the slot counts as another's; nobody hangs.
 */
Test(gpu_lock, g39_a_lock_that_cannot_be_had_is_a_strangers)
{
    const struct gpu_job jobs[] = {{.name = "a", .no_wait = true}};

    interruptions = 10000;
    cr_expect(eq(int, CROWD(jobs, EXCLUSIVE(SIM)), 0));
    expect_trace("a!GPU_EAGAIN");
}

/* Two devices or none: what can be locked is not kept while the gang waits for
 * the other.
 */
struct pair {
    belay_gpu_pool *pool;
    /* locals */
    belay_gpu_lease lease;
};

BELAY_ASYNC(pair)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_lease_open(
        task, self->pool, BELAY_GPU_LEASE_OPTS(.devices = 2), &self->lease)) {
        trace("both");
        trace(is_locked(0, 0, "lock") && is_locked(1, 0, "lock") ? "locked"
                                                                 : "not");
    }
    BELAY_END;
}

struct gang {
    belay_gpu_pool *pool;
    belay_group *group;
    int fd;
};

BELAY_ASYNC(gang)
{
    BELAY_BEGIN;
    self->fd = foreign_lock(1, 0);
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "sim:seed=7,devices=2,slots=1",
            .exclusive = true, .lock_folder = folder),
        &self->pool)) {
        gpu_oracle_watch(self->pool, false);
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, pair, .pool = self->pool));
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(500)));
            trace(is_locked(0, 0, "lock") ? "kept" : "not kept");
            (void)close(self->fd);
        }
    }
    BELAY_END;
}

Test(gpu_lock, g22_a_gang_keeps_no_lock_while_it_waits)
{
    cr_expect(eq(int, RUN(gang, .fd = -1), 0));
    expect_trace("not kept; both; locked");
}

/* ---- out of service ---- */

/* Loses its device in a lease on slot 0, while a stranger has slot 1; then it
 * wants both.
 */
struct loser {
    const char *devices;
    uint32_t max_resets;
    /* locals */
    belay_gpu_pool *pool;
    belay_group *group;
    belay_gpu_lease lease;
    int fd;
};

static void
trace_resets(belay_gpu_pool *pool)
{
    struct belay_gpu_slot_stats stats[] = {
        {.size = sizeof(stats[0])}, {.size = sizeof(stats[0])}};

    for (uint32_t i = 0; i < 2; i++) {
        cr_assert(zero(int, belay_gpu_pool_slot(pool, i, &stats[i])));
    }
    trace("%u and %u resets", (unsigned)stats[0].resets,
        (unsigned)stats[1].resets);
}

struct lose {
    belay_gpu_lease lease;
    /* locals */
    belay_gpu_kernel *kernel;
};

BELAY_ASYNC(lose)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_gpu_build(
        task, self->lease, BELAY_GPU_SOURCE(.entry = "k"), &self->kernel));
    BELAY_TRY(belay_gpu_run_one(
        task, self->lease, BELAY_GPU_CMD_LAUNCH(self->kernel, 1, 1, NULL, 0)));
    trace("%s", trace_result(belay_result(task)));
    BELAY_CHECK(belay_gpu_release(self->lease));
    BELAY_END;
}

BELAY_ASYNC(loser)
{
    BELAY_BEGIN;
    self->fd = foreign_lock(0, 1);
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = self->devices, .exclusive = true,
            .lock_folder = folder, .max_resets = self->max_resets),
        &self->pool)) {
        gpu_oracle_watch(self->pool, false);
        BELAY_AWAIT(belay_gpu_acquire(task, self->pool, NULL, &self->lease));
        BELAY_AWAIT(BELAY_CALL(lose, .lease = self->lease));
        BELAY_AWAIT(belay_sleep(task, belay_seconds(10)));
        trace_resets(self->pool);
        BELAY_AWAIT(belay_gpu_acquire(task, self->pool, NULL, &self->lease));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, guest, .pool = self->pool));
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(600)));
            trace(is_locked(0, 1, "want") ? "waits" : "does not wait");
            (void)close(self->fd);
            /* Long before it would be tried again without anybody's wait. */
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(250)));
            trace("release");
            BELAY_CHECK(belay_gpu_release(self->lease));
        }
        trace_resets(self->pool);
    }
    BELAY_END;
}

/* A reset is work on a device: it would break what the stranger does there. */
Test(gpu_lock, g39_a_slot_that_another_process_has_is_not_reset)
{
    cr_expect(eq(int,
        RUN(loser, .devices = "sim:seed=7,devices=1,slots=2,fault=sticky@0:1"),
        0));
    expect_trace("GPU_ELOST; 1 and 0 resets; waits; 0; release; "
                 "1 and 1 resets");
}

/* A slot on which no lease has left anything is locked for its resets alone;
 * the other one's lock stays, since nobody knows what still runs there.
 */
struct given_up {
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    int i;
};

BELAY_ASYNC(given_up)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices =
                                "sim:seed=7,devices=1,slots=2,fault=lost@0:1",
            .exclusive = true, .lock_folder = folder, .max_resets = 2),
        &self->pool)) {
        gpu_oracle_watch(self->pool, false);
        BELAY_AWAIT(belay_gpu_acquire(task, self->pool, NULL, &self->lease));
        BELAY_AWAIT(BELAY_CALL(lose, .lease = self->lease));
        for (self->i = 0; self->i < 2; self->i++) {
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(500)));
            trace(is_locked(0, 0, "lock") ? "locked" : "free");
            trace(is_locked(0, 1, "lock") ? "locked" : "free");
            BELAY_AWAIT(belay_sleep(task, belay_seconds(5)));
        }
        trace_resets(self->pool);
    }
    BELAY_END;
}

Test(gpu_lock, g39_a_slot_without_work_is_locked_for_its_resets_alone)
{
    cr_expect(eq(int, RUN(given_up, .i = 0), 0));
    expect_trace("GPU_ELOST; locked; free; locked; free; 2 and 2 resets");
}

static void
forget_trace(const struct belay_result *result, bool disturbed)
{
    (void)result;
    (void)disturbed;
    trace_clear();
}

Test(gpu_lock, g39_a_sweep_of_losses_leaves_no_lock)
{
    const struct given_up arguments = {.i = 0};
    const struct program program = {
        .function = &given_up, .arguments = &arguments, .check = forget_trace};

    sweep(&program);
    nothing_is_locked(NULL);
}

/* ---- files ---- */

Test(gpu_lock, g41_a_stale_file_is_taken_and_stays)
{
    const struct gpu_job jobs[] = {{.name = "a", .inside = &look_at_lock}};
    const int fd = open_path(path_of(0, 0, "lock"));
    struct stat before;
    struct stat after;

    cr_assert(eq(int, (int)write(fd, "12345\n", 6), 6)); /* somebody's */
    cr_assert(zero(int, fstat(fd, &before)));
    (void)close(fd);
    cr_expect(eq(int, CROWD(jobs, EXCLUSIVE(SIM)), 0));
    expect_trace("a+0; locked; a-");
    cr_expect(zero(int, stat(path_of(0, 0, "lock"), &after)));
    cr_expect(eq(u64, before.st_ino, after.st_ino));
    cr_expect(eq(i64, after.st_size, 6));
}

/* Files that were made here are for every user. */
Test(gpu_lock, g41_a_new_file_is_open_to_all)
{
    const struct gpu_job jobs[] = {{.name = "a"}};
    const mode_t before = umask(077);
    struct stat status;

    cr_expect(eq(int, CROWD(jobs, EXCLUSIVE(SIM)), 0));
    (void)umask(before);
    for (int i = 0; i < 2; i++) {
        cr_expect(
            zero(int, stat(path_of(0, 0, i == 0 ? "lock" : "want"), &status)));
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

Test(gpu_lock, g41_neither_exec_nor_fork_inherits_a_lock)
{
    const struct gpu_job jobs[] = {{.name = "a", .inside = &fork_off}};

    cr_expect(eq(int, CROWD(jobs, EXCLUSIVE(SIM)), 0));
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
        BELAY_GPU_POOL_OPTS(.devices = SIM ",fault=hang@0:1", .exclusive = true,
            .lock_folder = folder, .drain_limit = belay_milliseconds(1)),
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
Test(gpu_lock, g41_a_lock_that_is_left_behind_is_not_inherited)
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

Test(gpu_lock, g41_a_device_whose_lock_may_not_be_opened_is_skipped)
{
    char expected[256];

    cr_assert(zero(int, mkdir(path_of(0, 1, "lock"), 0777)));
    cr_expect(eq(int, RUN(picky, .devices = TWO, .lock_folder = folder), 0));
    (void)snprintf(expected, sizeof(expected),
        "sim 1; sim sim 0: its lock %s: %s", path_of(0, 1, "lock"),
        uv_strerror(UV_EISDIR));
    expect_trace(expected);
    cr_assert(zero(int, symlink("/etc/passwd", path_of(1, 0, "want"))));
    cr_expect(
        eq(int, RUN(picky, .devices = TWO, .lock_folder = folder), UV_ELOOP));
}

Test(gpu_lock, g41_a_pipe_in_the_place_of_a_file_holds_nobody_up)
{
    cr_assert(zero(int, mkfifo(path_of(0, 0, "lock"), 0666)));
    cr_expect(
        eq(int, RUN(picky, .devices = SIM, .lock_folder = folder), UV_EINVAL));
}

/* For root no file is closed; so it becomes somebody else for a while. */
static void
become(uid_t user)
{
    if (getuid() == 0) {
        cr_assert(zero(int, seteuid(user)));
    }
}

Test(gpu_lock, g41_another_users_file_and_folder)
{
    const bool root = geteuid() == 0;
    const int fd = open_path(path_of(0, 0, "lock"));

    cr_assert(zero(int, fchmod(fd, root ? 0600 : 0)));
    (void)close(fd);
    cr_assert(zero(int, chmod(folder, 0755)));
    become(65534);
    cr_expect(
        eq(int, RUN(picky, .devices = SIM, .lock_folder = folder), UV_EACCES));
    become(0);
    cr_assert(zero(int, unlink(path_of(0, 0, "lock"))));
    cr_assert(zero(int, chmod(folder, 0555)));
    become(65534);
    cr_expect(
        eq(int, RUN(picky, .devices = SIM, .lock_folder = folder), UV_EACCES),
        "no file can be made here");
    become(0);
    cr_assert(zero(int, chmod(folder, 0755)));
}

Test(gpu_lock, g43_a_folder_that_is_none)
{
    char longer[300];

    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    cr_expect(
        eq(int, RUN(picky, .devices = SIM, .lock_folder = "/none"), UV_ENOENT));
    cr_expect(eq(int, RUN(picky, .devices = SIM, .lock_folder = "/dev/null"),
        UV_ENOTDIR));
    cr_expect(
        eq(int, RUN(picky, .devices = SIM, .lock_folder = ""), BELAY_EINVAL));
    cr_expect(eq(
        int, RUN(picky, .devices = SIM, .lock_folder = longer), BELAY_EINVAL));
}

/* ---- whatever happens in between ---- */

Test(gpu_lock, g40_a_sweep_leaves_no_lock)
{
    const struct gpu_job jobs[] = {
        {.name = "a", .hold_ms = 2},
        {.name = "b", .timeout_ms = 100},
        {.name = "c", .devices = 2, .timeout_ms = 100},
    };
    const struct gpu_crowd crowd = {
        .jobs = jobs, .count = 3, EXCLUSIVE("sim:seed=7,devices=2,slots=1")};
    const int fd = foreign_lock(1, 0);

    gpu_crowd_sweep(&crowd);
    (void)close(fd);
    gpu_crowd_sweep(&crowd);
    nothing_is_locked(NULL);
}
