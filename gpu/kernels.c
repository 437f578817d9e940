/* kernels.c - small kernels, each for CUDA, OpenCL and the simulator.
 *
 * The PTX is of a version and a target that every driver since CUDA 9 takes
 * for every device since Maxwell, and translates for what it has. It is
 * written by hand; test/checks/ptx.py assembles it where ptxas is installed,
 * and runs it on the CPU.
 */
#include "gpu/kernels.h"

#include <string.h>

#define PTX_HEAD      \
    ".version 6.0\n"  \
    ".target sm_50\n" \
    ".address_size 64\n"

/* %i: the number of this thread; %off4: the offset of its 4 bytes. */
#define PTX_INDEX                                      \
    "    .reg .pred %p;\n"                             \
    "    .reg .b32 %block, %width, %thread, %i, %n;\n" \
    "    .reg .b64 %off4;\n"                           \
    "    mov.u32 %block, %ctaid.x;\n"                  \
    "    mov.u32 %width, %ntid.x;\n"                   \
    "    mov.u32 %thread, %tid.x;\n"                   \
    "    mad.lo.u32 %i, %block, %width, %thread;\n"    \
    "    mul.wide.u32 %off4, %i, 4;\n"

/* Leaves the threads behind the last element out. */
#define PTX_GUARD                     \
    "    ld.param.u32 %n, [count];\n" \
    "    setp.ge.u32 %p, %i, %n;\n"   \
    "    @%p bra end;\n"

#define TEXT(text)               \
    {                            \
        (text), sizeof(text) - 1 \
    }

/* ---- vector_add ---- */

static const char vector_add_ptx[] =
    PTX_HEAD ".visible .entry belay_vector_add(.param .u64 a, .param .u64 b,\n"
             "    .param .u64 sum, .param .u32 count)\n"
             "{\n" PTX_INDEX "    .reg .b64 %a, %b, %sum;\n"
             "    .reg .f32 %x, %y;\n" PTX_GUARD "    ld.param.u64 %a, [a];\n"
             "    ld.param.u64 %b, [b];\n"
             "    ld.param.u64 %sum, [sum];\n"
             "    cvta.to.global.u64 %a, %a;\n"
             "    cvta.to.global.u64 %b, %b;\n"
             "    cvta.to.global.u64 %sum, %sum;\n"
             "    add.u64 %a, %a, %off4;\n"
             "    add.u64 %b, %b, %off4;\n"
             "    add.u64 %sum, %sum, %off4;\n"
             "    ld.global.f32 %x, [%a];\n"
             "    ld.global.f32 %y, [%b];\n"
             "    add.f32 %x, %x, %y;\n"
             "    st.global.f32 [%sum], %x;\n"
             "end:\n"
             "    ret;\n"
             "}\n";

static const char vector_add_opencl[] =
    "__kernel void belay_vector_add(__global const float *a,\n"
    "    __global const float *b, __global float *sum, uint count)\n"
    "{\n"
    "    size_t i = get_global_id(0);\n"
    "    if (i < count) {\n"
    "        sum[i] = a[i] + b[i];\n"
    "    }\n"
    "}\n";

static uint64_t
threads_of(const struct belay_gpu_sim_call *call)
{
    return (uint64_t)call->grid[0] * call->block[0];
}

/* An argument that is a value; a number of a buffer's elements is one. */
static uint32_t
u32_of(const struct belay_gpu_sim_arg *arg)
{
    uint32_t value;

    memcpy(&value, arg->data, sizeof(value));
    return value;
}

/* Buffers that are too large to be held for real have no data. */
static bool
held(const struct belay_gpu_sim_call *call)
{
    for (uint32_t i = 0; i < call->arg_count; i++) {
        if (call->args[i].data == NULL) {
            return false;
        }
    }
    return true;
}

static void
vector_add_sim(const struct belay_gpu_sim_call *call)
{
    const float *a = call->args[0].data;
    const float *b = call->args[1].data;
    float *sum = call->args[2].data;

    for (uint64_t i = 0;
         held(call) && i < threads_of(call) && i < u32_of(&call->args[3]);
         i++) {
        sum[i] = a[i] + b[i];
    }
}

const struct belay_gpu_source belay__gpu_vector_add = {
    .size = sizeof(struct belay_gpu_source),
    .entry = "belay_vector_add",
    .ptx = TEXT(vector_add_ptx),
    .opencl = TEXT(vector_add_opencl),
    .sim = vector_add_sim,
};

/* ---- saxpy ---- */

