/* sim.h - simulated devices: what both of their drivers share (private).
 *
 * A device has a rate of work that its slots share, a copy engine of its own,
 * an amount of memory, and faults, by script or by chance. Nothing here reads
 * a clock or orders by address; each slot draws its durations from a stream of
 * its own, and each device its faults, so that one draw more somewhere changes
 * nothing anywhere else.
 */
#ifndef BELAY_GPU_SIM_H
#define BELAY_GPU_SIM_H

#include "gpu/backend.h"

#define BELAY__GPUSIM_FAULTS_MAX 32

enum belay__gpusim_noise {
    BELAY__GPUSIM_CONSTANT,
    BELAY__GPUSIM_UNIFORM,   /* 1 - a to 1 + a */
    BELAY__GPUSIM_LOGNORMAL, /* exp(a * normal) */
    BELAY__GPUSIM_TAIL,      /* with probability a: b times as long */
};

enum belay__gpusim_fault_kind {
    BELAY__GPUSIM_FAULT_OP,      /* the n-th operation fails */
    BELAY__GPUSIM_FAULT_STICKY,  /* … and all later ones, until a reset */
    BELAY__GPUSIM_FAULT_LOST,    /* the same, and no reset helps */
    BELAY__GPUSIM_FAULT_HANG,    /* it never ends, or after arg ns */
    BELAY__GPUSIM_FAULT_SLOW,    /* it takes arg times as long */
    BELAY__GPUSIM_FAULT_TWICE,   /* its end is reported twice */
    BELAY__GPUSIM_FAULT_AT_ONCE, /* it ends before submit has returned */
    BELAY__GPUSIM_FAULT_DEAF,  /* the stop word is not seen, from the n-th on */
    BELAY__GPUSIM_FAULT_ALLOC, /* the n-th allocation fails */
    BELAY__GPUSIM_FAULT_RESET, /* the first n resets fail */
    BELAY__GPUSIM_FAULT_OPEN,  /* the first n openings of slots fail */
};

struct belay__gpusim_fault {
    enum belay__gpusim_fault_kind kind;
    uint32_t device;
    uint64_t n; /* from 1 */
    double arg;
};

/* As in "sim:devices=4,slots=2,mem=80G,seed=7"; see sim_settings.c. */
struct belay__gpusim_settings {
    uint32_t devices;
    uint32_t slots;
    uint64_t bytes;         /* of a device */
    uint64_t context_bytes; /* a device's first slot takes them */
    uint64_t real_bytes;    /* buffers up to this size are real memory */
    uint64_t seed;
    double launch_ns;  /* of each kernel */
    double rate;       /* units of work a second */
    double contention; /* n slots run at 1 / (1 + contention (n - 1)) each */
    double bandwidth;  /* bytes a second, both ways together */
    double jit_ns;     /* a kernel's first build on a device */
    double stop_ns;    /* from the stop word to a kernel's end */
    enum belay__gpusim_noise noise;
    double noise_a;
    double noise_b;
    double op_chance; /* of each operation, to fail */
    double sticky_chance;
    double hang_chance;
    double slow_chance;
    bool threads;
    struct belay__gpusim_fault faults[BELAY__GPUSIM_FAULTS_MAX];
    uint32_t fault_count;
};

/* 0, or BELAY_EINVAL and what is wrong. */
int belay__gpusim_parse(const char *text, struct belay__gpusim_settings *ret,
    char why[BELAY__GPU_NOTE]);
/* Do they ask for threads? */
bool belay__gpusim_wants_threads(const char *settings);
bool belay__gpusim_wants_none(const char *settings);

/* A stream of random numbers (splitmix64). */
struct belay__gpusim_random {
    uint64_t state;
};

/* The n-th stream of a seed. */
struct belay__gpusim_random belay__gpusim_stream(uint64_t seed, uint64_t n);
double belay__gpusim_uniform(
    struct belay__gpusim_random *random); /* 0 <= x < 1 */

