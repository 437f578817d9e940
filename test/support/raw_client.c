/* raw_client.c - blocking sockets in a thread, to test servers with. */
#include "test/support/raw_client.h"

#include <belay/uv.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

void
raw_die(const char *file, int line, const char *what)
{
    (void)fprintf(stderr, "%s:%d: client: %s\n", file, line, what);
    abort();
}

/* ---- the thread ---- */

struct raw_run {
    void (*fn)(void *arg);
    void *arg;
    struct belay_op op;
    belay_portal *portal;
    pthread_t thread;
};

static void
on_done(belay_runtime *runtime, void *arg)
{
    struct raw_run *run = arg;

    (void)runtime;
    RAW_CHECK(pthread_join(run->thread, NULL) == 0);
    belay_portal_unref(run->portal);
    belay_op_done(&run->op, 0, NULL);
}

static void *
run_client(void *arg)
{
    struct raw_run *run = arg;

    run->fn(run->arg);
    RAW_CHECK(belay_portal_post(run->portal, on_done, run) == 0);
    return NULL;
}

static belay_next
run_ended(belay_task *task, void *self)
{
    (void)self;
    return belay_pass(task);
}

static belay_next
run_begin(belay_task *task, void *self)
{
    struct raw_run *run = self;
    int code = belay_op_begin(task, &run->op, NULL);

    if (code < 0) {
        return belay_then(task, run_ended, belay_op_wait(&run->op));
    }
    run->op.name = "client thread";
    code = belay_portal_open(belay_task_runtime(task), &run->portal);
    if (code < 0) {
        belay_op_done(&run->op, code, NULL);
    } else if (pthread_create(&run->thread, NULL, run_client, run) != 0) {
        belay_portal_unref(run->portal);
        belay_op_done(&run->op, BELAY_EAGAIN, NULL);
    }
    return belay_then(task, run_ended, belay_op_wait(&run->op));
}

belay_next
raw_client_run(belay_task *task, void (*fn)(void *arg), void *arg)
{
    static const belay_function function = {
        "raw client", __FILE__, sizeof(struct raw_run), run_begin, 0};
    const struct raw_run run = {.fn = fn, .arg = arg};

    return belay_call(task, &function, &run);
}

/* ---- sockets ---- */

int
raw_try_connect(uint16_t port)
{
    const struct timeval patience = {.tv_sec = 20};
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    RAW_CHECK(fd >= 0);
    RAW_CHECK(
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience))
        == 0);
    RAW_CHECK(
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience))
        == 0);
    RAW_CHECK(
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) == 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

int
raw_connect(uint16_t port)
{
    int fd = raw_try_connect(port);

    RAW_CHECK(fd >= 0);
    return fd;
}

void
raw_close(int fd)
{
    RAW_CHECK(close(fd) == 0);
}

bool
raw_send(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);

        if (sent < 0) {
            RAW_CHECK(errno == EPIPE || errno == ECONNRESET);
            return false;
        }
        data += sent;
        len -= (size_t)sent;
    }
    return true;
}

bool
raw_send_text(int fd, const char *text)
{
    return raw_send(fd, text, strlen(text));
}

/* ---- replies ---- */

static bool
read_bytes(int fd, struct raw_reply *reply, char *ret, size_t len)
{
    while (len > 0) {
        ssize_t got = recv(fd, ret, len, 0);

        if (got <= 0) {
            RAW_CHECK(got == 0 || errno == ECONNRESET);
            reply->end = got == 0 ? RAW_EOF : RAW_RESET;
            return false;
        }
        ret += got;
        len -= (size_t)got;
    }
    return true;
}

/* One line with its line break, byte by byte. */
static bool
read_line(int fd, struct raw_reply *reply, char *ret, size_t size)
{
    size_t len = 0;

    do {
        RAW_CHECK(len + 1 < size);
        if (!read_bytes(fd, reply, ret + len, 1)) {
            return false;
        }
        ret[++len] = '\0';
    } while (ret[len - 1] != '\n');
    return true;
}

