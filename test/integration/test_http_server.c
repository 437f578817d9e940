/* test_http_server.c - the HTTP server against raw sockets: what it takes, and
 * what it answers.
 */
#include "test/support/server_site.h"

#include <stdio.h>
#include <string.h>

TestSuite(http_server, .init = raw_open_what_libuv_keeps, .fini = check_clean,
    .timeout = 120);

/* ---- what clients do ---- */

static void
keep_alive_client(void *arg)
{
    int fd = raw_connect(scene.port);

    (void)arg;
    for (int i = 0; i < 100; i++) {
        get(fd, "/hello");
        want(fd, 200, "hello\n");
    }
    get(fd, "/nowhere");
    want(fd, 404, "404 Not Found\n");
    get(fd, "/hello");
    want(fd, 200, "hello\n");
    raw_close(fd);
}

Test(http_server, serves_many_requests_on_one_connection)
{
    PLAY(keep_alive_client, .port = 0);
    cr_assert(eq(u32, scene.connections, 1));
}

static void
pipelining_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;
    char tag[16];
    char all[16384];
    size_t len = 0;

    (void)arg;
    for (int i = 0; i < 100; i++) {
        len += (size_t)snprintf(all + len, sizeof(all) - len,
            "POST /echo?q=%d HTTP/1.1\r\nHost: x\r\nX-Tag: %d\r\n"
            "Content-Length: %d\r\n\r\n%0*d",
            i, i, i + 1, i + 1, i);
    }
    RAW_CHECK(raw_send(fd, all, len));
    for (int i = 0; i < 100; i++) {
        raw_read_reply(fd, &reply);
        RAW_CHECK(reply.end == RAW_WHOLE && reply.status == 200);
        (void)snprintf(tag, sizeof(tag), "%d", i);
        RAW_CHECK(raw_has_field(&reply, "x-tag", tag));
        (void)snprintf(tag, sizeof(tag), "q=%d", i);
        RAW_CHECK(raw_has_field(&reply, "x-query", tag));
        RAW_CHECK(reply.len == (size_t)i + 1);
        raw_reply_fini(&reply);
    }
    raw_close(fd);
}

Test(http_server, answers_pipelined_requests_in_order)
{
    PLAY(pipelining_client, .port = 0);
}

static void
dripping_client(void *arg)
{
    static const char *const requests[] = {
        "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345",
        ("\r\nPOST /echo HTTP/1.1\r\nhost:x\r\ntransfer-encoding: chunked\r\n"
         "\r\n2\r\n12\r\n3;x=y\r\n345\r\n0\r\nTrailer: z\r\n\r\n"),
    };
    static const char *const bodies[] = {"hello\n", "12345", "12345"};
    int fd = raw_connect(scene.port);

    (void)arg;
    for (size_t i = 0; i < 3; i++) {
        for (const char *at = requests[i]; *at != '\0'; at++) {
            RAW_CHECK(raw_send(fd, at, 1));
        }
        want(fd, 200, bodies[i]);
    }
    raw_close(fd);
}

Test(http_server, takes_requests_byte_by_byte)
{
    PLAY(dripping_client, .port = 0);
}

static void
pages_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    (void)arg;
    get(fd, "/stream");
    want(fd, 200, "part,part,part,end");
    get(fd, "/sized");
    want(fd, 200, "abcdef");
    get(fd, "http://x/hello");
    want(fd, 200, "hello\n");
    RAW_CHECK(raw_send_text(fd, "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n"
                                "HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n"));
    raw_read_head(fd, &reply);
    RAW_CHECK(reply.status == 200);
    RAW_CHECK(raw_has_field(&reply, "content-length", "6"));
    RAW_CHECK(raw_has_field(&reply, "content-type", "text/plain"));
    RAW_CHECK(raw_has_field(&reply, "date", NULL));
    raw_reply_fini(&reply);
    raw_read_head(fd, &reply);
    RAW_CHECK(raw_has_field(&reply, "transfer-encoding", "chunked"));
    raw_reply_fini(&reply);
    get(fd, "/hello");
    want(fd, 200, "hello\n");
    raw_close(fd);
}

