/* kernels.c - what the kernels of gpu/kernels.c do, and some for tests.
 *
 * Written for themselves, from what the kernels are said to do: one grid, one
 * thread after the other.
 */
#include "test/fake/libcuda/fake.h"

#include <string.h>

__thread CUresult fake_fault;

static void *
pointer(const struct launch *launch, unsigned i)
{
    void *value;

    memcpy(&value, launch->parameter[i], sizeof(value));
    return value;
}

static uint32_t
u32(const struct launch *launch, unsigned i)
{
    uint32_t value;

    memcpy(&value, launch->parameter[i], sizeof(value));
    return value;
}

static uint64_t
u64(const struct launch *launch, unsigned i)
{
    uint64_t value;

    memcpy(&value, launch->parameter[i], sizeof(value));
    return value;
}

static uint32_t
threads(const struct launch *launch)
{
    return launch->grid[0] * launch->block[0];
}

static void
vector_add(const struct launch *launch)
{
    const float *a = pointer(launch, 0);
    const float *b = pointer(launch, 1);
    float *sum = pointer(launch, 2);
    uint32_t count = u32(launch, 3);

    for (uint32_t i = 0; i < threads(launch) && i < count; i++) {
        sum[i] = a[i] + b[i];
    }
}

static void
saxpy(const struct launch *launch)
{
    const float *x = pointer(launch, 1);
    float *y = pointer(launch, 2);
    uint32_t count = u32(launch, 3);
    float a;

    memcpy(&a, launch->parameter[0], sizeof(a));
    for (uint32_t i = 0; i < threads(launch) && i < count; i++) {
        y[i] = a * x[i] + y[i];
    }
}

static void
block_sums(const struct launch *launch)
{
    const uint32_t *values = pointer(launch, 0);
    uint32_t *sums = pointer(launch, 1);
    uint32_t count = u32(launch, 2);
    uint32_t width = launch->block[0];

    for (uint32_t block = 0; block < launch->grid[0]; block++) {
        sums[block] = 0;
        for (uint32_t i = block * width; i < (block + 1) * width; i++) {
            sums[block] += i < count ? values[i] : 0;
        }
    }
}

static void
matrix_product(const struct launch *launch)
{
    const float *a = pointer(launch, 0);
    const float *b = pointer(launch, 1);
    float *product = pointer(launch, 2);
    uint32_t n = u32(launch, 3);

    for (uint32_t row = 0; row < n; row++) {
        for (uint32_t column = 0; column < n; column++) {
            float sum = 0;

            for (uint32_t k = 0; k < n; k++) {
                sum += a[row * n + k] * b[k * n + column];
            }
            product[row * n + column] = sum;
        }
    }
}

static void
spin(const struct launch *launch)
{
    const uint64_t *stop = pointer(launch, 0);
    uint64_t sequence = u64(launch, 1);
    uint64_t rounds = u64(launch, 2);
    uint64_t *done = pointer(launch, 3);
    uint64_t round = 0;

    while (
        round < rounds && __atomic_load_n(stop, __ATOMIC_ACQUIRE) < sequence) {
        round++;
    }
    *done = round;
}

/* Of bench/gpu/fault.c. */
static void
wild(const struct launch *launch)
{
    (void)launch;
    fake_fault = CUDA_ERROR_ILLEGAL_ADDRESS;
}

static void
fail_assert(const struct launch *launch)
{
    (void)launch;
    fake_fault = CUDA_ERROR_ASSERT;
}

kernel_fn *
fake_kernel(const char *name)
{
    static const struct {
        const char *name;
        kernel_fn *run;
    } kernels[] = {
        {"belay_vector_add", vector_add},
        {"belay_saxpy", saxpy},
        {"belay_block_sums", block_sums},
        {"belay_matrix_product", matrix_product},
        {"belay_spin", spin},
        {"belay_wild", wild},
        {"belay_assert", fail_assert},
    };

    for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
        if (strcmp(kernels[i].name, name) == 0) {
            return kernels[i].run;
        }
    }
    return NULL;
}
