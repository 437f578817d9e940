/* test_http_server_time.c - the HTTP server, and clients that leave, or take
 * their time.
 */
#include "test/support/server_site.h"

#include <belay/timeout.h>

#include <sys/socket.h>

TestSuite(http_server_time, .init = raw_open_what_libuv_keeps,
    .fini = check_clean, .timeout = 120);

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

Test(http_server_time, cancels_the_handler_when_the_client_leaves)
{
    cr_assert(eq(int,
        run_site(&(const struct play){.client = leaving_client,
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

Test(http_server_time, makes_a_writer_wait_for_a_slow_client)
{
    cr_assert(eq(int,
        run_site(&(const struct play){.client = sipping_client,
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

Test(http_server_time, sends_a_large_stream_whole)
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

Test(http_server_time, keeps_a_bounded_number_of_early_bytes)
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
        run_site(&(const struct play){.client = client_fn,
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

Test(http_server_time, closes_idle_connections)
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

Test(http_server_time, does_not_wait_for_ever_for_a_request)
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

Test(http_server_time, does_not_wait_for_ever_for_a_reader)
{
    play_fast(deaf_client,
        (struct belay__server_opts){.idle_timeout = BELAY_FOREVER});
    cr_assert(lt(sz, scene.written, (size_t)64 * 1024 * 1024));
}
