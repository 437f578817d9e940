/* test_http_server.c - the HTTP server against raw sockets.
 *
 * A scene is a server and a client script in a thread. The handler, `site`,
 * has a page for each thing that a handler may do.
 */
#include "llm/http/connection.h"
#include "llm/http/server.h"
#include "test/support/alloc.h"
#include "test/support/raw_client.h"

#include <belay/group.h>
#include <belay/timeout.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* libuv keeps a pipe for signals from the first loop on. */
static void
open_what_libuv_keeps(void)
{
    uv_loop_t loop;

    cr_assert(eq(int, uv_loop_init(&loop), 0));
    cr_assert(eq(int, uv_loop_close(&loop), 0));
}

TestSuite(http_server, .init = open_what_libuv_keeps, .fini = check_clean,
    .timeout = 120);

static struct {
    uint16_t port;
    struct belay__server *server;
    struct belay_event running; /* a page is busy */
    struct belay_event gone;    /* and was cancelled, or could not write */
    atomic_bool client_done;
    size_t written;       /* by the page "flood" */
    size_t ahead;         /* the most bytes kept while a page ran */
    uint32_t connections; /* as the page "hello" has seen */
    int failed;           /* the code of the last failure that was reported */
    int failures;
} scene;

static struct belay_slice
text(const char *string)
{
    return (struct belay_slice){string, strlen(string)};
}

/* ---- the pages ---- */

#define PAGE(name)               \
    struct name {                \
        struct belay__call call; \
        size_t i;                \
    };                           \
    BELAY_ASYNC(name)

PAGE(hello)
{
    BELAY_BEGIN;
    scene.connections = belay__server_connections(scene.server);
    BELAY_CHECK(
        belay__reply_header(self->call.reply, "Content-Type", "text/plain"));
    BELAY_AWAIT(
        belay__reply_send(task, self->call.reply, 200, text("hello\n")));
    BELAY_END;
}

PAGE(echo)
{
    const struct belay__request *request = self->call.request;
    const char *tag = belay__request_header(request, "X-Tag");

    BELAY_BEGIN;
    if (tag != NULL) {
        BELAY_CHECK(belay__reply_header(self->call.reply, "X-Tag", tag));
    }
    BELAY_CHECK(
        belay__reply_header(self->call.reply, "X-Query", request->query));
    BELAY_AWAIT(belay__reply_send(task, self->call.reply, 200, request->body));
    BELAY_END;
}

PAGE(stream)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay__reply_begin(self->call.reply, 200, BELAY__CHUNKED));
    for (self->i = 0; self->i < 3; self->i++) {
        BELAY_AWAIT(belay__reply_write(task, self->call.reply, text("part,")));
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_AWAIT(belay__reply_end(task, self->call.reply, text("end")));
    BELAY_END;
}

PAGE(sized)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay__reply_begin(self->call.reply, 200, 6));
    BELAY_AWAIT(belay__reply_write(task, self->call.reply, text("")));
    BELAY_AWAIT(belay__reply_write(task, self->call.reply, text("abc")));
    BELAY_TRY(belay__reply_write(task, self->call.reply, text("more")));
    cr_assert(eq(int, belay_result(task)->code, BELAY_EINVAL));
    BELAY_TRY(belay__reply_end(task, self->call.reply, text("de")));
    cr_assert(eq(int, belay_result(task)->code, BELAY_EINVAL));
    BELAY_AWAIT(belay__reply_end(task, self->call.reply, text("def")));
    BELAY_TRY(belay__reply_write(task, self->call.reply, text("late")));
    cr_assert(eq(int, belay_result(task)->code, BELAY_ESTATE));
    BELAY_END;
}

PAGE(nothing)
{
    BELAY_BEGIN;
    (void)belay__reply_header(self->call.reply, "X-Lost", "1");
    BELAY_END;
}

PAGE(fail)
{
    BELAY_BEGIN;
    BELAY_FAIL(BELAY_EJSON, "no sense in it");
    BELAY_END;
}

