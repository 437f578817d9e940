/* trace.c - a trace: an observer with a buffer and a file.
 *
 * Records go into a buffer that was made when the trace was opened. It is
 * written when it is full and at the end of every pass, so that a process that
 * dies leaves whole lines up to the pass it was in; a broken contract leaves
 * that one too. Nothing here waits, but for a moment at the end: what a pipe
 * does not take stays in the buffer, what the buffer does not take is dropped
 * and counted.
 */
#include "runtime/trace.h"

#include "runtime/internal.h"
#include "runtime/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_MIN 16384
#define BUFFER_DEFAULT 65536
#define LAST_WAIT_MS 200 /* for a reader that is behind, at the end */
#define SPARE 512        /* of the buffer, to say that something was dropped */

static _Thread_local struct belay__trace *traces; /* of this thread */
static atomic_uint runs; /* of this process that were traced */

/* ---- the file ---- */

void
belay__trace_flush(struct belay__trace *trace)
{
    size_t done = 0;
    ssize_t n;

    /* One that has failed was the last: another may begin amid a line. */
    if (trace == NULL || trace->len == 0 || trace->failed != 0) {
        return;
    }
    while (done < trace->len) {
        n = write(trace->fd, trace->buffer + done, trace->len - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            if (errno != EAGAIN) {
                trace->failed = errno;
            }
            break;
        }
        done += (size_t)n;
    }
    trace->len -= done;
    memmove(trace->buffer, trace->buffer + done, trace->len);
}

static bool
has_room(struct belay__trace *trace, size_t len)
{
    if (trace->failed == 0 && trace->len + len > trace->size) {
        belay__trace_flush(trace);
    }
    return trace->failed == 0 && trace->len + len <= trace->size;
}

static void
tell_dropped(struct belay__trace *trace)
{
    const uint64_t count = trace->dropped - trace->dropped_told;

    if (count == 0 || !has_room(trace, SPARE)) {
        return;
    }
    trace->dropped_told = trace->dropped;
    if (trace->format == BELAY_TRACE_CHROME) {
        belay__trace_chrome_dropped(trace, count);
    } else {
        belay__trace_lines_dropped(trace, count);
    }
}

void
belay__trace_put(struct belay__trace *trace, const char *text, size_t len)
{
    if (!has_room(trace, len)) {
        trace->dropped++;
        return;
    }
    memcpy(trace->buffer + trace->len, text, len);
    trace->len += len;
}

static void
on_event(belay_runtime *runtime, const struct belay_observed *seen, void *arg)
{
    struct belay__trace *trace = arg;

    (void)runtime;
    tell_dropped(trace);
    if (trace->format == BELAY_TRACE_CHROME) {
        belay__trace_chrome(trace, seen);
    } else {
        belay__trace_lines(trace, seen);
    }
}

/* ---- opening ---- */