/* A device; with threads, its driver has a lock around all of it. */
struct belay__gpusim_device {
    const struct belay__gpusim_settings *settings;
    uint32_t index;
    struct belay__gpusim_random random; /* of faults */
    uint64_t used_bytes;
    uint64_t ops;    /* begun so far */
    uint64_t allocs; /* tried so far */
    uint64_t resets; /* tried so far */
    uint64_t opens;
    uint64_t built[256]; /* hashes of kernels; newest overwrite oldest */
    uint64_t built_count;
    uint32_t contexts; /* slots that are open */
    bool sticky;
    bool lost;
};

/* What is to happen to one operation. */
struct belay__gpusim_fate {
    int status; /* at its end */
    double factor;
    double hang_ns; /* < 0: no hang; 0: for ever */
    bool twice;
    bool at_once;
    bool deaf;
};

/* Counts the operation, and says what happens to it. */
struct belay__gpusim_fate belay__gpusim_fate(
    struct belay__gpusim_device *device);
/* The time that a command would take alone, in ns; is_copy tells which engine
 * it needs.
 */
double belay__gpusim_duration(const struct belay__gpusim_settings *settings,
    struct belay__gpusim_random *random, const struct belay__gpu_cmd *cmd,
    bool *ret_is_copy);
/* What a command does, at its end. */
void belay__gpusim_perform(const struct belay__gpu_op *op,
    const struct belay__gpu_cmd *cmd, const uint64_t *stop_word);

/* The driver's own memory: `data` is NULL if it is too large to be real. */
struct belay__gpusim_buffer {
    struct belay__gpusim_buffer *next; /* of the slot */
    struct belay__gpusim_buffer *prev;
    uint64_t charged; /* of the device's bytes */
    size_t bytes;     /* of this block */
    unsigned char *data;
};

/* A slot's list of them: what is still there when it is closed. */
void belay__gpusim_link(
    struct belay__gpusim_buffer **list, struct belay__gpusim_buffer *buffer);
void belay__gpusim_unlink(
    struct belay__gpusim_buffer **list, struct belay__gpusim_buffer *buffer);

/* A buffer's block: how large it is, and what it is made of. Its memory is full
 * of what nobody has written; to be linked. malloc() is for threads only, so
 * getting it is the driver's.
 */
size_t belay__gpusim_block_bytes(
    const struct belay__gpusim_settings *settings, uint64_t bytes);
void belay__gpusim_block_init(
    struct belay__gpusim_buffer *block, size_t block_bytes, uint64_t charged);

/* What allocating does to the device; BELAY_GPU_ENOMEM: it has not so much. */
int belay__gpusim_charge(
    struct belay__gpusim_device *device, uint64_t bytes, uint64_t *ret_charged);
/* How long the build takes: nothing if the device knows it. */
double belay__gpusim_build_ns(
    struct belay__gpusim_device *device, const struct belay_gpu_kernel *kernel);
int belay__gpusim_open(struct belay__gpusim_device *device);
void belay__gpusim_close(struct belay__gpusim_device *device);
int belay__gpusim_reset(struct belay__gpusim_device *device);
bool belay__gpusim_is_lost(const struct belay__gpusim_device *device);
/* A status, with words; NULL: the usual ones. */
int belay__gpusim_fail(
    struct belay__gpu_op *op, int status, int native, const char *text);
const char *belay__gpusim_words(int status);

/* ---- the object of both drivers ---- */

struct belay__gpusim {
    struct belay__gpusim_settings settings;
    struct belay__gpusim_device *devices;
};

int belay__gpusim_load(
    struct belay__gpusim *sim, const char *settings, char why[BELAY__GPU_NOTE]);
/* As in belay__gpu_driver; `state` begins with a struct belay__gpusim. */
int belay__gpusim_enumerate(void *state, struct belay__gpu_devinfo *ret,
    uint32_t room, char why[BELAY__GPU_NOTE]);
void belay__gpusim_unload(struct belay__gpusim *sim);

#endif
