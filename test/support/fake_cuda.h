/* fake_cuda.h - the fake CUDA driver, for tests of one process.
 *
 *     fake_cuda_use("devices=2 fault=3:700");
 *     ...  load the CUDA driver of the pool ...
 *     fake_cuda_value("streams")
 *
 * The words of the script and the names of the figures are in
 * test/fake/libcuda/control.h.
 */
#ifndef BELAY_TEST_SUPPORT_FAKE_CUDA_H
#define BELAY_TEST_SUPPORT_FAKE_CUDA_H

#include "test/fake/libcuda/control.h"
#include "test/support/alloc.h"

/* What is loaded as libcuda.so.1 from now on is the fake; before its first
 * cuInit(), since that reads the script.
 */
void fake_cuda_use(const char *script);

/* NVIDIA's management library for its devices; without this there is none.
 * `failing`: which of its functions fail; see the fake.
 */
void fake_nvml_use(const char *failing);

/* The same for one that has no cuEventSynchronize(). */
void fake_cuda_use_old(void);

/* For programs that are started: they find the fake as the real one would be
 * found, in a folder of LD_LIBRARY_PATH.
 */
void fake_cuda_offer(const char *script);

/* Another program plays belay-gpu-probe; what it does is told to
 * test/fake/probe.c.
 */
void fake_probe_use(const char *what);

/* What it still holds is meant to stay. */
void fake_cuda_forget(void);

/* Aborts, saying what it is, if the fake still holds something or something
 * was done that a caller must not do. Fine if it was never loaded.
 */
void fake_cuda_check_clean(void);

/* For .fini of a suite. */
static inline void
fake_cuda_fini(void)
{
    fake_cuda_check_clean();
    check_clean();
}

#endif
