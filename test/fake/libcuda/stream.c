/* stream.c - the threads of the fake driver: one a stream, items in order. */
#define _GNU_SOURCE
#include "test/fake/libcuda/fake.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

__thread bool fake_in_callback;

void
fake_stream_push(struct CUstream_st *stream, struct item *item)
{
    item->next = NULL;
    *stream->last = item;
    stream->last = &item->next;
    pthread_cond_broadcast(&fake.changed);
}

static bool
inside(const struct block *block, const void *at)
{
    const char *byte = at;

    return byte >= block->at && byte < block->at + block->bytes;
}

static bool
item_uses(const struct item *item, const struct block *block)
{
    if (item->kind == ITEM_COPY || item->kind == ITEM_FILL) {
        return inside(block, item->to) || inside(block, item->from);
    }
    for (unsigned i = 0; item->kind == ITEM_KERNEL && i < item->launch.count;
         i++) {
        void *pointer = NULL;

        memcpy(&pointer, item->launch.parameter[i],
            item->launch.bytes[i] < sizeof(pointer) ? item->launch.bytes[i]
                                                    : sizeof(pointer));
        if (inside(block, pointer)) {
            return true;
        }
    }
    return false;
}

/* Of a stream whose device has failed only the first item still runs, and only
 * if it had begun before; but who has not waited for it cannot know that it
 * does not.
 */
static bool
may_run(const struct CUstream_st *stream, const struct item *item)
{
    return stream->context->fault == 0 || item->begun;
}

/* Does work that has not ended name this memory? */
bool
fake_stream_uses(const struct block *block)
{
    const struct CUstream_st *stream;
    const struct item *item;

    for (stream = fake.streams; stream != NULL; stream = stream->next) {
        for (item = stream->first; item != NULL; item = item->next) {
            if (may_run(stream, item) && item_uses(item, block)) {
                return true;
            }
        }
    }
    return false;
}

bool
fake_stream_runs(CUmodule module)
{
    const struct CUstream_st *stream;
    const struct item *item;

    for (stream = fake.streams; stream != NULL; stream = stream->next) {
        for (item = stream->first; item != NULL; item = item->next) {
            if (item->module == module && may_run(stream, item)) {
                return true;
            }
        }
    }
    return false;
}

void
fake_streams_wait(struct CUctx_st *context)
{
    const struct CUstream_st *stream;

    while (context->exclusive) {
        pthread_cond_wait(&fake.changed, &fake.lock);
    }
    context->exclusive = true;
    stream = fake.streams;
    while (stream != NULL && context->fault == 0) {
        if (stream->context == context && stream->first != NULL) {
            pthread_cond_wait(&fake.changed, &fake.lock);
            stream = fake.streams; /* from the beginning: any may have moved */
        } else {
            stream = stream->next;
        }
    }
    context->exclusive = false;
    pthread_cond_broadcast(&fake.changed);
}

static void
pause_us(unsigned us)
{
    const struct timespec span = {us / 1000000, (long)(us % 1000000) * 1000};

    if (us > 0) {
        nanosleep(&span, NULL);
    }
}

/* The lock is held, and given up while the kernel runs. */
static void
run_kernel(struct CUstream_st *stream, struct item *item)
{
    unsigned latency_us = fake.latency_us;

    fake.running++;
    pthread_cond_broadcast(&fake.changed);
    while (item->number == fake.hang_at && !fake.open
           && !stream->context->closing) {
        pthread_cond_wait(&fake.changed, &fake.lock);
    }
    if (item->number == fake.fault_at) {
        stream->context->fault = fake.fault_code;
    } else if (!stream->context->closing) {
        pthread_mutex_unlock(&fake.lock);
        pause_us(latency_us);
        fake_fault = CUDA_SUCCESS;
        item->run(&item->launch);
        pthread_mutex_lock(&fake.lock);
        if (fake_fault != CUDA_SUCCESS) {
            stream->context->fault = fake_fault;
        }
        fake.finished++;
    }
    fake.running--;
}

void
fake_copies_wait(const struct CUctx_st *context)
{
    while (context->copies > 0) {
        pthread_cond_wait(&fake.changed, &fake.lock);
    }
}

/* The lock is held, and given up while bytes move. */
static void
run_copy(struct CUstream_st *stream, const struct item *item)
{
    stream->context->copies++;
    pthread_mutex_unlock(&fake.lock);
    if (item->kind == ITEM_COPY) {
        memcpy(item->to, item->from, item->bytes);
    } else {
        memset(item->to, item->value, item->bytes);
    }
    pthread_mutex_lock(&fake.lock);
    stream->context->copies--;
}

/* As the real one does it: after a fault host functions are forgotten, stream
 * callbacks are told, and everything else is skipped.
 */
static void
run_item(struct CUstream_st *stream, struct item *item)
{
    CUresult fault = stream->context->fault;

    item->begun = fault == 0;
    if (item->kind == ITEM_CALLBACK
        || (item->kind == ITEM_HOST && fault == 0)) {
        pthread_mutex_unlock(&fake.lock);
        fake_in_callback = true;
        if (item->kind == ITEM_HOST) {
            item->host(item->arg);
        } else {
            item->callback(stream, fault, item->arg);
        }
        fake_in_callback = false;
        pthread_mutex_lock(&fake.lock);
    } else if (item->kind == ITEM_HOST) {
        fake.dropped++;
    } else if (fault == 0
               && (item->kind == ITEM_COPY || item->kind == ITEM_FILL)) {
        run_copy(stream, item);
    } else if (fault == 0 && item->kind == ITEM_KERNEL) {
        run_kernel(stream, item);
    } else if (fault == 0 && item->kind == ITEM_EVENT) {
        item->event->completed = item->number;
    }
    if (item->kind == ITEM_FREE) {
        stream->context->used -= item->bytes;
        free(item->to);
    }
}

void *
fake_stream_main(void *arg)
{
    struct CUstream_st *stream = arg;
    struct item *item;

    pthread_mutex_lock(&fake.lock);
    for (;;) {
        while (stream->first == NULL && !stream->closing) {
            pthread_cond_wait(&fake.changed, &fake.lock);
        }
        item = stream->first;
        if (item == NULL) {
            break;
        }
        run_item(stream, item);
        stream->first = item->next;
        if (stream->first == NULL) {
            stream->last = &stream->first;
        }
        free(item);
        pthread_cond_broadcast(&fake.changed);
    }
    pthread_mutex_unlock(&fake.lock);
    return NULL;
}
