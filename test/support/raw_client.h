/* raw_client.h - blocking sockets in a thread, to test servers with.
 *
 * Nothing of ours is used on this side, and every byte that goes out is in
 * the test. A client that finds something wrong prints it and aborts, since
 * Criterion's assertions are for the main thread only.
 */
#ifndef BELAY_TEST_SUPPORT_RAW_CLIENT_H
#define BELAY_TEST_SUPPORT_RAW_CLIENT_H

#include <belay/task.h>

#define RAW_CHECK(condition)                         \
    do {                                             \
        if (!(condition)) {                          \
            raw_die(__FILE__, __LINE__, #condition); \
        }                                            \
    } while (0)

void raw_die(const char *file, int line, const char *what)
    __attribute__((noreturn));

/* An operation: runs fn(arg) in a thread and waits for its end. It cannot be
 * cancelled; closing the server is what ends a client.
 */
belay_next raw_client_run(belay_task *task, void (*fn)(void *arg), void *arg);

/* A connection to a server on loopback; reads give up after 20 s. */
int raw_connect(uint16_t port);
/* The same, or -1 if it is refused. */
int raw_try_connect(uint16_t port);
void raw_close(int fd);

/* Sends all of it. False if the connection is gone. */
bool raw_send(int fd, const char *data, size_t len);
bool raw_send_text(int fd, const char *text);

/* How a read has ended. */
enum raw_end {
    RAW_WHOLE, /* the reply is whole and the connection open */
    RAW_EOF,   /* the server closed it */
    RAW_RESET, /* the connection broke */
};

struct raw_reply {
    enum raw_end end; /* not RAW_WHOLE: what came before is below */
    int status;       /* 0: not even a status line */
    char head[8192];  /* with its last line break */
    char *body;       /* NUL-terminated, chunks joined; never NULL */
    size_t len;
    size_t room;
};

/* Reads one reply, or what there is of it. Bytes behind it stay unread. */
void raw_read_reply(int fd, struct raw_reply *reply);
/* The same for a reply to HEAD. */
void raw_read_head(int fd, struct raw_reply *reply);
void raw_reply_fini(struct raw_reply *reply);

/* Is there a field `name: value` in the head? value NULL: with any value. */
bool raw_has_field(
    const struct raw_reply *reply, const char *name, const char *value);

/* Reads until the server closes. */
enum raw_end raw_drain(int fd);

/* File descriptors that this process has open. */
size_t raw_count_fds(void);
/* libuv keeps a pipe for signals from the first loop on. For .init of tests that
 * count them.
 */
void raw_open_what_libuv_keeps(void);

#endif
