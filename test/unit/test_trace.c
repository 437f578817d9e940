/* test_trace.c - the files that traces are, line for line. */
#include "test/support/files.h"
#include "test/support/program.h"
#include "test/support/texts.h"

#include "runtime/internal.h"
#include "runtime/trace.h"

#include <belay/uv.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(trace, .fini = check_clean, .timeout = 30);

static char path[64];

/* Each trial of a sweep has the second file for itself. */
static void
use_file(const char *name)
{
    (void)snprintf(path, sizeof(path), "%s", test_file(name));
    (void)unlink(path);
}

static void
use_file_of_trial(void)
{
    use_file("trial");
}

static void
make_folder(void)
{
    test_files_open();
    use_file("trace");
    program_before_trial = use_file_of_trial;
}

#define FILES .init = make_folder, .fini = test_files_fini

static char text[262144];

/* The runtime's and the process's numbers are not the same each time. */
static char *
without_run(char *lines)
{
    static char out[sizeof(text)];
    size_t len = 0;
    const char *rest;

    for (const char *at = lines; *at != '\0'; at = rest + 1) {
        const size_t run = strcspn(at, ",");

        rest = at + strcspn(at, "\n");
        if (strstr(at, "\"trace.begin\"") == NULL
            || strstr(at, "\"trace.begin\"") > rest) {
            len += (size_t)snprintf(out + len, sizeof(out) - len, "{%.*s\n",
                (int)(rest - at - (int)run - 1), at + run + 1);
        }
    }
    return out;
}

/* ---- lines ---- */

struct traced {
    const char *path;
    const struct belay_trace_opts *opts;
    int code;
};

static int wait_line;

BELAY_ASYNC(traced)
{
    BELAY_BEGIN;
    self->code =
        belay_trace_open(belay_task_runtime(task), self->path, self->opts);
    BELAY_CHECK(self->code);
    BELAY_WITH (belay_timeout(task, belay_seconds(1))) {
        wait_line = __LINE__ + 1;
        BELAY_TRY(belay_checkpoint(task));
        (void)belay_task_cancel(task, "a \"b\"\n");
        BELAY_AWAIT(belay_sleep(task, belay_seconds(9)));
    }
    BELAY_END;
}

Test(trace, one_event_one_line, FILES)
{
    char golden[2048];

    cr_expect(eq(int,
        RUN(traced, .path = path,
            .opts = BELAY_TRACE_OPTS(.kinds = BELAY_OBSERVE_DEFAULT
                                              | BELAY_OBSERVE_STEPS)),
        BELAY_ECANCELED));
    (void)snprintf(golden, sizeof(golden),
        "{\"ns\":1000000000,\"event\":\"scope.open\",\"task\":\"program\","
        "\"id\":1,\"name\":\"cancel scope\",\"scope\":1}\n"
        "{\"ns\":1000000000,\"event\":\"scope.enter\",\"task\":\"program\","
        "\"id\":1,\"name\":\"cancel scope\",\"scope\":1,\"took_ns\":0}\n"
        "{\"ns\":1000000000,\"event\":\"task.park\",\"task\":\"program\","
        "\"id\":1,\"awaits\":\"checkpoint\","
        "\"file\":\"" __FILE__ "\",\"line\":%d}\n"
        "{\"ns\":1000000000,\"event\":\"task.resume\",\"task\":\"program\","
        "\"id\":1}\n"
        "{\"ns\":1000000000,\"event\":\"scope.cancel\",\"task\":\"program\","
        "\"id\":1,\"name\":\"program\",\"source\":\"explicit\","
        "\"text\":\"a \\\"b\\\"\\u000a\",\"by\":\"program\",\"by_id\":1}\n"
        "{\"ns\":1000000000,\"event\":\"scope.leave\",\"task\":\"program\","
        "\"id\":1,\"name\":\"cancel scope\",\"scope\":1,"
        "\"outcome\":\"cancelled\",\"open_ns\":0}\n"
        "{\"ns\":1000000000,\"event\":\"scope.exit\",\"task\":\"program\","
        "\"id\":1,\"name\":\"cancel scope\",\"scope\":1,"
        "\"outcome\":\"cancelled\",\"open_ns\":0,\"result\":\"cancelled\","
        "\"took_ns\":0}\n"
        "{\"ns\":1000000000,\"event\":\"trace.end\",\"dropped\":0,"
        "\"lost\":0}\n",
        wait_line);
    cr_expect_str_eq(without_run(file_text(path)), golden);
}

Test(trace, every_allocation_refused_and_every_wait_cancelled, FILES)
{
    static const struct belay_trace_opts opts = {.size = sizeof(opts)};
    const struct program program = {.function = &traced,
        .arguments = &(const struct traced){.path = path, .opts = &opts}};

    sweep(&program);
}