PAGE(fail_late)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay__reply_begin(self->call.reply, 200, BELAY__CHUNKED));
    BELAY_AWAIT(belay__reply_write(task, self->call.reply, text("some")));
    BELAY_FAIL(BELAY_EJSON, "no more sense in it");
    BELAY_END;
}

PAGE(cut)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay__reply_begin(self->call.reply, 200, 100));
    BELAY_AWAIT(belay__reply_write(task, self->call.reply, text("0123456789")));
    BELAY_END;
}

PAGE(reset)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay__reply_begin(self->call.reply, 200, 100));
    BELAY_AWAIT(belay__reply_write(task, self->call.reply, text("0123456789")));
    belay__reply_reset(self->call.reply);
    BELAY_TRY(belay__reply_write(task, self->call.reply, text("0123")));
    cr_assert(eq(int, belay_result(task)->code, BELAY_ERESET));
    BELAY_END;
}

PAGE(raw)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay__reply_raw(task, self->call.reply,
        text("HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok")));
    BELAY_END;
}

/* Exits with the frame, however it ends. */
struct noticed {
    int dummy;
};

static belay_next
notice_enter(belay_task *task, void *self)
{
    (void)self;
    belay_event_set(&scene.running);
    return belay_return(task, NULL);
}

static belay_next
notice_exit(belay_task *task, void *self)
{
    (void)self;
    if (belay_outcome(task)->cancelled
        || belay_outcome(task)->code == BELAY_ERESET) {
        belay_event_set(&scene.gone);
    }
    return belay_return(task, NULL);
}

static const belay_manager noticed = {
    {"noticed", __FILE__, sizeof(struct noticed), notice_enter, 0},
    notice_exit};

PAGE(wait)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(noticed, .dummy = 0)) {
        BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
    }
    BELAY_END;
}

static char flood_bytes[64 * 1024];

PAGE(flood)
{
    const struct belay_slice bytes = {flood_bytes, sizeof(flood_bytes)};

    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(noticed, .dummy = 0)) {
        BELAY_CHECK(belay__reply_begin(self->call.reply, 200, BELAY__CHUNKED));
        for (self->i = 0; self->i < 4096; self->i++) {
            BELAY_AWAIT(belay__reply_write(task, self->call.reply, bytes));
            scene.written += bytes.len;
        }
        BELAY_AWAIT(belay__reply_end(task, self->call.reply, text("")));
    }
    BELAY_END;
}

/* Gives the client time to send what it likes. */
PAGE(paused)
{
    const struct belay__connection *connection = self->call.reply->connection;

    BELAY_BEGIN;
    for (self->i = 0; self->i < 50; self->i++) {
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
        if (connection->ahead.len > scene.ahead) {
            scene.ahead = connection->ahead.len;
        }
    }
    BELAY_AWAIT(belay__reply_send(task, self->call.reply, 200, text("ok")));
    BELAY_END;
}

static const struct {
    const char *path;
    const belay_function *page;
} pages[] = {
    {"/hello", &hello},
    {"/echo", &echo},
    {"/stream", &stream},
    {"/sized", &sized},
    {"/nothing", &nothing},
    {"/fail", &fail},
    {"/fail-late", &fail_late},
    {"/cut", &cut},
    {"/reset", &reset},
    {"/raw", &raw},
    {"/wait", &wait},
    {"/flood", &flood},
    {"/pause", &paused},
};

struct site {
    struct belay__call call;
};

/* Every page has the same arguments; its own locals start as zero. */
static belay_next
call_page(belay_task *task, const struct belay__call *call)
{
    const struct hello arguments = {.call = *call};

    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (strcmp(pages[i].path, call->request->path) == 0) {
            return belay_call(task, pages[i].page, &arguments);
        }
    }
    return belay__reply_refuse(task, call->reply, 404);
}

BELAY_ASYNC(site)
{
    BELAY_BEGIN;
    BELAY_AWAIT(call_page(task, &self->call));
    BELAY_END;
}

/* ---- the scene ---- */

static void
note_failure(const struct belay_result *result, void *arg)
{
    (void)arg;
    scene.failed = result->code;
    scene.failures++;
}

struct client {
    void (*fn)(void *arg);
};

