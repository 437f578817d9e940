/* test_portal.c - posts and cancels by a portal, on one thread: S130, S131. */
#include "test/support/host.h"

#include "runtime/internal.h"

#include <string.h>

TestSuite(portal, .fini = check_clean, .timeout = 30);

static void
note_post(belay_runtime *runtime, void *arg)
{
    (void)runtime;
    trace("post %s", (const char *)arg);
}

Test(portal, s130_s131_posts_run_in_order_and_are_refused_after_close)
{
    struct host host;
    belay_portal *portal;
    belay_portal *second;
    belay_task *task;

    host_open(&host, false);
    cr_assert(zero(int, belay_portal_open(host.runtime, &portal)));
    cr_assert(zero(int, belay_portal_open(host.runtime, &second)));
    belay_portal_unref(second);
    cr_expect(zero(int, uv_loop_alive(&host.loop))); /* idle all the same */
    cr_expect(zero(
        int, belay_portal_post(portal, note_post, (void *)(uintptr_t) "1")));
    cr_expect(zero(
        int, belay_portal_post(portal, note_post, (void *)(uintptr_t) "2")));
    expect_trace("");
    host_keep(&host);
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    expect_trace("post 1; post 2");
    host_let_go(&host);
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    cr_expect(zero(int, belay_runtime_spawn(host.runtime, &napper,
                            &(const struct napper){BELAY_FOREVER, 1},
                            host_ended, &host, &task)));
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    cr_expect(eq(int, uv_loop_alive(&host.loop), 1)); /* a post may come */
    cr_expect(zero(int, belay_portal_cancel(portal, belay_task_id(task), "x")));
    cr_expect(zero(int, belay_portal_cancel(portal, 999, "no such task")));
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    cr_expect(eq(int, host.ended, 1));
    belay_task_unref(task);
    cr_expect(zero(
        int, belay_portal_post(portal, note_post, (void *)(uintptr_t) "3")));
    trace_clear();
    host_close(&host);
    expect_trace("post 3; closed");
    cr_expect(
        eq(int, belay_portal_post(portal, note_post, NULL), BELAY_ESTATE));
    cr_expect(eq(int, belay_portal_cancel(portal, 1, NULL), BELAY_ESTATE));
    cr_expect(eq(ptr, belay_portal_ref(portal), portal));
    belay_portal_unref(portal);
    belay_portal_unref(portal);
    belay_portal_unref(NULL);
}

struct posting {
    int unused;
};

static void
note_time(belay_runtime *runtime, void *arg)
{
    (void)arg;
    trace("post at %d ms", (int)(belay__clock_now(runtime) / 1000000));
}

BELAY_ASYNC(posting)
{
    belay_runtime *runtime = belay_task_runtime(task);
    belay_portal *portal;

    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(10)));
    cr_assert(zero(int, belay_portal_open(runtime, &portal)));
    cr_expect(zero(int, belay_portal_post(portal, note_time, NULL)));
    belay_portal_unref(portal);
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(10)));
    note_time(runtime, NULL);
    BELAY_END;
}

Test(portal, s45_a_virtual_clock_waits_for_posts_that_were_made)
{
    cr_expect(eq(int, RUN(posting, .unused = 0), 0));
    expect_trace("post at 1010 ms; post at 1020 ms");
}

/* ---- what is left when the last task has ended ---- */

struct leaves {
    int unused;
};

static struct {
    struct belay__timer timer;
    belay_runtime *runtime;
} left;

static void
on_due(struct belay__timer *timer)
{
    trace("due");
    belay__timer_fini(left.runtime, timer);
    belay__runtime_drop(left.runtime);
}

BELAY_ASYNC(leaves)
{
    belay_portal *portal;

    BELAY_BEGIN;
    left.runtime = belay_task_runtime(task);
    BELAY_CHECK(belay__timer_init(left.runtime, &left.timer, on_due));
    belay__timer_start(
        left.runtime, &left.timer, belay__due(left.runtime, belay_seconds(1)));
    belay__runtime_hold(left.runtime); /* until the timer's callback */
    cr_assert(zero(int, belay_portal_open(left.runtime, &portal)));
    cr_expect(zero(
        int, belay_portal_post(portal, note_post, (void *)(uintptr_t) "last")));
    belay_portal_unref(portal);
    BELAY_END;
}

