/* gpu_slot.c - one slot of a driver, worked by hand, without a pool. */
#include "test/support/gpu_slot.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "gpu/kernels.h"

void
gpu_slot_open_beside(struct gpu_slot *slot, const struct gpu_slot *first,
    uint32_t ordinal, uint32_t index)
{
    const struct belay__gpu_place place = {.ordinal = ordinal, .slot = index};
    char why[BELAY__GPU_NOTE] = "";
    int code;

    *slot = (struct gpu_slot){.driver = first->driver, .object = first->object};
    code = slot->driver->slot_open(
        slot->object, &place, &slot->state, &slot->free_bytes, why);
    cr_assert(eq(int, code, 0), "%s", why);
}

void
gpu_slot_open(struct gpu_slot *slot, const struct belay__gpu_driver *driver,
    const char *settings, uint32_t ordinal, uint32_t index)
{
    struct gpu_slot loaded = {.driver = driver};
    char why[BELAY__GPU_NOTE] = "";
    int code = driver->load(settings, &loaded.object, why);

    cr_assert(eq(int, code, 0), "%s", why);
    gpu_slot_open_beside(slot, &loaded, ordinal, index);
}

void
gpu_slot_close(struct gpu_slot *slot)
{
    free(slot->op.log);
    slot->op.log = NULL;
    slot->driver->slot_close(slot->state, false);
}

static struct belay__gpu_op *
new_op(struct gpu_slot *slot, enum belay__gpu_job job)
{
    free(slot->op.log);
    memset(&slot->op, 0, sizeof(slot->op));
    slot->op.job = job;
    slot->op.seq = ++slot->seq;
    return &slot->op;
}

int
gpu_slot_build(struct gpu_slot *slot, const struct belay_gpu_source *source,
    struct belay_gpu_kernel *ret)
{
    bool ptx = strcmp(slot->driver->name, "cuda") == 0;
    struct belay_slice text = ptx ? source->ptx : source->opencl;
    union {
        const char *from;
        char *to; /* only read by the driver */
    } entry = {source->entry}, copy = {text.data};
    struct belay__gpu_op *op = new_op(slot, BELAY__GPU_BUILD);

    *ret = (struct belay_gpu_kernel){
        .entry = entry.to, .text = copy.to, .text_len = text.len};
    op->u.kernel = ret;
    return slot->driver->build(slot->state, op);
}

int
gpu_slot_alloc(
    struct gpu_slot *slot, uint64_t bytes, struct belay__gpu_buffer *ret)
{
    struct belay__gpu_op *op = new_op(slot, BELAY__GPU_ALLOC);

    *ret = (struct belay__gpu_buffer){.bytes = bytes};
    op->u.buffer = ret;
    return slot->driver->alloc(slot->state, op);
}

int
gpu_slot_release(struct gpu_slot *slot, struct belay__gpu_buffer *buffer)
{
    struct belay__gpu_op *op = new_op(slot, BELAY__GPU_RELEASE);

    op->u.buffer = buffer;
    return slot->driver->release(slot->state, op);
}

int
gpu_slot_health(struct gpu_slot *slot)
{
    return slot->driver->health(slot->state, new_op(slot, BELAY__GPU_HEALTH));
}

int
gpu_slot_reset(struct gpu_slot *slot)
{
    return slot->driver->reset(slot->state, new_op(slot, BELAY__GPU_RESET));
}

int
gpu_slot_run(
    struct gpu_slot *slot, const struct belay__gpu_cmd *cmds, uint32_t count)
{
    struct belay__gpu_op *op = new_op(slot, BELAY__GPU_RUN);
    int status;

    op->u.run.cmds = cmds;
    op->u.run.count = count;
    status = slot->driver->submit(slot->state, op);
    return status != 0 ? status : slot->driver->wait(slot->state, op);
}

struct belay__gpu_cmd
gpu_write(struct belay__gpu_buffer *buffer, const void *from, uint64_t bytes)
{
    union {
        const void *from;
        void *to; /* a write only reads it */
    } host = {from};

    return (struct belay__gpu_cmd){.kind = BELAY_GPU_WRITE,
        .u.transfer = {.buffer = buffer, .host = host.to, .bytes = bytes}};
}

