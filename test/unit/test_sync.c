/* test_sync.c - event and semaphore: contract S11, first come first served. */
#include "test/support/program.h"

#include <signal.h>

TestSuite(sync, .fini = check_clean, .timeout = 30);

struct user {
    struct belay_semaphore *semaphore;
    const char *name;
    belay_duration hold;
    belay_cancel_scope **scope;
};

BELAY_ASYNC(user)
{
    BELAY_BEGIN;
    BELAY_WITH (keeping(task, NULL, self->scope)) {
        BELAY_WITH (belay_semaphore_open(task, self->semaphore)) {
            trace("%s", self->name);
            BELAY_AWAIT(belay_sleep(task, self->hold));
        }
    }
    BELAY_END;
}

struct crowd {
    struct belay_semaphore semaphore;
    belay_group *group;
    belay_cancel_scope *scope;
    bool cancel_second;
    bool release_first;
};

/* Opened with one permit free; at its exit it must be back. */
struct all_back {
    struct belay_semaphore *semaphore;
};

static belay_next
all_back_enter(belay_task *task, void *arg)
{
    const struct all_back *self = arg;

    belay_semaphore_init(self->semaphore, 1);
    return belay_return(task, NULL);
}

static belay_next
all_back_exit(belay_task *task, void *arg)
{
    const struct all_back *self = arg;

    cr_expect(eq(u32, self->semaphore->permits, 1));
    cr_expect(zero(int, belay_semaphore_try(self->semaphore)));
    cr_expect(eq(int, belay_semaphore_try(self->semaphore), BELAY_EAGAIN));
    belay_semaphore_release(self->semaphore);
    return belay_return(task, NULL);
}

static const belay_manager all_back = {
    {"all_back", NULL, sizeof(struct all_back), all_back_enter, 0},
    all_back_exit};

BELAY_ASYNC(crowd)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(all_back, .semaphore = &self->semaphore)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, user, .name = "a",
                .semaphore = &self->semaphore, .hold = belay_seconds(1)));
            BELAY_CHECK(belay_spawn(self->group, user, .name = "b",
                .semaphore = &self->semaphore, .hold = belay_seconds(1),
                .scope = &self->scope));
            BELAY_CHECK(belay_spawn(self->group, user, .name = "c",
                .semaphore = &self->semaphore, .hold = belay_seconds(1)));
            BELAY_AWAIT(belay_checkpoint(task));
            if (self->cancel_second && self->scope != NULL) {
                belay_cancel_scope_cancel(self->scope, NULL);
            }
        }
    }
    trace("%u free", (unsigned)self->semaphore.permits);
    BELAY_END;
}

Test(sync, permits_are_given_first_come_first_served)
{
    cr_expect(eq(int, RUN(crowd, .cancel_second = false), 0));
    expect_trace("a; b; c; 1 free");
}

Test(sync, s11_a_cancelled_acquire_has_taken_no_permit)
{
    cr_expect(eq(int, RUN(crowd, .cancel_second = true), 0));
    expect_trace("a; c; 1 free");
}

struct handover {
    struct belay_semaphore semaphore;
    belay_group *group;
    belay_cancel_scope *scope;
};

/* Cancelled after the permit was handed over, before the task runs: it has
 * the permit, and its block gives it back. */
BELAY_ASYNC(handover)
{
    BELAY_BEGIN;
    belay_semaphore_init(&self->semaphore, 0);
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, user, .name = "has it",
            .semaphore = &self->semaphore, .hold = belay_seconds(1),
            .scope = &self->scope));
        BELAY_AWAIT(belay_checkpoint(task));
        belay_semaphore_release(&self->semaphore);
        if (self->scope != NULL) {
            belay_cancel_scope_cancel(self->scope, NULL);
        }
    }
    trace("%u free", (unsigned)self->semaphore.permits);
    BELAY_END;
}

Test(sync, s10_s11_a_permit_handed_over_is_not_lost_to_a_cancel)
{
    cr_expect(eq(int, RUN(handover, .group = NULL), 0));
    expect_trace("has it; 1 free");
}

static void
all_free(const struct belay_result *result, bool disturbed)
{
    (void)result;
    if (!disturbed) {
        expect_trace("a; b; c; 1 free");
    }
}

Test(sync, s11_no_permit_is_lost_wherever_a_cancel_comes)
{
    cr_expect(gt(sz,
        sweep_cancels(&(const struct program){.function = &crowd,
            .arguments = &(const struct crowd){.group = NULL},
            .check = all_free}),
        10));
    (void)sweep_allocs(&(const struct program){.function = &crowd,
        .arguments = &(const struct crowd){.group = NULL},
        .check = all_free});
}

Test(sync, too_many_permits_abort, .signal = SIGABRT)
{
    struct belay_semaphore semaphore;

    belay_semaphore_init(&semaphore, UINT32_MAX);
    belay_semaphore_release(&semaphore);
}

struct listener {
    struct belay_event *event;
    const char *name;
};

BELAY_ASYNC(listener)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_event_wait(task, self->event));
    trace("%s", self->name);
    BELAY_END;
}

struct announcer {
    struct belay_event event;
    belay_group *group;
};

BELAY_ASYNC(announcer)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(
            self->group, listener, .event = &self->event, .name = "a"));
        BELAY_CHECK(belay_spawn(
            self->group, listener, .event = &self->event, .name = "b"));
        BELAY_CHECK(belay_spawn(
            self->group, listener, .event = &self->event, .name = "c"));
        BELAY_AWAIT(belay_checkpoint(task));
        belay_event_set(&self->event);
        belay_event_set(&self->event);
        belay_event_clear(&self->event);
        trace("set and cleared");
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_CHECK(belay_spawn(
            self->group, listener, .event = &self->event, .name = "late"));
        BELAY_AWAIT(belay_checkpoint(task));
        trace("set");
        belay_event_set(&self->event);
        BELAY_AWAIT(belay_event_wait(task, &self->event));
    }
    BELAY_END;
}

Test(sync, an_event_wakes_those_who_wait_and_stays_set)
{
    cr_expect(eq(int, RUN(announcer, .group = NULL), 0));
    expect_trace("set and cleared; a; b; c; set; late");
}