BELAY_ASYNC(client)
{
    BELAY_BEGIN;
    BELAY_TRY(raw_client_run(task, self->fn, NULL));
    atomic_store(&scene.client_done, true);
    return belay_pass(task);
    BELAY_END;
}

/* The body of the server's block. */
struct direct {
    belay_clock *clock;
};

BELAY_ASYNC(direct)
{
    BELAY_BEGIN;
    while (!atomic_load(&scene.client_done)) {
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
    }
    BELAY_END;
}

/* The same, while the server's time flies. */
struct direct_fast {
    belay_clock *clock;
};

BELAY_ASYNC(direct_fast)
{
    BELAY_BEGIN;
    while (!atomic_load(&scene.client_done)) {
        BELAY_AWAIT(belay_checkpoint(task));
        belay_clock_advance(self->clock, belay_milliseconds(1));
    }
    BELAY_END;
}

struct play {
    struct belay__server_opts opts;
    void (*client)(void *arg);
    const belay_function *director; /* default: direct */
    belay_clock *clock;
    belay_group *group;
    struct belay__server *server;
};

BELAY_ASYNC(play)
{
    const struct direct arguments = {self->clock};

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay__server_open(task, &self->opts, &self->server)) {
            scene.server = self->server;
            scene.port = belay__server_port(self->server);
            BELAY_CHECK(belay_spawn(self->group, client, .fn = self->client));
            BELAY_AWAIT(belay_call(task, self->director, &arguments));
        }
    }
    BELAY_END;
}

static int
run_play(const struct play *given, const struct belay_runtime_opts *opts)
{
    struct play arguments = *given;
    size_t fds = raw_count_fds();
    int code;

    memset(&scene, 0, sizeof(scene));
    if (arguments.opts.handler == NULL) {
        arguments.opts.handler = &site;
    }
    if (arguments.director == NULL) {
        arguments.director = &direct;
    }
    arguments.opts.failed_fn = note_failure;
    (void)signal(SIGPIPE, SIG_IGN);
    code = belay_run(&play, &arguments, opts, NULL);
    cr_assert(eq(sz, raw_count_fds(), fds));
    return code;
}

#define TESTED BELAY_RUNTIME_OPTS(.allocator = &test_allocator)

/* Runs a client against a server with these options. */
#define PLAY(client_fn, ...)                                 \
    cr_assert(eq(int,                                        \
        run_play(&(const struct play){.client = (client_fn), \
                     .opts = {__VA_ARGS__}},                 \
            TESTED),                                         \
        0))

/* ---- what clients do ---- */

static void
get(int fd, const char *path)
{
    char request[256];

    (void)snprintf(
        request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    RAW_CHECK(raw_send_text(fd, request));
}

/* Reads a reply and wants exactly this. */
static void
want(int fd, int status, const char *body)
{
    struct raw_reply reply;

    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_WHOLE);
    RAW_CHECK(reply.status == status);
    RAW_CHECK(body == NULL || strcmp(reply.body, body) == 0);
    raw_reply_fini(&reply);
}

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

/* ---- clients that go away ---- */

struct direct_cancelled {
    belay_clock *clock;
};

BELAY_ASYNC(direct_cancelled)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_seconds(20))) {
        BELAY_AWAIT(belay_event_wait(task, &scene.gone));
    }
    BELAY_AWAIT(BELAY_CALL(direct, .clock = NULL));
    BELAY_END;
}

static void
leaving_client(void *arg)
{
    int fd = raw_connect(scene.port);

    (void)arg;
    get(fd, "/wait");
    raw_close(fd);
}

Test(http_server, cancels_the_handler_when_the_client_leaves)
{
    cr_assert(eq(int,
        run_play(&(const struct play){.client = leaving_client,
                     .director = &direct_cancelled},
            TESTED),
        0));
    cr_assert(eq(int, scene.failures, 0));
}

static void
sipping_client(void *arg)
{
    int fd = raw_connect(scene.port);
    char bytes[65536];

    (void)arg;
    get(fd, "/flood");
    RAW_CHECK(recv(fd, bytes, sizeof(bytes), 0) > 0);
    raw_close(fd);
}