static const char saxpy_ptx[] = PTX_HEAD
    ".visible .entry belay_saxpy(.param .f32 a, .param .u64 x,\n"
    "    .param .u64 y, .param .u32 count)\n"
    "{\n" PTX_INDEX "    .reg .b64 %x, %y;\n"
    "    .reg .f32 %a, %u, %v;\n" PTX_GUARD "    ld.param.f32 %a, [a];\n"
    "    ld.param.u64 %x, [x];\n"
    "    ld.param.u64 %y, [y];\n"
    "    cvta.to.global.u64 %x, %x;\n"
    "    cvta.to.global.u64 %y, %y;\n"
    "    add.u64 %x, %x, %off4;\n"
    "    add.u64 %y, %y, %off4;\n"
    "    ld.global.f32 %u, [%x];\n"
    "    ld.global.f32 %v, [%y];\n"
    "    fma.rn.f32 %v, %a, %u, %v;\n"
    "    st.global.f32 [%y], %v;\n"
    "end:\n"
    "    ret;\n"
    "}\n";

static const char saxpy_opencl[] =
    "__kernel void belay_saxpy(float a, __global const float *x,\n"
    "    __global float *y, uint count)\n"
    "{\n"
    "    size_t i = get_global_id(0);\n"
    "    if (i < count) {\n"
    "        y[i] = fma(a, x[i], y[i]);\n"
    "    }\n"
    "}\n";

static void
saxpy_sim(const struct belay_gpu_sim_call *call)
{
    const float *x = call->args[1].data;
    float *y = call->args[2].data;
    float a;

    memcpy(&a, call->args[0].data, sizeof(a));
    for (uint64_t i = 0;
         held(call) && i < threads_of(call) && i < u32_of(&call->args[3]);
         i++) {
        y[i] += a * x[i];
    }
}

const struct belay_gpu_source belay__gpu_saxpy = {
    .size = sizeof(struct belay_gpu_source),
    .entry = "belay_saxpy",
    .ptx = TEXT(saxpy_ptx),
    .opencl = TEXT(saxpy_opencl),
    .sim = saxpy_sim,
};

/* ---- block_sums ---- */

/* Halves the threads that add until one is left; all of them meet at each
 * barrier.
 */
static const char block_sums_ptx[] =
    PTX_HEAD ".visible .entry belay_block_sums(.param .u64 values,\n"
             "    .param .u64 sums, .param .u32 count)\n"
             "{\n"
             "    .shared .align 4 .b8 partial[1024];\n" PTX_INDEX
             "    .reg .b32 %value, %other, %at, %from, %half;\n"
             "    .reg .b64 %values, %sums, %off;\n"
             "    ld.param.u32 %n, [count];\n"
             "    mov.u32 %value, 0;\n"
             "    setp.ge.u32 %p, %i, %n;\n"
             "    @%p bra store;\n"
             "    ld.param.u64 %values, [values];\n"
             "    cvta.to.global.u64 %values, %values;\n"
             "    add.u64 %values, %values, %off4;\n"
             "    ld.global.u32 %value, [%values];\n"
             "store:\n"
             "    mov.u32 %at, partial;\n"
             "    mad.lo.u32 %at, %thread, 4, %at;\n"
             "    st.shared.u32 [%at], %value;\n"
             "    shr.u32 %half, %width, 1;\n"
             "halve:\n"
             "    setp.eq.u32 %p, %half, 0;\n"
             "    @%p bra done;\n"
             "    bar.sync 0;\n"
             "    setp.ge.u32 %p, %thread, %half;\n"
             "    @%p bra next;\n"
             "    mad.lo.u32 %from, %half, 4, %at;\n"
             "    ld.shared.u32 %value, [%at];\n"
             "    ld.shared.u32 %other, [%from];\n"
             "    add.u32 %value, %value, %other;\n"
             "    st.shared.u32 [%at], %value;\n"
             "next:\n"
             "    shr.u32 %half, %half, 1;\n"
             "    bra halve;\n"
             "done:\n"
             "    setp.ne.u32 %p, %thread, 0;\n"
             "    @%p bra end;\n"
             "    ld.shared.u32 %value, [%at];\n"
             "    ld.param.u64 %sums, [sums];\n"
             "    cvta.to.global.u64 %sums, %sums;\n"
             "    mul.wide.u32 %off, %block, 4;\n"
             "    add.u64 %sums, %sums, %off;\n"
             "    st.global.u32 [%sums], %value;\n"
             "end:\n"
             "    ret;\n"
             "}\n";

static const char block_sums_opencl[] =
    "__kernel void belay_block_sums(__global const uint *values,\n"
    "    __global uint *sums, uint count)\n"
    "{\n"
    "    __local uint partial[256];\n"
    "    uint thread = get_local_id(0);\n"
    "    size_t i = get_global_id(0);\n"
    "    partial[thread] = i < count ? values[i] : 0;\n"
    "    for (uint half_ = get_local_size(0) / 2; half_ > 0; half_ /= 2) {\n"
    "        barrier(CLK_LOCAL_MEM_FENCE);\n"
    "        if (thread < half_) {\n"
    "            partial[thread] += partial[thread + half_];\n"
    "        }\n"
    "    }\n"
    "    if (thread == 0) {\n"
    "        sums[get_group_id(0)] = partial[0];\n"
    "    }\n"
    "}\n";

