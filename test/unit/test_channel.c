/* test_channel.c - the bounded queue between tasks: contract S11. */
#include "test/support/program.h"

#include <signal.h>

TestSuite(channel, .fini = check_clean, .timeout = 30);

struct producer {
    belay_channel *channel;
    int from;
    int count;
    int sent; /* private */
    int *total;
};

BELAY_ASYNC(producer)
{
    BELAY_BEGIN;
    for (self->sent = self->from; self->sent < self->from + self->count;
         self->sent++) {
        BELAY_AWAIT(belay_channel_send(task, self->channel, &self->sent));
        ++*self->total;
    }
    BELAY_END;
}

struct consumer {
    belay_channel *channel;
    int item;
    int *total;
    bool quiet;
};

BELAY_ASYNC(consumer)
{
    BELAY_BEGIN;
    for (;;) {
        BELAY_TRY(belay_channel_receive(task, self->channel, &self->item));
        if (belay_result(task)->code == BELAY_ECLOSED) {
            break;
        }
        if (belay_result(task)->code < 0) {
            return belay_pass(task);
        }
        ++*self->total;
        if (!self->quiet) {
            trace("%d", self->item);
        }
    }
    BELAY_END;
}

/* What was sent and is gone must have been received or lie inside. */
struct pipe {
    size_t capacity;
    int count;
    int producers;
    int consumers;
    belay_channel *channel;
    belay_group *group;
    belay_group *senders;
    int sent;
    int received;
    int i;
};

struct guard {
    struct pipe *pipe;
};

static belay_next
guard_enter(belay_task *task, void *arg)
{
    struct guard *self = arg;
    int code = belay_channel_new(belay_task_runtime(task), self->pipe->capacity,
        sizeof(int), &self->pipe->channel);

    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    return belay_return(task, NULL);
}

static belay_next
guard_exit(belay_task *task, void *arg)
{
    struct pipe *pipe = ((struct guard *)arg)->pipe;

    cr_expect(eq(int, pipe->sent,
        pipe->received + (int)belay_channel_count(pipe->channel)));
    belay_channel_free(pipe->channel);
    return belay_return(task, NULL);
}

static const belay_manager guard = {
    {"guard", NULL, sizeof(struct guard), guard_enter, 0}, guard_exit};

BELAY_ASYNC(pipe)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(guard, .pipe = self)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (self->i = 0; self->i < self->consumers; self->i++) {
                BELAY_CHECK(belay_spawn(self->group, consumer,
                    .channel = self->channel, .total = &self->received,
                    .quiet = self->consumers > 1));
            }
            BELAY_WITH (belay_group_open(task, NULL, &self->senders)) {
                for (self->i = 0; self->i < self->producers; self->i++) {
                    BELAY_CHECK(belay_spawn(self->senders, producer,
                        .channel = self->channel, .from = self->i * 10,
                        .count = self->count, .total = &self->sent));
                }
            }
            belay_channel_close(self->channel);
            belay_channel_close(self->channel);
        }
        trace("%d sent, %d received", self->sent, self->received);
    }
    BELAY_END;
}

Test(channel, items_arrive_in_order_whatever_the_capacity)
{
    for (size_t capacity = 0; capacity < 4; capacity++) {
        trace_clear();
        cr_expect(eq(int,
            RUN(pipe, .capacity = capacity, .count = 4, .producers = 1,
                .consumers = 1),
            0));
        expect_trace("0; 1; 2; 3; 4 sent, 4 received");
    }
}

Test(channel, several_on_both_sides)
{
    for (size_t capacity = 0; capacity < 4; capacity++) {
        trace_clear();
        cr_expect(eq(int,
            RUN(pipe, .capacity = capacity, .count = 5, .producers = 3,
                .consumers = 2),
            0));
        expect_trace("15 sent, 15 received");
    }
}

Test(channel, s11_no_item_is_lost_or_doubled_wherever_a_cancel_comes)
{
    for (size_t capacity = 0; capacity < 3; capacity++) {
        cr_expect(gt(sz,
            sweep_cancels(&(const struct program){.function = &pipe,
                .arguments = &(const struct pipe){.capacity = capacity,
                    .count = 2,
                    .producers = 2,
                    .consumers = 2}}),
            10));
        (void)sweep_allocs(&(const struct program){.function = &pipe,
            .arguments = &(const struct pipe){.capacity = capacity,
                .count = 2,
                .producers = 2,
                .consumers = 2}});
    }
}

struct ends {
    belay_channel *channel;
    int item;
    belay_group *group;
    int total;
};

static void
free_channel(void *arg)
{
    belay_channel **channel = arg;

    belay_channel_free(*channel);
}