Test(portal, a_post_does_not_stop_the_clock_when_no_task_is_left)
{
    cr_expect(eq(int, RUN(leaves, .unused = 0), 0));
    cr_expect(ne(ptr, strstr(trace_text(), "due"), NULL));
    cr_expect(ne(ptr, strstr(trace_text(), "post last"), NULL));
}

struct late_portal {
    belay_portal *portal;
    int code;
};

static void
open_late(belay_runtime *runtime, void *arg)
{
    struct late_portal *late = arg;

    late->code = belay_portal_open(runtime, &late->portal);
}

Test(portal, s131_no_portal_is_opened_once_the_last_posts_run)
{
    struct late_portal late = {.code = 0};
    struct host host;
    belay_portal *portal;

    host_open(&host, false);
    cr_assert(zero(int, belay_portal_open(host.runtime, &portal)));
    cr_expect(zero(int, belay_portal_post(portal, open_late, &late)));
    belay_portal_unref(portal);
    host_close(&host);
    cr_expect(eq(int, late.code, BELAY_ESTATE));
    cr_expect(eq(ptr, late.portal, NULL));
}

/* ---- a close by a post ---- */

struct closer {
    struct host *host;
    belay_portal *portal;
};

static void
close_by_post(belay_runtime *runtime, void *arg)
{
    const struct closer *closer = arg;

    cr_expect(zero(int, belay_portal_post(closer->portal, note_post,
                            (void *)(uintptr_t) "second")));
    belay_runtime_close(runtime, host_closed, closer->host);
    trace("asked");
}

Test(portal, s130_a_close_inside_a_post_goes_on_where_the_posts_were)
{
    struct host host;
    struct closer closer = {.host = &host};

    host_open(&host, false);
    cr_assert(zero(int, belay_portal_open(host.runtime, &closer.portal)));
    host_keep(&host);
    cr_expect(
        zero(int, belay_portal_post(closer.portal, close_by_post, &closer)));
    cr_expect(zero(int, belay_portal_post(closer.portal, note_post,
                            (void *)(uintptr_t) "first")));
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    expect_trace("post first; post second; asked; closed");
    host_let_go(&host);
    (void)uv_run(&host.loop, UV_RUN_DEFAULT);
    cr_expect(zero(int, uv_loop_close(&host.loop)));
    belay_portal_unref(closer.portal);
}

/* Outside of its task, which a sweep may end before the posts run. */
struct relay {
    belay_portal *portal;
    struct belay_event arrived;
};

static void
set_arrived(belay_runtime *runtime, void *arg)
{
    struct relay *relay = arg;

    (void)runtime;
    belay_event_set(&relay->arrived);
}

/* The last that has the portal lets go of it, its post not yet run. */
static void
post_and_go(belay_runtime *runtime, void *arg)
{
    struct relay *relay = arg;

    (void)runtime;
    cr_expect(zero(int, belay_portal_post(relay->portal, set_arrived, relay)));
    belay_portal_unref(relay->portal);
}

struct relayed {
    struct relay *relay;
};

BELAY_ASYNC(relayed)
{
    belay_runtime *runtime = belay_task_runtime(task);
    belay_portal **portal = &self->relay->portal;

    BELAY_BEGIN;
    cr_assert(zero(int, belay_portal_open(runtime, portal)));
    cr_expect(zero(int, belay_portal_post(*portal, post_and_go, self->relay)));
    BELAY_AWAIT(belay_event_wait(task, &self->relay->arrived));
    trace("arrived");
    BELAY_END;
}

Test(portal, s130_a_post_keeps_the_loop_alive_when_its_poster_has_gone)
{
    struct relay relay = {.portal = NULL};

    cr_expect(zero(int, RUN(relayed, .relay = &relay)));
    expect_trace("arrived");
}

struct again {
    belay_portal *portal;
    int left;
};

static void
post_again(belay_runtime *runtime, void *arg)
{
    struct again *again = arg;

    (void)runtime;
    if (--again->left > 0) {
        cr_expect(
            zero(int, belay_portal_post(again->portal, post_again, again)));
    }
}

Test(portal, a_post_that_posts_again_waits_for_the_loops_next_turn)
{
    struct again again = {.left = 3};
    struct host host;

    host_open(&host, false);
    cr_assert(zero(int, belay_portal_open(host.runtime, &again.portal)));
    host_keep(&host);
    cr_expect(zero(int, belay_portal_post(again.portal, post_again, &again)));
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    cr_expect(eq(int, again.left, 2));
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    (void)uv_run(&host.loop, UV_RUN_NOWAIT);
    cr_expect(zero(int, again.left));
    host_let_go(&host);
    host_close(&host);
    belay_portal_unref(again.portal);
}

