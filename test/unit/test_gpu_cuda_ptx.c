/* test_gpu_cuda_ptx.c - the parameters of a kernel, read from its PTX. */
#include "gpu/cuda.h"
#include "gpu/kernels.h"
#include "test/support/alloc.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

TestSuite(gpu_cuda_ptx, .fini = check_clean, .timeout = 10);

static uint32_t sizes[4];

static int
parameters(const char *text, const char *entry)
{
    memset(sizes, 0, sizeof(sizes));
    return belay__cuda_ptx_parameters(text, strlen(text), entry, sizes, 4);
}

Test(gpu_cuda_ptx, types_have_their_sizes)
{
    cr_expect(eq(int,
        parameters(".entry k(.param .u64 a, .param .f32 b,"
                   ".param .b8 c, .param .s16 d)",
            "k"),
        4));
    cr_expect(eq(u32, sizes[0], 8));
    cr_expect(eq(u32, sizes[1], 4));
    cr_expect(eq(u32, sizes[2], 1));
    cr_expect(eq(u32, sizes[3], 2));
}

Test(gpu_cuda_ptx, arrays_and_alignments)
{
    cr_expect(eq(int,
        parameters(".entry k ( .param .align 8 .b8 k_param_0[24],"
                   " .param .u64 .ptr .global .align 4 p)",
            "k"),
        2));
    cr_expect(eq(u32, sizes[0], 24));
    cr_expect(eq(u32, sizes[1], 8));
}

Test(gpu_cuda_ptx, the_entry_is_found_among_others_and_behind_comments)
{
    const char *text = "// .entry k(.param .u64 no)\n"
                       "/* .entry k(.param .u64 no) */\n"
                       ".func k2(.param .b32 x);\n"
                       ".visible .entry k2(.param .u32 x) { ret; }\n"
                       ".visible .entry /* here */ k // and there\n"
                       "(.param .f64 x)";

    cr_expect(eq(int, parameters(text, "k"), 1));
    cr_expect(eq(u32, sizes[0], 8));
    cr_expect(eq(int, parameters(text, "k2"), 1));
    cr_expect(eq(u32, sizes[0], 4));
    cr_expect(eq(int, parameters(text, "k3"), -1));
}

Test(gpu_cuda_ptx, none_at_all)
{
    cr_expect(eq(int, parameters(".entry k() { ret; }", "k"), 0));
    cr_expect(eq(int, parameters(".entry k { ret; }", "k"), 0));
}

Test(gpu_cuda_ptx, more_than_there_is_room_for_are_counted)
{
    cr_expect(eq(int,
        parameters(".entry k(.param .u8 a, .param .u8 b, "
                   ".param .u8 c, .param .u8 d, .param .u8 e)",
            "k"),
        5));
}

/* Every prefix of a declaration: no read behind its end (ASan), no loop. */
Test(gpu_cuda_ptx, what_is_cut_off_is_not_known)
{
    const char *text = ".entry k(/* a */ .param .align 8 .b8 a[24], // b\n"
                       " .param .u64 b)";

    for (size_t len = 0; len < strlen(text); len++) {
        char *copy = malloc(len);

        cr_assert(len == 0 || copy != NULL);
        if (len > 0) {
            memcpy(copy, text, len);
        }
        cr_expect(
            le(int, belay__cuda_ptx_parameters(copy, len, "k", sizes, 4), 0));
        free(copy);
    }
}

Test(gpu_cuda_ptx, unknown_types_are_not_known)
{
    cr_expect(eq(int, parameters(".entry k(.param .v4 a)", "k"), -1));
    cr_expect(eq(int, parameters(".entry k(.param)", "k"), -1));
    cr_expect(eq(int, parameters(".entry k(.param .b8 a[x])", "k"), -1));
}

Test(gpu_cuda_ptx, our_own_kernels)
{
    const struct belay_gpu_source *const kernels[] = {&belay__gpu_vector_add,
        &belay__gpu_saxpy, &belay__gpu_block_sums, &belay__gpu_matrix_product,
        &belay__gpu_spin};
    const int counts[] = {4, 4, 3, 4, 4};

    for (size_t i = 0; i < 5; i++) {
        cr_expect(eq(int,
            belay__cuda_ptx_parameters(kernels[i]->ptx.data,
                kernels[i]->ptx.len, kernels[i]->entry, sizes, 4),
            counts[i]));
    }
}