static void
block_sums_sim(const struct belay_gpu_sim_call *call)
{
    const uint32_t *values = call->args[0].data;
    uint32_t *sums = call->args[1].data;
    uint32_t width = call->block[0];

    for (uint64_t i = 0; held(call) && i < threads_of(call); i++) {
        if (i % width == 0) {
            sums[i / width] = 0;
        }
        sums[i / width] += i < u32_of(&call->args[2]) ? values[i] : 0;
    }
}

const struct belay_gpu_source belay__gpu_block_sums = {
    .size = sizeof(struct belay_gpu_source),
    .entry = "belay_block_sums",
    .ptx = TEXT(block_sums_ptx),
    .opencl = TEXT(block_sums_opencl),
    .sim = block_sums_sim,
};

/* ---- matrix_product ---- */

/* A block makes 16 x 16 elements. It walks along 16 rows of a and down 16
 * columns of b, one square of each at a time in shared memory.
 */
static const char matrix_product_ptx[] = PTX_HEAD
    ".visible .entry belay_matrix_product(.param .u64 a, .param .u64 b,\n"
    "    .param .u64 product, .param .u32 n)\n"
    "{\n"
    "    .shared .align 4 .b8 square_a[1024];\n"
    "    .shared .align 4 .b8 square_b[1024];\n"
    "    .reg .pred %p;\n"
    "    .reg .b32 %tx, %ty, %row, %column, %n, %k, %start, %i;\n"
    "    .reg .b32 %mine_a, %mine_b, %from_a, %from_b, %flat;\n"
    "    .reg .b64 %a, %b, %product, %at, %off;\n"
    "    .reg .f32 %x, %y, %sum;\n"
    "    ld.param.u32 %n, [n];\n"
    "    ld.param.u64 %a, [a];\n"
    "    ld.param.u64 %b, [b];\n"
    "    ld.param.u64 %product, [product];\n"
    "    cvta.to.global.u64 %a, %a;\n"
    "    cvta.to.global.u64 %b, %b;\n"
    "    cvta.to.global.u64 %product, %product;\n"
    "    mov.u32 %tx, %tid.x;\n"
    "    mov.u32 %ty, %tid.y;\n"
    "    mov.u32 %row, %ctaid.y;\n"
    "    mad.lo.u32 %row, %row, 16, %ty;\n"
    "    mov.u32 %column, %ctaid.x;\n"
    "    mad.lo.u32 %column, %column, 16, %tx;\n"
    "    mad.lo.u32 %flat, %ty, 16, %tx;\n"
    "    mov.u32 %mine_a, square_a;\n"
    "    mad.lo.u32 %from_a, %ty, 64, %mine_a;\n" /* my row of the square */
    "    mad.lo.u32 %mine_a, %flat, 4, %mine_a;\n"
    "    mov.u32 %mine_b, square_b;\n"
    "    mad.lo.u32 %from_b, %tx, 4, %mine_b;\n" /* my column */
    "    mad.lo.u32 %mine_b, %flat, 4, %mine_b;\n"
    "    mov.f32 %sum, 0f00000000;\n"
    "    mov.u32 %start, 0;\n"
    "square:\n"
    "    setp.ge.u32 %p, %start, %n;\n"
    "    @%p bra done;\n"
    "    add.u32 %i, %start, %tx;\n"
    "    mad.lo.u32 %i, %row, %n, %i;\n"
    "    mul.wide.u32 %off, %i, 4;\n"
    "    add.u64 %at, %a, %off;\n"
    "    ld.global.f32 %x, [%at];\n"
    "    st.shared.f32 [%mine_a], %x;\n"
    "    add.u32 %i, %start, %ty;\n"
    "    mad.lo.u32 %i, %i, %n, %column;\n"
    "    mul.wide.u32 %off, %i, 4;\n"
    "    add.u64 %at, %b, %off;\n"
    "    ld.global.f32 %y, [%at];\n"
    "    st.shared.f32 [%mine_b], %y;\n"
    "    bar.sync 0;\n"
    "    mov.u32 %k, 0;\n"
    "multiply:\n"
    "    mad.lo.u32 %i, %k, 4, %from_a;\n"
    "    ld.shared.f32 %x, [%i];\n"
    "    mad.lo.u32 %i, %k, 64, %from_b;\n"
    "    ld.shared.f32 %y, [%i];\n"
    "    fma.rn.f32 %sum, %x, %y, %sum;\n"
    "    add.u32 %k, %k, 1;\n"
    "    setp.lt.u32 %p, %k, 16;\n"
    "    @%p bra multiply;\n"
    "    bar.sync 0;\n" /* nobody overwrites what another still reads */
    "    add.u32 %start, %start, 16;\n"
    "    bra square;\n"
    "done:\n"
    "    mad.lo.u32 %i, %row, %n, %column;\n"
    "    mul.wide.u32 %off, %i, 4;\n"
    "    add.u64 %at, %product, %off;\n"
    "    st.global.f32 [%at], %sum;\n"
    "    ret;\n"
    "}\n";

