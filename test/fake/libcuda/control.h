/* control.h - how a test looks into the fake driver, and steers it.
 *
 * The fake is a shared library of its own; these are found in it by dlsym().
 * What it does is told by a script: words in the environment variable
 * BELAY_FAKE_CUDA, read by cuInit(), or given to fake_cuda_script() later.
 *
 *     devices=2         how many (1)
 *     mem=80G           bytes of each; K, M and G are known (1G)
 *     others=512M       of them that other processes have (0)
 *     version=13000     of the driver (13000)
 *     init=100          what cuInit() answers (0)
 *     pools=0           no memory in the order of a stream (1)
 *     mode=2            compute mode of the devices (0)
 *     latency_us=50     added to each kernel (0)
 *     jit_ms=500        added to each cuModuleLoadDataEx() (0)
 *     fault=3:700       the third kernel breaks its device, with this code
 *     hang=3            the third kernel does not end until fake_cuda_open()
 *     oom_after=5       device allocations from the sixth on fail
 *     reset=1           cuDevicePrimaryCtxReset() repairs a broken device (0)
 *     call=NAME:3:701   the third call of a function fails, once; at 0 each
 *
 * A report is appended to the file BELAY_FAKE_CUDA_REPORT at exit: what was
 * not given back, which thread called what, and `mark` lines for what a
 * caller must not do.
 */
#ifndef FAKE_CUDA_CONTROL_H
#define FAKE_CUDA_CONTROL_H

#include <stdint.h>

/* More words of the script, from now on; counts of "third" go on. */
void fake_cuda_script(const char *words);

/* Lets every hanging kernel end, and those to come. */
void fake_cuda_open(void);

/* Every device is as new, as in a new process. */
void fake_cuda_repair(void);

/* A figure by its name, or -1: contexts, streams, events, modules,
 * device_bytes, host_bytes (what is held now), kernels (run to their end),
 * running (at this moment), marks, dropped (host functions that were never
 * called), launch_priority (of the stream of the last launch), or the name of a
 * driver function: how often it was called.
 */
int64_t fake_cuda_value(const char *name);

/* How many calls this thread has made; tid as gettid() gives it. */
int64_t fake_cuda_calls_by(int tid);

typedef void fake_cuda_script_fn(const char *words);
typedef void fake_cuda_open_fn(void);
typedef void fake_cuda_repair_fn(void);
typedef int64_t fake_cuda_value_fn(const char *name);
typedef int64_t fake_cuda_calls_by_fn(int tid);

#endif