/* ---- cancels of many ---- */

struct crowd {
    struct host host;
    struct belay_event never;
    belay_portal *portal;
    uint64_t first_id; /* of the tasks, which were made one after another */
    int cancelled;
    int last; /* of those cancelled, by its place */
    bool in_order;
};

struct one_of_crowd {
    struct crowd *crowd;
    int place;
};

BELAY_ASYNC(one_of_crowd)
{
    struct crowd *crowd = self->crowd;

    BELAY_BEGIN;
    BELAY_TRY(belay_event_wait(task, &crowd->never));
    if (belay_result(task)->cancelled) {
        crowd->cancelled++;
        crowd->in_order = crowd->in_order && self->place < crowd->last;
        crowd->last = self->place;
    }
    BELAY_END;
}

static void
open_crowd(struct crowd *crowd, int count)
{
    belay_task *first;

    *crowd = (struct crowd){.last = count, .in_order = true};
    host_open(&crowd->host, false);
    cr_assert(
        zero(int, belay_portal_open(crowd->host.runtime, &crowd->portal)));
    for (int i = 0; i < count; i++) {
        cr_assert(
            zero(int, belay_runtime_spawn(crowd->host.runtime, &one_of_crowd,
                          &(const struct one_of_crowd){crowd, i}, NULL, NULL,
                          i == 0 ? &first : NULL)));
    }
    crowd->first_id = belay_task_id(first);
    belay_task_unref(first);
    while (uv_backend_timeout(&crowd->host.loop) == 0) {
        (void)uv_run(&crowd->host.loop, UV_RUN_NOWAIT);
    }
}

static void
cancel_place(struct crowd *crowd, int place)
{
    cr_expect(zero(int, belay_portal_cancel(crowd->portal,
                            crowd->first_id + (uint64_t)place, "told to")));
}

static void
close_crowd(struct crowd *crowd)
{
    belay_portal_unref(crowd->portal);
    host_close(&crowd->host);
}

/* With a look at all tasks for each of them it would take a minute. */
Test(portal, s29_100000_cancels_are_found_by_one_look_at_the_tasks)
{
    const int count = 100000;
    struct crowd crowd;

    open_crowd(&crowd, count);
    for (int i = count; i-- > 0;) {
        cancel_place(&crowd, i);
    }
    (void)uv_run(&crowd.host.loop, UV_RUN_DEFAULT);
    cr_expect(eq(int, crowd.cancelled, count));
    cr_expect(crowd.in_order); /* that of the posts */
    close_crowd(&crowd);
}

static void
count_cancelled(belay_runtime *runtime, void *arg)
{
    const struct crowd *crowd = arg;

    (void)runtime;
    trace("%d", crowd->cancelled);
}

static void
spawn_more(belay_runtime *runtime, void *arg)
{
    cr_expect(zero(
        int, belay_runtime_spawn(runtime, &one_of_crowd,
                 &(const struct one_of_crowd){arg, -1}, NULL, NULL, NULL)));
}

Test(portal, s130_cancels_among_posts_twice_and_of_nobody)
{
    struct crowd crowd;

    open_crowd(&crowd, 3000);
    cancel_place(&crowd, 2999);
    cancel_place(&crowd, 1500);
    cr_expect(zero(int, belay_portal_post(crowd.portal, spawn_more, &crowd)));
    cancel_place(&crowd, 2999);
    cr_expect(zero(int, belay_portal_cancel(crowd.portal, 0, NULL)));
    cr_expect(zero(int, belay_portal_cancel(crowd.portal, UINT64_MAX, NULL)));
    cancel_place(&crowd, 476); /* 1024 less than the other one */
    cr_expect(
        zero(int, belay_portal_post(crowd.portal, count_cancelled, &crowd)));
    while (crowd.cancelled < 3) {
        (void)uv_run(&crowd.host.loop, UV_RUN_NOWAIT);
    }
    expect_trace("0"); /* no step runs inside a post */
    cr_expect(crowd.in_order);
    cancel_place(&crowd, 476); /* which has ended */
    (void)uv_run(&crowd.host.loop, UV_RUN_NOWAIT);
    cr_expect(eq(int, crowd.cancelled, 3));
    close_crowd(&crowd);
    cr_expect(eq(int, crowd.cancelled, 3001));
}