struct belay__gpu_cmd
gpu_read(struct belay__gpu_buffer *buffer, void *to, uint64_t bytes)
{
    return (struct belay__gpu_cmd){.kind = BELAY_GPU_READ,
        .u.transfer = {.buffer = buffer, .host = to, .bytes = bytes}};
}

struct belay__gpu_cmd
gpu_fill(struct belay__gpu_buffer *buffer, uint8_t value, uint64_t bytes)
{
    return (struct belay__gpu_cmd){.kind = BELAY_GPU_FILL,
        .u.transfer = {.buffer = buffer, .value = value, .bytes = bytes}};
}

struct belay__gpu_cmd
gpu_launch(const struct belay_gpu_kernel *kernel, uint32_t blocks,
    uint32_t threads, const struct belay__gpu_arg *args, uint32_t count)
{
    return (struct belay__gpu_cmd){.kind = BELAY_GPU_LAUNCH,
        .u.launch = {.kernel = kernel,
            .grid = {blocks, 1, 1},
            .block = {threads, 1, 1},
            .args = args,
            .arg_count = count}};
}

/* ---- the kernels ---- */

enum {
    COUNT = 1000, /* no multiple of a block */
    BLOCK = 64,
    BLOCKS = (COUNT + BLOCK - 1) / BLOCK,
    N = 32,
};

struct bench {
    struct gpu_slot *slot;
    struct belay__gpu_buffer a;
    struct belay__gpu_buffer b;
    struct belay__gpu_buffer c;
    struct belay_gpu_kernel kernel;
    float x[COUNT];
    float y[COUNT];
    float z[COUNT];
};

static void
begin(struct bench *bench, const struct belay_gpu_source *source)
{
    int status = gpu_slot_build(bench->slot, source, &bench->kernel);

    cr_assert(eq(int, status, 0), "%s: %s", bench->slot->op.note,
        bench->slot->op.log != NULL ? bench->slot->op.log : "");
    /* Small whole numbers: any order of adding gives the same. */
    for (int i = 0; i < COUNT; i++) {
        bench->x[i] = (float)(i % 17);
        bench->y[i] = (float)(i % 5 - 2);
        bench->z[i] = -1;
    }
}

static void
run(struct bench *bench, struct belay__gpu_cmd launch,
    struct belay__gpu_buffer *result, void *to, uint64_t bytes)
{
    const struct belay__gpu_cmd cmds[] = {
        gpu_write(&bench->a, bench->x, sizeof(bench->x)),
        gpu_write(&bench->b, bench->y, sizeof(bench->y)),
        gpu_fill(&bench->c, 0, sizeof(bench->z)),
        launch,
        gpu_read(result, to, bytes),
    };

    cr_assert(eq(int, gpu_slot_run(bench->slot, cmds, 5), 0), "%s",
        bench->slot->op.note);
}

static void
check_vector_add(struct bench *bench)
{
    const struct belay__gpu_arg args[] = {GPU_BUFFER(&bench->a),
        GPU_BUFFER(&bench->b), GPU_BUFFER(&bench->c), GPU_U32(COUNT)};

    begin(bench, &belay__gpu_vector_add);
    run(bench, gpu_launch(&bench->kernel, BLOCKS, BLOCK, args, 4), &bench->c,
        bench->z, sizeof(bench->z));
    for (int i = 0; i < COUNT; i++) {
        cr_assert(eq(flt, bench->z[i], bench->x[i] + bench->y[i]), "%d", i);
    }
}

static void
check_saxpy(struct bench *bench)
{
    struct belay__gpu_arg args[] = {GPU_U32(0), GPU_BUFFER(&bench->a),
        GPU_BUFFER(&bench->b), GPU_U32(COUNT)};
    const float factor = 3;

    begin(bench, &belay__gpu_saxpy);
    memcpy(&args[0].value, &factor, sizeof(factor));
    run(bench, gpu_launch(&bench->kernel, BLOCKS, BLOCK, args, 4), &bench->b,
        bench->z, sizeof(bench->z));
    for (int i = 0; i < COUNT; i++) {
        cr_assert(
            eq(flt, bench->z[i], factor * bench->x[i] + bench->y[i]), "%d", i);
    }
}

