/* test_gpu_lock_wait.c - waiting for slots that another process has: G40. */
#include <sys/file.h>
#include <unistd.h>

#include "gpu/internal.h"
#include "test/support/gpu_locks.h"

TestSuite(gpu_lock_wait, .init = lock_folder_make, .fini = test_files_fini,
    .timeout = 60);

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
        while (!lock_try(self->visit->fd)) {
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
        }
        trace("stranger");
    }
    if (!self->visit->idles) {
        lock_file_close(&self->visit->want_fd);
    }
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(self->visit->leave_ms)));
    if (self->visit->idles) {
        lock_file_close(&self->visit->want_fd);
    }
    if (self->visit->looks) {
        trace(is_locked(0, 0, "want") ? "is wanted" : "nobody waits");
    }
    trace("leaves");
    lock_file_close(&self->visit->fd);
    BELAY_END;
}

static void
arrive(struct visit *visit)
{
    visit->fd = lock_file_open(lock_path(0, 0, "lock"));
    visit->want_fd = lock_file_open(lock_path(0, 0, "want"));
    if (visit->holds) {
        cr_assert(lock_try(visit->fd));
    }
    if (visit->says_so) {
        cr_assert(zero(int, flock(visit->want_fd, LOCK_SH | LOCK_NB)));
    }
}

/* However it ends. */
static void
depart(void *arg)
{
    struct visit *visit = arg;

    lock_file_close(&visit->fd);
    lock_file_close(&visit->want_fd);
    belay_task_unref(visit->first);
    visit->first = NULL;
}

struct host {
    struct visit *visit;
};

BELAY_ASYNC(host)
{
    struct visit *visit = self->visit;

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &visit->group)) {
        for (visit->i = 0; visit->i < visit->jobs; visit->i++) {
            BELAY_CHECK(belay_group_spawn(visit->group, &guest,
                &(const struct guest){.pool = visit->pool,
                    .number = visit->i,
                    .hold_ms = visit->hold_ms},
                BELAY_SPAWN_OPTS(.task = visit->i == 0 && visit->cancel_ms > 0
                                             ? &visit->first
                                             : NULL)));
        }
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_CHECK(belay_spawn(visit->group, stranger, .visit = visit));
        if (visit->cancel_ms > 0) {
            BELAY_AWAIT(
                belay_sleep(task, belay_milliseconds(visit->cancel_ms)));
            (void)belay_task_cancel(visit->first, "test");
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_AWAIT(belay_checkpoint(task));
            trace(is_locked(0, 0, "want") ? "still waits" : "gave up");
        }
    }
    BELAY_END;
}

BELAY_ASYNC(visit)
{
    BELAY_BEGIN;
    self->fd = -1;
    self->want_fd = -1;
    BELAY_WITH (belay_defer(task, depart, self)) {
        arrive(self);
        BELAY_WITH (belay_gpu_pool_open(task, self->opts, &self->pool)) {
            gpu_oracle_watch(self->pool, false);
            BELAY_AWAIT(BELAY_CALL(host, .visit = self));
        }
    }
    BELAY_END;
}

#define ALONE(...)                                              \
    BELAY_GPU_POOL_OPTS(.devices = LOCK_SIM, .exclusive = true, \
        .lock_folder = test_folder, __VA_ARGS__)

Test(gpu_lock_wait, g40_who_waits_gets_in_when_the_stranger_leaves)
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
Test(gpu_lock_wait, g40_a_wait_for_a_lock_can_be_cancelled)
{
    cr_expect(eq(int,
        RUN(visit, .opts = ALONE(.slots = 1), .holds = true, .leave_ms = 1000,
            .jobs = 1, .cancel_ms = 120),
        0));
    expect_trace("gave up; leaves");
}

Test(gpu_lock_wait, g40_a_stranger_gets_in_between_two_leases)
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
Test(gpu_lock_wait, g40_who_does_not_come_loses_his_turn)
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
Test(gpu_lock_wait, g40_that_somebody_waits_is_said_until_it_is_heard)
{
    lock_collisions = 5;
    cr_expect(eq(int,
        RUN(visit, .opts = ALONE(.slots = 1), .holds = true, .looks = true,
            .leave_ms = 20, .jobs = 1),
        0));
    cr_expect(eq(int, lock_collisions, 0));
    expect_trace("is wanted; leaves; 0");
}