static bool
read_body(int fd, struct raw_reply *reply, size_t len)
{
    ssize_t got = 1;

    if (len > reply->room - reply->len) {
        reply->room = 2 * reply->room + len;
        reply->body = realloc(reply->body, reply->room + 1);
        RAW_CHECK(reply->body != NULL);
    }
    while (len > 0 && got > 0) {
        got = recv(fd, reply->body + reply->len, len, 0);
        if (got > 0) {
            reply->len += (size_t)got;
            len -= (size_t)got;
        }
    }
    reply->body[reply->len] = '\0';
    if (len > 0) {
        RAW_CHECK(got == 0 || errno == ECONNRESET);
        reply->end = got == 0 ? RAW_EOF : RAW_RESET;
    }
    return len == 0;
}

static void
read_chunks(int fd, struct raw_reply *reply)
{
    char line[64];
    size_t size;

    do {
        if (!read_line(fd, reply, line, sizeof(line))) {
            return;
        }
        size = strtoul(line, NULL, 16);
        if (!read_body(fd, reply, size)
            || !read_line(fd, reply, line, sizeof(line))) {
            return;
        }
        RAW_CHECK(strcmp(line, "\r\n") == 0);
    } while (size > 0);
}

static const char *
find_field(const struct raw_reply *reply, const char *name)
{
    const size_t len = strlen(name);
    const char *line = strstr(reply->head, "\r\n");

    while (line != NULL) {
        line += 2;
        if (strncasecmp(line, name, len) == 0
            && strncmp(line + len, ": ", 2) == 0) {
            return line + len + 2;
        }
        line = strstr(line, "\r\n");
    }
    return NULL;
}

bool
raw_has_field(
    const struct raw_reply *reply, const char *name, const char *value)
{
    const char *found = find_field(reply, name);

    if (found == NULL || value == NULL) {
        return found != NULL;
    }
    return strncmp(found, value, strlen(value)) == 0
           && strncmp(found + strlen(value), "\r\n", 2) == 0;
}

void
raw_read_head(int fd, struct raw_reply *reply)
{
    size_t len = 0;
    size_t before;

    *reply = (struct raw_reply){.end = RAW_WHOLE};
    reply->body = calloc(1, 1);
    RAW_CHECK(reply->body != NULL);
    do {
        before = len;
        if (!read_line(
                fd, reply, reply->head + len, sizeof(reply->head) - len)) {
            return;
        }
        if (len == 0) {
            RAW_CHECK(sscanf(reply->head, "HTTP/1.1 %d", &reply->status) == 1);
        }
        len += strlen(reply->head + len);
    } while (strcmp(reply->head + before, "\r\n") != 0);
}

void
raw_read_reply(int fd, struct raw_reply *reply)
{
    const char *length;

    raw_read_head(fd, reply);
    if (reply->end != RAW_WHOLE || reply->status == 204
        || reply->status < 200) {
        return;
    }
    length = find_field(reply, "content-length");
    if (length != NULL) {
        (void)read_body(fd, reply, strtoul(length, NULL, 10));
    } else if (raw_has_field(reply, "transfer-encoding", "chunked")) {
        read_chunks(fd, reply);
    } else {
        (void)read_body(fd, reply, (size_t)1024 * 1024);
    }
}

void
raw_reply_fini(struct raw_reply *reply)
{
    free(reply->body);
    reply->body = NULL;
}

enum raw_end
raw_drain(int fd)
{
    char bytes[4096];
    ssize_t got;

    do {
        got = recv(fd, bytes, sizeof(bytes), 0);
    } while (got > 0);
    RAW_CHECK(got == 0 || errno == ECONNRESET);
    return got == 0 ? RAW_EOF : RAW_RESET;
}

size_t
raw_count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    RAW_CHECK(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

void
raw_open_what_libuv_keeps(void)
{
    uv_loop_t loop;

    RAW_CHECK(uv_loop_init(&loop) == 0);
    RAW_CHECK(uv_loop_close(&loop) == 0);
}