static void
check_block_sums(struct bench *bench)
{
    const struct belay__gpu_arg args[] = {
        GPU_BUFFER(&bench->a), GPU_BUFFER(&bench->c), GPU_U32(COUNT)};
    uint32_t values[COUNT];
    uint32_t sums[BLOCKS];

    begin(bench, &belay__gpu_block_sums);
    for (uint32_t i = 0; i < COUNT; i++) {
        values[i] = i * i;
    }
    memcpy(bench->x, values, sizeof(values));
    run(bench, gpu_launch(&bench->kernel, BLOCKS, BLOCK, args, 3), &bench->c,
        sums, sizeof(sums));
    for (uint32_t block = 0; block < BLOCKS; block++) {
        uint32_t sum = 0;

        for (uint32_t i = block * BLOCK; i < (block + 1) * BLOCK; i++) {
            sum += i < COUNT ? values[i] : 0;
        }
        cr_assert(eq(u32, sums[block], sum), "%u", block);
    }
}

static void
check_matrix_product(struct bench *bench)
{
    const struct belay__gpu_arg args[] = {GPU_BUFFER(&bench->a),
        GPU_BUFFER(&bench->b), GPU_BUFFER(&bench->c), GPU_U32(N)};
    static float a[N * N];
    static float b[N * N];
    static float product[N * N];
    struct belay__gpu_buffer buffers[3];
    struct belay__gpu_cmd cmds[] = {
        gpu_write(&buffers[0], a, sizeof(a)),
        gpu_write(&buffers[1], b, sizeof(b)),
        gpu_launch(&bench->kernel, N / 16, 16, args, 4),
        gpu_read(&buffers[2], product, sizeof(product)),
    };

    begin(bench, &belay__gpu_matrix_product);
    for (int i = 0; i < 3; i++) {
        cr_assert(
            eq(int, gpu_slot_alloc(bench->slot, sizeof(a), &buffers[i]), 0));
    }
    bench->a = buffers[0];
    bench->b = buffers[1];
    bench->c = buffers[2];
    for (int i = 0; i < N * N; i++) {
        a[i] = (float)(i % 7 - 3);
        b[i] = (float)(i % 11 - 5);
    }
    cmds[2].u.launch.grid[1] = N / 16;
    cmds[2].u.launch.block[1] = 16;
    cr_assert(eq(int, gpu_slot_run(bench->slot, cmds, 4), 0), "%s",
        bench->slot->op.note);
    for (int i = 0; i < N * N; i++) {
        float sum = 0;

        for (int k = 0; k < N; k++) {
            sum += a[i / N * N + k] * b[k * N + i % N];
        }
        cr_assert(eq(flt, product[i], sum), "%d", i);
    }
    for (int i = 0; i < 3; i++) {
        cr_assert(eq(int, gpu_slot_release(bench->slot, &buffers[i]), 0));
    }
}

static void
check_spin(struct bench *bench)
{
    const struct belay__gpu_arg args[] = {
        GPU_STOP, GPU_SEQUENCE, GPU_U64(1000), GPU_BUFFER(&bench->c)};
    uint64_t rounds = 0;

    begin(bench, &belay__gpu_spin);
    run(bench, gpu_launch(&bench->kernel, 1, 1, args, 4), &bench->c, &rounds,
        sizeof(rounds));
    cr_assert(eq(u64, rounds, 1000));
}

void
gpu_slot_check_kernels(struct gpu_slot *slot)
{
    static struct bench bench;
    struct belay__gpu_buffer *buffers[] = {&bench.a, &bench.b, &bench.c};
    struct belay__gpu_buffer kept[3];

    bench.slot = slot;
    for (int i = 0; i < 3; i++) {
        cr_assert(
            eq(int, gpu_slot_alloc(slot, sizeof(bench.x), buffers[i]), 0));
        kept[i] = *buffers[i];
    }
    check_vector_add(&bench);
    check_saxpy(&bench);
    check_block_sums(&bench);
    check_spin(&bench);
    check_matrix_product(&bench);
    for (int i = 0; i < 3; i++) {
        cr_assert(eq(int, gpu_slot_release(slot, &kept[i]), 0));
    }
}
