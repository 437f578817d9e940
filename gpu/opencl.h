/* opencl.h - what the files of the OpenCL driver share (private).
 *
 * opencl_load.c finds the library, its platforms and their devices,
 * opencl_error.c knows what a code means, opencl_slot.c keeps a slot, opencl_run.c
 * runs commands on it.
 */
#ifndef BELAY_GPU_OPENCL_H
#define BELAY_GPU_OPENCL_H

#include "gpu/backend.h"
#include "gpu/opencl_api.h"

/* OpenCL's functions, found in the library. */
struct belay__opencl_calls {
#define BELAY__OPENCL_CALL(name, result, parameters) result(*name) parameters;
    BELAY__OPENCL_API(BELAY__OPENCL_CALL)
#undef BELAY__OPENCL_CALL
};

#define BELAY__OPENCL_PARTS_MAX BELAY_GPU_SLOTS_MAX

struct belay__opencl_device {
    cl_platform_id platform;
    cl_device_id id;
    cl_device_id parts[BELAY__OPENCL_PARTS_MAX]; /* of it, one a slot */
    uint32_t part_count;                         /* 0: it is whole */
};

struct belay__opencl {
    struct belay__opencl_calls call;
    cl_device_type types; /* that are wanted */
    uint32_t parts;       /* into which a CPU is to be divided; 0: it is not */
    struct belay__opencl_device devices[BELAY_GPU_DEVICES_MAX];
    uint32_t count;
};

enum {
    BELAY__OPENCL_AHEAD = 2, /* ops between submit() and wait() */
};

struct belay__opencl_memory {
    struct belay__opencl_memory *next; /* of the slot */
    struct belay__opencl_memory **link;
    cl_mem at;
};

struct belay__opencl_kernel {
    struct belay__opencl_kernel *next;
    cl_program program;
    cl_kernel kernel;
    cl_uint parameters;
};

/* An op that is under way: an event for each command. */
struct belay__opencl_flight {
    uint64_t seq; /* 0: free */
    uint32_t count;
    cl_event events[BELAY_GPU_CMDS_MAX];
};

struct belay__opencl_slot {
    const struct belay__opencl *opencl;
    cl_platform_id platform;
    cl_device_id device; /* or a part of one */
    cl_context context;
    cl_command_queue queue;
    uint64_t *words; /* host memory that the device sees … */
    cl_mem words_at; /* … as this; the first is the stop word */
    cl_mem scratch;
    struct belay__opencl_kernel *kernels;
    struct belay__opencl_memory *memory;
    struct belay__opencl_flight flights[BELAY__OPENCL_AHEAD];
    uint32_t spin_us;
    uint8_t health; /* the last byte tried */
};

/* ---- opencl_error.c ---- */

/* "what: NAME (code)" */
void belay__opencl_note(char *note, const char *what, cl_int code);

/* What a failure is to the pool (G28): BELAY_GPU_EOP, BELAY_GPU_ENOMEM or
 * BELAY_GPU_ELOST.
 */
int belay__opencl_class(cl_int code);

/* Fills the op's answer; what the code is to the pool. */
int belay__opencl_failed(
    struct belay__gpu_op *op, const char *what, cl_int code);

/* ---- opencl_run.c ---- */

int belay__opencl_submit(void *state, struct belay__gpu_op *op);
int belay__opencl_wait(void *state, struct belay__gpu_op *op);

/* Forgets the op: its end marker is free. */
void belay__opencl_land(
    const struct belay__opencl_slot *slot, struct belay__opencl_flight *flight);

/* ---- opencl_load.c ---- */

int belay__opencl_load(
    const char *settings, void **ret, char why[BELAY__GPU_NOTE]);
int belay__opencl_enumerate(void *driver, struct belay__gpu_devinfo *ret,
    uint32_t room, char why[BELAY__GPU_NOTE]);
void belay__opencl_unload(void *driver);

extern const struct belay__gpu_driver belay__gpu_opencl; /* opencl_slot.c */

#endif
