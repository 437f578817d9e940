/* ptx_texts.c - prints the PTX text of a kernel of gpu/kernels.c. */
#include "gpu/kernels.h"

#include <stdio.h>
#include <string.h>

int
main(int argc, char **argv)
{
    static const struct belay_gpu_source *const kernels[] = {
        &belay__gpu_vector_add,
        &belay__gpu_saxpy,
        &belay__gpu_block_sums,
        &belay__gpu_matrix_product,
        &belay__gpu_spin,
    };

    for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
        if (argc == 1) {
            (void)puts(kernels[i]->entry);
        } else if (strcmp(argv[1], kernels[i]->entry) == 0) {
            (void)fwrite(kernels[i]->ptx.data, 1, kernels[i]->ptx.len, stdout);
            return 0;
        }
    }
    return argc == 1 ? 0 : 1;
}
