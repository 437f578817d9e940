/* test_process.c - child processes and their pipes, whatever happens to them.
 *
 * After each test there may be no child, not even an unwaited one. The
 * programs are those of a POSIX system.
 */
#include "test/support/program.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static void
check_no_child(void)
{
    if (waitpid(-1, NULL, WNOHANG) != -1) {
        abort();
    }
    check_clean();
}

TestSuite(process, .fini = check_no_child, .timeout = 60);

static const char *const cat[] = {"cat", NULL};
static const char *const deaf[] = {
    "sh", "-c", "trap '' TERM; echo ready; exec sleep 1000", NULL};

/* ---- ends and codes ---- */

struct ends {
    const char *const *args;
    struct belay_process_status *status;
    belay_process *process;
};

BELAY_ASYNC(ends)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_process_open(
        task, BELAY_PROCESS_OPTS(.args = self->args), &self->process)) {
        BELAY_AWAIT(belay_process_wait(task, self->process, self->status));
        BELAY_AWAIT(belay_process_wait(task, self->process, self->status));
        cr_expect(
            eq(int, belay_process_kill(self->process, SIGTERM), BELAY_ESTATE));
        cr_expect(eq(ptr, belay_process_input(self->process), NULL));
        cr_expect(eq(ptr, belay_process_output(self->process), NULL));
        cr_expect(eq(ptr, belay_process_error(self->process), NULL));
    }
    BELAY_END;
}

Test(process, exit_code_is_delivered)
{
    static const char *const args[] = {"sh", "-c", "exit 3", NULL};
    struct belay_process_status status = {-1, -1};

    cr_expect(eq(int, RUN(ends, .args = args, .status = &status), 0));
    cr_expect(eq(i64, status.exit_code, 3));
    cr_expect(eq(int, status.signal, 0));
}

Test(process, signal_that_ended_it_is_delivered)
{
    static const char *const args[] = {"sh", "-c", "kill -9 $$", NULL};
    struct belay_process_status status = {-1, -1};

    cr_expect(eq(int, RUN(ends, .args = args, .status = &status), 0));
    cr_expect(eq(int, status.signal, SIGKILL));
}

Test(process, program_that_is_not_there_cannot_be_entered)
{
    static const char *const args[] = {"/nowhere/program", NULL};
    struct belay_result result = {0};

    cr_expect(eq(int, RUN_RESULT(&result, ends, .args = args), BELAY_ENOENT));
    cr_expect(zero(int, strcmp(belay_error_message(result.error),
                            "cannot run '/nowhere/program': not found")));
    belay_error_unref(result.error);
}

struct odd {
    enum belay_process_stdio stdio[3];
};

BELAY_ASYNC(odd)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_process_open(task,
        BELAY_PROCESS_OPTS(.args = cat, .input = self->stdio[0],
            .output = self->stdio[1], .error = self->stdio[2]),
        NULL)) {
        trace("entered");
    }
    BELAY_END;
}

Test(process, a_stream_of_no_known_kind_is_an_invalid_argument)
{
    const enum belay_process_stdio none =
        (enum belay_process_stdio)(BELAY_PROCESS_PIPE + 1);

    cr_expect(eq(int, RUN(odd, .stdio = {none}), BELAY_EINVAL));
    cr_expect(eq(int, RUN(odd, .stdio = {0, none}), BELAY_EINVAL));
    cr_expect(eq(int, RUN(odd, .stdio = {0, 0, none}), BELAY_EINVAL));
    expect_trace("");
}

Test(process, no_program_is_an_invalid_argument)
{
    static const char *const args[] = {NULL};

    cr_expect(eq(int, RUN(ends, .args = NULL), BELAY_EINVAL));
    cr_expect(eq(int, RUN(ends, .args = args), BELAY_EINVAL));
}

/* ---- pipes ---- */

struct echo {
    const char *const *args;
    const char *const *env;
    const char *cwd;
    const char *text;
    belay_process *process;
    char buffer[64];
    size_t len;
    size_t more;
};

