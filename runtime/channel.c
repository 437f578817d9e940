/* channel.c - a bounded queue between tasks.
 *
 * Invariant: receivers wait only while it is empty, senders only while it is
 * full, so never both; an item goes straight to a waiting receiver. A send or
 * a receive that ends with a failure has moved nothing.
 */
#include "runtime/internal.h"

#include <string.h>

struct belay_channel {
    struct belay__memory *memory; /* counted: it may outlive the runtime */
    struct belay_waiters senders;
    struct belay_waiters receivers;
    size_t capacity;
    size_t item_bytes;
    size_t first; /* slot of the oldest item */
    size_t count;
    bool closed;
    _Alignas(16) char slots[];
};

static const struct belay__wait_kind send_wait = {
    "channel send", belay__abort_waiter};
static const struct belay__wait_kind receive_wait = {
    "channel receive", belay__abort_waiter};

static size_t
channel_bytes(size_t capacity, size_t item_bytes)
{
    return sizeof(struct belay_channel) + capacity * item_bytes;
}

int
belay_channel_new(belay_runtime *runtime, size_t capacity, size_t item_bytes,
    belay_channel **ret)
{
    belay_channel *channel;
    size_t bytes;

    if (item_bytes == 0 || __builtin_mul_overflow(capacity, item_bytes, &bytes)
        || bytes > SIZE_MAX / 2) {
        return BELAY_EINVAL;
    }
    channel =
        belay__alloc_zero(runtime->memory, channel_bytes(capacity, item_bytes));
    if (channel == NULL) {
        return BELAY_ENOMEM;
    }
    channel->memory = belay__memory_ref(runtime->memory);
    channel->capacity = capacity;
    channel->item_bytes = item_bytes;
    *ret = channel;
    return 0;
}

void
belay_channel_free(belay_channel *channel)
{
    struct belay__memory *memory;

    if (channel == NULL) {
        return;
    }
    BELAY__REQUIRE(
        channel->senders.next == NULL && channel->receivers.next == NULL,
        "a task waits on the channel");
    memory = channel->memory;
    belay__free(
        memory, channel, channel_bytes(channel->capacity, channel->item_bytes));
    belay__memory_unref(memory);
}

static char *
slot(belay_channel *channel, size_t index)
{
    return channel->slots
           + (channel->first + index) % channel->capacity * channel->item_bytes;
}

static void
put(belay_channel *channel, const void *item)
{
    memcpy(slot(channel, channel->count), item, channel->item_bytes);
    channel->count++;
}

/* The oldest waiting sender's item, to where it is wanted. */
static void
take_from_sender(belay_channel *channel, belay_task *sender, void *to)
{
    memcpy(to, sender->wait.data, channel->item_bytes);
    belay__wake(sender, 0, NULL);
}

void
belay_channel_close(belay_channel *channel)
{
    belay_task *task;

    channel->closed = true;
    while ((task = belay__waiters_first(&channel->senders)) != NULL) {
        belay__wake(task, BELAY_ECLOSED, NULL);
    }
    while ((task = belay__waiters_first(&channel->receivers)) != NULL) {
        belay__wake(task, BELAY_ECLOSED, NULL);
    }
}

belay_next
belay_channel_send(belay_task *task, belay_channel *channel, const void *item)
{
    belay_task *receiver;

    if (!belay__wait_begin(task, &send_wait)) {
        return belay__next(BELAY__HOW_WAIT);
    }
    receiver = belay__waiters_first(&channel->receivers);
    if (channel->closed) {
        belay__wake(task, BELAY_ECLOSED, NULL);
    } else if (receiver != NULL) {
        memcpy(receiver->wait.data, item, channel->item_bytes);
        belay__wake(receiver, 0, NULL);
        belay__wake(task, 0, NULL);
    } else if (channel->count < channel->capacity) {
        put(channel, item);
        belay__wake(task, 0, NULL);
    } else {
        task->wait.data = belay__without_const(item);
        belay__waiters_push(&channel->senders, task);
    }
    return belay__next(BELAY__HOW_WAIT);
}

static void
take(belay_channel *channel, void *ret)
{
    belay_task *sender = belay__waiters_first(&channel->senders);

    memcpy(ret, slot(channel, 0), channel->item_bytes);
    channel->first = (channel->first + 1) % channel->capacity;
    channel->count--;
    if (sender != NULL) {
        take_from_sender(channel, sender, slot(channel, channel->count));
        channel->count++;
    }
}

belay_next
belay_channel_receive(belay_task *task, belay_channel *channel, void *ret)
{
    belay_task *sender;

    if (!belay__wait_begin(task, &receive_wait)) {
        return belay__next(BELAY__HOW_WAIT);
    }
    sender = belay__waiters_first(&channel->senders);
    if (channel->count > 0) {
        take(channel, ret);
        belay__wake(task, 0, NULL);
    } else if (sender != NULL) {
        take_from_sender(channel, sender, ret);
        belay__wake(task, 0, NULL);
    } else if (channel->closed) {
        belay__wake(task, BELAY_ECLOSED, NULL);
    } else {
        task->wait.data = ret;
        belay__waiters_push(&channel->receivers, task);
    }
    return belay__next(BELAY__HOW_WAIT);
}

size_t
belay_channel_count(const belay_channel *channel)
{
    return channel->count;
}
