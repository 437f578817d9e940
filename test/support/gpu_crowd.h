/* gpu_crowd.h - tasks that want leases of one pool, at given times.
 *
 * A crowd runs under program_run(): virtual clock, counted memory, both oracles
 * after every change. Each job sleeps until `at`, asks, holds, and traces:
 *
 *     a+3   granted, on slot 3 (a+3,5 for two devices)
 *     a-    the lease's block is left
 *     a!GPU_EUNSAT  not granted, or the block has failed
 *     a!cancel      cancelled
 */
#ifndef BELAY_TEST_SUPPORT_GPU_CROWD_H
#define BELAY_TEST_SUPPORT_GPU_CROWD_H

#include <belay/gpu_work.h>

#include "test/support/gpu_oracle.h"
#include "test/support/program.h"

struct gpu_crowd;
struct gpu_job;

/* An async function of a test, called in a job's block. */
struct gpu_inside {
    const struct gpu_job *job;
    belay_gpu_pool *pool;
    belay_gpu_lease lease;
};

struct gpu_job {
    const char *name;
    int at_ms;
    int hold_ms;
    uint32_t priority;
    uint32_t devices;
    uint64_t bytes;
    int timeout_ms; /* around it all; 0: none */
    int cancel_ms;  /* from the start of the crowd; 0: never */
    int max_hold_ms;
    bool no_wait;
    bool nested;
    const belay_function *inside; /* NULL, or with a struct gpu_inside */
};

struct gpu_crowd {
    const struct gpu_job *jobs;
    size_t count;
    struct belay_gpu_pool_opts opts;     /* size is filled in */
    bool no_model;                       /* faults are about */
    int close_ms;                        /* close the pool then; 0: never */
    bool drain;                          /* drain it instead */
    void (*after)(belay_gpu_pool *pool); /* NULL, or when all jobs have ended */
    /* locals */
    belay_gpu_pool *pool;
    belay_group *group;
    belay_time start;
    uint64_t leaked;
};
extern const belay_function gpu_crowd;

/* Runs it; gives the code. Jobs that fail do not fail the crowd. */
int gpu_crowd_run(const struct gpu_crowd *crowd);
#define CROWD(jobs_, ...)                                    \
    gpu_crowd_run(&(const struct gpu_crowd){.jobs = (jobs_), \
        .count = sizeof(jobs_) / sizeof((jobs_)[0]),         \
        __VA_ARGS__})
/* The same in both sweeps. */
void gpu_crowd_sweep(const struct gpu_crowd *crowd);

/* For .init of a suite: without memory a slot cannot be opened, and is lost; so
 * in a trial of a sweep what is asked of it may end with BELAY_GPU_ELOST.
 */
void gpu_may_be_lost(void);

/* Slot indices of a lease, as in the trace. */
const char *gpu_slots_text(belay_gpu_lease lease);

/* A task that takes a slot's share in a block, and traces "waiter" there. */
struct gpu_waiter {
    belay_gpu_pool *pool;
    /* locals */
    belay_gpu_lease lease;
};
extern const belay_function gpu_waiter;

#endif