BELAY_ASYNC(echo)
{
    BELAY_BEGIN;
    self->len = 0;
    BELAY_WITH (belay_process_open(task,
        BELAY_PROCESS_OPTS(.args = self->args, .env = self->env,
            .cwd = self->cwd, .input = BELAY_PROCESS_PIPE,
            .output = BELAY_PROCESS_PIPE),
        &self->process)) {
        BELAY_AWAIT(belay_stream_write(task, belay_process_input(self->process),
            self->text, strlen(self->text)));
        belay_stream_close(belay_process_input(self->process));
        do {
            BELAY_AWAIT(belay_stream_read(task,
                belay_process_output(self->process), self->buffer + self->len,
                sizeof(self->buffer) - self->len, &self->more));
            self->len += self->more;
        } while (self->more > 0);
        BELAY_AWAIT(belay_stream_read(task, belay_process_output(self->process),
            self->buffer, 1, &self->more));
        cr_expect(eq(sz, self->more, 0)); /* the end stays the end */
    }
    trace("%.*s", (int)self->len, self->buffer);
    BELAY_END;
}

Test(process, what_goes_in_comes_out)
{
    cr_expect(eq(int, RUN(echo, .args = cat, .text = "hello"), 0));
    expect_trace("hello");
}

Test(process, environment_and_folder_are_as_given)
{
    static const char *const args[] = {
        "/bin/sh", "-c", "printf %s $GREETING; pwd | tr -d '\\n'", NULL};
    static const char *const env[] = {
        "GREETING=hi", "PATH=/bin:/usr/bin", NULL};

    cr_expect(eq(
        int, RUN(echo, .args = args, .env = env, .cwd = "/", .text = ""), 0));
    expect_trace("hi/");
}

static void
check_echo(const struct belay_result *result, bool disturbed)
{
    if (!disturbed) {
        cr_expect(eq(int, result->code, 0));
    }
    cr_expect(eq(int, waitpid(-1, NULL, WNOHANG), -1));
}

Test(process, s128_disturbed_anywhere_leaves_no_child_and_no_descriptor)
{
    const struct echo arguments = {.args = cat, .text = "hello"};
    const struct program program = {
        .function = &echo, .arguments = &arguments, .check = check_echo};

    sweep(&program);
}

Test(process, s128_failed_start_disturbed_anywhere_leaves_nothing)
{
    static const char *const args[] = {"/nowhere/program", NULL};
    const struct echo arguments = {.args = args, .text = ""};
    const struct program program = {.function = &echo, .arguments = &arguments};

    sweep(&program);
}

/* ---- leaving ---- */

/* Runs until it has said that it is ready, then leaves the block. */
struct leave {
    const char *const *args;
    belay_duration patience;
    belay_duration grace;
    belay_process *process;
    char byte;
    size_t len;
};

BELAY_ASYNC(leave)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_process_open(task,
        BELAY_PROCESS_OPTS(.args = self->args, .input = BELAY_PROCESS_PIPE,
            .output = BELAY_PROCESS_PIPE, .patience = self->patience,
            .grace = self->grace),
        &self->process)) {
        BELAY_AWAIT(belay_stream_read(task, belay_process_output(self->process),
            &self->byte, 1, &self->len));
    }
    BELAY_END;
}

/* As `leave`, on the system's clock. */
static int
run_leave(const struct leave *arguments)
{
    return program_run_plain(&leave, arguments, NULL);
}

Test(process, leaving_asks_it_to_end)
{
    static const char *const args[] = {
        "sh", "-c", "echo ready; exec sleep 1000", NULL};

    cr_expect(eq(int, run_leave(&(struct leave){.args = args}), 0));
}

Test(process, leaving_kills_what_does_not_listen)
{
    const struct leave at_once = {.args = deaf, .grace = BELAY_NO_GRACE};
    struct leave soon = {.args = deaf};

    cr_expect(eq(int, run_leave(&at_once), 0));
    soon.grace = belay_milliseconds(1);
    cr_expect(eq(int, run_leave(&soon), 0));
    soon.patience = belay_milliseconds(1);
    cr_expect(eq(int, run_leave(&soon), 0));
}

Test(process, end_of_input_comes_first)
{
    static const char *const args[] = {
        "sh", "-c", "trap 'exit 1' TERM; echo ready; read x; exit 0", NULL};

    cr_expect(eq(int,
        run_leave(&(struct leave){.args = args, .patience = BELAY_FOREVER}),
        0));
}