Test(http_server, makes_a_writer_wait_for_a_slow_client)
{
    cr_assert(eq(int,
        run_play(&(const struct play){.client = sipping_client,
                     .director = &direct_cancelled,
                     .opts = {.max_queue_bytes = 65536}},
            TESTED),
        0));
    /* What the kernel buffers is its own business, but not 256 MiB. */
    cr_assert(lt(sz, scene.written, (size_t)64 * 1024 * 1024));
    cr_assert(eq(int, scene.failures, 0));
}

static void
gulping_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    (void)arg;
    get(fd, "/flood");
    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_WHOLE);
    RAW_CHECK(reply.len == (size_t)4096 * sizeof(flood_bytes));
    raw_reply_fini(&reply);
    raw_close(fd);
}

Test(http_server, sends_a_large_stream_whole)
{
    PLAY(gulping_client, .max_queue_bytes = 1);
}

static void
eager_client(void *arg)
{
    static const char request[] = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = raw_connect(scene.port);

    (void)arg;
    get(fd, "/pause");
    for (int i = 0; i < 8000; i++) {
        RAW_CHECK(raw_send(fd, request, sizeof(request) - 1));
    }
    want(fd, 200, "ok");
    for (int i = 0; i < 8000; i++) {
        want(fd, 200, "hello\n");
    }
    raw_close(fd);
}

Test(http_server, keeps_a_bounded_number_of_early_bytes)
{
    PLAY(eager_client, .port = 0);
    cr_assert(gt(sz, scene.ahead, 0));
    cr_assert(le(sz, scene.ahead, (size_t)128 * 1024));
}

/* ---- time ---- */

/* Runs a client against a server whose time flies. */
static void
play_fast(void (*client_fn)(void *arg), struct belay__server_opts opts)
{
    belay_clock *clock = belay_clock_new(false);

    cr_assert(clock != NULL);
    cr_assert(eq(int,
        run_play(&(const struct play){.client = client_fn,
                     .director = &direct_fast,
                     .clock = clock,
                     .opts = opts},
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock)),
        0));
    belay_clock_free(clock);
}

static void
idle_client(void *arg)
{
    int fd = raw_connect(scene.port);

    (void)arg;
    RAW_CHECK(raw_drain(fd) == RAW_EOF);
    raw_close(fd);
}

Test(http_server, closes_idle_connections)
{
    play_fast(idle_client, (struct belay__server_opts){.port = 0});
}

/* Sends a part of a request and no more. */
static void
stall(const char *part)
{
    int fd = raw_connect(scene.port);

    RAW_CHECK(raw_send_text(fd, part));
    want(fd, 408, NULL);
    RAW_CHECK(raw_drain(fd) == RAW_EOF);
    raw_close(fd);
}

static void
stalling_client(void *arg)
{
    (void)arg;
    stall("G");
    stall("GET /hello HTTP/1.1\r\nHost: x\r\n");
    stall("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n12");
    stall("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
          "\r\n4\r\n");
}

Test(http_server, does_not_wait_for_ever_for_a_request)
{
    play_fast(stalling_client,
        (struct belay__server_opts){.idle_timeout = BELAY_FOREVER});
}

static void
deaf_client(void *arg)
{
    int fd = raw_connect(scene.port);
    struct raw_reply reply;

    (void)arg;
    get(fd, "/flood");
    /* Not a byte is read before the server has given up. */
    while (!scene.gone.set) {
        (void)recv(fd, &reply, 1, MSG_PEEK);
    }
    raw_close(fd);
}

Test(http_server, does_not_wait_for_ever_for_a_reader)
{
    play_fast(deaf_client,
        (struct belay__server_opts){.idle_timeout = BELAY_FOREVER});
    cr_assert(lt(sz, scene.written, (size_t)64 * 1024 * 1024));
}

/* ---- opening and closing ---- */

static void
queueing_client(void *arg)
{
    int first = raw_connect(scene.port);
    int second = raw_connect(scene.port);
    int third = raw_connect(scene.port);

    (void)arg;
    get(first, "/hello");
    want(first, 200, "hello\n");
    get(second, "/hello");
    get(third, "/hello");
    raw_close(first);
    want(second, 200, "hello\n");
    RAW_CHECK(scene.connections == 1);
    raw_close(second);
    want(third, 200, "hello\n");
    RAW_CHECK(scene.connections == 1);
    raw_close(third);
}

