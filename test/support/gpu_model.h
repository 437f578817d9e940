/* gpu_model.h - who should be granted what: plain lists, no cleverness. */
#ifndef BELAY_TEST_SUPPORT_GPU_MODEL_H
#define BELAY_TEST_SUPPORT_GPU_MODEL_H

#include <belay/gpu_stats.h>

#define MODEL_WAITERS 4096
#define MODEL_SLOTS 256

/* A request, as its event has described it. */
struct gpu_model_request {
    uint64_t number;
    uint64_t bytes; /* 0: a share */
    uint32_t devices;
    uint32_t priority;
    uint32_t overtaken;
};

struct gpu_model {
    struct gpu_model_request waiters[MODEL_WAITERS]; /* oldest first */
    uint32_t waiting;
    struct gpu_model_request newcomer;
    struct {
        uint64_t capacity;
        uint64_t leased;
        uint32_t first; /* slot */
        uint32_t slots;
    } devices[BELAY_GPU_DEVICES_MAX];
    uint32_t device_count;
    struct {
        bool busy;
        uint64_t bytes;
    } slots[MODEL_SLOTS];
    int64_t last[BELAY_GPU_PRIORITIES]; /* slot; -1: none */
    uint64_t pass[BELAY_GPU_PRIORITIES];
    uint64_t now_pass;
    uint64_t reserved; /* its number, 0: none */
    uint64_t reserved_devices;
    uint64_t overtakes; /* foreseen, and … */
    uint64_t overtakes_seen;
    uint64_t expected; /* the lease that is being granted … */
    uint32_t chosen[BELAY_GPU_DEVICES_MAX];
    uint32_t chosen_count;
    uint32_t chosen_seen;
    uint64_t grants;
    uint64_t cursor;
};

void gpu_model_init(struct gpu_model *model, const belay_gpu_pool *pool);
/* Reads the events that are new, and fails where it disagrees. */
void gpu_model_follow(struct gpu_model *model, const belay_gpu_pool *pool);

/* gpu_oracle.c: prints the last events and aborts. */
void gpu_oracle_fail(const belay_gpu_pool *pool, const char *what, uint64_t a,
    uint64_t b) __attribute__((noreturn));

#endif
