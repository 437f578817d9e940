/* raw.h - CUDA's driver without the pool, for what is to be measured or broken
 * (private to gpu-check).
 */
#ifndef BELAY_BENCH_GPU_RAW_H
#define BELAY_BENCH_GPU_RAW_H

#include <stdint.h>

#include "gpu/cuda_api.h"

#define RAW_SLOTS_MAX 16

struct raw {
#define RAW_CALL(name, version, parameters) CUresult(*name) parameters;
    BELAY__CUDA_API(RAW_CALL)
    BELAY__CUDA_API_MEASURED(RAW_CALL)
#undef RAW_CALL
    CUdevice device;
    CUcontext context;
    CUmodule module;
    CUfunction spin;
    uint64_t *words; /* mapped: the stop word of each slot, 8 words apart */
    CUdeviceptr words_at;
    CUdeviceptr done; /* a word for each slot */
};

/* A context on the first device, current on this thread, and the spinning
 * kernel. Ends the program, with a line of JSON, if anything fails.
 */
void raw_open(struct raw *raw);
void raw_close(struct raw *raw);

/* Ends the program, saying what has failed, if the code is one. */
void raw_check(const struct raw *raw, CUresult code, const char *what);

/* Launches a kernel that counts to `rounds`, or until the slot's stop word is
 * not 0.
 */
CUresult raw_spin(
    const struct raw *raw, CUstream stream, int slot, uint64_t rounds);

/* How many rounds take so long, about. */
uint64_t raw_rounds(const struct raw *raw, double us);

double now_us(void);
double cpu_us(void); /* of the process, all threads */

/* The value below which `share` of them lie; sorts them. */
double quantile(double *values, int count, double share);

/* The commands of gpu-check that are long enough for a file of their own. */
int check_latency(int argc, char **argv);
int check_fault(int argc, char **argv);
int check_priority(int argc, char **argv);
int check_calls(int argc, char **argv);
int check_cancel(int argc, char **argv);
int check_share(int argc, char **argv);

#endif