Test(http_server, lets_connections_beyond_the_limit_wait)
{
    PLAY(queueing_client, .max_connections = 1);
}

struct direct_until_running {
    belay_clock *clock;
};

BELAY_ASYNC(direct_until_running)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_timeout(task, belay_seconds(20))) {
        BELAY_AWAIT(belay_event_wait(task, &scene.running));
    }
    BELAY_END;
}

static void
abandoned_client(void *arg)
{
    int waiting = raw_connect(scene.port);
    int idle = raw_connect(scene.port);

    (void)arg;
    get(idle, "/hello");
    want(idle, 200, "hello\n");
    get(waiting, "/wait");
    RAW_CHECK(raw_drain(waiting) == RAW_EOF);
    RAW_CHECK(raw_drain(idle) == RAW_EOF);
    raw_close(waiting);
    raw_close(idle);
    RAW_CHECK(raw_try_connect(scene.port) < 0);
}

Test(http_server, exit_cancels_handlers_and_closes_connections)
{
    const struct play arguments = {
        .client = abandoned_client, .director = &direct_until_running};

    cr_assert(eq(int, run_play(&arguments, TESTED), 0));
    cr_assert(scene.gone.set);
    cr_assert(eq(int,
        run_play(&arguments, BELAY_RUNTIME_OPTS(.allocator = &test_allocator,
                                 .grace = BELAY_NO_GRACE)),
        0));
    cr_assert(scene.gone.set);
}

struct direct_to_failure {
    belay_clock *clock;
};

BELAY_ASYNC(direct_to_failure)
{
    BELAY_BEGIN;
    BELAY_AWAIT(BELAY_CALL(direct_until_running, .clock = NULL));
    BELAY_FAIL(BELAY_EQUOTA, "the body has had enough");
    BELAY_END;
}

struct failing {
    struct belay__server *server;
};

BELAY_ASYNC(failing)
{
    BELAY_BEGIN;
    BELAY_WITH (belay__server_open(
        task, &(struct belay__server_opts){.handler = &site}, &self->server)) {
        BELAY_FAIL(BELAY_EQUOTA, "the body has had enough");
    }
    BELAY_END;
}

Test(http_server, passes_a_failure_of_the_body_on)
{
    const struct play arguments = {
        .client = abandoned_client, .director = &direct_to_failure};

    cr_assert(eq(int,
        belay_run(&failing, &(const struct failing){NULL}, TESTED, NULL),
        BELAY_EQUOTA));
    cr_assert(eq(int, run_play(&arguments, TESTED), BELAY_EGROUP));
}

struct openings {
    struct belay__server *first;
    struct belay__server *second;
};

static belay_next
open_at(belay_task *task, const char *host, uint16_t port,
    struct belay__server **ret)
{
    const struct belay__server_opts opts = {
        .handler = &site, .host = host, .port = port};

    return belay__server_open(task, &opts, ret);
}

struct open_one {
    const char *host;
    uint16_t port;
    struct belay__server *server;
};

