/* simulator.h - a simulated model server inside a program.
 *
 * For tests, examples and dry runs: a scope with a server on this machine that
 * speaks the wire formats of real ones. It answers nonsense, always the same to
 * the same bytes: words of the question, and others. `belay sim` is the same
 * in a process of its own, with more faults.
 */
#ifndef BELAY_SIMULATOR_H
#define BELAY_SIMULATOR_H

#include <belay/task.h>

BELAY_BEGIN_DECLS

typedef struct belay_simulator belay_simulator; /* opaque; its block's */

/* Options for belay_simulator_open(). A zero field means its default. A token
 * is a word; probabilities are from 0 to 1.
 */
struct belay_simulator_opts {
    size_t size;     /* of this struct; BELAY_SIMULATOR_OPTS() fills it */
    uint16_t port;   /* of 127.0.0.1; default: one that is free */
    uint64_t seed;   /* other answers, other faults */
    uint32_t tokens; /* of an answer; default 16 */
    belay_duration latency;   /* before an answer begins; default none */
    double tokens_per_second; /* default: all at once */
    double fail_429;          /* answers that rates are exceeded */
    double fail_5xx;          /* answers of a server in trouble */
    double cut;               /* answers that break off */
    uint32_t capacity;        /* requests at once; others get 429; default any
                                 number */
    const char *api_key;      /* that clients must have; must live as long as
                                 the block; default none */
};
#define BELAY_SIMULATOR_OPTS(...)          \
    (&(const struct belay_simulator_opts){ \
        .size = sizeof(struct belay_simulator_opts), __VA_ARGS__})

/**
 * belay_simulator_open - enter a simulated server; use it in BELAY_WITH
 *
 *   opts  NULL for all defaults; copied
 *   ret   receives the simulator once entered; untouched on failure
 *
 * The exit closes all connections. SIGPIPE is ignored from then on, unless the
 * program has set it.
 *
 * Owner:   the block.
 * Errors:  BELAY_EINVAL  opts->size is unknown, or a number makes no sense
 *          BELAY_ENOMEM  no memory
 *          codes of the system  the port cannot be had
 *          In each case nothing has changed.
 * Threads: loop thread. Entering is not a checkpoint; the exit waits until the
 *          connections are closed.
 * Since:   0.1. Source: product.md, belay sim.
 */
BELAY_API BELAY_TOKEN belay_simulator_open(belay_task *task,
    const struct belay_simulator_opts *opts, belay_simulator **ret);

/**
 * belay_simulator_url - the base URL for clients
 *
 *   simulator  not NULL
 *
 * Owner:   lives as long as the block.
 * Errors:  none; as in "http://127.0.0.1:4010/v1".
 * Threads: loop thread.
 * Since:   0.1. Source: product.md, belay sim.
 */
BELAY_API const char *belay_simulator_url(const belay_simulator *simulator);

BELAY_END_DECLS

#endif