Test(http_server, sends_whole_and_streamed_replies)
{
    PLAY(pages_client, .port = 0);
}

static void
old_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    (void)arg;
    RAW_CHECK(raw_send_text(
        fd, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_WHOLE);
    RAW_CHECK(raw_has_field(&reply, "connection", "keep-alive"));
    raw_reply_fini(&reply);
    RAW_CHECK(raw_send_text(fd, "GET /stream HTTP/1.0\r\n\r\n"));
    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_EOF && reply.status == 200);
    RAW_CHECK(raw_has_field(&reply, "connection", "close"));
    RAW_CHECK(strcmp(reply.body, "part,part,part,end") == 0);
    raw_reply_fini(&reply);
    raw_close(fd);
}

Test(http_server, speaks_http_1_0)
{
    PLAY(old_client, .port = 0);
}

static void
closing_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    (void)arg;
    RAW_CHECK(raw_send_text(
        fd, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_WHOLE && reply.status == 200);
    RAW_CHECK(raw_has_field(&reply, "connection", "close"));
    raw_reply_fini(&reply);
    RAW_CHECK(raw_drain(fd) == RAW_EOF);
    raw_close(fd);
}

Test(http_server, closes_when_the_client_asks_for_it)
{
    PLAY(closing_client, .port = 0);
}

/* ---- limits and bad requests ---- */

/* Sends `head`, then `filler` so many times, and wants to be refused. */
static void
overdo(const char *head, const char *filler, size_t times, int status)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    RAW_CHECK(raw_send_text(fd, head));
    for (size_t i = 0; i < times; i++) {
        if (!raw_send_text(fd, filler)) {
            break;
        }
    }
    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_WHOLE);
    if (reply.status != status) {
        (void)fprintf(stderr, "to: %s\n", head);
    }
    RAW_CHECK(reply.status == status);
    RAW_CHECK(raw_has_field(&reply, "connection", "close"));
    raw_reply_fini(&reply);
    RAW_CHECK(raw_drain(fd) == RAW_EOF);
    raw_close(fd);
}

static void
greedy_client(void *arg)
{
    static const char *const get_head = "GET /hello HTTP/1.1\r\nHost: x\r\n";
    static const char *const post = "POST /echo HTTP/1.1\r\nHost: x\r\n";
    char head[256];

    (void)arg;
    overdo("GET /", "0123456789abcdef", 4200, 431);
    overdo(get_head, "X-0123456789: 0123456789abcdef\r\n", 2200, 431);
    overdo(get_head, "a:\r\n", 101, 431);
    (void)snprintf(head, sizeof(head), "%sContent-Length: 1001\r\n\r\n", post);
    overdo(head, "0123456789", 100, 413);
    (void)snprintf(head, sizeof(head),
        "%sContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n", post);
    overdo(head, "", 0, 413);
    (void)snprintf(
        head, sizeof(head), "%sTransfer-Encoding: chunked\r\n\r\n", post);
    overdo(head, "a\r\n0123456789\r\n", 101, 413);
    overdo("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: "
           "99999999999999999999999999\r\n\r\n",
        "", 0, 400);
}

Test(http_server, refuses_what_is_too_large)
{
    PLAY(greedy_client, .max_body_bytes = 1000);
    cr_assert(eq(int, scene.failures, 0));
}

