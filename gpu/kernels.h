/* kernels.h - five small kernels for the demo, the tests and the checklist
 * (private).
 *
 * Each has its text for CUDA, for OpenCL, and a function for the simulator,
 * and takes the same arguments in all three. "u32 count" is a value, "f32 *x"
 * a buffer.
 */
#ifndef BELAY_GPU_KERNELS_H
#define BELAY_GPU_KERNELS_H

#include <belay/gpu_work.h>

/* (f32 *a, f32 *b, f32 *sum, u32 count): sum[i] = a[i] + b[i] */
extern const struct belay_gpu_source belay__gpu_vector_add;

/* (f32 a, f32 *x, f32 *y, u32 count): y[i] += a * x[i] */
extern const struct belay_gpu_source belay__gpu_saxpy;

/* (u32 *values, u32 *sums, u32 count): each block adds up the values of its
 * threads; blocks of a power of two, at most 256 threads.
 */
extern const struct belay_gpu_source belay__gpu_block_sums;

/* (f32 *a, f32 *b, f32 *product, u32 n): square matrices by rows; blocks of
 * 16 x 16 threads, n / 16 of them each way, n a multiple of 16.
 */
extern const struct belay_gpu_source belay__gpu_matrix_product;

/* (STOP, SEQUENCE, u64 rounds, u64 *done): counts to `rounds`, or until it is
 * to stop; one thread.
 */
extern const struct belay_gpu_source belay__gpu_spin;

#endif
