/* w23.c - memory of parked tasks, then all of them cancelled, on Belay.
 *
 * N tasks sleep for an hour inside three managers: what does each cost? Then
 * their group is cancelled: how long until the last exit has run? Every enter
 * and every exit suspends once, also when cancelled.
 */
#include <belay/belay.h>

#include "bench/bench.h"

static uint64_t passages; /* enters and exits that have run */
static uint64_t allocations;

static void *
counting_realloc(void *ptr, size_t old_size, size_t new_size, void *arg)
{
    (void)old_size;
    (void)arg;
    if (new_size == 0) {
        free(ptr);
        return NULL;
    }
    allocations++;
    return realloc(ptr, new_size);
}

struct level {
    uint64_t *passages;
};

static belay_next
level_passed(belay_task *task, void *self)
{
    struct level *level = self;

    if (belay_result(task)->code == 0) {
        ++*level->passages;
    }
    return belay_pass(task);
}

static belay_next
level_enter(belay_task *task, void *self)
{
    (void)self;
    return belay_then(task, level_passed, belay_checkpoint(task));
}

static const belay_manager level = {
    {"level", __FILE__, sizeof(struct level), level_enter, 0}, level_enter};

struct storm {
    long tasks;
    long parked;
    belay_group *group;
    struct belay_event all_parked;
    double resident; /* before the first task */
    struct moment start;
    struct moment cancel;
    uint64_t allocations; /* up to the cancel */
    char *more;           /* 160 bytes, for the result line */
};

struct sleeper {
    struct storm *storm;
};

BELAY_ASYNC_SIZED(sleeper, 3 * BELAY_ENTER_BYTES(struct level))
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(level, &passages)) {
        BELAY_WITH (BELAY_ENTER(level, &passages)) {
            BELAY_WITH (BELAY_ENTER(level, &passages)) {
                if (++self->storm->parked == self->storm->tasks) {
                    belay_event_set(&self->storm->all_parked);
                }
                BELAY_AWAIT(belay_sleep(task, belay_seconds(3600)));
            }
        }
    }
    BELAY_END;
}

static void
note_parked(struct storm *storm)
{
    const struct moment now = moment_now();
    const double bytes = resident_bytes() - storm->resident;

    (void)snprintf(storm->more, 160, ",\"park_s\":%.6f,\"rss_per_task\":%.1f",
        now.wall_s - storm->start.wall_s, bytes / (double)storm->tasks);
}

static void
report_storm(const struct storm *storm)
{
    const struct moment now = moment_now();
    const size_t len = strlen(storm->more);

    (void)snprintf(storm->more + len, 160 - len, ",\"allocations\":%llu",
        (unsigned long long)(allocations - storm->allocations));
    report(storm->tasks, storm->cancel, now, passages, storm->more);
}

BELAY_ASYNC(storm)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        self->resident = resident_bytes();
        self->start = moment_now();
        for (long i = 0; i < self->tasks; i++) {
            BELAY_CHECK(belay_spawn(self->group, sleeper, .storm = self));
        }
        BELAY_AWAIT(belay_event_wait(task, &self->all_parked));
        note_parked(self);
        self->allocations = allocations;
        self->cancel = moment_now();
        belay_group_cancel(self->group, "storm");
    }
    report_storm(self);
    BELAY_END;
}

int
main(int argc, char **argv)
{
    static const struct belay_allocator counting = {counting_realloc, NULL};
    char more[160];
    const struct storm arguments = {
        .tasks = argument(argc, argv, 1, 100000),
        .more = more,
    };
    const int code = belay_run(
        &storm, &arguments, BELAY_RUNTIME_OPTS(.allocator = &counting), NULL);

    if (code < 0) {
        (void)fprintf(stderr, "w23: %s\n", belay_code_text(code));
        return 1;
    }
    return 0;
}
