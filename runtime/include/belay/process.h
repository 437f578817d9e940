/* process.h - child processes as scopes.
 *
 * Entering starts the program, leaving ends it: its standard input is closed,
 * it is asked to end (SIGTERM), after a grace it is killed (SIGKILL), and in
 * any case waited for. So no block leaves a process, a zombie or a descriptor
 * behind, however it is left:
 *
 *     BELAY_WITH (belay_process_open(task,
 *                     BELAY_PROCESS_OPTS(.args = self->args,
 *                         .output = BELAY_PROCESS_PIPE),
 *                     &self->process)) {
 *         BELAY_AWAIT(belay_stream_read(task,
 *             belay_process_output(self->process), ...));
 *     }
 *
 * To let it end by itself, wait for it before the block ends.
 */
#ifndef BELAY_PROCESS_H
#define BELAY_PROCESS_H

#include <belay/async.h>
#include <belay/stream.h>

BELAY_BEGIN_DECLS

typedef struct belay_process belay_process; /* opaque; its block's */

/* What a standard stream of the child is. */
enum belay_process_stdio {
    BELAY_PROCESS_NULL,    /* /dev/null */
    BELAY_PROCESS_INHERIT, /* the parent's */
    BELAY_PROCESS_PIPE,    /* a belay_stream of the parent */
};

/* Options for belay_process_open(). A zero field means its default. */
struct belay_process_opts {
    size_t size; /* of this struct; BELAY_PROCESS_OPTS() fills it */
    /* Program and arguments, NULL-terminated; the program is looked up in
     * PATH if its name has no slash. Must be given.
     */
    const char *const *args;
    const char *const *env; /* "NAME=value", NULL-terminated; default ours */
    const char *cwd;        /* default ours */
    enum belay_process_stdio input;
    enum belay_process_stdio output;
    enum belay_process_stdio error;
    /* When the block is left: from the end of its input to SIGTERM (default
     * none), and from there to SIGKILL (default 5 s; BELAY_NO_GRACE: none;
     * BELAY_FOREVER: never). If the block is cancelled, both end with the grace
     * of that cancel at the latest. They are in real time, whatever the clock
     * of the runtime, which stands still meanwhile if it is one that jumps.
     */
    belay_duration patience;
    belay_duration grace;
};
#define BELAY_PROCESS_OPTS(...)          \
    (&(const struct belay_process_opts){ \
        .size = sizeof(struct belay_process_opts), __VA_ARGS__})

/* How a child has ended. */
struct belay_process_status {
    int64_t exit_code; /* if signal is 0 */
    int signal;        /* that ended it, or 0 */
};

/**
 * belay_process_open - an enter operation: start a program for a block
 *
 *   opts  not NULL; copied, but what it points to must live until entered
 *         (in `self` or static: not a literal inside the call)
 *   ret   receives the process once entered; untouched on failure
 *
 * The child gets its three standard streams, and descriptors that were opened
 * without close-on-exec. The first process with a pipe makes this program
 * ignore SIGPIPE, if it has said nothing about it.
 *
 * A child that has become somebody else's, as `sudo` does, takes no signal from
 * us: the exit waits until it has ended by itself.
 *
 * Owner:   the block; the streams end with it.
 * Errors:  BELAY_EINVAL     opts->size is one this library does not know, args
 *                           names no program, or a stream is of no known kind
 *          BELAY_ENOMEM     nothing was started
 *          BELAY_ECANCELED  flagged: nothing was started
 *          other codes of the system, as BELAY_ENOENT for a program or a
 *          folder that is not there: nothing was started.
 * Threads: loop thread. Entering is a cancellation point; leaving waits for
 *          the end of the process, also when the grace of its exit is over.
 * Since:   0.1. Source: uv_spawn; trio.run_process; contract S128.
 */
BELAY_API BELAY_TOKEN belay_process_open(belay_task *task,
    const struct belay_process_opts *opts, belay_process **ret);

/**
 * belay_process_wait - wait until the child has ended by itself
 *
 *   process     of an open block
 *   ret_status  NULL, or receives how it has ended; must live until the wait
 *               is over; untouched on failure
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_ECANCELED, flagged: it goes on. An exit code is no error.
 * Threads: loop thread. Cancellation point. Several tasks may wait.
 * Since:   0.1. Source: trio.Process.wait.
 */
BELAY_API BELAY_TOKEN belay_process_wait(belay_task *task,
    belay_process *process, struct belay_process_status *ret_status);

/**
 * belay_process_kill - send the child a signal
 *
 *   process  of an open block
 *   signal   as for kill(2): SIGTERM, SIGKILL …
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_ESTATE  it has ended; nothing was sent
 *          other codes of the system.
 * Threads: loop thread; legal in every callback. Not a cancellation point.
 * Since:   0.1. Source: uv_process_kill.
 */
BELAY_API int belay_process_kill(belay_process *process, int signal);

/**
 * belay_process_id - the child's number
 *
 *   process  not NULL
 *
 * Owner:   nothing changes hands.
 * Errors:  none; another process may have it once the child has ended.
 * Threads: loop thread.
 * Since:   0.1. Source: uv_process_get_pid.
 */
BELAY_API int belay_process_id(const belay_process *process);

/**
 * belay_process_input - what the child reads, to be written to
 *
 *   process  not NULL
 *
 * Owner:   the process; NULL if it was not asked for as a pipe.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: uv_spawn.
 */
BELAY_API belay_stream *belay_process_input(belay_process *process);

/**
 * belay_process_output - what the child writes, to be read from
 *
 *   process  not NULL
 *
 * Owner:   the process; NULL if it was not asked for as a pipe.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: uv_spawn.
 */
BELAY_API belay_stream *belay_process_output(belay_process *process);

/**
 * belay_process_error - what the child complains about, to be read from
 *
 *   process  not NULL
 *
 * Owner:   the process; NULL if it was not asked for as a pipe.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: uv_spawn.
 */
BELAY_API belay_stream *belay_process_error(belay_process *process);

BELAY_END_DECLS

#endif
