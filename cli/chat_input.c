/* chat_input.c - lines of standard input, while the loop goes on.
 *
 * Editing is the terminal's own: what comes in are whole lines. libedit would
 * want the terminal in raw mode for as long as it waits, and blocks in the
 * middle of an escape sequence; readline is under the GPL, and so would the
 * command be. Who wants a history runs it under rlwrap(1).
 */
#include "cli/chat_input.h"

#include <belay/async.h>
#include <belay/blocking.h>

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES 4096

int
belay__chat_input_init(struct belay__chat_input *input, int fd)
{
    struct belay__memory *memory = belay__memory_new(NULL);

    *input = (struct belay__chat_input){.fd = fd, .memory = memory};
    if (memory == NULL) {
        return BELAY_ENOMEM;
    }
    if (pipe(input->wake_fds) < 0) {
        belay__memory_unref(memory);
        return -errno;
    }
    for (int i = 0; i < 2; i++) {
        (void)fcntl(input->wake_fds[i], F_SETFD, FD_CLOEXEC);
        (void)fcntl(input->wake_fds[i], F_SETFL, O_NONBLOCK);
    }
    belay__buffer_init(&input->bytes, memory, BELAY__CHAT_LINE_MAX);
    return 0;
}

void
belay__chat_input_fini(struct belay__chat_input *input)
{
    belay__buffer_fini(&input->bytes);
    belay__memory_unref(input->memory);
    (void)close(input->wake_fds[0]);
    (void)close(input->wake_fds[1]);
}

void
belay__chat_input_wake(struct belay__chat_input *input)
{
    input->was_woken = true;
    (void)!write(input->wake_fds[1], "", 1); /* full: it is awake already */
}

/* On a thread: until there is something to read, or a wake. */
static int
wait_readable(void *arg)
{
    const struct belay__chat_input *input = arg;
    struct pollfd fds[2] = {
        {.fd = input->fd, .events = POLLIN},
        {.fd = input->wake_fds[0], .events = POLLIN},
    };

    while (poll(fds, 2, -1) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static void
forget_wakes(struct belay__chat_input *input)
{
    char bytes[16];

    input->was_woken = false;
    while (read(input->wake_fds[0], bytes, sizeof(bytes)) > 0) {
    }
}

/* Takes what is there; at least the NUL fits behind it. */
static int
read_some(struct belay__chat_input *input)
{
    struct belay__buffer *bytes = &input->bytes;
    int code = belay__buffer_reserve(bytes, READ_BYTES + 1);
    ssize_t n;

    if (code < 0) {
        return code;
    }
    n = read(input->fd, bytes->data + bytes->len, READ_BYTES);
    if (n < 0) {
        return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    }
    input->at_end = n == 0;
    bytes->len += (size_t)n;
    return 0;
}

/* What was given last goes. */
static void
forget_used(struct belay__chat_input *input)
{
    struct belay__buffer *bytes = &input->bytes;

    if (input->used > 0) {
        memmove(
            bytes->data, bytes->data + input->used, bytes->len - input->used);
        bytes->len -= input->used;
        input->used = 0;
    }
}

struct reading {
    struct belay__chat_input *input;
    struct belay_slice *ret;
    bool all;
    size_t looked_at;
};

/* The end of the next line, if it is there; one behind a backslash is part of
 * the line, and the backslash goes.
 */
static char *
find_end(struct reading *reading)
{
    struct belay__buffer *bytes = &reading->input->bytes;
    char *end = NULL;

    while (reading->looked_at < bytes->len) {
        end = memchr(bytes->data + reading->looked_at, '\n',
            bytes->len - reading->looked_at);
        if (end == NULL || end == bytes->data || end[-1] != '\\') {
            break;
        }
        memmove(end - 1, end, (size_t)(bytes->data + bytes->len - end));
        bytes->len--;
        reading->looked_at = (size_t)(end - bytes->data);
        end = NULL;
    }
    if (end == NULL) {
        reading->looked_at = bytes->len;
    }
    return end;
}

/* Is there a line, or the end? Then it is given. */
static bool
take(struct reading *reading)
{
    struct belay__chat_input *input = reading->input;
    struct belay__buffer *bytes = &input->bytes;
    const char *end = reading->all ? NULL : find_end(reading);
    size_t len = bytes->len;

    if (end == NULL && !input->at_end) {
        return false;
    }
    if (end == NULL && bytes->len == 0) {
        *reading->ret = (struct belay_slice){NULL, 0};
        return true;
    }
    if (end != NULL) {
        len = (size_t)(end - bytes->data);
    }
    input->used = end != NULL ? len + 1 : len;
    bytes->data[len] = '\0'; /* at the end of the input there is room too */
    *reading->ret = (struct belay_slice){bytes->data, len};
    return true;
}

BELAY_ASYNC(reading)
{
    int code;

    BELAY_BEGIN;
    forget_used(self->input);
    while (!take(self)) {
        BELAY_AWAIT(belay_blocking(task, wait_readable, self->input));
        if (self->input->was_woken) {
            forget_wakes(self->input);
            return belay_fail(task, BELAY_EAGAIN, NULL);
        }
        code = read_some(self->input);
        if (code < 0) {
            return belay_fail(task, code, "standard input cannot be read: %s",
                belay_code_text(code));
        }
    }
    BELAY_END;
}

belay_next
belay__chat_read_line(
    belay_task *task, struct belay__chat_input *input, struct belay_slice *ret)
{
    return BELAY_CALL(reading, .input = input, .ret = ret);
}

belay_next
belay__chat_read_all(
    belay_task *task, struct belay__chat_input *input, struct belay_slice *ret)
{
    return BELAY_CALL(reading, .input = input, .ret = ret, .all = true);
}
