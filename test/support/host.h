/* host.h - a host's loop with a runtime on it. */
#ifndef BELAY_TEST_SUPPORT_HOST_H
#define BELAY_TEST_SUPPORT_HOST_H

#include "test/support/program.h"

#include <belay/uv.h>

struct host {
    uv_loop_t loop;
    belay_runtime *runtime;
    belay_clock *clock;
    uv_prepare_t own; /* the host's own handle, in some tests */
    bool closed;
    struct belay_result result;
    int ended;
};

/* On test_allocator; with a virtual clock that moves when it is told to. */
void host_open(struct host *host, bool virtual_clock);
/* A host that has something of its own to live for, until it is let go. */
void host_keep(struct host *host);
void host_let_go(struct host *host);
/* Closes the runtime, runs the loop until that is done, and closes it too. */
void host_close(struct host *host);
/* For belay_runtime_close(), as host_close() has it: traces "closed". */
void host_closed(void *host);
/* For belay_runtime_spawn(): counts, and traces "ended RESULT". */
void host_ended(const struct belay_result *result, void *host);

/* Traces "first step", then "nap" after each. */
struct napper {
    belay_duration nap;
    int times;
};
extern const belay_function napper;

#endif