/* For who does not say that he waits a busy slot is not given up. */
Test(gpu_lock_wait, g40_without_strangers_the_lock_stays_from_lease_to_lease)
{
    cr_expect(eq(int,
        RUN(visit, .opts = ALONE(.slots = 1), .leave_ms = 1, .jobs = 3,
            .hold_ms = 10),
        0));
    expect_trace("0; 1; 2; stranger; leaves");
}

Test(gpu_lock_wait, g40_lock_keep_bounds_how_often_it_is_given_up)
{
    cr_expect(eq(int,
        RUN(visit, .opts = ALONE(.lock_keep = belay_milliseconds(25)),
            .says_so = true, .leave_ms = 100, .jobs = 4, .hold_ms = 10),
        0));
    expect_trace("0; 1; 2; stranger; leaves; 3");
}

/* Two pools of one process are strangers too, and here on one virtual clock: so
 * that what the contract gives a stranger, a second, can be asked for. One pool
 * is never without a request, the other comes now and then.
 */
struct neighbour {
    belay_gpu_pool *pool;
    bool *over;
    int hold_ms;
    /* locals */
    belay_gpu_lease lease;
};

BELAY_ASYNC(neighbour)
{
    BELAY_BEGIN;
    while (!*self->over) {
        BELAY_WITH (
            belay_gpu_lease_open(task, self->pool, NULL, &self->lease)) {
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(self->hold_ms)));
        }
    }
    BELAY_END;
}

struct street {
    int keep_ms;
    int comings;
    int64_t *longest_ns;
    /* locals */
    belay_gpu_pool *busy;
    belay_gpu_pool *other;
    belay_group *group;
    belay_gpu_lease lease;
    belay_time asked;
    bool over;
    int i;
};

static void
look_at_wait(const struct street *self, belay_time now)
{
    if (now.ns - self->asked.ns > *self->longest_ns) {
        *self->longest_ns = now.ns - self->asked.ns;
    }
}

static belay_next
open_on_street(belay_task *task, int keep_ms, belay_gpu_pool **ret)
{
    return belay_gpu_pool_open(task,
        BELAY_GPU_POOL_OPTS(.devices = LOCK_SIM, .exclusive = true,
            .lock_folder = test_folder,
            .lock_keep = belay_milliseconds(keep_ms)),
        ret);
}

BELAY_ASYNC(street)
{
    BELAY_BEGIN;
    BELAY_WITH (open_on_street(task, self->keep_ms, &self->busy)) {
        BELAY_WITH (open_on_street(task, 0, &self->other)) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                for (; self->i < 6; self->i++) {
                    BELAY_CHECK(
                        belay_spawn(self->group, neighbour, .pool = self->busy,
                            .over = &self->over, .hold_ms = 1 + 7 * self->i));
                }
                for (self->i = 0; self->i < self->comings; self->i++) {
                    BELAY_AWAIT(
                        belay_sleep(task, belay_milliseconds(self->i * 3)));
                    self->asked = belay_now(task);
                    BELAY_WITH (belay_gpu_lease_open(
                        task, self->other, NULL, &self->lease)) {
                        look_at_wait(self, belay_now(task));
                    }
                }
                self->over = true;
            }
        }
    }
    BELAY_END;
}

Test(gpu_lock_wait, g40_a_stranger_gets_in_within_a_second)
{
    int64_t longest_ns = 0;

    cr_expect(eq(int, RUN(street, .longest_ns = &longest_ns, .comings = 3), 0));
    program_unswept = true; /* no other places to fail at, but thousands */
    cr_expect(
        eq(int, RUN(street, .longest_ns = &longest_ns, .comings = 40), 0));
    cr_expect(gt(i64, longest_ns, 0), "it has had to wait");
    cr_expect(le(i64, longest_ns, 1000000000));
    longest_ns = 0;
    cr_expect(eq(int,
        RUN(street, .longest_ns = &longest_ns, .comings = 40, .keep_ms = 1500),
        0));
    cr_expect(gt(i64, longest_ns, 1000000000), "but for one who keeps it");
}