static void
limits_client(void *arg)
{
    int fd = raw_connect(scene.port);
    char body[1001];

    (void)arg;
    memset(body, 'b', 1000);
    body[1000] = '\0';
    RAW_CHECK(raw_send_text(
        fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"));
    RAW_CHECK(raw_send_text(fd, body));
    want(fd, 200, body);
    RAW_CHECK(raw_send_text(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n"));
    for (size_t i = 0; i < 99; i++) {
        RAW_CHECK(raw_send_text(fd, "a:\r\n"));
    }
    RAW_CHECK(raw_send_text(fd, "\r\n"));
    want(fd, 200, "hello\n");
    raw_close(fd);
}

Test(http_server, takes_what_is_just_within_the_limits)
{
    PLAY(limits_client, .max_body_bytes = 1000);
}

static void
bad_client(void *arg)
{
    (void)arg;
    overdo("nonsense\r\n\r\n", "", 0, 400);
    overdo("GET / HTTP/1.1\r\n\r\n", "", 0, 400);
    overdo("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "", 0, 400);
    overdo("GET / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", "", 0, 400);
    overdo(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\n", "", 0, 400);
    overdo("GET / HTTP/2.0\r\nHost: x\r\n\r\n", "", 0, 505);
    overdo("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", 0, 400);
    overdo("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
           "Content-Length: 2\r\n\r\n",
        "", 0, 400);
    overdo("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
           "Transfer-Encoding: chunked\r\n\r\n",
        "", 0, 400);
    overdo("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
           "zz\r\n",
        "", 0, 400);
    overdo("POST / HTTP/1.1\r\nHost: x\r\nExpect: coffee\r\n\r\n", "", 0, 417);
}

Test(http_server, refuses_bad_requests)
{
    PLAY(bad_client, .port = 0);
    cr_assert(eq(int, scene.failures, 0));
}

static void
expecting_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    (void)arg;
    for (int i = 0; i < 2; i++) {
        RAW_CHECK(raw_send_text(fd,
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
            "Expect: 100-Continue\r\n\r\n"));
        raw_read_reply(fd, &reply);
        RAW_CHECK(reply.status == 100);
        raw_reply_fini(&reply);
        RAW_CHECK(raw_send_text(fd, "body"));
        want(fd, 200, "body");
    }
    /* A client that does not wait gets no interim answer. */
    RAW_CHECK(raw_send_text(fd,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
        "Expect: 100-continue\r\n\r\nbody"));
    want(fd, 200, "body");
    raw_close(fd);
}

Test(http_server, answers_expect_100_continue)
{
    PLAY(expecting_client, .port = 0);
}

/* ---- handlers that do not do well ---- */

static void
unlucky_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    (void)arg;
    get(fd, "/fail");
    want(fd, 500, "500 Internal Server Error\n");
    get(fd, "/nothing");
    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_WHOLE && reply.status == 500);
    RAW_CHECK(!raw_has_field(&reply, "x-lost", NULL));
    raw_reply_fini(&reply);
    get(fd, "/hello");
    want(fd, 200, "hello\n");
    get(fd, "/fail-late");
    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_EOF && reply.status == 200);
    RAW_CHECK(strcmp(reply.body, "some") == 0);
    raw_reply_fini(&reply);
    raw_close(fd);
}

Test(http_server, answers_for_handlers_that_fail)
{
    PLAY(unlucky_client, .port = 0);
    cr_assert(eq(int, scene.failures, 2));
    cr_assert(eq(int, scene.failed, BELAY_EJSON));
}

static void
broken_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    (void)arg;
    get(fd, "/cut");
    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_EOF && reply.status == 200);
    RAW_CHECK(strcmp(reply.body, "0123456789") == 0);
    raw_reply_fini(&reply);
    raw_close(fd);

    fd = raw_connect(scene.port);
    get(fd, "/reset");
    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_RESET);
    raw_reply_fini(&reply);
    raw_close(fd);

    fd = raw_connect(scene.port);
    get(fd, "/raw");
    want(fd, 299, "ok");
    RAW_CHECK(raw_drain(fd) == RAW_EOF);
    raw_close(fd);
}

Test(http_server, cuts_resets_and_sends_raw_bytes)
{
    PLAY(broken_client, .port = 0);
    cr_assert(eq(int, scene.failures, 0));
}