BELAY_ASYNC(ends)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, free_channel, &self->channel)) {
        BELAY_CHECK(belay_channel_new(
            belay_task_runtime(task), 1, sizeof(int), &self->channel));
        self->item = 7;
        BELAY_AWAIT(belay_channel_send(task, self->channel, &self->item));
        BELAY_WITH (belay_group_open(
            task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
            BELAY_CHECK(
                belay_spawn(self->group, producer, .channel = self->channel,
                    .from = 1, .count = 1, .total = &self->total));
            BELAY_AWAIT(belay_checkpoint(task));
            belay_channel_close(self->channel); /* a send is waiting */
        }
        cr_expect(zero(int, self->total));
        BELAY_TRY(belay_channel_send(task, self->channel, &self->item));
        trace("send %s", trace_result(belay_result(task)));
        self->item = 0;
        BELAY_TRY(belay_channel_receive(task, self->channel, &self->item));
        trace("receive %s %d", trace_result(belay_result(task)), self->item);
        BELAY_TRY(belay_channel_receive(task, self->channel, &self->item));
        trace("receive %s %d", trace_result(belay_result(task)), self->item);
    }
    belay_channel_free(NULL);
    BELAY_END;
}

Test(channel, after_close_what_is_inside_comes_out_and_nothing_goes_in)
{
    cr_expect(eq(int, RUN(ends, .channel = NULL), 0));
    expect_trace("send ECLOSED; receive ok 7; receive ECLOSED 7");
}

/* ---- several wait when it is closed ---- */

struct late_one {
    belay_channel *channel;
    bool sends;
    int item;
};

BELAY_ASYNC(late_one)
{
    BELAY_BEGIN;
    if (self->sends) {
        BELAY_TRY(belay_channel_send(task, self->channel, &self->item));
    } else {
        BELAY_TRY(belay_channel_receive(task, self->channel, &self->item));
    }
    trace("%d %s", self->item, trace_result(belay_result(task)));
    BELAY_END;
}

struct closed_on {
    belay_channel *channel;
    belay_group *group;
    bool sends;
    int i;
};

BELAY_ASYNC(closed_on)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, free_channel, &self->channel)) {
        BELAY_CHECK(belay_channel_new(
            belay_task_runtime(task), 0, sizeof(int), &self->channel));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (self->i = 1; self->i <= 3; self->i++) {
                BELAY_CHECK(
                    belay_spawn(self->group, late_one, .channel = self->channel,
                        .sends = self->sends, .item = self->i));
            }
            BELAY_AWAIT(belay_checkpoint(task));
            belay_channel_close(self->channel);
        }
    }
    BELAY_END;
}

Test(channel, a_close_wakes_all_who_wait_the_first_first)
{
    cr_expect(eq(int, RUN(closed_on, .sends = false), 0));
    expect_trace("1 ECLOSED; 2 ECLOSED; 3 ECLOSED");
    trace_clear();
    cr_expect(eq(int, RUN(closed_on, .sends = true), 0));
    expect_trace("1 ECLOSED; 2 ECLOSED; 3 ECLOSED");
}

struct bad {
    belay_channel *channel;
};

BELAY_ASYNC(bad)
{
    BELAY_BEGIN;
    cr_expect(eq(int,
        belay_channel_new(belay_task_runtime(task), 1, 0, &self->channel),
        BELAY_EINVAL));
    cr_expect(eq(int,
        belay_channel_new(
            belay_task_runtime(task), SIZE_MAX / 2, 4, &self->channel),
        BELAY_EINVAL));
    cr_expect(zero(ptr, self->channel));
    BELAY_END;
}

Test(channel, impossible_sizes_are_refused)
{
    cr_expect(eq(int, RUN(bad, .channel = NULL), 0));
}

struct too_soon {
    belay_channel *channel;
    belay_group *group;
    int total;
};

BELAY_ASYNC(too_soon)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_channel_new(
        belay_task_runtime(task), 1, sizeof(int), &self->channel));
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, consumer, .channel = self->channel,
            .total = &self->total));
        BELAY_AWAIT(belay_checkpoint(task));
        belay_channel_free(self->channel);
    }
    BELAY_END;
}

Test(channel, freeing_it_under_a_waiting_task_aborts, .signal = SIGABRT)
{
    (void)RUN(too_soon, .channel = NULL);
}

struct leaving_it {
    belay_channel **channel;
};

BELAY_ASYNC(leaving_it)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_channel_new(
        belay_task_runtime(task), 1, sizeof(int), self->channel));
    BELAY_END;
}

Test(channel, may_be_freed_behind_its_runtime)
{
    belay_channel *channel = NULL;

    cr_expect(zero(int, RUN_PLAIN(leaving_it, &channel)));
    cr_assert(ne(ptr, channel, NULL));
    belay_channel_free(channel);
}