BELAY_ASYNC(open_one)
{
    BELAY_BEGIN;
    BELAY_WITH (open_at(task, self->host, self->port, &self->server)) {
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

BELAY_ASYNC(openings)
{
    BELAY_BEGIN;
    BELAY_WITH (open_at(task, "localhost", 0, &self->first)) {
        BELAY_TRY(BELAY_CALL(open_one, .host = "127.0.0.1",
            .port = belay__server_port(self->first)));
        cr_assert(eq(int, belay_result(task)->code, UV_EADDRINUSE));
        cr_assert(belay_result(task)->error != NULL);
        BELAY_TRY(BELAY_CALL(open_one, .host = "127.0.0.1"));
        cr_assert(eq(int, belay_result(task)->code, 0));
        BELAY_TRY(BELAY_CALL(open_one, .host = "nowhere"));
        cr_assert(eq(int, belay_result(task)->code, BELAY_EINVAL));
        BELAY_TRY(BELAY_CALL(open_one, .host = "192.0.2.1"));
        cr_assert(eq(int, belay_result(task)->code, UV_EADDRNOTAVAIL));
    }
    BELAY_END;
}

Test(http_server, says_where_it_cannot_listen)
{
    size_t fds = raw_count_fds();

    cr_assert(eq(int,
        belay_run(
            &openings, &(const struct openings){NULL, NULL}, TESTED, NULL),
        0));
    cr_assert(eq(sz, raw_count_fds(), fds));
}

/* ---- sweeps ---- */

/* A reply, if one comes at all, is the right one, or 500. */
static bool
accept_reply(int fd, const char *body)
{
    struct raw_reply reply;
    bool good;

    raw_read_reply(fd, &reply);
    good = reply.end == RAW_WHOLE;
    if (good && reply.status == 200) {
        RAW_CHECK(strcmp(reply.body, body) == 0);
    } else if (good) {
        RAW_CHECK(reply.status == 500 || reply.status == 503);
    }
    raw_reply_fini(&reply);
    return good;
}

static void
tolerant_client(void *arg)
{
    static const char post[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nX-Tag: 1\r\n"
        "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n"
        "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = raw_try_connect(scene.port);

    (void)arg;
    if (fd < 0) {
        return;
    }
    if (raw_send_text(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        && accept_reply(fd, "hello\n") && raw_send_text(fd, post)
        && accept_reply(fd, "12345")) {
        (void)accept_reply(fd, "part,part,part,end");
    }
    raw_close(fd);
}

Test(http_server, survives_the_failure_of_every_allocation)
{
    const struct play arguments = {.client = tolerant_client};
    size_t k;
    int code;

    for (k = 0; k < 500; k++) {
        test_alloc_fail_at(k);
        code = run_play(&arguments, TESTED);
        cr_assert(eq(sz, test_alloc_live_blocks(), 0));
        if (test_alloc_failures() == 0) {
            break;
        }
        cr_assert(code == 0 || code == BELAY_ENOMEM || code == BELAY_EGROUP);
    }
    test_alloc_never_fail();
    cr_assert(gt(sz, k, 10));
    cr_assert(lt(sz, k, 500));
}

/* Cancels `victim` when all tasks but this one have run `steps` steps. */
struct canceller {
    belay_task *victim;
    uint64_t steps;
    uint64_t own;
};

BELAY_ASYNC(canceller)
{
    struct belay_runtime_stats stats = {.size = sizeof(stats)};

    BELAY_BEGIN;
    for (;;) {
        self->own++;
        BELAY_CHECK(belay_runtime_get_stats(belay_task_runtime(task), &stats));
        if (stats.steps - self->own >= self->steps
            || belay_task_result(self->victim) != NULL) {
            break;
        }
        BELAY_AWAIT(belay_checkpoint(task));
    }
    belay_task_cancel(self->victim, "the sweep has come here");
    belay_task_unref(self->victim);
    BELAY_END;
}

struct sweep {
    struct play play;
    uint64_t steps;
    belay_group *group;
    belay_task *victim;
};

BELAY_ASYNC(sweep)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_group_spawn(self->group, &play, &self->play,
            BELAY_SPAWN_OPTS(.task = &self->victim)));
        BELAY_CHECK(belay_spawn(self->group, canceller, .victim = self->victim,
            .steps = self->steps));
    }
    BELAY_END;
}

Test(http_server, survives_a_cancel_at_every_step)
{
    struct sweep arguments = {.play = {.client = tolerant_client,
                                  .director = &direct,
                                  .opts = {.handler = &site}}};
    size_t fds = raw_count_fds();

    (void)signal(SIGPIPE, SIG_IGN);
    for (arguments.steps = 0; arguments.steps < 120; arguments.steps++) {
        memset(&scene, 0, sizeof(scene));
        cr_assert(eq(int, belay_run(&sweep, &arguments, TESTED, NULL), 0));
        cr_assert(eq(sz, test_alloc_live_blocks(), 0));
        cr_assert(eq(sz, raw_count_fds(), fds));
    }
}
