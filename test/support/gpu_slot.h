/* gpu_slot.h - one slot of a driver, worked by hand, without a pool.
 *
 * The thread of the test plays the slot's thread. Everything that should
 * succeed is asserted here; where an answer is the point, there is a function
 * that returns it.
 */
#ifndef BELAY_TEST_SUPPORT_GPU_SLOT_H
#define BELAY_TEST_SUPPORT_GPU_SLOT_H

#include "gpu/backend.h"

struct gpu_slot {
    const struct belay__gpu_driver *driver;
    void *object; /* of load() */
    void *state;  /* of slot_open() */
    uint64_t free_bytes;
    uint64_t seq;
    struct belay__gpu_op op; /* the last one: its answer */
};

/* Loads and opens slot `index` of a device; asserts that both succeed. */
void gpu_slot_open(struct gpu_slot *slot,
    const struct belay__gpu_driver *driver, const char *settings,
    uint32_t ordinal, uint32_t index);
void gpu_slot_close(struct gpu_slot *slot);

/* A further slot of the same loaded driver; closed with gpu_slot_close(). */
void gpu_slot_open_beside(struct gpu_slot *slot, const struct gpu_slot *first,
    uint32_t ordinal, uint32_t index);

/* Each gives the status; slot->op has the rest. */
int gpu_slot_build(struct gpu_slot *slot, const struct belay_gpu_source *source,
    struct belay_gpu_kernel *ret);
int gpu_slot_alloc(
    struct gpu_slot *slot, uint64_t bytes, struct belay__gpu_buffer *ret);
int gpu_slot_release(struct gpu_slot *slot, struct belay__gpu_buffer *buffer);
int gpu_slot_health(struct gpu_slot *slot);
int gpu_slot_reset(struct gpu_slot *slot);

/* Submits and waits. */
int gpu_slot_run(
    struct gpu_slot *slot, const struct belay__gpu_cmd *cmds, uint32_t count);

struct belay__gpu_cmd gpu_write(
    struct belay__gpu_buffer *buffer, const void *from, uint64_t bytes);
struct belay__gpu_cmd gpu_read(
    struct belay__gpu_buffer *buffer, void *to, uint64_t bytes);
struct belay__gpu_cmd gpu_fill(
    struct belay__gpu_buffer *buffer, uint8_t value, uint64_t bytes);
struct belay__gpu_cmd gpu_launch(const struct belay_gpu_kernel *kernel,
    uint32_t blocks, uint32_t threads, const struct belay__gpu_arg *args,
    uint32_t count);

#define GPU_BUFFER(buffer_)                                           \
    {                                                                 \
        .kind = BELAY_GPU_ARG_BUFFER, .bytes = 8, .buffer = (buffer_) \
    }
#define GPU_U32(value_)                                                      \
    {                                                                        \
        .kind = BELAY_GPU_ARG_VALUE, .bytes = 4, .value = (uint32_t)(value_) \
    }
#define GPU_U64(value_)                                            \
    {                                                              \
        .kind = BELAY_GPU_ARG_VALUE, .bytes = 8, .value = (value_) \
    }
#define GPU_STOP                               \
    {                                          \
        .kind = BELAY_GPU_ARG_STOP, .bytes = 8 \
    }
#define GPU_SEQUENCE                               \
    {                                              \
        .kind = BELAY_GPU_ARG_SEQUENCE, .bytes = 8 \
    }

/* Runs every kernel of gpu/kernels.h on the slot, and compares what it gives
 * with what the CPU makes of the same.
 */
void gpu_slot_check_kernels(struct gpu_slot *slot);

#endif
