/* test_http_server_close.c - the HTTP server is opened and closed, whatever is
 * cancelled or refused.
 */
#include "test/support/server_site.h"
#include "test/support/turn_canceller.h"

#include <belay/group.h>
#include <belay/timeout.h>

#include <signal.h>
#include <string.h>

TestSuite(http_server_close, .init = raw_open_what_libuv_keeps,
    .fini = check_clean, .timeout = 120);

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

Test(http_server_close, lets_connections_beyond_the_limit_wait)
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

Test(http_server_close, exit_cancels_handlers_and_closes_connections)
{
    const struct play arguments = {
        .client = abandoned_client, .director = &direct_until_running};

    cr_assert(eq(int, run_site(&arguments, TESTED), 0));
    cr_assert(scene.gone.set);
    cr_assert(eq(int,
        run_site(&arguments, BELAY_RUNTIME_OPTS(.allocator = &test_allocator,
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

Test(http_server_close, passes_a_failure_of_the_body_on)
{
    const struct play arguments = {
        .client = abandoned_client, .director = &direct_to_failure};

    cr_assert(eq(int,
        belay_run(&failing, &(const struct failing){NULL}, TESTED, NULL),
        BELAY_EQUOTA));
    cr_assert(eq(int, run_site(&arguments, TESTED), BELAY_EGROUP));
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

Test(http_server_close, says_where_it_cannot_listen)
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

Test(http_server_close, survives_the_failure_of_every_allocation)
{
    const struct play arguments = {.client = tolerant_client};
    size_t k;
    int code;

    for (k = 0; k < 500; k++) {
        test_alloc_fail_at(k);
        code = run_site(&arguments, TESTED);
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

struct sweep {
    struct play play;
    uint64_t turns;
    belay_group *group;
    belay_task *victim;
};

BELAY_ASYNC(sweep)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_group_spawn(self->group, &site_play, &self->play,
            BELAY_SPAWN_OPTS(.task = &self->victim)));
        BELAY_CHECK(belay_spawn(self->group, canceller, .victim = self->victim,
            .turns = self->turns));
    }
    BELAY_END;
}

Test(http_server_close, survives_a_cancel_at_every_turn)
{
    struct sweep arguments = {.play = {.client = tolerant_client,
                                  .director = &direct,
                                  .opts = {.handler = &site}}};
    size_t fds = raw_count_fds();

    (void)signal(SIGPIPE, SIG_IGN);
    for (arguments.turns = 0; arguments.turns < 120; arguments.turns++) {
        memset(&scene, 0, sizeof(scene));
        cr_assert(eq(int, belay_run(&sweep, &arguments, TESTED, NULL), 0));
        cr_assert(eq(sz, test_alloc_live_blocks(), 0));
        cr_assert(eq(sz, raw_count_fds(), fds));
    }
}
