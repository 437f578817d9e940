/* gpu_locks.c - processes that share devices, killed at random: G39-G41.
 *
 * usage: stress-gpu_locks [leases [seed]]
 *
 * Four processes lease two slots of two simulated devices each, in exclusive
 * pools. Memory that all of them see has an owner for each slot: who is granted
 * one must find it without an owner, or with one that the parent has marked as
 * killed, and must still be the owner when the lease ends. The parent kills one
 * after the other with SIGKILL at random times and starts it anew.
 *
 * At the end a process keeps a device's only slot busy with leases of a few
 * microseconds, and others have to get in all the same, time and again, before
 * it has had ROUNDS_MAX of them (G40). A wait is counted in these and not in
 * seconds, since a machine may be slow.
 */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <belay/belay.h>
#include <belay/gpu_stats.h>

enum {
    WORKERS = 4,
    DEVICES = 2,
    SLOTS = 2,
    ALL_SLOTS = DEVICES * SLOTS,
    TASKS = 6,      /* of a worker, at a time */
    LATECOMERS = 3, /* processes … */
    COMINGS = 40,   /* … that come so often each */
    ROUNDS_MAX = 1000000,
    KILLS_MAX = 4096,
    STILL_MS = 60000 /* without a lease: given up */
};

#define CHECK(condition)                                                \
    do {                                                                \
        if (!(condition)) {                                             \
            (void)fprintf(                                              \
                stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                    \
        }                                                               \
    } while (0)

/* What all processes see. A life is a start of a worker; from 1. */
static struct shared {
    _Atomic uint32_t owner[ALL_SLOTS];                /* a life, or 0 */
    _Atomic uint32_t killed[KILLS_MAX + WORKERS + 8]; /* by life */
    _Atomic uint32_t leases;
    _Atomic uint32_t inherited; /* from one that was killed */
    _Atomic uint32_t stop;
    /* The last act. */
    _Atomic uint64_t rounds;            /* leases of who is there */
    _Atomic uint64_t asked[LATECOMERS]; /* in which round, from 1; 0: not */
    _Atomic uint64_t longest;           /* wait, in rounds */
    _Atomic uint64_t longest_ns;
} * shared;

static uint32_t life; /* of this process */
static char folder[64];

static uint64_t
next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* ---- a worker ---- */

static uint32_t
slot_of(belay_gpu_pool *pool, uint64_t task_id)
{
    struct belay_gpu_slot_stats stats = {.size = sizeof(stats)};

    for (uint32_t i = 0; belay_gpu_pool_slot(pool, i, &stats) == 0; i++) {
        if (stats.task_id == task_id) {
            return i;
        }
    }
    abort();
}

static void
take(uint32_t slot)
{
    const uint32_t before = atomic_exchange(&shared->owner[slot], life);

    if (before != 0) {
        CHECK(before != life);
        CHECK(atomic_load(&shared->killed[before]) != 0);
        atomic_fetch_add(&shared->inherited, 1);
    }
    atomic_fetch_add(&shared->leases, 1);
}

static void
give(uint32_t slot)
{
    CHECK(atomic_exchange(&shared->owner[slot], 0) == life);
}

struct user {
    belay_gpu_pool *pool;
    uint64_t seed;
    /* locals */
    belay_gpu_lease lease;
    uint32_t slot;
    struct belay_cancel_status status;
};

/* Some are given up while they wait for a lock, some while they hold one. */
static belay_duration
patience(struct user *self)
{
    const uint64_t dice = next_random(&self->seed) % 100;

    return dice >= 20 ? BELAY_FOREVER : belay_microseconds((int64_t)dice * 97);
}

BELAY_ASYNC(user)
{
    BELAY_BEGIN;
    while (atomic_load(&shared->stop) == 0) {
        BELAY_WITH (belay_move_on(task, patience(self), &self->status)) {
            BELAY_WITH (belay_gpu_lease_open(task, self->pool,
                BELAY_GPU_LEASE_OPTS(.priority = (uint32_t)(self->seed % 3)),
                &self->lease)) {
                self->slot = slot_of(self->pool, belay_task_id(task));
                take(self->slot);
                BELAY_TRY(belay_sleep(
                    task, belay_microseconds(
                              (int64_t)(next_random(&self->seed) % 2000))));
                give(self->slot);
            }
        }
    }
    BELAY_END;
}

struct worker {
    uint64_t seed;
    /* locals */
    belay_gpu_pool *pool;
    belay_group *group;
};

BELAY_ASYNC(worker)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = "sim:devices=2,slots=2,seed=1",
            .exclusive = true, .lock_folder = folder),
        &self->pool)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (uint64_t i = 0; i < TASKS; i++) {
                BELAY_CHECK(belay_spawn(self->group, user, .pool = self->pool,
                    .seed = self->seed * TASKS + i));
            }
        }
    }
    BELAY_END;
}

