/* gpu_record.h - what has happened in a pool of GPU slots, from its events
 * (private).
 *
 * Fed from the ring while it runs, it has the leases of every slot, the states
 * of every slot, and the length of the queue, each over time: what a picture
 * and a trace are made of.
 */
#ifndef BELAY_CLI_GPU_RECORD_H
#define BELAY_CLI_GPU_RECORD_H

#include <belay/gpu_stats.h>

#include <stdio.h>

#define BELAY__GPU_NONE UINT32_MAX

/* A lease on one slot. */
struct belay__gpu_hold {
    belay_time begin;
    belay_time end;
    belay_time stopped; /* when its task was cancelled, or 0 */
    belay_duration waited;
    uint64_t lease;
    uint64_t task_id;
    uint16_t slot;
    uint8_t priority;
    bool at_once; /* it has not waited */
    bool failed;  /* an operation has, or the slot went out of service */
};

/* A slot in a state other than FREE. */
struct belay__gpu_span {
    belay_time begin;
    belay_time end;
    uint32_t hold; /* index of its lease, or NONE */
    uint16_t slot;
    uint8_t state; /* enum belay_gpu_slot_state */
};

/* Requests that wait, from a time on. */
struct belay__gpu_depth {
    belay_time time;
    uint32_t waiting[BELAY_GPU_PRIORITIES];
};

struct belay__gpu_record {
    struct belay__gpu_hold *holds; /* by their beginning */
    struct belay__gpu_span *spans;
    struct belay__gpu_depth *depths;
    uint8_t *waits; /* by the number of a request: does it wait? */
    uint32_t hold_count, hold_room;
    uint32_t span_count, span_room;
    uint32_t depth_count, depth_room;
    uint32_t wait_room;
    uint32_t *open_hold; /* by slot: an index, or NONE */
    uint32_t *open_span;
    uint32_t slots;
    uint64_t cursor;
    uint64_t lost; /* events that were overwritten, or that found no memory */
};

/* BELAY_ENOMEM: call fini anyway. */
int belay__gpu_record_init(struct belay__gpu_record *record, uint32_t slots);
void belay__gpu_record_fini(struct belay__gpu_record *record);

void belay__gpu_record_event(
    struct belay__gpu_record *record, const struct belay_gpu_event *event);
/* Takes what is new in the pool's ring. */
void belay__gpu_record_take(
    struct belay__gpu_record *record, const belay_gpu_pool *pool);
/* The task was asked to end: what is left of its lease is draining. */
void belay__gpu_record_stop(
    struct belay__gpu_record *record, uint64_t task_id, belay_time when);
/* What is still open ends now. */
void belay__gpu_record_end(struct belay__gpu_record *record, belay_time now);

/* The time of slots that were free while somebody waited, until `end`: what the
 * pool itself has lost. -1: there is no memory to find out.
 */
int64_t belay__gpu_record_idle_ns(
    const struct belay__gpu_record *record, belay_time end);

/* From `began` until the last lease could have ended at the soonest: each takes
 * its time from when it was asked for, however many slots there are.
 */
belay_duration belay__gpu_record_soonest(
    const struct belay__gpu_record *record, belay_time began);

/* For the names of tasks and classes. */
struct belay__gpu_names {
    const char *(*task)(uint64_t id, void *arg);
    const char *(*priority)(uint32_t priority, void *arg); /* NULL: unused */
    void *arg;
};

/* What both pictures want to know besides. */
struct belay__gpu_picture {
    const struct belay__gpu_record *record;
    const char *title;
    const char *subtitle;
    belay_time begin;
    belay_time end;
    belay_duration ideal;
    uint32_t slots;
    uint32_t slots_per_device;
    struct belay__gpu_names names;
};

/* An SVG: a lane for each slot. Whether it was written shows in ferror(). */
void belay__gpu_timeline_write(
    const struct belay__gpu_picture *picture, FILE *out);
/* JSON as Chrome's about:tracing and Perfetto read it. */
void belay__gpu_trace_write(
    const struct belay__gpu_picture *picture, FILE *out);

#endif