/* ---- what cannot be opened ---- */

struct refused {
    const char *path;
};

static int
open_trace(const belay_task *task, const char *name,
    const struct belay_trace_opts *opts)
{
    return belay_trace_open(belay_task_runtime(task), name, opts);
}

BELAY_ASYNC(refused)
{
    BELAY_BEGIN;
    cr_expect(eq(int, open_trace(task, "/no/such/folder", NULL), BELAY_ENOENT));
    cr_expect(eq(int,
        open_trace(task, self->path, BELAY_TRACE_OPTS(.buffer_bytes = 100)),
        BELAY_EINVAL));
    cr_expect(eq(int,
        open_trace(task, self->path,
            BELAY_TRACE_OPTS(.buffer_bytes = SIZE_MAX / 2 + 1)),
        BELAY_EINVAL));
    cr_expect(eq(int,
        open_trace(
            task, self->path, BELAY_TRACE_OPTS(.buffer_bytes = SIZE_MAX)),
        BELAY_EINVAL));
    cr_expect(eq(int,
        open_trace(task, self->path, BELAY_TRACE_OPTS(.kinds = 1 << 20)),
        BELAY_EINVAL));
    cr_expect(eq(int,
        open_trace(task, self->path, &(const struct belay_trace_opts){0}),
        BELAY_EINVAL));
    cr_expect(eq(int, access(self->path, F_OK), -1));
    cr_expect(not(belay_observed_by(belay_task_runtime(task), UINT32_MAX)));
    cr_expect(eq(int, open_trace(task, self->path, NULL), 0));
    cr_expect(eq(int, open_trace(task, self->path, NULL), BELAY_EBUSY));
    BELAY_END;
}

Test(trace, what_cannot_be_opened_changes_nothing, FILES)
{
    cr_expect(eq(int, RUN(refused, .path = path), 0));
}

/* ---- strings ---- */

static char *
string_of(const char *from)
{
    static struct belay__record record;

    record.len = 0;
    record.cut = false;
    belay__record_string(&record, from);
    record.text[record.len] = '\0';
    return record.text;
}

Test(trace, strings_are_json_whatever_is_in_them)
{
    cr_expect_str_eq(
        string_of("a\"b\\c\n\x01\x7f"), "\"a\\\"b\\\\c\\u000a\\u0001\\u007f\"");
    cr_expect_str_eq(string_of("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
        "\"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"");
    /* Alone, too long, a surrogate, beyond the last one, cut off. */
    cr_expect_str_eq(string_of("\x80\xff"), "\"\\ufffd\\ufffd\"");
    cr_expect_str_eq(string_of("\xc0\x80"), "\"\\ufffd\\ufffd\"");
    cr_expect_str_eq(string_of("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\"");
    cr_expect_str_eq(
        string_of("\xf4\x90\x80\x80"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
    cr_expect_str_eq(string_of("\xe2\x82"), "\"\\ufffd\\ufffd\"");
}

Test(trace, a_long_string_is_cut_and_a_full_record_says_so)
{
    static struct belay__record record;
    struct belay_note_field fields[40];
    char longest[1000];

    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    cr_expect(eq(sz, strlen(string_of(longest)), 404));
    cr_expect_str_eq(string_of(longest) + 395, "xxxxx...\"");
    for (size_t i = 0; i < 40; i++) {
        fields[i] = (struct belay_note_field){.key = "k", .text = longest};
    }
    belay__record_fields(&record, fields, 40);
    cr_expect(record.cut);
    belay__record_end(&record, "}\n");
    record.text[record.len] = '\0';
    cr_expect_str_eq(record.text + record.len - 20, "xxx...\",\"cut\":true}\n");
}

/* ---- a reader that is behind ---- */

struct noisy {
    const char *path;
    int fd;
    size_t *ret_got;
};

static void
make_noise(belay_task *task, int number)
{
    const struct belay_note_field field = {.key = "n", .number = number};

    belay_note(belay_task_runtime(task), NULL, BELAY_NOTE_MOMENT, "noise", 0,
        &field, 1);
}

/* Fills the pipe and the buffer, reads some, goes on. */
BELAY_ASYNC(noisy)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_trace_open(belay_task_runtime(task), self->path,
        BELAY_TRACE_OPTS(.kinds = BELAY_OBSERVE_NOTES, .buffer_bytes = 16384)));
    for (int i = 0; i < 4000; i++) {
        make_noise(task, i);
    }
    *self->ret_got = (size_t)read(self->fd, text, 65536);
    make_noise(task, 4000);
    BELAY_END;
}

static size_t
count_of(const char *part)
{
    size_t count = 0;

    for (const char *at = strstr(text, part); at != NULL;
         at = strstr(at + 1, part)) {
        count++;
    }
    return count;
}

static long long
number_behind(const char *part)
{
    const char *at = strstr(text, part);

    cr_assert(at != NULL, "no %s", part);
    return strtoll(at + strlen(part), NULL, 10);
}

static void
read_rest(int fd, size_t got)
{
    ssize_t n;

    while ((n = read(fd, text + got, sizeof(text) - 1 - got)) > 0) {
        got += (size_t)n;
    }
    text[got] = '\0';
}

Test(trace, what_a_pipe_does_not_take_is_dropped_and_counted, FILES)
{
    size_t got = 0;
    int fd;

    cr_assert(eq(int, mkfifo(path, 0600), 0));
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    cr_assert(fd >= 0);
    cr_expect(
        eq(int, RUN_PLAIN(noisy, .path = path, .fd = fd, .ret_got = &got), 0));
    read_rest(fd, got);
    (void)close(fd);
    cr_expect(eq(sz,
        count_of("\"event\":\"noise\"") + (size_t)number_behind("\"dropped\":"),
        4001));
    cr_expect(number_behind("\"dropped\":") > 0);
    cr_expect(eq(i64, number_behind("\"trace.dropped\",\"count\":"),
        number_behind("\"dropped\":")));
    /* Whole lines, in order, the newest there again. */
    cr_expect(eq(sz, count_of("\n"), count_of("{\"run\":")));
    cr_expect(eq(sz, count_of("\"n\":0}"), 1));
    cr_expect(eq(sz, count_of("\"n\":4000}"), 1));
}

struct goes_on {
    const char *path;
    int fd;
};

/* Its reader goes before anything is written. */
BELAY_ASYNC(goes_on)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_trace_open(belay_task_runtime(task), self->path, NULL));
    (void)close(self->fd);
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
    trace("the work is done");
    BELAY_END;
}

Test(trace, a_reader_that_goes_ends_the_trace_and_not_the_program, FILES)
{
    int fd;

    cr_assert(eq(int, mkfifo(path, 0600), 0));
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    cr_assert(fd >= 0);
    cr_expect(eq(int, RUN_PLAIN(goes_on, .path = path, .fd = fd), 0));
    expect_trace("the work is done");
}

struct comes_back {
    const char *path;
    int *fd;
    int passes;
};

/* Its reader goes, and is there again some passes later. */
BELAY_ASYNC(comes_back)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay_trace_open(belay_task_runtime(task), self->path, NULL));
    (void)close(*self->fd);
    for (; self->passes > 0; self->passes--) {
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
    }
    *self->fd = open(self->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
    BELAY_END;
}