/* ---- the last act ---- */

#define ONLY_SLOT                                                  \
    BELAY_GPU_POOL_OPTS(.devices = "sim:devices=1,slots=1,seed=1", \
        .exclusive = true, .lock_folder = folder)

struct regular {
    belay_gpu_pool *pool;
    /* locals */
    belay_gpu_lease lease;
};

BELAY_ASYNC(regular)
{
    BELAY_BEGIN;
    while (atomic_load(&shared->stop) == 0) {
        BELAY_WITH (
            belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
            take(0);
            atomic_fetch_add(&shared->rounds, 1);
            BELAY_AWAIT(belay_checkpoint(task));
            give(0);
        }
    }
    BELAY_END;
}

/* Never without a request. */
struct house {
    /* locals */
    belay_gpu_pool *pool;
    belay_group *group;
};

BELAY_ASYNC(house)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task, ONLY_SLOT, &self->pool)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (int i = 0; i < TASKS; i++) {
                BELAY_CHECK(
                    belay_spawn(self->group, regular, .pool = self->pool));
            }
        }
    }
    BELAY_END;
}

struct latecomer {
    int number;
    uint64_t seed;
    /* locals */
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
    int comings;
    uint64_t asked;
    belay_time since;
};

static void
raise_to(_Atomic uint64_t *longest, uint64_t wait)
{
    uint64_t seen = atomic_load(longest);

    while (seen < wait && !atomic_compare_exchange_weak(longest, &seen, wait)) {
    }
}

static void
ask(struct latecomer *self, belay_time now)
{
    self->since = now;
    self->asked = atomic_load(&shared->rounds) + 1;
    atomic_store(&shared->asked[self->number], self->asked);
}

static void
enter(const struct latecomer *self, belay_time now)
{
    atomic_store(&shared->asked[self->number], 0);
    raise_to(&shared->longest, atomic_load(&shared->rounds) + 1 - self->asked);
    raise_to(&shared->longest_ns, (uint64_t)(now.ns - self->since.ns));
}

BELAY_ASYNC(latecomer)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_gpu_pool_open(task, ONLY_SLOT, &self->pool)) {
        for (; self->comings < COMINGS; self->comings++) {
            BELAY_AWAIT(belay_sleep(
                task, belay_microseconds(
                          (int64_t)(next_random(&self->seed) % 5000))));
            ask(self, belay_now(task));
            BELAY_WITH (
                belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
                enter(self, belay_now(task));
                take(0);
                give(0);
            }
        }
    }
    BELAY_END;
}

/* ---- the parent ---- */

static pid_t
start(uint32_t life_, const belay_function *function, const void *arguments)
{
    const pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* should a check fail */
        life = life_;
        CHECK(belay_run(function, arguments, NULL, NULL) == 0);
        _exit(0);
    }
    return pid;
}

static void
pause_us(uint64_t us)
{
    const struct timespec span = {
        (time_t)(us / 1000000), (long)(us % 1000000) * 1000};

    (void)nanosleep(&span, NULL);
}

static void
expect_end(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) < 0) {
        CHECK(errno == EINTR);
    }
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static pid_t
start_worker(uint32_t life_, uint64_t seed)
{
    return start(life_, &worker, &(const struct worker){.seed = seed + life_});
}