static const char matrix_product_opencl[] =
    "__kernel void belay_matrix_product(__global const float *a,\n"
    "    __global const float *b, __global float *product, uint n)\n"
    "{\n"
    "    __local float square_a[16][16];\n"
    "    __local float square_b[16][16];\n"
    "    uint tx = get_local_id(0);\n"
    "    uint ty = get_local_id(1);\n"
    "    uint row = get_global_id(1);\n"
    "    uint column = get_global_id(0);\n"
    "    float sum = 0;\n"
    "    for (uint start = 0; start < n; start += 16) {\n"
    "        square_a[ty][tx] = a[row * n + start + tx];\n"
    "        square_b[ty][tx] = b[(start + ty) * n + column];\n"
    "        barrier(CLK_LOCAL_MEM_FENCE);\n"
    "        for (uint k = 0; k < 16; k++) {\n"
    "            sum = fma(square_a[ty][k], square_b[k][tx], sum);\n"
    "        }\n"
    "        barrier(CLK_LOCAL_MEM_FENCE);\n"
    "    }\n"
    "    product[row * n + column] = sum;\n"
    "}\n";

static void
matrix_product_sim(const struct belay_gpu_sim_call *call)
{
    const float *a = call->args[0].data;
    const float *b = call->args[1].data;
    float *product = call->args[2].data;
    size_t n = u32_of(&call->args[3]);

    for (size_t i = 0; held(call) && i < n * n; i++) {
        product[i] = 0;
        for (size_t k = 0; k < n; k++) {
            product[i] += a[i / n * n + k] * b[k * n + i % n];
        }
    }
}

const struct belay_gpu_source belay__gpu_matrix_product = {
    .size = sizeof(struct belay_gpu_source),
    .entry = "belay_matrix_product",
    .ptx = TEXT(matrix_product_ptx),
    .opencl = TEXT(matrix_product_opencl),
    .sim = matrix_product_sim,
    .sim_work = 16, /* a step along each square */
};

/* ---- spin ---- */

/* Volatile loads: the word is the host's memory, and changes meanwhile. */
static const char spin_ptx[] = PTX_HEAD
    ".visible .entry belay_spin(.param .u64 stop, .param .u64 sequence,\n"
    "    .param .u64 rounds, .param .u64 done)\n"
    "{\n"
    "    .reg .pred %p;\n"
    "    .reg .b64 %stop, %seen, %sequence, %round, %rounds, %done;\n"
    "    ld.param.u64 %stop, [stop];\n"
    "    ld.param.u64 %sequence, [sequence];\n"
    "    ld.param.u64 %rounds, [rounds];\n"
    "    ld.param.u64 %done, [done];\n"
    "    cvta.to.global.u64 %stop, %stop;\n"
    "    cvta.to.global.u64 %done, %done;\n"
    "    mov.u64 %round, 0;\n"
    "again:\n"
    "    setp.ge.u64 %p, %round, %rounds;\n"
    "    @%p bra end;\n"
    "    ld.volatile.global.u64 %seen, [%stop];\n"
    "    setp.ge.u64 %p, %seen, %sequence;\n"
    "    @%p bra end;\n"
    "    add.u64 %round, %round, 1;\n"
    "    bra again;\n"
    "end:\n"
    "    st.global.u64 [%done], %round;\n"
    "    ret;\n"
    "}\n";

static const char spin_opencl[] =
    "__kernel void belay_spin(__global volatile const ulong *stop,\n"
    "    ulong sequence, ulong rounds, __global ulong *done)\n"
    "{\n"
    "    ulong round_ = 0;\n"
    "    while (round_ < rounds && *stop < sequence) {\n"
    "        round_++;\n"
    "    }\n"
    "    *done = round_;\n"
    "}\n";

/* Nothing goes on beside it here: its time has passed, it has counted. */
static void
spin_sim(const struct belay_gpu_sim_call *call)
{
    memcpy(call->args[3].data, call->args[2].data, sizeof(uint64_t));
}

const struct belay_gpu_source belay__gpu_spin = {
    .size = sizeof(struct belay_gpu_source),
    .entry = "belay_spin",
    .ptx = TEXT(spin_ptx),
    .opencl = TEXT(spin_opencl),
    .sim = spin_sim,
};