static bool
ends_with(const char *text, const char *end)
{
    const size_t len = strlen(text);
    const size_t end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static enum belay_trace_format
format_of(const char *path, enum belay_trace_format format)
{
    if (format != BELAY_TRACE_BY_NAME) {
        return format;
    }
    return ends_with(path, ".perfetto.json") || ends_with(path, ".chrome.json")
               ? BELAY_TRACE_CHROME
               : BELAY_TRACE_LINES;
}

/* BELAY_EINVAL: it is longer than a path may be. */
static int
fill_in(const char *path, char *name, size_t size)
{
    const char *mark = strstr(path, "%p");
    int n;

    if (mark == NULL) {
        n = snprintf(name, size, "%s", path);
    } else {
        n = snprintf(name, size, "%.*s%d%s", (int)(mark - path), path,
            (int)getpid(), mark + 2);
    }
    return n >= 0 && (size_t)n < size ? 0 : BELAY_EINVAL;
}

static int
check(const belay_runtime *runtime, const struct belay_trace_opts *opts)
{
    if (opts->size != sizeof(*opts)
        || (unsigned)opts->format > BELAY_TRACE_CHROME
        || (opts->buffer_bytes != 0 && opts->buffer_bytes < BUFFER_MIN)
        || opts->buffer_bytes > SIZE_MAX / 2) {
        return BELAY_EINVAL;
    }
    return runtime->trace != NULL ? BELAY_EBUSY : 0;
}

/* The number of the next trace. Taken once a trace, since threads may open
 * theirs at one time.
 */
static unsigned
next_run(void)
{
    return atomic_fetch_add(&runs, 1) + 1;
}

/* A write to a pipe whose reader has gone is to fail, and no more than that. */
static void
outlive_reader(int fd)
{
    struct stat file;

    if (fstat(fd, &file) == 0 && S_ISFIFO(file.st_mode)) {
        belay__ignore_broken_pipes();
    }
}

static int
open_file(const char *path, enum belay_trace_format format)
{
    char name[PATH_MAX];
    int fd;

    if (fill_in(path, name, sizeof(name)) < 0) {
        return BELAY_EINVAL;
    }
    fd = open(name,
        O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK
            | (format == BELAY_TRACE_CHROME ? O_TRUNC : O_APPEND),
        0666);
    if (fd < 0) {
        return -errno;
    }
    outlive_reader(fd);
    return fd;
}

static void
begin(struct belay__trace *trace, unsigned run)
{
    belay_runtime *runtime = trace->runtime;

    trace->began_ns = belay__clock_now(runtime);
    trace->first_task = runtime->last_id;
    trace->first = true;
    (void)snprintf(trace->run, sizeof(trace->run), "%d.%u", (int)getpid(), run);
    runtime->trace = trace;
    trace->next = traces;
    traces = trace;
    if (trace->format == BELAY_TRACE_CHROME) {
        belay__trace_chrome_begin(trace);
    } else {
        belay__trace_lines_begin(trace);
    }
}

static int
open_run(belay_runtime *runtime, const char *path,
    const struct belay_trace_opts *opts, unsigned run)
{
    struct belay_observer_opts which = {.size = sizeof(which)};
    struct belay__trace *trace;
    size_t size;
    int code;

    code = check(runtime, opts);
    if (code < 0) {
        return code;
    }
    size = opts->buffer_bytes != 0 ? opts->buffer_bytes : BUFFER_DEFAULT;
    which.kinds =
        opts->kinds != 0 ? opts->kinds : (uint32_t)BELAY_OBSERVE_DEFAULT;
    trace = belay__alloc(runtime->memory, sizeof(*trace) + size);
    if (trace == NULL) {
        return BELAY_ENOMEM;
    }
    *trace = (struct belay__trace){
        .runtime = runtime,
        .format = format_of(path, opts->format),
        .steps = (which.kinds & BELAY_OBSERVE_STEPS) != 0,
        .size = size,
    };
    code = belay_observer_attach(
        runtime, on_event, trace, &which, &trace->observer);
    if (code < 0) {
        goto free_trace;
    }
    trace->fd = open_file(path, trace->format);
    if (trace->fd < 0) {
        code = trace->fd;
        goto detach;
    }
    begin(trace, run);
    return 0;
detach:
    belay_observer_detach(trace->observer);
free_trace:
    belay__free(runtime->memory, trace, sizeof(*trace) + size);
    return code;
}

int
belay_trace_open(belay_runtime *runtime, const char *path,
    const struct belay_trace_opts *opts)
{
    static const struct belay_trace_opts defaults = {.size = sizeof(defaults)};

    return open_run(runtime, path, opts != NULL ? opts : &defaults, next_run());
}

static bool
is_set(const char *text)
{
    return text != NULL && text[0] != '\0' && strcmp(text, "0") != 0;
}

/* A name for each runtime that the process has, since a Chrome trace is one
 * array; the first one has the name as it is.
 */
static int
name_for_run(const char *path, enum belay_trace_format format, unsigned run,
    char *name, size_t size)
{
    int n;

    if (format != BELAY_TRACE_CHROME || run == 1) {
        n = snprintf(name, size, "%s", path);
    } else {
        n = snprintf(name, size, "%s.%u", path, run);
    }
    return n >= 0 && (size_t)n < size ? 0 : BELAY_EINVAL;
}

void
belay__trace_from_environment(belay_runtime *runtime)
{
    const char *path = getenv("BELAY_TRACE");
    const char *format = getenv("BELAY_TRACE_FORMAT");
    struct belay_trace_opts opts = {.size = sizeof(opts)};
    char name[PATH_MAX];
    unsigned run;
    int code = 0;

    /* Who runs a program with more rights than his own names no files. */
    if (!is_set(path) || getuid() != geteuid() || getgid() != getegid()) {
        return;
    }
    if (is_set(getenv("BELAY_TRACE_STEPS"))) {
        opts.kinds = BELAY_OBSERVE_DEFAULT | BELAY_OBSERVE_STEPS;
    }
    if (is_set(format) && strcmp(format, "chrome") == 0) {
        opts.format = BELAY_TRACE_CHROME;
    } else if (is_set(format) && strcmp(format, "lines") == 0) {
        opts.format = BELAY_TRACE_LINES;
    } else if (is_set(format)) {
        code = BELAY_EINVAL;
        path = "BELAY_TRACE_FORMAT";
    }
    opts.format = format_of(path, opts.format);
    run = next_run();
    if (code == 0) {
        code = name_for_run(path, opts.format, run, name, sizeof(name));
    }
    if (code == 0) {
        code = open_run(runtime, name, &opts, run);
    }
    if (code < 0) {
        (void)fprintf(
            stderr, "belay: no trace: '%s': %s\n", path, belay_code_text(code));
    }
}

/* ---- the end ---- */

void
belay__trace_last_words(void)
{
    for (struct belay__trace *trace = traces; trace != NULL;
         trace = trace->next) {
        belay__trace_flush(trace);
    }
}

static void
flush_all(struct belay__trace *trace)
{
    struct pollfd pipe = {.fd = trace->fd, .events = POLLOUT};

    belay__trace_flush(trace);
    while (trace->len > 0 && trace->failed == 0
           && poll(&pipe, 1, LAST_WAIT_MS) > 0) {
        belay__trace_flush(trace);
    }
}

void
belay__trace_close(struct belay__trace *trace)
{
    struct belay__trace **link = &traces;

    if (trace == NULL) {
        return;
    }
    flush_all(trace);
    tell_dropped(trace);
    if (trace->format == BELAY_TRACE_CHROME) {
        belay__trace_chrome_end(trace);
    } else {
        belay__trace_lines_end(trace);
    }
    flush_all(trace);
    if (close(trace->fd) < 0 && trace->failed == 0) {
        trace->failed = errno;
    }
    if (trace->failed != 0 || trace->len > 0 || trace->dropped > 0) {
        (void)fprintf(stderr,
            "belay: trace %s: %llu events dropped, %zu bytes not written%s%s\n",
            trace->run, (unsigned long long)trace->dropped, trace->len,
            trace->failed != 0 ? ": " : "",
            trace->failed != 0 ? belay_code_text(-trace->failed) : "");
    }
    while (*link != trace) {
        link = &(*link)->next;
    }
    *link = trace->next;
    trace->runtime->trace = NULL;
    belay_observer_detach(trace->observer);
    belay__free(trace->runtime->memory, trace, sizeof(*trace) + trace->size);
}