/* Gives the number of lives. */
static uint32_t
kill_and_start(uint32_t leases, uint64_t seed)
{
    pid_t pids[WORKERS];
    uint32_t lives[WORKERS];
    uint32_t next = 1;
    uint32_t still_ms = 0;
    uint32_t before = 0;
    uint64_t random = seed;
    int status;

    for (int i = 0; i < WORKERS; i++) {
        lives[i] = next;
        pids[i] = start_worker(next++, seed);
    }
    while (atomic_load(&shared->leases) < leases && next < KILLS_MAX) {
        const uint32_t victim = (uint32_t)(next_random(&random) % WORKERS);
        const uint64_t us = next_random(&random) % 40000;

        pause_us(us);
        still_ms += (uint32_t)(us / 1000);
        if (atomic_load(&shared->leases) != before) {
            before = atomic_load(&shared->leases);
            still_ms = 0;
        }
        CHECK(still_ms < STILL_MS);
        CHECK(waitpid(pids[victim], &status, WNOHANG) == 0);
        /* Said first: from here on its slots may be inherited. */
        atomic_store(&shared->killed[lives[victim]], 1);
        CHECK(kill(pids[victim], SIGKILL) == 0);
        CHECK(waitpid(pids[victim], &status, 0) == pids[victim]);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        lives[victim] = next;
        pids[victim] = start_worker(next++, seed);
    }
    CHECK(atomic_load(&shared->leases) >= leases);
    atomic_store(&shared->stop, 1);
    for (int i = 0; i < WORKERS; i++) {
        expect_end(pids[i]);
    }
    return next;
}

static bool
has_ended(pid_t *pid)
{
    int status = -1;
    const pid_t ended = waitpid(*pid, &status, WNOHANG);

    if (ended == 0) {
        return false;
    }
    CHECK(ended == *pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    *pid = 0;
    return true;
}

/* Until all have been in as often as they were to. */
static void
watch_latecomers(pid_t pids[LATECOMERS])
{
    uint32_t before = 0;
    uint32_t still_ms = 0;
    uint64_t asked;
    int left = LATECOMERS;

    for (; left > 0; pause_us(1000), still_ms++) {
        for (int i = 0; i < LATECOMERS; i++) {
            left -= pids[i] != 0 && has_ended(&pids[i]);
            asked = atomic_load(&shared->asked[i]);
            CHECK(asked == 0
                  || atomic_load(&shared->rounds) < asked + ROUNDS_MAX);
        }
        if (atomic_load(&shared->leases) != before) {
            before = atomic_load(&shared->leases);
            still_ms = 0;
        }
        CHECK(still_ms < STILL_MS);
    }
}

static void
get_in(uint32_t next, uint64_t seed)
{
    pid_t pids[LATECOMERS];
    pid_t busy;

    atomic_store(&shared->stop, 0);
    busy = start(next++, &house, &(const struct house){0});
    while (atomic_load(&shared->rounds) < TASKS) {
        pause_us(1000);
    }
    for (int i = 0; i < LATECOMERS; i++) {
        pids[i] = start(next, &latecomer,
            &(const struct latecomer){.number = i, .seed = seed + next});
        next++;
    }
    watch_latecomers(pids);
    atomic_store(&shared->stop, 1);
    expect_end(busy);
}

static void
remove_folder(void)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -r %s", folder);
    CHECK(system(command) == 0);
}

int
main(int argc, char **argv)
{
    const uint32_t leases =
        argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 3000;
    const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint32_t next;

    (void)snprintf(folder, sizeof(folder), "/tmp/belay-locks-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    (void)printf("seed %llu\n", (unsigned long long)seed);
    (void)fflush(stdout);
    next = kill_and_start(leases, seed);
    get_in(next, seed);
    for (int i = 0; i < ALL_SLOTS; i++) {
        const uint32_t owner = atomic_load(&shared->owner[i]);

        CHECK(owner == 0 || atomic_load(&shared->killed[owner]) != 0);
    }
    (void)printf("%u leases, %u processes killed, %u slots inherited\n",
        atomic_load(&shared->leases), next - 1 - WORKERS,
        atomic_load(&shared->inherited));
    (void)printf("the longest wait: %llu rounds, %.1f ms\n",
        (unsigned long long)atomic_load(&shared->longest),
        (double)atomic_load(&shared->longest_ns) / 1e6);
    CHECK(atomic_load(&shared->inherited) > 0);
    remove_folder();
    return 0;
}