struct cut {
    belay_process *process;
    char byte;
    size_t len;
};

BELAY_ASYNC(cut)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_cancel_scope_open(task,
        BELAY_CANCEL_SCOPE_OPTS(.timeout = belay_seconds(3600),
            .grace = BELAY_NO_GRACE),
        NULL)) {
        BELAY_WITH (belay_process_open(task,
            BELAY_PROCESS_OPTS(.args = deaf, .output = BELAY_PROCESS_PIPE,
                .patience = BELAY_FOREVER, .grace = BELAY_FOREVER),
            &self->process)) {
            BELAY_AWAIT(
                belay_stream_read(task, belay_process_output(self->process),
                    &self->byte, 1, &self->len));
            BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
        }
    }
    BELAY_END;
}

Test(process, s101_exit_without_grace_kills_at_once)
{
    /* None for the runtime either: cancelled sooner it would wait for a child
     * that does not listen, which a virtual clock does not shorten.
     */
    const struct program program = {.function = &cut,
        .arguments = &(const struct cut){.len = 0},
        .grace = BELAY_NO_GRACE};

    cr_expect(eq(int, program_run(&program, NULL), 0));
}

struct patient {
    belay_duration patience;
    belay_process *process;
    char byte;
    size_t len;
};

/* Cancelled once the child is deaf; its own times would be a day. */
BELAY_ASYNC(patient)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_process_open(task,
        BELAY_PROCESS_OPTS(.args = deaf, .output = BELAY_PROCESS_PIPE,
            .patience = self->patience, .grace = belay_seconds(86400)),
        &self->process)) {
        BELAY_AWAIT(belay_stream_read(task, belay_process_output(self->process),
            &self->byte, 1, &self->len));
        (void)belay_task_cancel(task, NULL);
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

static int
run_patient(belay_duration patience)
{
    return belay_run(&patient, &(const struct patient){.patience = patience},
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator,
            .grace = belay_milliseconds(20)),
        NULL);
}

Test(process, s100_s101_the_end_of_the_grace_cuts_patience_short)
{
    cr_expect(eq(int, run_patient(belay_seconds(86400)), BELAY_ECANCELED));
    cr_expect(eq(int, run_patient(belay_seconds(0)), BELAY_ECANCELED));
}

/* The times between signals are real ones, since the child's are. */
Test(process, s45_a_virtual_clock_does_not_keep_a_child_alive)
{
    cr_expect(eq(int,
        RUN(leave, .args = deaf, .patience = belay_milliseconds(1),
            .grace = belay_milliseconds(1)),
        0));
}

/* ---- waiting and streams, cut short ---- */

struct closed_by_other {
    belay_process *process;
    belay_group *group;
    char byte;
    size_t len;
    char *large; /* more than a pipe holds */
};

#define LARGE ((size_t)4 * 1024 * 1024)

struct reader {
    struct closed_by_other *all;
};

BELAY_ASYNC(reader)
{
    BELAY_BEGIN;
    self->all->len = 77;
    BELAY_TRY(belay_stream_read(task, belay_process_output(self->all->process),
        &self->all->byte, 1, &self->all->len));
    trace("read %s", trace_result(belay_result(task)));
    cr_expect(eq(sz, self->all->len, 77));
    BELAY_END;
}

struct writer {
    struct closed_by_other *all;
};

BELAY_ASYNC(writer)
{
    BELAY_BEGIN;
    BELAY_TRY(belay_stream_write(task, belay_process_input(self->all->process),
        self->all->large, LARGE));
    trace("write %s", trace_result(belay_result(task)));
    BELAY_TRY(belay_stream_write(
        task, belay_process_input(self->all->process), "x", 1));
    trace("again %s", trace_result(belay_result(task)));
    BELAY_END;
}

