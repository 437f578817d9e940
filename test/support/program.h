/* program.h - run an async function under watch, once or in a sweep.
 *
 * A program runs under belay_run() with a virtual clock that jumps and with
 * test_allocator. When it has ended nothing may be left: no block, no file
 * descriptor, no probe without its exit. What happened is in the trace:
 *
 *     BELAY_WITH (BELAY_ENTER(probe, .name = "a")) {
 *         trace("body");
 *     }
 *     ...
 *     expect_trace("enter a; body; exit a");
 *
 * The sweeps run a program again and again: cancelled at its first wait, at
 * its second and so on; with its first allocation refused, its second, ...
 */
#ifndef BELAY_TEST_SUPPORT_PROGRAM_H
#define BELAY_TEST_SUPPORT_PROGRAM_H

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <belay/belay.h>

#include "test/support/alloc.h"

/* ---- trials of a sweep, see sweeps.h ---- */

/* In a trial, where what a test asserts does not hold, nor count. */
extern bool program_disturbed;
/* A code with which a program of this test may end then; set by the test. */
extern int program_other_code;
/* Not in a sweep; the test says why. */
extern bool program_unswept;
/* It may stall, all that is left waiting for nothing; the test says why. Else
 * that fails the test: belay_run() then cancels everything, which looks like
 * the cancel, or the wake, that was lost. Trials must not stall either, except
 * where the other code is BELAY_EDEADLK.
 */
extern bool program_may_stall;
/* NULL, or runs in the process of each trial before it: what trials would
 * share, as files and servers that count, is then one of its own.
 */
extern void (*program_before_trial)(void);

static inline void
program_abort_test(void)
{
    if (!program_disturbed) {
        criterion_abort_test();
    }
}

static inline void
program_continue_test(void)
{
    if (!program_disturbed) {
        criterion_continue_test();
    }
}

#define cri_assert_node_send(file, line, tree) \
    (program_disturbed ? (void)0 : cri_assert_node_send(file, line, tree))
/* The older macros, as cr_expect_str_eq, send by another way. */
#define criterion_send_assert(stats) \
    (program_disturbed ? (void)0 : criterion_send_assert(stats))
#undef CR_FAIL_ABORT_
#define CR_FAIL_ABORT_ program_abort_test
#undef CR_FAIL_CONTINUES_
#define CR_FAIL_CONTINUES_ program_continue_test
#undef cr_assert
#define cr_assert(...) \
    cr_assert_user(__FILE__, __LINE__, program_abort_test, __VA_ARGS__)
#undef cr_expect
#define cr_expect(...) \
    cr_assert_user(__FILE__, __LINE__, program_continue_test, __VA_ARGS__)
#undef cr_fatal
#define cr_fatal(...) \
    cr_assert_fail_user(__FILE__, __LINE__, program_abort_test, __VA_ARGS__)

belay_next program_sleep(belay_task *task, belay_duration span);
belay_next program_sleep_until(belay_task *task, belay_time when);
#define belay_sleep(task, span) program_sleep(task, span)
#define belay_sleep_until(task, when) program_sleep_until(task, when)

/* ---- the trace: what happened, separated by "; " ---- */

void trace(const char *format, ...) BELAY_PRINTF(1, 2);
/* How a result looks in a trace: "ok", "cancel", or its code's name. */
const char *trace_result(const struct belay_result *result);
char *trace_text(void);
void trace_clear(void);
/* The codes along the context of a result's error, each with a space behind. */
char *chain_text(const struct belay_result *result);
/* On the clock of the runtime. */
long long elapsed_ms(const belay_task *task, int64_t from_ns);

#define expect_trace(text) cr_expect(eq(str, trace_text(), (char *)(text)))

/* ---- a manager that traces its enter and its exit ---- */

/* Enter: `enter_waits` checkpoints, then `enter_code`. Exit: "exit NAME", or
 * "exit NAME/ERROR" if the block has failed; `exit_waits` checkpoints, then a
 * sleep; a wait that is cancelled adds "cut NAME" and ends the waiting.
 */
struct probe {
    const char *name;
    int enter_waits;
    int enter_code;
    int exit_waits;
    belay_duration exit_sleep;
    int exit_code;
    bool exit_suppress;
    int waits; /* private */
};
extern const belay_manager probe;

/* An enter for managers that are all exit. */
belay_next enter_nothing(belay_task *task, void *self);

/* For a block at whose end the handle of a task in *handle is dropped. */
belay_next dropping(belay_task *task, belay_task **handle);

/* A cancel scope, and a group, that others may reach while their body runs:
 * *ret is NULL before and afterwards, whatever ends it. ret may be NULL.
 */
belay_next keeping(belay_task *task, const struct belay_cancel_scope_opts *opts,
    belay_cancel_scope **ret);
belay_next keeping_group(belay_task *task, belay_group **ret);

/* ---- programs ---- */

struct program {
    const belay_function *function;
    const void *arguments;
    /* NULL, or looks at the end of each run; `disturbed`: the sweep has
     * cancelled or refused something.
     */
    void (*check)(const struct belay_result *result, bool disturbed);
    belay_duration grace; /* as in belay_runtime_opts */
};

/* Runs it once and looks for what is left. Gives the code; *ret, if not
 * NULL, has a reference on its error.
 */
int program_run(const struct program *program, struct belay_result *ret);

/* The same without a sweep before it. */
int program_run_once(const struct program *program, struct belay_result *ret);

/* Runs `name` with these arguments, gives the code. */
#define RUN(name, ...)                                               \
    program_run(&(const struct program){.function = &(name),         \
                    .arguments = &(const struct name){__VA_ARGS__}}, \
        NULL)
/* The same, with the result. */
#define RUN_RESULT(ret, name, ...)                                   \
    program_run(&(const struct program){.function = &(name),         \
                    .arguments = &(const struct name){__VA_ARGS__}}, \
        (ret))

/* Not under watch, nor in a sweep, and in real time: on test_allocator only. */
int program_run_plain(const belay_function *function, const void *arguments,
    struct belay_result *ret);
#define RUN_PLAIN(name, ...) \
    program_run_plain(&(name), &(const struct name){__VA_ARGS__}, NULL)

/* Cancels the program as its k-th wait begins, for every k; then again, just
 * after that wait has begun. Gives the number of runs.
 */
size_t sweep_cancels(const struct program *program);

/* Refuses the k-th allocation, for every k; then again, with all later ones
 * refused too. Gives the number of runs.
 */
size_t sweep_allocs(const struct program *program);

/* Both, and before them whatever BELAY_SWEEP asks for. */
void sweep(const struct program *program);

/* Sweeps `name` with these arguments. */
#define SWEEP(name, ...)           \
    sweep(&(const struct program){ \
        .function = &(name), .arguments = &(const struct name){__VA_ARGS__}})

/* What the task's runtime holds now. */
struct belay_runtime_stats runtime_stats(const belay_task *task);

/* Open file descriptors of this process. */
size_t count_fds(void);

#endif
