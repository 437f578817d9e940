/* chat_output.c - answers on standard output, while the loop goes on.
 *
 * O_NONBLOCK belongs to all who share a file description, the shell among
 * them. So a terminal or a pipe is opened a second time, by its name in /proc;
 * where that cannot be, it is written to in pieces that fit once it says that
 * it is ready. A thread waits for that, since a poll of libuv would set
 * O_NONBLOCK. Files take everything, sooner or later.
 */
#include "cli/chat_output.h"

#include <belay/async.h>
#include <belay/blocking.h>
#include <belay/managers.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define OUTPUT_MAX ((size_t)256 * 1024 * 1024) /* an answer in one piece */
#define FULL_BYTES ((size_t)1024 * 1024)
#define PIECE_BYTES 512 /* POSIX's least PIPE_BUF */

/* The same again, not blocking; or -1. */
static int
open_anew(int fd)
{
    struct stat status;
    char name[32];

    if (fstat(fd, &status) < 0
        || (!S_ISFIFO(status.st_mode) && isatty(fd) == 0)) {
        return -1;
    }
    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    return open(name, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

int
belay__chat_output_init(struct belay__chat_output *output, int fd)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    int anew;

    *output = (struct belay__chat_output){.fd = fd, .memory = memory};
    if (memory == NULL) {
        return BELAY_ENOMEM;
    }
    if (pipe(output->wake_fds) < 0) {
        belay__memory_unref(memory);
        return -errno;
    }
    for (int i = 0; i < 2; i++) {
        (void)fcntl(output->wake_fds[i], F_SETFD, FD_CLOEXEC);
        (void)fcntl(output->wake_fds[i], F_SETFL, O_NONBLOCK);
    }
    anew = open_anew(fd);
    if (anew >= 0) {
        output->fd = anew;
        output->own = true;
    }
    belay__buffer_init(&output->bytes, memory, OUTPUT_MAX);
    return 0;
}

void
belay__chat_output_fini(struct belay__chat_output *output)
{
    belay__buffer_fini(&output->bytes);
    belay__memory_unref(output->memory);
    (void)close(output->wake_fds[0]);
    (void)close(output->wake_fds[1]);
    if (output->own) {
        (void)close(output->fd);
    }
}

/* ---- printing ---- */

int
belay__chat_output_put(
    struct belay__chat_output *output, struct belay_slice text)
{
    int code = output->code;

    if (code == 0) {
        code = belay__buffer_append(&output->bytes, text.data, text.len);
    }
    if (code == 0) {
        belay_event_set(&output->more);
    }
    return code;
}

bool
belay__chat_output_is_full(const struct belay__chat_output *output)
{
    return output->code == 0 && output->bytes.len > FULL_BYTES;
}

belay_next
belay__chat_output_wait(belay_task *task, struct belay__chat_output *output)
{
    belay_event_clear(&output->emptied);
    return belay_event_wait(task, &output->emptied);
}

void
belay__chat_output_end(struct belay__chat_output *output)
{
    output->ended = true;
    belay_event_set(&output->more);
}

/* ---- waiting ---- */

/* On a thread: until it takes something, or a wake, which is one thread's. */
static int
wait_writable(void *arg)
{
    const struct belay__chat_output *output = arg;
    struct pollfd fds[2] = {
        {.fd = output->fd, .events = POLLOUT},
        {.fd = output->wake_fds[0], .events = POLLIN},
    };
    char byte;

    for (;;) {
        if (poll(fds, 2, -1) < 0) {
            if (errno != EINTR) {
                return -errno;
            }
        } else if (fds[0].revents != 0
                   || read(output->wake_fds[0], &byte, 1) == 1) {
            return 0;
        }
    }
}

static void
wait_over(void *arg)
{
    struct belay__chat_output *output = arg;

    output->waits--;
}

static belay_next
wait_for_room(belay_task *task, struct belay__chat_output *output)
{
    output->waits++;
    return belay_blocking_or_abandon(task, wait_writable, output, wait_over);
}

/* Also those that a cancel has left alone. */
static void
wake_threads(struct belay__chat_output *output)
{
    for (uint32_t i = 0; i < output->waits; i++) {
        (void)!write(output->wake_fds[1], "", 1);
    }
}

/* ---- writing ---- */

static void
all_written(struct belay__chat_output *output)
{
    belay__buffer_clear(&output->bytes);
    output->written = 0;
    belay_event_set(&output->emptied);
}

/* Is something written? Else *ret_code is why not, BELAY_EAGAIN for now. */
static bool
write_some(struct belay__chat_output *output, int *ret_code)
{
    size_t len = output->bytes.len - output->written;
    ssize_t n;

    if (!output->own && len > PIECE_BYTES) {
        len = PIECE_BYTES;
    }
    n = write(output->fd, output->bytes.data + output->written, len);
    if (n < 0) {
        *ret_code =
            errno == EINTR || errno == EWOULDBLOCK ? BELAY_EAGAIN : -errno;
        return false;
    }
    output->written += (size_t)n;
    if (output->written == output->bytes.len) {
        all_written(output);
    }
    return true;
}

/* May a write be tried without a wait for room? One of our own does not block,
 * and neither does a file.
 */
static bool
is_ready(const struct belay__chat_output *output)
{
    struct pollfd fd = {.fd = output->fd, .events = POLLOUT};

    return output->own || (poll(&fd, 1, 0) == 1 && fd.revents != 0);
}

static void
forget(void *arg)
{
    struct belay__chat_output *output = arg;

    output->stalled = output->waits > 0;
    all_written(output);
    output->ended = false;
    belay_event_clear(&output->more);
    wake_threads(output);
}

struct writing {
    struct belay__chat_output *output;
    int code;
};

BELAY_ASYNC(writing)
{
    struct belay__chat_output *output = self->output;

    BELAY_BEGIN;
    BELAY_WITH (belay_defer(task, forget, output)) {
        while (output->bytes.len > 0 || !output->ended) {
            if (output->bytes.len == 0) {
                belay_event_clear(&output->more);
                BELAY_AWAIT(belay_event_wait(task, &output->more));
                continue;
            }
            self->code = BELAY_EAGAIN;
            if (is_ready(output) && write_some(output, &self->code)) {
                continue;
            }
            if (self->code != BELAY_EAGAIN) {
                output->code = self->code;
                BELAY_RETURN(NULL);
            }
            BELAY_AWAIT(wait_for_room(task, output));
        }
    }
    BELAY_END;
}

int
belay__chat_output_spawn(belay_group *group, struct belay__chat_output *output)
{
    return belay_spawn(group, writing, .output = output);
}