BELAY_ASYNC(closed_by_other)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_process_open(task,
        BELAY_PROCESS_OPTS(.args = deaf, .input = BELAY_PROCESS_PIPE,
            .error = BELAY_PROCESS_PIPE, .output = BELAY_PROCESS_PIPE,
            .grace = BELAY_NO_GRACE),
        &self->process)) {
        BELAY_AWAIT(belay_stream_read(task, belay_process_output(self->process),
            self->large, 6, &self->len));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, reader, .all = self));
            BELAY_CHECK(belay_spawn(self->group, writer, .all = self));
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_AWAIT(belay_checkpoint(task));
            BELAY_TRY(
                belay_stream_read(task, belay_process_output(self->process),
                    &self->byte, 1, &self->len));
            trace("second reader %s", trace_result(belay_result(task)));
            BELAY_TRY(belay_stream_write(
                task, belay_process_input(self->process), "x", 1));
            trace("second writer %s", trace_result(belay_result(task)));
            belay_stream_close(belay_process_output(self->process));
            belay_stream_close(belay_process_output(self->process));
            belay_stream_close(belay_process_input(self->process));
        }
    }
    BELAY_END;
}

Test(process, close_ends_the_read_and_the_write_that_wait)
{
    char *large = calloc(1, LARGE);

    cr_assert(ne(ptr, large, NULL));
    cr_expect(eq(int, RUN(closed_by_other, .large = large), 0));
    expect_trace("second reader EBUSY; second writer EBUSY; read ECLOSED; "
                 "write ECLOSED; again ECLOSED");
    free(large);
}

struct cancelled_write {
    belay_process *process;
    char *large;
};

BELAY_ASYNC(cancelled_write)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_process_open(task,
        BELAY_PROCESS_OPTS(.args = deaf, .input = BELAY_PROCESS_PIPE,
            .grace = BELAY_NO_GRACE),
        &self->process)) {
        BELAY_WITH (belay_move_on(task, belay_milliseconds(1), NULL)) {
            BELAY_TRY(belay_stream_write(
                task, belay_process_input(self->process), self->large, LARGE));
            trace("write %s", trace_result(belay_result(task)));
        }
        BELAY_TRY(belay_stream_write(
            task, belay_process_input(self->process), "x", 1));
        trace("again %s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

Test(process, s129_cancelled_write_closes_its_stream)
{
    char *large = calloc(1, LARGE);
    const struct cancelled_write arguments = {.large = large};

    cr_assert(ne(ptr, large, NULL));
    cr_expect(
        eq(int, program_run_plain(&cancelled_write, &arguments, NULL), 0));
    expect_trace("write cancel; again ECLOSED");
    free(large);
    trace_clear();
}

struct broken_pipe {
    belay_process *process;
};

BELAY_ASYNC(broken_pipe)
{
    static const char *const args[] = {"true", NULL};

    BELAY_BEGIN;
    BELAY_WITH (belay_process_open(task,
        BELAY_PROCESS_OPTS(.args = args, .input = BELAY_PROCESS_PIPE),
        &self->process)) {
        BELAY_AWAIT(belay_process_wait(task, self->process, NULL));
        BELAY_TRY(belay_stream_write(
            task, belay_process_input(self->process), "x", 1));
        trace("%s", trace_result(belay_result(task)));
    }
    BELAY_END;
}

Test(process, write_to_a_child_that_is_gone_is_an_error)
{
    cr_expect(eq(int, RUN(broken_pipe, .process = NULL), 0));
    expect_trace("EPIPE");
}

struct cancelled_wait {
    belay_process *process;
    struct belay_process_status status;
};

BELAY_ASYNC(cancelled_wait)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_process_open(task,
        BELAY_PROCESS_OPTS(.args = cat, .input = BELAY_PROCESS_PIPE,
            .patience = BELAY_FOREVER),
        &self->process)) {
        BELAY_WITH (belay_move_on(task, belay_seconds(0), NULL)) {
            BELAY_TRY(belay_process_wait(task, self->process, &self->status));
            trace("%s", trace_result(belay_result(task)));
        }
        cr_expect(eq(int, belay_process_kill(self->process, 0), 0));
        cr_expect(gt(int, belay_process_id(self->process), 0));
    }
    cr_expect(eq(i64, self->status.exit_code, 0));
    BELAY_END;
}

Test(process, cancelled_wait_lets_it_run)
{
    cr_expect(eq(int, RUN(cancelled_wait, .process = NULL), 0));
    expect_trace("cancel");
}
