/* work.c - the fake driver: streams, events, memory and what runs. */
#define _GNU_SOURCE
#include "test/fake/libcuda/fake.h"

#include <stdlib.h>
#include <string.h>

static struct CUstream_st **
find_stream(CUstream stream)
{
    struct CUstream_st **at = &fake.streams;

    while (*at != NULL && *at != stream) {
        at = &(*at)->next;
    }
    return at;
}

static struct CUevent_st **
find_event(CUevent event)
{
    struct CUevent_st **at = &fake.events;

    while (*at != NULL && *at != event) {
        at = &(*at)->next;
    }
    return at;
}

static struct block **
find_block(const void *start, size_t bytes)
{
    struct block **at = &fake.blocks;
    const char *first = start;

    while (*at != NULL
           && (first < (*at)->at || first >= (*at)->at + (*at)->bytes
               || bytes > (size_t)((*at)->at + (*at)->bytes - first))) {
        at = &(*at)->next;
    }
    return at;
}

/* A handle of this type as memory of the process. */
static void *
memory_at(CUdeviceptr at)
{
    void *pointer;
    uintptr_t number = (uintptr_t)at;

    memcpy(&pointer, &number, sizeof(pointer));
    return pointer;
}

CUresult
cuStreamCreateWithPriority(CUstream *ret_stream, unsigned flags, int priority)
{
    struct CUstream_st *stream;

    (void)flags;
    ENTER(cuStreamCreateWithPriority, NEED_WORKING);
    LEAVE_IF(priority > FAKE_LEAST || priority < FAKE_GREATEST,
        CUDA_ERROR_INVALID_VALUE); /* the real one takes the nearest */
    stream = calloc(1, sizeof(*stream));
    LEAVE_IF(stream == NULL, CUDA_ERROR_OUT_OF_MEMORY);
    stream->context = fake_current;
    stream->priority = priority;
    stream->last = &stream->first;
    if (pthread_create(&stream->thread, NULL, fake_stream_main, stream) != 0) {
        free(stream);
        return fake_leave(CUDA_ERROR_OUT_OF_MEMORY);
    }
    stream->next = fake.streams;
    fake.streams = stream;
    *ret_stream = stream;
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuStreamDestroy_v2(CUstream stream)
{
    struct CUstream_st **at;

    ENTER(cuStreamDestroy, NEED_CONTEXT);
    at = find_stream(stream);
    LEAVE_IF(*at == NULL, CUDA_ERROR_INVALID_HANDLE);
    if (stream->first != NULL && stream->context->fault == 0) {
        fake_mark("stream destroyed while work runs on it");
    }
    *at = stream->next;
    stream->closing = true;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
    pthread_join(stream->thread, NULL);
    free(stream);
    return CUDA_SUCCESS;
}

CUresult
cuStreamQuery(CUstream stream)
{
    ENTER(cuStreamQuery, NEED_WORKING);
    LEAVE_IF(*find_stream(stream) == NULL, CUDA_ERROR_INVALID_HANDLE);
    return fake_leave(
        stream->first == NULL ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY);
}

CUresult
cuStreamSynchronize(CUstream stream)
{
    ENTER(cuStreamSynchronize, NEED_WORKING);
    LEAVE_IF(*find_stream(stream) == NULL, CUDA_ERROR_INVALID_HANDLE);
    while (stream->first != NULL) {
        pthread_cond_wait(&fake.changed, &fake.lock);
    }
    return fake_leave(stream->context->fault);
}

CUresult
cuEventCreate(CUevent *ret_event, unsigned flags)
{
    struct CUevent_st *event;

    ENTER(cuEventCreate, NEED_WORKING);
    event = calloc(1, sizeof(*event));
    LEAVE_IF(event == NULL, CUDA_ERROR_OUT_OF_MEMORY);
    event->context = fake_current;
    event->flags = flags;
    event->next = fake.events;
    fake.events = event;
    *ret_event = event;
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuEventDestroy_v2(CUevent event)
{
    struct CUevent_st **at;

    ENTER(cuEventDestroy, NEED_CONTEXT);
    at = find_event(event);
    LEAVE_IF(*at == NULL, CUDA_ERROR_INVALID_HANDLE);
    if (event->completed != event->recorded && event->context->fault == 0) {
        fake_mark("event destroyed before its work has ended");
    }
    *at = event->next;
    free(event);
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuEventQuery(CUevent event)
{
    ENTER(cuEventQuery, NEED_WORKING);
    LEAVE_IF(*find_event(event) == NULL, CUDA_ERROR_INVALID_HANDLE);
    return fake_leave(event->completed == event->recorded
                          ? CUDA_SUCCESS
                          : CUDA_ERROR_NOT_READY);
}

CUresult
cuEventSynchronize(CUevent event)
{
    uint64_t upto;

    ENTER(cuEventSynchronize, NEED_WORKING);
    LEAVE_IF(*find_event(event) == NULL, CUDA_ERROR_INVALID_HANDLE);
    upto = event->recorded;
    while (event->completed < upto && event->context->fault == 0) {
        pthread_cond_wait(&fake.changed, &fake.lock);
    }
    if (event->context->fault != 0) {
        fake_copies_wait(event->context);
    }
    return fake_leave(event->context->fault);
}

static struct item *
new_item(enum item_kind kind)
{
    struct item *item = calloc(1, sizeof(*item));

    if (item != NULL) {
        item->kind = kind;
    }
    return item;
}

CUresult
cuEventRecord(CUevent event, CUstream stream)
{
    struct item *item;

    ENTER(cuEventRecord, NEED_WORKING);
    LEAVE_IF(*find_stream(stream) == NULL || *find_event(event) == NULL,
        CUDA_ERROR_INVALID_HANDLE);
    item = new_item(ITEM_EVENT);
    LEAVE_IF(item == NULL, CUDA_ERROR_OUT_OF_MEMORY);
    item->event = event;
    item->number = ++event->recorded;
    fake_stream_push(stream, item);
    return fake_leave(CUDA_SUCCESS);
}

/* The lock is held. Device memory comes zeroed nowhere: it is poisoned. */
static CUresult
allocate(size_t bytes, struct CUctx_st *context, void **ret_at)
{
    struct block *block = calloc(1, sizeof(*block));
    void *at;

    if (block == NULL || posix_memalign(&at, 256, bytes) != 0) {
        free(block);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memset(at, 0xcd, bytes);
    block->at = at;
    block->bytes = bytes;
    block->context = context;
    block->maker = fake_current;
    block->next = fake.blocks;
    fake.blocks = block;
    *ret_at = at;
    return CUDA_SUCCESS;
}

static size_t
free_bytes(void)
{
    const size_t taken = CONTEXT_BYTES + fake_current->used + fake.others;

    return taken < fake.mem ? fake.mem - taken : 0;
}

static CUresult
allocate_on_device(CUdeviceptr *ret_at, size_t bytes)
{
    CUresult code;
    void *at;

    if (bytes == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    fake.allocations++;
    if (fake.oom_after != 0 && fake.allocations >= fake.oom_after) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (bytes > free_bytes()) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    code = allocate(bytes, fake_current, &at);
    if (code == CUDA_SUCCESS) {
        fake_current->used += bytes;
        *ret_at = (CUdeviceptr)(uintptr_t)at;
    }
    return code;
}

/* Unlinks a block of the device; its memory, which still counts as used, is the
 * caller's.
 */
static CUresult
forget_block(CUdeviceptr at, size_t *ret_bytes)
{
    struct block **link = find_block(memory_at(at), 0);
    struct block *block = *link;

    if (block == NULL || block->at != memory_at(at) || block->context == NULL) {
        fake_mark("memory freed that is not there");
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (fake_stream_uses(block)) {
        fake_mark("memory freed that work still uses");
    }
    *ret_bytes = block->bytes;
    *link = block->next;
    free(block);
    return CUDA_SUCCESS;
}

CUresult
cuMemAlloc_v2(CUdeviceptr *ret_at, size_t bytes)
{
    ENTER(cuMemAlloc, NEED_WORKING);
    return fake_leave(allocate_on_device(ret_at, bytes));
}

CUresult
cuMemFree_v2(CUdeviceptr at)
{
    size_t bytes = 0;
    CUresult code;

    ENTER(cuMemFree, NEED_CONTEXT);
    code = forget_block(at, &bytes);
    LEAVE_IF(code != CUDA_SUCCESS, code);
    fake_streams_wait(fake_current); /* as the real one does (R14) */
    fake_current->used -= bytes;
    free(memory_at(at));
    return fake_leave(fake_current->fault);
}

CUresult
cuMemAllocAsync(CUdeviceptr *ret_at, size_t bytes, CUstream stream)
{
    ENTER(cuMemAllocAsync, NEED_WORKING);
    LEAVE_IF(fake.pools == 0, CUDA_ERROR_NOT_SUPPORTED);
    LEAVE_IF(*find_stream(stream) == NULL, CUDA_ERROR_INVALID_HANDLE);
    return fake_leave(allocate_on_device(ret_at, bytes));
}

CUresult
cuMemFreeAsync(CUdeviceptr at, CUstream stream)
{
    struct item *item;
    CUresult code;

    ENTER(cuMemFreeAsync, NEED_WORKING);
    LEAVE_IF(*find_stream(stream) == NULL, CUDA_ERROR_INVALID_HANDLE);
    item = new_item(ITEM_FREE);
    LEAVE_IF(item == NULL, CUDA_ERROR_OUT_OF_MEMORY);
    code = forget_block(at, &item->bytes);
    if (code != CUDA_SUCCESS) {
        free(item);
        return fake_leave(code);
    }
    item->to = memory_at(at);
    fake_stream_push(stream, item);
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuMemHostAlloc(void **ret_at, size_t bytes, unsigned flags)
{
    CUresult code;

    ENTER(cuMemHostAlloc, NEED_WORKING);
    code = allocate(bytes, NULL, ret_at);
    if (code == CUDA_SUCCESS) {
        fake.blocks->mapped = (flags & CU_MEMHOSTALLOC_DEVICEMAP) != 0;
    }
    return fake_leave(code);
}

CUresult
cuMemFreeHost(void *at)
{
    struct block **link;
    struct block *block;

    ENTER(cuMemFreeHost, NEED_CONTEXT);
    fake_streams_wait(fake_current);
    link = find_block(at, 0);
    block = *link;
    LEAVE_IF(block == NULL || block->at != at || block->context != NULL,
        CUDA_ERROR_INVALID_VALUE);
    if (fake_stream_uses(block)) {
        fake_mark("host memory freed that work still uses");
    }
    *link = block->next;
    free(block->at);
    free(block);
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuMemHostGetDevicePointer_v2(CUdeviceptr *ret_at, void *host, unsigned flags)
{
    struct block *block;

    ENTER(cuMemHostGetDevicePointer, NEED_WORKING);
    block = *find_block(host, 0);
    LEAVE_IF(flags != 0 || block == NULL || !block->mapped,
        CUDA_ERROR_INVALID_VALUE);
    *ret_at = (CUdeviceptr)(uintptr_t)host;
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuMemGetInfo_v2(size_t *ret_free, size_t *ret_total)
{
    ENTER(cuMemGetInfo, NEED_WORKING);
    *ret_total = fake.mem;
    *ret_free = free_bytes();
    return fake_leave(CUDA_SUCCESS);
}

static bool
on_device(CUdeviceptr at, size_t bytes)
{
    const struct block *block = *find_block(memory_at(at), bytes);

    return block != NULL && block->context == fake_current;
}

CUresult
cuMemcpyHtoDAsync_v2(
    CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    struct item *item;

    ENTER(cuMemcpyHtoDAsync, NEED_WORKING);
    LEAVE_IF(*find_stream(stream) == NULL, CUDA_ERROR_INVALID_HANDLE);
    LEAVE_IF(!on_device(to, bytes), CUDA_ERROR_INVALID_VALUE);
    item = new_item(ITEM_COPY);
    LEAVE_IF(item == NULL, CUDA_ERROR_OUT_OF_MEMORY);
    item->to = memory_at(to);
    item->from = from;
    item->bytes = bytes;
    fake_stream_push(stream, item);
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    struct item *item;

    ENTER(cuMemcpyDtoHAsync, NEED_WORKING);
    LEAVE_IF(*find_stream(stream) == NULL, CUDA_ERROR_INVALID_HANDLE);
    LEAVE_IF(!on_device(from, bytes), CUDA_ERROR_INVALID_VALUE);
    item = new_item(ITEM_COPY);
    LEAVE_IF(item == NULL, CUDA_ERROR_OUT_OF_MEMORY);
    item->to = to;
    item->from = memory_at(from);
    item->bytes = bytes;
    fake_stream_push(stream, item);
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuMemsetD8Async(
    CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream)
{
    struct item *item;

    ENTER(cuMemsetD8Async, NEED_WORKING);
    LEAVE_IF(*find_stream(stream) == NULL, CUDA_ERROR_INVALID_HANDLE);
    LEAVE_IF(!on_device(to, bytes), CUDA_ERROR_INVALID_VALUE);
    item = new_item(ITEM_FILL);
    LEAVE_IF(item == NULL, CUDA_ERROR_OUT_OF_MEMORY);
    item->to = memory_at(to);
    item->value = value;
    item->bytes = bytes;
    fake_stream_push(stream, item);
    return fake_leave(CUDA_SUCCESS);
}

static bool
wrong_shape(const unsigned grid[3], const unsigned block[3])
{
    return grid[0] == 0 || grid[1] == 0 || grid[2] == 0 || block[0] == 0
           || block[1] == 0 || block[2] == 0
           || (unsigned long long)block[0] * block[1] * block[2] > 1024;
}

CUresult
cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
    unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
    unsigned shared_bytes, CUstream stream, void **parameters, void **extra)
{
    const unsigned grid[3] = {grid_x, grid_y, grid_z};
    const unsigned block[3] = {block_x, block_y, block_z};
    struct item *item;

    ENTER(cuLaunchKernel, NEED_WORKING);
    fake.launches++;
    LEAVE_IF(*find_stream(stream) == NULL, CUDA_ERROR_INVALID_HANDLE);
    LEAVE_IF(
        wrong_shape(grid, block) || extra != NULL || shared_bytes > 48 << 10,
        CUDA_ERROR_INVALID_VALUE);
    item = new_item(ITEM_KERNEL);
    LEAVE_IF(item == NULL, CUDA_ERROR_OUT_OF_MEMORY);
    fake.launch_priority = stream->priority;
    item->number = fake.launches;
    item->run = function->run;
    item->module = function->module;
    memcpy(item->launch.grid, grid, sizeof(grid));
    memcpy(item->launch.block, block, sizeof(block));
    item->launch.count = function->count;
    for (unsigned i = 0; i < function->count; i++) {
        item->launch.parameter[i] = &item->launch.storage[i];
        item->launch.bytes[i] = function->bytes[i];
        memcpy(&item->launch.storage[i], parameters[i], function->bytes[i]);
    }
    fake_stream_push(stream, item);
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuLaunchHostFunc(CUstream stream, CUhostFn function, void *arg)
{
    struct item *item;

    ENTER(cuLaunchHostFunc, NEED_WORKING);
    LEAVE_IF(*find_stream(stream) == NULL, CUDA_ERROR_INVALID_HANDLE);
    item = new_item(ITEM_HOST);
    LEAVE_IF(item == NULL, CUDA_ERROR_OUT_OF_MEMORY);
    item->host = function;
    item->arg = arg;
    fake_stream_push(stream, item);
    return fake_leave(CUDA_SUCCESS);
}

CUresult
cuStreamAddCallback(
    CUstream stream, CUstreamCallback function, void *arg, unsigned flags)
{
    struct item *item;

    ENTER(cuStreamAddCallback, NEED_WORKING);
    LEAVE_IF(*find_stream(stream) == NULL, CUDA_ERROR_INVALID_HANDLE);
    LEAVE_IF(flags != 0, CUDA_ERROR_INVALID_VALUE);
    item = new_item(ITEM_CALLBACK);
    LEAVE_IF(item == NULL, CUDA_ERROR_OUT_OF_MEMORY);
    item->callback = function;
    item->arg = arg;
    fake_stream_push(stream, item);
    return fake_leave(CUDA_SUCCESS);
}

/* ---- the end of a context that has failed ---- */

/* Joins its thread, with the lock given up meanwhile. */
static void
end_stream(struct CUstream_st **at)
{
    struct CUstream_st *stream = *at;

    *at = stream->next;
    stream->closing = true;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
    pthread_join(stream->thread, NULL);
    free(stream);
    pthread_mutex_lock(&fake.lock);
}

static void
end_events(const struct CUctx_st *context)
{
    struct CUevent_st **at = &fake.events;
    struct CUevent_st *event;

    while ((event = *at) != NULL) {
        if (event->context != context) {
            at = &event->next;
            continue;
        }
        *at = event->next;
        free(event);
    }
}

static void
end_blocks(struct CUctx_st *context)
{
    struct block **at = &fake.blocks;
    struct block *block;

    while ((block = *at) != NULL) {
        if (block->maker != context) {
            at = &block->next;
            continue;
        }
        *at = block->next;
        context->used -= block->context != NULL ? block->bytes : 0;
        free(block->at);
        free(block);
    }
}

void
fake_context_empty(struct CUctx_st *context)
{
    struct CUstream_st **at = &fake.streams;

    context->closing = true;
    while (*at != NULL) {
        if ((*at)->context == context) {
            end_stream(at);
            at = &fake.streams; /* it may have changed meanwhile */
        } else {
            at = &(*at)->next;
        }
    }
    end_events(context);
    fake_modules_end(context);
    end_blocks(context);
    context->closing = false;
    context->told = false;
}