static volatile sig_atomic_t broken_pipes;

static void
on_broken_pipe(int number)
{
    (void)number;
    broken_pipes++;
}

Test(trace, a_write_that_fails_is_the_last_one, FILES)
{
    int fd;

    cr_assert(signal(SIGPIPE, on_broken_pipe) != SIG_ERR);
    cr_assert(eq(int, mkfifo(path, 0600), 0));
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    cr_assert(fd >= 0);
    cr_expect(
        zero(int, RUN_PLAIN(comes_back, .path = path, .fd = &fd, .passes = 3)));
    cr_assert(fd >= 0);
    read_rest(fd, 0);
    (void)close(fd);
    cr_expect(zero(sz, strlen(text)));
    cr_expect(eq(int, broken_pipes, 1));
}

/* ---- a name from the environment ---- */

struct untraced {
    int unused;
};

BELAY_ASYNC(untraced)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_END;
}

static void *
run_untraced(void *arg)
{
    (void)pthread_barrier_wait(arg);
    (void)belay_run(&untraced, &(const struct untraced){0}, NULL, NULL);
    return NULL;
}

#define RUNS 32

Test(trace, each_run_has_a_chrome_trace_of_its_own, .init = make_folder)
{
    pthread_t threads[RUNS];
    pthread_barrier_t barrier;
    char name[80];

    use_file("x.chrome.json");
    cr_assert(zero(int, setenv("BELAY_TRACE", path, 1)));
    cr_assert(zero(int, pthread_barrier_init(&barrier, NULL, RUNS)));
    for (size_t i = 0; i < RUNS; i++) {
        cr_assert(zero(
            int, pthread_create(&threads[i], NULL, run_untraced, &barrier)));
    }
    for (size_t i = 0; i < RUNS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    (void)pthread_barrier_destroy(&barrier);
    cr_expect(zero(int, unlink(path)));
    for (int i = 2; i <= RUNS; i++) {
        (void)snprintf(name, sizeof(name), "%s.%d", path, i);
        cr_expect(zero(int, unlink(name)), "there is no %s", name);
    }
    cr_expect(zero(int, rmdir(test_folder)));
}
