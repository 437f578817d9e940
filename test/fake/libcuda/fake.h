/* fake.h - what the files of the fake driver share.
 *
 * One lock and one condition guard everything. Device memory is memory of the
 * process; a stream is a thread that takes its items in order; a kernel is a
 * C function with the name of the entry in the PTX text.
 */
#ifndef FAKE_CUDA_FAKE_H
#define FAKE_CUDA_FAKE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "gpu/cuda_api.h"
#include "test/fake/libcuda/control.h"

enum {
    DEVICES_MAX = 16,
    THREADS_MAX = 256,
    PARAMETERS_MAX = 16,
    RULES_MAX = 128,
    MARKS_MAX = 16,
    CONTEXT_BYTES = 16 << 20, /* what a context costs on its device */
    FAKE_LEAST = 0,           /* priorities of streams */
    FAKE_GREATEST = -5,
};

/* Every function, by number. */
enum function {
#define NUMBER(name, version, parameters) IN_##name,
    BELAY__CUDA_API(NUMBER) BELAY__CUDA_API_MEASURED(NUMBER)
#undef NUMBER
        FUNCTIONS,
};

struct CUctx_st {
    CUdevice device;
    unsigned retained;
    CUresult fault;  /* sticky: the answer to everything from now on */
    bool told;       /* a caller has heard of one, if only by the script */
    bool closing;    /* its last reference has gone */
    bool exclusive;  /* a call waits for all its work, and others for that */
    unsigned copies; /* that run at this moment */
    size_t used;
};

struct launch {
    unsigned grid[3];
    unsigned block[3];
    void *parameter[PARAMETERS_MAX];
    size_t bytes[PARAMETERS_MAX];
    unsigned count;
    uint64_t storage[PARAMETERS_MAX];
};

typedef void kernel_fn(const struct launch *launch);

struct CUfunc_st {
    struct CUfunc_st *next;
    CUmodule module;
    char name[64];
    kernel_fn *run;
    size_t bytes[PARAMETERS_MAX]; /* of the parameters, as the PTX says */
    unsigned count;
};

struct CUmod_st {
    struct CUmod_st *next;
    struct CUctx_st *context;
    struct CUfunc_st *functions;
};

enum item_kind {
    ITEM_COPY,
    ITEM_FILL,
    ITEM_KERNEL,
    ITEM_EVENT,
    ITEM_HOST,
    ITEM_CALLBACK,
    ITEM_FREE
};

struct item {
    struct item *next;
    enum item_kind kind;
    bool begun; /* before its device failed, if that has */
    void *to;
    const void *from;
    size_t bytes;
    unsigned char value;
    kernel_fn *run;
    CUmodule module; /* of the kernel */
    struct launch launch;
    CUevent event;
    uint64_t number; /* of the record, or of the kernel */
    CUhostFn host;
    CUstreamCallback callback;
    void *arg;
};

struct CUstream_st {
    struct CUstream_st *next;
    struct CUctx_st *context;
    struct item *first;
    struct item **last;
    pthread_t thread;
    int priority;
    bool busy;
    bool closing;
};

struct CUevent_st {
    struct CUevent_st *next;
    struct CUctx_st *context;
    uint64_t recorded;
    uint64_t completed;
    unsigned flags;
};

struct block {
    struct block *next;
    char *at;
    size_t bytes;
    struct CUctx_st *context; /* NULL: of the host */
    struct CUctx_st *maker;
    bool mapped;
};

struct rule { /* call=NAME:AT:CODE */
    int function;
    uint64_t at;
    CUresult code;
};

struct fake {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pid_t pid; /* that called cuInit(); 0 before */

    int devices;
    size_t mem;
    size_t others; /* of it; not ours */
    int version;
    int mode;
    int pools; /* of memory that comes and goes in the order of a stream */
    CUresult init;
    unsigned latency_us;
    unsigned jit_ms;
    uint64_t fault_at;
    CUresult fault_code;
    uint64_t hang_at;
    uint64_t oom_after;
    bool reset_works;
    bool open;
    struct rule rules[RULES_MAX];
    unsigned rule_count;

    struct CUctx_st contexts[DEVICES_MAX];
    struct CUstream_st *streams;
    struct CUevent_st *events;
    struct CUmod_st *modules;
    struct block *blocks;

    uint64_t calls[FUNCTIONS];
    uint64_t allocations;
    uint64_t launches;
    int launch_priority; /* of the last one's stream */
    uint64_t finished;
    uint64_t running;
    uint64_t dropped;
    struct {
        pid_t tid;
        uint64_t calls[FUNCTIONS];
    } threads[THREADS_MAX];
    unsigned thread_count;
    char marks[MARKS_MAX][128];
    unsigned mark_count;
};

extern struct fake fake;
extern const char *const fake_names[FUNCTIONS];

/* Set while a host function or callback runs on this thread. */
extern __thread bool fake_in_callback;

/* Set by a kernel that breaks its device. */
extern __thread CUresult fake_fault;

/* The context that is current on this thread. */
extern __thread CUcontext fake_current;

/* What a function needs: the driver, a current context, one without fault. */
enum need { NEED_NOTHING, NEED_DRIVER, NEED_CONTEXT, NEED_WORKING };

/* Begins a call: takes the lock, counts, and gives the code that the script,
 * the calling thread or the state of its context demands; 0 to go on. With a
 * code the lock has been given back.
 */
CUresult fake_enter(enum function function, enum need need);
CUresult fake_leave(CUresult result);

#define ENTER(name, need)                              \
    do {                                               \
        CUresult enter_ = fake_enter(IN_##name, need); \
        if (enter_ != CUDA_SUCCESS) {                  \
            return enter_;                             \
        }                                              \
    } while (0)
#define LEAVE_IF(condition, code)    \
    do {                             \
        if (condition) {             \
            return fake_leave(code); \
        }                            \
    } while (0)

/* The functions of the driver, as they are exported. */
#define DECLARE(name, version, parameters) CUresult name##version parameters;
BELAY__CUDA_API(DECLARE)
BELAY__CUDA_API_MEASURED(DECLARE)
#undef DECLARE

/* All with the lock held. */
void fake_script_read(const char *words);
void fake_mark(const char *format, ...) __attribute__((format(printf, 1, 2)));
void fake_count(enum function function);
void fake_stream_push(struct CUstream_st *stream, struct item *item);
bool fake_stream_uses(const struct block *block);
bool fake_stream_runs(CUmodule module);
/* Waits until nothing runs in the context, or it has failed; no other call is
 * made in it meanwhile.
 */
void fake_streams_wait(struct CUctx_st *context);
/* Waits until no copy of the context runs: what a failed device has been asked
 * to copy it does not touch any more once a caller knows of the failure.
 */
void fake_copies_wait(const struct CUctx_st *context);
/* What is left in a context that has failed goes with its last reference. */
void fake_context_empty(struct CUctx_st *context);
void fake_modules_end(const struct CUctx_st *context);

/* Without it. */
void *fake_stream_main(void *stream);

/* NULL if there is no such kernel. */
kernel_fn *fake_kernel(const char *name);

#endif
